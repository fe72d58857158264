"""Errors hold arrays, not symbols."""

from __future__ import annotations

import types
from typing import Any

import pytest

from tests.gluon.both_ways import Case, Make, Wrapped, adder, called

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gives way:RuntimeWarning", "ignore:.*traced again:RuntimeWarning"
)

CASES: dict[str, Case] = {}
case = adder(CASES)


class Exit(Exception):
    pass


@case
def an_error_that_holds_an_array(make: Make) -> list[Any]:
    def forward(x: Any) -> Any:
        error = Exit(x * 2)
        error.also = x * 3
        raise error from ValueError(x * 4)

    compiled, seen = make.jit(forward), []
    for _ in range(2):
        try:
            called(compiled)
        except Exit as error:
            parts = error.args[0], error.also, error.__cause__.args[0]
            seen.append([part.asnumpy().tolist() for part in parts])
    return seen


@case
def an_error_that_is_caught_outside_of_its_block(make: Make) -> list[Any]:
    def leave(self: Any, x: Any) -> Any:
        raise Exit(x * 2)

    def forward(self: Any, x: Any) -> Any:
        try:
            return self.inner(x)
        except Exit as error:
            return error.args[0] + 1

    net = make(forward, inner=make(leave))
    return [called(net), called(net)]


class Slotted(Exception):
    __slots__ = ("part",)


@case
def an_error_that_holds_an_array_deep_inside(make: Make) -> list[Any]:
    def forward(x: Any) -> Any:
        error = Slotted(types.SimpleNamespace(x=x * 2, table={"k": Wrapped(x * 3)}))
        error.part = x * 4
        raise error

    try:
        called(make.jit(forward))
    except Slotted as error:
        inner = error.args[0]
        parts = inner.x, inner.table["k"].x, error.part
    return [part.asnumpy().tolist() for part in parts]


@pytest.mark.parametrize("name", CASES)
def test_hybridized_as_imperatively(name: str) -> None:
    assert CASES[name](Make(False)) == CASES[name](Make(True))
