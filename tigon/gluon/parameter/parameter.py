"""Parameters: named arrays that learn."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from tigon import _native, autograd, initializer
from tigon.base import TigonError, as_dtype, check, config
from tigon.base.absent import say_of_methods
from tigon.base.arguments import NamesWrongTypes
from tigon.base.errors import user_line
from tigon.context import Context, check_context, check_contexts, context_of, current_context
from tigon.gluon import _epoch
from tigon.gluon import trace as tracing
from tigon.gluon.parameters_section import describe as _describe
from tigon.runtime import tracing as hooks
from tigon.runtime.tracing import densified

GRAD_REQUESTS = ("write", "add", "null")


class DeferredInitializationError(TigonError):
    """The parameter's shape is not known yet: the first forward pass will tell."""


zeroings = [0]
"""How often a gradient was written by what computes none, as `zero_grad`, whosever it is."""


class Parameter(NamesWrongTypes):
    """A named array that a block learns (or keeps, with `grad_req="null"`).

    A 0 in `shape` is an extent to be inferred at the first forward pass; initialization then waits
    for it.

    >>> weight = Parameter("weight", shape=(2, 3), init="zeros")
    >>> weight.initialize()
    >>> weight.data().shape, weight.grad().shape
    ((2, 3), (2, 3))
    >>> weight
    Parameter weight (shape=(2, 3), dtype=float32)
    """

    _is_gluon_object = True
    _is_plain = True  # `data` is that of this class

    def __init_subclass__(cls) -> None:
        cls._is_plain = cls.data is Parameter.data

    def __init__(
        self,
        name: str,
        grad_req: str = "write",
        shape: int | Sequence[int] | None = None,
        dtype: Any = "float32",
        lr_mult: float = 1.0,
        wd_mult: float = 1.0,
        init: Any = None,
        allow_deferred_init: bool = False,
        differentiable: bool = True,
        stype: str = "default",
        grad_stype: str = "default",
    ) -> None:
        for field, given in (("stype", stype), ("grad_stype", grad_stype)):
            check(
                given in ("default", "row_sparse"),
                f"Parameter '{name}'",
                f"{field}: expected 'default' or 'row_sparse'; given {given!r:.40}",
            )
        self.name = name
        self._stype, self._grad_stype = stype, grad_stype
        self.lr_mult = lr_mult
        self.wd_mult = wd_mult
        self.init = init
        self._shape = None if shape is None else as_shape(shape)
        self._dtype = as_dtype(dtype)
        self._allow_deferred = allow_deferred_init
        self._differentiable = differentiable
        self._arrays: dict[Context, Any] | None = None
        self._only: Any = None  # the array, where there is exactly one context
        # Of gradients that zero_grad was the last to write: the version, and the one before that.
        self._zeroed: dict[int, tuple[int, int]] = {}
        self._deferred: tuple[Any, list[Context], Any, Any] | None = None
        self._variable: Any = None
        self._narrowed = False
        """Whether `contrib.amp` has cast it once for all."""
        self.path = ""  # block path, for messages
        self.auxiliary = grad_req == "null"
        self._grad_req = ""
        self.grad_req = grad_req
        self.split_axis: int | None = None
        """Along which its array is one of as many parts as there are ranks, each of which has its
        own: its gradient is not added up over ranks. None: all ranks have all of it."""

    # -- what it is

    @property
    def shape(self) -> tuple[int, ...] | None:
        return self._shape

    @shape.setter
    def shape(self, given: Sequence[int]) -> None:
        new = as_shape(given)
        if self._shape is None:
            self._shape = new
        elif self._shape != new:
            fits = len(self._shape) == len(new) and all(
                old in (0, extent) for old, extent in zip(self._shape, new, strict=True)
            )
            check(
                fits,
                self._where,
                f"expected shape {self._shape} (0 is to be inferred); given {new}; "
                "build the block for this input, or reshape the input",
            )
            self._shape = new
        _epoch.advance()

    @property
    def dtype(self) -> Any:
        return self._dtype.name

    @dtype.setter
    def dtype(self, given: Any) -> None:
        self.cast(given)

    @property
    def grad_req(self) -> str:
        return self._grad_req

    @grad_req.setter
    def grad_req(self, given: str) -> None:
        check(
            given in GRAD_REQUESTS,
            self._where,
            f"grad_req is one of {', '.join(GRAD_REQUESTS)}; given {given!r}",
        )
        given = given if self._differentiable else "null"
        if given == self._grad_req:
            return
        hooks.changes(f"sets grad_req of {self._where}")
        self._grad_req = given
        _epoch.advance()
        if self._arrays is not None:
            self._attach_grads()

    @property
    def _where(self) -> str:
        path = f" ({self.path})" if self.path else ""
        return f"Parameter '{self.name}'{path}"

    @property
    def is_initialized(self) -> bool:
        """Whether it has an array."""
        return self._arrays is not None

    @property
    def is_shape_known(self) -> bool:
        """Whether every extent is known."""
        return self._shape is not None and 0 not in self._shape

    # -- initialization

    def initialize(
        self,
        init: Any = None,
        ctx: Any = None,
        default_init: Any = None,
        force_reinit: bool = False,
    ) -> None:
        """Make the array, or promise to once the shape is known.

        The random numbers it will use are reserved now, so that the values do not depend on when
        the shape becomes known.
        """
        contexts = check_contexts(self._where, ctx)
        if self._arrays is not None and not force_reinit:
            import warnings

            warnings.warn(
                f"{self._where}: is already initialized; pass force_reinit=True to start over",
                stacklevel=2,
            )
            return
        hooks.changes(f"initializes {self._where}")
        default = initializer.create(default_init if default_init is not None else "uniform")
        key = tracing.reserve_random_key()
        self._deferred = (init, contexts, default, key)
        if self.is_shape_known:
            self._finish_initialization()
            return
        check(
            self._allow_deferred,
            self._where,
            f"its shape {self._shape} is not complete; give every extent, "
            "or allow_deferred_init=True",
        )
        self._arrays = None
        self._only = None
        _epoch.advance()

    def _finish_initialization(self) -> None:
        """Create what `initialize` promised. Needs a complete shape."""
        if self._deferred is None:
            return
        check(
            self.is_shape_known,
            self._where,
            f"its shape {self._shape} is still not known; run one batch through the network",
        )
        init, contexts, default, key = self._deferred
        with tracing.paused(), autograd.pause(), tracing.random_key(key):
            shape, axis = self._shape, self.split_axis
            if axis is not None:  # as a whole one begins, whatever the number of ranks
                whole = [*shape]
                whole[axis] *= config.launched().size
                shape = tuple(whole)
            array = _native.zeros(shape, self._dtype.code)
            chosen = init if init is not None else self.init
            description = initializer.InitDesc(
                self.name, {} if chosen is None else {"__init__": chosen}
            )
            default(description, array)
            if axis is not None:
                begin = self._shape[axis] * config.launched().rank
                end = begin + self._shape[axis]
                array = array.slice_axis(axis=axis, begin=begin, end=end).copy()
            self._deferred = None
            self._set_arrays(array, contexts)

    def _set_arrays(self, array: Any, contexts: list[Context]) -> None:
        self._hold((context, array.as_in_context(context)) for context in contexts)

    def _hold(self, arrays: Iterable[tuple[Context, Any]]) -> None:
        self._arrays = OrderedDict(arrays)
        contexts = list(self._arrays)
        self._only = self._arrays[contexts[0]] if len(contexts) == 1 else None
        self._attach_grads()
        _epoch.advance()

    def _attach_grads(self) -> None:
        assert self._arrays is not None
        self._zeroed.clear()
        for array in self._arrays.values():
            if self._grad_req == "null":
                array.mark_variable(None, "null")
            else:
                array.attach_grad(self._grad_req, self._grad_stype)

    def _load(self, array: Any, ctx: Any = None, cast_dtype: bool = False) -> None:
        """Take over values read from a file; initializes where needed."""
        array = densified(array, None)
        contexts = check_contexts(self._where, ctx)
        held = self._arrays
        check(
            ctx is None or held is None or set(held) == set(contexts),
            self._where,
            f"is on {_shown(held or ())}; to be loaded on {_shown(contexts)} it needs reset_ctx",
        )
        given = tuple(array.shape)
        if self._shape is not None:
            fits = len(self._shape) == len(given) and all(
                old in (0, new) for old, new in zip(self._shape, given, strict=True)
            )
            check(
                fits,
                self._where,
                f"expected shape {self._shape}; the file has {given}; "
                "was it saved by another network?",
            )
        if as_dtype(array.dtype) is not self._dtype:
            check(
                cast_dtype,
                self._where,
                f"expected dtype {self._dtype}; the file has {as_dtype(array.dtype)}; "
                "pass cast_dtype=True or cast the block first",
            )
            array = array.astype(self._dtype.name)
        self._shape = given
        if self._arrays is None:
            if self._deferred and ctx is None:
                contexts = self._deferred[1]
            self._deferred = None
            with tracing.paused(), autograd.pause():
                self._set_arrays(array.copy(), contexts)
        else:
            self.set_data(array)

    # -- use

    def data(self, ctx: Context | None = None) -> Any:
        """The array on a context, by default the only one or that of this thread; while a
        hybridized block is traced, the symbol that stands for it."""
        if ctx is not None:
            ctx = check_context(self._where, ctx)
        trace = tracing.current()
        if trace is not None and not trace.eager:
            if trace.typed:
                if self._arrays is None and self._deferred is None:
                    trace.state_of_parameter(self)
                self._check_initialized()
            return trace.parameter(self)
        only = self._only
        if only is not None and (ctx is None or only.device_index == ctx.index):
            return only
        return self._find(ctx)

    def _for(self, context: Context | None) -> Any:
        """The array that code uses which computes on this context, if on any."""
        only = self._only
        if only is not None and (context is None or only.device_index == context.index):
            return only
        return self._find(context)

    def _state(self) -> list[Any]:
        """Contexts, arrays, gradients and whether there are any: objects to be compared by
        identity."""
        arrays = {} if self._arrays is None else self._arrays
        grads = [array.grad for array in arrays.values()]
        return [*arrays, *arrays.values(), *grads, self._grad_req]

    def _ask(self) -> None:
        """Code that is traced depends on which arrays there are."""
        trace = tracing.current()
        if trace is not None and not trace.eager:
            trace.state_of_parameter(self)

    def list_data(self) -> list[Any]:
        """One array per context."""
        self._ask()
        self._check_initialized()
        assert self._arrays is not None
        return list(self._arrays.values())

    def _whole(self) -> Any:
        """One array for those of all contexts, for files and for other contexts: their mean where
        they differ, as running statistics do."""
        first, *others = self.list_data()
        if not others:
            return first
        with tracing.paused(), autograd.pause():
            values = [array.asnumpy() for array in (first, *others)]
            if all(value.tobytes() == values[0].tobytes() for value in values):
                return first
            mean = np.mean(values, axis=0, dtype=np.float64)
            return _as_array(mean, self._dtype.name).as_in_context(first.context)

    def grad(self, ctx: Context | None = None) -> Any:
        """The gradient that the last `backward` left."""
        if ctx is not None:
            ctx = check_context(self._where, ctx)
        self._ask()
        array = self._only
        if array is None or (ctx is not None and array.device_index != ctx.index):
            array = self._find(ctx)
        check(
            self._grad_req != "null",
            self._where,
            "has no gradient because its grad_req is 'null'; set grad_req to 'write' first",
        )
        return array.grad

    def list_grad(self) -> list[Any]:
        """One gradient per context."""
        return [self.grad(context) for context in self.list_ctx()]

    def list_ctx(self) -> list[Context]:
        """The contexts it lives on, or will live on."""
        self._ask()
        if self._arrays is None and self._deferred is not None:
            return list(self._deferred[1])
        self._check_initialized()
        assert self._arrays is not None
        return list(self._arrays)

    @property
    def stype(self) -> str:
        """How MXNet stores it: 'default' or 'row_sparse'. Here its array is dense either way, and
        `row_sparse_data` gives rows of it."""
        return self._stype

    @property
    def grad_stype(self) -> str:
        """How its gradient is stored: 'default' or 'row_sparse'."""
        return self._grad_stype

    def row_sparse_data(self, row_id: Any) -> Any:
        """The rows of these numbers as a row-sparse array, on the context of `row_id`. An operator
        that it is given to looks into the parameter itself, so that gradients flow there.

        >>> from tigon import nd
        >>> weight = Parameter("weight", shape=(4, 2), init="ones", stype="row_sparse")
        >>> weight.initialize()
        >>> weight.row_sparse_data(nd.array([2, 0, 2])).indices.asnumpy()
        array([0, 2])
        """
        check(
            self._stype == "row_sparse",
            self._where,
            "row_sparse_data: expected a parameter of stype 'row_sparse'; given one of 'default'; "
            "use data(), or make it with stype='row_sparse'",
        )
        rows_of = import_module("tigon.nd.stored").rows_of
        return rows_of(self.data(context_of(row_id)), row_id)

    def list_row_sparse_data(self, row_id: Any) -> list[Any]:
        """The same of each context."""
        return [self.row_sparse_data(row_id.as_in_context(context)) for context in self.list_ctx()]

    def set_data(self, data: Any) -> None:
        """Overwrite the values, on every context."""
        data = hooks.concrete(data, f"it overwrites {self._where} at {user_line()}")
        data = densified(data, None)
        self.shape = data.shape
        if self._arrays is None:
            check(
                self._deferred is not None,
                self._where,
                "is not initialized; call initialize() before set_data()",
            )
            assert self._deferred is not None
            hooks.changes(f"sets the values of {self._where}")
            contexts = self._deferred[1]
            self._deferred = None
            with tracing.paused(), autograd.pause():
                self._set_arrays(_as_array(data, self._dtype.name), contexts)
            return
        hooks.changes(f"sets the values of {self._where}")
        with tracing.paused(), autograd.pause():
            for array in self._arrays.values():
                array[...] = data

    def zero_grad(self) -> None:
        """Set the gradient to zero; needed with `grad_req="add"`."""
        if self._grad_req == "null" or self._arrays is None:
            return
        hooks.changes(f"clears the gradient of {self._where}")
        with tracing.paused(), autograd.pause():
            for array in self._arrays.values():
                grad = array.grad
                with self._computing_nothing(grad):
                    grad[...] = 0

    @contextmanager
    def _computing_nothing(self, *grads: Any) -> Iterator[None]:
        """Gradients of this parameter that are written within are as fresh, or as stale, as they
        were."""
        before = [self._version_before_zeroing(grad) for grad in grads]
        yield
        for grad, version in zip(grads, before, strict=True):
            self._zeroed[id(grad)] = grad.version, version
        zeroings[0] += 1

    def _version_before_zeroing(self, grad: Any) -> int:
        """The gradient's version, not counting what computes nothing, as `zero_grad` does."""
        version: int = grad.version
        after, before = self._zeroed.get(id(grad), (version, version))
        return before if after == version else version

    def reset_ctx(self, ctx: Any) -> None:
        """Move to another context, or to several."""
        hooks.changes(f"moves {self._where}")
        contexts = check_contexts(self._where, ctx)
        if self._arrays is not None:
            with tracing.paused(), autograd.pause():
                self._set_arrays(self._whole().copy(), contexts)
        elif self._deferred is not None:
            init, _, default, key = self._deferred
            self._deferred = (init, contexts, default, key)
        else:
            self._check_initialized()

    def cast(self, dtype: Any) -> None:
        """Change the element type of values and gradient."""
        hooks.changes(f"casts {self._where}")
        self._dtype = as_dtype(dtype)
        self._variable, self._narrowed = None, False
        _epoch.advance()
        if self._arrays is None:
            return
        with tracing.paused(), autograd.pause():
            held = self._arrays.items()
            self._hold([(context, array.astype(self._dtype.name)) for context, array in held])

    def var(self) -> Any:
        """The symbol that stands for it in graphs: a variable of its name."""
        if self._variable is None:
            from tigon import sym

            self._variable = sym.var(
                self.name,
                shape=self._shape,
                dtype=self._dtype.name,
                lr_mult=self.lr_mult,
                wd_mult=self.wd_mult,
            )
        return self._variable

    def _find(self, ctx: Context | None) -> Any:
        self._check_initialized()
        assert self._arrays is not None
        wanted = current_context() if ctx is None else ctx
        found = self._arrays.get(wanted)
        if found is None and len(self._arrays) == 1 and ctx is None:
            return next(iter(self._arrays.values()))
        if found is None:
            raise TigonError(
                f"{self._where}: is not on {wanted} but on {_shown(self._arrays)}; call reset_ctx "
                "or initialize with this ctx"
            )
        return found

    def _check_initialized(self) -> None:
        if self._arrays is None and self._deferred is not None and self.is_shape_known:
            self._finish_initialization()
        if self._arrays is not None:
            return
        if self._deferred is not None:
            raise DeferredInitializationError(
                f"{self._where}: its shape {self._shape} is not known before the first forward "
                "pass; run one batch through the network, or give in_units, in_channels, ..."
            )
        raise TigonError(
            f"{self._where}: is not initialized; call initialize() on the block or on "
            "collect_params() first"
        )

    def __repr__(self) -> str:
        return f"Parameter {self.name} (shape={self._shape}, dtype={self._dtype})"

    # -- it is no array

    __array_ufunc__ = None

    # -- copies

    def __getstate__(self) -> dict[str, Any]:
        """All that a copy or a pickle takes over: arrays with their contexts and gradients."""
        hooks.needs_arrays(f"copies {self._where}")
        arrays = {} if self._arrays is None else self._arrays
        return {
            **self.__dict__,
            "_only": None,
            "_variable": None,
            "_gradients": [array.grad for array in arrays.values()],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        gradients = state.pop("_gradients")
        self.__dict__.update(state)
        _epoch.advance()
        if self._arrays is None:
            return
        for array, gradient in zip(self._arrays.values(), gradients, strict=True):
            array.mark_variable(gradient, self._grad_req)
        self._only = next(iter(self._arrays.values())) if len(self._arrays) == 1 else None

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        state = self.__getstate__()
        made = memo[id(self)] = object.__new__(type(self))
        with tracing.paused(), autograd.pause():  # no part of what is recorded
            made.__setstate__(copy.deepcopy(state, memo))
        return made


say_of_methods(Parameter, "tigon.gluon.Parameter")


def _refuse(name: str) -> None:
    def method(self: Parameter, *_: Any) -> Any:
        raise TypeError(f"{self._where}: is no array; an operand is its array: write .data()")

    method.__name__ = name
    setattr(Parameter, name, method)


class _OfItsArray:
    """What its array has and a parameter does not: `hasattr` says no. (`__getattr__` would make all
    attributes of parameters slower.)"""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, param: Parameter | None, owner: type | None = None) -> Any:
        where = "Parameter" if param is None else param._where
        raise AttributeError(f"{where}: is no array; its array is data(): .data().{self._name}")


