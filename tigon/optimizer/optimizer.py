"""Optimizers: a rule from weight and gradient to new weight, and the rates that go with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tigon._native import NDArray
from tigon.base import TigonError, check
from tigon.base.signatures import whole_signature
from tigon.ir import Value
from tigon.lr_scheduler import LRScheduler
from tigon.ops.primitive.arithmetic import absolute, maximum, square
from tigon.ops.primitive.choose import clip, where
from tigon.ops.primitive.compare import greater
from tigon.ops.primitive.functions import sqrt
from tigon.ops.record import get
from tigon.ops.tensor.reduce import norm
from tigon.optimizer.update_graph import UpdateGraph
from tigon.runtime import tracing

_REGISTRY: dict[str, type[Optimizer]] = {}

GRAPHS_KEPT = 256
"""Updates one by one make a graph per parameter; beyond this many the oldest is made again."""

States = Sequence[Value]
Updated = tuple[Value, Sequence[Value]]


def register(optimizer_class: type[Optimizer]) -> type[Optimizer]:
    """Make a class known by its lower-case name."""
    _REGISTRY[optimizer_class.__name__.lower()] = optimizer_class
    return optimizer_class


def create(name: str | Optimizer, **fields: Any) -> Optimizer:
    """An optimizer by name.

    >>> create("sgd", momentum=0.9, learning_rate=0.1)
    SGD(learning_rate=0.1, wd=0.0, momentum=0.9)
    >>> create("sdg")
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: optimizer: 'sdg' is not known; choose one of adadelta, adagrad, \
adam, adamax, adamw, ccsgd, dcasgd, ftml, ftrl, lamb, lars, lbsgd, nadam, nag, rmsprop, sgd, sgld, \
signum, test
    """
    if isinstance(name, Optimizer):
        check(not fields, "optimizer", "an optimizer was given; its parameters are its own")
        return name
    found = _REGISTRY.get(str(name).lower())
    known = ", ".join(sorted(_REGISTRY))
    check(found, "optimizer", f"'{name}' is not known; choose one of {known}")
    assert found is not None
    try:
        return found(**fields)
    except TypeError as error:
        raise TigonError(f"{found.__name__}: {error}") from None


def _constant(name: str) -> property:
    """A rate or constant of the rule, as an attribute."""

    def read(self: Optimizer) -> Any:
        return self.constants[name]

    def change(self: Optimizer, value: Any) -> None:
        tracing.changes(f"sets {name} of an optimizer")
        self.constants[name] = value

    return property(read, change)


class Optimizer:
    """Base. A subclass writes `formula` or `update`, and `create_state` if it keeps any.

    `formula(weight, grad, states, lr, wd, *extra)` works on graph values; `grad` comes rescaled and
    clipped. The update of all parameters is one compiled graph of these formulas.

    `update(index, weight, grad, state)` works on arrays, which it overwrites, of one parameter at a
    time (or on lists, if `aggregate_num` says of how many); rescaling, clipping and counting are
    its own: `self.rescale_grad`, `self.clip_gradient`, `self._update_count(index)`,
    `self._get_lr(index)`, `self._get_wd(index)`.
    """

    defaults: Mapping[str, float] = {}
    """Rates and constants of the rule with MXNet's defaults: keyword arguments of the class."""
    learning_rate_default = 0.01
    aggregate_num = 0
    """How many parameters an `update` of a subclass takes at once, as lists; 0: one, as it is."""
    _is_ours = True
    __signature__ = whole_signature("defaults")

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls._is_ours = cls.__module__.startswith("tigon.")
        if cls._is_ours:  # `optimizer.momentum = 0.5` holds from the next step on
            for name in cls.__dict__.get("defaults", ()):
                setattr(cls, name, _constant(name))

    def __init__(
        self,
        rescale_grad: float = 1.0,
        param_idx2name: Mapping[int, str] | None = None,
        wd: float = 0.0,
        clip_gradient: float | None = None,
        learning_rate: float | None = None,
        lr_scheduler: LRScheduler | None = None,
        sym: Any = None,
        begin_num_update: int = 0,
        multi_precision: bool = False,
        param_dict: Mapping[int, Any] | None = None,
        **constants: Any,
    ) -> None:
        # multi_precision keeps float32 masters of half-precision weights, which there are none of.
        self.multi_precision = multi_precision
        self.rescale_grad = rescale_grad
        self.wd = wd
        self.clip_gradient = clip_gradient
        self.lr_scheduler = lr_scheduler
        self.lr = self.learning_rate_default if learning_rate is None else learning_rate
        if lr_scheduler is not None and learning_rate is not None:
            lr_scheduler.base_lr = learning_rate
            lr_scheduler.warmup_final_lr = learning_rate
        self.begin_num_update = begin_num_update
        self.num_update = begin_num_update
        self._counts: dict[Any, int] = {}
        self.idx2name = dict(param_idx2name or {})
        self.param_dict = dict(param_dict or {})
        self._hints = _multipliers(sym)
        self.lr_mult: dict[Any, float] = {}
        self.wd_mult: dict[Any, float] = {}
        self.set_lr_mult({})
        self.set_wd_mult({})
        self._graphs: list[tuple[Any, UpdateGraph]] = []
        for name in constants:
            known = ", ".join(self.defaults) or "none of its own"
            check(
                name in self.defaults,
                type(self).__name__,
                f"has no parameter '{name}'; it knows {known}, learning_rate, wd, rescale_grad, "
                "clip_gradient, lr_scheduler",
            )
        self.constants: dict[str, Any] = {**self.defaults, **constants}

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle takes over. Its graphs are its own."""
        return {**self.__dict__, "_graphs": []}

    opt_registry = _REGISTRY
    register = staticmethod(register)
    create_optimizer = staticmethod(create)

    def __repr__(self) -> str:
        shown = {"learning_rate": self.lr, "wd": self.wd, **self.constants}
        fields = ", ".join(f"{name}={value}" for name, value in shown.items())
        return f"{type(self).__name__}({fields})"

    # -- rates

    @property
    def learning_rate(self) -> float:
        """The present rate, by the scheduler if there is one."""
        if self.lr_scheduler is not None:
            return self.lr_scheduler(self.num_update)
        return self.lr

    def set_learning_rate(self, lr: float) -> None:
        """Change the rate from now on."""
        tracing.changes("sets a learning rate")
        check(
            self.lr_scheduler is None,
            type(self).__name__,
            "has a lr_scheduler, which decides the rate; change the scheduler instead",
        )
        self.lr = lr

    def set_lr_mult(self, args_lr_mult: Mapping[Any, float]) -> None:
        """Factors on the rate, by parameter name or index."""
        tracing.changes("sets factors on learning rates")
        self.lr_mult = {**self._hints["__lr_mult__"], **args_lr_mult}

    def set_wd_mult(self, args_wd_mult: Mapping[Any, float]) -> None:
        """Factors on the weight decay, by parameter name or index. Of those that
        `param_idx2name` names, only `_weight` and `_gamma` have a decay unless it is given."""
        tracing.changes("sets factors on weight decays")
        plain = {
            name: 0.0 for name in self.idx2name.values() if not name.endswith(("_weight", "_gamma"))
        }
        self.wd_mult = {**plain, **self._hints["__wd_mult__"], **args_wd_mult}

    def _multipliers(self, index: Any) -> tuple[float, float]:
        """Factors on rate and decay: a Parameter brings its own."""
        param = self.param_dict.get(index)
        if param is not None:
            return param.lr_mult, param.wd_mult
        name = self.idx2name.get(index)
        return (
            self.lr_mult.get(index, self.lr_mult.get(name, 1.0)),
            self.wd_mult.get(index, self.wd_mult.get(name, 1.0)),
        )

    def _rates(self, indices: Sequence[Any], learning_rate: float) -> list[float]:
        """What the formulas take after the states: rate, decay, and whatever depends on time."""
        rates: list[float] = []
        known: dict[
            tuple[int, tuple[float, float]], tuple[float, ...]
        ] = {}  # most parameters share theirs
        for index in indices:
            count = self._counts[index]
            param = self.param_dict.get(index)
            multipliers = (
                self._multipliers(index) if param is None else (param.lr_mult, param.wd_mult)
            )
            key = (count, multipliers)
            found = known.get(key)
            if found is None:
                lr_mult, wd_mult = multipliers
                found = self.schedule(learning_rate * lr_mult, self.wd * wd_mult, count)
                found = known[key] = (*found, self.rescale_grad)
            rates += found
        return rates

    def schedule(self, lr: float, wd: float, count: int) -> tuple[float, ...]:
        """Rates of update number `count` of a parameter: (lr, wd, ...)."""
        return (lr, wd)

    # -- the rule

    def create_state(self, index: Any, weight: Any) -> Any:
        """What is kept per parameter: None, an array, or a tuple of arrays."""
        return None

    def create_state_multi_precision(self, index: Any, weight: Any) -> Any:
        """The same: there are no masters of half-precision weights."""
        return self.create_state(index, weight)

    def formula(
        self, weight: Value, grad: Value, states: States, lr: Value, wd: Value, *extra: Value
    ) -> Updated:
        """New weight and states, from a gradient that is rescaled and clipped."""
        raise NotImplementedError(f"{type(self).__name__}: define formula, or update")

    decay_before_clipping = False
    """Whether `wd * weight` is added to the gradient before it is clipped."""

    def full_formula(self, weight: Value, grad: Value, states: States, *rates: Value) -> Updated:
        """The same from the plain gradient; the last rate is `rescale_grad`."""
        lr, wd, *extra, rescale = rates
        grad = grad * rescale
        if self.decay_before_clipping:
            grad = grad + wd * weight
        if self._clip >= 0:
            grad = clip(grad, a_min=-self._clip, a_max=self._clip)
        return self.formula(weight, grad, states, lr, wd, *extra)

    @property
    def _clip(self) -> float:
        return self.clip_gradient or -1.0  # 0 is off, as None is

    # -- running

    def update(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        """Update one parameter, or lists of them, in one native call."""
        self._update(index, weight, grad, state, ())

    def update_all(self, index: Any, weight: Any, grad: Any, state: Any, copies: Any) -> None:
        """Update weights by the sums of gradients, which come context after context, and `copies`
        of the weights, of each further context a list, in one native call."""
        self._update(index, weight, grad, state, copies)

    def _update(self, index: Any, weight: Any, grad: Any, state: Any, copies: Any) -> None:
        if not isinstance(index, (list, tuple)):
            index, weight, grad, state = [index], [weight], [grad], [state]
        if index and not type(weight[0]) is type(grad[0]) is NDArray:  # symbols, of a trace
            weight, grad, state = tracing.needs_arrays(
                "updates weights by an optimizer", (weight, grad, state)
            )
        rates = self.advance(index)
        states = [as_list(one) for one in state]
        flat = [array for own in states for array in own]
        settings = self.settings
        for known, graph in self._graphs:
            if known == settings and graph.fits(weight, flat, copies):
                break
        else:
            each = len(rates) // len(index)
            graph = UpdateGraph(self.full_formula, weight, states, each, copies)
            self._graphs = [(settings, graph), *self._graphs[: GRAPHS_KEPT - 1]]
        graph.step(grad, rates)

    def update_multi_precision(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        """The same as `update`: there are no masters of half-precision weights."""
        self.update(index, weight, grad, state)

    # -- for an `update` of a subclass

    @property
    def _index_update_count(self) -> dict[Any, int]:
        return self._counts

    def _update_count(self, index: Any) -> None:
        """Count an update of one parameter, or of several."""
        counts, begin = self._counts, self.begin_num_update
        for one in index if isinstance(index, (list, tuple)) else [index]:
            count = counts[one] = counts.get(one, begin) + 1
            if count > self.num_update:
                self.num_update = count

    def _get_lr(self, index: Any) -> float:
        """The present rate of one parameter."""
        return self.learning_rate * self._multipliers(index)[0]

    def _get_lrs(self, indices: Sequence[Any]) -> list[float]:
        return [self._get_lr(index) for index in indices]

    def _get_wd(self, index: Any) -> float:
        """The weight decay of one parameter."""
        return self.wd * self._multipliers(index)[1]

    def _get_wds(self, indices: Sequence[Any]) -> list[float]:
        return [self._get_wd(index) for index in indices]

    # -- running

    def advance(self, indices: Sequence[Any]) -> list[float]:
        """Count an update of these parameters; gives its rates, one after another."""
        self._update_count(indices)
        return self._rates(indices, self.learning_rate)

    def withdraw(self, indices: Sequence[Any], num_update: int) -> None:
        """Undo `advance` for an update that failed; `num_update` is what it was before."""
        for index in indices:
            self._counts[index] -= 1
        self.num_update = num_update

    @property
    def updates_by_formula(self) -> bool:
        """Whether no subclass has written an `update` of its own."""
        return type(self).update is Optimizer.update

    @property
    def settings(self) -> tuple[Any, ...]:
        """What the formula reads besides its operands; it is compiled anew when they change. Of a
        subclass outside of this package that is also the formula itself, and what the subclass
        keeps in attributes: numbers, texts, and containers or objects of these."""
        known = (self.clip_gradient, *self.constants.values())
        if self._is_ours:
            return known
        own = {name: _plain(held) for name, held in vars(self).items() if name not in _BASE}
        return (*known, type(self).formula, tuple(own.items()))


def _plain(held: Any, depth: int = 3) -> Any:
    """A value that can be compared, of what an attribute holds; of arrays, which one it is."""
    if isinstance(held, (int, float, str, bytes, bool, type(None))):
        return type(held), held, str(held)  # 0.0 is not -0.0, nor 1 True
    if depth and isinstance(held, (list, tuple)):
        return type(held), tuple(_plain(item, depth - 1) for item in held)
    if depth and isinstance(held, dict):
        return dict, tuple((key, _plain(item, depth - 1)) for key, item in held.items())
    own = getattr(held, "__dict__", None)
    if depth and isinstance(own, dict) and not isinstance(held, type):
        return id(held), _plain(own, depth - 1)
    return id(held)


def _multipliers(sym: Any) -> dict[str, dict[str, float]]:
    """Factors that a symbol's variables carry, by hint and name."""
    found: dict[str, dict[str, float]] = {"__lr_mult__": {}, "__wd_mult__": {}}
    attributes = {} if sym is None else sym.attr_dict()
    for name in [] if sym is None else sym.list_arguments():
        for hint, named in found.items():
            if hint in attributes.get(name, {}):
                named[name] = _multiplier(name, hint, attributes[name][hint])
    return found


