"""Gradients that are recorded themselves (`create_graph=True`): computed operator by operator on
arrays, they are those of the tape. Nothing here names an operator."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.registry.test_execution import DIFFERENTIABLE, arrays_of, assert_close, run
from tests.registry.test_records import node_of, operands_of
from tigon import _native, autograd
from tigon.base import TigonError
from tigon.base.dtypes import BY_CODE
from tigon.ops.record import Operator

SAMPLES = 2
REFUSALS = "create_graph=True (needs '.*', an input .* not kept|cannot differentiate through)"
"""Of what the tape has not kept, and of gradients that users have written on arrays."""


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_gradients_that_are_recorded(op: Operator) -> None:
    for index, sample in enumerate(op.samples[:SAMPLES]):
        given = operands_of(op, sample, "float32", seed=index)
        node = node_of(op, sample, given)
        training = bool(getattr(node.attrs, "training", False))
        shaped = [not isinstance(part, np.ndarray) for part in sample[:-1]]
        results: list[list[Any]] = []
        for create_graph in (False, True):
            arrays = arrays_of(given)
            wanted = [
                array
                for array, free in zip(arrays, shaped, strict=True)
                if free and array.dtype_code in (0, 1)
            ]
            for array in wanted:
                array.mark_variable(_native.from_numpy(np.zeros(array.shape, np.float32)), "write")
            with autograd.record(train_mode=training):
                heads = [h for h in run(node, arrays) if h.dtype_code in (0, 1) and h.has_tape]
                if not heads or not wanted:
                    return
                seeds = [
                    _native.from_numpy(
                        np.random.default_rng(7)
                        .uniform(-1, 1, h.shape)
                        .astype(BY_CODE[h.dtype_code].numpy)
                    )
                    for h in heads
                ]
                try:
                    found = autograd.grad(
                        heads, wanted, seeds, create_graph=create_graph, train_mode=training
                    )
                except TigonError as error:
                    assert create_graph and re.search(REFUSALS, str(error)), error
                    return
            results.append([array.asnumpy() for array in found])
        for plain, recorded in zip(*results, strict=True):
            assert_close(recorded, plain, op, (node, node.attrs), given)
