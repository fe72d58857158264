"""A symbol that is trained on numpy arrays or iterators: what came before `Module`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tigon import initializer as initializers
from tigon import metric, nd
from tigon.base import check
from tigon.base.arguments import NamesWrongTypes
from tigon.base.files import AnyPath
from tigon.callback import LogValidationMetricsCallback
from tigon.context import check_contexts, current_context
from tigon.io import DataDesc, DataIter, NDArrayIter
from tigon.module.base_module import UNIFORM
from tigon.module.files import load_checkpoint, save_checkpoint
from tigon.module.module import Module

_TOLD = LogValidationMetricsCallback()


class FeedForward(NamesWrongTypes):
    """A symbol with `fit`, `predict` and `score` on numpy arrays or iterators.

    >>> from tigon import sym
    >>> net = sym.SoftmaxOutput(sym.FullyConnected(sym.var("data"), num_hidden=2), name="softmax")
    >>> model = FeedForward(net, num_epoch=1, initializer="zeros", learning_rate=0.1)
    >>> model.fit(np.zeros((4, 3)), np.zeros(4))
    >>> model.predict(np.zeros((5, 3))).round(2)[4].tolist()
    [0.5199999809265137, 0.47999998927116394]

    Parameters
    ----------
    symbol : what is computed
    ctx : where it runs; a list of several cuts every batch. None: the present context
    num_epoch : the number of the epoch after the last
    epoch_size : batches in an epoch; None: all that the iterator has
    optimizer : an optimizer, or its name; further arguments are what it is made with
    initializer : how parameters begin
    numpy_batch_size : samples in a batch of numpy arrays
    arg_params, aux_params : what parameters begin with instead
    allow_extra_params : whether there may be names that the symbol does not have
    begin_epoch : the number of the first epoch
    """

    def __init__(
        self,
        symbol: Any,
        ctx: Any = None,
        num_epoch: int | None = None,
        epoch_size: int | None = None,
        optimizer: Any = "sgd",
        initializer: Any = UNIFORM,
        numpy_batch_size: int = 128,
        arg_params: Mapping[str, Any] | None = None,
        aux_params: Mapping[str, Any] | None = None,
        allow_extra_params: bool = False,
        begin_epoch: int = 0,
        **kwargs: Any,
    ) -> None:
        self.symbol = symbol
        self.ctx = check_contexts("FeedForward", current_context() if ctx is None else ctx)
        self.num_epoch = num_epoch
        self.epoch_size = epoch_size
        self.kwargs = kwargs
        self.optimizer = optimizer
        self.initializer = initializers.create(initializer)
        self.numpy_batch_size = numpy_batch_size
        self.arg_params = None if arg_params is None else dict(arg_params)
        self.aux_params = None if aux_params is None else dict(aux_params)
        self.allow_extra_params = allow_extra_params
        self.begin_epoch = begin_epoch
        if self.arg_params is not None:
            self._check_names()
        self._predictor: tuple[Any, Module] | None = None

    def _check_names(self) -> None:
        for what, given, known in (
            ("arg_params", self.arg_params, self.symbol.list_arguments()),
            ("aux_params", self.aux_params, self.symbol.list_auxiliary_states()),
        ):
            extra = [name for name in given or () if name not in known]
            check(
                not extra or self.allow_extra_params,
                "FeedForward",
                f"{what}: the symbol has no {', '.join(map(repr, extra))}; it has: "
                f"{', '.join(known) or 'none'}; pass allow_extra_params=True to skip them",
            )
            for name in extra:
                del given[name]  # type: ignore[index]

    # -- data

    def _iterator(self, method: str, data: Any, labels: Any, training: bool) -> DataIter:
        where = f"FeedForward.{method}"
        if not isinstance(data, (np.ndarray, nd.NDArray)):
            check(
                isinstance(data, DataIter),
                where,
                f"X: expected a numpy array or a DataIter; given {type(data).__name__}",
            )
            return data
        check(
            labels is not None or not training,
            where,
            "y, the labels, is missing; give one for each sample of X",
        )
        count = data.shape[0]
        if labels is not None:
            labels = labels.asnumpy() if isinstance(labels, nd.NDArray) else np.asarray(labels)
            check(
                len(labels) == count,
                where,
                f"y: expected {count} labels, one for each sample of X; given {len(labels)}",
            )
            if labels.ndim == 2 and labels.shape[1] == 1:
                labels = labels.ravel()
        return NDArrayIter(
            data,
            labels,
            min(count, self.numpy_batch_size),
            shuffle=training,
            last_batch_handle="roll_over" if training else "pad",
        )

    def _evaluation(self, given: Any) -> DataIter | None:
        if given is None or isinstance(given, DataIter):
            return given
        check(
            isinstance(given, (list, tuple)) and len(given) == 2,
            "FeedForward.fit",
            f"eval_data: expected an iterator, or (X, y); given {type(given).__name__}",
        )
        data, labels = given
        return self._iterator("fit", np.asarray(data), np.asarray(labels), False)

    def _module(self, data: DataIter, labelled: bool) -> Module:
        names = self.symbol.list_arguments()
        labels = [one[0] for one in data.provide_label] if labelled else []
        if not labels:  # variables of labels are no parameters
            known = self.arg_params or {}
            labels = [name for name in names if name.endswith("label") and name not in known]
        return Module(self.symbol, [one[0] for one in data.provide_data], labels, context=self.ctx)

    # -- training

    def fit(
        self,
        X: Any,
        y: Any = None,
        eval_data: Any = None,
        eval_metric: Any = "acc",
        epoch_end_callback: Any = None,
        batch_end_callback: Any = None,
        kvstore: Any = "local",
        logger: Any = None,
        work_load_list: Any = None,
        monitor: Any = None,
        eval_end_callback: Any = _TOLD,
        eval_batch_end_callback: Any = None,
    ) -> None:
        """Train on numpy arrays of data and labels, or on an iterator (`y` is then left out).
        `eval_data` is an iterator, or (X, y); the rest is as `Module.fit` takes it."""
        check(
            self.num_epoch is not None,
            "FeedForward.fit",
            "the number of epochs is missing; give num_epoch=10, say, to FeedForward",
        )
        data = self._iterator("fit", X, y, True)
        self._predictor = None
        module = self._module(data, True)
        module.logger = logging if logger is None else logger
        if work_load_list is not None:
            module._work_load_list = work_load_list
        batches: Any = data if self.epoch_size is None else _Epochs(data, self.epoch_size)
        module.fit(
            batches,
            self._evaluation(eval_data),
            eval_metric,
            epoch_end_callback,
            batch_end_callback,
            kvstore,
            self.optimizer,
            self.kwargs,
            eval_end_callback,
            eval_batch_end_callback,
            self.initializer,
            self.arg_params,
            self.aux_params,
            allow_missing=True,
            begin_epoch=self.begin_epoch,
            num_epoch=self.num_epoch,
            monitor=monitor,
        )
        arguments, states = module.get_params()
        self.arg_params, self.aux_params = dict(arguments), dict(states)

    # -- predicting

    def _bound(self, method: str, data: DataIter, labelled: bool) -> Module:
        check(
            self.arg_params is not None,
            f"FeedForward.{method}",
            "there are no parameters; call fit, or give arg_params",
        )
        params = self.arg_params, self.aux_params
        if self._predictor is not None:
            known, module = self._predictor
            same = module.data_names == [one[0] for one in data.provide_data]
            if same and all(one is other for one, other in zip(known, params, strict=True)):
                return module
        module = self._module(data, labelled)
        module.bind(data.provide_data, _known_labels(module, data), for_training=False)
        module.set_params(self.arg_params, self.aux_params, allow_extra=True)
        self._predictor = params, module
        return module

    def predict(
        self, X: Any, num_batch: int | None = None, return_data: bool = False, reset: bool = True
    ) -> Any:
        """The outputs as a numpy array, or a list of them where there are several; with
        `return_data`, (outputs, data, labels) of the iterator."""
        data = self._iterator("predict", X, None, False)
        module = self._bound("predict", data, False)
        outputs: list[list[np.ndarray]] = []
        seen: list[list[np.ndarray]] = []
        labels: list[list[np.ndarray]] = []
        for own, _, batch in module.iter_predict(data, num_batch, reset):
            outputs.append([output.asnumpy() for output in own])
            if return_data:
                kept = slice(0, batch.data[0].shape[0] - (getattr(batch, "pad", None) or 0))
                seen.append([array.asnumpy()[kept] for array in batch.data])
                labels.append([array.asnumpy()[kept] for array in batch.label or ()])
        check(outputs, "FeedForward.predict", "there are no batches; is the iterator empty?")
        if not return_data:
            return _joined(outputs)
        return _joined(outputs), _joined(seen), _joined(labels)

    def score(
        self,
        X: Any,
        eval_metric: Any = "acc",
        num_batch: int | None = None,
        batch_end_callback: Any = None,
        reset: bool = True,
    ) -> Any:
        """The value of a metric over the batches of an iterator."""
        data = self._iterator("score", X, None, False)
        module = self._bound("score", data, True)
        own = metric.create(eval_metric)
        module.score(data, own, num_batch, batch_end_callback, reset=reset)
        return own.get()[1]

    # -- files

    def save(self, prefix: AnyPath, epoch: int | None = None, remove_amp_cast: bool = True) -> None:
        """Write a checkpoint: see `model.save_checkpoint`. `epoch` is `num_epoch`, if left out."""
        epoch = self.num_epoch if epoch is None else epoch
        check(epoch is not None, "FeedForward.save", "the number of the epoch is missing; give it")
        check(self.arg_params is not None, "FeedForward.save", "there are no parameters; call fit")
        assert epoch is not None and self.arg_params is not None
        save_checkpoint(
            prefix, epoch, self.symbol, self.arg_params, self.aux_params, remove_amp_cast
        )

    @staticmethod
    def load(prefix: AnyPath, epoch: int, ctx: Any = None, **kwargs: Any) -> FeedForward:
        """What was saved, to predict or to go on: its first epoch is `epoch`."""
        symbol, arguments, states = load_checkpoint(prefix, epoch)
        return FeedForward(
            symbol,
            ctx=ctx,
            arg_params=arguments,
            aux_params=states,
            begin_epoch=epoch,
            **kwargs,
        )

    @staticmethod
    def create(
        symbol: Any,
        X: Any,
        y: Any = None,
        ctx: Any = None,
        num_epoch: int | None = None,
        epoch_size: int | None = None,
        optimizer: Any = "sgd",
        initializer: Any = UNIFORM,
        eval_data: Any = None,
        eval_metric: Any = "acc",
        epoch_end_callback: Any = None,
        batch_end_callback: Any = None,
        kvstore: Any = "local",
        logger: Any = None,
        work_load_list: Any = None,
        eval_end_callback: Any = _TOLD,
        eval_batch_end_callback: Any = None,
        **kwargs: Any,
    ) -> FeedForward:
        """A model, trained: the arguments are those of the class and of `fit`."""
        model = FeedForward(
            symbol,
            ctx=ctx,
            num_epoch=num_epoch,
            epoch_size=epoch_size,
            optimizer=optimizer,
            initializer=initializer,
            **kwargs,
        )
        model.fit(
            X,
            y,
            eval_data=eval_data,
            eval_metric=eval_metric,
            epoch_end_callback=epoch_end_callback,
            batch_end_callback=batch_end_callback,
            kvstore=kvstore,
            logger=logger,
            work_load_list=work_load_list,
            eval_end_callback=eval_end_callback,
            eval_batch_end_callback=eval_batch_end_callback,
        )
        return model


class _Epochs(DataIter):
    """An iterator cut into epochs of so many batches; it begins again where it ends within one."""

    def __init__(self, batches: Any, size: int) -> None:
        super().__init__(getattr(batches, "batch_size", 0))
        check(size > 0, "FeedForward", f"epoch_size: expected 1 or more batches; given {size}")
        self._batches, self._size = batches, size
        self._seen = 0

    @property
    def provide_data(self) -> list[DataDesc]:
        return self._batches.provide_data

    @property
    def provide_label(self) -> list[DataDesc]:
        return self._batches.provide_label

    def reset(self) -> None:
        self._seen = 0  # the next epoch goes on where this one ended

    def __iter__(self) -> Iterator[Any]:
        return self

    def next(self) -> Any:
        if self._seen == self._size:
            raise StopIteration
        try:
            batch = next(self._batches)
        except StopIteration:
            self._batches.reset()
            batch = next(self._batches)
        self._seen += 1
        return batch


def _known_labels(module: Module, data: DataIter) -> Any:
    """The labels of an iterator that the module has."""
    return [one for one in data.provide_label or () if one[0] in module.label_names] or None


def _joined(batches: list[list[np.ndarray]]) -> Any:
    """Arrays of all batches as one; a list where there are several in each."""
    merged = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    return merged[0] if len(merged) == 1 else merged
