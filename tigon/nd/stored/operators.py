"""Operators of sparse operands: what has a rule here works on what is stored; all else is given
dense arrays, which a notice says once, and `fallbacks` counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib import import_module
from operator import attrgetter
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import as_dtype, check
from tigon.nd.dispatch import NDArray, apply
from tigon.nd.dispatch import run as _run
from tigon.nd.stored import creation
from tigon.nd.stored.base import (
    BaseSparseNDArray,
    Dense,
    handles_operators,
    index_array,
    stype_of,
)
from tigon.nd.stored.matrix import CSRNDArray, from_places
from tigon.nd.stored.rows import RowSparseNDArray, added, write_rows
from tigon.ops import record
from tigon.runtime import tracing
from tigon.runtime.tracing import densified, is_sparse

Rule = Callable[..., Any]
_RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Of operators: `(op, attrs, *operands)` gives the result, or NotImplemented where these
    operands are as well dense."""

    def declare(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names, function))
        return function

    return declare


def rules() -> list[str]:
    """The operators that work on what is stored."""
    return sorted(_RULES)


@handles_operators
def call(op: Any, attrs: Any, operands: Sequence[Any], out: Any = None) -> Any:
    """Run an operator, of whose operands some are sparse. `out` may be dense or sparse."""
    operands = tracing.needs_arrays(f"gives sparse arrays to {op.name}", tuple(operands))
    if op.mutates and isinstance(operands[1], RowSparseNDArray):
        return _update_rows(op, attrs, operands, out)
    found = _RULES[op.name](op, attrs, *operands) if op.name in _RULES else NotImplemented
    if found is NotImplemented:
        reason = f"{op.name} of {', '.join(map(_storage, operands))}"
        overwritten = set(op.mutates.values())
        names = [operand.name for operand in op.operands]
        given = [
            _all_rows(one) if name in overwritten else densified(one, reason)
            for name, one in zip(names + names[-1:] * len(operands), operands, strict=False)
        ]
        if not is_sparse(out):
            return apply(op, attrs, given, out)
        found = apply(op, attrs, given)
    if out is None:
        return found
    out[:] = found
    return out


def _storage(operand: Any) -> str:
    return stype_of(operand) if isinstance(operand, NDArray) else "a number"


def _all_rows(array: Any) -> Any:
    """What an update overwrites."""
    return array.table() if isinstance(array, RowSparseNDArray) else densified(array, None)


# --------------------------------------------------------------------- element by element


_KEEPS_ZERO = """
    abs arcsin arcsinh arctan arctanh cbrt ceil degrees expm1 fix floor log1p negative radians relu
    rint round sign sin sinh sqrt square tan tanh trunc BlockGrad _copy _copyto _detach Cast
    zeros_like
""".split()


@rule(*_KEEPS_ZERO)
def _on_stored(op: Any, attrs: Any, data: Any) -> Any:
    return _settled(data)._like(lambda values: apply(op, attrs, (values,)))


def _settled(data: Any) -> Any:
    """With every row once: functions that are not linear are of sums."""
    if isinstance(data, RowSparseNDArray):
        data.indices  # noqa: B018
    return data


@rule("clip")
def _clip(op: Any, attrs: Any, data: Any) -> Any:
    if not attrs.a_min <= 0 <= attrs.a_max:
        return NotImplemented
    return _on_stored(op, attrs, data)


@rule("broadcast_mul", "elemwise_mul", "broadcast_div", "elemwise_div")
def _scaled(op: Any, attrs: Any, lhs: Any, rhs: Any) -> Any:
    divides = op.name.endswith("div")
    if is_sparse(lhs) and is_sparse(rhs):
        return NotImplemented if divides or lhs.stype != rhs.stype else _common(op, attrs, lhs, rhs)
    if not is_sparse(lhs):
        if divides:
            return NotImplemented
        lhs, rhs = rhs, lhs
    if not isinstance(rhs, NDArray):
        if not math.isfinite(rhs) or (divides and rhs == 0):
            return NotImplemented  # 0 * inf and 0 / 0 are no zeros
        return lhs._like(lambda values: values / rhs if divides else values * rhs)
    if op.name.startswith("elemwise") and lhs.shape != rhs.shape:
        return NotImplemented  # which refuses them
    beside = _beside(_settled(lhs), rhs)
    if beside is None:
        return NotImplemented
    op = record.get("broadcast_div" if divides else "broadcast_mul")
    return lhs._like(lambda values: apply(op, attrs, (values, beside)))


