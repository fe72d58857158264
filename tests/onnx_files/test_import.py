"""Models in ONNX's format as symbols and blocks: names, parameters, open extents, training,
files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
import onnx
from onnx import TensorProto, helper, numpy_helper

import tigon as mx
from tests.onnx_files.models import (
    BOOL,
    FLOAT,
    INT64,
    Builder,
    control,
    encoder,
    functions,
    graph_of,
    network,
)
from tigon import autograd, gluon, nd
from tigon.contrib.onnx import get_model_metadata, import_model, import_to_gluon
from tigon.contrib.onnx.registry import TABLE

ROOT = Path(__file__).resolve().parents[2]


def test_names_are_those_of_the_file() -> None:
    symbol, arguments, states = import_model(network())
    assert symbol.list_arguments() == ["x", "w", "b", "scale", "bias", "fc", "fb"]
    assert symbol.list_auxiliary_states() == ["mean", "variance"]
    assert symbol.list_outputs() == ["dense_output"]
    assert list(arguments) == ["w", "b", "scale", "bias", "fc", "fb"]
    assert {name: array.shape for name, array in states.items()} == {"mean": (4,), "variance": (4,)}
    assert symbol.attr_dict()["x"]["__shape__"] == "(0, 3, 8, 8)"
    assert get_model_metadata(network()) == {
        "input_tensor_data": [("x", (0, 3, 8, 8))],
        "output_tensor_data": [("y", ())],
    }
    arg_shapes, out_shapes, _ = symbol.infer_shape(x=(5, 3, 8, 8))
    assert out_shapes == [(5, 5)] and arg_shapes[0] == (5, 3, 8, 8)


def test_names_may_begin_with_a_prefix() -> None:
    """All but those of inputs, so that two models may be in one graph and in one block."""
    first, arguments, states = import_model(network(), prefix="a_")
    assert first.list_arguments() == ["x", "a_w", "a_b", "a_scale", "a_bias", "a_fc", "a_fb"]
    assert list(arguments) == first.list_arguments()[1:]
    assert list(states) == first.list_auxiliary_states() == ["a_mean", "a_variance"]
    second, *_ = import_model(network(), prefix="b_")
    both = first(x=(one := mx.sym.var("x"))) - second(x=one)
    x = nd.array(np.random.default_rng(0).normal(size=(2, 3, 8, 8)))
    every = [
        given | {f"b_{name.removeprefix('a_')}": array for name, array in given.items()}
        for given in (arguments, states)
    ]
    executor = both.bind(mx.cpu(), {"x": x, **every[0]}, aux_states=every[1], grad_req="null")
    assert not executor.forward()[0].asnumpy().any()
    nets = [import_to_gluon(network(), prefix=prefix) for prefix in ("", "a_")]
    np.testing.assert_array_equal(nets[0](x).asnumpy(), nets[1](x).asnumpy())
    with nets[0].name_scope():  # counts for nothing, as in MXNet
        assert list(import_to_gluon(network()).params) == list(nets[0].params)
    with pytest.raises(mx.TigonError) as told:
        import_model(network(), prefix=1)
    assert str(told.value) == "contrib.onnx: prefix: expected a text; given 1"


@pytest.mark.parametrize(("make", "shape"), [(network, (2, 3, 8, 8)), (control, (3,))])
def test_half_precision_takes_constants_along(make: Any, shape: tuple[int, ...]) -> None:
    net, x = import_to_gluon(make()), nd.array(np.random.default_rng(0).normal(size=shape))
    wanted = net(x)
    net.cast("float16")
    found = net(x.astype("float16"))
    pairs = zip(found, wanted, strict=True) if isinstance(found, list) else [(found, wanted)]
    for one, other in pairs:
        assert one.dtype == np.float16
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=2e-2, atol=2e-2)


def test_modules_take_what_is_read() -> None:
    symbol, arguments, states = import_model(network())
    module = mx.mod.Module(symbol, data_names=["x"], label_names=None)
    module.bind(data_shapes=[("x", (2, 3, 8, 8))], for_training=False)
    module.set_params(arguments, states)
    batch = mx.io.DataBatch([nd.ones((2, 3, 8, 8))])
    module.forward(batch, is_train=False)
    net = import_to_gluon(network())
    np.testing.assert_array_equal(
        module.get_outputs()[0].asnumpy(), net(nd.ones((2, 3, 8, 8))).asnumpy()
    )


def test_what_is_read_trains() -> None:
    net = import_to_gluon(network())
    parameters = net.collect_params()
    before = {name: parameters[name].data().asnumpy() for name in ("w", "mean", "scale")}
    trainer = gluon.Trainer(parameters, "sgd", {"learning_rate": 0.5})
    x = nd.array(np.random.default_rng(0).normal(size=(6, 3, 8, 8)))
    label = nd.array([0, 1, 2, 3, 4, 0])
    measure = gluon.loss.SoftmaxCrossEntropyLoss()
    losses = []
    for _ in range(8):
        with autograd.record():
            loss = measure(net(x), label).mean()
        loss.backward()
        trainer.step(1)
        losses.append(float(loss.asscalar()))
    assert losses[-1] < 0.8 * losses[0]
    for name, array in before.items():
        assert not np.array_equal(parameters[name].data().asnumpy(), array), name


def test_whatever_is_no_weight_does_not_learn() -> None:
    b = Builder()
    b.input("x", ["n", 70])
    table = numpy_helper.from_array(np.arange(70, dtype=np.float32))
    b.node("Constant", [], "line", value=table)
    b.node("Add", ["x", "line"], "a")
    b.node("Mul", ["a", b.weight("w", 70)], "m")
    b.node("Mul", ["m", b.number("two", 2, np.float32)], "y")
    net = import_to_gluon(b.model("y"))
    found = {name: own.grad_req for name, own in net.collect_params().items()}
    assert found == {"line": "null", "w": "write"}


@pytest.mark.parametrize("shape", [(2, 3), (5, 7), (1, 1)])
def test_open_batch_and_steps(shape: tuple[int, int]) -> None:
    """One graph for all shapes gives what a graph for exactly these gives."""
    ids = nd.array(np.arange(np.prod(shape)).reshape(shape) % 11, dtype="int64")
    exact = import_to_gluon(encoder(), shapes={"ids": shape})
    np.testing.assert_allclose(
        import_to_gluon(encoder())(ids).asnumpy(), exact(ids).asnumpy(), atol=1e-6
    )


def test_open_extents_are_numbers_when_it_runs() -> None:
    """Sizes that are computed with beside shapes: as a mean is written, or a mask of some rows."""
    b = Builder()
    b.input("x", ["batch", 6])
    b.node("Size", ["x"], "size")
    b.node("Cast", ["size"], "sizef", to=FLOAT)
    b.node("ReduceSum", ["x"], "total", keepdims=0)
    b.node("Div", ["total", "sizef"], "mean")
    b.node("Shape", ["x"], "shape")
    b.node("ConstantOfShape", ["shape"], "zeros")
    b.node(
        "Slice",
        ["x", b.number("begin", [-2]), b.number("end", [2**62]), b.number("axis", [0])],
        "cut",
    )
    b.node("Concat", ["zeros", "cut"], "joined", axis=0)
    b.node("Sub", ["joined", "mean"], "y")
    net = import_to_gluon(b.model("y"))
    for batch in (2, 5, 3):
        x = np.random.default_rng(batch).normal(size=(batch, 6)).astype(np.float32)
        expected = np.concatenate([np.zeros_like(x), x[-2:]]) - x.mean()
        np.testing.assert_allclose(net(nd.array(x)).asnumpy(), expected, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_what_holds_for_some_open_extents_is_asked_when_it_runs(batch: int) -> None:
    """Is the batch larger than 2, or the smaller of both, or which of these is above it?"""
    b = Builder()
    b.input("x", ["batch", 3])
    b.node("Shape", ["x"], "rows", end=1)
    two, steps = b.number("two", [2]), b.number("steps", [1, 3, 80])
    b.node("Greater", ["rows", two], "above")
    b.node("Where", ["above", two, "rows"], "a")
    b.node("Min", ["rows", two], "b")
    b.node("Less", ["rows", steps], "c")
    symbol, _, _ = import_model(b.model(("a", 7), ("b", 7), ("c", 9)))
    found = symbol.eval(x=nd.zeros((batch, 3)))
    least = [min(batch, 2)]
    expected = [least, least, [batch < n for n in (1, 3, 80)]]
    assert [each.asnumpy().tolist() for each in found] == expected


OF_EXTENTS: dict[str, tuple[int, Any]] = {
    "Abs": (1, np.abs),
    "Add": (2, np.add),
    "Ceil": (1, None),
    "Clip": (2, np.maximum),
    "Div": (2, lambda x, y: np.trunc(x / y).astype(x.dtype)),
    "Equal": (2, np.equal),
    "Floor": (1, None),
    "Greater": (2, np.greater),
    "GreaterOrEqual": (2, np.greater_equal),
    "Identity": (1, lambda x: x),
    "Less": (2, np.less),
    "LessOrEqual": (2, np.less_equal),
    "Max": (2, np.maximum),
    "Min": (2, np.minimum),
    "Mod": (2, np.mod),
    "Mul": (2, np.multiply),
    "Neg": (1, np.negative),
    "ReduceMax": (1, lambda x: np.max(x, keepdims=True)),
    "ReduceMin": (1, lambda x: np.min(x, keepdims=True)),
    "ReduceProd": (1, lambda x: np.prod(x, keepdims=True, dtype=x.dtype)),
    "ReduceSum": (1, lambda x: np.sum(x, keepdims=True, dtype=x.dtype)),
    "Sqrt": (1, None),
    "Sub": (2, np.subtract),
    "Sum": (2, None),
}
"""Operators on numbers, folded where those are known: how many operands, and what they give; None
where they take floats alone."""
MOVED = frozenset(
    """
    And Cast Concat ConstantOfShape Expand Gather NonZero Not OptionalGetElement Or Range Reshape
    Slice Split Squeeze Transpose Unsqueeze Where Xor
    """.split()
)


def test_every_operator_that_is_folded_is_tried_on_open_extents() -> None:
    assert {name for (_, name), row in TABLE.items() if row.fold} == {*OF_EXTENTS, *MOVED}


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("name", [name for name, (_, rule) in OF_EXTENTS.items() if rule])
def test_arithmetic_of_open_extents(name: str, dtype: str) -> None:
    """In the dtype of the file, beside arrays that are not known, and of either sign."""
    count, rule = OF_EXTENTS[name]
    code = {"int32": TensorProto.INT32, "int64": TensorProto.INT64}[dtype]
    b = Builder()
    b.input("x", ["batch", 3])
    b.input("more", [2], code)
    b.node("Shape", ["x"], "shape")
    b.node("Cast", ["shape"], "own", to=code)
    b.node("Neg", ["own"], "negative")
    b.node("Gather", ["own", b.number("second", 1)], "known")
    y = b.number("y", 2, dtype)
    given = {"own": ["own", y], "negative": ["negative", y], "known": ["known", y]}
    outputs = []
    for kind, operands in given.items():
        result = b.node(name, operands[:count], f"result {kind}")
        if rule in (np.equal, np.greater, np.greater_equal, np.less, np.less_equal):
            result = b.node("Cast", [result], f"number {kind}", to=code)
        outputs.append(b.node("Add", [result, "more"], f"sum {kind}"))
    symbol, _, _ = import_model(b.model(*((each, code) for each in outputs)))
    more = np.array([10, 20], dtype)
    for batch in (1, 7):
        own = np.array([batch, 3], dtype)
        numbers = (own, -own, own[1] if count == 2 else own[1:])
        found = symbol.eval(x=nd.zeros((batch, 3)), more=nd.array(more, dtype=dtype))
        for x, result in zip(numbers, found, strict=True):
            expected = rule(*(x, np.array(2, dtype))[:count]) + more
            assert result.asnumpy().tolist() == expected.tolist()
            assert result.dtype == np.dtype(dtype)


def test_a_rest_of_open_extents_has_the_sign_of_what_is_divided() -> None:
    b = Builder()
    b.input("x", ["batch", 3])
    b.node("Shape", ["x"], "shape")
    b.node("Neg", ["shape"], "negative")
    b.node("Mod", ["negative", b.number("two", 2)], "y", fmod=1)
    symbol, _, _ = import_model(b.model(("y", INT64)))
    assert symbol.eval(x=nd.zeros((5, 3)))[0].asnumpy().tolist() == [-1, -1]


def test_inputs_that_decide_shapes_are_values() -> None:
    b = Builder()
    b.input("x", [2, 6])
    b.input("shape", [2], INT64)
    b.node("Reshape", ["x", "shape"], "y", name="cut")
    with pytest.raises(mx.TigonError) as error:
        import_model(b.model("y"))
    assert str(error.value) == (
        "ModelProto: node 0 'cut' (Reshape): input 1 'shape': decides shapes, so that it must be "
        "known while the model is read; it depends on the input 'shape'; give values={'shape': "
        "array}, or shapes where it depends on shapes alone"
    )
    symbol, _, _ = import_model(b.model("y"), values={"shape": [4, -1]})
    assert symbol.list_arguments() == ["x"]
    assert symbol.eval(x=nd.ones((2, 6)))[0].shape == (4, 3)


def test_gradients_go_through_branches_and_loops() -> None:
    net = import_to_gluon(control())
    x = nd.array([0.3, 0.2, 0.1])
    x.attach_grad()

    def run(given: Any) -> Any:
        last, sums = net(given)
        return last.sum() + sums.sum()

    with autograd.record():
        run(x).backward()
    step = 1e-3
    for place in range(3):
        away = np.eye(3, dtype=np.float32)[place] * step
        slope = (run(x + nd.array(away)) - run(x - nd.array(away))).asscalar() / (2 * step)
        assert abs(x.grad.asnumpy()[place] - slope) < 2e-2 * abs(slope)


def test_a_loop_without_a_bound_ends_by_its_value() -> None:
    b, body = Builder(), Builder()
    b.input("x", [3])
    body.node("Add", ["s", "s"], "s1")
    body.node("ReduceMax", ["s1"], "top", keepdims=0)
    body.node("Less", ["top", body.number("limit", 3e6, np.float32)], "on")
    graph = graph_of(body, [("n", INT64), ("go", BOOL), ("s", FLOAT)], ["on", "s1"])
    b.node("Loop", ["", "", "x"], "y", body=graph)
    symbol, _, _ = import_model(b.model("y"))
    result = symbol.eval(x=nd.array([1, 2, 3]))[0].asnumpy()
    assert result.tolist() == [2**20, 2**21, 3 * 2**20]


def test_functions_of_a_model() -> None:
    symbol, _, _ = import_model(functions())
    assert symbol.eval(x=nd.array([[4, -4]]))[0].asnumpy().tolist() == [[8, -2]]


@pytest.mark.parametrize("by", ["initializer", "input", "nodes that move it"])
def test_narrow_numbers_are_held_in_bytes(by: str) -> None:
    b = Builder()
    b.input("x", [4])
    given, zero = {"x": nd.array([-9, -2, 1, 9])}, "zero"
    if by == "input":
        b.input("zero", [], TensorProto.INT4)
        given["zero"] = nd.array(-3, dtype="int8")
    if by == "nodes that move it":
        b.node("Identity", ["zero"], "same")
        zero = b.node("Squeeze", [b.node("Unsqueeze", ["same", b.number("first", [0])], "u")], "v")
    b.node("QuantizeLinear", ["x", b.number("s", 0.5, np.float32), zero], "q")
    b.node("DequantizeLinear", ["q", "s", zero], "y")
    model = b.model("y")
    if by != "input":
        model.graph.initializer.append(helper.make_tensor("zero", TensorProto.INT4, [], [-3]))
    symbol, _, _ = import_model(model)
    assert symbol.eval(**given)[0].asnumpy().tolist() == [-2.5, -2, 1, 5]


def test_the_nets_that_onnx_brings() -> None:
    """Whole architectures, whose weights their graphs compute."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    for name in ("inception_v2", "resnet50", "shufflenet", "squeezenet"):
        path = folder / f"light_{name}.onnx"
        symbol, arguments, states = import_model(path)
        ((name, shape),) = get_model_metadata(path)["input_tensor_data"]
        _, out_shapes, _ = symbol.infer_shape(**{name: shape})
        result = onnx.TensorProto()
        result.ParseFromString((folder / f"{path.stem}_output_0.pb").read_bytes())
        assert out_shapes == [tuple(result.dims)]
        assert set(symbol.list_inputs()) == {name, *arguments, *states}


