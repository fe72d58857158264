"""Equal text means equal structures: code on disk is found under it."""

from __future__ import annotations

from itertools import combinations

from tests.fuzz.graphs import random_graph
from tests.lower.test_fusion import ONE_KERNEL
from tigon.backends.cpu.backend import cpu
from tigon.base.dtypes import float32, float64
from tigon.ir import Graph
from tigon.loop import build as L
from tigon.loop.fingerprint import fingerprint
from tigon.loop.grammar import Const
from tigon.program.compile import compile_graph


def test_what_prints_alike_is_told_apart() -> None:
    i = L.axis("i")
    pairs = [
        (L.load(0, i, float32), L.load(0, i, float64)),
        (Const(0.0, float32), Const(-0.0, float32)),
        (Const(1), Const(1.0, float32)),
        (L.axis("i"), L.local("i", i.dtype)),
    ]
    for one, other in pairs:
        assert fingerprint(one) != fingerprint(other)


def test_structures_and_texts_correspond() -> None:
    graphs = [Graph.of(build()) for build in ONE_KERNEL]
    graphs += [random_graph(seed, steps=8) for seed in range(12)]
    structures = {
        cpu.prepare(nest.nest).structure
        for graph in graphs
        for kernel in compile_graph(graph).kernels
        for nest in kernel.nests
    }
    assert len(structures) > 20
    for one, other in combinations(structures, 2):
        assert fingerprint(one) != fingerprint(other)
