"""What Python adds to the native `NDArray`: indexing, conversions and the operators as methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from importlib import import_module
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import check
from tigon.base.dtypes import BY_CODE, bfloat16, check_dtype, from_memory, numbers_of, numpy_type
from tigon.base.lazy import continued_by, method_on_demand
from tigon.context import Context, check_context, context_of
from tigon.nd.creation import (
    split_v2,
    to_dlpack_for_read,
    to_dlpack_for_write,
)
from tigon.nd.dispatch import NDArray, apply
from tigon.nd.dispatch import run as _run
from tigon.nd.indexing import getitem, index_operand, setitem, slice_assign, write_whole
from tigon.ops import record
from tigon.ops.signature import FLUENT, as_numpy_calls, reshape_arguments, taking_inplace
from tigon.ops.tensor.shape import resolve_shape
from tigon.runtime import counters, tracing
from tigon.runtime.tracing import is_sparse

_TYPES = {code: dtype.numpy.type for code, dtype in BY_CODE.items() if dtype is not bfloat16}
_run_backward = _native.backward

# Names that programs for MXNet import from this file.
py_slice = slice
_STORAGE_TYPE_STR_TO_ID = {"undefined": -1, "default": 0, "row_sparse": 1, "csr": 2}
_STORAGE_TYPE_ID_TO_STR = {number: name for name, number in _STORAGE_TYPE_STR_TO_ID.items()}
_DTYPE_MX_TO_NP: dict[int, type | None] = {-1: None, **_TYPES}
_DTYPE_NP_TO_MX = {kind: code for code, kind in _DTYPE_MX_TO_NP.items()}
_GRAD_REQ_MAP = {"null": 0, "write": 1, "add": 3}


# ------------------------------------------------------------------------- description


def _context(self: NDArray) -> Context:
    """The device of the array."""
    return context_of(self)


def _dtype(self: NDArray) -> type | np.dtype:
    """The element type, as a numpy type."""
    return _TYPES.get(self.dtype_code) or numpy_type(bfloat16)


def _stype(self: NDArray) -> str:
    """How the array is stored: 'default' (dense). Arrays of `nd.sparse` say 'row_sparse' or
    'csr'."""
    return "default"


def _transposed(self: NDArray) -> NDArray:
    """The array with its axes reversed."""
    return self if self.ndim < 2 else _run("transpose", self)


def _repr(self: NDArray) -> str:
    extents = "x".join(map(str, self.shape))
    values = numbers_of(self)
    return f"\n{values!s}\n<NDArray {extents} @{self.context}>"


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
    return numbers_of(self).reshape(())[()]


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


def _repr_html(self: NDArray) -> str:
    """What a notebook shows, which does not wait for what is still computed."""
    from html import escape

    name = f"NDArray {'x'.join(map(str, self.shape))} {BY_CODE[self.dtype_code]} @{self.context}"
    if self.donated:
        return f"<pre>&lt;{name}&gt; its memory was given away</pre>"
    if self.is_pending:
        return f"<pre>&lt;{name}&gt; not computed yet</pre>"
    return f"<pre>{escape(str(self.asnumpy()))}\n&lt;{name}&gt;</pre>"


def _length(self: NDArray) -> int:
    if not self.shape:
        raise TypeError("len() of an array without axes")
    return self.shape[0]


def _iterate(self: NDArray) -> Iterator[NDArray]:
    if not self.shape:
        raise TypeError("iteration over an array without axes")
    return (self[i] for i in range(self.shape[0]))


def _first_single(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Few programs come by: the class is made when they do."""
    kind = import_module("tigon.nd.single").array
    _native.set_numpy_single(kind)
    return kind(shape, dtype)


