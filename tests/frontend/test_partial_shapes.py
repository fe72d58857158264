"""`infer_shape_partial` with unknown extents (0): what follows is known, what does not stays 0."""

from __future__ import annotations

from typing import Any

import pytest

import tigon as mx
from tigon import sym

x, y = sym.var("x"), sym.var("y")
Shape = tuple[int, ...]


CASES: dict[str, tuple[Any, dict[str, Shape], list[Shape], Shape]] = {
    "rows cut off": (
        sym.slice_axis(x, axis=1, begin=0, end=10),
        {"x": (0, 20)},
        [(0, 20)],
        (0, 10),
    ),
    # Whether there are ten rows is not known.
    "unknown rows cut off": (
        sym.slice_axis(x, axis=0, begin=0, end=10),
        {"x": (0, 2)},
        [(0, 2)],
        (0, 2),
    ),
    "what is filled in": (
        sym.FullyConnected(x, num_hidden=7, name="fc"),
        {"x": (0, 20)},
        [(0, 20), (7, 20), (7,)],
        (0, 7),
    ),
    "unknown width": (
        sym.FullyConnected(x, num_hidden=7, name="fc"),
        {"x": (5, 0)},
        [(5, 0), (7, 0), (7,)],
        (5, 7),
    ),
    "convolution": (
        sym.Convolution(x, kernel=(3, 3), num_filter=4, no_bias=True, name="c"),
        {"x": (1, 3, 0, 9)},
        [(1, 3, 0, 9), (4, 3, 3, 3)],
        (1, 4, 0, 7),
    ),
    "one extent from the other operand": (
        sym.concat(x, y, dim=1),
        {"x": (5, 3), "y": (0, 4)},
        [(5, 3), (5, 4)],
        (5, 7),
    ),
    "two unknown extents that are equal": (
        sym.concat(x, y, dim=1),
        {"x": (0, 3), "y": (0, 4)},
        [(0, 3), (0, 4)],
        (0, 7),
    ),
    "from both sides": (sym.dot(x, y), {"x": (2, 0), "y": (3, 0)}, [(2, 3), (3, 0)], (2, 0)),
    # As where nothing is known of a variable: it is taken to be as large as what it meets.
    "broadcast": (sym.broadcast_add(x, y), {"x": (0, 3), "y": (5, 3)}, [(5, 3), (5, 3)], (5, 3)),
    "broadcast, unknown": (
        sym.broadcast_add(x, y),
        {"x": (0, 1), "y": (1, 3)},
        [(0, 1), (1, 3)],
        (0, 3),
    ),
    "merged": (sym.reshape(x, shape=(-3, 0)), {"x": (0, 4, 3)}, [(0, 4, 3)], (0, 3)),
    "a variable's own shape": (
        sym.broadcast_mul(x, sym.var("v", shape=(1, 0))),
        {"x": (4, 0)},
        [(4, 0), (1, 0)],
        (4, 0),
    ),
    "nothing is known": (x + y, {}, [(), ()], ()),
}


@pytest.mark.parametrize("name", CASES)
def test_what_follows_is_known(name: str) -> None:
    symbol, given, arguments, output = CASES[name]
    found = symbol.infer_shape_partial(**given)
    assert found == (arguments, [output], [])
    complete = all(0 not in shape and shape for shape in (*arguments, output))
    assert symbol.infer_shape(**given) == (found if complete else (None, None, None))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(mx.TigonError, match="elemwise_add: shapes differ"):
        sym.elemwise_add(x, y).infer_shape_partial(x=(0, 3), y=(5, 4))


def test_auxiliary_states_and_internals() -> None:
    net = sym.BatchNorm(sym.Convolution(x, kernel=(1, 1), num_filter=4, name="c"), name="b")
    arguments, outputs, auxiliary = net.infer_shape_partial(x=(0, 3, 0, 0))
    assert dict(zip(net.list_arguments(), arguments, strict=True))["c_weight"] == (4, 3, 1, 1)
    assert outputs == [(0, 4, 0, 0)] and auxiliary == [(4,), (4,)]
    internals = net.get_internals()["c_output"]
    assert internals.infer_shape_partial(x=(2, 3, 0, 5))[1] == [(2, 4, 0, 5)]
