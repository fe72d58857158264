"""What the Python code of a trace read, as guards that are compared natively at every call.

A guard is what was read: the name in a dictionary, a cell, the element of a list, and the very
object that was found there, or the value of an immutable one. Nothing is copied deeply. Which names
are read of an object is over-estimated: all those that the code of any frame of the trace mentions.
"""

from __future__ import annotations

import abc as std_abc
import array
import builtins
import contextvars
import copy
import dataclasses
import enum
import functools
import operator
import os
import random
import sys
import threading
import weakref
from collections import OrderedDict, abc, deque
from collections.abc import Callable, Iterator, Sequence, Set
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FrameType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import TigonError
from tigon.gluon.trace import classes, surroundings, watch
from tigon.sym.symbol import Symbol

CONTAINER_LIMIT = 1000
"""Elements of a container that are compared at every call."""

ARRAY_LIMIT = 4096
"""Bytes of a numpy array that are compared at every call."""

ELEMENTS_LIMIT, BYTES_LIMIT = 10_000, 65_536
"""The same of all containers and arrays together."""

MISSING = _native.MISSING

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
    slice,
    CodeType,
    BuiltinFunctionType,
    Symbol,
    _native.NDArray,
)
"""Values without an inside: they change only by assigning others. Of an array it matters which one
it is; what it holds is an operand."""

_PLAIN = (int, float, bool, complex, str, bytes, type(None))

_INTERNAL = frozenset(
    "_children _reg_params _params _prefix _empty_prefix _active _graphs "
    "_forward_hooks _forward_pre_hooks _shortcuts".split()
)
"""Attributes of blocks that no program reads, or whose changes the structure shows."""


_WEAK_CONTAINERS = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)

_OF_ARRAYS = ("grad", "grad_req")

_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))

_GENERATORS = (
    random.Random,
    np.random.Generator,
    np.random.RandomState,
    np.random.BitGenerator,
)

_CachedFunction = type(functools.lru_cache(lambda: None))


class GuardSet:
    """Native guards with a description each."""

    def __init__(self) -> None:
        self.native = _native.Guards()
        self.described: list[str] = []

    def add(self, what: str, kind: str, *arguments: Any) -> None:
        getattr(self.native, kind)(*arguments)
        self.described.append(what)

    def add_name(self, what: str, space: dict[str, Any], name: str) -> None:
        """A name of a module or an attribute: those of one dictionary are one guard. `what` is said
        before the name."""
        if self.native.name(space, name) == len(self.described):
            self.described.append(what)

    def failed(self) -> str | None:
        """The first that does not hold, in words."""
        number = self.native.failed()
        if number < 0:
            return None
        name = self.native.differing_name(number)
        return self.described[number] + ("" if name is None else name)

    def __len__(self) -> int:
        return len(self.described)


