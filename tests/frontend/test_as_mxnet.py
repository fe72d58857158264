"""`import mxnet` gives this package: the same modules under both names, in every form of an import,
and what is not there says what to use. Each program is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tigon
from tigon import as_mxnet
from tigon.base import places

ROOT = Path(__file__).parents[2]


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        cwd=cwd,
    )


def runs(program: str) -> str:
    done = run("-W", "error", "-c", f"import tigon\ntigon.install_as_mxnet()\n{program}")
    assert done.returncode == 0, done.stderr
    return done.stdout


MODULES = """
attribute autograd base callback context contrib contrib.amp contrib.amp.amp contrib.amp.lists
contrib.amp.lists.symbol contrib.amp.lists.symbol_bf16 contrib.amp.lists.symbol_fp16
contrib.amp.loss_scaler contrib.ndarray contrib.symbol contrib.tensorboard
contrib.onnx contrib.text
contrib.text.embedding contrib.text.utils contrib.text.vocab engine executor gluon
gluon.block gluon.contrib gluon.contrib.estimator gluon.contrib.rnn gluon.contrib.rnn.conv_rnn_cell
gluon.contrib.rnn.rnn_cell gluon.data gluon.data.dataloader gluon.data.dataset gluon.data.sampler
gluon.loss gluon.metric gluon.model_zoo gluon.model_zoo.model_store gluon.model_zoo.vision
gluon.model_zoo.vision.alexnet gluon.model_zoo.vision.mobilenet gluon.model_zoo.vision.resnet
gluon.model_zoo.vision.squeezenet gluon.model_zoo.vision.vgg gluon.nn gluon.nn.activations
gluon.nn.basic_layers gluon.nn.conv_layers gluon.parameter gluon.rnn gluon.rnn.rnn_cell
gluon.rnn.rnn_layer gluon.trainer gluon.utils image image.detection image.image init initializer io
io.io io.utils kv kvstore kvstore.base kvstore.kvstore libinfo log lr_scheduler metric mod model
module module.base_module module.bucketing_module module.executor_group module.module
module.python_module module.sequential_module mon monitor name nd nd.contrib nd.random ndarray
ndarray._internal ndarray.contrib
ndarray.image ndarray.linalg ndarray.ndarray ndarray.op ndarray.random ndarray.sparse ndarray.utils
operator optimizer optimizer.optimizer random registry rnn rnn.io rnn.rnn rnn.rnn_cell runtime sym
sym.linalg symbol symbol._internal symbol.contrib symbol.image symbol.linalg symbol.op symbol.random
symbol.sparse symbol.symbol test_utils util visualization viz img
""".split()
"""Paths of modules of MXNet 1.9.1, and the short ones that are attributes there."""

LATER = """
contrib.onnx.onnx2mx contrib.quantization
executor_manager ndarray.numpy np npx numpy numpy.random numpy_extension
onnx optimizer.contrib symbol.numpy torch
""".split()
"""What is not there yet."""


@pytest.mark.parametrize("package", ["mxnet", "tigon"])
def test_every_module_is_one_object_under_all_its_names(package: str) -> None:
    runs(
        f"""
import importlib, sys
for path in {MODULES!r}:
    module = importlib.import_module({package!r} + "." + path)
    place = sys.modules.get("tigon." + tigon.base.places.place_of(path), module)
    assert module is place, path
    found = tigon
    for name in path.split("."):
        found = getattr(found, name)
    if path == "gluon.model_zoo.vision.alexnet":  # where a function bears the name of its file
        assert found is module.alexnet and callable(found)
        continue
    assert found is module, path
    head, _, last = path.rpartition(".")
    names = {{}}
    exec("from " + ".".join([{package!r}, head]).rstrip(".") + " import " + last, names)
    assert names[last] is module, path
    exec("import " + {package!r} + "." + path + " as found", names)
    assert names["found"] is module, path
    assert module.__spec__ is None or module.__spec__.name == module.__name__, path
    assert module.__name__.startswith("tigon"), path
files = [getattr(m, "__file__", None) for m in {{id(m): m for m in sys.modules.values()}}.values()
         if getattr(m, "__name__", "").startswith(("tigon", "mxnet"))
         and (m.__spec__ or m.__name__ == "mxnet")]  # groups of operators have none
files = [file for file in files if file]
assert len(files) - len(set(files)) == ({package!r} == "mxnet"), "second copies"  # mxnet itself
"""
    )


@pytest.mark.parametrize("path", LATER)
def test_what_is_not_there_says_what_to_use(path: str) -> None:
    said = places.said_of(path)
    assert said is not None and "docs/missing.md" in said
    assert not hasattr(tigon, path.partition(".")[0]) or "." in path
    head, _, last = path.rpartition(".")
    for package in ("mxnet", "tigon"):
        owner = ".".join(filter(None, (package, head)))
        for statement in (f"import {package}.{path}", f"from {owner} import {last}"):
            program = f"""
try:
    {statement}
except ImportError as error:
    assert str(error) == {said!r}, error
else:
    raise AssertionError
"""
            exec(program) if package == "tigon" else runs(program)


def test_version_and_attributes_of_the_package_itself() -> None:
    runs(
        """
