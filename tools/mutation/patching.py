"""A change of a function's code in a running process: what a fresh one would import changed.

Live functions are found by the code that they run. A change of what runs at import (a default, a
class body) cannot be made so, nor one that changes which variables a function shares with others.
"""

from __future__ import annotations

import dis
import gc
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType, FunctionType
from typing import Any

CO_NEWLOCALS = 2
"""Set in the code of functions, not in that of modules and classes."""
_LINE = "__firstlineno__"
"""What class bodies set to the line where they begin, from Python 3.13 on."""
Key = tuple[str, str, int]


def key_of(code: CodeType) -> Key:
    """What tells codes of one program apart, but for those that begin in one line."""
    name = getattr(code, "co_qualname", code.co_name)  # from Python 3.11 on
    return code.co_filename, name, code.co_firstlineno


def same(one: CodeType, other: CodeType) -> bool:
    """Whether two codes do the same, wherever they stand."""
    return _own(one) == _own(other) and all(
        same(a, b) for a, b in zip(_nested(one), _nested(other), strict=True)
    )


def _own(code: CodeType) -> tuple[object, ...]:
    steps = _steps(code) if _LINE in code.co_names else (code.co_code, *map(_typed, code.co_consts))
    handlers = getattr(code, "co_exceptiontable", None)  # Python 3.10 has them in `co_code`
    return (
        code.co_name, *steps, code.co_names, code.co_varnames,
        code.co_freevars, code.co_cellvars, code.co_flags, handlers,
        code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount,
    )  # fmt: skip


def _steps(code: CodeType) -> list[object]:
    """Of a class body, but for its line: that may be one of its other constants as well."""
    found = list(dis.get_instructions(code))
    (line,) = (n - 1 for n, step in enumerate(found) if step.argval == _LINE)
    return [
        (step.opname, _typed(step.argval) if step.opcode in dis.hasconst else step.arg)
        for n, step in enumerate(found)
        if n != line
    ]


def _typed(constant: object) -> object:
    """1, 1.0 and True are equal, and not the same; 0.0 and -0.0 as well."""
    if isinstance(constant, CodeType):
        return "code"
    if isinstance(constant, (tuple, frozenset)):
        return type(constant), type(constant)(map(_typed, constant))
    return type(constant), repr(constant)


def _nested(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def changed(old: CodeType, new: CodeType) -> list[tuple[CodeType, CodeType]] | None:
    """Old and new code of what was changed, after what is around it; None if several were."""
    nested = list(zip(_nested(old), _nested(new), strict=False))
    if _own(old) != _own(new) or len(_nested(old)) != len(_nested(new)):
        return [(old, new)]
    differing = [pair for pair in nested if not same(*pair)]
    if len(differing) != 1:
        return None
    inner = changed(*differing[0])
    return None if inner is None else [(old, new), *inner]


class Live:
    """The functions of a process, by the place of their code, and what of them has run so far.

    What a process imports takes part in each of its tests: a change of a line that has run by then
    would come too late.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._functions: dict[Key, list[FunctionType]] = {}
        self._lines: dict[Key, set[int]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note which lines run meanwhile."""
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]

    def look(self) -> None:
        """Find the functions that there are, and put all objects where no collector looks."""
        gc.unfreeze()
        self._functions = {}
        for found in gc.get_objects():
            if type(found) is FunctionType:
                code = found.__code__
                if code.co_filename.startswith(self._package):
                    self._functions.setdefault(key_of(code), []).append(found)
        gc.freeze()

    @property
    def _imported(self) -> set[str]:
        return {path for path, _, _ in self._lines}

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(self._package):
            return None
        lines = self._lines.setdefault(key_of(code), set())
        lines.add(frame.f_lineno)

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            lines.add(frame.f_lineno)
            return line

        return line

    def patch(
        self, path: str, old: bytes, new: bytes, lines: tuple[int, int]
    ) -> Sequence[tuple[FunctionType, CodeType]] | None:
        """Which functions take which code, for a change of these lines; None where a fresh process
        is needed."""
        pairs = changed(*(compile(s, path, "exec", dont_inherit=True) for s in (old, new)))
        if pairs is None or not pairs[-1][0].co_flags & CO_NEWLOCALS:
            return None
        ran = self._lines.get(key_of(pairs[-1][0]), set())
        if any(lines[0] <= line <= lines[1] for line in ran):
            return None
        functions = [pair for pair in pairs if pair[0].co_flags & CO_NEWLOCALS]
        if path in self._imported and not list(self._found(functions[:1])):
            return None  # whoever runs it is out of sight
        found = list(self._found(functions))
        fits = all(len(f.__code__.co_freevars) == len(c.co_freevars) for f, c in found)
        return found if fits else None

    def _found(
        self, pairs: Sequence[tuple[CodeType, CodeType]]
    ) -> Iterator[tuple[FunctionType, CodeType]]:
        for before, after in pairs:
            for function in self._functions.get(key_of(before), ()):
                if same(function.__code__, before):
                    yield function, after
