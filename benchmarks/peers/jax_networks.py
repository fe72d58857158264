"""Described networks in JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from description import DATA, STATISTICS, Description, Node
from jax import lax

from peers import jax_side

State = dict[str, Any]


def parameters(description: Description, values: Mapping[str, np.ndarray]) -> tuple[State, State]:
    """What gradients reach and the statistics. Weights of dense layers lie as (inputs, outputs):
    XLA turns the others round at every call."""
    dense = {node.inputs[1] for node in description.nodes if node.operator == "FullyConnected"}
    made = {
        name: jnp.asarray(value.T.copy() if name in dense else value)
        for name, value in values.items()
    }
    statistics = {name: value for name, value in made.items() if name.endswith(STATISTICS)}
    return {name: value for name, value in made.items() if name not in statistics}, statistics


def apply(
    description: Description, given: State, statistics: State, x: Any, training: bool
) -> tuple[Any, State]:
    """The output, and the statistics after it."""
    found = {DATA: x, **given, **statistics}
    after = dict(statistics)
    for node in description.nodes:
        operands = [found[name] for name in node.inputs]
        if node.operator == "BatchNorm" and training:
            found[node.name], moved = _batch_norm_in_training(node, *operands)
            after |= dict(zip(node.inputs[3:], moved, strict=True))
        else:
            found[node.name] = RULES[node.operator](node, *operands)
    return found[description.output], after


def network(
    description: Description, values: Mapping[str, np.ndarray], data: np.ndarray
) -> Callable[[], Any]:
    given, statistics = parameters(description, values)
    return jax_side.call(lambda x: apply(description, given, statistics, x, False)[0], data)


def step(
    description: Description,
    values: Mapping[str, np.ndarray],
    data: np.ndarray,
    labels: np.ndarray,
    rate: float,
    momentum: float,
) -> Callable[[], Any]:
    """A training step with donated state, which returns the mean loss."""

    def mean_loss(given: State, statistics: State, x: Any, y: Any) -> tuple[Any, State]:
        logits, after = apply(description, given, statistics, x, True)
        logits = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(logits, y[..., None], axis=-1).mean(), after

    def update(given: State, momenta: State, statistics: State, x: Any, y: Any) -> Any:
        both = jax.value_and_grad(mean_loss, has_aux=True)(given, statistics, x, y)
        (loss, statistics), gradients = both
        momenta = jax.tree.map(lambda m, g: momentum * m - rate * g, momenta, gradients)
        return jax.tree.map(lambda w, m: w + m, given, momenta), momenta, statistics, loss

    compiled = jax.jit(update, donate_argnums=(0, 1, 2))
    given, statistics = parameters(description, values)
    momenta = jax.tree.map(jnp.zeros_like, given)
    x, y = jnp.asarray(data), jnp.asarray(labels.astype(np.int32))

    def step() -> Any:
        nonlocal given, momenta, statistics
        given, momenta, statistics, loss = compiled(given, momenta, statistics, x, y)
        jax.block_until_ready((given, loss))
        return loss

    return step


def _convolution(node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
    y = lax.conv_general_dilated(
        x,
        weight,
        node.get("stride", (1, 1)),
        [(pad, pad) for pad in node.get("pad", (0, 0))],
        rhs_dilation=node.get("dilate", (1, 1)),
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
        feature_group_count=node.get("num_group", 1),
    )
    return y if bias is None else y + _by_channel(bias)


def _by_channel(values: Any) -> Any:
    return values[:, None, None]


def _batch_norm(node: Node, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
    scale = gamma * lax.rsqrt(variance + node.get("eps", 1e-3))
    return x * _by_channel(scale) + _by_channel(beta - mean * scale)


def _batch_norm_in_training(
    node: Node, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any
) -> tuple[Any, tuple[Any, Any]]:
    own = x.mean((0, 2, 3)), x.var((0, 2, 3))
    keep = node.get("momentum", 0.9)
    pairs = zip((mean, variance), own, strict=True)
    moved = tuple(keep * before + (1 - keep) * now for before, now in pairs)
    return _batch_norm(node, x, gamma, beta, *own), moved


def _pooling(node: Node, x: Any) -> Any:
    if node.get("global_pool", False):
        return x.mean((2, 3), keepdims=True)
    assert node.get("pool_type", "max") == "max", node
    pads = [(0, 0), (0, 0), *((pad, pad) for pad in node.get("pad", (0, 0)))]
    window = (1, 1, *node.get("kernel", (1, 1)))
    return lax.reduce_window(
        x, -jnp.inf, lax.max, window, (1, 1, *node.get("stride", (1, 1))), pads
    )


def _dense(node: Node, x: Any, weight: Any, bias: Any = None) -> Any:
    y = (x.reshape(len(x), -1) if node.get("flatten", True) else x) @ weight
    return y if bias is None else y + bias


def _batch_dot(node: Node, a: Any, b: Any) -> Any:
    a = a.mT if node.get("transpose_a", False) else a
    return a @ (b.mT if node.get("transpose_b", False) else b)


def _layer_norm(node: Node, x: Any, gamma: Any, beta: Any) -> Any:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + node.get("eps", 1e-5)) * gamma + beta


RULES: dict[str, Callable[..., Any]] = {
    "Convolution": _convolution,
    "BatchNorm": _batch_norm,
    "Activation": lambda node, x: jnp.maximum(x, 0),
    "clip": lambda node, x: jnp.clip(x, node.get("a_min", 0), node.get("a_max", 0)),
    "Pooling": _pooling,
    "FullyConnected": _dense,
    "batch_dot": _batch_dot,
    "broadcast_add": lambda node, a, b: a + b,
    "_mul_scalar": lambda node, x: x * node.attributes["scalar"],
    "Flatten": lambda node, x: x.reshape(len(x), -1),
    "Reshape": lambda node, x: x.reshape(node.shape),
    "transpose": lambda node, x: x.transpose(node.attributes["axes"]),
    "softmax": lambda node, x: jax.nn.softmax(x, node.get("axis", -1)),
    "LayerNorm": _layer_norm,
}
