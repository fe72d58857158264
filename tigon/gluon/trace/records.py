"""Objects, classes and modules: which of their names a trace reads, as guards."""

from __future__ import annotations

import abc as std_abc
import copy
import dataclasses
import os
import sys
import threading
from collections.abc import Sequence
from types import FunctionType, ModuleType
from typing import Any

from tigon import _native
from tigon.gluon.trace import classes, surroundings, watch
from tigon.gluon.trace.guards import MISSING, Reach

_SPECIAL = tuple(
    f"__{name}__"
    for name in (
        "bool len eq ne lt le gt ge hash iter next reversed contains call getitem setitem delitem "
        "missing repr str format bytes getattr getattribute setattr delattr enter exit int float "
        "complex index round abs neg pos invert get set new init copy deepcopy instancecheck "
        "subclasscheck reduce reduce_ex getstate array length_hint fspath prepare class_getitem "
        "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or "
        "radd rsub rmul rmatmul rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand rxor ror "
        "iadd isub imul imatmul itruediv ifloordiv imod ipow ilshift irshift iand ixor ior"
    ).split()
)
"""Methods that operators and functions of Python look for, and that a class may be given later."""

_OF_TYPES = ("__name__", "__qualname__", "__bases__", "__mro__")
"""What lies in a class itself, not in its dictionary."""

