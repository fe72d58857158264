"""Exported libraries as another program sees them: through their C interface, by ctypes."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

MOST = 8
DTYPES = (
    "float32 float64 float16 uint8 int32 int8 int64 bool int16 uint16 uint32 uint64 bfloat16"
).split()
BAD_ARGUMENT, BAD_EXTENT, UNFIT, NO_MEMORY, BAD_WEIGHTS, FAILED, NO_SUCH = range(1, 8)
INPUT, OUTPUT, EXTENT, STATE, WEIGHT, LEVEL = range(6)


class Array(c.Structure):
    _fields_ = [
        ("data", c.c_void_p),
        ("bytes", c.c_size_t),
        ("dtype", c.c_int32),
        ("dimensions", c.c_int32),
        ("shape", c.c_int64 * MOST),
    ]


class Description(c.Structure):
    _fields_ = [
        ("name", c.c_char_p),
        ("dtype", c.c_int32),
        ("dimensions", c.c_int32),
        ("shape", c.c_int64 * MOST),
        ("bytes", c.c_size_t),
    ]


ALLOCATE = c.CFUNCTYPE(c.c_void_p, c.c_void_p, c.c_size_t)
RELEASE = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p, c.c_size_t)
BODY = c.CFUNCTYPE(None, c.c_void_p, c.c_int64, c.c_int32)
PARALLEL_FOR = c.CFUNCTYPE(None, c.c_void_p, c.c_int64, BODY, c.c_void_p)


class Options(c.Structure):
    _fields_ = [
        ("size", c.c_size_t),
        ("largest", c.POINTER(c.c_int64)),
        ("weights_path", c.c_char_p),
        ("weights", c.c_char_p),
        ("weights_bytes", c.c_size_t),
        ("level", c.c_char_p),
        ("seed", c.c_int64),
        ("allocate", ALLOCATE),
        ("release", RELEASE),
        ("parallel_for", PARALLEL_FOR),
        ("context", c.c_void_p),
        ("workers", c.c_int32),
        ("message", c.c_char_p),
        ("message_bytes", c.c_size_t),
    ]


class ForeignError(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Library:
    """The functions of a file."""

    def __init__(self, path: Any) -> None:
        self.prefix = Path(path).stem
        self._library = c.CDLL(str(path), mode=c.RTLD_LOCAL if hasattr(c, "RTLD_LOCAL") else 0)
        self.last_error = self._function("last_error", c.c_char_p, c.c_void_p)
        self.create = self._function("create", c.c_int32, c.c_void_p, c.c_void_p)
        self.run = self._function("run", c.c_int32, c.c_void_p, c.c_void_p, c.c_void_p)
        self.destroy = self._function("destroy", None, c.c_void_p)
        self.state = self._function("state", c.c_int32, c.c_void_p, c.c_int32, c.c_void_p)
        self.seed = self._function("seed", c.c_int32, c.c_void_p, c.c_int64)
        self.tell = self._function("describe", c.c_int32, c.c_int32, c.c_int32, c.c_void_p)

    def _function(self, name: str, result: Any, *arguments: Any) -> Any:
        found = getattr(self._library, f"{self.prefix}_{name}")
        found.restype, found.argtypes = result, arguments
        return found

    def describe(self, kind: int) -> list[tuple[str, str, tuple[int, ...]]]:
        """(name, dtype, shape) of each."""
        found: list[tuple[str, str, tuple[int, ...]]] = []
        one = Description()
        while self.tell(kind, len(found), c.byref(one)) == 0:
            shape = tuple(one.shape[: one.dimensions])
            found.append((one.name.decode(), DTYPES[one.dtype], shape))
        return found

    def instance(self, **options: Any) -> Instance:
        return Instance(self, **options)


class Instance:
    def __init__(self, library: Library, largest: Sequence[int] = (), **options: Any) -> None:
        self.library = library
        self._message = c.create_string_buffer(512)
        self.options = Options(size=c.sizeof(Options), message_bytes=512, **options)
        self.options.message = c.cast(self._message, c.c_char_p)
        if largest:
            self.options.largest = (c.c_int64 * len(largest))(*largest)
        self.handle = c.c_void_p()
        status = library.create(c.byref(self.options), c.byref(self.handle))
        if status:
            raise ForeignError(status, self._message.value.decode())

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """The outputs; numpy's memory goes in and out as it is."""
        given = (Array * max(1, len(inputs)))(*map(array_of, inputs))
        outputs = self.library.describe(OUTPUT)
        made = (Array * max(1, len(outputs)))()
        self.check(self.library.run(self.handle, given, made))  # only shapes
        results = []
        for one in made[: len(outputs)]:
            dtype = DTYPES[one.dtype].replace("bfloat16", "uint16")
            results.append(np.zeros(one.shape[: one.dimensions], dtype))
        made = (Array * max(1, len(outputs)))(*map(array_of, results))
        self.check(self.library.run(self.handle, given, made))
        return results

    def check(self, status: int) -> None:
        if status:
            raise ForeignError(status, self.library.last_error(self.handle).decode())

    def state(self, number: int) -> np.ndarray:
        """A copy."""
        found = Array()
        self.check(self.library.state(self.handle, number, c.byref(found)))
        content = c.string_at(found.data, found.bytes)
        return np.frombuffer(content, DTYPES[found.dtype]).reshape(found.shape[: found.dimensions])

    def seed(self, seed: int) -> None:
        self.check(self.library.seed(self.handle, seed))

    def close(self) -> None:
        self.library.destroy(self.handle)
        self.handle = c.c_void_p()


def array_of(array: np.ndarray) -> Array:
    """Records of bits are bfloat16."""
    shape = (c.c_int64 * MOST)(*array.shape)
    code = DTYPES.index("bfloat16" if array.dtype.names else array.dtype.name)
    return Array(array.ctypes.data, array.nbytes, code, array.ndim, shape)
