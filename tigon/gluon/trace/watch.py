"""Which Python code runs while a block is traced, and what its instructions mention.

The native runtime shows every frame of user code as it is entered, and calls of the few functions
of C whose results nobody can foresee. Frames of this package, of the standard library and of numpy
are not shown: they read what they are given.
"""

from __future__ import annotations

import _queue
import _signal
import _thread
import atexit
import builtins
import datetime
import dis
import gc
import os
import queue
import random
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from types import CodeType, FrameType
from typing import Any

import numpy as np

from tigon import _native
from tigon.base.sources import PACKAGE, is_library, is_own, is_user

_LAYERS = tuple(
    PACKAGE + os.path.join("gluon", part) for part in ("nn", "loss.py", "model_zoo", "contrib")
)


def is_layer(path: str) -> bool:
    """Whether a file holds blocks of ours, whose attributes are read like those of user's."""
    return path.startswith(_LAYERS)


# ----------------------------------------------------------------------- what code mentions

_READS = frozenset(("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "LOAD_SUPER_METHOD"))
_WRITES = frozenset(("STORE_ATTR", "DELETE_ATTR", "STORE_GLOBAL", "DELETE_GLOBAL"))
_ASKS: dict[str, int | None] = {
    "getattr": 2,
    "getattr_static": 2,
    "hasattr": 2,
    "setattr": 2,
    "delattr": 2,
    "methodcaller": 1,
    "attrgetter": None,
    "__getattribute__": None,
    "__setattr__": None,
    "__delattr__": None,
}
"""What finds attributes by a name that may be computed: which operand it is; None for all, or the
last."""
_TAKES_ALL = frozenset(
    "vars __dict__ dir asdict astuple fields deepcopy __getstate__ __reduce__ __reduce_ex__ "
    "__dataclass_fields__ _asdict getmembers".split()
)


_FIELD = re.compile(r"\{([^{}:!]*)")
"""A field of a format, such as `{0.name}`."""


def names_in_formats(texts: Iterable[str], mentioned: Iterable[str]) -> list[str]:
    """The attributes in the fields of texts such as `"{0.name}"`, if `format` is mentioned."""
    if not {"format", "format_map"} & {*mentioned}:
        return []
    fields = " ".join(found for text in texts for found in _FIELD.findall(text))
    return re.findall(r"\.(\w+)", fields)


_FINDERS = frozenset(("modules", "import_module", "__import__"))
_MODULES = _FINDERS | {"globals"}


class Mentions:
    """The names in the instructions of one function."""

    __slots__ = (
        "asked",
        "assigned",
        "attributes",
        "everything",
        "finds_modules",
        "imports",
        "modules",
        "receivers",
        "spaces",
        "stored",
        "unseeded",
    )

    def __init__(self, code: CodeType) -> None:
        attributes: dict[str, None] = {}
        spaces: dict[str, None] = {}
        stored: dict[str, None] = {}
        imports: dict[str, None] = {}
        asked: set[str] = set()
        receivers: dict[str, set[tuple[str, str] | None]] = {}
        instructions = list(dis.get_instructions(code))
        self.everything = False
        self.unseeded: str | None = None
        """What makes a generator of random numbers without a seed."""
        for number, instruction in enumerate(instructions):
            name, value = instruction.opname, instruction.argval
            if name in _READS:
                attributes[value] = None
                receivers.setdefault(value, set()).add(_receiver(instructions, number))
            elif name in ("LOAD_GLOBAL", "LOAD_NAME"):
                spaces[value] = None
            elif name in _WRITES:
                (attributes if name.endswith("ATTR") else spaces)[value] = stored[value] = None
            elif name == "IMPORT_NAME":
                imports[value] = None
            elif name in ("IMPORT_FROM", "MATCH_CLASS"):
                before = instructions[number - 1].argval  # of a match, its names
                for read in (value,) if name == "IMPORT_FROM" else before or ():
                    attributes[read] = None
                    receivers.setdefault(read, set()).add(None)
                by_position = name == "MATCH_CLASS" and bool(instruction.arg)
                self.everything = self.everything or by_position
                continue
            else:
                continue
            asked |= self._asked_by(value, name not in _WRITES, instructions[number + 1 :])
        if _handles_errors(code, instructions):
            asked |= attributes.keys() | spaces.keys()
        texts = [text for text in code.co_consts if isinstance(text, str)]
        in_formats = names_in_formats(texts, attributes)
        attributes.update(dict.fromkeys(in_formats))
        if any(instruction.opname == "CONTAINS_OP" for instruction in instructions):
            asked.update(text for text in texts if text.isidentifier())
        if "globals" in spaces:
            spaces.update(dict.fromkeys(texts))
            asked.update(texts)
        self.finds_modules = bool(_FINDERS & {*attributes, *spaces})
        self.modules = tuple(texts) if _MODULES & {*attributes, *spaces} else None
        """Names that modules may be looked up by; None where none is."""
        self.attributes = tuple(dict.fromkeys((*attributes, *asked)))
        self.spaces = tuple(spaces)
        self.stored = tuple(stored)
        self.imports = tuple(imports)
        self.asked = frozenset(asked) | stored.keys()
        """Names that may be missing without an error."""
        self.assigned = _assigned(code, instructions) | stored.keys()
        """Local variables that are assigned to."""
        self.receivers = {
            name: frozenset(found)  # type: ignore[arg-type]
            for name, found in receivers.items()
            if None not in found and not {name} & {*asked, *stored, *in_formats}
        }
        """Attributes that are read of variables only: of which, each as (kind, name)."""

    def _asked_by(self, value: str, is_read: bool, later: list[dis.Instruction]) -> set[str]:
        """Names that a function of this name, which is called next, is given to look for."""
        if value in _GENERATORS and _is_called_without_seed(later):
            self.unseeded = value
        asks = value in _ASKS and is_read
        found = _constant_names(value, later) if asks else set()
        if value in _TAKES_ALL or (asks and not found):
            self.everything = True
        return found


def _assigned(code: CodeType, instructions: list[dis.Instruction]) -> frozenset[str]:
    """Variables that a code, or one written inside it, assigns to."""
    stores = [i.argval for i in instructions if i.opname.startswith(("STORE_FAST", "STORE_DEREF"))]
    names = [(stored,) if isinstance(stored, str) else stored for stored in stores]
    found = {name for pair in names for name in pair}
    pending = [part for part in code.co_consts if isinstance(part, CodeType)]
    while pending:
        inner = pending.pop()
        stored = (i for i in dis.get_instructions(inner) if i.opname == "STORE_DEREF")
        found.update(instruction.argval for instruction in stored)
        pending += [part for part in inner.co_consts if isinstance(part, CodeType)]
    return frozenset(found)


def _receiver(instructions: list[dis.Instruction], number: int) -> tuple[str, str] | None:
    """The variable that an attribute is read of, if it is one, as (kind, name). Where branches
    meet, such as in `(a or b).c`, it is none."""
    before = instructions[number - 1]
    name = before.argval[-1] if isinstance(before.argval, tuple) else before.argval
    if instructions[number].is_jump_target:
        return None
    if before.opname.startswith("LOAD_FAST"):
        return "local", name
    if before.opname == "LOAD_GLOBAL":
        return "global", name
    return ("cell", name) if before.opname == "LOAD_DEREF" else None


_GENERATORS = frozenset(("default_rng", "RandomState", "SeedSequence", "SystemRandom", "Random"))


def _is_called_without_seed(instructions: list[dis.Instruction]) -> bool:
    """Whether a call without arguments, or of None alone, comes next."""
    given: list[Any] = []
    for instruction in instructions:
        if instruction.opname.startswith("CALL"):
            return all(value is None for value in given)
        if instruction.opname == "LOAD_CONST":
            given.append(instruction.argval)
        elif instruction.opname not in ("PUSH_NULL", "PRECALL", "CACHE", "KW_NAMES"):
            return False
    return False


def _constant_names(asks: str, instructions: list[dis.Instruction]) -> set[str]:
    """The names that a call of getattr or its like gives as constants; none if it computes one, or
    if it is not called here."""
    operands = _operands(instructions)
    if operands is None:
        return set()
    place = _ASKS[asks]
    constants = [
        number
        for number, (instruction, depth) in enumerate(operands)
        if instruction.opname == "LOAD_CONST"
        and isinstance(instruction.argval, str)
        and (place is None or depth == place)
        and all(later > depth for _, later in operands[number + 1 :])
    ]
    if asks == "attrgetter":
        constants = [n for n, (ins, _) in enumerate(operands) if isinstance(ins.argval, str)]
        if len(constants) < len(operands):
            return set()
    found: set[str] = set()
    for number in constants:
        name = operands[number][0].argval
        if not all(part.isidentifier() for part in name.split(".")):
            return set()
        found.update(name.split("."))
    return found


def _operands(
    instructions: list[dis.Instruction],
) -> list[tuple[dis.Instruction, int]] | None:
    """The instructions that make the operands of the function that was just loaded, up to its call,
    and how many values lie above it after each; None if it is not called, or if operands branch."""
    found: list[tuple[dis.Instruction, int]] = []
    depth = 0
    for number, instruction in enumerate(instructions):
        name, opcode = instruction.opname, instruction.opcode
        if number == 0 and name == "PUSH_NULL":
            continue
        if opcode in dis.hasjrel or opcode in dis.hasjabs:
            return None
        depth += dis.stack_effect(opcode, instruction.arg if opcode >= dis.HAVE_ARGUMENT else None)
        if depth <= 0:
            return found if name.startswith(("CALL", "PRECALL")) else None
        found.append((instruction, depth))
    return None


def _handles_errors(code: CodeType, instructions: list[dis.Instruction]) -> bool:
    table = getattr(code, "co_exceptiontable", None)
    if table is not None:
        return bool(table)
    return any(i.opname.startswith("SETUP_") for i in instructions)


_known: dict[CodeType, Mentions] = {}


def mentions(code: CodeType) -> Mentions:
    """What the code mentions; functions written inside it are frames of their own."""
    found = _known.get(code)
    if found is None:
        if len(_known) > 20_000:
            _known.clear()
        found = _known[code] = Mentions(code)
    return found


# ------------------------------------------------------------------------------ who watches

THREADS = tuple(
    getattr(_thread, name)
    for name in ("start_new_thread", "start_joinable_thread")
    if hasattr(_thread, name)
)
"""Functions of C that start a thread; which of them there are depends on Python's version."""

TELLERS = (_queue.SimpleQueue().put, _queue.SimpleQueue().get)
"""Functions of C that hand something to another thread, which takes it up outside of the trace."""

_TELLING = frozenset(
    function.__code__
    for function in (
        queue.Queue.put,
        queue.Queue.get,
        threading.Event.set,
        threading.Event.wait,
        threading.Condition.notify,
        threading.Condition.wait,
        threading.Barrier.wait,
    )
)
"""The same, of Python."""

FRAMES = sys._getframe

_UNFORESEEN: tuple[Any, ...] = (
    builtins.open,
    builtins.input,
    os.urandom,
    os.getpid,
    *(
        getattr(os, name)
        for name in (
            "access chdir chmod getcwd getppid getloadavg link listdir lstat mkdir open pipe read "
            "readlink remove rename replace rmdir scandir stat symlink system times truncate "
            "umask unlink utime write"
        ).split()
        if hasattr(os, name)
    ),
    *(
        getattr(time, name)
        for name in (
            "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time "
            "process_time_ns thread_time thread_time_ns clock_gettime clock_gettime_ns localtime "
            "gmtime strftime ctime asctime sleep"
        ).split()
        if hasattr(time, name)
    ),
    datetime.datetime.now,
    datetime.datetime.utcnow,
    datetime.date.today,
    random.random,
    random.getrandbits,
    super(random.Random, random.Random(0)).seed,
    np.fromfile,
    gc.get_objects,
    gc.get_referrers,
    gc.enable,
    gc.disable,
    _signal.signal,
    atexit.register,
    sys.setswitchinterval,
    sys.setrecursionlimit,
    type.__subclasses__.__get__(object),
    FRAMES,
    *THREADS,
    *TELLERS,
)
"""Functions of C whose results differ from call to call, or that do something each time."""

UNWATCHED_MODULES = (sys.stdlib_module_names | {"tigon", "numpy"}) - {"__main__"}

_local = threading.local()


def is_shared_generator(generator: Any) -> bool:
    """Whether it is the one behind `random.random`."""
    return generator is random.random.__self__  # type: ignore[attr-defined]


def _classify(code: CodeType) -> bool:
    path = code.co_filename
    if not is_own(path) and is_library(path):
        return code in _TELLING or (code.co_argcount > 0 and code.co_varnames[0] == "self")
    return is_user(path) or is_layer(path)


def _entered(frame: FrameType) -> None:
    handler = getattr(_local, "handler", None)
    if handler is None:
        return
    # Text that is evaluated, such as type hints, belongs to the module that it is evaluated in.
    if frame.f_code.co_filename == "<string>":
        if str(frame.f_globals.get("__name__")).split(".")[0] in UNWATCHED_MODULES:
            return
    if frame.f_code in _TELLING:
        asking = _asking(frame)
        if asking is not None:
            handler.tells(asking)
    elif is_library(frame.f_code.co_filename):
        handler.entered_library(frame)
    elif not _is_of_an_import(frame):
        handler.entered(frame)


def _is_of_an_import(frame: FrameType) -> bool:
    """Whether it runs because something is imported: what a module's body does, it does once."""
    caller = frame.f_back
    while caller is not None and not is_own(caller.f_code.co_filename):
        if caller.f_code.co_filename.startswith("<frozen importlib"):
            return True
        caller = caller.f_back
    return False


def _called(frame: FrameType, function: Any) -> None:
    handler = getattr(_local, "handler", None)
    if handler is None:
        return
    asking = _asking(frame)
    if asking is not None and not _is_of_an_import(frame):
        handler.called(asking, function, frame)


def _asking(frame: FrameType) -> FrameType | None:
    """Who wanted it: the innermost frame that is not of a library, if it is the user's."""
    asking: FrameType | None = frame
    while asking is not None and is_library(asking.f_code.co_filename):
        # Logging asks for the time of day; what it writes speaks while tracing, as print does.
        if os.sep + "logging" + os.sep in asking.f_code.co_filename:
            return None
        asking = asking.f_back
    return asking if asking is not None and is_user(asking.f_code.co_filename) else None


_native.set_watcher(_classify, _entered, _called, list(_UNFORESEEN))


@cache
def _watch_uuids() -> None:
    """`uuid.uuid1` asks a module of C that is there once a program has imported `uuid`."""
    found = [*_UNFORESEEN, sys.modules["_uuid"].generate_time_safe]
    _native.set_watcher(_classify, _entered, _called, found)


@contextmanager
def watched(handler: Any) -> Iterator[None]:
    """Show this thread's frames of user code to `handler.entered(frame)`, and calls of what nobody
    can foresee to `handler.called(frame, function)`. A profiler of the user's rests meanwhile."""
    if "_uuid" in sys.modules:
        _watch_uuids()
    previous = getattr(_local, "handler", None)
    _local.handler = handler
    _native.watch(True)
    try:
        yield
    finally:
        _local.handler = previous
        if previous is None:
            _native.watch(False)


@contextmanager
def unwatched() -> Iterator[None]:
    """Work of ours in the middle of a trace that would show itself as the user's."""
    previous = getattr(_local, "handler", None)
    _local.handler = None
    try:
        yield
    finally:
        _local.handler = previous


def user_line(frame: FrameType) -> str:
    """File and line of a frame."""
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
