"""A training step as one compiled program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add, is_
from typing import Any

import numpy as np

from tigon import _native, autograd
from tigon.base import TensorType, as_dtype, check, nested, type_of
from tigon.base.locks import reentrant_lock
from tigon.gluon import trace as tracing
from tigon.gluon.block import Block
from tigon.gluon.compiled_graphs import CompiledByKey
from tigon.gluon.graphs import Entry, GraphCache
from tigon.gluon.structure import arrays_in, rebuild_outputs
from tigon.gluon.trace.path import Places
from tigon.gluon.trainer import Trainer
from tigon.gluon.utils import clip_global_norm
from tigon.ir import Value
from tigon.nd import NDArray
from tigon.ops.primitive.arithmetic import absolute, minimum, square
from tigon.ops.primitive.choose import cast
from tigon.ops.primitive.functions import sqrt
from tigon.ops.primitive.reduce import sum as total
from tigon.ops.primitive.view import _reshape
from tigon.optimizer import Optimizer
from tigon.optimizer.optimizer import as_list
from tigon.optimizer.update_graph import dtype_of_rates, numbers_of
from tigon.program.lowered import CompiledGraph
from tigon.program.training import TrainingGraph, TrainingProgram, TrainingStep, training_program
from tigon.runtime.tracing import active, needs_arrays


class TrainStep:
    """Forward, backward and the update of all parameters in one native call.

    `step(data, label)` does what this loop does, and returns the loss:

        with autograd.record():
            loss = loss_function(net(data), label)
        loss.backward()
        trainer.step(batch_size)

    `data` and `label` are arrays, or tuples or lists of arrays where the network or the loss takes
    several. `batch_size` divides the gradients; left out, it is the number of losses: one for each
    sample with Gluon's losses.

    The trainer's rates, multipliers, schedules, counts and states are those of the loop, so that
    one can take over from the other at any time. What the Python code of network and loss reads is
    guarded as in `hybridize`: it is traced again when a shape, a dtype or a Python value changes.
    Changed rates and another `batch_size` compile nothing. Gradients stay inside: `grad()` of
    parameters is left as it was. Parameters that the trainer does not have, or whose `grad_req` is
    "null", keep their values.

    With `outputs=True` a step returns `(loss, output of the network)`, for metrics. A parameter of
    the trainer that the loss does not depend on is an error, as in `Trainer.step`;
    `ignore_stale_grad=True` leaves it alone. `clip_global_norm` is the largest joint 2-norm of all
    gradients after their division by `batch_size`; larger ones are scaled down to it.

    >>> from tigon import nd
    >>> from tigon.gluon import loss, nn
    >>> net = nn.Dense(1, in_units=2, weight_initializer="ones")
    >>> net.initialize()
    >>> trainer = Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    >>> step = TrainStep(net, loss.L2Loss(), trainer)
    >>> data, label = nd.array([[1, 2], [3, 4]]), nd.array([1, 1])
    >>> [round(step(data, label).asnumpy().mean().item(), 4) for _ in range(3)]
    [10.0, 3.46, 1.249]
    """

    def __init__(
        self,
        net: Block,
        loss: Callable[..., Any],
        trainer: Trainer,
        *,
        outputs: bool = False,
        ignore_stale_grad: bool = False,
        clip_global_norm: float | None = None,
    ) -> None:
        check(
            isinstance(net, Block) or callable(net),
            "TrainStep",
            f"net: expected a block; given {type(net).__name__}",
        )
        check(
            callable(loss),
            "TrainStep",
            f"loss: expected a block or a function of (output, label); given {type(loss).__name__}",
        )
        check(
            isinstance(trainer, Trainer),
            "TrainStep",
            f"trainer: expected a gluon.Trainer; given {type(trainer).__name__}",
        )
        optimizer = trainer.optimizer
        check(
            type(optimizer).update is Optimizer.update,
            "TrainStep",
            f"{type(optimizer).__name__} defines update, which runs on arrays and cannot be "
            "compiled; define formula(self, weight, grad, states, lr, wd) instead",
        )
        check(
            clip_global_norm is None or clip_global_norm > 0,
            "TrainStep",
            f"clip_global_norm is a positive number or None; given {clip_global_norm}",
        )
        self.net = net
        self.loss = loss
        self.trainer = trainer
        self.outputs = outputs
        self.ignore_stale_grad = ignore_stale_grad
        self.clip_global_norm = clip_global_norm
        self.name = f"{getattr(net, 'name', 'net')}_step"
        self._cached_graphs = GraphCache(self, _StepEntry)
        self._batch_size: int | None = None
        self._lock = reentrant_lock()  # steps write the same arrays: one after another

    def __call__(self, data: Any, label: Any = (), batch_size: int | None = None) -> Any:
        """One step. Returns the loss, and the network's output if asked for."""
        if active[0]:
            data, label = needs_arrays("runs a TrainStep", (data, label))
        with self._lock, autograd.pause(train_mode=True):
            self._batch_size = batch_size
            return self._cached_graphs((data, label))

    def __setattr__(self, name: str, value: Any) -> None:
        """What it was made of may be changed: it is traced anew then."""
        object.__setattr__(self, name, value)
        if name in _SETTINGS and hasattr(self, "_cached_graphs"):
            self._cached_graphs = GraphCache(self, _StepEntry)

    def __repr__(self) -> str:
        return f"TrainStep({self.name[:-5]}, {self.loss!r}, {self.trainer.optimizer!r})"

    def explain(self) -> str:
        """What was traced and compiled, and why it was traced again."""
        return self._cached_graphs.explain()

    @property
    def compiled(self) -> list[Any]:
        """One entry per traced graph: `graph`, `programs`, `reason`."""
        return list(self._cached_graphs.entries)

    def _traced(self, data: Any, label: Any) -> Any:
        """The Python code of a step up to the loss, on symbols."""
        for given in (*_as_tuple(data), *_as_tuple(label)):
            check(
                not isinstance(given, np.ndarray),
                self.name,
                "data and label: expected NDArrays; given a numpy array, whose values would become "
                "part of the program; convert it with nd.array",
            )
        trace = tracing.current()
        assert trace is not None
        for part in (self.net, self.loss):
            trace.function(part)
        output = self.net(*_as_tuple(data))
        return self.loss(output, *_as_tuple(label)), output if self.outputs else None

    # -- as a loop, where network or loss give way

    def _imperatively(self, args: tuple[Any, ...]) -> Any:
        """A step of a kind that gave way."""
        data, label = args
        with autograd.record():
            output = self.net(*_as_tuple(data))
            loss = self.loss(output, *_as_tuple(label))
        return self._gave_way((loss, output if self.outputs else None), args)

    def _gave_way(self, result: Any, args: tuple[Any, ...]) -> Any:
        """Forward has run under record(): the rest of the step. Gradients stay inside."""
        loss, output = result
        losses = list(arrays_in(loss))
        batch_size = self._batch_size
        if batch_size is None:
            sizes = {array.size for array in losses}
            check(
                len(sizes) == 1,
                self.name,
                "there are several losses of different sizes; give batch_size",
            )
            batch_size = sizes.pop()
        check(batch_size > 0, self.name, f"batch_size must be positive; given {batch_size}")
        trainer = self.trainer
        trained = {i: p for i, p in enumerate(trainer._params) if p.grad_req != "null"}
        grads = {index: param.grad() for index, param in trained.items()}
        before = {index: (grad.version, grad.copy()) for index, grad in grads.items()}
        try:
            autograd.backward(losses)
            used = [index for index, grad in grads.items() if grad.version != before[index][0]]
            self._check_used(set(used))
            for index in used:
                self._check(trained[index])
            rescale = trainer._scale / batch_size
            if self.clip_global_norm is not None:
                limit = self.clip_global_norm / abs(rescale)
                clip_global_norm([grads[index] for index in used], limit, check_isfinite=False)
            trainer._optimizer.rescale_grad = rescale
            weights = [trained[index].list_data()[0] for index in used]
            trainer._updater(used, [grads[index] for index in used], weights)
        finally:
            for index, grad in grads.items():
                grad[:] = before[index][1]
        return (loss, output) if self.outputs else loss

    def _check_used(self, used: set[int]) -> None:
        """`used`: indices of the parameters that the loss depends on."""
        if self.ignore_stale_grad:
            return
        for index, param in enumerate(self.trainer._params):
            check(
                index in used or param.grad_req == "null",
                self.name,
                f"the loss does not depend on {param._where}; leave it out of the trainer, or "
                "pass ignore_stale_grad=True to leave it as it is",
            )

    def _check(self, param: Any) -> None:
        check(
            len(param.list_ctx()) == 1,
            self.name,
            f"{param._where} lives on several contexts; one program runs on one",
        )
        check(
            param.grad_req == "write",
            self.name,
            f"{param._where} accumulates gradients (grad_req 'add'), of which a step knows only "
            "its own; set grad_req to 'write', or use record, backward and Trainer.step",
        )


