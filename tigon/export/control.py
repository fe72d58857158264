"""Loops and branches as MXNet's files have them: a node with `subgraphs`, whose attributes say to
which variable of those each of its inputs goes. What goes beyond that is in a form of our own,
under a name that MXNet does not know."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from tigon.base import InternalError, TigonError
from tigon.base.frozen import Frozen
from tigon.ir.graph import VARIABLE, Graph, Node, Value, topological_order, variable
from tigon.ir.rewrite import substitute
from tigon.ops.primitive import control as ops
from tigon.ops.primitive.choose import cast, identity
from tigon.ops.record import Family, has_effect

MOST_WITHIN = 32
"""Loops in loops: each is a step of Python's stack."""

_RECOMPUTE = "__recompute__"
"""An attribute here, a remark to MXNet."""

NAMES = {"_foreach": 1, "_while_loop": 2, "_cond": 3}
"""Operator -> number of its graphs."""


def is_control(node: Node) -> bool:
    return getattr(node.op, "family", None) is Family.CONTROL


# ------------------------------------------------------------------------------ writing


def implied(nodes: Sequence[Node], heads: Collection[Value]) -> set[Node]:
    """What a file says by the place where it stands: that what decides is a bool."""
    made = {node.inputs[0].node for node in nodes if node.op is ops._cond}
    made = {node for node in made if _without_cast(node.outputs[0]) is not node.outputs[0]}
    for node in nodes:
        made.difference_update(v.node for v in node.inputs[node.op is ops._cond :])
    return made.difference(value.node for value in heads)


class Subgraph(Frozen, eq=False):
    heads: tuple[Value, ...]
    unread: tuple[Value, ...] = ()
    """Variables that no head reads. MXNet has none."""

    @property
    def variables(self) -> tuple[Value, ...]:
        """In the order in which locations count them."""
        read = [n.outputs[0] for n in topological_order(self.heads) if n.op is VARIABLE]
        return (*read, *self.unread)


class Written(Frozen, eq=False):
    """A node as a file has it."""

    attributes: Mapping[str, str]
    inputs: tuple[Value, ...]
    subgraphs: tuple[Subgraph, ...]
    outputs: int
    own: bool
    """Whether only we read it."""


def written(
    node: Node, name_of: Callable[[Value], str] = repr, read: Collection[Value] = ()
) -> Written:
    """`read` are values that other nodes read; `name_of` names operands."""
    if getattr(node.attrs, "keyed", False):
        raise InternalError(f"{node.label}: keys are threaded in what is executed, not in files")
    if node.op is ops._foreach:
        return _written_foreach(node, name_of, read)
    if node.op is ops._while_loop:
        return _written_while(node, name_of, read)
    if node.op is ops._cond:
        return _written_cond(node, name_of)
    raise InternalError(f"{node.label}: is no loop and no branch")


def _written_foreach(
    node: Node, name_of: Callable[[Value], str], read: Collection[Value]
) -> Written:
    attrs = node.attrs
    given = ops.operands_of(attrs, node.inputs)
    outs = ops.outs_of(attrs)
    looped, others = (*given.data, *given.states), given.others
    names = _Names(name_of)
    inner = [*[names.of_row(value) for value in looped], *[names.of_other(v) for v in others]]
    heads = _moved(attrs.body, inner)
    first = {value.node for value in heads[:outs]}
    heads = [_copied(v, i >= outs and v.node in first) for i, v in enumerate(heads)]
    body = _with_unread(heads, inner[: len(looped)])
    place = {value: number for number, value in enumerate(body.variables)}
    kept = [i for i, value in enumerate(inner[len(looped) :]) if value in place]
    remain = [place[inner[len(looped) + i]] for i in kept]
    order = sorted(range(len(kept)), key=lambda i: remain[i])
    where = [place[value] for value in inner[: len(looped)]]
    beyond = any(value in read for value in node.outputs[outs + attrs.states :])
    more = {name: "True" for name in ("reverse", "counted") if getattr(attrs, name)}
    attributes = more | {
        "in_data_locs": str(where[: attrs.data]),
        "in_state_locs": str(where[attrs.data :]),
        "remain_locs": str([remain[i] for i in order]),
        "num_out_data": str(outs),
        "num_outputs": str(len(heads)),
    }
    inputs = (*looped, *[others[kept[i]] for i in order], *given.count)
    own = bool(more or body.unread or beyond)
    return _made(node, attributes, inputs, (body,), len(heads), own)


