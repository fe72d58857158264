"""Values within reach of a trace: how each kind is looked into, and what of it is compared."""

from __future__ import annotations

import array
import contextvars
import enum
import functools
import gc
import operator
import os
import random
import sys
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodType,
    MethodWrapperType,
)
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import TigonError
from tigon.gluon.trace import classes, surroundings, watch
from tigon.gluon.trace.guards import MISSING, Reach
from tigon.gluon.trace.records import TAKE_ALL, Records
from tigon.sym.symbol import Symbol

CONTAINER_LIMIT = 1000
"""Elements of a container that are compared at every call."""

ARRAY_LIMIT = 4096
"""Bytes of a numpy array that are compared at every call."""

ELEMENTS_LIMIT, BYTES_LIMIT = 10_000, 65_536
"""The same of all containers and arrays together."""

ATOMS = (
    int,
    float,
    bool,
    complex,
    str,
    bytes,
    type(None),
    type(...),
    np.generic,
    np.dtype,
    range,
    CodeType,
    BuiltinFunctionType,
    Symbol,
    _native.NDArray,
)
"""Values without an inside: they change only by assigning others. Of an array it matters which one
it is; what it holds is an operand."""

_WEAK_CONTAINERS = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)

OF_ARRAYS = ("grad", "grad_req")

_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))

_GENERATORS = (
    random.Random,
    np.random.Generator,
    np.random.RandomState,
    np.random.BitGenerator,
)

_LINK = "_lru_list_elem"

_CachedFunction = type(functools.lru_cache(lambda: None))


