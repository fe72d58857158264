"""Compilation: sharing, threads, and the store of object code on disk."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.backends.harness import run
from tigon.backends.cpu.backend import CpuBackend
from tigon.backends.llvm import objects
from tigon.backends.llvm.objects import Compiler, Job
from tigon.backends.llvm.text import Function
from tigon.backends.llvm.toolchain import Toolchain
from tigon.backends.store import ObjectStore
from tigon.base.dtypes import float32
from tigon.base.errors import InternalError
from tigon.loop import build as L
from tigon.loop.grammar import Buffer, Contraction, Loop, LoopAxis, Nest, Store


def scaled(count: int, factor: float, times: int = 1) -> Nest:
    i = L.axis("i")
    value = L.load(0, i, float32)
    for _ in range(times):
        value = L.mul(value, factor)
    loop = Loop((LoopAxis("i", L.const(count), L.const(0), True),), (Store(1, i, value),))
    return Nest((Buffer(float32, "in"), Buffer(float32, "out")), (), (loop,))


def product(rows: int, inner: int, columns: int, twice: bool) -> Contraction:
    m, n, k = (L.axis(name) for name in "mnk")
    total = L.local("sum", float32)
    value = L.mul(total, 2.0) if twice else total
    return Contraction(
        (Buffer(float32, "in"), Buffer(float32, "in"), Buffer(float32, "out")),
        (),
        (LoopAxis("m", L.const(rows)),),
        (LoopAxis("n", L.const(columns)),),
        (LoopAxis("k", L.const(inner)),),
        L.load(0, L.add(L.mul(m, inner), k), float32),
        L.load(1, L.add(L.mul(k, columns), n), float32),
        "sum",
        float32,
        (Store(2, L.add(L.mul(m, columns), n), value),),
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "kernels"
    monkeypatch.setenv("TIGON_CACHE", str(made))
    monkeypatch.setenv("TIGON_LIBRARY", "0")
    return made


def test_numbers_do_not_compile_again(folder: Path) -> None:
    backend = CpuBackend()
    for count, factor in [(10, 2.0), (1000, 3.0)]:
        x = np.arange(count, dtype=np.float32)
        out = np.zeros_like(x)
        run(scaled(count, factor), [x, out], backend=backend)
        np.testing.assert_array_equal(out, x * np.float32(factor))
    assert backend.counters["compilations"] == 1
    assert backend.counters["cache_hits"] == 1


def test_several_structures_share_a_module(folder: Path) -> None:
    backend = CpuBackend()
    structures = [backend.prepare(scaled(100, 2.0, times)).structure for times in (1, 2, 1)]
    addresses = backend.compile(structures)
    assert addresses[0] == addresses[2] != addresses[1]
    assert backend.counters["modules"] == 1


def test_threads_compile_one_function_once(folder: Path) -> None:
    backend = CpuBackend()
    structure = backend.prepare(scaled(100, 2.0, 3)).structure
    addresses: list[int] = []
    threads = [
        threading.Thread(target=lambda: addresses.extend(backend.compile([structure])))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(addresses)) == 1 and len(addresses) == 8
    assert backend.counters["compilations"] == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_a_batch_may_be_cut_anywhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Products share helpers, which may land in other modules than their callers."""
    monkeypatch.setattr(objects, "PORTION", 1)
    monkeypatch.setattr(Toolchain, "threads", lambda self: workers)
    nests = [scaled(50, 2.0, times) for times in range(1, 6)]
    nests += [product(20, 30, 40, scale) for scale in (False, True)]
    for loaded in (0, len(nests)):
        backend = CpuBackend()
        prepared = [backend.prepare(nest) for nest in nests]
        backend.compile([launchable.structure for launchable in prepared])
        assert backend.counters["modules"] == 1
        assert backend.counters["loaded"] >= loaded
        assert backend.counters["compilations"] == len(nests)
        for times in range(1, 6):
            out = np.zeros(50, np.float32)
            run(nests[times - 1], [np.ones(50, np.float32), out], backend=backend)
            assert (out == 2.0**times).all()
        a, b = np.ones((20, 30), np.float32), np.ones((30, 40), np.float32)
        for nest, expected in zip(nests[5:], (30, 60), strict=True):
            c = np.zeros((20, 40), np.float32)
            run(nest, [a, b, c], backend=backend)
            assert (c == expected).all()


@pytest.mark.parametrize("workers", [1, 3])
def test_refused_code_is_an_internal_error(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setenv("TIGON_CACHE", "0")
    monkeypatch.setenv("TIGON_LIBRARY", "0")
    monkeypatch.setattr(objects, "PORTION", 1)
    monkeypatch.setattr(Toolchain, "threads", lambda self: workers)

    def write(name: str, line: str) -> Function:
        made = Function(name, ("i64 %a",), "i64")
        made.block.lines.append(line)
        made.block.terminator = "ret i64 %b"
        return made

    good = [Job(f"good {n}", lambda name, n=n: write(name, f"%b = add i64 %a, {n}")) for n in "123"]
    bad = Job("bad", lambda name: write(name, "%b = nonsense"))
    backend = Compiler()
    with pytest.raises(InternalError, match=r"LLVM refuses the generated code(.|\n)*nonsense"):
        backend.compile([good[0], bad, *good[1:]])
    assert len(set(backend.compile(good))) == 3


def test_another_process_finds_the_code(folder: Path) -> None:
    for loaded in (0, 1):
        backend = CpuBackend()
        x, out = np.ones(50, np.float32), np.zeros(50, np.float32)
        run(scaled(50, 2.0, 4), [x, out], backend=backend)
        assert backend.counters["loaded"] == loaded
        assert (out == 16).all()


def test_damaged_or_foreign_files_are_not_loaded(folder: Path) -> None:
    first = CpuBackend()
    first.compile([first.prepare(scaled(50, 2.0, 5)).structure])
    good = {file: file.read_bytes() for file in folder.iterdir() if file.suffix == ".o"}
    assert len(good) == 2  # the module, and the entry that names it
    for file, content in good.items():
        file.write_bytes(content[:-1] + b"?")
        second = CpuBackend()
        second.compile([second.prepare(scaled(50, 2.0, 5)).structure])
        assert second.counters["loaded"] == 0
        file.write_bytes(content)
    os.chmod(folder, 0o777)
    third = CpuBackend()
    third.compile([third.prepare(scaled(50, 2.0, 5)).structure])
    assert third.counters["loaded"] == 0


def test_without_a_folder_nothing_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIGON_CACHE", "0")
    monkeypatch.setenv("TIGON_LIBRARY", "0")
    store = ObjectStore()
    store.save("text", b"code")
    assert store.load("text") is None


def test_libraries_that_need_each_other_are_made_again(folder: Path) -> None:
    """Two processes at once may leave such ones: each has what the other had loaded."""
    compiler = Compiler()
    for library, has, needs in (("one", "helper_a", "helper_b"), ("two", "helper_b", "helper_a")):
        head = json.dumps({"has": [has], "needs": [needs], "sizes": [0]})
        compiler.store.save(library, head.encode() + b"\n")
        compiler.store.save(compiler._full(objects._helper(has)), f"{library} {has}".encode())
    for name in ("helper_a", "helper_b"):
        assert compiler.find(compiler.name(objects._helper(name))) is None
    assert compiler.loaded == 0
