"""Graphs: construction, text, keys, rewriting, verification. Operators here are toys."""

from __future__ import annotations

import pytest

from tigon.base import InternalError, TensorType, TigonError, as_dtype
from tigon.base.frozen import Frozen
from tigon.ir import Graph, Node, Value, constant, parse, rewrite, show, substitute, typed, variable
from tigon.ir.graph import attrs_key, topological_order
from tigon.ir.verify import verify
from tigon.ops.record import Family, NoAttrs, Operand, Operator, same_type

F32 = as_dtype("float32")


class SplitAttrs(Frozen):
    parts: int
    axis: int = 0
    mode: str = "plain"
    scale: float = 0.0


toy = Operator("toy", Family.ELEMENTWISE, (Operand("x"),), NoAttrs, same_type, "")
pair = Operator("pair", Family.ELEMENTWISE, (Operand("x"), Operand("y")), NoAttrs, same_type, "")
halve = Operator(
    "halve",
    Family.COMPOSITE,
    (Operand("x"),),
    SplitAttrs,
    lambda attrs, x: (same_type(x),) * attrs.parts,
    "",
    outputs=lambda attrs: attrs.parts,
)
TOYS = {op.name: op for op in (toy, pair, halve)}


def f32(*shape: int) -> TensorType:
    return TensorType(shape, F32)


def round_trip(graph: Graph) -> Graph:
    again = parse(show(graph), TOYS.__getitem__)
    assert again.key == graph.key
    assert show(again) == show(graph)
    return again


@pytest.mark.parametrize(
    "name", ["x", "0", "it's", 'a "quoted" one', "a, b", "data:0", "x=1)", "line\nbreak", "é", ""]
)
def test_round_trip_of_any_name(name: str) -> None:
    x = variable(name, f32(2, 3))
    node = Node(toy, (x,), NoAttrs(), name)
    round_trip(Graph([x], [node.outputs[0]]))


@pytest.mark.parametrize("value", [0, -0.0, 1.5, float("inf"), float("-inf"), float("nan"), True])
def test_round_trip_of_constants(value: float) -> None:
    again = round_trip(Graph([], [constant(value)]))
    assert repr(again.outputs[0].node.attrs.value) == repr(value)


def test_round_trip_of_attributes_and_several_outputs() -> None:
    x = variable("x")
    first, second, _ = halve(x, parts=3, mode="a}b' \"", scale=-0.0)
    graph = round_trip(Graph([x, variable("unused")], [second, pair(first, 2.5), x]))
    assert show(graph).splitlines()[1].startswith("  %0, %1, %2 = halve(%x) {parts=3, ")


def test_round_trip_of_array_constants() -> None:
    round_trip(Graph([], [constant([[1.0, -0.0], [float("nan"), 2]], "float64")]))


def test_no_inputs_no_outputs() -> None:
    assert show(round_trip(Graph([], []))) == "graph() {\n  return\n}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected 'graph"),
        ("graph(%x) {\n  return %y\n}", "%y is used before"),
        ("graph(%x) {\n  %0 = toy(%0)\n  return %0\n}", "%0 is used before"),
        ("graph(%x) {\n  %0 = toy(%x\n  return %0\n}", "cannot read"),
        ("graph(%x, %x) {\n  return %x\n}", "cannot read the inputs"),
        ("graph(%x: float32[2,) {\n  return %x\n}", "cannot read the inputs"),
        ("graph(%x: complex[2]) {\n  return %x\n}", "dtype"),
        ("graph(%x) {\n  %0, %1 = toy(%x)\n  return %0\n}", "expected 1 new names"),
        ("graph(%x) {\n  %x = toy(%x)\n  return %x\n}", "expected 1 new names"),
        ("graph(%x) {\n  %0 = halve(%x) {parts=f()}\n  return %0\n}", "cannot read the attr"),
        ("graph(%x) {\n  %0 = halve(%x) {**a}\n  return %0\n}", "cannot read the attr"),
        ("graph(%x) {\n  %0 = halve(%x) {size=2}\n  return %0\n}", "no attribute 'size'"),
        ("graph(%x) {\n  %0 = halve(%x)\n  return %0\n}", "'parts' must be given"),
        ("graph() {\n  %0 = constant() {v=1}\n  return %0\n}", "as value and a dtype"),
        (
            "graph() {\n  %0 = constant() {value=(1, 2), dtype='int64', shape=(3,)}\n  return\n}",
            "elements",
        ),
        (
            "graph(%x) {\n  %0 = toy(%x, %x)\n  return %0\n}".replace("%x)", "%x: int32[1])", 1),
            "toy",
        ),
    ],
)
def test_malformed_text_is_a_clear_error(text: str, message: str) -> None:
    with pytest.raises(TigonError, match=message):
        parse(text, TOYS.__getitem__)


