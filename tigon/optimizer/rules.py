"""The rules of the optimizers that are formulas: rates, states, operators."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tigon.ir import Value
from tigon.ops.primitive.arithmetic import absolute, maximum, square
from tigon.ops.primitive.choose import clip, where
from tigon.ops.primitive.compare import greater
from tigon.ops.primitive.functions import sqrt
from tigon.ops.record import get
from tigon.ops.tensor.reduce import norm
from tigon.optimizer.optimizer import Optimizer, States, Updated, register, zeros_like


class _ByRecord(Optimizer):
    """Its rule is an update operator with the rates as operands: `_sgd_mom_update` and its kin."""

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        """Name and attributes of the operator."""
        raise NotImplementedError(f"{type(self).__name__}: define record")

    def full_formula(self, weight: Value, grad: Value, states: States, *rates: Value) -> Updated:
        lr, wd, *extra, rescale = rates
        name, attributes = self.record(states)
        op = get(name)
        known = {"lr": lr, "wd": wd, "rescale_grad": rescale, "t": extra[0] if extra else None}
        given = [known[operand.name] for operand in op.operands[2 + len(states) :]]
        clip_word = "clip_grad" if name == "_ftml_update" else "clip_gradient"
        found = op(weight, grad, *states, *given, **attributes, **{clip_word: self._clip})
        return (found[0], found[1:]) if isinstance(found, tuple) else (found, ())


class _Stateful(Optimizer):
    """Keeps a fixed number of arrays like the weight, zero at first."""

    state_count = 1

    def create_state(self, index: Any, weight: Any) -> Any:
        states = tuple(zeros_like(weight) for _ in range(self.state_count))
        return states[0] if len(states) == 1 else states or None


@register
class SGD(_ByRecord):
    """Stochastic gradient descent, with momentum and weight decay.

    `m = momentum * m - lr * (grad + wd * w)`, `w = w + m`.
    """

    positional = "momentum lazy_update"
    defaults = {"momentum": 0.0}  # noqa: RUF012
    master_is_last = True
    by_rows = True

    def create_state(self, index: Any, weight: Any) -> Any:
        return zeros_like(weight) if self.constants["momentum"] else None

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        if not states:
            return "_sgd_update", {}
        return "_sgd_mom_update", {"momentum": self.constants["momentum"]}


@register
class NAG(SGD):
    """Nesterov's accelerated gradient."""

    positional = "momentum"
    by_rows = False

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        if not states:
            return "_sgd_update", {}
        return "_nag_mom_update", {"momentum": self.constants["momentum"]}


@register
class Adam(_ByRecord, _Stateful):
    """Adam, with the bias corrections folded into the rate."""

    positional = "learning_rate beta1 beta2 epsilon lazy_update"
    defaults = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}  # noqa: RUF012
    learning_rate_default = 0.001
    state_count = 2
    by_rows = True

    def schedule(self, lr: float, wd: float, count: int) -> tuple[float, ...]:
        first = 1.0 - self.constants["beta1"] ** count
        second = 1.0 - self.constants["beta2"] ** count
        return (lr * math.sqrt(second) / first, wd)

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        return "_adam_update", dict(self.constants)


@register
class AdamW(Adam):
    """Adam with weight decay apart from the gradient."""

    def schedule(self, lr: float, wd: float, count: int) -> tuple[float, ...]:
        # The decay goes with the plain rate, not with the corrected one.
        return (super().schedule(lr, wd, count)[0], lr * wd)

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        return "_adamw_update", dict(self.constants)


@register
class AdaGrad(_Stateful):
    """Rates divided by the root of the sum of squared gradients."""

    positional = "eps"
    defaults = {"eps": 1e-7}  # noqa: RUF012
    by_rows = True

    def formula(
        self, weight: Value, grad: Value, states: States, lr: Value, wd: Value, *extra: Value
    ) -> Updated:
        history = states[0] + square(grad)
        step = grad / sqrt(history + self.constants["eps"]) + wd * weight
        return weight - lr * step, (history,)


@register
class RMSProp(_ByRecord):
    """Rates divided by a running root mean square; `centered` subtracts the mean."""

    positional = "learning_rate gamma1 gamma2 epsilon centered clip_weights"
    defaults = {  # noqa: RUF012
        "gamma1": 0.9,
        "gamma2": 0.9,
        "epsilon": 1e-8,
        "centered": False,
        "clip_weights": 0.0,
    }
    learning_rate_default = 0.001

    def create_state(self, index: Any, weight: Any) -> Any:
        count = 3 if self.constants["centered"] else 1
        return tuple(zeros_like(weight) for _ in range(count))

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        attributes = {name: self.constants[name] for name in ("gamma1", "epsilon")}
        attributes["clip_weights"] = self.constants["clip_weights"] or -1.0
        if not self.constants["centered"]:
            return "_rmsprop_update", attributes
        return "_rmspropalex_update", {**attributes, "gamma2": self.constants["gamma2"]}


