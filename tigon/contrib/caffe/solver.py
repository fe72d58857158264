"""Solvers of Caffe: a training as its file describes it."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tigon import autograd, nd, random, sym
from tigon.base import TigonError, check
from tigon.base.files import AnyPath
from tigon.context import check_context
from tigon.contrib.caffe.feed import Feed
from tigon.contrib.caffe.fields import SCHEMA
from tigon.contrib.caffe.fillers import is_float32
from tigon.contrib.caffe.layers import record_of
from tigon.contrib.caffe.net import Assembly, CaffeNet, State, read_net
from tigon.contrib.caffe.rates import CaffeRate
from tigon.contrib.caffe.rules import RULES, CaffeRule
from tigon.contrib.caffe.states import SolverState, read_state
from tigon.contrib.caffe.upgrade import layers_of, solver_type
from tigon.gluon.trainer import Trainer
from tigon.readers.message import Message
from tigon.readers.text import read_text

_LOGGER = logging.getLogger(__name__)


class Test(NamedTuple):
    """What a test has measured: after how many iterations, of which test network, and its outputs,
    averaged over the batches: by top a number, or the mean of several."""

    iteration: int
    network: int
    outputs: Mapping[str, float]


class History:
    """What a training has seen: `losses` and `rates`, one of each iteration, and `tests`."""

    def __init__(self) -> None:
        self._losses: list[Any] = []
        self.rates: list[float] = []
        self.tests: list[Test] = []

    @property
    def losses(self) -> list[float]:
        """The loss of each iteration, the mean over `iter_size` batches."""
        return [_number(loss) for loss in self._losses]

    def __repr__(self) -> str:
        return f"History({len(self._losses)} iterations, {len(self.tests)} tests)"


def _number(loss: Any) -> float:
    return float(loss.mean().asscalar())


class Solver:
    """A training of Caffe.

    `optimizer()` is its optimizer with its schedule, `train_net(shapes)` its network; `fit` trains.
    """

    def __init__(self, message: Message, net: AnyPath | None = None) -> None:
        self.message = message
        self.source = message.in_file.name
        self.type = solver_type(message)
        message.check(
            self.type in RULES,
            f"expected one of {', '.join(RULES)}; given '{self.type:.60}'",
            "type",
        )
        for field in ("base_lr", "gamma", "power", "weight_decay", "delta", "clip_gradients"):
            value = getattr(message, field)
            message.check(is_float32(value), f"expected a finite number; given {value}", field)
        for field in ("base_lr", "weight_decay", "delta"):
            value = getattr(message, field)
            message.check(value >= 0, f"expected 0 or more; given {value}", field)
        for field in ("momentum", "rms_decay", "momentum2"):
            value = getattr(message, field)
            message.check(0 <= value < 1, f"expected 0 to less than 1; given {value}", field)
        message.check(
            not (message.momentum and self.type in ("AdaGrad", "RMSProp")),
            f"{self.type} has no momentum; given {message.momentum}",
            "momentum",
        )
        message.check(
            message.regularization_type in ("L1", "L2"),
            f"expected L1 or L2; given '{message.regularization_type:.60}'",
            "regularization_type",
        )
        for field in ("iter_size", "average_loss"):
            value = getattr(message, field)
            message.check(value > 0, f"expected 1 or more; given {value}", field)
        for field in ("max_iter", "display", "test_interval", "snapshot"):
            value = getattr(message, field)
            message.check(value >= 0, f"expected 0 or more; given {value}", field)
        self.rate = self._rate()
        self._train, self._tests = self._nets(net)
        self.iteration = 0
        self.net: CaffeNet | None = None
        self._run: _Run | None = None

    def _rate(self) -> CaffeRate:
        message = self.message
        try:
            return CaffeRate(
                message.lr_policy if message.has("lr_policy") else "fixed",
                message.base_lr,
                message.gamma,
                message.power,
                message.stepsize,
                message.stepvalue,
                message.max_iter,
            )
        except TigonError as error:
            message.fail(str(error).partition(": ")[2], "lr_policy")

    # -- networks

    def _nets(
        self, own: AnyPath | None
    ) -> tuple[tuple[Message, State], list[tuple[Message, State]]]:
        """The network that is trained and those that are tested, with their states."""
        message = self.message
        train = [name for name in ("net", "net_param", "train_net", "train_net_param")
                 if message.has(name)]  # fmt: skip
        trained = [name for name in train if name.startswith("train")] or train
        check(
            own is not None or len(trained) == 1,
            self.source,
            f"expected one network to train; given {', '.join(train) or 'none'}",
        )
        shared: Message | None = None
        if own is not None:
            net = shared = read_net(own)
        else:
            net = self._net(trained[0])
            shared = net if trained[0] in ("net", "net_param") else None
            if shared is None and len(train) > 1:
                shared = self._net(next(name for name in train if name.startswith("net")))
        state = message.train_state if message.has("train_state") else None
        tested = list(message.test_net_param)
        tested += [read_net(self.find(name, "test_net")) for name in message.test_net]
        if shared is not None:
            tested += [shared] * max(len(message.test_iter) - len(tested), 0)
        message.check(
            len(message.test_iter) == len(tested),
            f"expected one for each of {len(tested)} test networks; given {len(message.test_iter)}",
            "test_iter",
        )
        states = message.test_state
        message.check(
            len(states) in (0, len(tested)),
            f"expected one for each of {len(tested)} test networks; given {len(states)}",
            "test_state",
        )
        return (net, _state_of(net, state, "train")), [
            (tested_net, _state_of(tested_net, states[place] if states else None, "test"))
            for place, tested_net in enumerate(tested)
        ]

    def _net(self, field: str) -> Message:
        given = getattr(self.message, field)
        return given if field.endswith("param") else read_net(self.find(given, field))

    def find(self, name: str, field: str) -> str:
        """A file that the solver names: from the present folder, or from that of the solver or one
        around it, as Caffe's examples name theirs from the root."""
        folder = Path(self.source).resolve().parent
        places = [Path(name), *(around / name for around in (folder, *folder.parents))]
        places.append(folder / Path(name).name)
        for place in places:
            if os.path.isfile(place):
                return os.fspath(place)
        self.message.fail(
            f"'{name:.200}' is not there, nor beside the solver or in a folder around it; give the "
            "path of the network, load_solver(file, net=...)"
            if field in ("net", "train_net")
            else f"'{name:.200}' is not there, nor beside the solver or in a folder around it",
            field,
        )

    def _own_weights(self) -> list[str]:
        """The caffemodels that the file begins from, several in one text with commas between."""
        given = [name.strip() for text in self.message.weights for name in text.split(",")]
        return [self.find(name, "weights") for name in given]

    def train_net(self, shapes: Mapping[str, Sequence[int]] | None = None) -> CaffeNet:
        """The network that is trained, new and without values."""
        net, state = self._train
        given = {top: tuple(shape) for top, shape in (shapes or {}).items()}
        return CaffeNet(Assembly(net, state, given))

    def optimizer(self) -> CaffeRule:
        """The optimizer, with the schedule of its rate."""
        message, kind = self.message, RULES[self.type]
        constants = {name: getattr(message, name) for name in kind.defaults if name != "l1"}
        return kind(
            l1=message.regularization_type == "L1",
            wd=message.weight_decay,
            learning_rate=message.base_lr,
            lr_scheduler=self.rate,
            **constants,
        )

    # -- training

    def fit(
        self,
        data: Any,
        test_data: Any = None,
        max_iter: int | None = None,
        *,
        raw: bool = False,
        weights: AnyPath | Iterable[AnyPath] | None = None,
        snapshots: AnyPath | None = None,
        ctx: Any = None,
        resume: AnyPath | None = None,
    ) -> History:
        """Train up to iteration `max_iter`, or the file's; a later call goes on from there.

        Parameters
        ----------
        data : what the data layers read: arrays by top, arrays in the order of tops, or an iterable
            of batches (a `DataIter`, a `DataLoader`). Arrays have a sample along their first axis;
            the batch is the file's.
        test_data : the same for the test networks, or a list with one for each of several; without
            it there are no tests
        max_iter : where to stop, in iterations from the beginning
        raw : whether arrays are what the sources of the data layers hold, so that `transform_param`
            is applied; otherwise they are what the tops hold
        weights : caffemodels that the first call begins from; what these do not have is filled by
            its filler
        snapshots : a folder that parameters are written to at each snapshot
        ctx : where to train; the first call decides
        resume : a `.solverstate` (or `.solverstate.h5`) that Caffe wrote, from which the first call
            goes on, as `caffe train --snapshot` does, with the caffemodel that it names, or with
            those of `weights`

        Raises `TigonError` where data are missing or do not fit.
        """
        if ctx is not None:
            ctx = check_context("Solver.fit", ctx)
        stop = self.message.max_iter if max_iter is None else max_iter
        check(
            isinstance(stop, (int, np.integer)) and stop >= 0,
            "Solver.fit",
            f"max_iter: expected a number of iterations; given {stop!r:.80}",
        )
        check(
            self.rate.policy != "poly" or stop <= self.message.max_iter,
            "Solver.fit",
            f"max_iter: lr_policy 'poly' ends at {self.message.max_iter}; given {stop}",
        )
        check(
            snapshots is None
            or (isinstance(snapshots, (str, bytes, os.PathLike)) and os.path.isdir(snapshots)),
            "Solver.fit",
            f"snapshots: expected a folder; given {snapshots!r:.200}, which is none",
        )
        if self._run is None:
            state = None if resume is None else self._state(resume)
            if state is not None and weights is None:
                weights = self._learned(state, resume)
            run = _Run(self, data, raw, weights, ctx)
            if state is not None:
                run.restore(state)
                self.iteration = state.iteration
            self._run, self.net = run, run.net
        else:
            for name, given in (("weights", weights), ("resume", resume)):
                check(
                    given is None,
                    "Solver.fit",
                    f"{name}: training has begun; load another solver to begin from others",
                )
            (own,) = self._run.trained[0].list_ctx()
            check(
                ctx in (None, own), "Solver.fit", f"ctx: training has begun on {own}; given {ctx}"
            )
            self._run.feed = self._feed(*self._train, data, raw)
        tests = self._test_runs(test_data, raw)
        history, message = History(), self.message
        recent: deque[Any] = deque(maxlen=message.average_loss)
        while self.iteration < stop:
            if self._is_due(message.test_interval) and (
                self.iteration or message.test_initialization
            ):
                self._test(tests, history)
            rate = self.rate.at(self.iteration)
            loss = self._run.step()
            recent.append(loss)
            history._losses.append(loss)
            history.rates.append(rate)
            if self._is_due(message.display):
                mean = sum(map(_number, recent)) / len(recent)
                _LOGGER.info("Iteration %d, loss = %g, lr = %g", self.iteration, mean, rate)
            self.iteration += 1
            if self._is_due(message.snapshot):
                self._snapshot(snapshots)
        if message.snapshot_after_train and not self._is_due(message.snapshot):
            self._snapshot(snapshots)
        if self._is_due(message.test_interval):
            self._test(tests, history)
        return history

    def _state(self, path: AnyPath) -> SolverState:
        with open(path, "rb") as file:
            return read_state(file.read(), os.fsdecode(path))

    def _learned(self, state: SolverState, path: Any) -> str:
        """The caffemodel of a state: where it says, or beside it."""
        places = [state.learned_net, Path(os.fsdecode(path)).parent / Path(state.learned_net).name]
        for place in places:
            if os.path.isfile(place):
                return os.fspath(place)
        state.fail(
            f"the caffemodel '{state.learned_net:.200}' is not there, nor beside this file; give "
            "its path, fit(weights=...)"
        )

    def _is_due(self, interval: int) -> bool:
        return interval > 0 and self.iteration % interval == 0

    def _snapshot(self, folder: AnyPath | None) -> None:
        if folder is None or self.net is None:
            return
        stem = os.path.basename(self.message.snapshot_prefix) or "snapshot"
        path = os.path.join(os.fsdecode(folder), f"{stem}_iter_{self.iteration}.params")
        self.net.save_parameters(path)

    def _feed(self, net: Message, state: State, data: Any, raw: bool) -> Feed:
        layers = [layer for layer in layers_of(net) if state.includes(layer)]
        layers = [layer for layer in layers if record_of(layer).reads_data]
        seed = max(self.message.random_seed, 0)
        return Feed(data, layers, state.phase, raw, lambda name: self.find(name, ""), seed)

    def _test_runs(self, test_data: Any, raw: bool) -> list[_TestRun]:
        if test_data is None or self._run is None:
            return []
        count = len(self._tests)
        several = test_data if isinstance(test_data, list) and count > 1 else [test_data] * count
        check(
            len(several) == count,
            "Solver.fit",
            f"test_data: expected one for each of {count} test networks; given {len(several)}",
        )
        runs = []
        for (net, state), given, batches in zip(
            self._tests, several, self.message.test_iter, strict=True
        ):
            feed = self._feed(net, state, given, raw)
            runs.append(_TestRun(Assembly(net, state, feed.shapes), feed, batches, self._run))
        return runs

    def _test(self, runs: Sequence[_TestRun], history: History) -> None:
        for number, run in enumerate(runs):
            outputs = run.outputs(self.message.test_compute_loss)
            history.tests.append(Test(self.iteration, number, outputs))
            told = ", ".join(f"{name} = {value:g}" for name, value in outputs.items())
            _LOGGER.info("Iteration %d, test net %d: %s", self.iteration, number, told)

    def __repr__(self) -> str:
        return f"Solver({self.type}, {self.rate.policy}, {self.source!r})"


