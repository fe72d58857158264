"""What the Python code of a trace read, found in the frames that ran."""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Set
from types import CellType, CodeType, FrameType, ModuleType
from typing import Any

import numpy as np

from tigon import _native
from tigon.gluon._epoch import Settings
from tigon.gluon.trace import classes, surroundings, watch
from tigon.gluon.trace.guards import GuardSet, Reach
from tigon.gluon.trace.records import INTERNAL, Records
from tigon.gluon.trace.values import OF_ARRAYS, Values
from tigon.sym.symbol import Symbol


class Reads:
    """What one trace has read so far. `give_way(reason)` is called for what cannot be guarded."""

    def __init__(
        self,
        give_way: Callable[[str], None],
        before: tuple[GuardSet, GuardSet] | None = None,
    ) -> None:
        """`before`: guards of earlier traces, steady and lasting ones."""
        self._reach = Reach(give_way, before)
        self._records = Records(self._reach)
        self._values = Values(self._reach, self._records, self._code)
        self._codes: set[CodeType] = set()
        self._stored: set[str] = set()
        self._layers: set[tuple[int, CodeType]] = set()
        self._modules: set[tuple[int, CodeType, int]] = set()
        self._globals: dict[int, dict[str, Any]] = {}
        self._imports: dict[str, None] = {}
        self._fresh: dict[int, Any] = {}
        self._kept: list[Any] = []  # objects whose id is a key above

    @property
    def steady(self) -> GuardSet:
        """Guards of blocks: compared when some block or parameter was changed."""
        return self._reach.steady

    @property
    def lasting(self) -> GuardSet:
        """Guards that are compared at every call."""
        return self._reach.lasting

    @property
    def cells(self) -> list[CellType]:
        """Closure variables of the user's functions."""
        return self._values.cells

    def reach(self, value: Any) -> None:
        """The value is within reach of the code."""
        self._reach.add(value)

    def made(self, value: Any) -> None:
        """The code makes this object. It is not kept alive: whatever has its `id` later is made by
        the code, too."""
        self._fresh[id(value)] = None

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
                self._reach.add(value)
        self._imports.update(dict.fromkeys(found.imports))
        if found.modules is not None:
            named = [
                sys.modules[name]
                for name in (*found.modules, spaces.get("__name__"))
                if isinstance(name, str) and name in sys.modules
            ]
            for module in named:
                self._reach.add(module)
            if found.finds_modules and "__name__" not in found.spaces and len(named) < 2:
                self._reach.give_way(
                    f"it looks up a module by a computed name in {code.co_name}; import it outside"
                )
        self._values.settle()

    def method_of_library(self, frame: FrameType) -> None:
        """A method of an object that was there before: what its code reads of that object."""
        value = frame.f_locals.get("self")
        key = (id(value), frame.f_code)
        if key in self._layers or not self.has_reached(value) or surroundings.is_logger(value):
            return
        self._layers.add(key)
        if classes.is_opaque(type(value)):
            return
        found = watch.mentions(frame.f_code)
        self._reach.asked |= found.asked
        if found.everything:
            self._records.read_whole(value)
        else:
            self._records.read(value, found.attributes)
        self._values.settle()

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
            if own is not None and name in own and name not in INTERNAL:
                self._reach.item(self._reach.steady, own, name, f"{type(block).__name__}.")
                if isinstance(own[name], dict) and self._reach.is_new(own[name], ""):
                    says = type(own[name]) is Settings  # that it was changed
                    table = self._reach.steady if says else self._reach.lasting
                    table.add(f"{type(block).__name__}.{name}", "mapping", own[name])
        if isinstance(operators := given.get("F"), ModuleType):
            read = (id(operators), code, len(self._reach.asked))
            if read not in self._modules:  # that another layer has read so
                self._modules.add(read)
                self._records.read_module(operators, names)

    def _of_others(self, code: CodeType, given: dict[str, Any], spaces: dict[str, Any]) -> set[str]:
        """Attributes that the code reads of arrays and modules only: in `x.mean()` and `nd.log(x)`
        nothing is read of an object that happens to have an attribute of that name."""
        found = watch.mentions(code)
        others: set[str] = set()
        for name, receivers in found.receivers.items():
            if name in OF_ARRAYS:
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
                    self._reach.add(module)
                    self._records.read_module(module, [name])
        return others

    def _code(
        self, code: CodeType, spaces: dict[str, Any], others: Set[str] = frozenset()
    ) -> watch.Mentions:
        """A code that runs, or whose results are remembered from when it has run; its attributes
        but for those of `others`."""
        found = watch.mentions(code)
        if code not in self._codes or any(
            name not in self._reach.names and name not in others for name in found.receivers
        ):
            self._codes.add(code)
            self._stored.update(found.stored)
            self._more_names(found, others)
        self._globals[id(spaces)] = spaces
        for name in found.spaces:
            self._global(spaces, name, name in found.asked)
        if "globals" in found.spaces:  # they are looked up by names that may be computed
            for name, value in list(spaces.items()):
                if isinstance(value, (*classes.PLAIN, list, tuple, dict, set)):
                    self._global(spaces, name, True)
        return found

    def _more_names(self, found: watch.Mentions, others: Set[str]) -> None:
        new = self._reach.new_names([name for name in found.attributes if name not in others])
        asked = found.asked - self._reach.asked
        self._reach.asked |= asked
        if found.unseeded is not None:
            self._reach.give_way(
                f"it makes a generator of random numbers ({found.unseeded}) without a seed; make "
                "it outside, or use nd.random"
            )
        if "random" in found.attributes:  # numpy's own generator has no name of its own
            self._reach.add(np.random.mtrand._rand)
        if {"format", "format_map"} & {*new}:
            self._values.names_of_formats()
        if {*found.attributes} & {*OF_ARRAYS}:
            self._values.read_arrays()
        again = [*new, *(name for name in asked if name not in new)]
        if "collect_params" in new or "params" in new:
            self._records.reach_all_parameters()
        if found.everything and not self._reach.everything:
            self._records.take_everything()
        elif again:
            self._records.read_of_all(again)

    def _global(self, spaces: dict[str, Any], name: str, asked: bool) -> None:
        if name in spaces or asked or hasattr(builtins, name):
            self._reach.named("global ", spaces, name)
        if name in spaces:
            self._reach.add(spaces[name])
        elif hasattr(builtins, name):
            self._reach.named("builtin ", vars(builtins), name)

    def finish(self) -> None:
        """The trace is over: what was imported in it, and types by the names that were read."""
        for name in self._imports:
            module = sys.modules.get(name)
            if module is not None:
                self._reach.add(module)
                self._reach.named("module ", sys.modules, name)
                above, _, own_name = name.rpartition(".")
                if above in sys.modules:
                    self._records.read_module(sys.modules[above], [own_name])
        self._values.look_into_caches()
        self._values.settle()
        self._records.finish()
        self._values.finish()
        self._fresh = {}  # or they would keep arrays alive, as if the code had put them somewhere

    def drew(self) -> bool:
        """Whether a generator of random numbers within reach has moved."""
        return self._values.drew()

    def spaces(self) -> Iterator[Any]:
        """Lists and dictionaries in which the code may have put something."""
        for space, _ in self._spaces_by_kind():
            yield space

    def _spaces_by_kind(self) -> Iterator[tuple[Any, bool]]:
        """The same, and whether each is a container or holds names."""
        for space in self._globals.values():
            yield space, False
        for value in self._values.reached.values():
            if isinstance(value, (list, dict)):
                yield value, True
            elif isinstance(value, threading.local):
                yield vars(value), False
            elif (own := _native.instance_dict(value)) is not None:
                yield own, False

    def kept(self, given: Mapping[int, Any]) -> Iterator[Any]:
        """What among these the code has put into attributes, global variables or containers."""
        for space, is_container in self._spaces_by_kind():
            if id(space) in given:
                continue
            names = (*space,) if is_container else self._stored & space.keys()
            for name in names:
                item = name if isinstance(space, list) else space[name]
                if id(item) in given:
                    yield item

    def has_reached(self, value: Any) -> bool:
        """Whether an object was there before the code ran."""
        return id(value) in self._values.reached

    def reached(self, number: int) -> Any:
        """The object of that `id`, if it was there before the code ran."""
        return self._values.reached.get(number)
