"""`x.item()` and `x.asscalar()` while a block is traced: a number whose comparisons decide."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tigon.base import as_dtype
from tigon.base.unread import Unread, number_of
from tigon.ops.record import get

_MOST_EXACT = 2**53
"""Integers up to here are float64."""


class TracedNumber(Unread):
    """A number that is not known until it is needed. What it is compared with becomes an operator,
    whose outcome decides how the code goes on, so that all numbers on one side of a bound take one
    path. Any other use reads it: each value is a path of its own."""

    __slots__ = ("_kind", "_known", "_name", "of")

    def __init__(self, symbol: Any, name: str, kind: type) -> None:
        self.of = symbol
        self._name = name
        self._kind = kind
        self._known: Any = None

    @property
    def __class__(self) -> type:
        """What `isinstance` looks at, too."""
        return self._kind

    def value(self) -> Any:
        """The number itself, which is a part of the path from now on."""
        if self._known is None:
            self._known = self.of._read_number(self._name)
        return self._known

    def _compare(self, operation: str, other: Any) -> Any:
        if self._known is None:
            sides = self._both(other) if _is_unread(other) else self._sides(other)
            if sides is not None:
                answer = bool(getattr(operator, operation)(*sides))
                python = self._name == "item" and not isinstance(other, np.generic)
                return answer if python else np.bool_(answer)
        return getattr(operator, f"__{operation}__")(self.value(), number_of(other))

    def _both(self, other: TracedNumber) -> tuple[Any, Any] | None:
        """Symbols that compare as this number and another one that is not read yet; None where
        none do so."""
        own, its = as_dtype(self.of.dtype), as_dtype(other.of.dtype)
        if self._name != other._name:
            return None  # a number of Python becomes what numpy's is
        if own is its:
            return self.of, other.of
        if "f" not in own.kind + its.kind:
            fits = all(dtype.kind != "u" or dtype.itemsize < 8 for dtype in (own, its))
            return (_as(self.of, "int64"), _as(other.of, "int64")) if fits else None
        whole = [dtype for dtype in (own, its) if dtype.kind != "f"]
        if self._name == "item" and any(dtype.itemsize == 8 for dtype in whole):
            return None  # Python compares all integers with floats exactly
        return _as(self.of, "float64"), _as(other.of, "float64")

    def _sides(self, other: Any) -> tuple[Any, Any] | None:
        """A symbol and a number that compare as this and the other do; None where none do so."""
        own = as_dtype(self.of.dtype)
        other = number_of(other)
        if type(other) not in (int, float, bool) and not isinstance(other, np.generic):
            return None
        if self._name == "item" and isinstance(other, np.floating):
            # Python's numbers become what a numpy scalar is.
            return _as(self.of, other.dtype.name), float(other)
        if own.is_float:
            narrow = self._name == "asscalar" and type(other) in (int, float, bool)
            bound = float(own.numpy.type(other)) if narrow else float(other)
            exact = not isinstance(other, (int, np.integer)) or abs(int(other)) <= _MOST_EXACT
            return (_as(self.of, "float64"), bound) if exact else None
        if isinstance(other, (int, np.integer, np.bool_)):
            within = -(2**31) <= int(other) < 2**31
            return (_as(self.of, "int64"), int(other)) if within else None
        return (_as(self.of, "float64"), float(other)) if own.itemsize < 8 else None

    def __bool__(self) -> bool:
        return bool(self.of) if self._known is None else bool(self._known)

    def __int__(self) -> int:
        return int(self.of) if self._known is None else int(self._known)

    def __hash__(self) -> int:
        return hash(self.value())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.value(), dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        return getattr(ufunc, method)(*map(number_of, inputs), **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.value(), name)


def _is_unread(number: Any) -> bool:
    return isinstance(number, TracedNumber) and number._known is None


def _as(symbol: Any, dtype: str) -> Any:
    return symbol if as_dtype(symbol.dtype).name == dtype else get("Cast")(symbol, dtype=dtype)


def _install_comparison(name: str) -> None:
    def method(self: TracedNumber, other: Any) -> Any:
        return self._compare(name, other)

    method.__name__ = f"__{name}__"
    setattr(TracedNumber, method.__name__, method)


for _name in "lt le gt ge eq ne".split():
    _install_comparison(_name)


def _install_binary(name: str) -> None:
    operation: Callable[..., Any] = divmod if name == "divmod" else getattr(operator, name)

    def forward(self: TracedNumber, other: Any) -> Any:
        return operation(self.value(), number_of(other))

    def backward(self: TracedNumber, other: Any) -> Any:
        return operation(number_of(other), self.value())

    setattr(TracedNumber, f"__{name.strip('_')}__", forward)
    setattr(TracedNumber, f"__r{name.strip('_')}__", backward)


for _name in "add sub mul truediv floordiv mod pow divmod lshift rshift and_ or_ xor".split():
    _install_binary(_name)


def _install_unary(name: str, operation: Callable[..., Any]) -> None:
    def method(self: TracedNumber, *arguments: Any) -> Any:
        return operation(self.value(), *arguments)

    method.__name__ = name
    setattr(TracedNumber, name, method)


for _name, _operation in {
    "__float__": float,
    "__complex__": complex,
    "__index__": operator.index,
    "__neg__": operator.neg,
    "__pos__": operator.pos,
    "__abs__": abs,
    "__invert__": operator.invert,
    "__round__": round,
    "__str__": str,
    "__repr__": repr,
    "__format__": format,
    "__reduce_ex__": lambda value, protocol: value.__reduce_ex__(protocol),
    "__trunc__": lambda value: value.__trunc__(),
    "__floor__": lambda value: value.__floor__(),
    "__ceil__": lambda value: value.__ceil__(),
}.items():
    _install_unary(_name, _operation)
