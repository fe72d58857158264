"""Exported libraries compute what Python does, to the bit, for every size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

import tigon as mx
from tests.standalone.foreign import (
    EXTENT,
    INPUT,
    LEVEL,
    OUTPUT,
    WEIGHT,
    ForeignError,
    Library,
)
from tigon import nd
from tigon.gluon import nn, rnn
from tigon.standalone import programs


class Case(NamedTuple):
    make: Callable[[], Any]
    shape: tuple[int, ...]  # of the rest of each input, after the batch
    sizes: Sequence[int] = (1, 5, 16, 33)
    likely: int = 16
    dtype: str = "float32"


def _lenet() -> Any:
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(8, 5, activation="tanh"),
        nn.MaxPool2D(2, 2),
        nn.Conv2D(16, 5, activation="tanh"),
        nn.MaxPool2D(2, 2),
        nn.Flatten(),
        nn.Dense(64, activation="tanh"),
        nn.Dense(10),
    )
    return net


def _mlp() -> Any:
    net = nn.HybridSequential()
    net.add(
        nn.Dense(70, activation="relu"),
        nn.LayerNorm(),
        nn.BatchNorm(),
        nn.Dense(33, activation="sigmoid"),
        nn.Dense(3),
        nn.HybridLambda(lambda F, x: F.softmax(x)),
    )
    return net


class _Loops(nn.HybridBlock):
    """A loop that is counted, one with a condition, and a branch."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        rows = F.transpose(x)
        outs, last = F.contrib.foreach(
            lambda row, state: (row * state + 1, F.tanh(row + state)), rows, F.sum(x, axis=1)
        )
        _, (grown, _) = F.contrib.while_loop(
            lambda total, count: F.sum(total) * 0 + F.sum(count) < 3,
            lambda total, count: (total, (total * 1.5 + last, count + 1)),
            (F.zeros_like(last), F.zeros((1,))),
            max_iterations=5,
        )
        chosen = F.contrib.cond(F.sum(x) > 0, lambda: grown * 2, lambda: grown - 7)
        return F.transpose(outs), chosen


class _Net(nn.HybridBlock):
    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.concat(F.L2Normalization(x), F.cumsum(x, axis=1), dim=1), F.argmax(x, axis=1)


