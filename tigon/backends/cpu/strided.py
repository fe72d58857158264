"""Contractions whose operands are read where they lie.

Both operands are arrays whose elements lie at a sum of steps along the axes, however uneven: an
image with its border, of which a window sees parts, and weights in panels. Nothing is packed. A
tile takes consecutive rows along the last of the row axes, and consecutive columns along the last
of the column axes; where the steps of the sum are uneven, a table lists how far from the start each
element lies. Every element is summed in the same order as over packed panels.

`find_strides` says whether a nest is of this kind, `plan_strided` decides about it, and
`emit_strided` writes the function."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import ceil, log2, prod

from tigon.backends.cpu import cost
from tigon.backends.cpu.chunks import grain
from tigon.backends.cpu.nest import PARAMETERS, over_points
from tigon.backends.cpu.positions import NOUGHT, Positions
from tigon.backends.cpu.sliding import find_slide
from tigon.backends.cpu.tile import CACHE_LINE, call_tile
from tigon.backends.llvm.emitter import Emitter
from tigon.backends.llvm.instructions import compare, select
from tigon.backends.llvm.target import Target
from tigon.backends.llvm.text import Function, Value, literal
from tigon.base.errors import InternalError
from tigon.base.frozen import Frozen, replace
from tigon.base.multiples import round_up
from tigon.base.tiles import RowTile, line_tile, row_tile
from tigon.loop.grammar import Axis, Const, Contraction, Expr, Load, LoopAxis, Slot
from tigon.loop.simplify import affine

MOST_INNER = 160
"""Steps of the sum between two looks at the sums in memory: so much of a panel stays in the
nearest caches while all tiles of a block run over it."""

PARTIAL_BYTES = 1 << 18
"""Sums that are not finished, of one point."""

SLIDES_BETTER = 1.1
"""How much of its time a tile may waste before packed planes are better, over which a window slides
along lines that are put together."""

PAGE = 1 << 12
"""Bytes between the elements of a sum from which tiles that run along places wait for each of them
(64 channels of 56x56: 613 us where they lie, 462 packed; 512 of 28x28: 369 and 550)."""

POINT_MACS = 2e6
"""Multiply-adds of a point, at least, if there are several."""
MOST_POINTS = 16


class Strides(Frozen):
    """Steps along the axes of a nest, in elements, in the order of its groups."""

    offset: int
    batch: tuple[int, ...]
    outer: tuple[int, ...]  # rows of the left operand, columns of the right one
    inner: tuple[int, ...]


class Arranged(Frozen):
    """A nest of this kind, its axes in the order in which they are run over."""

    nest: Contraction
    left: Strides
    right: Strides


class StridedPlan(Frozen):
    """The part of the schedule that is compiled in. `whole`: how many trailing axes of the sum lie
    within each block of it."""

    rows: int
    vectors: int
    whole: int
    left_listed: bool
    right_listed: bool
    first_slot: int


class Cut(Frozen):
    """The part that is given at launch, in this order, before steps."""

    row_tiles: int  # of all lines
    column_tiles: int
    row_block: int  # tiles
    column_block: int
    row_blocks: int
    column_blocks: int
    line_tiles: int  # of one line of rows
    line_panels: int  # of one line of columns
    lead: int  # indices of the axis that is cut, per block of the sum
    lead_blocks: int
    inner_blocks: int
    depth: int  # steps of the sum per index of the axis that is cut
    tile: int  # elements between two tiles of partial sums; 0 if one is enough
    left_step: int  # between the steps of the sum, where they are even
    right_step: int
    left_list: int  # byte offsets into scratch
    right_list: int
    left_offset: int
    right_offset: int


_NAMES = tuple(Cut.__annotations__)


def find_strides(nest: Contraction, target: Target) -> Arranged | None:
    """The nest as it is to be run over, if its operands can be read where they lie and the packing
    of one of them would be saved."""
    given, swapped = _arranged(nest, target), _arranged(_swapped(nest), target)
    if swapped is not None and given is None and _leaps(swapped):
        return None
    ways = [way for way in (given, swapped) if way is not None]
    if not ways:
        return None
    times = [_waste(way, target) for way in ways]
    if min(times) > SLIDES_BETTER and find_slide(nest) is not None:
        return None
    # Results are contiguous along the columns of the nest as it is given.
    return ways[0] if len(ways) == 1 or times[0] <= 1.3 * times[1] else ways[1]


def _leaps(way: Arranged) -> bool:
    """Whether each element of an even sum lies in another page of the left operand, and results do
    not lie along the columns: packing is quicker then."""
    nest, steps = way.nest, way.left.inner
    even = _is_even(nest, steps) and _is_even(nest, way.right.inner)
    return even and steps[-1] * nest.dtype.itemsize >= PAGE


def _swapped(nest: Contraction) -> Contraction:
    return replace(nest, rows=nest.columns, columns=nest.rows, left=nest.right, right=nest.left)


def _arranged(nest: Contraction, target: Target) -> Arranged | None:
    left = _strides(nest, nest.left, nest.rows)
    right = _strides(nest, nest.right, nest.columns)
    if left is None or right is None or not nest.rows or not nest.columns or not nest.inner:
        return None
    if 1 not in right.outer:
        return None
    extents = [cost.extent(axis) for axis in (*nest.batch, *nest.rows, *nest.columns, *nest.inner)]
    if not all(extents):
        return None
    first = right.outer.index(1)
    columns = sorted(range(len(nest.columns)), key=lambda n: (n == first, -right.outer[n]))
    nest = replace(nest, columns=tuple(nest.columns[n] for n in columns))
    turned = replace(right, outer=tuple(right.outer[n] for n in columns))
    rows_of = left

    def along(last: int) -> Arranged:
        """With that axis of the rows as the line along which tiles lie."""
        rows = [*(n for n in range(len(nest.rows)) if n != last), last]
        return Arranged(
            replace(nest, rows=tuple(nest.rows[n] for n in rows)),
            replace(rows_of, outer=tuple(rows_of.outer[n] for n in rows)),
            turned,
        )

    # Places of one line lie next to each other, those of several images do not.
    number = len(nest.rows)
    arranged = min(
        map(along, reversed(range(number))),
        key=lambda way: (
            _waste(way, target) * (1.0 if way.left.outer[-1] == min(left.outer) else 1.2)
        ),
    )
    lanes = target.lanes(nest.dtype.itemsize)
    line = cost.extent(arranged.nest.rows[-1])
    if cost.extent(arranged.nest.columns[-1]) < lanes or line < 2:
        return None
    uneven = not _is_even(nest, left.inner) or not _is_even(nest, right.inner)
    # Panels as wide as a tile, which somebody has laid out so.
    panels = len(nest.columns) > 1 and _vectors_of(arranged, target) is not None
    return arranged if uneven or panels else None


def _vectors_of(arranged: Arranged, target: Target) -> int | None:
    """How many vectors a panel has, if the columns lie in panels of one tile each."""
    width = cost.extent(arranged.nest.columns[-1])
    lanes = target.lanes(arranged.nest.dtype.itemsize)
    vectors = width // lanes
    steps = arranged.right.inner
    dense = bool(steps) and min(steps) == width
    return vectors if dense and width % lanes == 0 and 1 <= vectors <= 4 else None


def _waste(arranged: Arranged, target: Target) -> float:
    return _tile(arranged, target)[1]


def _tile(arranged: Arranged, target: Target) -> tuple[RowTile, float]:
    nest = arranged.nest
    line, width = cost.extent(nest.rows[-1]), cost.extent(nest.columns[-1])
    lanes = target.lanes(nest.dtype.itemsize)
    vectors = _vectors_of(arranged, target)
    tile, time = line_tile(line, width, lanes, target.register_file)
    if vectors is not None:
        tile, time = row_tile(line, width, lanes, target.register_file, vectors)
    while tile.vectors * lanes > width:  # a panel begins early enough to stay inside
        tile = replace(tile, vectors=tile.vectors - 1)
    return tile, time


def _strides(nest: Contraction, operand: Expr, outer: Sequence[LoopAxis]) -> Strides | None:
    if not isinstance(operand, Load) or operand.dtype is not nest.dtype:
        return None
    groups = (nest.batch, outer, nest.inner)
    names = {axis.name for axes in groups for axis in axes}
    split = affine(operand.index, names)
    if split is None or not isinstance(split[1], Const):
        return None
    found: list[tuple[int, ...]] = []
    for axes in groups:
        steps = [split[0].get(axis.name, Const(0)) for axis in axes]
        if not all(isinstance(step, Const) for step in steps):
            return None
        found.append(tuple(step.value for step in steps))  # type: ignore[attr-defined]
    return Strides(split[1].value, *found)


def _is_even(nest: Contraction, steps: Sequence[int], whole: int | None = None) -> bool:
    """Whether an operand lies evenly along the trailing axes of the sum, and the one before."""
    number = len(steps) if whole is None else min(len(steps), whole + 1)
    axes = nest.inner[len(nest.inner) - number :]
    expected = steps[-1]
    for axis, step in zip(reversed(axes), reversed(steps[len(steps) - number :]), strict=True):
        if step != expected:
            return False
        expected *= cost.extent(axis)
    return True


class Schedule(Frozen):
    """What is decided about a nest, as a `Launchable` tells it; `slots` come after the nest's."""

    plan: StridedPlan
    slots: bytes
    points: int
    grain: int
    scratch_bytes: int
    cost_us: float
    lead: int
    block: tuple[int, int]