def _state_of(net: Message, given: Message | None, phase: str) -> State:
    """What decides which layers are there: the network's own state, then the solver's."""
    level, stages = net.state.level, list(net.state.stage)
    if given is not None:
        level = given.level if given.has("level") else level
        stages += given.stage
        phase = given.phase.lower() if given.has("phase") else phase
    return State(phase, level, frozenset(stages))


class _Run:
    """A network in training."""

    def __init__(self, solver: Solver, data: Any, raw: bool, weights: Any, ctx: Any) -> None:
        message, (net, state) = solver.message, solver._train
        if message.random_seed >= 0:
            random.seed(message.random_seed % 2**31)
        self.feed = solver._feed(net, state, data, raw)
        self.ctx = ctx
        assembly = Assembly(net, state, self.feed.shapes)
        self.net = CaffeNet(assembly)
        objective = self.net.objective
        net.check(objective is not None, "expected a loss to train by; the network has none")
        self.net.initialize(ctx=ctx)
        for path in solver._own_weights() if weights is None else _paths(weights):
            self.net.load_caffemodel(path, ctx, allow_missing=True)
        self.params = self.net.collect_params()
        self.block = CaffeNet(assembly, outputs=objective, params=self.params)
        moved = set(objective.list_arguments())
        self.trained = [
            param
            for name, param in self.params.items()
            if param.grad_req != "null" and name in moved
        ]
        net.check(bool(self.trained), "the loss depends on no array that is learned")
        self.iter_size, self.limit = message.iter_size, message.clip_gradients
        for param in self.trained:
            param.grad_req = "add" if self.iter_size > 1 else "write"
        self.trainer = Trainer(self.trained, solver.optimizer(), kvstore=None)

    def restore(self, state: SolverState) -> None:
        """Take over what the solver remembered of each array, and how many steps it had done."""
        held = state.of(self.net.network, type(self.trainer.optimizer).state_count)
        done = nd.array([state.iteration], dtype="int64")
        arrays = {"num_update": done}
        for number, param in enumerate(self.trained):
            arrays[f"count:{number}"] = done
            for place, array in enumerate(held[param.name]):
                arrays[f"state:{number}:{place}"] = nd.array(array, dtype="float32")
        self.trainer._take_states(arrays, "the state")

    def step(self) -> Any:
        """One iteration; its loss."""
        total = None
        for _ in range(self.iter_size):
            batch = _chosen(self.feed.next(), self.block, self.ctx)
            with autograd.record():
                loss = self.block(*batch)
            loss.backward()
            total = loss if total is None else total + loss
        if self.limit >= 0:
            self._clip()
        self.trainer.step(self.iter_size)
        if self.iter_size > 1:
            for param in self.trained:
                param.zero_grad()
        return total if self.iter_size == 1 else total / self.iter_size

    def _clip(self) -> None:
        """Bring the joint norm of all gradients, before they are divided by `iter_size`, down to
        the limit."""
        grads = [param.grad() for param in self.trained]
        squares = [(grad * grad).sum() for grad in grads]
        norm = float(sum(squares[1:], squares[0]).sqrt().asscalar())
        if norm > self.limit:
            for grad in grads:
                grad *= self.limit / norm