def _beside(lhs: Any, rhs: Dense) -> Dense | None:
    """What stands in a dense array where elements of a sparse one are stored. Elements that are not
    stored stay zero, whatever it holds there, as in MXNet."""
    if rhs.size == 1 and rhs.ndim <= lhs.ndim:
        return _run("_reshape", rhs, shape=(1,) * lhs.data.ndim)
    if isinstance(lhs, RowSparseNDArray):
        return _run("take", rhs, lhs.indices, axis=0) if rhs.shape == lhs.shape else None
    shape = (1,) * (2 - rhs.ndim) + rhs.shape
    if rhs.ndim > 2 or any(own not in (1, n) for own, n in zip(shape, lhs.shape, strict=True)):
        return None
    flat = rhs.reshape((-1,))
    rows = lhs.rows if shape[0] != 1 else None
    columns = lhs.indices if shape[1] != 1 else None
    if rows is None:
        return _run("take", flat, columns, axis=0)
    return _run("take", flat, rows if columns is None else rows * shape[1] + columns, axis=0)


def _common(op: Any, attrs: Any, lhs: Any, rhs: Any) -> Any:
    """The product of two arrays that are stored alike."""
    if lhs.shape != rhs.shape:
        return NotImplemented
    first, second = (one if one.stype == "row_sparse" else _places(one) for one in (lhs, rhs))
    numbers, both = first.indices.asnumpy(), second.indices.asnumpy()
    shared, own, other = np.intersect1d(numbers, both, True, True)
    op = record.get("broadcast_mul")
    device = lhs.device_index
    parts = [
        _run("take", one.data, index_array(kept, device), axis=0)
        for one, kept in ((first, own), (second, other))
    ]
    made = RowSparseNDArray(first.shape, index_array(shared, device), apply(op, attrs, parts), True)
    return made if lhs.stype == "row_sparse" else from_places(lhs.shape, made)


def _places(matrix: CSRNDArray) -> RowSparseNDArray:
    """The elements in one axis."""
    columns = matrix.shape[1]
    places = matrix.rows * columns + matrix.indices
    return RowSparseNDArray((matrix.size,), places, matrix.data, True)


@rule("broadcast_add", "elemwise_add", "broadcast_sub", "elemwise_sub")
def _sum_of_two(op: Any, attrs: Any, lhs: Any, rhs: Any) -> Any:
    if not (isinstance(lhs, NDArray) and isinstance(rhs, NDArray) and lhs.shape == rhs.shape):
        return NotImplemented
    return _total([lhs, _negative(rhs) if op.name.endswith("sub") else rhs])


def _negative(array: Any) -> Any:
    return -array if is_sparse(array) else 0 - array  # where nothing is stored, 0 - 0 is no -0


def _total(arrays: Sequence[Any]) -> Any:
    """Of arrays of one shape: sparse if all are stored alike, else dense."""
    codes = {array.dtype_code for array in arrays}
    storages = {stype_of(array) for array in arrays}
    if len(codes) > 1:
        return NotImplemented
    if storages == {"row_sparse"}:
        return added(arrays)
    if storages == {"csr"}:
        return from_places(arrays[0].shape, added([_places(a) for a in arrays]))
    if "default" not in storages:
        return NotImplemented
    whole: Any = None
    for array in arrays:
        if not is_sparse(array):
            whole = array if whole is None else whole + array
    for array in arrays:
        if isinstance(array, CSRNDArray):
            flat = _places(array)
            made = _run("_scatter_add", whole.reshape((-1,)), flat.indices, flat.data, axis=0)
            whole = _run("_reshape", made, shape=array.shape)
        elif is_sparse(array):
            whole = _run("_scatter_add", whole, array.indices, array.data, axis=0)
    return whole


@rule("add_n")
def _add_n(op: Any, attrs: Any, *arrays: Any) -> Any:
    alike = all(array.shape == arrays[0].shape for array in arrays)
    return _total(arrays) if alike else NotImplemented


