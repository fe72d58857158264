"""How the arguments and the results of a traced call are nested, and how results are made again."""

from __future__ import annotations

import copy
import functools
import gc
from collections.abc import Iterator, Sequence
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from tigon._native import nested_call_kind
from tigon.base import TensorType, nested
from tigon.context import context_in
from tigon.gluon import trace as tracing
from tigon.gluon.trace import classes
from tigon.gluon.trace.kinds import PLAIN
from tigon.ir import Value
from tigon.nd import NDArray
from tigon.sym.symbol import Symbol
from tigon.sym.traced import ArraySymbol

# --------------------------------------------------------------------------- structures

SINGLE = (("output", 0),)


def arrays_in(item: Any) -> Sequence[Any]:
    """The arrays of an argument, in order."""
    found = nested_call_kind((item,), tracing.freeze, tracing.freeze_attributes)
    return () if found is None else found[1]


def rebuild_arguments(args: Any, symbols: Any) -> Any:
    """The arguments with a symbol in the place of each array, or of a type that stands for it."""
    return rebuild(args, symbols)[0]


def rebuild(args: Any, symbols: Any) -> tuple[Any, list[tuple[Any, Any]]]:
    return nested.rebuilt(
        args, lambda leaf: next(symbols) if isinstance(leaf, (NDArray, TensorType)) else leaf
    )


Structure = tuple[nested.Step, ...]
"""How to build a result: ("output", number), ("input", number), ("parameter", it), ("array", it),
("value", it), ("fresh", it): a copy for each call, ("view", (step, functions)): of what the step
gives, and containers of the last so many."""


def collect_outputs(
    result: Any,
    outputs: list[Value],
    source: dict[Value, Any],
    made: dict[int, Any],
    trace: tracing.Trace,
) -> Structure:
    """The structure of a result. An argument or a parameter handed through stays itself, and a view
    of one is a view of it."""
    structure: list[nested.Step] = []
    results = {
        value
        for leaf in nested.leaves(result, "hybridize")
        if isinstance(leaf, Symbol)
        for value in leaf._values
        if value not in source
    }
    places: dict[Value, nested.Step] = {}  # one array, where one stands twice
    for kind, what in nested.steps(result, "hybridize", trace.reads.has_reached):
        if kind != "leaf":
            structure.append((kind, what))
        elif isinstance(what, Symbol):
            for value in what._values:
                if value not in places:
                    places[value] = _place_of(value, outputs, source, results, trace)
                structure.append(places[value])
            if len(what._values) != 1:
                structure.append(("list", len(what._values)))
        else:
            fresh = made.get(id(what))
            structure.append(("value", what) if fresh is None else ("fresh", fresh))
    return SINGLE if structure == [("output", 0)] else tuple(structure)


def _is_made(item: Any, trace: tracing.Trace) -> bool:
    """Whether it is a function that knows something of the call that made it."""
    if not callable(item) or trace.reads.has_reached(item):
        return False
    if isinstance(item, type):
        return classes.is_users(item)
    if isinstance(item, (functools.partial, FunctionType)):
        return isinstance(item, functools.partial) or item.__closure__ is not None
    owner = getattr(item, "__self__", None)  # of a bound method
    if owner is None or isinstance(owner, (ModuleType, type)):
        return False
    return isinstance(owner, Symbol) or not trace.reads.has_reached(owner)


def _lasts(item: Any, trace: tracing.Trace) -> bool:
    """Whether a result is the same object at every call."""
    return isinstance(item, PLAIN) or callable(item) or trace.reads.has_reached(item)


class _Fresh:
    """Something that each call makes: copied for each, but for what was there before the call."""

    def __init__(self, item: Any, trace: tracing.Trace) -> None:
        self.item = item
        self.held: dict[int, Any] = {}
        copy.deepcopy(item, _Memo(self.held, trace))

    def copy(self) -> Any:
        return copy.deepcopy(self.item, dict(self.held))


class _FreshView:
    """A view of a numpy array that was there before the call: a view for each."""

    def __init__(self, item: np.ndarray) -> None:
        self.item = item

    def copy(self) -> Any:
        return self.item.view()


class _Memo(dict[int, Any]):
    """For `copy.deepcopy`: what a trace has reached is its own copy, and noted in `held`."""

    def __init__(self, held: dict[int, Any], trace: tracing.Trace) -> None:
        self.held = held
        self.reads = trace.reads

    def get(self, key: int, default: Any = None) -> Any:
        found = self.reads.reached(key)
        if found is None:
            return super().get(key, default)
        self.held[key] = found
        return found


