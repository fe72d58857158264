"""Arrays made of copies of another: lines, and not elements found by remainders."""

from __future__ import annotations

import numpy as np
import pytest

from tigon import nd
from tigon.base import TensorType, as_dtype
from tigon.ir import Graph, variable
from tigon.loop.show import show
from tigon.lower.fuse.fuser import fuse
from tigon.lower.nests import lower_group
from tigon.ops import get
from tigon.program.lowered import prepare


def nests_of(shape: tuple[int, ...], reps: tuple[int, ...]) -> str:
    x = variable("x", TensorType(shape, as_dtype("float32")))
    fusion = fuse(prepare(Graph([x], [get("tile")(x, reps=reps)])), enabled=True)
    nests = [nest.nest for group in fusion.groups for nest in lower_group(group, fusion)]
    return "\n".join(map(show, nests))


@pytest.mark.parametrize(
    ("shape", "reps"),
    [
        ((100, 100), (10, 10)),
        ((3, 17), (2, 5)),
        ((20,), (7,)),
        ((4, 16, 2), (3, 2, 4)),
        ((5, 1), (1, 33)),
        ((2, 40), (3, 1)),
        ((3,), (50,)),
        ((32,), (4000,)),
    ],
)
def test_copies(shape: tuple[int, ...], reps: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = np.tile(x, reps)
    np.testing.assert_array_equal(nd.tile(nd.array(x), reps=reps).asnumpy(), expected)
    y = np.random.default_rng(1).normal(size=expected.shape).astype(np.float32)
    found = nd.tile(nd.array(x), reps=reps) * nd.array(y) + 1
    np.testing.assert_allclose(found.asnumpy(), expected * y + 1, rtol=1e-5, atol=1e-6)


def test_lines_of_copies_are_read_in_vectors() -> None:
    text = nests_of((100, 100), (10, 10))
    assert "i1_turn < 10" in text and "i1 %" not in text
    assert "i1_turn" not in nests_of((4, 15), (3, 10))  # too short for a vector
