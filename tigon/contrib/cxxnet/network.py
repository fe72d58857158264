"""A configuration as a network that trains."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from tigon import io, nd, sym
from tigon.base import check
from tigon.base.files import AnyPath
from tigon.context import check_contexts
from tigon.contrib.cxxnet import iterators, layers, metrics
from tigon.contrib.cxxnet.configuration import Configuration, Section
from tigon.contrib.cxxnet.layers import Built
from tigon.contrib.cxxnet.metrics import Metric
from tigon.contrib.cxxnet.models import Model, arrays_for
from tigon.contrib.cxxnet.text import Setting
from tigon.contrib.cxxnet.updaters import UPDATERS, TensorSettings, without_tag
from tigon.gluon import SymbolBlock
from tigon.metric import CompositeEvalMetric
from tigon.module.module import Module

_OF_THE_WHOLE = frozenset(
    """
    input_shape batch_size update_period updater num_round max_round dev save_model model_dir
    model_in eval_train print_step silent task seed continue start_counter param_server sync
    extract_node_name test_io net_type netconfig update_on_server
    """.split()
)


class Network:
    """The network of a configuration, with all that its training needs.

    Parameters
    ----------
    configuration : what was read
    context : where it runs; None: the present context, whatever `dev` says

    Attributes
    ----------
    symbol : the last node, the nodes that metrics name, and the losses
    batch_size, input_shape, num_round, update_period : as set
    sections : the iterators: data, eval and pred
    parameters : names of tensors, `fc1_wmat` and `fc1_bias`
    module : the `Module` that trains, once `fit` has run or `init` was called
    """

    def __init__(self, configuration: Configuration, context: Any = None) -> None:
        self.configuration = configuration
        self.place = configuration.place
        check_contexts("Network", context)
        self._context = context
        self.batch_size = self._integer("batch_size", 100, 1)
        self.update_period = self._integer("update_period", 1, 1)
        self.num_round = min(self._integer("num_round", 10), self._integer("max_round", 2**31 - 1))
        if not configuration.layers:
            raise self.place.fail(1, "expected layers between netconfig = start and = end")
        self._built = Built(configuration, self.batch_size, self.update_period)
        self.input_shape = self._built.input_shape
        learnt = {name: own for name, own in self._built.tensors.items() if own.tags}
        self.parameters = list(learnt)
        self.sections = list(configuration.sections)
        self._outputs: dict[int, int] = {}
        """Node -> which output it is."""
        self._metrics = self._named_metrics()
        self.symbol = self._symbol()
        found = configuration.last("updater")
        self._updater = "sgd" if found is None else self.place.choice(found, _UPDATERS)
        self._tensors = {
            name: TensorSettings(own.tags, self._built.settings(own.layer).values(), self.place)
            for name, own in learnt.items()
        }
        self.module: Any = None
        self._updates = 0  # of the model that training begins with
        self._tell_of_unknown_settings()

    def _integer(self, name: str, default: int, least: int = 0) -> int:
        setting = self.configuration.last(name)
        return default if setting is None else self.place.integer(setting, least)

    def _named_metrics(self) -> list[tuple[Setting, str, int]]:
        """(setting, target, node) of each metric."""
        found = []
        for setting in self.configuration.settings:
            if setting.name == "metric" or setting.name.startswith("metric["):
                target, node = metrics.parse(setting, self.place)
                if target not in self._built.fields:
                    known = ", ".join(self._built.fields)
                    raise self.place.fail(
                        setting.line, f"target {target!r:.80} is not known; there are {known:.200}"
                    )
                number = (
                    self._top if node is None else self.configuration.node_of(node, setting.line)
                )
                found.append((setting, target, number))
        return found

    def _symbol(self) -> Any:
        """The last node first, then those that metrics name, then those with losses."""
        wanted = [self._top, *(node for *_, node in self._metrics), *self._built.losses]
        symbols = []
        for node in dict.fromkeys(wanted):
            self._outputs[node] = len(symbols)
            own = self._built.nodes[node].symbol
            symbols.append(own if node in self._built.losses else sym.BlockGrad(own))
        return sym.Group(symbols) if len(symbols) > 1 else symbols[0]

    def _tell_of_unknown_settings(self) -> None:
        known = _OF_THE_WHOLE | layers.SETTINGS
        own = [
            setting
            for layer in self.configuration.layers
            for setting in self.configuration.own(layer)
        ]
        unknown = [
            setting
            for setting in (*self.configuration.settings, *own)
            if without_tag(setting.name) not in known
            and setting.name not in iterators.SETTINGS
            and not re.match(r"(metric|label_vec)(\[|$)", setting.name)
        ]
        unknown += [
            setting
            for section in self.sections
            for setting in section.settings
            if setting.name not in iterators.SETTINGS | _OF_THE_WHOLE
        ]
        if unknown:
            first = unknown[0]
            names = ", ".join(
                f"{setting.name:.40} (line {setting.line})" for setting in unknown[:8]
            )
            warnings.warn(
                f"{self.place.at(first.line)}: settings that cxxnet does not know are left out, as "
                f"there: {names}",
                stacklevel=4,
            )

    # -- what training needs

    def optimizer(self) -> Any:
        """A fresh updater: `updater = sgd`, `nag` or `adam`, with what is set for each tensor."""
        names = [n for n in self.symbol.list_arguments() if n not in ("data", "label")]
        return UPDATERS[self._updater](
            self._tensors,
            rescale_grad=1.0 / self.batch_size,
            begin_num_update=self._updates,
            param_idx2name=dict(enumerate(names)),
        )

    def metric(self) -> CompositeEvalMetric:
        """A fresh set of the metrics."""
        whole = CompositeEvalMetric()
        for setting, target, node in self._metrics:
            field = self._built.fields[target]
            whole.add(Metric(setting.value, self._outputs[node], field, target))
        return whole

    def iterator(self, section: Section | str, without: Collection[str] = ()) -> Any:
        """The iterator of a section, or of the first one of a kind ('data', 'eval', 'pred') or a
        name. `without`: settings of images that are to be left out."""
        if isinstance(section, str):
            named = [own for own in self.sections if section in (own.kind, own.name)]
            check(
                named,
                self.place.where,
                f"there is no section '{section}'; there are "
                f"{', '.join(f'{own.kind} = {own.name}' for own in self.sections) or 'none'}",
            )
            section = named[0]
        common = [s for s in self.configuration.settings if s.name in iterators.SETTINGS]
        return iterators.create(
            section, common, self.place, self.input_shape, self.batch_size, without
        )

    def block(self, losses: bool = False, prefix: str = "") -> SymbolBlock:
        """The network as a Gluon block that trains, of data; it gives what the last node predicts.
        With `losses` it is one of data and label, whose gradients begin with those of its losses.
        After `fit` or `load_model` it begins with what was learnt. `prefix`: what its names begin
        with (`SymbolBlock`)."""
        symbol = self.symbol if losses else self._prediction(self._top)
        inputs = [n for n in ("data", "label") if n in symbol.list_arguments()]
        block = SymbolBlock(symbol, [sym.var(name) for name in inputs], prefix=prefix)
        if self.module is not None and self.module.params_initialized:
            arguments, states = self.module.get_params()
            known = block.collect_params()
            every = {prefix + name: array for name, array in {**arguments, **states}.items()}
            learnt = {name: array for name, array in every.items() if name in known}
            block.load_dict(learnt, source="what was learnt")
        return block

    @property
    def _top(self) -> int:
        """The node that was named last, which cxxnet takes for the result."""
        return len(self.configuration.node_names) - 1

    def _prediction(self, node: int) -> Any:
        found = self._built.losses.get(node)
        return self._built.nodes[node].symbol if found is None else found

    # -- training

    def init(self, train: Any = None) -> Any:
        """Bind and initialize `module`, unless it is there: for the shapes of an iterator, or for
        those that are set. Weights are drawn from `mx.random`."""
        if self.module is None:
            self.module = _Module(self)
        if not self.module.binded:
            label = (self.batch_size, self._built.label_width)
            given = [("data", (self.batch_size, *self.input_shape))]
            labels = [("label", label if label[1] > 1 else label[:1])]
            self.module.bind(
                given if train is None else train.provide_data,
                (labels if train is None else train.provide_label)
                if self.module.label_names
                else None,
                grad_req="write" if self.update_period == 1 else "add",
            )
        if not self.module.params_initialized:
            self.module.init_params()
        return self.module

    def fit(
        self,
        train: Any = None,
        evals: Mapping[str, Any] | None = None,
        num_round: int | None = None,
        without: Collection[str] = (),
        model_dir: AnyPath | None = None,
        round_end: Callable[[int, dict[str, float]], Any] | None = None,
    ) -> list[dict[str, float]]:
        """Train as the configuration says, and give for each round what metrics came to:
        `{"train-error": 0.1, "test-error": 0.2}`.

        Parameters
        ----------
        train : an iterator, or (data, label) as arrays; None: the one of the section `data`
        evals : by name, further ones to be scored after each round; None: the sections `eval`, if
            `train` is not given either
        num_round : how many rounds; None: as many as are set
        without : settings of images that are to be left out
        model_dir : where a file of parameters is written after each `save_model`-th round
            (`0001.params`); None: nowhere, whatever is set
        round_end : called with the round and its scores
        """
        check(
            self._built.losses,
            self.place.where,
            "fit: the network has no loss; add a layer such as layer[+0] = softmax",
        )
        if evals is None:
            sections = [own for own in self.sections if own.kind == "eval"]
            evals = {} if train is not None else {
                own.name: self.iterator(own, without) for own in sections
            }  # fmt: skip
        train = self.iterator("data", without) if train is None else self._batches(train)
        evals = {name: self._batches(given) for name, given in evals.items()}
        module = self.init(train)
        if not module.optimizer_initialized:  # a second call goes on
            module.init_optimizer(kvstore=None, optimizer=self.optimizer())
        counted, scores = self.metric(), []
        shown = self._integer("eval_train", 1)
        save = self._integer("save_model", 1)
        for number in range(1, (self.num_round if num_round is None else num_round) + 1):
            module.run_round(train, number, counted)
            found = _named("train", counted.get_name_value()) if shown else {}
            for name, given in evals.items():
                found.update(_named(name, module.score(given, self.metric())))
            scores.append(found)
            if model_dir is not None and save and number % save == 0:
                os.makedirs(model_dir, exist_ok=True)
                module.save_params(os.path.join(os.fsdecode(model_dir), f"{number:04d}.params"))
            if round_end is not None:
                round_end(number, found)
        return scores

    def _batches(self, given: Any) -> Any:
        if not isinstance(given, tuple):
            check(
                hasattr(given, "provide_data"),
                self.place.where,
                "fit: expected an iterator, or (data, label) as arrays; given "
                f"{type(given).__name__}",
            )
            return given
        data, label = given if len(given) == 2 else (given[0], None)
        return io.NDArrayIter(data, label, self.batch_size, label_name="label")

    def predict(self, data: Any, node: str | None = None) -> Any:
        """The values of the last node, or of another one by name, for an array or an iterator."""
        module = self.init()
        if not isinstance(data, io.DataIter):
            data = io.NDArrayIter(nd.array(data), None, self.batch_size)
        own = self._prediction(self._top if node is None else self.configuration.node_of(node, 0))
        reader = Module(own, label_names=None, context=self._context)
        reader.bind(data.provide_data, None, for_training=False)
        arguments, states = module.get_params()
        reader.set_params(arguments, states, allow_extra=True)
        return reader.predict(data)

    def save_parameters(self, path: AnyPath) -> None:
        """Write what was learnt: arrays by name, which `load_parameters` and `SymbolBlock` read."""
        self.init().save_params(path)

    def load_parameters(self, path: AnyPath) -> None:
        """Begin with what `save_parameters` or `fit` wrote."""
        self.init().load_params(path)

    def load_model(self, path: AnyPath, by_name: bool = False) -> None:
        """Begin with a model that cxxnet wrote, `0012.model`: with its arrays and, for schedules,
        the number of its updates. Where training had come to otherwise (momenta), it does not say.

        Parameters
        ----------
        path : the file
        by_name : whether only layers are taken that both call alike, as in cxxnet's
            `task = finetune`; updates are counted from 0 then. Otherwise the model has to be one of
            this network

        Raises a `TigonError` with the byte where the file is damaged or of another network; nothing
        is changed then.
        """
        with open(path, "rb") as file:
            model = Model(file.read(), os.fsdecode(path))
        shapes = {name: own.shape for name, own in self._built.tensors.items()}
        found = arrays_for(model, self.configuration.layers, self.input_shape, shapes, by_name)
        module = self.init()
        check(
            not module.optimizer_initialized,
            self.place.where,
            "load_model: training has begun; load the configuration anew to begin from a model",
        )
        states = set(self.symbol.list_auxiliary_states())
        arguments = {name: nd.array(a) for name, a in found.items() if name not in states}
        auxiliary = {name: nd.array(a) for name, a in found.items() if name in states}
        module.set_params(arguments, auxiliary, allow_missing=True)
        self._updates = 0 if by_name else model.updates


_UPDATERS = {name: name for name in UPDATERS}


class _Module(Module):
    """Updates after every `update_period` batches, of gradients that add up meanwhile."""

    def __init__(self, network: Network) -> None:
        labelled = "label" in network.symbol.list_arguments()
        super().__init__(
            network.symbol,
            label_names=["label"] if labelled else None,
            context=network._context,
        )
        self._period, self._waiting = network.update_period, 0

    def run_round(self, train: Any, number: int, metric: Any) -> None:
        """A step for each batch, from the first one on."""
        train.reset()
        self._fit_epoch(train, number, metric, None, None)

    def _step(self, data_batch: Any, eval_metric: Any, monitor: Any) -> None:
        if self._period == 1:
            super()._step(data_batch, eval_metric, monitor)
            return
        self.forward_backward(data_batch)
        self._waiting += 1
        if self._waiting == self._period:
            self.update()
            for own in self._exec_group.grad_arrays:
                for gradient in own:
                    gradient[:] = 0
            self._waiting = 0
        self.update_metric(eval_metric, data_batch.label)


def _named(prefix: str, pairs: Sequence[tuple[str, float]]) -> dict[str, float]:
    return {f"{prefix}-{name}": value for name, value in pairs}
