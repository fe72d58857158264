"""Tracing: what a hybridized block's Python code does, once, on symbols; and what it depended on.

A trace collects
* inputs: one typed symbol per array of the call,
* parameters and captured arrays: symbols that stand for arrays read along the way,
* guards: every Python value that the code read from a block, a global or a closure.

The compiled graph is used again only while every guard holds.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from tigon._native import is_recording, is_training
from tigon.base import TensorType, as_dtype, check
from tigon.base.frozen import replace
from tigon.base.locks import plain_lock
from tigon.gluon import _epoch
from tigon.ir import Node, Value
from tigon.ops.elementwise import stop_gradient
from tigon.runtime import keys
from tigon.runtime import tracing as hooks
from tigon.sym.traced import traced_variable

_local = threading.local()

PLAIN = (int, float, bool, str, bytes, complex, type(None), np.generic)
"""Immutable values: they change only by assignment."""

CONTENT = (*PLAIN, tuple, list, dict, set, np.ndarray)
"""Values that are compared by what is in them."""

_missing = object()


def _same(a: Any, b: Any) -> bool:
    """Whether two hashable values mean one program. Equal values may not, such as 1 and 1.0, or 0.0
    and -0.0; nan, which is not equal to itself, does."""
    pairs = [(a, b)]
    while pairs:
        a, b = pairs.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, tuple):
            if len(a) != len(b):
                return False
            pairs.extend(zip(a, b, strict=True))
        elif not (repr(a) == repr(b) if isinstance(a, float) else a == b):
            return False
    return True


class Static:
    """An argument that is no array and not looked into: known by equality."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and _same(self.value, other.value)

    def __hash__(self) -> int:
        return hash(self.value) if self.value == self.value else 0


class Guard:
    """One value that the trace read: how to read it again, and what it was.

    `name`, where it is known: the dictionary and key, or the cell and None, of a variable whose
    value cannot change otherwise than by assignment."""

    __slots__ = ("frozen", "name", "read", "value", "what")

    def __init__(
        self,
        read: Callable[[], Any],
        value: Any,
        what: str,
        name: tuple[Any, str | None] | None = None,
    ) -> None:
        self.read = read
        self.what = what
        self.frozen = freeze(value)
        self.name = name
        self.value = None if name is None else value

    def holds(self) -> bool:
        try:
            value = self.read()
        except AttributeError:
            return False
        if self.name is not None and value is self.value:
            return True
        if freeze(value) != self.frozen:
            return False
        if self.name is not None:
            self.value = value
        return True


