"""Smaller operators that MXNet keeps under `contrib` or that serve one purpose."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.extents import same_shape
from tigon.base.frozen import Frozen
from tigon.ops.contraction import batch_dot
from tigon.ops.creation import _full, _iota
from tigon.ops.elementwise import (
    absolute,
    cast,
    equal,
    floor_divide,
    identity,
    isfinite,
    lesser_equal,
    logical_and,
    logical_or,
    maximum,
    minimum,
    modulo,
    not_equal,
    round,
    select,
    sign,
    square,
    where,
)
from tigon.ops.indexing import (
    _checked_index,
    _gather_nd,
    _positions,
    _scatter_add,
    _scatter_points,
    _take,
)
from tigon.ops.nn._shared import float_data
from tigon.ops.ordering import order
from tigon.ops.record import Operator, Positions, Work, composite
from tigon.ops.reduction import _reduce_min, _reduce_sum, mean
from tigon.ops.views import (
    _broadcast,
    _join,
    _reshape,
    expand_dims,
    slice_axis,
    stack,
    transpose,
)

# --------------------------------------------------------------- gradients of one's own choosing


class ScalarAttrs(Frozen):
    scalar: float = 1.0


gradient_multiplier: Operator = composite(
    "_contrib_gradientmultiplier",
    lambda attrs, data: identity(data),
    attrs=ScalarAttrs,
    grad=lambda a, g, y, x: (gradient_multiplier(g, scalar=a.scalar) * a.scalar,),
    numpy=lambda x, scalar: x.copy(),
    extra={"check_gradient": False},  # by definition not the derivative of what it gives
    samples=(((2, 3), {"scalar": -0.5}), ((0,), {})),
    doc="""The same elements; the gradient is multiplied by `scalar` (a reversed gradient where that
    is negative).

    >>> nd.contrib.gradientmultiplier(nd.array([1, 2]), scalar=-1).asnumpy()
    array([1., 2.], dtype=float32)
    """,
)


def _straight_through(name: str, op: Operator, oracle: Any, what: str, shows: str) -> Operator:
    return composite(
        name,
        lambda data: op(data),
        grad=lambda g, y, x: (g,),
        numpy=oracle,
        extra={"check_gradient": False},  # by definition not the derivative of what it gives
        samples=(((2, 3), {}), ((), {}), ((0, 2), {})),
        doc=f"""{what}, with the gradient of the identity (straight-through estimator).

    >>> nd.contrib.{name.removeprefix("_contrib_")}(nd.array([-1.5, 0.4])).asnumpy()
    array({shows}, dtype=float32)
    """,
    )


round_ste = _straight_through(
    "_contrib_round_ste", round, round.numpy, "The nearest whole number", "[-2.,  0.]"
)
sign_ste = _straight_through("_contrib_sign_ste", sign, np.sign, "-1, 0 or 1", "[-1.,  1.]")


class QuadraticAttrs(Frozen):
    a: float = 0.0
    b: float = 0.0
    c: float = 0.0


quadratic = composite(
    "_contrib_quadratic",
    lambda attrs, data: (data * attrs.a + attrs.b) * data + attrs.c,
    attrs=QuadraticAttrs,
    numpy=lambda x, a, b, c: (x * x.dtype.type(a) + x.dtype.type(b)) * x + x.dtype.type(c),
    samples=(((2, 3), {"a": 2.0, "b": 1.0, "c": 3.0}), ((0,), {})),
    doc="""a·x² + b·x + c.

    Parameters: `a`, `b`, `c` (default 0).

    >>> nd.contrib.quadratic(nd.array([1, 2]), a=1, b=2, c=3).asnumpy()
    array([ 6., 11.], dtype=float32)
    """,
)

# -------------------------------------------------------------------------------- attention


def _by_root_of_size(where: str, data: Any) -> Any:
    float_data(where, data.type)
    return data / math.sqrt(data.shape[-1])


div_sqrt_dim = composite(
    "_contrib_div_sqrt_dim",
    lambda data: _by_root_of_size("div_sqrt_dim", data),
    numpy=lambda x: (x / x.dtype.type(math.sqrt(x.shape[-1]))).astype(x.dtype),
    samples=(((2, 3), {}), ((0, 4), {})),
    domain=(-2.0, 2.0),
    doc="""The elements divided by the root of the last extent.

    >>> nd.contrib.div_sqrt_dim(nd.array([[2, 4, 6, 8]])).asnumpy()
    array([[1., 2., 3., 4.]], dtype=float32)
    """,
)


class HeadsAttrs(Frozen):
    heads: int


def _split_heads(x: Any, heads: int, parts: int) -> list[Any]:
    """(length, batch, heads · parts · size) as `parts` arrays of (batch · heads, length, size)."""
    check(
        x.ndim == 3 and heads > 0 and x.shape[2] % (heads * parts) == 0,
        "interleaved_matmul",
        f"shape {x.shape} should be (length, batch, {heads} heads · {parts} projections · size)",
    )
    length, batch, width = x.shape
    size = width // (heads * parts)
    apart = _reshape(x, shape=(length, batch * heads, parts, size))
    found = []
    for part in range(parts):
        one = slice_axis(apart, axis=2, begin=part, end=part + 1)
        flat = _reshape(one, shape=(length, batch * heads, size))
        found.append(transpose(flat, axes=(1, 0, 2)))
    return found


def _join_heads(x: Any, heads: int) -> Any:
    """(batch · heads, length, size) as (length, batch, heads · size)."""
    lines, length, size = x.shape
    return _reshape(transpose(x, axes=(1, 0, 2)), shape=(length, lines // heads, heads * size))


def _scores(queries: Any, keys: Any) -> Any:
    return batch_dot(_by_root_of_size("interleaved_matmul", queries), keys, transpose_b=True)


def _selfatt_qk(attrs: HeadsAttrs, data: Any) -> Any:
    queries, keys, _ = _split_heads(data, attrs.heads, 3)
    return _scores(queries, keys)


def _encdec_qk(attrs: HeadsAttrs, queries: Any, keys_values: Any) -> Any:
    (own,) = _split_heads(queries, attrs.heads, 1)
    return _scores(own, _split_heads(keys_values, attrs.heads, 2)[0])


def _weighted(attrs: HeadsAttrs, data: Any, attention: Any, parts: int) -> Any:
    values = _split_heads(data, attrs.heads, parts)[-1]
    return _join_heads(batch_dot(attention, values), attrs.heads)


def _heads_of(x: np.ndarray, heads: int, parts: int) -> np.ndarray:
    length, batch, width = x.shape
    size = width // (heads * parts)
    return (
        x.reshape(length, batch, heads, parts, size)
        .transpose(3, 1, 2, 0, 4)
        .reshape(parts, batch * heads, length, size)
    )


def _scores_oracle(q: np.ndarray, k: np.ndarray) -> Any:
    scale = q.dtype.type(math.sqrt(q.shape[-1]))
    return np.einsum("bqd,bkd->bqk", (q / scale).astype(q.dtype), k)


def _weighted_oracle(data: np.ndarray, attention: np.ndarray, heads: int, parts: int) -> Any:
    values = _heads_of(data, heads, parts)[-1]
    mixed = np.einsum("bqk,bkd->qbd", attention, values)
    batch = data.shape[1]
    return mixed.reshape(attention.shape[1], batch, -1)


_HEADS_DOC = """

    Parameters: `heads` how many; projections of one head lie side by side in the last axis of an
    array of shape (length, batch, width).

    >>> {example}
    {shows}
    """

interleaved_matmul_selfatt_qk = composite(
    "_contrib_interleaved_matmul_selfatt_qk",
    _selfatt_qk,
    operands="queries_keys_values",
    attrs=HeadsAttrs,
    work=Work.PRODUCT,
    numpy=lambda x, heads: _scores_oracle(*_heads_of(x, heads, 3)[:2]),
    samples=(((3, 2, 12), {"heads": 2}), ((2, 1, 9), {"heads": 1})),
    doc="""Attention scores: products of queries and keys, divided by the root of their size."""
    + _HEADS_DOC.format(
        example="nd.contrib.interleaved_matmul_selfatt_qk(nd.ones((3, 2, 12)), heads=2).shape",
        shows="(4, 3, 3)",
    ),
)

interleaved_matmul_selfatt_valatt = composite(
    "_contrib_interleaved_matmul_selfatt_valatt",
    lambda attrs, data, attention: _weighted(attrs, data, attention, 3),
    operands="queries_keys_values attention",
    attrs=HeadsAttrs,
    work=Work.PRODUCT,
    numpy=lambda x, attention, heads: _weighted_oracle(x, attention, heads, 3),
    samples=(((3, 2, 12), (4, 3, 3), {"heads": 2}),),
    doc="""Values weighted by attention."""
    + _HEADS_DOC.format(
        example="nd.contrib.interleaved_matmul_selfatt_valatt("
        "nd.ones((3, 2, 12)), nd.ones((4, 3, 3)), heads=2).shape",
        shows="(3, 2, 4)",
    ),
)

interleaved_matmul_encdec_qk = composite(
    "_contrib_interleaved_matmul_encdec_qk",
    _encdec_qk,
    operands="queries keys_values",
    attrs=HeadsAttrs,
    work=Work.PRODUCT,
    numpy=lambda q, kv, heads: _scores_oracle(
        _heads_of(q, heads, 1)[0], _heads_of(kv, heads, 2)[0]
    ),
    samples=(((3, 2, 4), (5, 2, 8), {"heads": 2}),),
    doc="""Attention scores between two sequences, divided by the root of the queries' size."""
    + _HEADS_DOC.format(
        example="nd.contrib.interleaved_matmul_encdec_qk("
        "nd.ones((3, 2, 4)), nd.ones((5, 2, 8)), heads=2).shape",
        shows="(4, 3, 5)",
    ),
)

