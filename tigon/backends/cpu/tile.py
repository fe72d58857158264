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

    def at(base: Value, index: str) -> Value:
        return out.op(f"getelementptr {element}, {base}, i64 {index}", "ptr")

    def load(pointer: Value) -> Value:
        return out.op(f"load {kind}, {pointer}, align {size}", element, lanes)

    # Addresses of one register and a scaled one reach three rows from each of a few starts.
    offsets = [out.op(f"mul i64 %stride, {r}", "i64") for r in range(rows) if r < 3 or r % 3 == 0]
    places = [str(number * lanes) for number in range(rows * vectors)]
    fresh = [zero(element, lanes) for _ in places]
    more = out.op("xor i1 %first, true", "i1")
    sums = e.when(more, fresh, lambda: [load(at(tile, place)) for place in places], "resume")

    def step(base: Value, k: Value, table: str, even: str) -> Value:
        if not table:
            return at(base, out.op(f"mul {k}, {even}", "i64").name)
        place = out.op(f"getelementptr i64, ptr {table}, {k}", "ptr")
        return at(base, out.op(f"load i64, {place}, align 8", "i64").name)

    def body(k: Value, sums: list[Value]) -> list[Value]:
        across = step(right, k, "%right_list" if right_listed else "", "%across")
        if fetches:
            _fetch_line(out, k)
        columns = [load(at(across, str(v * lanes))) for v in range(vectors)]
        start = step(left, k, "%left_list" if left_listed else "", "%step")
        made = []
        for r in range(rows):
            if r % 3 == 0:
                base = at(start, offsets[r // 3 + 2].name) if r else start
            pointer = at(base, offsets[r % 3].name) if r % 3 else base
            one = out.op(f"load {element}, {pointer}, align {size}", element)
            factor = spread(out, one, lanes)
            for v in range(vectors):
                old = sums[r * vectors + v]
                made.append(multiply_add(out, factor, columns[v], old, target.fused))
        return made

    _, sums = e.loop(NOUGHT, Value("i64", 1, "%depth"), 1, sums, body, "sum")
    for place, value in zip(places, sums, strict=True):
        out.emit(f"store {value}, {at(tile, place)}, align {size}")
    return out


def _fetch_line(out: Function, k: Value) -> None:
    line = out.op(f"mul {k}, {CACHE_LINE}", "i64")
    line = out.op(f"getelementptr i8, ptr %ahead, {line}", "ptr")
    out.call_void("llvm.prefetch.p0", line, *_INTO_SECOND_CACHE)