_SETTINGS = frozenset("net loss trainer outputs ignore_stale_grad clip_global_norm".split())


def _as_tuple(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, (list, tuple)) else (given,)


class _StepEntry(Entry):
    """One traced graph of network and loss, and the programs of its training step."""

    may_have_effects = False  # it is one program
    may_fork = False

    def __init__(
        self,
        step: TrainStep,
        leaves: Sequence[Any],
        args: tuple[Any, ...],
        compiled: CompiledByKey,
        places: Places,
    ) -> None:
        # As in the loop, where forward runs under record().
        with autograd.record():
            super().__init__(step, leaves, args, compiled, places)
        self.step = step
        self.loss_structure, self.output_structure = nested.parts(self.structure)
        self.heads = sum(kind == "output" for kind, _ in self.loss_structure)
        check(
            self.heads > 0,
            step.name,
            "the loss does not depend on anything computed; expected loss(net(data), label)",
        )
        self.known: dict[Any, Any] = {}  # what was made for these types
        self._bound: _Bound | None = None

    def _bind(self) -> None:
        super()._bind()
        self._bound = None

    def run(self, leaves: Sequence[Any]) -> Any:
        trainer = self.step.trainer
        optimizer = trainer._optimizer
        bound = self._bound
        if bound is None or not bound.holds(optimizer, trainer._updater):
            bound = self._bound = self._prepare()
        batch_size = self.step._batch_size
        if batch_size is None:
            check(
                bound.program.losses_agree,
                self.step.name,
                "there are several losses of different sizes; give batch_size",
            )
            batch_size = bound.program.loss_size
        check(batch_size > 0, self.step.name, f"batch_size must be positive; given {batch_size}")
        optimizer.rescale_grad = trainer._scale / batch_size
        before = optimizer.num_update
        rates = optimizer.advance(bound.indices)
        arrays = self.template.copy()
        for slot, position in self.input_positions:
            arrays[slot] = leaves[position]
        try:
            given = _native.from_numpy(np.array(rates or [0.0], bound.dtype), bound.device)
            results = bound.program.sequence((*arrays, given, *bound.states))
        except BaseException:
            optimizer.withdraw(bound.indices, before)
            raise
        loss = rebuild_outputs(self.loss_structure, results, leaves)
        if not self.step.outputs:
            return loss
        return loss, rebuild_outputs(self.output_structure, results, leaves)

    def compiled_graphs(self) -> list[CompiledGraph]:
        return [program.compiled for program in self.programs]

    @property
    def programs(self) -> list[TrainingProgram]:
        return [made for made in self.known.values() if isinstance(made, TrainingProgram)]

    # -- what a step needs

    def _prepare(self) -> _Bound:
        """The program for the trainer's present parameters and states."""
        trainer = self.step.trainer
        optimizer = trainer._optimizer
        index_of = {id(param): index for index, param in enumerate(trainer._params)}
        slots: dict[int, int] = {}  # input of the graph -> index of the parameter in the trainer
        for slot, (kind, param) in enumerate(self.sources):
            if kind == "parameter" and id(param) in index_of and param.grad_req != "null":
                slots[slot] = index_of[id(param)]
        for index in slots.values():
            self.step._check(trainer._params[index])
        assert self.cached is not None
        types = {
            value.node.name: self.types[which] if kind == "input" else type_of(array)
            for value, (kind, which), array in zip(
                self.graph.inputs, self.sources, self.template, strict=True
            )
        }
        updater = trainer._updater

        def step(training: TrainingGraph) -> TrainingStep:
            self.step._check_used({slots[slot] for slot in training.gradients})
            weights = [self.template[slot] for slot in training.gradients]
            indices = [slots[slot] for slot in training.gradients]
            states = [as_list(updater.state(i, w)) for i, w in zip(indices, weights, strict=True)]
            return self._step(training, weights, states)

        program = training_program(self.cached, types, self.heads, list(slots), step, self.known)
        indices = [slots[slot] for slot in program.updated]
        weights = [self.template[slot] for slot in program.updated]
        states = [as_list(updater.state(i, w)) for i, w in zip(indices, weights, strict=True)]
        return _Bound(optimizer, updater, program, indices, weights, states)

    def _step(
        self, training: TrainingGraph, weights: Sequence[NDArray], states: Sequence[Sequence[Any]]
    ) -> TrainingStep:
        optimizer = self.step.trainer._optimizer
        each = len(optimizer.schedule(optimizer.lr, optimizer.wd, 1)) + 1

        def update(number: int, weight: Value, grad: Value, own: Any, rates: Value) -> Any:
            numbers = numbers_of(rates, number, each, weight)
            return optimizer.full_formula(weight, grad, own, *numbers)

        limit = self.step.clip_global_norm

        def clip(grads: Sequence[Value], rates: Value) -> list[Value]:
            assert limit is not None
            return _clipped(grads, limit, numbers_of(rates, 0, each, grads[0])[-1])

        count = max(len(weights) * each, 1)
        rates = TensorType((count,), as_dtype(dtype_of_rates(weights)))
        types = [[type_of(state) for state in own] for own in states]
        key = (optimizer.settings, limit, tuple(map(tuple, types)))
        return training.step(key, types, rates, update, None if limit is None else clip)