interleaved_matmul_encdec_valatt = composite(
    "_contrib_interleaved_matmul_encdec_valatt",
    lambda attrs, data, attention: _weighted(attrs, data, attention, 2),
    operands="keys_values attention",
    attrs=HeadsAttrs,
    work=Work.PRODUCT,
    numpy=lambda x, attention, heads: _weighted_oracle(x, attention, heads, 2),
    samples=(((5, 2, 8), (4, 3, 5), {"heads": 2}),),
    doc="""Values of another sequence weighted by attention."""
    + _HEADS_DOC.format(
        example="nd.contrib.interleaved_matmul_encdec_valatt("
        "nd.ones((5, 2, 8)), nd.ones((4, 3, 5)), heads=2).shape",
        shows="(3, 2, 4)",
    ),
)

# -------------------------------------------------------------------------------- statistics


class MomentsAttrs(Frozen):
    axes: tuple[int, ...] | None = None
    keepdims: bool = False


def _decompose_moments(attrs: MomentsAttrs, data: Any) -> Any:
    float_data("moments", data.type)
    centre = mean(data, axis=attrs.axes, keepdims=True)
    variance = mean(square(data - centre), axis=attrs.axes, keepdims=attrs.keepdims)
    return mean(data, axis=attrs.axes, keepdims=attrs.keepdims), variance