# ----------------------------------------------------------------------------- reductions


@rule("sum", "mean")
def _reduced(op: Any, attrs: Any, data: Any) -> Any:
    ndim = data.ndim
    axes = tuple(range(ndim)) if attrs.axis is None else tuple(a % ndim for a in attrs.axis)
    if attrs.exclude:
        axes = tuple(a for a in range(ndim) if a not in axes)
    if not axes:
        return NotImplemented
    if not data.size:
        return apply(op, attrs, (data.tostype("default"),))
    own = data.dtype
    if op.name == "mean" and as_dtype(own).is_narrow:  # the sum may be too large for these
        data = data.astype("float32")
    total = (_sum_of_matrix if isinstance(data, CSRNDArray) else _sum_of_rows)(data, axes)
    kept = tuple(
        n if a not in axes else 1
        for a, n in enumerate(data.shape)
        if attrs.keepdims or a not in axes
    )
    total = total.reshape(kept or (1,))
    if op.name == "mean":
        total = total / math.prod(data.shape[a] for a in axes)
    return total.astype(own, copy=False)


def _sum_of_matrix(data: CSRNDArray, axes: tuple[int, ...]) -> Dense:
    if len(axes) == 2:
        return _run("sum", data.data)
    extent = data.shape[1 - axes[0]]
    where = data.rows if axes == (1,) else data.indices
    zeros = _native.zeros((extent,), data.dtype_code, data.device_index)
    return _run("_scatter_add", zeros, where, data.data, axis=0)


def _sum_of_rows(data: RowSparseNDArray, axes: tuple[int, ...]) -> Dense:
    values = data.data
    if 0 in axes:
        return _run("sum", values, axis=axes)
    found = _run("sum", values, axis=axes)
    zeros = _native.zeros((data.shape[0], *found.shape[1:]), found.dtype_code, data.device_index)
    return _run("_scatter_add", zeros, data.indices, found, axis=0)


@rule("norm")
def _norm(op: Any, attrs: Any, data: Any) -> Any:
    if attrs.axis is not None or not data.data.size:
        return NotImplemented
    return apply(op, attrs, (data.data,)).reshape((1,) * data.ndim if attrs.keepdims else (1,))


# ------------------------------------------------------------------------------- products


@rule("dot")
def _dot(op: Any, attrs: Any, lhs: Any, rhs: Any) -> Any:
    if not all(isinstance(one, NDArray) for one in (lhs, rhs)) or lhs.dtype_code != rhs.dtype_code:
        return NotImplemented  # which refuses them
    if isinstance(lhs, CSRNDArray) and not attrs.transpose_b and not isinstance(rhs, CSRNDArray):
        return _matrix_times(lhs, rhs, attrs.transpose_a, attrs.forward_stype)
    if isinstance(rhs, CSRNDArray) and not is_sparse(lhs) and not attrs.transpose_a:
        inner = rhs.shape[1] if attrs.transpose_b else rhs.shape[0]
        if lhs.ndim != 2 or lhs.shape[1] != inner:
            return NotImplemented
        made = _matrix_times(rhs, lhs.T, not attrs.transpose_b, "default").T
        return (
            made if attrs.forward_stype == "default" or attrs.transpose_b else made.tostype("csr")
        )
    return NotImplemented


def _matrix_times(lhs: CSRNDArray, rhs: Any, transposed: bool, stype: str | None) -> Any:
    inner, outer = lhs.shape if transposed else lhs.shape[::-1]
    check(
        rhs.ndim in (1, 2) and rhs.shape[0] == inner,
        "dot",
        f"inner sizes differ: {lhs.shape[::-1] if transposed else lhs.shape} and {rhs.shape}; "
        "transpose one operand?",
    )
    data, rows, columns = lhs.data, lhs.rows, lhs.indices
    if transposed:
        rows, columns = columns, rows
    if isinstance(rhs, RowSparseNDArray) and rhs.whole is not None:
        rhs = rhs.whole
    elif isinstance(rhs, RowSparseNDArray):
        data, rows, columns, rhs = _where_stored(data, rows, columns, rhs)
    by_rows = is_sparse(rhs.grad)
    matrix = rhs if rhs.ndim == 2 else rhs.reshape((-1, 1))
    shape = (outer, *rhs.shape[1:])

    def product(rows: Dense, extent: int) -> Dense:
        made = _run("_stored_dot", data, rows, columns, matrix, extent=extent, sparse_grad=by_rows)
        return made if rhs.ndim == 2 else made.reshape((extent,))

    if not transposed or stype == "default" or rhs.ndim == 1:
        return product(rows, outer)
    found, place = np.unique(rows.asnumpy(), return_inverse=True)
    device = lhs.device_index
    values = product(index_array(place.reshape(-1), device), len(found))
    return RowSparseNDArray(shape, index_array(found, device), values, True)


