"""Programs in C and C++ that call exported libraries: examples, and what `docs/deploy.md` shows."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.standalone.pictures import ROOT, export_digits, pictures
from tigon import nd
from tigon.backends.llvm.target import architecture
from tigon.gluon import nn

C = [shutil.which("cc"), "-std=c11", "-Wall", "-Wextra", "-Werror"]
CPP = [shutil.which("c++"), "-std=c++17", "-Wall", "-Wextra", "-Werror", "-pthread"]

pytestmark = pytest.mark.skipif(None in (C[0], CPP[0]), reason="there are no compilers")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: Any) -> tuple[Any, Path]:
    """A network, and the folder of its library."""
    folder = Path(tmp_path_factory.mktemp("digits"))
    return export_digits(folder), folder


def build(command: Any, source: Path, folder: Path) -> Path:
    program = folder / f"{source.stem}_{source.suffix[1:]}"
    library = [str(folder / "digits.so"), f"-Wl,-rpath,{folder}"]
    subprocess.run(
        [*command, "-I", str(folder), str(source), *library, "-o", str(program)], check=True
    )
    return program


def test_examples_name_the_digit(digits: tuple[Any, Path]) -> None:
    net, folder = digits
    images, paths = pictures(folder, 5)
    wanted = net(nd.array(images)).asnumpy().argmax(1).tolist()
    in_c = build(C, ROOT / "examples/native/digit.c", folder)
    found = [run(in_c, path) for path in paths]
    assert [int(one) for one in found] == wanted
    in_cpp = build(CPP, ROOT / "examples/native/digit.cpp", folder)
    assert [int(line) for line in run(in_cpp, *paths).split()] == wanted
    failed = subprocess.run([in_c, ROOT / "README.md"], capture_output=True, text=True)
    assert (failed.returncode, failed.stderr) == (2, "expected a picture of 8x8 pixels as PGM\n")


def run(program: Path, *arguments: str) -> str:
    return subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout


def test_what_the_page_shows(digits: tuple[Any, Path]) -> None:
    """Each block in C or C++ is a program that compiles and says what the page says next."""
    _, folder = digits
    text = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(c|cpp)\n(.*?)^```\n+```text\n(.*?)^```$", text, re.M | re.S)
    assert [kind for kind, *_ in blocks] == re.findall(r"^```(c|cpp)$", text, re.M)
    for number, (kind, code, said) in enumerate(blocks):
        source = folder / f"shown{number}.{kind}"
        source.write_text(code)
        program = build(C if kind == "c" else CPP, source, folder)
        found = subprocess.run([program], check=True, capture_output=True, text=True, cwd=folder)
        assert found.stdout == said


SYSTEMS = {"windows": (".dll", ["-DWINDOWS"]), "macos": (".dylib", [])}


@pytest.mark.skipif(architecture() != "x86-64", reason="other systems are for x86-64 so far")
@pytest.mark.parametrize("system", SYSTEMS)
def test_libraries_for_other_systems(system: str, tmp_path: Path) -> None:
    """Put into memory as their headers say, they compute the same bits."""
    mx.random.seed(6)
    net = nn.HybridSequential()
    net.add(nn.Dense(40, activation="tanh"), nn.Dense(5))
    net.initialize(mx.init.Xavier())
    suffix, options = SYSTEMS[system]
    files = net.export_native(tmp_path / "model", nd.zeros((8, 12)), system=system)
    assert files[0] == str(tmp_path / f"model{suffix}")
    host = tmp_path / "host"
    source = ROOT / "tests/standalone/other_systems.c"
    command = [C[0], "-O1", "-w", *options, "-I", str(ROOT), str(source), "-o", str(host)]
    subprocess.run(command, check=True)
    done = subprocess.run([host, files[0], "8", "12"], check=True, capture_output=True, text=True)
    wanted = net(nd.full((8, 12), 0.25)).asnumpy().view("uint32").ravel().tolist()
    assert [int(line) for line in done.stdout.split()] == wanted
    assert done.stderr == (
        "allocate and release: expected functions; this library asks no system for memory\n"
    )


def test_libraries_for_another_architecture(tmp_path: Path) -> None:
    """Compiled by zig, run by an emulator; both are large, and asked for by who exports so."""
    pytest.importorskip("ziglang")
    emulated = pytest.importorskip("tests.standalone.emulated", exc_type=ImportError)
    mx.random.seed(7)
    net = nn.HybridSequential()
    net.add(nn.Conv2D(8, 3, activation="tanh"), nn.MaxPool2D(2, 2), nn.Dense(10))
    net.initialize(mx.init.Xavier())
    x = nd.random.uniform(shape=(4, 1, 12, 12))
    wanted = net(x).asnumpy()
    files = net.export_native(tmp_path / "model", x, target="aarch64")
    found = emulated.Emulated(Path(files[0]).read_bytes())
    result = found.run(x.asnumpy(), np.zeros_like(wanted))
    np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-6)
