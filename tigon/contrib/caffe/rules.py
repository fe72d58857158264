"""Caffe's solvers as optimizers, with its formulas: regularization is part of the gradient that
moments are taken of, and rates are part of the momentum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tigon.ir import Value
from tigon.ops.primitive.arithmetic import square
from tigon.ops.primitive.functions import sqrt
from tigon.ops.record import get
from tigon.optimizer.optimizer import Optimizer, States, Updated, zeros_like

L1 = {"l1": False}


class CaffeRule(Optimizer):
    """Base: `step` gives the new states and what is subtracted from the weight, from a gradient
    that is rescaled and has its decay: `wd * weight`, or with `l1` `wd * sign(weight)`."""

    state_count = 1

    def create_state(self, index: Any, weight: Any) -> Any:
        return tuple(zeros_like(weight) for _ in range(self.state_count))

    def formula(
        self, weight: Value, grad: Value, states: States, lr: Value, wd: Value, *extra: Value
    ) -> Updated:
        decay = get("sign")(weight) if self.constants["l1"] else weight
        kept, change = self.step(grad + wd * decay, states, lr)
        return weight - change, kept

    def step(self, grad: Value, states: States, lr: Value) -> tuple[tuple[Value, ...], Value]:
        """New states, and what is subtracted from the weight."""
        raise NotImplementedError(f"{type(self).__name__}: define step")


class CaffeSGD(CaffeRule):
    """`h = momentum * h + lr * g`, `w -= h`."""

    positional = "momentum"
    defaults = {"momentum": 0.0, **L1}  # noqa: RUF012

    def step(self, grad: Value, states: States, lr: Value) -> tuple[tuple[Value, ...], Value]:
        history = states[0] * self.constants["momentum"] + lr * grad
        return (history,), history


class CaffeNesterov(CaffeRule):
    """`h' = momentum * h + lr * g`, `w -= (1 + momentum) * h' - momentum * h`."""

    positional = "momentum"
    defaults = {"momentum": 0.0, **L1}  # noqa: RUF012

    def step(self, grad: Value, states: States, lr: Value) -> tuple[tuple[Value, ...], Value]:
        momentum = self.constants["momentum"]
        history = states[0] * momentum + lr * grad
        return (history,), history * (1 + momentum) - states[0] * momentum


class CaffeAdaGrad(CaffeRule):
    """`h += g ** 2`, `w -= lr * g / (sqrt(h) + delta)`."""

    positional = "delta"
    defaults = {"delta": 1e-8, **L1}  # noqa: RUF012

    def step(self, grad: Value, states: States, lr: Value) -> tuple[tuple[Value, ...], Value]:
        history = states[0] + square(grad)
        return (history,), lr * grad / (sqrt(history) + self.constants["delta"])


class CaffeRMSProp(CaffeRule):
    """`h = rms_decay * h + (1 - rms_decay) * g ** 2`, `w -= lr * g / (sqrt(h) + delta)`."""

    positional = "rms_decay delta"
    defaults = {"rms_decay": 0.99, "delta": 1e-8, **L1}  # noqa: RUF012

    def step(self, grad: Value, states: States, lr: Value) -> tuple[tuple[Value, ...], Value]:
        decay = self.constants["rms_decay"]
        history = states[0] * decay + square(grad) * (1 - decay)
        return (history,), lr * grad / (sqrt(history) + self.constants["delta"])


class CaffeAdaDelta(CaffeRule):
    """`h = momentum * h + (1 - momentum) * g ** 2`, `v = g * sqrt((u + delta) / (h + delta))`,
    `u = momentum * u + (1 - momentum) * v ** 2`, `w -= lr * v`."""

    positional = "momentum delta"
    defaults = {"momentum": 0.0, "delta": 1e-8, **L1}  # noqa: RUF012
    state_count = 2

    def step(self, grad: Value, states: States, lr: Value) -> tuple[tuple[Value, ...], Value]:
        kept, delta = self.constants["momentum"], self.constants["delta"]
        history = states[0] * kept + square(grad) * (1 - kept)
        change = grad * sqrt((states[1] + delta) / (history + delta))
        updates = states[1] * kept + square(change) * (1 - kept)
        return (history, updates), lr * change


class CaffeAdam(CaffeRule):
    """Adam, with `delta` added to the root of the second moment before its correction."""

    positional = "momentum momentum2 delta"
    defaults = {"momentum": 0.9, "momentum2": 0.999, "delta": 1e-8, **L1}  # noqa: RUF012
    state_count = 2

    def schedule(self, lr: float, wd: float, count: int) -> tuple[float, ...]:
        second = 1.0 - self.constants["momentum2"] ** count
        return (lr * math.sqrt(second) / (1.0 - self.constants["momentum"] ** count), wd)

    def step(self, grad: Value, states: States, lr: Value) -> tuple[tuple[Value, ...], Value]:
        first, second = self.constants["momentum"], self.constants["momentum2"]
        mean = states[0] * first + grad * (1 - first)
        variance = states[1] * second + square(grad) * (1 - second)
        return (mean, variance), lr * mean / (sqrt(variance) + self.constants["delta"])


RULES: Mapping[str, type[CaffeRule]] = {
    "SGD": CaffeSGD,
    "Nesterov": CaffeNesterov,
    "AdaGrad": CaffeAdaGrad,
    "RMSProp": CaffeRMSProp,
    "AdaDelta": CaffeAdaDelta,
    "Adam": CaffeAdam,
}
"""By the type of a solver."""
