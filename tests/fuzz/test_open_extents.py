"""Random programs over extents that are left open: what was compiled for all sizes means what is
compiled for each. Sizes meet, exceed and fall below the other extents of the programs."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tigon import autograd, nd, sym
from tigon.base import TensorType, as_dtype
from tigon.ir import typed
from tigon.program.cached_graph import CachedGraph
from tigon.program.compile import compile_graph

SIZES = (4, 6, 3, 1, 5, 12, 2)  # 3, 4 and 5 are extents of other axes, too
PROGRAMS = 60

Step = Callable[[random.Random, Any], Any]


def axis_of(choose: random.Random) -> int:
    return choose.randrange(3)


STEPS: tuple[Step, ...] = (
    lambda r, x: sym.tanh(x),
    lambda r, x: sym.sigmoid(x) * 2 - x,
    lambda r, x: sym.where(x > 0, x, sym.square(x)),
    lambda r, x: sym.broadcast_add(x, sym.mean(x, axis=axis_of(r), keepdims=True)),
    lambda r, x: sym.broadcast_sub(x, sym.max(x, axis=axis_of(r), keepdims=True)),
    lambda r, x: sym.softmax(x, axis=axis_of(r)),
    lambda r, x: sym.L2Normalization(x),
    lambda r, x: sym.transpose(x, axes=r.choice([(0, 2, 1), (2, 1, 0), (1, 0, 2), (1, 2, 0)])),
    lambda r, x: sym.flip(x, axis=axis_of(r)),
    lambda r, x: sym.concat(x, sym.relu(x), dim=axis_of(r)),
    lambda r, x: sym.slice_axis(sym.concat(x, x, dim=2), axis=2, begin=1, end=-1),
    lambda r, x: sym.cumsum(x, axis=axis_of(r)),
    lambda r, x: (
        sym.reshape(sym.reshape(x, (-3, 0)), (-4, -1, 3, 0))
        if r.random() < 0.3
        else sym.expand_dims(sym.reshape(x, (-3, 0)), axis=r.choice([0, 1]))
    ),
    lambda r, x: sym.reshape(sym.tile(x, reps=(2, 1, 1)), (0, 0, -1)),
    lambda r, x: sym.batch_dot(x, x, transpose_b=True) * 0.2,
    lambda r, x: sym.broadcast_mul(x, sym.sum(x, axis=(0, 1), keepdims=True) * 0.1),
    lambda r, x: sym.sort(x, axis=axis_of(r)),
    lambda r, x: sym.pad(
        sym.expand_dims(x, 0), mode="constant", pad_width=(0, 0, 0, 0, 0, 0, 1, 2), constant_value=1
    ).reshape((-3, 0, 0)),
    lambda r, x: sym.one_hot(sym.argmax(x, axis=axis_of(r)), 5),
    lambda r, x: sym.broadcast_div(x, 1 + sym.sum(sym.square(x))),
)


def program(seed: int) -> Any:
    choose = random.Random(seed)
    x = sym.var("x")
    for _ in range(choose.randint(2, 5)):
        x = choose.choice(STEPS)(choose, x)
    return x


def shape_of(seed: int, size: int) -> tuple[int, ...]:
    shape = [3, 4, 5]
    shape[seed % 3] = size
    return tuple(shape)


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_random_programs(seed: int) -> None:
    graph = program(seed)._graph()
    shared = CachedGraph(graph, name="shared")
    generator = np.random.default_rng(seed)
    for size in SIZES:
        shape = shape_of(seed, size)
        x = nd.array(generator.standard_normal(shape))
        try:
            exact = compile_graph(typed(graph, {"x": TensorType(shape, as_dtype("float32"))}))
        except Exception:
            continue  # no meaning for this size
        (expected,) = exact.run([x])
        (found,) = shared([x])
        assert found.shape == expected.shape
        np.testing.assert_allclose(
            found.asnumpy(), expected.asnumpy(), rtol=2e-4, atol=2e-5, err_msg=f"{shape}"
        )


@pytest.mark.parametrize("seed", range(0, PROGRAMS, 3))
def test_gradients_of_random_programs(seed: int) -> None:
    graph = program(seed)._graph()
    shared = CachedGraph(graph, name="shared")
    generator = np.random.default_rng(seed)
    for size in SIZES:
        given = generator.standard_normal(shape_of(seed, size)).astype("float32")
        gradients = []
        try:
            for cached in (CachedGraph(graph, name="exact"), shared):
                x = nd.array(given)
                x.attach_grad()
                with autograd.record():
                    (y,) = cached([x])
                if y.has_tape:
                    y.backward(nd.array(np.cos(np.arange(y.size)).reshape(y.shape)))
                gradients.append(x.grad.asnumpy())
        except Exception:
            assert not gradients, "the shared program refuses what the exact one does"
            continue
        np.testing.assert_allclose(gradients[1], gradients[0], rtol=5e-4, atol=5e-5)