# ------------------------------------------------------------------------------------- files


def external(folder: Path, location: str, **told: Any) -> Path:
    """A model whose weight is in another file."""
    b = Builder()
    b.input("x", [2, 3])
    b.node("Add", ["x", "w"], "y")
    model = b.model("y")
    weight = model.graph.initializer.add(name="w", data_type=FLOAT, dims=[2, 3])
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **told}.items():
        weight.external_data.add(key=key, value=str(value))
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_in_other_files(tmp_path: Path) -> None:
    weights = np.arange(6, dtype=np.float32)
    (tmp_path / "weights").write_bytes(b"headheadhead" + weights.tobytes() + b"rest")
    path = external(tmp_path, "weights", offset=12, length=24)
    _, arguments, _ = import_model(path)
    assert arguments["w"].asnumpy().ravel().tolist() == weights.tolist()
    with pytest.raises(mx.TigonError, match=r"its data are in 'weights'; give the model's path"):
        import_model(onnx.load(path, load_external_data=False))


@pytest.mark.parametrize("dims", [[0, 2**62], [2**62, 0, 2**62], [0, -1], [1] * 40, [1] * 70])
@pytest.mark.parametrize("kind", ["initializer", "sparse initializer", "constant"])
def test_shapes_that_no_array_has(kind: str, dims: list[int]) -> None:
    """Of whatever holds arrays: it is named."""
    b = Builder()
    b.input("x", [2])
    b.node("Identity", ["x"], "y")
    count = 0 if 0 in dims else 1
    tensor = TensorProto(name="w", data_type=FLOAT, dims=dims, raw_data=bytes(4 * count))
    where, what = f"{kind} 'w'", "extents that an array may have; given"
    if kind == "constant":
        b.node("Constant", [], "w", name="n", value=tensor)
        where = "node 1 'n' (Constant): Constant"
    model = b.model("y")
    if kind == "initializer":
        model.graph.initializer.append(tensor)
    elif kind == "sparse initializer":
        sparse = model.graph.sparse_initializer.add(dims=dims)
        sparse.values.CopyFrom(TensorProto(name="w", data_type=FLOAT, dims=[0], raw_data=b""))
        sparse.indices.CopyFrom(TensorProto(data_type=TensorProto.INT64, dims=[0], raw_data=b""))
        what = f"a sparse tensor of at most {2**24} elements; given shape"
    with pytest.raises(mx.TigonError) as error:
        import_model(model)
    assert str(error.value) == f"ModelProto: {where}: expected {what} {tuple(dims)}"


