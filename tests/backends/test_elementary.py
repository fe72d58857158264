"""Generated code for the elementary functions equals the interpreter's to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.harness import check
from tigon.base.dtypes import DType, float32, float64
from tigon.loop import build as L
from tigon.loop.expand import expand
from tigon.loop.functions import FUNCTIONS
from tigon.loop.grammar import Buffer, Loop, LoopAxis, Nest, Store

COUNT = 331


@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
@pytest.mark.parametrize(
    "function", sorted(name for name, row in FUNCTIONS.items() if row.expansion)
)
def test_as_interpreted(function: str, dtype: DType) -> None:
    random = np.random.default_rng(11)
    limits = np.finfo(dtype.numpy)
    special = [0.0, 1.0, 0.5, np.inf, np.nan, limits.max, limits.smallest_subnormal]
    arrays = []
    for number in range(FUNCTIONS[function].arity):
        values = random.normal(size=COUNT).astype(dtype.numpy) * (3 - 2 * number)
        values[: 2 * len(special)] = np.concatenate([special, np.negative(special)])
        arrays.append(values)
    i = L.axis("i")
    loads = [L.load(number, i, dtype) for number in range(len(arrays))]
    value = expand(L.apply(function, *loads))
    loop = Loop((LoopAxis("i", L.const(COUNT), vector=True),), (Store(len(arrays), i, value),))
    buffers = (*(Buffer(dtype, "in") for _ in arrays), Buffer(dtype, "out"))
    check(Nest(buffers, (), (loop,)), [*arrays, np.zeros(COUNT, dtype.numpy)])