import sys
import mxnet as mx
from mxnet import *
from mxnet import gluon as second
assert mx.__version__ == mx.libinfo.__version__ == "1.9.1" and tigon.__version__ != "1.9.1"
assert mx is sys.modules["mxnet"] and mx.__name__ == "mxnet"
assert nd is ndarray is tigon.nd and second is gluon is tigon.gluon and symbol is sym
assert set(dir(tigon)) <= set(dir(mx)) and mx.__all__ == tigon.__all__
mx.flag = 3
assert tigon.flag == 3
del mx.flag
assert not hasattr(tigon, "flag") and not hasattr(mx, "flag")
try:
    mx.np
except AttributeError as error:
    assert "mx.np is not there yet; the nearest thing: nd" in str(error)
for name in ("nope", "nd.array", "nd.nope", "metric.nope", "gluon.nn.nope"):
    try:
        __import__("mxnet." + name)
    except ModuleNotFoundError as error:
        assert error.name == "mxnet." + name and "mxnet." + name in str(error)
    else:
        raise AssertionError(name)
tigon.install_as_mxnet()
assert sum(getattr(f, "__name__", "") == "_Finder" for f in sys.meta_path) == 1
"""
    )


def test_functions_and_classes_are_found_by_their_dotted_names() -> None:
    runs(
        """
from pydoc import locate
import inspect
for name in ("mxnet.nd.array", "mxnet.ndarray.array", "mxnet.nd.random.uniform",
             "mxnet.gluon.nn.Dense", "mxnet.ndarray.ndarray.NDArray", "mxnet.metric.Accuracy"):
    found = locate(name)
    assert callable(found) and not inspect.ismodule(found), name
assert locate("mxnet.nope") is None and locate("mxnet.nd.nope") is None
assert locate("mxnet.np.array") is None
"""
    )


def test_no_file_of_a_public_package_bears_a_public_functions_name() -> None:
    for package in (tigon, tigon.nd, tigon.sym, tigon.gluon):
        for file in Path(package.__path__[0]).iterdir():
            name = file.stem
            member = getattr(package, name, None) if name in package.__all__ else None
            assert member is None or isinstance(member, type(tigon)), f"{package.__name__}.{name}"


def test_a_program_of_old_trains() -> None:
    said = runs(
        """
import mxnet as mx
from mxnet import autograd, gluon, init, nd
from mxnet.gluon import data as gdata, loss as gloss, nn
import mxnet.ndarray as F
features = nd.random.normal(scale=1, shape=(64, 2))
labels = nd.dot(features, nd.array([[2.0], [-3.4]])) + 4.2
net = nn.Sequential()
net.add(nn.Dense(1))
net.initialize(init.Normal(sigma=0.01), ctx=mx.cpu())
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.03})
loss = gloss.L2Loss()
for epoch in range(30):
    for X, y in gdata.DataLoader(gdata.ArrayDataset(features, labels), 8, shuffle=True):
        with autograd.record():
            error = loss(net(X), y)
        error.backward()
        trainer.step(8)
mx.test_utils.assert_almost_equal(net[0].weight.data(), F.array([[2.0, -3.4]]), atol=0.1)
print(mx.__version__)
"""
    )
    assert said == "1.9.1\n"


def test_another_mxnet_is_not_hidden_once_it_is_there() -> None:
    done = run(
        "-c",
        "import sys, types, tigon\nsys.modules['mxnet'] = types.ModuleType('mxnet')\n"
        "tigon.install_as_mxnet()",
    )
    assert "install_as_mxnet: mxnet is imported already, from None; call it before" in done.stderr


def test_uninstalling_leaves_nothing_behind() -> None:
    before = list(sys.meta_path)
    as_mxnet.install_as_mxnet()
    try:
        import mxnet.nd  # type: ignore[import-not-found]

        assert mxnet.nd is tigon.nd
    finally:
        as_mxnet.uninstall()
    assert sys.meta_path == before and not any(n.startswith("mxnet") for n in sys.modules)
    with pytest.raises(ModuleNotFoundError):
        import mxnet


# ----------------------------------------------------------------------------- python -m tigon


PROGRAM = """
import sys
import mxnet as mx
import helper
if __name__ == "__main__":
    print(mx.__version__, sys.argv, helper.__name__, __file__)
    sys.exit(3)
"""


def test_running_a_program(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "program.py").write_text(PROGRAM)
    (folder / "helper.py").write_text("from mxnet import nd\nx = nd.ones(1)\n")
    done = run("-m", "tigon", "old/program.py", "--lr", "0.1", "-h", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    argv = ["old/program.py", "--lr", "0.1", "-h"]
    assert done.stdout == f"1.9.1 {argv} helper old/program.py\n"
    done = run("-m", "tigon", "-m", "program", "x", cwd=folder)
    assert done.returncode == 3 and "'x']" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 1, "usage: python -m tigon program.py"),
        (["-x"], 1, "usage: python -m tigon program.py"),
        (["-m"], 1, "usage: python -m tigon program.py"),
        (["nowhere.py"], 1, "expected a program; there is no 'nowhere.py'"),
        (["--help"], 0, "`import mxnet` then gives tigon"),
    ],
    ids=str,
)
def test_what_it_is_told_wrongly(
    arguments: list[str], status: int, said: str, tmp_path: Any
) -> None:
    done = run("-m", "tigon", *arguments, cwd=tmp_path)
    assert done.returncode == status and said in done.stdout + done.stderr


def test_an_error_of_the_program_is_shown_as_its_own(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import mxnet.numpy\n")
    done = run("-m", "tigon", "program.py", cwd=tmp_path)
    assert done.returncode == 1
    assert 'File "program.py", line 1' in done.stderr or "program.py" in done.stderr
    assert "mx.numpy is not there yet; the nearest thing: nd" in done.stderr
