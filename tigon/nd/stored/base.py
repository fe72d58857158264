"""What sparse arrays have in common: they are handles over several dense ones.

Operators see the parts (`operators.py`). Which rows or elements there are is known on the host, so
what needs to know it waits for these numbers, never for the values.
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from tigon import _native
from tigon.base import as_dtype, check
from tigon.base.dtypes import check_dtype, numbers_of
from tigon.context import Context, check_context, context_of
from tigon.nd.creation import array as dense_array
from tigon.nd.dispatch import NDArray
from tigon.nd.ndarray import copyto
from tigon.ops import record
from tigon.ops.signature import FLUENT
from tigon.program.operators import SLOTS
from tigon.runtime import tracing
from tigon.runtime.tracing import densified, is_sparse

Dense = Any
"""An array that holds all its elements: the native class, as it was completed."""

STORAGES: dict[str, Any] = {}
"""By name, the classes of sparse arrays."""


def index_array(values: Any, device: int = _native.FIRST_CPU) -> Dense:
    """Numbers of rows or columns, on a device."""
    return _native.from_numpy(np.ascontiguousarray(values, np.int64), device)


def stype_of(array: Any) -> str:
    """How an array is stored; of numbers and other things, 'default'."""
    return "default" if type(array) is NDArray else getattr(array, "stype", "default")


def takes_part(array: Dense) -> bool:
    """Whether a gradient of it may be asked for."""
    return bool(array.has_tape or array.grad_req != "null")


def keeps_zeros(array: Dense) -> bool:
    """Whether a conversion has to keep what is zero: what is left out has no gradient, and the
    slope of what comes later need not be zero there."""
    return bool(_native.is_recording()) and takes_part(array)


_handler: list[Callable[..., Any]] = []


def handles_operators(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let this function run what is given sparse operands."""
    _handler[:] = [function]
    return function


def check_stype(where: str, stype: Any) -> None:
    check(
        stype == "default" or stype in STORAGES,
        where,
        f"stype: expected one of {', '.join(map(repr, ('default', *STORAGES)))}; given "
        f"{stype!r:.40}",
    )


def from_dense(array: Dense, stype: str) -> Any:
    """A dense array with its rows, or elements, of zeros left out. Waits for the numbers."""
    check_stype("tostype", stype)
    return array if stype == "default" else STORAGES[stype].of(array)


