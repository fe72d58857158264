"""Stores of one machine, and how stores are chosen by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tigon import autograd, nd
from tigon import optimizer as optimizers
from tigon.base import TigonError, TigonTypeError, check
from tigon.base.files import AnyPath, write_file
from tigon.kvstore.base import KVStoreBase
from tigon.kvstore.compression import compression
from tigon.nd.stored import added, rows_at, write_rows

LOCAL = (
    "device",
    "local",
    "local_allreduce_cpu",
    "local_allreduce_device",
    "local_update_cpu",
)
MAKERS: dict[str, Callable[[str], KVStoreBase]] = {}
"""What makes stores of other kinds, by name: `tigon.kvstore` fills it."""

_OF_OTHERS = {
    "nccl": "a store of GPUs: 'device' adds up contexts of one machine",
    "p3": "a store of several machines: 'dist_sync' is ours",
    "horovod": "a store of several machines: 'dist_sync' is ours, by MPI",
    "byteps": "a store of several machines: 'dist_sync' is ours",
}
_LARGEST = 16 * 1024 * 1024
"""Elements of a parameter above which contexts update for themselves, as in MXNet."""


class KVStore(KVStoreBase):
    """Arrays by key. What is pushed to a key, by several contexts perhaps, is added up; the sum
    takes the place of what is there, or an updater or an optimizer says what becomes of it.

    Keys are numbers or names; a list of keys goes with a list of arrays, or of lists of these, one
    for each context. Priorities are accepted: nothing is sent anywhere.

    >>> store = create("local")
    >>> store.init("w", nd.zeros((2,)))
    >>> store.push("w", [nd.ones((2,)), nd.ones((2,))])
    >>> out = nd.zeros((2,))
    >>> store.pull("w", out=out)
    >>> out.asnumpy().tolist()
    [2.0, 2.0]
    """

    def __init__(self, name: str = "local") -> None:
        self._type = name
        self._values: dict[Any, Any] = {}
        self._updater: Callable[[Any, Any, Any], Any] | None = None
        self._compress: Any = None
        self._optimizer: Any = None
        self._moved: dict[Any, Any] = {}  # of keys the rows that the last push has named, if any

    def __contains__(self, key: Any) -> bool:
        return key in self._values

    def __repr__(self) -> str:
        return f"<KVStore {self._type} of {len(self._values)} arrays>"

    @property
    def type(self) -> str:
        return self._type

    @staticmethod
    def is_capable(capability: str) -> bool:
        """Whether the store can do something: 'optimizer'."""
        check(
            capability.lower() == KVStoreBase.OPTIMIZER,
            "KVStore.is_capable",
            f"expected 'optimizer'; given {capability!r:.80}",
        )
        return True

    # -- values

    def init(self, key: Any, value: Any) -> None:
        """Let keys begin with copies of these values."""
        for own, arrays in pairs_of("init", key, value):
            check(
                own not in self._values,
                "KVStore.init",
                f"key {own!r} has a value; push to it, or take another key",
            )
            self._values[own] = arrays[0].copy()

    def _value(self, method: str, key: Any) -> Any:
        found = self._values.get(key)
        if found is None:
            known = ", ".join(map(repr, self._values))
            raise TigonError(
                f"KVStore.{method}: key {key!r} is not known; call init first"
                + (f"; known are {known:.200}" if known else "")
            )
        return found

    def assign(self, key: Any, value: Any) -> None:
        """Give keys these values, whatever they had; no updater is asked."""
        for own, arrays in pairs_of("assign", key, value):
            target = self._value("assign", own)
            check(
                arrays[0].shape == target.shape,
                "KVStore.assign",
                f"key {own!r} has a value of shape {target.shape}; given {arrays[0].shape}",
            )
            if arrays[0] is not target:
                with autograd.pause():
                    arrays[0].astype(target.dtype, copy=False).copyto(target)

    def broadcast(self, key: Any, value: Any, out: Any, priority: int = 0) -> None:
        """Let keys begin with these values, and give them to all `out`."""
        self.init(key, value)
        self.pull(key, out=out, priority=priority)

    def push(self, key: Any, value: Any, priority: int = 0) -> None:
        """Add up the arrays of each key; the sum becomes the value, or goes to the updater."""
        grouped: dict[Any, list[Any]] = {}
        for own, arrays in pairs_of("push", key, value):
            grouped.setdefault(own, []).extend(arrays)
        with autograd.pause():
            sums = {own: self._sum(own, arrays) for own, arrays in grouped.items()}
            self._apply(sums)

    def _sum(self, key: Any, arrays: Sequence[Any]) -> Any:
        """On the context of the value, in its dtype."""
        kept = self._value("push", key)
        for array in arrays:
            check(
                array.shape == kept.shape,
                "KVStore.push",
                f"key {key!r} has a value of shape {kept.shape}; given {array.shape}",
            )
        storages = {array.stype for array in arrays}
        check(
            storages in ({"default"}, {"row_sparse"}),
            "KVStore.push",
            f"key {key!r}: expected dense arrays, or row-sparse ones; given "
            f"{', '.join(sorted(storages))}; convert them with tostype",
        )
        if storages == {"row_sparse"}:
            return self._sum_of_rows(key, kept, arrays)
        if self._compress is not None:
            arrays = [self._sent(key, array, i) for i, array in enumerate(arrays)]
        moved = [array.as_in_context(kept.context) for array in arrays]
        total = moved[0]
        for array in moved[1:]:
            total = total + array
        return total.astype(kept.dtype, copy=False)

    def _sum_of_rows(self, key: Any, kept: Any, arrays: Sequence[Any]) -> Any:
        check(
            self._compress is None,
            "KVStore.push",
            f"key {key!r}: rows are not compressed; push dense arrays, or leave "
            "set_gradient_compression out",
        )
        moved = [array.as_in_context(kept.context) for array in arrays]
        return added(moved).astype(kept.dtype)

    def _sent(self, key: Any, array: Any, number: int) -> Any:
        """What is pushed by the context of this number, as compression leaves it."""
        return self._compress((key, number), array)

    def _apply(self, sums: Mapping[Any, Any]) -> None:
        for key, total in sums.items():
            self._moved[key] = None if total.stype == "default" else total
        updater = self._updater
        if updater is None:
            for key, total in sums.items():
                if total.stype == self._values[key].stype == "default":
                    total.copyto(self._values[key])
                else:
                    self._values[key] = total.copy()
        elif isinstance(updater, optimizers.Updater):  # all of them in one call
            keys = list(sums)
            updater(keys, list(sums.values()), [self._values[key] for key in keys])
        else:
            for key, total in sums.items():
                updater(key, total, self._values[key])

    def pull(
        self, key: Any, out: Any = None, priority: int = 0, ignore_sparse: bool = True
    ) -> None:
        """Copy values into `out`: all rows. Row-sparse ones among `out` are left as they are,
        unless `ignore_sparse` is False."""
        check(out is not None, "KVStore.pull", "expected out, the arrays to copy into; given none")
        for own, arrays in pairs_of("pull", key, out):
            value = self._value("pull", own)
            for array in arrays:
                if ignore_sparse and array.stype != "default":
                    continue
                check(
                    array.shape == value.shape,
                    "KVStore.pull",
                    f"key {own!r} has a value of shape {value.shape}; given out of shape "
                    f"{array.shape}",
                )
                if array is not value:
                    with autograd.pause():
                        value.astype(array.dtype, copy=False).copyto(array)

    def pull_moved(self, key: Any, out: Any) -> None:
        """The same into arrays that have what a push before the last one has left: of keys that got
        rows, to a lazy optimizer, only these rows are copied."""
        updater = self._updater  # functions of users may change any row
        optimizer = updater.optimizer if isinstance(updater, optimizers.Updater) else None
        lazy = optimizer is not None and optimizer.by_rows and optimizer.lazy_update
        for own, arrays in pairs_of("pull", key, out):
            value, moved = self._value("pull", own), self._moved.get(own)
            for array in arrays:
                alike = array.stype == value.stype == "default"
                if not (lazy and moved is not None and alike and array.dtype == value.dtype):
                    self.pull(own, array, ignore_sparse=False)
                elif moved.indices.size:
                    with autograd.pause():
                        new = rows_at(value, moved.indices).as_in_context(array.context)
                        write_rows(array, new.indices, new.data)

    def pushpull(self, key: Any, value: Any, out: Any = None, priority: int = 0) -> None:
        """`push`, then `pull` into `out`, or into what was pushed."""
        self.push(key, value, priority)
        self.pull(key, value if out is None else out, priority, ignore_sparse=False)

    def row_sparse_pull(
        self, key: Any, out: Any = None, priority: int = 0, row_ids: Any = None
    ) -> None:
        """Copy the rows of these numbers into `out`, row-sparse arrays, which have no others then.
        `row_ids`: an array, or one for each array of `out`.

        >>> store, out = create("local"), nd.sparse.zeros("row_sparse", (3, 2))
        >>> store.init("w", nd.ones((3, 2)).tostype("row_sparse"))
        >>> store.row_sparse_pull("w", out=out, row_ids=nd.array([2, 0, 2]))
        >>> out.indices.asnumpy()
        array([0, 2])
        """
        where = "KVStore.row_sparse_pull"
        check(out is not None, where, "expected out, the arrays to copy into; given none")
        check(row_ids is not None, where, "expected row_ids, numbers of rows; given none")
        pairs = pairs_of("row_sparse_pull", key, out)
        given = list(row_ids) if isinstance(row_ids, (list, tuple)) else [row_ids]
        count = sum(len(arrays) for _, arrays in pairs)
        if len(given) == 1:
            given *= count
        check(
            len(given) == count,
            where,
            f"expected row_ids for {count} arrays, or one for all; given {len(given)}",
        )
        ids = iter(given)
        for own, arrays in pairs:
            value = self._value("row_sparse_pull", own)
            for array in arrays:
                check(
                    array.stype == "row_sparse",
                    where,
                    f"key {own!r}: expected out to be row-sparse; given a dense array; use pull, "
                    "or nd.sparse.zeros('row_sparse', shape)",
                )
                check(
                    array.shape == value.shape,
                    where,
                    f"key {own!r} has a value of shape {value.shape}; given out of shape "
                    f"{array.shape}",
                )
                with autograd.pause():
                    array[:] = rows_at(value, next(ids))

    # -- what becomes of sums

    def set_gradient_compression(self, compression_params: Mapping[str, Any]) -> None:
        """Compress what each context pushes: {'type': '2bit', 'threshold': 0.5} sends -0.5, 0 or
        0.5 of each number, {'type': 'float16'} what a float16 holds; the rest is kept for the next
        push."""
        check(
            "device" in self._type or "dist" in self._type,
            "set_gradient_compression",
            f"a store '{self._type}' does not compress; create('device') does",
        )
        self._compress = compression(compression_params)

    def set_optimizer(self, optimizer: Any) -> None:
        """Let values be moved by an optimizer, which takes sums for gradients."""
        check(
            isinstance(optimizer, optimizers.Optimizer),
            "KVStore.set_optimizer",
            f"expected an optimizer; given {type(optimizer).__name__}; make one with "
            "mx.optimizer.create",
        )
        self._optimizer = optimizer
        self._updater = optimizers.get_updater(optimizer)

    def set_updater(self, updater: Callable[[Any, Any, Any], Any]) -> None:
        """Let `updater(key, sum, value)` change values; it writes to the array `value`."""
        check(
            callable(updater),
            "KVStore.set_updater",
            f"expected a function of (key, sum, value); given {type(updater).__name__}",
        )
        self._updater = updater

    _set_updater = set_updater

    def save_optimizer_states(self, fname: AnyPath, dump_optimizer: bool = False) -> None:
        """Write the states of the optimizer, with its counts and settings."""
        write_file(fname, self._states("save_optimizer_states").get_states(dump_optimizer))

    def load_optimizer_states(self, fname: AnyPath) -> None:
        """Read what `save_optimizer_states` wrote, here or in MXNet. A file that does not fit
        changes nothing."""
        load_states(self._states("load_optimizer_states"), fname, self._values)

    def _states(self, method: str) -> optimizers.Updater:
        updater = self._updater
        check(
            isinstance(updater, optimizers.Updater),
            f"KVStore.{method}",
            "there is no optimizer, and so no states; call set_optimizer first",
        )
        assert isinstance(updater, optimizers.Updater)
        return updater

    # -- of several machines

    def _barrier(self) -> None:
        """Wait for the other machines: there are none."""

    def barrier(self) -> None:
        """Wait for the other machines: there are none."""

    def _send_command_to_servers(self, head: int, body: str) -> None:
        """Tell the servers: there are none."""

    def get_num_dead_node(self, node_id: int, timeout: int = 60) -> int:
        """How many machines do not answer: none."""
        return 0


def pairs_of(method: str, key: Any, value: Any) -> list[tuple[Any, list[Any]]]:
    """(key, arrays) from one key, or a list of them, and arrays."""
    where = f"KVStore.{method}"
    if not isinstance(key, (list, tuple)):
        key, value = [key], [value]
    check(
        isinstance(value, (list, tuple)),
        where,
        f"expected a list of arrays, as keys are a list; given {type(value).__name__}",
    )
    values = list(value)
    if len(values) != len(key) and len(key) and len(values) % len(key) == 0:
        each = len(values) // len(key)  # as many arrays for each key, one after another
        values = [values[i * each : (i + 1) * each] for i in range(len(key))]
    check(
        len(values) == len(key),
        where,
        f"expected arrays for {len(key)} keys; given {len(values)}",
    )
    found = []
    for one, given in zip(key, values, strict=True):
        check(
            isinstance(one, (int, str)) and not isinstance(one, bool),
            where,
            f"a key is a number or a name; given {one!r:.80}",
        )
        arrays = list(given) if isinstance(given, (list, tuple)) else [given]
        check(
            arrays and all(isinstance(array, nd.NDArray) for array in arrays),
            where,
            f"key {one!r}: expected arrays; given "
            f"{', '.join(type(array).__name__ for array in arrays) or 'none'}",
        )
        found.append((one, arrays))
    return found


def load_states(updater: optimizers.Updater, fname: AnyPath, weights: Mapping[Any, Any]) -> None:
    """Give an updater the states of a file, written here or by MXNet. `weights`: what it may be
    about, by the updater's numbers or names. What does not fit changes nothing."""
    with open(fname, "rb") as file:
        take_states(updater, file.read(), os.fsdecode(fname), weights)


