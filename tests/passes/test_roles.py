"""Which operands the inputs of a node are, where attributes say which ones there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.registry.test_records import OPERATORS
from tigon import autograd, nd
from tigon.base import TigonError
from tigon.ops.attributes import attr_fields
from tigon.ops.record import Operator
from tigon.passes.roles import operand_roles

CASES: dict[str, tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...]]] = {
    "SequenceLast": (nd.SequenceLast, (3, 4, 2), (4,)),
    "SequenceMask": (nd.SequenceMask, (3, 4, 2), (4,)),
    "SequenceReverse": (nd.SequenceReverse, (3, 4, 2), (4,)),
}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_an_operand_too_many_has_no_gradient(name: str, traced: bool):
    function, shape, extra = CASES[name]
    x = nd.array(np.arange(float(np.prod(shape))).reshape(shape))
    x.attach_grad()
    call = mx.jit(function) if traced else function
    with autograd.record():
        y = call(x, nd.ones(extra))
    y.backward()
    assert x.grad.asnumpy().any()


CHOOSING = [op for op in OPERATORS if op.present is not None and op.samples]


def attributes_of(op: Operator) -> Iterator[Any]:
    """Those of the samples, and with each switch the other way."""
    for sample in op.samples:
        given = sample[-1]
        attrs = op.make_attrs(given)
        yield attrs
        for name in attr_fields(op.attrs_type):
            if isinstance(getattr(attrs, name), bool):
                try:
                    yield op.make_attrs({**given, name: not getattr(attrs, name)})
                except TigonError:
                    continue


@pytest.mark.parametrize("op", CHOOSING, ids=lambda op: op.name)
def test_inputs_are_the_operands_that_are_there(op: Operator) -> None:
    for attrs in attributes_of(op):
        there = op.present(attrs)
        expected = [o.name for o in op.operands if o.name in there or o.random_key]
        roles = [o.name for o in operand_roles(op, attrs, len(expected))]
        assert roles == expected, attrs
        every = [o.name for o in operand_roles(op, attrs, len(op.operands))]
        assert every == [o.name for o in op.operands], attrs