def _written_while(node: Node, name_of: Callable[[Value], str], read: Collection[Value]) -> Written:
    attrs = node.attrs
    given = ops.operands_of(attrs, node.inputs)
    outs = ops.outs_of(attrs)
    names = _Names(name_of)
    inner = [names.of_row(value) for value in given.states]
    inner += [names.of_other(value) for value in given.others]
    (decides,) = _moved(attrs.condition, inner)
    condition = Subgraph((_copied(_without_cast(decides)),))
    heads = [_copied(value) for value in _moved(attrs.body, inner)]
    body = _with_unread(heads, inner[: attrs.states])
    place = {value: number for number, value in enumerate(inner)}
    union, (of_condition, of_body) = _locations(
        [[place[value] for value in graph.variables] for graph in (condition, body)]
    )
    at = {value: number for number, value in enumerate(body.variables)}
    attributes = {
        "cond_input_locs": str(of_condition),
        "func_input_locs": str(of_body),
        "func_var_locs": str([at[value] for value in inner[: attrs.states]]),
        "max_iterations": str(attrs.max_iterations),
        "num_out_data": str(outs),
        "num_outputs": str(len(heads)),
    }
    beyond = any(value in read for value in node.outputs[outs + attrs.states :])
    inputs = tuple(node.inputs[number] for number in union)
    own = bool(body.unread or beyond)
    return _made(node, attributes, inputs, (condition, body), len(heads), own)


def _written_cond(node: Node, name_of: Callable[[Value], str]) -> Written:
    decides = _without_cast(node.inputs[0])
    values = list(dict.fromkeys((decides, *node.inputs[1:])))
    place = {value: number for number, value in enumerate(values)}
    names = _Names(name_of)
    inner = [names.of_other(value) for value in values]
    own = [inner[place[value]] for value in node.inputs[1:]]
    graphs = [Subgraph((_copied(inner[0]),))]
    for branch in (node.attrs.then, node.attrs.otherwise):
        graphs.append(Subgraph(tuple(_copied(value) for value in _moved(branch, own))))
    at = {value: number for number, value in enumerate(inner)}
    union, locations = _locations([[at[v] for v in graph.variables] for graph in graphs])
    attributes = {
        f"{name}_input_locs": str(found)
        for name, found in zip(("cond", "then", "else"), locations, strict=True)
    }
    attributes["num_outputs"] = str(len(node.outputs))
    inputs = tuple(values[number] for number in union)
    return _made(node, attributes, inputs, tuple(graphs), len(node.outputs), False)


def _made(
    node: Node,
    attributes: dict[str, str],
    inputs: tuple[Value, ...],
    subgraphs: tuple[Subgraph, ...],
    outputs: int,
    own: bool,
) -> Written:
    attributes["num_args"] = str(len(inputs) + len(subgraphs))
    if getattr(node.attrs, "recompute", False):
        attributes[_RECOMPUTE] = "True"
    texts = {name: attributes[name] for name in sorted(attributes)}
    return Written(texts, inputs, subgraphs, len(node.outputs) if own else outputs, own)


class _Names:
    """Variables within for operands, whose names differ."""

    def __init__(self, name_of: Callable[[Value], str]) -> None:
        self._name_of = name_of
        self._used: set[str] = set()

    def of_row(self, value: Value) -> Value:
        """What differs from iteration to iteration."""
        return self._new(f"{self._name_of(value)}-{value.index}")

    def of_other(self, value: Value) -> Value:
        suffix = "" if value.node.op is VARIABLE else "_output"
        if len(value.node.outputs) > 1:
            suffix += str(value.index)
        return self._new(self._name_of(value) + suffix)

    def _new(self, name: str) -> Value:
        while name in self._used:
            name += "-"
        self._used.add(name)
        return variable(name)


def _moved(graph: Graph, inner: Sequence[Value]) -> list[Value]:
    return list(substitute(graph.outputs, dict(zip(graph.inputs, inner, strict=True))))


def _copied(value: Value, always: bool = False) -> Value:
    """MXNet takes no result of a graph that is one of its variables as well."""
    return identity(value) if always or value.node.op is VARIABLE else value


def _without_cast(value: Value) -> Value:
    """What decides is of any dtype in MXNet."""
    node = value.node
    return node.inputs[0] if node.op is cast and node.attrs.dtype == "bool" else value


def _with_unread(heads: Sequence[Value], variables: Sequence[Value]) -> Subgraph:
    read = set(Subgraph(tuple(heads)).variables)
    return Subgraph(tuple(heads), tuple(value for value in variables if value not in read))


