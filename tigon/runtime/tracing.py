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

_local = threading.local()
_lock = threading.Lock()
active = [0]
"""How many threads are tracing: while it is 0, the imperative path need not ask further."""

Capture = Callable[[Any], Any]
Symbolic = Callable[[Any, Any, Any], Any]
Adapt = Callable[[Any], Any]

_symbolic: Symbolic | None = None


def set_capture(capture: Capture | None) -> Capture | None:
    """Install this thread's function from an array to the symbol that stands for it; returns the
    previous one."""
    previous = getattr(_local, "capture", None)
    _local.capture = capture
    with _lock:
        active[0] += (capture is not None) - (previous is not None)
    return previous


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
