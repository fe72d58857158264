"""Random contractions against the oracle: groups of axes in any order, guards, prologues,
epilogues, on this machine's registers and on smaller ones."""

from __future__ import annotations

import random
from math import prod

import numpy as np
import pytest

from tests.backends.harness import check, narrow
from tigon.backends.cpu.backend import CpuBackend, cpu
from tigon.base.dtypes import DType, float32, float64, int32
from tigon.loop import build as L
from tigon.loop.grammar import Buffer, Contraction, Expr, Let, LoopAxis, Store

Group = tuple[LoopAxis, ...]
NARROW = narrow(32)


def extent(axis: LoopAxis) -> int:
    return axis.stop.value  # type: ignore[attr-defined]


def size(group: Group) -> int:
    return prod(map(extent, group))


class Maker:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.numpy = np.random.default_rng(seed)

    def group(self, prefix: str, least: int, most: int, largest: int) -> Group:
        choices = [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 20, 33, largest]
        count = self.random.randint(least, most)
        return tuple(
            LoopAxis(f"{prefix}{i}", L.const(self.random.choice(choices))) for i in range(count)
        )

    def index(self, *groups: Group) -> tuple[Expr, int]:
        """A dense map of all the axes, in order or in any order, and how much it spans."""
        axes = [axis for group in groups for axis in group]
        if self.random.random() < 0.4:
            self.random.shuffle(axes)
        total, stride = L.lift(0, L.axis("x").dtype), 1
        for axis in reversed(axes):
            total = L.add(L.mul(L.axis(axis.name), stride), total)
            stride *= extent(axis)
        return total, stride

    def guarded(self, value: Expr, axes: Group) -> Expr:
        if not axes or self.random.random() < 0.6:
            return value
        a, b = self.random.choice(axes), self.random.choice(axes)
        inside = L.lt(L.add(L.axis(a.name), L.axis(b.name)), extent(a))
        return L.select(inside, value, L.const(0, value.dtype))

    def array(self, count: int, dtype: DType) -> np.ndarray:
        return self.numpy.integers(-3, 4, count).astype(dtype.numpy)

    def contraction(self) -> tuple[Contraction, list[np.ndarray]]:
        while True:
            b, m = self.group("b", 0, 1, 3), self.group("m", 0, 2, 40)
            n, k = self.group("n", 0, 3, 70), self.group("k", 1, 3, 90)
            if size(b) * size(m) * size(n) * size(k) < 1e6:
                break
        dtype = self.random.choice([float32, float32, float32, float64, int32])
        one, first = self.index(*self.random.choice([(b, m, k), (b, k, m)]))
        two, second = self.index(*self.random.choice([(b, k, n), (b, n, k)]))
        place, last = self.index(b, m, n)
        left = self.guarded(L.load(0, one, dtype), m + k)
        right = self.guarded(L.load(1, two, dtype), k + n)
        if self.random.random() < 0.3:
            right = L.mul(right, L.cast(L.mod(L.add(L.axis(k[-1].name), 1), 3), dtype))
        inputs = [Buffer(dtype, "in")] * 2
        arrays = [self.array(first, dtype), self.array(second, dtype), self.array(last, dtype)]
        buffers = [*inputs, Buffer(dtype, "out")]
        value: Expr = L.local("sum", dtype)
        body: list[Let | Store] = []
        if n and self.random.random() < 0.5:
            bias, count = self.index(n)
            buffers.append(Buffer(dtype, "in"))
            arrays.append(self.array(count, dtype))
            value = L.add(value, L.load(3, bias, dtype))
        if self.random.random() < 0.3:
            body.append(Let("t", value))
            value = L.maximum(L.local("t", dtype), 0)
        if n and self.random.random() < 0.2:
            value = L.add(value, L.cast(L.axis(n[-1].name), dtype))
        body.append(Store(2, place, value, self.random.random() < 0.2))
        nest = Contraction(tuple(buffers), b, m, n, k, left, right, "sum", dtype, tuple(body))
        return nest, arrays


@pytest.mark.parametrize("seed", range(24))
def test_random_contractions(seed: int) -> None:
    nest, arrays = Maker(seed).contraction()
    backend: CpuBackend = NARROW if seed % 4 == 0 else cpu
    check(nest, arrays, backend=backend)
