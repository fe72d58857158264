"""Arrays from nothing, from Python and from numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import DType, TigonError, as_dtype, check
from tigon.base.dtypes import bfloat16, check_dtype, own_numbers, to_memory
from tigon.context import current_context, on
from tigon.loop.semantics import convert
from tigon.nd.dispatch import NDArray, apply
from tigon.ops import record
from tigon.ops.signature import split_attributes
from tigon.program.operators import attributes_id, cache_of_numbers, operator_id, remember
from tigon.runtime import tracing


def check_shape(where: str, shape: Any) -> tuple[int, ...]:
    """A shape as a tuple of extents that are not negative."""
    if isinstance(shape, (int, np.integer)) and not isinstance(shape, bool):
        shape = (shape,)
    try:
        extents = tuple(extent.__index__() for extent in shape)
    except (TypeError, AttributeError):
        raise TigonError(f"{where}: expected a shape such as (2, 3); given {shape!r}") from None
    check(
        all(extent >= 0 for extent in extents),
        where,
        f"expected extents that are not negative; given {extents}",
    )
    return extents


def array(source_array: Any, ctx: Any = None, dtype: Any = None) -> NDArray:
    """An array with the values of a list, a number, a numpy array or another array.

    The dtype is float32 unless it is given or the source is an NDArray.

    >>> array([[1, 2], [3, 4]])
    <BLANKLINE>
    [[1. 2.]
     [3. 4.]]
    <NDArray 2x2 @cpu(0)>
    """
    if isinstance(source_array, NDArray):
        with on("array", ctx):
            made = source_array.astype(source_array.dtype if dtype is None else dtype, copy=True)
            return made.as_in_context(current_context())
    if hasattr(source_array, "tocsr"):  # of scipy
        return import_module("tigon.nd.stored").array(source_array, ctx, dtype)
    wanted = check_dtype("array", dtype)
    try:
        if isinstance(source_array, (list, tuple)) and _holds_arrays(source_array):
            source_array = [np.asarray(part) for part in source_array]
        values = np.asarray(source_array)
        values = own_numbers(values)
        if values.dtype.kind not in "biuf":
            raise ValueError(f"its elements are {values.dtype}")
        values = _converted(values, wanted)
    except (ValueError, TypeError, OverflowError) as error:
        raise TigonError(
            f"array: expected numbers in a regular shape; given {type(source_array).__name__}: "
            f"{error}"
        ) from None
    with on("array", ctx):
        return _native.from_numpy(values)


def _converted(values: np.ndarray, wanted: DType) -> np.ndarray:
    """As `astype` converts: a float that has no integer in the dtype becomes the nearest one. numpy
    leaves these undefined; it is quicker with the others."""
    if values.dtype.kind == "f" and wanted.is_integer and values.size:
        limits = np.iinfo(wanted.numpy)
        if not (values.min() >= limits.min and values.max() < 2.0 ** (limits.max.bit_length())):
            values = np.asarray(convert(values, wanted))
    return np.ascontiguousarray(to_memory(values, wanted)).reshape(values.shape)


_MOST_AXES = 64  # of numpy, which refuses more


def _holds_arrays(source: Any) -> bool:
    """Whether the first element of the first element, and so on, is an array."""
    for _ in range(_MOST_AXES):
        if not isinstance(source, (list, tuple)) or not source:
            break
        source = source[0]
    return isinstance(source, NDArray)


def from_numpy(ndarray: np.ndarray, zero_copy: bool = True) -> NDArray:
    """An array of a numpy array's values and dtype, sharing its memory if `zero_copy` and numpy's
    array owns contiguous, writable memory.

    >>> from_numpy(np.arange(3)).dtype
    <class 'numpy.int64'>
    """
    dtype = check_dtype("from_numpy", ndarray.dtype)
    if dtype is bfloat16:
        return _native.from_numpy(to_memory(ndarray, dtype))  # no record has a DLPack
    if zero_copy and ndarray.flags.c_contiguous and ndarray.flags.writeable and ndarray.size:
        return _native.from_dlpack(ndarray)
    return _native.from_numpy(ndarray)


def from_dlpack(dlpack: Any) -> NDArray:
    """An array on the memory of another library's tensor."""
    return _native.from_dlpack(dlpack)


def to_dlpack_for_read(data: NDArray) -> Any:
    """A DLPack capsule on an array's memory, when what is written to it is done."""
    data.wait_to_read()
    return data.__dlpack__()


