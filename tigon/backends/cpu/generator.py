"""From loop nests to schedules and functions, as text for LLVM. A process that finds all its
programs imports nothing of this."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import prod
from typing import Any

from tigon.backends.cpu import cost, routines
from tigon.backends.cpu.contraction import emit_contraction
from tigon.backends.cpu.nest import NestPlan, emit_nest, scratch_bytes
from tigon.backends.cpu.plain import as_nest, streams_operand
from tigon.backends.cpu.plan import (
    Plan,
    Tile,
    arrange,
    blocks_that_hold,
    choose,
    contraction_shape,
    count_points,
)
from tigon.backends.cpu.sliding import find_slide
from tigon.backends.cpu.strided import (
    StridedPlan,
    cut_tiles,
    emit_strided,
    find_strides,
    plan_strided,
)
from tigon.backends.interface import Launchable, Structure
from tigon.backends.llvm.scalar import EMITTED
from tigon.backends.llvm.target import Target
from tigon.backends.llvm.text import Function
from tigon.base import InternalError
from tigon.base.extents import RuntimeExtents
from tigon.base.frozen import Frozen, replace
from tigon.loop.abstract import Number, abstract, numbers_of, open_numbers, pack
from tigon.loop.expand import expand as expand_functions
from tigon.loop.grammar import AnyNest, Apply, Contraction, Expr, Extern, Nest, walk
from tigon.loop.map import Mapper


class Formulas(Frozen):
    """A launch whose numbers may depend on run-time extents."""

    structure: Structure
    numbers: tuple[Number, ...]
    points: Any
    scratch_bytes: Any
    grain: int


class Generator:
    """For one target. Not locked: the backend serialises."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._tiles: dict[AnyNest, dict[Tile, None]] = {}  # by structure, in order of first use

    def prepare(self, nest: AnyNest, is_open: bool) -> Launchable:
        if isinstance(nest, Extern):
            return routines.prepare(nest)
        target = self._target
        plain, wide = None, False
        if isinstance(nest, Contraction):
            plain, wide = as_nest(nest, target.register_file, is_open), streams_operand(nest)
        if plain is not None:
            nest = plain
        if isinstance(nest, Contraction):
            strided = find_strides(nest, target)
            if strided is not None:
                structure, slots = abstract(strided.nest)
                made = plan_strided(strided, target, len(slots) // 8)
                return Launchable(
                    Structure(structure, made.plan),
                    slots + made.slots,
                    made.points,
                    made.grain,
                    made.scratch_bytes,
                    made.cost_us,
                    () if is_open else open_numbers(strided.nest),
                )
            nest, slide = arrange(nest, target)
            structure, slots = abstract(nest)
            # Among the many sizes of one program, code is not multiplied for a little speed.
            tiles = self._tiles.setdefault(structure, {})
            present = tuple(tiles) if is_open else ()
            plan, blocks, scratch = choose(nest, slide, target, len(slots) // 8, present)
            tiles[plan.rows, plan.vectors] = None
            points, grain, microseconds = contraction_shape(nest, plan, blocks, target)
            return Launchable(
                Structure(structure, plan),
                slots + blocks.pack(),
                points,
                grain,
                scratch,
                microseconds,
                () if is_open else open_numbers(nest),
            )
        structure, slots = abstract(nest)
        points, grain, microseconds = cost.nest_shape(nest, target)
        variant = NestPlan(
            plain is not None,
            cost.streams(nest, target),
            cost.lanes(nest, microseconds),
            cost.single(nest, microseconds, target),
            cost.near(nest),
            wide,
        )
        return Launchable(
            Structure(structure, variant),
            slots,
            points,
            grain,
            scratch_bytes(nest.buffers),
            microseconds,
            () if is_open else open_numbers(nest),
        )

    def rounding(self, nest: AnyNest) -> Hashable:
        """Launches of one nest for which this is equal round alike, whatever their sizes: tiles sum
        up in one order. To be asked where extents are known."""
        if isinstance(nest, Contraction):
            plain = as_nest(nest, self._target.register_file, False)
            return "tiles" if plain is None else (replace(self._plan(plain), fuse=True),)
        assert isinstance(nest, Nest)
        return self._plan(nest)

    def _plan(self, nest: Nest) -> NestPlan:
        """All that changes how it rounds."""
        _, _, microseconds = cost.nest_shape(nest, self._target)
        most = cost.lanes(nest, microseconds)
        single = cost.single(nest, microseconds, self._target)
        return NestPlan(False, False, most, single, cost.near(nest))

    def formulas(self, nest: AnyNest, extents: RuntimeExtents, values: Sequence[int]) -> Formulas:
        """What `prepare` decides for these values of the extents, with formulas for numbers. To be
        asked where the values are supposed: what it stands on becomes a condition."""
        target, registers = self._target, self._target.register_file
        with extents.known(values):
            launch = self.prepare(nest, True)
        structure = launch.structure
        variant = structure.variant
        if isinstance(variant, NestPlan):
            plain = as_nest(nest, registers, True) if isinstance(nest, Contraction) else nest
            assert isinstance(plain, Nest)
            found, numbers = numbers_of(plain)
            points = prod(cost.extent(axis) for axis in plain.space)
            scratch = scratch_bytes(plain.buffers)
            holds = found == structure.nest and (
                not variant.single or cost.longest(plain.body) <= variant.single
            )
            holds = holds and (not variant.near or cost.near(plain))
        else:
            assert isinstance(nest, Contraction)
            tiled = as_nest(nest, registers, True) is None  # of the nest before it is arranged
            if isinstance(variant, StridedPlan):
                with extents.known(values):
                    strided = find_strides(nest, target)
                    assert strided is not None
                    made = plan_strided(strided, target, variant.first_slot)
                found, numbers = numbers_of(strided.nest)
                cut, points, scratch = cut_tiles(strided, variant, made.lead, made.block, target)
            else:
                assert isinstance(variant, Plan)
                with extents.known(values):
                    nest, slide = arrange(nest, target)
                    tile = ((variant.rows, variant.vectors),)
                    again, known, _ = choose(nest, slide, target, variant.first_slot, tile)
                    assert again == variant
                slide = None if slide is None else find_slide(nest)
                block = known.row_block, known.column_block
                blocks, scratch = blocks_that_hold(nest, slide, variant, block, target)
                found, numbers = numbers_of(nest)
                cut, points = [*vars(blocks).values()], count_points(nest, blocks)
            numbers = (*numbers, *(("<q", number) for number in cut))
            holds = tiled and found == structure.nest
        with extents.known(values):
            holds = holds and pack(numbers) == launch.slots
            holds = holds and int(points) == launch.points
            holds = holds and int(scratch) == launch.scratch_bytes
        if not holds:
            raise InternalError("cpu: a schedule does not hold for the sizes it was made for")
        return Formulas(structure, numbers, points, scratch, launch.grain)

    def emit(self, structure: Structure, name: str) -> Function:
        """The function for a structure, as LLVM IR."""
        nest = structure.nest
        if isinstance(nest, Extern):
            raise InternalError(f"cpu: {nest.routine} is a routine of a library, not loops")
        nest = expand(nest)
        target = self._target
        if isinstance(nest, Contraction):
            if isinstance(structure.variant, StridedPlan):
                return emit_strided(nest, structure.variant, name, target)
            assert isinstance(structure.variant, Plan)
            return emit_contraction(nest, structure.variant, name, target)
        assert isinstance(nest, Nest) and isinstance(structure.variant, NestPlan)
        return emit_nest(nest, structure.variant, name, target)


class _Expander(Mapper):
    def value(self, expr: Expr) -> Expr:
        if all(node.function in EMITTED for node in walk(expr) if isinstance(node, Apply)):
            return expr
        return expand_functions(expr)


def expand(nest: AnyNest) -> AnyNest:
    """Elementary functions written out as arithmetic."""
    return _Expander().nest(nest)
