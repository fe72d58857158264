"""Optimizers that are no formula of one step: one draws, one gathers gradients over steps."""

from __future__ import annotations

import math
from typing import Any

from tigon import nd
from tigon.base import check
from tigon.base.arguments import fits
from tigon.optimizer.optimizer import Optimizer, register

_STRATEGIES = ("linear", "power2", "sqrt", "lars")


class _ByArrays(Optimizer):
    def _gradient(self, grad: Any) -> Any:
        """Rescaled and clipped."""
        grad = grad * self.rescale_grad
        limit = self._clip
        return nd.clip(grad, a_min=-limit, a_max=limit) if limit >= 0 else grad


@register
class SGLD(_ByArrays):
    """Langevin dynamics: half a step down the slope, and noise of the variance of the rate, so that
    weights are drawn from a distribution rather than led to its peak."""

    def update(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        """Move one weight, in place."""
        self._update_count(index)
        lr, wd = self._get_lr(index), self._get_wd(index)
        place = {"shape": weight.shape, "dtype": weight.dtype, "ctx": weight.context}
        noise = nd.random.normal(0, math.sqrt(lr), **place)
        weight[:] = weight - lr / 2 * (self._gradient(grad) + wd * weight) + noise


@register
class LBSGD(_ByArrays):
    """SGD for large batches: the mean of `batch_scale` gradients is one step, and the rate grows to
    `batch_scale` times itself over `warmup_epochs` epochs of `updates_per_epoch` gradients.

    `warmup_strategy` says how it grows: 'linear', 'power2' or 'sqrt'; with 'lars' it is multiplied
    by the root of the ratio of squared weight and gradient instead, between 0.01 and 100.
    """

    defaults = {  # noqa: RUF012
        "momentum": 0.0,
        "warmup_strategy": "linear",
        "warmup_epochs": 5,
        "batch_scale": 1,
        "updates_per_epoch": 32,
        "begin_epoch": 0,
        "num_epochs": 60,
    }

    def __init__(self, momentum: float = 0.0, multi_precision: bool = False, **fields: Any) -> None:
        super().__init__(momentum=momentum, multi_precision=multi_precision, **fields)
        strategy, scale = self.constants["warmup_strategy"], self.constants["batch_scale"]
        check(
            strategy in _STRATEGIES,
            "LBSGD",
            f"warmup_strategy: expected one of {', '.join(_STRATEGIES)}; given {strategy!r}",
        )
        check(
            fits(int, scale) and scale >= 1,
            "LBSGD",
            f"batch_scale: expected at least 1; given {scale}",
        )
        self._sums: dict[Any, Any] = {}
        self._seen: dict[Any, int] = {}

    def create_state(self, index: Any, weight: Any) -> Any:
        """The momentum, if there is one."""
        if not self.constants["momentum"]:
            return None
        return nd.zeros(weight.shape, weight.context, dtype=weight.dtype)

    def update(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        """Gather one gradient; the last of `batch_scale` moves the weight, in place."""
        constants = self.constants
        lr, wd = self._get_lr(index), self._get_wd(index)
        self._update_count(index)
        begun = constants["begin_epoch"] * constants["updates_per_epoch"]
        seen = self._seen[index] = self._seen.get(index, begun) + 1
        held = self._sums.pop(index, None)
        total = grad.copy() if held is None else held + grad
        if seen % constants["batch_scale"]:
            self._sums[index] = total
            return
        mean = total / constants["batch_scale"]
        if constants["warmup_strategy"] == "lars":
            lr *= _ratio(weight, mean, wd)
        else:
            lr *= self._growth(seen)
        step = lr * (self._gradient(mean) + wd * weight)
        if state is None:
            weight[:] = weight - step
            return
        state[:] = constants["momentum"] * state - step
        weight[:] = weight + state

    def _growth(self, seen: int) -> float:
        """The factor on the rate after so many gradients."""
        constants = self.constants
        most, until = (
            float(constants["batch_scale"]),
            constants["warmup_epochs"] * constants["updates_per_epoch"],
        )
        if seen >= until:
            return most
        if until <= 1:
            return 1.0
        way = seen / until
        strategy = constants["warmup_strategy"]
        way = way * way if strategy == "power2" else math.sqrt(way) if strategy == "sqrt" else way
        return 1.0 + (most - 1.0) * way


def _ratio(weight: Any, grad: Any, wd: float) -> float:
    size, steepness = (float((a * a).sum().asscalar()) for a in (weight, grad))
    return min(100.0, max(0.01, math.sqrt(size / (steepness + wd * size + 1e-18))))
