"""`sym.X`: one function per registered operator name, and the few written by hand."""

from __future__ import annotations

import math
import operator as python
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tigon.base import TigonError, as_dtype, check
from tigon.base.absent import say_of_methods
from tigon.base.dtypes import check_dtype
from tigon.base.lazy import method_on_demand
from tigon.context import check_context
from tigon.ir.graph import Value
from tigon.ops import record
from tigon.ops.record import Operator
from tigon.ops.signature import (
    FLUENT,
    Signature,
    as_numpy_calls,
    split_attributes,
    taking_inplace,
)
from tigon.ops.tensor import mask
from tigon.runtime import tracing
from tigon.sym.open_range import OpenRange
from tigon.sym.symbol import Group, Symbol, apply, enter, var
from tigon.sym.traced import ArraySymbol

Number = (bool, int, float, np.generic)


def make_function(op: Operator, name: str) -> Callable[..., Any]:
    """The symbolic function of one operator under one of its names."""
    signature = Signature(op)
    hint = name.lower()

    def function(
        *arguments: Any,
        name: str | None = None,
        attr: Mapping[str, str] | None = None,
        **keywords: Any,
    ) -> Any:
        operands, attributes = signature.split(arguments, keywords)
        attrs = op.make_attrs(attributes)
        return compose(op, signature, attrs, operands, name, hint, attr)

    function.__name__ = function.__qualname__ = name
    function.__module__ = "tigon.sym.op"
    function.__doc__ = op.doc
    function.__signature__ = signature.python(("name", "attr"))  # type: ignore[attr-defined]
    return function


def compose(
    op: Operator,
    signature: Signature,
    attrs: Any,
    operands: list[Any],
    name: str | None,
    hint: str,
    hints: Mapping[str, str] | None = None,
) -> Symbol:
    """Apply an operator, making variables (`fc1_weight`) for the operands that are missing."""
    from tigon.name import current as current_names

    if signature.variadic:
        flat = []
        for operand in operands:  # a symbol of several outputs stands for all of them
            flat.extend(operand if type(operand) is Symbol and len(operand) > 1 else [operand])
        return apply(op, attrs, flat, name, hint, hints)
    required = signature.required(attrs)
    operands = signature.there(attrs, operands)
    names = required if op.present and len(operands) <= len(required) else signature.names
    operands += [None] * (len(names) - len(operands))
    if any(v is None for own, v in zip(names, operands, strict=False) if own in required):
        name = current_names().get(name, hint)
        for position, own in enumerate(names):
            if operands[position] is None and own in required:
                operands[position] = var(f"{name}_{own}")
        # The name is settled: the manager (a Prefix, say) must not change it again.
        return _apply_named(op, attrs, operands, name, hints)
    return apply(op, attrs, operands, name, hint, hints)


def _apply_named(
    op: Operator, attrs: Any, operands: list[Any], name: str, hints: Mapping[str, str] | None
) -> Symbol:
    from tigon.name import NameManager

    with NameManager():
        return apply(op, attrs, operands, name, "", hints)


# --------------------------------------------------------------- arithmetic of symbols

_BINARY = {
    # method: (record name, hint of two symbols, hint with a scalar, hint with a scalar on the left)
    "add": ("broadcast_add", "_plus", "_plusscalar", "_plusscalar"),
    "sub": ("broadcast_sub", "_minus", "_minusscalar", "_rminusscalar"),
    "mul": ("broadcast_mul", "_mul", "_mulscalar", "_mulscalar"),
    "truediv": ("broadcast_div", "_div", "_divscalar", "_rdivscalar"),
    "floordiv": ("floor_divide", "floor_divide", "floor_divide", "floor_divide"),
    "mod": ("broadcast_mod", "_mod", "_modscalar", "_rmodscalar"),
    "pow": ("broadcast_power", "_power", "_powerscalar", "_rpowerscalar"),
    "matmul": ("matmul", "matmul", "matmul", "matmul"),
}
_COMPARE = {
    "eq": ("broadcast_equal", "_equal"),
    "ne": ("broadcast_not_equal", "_not_equal"),
    "gt": ("broadcast_greater", "_greater"),
    "ge": ("broadcast_greater_equal", "_greater_equal"),
    "lt": ("broadcast_lesser", "_lesser"),
    "le": ("broadcast_lesser_equal", "_lesser_equal"),
}