def test_key_tells_structure_apart() -> None:
    x, y = variable("x", f32(2)), variable("y", f32(2))
    same = Graph([x, y], [pair(x, y)])
    renamed = variable("a", f32(2)), variable("b", f32(2))
    assert same.key == Graph(renamed, [pair(*renamed)]).key
    assert same.key != Graph([x, y], [pair(y, x)]).key
    assert same.key != Graph([y, x], [pair(x, y)]).key
    assert same.key != Graph([x, y], [pair(x, x)]).key
    wider = variable("a", f32(3)), variable("b", f32(3))
    assert same.key != Graph(wider, [pair(*wider)]).key


def test_key_is_exact_in_numbers() -> None:
    def key(value: float) -> tuple:
        return Graph([], [constant(value)]).key

    assert key(0.0) != key(-0.0)
    assert key(float("nan")) == key(float("nan"))
    assert key(1) != key(1.0) != key(True)
    assert attrs_key(SplitAttrs(2, scale=0.0)) != attrs_key(SplitAttrs(2, scale=-0.0))


def test_types_follow_from_variables() -> None:
    x = variable("x")
    graph = Graph([x], [toy(toy(x))])
    with pytest.raises(TigonError, match="type is not known yet"):
        _ = graph.outputs[0].type
    assert typed(graph, {"x": f32(4)}).outputs[0].type == f32(4)


def test_rewrite_keeps_the_object_when_nothing_changes() -> None:
    x = variable("x", f32(2))
    graph = Graph([x], [toy(toy(x))])
    assert rewrite(graph, lambda node, inputs: None) is graph
    assert rewrite(graph, lambda node, inputs: node.outputs) is graph
    assert typed(graph, {"x": f32(2)}) is graph


def test_rewrite_keeps_name_hints_and_serial() -> None:
    x = variable("x", f32(2))
    inner = toy(x)
    outer = Node(toy, (inner,), NoAttrs(), "outer", {"__ctx__": "a"})
    result = rewrite(
        Graph([x], outer.outputs), lambda node, inputs: (x,) if node is inner.node else None
    )
    made = result.outputs[0].node
    assert made.inputs == (x,)
    assert (made.name, made.hints, made.serial) == ("outer", {"__ctx__": "a"}, outer.serial)


def test_substitute_moves_an_expression_to_other_leaves() -> None:
    x, a = variable("x"), variable("a")
    (moved,) = substitute([pair(toy(x), x)], {x: toy(a)})
    assert show(Graph([a], [moved])).count("toy") == 2


def test_deep_graphs_do_not_overflow() -> None:
    x = variable("x", f32(2))
    value = x
    for _ in range(20_000):
        value = toy(value)
    graph = Graph([x], [value])
    assert len(graph.nodes) == 20_001
    assert hash(graph.key)
    verify(graph)
    assert typed(graph, {"x": f32(3)}).outputs[0].shape == (3,)


def test_order_stops_where_told() -> None:
    x = variable("x")
    below = toy(x)
    above = pair(below, toy(below))
    ops = [node.op.name for node in topological_order([above], stop={below})]
    assert ops == ["toy", "pair"]


# ---------------------------------------------------------------------------- verification


def test_verify_accepts() -> None:
    x = variable("x", f32(2))
    graph = Graph([x], [toy(x), constant(1)])
    assert verify(graph) is graph


def _stranger(value: Value) -> Value:
    return Value(value.node, value.index)


x0 = variable("x", f32(2))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (Graph([x0, x0], [x0]), "input twice"),
        (Graph([x0, variable("x")], [x0]), "two inputs are named 'x'"),
        (Graph([toy(x0)], [x0]), "is not a variable"),
        (Graph([], [toy(x0)]), "variable 'x' is used but is no input"),
        (Graph([x0], [_stranger(x0)]), "stranger"),
        (Graph([x0], [toy(_stranger(x0))]), "stranger"),
        (Graph([x0], Node(halve, (x0,), SplitAttrs(2)).outputs), None),
        (Graph([x0], Node(toy, (x0,), SplitAttrs(2)).outputs), "expected attributes NoAttrs"),
        (Graph([x0], Node(toy, (x0,), NoAttrs(), types=(f32(9),)).outputs), "its type rule gives"),
    ],
)
def test_verify_finds_what_is_wrong(graph: Graph, message: str | None) -> None:
    if message is None:
        verify(graph)
        return
    with pytest.raises(InternalError, match=message):
        verify(graph)