class Values:
    """All that is within reach. `read_code(code, globals)` is called for code that does not run in
    the trace."""

    def __init__(
        self,
        reach: Reach,
        records: Records,
        read_code: Callable[[CodeType, dict[str, Any]], Any],
    ) -> None:
        self._reach = reach
        self._records = records
        self._read_code = read_code
        self.reached: dict[int, Any] = {}
        """By `id`."""
        self.cells: list[CellType] = []
        self._arrays: list[Any] = []
        self._formats: set[str] = set()
        self._caches: list[Any] = []
        self._generators: list[tuple[Callable[[], Any], Any]] = []
        self._bytes_compared = self._elements = 0

    def read_arrays(self) -> None:
        """More names are read of arrays than before."""
        for held in self._arrays:
            self._read_array(held)

    def drew(self) -> bool:
        """Whether a generator of random numbers within reach has moved."""
        return any(not _equal_states(state(), before) for state, before in self._generators)

    def look_into_caches(self) -> None:
        """What functions remember by now."""
        for cached in self._caches:
            self._reach_remembered(cached)

    def finish(self) -> None:
        """What functions remember is read without running their code; as it is after the trace."""
        for cached in self._caches:
            misses = cached.cache_info().misses
            self._reach.lasting.add(
                f"what {cached.__name__} remembers",
                "check",
                lambda cached=cached, misses=misses: cached.cache_info().misses == misses,
            )

    def settle(self) -> None:
        while self._reach.pending:
            value = self._reach.pending.pop()
            try:
                self._settle_one(value)
            except TigonError:  # a strict block
                raise
            except Exception as error:  # of a class of the user's that answers everything itself
                kind = type(value).__name__
                self._reach.give_way(f"it reads a {kind} that cannot be looked into ({error!r})")

    def _settle_one(self, value: Any) -> None:
        if type(value) in weakref.ProxyTypes:
            self._weak(value, "a weak proxy")
            return
        if id(value) in TAKE_ALL:
            self._records.take_everything()
        self._reach.surroundings(value)
        if isinstance(value, (BuiltinFunctionType, MethodWrapperType)):
            if type(value.__self__) is str and value.__name__ in ("format", "format_map"):
                self._records.read_more([value.__name__])
            value = value.__self__  # of `random.random`, say: the generator behind it
        if id(value) in self.reached:
            return
        if type(value) is _native.NDArray:
            self.reached[id(value)] = value
            self._arrays.append(value)
            self._read_array(value)
            return
        if type(value) is str and "{" in value and value not in self._formats:
            self._formats.add(value)
            self.names_of_formats()
            return
        if isinstance(value, ATOMS) and not isinstance(value, np.void):
            if not classes.is_users(type(value)):
                return
        self.reached[id(value)] = value
        self._look_into(value)

    def _read_array(self, held: Any) -> None:
        """What `attach_grad` changes of an array that the code holds."""
        for name in OF_ARRAYS:
            if name in self._reach.names and self._reach.is_new(held, name):
                self._reach.lasting.add(f"{name} of an array", "attribute", held, name)

    def names_of_formats(self) -> None:
        """Fields of texts within reach, where they may be formatted."""
        self._records.read_more(watch.names_in_formats(self._formats, self._reach.names))

    def _look_into(self, value: Any) -> None:
        if isinstance(value, (FunctionType, MethodType, functools.partial)):
            self._function(value)
        elif isinstance(value, (staticmethod, classmethod)):
            self._reach.add(value.__func__)
        elif isinstance(value, property):
            for part in (value.fget, value.fset):
                self._reach.add(part)
        elif isinstance(value, (np.ndarray, np.void)):
            self._array(value)
            if classes.is_users(type(value)):
                self._records.add(value)
        elif isinstance(value, slice):
            for part in (value.start, value.stop, value.step):
                self._reach.add(part)
        elif isinstance(value, (bytearray, array.array, memoryview)):
            self._bytes(value)
        elif isinstance(value, (tuple, list, dict, set, frozenset, deque, MappingProxyType)):
            self._container(value)
        else:
            self._look_into_object(value)

    def _look_into_object(self, value: Any) -> None:
        for types, look in _INSIDES:
            if isinstance(value, types):
                look(self, value)
                return
        if value is sys.stdout or value is sys.stderr or value is os.environ:
            return  # what is printed is printed while tracing; the environment is guarded already
        if surroundings.is_logger(value):
            self._logger(value)
        elif hasattr(type(value), "__next__") and not hasattr(type(value), "_is_gluon_object"):
            self._reach.give_way(
                f"it reads an iterator ({type(value).__name__}) that is not made in it; "
                "make it inside, or pass what it gives as an argument"
            )
        elif classes.is_opaque(type(value)):
            self._opaque(value)
        else:
            self._records.add(value)

    def _generator(self, value: Any) -> None:
        state = _state_of(value)
        self._generators.append((state, state()))

    def _reference(self, value: Any) -> None:
        if value() is None:
            self._reach.lasting.add("a weak reference", "check", lambda: value() is None)
        else:
            self._weak(value(), "a weak reference")

    def _cache_of_a_function(self, value: Any) -> None:
        self._caches.append(value)
        self._reach.add(value.__wrapped__)
        self._reach_remembered(value)
        if isinstance(value.__wrapped__, FunctionType):
            self._read_code(value.__wrapped__.__code__, value.__wrapped__.__globals__)

    def _reach_remembered(self, cached: Any) -> None:
        """Arguments and results lie in it; or in a dictionary in it, if their number is not
        bounded."""
        own = (cached.__wrapped__, type(cached), vars(cached))
        if cached.cache_info().currsize == 0:
            return
        is_bounded = cached.cache_parameters()["maxsize"] is not None
        for part in gc.get_referents(cached):
            if any(part is one for one in own):
                continue
            if type(part) is not dict:
                self._reach.add(part)
            elif not is_bounded:
                for remembered in list(part.values()):
                    self._reach.add(remembered)
            elif not any(type(held).__name__ == _LINK for held in part.values()):
                self._reach.add(part)

    def _context_variable(self, value: Any) -> None:
        known = _value_of(value)
        self._reach.lasting.add(
            f"context variable {value.name}", "check", lambda: _value_of(value) is known
        )
        self._reach.add(known)

    def _logger(self, value: Any) -> None:
        level = surroundings.level_of(value)
        self._reach.lasting.add(
            f"the level of the logger {value.name}",
            "check",
            lambda: bool(surroundings.level_of(value) == level),
        )
        self._records.known.append(value)
        self._records.read(value, list(self._reach.names))

    def _member_of_enum(self, value: Any) -> None:
        self._reach.add(value._value_)
        self._records.add(value)

    def _weak(self, target: Any, what: str) -> None:
        """What a graph depends on it keeps alive."""
        self._reach.give_way(
            f"it reads {what} to a {type(target).__name__}, which a compiled graph would keep "
            "alive; hold the object itself"
        )

    def _weak_container(self, value: Any) -> None:
        """Its entries, but not what lies inside of them: a cache, mostly."""
        weak = weakref.ReferenceType

        def entries() -> list[Any]:
            if isinstance(value, weakref.WeakSet):
                return list(value.data)
            return [part for entry in list(value.data.items()) for part in entry]

        def is_known(was: Any, part: Any) -> bool:
            if isinstance(part, weak):  # of the dictionary's own
                return was is part and part() is not None
            return was() is part if isinstance(was, weak) else _native.same(was, part)

        def hold() -> bool:
            now = entries()
            return len(now) == len(known) and all(map(is_known, known, now))

        what = f"the entries of a {type(value).__name__}"
        try:
            known = [
                part if isinstance(part, (weak, *classes.PLAIN)) else weakref.ref(part)
                for part in entries()
            ]
        except TypeError:
            self._reach.give_way(f"it reads {what}, which cannot be compared at every call")
            return
        self._reach.lasting.add(what, "check", hold)

    def _opaque(self, value: Any) -> None:
        kind = type(value)
        self._reach.give_way(
            f"it uses a {kind.__name__} (of {kind.__module__}), which keeps to itself what it "
            "holds; take out what is needed outside, and pass it as an argument"
        )

    def _getter(self, value: Any) -> None:
        maker, given = value.__reduce__()
        if isinstance(value, operator.methodcaller):  # with keywords it is made by a partial
            given = (maker.args if isinstance(maker, functools.partial) else given)[:1]
        for path in given:
            self._records.read_more(path.split("."))

    def _function(self, value: Any) -> None:
        if isinstance(value, MethodType):
            self._reach.add(value.__self__)
            self._reach.add(value.__func__)
            return
        if isinstance(value, functools.partial):
            self._reach.add(value.func)
            self._reach.add(value.args)
            self._reach.add(value.keywords)
            self._records.add(value)
            return
        users = watch.is_user(value.__code__.co_filename)
        if users:
            self._reach.lasting.add(f"function {value.__name__}", "function", value)
            self._reach.add(value.__defaults__)
            self._reach.add(value.__kwdefaults__)
        elif watch.is_own(value.__code__.co_filename):
            return
        # A library's function may stand around one of the user's, which its closure holds.
        for free, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            if users:
                self._reach.lasting.add(f"closure variable {free}", "cell", cell)
                self.cells.append(cell)
            found = content_of(cell)
            if users or not (classes.is_hidden(found) or isinstance(found, _WEAK_CONTAINERS)):
                self._reach.add(found)
        if users:
            self._records.add(value)

    def _array(self, value: np.ndarray | np.void) -> None:
        if value.dtype.hasobject or value.nbytes > ARRAY_LIMIT:
            self._reach.give_way(
                f"it reads a numpy array of {value.nbytes:,} bytes, too large to be compared at "
                "every call; make it an NDArray, or a constant with params.get_constant"
            )
            return
        self._count(value.nbytes, 0)
        layout = (value.shape, value.strides, value.flags.num, value.dtype)
        known = value.tobytes()
        self._reach.lasting.add(
            "a numpy array",
            "check",
            lambda: (
                (value.shape, value.strides, value.flags.num, value.dtype) == layout
                and value.tobytes() == known
            ),
        )

    def _bytes(self, value: Any) -> None:
        known = bytes(value)
        if len(known) > ARRAY_LIMIT:
            self._reach.give_way(
                f"it reads a {type(value).__name__} of {len(known):,} bytes, too large to be "
                "compared at every call; take what is needed out of it when the block is made"
            )
            return
        self._count(len(known), 0)
        self._reach.lasting.add(f"a {type(value).__name__}", "check", lambda: bytes(value) == known)

    def _count(self, size: int, elements: int) -> None:
        self._bytes_compared += size
        self._elements += elements
        if self._bytes_compared > BYTES_LIMIT or self._elements > ELEMENTS_LIMIT:
            self._reach.give_way(
                f"it reads {self._elements:,} elements of containers and {self._bytes_compared:,} "
                "bytes of arrays, too much to be compared at every call; take what is needed out "
                "of them when the block is made"
            )

    def _container(self, value: Any) -> None:
        if len(value) > CONTAINER_LIMIT:
            self._reach.give_way(
                f"it reads a {type(value).__name__} of {len(value):,} elements, too many to be "
                "compared at every call; take what is needed out of it when the block is made"
            )
            return
        self._count(0, len(value))
        what = f"a {type(value).__name__}"
        if isinstance(value, list):
            self._reach.lasting.add(what, "sequence", value)
        elif isinstance(value, OrderedDict):  # whose order is not that of the dictionary below it
            self._reach.lasting.add(what, "check", _content_check(value))
        elif isinstance(value, dict):
            self._reach.lasting.add(what, "mapping", value)
        elif isinstance(value, (set, deque, MappingProxyType)):
            self._reach.lasting.add(what, "check", _content_check(value))
        items: Iterator[Any] = iter(value)
        if isinstance(value, (dict, MappingProxyType)):
            items = iter([*value.keys(), *value.values()])
        for item in items:
            self._reach.add(item)
        if type(value) not in (tuple, list, dict, set, frozenset, deque):
            self._records.add(value)


