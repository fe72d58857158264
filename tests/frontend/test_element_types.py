"""Element types as users meet them: arrays, files, other libraries, networks."""

from __future__ import annotations

import copy
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, sym
from tigon.base import dtypes
from tigon.base.dtypes import ALL, DType, bfloat16, rounded, to_memory

NARROW = ("float16", "bfloat16")


def values_of(dtype: DType) -> np.ndarray:
    given = [[0, 1, 100], [7, 2, 3]] if dtype.kind != "b" else [[0, 1, 1], [1, 0, 1]]
    return rounded(np.array(given) + (0.3 if dtype.is_float else 0), dtype)


def alike(found: nd.NDArray, dtype: DType, values: np.ndarray) -> bool:
    same = found.dtype_code == dtype.code and found.shape == values.shape
    return same and bool((found.astype("float64").asnumpy() == values.astype(np.float64)).all())


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_arrays_keep_their_dtype(dtype: DType, tmp_path: Path) -> None:
    values = values_of(dtype)
    x = nd.array(values, dtype=dtype.name)
    assert alike(x, dtype, values)
    assert alike(nd.array(x), dtype, values)
    assert alike(nd.zeros((2, 3), dtype=x.dtype) + x if dtype.kind != "b" else x, dtype, values)
    assert alike(x.T.T.copy(), dtype, values)
    assert alike(x.reshape((3, 2)), dtype, values.reshape(3, 2))
    assert alike(nd.concat(x, x, dim=0)[2:], dtype, values)
    assert alike(x[:, [2, 0]], dtype, values[:, [2, 0]])
    assert alike(pickle.loads(pickle.dumps(x)), dtype, values)
    assert alike(copy.deepcopy(x), dtype, values)
    assert alike(nd.from_dlpack(x), dtype, values)
    assert alike(nd.array(x.asnumpy(), dtype=x.dtype), dtype, values)
    assert alike(nd.from_numpy(x.asnumpy()), dtype, values)
    for name in ("x", "x.safetensors"):
        nd.save(str(tmp_path / name), {"x": x})
        assert alike(nd.load(str(tmp_path / name))["x"], dtype, values)
    y = nd.zeros((2, 3), dtype=dtype.name)
    y[:] = x
    y[0] = values[0]
    y[1, 2] = x[1, 2]
    assert alike(y, dtype, values)
    assert x[1, 2].item() == values[1, 2] == x[1, 2].asscalar()
    assert x.tolist() == values.tolist()


@pytest.mark.parametrize("source", ALL, ids=str)
def test_casts_are_numpys(source: DType) -> None:
    values = values_of(source)
    x = nd.array(values, dtype=source.name)
    for target in ALL:
        wanted = rounded(values, target) if target.is_float else values.astype(target.numpy)
        assert alike(x.astype(target.name), target, wanted)
        assert alike(mx.jit(lambda v, t=target.name: v.astype(t))(x), target, wanted)


def test_numbers_are_rounded_once() -> None:
    """Through float32 they would be rounded to even twice."""
    number = 1 + 2.0**-11 + 2.0**-40
    assert nd.array([number], dtype="float16").item() == np.float16(number) == 1 + 2.0**-10
    assert (nd.zeros(1, dtype="float16") + number).item() == 1 + 2.0**-10
    above = 1 + 2.0**-8 + 2.0**-40
    assert nd.array([above], dtype="bfloat16").item() == 1 + 2.0**-7
    assert (nd.zeros(1, dtype="bfloat16") + above).item() == 1 + 2.0**-7
    x = nd.array([number, above], dtype="float64")
    assert x.astype("float16")[0].item() == 1 + 2.0**-10
    assert x.astype("bfloat16")[1].item() == 1 + 2.0**-7
    assert (nd.zeros(1, dtype="bfloat16") + 1e39).item() == np.inf
    assert (nd.zeros(1, dtype="float16") + 2.0**-24).item() == 2.0**-24
    assert (nd.zeros(1, dtype="bfloat16") - 2.0**-133).item() == -(2.0**-133)


