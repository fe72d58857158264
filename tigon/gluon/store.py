"""Steps of a trainer whose gradients go through a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tigon.base import check
from tigon.kvstore.distributed import DistributedKVStore
from tigon.kvstore.kvstore import KVStore
from tigon.nd.stored import stype_of

Lists = Sequence[Sequence[Any]]


class ThroughStore:
    """Weights and gradients of a trainer, by their numbers, in a store.

    `updates`: whether weights are moved in the store, by its optimizer; if not, it adds up
    gradients. Weights that somebody has written since the last step are begun with anew."""

    def __init__(
        self, store: Any, updates: bool, optimizer: Any, compression: Mapping[str, Any] | None
    ) -> None:
        self.store = store
        self.updates = updates
        self._optimizer = optimizer
        if compression:
            store.set_gradient_compression(compression)
        if updates:
            store.set_optimizer(optimizer)
        self.left_out: set[int] = set()
        """Parameters of which each rank has its own part: nobody else adds to their gradients."""
        self._left: dict[int, list[int]] = {}  # versions of the weights after the last step

    @property
    def updater(self) -> Any:
        """What holds the states, of a store that shows it."""
        return getattr(self.store, "_updater", None) if self.updates else None

    def _begin(self, indices: Sequence[int], weights: Lists) -> None:
        """Let the store have what somebody has written since the last step."""
        written = [
            (index, arrays)
            for index, arrays in zip(indices, weights, strict=True)
            if index in self._left and self._left[index] != [array.version for array in arrays]
        ]
        self.enter(indices, weights)
        check(
            not written or isinstance(self.store, KVStore),
            "Trainer",
            f"a weight was written between steps, and a {self.store.type} cannot take its new "
            "value; make the trainer with update_on_kvstore=False",
        )
        if written:
            self.store.assign([index for index, _ in written], [own[0] for _, own in written])

    def enter(self, indices: Sequence[int], weights: Lists) -> None:
        """Let the store know these keys. On all ranks the weights of those that are new to it
        become those of the first."""
        own = zip(indices, weights, strict=True)
        fresh = [(index, arrays) for index, arrays in own if index not in self._left]
        if not fresh:
            return
        if isinstance(self.store, DistributedKVStore) and self.updates:
            self.store.by_rows.update(i for i, own in fresh if stype_of(own[0].grad) != "default")
        if isinstance(self.store, KVStore):
            indices, firsts = [index for index, _ in fresh], [arrays[0] for _, arrays in fresh]
            self.store.broadcast(indices, firsts, out=[list(arrays) for _, arrays in fresh])
            if self.updates and isinstance(self.store, DistributedKVStore):
                for index, array in zip(indices, firsts, strict=True):
                    self.store.lie_in(index, array)
        else:
            for index, arrays in fresh:
                self.store.broadcast(index, arrays[0], out=list(arrays))
        # From here on it knows them, should the push fail that comes next.
        self._left |= {index: [array.version for array in arrays] for index, arrays in fresh}

    def _agree_about(self, scale: float | None) -> None:
        """Ranks that divide by another number would end with other weights."""
        if isinstance(self.store, DistributedKVStore):
            divided = f"gradients divided by {1 / scale:.9g}" if scale else ""
            self.store.condition = divided
            self.store.at_step(self._optimizer.num_update + 1)

    def sum(
        self,
        indices: Sequence[int],
        weights: Lists,
        grads: Lists,
        scale: float | None = None,
    ) -> None:
        """Put the sum over the contexts into the gradients. `scale`: what an update will multiply
        them by, if it is known."""
        self._agree_about(scale)
        if self.left_out:
            rows = zip(indices, weights, grads, strict=True)
            kept = [row for row in rows if row[0] not in self.left_out]
            indices, weights, grads = ([row[place] for row in kept] for place in range(3))
        if isinstance(self.store, KVStore):
            self.enter(indices, weights)
            self.store.push(list(indices), [list(own) for own in grads])
            self.store.pull(list(indices), [list(own) for own in grads], ignore_sparse=False)
            return
        for index, own in zip(indices, grads, strict=True):
            self.store.pushpull(index, list(own), out=list(own))

    def update(self, indices: Sequence[int], weights: Lists, grads: Lists) -> None:
        """Move the weights by the sums of the gradients, in the store."""
        self._agree_about(self._optimizer.rescale_grad)
        self._begin(indices, weights)
        if isinstance(self.store, KVStore):
            self.store.push(list(indices), [list(own) for own in grads])
            self.store.pull_moved(list(indices), [list(own) for own in weights])
        else:
            for index, own, arrays in zip(indices, grads, weights, strict=True):
                self.store.pushpull(index, list(own), out=list(arrays))
        for index, arrays in zip(indices, weights, strict=True):
            self._left[index] = [array.version for array in arrays]
