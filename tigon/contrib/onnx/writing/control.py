"""Loops and branches, whose graphs become subgraphs: what these read besides is in sight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon.base import check
from tigon.contrib.onnx.reading import code_of, package
from tigon.contrib.onnx.writing.model import Writer, primitive
from tigon.ir.graph import Graph, Node, Value
from tigon.ops.primitive.control import (
    cond_graphs,
    foreach_body,
    operands_of,
    outs_of,
    while_graphs,
)


def value_info(name: str, value: Value, shape: Sequence[Any] | None = None) -> Any:
    return package().helper.make_tensor_value_info(name, code_of(value.dtype), shape)


class Subgraph:
    """A body while it is written."""

    def __init__(self, outer: Writer) -> None:
        self.w = Writer(outer.opset, outer.known, outer.extents, outer)
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def parameter(self, value: Value) -> str:
        name = self.w.name("row")
        self.inputs.append(value_info(name, value))
        return name

    def number(self, wish: str, dtype: str) -> None:
        """A 0-d parameter that nothing reads."""
        make = package().helper.make_tensor_value_info
        self.inputs.append(make(self.w.name(wish), code_of(dtype), []))

    def result(self, name: str, value: Value) -> None:
        """Each result is computed here, under a name of its own."""
        own = self.w.add("Identity", [name], "result")
        self.outputs.append(value_info(own, value))

    def made(self) -> Any:
        make = package().helper.make_graph
        return make(self.w.nodes, self.w.name("body"), self.inputs, self.outputs)


def _deciding(w: Writer, name: str, value: Value) -> str:
    truth = name if value.dtype.kind == "b" else w.add("Cast", [name], to=code_of("bool"))
    return w.add("Reshape", [truth, w.constant([], "int64")]) if value.ndim else truth


def _check_draws_nothing(node: Node) -> None:
    check(
        not node.attrs.keyed,
        "export_model",
        f"{node.label} draws random numbers in its body, which ONNX would draw otherwise; export "
        "the graph of prediction",
    )


@primitive("_cond")
def _cond(w: Writer, node: Node, inputs: list[str]) -> list[str]:
    _check_draws_nothing(node)
    types = [value.type for value in node.inputs]
    branches = []
    for graph in cond_graphs(node.attrs, types):
        body = Subgraph(w)
        body.w.known.update(zip(graph.inputs, inputs[1:], strict=True))
        for name, value in zip(body.w.emit(graph.outputs), graph.outputs, strict=True):
            body.result(name, value)
        branches.append(body.made())
    truth = _deciding(w, inputs[0], node.inputs[0])
    then, otherwise = branches
    given = {"then_branch": then, "else_branch": otherwise}
    return w.add_several("If", [truth], node.name, len(node.outputs), **given)


@primitive("_foreach")
def _foreach(w: Writer, node: Node, inputs: list[str]) -> list[str]:
    attrs = node.attrs
    _check_draws_nothing(node)
    check(not attrs.counted, "export_model", f"{node.label} counts its rows by an operand")
    graph = foreach_body(attrs, [value.type for value in node.inputs])
    given, names = operands_of(attrs, node.inputs), operands_of(attrs, inputs)
    own = operands_of(attrs, graph.inputs)
    body = Subgraph(w)
    for value in own.states:
        body.w.known[value] = body.parameter(value)
    for value, whole in zip(own.data, given.data, strict=True):
        row = body.parameter(value)
        # A row of numbers is an array of one here, and 0-d there.
        body.w.known[value] = (
            body.w.add("Reshape", [row, w.integers((1,))]) if whole.ndim == 1 else row
        )
    body.w.known.update(zip(own.others, names.others, strict=True))
    reverse, outs = int(attrs.reverse), outs_of(attrs)
    _write_results(body, body.w.emit(graph.outputs), graph, outs)
    made = w.add_several(
        "Scan",
        [*names.states, *names.data],
        node.name,
        outs + attrs.states,
        body=body.made(),
        num_scan_inputs=attrs.data,
        scan_input_directions=[reverse] * attrs.data,
        scan_output_directions=[reverse] * outs if outs else None,
    )
    return [*made[attrs.states :], *made[: attrs.states]]


def _write_results(body: Subgraph, names: Sequence[str], graph: Graph, outs: int) -> None:
    """States first, then rows of results."""
    pairs = [*zip(names, graph.outputs, strict=True)]
    for name, value in (*pairs[outs:], *pairs[:outs]):
        body.result(name, value)


@primitive("_while_loop")
def _while_loop(w: Writer, node: Node, inputs: list[str]) -> list[str]:
    attrs = node.attrs
    _check_draws_nothing(node)
    condition, graph = while_graphs(attrs, [value.type for value in node.inputs])
    names = operands_of(attrs, inputs)
    begin = Subgraph(w).w
    begin.known.update(zip(condition.inputs, inputs, strict=True))
    (first,) = begin.emit(condition.outputs)
    w.nodes += begin.nodes
    first = _deciding(w, first, condition.outputs[0])
    body = Subgraph(w)
    body.number("iteration", "int64")
    body.number("goes_on", "bool")
    states = operands_of(attrs, graph.inputs).states
    for value in states:
        body.w.known[value] = body.parameter(value)
    body.w.known.update(zip(graph.inputs[attrs.states :], names.others, strict=True))
    outs = outs_of(attrs)
    after = body.w.emit(graph.outputs)
    body.w.known.update(zip(condition.inputs, [*after[outs:], *names.others], strict=True))
    (truth,) = body.w.emit(condition.outputs)
    body.result(_deciding(body.w, truth, condition.outputs[0]), condition.outputs[0])
    _write_results(body, after, graph, outs)
    made = w.add_several(
        "Loop",
        [w.constant(attrs.max_iterations, "int64"), first, *names.states],
        node.name,
        outs + attrs.states,
        body=body.made(),
    )
    rows = [
        _up_to(w, name, attrs.max_iterations, value)
        for name, value in zip(made[attrs.states :], graph.outputs[:outs], strict=True)
    ]
    return [*rows, *made[: attrs.states]]


def _up_to(w: Writer, name: str, most: int, row: Value) -> str:
    """Rows that were never reached are 0."""
    length = w.add("Shape", [name], start=0, end=1)
    lacking = w.add("Sub", [w.constant([most], "int64"), length])
    zeros = w.constant([0] * row.ndim, "int64")
    pads = w.add("Concat", [w.constant([0] * (row.ndim + 1), "int64"), lacking, zeros], axis=0)
    return w.add("Pad", [name, pads, w.constant(0, row.dtype)], mode="constant")