@pytest.mark.parametrize(
    ("location", "told", "message"),
    [
        ("../outside", {}, "expected data in a file within the model's folder; given location"),
        ("/etc/hostname", {}, "expected data in a file within the model's folder; given location"),
        ("link", {}, "expected data in a file within the model's folder; given location 'link'"),
        ("", {}, "expected data in a file within the model's folder; given location ''"),
        ("absent", {}, "expected its data in 'absent', which is not there"),
        ("short", {}, "expected 24 bytes at 0 of 'short'; it has 3"),
        ("short", {"offset": 9**30}, "offset: expected a number; given"),
        ("short", {"length": 3}, "expected 24 bytes in 'short'; given 3"),
    ],
)
def test_weights_stay_in_the_folder(
    location: str, told: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside").write_bytes(bytes(24))
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "short").write_bytes(b"abc")
    path = external(folder, location, **told)
    with pytest.raises(mx.TigonError, match=re.escape(message)) as error:
        import_model(path)
    assert str(error.value).startswith(f"{path}: initializer 'w': ")


def one(op: str, *inputs: tuple[str, Any], opset: int = 21, **attributes: Any) -> Any:
    b = Builder(opset)
    for name, shape in inputs:
        b.input(name, shape)
    b.node(op, [name for name, _ in inputs], "y", name="n", **attributes)
    return b.model("y")


