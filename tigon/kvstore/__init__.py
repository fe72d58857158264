"""Stores of arrays by key: where gradients of several contexts, or of several ranks, meet."""

from tigon.base.lazy import complete as _complete
from tigon.kvstore.base import KVStoreBase
from tigon.kvstore.distributed import DISTRIBUTED as _DISTRIBUTED
from tigon.kvstore.distributed import DistributedKVStore
from tigon.kvstore.kvstore import MAKERS as _MAKERS
from tigon.kvstore.kvstore import KVStore, create

_MAKERS.update(dict.fromkeys(_DISTRIBUTED, DistributedKVStore))

__all__ = ["DistributedKVStore", "KVStore", "KVStoreBase", "create"]

_complete(globals())