for (
    _name
) in "T asnumpy asscalar astype attach_grad backward copy item max mean reshape sum".split():
    setattr(Parameter, _name, _OfItsArray(_name))

for _name in "add sub mul truediv floordiv mod pow matmul".split():
    _refuse(f"__{_name}__")
    _refuse(f"__r{_name}__")
for _name in "neg abs lt le gt ge getitem setitem float int array".split():  # true, as objects are
    _refuse(f"__{_name}__")


class Constant(Parameter):
    """A parameter with fixed values that never learns: its `grad_req` stays 'null', also where that
    of a whole network is set.

    >>> Constant("scale", [1.0, 2.0])
    Constant scale (shape=(2,), dtype=float32)
    """

    def __init__(self, name: str, value: Any) -> None:
        with tracing.paused():
            self.value = value if hasattr(value, "asnumpy") else _as_array(value, None)
        super().__init__(
            name,
            grad_req="null",
            shape=self.value.shape,
            dtype=self.value.dtype,
            init=initializer.Constant(self.value),
            differentiable=False,
        )

    def has(self, value: Any) -> bool:
        """Whether these are its values."""
        own, given = (
            one.asnumpy() if hasattr(one, "asnumpy") else one for one in (self.value, value)
        )
        return np.array_equal(own, given)

    def __repr__(self) -> str:
        return f"Constant {self.name} (shape={self.shape}, dtype={self.dtype})"


def _shown(contexts: Iterable[Context]) -> str:
    return ", ".join(map(str, contexts))


def as_shape(given: int | Sequence[int]) -> tuple[int, ...]:
    return (given,) if isinstance(given, int) else tuple(int(extent) for extent in given)


def _as_array(value: Any, dtype: str | None) -> Any:
    from tigon import nd

    return nd.array(value) if dtype is None else nd.array(value, dtype=dtype)


_describe(
    Parameter,
    Constant,
    name="its name, by which files and optimizers know it",
    value="the numbers, or an array of them",
    grad_req="'write', 'add' (gradients are summed until zero_grad), or 'null' (it has none)",
    shape="its extents, of which 0 are still to be inferred; None: not even their number is known",
    dtype="the element type",
    lr_mult="a factor on the learning rate",
    wd_mult="a factor on the weight decay",
    init="how it begins, an initializer or its name; None: as `initialize` says",
    allow_deferred_init="whether `initialize` may wait for a shape that is not known",
    differentiable="False: it has no gradient, whatever `grad_req` says",
    stype="'row_sparse': `row_sparse_data` gives rows of it; its own array is dense anyway",
    grad_stype="'row_sparse': its gradient holds the rows alone that backward has computed",
)
