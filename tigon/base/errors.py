"""Two kinds of error, never mixed: the user's (`TigonError`) and ours (`InternalError`)."""

from __future__ import annotations

import os
import sys
from types import TracebackType

from tigon.base import config


class TigonError(RuntimeError):
    """A mistake in the program or its data. The message names the operator, what was expected,
    what was given, and the next step."""


MXNetError = TigonError
"""The name under which MXNet programs catch it."""


class TigonIndexError(TigonError, IndexError):
    """An index that is out of range. Where it is data, it is raised where the result is read."""


class TigonTypeError(TigonError, TypeError):
    """A dtype that an operator does not take, or an argument that a class does not."""


class TigonTimeoutError(TigonError, TimeoutError):
    """Something that was not there in time."""


class NotImplementedForSymbol(TigonError):
    """What only an array can do was asked of a symbol."""

    def __init__(self, function: object, *_: object) -> None:
        super().__init__(
            f"Symbol.{_name_of(function)}: expected an NDArray, given a Symbol, which has no "
            "values yet; bind or compile it and call that on the result"
        )


def _name_of(function: object) -> str:
    return function if isinstance(function, str) else getattr(function, "__name__", "?")


class InternalError(AssertionError):
    """A broken invariant inside tigon: a bug to report, never the user's fault."""


def check(condition: object, where: str, message: str) -> None:
    """Raise `TigonError("<where>: <message>")` unless `condition` holds.

    >>> check(1 + 1 == 2, "add", "arithmetic works")
    >>> check(False, "dot", "inner sizes differ: 3 and 4; transpose one operand?")
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: dot: inner sizes differ: 3 and 4; transpose one operand?
    """
    if not condition:
        raise TigonError(f"{where}: {message}")


def add_place(error: BaseException, place: str) -> None:
    """Let the message begin with where it happened: that of an error of ours; another one has it
    as a note, where Python shows such."""
    if isinstance(error, TigonError):
        bare = error.__dict__.get("bare_message")
        if bare is not None:  # what blocks add their path to
            error.__dict__["bare_message"] = f"{place}: {bare}"
        error.args = (f"{place}: {error}", *error.args[1:])
    elif hasattr(error, "add_note"):
        error.add_note(place)


def line_of(error: BaseException) -> str:
    """File and line of the innermost caller outside the library that an error went through; of one
    that no such caller has let pass, of who called the library."""
    found = ""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith(_PACKAGE):
            found = f"{code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found or user_line()


_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def hide_inner_frames(error: BaseException) -> None:
    """Leave the frames of this package out of an error's traceback, so that those of the user's
    code remain; with `TIGON_DEBUG=1` all are shown."""
    if config.is_on("TIGON_DEBUG"):
        return
    kept = []
    trace = error.__traceback__
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            kept.append(trace)
        trace = trace.tb_next
    following = None
    for trace in reversed(kept):
        following = TracebackType(following, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
    error.__traceback__ = following


def _is_between(module: str) -> bool:
    return module.startswith("tigon.") or module == "contextlib"


def user_line() -> str:
    """File and line of the first caller outside the library, and outside of what ends a `with`."""
    frame = sys._getframe(1)
    while frame is not None and _is_between(frame.f_globals.get("__name__", "")):
        frame = frame.f_back  # type: ignore[assignment]
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "unknown line"
