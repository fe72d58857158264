"""Parameters from files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tigon.base import as_dtype, check
from tigon.context import check_contexts
from tigon.gluon.parameter.parameter import Parameter

Names = Mapping[str, Any] | Callable[[str], Any]
"""From a parameter's name to what it is called in a file: its name there, None where that is the
same, or (name, function), where the function makes of the file's array that of the parameter."""


def load_named(filename: Any, where: str, writer: str) -> dict[str, Any]:
    """Arrays by name. A file of no arrays at all does not tell whether they had names."""
    from tigon.nd.files import load_dense

    loaded = load_dense(filename)
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
    ignore_extra: bool | Callable[[str], Any],
    cast_dtype: bool = False,
    dtype_source: str = "current",
    names: Names | None = None,
) -> None:
    """Give `params` the arrays of the same key, or of the name that `names` tells. All names and
    shapes are checked first, so that a file that does not fit changes nothing. With `dtype_source`
    "saved" parameters take the dtypes of the arrays, otherwise arrays (under `cast_dtype`) those of
    the parameters."""
    check_contexts("load_parameters", ctx)
    check(
        dtype_source in ("current", "saved"),
        "load_parameters",
        f"dtype_source is 'current' or 'saved'; given {dtype_source!r}",
    )
    check(
        names is None or callable(names) or isinstance(names, Mapping),
        "load_parameters",
        "names: expected a function, as gluon.utils.torch_names, or a mapping; given "
        f"{type(names).__name__}",
    )
    saved = dtype_source == "saved"
    sources = {key: _source(key, names) for key in params}
    missing = [told.of(key) for key, told in sources.items() if told.name not in arrays]
    check(
        allow_missing or not missing,
        "load_parameters",
        f"{source} lacks {_listed(missing)}; it has {_listed(list(map(repr, arrays)))}; "
        "pass allow_missing=True to keep the present values",
    )
    taken = {told.name for told in sources.values()}
    extra = [key for key in arrays if key not in taken]
    if callable(ignore_extra):
        extra = [key for key in extra if not ignore_extra(key)]
    check(
        ignore_extra is True or not extra,
        "load_parameters",
        f"{source} has {_listed(list(map(repr, extra)))}, which the block does not; it has "
        f"{_listed([told.of(key) for key, told in sources.items()])}; pass ignore_extra=True to "
        "skip them",
    )
    _check_names(names, params)
    wanted = {
        key: (param, sources[key].array(arrays))
        for key, param in params.items()
        if sources[key].name in arrays
    }
    for key, (param, array) in wanted.items():
        _check_fits(sources[key].of(key), param, array, source, cast_dtype or saved)
    for param, array in wanted.values():
        if saved:
            param.cast(array.dtype)
        param._load(array, ctx, cast_dtype)


class _Source(NamedTuple):
    """Where the values of a parameter come from."""

    name: str
    change: Callable[[Any], Any] | None = None

    def of(self, key: str) -> str:
        """The parameter, and its name in the file where that is another one."""
        return repr(key) if key == self.name else f"{self.name!r} for {key!r}"

    def array(self, arrays: Mapping[str, Any]) -> Any:
        found = arrays[self.name]
        if self.change is None:
            return found
        changed = self.change(found)
        check(
            hasattr(changed, "asnumpy"),
            "load_parameters",
            f"names: what changes {self.name!r:.80} gives an NDArray; it gave "
            f"{type(changed).__name__}",
        )
        return changed


def _source(key: str, names: Names | None) -> _Source:
    told = names(key) if callable(names) else None if names is None else names.get(key)
    if told is None:
        return _Source(key)
    if isinstance(told, str):
        return _Source(told)
    check(
        isinstance(told, tuple)
        and len(told) == 2
        and isinstance(told[0], str)
        and callable(told[1]),
        "load_parameters",
        f"names: for {key!r:.80} expected the name in the file, (name, function) or None; given "
        f"{told!r:.80}",
    )
    return _Source(*told)


def _check_names(names: Names | None, params: Mapping[str, Parameter]) -> None:
    unknown = [key for key in names if key not in params] if isinstance(names, Mapping) else []
    check(
        not unknown,
        "load_parameters",
        f"names has {_listed(list(map(repr, unknown)))}, which the block does not; it has "
        f"{_listed(list(map(repr, params)))}; give names of the block for names of the file",
    )


def _check_fits(key: str, param: Parameter, array: Any, source: str, cast_dtype: bool) -> None:
    expected, given = param.shape, tuple(array.shape)
    fits = expected is None or (
        len(expected) == len(given)
        and all(old in (0, new) for old, new in zip(expected, given, strict=True))
    )
    check(
        fits,
        "load_parameters",
        f"{key} expects shape {expected}; {source} has {given}; was it saved by another network?",
    )
    check(
        cast_dtype or as_dtype(array.dtype) is as_dtype(param.dtype),
        "load_parameters",
        f"{key} expects {param.dtype}; {source} has {as_dtype(array.dtype)}; "
        "pass cast_dtype=True or cast the block first",
    )


_TORCH_LAST = {"gamma": "weight", "beta": "bias", "alpha": "weight"}
_TORCH_RECURRENT = re.compile(r"([lr])([0-9]+)_(i2h|h2h)_(weight|bias)")


def torch_names(path: str) -> str:
    """What PyTorch's layer of the same kind calls a parameter, for `load_parameters(names=...)` of
    a network that is built alike: normalization and PReLU say weight and bias, recurrent layers
    name gates' weights by layer and direction.

    >>> torch_names("0.gamma"), torch_names("1.running_mean")
    ('0.weight', '1.running_mean')
    >>> torch_names("rnn.l0_i2h_weight"), torch_names("rnn.r1_h2h_bias")
    ('rnn.weight_ih_l0', 'rnn.bias_hh_l1_reverse')
    """
    front, dot, last = path.rpartition(".")
    found = _TORCH_RECURRENT.fullmatch(last)
    if found:
        direction, layer, kind, what = found.groups()
        reverse = "_reverse" if direction == "r" else ""
        last = f"{what}_{kind[0]}h_l{layer}{reverse}"
    return front + dot + _TORCH_LAST.get(last, last)


def _listed(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return (shown + f" and {len(names) - most} more" if len(names) > most else shown) or "nothing"