def binary(op: Operator, left: Any, right: Any, hint: str, name: str | None = None) -> Any:
    return apply(op, op.make_attrs({}), (left, right), name, hint)


def _operand(value: Any) -> bool:
    return isinstance(value, (Symbol, Value, *Number)) or hasattr(value, "apply_op")


def install_operators() -> None:
    """Give `Symbol` Python's operators."""
    for method, (own, both, scalar, left_scalar) in _BINARY.items():
        _install_pair(method, record.get(own), both, scalar, left_scalar)
    for method, (own, both) in _COMPARE.items():
        _install_comparison(method, record.get(own), both)
    absolute = record.get("abs")
    Symbol.__neg__ = _negative  # type: ignore[attr-defined]
    Symbol.__abs__ = lambda self: self.apply_op(absolute, absolute.make_attrs({}), (self,))  # type: ignore


def _negative(self: Symbol) -> Any:
    value = self._values[0]
    if value.is_typed and value.dtype.kind == "u":  # it wraps, but holds no -1
        return record.get("negative")(self)
    return binary(record.get("broadcast_mul"), self, -1.0, "_mulscalar")


def _install_pair(method: str, op: Operator, both: str, scalar: str, left_scalar: str) -> None:
    def forward(self: Symbol, other: Any) -> Any:
        if not _operand(other):
            return NotImplemented
        return binary(op, self, other, scalar if isinstance(other, Number) else both)

    def reflected(self: Symbol, other: Any) -> Any:
        if not _operand(other):
            return NotImplemented
        return binary(op, other, self, left_scalar if isinstance(other, Number) else both)

    setattr(Symbol, f"__{method}__", forward)
    setattr(Symbol, f"__r{method}__", reflected)


def _install_comparison(method: str, op: Operator, hint: str) -> None:
    def compare(self: Symbol, other: Any) -> Any:
        if not _operand(other):
            return NotImplemented
        return binary(op, self, other, f"{hint}_scalar" if isinstance(other, Number) else hint)

    setattr(Symbol, f"__{method}__", compare)


def _two(
    name: str, own: str, hint: str, on_numbers: Callable[[Any, Any], Any]
) -> Callable[..., Any]:
    """A function of two symbols or numbers; of two numbers it is Python's."""

    def function(lhs: Any, rhs: Any, name: str | None = None) -> Any:
        if isinstance(lhs, Number) and isinstance(rhs, Number):
            return on_numbers(lhs, rhs)
        return binary(record.get(own), lhs, rhs, hint, name)

    function.__name__ = function.__qualname__ = name
    function.__module__ = "tigon.sym.op"
    function.__doc__ = record.get(own).doc
    return function


def pair_functions() -> dict[str, Callable[[], Callable[..., Any]]]:
    """By name, what makes `sym.maximum(x, 0)` and its kin, which take numbers on either side."""
    rows = {
        "add": ("broadcast_add", "_plus", python.add),
        "subtract": ("broadcast_sub", "_minus", python.sub),
        "multiply": ("broadcast_mul", "_mul", python.mul),
        "divide": ("broadcast_div", "_div", python.truediv),
        "true_divide": ("broadcast_div", "_div", python.truediv),
        "modulo": ("broadcast_mod", "_mod", python.mod),
        "power": ("broadcast_power", "_power", python.pow),
        "pow": ("broadcast_power", "_power", python.pow),
        "maximum": ("broadcast_maximum", "_maximum", max),
        "minimum": ("broadcast_minimum", "_minimum", min),
        "hypot": ("broadcast_hypot", "_hypot", math.hypot),
    }
    return {name: partial(_two, name, *row) for name, row in rows.items()}


# ------------------------------------------------------------------------- creation


def _create(own: str, attributes: Mapping[str, Any], name: str | None) -> Symbol:
    op = record.get(own)
    return apply(op, op.make_attrs(attributes), (), name, own.lower())


