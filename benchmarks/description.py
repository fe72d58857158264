"""A network as data: the nodes that every contestant builds the same network from.

It is read from the JSON of a symbol (`Symbol.tojson`) and the shapes of its values. Nothing here
needs tigon: a fresh process can build a peer's network, and nothing beside it.
"""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

DATA = "data"
"""The name of what the network is given."""

STATISTICS = ("running_mean", "running_var")
"""How parameters end that no gradient reaches."""


@dataclass(frozen=True)
class Node:
    """A call of an operator: names of what it reads, attributes as values, the shape it gives."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    attributes: dict[str, Any] = field(default_factory=dict)

    def get(self, attribute: str, default: Any) -> Any:
        return self.attributes.get(attribute, default)


@dataclass(frozen=True)
class Description:
    """A network of one input and one output; `shapes` are those of all values by name."""

    symbol: str
    shapes: Mapping[str, tuple[int, ...]]

    @cached_property
    def nodes(self) -> list[Node]:
        """The calls, each after what it reads."""
        given = json.loads(self.symbol)["nodes"]
        return [
            Node(
                each["name"],
                each["op"],
                tuple(given[source]["name"] for source, *_ in each["inputs"]),
                tuple(self.shapes[each["name"]]),
                {name: _value(text) for name, text in each.get("attrs", {}).items()},
            )
            for each in given
            if each["op"] != "null"
        ]

    @property
    def output(self) -> str:
        return self.nodes[-1].name

    @cached_property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Shapes of weights, biases and statistics."""
        made = {node.name for node in self.nodes}
        return {name: tuple(s) for name, s in self.shapes.items() if name not in {DATA, *made}}

    @cached_property
    def uses(self) -> Counter[str]:
        """How often each value is read."""
        return Counter(name for node in self.nodes for name in node.inputs)

    def multiply_adds(self, node: Node) -> int:
        """Of products and convolutions; those of all else are not counted."""
        if node.operator == "batch_dot":
            left = self.shapes[node.inputs[0]]
            return prod(node.shape) * left[-2 if node.get("transpose_a", False) else -1]
        if node.operator in ("Convolution", "FullyConnected"):
            return prod(node.shape) * prod(self.shapes[node.inputs[1]][1:])
        return 0

    @property
    def forward(self) -> int:
        """Multiply-adds of a call."""
        return sum(map(self.multiply_adds, self.nodes))

    @property
    def training(self) -> int:
        """Multiply-adds of a call and both gradients of each product; nobody wants that of the
        data."""
        return 3 * self.forward - sum(
            self.multiply_adds(node) for node in self.nodes if DATA in node.inputs
        )

    def text(self) -> str:
        return json.dumps({"symbol": self.symbol, "shapes": self.shapes})


def from_text(text: str) -> Description:
    """What `Description.text` wrote."""
    found = json.loads(text)
    return Description(found["symbol"], {name: tuple(s) for name, s in found["shapes"].items()})


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text  # a word: 'relu'