class Reads:
    """What one trace has read so far. `give_way(reason)` is called for what cannot be guarded."""

    def __init__(self, give_way: Callable[[str], None]) -> None:
        self.steady = GuardSet()
        """Of blocks: compared when some block or parameter was changed."""
        self.lasting = GuardSet()
        """Compared at every call."""
        self._give_way = give_way
        self._names: dict[str, None] = {"forward": None, "hybrid_forward": None}
        self._asked: set[str] = set()
        self._everything = False
        self._reached: dict[int, Any] = {}
        self._records: list[Any] = []
        self._types: dict[type, dict[str, Any]] = {}
        self._codes: set[CodeType] = set()
        self._layers: set[tuple[int, CodeType]] = set()
        self._spaces: set[tuple[int, str]] = set()
        self._guarded: set[tuple[int, str]] = set()
        self._globals: dict[int, dict[str, Any]] = {}
        self.cells: list[CellType] = []
        self._caches: list[Any] = []
        self._imports: dict[str, None] = {}
        self._generators: list[tuple[Callable[[], Any], Any]] = []
        self._pending: list[Any] = []
        self._fresh: dict[int, Any] = {}
        self._marks: set[str] = set()
        self._arrays: list[Any] = []
        self._formats: set[str] = set()
        self._bytes_compared = self._elements = 0
        self._kept: list[Any] = []  # objects whose id is a key above

    # ------------------------------------------------------------------------------ frames

    def frame(self, frame: FrameType) -> None:
        """A frame of user code was entered: its names are read of everything within its reach."""
        code = frame.f_code
        given = frame.f_locals
        count = code.co_argcount + code.co_kwonlyargcount
        count += bool(code.co_flags & 4) + bool(code.co_flags & 8)  # *args, **kwargs
        if watch.is_layer(code.co_filename):
            self._layer(code, given)
            return
        spaces = frame.f_globals
        found = self._code(code, spaces, self._of_others(code, given, spaces))
        # Containers among the arguments are made by the code itself, or reached in other ways; so
        # are instances whose __init__ has run in this trace.
        for name in code.co_varnames[:count]:
            value = given.get(name)
            if name == code.co_varnames[0] and classes.is_made_by(code, value):
                self._fresh[id(value)] = value
            elif id(value) not in self._fresh and (
                classes.is_record(value) or classes.is_own_module(value)
            ):
                self.reach(value)
        self._imports.update(dict.fromkeys(found.imports))
        if found.modules is not None:
            named = [
                sys.modules[name]
                for name in (*found.modules, spaces.get("__name__"))
                if isinstance(name, str) and name in sys.modules
            ]
            for module in named:
                self.reach(module)
            if found.finds_modules and "__name__" not in found.spaces and len(named) < 2:
                self._give_way(
                    f"it looks up a module by a computed name in {code.co_name}; import it outside"
                )
        self._settle()

    def method_of_library(self, frame: FrameType) -> None:
        """A method of an object that was there before: what its code reads of that object."""
        value = frame.f_locals.get("self")
        key = (id(value), frame.f_code)
        if id(value) not in self._reached or key in self._layers or surroundings.is_logger(value):
            return
        self._layers.add(key)
        if classes.is_users(type(value)) or classes.is_opaque(type(value)):
            return
        found = watch.mentions(frame.f_code)
        self._asked |= found.asked
        if found.everything:
            self._whole_record(value)
        else:
            self._record(value, found.attributes)
        self._settle()

    def _layer(self, code: CodeType, given: dict[str, Any]) -> None:
        """A block of ours runs: what its code reads of itself."""
        block = given.get("self")
        key = (id(block), code)
        if block is None or key in self._layers:
            return
        self._layers.add(key)
        self._kept.append(block)
        own = _native.instance_dict(block)
        names = watch.mentions(code).attributes
        for name in names:
            if own is not None and name in own and name not in _INTERNAL:
                self._item(self.steady, own, name, f"{type(block).__name__}.{name}")
        if isinstance(operators := given.get("F"), ModuleType):
            self._module(operators, names)

    def _of_others(self, code: CodeType, given: dict[str, Any], spaces: dict[str, Any]) -> set[str]:
        """Attributes that the code reads of arrays and modules only: in `x.mean()` and `nd.log(x)`
        nothing is read of an object that happens to have an attribute of that name."""
        found = watch.mentions(code)
        others: set[str] = set()
        for name, receivers in found.receivers.items():
            if name in _OF_ARRAYS:
                continue
            modules = []
            for kind, variable in receivers:
                if variable in found.assigned:
                    break
                holder = (spaces if kind == "global" else given).get(variable)
                if type(holder) is ModuleType:
                    modules.append(holder)
                # Others may assign to global and free variables while the code runs.
                elif kind == "global" or variable in code.co_freevars:
                    break
                elif not issubclass(type(holder), (Symbol, _native.NDArray)):
                    break
            else:
                others.add(name)
                for module in modules:
                    self.reach(module)
                    self._module(module, [name])
        return others

    def _code(
        self, code: CodeType, spaces: dict[str, Any], others: Set[str] = frozenset()
    ) -> watch.Mentions:
        """A code that runs, or whose results are remembered from when it has run; its attributes
        but for those of `others`."""
        found = watch.mentions(code)
        if code not in self._codes or any(
            name not in self._names and name not in others for name in found.receivers
        ):
            self._codes.add(code)
            self._more_names(found, others)
        self._globals[id(spaces)] = spaces
        for name in found.spaces:
            self._global(spaces, name, name in found.asked)
        if "globals" in found.spaces:  # they are looked up by names that may be computed
            for name, value in list(spaces.items()):
                if isinstance(value, (*_PLAIN, list, tuple, dict, set)):
                    self._global(spaces, name, True)
        return found

    def _new_names(self, names: Sequence[str]) -> list[str]:
        new = [name for name in names if name not in self._names]
        self._names.update(dict.fromkeys(new))
        return new

    def _more_names(self, found: watch.Mentions, others: Set[str]) -> None:
        new = self._new_names([name for name in found.attributes if name not in others])
        asked = found.asked - self._asked
        self._asked |= asked
        if found.unseeded is not None:
            self._give_way(
                f"it makes a generator of random numbers ({found.unseeded}) without a seed; make "
                "it outside, or use nd.random"
            )
        if "random" in found.attributes:  # numpy's own generator has no name of its own
            self.reach(np.random.mtrand._rand)
        if {"format", "format_map"} & {*new}:
            self._names_of_formats()
        for held in self._arrays if {*found.attributes} & {*_OF_ARRAYS} else ():
            self._of_array(held)
        again = [*new, *(name for name in asked if name not in new)]
        if "collect_params" in new or "params" in new:
            for record in self._records:
                self._reach_parameters(record)
        if found.everything and not self._everything:
            self._take_everything()
        elif again:
            for record in self._records:
                self._record(record, again)

    def _take_everything(self) -> None:
        """The code may read attributes by any name."""
        if not self._everything:
            self._everything = True
            for record in self._records:
                self._whole_record(record)

    def _reach_parameters(self, record: Any) -> None:
        if hasattr(type(record), "_is_block"):
            for param in record._reg_params.values():
                self.reach(param)

    def _global(self, spaces: dict[str, Any], name: str, asked: bool) -> None:
        key = (id(spaces), name)
        if key in self._spaces:
            return
        if name in spaces or asked or hasattr(builtins, name):
            self._named("global ", spaces, name)
        if name in spaces:
            self.reach(spaces[name])
        elif hasattr(builtins, name):
            self._named("builtin ", vars(builtins), name)

    def _named(self, what: str, space: dict[str, Any], name: str) -> None:
        """A name of a module was read."""
        key = (id(space), name)
        if key not in self._spaces:
            self._spaces.add(key)
            self._kept.append(space)
            self.lasting.add_name(what, space, name)

    def finish(self) -> None:
        """The trace is over: what was imported in it, and types by the names that were read."""
        for name in self._imports:
            module = sys.modules.get(name)
            if module is not None:
                self.reach(module)
                self._named("module ", sys.modules, name)
                above, _, own_name = name.rpartition(".")
                if above in sys.modules:
                    self._module(sys.modules[above], [own_name])
        self._settle()
        for kind, names in self._types.items():
            found = tuple(names.values())
            self.lasting.add(f"class {kind.__name__}", "type", kind, tuple(names), found)
        self._types = {}
        for cached in self._caches:
            # What it remembers is read without running its code; as it is after the trace.
            misses = cached.cache_info().misses
            self.lasting.add(
                f"what {cached.__name__} remembers",
                "check",
                lambda cached=cached, misses=misses: cached.cache_info().misses == misses,
            )
        self._fresh = {}  # or they would keep arrays alive, as if the code had put them somewhere

    def drew(self) -> bool:
        """Whether a generator of random numbers within reach has moved."""
        return any(not _equal_states(state(), before) for state, before in self._generators)

    def spaces(self) -> Iterator[Any]:
        """Lists and dictionaries in which the code may have put something."""
        yield from self._globals.values()
        for value in self._reached.values():
            if isinstance(value, (list, dict)):
                yield value
            elif isinstance(value, threading.local):
                yield vars(value)
            elif (own := _native.instance_dict(value)) is not None:
                yield own

    def has_reached(self, value: Any) -> bool:
        """Whether an object was there before the code ran."""
        return id(value) in self._reached

    def reached(self, number: int) -> Any:
        """The object of that `id`, if it was there before the code ran."""
        return self._reached.get(number)

    # ------------------------------------------------------------------------------ values

    def reach(self, value: Any) -> None:
        """The value is within reach of the code."""
        self._pending.append(value)

    def _settle(self) -> None:
        while self._pending:
            value = self._pending.pop()
            try:
                self._settle_one(value)
            except TigonError:  # a strict block
                raise
            except Exception as error:  # of a class of the user's that answers everything itself
                kind = type(value).__name__
                self._give_way(f"it reads a {kind} that cannot be looked into ({error!r})")

    def _settle_one(self, value: Any) -> None:
        if type(value) in weakref.ProxyTypes:
            self._weak(value, "a weak proxy")
            return
        if id(value) in _TAKE_ALL:
            self._take_everything()
        self._surroundings(value)
        if isinstance(value, BuiltinFunctionType):
            value = value.__self__  # of `random.random`, say: the generator behind it
        if id(value) in self._reached:
            return
        if type(value) is _native.NDArray:
            self._reached[id(value)] = value
            self._arrays.append(value)
            self._of_array(value)
            return
        if type(value) is str and "{" in value and value not in self._formats:
            self._formats.add(value)
            self._names_of_formats()
            return
        if isinstance(value, ATOMS) and not classes.is_users(type(value)):
            return
        self._reached[id(value)] = value
        self._look_into(value)

    def _surroundings(self, value: Any) -> None:
        """State that is set elsewhere is guarded where something may read it."""
        found = surroundings.readers().get(id(value))
        if found is None or found.what in self._marks:
            return
        self._marks.add(found.what)
        if found is surroundings.ENVIRONMENT:
            self.lasting.add(found.what, "mapping", os.environ._data)  # type: ignore[attr-defined]
        else:
            known, state = found.state(), found.state
            self.lasting.add(found.what, "check", lambda: bool(state() == known))

    def _of_array(self, held: Any) -> None:
        """What `attach_grad` changes of an array that the code holds."""
        for name in _OF_ARRAYS:
            if name in self._names and (id(held), name) not in self._guarded:
                self._guarded.add((id(held), name))
                self.lasting.add(f"{name} of an array", "attribute", held, name)

    def _names_of_formats(self) -> None:
        """Fields of texts within reach, where they may be formatted."""
        new = self._new_names(watch.names_in_formats(self._formats, self._names))
        for record in self._records if new else ():
            self._record(record, new)

    def _look_into(self, value: Any) -> None:
        if isinstance(value, (FunctionType, MethodType, functools.partial)):
            self._function(value)
        elif isinstance(value, (staticmethod, classmethod)):
            self.reach(value.__func__)
        elif isinstance(value, property):
            for part in (value.fget, value.fset):
                self.reach(part)
        elif isinstance(value, np.ndarray):
            self._array(value)
            if classes.is_users(type(value)):
                self._new_record(value)
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
            self._give_way(
                f"it reads an iterator ({type(value).__name__}) that is not made in it; "
                "make it inside, or pass what it gives as an argument"
            )
        elif classes.is_opaque(type(value)):
            self._opaque(value)
        else:
            self._new_record(value)

    def _generator(self, value: Any) -> None:
        state = _state_of(value)
        self._generators.append((state, state()))

    def _reference(self, value: Any) -> None:
        if value() is None:
            self.lasting.add("a weak reference", "check", lambda: value() is None)
        else:
            self._weak(value(), "a weak reference")

    def _cache_of_a_function(self, value: Any) -> None:
        self._caches.append(value)
        self.reach(value.__wrapped__)
        if isinstance(value.__wrapped__, FunctionType):
            self._code(value.__wrapped__.__code__, value.__wrapped__.__globals__)

    def _context_variable(self, value: Any) -> None:
        known = _value_of(value)
        self.lasting.add(
            f"context variable {value.name}", "check", lambda: _value_of(value) is known
        )
        self.reach(known)

    def _logger(self, value: Any) -> None:
        level = surroundings.level_of(value)
        self.lasting.add(
            f"the level of the logger {value.name}",
            "check",
            lambda: bool(surroundings.level_of(value) == level),
        )
        self._records.append(value)
        self._record(value, list(self._names))

    def _member_of_enum(self, value: Any) -> None:
        self.reach(value._value_)
        self._new_record(value)

    def _weak(self, target: Any, what: str) -> None:
        """What a graph depends on it keeps alive."""
        self._give_way(
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
                part if isinstance(part, (weak, *_PLAIN)) else weakref.ref(part)
                for part in entries()
            ]
        except TypeError:
            self._give_way(f"it reads {what}, which cannot be compared at every call")
            return
        self.lasting.add(what, "check", hold)

    def _opaque(self, value: Any) -> None:
        kind = type(value)
        self._give_way(
            f"it uses a {kind.__name__} (of {kind.__module__}), which keeps to itself what it "
            "holds; take out what is needed outside, and pass it as an argument"
        )

    def _getter(self, value: Any) -> None:
        maker, given = value.__reduce__()
        if isinstance(value, operator.methodcaller):  # with keywords it is made by a partial
            given = (maker.args if isinstance(maker, functools.partial) else given)[:1]
        for path in given:
            new = self._new_names(path.split("."))
            for record in self._records if new else ():
                self._record(record, new)

    def _new_record(self, value: Any) -> None:
        if isinstance(value, ModuleType):
            if value is sys.modules.get("builtins"):
                return
        elif isinstance(value, type):
            if not classes.is_users(value):
                return
            if vars(value).get("_is_protocol"):
                self._protocol(value)
        if hasattr(type(value), "_is_block"):
            known = value._structure()
            self.steady.add(
                f"the children of {value.name}",
                "check",
                lambda: bool(value._structure() == known),
            )
            for child in value._children.values():
                self.reach(child)
            if self._names.keys() & {"collect_params", "params"}:
                self._reach_parameters(value)
        self._records.append(value)
        # A mapping or sequence of a library holds what is in it in attributes of its own, and so do
        # queues, events and threads.
        whole = (
            self._everything
            or classes.is_own_record(value)
            or (
                (
                    isinstance(value, (abc.Mapping, abc.Sequence, abc.Set))
                    or type(value).__module__ in ("queue", "threading")
                )
                and not classes.is_users(type(value))
            )
        )
        if whole:
            self._whole_record(value)
        else:
            self._record(value, list(self._names))

    def _protocol(self, kind: type) -> None:
        """`isinstance` asks objects for the attributes of a protocol."""
        asked = [name for base in kind.__mro__ for name in (*vars(base), *_annotated(base))]
        self._asked.update(asked)
        for record in self._records if (new := self._new_names(asked)) else ():
            self._record(record, new)

    def _function(self, value: Any) -> None:
        if isinstance(value, MethodType):
            self.reach(value.__self__)
            self.reach(value.__func__)
            return
        if isinstance(value, functools.partial):
            self.reach(value.func)
            self.reach(value.args)
            self.reach(value.keywords)
            self._new_record(value)
            return
        users = watch.is_user(value.__code__.co_filename)
        if users:
            self.lasting.add(f"function {value.__name__}", "function", value)
            self.reach(value.__defaults__)
            self.reach(value.__kwdefaults__)
        elif watch.is_own(value.__code__.co_filename):
            return
        # A library's function may stand around one of the user's, which its closure holds.
        for free, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            if users:
                self.lasting.add(f"closure variable {free}", "cell", cell)
                self.cells.append(cell)
            found = content_of(cell)
            if users or not (classes.is_hidden(found) or isinstance(found, _WEAK_CONTAINERS)):
                self.reach(found)
        if users:
            self._new_record(value)

    def _array(self, value: np.ndarray) -> None:
        if value.dtype.hasobject or value.nbytes > ARRAY_LIMIT:
            self._give_way(
                f"it reads a numpy array of {value.nbytes:,} bytes, too large to be compared at "
                "every call; make it an NDArray, or a constant with params.get_constant"
            )
            return
        self._count(value.nbytes, 0)
        known = (value.shape, value.dtype, value.tobytes())
        self.lasting.add(
            "a numpy array",
            "check",
            lambda: (value.shape, value.dtype, value.tobytes()) == known,
        )

    def _bytes(self, value: Any) -> None:
        known = bytes(value)
        if len(known) > ARRAY_LIMIT:
            self._give_way(
                f"it reads a {type(value).__name__} of {len(known):,} bytes, too large to be "
                "compared at every call; take what is needed out of it when the block is made"
            )
            return
        self._count(len(known), 0)
        self.lasting.add(f"a {type(value).__name__}", "check", lambda: bytes(value) == known)

    def _count(self, size: int, elements: int) -> None:
        self._bytes_compared += size
        self._elements += elements
        if self._bytes_compared > BYTES_LIMIT or self._elements > ELEMENTS_LIMIT:
            self._give_way(
                f"it reads {self._elements:,} elements of containers and {self._bytes_compared:,} "
                "bytes of arrays, too much to be compared at every call; take what is needed out "
                "of them when the block is made"
            )

    def _container(self, value: Any) -> None:
        if len(value) > CONTAINER_LIMIT:
            self._give_way(
                f"it reads a {type(value).__name__} of {len(value):,} elements, too many to be "
                "compared at every call; take what is needed out of it when the block is made"
            )
            return
        self._count(0, len(value))
        what = f"a {type(value).__name__}"
        if isinstance(value, list):
            self.lasting.add(what, "sequence", value)
        elif isinstance(value, OrderedDict):  # whose order is not that of the dictionary below it
            self.lasting.add(what, "check", _content_check(value))
        elif isinstance(value, dict):
            self.lasting.add(what, "mapping", value)
        elif isinstance(value, (set, deque, MappingProxyType)):
            self.lasting.add(what, "check", _content_check(value))
        items: Iterator[Any] = iter(value)
        if isinstance(value, (dict, MappingProxyType)):
            items = iter([*value.keys(), *value.values()])
        for item in items:
            self.reach(item)
        if type(value) not in (tuple, list, dict, set, frozenset, deque):
            self._new_record(value)

    # ------------------------------------------------------------------------------ records

    def _whole_record(self, value: Any) -> None:
        """All names of an object, and that there are no others. Of a module, its plain values."""
        gluon = hasattr(type(value), "_is_gluon_object") and not hasattr(type(value), "_is_block")
        if gluon:
            self._record(value, list(self._names))
            return
        if classes.is_own_module(value) or surroundings.is_logger(value):
            self._record(value, list(self._names))
            return
        if isinstance(value, ModuleType):
            space = vars(value)
            users = watch.is_user(vars(value).get("__file__") or "")
            kinds: Any = (*_PLAIN, list, tuple, dict, set) if users else _PLAIN
            plain = [name for name, item in space.items() if isinstance(item, kinds)]
            if users:
                self._guard_names(value, space)
            self._record(value, [*self._names, *plain])
            return
        kind = value if isinstance(value, type) else type(value)
        spaces = [vars(base) for base in classes.users_bases(kind)]
        own = None if isinstance(value, type) else _native.instance_dict(value)
        if own is not None:
            spaces.append(own)
        names = dict.fromkeys(self._names)
        for space in spaces:
            keys = tuple(space)
            names.update(dict.fromkeys(key for key in keys if isinstance(key, str)))
            if space is own:
                self._guard_names(value, space)
        self._record(value, [name for name in names if not name.startswith("__")])

    def _of_this_thread(self, value: threading.local, names: Sequence[str]) -> None:
        for name in names:
            what = f"{type(value).__name__}.{name}"
            if (id(value), name) in self._guarded:
                continue
            if hasattr(value, name):
                self.lasting.add(what, "attribute", value, name)
                self.reach(getattr(value, name))
            elif name in self._asked:
                self.lasting.add(what, "check", lambda name=name: not hasattr(value, name))
            else:
                continue
            self._guarded.add((id(value), name))

    def _guard_names(self, value: Any, space: dict[str, Any]) -> None:
        if (id(space), "<keys>") in self._guarded:
            return
        self._guarded.add((id(space), "<keys>"))
        self._kept.append(space)
        keys = tuple(space)
        self.lasting.add(
            f"the names of a {type(value).__name__}", "check", lambda: tuple(space) == keys
        )

    def _record(self, value: Any, names: Sequence[str]) -> None:
        """Names read of an object: of its own, or of its type."""
        if isinstance(value, type):
            self._class(value, names)
            return
        if isinstance(value, ModuleType):
            self._module(value, names)
            return
        kind = type(value)
        own = _native.instance_dict(value)
        block = hasattr(kind, "_is_block")
        users = classes.is_users(kind)
        function = isinstance(value, FunctionType)  # a guard of its own sees its code
        if function:
            own = value.__dict__
        if (own is not None or users) and not function and (id(value), "") not in self._guarded:
            self._guarded.add((id(value), ""))
            table = self.steady if block else self.lasting  # Block.__setattr__ sees both
            table.add(f"the class or the attributes of a {kind.__name__}", "object", value)
        if isinstance(value, threading.local):
            own = None
            self._of_this_thread(value, names)
        if users:
            self._class(kind, names)
        elif block and kind not in self._types:
            self._class_of_ours(kind)
        for name in names:
            if block and name in _INTERNAL:
                continue
            self._attribute(value, kind, own, name, users, block)

    def _attribute(
        self,
        value: Any,
        kind: type,
        own: dict[str, Any] | None,
        name: str,
        users: bool,
        block: bool,
    ) -> None:
        what = f"{kind.__name__}.{name}"
        of_type = _native.type_lookup(kind, name)
        table = self.steady if block and not users else self.lasting
        if of_type is not MISSING and hasattr(type(of_type), "__set__"):  # before its own
            if isinstance(of_type, property):
                if not users:
                    self._own_property(value, name, what)
            elif (id(value), name) not in self._guarded:
                self._guarded.add((id(value), name))
                self.lasting.add(what, "attribute", value, name)
                found = getattr(value, name, None)
                self.reach(found)
            return
        if own is None:
            return
        if name in own:
            if hasattr(type(own[name]), "_is_gluon_object"):  # assigned by Block.__setattr__ only
                table = self.steady
            self._item(table, own, name, what)
            if users or block or not classes.is_hidden(own[name]):  # locks of libraries
                self.reach(own[name])
        elif (
            name in self._asked
            or (of_type is not MISSING and (users or block))
            or (users and _native.type_lookup(kind, "__getattr__") is not MISSING)
        ):
            # A method of a block is hidden by Block.__setattr__ only.
            steady = block and isinstance(of_type, (FunctionType, staticmethod, classmethod))
            self._item(self.steady if steady else table, own, name, what)

    def _own_property(self, value: Any, name: str, what: str) -> None:
        """A property of a class of ours: asked again at every call, if it gives a plain value."""
        if not type(value).__module__.startswith("tigon.") or (id(value), name) in self._guarded:
            return
        try:
            found = getattr(value, name)
        except Exception:
            return
        if isinstance(found, _PLAIN):
            self._guarded.add((id(value), name))
            self.lasting.add(what, "attribute", value, name)

    def _item(self, table: GuardSet, own: dict[str, Any], name: str, what: str) -> None:
        key = (id(own), name)
        if key not in self._guarded:
            self._guarded.add(key)
            self._kept.append(own)
            table.add_name(what.removesuffix(name), own, name)

    def _module(self, module: ModuleType, names: Sequence[str]) -> None:
        path = vars(module).get("__file__") or ""
        ours = watch.is_own(path)
        library = watch.is_library(path) or (vars(module).get("__spec__") is not None and not path)
        own = vars(module)
        for name in names:
            if ours:
                getattr(module, name, None)  # operators are made when they are first looked up
            may_be_missing = name in self._asked or ("__getattr__" in own and not ours)
            if name in own or (may_be_missing and not library):
                self._named(f"{module.__name__}.", own, name)
            if name not in own:
                continue
            found = own[name]
            self._surroundings(found)
            if id(found) in _TAKE_ALL:
                self._take_everything()
            if ours:
                self._of_ours(found)
            elif not library or found is os.path or type(found) is list:
                self.reach(found)

    def _of_ours(self, value: Any) -> None:
        """A name of ours was read: what a program put in its place is the program's own."""
        if isinstance(value, ModuleType) or (
            isinstance(value, FunctionType) and watch.is_user(value.__code__.co_filename)
        ):
            self.reach(value)

    def _class_of_ours(self, kind: type) -> None:
        """A layer's class: a program may replace its methods."""
        own = self._types.setdefault(kind, {})
        for base in type.mro(kind):
            for name, found in vars(base).items():
                private = name.startswith("_") and name != "__call__"  # how calls are made
                if isinstance(found, FunctionType) and not private and name not in own:
                    own[name] = _native.type_lookup(kind, name)
                    self._of_ours(found)

    def _class(self, kind: type, names: Sequence[str]) -> None:
        """Names read of a class: where they are found in it and its bases, each of which `super`
        may begin with."""
        meta = type(kind)
        if classes.is_users(meta):
            self._class(meta, names)
        if issubclass(meta, std_abc.ABCMeta) and "<abstract>" not in self._marks:
            self._marks.add("<abstract>")
            token = std_abc.get_cache_token()
            self.lasting.add(
                "which classes are registered with abstract ones",
                "check",
                lambda: std_abc.get_cache_token() == token,
            )
        own = self._types.setdefault(kind, {})
        for name in _SPECIAL:
            own.setdefault(name, _native.type_lookup(kind, name))
        for base in classes.users_bases(kind):
            known = self._types.setdefault(base, {})
            space = vars(base)
            for name in (*names, *(name for name in space if name.startswith("__"))):
                if name == "__doc__" and name not in self._names:
                    continue
                if name in space and name not in ("__dict__", "__weakref__"):
                    known.setdefault(name, _native.type_lookup(base, name))
                    own.setdefault(name, _native.type_lookup(kind, name))
                    self.reach(space[name])
        for name in names:
            own.setdefault(name, _native.type_lookup(kind, name))
            if (
                name in _OF_TYPES
                and classes.is_users(kind)
                and (id(kind), name) not in self._guarded
            ):
                self._guarded.add((id(kind), name))
                self.lasting.add(f"{kind.__name__}.{name}", "attribute", kind, name)


