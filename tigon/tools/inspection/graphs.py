"""MXNet's -symbol.json, and the networks of `Block.save`."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence

from tigon.base import TigonError
from tigon.export import old_operators, symbol_json
from tigon.export.hints import read_dtype, read_shape
from tigon.export.json_document import damaged, object_at, parsed
from tigon.ops import record
from tigon.ops.signature import Signature
from tigon.tools.inspection.report import Format, Missing, Report, Tensor

_WEIGHTS = frozenset("weight bias gamma beta parameters".split())
"""How operators call what is learnt."""


def _is_graph(content: memoryview, path: str) -> bool:
    return path.endswith("-symbol.json") or _is_object_with(content, b'"nodes"')


def _is_object_with(content: memoryview, key: bytes) -> bool:
    head = bytes(content[:4096])
    return head.lstrip()[:1] == b"{" and re.search(re.escape(key) + rb"\s*:", head) is not None


def _describe_graph(content: memoryview, path: str) -> Report:
    version, nodes = symbol_json.describe(bytes(content), path)
    outermost = [node for node in nodes if not node.graph]
    inputs, parameters = [], []
    for node, uses in zip(outermost, _uses(outermost), strict=True):
        if node.operator != "null":
            continue
        kind = _kind_of(node, uses)
        (inputs if kind == "input" else parameters).append(_tensor(node, kind, path))
    return Report(
        format="a graph of MXNet, -symbol.json",
        version=_version(version),
        inputs=inputs,
        parameters=parameters,
        operators=[node.operator for node in nodes if node.operator != "null"],
        missing=[Missing(n.operator, n.name, n.missing) for n in nodes if n.missing is not None],
    )


def _version(number: int) -> str:
    """As people write it: 10901 is 1.9.1."""
    if number == 800:
        return "0.8 or before (a file did not say it then)"
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _uses(nodes: Sequence[symbol_json.Described]) -> list[set[str]]:
    """By node, how operators that read it call it."""
    found: dict[int, set[str]] = defaultdict(set)
    for node in nodes:
        name = old_operators.name_of_today(node.operator, len(node.inputs))
        if not record.is_known(name):
            continue
        op = record.get(name)
        signature = Signature(op)
        if signature.variadic:
            continue
        for operand, source in zip(signature.names, node.inputs, strict=False):
            auxiliary = any(o.auxiliary for o in op.operands if o.name == operand)
            found[source].add("state" if auxiliary else operand)
    return [found[number] for number in range(len(nodes))]


def _kind_of(node: symbol_json.Described, uses: set[str]) -> str:
    if "state" in uses:
        return "state"
    begins = "__init__" in node.attributes or "__lr_mult__" in node.attributes
    return "parameter" if begins or uses & _WEIGHTS else "input"


def _tensor(node: symbol_json.Described, kind: str, path: str) -> Tensor:
    given = node.attributes
    try:
        dtype = read_dtype(node.name, given.get("__dtype__"))
        shape = read_shape(node.name, given.get("__shape__"))
    except TigonError as error:
        raise TigonError(f"{path}: at {node.place}: {error}") from None
    notes = [kind] if kind == "state" else []
    notes += [f"{key.strip('_')} {given[key]}" for key in ("__init__",) if key in given]
    return Tensor(node.name, "?" if dtype is None else dtype.name, shape, ", ".join(notes))


def _is_network(content: memoryview, path: str) -> bool:
    return path.endswith("-model.json") or _is_object_with(content, b'"blocks"')


def _describe_network(content: memoryview, path: str) -> Report:
    blocks = object_at(path, "blocks", parsed(bytes(content), path).get("blocks"))
    for name, kind in blocks.items():
        if not isinstance(kind, str):
            raise damaged(path, f"blocks.{json.dumps(name)}", "expected the name of a class", kind)
    return Report(
        format="a network of Block.save, whose parameters lie beside it (-model.params)",
        operators=list(blocks.values()),
    )


FORMATS = (
    Format("MXNet's -symbol.json", _is_graph, _describe_graph),
    Format("-model.json of Block.save", _is_network, _describe_network),
)
