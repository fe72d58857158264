"""States of optimizers as MXNet wrote them: pickles. The one kind that is read, through a list of
what may be in it: everything that a pickle can call is a function or a class of this file."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Mapping
from typing import Any

import numpy as np

from tigon.base import TigonError, check
from tigon.base.frozen import Frozen
from tigon.export import params

_SIMPLE = frozenset(("float16", "float32", "float64", "bool", "f2", "f4", "f8", "b1")) | {
    f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}
_SIMPLE |= {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)}


class Array:
    """Stands for an NDArray: the bytes of its record."""

    def __init__(self, *_: Any) -> None:
        self.record: bytes | None = None

    def __setstate__(self, state: Any) -> None:
        record = state.get("handle") if isinstance(state, dict) else None
        if record is not None and not isinstance(record, (bytes, bytearray)):
            raise ValueError("an array without bytes")
        self.record = None if record is None else bytes(record)


class Plain:
    """Stands for an optimizer or a schedule: its attributes."""

    name = ""

    def __init__(self, *_: Any) -> None:
        self.fields: dict[Any, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ValueError("attributes that are no dictionary")
        self.fields = state


class _Dtype:
    def __init__(self, name: Any, *_: Any) -> None:
        if name not in _SIMPLE:
            raise ValueError("a dtype that no number of an optimizer has")
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Byte order and such, which is that of every machine of today."""


def _number(dtype: Any, data: Any) -> Any:
    """A scalar of numpy."""
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, np.dtype(dtype.name).newbyteorder("<"))[0].item()


def _bytes(given: Any = b"", encoding: str = "latin1") -> bytes:
    """`bytearray`, and how old protocols spell bytes."""
    if isinstance(given, str) and encoding in ("latin1", "latin-1"):
        return given.encode("latin1")
    if not isinstance(given, bytes):
        raise ValueError("bytes that are none")
    return given


def _reconstruct(kind: Any, base: Any, state: Any) -> Any:
    """How protocols 0 and 1 make an object."""
    if not (isinstance(kind, type) and issubclass(kind, (Array, Plain))):
        raise ValueError("an object of another class")
    return kind()


_KNOWN: Mapping[tuple[str, str], Any] = {
    ("mxnet.ndarray.ndarray", "NDArray"): Array,
    ("mxnet.ndarray", "NDArray"): Array,
    **{(module, "bytearray"): _bytes for module in ("builtins", "__builtin__")},
    **{(module, "object"): None for module in ("builtins", "__builtin__")},
    **{(module, "_reconstructor"): _reconstruct for module in ("copyreg", "copy_reg")},
    ("_codecs", "encode"): _bytes,
    ("numpy", "dtype"): _Dtype,
    **{
        (f"numpy.{core}.multiarray", "scalar"): _number
        for core in ("core", "_core")
    },
}  # fmt: skip
_CLASSES = ("mxnet.optimizer.optimizer", "mxnet.optimizer", "mxnet.lr_scheduler")
"""Any class of these is its name and its attributes."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module in _CLASSES and name.isidentifier():
            return type(name, (Plain,), {"name": name})
        raise TigonError(f"{module}.{name}")


class OldStates(Frozen):
    """What such a file says."""

    states: dict[Any, Any]
    """By parameter: None, an array of numpy, or tuples of these."""
    optimizer: Any
    """A `Plain`, or None where the states alone were written."""


def is_pickle(content: bytes | memoryview) -> bool:
    """Whether these bytes begin and end as such a file does.

    >>> is_pickle(pickle.dumps({0: None})), is_pickle(params.write([]))
    (True, False)
    """
    return len(content) > 1 and bytes(content[:1]) in (b"\x80", b"(", b"}") and content[-1:] == b"."


def read(content: bytes | memoryview, where: str) -> OldStates:
    """States from the bytes of a file of `Trainer.save_states` or `Updater.get_states` of MXNet.

    >>> read(pickle.dumps({0: None}), "memory").states
    {0: None}
    >>> read(pickle.dumps({0: print}), "memory")
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: memory: expected states of an optimizer as MXNet writes them; \
given a pickle that asks for builtins.print, which is not called
    """
    content = bytes(content)
    expected = f"{where}: expected states of an optimizer as MXNet writes them"
    try:
        _check_numbers(content)
        found = _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except TigonError as error:
        raise TigonError(
            f"{expected}; given a pickle that asks for {error}, which is not called"
        ) from None
    except Exception as error:  # what a damaged pickle may raise is anything
        raise TigonError(
            f"{expected}; given a damaged pickle: {type(error).__name__}: {error!s:.200}"
        ) from None
    states, optimizer = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
    check(
        isinstance(states, dict) and (optimizer is None or isinstance(optimizer, Plain)),
        where,
        f"expected states by parameter, and an optimizer; given {type(states).__name__} and "
        f"{type(optimizer).__name__}",
    )
    return OldStates({key: _state(key, state, where) for key, state in states.items()}, optimizer)


def _check_numbers(content: bytes) -> None:
    """Places to remember objects at are numbered one by one; a large number would only ask for
    memory."""
    for opcode, argument, _ in pickletools.genops(content):
        if "PUT" in opcode.name and argument > len(content):
            raise ValueError(f"place {argument} in a file of {len(content)} bytes")


def _state(key: Any, state: Any, where: str) -> Any:
    check(
        isinstance(key, (int, str)),
        where,
        f"expected numbers or names of parameters; given {key!r:.80}",
    )
    if not isinstance(state, (list, tuple)):
        return _values(key, state, where)
    return tuple(
        tuple(_values(key, leaf, where) for leaf in part)
        if isinstance(part, (list, tuple))
        else _values(key, part, where)
        for part in state
    )


def _values(key: Any, leaf: Any, where: str) -> np.ndarray | None:
    if leaf is None:
        return None
    check(
        isinstance(leaf, Array) and leaf.record is not None,
        where,
        f"expected arrays as the state of parameter {key!r:.80}; given {type(leaf).__name__}",
    )
    return params.read_record(leaf.record, f"{where}: the state of parameter {key!r:.80}")
