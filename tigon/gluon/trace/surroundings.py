"""What a program reads of its surroundings: state that is set elsewhere, and that functions of
libraries, whose inside is not looked at, give or depend on.

Each entry names the functions, types and modules whose use says that it may be read.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tigon import context


class Surrounding(NamedTuple):
    """State outside of the program."""

    what: str
    state: Callable[[], Any]
    """What it is now; compared by `==` at every call."""


def _of_decimal() -> Any:
    now = sys.modules["decimal"].getcontext()
    traps = tuple(kind for kind, is_on in now.traps.items() if is_on)
    return now.prec, now.rounding, now.Emin, now.Emax, now.capitals, now.clamp, traps


def _of_thread() -> Any:
    thread = threading.current_thread()
    return thread, thread.name, thread.daemon


def _of_logging() -> Any:
    root = sys.modules["logging"].getLogger()
    return root.level, root.disabled, root.manager.disable


ENVIRONMENT = Surrounding("the environment", lambda: dict(os.environ))
"""Compared by what lies behind it, without decoding it."""

_READERS: tuple[tuple[Surrounding, str, str], ...] = (
    (ENVIRONMENT, "os", "environ environb getenv getenvb"),
    (ENVIRONMENT, "posixpath", "expandvars expanduser"),
    (ENVIRONMENT, "ntpath", "expandvars expanduser"),
    (
        Surrounding("the thread", _of_thread),
        "threading",
        "current_thread currentThread main_thread get_ident get_native_id",
    ),
    (
        Surrounding("the decimal context", _of_decimal),
        "decimal",
        "Decimal getcontext localcontext Context",
    ),
    (Surrounding("numpy's handling of errors", np.geterr), "numpy", "geterr errstate seterr"),
    (
        Surrounding("numpy's print options", lambda: repr(np.get_printoptions())),
        "numpy",
        "get_printoptions printoptions array2string array_str array_repr",
    ),
    (
        Surrounding("the current context", context.current_context),
        "tigon.context",
        "current_context",
    ),
    (Surrounding("the root logger's level", _of_logging), "logging", "getLogger root"),
    (
        Surrounding("the recursion limit", sys.getrecursionlimit),
        "sys",
        "getrecursionlimit setrecursionlimit",
    ),
)


@lru_cache(maxsize=1)
def _by_reader(modules: tuple[Any, ...]) -> dict[int, Surrounding]:
    """What is read, by the identity of what reads it; `modules` may not all be loaded."""
    found: dict[int, Surrounding] = {}
    for module, (surrounding, _, names) in zip(modules, _READERS, strict=True):
        for reader in names.split():
            if hasattr(module, reader):
                found[id(getattr(module, reader))] = surrounding
    return found


def readers() -> dict[int, Surrounding]:
    """What functions, types and objects of libraries read, by the identity of each."""
    return _by_reader(tuple(sys.modules.get(name) for _, name, _ in _READERS))


def is_logger(value: Any) -> bool:
    """Whether it is a logger; nobody has one before `logging` is imported."""
    logging = sys.modules.get("logging")
    return logging is not None and isinstance(value, logging.Logger)


def level_of(logger: Any) -> Any:
    """What decides whether a logger writes."""
    return logger.getEffectiveLevel(), logger.disabled, logger.manager.disable
