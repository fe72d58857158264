"""A symbol with parameters on contexts, and an optimizer that moves them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from tigon import initializer as initializers
from tigon import nd
from tigon import optimizer as optimizers
from tigon.base import TigonError, check
from tigon.base.files import AnyPath, write_file
from tigon.context import check_contexts, cpu, current_context
from tigon.initializer import InitDesc
from tigon.io import DataDesc
from tigon.kvstore.kvstore import KVStore, chosen, load_states
from tigon.module.base_module import ONE_BY_ONE, UNIFORM, BaseModule
from tigon.module.executor_group import DataParallelExecutorGroup
from tigon.module.files import by_kind, load_checkpoint, params_file, states_file, symbol_file
from tigon.module.shapes import described, of_samples, of_shapes
from tigon.module.steps import update_params
from tigon.module.whole_step import OWN, WholeSteps, obstacle
from tigon.runtime import counters
from tigon.sym import Symbol


class Module(BaseModule):
    """A symbol that is trained, on one context or on several.

    >>> from tigon import io, sym
    >>> fc = sym.FullyConnected(sym.var("data"), num_hidden=1, name="fc")
    >>> module = Module(sym.LinearRegressionOutput(fc, sym.var("y")), label_names=["y"])
    >>> batches = io.NDArrayIter(nd.array([[1, 2], [3, 4]]), nd.array([1, 2]), 2, label_name="y")
    >>> rate = {"learning_rate": 0.1}
    >>> module.fit(batches, num_epoch=20, optimizer_params=rate, eval_metric="mse")
    >>> module.predict(batches).asnumpy().round(1).tolist()
    [[1.0], [2.0]]

    Parameters
    ----------
    symbol : what is computed
    data_names, label_names : which of its variables are data and labels of batches; None: none.
        The others are parameters
    logger : whose `info` and `warning` are told what happens
    context : where it runs; a list of several cuts every batch. None: the present context
    work_load_list : how much each context computes, in proportion
    fixed_param_names : parameters that keep their values
    state_names : variables that are neither data nor parameters: `set_states` sets them
    group2ctxs : contexts of the groups of `AttrScope(ctx_group=...)`
    compression_params : how gradients are compressed between contexts, as
        `KVStore.set_gradient_compression` takes it
    """

    def __init__(
        self,
        symbol: Any,
        data_names: Sequence[str] | None = ("data",),
        label_names: Sequence[str] | None = ("softmax_label",),
        logger: Any = logging,
        context: Any = None,
        work_load_list: Sequence[float] | None = None,
        fixed_param_names: Sequence[str] | None = None,
        state_names: Sequence[str] | None = None,
        group2ctxs: Any = None,
        compression_params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(logger)
        given = current_context() if context is None else context
        self._context = check_contexts("Module", given)
        self._work_load_list = (
            [1] * len(self._context) if work_load_list is None else work_load_list
        )
        check(
            len(self._work_load_list) == len(self._context),
            "Module",
            f"work_load_list: expected {len(self._context)} numbers, one per context; given "
            f"{len(self._work_load_list)}",
        )
        self._group2ctxs = group2ctxs
        check(
            isinstance(symbol, Symbol),
            "Module",
            f"symbol: expected a Symbol; given {type(symbol).__name__}; a Gluon network is trained "
            "by gluon.Trainer, or exported first",
        )
        self._symbol = symbol
        self._data_names = list(data_names or ())
        self._label_names = list(label_names or ())
        self._state_names = list(state_names or ())
        self._fixed_param_names = list(fixed_param_names or ())
        inputs = {*self._data_names, *self._label_names, *self._state_names}
        arguments = symbol.list_arguments()
        self._param_names = [name for name in arguments if name not in inputs]
        for what, names in (
            ("data_names", self._data_names),
            ("state_names", self._state_names),
            ("fixed_param_names", self._fixed_param_names),
        ):
            unknown = [name for name in names if name not in arguments]
            check(not unknown, "Module", _no_argument(what, unknown, arguments))
        unknown = [name for name in self._label_names if name not in arguments]
        if unknown:
            self.logger.warning("Module: %s", _no_argument("label_names", unknown, arguments))
        self._aux_names = symbol.list_auxiliary_states()
        self._output_names = symbol.list_outputs()
        self._arg_params: dict[str, Any] | None = None
        self._aux_params: dict[str, Any] | None = None
        self._params_dirty = False
        self._compression_params = compression_params
        self._preload_opt_states: str | None = None
        self._forget_optimizer()
        self._unbind()

    def _forget_optimizer(self) -> None:
        self._whole: WholeSteps | None = None
        self._reasons: set[str] = set()
        self.optimizer_initialized = False
        self._optimizer: Any = None
        self._kvstore: Any = None
        self._update_on_kvstore = False
        self._updater: Any = None

    def _unbind(self) -> None:
        self.binded = False
        self._exec_group: Any = None
        self._data_shapes: list[Any] = []
        self._label_shapes: list[Any] | None = None

    # -- files

    @staticmethod
    def load(
        prefix: AnyPath, epoch: int, load_optimizer_states: bool = False, **kwargs: Any
    ) -> Module:
        """A module of a checkpoint. `bind` gives it the parameters, `init_optimizer` the states of
        the optimizer, if these are asked for. Further arguments are those of `Module`."""
        symbol, arguments, states = load_checkpoint(prefix, epoch)
        module = Module(symbol, **kwargs)
        _check_file(module, arguments, states, params_file(prefix, epoch))
        module._arg_params, module._aux_params = arguments, states
        module.params_initialized = True
        if load_optimizer_states:
            module._preload_opt_states = states_file(prefix, epoch)
        return module

    def save_checkpoint(
        self,
        prefix: AnyPath,
        epoch: int,
        save_optimizer_states: bool = False,
        remove_amp_cast: bool = True,
    ) -> None:
        """Write `prefix-symbol.json`, `prefix-0001.params` of epoch 1, and `prefix-0001.states`."""
        self._check_ready("save_checkpoint", optimizer=save_optimizer_states)
        self._symbol.save(symbol_file(prefix), remove_amp_cast=remove_amp_cast)
        self.save_params(params_file(prefix, epoch))
        if save_optimizer_states:
            self.save_optimizer_states(states_file(prefix, epoch))

    def save_optimizer_states(self, fname: AnyPath) -> None:
        """Write the states of the optimizer."""
        self._check_ready("save_optimizer_states", optimizer=True)
        if self._update_on_kvstore:
            self._kvstore.save_optimizer_states(fname)
        else:
            write_file(fname, self._updater.get_states())

    def load_optimizer_states(self, fname: AnyPath) -> None:
        """Read what `save_optimizer_states` wrote, here or in MXNet."""
        self._check_ready("load_optimizer_states", optimizer=True)
        if self._update_on_kvstore:
            self._kvstore.load_optimizer_states(fname)
            return
        contexts = len(self._context)
        weights = {
            number * contexts + context: array
            for number, own in enumerate(self._exec_group.param_arrays)
            for context, array in enumerate(own)
        }
        load_states(self._updater, fname, weights)

    # -- what it is

    @property
    def data_names(self) -> list[str]:
        return self._data_names

    @property
    def label_names(self) -> list[str]:
        """The names of the labels of a batch."""
        return self._label_names

    @property
    def output_names(self) -> list[str]:
        return self._output_names

    @property
    def data_shapes(self) -> list[Any]:
        self._check_bound("data_shapes")
        return self._data_shapes

    @property
    def label_shapes(self) -> list[Any] | None:
        self._check_bound("label_shapes")
        return self._label_shapes

    @property
    def output_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        self._check_bound("output_shapes")
        given = {one.name: one.shape for one in (*self._data_shapes, *(self._label_shapes or ()))}
        arguments = self._symbol.list_arguments()
        known = {name: shape for name, shape in given.items() if name in arguments}
        _, shapes, _ = self._symbol.infer_shape(**known)
        return list(zip(self._output_names, shapes, strict=True))

    def _output_axes(self, count: int) -> list[int]:
        return list(self._exec_group.output_layouts)

    # -- parameters

    def get_params(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arguments and auxiliary states by name: copies on the host, the same arrays each time."""
        self._check_ready("get_params")
        self._sync_params()
        assert self._arg_params is not None and self._aux_params is not None
        return self._arg_params, self._aux_params

    def _sync_params(self) -> None:
        if not self._params_dirty or self._arg_params is None or self._aux_params is None:
            return
        self._exec_group.get_params(self._arg_params, self._aux_params)
        self._params_dirty = False

    def init_params(
        self,
        initializer: Any = UNIFORM,
        arg_params: Mapping[str, Any] | None = None,
        aux_params: Mapping[str, Any] | None = None,
        allow_missing: bool = False,
        force_init: bool = False,
        allow_extra: bool = False,
    ) -> None:
        """Give all parameters their first values; nothing happens where they have some, unless
        forced.

        Parameters
        ----------
        initializer : fills those that are not given; None: they keep what they have
        arg_params, aux_params : values by name
        allow_missing : whether some may be missing there; if not, that is an error
        force_init : whether parameters that have values get new ones
        allow_extra : whether there may be names that the module does not have; if not, the logger
            is warned of them
        """
        if self.params_initialized and not force_init:
            if arg_params is not None or aux_params is not None:
                self._keeps_params("init_params")
            return
        self._check_bound("init_params", "call bind before initializing the parameters")
        if initializer is not None:
            initializer = initializers.create(initializer)
        if self.params_initialized:
            self._sync_params()
        arg_params, aux_params = by_kind(arg_params, aux_params, self._aux_names)
        group, attributes = self._exec_group, self._symbol.attr_dict()
        made: list[dict[str, Any]] = []
        for names, arrays, old, given in (
            (self._param_names, group.param_arrays, self._arg_params, arg_params),
            (self._aux_names, group.aux_arrays, self._aux_params, aux_params),
        ):
            values = {}
            for name, own in zip(names, arrays, strict=True):
                values[name] = target = nd.zeros(own[0].shape, ctx=cpu(), dtype=own[0].dtype)
                if old is not None and name in old:
                    old[name].copyto(target)
                elif initializer is None:
                    own[0].copyto(target)
                if given is not None and name in given:
                    _copy(self._where, name, given[name], target)
                    continue
                if given is not None and not allow_missing:
                    raise RuntimeError(
                        f"{self._where}.init_params: '{name}' is missing among the given "
                        f"parameters, which are {', '.join(sorted(given)) or 'none'}; give it, or "
                        "pass allow_missing=True"
                    )
                if initializer is not None:
                    initializer(InitDesc(name, attributes.get(name)), target)
            made.append(values)
        self._report_extra("init_params", arg_params, aux_params, allow_extra)
        # Arrays that were handed out stay those of the module.
        self._arg_params = _take_over(self._arg_params, made[0])
        self._aux_params = _take_over(self._aux_params, made[1])
        self.params_initialized = True
        self._params_dirty = False
        self._hand_out_params()

    def _hand_out_params(self) -> None:
        """Give the parameters to all contexts, and to a store that would bring back its own with
        the next update. What several ranks have is for all of them to say, by `init_optimizer`."""
        self._exec_group.set_params(self._arg_params, self._aux_params)
        store = self._kvstore
        if self._update_on_kvstore and isinstance(store, KVStore) and store.num_workers == 1:
            assert self._arg_params is not None
            names = [name for name in self._param_names if name in store]
            store.assign(names, [self._arg_params[name] for name in names])

    def _report_extra(
        self,
        method: str,
        arg_params: Mapping[str, Any] | None,
        aux_params: Mapping[str, Any] | None,
        allow_extra: bool,
    ) -> None:
        extra = [name for name in arg_params or () if name not in self._param_names]
        extra += [name for name in aux_params or () if name not in self._aux_names]
        if extra and not allow_extra:
            self.logger.warning(
                "%s.%s: the module has no parameters %s, which are left out; pass allow_extra=True "
                "if that is meant",
                self._where,
                method,
                ", ".join(map(repr, extra)),
            )

    def set_params(
        self,
        arg_params: Mapping[str, Any] | None,
        aux_params: Mapping[str, Any] | None,
        allow_missing: bool = False,
        force_init: bool = True,
        allow_extra: bool = False,
    ) -> None:
        """Give the parameters these values. Those that are missing keep theirs under
        `allow_missing`, and are an error otherwise. With `allow_missing`, names that the module
        does not have are an error unless `allow_extra` lets them be."""
        if not allow_missing or self._arg_params is None:
            super().set_params(
                arg_params, aux_params, allow_missing, force_init, allow_extra=allow_extra
            )
            return
        if self.params_initialized and not force_init:
            self._keeps_params("set_params")
            return
        self._check_ready("set_params")
        arg_params, aux_params = by_kind(arg_params, aux_params, self._aux_names)
        if not allow_extra:
            for given, own, what in (
                (arg_params, self._param_names, "parameters"),
                (aux_params, self._aux_names, "auxiliary states"),
            ):
                extra = [name for name in given or () if name not in own]
                if extra:
                    raise ValueError(
                        f"{self._where}.set_params: the module has no {what} "
                        f"{', '.join(map(repr, extra))}; it has: {', '.join(own) or 'none'}; pass "
                        "allow_extra=True to skip them"
                    )
        self._sync_params()
        assert self._aux_params is not None
        for given, values in ((arg_params, self._arg_params), (aux_params, self._aux_params)):
            for name in given or ():
                if name in values:
                    assert given is not None
                    _copy(self._where, name, given[name], values[name])
        self._hand_out_params()
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
        """Make room for batches of these shapes. A module that is bound stays as it is, unless
        forced; then parameters and optimizer stay.

        Parameters
        ----------
        data_shapes, label_shapes : descriptions (`DataDesc`), or (name, shape), of each array of a
            batch; labels may be None, for prediction
        for_training : whether gradients will be asked for
        inputs_need_grad : whether those by the data will be
        force_rebind : whether a module that is bound is bound again
        shared_module : a bound module whose parameters, and their gradients, this one uses
        grad_req : 'write', 'add' or 'null', for all gradients, or by name
        """
        if self._stays_bound(force_rebind):
            return
        check(
            for_training or not inputs_need_grad,
            f"{self._where}.bind",
            "inputs_need_grad asks for gradients, which for_training=False has none of",
        )
        data, labels = self._parsed(data_shapes, label_shapes)
        shared_group = None
        if shared_module is not None:
            check(
                isinstance(shared_module, Module) and shared_module.binded,
                f"{self._where}.bind",
                "shared_module: expected a bound Module with parameters; given "
                f"{type(shared_module).__name__}",
            )
            check(
                len(shared_module._context) == len(self._context),
                f"{self._where}.bind",
                f"shared_module runs on {len(shared_module._context)} contexts; expected "
                f"{len(self._context)}",
            )
            own = (*shared_module._param_names, *shared_module._aux_names)
            lacking = [n for n in (*self._param_names, *self._aux_names) if n not in own]
            check(
                not lacking,
                f"{self._where}.bind",
                f"shared_module has no parameters {', '.join(map(repr, lacking))}; it has: "
                f"{', '.join(own)}; make the module of which others share the largest one, such as "
                "that of default_bucket_key",
            )
            shared_group = shared_module._exec_group
        if self.binded:
            self._sync_params()
        group = DataParallelExecutorGroup(
            self._symbol,
            self._context,
            self._work_load_list,
            data,
            labels,
            self._param_names,
            for_training,
            inputs_need_grad,
            shared_group,
            self.logger,
            self._fixed_param_names,
            grad_req,
            self._state_names,
            self._group2ctxs,
        )
        self._exec_group = group
        self._data_shapes, self._label_shapes = data, labels
        self._grad_req = grad_req
        self.for_training, self.inputs_need_grad = for_training, inputs_need_grad
        self.binded = True
        self._whole = None
        if shared_module is not None and shared_module.params_initialized:
            self.params_initialized = True
            self._arg_params = shared_module._arg_params
            self._aux_params = shared_module._aux_params
        elif self.params_initialized:  # loaded, or bound before
            group.set_params(self._arg_params, self._aux_params)
        if shared_module is not None and shared_module.optimizer_initialized:
            self.borrow_optimizer(shared_module)

    def _parsed(
        self, data_shapes: Sequence[Any], label_shapes: Sequence[Any] | None
    ) -> tuple[list[DataDesc], list[DataDesc] | None]:
        where = f"{self._where}.bind"
        data = described(where, "data_shapes", data_shapes)
        names = [one.name for one in data]
        check(
            sorted(names) == sorted(self._data_names),
            where,
            f"data_shapes: expected {', '.join(self._data_names) or 'none'}, the data_names of the "
            f"module; given {', '.join(names) or 'none'}",
        )
        if not label_shapes:
            return data, None
        labels = described(where, "label_shapes", label_shapes)
        names = [one.name for one in labels]
        if sorted(names) != sorted(self._label_names):
            arguments = self._symbol.list_arguments()
            wanted = [name for name in self._label_names if name in arguments]
            check(
                not [name for name in wanted if name not in names],
                where,
                f"label_shapes: expected {', '.join(wanted)}, the label_names of the module; given "
                f"{', '.join(names)}; give the iterator label_name={wanted[0] if wanted else ''!r},"
                " or the module other label_names",
            )
            self.logger.warning(
                "%s: label_shapes: expected %s, the label_names of the module; given %s",
                where,
                ", ".join(self._label_names) or "none",
                ", ".join(names),
            )
        return data, labels

    def reshape(
        self, data_shapes: Sequence[Any], label_shapes: Sequence[Any] | None = None
    ) -> None:
        """Bind to other shapes; parameters, gradients and the optimizer stay."""
        self._check_bound("reshape")
        data, labels = self._parsed(data_shapes, label_shapes)
        self._exec_group.reshape(data, labels)
        self._data_shapes, self._label_shapes = data, labels

    # -- the optimizer

    def init_optimizer(
        self,
        kvstore: Any = "local",
        optimizer: Any = "sgd",
        optimizer_params: Any = (("learning_rate", 0.01),),
        force_init: bool = False,
    ) -> None:
        """Make the optimizer. One that is there stays, unless forced.

        Parameters
        ----------
        kvstore : where gradients of several contexts meet: 'local', 'device', a store, or None; of
            several ranks: 'dist_sync'
        optimizer : an optimizer, or its name
        optimizer_params : what one that is named is made with. Gradients are divided by the batch
            size unless `rescale_grad` is among it
        force_init : whether an optimizer that is there is made anew
        """
        self._check_ready("init_optimizer")
        if self._keeps_optimizer(force_init):
            return
        if self._params_dirty:
            self._sync_params()
        sizes = max(
            (array.size for own in self._exec_group.param_arrays for array in own), default=0
        )
        store, on_store = chosen(kvstore, len(self._context), sizes)
        scale = 1.0 / self._exec_group.batch_size if self._exec_group.batch_size else 1.0
        if store is not None and "dist" in store.type:
            scale /= store.num_workers
        names = self._numbered(on_store)
        if isinstance(optimizer, optimizers.Optimizer):
            if optimizer.rescale_grad != scale:
                self.logger.warning(
                    "%s.init_optimizer: the optimizer was made with rescale_grad=%s, where %s "
                    "would divide by the batch size; is that meant?",
                    self._where,
                    optimizer.rescale_grad,
                    scale,
                )
            if not optimizer.idx2name:
                optimizer.idx2name = names
        else:
            fields = dict(optimizer_params)
            fields.setdefault("rescale_grad", scale)
            optimizer = optimizers.create(
                optimizer, sym=self._symbol, param_idx2name=names, **fields
            )
        if store is not None:
            if self._compression_params:
                store.set_gradient_compression(self._compression_params)
            if on_store:
                store.set_optimizer(optimizer)
            self._fill_store(store, on_store)
        self._optimizer, self._kvstore, self._update_on_kvstore = optimizer, store, on_store
        self._updater = None if on_store else optimizers.get_updater(optimizer)
        self.optimizer_initialized = True
        if self._preload_opt_states is not None:
            try:
                self.load_optimizer_states(self._preload_opt_states)
            except BaseException:
                self._forget_optimizer()
                raise
            self._preload_opt_states = None

    def _numbered(self, on_store: bool) -> dict[int, str]:
        """The names of what an updater is told of by number."""
        count = 1 if on_store else len(self._context)
        return {
            index * count + number: name
            for index, name in enumerate(self._param_names)
            for number in range(count)
        }

    def _fill_store(self, store: Any, on_store: bool) -> None:
        """Let a store begin with the parameters."""
        group = self._exec_group
        assert self._arg_params is not None
        if not isinstance(store, KVStore):
            for name, arrays in zip(self._param_names, group.param_arrays, strict=True):
                store.broadcast(name, self._arg_params[name], out=arrays)
            return
        known = [name for name in self._param_names if name in store]
        fresh = [name for name in self._param_names if name not in store]
        for fill, names in ((store.assign, known), (store.init, fresh)):
            if names:
                fill(names, [self._arg_params[name] for name in names])
        if on_store or store.num_workers > 1:  # of several ranks they are those of the first
            store.pull(self._param_names, group.param_arrays)
            self._params_dirty = self._params_dirty or store.num_workers > 1

    def borrow_optimizer(self, shared_module: Any) -> None:
        """Use the optimizer of another module, with its states."""
        check(
            shared_module.optimizer_initialized,
            f"{self._where}.borrow_optimizer",
            "the other module has no optimizer; call its init_optimizer first",
        )
        self._optimizer = shared_module._optimizer
        self._kvstore = shared_module._kvstore
        self._update_on_kvstore = shared_module._update_on_kvstore
        self._updater = shared_module._updater
        self.optimizer_initialized = True

    def _optimizing(self) -> list[Any]:
        return [self]

    # -- running

    def _follow_shapes(self, batch: Any) -> None:
        """Bind to the shapes of a batch, where these are others."""
        one = batch[0] if isinstance(batch, list) else batch
        if isinstance(batch, list):
            return  # every context has its own
        shapes = [tuple(array.shape) for array in one.data]
        if shapes == [described.shape for described in self._data_shapes]:
            return
        check(
            len(shapes) == len(self._data_shapes),
            f"{self._where}.forward",
            f"the batch has {len(shapes)} arrays of data; expected {len(self._data_shapes)}: "
            f"{', '.join(self._data_names)}",
        )
        data = getattr(one, "provide_data", None) or of_shapes(self._data_shapes, shapes)
        labels = getattr(one, "provide_label", None)
        given = getattr(one, "label", None)
        if not labels and self._label_shapes is not None:
            if given:
                labels = of_shapes(self._label_shapes, [tuple(one.shape) for one in given])
            else:  # as many labels as there are samples
                labels = self._resized(data)
        try:
            self.reshape(data, labels)
        except TigonError as error:
            raise TigonError(
                f"{self._where}.forward: a batch of data of shape {', '.join(map(str, shapes))} "
                f"does not go with parameters that were made for "
                f"{', '.join(str(described.shape) for described in self._data_shapes)}: {error}"
            ) from None

    def _resized(self, data: Sequence[Any]) -> list[DataDesc]:
        """The labels' descriptions for as many samples as this data has."""
        first = described(f"{self._where}.forward", "provide_data", data)[0]
        size = first.shape[max(DataDesc.get_batch_axis(first.layout), 0)]
        return [of_samples(one, size) for one in self._label_shapes or ()]

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """Compute the outputs of a batch. One of other shapes than bound binds the module to these.

        Parameters
        ----------
        data_batch : a `DataBatch`, or, for several contexts, a list of one for each
        is_train : whether to compute as in training; None: as bound
        """
        self._check_ready("forward")
        self._follow_shapes(data_batch)
        self._exec_group.forward(data_batch, is_train)

    def backward(self, out_grads: Any = None) -> None:
        """Compute the gradients of what `forward` has computed. `out_grads` are those of the
        outputs; they may be missing where all outputs are losses."""
        self._check_ready("backward")
        self._exec_group.backward(out_grads=out_grads)

    def update(self) -> None:
        """Move the parameters by the gradients."""
        self._check_ready("update", optimizer=True)
        self._params_dirty = True
        update_params(self)

    def _step(self, data_batch: Any, eval_metric: Any, monitor: Any) -> None:
        """One program where nothing stands in its way."""
        counted = self._step_whole(data_batch, eval_metric)
        if counted is None:
            super()._step(data_batch, eval_metric, monitor)
        elif not counted:
            self.update_metric(eval_metric, data_batch.label)

    def _step_whole(self, batch: Any, eval_metric: Any) -> bool | None:
        """Whether the metric was part of the program; None where the step is to be made."""
        if isinstance(batch, list):
            return None
        self._follow_shapes(batch)
        steps, reason = self._whole, None
        if any(map(vars(self).__contains__, OWN)) or steps is None or not steps.serves(self):
            reason = obstacle(self, Module)
            steps = self._whole = None if reason else WholeSteps(self)
        elif self._exec_group.gradients_read:
            reason = "gradients are read"
        if reason is None and self._exec_group.execs[0]._monitor is not None:
            reason = "a monitor looks"
        if reason is None:
            assert steps is not None
            self._params_dirty = True
            return steps.run(batch, eval_metric)
        counters.count("steps_apart")
        if reason not in self._reasons:
            self._reasons.add(reason)
            self.logger.info("%s.fit: steps are not one program: %s", self._where, reason)
        return None

    def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
        """The outputs of the last `forward`; with `merge_multi_context=False`, for each a list of
        those of each context."""
        self._check_ready("get_outputs")
        return self._exec_group.get_outputs(merge_multi_context=merge_multi_context)

    def get_input_grads(self, merge_multi_context: bool = True) -> list[Any]:
        """The gradients by the data, of a module bound with `inputs_need_grad=True`."""
        self._check_ready("get_input_grads")
        return self._exec_group.get_input_grads(merge_multi_context=merge_multi_context)

    def get_states(self, merge_multi_context: bool = True) -> list[Any]:
        """The states; `merge_multi_context=False` gives for each a list of those of each
        context."""
        self._check_ready("get_states")
        check(not merge_multi_context, f"{self._where}.get_states", ONE_BY_ONE)
        return self._exec_group.get_states(merge_multi_context=False)

    def set_states(self, states: Any = None, value: Any = None) -> None:
        """Give the states these arrays' values (as `get_states` gives them), or all one number."""
        self._check_ready("set_states")
        self._exec_group.set_states(states, value)

    def update_metric(self, eval_metric: Any, labels: Any, pre_sliced: bool = False) -> None:
        """Add the last outputs and their labels to a metric. `pre_sliced`: labels come as one list
        for each context."""
        self._check_ready("update_metric")
        self._exec_group.update_metric(eval_metric, labels, pre_sliced)

    def install_monitor(self, mon: Any) -> None:
        """Let a monitor see what is computed."""
        self._check_bound("install_monitor")
        self._exec_group.install_monitor(mon)


