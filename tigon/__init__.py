"""tigon: write imperative, run symbolic.

>>> import tigon as mx
>>> x = mx.nd.array([1, 2, 3])
>>> (x * 2 + 1).asnumpy().tolist()
[3.0, 5.0, 7.0]
"""

from __future__ import annotations

import sys as _sys

from tigon import ops  # first: everything above is generated from the registry

from tigon import nd, sym  # isort: skip
from tigon import attribute, autograd, base, context, name, random, runtime
from tigon.attribute import AttrScope
from tigon.autograd import NoGradient
from tigon.base import InternalError, MXNetError, TigonError
from tigon.context import Context, cpu, cpu_pinned, current_context, gpu, num_gpus
from tigon.nd import NDArray, waitall
from tigon.sym import Constant, Executor, Group, Symbol, Variable, compile, load, var

from tigon import init, initializer, io, lr_scheduler, metric, optimizer, visualization  # isort: skip
from tigon import visualization as viz  # isort: skip
from tigon import gluon  # isort: skip
from tigon.gluon.function import jit  # isort: skip

__version__ = "0.1.0"

ndarray = nd
symbol = sym
_sys.modules["tigon.ndarray"] = nd
_sys.modules["tigon.symbol"] = sym
rnd = random

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
    "ops",
    "optimizer",
    "random",
    "rnd",
    "runtime",
    "sym",
    "symbol",
    "var",
    "visualization",
    "viz",
    "waitall",
]
