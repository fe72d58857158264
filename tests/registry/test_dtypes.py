"""Every record takes the dtypes that it declares, and refuses all others in one way: before its
rules are asked, with a message that says what to do. Nothing here names an operator.

That what is declared means what the oracle says is tested where all records run
(`test_records.py`, `test_execution.py`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from tests.registry.test_execution import arrays_of, visible
from tests.registry.test_records import (
    OPERATORS,
    assignments,
    declared,
    filled,
    roles,
    usual,
)
from tigon import TigonTypeError
from tigon.base import InternalError, TensorType, TigonError
from tigon.base.dtypes import ALL, DType, float32, int32
from tigon.base.frozen import fields, replace
from tigon.ir import Graph, Node, variable
from tigon.lower.fuse.fuser import fuse
from tigon.lower.nests import lower_group
from tigon.ops.primitive.special import gamma
from tigon.ops.record import Operator, composite, is_of
from tigon.program.cached_graph import CachedGraph
from tigon.program.lowered import prepare
from tigon.program.operators import invoke

WORDS = {
    "f": "floating-point numbers",
    "F": "float32 or float64",
    "P": "floating-point numbers or uint8",
    "iu": "integers",
    "fiu": "numbers",
}
ADVICE = {"f": "float32", "F": "float32", "P": "float32", "iu": "int32", "fiu": "float32"}


def shapes(sample: tuple) -> list[tuple[int, ...]]:
    return [given.shape if isinstance(given, np.ndarray) else given for given in sample[:-1]]


def typed(op: Operator, sample: tuple, dtypes: Sequence[DType], **changes: Any) -> Node:
    types = map(TensorType, shapes(sample), dtypes)
    inputs = tuple(variable(f"x{i}", t) for i, t in enumerate(types))
    return Node(op, inputs, op.make_attrs(sample[-1] | changes))


def label(op: Operator, place: int, count: int) -> str:
    role = roles(op, count)[place]
    return f"{role.name}[{place - len(op.operands) + 1}]" if role.variadic else role.name


def refused(op: Operator, sample: tuple) -> Iterator[tuple[list[DType], str]]:
    """Dtypes that are not declared, with the whole message."""
    plain, count, spoken = usual(op, sample), len(sample) - 1, op.name.lstrip("_")
    for places, kinds in declared(op, sample):
        first = label(op, places[0], count)
        for dtype in ALL:
            changed = list(plain)
            if not is_of(dtype, kinds):
                for place in places:
                    changed[place] = dtype
                yield (
                    changed,
                    f"{spoken}: {first}: expected {WORDS[kinds]}; given {dtype}; "
                    f"convert it with astype('{ADVICE[kinds]}')",
                )
            for place in places[1:]:
                other = list(plain)
                other[place] = dtype
                if dtype is not plain[places[0]]:
                    yield (
                        other,
                        f"{spoken}: {label(op, place, count)}: expected {plain[places[0]]} like "
                        f"{first}; given {dtype}; convert it with astype('{plain[places[0]]}')",
                    )


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.name)
def test_what_is_not_declared_is_refused(op: Operator) -> None:
    """By the type rule, which users' arrays and symbols meet too."""
    seen = set()
    for sample in op.samples:
        for dtypes, message in refused(op, sample):
            with pytest.raises(TigonTypeError) as caught:
                typed(op, sample, dtypes)
            assert str(caught.value) == message
            what = message.partition("; given")[0]
            if what not in seen:
                seen.add(what)
                assert_refused_everywhere(op, sample, dtypes, message)


def assert_refused_everywhere(
    op: Operator, sample: tuple, dtypes: list[DType], message: str
) -> None:
    attrs, arrays = op.make_attrs(sample[-1]), arrays_of(filled(op, sample, dtypes, 0))
    keys = [role.random_key for role in roles(op, len(arrays))]
    given = [array for array, key in zip(arrays, keys, strict=True) if not key]
    with pytest.raises(TigonTypeError) as imperative:
        invoke(op, attrs, given)
    assert str(imperative.value) == message
    node = Node(op, tuple(variable(f"x{i}") for i in range(len(given))), attrs)
    graph = CachedGraph(Graph(node.inputs, visible(node)), name=op.name)
    with pytest.raises(TigonTypeError) as symbolic:
        graph(given, bool(getattr(attrs, "training", False)))
    assert str(symbolic.value) == message


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.name)
def test_what_is_declared_is_lowered(op: Operator) -> None:
    """To loops: there a dtype without a meaning is an error of ours."""
    for number, sample in enumerate(op.samples):
        for dtypes in taking_turns(number, len(op.samples), assignments(op, sample, ALL)):
            lowered(typed(op, sample, dtypes))


def taking_turns(number: int, count: int, given: Iterable[Any]) -> Iterator[Any]:
    """Those of sample `number` of `count`: each goes with one sample, since it takes a while."""
    for place, one in enumerate(given):
        if (place - number) % count == 0:
            yield one


DTYPE_ATTRIBUTES = [
    (op, name)
    for op in OPERATORS
    for name in ("dtype", "out_dtype")
    if name in fields(op.attrs_type)
]


@pytest.mark.parametrize(
    ("op", "name"), DTYPE_ATTRIBUTES, ids=[f"{op.name}-{name}" for op, name in DTYPE_ATTRIBUTES]
)
def test_an_attribute_that_is_a_dtype_is_refused_by_its_name(op: Operator, name: str) -> None:
    """Or is lowered. It is checked as other attributes are, not by what the operator is made of."""
    for number, sample in enumerate(op.samples):
        for dtype in taking_turns(number, len(op.samples), ALL):
            try:
                node = typed(op, sample, usual(op, sample), **{name: dtype.name})
            except TigonError as error:
                assert not isinstance(error, TigonTypeError)
                assert re.search("dtype|does not (fit|hold)", str(error)), error
                continue
            lowered(node)


def lowered(node: Node) -> None:
    if getattr(node.attrs, "training", False) is None:  # a key would be missing in training
        attrs = replace(node.attrs, training=not node.op.takes_key)
        node = Node(node.op, node.inputs, attrs)
    try:
        graph = prepare(Graph(node.inputs, node.outputs))
        fusion = fuse(graph)
        for group in fusion.groups:
            lower_group(group, fusion)
    except TigonError as error:
        assert "does not fit" in str(error), error


# --------------------------------------------------------------------------- where records lie


def record(**fields: Any) -> Operator:
    """An operator that nobody else finds, of a function for floats only."""
    op = composite("_test_of_dtypes", lambda x: gamma(x), doc="", **fields)
    from tigon.ops import record as registry

    del registry._REGISTRY[op.name]
    return op


def test_a_refusal_inside_is_an_error_of_ours() -> None:
    x = variable("x", TensorType((2,), int32))
    message = "_test_of_dtypes: takes dtypes that what it is made of refuses; declare fewer: "
    message += "gamma: data: expected floating-point numbers; given int32"
    with pytest.raises(InternalError, match=message):
        record()(x)
    with pytest.raises(InternalError, match=message):
        lowered(record(infer=lambda x: x)(x).node)
    with pytest.raises(TigonTypeError, match=r"^test_of_dtypes: data: expected floating-point"):
        record(dtypes="f")(x)
    with pytest.raises(
        InternalError, match="_test_of_dtypes: kinds of dtypes are f, F, P, iu, fiu"
    ):
        record(dtypes="c")(variable("y", TensorType((2,), float32)))
