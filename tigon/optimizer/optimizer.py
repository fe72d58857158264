"""Optimizers: a rule from weight and gradient to new weight, and the rates that go with it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from tigon import nd
from tigon._native import NDArray
from tigon.base import TigonError, as_dtype, check
from tigon.base.arguments import NamesWrongTypes
from tigon.base.lazy import continued_by
from tigon.base.signatures import whole_signature
from tigon.ir import Value
from tigon.lr_scheduler import LRScheduler
from tigon.ops.primitive.choose import clip
from tigon.optimizer import precision
from tigon.optimizer.states import as_list
from tigon.optimizer.update_graph import UpdateGraph
from tigon.runtime import tracing
from tigon.runtime.counters import fall_back
from tigon.runtime.tracing import is_sparse

_REGISTRY: dict[str, type[Optimizer]] = {}

_DENSE = {NDArray}
GRAPHS_KEPT = 256
"""Updates one by one make a graph per parameter; beyond this many the oldest is made again."""

States = Sequence[Value]
Updated = tuple[Value, Sequence[Value]]


def register(klass: type[Optimizer]) -> type[Optimizer]:
    """Make a class known by its lower-case name."""
    _REGISTRY[klass.__name__.lower()] = klass
    return klass


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


def _by_position(kind: type[Optimizer]) -> Callable[..., None]:
    """The `__init__` of a class that has nothing to do but to name its arguments."""
    names = kind.positional.split()

    def __init__(self: Optimizer, *given: Any, **fields: Any) -> None:
        check(
            len(given) <= len(names),
            kind.__name__,
            f"expected at most {len(names)} arguments by position ({', '.join(names)}); "
            f"given {len(given)}; give the others by name",
        )
        for name, value in zip(names, given, strict=False):
            check(name not in fields, kind.__name__, f"'{name}' is given twice")
            fields[name] = value
        lazy = fields.pop("lazy_update", True)
        super(kind, self).__init__(**fields)
        self.lazy_update = bool(lazy)

    parameter = inspect.Parameter
    own = {"lazy_update": True, "learning_rate": None, **kind.defaults}
    place = parameter.POSITIONAL_OR_KEYWORD
    taken = [parameter(name, place, default=own[name]) for name in names]
    ends = parameter("self", place), parameter("fields", parameter.VAR_KEYWORD)
    __init__.__signature__ = inspect.Signature([ends[0], *taken, ends[1]])  # type: ignore
    return __init__


class Optimizer(NamesWrongTypes):
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
    positional = ""
    """The names of the arguments that a class takes by position, in MXNet's order."""
    learning_rate_default = 0.01
    aggregate_num = 0
    """How many parameters an `update` of a subclass takes at once, as lists; 0: one, as it is."""
    master_is_last = False
    """Where `multi_precision` keeps the master copy of a weight: (master, state), or, in some of
    MXNet's classes, (state, master). Files of theirs hold it there."""
    by_rows = False
    """Whether a row-sparse gradient updates its rows alone, unless `lazy_update=False` says
    otherwise: the rule is then element by element. Other rules take it as a dense one."""
    lazy_update = True
    _is_ours = True
    __signature__ = whole_signature("defaults")

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls._is_ours = cls.__module__.startswith("tigon.")
        if cls._is_ours:  # `optimizer.momentum = 0.5` holds from the next step on
            for name in cls.__dict__.get("defaults", ()):
                setattr(cls, name, _constant(name))
            if "positional" in cls.__dict__ and "__init__" not in cls.__dict__:
                cls.__init__ = _by_position(cls)  # type: ignore[method-assign]
        elif "by_rows" not in vars(cls) and not {"formula", "full_formula"}.isdisjoint(vars(cls)):
            cls.by_rows = False  # a rule of a program may look at whole arrays

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
        self._of_rows: dict[Any, Any] = {}
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
        return {**self.__dict__, "_graphs": [], "_of_rows": {}}

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
        known: dict[tuple[Any, ...], tuple[float, ...]] = {}  # most parameters share theirs
        counts, params = self._counts, self.param_dict
        for index in indices:
            param = params.get(index)
            if param is None:
                key = (counts[index], *self._multipliers(index))
            else:
                key = (counts[index], param.lr_mult, param.wd_mult)
            found = known.get(key)
            if found is None:
                count, lr_mult, wd_mult = key
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
        """The same. With `multi_precision`, of a weight of fewer than 32 bits: its copy in float32,
        which is what steps are made on, together with the state of that copy."""
        wide = self._master_dtype(weight)
        if wide is None:
            if precision.wider(weight.dtype) is not None:
                warnings.warn(
                    f"{type(self).__name__}: small steps of a weight of {as_dtype(weight.dtype)} "
                    "are lost in rounding; multi_precision=True keeps a copy in float32",
                    stacklevel=2,
                )
            return self.create_state(index, weight)
        master = weight.astype(wide, copy=True)
        state = self.create_state(index, master)
        return (state, master) if self.master_is_last else (master, state)

    def _master_dtype(self, weight: Any) -> str | None:
        return precision.wider(weight.dtype) if self.multi_precision else None

    def master_place(self, weight: Any, states: Sequence[Any]) -> int | None:
        """Where among the arrays of a state the master copy of its weight is; None without one."""
        wide = self._master_dtype(weight)
        if wide is None:
            return None
        place = len(states) - 1 if self.master_is_last else 0
        found = states[place] if states else None
        check(
            found is not None
            and as_dtype(found.dtype).name == wide
            and tuple(found.shape) == tuple(weight.shape),
            type(self).__name__,
            f"expected, under multi_precision, a state with a copy of the weight in {wide} of "
            f"shape {tuple(weight.shape)}; given "
            + (f"{as_dtype(found.dtype)} of shape {tuple(found.shape)}" if states else "none")
            + "; make states by create_state_multi_precision",
        )
        return place

    def check_states(
        self, index: Any, weight: Any, states: Sequence[Any], place: int | None
    ) -> None:
        """Raise unless the arrays of a state are like their weight, or its master copy, which is at
        `place`. What a subclass of a program keeps may be anything."""
        exact = weight if place is None else states[place]
        for number, state in enumerate(states if self._is_ours else ()):
            if state.shape == exact.shape and state.dtype == exact.dtype:
                continue
            raise TigonError(
                f"{type(self).__name__}: state {number} of parameter {index!r}: expected "
                f"{as_dtype(exact.dtype)} of shape {tuple(exact.shape)} like the weight; given "
                f"{as_dtype(state.dtype)} of shape {tuple(state.shape)}; make states by "
                "create_state_multi_precision"
            )

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
        self._update(index, weight, grad, state, (), masters=False)

    def update_all(self, index: Any, weight: Any, grad: Any, state: Any, copies: Any) -> None:
        """Update weights by the sums of gradients, which come context after context, and `copies`
        of the weights, of each further context a list, in one native call. States are those of
        `create_state_multi_precision`."""
        self._update(index, weight, grad, state, copies, masters=True)

    def _update(
        self, index: Any, weight: Any, grad: Any, state: Any, copies: Any, masters: bool
    ) -> None:
        if not isinstance(index, (list, tuple)):
            index, weight, grad, state = [index], [weight], [grad], [state]
        plain = {*map(type, weight), *map(type, grad)} == _DENSE  # costs each step a moment
        if not plain and any(map(is_sparse, (*weight, *grad))):
            check(
                not copies, type(self).__name__, "expected gradients added up over contexts before"
            )
            index, weight, grad, state = self._update_rows(index, weight, grad, state, masters)
            if not index:
                return
        if index and not type(weight[0]) is type(grad[0]) is NDArray:  # symbols, of a trace
            weight, grad, state = tracing.needs_arrays(
                "updates weights by an optimizer", (weight, grad, state)
            )
        rates = self.advance(index)
        states = [as_list(one) for one in state]
        flat = [array for own in states for array in own]
        settings = masters, self.settings
        for known, graph in self._graphs:
            if known == settings and graph.fits(weight, flat, copies):
                break
        else:
            each = len(rates) // len(index)
            places = [
                self.master_place(w, own) if masters else None
                for w, own in zip(weight, states, strict=True)
            ]
            for one, w, own, place in zip(index, weight, states, places, strict=True):
                self.check_states(one, w, own, place)
            graph = UpdateGraph(self.full_formula, weight, states, each, copies, places)
            self._graphs = [(settings, graph), *self._graphs[: GRAPHS_KEPT - 1]]
        graph.step(grad, rates)

    def _update_rows(
        self, index: Any, weight: Any, grad: Any, state: Any, masters: bool
    ) -> tuple[list[Any], ...]:
        """Update those whose rows alone are updated, one by one. The others come back, dense."""
        rows = import_module("tigon.optimizer.rows")  # few programs come by
        rest: tuple[list[Any], ...] = ([], [], [], [])
        for one in zip(index, map(rows.table_of, weight), grad, state, strict=True):
            if isinstance(one[2], rows.RowSparseNDArray) and self.by_rows and self.lazy_update:
                self._update_rows_of(rows, *one, masters)
                continue
            if not self.by_rows and is_sparse(one[2]):
                fall_back(f"{type(self).__name__} takes row-sparse gradients as dense ones")
            dense = one[2].tostype("default")
            for own, given in zip(rest, (one[0], one[1], dense, one[3]), strict=True):
                own.append(given)
        return rest

    def _update_rows_of(
        self, rows: Any, index: Any, weight: Any, grad: Any, state: Any, masters: bool
    ) -> None:
        rates, states = self.advance([index]), as_list(state)
        place = self.master_place(weight, states) if masters else None
        self.check_states(index, weight, states, place)
        types = tuple((one.dtype_code, one.shape) for one in (weight, *states))
        key = (self.settings, types, place, len(rates))
        found = self._of_rows.get(key)
        if found is None:
            while len(self._of_rows) >= GRAPHS_KEPT:
                self._of_rows.pop(next(iter(self._of_rows)))
            found = rows.UpdateOfRows(self.full_formula, weight, grad, states, len(rates), place)
            self._of_rows[key] = found
        found.step(weight, grad, states, rates)

    def update_multi_precision(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        """The same as `update`, on states of `create_state_multi_precision`: where these hold a
        master copy the step is made on it, and the weight is that, rounded."""
        if type(self).update is Optimizer.update:
            self._update(index, weight, grad, state, (), masters=True)
        elif isinstance(index, (list, tuple)):
            lists = [self._widened(*one) for one in zip(weight, grad, state, strict=True)]
            exact, grads, states = (list(part) for part in zip(*lists, strict=True))
            self.update(index, exact, grads, states)
            for own, wide in zip(weight, exact, strict=True):
                precision.follow(own, wide)
        else:
            exact, grad, state = self._widened(weight, grad, state)
            self.update(index, exact, grad, state)
            precision.follow(weight, exact)

    def _widened(self, weight: Any, grad: Any, state: Any) -> tuple[Any, Any, Any]:
        """Master copy, gradient and state, for an `update` of a subclass."""
        wide = self._master_dtype(weight)
        if wide is None:
            return weight, grad, state
        self.master_place(weight, as_list(state))
        if not isinstance(state, (list, tuple)):
            state = (state, None)  # of a file, which holds arrays only
        state, master = state if self.master_is_last else (state[1], state[0])
        return master, grad.astype(wide), state

    # -- for an `update` of a subclass

    @property
    def _index_update_count(self) -> dict[Any, int]:
        return self._counts

    def _update_count(self, index: Any) -> None:
        """Count an update of one parameter, or of several."""
        counts, begin, most = self._counts, self.begin_num_update, self.num_update
        for one in index if isinstance(index, (list, tuple)) else [index]:
            count = counts[one] = counts.get(one, begin) + 1
            if count > most:
                most = count
        self.num_update = most

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
        known = (self.clip_gradient, self.multi_precision, *self.constants.values())
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


def zeros_like(weight: Any) -> Any:
    """Zeros of the weight's shape and dtype, where the weight is."""
    return nd.zeros(weight.shape, ctx=weight.context, dtype=weight.dtype)


continued_by(globals(), "tigon.optimizer")
