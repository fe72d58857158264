"""`mx.libinfo`: where the native library is."""

from __future__ import annotations

from tigon import _native
from tigon.base.lazy import complete as _complete

__version__ = "1.9.1"  # of MXNet, whose names and behaviour these are


def find_lib_path(prefix: str = "libmxnet") -> list[str]:
    """The file of the native library, in a list. There is one, whatever `prefix` says.

    >>> [path.endswith(".so") for path in find_lib_path()]
    [True]
    """
    return [_native.__file__]


__all__ = ["find_lib_path"]

_complete(globals())