def plan_strided(arranged: Arranged, target: Target, first_slot: int) -> Schedule:
    """How such a nest is cut into tiles, blocks and points, from its extents alone."""
    nest = arranged.nest
    size = nest.dtype.itemsize
    tile = _tile(arranged, target)[0]
    rows, width = tile.rows, tile.vectors * target.lanes(size)
    row_tiles, column_tiles = _tiles(nest, rows, width)
    whole, lead = _inner_block(nest)
    extents = [cost.extent(axis) for axis in nest.inner]
    batch = prod(cost.extent(axis) for axis in nest.batch)
    inner_blocks = _count_inner_blocks(extents, whole, lead)
    macs = float(prod(extents)) * row_tiles * rows * column_tiles * width
    most = MOST_POINTS if inner_blocks == 1 else PARTIAL_BYTES // (rows * width * size)
    row_blocks, column_blocks = _share(
        row_tiles, column_tiles, batch, macs, prod(extents) * rows * width, inner_blocks, most
    )
    block = ceil(row_tiles / row_blocks), ceil(column_tiles / column_blocks)
    plan = StridedPlan(
        rows,
        tile.vectors,
        whole,
        not _is_even(nest, arranged.left.inner, whole),
        not _is_even(nest, arranged.right.inner, whole),
        first_slot,
    )
    numbers, points, scratch = cut_tiles(arranged, plan, lead, block, target)
    rate = target.lanes(size) * target.speeds.strided_multiply_adds
    microseconds = batch * macs / rate / 1000 + 0.2 * points
    slots = struct.pack(f"<{len(numbers)}q", *numbers)
    chunk = grain(points, microseconds)
    return Schedule(plan, slots, points, chunk, scratch, microseconds, lead, block)


