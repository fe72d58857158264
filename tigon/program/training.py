"""One training step as one program: forward, backward and the update of every weight.

The forward graph is differentiated, the updates are appended, and all of it is compiled together.
New weights and states are written over the old ones; rates are an operand, so that a schedule
never compiles anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tigon import _native
from tigon.base import TensorType, TigonError, check
from tigon.base.extents import value_of
from tigon.base.frozen import Frozen
from tigon.base.lazy import computed_once
from tigon.context import Context
from tigon.ir import Graph, Value, variable
from tigon.ops.record import get
from tigon.passes.gradient import gradient
from tigon.passes.recompute import Choice, choices, forward_part, recompute
from tigon.program.by_shape import ByShape, Fit
from tigon.program.cached_graph import CachedGraph, States
from tigon.program.lowered import AnyLowered, CompiledGraph, lower_graph, prepare
from tigon.program.steps import CompiledSteps, sequence_of_steps
from tigon.program.target import disabled_passes

Update = Callable[[int, Value, Value, Sequence[Value], Value], tuple[Value, Sequence[Value]]]
"""(number, weight, gradient, states, all rates) -> (new weight, new states)."""

Adjust = Callable[[Sequence[Value], Value], Sequence[Value]]
"""(gradients, all rates) -> gradients to update with."""


class Account(Frozen, eq=False):
    """What a step adds up besides, such as a metric: sums of these types, and the new ones, from
    the forward graph and the old ones."""

    types: tuple[TensorType, ...]
    add: Callable[[Graph, Sequence[Value]], Sequence[Value]]


class TrainingGraph:
    """A forward graph for given types, differentiated by some of its inputs.

    The first `heads` outputs are the losses; their sum is what is differentiated. `weights` are
    positions of inputs; those that no loss depends on are in `unused`, or, if all are to be
    `complete`, have gradients of zeros.
    """

    def __init__(
        self,
        cached: CachedGraph,
        types: Mapping[str, TensorType],
        heads: int,
        weights: Sequence[int],
        complete: bool = False,
    ) -> None:
        self.name = cached.name
        self.disabled = cached.disabled
        self.budget = cached.budget
        self.forward = cached.moded(True).typed(types)
        graph = self.forward.graph
        losses = [value for value in graph.outputs[:heads] if value.dtype.is_float]
        if not losses:
            raise TigonError(f"{self.name}: there is no loss of floating-point numbers to lower")
        ones = [get("ones_like")(value) for value in losses]
        found = gradient(losses, ones, [graph.inputs[i] for i in weights])
        if complete:
            found = [
                get("zeros_like")(graph.inputs[i]) if g is None else g
                for i, g in zip(weights, found, strict=True)
            ]
        self.gradients = {i: g for i, g in zip(weights, found, strict=True) if g is not None}
        self.unused = [i for i in weights if i not in self.gradients]
        self.loss_sizes = {value.type.size or 0 for value in losses}
        self._steps: dict[Any, TrainingStep] = {}

    def step(
        self,
        key: Any,
        states: Sequence[Sequence[TensorType]],
        rates: TensorType,
        update: Update,
        adjust: Adjust | None = None,
        account: Account | None = None,
    ) -> TrainingStep:
        """The updates appended and all of it lowered, once per `key`: `states` holds the types of
        each used weight's states."""
        found = self._steps.get(key)
        if found is None:
            found = self._steps[key] = self._append(states, rates, update, adjust, account)
        return found

    def _append(
        self,
        states: Sequence[Sequence[TensorType]],
        rates: TensorType,
        update: Update,
        adjust: Adjust | None,
        account: Account | None,
    ) -> TrainingStep:
        forward = self.forward.graph
        inputs = list(forward.inputs)
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
        if account is not None:  # sums are written over as states are
            sums = [variable(f"_sum{i}", type_) for i, type_ in enumerate(account.types)]
            state_inputs += sums
            new_states += account.add(forward, sums)
        first_weight = len(forward.outputs)
        first_state = len(inputs) + 1
        overwritten = [*weights, *range(first_state, first_state + len(state_inputs))]
        graph = Graph(
            [*inputs, rates_value, *state_inputs], [*forward.outputs, *new_weights, *new_states]
        )
        return TrainingStep(self, graph, first_weight, tuple(overwritten))

    def lower(self, graph: Graph, in_place: Sequence[tuple[int, int]]) -> AnyLowered:
        lower = partial(lower_graph, disabled=self.disabled, in_place=in_place)
        if self.budget is None:
            return lower(graph)
        plain = lower(graph)
        if plain.memory_plan().arena_bytes <= self.budget.nbytes:
            return plain
        left_out = disabled_passes() if self.disabled is None else self.disabled
        prepared = prepare(graph, left_out)
        results = len(self.forward.graph.outputs)

        def measured(choice: Choice) -> tuple[int, AnyLowered]:
            made = lower(recompute(prepared, results, choice))
            return made.memory_plan().arena_bytes, made

        return self.budget.best(choices(forward_part(prepared, results)), measured)

    def gradients_step(self, scale: TensorType | None = None) -> TrainingStep:
        """The gradients, times a number that is the last input if `scale` is its type, as further
        outputs; nothing is updated, and no state moves."""
        key = ("gradients", scale)
        found = self._steps.get(key)
        if found is None:
            inputs, grads = list(self.forward.graph.inputs), list(self.gradients.values())
            if scale is not None:
                inputs.append(variable("_scale", scale))
                grads = [grad * _like(inputs[-1], grad) for grad in grads]
            outputs = [*self.forward.graph.outputs, *grads]
            found = TrainingStep(self, Graph(inputs, outputs), len(outputs), (), False)
            self._steps[key] = found
        return found


