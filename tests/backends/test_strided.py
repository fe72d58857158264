"""Contractions whose operands are read where they lie: windows over images, weights in panels."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.harness import fenced, narrow, run
from tigon.backends.cpu.backend import CpuBackend, cpu
from tigon.backends.cpu.strided import StridedPlan
from tigon.base.dtypes import DType, float32, float64
from tigon.loop import build as L
from tigon.loop.grammar import Buffer, Contraction, Expr, LoopAxis, Store

RANDOM = np.random.default_rng(5)

Axes = dict[str, tuple[int, int, int, int]]
"""Per axis: extent, and steps in left operand, right operand and result."""


def nest_of(
    groups: tuple[str, str, str, str], axes: Axes, dtype: DType, offset: int = 0
) -> Contraction:
    def at(which: int, start: int = 0) -> Expr:
        total: Expr = L.const(start)
        for name, numbers in axes.items():
            if numbers[which]:
                total = L.add(total, L.mul(L.axis(name), numbers[which]))
        return total

    batch, rows, columns, inner = (
        tuple(LoopAxis(name, L.const(axes[name][0])) for name in group) for group in groups
    )
    return Contraction(
        (Buffer(dtype, "in"), Buffer(dtype, "in"), Buffer(dtype, "out")),
        batch,
        rows,
        columns,
        inner,
        L.load(0, at(1, offset), dtype),
        L.load(1, at(2), dtype),
        "sum",
        dtype,
        (Store(2, at(3), L.local("sum", dtype)),),
    )


def verify(
    groups: tuple[str, str, str, str],
    axes: Axes,
    dtype: DType = float32,
    backend: CpuBackend = cpu,
    offset: int = 0,
) -> StridedPlan:
    nest = nest_of(groups, axes, dtype, offset)
    plan = backend.prepare(nest).structure.variant
    assert isinstance(plan, StridedPlan)

    def reach(which: int) -> int:
        return 1 + sum((numbers[0] - 1) * numbers[which] for numbers in axes.values())

    def elements(count: int) -> np.ndarray:
        return fenced(RANDOM.integers(-4, 5, count).astype(dtype.numpy))

    left, right = elements(offset + reach(1)), elements(reach(2))
    out = fenced(np.full(reach(3), np.nan, dtype.numpy))
    run(nest, [left, right, out], 3, backend)

    def view(array: np.ndarray, which: int) -> np.ndarray:
        steps = [numbers[which] * array.itemsize for numbers in axes.values()]
        shape = [n[0] if n[which] else 1 for n in axes.values()]
        return np.lib.stride_tricks.as_strided(array, shape, steps)

    product = view(left[offset:], 1).astype(np.float64) * view(right, 2)
    summed = tuple(n for n, name in enumerate(axes) if name in groups[3])
    expected = product.sum(axis=summed, keepdims=True)
    np.testing.assert_array_equal(view(out, 3), expected)
    return plan


def convolution(
    batch: int,
    channels: int,
    places: tuple[int, int],
    panels: tuple[int, int],
    kernel: tuple[int, int] = (3, 3),
    stride: int = 1,
    dilate: int = 1,
) -> Axes:
    """Channels last; weights in panels: (F, c, u, v, f)."""
    (x, y), (F, f), (u, v) = places, panels, kernel
    wide = (y - 1) * stride + (v - 1) * dilate + 1
    tall = (x - 1) * stride + (u - 1) * dilate + 1
    c = channels
    return {
        "n": (batch, tall * wide * c, 0, x * y * F * f),
        "x": (x, stride * wide * c, 0, y * F * f),
        "y": (y, stride * c, 0, F * f),
        "F": (F, 0, c * u * v * f, f),
        "f": (f, 0, 1, 1),
        "c": (c, 1, u * v * f, 0),
        "u": (u, dilate * wide * c, v * f, 0),
        "v": (v, dilate * c, f, 0),
    }


FORWARD = ("", "nxy", "Ff", "cuv")


@pytest.mark.parametrize("panel", [16, 32, 48, 64])
@pytest.mark.parametrize("line", [2, 7, 14, 15, 29])
def test_a_window_over_channels_last(panel: int, line: int) -> None:
    plan = verify(FORWARD, convolution(2, 5, (3, line), (2, panel)))
    assert plan.vectors * 16 == panel or cpu.target.lanes(4) != 16
    assert plan.left_listed and not plan.right_listed


def test_strides_dilations_and_long_sums() -> None:
    verify(FORWARD, convolution(1, 64, (6, 7), (1, 32), stride=2))
    verify(FORWARD, convolution(1, 20, (5, 9), (3, 32), dilate=2))
    verify(FORWARD, convolution(1, 300, (4, 7), (2, 64)))
    verify(FORWARD, convolution(2, 3, (9, 11), (2, 32), kernel=(7, 5), stride=2), offset=9)


def test_smaller_registers_and_wider_numbers() -> None:
    for vector_bytes, panel in ((16, 8), (32, 16)):
        verify(FORWARD, convolution(2, 5, (3, 13), (2, panel)), backend=narrow(vector_bytes))
    verify(FORWARD, convolution(1, 9, (4, 14), (3, 16)), float64)


def weight_gradient(
    batch: int, channels: int, places: tuple[int, int], kernel: tuple[int, int], filters: int
) -> Axes:
    """Images and cotangents channels last; the result as weights are."""
    c, (x, y), (u, v), f = channels, places, kernel, filters
    tall, wide = x + u - 1, y + v - 1
    return {
        "f": (f, 1, 0, c * u * v),
        "c": (c, 0, 1, u * v),
        "u": (u, 0, wide * c, v),
        "v": (v, 0, c, 1),
        "n": (batch, x * y * f, tall * wide * c, 0),
        "x": (x, y * f, wide * c, 0),
        "y": (y, f, c, 0),
    }


BACKWARD = ("", "f", "cuv", "nxy")


@pytest.mark.parametrize("filters", [20, 64])
def test_the_gradient_of_weights(filters: int) -> None:
    """Rows are filters, columns channels; the sum runs over places of padded images."""
    plan = verify(BACKWARD, weight_gradient(3, 32, (10, 11), (3, 3), filters))
    assert plan.right_listed and not plan.left_listed


def test_few_channels_are_rows() -> None:
    """Three channels would leave most of a vector unused: filters are columns instead."""
    verify(BACKWARD, weight_gradient(2, 3, (8, 9), (7, 7), 64))


def test_batches_of_products() -> None:
    axes = convolution(2, 6, (4, 9), (2, 32))
    axes = {"g": (3, 4 * 6 * 11 * 12, 2 * 6 * 9 * 32, 5000)} | axes
    verify(("g", "nxy", "Ff", "cuv"), axes)


@pytest.mark.parametrize("seed", range(40))
def test_random_geometries(seed: int) -> None:
    random = np.random.default_rng(seed)

    def pick(low: int, high: int) -> int:
        return int(random.integers(low, high + 1))

    lanes = cpu.target.lanes(4)
    axes = convolution(
        pick(1, 3),
        pick(1, 40),
        (pick(1, 6), pick(2, 33)),
        (pick(1, 3), lanes * pick(1, 4)),
        (pick(1, 4), pick(2, 4)),
        pick(1, 3),
        pick(1, 2),
    )
    verify(FORWARD, axes)