def _moments_oracle(x: np.ndarray, axes: tuple[int, ...] | None, keepdims: bool) -> Any:
    shape = (1,) if axes is None and not keepdims else None
    found = [f(x, axis=axes, keepdims=keepdims, dtype=x.dtype) for f in (np.mean, np.var)]
    return tuple(np.asarray(f) if shape is None else np.reshape(f, shape) for f in found)


moments = composite(
    "moments",
    _decompose_moments,
    attrs=MomentsAttrs,
    outputs=2,
    numpy=_moments_oracle,
    samples=(((3, 5), {"axes": 0}), ((2, 3, 4), {"axes": (0, 2), "keepdims": True}), ((3,), {})),
    doc="""Mean and variance.

    Parameters: `axes` one axis or several, all if not given; `keepdims` leaves them with extent 1.

    >>> [part.asnumpy().tolist() for part in nd.moments(nd.array([[1, 2], [3, 6]]), axes=0)]
    [[2.0, 4.0], [1.0, 4.0]]
    """,
)


class CountAttrs(Frozen):
    num_arrays: int = 0


class FiniteAttrs(Frozen):
    num_arrays: int = 0
    init_output: bool = True


def _all_finite(data: Any) -> Any:
    ok = cast(isfinite(data), dtype="float32")
    return _reshape(_reduce_min(ok, axes=tuple(range(data.ndim))), shape=(1,))


def _decompose_finite(attrs: FiniteAttrs, *data: Any) -> Any:
    check(data, "multi_all_finite", "expected at least one array; given none")
    result = minimum(_all_finite(data[0]), 1)
    for one in data[1:]:
        result = minimum(result, _all_finite(one))
    return result


def _finite_oracle(*xs: np.ndarray, **_: Any) -> Any:
    return np.array([float(all(np.isfinite(x).all() for x in xs))], np.float32)


_INFINITE = np.array([1, np.inf], np.float32)

