"""Register tiles: how many rows and vectors of columns of a product are summed at once.

Passes ask, which lay weights out in panels as wide as a tile, and backends, which run over them."""

from __future__ import annotations

from math import ceil

from tigon.base.frozen import Frozen


class Registers(Frozen):
    """Vector registers of a target: how many bytes each holds, and how many there are."""

    bytes: int
    count: int

    def lanes(self, itemsize: int) -> int:
        return max(1, self.bytes // itemsize)


WIDE = Registers(64, 32)
"""What is assumed where no target is at hand: AVX-512."""


FEW_ROWS = 24
"""Rows, or columns, of a product of which both operands lie along the sum, up to which nothing is
packed: a few of each are read side by side, vector by vector."""

LONG_SUM = 64
"""Terms of a sum next to each other that pay for that."""


class RowTile(Frozen):
    """`rows` along one line of places, times `vectors` of columns."""

    rows: int
    vectors: int


_MOST_VECTORS = 4
_LATENCY = 8.0
"""Accumulators that keep two multiply-adds a cycle busy: fewer wait for each other."""
_STEP = 1.0
"""Addresses and the loop, per step of the sum."""


def row_tiles(registers: Registers) -> list[RowTile]:
    """The tallest tile for each number of vectors: all registers but one row of the right operand
    and one element of the left hold sums. Four vectors are allowed one more, which is read again
    from the first-level cache.

    >>> row_tiles(Registers(64, 32))
    [RowTile(rows=30, vectors=1), RowTile(rows=14, vectors=2), RowTile(rows=9, vectors=3), \
RowTile(rows=7, vectors=4)]
    """
    tiles = []
    for vectors in range(1, _MOST_VECTORS + 1):
        rows = (registers.count - vectors - (0 if vectors == _MOST_VECTORS else 1)) // vectors
        if rows >= 2:
            tiles.append(RowTile(rows, vectors))
    return tiles


def line_tile(line: int, columns: int, lanes: int, registers: Registers) -> tuple[RowTile, float]:
    """The tile that wastes least on lines of `line` places and `columns` columns, and its time for
    each of them, relative to a full tile without waste.

    >>> line_tile(14, 256, 16, Registers(64, 32))
    (RowTile(rows=14, vectors=2), 1.036)
    >>> line_tile(7, 512, 16, Registers(64, 32))
    (RowTile(rows=7, vectors=4), 1.036)
    >>> line_tile(24, 20, 16, Registers(64, 32))
    (RowTile(rows=12, vectors=2), 1.667)
    """
    best: tuple[float, RowTile] | None = None
    for most in row_tiles(registers):
        time, tile = _time(line, columns, lanes, most)
        if best is None or time < best[0] - 1e-9:
            best = time, tile
    assert best is not None
    return best[1], round(best[0], 3)


def row_tile(
    line: int, columns: int, lanes: int, registers: Registers, vectors: int
) -> tuple[RowTile, float]:
    """The same for a number of vectors that is settled."""
    most = next(tile for tile in row_tiles(registers) if tile.vectors == vectors)
    time, tile = _time(line, columns, lanes, most)
    return tile, round(time, 3)


MOST_WASTE = 1.35
"""Of a tile's time, for which panels are still quicker than lines of places."""


def panel_vectors(line: int, columns: int, lanes: int, registers: Registers) -> int | None:
    """How many vectors wide panels of weights are, if they are worth their while: they divide the
    columns, and tiles over lines of `line` places waste little.

    >>> panel_vectors(56, 64, 16, Registers(64, 32)), panel_vectors(7, 512, 16, Registers(64, 32))
    (2, 4)
    >>> panel_vectors(24, 20, 16, Registers(64, 32))
    """
    times = {
        tile.vectors: row_tile(line, columns, lanes, registers, tile.vectors)[1]
        for tile in row_tiles(registers)
        if columns % (tile.vectors * lanes) == 0
    }
    best = min(times, key=times.__getitem__, default=None)
    return None if best is None or times[best] > MOST_WASTE else best


NARROW = 16
"""Bytes of the registers of machines that gather lanes one by one."""


MOST_WASTE_LAID_OUT = 1.5
"""The same, of an image that would have to be put into another order for lines of places."""


def panel_width(
    line: int, columns: int, lanes: int, registers: Registers, laid_out: bool = False
) -> int | None:
    """How many columns panels of weights have: those of a tile, as `panel_vectors` says; or all of
    them, over which tiles are cut as over lines. That is quicker than packing places where lanes
    are gathered one by one, or where the image is `laid_out` with channels last already.

    >>> panel_width(56, 64, 16, Registers(64, 32)), panel_width(8, 50, 4, Registers(16, 16))
    (32, 50)
    >>> panel_width(56, 24, 16, Registers(64, 32))
    >>> panel_width(56, 24, 16, Registers(64, 32), laid_out=True)
    24
    """
    vectors = panel_vectors(line, columns, lanes, registers)
    if vectors is not None:
        return vectors * lanes
    if columns < lanes or not (laid_out or registers.bytes <= NARROW):
        return None
    waste = line_tile(line, columns, lanes, registers)[1]
    return columns if waste <= (MOST_WASTE_LAID_OUT if laid_out else MOST_WASTE) else None


def _time(line: int, columns: int, lanes: int, most: RowTile) -> tuple[float, RowTile]:
    """Per place and column, in multiply-adds of a vector; and the most even cut of a line."""
    vectors = most.vectors
    parts = ceil(line / most.rows)
    rows = ceil(line / parts)
    panels = ceil(columns / (vectors * lanes))
    # Loads bind where a row of the right operand is used by one vector only.
    step = max(rows * vectors * (1.15 if vectors == 1 else 1.0), _LATENCY) + _STEP
    return parts * panels * step * lanes / (line * columns), RowTile(rows, vectors)
