"""What `python -m tigon.tools.inspect` prints of files, good and damaged."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

import tigon as mx
from tests.formats.test_damaged_files import mutated_bytes
from tests.formats.test_params import X, csr, listing, record, row_sparse
from tigon import gluon, recordio, sym
from tigon.export import safetensors
from tigon.export.old_operators import why_it_never_runs
from tigon.tools.inspect import inspect, inspect_content, main

ROOT = Path(__file__).resolve().parents[2]
MODELS = [folder / "shared" / "models" for folder in ROOT.parents]

CONFIGURATION = """
data = train
iter = mnist
iter = threadbuffer
iter = end
netconfig = start
layer[+1] = insanity:i
layer[+1:f] = fullc:f
  nhidden = 2
layer[+0] = softmax
netconfig = end
input_shape = 1,1,3
batch_size = 4
"""


def graph() -> str:
    """A loop, an operator of a plugin, and one that nobody knows."""
    x, w = sym.var("data"), sym.var("fc_weight", shape=(3, 0), init=mx.init.One())
    hidden = sym.BatchNorm(sym.FullyConnected(x, w, num_hidden=3, name="fc"), name="bn")
    rows, _ = sym.contrib.foreach(lambda d, s: (d + s, s), hidden, sym.var("s"))
    document = json.loads(sym.SoftmaxOutput(rows, name="out").tojson())
    place = len(document["nodes"])
    for name, op in (("torch", "TorchModule"), ("odd", "Odd\x1b[2J")):
        document["nodes"].append({"op": op, "name": name, "inputs": [[0, 0, 0]]})
    document["heads"].append([place, 0, 0])
    return json.dumps(document)


def record_file(folder: Path) -> bytes:
    with recordio.MXRecordIO(str(folder / "x.rec"), "w") as file:
        for number, image in enumerate((b"\xff\xd8\xff\xe0...", b"\x89PNG....")):
            label = [1.0, 2.0] if number else 1.0
            file.write(recordio.pack(recordio.IRHeader(0, label, number, 0), image))
    return (folder / "x.rec").read_bytes()


def network_file(folder: Path) -> bytes:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(2, in_units=3), gluon.nn.Dropout(0.5))
    net.initialize()
    net.save(str(folder / "x"))
    return (folder / "x-model.json").read_bytes()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("files")
    arrays = [record(1, X, 0), record(2, np.array([7], np.int64), 6), csr(), row_sparse(3)]
    tensors = {"a.b": X, "c": np.ones(2, np.float16)}
    return {
        "x.params": listing(arrays, [b"arg:w", b"arg:n", b"aux:c", b"aux:r"]),
        "list": listing([record(0, X, 0)]),
        "x.safetensors": safetensors.write(tensors, {"format": "pt"}),
        "x-symbol.json": graph().encode(),
        "x-model.json": network_file(folder),
        "x.rec": record_file(folder),
        "x.idx": b"0\t0\n1\t44\n",
        "x.conf": CONFIGURATION.encode(),
    }


UNKNOWN = "this operator is not known; see tigon.ops.names() for all there are"
PLUGIN = why_it_never_runs("TorchModule") or ""
TOLD = {
    "x.params": """MXNet's .params, version 1 (1 arrays), 2 (2 arrays), 3 (1 arrays)
names: of arguments (arg:) and auxiliary states (aux:), beside a -symbol.json
parameters (4, 140 bytes)
  arg:w  float32  (2, 3)  24 bytes
  arg:n  int64    (1,)    8 bytes
  aux:c  float32  (4, 2)  76 bytes  csr, 3 stored
  aux:r  float32  (4, 2)  32 bytes  row_sparse, 2 stored""",
    "list": """MXNet's .params, version 0
names: none: a list of arrays
parameters (1, 24 bytes)
  0  float32  (2, 3)  24 bytes""",
    "x.safetensors": """safetensors
metadata, format: pt
parameters (2, 28 bytes)
  a.b  float32  (2, 3)  24 bytes
  c    float16  (2,)    4 bytes""",
    "x-symbol.json": """a graph of MXNet, -symbol.json, version 1.9.1
inputs (3)
  data       ?  ?
  s          ?  ?
  out_label  ?  ?
parameters (6)
  fc_weight       ?  (3, 0)  init ["one", {}]
  fc_bias         ?  ?
  bn_gamma        ?  ?
  bn_beta         ?  ?
  bn_moving_mean  ?  ?       state, init ["zero", {}]
  bn_moving_var   ?  ?       state, init ["one", {}]
