"""Where arrays live. Today that is the processor's memory; programs name devices as in MXNet."""

from __future__ import annotations

import threading
from typing import Any

from tigon.base import TigonError, check

_current = threading.local()


class Context:
    """A device: its type and its number. As a context manager it becomes the default.

    >>> Context("cpu", 0)
    cpu(0)
    >>> with cpu(1):
    ...     current_context()
    cpu(1)
    """

    devtype2str = {1: "cpu", 2: "gpu", 3: "cpu_pinned", 5: "cpu_shared"}  # noqa: RUF012
    devstr2type = {"cpu": 1, "gpu": 2, "cpu_pinned": 3, "cpu_shared": 5}  # noqa: RUF012
    __slots__ = ("_previous", "device_id", "device_typeid")

    def __init__(self, device_type: str | Context, device_id: int = 0) -> None:
        if isinstance(device_type, Context):
            self.device_typeid, self.device_id = device_type.device_typeid, device_type.device_id
        else:
            known = ", ".join(self.devstr2type)
            check(
                device_type in self.devstr2type,
                "Context",
                f"expected a device of {known}; given {device_type!r}; use mx.cpu()",
            )
            self.device_typeid, self.device_id = self.devstr2type[device_type], int(device_id)
        self._previous: list[Context | None] = []

    @property
    def device_type(self) -> str:
        return self.devtype2str[self.device_typeid]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Context)
            and self.device_typeid == other.device_typeid
            and self.device_id == other.device_id
        )

    def __hash__(self) -> int:
        return hash((self.device_typeid, self.device_id))

    def __repr__(self) -> str:
        return f"{self.device_type}({self.device_id})"

    def __enter__(self) -> Context:
        check_context("with", self)
        self._previous.append(getattr(_current, "value", None))
        _current.value = self
        return self

    def __exit__(self, *_: object) -> None:
        _current.value = self._previous.pop()

    def empty_cache(self) -> None:
        """Give the unused blocks of the memory pool back to the system."""
        from tigon import _native

        check_context("empty_cache", self)
        _native.trim()


def cpu(device_id: int = 0) -> Context:
    """The processor's memory."""
    return Context("cpu", device_id)


def cpu_pinned(device_id: int = 0) -> Context:
    """Host memory; without a device it is the same as `cpu`."""
    return Context("cpu_pinned", device_id)


def gpu(device_id: int = 0) -> Context:
    """Names a graphics processor. To use it raises: this version has no such backend."""
    return Context("gpu", device_id)


def num_gpus() -> int:
    """How many graphics processors tigon can use.

    >>> num_gpus()
    0
    """
    return 0


def gpu_memory_info(device_id: int = 0) -> tuple[int, int]:
    """Free and total bytes of a graphics processor."""
    check(False, "gpu_memory_info", f"there is no gpu({device_id}); use mx.cpu()")
    raise AssertionError


def current_context() -> Context:
    """The default device of this thread."""
    return getattr(_current, "value", None) or _CPU


def check_context(where: str, given: Any) -> Context:
    """The device for `ctx=`; None means the default one, and a list of one means that one.

    Whatever takes a context asks here, so that what this version cannot do is refused everywhere in
    the same words: to compute on a gpu, and to compute on several contexts at once.
    """
    if given is None:
        given = current_context()
    if isinstance(given, (list, tuple)) and len(given) == 1:
        given = given[0]
    if isinstance(given, Context) and given.device_typeid != 2:  # messages cost more than this
        return given
    several = isinstance(given, (list, tuple))
    known = all(isinstance(one, Context) for one in (given if several else (given,)))
    check(
        known and not (several and not given),
        where,
        f"expected a Context such as mx.cpu(); given {given!r}",
    )
    shown = ", ".join(map(str, given)) if several else given
    raise TigonError(
        f"{where}: given {shown}; this version computes on one cpu context, on no gpu and not on "
        "several; use ctx=mx.cpu()"
    )


_CPU = Context("cpu", 0)