class Trace:
    """What one run of Python code on symbols has met so far.

    A typed trace stands for one kind of input: its symbols know their shapes and use arrays freely.
    An untyped one (`net(sym.var("data"))`, export) is made of named variables only.
    """

    def __init__(self, typed: bool = True) -> None:
        self.typed = typed
        self.training = is_training()
        self.recording = is_recording()
        self.parameters: dict[int, tuple[Any, Any]] = {}  # id -> (Parameter, symbol)
        self.captured: dict[int, tuple[Any, Any]] = {}  # id -> (array, symbol)
        self.guards: dict[tuple[int, str], Guard] = {}
        self.lasting: dict[tuple[int, str], Guard] = {}
        self.seen: set[int] = set()
        self.keep: list[Any] = []  # objects whose id is a key above
        self.draws: list[int] = []  # serials of the random nodes, those without a user included
        self.calls: list[Node] = []  # nodes with states, those without a user included

    # -- arrays

    def parameter(self, param: Any) -> Any:
        """The symbol that stands for a parameter."""
        found = self.parameters.get(id(param))
        if found is None:
            found = self.parameters[id(param)] = (param, self._parameter_symbol(param))
        return found[1]

    def _parameter_symbol(self, param: Any) -> Any:
        if not self.typed:
            return param.var()
        known = self.captured.get(id(param._only))
        if known is not None:
            self._same_array(param)
            return known[1]
        return traced_variable(param.name, TensorType(param.shape, as_dtype(param.dtype)), True)

    def _same_array(self, param: Any) -> None:
        """The code reached a parameter's array in two ways: one variable, while that is so."""
        self.keep.append(param)
        self.guards[id(param), "<array>"] = Guard(
            lambda: param._only, param._only, f"the array of {param.name}"
        )

    def array(self, array: Any) -> Any:
        """The symbol that stands for an array which the code used without being given it."""
        found = self.captured.get(id(array))
        if found is None:
            check(
                self.typed,
                "forward",
                "an NDArray that is no parameter meets a Symbol; make it a parameter with "
                "params.get_constant, so that it has a name",
            )
            owner = next((p for p, _ in self.parameters.values() if p._only is array), None)
            if owner is not None:
                self._same_array(owner)
                symbol = self.parameters[id(owner)][1]
            else:
                type_ = TensorType(tuple(array.shape), as_dtype(array.dtype))
                symbol = traced_variable(f"captured{len(self.captured)}", type_, True)
            found = self.captured[id(array)] = (array, symbol)
        return found[1]

    def adapt(self, node: Node) -> Sequence[Value]:
        """A new node under the modes that the code set for it: its own training mode, and no
        gradient through what is computed where recording is paused."""
        if node.op.draws(node.attrs):
            self.draws.append(node.serial)
        if getattr(node.attrs, "training", False) is None and self._is_mode_set():
            node = node.replace(attrs=replace(node.attrs, training=is_training()))
        if node.op.mutates:
            self.calls.append(node)
        if self.recording and not is_recording():
            return [stop_gradient(value) for value in node.outputs]
        return node.outputs

    def _is_mode_set(self) -> bool:
        return hooks.count_mode_scopes(0) > 0 or is_training() != self.training

    # -- guards

    def value(self, array: Any) -> None:
        """The code read an array's value, which may have been overwritten by the next call."""
        key = (id(array), "<value>")
        if key not in self.lasting:
            self.keep.append(array)
            self.lasting[key] = Guard(lambda: array.version, array.version, "an array's value")

    def attribute(self, owner: Any, name: str, value: Any, own: bool) -> None:
        """`owner.name` was read. Values that can change without an assignment to a block are
        compared at every call, the others when the epoch has moved."""
        key = (id(owner), name)
        if key in self.guards or key in self.lasting:
            return
        self.keep.append(owner)
        what = f"{type(owner).__name__}.{name}"
        guard = Guard(lambda: getattr(owner, name), value, what)
        # Our own layers keep dictionaries, but nobody edits those in place. Of an array it matters
        # which one it is.
        array = hasattr(type(value), "apply_op")
        steady = type(owner).__module__.startswith("tigon.") or (
            own and (array or is_immutable(value))
        )
        if array:
            self.keep.append(value)
        table = self.guards if steady else self.lasting
        table[key] = guard

    def block(self, block: Any) -> None:
        """A block was run: its children, hooks and the names its code reads are guarded."""
        if id(block) in self.seen:
            return
        self.seen.add(id(block))
        self.keep.append(block)
        self.guards[id(block), "<children>"] = Guard(
            block._structure, block._structure(), f"the children of {block.name}"
        )
        for function in block._traced_functions():
            self.function(function)

    def function(self, function: Callable[..., Any]) -> None:
        """A function of the user's was run: globals and closure variables that its code mentions
        are guarded, and those of the functions it calls."""
        waiting = [function]
        while waiting:
            self._function(waiting.pop(), waiting)

    def _function(self, function: Any, waiting: list[Any]) -> None:
        """One of them; those that it mentions are left `waiting`."""
        if not isinstance(function, FunctionType) or id(function) in self.seen:
            return
        self.seen.add(id(function))
        self.keep.append(function)
        spaces = function.__globals__
        for name in sorted(_mentioned(function.__code__)):
            if name in spaces:
                self._name(
                    (id(function), name),
                    spaces[name],
                    lambda spaces=spaces, name=name: spaces.get(name, _missing),
                    f"global {name}",
                    (spaces, name),
                    waiting,
                )
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            try:
                value = cell.cell_contents
            except ValueError:
                continue
            self._name(
                (id(function), f"<{name}>"),
                value,
                lambda cell=cell: cell.cell_contents,
                f"closure variable {name}",
                (cell, None),
                waiting,
            )

    def _name(
        self,
        key: tuple[int, str],
        value: Any,
        read: Callable[[], Any],
        what: str,
        place: tuple[Any, str | None],
        waiting: list[Any],
    ) -> None:
        """What a global or closure variable holds; a function of the user's is looked into."""
        written = isinstance(value, FunctionType) and not _is_ours(value)
        if written:
            waiting.append(value)
        array = hasattr(type(value), "apply_op")
        if written or array or isinstance(value, CONTENT) or _is_configuration(value):
            self.keep.append(value)
            assigned = array or is_immutable(value)
            self.lasting[key] = Guard(read, value, what, place if assigned else None)


