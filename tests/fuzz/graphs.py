"""Random typed graphs, for laws that must hold of all graphs.

`random_graph(seed)` makes one from a number; `graphs()` is the same as a hypothesis strategy,
which shrinks. `inputs_for(graph, seed)` makes arrays for its variables. Values stay moderate
(no overflow, no division by numbers near 0), so that results can be compared.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Protocol, TypeVar

import numpy as np
from hypothesis import strategies as st

import tigon.ops  # noqa: F401  (registers all operators)
from tigon.base import TensorType, as_dtype
from tigon.ir import Graph, Value, constant, variable
from tigon.ops.record import get

T = TypeVar("T")


class Chooser(Protocol):
    """Where decisions come from."""

    def among(self, options: Sequence[T]) -> T: ...
    def integer(self, low: int, high: int) -> int: ...


class RandomChooser:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def among(self, options: Sequence[T]) -> T:
        return self._random.choice(options)

    def integer(self, low: int, high: int) -> int:
        return self._random.randint(low, high)


class DrawChooser:
    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def among(self, options: Sequence[T]) -> T:
        return self._draw(st.sampled_from(list(options)))

    def integer(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))


def random_graph(seed: int, **options: Any) -> Graph:
    """The graph of that number."""
    return build_graph(RandomChooser(seed), **options)


@st.composite
def graphs(draw: st.DrawFn, **options: Any) -> Graph:
    return build_graph(DrawChooser(draw), **options)


def inputs_for(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    """Arrays for the graph's variables: floats within 2, zeros of both signs, small integers."""
    rng = np.random.default_rng(seed)
    arrays = []
    for value in graph.inputs:
        shape, kind = value.shape, value.dtype
        if kind.is_float:
            array = rng.uniform(-2, 2, shape)
            array = np.where(rng.random(shape) < 0.1, np.copysign(0.0, array), array)
        elif kind.name == "bool":
            array = rng.random(shape) < 0.5
        else:
            array = rng.integers(0 if kind.kind == "u" else -4, 5, shape)
        arrays.append(np.asarray(array).astype(kind.numpy))
    return arrays


