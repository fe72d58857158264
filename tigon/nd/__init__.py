"""Imperative arrays: `nd.X(...)` runs at once, for every operator there is.

>>> from tigon import nd
>>> x = nd.array([[1, 2], [3, 4]])
>>> (nd.dot(x, x) + 1).asnumpy().tolist()
[[8.0, 11.0], [16.0, 23.0]]
"""

from __future__ import annotations

import sys as _sys
import types as _types
from typing import Any as _Any

from tigon import ops as _ops  # noqa: F401  (registers the operators)
from tigon.nd import array as _array
from tigon.nd import pairs as _pairs
from tigon.nd import sampling as _sampling
from tigon.nd.creation import (
    arange,
    array,
    concatenate,
    empty,
    eye,
    from_dlpack,
    from_numpy,
    full,
    linspace,
    moveaxis,
    ones,
    split_v2,
    to_dlpack_for_read,
    to_dlpack_for_write,
    waitall,
    zeros,
)
from tigon.nd.dispatch import NDArray
from tigon.nd.dispatch import make_function as _make_function
from tigon.nd.files import load, load_frombuffer, save
from tigon.ops import record as _record
from tigon.ops.signature import placement as _placement
from tigon.runtime import operators as _operators

_operators.install()

_namespaces = {
    name: _types.ModuleType(f"tigon.nd.{name}", f"Operators of the group '{name}' on arrays.")
    for name in ("random", "linalg", "contrib", "image", "sparse", "op", "_internal")
}
_generated: dict[str, _Any] = {}
for _name in _record.names():
    _function = _make_function(_record.get(_name), _name)
    _generated[_name] = _function
    setattr(_namespaces["op"], _name, _function)
    if _name.startswith("_"):
        setattr(_namespaces["_internal"], _name, _function)
    _placed = _placement(_name)
    if _placed is not None:
        setattr(_namespaces[_placed[0]], _placed[1], _function)
    if _name not in globals():
        globals()[_name] = _function
for _name, _function in _pairs.functions().items():
    globals()[_name] = _generated[_name] = _function
for _name, _function in _sampling.functions().items():
    setattr(_namespaces["random"], _name, _function)
for _name, _module in _namespaces.items():
    _sys.modules[_module.__name__] = _module
    globals()[_name] = _module

_array.install({**_generated, "split_v2": split_v2})

shuffle = _sampling.shuffle
NDArray.__module__ = "tigon.nd"

__all__ = [
    "NDArray",
    "arange",
    "array",
    "concatenate",
    "empty",
    "eye",
    "from_dlpack",
    "from_numpy",
    "full",
    "linspace",
    "load",
    "load_frombuffer",
    "moveaxis",
    "ones",
    "save",
    "shuffle",
    "split_v2",
    "to_dlpack_for_read",
    "to_dlpack_for_write",
    "waitall",
    "zeros",
    *sorted(name for name in _generated if not name.startswith("_")),
]