def _readable(bits: np.ndarray) -> np.ndarray:
    """bfloat16 as an array to compute with: of `ml_dtypes`, or as float32, which says so once."""
    known = numpy_type(bfloat16)
    if isinstance(known, type):
        return bits.view(known)
    values = from_memory(bits, bfloat16)
    counters.fall_back(
        "numpy has no bfloat16, so asnumpy() gives its numbers as float32, which holds them "
        "exactly; install ml_dtypes for arrays of their own dtype"
    )
    if values.size == 1 and values.ndim:
        return values.view(import_module("tigon.nd.single").array)
    return values


def _ufunc(self: NDArray, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
    return import_module("tigon.nd.ufuncs").call(ufunc, method, inputs, keywords)


def _beside(self: NDArray, value: np.ndarray) -> NDArray:
    return import_module("tigon.nd.ufuncs").beside(self, value)


def _contains(self: NDArray, value: Any) -> bool:
    return bool(numbers_of(self == value).any())


def _rebuild(values: np.ndarray, context: Context | None = None) -> NDArray:
    return _native.from_numpy(values, _native.FIRST_CPU if context is None else context.index)


def _reduce(self: NDArray) -> Any:
    return _rebuild, (self.bits_to_numpy(), context_of(self))


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


def copyto(self: NDArray, other: NDArray | Context) -> NDArray:
    """Write the values into another array of the same shape, dense or sparse, or copy to a
    device."""
    if isinstance(other, (Context, list, tuple)):
        return _moved(self, check_context("copyto", other))
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
    if is_sparse(other) or is_sparse(self):
        other[:] = self
    else:
        write_whole(other, self)
    return other


def _as_in_context(self: NDArray, context: Context) -> NDArray:
    """The array on a device: itself, if it is there. Gradients flow back to where it was.

    >>> from tigon import cpu, nd
    >>> nd.ones(2).as_in_context(cpu(1)).context
    cpu(1)
    """
    context = check_context("as_in_context", context)
    return self if self.device_index == context.index else _moved(self, context)


def _moved(self: NDArray, context: Context) -> NDArray:
    """A copy on a device."""
    if is_sparse(self):
        return self.copy().as_in_context(context)
    same = _run("_copyto", self)  # recorded, and in a trace part of it
    return _native.move(same, context.index) if type(same) is NDArray else same


def _tostype(self: NDArray, stype: str) -> NDArray:
    """The array, stored in another way: 'row_sparse' or 'csr'; itself, where that is 'default'.
    Zeros are left out, but while recording those of an array that gradients flow to.

    >>> from tigon import nd
    >>> nd.array([[0, 0], [1, 2]]).tostype("csr").indices.asnumpy()
    array([0, 1])
    """
    if stype == "default":
        return self
    if tracing.active[0]:
        self = tracing.needs_arrays(f"stores an array as {stype}", self)
    return import_module("tigon.nd.stored").from_dense(self, stype)


# ------------------------------------------------------------------------------ shapes


def _reshape(self: NDArray, *shape: Any, **keywords: Any) -> NDArray:
    """The same data in another shape; -1 is inferred, and MXNet's codes 0, -2, -3, -4 hold.

    >>> from tigon import nd
    >>> nd.zeros((2, 3, 4)).reshape((0, -1)).shape, nd.zeros(6).reshape(2, 3).shape
    ((2, 12), (2, 3))
    """
    if tracing.active[0]:
        capture = tracing.capture()
        if capture is not None:  # the symbol knows what shares memory
            return capture(self).reshape(*shape, **keywords)
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
        math.prod(target) == math.prod(source),
        "reshape",
        f"cannot bring {math.prod(source)} elements of shape {source} into shape {target}",
    )
    return target


def _transpose(self: NDArray, *axes: Any, **keywords: Any) -> NDArray:
    """Permute the axes; without arguments, reverse them.

    >>> from tigon import nd
    >>> nd.zeros((2, 3, 4)).transpose((1, 0, 2)).shape
    (3, 2, 4)
    """
    if axes and axes != (None,):
        keywords["axes"] = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    if isinstance(keywords.get("axes"), list):
        keywords["axes"] = tuple(keywords["axes"])
    return _run("transpose", self, **keywords)


