"""Graphs as text, and back. Round trip is a law: `parse(show(g), get).key == g.key`.

    graph(%x: float32[2,3], %w) {
      %0 = dot(%x, %w) {transpose_b=True} 'fc'
      %1, %2 = SliceChannel(%0) {num_outputs=2, axis=1}
      return %1, %2
    }

A graph among the attributes follows its statement, as `body = graph(...) {` and so on.

Names that are not plain words are quoted: `%'my input'`. Hints are not part of the text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Container
from math import prod
from typing import Any

from tigon.base import TensorType, TigonError, as_dtype
from tigon.base.frozen import MISSING, fields
from tigon.ir.graph import (
    CONSTANT,
    VARIABLE,
    ConstantAttrs,
    Graph,
    Node,
    Value,
    graphs_within,
    variable,
)

# Compiled at their first use, which keeps them: most programs print no graph.
_STRING = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_NAME = rf"%(?:[\w./-]+|{_STRING})"
_NAMES = rf"(?:{_NAME}(?:, {_NAME})*)?"
_TYPE = r"(\w+)\[([\d,]*)\](~?)"
_INPUT = rf"({_NAME})(?:: (\w+\[[\d,]*\]~?))?(?:, |$)"
_STATEMENT = (
    rf"(?P<left>{_NAMES}) = (?P<op>[\w.]+)\((?P<inputs>{_NAMES})\)"
    rf"(?: \{{(?P<attrs>.*)\}})?(?: (?P<name>{_STRING}))?$"
)
_PLAIN = r"[\w./-]+"


def show(graph: Graph) -> str:
    """The graph as text. Types of variables are printed where known; the rest follow from them."""
    names: dict[Value, str] = {}
    taken: set[str] = set()
    for value in graph.inputs:
        name = value.node.name
        while not name or name in taken:
            name = f"{value.node.name or 'input'}_{len(taken)}"
        taken.add(name)
        names[value] = _percent(name)
    count = 0
    lines = []
    for node in graph.nodes:
        if node.op is VARIABLE:
            names.setdefault(node.outputs[0], _percent(node.name))
            continue
        for value in node.outputs:
            while str(count) in taken:
                count += 1
            names[value] = f"%{count}"
            count += 1
        left = ", ".join(names[value] for value in node.outputs)
        right = ", ".join(names[value] for value in node.inputs)
        within = graphs_within(node)
        shown = _show_attrs(node.attrs, within)
        attrs = f" {{{shown}}}" if shown else ""
        name = f" {node.name!r}" if node.name else ""
        lines.append(f"  {left} = {node.op.name}({right}){attrs}{name}")
        for attribute, inner in within.items():
            first, *rest = show(inner).splitlines()
            lines.append(f"    {attribute} = {first}")
            lines += [f"    {line}" for line in rest]
    head = ", ".join(
        names[value] + (f": {value.type}" if value.is_typed else "") for value in graph.inputs
    )
    lines.append(f"  return {', '.join(names[value] for value in graph.outputs)}".rstrip())
    return "\n".join([f"graph({head}) {{", *lines, "}"])


def _percent(name: str) -> str:
    return f"%{name}" if re.fullmatch(_PLAIN, name) else f"%{name!r}"


def show_attrs(attrs: Any) -> str:
    """The fields that differ from their defaults, as keyword arguments.

    >>> show_attrs(ConstantAttrs(1.5, "float32"))
    "value=1.5, dtype='float32'"
    """
    return _show_attrs(attrs)


def _show_attrs(attrs: Any, left_out: Container[str] = ()) -> str:
    if attrs is None:
        return ""
    return ", ".join(
        f"{name}={show(value)!r}" if isinstance(value, Graph) else f"{name}={value!r}"
        for (name, value), default in zip(vars(attrs).items(), fields(attrs).values(), strict=True)
        # Compared as text: 0.0 == -0.0, yet they are different attributes.
        if name not in left_out and (default is MISSING or repr(value) != repr(default))
    )


def parse(text: str, operator: Callable[[str], Any]) -> Graph:
    """Read what `show` writes. `operator(name)` finds an operator record."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if (
        len(lines) < 3
        or not re.fullmatch(r"graph\(.*\) \{", lines[0])
        or not lines[-2].startswith("return")
        or lines[-1] != "}"
    ):
        raise TigonError("graph text: expected 'graph(...) {', statements, 'return ...', '}'")
    values: dict[str, Value] = {}
    inputs = _parse_inputs(lines[0][len("graph(") : -len(") {")], values)
    statements = lines[1:-2]
    while statements:
        line = statements.pop(0)
        _parse_statement(line, _take_graphs(statements), operator, values)
    returned = lines[-2][len("return") :].strip()
    if not re.fullmatch(_NAMES, returned):
        raise TigonError(f"graph text: cannot read '{lines[-2]}'")
    return Graph(inputs, [_lookup(values, name, lines[-2]) for name in _names(returned)])


