"""What `F` makes of nothing while a block is traced stands for an array, as what `nd` makes does:
when the trace gives way it is one, wherever it was made before."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import nd
from tigon.gluon import nn
from tigon.ops.record import all_operators

OPERATORS = [
    op
    for op in all_operators()
    if op.aliases and op.samples and all(operand.random_key for operand in op.operands)
]


class Net(nn.HybridBlock):
    def __init__(self, name: str, attributes: dict[str, Any], symbolic: bool) -> None:
        super().__init__()
        self.name_of_operator, self.attributes, self.symbolic = name, attributes, symbolic

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        space = F if self.symbolic else nd
        made = getattr(space.op, self.name_of_operator)(**self.attributes)
        if x.sum().asscalar() > 0:  # a graph cannot hold it
            made = made + made
        return F.broadcast_add(made, made), made * x[0].astype(made.dtype)


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.name)
def test_it_is_an_array_after_giving_way(op: Any, symbolic: bool) -> None:
    attributes = {**op.samples[0][-1]}
    found = []
    for hybridized in (False, True):
        net = Net(op.name, attributes, symbolic)
        net.hybridize(hybridized)
        mx.random.seed(3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found.append([y.asnumpy() for y in net(nd.array([2, 1]))])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_operator_of_nothing_is_tried() -> None:
    names = {op.name for op in OPERATORS}
    assert {"_zeros", "_ones", "_full", "_arange", "_random_uniform", "_random_normal"} <= names
