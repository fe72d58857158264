"""What a node reads, and where."""

from __future__ import annotations

from typing import Any, NamedTuple

from tigon.analysis.views import is_computed
from tigon.base.extents import is_known, is_one
from tigon.base.frozen import Frozen
from tigon.ir import CONSTANT, VARIABLE, Node, Value
from tigon.loop.grammar import Expr, Local
from tigon.loop.simplify import Ranges
from tigon.lower.elements import (
    Coords,
    Elements,
    Stop,
    arithmetic_cost,
    axes_over,
    is_array_constant,
    linear,
)
from tigon.lower.fuse.spelling import Kinds, Spelling
from tigon.ops.record import POINTWISE, Family
from tigon.passes.primitives import pad, stored


class Loops(Frozen):
    """How many points some coordinates run over, and the last of them that runs at all."""

    points: int
    innermost: Expr | None


class Read(NamedTuple):
    """A node reads element `coords` of `value`, for every point of `loops`."""

    value: Value
    coords: Coords
    loops: Loops


class _Alike:
    """What nodes of one spelling have in common. Values are numbers."""

    def __init__(self, node: Node, number: dict[Value, int]) -> None:
        domain = node_domain(node)
        self.coords, self.ranges = axes_over(domain, "j")
        self.position = linear(self.coords, domain, self.ranges)
        self.cost = 0
        if node.op.family in POINTWISE:
            formula, found = own_formula(node)
            self.cost = arithmetic_cost(formula)
        else:
            found = direct_reads(node, self.coords, self.ranges)
        self.reads = [(number[value], coords, loops) for value, coords, loops in found]
        self.places: dict[tuple[Coords, tuple[int, ...]], Expr] = {}
        self.expanded: dict[tuple[_Alike, Coords], list[tuple[int, Coords]]] = {}


class NodeReads:
    """What one node reads, with its own domain at `coords`, whose ranges are `ranges`."""

    __slots__ = ("alike", "reads", "values")

    def __init__(self, alike: _Alike, values: list[Value]) -> None:
        self.alike = alike
        self.values = values
        self.reads = [Read(values[number], at, loops) for number, at, loops in alike.reads]

    @property
    def coords(self) -> Coords:
        return self.alike.coords

    @property
    def ranges(self) -> Ranges:
        return self.alike.ranges

    @property
    def position(self) -> Expr:
        """Of the element at `coords`, in C order."""
        return self.alike.position

    @property
    def cost(self) -> int:
        """Of one element, operands given."""
        return self.alike.cost

    def place(self, read: Read) -> Expr:
        """The position of what is read within its array."""
        key = (read.coords, read.value.shape)
        found = self.alike.places.get(key)
        if found is None:
            found = self.alike.places[key] = linear(read.coords, read.value.shape, self.ranges)
        return found


class Reader:
    """What the nodes of a graph read, and where."""

    def __init__(self) -> None:
        self.kinds = Kinds()
        self._alike: dict[Any, _Alike] = {}
        self._known: dict[Node, NodeReads] = {}

    def of(self, node: Node) -> NodeReads:
        found = self._known.get(node)
        if found is None:
            spelling = Spelling(self.kinds)
            spelling.key.append(self.kinds.of(node))
            spelling.read(node.inputs)
            key = tuple(spelling.key)
            alike = self._alike.get(key)
            if alike is None:
                alike = self._alike[key] = _Alike(node, spelling.numbers)
            found = self._known[node] = NodeReads(alike, spelling.values)
        return found

    def instead_of(self, read: Read, reader: NodeReads) -> list[Read]:
        """What is read where the node of an elementwise value is computed again by its reader."""
        own = self.of(read.value.node)
        key = (own.alike, read.coords)
        found = reader.alike.expanded.get(key)
        if found is None:
            number = {value: place for place, value in enumerate(own.values)}
            reads = node_reads(read.value.node, read.coords, reader.ranges, read.loops)
            found = [(number[value], coords) for value, coords, _ in reads]
            reader.alike.expanded[key] = found
        return [Read(own.values[place], coords, read.loops) for place, coords in found]


def node_domain(node: Node) -> tuple[int, ...]:
    """The shape over which a node's own loops run."""
    if node.op.family is Family.REDUCTION:
        return node.inputs[0].shape
    border = border_of(node)
    return node.outputs[0].shape if border is None else border.inputs[0].shape


def border_of(node: Node) -> Node | None:
    """The border, a pad, within which a node writes a value down, but for one along the lines of
    memory, which are short. Its loops run over the value; the border is written by others."""
    if node.op is not stored:
        return None
    border = node.inputs[0].node
    if border.op is not pad or any(border.attrs.interior):
        return None
    before, after, shape = border.attrs.before, border.attrs.after, border.outputs[0].shape
    along = max((axis for axis, extent in enumerate(shape) if not is_one(extent)), default=0)
    if not is_known(*before, *after) or not shape or before[along] or after[along]:
        return None
    return border


def reduced_axes(node: Node) -> tuple[int, ...]:
    return tuple(node.attrs.axes)


def direct_reads(node: Node, coords: Coords, ranges: Ranges) -> list[Read]:
    """The computed values that a node which is not elementwise reads, and where, with its own
    domain at `coords`."""
    found: list[Read] = []
    if node.op.family is Family.REDUCTION:
        domain = node.inputs[0]
        Elements(ranges, _recorder(found, _loops(domain.shape, coords))).at(domain, coords)
    else:
        # Every operand at fresh coordinates of its own: what matters is which values are read.
        for number, value in enumerate(node.inputs):
            own, own_ranges = axes_over(value.shape, f"o{number}_")
            ranges.update(own_ranges)
            Elements(ranges, _recorder(found, _loops(value.shape, own))).at(value, own)
    return found


def node_reads(node: Node, coords: Coords, ranges: Ranges, loops: Loops) -> list[Read]:
    """The same for an elementwise node, at any coordinates, which run over `loops`."""
    found: list[Read] = []
    Elements(ranges, _recorder(found, loops)).formula(node, coords)
    return found


def own_formula(node: Node) -> tuple[Expr, list[Read]]:
    """An elementwise node over its own domain: its formula, and what it reads where."""
    shape = node_domain(node)
    coords, ranges = axes_over(shape, "j")
    found: list[Read] = []
    elements = Elements(ranges, _recorder(found, _loops(shape, coords)))
    border = border_of(node)
    if border is not None:
        return elements.at(border.inputs[0], coords), found
    return elements.formula(node, coords), found


def _recorder(found: list[Read], loops: Loops) -> Stop:
    """Stops at every value that has memory or a kernel, and notes where it is read."""

    def stop(value: Value, coords: Coords) -> Expr | None:
        node = value.node
        if node.op is VARIABLE or is_array_constant(value):
            return Local(f"v{id(value)}", value.dtype)
        if node.op is CONSTANT or not is_computed(node):
            return None
        found.append(Read(value, coords, loops))
        return Local(f"v{id(value)}_{len(found)}", value.dtype)

    return stop


def _loops(shape: tuple[int, ...], coords: Coords) -> Loops:
    running = [c for c, extent in zip(coords, shape, strict=True) if not is_one(extent)]
    return Loops(size_of(shape), running[-1] if running else None)


def size_of(shape: tuple[int, ...]) -> int:
    size = 1
    for extent in shape:
        size *= extent
    return size
