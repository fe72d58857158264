"""Our own loader, and the levels that code is generated for."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from tests.backends.harness import run
from tests.backends.test_compiler import product, scaled
from tigon import _native
from tigon.backends.cpu.backend import CpuBackend
from tigon.backends.llvm.target import LEVELS, SHIPPED, architecture, chosen_level, host_level
from tigon.backends.llvm.toolchain import Toolchain
from tigon.base import TigonError

llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()

CALLS = """
define i32 @caller(ptr %x) {
  %a = load float, ptr %x
  %b = call float @scale(float %a)
  store float %b, ptr %x
  ret i32 7
}
declare float @scale(float)
"""
SCALES = """
define float @scale(float %x) {
  %y = fmul float %x, 3.25
  ret float %y
}
"""
CALLS_LIBRARY = """
define double @root(double %x) {
  %y = call double @cbrt(double %x)
  ret double %y
}
declare double @cbrt(double)
"""


def objects(*texts: str, level: str | None = None) -> list[bytes]:
    tools = Toolchain(LEVELS[level or host_level()])  # holds the machines
    compiler = tools.object_compiler(1)
    triple = LEVELS[level or host_level()].triple
    for text in texts:
        compiler.add(f'target triple = "{triple}"\n{text}')
    made = compiler.finish()
    assert all(isinstance(each, bytes) for each in made), made
    return made


def call(address: int) -> tuple[int, float]:
    x = ctypes.c_float(2)
    status = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(address)(ctypes.addressof(x))
    return status, x.value


def test_objects_call_each_other_and_what_is_elsewhere() -> None:
    both = _native.load_code(objects(CALLS, SCALES), {})
    assert both.keys() == {"caller", "scale"} and call(both["caller"]) == (7, 6.5)
    apart = _native.load_code(objects(CALLS), {"scale": both["scale"]})
    assert apart.keys() == {"caller"} and call(apart["caller"]) == (7, 6.5)
    root = _native.load_code(objects(CALLS_LIBRARY), {})["root"]
    assert ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(root)(27) == pytest.approx(3)


def test_code_runs_wherever_a_file_of_it_is_mapped(tmp_path: Path) -> None:
    content, places, elsewhere = _native.link_anywhere(objects(CALLS, SCALES))
    assert elsewhere == {}
    path = tmp_path / "code"
    page = 65536
    path.write_bytes(bytes(page) + content)
    for _ in range(2):
        begin = _native.map_code(str(path), page, len(content), {})
        assert call(begin + places["caller"]) == (7, 6.5)
    with pytest.raises(RuntimeError, match="nowhere"):
        _native.map_code(str(tmp_path / "nowhere"), 0, 10, {})


def test_mapped_code_finds_what_the_c_library_has(tmp_path: Path) -> None:
    """On levels without multiply-add, say, `fma`."""
    content, places, elsewhere = _native.link_anywhere(objects(CALLS_LIBRARY, SCALES))
    assert elsewhere.keys() == {"cbrt"} and elsewhere["cbrt"] % 65536 == 0
    path = tmp_path / "code"
    path.write_bytes(content)
    begin = _native.map_code(str(path), 0, len(content), elsewhere)
    root = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(begin + places["root"])
    assert root(27) == pytest.approx(3)
    scale = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_float)(begin + places["scale"])
    assert scale(2) == 6.5
    assert path.read_bytes() == content
    with pytest.raises(AssertionError, match="'unheard_of' is not defined anywhere"):
        _native.map_code(str(path), 0, len(content), {"unheard_of": 0})
    with pytest.raises(AssertionError, match="'cbrt' is beyond the code"):
        _native.map_code(str(path), 0, len(content), {"cbrt": len(content) - 8})


def test_what_cannot_be_linked_is_named() -> None:
    with pytest.raises(AssertionError, match="'unheard_of' is not defined anywhere"):
        _native.load_code(objects(CALLS.replace("scale", "unheard_of")), {})
    with pytest.raises(AssertionError, match="'scale' is defined twice"):
        _native.load_code(objects(SCALES) * 2, {})
    with pytest.raises(AssertionError, match="code has memory of its own"):
        _native.load_code(objects("@state = global i32 5\n" + SCALES), {})
    assert _native.load_code([], {}) == {}


def test_damaged_objects_are_refused_or_linked_and_never_read_beyond() -> None:
    """What is loaded was checked before; here nothing is run."""
    (whole,) = objects(SCALES)
    for end in range(0, len(whole), 7):
        with pytest.raises(AssertionError, match="object code"):
            _native.link_anywhere([whole[:end]])
    draw = np.random.default_rng(0)
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[draw.integers(len(whole))] = draw.integers(256)
        try:
            _native.link_anywhere([bytes(damaged)])
        except AssertionError as error:
            assert "object code" in str(error)


def test_the_processor_says_what_llvm_says_of_it() -> None:
    flags = llvm.get_host_cpu_features()
    there = set(_native.processor_features())
    known = set(LEVELS["x86-64-v4-narrow"].features.replace("+", "").split(","))
    known -= set("cx8 fxsr mmx sse sse2 x87".split())
    if architecture() == "x86-64":
        assert there == {name for name in known if flags.get(name, False)}
    else:
        assert there == set()


def test_levels_are_those_of_the_architecture() -> None:
    assert set(SHIPPED["x86-64"]) | set(SHIPPED["aarch64"]) | {"x86-64"} == LEVELS.keys()
    before: set[str] = set()
    for name in ("x86-64", *SHIPPED["x86-64"]):
        features = set(LEVELS[name].features.split(","))
        assert features > before
        before = features


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_computes_the_same_where_it_runs(level: str) -> None:
    """Elsewhere it is compiled and linked."""
    backend = CpuBackend(LEVELS[level])
    nests = scaled(50, 3.0, 4), product(9, 9, 9, True)
    order = list(LEVELS)
    if level.startswith(architecture()) and order.index(level) <= order.index(host_level()):
        out = np.zeros(50, np.float32)
        run(nests[0], [np.ones(50, np.float32), out], backend=backend)
        assert (out == 81).all()
        out = np.zeros((9, 9), np.float32)
        run(
            nests[1],
            [np.ones((9, 9), np.float32), np.eye(9, dtype=np.float32), out],
            backend=backend,
        )
        assert (out == 2).all()
    for nest in nests:
        structure = backend.prepare(nest).structure
        assert backend.assembly(structure)


def test_aarch64_is_linked_as_its_manual_says() -> None:
    """Instructions after linking: a page's address, the rest of it, and a call."""
    content, places, _ = _native.link_anywhere(objects(CALLS, SCALES, level="aarch64"))
    words = struct.unpack(f"<{len(content) // 4}I", content[: len(content) // 4 * 4])
    begin = places["caller"] // 4
    calls = [at for at in range(begin, begin + 20) if words[at] >> 26 == 0b100101]  # bl
    (at,) = calls
    assert at + (words[at] & 0x3FFFFFF) == places["scale"] // 4


def test_a_level_is_chosen_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIGON_LEVEL", raising=False)
    assert chosen_level() == host_level()
    monkeypatch.setenv("TIGON_LEVEL", "z80")
    with pytest.raises(TigonError, match=r"TIGON_LEVEL: this machine runs code for .*'z80'"):
        chosen_level()
    lowest = next(name for name in LEVELS if name.startswith(architecture()))
    monkeypatch.setenv("TIGON_LEVEL", lowest)
    assert chosen_level() == lowest


PROGRAM = """
import sys
from tigon import nd
print(float((nd.ones(5) * 3 + nd.dot(nd.ones((5, 5)), nd.ones(5))).sum().asnumpy()))
print("llvmlite" in sys.modules)
"""


@pytest.mark.parametrize("level", ["", "lowest"])
def test_who_compiles_nothing_needs_no_llvm(tmp_path: Path, level: str) -> None:
    lowest = next(name for name in LEVELS if name.startswith(architecture()))

    def process() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "TIGON_CACHE": str(tmp_path / "cache"),
                "TIGON_LEVEL": level and lowest,
            },
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    assert process() == ["40.0", "True"]
    assert process() == ["40.0", "False"]
