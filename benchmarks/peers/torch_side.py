"""PyTorch: inference mode, frozen networks by TorchScript, training with its fused optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from inputs import Layers
from processors import processors

VERSION = torch.__version__
torch.set_num_threads(processors())


def network(layers: Layers) -> Any:
    modules: list[Any] = []
    for index, (weight, bias) in enumerate(layers):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
            linear.bias.copy_(torch.from_numpy(bias))
        modules += [linear] if index == len(layers) - 1 else [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*modules)


def frozen(model: Any, data: np.ndarray) -> Any:
    with torch.no_grad():
        return torch.jit.freeze(torch.jit.trace(model.eval(), torch.from_numpy(data)))


def step(
    model: Any,
    images: np.ndarray,
    labels: np.ndarray,
    rate: float,
    momentum: float,
    layout: torch.memory_format = torch.contiguous_format,
) -> Callable[[], Any]:
    """Logits along the last axis, a label for each place of the others."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum, fused=True)
    loss_function = torch.nn.CrossEntropyLoss()
    x = torch.from_numpy(images).contiguous(memory_format=layout)
    y = torch.from_numpy(labels).long().flatten()

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_function(model(x).flatten(0, -2), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def lstm(parameters: list[np.ndarray], data: np.ndarray) -> tuple[Any, Callable[[], Any]]:
    """A layer with weights and biases of inputs and states, and a call of it with its gradients,
    which gives that of the states' weights."""
    rows, features = parameters[0].shape
    model = torch.nn.LSTM(features, rows // 4)
    with torch.no_grad():
        for own, value in zip(model.parameters(), parameters, strict=True):
            own.copy_(torch.from_numpy(value))
    x = torch.from_numpy(data).requires_grad_()

    def step() -> Any:
        model.zero_grad(set_to_none=True)
        x.grad = None
        out = model(x)[0]
        out.backward(torch.ones_like(out))
        return model.weight_hh_l0.grad

    return model, step
