"""Symbols: `sym.X(...)` builds a graph, for every operator there is.

>>> from tigon import sym
>>> net = sym.FullyConnected(sym.var("data"), num_hidden=10, name="fc1")
>>> net.list_arguments()
['data', 'fc1_weight', 'fc1_bias']
"""

from __future__ import annotations

from tigon import ops as _ops  # noqa: F401  (registers the operators)
from tigon.base import NotImplementedForSymbol
from tigon.ops import record as _record
from tigon.ops.frontend import publish as _publish
from tigon.sym import control as _control
from tigon.sym import functions as _functions
from tigon.sym import sampling as _sampling
from tigon.sym.compiled import CompiledFunction, compile
from tigon.sym.custom import Custom as _Custom
from tigon.sym.executor import Executor
from tigon.sym.functions import (
    arange,
    eye,
    full,
    histogram,
    linspace,
    moveaxis,
    ones,
    split_v2,
    zeros,
)
from tigon.sym.symbol import (
    Constant,
    Group,
    Symbol,
    Variable,
    load,
    load_json,
    var,
)

_functions.install_operators()
_find = _publish(
    globals(),
    operands="symbols",
    make=_functions.make_function,
    pairs={**_functions.pair_functions(), "Custom": lambda: _Custom},
    own={
        "random": _sampling.functions(),
        "contrib": {
            "boolean_mask": _functions.boolean_mask,
            "foreach": _control.foreach,
            "while_loop": _control.while_loop,
            "cond": _control.cond,
        },
    },
)
_functions.install_methods(_find)

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
    "histogram",
    "linspace",
    "load",
    "load_json",
    "moveaxis",
    "ones",
    "split_v2",
    "var",
    "zeros",
    *sorted(n for n in {*_record.names(), *_functions.pair_functions(), "Custom"} if n[0] != "_"),
]
