"""Which Python functions a profile shows: the user's, and those of this package that they call."""

from __future__ import annotations

import inspect
import os
import sys
import threading
from types import CodeType
from typing import Any

from tigon import _native
from tigon.base.sources import INSTALLED, PACKAGE, is_library, is_own

_LIBRARY, _USER, _OWN, _OWN_DATA, _OWN_PRIVATE = range(5)
"""As `csrc/python/bind_profile.cpp` numbers them."""

_PROFILER = PACKAGE + "profiler" + os.sep
_READS_DATA = tuple(
    PACKAGE + place
    for place in (os.path.join("gluon", "data"), "io" + os.sep, "image" + os.sep, "recordio.py")
)


_SPECIAL = frozenset("__init__ __call__ __iter__ __next__ __getitem__ __enter__ __exit__".split())
"""Methods with such names that do something of which one would like to know how long it takes."""
_DEPENDENCIES = tuple(
    place + name
    for place in INSTALLED
    for name in (
        "llvmlite",
        "scipy",
        "PIL",
        "ml_dtypes",
        "tqdm",
        "onnx",
        "safetensors",
        "_distutils",
    )
)
"""What this package calls, and a program may call."""


def classify(code: CodeType) -> tuple[int, str]:
    """Whose a function is, and what it is called."""
    path = code.co_filename
    name: str = getattr(code, "co_qualname", code.co_name)  # from Python 3.11 on
    if code.co_name.startswith("<") and code.co_name not in ("<module>", "<lambda>"):
        return _LIBRARY, name  # a comprehension is part of the function around it
    if is_own(path):
        if path.startswith(_PROFILER):
            return _OWN_PRIVATE, name
        if path.startswith(_READS_DATA):
            return _OWN_DATA, name
        if code.co_flags & inspect.CO_NESTED:
            return _LIBRARY, name  # what wraps a function of ours, which is shown
        shown = code.co_name in _SPECIAL or not code.co_name.startswith("_")
        return (_OWN if shown else _OWN_PRIVATE), name
    if is_library(path) or path.startswith(_DEPENDENCIES):
        return _LIBRARY, name
    if code.co_name == "<module>":
        if path == "<string>":
            return _LIBRARY, name  # how Python makes named tuples
        name = os.path.basename(path)
    return _USER, name


_native.profile.set_classify(classify)


def show_calls(on: bool) -> None:
    """Of this thread and of those that begin from now on. Where another profiler is at work, as
    `cProfile`, it goes on, and calls of Python are not shown."""
    _native.profile.show_calls(on)
    of_threads = threading.getprofile()
    if on and of_threads is None:
        threading.setprofile(_show_of_thread)
    elif not on and of_threads is _show_of_thread:
        threading.setprofile(None)  # type: ignore[arg-type]


def _show_of_thread(*_: Any) -> None:
    """What a new thread calls first."""
    sys.setprofile(None)
    _native.profile.set_thread_title(threading.current_thread().name)
    if _native.profile.is_running():
        _native.profile.show_calls(True)
