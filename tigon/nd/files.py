"""Arrays in files: MXNet's .params, and safetensors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
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
    so, MXNet's .params otherwise. Sparse arrays are written as such, but to safetensors, which has
    dense ones only.

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
        content = params.write({name: _stored(array) for name, array in data.items()})
    else:
        content = params.write([_stored(array) for array in data])
    write_file(fname, content)


def _stored(array: Any) -> np.ndarray | params.Sparse:
    """An array as a file has it."""
    if type(array) is NDArray:
        return array.bits_to_numpy()
    pointers = array.indptr.asnumpy() if array.stype == "csr" else None
    return params.Sparse(array.shape, array.data.bits_to_numpy(), array.indices.asnumpy(), pointers)


def load(fname: AnyPath) -> Any:
    """The arrays of a file: a dict if they have names, a list otherwise. What MXNet, or `save`, has
    written as a sparse array is one.

    >>> import tempfile
    >>> from tigon import nd
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder + "/x", [nd.array([[0, 0], [1, 2]]).tostype("row_sparse")])
    ...     load(folder + "/x")[0].indices.asnumpy()
    array([1])
    """
    return _load(fname, dense=False)


def load_dense(fname: AnyPath) -> Any:
    """The same with dense arrays for sparse ones; such a file may not ask for much more memory than
    it has bytes."""
    return _load(fname, dense=True)


def _load(fname: AnyPath, dense: bool) -> Any:
    tracing.needs_arrays("reads a file")
    with open(fname, "rb") as file:
        content = file.read()
    return _read(content, os.fsdecode(fname), _is_named_safetensors(fname), dense)


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


def _read(content: bytes, where: str, named_safetensors: bool, dense: bool = False) -> Any:
    from tigon.export import safetensors

    found: Mapping[str, Any] | Sequence[Any]
    if named_safetensors or safetensors.is_safetensors(content):
        found = safetensors.read(content, where)
    elif dense:
        found = params.read(content, where)
    else:
        entries = params.entries(content, where)
        if isinstance(entries, dict):
            found = {name: entry.array for name, entry in entries.items()}
        else:
            found = [entry.array for entry in entries]
    if isinstance(found, Mapping):
        return {name: _read_array(array) for name, array in found.items()}
    return [_read_array(array) for array in found]


def _read_array(array: np.ndarray | params.Sparse) -> Any:
    if isinstance(array, params.Sparse):
        return import_module("tigon.nd.stored").from_file(array)  # few files hold them
    return _native.from_numpy(array, _native.FIRST_CPU)