def _tiles(nest: Contraction, rows: int, width: int) -> tuple[int, int]:
    """Of rows and of columns, those beyond the end of a line included."""
    row_tiles = -(-cost.extent(nest.rows[-1]) // rows)
    column_tiles = -(-cost.extent(nest.columns[-1]) // width)
    for axis in nest.rows[:-1]:
        row_tiles *= cost.extent(axis)
    for axis in nest.columns[:-1]:
        column_tiles *= cost.extent(axis)
    return row_tiles, column_tiles


def _count_inner_blocks(extents: Sequence[int], whole: int, lead: int) -> int:
    if whole == len(extents):
        return 1
    return -(-extents[-whole - 1] // lead) * prod(extents[: len(extents) - whole - 1])


def cut_tiles(
    arranged: Arranged, plan: StridedPlan, lead: int, block: tuple[int, int], target: Target
) -> tuple[list[int], int, int]:
    """The numbers of a launch after those of the nest, its points, and the bytes of scratch, for
    blocks of so many tiles. Numbers of the nest may be formulas; what the plan stands on is asked
    again, and becomes a condition where it depends on them (`RuntimeExtents.supposed`)."""
    nest = arranged.nest
    left = _strides(nest, nest.left, nest.rows)
    right = _strides(nest, nest.right, nest.columns)
    assert left is not None and right is not None
    size = nest.dtype.itemsize
    rows, width = plan.rows, plan.vectors * target.lanes(size)
    line_tiles = -(-cost.extent(nest.rows[-1]) // rows)
    line_panels = -(-cost.extent(nest.columns[-1]) // width)
    row_tiles, column_tiles = _tiles(nest, rows, width)
    extents = [cost.extent(axis) for axis in nest.inner]
    depth = prod(extents[len(extents) - plan.whole :])
    lead_extent = extents[-plan.whole - 1] if plan.whole < len(extents) else 1
    holds = (
        left == arranged.left
        and right == arranged.right
        and cost.extent(nest.rows[-1]) >= rows
        and cost.extent(nest.columns[-1]) >= width
        and plan.left_listed != _is_even(nest, left.inner, plan.whole)
        and plan.right_listed != _is_even(nest, right.inner, plan.whole)
    )
    if not holds:
        raise InternalError("cpu: a plan does not hold for the sizes that it was made for")
    row_block, column_block = block
    inner_blocks = _count_inner_blocks(extents, plan.whole, lead)
    tiles = row_block * column_block if inner_blocks > 1 else 1
    left_list = round_up(tiles * rows * width * size + 64, 64)
    listed = depth * lead
    right_list = left_list + (round_up(listed * 8, 64) if plan.left_listed else 0)
    scratch = right_list + (round_up(listed * 8, 64) if plan.right_listed else 0)
    cut = Cut(
        row_tiles,
        column_tiles,
        row_block,
        column_block,
        -(-row_tiles // row_block),
        -(-column_tiles // column_block),
        line_tiles,
        line_panels,
        lead,
        -(-lead_extent // lead),
        inner_blocks,
        depth,
        rows * width if inner_blocks > 1 else 0,
        left.inner[-1],
        right.inner[-1],
        left_list,
        right_list,
        left.offset,
        right.offset,
    )
    numbers = [*vars(cut).values()]
    for strides in (left, right):
        numbers += [*strides.batch, *strides.outer, *strides.inner]
    points = prod(cost.extent(axis) for axis in nest.batch) * cut.row_blocks * cut.column_blocks
    return numbers, points, scratch


def _inner_block(nest: Contraction) -> tuple[int, int]:
    """(trailing axes of the sum that lie within a block, indices of the next one per block). Only
    the first axis may leave a shorter block at its end: the others are cut evenly."""
    extents = [cost.extent(axis) for axis in nest.inner]
    whole, depth = 0, 1
    while whole < len(extents) and depth * extents[-1 - whole] <= MOST_INNER:
        depth *= extents[-1 - whole]
        whole += 1
    if whole == len(extents):
        return whole, 1
    extent = extents[-1 - whole]
    most = max(1, MOST_INNER // depth)
    if whole == len(extents) - 1:
        return whole, ceil(extent / ceil(extent / most))
    return whole, max(number for number in range(1, most + 1) if extent % number == 0)


def _share(
    row_tiles: int,
    column_tiles: int,
    batch: int,
    macs: float,
    tile_macs: int,
    inner_blocks: int,
    most_tiles: int,
) -> tuple[int, int]:
    """Blocks of rows and of columns: enough to share among threads, in even parts, each of which
    reads little again. Decided without knowing how many threads there are."""
    wanted = max(1, min(MOST_POINTS, int(batch * macs / POINT_MACS)))
    wanted = 1 << int(log2(wanted))
    best: tuple[float, tuple[int, int]] | None = None
    for row_blocks in range(1, row_tiles + 1):
        height = ceil(row_tiles / row_blocks)
        if row_blocks > 1 and ceil(row_tiles / height) < row_blocks:
            continue
        for column_blocks in range(1, min(column_tiles, 4 * MOST_POINTS) + 1):
            across = ceil(column_tiles / column_blocks)
            if ceil(column_tiles / across) < column_blocks:
                continue
            if inner_blocks > 1 and height * across > most_tiles:
                continue
            points = batch * row_blocks * column_blocks
            if points > 4 * MOST_POINTS and best is not None:
                break
            threads = [n for n in (2, 4, 8) if n <= max(wanted, 1)] or [1]
            total = batch * row_tiles * column_tiles
            idle = sum(ceil(points / n) * n * height * across / total for n in threads)
            time = total * tile_macs / 88.0 * idle / len(threads)
            # An element of the right operand is used by so many rows, and the other way round.
            time += (
                batch
                * (row_blocks * column_tiles * 2.0 + column_blocks * row_tiles)
                * (tile_macs / 28 / 16)
            )
            time += 400.0 * points
            if best is None or time < best[0]:
                best = time, (row_blocks, column_blocks)
        if best is not None and row_blocks >= 4 * MOST_POINTS:
            break
    assert best is not None
    return best[1]


# ------------------------------------------------------------------------------ the function


def emit_strided(nest: Contraction, plan: StridedPlan, name: str, target: Target) -> Function:
    """The function that computes blocks [begin, end) of such a contraction."""
    out = Function(name, PARAMETERS)
    _Strided(nest, plan, Emitter(out, nest.buffers, target)).emit()
    out.block.terminator = "ret i32 0"
    return out


class _Strided(Positions):
    def __init__(self, nest: Contraction, plan: StridedPlan, emitter: Emitter) -> None:
        super().__init__(emitter, nest.dtype)
        self.nest, self.plan = nest, plan
        self.width = plan.vectors * self.lanes
        slots = iter(range(plan.first_slot, plan.first_slot + 1000))
        self.slot = {name: emitter.emit(Slot(next(slots))) for name in _NAMES}
        self.left_steps, self.right_steps = (
            [
                [emitter.emit(Slot(next(slots))) for _ in axes]
                for axes in (nest.batch, outer, nest.inner)
            ]
            for outer in (nest.rows, nest.columns)
        )

    def emit(self) -> None:
        for name in ("left_list", "right_list"):
            place = self.out.op(f"getelementptr i8, ptr %scratch, {self.slot[name]}", "ptr")
            setattr(self, name, place)
        blocks = [
            LoopAxis("column block", Slot(self.plan.first_slot + _NAMES.index("column_blocks"))),
            LoopAxis("row block", Slot(self.plan.first_slot + _NAMES.index("row_blocks"))),
        ]
        self.list_steps()
        over_points(self.e, [*self.nest.batch, *blocks], self.point)

    left_list: Value
    right_list: Value

    def list_steps(self) -> None:
        """How far the elements of a block of the sum lie from its first, for each operand whose
        steps are uneven. The same for all blocks."""
        inner, whole = self.nest.inner, self.plan.whole
        tables = [
            (table, steps[2])
            for listed, table, steps in (
                (self.plan.left_listed, self.left_list, self.left_steps),
                (self.plan.right_listed, self.right_list, self.right_steps),
            )
            if listed
        ]
        if not tables:
            return
        first = len(inner) - whole
        counts = [self.extent([axis]) for axis in inner[first:]]
        axes = list(range(first, len(inner)))
        if first:
            counts.insert(0, self.slot["lead"])
            axes.insert(0, first - 1)

        def places(part: int, index: Value, shifts: list[Value]) -> None:
            if part == len(axes):
                for (table, _), shift in zip(tables, shifts, strict=True):
                    where = self.out.op(f"getelementptr i64, ptr {table.name}, {index}", "ptr")
                    self.out.emit(f"store {shift}, {where}, align 8")
                return

            def step(u: Value) -> None:
                moved = [
                    self.op("add", shift, self.op("mul", u, steps[axes[part]]))
                    for (_, steps), shift in zip(tables, shifts, strict=True)
                ]
                places(part + 1, self.op("add", self.op("mul", index, counts[part]), u), moved)

            self.loop(counts[part], step, "place")

        places(0, NOUGHT, [NOUGHT for _ in tables])

    # ----------------------------------------------------------------------------- a point

    def point(self) -> None:
        cache = self.e.scopes[-1].cache
        batch = [cache[Axis(axis.name)] for axis in self.nest.batch]
        left, right = (
            self.at(
                self.e.base(operand.buffer),
                self.placed(self.slot[f"{side}_offset"], batch, steps[0]),
            )
            for side, operand, steps in (
                ("left", self.nest.left, self.left_steps),
                ("right", self.nest.right, self.right_steps),
            )
            if isinstance(operand, Load)
        )
        row_block, column_block = cache[Axis("row block")], cache[Axis("column block")]
        self.rows = self.part(row_block, "row")
        self.columns = self.part(column_block, "column")
        self.loop(
            self.slot["inner_blocks"], lambda number: self.inner_block(number, left, right), "inner"
        )

    def part(self, block: Value, side: str) -> tuple[Value, Value]:
        """The first tile of a block, and how many there are."""
        first = self.op("mul", block, self.slot[f"{side}_block"])
        rest = self.op("sub", self.slot[f"{side}_tiles"], first)
        return first, self.least(self.slot[f"{side}_block"], rest)

    def placed(self, start: Value, indices: Sequence[Value], steps: Sequence[Value]) -> Value:
        for index, step in zip(indices, steps, strict=True):
            start = self.op("add", start, self.op("mul", index, step))
        return start

    def inner_block(self, number: Value, left: Value, right: Value) -> None:
        inner, whole = self.nest.inner, self.plan.whole
        depth = self.slot["depth"]
        if whole < len(inner):
            outer = inner[: len(inner) - whole - 1]
            blocks = self.slot["lead_blocks"]
            lead = self.op("mul", self.op("urem", number, blocks), self.slot["lead"])
            rest = self.op("udiv", number, blocks)
            indices = self.decode(outer, 1 if outer else 0, rest) if outer else []
            last = self.extent([inner[len(outer)]])
            depth = self.op("mul", depth, self.least(self.slot["lead"], self.op("sub", last, lead)))
            indices = [*indices, lead]
            left, right = (
                self.at(place, self.placed(NOUGHT, indices, steps[2][: len(indices)]))
                for place, steps in ((left, self.left_steps), (right, self.right_steps))
            )
        self.depth = depth
        self.is_first = compare(self.out, "icmp eq", number, NOUGHT)
        is_last = compare(self.out, "icmp eq", number, self.op("sub", self.slot["inner_blocks"], 1))

        def columns(j: Value) -> None:
            line, start, low, high = self.tile_place(
                self.op("add", self.columns[0], j),
                self.nest.columns,
                self.slot["line_panels"],
                self.width,
            )
            offset = self.placed(start, line, self.right_steps[1][:-1])
            panel = self.at(right, offset)
            following = None if self.plan.right_listed else self.following(j, right)

            def rows(i: Value) -> None:
                row_line, row_start, row_low, row_high = self.tile_place(
                    self.op("add", self.rows[0], i),
                    self.nest.rows,
                    self.slot["line_tiles"],
                    self.plan.rows,
                )
                offset = self.placed(NOUGHT, [*row_line, row_start], self.left_steps[1])
                number = self.op("add", self.op("mul", j, self.rows[1]), i)
                tile = self.at(
                    Value("ptr", 1, "%scratch"), self.op("mul", number, self.slot["tile"])
                )
                ahead = None if following is None else self.ahead(i, panel, following)
                self.multiply(self.at(left, offset), panel, tile, ahead)

                def finish() -> list[Value]:
                    self.bind(self.nest.columns[:-1], line)
                    self.bind(self.nest.rows[:-1], row_line)
                    self.finish(tile, (row_start, row_low, row_high), (start, low, high))
                    return []

                self.e.when(is_last, [], finish, "finish")

            self.loop(self.rows[1], rows, "rows")

        self.loop(self.columns[1], columns, "columns")

    def following(self, j: Value, right: Value) -> Value:
        """Where the panel lies that comes after panel `j` of this block of the sum."""
        after = self.op("add", j, 1)
        more = compare(self.out, "icmp slt", after, self.columns[1])
        after = select(self.out, more, after, NOUGHT)
        rest = self.op("mul", self.depth, self.slot["right_step"])
        rest = select(self.out, more, NOUGHT, rest)
        number = self.op("add", self.columns[0], after)
        axes, per_line = self.nest.columns, self.slot["line_panels"]
        line, start, _, _ = self.tile_place(number, axes, per_line, self.width)
        return self.at(
            right, self.op("add", rest, self.placed(start, line, self.right_steps[1][:-1]))
        )

    def ahead(self, i: Value, panel: Value, following: Value) -> Value:
        """What tile `i` of a panel fetches meanwhile: a line for each step of the sum, so that the
        first few tiles fetch the whole of the next panel."""
        line = CACHE_LINE // self.dtype.itemsize
        few = compare(self.out, "icmp slt", i, literal(-(-self.width // line), "i64"))
        part = self.at(following, self.op("mul", self.op("mul", i, self.depth), line))
        return select(self.out, few, part, panel)

    def tile_place(
        self, number: Value, axes: Sequence[LoopAxis], per_line: Value, unit: int
    ) -> tuple[list[Value], Value, Value, Value]:
        """Of tile `number`: the indices of its line, where along it the tile begins, and which part
        of it is new. The last one of a line begins early enough to stay inside."""
        lines = axes[:-1]
        low = self.op("mul", self.op("urem", number, per_line), unit)
        line = self.decode(lines, 1, self.op("udiv", number, per_line)) if lines else []
        end = self.extent(axes[-1:])
        start = self.least(low, self.op("sub", end, unit))
        return line, start, low, self.op("add", start, unit)

    def multiply(self, left: Value, right: Value, tile: Value, ahead: Value | None) -> None:
        plan = self.plan
        call_tile(
            self.e,
            self.dtype,
            (plan.rows, plan.vectors),
            (left, self.left_steps[1][-1], self.slot["left_step"]),
            (right, self.slot["right_step"]),
            (tile, self.depth, self.is_first),
            self.left_list if plan.left_listed else None,
            self.right_list if plan.right_listed else None,
            ahead,
        )

    def finish(
        self, tile: Value, rows: tuple[Value, Value, Value], columns: tuple[Value, Value, Value]
    ) -> None:
        """The nest's body over the new part of a tile."""
        nest = self.nest
        lanes = self.body.loop_lanes(nest.body)

        def one_row(row: Value) -> None:
            self.bind(nest.rows[-1:], [row])
            sums = self.at(tile, self.op("mul", self.op("sub", row, rows[0]), self.width))

            def one_run(position: Value) -> None:
                e = self.e
                pointer = self.at(sums, self.op("sub", position, columns[0]))
                e.bind_local(
                    nest.accumulator, self.dtype, e.read(pointer, self.dtype, e.lanes, e.tail)
                )
                self.body.statements(nest.body)

            self.vectors(nest.columns[-1].name, columns[1], columns[2], lanes, one_run)

        def run(index: Value, carried: list[Value]) -> list[Value]:
            one_row(index)
            return []

        self.e.loop(rows[1], rows[2], 1, [], run, "row")