def _multiplier(variable: str, hint: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise TigonError(
            f"optimizer: {hint} of variable '{variable}' expects a number; given {text!r:.80}"
        ) from None


_BASE = frozenset(vars(Optimizer()))


def as_list(state: Any) -> list[Any]:
    """A state as a list of arrays."""
    if state is None:
        return []
    return list(state) if isinstance(state, (list, tuple)) else [state]


def _zeros_like(weight: Any) -> Any:
    from tigon import nd

    return nd.zeros(weight.shape, ctx=weight.context, dtype=weight.dtype)


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
        states = tuple(_zeros_like(weight) for _ in range(self.state_count))
        return states[0] if len(states) == 1 else states or None


@register
class SGD(_ByRecord):
    """Stochastic gradient descent, with momentum and weight decay.

    `m = momentum * m - lr * (grad + wd * w)`, `w = w + m`.
    """

    defaults = {"momentum": 0.0}  # noqa: RUF012

    def __init__(self, learning_rate: float | None = None, lazy_update: bool = True, **fields: Any):
        super().__init__(learning_rate=learning_rate, **fields)

    def create_state(self, index: Any, weight: Any) -> Any:
        return _zeros_like(weight) if self.constants["momentum"] else None

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        if not states:
            return "_sgd_update", {}
        return "_sgd_mom_update", {"momentum": self.constants["momentum"]}


@register
class NAG(SGD):
    """Nesterov's accelerated gradient."""

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        if not states:
            return "_sgd_update", {}
        return "_nag_mom_update", {"momentum": self.constants["momentum"]}


@register
class Adam(_ByRecord, _Stateful):
    """Adam, with the bias corrections folded into the rate."""

    defaults = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}  # noqa: RUF012
    learning_rate_default = 0.001
    state_count = 2

    def __init__(self, learning_rate: float | None = None, lazy_update: bool = True, **fields: Any):
        super().__init__(learning_rate=learning_rate, **fields)

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

    defaults = {"eps": 1e-7}  # noqa: RUF012

    def formula(
        self, weight: Value, grad: Value, states: States, lr: Value, wd: Value, *extra: Value
    ) -> Updated:
        history = states[0] + square(grad)
        step = grad / sqrt(history + self.constants["eps"]) + wd * weight
        return weight - lr * step, (history,)