def _mentioned(code: CodeType) -> set[str]:
    """Names in the code and in the functions written inside it."""
    names: set[str] = set()
    stack = [code]
    while stack:
        code = stack.pop()
        names.update(code.co_names)
        stack.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))
    return names


def _is_ours(function: FunctionType) -> bool:
    return (function.__module__ or "").split(".")[0] == "tigon"


# --------------------------------------------------------------------- which trace is on


def current() -> Trace | None:
    """The trace that this thread is in, if any."""
    return getattr(_local, "trace", None)


def active() -> bool:
    """Whether this thread is tracing."""
    return getattr(_local, "trace", None) is not None


def parameter(param: Any) -> Any:
    """The symbol for a parameter in the current trace."""
    trace = current()
    assert trace is not None
    return trace.parameter(param)


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Python code in here runs on symbols; what it reads is written into `trace`."""
    _watch(+1)
    try:
        with _entered(trace):
            yield trace
    finally:
        _watch(-1)


@contextmanager
def paused() -> Iterator[None]:
    """Concrete work in the middle of a trace, such as initializing a parameter."""
    if not active():
        yield
        return
    with _entered(None):
        yield


@contextmanager
def _entered(trace: Trace | None) -> Iterator[None]:
    previous = current()
    previous_capture = hooks.set_capture(None if trace is None else trace.array)
    previous_adapter = hooks.set_adapter(None if trace is None else trace.adapt)
    previous_reader = hooks.set_reader(None if trace is None else trace.value)
    previous_scopes = hooks.set_mode_scopes(0)
    _local.trace = trace
    try:
        yield
    finally:
        _local.trace = previous
        hooks.set_capture(previous_capture)
        hooks.set_adapter(previous_adapter)
        hooks.set_reader(previous_reader)
        hooks.set_mode_scopes(previous_scopes)


# ------------------------------------------------------------------- attribute reads

_watched: list[type] = []  # Block, once it is defined
_watchers = 0
_watch_lock = plain_lock()

_FUNCTIONS = frozenset((FunctionType, MethodType, staticmethod, type, ModuleType))

INTERNAL = frozenset(
    "_children _reg_params _params _scope _prefix _name _empty_prefix _active _flags _graphs "
    "_forward_hooks _forward_pre_hooks _shortcuts __dict__ __class__".split()
)


def watch_class(block_class: type) -> None:
    """Reads of attributes of this class's instances are recorded while a trace is on."""
    _watched.append(block_class)


def _watch(change: int) -> None:
    # A Python-level __getattribute__ would cost every attribute read of every block 100 ns, so it
    # is there only while some thread is tracing.
    global _watchers
    with _watch_lock:
        before, _watchers = _watchers, _watchers + change
        for block_class in _watched:
            if before == 0 and _watchers == 1:
                block_class.__getattribute__ = _recording_getattribute  # type: ignore[assignment]
            elif before == 1 and _watchers == 0:
                del block_class.__getattribute__


def _recording_getattribute(self: Any, name: str) -> Any:
    value = object.__getattribute__(self, name)
    trace = getattr(_local, "trace", None)
    if trace is None or name in INTERNAL or name.startswith("__"):
        return value
    kind = type(value)
    if kind in _FUNCTIONS or hasattr(kind, "_is_gluon_object"):
        return value
    own = name in object.__getattribute__(self, "__dict__")
    if own or not isinstance(getattr(type(self), name, None), property):
        trace.attribute(self, name, value, own)
    return value


def is_immutable(value: Any) -> bool:
    """Whether it changes only by assigning another value."""
    seen: set[int] = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, (tuple, frozenset)):
            if id(item) not in seen:
                seen.add(id(item))
                stack.extend(item)
        elif not isinstance(item, (*PLAIN, FunctionType, MethodType, type, np.dtype)):
            return False
    return True


def freeze(value: Any, depth: int = 2) -> Any:
    """Something to compare a value with later: content where content can change.

    >>> freeze([1, 2]) == freeze([1, 2]), freeze(1) == freeze(1.0), freeze(1) == freeze(True)
    (True, False, False)
    >>> freeze(0.0) == freeze(-0.0), freeze(float("nan")) == freeze(float("nan"))
    (False, True)
    """
    if isinstance(value, PLAIN):
        return (type(value), value if value and value == value else repr(value))
    if isinstance(value, Static):
        return value
    return _content(value, depth)