def opened(
    op: str, *inputs: tuple[str, Any], opset: int = 22, held: Any = None, **attributes: Any
) -> Any:
    """A node on inputs with open extents; `x` of whole numbers where the name begins with i."""
    b = Builder(opset)
    for name, shape in inputs:
        b.input(name, shape, INT64 if name.startswith("i") else FLOAT)
    names = [b.number(name, *rest) for name, *rest in held or ()]
    b.node(op, [*(name for name, _ in inputs), *names], "y", name="n", **attributes)
    return b.model("y")


def without_opset() -> Any:
    model = one("Relu", ("x", [2]))
    model.opset_import[0].version = 99
    return model


def of_two_dtypes() -> Any:
    b = Builder()
    b.input("x", [2])
    b.node("Add", ["x", b.number("z", [1, 2])], "y")
    return b.model("y")


MESSAGES = {
    "an operator that is none": (
        one("Nonsense", ("x", [2])),
        "ModelProto: node 0 'n' (Nonsense): 'Nonsense' is no operator of opset 21 of domain '', "
        "and no function of the model",
    ),
    "an operator that is not read": (
        one("Unique", ("x", [2])),
        "ModelProto: node 0 'n' (Unique): Unique: is not an operator that tigon reads",
    ),
    "an attribute that is none": (
        one("Relu", ("x", [2]), slope=1.0),
        "ModelProto: node 0 'n' (Relu): attribute 'slope': is not one of Relu; there are none",
    ),
    "an attribute of another type": (
        one("Elu", ("x", [2]), alpha=1),
        "ModelProto: node 0 'n' (Elu): attribute 'alpha': expected FLOAT; given type 2",
    ),
    "an attribute that is missing": (
        one("Cast", ("x", [2])),
        "ModelProto: node 0 'n' (Cast): attribute 'to': is missing",
    ),
    "too many inputs": (
        one("Relu", ("x", [2]), ("z", [2])),
        "ModelProto: node 0 'n' (Relu): inputs: expected 1 to 1 of them; given 2",
    ),
    "an input of several that is left out": (
        one("Concat", ("x", [2]), ("", [2]), axis=0),
        "ModelProto: node 0 'n' (Concat): input 1: must not be left out",
    ),
    "shapes that do not fit": (
        one("MatMul", ("x", [2, 3]), ("z", [2, 3])),
        "ModelProto: node 0 'n' (MatMul): matmul: inner sizes differ: (2, 3) @ (2, 3); transpose "
        "one operand?",
    ),
    "dtypes that differ": (
        of_two_dtypes(),
        "ModelProto: node 0 '' (Add): broadcast_add: rhs: expected float32 like lhs; given int64; "
        "convert it with astype('float32')",
    ),
    "an opset of the future": (
        without_opset(),
        "ModelProto: expected an operator set of 7 to 28 in opset_import; given 99; convert it "
        "with onnx.version_converter",
    ),
    "an old meaning": (
        one("Gemm", ("x", [2, 3]), ("z", [3, 2]), ("c", [2]), opset=6),
        "ModelProto: node 0 'n' (Gemm): Gemm: opset 6 has another meaning than 7; convert it with "
        "onnx.version_converter",
    ),
    "an open extent that is divided": (
        one("AveragePool", ("x", [1, 1, "w"]), kernel_shape=[3], strides=[2], ceil_mode=1),
        "ModelProto: node 0 'n' (AveragePool): what it does depends on an extent that the file "
        "leaves open: -1*((-1*n0 + 3) // 2) + 1 is divided by 1 (n0 is 'w' in the file, which "
        "shapes={'input': (...)} can say)",
    ),
    "an open image that is resized": (
        one("Upsample", ("x", [1, 1, "height", 4]), opset=7, scales=[1.0, 1.0, 1.5, 1.0]),
        "ModelProto: node 0 'n' (Upsample): Upsample: resizes [n0], which the file leaves open "
        "(n0 is 'height' in the file, which shapes={'input': (...)} can say)",
    ),
    "an open extent that decides": (
        one("SpaceToDepth", ("x", [1, 1, "height", 4]), blocksize=2),
        "ModelProto: node 0 'n' (SpaceToDepth): SpaceToDepth: n0 by 4 are no blocks of 2 by 2 (n0 "
        "is 'height' in the file, which shapes={'input': (...)} can say)",
    ),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_whole_messages(what: str) -> None:
    model, message = MESSAGES[what]
    with pytest.raises(mx.TigonError) as error:
        import_model(model)
    assert str(error.value) == message


ARGUMENTS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "bytes": (
        b"model",
        {},
        "contrib.onnx: expected the path of a model, or an onnx.ModelProto; given bytes; "
        "onnx.load_from_string makes a ModelProto of bytes",
    ),
    "shapes without names": (
        one("Relu", ("x", [2])),
        {"shapes": [(2,)]},
        "contrib.onnx: shapes: expected a dict by name of input; given list",
    ),
    "a negative extent": (
        one("Relu", ("x", [2])),
        {"shapes": {"x": (-1,)}},
        "ModelProto: input 'x': expected whole numbers, names, or None; given shapes=(-1,)",
    ),
    "a value of another kind": (
        one("Relu", ("x", [2])),
        {"values": {"x": "text"}},
        "ModelProto: input 'x': expected a value of float32; given 'text'",
    ),
    "a value that would lose its fractions": (
        opened("ReverseSequence", ("x", [2, 4]), ("i", [2]), batch_axis=0, time_axis=1),
        {"values": {"i": [1.5, 2.0]}},
        "ModelProto: input 'i': expected a value of int64; given [1.5, 2.0]",
    ),
    "a value that is not real": (
        one("Relu", ("x", [2])),
        {"values": {"x": np.array([1 + 2j, 2])}},
        "ModelProto: input 'x': expected a value of float32; given array([1.+2.j, 2.+0.j])",
    ),
    "a value beyond its dtype": (
        one("Relu", ("x", [2])),
        {"values": {"x": [1e300, 2.0]}},
        "ModelProto: input 'x': expected a value of float32; given [1e+300, 2.0]",
    ),
    "a value that no whole number is": (
        opened("ReverseSequence", ("x", [2, 4]), ("i", [2]), batch_axis=0, time_axis=1),
        {"values": {"i": np.array([1e30, 2.0])}},
        "ModelProto: input 'i': expected a value of int64; given array([1.e+30, 2.e+00])",
    ),
}


