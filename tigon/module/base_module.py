"""What all modules share: the training loop, scores and predictions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tigon import initializer as initializers
from tigon import metric, nd
from tigon.base import TigonError, check
from tigon.base.arguments import NamesWrongTypes
from tigon.base.files import AnyPath
from tigon.base.progress import progress
from tigon.io import DataBatch, DataDesc, DataIter
from tigon.module.files import BatchEndParam, read_params, write_params

UNIFORM = initializers.Uniform(0.01)
"""How parameters begin where nothing else is said."""


class BaseModule(NamesWrongTypes):
    """Base of all modules: something that computes outputs from batches, and learns from them.

    A module goes through its life in this order: `bind` to shapes, `init_params`,
    `init_optimizer`; then `forward`, `backward` and `update` for each batch. `fit` does all of it,
    `score` and `predict` go over the batches of an iterator.
    """

    def __init__(self, logger: Any = logging) -> None:
        self.logger = logger
        self.binded = False
        self.for_training = False
        self.inputs_need_grad = False
        self.params_initialized = False
        self.optimizer_initialized = False
        self._symbol: Any = None

    @property
    def _where(self) -> str:
        return type(self).__name__

    def _check_bound(self, method: str, advice: str = "call bind first") -> None:
        """Raise unless it is bound."""
        where = f"{self._where}.{method}"
        check(self.binded, where, f"the module is not bound to shapes; {advice}")

    def _check_ready(self, method: str, optimizer: bool = False) -> None:
        """Raise unless it is bound and has parameters, and perhaps an optimizer."""
        self._check_bound(method)
        where = f"{self._where}.{method}"
        check(self.params_initialized, where, "there are no parameters; call init_params first")
        check(
            not optimizer or self.optimizer_initialized,
            where,
            "there is no optimizer; call init_optimizer first",
        )

    def _stays_bound(self, forced: bool) -> bool:
        """Whether `bind` changes nothing, which the logger is told."""
        if self.binded and not forced:
            self.logger.warning(
                "%s.bind: it is bound, and stays so; pass force_rebind=True to bind it again",
                self._where,
            )
        return self.binded and not forced

    def _keeps_params(self, method: str) -> None:
        """Tell the logger that a method changes no parameters."""
        self.logger.warning(
            "%s.%s: the parameters have values, and keep them; pass force_init=True to change them",
            self._where,
            method,
        )

    def _keeps_optimizer(self, forced: bool) -> bool:
        """Whether `init_optimizer` changes nothing, which the logger is told."""
        if self.optimizer_initialized and not forced:
            self.logger.warning(
                "%s.init_optimizer: there is an optimizer, which stays; pass force_init=True to "
                "make another one",
                self._where,
            )
        return self.optimizer_initialized and not forced

    def _optimizing(self) -> list[Any]:
        """The modules, each with an optimizer of its own, that this one is made of."""
        raise NotImplementedError(
            f"{self._where}: the states of its optimizer are its own; save and load them with it"
        )

    # -- what a kind of module defines

    @property
    def data_names(self) -> list[str]:
        """The names of the data of a batch."""
        raise NotImplementedError(f"{self._where}: define data_names")

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs."""
        raise NotImplementedError(f"{self._where}: define output_names")

    @property
    def data_shapes(self) -> list[Any]:
        """Descriptions (`DataDesc`) of the data that it is bound to."""
        raise NotImplementedError(f"{self._where}: define data_shapes")

    @property
    def label_shapes(self) -> list[Any] | None:
        """Descriptions of the labels that it is bound to; None where there are none."""
        raise NotImplementedError(f"{self._where}: define label_shapes")

    @property
    def output_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """(name, shape) of each output."""
        raise NotImplementedError(f"{self._where}: define output_shapes")

    @property
    def symbol(self) -> Any:
        """The symbol that is computed; None where there is none."""
        return self._symbol

    def bind(
        self,
        data_shapes: Sequence[Any],
        label_shapes: Sequence[Any] | None = None,
        for_training: bool = True,
        inputs_need_grad: bool = False,
        force_rebind: bool = False,
        shared_module: Any = None,
        grad_req: Any = "write",
    ) -> None:
        """Make room for batches of these shapes."""
        raise NotImplementedError(f"{self._where}: define bind")

    def init_params(
        self,
        initializer: Any = UNIFORM,
        arg_params: Mapping[str, Any] | None = None,
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_init: bool = False,
        allow_extra: bool = False,
    ) -> None:
        """Give all parameters their first values."""
        raise NotImplementedError(f"{self._where}: define init_params")

    def get_params(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arguments and auxiliary states by name, as arrays of their own."""
        raise NotImplementedError(f"{self._where}: define get_params")

    def init_optimizer(
        self,
        kvstore: Any = "local",
        optimizer: Any = "sgd",
        optimizer_params: Any = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:
        """Make the optimizer."""
        raise NotImplementedError(f"{self._where}: define init_optimizer")

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """Compute the outputs of a batch."""
        raise NotImplementedError(f"{self._where}: define forward")

    def backward(self, out_grads: Any = None) -> None:
        """Compute the gradients of what `forward` has computed."""
        raise NotImplementedError(f"{self._where}: define backward")

    def update(self) -> None:
        """Move the parameters by what `backward` has computed."""
        raise NotImplementedError(f"{self._where}: define update")

    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        """What `forward` has computed."""
        raise NotImplementedError(f"{self._where}: define get_outputs")

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        """The gradients by the data that `backward` has computed."""
        raise NotImplementedError(f"{self._where}: define get_input_grads")

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Add the last outputs and their labels to a metric."""
        raise NotImplementedError(f"{self._where}: define update_metric")

    def install_monitor(self, mon: Any) -> None:
        """Let a monitor see what is computed."""
        raise NotImplementedError(f"{self._where}: define install_monitor")

    def get_states(self, merge_multi_context: bool = True) -> list[Any]:
        """The states, of modules that have some."""
        self._check_ready("get_states")
        check(not merge_multi_context, f"{self._where}.get_states", ONE_BY_ONE)
        return []

    def set_states(self, states: Any = None, value: Any = None) -> None:
        """Give the states, of modules that have some, values."""
        self._check_ready("set_states")
        check(
            not states and not value,
            f"{self._where}.set_states",
            "this module has no states; make a Module with state_names",
        )

    def prepare(self, data_batch: Any, sparse_row_id_fn: Any = None) -> None:
        """Called by `fit` and its kin with the batch that comes next."""
        refuse_row_ids(f"{self._where}.prepare", sparse_row_id_fn)

    # -- parameters

    def set_params(
        self,
        arg_params: Mapping[str, Any] | None,
        aux_params: Mapping[str, Any] | None,
        allow_missing: bool = False,
        force_init: bool = True,
        allow_extra: bool = False,
    ) -> None:
        """Give the parameters these values. Those that are missing keep theirs under
        `allow_missing`, and are an error otherwise."""
        self.init_params(
            initializer=None,
            arg_params=arg_params,
            aux_params=aux_params,
            allow_missing=allow_missing,
            force_init=force_init,
            allow_extra=allow_extra,
        )

    def save_params(self, fname: AnyPath) -> None:
        """Write the parameters, as MXNet does: `arg:` and `aux:` before their names."""
        write_params(fname, *self.get_params())

    def load_params(self, fname: AnyPath) -> None:
        """Read what `save_params` wrote."""
        self.set_params(*read_params(fname))

    # -- one batch

    def forward_backward(self, data_batch: Any) -> None:
        """Forward in training, and backward."""
        self.forward(data_batch, is_train=True)
        self.backward()

    def _step(self, data_batch: Any, eval_metric: Any, monitor: Any) -> None:
        """What `fit` does with a batch."""
        self.forward_backward(data_batch)
        self.update()
        labels, pre_sliced = _labels_of(data_batch)
        self.update_metric(eval_metric, labels, pre_sliced=pre_sliced)

    def _add_to_score(self, eval_metric: Any, data_batch: Any) -> None:
        """Add a batch to a metric, without its padding."""
        pad = getattr(data_batch, "pad", None)
        labels, pre_sliced = _labels_of(data_batch)
        if not pad or pre_sliced or not labels:
            self.update_metric(eval_metric, labels, pre_sliced=pre_sliced)
            return
        described = self.label_shapes or ()
        axes = [_batch_axis(one) for one in described] or [0] * len(labels)
        outputs, drop = self.get_outputs(), _shortened(pad)
        eval_metric.update_dict(
            dict(zip(self._names_of_labels(len(labels)), map(drop, labels, axes), strict=True)),
            dict(
                zip(
                    self.output_names,
                    map(drop, outputs, self._output_axes(len(outputs))),
                    strict=True,
                )
            ),
        )

    def _names_of_labels(self, count: int) -> list[str]:
        described = self.label_shapes or ()
        names = [one[0] for one in described]
        return names if len(names) == count else [f"label{i}" for i in range(count)]

    def _output_axes(self, count: int) -> list[int]:
        """Where the samples are, in each output."""
        return [0] * count

    # -- iterators

    def _reset(self, method: str, data: Any, reset: bool) -> None:
        self._check_ready(method)
        if reset:
            data.reset()

    def score(
        self,
        eval_data: Any,
        eval_metric: Any,
        num_batch: int | None = None,
        batch_end_callback: Any = None,
        score_end_callback: Any = None,
        reset: bool = True,
        epoch: int = 0,
        sparse_row_id_fn: Any = None,
    ) -> list[tuple[str, float]]:
        """The values of a metric over the batches of an iterator, as (name, value).

        Parameters
        ----------
        eval_data : the iterator
        eval_metric : a metric, or what `metric.create` takes
        num_batch : how many batches to take; None: all
        batch_end_callback, score_end_callback : called with a `BatchEndParam` after each batch, and
            at the end
        reset : whether to begin at the first batch
        epoch : what callbacks are told
        sparse_row_id_fn : None: parameters are dense
        """
        self._reset("score", eval_data, reset)
        refuse_row_ids(f"{self._where}.score", sparse_row_id_fn)
        if not isinstance(eval_metric, metric.EvalMetric):
            eval_metric = metric.create(eval_metric)
        eval_metric.reset()
        nbatch = 0
        shown = _shown(eval_data, "score", batch_end_callback, num_batch)
        for eval_batch in _first(shown, num_batch):
            self.prepare(eval_batch)
            self.forward(eval_batch, is_train=False)
            self._add_to_score(eval_metric, eval_batch)
            call_each(batch_end_callback, BatchEndParam(epoch, nbatch, eval_metric, locals()))
            nbatch += 1
        call_each(score_end_callback, BatchEndParam(epoch, nbatch, eval_metric, locals()))
        return eval_metric.get_name_value()

    def iter_predict(
        self,
        eval_data: Any,
        num_batch: int | None = None,
        reset: bool = True,
        sparse_row_id_fn: Any = None,
    ) -> Iterator[tuple[list[Any], int, Any]]:
        """(outputs without padding, number, batch) for each batch of an iterator."""
        self._reset("iter_predict", eval_data, reset)
        refuse_row_ids(f"{self._where}.iter_predict", sparse_row_id_fn)
        for nbatch, eval_batch in enumerate(_first(eval_data, num_batch)):
            yield self._predicted(eval_batch), nbatch, eval_batch

    def _predicted(self, batch: Any) -> list[Any]:
        self.prepare(batch)
        self.forward(batch, is_train=False)
        pad = getattr(batch, "pad", None) or 0
        outputs = self.get_outputs()
        return list(map(_shortened(pad), outputs, self._output_axes(len(outputs))))

    def predict(
        self,
        eval_data: Any,
        num_batch: int | None = None,
        merge_batches: bool = True,
        always_output_list: bool = False,
        reset: bool = True,
        sparse_row_id_fn: Any = None,
    ) -> Any:
        """The outputs for the batches of an iterator, or for one array, padding dropped.

        Parameters
        ----------
        eval_data : an iterator, or an array of data, which is one batch
        num_batch : how many batches to take; None: all
        merge_batches : whether the outputs of all batches are joined; if not, they come as a list
            of lists: batches, and in these outputs
        always_output_list : whether a single output comes in a list, too
        reset : whether to begin at the first batch
        sparse_row_id_fn : None: parameters are dense
        """
        self._check_ready("predict")
        where = f"{self._where}.predict"
        refuse_row_ids(where, sparse_row_id_fn)
        if isinstance(eval_data, (nd.NDArray, np.ndarray)):
            data = nd.array(eval_data) if isinstance(eval_data, np.ndarray) else eval_data
            self.forward(DataBatch([data]), is_train=False)
            return self.get_outputs()[0]
        if not isinstance(eval_data, DataIter):
            raise ValueError(
                f"{where}: expected a DataIter or an array of data; given "
                f"{type(eval_data).__name__}; wrap it in mx.io.NDArrayIter"
            )
        if reset:
            eval_data.reset()
        batches = [
            [output.copy() for output in self._predicted(batch)]
            for batch in _first(_shown(eval_data, "predict", total=num_batch), num_batch)
        ]
        if not batches or not merge_batches:
            return batches
        counts = sorted({len(outputs) for outputs in batches})
        check(
            len(counts) == 1,
            where,
            f"batches have {counts} outputs, which cannot be joined; pass merge_batches=False",
        )
        axes = [max(axis, 0) for axis in self._output_axes(counts[0])]
        merged = [
            joined([outputs[place] for outputs in batches], axis) for place, axis in enumerate(axes)
        ]
        return merged if always_output_list or len(merged) > 1 else merged[0]

    # -- training

    def fit(
        self,
        train_data: Any,
        eval_data: Any = None,
        eval_metric: Any = "acc",
        epoch_end_callback: Any = None,
        batch_end_callback: Any = None,
        kvstore: Any = "local",
        optimizer: Any = "sgd",
        optimizer_params: Any = (("learning_rate", 0.01),),
        eval_end_callback: Any = None,
        eval_batch_end_callback: Any = None,
        initializer: Any = UNIFORM,
        arg_params: Mapping[str, Any] | None = None,
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_rebind: bool = False,
        force_init: bool = False,
        begin_epoch: int = 0,
        num_epoch: int | None = None,
        validation_metric: Any = None,
        monitor: Any = None,
        sparse_row_id_fn: Any = None,
    ) -> None:
        """Train on the batches of an iterator.

        What was bound, initialized or given an optimizer before stays as it is, unless forced.

        Parameters
        ----------
        train_data : the iterator
        eval_data : another one, that is scored after every epoch
        eval_metric : a metric, or what `metric.create` takes
        epoch_end_callback : called with (epoch, symbol, arg_params, aux_params) after every epoch
        batch_end_callback : called with a `BatchEndParam` after every batch
        kvstore : 'local', 'device', 'dist_sync', a store, or None: where gradients meet
        optimizer, optimizer_params : an optimizer, or its name and what it is made with
        eval_end_callback, eval_batch_end_callback : as those, of the scores
        initializer : how parameters begin
        arg_params, aux_params : what parameters begin with instead
        allow_missing : whether some may be missing there
        force_rebind, force_init : whether what was bound, or initialized, is so again
        begin_epoch, num_epoch : the numbers of the first epoch, and of the one after the last
        validation_metric : the metric for `eval_data`; None: `eval_metric`
        monitor : a `Monitor`, which sees what is computed
        sparse_row_id_fn : None: parameters are dense
        """
        where = f"{self._where}.fit"
        check(
            num_epoch is not None,
            where,
            "the number of epochs is missing; give num_epoch=10, say",
        )
        assert num_epoch is not None
        refuse_row_ids(where, sparse_row_id_fn)
        self.bind(
            data_shapes=train_data.provide_data,
            label_shapes=train_data.provide_label,
            for_training=True,
            force_rebind=force_rebind,
        )
        if monitor is not None:
            self.install_monitor(monitor)
        self.init_params(initializer, arg_params, aux_params, allow_missing, force_init)
        self.init_optimizer(kvstore, optimizer, optimizer_params)
        if validation_metric is None:
            validation_metric = eval_metric
        if not isinstance(eval_metric, metric.EvalMetric):
            eval_metric = metric.create(eval_metric)
        for epoch in range(begin_epoch, num_epoch):
            began = time.time()
            self._fit_epoch(train_data, epoch, eval_metric, batch_end_callback, monitor)
            for name, value in eval_metric.get_global_name_value():
                self.logger.info("Epoch[%d] Train-%s=%f", epoch, name, value)
            self.logger.info("Epoch[%d] Time cost=%.3f", epoch, time.time() - began)
            arguments, states = self.get_params()
            self.set_params(arguments, states)
            for callback in listed(epoch_end_callback):
                callback(epoch, self.symbol, arguments, states)
            if eval_data is not None:
                scores = self.score(
                    eval_data,
                    validation_metric,
                    score_end_callback=eval_end_callback,
                    batch_end_callback=eval_batch_end_callback,
                    epoch=epoch,
                )
                for name, value in scores:
                    self.logger.info("Epoch[%d] Validation-%s=%f", epoch, name, value)
            train_data.reset()

    def _fit_epoch(
        self, train_data: Any, epoch: int, eval_metric: Any, batch_end_callback: Any, monitor: Any
    ) -> None:
        """A step for each batch. Callbacks are shown the variables of this function."""
        eval_metric.reset()
        nbatch = 0
        batches = _shown(train_data, f"epoch {epoch}", batch_end_callback)
        data_batch = next(batches, None)
        if data_batch is None:
            raise TigonError(
                f"{self._where}.fit: train_data has no batches in epoch {epoch}; is it empty, or "
                "at its end and never reset?"
            )
        while data_batch is not None:
            if monitor is not None:
                monitor.tic()
            self._step(data_batch, eval_metric, monitor)
            following = next(batches, None)
            if following is not None:
                self.prepare(following)
            if monitor is not None:
                monitor.toc_print()
            call_each(batch_end_callback, BatchEndParam(epoch, nbatch, eval_metric, locals()))
            nbatch += 1
            data_batch = following


ONE_BY_ONE = "states of several contexts are not merged; pass merge_multi_context=False"


def refuse_row_ids(where: str, given: Any) -> None:
    """Raise where rows of sparse arrays are asked for."""
    check(
        given is None,
        where,
        "sparse_row_id_fn is for row-sparse parameters, and those of modules are dense; leave it "
        "out",
    )


def listed(callbacks: Any) -> list[Callable[..., Any]]:
    """None, one, or several callbacks."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def call_each(callbacks: Any, param: BatchEndParam) -> None:
    """Tell callbacks of a batch."""
    for callback in listed(callbacks):
        callback(param)


def joined(parts: list[Any], axis: int) -> Any:
    """Arrays, perhaps of several contexts, as one on the first one's; the first where there is no
    axis of samples."""
    if axis < 0 or len(parts) == 1:
        return parts[0]
    context = parts[0].context
    return nd.concat(*[part.as_in_context(context) for part in parts], dim=axis)


def _shown(
    batches: Iterable[Any], what: str, callbacks: Any = None, total: int | None = None
) -> Iterator[Any]:
    """The batches, with a bar unless a callback draws one."""
    if any(getattr(callback, "draws_progress", False) for callback in listed(callbacks)):
        return iter(batches)
    return progress(batches, what, total=total)


def _first(batches: Iterable[Any], count: int | None) -> Iterator[Any]:
    """The first `count` batches; the one after these is not asked for."""
    if count == 0:
        return
    for number, batch in enumerate(batches, 1):
        yield batch
        if number == count:
            return


def _labels_of(batch: Any) -> tuple[Any, bool]:
    """Labels, and whether they come as one list for each context."""
    if isinstance(batch, list):
        return [one.label for one in batch], True
    return getattr(batch, "label", None), False


def _batch_axis(described: Any) -> int:
    return DataDesc.get_batch_axis(getattr(described, "layout", None))


def _shortened(pad: int) -> Callable[[Any, int], Any]:
    """Drops the last `pad` samples of an array whose samples are along an axis."""

    def drop(array: Any, axis: int) -> Any:
        if not pad or axis < 0:
            return array
        return array.slice_axis(axis=axis, begin=0, end=array.shape[axis] - pad)

    return drop