@register
class RMSProp(_ByRecord):
    """Rates divided by a running root mean square; `centered` subtracts the mean."""

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
        return tuple(_zeros_like(weight) for _ in range(count))

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        attributes = {name: self.constants[name] for name in ("gamma1", "epsilon")}
        attributes["clip_weights"] = self.constants["clip_weights"] or -1.0
        if not self.constants["centered"]:
            return "_rmsprop_update", attributes
        return "_rmspropalex_update", {**attributes, "gamma2": self.constants["gamma2"]}


@register
class AdaDelta(_ByRecord, _Stateful):
    """Steps scaled by the running size of earlier steps; the rate is not used."""

    defaults = {"rho": 0.90, "epsilon": 1e-5}  # noqa: RUF012
    state_count = 2

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        return "_adadelta_update", dict(self.constants)


@register
class Ftrl(_ByRecord, _Stateful):
    """Follow the regularized leader: sparse weights by an L1 term."""

    defaults = {"lamda1": 0.01, "beta": 1.0}  # noqa: RUF012
    learning_rate_default = 0.1
    state_count = 2

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        return "_ftrl_update", dict(self.constants)


@register
class Signum(SGD):
    """Steps by the sign of the momentum."""

    defaults = {"momentum": 0.9, "wd_lh": 0.0}  # noqa: RUF012

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        return ("_signum_update", dict(self.constants)) if states else ("_signsgd_update", {})


