"""The folder of compiled code: whose files are touched, and what is believed of them."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.harness import run
from tests.backends.test_compiler import product, scaled
from tigon import nd
from tigon.backends import store
from tigon.backends.cpu.backend import CpuBackend
from tigon.backends.store import MARK, OWN_FOLDER, ObjectStore, name_of
from tigon.base import TensorType, as_dtype
from tigon.base import files as writing
from tigon.ir import Graph, variable
from tigon.ops.record import get
from tigon.program import compile as compiling
from tigon.program import lowered, target
from tigon.runtime.counters import stats


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "cache"
    made.mkdir(mode=0o700)
    monkeypatch.setenv("TIGON_CACHE", str(made))
    monkeypatch.setenv("TIGON_LIBRARY", "0")
    return made


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.o"))


# ------------------------------------------------------------------------- whose files


def stranger(kind: str, number: int) -> str:
    return {"picture": f"photo{number}.jpg", "object": name_of(f"of somebody else {number}")}[kind]


@pytest.mark.parametrize("kind", ["picture", "object"])
def test_files_of_others_are_never_touched(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where they are named as ours are."""
    monkeypatch.setattr(store, "_MOST", 10)
    names = {stranger(kind, number) for number in range(25)}
    for name in names:
        (folder / name).write_bytes(b"precious")
    for round_ in range(3):
        ours = ObjectStore(str(folder))
        for number in range(8):
            ours.save(f"{round_} {number}", b"code")
    assert {path.name for path in folder.iterdir()} == names | {OWN_FOLDER}
    assert all((folder / name).read_bytes() == b"precious" for name in names)
    assert ObjectStore(str(folder)).load("2 7") == b"code"
    assert all(ObjectStore(str(folder)).load(f"of somebody else {n}") is None for n in range(25))


def test_a_marked_folder_stays_bounded_and_spares_what_is_not_ours(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_MOST", 10)
    ours = ObjectStore(str(folder))
    for number in range(12):
        ours.save(str(number), b"code")
        os.utime(folder / name_of(str(number)), (number, number))
    unfinished = folder / writing._temporary()
    unfinished.write_bytes(b"half")
    os.utime(unfinished, (0, 0))
    added = {"notes.txt", "a" * 64, ".tigon-notes", f"{name_of('0')}.bak", name_of("folder")}
    for name in added - {name_of("folder")}:
        (folder / name).write_bytes(b"")
        os.utime(folder / name, (0, 0))
    (folder / name_of("folder")).mkdir()
    again = ObjectStore(str(folder))
    assert again.load("11") == b"code" and again.load("0") is None
    kept = {name_of(str(number)) for number in range(5, 12)}
    assert {path.name for path in folder.iterdir()} == {MARK, *added, *kept}


def test_a_folder_of_ours_is_marked_before_anything_lies_in_it(folder: Path) -> None:
    seen: list[list[str]] = []
    write = store.write_file

    def watched(path: Any, content: bytes, durable: bool) -> None:
        seen.append(sorted(os.listdir(folder)))
        write(path, content, durable)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "write_file", watched)
        ObjectStore(str(folder)).save("text", b"code")
    assert seen == [[], [MARK]]
    (folder / "notes.txt").write_bytes(b"")  # what is added later changes nothing
    assert ObjectStore(str(folder)).load("text") == b"code"


def test_a_mark_that_is_not_ours_marks_nothing(folder: Path) -> None:
    (folder / MARK).write_bytes(b"a file of the user's")
    ObjectStore(str(folder)).save("text", b"code")
    assert sorted(path.name for path in folder.iterdir()) == [MARK, OWN_FOLDER]
    assert (folder / MARK).read_bytes() == b"a file of the user's"


def test_a_folder_that_others_can_write_to_is_not_used(folder: Path) -> None:
    os.chmod(folder, 0o777)
    ObjectStore(str(folder)).save("text", b"code")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_under_a_name_of_ours_is_a_miss_and_stays(folder: Path, kind: str) -> None:
    ours = ObjectStore(str(folder))
    ours.save("first", b"code")
    path, other = folder / name_of("second"), folder.parent / "other"
    other.write_bytes(b"mine")
    if kind == "link":
        path.symlink_to(other)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert ours.load("second") is None
    ours.save("second", b"code")
    assert ours.load("second") is None
    assert path.is_symlink() == (kind == "link") and other.read_bytes() == b"mine"
    assert ours.load("first") == b"code"


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_under_the_mark_s_name_marks_nothing(folder: Path, kind: str) -> None:
    mark = folder / MARK
    if kind == "link":
        (folder.parent / "other").write_bytes(b"mine")
        mark.symlink_to(folder.parent / "other")
    elif kind == "pipe":
        os.mkfifo(mark)
    else:
        mark.mkdir()
    for _ in range(2):
        ours = ObjectStore(str(folder))
        ours.save("first", b"code")
        assert ours.load("first") == b"code"
    assert [path.name for path in folder.iterdir() if path.name.endswith(".o")] == []


