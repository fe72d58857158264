"""Where the front ends learn that Python code is being traced.

While a block is traced, its code runs on symbols. Two things would escape the graph: an array that
meets a symbol (it must become a variable of the graph, not a constant), and an operator without
symbols among its operands (`nd.zeros`, `nd.random.normal`: it must become a node, not an array made
once). The tracer installs `capture` for the first, per thread; the symbolic front end installs the
second once for all. What a program does under a mode of its own (`predict_mode`, `pause`) must stay
so, too: the tracer may `adapt` every new node.

Sparse arrays are above most parts, as traced code is: what all may ask of them is here as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from tigon import _native
from tigon.base import TigonError
from tigon.base.errors import user_line
from tigon.base.locks import plain_lock
from tigon.context import Context, current_context, when_entered
from tigon.runtime.counters import fall_back

_local = threading.local()
_lock = plain_lock()
active = [0]
"""How many threads are tracing: while it is 0, the imperative path need not ask further."""

Capture = Callable[[Any], Any]
Symbolic = Callable[[Any, Any, Any], Any]
Adapt = Callable[[Any], Any]
Control = Mapping[str, Callable[..., Any]]
Read = Callable[[Any], None]


class Hooks:
    """What a tracer has installed in one thread.

    `capture` makes the symbol that stands for an array; `adapt` gives the outputs of a new node;
    `reader` is told of arrays whose values the code reads, which may differ at the next call;
    `giver` is the trace that can give way (`give_way(reason)`); `eager` is one that has, whose
    symbols stand for arrays (`apply(op, attrs, operands)`, `concrete(item)`)."""

    __slots__ = ("adapt", "capture", "eager", "giver", "reader")

    def __init__(
        self,
        capture: Capture | None = None,
        adapt: Adapt | None = None,
        reader: Read | None = None,
        giver: Any = None,
        eager: Any = None,
    ) -> None:
        self.capture = capture
        self.adapt = adapt
        self.reader = reader
        self.giver = giver
        self.eager = eager


NONE = Hooks()
_symbolic: Symbolic | None = None
_kind: type | None = None
_control: dict[str, Control] = {}
_lookup: Callable[[int, int], tuple[Any, Any]] | None = None


def installed() -> Hooks:
    """This thread's hooks; without any outside of a trace."""
    return getattr(_local, "hooks", NONE)


def install(hooks: Hooks) -> None:
    """Let these be this thread's hooks."""
    previous = installed()
    _local.hooks = hooks
    with _lock:
        active[0] += (hooks.capture is not None) - (previous.capture is not None)
    # Operators on arrays alone never meet a symbol: the native side must ask.
    _native.set_trace_handlers(None if hooks.capture is None else _call, hooks.reader)


def give_way(reason: str) -> bool:
    """The code does what a graph cannot hold, such as reading a value: from here on it runs on
    arrays, if a trace that can give way is on. Whether it now does."""
    hooks = installed()
    trace = hooks.eager or hooks.giver
    if trace is None:
        return False
    trace.give_way(reason)
    return True


def instead_of(operand: Any) -> str:
    """What to write in the place of something that is no operand."""
    if getattr(operand, "_is_gluon_object", False) and hasattr(operand, "list_data"):
        return "an operand is its array: write .data()"
    return "convert it with nd.array first"


def concrete(item: Any, reason: str) -> Any:
    """What this thread's trace has computed in the place of symbols in `item`, after giving way;
    without such a trace, the item itself."""
    if not give_way(reason):
        return item
    return installed().eager.concrete(item)


def needs_arrays(what: str, item: Any = None) -> Any:
    """Give way because the code does something that a graph cannot hold, "calls this" or "writes
    that"; `item` with arrays in the place of symbols. Outside of a trace it looks up no line."""
    hooks = installed()
    if hooks.eager is None and hooks.giver is None:
        return item
    return concrete(item, f"it {what} at {user_line()}")


def is_sparse(array: Any) -> bool:
    """Whether it is an array of `nd.sparse`, which says itself what operators do with it."""
    return type(array) is not _native.NDArray and hasattr(array, "apply_stored")


def densified(array: Any, reason: str | None) -> Any:
    """The array with all its elements. `reason`: why it is so, for the notice, or None."""
    if not is_sparse(array):
        return array
    if reason is not None:
        fall_back(f"{reason} makes dense arrays of sparse ones")
    return array.tostype("default")


def decide(symbol: Any, kind: str, what: str, read: Callable[[Any], Any]) -> Any:
    """What `read` gives of the array that a symbol stands for, which decides how the traced code
    goes on: its `truth`, its value as an `integer`, or all of its `bits`. NotImplemented where it
    can decide nothing."""
    trace = installed().giver
    return NotImplemented if trace is None else trace.decide(symbol, kind, what, read)


def changes(what: str) -> None:
    """Say that the code "sets this" or "adds that", which lasts beyond the call: a compiled graph
    would not do it again. A later trace that finds nothing left to do may be a program."""
    hooks = installed()
    if hooks.giver is not None:
        hooks.giver.change(f"{what} at {user_line()}")


def made(item: Any) -> None:
    """Say that the code makes this object of a class of ours: it was not there before."""
    hooks = installed()
    if hooks.giver is not None:
        hooks.giver.made(item)


def _enters(ctx: Context) -> None:
    """A graph is on one context: code that makes arrays on another one is no program."""
    if not active[0]:
        return
    trace = installed().giver
    if trace is not None and ctx != (trace.context or current_context()):
        give_way(f"it makes arrays on {ctx} at {user_line()}")


when_entered(_enters)


def eager() -> Any:
    """This thread's trace, if it has given way."""
    return installed().eager


def set_lookup(lookup: Callable[[int, int], tuple[Any, Any]]) -> None:
    """Installed once: the operator and the attributes behind their numbers."""
    global _lookup
    _lookup = lookup


def _call(operator: int, attributes: int, operands: tuple[Any, ...], writes: bool) -> Any:
    assert _lookup is not None and _symbolic is not None
    op, attrs = _lookup(operator, attributes)
    if writes:
        if give_way(f"it overwrites an array at {user_line()}; write y = x + ..."):
            return NotImplemented  # to be done on the arrays
        raise TigonError(
            f"{op.name}: an NDArray is overwritten while the program is traced, which would happen "
            "once and not at every call; write y = x + ..., or do not hybridize this block"
        )
    return _symbolic(op, attrs, operands)


def capture() -> Capture | None:
    """This thread's function from an array to the symbol that stands for it, or None outside of a
    trace.

    >>> capture() is None
    True
    """
    return installed().capture


def adapter() -> Adapt | None:
    """This thread's function from a new node to its outputs, or None outside of a trace."""
    return installed().adapt


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


def set_symbolic(apply: Symbolic, kind: type) -> None:
    """Install what makes a symbol of (operator, attributes, operands), and the class of symbols
    that stand for arrays."""
    global _symbolic, _kind
    _symbolic, _kind = apply, kind


def kind_of_symbols() -> type | None:
    """The class of what operators without operands give: symbols that stand for arrays, where a
    trace runs that can give way; None elsewhere."""
    return None if installed().giver is None else _kind


def set_control(kind: str, functions: Control) -> None:
    """Install loops and branches by name: on "arrays", or what makes nodes of them on "symbols"."""
    _control[kind] = functions


def control(kind: str) -> Control | None:
    """That, or None where there are no symbols yet."""
    return _control.get(kind)


def symbolic() -> Symbolic | None:
    """What makes a symbol of a call, or None outside of a trace."""
    return None if installed().capture is None else _symbolic
