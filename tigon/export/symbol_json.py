"""MXNet's -symbol.json: graphs as text, written and read."""

from __future__ import annotations

import ast
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tigon.base import TensorType, TigonError, as_dtype, check
from tigon.base.frozen import replace
from tigon.base.types import MOST_AXES
from tigon.export import control, mxnet_names, old_operators
from tigon.export.hints import note_initial_values, read_dtype, read_shape
from tigon.export.json_document import damaged, entry_of, object_at, parsed, version_of
from tigon.export.values import is_text
from tigon.ir.graph import (
    CONSTANT,
    VARIABLE,
    ConstantAttrs,
    Node,
    Value,
    VariableAttrs,
    topological_order,
)
from tigon.ops import record
from tigon.ops.attributes import attr_fields, attrs_dict
from tigon.ops.custom import custom_operator
from tigon.ops.record import Effect, has_effect
from tigon.ops.signature import HIDDEN, IGNORED, Signature
from tigon.passes.thread_states import order_of_calls, shares_states

VERSION = 10901
OWN_PREFIX = "_tigon_"

# Record -> (name with the scalar on the right, on the left).
_SCALAR_FORMS = {
    "broadcast_add": ("_plus_scalar", "_plus_scalar"),
    "broadcast_sub": ("_minus_scalar", "_rminus_scalar"),
    "broadcast_mul": ("_mul_scalar", "_mul_scalar"),
    "broadcast_div": ("_div_scalar", "_rdiv_scalar"),
    "broadcast_mod": ("_mod_scalar", "_rmod_scalar"),
    "broadcast_power": ("_power_scalar", "_rpower_scalar"),
    "broadcast_maximum": ("_maximum_scalar", "_maximum_scalar"),
    "broadcast_minimum": ("_minimum_scalar", "_minimum_scalar"),
    "broadcast_hypot": ("_hypot_scalar", "_hypot_scalar"),
    "broadcast_equal": ("_equal_scalar", "_equal_scalar"),
    "broadcast_not_equal": ("_not_equal_scalar", "_not_equal_scalar"),
    "broadcast_greater": ("_greater_scalar", "_lesser_scalar"),
    "broadcast_greater_equal": ("_greater_equal_scalar", "_lesser_equal_scalar"),
    "broadcast_lesser": ("_lesser_scalar", "_greater_scalar"),
    "broadcast_lesser_equal": ("_lesser_equal_scalar", "_greater_equal_scalar"),
    "broadcast_logical_and": ("_logical_and_scalar", "_logical_and_scalar"),
    "broadcast_logical_or": ("_logical_or_scalar", "_logical_or_scalar"),
    "broadcast_logical_xor": ("_logical_xor_scalar", "_logical_xor_scalar"),
}
_FROM_SCALAR: dict[str, tuple[str, bool]] = {}
for _own, (_right, _left) in _SCALAR_FORMS.items():
    _FROM_SCALAR.setdefault(_right, (_own, False))
for _own, (_right, _left) in _SCALAR_FORMS.items():
    _FROM_SCALAR.setdefault(_left, (_own, True))

_STRICT = {
    "broadcast_add": "elemwise_add",
    "broadcast_sub": "elemwise_sub",
    "broadcast_mul": "elemwise_mul",
    "broadcast_div": "elemwise_div",
}
_WHERE_IT_DOES_NOT_FAIL = {"_index": ("take", {"mode": "wrap"})}
"""Operators that refuse what one of MXNet's, under these attributes, takes in some way."""

_APART = frozenset(("null", "Custom", f"{OWN_PREFIX}constant"))
"""What files name as operators and no record does."""

_ALWAYS_WRITTEN = frozenset(("indices",))
"""Attributes that MXNet demands and that have a default here."""

MOST_OUTPUTS = 100_000
"""Of one node: a number in a file must not decide how much memory is asked for."""

