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


def _added_to(x):
    x += 1
    return x * 2


def _assigned_to(x):
    x[0] = 1
    return x * 2


def _multiplied_by_a_row(x):
    x *= x[0]
    return x.sum(axis=0)


def _written_behind_a_view(x):
    y = x * 1
    row = y[0]
    y += 1
    return row


def _written_through_a_view(x):
    y = x * 1
    y[0][:] = 1
    return y


def _written_through_a_reshape(x):
    y = x * 1
    y.reshape((-1,))[3] = 7
    return y


def _argument_written_through_a_view(x):
    x[1][:] = 9
    return x + 1


WRITES = [
    _added_to,
    _assigned_to,
    _multiplied_by_a_row,
    _written_behind_a_view,
    _written_through_a_view,
    _written_through_a_reshape,
    _argument_written_through_a_view,
]


@pytest.mark.parametrize("function", WRITES)
def test_writes_that_a_graph_cannot_tell_give_way(function):
    """The argument is written to once per call, also in the call that finds out."""
    compiled = mx.jit(function)
    before = mx.runtime.stats()["given_way"]
    for call in range(3):
        mine, theirs = nd.array(X), nd.array(X)
        if call == 0:
            with pytest.warns(RuntimeWarning, match=r"test_traced_arrays\.py:\d+") as warned:
                result = compiled(mine)
            assert len(warned) == 1
        else:
            result = compiled(mine)
        assert np.array_equal(result.asnumpy(), function(theirs).asnumpy())
        assert np.array_equal(mine.asnumpy(), theirs.asnumpy())
    assert mx.runtime.stats()["given_way"] == before + 1


@pytest.mark.parametrize("function", WRITES)
def test_writes_that_a_graph_cannot_tell_are_refused_where_it_must_be_one(function):
    block = Plain(function)
    block.hybridize(strict=True)
    x = nd.array(X)
    with pytest.raises(mx.TigonError, match=r"^hybridize: it does x.* at .*test_traced_arrays\.py"):
        block(x)
    assert np.array_equal(x.asnumpy(), X)


@pytest.mark.parametrize("function", WRITES)
def test_symbols_outside_of_a_call_take_no_such_writes(function):
    with pytest.raises(sym.NotImplementedForSymbol):
        function(traced())


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
    "target", [lambda x, held: held, lambda x, held: x, lambda x, held: held[1:4]]
)
def test_out_that_belongs_to_others_gives_way(target):
    held = nd.zeros((5, 4))

    def into(x):
        return nd.broadcast_add(x, 1, out=target(x, held))

    def run(function):
        held[:] = 0
        x = nd.array(np.vstack([X, X[:2]]))
        if target(x, held).shape == (3, 4):
            x = nd.array(X)
        results = []
        for _ in range(3):
            y = function(x)
            results += [y.asnumpy().tolist(), x.asnumpy().tolist(), held.asnumpy().tolist()]
        return results

    expected = run(into)
    with pytest.warns(
        RuntimeWarning, match=r"into gives way .*test_traced_arrays\.py:\d+"
    ) as warned:
        assert run(mx.jit(into)) == expected
    assert len(warned) == 1


def test_out_of_another_shape_is_refused():
    into = mx.jit(lambda x: nd.broadcast_add(x, 1, out=nd.zeros((3, 1))))
    with pytest.raises(mx.TigonError, match="broadcast_add: out= expects shape"):
        into(nd.array(X))