def _chosen(batch: Mapping[str, Any], block: CaffeNet, ctx: Any) -> list[Any]:
    """Of a batch, what a network depends on."""
    arrays = [batch[top] for top in block.input_names]
    return arrays if ctx is None else [array.as_in_context(ctx) for array in arrays]


def _paths(weights: Any) -> list[Any]:
    return [weights] if isinstance(weights, (str, bytes, os.PathLike)) else list(weights)


class _TestRun:
    """A test network, which shares the arrays of the one in training."""

    def __init__(self, assembly: Assembly, feed: Feed, batches: int, run: _Run) -> None:
        self.feed, self.batches, self.ctx = feed, batches, run.ctx
        for name, given in assembly.network.arrays.items():
            check(
                name in run.params and run.params[name].shape == given.shape,
                assembly.network.source,
                f"the test network has an array '{name}' of shape {given.shape}, which the network "
                "in training has not",
            )
        self.names = list(assembly.outputs)
        symbols = [assembly.blobs[top].symbol for top in self.names]
        if assembly.objective is not None:
            symbols.append(assembly.objective)
        own = run.params
        self.block = CaffeNet(assembly, outputs=sym.Group(symbols), params=own)
        self.has_loss = assembly.objective is not None

    def outputs(self, with_loss: bool) -> dict[str, float]:
        """The means over all batches."""
        names = [*self.names, *(["loss of the network"] if self.has_loss else [])]
        totals: list[float] = [0.0] * len(names)
        for _ in range(self.batches):
            batch = _chosen(self.feed.next(), self.block, self.ctx)
            found = self.block(*batch)
            found = found if isinstance(found, list) else [found]
            for place, array in enumerate(found):
                totals[place] += _number(array)
        means = {
            name: total / max(self.batches, 1) for name, total in zip(names, totals, strict=True)
        }
        if not with_loss:
            means.pop("loss of the network", None)
        return means


