"""Kernels for the runtime's own tests, as C functions compiled once per session."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tigon import _native

SOURCE = r"""
#include <stdint.h>
#include <unistd.h>
#define KERNEL(name) \
  int32_t name(void* const* b, const int64_t* s, void* w, int64_t begin, int64_t end)
#define UNUSED (void)b; (void)s; (void)w; (void)begin; (void)end
#define BINARY(name, type, expression)                              \
  KERNEL(name) { UNUSED; const type* x = b[0]; const type* y = b[1]; type* z = b[2]; \
    for (int64_t i = begin; i < end; ++i) z[i] = (expression); return 0; }
BINARY(add, float, x[i] + y[i])
BINARY(multiply, float, x[i] * y[i])
BINARY(subtract, float, x[i] - y[i])
BINARY(add_scalar, float, x[i] + y[0])
BINARY(scalar_minus, float, x[0] - y[i])
BINARY(multiply_scalar, float, x[i] * y[0])
BINARY(add_int, int32_t, x[i] + y[i])
BINARY(add_int_scalar, int32_t, x[i] + y[0])
KERNEL(copy) { UNUSED; const float* x = b[0]; float* z = b[1];
  for (int64_t i = begin; i < end; ++i) z[i] = x[i]; return 0; }
KERNEL(negate) { UNUSED; const float* x = b[0]; float* z = b[1];
  for (int64_t i = begin; i < end; ++i) z[i] = -x[i]; return 0; }
KERNEL(reverse) { UNUSED; const float* x = b[0]; float* z = b[1];
  for (int64_t i = begin; i < end; ++i) z[i] = x[s[0] - 1 - i]; return 0; }
KERNEL(axpb) { UNUSED; const float* x = b[0]; const float* y = b[1]; float* z = b[2];
  double a = ((const double*)s)[0];
  for (int64_t i = begin; i < end; ++i) z[i] = (float)a * x[i] + y[i]; return 0; }
KERNEL(scratch) { UNUSED; float* z = b[0]; double* t = w;
  for (int64_t i = 0; i < s[0]; ++i) t[i] = (double)i;
  for (int64_t i = begin; i < end; ++i) z[i] = (float)t[i % s[0]]; return 0; }
KERNEL(fail) { UNUSED; return (int32_t)s[0]; }
KERNEL(slow) { UNUSED; const float* x = b[0]; float* z = b[1]; usleep((unsigned)s[0]);
  for (int64_t i = begin; i < end; ++i) z[i] = x[i] + 1; return 0; }
KERNEL(tell_key) { UNUSED; const float* x = b[0]; const int64_t* key = b[1]; float* z = b[2];
  for (int64_t i = begin; i < end; ++i) z[i] = x[i] + (float)(100 * key[0] + key[1]); return 0; }
KERNEL(nothing) { UNUSED; return 0; }
"""

FLOAT32, FLOAT64, INT32, INT64 = 0, 1, 4, 6


class Kernels:
    """Addresses of the test kernels, and short ways to build programs of them."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library

    def address(self, name: str) -> int:
        return ctypes.cast(getattr(self.library, name), ctypes.c_void_p).value

    def launch(
        self,
        name: str,
        buffers: list[tuple[int, int]],
        points: int,
        slots: bytes = b"",
        grain: int = 0,
        scratch: int = 0,
    ) -> tuple:
        return (self.address(name), buffers, slots, points, grain, scratch, name)

    def program(
        self,
        name: str,
        shape: tuple[int, ...] = (10,),
        inputs: int = 2,
        dtype: int = FLOAT32,
        scalars: tuple[int, ...] = (),
        slots: bytes = b"",
        grain: int = 0,
        scratch: int = 0,
        **options: object,
    ) -> _native.Program:
        """One launch of one kernel: inputs, then one output."""
        types = [(dtype, () if i in scalars else shape) for i in range(inputs)]
        buffers = [(_native.INPUT, i) for i in range(inputs)] + [(_native.OUTPUT, 0)]
        points = int(np.prod(shape))
        launch = self.launch(name, buffers, points, slots, grain, scratch)
        return _native.Program(
            name,
            types,
            [(dtype, shape)],
            1,
            0,
            [],
            [[launch]],
            keep_alive=self.library,
            **options,
        )


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    folder = tmp_path_factory.mktemp("kernels")
    source, library = folder / "kernels.c", folder / "kernels.so"
    source.write_text(SOURCE)
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or "cc"
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True
    )
    return Kernels(ctypes.CDLL(str(library)))


ADD, MULTIPLY, SUBTRACT, NEGATE, IDENTITY_VIEW, SLOW = range(1_000_001, 1_000_007)
"""Operator numbers far from the registry's."""


