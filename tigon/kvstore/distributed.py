"""The store that ranks of MPI share. Each holds all values; sums go over all contexts of all ranks.

With an optimizer, arrays or parts of them have owners: of each bucket a rank gets the sums of what
it owns, moves that, and passes the new values on. So it keeps the states of what it owns alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from tigon import _native, nd
from tigon import optimizer as optimizers
from tigon.base import TigonError, check, config
from tigon.base.dtypes import BY_CODE, numpy_type
from tigon.base.files import AnyPath, write_file
from tigon.context import cpu
from tigon.distributed.agreement import Signature
from tigon.distributed.groups import even_part
from tigon.distributed.inorder import at_once, later
from tigon.distributed.memory import COMBINE, is_unknown_to_numpy, memory
from tigon.distributed.parts import Parts
from tigon.distributed.world import Ranks, World, world
from tigon.export import params
from tigon.kvstore import rows
from tigon.kvstore.compression import Half, TwoBits
from tigon.kvstore.kvstore import KVStore, pairs_of, take_states
from tigon.optimizer.update_graph import is_elementwise
from tigon.optimizer.updater import joined, key_in
from tigon.runtime.counters import count, falls_short

DISTRIBUTED = (
    "dist",
    "dist_async",
    "dist_device_async",
    "dist_device_sync",
    "dist_sync",
    "dist_sync_device",
)
BUCKET = 1 << 24
"""Bytes that travel together: enough that what a collective costs before its first byte does not
count, and few enough that the first of them are on their way before the last are computed."""


DIVIDED = 1024
"""Elements from which on an array is divided among all ranks: small parts fill no vectors."""


class Piece(NamedTuple):
    """What of an array one rank owns: elements, in order."""

    key: Any
    begin: int
    end: int
    owner: int


class Bucket:
    """Arrays of one dtype that travel together, as pieces; those of one owner lie side by side."""

    def __init__(self, arrays: Mapping[Any, Any], pieces: Sequence[Piece], ranks: int) -> None:
        self.keys = list(arrays)
        self.shapes = {key: tuple(array.shape) for key, array in arrays.items()}
        self.code = arrays[self.keys[0]].dtype_code
        self.pieces = sorted(pieces, key=lambda piece: piece.owner)  # others in their order
        sizes = [piece.end - piece.begin for piece in self.pieces]
        self.offsets = list(accumulate([0, *sizes[:-1]]))
        self.size = sum(sizes)
        ends = [0] * (ranks + 1)
        for piece, size in zip(self.pieces, sizes, strict=True):
            ends[piece.owner + 1] += size
        self.bounds = list(accumulate(ends))
        """Where the parts of the owners end."""
        self.parts = tuple(
            f"{key!r} {BY_CODE[self.code].name} {self.shapes[key]}" for key in self.keys
        )

    def fill(self, flat: np.ndarray, arrays: Mapping[Any, np.ndarray]) -> None:
        """Put all pieces into memory for the bucket."""
        for piece, offset in zip(self.pieces, self.offsets, strict=True):
            flat[offset : offset + piece.end - piece.begin] = arrays[piece.key][
                piece.begin : piece.end
            ]

    def take(self, flat: np.ndarray, arrays: Mapping[Any, np.ndarray]) -> None:
        """Take them out again."""
        for piece, offset in zip(self.pieces, self.offsets, strict=True):
            arrays[piece.key][piece.begin : piece.end] = flat[
                offset : offset + piece.end - piece.begin
            ]

    def by_owner(self, arrays: Mapping[Any, np.ndarray]) -> Parts:
        """What each owner has, where it lies in these arrays."""
        found: list[list[np.ndarray]] = [[] for _ in self.bounds[1:]]
        for piece in self.pieces:
            found[piece.owner].append(arrays[piece.key][piece.begin : piece.end])
        return Parts(found, np.dtype(numpy_type(BY_CODE[self.code])))

    def size_of(self, owner: int | None) -> int:
        """How many elements an owner has, or all of them."""
        return self.size if owner is None else self.bounds[owner + 1] - self.bounds[owner]

    def views(self, flat: Any, of: int | None) -> dict[Any, Any]:
        """The pieces of an owner, or all of them, in memory for these; whole ones in the shape of
        their array."""
        found = {}
        first = 0 if of is None else self.bounds[of]
        for piece, offset in zip(self.pieces, self.offsets, strict=True):
            if of is None or piece.owner == of:
                found[piece.key] = flat.view(offset - first, self.shape_of(piece))
        return found

    def shape_of(self, piece: Piece) -> tuple[int, ...]:
        shape = self.shapes[piece.key]
        size = piece.end - piece.begin
        return shape if size == math.prod(shape) else (size,)


class OwnersUpdater(optimizers.Updater):
    """States of what a rank owns. Those of all are gathered for files, by all ranks."""

    def __init__(self, optimizer: optimizers.Optimizer, store: DistributedKVStore) -> None:
        super().__init__(optimizer)
        self._store = store

    def own_arrays(self) -> dict[str, Any]:
        """States of what this rank owns, those of a part of an array by the place where it begins
        (`state:0:0@512`), with counts and settings."""
        divided = {
            str(key): f"@{piece.begin}"
            for key in self._store.keys()
            if self._store.is_divided(key) and (piece := self._store.own_piece(key)) is not None
        }
        return {
            name + (divided.get(key_in(name), "") if name.startswith("state:") else ""): array
            for name, array in super().to_arrays().items()
        }

    def to_arrays(self) -> dict[str, Any]:
        arrays = {name: array.bits_to_numpy() for name, array in self.own_arrays().items()}
        own = params.write(arrays)
        every = at_once(
            lambda ranks: ranks.gather(Signature("states of the optimizer", ()), own),
            "save_optimizer_states",
        )
        merged: dict[str, Any] = {}
        for content in reversed(every):  # counts and settings are those of rank 0
            merged |= nd.load_frombuffer(content, "another rank")
        return dict(joined(merged, self._store._values))

    def from_arrays(
        self, arrays: Mapping[str, Any], weights: Mapping[int, Any], source: str = "the file"
    ) -> None:
        arrays = joined(arrays, weights, self._store.own_piece, source)
        own, divided = {}, {}
        for key, weight in weights.items():
            piece = self._store.own_piece(key)
            if piece is None:
                continue
            own[key] = weight
            if self._store.is_divided(key):
                own[key] = weight.reshape((-1,))[piece.begin : piece.end]
                divided[str(key)] = (piece, weight.shape)
        taken = dict(arrays)
        for name, array in arrays.items():
            piece, shape = divided.get(key_in(name), (None, None))
            if piece is not None and name.startswith("state:") and array.shape == shape:
                taken[name] = array.reshape((-1,))[piece.begin : piece.end]
        super().from_arrays(taken, own, source)
        counts = {key: f"count:{key}" for key in weights if f"count:{key}" in arrays}
        self.optimizer._counts = {
            key: int(arrays[name].asnumpy()[0]) for key, name in counts.items()
        }


class DistributedKVStore(KVStore):
    """Arrays by key, the same on all ranks. What ranks push to a key is added up over all of them,
    in their order, so that all have the same bits, and the next run, too.

    `init` takes the values of rank 0. All ranks make the same calls in the same order; where keys,
    shapes or dtypes differ, all raise the same error. Priorities are accepted; what is pushed
    travels in the order of the calls, the last keys of a list first, whose gradients are there
    first. 'dist_async' works as 'dist_sync'.

    Of row-sparse arrays only the rows travel that a rank has touched, from each to all; ranks may
    have different numbers of them, and none. Each then moves these rows of its own copy, so that
    `row_sparse_pull` asks nobody; states of such keys are on all ranks.

    With 'float16' gradients travel as such, with '2bit' four numbers in a byte, from each rank to
    all: beyond 32 ranks that is more than the numbers themselves.

    >>> store = DistributedKVStore("dist_sync")
    >>> store.rank, store.num_workers
    (0, 1)
    >>> store.init("w", nd.zeros((2,)))
    >>> store.push("w", [nd.ones((2,)), nd.ones((2,))])
    >>> out = nd.zeros((2,))
    >>> store.pull("w", out=out)
    >>> out.asnumpy().tolist()
    [2.0, 2.0]
    """

    def __init__(self, name: str = "dist_sync") -> None:
        super().__init__(name)
        _check_launch(name)
        if name.endswith("async"):
            falls_short(
                f"kvstore.create: '{name}' runs synchronously: each push waits for all ranks, as "
                "'dist_sync' does"
            )
        self._world: World = world()
        self._owners: dict[Any, int] = {}
        self._load = [0] * self._world.size  # bytes that each owns
        self._divided = False  # arrays of many elements, among all ranks
        self._buckets: dict[Any, list[Bucket]] = {}
        self._own_views: dict[Any, tuple[Any, Any]] = {}  # of values: (value, the own piece of it)
        self.by_rows: set[Any] = set()
        """Keys that take row-sparse gradients. All ranks move them, and have their states."""
        self.condition = ""
        """What ranks have to agree about besides, when they push."""
        self.labels: dict[Any, str] = {}
        """How messages call keys that are numbers."""
        self._world.followers.add(self)

    @property
    def rank(self) -> int:
        return self._world.rank

    @property
    def num_workers(self) -> int:
        return self._world.size

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        at_once(lambda ranks: ranks.check(Signature("KVStore.barrier", ())), "KVStore.barrier")

    _barrier = barrier

    def at_step(self, number: int) -> None:
        """What is called for from now on is part of this step, messages say."""
        self._world.step = number

    def ranks_changed(self) -> None:
        """Ranks were lost: those that are left own all keys. States of what each owns now have to
        be given (`Updater.from_arrays`)."""
        self._buckets.clear()
        self._own_views.clear()
        self._load = [0] * self._world.size
        for key, kept in self._values.items():
            self._own(key, kept.nbytes)

    def _own(self, key: Any, size: int) -> None:
        """Give a key to the rank that has least."""
        owner = self._load.index(min(self._load))
        self._owners[key] = owner
        self._load[owner] += size

    def on_any_rank(self, found: bool) -> bool:
        """Whether any rank has found something; all ranks ask."""
        signature, own = Signature("KVStore.on_any_rank", ()), b"1" if found else b""
        return any(at_once(lambda ranks: ranks.gather(signature, own), "KVStore.on_any_rank"))

    # -- values

    def init(self, key: Any, value: Any) -> None:
        """Let keys begin with the values that rank 0 gives."""
        pairs = pairs_of("init", key, value)
        super().init(key, value)
        for own, _ in pairs:
            self._own(own, self._values[own].nbytes)
        try:
            self._share([own for own, _ in pairs], "KVStore.init")
        except BaseException:
            for own, _ in pairs:
                owner = self._owners.pop(own)
                self._load[owner] -= self._values.pop(own).nbytes
            raise

    def assign(self, key: Any, value: Any) -> None:
        """Give keys the values of rank 0, whatever they had; no updater is asked."""
        super().assign(key, value)
        self._share([own for own, _ in pairs_of("assign", key, value)], "KVStore.assign")

    def lie_in(self, key: Any, array: Any) -> None:
        """Let a value have the memory of this array from now on, which has the same numbers: who
        pulls into that then copies nothing."""
        kept = self._value("lie_in", key)
        if (array.dtype, array.context) == (kept.dtype, kept.context):
            self._values[key] = array

    # -- who owns what

    def keys(self) -> list[Any]:
        """The keys, in the order of `init`."""
        return list(self._values)

    def _pieces(self, key: Any) -> list[Piece]:
        owners = range(self.num_workers) if self.is_divided(key) else [self._owners[key]]
        return [self._piece(key, owner) for owner in owners]

    def _piece(self, key: Any, owner: int) -> Piece:
        size = self._values[key].size
        ends = even_part(size, self.num_workers, owner) if self.is_divided(key) else (0, size)
        return Piece(key, *ends, owner)

    def is_divided(self, key: Any) -> bool:
        """Whether each rank owns a part of a value."""
        if not self._divided or self.num_workers == 1 or key in self.by_rows:
            return False
        size: int = self._values[key].size
        return size >= DIVIDED

    def own_piece(self, key: Any) -> Piece | None:
        """What this rank owns of a value, if anything."""
        if key not in self._values:
            return None
        if key in self.by_rows:
            return Piece(key, 0, self._values[key].size, self.rank)
        owns = self.is_divided(key) or self._owners[key] == self.rank
        return self._piece(key, self.rank) if owns else None

    def _own_view(self, piece: Piece) -> Any:
        """That in the value's memory: the same array at every step, which updates are bound to."""
        value = self._values[piece.key]
        known = self._own_views.get(piece.key)
        if known is not None and known[0] is value and known[1].size == piece.end - piece.begin:
            return known[1]
        whole = piece.end - piece.begin == value.size
        made = value if whole else value.view(piece.begin, (piece.end - piece.begin,))
        self._own_views[piece.key] = (value, made)
        return made

    # -- values on their way

    def _share(self, keys: Sequence[Any], name: str) -> None:
        """All take over what rank 0 has."""

        def broadcast(ranks: Ranks, bucket: Bucket, places: Mapping[Any, np.ndarray]) -> None:
            flat = np.empty(bucket.size, numpy_type(BY_CODE[bucket.code]))
            bucket.fill(flat, places)
            ranks.messages.broadcast(flat, 0)
            bucket.take(flat, places)

        values = {own: self._values[own] for own in keys}
        sparse = {own: value for own, value in values.items() if value.stype != "default"}
        if sparse:
            every = self._exchanged(name, sparse, self.rank == 0)
            found = rows.unpacked(every[0], [*sparse.values()])
            self._values.update(zip(sparse, found, strict=True))
        values = {own: value for own, value in values.items() if own not in sparse}
        for done in self._spread(values, False, broadcast, name):
            done.wait_to_read()

    def _pass_on(self, values: Mapping[Any, Any]) -> None:
        """All get the values of the owners."""

        def gather(ranks: Ranks, bucket: Bucket, places: Mapping[Any, np.ndarray]) -> None:
            ranks.group.gather_parts(bucket.by_owner(places))

        if not self._world.is_alone:
            self._spread(values, True, gather, "KVStore.push, new values")

    def _spread(
        self,
        values: Mapping[Any, Any],
        owned: bool,
        run: Callable[[Ranks, Bucket, Mapping[Any, np.ndarray]], None],
        name: str,
    ) -> list[Any]:
        """Let all have what others have: by `run`, bucket by bucket, of values and their memory.
        `owned`: as pieces of owners. Gives what to wait for."""
        plain = {key: _for_numpy(_on_host(value)) for key, value in values.items()}
        tokens = []
        for bucket in self._buckets_of(plain, owned):
            signature = self._signature(name, bucket)
            arrays = {key: plain[key] for key in bucket.keys}

            def spread(
                ranks: World,
                bucket: Bucket = bucket,
                signature: Signature = signature,
                arrays: Any = arrays,
            ) -> None:
                ranks.check(signature)
                if isinstance(ranks, Ranks):
                    run(ranks, bucket, {key: memory(array) for key, array in arrays.items()})

            token = _native.empty((1,), bucket.code)
            later(spread, [], [*arrays.values(), token], name)
            tokens.append(token)
            for key, array in arrays.items():
                if array is not values[key]:  # a copy, of another dtype or elsewhere
                    target = values[key]
                    made = array.astype(target.dtype, copy=False).as_in_context(target.context)
                    made.copyto(target)
        return tokens

    def _buckets_of(self, arrays: Mapping[Any, Any], owned: bool) -> list[Bucket]:
        """The last keys first. The same for the same keys, step after step. `owned`: as pieces of
        owners."""
        whole = (owned, *arrays, *(array.dtype_code for array in arrays.values()))
        found = self._buckets.get(whole)
        if found is None:
            found = self._buckets[whole] = self._made_buckets(arrays, owned)
        return found

    def _made_buckets(self, arrays: Mapping[Any, Any], owned: bool) -> list[Bucket]:
        open_: dict[int, dict[Any, Any]] = {}
        made = []

        def close(own: Mapping[Any, Any]) -> None:
            pieces = [
                piece
                for key, array in own.items()
                for piece in (self._pieces(key) if owned else [Piece(key, 0, array.size, 0)])
            ]
            made.append(Bucket(own, pieces, self.num_workers))

        for key in reversed(arrays):
            array = arrays[key]
            own = open_.setdefault(array.dtype_code, {})
            if own and sum(one.nbytes for one in own.values()) + array.nbytes > BUCKET:
                close(own)
                own = open_[array.dtype_code] = {}
            own[key] = array
        for own in open_.values():
            close(own)
        return made

    def _signature(self, name: str, bucket: Bucket) -> Signature:
        labels = [self.labels.get(key, "") for key in bucket.keys]
        if not (self.condition and name.startswith("KVStore.push")):
            return Signature(name, bucket.parts, labels)
        return Signature(name, (self.condition, *bucket.parts), ["", *labels])

    # -- sums

    def _sent(self, key: Any, array: Any, number: int) -> Any:
        return array  # compressed once the contexts are added up

    def _exchanged(self, name: str, arrays: Mapping[Any, Any], sends: bool = True) -> list[bytes]:
        """The rows of all ranks, by rank."""
        parts = [rows.part(key, array) for key, array in arrays.items()]
        labels = [self.labels.get(key, "") for key in arrays]
        if self.condition and name.startswith("KVStore.push"):
            parts, labels = [self.condition, *parts], ["", *labels]
        own = rows.packed([*arrays.values()]) if sends else b""
        count("row_bytes_sent", len(own))
        signature = Signature(f"{name} by rows", parts, labels)
        return at_once(lambda ranks: ranks.gather(signature, own), signature.name)

    def _apply_rows(self, sums: Mapping[Any, Any]) -> None:
        """All ranks know all rows, and move them."""
        made = rows.totals(self._exchanged("KVStore.push", sums), sums)
        if isinstance(self._updater, OwnersUpdater):
            fresh = [key for key in sums if key not in self.by_rows]
            for key in fresh:
                check(
                    not self.on_any_rank(key in self._updater.states),  # its owner alone has them
                    "KVStore.push",
                    f"key {key!r}: expected dense gradients, as before; given row-sparse ones, "
                    "whose states lie elsewhere",
                )
            if fresh:
                self.by_rows.update(fresh)
                self._buckets.clear()
        super()._apply(made)

    def _apply(self, sums: Mapping[Any, Any]) -> None:
        sparse = {
            key: rows.of_all_rows(total)
            for key, total in sums.items()
            if key in self.by_rows or "row_sparse" in (total.stype, self._values[key].stype)
        }
        if sparse:
            self._apply_rows(sparse)
            sums = {key: total for key, total in sums.items() if key not in sparse}
        if sums:
            self._apply_dense(sums)

    def _apply_dense(self, sums: Mapping[Any, Any]) -> None:
        owned = isinstance(self._updater, OwnersUpdater)
        totals = self._totals(sums, owned)
        if not owned:
            if self._updater is None:
                self._values.update(totals)  # nobody else holds them
            else:
                super()._apply(totals)
            return
        assert self._updater is not None
        pieces = {key: self.own_piece(key) for key in sums}
        own = {key: piece for key, piece in pieces.items() if piece is not None}
        if own:
            views = [self._own_view(piece) for piece in own.values()]
            self._updater([*own], [totals[key] for key in own], views)
        # Schedules are by the count of all.
        self._optimizer._update_count([key for key in sums if key not in own])
        self._pass_on({key: self._values[key] for key in sums})

    def _totals(self, sums: Mapping[Any, Any], owned: bool) -> dict[Any, Any]:
        """Over all ranks, on the contexts of the values. `owned`: of what is one's own."""
        compress = self._compress
        sent = {
            key: _on_host(total if compress is None else compress(key, total))
            for key, total in sums.items()
        }
        if isinstance(compress, TwoBits):
            made = self._gathered(sent, compress)
            for key in list(made) if owned else ():
                piece = self.own_piece(key)
                if piece is None:
                    del made[key]
                elif self.is_divided(key):
                    made[key] = made[key].reshape((-1,))[piece.begin : piece.end]
        else:
            narrow = "float16" if isinstance(compress, Half) else None
            made = self._added(sent, narrow, owned)
        return {
            key: total.astype(sums[key].dtype, copy=False).as_in_context(sums[key].context)
            for key, total in made.items()
        }

    def _added(self, sums: Mapping[Any, Any], narrow: str | None, owned: bool) -> dict[Any, Any]:
        given = {
            key: total.astype(narrow) if narrow else _for_numpy(total)
            for key, total in sums.items()
        }
        made: dict[Any, Any] = {}
        owner = self.rank if owned else None
        for bucket in self._buckets_of(given, owned):
            arrays = {key: given[key] for key in bucket.keys}
            flat = _native.empty((bucket.size_of(owner),), bucket.code)
            signature = self._signature("KVStore.push", bucket)

            def add(
                ranks: World,
                bucket: Bucket = bucket,
                signature: Signature = signature,
                arrays: Any = arrays,
                flat: Any = flat,
            ) -> None:
                sums, places = memory(flat), {key: memory(one) for key, one in arrays.items()}
                ranks.check(signature)
                if owned and isinstance(ranks, Ranks):
                    ranks.group.reduce_parts(bucket.by_owner(places), sums, COMBINE["sum"])
                    return
                bucket.fill(sums, places)
                if isinstance(ranks, Ranks):
                    ranks.allreduce(sums, COMBINE["sum"])

            later(add, [*arrays.values()], [flat], "KVStore.push")
            made |= bucket.views(flat, owner)
        return made

    def _gathered(self, sums: Mapping[Any, Any], compress: TwoBits) -> dict[Any, Any]:
        """Codes of all ranks, which each adds up."""
        made: dict[Any, Any] = {}
        for bucket in self._buckets_of(sums, False):
            packed = [compress.packed(sums[key]) for key in bucket.keys]
            own = nd.concat(*packed, dim=0) if len(packed) > 1 else packed[0]
            every = _native.empty((self.num_workers, own.size), own.dtype_code)
            signature = self._signature("KVStore.push of 2bit", bucket)

            def gather(
                ranks: World,
                signature: Signature = signature,
                own: Any = own,
                every: Any = every,
            ) -> None:
                whole, mine = memory(every), memory(own)
                whole[ranks.rank * mine.size : (ranks.rank + 1) * mine.size] = mine
                ranks.check(signature)
                if isinstance(ranks, Ranks):
                    bounds = [mine.size * rank for rank in range(ranks.size + 1)]
                    ranks.group.gather_parts(Parts.of(whole, bounds))

            later(gather, [own], [every], "KVStore.push")
            begin = 0
            for key, codes in zip(bucket.keys, packed, strict=True):
                end, shape = begin + codes.size, bucket.shapes[key]
                numbers = [
                    compress.unpacked(every[rank, begin:end], sums[key].size, sums[key].dtype)
                    for rank in range(self.num_workers)
                ]
                made[key] = (nd.add_n(*numbers) if len(numbers) > 1 else numbers[0]).reshape(shape)
                begin = end
        return made

    # -- what becomes of sums

    def set_optimizer(self, optimizer: Any) -> None:
        """Let values be moved by an optimizer, which takes sums for gradients. Each rank moves what
        it owns, and keeps the states of that alone: one part in `num_workers`. An optimizer that
        works element by element owns a part of each large array; another one, such as LAMB, whole
        arrays."""
        super().set_optimizer(optimizer)
        self._divided = is_elementwise(optimizer)
        self._buckets.clear()
        self._updater = OwnersUpdater(optimizer, self)

    def save_optimizer_states(self, fname: AnyPath, dump_optimizer: bool = False) -> None:
        """Write the states of all ranks to a file of rank 0, with counts and settings. All ranks
        make the call, and return when the file is there."""
        content = self._states("save_optimizer_states").get_states(dump_optimizer)
        self.at_root(lambda: write_file(fname, content), "KVStore.save_optimizer_states")

    def load_optimizer_states(self, fname: AnyPath) -> None:
        """Read on rank 0 what `save_optimizer_states` wrote, with any number of ranks, here or in
        MXNet. A file that does not fit changes nothing."""
        updater = self._states("load_optimizer_states")
        content = self.read_at_root(fname, "KVStore.load_optimizer_states")
        take_states(updater, content, os.fsdecode(fname), self._values)

    def at_root(self, function: Callable[[], Any], name: str) -> bytes:
        """What rank 0 gets from a function, as bytes, on all ranks; its errors, too."""
        told = b""
        if self.rank == 0:
            try:
                told = b"+" + (function() or b"")
            except (OSError, TigonError) as error:
                told = f"-rank 0: {type(error).__name__}: {error}".encode()
        every = at_once(lambda ranks: ranks.gather(Signature(name, ()), told), name)
        if every[0].startswith(b"-"):
            raise TigonError(f"{name}: {every[0][1:].decode()}")
        return every[0][1:]

    def read_at_root(self, fname: AnyPath, name: str) -> bytes:
        """The content of a file of rank 0."""

        def content() -> bytes:
            with open(fname, "rb") as file:
                return file.read()

        return self.at_root(content, name)


def _on_host(array: Any) -> Any:
    """The array, or a copy in the processor's memory."""
    return array if _native.is_host(array.device_index) else array.as_in_context(cpu())


def _for_numpy(array: Any) -> Any:
    """The array, or in float32 what numpy has no dtype for."""
    return array.astype("float32") if is_unknown_to_numpy(array) else array


def _check_launch(name: str) -> None:
    """Programs that were started for MXNet's own servers learn how it is done here."""
    role = config.text("DMLC_ROLE")
    if not role or config.launched().size > 1:
        return
    count = config.text("DMLC_NUM_WORKER")
    check(
        False,
        "kvstore.create",
        f"'{name}': the environment has DMLC_ROLE={role}, for MXNet's scheduler and servers, which "
        "tigon does not have: its ranks are started by MPI; run mpiexec -n "
        f"{count} python train.py instead, without DMLC_ROLE",
    )