def _where_stored(
    data: Dense, rows: Dense, columns: Dense, rhs: RowSparseNDArray
) -> tuple[Dense, Dense, Dense, Dense]:
    """The elements beside which rows are stored, and the places of these."""
    numbers, wanted = rhs.indices.asnumpy(), columns.asnumpy()
    place = np.searchsorted(numbers, wanted)
    hit = place < len(numbers)
    hit[hit] = numbers[place[hit]] == wanted[hit]
    (kept,) = np.nonzero(hit)
    where = index_array(kept, data.device_index)
    data, rows = (_run("take", part, where, axis=0) for part in (data, rows))
    return data, rows, index_array(place[kept], data.device_index), rhs.data


@rule("Embedding")
def _embedding(op: Any, attrs: Any, data: Any, weight: Any) -> Any:
    """Of a weight whose rows are stored: those that are not are zeros."""
    if not isinstance(weight, RowSparseNDArray) or is_sparse(data):
        return NotImplemented
    if weight.whole is not None:
        return apply(op, attrs, (data, weight.whole))
    check(
        weight.shape == (attrs.input_dim, attrs.output_dim),
        "Embedding",
        f"weight should have shape {(attrs.input_dim, attrs.output_dim)}; it has {weight.shape}",
    )
    ids = np.clip(data.asnumpy().astype(np.int64), 0, max(attrs.input_dim - 1, 0))
    own = weight.rows_at(ids.reshape(-1))
    place = np.searchsorted(own.indices.asnumpy(), ids)
    return _run("take", own.data, index_array(place, data.device_index), axis=0)


# --------------------------------------------------------------------------------- shapes


@rule("slice", "slice_axis")
def _sliced(op: Any, attrs: Any, data: Any) -> Any:
    if not isinstance(data, CSRNDArray):
        return NotImplemented
    if op.name == "slice_axis":
        begin, end = ([None] * (attrs.axis % 2) + [bound] for bound in (attrs.begin, attrs.end))
        steps: Sequence[Any] = ()
    else:
        begin, end, steps = attrs.begin, attrs.end, attrs.step
    if any(step not in (None, 1) for step in steps):
        return NotImplemented
    found = data[slice(begin[0], end[0])]
    if len(begin) == 1:
        return found
    first, last, _ = slice(begin[1], end[1]).indices(data.shape[1])
    columns = found.indices.asnumpy()
    (kept,) = np.nonzero((columns >= first) & (columns < last))
    where = index_array(kept, data.device_index)
    begins = np.searchsorted(kept, found.begins)
    return CSRNDArray(
        (found.shape[0], max(last - first, 0)),
        _run("take", found.data, where, axis=0),
        index_array(columns[kept] - first, data.device_index),
        index_array(begins, data.device_index),
    )


@rule("Concat")
def _joined(op: Any, attrs: Any, *arrays: Any) -> Any:
    matrices = all(isinstance(array, CSRNDArray) for array in arrays)
    if attrs.dim != 0 or not matrices or len({(a.shape[1], a.dtype_code) for a in arrays}) > 1:
        return NotImplemented
    counts = np.concatenate([np.diff(array.begins) for array in arrays])
    data, columns = (
        _run("Concat", *map(attrgetter(part), arrays), dim=0) for part in ("data", "indices")
    )
    begins = index_array(np.concatenate([[0], np.cumsum(counts)]), arrays[0].device_index)
    return CSRNDArray((len(counts), arrays[0].shape[1]), data, columns, begins)


