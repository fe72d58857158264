"""A graph in two halves, forward and backward. A later process finds both by the graph: it neither
differentiates nor runs passes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from tigon.analysis.leads import leads
from tigon.backends.interface import Store
from tigon.base import config
from tigon.base.extents import is_known
from tigon.base.frozen import Frozen
from tigon.ir import Graph, variable
from tigon.passes.cut_joint import Cut, cut_joint, forward_half
from tigon.passes.gradient import gradient_by_rows, with_rows
from tigon.passes.recompute import choices
from tigon.program import stored
from tigon.program.budget import Budget
from tigon.program.lowered import (
    AnyLowered,
    LoweredGraph,
    StoredGraph,
    found_graph,
    key_for,
    lower_graph,
    prepare,
)
from tigon.program.target import backend, disabled_passes
from tigon.runtime.counters import count


class Recorded(Frozen, eq=False):
    """Both halves, and what flows between them."""

    saved: list[tuple[str, int]]
    cotangents: list[int]
    targets: list[int]  # inputs that gradients flow to
    rows: list[int]  # of each target the output that says which rows its gradient is, or -1
    leads: list[list[int]]  # of each result, inputs that take part in a recording of it
    forward: AnyLowered
    backward: Callable[[], AnyLowered]


def record(
    graph: Graph,
    results: int,
    wanted: tuple[bool, ...],
    disabled: frozenset[str] | None,
    budget: Budget | None = None,
) -> Recorded:
    """`results`: how many of the outputs are results, before states. `wanted`: of which inputs
    gradients are. `budget`: what the halves may take, beyond arguments, results and gradients."""
    disabled = disabled_passes() if disabled is None else disabled
    key = key_for(graph, disabled)
    if key is not None:
        within = "" if budget is None else f"within {budget.nbytes} "
        key = stored.Key(f"recorded {results} {wanted} {within}{key.text}", key.names)
    found = None if key is None else _found(key, graph, results, wanted, disabled, budget)
    return _made(graph, results, wanted, disabled, budget, key) if found is None else found


def _halves(
    graph: Graph,
    results: int,
    wanted: tuple[bool, ...],
    disabled: frozenset[str],
    budget: Budget | None,
) -> tuple[Cut, list[int], list[int], list[AnyLowered]]:
    """The two, the inputs that gradients flow to, with the outputs that say which rows these are,
    and both lowered where a budget asked for it."""
    outputs = graph.outputs[:results]
    cotangents = [variable(f"_cotangent{i}", value.type) for i, value in enumerate(outputs)]
    targets = [i for i, want in enumerate(wanted) if want and graph.inputs[i].dtype.has_gradients]
    found = gradient_by_rows(outputs, cotangents, [graph.inputs[i] for i in targets])
    flows = [(i, grad) for i, grad in zip(targets, found, strict=True) if grad is not None]
    gradients, rows = with_rows([grad for _, grad in flows])
    joint = Graph((*graph.inputs, *cotangents), (*graph.outputs, *gradients))
    prepared = prepare(joint, disabled)
    divide = partial(cut_joint, prepared, len(graph.inputs), len(graph.outputs))
    reached = [i for i, _ in flows]
    if budget is None or not flows:
        return divide(), reached, rows, []
    forward = forward_half(prepared, len(graph.inputs), len(graph.outputs))
    cut, lowered = budget.best(choices(forward), lambda each: _measured(divide(each), disabled))
    return cut, reached, rows, lowered


def _measured(cut: Cut, disabled: frozenset[str]) -> tuple[int, tuple[Cut, list[AnyLowered]]]:
    """What both halves take: what is saved between them, and an arena at a time."""
    kept = {index for kind, index in cut.saved if kind == "output"}
    saved = sum(int(cut.forward.outputs[index].type.nbytes) for index in kept)
    halves = [lower_graph(half, disabled=disabled) for half in (cut.forward, cut.backward)]
    return saved + max(half.memory_plan().arena_bytes for half in halves), (cut, halves)


def _made(
    graph: Graph,
    results: int,
    wanted: tuple[bool, ...],
    disabled: frozenset[str],
    budget: Budget | None,
    key: stored.Key | None,
) -> Recorded:
    cut, targets, rows, lowered = _halves(graph, results, wanted, disabled, budget)
    forward, later = lowered or (lower_graph(cut.forward, disabled=disabled), None)
    backward = cache(lambda: later or lower_graph(cut.backward, disabled=disabled))
    if targets and not all(is_known(*value.shape) for value in cut.backward.inputs):
        backward()  # now, so that all conditions are known before anything runs
    made = Recorded(
        cut.saved,
        cut.cotangents,
        targets,
        rows,
        leads(graph, graph.outputs[:results]),
        forward,
        backward,
    )
    if key is not None:
        _keep(key, made, cut, disabled)
    return made


def _keep(key: stored.Key, made: Recorded, cut: Cut, disabled: frozenset[str]) -> None:
    """Each half by the name of its own entry and its names, which are numbers of this one's."""
    import json  # as in `stored.py`

    halves = []
    for half in (cut.forward, cut.backward):
        own = key_for(half, disabled)
        names = [] if own is None else [stored.numbered(name, key) for name in own.names]
        if own is None or None in names:
            return
        halves.append([own.name, names])
    facts = [made.saved, made.cotangents, made.targets, made.rows, made.leads]
    content = json.dumps({"facts": facts, "halves": halves}).encode()
    backend(config.text("TIGON_BACKEND")).store.save(key.text, content)


def _found(
    key: stored.Key,
    graph: Graph,
    results: int,
    wanted: tuple[bool, ...],
    disabled: frozenset[str],
    budget: Budget | None,
) -> Recorded | None:
    store: Store = backend(config.text("TIGON_BACKEND")).store
    content = store.load_program(key.name)
    if content is None:
        return None
    try:
        fields = stored.fields_of(content, key.names)
        saved, cotangents, targets, rows, leading = fields["facts"]
        names = [(str(name), tuple(given)) for name, given in fields["halves"]]
        places = [(str(kind), int(index)) for kind, index in saved]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None  # not what `_keep` writes
    cut = cache(lambda: _halves(graph, results, wanted, disabled, budget)[0])

    def forward_again() -> LoweredGraph:
        half = cut().forward
        return LoweredGraph(half, disabled, (), (), key_for(half, disabled))

    def backward_again() -> LoweredGraph:
        half = cut().backward
        return LoweredGraph(half, disabled, (), (), key_for(half, disabled))

    def half(number: int, lower: Callable[[], LoweredGraph]) -> StoredGraph | None:
        count("compilations")
        name, given = names[number]
        return found_graph(name, given, lower)

    forward = half(0, forward_again)
    if forward is None:
        return None
    backward = cache(lambda: half(1, backward_again) or backward_again())
    return Recorded(places, cotangents, targets, rows, leading, forward, backward)