_PLAIN_HINTS = tuple(
    "ctx_group lr_mult wd_mult force_mirroring mirror_stage profiler_scope".split()
)
"""Attributes of nodes, rather than operators, that old files write without underscores; with the
name of an operand before them (`weight_lr_mult`) they are about its variable."""


_OWN_MODE = "__training__"
"""The mode that a program has set for one node: an attribute here, a remark to MXNet."""


# ------------------------------------------------------------------------------ writing


def attribute_texts(node: Node) -> dict[str, str]:
    """The operator's attributes as a file has them: those that differ from their defaults.

    >>> from tigon.ir import variable
    >>> from tigon.ops.tensor.shape import expand_dims
    >>> attribute_texts(expand_dims(variable("x"), axis=1).node)
    {'axis': '1'}
    """
    if node.op is VARIABLE or node.op is CONSTANT:
        return {}
    if control.is_control(node):
        return dict(control.written(node).attributes)
    op: Any = node.op
    fields = attr_fields(op.attrs_type)
    # MXNet has defaults of its own (or none) where arrays are made from nothing.
    every = not [operand for operand in op.operands if not operand.random_key]
    own_mode = getattr(node.attrs, "training", None)
    texts = {} if own_mode is None else {_OWN_MODE: as_text(own_mode)}
    if op.texts is not None:
        return texts | op.texts(node.attrs)
    return texts | {
        name: as_text(value)
        for name, value in attrs_dict(node.attrs).items()
        if name not in HIDDEN
        and name != "num_args"
        and (value != fields[name][1] or (every and value != "") or name in _ALWAYS_WRITTEN)
    }


def all_texts(node: Node) -> dict[str, str]:
    """The same and the hints of the node. These say nothing about what it computes: one that would
    be read back as an attribute is left out."""
    return attribute_texts(node) | _free_hints(node)


def _free_hints(node: Node) -> dict[str, str]:
    fields = vars(node.attrs) if node.op is not VARIABLE and node.op is not CONSTANT else {}
    reserved = {*fields, _OWN_MODE} if "training" in fields else fields
    return {name: text for name, text in node.hints.items() if name not in reserved}


def is_remark(op: Any, name: str) -> bool:
    """Whether files have a node's attribute of this name for something said about the node: they
    write it with underscores, or the operator reads no attributes."""
    is_marked = name.endswith(_PLAIN_HINTS) or name in IGNORED or name.startswith("__")
    return is_marked or not attr_fields(op.attrs_type)


def in_both_spellings(texts: Mapping[str, str]) -> dict[str, str]:
    """The same, and what files write with or without underscores under its other name as well.

    >>> in_both_spellings({"__lr_mult__": "2", "act_type": "relu"})
    {'__lr_mult__': '2', 'act_type': 'relu', 'lr_mult': '2'}
    """
    found = dict(texts)
    for plain in _PLAIN_HINTS:
        hidden = f"__{plain}__"
        for here, there in ((plain, hidden), (hidden, plain)):
            if here in texts:
                found.setdefault(there, texts[here])
    return found


def as_text(value: Any) -> str:
    """An attribute's value as MXNet writes it.

    >>> as_text((3, 3)), as_text(True), as_text(0.5), as_text("relu")
    ('(3, 3)', 'True', '0.5', 'relu')
    """
    return str(value)


def dumps(values: Sequence[Value], types: Mapping[Value, TensorType] | None = None) -> str:
    """The graph behind these values as JSON text. `types` are those known: they decide between
    `elemwise_add` (equal shapes) and `broadcast_add`."""
    return _Writer(values, types or {}).text()