all_finite = composite(
    "all_finite",
    lambda attrs, data: _decompose_finite(attrs, data),
    attrs=FiniteAttrs,
    differentiable=False,
    numpy=_finite_oracle,
    samples=(((2, 3), {}), (_INFINITE, {}), ((0,), {})),
    doc="""1 if no element is infinite or NaN, else 0.

    >>> nd.all_finite(nd.array([1, float("inf")])).asnumpy()
    array([0.], dtype=float32)
    """,
)

multi_all_finite = composite(
    "multi_all_finite",
    _decompose_finite,
    operands="*data",
    attrs=FiniteAttrs,
    differentiable=False,
    numpy=_finite_oracle,
    samples=(((2, 3), (4,), {}), ((2, 3), _INFINITE, {})),
    doc="""1 if no element of any array is infinite or NaN, else 0.

    >>> nd.multi_all_finite(nd.array([1, 2]), nd.array([3])).asnumpy()
    array([1.], dtype=float32)
    """,
)


def _decompose_sum_sq(attrs: CountAttrs, *data: Any) -> Any:
    sums = [_reshape(_reduce_sum(square(x), axes=tuple(range(x.ndim))), shape=(1,)) for x in data]
    return _join(*sums, axis=0)


multi_sum_sq = composite(
    "multi_sum_sq",
    _decompose_sum_sq,
    operands="*data",
    attrs=CountAttrs,
    numpy=lambda *xs, num_arrays: np.array([(x * x).sum(dtype=x.dtype) for x in xs], xs[0].dtype),
    samples=(((2, 3), (4,), {}), ((5,), {}), ((0,), (2,), {})),
    doc="""The sum of squares of each array.

    >>> nd.multi_sum_sq(nd.array([1, 2]), nd.array([3])).asnumpy()
    array([5., 9.], dtype=float32)
    """,
)


class AllcloseAttrs(Frozen):
    rtol: float = 1e-05
    atol: float = 1e-08
    equal_nan: bool = True


def _decompose_allclose(attrs: AllcloseAttrs, a: Any, b: Any) -> Any:
    # The difference of equal infinities is NaN: ask for equality first.
    near = lesser_equal(absolute(a - b), absolute(b) * attrs.rtol + attrs.atol)
    close = logical_or(equal(a, b), near)
    if attrs.equal_nan:
        close = logical_or(close, logical_and(1 - equal(a, a), 1 - equal(b, b)))
    return _reshape(
        _reduce_min(cast(close, dtype="float32"), axes=tuple(range(a.ndim))), shape=(1,)
    )


allclose = composite(
    "_contrib_allclose",
    _decompose_allclose,
    operands="a b",
    attrs=AllcloseAttrs,
    differentiable=False,
    numpy=lambda a, b, rtol, atol, equal_nan: np.array(
        [np.allclose(a, b, rtol, atol, equal_nan)], np.float32
    ),
    samples=(
        ((2, 3), (2, 3), {}),
        (_INFINITE, _INFINITE, {}),
        (np.array([1, np.nan], np.float32), np.array([1 + 1e-6, np.nan], np.float32), {}),
    ),
    doc="""1 if all elements of two arrays agree to abs(a - b) <= atol + rtol · abs(b), else 0.

    Parameters: `rtol`, `atol`, `equal_nan` whether NaN equals NaN.

    >>> nd.contrib.allclose(nd.array([1, 2]), nd.array([1, 2.1])).asnumpy()
    array([0.], dtype=float32)
    """,
)

# ----------------------------------------------------------------------------------- indices


class GridAttrs(Frozen):
    shape: tuple[int, ...] = ()