def _clipped(grads: Sequence[Value], limit: float, rescale: Value) -> list[Value]:
    """Scaled down so that the joint norm of `grads * rescale` is at most `limit`."""
    dtype = grads[0].dtype.name

    def of_dtype(value: Value, name: str) -> Value:
        return value if value.dtype.name == name else cast(value, dtype=name)

    squares = [of_dtype(_reshape(total(square(grad)), shape=()), dtype) for grad in grads]
    norm = sqrt(reduce(add, squares)) * absolute(rescale)
    scale = minimum(limit / (norm + 1e-8), 1.0)
    return [grad * of_dtype(scale, grad.dtype.name) for grad in grads]


class _Bound:
    """A program with the very arrays that it writes over, so that a step looks nothing up."""

    def __init__(
        self,
        optimizer: Any,
        updater: Any,
        program: TrainingProgram,
        indices: list[int],
        weights: Sequence[Any],
        states: Sequence[Sequence[Any]],
    ) -> None:
        self.settings = optimizer.settings
        self.program = program
        self.indices = indices
        self.dtype = as_dtype(dtype_of_rates(weights)).numpy
        self.device = weights[0].device_index if weights else _native.FIRST_CPU
        self.states = [state for own in states for state in own]
        self.owners = [updater.states[index] for index in indices]

    def holds(self, optimizer: Any, updater: Any) -> bool:
        """Whether the states are still these and the rule is still this one."""
        known = updater.states
        return (
            all(map(is_, self.owners, [known.get(index) for index in self.indices]))
            and optimizer.settings == self.settings
        )
