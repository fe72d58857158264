"""Arrays that a block uses besides its arguments: read anew at each call, never baked in."""

import numpy as np
import pytest

import tigon as mx
from tigon import nd
from tigon.gluon import HybridBlock


class Holder(HybridBlock):
    """A block with an array and a function of it and the input."""

    def __init__(self, function):
        super().__init__()
        self.k = nd.array([2.0])
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def both(function, change):
    """Results before and after `change`, imperatively and hybridized."""
    x = nd.ones(2)
    results = []
    for hybridized in (False, True):
        block = Holder(function)
        block.hybridize(hybridized)
        first = block(x).asnumpy()
        change(block)
        results.append((first, block(x).asnumpy()))
    return results


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: x * (self.k * self.k),
        lambda self, x: x + (-self.k + 1) ** 2,
        lambda self, x: x * (self.k > 3),
        lambda self, x: x + nd.exp(self.k).sum() + nd.zeros(1),
        lambda self, x: x + self.k[0] + self.k.reshape((1, 1)).sum(),
        lambda self, x: x * 10 if self.k.asscalar() > 3 else x,
        lambda self, x: x + float(self.k),
        lambda self, x: x + nd.array(self.k.asnumpy() * 2),
    ],
)
def test_overwritten_arrays_count_at_the_next_call(function):
    imperative, hybridized = both(function, lambda block: block.k.__setitem__(slice(None), 5))
    for expected, got in zip(imperative, hybridized, strict=True):
        assert np.allclose(expected, got)


def _count(self, x):
    self.k += 1
    return x + self.k


def _assign(self, x):
    self.k[:] = x[0] + 3
    return x + self.k


def _out(self, x):
    nd.broadcast_add(self.k, 1, out=self.k)
    return x + self.k


def _through_a_view(self, x):
    self.k.reshape((1, 1))[:] = 4
    return x + self.k


@pytest.mark.parametrize("function", [_count, _assign, _out, _through_a_view])
def test_writing_to_arrays_of_the_block_gives_way(function):
    """Each write happens once per call, also in the one that finds out."""
    runs = []
    line = function.__code__.co_firstlineno + 1
    for hybridized in (False, True):
        block = Holder(function)
        block.hybridize(hybridized)
        results = []
        for call in range(4):
            before = mx.runtime.stats()["given_way"]
            if hybridized and call == 0:
                with pytest.warns(RuntimeWarning, match=rf"test_trace_of_arrays\.py:{line}"):
                    result = block(nd.ones(2) * call)
                assert mx.runtime.stats()["given_way"] == before + 1
            else:
                result = block(nd.ones(2) * call)
                assert mx.runtime.stats()["given_way"] == before
            results.append((result.asnumpy().tolist(), block.k.asnumpy().tolist()))
        runs.append(results)
    assert runs[0] == runs[1]
    block = Holder(function)
    block.hybridize(strict=True)
    with pytest.raises(mx.TigonError, match=rf"test_trace_of_arrays\.py:{line}"):
        block(nd.ones(2))
    assert block.k.asnumpy().tolist() == [2]


def test_arrays_made_inside_may_be_written():
    def build(self, x):
        made = nd.empty((2, 2))
        made[:] = x
        made[0] = 7
        return made

    (expected, _), (got, _) = both(build, lambda block: None)
    assert np.array_equal(expected, got)