def _strides(shape: tuple[int, ...]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _decompose_ravel(attrs: GridAttrs, data: Any) -> Any:
    check(
        data.ndim >= 1 and data.shape[0] == len(attrs.shape),
        "ravel_multi_index",
        f"shape {data.shape} should begin with {len(attrs.shape)}, the axes of {attrs.shape}",
    )
    total: Any = None
    for row, stride in enumerate(_strides(attrs.shape)):
        part = _reshape(slice_axis(data, axis=0, begin=row, end=row + 1), shape=data.shape[1:])
        total = part * stride if total is None else total + part * stride
    return total


ravel_multi_index = composite(
    "_ravel_multi_index",
    _decompose_ravel,
    attrs=GridAttrs,
    indices={"data": lambda a, _: Positions(a.shape, 0, read=False)},
    differentiable=False,
    numpy=lambda x, shape: np.tensordot(np.array(_strides(shape), x.dtype), x, 1).astype(x.dtype),
    aliases=("ravel_multi_index",),
    samples=(
        (np.array([[0, 2], [1, 3]], np.float32), {"shape": (3, 4)}),
        (np.array([[0], [1], [2]], np.int64), {"shape": (2, 3, 4)}),
    ),
    doc="""Columns of coordinates as positions in row-major order.

    Parameters: `shape` of the array that the coordinates belong to.

    >>> nd.ravel_multi_index(nd.array([[0, 2], [1, 3]]), shape=(3, 4)).asnumpy()
    array([ 1., 11.], dtype=float32)
    """,
)


def _decompose_unravel(attrs: GridAttrs, data: Any) -> Any:
    whole = cast(data, dtype="int64")
    rows = []
    for axis, stride in enumerate(_strides(attrs.shape)):
        row = floor_divide(whole, max(stride, 1))
        # As in MXNet, what is beyond the shape is beyond it along the first axis.
        rows.append(modulo(row, max(attrs.shape[axis], 1)) if axis else row)
    return cast(stack(*rows, axis=0), dtype=data.dtype.name)


unravel_index = composite(
    "_unravel_index",
    _decompose_unravel,
    attrs=GridAttrs,
    indices={"data": lambda a, _: Positions(math.prod(a.shape), 0, read=False)},
    differentiable=False,
    numpy=lambda x, shape: np.stack(np.unravel_index(x.astype(np.int64), shape)).astype(x.dtype),
    aliases=("unravel_index",),
    samples=(
        (np.array([1, 11], np.float32), {"shape": (3, 4)}),
        (np.array([[0, 23]], np.int64), {"shape": (2, 3, 4)}),
    ),
    doc="""Positions in row-major order as columns of coordinates.

    Parameters: `shape` of the array that the positions belong to.

    >>> nd.unravel_index(nd.array([1, 11]), shape=(3, 4)).asnumpy()
    array([[0., 2.],
           [1., 3.]], dtype=float32)
    """,
)


class IndexArrayAttrs(Frozen):
    axes: tuple[int, ...] | None = None


def _decompose_index_array(attrs: IndexArrayAttrs, data: Any) -> Any:
    axes = range(data.ndim) if attrs.axes is None else [axis % data.ndim for axis in attrs.axes]
    return stack(*(_iota(shape=data.shape, axis=axis) for axis in axes), axis=-1)


index_array = composite(
    "_contrib_index_array",
    _decompose_index_array,
    attrs=IndexArrayAttrs,
    differentiable=False,
    numpy=lambda x, axes: np.stack(
        [np.indices(x.shape)[axis] for axis in (range(x.ndim) if axes is None else axes)], -1
    ),
    samples=(((2, 3), {}), ((2, 3), {"axes": (1,)}), ((3,), {})),
    doc="""The coordinates of each element, along a new last axis (int64).

    Parameters: `axes` whose coordinates; all if not given.

    >>> nd.contrib.index_array(nd.zeros((2, 2))).asnumpy().tolist()
    [[[0, 0], [0, 1]], [[1, 0], [1, 1]]]
    """,
)


def _decompose_index_copy(old: Any, index: Any, new: Any) -> Any:
    """Per row of `old`, the number of the last entry that lands on it, and that entry."""
    check(
        index.ndim == 1 and new.shape == (*index.shape, *old.shape[1:]),
        "index_copy",
        f"{new.type} should have a row of {old.shape[1:]} for each of {index.type}",
    )
    rows, count = old.shape[0], index.shape[0]
    where_to = _checked_index(index, sizes=(rows,), operator="index_copy", negative=True)
    last = _last_entries(where_to, rows, count)
    column = (rows,) + (1,) * (old.ndim - 1)
    taken = _take(new, maximum(last, 0), axis=0)
    hit = cast(lesser_equal(0, last), dtype=old.dtype.name)
    return select(_reshape(hit, shape=column), taken, old)


def _last_entries(where_to: Any, rows: int, count: int) -> Any:
    """For each row the number of the last entry that goes there, -1 where there is none. In stable
    order the last one of a row is followed by an entry of another row."""
    entries = order(where_to, 0, True)
    sorted_rows = _take(where_to, entries)
    following = _take(sorted_rows, minimum(_iota(shape=(count,)) + 1, count - 1))
    here = _iota(shape=(count,))
    ends = logical_or(not_equal(sorted_rows, following), equal(here, count - 1))
    number = select(ends, entries + 1, 0)
    none = _full(shape=(rows,), value=0, dtype="int64")
    return _scatter_add(none, sorted_rows, number, axis=0) - 1


def _index_copy_oracle(old: np.ndarray, index: np.ndarray, new: np.ndarray) -> Any:
    result = old.copy()
    result[index.astype(int)] = new
    return result


index_copy = composite(
    "_contrib_index_copy",
    _decompose_index_copy,
    operands="old_tensor index_vector new_tensor",
    work=Work.SORTING,
    numpy=_index_copy_oracle,
    samples=(
        ((5, 3), np.array([0, 4], np.int64), (2, 3), {}),
        ((4,), np.array([1, 2, 0], np.float32), (3,), {}),
        ((4, 2), np.array([3, 1, 3, 3, 1], np.int64), (5, 2), {}),
    ),
    doc="""The rows of an array, some of them replaced. -1 is the last row; a number out of range is
    a `TigonIndexError`, and of several entries for one row the last one stays.

    Parameters: `index_vector` which rows, `new_tensor` the new ones.

    >>> new = nd.array([[1, 2], [3, 4]])
    >>> nd.contrib.index_copy(nd.zeros((3, 2)), nd.array([2, 0]), new).asnumpy()
    array([[3., 4.],
           [0., 0.],
           [1., 2.]], dtype=float32)
    """,
)


def _decompose_fill(lhs: Any, mhs: Any, rhs: Any) -> Any:
    check(
        lhs.ndim == 2 and mhs.shape == rhs.shape == lhs.shape[:1],
        "fill_element_0index",
        f"expected a matrix and two vectors of its rows; given {lhs.shape}, {mhs.shape}, "
        f"{rhs.shape}",
    )
    rows, columns = lhs.shape
    place = _reshape(_positions(rhs, columns, "clip"), shape=(rows, 1))
    hit = cast(equal(place, _iota(shape=(1, columns), axis=1)), dtype=lhs.dtype.name)
    return select(hit, _reshape(mhs, shape=(rows, 1)), lhs)


def _fill_oracle(lhs: np.ndarray, mhs: np.ndarray, rhs: np.ndarray) -> Any:
    result = lhs.copy()
    result[np.arange(len(lhs)), rhs.astype(int)] = mhs
    return result


fill_element_0index = composite(
    "fill_element_0index",
    _decompose_fill,
    operands="lhs mhs rhs",
    indices={"rhs": lambda lhs, *_: Positions(lhs.shape[1], 1)},
    numpy=_fill_oracle,
    samples=(((3, 4), (3,), np.array([0, 3, 1], np.float32), {}),),
    doc="""A matrix in which one element of each row is replaced: row i at column rhs[i] by mhs[i].

    >>> nd.fill_element_0index(nd.zeros((2, 2)), nd.array([5, 6]), nd.array([1, 0])).asnumpy()
    array([[0., 5.],
           [6., 0.]], dtype=float32)
    """,
)


class ScatterSetAttrs(Frozen):
    shape: tuple[int, ...] = ()


def _decompose_scatter_set(attrs: ScatterSetAttrs, lhs: Any, rhs: Any, indices: Any) -> Any:
    ones = _full(shape=rhs.shape, value=1, dtype=lhs.dtype.name)
    count = _scatter_points("_scatter_set_nd", ones, indices, lhs.shape)
    # Where several meet, their mean: MXNet leaves open which one stays.
    total = _scatter_points("_scatter_set_nd", rhs, indices, lhs.shape)
    return where(count, total / maximum(count, 1), lhs)


def _scatter_set_oracle(
    lhs: np.ndarray, rhs: np.ndarray, indices: np.ndarray, shape: tuple[int, ...]
) -> Any:
    result = lhs.copy()
    result[tuple(indices.astype(int))] = rhs
    return result


scatter_set_nd = composite(
    "_scatter_set_nd",
    _decompose_scatter_set,
    operands="lhs rhs indices",
    attrs=ScatterSetAttrs,
    numpy=_scatter_set_oracle,
    samples=(
        ((3, 4), (2,), np.array([[0, 2], [1, 3]], np.float32), {}),
        ((3, 4), (2, 4), np.array([[0, 2]], np.int64), {}),
    ),
    doc="""`lhs` with the entries at points (columns of `indices`) replaced by `rhs`.""",
)

# ------------------------------------------------------------------------------ matrices


class DiagAttrs(Frozen):
    k: int = 0
    axis1: int = 0
    axis2: int = 1


def _diagonal(attrs: DiagAttrs, shape: tuple[int, ...]) -> tuple[int, int, int, int, int]:
    """Both axes, where the diagonal starts, and its length."""
    first, second = attrs.axis1 % len(shape), attrs.axis2 % len(shape)
    check(first != second, "diag", f"axis1 and axis2 are both {first}")
    row, column = max(-attrs.k, 0), max(attrs.k, 0)
    length = max(0, min(shape[first] - row, shape[second] - column))
    return first, second, row, column, length


def _decompose_diag(attrs: DiagAttrs, data: Any) -> Any:
    check(data.ndim, "diag", "expected at least one axis; given a 0-d array")
    if data.ndim == 1:
        extent = data.shape[0]
        size = extent + abs(attrs.k)
        rows = _iota(shape=(size, 1), start=min(attrs.k, 0))
        columns = _iota(shape=(1, size), axis=1, start=-max(attrs.k, 0))
        hit = logical_and(equal(rows, columns), lesser_equal(0, rows))
        index = minimum(maximum(rows, 0), max(extent - 1, 0))
        chosen = _take(data, _reshape(index, shape=(size,)), axis=0) if extent else data
        hit = cast(logical_and(hit, lesser_equal(rows, extent - 1)), dtype=data.dtype.name)
        return select(hit, _reshape(chosen, shape=(size, 1)), 0)
    first, second, row, column, length = _diagonal(attrs, data.shape)
    rest = [axis for axis in range(data.ndim) if axis not in (first, second)]
    matrix = transpose(data, axes=(first, second, *rest))
    points = stack(_iota(shape=(length,), start=row), _iota(shape=(length,), start=column), axis=0)
    found = _gather_nd(matrix, points)
    return transpose(found, axes=(*range(1, found.ndim), 0))


diag = composite(
    "diag",
    _decompose_diag,
    attrs=DiagAttrs,
    numpy=lambda x, k, axis1, axis2: (
        np.diag(x, k) if x.ndim == 1 else np.diagonal(x, k, axis1, axis2).copy()
    ),
    samples=(
        ((3, 4), {}),
        ((3, 4), {"k": 1}),
        ((3, 4), {"k": -2}),
        ((3,), {}),
        ((3,), {"k": -1}),
        ((2,), {"k": 2}),
        ((2, 3, 4), {"axis1": 0, "axis2": 2}),
    ),
    doc="""The diagonal of a matrix, or a matrix with this diagonal.

    Parameters: `k` which diagonal (above the main one if positive); `axis1`, `axis2` the axes of
    the matrices in an array of more than two.

    >>> nd.diag(nd.array([[1, 2], [3, 4]])).asnumpy()
    array([1., 4.], dtype=float32)
    >>> nd.diag(nd.array([1, 2])).asnumpy()
    array([[1., 0.],
           [0., 2.]], dtype=float32)
    """,
)


def _decompose_khatri_rao(*matrices: Any) -> Any:
    check(
        matrices and all(m.ndim == 2 and m.shape[1] == matrices[0].shape[1] for m in matrices),
        "khatri_rao",
        f"expected matrices with equal numbers of columns; given {[m.shape for m in matrices]}",
    )
    result = matrices[0]
    for m in matrices[1:]:
        rows, columns = result.shape
        product = expand_dims(result, axis=1) * expand_dims(m, axis=0)
        result = _reshape(product, shape=(rows * m.shape[0], columns))
    return identity(result) if len(matrices) == 1 else result


def _khatri_rao_oracle(*xs: np.ndarray) -> Any:
    result = xs[0].copy()
    for x in xs[1:]:
        result = np.einsum("ac,bc->abc", result, x).reshape(-1, x.shape[1])
    return result


khatri_rao = composite(
    "khatri_rao",
    _decompose_khatri_rao,
    operands="*args",
    numpy=_khatri_rao_oracle,
    samples=(((2, 3), (4, 3), {}), ((2, 3), {}), ((2, 2), (1, 2), (3, 2), {})),
    doc="""The Kronecker products of the columns of several matrices.

    >>> nd.khatri_rao(nd.array([[1, 2]]), nd.array([[1, 2], [3, 4]])).asnumpy()
    array([[1., 4.],
           [3., 8.]], dtype=float32)
    """,
)

# ------------------------------------------------------------------------------- boxes


class BoxIouAttrs(Frozen):
    format: str = "corner"


def _corners(boxes: Any, kind: str) -> list[Any]:
    parts = [slice_axis(boxes, axis=-1, begin=i, end=i + 1) for i in range(4)]
    if kind == "corner":
        return parts
    x, y, width, height = parts
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def _decompose_box_iou(attrs: BoxIouAttrs, lhs: Any, rhs: Any) -> Any:
    check(
        attrs.format in ("corner", "center"),
        "box_iou",
        f"format is corner or center; given '{attrs.format}'",
    )
    check(
        lhs.ndim and rhs.ndim and lhs.shape[-1] == rhs.shape[-1] == 4,
        "box_iou",
        f"expected four numbers per box; given {lhs.shape} and {rhs.shape}",
    )
    shape = (*lhs.shape[:-1], *rhs.shape[:-1])
    columns = [
        _reshape(part, shape=(*lhs.shape[:-1], *(1,) * (rhs.ndim - 1)))
        for part in _corners(lhs, attrs.format)
    ]
    rows = [_reshape(part, shape=rhs.shape[:-1]) for part in _corners(rhs, attrs.format)]
    sides = [
        maximum(minimum(columns[i + 2], rows[i + 2]) - maximum(columns[i], rows[i]), 0)
        for i in (0, 1)
    ]
    shared = sides[0] * sides[1]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (columns, rows)]
    union = areas[0] + areas[1] - shared
    # Empty boxes have no area to share.
    found = select(lesser_equal(union, 0), 0, shared / select(lesser_equal(union, 0), 1, union))
    return found if same_shape(found.shape, shape) else _broadcast(found, shape=shape)


