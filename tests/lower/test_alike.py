"""Groups that are alike are lowered once, and compute what each would for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tigon import nd
from tigon.base import TensorType, as_dtype
from tigon.base.extents import RuntimeExtents, RuntimeScalar, UnknownExtent
from tigon.ir import Graph, Value, variable
from tigon.lower import nests
from tigon.ops import get
from tigon.program.compile import compile_graph
from tigon.program.lowered import CompiledGraph

X = np.linspace(0.5, 2.5, 24, dtype=np.float32).reshape(4, 6)


def compiled(outputs: Callable[[Value], list[Value]], dtype: str = "float32") -> CompiledGraph:
    x = variable("x", TensorType((4, 6), as_dtype(dtype)))
    return compile_graph(Graph([x], outputs(x)))


@pytest.fixture
def lowered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of the groups that were lowered."""
    found: list[str] = []
    original = nests.lower_group

    def noting(group: Any, fusion: Any) -> Any:
        found.append(group.kind)
        return original(group, fusion)

    monkeypatch.setattr("tigon.lower.alike.lower_group", noting)
    return found


def test_numbers_are_left_open(lowered: list[str]) -> None:
    numbers = [0.25 * number + 3 for number in range(20)]
    made = compiled(lambda x: [x * number + number for number in numbers])
    assert lowered == ["map", "map"]  # exactly for the first, and with open numbers
    for number, result in zip(numbers, made.run([nd.array(X)]), strict=True):
        np.testing.assert_array_equal(result.asnumpy(), X * np.float32(number) + np.float32(number))


def test_numbers_that_code_is_special_about_are_not(lowered: list[str]) -> None:
    numbers = [1.0, 0.0, -1.0, float("inf"), 7.0, 8.0, 9.0]
    made = compiled(lambda x: [get("broadcast_maximum")(x, number) for number in numbers])
    for number, result in zip(numbers, made.run([nd.array(X)]), strict=True):
        np.testing.assert_array_equal(result.asnumpy(), np.maximum(X, np.float32(number)))
    assert lowered.count("map") == 4 + 2


def test_exponents_decide_about_code(lowered: list[str]) -> None:
    exponents = [2.0, 3.0, 0.5, 2.5, 3.5, -2.0]
    made = compiled(lambda x: [get("broadcast_power")(x, number) for number in exponents])
    alone = [
        compiled(lambda x, number=number: [get("broadcast_power")(x, number)]).run([nd.array(X)])
        for number in exponents
    ]
    for (expected,), result in zip(alone, made.run([nd.array(X)]), strict=True):
        np.testing.assert_array_equal(result.asnumpy(), expected.asnumpy())


def test_numbers_beside_integers_are_whole() -> None:
    made = compiled(lambda x: [x + number for number in (2.5, 3.5, 4.75)], "int32")
    x = np.arange(24, dtype=np.int32).reshape(4, 6)
    for number, result in zip((2, 3, 4), made.run([nd.array(x, dtype="int32")]), strict=True):
        np.testing.assert_array_equal(result.asnumpy(), x + number)


def test_places_of_single_elements_are_left_open(lowered: list[str]) -> None:
    """As the rates of a thousand parameters are."""
    x = variable("x", TensorType((4, 6), as_dtype("float32")))
    rates = variable("rates", TensorType((40,), as_dtype("float32")))
    slice_ = get("_slice")
    outputs = [
        x * get("_reshape")(slice_(rates, start=(n,), step=(1,), extents=(1,)), shape=(1, 1))
        for n in range(40)
    ]
    made = compile_graph(Graph([x, rates], outputs))
    assert lowered == ["map"] * 3  # the first place is 0, which stays; then one, and all others
    values = np.linspace(1, 2, 40, dtype=np.float32)
    for value, result in zip(values, made.run([nd.array(X), nd.array(values)]), strict=True):
        np.testing.assert_array_equal(result.asnumpy(), X * value)


def test_a_number_that_is_open_answers_nothing() -> None:
    extents = RuntimeExtents([11])
    number = RuntimeScalar(extents, 0)
    for ask in (lambda: number == 2.0, lambda: float(number)):
        with pytest.raises(UnknownExtent):
            ask()
    assert number == number and number != RuntimeScalar(extents, 0)
    with extents.known([2.5]):
        assert float(number) == 2.5
