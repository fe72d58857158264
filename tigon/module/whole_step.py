"""A step of `fit` as one program: forward, backward, the update of all parameters, auxiliary states
and the metric.

What stands in its way (several contexts, a store, a monitor that looks, an updater or methods of a
program's own) makes `fit` do the same one by one; the numbers are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon import _native, nd
from tigon.base import TensorType, check, type_of
from tigon.base.lazy import computed_once
from tigon.context import context_of
from tigon.metric import EvalMetric
from tigon.module.metric_sums import Leaf, LeafSums, account_of, fits, leaves_of, parts_of
from tigon.optimizer import Updater
from tigon.optimizer.in_step import BoundStep, append_updates, states_of
from tigon.program.training import TrainingGraph, TrainingStep, training_program
from tigon.runtime import counters
from tigon.runtime.tracing import densified
from tigon.sym.executor import Executor, is_loss

OWN = ("forward", "backward", "forward_backward", "update", "update_metric", "get_outputs")
"""What a step calls; a class or an object that has its own is asked for it."""


def obstacle(module: Any, kind: type) -> str | None:
    """Why a step of this module, of a class `kind`, cannot be one program; None where it can."""
    for name in OWN:
        if getattr(type(module), name) is not getattr(kind, name) or name in vars(module):
            return f"{type(module).__name__} has its own {name}"
    group = module._exec_group
    if len(group.execs) > 1:
        return "it runs on several contexts"
    if module._kvstore is not None:
        return "a store takes part"
    updater, optimizer = module._updater, module._optimizer
    if type(updater) is not Updater:
        return "the updater is the program's own"
    if not optimizer.updates_by_formula:
        return f"{type(optimizer).__name__} defines update"
    if group.gradients_read:
        return "gradients are read"
    return _of_executor(group.execs[0], group)


def _of_executor(executor: Executor, group: Any) -> str | None:
    requests = executor._requests
    trained = {name for name, request in requests.items() if request != "null"}
    if not group.for_training:
        return "it is bound for prediction"
    if group.inputs_need_grad or not trained:
        return "gradients of inputs are asked for" if trained else "nothing is trained"
    if any(requests[name] == "add" for name in trained):
        return "gradients add up over batches"
    if executor._graph.has_effects:
        return "the symbol holds operators that are Python code"
    if executor._advanced:
        return "operators advance arguments"
    if not any(map(is_loss, executor._symbol._values)):
        return "no output is a loss"
    if executor._lacking:
        return "an output is not a loss"
    return None


class WholeSteps:
    """The programs of the steps of one executor."""

    def __init__(self, module: Any) -> None:
        self.group = module._exec_group
        self.executor: Executor = self.group.execs[0]
        self.updater = module._updater
        self.optimizer = module._optimizer
        cached = self.executor._graph
        self.names = [value.node.name for value in cached.graph.inputs]
        self.places = {name: place for place, name in enumerate(self.names)}
        numbers = {name: index for index, name in enumerate(module._param_names)}
        self.trained = {
            self.places[name]: numbers[name]
            for name, request in self.executor._requests.items()
            if request != "null" and name in self.places
        }
        own = self.executor
        self.template = [
            own.arg_dict[name] if name in own.arg_dict else own.aux_dict[name]
            for name in self.names
        ]
        self.heads = len(own._symbol._values)
        self._known: dict[Any, Any] = {}
        self._programs: dict[Any, BoundStep] = {}  # by metrics
        self._last: tuple[Any, BoundStep, list[LeafSums]] | None = None

    def serves(self, module: Any) -> bool:
        """Whether module and executor are still these."""
        return (
            self.group is module._exec_group
            and self.executor is self.group.execs[0]
            and self.updater is module._updater
            and self.optimizer is module._optimizer
        )

    def run(self, batch: Any, eval_metric: EvalMetric) -> bool:
        """One step; whether the metric is part of it."""
        arrays = list(self.template)
        given = self._like(self.group.named(batch, True))
        for name, array in given.items():
            place = self.places.get(name)
            if place is not None:
                arrays[place] = array
        bound, sums = self._bound_for(given, eval_metric)
        optimizer = self.optimizer
        before = optimizer.num_update
        rates = optimizer.advance(bound.indices)
        previous = _native.set_recording(False)
        try:
            numbers = _native.from_numpy(np.array(rates or [0.0], bound.dtype), bound.device)
            counted = [one.array for one in sums]
            results = bound.program.sequence((*arrays, numbers, *bound.states, *counted))
        except BaseException:
            optimizer.withdraw(bound.indices, before)
            raise
        finally:
            _native.set_recording(previous)
        for one in sums:
            one.moved = True
        self.executor.take_over(list(results[: self.heads]))
        self.group.forget_outputs()
        counters.count("whole_steps")
        return bool(sums)

    # -- operands

    def _like(self, given: dict[str, Any]) -> dict[str, Any]:
        """As arrays of the dtype and the place of those that are bound."""
        found = {}
        for name, array in given.items():
            target = self.executor.arg_dict[name]
            array = densified(array, "Module.fit")
            if type(array) is not nd.NDArray:
                array = nd.array(array, ctx=context_of(target))
            if array.dtype_code != target.dtype_code:
                array = array.astype(target.dtype)
            if array.device_index != target.device_index:
                array = array.as_in_context(context_of(target))
            check(
                array.shape == target.shape,
                "Module.fit",
                f"'{name}': expected shape {target.shape}, as bound; given {array.shape}; do data "
                "and labels have the same number of samples?",
            )
            found[name] = array
        return found

    # -- programs

    def _bound_for(
        self, given: dict[str, Any], eval_metric: EvalMetric
    ) -> tuple[BoundStep, list[LeafSums]]:
        """The program for this metric, and where it adds it up."""
        last = self._last
        if (
            last is not None
            and last[0] is eval_metric
            and last[1].holds(self.optimizer, self.updater)
            and _same(eval_metric, last[2])
        ):
            return last[1], last[2]
        leaves = self._leaves(given, eval_metric)
        key = tuple(leaf.key for leaf in leaves)
        bound = self._programs.get(key)
        if bound is None or not bound.holds(self.optimizer, self.updater):
            bound = self._programs[key] = self._prepare(leaves)
        sums = [self._sums(leaf.metric) for leaf in leaves]
        self._last = eval_metric, bound, sums
        return bound, sums

    def _leaves(self, given: dict[str, Any], eval_metric: EvalMetric) -> list[Leaf]:
        """The metrics that the program adds up: all, or none where one of them is beyond it."""
        labels = [name for name in self.group.label_names if name in given]
        if len(labels) != len(self.group.label_names):
            return []
        leaves = leaves_of(eval_metric, labels, self.group.output_names)
        if leaves is None:
            return []
        own = [given[name] for name in labels]
        return leaves if fits(leaves, own, self.output_types) else []

    @computed_once
    def output_types(self) -> list[TensorType]:
        """Of the outputs, in training."""
        forward = self.executor._graph.moded(True).typed(self._types()).graph
        return [value.type for value in forward.outputs[: self.heads]]

    def _sums(self, own: EvalMetric) -> LeafSums:
        """Those that a metric has, of whichever executor, or new ones."""
        found = vars(own).get("_pending")
        context = context_of(self.template[0])
        if found is None or context_of(found.array) != context:
            if found is not None:
                found.settle(own)
            found = LeafSums(context)
            vars(own)["_pending"] = found
        return found

    def _types(self) -> dict[str, TensorType]:
        return {name: type_of(array) for name, array in zip(self.names, self.template, strict=True)}

    def _prepare(self, leaves: list[Leaf]) -> BoundStep:
        labels = [self.places[name] for name in self.group.label_names if name in self.places]
        account = account_of(leaves, labels) if leaves else None

        def step(training: TrainingGraph) -> TrainingStep:
            weights = [self.template[place] for place in training.gradients]
            indices = [self.trained[place] for place in training.gradients]
            states = states_of(self.updater, indices, weights)
            return append_updates(
                training, self.optimizer, indices, weights, states, account=account
            )

        graph = self.executor._graph
        trained = list(self.trained)
        # What has no gradient is moved even so, as the optimizer says: decay, momentum.
        program = training_program(
            graph, self._types(), self.heads, trained, step, self._known, complete=True
        )
        indices = [self.trained[place] for place in program.updated]
        weights = [self.template[place] for place in program.updated]
        states = states_of(self.updater, indices, weights)
        return BoundStep(self.optimizer, self.updater, program, indices, weights, states)


def _same(eval_metric: EvalMetric, sums: list[LeafSums]) -> bool:
    """Whether the metric still adds up there."""
    return not sums or [vars(one).get("_pending") for one in parts_of(eval_metric)] == sums
