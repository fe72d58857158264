"""Recursion of bounded depth over structures of any depth.

A rule that needs the results of its parts reads best as a function that calls itself, but a
program of a thousand views in a chain would then need thousands of frames. `descend` lets such a
function nest a few calls deep only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, MutableMapping
from typing import Any, TypeVar

from tigon.base.errors import InternalError

DEPTH = 8
"""Calls that may nest, of all functions of a thread together. One of them may take ten frames."""

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class _Below(BaseException):
    """What is asked for too deep down. No error: nothing on the way may handle it."""

    def __init__(self, *asked: Any) -> None:
        self.asked = asked


class _State(threading.local):
    depth = 0


_state = _State()


def descend(
    known: MutableMapping[Key, Result], key: Key, compute: Callable[[Key], Result]
) -> Result:
    """`known[key]`, computed by `compute(key)`, which may come back here for the results of other
    keys, in this or another table, along a chain of any length.

    The caller has looked into `known` in vain. Past `DEPTH` nested calls what was begun is given up
    and begun again when the result it asked for is there, so that `compute` has no effects but
    tables such as `known`. On the whole at most twice the work of plain recursion is done.

    >>> lengths = {}
    >>> def length(count):
    ...     below = count - 1
    ...     return 1 + (lengths.get(below) or descend(lengths, below, length)) if below else 1
    >>> descend(lengths, 100_000, length)
    100000
    """
    depth = _state.depth
    if depth == DEPTH:
        if key in known:  # or what asks for it would be begun again without end
            return known[key]
        raise _Below(known, key, compute)
    if depth:
        _state.depth = depth + 1
        try:
            result = known[key] = compute(key)
        finally:
            _state.depth = depth
        return result
    pending: list[tuple[Any, Any, Any]] = [(known, key, compute)]
    waiting = {(id(known), key)}
    while pending:
        table, wanted, find = pending[-1]
        _state.depth = 1
        try:
            table[wanted] = find(wanted)
            waiting.discard((id(table), wanted))
            pending.pop()
        except _Below as below:
            table, wanted, _ = below.asked
            if (id(table), wanted) in waiting:
                raise InternalError(f"recursion: {wanted!r} asks for itself") from None
            waiting.add((id(table), wanted))
            pending.append(below.asked)
        finally:
            _state.depth = 0
    return known[key]
