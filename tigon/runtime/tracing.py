"""Where the front ends learn that Python code is being traced.

While a block is traced, its code runs on symbols. Two things would escape the graph: an array that
meets a symbol (it must become a variable of the graph, not a constant), and an operator without
symbols among its operands (`nd.zeros`, `nd.random.normal`: it must become a node, not an array made
once). The tracer installs `capture` for the first, per thread; the symbolic front end installs the
second once for all. What a program does under a mode of its own (`predict_mode`, `pause`) must stay
so, too: the tracer may `adapt` every new node.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tigon import _native
from tigon.base import TigonError
from tigon.base.locks import plain_lock

_local = threading.local()
_lock = plain_lock()
active = [0]
"""How many threads are tracing: while it is 0, the imperative path need not ask further."""

Capture = Callable[[Any], Any]
Symbolic = Callable[[Any, Any, Any], Any]
Adapt = Callable[[Any], Any]
Read = Callable[[Any], None]

_symbolic: Symbolic | None = None
_lookup: Callable[[int, int], tuple[Any, Any]] | None = None


def set_capture(capture: Capture | None) -> Capture | None:
    """Install this thread's function from an array to the symbol that stands for it; returns the
    previous one."""
    previous = getattr(_local, "capture", None)
    _local.capture = capture
    with _lock:
        active[0] += (capture is not None) - (previous is not None)
    _inform_runtime()
    return previous


def set_reader(reader: Read | None) -> Read | None:
    """Install this thread's function that is told of arrays whose values the code reads: they may
    differ at the next call. Returns the previous one."""
    previous = getattr(_local, "reader", None)
    _local.reader = reader
    _inform_runtime()
    return previous


def _inform_runtime() -> None:
    """Operators on arrays alone never meet a symbol: the native side must ask."""
    traced = getattr(_local, "capture", None) is not None
    _native.set_trace_handlers(_call if traced else None, getattr(_local, "reader", None))


def set_lookup(lookup: Callable[[int, int], tuple[Any, Any]]) -> None:
    """Installed once: the operator and the attributes behind their numbers."""
    global _lookup
    _lookup = lookup


def _call(operator: int, attributes: int, operands: tuple[Any, ...], writes: bool) -> Any:
    assert _lookup is not None and _symbolic is not None
    op, attrs = _lookup(operator, attributes)
    if writes:
        raise TigonError(
            f"{op.name}: an NDArray is overwritten while the program is traced, which would happen "
            "once and not at every call; write y = x + ..., or do not hybridize this block"
        )
    return _symbolic(op, attrs, operands)


def capture() -> Capture | None:
    """This thread's function, or None outside of a trace.

    >>> capture() is None
    True
    """
    return getattr(_local, "capture", None)


def set_adapter(adapt: Adapt | None) -> Adapt | None:
    """Install this thread's function from a new node to its outputs; returns the previous one."""
    previous = getattr(_local, "adapter", None)
    _local.adapter = adapt
    return previous


def count_mode_scopes(change: int) -> int:
    """Note that this thread's code enters or leaves a scope that sets the training mode; returns in
    how many such scopes it is. What is computed there has a mode of its own, even where it is the
    mode of the whole."""
    count: int = getattr(_local, "mode_scopes", 0) + change
    _local.mode_scopes = count
    return count


def set_mode_scopes(count: int) -> int:
    """A trace begins in none, whatever it was called from; returns the previous number."""
    previous: int = getattr(_local, "mode_scopes", 0)
    _local.mode_scopes = count
    return previous


def adapter() -> Adapt | None:
    """This thread's function, or None outside of a trace."""
    return getattr(_local, "adapter", None)


def set_symbolic(apply: Symbolic) -> None:
    """Install what makes a symbol of (operator, attributes, operands)."""
    global _symbolic
    _symbolic = apply


def symbolic() -> Symbolic | None:
    """What makes a symbol of a call, or None outside of a trace."""
    return None if getattr(_local, "capture", None) is None else _symbolic
