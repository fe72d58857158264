"""`mx.util`: variables of the environment, graphics processors, and MXNet's modes for numpy, all of
which are off."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from tigon.base import TigonError
from tigon.base.lazy import complete as _complete
from tigon.context import check_context, gpu_memory_info, num_gpus

Decorated = TypeVar("Decorated")


def getenv(name: str) -> str | None:
    """A variable of the environment; None if it is not set."""
    return os.environ.get(name)


def setenv(name: str, value: str | None) -> None:
    """Set a variable of the environment, or, with None, take it away. Some are read at the start
    only: see docs/environment.md."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def makedirs(d: str) -> None:
    """Make a folder, and those it is in, where they are not there."""
    os.makedirs(os.path.expanduser(d), exist_ok=True)


def get_gpu_count() -> int:
    """How many graphics processors there are to use.

    >>> get_gpu_count()
    0
    """
    return num_gpus()


def get_gpu_memory(gpu_dev_id: int) -> tuple[int, int]:
    """Free and total bytes of a graphics processor."""
    return gpu_memory_info(gpu_dev_id)


def get_cuda_compute_capability(ctx: Any) -> int:
    """The version of a graphics processor. Raises: there is no backend for one."""
    found = check_context("get_cuda_compute_capability", ctx)
    raise TigonError(f"get_cuda_compute_capability: {found} is no graphics processor and has none")


def set_module(module: str | None) -> Callable[[Decorated], Decorated]:
    """A decorator that says where a function or class is to be found."""

    def decorate(function: Decorated) -> Decorated:
        if module is not None:
            function.__module__ = module
        return function

    return decorate


# -- the modes for numpy


def is_np_array() -> bool:
    """Whether blocks get arrays of `mx.np`: no.

    >>> is_np_array(), is_np_shape()
    (False, False)
    """
    return False


def is_np_shape() -> bool:
    """Whether shapes mean what they mean in numpy everywhere: no. Arrays without elements and
    without axes are there all the same."""
    return False


def _refuse(name: str, asked: bool) -> None:
    if asked:
        raise TigonError(
            f"{name}: mx.np and npx are not there yet; use nd, whose arrays may be empty or have "
            "no axes, and numpy's functions on them; see docs/missing.md"
        )


def set_np_shape(active: bool) -> bool:
    """Turn the mode for shapes on, which raises, or off. Gives what was."""
    _refuse("set_np_shape", bool(active))
    return False


def set_np(shape: bool = True, array: bool = True) -> None:
    """Turn the modes for numpy on, which raises, or off."""
    _refuse("set_np", bool(shape or array))


def reset_np() -> None:
    """Turn the modes for numpy off, as they are."""


def np_shape(active: bool = True) -> AbstractContextManager[None]:
    """A `with` statement in which the mode for shapes is on, which raises, or off.

    >>> with np_shape(False):
    ...     is_np_shape()
    False
    """
    _refuse("np_shape", active)
    return nullcontext()


def np_array(active: bool = True) -> AbstractContextManager[None]:
    """A `with` statement in which the mode for arrays is on, which raises, or off."""
    _refuse("np_array", active)
    return nullcontext()


def use_np_shape(func: Decorated) -> Decorated:
    """A decorator that turns the mode for shapes on: raises."""
    _refuse("use_np_shape", True)
    return func


def use_np_array(func: Decorated) -> Decorated:
    """A decorator that turns the mode for arrays on: raises."""
    _refuse("use_np_array", True)
    return func


def use_np(func: Decorated) -> Decorated:
    """A decorator that turns both modes on: raises."""
    _refuse("use_np", True)
    return func


__all__ = [
    "get_cuda_compute_capability",
    "get_gpu_count",
    "get_gpu_memory",
    "getenv",
    "is_np_array",
    "is_np_shape",
    "makedirs",
    "np_array",
    "np_shape",
    "reset_np",
    "set_module",
    "set_np",
    "set_np_shape",
    "setenv",
    "use_np",
    "use_np_array",
    "use_np_shape",
]

_complete(globals())
