"""Trainer: applies an optimizer to parameters, all of them in one native call."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from operator import eq
from typing import Any

from tigon import autograd, nd, optimizer
from tigon.base import TigonError, check
from tigon.base.arguments import NamesWrongTypes
from tigon.base.files import AnyPath
from tigon.context import shares_memory
from tigon.gluon import _epoch
from tigon.gluon.parameter import Parameter, ParameterDict
from tigon.gluon.parameter.parameter import zeroings
from tigon.gluon.parameters_section import describe as _describe
from tigon.gluon.store import ThroughStore
from tigon.kvstore.base import KVStoreBase
from tigon.kvstore.compression import compression
from tigon.kvstore.distributed import DistributedKVStore
from tigon.kvstore.kvstore import KVStore, chosen, store_names
from tigon.optimizer import get_updater


class Trainer(NamesWrongTypes):
    """Updates parameters from their gradients.

    >>> from tigon import autograd, nd
    >>> from tigon.gluon import nn
    >>> net = nn.Dense(1, in_units=2, weight_initializer="ones")
    >>> net.initialize()
    >>> trainer = Trainer(net.collect_params(), "sgd", {"learning_rate": 0.5})
    >>> with autograd.record():
    ...     loss = net(nd.ones((1, 2)))
    >>> loss.backward()
    >>> trainer.step(batch_size=1)
    >>> net.weight.data().asnumpy().tolist()
    [[0.5, 0.5]]
    """

    def __init__(
        self,
        params: ParameterDict | Mapping[str, Parameter] | Sequence[Parameter],
        optimizer: str | Any,
        optimizer_params: Mapping[str, Any] | None = None,
        kvstore: Any = "device",
        compression_params: Any = None,
        update_on_kvstore: bool | None = None,
    ) -> None:
        listed = list(params.values()) if isinstance(params, (ParameterDict, Mapping)) else params
        check(
            isinstance(listed, (list, tuple)),
            "Trainer",
            f"expected a ParameterDict or a list of parameters; given {type(params).__name__}; "
            "for a network, give net.collect_params()",
        )
        for param in listed:
            check(
                isinstance(param, Parameter),
                "Trainer",
                f"expected parameters; given {type(param).__name__}; use net.collect_params()",
            )
        known = kvstore is None or isinstance(kvstore, KVStoreBase)
        if not known and isinstance(kvstore, str):
            known = kvstore.lower() in store_names()
        check(
            known,
            "Trainer",
            "kvstore: expected 'device', 'local', 'dist_sync', a store, or None; given "
            f"{kvstore!r:.80}",
        )
        check(
            update_on_kvstore is None or isinstance(update_on_kvstore, bool),
            "Trainer",
            f"update_on_kvstore: expected True, False or None; given {update_on_kvstore!r:.80}",
        )
        if compression_params is not None:
            compression(compression_params)  # so that what is wrong is told now
        # Those that are frozen now may be trained later; their numbers follow, so that files of
        # states do not depend on them.
        self._params: list[Parameter] = sorted(listed, key=lambda param: param.grad_req == "null")
        self._with_rows = [param for param in self._params if param.grad_stype != "default"]
        number = {id(param): index for index, param in enumerate(self._params)}
        named = dict(params.items()) if isinstance(params, (ParameterDict, Mapping)) else None
        in_mxnet = listed if named is None else [named[key] for key in sorted(named)]
        self._from_mxnet = [number[id(param)] for param in in_mxnet]
        """The number of a parameter, by the one that MXNet gives it."""
        fields = dict(optimizer_params or {})
        self._scale = float(fields.get("rescale_grad", 1.0))
        self._optimizer = _create(optimizer, fields)
        self._optimizer.param_dict = dict(enumerate(self._params))
        self._updater = get_updater(self._optimizer)
        self._indices: list[int] = []  # of the parameters that are trained
        self._weights: list[list[Any]] = []  # of each of these, per context
        # Gradients, per context, and the versions that were used last.
        self._seen: tuple[list[list[Any]], list[list[int]]] = ([], [])
        self._zeroings = -1
        self._epoch = -1
        self._kvstore_params = {"kvstore": kvstore, "update_on_kvstore": update_on_kvstore}
        self._compression_params = compression_params
        self._kv_initialized = False
        self._kvstore: Any = None
        self._update_on_kvstore = update_on_kvstore
        self._store: ThroughStore | None = None
        """Where gradients go, unless contexts are added up here."""
        self._amp_initialized = False
        self._amp_loss_scaler: Any = None
        """Of `contrib.amp`: looks for overflows, and `_scale` is divided by its scale meanwhile."""
        self._amp_original_scale = self._scale

    def _init_kvstore(self) -> None:
        """Make the store that was asked for, once. One by name, which nothing else is asked of, has
        nothing to do: what it would is part of the update here."""
        if self._kv_initialized:
            return
        given, wanted = self._kvstore_params["kvstore"], self._kvstore_params["update_on_kvstore"]
        trained = [param for param in self._params if param.grad_req != "null"]
        contexts = len(trained[0].list_ctx()) if trained else 1
        sizes = [param.list_data()[0].size for param in trained]
        store, updates = chosen(given, contexts, max(sizes, default=0))
        check(
            store is not None or not wanted,
            "Trainer",
            f"update_on_kvstore=True asks for a store, and kvstore={given!r} on {contexts} "
            "context(s) makes none; give mx.kv.create('local'), or leave update_on_kvstore out",
        )
        updates = updates if wanted is None else bool(wanted)
        split = [param for param in trained if param.split_axis is not None]
        if split and isinstance(store, DistributedKVStore):
            check(
                not wanted,
                "Trainer",
                f"update_on_kvstore=True: {split[0]._where} is divided among the ranks, and the "
                "store would add it up; leave update_on_kvstore out",
            )
            updates = False
        if store is not None and (
            isinstance(given, KVStoreBase)
            or type(store) is not KVStore
            or wanted
            or self._compression_params
        ):
            self._store = ThroughStore(store, updates, self._optimizer, self._compression_params)
            self._store.left_out = {
                index for index, param in enumerate(self._params) if param.split_axis is not None
            }
            if isinstance(store, DistributedKVStore):
                store.labels = {index: param.name for index, param in enumerate(self._params)}
            if self._store.updater is not None:
                self._updater = self._store.updater
        self._kvstore = store
        self._update_on_kvstore = None if store is None else updates
        self._kv_initialized = True

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle takes over: parameters, optimizer and its states, and of which
        gradients the last step was made."""
        used = [
            (index, [grads[i].version == seen[i] for grads, seen in zip(*self._seen, strict=True)])
            for i, index in enumerate(self._indices if self._weights else ())
        ]
        return {**self.__dict__, "_weights": [], "_seen": used, "_epoch": -1}

    def __setstate__(self, state: dict[str, Any]) -> None:
        used = state.pop("_seen")
        self.__dict__.update(state)
        params = [self._params[index] for index, _ in used]
        grads = _gradients([param.list_data() for param in params]) if params else []
        versions = [
            [
                grad.version if flags[context] else _AS_MADE
                for grad, (_, flags) in zip(own, used, strict=True)
            ]
            for context, own in enumerate(grads)
        ]
        self._seen = (grads, versions)

    # -- rates

    @property
    def optimizer(self) -> Any:
        """The optimizer."""
        return self._optimizer

    @property
    def learning_rate(self) -> float:
        """The present learning rate."""
        return self._optimizer.learning_rate

    def set_learning_rate(self, lr: float) -> None:
        """Change the learning rate from now on."""
        self._optimizer.set_learning_rate(lr)

    # -- steps

    def step(self, batch_size: int, ignore_stale_grad: bool = False) -> None:
        """Update with the gradients' sums over the contexts, divided by `batch_size`.

        A gradient that no `backward` has computed since the last step is an error;
        `ignore_stale_grad` leaves such a parameter as it is, with its states and its count."""
        self._update(batch_size, ignore_stale_grad, summing=True)

    def allreduce_grads(self) -> None:
        """Put each gradient's sum over the contexts in its place; needed only before `update`."""
        store = self._through("allreduce_grads")
        if store is not None:
            self._collect_weights()
            with autograd.pause(), ExitStack() as stack:
                grads = [list(own) for own in zip(*_gradients(self._weights), strict=True)]
                for index, own in zip(self._indices, grads, strict=True):
                    stack.enter_context(self._params[index]._computing_nothing(*own))
                store.sum(self._indices, self._weights, grads)
            return
        for param in self._params:
            if param.grad_req == "null" or param._only is not None or param._arrays is None:
                continue
            grads = param.list_grad()
            with autograd.pause(), param._computing_nothing(*grads):
                total = _summed(grads)
                for grad in grads:
                    grad[...] = total

    def update(self, batch_size: int, ignore_stale_grad: bool = False) -> None:
        """Update without summing first: the gradients of the first context are taken for those of
        all, which `allreduce_grads` makes them."""
        self._through("update")
        self._update(batch_size, ignore_stale_grad, summing=False)

    @property
    def _by_rows(self) -> list[Parameter]:
        """The parameters whose gradients are row-sparse."""
        return [p for p in self._with_rows if p.grad_req != "null"]

    @property
    def _ranks(self) -> int:
        """How many ranks share each step."""
        self._init_kvstore()
        return 1 if self._kvstore is None else int(self._kvstore.num_workers)

    def _keep_updates_here(self) -> None:
        """Somebody is to see gradients before weights move: no store moves them, unless the user
        has said so."""
        if not self._kv_initialized and self._kvstore_params["update_on_kvstore"] is None:
            self._kvstore_params["update_on_kvstore"] = False

    def _through(self, method: str) -> ThroughStore | None:
        """The store that gradients go through, if they do; raise where it moves the weights."""
        self._init_kvstore()
        check(
            self._store is None or not self._store.updates,
            f"Trainer.{method}",
            "weights are updated in the store, by step alone; make the trainer with "
            "update_on_kvstore=False",
        )
        return self._store

    def _update(self, batch_size: int, ignore_stale_grad: bool, summing: bool) -> None:
        if batch_size <= 0:  # the message is made where it is needed: this runs at every step
            raise TigonError(f"Trainer.step: batch_size must be positive; given {batch_size}")
        self._optimizer.rescale_grad = self._scale / batch_size
        if self._epoch != _epoch.current:
            self._collect_weights()
            self._epoch = _epoch.current
        if not self._weights:
            return
        grads = _gradients(self._weights)
        versions = [[grad.version for grad in own] for own in grads]
        stale = self._stale(grads, versions)
        if not stale:
            self._apply(self._indices, self._weights, grads, summing)
        elif ignore_stale_grad:
            used = [i for i in range(len(self._indices)) if not stale.get(i, False)]
            if used:
                self._apply(
                    [self._indices[i] for i in used],
                    [self._weights[i] for i in used],
                    [[own[i] for i in used] for own in grads],
                    summing,
                )
        else:
            self._refuse(stale)
        if self._store is not None and summing:  # which has written into gradients
            versions = [[grad.version for grad in own] for own in grads]
        self._seen, self._zeroings = (grads, versions), zeroings[0]
        if self._amp_loss_scaler is not None:
            self._scale = self._amp_original_scale  # the next loss may not be scaled

    @contextmanager
    def _scaled(self, loss: Any) -> Iterator[Any]:
        """A loss, or a list of them, times the scale of `contrib.amp`, if there is one; the next
        step divides by it."""
        if self._amp_loss_scaler is None:
            yield loss
            return
        scale = self._amp_loss_scaler.loss_scale
        self._scale = self._amp_original_scale / scale
        try:
            with autograd.record(train_mode=autograd.is_training()):
                several = isinstance(loss, (list, tuple))
                scaled = [one * scale for one in loss] if several else loss * scale
            yield scaled
        except BaseException:
            self._scale = self._amp_original_scale
            raise

    def _overflows(self, grads: list[list[Any]], summing: bool) -> bool:
        """Whether what the update would use is not finite; the scale of the loss adapts."""
        with autograd.pause():
            several = summing and len(grads) > 1
            used = [_summed(own) for own in zip(*grads, strict=True)] if several else grads[0]
            store = self._kvstore
            used = [grad if type(grad) is nd.NDArray else grad.data for grad in used]
            agreed = store.on_any_rank if isinstance(store, DistributedKVStore) else bool
            return bool(self._amp_loss_scaler.overflows(used, agreed))

    def _apply(
        self, indices: list[int], weights: list[list[Any]], grads: list[list[Any]], summing: bool
    ) -> None:
        if self._amp_loss_scaler is not None and self._overflows(grads, summing):
            return
        firsts, contexts = [arrays[0] for arrays in weights], len(grads)
        if self._store is not None and summing:
            with autograd.pause():
                each = [list(own) for own in zip(*grads, strict=True)]
                if self._store.updates:
                    self._store.update(indices, weights, each)
                    return
                self._store.sum(indices, weights, each, self._optimizer.rescale_grad)
            summing = False
        if contexts == 1:
            self._updater(indices, grads[0], firsts)
        elif (
            summing
            and self._optimizer.updates_by_formula
            and shares_memory(firsts[0])
            and not self._by_rows
        ):
            copies = [[arrays[i] for arrays in weights] for i in range(1, contexts)]
            flat = [grad for own in grads for grad in own]
            self._updater.update_all(indices, flat, firsts, copies)
        else:
            with autograd.pause():
                totals = [_summed(own) if summing else own[0] for own in zip(*grads, strict=True)]
                self._updater(indices, totals, firsts)
                for first, *others in weights:
                    for other in others:
                        other[...] = first

    def _collect_weights(self) -> None:
        self._init_kvstore()
        indices = [i for i, param in enumerate(self._params) if param.grad_req != "null"]
        params = [self._params[index] for index in indices]
        for param in params:
            check(
                param.list_ctx() == params[0].list_ctx(),
                "Trainer",
                f"expected all parameters on the same contexts; {param._where} is on "
                f"{', '.join(map(str, param.list_ctx()))}, {params[0]._where} on "
                f"{', '.join(map(str, params[0].list_ctx()))}; call reset_ctx",
            )
        known = {
            id(grad): version
            for own, seen in zip(*self._seen, strict=True)
            for grad, version in zip(own, seen, strict=True)
        }
        self._indices, self._weights = indices, [param.list_data() for param in params]
        grads = _gradients(self._weights)
        self._seen = grads, [[known.get(id(grad), _AS_MADE) for grad in own] for own in grads]

    def _stale(self, grads: list[list[Any]], versions: list[list[int]]) -> dict[int, bool]:
        """Positions whose gradient is, on some context, the very one that the last step used, or
        was never computed; and whether it is so on all."""
        if self._zeroings == zeroings[0]:
            for before, now in zip(self._seen[1], versions, strict=True):
                if any(map(eq, before, now)):
                    break
            else:  # which runs at every step
                return {}
        stale: dict[int, bool] = {}
        for i, index in enumerate(self._indices):
            param = self._params[index]
            if param.grad_req != "write":
                continue  # a slope of 0 adds nothing, so that nothing tells whether it was computed
            unchanged = [
                param._version_before_zeroing(own[i]) <= seen[i] <= now[i] and old[i] is own[i]
                for old, seen, own, now in zip(*self._seen, grads, versions, strict=True)
            ]
            if any(unchanged):
                stale[i] = all(unchanged)
        return stale

    def _refuse(self, stale: Mapping[int, bool]) -> None:
        where = ", ".join(self._params[self._indices[i]]._where for i in stale)
        raise TigonError(
            f"Trainer.step: the gradient of {where} was not computed since the last step; was the "
            "parameter used in forward, and backward called? ignore_stale_grad=True leaves it as "
            "it is"
        )

    # -- files

    def save_states(self, fname: AnyPath) -> None:
        """Write the optimizer's states and counts, and the scale of losses, if `contrib.amp` has
        given it one."""
        if isinstance(self._kvstore, DistributedKVStore):
            split = [param for param in self._params if param.split_axis is not None]
            check(
                not split or self._ranks == 1,
                "Trainer.save_states",
                f"{split[0]._where if split else ''} is divided among the ranks, each of which has "
                "states of its own; one file cannot hold them",
            )
            states = self._states()  # by all ranks
            self._kvstore.at_root(lambda: nd.save(fname, states), "Trainer.save_states")
        elif self._holds_states():
            nd.save(fname, self._states())
        else:
            self._kvstore.save_optimizer_states(fname)

    def load_states(self, fname: AnyPath) -> None:
        """Read what `save_states` wrote, here or in MXNet. A file that does not fit changes
        nothing."""
        if not self._holds_states():
            self._kvstore.load_optimizer_states(fname)
            return
        source = os.fsdecode(fname)
        if isinstance(self._kvstore, DistributedKVStore):
            content = self._kvstore.read_at_root(fname, "Trainer.load_states")
        else:
            with open(fname, "rb") as file:
                content = file.read()
        numbers = dict(enumerate(self._from_mxnet))
        self._take_states(self._updater.arrays_in(content, source, numbers), source)

    def _holds_states(self) -> bool:
        """Whether the states are here, and not those of a store of another kind."""
        self._init_kvstore()
        return self._store is None or not self._store.updates or self._store.updater is not None

    def _states(self) -> dict[str, Any]:
        scaler = self._amp_loss_scaler
        return self._updater.to_arrays() | ({} if scaler is None else scaler.to_arrays())

    def _own_states(self) -> dict[str, Any]:
        """Those of the keys that this rank owns."""
        scaler = self._amp_loss_scaler
        return self._updater.own_arrays() | ({} if scaler is None else scaler.to_arrays())

    def _take_states(self, arrays: Mapping[str, Any], source: str) -> None:
        weights = {
            index: param.list_data()[0]
            for index, param in enumerate(self._params)
            if param.grad_req != "null" or f"count:{index}" in arrays
        }
        if self._amp_loss_scaler is not None:
            self._amp_loss_scaler.check_fits(arrays, source)
        if self._store is not None and self._store.updates and weights:
            self._collect_weights()
            self._store.enter(self._indices, self._weights)  # it says who owns which states
        self._updater.from_arrays(arrays, weights, source)
        if self._amp_loss_scaler is not None:
            self._amp_loss_scaler.take(arrays)


_AS_MADE = 1
"""The version of a gradient that `attach_grad` has made, of zeros, and nobody has written."""


def _gradients(weights: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Per context, those of all."""
    contexts = len(weights[0]) if weights else 0
    return [[arrays[i].grad for arrays in weights] for i in range(contexts)]


def _summed(grads: Sequence[Any]) -> Any:
    """On the first one's context."""
    total = grads[0]
    for grad in grads[1:]:
        total = total + grad.as_in_context(total.context)
    return total


def _create(given: Any, fields: Mapping[str, Any]) -> Any:
    if isinstance(given, optimizer.Optimizer):
        check(
            not fields,
            "Trainer",
            "optimizer_params must be left out when the optimizer is an instance",
        )
        return given
    return optimizer.create(given, **fields)


_describe(
    Trainer,
    params="a network's `collect_params()`, or a list or dictionary of parameters",
    optimizer="the name of an optimizer, or one",
    optimizer_params="what an optimizer that is named is made with, such as its learning_rate",
    kvstore="where gradients of several contexts meet: 'device', 'local', a store, or None; of "
    "several ranks: 'dist_sync'",
    compression_params="how gradients are compressed on the way to a store 'device'",
    update_on_kvstore="whether weights are moved in the store; None: as it is faster",
)