@register
class AdaDelta(_ByRecord, _Stateful):
    """Steps scaled by the running size of earlier steps; the rate is not used."""

    positional = "rho epsilon"
    defaults = {"rho": 0.90, "epsilon": 1e-5}  # noqa: RUF012
    state_count = 2

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        return "_adadelta_update", dict(self.constants)


@register
class Ftrl(_ByRecord, _Stateful):
    """Follow the regularized leader: sparse weights by an L1 term."""

    positional = "lamda1 learning_rate beta"
    defaults = {"lamda1": 0.01, "beta": 1.0}  # noqa: RUF012
    learning_rate_default = 0.1
    state_count = 2
    by_rows = True

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        return "_ftrl_update", dict(self.constants)


@register
class Signum(SGD):
    """Steps by the sign of the momentum."""

    positional = "learning_rate momentum wd_lh"
    defaults = {"momentum": 0.9, "wd_lh": 0.0}  # noqa: RUF012
    master_is_last = False
    by_rows = False

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        return ("_signum_update", dict(self.constants)) if states else ("_signsgd_update", {})


@register
class Adamax(_Stateful):
    """Adam with the largest gradient instead of the root mean square."""

    positional = "learning_rate beta1 beta2"
    defaults = {"beta1": 0.9, "beta2": 0.999}  # noqa: RUF012
    learning_rate_default = 0.002
    state_count = 2
    decay_before_clipping = True

    def schedule(self, lr: float, wd: float, count: int) -> tuple[float, ...]:
        return (lr / (1.0 - self.constants["beta1"] ** count), wd)

    def formula(
        self, weight: Value, grad: Value, states: States, lr: Value, wd: Value, *extra: Value
    ) -> Updated:
        beta1, beta2 = self.constants["beta1"], self.constants["beta2"]
        mean = states[0] * beta1 + grad * (1 - beta1)
        largest = maximum(states[1] * beta2, absolute(grad))
        # A weight that never had a gradient has 0 / 0 here.
        return weight - lr * mean / (largest + 1e-8), (mean, largest)


@register
class Nadam(_Stateful):
    """Adam with Nesterov's momentum."""

    positional = "learning_rate beta1 beta2 epsilon schedule_decay"
    defaults = {  # noqa: RUF012
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "schedule_decay": 0.004,
    }
    learning_rate_default = 0.001
    state_count = 2
    decay_before_clipping = True

    def _momentum(self, count: int) -> float:
        decay = 0.96 ** (count * self.constants["schedule_decay"])
        return self.constants["beta1"] * (1.0 - 0.5 * decay)

    def schedule(self, lr: float, wd: float, count: int) -> tuple[float, ...]:
        product = math.prod(self._momentum(i) for i in range(1, count + 1))
        now, later = self._momentum(count), self._momentum(count + 1)
        second = 1.0 - self.constants["beta2"] ** count
        return (lr, wd, (1 - now) / (1 - product), later / (1 - product * later), 1 / second)

    def formula(
        self, weight: Value, grad: Value, states: States, lr: Value, wd: Value, *extra: Value
    ) -> Updated:
        beta1, beta2 = self.constants["beta1"], self.constants["beta2"]
        mean = states[0] * beta1 + grad * (1 - beta1)
        variance = states[1] * beta2 + square(grad) * (1 - beta2)
        step = grad * extra[0] + mean * extra[1]
        return (
            weight - lr * step / (sqrt(variance * extra[2]) + self.constants["epsilon"]),
            (mean, variance),
        )


@register
class FTML(_ByRecord, _Stateful):
    """Follow the moving leader."""

    positional = "beta1 beta2 epsilon"
    defaults = {"beta1": 0.6, "beta2": 0.999, "epsilon": 1e-8}  # noqa: RUF012
    state_count = 3

    def schedule(self, lr: float, wd: float, count: int) -> tuple[float, ...]:
        return (lr, wd, float(count))

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        return "_ftml_update", dict(self.constants)


@register
class LAMB(_Stateful):
    """Adam with a rate per layer: the ratio of the norms of weight and step."""

    positional = "learning_rate beta1 beta2 epsilon lower_bound upper_bound bias_correction"
    defaults = {  # noqa: RUF012
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-6,
        "lower_bound": None,
        "upper_bound": None,
        "bias_correction": True,
    }
    learning_rate_default = 0.001
    state_count = 2

    def schedule(self, lr: float, wd: float, count: int) -> tuple[float, ...]:
        if not self.constants["bias_correction"]:
            return (lr, wd, 1.0, 1.0)
        first = 1.0 - self.constants["beta1"] ** count
        second = 1.0 - self.constants["beta2"] ** count
        return (lr, wd, 1.0 / first, 1.0 / second)

    def formula(
        self, weight: Value, grad: Value, states: States, lr: Value, wd: Value, *extra: Value
    ) -> Updated:
        beta1, beta2 = self.constants["beta1"], self.constants["beta2"]
        mean = states[0] * beta1 + grad * (1 - beta1)
        variance = states[1] * beta2 + square(grad) * (1 - beta2)
        step = mean * extra[0] / (sqrt(variance * extra[1]) + self.constants["epsilon"])
        step = step + wd * weight
        size = norm(weight)
        if self.constants["lower_bound"] is not None:
            size = maximum(size, self.constants["lower_bound"])
        if self.constants["upper_bound"] is not None:
            size = clip(size, a_min=0.0, a_max=self.constants["upper_bound"])
        return weight - lr * _ratio(size, norm(step)) * step, (mean, variance)


