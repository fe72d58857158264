"""How much every operator and its gradient compute, counted in their lowered loops at two sizes: no
faster than the record declares. Nothing is compiled or run, and nothing here names an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import log2
from typing import Any

import numpy as np
import pytest

from tests.registry.test_records import OPERATORS
from tigon.backends.cpu.cost import number
from tigon.base import InternalError, TensorType, TigonError, as_dtype
from tigon.base.dtypes import float32
from tigon.base.frozen import fields
from tigon.ir import Graph, Node, Value, variable
from tigon.loop.grammar import (
    AnyNest,
    Apply,
    Contraction,
    Expr,
    Extern,
    Fail,
    Let,
    Load,
    LoopAxis,
    Reduce,
    Scan,
    Stmt,
    Store,
    walk,
)
from tigon.lower.control import Control
from tigon.lower.fuse.fuser import fuse
from tigon.lower.nests import lower_group
from tigon.ops.record import Operator, Work
from tigon.passes.gradient import gradient
from tigon.program.control import graphs_of, stored_control
from tigon.program.lowered import prepare

SAMPLES = 2
ELEMENTS = (1 << 19, 1 << 26)
"""About how many times more elements the largest operand gets: beyond what lowering does in other
ways for small arrays."""
TABLE_ELEMENTS = (1 << 12, 1 << 18)
"""The same for records marked `has_table`, which write down every position."""
MARGIN = 1.3
"""Below what a factor of log(n) would show between the two sizes."""
SIZES = frozenset(
    "shape num_hidden num_filter input_dim output_dim depth N M num extents stop height "
    "state_size width".split()
)
"""Attributes that are extents of operands or results, which grow as these do."""

Measured = dict[str, tuple[int, list[int]]]
"""Operations, and sizes of operands and results, of an operator and of its gradient."""

# ------------------------------------------------------------------------------ counting


def operations(nest: AnyNest | Control) -> int:
    """Loads and functions of all iterations of a nest, those of every axis of a contraction, those
    of what a loop or a branch runs."""
    if isinstance(nest, Control):
        return _iterations(nest) * sum(map(_whole, graphs_of(nest.node)))
    if isinstance(nest, Extern):
        return number(nest.points) * number(nest.operations)
    if isinstance(nest, Contraction):
        space = (*nest.batch, *nest.rows, *nest.columns)
        inner = _repeated((*space, *nest.inner), lambda _: _weight(nest.left, nest.right), {})
        return inner + _repeated(space, lambda where: _body(nest.body, where), {})
    return _repeated(nest.space, lambda where: _body(nest.body, where), {})


def _body(body: Sequence[Stmt], where: dict[str, int]) -> int:
    return sum(_statement(statement, where) for statement in body)


def _statement(statement: Stmt, where: dict[str, int]) -> int:
    if isinstance(statement, (Let, Store)):
        return _weight(statement.value)
    if isinstance(statement, Fail):
        return _weight(statement.condition)
    if isinstance(statement, (Reduce, Scan)):
        own = _weight(*(accumulator.value for accumulator in statement.accumulators))
        if isinstance(statement, Reduce):
            return _repeated(statement.axes, lambda _: own, where)
        body = statement.body
        return _repeated((statement.axis,), lambda inner: own + _body(body, inner), where)
    return _repeated(statement.axes, lambda inner: _body(statement.body, inner), where)


def _weight(*values: Expr) -> int:
    seen = {node for value in values for node in walk(value) if isinstance(node, (Apply, Load))}
    return 1 + len(seen)


def _repeated(
    axes: Sequence[LoopAxis], inside: Callable[[dict[str, int]], int], where: dict[str, int]
) -> int:
    """Inner bounds may depend on the place: as many iterations as at the worst of three places."""
    if not axes:
        return inside(where)
    axis, rest = axes[0], axes[1:]
    start, stop = number(axis.start, where), number(axis.stop, where)
    if stop <= start:
        return 0
    places = {start, (start + stop) // 2, stop - 1}
    worst = max(_repeated(rest, inside, {**where, axis.name: place}) for place in places)
    return (stop - start) * worst


def test_the_count_sees_loops_within_loops() -> None:
    from tigon.ops import get

    x = variable("x", TensorType((300, 7), float32))
    y = variable("y", TensorType((7, 50), float32))
    assert counted([x, y], [get("dot")(x, y)])[0] >= 300 * 7 * 50
    places = get("_iota")(shape=(300, 1), axis=0), get("_iota")(shape=(1, 300), axis=1)
    triangle = get("_reduce_sum")(get("broadcast_lesser")(*places), axes=(1,))
    assert counted([], [triangle])[0] >= 300 * 300


def test_the_law_refuses_a_sum_over_prefixes() -> None:
    from tigon.ops import get

    counts = []
    for size in (1 << 12, 1 << 16):
        x = variable("x", TensorType((1, size), float32))
        places = [
            get("_iota")(shape=shape, axis=axis)
            for axis, shape in enumerate([(size, 1), (1, size)])
        ]
        reached = get("cast")(get("broadcast_greater_equal")(*places), dtype="float32")
        counts.append(
            counted([x], [get("_reduce_sum")(get("broadcast_mul")(reached, x), axes=(1,))])
        )
    (before, sizes), (after, more) = counts
    assert after > MARGIN * before * allowed(Work.LINEAR, more) / allowed(Work.LINEAR, sizes)


# ------------------------------------------------------------------------------ growing


def larger(value: Any, extent: int | None, factor: int) -> Any:
    """Numbers equal to `extent` (None: all above 1) times `factor`."""
    if isinstance(value, tuple):
        return tuple(larger(each, extent, factor) for each in value)
    if type(value) is not int or (value <= 1 if extent is None else value != extent):
        return value
    return value * factor


def grown(
    op: Operator, sample: tuple[Any, ...], extent: int | None, factor: int, attributes: bool
) -> tuple[list[Value], Node]:
    roles = [o for o in op.operands for _ in range(len(sample) - 1 if o.variadic else 1)]
    inputs = []
    for index, part in enumerate(sample[:-1]):
        dtype = as_dtype(part.dtype) if isinstance(part, np.ndarray) else float32
        shape = part.shape if isinstance(part, np.ndarray) else part
        if not roles[index].random_key:
            shape = larger(shape, extent, factor)
        type_ = TensorType(shape, float32 if dtype.is_float else dtype)
        inputs.append(variable(f"x{index}", type_))
    given = {
        name: larger(value, extent, factor) if attributes and name in SIZES else value
        for name, value in sample[-1].items()
    }
    return inputs, Node(op, tuple(inputs), op.make_attrs(given))


def extents_of(op: Operator, sample: tuple[Any, ...]) -> list[int]:
    shapes = [p.shape if isinstance(p, np.ndarray) else p for p in sample[:-1]]
    shapes += [_numbers(value) for name, value in sample[-1].items() if name in SIZES]
    return list(dict.fromkeys(extent for shape in shapes for extent in shape if extent > 1))


def _numbers(value: Any) -> tuple[int, ...]:
    each = value if isinstance(value, tuple) else (value,)
    return tuple(number for number in each if type(number) is int)


def growths(op: Operator, sample: tuple[Any, ...]) -> Iterator[tuple[int | None, tuple[int, int]]]:
    """What may grow, best first: all extents together (None), or one of them; and by what."""
    extents = extents_of(op, sample)
    ranks = [len(p.shape if isinstance(p, np.ndarray) else p) for p in sample[:-1]]
    ranks += [len(_numbers(value)) for name, value in sample[-1].items() if name in SIZES]
    for extent in (None, *extents) if extents else ():
        rank = max(ranks) if extent is None else 1
        elements = TABLE_ELEMENTS if op.has_table else ELEMENTS
        small, large = (1 << int(log2(each) // rank) for each in elements)
        yield extent, (small, large)


def compared(op: Operator, sample: tuple[Any, ...]) -> tuple[Any, list[Measured]] | None:
    """What the first growth that has a meaning comes to, at both sizes."""
    for extent, factors in growths(op, sample):
        for attributes in (False, True):
            try:
                return (extent, factors), [
                    measured(*grown(op, sample, extent, factor, attributes)) for factor in factors
                ]
            except (TigonError, InternalError):
                continue  # these extents have no meaning together
    return None


# ------------------------------------------------------------------------------ the law


def counted(inputs: Sequence[Value], outputs: Sequence[Value]) -> tuple[int, list[int]]:
    """Operations of a graph, and the sizes of its operands and results."""
    sizes = [value.type.size for value in (*inputs, *outputs)]
    return _whole(Graph(inputs, outputs)), sizes


def _whole(graph: Graph) -> int:
    fusion = fuse(prepare(graph, frozenset({"fold_constants"})))
    nests = [nest.nest for group in fusion.groups for nest in lower_group(group, fusion)]
    return sum(map(operations, nests))


def _iterations(control: Control) -> int:
    return max(stored_control(control).numbers[0], 1)


def measured(inputs: list[Value], node: Node) -> Measured:
    """Of the operator, and of its gradient."""
    results = {"forward": counted(inputs, node.outputs)}
    visible = node.outputs[: node.op.visible_count(node.attrs)]
    heads = [value for value in visible if value.dtype.is_float]
    wanted = [value for value in inputs if value.dtype.is_float]
    if node.op.differentiable and heads and wanted:
        cotangents = [variable(f"g{i}", head.type) for i, head in enumerate(heads)]
        found = [value for value in gradient(heads, cotangents, wanted) if value is not None]
        if found:
            results["gradient"] = counted([*inputs, *cotangents], found)
    return results


def allowed(work: Work, sizes: Sequence[int]) -> float:
    total = float(sum(sizes))
    match work:
        case Work.LINEAR:
            return total
        case Work.SORTING:
            return total * log2(total) ** 2
        case Work.PRODUCT:
            return total**1.5
        case Work.PAIRS:
            return total**2
    raise AssertionError(work)


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.name)
def test_work_grows_as_declared(op: Operator) -> None:
    covered = not any(extents_of(op, sample) for sample in op.samples)
    for sample in op.samples[: SAMPLES if op.work is Work.LINEAR else 1]:
        found = compared(op, sample)
        if found is None:
            continue
        covered = True
        how, sizes = found
        check(op, sizes, f"sample {sample}, grown {how}")
    assert covered, "no sample can grow: give one whose extents may be others"


def check(op: Operator, found: list[Measured], what: str) -> None:
    small, large = found
    for part in small.keys() & large.keys():
        (before, sizes), (after, more) = small[part], large[part]
        limit = allowed(op.work, more) / max(allowed(op.work, sizes), 1.0)
        assert after <= MARGIN * limit * max(before, 1), (
            f"{op.name}, {part}: {op.work} is declared; {before} operations for sizes {sizes}, "
            f"{after} for {more} ({what})"
        )


POOLING = [
    op
    for op in OPERATORS
    if op.work is Work.LINEAR
    and "kernel" in fields(op.attrs_type)
    and len(op.operands) == 1
    and "2" not in op.name
]
"""Not im2col and col2im, whose windows are their result."""


@pytest.mark.parametrize("op", POOLING, ids=lambda op: op.name)
@pytest.mark.parametrize("lines", [1, 2])
def test_windows_as_long_as_the_line(op: Operator, lines: int) -> None:
    """One window, or a few, are no reason to look for each element in as many as it is long."""
    found = []
    for size in (1 << 12, 1 << 16):
        x = variable("x", TensorType((1, 2, size, 3), float32))
        attrs = {**op.samples[0][-1], "kernel": (size, lines), "stride": (1, 1)}
        found.append(measured([x], Node(op, (x,), op.make_attrs(attrs))))
    check(op, found, f"a kernel of {lines} columns")
