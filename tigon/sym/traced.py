"""Symbols that stand for arrays while a plain `forward(x)` is traced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tigon.base import TensorType, TigonError
from tigon.base.errors import user_line
from tigon.ir.graph import VARIABLE, Value, constant, variable
from tigon.ops.indexing_plan import Region, check_value_shape, getitem, is_basic, plan
from tigon.ops.record import get
from tigon.ops.signature import reshape_arguments
from tigon.sym.symbol import NotImplementedForSymbol, Symbol, apply


class ArraySymbol(Symbol):
    """A symbol that stands for one array while a plain `forward(x)` is traced: `[]`, `len` and
    iteration mean what they mean for the array, and so do writes. Operators on it give its like.

    A write gives the handle a new value, which every name of it sees. What cannot be told in a
    graph is refused: a write to an argument of the block, which its caller would see, and a write
    to an array that shares memory with a slice or a reshape of it."""

    __slots__ = ("_shares",)

    def __init__(self, values: Sequence[Value]) -> None:
        super().__init__(values)
        self._shares = False

    def __getitem__(self, key: Any) -> Symbol:
        if len(self._values) > 1 and isinstance(key, (int, str)):
            return super().__getitem__(key)
        result = getitem(self, key)
        if is_basic(key):
            self._shares = result._shares = True
        return result

    def reshape(self, *shape: Any, **keywords: Any) -> ArraySymbol:
        """Another shape; the result shares memory with this array."""
        attributes = reshape_arguments(shape, keywords)
        name = attributes.pop("name", None)
        op = get("Reshape")
        result: Any = apply(op, op.make_attrs(attributes), (self,), name, "reshape")
        self._shares = result._shares = True
        return result

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
        self._check_writable("x[...] = value")
        shape = self.shape
        if isinstance(key, ArraySymbol) and key.dtype is np.bool_ and key.shape == shape:
            self._values = get("where")(key, value, self)._values
            return
        found = plan(shape, key)
        if not isinstance(found, Region):
            raise NotImplementedForSymbol("__setitem__ with index arrays")
        part = get("_cast_like")(value, self) if isinstance(value, Symbol) else value
        if not isinstance(part, Symbol):
            part = get("_full")(shape=(1,), value=part, dtype=np.dtype(self.dtype).name)
            part = type(self)((part,))
        check_value_shape(part.shape, found.value_shape)
        extra = len(part.shape) - len(found.value_shape)
        if extra > 0:
            part = get("_reshape")(part, shape=part.shape[extra:])
        part = get("_broadcast")(part, shape=found.value_shape)
        part = get("_reshape")(part, shape=found.extents)
        written = get("_assign_slice")(self, part, start=found.start, step=found.step)
        self._values = written._values

    def _check_writable(self, what: str) -> None:
        if self._values[0].node.op is VARIABLE or self._shares:
            reason = "shares memory with another" if self._shares else "belongs to the caller"
            raise TigonError(
                f"{what}: {self!r} {reason}, and a traced program cannot write to it "
                f"({user_line()}); write y = x + ... or copy it first: x = x.copy()"
            )

    def copy(self) -> Symbol:
        """An array of its own, which may be written to."""
        return get("_copy")(self)

    def _update(self, what: str, result: Any) -> ArraySymbol:
        self._check_writable(what)
        self._values = get("_cast_like")(result, self)._values
        return self

    def __iadd__(self, other: Any) -> ArraySymbol:
        return self._update("x += y", self + other)

    def __isub__(self, other: Any) -> ArraySymbol:
        return self._update("x -= y", self - other)

    def __imul__(self, other: Any) -> ArraySymbol:
        return self._update("x *= y", self * other)

    def __itruediv__(self, other: Any) -> ArraySymbol:
        return self._update("x /= y", self / other)


def traced_variable(name: str, type: TensorType | None, array: bool = False) -> Symbol:
    """A variable whose type is known, for tracing; `array` gives it an array's `[]`."""
    return (ArraySymbol if array else Symbol)((variable(name, type),))