@pytest.mark.parametrize("most", [0, 1, 40, 100])
def test_a_write_that_stops_leaves_no_entry(
    folder: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    ours = ObjectStore(str(folder))
    assert ours.usable
    left = [most]

    def short(descriptor: int, data: memoryview, write: Callable = os.write) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, data[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(os, "write", short)
    ours.save("text", b"code" * 50)
    monkeypatch.undo()
    assert [path.name for path in folder.iterdir()] == [MARK]
    assert ObjectStore(str(folder)).load("text") is None


def test_short_writes_are_continued(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    ObjectStore(str(folder)).save("text", b"code" * 50)
    assert ObjectStore(str(folder)).load("text") == b"code" * 50


# ---------------------------------------------------------------------- what is believed

DAMAGES: dict[str, Callable[[bytes, list[bytes], random.Random], bytes]] = {
    "cut": lambda own, others, draw: own[: draw.randrange(len(own))],
    "longer": lambda own, others, draw: own + draw.randbytes(draw.randint(1, 9)),
    "bit": lambda own, others, draw: flipped(own, draw.randrange(len(own)), 1 << draw.randrange(8)),
    "swapped": lambda own, others, draw: draw.choice(others),
    "noise": lambda own, others, draw: draw.randbytes(len(own)),
    "joined": lambda own, others, draw: own[: len(own) // 2] + draw.choice(others)[len(own) // 2 :],
    "empty": lambda own, others, draw: b"",
}


def restore(good: dict[Path, bytes]) -> None:
    """New code may lie under other names."""
    for path, content in good.items():
        path.write_bytes(content)


def flipped(content: bytes, place: int, bit: int) -> bytes:
    return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_kernels_are_compiled_again(folder: Path, damage: str) -> None:
    """Never another kernel's code, and never an error."""
    draw = random.Random(damage)
    x = np.ones(50, np.float32)

    def compute() -> float:
        backend = CpuBackend()
        refused: list[int] = []
        backend.store.on_refused = lambda: refused.append(1)
        for factor, expected in ((2.0, 16), (3.0, 81), (5.0, 625)):
            out = np.zeros(50, np.float32)
            run(scaled(50, factor, 4), [x, out], backend=backend)
            assert (out == expected).all()
        a, b = np.ones((9, 9), np.float32), np.eye(9, dtype=np.float32)
        out = np.zeros((9, 9), np.float32)
        run(product(9, 9, 9, True), [a, b, out], backend=backend)
        assert (out == 2).all()
        return len(refused)

    assert compute() == 0
    good = {path: path.read_bytes() for path in entries(folder)}
    assert len(good) >= 6
    assert compute() == 0
    noticed = 0
    for path, own in good.items():
        others = [content for content in good.values() if content != own]
        path.write_bytes(DAMAGES[damage](own, others, draw))
        noticed += compute() > 0
        assert compute() == 0  # made anew
        restore(good)
    assert noticed >= 4  # two kernels and their libraries; nobody asks for a helper by itself
    for path, own in good.items():
        path.write_bytes(DAMAGES[damage](own, list(good.values()), draw))
    compute()


def result(graph: Graph) -> np.ndarray:
    return compiling.compile_graph(graph).run([nd.ones(3)])[0].asnumpy()


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_programs_are_lowered_again(folder: Path, damage: str) -> None:
    draw = random.Random(damage)
    x = variable("x", TensorType((3,), as_dtype("float32")))
    graphs = {
        op: Graph([x], [get(op)(get("exp")(x))]) for op in ("tanh", "log", "negative", "softmax")
    }
    expected = {op: result(graph) for op, graph in graphs.items()}

    def compute() -> float:
        """By a backend that has compiled nothing yet."""
        fresh = CpuBackend()
        fresh.store.on_refused = target.backend("cpu").store.on_refused
        before = stats()["refused_entries"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lowered, "backend", lambda name: fresh)
            for op, graph in graphs.items():
                assert np.array_equal(result(graph), expected[op])
        return stats()["refused_entries"] - before

    assert compute() == compute() == 0
    good = {path: path.read_bytes() for path in entries(folder)}
    programs = [path for path, content in good.items() if b'"waves"' in content]
    assert len(programs) == len(graphs)
    for path in programs:
        others = [content for content in good.values() if content != good[path]]
        path.write_bytes(DAMAGES[damage](good[path], others, draw))
        assert compute() >= 1
        assert compute() == 0
        restore(good)
    for path, own in good.items():
        path.write_bytes(DAMAGES[damage](own, list(good.values()), draw))
    compute()
