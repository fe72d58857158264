"""What Python adds to the native `NDArray`: indexing, conversions and the operators as methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import DType, TigonError, check
from tigon.base.dtypes import BY_CODE
from tigon.context import Context, check_context, cpu
from tigon.nd.creation import (
    array,
    check_dtype,
    to_dlpack_for_read,
    to_dlpack_for_write,
)
from tigon.nd.dispatch import NDArray, apply
from tigon.nd.dispatch import run as _run
from tigon.ops import indexing_plan as indexing
from tigon.ops import record
from tigon.ops.indexing_plan import Gathering, Region
from tigon.ops.signature import FLUENT, reshape_arguments
from tigon.ops.views import resolve_shape
from tigon.runtime import tracing

_TYPES = {code: dtype.numpy.type for code, dtype in BY_CODE.items()}


# ------------------------------------------------------------------------- description


def _context(self: NDArray) -> Context:
    """The device of the array."""
    return cpu(0)


def _dtype(self: NDArray) -> type:
    """The element type, as a numpy type."""
    return _TYPES[self.dtype_code]


def _stype(self: NDArray) -> str:
    """How the array is stored: always 'default' (dense)."""
    return "default"


def _transposed(self: NDArray) -> NDArray:
    """The array with its axes reversed."""
    return self if self.ndim < 2 else _run("transpose", self)


def _repr(self: NDArray) -> str:
    extents = "x".join(map(str, self.shape))
    return f"\n{self.asnumpy()!s}\n<NDArray {extents} @{self.context}>"


def _format(self: NDArray, specification: str) -> str:
    if specification and self.size == 1:
        return format(self.item(), specification)
    return format(str(self), specification)


# ------------------------------------------------------------------- to Python and numpy


def _asscalar(self: NDArray) -> Any:
    """The one element as a numpy scalar."""
    check(
        self.size == 1,
        "asscalar",
        f"expected an array of one element; given shape {self.shape}; use asnumpy()",
    )
    return self.asnumpy().reshape(())[()]


def _truth(self: NDArray) -> bool:
    check(
        self.size <= 1,
        "bool",
        f"the truth value of an array of shape {self.shape} is ambiguous; "
        "compare one element, or use (x != 0).sum()",
    )
    return bool(self.item()) if self.size else False


def _as_int(self: NDArray) -> int:
    return int(_single(self, "int"))


def _as_float(self: NDArray) -> float:
    return float(_single(self, "float"))


def _single(self: NDArray, conversion: str) -> Any:
    if self.size != 1:
        raise TypeError(
            f"{conversion}: only arrays of one element convert to a Python number; "
            f"given shape {self.shape}"
        )
    return self.item()


def _as_index(self: NDArray) -> int:
    if self.size != 1 or BY_CODE[self.dtype_code].is_float:
        raise TypeError(
            "index: only integer arrays of one element can be an index; "
            f"given {BY_CODE[self.dtype_code]} of shape {self.shape}"
        )
    return int(self.item())


def _as_numpy_protocol(self: NDArray, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    if copy is False:
        raise ValueError("an NDArray becomes a numpy array by a copy only; use np.from_dlpack")
    values = self.asnumpy()
    return values if dtype is None else values.astype(dtype, copy=False)


def _length(self: NDArray) -> int:
    if not self.shape:
        raise TypeError("len() of an array without axes")
    return self.shape[0]


def _iterate(self: NDArray) -> Iterator[NDArray]:
    if not self.shape:
        raise TypeError("iteration over an array without axes")
    return (self[i] for i in range(self.shape[0]))


def _contains(self: NDArray, value: Any) -> bool:
    return bool((self == value).asnumpy().any())


def _rebuild(values: np.ndarray) -> NDArray:
    return _native.from_numpy(values)


def _reduce(self: NDArray) -> Any:
    return _rebuild, (self.asnumpy(),)


# ---------------------------------------------------------------------------- copies


def _astype(self: NDArray, dtype: Any, copy: bool = True) -> NDArray:
    """The array in another element type; a copy unless `copy=False` and the type is the same.

    >>> from tigon import nd
    >>> nd.array([1.5]).astype("int32").asnumpy()
    array([1], dtype=int32)
    """
    wanted = check_dtype("astype", dtype)
    if wanted.code == self.dtype_code:
        return self.copy() if copy else self
    return _run("Cast", self, dtype=wanted.name)


def _copy(self: NDArray) -> NDArray:
    """A copy with memory of its own."""
    return _run("_copy", self)


def _copyto(self: NDArray, other: NDArray | Context) -> NDArray:
    """Write the values into another array of the same shape, or copy to a device."""
    if isinstance(other, Context):
        check_context("copyto", other)
        return self.copy()
    check(
        isinstance(other, NDArray),
        "copyto",
        f"expected an NDArray or a Context; given {type(other).__name__}",
    )
    check(
        other.shape == self.shape,
        "copyto",
        f"expected a target of shape {self.shape}; given {other.shape}; use target[:] = source",
    )
    if other is self:
        return other
    _write_whole(other, self)
    return other


def _as_in_context(self: NDArray, context: Context) -> NDArray:
    """The array on a device: itself, since all arrays are in the processor's memory."""
    check_context("as_in_context", context)
    return self


