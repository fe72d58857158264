"""`compile(D)`: a symbol as a function of arrays, called by keyword."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import TigonError, as_dtype, check
from tigon.base.dtypes import to_memory
from tigon.base.repeated import repeated
from tigon.program.cached_graph import CachedGraph
from tigon.program.lowered import CompiledGraph
from tigon.runtime.tracing import densified
from tigon.sym.inference import Hint, infer
from tigon.sym.symbol import Group, Symbol

NDArray = _native.NDArray


def as_array(where: str, name: str, given: Any) -> NDArray:
    """An argument as a dense array; numpy arrays keep their dtype."""
    if isinstance(given, NDArray):
        dense: NDArray = densified(given, where)
        return dense
    if isinstance(given, (bool, int, float)):
        given = np.float32(given)
    if isinstance(given, (list, tuple)):
        given = np.asarray(given, np.float32)
    check(
        isinstance(given, (np.ndarray, np.generic)),
        where,
        f"argument '{name}': expected an NDArray, a numpy array or a number; "
        f"given {type(given).__name__}",
    )
    dtype = as_dtype(given.dtype, f"{where}: argument '{name}'")
    return _native.from_numpy(to_memory(given, dtype))


def check_distinct(where: str, symbol: Symbol) -> None:
    """Arrays are given by name, so no two variables may share one."""
    twice = repeated(symbol.list_inputs())
    check(
        not twice,
        where,
        f"two different variables are named '{twice[0] if twice else ''}'; give each a "
        "name of its own, or use one variable twice",
    )


class CompiledFunction:
    """A compiled symbol. Call it with one array per argument, by keyword.

    >>> import numpy as np
    >>> from tigon import sym
    >>> f = compile(sym.var("a") * 2 + 1)
    >>> f(a=np.ones(2)).asnumpy()
    array([3., 3.])
    """

    def __init__(self, symbol: Symbol, several: bool, donate: Iterable[str]) -> None:
        check_distinct("compile", symbol)
        self._symbol = symbol
        self._several = several
        self._graph = CachedGraph(symbol._graph(), name=symbol.name or "compiled")
        self._names = symbol.list_inputs()
        self._donate = self._positions(donate)
        self._latest: CompiledGraph | None = None

    @property
    def arguments(self) -> list[str]:
        """The names to call it with."""
        return list(self._names)

    def _positions(self, donate: Iterable[str]) -> tuple[int, ...]:
        names = [donate] if isinstance(donate, str) else list(donate)
        for name in names:
            check(
                name in self._names,
                "compile",
                f"donate: the symbol has no argument '{name}'; it has: {', '.join(self._names)}",
            )
        return tuple(self._names.index(name) for name in names)

    def __call__(
        self, *positional: Any, donate: Iterable[str] | None = None, **arguments: Any
    ) -> Any:
        """Run it. Arguments named in `donate` are given up: their memory may hold the results."""
        check(
            not positional,
            "compiled function",
            f"expected arguments by name ({', '.join(self._names)}); given one by position",
        )
        arrays = self._arrays(arguments)
        given_up = self._donate if donate is None else self._positions(donate)
        for position in given_up:
            name = self._names[position]
            check(
                isinstance(arguments[name], NDArray),
                "compiled function",
                f"donate: argument '{name}': only NDArrays can be donated; given "
                f"{type(arguments[name]).__name__}",
            )
        self._latest = self._graph.compiled(arrays, _native.is_training(), donated=given_up)
        results = self._graph(arrays, donate=given_up)
        return list(results) if self._several else results[0]

    def _arrays(self, arguments: Mapping[str, Any]) -> list[NDArray]:
        for name in arguments:
            check(
                name in self._names,
                "compiled function",
                f"has no argument '{name}'; it has: {', '.join(self._names) or 'none'}",
            )
        missing = [name for name in self._names if name not in arguments]
        check(
            not missing,
            "compiled function",
            f"argument '{missing[0] if missing else ''}' is not given; it needs: "
            f"{', '.join(self._names)}",
        )
        return [as_array("compiled function", name, arguments[name]) for name in self._names]

    def _compiled(self) -> CompiledGraph:
        """The program last called, or that of the declared shapes."""
        if self._latest is None:
            types = infer(self._symbol._values, {name: Hint() for name in self._names})
            variables = [node.outputs[0] for node in self._symbol._variable_nodes()]
            if not all(value in types for value in variables):
                raise TigonError(
                    "compiled function: its shapes are not known yet; call it once, or declare "
                    "shapes with Variable(name, shape=...)"
                )
            arrays = [_native.empty(types[v].shape, types[v].dtype.code) for v in variables]
            self._latest = self._graph.compiled(arrays, False, donated=self._donate)
        return self._latest

    @property
    def memory_plan(self) -> Any:
        """Bytes in total, temporaries, and where everything lies."""
        return self._compiled().memory_plan

    @property
    def kernels(self) -> tuple[Any, ...]:
        """The native functions that one call runs."""
        return self._compiled().kernels

    def __repr__(self) -> str:
        return f"<compiled {self._symbol!r} of ({', '.join(self._names)})>"


def compile(symbol: Symbol | Sequence[Symbol], donate: Iterable[str] = ()) -> CompiledFunction:
    """A function that computes a symbol, or a list of symbols, from arrays given by name.

    One symbol of one output gives an array, a list gives a list.

    >>> import numpy as np
    >>> from tigon import Variable
    >>> A, B = Variable("A"), Variable("B")
    >>> f = compile(B * A + 1)
    >>> f(A=np.ones(2), B=np.ones(2) * 2).asnumpy()
    array([3., 3.])
    """
    if isinstance(symbol, (list, tuple)):
        return CompiledFunction(Group(symbol), True, donate)
    check(
        isinstance(symbol, Symbol),
        "compile",
        f"expected a Symbol or a list of them; given {type(symbol).__name__}",
    )
    return CompiledFunction(symbol, len(symbol._values) > 1, donate)
