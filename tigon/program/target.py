"""Which backend compiles, and which optional passes are left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial

from tigon.backends.interface import Backend
from tigon.base import TigonError, check, config
from tigon.passes import pipeline
from tigon.runtime.counters import count


def backend(name: str = "cpu") -> Backend:
    """The backend of that name."""
    other = _here.get() or _elsewhere
    return other[-1] if name == "cpu" and other else _own(name)


@cache
def _own(name: str) -> Backend:
    if name == "cpu":
        from tigon.backends.cpu.backend import cpu

        cpu.store.on_refused = partial(count, "refused_entries")
        return cpu
    if name == "null":
        from tigon.backends.null.backend import NullBackend

        return NullBackend()
    raise TigonError(f"backend: expected 'cpu' or 'null'; given '{name}'")


_elsewhere: list[Backend] = []
_here: ContextVar[tuple[Backend, ...]] = ContextVar("_here", default=())


def compile_for(other: Backend) -> None:
    """From now on programs are compiled for another machine: by what does not run them."""
    _elsewhere.append(other)


@contextmanager
def compiled_for(other: Backend) -> Iterator[None]:
    """Inside, and in this thread only, programs are compiled for another machine."""
    token = _here.set((other,))
    try:
        yield
    finally:
        _here.reset(token)


def own_backend() -> Backend:
    """What computes constants while programs are compiled: always code for this machine."""
    return _own(config.text("TIGON_BACKEND"))


def optional_passes() -> tuple[str, ...]:
    """Names of what may be turned off without changing a result.

    >>> "fuse" in optional_passes()
    True
    """
    return (*pipeline.optional_passes(), "fuse")


def disabled_passes() -> frozenset[str]:
    """Optional passes turned off by `TIGON_DISABLE_PASSES=fuse,fold_constants,...` ("all")."""
    given = frozenset(filter(None, config.text("TIGON_DISABLE_PASSES").split(",")))
    unknown = sorted(given - {*optional_passes(), "all"})
    check(
        not unknown,
        "TIGON_DISABLE_PASSES",
        f"expected names among {', '.join(optional_passes())} or all; given {', '.join(unknown)}",
    )
    return given
