"""A training step as one compiled program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from tigon import autograd
from tigon.base import check, type_of
from tigon.base.files import AnyPath
from tigon.base.locks import reentrant_lock
from tigon.gluon import trace as tracing
from tigon.gluon.block import Block
from tigon.gluon.compiled_graphs import CompiledByKey, compiled_graph
from tigon.gluon.function import jit
from tigon.gluon.graphs import UNKNOWN, Entry, GraphCache, threaded
from tigon.gluon.native import export_step
from tigon.gluon.operands import Operands
from tigon.gluon.parameters_section import describe as _describe
from tigon.gluon.paths import Paths
from tigon.gluon.step_graph import StepGraph
from tigon.gluon.structure import arrays_in, collect_outputs
from tigon.gluon.trace.path import Places
from tigon.gluon.trace.sources import source_of
from tigon.gluon.trainer import Trainer
from tigon.gluon.utils import clip_global_norm
from tigon.ir import Value
from tigon.nd import NDArray
from tigon.optimizer import Optimizer
from tigon.program.budget import budget_in_bytes
from tigon.program.lowered import CompiledGraph
from tigon.program.segments import joined
from tigon.program.training import TrainingProgram
from tigon.runtime.counters import fall_back
from tigon.runtime.tracing import active, needs_arrays
from tigon.standalone.verbs import native_options, web_options
from tigon.sym.traced import ArraySymbol


class TrainStep:
    """Forward, backward and the update of all parameters in one native call.

    `step(data, label)` does what this loop does, and returns the loss:

        with autograd.record():
            loss = loss_function(net(data), label)
        loss.backward()
        trainer.step(batch_size)

    `data` and `label` are arrays, or tuples or lists of arrays where the network or the loss takes
    several. `batch_size` divides the gradients; left out, it is the number of losses: one for each
    sample with Gluon's losses, of all ranks where the trainer's store has several, which have to
    have as many each.

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

    `adjust(loss, gradients)` is a function of the loss, as `loss` gives it, and of the list of
    gradients after that division, in the trainer's order, which it may write to. It returns the
    gradients to use, or None to skip the step: then no weight, state, count or running statistic
    moves. What was drawn stays drawn, so that the next step, of the same batch perhaps, has other
    random numbers. It is compiled as functions of `jit` are, and may decide by values.

    `recompute` is as in `hybridize`: the bytes that a step may take beyond parameters, states,
    arguments and results, such as "200 MB", or True for as few as can be.

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
        adjust: Callable[[Any, list[Any]], Sequence[Any] | None] | None = None,
        recompute: bool | int | str | None = None,
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
        check(
            adjust is None or callable(adjust),
            "TrainStep",
            f"adjust: expected a function of loss and gradients; given {type(adjust).__name__}",
        )
        check(
            adjust is None or clip_global_norm is None,
            "TrainStep",
            "give clip_global_norm or adjust, which may clip too; given both",
        )
        self.net = net
        self.loss = loss
        self.trainer = trainer
        self.outputs = outputs
        self.ignore_stale_grad = ignore_stale_grad
        self.clip_global_norm = clip_global_norm
        self.adjust = adjust
        if adjust is not None or clip_global_norm is not None:
            trainer._keep_updates_here()
        self.name = f"{getattr(net, 'name', 'net')}_step"
        self._flags = {"recompute": budget_in_bytes(recompute, self.name)}
        self._cached_graphs = GraphCache(self, _StepEntry)
        self._batch_size: int | None = None
        self._states: Sequence[tuple[NDArray, NDArray]] = ()
        self._lock = reentrant_lock()  # steps write the same arrays: one after another

    def __call__(self, data: Any, label: Any = (), batch_size: int | None = None) -> Any:
        """One step. Returns the loss, and the network's output if asked for."""
        if active[0]:
            data, label = needs_arrays("runs a TrainStep", (data, label))
        if self.trainer._amp_loss_scaler is not None:
            self._refuse_scaling()
        if self.trainer._with_rows and (by_rows := self.trainer._by_rows):
            fall_back(
                f"{by_rows[0]._where} has a row-sparse gradient, whose number of rows no compiled "
                "step knows: TrainStep runs as a loop"
            )
            with self._lock, autograd.pause(train_mode=True):
                self._batch_size = batch_size
                return self._imperatively((data, label))
        with self._lock, autograd.pause(train_mode=True):
            self._batch_size = batch_size
            return self._cached_graphs((data, label))

    def _refuse_scaling(self) -> None:
        check(
            False,
            self.name,
            "its trainer scales losses (amp.init_trainer), and the program of a step does not; use "
            "amp.init('bfloat16'), which needs no scale, or autograd.record, amp.scale_loss and "
            "trainer.step",
        )

    def __setattr__(self, name: str, value: Any) -> None:
        """What it was made of may be changed: it is traced anew then."""
        object.__setattr__(self, name, value)
        if name == "adjust" and value is not None:
            object.__setattr__(self, "_compiled_adjust", jit(_of_own_list(value)))
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

    def export_native(
        self,
        path: AnyPath,
        data: Any = None,
        label: Any = (),
        *,
        batch_size: int | None = None,
        updates: int = 1000,
        target: str | Sequence[str] = "native",
        weights: str = "inside",
        prefix: str | None = None,
        system: str = "linux",
    ) -> tuple[str, ...]:
        """Write a shared library that goes on training from here and needs nothing installed.

        Each run is a step on arrays like those of the last one, or like `data` and `label`, of
        exactly these shapes. It returns the loss; weights, statistics and the optimizer's states
        are states of an instance, which `path_state` reads and writes. Rates are those of the
        trainer for the next `updates` steps, bias corrections and schedule included; later steps
        have those of the last one. See `HybridBlock.export_native` for the rest.
        """
        options = native_options(target, weights, prefix, system)
        return self._export(path, data, label, batch_size, updates, options)

    def export_wasm(
        self,
        path: AnyPath,
        data: Any = None,
        label: Any = (),
        *,
        batch_size: int | None = None,
        updates: int = 1000,
        weights: str = "inside",
    ) -> tuple[str, ...]:
        """Write a module of WebAssembly that goes on training from here, in browsers and in Node.

        Each run is a step, as in `export_native`; states of an instance are read and written by
        name (`state`). See `HybridBlock.export_wasm` for the rest.

        >>> import os, tempfile
        >>> from tigon import gluon, nd
        >>> net = gluon.nn.Dense(1, in_units=3)
        >>> net.initialize()
        >>> trainer = gluon.Trainer(net.collect_params(), "sgd")
        >>> step = gluon.TrainStep(net, gluon.loss.L2Loss(), trainer)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = step.export_wasm(f"{folder}/step", nd.ones((4, 3)), nd.ones((4, 1)))
        >>> [os.path.basename(file) for file in files]
        ['step.wasm', 'step.js', 'step.d.ts']
        """
        options = web_options(weights)
        return self._export(path, data, label, batch_size, updates, options)

    def _export(
        self,
        path: AnyPath,
        data: Any,
        label: Any,
        batch_size: int | None,
        updates: int,
        options: dict[str, Any],
    ) -> tuple[str, ...]:
        examples = () if data is None else (data, label)
        with self._lock, autograd.pause(train_mode=True):
            return export_step(
                self, self._cached_graphs, examples, path, batch_size, updates, options
            )

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
        self._keep_states()
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
            batch_size = sizes.pop() * self.trainer._ranks
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
            trainer._optimizer.rescale_grad = trainer._scale / batch_size
            weights = [trained[index].list_data()[0] for index in used]
            if not self._move(loss, used, weights, [grads[index] for index in used]):
                for array, then in self._states:
                    array[...] = then
        finally:
            self._states = ()
            for index, grad in grads.items():
                grad[...] = before[index][1]
        return (loss, output) if self.outputs else loss

    def _move(
        self,
        loss: Any,
        indices: Sequence[int],
        weights: Sequence[Any],
        grads: Sequence[Any],
        scaled: bool = False,
    ) -> bool:
        """Move weights by gradients, which may be written to; False if the step is skipped.
        `scaled`: they are divided by the size of the batch, as `adjust` sees them."""
        trainer, store = self.trainer, self.trainer._store
        rescale = trainer._optimizer.rescale_grad
        used: Sequence[Any] | None = grads
        each = [[weight] for weight in weights], [[grad] for grad in grads]
        if store is not None and store.updates:
            check(
                self.adjust is None and self.clip_global_norm is None,
                self.name,
                "adjust and clip_global_norm look at gradients before weights move, and a store "
                "moves the weights of this trainer; make the Trainer with update_on_kvstore=False",
            )
            store.update(indices, *each)
            return True
        if store is not None:
            store.sum(indices, *each, rescale)
        if self.adjust is not None or self.clip_global_norm is not None:
            used = grads if scaled else [grad * rescale for grad in grads]
            if self.clip_global_norm is not None:
                clip_global_norm(used, self.clip_global_norm, check_isfinite=False)
            else:
                used = self._adjust_gradients(loss, list(used))
            if used is None:
                return False
            trainer._optimizer.rescale_grad = 1.0
        try:
            trainer._updater(indices, used, weights)
        finally:
            trainer._optimizer.rescale_grad = rescale
        return True

    def _keep_states(self) -> None:
        """What no gradient moves, should forward run as Python code and the step be skipped."""
        self._states = ()
        if self.adjust is None:
            return
        blocks = [part for part in (self.net, self.loss) if isinstance(part, Block)]
        params = [*self.trainer._params, *(p for b in blocks for p in b.collect_params().values())]
        still = {id(param): param for param in params if param.grad_req == "null"}
        held = [array for param in still.values() for array in (param._arrays or {}).values()]
        self._states = tuple((array, array.copy()) for array in held)

    def _adjust_gradients(self, loss: Any, grads: list[Any]) -> list[Any] | None:
        """What `adjust` makes of them; None if the step is to be skipped."""
        made = self._compiled_adjust(loss, grads)
        if made is None:
            return None
        fits = isinstance(made, (list, tuple)) and len(made) == len(grads)
        check(
            fits,
            self.name,
            f"adjust: expected {len(grads)} gradients in the order in which they were given, or "
            f"None to skip the step; it returned {_told(made)}",
        )
        for place, (given, grad) in enumerate(zip(grads, made, strict=True)):
            alike = isinstance(grad, NDArray) and type_of(grad) == type_of(given)
            check(
                alike,
                self.name,
                f"adjust: gradient {place}: expected {type_of(given)}; it returned {_told(grad)}",
            )
        return list(made)

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


