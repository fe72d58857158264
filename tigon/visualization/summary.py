"""Summaries of symbols and blocks as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tigon import profiler
from tigon.analysis.memory_picture import in_bytes
from tigon.analysis.multiply_adds import multiply_adds
from tigon.base import TigonError, check, nested
from tigon.base.frozen import Frozen
from tigon.ir import Graph
from tigon.program.lowered import lower_graph
from tigon.runtime import tracing


def print_summary(
    symbol: Any,
    shape: Mapping[str, Sequence[int]] | None = None,
    line_length: int = 100,
    positions: Sequence[float] = (0.44, 0.64, 0.74, 1.0),
) -> None:
    """Print a table of a symbol's layers: output shape, parameters, and what comes before.

    >>> from tigon import sym
    >>> net = sym.FullyConnected(sym.var("data"), num_hidden=2, name="fc")
    >>> print_summary(net, shape={"data": (1, 3)}, line_length=72)
    ________________________________________________________________________
    Layer (type)                   Output Shape   Param #Previous Layer
    ========================================================================
    data (null)                    (3,)           0
    fc (FullyConnected)            (2,)           8      data
    ========================================================================
    Total params: 8
    ________________________________________________________________________
    """
    print(symbol_summary(symbol, shape, line_length, positions))


def symbol_summary(
    symbol: Any,
    shape: Mapping[str, Sequence[int]] | None = None,
    line_length: int = 100,
    positions: Sequence[float] = (0.44, 0.64, 0.74, 1.0),
) -> str:
    """The table of `print_summary`."""
    shapes = _internal_shapes(symbol, shape or {})
    given = set(shape or {})
    columns = [int(line_length * position) for position in positions]
    rows = []
    total = 0
    counted: set[str] = set()
    for node in symbol._nodes():
        name = node.name or node.op.name
        if node.op.name == "constant":
            continue
        if node.op.name == "null" and name not in given and given:
            continue
        parents, count = [], 0
        for number, value in enumerate(node.inputs):
            source = value.node
            if source.op.name == "null" and source.name not in given:
                if source.name not in counted and not _is_label(node, number):
                    counted.add(source.name)
                    count += math.prod(shapes.get(source.name, ()) or (0,))
            elif source.op.name != "constant":
                parents.append(source.name or source.op.name)
        total += count
        own = shapes.get(name if node.op.name == "null" else f"{name}_output")
        shown = "" if own is None else str(tuple(own[1:]))
        rows.append((f"{name} ({node.op.name})", shown, str(count), ", ".join(parents)))
    header = ("Layer (type)", "Output Shape", "Param #", "Previous Layer")
    lines = ["_" * line_length, _row(header, columns), "=" * line_length]
    lines += [_row(row, columns) for row in rows]
    lines += ["=" * line_length, f"Total params: {total}", "_" * line_length]
    return "\n".join(lines)


def _is_label(node: Any, number: int) -> bool:
    """Whether an operand is what a loss compares with: nothing that is learned."""
    operands = node.op.operands
    declared = operands[min(number, len(operands) - 1)].name
    return declared == "label" or node.inputs[number].node.name.endswith("label")


def _row(fields: Sequence[str], columns: Sequence[int]) -> str:
    line = ""
    for field, column in zip(fields, columns, strict=True):
        line = (line + field)[:column].ljust(column)
    return line.rstrip()


def _internal_shapes(symbol: Any, given: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    if not given:
        return {}
    internals = symbol.get_internals()
    arguments, outputs, auxiliary = internals.infer_shape_partial(
        **{name: tuple(shape) for name, shape in given.items()}
    )
    found = dict(zip(internals.list_outputs(), outputs, strict=True))
    found.update(zip(internals.list_arguments(), arguments, strict=True))
    found.update(zip(internals.list_auxiliary_states(), auxiliary, strict=True))
    return {name: shape for name, shape in found.items() if shape}


def block_summary(block: Any, *inputs: Any) -> str:
    """A table of a block's layers for these inputs: output shape, number of parameters, and
    products that are added up; below it those of the whole, and the memory that a compiled
    prediction needs beside inputs and outputs. After a profile (`mx.profiler`) also the share of
    the time in kernels that each layer took in it, all threads together."""
    check(
        not getattr(block, "_active", False),
        "Block.summary",
        "works layer by layer, which a hybridized block does not; call hybridize(False) first",
    )
    shares = profiler.share_of_blocks({layer.prefix: layer.name for layer in block._walk()})
    rows: list[_Row] = []
    called: set[int] = set()
    seen: set[int] = set()
    begun: list[int] = []  # rows that were there when a layer began
    handles = []

    def add(layer: Any, shape: str, products: int | None = None) -> None:
        own = list(layer._reg_params.values())
        new = [param for param in own if id(param) not in seen]
        seen.update(map(id, own))
        name = f"{type(layer).__name__}-{len(rows) + 1}"
        share = None if shares is None else shares.pop(layer.name, 0.0)
        rows.append(_Row(name, shape, _count(own), _count(new), products, share))

    def begin(*_: Any) -> None:
        if not tracing.active[0]:
            begun.append(len(rows))

    def record(layer: Any, inputs: Any, output: Any) -> None:
        if tracing.active[0]:  # for its graph
            return
        called.add(id(layer))
        within = rows[begun.pop() :]
        graph = _graph_of(layer, inputs)
        known = graph is not None and all(row.products is not None for row in within)
        products = None
        if graph is not None and known:
            products = multiply_adds(graph) - sum(row.products or 0 for row in within)
        add(layer, _shape_text(output), products)

    # Others are the sum of their parts.
    layers = [layer for layer in block._walk() if layer._reg_params or not layer._children]
    for layer in layers:
        handles.append(layer.register_forward_pre_hook(begin))
        handles.append(layer.register_forward_hook(record))
    try:
        block(*inputs)
    finally:
        for handle in handles:
            handle.detach()
    for layer in layers:
        if layer._reg_params and id(layer) not in called:
            add(layer, "not called")
    params = block.collect_params().values()
    total = _count(params)
    trainable = _count(param for param in params if param.grad_req != "null")
    lines = _table(rows, _shape_text(inputs), total, trainable)
    return "\n".join([*lines, *_of_the_whole(_graph_of(block, inputs), rows), lines[0]])


def _of_the_whole(graph: Graph | None, rows: Sequence[_Row]) -> list[str]:
    lines = []
    if graph is not None:
        plan = lower_graph(graph).memory_plan()
        lines += [
            f"Multiply-adds: {multiply_adds(graph):,}",
            f"Planned memory: {in_bytes(plan.arena_bytes)} for {plan.temporaries} temporaries",
        ]
    if any(row.share is not None for row in rows):
        own = sum(row.share or 0 for row in rows)
        lines.append(f"Time in kernels elsewhere, such as the optimizer's: {max(1 - own, 0):.1%}")
    return lines


_WIDTH = 96


class _Row(Frozen):
    """A layer: `new` are the parameters that no row before has counted, `share` is that of the
    time."""

    name: str
    shape: str
    count: int
    new: int
    products: int | None
    share: float | None


def _table(rows: Sequence[_Row], inputs: str, total: int, trainable: int) -> list[str]:
    timed = any(row.share is not None for row in rows)
    width = _WIDTH + 10 * timed
    shown = "Time" if timed else ""
    lines = ["-" * width, _line("Layer (type)", "Output Shape", "Param #", "Multiply-adds", shown)]
    lines += ["=" * width, _line("Input", inputs, "0", "", "")]
    lines += [
        _line(
            row.name,
            row.shape,
            str(row.count),
            "" if row.products is None else f"{row.products:,}",
            "" if row.share is None else f"{row.share:.1%}",
        )
        for row in rows
    ]
    return [
        *lines,
        "=" * width,
        "Parameters in forward computation graph, duplicate included",
        f"   Total params: {sum(row.count for row in rows)}",
        f"   Trainable params: {trainable}",
        f"   Non-trainable params: {total - trainable}",
        f"Shared params in forward computation graph: {sum(row.count - row.new for row in rows)}",
        f"Unique parameters in model: {total}",
    ]


def _line(layer: str, shape: str, count: str, products: str, time: str) -> str:
    return f"{layer:>20}  {shape:>42} {count:>15} {products:>15} {time:>9}".rstrip()


def _graph_of(block: Any, inputs: tuple[Any, ...]) -> Graph | None:
    """The typed graph of a block that has one, which can be traced on such inputs."""
    if not block._is_hybrid:
        return None
    try:
        return block._graph_on(*inputs)
    except TigonError:
        return None


def _count(params: Iterable[Any]) -> int:
    """The numbers in those whose shape is known."""
    return sum(math.prod(param.shape) for param in params if param.is_shape_known)


def _shape_text(value: Any) -> str:
    texts: list[str] = []
    for kind, what in nested.steps(value, "summary"):
        if kind == "leaf":
            texts.append(str(tuple(what.shape)) if hasattr(what, "shape") else repr(what))
            continue
        start = len(texts) - nested.count_of(kind, what)
        parts = texts[start:]
        texts[start:] = [parts[0] if len(parts) == 1 else f"[{', '.join(parts)}]"]
    return texts[0]