def to_dlpack_for_write(data: NDArray) -> Any:
    """A DLPack capsule on an array's memory, to be written by its consumer."""
    data.wait_to_read()
    return data.__dlpack__()


def empty(shape: Any, ctx: Any = None, dtype: Any = None, stype: Any = None) -> NDArray:
    """An array of undefined values; `stype` as of `zeros`.

    >>> empty((2, 3)).shape
    (2, 3)
    """
    if stype not in (None, "default"):
        return zeros(shape, ctx, dtype, stype)
    if tracing.active[0] and tracing.capture() is not None:
        return zeros(shape, ctx, dtype)  # of the trace, which can tell what is written to it
    with on("empty", ctx):
        return _native.empty(check_shape("empty", shape), check_dtype("empty", dtype).code)


_constants = cache_of_numbers()


def _filled(where: str, shape: Any, value: float, ctx: Any, dtype: Any, out: Any) -> Any:
    if value != value:
        value = math.nan  # one object, so that equal calls are seen to be equal
    key: Any = (shape, value, type(value), dtype)
    if not value:  # 0.0 and -0.0 are equal
        key = (shape, str(value), dtype)
    try:
        # 2.0 equals 2, and would be found where it must be refused.
        is_whole = type(shape) is int or isinstance(math.prod(shape), (int, np.integer))
        is_known = is_whole and out is None and not tracing.active[0]
        found = _constants.get(key) if is_known else None
    except TypeError:  # a shape given as a list, or none at all
        found = key = None
    if found is None:
        op = record.get("_full")
        attributes = {
            "shape": check_shape(where, shape),
            "dtype": check_dtype(where, dtype if out is None or dtype else out.dtype).name,
            "value": value,
        }
        attrs = op.make_attrs(attributes)
        if tracing.active[0] or out is not None or key is None:
            with on(where, ctx):
                return apply(op, attrs, (), out)
        found = remember(_constants, key, (operator_id(op), attributes_id(attrs)))
    operator, attributes_number = found
    if ctx is None:
        return _native.invoke(operator, attributes_number, ())
    with on(where, ctx):
        return _native.invoke(operator, attributes_number, ())


def zeros(
    shape: Any, ctx: Any = None, dtype: Any = None, stype: Any = None, out: Any = None, **_: Any
) -> NDArray:
    """An array of zeros; `stype` 'row_sparse' or 'csr': one with nothing stored.

    >>> zeros(2).asnumpy()
    array([0., 0.], dtype=float32)
    """
    if stype not in (None, "default"):
        return import_module("tigon.nd.stored").zeros(stype, shape, ctx, dtype)
    return _filled("zeros", shape, 0, ctx, dtype, out)


def ones(shape: Any, ctx: Any = None, dtype: Any = None, out: Any = None, **_: Any) -> NDArray:
    """An array of ones.

    >>> ones((1, 2), dtype="int32").asnumpy()
    array([[1, 1]], dtype=int32)
    """
    return _filled("ones", shape, 1, ctx, dtype, out)


def full(shape: Any, val: Any, ctx: Any = None, dtype: Any = None, out: Any = None) -> NDArray:
    """An array of one value.

    >>> full(2, 7).asnumpy()
    array([7., 7.], dtype=float32)
    """
    if isinstance(val, NDArray):
        target = empty(shape, ctx, dtype or val.dtype) if out is None else out
        target[:] = val
        return target
    check(
        isinstance(val, (int, float, bool, np.generic)),
        "full",
        f"expected a number; given {type(val).__name__}",
    )
    return _filled("full", shape, val, ctx, dtype, out)


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1.0,
    repeat: int = 1,
    infer_range: bool | None = None,
    ctx: Any = None,
    dtype: Any = None,
) -> NDArray:
    """Evenly spaced numbers from `start` below `stop`, each `repeat` times.

    >>> arange(2, 6, step=2, repeat=2).asnumpy()
    array([2., 2., 4., 4.], dtype=float32)
    """
    op = record.get("_arange")
    attributes = {
        "start": start,
        "stop": stop,
        "step": step,
        "repeat": repeat,
        "dtype": check_dtype("arange", dtype).name,
    }
    with on("arange", ctx):
        return apply(op, op.make_attrs(attributes), ())