def _fresh(item: Any, trace: tracing.Trace) -> _Fresh | _FreshView | None:
    """How to make it for each call; None if it cannot be copied."""
    if isinstance(item, np.ndarray):
        base = item.base
        while isinstance(base, np.ndarray):
            if trace.reads.has_reached(base):
                return _FreshView(item)
            base = base.base
    try:
        return _Fresh(item, trace)
    except Exception:  # whatever a class of the user's raises
        return None


MOST_LOOKED_INTO = 10_000
"""Objects within one result. What is larger counts as holding symbols."""


def _holds_symbols(item: Any, trace: tracing.Trace) -> bool:
    """Whether there is a symbol anywhere inside of something that the call made."""
    seen: dict[int, Any] = {}
    stack = [item]
    while stack:
        part = stack.pop()
        if type(part) is ArraySymbol or len(seen) == MOST_LOOKED_INTO:
            return True
        if id(part) in seen or isinstance(part, (type, ModuleType, FunctionType, Symbol)):
            continue
        seen[id(part)] = part
        if not trace.reads.has_reached(part):
            stack += gc.get_referents(part)
    return False


def check_results(result: Any, trace: tracing.Trace) -> dict[int, Any]:
    """How to make again what a call makes, by the identity of each. Not at every call can be made a
    list that is there twice, iterators and functions that the call made, and objects of the user's
    that hold arrays."""
    met: set[int] = set()
    made: dict[int, Any] = {}

    def keeps(container: Any) -> bool:
        trace.returns(container)
        if trace.reads.has_reached(container):
            return True
        if id(container) in met:
            trace.cannot(
                f"it returns one {type(container).__name__} in two places; return it once, or "
                "another one in each"
            )
        met.add(id(container))
        return False

    for kind, item in nested.steps(result, "hybridize", keeps):
        if kind != "leaf" or isinstance(item, Symbol):
            continue
        trace.returns(item)
        what = f"it returns a {type(item).__name__}"
        if isinstance(item, Iterator):
            trace.give_way(f"{what}, which can be read once; return a list")
        elif _is_made(item, trace):
            trace.give_way("it returns a function that it made; return the arrays that it needs")
        elif _lasts(item, trace):
            continue
        elif _holds_symbols(item, trace):
            trace.cannot(
                f"{what} that holds arrays; return the arrays in a tuple, a list or a dictionary"
            )
        else:
            made[id(item)] = _fresh(item, trace)
            if made[id(item)] is None:
                trace.cannot(f"{what}, which cannot be copied for each call")
    return made


def _place_of(
    value: Value,
    outputs: list[Value],
    source: dict[Value, Any],
    results: set[Value],
    trace: tracing.Trace,
) -> nested.Step:
    if value in source:
        return source[value]
    views = []
    base = value
    while base in trace.views:
        base, view = trace.views[base]
        views.append(view)
    if views and base in source:
        return ("view", (source[base], tuple(reversed(views))))
    shares = bool(views) and base in results
    place = base if shares else value
    if place not in outputs:
        outputs.append(place)
    output = ("output", outputs.index(place))
    return ("view", (output, tuple(reversed(views)))) if shares else output


def flat_form(structure: Structure) -> str | None:
    """How native code makes the result: "bare", or a "tuple" or "list" of all outputs in order;
    None where it is of another structure."""
    if structure is SINGLE:
        return "bare"
    *parts, (kind, count) = structure
    if kind not in ("tuple", "list") or not parts or count != len(parts):
        return None
    in_order = parts == [("output", number) for number in range(len(parts))]
    return kind if in_order else None


def inputs_in(structure: Structure) -> set[int]:
    """The arrays of the call that the result holds as they are."""
    places = [what[0] if kind == "view" else (kind, what) for kind, what in structure]
    return {which for kind, which in places if kind == "input"}


def rebuild_outputs(structure: Structure, results: Sequence[Any], leaves: Sequence[Any]) -> Any:
    made: list[Any] = []
    seen: dict[int, Any] = {}
    for kind, what in structure:
        if kind == "output":
            made.append(results[what])
        elif kind == "input":
            made.append(leaves[what])
        elif kind == "parameter":
            made.append(what._for(context_in(leaves)) if what._is_plain else what.data())
        elif kind in ("array", "value"):
            made.append(what)
        elif kind == "fresh":
            made.append(what.copy())
        elif kind == "view":
            if id(what) not in seen:
                base, views = what
                array = rebuild_outputs((base,), results, leaves)
                for view in views:
                    array = view(array)
                seen[id(what)] = array
            made.append(seen[id(what)])
        else:
            nested.close(made, kind, what)
    return made[0]
