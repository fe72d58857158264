"""A headless Chromium, told what to do through pipes in the protocol of its developer tools."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import functools
import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a folder's files, and what was asked for, while the context lasts."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, form: str, *arguments: Any) -> None:
            asked.append(str(arguments[0]).split()[1])

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Browser:
    """One page."""

    def __init__(self, folder: Path) -> None:
        """`folder`: for what the browser keeps."""
        assert CHROMIUM is not None
        reads, self._write = os.pipe()
        self._read, writes = os.pipe()
        # Above 4, so that neither is where the other is to be.
        own_reads, own_writes = (fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (reads, writes))
        # It takes commands from 3 and answers to 4; the shell puts the pipes there.
        script = f'exec 3<&{own_reads} 4>&{own_writes} {own_reads}<&- {own_writes}>&-; exec "$@"'
        options = (
            "--headless --no-sandbox --disable-gpu --no-first-run --remote-debugging-pipe "
            "--disable-dev-shm-usage --window-size=820,560"
        ).split()
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", CHROMIUM, *options, f"--user-data-dir={folder}"],
            pass_fds=(own_reads, own_writes),
            stderr=subprocess.DEVNULL,
        )
        for each in (reads, writes, own_reads, own_writes):
            os.close(each)
        self._rest, self._count = b"", 0
        self.errors: list[str] = []
        self._session = ""
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        attached = self.tell("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.tell("Runtime.enable")
        self.tell("Log.enable")

    def tell(self, method: str, **parameters: Any) -> Any:
        """What the browser answers."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(json.dumps(answer["params"]))

    def _next(self) -> Any:
        while b"\0" not in self._rest:
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, address: str) -> None:
        """Open a page and wait until it says that it is ready."""
        self.tell("Page.navigate", url=address)
        self.evaluate(
            "new Promise((done) => { const ask = () => document.body?.dataset.ready "
            "? done(1) : setTimeout(ask, 20); ask(); setTimeout(() => done(0), 20000); })"
        )

    def evaluate(self, expression: str) -> Any:
        """What an expression of JavaScript comes to."""
        options = {"awaitPromise": True, "returnByValue": True}
        found = self.tell("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def draw(self, points: Sequence[tuple[float, float]]) -> None:
        """A stroke of the mouse."""

        def mouse(kind: str, x: float, y: float) -> None:
            self.tell("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

        mouse("mousePressed", *points[0])
        for point in points[1:]:
            mouse("mouseMoved", *point)
        mouse("mouseReleased", *points[-1])

    def picture(self) -> bytes:
        """Of the page, as PNG."""
        return base64.b64decode(self.tell("Page.captureScreenshot")["data"])

    def close(self) -> None:
        self._session = ""
        with contextlib.suppress(OSError, AssertionError):
            self.tell("Browser.close")
        self._process.wait(20)
        os.close(self._write)
        os.close(self._read)