PLAINLY = 200
"""Containers in one value that are written out wherever they occur."""


class _Content:
    """What is in a value, without nesting: each container in turn, those in it by their number.

    If `numbered`, every container has one number, so that what contains itself ends, and what is
    shared is written once. Else equal content is equal however it is shared.
    What is in a set cannot change: sets `in_set` are known by identity.
    """

    def __init__(self, value: Any, depth: int, numbered: bool, in_set: bool) -> None:
        self.tokens: list[Any] = []
        self.pending = [(value, depth)]
        self.known: dict[tuple[int, int], int] | None = {(id(value), depth): 0}
        if not numbered:
            self.known = None
        self.in_set = in_set

    def write(self) -> tuple[Any, ...] | None:
        """None if there is too much to be written without numbers."""
        for item, depth in self.pending:  # which grows
            if self.known is None and len(self.pending) > PLAINLY:
                return None
            self._head(item, depth)
        return tuple(self.tokens)

    def _head(self, item: Any, depth: int) -> None:
        """A container's type and what is in it; of another object which one it is."""
        if isinstance(item, (tuple, list)):
            self.tokens += (type(item), len(item))
            self._parts(item, depth)
        elif isinstance(item, (set, frozenset)):
            members = _Itself(item) if self.in_set else frozenset(_member(i, depth) for i in item)
            self.tokens += (type(item), members)
        elif isinstance(item, dict):
            self.tokens += (dict, len(item))
            self._parts(item.keys(), depth)
            self._parts(item.values(), depth)
        elif isinstance(item, np.ndarray):
            self.tokens += (np.ndarray, item.shape, item.dtype.str, item.tobytes())
        elif depth and _is_record(item):
            self.tokens += (type(item), id(item), len(vars(item)), *vars(item))
            self._parts(vars(item).values(), depth - 1)
        else:
            self.tokens += (type(item), id(item))

    def _parts(self, items: Iterable[Any], depth: int) -> None:
        for item in items:
            if isinstance(item, PLAIN):
                self.tokens.append((type(item), item if item and item == item else repr(item)))
            elif isinstance(item, Static):
                self.tokens.append(item)
            else:
                self.tokens.append(self._later(item, depth))

    def _later(self, item: Any, depth: int) -> int:
        number = 0
        if self.known is not None:
            number = self.known.setdefault((id(item), depth), len(self.pending))
            if number < len(self.pending):
                return number
        self.pending.append((item, depth))
        return number


def _content(value: Any, depth: int, in_set: bool = False) -> Any:
    found = _Content(value, depth, False, in_set).write()
    return _Content(value, depth, True, in_set).write() if found is None else found


def _member(item: Any, depth: int) -> Any:
    """The same of what is in a set."""
    return freeze(item) if isinstance(item, (*PLAIN, Static)) else _content(item, depth, True)


class _Itself:
    """An object, known by identity and kept alive."""

    __slots__ = ("item",)

    def __init__(self, item: Any) -> None:
        self.item = item

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.item is self.item

    def __hash__(self) -> int:
        return id(self.item)


def _is_record(value: Any) -> bool:
    """An object of the user's own class with attributes: a configuration, say. Modules, arrays,
    functions and objects of libraries are told apart by identity alone."""
    kind = type(value)
    if not hasattr(value, "__dict__") or isinstance(value, (ModuleType, type)) or callable(value):
        return False
    ours = hasattr(kind, "apply_op") or getattr(kind, "_is_gluon_object", False)
    return not ours and kind.__module__.split(".")[0] not in sys.stdlib_module_names


def _is_configuration(value: Any) -> bool:
    return _is_record(value) and not type(value).__module__.startswith("tigon.")


# ------------------------------------------------------------------------ random keys


def reserve_random_key() -> tuple[int, int]:
    """A part of the random stream, for use later."""
    return keys.reserve(1024)


@contextmanager
def random_key(key: tuple[int, int]) -> Iterator[None]:
    """Draw from a reserved part of the stream."""
    with keys.scope(*key):
        yield


def epoch() -> int:
    """How often blocks and parameters were changed so far."""
    return _epoch.current