_SPECIAL = tuple(
    f"__{name}__"
    for name in (
        "bool len eq ne lt le gt ge hash iter next contains call getitem setitem delitem missing "
        "repr str format getattr getattribute setattr delattr enter exit int float index add radd "
        "sub rsub mul rmul truediv rtruediv neg abs get set"
    ).split()
)
"""Methods that operators and functions of Python look for, and that a class may be given later."""

_OF_TYPES = ("__name__", "__qualname__", "__bases__", "__mro__")
"""What lies in a class itself, not in its dictionary."""

_TAKE_ALL = frozenset(
    map(
        id,
        (
            getattr,
            hasattr,
            setattr,
            vars,
            dir,
            copy.copy,
            copy.deepcopy,
            dataclasses.asdict,
            dataclasses.astuple,
            dataclasses.fields,
            dataclasses.replace,
        ),
    )
)
"""What reads attributes of any name; seen where it is reached under another name than its own, too.
Builtins are only reached so."""


_INSIDES: tuple[tuple[Any, Callable[[Reads, Any], None]], ...] = (
    (_WEAK_CONTAINERS, Reads._weak_container),
    (_GENERATORS, Reads._generator),
    (weakref.ReferenceType, Reads._reference),
    (_CachedFunction, Reads._cache_of_a_function),
    (contextvars.ContextVar, Reads._context_variable),
    ((operator.attrgetter, operator.methodcaller), Reads._getter),
    (_VIEWS, lambda reads, value: reads.reach(value.mapping)),
    (enum.Enum, Reads._member_of_enum),
)
"""How objects of libraries are looked into that are not known by their attributes."""


def _annotated(kind: type) -> Sequence[str]:
    return tuple(vars(kind).get("__annotations__", ()))


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
    if isinstance(value, set):
        known = {(type(item), item) for item in value}
        return lambda: {(type(item), item) for item in value} == known

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
