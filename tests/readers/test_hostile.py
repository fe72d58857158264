"""What tries damaged files notices what it is there for, and each reader can be asked by name."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

pytest.importorskip("onnx")
import tigon as mx
from tests.readers import hostile
from tests.readers.hostile import Hang, Hostile, main, readers, run

KEPT: list[bytes] = []


def refuses(_: bytes) -> None:
    raise mx.TigonError("file: at byte 3: damaged")


def says_no_place(_: bytes) -> None:
    raise mx.TigonError("damaged")


def crashes(_: bytes) -> None:
    raise ValueError("damaged")


def says_much(_: bytes) -> None:
    raise mx.TigonError("file: at byte 3: " + "damaged" * 1000)


def hangs(_: bytes) -> None:
    try:
        while True:
            pass
    except Exception:
        pass


def takes_memory(_: bytes) -> None:
    KEPT.append(bytes(1 << 20))
    KEPT.clear()


def of(read: Callable[[bytes], object]) -> Hostile:
    return Hostile(lambda draw: (read, b"content"), re.compile(r"file: at byte \d+: "), 1 << 16)


def test_files_that_are_read_and_refused_are_counted() -> None:
    assert run(of(len), 30, 1) == (30, 0) and run(of(refuses), 30, 1, measured=30) == (0, 30)
    draws = Hostile(lambda draw: (refuses if draw.random() < 0.5 else len, b""), re.compile("file"))
    assert run(draws, 50, 1) == run(draws, 50, 1) != run(draws, 50, 2)


@pytest.mark.parametrize("read", [says_no_place, crashes, says_much, hangs, takes_memory])
def test_what_else_happens_ends_the_run(
    read: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostile, "LONGEST", 0.05)
    with pytest.raises(Hang if read is hangs else AssertionError, match="content"):
        run(of(read), 1, 1, measured=int(read is takes_memory))


def test_every_reader_is_asked_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    for name, own in readers().items():
        assert sum(run(own, 20, name, measured=1)) == 20
        draw = random.Random(1)
        assert len({own.draw(draw)[1] for _ in range(20)}) > 10, name
    main("cxxnet models", 3, "7", 1)
    assert re.fullmatch(r"cxxnet models: \d read, \d refused, \d+ s\n", capsys.readouterr().out)
    with pytest.raises(SystemExit, match=r"no reader 'nobody'; there are onnx, caffe network, "):
        main("nobody", 1, "7")