def _locations(read: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """What several graphs read, each once in order, and where each graph finds its own there."""
    union = list(dict.fromkeys(number for numbers in read for number in numbers))
    place = {number: position for position, number in enumerate(union)}
    return union, [[place[number] for number in numbers] for numbers in read]


# ------------------------------------------------------------------------------ reading


class _Reader:
    """The attributes of one node, checked against its graphs and inputs."""

    def __init__(
        self,
        name: str,
        texts: dict[str, str],
        operands: Sequence[Value],
        graphs: Sequence[Subgraph],
        fail: Callable[[str, str], TigonError],
    ) -> None:
        """Takes what it reads out of `texts`. `fail` is given a message and a path in the node."""
        self.texts = texts
        self.fail = fail
        self.operands = list(operands)
        self.graphs = graphs
        wanted = NAMES[name]
        if len(graphs) != wanted:
            raise fail(f"expected {wanted} graphs; given {len(graphs)}", ".subgraphs")
        for number, graph in enumerate(graphs):
            self._check_pure(number, graph)
        expected = len(operands) + wanted
        given = self.number("num_args")
        if given != expected:
            raise self.wrong(
                "num_args", f"{expected}: {len(operands)} inputs and {wanted} graphs", given
            )

    def _check_pure(self, number: int, graph: Subgraph) -> None:
        for node in topological_order(graph.heads):
            if has_effect(node) or getattr(node.op, "mutates", None):
                raise self.fail(
                    f"holds {node.label}, which changes a state or is Python code; that cannot be "
                    "in a loop or a branch of a graph",
                    f".subgraphs[{number}]",
                )

    def wrong(self, name: str, expectation: str, given: Any) -> TigonError:
        return self.fail(f"attribute {name!r} expects {expectation}; given {given!r:.80}", "")

    def _literal(self, name: str, expectation: str) -> tuple[str, Any]:
        text = self.texts.pop(name, None)
        if text is None:
            raise self.fail(f"expected the attribute {name!r}, {expectation}", "")
        try:
            return text, ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return text, None

    def number(self, name: str, least: int = 0, most: int = 2**31 - 1) -> int:
        expectation = f"a whole number from {least} to {most}"
        text, value = self._literal(name, expectation)
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(name, expectation, text)
        return value

    def locations(self, name: str, count: int | None, bound: int, what: str) -> list[int]:
        """Different numbers below `bound`."""
        many = "places" if count is None else f"{count} places"
        expectation = f"a list of {many}, different and below {bound}, {what}"
        text, value = self._literal(name, expectation)
        found = [value] if type(value) is int else value
        if (
            not isinstance(found, (list, tuple))
            or not all(type(place) is int and 0 <= place < bound for place in found)
            or len(set(found)) != len(found)
            or (count is not None and len(found) != count)
        ):
            raise self.wrong(name, expectation, text)
        return list(found)

    def flag(self, name: str) -> bool:
        text = self.texts.pop(name, "False")
        if text not in ("True", "False"):
            raise self.wrong(name, "True or False", text)
        return text == "True"

    def counts(self, number: int) -> tuple[int, int]:
        """Stacked results and states, by the heads of the body."""
        heads = len(self.graphs[number].heads)
        given = self.number("num_outputs")
        if given != heads:
            raise self.wrong("num_outputs", f"{heads}, as many as subgraphs[{number}] has", given)
        outs = self.number("num_out_data", most=heads)
        return outs, heads - outs

    def decides(self) -> Value:
        heads = self.graphs[0].heads
        if len(heads) != 1:
            raise self.fail(
                f"expected one result, which decides; given {len(heads)}", ".subgraphs[0].heads"
            )
        return _plain(heads[0])


def assembled(
    name: str,
    texts: dict[str, str],
    operands: Sequence[Value],
    graphs: Sequence[Subgraph],
    fail: Callable[[str, str], TigonError],
) -> tuple[Any, tuple[Value, ...], Any]:
    """Operator, operands and attributes of the node that a file describes so; what it reads leaves
    `texts`."""
    reader = _Reader(name, texts, operands, graphs, fail)
    return {"_foreach": _foreach_of, "_while_loop": _while_of, "_cond": _cond_of}[name](reader)


def _foreach_of(reader: _Reader) -> tuple[Any, tuple[Value, ...], Any]:
    outs, states = reader.counts(0)
    (body,) = reader.graphs
    reverse, counted = reader.flag("reverse"), reader.flag("counted")
    inputs = len(reader.operands) - counted
    own = body.variables
    if len(own) != inputs:
        raise reader.fail(
            f"expected as many variables as the node has inputs, {inputs}; given {len(own)}",
            ".subgraphs[0]",
        )
    data = reader.locations("in_data_locs", None, inputs, "where rows go")
    if not data:
        raise reader.wrong("in_data_locs", "at least one place, where rows go", [])
    begins = reader.locations("in_state_locs", states, inputs, "where states go")
    rest = inputs - len(data) - states
    others = reader.locations("remain_locs", max(rest, 0), inputs, "where all else goes")
    places = [*data, *begins, *others]
    if sorted(places) != list(range(inputs)):
        raise reader.wrong(
            "remain_locs", "with in_data_locs and in_state_locs every place once", others
        )
    kinds = ["data"] * len(data) + ["state"] * states + ["other"] * rest
    graph = _graph([(kind, own[place]) for kind, place in zip(kinds, places, strict=True)], body)
    heads = graph.outputs
    first = {value.node for value in heads[:outs]}
    graph = Graph(graph.inputs, [*heads[:outs], *[_plain(v, first) for v in heads[outs:]]])
    attrs = ops.ForeachAttrs(
        graph,
        len(data),
        states,
        reverse=reverse,
        counted=counted,
        recompute=reader.flag(_RECOMPUTE),
    )
    return ops._foreach, tuple(reader.operands), attrs


def _while_of(reader: _Reader) -> tuple[Any, tuple[Value, ...], Any]:
    _, states = reader.counts(1)
    decides = reader.decides()
    condition, body = reader.graphs
    count = len(reader.operands)
    of_condition = _inputs_of(reader, "cond_input_locs", 0)
    of_body = _inputs_of(reader, "func_input_locs", 1)
    at = reader.locations("func_var_locs", states, len(of_body), "where loop_vars go")
    most = reader.number("max_iterations", 1)
    begins = [of_body[place] for place in at]
    others = [number for number in range(count) if number not in begins]
    order = [*begins, *others]
    inner = {
        number: variable(f"state{i}" if i < states else f"other{i - states}")
        for i, number in enumerate(order)
    }

    def moved(graph: Subgraph, places: Sequence[int], heads: Sequence[Value]) -> Graph:
        replacements = dict(zip(graph.variables, (inner[place] for place in places), strict=True))
        return Graph([inner[n] for n in order], substitute(heads, replacements))

    attrs = ops.WhileAttrs(
        moved(condition, of_condition, [cast(decides, dtype="bool")]),
        moved(body, of_body, [_plain(value) for value in body.heads]),
        states,
        most,
        recompute=reader.flag(_RECOMPUTE),
    )
    return ops._while_loop, tuple(reader.operands[number] for number in order), attrs


def _cond_of(reader: _Reader) -> tuple[Any, tuple[Value, ...], Any]:
    decides = reader.decides()
    condition, *branches = reader.graphs
    given = reader.number("num_outputs")
    for number, branch in enumerate(branches, 1):
        if len(branch.heads) != given:
            raise reader.fail(
                f"expected {given} results, as the attribute 'num_outputs' says; given "
                f"{len(branch.heads)}",
                f".subgraphs[{number}].heads",
            )
    places = [
        _inputs_of(reader, f"{name}_input_locs", number)
        for number, name in enumerate(("cond", "then", "else"))
    ]
    own = dict(
        zip(condition.variables, (reader.operands[place] for place in places[0]), strict=True)
    )
    (holds,) = substitute([cast(decides, dtype="bool")], own)
    read = list(dict.fromkeys((*places[1], *places[2])))
    inner = {place: variable(f"other{i}") for i, place in enumerate(read)}
    made = []
    for branch, own_places in zip(branches, places[1:], strict=True):
        moved = dict(zip(branch.variables, (inner[place] for place in own_places), strict=True))
        heads = substitute([_plain(value) for value in branch.heads], moved)
        made.append(Graph(list(inner.values()), heads))
    operands = (holds, *[reader.operands[place] for place in read])
    return ops._cond, operands, ops.CondAttrs(*made)


def _inputs_of(reader: _Reader, name: str, number: int) -> list[int]:
    """Which input of the node each variable of a graph is."""
    wanted = len(reader.graphs[number].variables)
    what = f"the inputs of the node that subgraphs[{number}] reads"
    return reader.locations(name, wanted, len(reader.operands), what)


def _graph(named: Sequence[tuple[str, Value]], subgraph: Subgraph) -> Graph:
    """Over fresh variables: in files, names may be equal."""
    numbers: dict[str, int] = {}
    inner = []
    for kind, _ in named:
        inner.append(variable(f"{kind}{numbers.setdefault(kind, 0)}"))
        numbers[kind] += 1
    moved = dict(zip((value for _, value in named), inner, strict=True))
    return Graph(inner, substitute([_plain(value) for value in subgraph.heads], moved))


def _plain(value: Value, always: Collection[Node] = ()) -> Value:
    """Without the copy that `_copied` has made."""
    node = value.node
    if node.op is identity and (
        node.inputs[0].node.op is VARIABLE or node.inputs[0].node in always
    ):
        return node.inputs[0]
    return value
