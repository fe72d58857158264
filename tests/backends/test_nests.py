"""Nests of every shape against the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backends.harness import aligned, check, narrow, run
from tigon.backends.cpu.backend import CpuBackend, cpu
from tigon.base.dtypes import DType, bool_, float32, float64, int32, int64, uint8
from tigon.loop import build as L
from tigon.loop.grammar import (
    Accumulator,
    Buffer,
    Expr,
    Let,
    Loop,
    LoopAxis,
    Nest,
    Reduce,
    Scan,
    Store,
)

I, J, K = (L.axis(name) for name in "ijk")  # noqa: E741
RANDOM = np.random.default_rng(7)


def axis(name: str, stop: int | Expr, start: int | Expr = 0, vector: bool = False) -> LoopAxis:
    return LoopAxis(name, L.lift(stop, int64), L.lift(start, int64), vector)


def buffers(*dtypes: DType, out: int = 1) -> tuple[Buffer, ...]:
    """The last `out` are written."""
    inputs = len(dtypes) - out
    return tuple(Buffer(d, "in" if n < inputs else "out") for n, d in enumerate(dtypes))


def numbers(count: int, dtype: DType = float32) -> np.ndarray:
    if dtype.kind == "f":
        return RANDOM.normal(size=count).astype(dtype.numpy)
    return RANDOM.integers(0, 2 if dtype.kind == "b" else 100, count).astype(dtype.numpy)


def zeros(count: int, dtype: DType = float32) -> np.ndarray:
    return np.zeros(count, dtype.numpy)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1000])
@pytest.mark.parametrize("dtype", [float32, float64, int32, uint8], ids=str)
def test_elementwise_in_blocks(count: int, dtype: DType) -> None:
    block = 48
    x = L.load(0, J, dtype)
    body = Store(2, J, L.add(L.mul(x, L.load(1, J, dtype)), x))
    stop = L.minimum(L.mul(L.add(I, 1), block), count)
    inner = Loop((axis("j", stop, L.mul(I, block), vector=True),), (body,))
    nest = Nest(buffers(dtype, dtype, dtype), (axis("i", -(-count // block)),), (inner,))
    check(nest, [numbers(count, dtype), numbers(count, dtype), zeros(count, dtype)])


def test_strides_broadcast_flip_and_gather() -> None:
    rows, columns = 5, 37
    flat = L.add(L.mul(I, columns), J)
    value = L.add(
        L.add(L.load(0, L.add(L.mul(J, 3), I), float32), L.load(1, I, float32)),
        L.add(
            L.load(0, L.sub(columns - 1, J), float32),
            L.load(0, L.mod(L.mul(flat, 7), 100), float32),
        ),
    )
    inner = Loop((axis("j", columns, vector=True),), (Store(2, flat, value),))
    nest = Nest(buffers(float32, float32, float32), (axis("i", rows),), (inner,))
    check(nest, [numbers(3 * columns + rows), numbers(rows), zeros(rows * columns)])


@pytest.mark.parametrize("dtype", [float32, int64, uint8, bool_], ids=str)
def test_embedding_and_transposed_store(dtype: DType) -> None:
    count, width, table = 9, 21, 13
    row = L.load(1, I, int64)
    value = L.load(0, L.add(L.mul(row, width), J), dtype)
    inner = Loop((axis("j", width, vector=True),), (Store(2, L.add(L.mul(J, count), I), value),))
    nest = Nest(buffers(dtype, int64, dtype), (axis("i", count),), (inner,))
    rows = RANDOM.integers(0, table, count)
    check(nest, [numbers(table * width, dtype), rows, zeros(count * width, dtype)])


@pytest.mark.parametrize("dtype", [float32, float64, uint8], ids=str)
def test_guarded_loads_stay_in_range(dtype: DType) -> None:
    """Padding: the buffer ends at a page that may not be read beyond."""
    count, pad = 40, 5
    source = L.sub(J, pad)
    inside = L.and_(L.ge(source, 0), L.lt(source, count))
    fallback = L.select(L.lt(J, pad), L.load(1, J, dtype), L.const(1, dtype))
    value = L.select(inside, L.load(0, source, dtype), fallback)
    scalar = L.select(L.gt(I, 0), L.load(0, L.sub(I, 1), dtype), L.const(2, dtype))
    total = count + 2 * pad
    inner = Loop(
        (axis("j", total, vector=True),),
        (Store(2, L.add(L.mul(I, total), J), L.add(value, scalar)),),
    )
    nest = Nest(buffers(dtype, dtype, dtype), (axis("i", 3),), (inner,))
    arrays = [numbers(count, dtype), numbers(pad, dtype), zeros(3 * total, dtype)]
    check(nest, arrays)


@pytest.mark.parametrize("size", [1, 3, 64, 65, 259])
@pytest.mark.parametrize("vector", [True, False])
@pytest.mark.parametrize("dtype", [float32, float64, int32, uint8], ids=str)
def test_row_reductions(size: int, vector: bool, dtype: DType) -> None:
    rows = 4
    x = L.load(0, L.add(L.mul(I, size), J), dtype)
    combines = ["sum", "maximum", "minimum", "argmax", "argmin", "prod"]
    accumulators = tuple(Accumulator(c, c, x, J if c.startswith("arg") else None) for c in combines)
    body: list = [Reduce((axis("j", size, vector=vector),), accumulators)]
    for number, accumulator in enumerate(accumulators):
        body.append(Store(1 + number, I, L.local(accumulator.name, accumulator.dtype)))
    outs = [int64 if c.startswith("arg") else dtype for c in combines]
    nest = Nest(buffers(dtype, *outs, out=6), (axis("i", rows),), tuple(body))
    data = numbers(rows * size, dtype)
    if dtype.kind == "f":
        data /= 4
        if size > 3:
            data[size + 2] = np.nan
            data[2 * size : 3 * size] = -np.inf
    else:
        data %= 3
    check(nest, [data, *(zeros(rows, d) for d in outs)], tolerance=1e-4)


def test_logical_reductions_and_empty_ranges() -> None:
    x = L.load(0, J, bool_)
    y = L.load(1, J, float32)
    reduce = Reduce(
        (axis("j", L.mul(I, 30), vector=True),),
        (
            Accumulator("any", "maximum", x),
            Accumulator("all", "minimum", x),
            Accumulator("most", "maximum", y),
            Accumulator("product", "prod", y),
        ),
    )
    body = (
        reduce,
        Store(2, I, L.local("any", bool_)),
        Store(3, I, L.local("all", bool_)),
        Store(4, I, L.local("most", float32)),
        Store(5, I, L.local("product", float32)),
    )
    outs = (bool_, bool_, float32, float32)
    nest = Nest(buffers(bool_, float32, *outs, out=4), (axis("i", 3),), body)
    flags = np.zeros(60, bool)
    flags[45] = True
    check(nest, [flags, np.ones(60, np.float32), *(zeros(3, d) for d in outs)])


@pytest.mark.parametrize("columns", [1, 16, 100])
def test_column_reductions(columns: int) -> None:
    rows = 11
    x = L.load(0, L.add(L.mul(I, columns), J), float32)
    inner = Loop(
        (axis("j", columns, vector=True),),
        (
            Reduce(
                (axis("i", rows),),
                (Accumulator("s", "sum", x), Accumulator("m", "argmin", x, I)),
            ),
            Let("mean", L.div(L.local("s", float32), float(rows))),
            Store(1, J, L.local("mean", float32)),
            Store(2, J, L.local("m", int64)),
        ),
    )
    nest = Nest(buffers(float32, float32, int64, out=2), (), (inner,))
    check(nest, [numbers(rows * columns), zeros(columns), zeros(columns, int64)], 1e-5)


def test_reduction_over_several_axes_with_the_vector_axis_outside() -> None:
    shape = (3, 21, 5)
    index = L.add(L.mul(I, shape[1] * shape[2]), L.add(L.mul(J, shape[2]), K))
    for order in ("ijk", "ikj", "jik"):
        sizes = dict(zip("ijk", shape, strict=True))
        axes = tuple(axis(name, sizes[name], vector=name == "j") for name in order)
        reduce = Reduce(axes, (Accumulator("s", "sum", L.load(0, index, float32)),))
        nest = Nest(
            buffers(float32, float32), (), (reduce, Store(1, L.const(0), L.local("s", float32)))
        )
        check(nest, [numbers(int(np.prod(shape))), zeros(1)], 1e-4)


def test_normalised_rows_through_scratch_and_in_place() -> None:
    rows, size = 6, 75
    flat = L.add(L.mul(I, size), J)
    row = axis("j", size, vector=True)
    body = (
        Reduce((row,), (Accumulator("m", "maximum", L.load(0, flat, float32)),)),
        Loop((row,), (Store(2, J, L.sub(L.load(0, flat, float32), L.local("m", float32))),)),
        Reduce((row,), (Accumulator("s", "sum", L.abs(L.load(2, J, float32))),)),
        Loop((row,), (Store(1, flat, L.div(L.load(2, J, float32), L.local("s", float32))),)),
    )
    scratch = Buffer(float32, "scratch", L.const(size))
    nest = Nest((*buffers(float32, float32), scratch), (axis("i", rows),), body)
    data = numbers(rows * size)
    (expected,) = check(nest, [data, zeros(rows * size), None], 1e-6)
    shared = data.copy()
    run(nest, [shared, shared, None], ranges=3)
    np.testing.assert_array_equal(shared, expected)


def test_outputs_may_share_an_input_read_by_a_later_statement() -> None:
    x, y = L.load(0, J, float32), L.load(1, J, float32)
    loop = Loop((axis("j", 37, vector=True),), (Store(2, J, L.neg(y)), Store(3, J, L.add(x, y))))
    nest = Nest(buffers(float32, float32, float32, float32, out=2), (), (loop,))
    a, b = numbers(37), numbers(37)
    first, second = check(nest, [a, b, zeros(37), zeros(37)])
    shared = a.copy()
    run(nest, [shared, b, shared, second])
    np.testing.assert_array_equal(shared, first)
    np.testing.assert_array_equal(second, a + b)


def test_written_buffers_are_read_back_fresh() -> None:
    loop = Loop(
        (axis("j", 20),),
        (
            Store(1, L.const(0), L.add(L.load(1, L.const(0), float32), L.load(0, J, float32))),
            Store(2, J, L.load(1, L.const(0), float32)),
        ),
    )
    nest = Nest(
        buffers(float32, float32, float32, out=2),
        (),
        (Store(1, L.const(0), L.const(0.0, float32)), loop),
    )
    check(nest, [numbers(20), zeros(1), zeros(20)], 1e-6)


@pytest.mark.parametrize("dtype", [float32, int32], ids=str)
def test_accumulating_stores(dtype: DType) -> None:
    size = 50
    scatter = Loop((axis("k", 9),), (Store(1, L.load(2, K, int64), L.load(0, K, dtype), True),))
    dense = Loop((axis("j", size, vector=True),), (Store(1, J, L.load(0, J, dtype), True),))
    clear = Loop((axis("j", size, vector=True),), (Store(1, J, L.const(1, dtype)),))
    made = (Buffer(dtype, "in"), Buffer(dtype, "out"), Buffer(int64, "in"))
    nest = Nest(made, (), (clear, scatter, dense))
    check(nest, [numbers(size, dtype), zeros(size, dtype), RANDOM.integers(0, 4, 9)])


def test_space_of_three_axes_in_ranges() -> None:
    shape = (3, 4, 5)
    index = L.add(L.mul(I, 20), L.add(L.mul(J, 5), K))
    store = Store(1, index, L.add(L.load(0, index, float32), L.cast(L.mul(J, K), float32)))
    nest = Nest(
        buffers(float32, float32),
        tuple(axis(n, s) for n, s in zip("ijk", shape, strict=True)),
        (store,),
    )
    data = numbers(60)
    (expected,) = check(nest, [data, zeros(60)])
    for ranges in (3, 7, 60):
        out = zeros(60)
        run(nest, [data, out], ranges)
        np.testing.assert_array_equal(out, expected)


def test_results_do_not_depend_on_chunks() -> None:
    rows, size = 9, 1000
    x = L.load(0, L.add(L.mul(I, size), J), float32)
    body = (
        Reduce((axis("j", size, vector=True),), (Accumulator("s", "sum", x),)),
        Store(1, I, L.local("s", float32)),
    )
    nest = Nest(buffers(float32, float32), (axis("i", rows),), body)
    data = numbers(rows * size)
    results = []
    for ranges in (1, 2, 9):
        out = zeros(rows)
        run(nest, [data, out], ranges)
        results.append(out)
    assert all(np.array_equal(results[0], other) for other in results)


SCAN_TARGETS = {"host": cpu, "32 bytes": narrow(32), "16 bytes": narrow(16)}


@pytest.mark.parametrize("backend", SCAN_TARGETS.values(), ids=SCAN_TARGETS)
@pytest.mark.parametrize("size", [0, 1, 3, 16, 64, 65, 259])
@pytest.mark.parametrize("along", ["vector", "in order", "columns"])
@pytest.mark.parametrize("dtype", [float32, float64, int32, int64, uint8], ids=str)
def test_scans(size: int, along: str, dtype: DType, backend: CpuBackend) -> None:
    lines = 5
    at = L.add(L.mul(I, size), J)
    if along == "columns":
        at = L.add(L.mul(J, lines), I)
    x = L.load(0, at, dtype)
    combines = ["sum", "maximum", "minimum", "prod"]
    accumulators = tuple(Accumulator(c, c, x) for c in combines)
    # The last store is of something else beside the scan: what the axis does to it, too.
    stores = [Store(1 + n, at, L.local(c, dtype)) for n, c in enumerate(combines)]
    stores.append(Store(5, at, L.add(x, L.local("sum", dtype))))
    scan = Scan(axis("j", size, vector=along == "vector"), accumulators, tuple(stores))
    space, body = (axis("i", lines),), (scan,)
    if along == "columns":
        space, body = (), (Loop((axis("i", lines, vector=True),), (scan,)),)
    nest = Nest(buffers(dtype, *[dtype] * 5, out=5), space, body)
    data = numbers(lines * size, dtype)
    if dtype.kind == "f":
        data /= 4
        if size > 3:
            data[2 * size + 2] = np.nan
    else:
        data %= 3
    outs = [zeros(lines * size, dtype) for _ in range(5)]
    check(nest, [data, *outs], 1e-4 if dtype.kind == "f" else 0.0, backend)


def test_scan_of_guarded_and_mirrored_elements() -> None:
    size = 75
    inside = L.lt(J, size - 5)
    x = L.select(inside, L.load(0, J, float32), L.const(0.5, float32))
    body = (Store(1, L.sub(size - 1, J), L.local("s", float32)),)
    scan = Scan(axis("j", size, vector=True), (Accumulator("s", "sum", L.exp(x)),), body)
    nest = Nest(buffers(float32, float32), (), (scan,))
    for backend in SCAN_TARGETS.values():
        check(nest, [numbers(size - 5), zeros(size)], 1e-4, backend)


def test_scan_in_place() -> None:
    """The planner lays the result over what is read in step."""
    size = 1000
    body = (Store(1, J, L.mul(L.local("s", float32), L.load(0, J, float32))),)
    x = L.load(0, J, float32)
    scan = Scan(axis("j", size, vector=True), (Accumulator("s", "sum", x),), body)
    nest = Nest(buffers(float32, float32), (), (scan,))
    data = numbers(size)
    apart, shared = zeros(size), data.copy()
    run(nest, [data, apart])
    run(nest, [shared, shared])
    np.testing.assert_array_equal(shared, apart)


def test_unaligned_buffers() -> None:
    nest = Nest(
        buffers(float32, float32),
        (),
        (Loop((axis("j", 100, vector=True),), (Store(1, J, L.neg(L.load(0, J, float32))),)),),
    )
    x, y = aligned(101, np.float32)[1:], aligned(101, np.float32)[1:]
    x[:] = numbers(100)
    run(nest, [x, y])
    np.testing.assert_array_equal(y, -x)


# ------------------------------------------------------------------------------ random nests


@st.composite
def expressions(draw: st.DrawFn, depth: int = 4) -> Expr:
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        kind = draw(st.sampled_from(["row", "column", "flat", "strided", "const"]))
        if kind == "const":
            return L.const(draw(st.sampled_from([0.0, 1.0, -2.5])), float32)
        index = {
            "row": I,
            "column": J,
            "flat": L.add(L.mul(I, 40), J),
            "strided": L.mul(J, 3),
        }[kind]
        return L.load(draw(st.integers(0, 1)), index, float32)
    a = draw(expressions(depth - 1))
    function = draw(
        st.sampled_from(
            ["add", "sub", "mul", "maximum", "minimum", "neg", "abs", "select", "floor"]
        )
    )
    if function in ("neg", "abs", "floor"):
        return L.apply(function, a)
    b = draw(expressions(depth - 1))
    if function != "select":
        return L.apply(function, a, b)
    if draw(st.booleans()):
        return L.select(L.gt(a, b), a, b)
    # A guard that matters: beyond it the load would leave the buffer.
    limit = draw(st.integers(0, 39))
    far = L.load(0, L.add(L.mul(I, 40), L.add(J, 39 - limit)), float32)
    return L.select(L.le(J, limit), far, b)


@settings(max_examples=40, deadline=None)
@given(expressions(), expressions(), st.sampled_from(["store", "rows", "columns"]))
def test_random_nests(first: Expr, second: Expr, kind: str) -> None:
    rows, columns = 3, 40
    flat = L.add(L.mul(I, columns), J)
    row = axis("j", columns, vector=True)
    body: tuple
    if kind == "store":
        body = (Loop((row,), (Store(2, flat, first), Store(3, flat, second))),)
    elif kind == "rows":
        total = Accumulator("s", "sum", first)
        most = Accumulator("m", "maximum", second)
        body = (
            Reduce((row,), (total, most)),
            Store(2, I, L.local("s", float32)),
            Store(3, I, L.local("m", float32)),
        )
    else:
        body = (
            Loop(
                (row,),
                (
                    Reduce((axis("i", rows),), (Accumulator("s", "sum", first),)),
                    Store(2, J, L.local("s", float32)),
                    Store(3, J, L.const(1.0, float32)),
                ),
            ),
        )
    space = () if kind == "columns" else (axis("i", rows),)
    nest = Nest(buffers(float32, float32, float32, float32, out=2), space, body)
    data = [np.round(numbers(rows * columns), 2) for _ in range(2)]
    with np.errstate(all="ignore"):
        check(nest, [*data, zeros(rows * columns), zeros(rows * columns)], 1e-5)


def test_large_results_are_stored_past_the_caches() -> None:
    block, count = 16384, 9_000_000
    x = L.load(0, J, float32)
    stop = L.minimum(L.mul(L.add(I, 1), block), count)
    loop = Loop((axis("j", stop, L.mul(I, block), vector=True),), (Store(1, J, L.neg(x)),))
    nest = Nest(buffers(float32, float32), (axis("i", -(-count // block)),), (loop,))
    assert "nontemporal" in cpu.llvm(cpu.prepare(nest).structure)
    data = numbers(count)
    for shift in (0, 1):  # an address that is no multiple of the vector
        out = aligned(count + shift, np.float32)[shift:]
        run(nest, [data, out], ranges=3)
        np.testing.assert_array_equal(out, -data)


def test_code_for_a_chain_of_selects_grows_with_its_length() -> None:
    """Both branches of each select need what the one before it chose, which loads under a guard."""
    far = L.load(0, L.load(1, J, int64), float32)
    lines = []
    for length in (8, 16):
        chosen = L.select(L.gt(J, 0), far, L.const(0.0, float32))
        for step in range(1, length):
            chosen = L.select(L.gt(J, step), L.add(chosen, 1), chosen)
        loop = Loop((axis("j", 20, vector=True),), (Store(2, J, chosen),))
        nest = Nest(buffers(float32, int64, float32), (), (loop,))
        check(nest, [numbers(20), RANDOM.permutation(20), zeros(20)])
        lines.append(len(cpu.llvm(cpu.prepare(nest).structure).splitlines()))
    assert lines[1] < 2 * lines[0]
