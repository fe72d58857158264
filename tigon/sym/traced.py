"""Symbols that stand for arrays while a plain `forward(x)` is traced."""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np

from tigon._native import NDArray, set_recording
from tigon.base import TensorType, as_dtype
from tigon.base.dtypes import check_dtype
from tigon.base.errors import user_line
from tigon.base.unread import Unread, number_of
from tigon.context import check_context, current_context
from tigon.ir.graph import VARIABLE, Value, constant, variable
from tigon.ops.indexing_plan import Region, check_value_shape, getitem, is_basic, plan
from tigon.ops.record import get
from tigon.ops.signature import reshape_arguments
from tigon.runtime import tracing
from tigon.sym.compiled import as_array
from tigon.sym.symbol import NotImplementedForSymbol, Symbol, apply
from tigon.sym.traced_number import TracedNumber


class ArraySymbol(Symbol):
    """A symbol that stands for one array while a plain `forward(x)` is traced: `[]`, `len` and
    iteration mean what they mean for the array, and so do writes. Operators on it give its like.

    A write gives the handle a new value, which every name of it sees. What cannot be told in a
    graph makes the trace give way: reading a value, a write to an argument of the block, which its
    caller would see, and a write to an array that shares memory with a slice or a reshape of it."""

    __slots__ = ("_shares", "is_given_up", "stands_for")

    def __init__(self, values: Sequence[Value]) -> None:
        super().__init__(values)
        self._shares = False
        self.is_given_up = False
        """Whether it is an argument that no caller looks at again, so that it may be written to."""
        self.stands_for = None
        trace = tracing.installed().giver
        if trace is not None:
            trace.symbols.append(weakref.ref(self))

    @property
    def __class__(self) -> type:
        """What `isinstance` looks at, too: code asks whether it was given an array."""
        return NDArray

    def _array(self) -> Any:
        """What it stands for where the code runs on arrays; None while it is traced."""
        if self.stands_for is not None:
            return self.stands_for
        trace = tracing.eager()
        return None if trace is None else trace.concrete(self)

    def apply_op(self, op: Any, attrs: Any, operands: Sequence[Any], *names: Any) -> Any:
        """Append an operator, or run it after the trace. Several results are a list."""
        result = super().apply_op(op, attrs, operands, *names)
        many = isinstance(result, Symbol) and len(result._values) > 1
        return list(result) if many else result

    def __getitem__(self, key: Any) -> Symbol:
        if len(self._values) > 1 and isinstance(key, (int, str)):
            return super().__getitem__(key)
        key = _settled(key)
        array = self._array()
        if array is not None:
            return array[key._array() if isinstance(key, ArraySymbol) else key]
        result = getitem(self, key)
        return self._view(result, lambda array: array[key]) if is_basic(key) else result

    def _view(self, result: Any, of: Callable[[Any], Any]) -> Any:
        """`result` shares memory with this array, of whose value `of` gives it. A view of all of it
        is another array, too."""
        if result._values[0] is self._values[0]:
            result = get("_reshape")(self, shape=self.shape)
        self._shares = result._shares = True
        trace = tracing.installed().giver
        if trace is not None:
            trace.view(result, self, of)
        return result

    def reshape(self, *shape: Any, **keywords: Any) -> ArraySymbol:
        """Another shape; the result shares memory with this array."""
        array = self._array()
        if array is not None:
            return array.reshape(*shape, **keywords)
        attributes = reshape_arguments(shape, keywords)
        name = attributes.pop("name", None)
        op = get("Reshape")
        result: Any = apply(op, op.make_attrs(attributes), (self,), name, "reshape")
        return self._view(result, lambda array: array.reshape(*shape, **keywords))

    def index_operand(self, values: np.ndarray) -> Symbol:
        """An index array as a literal of the graph."""
        return type(self)((constant(values, "int64"),))

    def __len__(self) -> int:
        return self.shape[0] if len(self._values) == 1 else len(self._values)

    def __iter__(self) -> Iterator[Symbol]:
        if len(self._values) > 1:
            return super().__iter__()
        return (self[i] for i in range(self.shape[0]))

    def __setitem__(self, key: Any, value: Any) -> None:
        key, value = _settled(key), number_of(value)
        if not self._is_writable() or self._array() is not None:
            array, key, value = self._concrete("x[...] = value", (key, value))
            array[key] = value
            return
        trace = tracing.installed().giver
        if trace is not None and trace.takes_part(self._values[0]):
            array, key, value = self._concrete("x[...] = value while recording", (key, value))
            array[key] = value
            return
        shape = self.shape
        if isinstance(key, ArraySymbol) and key.dtype is np.bool_ and key.shape == shape:
            self._values = get("where")(key, value, self)._values
            return
        found = plan(shape, key)
        if not isinstance(found, Region):
            array, key, value = self._concrete("x[indices] = value", (key, value))
            array[key] = value
            return
        part = value
        if not isinstance(value, (bool, int, float, np.generic)):
            part = get("_cast_like")(self._beside(value), self)
        else:
            filled = get("_full")
            fields = {"shape": (1,), "value": part, "dtype": as_dtype(self.dtype).name}
            part = apply(filled, filled.make_attrs(fields), (), like=type(self))
        if trace is None or not trace.recording or not found.is_view(shape):
            self._write(found, part)
            return
        before = set_recording(False)  # as what is written to a view of an array
        try:
            self._write(found, part)
        finally:
            set_recording(before)

    def _beside(self, value: Any) -> Any:
        """A value to be written; what is no symbol is one of the numbers that the trace holds."""
        capture = tracing.capture()
        if isinstance(value, Symbol) or capture is None:
            return value
        given = np.asarray(value) if isinstance(value, (list, tuple)) else value
        return capture(as_array("x[...] = value", "value", given))

    def _write(self, found: Region, part: Any) -> None:
        check_value_shape(part.shape, found.value_shape)
        extra = len(part.shape) - len(found.value_shape)
        if extra > 0:
            part = get("_reshape")(part, shape=part.shape[extra:])
        part = get("_broadcast")(part, shape=found.value_shape)
        part = get("_reshape")(part, shape=found.extents)
        written = get("_assign_slice")(self, part, start=found.start, step=found.step)
        self._values = written._values

    @property
    def is_comparison(self) -> bool:
        """Whether its zeros and ones are answers, not numbers."""
        return getattr(self._origin().node.op, "answers_truth", False)  # not of a variable

    def _is_writable(self) -> bool:
        own = self.is_given_up or self._origin().node.op is not VARIABLE
        return own and not self._shares

    def _origin(self) -> Value:
        """Its value, or what that was before a decision."""
        value = self._values[0]
        trace = tracing.installed().giver
        if trace is None or value.node.op is not VARIABLE:
            return value
        origin: Value = trace.origin(value)
        return origin

    def _concrete(self, what: str, operands: Sequence[Any] = ()) -> Any:
        """The array that this stands for, with the operands' own, after giving way; an error where
        there is none."""
        if self.stands_for is not None:
            made = tuple(o._array() if isinstance(o, ArraySymbol) else o for o in operands)
            return (self.stands_for, *made) if operands else self.stands_for
        reason = f"it does {what} at {user_line()}, which needs the array itself"
        found = tracing.concrete((self, *operands), reason)
        if isinstance(found[0], ArraySymbol):
            raise NotImplementedForSymbol(what)
        return found if operands else found[0]

    def copy(self) -> Symbol:
        """An array of its own, which may be written to."""
        return get("_copy")(self)

    def __copy__(self) -> Symbol:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Symbol:
        copied = memo[id(self)] = self.copy()
        return copied

    def _update(self, operation: Callable[[Any, Any], Any], what: str, other: Any) -> Any:
        if not self._is_writable() or self._array() is not None:
            array, operand = self._concrete(what, (other,))
            return getattr(array, f"__i{operation.__name__}__")(operand)
        self._values = get("_cast_like")(operation(self, other), self)._values
        return self

    def _assign(self, what: str, value: Any) -> None:
        """`out=` of an operator."""
        if self._is_writable() and self._array() is None:
            self._values = get("_cast_like")(value, self)._values
            return
        array, value = self._concrete(what, (value,))
        array[:] = value

    def _in_place_operand(self) -> Any:
        """The array, for `array += self`."""
        return self._concrete("x += y")

    def __pos__(self) -> Any:
        return self

    # -- what an array has

    @property
    def context(self) -> Any:
        """Where the array is."""
        trace = tracing.installed().giver
        here = None if trace is None else trace.context
        return current_context() if here is None else here

    ctx = device = context

    @property
    def stype(self) -> str:
        return "default"

    def as_in_context(self, context: Any) -> Any:
        """Itself, where it is there; a graph is on one context."""
        context = check_context("as_in_context", context)
        if context == self.context:
            return self
        return self._concrete(f"x.as_in_context({context})").as_in_context(context)

    as_in_ctx = to_device = as_in_context

    def as_nd_ndarray(self) -> Any:
        return self

    def detach(self) -> Any:
        result = get("_detach")(self)
        if not isinstance(result, Symbol):  # after giving way
            return result
        return self._view(result, lambda array: array.detach())

    @property
    def T(self) -> Any:
        """With the axes in reverse order; an array of one axis is itself."""
        return self if len(self.shape) < 2 else get("transpose")(self)

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        wanted = check_dtype("astype", dtype)
        if not copy and wanted is as_dtype(self.dtype):
            return self
        return get("Cast")(self, dtype=wanted.name)

    @property
    def grad(self) -> Any:  # type: ignore[override]
        """The gradient of the array, which it has outside of a graph only."""
        return self._concrete("x.grad").grad

    def __array_ufunc__(  # type: ignore[override]
        self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any
    ) -> Any:
        return NDArray.__array_ufunc__(self, ufunc, method, *inputs, **keywords)

    def __format__(self, specification: str) -> str:
        if not specification:
            return str(self)
        what = f"format(x, {specification!r})"
        found = self._decide("bits", what, lambda array: format(array, specification))
        if found is not NotImplemented:
            return str(found)
        return format(self._concrete(what), specification)

    def _decide(self, kind: str, what: str, read: Callable[[Any], Any]) -> Any:
        """What is read of the value, if it can decide how the code goes on."""
        if self.stands_for is not None:
            return NotImplemented
        return tracing.decide(self, kind, what, read)

    def asscalar(self) -> Any:
        """The one element as a numpy scalar; what is compared with it decides."""
        return self._number("asscalar", as_dtype(self.dtype).numpy.type)

    def item(self, *index: Any) -> Any:
        """The one element as a Python number; what is compared with it decides."""
        kind = type(as_dtype(self.dtype).numpy.type(0).item())
        return self._read("x.item()", "item", index, {}) if index else self._number("item", kind)

    def _number(self, name: str, kind: type) -> Any:
        trace = tracing.installed().giver
        alone = len(self._values) == 1 and math.prod(self.shape) == 1
        if alone and self._array() is None and trace is not None and trace.may_give_number():
            return TracedNumber(self, name, kind)
        return self._read_number(name)

    def _read_number(self, name: str) -> Any:
        """The same, read at once: each value is a path of its own."""
        what = f"x.{name}()"
        found = self._decide("bits", what, lambda array: getattr(array, name)())
        return self._read(what, name, (), {}) if found is NotImplemented else found

    def _read(self, what: str, name: str, arguments: Any, keywords: Any) -> Any:
        array, arguments, keywords = self._concrete(what, (arguments, keywords))
        return getattr(array, name)(*arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        """What arrays have and symbols do not."""
        if name.startswith("_") or not hasattr(NDArray, name):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return getattr(self._concrete(f"x.{name}"), name)


def _settled(key: Any) -> Any:
    """A key with numbers where what stands for them says which slices and elements are meant."""
    if type(key) is tuple:
        return tuple(map(_settled, key))
    if isinstance(key, slice):
        return slice(*[_bound(end) for end in (key.start, key.stop, key.step)])
    return number_of(key)


def _bound(given: Any) -> Any:
    return operator.index(given) if isinstance(given, (ArraySymbol, Unread)) else given


_DECIDES = {
    "__bool__": "truth",
    "__int__": "integer",
    "__index__": "integer",
    "__float__": "bits",
    "__complex__": "bits",
    "__array__": "bits",
    "asnumpy": "bits",
    "tolist": "bits",
}
"""Methods that read values, which then decide how the code goes on: what is told apart."""

_READS = (
    "wait_to_read wait_to_write backward attach_grad copyto "
    "__contains__ __reduce__ __dlpack__ __dlpack_device__"
)
"""Methods that need the array itself."""


def _install_read(name: str) -> None:
    what = f"{name[2:-2]}(x)" if name.startswith("__") else f"x.{name}()"
    decides = _DECIDES.get(name)

    def method(self: ArraySymbol, *arguments: Any, **keywords: Any) -> Any:
        if decides is not None:
            found = self._decide(
                decides, what, lambda array: getattr(array, name)(*arguments, **keywords)
            )
            if found is not NotImplemented:
                return found
        return self._read(what, name, arguments, keywords)

    method.__name__ = name
    setattr(ArraySymbol, name, method)


for _name in (*_DECIDES, *_READS.split()):
    if hasattr(NDArray, _name):
        _install_read(_name)


_IN_PLACE = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
}


def _install_update(name: str, sign: str) -> None:
    operation = getattr(operator, name)

    def method(self: ArraySymbol, other: Any) -> Any:
        return self._update(operation, f"x {sign}= y", other)

    method.__name__ = f"__i{name}__"
    setattr(ArraySymbol, method.__name__, method)


for _name, _sign in _IN_PLACE.items():
    _install_update(_name, _sign)


def name_beside(taken: Collection[str], name: str) -> str:
    """The name for a variable, with `_` behind it where others are called so."""
    while name in taken:
        name += "_"
    return name


def traced_variable(name: str, type: TensorType | None, array: bool = False) -> Symbol:
    """A variable whose type is known, for tracing; `array` gives it an array's `[]`."""
    return (ArraySymbol if array else Symbol)((variable(name, type),))