def test_bfloat16_meets_numpy_as_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    given = np.array([1.5, 0.1, -3e38], ml_dtypes.bfloat16)
    x = nd.array(given, dtype=given.dtype)
    assert x.dtype is ml_dtypes.bfloat16
    assert x.asnumpy().dtype == given.dtype
    assert (x.asnumpy() == given).all()
    assert nd.array(given).dtype is np.float32  # as of any numpy array
    y = nd.zeros(3, dtype=ml_dtypes.bfloat16)
    y[:] = given
    assert (y.asnumpy() == given).all()


def test_bfloat16_without_ml_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    monkeypatch.setattr(dtypes, "_bfloat16_of_numpy", dtypes._bfloat16_of_numpy.__wrapped__)
    x = nd.array([1.5, 0.1], dtype="bfloat16")
    before = mx.runtime.stats()["fallbacks"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = x.asnumpy()
        assert float(x[:1].asnumpy()) == 1.5
    assert mx.runtime.stats()["fallbacks"] == before + 2
    assert values.dtype == np.float32
    assert values.tolist() == [1.5, 0.10009765625]
    assert x.dtype == np.dtype([("bfloat16", "<u2")])  # as in MXNet
    assert nd.zeros(2, dtype=x.dtype).dtype_code == bfloat16.code
    bits = to_memory(values, bfloat16)
    assert nd.array(bits, dtype=bits.dtype).tolist() == values.tolist()
    with warnings.catch_warnings():  # what only looks needs no numpy array
        warnings.simplefilter("error")
        assert "[1.5        0.10009766]" in repr(x)
        assert x[0].asscalar() == 1.5
        assert x.tolist() == values.tolist()


@pytest.fixture(params=["ml_dtypes", "without"])
def with_and_without_ml_dtypes(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without":
        monkeypatch.setitem(sys.modules, "ml_dtypes", None)
        monkeypatch.setattr(dtypes, "_bfloat16_of_numpy", dtypes._bfloat16_of_numpy.__wrapped__)
    else:
        pytest.importorskip("ml_dtypes")


CONDITIONS: dict[str, Any] = {
    "asscalar beside 0": lambda s: s.asscalar() > 0,
    "asscalar beside a float": lambda s: s.asscalar() > 0.3,
    "asscalar equal": lambda s: s.asscalar() == 0.3,
    "asscalar beside numpy's": lambda s: s.asscalar() > np.float32(0.3),
    "asscalar beside another": lambda s: s.asscalar() > (s * s).asscalar(),
    "item beside 0": lambda s: s.item() > 0,
    "item beside numpy's": lambda s: s.item() < np.int64(1),
    "item beside a float": lambda s: 0.4 < s.item(),
    "float": lambda s: float(s) > 0.4,
    "int": lambda s: int(s) > 0,
    "bool": bool,
    "an array": lambda s: s > 0.4,
}


@pytest.mark.usefixtures("with_and_without_ml_dtypes")
@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8", "uint64"])
def test_values_decide_hybridized_as_they_do_on_arrays(dtype: str, condition: str) -> None:
    class Net(mx.gluon.HybridBlock):
        def forward(self, x: Any) -> Any:
            return x * 2 if CONDITIONS[condition](x.sum()) else x * 3

    plain, traced = Net(), Net()
    traced.hybridize()
    numbers = [2, 0, 1, 3] if "int" in dtype else [0.5, -0.5, 0.3, 2, 0, 0.4]
    for number in numbers + numbers:
        x = nd.array([number], dtype=dtype)
        assert traced(x).asscalar() == plain(x).asscalar(), number


@pytest.mark.usefixtures("with_and_without_ml_dtypes")
def test_dtypes_are_named_in_messages() -> None:
    x = nd.array([0.5, 1, 2], dtype="bfloat16")
    x.attach_grad()
    with autograd.record():
        (slope,) = autograd.grad((x**3).sum(), [x], create_graph=True)
        y = (slope * slope).sum()
    y.backward()
    assert x.grad.tolist() == [4.5, 36, 288]
    with autograd.record():
        y = x * 2
    with pytest.raises(mx.TigonError, match="bfloat16; given"):
        autograd.grad(y, [x], head_grads=[nd.ones(2, dtype="bfloat16")], create_graph=True)
    out = nd.zeros((2, 3), dtype="bfloat16")
    assert nd.onehot_encode(nd.array([1, 0]), out).tolist() == [[0, 1, 0], [1, 0, 0]]
    cell = mx.gluon.rnn.RNNCell(2)
    cell.initialize()
    cell.cast("bfloat16")
    with pytest.raises(mx.TigonError, match=r"bfloat16 like inputs; given .*, float32"):
        cell(nd.ones((1, 2), dtype="bfloat16"), [nd.zeros((1, 2))])


def test_numpys_bfloat16_beside_integers() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    given = np.array([1.5, -2.5, 300], ml_dtypes.bfloat16)
    assert (nd.ones(3, dtype="int32") + given).tolist() == [2, -1, 301]
    with pytest.raises(mx.TigonError, match="expected numbers that fit uint8"):
        nd.ones(3, dtype="uint8") + given


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_joint_norm_is_that_of_float32(dtype: str) -> None:
    """Of narrow arrays, and of those beside others: a network that was cast keeps the scale of
    BatchNorm in float32."""
    large = [nd.full(3, 60000, dtype=dtype), nd.full(2, 60000)]
    exact = np.sqrt(sum((x.astype("float64").asnumpy() ** 2).sum() for x in large))
    norm = mx.gluon.utils.clip_global_norm(large, 1.0)
    np.testing.assert_allclose(norm, exact, rtol=1e-6)
    for x in large:
        assert mx.base.as_dtype(x.dtype).name in (dtype, "float32")
        np.testing.assert_allclose(x.astype("float32").asnumpy(), 60000 / exact, rtol=2.0**-8)
    small = [nd.full(3, 2.0**-20, dtype=dtype)]  # whose squares are no numbers of float16
    norm = mx.gluon.utils.clip_global_norm(small, 1.0)
    np.testing.assert_allclose(norm, np.sqrt(3) * 2.0**-20, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_step_that_clips_takes_mixed_dtypes(dtype: str) -> None:
    """The same step by `TrainStep` and by hand: its gradients are beyond float16's squares."""

    def made() -> tuple[Any, Any]:
        mx.random.seed(2)
        net = mx.gluon.nn.HybridSequential()
        net.add(mx.gluon.nn.Dense(3, in_units=4), mx.gluon.nn.BatchNorm(in_channels=3))
        net.initialize()
        net.cast(dtype)
        rates = {"learning_rate": 1.0, "multi_precision": True}
        return net, mx.gluon.Trainer(net.collect_params(), "sgd", rates)

    x = nd.array(np.random.RandomState(1).randn(5, 4), dtype=dtype)
    y = nd.full((5, 3), 3000, dtype=dtype)
    loss = mx.gluon.loss.L1Loss(weight=500)
    (one, first), (two, second) = made(), made()
    mx.gluon.TrainStep(one, loss, first, clip_global_norm=0.5)(x, y)
    with autograd.record():
        value = loss(two(x), y)
    value.backward()
    grads = [p.grad() for p in two.collect_params().values() if p.grad_req != "null"]
    mx.gluon.utils.clip_global_norm(grads, 0.5 * 5)
    second.step(5)
    for a, b in zip(one.collect_params().values(), two.collect_params().values(), strict=True):
        mine, its = (p.data().astype("float32").asnumpy() for p in (a, b))
        assert np.isfinite(mine).all()
        np.testing.assert_allclose(mine, its, rtol=2.0**-6, atol=2.0**-6)


def test_operands_of_different_dtypes_are_refused() -> None:
    for dtype in NARROW:
        with pytest.raises(
            mx.TigonError,
            match=rf"^broadcast_add: rhs: expected {dtype} like lhs; given float32; "
            rf"convert it with astype\('{dtype}'\)$",
        ):
            nd.zeros(2, dtype=dtype) + nd.zeros(2)


@pytest.mark.parametrize("dtype", NARROW)
def test_sums_do_not_stop_growing(dtype: str) -> None:
    """In the dtype itself a sum of ones ends at 2048, or at 256."""
    x = nd.ones((5000,), dtype=dtype)
    wanted = rounded(np.array(5000.0), mx.base.as_dtype(dtype)).item()
    assert x.sum().item() == wanted
    assert nd.cumsum(x)[-1].item() == wanted
    assert x.mean().item() == 1
    assert nd.dot(x, x).item() == wanted
    positions = nd.zeros((5000,), dtype="int32")
    table = nd.zeros((1, 1), dtype=dtype)
    table.attach_grad()
    with autograd.record():
        rows = nd.take(table, positions)
    rows.backward()
    assert table.grad.item() == wanted


@pytest.mark.parametrize("dtype", NARROW)
def test_uniform_numbers_stay_below_their_end(dtype: str) -> None:
    mx.random.seed(1)
    for low, high in ((0, 1), (-1, 0), (-3, -1.5), (0, 2.0**-20)):
        x = nd.random.uniform(low, high, shape=(20000,), dtype=dtype).astype("float32")
        assert low <= x.min().item() and x.max().item() < high


def network(dtype: str) -> gluon.nn.HybridSequential:
    mx.random.seed(3)
    net = gluon.nn.HybridSequential()
    net.add(
        gluon.nn.Conv2D(4, 3, in_channels=1),
        gluon.nn.BatchNorm(in_channels=4),
        gluon.nn.Activation("relu"),
        gluon.nn.MaxPool2D(2),
        gluon.nn.Flatten(),
        gluon.nn.Dense(8, activation="tanh", in_units=16),
        gluon.nn.LayerNorm(in_channels=8),
        gluon.nn.Dropout(0.1),
        gluon.nn.Dense(3, in_units=8),
    )
    net.initialize(mx.init.Xavier())
    net.cast(dtype)
    return net


def batch(dtype: str) -> tuple[nd.NDArray, nd.NDArray]:
    random = np.random.default_rng(0)
    return nd.array(random.normal(size=(12, 1, 6, 6)), dtype=dtype), nd.array(np.arange(12) % 3)


@pytest.mark.parametrize("dtype", NARROW)
def test_a_network_trains(dtype: str) -> None:
    """In three ways, whose numbers differ by roundings."""
    found = {}
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    for way in ("imperative", "hybridized", "one program"):
        net = network(dtype)
        x, label = batch(dtype)
        trainer = gluon.Trainer(
            net.collect_params(),
            "sgd",
            {"learning_rate": 0.2, "momentum": 0.9, "multi_precision": True},
        )
        if way == "hybridized":
            net.hybridize()
        step = gluon.TrainStep(net, loss, trainer) if way == "one program" else None
        mx.random.seed(5)
        losses = []
        for _ in range(15):
            if step is not None:
                result = step(x, label)
            else:
                with autograd.record():
                    result = loss(net(x), label)
                result.backward()
                trainer.step(12)
            losses.append(result.astype("float32").mean().item())
        assert all(p.dtype in (dtype, "float32") for p in net.collect_params().values())
        assert losses[-1] < 0.35 * losses[0]
        found[way] = [p.data().astype("float32").asnumpy() for p in net.collect_params().values()]
    for imperative, hybridized in zip(found["imperative"], found["hybridized"], strict=True):
        np.testing.assert_allclose(imperative, hybridized, atol=0.02)
    for imperative, other in zip(found["imperative"], found["one program"], strict=True):
        np.testing.assert_allclose(imperative, other, atol=0.1)


def test_normalization_keeps_its_statistics_in_float32() -> None:
    net = network("bfloat16")
    kinds = {name.rsplit("_", 2)[-1]: p.dtype for name, p in net[1].collect_params().items()}
    assert set(kinds.values()) == {"float32"}
    x = nd.ones((2, 3), dtype="float16")
    whole = [nd.ones(3, dtype="float16") for _ in range(4)]
    assert nd.BatchNorm(x, *whole).dtype is np.float16
    with pytest.raises(mx.TigonError, match="gamma: expected float16 like data; given float64"):
        nd.BatchNorm(x, *(w.astype("float64") for w in whole))
    data = sym.var("data", dtype="float16")
    types, _, states = sym.BatchNorm(data, name="bn").infer_type(data="float16")
    assert types == [np.float16, np.float32, np.float32] and states == [np.float32] * 2


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_batches_have_the_dtype_of_the_data(dtype: DType) -> None:
    if dtype is bfloat16:
        pytest.importorskip("ml_dtypes")
    x = nd.array(values_of(dtype), dtype=dtype.name)
    (found,) = mx.io.NDArrayIter(x, batch_size=2).next().data
    assert alike(found, dtype, values_of(dtype))
    for given in (x, x.asnumpy()):
        data = gluon.data.ArrayDataset(given, np.arange(2))
        ((found, numbers),) = gluon.data.DataLoader(data, batch_size=2)
        assert alike(found, dtype, values_of(dtype)) and numbers.dtype is np.int64


@pytest.mark.parametrize("dtype", NARROW)
def test_symbols_and_decisions(dtype: str) -> None:
    a = sym.var("a", dtype=dtype)
    executor = (sym.exp(a) * 2).simple_bind(mx.cpu(), a=(3,), type_dict={"a": dtype})
    (out,) = executor.forward(is_train=True, a=nd.array([0, 1, 2], dtype=dtype))
    executor.backward(nd.ones(3, dtype=dtype))
    assert out.dtype == executor.grad_dict["a"].dtype == nd.zeros(1, dtype=dtype).dtype
    np.testing.assert_allclose(out.astype("float32").asnumpy(), 2 * np.exp([0, 1, 2]), rtol=0.01)

    @mx.jit
    def chosen(x: nd.NDArray) -> nd.NDArray:
        return x * 2 if x.sum() > 3 else -x

    assert chosen(nd.array([1, 3], dtype=dtype)).tolist() == [2, 6]
    assert chosen(nd.array([1, 1], dtype=dtype)).tolist() == [-1, -1]
    rows, _ = nd.contrib.foreach(
        lambda row, state: (row + state, row + state),
        nd.ones((300, 1), dtype=dtype),
        nd.zeros(1, dtype=dtype),
    )
    assert rows[-1].item() == (300 if dtype == "float16" else 256)


@pytest.mark.parametrize("dtype", NARROW)
def test_layers_are_cast_whole(dtype: str) -> None:
    """What keeps its statistics in float32 takes them so."""
    layers = [
        gluon.nn.BatchNorm(),
        gluon.nn.BatchNormReLU(),
        gluon.contrib.nn.SyncBatchNorm(),
        gluon.nn.GroupNorm(),
        gluon.nn.InstanceNorm(),
        gluon.nn.LayerNorm(),
        gluon.nn.PReLU(),
        gluon.nn.Conv1D(2, 3),
        gluon.nn.Dense(2),
    ]
    for layer in layers:
        layer.initialize()
        layer.cast(dtype)
        x = nd.random.normal(shape=(2, 3, 4), dtype=dtype)
        x.attach_grad()
        with autograd.record():
            y = layer(x)
        y.backward()
        assert y.dtype == x.grad.dtype == x.dtype, layer
