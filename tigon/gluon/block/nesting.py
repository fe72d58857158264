"""Nests of arguments as flat lists with a format, as programs for MXNet take them apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon.base import TigonError, check, nested
from tigon.nd import NDArray
from tigon.sym import Symbol

tensor_types = (Symbol, NDArray)


def flatten(args: Any, inout_str: str) -> tuple[list[Any], Any]:
    """The arrays, or symbols, of a nest of lists and tuples in order, and its format: 0 for one, -1
    for None, the number of its outputs for a symbol of several, and lists of these.

    >>> from tigon import nd
    >>> x = nd.ones(1)
    >>> flat, form = flatten([x, (x, None)], "input")
    >>> len(flat), form
    (3, [0, [0, -1]])
    >>> regroup(["a", "b", None], form)
    ['a', ['b', None]]
    """
    flat: list[Any] = []
    made: list[Any] = []
    for kind, what in nested.steps(args, f"the {inout_str} of a block"):
        if kind in ("list", "tuple"):
            nested.close(made, "list", what)
            continue
        if kind != "leaf" or not (what is None or isinstance(what, tensor_types)):
            raise TigonError(
                f"HybridBlock: expected as {inout_str} arrays or symbols, or lists of these; given "
                f"{what!r:.80} of {type(what).__name__}"
            )
        outputs = len(what.list_outputs()) if isinstance(what, Symbol) else 1
        flat.append(what)
        made.append(-1 if what is None else 0 if outputs == 1 else outputs)
    return flat, made[0]


def regroup(args: Sequence[Any], fmt: Any) -> Any:
    """The nest of a format, of lists, from its parts in order."""
    left, made = list(reversed(args)), []
    for kind, what in nested.steps(fmt, "the format of a nest"):
        if kind == "list":
            nested.close(made, kind, what)
        else:
            need = max(int(what), 1)
            check(
                len(left) >= need,
                "regroup",
                f"expected as many arrays as the format says; given {len(args)} for {fmt}",
            )
            taken = [left.pop() for _ in range(need)]
            made.append(taken if what > 0 else taken[0])
    return made[0]
