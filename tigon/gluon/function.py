"""`jit`: a function of arrays as a compiled graph."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from itertools import zip_longest
from types import MethodType
from typing import Any

from tigon import _native
from tigon._native import ShortCall, Shortcuts
from tigon.base import TigonError, check, nested
from tigon.base.errors import hide_inner_frames
from tigon.gluon import trace as tracing
from tigon.gluon.arguments import packed, unpacked
from tigon.gluon.graphs import DonatingEntry, Entry, GraphCache
from tigon.gluon.native import Exports
from tigon.gluon.structure import arrays_in
from tigon.gluon.symbolic import holds_symbol
from tigon.gluon.trace import Static
from tigon.nd import NDArray
from tigon.sym.symbol import Symbol

_HOLD_NOTHING = frozenset((NDArray, Static, int, float, bool, str, type(None)))


def jit(
    function: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    donate_argnums: int | Sequence[int] = (),
    donate_argnames: str | Sequence[str] = (),
) -> Any:
    """Compile a function of arrays: its Python code runs once per kind of call, on symbols.

    Arguments and results are arrays in any nest of lists, tuples and dictionaries. A call is one
    native call; under `autograd.record()` it is recorded as one operation, with its gradient
    compiled too. The code is traced again when a shape, a dtype, the structure of the arguments,
    train or predict mode, or a Python value that it reads has changed: numbers and other values
    among the arguments, globals, closure variables, attributes of blocks. So a number that takes
    many values is better passed as an array.

    Arguments named by `static_argnums` or `static_argnames` must be hashable and are compared by
    type and `==` (numbers by their bits: 0.0 is not -0.0); whatever else is no array is compared by
    content, or by identity.

    Arguments named by `donate_argnums` or `donate_argnames` are given up: the memory of their
    arrays may hold results, and to use such an array afterwards is an error. They must hold at
    least one NDArray; a number in them is a number. While a block or another function is traced, a
    call becomes a part of it, and nothing is given up.

    Where the code does what a graph cannot hold, such as deciding by the value of an array, calls
    of that kind run it as it is, and a warning says why.

    >>> import tigon
    >>> from tigon import autograd, nd
    >>> @tigon.jit
    ... def scaled(x, options):
    ...     return {"sum": x.sum(), "scaled": [x * options["by"]]}
    >>> x = nd.array([1, 2])
    >>> x.attach_grad()
    >>> with autograd.record():
    ...     result = scaled(x, {"by": 3})
    >>> result["scaled"][0].backward()
    >>> x.grad.asnumpy().tolist()
    [3.0, 3.0]
    >>> @tigon.jit(static_argnames="mode")
    ... def apply(x, mode="double"):
    ...     return x * 2 if mode == "double" else x / 2
    >>> apply(x, mode="halve").asnumpy().tolist()
    [0.5, 1.0]
    >>> @tigon.jit(donate_argnums=0)
    ... def decay(state, rate):
    ...     return {"mean": state["mean"] * rate}
    >>> state = {"mean": nd.array([2, 4])}
    >>> old = state["mean"]
    >>> state = decay(state, nd.array([0.5]))
    >>> state["mean"].asnumpy().tolist(), old.donated
    ([1.0, 2.0], True)
    """
    if function is None:
        return functools.partial(
            jit,
            static_argnums=static_argnums,
            static_argnames=static_argnames,
            donate_argnums=donate_argnums,
            donate_argnames=donate_argnames,
        )
    check(
        callable(function),
        "jit",
        f"expected a function; given {type(function).__name__}; "
        "settings are passed by name: jit(static_argnums=...)",
    )
    return CompiledFunction(
        function, static_argnums, static_argnames, donate_argnums, donate_argnames
    )


def _signature_of(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except ValueError:  # of some types and functions in C nothing is known
        kinds = inspect.Parameter
        return inspect.Signature(
            [kinds("args", kinds.VAR_POSITIONAL), kinds("keywords", kinds.VAR_KEYWORD)]
        )


class CompiledFunction(ShortCall, Exports):
    """What `jit` makes of a function."""

    def __init__(
        self,
        function: Callable[..., Any],
        static_argnums: int | Sequence[int] = (),
        static_argnames: str | Sequence[str] = (),
        donate_argnums: int | Sequence[int] = (),
        donate_argnames: str | Sequence[str] = (),
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        self._signature = _signature_of(function)
        shown = f"{self.name}{self._signature}"
        self._static = _declared("static", shown, self._signature, static_argnums, static_argnames)
        self._donated = _declared("donate", shown, self._signature, donate_argnums, donate_argnames)
        for name in self._donated:
            check(
                name not in self._static,
                "jit",
                f"'{name}' of {shown} is declared static and donated; only arrays can be donated",
            )
        kinds = {p.name: p.kind for p in self._signature.parameters.values()}
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self._order = [name for name, kind in kinds.items() if kind in positional]
        self._named = {
            name for name, kind in kinds.items() if kind is not inspect.Parameter.VAR_KEYWORD
        }
        self._unnamed = {name for name, kind in kinds.items() if kind is positional[0]}
        self._static_positions = [
            self._order.index(name) for name in self._static if name in self._order
        ]
        self._cached_graphs = GraphCache(self, DonatingEntry if self._donated else Entry)
        self._cached_shortcuts = Shortcuts()

    def _long_call(self, /, *args: Any, **keywords: Any) -> Any:
        """A call that no shortcut serves."""
        trace = tracing.current()
        if trace is not None and not trace.eager:
            trace.function(self.function)
            return self.function(*args, **keywords)
        if trace is not None:
            args, keywords = trace.concrete((args, keywords))
        if keywords or self._static:
            args = self._arranged(args, keywords)
        for arg in args:
            if type(arg) not in _HOLD_NOTHING and holds_symbol(arg):
                return self._traced(*args)
        return self._cached_graphs(args, self._cached_shortcuts)

    def _hide_frames(self, error: Exception) -> None:
        hide_inner_frames(error)

    def _name_in(self, error: Exception) -> None:
        """An error of a shortcut happened in no block."""

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        binds = hasattr(type(self.function), "__get__")
        return MethodType(self, owner) if owner is not None and binds else self

    def __copy__(self) -> CompiledFunction:
        return self

    def __deepcopy__(self, memo: Any) -> CompiledFunction:
        """Itself, as functions are copied."""
        return self

    def __reduce__(self) -> str:
        """Pickled by name, as functions are."""
        return str(self.__qualname__)

    def __repr__(self) -> str:
        return f"jit({self.name}{self._signature})"

    def _arranged(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, ...]:
        """By position what can be, the rest by name, in one order, so that a call means the same
        however it is written. Whether it fits is found out when the function is called."""
        listed = list(args)
        if keywords:
            for name in self._order[len(listed) :]:
                if name not in keywords or name in self._unnamed:
                    break
                listed.append(keywords.pop(name))
        for position in self._static_positions:
            if position < len(listed):
                listed[position] = self._static_value(self._order[position], listed[position])
        if not keywords:
            return tuple(listed)
        for name in self._static:
            if name in keywords:
                keywords[name] = self._static_value(name, keywords[name])
        # In alphabetical order, except for those that the code may go through.
        named = [name for name in sorted(keywords) if name in self._named]
        return packed(listed, {name: keywords[name] for name in (*named, *keywords)})

    def _static_value(self, name: str, value: Any) -> Static:
        if isinstance(value, (NDArray, Symbol)):
            raise TigonError(
                f"{self.name}: static argument '{name}' is an array; arrays are traced: "
                "do not declare it static"
            )
        try:
            hash(value)
        except TypeError:
            raise TigonError(
                f"{self.name}: static argument '{name}' must be hashable; given "
                f"{type(value).__name__}; use a tuple, or a frozen dataclass"
            ) from None
        return Static(value)

    def donated_leaves(self, args: tuple[Any, ...]) -> list[int]:
        """The numbers, among all arrays of a call, of those that are given up."""
        args, keywords = unpacked(args)
        named = [*zip_longest(self._order[: len(args)], args), *keywords.items()]
        found: list[int] = []
        count = 0
        for name, part in named:
            arrays = arrays_in(part)
            if name in self._donated:
                check(
                    bool(arrays),
                    self.name,
                    f"donated argument '{name}': only NDArrays can be donated; given "
                    f"{type(part).__name__}; convert it with nd.array, or do not donate it",
                )
                found += range(count, count + len(arrays))
            count += len(arrays)
        return found

    def _traced(self, *args: Any) -> Any:
        """The Python code of one call, on symbols."""
        trace = tracing.current()
        if trace is not None:
            trace.function(self.function)
        args, keywords = unpacked(args)
        return self.function(
            *[_plain(arg) for arg in args], **{name: _plain(arg) for name, arg in keywords.items()}
        )

    def _imperatively(self, args: tuple[Any, ...]) -> Any:
        """A call of a kind that gave way."""
        return self._gave_way(self._traced(*args), args)

    def _gave_way(self, result: Any, args: tuple[Any, ...]) -> Any:
        """The code has run on the arrays themselves; what was donated is given up all the same."""
        if not self._donated:
            return result
        leaves = arrays_in(args)
        given_up = {id(leaves[number]): leaves[number] for number in self.donated_leaves(args)}

        def handle(array: Any) -> Any:
            return array.reshape(array.shape) if id(array) in given_up else array

        result = _with_arrays(result, handle)
        for array in given_up.values():
            if not array.donated:
                _native.give_up(array)
        return result

    # -- what was compiled

    def explain(self) -> str:
        """What was traced and compiled, and why it was traced again."""
        return self._cached_graphs.explain()

    @property
    def compiled(self) -> list[Any]:
        """One entry per traced graph: `graph`, `cached` (its programs), `reason`."""
        return list(self._cached_graphs.entries)


def _declared(
    what: str,
    shown: str,
    signature: inspect.Signature,
    numbers: int | Sequence[int],
    names: str | Sequence[str],
) -> list[str]:
    """The parameters that were declared static or donated, by position or by name."""
    parameters = list(signature.parameters.values())
    found = []
    for number in [numbers] if isinstance(numbers, int) else numbers:
        check(
            -len(parameters) <= number < len(parameters),
            "jit",
            f"{what}_argnums: {shown} has no argument number {number}",
        )
        found.append(parameters[number].name)
    for name in [names] if isinstance(names, str) else names:
        check(name in signature.parameters, "jit", f"{what}_argnames: {shown} has no '{name}'")
        found.append(name)
    for name in found:
        kind = signature.parameters[name].kind
        check(
            kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD),
            "jit",
            f"{what}: '{name}' of {shown} stands for any number of arguments; name one that has a "
            "place or a name of its own",
        )
    return list(dict.fromkeys(found))


def _with_arrays(item: Any, change: Callable[[Any], Any]) -> Any:
    """The same structure with other arrays."""
    made: list[Any] = []
    for kind, what in nested.steps(item, "jit"):
        if kind == "leaf":
            made.append(change(what) if isinstance(what, NDArray) else what)
        else:
            nested.close(made, kind, what)
    return made[0]


def _plain(arg: Any) -> Any:
    return arg.value if isinstance(arg, Static) else arg
