"""What every store can do."""

from __future__ import annotations

from typing import Any, ClassVar

from tigon.base import check
from tigon.base.files import AnyPath


class KVStoreBase:
    """Base of all stores: `broadcast` and `pushpull`, by keys that are numbers or names.

    A class of your own is known by its name in lower case once it is registered:

    >>> @KVStoreBase.register
    ... class Alone(KVStoreBase):
    ...     def broadcast(self, key, value, out, priority=0):
    ...         value.copyto(out)
    >>> from tigon import kvstore
    >>> type(kvstore.create("alone")).__name__
    'Alone'
    >>> del KVStoreBase.kv_registry["alone"]
    """

    OPTIMIZER = "optimizer"
    kv_registry: ClassVar[dict[str, type[KVStoreBase]]] = {}

    @staticmethod
    def register(klass: type[KVStoreBase]) -> type[KVStoreBase]:
        """Make a class known by its name in lower case."""
        check(
            isinstance(klass, type),
            "KVStoreBase.register",
            f"expected a class; given {klass!r:.80}",
        )
        KVStoreBase.kv_registry[klass.__name__.lower()] = klass
        return klass

    def broadcast(self, key: Any, value: Any, out: Any, priority: int = 0) -> None:
        """Give all `out` the value of the first machine."""
        raise NotImplementedError(f"{type(self).__name__}: define broadcast")

    def pushpull(self, key: Any, value: Any, out: Any = None, priority: int = 0) -> None:
        """Give all `out` the sum of the values."""
        raise NotImplementedError(f"{type(self).__name__}: define pushpull")

    def set_optimizer(self, optimizer: Any) -> None:
        """Let the store move what it holds by what is pushed."""
        raise NotImplementedError(f"{type(self).__name__}: define set_optimizer")

    @staticmethod
    def is_capable(capability: str) -> bool:
        """Whether the store can do something beyond that: 'optimizer'."""
        return False

    def save_optimizer_states(self, fname: AnyPath, dump_optimizer: bool = False) -> None:
        """Write the states of the optimizer."""
        raise NotImplementedError(f"{type(self).__name__}: define save_optimizer_states")

    def load_optimizer_states(self, fname: AnyPath) -> None:
        """Read what `save_optimizer_states` wrote."""
        raise NotImplementedError(f"{type(self).__name__}: define load_optimizer_states")

    @property
    def type(self) -> str:
        """The name that it was made by."""
        return type(self).__name__.lower()

    @property
    def rank(self) -> int:
        """The number of this machine."""
        return 0

    @property
    def num_workers(self) -> int:
        """How many machines there are."""
        return 1
