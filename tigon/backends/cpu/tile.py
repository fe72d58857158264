"""A register tile: sums of products of a few rows and vectors of columns."""

from __future__ import annotations

from tigon.backends.cpu.positions import NOUGHT
from tigon.backends.llvm.emitter import Emitter
from tigon.backends.llvm.instructions import multiply_add
from tigon.backends.llvm.lanes import spread
from tigon.backends.llvm.target import Target
from tigon.backends.llvm.text import Function, Value, element_type, literal, vector_type, zero
from tigon.base.dtypes import DType

CACHE_LINE = 64

# To be read, near but not nearest, data.
_INTO_SECOND_CACHE = (literal(0, "i32"), literal(2, "i32"), literal(1, "i32"))


def call_tile(
    e: Emitter,
    dtype: DType,
    shape: tuple[int, int],
    left: tuple[Value, Value, Value],
    right: tuple[Value, Value],
    tile: tuple[Value, Value, Value],
    left_list: Value | None = None,
    right_list: Value | None = None,
    ahead: Value | None = None,
) -> None:
    """Add the product of two operands to a tile of (rows, vectors).

    `left`: where its first element is, how far apart its rows and its steps of the sum lie.
    `right`: the same, without rows. `tile`: where it is, the steps of the sum, and whether it is to
    be written anew. Where an operand's steps are uneven, a table lists them. `ahead`: memory that
    is read next, of which a cache line is fetched with each step."""
    rows, vectors = shape
    element = element_type(dtype)
    name = f"tile_{element}_{rows}x{vectors}x{e.target.lanes(dtype.itemsize)}"
    name += "_left" if left_list else ""
    name += "_listed" if right_list else ""
    name += "_ahead" if ahead else ""
    listed = (left_list is not None, right_list is not None, ahead is not None)
    e.out.call_helper(
        name,
        lambda name: emit_tile(name, e.target, dtype, rows, vectors, *listed),
        *left,
        *right,
        *tile,
        *([left_list] if left_list else []),
        *([right_list] if right_list else []),
        *([ahead] if ahead else []),
    )