def build_graph(
    choose: Chooser,
    *,
    steps: int = 10,
    dtypes: Sequence[str] = ("float32", "float32", "float64", "int32", "int64"),
    extents: Sequence[int] = (1, 2, 3, 4, 5, 8),
    composites: bool = True,
    limit: int = 2000,
    smooth: bool = False,
    scans: bool = False,
    windows: bool = False,
) -> Graph:
    """A typed graph of up to `steps` operators over one to three variables.

    A `smooth` one has derivatives everywhere, for comparison with finite differences. One with
    `scans` has many of them; one with `windows` little else.
    """
    moves = [*PRIMITIVE_MOVES, *(COMPOSITE_MOVES if composites else ())]
    if smooth:
        moves = [*SMOOTH_MOVES, *(SMOOTH_COMPOSITE_MOVES if composites else ())]
    if scans:
        moves += [_smooth_scan if smooth else _scan] * 4
    if windows:
        moves = [_window, _window, _binary, _unary]
    values: list[Value] = []
    for number in range(choose.integer(1, 3)):
        shape = tuple(choose.among(extents) for _ in range(choose.integer(0, 4)))
        kind = TensorType(shape, as_dtype(choose.among(dtypes)))
        values.append(variable("xyz"[number], kind))
    inputs = list(values)
    for _ in range(choose.integer(steps // 3, steps)):
        made = choose.among(moves)(choose, values)
        if made is not None and made.type.size <= limit:
            values.append(made)
    outputs = [values[-1]]
    for _ in range(choose.integer(0, 2)):
        outputs.append(choose.among(values))
    return Graph(inputs, outputs)


# ------------------------------------------------------------------------------ moves

Move = Callable[[Chooser, "list[Value]"], "Value | None"]


def _pick(choose: Chooser, values: list[Value], wanted: Callable[[Value], bool]) -> Value | None:
    found = [value for value in values if wanted(value)]
    # Later values more often: deep graphs find more than wide ones.
    return choose.among(found + found[-3:] * 2) if found else None


def _is_float(value: Value) -> bool:
    return value.dtype.is_float


def _is_number(value: Value) -> bool:
    return value.dtype.name != "bool"


def _unary(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, _is_float)
    if x is None:
        return None
    name = choose.among(
        ("negative", "abs", "tanh", "sigmoid", "sin", "relu", "_copy", "BlockGrad", "arctan")
    )
    return get(name)(x)


def _integer_unary(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, _is_number)
    return None if x is None else get(choose.among(("negative", "abs", "_copy")))(x)


BINARY = (
    "broadcast_add",
    "broadcast_sub",
    "broadcast_maximum",
    "broadcast_minimum",
    "broadcast_lesser",
    "broadcast_equal",
)


def _broadcasts(x: Value, y: Value) -> bool:
    try:
        np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return False
    return x.dtype is y.dtype


def _binary(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, _is_number)
    if x is None:
        return None
    y = _pick(choose, values, lambda value: _broadcasts(x, value))
    return None if y is None else get(choose.among(BINARY))(x, y)


def _product(choose: Chooser, values: list[Value]) -> Value | None:
    """Factors are squashed first, so that values stay moderate."""
    x = _pick(choose, values, _is_float)
    if x is None:
        return None
    y = _pick(choose, values, lambda value: _broadcasts(x, value))
    return None if y is None else get("broadcast_mul")(get("tanh")(x), y)


def _with_number(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, _is_number)
    if x is None:
        return None
    number = choose.among((0, 1, -1, 2, 0.0, -0.0, 1.0, 0.5))
    name = choose.among(("broadcast_add", "broadcast_sub", "broadcast_mul", "broadcast_maximum"))
    return get(name)(number, x) if choose.integer(0, 1) else get(name)(x, number)


def _divide_by_number(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, _is_number)
    return None if x is None else get("broadcast_div")(x, choose.among((1, 2, -4, 1.0)))


def _numbers(choose: Chooser, values: list[Value]) -> Value | None:
    """Arithmetic on constants alone, for folding."""
    a = constant(choose.among((0, 1, 2, 0.5, -0.0)))
    b = constant(choose.among((3, 0.25, -1)))
    total = get(choose.among(("broadcast_add", "broadcast_mul", "broadcast_sub")))(a, b)
    x = _pick(choose, values, _is_number)
    return None if x is None else get("broadcast_add")(x, total)


def _array_constant(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: _is_float(value) and value.ndim > 0)
    if x is None or not 0 < x.shape[-1] <= 16:
        return None
    numbers = [choose.among((0.0, 1.0, -0.5)) for _ in range(x.shape[-1])]
    return get("broadcast_add")(x, get("negative")(constant(numbers, x.dtype.name)))


def _filled(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, _is_number)
    if x is None:
        return None
    filled = get("_full")(
        shape=x.shape, dtype=x.dtype.name, value=float(choose.among((0, 1, 2, -0.0)))
    )
    other = get("broadcast_add")(filled, choose.among((0, 1)))
    return get(choose.among(("broadcast_mul", "broadcast_add")))(x, other)


def _cast(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: True)
    return (
        None if x is None else get("Cast")(x, dtype=choose.among(("float32", "float64", "int32")))
    )


def _reshape(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: True)
    return None if x is None else get("_reshape")(x, shape=_factors(choose, x.type.size))


def _factors(choose: Chooser, size: int) -> tuple[int, ...]:
    if size == 0:
        return (choose.among((1, 2)), 0)
    shape: list[int] = []
    while size > 1 and len(shape) < 4:
        factor = choose.among([n for n in range(1, size + 1) if size % n == 0])
        shape.append(factor)
        size //= factor
    return (*shape, size) if size > 1 or choose.integer(0, 1) else tuple(shape)


def _transpose(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: True)
    if x is None:
        return None
    left, axes = list(range(x.ndim)), []
    while left:
        axes.append(left.pop(choose.integer(0, len(left) - 1)))
    return get("transpose")(x, axes=tuple(axes))


def _broadcast(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: True)
    if x is None:
        return None
    wide = tuple(choose.among((1, 2, 3)) if n == 1 else n for n in x.shape)
    lead = tuple(choose.among((1, 2)) for _ in range(choose.integer(0, 1)))
    return get("_broadcast")(x, shape=(*lead, *wide))


def _slice(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: True)
    if x is None:
        return None
    start, step, extents = [], [], []
    for n in x.shape:
        first = choose.integer(0, max(n - 1, 0))
        pace = choose.among((1, 1, 2, -1))
        room = 0 if n == 0 else (n - 1 - first) // pace + 1 if pace > 0 else first // -pace + 1
        start.append(first)
        step.append(pace)
        extents.append(choose.integer(min(1, room), room))
    return get("_slice")(x, start=tuple(start), step=tuple(step), extents=tuple(extents))


def _pad(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: True)
    if x is None:
        return None
    before = tuple(choose.integer(0, 2) for _ in x.shape)
    after = tuple(choose.integer(0, 2) for _ in x.shape)
    value = float(choose.among((0, 1))) if _is_number(x) else 0.0
    return get("_pad")(x, before=before, after=after, value=value)


def _join(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: value.ndim > 0)
    if x is None:
        return None
    axis = choose.integer(0, x.ndim - 1)

    def fits(value: Value) -> bool:
        return (
            value.ndim == x.ndim
            and value.dtype is x.dtype
            and all(
                a == b or i == axis
                for i, (a, b) in enumerate(zip(value.shape, x.shape, strict=True))
            )
        )

    others = [_pick(choose, values, fits) for _ in range(choose.integer(0, 2))]
    return get("_join")(x, *others, axis=axis)


def _assign(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: value.ndim > 0 and value.type.size > 0)
    if x is None:
        return None
    part = _slice(choose, [x])
    assert part is not None
    at = part.node.attrs
    return get("_assign_slice")(x, get("_copy")(part), start=at.start, step=at.step)


def _slice_of_assign(choose: Chooser, values: list[Value]) -> Value | None:
    """Reads what was written, all of it: what dead code removal looks for."""
    written = _assign(choose, values)
    if written is None:
        return None
    at = written.node.attrs
    extents = written.node.inputs[1].shape
    return get("_slice")(written, start=at.start, step=at.step, extents=extents)


def _reduce(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: _is_number(value))
    if x is None:
        return None
    name = choose.among(
        ("_reduce_sum", "_reduce_max", "_reduce_min", "_reduce_argmax", "_reduce_argmin")
    )
    axes = tuple(axis for axis in range(x.ndim) if choose.integer(0, 1))
    if "arg" in name and any(x.shape[axis] == 0 for axis in axes):
        return None  # refused: there is nothing to choose from
    return get(name)(x, axes=axes)


def _scan(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: _is_number(value) and value.ndim > 0)
    if x is None:
        return None
    axis, reverse = choose.integer(0, x.ndim - 1), bool(choose.integer(0, 1))
    return get("_scan_sum")(get("tanh")(x) if _is_float(x) else x, axis=axis, reverse=reverse)


def _smooth_scan(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: _is_float(value) and value.ndim > 0)
    return None if x is None else _scan(choose, [x])


def _contract(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: _is_float(value) and 1 <= value.ndim <= 3)
    if x is None:
        return None
    y = _pick(
        choose,
        values,
        lambda value: (
            value.dtype is x.dtype and 1 <= value.ndim <= 2 and value.shape[0] == x.shape[-1]
        ),
    )
    if y is None:
        return None
    left, right = "abc"[3 - x.ndim :], "cd"[: y.ndim]
    out = list(left[:-1] + right[1:])
    if choose.integer(0, 1):
        out.reverse()
    return get("_contract")(get("tanh")(x), y, left=left, right=right, out="".join(out))


PRIMITIVE_MOVES: tuple[Move, ...] = (
    _unary,
    _integer_unary,
    _binary,
    _binary,
    _product,
    _with_number,
    _divide_by_number,
    _numbers,
    _array_constant,
    _filled,
    _cast,
    _reshape,
    _transpose,
    _broadcast,
    _slice,
    _pad,
    _join,
    _assign,
    _slice_of_assign,
    _reduce,
    _contract,
)


def _smooth_unary(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, _is_float)
    name = choose.among(("negative", "tanh", "sigmoid", "sin", "arctan", "square", "_copy"))
    return None if x is None else get(name)(get("tanh")(x) if name == "square" else x)


def _smooth_binary(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, _is_float)
    if x is None:
        return None
    y = _pick(choose, values, lambda value: _broadcasts(x, value))
    return None if y is None else get(choose.among(BINARY[:2]))(x, y)


def _smooth_sum(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, _is_float)
    axes = tuple(a for a in range(x.ndim) if choose.integer(0, 1)) if x is not None else ()
    return None if x is None else get("_reduce_sum")(x, axes=axes)


SMOOTH_MOVES: tuple[Move, ...] = (
    _smooth_unary,
    _smooth_unary,
    _smooth_binary,
    _product,
    _divide_by_number,
    _reshape,
    _transpose,
    _broadcast,
    _slice,
    _pad,
    _join,
    _assign,
    _slice_of_assign,
    _smooth_sum,
    _contract,
)


# ------------------------------------------------------------------------- composites


def _axis_of(choose: Chooser, x: Value) -> int:
    return choose.integer(-x.ndim, x.ndim - 1)


def _smooth_composite(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: _is_float(value) and value.ndim > 0)
    if x is None:
        return None
    name = choose.among(("mean", "flip", "expand_dims", "swapaxes", "tile"))
    if name == "swapaxes":
        return get(name)(x, dim1=_axis_of(choose, x), dim2=_axis_of(choose, x))
    return get(name)(x, reps=(2, 1)) if name == "tile" else get(name)(x, axis=_axis_of(choose, x))


def _composite_unary(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: _is_float(value) and value.ndim > 0 and value.type.size)
    if x is None:
        return None
    names = ["mean", "sum", "flip", "expand_dims", "repeat", "tile", "max", "norm"]
    name = choose.among(names)
    axis = _axis_of(choose, x)
    if name in ("mean", "sum", "max"):
        return get(name)(x, axis=axis, keepdims=bool(choose.integer(0, 1)))
    if name in ("flip", "expand_dims"):
        return get(name)(x, axis=axis)
    if name == "repeat":
        return get(name)(x, repeats=2, axis=axis)
    if name == "tile":
        return get(name)(x, reps=(2,))
    return get(name)(x)


def _composite_join(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: value.ndim > 0)
    if x is None:
        return None
    y = _pick(choose, values, lambda value: value.type == x.type)
    if choose.integer(0, 1):
        return get("stack")(x, y, axis=choose.integer(0, x.ndim))
    return get("Concat")(x, y, dim=choose.integer(0, x.ndim - 1))


def _where(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, _is_number)
    return None if x is None else get("where")(get("broadcast_greater")(x, 0), x, x * 2)


def _concat_slice(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, lambda value: value.ndim > 0 and value.type.size > 0)
    if x is None:
        return None
    joined = get("Concat")(x, x, dim=0)
    return get("slice_axis")(joined, axis=0, begin=choose.integer(0, x.shape[0]), end=None)


def _sum_back(choose: Chooser, values: list[Value]) -> Value | None:
    x = _pick(choose, values, _is_float)
    if x is None:
        return None
    y = _pick(choose, values, lambda v: _broadcasts(x, v) and prod(v.shape) >= prod(x.shape))
    return None if y is None else get("_sum_to_like")(get("broadcast_add")(x, y), x)


def _window(choose: Chooser, values: list[Value]) -> Value | None:
    """Sums and means along windows and rows that keep the shape, so that they are applied to each
    other's results and added to what they were made from."""
    x = _pick(choose, values, lambda v: _is_float(v) and v.ndim > 0 and v.type.size > 0)
    if x is None:
        return None
    if choose.integer(0, 2) == 0:
        made = get(choose.among(("softmax", "log_softmax")))(x, axis=_axis_of(choose, x))
    else:
        left = choose.among((0, x.ndim - 1))
        batch, line = prod(x.shape[:left]), prod(x.shape[left:])
        if choose.integer(0, 1):
            four = get("_reshape")(x, shape=(batch, 1, line, 1))
            size = choose.among((1, 3, 3))
            kind = choose.among(("avg", "max", "sum"))
            made = get("Pooling")(four, kernel=(size, 1), pad=(size // 2, 0), pool_type=kind)
            made = made / 3 if kind == "sum" else made
        else:
            four = get("_reshape")(x, shape=(batch, line, 1, 1))
            made = get("LRN")(four, nsize=3, alpha=0.5)
        made = get("_reshape")(made, shape=x.shape)
    return get("broadcast_add")(x, made) if choose.integer(0, 1) else made


COMPOSITE_MOVES: tuple[Move, ...] = (
    _composite_unary,
    _composite_join,
    _where,
    _concat_slice,
    _sum_back,
)
SMOOTH_COMPOSITE_MOVES: tuple[Move, ...] = (
    _smooth_composite,
    _composite_join,
    _concat_slice,
    _sum_back,
)