def _tostype(self: NDArray, stype: str) -> NDArray:
    """Another storage: only 'default' exists."""
    check(stype == "default", "tostype", f"expected 'default'; given '{stype}'; arrays are dense")
    return self


# ------------------------------------------------------------------------------ shapes


def _reshape(self: NDArray, *shape: Any, **keywords: Any) -> NDArray:
    """The same data in another shape; -1 is inferred, and MXNet's codes 0, -2, -3, -4 hold.

    >>> from tigon import nd
    >>> nd.zeros((2, 3, 4)).reshape((0, -1)).shape, nd.zeros(6).reshape(2, 3).shape
    ((2, 12), (2, 3))
    """
    own = self.shape
    try:
        target = _target_shape(own, shape, tuple(keywords.items()))
    except TypeError:  # lists do not hash
        target = _target_shape.__wrapped__(own, shape, tuple(keywords.items()))
    if _native.is_recording() or tracing.active[0]:
        return _run("_reshape", self, shape=target)
    return self.view(0, target)


@lru_cache(maxsize=4096)
def _target_shape(
    source: tuple[int, ...], shape: tuple[Any, ...], keywords: tuple[tuple[str, Any], ...]
) -> tuple[int, ...]:
    attributes = reshape_arguments(shape, dict(keywords))
    target = resolve_shape(source, record.get("Reshape").make_attrs(attributes))
    check(
        prod(target) == prod(source),
        "reshape",
        f"cannot bring {prod(source)} elements of shape {source} into shape {target}",
    )
    return target


def _transpose(self: NDArray, *axes: Any, **keywords: Any) -> NDArray:
    """Permute the axes; without arguments, reverse them.

    >>> from tigon import nd
    >>> nd.zeros((2, 3, 4)).transpose((1, 0, 2)).shape
    (3, 2, 4)
    """
    if axes:
        keywords["axes"] = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    return _run("transpose", self, **keywords)


# ---------------------------------------------------------------------------- indexing


def _index_operand(self: NDArray, values: np.ndarray) -> NDArray:
    return _native.from_numpy(np.ascontiguousarray(values, np.int64))


