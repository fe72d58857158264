"""The update of parameters as the end of the program of a training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

from tigon import _native
from tigon.base import TensorType, as_dtype, type_of
from tigon.ir import Value
from tigon.optimizer.precision import on_master
from tigon.optimizer.states import as_list
from tigon.optimizer.update_graph import dtype_of_rates, numbers_of
from tigon.program.training import Account, Adjust, TrainingGraph, TrainingProgram, TrainingStep


def states_of(updater: Any, indices: Sequence[Any], weights: Sequence[Any]) -> list[list[Any]]:
    """The arrays of the states of each weight, made if need be."""
    return [as_list(updater.state(i, w)) for i, w in zip(indices, weights, strict=True)]


def append_updates(
    training: TrainingGraph,
    optimizer: Any,
    indices: Sequence[Any],
    weights: Sequence[Any],
    states: Sequence[Sequence[Any]],
    adjusting: tuple[Any, Callable[[int], Adjust]] | None = None,
    account: tuple[Any, Account] | None = None,
) -> TrainingStep:
    """A differentiated graph with the updates of these weights. `adjusting`: what changes the
    gradients, made of the number of rates of a weight; `account`: what else is summed. Both come
    with what tells them from others."""
    each = len(optimizer.schedule(optimizer.lr, optimizer.wd, 1)) + 1
    places = [optimizer.master_place(w, own) for w, own in zip(weights, states, strict=True)]
    for one in zip(indices, weights, states, places, strict=True):
        optimizer.check_states(*one)

    def update(number: int, weight: Value, grad: Value, own: Any, rates: Value) -> Any:
        place = places[number]
        exact = weight if place is None else own[place]
        numbers = numbers_of(rates, number, each, exact)
        return on_master(optimizer.full_formula, weight, grad, own, numbers, place)

    count = max(len(weights) * each, 1)
    rates = TensorType((count,), as_dtype(dtype_of_rates(weights)))
    types = [[type_of(state) for state in own] for own in states]
    what, make = adjusting or (None, None)
    sums, adding = account or (None, None)
    key = (optimizer.settings, what, tuple(map(tuple, types)), sums)
    return training.step(key, types, rates, update, make and make(each), adding)


class BoundStep:
    """A program with the very arrays that it writes over, so that a step looks nothing up."""

    def __init__(
        self,
        optimizer: Any,
        updater: Any,
        program: TrainingProgram,
        indices: list[Any],
        weights: Sequence[Any],
        states: Sequence[Sequence[Any]],
    ) -> None:
        self.settings = optimizer.settings
        self.program = program
        self.indices = indices
        self.dtype = as_dtype(dtype_of_rates(weights)).numpy
        self.device = weights[0].device_index if weights else _native.FIRST_CPU
        self.states = [state for own in states for state in own]
        # Where gradients come out, whoever uses them looks states up.
        self.owners = [updater.states[index] for index in indices] if states else []

    def holds(self, optimizer: Any, updater: Any) -> bool:
        """Whether the states are still these and the rule is still this one."""
        known = updater.states
        return (
            all(map(is_, self.owners, [known.get(index) for index in self.indices]))
            and optimizer.settings == self.settings
        )