@pytest.mark.parametrize("what", ARGUMENTS)
def test_arguments_that_are_none(what: str) -> None:
    model, given, message = ARGUMENTS[what]
    with pytest.raises(mx.TigonError) as error:
        import_model(model, **given)
    assert str(error.value) == message


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("op", ["CumSum", "CumProd"])
def test_nothing_is_cumulated_to_nothing(op: str, reverse: int) -> None:
    b = Builder(26)
    b.input("x", [3, 0])
    b.node(op, ["x", b.number("axis", 1)], "y", exclusive=1, reverse=reverse)
    symbol, _, _ = import_model(b.model("y"))
    assert symbol.eval(x=nd.zeros((3, 0)))[0].shape == (3, 0)


def test_an_edge_that_is_not_there_is_not_repeated() -> None:
    b = Builder()
    b.input("x", [3, 0])
    b.node("Pad", ["x", b.number("pads", [0, 1, 0, 0])], "y", name="n", mode="edge")
    with pytest.raises(mx.TigonError) as error:
        import_model(b.model("y"))
    assert str(error.value) == (
        "ModelProto: node 0 'n' (Pad): Pad: edge: axis 1 has no elements to repeat"
    )


@pytest.mark.parametrize("steps", [-1, -2])
def test_slices_that_run_backwards(steps: int) -> None:
    """Down through the first element, of arrays of any batch; values as arrays of ours."""
    b = Builder()
    b.input("x", ["batch", 5])
    for name, value in (("start", 4), ("end", -(2**63) + 1), ("axis", 1), ("step", steps)):
        b.number(name, [value])
    b.node("Slice", ["x", "start", "end", "axis", "step"], "y")
    x = np.arange(10, dtype=np.float32).reshape(2, 5)
    for values in ({}, {"x": nd.array(x)}):
        symbol, _, _ = import_model(b.model("y"), values=values)
        (found,) = symbol.eval(**({} if values else {"x": nd.array(x)}))
        np.testing.assert_array_equal(found.asnumpy(), x[:, ::steps])


