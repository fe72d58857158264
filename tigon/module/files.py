"""Checkpoints: a symbol, its parameters, and what callbacks are told."""

from __future__ import annotations

import os
from collections import namedtuple
from collections.abc import Collection, Mapping
from typing import Any

from tigon import nd, sym
from tigon.base import check
from tigon.base.files import AnyPath
from tigon.gluon.parameter.files import load_named

BatchEndParam = namedtuple("BatchEndParam", ["epoch", "nbatch", "eval_metric", "locals"])
"""What a callback is told after a batch: numbers of epoch and batch, the metric, and the variables
of the loop."""

Params = tuple[dict[str, Any], dict[str, Any]]


def symbol_file(prefix: AnyPath) -> str:
    """Where the symbol of a checkpoint is."""
    return f"{os.fsdecode(prefix)}-symbol.json"


def params_file(prefix: AnyPath, epoch: int) -> str:
    """Where the parameters of an epoch are.

    >>> params_file("net", 3)
    'net-0003.params'
    """
    return f"{os.fsdecode(prefix)}-{epoch:04d}.params"


def states_file(prefix: AnyPath, epoch: int) -> str:
    """Where the states of the optimizer of an epoch are."""
    return f"{os.fsdecode(prefix)}-{epoch:04d}.states"


def write_params(
    fname: AnyPath, arg_params: Mapping[str, Any], aux_params: Mapping[str, Any] | None
) -> None:
    """Arguments under `arg:`, auxiliary states under `aux:`."""
    arrays = {f"arg:{name}": array for name, array in arg_params.items()}
    arrays.update((f"aux:{name}", array) for name, array in (aux_params or {}).items())
    nd.save(fname, arrays)


def read_params(fname: AnyPath) -> Params:
    """Arguments and auxiliary states of a file of parameters."""
    found: dict[str, dict[str, Any]] = {"arg": {}, "aux": {}}
    for name, array in load_named(fname, "load_params", "save_checkpoint").items():
        kind, _, own = name.partition(":")
        check(
            kind in found and own,
            "load_params",
            f"{os.fsdecode(fname)}: expected names such as 'arg:fc_weight' or "
            f"'aux:bn_moving_mean'; given '{name:.80}'; files of Gluon's networks are read by "
            "load_parameters",
        )
        found[kind][own] = array
    return found["arg"], found["aux"]


def save_checkpoint(
    prefix: AnyPath,
    epoch: int,
    symbol: Any,
    arg_params: Mapping[str, Any],
    aux_params: Mapping[str, Any] | None,
    remove_amp_cast: bool = True,
) -> None:
    """Write `prefix-symbol.json`, unless `symbol` is None, and `prefix-0001.params`, of epoch 1.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/net", 1, sym.var("w") * 2, {"w": nd.ones((2,))}, {})
    ...     symbol, arguments, states = load_checkpoint(f"{folder}/net", 1)
    ...     sorted(os.listdir(folder)), symbol.list_arguments(), states
    (['net-0001.params', 'net-symbol.json'], ['w'], {})
    """
    if symbol is not None:
        symbol.save(symbol_file(prefix), remove_amp_cast=remove_amp_cast)
    write_params(params_file(prefix, epoch), arg_params, aux_params)


def load_params(prefix: AnyPath, epoch: int) -> Params:
    """Arguments and auxiliary states that `save_checkpoint` wrote."""
    return read_params(params_file(prefix, epoch))


def load_checkpoint(prefix: AnyPath, epoch: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """(symbol, arguments, auxiliary states) that `save_checkpoint` wrote."""
    symbol = sym.load(symbol_file(prefix))
    return (symbol, *by_kind(*load_params(prefix, epoch), symbol.list_auxiliary_states()))


def by_kind(
    arg_params: Mapping[str, Any] | None,
    aux_params: Mapping[str, Any] | None,
    states: Collection[str],
) -> tuple[Any, Any]:
    """Arguments and auxiliary states. Old files and programs have `states` of BatchNorm, which are
    auxiliary, among the arguments.

    >>> by_kind({"gamma": 1, "moving_mean": 2}, None, ["moving_mean"])
    ({'gamma': 1}, {'moving_mean': 2})
    >>> by_kind(None, {"moving_mean": 2}, ["moving_mean"])
    (None, {'moving_mean': 2})
    """
    known, given = aux_params or {}, arg_params or {}
    moved = {name: given[name] for name in states if name in given and name not in known}
    if not moved:
        return arg_params, aux_params
    return {name: array for name, array in given.items() if name not in moved}, {**known, **moved}
