"""JAX: everything compiled (`jit`), networks with their weights as constants, a training step as
one call with donated state. Its pool has a thread for each processor it may use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from inputs import Layers

VERSION = jax.__version__


def call(function: Callable[..., Any], *arrays: np.ndarray) -> Callable[[], Any]:
    """A call of the compiled function that waits for its result."""
    compiled = jax.jit(function)
    given = [jnp.asarray(array) for array in arrays]
    return lambda: compiled(*given).block_until_ready()


def _forward(parameters: Any, x: Any) -> Any:
    # Weights of (inputs, outputs): XLA turns the others round at every call.
    for index, (weight, bias) in enumerate(parameters):
        x = x @ weight + bias
        if index < len(parameters) - 1:
            x = jnp.maximum(x, 0)
    return x


def _parameters(layers: Layers) -> Any:
    return [(jnp.asarray(w.T.copy()), jnp.asarray(b)) for w, b in layers]


def network(layers: Layers, data: np.ndarray) -> Callable[[], Any]:
    parameters = _parameters(layers)
    return call(lambda x: _forward(parameters, x), data)


def step(
    layers: Layers, images: np.ndarray, labels: np.ndarray, rate: float, momentum: float
) -> Callable[[], Any]:
    def mean_loss(parameters: Any, x: Any, y: Any) -> Any:
        logits = jax.nn.log_softmax(_forward(parameters, x))
        return -jnp.take_along_axis(logits, y[:, None], axis=1).mean()

    def update(parameters: Any, momenta: Any, x: Any, y: Any) -> Any:
        loss, gradients = jax.value_and_grad(mean_loss)(parameters, x, y)
        momenta = jax.tree.map(lambda m, g: momentum * m - rate * g, momenta, gradients)
        return jax.tree.map(lambda w, m: w + m, parameters, momenta), momenta, loss

    compiled = jax.jit(update, donate_argnums=(0, 1))
    parameters = _parameters(layers)
    momenta = jax.tree.map(jnp.zeros_like, parameters)
    x, y = jnp.asarray(images), jnp.asarray(labels.astype(np.int32))

    def step() -> Any:
        nonlocal parameters, momenta
        parameters, momenta, loss = compiled(parameters, momenta, x, y)
        jax.block_until_ready((parameters, loss))
        return loss

    return step
