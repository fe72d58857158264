"""The speeds of a target: each of them decides something."""

from __future__ import annotations

from functools import cache

import pytest

from tigon.backends.cpu.backend import CpuBackend, cpu
from tigon.backends.llvm.target import Speeds
from tigon.base import TensorType, as_dtype
from tigon.base.frozen import fields, replace
from tigon.ir import Graph, Node, Value, variable
from tigon.loop.grammar import AnyNest
from tigon.lower.fuse.fuser import fuse
from tigon.lower.nests import lower_group
from tigon.ops import get
from tigon.program.lowered import prepare


def array(name: str, *shape: int, dtype: str = "float32") -> Value:
    return variable(name, TensorType(shape, as_dtype(dtype)))


@cache
def nests() -> tuple[AnyNest, ...]:
    """Of small and large arrays, sums, scans, lookups, divisions and products of both kinds."""
    x, rows = array("x", 1000, 33), array("i", 500, dtype="int64")
    image, filters = array("d", 1, 64, 28, 28), array("w", 64, 64, 3, 3)
    outputs = [
        get("tanh")(x),
        get("_reduce_sum")(x, axes=(1,)),
        get("cumsum")(x, axis=0),
        get("take")(x, rows),
        get("broadcast_mod")(rows, array("j", 500, dtype="int64")),
        get("relu")(array("l", 4096, 4096)),
        get("dot")(array("a", 200, 300), array("b", 300, 100)),
        get("Convolution")(image, filters, kernel=(3, 3), pad=(1, 1), num_filter=64, no_bias=True),
    ]
    found: list[AnyNest] = []
    for output in outputs:
        names = {node.name: node.outputs[0] for node in _variables(output)}
        fusion = fuse(prepare(Graph(list(names.values()), [output])))
        found += [each.nest for group in fusion.groups for each in lower_group(group, fusion)]
    return tuple(found)


def _variables(value: Value) -> list[Node]:
    node = value.node
    return [node] if node.op is None else [v for each in node.inputs for v in _variables(each)]


def launches(speeds: Speeds) -> list[tuple]:
    backend = CpuBackend(replace(cpu.target, speeds=speeds))
    made = [backend.prepare(nest) for nest in nests()]
    return [(each.points, each.grain, each.cost_us, each.structure) for each in made]


@pytest.mark.parametrize("name", fields(Speeds))
def test_each_decides_something(name: str) -> None:
    usual = Speeds()
    slower = replace(usual, **{name: type(getattr(usual, name))(getattr(usual, name) * 4)})
    assert launches(slower) != launches(usual)
    assert launches(usual) == launches(Speeds())