def _box_iou_oracle(lhs: np.ndarray, rhs: np.ndarray, format: str) -> Any:
    def corners(x: np.ndarray) -> Any:
        if format == "corner":
            return x
        half = x[..., 2:] / 2
        return np.concatenate([x[..., :2] - half, x[..., :2] + half], -1)

    shape = (*lhs.shape[:-1], *rhs.shape[:-1])
    a = corners(lhs).reshape(-1, 1, 4)
    b = corners(rhs).reshape(1, -1, 4)
    sides = np.maximum(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0)
    shared = sides.prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    with np.errstate(all="ignore"):
        return np.where(union <= 0, 0, shared / union).astype(lhs.dtype).reshape(shape)


_BOXES = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 5, 5]], np.float32)

box_iou = composite(
    "_contrib_box_iou",
    _decompose_box_iou,
    operands="lhs rhs",
    attrs=BoxIouAttrs,
    differentiable=False,
    numpy=_box_iou_oracle,
    samples=(
        (_BOXES, _BOXES, {}),
        (_BOXES, _BOXES[:2], {"format": "center"}),
        (_BOXES.reshape(3, 1, 4), _BOXES[1], {}),
    ),
    doc="""Shared area of each pair of boxes, divided by the area that they cover together.

    Parameters: `format` "corner" (x1, y1, x2, y2) or "center" (x, y, width, height).

    >>> nd.contrib.box_iou(nd.array([[0, 0, 2, 2]]), nd.array([[1, 0, 3, 2]])).asnumpy()
    array([[0.3333]], dtype=float32)
    """,
)

