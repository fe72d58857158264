"""The scalar expression of a graph value at given coordinates.

Views, gathers and leaves are index maps: they are walked through and cost nothing. Elementwise
nodes are expanded. Where the walk stops is the caller's business: `stop(value, coords)` gives the
expression of a value that has memory, or a local, or None to walk on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tigon.base import DType, InternalError
from tigon.base.dtypes import whole_number
from tigon.base.extents import RuntimeNumber, is_one
from tigon.base.recursion import descend
from tigon.base.types import contiguous_strides
from tigon.ir import CONSTANT, Value
from tigon.ir.graph import Node
from tigon.loop import build as L
from tigon.loop.functions import FUNCTIONS
from tigon.loop.grammar import Apply, Axis, Expr, walk
from tigon.loop.simplify import Ranges, simplify
from tigon.ops.record import POINTWISE, TRANSPARENT, Family

Coords = tuple[Expr, ...]
Stop = Callable[[Value, Coords], "Expr | None"]


class Elements:
    """Expands values into expressions; remembers what it has expanded."""

    def __init__(
        self, ranges: Ranges, stop: Stop, attributes: Mapping[Node, Any] | None = None
    ) -> None:
        """`attributes` of nodes in the place of their own."""
        self.ranges = ranges
        self._stop = stop
        self._attributes = attributes or {}
        self._known: dict[tuple[Value, Coords], Expr] = {}

    def at(self, value: Value, coords: Coords) -> Expr:
        """The element of `value` at `coords` (int64, simplified, one per axis)."""
        key = (value, coords)
        found = self._known.get(key)
        return descend(self._known, key, self._find) if found is None else found

    def _find(self, key: tuple[Value, Coords]) -> Expr:
        value, coords = key
        found = self._stop(value, coords)
        return self._expand(value.node, coords) if found is None else found

    def _expand(self, node: Node, coords: Coords) -> Expr:
        if node.op is CONSTANT:
            if node.attrs.shape:
                raise InternalError("an array constant has memory")
            return L.const(self._attrs_of(node).value, node.types[0].dtype)  # type: ignore[index]
        if node.op.family in POINTWISE:
            return self.formula(node, coords)
        if node.op.family in TRANSPARENT:
            return self._through(node, coords)
        raise InternalError(f"{node.label}: has no scalar expression; it needs a kernel")

    def formula(self, node: Node, coords: Coords) -> Expr:
        """A pointwise node's own expression over its operands."""
        if node.op.family is Family.UPDATE:
            return self._through(node, coords)
        dtype = operand_dtype(node)
        operands: list[Expr] = []
        for value in node.inputs:
            if value.node.op is CONSTANT and not value.node.attrs.shape:
                number = self._attrs_of(value.node).value
                operands.append(L.const(_fit(node, number, dtype), dtype))
            else:
                operand = self.at(value, broadcast_coords(coords, value.shape))
                operands.append(L.cast(operand, dtype) if value.type.weak else operand)
        return node.op.rule(node.op.lower, node.attrs, *operands)

    def _through(self, node: Node, coords: Coords) -> Expr:
        def read(operand: int, inner: Sequence[Expr | int]) -> Expr:
            value, zero = node.inputs[operand], L.const(0)
            # There is one place along an extent of 1, however it was computed.
            return self.at(
                value,
                tuple(
                    zero if is_one(extent) else simplify(L.lift(coord, zero.dtype), self.ranges)
                    for coord, extent in zip(inner, value.shape, strict=True)
                ),
            )

        types = tuple(value.type for value in node.inputs)
        return node.op.rule(node.op.lower, self._attrs_of(node), types, coords, read)

    def _attrs_of(self, node: Node) -> Any:
        return self._attributes.get(node, node.attrs)


def operand_dtype(node: Node) -> DType:
    """The dtype in which an elementwise node computes: that of its strong operands."""
    strong = [value.type for value in node.inputs if not value.type.weak]
    if strong:
        return strong[0].dtype
    ranks = {"bool": 0, "int64": 1, "float32": 2}
    return max((value.dtype for value in node.inputs), key=lambda d: ranks.get(d.name, 3))


def _fit(node: Node, number: float, dtype: DType) -> float:
    """A Python scalar beside an array: truncated into an integer type, as MXNet does."""
    if dtype.is_float or isinstance(number, RuntimeNumber):
        return number
    return whole_number(node.op.name.strip("_"), number, dtype)


def broadcast_coords(coords: Coords, shape: tuple[int, ...]) -> Coords:
    """Coordinates of an operand of `shape` under numpy's broadcasting."""
    tail = coords[len(coords) - len(shape) :]
    return tuple(L.const(0) if is_one(extent) else c for extent, c in zip(shape, tail, strict=True))


def linear(coords: Sequence[Expr], shape: Sequence[int], ranges: Ranges) -> Expr:
    """Position of an element in C order."""
    index: Expr = L.const(0)
    for coord, extent, stride in zip(coords, shape, contiguous_strides(tuple(shape)), strict=True):
        if not is_one(extent):
            index = L.add(index, L.mul(coord, stride))
    return simplify(index, ranges)


def delinearize(index: Expr, shape: Sequence[int], ranges: Ranges) -> Coords:
    """Coordinates of position `index` in C order."""
    coords: list[Expr] = []
    for extent, stride in zip(shape, contiguous_strides(tuple(shape)), strict=True):
        if is_one(extent):
            coords.append(L.const(0))
        else:
            coord = L.mod(L.floordiv(index, max(stride, 1)), extent)
            coords.append(simplify(coord, ranges))
    return tuple(coords)


def axis_names(count: int, letter: str = "i") -> tuple[str, ...]:
    return tuple(f"{letter}{position}" for position in range(count))


def axes_over(shape: Sequence[int], letter: str = "i") -> tuple[Coords, Ranges]:
    """One axis per extent (0 where the extent is 1), and their ranges."""
    names = axis_names(len(shape), letter)
    coords = tuple(
        L.const(0) if is_one(extent) else Axis(name)
        for name, extent in zip(names, shape, strict=True)
    )
    return coords, {name: (0, max(extent, 1)) for name, extent in zip(names, shape, strict=True)}


def arithmetic_cost(expr: Expr) -> int:
    """A rough count of operations on data: 1 each, 10 for a costly one."""
    return sum(
        10 if FUNCTIONS[part.function].costly else 1
        for part in walk(expr)
        if isinstance(part, Apply) and part.dtype.name != "int64"
    )


def is_array_constant(value: Value) -> bool:
    return value.node.op is CONSTANT and bool(value.node.attrs.shape)


def squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(extent for extent in shape if not is_one(extent))