@register
class Adamax(_Stateful):
    """Adam with the largest gradient instead of the root mean square."""

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

    defaults = {"beta1": 0.6, "beta2": 0.999, "epsilon": 1e-8}  # noqa: RUF012
    state_count = 3

    def schedule(self, lr: float, wd: float, count: int) -> tuple[float, ...]:
        return (lr, wd, float(count))

    def record(self, states: States) -> tuple[str, dict[str, Any]]:
        return "_ftml_update", dict(self.constants)


@register
class LAMB(_Stateful):
    """Adam with a rate per layer: the ratio of the norms of weight and step."""

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
class LARS(SGD):
    """SGD with a rate per layer: the ratio of the norms of weight and gradient."""

    defaults = {"momentum": 0.0, "eta": 0.001, "epsilon": 1e-8}  # noqa: RUF012

    def full_formula(self, weight: Value, grad: Value, states: States, *rates: Value) -> Updated:
        lr, wd, rescale = rates
        size = norm(weight)
        steepness = norm(grad) * absolute(rescale) + wd * size + self.constants["epsilon"]
        ratio = where(
            greater(size, 0.0), size * self.constants["eta"] / steepness, size * 0.0 + 1.0
        )
        return super().full_formula(weight, grad, states, lr * ratio, wd, rescale)


@register
class DCASGD(Optimizer):
    """SGD that corrects for stale gradients with the weight of the previous update."""

    defaults = {"momentum": 0.0, "lamda": 0.04}  # noqa: RUF012

    def create_state(self, index: Any, weight: Any) -> Any:
        return (_zeros_like(weight), weight.copy())

    def formula(
        self, weight: Value, grad: Value, states: States, lr: Value, wd: Value, *extra: Value
    ) -> Updated:
        momentum, previous = states
        correction = square(grad) * (weight - previous) * self.constants["lamda"]
        step = lr * (grad + wd * weight + correction)
        new = momentum * self.constants["momentum"] - step
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
