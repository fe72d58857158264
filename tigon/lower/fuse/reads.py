"""What a node reads, and where."""

from __future__ import annotations

from tigon.analysis.views import is_computed
from tigon.base.extents import is_one
from tigon.base.frozen import Frozen
from tigon.ir import CONSTANT, VARIABLE, Node, Value
from tigon.loop.grammar import Expr, Local
from tigon.loop.simplify import Ranges
from tigon.lower.elements import Coords, Elements, Stop, axes_over, is_array_constant
from tigon.ops.record import Family


class Loops(Frozen):
    """How many points some coordinates run over, and the last of them that runs at all."""

    points: int
    innermost: Expr | None


class Read(Frozen):
    """A node reads element `coords` of `value`, for every point of `loops`."""

    value: Value
    coords: Coords
    loops: Loops


def node_domain(node: Node) -> tuple[int, ...]:
    """The shape over which a node's own loops run."""
    return node.inputs[0].shape if node.op.family is Family.REDUCTION else node.outputs[0].shape


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
    shape = node.outputs[0].shape
    coords, ranges = axes_over(shape, "j")
    found: list[Read] = []
    formula = Elements(ranges, _recorder(found, _loops(shape, coords))).formula(node, coords)
    return formula, found


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
