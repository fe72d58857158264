"""What `python -m tigon.tools.inspect` prints of files, good and damaged."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

import tigon as mx
from tests.contrib import cxxnet_models
from tests.formats.test_params import X, csr, listing, record, row_sparse
from tests.readers.hostile import Case, Hostile, mutated_bytes, run
from tests.readers.record_hdf5 import HERE
from tigon import gluon, nd, recordio, sym
from tigon.contrib.caffe.layers.record import REFUSED
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


PROTOTXT = """
name: "small"
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
        inner_product_param { num_output: 1 } }
layer { name: "odd" type: "Python" bottom: "ip" top: "odd" }
"""
# layer { name: "ip" type: "InnerProduct" blobs { shape { dim: 1 dim: 2 } data: [1, 2] } }
CAFFEMODEL = bytes.fromhex(
    "a206 24 0a02 6970 120c 496e6e657250726f64756374 3a10 3a04 0a020102 2a08 0000803f 00000040"
)


def onnx_model() -> bytes:
    onnx = pytest.importorskip("onnx")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    x = helper.make_tensor_value_info("x", float32, ["n", 2])
    y = helper.make_tensor_value_info("y", float32, None)
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"]),
        helper.make_node("Odd", ["h"], ["y"], name="odd", domain="own"),
    ]
    w = onnx.numpy_helper.from_array(np.eye(2, dtype=np.float32), "w")
    made = helper.make_model(
        helper.make_graph(nodes, "small", [x], [y], [w]),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("own", 1)],
        ir_version=10,
        producer_name="hand",
    )
    return made.SerializeToString()


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
    return files_of_all_kinds(tmp_path_factory.mktemp("files"))


def files_of_all_kinds(folder: Path) -> dict[str, bytes]:
    """By name, made in a folder."""
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
        "x.onnx": onnx_model(),
        "x.prototxt": PROTOTXT.encode(),
        "solver": b"net: 'x.prototxt'\nbase_lr: 0.1\nlr_policy: 'fixed'\ntype: 'Adam'\n",
        "x.caffemodel": CAFFEMODEL,
        "0012.model": cxxnet_models.content(),
        "x.solverstate": (HERE / "snapshot.solverstate.h5").read_bytes(),
        "x.caffemodel.h5": (HERE / "snapshot.caffemodel.h5").read_bytes(),
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
    "x.onnx": """a model of ONNX, version 10
operator sets: ai.onnx 21, own 1
producer: hand
outputs: y
inputs (1)
  x  float  (0, 2)
parameters (1, 16 bytes)
  w  float  (2, 2)  16 bytes
operators (2 of 2 kinds)
  1 Gemm
  1 own.Odd
operators that are missing here (1)
  Odd, node 'odd': docs/onnx.md lists what is read""",
    "x.prototxt": """a network of Caffe, prototxt
name: small
inputs (1)
  x  float32  (2, 3)
operators (3 of 3 kinds)
  1 InnerProduct
  1 Input
  1 Python
operators that are missing here (1)
  Python, node 'odd': REASON""".replace("REASON", REFUSED["Python"]),
    "solver": """a solver of Caffe
type: Adam
net: x.prototxt
base_lr: 0.1
lr_policy: fixed""",
    "0012.model": """a model of cxxnet
updates: 250
inputs (1)
  data  float32  (2, 3, 4)
parameters (10, 600 bytes)
  cv_wmat         float32  (2, 2, 6)  96 bytes
  cv_bias         float32  (4,)       16 bytes
  p_bias          float32  (4,)       16 bytes
  bn_wmat         float32  (4,)       16 bytes
  bn_bias         float32  (4,)       16 bytes
  bn_moving_mean  float32  (4,)       16 bytes
  bn_moving_var   float32  (4,)       16 bytes
  fullc8_wmat     float32  (3, 32)    384 bytes
  fullc8_bias     float32  (3,)       12 bytes
  shift_bias      float32  (3,)       12 bytes
operators (11 of 10 kinds)
  2 flatten
  1 batch_norm
  1 bias
  1 concat
  1 conv
  1 fullc
  1 prelu
  1 share
  1 softmax
  1 split""",
    "x.solverstate": """the state of a solver of Caffe, HDF5
iterations: 20
caffemodel: models/snapshot.caffemodel.h5
parameters (3, 20 bytes)
  history:0  float32  (1, 3)  12 bytes
  history:1  float32  (1,)    4 bytes
  history:2  float32  (1,)    4 bytes""",
    "x.caffemodel.h5": """a caffemodel, HDF5
parameters (3, 20 bytes)
  ip:0    float32  (1, 3)  12 bytes
  ip:1    float32  (1,)    4 bytes
  twin:1  float32  (1,)    4 bytes""",
    "x.caffemodel": """a caffemodel