def _shape(where: str, shape: Any) -> tuple[int, ...]:
    if isinstance(shape, int):
        return (shape,)
    check(
        isinstance(shape, (tuple, list)) and all(isinstance(extent, int) for extent in shape),
        where,
        f"expected a shape such as (2, 3); given {shape!r}",
    )
    return tuple(shape)


def zeros(
    shape: Any, dtype: Any = None, name: str | None = None, ctx: Any = None, **_: Any
) -> Symbol:
    """Zeros of a shape.

    >>> zeros((2, 3)).shape
    (2, 3)
    """
    check_context("zeros", ctx)
    given = {"shape": _shape("zeros", shape), "dtype": as_dtype(dtype or "float32").name}
    return _create("_zeros", given, name)


def ones(
    shape: Any, dtype: Any = None, name: str | None = None, ctx: Any = None, **_: Any
) -> Symbol:
    """Ones of a shape."""
    check_context("ones", ctx)
    given = {"shape": _shape("ones", shape), "dtype": as_dtype(dtype or "float32").name}
    return _create("_ones", given, name)


def full(
    shape: Any, val: float, dtype: Any = None, name: str | None = None, ctx: Any = None, **_: Any
) -> Symbol:
    """One value everywhere."""
    check_context("full", ctx)
    given = {"shape": _shape("full", shape), "dtype": as_dtype(dtype or "float32").name}
    return _create("_full", {**given, "value": val}, name)


def arange(
    start: float = 0,
    stop: float | None = None,
    step: float = 1.0,
    repeat: int = 1,
    infer_range: bool = False,
    name: str | None = None,
    dtype: Any = None,
) -> Symbol:
    """Evenly spaced numbers below `stop`: from 0 where `start` alone is given. With `infer_range`
    and without a stop they begin at `start`, and there are as many as the array has elements along
    its last axis that they meet first, element by element.

    >>> from tigon import nd
    >>> steps = arange(start=1, step=2, infer_range=True)
    >>> y = var("x") * steps
    >>> y.eval(x=nd.ones((3,)))[0].asnumpy().tolist()
    [1.0, 3.0, 5.0]
    """
    dtype = as_dtype(dtype or "float32").name
    if infer_range and stop is None:
        return OpenRange.of(start, step, repeat, dtype)
    given = {"start": start, "stop": stop, "step": step, "repeat": repeat}
    return _create("_arange", {**given, "dtype": dtype}, name)


def linspace(
    start: float,
    stop: float,
    num: int,
    endpoint: bool = True,
    name: str | None = None,
    dtype: Any = None,
) -> Symbol:
    """`num` evenly spaced numbers."""
    given = {"start": start, "stop": stop, "num": num, "endpoint": endpoint}
    return _create("_linspace", {**given, "dtype": as_dtype(dtype or "float32").name}, name)


def eye(
    N: int,
    M: int = 0,
    k: int = 0,
    dtype: Any = None,
    name: str | None = None,
    ctx: Any = None,
    **_: Any,
) -> Symbol:
    """Ones on a diagonal."""
    check_context("eye", ctx)
    given = {"N": N, "M": M, "k": k, "dtype": as_dtype(dtype or "float32").name}
    return _create("_eye", given, name)


def histogram(a: Symbol, bins: Any = 10, range: Any = None, name: str | None = None) -> Symbol:
    """How many elements lie in each of `bins`, a number of bins over a `range`, or a symbol of
    edges; and the edges.

    >>> len(histogram(var("x"), bins=4, range=(0, 1)))
    2
    """
    op = record.get("_histogram")
    if isinstance(bins, Symbol):
        return apply(op, op.make_attrs({}), (a, bins), name, "_histogram")
    check(
        range is not None,
        "histogram",
        "range: expected two numbers, since a symbol has no values to take them of; given None",
    )
    attributes = {"bin_cnt": bins, "range": tuple(range)}
    return apply(op, op.make_attrs(attributes), (a,), name, "_histogram")


