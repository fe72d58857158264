"""The worker processes of a loader, seen from the loop's process."""

from __future__ import annotations

import json
import os
import pickle
import pickletools
import signal
import socket
import subprocess
import sys
import time
import weakref
from multiprocessing import spawn
from multiprocessing.connection import Connection, wait
from typing import Any

from tigon import as_mxnet
from tigon.base import TigonError, TigonTimeoutError, check, config
from tigon.base.files import anonymous_file
from tigon.gluon.data import shared, worker
from tigon.gluon.data.loading import Batchify, Order

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from tigon.gluon.data.worker import main; main(*map(int, sys.argv[2:]))"
)
_SECONDS_TO_END = 2.0
_SECONDS_TO_BEGIN = 120.0


class WorkerTraceback(Exception):
    """Where in a worker process an error was raised."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Worker:
    """One process: its connection, its memory, and what it was ordered to load."""

    def __init__(self, number: int, program: int) -> None:
        self.number = number
        own, other = socket.socketpair()
        memory = anonymous_file("tigon-batches")
        passed = (other.fileno(), memory, program)
        try:
            self.process = subprocess.Popen(
                [
                    spawn.get_executable(),
                    "-c",
                    _PROGRAM,
                    json.dumps([os.fspath(entry) for entry in sys.path]),
                    *map(str, passed),
                ],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                env=config.environment(TIGON_NUM_THREADS="1"),
                start_new_session=True,  # what is typed at a terminal is for the loop's process
            )
        finally:
            other.close()
        self.pipe = Connection(own.detach())
        self.mapped = shared.Mapped(memory)
        self.ordered: list[Order] = []

    def order(self, epoch: int, order: Order) -> None:
        self.ordered.append(order)
        try:
            order_and_free = (epoch, tuple(order), self.mapped.released())
            self.pipe.send_bytes(pickle.dumps(order_and_free))
        except (BrokenPipeError, ConnectionResetError):
            raise self.death() from None

    def death(self) -> TigonError:
        """What is said of a process that is not there any more."""
        try:
            status = self.process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            status = None
        how = f"ended with status {status}"
        if status is None:
            how = "closed its connection"
        elif status < 0:
            how = f"was killed by {_name_of_signal(-status)}"
        doing = f" while it loaded {self.ordered[0].shown()}" if self.ordered else ""
        return TigonError(
            f"DataLoader: worker {self.number} (process {self.process.pid}) {how}{doing}; was the "
            "machine out of memory, or does native code fail there? Try these samples with "
            "num_workers=0"
        )


def _name_of_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class WorkerPool:
    """Processes that load batches of one dataset; they end with it."""

    def __init__(self, dataset: Any, batchify: Batchify, count: int) -> None:
        check(
            not worker.is_importing_main,
            "DataLoader",
            "this program is imported by worker processes, which need what it defines, and begins "
            f"to load batches again; {worker.GUARD}",
        )
        self._owner = os.getpid()
        program = _written(dataset, batchify)
        self._workers: list[_Worker] = []
        try:
            for number in range(count):
                self._workers.append(_Worker(number, program))
        finally:
            os.close(program)
            self._end = weakref.finalize(self, _close, self._workers, self._owner)
        self._epoch = 0
        self._arrived: dict[tuple[int, int], Any] = {}
        self._wanted: set[int] = set()
        self._beginning = count
        """How many processes have not begun yet."""

    @property
    def is_usable(self) -> bool:
        """Not closed, and not inherited by a fork."""
        return self._end.alive and self._owner == os.getpid()

    @property
    def processes(self) -> list[int]:
        """Their numbers."""
        return [one.process.pid for one in self._workers]

    def close(self) -> None:
        """Let all end."""
        self._end()

    def begin(self) -> int:
        """The number of a new epoch."""
        self._epoch += 1
        self._wanted.add(self._epoch)
        return self._epoch

    def end(self, epoch: int) -> None:
        """Nobody asks for its batches any more."""
        self._wanted.discard(epoch)
        for key in [key for key in self._arrived if key[0] == epoch]:
            del self._arrived[key]

    def order(self, epoch: int, order: Order) -> None:
        """Let a worker load a batch: the one with the least to do."""
        idle = min(self._workers, key=lambda one: len(one.ordered))
        try:
            idle.order(epoch, order)
        except TigonError:
            self.close()
            raise

    def result(self, epoch: int, order: Order, timeout: float) -> Any:
        """The batch, once it is there."""
        end = time.monotonic() + timeout
        key = (epoch, order.number)
        while key not in self._arrived:
            left = end - time.monotonic() + (_SECONDS_TO_BEGIN if self._beginning else 0)
            ready = wait([one.pipe for one in self._workers], max(left, 0))
            if not ready:
                self.close()  # it is stuck, and would be so for the next epoch, too
                raise TigonTimeoutError(late(order, timeout))
            was_beginning = self._beginning
            for one in self._workers:
                if one.pipe in ready:
                    self._receive(one)
            if self._beginning < was_beginning:
                end = time.monotonic() + timeout  # that they begin takes time of its own
        found, failure = self._arrived.pop(key)
        if failure is not None:
            raise _error_of(*failure)
        return found

    def _receive(self, one: _Worker) -> None:
        try:
            epoch, number, message, failure = pickle.loads(one.pipe.recv_bytes())
        except (EOFError, ConnectionResetError):
            error = one.death()
            self.close()
            raise error from None
        if (epoch, number) == worker.BEGINNING:
            self._beginning -= 1
            if failure is not None:
                self.close()
                raise _error_of(*failure)
            return
        one.ordered.pop(0)
        found = None if message is None else one.mapped.unpack(shared.Message(*message))
        if epoch in self._wanted:
            self._arrived[epoch, number] = (found, failure)


def late(order: Order, timeout: float) -> str:
    """What is said of a batch that is not there in time."""
    return (
        f"DataLoader: expected {order.shown()} within timeout={timeout} seconds; it is not there; "
        "try these samples with dataset[...], give a larger timeout, or num_workers=0 to see where "
        "it is stuck"
    )


def _error_of(pickled: bytes, text: str) -> BaseException:
    error: BaseException = pickle.loads(pickled)
    error.__cause__ = WorkerTraceback(text)
    return error


def _close(workers: list[_Worker], owner: int) -> None:
    if os.getpid() != owner:
        return  # a fork: they are another process's
    for one in workers:
        one.pipe.close()
        one.mapped.close()
    end = time.monotonic() + _SECONDS_TO_END
    for one in workers:
        try:
            one.process.wait(max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()


# ----------------------------------------------------------------------- what is sent


def _written(dataset: Any, batchify: Batchify) -> int:
    """A file without a name that holds what workers need: arrays in it are shared by all."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        pickled = shared.dumps((dataset, batchify), buffers)
    except Exception as error:
        raise TigonError(_why_not(dataset, batchify, error)) from error
    preparation = _preparation()
    if not any(name in preparation for name in worker.MAIN):
        _check_main(pickled)
    parts = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
    content, spans, end = [], [], 0
    for part in parts:
        spans.append((end, end + len(part)))
        content += [part, bytes(-len(part) % worker.ALIGNED)]
        end += len(part) + -len(part) % worker.ALIGNED
    table = pickle.dumps((preparation, spans))
    head = worker.HEAD.pack(len(table)) + table
    return anonymous_file("tigon-dataset", [head + bytes(-len(head) % worker.ALIGNED), *content])