def _like(number: Value, grad: Value) -> Value:
    number = get("_reshape")(number, shape=())
    return number if number.dtype is grad.dtype else get("Cast")(number, dtype=grad.dtype.name)


class TrainingStep(Frozen, eq=False):
    """The graph of a step: forward, backward and updates."""

    training: TrainingGraph
    graph: Graph
    kept: int
    overwritten: tuple[int, ...]
    commits: bool = True  # that states of the forward graph move

    @property
    def in_place(self) -> list[tuple[int, int]]:
        """Outputs, and the inputs that they are written over."""
        return [(self.kept + i, source) for i, source in enumerate(self.overwritten)]

    @computed_once
    def lowered(self) -> AnyLowered:
        return self.training.lower(self.graph, self.in_place)


def training_program(
    cached: CachedGraph,
    types: Mapping[str, TensorType],
    heads: int,
    weights: Sequence[int],
    then: Callable[[TrainingGraph], TrainingStep],
    known: dict[Any, Any],
    complete: bool = False,
) -> TrainingProgram:
    """The program of a step on these types; `then` appends the updates to a differentiated graph,
    which serves other types too where these differ in extents only. `known` is what was made for
    these types before; `complete` is for `TrainingGraph`."""
    key = (heads, tuple(weights), complete)
    shared = cached.others.get(key)
    if shared is None:
        shared = ByShape(lambda types: TrainingGraph(cached, types, heads, weights, complete))
        cached.others[key] = shared

    def exact() -> TrainingGraph:
        if key not in known:
            known[key] = TrainingGraph(cached, types, heads, weights, complete)
        return known[key]

    def lowered(training: TrainingGraph) -> TrainingStep:
        step = then(training)
        step.lowered  # noqa: B018  # here, where extents may be left open, or not
        return step

    # What fits into a budget depends on extents.
    fit = shared.use(types, lowered, exact) if cached.budget is None else Fit(lowered(exact()))
    step: TrainingStep = fit.result
    if step in known:
        return known[step]
    training = step.training
    compiled = step.lowered.program(fit.extents, fit.values, name=training.name)
    sizes = {value_of(size, fit.values) for size in training.loss_sizes}
    known[step] = TrainingProgram(
        compiled,
        _sequence(compiled, step),
        tuple(training.gradients),
        step.kept,
        step.overwritten,
        max(sizes),
        len(sizes) == 1,
        training.forward.states,
    )
    return known[step]


def gradients_in_steps(
    cached: CachedGraph,
    types: Mapping[str, TensorType],
    heads: int,
    weights: Sequence[int],
    at: Context,
    known: dict[Any, Any],
) -> TrainingProgram:
    """The gradients of a graph that holds collectives, as further outputs: programs, and what waits
    for other ranks between them. The random key, if any, is an array, the last input."""
    key = ("in steps", heads, tuple(weights))
    if key in known:
        return known[key]
    check(
        cached.budget is None,
        cached.name,
        "recompute looks at one program, and this step is cut at its collectives; leave recompute "
        "out, or the collectives",
    )
    training = TrainingGraph(cached, types, heads, weights)
    forward = training.forward
    outputs = [*forward.graph.outputs, *training.gradients.values()]
    sequence, programs = sequence_of_steps(
        Graph(forward.graph.inputs, outputs), training.name, training.disabled, at
    )
    known[key] = TrainingProgram(
        CompiledSteps(programs),
        sequence,
        tuple(training.gradients),
        len(outputs),
        (),
        max(value_of(size, ()) for size in training.loss_sizes),
        len(training.loss_sizes) == 1,
        forward.states,
        forward.random_calls,
    )
    return known[key]


def _sequence(compiled: CompiledGraph, step: TrainingStep) -> _native.Sequence:
    """A step on the forward graph's inputs without the key, the rates, and the states."""
    forward = step.training.forward
    draws = forward.random_calls
    inputs = list(compiled.program.inputs)
    slots = [*range(len(inputs))]
    if draws:  # the last input of the forward graph
        key = len(forward.graph.inputs) - 1
        del inputs[key]
        slots = [*range(key), _native.KEY_SLOT, *range(key, len(inputs))]
    over = [(step.kept + i, slots[source]) for i, source in enumerate(step.overwritten)]
    steps: list[Any] = [("run", compiled.program, slots, over, ())]
    if forward.states and step.commits:
        steps.append(("commit", [(len(inputs) + made, slots[at]) for made, at in forward.states]))
    results = range(len(inputs), len(inputs) + step.kept)
    return _native.Sequence(inputs, steps, results, draws)


class TrainingProgram(Frozen):
    """One native call per step: `sequence([*inputs of the forward graph, rates, *states])`."""

    compiled: CompiledGraph | CompiledSteps
    sequence: _native.Sequence
    updated: tuple[int, ...]  # inputs that are weights with gradients
    kept: int  # outputs that are new arrays: results, then auxiliary states
    overwritten: tuple[int, ...]  # inputs of the program that further outputs are written over
    loss_size: int
    losses_agree: bool  # in size
    states: States  # (output, input of the forward graph without the key)
    draws: int = 0  # by a key that the caller takes, and gives as the last array

    @property
    def programs(self) -> tuple[CompiledGraph, ...]:
        """What is compiled: one program, unless others are waited for in between."""
        made = self.compiled
        return made.programs if isinstance(made, CompiledSteps) else (made,)
