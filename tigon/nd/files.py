"""Arrays in files: MXNet's .params, and safetensors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import check
from tigon.export import params, safetensors
from tigon.nd.dispatch import NDArray


def save(fname: str | os.PathLike[str], data: Any) -> None:
    """Write an array, a list of arrays or a dict of arrays to a file: safetensors if its name ends
    so, MXNet's .params otherwise.

    >>> import tempfile
    >>> from tigon import nd
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder + "/x", {"w": nd.ones((1,))})
    ...     load(folder + "/x")["w"].asnumpy()
    array([1.], dtype=float32)
    """
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
            isinstance(array, NDArray) and (not named or isinstance(name, str)),
            "save",
            f"entry {name!r}: expected an NDArray; given {type(array).__name__}",
        )
    if os.fspath(fname).endswith(".safetensors"):
        check(named, "save", "expected a dict of arrays: a safetensors file holds names")
        content = safetensors.write({name: array.asnumpy() for name, array in data.items()})
    elif named:
        content = params.write({name: array.asnumpy() for name, array in data.items()})
    else:
        content = params.write([array.asnumpy() for array in data])
    _replace(os.fspath(fname), content)


def _replace(fname: str, content: bytes) -> None:
    """Write beside the file and rename, so that a failure leaves the old one."""
    temporary = f"{fname}.{os.getpid()}.part"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
        os.replace(temporary, fname)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def load(fname: str | os.PathLike[str]) -> Any:
    """The arrays of a file: a dict if they have names, a list otherwise."""
    with open(fname, "rb") as file:
        content = file.read()
    return load_frombuffer(content, os.fspath(fname))


def load_frombuffer(buf: bytes, where: str = "buffer") -> Any:
    """Like `load`, from the bytes of a file."""
    if safetensors.is_safetensors(buf):
        found: Mapping[str, np.ndarray] | Sequence[np.ndarray] = safetensors.read(buf, where)
    else:
        found = params.read(buf, where)
    if isinstance(found, Mapping):
        return {name: _native.from_numpy(params.widen(array)) for name, array in found.items()}
    return [_native.from_numpy(params.widen(array)) for array in found]