def _parse_inputs(text: str, values: dict[str, Value]) -> list[Value]:
    inputs = []
    position = 0
    while position < len(text):
        match = re.compile(_INPUT).match(text, position)
        if match is None or match[1] in values:
            raise TigonError(
                f"graph text: cannot read the inputs '{text}' from '{text[position:]}'"
            )
        values[match[1]] = variable(_plain(match[1]), _parse_type(match[2]) if match[2] else None)
        inputs.append(values[match[1]])
        position = match.end()
    return inputs


def _take_graphs(lines: list[str]) -> dict[str, str]:
    """The texts of the graphs that the next lines hold, which go."""
    found = {}
    while lines and (begin := re.match(r"(\w+) = (graph\(.*\) \{)$", lines[0])):
        depth, end = 1, 1
        while depth:
            if end == len(lines):
                raise TigonError(f"graph text: '{lines[0]}' has no end")
            line = lines[end]
            depth += bool(re.match(r"\w+ = graph\(.*\) \{$", line)) - (line == "}")
            end += 1
        found[begin[1]] = "\n".join([begin[2], *lines[1:end]])
        del lines[:end]
    return found


def _parse_statement(
    line: str,
    graphs: dict[str, str],
    operator: Callable[[str], Any],
    values: dict[str, Value],
) -> None:
    match = re.match(_STATEMENT, line)
    if match is None:
        raise TigonError(f"graph text: cannot read '{line}'")
    operands = tuple(_lookup(values, name, line) for name in _names(match["inputs"]))
    attributes: dict[str, Any] = parse_attrs(match["attrs"] or "")
    attributes.update((name, parse(text, operator)) for name, text in graphs.items())
    if match["op"] == CONSTANT.name:
        op: Any = CONSTANT
        attrs: Any = _constant_attrs(attributes, line)
    else:
        op = operator(match["op"])
        attrs = op.make_attrs(attributes)
    node = Node(op, operands, attrs, ast.literal_eval(match["name"] or "''"))
    left = _names(match["left"])
    if len(left) != len(node.outputs) or any(name in values for name in left):
        raise TigonError(
            f"graph text: expected {len(node.outputs)} new names left of '=' in '{line}'"
        )
    values.update(zip(left, node.outputs, strict=True))


def _constant_attrs(attributes: dict[str, Any], line: str) -> ConstantAttrs:
    try:
        attrs = ConstantAttrs(**attributes)
    except TypeError:
        attrs = None
    if attrs is None or not _is_constant(attrs):
        raise TigonError(
            f"graph text: a constant has a number as value and a dtype, or a tuple of numbers and "
            f"a shape of as many elements; given '{line}'"
        )
    return attrs


def _is_constant(attrs: ConstantAttrs) -> bool:
    numbers = attrs.value if isinstance(attrs.value, tuple) else (attrs.value,)
    return (
        all(isinstance(number, (bool, int, float)) for number in numbers)
        and isinstance(attrs.dtype, str)
        and isinstance(attrs.weak, bool)
        and isinstance(attrs.shape, tuple)
        and all(type(extent) is int and extent >= 0 for extent in attrs.shape)
        and isinstance(attrs.value, tuple) == bool(attrs.shape)
        and len(numbers) == prod(attrs.shape)
    )


def _names(text: str) -> list[str]:
    return re.findall(_NAME, text)


def _plain(name: str) -> str:
    return str(ast.literal_eval(name[1:])) if name[1] in "'\"" else name[1:]


def _lookup(values: dict[str, Value], name: str, line: str) -> Value:
    if name not in values:
        raise TigonError(f"graph text: {name} is used before it is defined in '{line}'")
    return values[name]


def _parse_type(text: str) -> TensorType:
    match = re.fullmatch(_TYPE, text)
    if match is None:
        raise TigonError(f"graph text: cannot read the type '{text}'")
    shape = tuple(int(word) for word in match[2].split(",") if word)
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


Graph.__str__ = show  # type: ignore[method-assign,assignment]
