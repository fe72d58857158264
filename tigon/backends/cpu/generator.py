"""From loop nests to schedules and functions, as text for LLVM. A process that finds all its
programs imports nothing of this."""

from __future__ import annotations

from tigon.backends.cpu import cost, routines
from tigon.backends.cpu.contraction import emit_contraction
from tigon.backends.cpu.nest import NestPlan, emit_nest, scratch_bytes
from tigon.backends.cpu.plain import as_nest, streams_operand
from tigon.backends.cpu.plan import Plan, Tile, arrange, choose, contraction_shape
from tigon.backends.cpu.strided import StridedPlan, emit_strided, find_strides, plan_strided
from tigon.backends.interface import Launchable, Structure
from tigon.backends.llvm.scalar import EMITTED
from tigon.backends.llvm.target import Target
from tigon.backends.llvm.text import Function
from tigon.base import InternalError
from tigon.loop.abstract import abstract, open_numbers
from tigon.loop.expand import expand as expand_functions
from tigon.loop.grammar import AnyNest, Apply, Contraction, Expr, Extern, Nest, walk
from tigon.loop.map import Mapper


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
            plain, wide = as_nest(nest), streams_operand(nest)
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
            cost.streams(nest),
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