parameters (1, 8 bytes)
  ip:0  float32  (1, 2)  8 bytes""",
}  # fmt: skip


def test_headings_from_a_file_do_not_steer_a_terminal() -> None:
    text = CONFIGURATION.replace("data = train", "data = \x1b[2Jrain").encode()
    told = inspect_content(memoryview(text), "x.conf").text()
    assert "section data = \\x1b[2Jrain: iter = mnist, threadbuffer" in told


@pytest.mark.parametrize("name", TOLD)
def test_what_is_told(name: str, files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(files[name])
    assert inspect(path).text() == TOLD[name]
    # Content tells most formats whatever they are called.
    if name not in ("x.idx", "x.caffemodel", "x.caffemodel.h5", "x.solverstate"):
        assert inspect_content(memoryview(files[name]), "file").text() == TOLD[name]


def test_layers_of_cxxnet_that_are_missing() -> None:
    text = CONFIGURATION.replace("insanity", "maxout").encode()
    told = inspect_content(memoryview(text), "x.conf").text()
    assert "\noperators that are missing here (1)\n  maxout, node 'i': cxxnet knows the" in told
    assert "parameters" not in told


FOREIGN = {
    "net.pt": (b"PK\x03\x04", "a zip archive, of which PyTorch's .pt, .pth and .bin are some; "),
    "old.pt": (b"\x80\x02.", "a pickle, of which PyTorch's .pt, .pth and .bin are some; "),
    "net.h5": (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras writes; have it write a model of ONNX",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_programs(name: str, tmp_path: Path) -> None:
    """Each is told by what it is, and what to do with it, here and where it is loaded."""
    content, told = FOREIGN[name]
    path = str(tmp_path / name)
    Path(path).write_bytes(content + bytes(50))
    with pytest.raises(mx.TigonError) as error:
        inspect(path)
    assert str(error.value).startswith(f"{path}: nothing is read of {told}")
    with pytest.raises(mx.TigonError) as error:
        nd.load(path)
    assert str(error.value).startswith(f"{path}: expected a .params file; given {told}")


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
        ".params, safetensors, MXNet's -symbol.json, -model.json of Block.save, ONNX's models, "
        "Caffe's caffemodels, states of Caffe's solvers, Caffe's prototxt, record files, indexes "
        "of record files, cxxnet's models, cxxnet's configurations"
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


def inspected(files: dict[str, bytes]) -> Hostile:
    """Damaged files of all kinds: what is said of them is fit for a terminal."""

    def draw(random: random.Random) -> Case:
        name = random.choice(list(files))

        def look(content: bytes) -> None:
            text = inspect_content(memoryview(content), f"evil/{name}").text()
            assert all(c.isprintable() or c == "\n" for c in text)

        return look, mutated_bytes(files[name], random)

    return Hostile(draw, re.compile("evil/[^:]+: "), 64 << 20)


def test_damaged_files_are_told_with_their_place(files: dict[str, bytes]) -> None:
    """2,000 of them: whatever is wrong, it is a sentence that begins with the file."""
    read, refused = run(inspected(files), 2000, 8)
    assert read > 100 and refused > 100, (read, refused)


def test_names_of_arrays_tell_where_they_are_from() -> None:
    for names, told in {
        (b"arg:a", b"aux:b"): "of arguments (arg:) and auxiliary states (aux:), beside a",
        (b"arg:a", b"b"): "of single arrays or parameters",
        (b"0.weight", b"b"): "attribute paths of a network",
        (b"value/x:y.z", b"b"): "attribute paths of a network",
    }.items():
        content = listing([record(2, X, 0)] * 2, list(names))
        assert inspect_content(memoryview(content), "x").facts[0][1].startswith(told)


def test_variables_that_say_how_they_begin_are_parameters() -> None:
    begins, learns = sym.var("a", init=mx.init.One()), sym.var("b", lr_mult=2)
    text = (begins * sym.var("x") + learns).tojson()
    report = inspect_content(memoryview(text.encode()), "x")
    assert [tensor.name for tensor in report.inputs or ()] == ["x"]
    assert [tensor.name for tensor in report.parameters or ()] == ["a", "b"]


DAMAGED = {
    # Name, where bytes are put, these -> what is said.
    ("x.rec", 0, b"\0"): "at byte 0: expected a record's mark 0xced7230a and length; given ",
    ("x.rec", 7, b"\xff"): "at byte 4: expected the length of a record within the 80 bytes that",
    (
        "x.rec",
        88,
        b"\x0a",
    ): "at byte 88: expected a record's mark 0xced7230a and length; given 0a",
    ("x.idx", 4, b"1 44"): "line 2: expected a key, a tab and a byte offset; given b'1 44'; write",
    ("x.idx", 6, b"x"): "line 2: expected a key, a tab and a byte offset; given b'1\\tx4'; write",
    ("x.idx", 4, b" "): "line 2: expected a key, a tab and a byte offset; given b' \\t44'; write",
    ("x-model.json", 14, b"5,  "): "at blocks: expected an object; given 5; the file is damaged or",
}


@pytest.mark.parametrize(("name", "at", "put"), DAMAGED)
def test_what_damaged_files_are_told(
    name: str, at: int, put: bytes, files: dict[str, bytes]
) -> None:
    content = files[name][:at] + put + files[name][at + len(put) :]
    if name == "x-model.json":
        content = b'{"blocks": 5}'
    with pytest.raises(mx.TigonError) as told:
        inspect_content(memoryview(content), f"evil/{name}")
    assert str(told.value).startswith(f"evil/{name}: {DAMAGED[name, at, put]}")


def test_records_that_are_no_images_and_texts_that_are_long(tmp_path: Path) -> None:
    with recordio.MXRecordIO(str(tmp_path / "x"), "w") as file:
        for content in (b"", b"x" * 23, b"\xff\xff\0\0" + b"\0" * 26):
            file.write(content)
    assert inspect(tmp_path / "x").text() == "a record file\nrecords: 3"
    content = safetensors.write({"x": X}, {"a": "b" * 200, "c": "d" * 201})
    told = inspect_content(memoryview(content), "x").text()
    assert f"a: {'b' * 200}\n" in told and f"c: {'d' * 197}...\n" in told
