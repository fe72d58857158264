"""Hints never change meaning; whatever does is an attribute, and so in key, text and file."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given

from tests.fuzz.graphs import graphs
from tests.fuzz.test_laws import fuzzed
from tests.registry.test_records import OPERATORS, cases
from tigon import sym
from tigon.base import TigonError
from tigon.base.frozen import replace
from tigon.export.symbol_json import dumps, loads
from tigon.ir import Graph, Node, Value, parse, rewrite, show
from tigon.ops import get
from tigon.ops.attributes import attr_fields
from tigon.ops.record import Operator
from tigon.passes.set_mode import set_mode
from tigon.passes.thread_keys import thread_keys
from tigon.passes.thread_states import thread_states
from tigon.program.lowered import prepare

HINTS = {
    "__training__": "True",
    "__shape__": "(1, 2)",
    "__dtype__": "6",
    "__ctx__": "gpu(0)",
    "lr_mult": "2",
}

# Operators that MXNet does not know are written all the same.
pytestmark = pytest.mark.filterwarnings("ignore:this graph holds operators:UserWarning")


def hinted(graph: Graph, seed: int, everywhere: bool = False) -> Graph:
    """The graph with hints at some of its nodes, variables included."""
    rng = random.Random(seed)

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value]:
        own = {} if node.attrs is None else dict.fromkeys(vars(node.attrs), "1")
        every = HINTS | own  # such as an attribute's name
        chosen = {name: text for name, text in every.items() if everywhere or rng.random() < 0.4}
        made = Node(node.op, inputs, node.attrs, node.name, chosen, node.types)
        made.serial = node.serial
        return made.outputs

    return rewrite(graph, rule)


def compiled(graph: Graph, training: bool) -> object:
    """What a graph is before it is lowered."""
    threaded, states = thread_states(graph)
    keyed, calls = thread_keys(set_mode(threaded, training))
    return prepare(keyed).key, states, calls


def program_of(op: Operator) -> Graph:
    node, _ = next(iter(cases(op)))
    return Graph(node.inputs, node.outputs[: op.visible_count(node.attrs)])


@fuzzed
@given(graphs())
def test_of_any_graph(graph: Graph) -> None:
    for seed in range(2):
        other = hinted(graph, seed)
        assert other.key == graph.key
        assert show(other) == show(graph)
        assert compiled(other, True) == compiled(graph, True)


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.name)
def test_of_any_operator(op: Operator) -> None:
    graph = program_of(op)
    read = stored(graph)
    for seed in range(3):
        other = hinted(graph, seed, everywhere=seed == 0)
        assert other.key == graph.key
        assert parse(show(other), get).key == parse(show(graph), get).key
        assert stored(other) == read
    if not any(operand.random_key for operand in op.operands):
        for training in (True, False):
            assert compiled(other, training) == compiled(graph, training)


def stored(graph: Graph) -> object:
    """The key of what is read back from a file, or why it cannot be read."""
    try:
        return Graph.of(loads(dumps(graph.outputs), "text")).key
    except TigonError as error:
        return str(error)


MODED = [op for op in OPERATORS if "training" in attr_fields(op.attrs_type)]


@pytest.mark.parametrize("op", MODED, ids=lambda op: op.name)
def test_other_modes_are_other_graphs(op: Operator) -> None:
    node, _ = next(iter(cases(op)))
    made = []
    for training in (None, True, False):
        own = Node(op, node.inputs, replace(node.attrs, training=training), "own")
        made.append(Graph(node.inputs, own.outputs))
    for form in (
        [graph.key for graph in made],
        [show(graph) for graph in made],
        [dumps(graph.outputs) for graph in made],
    ):
        assert len(set(form)) == 3
    for graph in made:
        attrs = graph.outputs[0].node.attrs
        assert parse(show(graph), get).outputs[0].node.attrs == attrs
        (read, *_) = loads(dumps(graph.outputs), "text")
        assert read.node.attrs.training is attrs.training
        closed = {training: set_mode(graph, training) for training in (True, False)}
        own = attrs.training
        for training, settled in closed.items():
            found = settled.outputs[0].node.attrs.training
            assert found is (training if own is None else own)


def test_a_hint_in_a_file_that_names_no_mode() -> None:
    """What a user remarks under that name is not taken for a mode when the file is read."""
    x = sym.var("x")
    symbol = sym.Dropout(x, attr={"__training__": "True", "__mine__": "yes"}, name="drop")
    read = sym.load_json(symbol.tojson())
    assert read.attr("__mine__") == "yes"
    assert read.attr("__training__") is None
    assert read._values[0].node.attrs.training is None


def test_the_mode_of_a_node_is_shown() -> None:
    graph = parse("graph(%x) {\n %0 = Dropout(%x) {training=False}\n return %0\n}", get)
    assert graph.outputs[0].node.attrs.training is False
    symbol = sym.Symbol(graph.outputs)
    assert symbol.list_attr()["__training__"] == "False"
    with pytest.raises(TigonError, match="training"):
        loads(symbol.tojson().replace('"False"', '"perhaps"'), "text")
