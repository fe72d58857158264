"""Modules that are Python code: no parameters, and a loss whose gradient is a function."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tigon import nd
from tigon.base import check
from tigon.module.base_module import UNIFORM, BaseModule


class PythonModule(BaseModule):
    """Base of modules without parameters. A subclass defines `forward`, `get_outputs`,
    `_compute_output_shapes`, and, for training, `backward` and `get_input_grads`.

    Parameters
    ----------
    data_names, label_names : of a batch; no labels: None
    output_names : of what is computed
    logger : whose `info` and `warning` are told what happens
    """

    def __init__(
        self,
        data_names: Sequence[str],
        label_names: Sequence[str] | None,
        output_names: Sequence[str],
        logger: Any = logging,
    ) -> None:
        super().__init__(logger)
        self._data_names = list(data_names)
        self._label_names = None if label_names is None else list(label_names)
        self._output_names = list(output_names)
        self._data_shapes: list[Any] = []
        self._label_shapes: list[Any] | None = None
        self._output_shapes: list[tuple[str, tuple[int, ...]]] = []

    @property
    def data_names(self) -> list[str]:
        return self._data_names

    @property
    def output_names(self) -> list[str]:
        return self._output_names

    @property
    def data_shapes(self) -> list[Any]:
        return self._data_shapes

    @property
    def label_shapes(self) -> list[Any] | None:
        return self._label_shapes

    @property
    def output_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        return self._output_shapes

    def get_params(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """None: ({}, {})."""
        return {}, {}

    def init_params(
        self,
        initializer: Any = UNIFORM,
        arg_params: Mapping[str, Any] | None = None,
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_init: bool = False,
        allow_extra: bool = False,
    ) -> None:
        """Nothing to do."""
        self.params_initialized = True

    def update(self) -> None:
        """Nothing to do."""

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Add outputs and labels, of a module that was bound to labels."""
        if self._label_shapes is None:
            return
        check(
            not pre_sliced,
            f"{self._where}.update_metric",
            "it runs on one context; pass labels as they are",
        )
        eval_metric.update(labels, self.get_outputs())

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
        """As `Module.bind`."""
        if self._stays_bound(force_rebind):
            return
        where = f"{self._where}.bind"
        check(grad_req == "write", where, f"grad_req: expected 'write'; given {grad_req!r:.80}")
        for names, shapes, what in (
            (self._data_names, data_shapes, "data_shapes"),
            (self._label_names or [], label_shapes or [], "label_shapes"),
        ):
            given = [one[0] for one in shapes]
            check(
                given == names or (what == "label_shapes" and not given),
                where,
                f"{what}: expected {', '.join(names) or 'none'}; given "
                f"{', '.join(given) or 'none'}",
            )
        self.for_training, self.inputs_need_grad = for_training, inputs_need_grad
        self._data_shapes = list(data_shapes)
        self._label_shapes = list(label_shapes) if label_shapes else None
        self._output_shapes = self._compute_output_shapes()
        self.binded = True

    def _compute_output_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """(name, shape) of each output, from `_data_shapes` and `_label_shapes`."""
        raise NotImplementedError(f"{self._where}: define _compute_output_shapes")

    def init_optimizer(
        self,
        kvstore: Any = "local",
        optimizer: Any = "sgd",
        optimizer_params: Any = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:
        """Nothing to do."""
        self.optimizer_initialized = True

    def _optimizing(self) -> list[Any]:
        return []

    def install_monitor(self, mon: Any) -> None:
        """Nothing to see: what Python code computes is its own."""


class PythonLossModule(PythonModule):
    """A loss at the end of a chain: its output is what it is given, its gradient what
    `grad_func(data, label)` computes, from the one array of data and the one of labels.

    Parameters
    ----------
    name : the output is called '<name>_output'
    data_names, label_names : of a batch, one each
    logger : whose `info` and `warning` are told what happens
    grad_func : the function; None: a subclass defines `_backward_impl`
    """

    def __init__(
        self,
        name: str = "pyloss",
        data_names: Sequence[str] = ("data",),
        label_names: Sequence[str] = ("softmax_label",),
        logger: Any = logging,
        grad_func: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        super().__init__(data_names, label_names, [f"{name}_output"], logger)
        check(
            len(data_names) == len(label_names) == 1,
            "PythonLossModule",
            f"expected one array of data and one of labels; given {len(data_names)} and "
            f"{len(label_names)}",
        )
        check(
            grad_func is None or callable(grad_func),
            "PythonLossModule",
            f"grad_func: expected a function of data and labels; given {type(grad_func).__name__}",
        )
        self._name = name
        self._grad_func = grad_func
        self._scores: Any = None
        self._labels: Any = None
        self._scores_grad: Any = None

    def _compute_output_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        return [(self._output_names[0], tuple(self._data_shapes[0][1]))]

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """Take the data for outputs, and keep the labels in training."""
        self._scores = data_batch.data[0]
        if self.for_training if is_train is None else is_train:
            labels = data_batch.label
            check(
                labels,
                f"{self._where}.forward",
                "the batch has no labels; add the module with take_labels=True, and give some",
            )
            self._labels = labels[0]

    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        check(merge_multi_context, f"{self._where}.get_outputs", "it runs on one context")
        return [self._scores]

    def backward(self, out_grads: Any = None) -> None:
        """Compute the gradient by the data; a loss takes none from elsewhere."""
        check(
            out_grads is None,
            f"{self._where}.backward",
            "a loss takes no gradients; leave out_grads",
        )
        check(
            self.for_training,
            f"{self._where}.backward",
            "the module is bound for prediction; bind it again with for_training=True",
        )
        self._backward_impl()

    def _backward_impl(self) -> None:
        """Put the gradient into `_scores_grad`."""
        if self._grad_func is None:
            raise NotImplementedError(f"{self._where}: give grad_func, or define _backward_impl")
        grad = self._grad_func(self._scores, self._labels)
        self._scores_grad = grad if isinstance(grad, nd.NDArray) else nd.array(grad)

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        check(merge_multi_context, f"{self._where}.get_input_grads", "it runs on one context")
        return [self._scores_grad]
