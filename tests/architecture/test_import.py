"""What `import tigon` imports: what arrays need, and nothing that only some programs use."""

import subprocess
import sys
from pathlib import Path

import pytest

import tigon.ops

ROOT = Path(__file__).parents[2]


def modules_after(program: str) -> set[str]:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys, numpy\nbefore = set(sys.modules)\n{program}\n"
            "print(*sorted(set(sys.modules) - before))",
        ],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def under(modules: set[str], package: str) -> set[str]:
    return {name for name in modules if name == package or name.startswith(f"{package}.")}


def test_import_leaves_out_what_only_some_programs_use():
    found = modules_after("import tigon")
    for package in """llvmlite dataclasses concurrent logging json hashlib pkgutil fractions
        tigon.gluon tigon.sym tigon.optimizer tigon.metric tigon.io tigon.initializer
        tigon.autograd tigon.operator tigon.visualization tigon.backends.cpu
        tigon.backends.llvm tigon.backends.null""".split():
        assert not under(found, package), package
    # Beyond tigon and numpy: a handful of small ones.
    others = {name for name in found if not under({name}, "tigon")}
    assert len(others) <= 10, others
    assert len(found) <= 255, len(found)


def test_gluon_leaves_out_data_loading_and_the_zoo():
    found = modules_after("import tigon as mx\nmx.gluon.nn.Dense, mx.gluon.Trainer")
    for package in ("tigon.gluon.data", "tigon.gluon.model_zoo", "concurrent", "logging"):
        assert not under(found, package), package


@pytest.mark.parametrize(
    "expression",
    "mx.gluon.nn mx.gluon.data.DataLoader mx.gluon.utils mx.gluon.model_zoo mx.sym mx.symbol.var "
    "mx.autograd.record mx.init.Xavier mx.metric.Accuracy mx.optimizer.SGD mx.io.NDArrayIter "
    "mx.lr_scheduler mx.viz.print_summary mx.jit mx.AttrScope mx.random.seed mx.NoGradient "
    "mx.operator.register".split(),
)
def test_every_part_is_there_without_further_imports(expression):
    modules_after(f"import tigon as mx\n{expression}")


def test_star_import_and_dir_hold_every_part():
    modules_after(
        "from tigon import *\nimport tigon\n"
        "assert set(tigon.__all__) <= set(globals()) and set(tigon.__all__) <= set(dir(tigon))\n"
        "assert symbol is sym and ndarray is nd and viz is visualization\n"
        "from tigon.symbol import var as v\nfrom tigon.ndarray import zeros\n"
        "assert v is var and zeros is nd.zeros"
    )


def test_every_file_of_operators_is_imported():
    folder = Path(tigon.ops.__file__).parent
    files = {path.relative_to(ROOT).with_suffix("") for path in folder.rglob("*.py")}
    names = {".".join(path.parts).removesuffix(".__init__") for path in files}
    later = {"tigon.ops.frontend", "tigon.ops.custom"}  # the records of the latter are users'
    assert names - later <= modules_after("import tigon.ops") | {"tigon.ops"}


def test_arrays_are_found_under_the_names_that_mxnet_gives_their_file():
    modules_after(
        "import tigon as mx\nimport tigon.ndarray.ndarray as found\n"
        "assert found is mx.nd.ndarray and found.NDArray is mx.nd.NDArray\n"
        "assert callable(mx.nd.array) and callable(mx.ndarray.array)"
    )
