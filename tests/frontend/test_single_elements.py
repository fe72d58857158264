"""One element: what `asnumpy` gives for it, and where one may be written."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tigon import gluon, nd

SHAPES = [(1,), (1, 1), (1, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_one_element_is_a_number(shape: tuple[int, ...]) -> None:
    value = nd.full(shape, 2.5).asnumpy()
    assert isinstance(value, np.ndarray) and value.shape == shape
    assert (float(value), int(value), complex(value)) == (2.5, 2, 2.5)
    assert "%f %.1f %d" % (value, value, value) == "2.500000 2.5 2"  # noqa: UP031
    assert math.sqrt(value) == math.sqrt(2.5)
    losses = np.zeros(2)
    losses[1] = value
    assert losses.tolist() == [0, 2.5]
    assert float(nd.array([3], dtype="int32").asnumpy()) == 3
    assert float(nd.array([[1, 2], [3, 6]]).mean().asnumpy()) == 3


OF_IT: dict[str, Callable[[Any], Any]] = {
    "arithmetic": lambda v: [v + 1, 1 + v, v + np.ones(3), np.ones(3) + v, -v, v * v, v @ v, v**2],
    "comparison": lambda v: [v == 1, v < 2, v != v],
    "ufuncs": lambda v: [np.exp(v), np.add(v, v), np.add.reduce(v), np.multiply.outer(v, v)],
    "views": lambda v: [v[:], v[None], v.reshape(-1), v.T, v.real, v.ravel(), v.view(), v[...]],
    "copies": lambda v: [v.copy(), v.astype("float64"), copy.copy(v), copy.deepcopy(v)],
    "pickles": lambda v: [pickle.loads(pickle.dumps(v))],
    "reductions": lambda v: [
        v.mean(),
        v.sum(0),
        np.mean(v),
        np.sum(v, axis=0),
        v.max(0),
        v.cumsum(),
    ],
    "joined": lambda v: [
        np.concatenate([v, v]),
        np.stack([v, v]),
        np.array([v, v]),
        np.append(v, 1),
    ],
    "numpy's": lambda v: [
        np.asarray(v),
        np.array(v),
        np.squeeze(v),
        np.repeat(v, 2),
        np.transpose(v),
    ],
    "elements": lambda v: [v[0], v.item(), next(iter(v))],
}


@pytest.mark.parametrize("name", OF_IT)
def test_all_that_comes_of_it_is_plain(name: str) -> None:
    given = nd.ones((1,)).asnumpy()
    plain = np.ones((1,), np.float32)
    for found, expected in zip(OF_IT[name](given), OF_IT[name](plain), strict=True):
        assert type(found) is type(expected)
        assert np.array_equal(found, expected)
        assert getattr(found, "dtype", None) == getattr(expected, "dtype", None)


def test_it_looks_as_a_plain_array_does() -> None:
    given = nd.array([[2.5]]).asnumpy()
    plain = np.array([[2.5]], np.float32)
    assert (repr(given), str(given), type(given).__name__) == (repr(plain), str(plain), "array")
    assert given.tolist() == plain.tolist() and given.tobytes() == plain.tobytes()
    assert len(given) == 1 and 2.5 in given and bool(given) and [*given] == [*plain]
    with pytest.raises(TypeError):
        hash(given)


def test_writing_to_it() -> None:
    given = nd.ones((1,)).asnumpy()
    same = given
    same += 2
    same *= np.array([2.0])
    np.add(same, 1, out=same)
    same[0] -= 1
    same.fill(float(same) + 0.5)
    assert same is given and float(given) == 6.5
    given[:] = 3
    assert int(same) == 3


def test_more_elements_and_no_axes_are_plain() -> None:
    for value in (nd.ones((2,)), nd.zeros((0,)), nd.array(3)):
        assert type(value.asnumpy()) is np.ndarray
    with pytest.raises(TypeError):
        float(nd.ones((2,)).asnumpy())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", [nd.full, np.full, lambda *a: np.full(*a).tolist()])
def test_one_element_goes_where_one_goes(shape: tuple[int, ...], make: Any) -> None:
    one = make(shape, 7.0)
    keys: list[Any] = [(0, 1), 0, slice(None), (slice(None), 1), ([0, 1], [1, 2]), (0, slice(0, 1))]
    for key in keys:
        x, expected = nd.zeros((2, 3)), np.zeros((2, 3))
        x[key] = one
        expected[key] = 7
        assert x.asnumpy().tolist() == expected.tolist(), key


def test_counters_and_tables() -> None:
    counts, table = nd.zeros((4,)), nd.zeros((2, 3))
    for label in (1, 3, 1, 1):
        counts[label] += 1
    for i in range(2):
        for j in range(3):
            table[i, j] = counts[j] * 10**i
    assert counts.asnumpy().tolist() == [0, 3, 0, 1]
    assert table.asnumpy().tolist() == [[0, 3, 0], [0, 30, 0]]


def test_what_a_block_keeps_of_it_is_noticed() -> None:
    class Scaled(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.by = nd.array([2]).asnumpy()

        def forward(self, x: Any) -> Any:
            return x * float(self.by)

    block = Scaled()
    block.hybridize()
    x = nd.ones((2,))
    assert block(x).asnumpy().tolist() == [2, 2]
    block.by[0] = 5
    assert block(x).asnumpy().tolist() == [5, 5]
    block.by = nd.array([7]).asnumpy()
    assert block(x).asnumpy().tolist() == [7, 7]