def _preparation() -> dict[str, Any]:
    """What `multiprocessing` tells a process that it starts, too, and whether `import mxnet` gives
    this package."""
    found: dict[str, Any] = {
        "sys_argv": sys.argv,
        "dir": os.getcwd(),
        "as_mxnet": as_mxnet.is_installed(),
    }
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    path = getattr(main, "__file__", None)
    if spec is not None and spec.name:
        found["init_main_from_name"] = spec.name
    elif path is not None:
        found["init_main_from_path"] = os.path.abspath(path)
    return found


def _check_main(pickled: bytes) -> None:
    """That nothing is asked of a program that is no file."""
    strings: list[Any] = []
    for code, argument, _ in pickletools.genops(pickled):
        if code.name in ("SHORT_BINUNICODE", "BINUNICODE"):
            strings.append(argument)
        check(
            code.name != "STACK_GLOBAL" or strings[-2:-1] != ["__main__"],
            "DataLoader",
            f"{strings[-1] if strings else ''} is defined in the program that was started, and "
            "that is no file that worker processes could import; put it into a module, or pass "
            "thread_pool=True",
        )


def _why_not(dataset: Any, batchify: Any, error: Exception) -> str:
    for name, value in (("dataset", dataset), ("batchify_fn", batchify)):
        path, culprit, why = _unpicklable(name, value)
        if path:
            return (
                f"DataLoader: {path} ({culprit!r:.80}) cannot be sent to worker processes: {why}; "
                "use a function or class of a module in its place, open files where they are first "
                "read, or pass thread_pool=True"
            )
    return f"DataLoader: the dataset cannot be sent to worker processes: {error}"


def _unpicklable(name: str, value: Any) -> tuple[str, Any, str]:
    """The path to the innermost part that cannot be pickled, that part, and why; "" if there is
    none."""
    why = _refusal(value)
    if why is None:
        return "", None, ""
    seen = {id(value)}
    while True:
        for step, part in _parts(value):
            refusal = None if id(part) in seen else _refusal(part)
            if refusal is not None:
                seen.add(id(part))
                name, value, why = name + step, part, refusal
                break
        else:
            return name, value, why


def _refusal(value: Any) -> str | None:
    try:
        shared.dumps(value, [])
    except Exception as error:
        return str(error) or type(error).__name__
    return None


def _parts(value: Any) -> list[tuple[str, Any]]:
    """What an object is made of, by how one gets there."""
    if isinstance(value, dict):
        return [(f"[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [(f"[{place}]", part) for place, part in enumerate(value)]
    if isinstance(value, type) or not hasattr(value, "__dict__"):
        return []
    return [(f".{key}", part) for key, part in vars(value).items()]
