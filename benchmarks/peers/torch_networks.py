"""Described networks in PyTorch: the calls that its users write, layer after layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from description import DATA, STATISTICS, Description, Node
from torch.nn import functional as F


class Network(torch.nn.Module):
    """Without `values`, weights are as they come."""

    def __init__(
        self,
        description: Description,
        values: Mapping[str, np.ndarray] | None = None,
        layout: torch.memory_format = torch.contiguous_format,
    ) -> None:
        super().__init__()
        self._description = description
        for name, shape in description.parameters.items():
            value = 0.05 * torch.rand(shape) if values is None else torch.tensor(values[name])
            if name.endswith(STATISTICS):
                self.register_buffer(name, value)
            else:
                self.register_parameter(name, torch.nn.Parameter(value))
        self.to(memory_format=layout)

    def forward(self, x: Any) -> Any:
        found = {DATA: x, **self._parameters, **self._buffers}
        for node in self._description.nodes:
            operands = [found[name] for name in node.inputs]
            found[node.name] = RULES[node.operator](self, node, *operands)
        return found[self._description.output]

    def overwrites(self, node: Node) -> bool:
        """Whether nobody else reads what this node reads: rectifiers then write over it."""
        return self._description.uses[node.inputs[0]] == 1


def _convolution(net: Network, node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
    return F.conv2d(
        x,
        weight,
        bias,
        node.get("stride", (1, 1)),
        node.get("pad", (0, 0)),
        node.get("dilate", (1, 1)),
        node.get("num_group", 1),
    )


def _batch_norm(
    net: Network, node: Node, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any
) -> Any:
    share = 1 - node.get("momentum", 0.9)
    return F.batch_norm(x, mean, variance, gamma, beta, net.training, share, node.get("eps", 1e-3))


def _activation(net: Network, node: Node, x: Any) -> Any:
    assert node.get("act_type", "relu") == "relu", node
    return F.relu(x, inplace=net.overwrites(node))


def _clip(net: Network, node: Node, x: Any) -> Any:
    assert (node.get("a_min", 0), node.get("a_max", 0)) == (0, 6), node
    return F.relu6(x, inplace=net.overwrites(node))


def _pooling(net: Network, node: Node, x: Any) -> Any:
    if node.get("global_pool", False):
        return F.adaptive_avg_pool2d(x, 1)
    kernel = node.get("kernel", (1, 1))
    given = kernel, node.get("stride", (1, 1)), node.get("pad", (0, 0))
    return F.max_pool2d(*(x, *given)) if _takes_greatest(node) else F.avg_pool2d(x, *given)


def _takes_greatest(node: Node) -> bool:
    return node.get("pool_type", "max") == "max"


def _dense(net: Network, node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
    return F.linear(x.flatten(1) if node.get("flatten", True) else x, weight, bias)


def _batch_dot(net: Network, node: Node, a: Any, b: Any) -> Any:
    return torch.bmm(
        a.mT if node.get("transpose_a", False) else a, b.mT if node.get("transpose_b", False) else b
    )


RULES: dict[str, Callable[..., Any]] = {
    "Convolution": _convolution,
    "BatchNorm": _batch_norm,
    "Activation": _activation,
    "clip": _clip,
    "Pooling": _pooling,
    "FullyConnected": _dense,
    "batch_dot": _batch_dot,
    "broadcast_add": lambda net, node, a, b: a + b,
    "_mul_scalar": lambda net, node, x: x * node.attributes["scalar"],
    "Flatten": lambda net, node, x: x.flatten(1),
    "Reshape": lambda net, node, x: x.reshape(node.shape),
    "transpose": lambda net, node, x: x.permute(node.attributes["axes"]),
    "softmax": lambda net, node, x: F.softmax(x, node.get("axis", -1)),
    "LayerNorm": lambda net, node, x, gamma, beta: F.layer_norm(
        x, gamma.shape, gamma, beta, node.get("eps", 1e-5)
    ),
}


class Encoder(torch.nn.Module):
    """The encoder of `models.encoder` of PyTorch's own layers: one product for queries, keys and
    values, and fused attention."""

    def __init__(
        self, description: Description, values: Mapping[str, np.ndarray], heads: int
    ) -> None:
        super().__init__()
        names = {name.partition("_")[0] for name in values if name.startswith("layer")}
        layers = []
        for layer in sorted(names):
            own = {
                name.removeprefix(f"{layer}_"): torch.tensor(value)
                for name, value in values.items()
                if name.startswith(f"{layer}_")
            }
            hidden, size = own["wide_weight"].shape
            made = torch.nn.TransformerEncoderLayer(
                size, heads, hidden, dropout=0.0, batch_first=True
            )
            made.load_state_dict(_renamed(own))
            layers.append(made)
        self.layers = torch.nn.Sequential(*layers)
        self.classes = None
        if "classes_weight" in values:
            self.classes = torch.nn.Linear(*reversed(values["classes_weight"].shape))
            given = {kind: torch.tensor(values[f"classes_{kind}"]) for kind in ("weight", "bias")}
            self.classes.load_state_dict(given)

    def forward(self, x: Any) -> Any:
        x = self.layers(x)
        return x if self.classes is None else self.classes(x)


def _renamed(own: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for kind in ("weight", "bias"):
        parts = [own[f"{name}_{kind}"] for name in ("query", "key", "value")]
        found[f"self_attn.in_proj_{kind}"] = torch.cat(parts)
        found[f"self_attn.out_proj.{kind}"] = own[f"output_{kind}"]
        found[f"linear1.{kind}"] = own[f"wide_{kind}"]
        found[f"linear2.{kind}"] = own[f"narrow_{kind}"]
    for norm, name in (("norm1", "first"), ("norm2", "second")):
        found[f"{norm}.weight"], found[f"{norm}.bias"] = own[f"{name}_gamma"], own[f"{name}_beta"]
    return found
