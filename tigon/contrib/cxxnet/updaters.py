"""cxxnet's updaters: each tensor has rate, decay, momentum and a schedule of its own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tigon.base import check
from tigon.contrib.cxxnet.text import Place, Setting
from tigon.ir import Value
from tigon.ops.primitive.arithmetic import maximum, minimum, square
from tigon.ops.primitive.choose import where
from tigon.ops.primitive.compare import equal
from tigon.ops.primitive.functions import sqrt
from tigon.optimizer.optimizer import Optimizer, States, Updated, zeros_like

_SCHEDULES = {word: word for word in ("constant", "expdecay", "polydecay", "factor")}


def without_tag(name: str, tags: Sequence[str] = ("wmat", "bias", "gamma", "beta")) -> str:
    """The name of a setting without the tensor that it is for, if that is one of `tags`.

    >>> without_tag("wmat:lr"), without_tag("bias:eta:step"), without_tag("wmat:lr", ["bias"])
    ('lr', 'lr:step', 'wmat:lr')
    """
    for tag in tags:
        name = name.removeprefix(f"{tag}:")
    return "lr:" + name[4:] if name.startswith("eta:") else name


class TensorSettings:
    """What is set for one tensor, with cxxnet's defaults: `lr` and `lr:...` (or `eta`), `wd`,
    `momentum`, `clip_gradient`. Settings may name the tensor, as `wmat:lr` does: then they count
    for tensors of that tag alone. The last one counts.

    >>> own = TensorSettings(["bias"], [Setting("lr", "0.1"), Setting("bias:lr", "0.2")], Place(""))
    >>> own.rate, own.learning_rate(0)
    (0.2, 0.2)
    """

    def __init__(self, tags: Sequence[str], settings: Iterable[Setting], place: Place) -> None:
        self.rate, self.wd, self.momentum = 0.01, 0.0, 0.9
        self.clip = 0.0
        self.schedule, self.step, self.start = "constant", 1, 0
        self.gamma, self.alpha, self.factor, self.least = 0.5, 0.5, 0.1, 1e-5
        self.rises, self.first, self.final, self.saturation = False, 0.5, 0.9, 0
        self.beta1, self.beta2 = 0.1, 0.001
        for setting in settings:
            self._set(tags, setting, place)

    def _set(self, tags: Sequence[str], setting: Setting, place: Place) -> None:
        name = without_tag(setting.name, tags)
        if name in _NUMBERS:
            setattr(self, _NUMBERS[name], place.number(setting))
        elif name in _COUNTS:
            attribute, least = _COUNTS[name]
            setattr(self, attribute, place.integer(setting, least))
        elif name == "lr:schedule":
            self.schedule = place.choice(setting, _SCHEDULES)

    def learning_rate(self, updates: int) -> float:
        """The rate after so many updates. Steps are whole: `updates // step` counts."""
        if updates < self.start or self.schedule == "constant":
            return self.rate if updates < self.start else max(self.rate, self.least)
        steps = updates // self.step
        try:
            if self.schedule == "polydecay":
                scale = (1.0 + steps * self.gamma) ** -self.alpha
            else:
                scale = (self.factor if self.schedule == "factor" else self.gamma) ** steps
        except (OverflowError, ZeroDivisionError):
            scale = math.inf
        return max(self.rate * scale, self.least)

    def momentum_at(self, updates: int) -> float:
        """The momentum after so many updates, at most `final_momentum`. Under `momentum_schedule`
        each update adds to what it was: it rises faster than a line.

        Update i adds `rise * i + first`; what goes beyond the final one is lost. So what counts is
        the sum since its greatest value, which lies at an end or where the steps change sign: the
        number of updates, which a model says, costs nothing."""
        if not (self.rises and self.saturation):
            return min(self.momentum, self.final)
        rise = (self.final - self.first) / self.saturation

        def added(last: int) -> float:
            return rise * last * (last + 1) / 2 + self.first * (last + 1)

        turn = -self.first / rise if rise else 0.0
        turning = [min(max(0, int(turn) + near), updates) for near in (-1, 0, 1)]
        greatest = max(map(added, (0, updates, *turning)))
        return min(added(updates) + min(self.momentum, self.final - greatest), self.final)


_NUMBERS = {
    "lr": "rate", "eta": "rate", "wd": "wd", "momentum": "momentum", "clip_gradient": "clip",
    "lr:gamma": "gamma", "lr:alpha": "alpha", "lr:factor": "factor", "lr:minimum_lr": "least",
    "base_momentum": "first", "final_momentum": "final", "beta1": "beta1", "beta2": "beta2",
}  # fmt: skip
_COUNTS = {
    "lr:step": ("step", 1), "lr:start_epoch": ("start", 0), "momentum_schedule": ("rises", 0),
    "saturation_epoch": ("saturation", 0),
}  # fmt: skip
NAMES = frozenset((*_NUMBERS, *_COUNTS, "lr:schedule"))


_NOTHING_SET = TensorSettings((), (), Place(""))


class _ByTensor(Optimizer):
    """Base: rates of each parameter come from its `TensorSettings`. Gradients are those of the
    configuration's losses: they are not rescaled."""

    def __init__(self, tensors: Mapping[str, TensorSettings] | None = None, **fields: Any) -> None:
        super().__init__(**fields)
        self.tensors = dict(tensors or {})

    def schedule(self, lr: float, wd: float, count: int) -> tuple[float, ...]:
        """The rates of a tensor for which nothing is set."""
        return self.rates_of(_NOTHING_SET, count - 1)

    def _rates(self, indices: Sequence[Any], learning_rate: float) -> list[float]:
        rates: list[float] = []
        for index in indices:
            name = self.idx2name.get(index, index)
            own = self.tensors.get(name)
            check(own, type(self).__name__, f"parameter {name!r} is not of this configuration")
            assert own is not None
            # The losses have divided by the batch already.
            rates += [*self.rates_of(own, self._counts[index] - 1), 1.0]
        return rates

    def rates_of(self, own: TensorSettings, updates: int) -> tuple[float, ...]:
        """(rate, decay, momentum, limit of the gradient, what is not a number becomes)."""
        limit, other = (own.clip, 0.0) if own.clip else (math.inf, math.nan)
        return (own.learning_rate(updates), own.wd, own.momentum_at(updates), limit, other)


