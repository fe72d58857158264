"""The update of any number of parameters as one compiled graph.

Rates change at every step, so they are operands: one small array per step. What stays (momentum,
betas) is written into the graph as constants. New weights and states are written where the old
ones were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tigon import autograd
from tigon.base import TensorType, as_dtype
from tigon.ir import Graph, Value, variable
from tigon.nd import NDArray, from_numpy
from tigon.ops.elementwise import cast
from tigon.ops.views import _reshape, _slice
from tigon.runtime.cached_graph import CachedGraph

Formula = Callable[..., tuple[Value, Sequence[Value]]]
"""(weight, gradient, states, *rates) -> (new weight, new states), in operators on graph values."""


class UpdateGraph:
    """One step for a fixed list of parameters: `step(weights, grads, states, rates)`.

    `rates` holds, per parameter, the numbers that its formula takes.
    """

    def __init__(
        self,
        formula: Formula,
        weights: Sequence[NDArray],
        states: Sequence[Sequence[NDArray]],
        rates_each: int,
    ) -> None:
        dtypes = {as_dtype(weight.dtype).name for weight in weights}
        self.dtype = dtypes.pop() if len(dtypes) == 1 else "float64"
        count = len(weights)
        rates = variable("rates", TensorType((max(count * rates_each, 1),), as_dtype(self.dtype)))
        inputs: list[Value] = [rates]
        outputs: list[Value] = []
        for index, (weight, own) in enumerate(zip(weights, states, strict=True)):
            type_ = _type_of(weight)
            leaves = [variable(f"weight{index}", type_), variable(f"grad{index}", type_)]
            leaves += [
                variable(f"state{index}_{i}", _type_of(state)) for i, state in enumerate(own)
            ]
            numbers = []
            for i in range(rates_each):
                number = _slice(rates, start=(index * rates_each + i,), step=(1,), extents=(1,))
                number = _reshape(number, shape=())
                if self.dtype != type_.dtype.name:
                    number = cast(number, dtype=type_.dtype.name)
                numbers.append(number)
            new_weight, new_states = formula(leaves[0], leaves[1], leaves[2:], *numbers)
            inputs += leaves
            outputs += [new_weight, *new_states]
        self.cached = CachedGraph(Graph(inputs, outputs), name="update")
        self._arrays: list[Any] = []
        self._out: list[Any] = []
        self._identity: tuple[int, ...] = ()

    def step(
        self,
        weights: Sequence[NDArray],
        grads: Sequence[NDArray],
        states: Sequence[Sequence[NDArray]],
        rates: Sequence[float],
    ) -> None:
        """Overwrite weights and states with their new values, in one native call."""
        arrays: list[Any] = [from_numpy(np.array(rates or [0.0], self.dtype))]
        out: list[Any] = []
        for weight, grad, own in zip(weights, grads, states, strict=True):
            arrays += [weight, grad, *own]
            out += [weight, *own]
        with autograd.pause():
            self.cached(arrays, False, out)


def _type_of(array: Any) -> TensorType:
    return TensorType(tuple(array.shape), as_dtype(array.dtype))
