"""Checkpoints of networks of symbolic cells, whose parameters are stored gate by gate."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from tigon import nd, sym
from tigon.base import check
from tigon.base.files import AnyPath
from tigon.nd.files import load_dense

__all__ = ["do_rnn_checkpoint", "load_rnn_checkpoint", "save_rnn_checkpoint"]


def _cells(cells: Any) -> list[Any]:
    return list(cells) if isinstance(cells, (list, tuple)) else [cells]


def _files(prefix: AnyPath, epoch: int) -> tuple[str, str]:
    stem = os.fsdecode(prefix)
    return f"{stem}-symbol.json", f"{stem}-{epoch:04d}.params"


def save_rnn_checkpoint(
    cells: Any,
    prefix: AnyPath,
    epoch: int,
    symbol: Any,
    arg_params: Mapping[str, Any],
    aux_params: Mapping[str, Any],
) -> None:
    """Write `prefix-symbol.json` and `prefix-0001.params` (of epoch 1), the parameters of these
    cells gate by gate, so that networks of other cells can read them."""
    for cell in _cells(cells):
        arg_params = cell.unpack_weights(arg_params)
    symbol_file, params_file = _files(prefix, epoch)
    symbol.save(symbol_file)
    arrays = {f"arg:{name}": array for name, array in arg_params.items()}
    arrays.update((f"aux:{name}", array) for name, array in aux_params.items())
    nd.save(params_file, arrays)


def load_rnn_checkpoint(
    cells: Any, prefix: AnyPath, epoch: int
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """(symbol, arguments, auxiliary states) that `save_rnn_checkpoint` wrote, the parameters packed
    as these cells take them."""
    symbol_file, params_file = _files(prefix, epoch)
    found: dict[str, dict[str, Any]] = {"arg": {}, "aux": {}}
    for name, array in load_dense(params_file).items():
        kind, _, own = name.partition(":")
        check(
            kind in found and own,
            "load_rnn_checkpoint",
            f"{params_file}: expected names such as 'arg:weight'; given '{name}'",
        )
        found[kind][own] = array
    arguments = found["arg"]
    for cell in _cells(cells):
        arguments = cell.pack_weights(arguments)
    return sym.load(symbol_file), arguments, found["aux"]


def do_rnn_checkpoint(cells: Any, prefix: AnyPath, period: int = 1) -> Callable[..., None]:
    """A callback that saves a checkpoint after every `period` epochs."""
    period = max(int(period), 1)

    def callback(epoch: int, symbol: Any, arguments: Any, auxiliary: Any) -> None:
        if (epoch + 1) % period == 0:
            save_rnn_checkpoint(cells, prefix, epoch + 1, symbol, arguments, auxiliary)

    return callback
