"""Whose a file of Python code is: of this package, of a library that is not looked into, or the
user's."""

from __future__ import annotations

import os
import sysconfig

import numpy as np

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_PLACES = sysconfig.get_paths()
_LIBRARIES = tuple(
    os.path.abspath(place) + os.sep
    for place in {_PLACES["stdlib"], _PLACES["platstdlib"], os.path.dirname(np.__file__)}
)
INSTALLED = tuple(
    os.path.abspath(place) + os.sep for place in {_PLACES["purelib"], _PLACES["platlib"]}
)
_NUMPY = os.path.dirname(os.path.abspath(np.__file__)) + os.sep


def is_library(path: str) -> bool:
    """Whether a file belongs to Python or to numpy, whose inside is not looked at."""
    if path.startswith("<frozen") or path.startswith(_NUMPY):
        return True
    return path.startswith(_LIBRARIES) and not path.startswith(INSTALLED)


def is_own(path: str) -> bool:
    """Whether a file belongs to this package."""
    return path.startswith(PACKAGE)


def is_user(path: str) -> bool:
    """Whether a file is none of these."""
    return not (is_own(path) or is_library(path))
