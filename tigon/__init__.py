"""tigon: write imperative, run symbolic.

>>> import tigon as mx
>>> x = mx.nd.array([1, 2, 3])
>>> (x * 2 + 1).asnumpy().tolist()
[3.0, 5.0, 7.0]
"""

from __future__ import annotations

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
from tigon.base import places as _places
from tigon.base.lazy import imported_on_demand as _imported_on_demand
from tigon.context import (
    Context,
    cpu,
    cpu_pinned,
    current_context,
    gpu,
    gpu_memory_info,
    num_gpus,
)
from tigon.nd import NDArray, waitall

__version__ = "0.1.0"

_places.install()

ndarray = nd
rnd = random

# What a program may do without is imported where it is first mentioned.
if _TYPE_CHECKING:
    from tigon import (
        attribute,
        autograd,
        callback,
        contrib,
        distributed,
        engine,
        gluon,
        image,
        init,
        initializer,
        io,
        kvstore,
        libinfo,
        log,
        lr_scheduler,
        metric,
        model,
        module,
        monitor,
        name,
        operator,
        optimizer,
        profiler,
        recordio,
        registry,
        rnn,
        sym,
        symbol,
        test_utils,
        util,
        visualization,
    )
    from tigon import image as img
    from tigon import kvstore as kv
    from tigon import module as mod
    from tigon import monitor as mon
    from tigon import visualization as viz
    from tigon.as_mxnet import install_as_mxnet
    from tigon.attribute import AttrScope
    from tigon.autograd import NoGradient
    from tigon.gluon.function import jit
    from tigon.sym import Constant, Executor, Group, Symbol, Variable, compile, executor, load, var
    from tigon.util import (
        is_np_array,
        is_np_shape,
        np_array,
        np_shape,
        set_np_shape,
        use_np,
        use_np_array,
        use_np_shape,
    )
else:
    _PARTS = """attribute autograd callback contrib distributed engine gluon image init initializer
        io kvstore libinfo log lr_scheduler metric model module monitor name operator
        optimizer profiler recordio registry rnn sym symbol test_utils util visualization"""
    _SYMBOLIC = "Constant Executor Group Symbol Variable compile executor load var"
    _MODES = """is_np_array is_np_shape np_array np_shape set_np_shape use_np use_np_array
        use_np_shape"""
    _imported_on_demand(
        globals(),
        {
            **{part: f"tigon.{part}" for part in _PARTS.split()},
            **{name: f"tigon.sym:{name}" for name in _SYMBOLIC.split()},
            **{name: f"tigon.util:{name}" for name in _MODES.split()},
            "AttrScope": "tigon.attribute:AttrScope",
            "NoGradient": "tigon.autograd:NoGradient",
            "install_as_mxnet": "tigon.as_mxnet:install_as_mxnet",
            "img": "tigon.image",
            "jit": "tigon.gluon.function:jit",
            "kv": "tigon.kvstore",
            "mod": "tigon.module",
            "mon": "tigon.monitor",
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
    "callback",
    "compile",
    "context",
    "contrib",
    "cpu",
    "cpu_pinned",
    "current_context",
    "distributed",
    "engine",
    "executor",
    "gluon",
    "gpu",
    "gpu_memory_info",
    "image",
    "img",
    "init",
    "initializer",
    "install_as_mxnet",
    "io",
    "is_np_array",
    "is_np_shape",
    "jit",
    "kv",
    "kvstore",
    "libinfo",
    "load",
    "log",
    "lr_scheduler",
    "metric",
    "mod",
    "model",
    "module",
    "mon",
    "monitor",
    "name",
    "nd",
    "ndarray",
    "np_array",
    "np_shape",
    "num_gpus",
    "operator",
    "ops",
    "optimizer",
    "profiler",
    "random",
    "recordio",
    "registry",
    "rnd",
    "rnn",
    "runtime",
    "set_np_shape",
    "sym",
    "symbol",
    "test_utils",
    "use_np",
    "use_np_array",
    "use_np_shape",
    "util",
    "var",
    "visualization",
    "viz",
    "waitall",
]

if base.config.launched().local_size > 1:
    from tigon.runtime.threads import settle_by_launch as _settle_by_launch

    _settle_by_launch()

if base.config.is_on("MXNET_PROFILER_AUTOSTART"):
    from tigon.profiler import set_state as _set_state

    _set_state("run")
