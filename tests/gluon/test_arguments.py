"""Arguments that are no arrays: what tells calls apart, and what a call gives back of them."""

from __future__ import annotations

import collections
import copy
import math
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.gluon.both_ways import Make
from tigon import nd

pytestmark = pytest.mark.filterwarnings("ignore:.*gives way:RuntimeWarning")

X = nd.array([1, 2])


def results(make: Make, function: Any, *calls: tuple[Any, ...]) -> list[Any]:
    compiled, seen = make.jit(function), []
    for call in (*calls, *calls):
        result = compiled(X, *call)
        seen.append(result.asnumpy().tolist())
    return seen


def same_both_ways(function: Any, *calls: tuple[Any, ...]) -> None:
    expected = results(Make(False), function, *calls)
    assert expected == results(Make(True), function, *calls)
    assert len({str(one) for one in expected}) > 1, "the case tells nothing apart"


# ------------------------------------------------------- classes derived from plain ones


def derived(base: type, *content: Any) -> Any:
    kind = type(f"Own{base.__name__}", (base,), {})

    def make(by: int) -> Any:
        made = kind(*content) if base is not np.ndarray else np.ones(2).view(kind)
        made.by = by
        return made

    return make


@pytest.mark.parametrize(
    "make",
    [
        derived(str, "a"),
        derived(int, 3),
        derived(float, 2.0),
        derived(tuple, (1,)),
        derived(list, [1]),
        derived(dict, {"a": 1}),
        derived(set, {1}),
        derived(np.ndarray),
        derived(list, [X]),
        derived(collections.namedtuple("Pair", "a b"), X, 1),
    ],
    ids=lambda make: type(make(1)).__mro__[1].__name__,
)
def test_attributes_of_what_is_known_by_content(make: Any) -> None:
    same_both_ways(lambda x, given: x * given.by, (make(2),), (make(5),), (make(2),))
    inside = [[make(2)], [make(5)]]
    same_both_ways(lambda x, given: x * given[0].by, *[(one,) for one in inside])


def test_attributes_of_an_argument_that_change() -> None:
    given = derived(str, "a")(2)

    def run(make: Make) -> list[Any]:
        given.by = 2
        compiled = make.jit(lambda x, given: x * given.by)
        seen = [compiled(X, given).asnumpy().tolist()]
        given.by = 5
        return [*seen, compiled(X, given).asnumpy().tolist()]

    assert run(Make(False)) == run(Make(True))


# ------------------------------------------------------------- numbers, arrays, sets, order


@pytest.mark.parametrize("kind", [complex, np.complex64, np.complex128])
def test_the_sign_of_an_imaginary_zero(kind: Any) -> None:
    same_both_ways(
        lambda x, c: x * math.copysign(1, c.imag), (kind(1 + 0j),), (kind(complex(1, -0.0)),)
    )


def test_the_layout_of_a_numpy_array() -> None:
    def forward(x: Any, a: Any) -> Any:
        return x * a.strides[0] + (2 if a.flags["C_CONTIGUOUS"] else 1)

    same_both_ways(forward, (np.ones(3),), (np.ones(6)[::2],))
    same_both_ways(forward, (np.ones((2, 2)),), (np.asfortranarray(np.ones((2, 2))),))


def test_the_order_of_a_set() -> None:
    def forward(x: Any, given: Any) -> Any:
        for item in given:
            x = x * 2 + item
        return x

    one, other = {0, 8}, {8}
    other.add(0)
    assert list(one) != list(other)
    same_both_ways(forward, (one,), (other,))


def test_ranges_are_known_by_content() -> None:
    compiled = mx.jit(lambda x, given: x * sum(given))
    assert [compiled(X, range(n)).asnumpy().tolist() for n in (3, 3, 4)] == [
        [3, 6],
        [3, 6],
        [6, 12],
    ]
    assert len(compiled.compiled) == 2


def test_keywords_come_in_the_order_of_the_call() -> None:
    def forward(x: Any, *, by: int = 1, **operations: int) -> Any:
        for name, value in operations.items():
            x = x + value if name == "add" else x * value
        return x * by

    def run(make: Make) -> list[Any]:
        compiled = make.jit(forward)
        calls: list[dict[str, int]] = [
            {"mul": 2, "add": 3},
            {"add": 3, "mul": 2},
            {"by": 2, "mul": 2, "add": 3},
            {"mul": 2, "by": 2, "add": 3},
        ]
        return [compiled(X, **call).asnumpy().tolist() for call in calls]

    assert run(Make(False)) == run(Make(True))
    compiled = mx.jit(lambda x, *, a=1, b=2: x * a + b)
    compiled(X, a=1, b=3)
    compiled(X, b=3, a=1)
    assert len(compiled.compiled) == 1


