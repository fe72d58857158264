"""What `asnumpy` gives for one element with an axis: it converts to a Python number.

MXNet's programs write `float(loss.asnumpy())` and `"%f" % loss.mean().asnumpy()`, where results
have the shape (1,). numpy has refused that since 2.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class array(np.ndarray):
    """One element with axes; all that comes of it is a plain array."""

    __array_priority__ = -1.0  # joined with plain arrays it is plain

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        targets = keywords.get("out")
        if targets is not None:
            keywords["out"] = tuple(map(_plain, targets))
        result = getattr(ufunc, method)(*map(_plain, inputs), **keywords)
        if targets is None or isinstance(result, tuple):
            return result
        return targets[0]


def _plain(item: Any) -> Any:
    """The same memory as an array of numpy's own class."""
    return np.ndarray.view(item, np.ndarray) if isinstance(item, array) else item


_IN_PLACE = frozenset(
    "__iadd__ __isub__ __imul__ __imatmul__ __itruediv__ __ifloordiv__ __imod__ __ipow__ "
    "__ilshift__ __irshift__ __iand__ __ixor__ __ior__".split()
)
_ITS_OWN = frozenset(
    "__new__ __array_finalize__ __array_function__ __class_getitem__ __setstate__ __index__ resize "
    "setflags".split()
)


def _method(name: str) -> Callable[..., Any]:
    own = getattr(np.ndarray, name)

    def method(self: array, *arguments: Any, **keywords: Any) -> Any:
        result = own(_plain(self), *arguments, **keywords)
        return self if name in _IN_PLACE else result

    method.__name__ = name
    return method


def _property(name: str) -> property:
    return property(lambda self: getattr(_plain(self), name))


def _complete() -> None:
    """Let methods and properties be those of a plain array on the same memory."""
    for name, own in vars(np.ndarray).items():
        if callable(own) and name not in vars(array) and name not in _ITS_OWN:
            setattr(array, name, _method(name))
    for name in ("T", "mT", "real", "imag", "flat"):
        setattr(array, name, _property(name))


_complete()
