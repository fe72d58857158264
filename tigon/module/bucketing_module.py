"""A symbol for each kind of batch, such as sentences of one length, over the same parameters."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tigon import nd, sym
from tigon.base import check
from tigon.base.files import AnyPath
from tigon.module.base_module import UNIFORM, BaseModule
from tigon.module.files import params_file, read_params
from tigon.module.module import Module
from tigon.module.whole_step import OWN

SymGen = Callable[[Any], tuple[Any, Sequence[str], Sequence[str]]]


class BucketingModule(BaseModule):
    """A module for each bucket: `sym_gen(key)` gives its (symbol, data_names, label_names), and a
    batch says its `bucket_key`. All use the parameters, gradients and states of the optimizer of
    the default one, and the memory of what is computed in between.

    Parameters
    ----------
    sym_gen : the function
    default_bucket_key : the key of the bucket that has all parameters
    logger, context, work_load_list, fixed_param_names, state_names, group2ctxs,
    compression_params : as `Module` takes them
    """

    def __init__(
        self,
        sym_gen: SymGen,
        default_bucket_key: Any = None,
        logger: Any = logging,
        context: Any = None,
        work_load_list: Sequence[float] | None = None,
        fixed_param_names: Sequence[str] | None = None,
        state_names: Sequence[str] | None = None,
        group2ctxs: Any = None,
        compression_params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(logger)
        check(
            default_bucket_key is not None,
            "BucketingModule",
            "default_bucket_key is missing; give the key of the bucket that has all parameters, "
            "such as the longest length",
        )
        self._sym_gen = sym_gen
        self._default_bucket_key = default_bucket_key
        self._options = {
            "logger": logger,
            "context": context,
            "work_load_list": work_load_list,
            "fixed_param_names": fixed_param_names,
            "state_names": state_names,
            "group2ctxs": group2ctxs,
            "compression_params": compression_params,
        }
        self._generated: dict[Any, tuple[Any, Sequence[str], Sequence[str]]] = {}
        self._module(default_bucket_key)  # so that wrong names are told now
        self._unbind()
        self._loaded: tuple[dict[str, Any], dict[str, Any]] | None = None

    def _unbind(self) -> None:
        self.binded = False
        self._buckets: dict[Any, Module] = {}
        self._curr_module: Any = None
        self._curr_bucket_key: Any = None
        self._monitor: Any = None
        self._params_dirty = False

    def _symbol_of(self, key: Any) -> tuple[Any, Sequence[str], Sequence[str]]:
        if key not in self._generated:
            made = self._sym_gen(key)
            check(
                isinstance(made, (list, tuple)) and len(made) == 3,
                "BucketingModule",
                f"sym_gen({key!r}): expected (symbol, data_names, label_names); given "
                f"{type(made).__name__}",
            )
            self._generated[key] = tuple(made)
        return self._generated[key]

    def _module(self, key: Any) -> Module:
        symbol, data_names, label_names = self._symbol_of(key)
        options: dict[str, Any] = dict(self._options)
        fixed = options["fixed_param_names"]
        if fixed is not None:  # a bucket need not have all
            known = symbol.list_arguments()
            options["fixed_param_names"] = [name for name in fixed if name in known]
        return Module(symbol, data_names, label_names, **options)

    # -- what it is

    @property
    def _default(self) -> Module:
        return self._buckets[self._default_bucket_key]

    def _current(self, method: str) -> Any:
        self._check_bound(method)
        return self._curr_module

    @property
    def data_names(self) -> list[str]:
        if self.binded:
            return self._curr_module.data_names
        return self._symbol_of(self._default_bucket_key)[1]  # type: ignore[return-value]

    @property
    def output_names(self) -> list[str]:
        if self.binded:
            return self._curr_module.output_names
        return self._symbol_of(self._default_bucket_key)[0].list_outputs()

    @property
    def data_shapes(self) -> list[Any]:
        return self._current("data_shapes").data_shapes

    @property
    def label_shapes(self) -> list[Any] | None:
        return self._current("label_shapes").label_shapes

    @property
    def output_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        return self._current("output_shapes").output_shapes

    @property
    def symbol(self) -> Any:
        return self._current("symbol").symbol

    def _output_axes(self, count: int) -> list[int]:
        return self._curr_module._output_axes(count)

    # -- parameters

    def get_params(self) -> tuple[dict[str, Any], dict[str, Any]]:
        self._check_ready("get_params")
        self._tell_default()
        return self._default.get_params()

    def init_params(
        self,
        initializer: Any = UNIFORM,
        arg_params: Mapping[str, Any] | None = None,
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_init: bool = False,
        allow_extra: bool = False,
    ) -> None:
        """As `Module.init_params`, of the default bucket, whose parameters all use."""
        if self.params_initialized and not force_init:
            return
        self._check_bound("init_params")
        self._tell_default()
        if arg_params is None and aux_params is None and self._loaded is not None:
            arg_params, aux_params = self._loaded
        self._default.init_params(
            initializer, arg_params, aux_params, allow_missing, force_init, allow_extra
        )
        self.params_initialized = True

    def set_params(
        self,
        arg_params: Mapping[str, Any] | None,
        aux_params: Mapping[str, Any] | None,
        allow_missing: bool = False,
        force_init: bool = True,
        allow_extra: bool = False,
    ) -> None:
        """As `Module.set_params`."""
        self._check_bound("set_params")
        self._tell_default()
        self._default.set_params(arg_params, aux_params, allow_missing, force_init, allow_extra)
        self.params_initialized = True

    def _tell_default(self) -> None:
        """That parameters have moved, in whichever bucket."""
        default = self._default
        default._params_dirty = default._params_dirty or self._params_dirty
        self._params_dirty = False

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
        """As `Module.bind`, of the default bucket; others are bound when their first batch
        comes."""
        check(
            shared_module is None,
            "BucketingModule.bind",
            "shared_module is not taken: the buckets share among themselves",
        )
        params = self.get_params() if self.params_initialized and self.binded else self._loaded
        if force_rebind:
            self._unbind()
        if self._stays_bound(False):
            return
        self.for_training, self.inputs_need_grad = for_training, inputs_need_grad
        self._grad_req = grad_req
        module = self._module(self._default_bucket_key)
        module.bind(data_shapes, label_shapes, for_training, inputs_need_grad, grad_req=grad_req)
        self._curr_module, self._curr_bucket_key = module, self._default_bucket_key
        self._buckets[self._default_bucket_key] = module
        self.binded = True
        if self.params_initialized and params is not None:
            self.set_params(*params)

    def switch_bucket(
        self, bucket_key: Any, data_shapes: Sequence[Any], label_shapes: Any = None
    ) -> None:
        """Make a bucket the present one; it is bound if need be."""
        self._check_bound("switch_bucket")
        if bucket_key not in self._buckets:
            module = self._module(bucket_key)
            module.bind(
                data_shapes,
                label_shapes,
                self.for_training,
                self.inputs_need_grad,
                shared_module=self._default,
                grad_req=self._grad_req,
            )
            if self._monitor is not None:
                module.install_monitor(self._monitor)
            self._buckets[bucket_key] = module
        self._curr_module, self._curr_bucket_key = self._buckets[bucket_key], bucket_key
        default = self._default
        if default.optimizer_initialized and self._curr_module._optimizer is not default._optimizer:
            self._curr_module.borrow_optimizer(default)

    def _follow(self, batch: Any) -> Any:
        """The module of a batch."""
        one = batch[0] if isinstance(batch, list) else batch
        key = getattr(one, "bucket_key", None)
        if key is None:
            key = self._default_bucket_key
        if key in self._buckets and self._curr_bucket_key == key:
            return self._curr_module
        shapes = getattr(one, "provide_data", None)
        check(
            shapes or key in self._buckets,
            "BucketingModule.forward",
            f"the batch of bucket {key!r} does not describe its data; give provide_data and "
            "provide_label",
        )
        self.switch_bucket(key, shapes or [], getattr(one, "provide_label", None))
        return self._curr_module

    def _enter(self, batch: Any) -> Any:
        """The module of a batch, which takes over the memory of the one before."""
        before = self._curr_module
        module = self._follow(batch)
        if module is not before:
            before._exec_group.release()
        return module

    def init_optimizer(
        self,
        kvstore: Any = "local",
        optimizer: Any = "sgd",
        optimizer_params: Any = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:
        """As `Module.init_optimizer`; one optimizer moves the parameters for all buckets."""
        self._check_ready("init_optimizer")
        self._tell_default()
        self._default.init_optimizer(kvstore, optimizer, optimizer_params, force_init)
        for module in self._buckets.values():
            if module is not self._default:
                module.borrow_optimizer(self._default)
        self.optimizer_initialized = True

    def _optimizing(self) -> list[Any]:
        return [self._default]

    # -- running

    def prepare(self, data_batch: Any, sparse_row_id_fn: Any = None) -> None:
        """Bind the bucket of the batch that comes next, and stay in this one."""
        self._check_ready("prepare")
        super().prepare(data_batch, sparse_row_id_fn)
        present = self._curr_module, self._curr_bucket_key
        self._follow(data_batch)
        self._curr_module, self._curr_bucket_key = present

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """As `Module.forward`, in the bucket of the batch; without a `bucket_key` that is the
        default one."""
        self._check_ready("forward")
        self._enter(data_batch).forward(data_batch, is_train=is_train)

    def backward(self, out_grads: Any = None) -> None:
        """As `Module.backward`."""
        self._check_ready("backward")
        self._curr_module.backward(out_grads=out_grads)

    def update(self) -> None:
        """As `Module.update`."""
        self._check_ready("update", optimizer=True)
        self._params_dirty = True
        self._curr_module.update()

    def _step(self, data_batch: Any, eval_metric: Any, monitor: Any) -> None:
        """That of the bucket, unless the module has methods of its own."""
        own = vars(self)
        changed = [
            name
            for name in OWN
            if name in own or getattr(type(self), name) is not getattr(BucketingModule, name)
        ]
        if changed:
            super()._step(data_batch, eval_metric, monitor)
            return
        self._params_dirty = True
        self._enter(data_batch)._step(data_batch, eval_metric, monitor)

    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        self._check_ready("get_outputs")
        return self._curr_module.get_outputs(merge_multi_context=merge_multi_context)

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        self._check_ready("get_input_grads")
        return self._curr_module.get_input_grads(merge_multi_context=merge_multi_context)

    def get_states(self, merge_multi_context: bool = True) -> list[Any]:
        self._check_ready("get_states")
        return self._curr_module.get_states(merge_multi_context=merge_multi_context)

    def set_states(self, states: Any = None, value: Any = None) -> None:
        self._check_ready("set_states")
        self._curr_module.set_states(states, value)

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        self._check_ready("update_metric")
        self._curr_module.update_metric(eval_metric, labels, pre_sliced)

    def install_monitor(self, mon: Any) -> None:
        """As `Module.install_monitor`, in all buckets."""
        self._check_bound("install_monitor")
        self._monitor = mon
        for module in self._buckets.values():
            module.install_monitor(mon)

    # -- another one like it

    def _with_symbols(
        self,
        convert: Callable[[Any, Collection[str]], Any],
        fit: Callable[[Any, Mapping[str, Any]], dict[str, Any]],
    ) -> BucketingModule:
        """A module of the same buckets, whose symbols are made by `convert(symbol, names of
        parameters)`, and the parameters fitted to that of the default one."""
        arguments, states = self.get_params() if self.binded else self._loaded or ({}, {})
        known = {*arguments, *states}

        def generate(key: Any) -> tuple[Any, Sequence[str], Sequence[str]]:
            symbol, data_names, label_names = self._symbol_of(key)
            return convert(symbol, known), data_names, label_names

        made = BucketingModule(generate, self._default_bucket_key, **self._options)
        symbol = made._symbol_of(self._default_bucket_key)[0]
        made._loaded = fit(symbol, arguments), dict(states)
        made.params_initialized = True
        return made

    # -- files

    def save_checkpoint(self, prefix: AnyPath, epoch: int, remove_amp_cast: bool = False) -> None:
        """Write the symbol of each bucket that was met (`prefix-<key>-symbol.json`), their keys
        (`prefix.buckets`) and the parameters (`prefix-0001.params`). Keys are whole numbers."""
        self._check_ready("save_checkpoint")
        stem = os.fsdecode(prefix)
        others = [key for key in self._buckets if not isinstance(key, (int, np.integer))]
        check(
            not others,
            "BucketingModule.save_checkpoint",
            f"expected whole numbers as keys of buckets; given {others[0] if others else ''!r}; "
            "use save_params, and the sym_gen of the program to load",
        )
        for key, module in self._buckets.items():
            module.symbol.save(f"{stem}-{key}-symbol.json", remove_amp_cast=remove_amp_cast)
        nd.save(f"{stem}.buckets", nd.array(np.array(list(self._buckets), np.int32), dtype="int32"))
        self.save_params(params_file(prefix, epoch))

    @staticmethod
    def load(
        prefix: AnyPath,
        epoch: int,
        sym_gen: SymGen | None = None,
        default_bucket_key: Any = None,
        data_names: Sequence[str] = ("data",),
        label_names: Sequence[str] = ("softmax_label",),
        **kwargs: Any,
    ) -> BucketingModule:
        """A module of a checkpoint, which `init_params` gives the parameters.

        Without `sym_gen` the buckets are those that were saved, their data and labels named so.
        `default_bucket_key` is the largest one, if left out; further arguments are those of the
        class."""
        stem = os.fsdecode(prefix)
        params = read_params(params_file(prefix, epoch))
        if sym_gen is None or default_bucket_key is None:
            keys = [int(key) for key in nd.load(f"{stem}.buckets")[0].asnumpy()]
            if default_bucket_key is None:
                default_bucket_key = max(keys)
            symbols = {key: sym.load(f"{stem}-{key}-symbol.json") for key in keys}
            if sym_gen is None:
                sym_gen = _Saved(stem, symbols, data_names, label_names)
        module = BucketingModule(sym_gen, default_bucket_key, **kwargs)
        module._loaded = params
        module.params_initialized = True
        return module


class _Saved:
    """The symbols of a checkpoint."""

    def __init__(
        self,
        stem: str,
        symbols: Mapping[Any, Any],
        data_names: Sequence[str],
        label_names: Sequence[str],
    ) -> None:
        self._stem, self._symbols = stem, symbols
        self._names = list(data_names), list(label_names)

    def __call__(self, key: Any) -> tuple[Any, Sequence[str], Sequence[str]]:
        check(
            key in self._symbols,
            "BucketingModule",
            f"bucket {key!r} was not saved in {self._stem}.buckets, which has "
            f"{', '.join(map(str, sorted(self._symbols)))}; give sym_gen to load",
        )
        return (self._symbols[key], *self._names)
