"""Parameters from files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tigon.base import as_dtype, check
from tigon.context import check_contexts
from tigon.gluon.parameter.parameter import Parameter


def load_named(filename: Any, where: str, writer: str) -> dict[str, Any]:
    """Arrays by name. A file of no arrays at all does not tell whether they had names."""
    from tigon import nd

    loaded = nd.load(filename)
    if isinstance(loaded, list) and not loaded:
        return {}
    check(
        isinstance(loaded, dict),
        where,
        f"{os.fsdecode(filename)} holds a list of arrays without names; expected what {writer} "
        "wrote",
    )
    return loaded


def load_into(
    params: Mapping[str, Parameter],
    arrays: Mapping[str, Any],
    source: str,
    ctx: Any,
    allow_missing: bool,
    ignore_extra: bool,
    cast_dtype: bool = False,
    dtype_source: str = "current",
) -> None:
    """Give `params` the arrays of the same key. All names and shapes are checked first, so that a
    file that does not fit changes nothing. With `dtype_source` "saved" parameters take the dtypes
    of the arrays, otherwise arrays (under `cast_dtype`) those of the parameters."""
    check_contexts("load_parameters", ctx)
    check(
        dtype_source in ("current", "saved"),
        "load_parameters",
        f"dtype_source is 'current' or 'saved'; given {dtype_source!r}",
    )
    saved = dtype_source == "saved"
    missing = [key for key in params if key not in arrays]
    check(
        allow_missing or not missing,
        "load_parameters",
        f"{source} lacks {_listed(missing)}; it has {_listed(list(arrays))}; "
        "pass allow_missing=True to keep the present values",
    )
    extra = [key for key in arrays if key not in params]
    check(
        ignore_extra or not extra,
        "load_parameters",
        f"{source} has {_listed(extra)}, which the block does not; it has "
        f"{_listed(list(params))}; pass ignore_extra=True to skip them",
    )
    wanted = [(key, param) for key, param in params.items() if key in arrays]
    for key, param in wanted:
        _check_fits(key, param, arrays[key], source, cast_dtype or saved)
    for key, param in wanted:
        if saved:
            param.cast(arrays[key].dtype)
        param._load(arrays[key], ctx, cast_dtype)


def _check_fits(key: str, param: Parameter, array: Any, source: str, cast_dtype: bool) -> None:
    expected, given = param.shape, tuple(array.shape)
    fits = expected is None or (
        len(expected) == len(given)
        and all(old in (0, new) for old, new in zip(expected, given, strict=True))
    )
    check(
        fits,
        "load_parameters",
        f"'{key}' expects shape {expected}; {source} has {given}; was it saved by another network?",
    )
    check(
        cast_dtype or as_dtype(array.dtype) is as_dtype(param.dtype),
        "load_parameters",
        f"'{key}' expects {param.dtype}; {source} has {as_dtype(array.dtype)}; "
        "pass cast_dtype=True or cast the block first",
    )


def _listed(names: list[str], most: int = 8) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return (shown + f" and {len(names) - most} more" if len(names) > most else shown) or "nothing"
