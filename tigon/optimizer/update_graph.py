"""The update of any number of parameters as one compiled graph.

Rates change at every step, so they are operands: one small array per step. What stays (momentum,
betas) is written into the graph as constants. New weights and states are written where the old
ones were.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add, is_
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import TensorType, as_dtype, type_of
from tigon.base.dtypes import float32
from tigon.ir import Graph, Node, Value, variable
from tigon.ir.graph import CONSTANT, VARIABLE
from tigon.nd import NDArray
from tigon.ops.primitive.choose import cast
from tigon.ops.primitive.view import _reshape, _slice
from tigon.ops.record import POINTWISE
from tigon.optimizer import precision
from tigon.optimizer.precision import Formula, on_master
from tigon.optimizer.states import as_list
from tigon.passes.decompose import decompose
from tigon.program.cached_graph import CachedGraph


class UpdateGraph:
    """One step for a fixed list of parameters: `step(grads, rates)`.

    `rates` holds, per parameter, the `rates_each` numbers that its formula takes. The graph is tied
    to these very weights and states, so that a step has nothing to look up. `copies`: for each
    further context the weights there. Then gradients come context after context; their sums count,
    and new weights are written to all. `places`: where the states of each hold its master copy, or
    None.
    """

    def __init__(
        self,
        formula: Formula,
        weights: Sequence[NDArray],
        states: Sequence[Sequence[NDArray]],
        rates_each: int,
        copies: Sequence[Sequence[NDArray]] = (),
        places: Sequence[int | None] | None = None,
    ) -> None:
        self.weights = list(weights)
        self.copies = [weight for own in copies for weight in own]
        self.states = [state for own in states for state in own]
        self.dtype = dtype_of_rates(weights)
        self._device = weights[0].device_index if weights else -1
        self.cached = CachedGraph(
            self._graph(formula, states, rates_each, places or [None] * len(weights)), name="update"
        )
        self._sequence: _native.Sequence | None = None

    def _graph(
        self,
        formula: Formula,
        states: Sequence[Sequence[NDArray]],
        rates_each: int,
        places: Sequence[int | None],
    ) -> Graph:
        count = len(self.weights)
        rates = variable("rates", TensorType((max(count * rates_each, 1),), as_dtype(self.dtype)))
        weights = [variable(f"weight{i}", type_of(w)) for i, w in enumerate(self.weights)]
        copies = [variable(f"copy{i}", type_of(w)) for i, w in enumerate(self.copies)]
        grads = [
            variable(f"grad{i}", type_of(w)) for i, w in enumerate([*self.weights, *self.copies])
        ]
        totals = [reduce(add, grads[index::count]) for index in range(count)]
        leaves = [
            [variable(f"state{i}_{j}", type_of(state)) for j, state in enumerate(own)]
            for i, own in enumerate(states)
        ]
        each = zip(weights, totals, leaves, places, strict=True)
        updated = []
        for index, (weight, grad, own, place) in enumerate(each):
            exact = weight if place is None else own[place]
            numbers = numbers_of(rates, index, rates_each, exact)
            updated.append(on_master(formula, weight, grad, own, numbers, place))
        return Graph(
            [rates, *weights, *grads, *[state for own in leaves for state in own], *copies],
            [
                *[weight for weight, _ in updated],
                *[state for _, own in updated for state in own],
                *[updated[index % count][0] for index in range(len(copies))],
            ],
        )

    def fits(
        self,
        weights: Sequence[NDArray],
        states: Sequence[NDArray],
        copies: Sequence[Sequence[NDArray]] = (),
    ) -> bool:
        """Whether it was made for these arrays."""
        others = [weight for own in copies for weight in own]
        return (
            len(weights) == len(self.weights)
            and len(states) == len(self.states)
            and len(others) == len(self.copies)
            and all(map(is_, weights, self.weights))
            and all(map(is_, states, self.states))
            and all(map(is_, others, self.copies))
        )

    def step(self, grads: Sequence[NDArray], rates: Sequence[float]) -> None:
        """Overwrite weights and states with their new values, in one native call."""
        given = _native.from_numpy(np.array(rates or [0.0], self.dtype), self._device)
        arrays = [given, *self.weights, *grads, *self.states, *self.copies]
        if self._sequence is None:
            self._sequence = self._overwriting(self.cached.compiled(arrays).program)
        recording = _native.set_recording(False)
        try:
            self._sequence(arrays)
        finally:
            _native.set_recording(recording)

    def _overwriting(self, program: _native.Program) -> _native.Sequence:
        """A call of the program whose results go over weights and states, and are nobody's."""
        inputs, count = program.inputs, len(self.weights)
        first_state = len(inputs) - len(self.states) - len(self.copies)
        places = [*range(1, 1 + count), *range(first_state, len(inputs))]
        run = ("run", program, [*range(len(inputs))], [*enumerate(places)], ())
        return _native.Sequence(inputs, [run], [], 0)


def dtype_of_rates(weights: Sequence[NDArray]) -> str:
    """The dtype of the array of rates: the weights', or the widest where they differ. Rates of
    weights of fewer than 32 bits have 32."""
    dtypes = {precision.wider(weight.dtype) or as_dtype(weight.dtype).name for weight in weights}
    return dtypes.pop() if len(dtypes) == 1 else "float64"


def numbers_of(rates: Value, index: int, count: int, weight: Value) -> list[Value]:
    """The `count` rates of parameter number `index`, as scalars of its weight's dtype; of a narrow
    one in float32, in which steps are made."""
    dtype = float32 if weight.dtype.is_narrow else weight.dtype
    numbers = []
    for position in range(index * count, (index + 1) * count):
        number = _slice(rates, start=(position,), step=(1,), extents=(1,))
        number = _reshape(number, shape=())
        if dtype is not rates.dtype:
            number = cast(number, dtype=dtype.name)
        numbers.append(number)
    return numbers


def is_elementwise(optimizer: Any) -> bool:
    """Whether an element of a new weight, and of new states, follows from the same element of
    weight, gradient and states, so that parts of a parameter can be updated apart from each other.

    >>> from tigon import optimizer
    >>> is_elementwise(optimizer.create("adam")), is_elementwise(optimizer.create("lamb"))
    (True, False)
    """
    if not optimizer.updates_by_formula:
        return False
    like = _native.zeros((_SOME,), float32.code)
    states = as_list(optimizer.create_state(0, like))
    if any(type_of(state) != type_of(like) for state in states):
        return False
    count = len(optimizer.schedule(optimizer.lr, optimizer.wd, 1)) + 1
    rates = [variable(f"rate{i}", TensorType((), float32)) for i in range(count)]
    arrays = [variable(f"array{i}", type_of(like)) for i in range(2 + len(states))]
    weight, states = optimizer.full_formula(arrays[0], arrays[1], arrays[2:], *rates)
    graph = decompose(Graph([*rates, *arrays], [weight, *states]))
    return all(map(_keeps_places, graph.nodes))


def _keeps_places(node: Node) -> bool:
    """Whether each element of its results follows from that element of its operands, or is a number
    that is the same for all."""
    if node.op is VARIABLE or node.op is CONSTANT:
        return True
    numbers = node.inputs or node.outputs
    return node.op.family in POINTWISE or all(value.type.size == 1 for value in numbers)


_SOME = 5  # elements: more than one, so that sums differ from what is summed
