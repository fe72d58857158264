"""Arrays in files: MXNet's .params, and safetensors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import check
from tigon.base.files import AnyPath, write_file
from tigon.export import params
from tigon.nd.dispatch import NDArray
from tigon.runtime import tracing


def save(fname: AnyPath, data: Any) -> None:
    """Write an array, a list of arrays or a dict of arrays to a file: safetensors if its name ends
    so, MXNet's .params otherwise.

    >>> import tempfile
    >>> from tigon import nd
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder + "/x", {"w": nd.ones((1,))})
    ...     load(folder + "/x")["w"].asnumpy()
    array([1.], dtype=float32)
    """
    data = tracing.needs_arrays("writes a file", data)
    if isinstance(data, NDArray):
        data = [data]
    check(
        isinstance(data, (Mapping, list, tuple)),
        "save",
        f"expected an NDArray, a list or a dict of them; given {type(data).__name__}",
    )
    named = isinstance(data, Mapping)
    for name, array in data.items() if named else enumerate(data):
        check(
            not named or isinstance(name, str),
            "save",
            f"expected texts for names; given {name!r}, {type(name).__name__}",
        )
        check(
            isinstance(array, NDArray),
            "save",
            f"entry {name!r}: expected an NDArray; given {type(array).__name__}",
        )
    if _is_named_safetensors(fname):
        from tigon.export import safetensors  # few programs come by

        check(named, "save", "expected a dict of arrays: a safetensors file holds names")
        content = safetensors.write({name: array.bits_to_numpy() for name, array in data.items()})
    elif named:
        content = params.write({name: array.bits_to_numpy() for name, array in data.items()})
    else:
        content = params.write([array.bits_to_numpy() for array in data])
    write_file(fname, content)


def load(fname: AnyPath) -> Any:
    """The arrays of a file: a dict if they have names, a list otherwise."""
    tracing.needs_arrays("reads a file")
    with open(fname, "rb") as file:
        content = file.read()
    return _read(content, os.fsdecode(fname), _is_named_safetensors(fname))


def _is_named_safetensors(fname: AnyPath) -> bool:
    return os.fsdecode(fname).endswith(".safetensors")


def load_frombuffer(buf: bytes, where: str = "buffer") -> Any:
    """Like `load`, from the bytes of a file."""
    check(
        isinstance(buf, (bytes, bytearray, memoryview)),
        "load_frombuffer",
        f"expected the bytes of a file; given {type(buf).__name__}",
    )
    return _read(buf, where, False)


def _read(content: bytes, where: str, named_safetensors: bool) -> Any:
    from tigon.export import safetensors

    found: Mapping[str, np.ndarray] | Sequence[np.ndarray]
    if named_safetensors or safetensors.is_safetensors(content):
        found = safetensors.read(content, where)
    else:
        found = params.read(content, where)
    if isinstance(found, Mapping):
        return {name: _native.from_numpy(array, _native.FIRST_CPU) for name, array in found.items()}
    return [_native.from_numpy(array, _native.FIRST_CPU) for array in found]