# -------------------------------------------------------------------------- identity


def test_whether_two_arguments_are_one_list() -> None:
    one, other = [1], [1]
    same_both_ways(
        lambda x, a, b: x * (2 if a is b else 1), (one, one), (one, other), (other, other)
    )
    same_both_ways(lambda x, a: x * (2 if a[0] is a[1] else 1), ([one, one],), ([one, other],))
    arrays = [nd.array([5])]
    same_both_ways(
        lambda x, a, b: x + a[0] * (2 if a is b else 1), (arrays, arrays), (arrays, [*arrays])
    )

    def written(x: Any, given: Any) -> Any:
        copied = copy.deepcopy(given)
        copied[0].append(5)
        return x * len(copied[1])

    same_both_ways(written, ([one, one],), ([one, other],))


@pytest.mark.parametrize(
    "make",
    [lambda: {"n": 3}, lambda: [1, 2], lambda: {1}, lambda: np.ones(2), lambda: bytearray(b"a")],
    ids=["dict", "list", "set", "numpy array", "bytearray"],
)
@pytest.mark.parametrize("nested", [False, True])
def test_arguments_that_come_back_or_are_kept(make: Any, nested: bool) -> None:
    compiled = mx.jit(lambda x, given: (x * len(given), given))
    kept: dict[str, Any] = {}

    def keeps(x: Any, given: Any) -> Any:
        kept["last"] = given[0] if nested else given
        return x * 2

    keeping = mx.jit(keeps)
    for _ in range(4):
        given = make()
        argument = (given,) if nested else given
        back = compiled(X, argument)[1]
        assert (back[0] if nested else back) is given
        keeping(X, argument)
        assert kept["last"] is given


def test_derived_classes_that_tell_less_of_themselves() -> None:
    """Bits and contents are compared, whatever a class says of them."""

    class Slotted(str):
        __slots__ = ("by",)

        @staticmethod
        def of(by: int) -> Any:
            made = Slotted("a")
            made.by = by
            return made

    class Rounded(float):
        def __repr__(self) -> str:
            return f"{float(self):.1f}"

    class Loose(str):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

    class Hiding(tuple):
        def __iter__(self) -> Any:
            return iter(())

        def __len__(self) -> int:
            return 0

    same_both_ways(lambda x, given: x * given.by, (Slotted.of(2),), (Slotted.of(5),))
    same_both_ways(lambda x, given: x * given[0].by, ([Slotted.of(2)],), ([Slotted.of(5)],))
    same_both_ways(lambda x, given: x * float(given), (Rounded(1.01),), (Rounded(1.04),))
    same_both_ways(lambda x, given: x * (1 + given.count("b")), (Loose("a"),), (Loose("b"),))
    same_both_ways(lambda x, given: x * given[0], (Hiding((2,)),), (Hiding((5,)),))


def test_bits_of_numbers() -> None:
    same_both_ways(
        lambda x, n: x * math.copysign(1, n), (math.nan,), (math.copysign(math.nan, -1),)
    )
    same_both_ways(
        lambda x, t: x * int(t.astype("timedelta64[s]").astype(int)),
        (np.timedelta64(60, "s"),),
        (np.timedelta64(2, "m"),),
    )
    record = np.array([(1, 2.0), (5, 2.0)], dtype=[("a", int), ("b", float)])
    same_both_ways(lambda x, r: x * int(r["a"]), (record[0],), (record[1],))


def test_contents_of_slices() -> None:
    def run(make: Make) -> list[Any]:
        start = [2]
        held = slice(start, 3)
        compiled = make.jit(lambda x: x * held.start[0])
        given = make.jit(lambda x, part: x * part.start[0])
        seen = [compiled(X).asnumpy().tolist(), given(X, held).asnumpy().tolist()]
        start[0] = 5
        return [*seen, compiled(X).asnumpy().tolist(), given(X, held).asnumpy().tolist()]

    assert run(Make(False)) == run(Make(True))


def test_whether_two_arguments_are_one_set() -> None:
    for one, other in (({1}, {1}), (np.ones(2), np.ones(2))):
        same_both_ways(lambda x, a, b: x * (2 if a is b else 1), (one, one), (one, other))
