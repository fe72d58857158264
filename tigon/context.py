"""Devices and the default one: where arrays are made, and where an array is."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tigon import _native
from tigon.base import TigonError, check

_FIRST_OTHER_TYPE = 16  # of the kinds that other modules bring


class _Default(type):
    @property
    def default_ctx(cls) -> Context:
        """The default device of this thread, which may be set."""
        return current_context()

    @default_ctx.setter
    def default_ctx(cls, ctx: Context) -> None:
        context = check_context("default_ctx", ctx)
        for told in _told:
            told(context)
        _native.set_current_device(context.index)


class Context(metaclass=_Default):
    """A device: its type and its number. As a context manager it becomes the default: where arrays
    are made that are made of no others.

    `cpu(0)`, `cpu(1)`, ... are different contexts on the same memory and processors.

    >>> Context("cpu", 0)
    cpu(0)
    >>> with cpu(1):
    ...     current_context()
    cpu(1)
    """

    devtype2str = {1: "cpu", 2: "gpu", 3: "cpu_pinned", 5: "cpu_shared"}  # noqa: RUF012
    devstr2type = {"cpu": 1, "gpu": 2, "cpu_pinned": 3, "cpu_shared": 5}  # noqa: RUF012
    __slots__ = ("_index", "device_id", "device_typeid")

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
            check(
                hasattr(device_id, "__index__"),
                "Context",
                f"expected the number of a device, as in mx.cpu(0); given {device_id!r}",
            )
            number = operator.index(device_id)
            self.device_typeid, self.device_id = self.devstr2type[device_type], number
        self._index = -1

    @property
    def device_type(self) -> str:
        """Such as "cpu"."""
        return self.devtype2str[self.device_typeid]

    @property
    def index(self) -> int:
        """Its number among all devices of this process. Raises where there is no such device."""
        if self._index < 0:
            self._index = _native.device(self.device_type, self.device_id)
            _contexts.setdefault(self._index, self)
        return self._index

    @property
    def kind(self) -> str:
        """What its arrays can be computed with: contexts of one kind go together."""
        return _native.device_kind(self.index)

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

    def __reduce__(self) -> Any:
        """By name: the number of a device is that of a process."""
        return type(self), (self.device_type, self.device_id)

    def __enter__(self) -> Context:
        index = check_context("with", self).index
        for told in _told:
            told(self)
        _entered.devices.append(_native.set_current_device(index))
        return self

    def __exit__(self, *_: object) -> None:
        _native.set_current_device(_entered.devices.pop())

    def empty_cache(self) -> None:
        """Give the unused blocks of the memory pool back to the system."""
        check_context("empty_cache", self)
        _native.trim()


class _Entered(threading.local):
    """The devices that this thread returns to."""

    def __init__(self) -> None:
        self.devices: list[int] = []


_entered = _Entered()
_told: list[Callable[[Context], None]] = []


def when_entered(told: Callable[[Context], None]) -> None:
    """Let this be told of each context that becomes a thread's default."""
    _told.append(told)


_contexts: dict[int, Context] = {}


def cpu(device_id: int = 0) -> Context:
    """The processor's memory."""
    return Context("cpu", device_id)


def cpu_pinned(device_id: int = 0) -> Context:
    """Host memory; without another device it is the same as `cpu`."""
    return Context("cpu_pinned", device_id)


def gpu(device_id: int = 0) -> Context:
    """Names a graphics processor. To use it raises where no backend for one is there."""
    return Context("gpu", device_id)


def num_gpus() -> int:
    """How many graphics processors tigon can use.

    >>> num_gpus()
    0
    """
    return dict(_native.device_kinds()).get("gpu", 0)


def gpu_memory_info(device_id: int = 0) -> tuple[int, int]:
    """Free and total bytes of a graphics processor."""
    check(False, "gpu_memory_info", f"there is no gpu({device_id}); use mx.cpu()")
    raise AssertionError


def current_context() -> Context:
    """The default device of this thread."""
    return context_at(_native.current_device())


def context_at(index: int) -> Context:
    """The context of a device, as arrays hold it."""
    return _contexts[index]


def context_of(array: _native.NDArray) -> Context:
    """Where an array is."""
    return _contexts[array.device_index]


def shares_memory(array: _native.NDArray) -> bool:
    """Whether contexts of its kind read each other's arrays."""
    return _native.is_host(array.device_index)


def context_in(operands: Iterable[Any]) -> Context | None:
    """Where the first array among them is."""
    for operand in operands:
        if type(operand) is _native.NDArray:
            return context_of(operand)
    return None


def register_device_kind(capsule: Any) -> None:
    """Make devices known that another module brings: a capsule of a native `DeviceKind`
    (`csrc/engine/device.h`). Contexts are then made by its name, as `Context(name, 0)`."""
    before = dict(_native.device_kinds())
    _native.register_device_kind(capsule)
    for name in dict(_native.device_kinds()).keys() - before.keys() - Context.devstr2type.keys():
        number = max(_FIRST_OTHER_TYPE - 1, *Context.devtype2str) + 1
        Context.devtype2str[number] = name
        Context.devstr2type[name] = number


def check_context(where: str, given: Any) -> Context:
    """The device for `ctx=`; None means the default one, and a list of one means that one.

    Whatever takes a context asks here, so that what is refused is refused in the same words.
    """
    if given is None:
        return current_context()
    if isinstance(given, (list, tuple)) and len(given) == 1:
        given = given[0]
    if not isinstance(given, Context):
        several = isinstance(given, (list, tuple)) and len(given) > 1
        if several and all(isinstance(one, Context) for one in given):
            raise TigonError(
                f"{where}: expected one context; given {', '.join(map(str, given))}; give one, or "
                "use split_and_load and a list of arrays for several"
            )
        raise TigonError(f"{where}: expected a Context such as mx.cpu(); given {given!r}")
    if given._index < 0:
        try:
            given.index  # noqa: B018
        except TigonError as error:
            raise TigonError(f"{where}: {error}") from None
    return given


def check_contexts(where: str, given: Any) -> list[Context]:
    """The devices for a `ctx=` that may be several, each once and of one kind."""
    if not isinstance(given, (list, tuple)) or not given:
        return [check_context(where, given)]
    contexts = [check_context(where, one) for one in given]
    check(
        len(set(contexts)) == len(contexts),
        where,
        f"expected each context once; given {', '.join(map(str, contexts))}",
    )
    kinds = dict.fromkeys(context.kind for context in contexts)
    check(
        len(kinds) == 1,
        where,
        f"expected contexts of one kind; given {', '.join(map(str, contexts))}; leave out those of "
        "the others",
    )
    return contexts


def check_one_kind(where: str, given: Iterable[Context]) -> None:
    """Raise where arrays of these contexts do not go together."""
    contexts = list(given)
    if len({context.kind for context in contexts}) > 1:
        shown = ", ".join(dict.fromkeys(map(str, contexts)))
        raise TigonError(
            f"{where}: expected operands on devices of one kind; given {shown}; move them with "
            "as_in_context"
        )


def check_operands(where: str, arrays: Sequence[_native.NDArray]) -> None:
    """The same of arrays."""
    indices = {array.device_index for array in arrays}
    if len(indices) > 1:
        check_one_kind(where, map(context_of, arrays))


def on(where: str, given: Any) -> AbstractContextManager[Any]:
    """Where `ctx=` was given, arrays are made there."""
    return nullcontext() if given is None else check_context(where, given)


_contexts[_native.current_device()] = Context("cpu", 0)