_SETTINGS = frozenset("net loss trainer outputs ignore_stale_grad clip_global_norm adjust".split())


def _of_own_list(adjust: Callable[[Any, list[Any]], Any]) -> Callable[[Any, list[Any]], Any]:
    """The same, which may return or change the list that it is given, and the arrays in it."""

    @wraps(adjust)
    def adjusted(loss: Any, grads: list[Any]) -> Any:
        trace = tracing.current()
        if trace is not None:
            trace.function(adjust)
        return adjust(loss, [_given_up(grad) for grad in grads])

    return adjusted


def _given_up(grad: Any) -> Any:
    """Nobody looks at it again: what is written to it is the program's own."""
    if not isinstance(grad, ArraySymbol):
        return grad
    made = ArraySymbol(grad._values)
    made.is_given_up = True
    return made


def _told(given: Any) -> str:
    if isinstance(given, NDArray):
        return str(type_of(given))
    named = type(given).__name__
    return f"a {named} of {len(given)}" if isinstance(given, (list, tuple)) else f"a {named}"


def _as_tuple(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, (list, tuple)) else (given,)


class _StepEntry(Entry):
    """The graphs of network and loss for one kind of step: one, or where values decide how their
    code goes on, one for each path. Segments decide, and the program of the whole path trains."""

    may_have_effects = False  # it is one program

    def __init__(
        self,
        step: TrainStep,
        leaves: Sequence[Any],
        args: tuple[Any, ...],
        compiled: CompiledByKey,
        places: Places,
    ) -> None:
        self.step = step
        self.graphs: list[StepGraph] = []
        step._keep_states()
        # As in the loop, where forward runs under record().
        with autograd.record():
            super().__init__(step, leaves, args, compiled, places)
        if self.paths is None:
            given = (self.cached, self.graph, self.structure, self.operands, self.types)
            own = StepGraph(step, *given)
            self.graphs.append(own)
            self.run = own.run  # type: ignore[method-assign]  # a frame less

    def _add_path(self, trace: tracing.Trace, result: Any, fresh: dict[int, Any]) -> None:
        path, paths = trace.path, self.paths
        assert path is not None and paths is not None
        path.give_back()  # the program of the path draws
        outputs: list[Value] = []
        sources = path.sources()
        structure = collect_outputs(result, outputs, sources, fresh, trace)
        calls = [node.outputs[0] for node in trace.calls]
        whole = joined(path.origin, [*outputs, *calls])
        advancing = [value.node for value in whole[len(outputs) :]]
        graph, states, _ = threaded(whole[: len(outputs)], (), advancing)
        name, known = self.step.name, self._compiled_by_key
        cached = compiled_graph(graph, name, known, trace.draws, states)
        operands = Operands(source_of(value, sources) for value in graph.inputs)
        own = StepGraph(self.step, cached, graph, structure, operands, self.types)
        path.ends_without_computing()
        if not paths.add_end(path, lambda *_: own):
            self._begin_paths()
            self.graphs = []
            assert self.paths is not None
            self.paths.add_end(path, lambda *_: own)
        self.graphs.append(own)
        self._compile_paths()
        self._traced = own

    def _paths(self) -> Paths:
        return Paths(self.training, self._number_of, decides_only=True)

    def follow(self, block: Any, leaves: Sequence[Any], args: tuple[Any, ...]) -> None:
        self.step._keep_states()
        with autograd.record():
            super().follow(block, leaves, args)

    def take_result(self, leaves: Sequence[Any]) -> Any:
        own, self._traced = self._traced, None
        if own is None:
            return UNKNOWN
        self._bind()
        return own.run(leaves)

    def _bind(self) -> None:
        if self.paths is not None:
            super()._bind()  # of the segments that decide
        for graph in self.graphs:
            graph.bind(self.context)

    def run(self, leaves: Sequence[Any]) -> Any:
        if self.paths is None:
            return self.graphs[0].run(leaves)
        own = self._run_paths(leaves)
        return UNKNOWN if own is UNKNOWN else own.run(leaves)

    def compiled_graphs(self) -> list[CompiledGraph]:
        return [compiled for program in self.programs for compiled in program.programs]

    @property
    def programs(self) -> list[TrainingProgram]:
        return [program for graph in self.graphs for program in graph.programs]


_describe(
    TrainStep,
    net="the network, called with the data",
    loss="called with what the network gives, and the label",
    trainer="whose optimizer moves the parameters",
    outputs="whether a step gives what the network gives, too",
    ignore_stale_grad="whether parameters that the loss does not depend on are left alone",
    clip_global_norm="the largest joint norm of all gradients; None: any",
    adjust="what makes of loss and gradients those to use, or None to skip the step",
    recompute="bytes that a step may take, or True for as few as can be; None: any",
)
