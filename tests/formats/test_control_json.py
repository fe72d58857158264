"""Loops and branches in -symbol.json, in the form of MXNet 1.9.1: read, written, damaged."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import gluon, nd, sym


def null(name: str) -> dict[str, Any]:
    return {"op": "null", "name": name, "inputs": []}


def node(op: str, name: str, inputs: list[int], **attrs: str) -> dict[str, Any]:
    row: dict[str, Any] = {"op": op, "name": name, "inputs": [[i, 0, 0] for i in inputs]}
    return row | ({"attrs": attrs} if attrs else {})


def graph(*rows: dict[str, Any], heads: list[int]) -> dict[str, Any]:
    return {
        "nodes": list(rows),
        "arg_nodes": [i for i, row in enumerate(rows) if row["op"] == "null"],
        "node_row_ptr": list(range(len(rows) + 1)),
        "heads": [[i, 0, 0] for i in heads],
    }


def whole(*rows: dict[str, Any], outputs: int) -> dict[str, Any]:
    document = graph(*rows, heads=[])
    document["heads"] = [[len(rows) - 1, i, 0] for i in range(outputs)]
    document["node_row_ptr"][-1] += outputs - 1
    return document | {"attrs": {"mxnet_version": ["int", 10901]}}


def foreach_file() -> dict[str, Any]:
    """`lambda d, t: (d * w + t, t + d)` over x from s, as MXNet 1.9.1 writes it."""
    scope = {"__subgraph_name__": "loop0"}
    body = graph(
        null("x-0") | {"attrs": scope},
        null("w"),
        node("broadcast_mul", "broadcast_mul0", [0, 1], **scope),
        null("s-0") | {"attrs": scope},
        node("broadcast_add", "broadcast_add0", [2, 3], **scope),
        node("broadcast_add", "broadcast_add1", [3, 0], **scope),
        heads=[4, 5],
    )
    loop = node(
        "_foreach",
        "_foreach0",
        [0, 1, 2],
        in_data_locs="[0]",
        in_state_locs="[2]",
        num_args="4",
        num_out_data="1",
        num_outputs="2",
        remain_locs="[1]",
    )
    return whole(null("x"), null("s"), null("w"), loop | {"subgraphs": [body]}, outputs=2)


def while_file() -> dict[str, Any]:
    """`while i < 3: i, v = i + 1, v`, which gives v * 2."""
    condition = graph(null("i-0"), node("_lesser_scalar", "c", [0], scalar="3"), heads=[1])
    body = graph(
        null("v-0"),
        node("_mul_scalar", "m", [0], scalar="2"),
        null("i-0"),
        node("_plus_scalar", "p", [2], scalar="1"),
        node("_copy", "identity0", [0]),
        heads=[1, 3, 4],
    )
    loop = node(
        "_while_loop",
        "_while_loop0",
        [0, 1],
        cond_input_locs="[0]",
        func_input_locs="[1, 0]",
        func_var_locs="[1, 0]",
        max_iterations="5",
        num_args="4",
        num_out_data="1",
        num_outputs="3",
    )
    return whole(null("i"), null("v"), loop | {"subgraphs": [condition, body]}, outputs=3)


def cond_file() -> dict[str, Any]:
    """`a * b if p else b`."""
    graphs = [
        graph(null("p"), node("_copy", "identity0", [0]), heads=[1]),
        graph(null("a"), null("b"), node("broadcast_mul", "m", [0, 1]), heads=[2]),
        graph(null("b"), node("_copy", "identity0", [0]), heads=[1]),
    ]
    branch = node(
        "_cond",
        "_cond0",
        [0, 1, 2],
        cond_input_locs="[0]",
        else_input_locs="[2]",
        num_args="6",
        num_outputs="1",
        then_input_locs="[1, 2]",
    )
    return whole(null("p"), null("a"), null("b"), branch | {"subgraphs": graphs}, outputs=1)


FILES = {"foreach": foreach_file, "while": while_file, "cond": cond_file}


def read(document: dict[str, Any]) -> sym.Symbol:
    return sym.load_json(json.dumps(document))


def compared(document: Any) -> Any:
    """Without scopes, and with one name for all copies."""
    if isinstance(document, list):
        return [compared(item) for item in document]
    if not isinstance(document, dict):
        return document
    found = {name: compared(item) for name, item in document.items()}
    if found.get("op") == "_copy":
        found["name"] = "copy"
    found.get("attrs", {}).pop("__subgraph_name__", None)
    return {name: item for name, item in found.items() if name != "attrs" or item}


@pytest.mark.parametrize("name", FILES)
def test_files_of_mxnet_are_written_again_as_they_were(name: str) -> None:
    document = FILES[name]()
    again = json.loads(read(document).tojson())
    assert compared(again) == compared(document)


def test_what_files_of_mxnet_compute() -> None:
    loop = read(foreach_file())
    assert loop.list_arguments() == ["x", "s", "w"]
    assert loop.list_outputs() == ["_foreach0_output0", "_foreach0_output1"]
    rows, last = loop.eval(x=nd.array([1, 2]), s=nd.array([1]), w=nd.array([10]))
    assert rows.asnumpy()[:, 0].tolist() == [11, 22] and last.asscalar() == 4
    rows, count, kept = read(while_file()).eval(i=nd.array([0]), v=nd.array([7]))
    assert rows.asnumpy()[:, 0].tolist() == [14, 14, 14, 0, 0]
    assert (count.asscalar(), kept.asscalar()) == (3, 7)
    for holds, expected in ((0.5, 10), (0, 5)):
        given = {"p": nd.array([holds]), "a": nd.array([2]), "b": nd.array([5])}
        assert read(cond_file()).eval(**given)[0].asscalar() == expected


def test_a_condition_that_computes_and_graphs_that_share_what_they_read() -> None:
    document = cond_file()
    *_, branch = document["nodes"]
    branch["attrs"]["cond_input_locs"] = "(0, 2)"  # in the order of a visit, not of the rows
    condition = graph(null("b"), null("p"), node("broadcast_lesser", "l", [1, 0]), heads=[2])
    branch["subgraphs"][0] = condition
    chosen = read(document)
    for p, expected in ((4, 10), (6, 5)):
        given = {"p": nd.array([p]), "a": nd.array([2]), "b": nd.array([5])}
        assert chosen.eval(**given)[0].asscalar() == expected
        assert sym.load_json(chosen.tojson()).eval(**given)[0].asscalar() == expected


X, S, W, P = map(sym.var, "xswp")


def grouped(*results: Any) -> sym.Symbol:
    flat: list[Any] = []
    for result in results:
        flat += result if isinstance(result, list) else [result]
    return sym.Group(flat)


PROGRAMS: dict[str, tuple[Callable[[], sym.Symbol], bool]] = {
    "nested": (
        lambda: grouped(
            *sym.contrib.foreach(
                lambda r, t: sym.contrib.foreach(lambda d, u: (sym.tanh(d * u + W), u + d), r, t),
                X,
                S,
            )
        ),
        True,
    ),
    "closures over results": (
        lambda: grouped(
            *sym.contrib.foreach(
                lambda r, t: (r * sym.tanh(W), [t[0] + sym.split(P, 2, axis=0)[1], t[1]]),
                X,
                [S, S * 2],
            )
        ),
        True,
    ),
    "no outputs": (
        lambda: grouped(
            *sym.contrib.while_loop(
                lambda i, v: i.sum() < W.sum(), lambda i, v: (None, [i + 1, v * 2]), [S, P], 4
            )
        ),
        True,
    ),
    "no states": (lambda: grouped(*sym.contrib.foreach(lambda r, t: (r + W, t), X, [])), True),
    "loops in branches": (
        lambda: grouped(
            sym.contrib.cond(
                W.sum() > 0,
                lambda: [sym.contrib.foreach(lambda r, t: (r * t, t), X, S)[0], P],
                lambda: [X * 2, P + W.sum()],
            )
        ),
        True,
    ),
    "a state twice": (
        lambda: grouped(*sym.contrib.foreach(lambda r, t: (r + t, r + t), X, S)),
        True,
    ),
    "iterations computed again": (
        lambda: grouped(
            *sym.contrib.while_loop(
                lambda i, v: i.sum() < 3,
                lambda i, v: (
                    sym.contrib.foreach(lambda r, t: (r + t, t), X, v, recompute=True)[0],
                    [i + 1, v * 2],
                ),
                [S, P],
                4,
                recompute=True,
            )
        ),
        True,
    ),
    "rows that are not read": (
        lambda: grouped(*sym.contrib.foreach(lambda r, t: (t + W, t * 2), X, S)),
        False,
    ),
    "a state that is not read": (
        lambda: grouped(
            *sym.contrib.while_loop(
                lambda i, v: i.sum() < 3, lambda i, v: (v, [i + 1, i]), [S, S], 4
            )
        ),
        True,
    ),
    "a state that nobody reads": (
        lambda: grouped(
            *sym.contrib.while_loop(
                lambda i, v: i.sum() < 3, lambda i, v: (i, [i + 1, i]), [S, P], 4
            )
        ),
        False,
    ),
}


@pytest.mark.filterwarnings("ignore:this graph holds operators that MXNet does not know")
@pytest.mark.parametrize("name", PROGRAMS)
def test_round_trips(name: str) -> None:
    """The text is the same, and so is what is computed; MXNet reads it where it has such loops."""
    program, known = PROGRAMS[name]
    symbol = program()
    text = symbol.tojson()
    again = sym.load_json(text)
    assert again.tojson() == text
    assert ("_tigon_" in text) is not known
    assert text.count("__recompute__") == (2 if name == "iterations computed again" else 0)
    shapes = {"x": (3, 2), "s": (2,), "w": (2,), "p": (2,)}
    draw = np.random.RandomState(0)
    given = {n: nd.array(draw.uniform(-1, 1, shapes[n])) for n in symbol.list_arguments()}
    for one, other in zip(symbol.eval(**given), again.eval(**given), strict=True):
        np.testing.assert_array_equal(one.asnumpy(), other.asnumpy())


def variables_of(document: dict[str, Any]) -> list[str]:
    """As MXNet counts them: in the order of a visit from the heads, operands from the left."""
    found: list[str] = []
    seen: set[int] = set()

    def visit(number: int) -> None:
        if number in seen:
            return
        seen.add(number)
        row = document["nodes"][number]
        for entry in row["inputs"]:
            visit(entry[0])
        if row["op"] == "null":
            found.append(row["name"])

    for head in document["heads"]:
        visit(head[0])
    return found


@pytest.mark.parametrize("name", [name for name, (_, known) in PROGRAMS.items() if known])
def test_what_mxnet_demands_of_graphs(name: str) -> None:
    """Variables have different names, none is a result, and places count them as MXNet does."""
    pending = [json.loads(PROGRAMS[name][0]().tojson())]
    while pending:
        document = pending.pop()
        for row in document["nodes"]:
            inner = row.get("subgraphs", [])
            pending += inner
            for number, body in enumerate(inner):
                names = variables_of(body)
                assert len(set(names)) == len(names) == len(body["arg_nodes"])
                assert "attrs" not in body
                assert not any(body["nodes"][head[0]]["op"] == "null" for head in body["heads"])
                places = {n: json.loads(row["attrs"][n]) for n in row["attrs"] if "locs" in n}
                if row["op"] == "_foreach":
                    found = [place for found in places.values() for place in found]
                    assert sorted(found) == list(range(len(names)))
                else:
                    kinds = (
                        ("cond", "func") if row["op"] == "_while_loop" else ("cond", "then", "else")
                    )
                    assert len(places[f"{kinds[number]}_input_locs"]) == len(names)
            if inner:
                assert int(row["attrs"]["num_args"]) == len(row["inputs"]) + len(inner)


def test_gradients_are_kept_in_a_form_of_our_own() -> None:
    x, s = sym.var("x", shape=(3, 2)), sym.var("s", shape=(2,))
    rows, _ = sym.contrib.foreach(lambda r, t: (r * t, sym.tanh(t * r)), x, s)
    slopes = sym.Group(rows.grad(wrt=[x, s]))
    with pytest.warns(UserWarning, match=r"does not know \(_foreach, _vjp\)"):
        again = sym.load_json(slopes.tojson())
    given = {"x": nd.array([[1, 2], [3, 4], [5, 6]]), "s": nd.array([0.1, 0.2])}
    for one, other in zip(slopes.eval(**given), again.eval(**given), strict=True):
        np.testing.assert_array_equal(one.asnumpy(), other.asnumpy())


# ------------------------------------------------------------------------------ damaged


def loop_of(document: dict[str, Any]) -> dict[str, Any]:
    return document["nodes"][-1]


ATTRIBUTES = [
    (name, attribute) for name, made in FILES.items() for attribute in loop_of(made())["attrs"]
]


@pytest.mark.parametrize("value", [None, "", "x", "-1", "[-1]", "[99]", "[0, 0]", "99", "1.5", "["])
@pytest.mark.parametrize(("name", "attribute"), ATTRIBUTES)
def test_each_attribute_is_checked(name: str, attribute: str, value: str | None) -> None:
    if (attribute, value) == ("max_iterations", "99"):
        return
    document = FILES[name]()
    loop = loop_of(document)
    if value is None:
        del loop["attrs"][attribute]
    else:
        loop["attrs"][attribute] = value
    with pytest.raises(mx.TigonError) as caught:
        read(document)
    assert re.match(rf"graph text: node \d '{loop['name']}' \({loop['op']}\)", str(caught.value))
    # What does not fit the number of states may be told of either.
    assert f"'{attribute}'" in str(caught.value) or attribute == "num_out_data"


def test_numbers_of_iterations_have_bounds() -> None:
    name = next(n for n, made in FILES.items() if "max_iterations" in loop_of(made())["attrs"])
    for count, fits in ((1, True), (2**31 - 1, True), (0, False), (2**31, False)):
        document = FILES[name]()
        loop_of(document)["attrs"]["max_iterations"] = str(count)
        if fits:
            read(document)
            continue
        with pytest.raises(mx.TigonError, match="'max_iterations' expects a whole number from 1"):
            read(document)


def cut(document: dict[str, Any]) -> None:
    loop_of(document)["subgraphs"].pop()


def with_state(document: dict[str, Any]) -> None:
    body = loop_of(document)["subgraphs"][-1]
    first = len(body["nodes"])
    body["nodes"] += [null(f"bn{i}") for i in range(4)]
    inputs = [0, *range(first, first + 4)]
    body["nodes"].append(node("BatchNorm", "bn", inputs))
    body["heads"][0] = [len(body["nodes"]) - 1, 0, 0]


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a graph too few": (cut, r"\.subgraphs: expected [123] graphs; given [012]"),
    "no graphs": (
        lambda d: loop_of(d).pop("subgraphs"),
        r"\.subgraphs: expected [123] graphs; given 0",
    ),
    "no list": (lambda d: loop_of(d).update(subgraphs=3), r"\.subgraphs: expected a list"),
    "no object": (
        lambda d: loop_of(d)["subgraphs"].__setitem__(0, []),
        r"subgraphs\[0\]: expected an object",
    ),
    "graphs elsewhere": (
        lambda d: d["nodes"][0].update(subgraphs=[{}]),
        r"\.subgraphs: expected graphs only at loops and branches",
    ),
    "a cycle within": (
        lambda d: loop_of(d)["subgraphs"][-1]["nodes"][-1].update(
            inputs=[[len(loop_of(d)["subgraphs"][-1]["nodes"]) - 1, 0, 0]]
        ),
        r"subgraphs\[\d\]\.nodes\[\d\].*depends on itself",
    ),
    "a head beyond": (
        lambda d: loop_of(d)["subgraphs"][-1].update(heads=[[99, 0, 0]]),
        r"subgraphs\[\d\]\.heads\[0\]: expected \[node below",
    ),
    "an operator within": (
        lambda d: loop_of(d)["subgraphs"][-1]["nodes"][-1].update(op="nothing"),
        r"subgraphs\[\d\]\.nodes\[\d\].*not known",
    ),
    "another attribute": (
        lambda d: loop_of(d)["attrs"].update(more="1"),
        "has no attribute 'more'",
    ),
    "an input too few": (lambda d: loop_of(d)["inputs"].pop(), "'num_args' expects"),
    "a state within": (with_state, "holds BatchNorm 'bn', which changes a state"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_graphs(name: str, damage: str) -> None:
    document = FILES[name]()
    change, message = DAMAGE[damage]
    change(document)
    with pytest.raises(mx.TigonError, match=message) as caught:
        read(document)
    assert str(caught.value).startswith("graph text: ")


def test_loops_lie_in_each_other_only_so_deep() -> None:
    document = foreach_file()
    for _ in range(40):
        outer = copy.deepcopy(foreach_file())
        body = loop_of(outer)["subgraphs"][0]
        loop = loop_of(document)
        body["nodes"].append(loop | {"inputs": [[0, 0, 0], [3, 0, 0], [1, 0, 0]]})
        body["heads"][0] = [len(body["nodes"]) - 1, 0, 0]
        document = outer
    with pytest.raises(mx.TigonError, match="expected at most 32 loops in each other"):
        read(document)


# ------------------------------------------------------------------------------- blocks


class Scan(gluon.nn.HybridBlock):
    """A recurrent layer, clipped by a branch."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.project = gluon.nn.Dense(3, flatten=False, in_units=2)
            self.weight = self.params.get("weight", shape=(3, 3))

    def hybrid_forward(self, F: Any, x: Any, state: Any, weight: Any) -> Any:
        def body(row: Any, s: Any) -> Any:
            made = F.tanh(self.project(row) + F.dot(s[0], weight))
            return made, [made]

        rows, (last,) = F.contrib.foreach(body, x, [state])
        grown = F.contrib.while_loop(
            lambda v: F.sum(v * v) < 10, lambda v: ([], [v * 2]), [last], max_iterations=8
        )[1][0]
        return rows, F.contrib.cond(F.sum(grown) > 0, lambda: grown, lambda: -grown)


def test_exported_loops_are_imported(tmp_path: Path) -> None:
    mx.random.seed(3)
    net = Scan()
    net.initialize(mx.init.Uniform(1))
    net.hybridize(strict=True)
    x = nd.random.uniform(shape=(4, 5, 2))
    state = nd.zeros((5, 3))
    expected = net(x, state)
    net.export(str(tmp_path / "scan"))
    text = (tmp_path / "scan-symbol.json").read_text()
    assert "_tigon_" not in text and "subgraphs" in text
    loaded = gluon.SymbolBlock.imports(
        str(tmp_path / "scan-symbol.json"), ["data0", "data1"], str(tmp_path / "scan-0000.params")
    )
    for one, other in zip(expected, loaded(x, state), strict=True):
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), 1e-6, 1e-6)
    longer = nd.random.uniform(shape=(7, 5, 2))
    for one, other in zip(net(longer, state), loaded(longer, state), strict=True):
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), 1e-6, 1e-6)