def linspace(
    start: float, stop: float, num: int, endpoint: bool = True, ctx: Any = None, dtype: Any = None
) -> NDArray:
    """`num` evenly spaced numbers from `start` to `stop`.

    >>> linspace(0, 1, 5).asnumpy()
    array([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
    """
    op = record.get("_linspace")
    attributes = {
        "start": start,
        "stop": stop,
        "num": num,
        "endpoint": endpoint,
        "dtype": check_dtype("linspace", dtype).name,
    }
    with on("linspace", ctx):
        return apply(op, op.make_attrs(attributes), ())


def eye(N: int, M: int = 0, k: int = 0, ctx: Any = None, dtype: Any = None, **_: Any) -> NDArray:
    """Ones on the k-th diagonal of an N by M matrix.

    >>> eye(2).asnumpy()
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    op = record.get("_eye")
    attributes = {"N": N, "M": M, "k": k, "dtype": check_dtype("eye", dtype).name}
    with on("eye", ctx):
        return apply(op, op.make_attrs(attributes), ())


def concatenate(arrays: Sequence[NDArray], axis: int = 0, always_copy: bool = True) -> NDArray:
    """Join arrays along an axis.

    >>> concatenate([ones(1), zeros(1)]).asnumpy()
    array([1., 0.], dtype=float32)
    """
    check(len(arrays) > 0, "concatenate", "expected at least one array; given none")
    if len(arrays) == 1 and not always_copy:
        return arrays[0]
    return record.get("Concat")(*arrays, dim=axis)


def moveaxis(tensor: NDArray, source: Any, destination: Any) -> NDArray:
    """Move axes to other positions.

    >>> moveaxis(zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    from tigon.ops.signature import moved_axes

    axes = moved_axes("moveaxis", len(tensor.shape), source, destination)
    return record.get("transpose")(tensor, axes=axes)


def histogram(a: NDArray, bins: Any = 10, range: Any = None) -> list[NDArray]:
    """How many elements lie in each of `bins`, a number of bins or an array of edges, and the
    edges. Without a `range` that of the values, which are waited for.

    >>> counts, edges = histogram(array([1, 2, 3]), bins=2, range=(1, 3))
    >>> counts.asnumpy().tolist(), edges.asnumpy().tolist()
    ([1, 2], [1.0, 2.0, 3.0])
    """
    op = record.get("_histogram")
    if isinstance(bins, NDArray):
        return list(apply(op, op.make_attrs({}), (a, bins), None))
    if range is None:  # as in MXNet, numbers of float32 by numpy
        a = tracing.needs_arrays("makes a range of values", a)
        counts, edges = np.histogram(a.asnumpy(), bins)
        return [array(counts), array(edges)]
    attributes = {"bin_cnt": bins, "range": tuple(range)}
    return list(apply(op, op.make_attrs(attributes), (a,), None))


def onehot_encode(indices: NDArray, out: NDArray) -> NDArray:
    """Write into each row of `out` (rows, classes) a 1 at the class in `indices` (rows,) and 0
    elsewhere; the result is `out`. Of a class that there is not, the row is 0.

    >>> onehot_encode(array([1, 0]), out=zeros((2, 3))).asnumpy()
    array([[0., 1., 0.],
           [1., 0., 0.]], dtype=float32)
    """
    check(
        len(out.shape) == 2 and tuple(indices.shape) == tuple(out.shape[:1]),
        "onehot_encode",
        "expected indices (rows,) and out (rows, classes); given "
        f"{tuple(indices.shape)} and {tuple(out.shape)}",
    )
    op = record.get("one_hot")
    attributes = {"depth": out.shape[1], "dtype": as_dtype(out.dtype).name}
    return apply(op, op.make_attrs(attributes), (indices,), out)


def split_v2(
    ary: NDArray, indices_or_sections: Any, axis: int = 0, squeeze_axis: bool = False
) -> list[NDArray]:
    """Split into equal sections, or before each of several indices.

    >>> [part.shape for part in split_v2(zeros((6, 2)), (2, 5))]
    [(2, 2), (3, 2), (1, 2)]
    """
    op = record.get("_split_v2")
    attributes = split_attributes("split_v2", indices_or_sections, axis, squeeze_axis)
    result = apply(op, op.make_attrs(attributes), (ary,))
    return result if isinstance(result, list) else [result]


def waitall() -> None:
    """Return when all that was asked for before is done; an error that nobody has seen is raised
    here. What other threads ask for meanwhile is not waited for."""
    _native.waitall()