class _Writer:
    def __init__(
        self,
        values: Sequence[Value],
        types: Mapping[Value, TensorType],
        unread: Sequence[Value] = (),
    ) -> None:
        self._values = values
        self._types = types
        self._unread = unread
        self._read: set[Value] = set()
        self._rows: list[dict[str, Any]] = []
        self._outputs: list[int] = []
        self._position: dict[Node, int] = {}
        self._names: dict[str, int] = {}
        self.own: set[str] = set()

    def text(self) -> str:
        document = self.document()
        if self.own:
            warnings.warn(
                "this graph holds operators that MXNet does not know "
                f"({', '.join(sorted(self.own))}); they are written as "
                f"{OWN_PREFIX}* and only tigon reads them",
                stacklevel=5,
            )
        document["attrs"] = {"mxnet_version": ["int", VERSION]}
        return json.dumps(document, indent=2)

    def document(self) -> dict[str, Any]:
        needed = {value.node for value in self._values}
        nodes: Sequence[Node] = topological_order(self._values)
        self._read = {*self._values, *[value for node in nodes for value in node.inputs]}
        if _calls_are_in_order(nodes):
            nodes = order_of_calls(nodes)  # which is read back from the order of the rows
        implied = control.implied(nodes, self._values)
        for node in (*nodes, *[value.node for value in self._unread]):
            if (node.op is CONSTANT and node not in needed) or node in implied:
                continue  # written by its users, mostly as their scalar
            self._write(node)
        row_pointer = [0]
        for count in self._outputs:
            row_pointer.append(row_pointer[-1] + count)
        return {
            "nodes": self._rows,
            "arg_nodes": [i for i, row in enumerate(self._rows) if row["op"] == "null"],
            "node_row_ptr": row_pointer,
            "heads": [[self._position[v.node], v.index, 0] for v in self._values],
        }

    def _write(self, node: Node) -> None:
        if node.op is VARIABLE:
            # A type known from tracing belongs to that call, not to the graph: it is left out.
            self._add(node, "null", node.name, dict(node.hints), [], 1)
        elif node.op is CONSTANT:
            self._write_constant(node)
        elif control.is_control(node):
            self._write_control(node)
        else:
            self._write_operator(node)

    def _write_constant(self, node: Node) -> None:
        self.own.add("constant")
        texts = {f: as_text(v) for f, v in attrs_dict(node.attrs).items()}
        self._add(node, f"{OWN_PREFIX}constant", self._name(node, "constant"), texts, [], 1)

    def _write_control(self, node: Node) -> None:
        def name_of(value: Value) -> str:
            if value.node not in self._position:
                self._write_constant(value.node)
            return self._rows[self._position[value.node]]["name"]

        described = control.written(node, name_of, self._read)
        graphs = []
        for subgraph in described.subgraphs:
            within = _Writer(subgraph.heads, {}, subgraph.unread)
            graphs.append(within.document())
            self.own |= within.own
        name = node.op.name
        if described.own:
            self.own.add(name)
            name = OWN_PREFIX + name.lstrip("_")
        attributes = {**described.attributes, **_free_hints(node)}
        entries = [[self._position[v.node], v.index, 0] for v in described.inputs]
        self._add(
            node, name, self._name(node, name), attributes, entries, described.outputs, graphs
        )

    def _write_operator(self, node: Node) -> None:
        check(
            node.op.effect is not Effect.CHANNEL,
            node.label,
            "a file of symbols holds nothing that waits for other ranks; save the network without "
            "its collectives, or its parameters",
        )
        op: Any = node.op
        attributes = all_texts(node)
        inputs = list(node.inputs)
        name = op.name
        weak = [v.node.op is CONSTANT and v.node.attrs.weak for v in inputs]
        if name in _SCALAR_FORMS and sum(weak) == 1:
            position = weak.index(True)
            name = _SCALAR_FORMS[name][1 - position]
            attributes = {"scalar": as_text(inputs[position].node.attrs.value), **attributes}
            del inputs[position]
        elif name in _STRICT and self._equal_shapes(inputs):
            name = _STRICT[name]
        elif name in _WHERE_IT_DOES_NOT_FAIL:
            name, more = _WHERE_IT_DOES_NOT_FAIL[name]
            attributes.update(more)
        elif (
            f"_{name}" in op.aliases
            and mxnet_names.known(f"_{name}")
            and name not in mxnet_names.PUBLIC
        ):
            name = f"_{name}"
        elif not mxnet_names.known(name):
            self.own.add(op.name)
            name = OWN_PREFIX + name.lstrip("_")
        if any(operand.variadic for operand in op.operands) and mxnet_names.known(name):
            attributes["num_args"] = str(len(inputs))
        for value in inputs:
            if value.node not in self._position:
                self._write_constant(value.node)
        auxiliary = [operand.auxiliary for operand in op.operands]
        entries = [
            [self._position[v.node], v.index, int(i < len(auxiliary) and auxiliary[i])]
            for i, v in enumerate(inputs)
        ]
        visible = op.visible_count(node.attrs)
        states = sum(output >= visible for output in op.mutates)  # to MXNet they are no outputs
        results = len(node.outputs) - states
        self._add(node, name, self._name(node, op.name), attributes, entries, results)

    def _equal_shapes(self, inputs: Sequence[Value]) -> bool:
        types = [v.type if v.is_typed else self._types.get(v) for v in inputs]
        return types[0] is not None and types[1] is not None and types[0].shape == types[1].shape

    def _name(self, node: Node, hint: str) -> str:
        if node.name:
            return node.name
        stem = hint.lower().lstrip("_")
        number = self._names.get(stem, 0)
        self._names[stem] = number + 1
        return f"{stem}{number}"

    def _add(
        self,
        node: Node,
        op: str,
        name: str,
        attributes: dict[str, str],
        inputs: list,
        outputs: int,
        subgraphs: Sequence[dict[str, Any]] = (),
    ) -> None:
        row: dict[str, Any] = {"op": op, "name": name}
        if attributes:
            row["attrs"] = attributes
        row["inputs"] = inputs
        if subgraphs:
            row["subgraphs"] = list(subgraphs)
        self._position[node] = len(self._rows)
        self._rows.append(row)
        self._outputs.append(outputs)