operators (8 of 8 kinds)
  1 BatchNorm
  1 FullyConnected
  1 Odd\\x1b[2J
  1 SoftmaxOutput
  1 TorchModule
  1 _copy
  1 _foreach
  1 broadcast_add
operators that are missing here (2)
  TorchModule, node 'torch': PLUGIN
  Odd\\x1b[2J, node 'odd': UNKNOWN""".replace("PLUGIN", PLUGIN).replace("UNKNOWN", UNKNOWN),
    "x-model.json": """a network of Block.save, whose parameters lie beside it (-model.params)
operators (3 of 3 kinds)
  1 Dense
  1 Dropout
  1 HybridSequential""",
    "x.rec": """a record file
records: 2
images: 1 JPEG, 1 PNG
labels of each: 1, 2""",
    "x.idx": """the index of a record file
records: 2""",
    "x.conf": """a configuration of cxxnet
batch_size: 4
section data = train: iter = mnist, threadbuffer
inputs (2)
  data   float32  (1, 1, 3)
  label  float32  ?
parameters (3, 36 bytes)
  i_steps  float32  (1,)    4 bytes   state
  f_wmat   float32  (2, 3)  24 bytes
  f_bias   float32  (2,)    8 bytes
operators (3 of 3 kinds)
  1 fullc
  1 insanity
  1 softmax""",
}  # fmt: skip


@pytest.mark.parametrize("name", TOLD)
def test_what_is_told(name: str, files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(files[name])
    assert inspect(path).text() == TOLD[name]
    # Content tells most formats whatever they are called.
    if name != "x.idx":
        assert inspect_content(memoryview(files[name]), "file").text() == TOLD[name]


def test_layers_of_cxxnet_that_are_missing() -> None:
    text = CONFIGURATION.replace("insanity", "maxout").encode()
    told = inspect_content(memoryview(text), "x.conf").text()
    assert "\noperators that are missing here (1)\n  maxout, node 'i': cxxnet knows the" in told
    assert "parameters" not in told


def test_the_program(
    files: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list").write_bytes(files["list"])
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "x.params").write_bytes(files["x.params"][:-1])
    given = [str(tmp_path / name) for name in ("list", "empty", "nowhere", "x.params", "list")]
    assert main(given) == 1
    out, error = capsys.readouterr()
    report = f"{tmp_path}/list: {TOLD['list']}\n"
    assert out == f"{report}\n{report}"
    lines = error.splitlines()
    assert lines[0] == (
        f"{tmp_path}/empty: it begins with b'', as no format that is known here; known are MXNet's "
        ".params, safetensors, MXNet's -symbol.json, -model.json of Block.save, record files, "
        "indexes of record files, cxxnet's configurations"
    )
    assert "nowhere" in lines[1] and lines[2].startswith(f"{tmp_path}/x.params: at byte ")
    assert main(given[:1]) == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mxnet/legacy_ndarray.v0", "MXNet's .params, version 0"),
        ("mxnet/lenet-symbol.json", "a graph of MXNet, -symbol.json, version 1.4.1"),
        ("mxnet/save_000800.json", "a graph of MXNet, -symbol.json, version 0.8 or before"),
        ("cxxnet/ImageNet.conf", "a configuration of cxxnet"),
    ],
)
def test_real_files(name: str, expected: str) -> None:
    found = [folder / name for folder in MODELS if (folder / name).exists()]
    if not found:
        pytest.skip("needs shared/models beside the project")
    report = inspect(found[0])
    assert report.text().startswith(expected) and not report.missing


def test_shapes_that_are_none_are_told_with_their_place() -> None:
    content = graph().replace("(3, 0)", "(3, x)").encode()
    with pytest.raises(
        mx.TigonError, match=r"^x: at nodes\[1\]: variable 'fc_weight': expected a "
    ):
        inspect_content(memoryview(content), "x")


def test_damaged_files_are_told_with_their_place(files: dict[str, bytes]) -> None:
    """2,000 of them: whatever is wrong, it is a sentence that begins with the file."""
    draw = random.Random(8)
    names = list(files)
    read = 0
    for number in range(2000):
        name = names[number % len(names)]
        content = mutated_bytes(files[name], draw)
        try:
            text = inspect_content(memoryview(content), f"evil/{name}").text()
            assert text.isprintable() or all(c.isprintable() or c == "\n" for c in text), content
            read += 1
        except mx.TigonError as error:
            assert str(error).startswith(f"evil/{name}: "), content
            assert len(str(error)) < 4000, content
    assert 100 < read < 1900, read
