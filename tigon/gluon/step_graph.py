"""The graph of network and loss on one way through their code, and the programs of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import TensorType, as_dtype, check, nested, type_of
from tigon.context import Context, context_in, current_context
from tigon.gluon.operands import Operands
from tigon.gluon.structure import Structure, rebuild_outputs
from tigon.ir import Graph, Value
from tigon.nd import NDArray
from tigon.ops.primitive.arithmetic import absolute, minimum, square
from tigon.ops.primitive.choose import cast
from tigon.ops.primitive.functions import sqrt
from tigon.ops.primitive.reduce import sum as total
from tigon.ops.primitive.view import _reshape
from tigon.optimizer.in_step import BoundStep, append_updates, states_of
from tigon.optimizer.update_graph import dtype_of_rates, numbers_of
from tigon.program.cached_graph import CachedGraph
from tigon.program.lowered import CompiledGraph
from tigon.program.training import (
    Adjust,
    TrainingGraph,
    TrainingProgram,
    TrainingStep,
    gradients_in_steps,
    training_program,
)
from tigon.runtime import keys


class StepGraph:
    """One graph of network and loss, and the programs of its training step."""

    def __init__(
        self,
        step: Any,
        cached: CachedGraph | None,
        graph: Graph,
        structure: Structure,
        operands: Operands,
        types: Sequence[TensorType],
    ) -> None:
        """`operands`: the arrays for the inputs of the graph. `types`: of the arrays among the
        arguments."""
        self.step = step
        self.graph = graph
        self.operands = operands
        self.types = types
        self.loss_structure, self.output_structure = nested.parts(structure)
        self.heads = sum(kind == "output" for kind, _ in self.loss_structure)
        check(
            self.heads > 0,
            step.name,
            "the loss does not depend on anything computed; expected loss(net(data), label)",
        )
        assert cached is not None
        self.cached = cached
        self.known: dict[Any, Any] = {}  # what was made for these types
        self._bound: BoundStep | None = None
        # What a step would otherwise ask for each time: of the store, which is there once bound.
        self._store: Any = None
        self._by_parts = False

    def bind(self, context: Context | None) -> None:
        self.operands.bind(context)
        self._bound = None

    def run(self, leaves: Sequence[Any]) -> Any:
        trainer = self.step.trainer
        optimizer = trainer._optimizer
        bound = self._bound
        if (
            bound is None
            or trainer._store is not self._store
            or not bound.holds(optimizer, trainer._updater)
        ):
            bound = self._bound = self._prepare()
        batch_size = self.step._batch_size
        if batch_size is None:
            check(
                bound.program.losses_agree,
                self.step.name,
                "there are several losses of different sizes; give batch_size",
            )
            batch_size = bound.program.loss_size
            if self._store is not None:
                batch_size *= trainer._ranks  # now: some may have been lost
        check(batch_size > 0, self.step.name, f"batch_size must be positive; given {batch_size}")
        arrays = self.operands.template.copy()  # as `of` does, a frame less
        for slot, position in self.operands.inputs:
            arrays[slot] = leaves[position]
        optimizer.rescale_grad = trainer._scale / batch_size
        if self._by_parts:
            return self._by_gradients(bound, arrays, leaves)
        before = optimizer.num_update
        rates = optimizer.advance(bound.indices)
        try:
            given = _native.from_numpy(np.array(rates or [0.0], bound.dtype), bound.device)
            results = bound.program.sequence((*arrays, given, *bound.states))
        except BaseException:
            optimizer.withdraw(bound.indices, before)
            raise
        loss = rebuild_outputs(self.loss_structure, results, leaves)
        return loss if not self.step.outputs else self._with_output(loss, results, leaves)

    def _with_output(self, loss: Any, results: Sequence[Any], leaves: Sequence[Any]) -> Any:
        return loss, rebuild_outputs(self.output_structure, results, leaves)

    @property
    def _gives_gradients(self) -> bool:
        """Whether gradients come out: somebody looks at them, other ranks have theirs, or the
        program waits for other ranks before it has them all."""
        step = self.step
        through_store = step.trainer._store is not None
        return step.adjust is not None or through_store or self.cached.has_effects

    @property
    def _is_scaled(self) -> bool:
        """Whether they come out divided by the size of the batch, for `adjust`."""
        step = self.step
        alone = step.trainer._store is None and not self.cached.has_effects
        return alone and step.adjust is not None

    def _by_gradients(self, bound: BoundStep, arrays: list[Any], leaves: Sequence[Any]) -> Any:
        """Gradients first; then they, or what `adjust` or other ranks make of them, move weights,
        or nothing moves."""
        program, optimizer = bound.program, self.step.trainer._optimizer
        key, draws = keys.take(program.draws), program.draws or program.sequence.draws
        given = list(arrays)
        if program.draws:
            numbers = np.array([key.seed, key.counter], np.int64)
            given.append(_native.from_numpy(numbers, bound.device))
        if self._is_scaled:
            scale = np.array([optimizer.rescale_grad], bound.dtype)
            given.append(_native.from_numpy(scale, bound.device))
        try:
            results = program.sequence(given)
            loss = rebuild_outputs(self.loss_structure, results, leaves)
            grads = list(results[len(results) - len(bound.indices) :])
            weights = [self.operands.template[slot] for slot in program.updated]
            moved = self.step._move(loss, bound.indices, weights, grads, self._is_scaled)
        except BaseException:
            _native.give_back_key(key, draws)
            raise
        if moved:
            for made, place in program.states:
                _native.commit(arrays[place], results[made])
        return loss if not self.step.outputs else self._with_output(loss, results, leaves)

    @property
    def programs(self) -> list[TrainingProgram]:
        return [made for made in self.known.values() if isinstance(made, TrainingProgram)]

    def compiled_graphs(self) -> list[CompiledGraph]:
        return [compiled for program in self.programs for compiled in program.programs]

    # -- what a step needs

    def _trained(self) -> tuple[dict[int, int], dict[str, TensorType]]:
        """Which inputs of the graph are parameters that are trained, with their indices in the
        trainer; and the types of all inputs."""
        trainer = self.step.trainer
        trainer._init_kvstore()
        index_of = {id(param): index for index, param in enumerate(trainer._params)}
        slots: dict[int, int] = {}  # input of the graph -> index of the parameter in the trainer
        for slot, (kind, param) in enumerate(self.operands.sources):
            if kind == "parameter" and id(param) in index_of and param.grad_req != "null":
                slots[slot] = index_of[id(param)]
        for index in slots.values():
            self.step._check(trainer._params[index])
        types = {
            value.node.name: self.types[which] if kind == "input" else type_of(array)
            for value, (kind, which), array in zip(
                self.graph.inputs, self.operands.sources, self.operands.template, strict=True
            )
        }
        return slots, types

    def _with_updates(
        self, training: TrainingGraph, slots: dict[int, int]
    ) -> tuple[TrainingStep, list[int], list[list[Any]]]:
        """The step; and of the weights that it moves the indices in the trainer, and the states."""
        self.step._check_used({slots[slot] for slot in training.gradients})
        weights = [self.operands.template[slot] for slot in training.gradients]
        indices = [slots[slot] for slot in training.gradients]
        states = states_of(self.step.trainer._updater, indices, weights)
        return self._step(training, indices, weights, states), indices, states

    def exact_step(self) -> tuple[TrainingStep, list[int], list[list[Any]]]:
        """The same for these types and no others."""
        slots, types = self._trained()
        training = TrainingGraph(self.cached, types, self.heads, list(slots))
        return self._with_updates(training, slots)

    def _prepare(self) -> BoundStep:
        """The program for the trainer's present parameters and states."""
        trainer = self.step.trainer
        slots, types = self._trained()
        optimizer, updater = trainer._optimizer, trainer._updater
        self._store = trainer._store
        self._by_parts = self._gives_gradients

        def step(training: TrainingGraph) -> TrainingStep:
            if not self._gives_gradients:
                return self._with_updates(training, slots)[0]
            self.step._check_used({slots[slot] for slot in training.gradients})
            weights = [self.operands.template[slot] for slot in training.gradients]
            scale = TensorType((1,), as_dtype(dtype_of_rates(weights)))
            return training.gradients_step(scale if self._is_scaled else None)

        if self.cached.has_effects:
            given = (types, self.heads, list(slots), self._context(), self.known)
            program = gradients_in_steps(self.cached, *given)
            self.step._check_used({slots[slot] for slot in program.updated})
        else:
            shared = (self.heads, list(slots), step, self.known)
            program = training_program(self.cached, types, *shared)
        indices = [slots[slot] for slot in program.updated]
        weights = [self.operands.template[slot] for slot in program.updated]
        states = [] if self._gives_gradients else states_of(updater, indices, weights)
        return BoundStep(optimizer, updater, program, indices, weights, states)

    def _context(self) -> Context:
        return context_in(self.operands.template) or current_context()

    def _step(
        self,
        training: TrainingGraph,
        indices: Sequence[int],
        weights: Sequence[NDArray],
        states: Sequence[Sequence[Any]],
    ) -> TrainingStep:
        limit = self.step.clip_global_norm

        def clipping(each: int) -> Adjust:
            def clip(grads: Sequence[Value], rates: Value) -> list[Value]:
                assert limit is not None
                return _clipped(grads, limit, numbers_of(rates, 0, each, grads[0])[-1])

            return clip

        return append_updates(
            training,
            self.step.trainer._optimizer,
            indices,
            weights,
            states,
            None if limit is None else (limit, clipping),
        )


def _clipped(grads: Sequence[Value], limit: float, rescale: Value) -> list[Value]:
    """Scaled down so that the joint norm of `grads * rescale` is at most `limit`."""
    wide = "float64" if any(grad.dtype.name == "float64" for grad in grads) else "float32"

    def of_dtype(value: Value, name: str) -> Value:
        return value if value.dtype.name == name else cast(value, dtype=name)

    exact = [of_dtype(grad, wide) for grad in grads]
    norm = sqrt(reduce(add, [_reshape(total(square(grad)), shape=()) for grad in exact]))
    scale = minimum(limit / (norm * absolute(of_dtype(rescale, wide)) + 1e-8), 1.0)
    return [of_dtype(one * scale, grad.dtype.name) for one, grad in zip(exact, grads, strict=True)]