def add_gradient(kernels: Kernels, shape: tuple[int, ...], targets: list[int]) -> _native.Gradient:
    def compile() -> _native.Program:
        count, points = len(targets), int(np.prod(shape))
        wave = [kernels.launch("copy", [(0, 0), (1, i)], points) for i in range(count)]
        outputs = [(FLOAT32, shape)] * count
        alias = [[0]] if count == 1 else []
        return _native.Program(
            "add_backward", [(FLOAT32, shape)], outputs, count, 0, [], [wave], may_alias=alias
        )

    return _native.Gradient([], [0], targets, compile)


def multiply_gradient(
    kernels: Kernels, shape: tuple[int, ...], targets: list[int], scalar: bool
) -> _native.Gradient:
    def compile() -> _native.Program:
        count, points = len(targets), int(np.prod(shape))
        types = [(FLOAT32, shape)] + [(FLOAT32, () if scalar else shape)] * count
        name = "multiply_scalar" if scalar else "multiply"
        wave = [kernels.launch(name, [(0, 0), (0, 1 + i), (1, i)], points) for i in range(count)]
        outputs = [(FLOAT32, shape)] * count
        return _native.Program("multiply_backward", types, outputs, count, 0, [], [wave])

    return _native.Gradient([("input", 1 - i) for i in targets], [0], targets, compile)


def gradient_of(
    kernels: Kernels, operator: int, shape: tuple[int, ...], scalar: bool
) -> Callable[[tuple[bool, ...]], _native.Gradient]:
    def gradient(wanted: tuple[bool, ...]) -> _native.Gradient:
        targets = [i for i, want in enumerate(wanted) if want]
        if operator == ADD:
            return add_gradient(kernels, shape, targets)
        if operator == MULTIPLY:
            return multiply_gradient(kernels, shape, targets, scalar)
        name = {NEGATE: "negate", IDENTITY_VIEW: "copy"}[operator]
        return _native.Gradient([], [0], targets, lambda: kernels.program(name, shape, 1))

    return gradient


KERNEL_OF = {
    (ADD, FLOAT32, ()): "add",
    (ADD, FLOAT32, (1,)): "add_scalar",
    (ADD, INT32, ()): "add_int",
    (ADD, INT32, (1,)): "add_int_scalar",
    (MULTIPLY, FLOAT32, ()): "multiply",
    (MULTIPLY, FLOAT32, (1,)): "multiply_scalar",
    (SUBTRACT, FLOAT32, ()): "subtract",
    (SUBTRACT, FLOAT32, (0,)): "scalar_minus",
    (NEGATE, FLOAT32, ()): "negate",
}


def install(kernels: Kernels) -> Callable[..., object]:
    """A small operator set: what the registry and the compiler do, in miniature. The attributes'
    number is the cost in microseconds, or how long `SLOW` sleeps."""

    def handler(
        operator: int, attributes: int, signature: _native.Signature, devices: tuple[int, ...]
    ) -> object:
        dtype, shape, _ = next(part for part in signature if not part[2])
        scalars = tuple(i for i, part in enumerate(signature) if part[2])
        gradient = gradient_of(kernels, operator, shape, bool(scalars))
        if operator == SLOW:
            slots = struct.pack("q", attributes)
            return kernels.program("slow", shape, 1, slots=slots, cost=1000.0, may_alias=[[0]])
        if operator == IDENTITY_VIEW:
            return _native.View(0, shape, gradient=gradient, tag="view")
        name = KERNEL_OF[operator, dtype, scalars]
        if any(not weak and other != shape for _, other, weak in signature):
            raise RuntimeError(f"{name}: shapes differ")
        return kernels.program(
            name,
            shape,
            len(signature),
            dtype,
            scalars,
            may_alias=[list(range(len(signature)))],
            cost=float(attributes),
            gradient=gradient,
            tag=name,
            grain=4096,
        )

    return handler


@pytest.fixture
def operators(kernels: Kernels) -> Iterator[Kernels]:
    """The number slots bound to the small operator set, and unbound from it afterwards."""
    _native.waitall()
    _native.clear_signature_cache()
    handler = _native.set_compile_handler(install(kernels))
    slots = {"add": ADD, "multiply": MULTIPLY, "subtract": SUBTRACT, "negative": NEGATE}
    choices = [(slot, reflected) for slot in slots for reflected in (False, True)]
    before = {
        (slot, reflected): _native.set_slot_operator(
            slot, -1 if reflected else slots[slot], 0, reflected
        )
        for slot, reflected in choices
    }
    sum_before = _native.set_sum_operator(ADD, 0)
    yield kernels
    _native.set_recording(False)
    _native.clear_signature_cache()
    _native.set_compile_handler(handler)
    for (slot, reflected), (operator, attributes) in before.items():
        _native.set_slot_operator(slot, operator, attributes, reflected)
    _native.set_sum_operator(*sum_before)


def array(values: object, dtype: str = "float32") -> _native.NDArray:
    return _native.from_numpy(np.asarray(values, dtype))