# ------------------------------------------------------------------------------ reading


def loads(content: str | bytes, where: str) -> tuple[Value, ...]:
    """The heads of the graph in this text. `where` names the text in errors."""
    document = parsed(content, where)
    return _built_graph(_rows(document, where, "", version_of(document, where), 0)).heads


class Described(NamedTuple):
    """A node of a file, which may be of an operator that is not here."""

    operator: str
    name: str
    place: str
    attributes: dict[str, str]
    inputs: list[int]
    """Which nodes of the same graph it reads."""
    missing: str | None
    """Why it cannot be built, where that is known without building it."""
    graph: str
    """Where the graph is that it is in; "" for the whole."""


def describe(content: str | bytes, where: str) -> tuple[int, list[Described]]:
    """The version of MXNet that wrote this text, and its nodes, those of loops and branches after
    those of the graph around them. Nothing is built.

    >>> version, nodes = describe('{"nodes": [{"op": "Foo", "name": "x", "inputs": []}]}', "text")
    >>> version, nodes[0].missing
    (800, 'this operator is not known; see tigon.ops.names() for all there are')
    """
    document = parsed(content, where)
    version = version_of(document, where)
    found, graphs = [], [_rows(document, where, "", version, 0)]
    while graphs:
        graph = graphs.pop(0)
        for row in graph.rows:
            inputs = [node for node, _ in row.inputs]
            place = row.place, row.attributes, inputs, row.missing(), graph.path
            found.append(Described(row.op, row.name, *place))
            graphs += row.subgraphs
    return version, found


class _Graph(NamedTuple):
    """The rows of a graph at some path of the document."""

    where: str
    path: str
    rows: list[_Row]
    document: dict[str, Any]


def _rows(document: dict[str, Any], where: str, path: str, version: int, depth: int) -> _Graph:
    """The graph at this path of the document, or `""` for the whole."""
    rows = document.get("nodes")
    if not isinstance(rows, list) or not rows:
        raise damaged(where, f"{path}nodes", "expected a list of nodes", rows)
    nodes = [_Row(where, path, number, row, version, depth) for number, row in enumerate(rows)]
    for row in nodes:
        row.resolve(len(nodes))
    return _Graph(where, path, nodes, document)


