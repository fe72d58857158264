"""One training step as one program: forward, backward and the update of every weight.

The forward graph is differentiated, the updates are appended, and all of it is compiled together.
New weights and states are written over the old ones; rates are an operand, so that a schedule
never compiles anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tigon import _native
from tigon.base import TensorType, TigonError
from tigon.base.frozen import Frozen
from tigon.ir import Graph, Value, variable
from tigon.ops.record import get
from tigon.passes.gradient import gradient
from tigon.runtime import keys
from tigon.runtime.cached_graph import CachedGraph
from tigon.runtime.compile import CompiledGraph, compile_graph

Update = Callable[[int, Value, Value, Sequence[Value], Value], tuple[Value, Sequence[Value]]]
"""(number, weight, gradient, states, all rates) -> (new weight, new states)."""

Adjust = Callable[[Sequence[Value], Value], Sequence[Value]]
"""(gradients, all rates) -> gradients to update with."""


class TrainingGraph:
    """A forward graph for given types, differentiated by some of its inputs.

    The first `heads` outputs are the losses; their sum is what is differentiated. `weights` are
    positions of inputs; those that no loss depends on are in `unused`.
    """

    def __init__(
        self,
        cached: CachedGraph,
        types: dict[str, TensorType],
        heads: int,
        weights: Sequence[int],
    ) -> None:
        self.name = cached.name
        self.disabled = cached.disabled
        self.variant = cached.moded(True).typed(types)
        graph = self.variant.graph
        losses = [value for value in graph.outputs[:heads] if value.dtype.is_float]
        if not losses:
            raise TigonError(f"{self.name}: there is no loss of floating-point numbers to lower")
        ones = [get("ones_like")(value) for value in losses]
        found = gradient(losses, ones, [graph.inputs[i] for i in weights])
        self.gradients = {i: g for i, g in zip(weights, found, strict=True) if g is not None}
        self.unused = [i for i in weights if i not in self.gradients]
        self.loss_size = max(value.type.size or 0 for value in losses)
        self.losses_agree = len({value.type.size for value in losses}) == 1

    def compile(
        self,
        states: Sequence[Sequence[TensorType]],
        rates: TensorType,
        update: Update,
        adjust: Adjust | None = None,
    ) -> TrainingProgram:
        """Append the updates: `states` holds the types of each used weight's states."""
        variant = self.variant
        inputs = list(variant.graph.inputs)
        weights = list(self.gradients)
        rates_value = variable("_rates", rates)
        leaves = [
            [variable(f"_state{i}_{j}", type_) for j, type_ in enumerate(own)]
            for i, own in enumerate(states)
        ]
        grads: Sequence[Value] = list(self.gradients.values())
        if adjust is not None and grads:
            grads = adjust(grads, rates_value)
        updated = [
            update(number, inputs[i], grads[number], own, rates_value)
            for number, (i, own) in enumerate(zip(weights, leaves, strict=True))
        ]
        state_inputs = [state for own in leaves for state in own]
        new_weights = [weight for weight, _ in updated]
        new_states = [state for _, own in updated for state in own]
        first_weight = len(variant.graph.outputs)
        first_state = len(inputs) + 1
        overwritten = [*weights, *range(first_state, first_state + len(state_inputs))]
        compiled = compile_graph(
            Graph(
                [*inputs, rates_value, *state_inputs],
                [*variant.graph.outputs, *new_weights, *new_states],
            ),
            name=self.name,
            disabled=self.disabled,
            in_place=[(first_weight + i, source) for i, source in enumerate(overwritten)],
        )
        return TrainingProgram(
            compiled, first_weight, tuple(overwritten), variant.states, variant.random_calls
        )


class TrainingProgram(Frozen):
    """One native call per step.

    Inputs: those of the forward graph, the random key if there is one, the rates, the states.
    """

    compiled: CompiledGraph
    kept: int  # outputs that are new arrays: results, then auxiliary states
    overwritten: tuple[int, ...]  # inputs that the further outputs are written over
    auxiliary: tuple[tuple[int, int], ...]  # (output, input whose new state it is)
    random_calls: int

    def __call__(
        self, arrays: list[_native.NDArray], rates: _native.NDArray, states: list[_native.NDArray]
    ) -> Sequence[_native.NDArray]:
        """Run; `arrays` are the forward graph's inputs without the key."""
        given = [*arrays, keys.take(self.random_calls)] if self.random_calls else arrays
        given = [*given, rates, *states]
        out = [*[None] * self.kept, *[given[i] for i in self.overwritten]]
        results = self.compiled.program(given, out)
        for output, source in self.auxiliary:
            arrays[source].swap_storage(results[output])
        return results
