"""Operands that are given although the attributes say that there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, nd

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
