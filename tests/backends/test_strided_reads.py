"""Vectors read backwards or every second element, within memory that ends where the data do, and
conditions on the vector axis that one number tells."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.harness import check, narrow
from tigon.backends.cpu.backend import CpuBackend, cpu
from tigon.base.dtypes import DType, bool_, float32, float64, int64, uint8
from tigon.loop import build as L
from tigon.loop.grammar import Accumulator, Buffer, Expr, Loop, LoopAxis, Nest, Reduce, Store

I, J, K = (L.axis(name) for name in "ijk")  # noqa: E741
BACKENDS = [cpu, narrow(32), narrow(16)]
COUNTS = (1, 2, 15, 16, 17, 33, 64, 65, 131)
ROWS = 3


def data(count: int, dtype: DType = float32) -> np.ndarray:
    found = np.random.default_rng(count).integers(0, 100, count)
    return (found % 2 if dtype is bool_ else found).astype(dtype.numpy)


def rows(count: int, value: Expr, dtype: DType = float32, *, inputs: int = 1) -> Nest:
    """`value` for every i and, along vectors, j."""
    store = Store(inputs, L.add(L.mul(I, count), J), value)
    loop = Loop((LoopAxis("j", L.const(count), vector=True),), (store,))
    buffers = (*(Buffer(dtype, "in") for _ in range(inputs)), Buffer(dtype, "out"))
    return Nest(buffers, (LoopAxis("i", L.const(ROWS)),), (loop,))


@pytest.mark.parametrize("backend", BACKENDS, ids=["host", "32", "16"])
@pytest.mark.parametrize("dtype", [float32, float64, uint8, bool_, int64], ids=str)
def test_backwards_and_every_second(dtype: DType, backend: CpuBackend) -> None:
    for count in COUNTS:
        line = L.mul(I, count)
        back = L.add(line, L.sub(count - 1, J))
        check(
            rows(count, L.load(0, back, dtype), dtype),
            [data(ROWS * count, dtype), np.zeros(ROWS * count, dtype.numpy)],
            backend=backend,
        )
        width = 2 * count - 1  # the last element read is the last of the line
        second = L.add(L.mul(I, width), L.mul(J, 2))
        check(
            rows(count, L.load(0, second, dtype), dtype),
            [data(ROWS * width, dtype), np.zeros(ROWS * count, dtype.numpy)],
            backend=backend,
        )


@pytest.mark.parametrize("backend", BACKENDS, ids=["host", "32", "16"])
@pytest.mark.parametrize("step", [2, -1, 3])
def test_where_a_condition_forbids_some(step: int, backend: CpuBackend) -> None:
    for count in COUNTS:
        for missing in (0, 1, 5, count):
            # Of `missing` lanes at either end the element is beyond the line.
            place = L.sub(J, missing) if step > 0 else L.sub(count - 1 - missing, J)
            place = L.mul(place, abs(step)) if step > 0 else place
            width = max(1, (count - 2 * missing - 1) * abs(step) + 1)
            inside = L.and_(L.ge(place, 0), L.lt(place, width))
            read = L.load(0, L.add(L.mul(I, width), place), float32)
            check(
                rows(count, L.select(inside, read, -1.0)),
                [data(ROWS * width), np.zeros(ROWS * count, np.float32)],
                backend=backend,
            )


def test_a_window_of_every_second_under_a_reduction() -> None:
    for count in COUNTS:
        width = 2 * count
        place = L.sub(L.add(L.mul(J, 2), K), 1)
        value = L.select(L.ge(place, 0), L.load(0, L.add(L.mul(I, width), place), float32), 0.0)
        total = Reduce((LoopAxis("k", L.const(3)),), (Accumulator("s", "sum", value),))
        value = L.select(L.lt(place, width), value, 0.0)
        store = Store(1, L.add(L.mul(I, count), J), L.local("s", float32))
        loop = Loop((LoopAxis("j", L.const(count), vector=True),), (total, store))
        buffers = (Buffer(float32, "in"), Buffer(float32, "out"))
        nest = Nest(buffers, (LoopAxis("i", L.const(ROWS)),), (loop,))
        arrays = [data(ROWS * width + 2), np.zeros(ROWS * count, np.float32)]
        for backend in BACKENDS:
            check(nest, arrays, backend=backend)


@pytest.mark.parametrize(
    "dtype, divisor, backend",
    [
        (dtype, divisor, BACKENDS[(row + column) % 3])  # each two of them together
        for row, dtype in enumerate([float32, uint8, float64])
        for column, divisor in enumerate([2, 4, 16])
    ],
)
def test_each_element_for_several_lanes(dtype: DType, divisor: int, backend: CpuBackend) -> None:
    for count in COUNTS:
        width = -(-count // divisor)
        repeated = L.add(L.mul(I, width), L.floordiv(J, divisor))
        turning = L.add(L.mul(I, divisor), L.mod(J, divisor))
        both = L.add(L.mul(L.mod(J, divisor), width), L.floordiv(J, divisor))
        for place, size in (
            (repeated, ROWS * width),
            (turning, ROWS * divisor),
            (both, 16 * width),
        ):
            read = L.load(0, place, dtype)
            arrays = [data(size, dtype), np.zeros(ROWS * count, dtype.numpy)]
            check(rows(count, read, dtype), arrays, backend=backend)
            guard = L.lt(L.floordiv(J, divisor), width - 1)
            other = L.ge(L.mod(J, 3), 1)
            for condition in (guard, other, L.and_(guard, other)):
                check(rows(count, L.select(condition, read, 3), dtype), arrays, backend=backend)


@pytest.mark.parametrize("shift", [1, -1, 3, 5])
@pytest.mark.parametrize("divisor", [2, 4, 16])
def test_lines_that_begin_in_the_middle(divisor: int, shift: int) -> None:
    """Places of a picture within its border, of windows side by side."""
    for number, count in enumerate(COUNTS):
        width, moved = -(-(count + 5) // divisor) + 1, L.add(J, shift)
        place = L.add(L.mul(I, width), L.floordiv(moved, divisor))
        inside = L.and_(L.ge(L.floordiv(moved, divisor), 0), L.lt(L.floordiv(moved, divisor), 9))
        before = L.sub(L.floordiv(moved, divisor), 1)
        for condition in (inside, L.and_(inside, L.and_(L.ge(before, 0), L.lt(before, 3)))):
            value = L.select(condition, L.load(0, place, float32), 3.0)
            turning = L.load(0, L.mod(moved, divisor), float32)
            arrays = [data(ROWS * width + 16), np.zeros(ROWS * count, np.float32)]
            check(rows(count, L.add(value, turning)), arrays, backend=BACKENDS[number % 3])


@pytest.mark.parametrize("function", ["lt", "le", "gt", "ge"])
@pytest.mark.parametrize("step", [1, -1, 2, -2, 3])
def test_comparisons_of_the_vector_axis(function: str, step: int) -> None:
    for count in COUNTS:
        for bound in (-3, 0, 1, 14, 15, 16, 31, 63, 64, 200):
            left = L.add(L.mul(J, step), L.mul(I, 7))
            half = L.floordiv(left, 2)
            sides = ((left, bound), (bound, left), (L.add(left, I), L.sub(bound, J)))
            less = L.sub(half, I)
            quotients = ((half, bound), (bound, half), (half, J), (less, bound), (bound, less))
            for given in (*sides, *quotients):
                condition = L.apply(function, *given)
                value = L.select(condition, L.load(0, J, float32), 0.5)
                check(rows(count, value), [data(count), np.zeros(ROWS * count, np.float32)])


@pytest.mark.parametrize(
    "place",
    [
        L.sub(9, J),
        L.mul(J, 2),
        L.sub(L.mul(J, 2), 1),
        L.floordiv(L.add(J, 1), 2),
        L.mod(L.add(J, 3), 4),
    ],
)
def test_nothing_is_gathered_that_lies_together(place: Expr) -> None:
    value = L.select(L.ge(place, 0), L.load(0, place, float32), 0.0)
    read = L.load(0, place, float32)
    # Without masks one branch of a guarded read is for what is forbidden in the middle.
    for nest in (rows(10, read), rows(10, value)) if cpu.target.masks else (rows(10, read),):
        assert "gather" not in cpu.llvm(cpu.prepare(nest).structure)
    third = cpu.llvm(cpu.prepare(rows(10, L.load(0, L.mul(J, 3), float32))).structure)
    assert ("gather" in third) == cpu.target.gathers


def extreme(extents: tuple[int, int], combine: str = "argmax") -> Nest:
    """The position of the extreme of each row of a matrix, for each point."""
    axes = (LoopAxis("j", L.const(extents[0])), LoopAxis("k", L.const(extents[1]), vector=True))
    position = L.add(L.mul(J, extents[1]), K)
    place = L.add(L.mul(I, extents[0] * extents[1]), position)
    found = Accumulator("s", combine, L.load(0, place, float32), position)
    buffers = (Buffer(float32, "in"), Buffer(int64, "out"))
    store = Store(1, I, L.local("s", int64))
    return Nest(buffers, (LoopAxis("i", L.const(ROWS)),), (Reduce(axes, (found,)), store))


@pytest.mark.parametrize("combine", ["argmax", "argmin"])
@pytest.mark.parametrize("fill", [0.0, np.inf, -np.inf, np.nan])
def test_positions_of_extremes(fill: float, combine: str) -> None:
    for extents in ((1, 1), (2, 15), (3, 70), (5, 200)):
        size = extents[0] * extents[1]
        ties = np.random.default_rng(size).integers(0, 5, ROWS * size).astype(np.float32)
        few = np.where(ties > 3, np.float32(fill), ties)
        for given in (ties, few, np.full(ROWS * size, fill, np.float32)):
            for backend in BACKENDS:
                nest = extreme(extents, combine)
                check(nest, [given, np.zeros(ROWS, np.int64)], backend=backend)


def test_positions_that_need_64_bits() -> None:
    near, far = (cpu.prepare(extreme((1 << 20, extent))).structure for extent in (2000, 4000))
    assert near != far and near.nest == far.nest
    assert "icmp slt <64 x i64>" not in cpu.llvm(near)
    assert len(set(cpu.compile([near, far]))) == 2