class _Views(nn.HybridBlock):
    """Results that are others in another shape, which for one picture is the same shape."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        y = F.tanh(x)
        return y, F.reshape(y, shape=(-1,)), F.reshape(y, shape=(3, -1)), F.transpose(y)


CASES = {
    "convolutions": Case(_lenet, (1, 28, 28)),
    "dense": Case(_mlp, (50,), (1, 2, 3, 4, 7, 8, 13, 32, 40), 32),
    "loops and branches": Case(_Loops, (6,), (1, 4, 16)),
    "several results": Case(_Net, (20,)),
    "results in other shapes": Case(_Views, (3,), (1, 2, 4)),
    "bfloat16": Case(lambda: nn.Dense(24), (40,), (1, 16), dtype="bfloat16"),
    "float64": Case(lambda: nn.Dense(24, activation="softrelu"), (40,), dtype="float64"),
    "depthwise": Case(lambda: nn.Conv2D(12, 3, groups=12, padding=1), (12, 9, 9)),
    "a recurrent layer": Case(lambda: rnn.LSTM(9, layout="NTC"), (5, 7), (2, 16)),
}


def build(case: Case) -> tuple[Any, Any]:
    mx.random.seed(3)
    net = case.make()
    net.initialize(mx.init.Xavier())
    net.cast(case.dtype)
    net.hybridize()
    x = nd.random.uniform(-1, 1, shape=(case.likely, *case.shape)).astype(case.dtype)
    net(x)
    return net, x


def flat(results: Any) -> list[Any]:
    if not isinstance(results, (list, tuple)):
        return [results]
    return [each for one in results for each in flat(one)]


@pytest.mark.parametrize("name", CASES)
def test_every_size_is_equal_to_the_bit(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    net, x = build(case)
    net.export_native(tmp_path / "net", x)
    # Python decides by the sizes that it saw: near ones are of one program.
    net(nd.random.uniform(-1, 1, shape=(case.likely - 1, *case.shape)).astype(case.dtype))
    instance = Library(tmp_path / "net.so").instance(largest=[max(case.sizes)])
    for size in case.sizes:
        given = nd.random.uniform(-1, 1, shape=(size, *case.shape)).astype(case.dtype)
        wanted = [each.bits_to_numpy() for each in flat(net(given))]
        found = instance(given.bits_to_numpy())
        for one, other in zip(wanted, found, strict=True):
            np.testing.assert_array_equal(_plain(one), other)
    instance.close()


def _plain(array: np.ndarray) -> np.ndarray:
    """Bits of bfloat16 as numbers."""
    return array.view("uint16") if array.dtype.names else array


def test_what_a_library_says_of_itself(tmp_path: Path) -> None:
    net, x = build(CASES["dense"])
    files = net.export_native(tmp_path / "net", x)
    assert [Path(file).name for file in files] == ["net.so", "net.h", "net.hpp", "net.md"]
    library = Library(tmp_path / "net.so")
    assert library.describe(INPUT) == [("data", "float32", (-1, 50))]
    assert library.describe(OUTPUT) == [("output", "float32", (-1, 3))]
    assert [name for name, *_ in library.describe(EXTENT)] == ["batch"]
    assert len(library.describe(WEIGHT)) == 12
    assert len(library.describe(LEVEL)) == 1


def test_several_open_extents(tmp_path: Path) -> None:
    attend = mx.jit(lambda q, k: nd.batch_dot(nd.softmax(nd.batch_dot(q, k, transpose_b=True)), k))

    def arrays(batch: int, queries: int, keys: int) -> list[Any]:
        shapes = ((batch, queries, 16), (batch, keys, 16))
        return [nd.random.uniform(-1, 1, shape=shape) for shape in shapes]

    extents = {"data0": ("batch", "queries", None), "data1": ("batch", "keys", None)}
    attend.export_native(tmp_path / "attend", *arrays(4, 9, 12), extents=extents)
    library = Library(tmp_path / "attend.so")
    assert [name for name, *_ in library.describe(EXTENT)] == ["batch", "queries", "keys"]
    instance = library.instance(largest=[8, 64, 64])
    for sizes in ((4, 9, 12), (1, 1, 1), (2, 5, 7), (8, 64, 64), (3, 1, 40), (5, 33, 2)):
        given = arrays(*sizes)
        (found,) = instance(*(each.asnumpy() for each in given))
        np.testing.assert_allclose(found, attend(*given).asnumpy(), rtol=1e-5, atol=1e-6)
    instance.close()


def test_pictures_of_any_size(tmp_path: Path) -> None:
    """Sizes that strides divide and others, from the smallest that kernels allow."""
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3), nn.MaxPool2D(), nn.Conv2D(16, 3, padding=1), nn.GlobalAvgPool2D())
    net.initialize(mx.init.Xavier())
    net.hybridize()
    extents = {"data": ("batch", None, "height", "width")}
    net.export_native(tmp_path / "net", nd.zeros((2, 3, 32, 48)), extents=extents)
    instance = Library(tmp_path / "net.so").instance(largest=[4, 64, 64])
    for sizes in ((2, 32, 48), (1, 64, 64), (3, 33, 64), (2, 20, 7), (4, 9, 20), (1, 4, 4)):
        x = nd.random.uniform(-1, 1, shape=(sizes[0], 3, *sizes[1:]))
        (found,) = instance(x.asnumpy())
        np.testing.assert_allclose(found, net(x).asnumpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ForeignError) as caught:
        instance(np.zeros((1, 3, 2, 9), "float32"))
    assert str(caught.value) == (
        "net: expected height >= 3; given batch = 1, height = 2, width = 9; there is no code for "
        "that: export with such a size"
    )
    instance.close()


@pytest.mark.parametrize("turn", [2, 100, 3000, 65536])
def test_where_a_launch_begins_to_round_otherwise_is_found(turn: int) -> None:
    backend = SimpleNamespace(rounding=lambda nest, extents, sizes: sizes[0] >= turn)
    opened: Any = SimpleNamespace(extents=None)
    found = programs._ranges(None, SimpleNamespace(backend=backend), opened)  # type: ignore[arg-type]
    assert found == [(1, turn - 1), (turn, 65536)]


class _ReadsSizes(nn.HybridBlock):
    """Its graph has the sizes of its call; as a symbol it has none."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        rows = 0 if type(x) is mx.sym.Symbol else x.shape[0]
        return F.reshape(x * 2, shape=(rows, -1))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
def test_blocks_that_read_sizes_are_exported_as_symbols(dtype: str, tmp_path: Path) -> None:
    net = _ReadsSizes()
    net.hybridize()
    net.export_native(tmp_path / "net", nd.ones((4, 2, 3), dtype=dtype))
    library = Library(tmp_path / "net.so")
    assert library.describe(INPUT) == [("data", dtype, (-1, 2, 3))]
    instance = library.instance(largest=[9])
    x = np.arange(54).reshape(9, 2, 3).astype(dtype)
    (found,) = instance(x)
    np.testing.assert_array_equal(found, x.reshape(9, 6) * 2)
    assert found.dtype == dtype
    instance.close()


def test_a_size_that_cannot_be_open_is_told(tmp_path: Path) -> None:
    shaped = mx.jit(lambda x: x.reshape((8, 3, 2)) * 2)
    with pytest.raises(mx.TigonError) as caught:
        shaped.export_native(tmp_path / "net", nd.zeros((8, 6)))
    assert str(caught.value) == (
        "export_native: batch cannot be left open: reshape: cannot bring 6*batch elements of shape "
        "(batch, 6) into shape (8, 3, 2); pass extents=None for the sizes of the call, or leave "
        "other axes open"
    )


def test_a_size_without_code_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tigon.standalone.library.MOST_WAYS", 1)
    net, x = build(CASES["a recurrent layer"])
    net.export_native(tmp_path / "net", x)
    instance = Library(tmp_path / "net.so").instance(largest=[40])
    with pytest.raises(ForeignError) as caught:
        instance(np.zeros((2, 5, 7), "float32"))
    assert str(caught.value) == (
        "net: expected batch > 16; given batch = 2; there is no code for that: export with such a "
        "size"
    )
    assert instance(np.zeros((17, 5, 7), "float32"))[0].shape == (17, 5, 9)
    instance.close()