def _no_argument(what: str, unknown: Sequence[str], arguments: Sequence[str]) -> str:
    return (
        f"{what}: the symbol has no argument {', '.join(map(repr, unknown))}; its arguments are "
        f"{', '.join(arguments)}"
    )


def _copy(where: str, name: str, given: Any, target: Any) -> None:
    array = given if isinstance(given, nd.NDArray) else nd.array(given)
    check(
        array.shape == target.shape,
        f"{where}.init_params",
        f"'{name}': expected shape {target.shape}; given {array.shape}; does the checkpoint belong "
        "to this symbol?",
    )
    if array is not target:
        array.astype(target.dtype, copy=False).copyto(target)


def _take_over(old: dict[str, Any] | None, made: dict[str, Any]) -> dict[str, Any]:
    """Put new values into the arrays that are there."""
    if old is None or any(
        name not in old or old[name].shape != array.shape or old[name].dtype != array.dtype
        for name, array in made.items()
    ):
        return made
    for name, array in made.items():
        array.copyto(old[name])
    return old


def _check_file(
    module: Module, arguments: Mapping[str, Any], states: Mapping[str, Any], source: str
) -> None:
    missing = [name for name in module._param_names if name not in arguments]
    missing += [name for name in module._aux_names if name not in states]
    check(
        not missing,
        "Module.load",
        f"{source} has no values of {', '.join(map(repr, missing))}, which the symbol of the "
        "checkpoint needs; are the two files of one network? Are all labels in label_names?",
    )