def _clipped(grad: Value, limit: Value, other: Value) -> Value:
    return minimum(maximum(where(equal(grad, grad), grad, other), -limit), limit)


class SGD(_ByTensor):
    """`m = momentum * m - lr * (clip(grad) + wd * w)`, `w = w + m`."""

    def create_state(self, index: Any, weight: Any) -> Any:
        return zeros_like(weight)

    def formula(
        self, weight: Value, grad: Value, states: States, lr: Value, wd: Value, *extra: Value
    ) -> Updated:
        momentum, limit, other = extra
        moved = momentum * states[0] - lr * (_clipped(grad, limit, other) + wd * weight)
        return weight + moved, [moved]


class NAG(SGD):
    """`m' = momentum * m - lr * (grad + wd * w)`, `w = w + (1 + momentum) * m' - momentum * m`."""

    def formula(
        self, weight: Value, grad: Value, states: States, lr: Value, wd: Value, *extra: Value
    ) -> Updated:
        momentum = extra[0]
        moved = momentum * states[0] - lr * (grad + wd * weight)
        return weight + (1.0 + momentum) * moved - momentum * states[0], [moved]


class Adam(_ByTensor):
    """Adam as cxxnet counts: `beta1` and `beta2` say how much of the new gradient comes in."""

    def create_state(self, index: Any, weight: Any) -> Any:
        return zeros_like(weight), zeros_like(weight)

    def rates_of(self, own: TensorSettings, updates: int) -> tuple[float, ...]:
        first = 1.0 - (1.0 - own.beta1) ** (updates + 1)
        second = 1.0 - (1.0 - own.beta2) ** (updates + 1)
        rate = own.learning_rate(updates) * math.sqrt(second) / first
        return (rate, own.wd, own.beta1, own.beta2)

    def formula(
        self, weight: Value, grad: Value, states: States, lr: Value, wd: Value, *extra: Value
    ) -> Updated:
        beta1, beta2 = extra
        grad = grad + wd * weight
        mean = beta1 * grad + (1.0 - beta1) * states[0]
        spread = beta2 * square(grad) + (1.0 - beta2) * states[1]
        return weight - lr * mean / (sqrt(spread) + 1e-8), [mean, spread]


UPDATERS: Mapping[str, type[_ByTensor]] = {"sgd": SGD, "nag": NAG, "adam": Adam}