def _getitem(self: NDArray, key: Any) -> NDArray:
    """Basic slices share memory where they are contiguous; index arrays copy.

    >>> from tigon import nd
    >>> x = nd.arange(6).reshape((2, 3))
    >>> x[1].asnumpy(), x[:, 1].asnumpy(), x[0, 2].shape
    (array([3., 4., 5.], dtype=float32), array([1., 4.], dtype=float32), (1,))
    """
    if type(key) is int and not _native.is_recording():
        shape = self.shape
        if shape and -shape[0] <= key < shape[0]:
            row = shape[1:]
            return self.view(key % shape[0] * (self.size // shape[0]), row or (1,))
    found = _plan(self.shape, key)
    if isinstance(found, Region):
        if not _native.is_recording():
            offset = found.offset(self.shape)
            if offset is not None:
                return self.view(offset, found.shape)
        elif found.covers(self.shape) and found.shape == self.shape:
            return self
        return _take_region(self, found)
    return indexing.getitem(self, key)


def _where(condition: NDArray, x: Any, y: Any, out: Any = None) -> NDArray:
    op = record.get("where")
    return apply(op, op.make_attrs({}), (condition, x, y), out)


def _take_region(self: NDArray, region: Region) -> NDArray:
    if not region.covers(self.shape):
        self = _run("_slice", self, start=region.start, step=region.step, extents=region.extents)
    return self if region.shape == region.extents else _run("_reshape", self, shape=region.shape)


_plans: dict[Any, Region] = {}


def _plan(shape: tuple[int, ...], key: Any) -> Region | Gathering:
    """The meaning of a key; that of integers and slices is remembered."""
    parts = []
    for entry in key if type(key) is tuple else (key,):
        if type(entry) is slice:
            parts.append((entry.start, entry.stop, entry.step))
        elif type(entry) is int or entry is None or entry is Ellipsis:
            parts.append(entry)
        else:
            return indexing.plan(shape, key)
    remembered = (shape, *parts)
    try:
        found = _plans.get(remembered)
    except TypeError:  # bounds that do not hash
        return indexing.plan(shape, key)
    if found is None:
        if len(_plans) > 10_000:
            _plans.clear()
        found = indexing.plan(shape, key)
        assert isinstance(found, Region)
        _plans[remembered] = found
    return found


def _setitem(self: NDArray, key: Any, value: Any) -> None:
    """Overwrite a part of the array. The array stays the same object.

    >>> from tigon import nd
    >>> x = nd.zeros((2, 2))
    >>> x[:, 0] = 1
    >>> x[1] = nd.array([5, 6])
    >>> x.asnumpy().tolist()
    [[1.0, 0.0], [5.0, 6.0]]
    """
    _check_writable(self)
    if isinstance(key, NDArray) and key.dtype is np.bool_ and key.shape == self.shape:
        if _is_number(value) or value.size == 1:
            operand = value if _is_number(value) else _lift(value, self).reshape((1,))
            _where(key, operand, self, out=self)
            return
    found = _plan(self.shape, key)
    if isinstance(found, Region):
        _write_region(self, found, value)
    else:
        _write_gathered(self, found, value)


def _check_writable(self: NDArray) -> None:
    if tracing.active[0] and tracing.capture() is not None:
        raise TigonError(
            "x[...] = value: an NDArray is overwritten while the program is traced, which would "
            "happen once and not at every call; make it with nd.zeros inside the block, or do not "
            "hybridize this block"
        )
    if _native.is_recording() and (self.has_tape or self.grad_req != "null"):
        raise TigonError(
            "x[...] = value: expected an array outside of the recorded computation; given one "
            "that takes part in it, and an assignment cannot be differentiated; assign before "
            "autograd.record(), or use where"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, bool, np.generic))


def _lift(value: Any, like: NDArray) -> NDArray:
    """A value to be written, as an array of the target's dtype."""
    if isinstance(value, NDArray):
        if value.dtype_code == like.dtype_code:
            return value
        return _run("Cast", value, dtype=BY_CODE[like.dtype_code].name)
    return array(value, dtype=BY_CODE[like.dtype_code])


def _fit(value: NDArray, shape: tuple[int, ...]) -> NDArray:
    """Broadcast a value to the region it is written to."""
    if value.shape == shape:
        return value
    indexing.check_value_shape(value.shape, shape)
    if len(value.shape) > len(shape):
        value = _run("_reshape", value, shape=value.shape[len(value.shape) - len(shape) :])
    return value if value.shape == shape else _run("_broadcast", value, shape=shape)


def _write_whole(target: NDArray, value: Any) -> None:
    if _is_number(value):
        dtype = BY_CODE[target.dtype_code]
        _run("_full", out=target, shape=target.shape, dtype=dtype.name, value=_number(value, dtype))
    elif isinstance(value, np.ndarray) and value.shape == target.shape:
        target.copy_from_numpy(value.astype(BY_CODE[target.dtype_code].numpy, order="C"))
    elif isinstance(value, NDArray) and value.shape == target.shape:
        if value.dtype_code == target.dtype_code:
            _run("_copy", value, out=target)
        else:
            _run("Cast", value, out=target, dtype=BY_CODE[target.dtype_code].name)
    else:
        lifted = _lift(value, target)
        indexing.check_value_shape(lifted.shape, target.shape)
        if len(lifted.shape) > len(target.shape):
            lifted = _run("_reshape", lifted, shape=lifted.shape[-len(target.shape) :] or (1,))
        _run("_broadcast", lifted, out=target, shape=target.shape)


def _number(value: Any, dtype: DType) -> Any:
    """A number for an array of this dtype; integers drop what is behind the point."""
    if isinstance(value, np.generic):
        value = value.item()
    return int(value) if dtype.is_integer else value


def _write_region(self: NDArray, region: Region, value: Any) -> None:
    if not all(region.extents):
        return
    offset = region.offset(self.shape)
    if offset is not None:
        whole = offset == 0 and region.value_shape == self.shape
        _write_whole(self if whole else self.view(offset, region.value_shape), value)
        return
    if _is_number(value):
        dtype = BY_CODE[self.dtype_code]
        part = _run("_full", shape=region.extents, dtype=dtype.name, value=_number(value, dtype))
    else:
        part = _fit(_lift(value, self), region.value_shape)
        if part.shape != region.extents:
            part = _run("_reshape", part, shape=region.extents)
    _run("_assign_slice", self, part, out=self, start=region.start, step=region.step)


def _write_gathered(self: NDArray, gathering: Gathering, value: Any) -> None:
    """Rows chosen by index arrays are cleared and the new ones added; of several writes to one
    row the last one counts, as in numpy."""
    region = gathering.region
    base = indexing.take_region(self, region)  # new axes in, slices applied
    axes = gathering.axes
    sizes = [base.shape[axis] for axis in axes]
    indices = np.broadcast_arrays(*indexing.host_indices(gathering))
    index_shape = indices[0].shape
    rows = np.ravel_multi_index(indices, sizes).ravel() if indices[0].size else np.zeros(0, int)
    rest = [axis for axis in range(base.ndim) if axis not in axes]
    rest_shape = tuple(base.shape[axis] for axis in rest)
    count = int(np.prod(sizes))
    kept = indexing.last_writes(rows)
    chosen = self.index_operand(rows[kept])
    values = _value_rows(self, gathering, value, index_shape, rest_shape)
    if len(kept) != len(rows):
        values = _run("take", values, self.index_operand(kept), axis=0)
    moved = _run(
        "_reshape", _run("transpose", base, axes=(*axes, *rest)), shape=(count, *rest_shape)
    )
    zeros = _run("_full", shape=(count,), dtype="float32", value=0)
    ones = _run("_full", shape=(len(kept),), dtype="float32", value=1)
    hit = _run("_scatter_add", zeros, chosen, ones, axis=0)
    hit = _run("_reshape", hit, shape=(count,) + (1,) * len(rest_shape))
    cleared = _where(hit, 0, moved)
    written = _run("_scatter_add", cleared, chosen, values, axis=0)
    written = _run("_reshape", written, shape=(*sizes, *rest_shape))
    back = np.argsort([*axes, *rest])
    written = _run("transpose", written, axes=tuple(int(axis) for axis in back))
    written = _run("_reshape", written, shape=region.extents)
    if region.covers(self.shape):
        _run("_copy", written, out=self)
    else:
        _run("_assign_slice", self, written, out=self, start=region.start, step=region.step)


def _value_rows(
    self: NDArray,
    gathering: Gathering,
    value: Any,
    index_shape: tuple[int, ...],
    rest_shape: tuple[int, ...],
) -> NDArray:
    """The value as (number of indices, rest...)."""
    ahead = gathering.axes[0] if gathering.adjacent else 0
    own = len(index_shape)
    shape = (*rest_shape[:ahead], *index_shape, *rest_shape[ahead:])
    count = int(np.prod(index_shape))
    if _is_number(value):
        dtype = BY_CODE[self.dtype_code]
        return _run(
            "_full", shape=(count, *rest_shape), dtype=dtype.name, value=_number(value, dtype)
        )
    fitted = _fit(_lift(value, self), shape)
    if ahead:
        order = (*range(ahead, ahead + own), *range(ahead), *range(ahead + own, len(shape)))
        fitted = _run("transpose", fitted, axes=order)
    return _run("_reshape", fitted, shape=(count, *rest_shape))


def _slice_assign(
    self: NDArray, rhs: Any, begin: Sequence[int], end: Sequence[int], step: Sequence[int] = ()
) -> NDArray:
    """Overwrite the region from `begin` to `end` in place; returns the array."""
    parts = zip(begin, end, step or (None,) * len(begin), strict=True)
    self[tuple(slice(*part) for part in parts)] = rhs
    return self


# --------------------------------------------------------------------- differentiation


def _attach_grad(self: NDArray, grad_req: str = "write", stype: Any = None) -> None:
    """Give the array a gradient (zeros), which backward fills."""
    check(
        grad_req in ("write", "add", "null"),
        "attach_grad",
        f"expected grad_req 'write', 'add' or 'null'; given {grad_req!r}",
    )
    grad = _native.empty(self.shape, self.dtype_code)
    if tracing.active[0]:  # parameters are initialized in the middle of a trace
        grad.copy_from_numpy(np.zeros(self.shape, self.dtype))
    else:
        _write_whole(grad, 0)
    self.mark_variable(grad, grad_req)


def _backward(
    self: NDArray,
    out_grad: NDArray | None = None,
    retain_graph: bool = False,
    train_mode: bool = True,
) -> None:
    """Differentiate the recorded computation that made this array; `out_grad` (ones) is its
    cotangent."""
    _native.backward([self], [out_grad], retain_graph)


# -------------------------------------------------------------------------- installing


def install(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Complete the native class."""
    for name in FLUENT:
        if name in functions:
            setattr(NDArray, name, _method(functions[name], name))
    for name, method in _METHODS.items():
        setattr(NDArray, name, method)
    for name, getter in _PROPERTIES.items():
        setattr(NDArray, name, property(getter, doc=getter.__doc__))
    NDArray.__doc__ = (
        "An array: values of one type in a regular shape. Made by `nd.array` and its kin; work on "
        "it returns before it is done, and reading a value waits for it."
    )


def _method(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def method(self: NDArray, *arguments: Any, **keywords: Any) -> Any:
        return function(self, *arguments, **keywords)

    method.__name__ = name
    method.__qualname__ = f"NDArray.{name}"
    method.__doc__ = function.__doc__
    return method


def _apply_op(self: NDArray, op: Any, attrs: Any, operands: Sequence[Any]) -> Any:
    return apply(op, attrs, operands)


_PROPERTIES: dict[str, Callable[..., Any]] = {
    "context": _context,
    "ctx": _context,
    "device": _context,
    "dtype": _dtype,
    "stype": _stype,
    "T": _transposed,
}

_METHODS: dict[str, Any] = {
    "__repr__": _repr,
    "__str__": _repr,
    "__format__": _format,
    "__bool__": _truth,
    "__int__": _as_int,
    "__float__": _as_float,
    "__index__": _as_index,
    "__array__": _as_numpy_protocol,
    "__len__": _length,
    "__iter__": _iterate,
    "__contains__": _contains,
    "__reduce__": _reduce,
    "__copy__": _copy,
    "__deepcopy__": lambda self, memo: self.copy(),
    "__getitem__": _getitem,
    "__setitem__": _setitem,
    "apply_op": _apply_op,
    "index_operand": _index_operand,
    "asscalar": _asscalar,
    "astype": _astype,
    "copy": _copy,
    "copyto": _copyto,
    "as_in_context": _as_in_context,
    "as_in_ctx": _as_in_context,
    "to_device": _as_in_context,
    "as_nd_ndarray": lambda self: self,
    "tostype": _tostype,
    "reshape": _reshape,
    "transpose": _transpose,
    "attach_grad": _attach_grad,
    "slice_assign": _slice_assign,
    "slice_assign_scalar": _slice_assign,
    "to_dlpack_for_read": to_dlpack_for_read,
    "to_dlpack_for_write": to_dlpack_for_write,
    "backward": _backward,
    "tolist": lambda self: self.asnumpy().tolist(),
}