def _built_graph(graph: _Graph) -> control.Subgraph:
    where, path, nodes, document = graph
    heads = document.get("heads", [[len(nodes) - 1, 0, 0]])
    if not isinstance(heads, list) or not heads:
        expected = "expected a list of [node, output, version]"
        raise damaged(where, f"{path}heads", expected, heads)
    ends = [
        entry_of(where, f"{path}heads[{number}]", entry, len(nodes))
        for number, entry in enumerate(heads)
    ]
    outputs = _built(nodes, _order(where, nodes, [node for node, _ in ends]))
    for number, (node, output) in enumerate(ends):
        if output >= len(outputs[node]):
            found = f"expected an output of node {node}, which has {len(outputs[node])}"
            raise damaged(where, f"{path}heads[{number}]", found, output)
    made = {value.node: None for values in outputs.values() for value in values}
    if _calls_are_in_order(list(made)):  # calls come in the order of the rows
        outputs = _built(nodes, _order(where, nodes, ()))
    results = tuple(outputs[node][output] for node, output in ends)
    read = set(control.Subgraph(results).variables)
    every = [value for number in sorted(outputs) for value in outputs[number]]
    unread = (value for value in every if value.node.op is VARIABLE and value not in read)
    return control.Subgraph(results, tuple(unread))


def _calls_are_in_order(nodes: Sequence[Node]) -> bool:
    """Whether it matters which call comes first: they share states, or have effects."""
    return shares_states(nodes) or sum(map(has_effect, nodes)) > 1


def _built(rows: Sequence[_Row], order: Sequence[int]) -> dict[int, tuple[Value, ...]]:
    outputs: dict[int, tuple[Value, ...]] = {}
    for number in order:
        outputs[number] = rows[number].build(outputs)
    return outputs


def _order(where: str, rows: Sequence[_Row], heads: Sequence[int]) -> list[int]:
    """An order in which every node comes after its inputs, whatever the order in the file; raises
    on a cycle."""
    order: list[int] = []
    state = [0] * len(rows)  # 0 new, 1 open, 2 done
    for start in (*heads, *range(len(rows))):
        stack = [(start, 0)]
        if state[start]:
            continue
        state[start] = 1
        while stack:
            number, position = stack.pop()
            inputs = rows[number].inputs
            if position == len(inputs):
                state[number] = 2
                order.append(number)
                continue
            stack.append((number, position + 1))
            child = inputs[position][0]
            if state[child] == 1:
                raise rows[number].fail(
                    f"depends on itself through node {child} {rows[child].name!r:.80}; a graph has "
                    "no cycles; the file is damaged",
                    f".inputs[{position}]",
                )
            if state[child] == 0:
                state[child] = 1
                stack.append((child, 0))
    return order


