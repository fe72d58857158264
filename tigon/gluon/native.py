"""Blocks, functions and training steps as libraries that need no Python."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tigon import autograd, nd
from tigon._native import nested_call_kind
from tigon.base import TigonError, check, type_of
from tigon.base.dtypes import int64
from tigon.base.files import AnyPath
from tigon.base.frozen import replace
from tigon.gluon import trace as tracing
from tigon.gluon.graphs import Entry, GaveWay, GraphCache
from tigon.gluon.symbolic import symbol_for_export
from tigon.standalone.face import on_demand
from tigon.standalone.verbs import native_options, verb, web_options
from tigon.sym.native import export_symbol


class Exports:
    """Whose calls become libraries: blocks, and functions of `tigon.jit`."""

    _cached_graphs: GraphCache | None

    def export_native(
        self,
        path: AnyPath,
        *examples: Any,
        extents: str | Mapping[str, Sequence[str | None]] | None = "batch",
        target: str | Sequence[str] = "native",
        weights: str = "inside",
        prefix: str | None = None,
        system: str = "linux",
    ) -> tuple[str, ...]:
        """Write a shared library that predicts as this block does, or computes what this function
        does, and needs nothing installed.

        `path.so` holds code, weights (all arrays that the function holds) and a small runtime;
        `path.h` and `path.hpp` are for C and C++, `path.md` says what goes in and comes out.
        Returns the paths.

        The call that is exported is the last one, or that on `examples`, arrays whose values do not
        matter. `extents` are left open: by default the first axis of the inputs, so that any batch
        will do; None leaves none open; a dictionary gives a name or None for each axis of inputs
        (`data`, or `data0`, `data1`, ...), and axes of one name are equal.

        `target`: "native" is the level of this processor; "all" or names of levels
        ("x86-64-v2", "x86-64-v3", "x86-64-v4") put several into one library, which takes the best
        that the processor has; "aarch64" is another architecture, for which zig compiles the
        runtime (`pip install tigon[export]`). `weights="apart"` writes them to
        `path.safetensors`, which the library knows by its digest. `prefix`: how names in C begin,
        by default the file's name.
        `system`: "linux", or on x86-64 "windows" (`path.dll`) or "macos" (`path.dylib`).

        Python code in the middle (`mx.operator`) and decisions by values are refused.

        >>> import os, tempfile
        >>> from tigon import jit, nd
        >>> from tigon.gluon import nn
        >>> net = nn.Dense(3, in_units=4)
        >>> net.initialize()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = net.export_native(f"{folder}/dense", nd.zeros((8, 4)))
        >>> [os.path.basename(file) for file in files]
        ['dense.so', 'dense.h', 'dense.hpp', 'dense.md']
        >>> scaled = jit(lambda x: x * 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = scaled.export_native(f"{folder}/scaled", nd.zeros((8, 4)))
        >>> [os.path.basename(file) for file in files]
        ['scaled.so', 'scaled.h', 'scaled.hpp', 'scaled.md']
        """
        options = native_options(target, weights, prefix, system)
        return export_entry(self, self._cached_graphs, examples, path, extents, options)

    def export_wasm(
        self,
        path: AnyPath,
        *examples: Any,
        extents: str | Mapping[str, Sequence[str | None]] | None = "batch",
        weights: str = "inside",
    ) -> tuple[str, ...]:
        """Write a module of WebAssembly that predicts as this block does, or computes what this
        function does, in browsers and in Node.

        `path.wasm` holds code (with vectors of 128 bits), weights and a small runtime; `path.js`
        is what calls it (`load`, `run`) and `path.d.ts` its types. Where the input is a grey
        picture, `path.html` is a page to draw one on. Returns the paths.

        What is exported, and which `extents` are left open, is said as for `export_native`.
        `weights="apart"` writes them to `path.safetensors`, which the module knows by its digest.
        Results are those of a machine without multiply-add and with vectors of 128 bits.

        Python code in the middle (`mx.operator`), decisions by values and routines of LAPACK are
        refused.

        >>> import os, tempfile
        >>> from tigon import nd
        >>> from tigon.gluon import nn
        >>> net = nn.Dense(3, in_units=4)
        >>> net.initialize()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = net.export_wasm(f"{folder}/dense", nd.zeros((8, 4)))
        >>> [os.path.basename(file) for file in files]
        ['dense.wasm', 'dense.js', 'dense.d.ts']
        """
        options = web_options(weights)
        return export_entry(self, self._cached_graphs, examples, path, extents, options)


def export_entry(
    block: Any,
    cache: GraphCache | None,
    examples: Sequence[Any],
    path: AnyPath,
    extents: Any,
    options: dict[str, Any],
) -> tuple[str, ...]:
    """Export what one kind of call was traced to: that on `examples`, or else the last one."""
    who = verb(options["system"])
    entry = _entry(block, cache, _apart(examples), who)
    if entry.paths is not None:
        raise TigonError(
            f"{who}: {block.name} decides by values: {_decisions(entry)}; a library holds "
            "one graph, so write the branch as F.contrib.cond(condition, then, otherwise) and a "
            "loop as F.contrib.while_loop, which are parts of it"
        )
    check(
        entry.cached is not None and all(kind in _PLAIN for kind, _ in entry.structure),
        who,
        f"{block.name} gives back arguments, parameters or other things that it does not compute; "
        "return what it computes of them alone",
    )
    assert entry.cached is not None
    specs = on_demand()
    names = entry.input_names
    operands = []
    for value, (kind, which), array in zip(
        entry.graph.inputs, entry.operands.sources, entry.operands.template, strict=True
    ):
        name = value.node.name
        if kind == "input":
            operands.append(specs.Operand(name, entry.types[which]))
        else:
            operands.append(specs.Operand(name, type_of(array), array))
    read = {one.name for one in operands if one.array is None}
    unread = [name for name in names if name not in read]
    check(
        not unread,
        who,
        f"{block.name or 'the block'} does not read its argument {', '.join(unread)}, or was given "
        "one array twice; leave it out, or pass examples",
    )
    order = {name: number for number, name in enumerate(names)}
    results = len(entry.graph.outputs) - len(entry.states) - entry.unread
    given = sorted((o for o in operands if o.array is None), key=lambda one: order[one.name])
    own = ["output"] if results == 1 else [f"output{number}" for number in range(results)]
    graph = entry.cached
    own_export = partial(specs.export_graph, graph, operands, own, path, inputs=given, **options)
    if extents is None or not hasattr(block, "collect_params"):
        return own_export(extents=extents)
    try:
        return own_export(extents=extents)
    except TigonError as error:
        # Code that reads sizes has those of its call in its graph. That of symbols may have none.
        try:
            symbol = symbol_for_export(block, who)
            arrays = {param.name: param.data() for param in block.collect_params().values()}
            shapes = {one.name: one.type.shape for one in given}
            dtypes = {one.name: one.type.dtype for one in given}
            own_options = {"extents": extents, **options}
            return export_symbol(symbol, path, arrays, shapes, own_options, dtypes)
        except TigonError:
            raise error from None


_PLAIN = ("output", "list", "tuple", "dict")


def _decisions(entry: Entry) -> str:
    assert entry.paths is not None
    places = [f"{decision.what} at {decision.line}" for decision in entry.paths.decisions()]
    return ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")


def _apart(examples: Sequence[Any]) -> tuple[Any, ...]:
    """Inputs of a library are apart, even where one array is the example of two."""
    seen: set[int] = set()
    made = []
    for each in examples:
        own = each.copy() if id(each) in seen and isinstance(each, nd.NDArray) else each
        seen.add(id(own))
        made.append(own)
    return tuple(made)


def _entry(block: Any, cache: GraphCache | None, examples: tuple[Any, ...], who: str) -> Entry:
    if not examples:
        latest = None if cache is None else cache.latest
        check(
            latest is not None and not latest.training,
            who,
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
        raise TigonError(f"{who}: {block.name} has no graph. {fresh.explain()}")
    fresh.latest._bind()
    return fresh.latest


def export_step(
    step: Any,
    cache: GraphCache,
    examples: Sequence[Any],
    path: AnyPath,
    batch_size: int | None,
    updates: int,
    options: dict[str, Any],
) -> tuple[str, ...]:
    """Export what a training step does for the types of the last one, or of `examples`."""
    who = verb(options["system"])
    check(
        step.adjust is None,
        who,
        f"{step.name} adjusts gradients by a function of Python; pass clip_global_norm instead, or "
        "leave it out",
    )
    by_rows = step.trainer._by_rows
    if by_rows:
        raise TigonError(
            f"{who}: {by_rows[0]._where} has a row-sparse gradient, which a library cannot hold; "
            "make the layer without sparse_grad"
        )
    entry = cache.latest
    if examples:
        given = _apart(examples)
        kind, leaves = nested_call_kind(given, tracing.freeze, tracing.freeze_attributes)
        try:
            entry = cache._trace(kind, leaves, given)[0]
        except GaveWay as error:
            raise TigonError(f"{who}: {step.name} is no program: {error}") from None
    check(
        entry is not None and entry.paths is None,
        who,
        f"{step.name} was not called yet, or decides by values; call it once, or pass example data "
        "and label",
    )
    assert entry is not None
    (own,) = entry.graphs
    made, indices, states = own.exact_step()
    names = entry.input_names
    spec = _step_spec(step, own, names, made, indices, states, batch_size, updates, who)
    return on_demand().export(lambda sizes: spec, (), path, **options)


def _step_spec(
    step: Any,
    own: Any,
    names: Sequence[str],
    made: Any,
    indices: Sequence[int],
    states: Sequence[Sequence[Any]],
    batch_size: int | None,
    updates: int,
    who: str,
) -> Any:
    specs = on_demand()
    Source, held = specs.Source, specs.held
    forward, trainer = made.training.forward, step.trainer
    moved = {place: output for output, place in (*forward.states, *made.in_place)}
    sources: list[Any] = []
    weights: list[Any] = []
    kept: list[Any] = []
    moves: list[tuple[int, int]] = []
    taken: set[str] = set()

    def free(name: str) -> str:
        """Parameters come first and keep their names, whatever these are."""
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    def keep(name: str, array: Any, place: int) -> None:
        sources.append(Source("state", len(kept)))
        moves.append((moved[place], len(kept)))
        kept.append(held(free(name), array))

    for place, (value, (kind, which), array) in enumerate(
        zip(own.graph.inputs, own.operands.sources, own.operands.template, strict=True)
    ):
        if kind == "input":
            sources.append(Source("input", which))
        elif place in moved:
            keep(value.node.name, array, place)
        else:
            sources.append(Source("weight", len(weights)))
            weights.append(held(free(value.node.name), array))
    sources += [Source("key")] * (len(forward.graph.inputs) - len(sources))
    rates = _schedule(trainer, made, len(sources), indices, batch_size, updates, who)
    sources.append(Source("schedule", len(weights)))
    weights.append(replace(rates, name=free(rates.name)))
    for index, arrays in zip(indices, states, strict=True):
        for number, array in enumerate(arrays):
            keep(f"{trainer._params[index].name}.state{number}", array, len(sources))
    kept.append(specs.Held(free("updates"), int64, (), np.zeros((), np.int64)))
    results = forward.results
    return specs.Spec(
        step.name,
        made.graph,
        tuple(sources),
        tuple(zip(names, own.types, strict=True)),
        ("loss",) if results == 1 else tuple(f"output{n}" for n in range(results)),
        tuple(weights),
        tuple(kept),
        tuple(moves),
        tuple(made.in_place),
        forward.random_calls,
        len(kept) - 1,
        doc="One step of training: forward, backward and the update of all weights, which are "
        "states of an instance.",
    )


def _schedule(
    trainer: Any,
    made: Any,
    place: int,
    indices: Sequence[int],
    batch_size: int | None,
    updates: int,
    who: str,
) -> Any:
    """The rates of so many updates from now on, a row for each; rows that repeat the last one are
    left out. `place`: which input of the graph they are."""
    optimizer = copy.copy(trainer._optimizer)
    optimizer._counts = copy.copy(optimizer._counts)
    optimizer.lr_scheduler = copy.deepcopy(optimizer.lr_scheduler)
    type_ = made.graph.inputs[place].type
    size = max(made.training.loss_sizes) if batch_size is None else batch_size
    check(
        batch_size is not None or len(made.training.loss_sizes) == 1,
        who,
        "there are several losses of different sizes; give batch_size",
    )
    for name, number in (("batch_size", size), ("updates", updates)):
        check(
            isinstance(number, (int, np.integer)) and number > 0,
            who,
            f"{name}: expected a number of 1 or more; given {number!r}",
        )
    optimizer.rescale_grad = trainer._scale / size
    rows = [optimizer.advance(list(indices)) or [0.0] for _ in range(updates)]
    while len(rows) > 1 and rows[-1] == rows[-2]:
        rows.pop()
    array = np.array(rows, type_.dtype.numpy)
    return on_demand().Held("rates", type_.dtype, array.shape, array)
