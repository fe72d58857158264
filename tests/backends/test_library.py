"""The code that the package brings: what it saves, and that nothing depends on it."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends.test_linked_code import CALLS, SCALES, call, objects
from tigon import _native
from tigon.backends import library
from tigon.backends.library import open_library, path_of, write_library
from tigon.backends.llvm.target import host_level

ROOT = Path(__file__).parents[2]
BUILT = Path(path_of(host_level()))
needs_library = pytest.mark.skipif(
    not BUILT.exists(), reason="built with -DTIGON_LIBRARY=OFF, or for another machine"
)

NETWORK = """
import sys
import numpy as np
import tigon as mx
from tigon import gluon, nd
from tigon.gluon import nn

folder = sys.argv[1]
if folder:
    from tigon.backends import library
    library.FOLDER = folder

mx.random.seed(3)
net = nn.HybridSequential()
for before, after in (784, 256), (256, 128), (128, 10):
    net.add(nn.Dense(after, None if after == 10 else "relu", in_units=before))
net.initialize()
net.hybridize()
x = nd.array(np.random.default_rng(0).standard_normal((64, 784)))
out = net(x)
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1, "momentum": 0.9})
step = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
loss = step(x, nd.zeros((64,)))
stats = mx.runtime.stats()
print(out.asnumpy().tobytes().hex(), loss.asnumpy().tobytes().hex())
print(net[2].weight.data().asnumpy().tobytes().hex())
print(stats["kernel_compilations"], "llvmlite" in sys.modules)
"""


def process(cache: Path, folder: str = "", **environment: str) -> tuple[list[str], str]:
    """What it printed, and what it was told."""
    done = subprocess.run(
        [sys.executable, "-c", NETWORK, folder],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TIGON_CACHE": str(cache), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\n")[:-1], done.stderr


@needs_library
def test_an_ordinary_network_compiles_nothing_and_computes_the_same_to_the_bit(
    tmp_path: Path,
) -> None:
    brought, told = process(tmp_path / "empty")
    assert brought[-1] == "0 False" and not told
    assert not list((tmp_path / "empty").glob("*.o"))
    compiled, _ = process(tmp_path / "other", TIGON_LIBRARY="0")
    assert compiled[-1].endswith("True") and not compiled[-1].startswith("0 ")
    assert brought[:-1] == compiled[:-1]


@needs_library
def test_it_is_used_where_no_cache_is(tmp_path: Path) -> None:
    assert process(Path("0"))[0][-1] == "0 False"


@needs_library
@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign"])
def test_a_damaged_or_foreign_one_is_told_of_and_not_used(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    content = bytearray(BUILT.read_bytes())
    if damage == "cut":
        del content[-100:]
    elif damage == "flipped":
        content[-100] ^= 1
    else:
        begin = content.index(b'"made_by": "') + 12
        content[begin : begin + 4] = b"beef"
    path = folder / BUILT.name
    path.write_bytes(content)
    printed, told = process(tmp_path / "cache", str(folder))
    what = "was made by another version of tigon" if damage == "foreign" else "is damaged"
    assert told == f"tigon: {path} {what}; programs are compiled instead\n"
    assert not printed[-1].startswith("0 ")
    assert printed[:-1] == process(tmp_path / "empty")[0][:-1]
    assert not process(tmp_path / "cache", str(folder), TIGON_NOTICES="0")[1]


# ------------------------------------------------------------------------- one file


def small() -> bytes:
    code, places, elsewhere = _native.link_anywhere(objects(CALLS, SCALES))
    functions = {letter * 64: places[name] for letter, name in (("a", "caller"), ("b", "scale"))}
    programs = {"c" * 64: b"first", "d" * 64: b"second program"}
    return write_library("digest", code, functions, elsewhere, programs)


def test_what_is_written_is_found(tmp_path: Path) -> None:
    (tmp_path / "level.tigon").write_bytes(small())
    found = open_library("level", "digest", str(tmp_path))
    assert found is not None
    address = found.function("a" * 64)
    assert address is not None and call(address) == (7, 6.5)
    scale = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_float)(found.function("b" * 64))
    assert scale(2) == 6.5
    assert found.program("c" * 64) == b"first" and found.program("d" * 64) == b"second program"
    assert found.function("c" * 64) is None and found.program("a" * 64) is None
    assert open_library("other", "digest", str(tmp_path)) is None


def test_names_that_begin_alike_are_refused() -> None:
    with pytest.raises(ValueError, match="begin alike"):
        write_library("digest", b"", {}, {}, {"a" * 32 + "b": b"", "a" * 32 + "c": b""})


def test_every_damage_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, draw = small(), random.Random(0)
    path = tmp_path / "level.tigon"
    for number in range(300):
        content = bytearray(whole)
        if number % 2:
            del content[draw.randrange(len(content)) :]
        else:
            # Spaces pad the line that says what the rest is.
            place = draw.randrange(1024, len(content))
            content[place] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        assert open_library("level", "digest", str(tmp_path)) is None
        assert "programs are compiled instead" in capsys.readouterr().err
    path.write_bytes(whole)
    assert open_library("level", "another", str(tmp_path)) is None
    assert "was made by another version" in capsys.readouterr().err


def test_code_that_cannot_be_mapped_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> int:
        raise RuntimeError("Operation not permitted")

    (tmp_path / "level.tigon").write_bytes(small())
    monkeypatch.setattr(_native, "map_code", refused)
    assert open_library("level", "digest", str(tmp_path)) is None
    assert "cannot be used (Operation not permitted); programs" in capsys.readouterr().err


def test_it_can_be_turned_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "level.tigon").write_bytes(small())
    monkeypatch.setenv("TIGON_LIBRARY", "0")
    assert open_library("level", "digest", str(tmp_path)) is None


# -------------------------------------------------------------------------- the tool


def test_code_for_every_level_is_made_on_any_machine(tmp_path: Path) -> None:
    """Of a network of its own, so that it is quick."""
    tools = tmp_path / "tools"
    tools.mkdir()
    shutil.copy(ROOT / "tools" / "library.py", tools)
    (tools / "library_programs.py").write_text(
        "from tigon import nd\n"
        "def run_all(keep_programs):\n"
        "    (nd.dot(nd.ones((30, 40)), nd.ones((40, 50))) + 2).wait_to_read()\n"
    )
    shutil.copytree(
        ROOT / "tigon", tmp_path / "tigon", ignore=shutil.ignore_patterns("__pycache__", "library")
    )
    done = subprocess.run(
        [sys.executable, tools / "library.py", "--output", tmp_path / "made", "--levels", "all"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = sorted(path.name for path in (tmp_path / "made").iterdir())
    from tigon.backends.llvm.target import SHIPPED, architecture

    assert made == sorted(f"{level}.tigon" for level in SHIPPED[architecture()])
    assert library.FOLDER == str(BUILT.parent)
