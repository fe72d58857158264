"""Graphs as text, and back. Round trip is a law: `parse(show(g), ops).key == g.key`.

    graph(%x: float32[2,3], %w) {
      %0 = dot(%x, %w) {transpose_b=True} 'fc'
      %1, %2 = split(%0) {axis=1, num_outputs=2}
      return %1, %2
    }
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable
from typing import Any

from tigon.base import TensorType, TigonError, as_dtype
from tigon.ir.graph import CONSTANT, VARIABLE, ConstantAttrs, Graph, Node, Value, variable


def show(graph: Graph) -> str:
    """The graph as text. Types of variables are printed where known; the rest follow from them."""
    names: dict[Value, str] = {}
    taken: set[str] = set()
    count = 0
    for value in graph.inputs:
        name = value.node.name
        while not name or name in taken:
            name = f"{value.node.name or 'input'}_{len(taken)}"
        taken.add(name)
        names[value] = f"%{name}"
    lines = []
    for node in graph.nodes:
        if node.op is VARIABLE:
            if node.outputs[0] not in names:
                names[node.outputs[0]] = f"%{node.name}"
            continue
        for value in node.outputs:
            while str(count) in taken:
                count += 1
            names[value] = f"%{count}"
            count += 1
        left = ", ".join(names[value] for value in node.outputs)
        right = ", ".join(names[value] for value in node.inputs)
        name = f" {node.name!r}" if node.name else ""
        lines.append(f"  {left} = {node.op.name}({right}){_in_braces(node.attrs)}{name}")
    head = ", ".join(
        names[value] + (f": {value.type}" if value.is_typed else "") for value in graph.inputs
    )
    lines.append(f"  return {', '.join(names[value] for value in graph.outputs)}")
    return "\n".join([f"graph({head}) {{", *lines, "}"])


def _in_braces(attrs: Any) -> str:
    shown = show_attrs(attrs)
    return f" {{{shown}}}" if shown else ""


def show_attrs(attrs: Any) -> str:
    """The fields that differ from their defaults, as keyword arguments.

    >>> show_attrs(ConstantAttrs(1.5, "float32"))
    "value=1.5, dtype='float32'"
    """
    if attrs is None:
        return ""
    return ", ".join(
        f"{f.name}={getattr(attrs, f.name)!r}"
        for f in dataclasses.fields(attrs)
        # Compared as text: 0.0 == -0.0, yet they are different attributes.
        if f.default is dataclasses.MISSING or repr(getattr(attrs, f.name)) != repr(f.default)
    )


_TYPE = re.compile(r"(\w+)\[([\d,]*)\](~?)")
_INPUT = re.compile(r"%[^,:\[\]]+(?::\s*\w+\[[\d,]*\]~?)?")
_STATEMENT = re.compile(
    r"(?P<left>%[^=]+?)\s*=\s*(?P<op>[\w.]+)\((?P<inputs>[^)]*)\)"
    r"(?:\s*\{(?P<attrs>.*)\})?(?:\s*(?P<name>'[^']*'))?$"
)


def parse(text: str, operator: Callable[[str], Any]) -> Graph:
    """Read what `show` writes. `operator(name)` finds an operator record."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if len(lines) < 3 or not lines[0].startswith("graph(") or lines[-1] != "}":
        raise TigonError("graph text: expected 'graph(...) {', statements, 'return ...', '}'")
    values: dict[str, Value] = {}
    inputs = []
    for word in _INPUT.findall(lines[0][6 : lines[0].rindex(")")]):
        name, _, type_text = (part.strip() for part in word.partition(":"))
        value = variable(name[1:], _parse_type(type_text) if type_text else None)
        values[name] = value
        inputs.append(value)
    for line in lines[1:-2]:
        match = _STATEMENT.match(line)
        if match is None:
            raise TigonError(f"graph text: cannot read '{line}'")
        operands = tuple(_lookup(values, w.strip(), line) for w in _split(match["inputs"]))
        attributes = parse_attrs(match["attrs"] or "")
        if match["op"] == CONSTANT.name:
            op, attrs = CONSTANT, ConstantAttrs(**attributes)
        else:
            op = operator(match["op"])
            attrs = op.make_attrs(attributes)
        node = Node(op, operands, attrs, ast.literal_eval(match["name"] or "''"))
        left = [word.strip() for word in match["left"].split(",")]
        values.update(zip(left, node.outputs, strict=True))
    outputs = [_lookup(values, w.strip(), lines[-2]) for w in _split(lines[-2][len("return") :])]
    return Graph(inputs, outputs)


def _split(text: str) -> list[str]:
    return [word for word in text.split(",") if word.strip()]


def _lookup(values: dict[str, Value], name: str, line: str) -> Value:
    if name not in values:
        raise TigonError(f"graph text: {name} is used before it is defined in '{line}'")
    return values[name]


def _parse_type(text: str) -> TensorType:
    match = _TYPE.match(text)
    if match is None:
        raise TigonError(f"graph text: cannot read the type '{text}'")
    shape = tuple(int(word) for word in _split(match[2]))
    return TensorType(shape, as_dtype(match[1]), match[3] == "~")


def parse_attrs(text: str) -> dict[str, Any]:
    """Read what `show_attrs` writes. Nothing is executed: literals only.

    >>> parse_attrs("axis=(1, 2), value=-inf, mode='clip'")
    {'axis': (1, 2), 'value': -inf, 'mode': 'clip'}
    """
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or None in {k.arg for k in call.keywords}:
            raise ValueError
        return {str(k.arg): _literal(k.value) for k in call.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise TigonError(
            f"graph text: cannot read the attributes '{text}'; expected name=literal, ..."
        ) from None


def _literal(node: ast.expr) -> Any:
    """A literal, with `inf` and `nan` as Python prints them."""
    if isinstance(node, ast.Name) and node.id in ("inf", "nan"):
        return float(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_literal(node.operand)
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item) for item in node.elts)
    return ast.literal_eval(node)