def load_solver(solver: AnyPath, net: AnyPath | None = None) -> Solver:
    """A training of Caffe, from the file that describes it.

    Parameters
    ----------
    solver : the file, a `SolverParameter` as text
    net : the file of the network, where it is not where the solver says

    Raises `TigonError` with line and column where the file is malformed or a setting does not fit,
    and where the network is not found.

    >>> import tempfile
    >>> from pathlib import Path
    >>> net = '''
    ... layer { name: "data" type: "HDF5Data" top: "x" top: "y" hdf5_data_param { batch_size: 4 } }
    ... layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
    ...         inner_product_param { num_output: 1 } }
    ... layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "loss" }
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, text in (("net", net), ("solver", 'net: "net" base_lr: 0.5 max_iter: 50')):
    ...         _ = (Path(folder) / name).write_text(text)
    ...     solver = load_solver(Path(folder) / "solver")
    >>> import numpy as np
    >>> x = np.array([[0.0], [1], [0], [1]])
    >>> history = solver.fit({"x": x, "y": 2 * x + 1})
    >>> history.losses[0] > 1, history.losses[-1] < 0.001
    (True, True)
    """
    with open(solver, "rb") as file:
        message = read_text(file.read(), SCHEMA["SolverParameter"], os.fsdecode(solver))
    return Solver(message, net)


__all__ = ["History", "Solver", "Test", "load_solver"]
