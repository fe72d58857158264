"""How a contraction is cut into tiles, blocks and points. Decided from extents and index maps with
their numbers, never from the number of threads: results do not depend on who computes them."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Sequence
from math import ceil, gcd, log2, prod

from tigon.backends.cpu import cost
from tigon.backends.cpu.chunks import grain
from tigon.backends.cpu.sliding import Slide, find_slide
from tigon.backends.llvm.target import Target
from tigon.base.errors import InternalError
from tigon.base.extents import as_known
from tigon.base.frozen import Frozen, replace
from tigon.base.multiples import round_up
from tigon.loop.grammar import Const, Contraction, Expr, Let, Load, LoopAxis, Stmt, Store, walk
from tigon.loop.simplify import affine, mentions

INNER_BLOCK = 384
SHORT_LINE = 24
"""Lines of a plane so short that vectors had better take what they need of several."""

BLOCK_EDGES = 704
"""Rows plus columns of a block, so that both packed operands stay in the second-level cache."""
FEW_TILES = 4
"""Tiles that read a panel of the right operand as often as packing it would pay for."""
PART_FLOPS = 1e6
MOST_POINTS = 16
"""Products of about that work are not cut, those of four times as much in two, of 16 times as much
in four, and so on."""


class Packing(Frozen):
    """How one operand is copied into its panels. `along`: vectors run along the "inner" (summed)
    axes or along the "outer" ones (rows or columns), or are gathered where neither has a run worth
    a vector. `window`: a vector's elements lie next to each other, but guards see every axis.
    `flat_outer`, `flat_inner`: how many trailing axes of the group the operand sees as one axis, so
    that the last may stand for all of them.

    "slide": planes, over which a window slides by `steps`; vectors run along their lines, each of
    which fills one if `whole`, or regardless of lines (`flat_outer` = 2)."""

    along: str
    window: bool
    flat_outer: int
    flat_inner: int
    steps: tuple[int, ...] = ()
    whole: bool = False


class Plan(Frozen):
    """The part of the schedule that is compiled in: a tile of `rows` x `vectors` registers."""

    rows: int
    vectors: int
    depth: int  # elements between the rows of a packed left panel
    left: Packing | None  # None: read where it lies
    right: Packing | None
    flat_rows: int  # in the body
    flat_columns: int
    first_slot: int


class Blocks(Frozen):
    """The part that is given at launch, in slots after those of the nest, in this order."""

    rows: int
    columns: int
    inner: int
    row_block: int
    column_block: int
    inner_block: int
    row_blocks: int
    column_blocks: int
    inner_blocks: int
    panel: int  # elements between two packed right panels
    tile: int  # elements between two tiles of partial sums; 0 if one is enough
    left_row: int  # elements between rows of the left operand: of its panels, or where it lies
    left_step: int  # elements between its steps of the sum
    right_step: int  # the same of the right operand
    right_at: int  # byte offsets into scratch
    tiles_at: int
    rows_at: int
    # Of a window that slides:
    pitch: int = 0  # elements between the lines of a plane
    plane: int = 0  # elements of a plane
    planes: int = 0  # elements of all planes, and of what is read beyond them
    table_at: int = 0  # byte offset of the places of the window within the planes

    def pack(self) -> bytes:
        numbers = vars(self).values()
        return struct.pack(f"<{len(numbers)}q", *numbers)


def count(axes: Sequence[LoopAxis]) -> int:
    return prod(cost.extent(axis) for axis in axes)


def arrange(nest: Contraction, target: Target) -> tuple[Contraction, Slide | None]:
    """The nest as it is to be planned: where a window slides over each image by itself, the images
    are points."""
    slide = find_slide(nest)
    if slide is None or slide.window > INNER_BLOCK:
        return nest, None
    lanes = target.lanes(nest.dtype.itemsize)
    number = len(slide.steps)
    rows, places = count(nest.rows), count(nest.columns[-number:])
    images = count(nest.columns) // max(1, places)
    left = _ways(nest, nest.left, nest.rows, lanes)
    right = _ways(nest, nest.right, nest.columns, lanes)
    if not rows or min(left, key=left.__getitem__)[1]:
        return nest, None
    # Cycles per place and element of the sum: multiply-adds, those beyond the end included, and
    # packing, of the left operand once for all columns or once per image.
    width = 2 * lanes
    left_cost = min(left.values()) * rows
    together = round_up(places * images, width) / (places * images) * rows / lanes
    together += min(right.values()) + left_cost / (places * images)
    apart = round_up(slide.columns, width) / places * rows / lanes + left_cost / places
    copied = slide.planes * slide.plane(slide.columns) / (slide.window * places)
    apart += copied * (_STRAIGHT if _runs(nest) else _GATHER)
    if apart >= together:
        return nest, None
    batch, columns = (*nest.batch, *nest.columns[:-number]), nest.columns[-number:]
    return replace(nest, batch=batch, columns=columns), slide


def _runs(nest: Contraction) -> bool:
    """Whether neighbouring columns are neighbours in memory."""
    last = nest.columns[-1]
    indices = [node.index for node in walk(nest.right) if isinstance(node, Load)]
    return all(step_along(index, last) == 1 for index in indices if mentions(index, {last.name}))


def choose(
    nest: Contraction,
    slide: Slide | None,
    target: Target,
    first_slot: int,
    present: Collection[Tile] = (),
) -> tuple[Plan, Blocks, int]:
    """The plan, the blocks and the bytes of scratch. `present`: tiles to be preferred, because
    their code exists already."""
    size = nest.dtype.itemsize
    lanes = target.lanes(size)
    rows, columns, inner = count(nest.rows), count(nest.columns), count(nest.inner)
    step = 16
    if slide is not None:
        columns, step = slide.columns, slide.window
    if len(nest.columns) > 1 and target.registers >= 32:
        present = (*present, _IMAGE_TILE)
    crossing = slide is None and _crosses_lines(nest, lanes)
    tile_rows, vectors = choose_tile(rows, columns, lanes, target, present, crossing)
    width = vectors * lanes

    _, inner_block = _inner_blocks(inner, step)
    flops = 2.0 * count(nest.batch) * rows * columns * inner
    wanted: float = min(MOST_POINTS, _parts(flops))
    left_steps = _left_in_memory(nest, tile_rows, inner_block)
    left = None if left_steps else _packing(nest, nest.left, nest.rows, lanes)
    few = rows <= FEW_TILES * tile_rows
    right_step = None if slide else _right_in_memory(nest, width, inner_block, few)
    right: Packing | None = None
    if slide is None:
        right = None if right_step else _packing(nest, nest.right, nest.columns, lanes)
    else:
        runs = _runs(nest)
        flat = 2 if len(slide.steps) > 1 and not runs and slide.pitch < SHORT_LINE else 1
        # Where masks cost nothing, one function serves lines of any length.
        whole = not target.masks and len(slide.steps) > 1 and slide.shortest >= lanes
        right = Packing("slide", runs, flat, 1, slide.steps, whole)
    wanted /= max(1, count(nest.batch))
    if slide is not None:
        wanted *= _FEWER
    if slide is None:
        row_block, column_block = _cut(rows, columns, tile_rows, width, wanted, left, right, few)
    else:
        left_cost = 0.0 if left is None else _STRAIGHT * rows
        element = _STRAIGHT if right and right.window else _GATHER
        element *= slide.planes / slide.window
        shared = slide.lines(1) * slide.pitch  # elements that neighbouring blocks pack both
        costs = (left_cost, element * columns, element * shared)
        row_block, column_block = _cut_evenly(
            rows, columns, (tile_rows, vectors), lanes, wanted, costs
        )
    depth = 144 if inner_block <= 128 else INNER_BLOCK + 16
    indices = list(_indices(nest.body))
    values = [stmt.value for stmt in nest.body if isinstance(stmt, (Let, Store))]
    plan = Plan(
        tile_rows,
        vectors,
        depth,
        left,
        right,
        _flat(indices, values, nest.rows),
        _flat(indices, values, nest.columns),
        first_slot,
    )
    steps = (left_steps, right_step)
    return plan, *cut_blocks(nest, slide, plan, (row_block, column_block), steps, target)


def _inner_blocks(inner: int, step: int) -> tuple[int, int]:
    """How many blocks a sum has, and how long each is."""
    blocks = max(1, -(-inner // (INNER_BLOCK // step * step)))
    return blocks, max(step, round_up(-(-inner // blocks), step))


def cut_blocks(
    nest: Contraction,
    slide: Slide | None,
    plan: Plan,
    block: tuple[int, int],
    steps: tuple[tuple[int, int] | None, int | None],
    target: Target,
) -> tuple[Blocks, int]:
    """The numbers of a launch, and the bytes of scratch, for blocks of so many rows and columns.
    Numbers of the nest may be formulas. `steps` of operands that are read where they lie."""
    size = nest.dtype.itemsize
    lanes = target.lanes(size)
    rows, columns, inner = count(nest.rows), count(nest.columns), count(nest.inner)
    step = 16
    if slide is not None:
        columns, step = slide.columns, slide.window
    inner_blocks, inner_block = _inner_blocks(inner, step)
    tile_rows, width = plan.rows, plan.vectors * lanes
    left, right, depth = plan.left, plan.right, plan.depth
    left_steps, right_step = steps
    row_block, column_block = block
    row_blocks, column_blocks = -(-rows // row_block), -(-columns // column_block)
    panel = (inner_block + 16) * width
    padded_rows, padded_columns = round_up(row_block, tile_rows), round_up(column_block, width)
    tile = tile_rows * width
    tiles = (padded_rows // tile_rows) * (padded_columns // width) if inner_blocks > 1 else 1
    right_at = round_up((padded_rows * depth + 64) * size, 64) if left else 0
    packed = (1, tile_rows) if left and left.along == "outer" else (depth, 1)
    right_elements = padded_columns // width * panel if right else 0
    plane = planes = 0
    if slide is not None:
        plane = round_up(slide.plane(padded_columns), lanes)
        # The last panel reads up to a line and a panel beyond the last plane.
        planes = inner_block // slide.window * slide.planes * plane
        planes = right_elements = planes + slide.pitch + 2 * width
    tiles_at = right_at + round_up((right_elements + 64) * size, 64)
    rows_at = tiles_at + round_up(tiles * tile * size, 64)
    row = max(lanes * (INNER_BLOCK + 16), padded_rows, padded_columns)
    table_at = rows_at + round_up((row + 64) * size, 64)
    scratch = table_at if slide is None else table_at + round_up(inner_block * 8, 64)

    blocks = Blocks(
        rows,
        columns,
        inner,
        row_block,
        column_block,
        inner_block,
        row_blocks,
        column_blocks,
        inner_blocks,
        panel,
        tile if inner_blocks > 1 else 0,
        *(left_steps or packed),
        right_step or width,
        right_at,
        tiles_at,
        rows_at,
        0 if slide is None else slide.pitch,
        plane,
        planes,
        table_at,
    )
    return blocks, scratch


def _parts(flops: float) -> int:
    """How many points share a product. Each packs some of the operands again, so they grow with the
    work; a power of two, because threads mostly come in such numbers, and the last one to finish
    counts.

    >>> [_parts(flops) for flops in (0, 1e6, 4e6, 26e6, 270e6)]
    [1, 1, 2, 4, 16]
    """
    return 1 << max(0, round(log2(max(1.0, flops / PART_FLOPS)) / 2))


def blocks_that_hold(
    nest: Contraction,
    slide: Slide | None,
    plan: Plan,
    block: tuple[int, int],
    target: Target,
) -> tuple[Blocks, int]:
    """The same with numbers that are formulas. What the plan stands on is asked again: where that
    depends on extents it becomes a condition (`RuntimeExtents.supposed`)."""
    lanes = target.lanes(nest.dtype.itemsize)
    width = plan.vectors * lanes
    slides = plan.right is not None and plan.right.along == "slide"
    left_steps = right_step = None
    holds = (slide is not None) == slides
    if plan.left is None:
        left_steps = _steps_in_memory(nest, nest.left, nest.rows, plan.rows)
        holds = holds and left_steps is not None
    else:
        holds = holds and _still_packs(nest, nest.left, nest.rows, plan.left, lanes)
    if plan.right is None:
        found = _steps_in_memory(nest, nest.right, nest.columns, width)
        holds = holds and found is not None and found[0] == 1
        right_step = None if found is None else found[1]
    elif not slides:
        holds = holds and _still_packs(nest, nest.right, nest.columns, plan.right, lanes)
    elif slide is not None and plan.right.whole:
        holds = holds and slide.shortest >= lanes
    indices = list(_indices(nest.body))
    values = [stmt.value for stmt in nest.body if isinstance(stmt, (Let, Store))]
    holds = holds and plan.flat_rows == _flat(indices, values, nest.rows)
    holds = holds and plan.flat_columns == _flat(indices, values, nest.columns)
    if not holds:
        raise InternalError("cpu: a plan does not hold for the sizes that it was made for")
    return cut_blocks(nest, slide, plan, block, (left_steps, right_step), target)


def _still_packs(
    nest: Contraction, operand: Expr, outer: Sequence[LoopAxis], packing: Packing, lanes: int
) -> bool:
    indices = [node.index for node in walk(operand) if isinstance(node, Load)]
    vector = nest.inner if packing.along == "inner" else outer
    return (
        (not packing.window or _is_window(indices, vector, lanes))
        and packing.flat_outer == _flat(indices, [operand], outer)
        and packing.flat_inner == _flat(indices, [operand], nest.inner)
    )


def count_points(nest: Contraction, blocks: Blocks) -> int:
    """Of a launch."""
    if blocks.rows == 0 or blocks.columns == 0:
        return 0
    return count(nest.batch) * blocks.row_blocks * blocks.column_blocks


def contraction_shape(
    nest: Contraction, plan: Plan, blocks: Blocks, target: Target
) -> tuple[int, int, float]:
    """(points, grain, microseconds on one core)."""
    points = count_points(nest, blocks)
    lanes = target.lanes(nest.dtype.itemsize)
    tiles = ceil(min(blocks.rows, blocks.row_block) / plan.rows) * ceil(
        min(blocks.columns, blocks.column_block) / (plan.vectors * lanes)
    )
    speeds = target.speeds
    products = tiles * plan.rows * plan.vectors * blocks.inner
    packed = blocks.inner * (blocks.row_block + blocks.column_block)
    nanoseconds = products / speeds.multiply_adds + packed * speeds.packed
    microseconds = points * (nanoseconds / 1000 + 0.1)
    return points, grain(points, microseconds), microseconds


_TILES = ((8, 3), (6, 4), (4, 4), (2, 4), (8, 1), (16, 1), (24, 1))
_NARROW_TILES = ((6, 2), (4, 2), (2, 2), (4, 1), (8, 1), (12, 1))

Tile = tuple[int, int]
"""Rows, and vectors of columns. Every element is summed in the same order whatever the tile."""

_STEP = 1.5
"""Cycles of a step of the sum for its addresses and what waits for the caches: 1,024 x 1,024 x
1,024 took 6.6 ms instead of 7.2 with tiles of 24 sums in the place of 16. Of few registers it says
nothing: in a browser, tiles of 12 sums spill, and an encoder took 1.2 of the time of those of 8."""

WORTH_COMPILING = 1.1
"""How much slower a tile may be whose code exists already."""

_IMAGE_TILE = (13, 2)
"""One tile for all layers of a network, which then share their code. Of five, hardly a row of 64
filters is wasted, of ten of 128, and so on."""

_FEWER = 0.6
"""Of all points, for convolutions: each packs an image, and even ones share well."""


def choose_tile(
    rows: int,
    columns: int,
    lanes: int,
    target: Target,
    present: Collection[Tile] = (),
    crossing: bool = False,
) -> Tile:
    """The tile that wastes least on these extents. `crossing`: vectors of the right operand lie on
    two cache lines each.

    >>> from tigon.backends.llvm.target import Target
    >>> wide = Target("", "", 64, 32, True, True)
    >>> choose_tile(1024, 1024, 16, wide), choose_tile(64, 10, 16, wide)
    ((6, 4), (16, 1))
    """
    tiles, step = (_TILES, _STEP) if target.registers >= 32 else (_NARROW_TILES, 0.0)

    def time(tile: Tile) -> float:
        height, vectors = tile
        steps = ceil(rows / height) * ceil(columns / (vectors * lanes))
        # Per step of the sum: multiply-adds, loads (two broadcasts in the time of a vector), or the
        # latency of the chain through each accumulator, whichever is longest.
        loads = height + 2 * vectors if crossing else height / 2 + vectors
        return steps * (max(height * vectors, loads, 8.0) + step)

    best = min(tiles, key=time)
    known = min(present, key=time, default=best)
    return known if time(known) <= WORTH_COMPILING * time(best) else best


_READ = 0.5
_PACKING = {"inner": 1.0, "outer": 1.0, "turned": 3.0, "gather": 6.0}
"""What copying one element into a panel costs, relatively."""


def _cut(
    rows: int,
    columns: int,
    tile_rows: int,
    width: int,
    wanted: float,
    left: Packing | None,
    right: Packing | None,
    few: bool,
) -> tuple[int, int]:
    """Block sizes: within the caches, enough of them to share among threads, and of those the
    cut that packs least: each block of rows packs the right operand again, each block of columns
    the left one. Where nothing is packed, rows are cut: such blocks of a result are in one piece.
    """
    most = (max(1, ceil(rows / tile_rows)), max(1, ceil(columns / width)))
    wanted = min(wanted, most[0] * most[1])
    # What is read where it lies costs as much as it is read too often: little of the caches.
    right_cost, left_cost = (_READ * columns if few else 0.0), 1.0
    if right is not None:
        right_cost = _PACKING["turned" if right.along == "inner" else right.along] * columns
    if left is not None:
        left_cost = _PACKING[left.along] * rows
    best, chosen = float("inf"), most
    for row_blocks in range(1, most[0] + 1):
        room = BLOCK_EDGES - ceil(rows / row_blocks)
        if room < width:
            continue
        column_blocks = max(ceil(columns / room), ceil(wanted / row_blocks))
        column_blocks = max(1, min(most[1], column_blocks))
        packed = row_blocks * right_cost + column_blocks * left_cost
        if packed < best and row_blocks * column_blocks >= wanted:
            best, chosen = packed, (row_blocks, column_blocks)
        if row_blocks >= max(wanted, rows / 64):
            break
    return (
        max(tile_rows, round_up(ceil(rows / chosen[0]), tile_rows)),
        max(width, round_up(ceil(columns / chosen[1]), width)),
    )


def _cut_evenly(
    rows: int,
    columns: int,
    tile: Tile,
    lanes: int,
    wanted: float,
    costs: tuple[float, float, float],
) -> tuple[int, int]:
    """The same for convolutions. A smaller last block is time for which one of two threads waits.

    `costs`: of packing left and right operands, and of what blocks of columns pack more than once,
    in cycles per step of the sum."""
    tile_rows, width = tile[0], tile[1] * lanes
    left_cost, right_cost, shared_cost = costs
    tall, wide = max(1, ceil(rows / tile_rows)), max(1, ceil(columns / width))
    wanted = min(wanted, tall * wide)
    best, chosen = float("inf"), (tall, wide)
    for row_blocks in range(1, min(tall, MOST_POINTS) + 1):
        height = ceil(tall / row_blocks)
        room = max(1, (BLOCK_EDGES - height * tile_rows) // width)
        least = max(1, min(wide, max(ceil(wide / room), ceil(wanted / row_blocks))))
        for column_blocks in range(least, min(wide, 2 * least) + 1):
            idle = row_blocks * height * column_blocks * ceil(wide / column_blocks) - tall * wide
            time = row_blocks * (right_cost + (column_blocks - 1) * shared_cost)
            time += column_blocks * left_cost + idle / 2 * tile[0] * tile[1]
            if time < best and row_blocks * column_blocks >= wanted:
                best, chosen = time, (height, ceil(wide / column_blocks))
    return chosen[0] * tile_rows, chosen[1] * width


# ------------------------------------------------------------------------------- index maps


def _left_in_memory(nest: Contraction, tile_rows: int, depth: int) -> tuple[int, int] | None:
    """How far apart rows and steps of the sum of the left operand lie, if it can be read from where
    it is. Where its steps lie apart, one cache line for each, the `depth` of them that are read
    together must not crowd into a few sets; rows are few at a time, and powers of two between them
    cost nothing that was measured."""
    found = _steps_in_memory(nest, nest.left, nest.rows, tile_rows)
    if found is None or 1 not in found:
        return None
    places = _SETS_BYTES // gcd(_SETS_BYTES, found[1] * nest.dtype.itemsize)
    return found if found[1] == 1 or depth <= _WAYS * places else None


def _right_in_memory(nest: Contraction, width: int, depth: int, few: bool) -> int | None:
    """The same for the steps of the right operand, which are vectors of its columns: while they lie
    on few pages, or are read by a `few` tiles only."""
    found = _steps_in_memory(nest, nest.right, nest.columns, width)
    if found is None or found[0] != 1:
        return None
    near = depth * found[1] * nest.dtype.itemsize <= _PAGES_BYTES
    return found[1] if near or few else None


def _crosses_lines(nest: Contraction, lanes: int) -> bool:
    found = _steps_in_memory(nest, nest.right, nest.columns, lanes)
    return found is not None and found[0] == 1 and found[1] % lanes != 0


def _steps_in_memory(
    nest: Contraction, operand: Expr, outer: Sequence[LoopAxis], least: int
) -> tuple[int, int] | None:
    """The steps along the outer axes and along the sum of an operand that is an array of the sum's
    dtype, evenly spaced, and with at least `least` rows or columns: a tile."""
    if not isinstance(operand, Load) or operand.dtype is not nest.dtype or count(outer) < least:
        return None
    groups = (outer, nest.inner)
    if not all(_is_even([operand.index], axes) for axes in groups if axes):
        return None
    along, step = (step_along(operand.index, axes[-1]) if axes else 1 for axes in groups)
    return None if along is None or step is None else (as_known(along), as_known(step))


_SETS_BYTES, _WAYS = 1 << 16, 8
"""The second-level cache: what lies a multiple of that apart shares a set of so many lines."""
_PAGES_BYTES = 56 << 12
"""Of the pages that can be addressed without a search, the most that one operand should take."""


def _packing(nest: Contraction, operand: Expr, outer: Sequence[LoopAxis], lanes: int) -> Packing:
    indices = [node.index for node in walk(operand) if isinstance(node, Load)]
    ways = _ways(nest, operand, outer, lanes)
    along, window = min(ways, key=ways.__getitem__)
    flat_outer, flat_inner = (_flat(indices, [operand], axes) for axes in (outer, nest.inner))
    return Packing(along, window, flat_outer, flat_inner)


def _ways(
    nest: Contraction, operand: Expr, outer: Sequence[LoopAxis], lanes: int
) -> dict[tuple[str, bool], float]:
    """Cycles per element of each way to pack an operand: along what, and whether as a window."""
    indices = [node.index for node in walk(operand) if isinstance(node, Load)]
    flat_outer = _flat(indices, [operand], outer)
    flat_inner = _flat(indices, [operand], nest.inner)

    is_left = outer is nest.rows

    def per_element(axes: Sequence[LoopAxis], flat: int) -> float:
        """Cycles, where vectors run along the last of these axes."""
        if not axes or not all(is_contiguous(index, axes[-1]) for index in indices):
            return _SCATTERED
        run = max(1, count(axes[-flat:]))
        return (_RUN + _VECTOR * ceil(run / lanes)) / run

    choices = {
        ("inner", False): per_element(nest.inner, flat_inner) + (0.0 if is_left else _TURN),
        ("outer", False): per_element(outer, flat_outer) + (_TURN / 2 if is_left else 0.0),
    }
    vector = nest.inner if is_left else outer
    if count(vector) >= lanes:
        choices["gather", False] = _GATHER
    if _is_window(indices, nest.inner, lanes):
        choices["inner", True] = _WINDOW / lanes + (0.0 if is_left else _TURN)
    if not is_left and _is_window(indices, outer, lanes):
        choices["outer", True] = _WINDOW / lanes
    return choices


_RUN, _VECTOR, _WINDOW = 20.0, 6.0, 24.0  # cycles to begin a run, per vector of it, of a window
_GATHER, _SCATTERED, _TURN, _STRAIGHT = 2.8, 3.5, 0.8, 0.8  # per element


def _is_window(indices: Sequence[Expr], axes: Sequence[LoopAxis], lanes: int) -> bool:
    """Whether elements at `lanes` successive positions, counted from a multiple of that, always
    lie next to each other."""
    names = {axis.name for axis in axes}
    moving = [index for index in indices if mentions(index, names)]
    for start in range(len(axes)):
        group = axes[start:]
        if count(group) and count(group) % lanes == 0:
            last = group[-1]
            if all(_is_even([index], group) and step_along(index, last) == 1 for index in moving):
                return True
    return False


def step_along(index: Expr, axis: LoopAxis) -> int | None:
    split = affine(index, {axis.name})
    step = None if split is None else split[0].get(axis.name, Const(0))
    return step.value if isinstance(step, Const) else None


def is_contiguous(index: Expr, axis: LoopAxis) -> bool:
    return step_along(index, axis) in (0, 1)


def _flat(indices: Sequence[Expr], values: Sequence[Expr], axes: Sequence[LoopAxis]) -> int:
    """How many trailing axes every index steps through evenly and nothing else looks at."""
    for start in range(len(axes) - 1):
        group = axes[start:]
        if _is_even(indices, group) and not any(_number_in(value, group) for value in values):
            return len(group)
    return min(1, len(axes))


def _is_even(indices: Iterable[Expr], axes: Sequence[LoopAxis]) -> bool:
    names = {axis.name for axis in axes}
    for index in indices:
        split = affine(index, names)
        if split is None:
            return False
        steps = [split[0].get(axis.name, Const(0)) for axis in axes]
        if not all(isinstance(step, Const) for step in steps):
            return False
        expected = steps[-1].value  # type: ignore[attr-defined]
        for axis, step in zip(reversed(axes), reversed(steps), strict=True):
            if step.value != expected and cost.extent(axis) != 1:  # type: ignore[attr-defined]
                return False
            expected *= cost.extent(axis)
    return True


def _number_in(expr: Expr, axes: Sequence[LoopAxis]) -> bool:
    """Whether an axis is used other than inside the index of a load."""
    names = {axis.name for axis in axes}
    stack, seen = [expr], set()
    while stack:
        node = stack.pop()
        if node in seen or isinstance(node, Load):
            continue
        seen.add(node)
        if not node.operands and mentions(node, names):
            return True
        stack.extend(node.operands)
    return False


def _indices(body: Sequence[Stmt]) -> Iterable[Expr]:
    for stmt in body:
        if isinstance(stmt, Store):
            yield stmt.index
        yield from (node.index for node in walk(stmt.value) if isinstance(node, Load))  # type: ignore