def test_names_that_are_no_inputs() -> None:
    with pytest.raises(mx.TigonError) as error:
        import_model(network(), shapes={"data": (1, 3, 8, 8)})
    assert str(error.value) == (
        "ModelProto: shapes and values are of inputs; there is none named data; there are x"
    )


def test_without_the_package_the_error_says_what_to_install() -> None:
    code = (
        "import sys\nsys.modules['onnx'] = None\nimport tigon as mx\n"
        "try:\n    mx.contrib.onnx.import_model('x.onnx')\n"
        "except mx.TigonError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == (
        "contrib.onnx: reading ONNX files needs the package onnx; pip install tigon[onnx]\n"
    )


IMAGE: tuple[str, Any] = ("x", ["batch", 4, "height", "width"])
KNOWN_ONLY: dict[str, Any] = {
    "`GridSample`": opened("GridSample", ("x", ["batch", 2, 5, 5]), ("g", ["batch", 3, 3, 2])),
    "`MaxUnpool`": opened(
        "MaxUnpool",
        ("x", ["batch", 2, 4, 4]),
        ("i", ["batch", 2, 4, 4]),
        kernel_shape=[2, 2],
        strides=[2, 2],
    ),
    "`ReverseSequence`": opened(
        "ReverseSequence", ("x", ["batch", 4]), ("i", ["batch"]), batch_axis=0, time_axis=1
    ),
    "`GatherND` with `batch_dims`": opened(
        "GatherND", ("x", ["batch", 4]), ("i", ["batch", 1]), batch_dims=1
    ),
    "`ScatterND`": opened("ScatterND", ("x", ["batch", 4]), ("i", [2, 1]), ("u", [2, 4])),
    "`ScatterElements`": opened(
        "ScatterElements", ("x", ["batch", 4]), ("i", ["batch", 1]), ("u", ["batch", 1]), axis=1
    ),
    "`DeformConv`": opened(
        "DeformConv", ("x", ["batch", 2, 5, 5]), ("w", [3, 2, 3, 3]), ("o", ["batch", 18, 3, 3])
    ),
    "`DepthToSpace`": opened("DepthToSpace", IMAGE, blocksize=2),
    "`GroupNormalization`": opened(
        "GroupNormalization", IMAGE, ("scale", [4]), ("bias", [4]), num_groups=2
    ),
    "`Upsample`": opened("Upsample", IMAGE, opset=7, scales=[1.0, 1.0, 2.0, 2.0]),
    "with `auto_pad` and strides": opened(
        "MaxPool", IMAGE, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"
    ),
    "`ceil_mode`": opened(
        "AveragePool", IMAGE, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1
    ),
    "causal `Attention`": opened(
        "Attention",
        ("q", ["batch", "steps", 8]),
        ("k", ["batch", "steps", 8]),
        ("v", ["batch", "steps", 8]),
        opset=23,
        is_causal=1,
        q_num_heads=2,
        kv_num_heads=2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", KNOWN_ONLY)
def test_extents_that_must_be_known(what: str) -> None:
    """The page names what cannot be open; the error names the node, and the extent in the file."""
    page = " ".join((ROOT / "docs" / "onnx.md").read_text().split())
    told = page.partition("Not every operator does")[2].partition("- `If`")[0]
    assert what in told
    with pytest.raises(mx.TigonError) as error:
        import_model(KNOWN_ONLY[what])
    assert re.fullmatch(
        r"ModelProto: node 0 'n' \(\w+\): .*\(n\d is '(batch|height|steps)'.* in the file, which "
        r"shapes=\{'input': \(...\)\} can say\)",
        str(error.value),
    )


def test_a_place_within_a_loop_is_that_of_the_node_within() -> None:
    b, body = Builder(22), Builder(22)
    b.input("x", ["batch", 2, 3, 3])
    b.input("g", ["batch", 3, 3, 2])
    body.node("GridSample", ["s", "g"], "s1", name="inner")
    body.node("Identity", ["go"], "on")
    graph = graph_of(body, [("n", INT64), ("go", BOOL), ("s", FLOAT)], ["on", "s1"])
    b.node("Loop", [b.number("m", 5), "", "x"], "y", body=graph, name="outer")
    with pytest.raises(mx.TigonError) as error:
        import_model(b.model("y"))
    assert str(error.value) == (
        "ModelProto: node 0 'inner' (GridSample): what it does depends on an extent that the file "
        "leaves open, in a way that a graph for all extents cannot hold: _broadcast with shape=(n0,"
        " 2, 9) (n0 is 'batch' in the file, which shapes={'input': (...)} can say)"
    )


def test_a_loop_without_a_bound_has_no_gradient() -> None:
    """It would keep the states of each iteration."""
    b, body = Builder(), Builder()
    b.input("x", [3])
    b.input("m", [], INT64)
    b.node("Mul", ["x", b.number("w", [2.0, 1.5, 1.0], np.float32)], "x1")
    body.node("Add", ["s", "s"], "s1")
    body.node("Identity", ["go"], "on")
    graph = graph_of(body, [("n", INT64), ("go", BOOL), ("s", FLOAT)], ["on", "s1"])
    b.node("Loop", ["m", "", "x1"], "y", body=graph, name="doubled")
    net = import_to_gluon(b.model("y"))
    assert net(nd.ones(3), nd.array(3, dtype="int64")).asnumpy().tolist() == [16.0, 12.0, 8.0]
    with pytest.raises(mx.TigonError) as error, autograd.record():
        net(nd.ones(3), nd.array(3, dtype="int64"))
    assert str(error.value).splitlines()[0] == (
        "_while_loop 'doubled': its gradient keeps the states of every iteration, and how many "
        "there are at most is not said; give max_iterations, or, of a model that was read, "
        "values={...} of the input that limits them"
    )
    given = import_to_gluon(b.model("y"), values={"m": 3})
    with autograd.record():
        given(nd.ones(3)).backward()
    assert given.params["w"].grad().asnumpy().tolist() == [8.0, 8.0, 8.0]


@pytest.mark.parametrize("name", ["data", "data0", "data0_", "captured0"])
def test_initializers_may_have_the_names_that_gluon_gives_inputs(name: str, tmp_path: Path) -> None:
    b = Builder()
    b.input("x", [1, 2])
    b.input("z", [1, 2])
    b.node("Add", ["x", "z"], "sum")
    b.node("Mul", ["sum", b.number(name, [3.0, 5.0], np.float32)], "y")
    net = import_to_gluon(b.model("y"))
    given = nd.ones((1, 2)), nd.zeros((1, 2))
    assert net(*given).asnumpy().tolist() == [[3, 5]]
    net.hybridize()
    assert net(*given).asnumpy().tolist() == [[3, 5]]
    net.export(tmp_path / "net")
    (x, z) = (
        each for each in mx.sym.load(tmp_path / "net-symbol.json").list_inputs() if each != name
    )
    back = gluon.SymbolBlock.imports(
        tmp_path / "net-symbol.json", [x, z], tmp_path / "net-0000.params"
    )
    assert back(*given).asnumpy().tolist() == [[3, 5]]
