"""Imperative arrays: `nd.X(...)` runs at once, for every operator there is.

>>> from tigon import nd
>>> x = nd.array([[1, 2], [3, 4]])
>>> (nd.dot(x, x) + 1).asnumpy().tolist()
[[8.0, 11.0], [16.0, 23.0]]
"""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import Any as _Any

from tigon import ops as _ops  # noqa: F401  (registers the operators)
from tigon.nd import control as _control
from tigon.nd import ndarray as _array
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
    histogram,
    linspace,
    moveaxis,
    onehot_encode,
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
from tigon.nd.indexing import boolean_mask as _boolean_mask
from tigon.ops import record as _record
from tigon.ops.frontend import publish as _publish
from tigon.program import operators as _operators

_operators.install()


def _custom() -> _Any:
    """Imported where it is first asked for."""
    return _import_module("tigon.nd.custom").Custom


def _several(name: str) -> _Any:
    return lambda: getattr(_import_module("tigon.nd.several"), name)


_OF_SPARSE = (
    *("cast_storage", "retain", "square_sum"),
    *("BaseSparseNDArray", "CSRNDArray", "RowSparseNDArray"),
    *("array", "csr_matrix", "row_sparse_array", "zeros", "empty"),
    *("add", "subtract", "multiply", "divide"),
)


def _sparse(name: str) -> _Any:
    return lambda: _import_module("tigon.nd.stored.operators").FUNCTIONS[name]


_ON_DEMAND = {
    "Custom": _custom,
    **{"cast_storage": _sparse("cast_storage"), "square_sum": _sparse("square_sum")},
    "sparse_retain": _sparse("retain"),
    "reset_arrays": _several("reset_arrays"),
    **{
        name: _several(name)
        for part in ("", "preloaded_")
        for name in (
            f"{part}multi_sgd_update",
            f"{part}multi_sgd_mom_update",
            f"{part}multi_mp_sgd_update",
            f"{part}multi_mp_sgd_mom_update",
        )
    },
}


_find = _publish(
    globals(),
    operands="arrays",
    make=_make_function,
    pairs={**_pairs.functions(), **_ON_DEMAND},
    own={
        "random": _sampling.functions(),
        "contrib": {
            "boolean_mask": _boolean_mask,
            "foreach": _control.foreach,
            "while_loop": _control.while_loop,
            "cond": _control.cond,
        },
    },
    later={
        "sparse": {name: _sparse(name) for name in _OF_SPARSE},
        "contrib": {
            name: _several(name)
            for name in (
                "multi_adamw_update",
                "multi_lamb_update",
                "multi_mp_adamw_update",
                "multi_mp_lamb_update",
            )
        },
    },
)
_array.install(_find)

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
    "histogram",
    "linspace",
    "load",
    "load_frombuffer",
    "moveaxis",
    "onehot_encode",
    "ones",
    "save",
    "shuffle",
    "split_v2",
    "to_dlpack_for_read",
    "to_dlpack_for_write",
    "waitall",
    "zeros",
    *sorted(n for n in {*_record.names(), *_pairs.functions(), *_ON_DEMAND} if n[0] != "_"),
]
