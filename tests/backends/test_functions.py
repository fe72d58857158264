"""Every scalar function, per dtype, on special values and random ones, against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.harness import check, narrow
from tigon.backends.cpu.backend import CpuBackend, cpu
from tigon.base.dtypes import (
    ALL,
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    from_memory,
    int32,
    int64,
    rounded,
    uint8,
    uint32,
    uint64,
)
from tigon.base.errors import InternalError
from tigon.base.frozen import replace
from tigon.loop import build as L
from tigon.loop.functions import FUNCTIONS
from tigon.loop.grammar import Buffer, Loop, LoopAxis, Nest, Store
from tigon.loop.semantics import fused_multiply_add
from tigon.loop.verify import verify


def samples(dtype: DType, count: int, seed: int) -> np.ndarray:
    """Special values against special values first, then random ones of all magnitudes."""
    random = np.random.default_rng(seed)
    if dtype.kind == "f":
        limits = np.finfo(dtype.numpy)
        special = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            -2.5,
            3.5,
            np.inf,
            -np.inf,
            np.nan,
            limits.max,
            limits.tiny,
            limits.smallest_subnormal,
            1e10,
            -1e19,
            255.7,
            300.0,
        ]
        body = random.normal(size=count) * 10.0 ** random.integers(-3, 6, count)
    elif dtype.kind == "b":
        special = [True, False]
        body = random.integers(0, 2, count)
    else:
        bounds = np.iinfo(dtype.numpy)
        special = [0, 1, 2, 7, bounds.min, bounds.max, bounds.max - 1]
        special += [-1, -7] if dtype.kind == "i" else []
        body = random.integers(bounds.min, bounds.max, count, dtype.numpy, endpoint=True)
    values = rounded(np.array(body), dtype)
    special = (
        rounded(np.array(special), dtype) if dtype.is_float else np.array(special, dtype.numpy)
    )
    if seed % 2:  # so that pairs of special values occur
        values[: len(special) ** 2] = np.repeat(special, len(special))[:count]
    else:
        values[: len(special) ** 2] = np.tile(special, len(special))[:count]
    return values


def nest_of(function: str, operands: tuple[DType, ...], result: DType, count: int) -> Nest:
    i = L.axis("i")
    loads = [L.load(number, i, dtype) for number, dtype in enumerate(operands)]
    given = result if FUNCTIONS[function].result == "given" else None
    store = Store(len(operands), i, L.apply(function, *loads, dtype=given))
    buffers = (*(Buffer(dtype, "in") for dtype in operands), Buffer(result, "out"))
    return Nest(buffers, (), (Loop((LoopAxis("i", L.const(count), vector=True),), (store,)),))


def run(
    function: str, operands: tuple[DType, ...], result: DType, backend: CpuBackend = cpu
) -> None:
    count = 419
    arrays = [samples(dtype, count, number) for number, dtype in enumerate(operands)]
    if function in ("shl", "shr"):
        limit = 8 * operands[0].itemsize
        arrays[1] = (np.arange(count) % limit).astype(operands[1].numpy)
    with np.errstate(all="ignore"):
        nest = nest_of(function, operands, result, count)
        check(nest, [*arrays, np.zeros(count, result.numpy)], backend=backend)


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_exact_functions(dtype: DType) -> None:
    for function, record in FUNCTIONS.items():
        if record.expansion or record.result == "given":
            continue
        if dtype.kind not in record.kinds or (
            record.numpy is fused_multiply_add and dtype.itemsize == 8
        ):
            continue
        if dtype.is_narrow and not record.moves:
            result = bool_ if record.result == "bool" else dtype
            with pytest.raises(InternalError, match=f"no meaning for {dtype}; cast the operand"):
                verify(nest_of(function, (dtype,) * record.arity, result, 1))
            continue
        operands = (dtype,) * record.arity
        if function in ("select", "seldom"):
            operands = (bool_, *operands[1:])
        run(function, operands, bool_ if record.result == "bool" else dtype)


@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_a_product_and_a_sum_that_are_rounded_once(dtype: DType) -> None:
    """Without an instruction for it; of a float32 in another format."""
    run("fma", (dtype,) * 3, dtype, CpuBackend(replace(cpu.target, fused=False)))


@pytest.mark.parametrize("source", ALL, ids=str)
def test_casts(source: DType) -> None:
    for target in ALL:
        run("cast", (source,), target)
        if source.is_narrow or target.is_narrow:
            run("cast", (source,), target, narrow(16))  # without instructions for it
        elif target.itemsize == source.itemsize and "b" not in source.kind + target.kind:
            run("bitcast", (source,), target)


@pytest.mark.parametrize("backend", [cpu, narrow(16)], ids=["own", "16"])
@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
def test_every_number_of_two_bytes_and_what_lies_around_it(
    dtype: DType, backend: CpuBackend
) -> None:
    """All of them in float32 and back; halfway between two, and beside that, from float64."""
    every = from_memory(np.arange(1 << 16, dtype=np.uint16).view(dtype.memory), dtype)
    check(
        nest_of("cast", (dtype,), float32, every.size),
        [every, np.zeros(every.size, "f")],
        backend=backend,
    )
    numbers = np.sort(every[np.isfinite(every)].astype(np.float64))
    middle = (numbers[1:] + numbers[:-1]) / 2
    with np.errstate(over="ignore"):
        near = [middle, np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf), numbers]
        for source in (float32, float64):
            given = np.concatenate(near).astype(source.numpy)
            nest = nest_of("cast", (source,), dtype, given.size)
            (got,) = check(nest, [given, np.zeros(given.size, dtype.numpy)], backend=backend)
            exact = given.astype(np.float64)
            if dtype is float16:
                np.testing.assert_array_equal(got, exact.astype(np.float16))
                continue
            above = np.clip(np.searchsorted(numbers, exact), 1, numbers.size - 1)
            off = np.minimum(abs(numbers[above] - exact), abs(exact - numbers[above - 1]))
            finite = np.isfinite(got)
            np.testing.assert_array_equal(abs(got.astype(np.float64) - exact)[finite], off[finite])
            assert (abs(exact[~finite]) > numbers[-1]).all()


@pytest.mark.parametrize("backend", [cpu, narrow(32), narrow(16)], ids=["own", "32", "16"])
@pytest.mark.parametrize("dtype", [float32, float64, int32, uint8], ids=str)
def test_the_rare_case_wherever_it_is_met(dtype: DType, backend: CpuBackend) -> None:
    """In no lane, in some, in all; of vectors, of single elements, of what a loop has in common."""
    count = 77
    for stop in (0, 1, 3, 40, count):
        x = (np.arange(count) % 40).astype(dtype.numpy)
        for index in (L.axis("i"), L.const(5), L.axis("o")):
            given = L.mul(L.load(0, index, dtype), 2)
            rare = L.sub(L.mul(given, given), L.add(given, 3))
            value = L.seldom(L.lt(given, stop), given, rare, L.add(given, 1))
            place = L.add(L.mul(L.axis("o"), count), L.axis("i"))
            loop = Loop(
                (LoopAxis("i", L.const(count), vector=True),),
                (Store(1, place, L.add(value, L.load(0, L.axis("i"), dtype))),),
            )
            nest = Nest(
                (Buffer(dtype, "in"), Buffer(dtype, "out")), (LoopAxis("o", L.const(9)),), (loop,)
            )
            check(nest, [x, np.zeros(9 * count, dtype.numpy)], backend=backend)


def test_integer_division_never_traps() -> None:
    least = np.iinfo(np.int64).min
    a = np.array([least, least, 5, -5, 0] * 7, np.int64)
    b = np.array([-1, 0, 0, 0, 0] * 7, np.int64)
    i = L.axis("i")
    x, y = L.load(0, i, int64), L.load(1, i, int64)
    for function in ("floordiv", "mod", "fmod", "truncdiv"):
        store = Store(2, i, L.apply(function, x, y))
        buffers = (Buffer(int64, "in"), Buffer(int64, "in"), Buffer(int64, "out"))
        nest = Nest(buffers, (), (Loop((LoopAxis("i", L.const(35), vector=True),), (store,)),))
        check(nest, [a, b, np.zeros(35, np.int64)])


@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("dtype", [int64, uint32, uint64, uint8], ids=str)
def test_division_by_powers_of_two(dtype: DType, lanes: bool) -> None:
    x = samples(dtype, 40, 9)
    i = L.axis("i")
    buffers = (Buffer(dtype, "in"), Buffer(dtype, "out"))
    for function in ("floordiv", "mod"):
        for divisor in (1, 2, 4, 8, 16, 64):
            store = Store(1, i, L.apply(function, L.load(0, i, dtype), divisor))
            loop = Loop((LoopAxis("i", L.const(x.size), vector=lanes),), (store,))
            check(Nest(buffers, (), (loop,)), [x, np.zeros(x.size, dtype.numpy)])
