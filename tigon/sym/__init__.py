"""Symbols: `sym.X(...)` builds a graph, for every operator there is.

>>> from tigon import sym
>>> net = sym.FullyConnected(sym.var("data"), num_hidden=10, name="fc1")
>>> net.list_arguments()
['data', 'fc1_weight', 'fc1_bias']
"""

from __future__ import annotations

import sys as _sys
import types as _types
from typing import Any as _Any

from tigon import ops as _ops  # noqa: F401  (registers the operators)
from tigon.ops import record as _record
from tigon.ops.signature import placement as _placement
from tigon.sym import functions as _functions
from tigon.sym import sampling as _sampling
from tigon.sym.compiled import CompiledFunction, compile
from tigon.sym.executor import Executor
from tigon.sym.functions import (
    arange,
    eye,
    full,
    linspace,
    load,
    load_json,
    moveaxis,
    ones,
    split_v2,
    zeros,
)
from tigon.sym.symbol import (
    Constant,
    Group,
    NotImplementedForSymbol,
    Symbol,
    Variable,
    var,
)

_namespaces = {
    name: _types.ModuleType(f"tigon.sym.{name}", f"Operators of the group '{name}' on symbols.")
    for name in ("random", "linalg", "contrib", "image", "sparse", "op", "_internal")
}
_generated: dict[str, _Any] = {}
for _name in _record.names():
    _function = _functions.make_function(_record.get(_name), _name)
    _generated[_name] = _function
    setattr(_namespaces["op"], _name, _function)
    if _name.startswith("_"):
        setattr(_namespaces["_internal"], _name, _function)
    _placed = _placement(_name)
    if _placed is not None:
        setattr(_namespaces[_placed[0]], _placed[1], _function)
    if _name not in globals():
        globals()[_name] = _function
for _name, _function in _functions.pair_functions().items():
    globals()[_name] = _generated[_name] = _function
for _name, _function in _sampling.functions().items():
    setattr(_namespaces["random"], _name, _function)
for _name, _module in _namespaces.items():
    _sys.modules[_module.__name__] = _module
    globals()[_name] = _module

_functions.install_operators()
_functions.install_methods({**_generated, "split_v2": split_v2})

__all__ = [
    "CompiledFunction",
    "Constant",
    "Executor",
    "Group",
    "NotImplementedForSymbol",
    "Symbol",
    "Variable",
    "arange",
    "compile",
    "eye",
    "full",
    "linspace",
    "load",
    "load_json",
    "moveaxis",
    "ones",
    "split_v2",
    "var",
    "zeros",
    *sorted(name for name in _generated if not name.startswith("_")),
]