# --------------------------------------------------------------------- differentiation


def _attach_grad(self: NDArray, grad_req: str = "write", stype: Any = None) -> None:
    """Give the array a gradient (zeros), which backward fills; with `stype` 'row_sparse' one by
    rows, of which none is there at first."""
    check(
        grad_req in ("write", "add", "null"),
        "attach_grad",
        f"expected grad_req 'write', 'add' or 'null'; given {grad_req!r}",
    )
    check(
        stype in (None, "default", "row_sparse"),
        "attach_grad",
        f"stype: expected 'default' or 'row_sparse'; given {stype!r:.40}",
    )
    if stype == "row_sparse":
        grad = import_module("tigon.nd.stored").gradient_of(self)
    else:
        grad = _native.zeros(self.shape, self.dtype_code, self.device_index)
    self.mark_variable(grad, grad_req)


def _backward(
    self: NDArray,
    out_grad: NDArray | None = None,
    retain_graph: bool = False,
    train_mode: bool = True,
) -> None:
    """Differentiate the recorded computation that made this array; `out_grad` (ones) is its
    cotangent. `train_mode=False` takes the gradient of what would have been computed in prediction;
    otherwise each call has the mode in which it was recorded."""
    _run_backward([self], [out_grad], retain_graph, None, not train_mode)


# -------------------------------------------------------------------------- installing


def install(find: Callable[[str], Callable[..., Any]]) -> None:
    """Complete the native class. `find` gives the functions that are methods, too: the array is
    their first operand."""
    for name in FLUENT:
        method_on_demand.install(NDArray, name, partial(_method, find, name))
    NDArray.split_v2 = split_v2
    _native.set_numpy_single(_first_single)
    _native.set_numpy_bfloat16(_readable)
    _native.set_numpy_operand(_beside)
    for name, method in _METHODS.items():
        setattr(NDArray, name, method)
    for name, getter in _PROPERTIES.items():
        setattr(NDArray, name, property(getter, doc=getter.__doc__))
    NDArray.__doc__ = (
        "An array: values of one type in a regular shape. Made by `nd.array` and its kin; work on "
        "it returns before it is done, and reading a value waits for it."
    )


def _method(find: Callable[[str], Callable[..., Any]], name: str) -> Callable[..., Any]:
    return taking_inplace(name, as_numpy_calls(name, find(name)), lambda _: True)


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
    "_repr_html_": _repr_html,
    "__bool__": _truth,
    "__int__": _as_int,
    "__float__": _as_float,
    "__index__": _as_index,
    "__array__": _as_numpy_protocol,
    "__array_ufunc__": _ufunc,
    "__len__": _length,
    "__iter__": _iterate,
    "__contains__": _contains,
    "__reduce__": _reduce,
    "__copy__": _copy,
    "__deepcopy__": lambda self, memo: self.copy(),
    "__getitem__": getitem,
    "__setitem__": setitem,
    "apply_op": _apply_op,
    "index_operand": index_operand,
    "asscalar": _asscalar,
    "astype": _astype,
    "copy": _copy,
    "copyto": copyto,
    "as_in_context": _as_in_context,
    "as_in_ctx": _as_in_context,
    "to_device": _as_in_context,
    "as_nd_ndarray": lambda self: self,
    "tostype": _tostype,
    "reshape": _reshape,
    "transpose": _transpose,
    "attach_grad": _attach_grad,
    "slice_assign": slice_assign,
    "slice_assign_scalar": slice_assign,
    "to_dlpack_for_read": to_dlpack_for_read,
    "to_dlpack_for_write": to_dlpack_for_write,
    "backward": _backward,
    "tolist": lambda self: numbers_of(self).tolist(),
}

continued_by(globals(), "tigon.nd")
