"""Blocks, functions and training steps as shared libraries that need no Python."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from tigon import autograd
from tigon.base import TigonError, check, type_of
from tigon.base.files import AnyPath
from tigon.gluon.graphs import Entry, GraphCache
from tigon.gluon.symbolic import input_names, symbol_for_export
from tigon.standalone.specs import Extents, Operand, export_graph
from tigon.sym.native import export_symbol


def export_entry(
    block: Any,
    cache: GraphCache | None,
    examples: Sequence[Any],
    path: AnyPath,
    extents: Extents,
    options: dict[str, Any],
) -> tuple[str, ...]:
    """Export what one kind of call was traced to: that on `examples`, or else the last one."""
    entry = _entry(block, cache, tuple(examples))
    if entry.paths is not None:
        raise TigonError(
            f"export_native: {block.name} decides by values: {_decisions(entry)}; a library holds "
            "one graph, so write the branch as F.contrib.cond(condition, then, otherwise) and a "
            "loop as F.contrib.while_loop, which are parts of it"
        )
    check(
        entry.cached is not None and all(kind in _PLAIN for kind, _ in entry.structure),
        "export_native",
        f"{block.name} gives back arguments, parameters or other things that it does not compute; "
        "return what it computes of them alone",
    )
    assert entry.cached is not None
    names = input_names(len(entry.types))
    operands = []
    for value, (kind, which), array in zip(
        entry.graph.inputs, entry.operands.sources, entry.operands.template, strict=True
    ):
        name = value.node.name
        if kind == "input":
            operands.append(Operand(name, entry.types[which]))
        else:
            operands.append(Operand(name, type_of(array), array))
    unread = [name for name in names if name not in {one.name for one in operands}]
    check(
        not unread,
        "export_native",
        f"{block.name} does not read its argument {', '.join(unread)}; leave it out",
    )
    order = {name: number for number, name in enumerate(names)}
    results = len(entry.graph.outputs) - len(entry.states) - entry.unread
    given = sorted((o for o in operands if o.array is None), key=lambda one: order[one.name])
    own = ["output"] if results == 1 else [f"output{number}" for number in range(results)]
    own_export = partial(export_graph, entry.cached, operands, own, path, inputs=given, **options)
    if extents is None or not hasattr(block, "collect_params"):
        return own_export(extents=extents)
    try:
        return own_export(extents=extents)
    except TigonError as error:
        # Code that reads sizes has those of its call in its graph. That of symbols may have none.
        try:
            symbol = symbol_for_export(block, "export_native")
            arrays = {param.name: param.data() for param in block.collect_params().values()}
            shapes = {one.name: one.type.shape for one in given}
            return export_symbol(symbol, path, arrays, shapes, {"extents": extents, **options})
        except TigonError:
            raise error from None


_PLAIN = ("output", "list", "tuple", "dict")


def _decisions(entry: Entry) -> str:
    assert entry.paths is not None
    places = [f"{decision.what} at {decision.line}" for decision in entry.paths.decisions()]
    return ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")


def _entry(block: Any, cache: GraphCache | None, examples: tuple[Any, ...]) -> Entry:
    if not examples:
        latest = None if cache is None else cache.latest
        check(
            latest is not None and not latest.training,
            "export_native",
            f"{block.name} was not called in prediction yet; call it once after hybridize(), or "
            "pass example inputs",
        )
        assert latest is not None
        latest._bind()
        return latest
    fresh = GraphCache(block)
    with autograd.pause(train_mode=False):
        fresh(examples)
    if fresh.latest is None:
        raise TigonError(f"export_native: {block.name} has no graph. {fresh.explain()}")
    fresh.latest._bind()
    return fresh.latest