class BaseSparseNDArray:
    """What sparse arrays have in common. They are NDArrays, as `isinstance` tells; operators that
    know no sparse operands take them as dense ones, which a notice says once."""

    stype: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        STORAGES[cls.stype] = cls

    __array_priority__ = 1001.0
    __array_ufunc__ = None
    __hash__ = object.__hash__

    def __init__(self, shape: tuple[int, ...], code: int, device: int) -> None:
        self._shape, self.dtype_code, self.device_index = shape, code, device
        self.version = 1
        """Counts what is written, as of dense arrays."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """What `isinstance` looks at, too."""
        return NDArray

    # -- what it is

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents of the whole array."""
        return self._shape

    @property
    def ndim(self) -> int:
        return len(self._shape)

    @property
    def size(self) -> int:
        """The elements of the whole array."""
        return int(np.prod(self._shape, dtype=np.int64))

    @property
    def dtype(self) -> Any:
        return self.data.dtype

    @property
    def context(self) -> Context:
        return context_of(self)  # type: ignore[arg-type]

    ctx = device = context

    @property
    def data(self) -> Dense:
        """What is stored."""
        raise NotImplementedError

    @property
    def indices(self) -> Dense:
        """int64: where that stands."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """Of what is stored."""
        raise NotImplementedError

    @property
    def grad(self) -> Any:
        return None

    grad_req, has_tape, donated = "null", False, False

    def __repr__(self) -> str:
        extents = "x".join(map(str, self.shape))
        return f"\n<{type(self).__name__} {extents} @{self.context}>"

    def __len__(self) -> int:
        return self.shape[0]

    # -- conversions

    @classmethod
    def of(cls, array: Dense) -> Any:
        """A dense array, stored so. Waits for its numbers."""
        raise NotImplementedError

    @classmethod
    def with_nothing(cls, shape: tuple[int, ...], code: int, device: int) -> Any:
        """Zeros, of which none is stored."""
        raise NotImplementedError

    def tostype(self, stype: str) -> Any:
        """The same array, stored in another way: 'default', 'row_sparse' or 'csr'; itself, if it
        is stored so."""
        check_stype("tostype", stype)
        if stype == self.stype:
            return self
        whole = self._whole()
        return whole if stype == "default" else from_dense(whole, stype)

    def todense(self) -> Dense:
        """The array with all its elements."""
        return self.tostype("default")

    def _whole(self) -> Dense:
        raise NotImplementedError

    def asnumpy(self) -> np.ndarray:
        """All elements, as a numpy array."""
        return self._whole().asnumpy()

    def bits_to_numpy(self) -> np.ndarray:
        return self._whole().bits_to_numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._whole().__array__(dtype, copy)

    def asscalar(self) -> Any:
        """The one element as a numpy scalar."""
        return self._whole().asscalar()

    def tolist(self) -> Any:
        return numbers_of(self._whole()).tolist()

    def __bool__(self) -> bool:
        return bool(self._whole())

    def __float__(self) -> float:
        return float(self._whole())

    def __int__(self) -> int:
        return int(self._whole())

    # -- copies

    def _like(self, change: Callable[[Dense], Dense]) -> Any:
        """An array with the same elements stored, changed."""
        raise NotImplementedError

    def copy(self) -> Any:
        """A copy with memory of its own."""
        return self._like(lambda values: values.copy())

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def detach(self) -> Any:
        """The same array without history."""
        return self._like(lambda values: values.detach())

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """The array in another element type; itself if `copy=False` and the type is the same.

        >>> from tigon import nd
        >>> nd.sparse.zeros("csr", (2, 2)).astype("float64").dtype
        <class 'numpy.float64'>
        """
        if not copy and check_dtype("astype", dtype).code == self.dtype_code:
            return self
        return self._like(lambda values: values.astype(dtype))

    def as_in_context(self, context: Any) -> Any:
        """The array on a device; itself, if it is there."""
        context = check_context("as_in_context", context)
        if self.device_index == context.index:
            return self
        return self._of_parts([part.as_in_context(context) for part in self._parts()])

    as_in_ctx = to_device = as_in_context

    copyto = copyto

    def as_nd_ndarray(self) -> Any:
        return self

    # -- waiting

    def wait_to_read(self) -> None:
        """Return when the data is there."""
        for part in self._parts():
            part.wait_to_read()

    def _parts(self) -> Sequence[Dense]:
        raise NotImplementedError

    def _of_parts(self, parts: Sequence[Dense]) -> Any:
        """The same array of other arrays: copies of its parts."""
        raise NotImplementedError

    @property
    def is_pending(self) -> bool:
        return any(part.is_pending for part in self._parts())

    # -- writing

    def __setitem__(self, key: Any, value: Any) -> None:
        """`x[:] = value`: an array of this shape, dense or sparse, or 0."""
        tracing.needs_arrays("overwrites a sparse array")
        check(
            key is Ellipsis or (isinstance(key, slice) and key == slice(None)),
            f"{type(self).__name__}[...] = value",
            f"expected [:]; given [{key!r:.40}]; write to tostype('default') and convert it",
        )
        if is_sparse(value):
            found = value.astype(as_dtype(self.dtype), copy=value.stype == self.stype)
        elif isinstance(value, (int, float, np.generic)) and value == 0:
            found = self.with_nothing(self.shape, self.dtype_code, self.device_index)
        elif isinstance(value, (int, float, np.generic)):
            found = _native.zeros(self.shape, self.dtype_code, self.device_index)
            found[:] = value
        else:
            found = dense_array(value, self.context, self.dtype)
        check(
            found.shape == self.shape,
            f"{type(self).__name__}[:] = value",
            f"expected shape {self.shape}; given {found.shape}",
        )
        self._take_over(found.as_in_context(self.context).tostype(self.stype))
        self.version += 1

    def _take_over(self, other: Any) -> None:
        raise NotImplementedError

    # -- operators

    def _in_place_operand(self) -> Dense:
        """The dense array, for `array += self`: what is overwritten stays dense."""
        return densified(self, "an operator in place")

    def backward(
        self, out_grad: Any = None, retain_graph: bool = False, train_mode: bool = True
    ) -> None:
        """Differentiate the recorded computation that made this array, as of dense arrays."""
        autograd = import_module("tigon.autograd")
        autograd.backward([self], [out_grad], retain_graph, train_mode)

    def apply_op(self, op: Any, attrs: Any, operands: Sequence[Any]) -> Any:
        return self.apply_stored(op, attrs, operands, None)

    def apply_stored(self, op: Any, attrs: Any, operands: Sequence[Any], out: Any) -> Any:
        """Run an operator, of whose operands some are sparse."""
        return _handler[0](op, attrs, operands, out)

    def attach_grad(self, grad_req: str = "write", stype: Any = None) -> None:
        """Refused but of row-sparse arrays."""
        check(
            False,
            "attach_grad",
            f"expected a dense or a row-sparse array; given {self.stype}, which gradients do not "
            "flow to; attach it to tostype('default')",
        )


def _operator(name: str, reverse: bool) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, (NDArray, int, float, np.generic)):
            return NotImplemented
        op = record.get(name)
        given = (other, self) if reverse else (self, other)
        return self.apply_op(op, op.make_attrs({}), given)

    return method


_BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
}
"""Python's methods, and what `SLOTS` calls them."""


def _unary(name: str) -> Callable[[Any], Any]:
    def method(self: Any) -> Any:
        op = record.get(name)
        return self.apply_op(op, op.make_attrs({}), (self,))

    return method


def _in_place(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        self[:] = function(self, other)
        return self

    return method


def _fluent(name: str) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any, **keywords: Any) -> Any:
        return getattr(import_module("tigon.nd"), name)(self, *arguments, **keywords)

    method.__name__ = name
    return method


for _name, _slot in _BINARY.items():
    setattr(BaseSparseNDArray, f"__{_name}__", _operator(SLOTS[_slot], False))
    setattr(BaseSparseNDArray, f"__r{_name}__", _operator(SLOTS[_slot], True))
    setattr(BaseSparseNDArray, f"__i{_name}__", _in_place(getattr(python, _name)))
for _name, _reverse in (("matmul", False), ("rmatmul", True)):  # `dot` works on what is stored
    setattr(BaseSparseNDArray, f"__{_name}__", _operator("dot", _reverse))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(BaseSparseNDArray, f"__{_name}__", _operator(SLOTS[_name], False))
for _name, _slot in {"neg": "negative", "abs": "absolute"}.items():
    setattr(BaseSparseNDArray, f"__{_name}__", _unary(SLOTS[_slot]))
for _name in (*FLUENT, "reshape", "transpose"):
    setattr(BaseSparseNDArray, _name, _fluent(_name))
setattr(BaseSparseNDArray, "T", property(lambda self: self.transpose()))  # noqa: B010