def take_states(
    updater: optimizers.Updater, content: bytes, source: str, weights: Mapping[Any, Any]
) -> None:
    """The same of the content of a file."""
    arrays = updater.arrays_in(content, source)
    known = {str(key) for key in weights}
    strange = sorted(
        name
        for name in arrays
        if name.startswith("state:") and name[6:].rpartition(":")[0] not in known
    )
    check(
        not strange,
        "load_optimizer_states",
        f"{source} has states of a parameter {strange[0][6:].rpartition(':')[0] if strange else ''}"
        f", which is not there; known are {', '.join(sorted(known)):.200}; was it saved for "
        "another network?",
    )
    counted = {key: weight for key, weight in weights.items() if f"count:{key}" in arrays}
    updater.from_arrays(arrays, counted, source)


def create(name: str = "local") -> Any:
    """A store by name: 'local' or 'device' (the same here: contexts of one machine share its
    memory), their variants, 'dist_sync', 'dist_device_sync' or 'dist_async', which ranks of MPI
    share, or a class that was registered.

    >>> create("device").type
    'device'
    >>> create("dist_sync").num_workers
    1
    >>> create("nccl")
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: kvstore.create: 'nccl' is a store of GPUs: 'device' adds up \
contexts of one machine; choose one of device, dist, dist_async, dist_device_async, \
dist_device_sync, dist_sync, dist_sync_device, local, local_allreduce_cpu, local_allreduce_device, \
local_update_cpu
    """
    if not isinstance(name, str):
        raise TigonTypeError(f"kvstore.create: expected the name of a store; given {name!r:.80}")
    lower = name.lower()
    known = KVStoreBase.kv_registry.get(lower)
    if known is not None:
        return known()
    make = MAKERS.get(lower)
    if make is not None:
        return make(lower)
    check(
        lower in LOCAL,
        "kvstore.create",
        f"'{name:.80}' is {_OF_OTHERS.get(lower, 'not known')}; choose one of "
        f"{', '.join(store_names())}",
    )
    return KVStore(lower)


def store_names() -> list[str]:
    """The names that `create` knows, sorted."""
    return sorted({*LOCAL, *MAKERS, *KVStoreBase.kv_registry})


def chosen(given: Any, contexts: int, largest: int) -> tuple[Any, bool]:
    """The store that a program asks for, or None where none is needed, and whether weights are
    updated in it. `largest`: how many elements the largest parameter has."""
    if given is None:
        return None, False
    if isinstance(given, KVStoreBase):
        return given, given.is_capable(KVStoreBase.OPTIMIZER)
    if not isinstance(given, str):
        raise TigonTypeError(
            f"kvstore: expected the name of a store, a store, or None; given {given!r:.80}"
        )
    if contexts == 1 and given.lower() in LOCAL:
        return None, False
    store = create(given)
    in_store = store.is_capable(KVStoreBase.OPTIMIZER)
    return store, in_store and not (given == "local" and largest > _LARGEST)
