"""Assignments while recording: compiled code differentiates them as arrays do, refuses what these
refuse, and may decide by values in between."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, nd
from tigon.base import TigonError

Write = Callable[[Any, Any], None]


def in_pause(x: Any, y: Any) -> None:
    with autograd.pause():
        y[:] = x
        y[0] = x[1]
        y[:, 2] = x[:, 1]


def elements(x: Any, y: Any) -> None:
    y[0, :] = x[0]
    y[1, 1] = x[0, 0]
    y[2:3] = 3
    y[:, 2:3] = 1


def whole(x: Any, y: Any) -> None:
    y[:] = x


def by_mask(x: Any, y: Any) -> None:
    y[(x > 0).astype("bool")] = x[0, 0]


def whole_then_row(x: Any, y: Any) -> None:
    y[:] = x
    y[0] = 1


def whole_then_mask(x: Any, y: Any) -> None:
    y[:] = x
    y[(x > 0).astype("bool")] = 1


def row_then_whole(x: Any, y: Any) -> None:
    y[0] = x[0]
    y[:] = x


def row_by_row(x: Any, y: Any) -> None:
    for row in range(4):
        if x[row].sum() > 0:
            y[row] = x[row] * 2


def chosen_rows(x: Any, y: Any) -> None:
    y[nd.array([1, 2])] = x[1]


WRITES: dict[str, Write] = {
    f.__name__: f
    for f in (
        in_pause, elements, whole, by_mask, whole_then_row, whole_then_mask, row_then_whole,
        row_by_row, chosen_rows,
    )
} | {
    "slice": lambda x, y: y.__setitem__(slice(0, 2), x[0:2]),
    "column": lambda x, y: y.__setitem__((slice(None), 1), x[:, 1]),
    "ellipsis": lambda x, y: y.__setitem__(..., x),
    "broadcast": lambda x, y: y.__setitem__(slice(None), x[0]),
    "strided": lambda x, y: y.__setitem__(slice(0, 4, 2), x[1:3]),
    "all rows": lambda x, y: y.__setitem__(slice(0, 4), x),
}  # fmt: skip


def without(write: Write, x: Any) -> Any:
    y = nd.zeros((4, 3))
    write(x, y)
    return y * x


def between(write: Write, x: Any) -> Any:
    y = nd.zeros((4, 3))
    if x.sum() > 0:
        write(x, y)
    if y.sum() > 0:
        x = x * 2
    return y * x


def after(write: Write, x: Any) -> Any:
    """What the segment before has kept of `y` for its gradient stays as it was."""
    y = nd.zeros((4, 3))
    y[0] = x[0]
    z = y * x
    if x.sum() > 0:
        y = y + 0
    write(x, y)
    return z + y * x


def results(function: Any, times: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(times):
        x = nd.array(np.arange(12).reshape(4, 3) - 2.5)
        x.attach_grad()
        try:
            with autograd.record():
                y = function(x)
            y.backward()
            found.append((y.asnumpy().tolist(), x.grad.asnumpy().tolist()))
        except TigonError as error:
            found.append(str(error).split(";")[0])
    return found


@pytest.mark.parametrize("around", [without, between, after], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", WRITES)
def test_assignments_are_differentiated_as_those_of_arrays(name: str, around: Any) -> None:
    def function(x: Any) -> Any:
        return around(WRITES[name], x)

    (expected,) = results(function, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some give way
        assert results(mx.jit(function), 3) == [expected] * 3


def test_rows_written_after_decisions_need_no_arrays() -> None:
    function = mx.jit(lambda x: between(row_by_row, x))
    before = mx.runtime.stats()["given_way"]
    expected = results(lambda x: between(row_by_row, x), 1)
    assert results(function, 2) == expected * 2
    assert mx.runtime.stats()["given_way"] == before


def test_what_a_segment_keeps_is_not_written_over_where_the_trace_gives_way() -> None:
    weight = nd.array([[3, 0], [0, 0]])

    def function(x: Any) -> Any:
        with autograd.pause():
            y = nd.dot(weight, x)  # too dear to be computed again
        z = y * x
        if x.sum() > 0:
            y[nd.array([0])] = 5
        return z + y

    compiled = mx.jit(function)
    x = nd.ones((2,))
    x.attach_grad()
    with warnings.catch_warnings(), autograd.record():
        warnings.simplefilter("ignore")
        y = compiled(x)
    y.backward()
    assert y.asnumpy().tolist() == [8, 0]
    assert x.grad.asnumpy().tolist() == [3, 0]
