"""Parameters by name, all under one prefix."""

from __future__ import annotations

import os
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tigon import initializer
from tigon.base import TigonError, as_dtype, check
from tigon.base.arguments import NamesWrongTypes
from tigon.base.files import AnyPath
from tigon.context import Context, check_contexts
from tigon.export.params import plain_names
from tigon.gluon.parameter.files import load_into, load_named
from tigon.gluon.parameter.parameter import Constant, Parameter, as_shape
from tigon.gluon.parameters_section import describe as _describe


class ParameterDict(NamesWrongTypes):
    """Parameters by name, all under one prefix; `get` creates what is missing.

    >>> params = ParameterDict("net_")
    >>> params.get("weight", shape=(2, 2)).name
    'net_weight'
    """

    _is_gluon_object = True
    _is_parameter_dictionary = True

    def __init__(self, prefix: str = "", shared: ParameterDict | None = None) -> None:
        self._prefix = prefix
        self._params: OrderedDict[str, Parameter] = OrderedDict()
        self._shared = shared

    @property
    def prefix(self) -> str:
        return self._prefix

    def __repr__(self) -> str:
        lines = "\n".join(f"  {param!r}" for param in self.values())
        name = f"{self._prefix} " if self._prefix else ""
        return f"{name}(\n{lines}\n)"

    def __getitem__(self, key: str) -> Parameter:
        if key not in self._params:
            known = ", ".join(self._params) or "none"
            raise KeyError(f"ParameterDict '{self._prefix}': has no '{key}'; it has: {known}")
        return self._params[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __contains__(self, key: object) -> bool:
        return key in self._params

    def items(self) -> Iterable[tuple[str, Parameter]]:
        return self._params.items()

    def keys(self) -> Iterable[str]:
        return self._params.keys()

    def values(self) -> Iterable[Parameter]:
        return self._params.values()

    def _find(self, name: str) -> Parameter | None:
        without: list[ParameterDict] = []
        owner: ParameterDict | None = self
        while owner is not None and name not in owner._params:
            without.append(owner)
            owner = owner._shared
        if owner is None:
            return None
        for dictionary in without:
            dictionary._params[name] = owner._params[name]
        return owner._params[name]

    def get(self, name: str, **fields: Any) -> Parameter:
        """The parameter `prefix + name`, created with these fields if it is new."""
        full = self._prefix + name
        found = self._find(full)
        if found is None:
            found = Parameter(full, **fields)
            self._params[full] = found
            return found
        for key, value in fields.items():
            _reconcile(found, key, value)
        return found

    def get_constant(self, name: str, value: Any = None) -> Constant:
        """The constant `prefix + name`, created from `value` if it is new, which it keeps."""
        full = self._prefix + name
        found = self._find(full)
        if found is None:
            check(
                value is not None,
                f"ParameterDict '{self._prefix}'",
                f"has no constant '{name}'; give its value to create it",
            )
            found = Constant(full, value)
            self._params[full] = found
        check(
            isinstance(found, Constant),
            f"ParameterDict '{self._prefix}'",
            f"'{name}' is a Parameter, not a Constant; choose another name",
        )
        assert isinstance(found, Constant)
        if value is not None and not found.has(value):
            raise TigonError(
                f"ParameterDict '{self._prefix}': constant '{name}' has other values; given "
                f"{value!r:.80}; take another name, or leave the value out"
            )
        return found

    def update(self, other: ParameterDict | Mapping[str, Parameter]) -> None:
        """Add all of another dictionary's parameters."""
        for name, param in other.items():
            check(
                self._params.get(name, param) is param,
                f"ParameterDict '{self._prefix}'",
                f"has another parameter named '{name}'; give the blocks different prefixes",
            )
        self._params.update(other.items())

    def initialize(
        self, init: Any = None, ctx: Any = None, verbose: bool = False, force_reinit: bool = False
    ) -> None:
        """Initialize every parameter; `init` serves those that have none of their own."""
        check_contexts("initialize", ctx)
        default = initializer.create(init if init is not None else "uniform")
        if verbose:
            default.set_verbosity(verbose=True)
        ready = [param for param in self.values() if param.is_initialized and not force_reinit]
        for param in self.values():
            if force_reinit or not param.is_initialized:
                param.initialize(None, ctx, default, force_reinit=force_reinit)
        if ready:
            others = f" and {len(ready) - 1} more" if len(ready) > 1 else ""
            warnings.warn(
                f"{ready[0]._where}{others}: already initialized; pass force_reinit=True to start "
                "over",
                stacklevel=2,
            )

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        for param in self.values():
            param.zero_grad()

    def reset_ctx(self, ctx: Any) -> None:
        """Move all parameters."""
        check_contexts("ParameterDict.reset_ctx", ctx)
        for param in self.values():
            param.reset_ctx(ctx)

    def list_ctx(self) -> list[Context]:
        """Every context that some parameter lives on."""
        found: dict[Context, None] = {}
        for param in self.values():
            found.update(dict.fromkeys(param.list_ctx()))
        return list(found)

    def setattr(self, name: str, value: Any) -> None:
        """Set an attribute of every parameter: `setattr("grad_req", "null")`."""
        for param in self.values():
            setattr(param, name, value)

    def save(self, filename: AnyPath, strip_prefix: str = "") -> None:
        """Write all values under their full names, less `strip_prefix`."""
        from tigon import nd

        arrays = {}
        for param in self.values():
            check(
                param.name.startswith(strip_prefix),
                "ParameterDict.save",
                f"prefix '{strip_prefix}' is to be stripped, but '{param.name}' does not start "
                "with it; use collect_params().save or another prefix",
            )
            arrays[param.name[len(strip_prefix) :]] = param._whole()
        nd.save(filename, arrays)

    def load(
        self,
        filename: AnyPath,
        ctx: Any = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        restore_prefix: str = "",
        cast_dtype: bool = False,
        dtype_source: str = "current",
    ) -> None:
        """Read values written by `save`, whose names lack `restore_prefix`."""
        self.load_dict(
            load_named(filename, "ParameterDict.load", "save"),
            ctx,
            allow_missing,
            ignore_extra,
            restore_prefix,
            os.fsdecode(filename),
            cast_dtype,
            dtype_source,
        )

    def load_dict(
        self,
        arrays: Mapping[str, Any],
        ctx: Any = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        restore_prefix: str = "",
        filename: str = "the dictionary",
        cast_dtype: bool = False,
        dtype_source: str = "current",
    ) -> None:
        """Take values from a dictionary of arrays. Checks every name and shape before the first
        parameter changes."""
        plain = plain_names(arrays, filename)
        load_into(
            dict(self._params),
            {restore_prefix + name: array for name, array in plain.items()},
            filename,
            ctx,
            allow_missing,
            ignore_extra,
            cast_dtype,
            dtype_source,
        )

    def select(self, pattern: str | None) -> ParameterDict:
        """Those whose name matches the regular expression."""
        chosen = ParameterDict(self._prefix)
        match = re.compile(pattern or "")
        chosen.update({name: param for name, param in self.items() if match.match(name)})
        return chosen


def _reconcile(param: Parameter, key: str, value: Any) -> None:
    """A second `get` may fill in what was unknown, and must not contradict what was known."""
    if key == "shape":
        if value is not None:
            param.shape = _merge(param.shape, as_shape(value))
        return
    present = getattr(param, key, None)
    if key == "dtype":
        value = as_dtype(value).name
    if present is None or key in ("init", "allow_deferred_init", "differentiable"):
        if key == "init" and present is None:
            param.init = value
        return
    check(
        value is None or present == value,
        param._where,
        f"exists with {key}={present!r}; asked for {value!r}; use another name or share params",
    )


def _merge(old: tuple[int, ...] | None, new: tuple[int, ...]) -> tuple[int, ...]:
    if old is None or len(old) != len(new):
        return new
    return tuple(a if b == 0 else b for a, b in zip(old, new, strict=True))


_describe(
    ParameterDict,
    prefix="what the names of parameters made by `get` begin with",
    shared="another dictionary, whose parameters are taken where it has one of the name",
)