_INSIDES: tuple[tuple[Any, Callable[[Values, Any], None]], ...] = (
    (_WEAK_CONTAINERS, Values._weak_container),
    (_GENERATORS, Values._generator),
    (weakref.ReferenceType, Values._reference),
    (_CachedFunction, Values._cache_of_a_function),
    (contextvars.ContextVar, Values._context_variable),
    ((operator.attrgetter, operator.methodcaller), Values._getter),
    (_VIEWS, lambda values, value: values._reach.add(value.mapping)),
    (enum.Enum, Values._member_of_enum),
)
"""How objects of libraries are looked into that are not known by their attributes."""


def _value_of(variable: contextvars.ContextVar[Any]) -> Any:
    try:
        return variable.get()
    except LookupError:
        return MISSING


def content_of(cell: CellType) -> Any:
    """What a closure variable holds; None if it holds nothing yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _content_check(value: Any) -> Callable[[], bool]:
    def listed() -> list[Any]:
        if isinstance(value, (MappingProxyType, OrderedDict)):
            return [*value.keys(), *value.values()]
        return list(value)

    items = listed()

    def holds() -> bool:
        now = listed()
        return len(now) == len(items) and all(map(_native.same, now, items))

    return holds


def _state_of(value: Any) -> Callable[[], Any]:
    if isinstance(value, random.Random):
        return value.getstate
    if isinstance(value, np.random.RandomState):
        return value.get_state
    bits = value if isinstance(value, np.random.BitGenerator) else value.bit_generator
    return lambda: bits.state


def _equal_states(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b))
    if isinstance(a, dict):
        return all(_equal_states(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return all(map(_equal_states, a, b))
    return bool(a == b)
