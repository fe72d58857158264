"""Symbols that stand for arrays while a plain `forward(x)` is traced: they read like arrays."""

import numpy as np
import pytest

import tigon as mx
from tigon import nd, sym
from tigon.base import TensorType, as_dtype
from tigon.gluon import HybridBlock
from tigon.sym.traced import ArraySymbol, traced_variable

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def traced(shape=(3, 4), dtype="float32"):
    return traced_variable("x", TensorType(shape, as_dtype(dtype)), array=True)


def value(symbol):
    return symbol.eval(x=nd.array(X))[0].asnumpy()


class Plain(HybridBlock):
    """A block of one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    "key",
    [1, (1, 2), slice(1, 3), (slice(None), 1), (..., 0), None, [0, 2], (slice(None), [1, 3])],
    ids=repr,
)
def test_reading(key):
    symbol = traced()[key]
    assert isinstance(symbol, ArraySymbol)
    expected = X[key]
    assert symbol.shape == (expected.shape or (1,))
    assert np.array_equal(value(symbol).reshape(expected.shape), expected)


def test_shapes_lengths_and_loops():
    x = traced()
    assert (x.shape, x.ndim, x.size, len(x), x.dtype) == ((3, 4), 2, 12, 3, np.float32)
    assert np.array_equal(value(sum(row for row in x)), X.sum(0))
    assert isinstance(nd.relu(x) + 1, ArraySymbol)
    assert isinstance(sym.relu(sym.var("y")), sym.Symbol)
    assert not isinstance(sym.relu(sym.var("y")), ArraySymbol)


def writes(x):
    y = x * 1
    z = y
    y[1] = 5
    y[:, 0] = nd.arange(3)
    y[0, 1:3] = x[2, :2]
    y += 1
    y *= x
    y -= 2
    y /= 2
    assert y is z
    return z


def test_writes_mean_what_they_mean_imperatively():
    block = Plain(writes)
    expected = block(nd.array(X)).asnumpy()
    block.hybridize()
    assert np.array_equal(block(nd.array(X)).asnumpy(), expected)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x.__iadd__(1), "belongs to the caller"),
        (lambda x: x.__setitem__(0, 1), "belongs to the caller"),
        (lambda x: _written_behind_a_view(x), "shares memory with another"),
        (lambda x: _written_through_a_view(x), "shares memory with another"),
    ],
)
def test_writes_that_a_graph_cannot_tell_are_refused(function, reason):
    with pytest.raises(mx.TigonError, match=reason):
        function(traced())


def _written_behind_a_view(x):
    y = x * 1
    row = y[0]
    y += 1
    return row


def _written_through_a_view(x):
    y = x * 1
    y[0][:] = 1
    return y


def test_a_copy_may_be_written():
    x = traced().copy()
    x += 1
    assert np.array_equal(value(x), X + 1)


def test_plain_symbols_take_no_writes():
    x = sym.var("x")
    for write in (lambda: x.__iadd__(1), lambda: x.__setitem__(0, 1)):
        with pytest.raises(sym.NotImplementedForSymbol):
            write()


def test_mask_writes():
    x = traced() * 1
    x[(x > 5).astype("bool")] = 0
    assert np.array_equal(value(x), np.where(X > 5, 0, X))


def test_out_is_written_to():
    def into(x):
        y = nd.zeros((3, 4))
        z = y
        assert nd.broadcast_add(x, 1, out=y) is y
        parts = [nd.zeros((3, 2)), nd.zeros((3, 2))]
        nd.split(x, num_outputs=2, axis=1, out=parts)
        return z, parts[1]

    for function in (into, mx.jit(into)):
        z, part = function(nd.array(X))
        assert np.array_equal(z.asnumpy(), X + 1)
        assert np.array_equal(part.asnumpy(), X[:, 2:])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lambda x, held: held, "broadcast_add: out= is an array that the traced program has not"),
        (lambda x, held: x, "belongs to the caller"),
        (lambda x, held: nd.zeros((3, 1)), "broadcast_add: out= expects shape"),
    ],
)
def test_out_that_cannot_be_written_to(target, message):
    held = nd.zeros((3, 4))
    with pytest.raises(mx.TigonError, match=message):
        mx.jit(lambda x: nd.broadcast_add(x, 1, out=target(x, held)))(nd.array(X))
    assert not held.asnumpy().any()
