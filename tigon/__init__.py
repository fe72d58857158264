"""tigon: write imperative, run symbolic.

>>> import tigon as mx
>>> x = mx.nd.array([1, 2, 3])
>>> (x * 2 + 1).asnumpy().tolist()
[3.0, 5.0, 7.0]
"""

from __future__ import annotations

import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING

from tigon import ops  # first: everything above is generated from the registry

from tigon import nd  # isort: skip
from tigon import base, context, random, runtime
from tigon.base import (
    InternalError,
    MXNetError,
    TigonError,
    TigonIndexError,
    TigonTimeoutError,
    TigonTypeError,
)
from tigon.base.lazy import imported_on_demand as _imported_on_demand
from tigon.context import Context, cpu, cpu_pinned, current_context, gpu, num_gpus
from tigon.nd import NDArray, waitall

__version__ = "0.1.0"

ndarray = nd
_sys.modules["tigon.ndarray"] = nd
_sys.modules["tigon.ndarray.ndarray"] = nd.ndarray
rnd = random

# What a program may do without is imported where it is first mentioned.
if _TYPE_CHECKING:
    from tigon import (
        attribute,
        autograd,
        gluon,
        init,
        initializer,
        io,
        lr_scheduler,
        metric,
        name,
        operator,
        optimizer,
        rnn,
        sym,
        symbol,
        visualization,
    )
    from tigon import visualization as viz
    from tigon.attribute import AttrScope
    from tigon.autograd import NoGradient
    from tigon.gluon.function import jit
    from tigon.sym import Constant, Executor, Group, Symbol, Variable, compile, load, var
else:
    _PARTS = """attribute autograd gluon init initializer io lr_scheduler metric name operator
        optimizer rnn sym symbol visualization"""
    _SYMBOLIC = "Constant Executor Group Symbol Variable compile load var"
    _imported_on_demand(
        globals(),
        {
            **{part: f"tigon.{part}" for part in _PARTS.split()},
            **{name: f"tigon.sym:{name}" for name in _SYMBOLIC.split()},
            "AttrScope": "tigon.attribute:AttrScope",
            "NoGradient": "tigon.autograd:NoGradient",
            "jit": "tigon.gluon.function:jit",
            "viz": "tigon.visualization",
        },
    )

__all__ = [
    "AttrScope",
    "Constant",
    "Context",
    "Executor",
    "Group",
    "InternalError",
    "MXNetError",
    "NDArray",
    "NoGradient",
    "Symbol",
    "TigonError",
    "TigonIndexError",
    "TigonTimeoutError",
    "TigonTypeError",
    "Variable",
    "attribute",
    "autograd",
    "base",
    "compile",
    "context",
    "cpu",
    "cpu_pinned",
    "current_context",
    "gluon",
    "gpu",
    "init",
    "initializer",
    "io",
    "jit",
    "load",
    "lr_scheduler",
    "metric",
    "name",
    "nd",
    "ndarray",
    "num_gpus",
    "operator",
    "ops",
    "optimizer",
    "random",
    "rnd",
    "rnn",
    "runtime",
    "sym",
    "symbol",
    "var",
    "visualization",
    "viz",
    "waitall",
]
