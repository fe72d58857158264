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
    model: Any, images: np.ndarray, labels: np.ndarray, rate: float, momentum: float
) -> Callable[[], Any]:
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum, fused=True)
    loss_function = torch.nn.CrossEntropyLoss()
    x, y = torch.from_numpy(images), torch.from_numpy(labels).long()

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_function(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