def _ratio(size: Value, step: Value) -> Value:
    """size / step, or 1 where one of them is zero."""
    usable = greater(size, 0.0) * greater(step, 0.0)
    return where(usable, size / where(usable, step, step * 0.0 + 1.0), step * 0.0 + 1.0)


@register
class LARS(Optimizer):
    """SGD with a rate per layer: `eta` times the ratio of the norms of weight and gradient. Those
    that `param_idx2name` names as biases, betas and gammas keep the plain rate.

    `momentum_correction` multiplies the momentum by the change of the rate since the last update.
    """

    positional = "momentum lazy_update eta eps momentum_correction"
    defaults = {  # noqa: RUF012
        "momentum": 0.0,
        "eta": 0.001,
        "eps": 0,
        "momentum_correction": True,
    }
    master_is_last = True
    _seen = (0, None, 1.0)
    """Of the last update: its number, its rate, and that over the rate before."""

    def create_state(self, index: Any, weight: Any) -> Any:
        return zeros_like(weight) if self.constants["momentum"] else None

    def set_wd_mult(self, args_wd_mult: Mapping[Any, float]) -> None:
        """As of other optimizers, but only `_weight` has a decay unless it is given."""
        plain = {name: 0.0 for name in self.idx2name.values() if not name.endswith("_weight")}
        super().set_wd_mult({**plain, **self._hints["__wd_mult__"], **args_wd_mult})

    def advance(self, indices: Sequence[Any]) -> list[float]:
        self._update_count(indices)
        rate = self.learning_rate
        number, before, _ = self._seen
        if number != self.num_update:
            self._seen = (self.num_update, rate, rate / before if before else 1.0)
        return self._rates(indices, rate)

    def schedule(self, lr: float, wd: float, count: int) -> tuple[float, ...]:
        change = self._seen[2] if self.constants["momentum_correction"] else 1.0
        return (lr, wd, change, 1.0)

    def _rates(self, indices: Sequence[Any], learning_rate: float) -> list[float]:
        rates = super()._rates(indices, learning_rate)
        each = len(rates) // max(len(indices), 1)
        for position, index in enumerate(indices):
            if str(self.idx2name.get(index, index)).endswith(("gamma", "beta", "bias")):
                rates[position * each + 3] = 0.0
        return rates

    def full_formula(self, weight: Value, grad: Value, states: States, *rates: Value) -> Updated:
        lr, wd, change, adapts, rescale = rates
        size, slope = norm(weight), norm(grad) * absolute(rescale)
        usable = greater(size, 0.0) * greater(slope, 0.0) * adapts
        steepness = where(usable, slope + wd * size + self.constants["eps"], size * 0.0 + 1.0)
        ratio = where(usable, size * self.constants["eta"] / steepness, size * 0.0 + 1.0)
        return super().full_formula(weight, grad, states, lr * ratio, wd, change, rescale)

    def formula(
        self, weight: Value, grad: Value, states: States, lr: Value, wd: Value, *extra: Value
    ) -> Updated:
        step = lr * (grad + wd * weight)
        if not states:
            return weight - step, ()
        moved = states[0] * (extra[0] * self.constants["momentum"]) - step
        return weight + moved, (moved,)


@register
class DCASGD(Optimizer):
    """SGD that corrects for stale gradients with the weight of the previous update."""

    positional = "momentum lamda"
    defaults = {"momentum": 0.0, "lamda": 0.04}  # noqa: RUF012

    def create_state(self, index: Any, weight: Any) -> Any:
        return (zeros_like(weight) if self.constants["momentum"] else None, weight.copy())

    def formula(
        self, weight: Value, grad: Value, states: States, lr: Value, wd: Value, *extra: Value
    ) -> Updated:
        *momenta, previous = states
        correction = square(grad) * (weight - previous) * self.constants["lamda"]
        new = -lr * (grad + wd * weight + correction)
        if not momenta:
            return weight + new, (weight,)
        new = momenta[0] * self.constants["momentum"] + new
        return weight + new, (new, weight)


@register
class ccSGD(SGD):
    """SGD under its name of long ago."""


@register
class Test(_Stateful):
    """For tests: adds the rescaled gradient and remembers the weight."""

    def formula(
        self, weight: Value, grad: Value, states: States, lr: Value, wd: Value, *extra: Value
    ) -> Updated:
        new = weight + grad
        return new, (new,)
