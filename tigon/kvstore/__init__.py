"""Stores of arrays by key: where gradients of several contexts meet."""

from tigon.base.lazy import complete as _complete
from tigon.kvstore.base import KVStoreBase
from tigon.kvstore.kvstore import KVStore, create

__all__ = ["KVStore", "KVStoreBase", "create"]

_complete(globals())
