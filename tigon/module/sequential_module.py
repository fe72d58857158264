"""Modules one after another: each is given what the one before it computes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from tigon.base import check
from tigon.io import DataBatch, DataDesc
from tigon.module.base_module import UNIFORM, BaseModule


class SequentialModule(BaseModule):
    """A chain of modules, added one by one.

    Parameters
    ----------
    logger : whose `info` and `warning` are told what happens
    """

    META_TAKE_LABELS = "take_labels"
    META_AUTO_WIRING = "auto_wiring"

    def __init__(self, logger: Any = logging) -> None:
        super().__init__(logger)
        self._modules: list[BaseModule] = []
        self._metas: list[dict[str, Any]] = []
        self._label_shapes: list[Any] | None = None

    def add(self, module: BaseModule, **kwargs: Any) -> SequentialModule:
        """Add a module at the end; gives the chain.

        Parameters
        ----------
        module : what is added
        take_labels : whether it is given the labels
        auto_wiring : whether its data are the outputs before it, whatever they are called
        """
        known = (self.META_TAKE_LABELS, self.META_AUTO_WIRING)
        unknown = [name for name in kwargs if name not in known]
        check(
            not unknown,
            "SequentialModule.add",
            f"expected {' and '.join(known)}; given {', '.join(unknown)}",
        )
        self._modules.append(module)
        self._metas.append(kwargs)
        self.binded = self.params_initialized = self.optimizer_initialized = False
        return self

    def _some(self, method: str) -> list[BaseModule]:
        check(
            self._modules,
            f"SequentialModule.{method}",
            "there are no modules; add some",
        )
        return self._modules

    # -- what it is

    @property
    def data_names(self) -> list[str]:
        return self._modules[0].data_names if self._modules else []

    @property
    def output_names(self) -> list[str]:
        return self._modules[-1].output_names if self._modules else []

    @property
    def data_shapes(self) -> list[Any]:
        return self._some("data_shapes")[0].data_shapes

    @property
    def label_shapes(self) -> list[Any] | None:
        return self._label_shapes

    @property
    def output_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        return self._some("output_shapes")[-1].output_shapes

    # -- parameters

    def get_params(self) -> tuple[dict[str, Any], dict[str, Any]]:
        self._check_ready("get_params")
        arguments: dict[str, Any] = {}
        states: dict[str, Any] = {}
        for module in self._modules:
            own = module.get_params()
            arguments.update(own[0])
            states.update(own[1])
        return arguments, states

    def init_params(
        self,
        initializer: Any = UNIFORM,
        arg_params: Mapping[str, Any] | None = None,
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_init: bool = False,
        allow_extra: bool = False,
    ) -> None:
        """As `Module.init_params`, of all; what is given is for whichever has it."""
        if self.params_initialized and not force_init:
            return
        self._check_bound("init_params", "call bind before initializing the parameters")
        for module in self._modules:
            module.init_params(
                initializer, arg_params, aux_params, allow_missing, force_init, allow_extra=True
            )
        owners: dict[str, int] = {}
        for number, module in enumerate(self._modules):
            for name in (*module.get_params()[0], *module.get_params()[1]):
                check(
                    name not in owners,
                    "SequentialModule.init_params",
                    f"modules {owners.get(name)} and {number} both have a parameter '{name}'; give "
                    "layers names of their own",
                )
                owners[name] = number
        extra = [
            name for given in (arg_params, aux_params) for name in given or () if name not in owners
        ]
        if extra and not allow_extra:
            self.logger.warning(
                "SequentialModule.init_params: no module has parameters %s, which are left out; "
                "pass allow_extra=True if that is meant",
                ", ".join(map(repr, extra)),
            )
        self.params_initialized = True

    # -- binding

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
        """As `Module.bind`: each module to the shapes of the outputs before it."""
        if self._stays_bound(force_rebind):
            return
        check(
            shared_module is None,
            "SequentialModule.bind",
            "shared_module is not taken; leave it out",
        )
        modules = self._some("bind")
        self.for_training, self.inputs_need_grad = for_training, inputs_need_grad
        shapes, labelled = list(data_shapes), False
        for number, (module, meta) in enumerate(zip(modules, self._metas, strict=True)):
            takes_labels = bool(meta.get(self.META_TAKE_LABELS))
            labelled = labelled or takes_labels
            if meta.get(self.META_AUTO_WIRING):
                names = module.data_names
                check(
                    len(names) == len(shapes),
                    "SequentialModule.bind",
                    f"module {number} takes {len(names)} arrays of data, and {len(shapes)} come "
                    "from before it",
                )
                shapes = [_named(name, one) for name, one in zip(names, shapes, strict=True)]
            module.bind(
                shapes,
                label_shapes if takes_labels else None,
                for_training,
                inputs_need_grad or (for_training and number > 0),
                force_rebind,
                grad_req=grad_req,
            )
            shapes = list(module.output_shapes)
        self._label_shapes = list(label_shapes) if labelled and label_shapes else None
        self.binded = True

    def init_optimizer(
        self,
        kvstore: Any = "local",
        optimizer: Any = "sgd",
        optimizer_params: Any = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:
        """As `Module.init_optimizer`: one for each module."""
        self._check_ready("init_optimizer")
        if self._keeps_optimizer(force_init):
            return
        for module in self._modules:
            module.init_optimizer(kvstore, optimizer, optimizer_params, force_init)
        self.optimizer_initialized = True

    def _optimizing(self) -> list[Any]:
        return [one for module in self._modules for one in module._optimizing()]

    # -- running

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """As `Module.forward`, one module after another."""
        self._check_ready("forward")
        batch = data_batch
        label = getattr(data_batch, "label", None)
        for number, module in enumerate(self._modules):
            module.forward(batch, is_train=is_train)
            if number + 1 < len(self._modules):
                outputs = module.get_outputs()
                described = [
                    DataDesc(name, output.shape)
                    for name, output in zip(
                        self._modules[number + 1].data_names, outputs, strict=False
                    )
                ]
                batch = DataBatch(
                    outputs,
                    label,
                    getattr(data_batch, "pad", None),
                    getattr(data_batch, "index", None),
                    getattr(data_batch, "bucket_key", None),
                    provide_data=described,
                    provide_label=getattr(data_batch, "provide_label", None),
                )

    def backward(self, out_grads: Any = None) -> None:
        """As `Module.backward`, from the last module to the first."""
        self._check_ready("backward")
        for number in reversed(range(len(self._modules))):
            module = self._modules[number]
            module.backward(out_grads=out_grads)
            if number:
                out_grads = module.get_input_grads()

    def update(self) -> None:
        """As `Module.update`, of all."""
        self._check_ready("update", optimizer=True)
        for module in self._modules:
            module.update()

    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        self._check_ready("get_outputs")
        return self._modules[-1].get_outputs(merge_multi_context=merge_multi_context)

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        self._check_ready("get_input_grads")
        check(
            self.inputs_need_grad,
            "SequentialModule.get_input_grads",
            "the module is bound without them; bind with inputs_need_grad=True",
        )
        return self._modules[0].get_input_grads(merge_multi_context=merge_multi_context)

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        self._check_ready("update_metric")
        for module, meta in zip(self._modules, self._metas, strict=True):
            if meta.get(self.META_TAKE_LABELS):
                module.update_metric(eval_metric, labels, pre_sliced)

    def install_monitor(self, mon: Any) -> None:
        for module in self._some("install_monitor"):
            module.install_monitor(mon)


def _named(name: str, described: Any) -> DataDesc:
    if isinstance(described, DataDesc):
        return DataDesc(name, described.shape, described.dtype, described.layout)
    return DataDesc(name, described[1])