def emit_tile(
    name: str,
    target: Target,
    dtype: DType,
    rows: int,
    vectors: int,
    left_listed: bool,
    right_listed: bool,
    fetches: bool,
) -> Function:
    """`name(left, stride, step, right, across, tile, depth, first)`: add to the tile, or store
    in it if `first`, the product of a left operand, whose element (row, k) is at row * stride + k *
    step, and a right one, whose columns of step k begin at k * across.
    Where an operand is `listed`, one more argument lists for each k how far it lies from its first.
    One for all kernels of these sizes: it is half of the code of a contraction."""
    parameters = [
        "ptr %left",
        "i64 %stride",
        "i64 %step",
        "ptr %right",
        "i64 %across",
        "ptr %tile",
        "i64 %depth",
        "i1 %first",
    ]
    further = {"left_list": left_listed, "right_list": right_listed, "ahead": fetches}
    parameters += [f"ptr %{name}" for name, is_given in further.items() if is_given]
    out = Function(name, parameters, "void")
    e = Emitter(out, (), target)
    lanes, element, size = target.lanes(dtype.itemsize), element_type(dtype), dtype.itemsize
    kind = vector_type(element, lanes)
    left, right, tile = (Value("ptr", 1, f"%{p}") for p in ("left", "right", "tile"))

    addresses = _Addresses(out, target, element, size)
    at = addresses.at

    def load(pointer: Value) -> Value:
        return out.op(f"load {kind}, {pointer}, align {size}", element, lanes)

    # Addresses of one register and a scaled one reach three rows from each of a few starts.
    offsets = [
        addresses.distance(out.op(f"mul i64 %stride, {r}", "i64"))
        for r in range(rows)
        if r < 3 or r % 3 == 0
    ]
    lefts = _Steps(addresses, left, "%step", "%left_list" if left_listed else "")
    rights = _Steps(addresses, right, "%across", "%right_list" if right_listed else "")
    places = [str(number * lanes) for number in range(rows * vectors)]
    fresh = [zero(element, lanes) for _ in places]
    more = out.op("xor i1 %first, true", "i1")
    sums = e.when(more, fresh, lambda: [load(at(tile, place)) for place in places], "resume")

    def body(k: Value, carried: list[Value]) -> list[Value]:
        across, *carried = rights.place(k, carried)
        if fetches:
            _fetch_line(out, k)
        # Before the rows' place is made: the other way round, tiles took twice as long.
        columns = [load(at(across, str(v * lanes))) for v in range(vectors)]
        start, *sums = lefts.place(k, carried)
        made = [*rights.following(across), *lefts.following(start)]
        for r in range(rows):
            if r % 3 == 0:
                base = addresses.further(start, offsets[r // 3 + 2]) if r else start
            pointer = addresses.further(base, offsets[r % 3]) if r % 3 else base
            one = out.op(f"load {element}, {pointer}, align {size}", element)
            factor = spread(out, one, lanes)
            for v in range(vectors):
                old = sums[r * vectors + v]
                made.append(multiply_add(out, factor, columns[v], old, target.fused))
        return made

    walked = [*rights.carried, *lefts.carried]
    _, last = e.loop(NOUGHT, Value("i64", 1, "%depth"), 1, [*walked, *sums], body, "sum")
    sums = last[len(walked) :]
    for place, value in zip(places, sums, strict=True):
        out.emit(f"store {value}, {at(tile, place)}, align {size}")
    return out


class _Addresses:
    """How code gets to elements. Where instructions scale no index, distances are in bytes, found
    before the loop, and constants, which wrap nowhere, are part of an instruction."""

    def __init__(self, out: Function, target: Target, element: str, size: int) -> None:
        self.out, self._element, self._size = out, element, size
        self.scales = target.pointer_bytes == 8

    def at(self, base: Value, index: str) -> Value:
        wraps = " nuw" if index.isdigit() and not self.scales else ""
        text = f"getelementptr{wraps} {self._element}, {base}, i64 {index}"
        return self.out.op(text, "ptr")

    def distance(self, elements: Value) -> Value:
        """What `further` takes for so many elements."""
        if self.scales:
            return elements
        wide = self.out.op(f"mul {elements}, {self._size}", "i64")
        return self.out.op(f"trunc {wide} to i32", "i32")

    def further(self, base: Value, distance: Value) -> Value:
        element = self._element if self.scales else "i8"
        return self.out.op(f"getelementptr {element}, {base}, {distance}", "ptr")


class _Steps:
    """Where an operand has its steps of the sum: listed in a table, at multiples of a distance, or,
    where addresses are not scaled, each so far from the last one."""

    def __init__(self, addresses: _Addresses, start: Value, apart: str, table: str) -> None:
        self._addresses, self._start, self._table = addresses, start, table
        self._apart = Value("i64", 1, apart)
        self.carried: list[Value] = []
        if not table and not addresses.scales:
            self.carried = [start]
            self._apart = addresses.distance(self._apart)

    def place(self, k: Value, carried: list[Value]) -> list[Value]:
        """That of step k, and what is carried besides."""
        if self.carried:
            return carried
        addresses, out = self._addresses, self._addresses.out
        if not self._table:
            index = out.op(f"mul {k}, {self._apart.name}", "i64")
        else:
            listed = out.op(f"getelementptr i64, ptr {self._table}, {k}", "ptr")
            index = out.op(f"load i64, {listed}, align 8", "i64")
        return [addresses.at(self._start, index.name), *carried]

    def following(self, place: Value) -> list[Value]:
        return [self._addresses.further(place, self._apart)] if self.carried else []


def _fetch_line(out: Function, k: Value) -> None:
    line = out.op(f"mul {k}, {CACHE_LINE}", "i64")
    line = out.op(f"getelementptr i8, ptr %ahead, {line}", "ptr")
    out.call_void("llvm.prefetch.p0", line, *_INTO_SECOND_CACHE)
