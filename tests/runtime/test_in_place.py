"""Outputs written over inputs: other readers of the old values run first."""

from __future__ import annotations

import numpy as np
import pytest

from tigon import nd
from tigon.base import TensorType
from tigon.base.dtypes import float32
from tigon.ir import Graph, variable
from tigon.ops.contraction import dot
from tigon.ops.elementwise import add, multiply
from tigon.ops.views import transpose
from tigon.runtime.compile import compile_graph

X = np.arange(16, dtype="float32").reshape(4, 4)
W = np.linspace(-1, 1, 16, dtype="float32").reshape(4, 4)


def square(name):
    return variable(name, TensorType((4, 4), float32))


def run(graph, in_place):
    compiled = compile_graph(graph, in_place=in_place)
    x, w = nd.array(X), nd.array(W)
    out = [None] * len(graph.outputs)
    for output, _ in in_place:
        out[output] = w
    results = compiled.program([x, w], out)
    return [result.asnumpy() for result in results], w.asnumpy(), compiled


def test_a_new_weight_waits_for_the_readers_of_the_old_one():
    x, w = square("x"), square("w")
    graph = Graph([x, w], [add(w, 1.0), dot(dot(x, x), w)])
    (new, product), overwritten, compiled = run(graph, [(0, 1)])
    np.testing.assert_allclose(product, X @ X @ W, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(new, W + 1)
    np.testing.assert_array_equal(overwritten, W + 1)
    waves = {kernel.operators: kernel.wave for kernel in compiled.kernels}
    assert waves[("broadcast_add",)] > max(
        wave for operators, wave in waves.items() if "_contract" in operators
    )
    plan = compiled.memory_plan
    assert plan.total_bytes == 3 * X.nbytes + plan.arena_bytes


@pytest.mark.parametrize("reader", ["of the result", "out of step"])
def test_where_the_order_is_impossible_the_program_copies(reader):
    x, w = square("x"), square("w")
    new = add(w, x) if reader == "of the result" else add(transpose(w, axes=(1, 0)), x)
    graph = Graph([x, w], [new, multiply(dot(new, new), w)])
    (first, second), overwritten, _ = run(graph, [(0, 1)])
    expected = (W if reader == "of the result" else W.T) + X
    np.testing.assert_allclose(first, expected, rtol=1e-6)
    np.testing.assert_allclose(second, (expected @ expected) * W, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(overwritten, expected, rtol=1e-6)