TAKE_ALL = frozenset(
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

INTERNAL = frozenset(
    "_children _reg_params _params _prefix _empty_prefix _active _cached_graphs "
    "_forward_hooks _forward_pre_hooks _cached_shortcuts".split()
)
"""Attributes of blocks that no program reads, or whose changes the structure shows."""


class Records:
    """Objects within reach that are known by their attributes."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self.known: list[Any] = []
        self._types: dict[type, dict[str, Any]] = {}

    def read_more(self, names: Sequence[str]) -> None:
        """Names that are read of every object, those to come too."""
        if new := self._reach.new_names(names):
            self.read_of_all(new)

    def read_of_all(self, names: Sequence[str]) -> None:
        for record in self.known:
            self.read(record, names)

    def reach_all_parameters(self) -> None:
        for record in self.known:
            self._reach_parameters(record)

    def finish(self) -> None:
        """Classes, by all the names that were read of them."""
        for kind, names in self._types.items():
            found = tuple(names.values())
            self._reach.lasting.add(f"class {kind.__name__}", "type", kind, tuple(names), found)
        self._types = {}

    def take_everything(self) -> None:
        """The code may read attributes by any name."""
        if not self._reach.everything:
            self._reach.everything = True
            for record in self.known:
                self.read_whole(record)

    def _reach_parameters(self, record: Any) -> None:
        if hasattr(type(record), "_is_block"):
            self._reach.add(record._params)
            for param in record._reg_params.values():
                self._reach.add(param)

    def add(self, value: Any) -> None:
        if isinstance(value, ModuleType):
            if value is sys.modules.get("builtins"):
                return
        elif isinstance(value, type):
            if not classes.is_users(value):
                return
            if vars(value).get("_is_protocol"):
                self._read_protocol(value)
        if hasattr(type(value), "_is_block"):
            self._add_block(value)
        elif hasattr(type(value), "_is_parameter_dictionary"):
            self._reach.lasting.add("the parameters of a dictionary", "mapping", value._params)
            for param in value._params.values():
                self._reach.add(param)
        self.known.append(value)
        if self._reach.everything or classes.is_read_by_others(value):
            self.read_whole(value)
        else:
            self.read(value, list(self._reach.names))

    def _add_block(self, block: Any) -> None:
        known = block._structure()
        hooks = (*block._forward_hooks.values(), *block._forward_pre_hooks.values())

        def holds(_kept_alive: Any = hooks) -> bool:  # or others might take over their identity
            return bool(block._structure() == known)

        self._reach.steady.add(f"the children of {block.name}", "check", holds)
        for child in block._children.values():
            self._reach.add(child)
        if self._reach.names.keys() & {"collect_params", "params"}:
            self._reach_parameters(block)

    def _read_protocol(self, kind: type) -> None:
        """`isinstance` asks objects for the attributes of a protocol."""
        asked = [name for base in kind.__mro__ for name in (*vars(base), *_annotated(base))]
        self._reach.asked.update(asked)
        self.read_more(asked)

    def read_whole(self, value: Any) -> None:
        """All names of an object, and that there are no others. Of a module, its plain values."""
        gluon = hasattr(type(value), "_is_gluon_object") and not hasattr(type(value), "_is_block")
        if gluon:
            self.read(value, list(self._reach.names))
            return
        if classes.is_own_module(value) or surroundings.is_logger(value):
            self.read(value, list(self._reach.names))
            return
        if isinstance(value, ModuleType):
            space = vars(value)
            users = watch.is_user(vars(value).get("__file__") or "")
            kinds: Any = (*classes.PLAIN, list, tuple, dict, set) if users else classes.PLAIN
            plain = [name for name, item in space.items() if isinstance(item, kinds)]
            if users:
                self._reach.names_of(value, space)
            self.read(value, [*self._reach.names, *plain])
            return
        kind = value if isinstance(value, type) else type(value)
        names = dict.fromkeys(self._reach.names)
        for base in (*classes.users_bases(kind), *classes.users_bases(type(kind))):
            names.update(dict.fromkeys(name for name in vars(base) if name != "_abc_impl"))
            self._reach.names_of(base, vars(base))
        if not isinstance(value, type):
            names.update(dict.fromkeys(classes.slots_of(kind)))
            if (own := _native.instance_dict(value)) is not None:
                names.update(dict.fromkeys(key for key in tuple(own) if isinstance(key, str)))
                self._reach.names_of(value, own)
        self.read(value, [name for name in names if not name.startswith("__")])

    def _of_this_thread(self, value: threading.local, names: Sequence[str]) -> None:
        for name in names:
            what = f"{type(value).__name__}.{name}"
            if hasattr(value, name):
                if self._reach.is_new(value, name):
                    self._reach.lasting.add(what, "attribute", value, name)
                    self._reach.add(getattr(value, name))
            elif name in self._reach.asked and self._reach.is_new(value, name):
                self._reach.lasting.add(what, "check", lambda name=name: not hasattr(value, name))

    def read(self, value: Any, names: Sequence[str]) -> None:
        """Names read of an object: of its own, or of its type."""
        if isinstance(value, type):
            self._class(value, names)
            return
        if isinstance(value, ModuleType):
            self.read_module(value, names)
            return
        kind = type(value)
        own = _native.instance_dict(value)
        block = hasattr(kind, "_is_block")
        users = classes.is_users(kind)
        function = isinstance(value, FunctionType)  # a guard of its own sees its code
        if function:
            own = value.__dict__
        if (own is not None or users) and not function and self._reach.is_new(value, ""):
            table = (
                self._reach.steady if block else self._reach.lasting
            )  # Block.__setattr__ sees both
            table.add(f"the class or the attributes of a {kind.__name__}", "object", value)
        if isinstance(value, threading.local):
            own = None
            self._of_this_thread(value, names)
        if users:
            self._class(kind, names)
        elif block and kind not in self._types:
            self._class_of_ours(kind)
        for name in names:
            if block and name in INTERNAL:
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
        before, what = f"{kind.__name__}.", f"{kind.__name__}.{name}"
        of_type = _native.type_lookup(kind, name)
        table = self._reach.steady if block and not users else self._reach.lasting
        if of_type is not MISSING and hasattr(type(of_type), "__set__"):  # before its own
            if isinstance(of_type, property):
                self._own_property(value, name, what)
                return
            if not classes.is_written_in_python(type(of_type)):
                if self._reach.is_new(value, name):
                    self._reach.lasting.add(what, "attribute", value, name)
                    self._reach.add(getattr(value, name, None))
                return
            self._reach.add(of_type)  # its code is seen when it runs
        if own is None:
            return
        if name in own:
            if hasattr(type(own[name]), "_is_gluon_object"):  # assigned by Block.__setattr__ only
                table = self._reach.steady
            self._reach.item(table, own, name, before)
            mentioned = (users or block) and name in self._reach.names
            if mentioned or not classes.is_hidden(own[name]):  # locks of libraries
                self._reach.add(own[name])
        elif (
            name in self._reach.asked
            or (of_type is not MISSING and (users or block))
            or (users and _native.type_lookup(kind, "__getattr__") is not MISSING)
        ):
            # A method of a block is hidden by Block.__setattr__ only.
            steady = block and isinstance(of_type, (FunctionType, staticmethod, classmethod))
            self._reach.item(self._reach.steady if steady else table, own, name, before)

    def _own_property(self, value: Any, name: str, what: str) -> None:
        """A property of a class of ours is asked again at every call, if it gives a plain value or
        an object that lasts."""
        if not classes.defines(type(value), name).__module__.startswith("tigon."):
            return
        if not self._reach.is_new(value, name):
            return
        try:
            found, again = getattr(value, name), getattr(value, name)
        except Exception:
            return
        if _native.same(found, again):
            self._reach.lasting.add(what, "attribute", value, name)
            self._reach.add(found)

    def read_module(self, module: ModuleType, names: Sequence[str]) -> None:
        path = vars(module).get("__file__") or ""
        ours = watch.is_own(path)
        library = watch.is_library(path) or (vars(module).get("__spec__") is not None and not path)
        own = vars(module)
        if classes.is_users(type(module)):  # by which a program gives a module properties
            if self._reach.is_new(module, ""):
                self._reach.lasting.add(f"the class of {module.__name__}", "object", module)
            self._class(type(module), names)
        elif "__getattr__" in own and not ours:
            names = [*names, "__getattr__"]
        for name in names:
            if ours:
                getattr(module, name, None)  # operators are made when they are first looked up
            may_be_missing = name in self._reach.asked or ("__getattr__" in own and not ours)
            if name in own or (may_be_missing and not library):
                self._reach.named(f"{module.__name__}.", own, name)
            if name not in own:
                continue
            found = own[name]
            self._reach.surroundings(found)
            if id(found) in TAKE_ALL:
                self.take_everything()
            if ours:
                self._of_ours(found)
            elif not library or found is os.path or type(found) is list:
                self._reach.add(found)

    def _of_ours(self, value: Any) -> None:
        """A name of ours was read: what a program put in its place is the program's own."""
        if isinstance(value, ModuleType) or (
            isinstance(value, FunctionType) and watch.is_user(value.__code__.co_filename)
        ):
            self._reach.add(value)

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
            if self._reach.is_new(kind, ""):
                self._reach.lasting.add(f"the class of {kind.__name__}", "object", kind)
            self._class(meta, names)
        if issubclass(meta, std_abc.ABCMeta) and self._reach.is_new(std_abc.ABCMeta, "registered"):
            token = std_abc.get_cache_token()
            self._reach.lasting.add(
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
                if name == "__doc__" and name not in self._reach.names:
                    continue
                if name in space and name not in ("__dict__", "__weakref__"):
                    known.setdefault(name, _native.type_lookup(base, name))
                    own.setdefault(name, _native.type_lookup(kind, name))
                    self._reach.add(space[name])
        for name in names:
            own.setdefault(name, _native.type_lookup(kind, name))
            if name in _OF_TYPES and classes.is_users(kind) and self._reach.is_new(kind, name):
                self._reach.lasting.add(f"{kind.__name__}.{name}", "attribute", kind, name)


def _annotated(kind: type) -> Sequence[str]:
    return tuple(vars(kind).get("__annotations__", ()))