# ------------------------------------------------------------------ found in MXNet's files


identity_with_attr_like_rhs = composite(
    "_identity_with_attr_like_rhs",
    lambda lhs, rhs: identity(lhs),
    operands="lhs rhs",
    grad=lambda g, y, lhs, rhs: (g, None),
    numpy=lambda lhs, rhs: lhs.copy(),
    samples=(((2, 3), (2, 3), {}),),
    doc="""The first operand; the second lends it its attributes in MXNet.""",
)

amp_multicast = composite(
    "amp_multicast",
    lambda attrs, *data: _widest(data),
    operands="*data",
    attrs=CountAttrs,
    outputs=lambda a: a.num_arrays,
    numpy=lambda *xs, num_arrays: tuple(x.astype(np.result_type(*xs)) for x in xs),
    samples=(((2,), (3,), {"num_arrays": 2}),),
    doc="""Arrays of several float dtypes, all converted to the widest of them.

    Parameters: `num_arrays` how many.

    >>> x, y = nd.array([1]), nd.array([2], dtype="float64")
    >>> [part.dtype.__name__ for part in nd.amp_multicast(x, y, num_arrays=2)]
    ['float64', 'float64']
    """,
)


def _widest(data: tuple[Any, ...]) -> tuple[Any, ...]:
    target = max((x.dtype for x in data), key=lambda dtype: dtype.itemsize)
    return tuple(identity(x) if x.dtype is target else cast(x, dtype=target.name) for x in data)
