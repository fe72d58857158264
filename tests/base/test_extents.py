"""Extents that are known when a program runs, in random formulas, against the numbers that they are
then."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tigon.base.errors import InternalError
from tigon.base.extents import (
    RuntimeExtents,
    RuntimeRatio,
    RuntimeScalar,
    UnknownExtent,
    as_known,
    as_plain,
    common_divisor,
    divides,
    estimate,
    is_known,
    is_negative,
    is_one,
    same,
    same_shape,
    value_of,
    value_of_plain,
)

RUNS = settings(max_examples=150, deadline=None, derandomize=True)
VALUES = st.tuples(st.integers(1, 40), st.integers(1, 40))
Formula = Callable[[Any, Any], Any]
LEAVES: st.SearchStrategy[Formula] = st.one_of(
    st.integers(-6, 9).map(lambda number: lambda a, b: number),
    st.just(lambda a, b: a),
    st.just(lambda a, b: b),
)
SIGNS = (operator.add, operator.sub, operator.mul)
DIVISORS = st.one_of(
    st.integers(1, 7).map(lambda number: lambda a, b: number),
    st.sampled_from([lambda a, b: a, lambda a, b: b * 2, lambda a, b: a * b]),
)


def grown(inner: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
    def joined(sign: Any, one: Formula, other: Formula) -> Formula:
        return lambda a, b: sign(one(a, b), other(a, b))

    return st.one_of(
        st.builds(joined, st.sampled_from(SIGNS), inner, inner),
        st.builds(joined, st.sampled_from([operator.floordiv, operator.mod]), inner, DIVISORS),
        inner.map(lambda one: lambda a, b: -one(a, b)),
    )


FORMULAS = st.recursive(LEAVES, grown, max_leaves=8)
TESTS = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)


@RUNS
@given(formula=FORMULAS, values=VALUES)
def test_formulas_are_what_they_are_for_numbers(formula: Formula, values: tuple[int, int]) -> None:
    extents = RuntimeExtents([8, 16])
    number, expected = formula(*extents.unknown), formula(*values)
    assert value_of(number, values) == expected
    assert value_of_plain(as_plain(number), values) == expected
    assert eval(repr(number), {"n0": values[0], "n1": values[1]}) == expected
    assert estimate(number) == formula(*extents.examples)
    with extents.known(values):
        assert as_known(number) == expected == int(number) and estimate(number) == expected
        assert float(number) == expected and [*range(50)][expected % 50 : 50] is not None
    assert is_known(number) == isinstance(number, int)
    if not is_known(number):
        assert as_known(number) is number
        with pytest.raises(UnknownExtent):
            int(number)


@RUNS
@given(one=FORMULAS, other=FORMULAS, values=VALUES, test=st.sampled_from(TESTS))
def test_answers_hold_where_the_conditions_do(
    one: Formula, other: Formula, values: tuple[int, int], test: Callable[[Any, Any], Any]
) -> None:
    extents = RuntimeExtents([8, 16])
    n = extents.unknown
    answer = test(one(*n), other(*n))
    assert answer == test(one(*extents.examples), other(*extents.examples))
    assert extents.allow(extents.examples)
    expected = test(one(*values), other(*values))
    if extents.allow(values):
        assert answer == expected
    elif len(extents.guards) == 1:
        assert answer != expected
    with extents.known(values):
        assert test(one(*n), other(*n)) == expected
    with extents.supposed(values) as conditions:
        assert test(one(*n), other(*n)) == expected
    assert len(conditions) <= len(extents.guards) or not extents.guards


@RUNS
@given(one=FORMULAS, other=FORMULAS, values=VALUES)
def test_what_is_certain_holds_for_all_numbers(
    one: Formula, other: Formula, values: tuple[int, int]
) -> None:
    extents = RuntimeExtents([8, 16])
    a, b = one(*extents.unknown), other(*extents.unknown)
    first, second = one(*values), other(*values)
    assert not same(a, b) or first == second
    assert not is_negative(a) or first < 0
    assert not is_one(a) or first == 1
    if isinstance(b, int) and b:
        assert not divides(b, a) or first % b == 0
    if divisor := common_divisor(a, b):
        assert first % divisor == second % divisor == 0
    assert same_shape((a, b), (a, b)) and not same_shape((a, b), (a,))
    assert extents.guards == {}
    if not isinstance(a, int):
        assert hash(a) == hash(a + b - b) and same(a, a + b - b) and a != b + a + 1 - b


def test_what_is_certain_is_said_without_a_condition() -> None:
    extents = RuntimeExtents([8, 16])
    n, m = extents.unknown
    answers = {
        n > 0: True, n >= 1: True, n < 1: False, n <= 0: False, n == 0: False, -n < 0: True,
        n + m > 1: True, n + m >= 2: True, n * 2 == 1: False, n != 0: True, bool(n): True,
        n - n == 0: True, n < float("inf"): True, n > float("-inf"): True, -n <= -1: True,
        n % n == 0: True, (n * 6) // 3 == n * 2: True, (n * m) // m == n: True,
    }  # fmt: skip
    assert all(answer is expected for answer, expected in answers.items())
    assert extents.guards == {}
    assert is_negative(-n) and is_negative(-2) and not is_negative(n - 1) and not is_negative(0)
    assert same(n + m, m + n) and not same(n, m) and same(3, 3) and not same(n, 3)
    assert divides(2, n * 2) and divides(n, n * m) and not divides(2, n) and divides(2, 4)
    assert common_divisor(n * 4, m * 6) == 2 and common_divisor(8, n * 12) == 4
    assert is_one(1) and not is_one(n) and not is_one(2) and is_known(1, 2) and not is_known(1, n)
    assert (
        n % (n + 1) == n and n // (n + 1) == 0 and abs(-n) == n and divmod(n, 4) == (n // 4, n % 4)
    )
    assert extents.guards == {}


def test_what_extents_refuse() -> None:
    n = RuntimeExtents([8]).unknown[0]
    (other,) = RuntimeExtents([8]).unknown
    for attempt in (
        lambda: n / 2, lambda: n / 2.5, lambda: n < 2.5, lambda: n == 2.5, lambda: float(n),
        lambda: range(n), lambda: [1][n], lambda: RuntimeScalar(n.extents, 0) == 3,
        lambda: float(RuntimeScalar(n.extents, 0)), lambda: float(1 / n),
    ):  # fmt: skip
        with pytest.raises(UnknownExtent):
            attempt()
    for attempt in (
        lambda: n + "a",
        lambda: n * 1.5,
        lambda: n // "a",
        lambda: n < "a",
    ):
        with pytest.raises(TypeError):
            attempt()
    with pytest.raises(ZeroDivisionError):
        n // 0
    with pytest.raises(InternalError):
        n + other
    assert n != other and n != "a"


def test_numbers_that_are_known_when_a_program_runs() -> None:
    extents = RuntimeExtents([8, 8])
    n, m = extents.unknown
    assert extents.examples == (11, 13) and RuntimeExtents([64, 64, 2]).examples == (67, 71, 11)
    ratio, scalar = 6 / n, RuntimeScalar(extents, 1)
    assert isinstance(ratio, RuntimeRatio) and scalar == scalar and scalar != ratio
    with extents.known((3, 4)):
        assert float(ratio) == 2 and float(scalar) == 4 and n + m == 7 and [0, 1, 2, 9][n] == 9
    assert extents.guards == {}
    assert n < 1000 and not extents.allow((2000, 1)) and extents.allow((999, 1))
    assert not extents.allow((0, 1))
    assert repr(n * 3 - 1) == "3*n0 - 1"
    assert repr((n * m - 2) // (m + 1)) == "((n0*n1 - 2) // (n1 + 1))"
    assert repr(n // 2 % 3) == "((n0 // 2) % 3)" and repr(scalar) == "c1"