def moveaxis(tensor: Symbol, source: Any, destination: Any) -> Any:
    """Move axes to other positions; the number of axes must be known."""
    from tigon.ops.signature import moved_axes

    return tensor.transpose(axes=moved_axes("moveaxis", tensor.ndim, source, destination))


def boolean_mask(data: Symbol, index: Symbol, axis: int = 0, name: str | None = None) -> Any:
    """The entries along an axis where `index`, of one axis, is not 0, in a block that is traced:
    how many there are decides how its code goes on."""
    check(
        tracing.installed() is not tracing.NONE,
        "boolean_mask",
        "how many entries there are depends on values, and outside of a hybridized block symbols "
        "have none; use where or SequenceMask, whose results keep the shape, or a HybridBlock",
    )
    return mask.boolean_mask(data, index, axis)


def split_v2(
    ary: Symbol,
    indices_or_sections: Any,
    axis: int = 0,
    squeeze_axis: bool = False,
    name: str | None = None,
) -> Symbol:
    """Split into equal sections, or before each of several indices.

    >>> len(split_v2(var("x"), (2, 5)))
    3
    """
    op = record.get("_split_v2")
    attributes = split_attributes("split_v2", indices_or_sections, axis, squeeze_axis)
    return apply(op, op.make_attrs(attributes), (ary,), name, "_split_v2")


# --------------------------------------------------------------------------- methods


def install_methods(find: Callable[[str], Callable[..., Any]]) -> None:
    """`x.relu()` for `sym.relu(x)`, where the class has no method of its own of that name; `find`
    gives these functions."""
    say_of_methods(Symbol, "tigon.sym.Symbol")
    for name in FLUENT:
        if name not in Symbol.__dict__:
            method_on_demand.install(Symbol, name, partial(_method, find, name))
    Symbol.split_v2 = split_v2  # type: ignore
    Symbol.astype = lambda self, dtype, **_: find("Cast")(  # type: ignore
        self, dtype=check_dtype("astype", dtype).name
    )
    Symbol.T = property(lambda self: find("transpose")(self))  # type: ignore
    Symbol.reshape = _reshape  # type: ignore
    Symbol.transpose = _transpose  # type: ignore


def _method(find: Callable[[str], Callable[..., Any]], name: str) -> Callable[..., Any]:
    function = taking_inplace(
        name, as_numpy_calls(name, find(name)), lambda x: isinstance(x, ArraySymbol)
    )

    def method(self: Symbol, *arguments: Any, **keywords: Any) -> Any:
        if keywords.get("out", self) is None:  # as numpy's functions pass it
            del keywords["out"]
        return function(self, *arguments, **keywords)

    method.__name__ = name
    method.__qualname__ = f"Symbol.{name}"
    method.__doc__ = function.__doc__
    return method


def _reshape(self: Symbol, *shape: Any, **keywords: Any) -> Any:
    """Another shape; -1 is inferred, and MXNet's codes 0, -2, -3, -4 hold."""
    from tigon.ops.signature import reshape_arguments

    attributes = reshape_arguments(shape, keywords)
    name = attributes.pop("name", None)
    op = record.get("Reshape")
    return apply(op, op.make_attrs(attributes), (self,), name, "reshape")


def _transpose(self: Symbol, *axes: Any, **keywords: Any) -> Any:
    """Permute the axes; without arguments, reverse them."""
    if axes and axes != (None,):
        keywords["axes"] = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    op = record.get("transpose")
    name = keywords.pop("name", None)
    return apply(op, op.make_attrs(keywords), (self,), name, "transpose")


def _trace(op: Operator, attrs: Any, operands: Sequence[Any]) -> Any:
    """What an `nd` function without operands does while a block is traced."""
    return apply(op, attrs, operands, like=ArraySymbol)


tracing.set_symbolic(_trace, ArraySymbol)

__all__ = [
    "Group",
    "TigonError",
    "arange",
    "compose",
    "enter",
    "eye",
    "full",
    "install_methods",
    "install_operators",
    "linspace",
    "make_function",
    "moveaxis",
    "ones",
    "pair_functions",
    "split_v2",
    "zeros",
]
