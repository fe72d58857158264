"""Kernels for the runtime's own tests, as C functions compiled once per session."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tigon import _native

SOURCE = r"""
#include <stdint.h>
#include <unistd.h>
#define KERNEL(name) int32_t name(void* const* b, const int64_t* s, void* w, int64_t begin, int64_t end)
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


def install(kernels: Kernels) -> Callable[..., object]:
    """A small operator set: what the registry and the compiler do, in miniature."""

    def gradient_of(operator: int, shape: tuple[int, ...], scalar: bool) -> Callable:
        def gradient(wanted: tuple[bool, ...]) -> _native.Gradient | None:
            targets = [i for i, want in enumerate(wanted) if want]
            if operator == ADD:

                def compile() -> _native.Program:
                    outputs = [(FLOAT32, shape)] * len(targets)
                    wave = [
                        kernels.launch("copy", [(0, 0), (1, i)], int(np.prod(shape)))
                        for i in range(len(targets))
                    ]
                    return _native.Program(
                        "add_backward", [(FLOAT32, shape)], outputs, len(targets), 0, [], [wave],
                        may_alias=[[0]] if len(targets) == 1 else [],
                    )

                return _native.Gradient([], [0], targets, compile)
            if operator == MULTIPLY:

                def compile() -> _native.Program:
                    count = len(targets)
                    types = [(FLOAT32, shape)] + [(FLOAT32, () if scalar else shape)] * count
                    kernel = "multiply_scalar" if scalar else "multiply"
                    wave = [
                        kernels.launch(kernel, [(0, 0), (0, 1 + i), (1, i)], int(np.prod(shape)))
                        for i in range(count)
                    ]
                    return _native.Program(
                        "multiply_backward", types, [(FLOAT32, shape)] * count, count, 0, [], [wave]
                    )

                return _native.Gradient(
                    [("input", 1 - i) for i in targets], [0], targets, compile
                )
            if operator == NEGATE:
                return _native.Gradient(
                    [], [0], targets, lambda: kernels.program("negate", shape, 1)
                )
            if operator == IDENTITY_VIEW:
                return _native.Gradient([], [0], [0], lambda: kernels.program("copy", shape, 1))
            raise AssertionError(operator)

        return gradient

    def handler(operator: int, attributes: int, signature: _native.Signature) -> object:
        dtype, shape, _ = next(part for part in signature if not part[2])
        scalars = tuple(i for i, part in enumerate(signature) if part[2])
        cost = float(attributes)
        gradient = gradient_of(operator, shape, bool(scalars))
        if operator == SLOW:
            return kernels.program(
                "slow", shape, 1, slots=struct.pack("q", attributes), cost=1000.0, may_alias=[[0]]
            )
        if operator == IDENTITY_VIEW:
            return _native.View(0, shape, gradient=gradient, tag="view")
        if operator == NEGATE:
            return kernels.program("negate", shape, 1, gradient=gradient, cost=cost, may_alias=[[0]])
        names = {ADD: "add", MULTIPLY: "multiply", SUBTRACT: "subtract"}
        name = names[operator]
        if dtype == INT32:
            name += "_int"
        if scalars == (1,) and operator in (ADD, MULTIPLY):
            name += "_scalar"
        elif scalars == (0,) and operator == SUBTRACT:
            name = "scalar_minus"
        elif scalars:
            raise NotImplementedError(name)
        if len(signature) == 2 and signature[0][1] != signature[1][1] and not scalars:
            raise RuntimeError(f"{name}: shapes {signature[0][1]} and {signature[1][1]} differ")
        return kernels.program(
            name, shape, 2, dtype, scalars, may_alias=[[0, 1]], cost=cost, gradient=gradient,
            tag=name, grain=4096,
        )

    return handler


@pytest.fixture
def operators(kernels: Kernels) -> Iterator[Kernels]:
    """The number slots bound to the small operator set, and unbound from it afterwards."""
    _native.waitall()
    _native.clear_signature_cache()
    handler = _native.set_compile_handler(install(kernels))
    slots = {"add": ADD, "multiply": MULTIPLY, "subtract": SUBTRACT, "negative": NEGATE}
    before = {slot: _native.set_slot_operator(slot, slots[slot], 0) for slot in slots}
    sum_before = _native.set_sum_operator(ADD, 0)
    yield kernels
    _native.set_recording(False)
    _native.clear_signature_cache()
    _native.set_compile_handler(handler)
    for slot, (operator, attributes) in before.items():
        _native.set_slot_operator(slot, operator, attributes)
    _native.set_sum_operator(*sum_before)


def array(values: object, dtype: str = "float32") -> _native.NDArray:
    return _native.from_numpy(np.asarray(values, dtype))