class _Row:
    """One node of the file."""

    def __init__(
        self, where: str, path: str, number: int, row: Any, version: int, depth: int
    ) -> None:
        self.where = where
        self.number = number
        self.version = version
        self.place = f"{path}nodes[{number}]"
        row = object_at(where, self.place, row)
        self.op = self._text(row, "op")
        self.name = self._text(row, "name")
        self.inputs: list[tuple[int, int]] = []
        inputs = row.get("inputs", [])
        if not isinstance(inputs, list):
            raise self.fail(f"expected a list; given {inputs!r:.80}", ".inputs")
        self._entries = inputs
        self._today = old_operators.name_of_today(self.op, len(inputs))
        self.attributes = self._read_attributes(row)
        self.subgraphs = self._read_subgraphs(row, depth)
        self._built_subgraphs: list[control.Subgraph] | None = None

    def fail(self, message: str, path: str = "") -> TigonError:
        return TigonError(
            f"{self.where}: node {self.number} {self.name!r:.80} ({self.op:.80}), at "
            f"{self.place}{path}: {message}"
        )

    def _text(self, row: dict[str, Any], key: str) -> str:
        value = row.get(key)
        if not isinstance(value, str) or not is_text(value):
            raise damaged(self.where, f"{self.place}.{key}", "expected text", value)
        return value

    def _read_attributes(self, row: dict[str, Any]) -> dict[str, str]:
        """Those of all three names: versions up to 0.9 write `param`, up to 0.11 `attr`."""
        found: dict[str, str] = {}
        for key in ("param", "attr", "attrs"):
            place = f"{self.place}.{key}"
            for name, value in object_at(self.where, place, row.get(key, {})).items():
                # Some writers do not put numbers into quotes.
                plain = value is None or isinstance(value, (str, int, float))
                if not plain or not is_text(name) or not is_text(str(value)):
                    raise self.fail(f"expected text; given {value!r:.80}", f".{key}.{name!r:.80}")
                found[name] = str(value)
        return found

    def _read_subgraphs(self, row: dict[str, Any], depth: int) -> list[_Graph]:
        found = row.get("subgraphs", [])
        if not isinstance(found, list):
            raise self.fail(f"expected a list; given {found!r:.80}", ".subgraphs")
        if found and self._control_name() is None:
            raise self.fail(
                "expected graphs only at loops and branches: _foreach, _while_loop, _cond",
                ".subgraphs",
            )
        if found and depth == control.MOST_WITHIN:
            raise self.fail(f"expected at most {depth} loops in each other", ".subgraphs")
        graphs = []
        for number, document in enumerate(found):
            place = f"{self.place}.subgraphs[{number}]"
            document = object_at(self.where, place, document)
            graphs.append(_rows(document, self.where, f"{place}.", self.version, depth + 1))
        return graphs

    def _control_name(self) -> str | None:
        """`_foreach`, say, of that and of our own form of it."""
        bare = self.op.removeprefix(OWN_PREFIX).removeprefix("_")
        return f"_{bare}" if f"_{bare}" in control.NAMES else None

    def resolve(self, count: int) -> None:
        """Check the inputs against the number of nodes in the file."""
        self.inputs = [
            entry_of(self.where, f"{self.place}.inputs[{position}]", entry, count)
            for position, entry in enumerate(self._entries)
        ]

    def build(self, outputs: Mapping[int, tuple[Value, ...]]) -> tuple[Value, ...]:
        operands = []
        for position, (node, output) in enumerate(self.inputs):
            if output >= len(outputs[node]):
                raise self.fail(
                    f"expected an output of node {node}, which has {len(outputs[node])}; "
                    f"given {output}",
                    f".inputs[{position}]",
                )
            operands.append(outputs[node][output])
        if self.op == "null":
            return self._build_variable(operands)
        if self.op == f"{OWN_PREFIX}constant":
            return self._build_constant()
        if self._today in _FROM_SCALAR:
            return self._build_scalar_form(operands)
        if self.op == "Custom":
            return self._build_custom(operands)
        if self._control_name() is not None:
            return self._build_control(operands)
        return self._build_operator(operands)

    def _build_variable(self, operands: list[Value]) -> tuple[Value, ...]:
        if operands:
            raise self.fail("a variable has no inputs", ".inputs")
        hints = _hints(self.attributes)
        try:
            read_dtype(self.name, hints.get("__dtype__"))
            shape = read_shape(self.name, hints.get("__shape__"))
        except TigonError as error:
            raise self.fail(str(error)) from None
        if "L" in hints.get("__shape__", ""):
            hints["__shape__"] = str(shape)
        return Node(VARIABLE, (), VariableAttrs(), self.name, hints).outputs

    def _build_constant(self) -> tuple[Value, ...]:
        try:
            value = _number(self.attributes["value"])
            shape = ast.literal_eval(self.attributes["shape"])
            weak = self.attributes["weak"] == "True"
            numbers = value if isinstance(value, tuple) else (value,)
            if not _is_shape(shape) or len(numbers) != math.prod(shape):
                raise ValueError
            if not all(isinstance(number, (bool, int, float)) for number in numbers):
                raise ValueError
            dtype = as_dtype(self.attributes["dtype"])
            np.array(numbers, dtype.numpy)  # raises where a number does not fit
            attrs = ConstantAttrs(value, dtype.name, tuple(shape), weak)
            return Node(CONSTANT, (), attrs, self.name).outputs
        except (KeyError, TigonError, *_NO_LITERAL):
            given = f"{self.attributes!r:.200}"
            raise self.fail(f"expected a constant; given {given}") from None

    def _build_scalar_form(self, operands: list[Value]) -> tuple[Value, ...]:
        name, left = _FROM_SCALAR[self._today]
        text = self.attributes.get("scalar")
        if len(operands) != 1 or text is None:
            raise self.fail("expected one input and the attribute 'scalar'")
        try:
            value = _number(text)
        except _NO_LITERAL:
            value = None
        if not isinstance(value, (bool, int, float)) or (
            isinstance(value, int) and not -(2**63) <= value < 2**63
        ):
            raise self.fail(f"attribute 'scalar' expects a number; given {text!r:.80}")
        kind = (
            "bool" if isinstance(value, bool) else "int64" if isinstance(value, int) else "float32"
        )
        scalar = Node(CONSTANT, (), ConstantAttrs(value, kind)).outputs[0]
        pair = (scalar, operands[0]) if left else (operands[0], scalar)
        op = record.get(name)
        _, hints = self._separate(op, {"scalar", "is_int"})
        return self._node(op, pair, op.make_attrs({}), hints)

    def _build_custom(self, operands: list[Value]) -> tuple[Value, ...]:
        """An operator that the user has registered; what it does not know it refuses itself."""
        hints = {n: value for n, value in self.attributes.items() if n.startswith("__")}
        given = {n: value for n, value in self.attributes.items() if n not in hints}
        op_type = given.pop("op_type", None)
        if op_type is None:
            raise self.fail("expected the attribute 'op_type', the name of a registered operator")
        own_mode = hints.pop(_OWN_MODE, None)
        try:
            op, attrs = custom_operator(op_type, given)
            missing = self._missing(op, attrs, len(operands))
            op.check_operand_count(len(operands) + len(missing))
        except TigonError as error:
            raise self.fail(str(error)) from None
        if own_mode is not None:
            attrs = replace(attrs, training=own_mode == "True")
        return self._node(op, (*operands, *missing), attrs, _hints(hints))

    def _build_operator(self, operands: list[Value]) -> tuple[Value, ...]:
        op = self._find()
        told = {"num_args", *old_operators.DROPPED.get(self.op, ())}  # inputs say how many
        given, hints = self._separate(op, told)
        if self.op in ("argmax", "argmin") and self.version < 905 and given.get("axis") == "-1":
            del given["axis"]  # it meant all axes
        try:
            attrs = op.make_attrs(given)
            missing = self._missing(op, attrs, len(operands))
            op.check_operand_count(len(operands) + len(missing))
            count = op.output_count(attrs)
            check(count <= MOST_OUTPUTS, op.name, f"has {count} outputs; expected fewer in a file")
        except TigonError as error:
            raise self.fail(str(error)) from None
        return self._node(op, (*operands, *missing), attrs, hints)

    def _build_control(self, operands: list[Value]) -> tuple[Value, ...]:
        texts = dict(self.attributes)
        name = self._control_name() or ""
        if self._built_subgraphs is None:  # where calls have an order, graphs are built twice
            self._built_subgraphs = [_built_graph(graph) for graph in self.subgraphs]
        graphs = self._built_subgraphs
        op, own, attrs = control.assembled(name, texts, operands, graphs, self.fail)
        _, hints = self._separate(op, set(), texts)
        return self._node(op, own, attrs, hints)

    def _node(
        self, op: Any, operands: Sequence[Value], attrs: Any, hints: dict[str, str]
    ) -> tuple[Value, ...]:
        self._hand_over(op, operands, attrs, hints)
        try:
            node = Node(op, tuple(operands), attrs, self.name, hints)
        except TigonError as error:
            raise self.fail(str(error)) from None
        note_initial_values(node)
        return node.outputs

    def _find(self) -> Any:
        missing = self.missing()
        if missing is not None:
            raise self.fail(missing)
        return record.get(self._own_name())

    def _own_name(self) -> str:
        if not self.op.startswith(OWN_PREFIX):
            return self._today
        bare = self.op[len(OWN_PREFIX) :]
        return f"_{bare}" if record.is_known(f"_{bare}") else bare

    def missing(self) -> str | None:
        """Why there is no such operator; None where there is one."""
        known = self.op in _APART or self._today in _FROM_SCALAR
        if known or self._control_name() is not None or record.is_known(self._own_name()):
            return None
        reason = old_operators.why_it_never_runs(self.op)
        return reason or "this operator is not known; see tigon.ops.names() for all there are"

    def _separate(
        self, op: Any, told: set[str], texts: Mapping[str, str] | None = None
    ) -> tuple[dict[str, str], dict[str, str]]:
        """The operator's own attributes, and what is said about the node; what was `told` in
        another way is left out."""
        fields = attr_fields(op.attrs_type) if texts is None else {}
        given, hints = {}, {}
        for name, value in (self.attributes if texts is None else texts).items():
            if name in told:
                continue
            if name in fields and name not in HIDDEN:
                given[name] = value
            elif name == _OWN_MODE and "training" in fields:
                given["training"] = value
            elif is_remark(op, name):
                hints[name] = value
            else:
                known = ", ".join(f for f in fields if f not in HIDDEN) or "none"
                raise self.fail(f"has no attribute {name!r:.80}; it knows: {known}")
        return given, _hints(hints)

    def _hand_over(
        self, op: Any, operands: Sequence[Value], attrs: Any, hints: dict[str, str]
    ) -> None:
        """Up to version 0.8 what is said about a variable stood at its operator."""
        names = _operand_names(op, attrs, len(operands))
        for key in _PLAIN_HINTS:
            for name, value in zip(names, operands, strict=False):
                if f"{name}_{key}" in hints and value.node.op is VARIABLE:
                    value.node.hints[_hint_name(key)] = hints.pop(f"{name}_{key}")

    def _missing(self, op: Any, attrs: Any, count: int) -> list[Value]:
        """Variables for what old files leave out: auxiliary states, before 0.9 any operand."""
        signature = Signature(op)
        names = () if signature.variadic or not count else signature.required(attrs)[count:]
        auxiliary = {operand.name for operand in op.operands if operand.auxiliary}
        if self.version >= 900 and not auxiliary.issuperset(names):
            return []
        return [
            Node(VARIABLE, (), VariableAttrs(), f"{self.name}_{name}").outputs[0] for name in names
        ]


def _operand_names(op: Any, attrs: Any, count: int) -> Sequence[str]:
    signature = Signature(op)
    if signature.variadic:
        return [f"arg{position}" for position in range(count)]
    return signature.names if op.present is None else signature.required(attrs)


def _hints(given: Mapping[str, str]) -> dict[str, str]:
    """By their names of today. What is written in both ways is as the old one says."""
    spelt = {_hint_name(name): value for name, value in given.items()}
    return spelt | {_hint_name(n): value for n, value in given.items() if n in _PLAIN_HINTS}


def _hint_name(name: str) -> str:
    return f"__{name}__" if name in ("lr_mult", "wd_mult") else name


_NO_LITERAL = (
    ValueError,
    SyntaxError,
    TypeError,
    OverflowError,
    RecursionError,
    MemoryError,
)
"""What Python raises for text that is no literal, or too deep a one."""


def _number(text: str) -> Any:
    """A literal, with `inf` and `nan` as Python prints them."""
    try:
        return ast.literal_eval(text)
    except ValueError:
        return float(text)


def _is_shape(given: Any) -> bool:
    return (
        isinstance(given, tuple)
        and len(given) <= MOST_AXES
        and all(type(extent) is int and 0 <= extent < 2**63 for extent in given)
    )