# -------------------------------------------------------------------------------- updates


def _update_rows(op: Any, attrs: Any, operands: Sequence[Any], out: Any) -> Any:
    """An update by the rows of a gradient: where the operator is lazy, no other rows of weight and
    states are read or written; where not, all are updated, by a gradient of zeros."""
    weight, grad = _all_rows(operands[0]), operands[1]
    states = [_all_rows(one) if isinstance(one, NDArray) else one for one in operands[2:]]
    target = operands[0] if out is None else out
    lazy = getattr(attrs, "lazy_update", op.name in _LAZY)
    if not lazy or op.name not in _LAZY or not _is_same(target, weight, operands[0]):
        reason = None if op.name in _LAZY else f"{op.name} of a row-sparse gradient"
        apply(op, attrs, [weight, densified(grad, reason), *states], _all_rows(target))
        return target
    rows = grad.indices
    if rows.size:
        own = [_run("take", one, rows, axis=0) for one in (weight, *states)]
        new = apply(op, attrs, [own[0], grad.data, *own[1:]])
        for old, changed in zip((weight, *states), (new, *own[1:]), strict=True):
            write_rows(old, rows, changed)
    return target


def _is_same(target: Any, weight: Any, given: Any) -> bool:
    return target is weight or target is given


_LAZY = frozenset("sgd_update sgd_mom_update adam_update ftrl_update adagrad_update".split())


# ---------------------------------------------------------------------- functions of their own


def cast_storage(data: Any, stype: str, out: Any = None, name: str | None = None) -> Any:
    """The array, stored in another way: 'default', 'row_sparse' or 'csr'.

    >>> from tigon import nd
    >>> nd.cast_storage(nd.array([[0, 0], [0, 3]]), "row_sparse").indices.asnumpy()
    array([1])
    """
    found = data.tostype(stype)
    if out is None:
        return found
    out[:] = found
    return out


def retain(data: Any, indices: Any, out: Any = None, name: str | None = None) -> Any:
    """The rows of a row-sparse array at `indices`; all others are zero.

    >>> from tigon import nd
    >>> x = nd.array([[1], [2], [3]]).tostype("row_sparse")
    >>> nd.sparse.retain(x, nd.array([0, 2])).asnumpy().tolist()
    [[1.0], [0.0], [3.0]]
    """
    check(
        isinstance(data, RowSparseNDArray),
        "retain",
        f"data: expected a row-sparse array; given {_storage(data)}; convert it with "
        "tostype('row_sparse')",
    )
    found = data.retain(indices)
    if out is None:
        return found
    out[:] = found
    return out


def square_sum(
    data: Any, axis: Any = None, keepdims: bool = False, out: Any = None, name: str | None = None
) -> Any:
    """The sum of squares along axes.

    >>> from tigon import nd
    >>> nd.square_sum(nd.array([[1, 2], [0, 0]]).tostype("row_sparse"), axis=1).asnumpy()
    array([5., 0.], dtype=float32)
    """
    nd = import_module("tigon.nd")
    return nd.sum(nd.square(data), axis=axis, keepdims=keepdims, out=out)


def _of_two(name: str, doc: str) -> Callable[[Any, Any], Any]:
    def function(lhs: Any, rhs: Any) -> Any:
        return getattr(import_module("tigon.nd"), name)(lhs, rhs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


FUNCTIONS: dict[str, Any] = {
    "BaseSparseNDArray": BaseSparseNDArray,
    "CSRNDArray": CSRNDArray,
    "RowSparseNDArray": RowSparseNDArray,
    "array": creation.array,
    "csr_matrix": creation.csr_matrix,
    "row_sparse_array": creation.row_sparse_array,
    "zeros": creation.zeros,
    "empty": creation.empty,
    "cast_storage": cast_storage,
    "retain": retain,
    "square_sum": square_sum,
    **{
        name: _of_two(name, f"{what} of two arrays, or of an array and a number.")
        for name, what in {
            "add": "The sum",
            "subtract": "The difference",
            "multiply": "The product, element by element,",
            "divide": "The quotient, element by element,",
        }.items()
    },
}
"""What `nd.sparse` has besides operators."""
