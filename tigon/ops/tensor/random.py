"""Random numbers of distributions, made of random bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from math import nan
from typing import Any

import numpy as np

from tigon.base import as_dtype, check
from tigon.base.dtypes import DType, from_memory, rounded, to_memory
from tigon.base.extents import RuntimeNumber
from tigon.base.frozen import Frozen
from tigon.ops.primitive.arithmetic import add, floor_divide, minimum, multiply
from tigon.ops.primitive.choose import cast, select
from tigon.ops.primitive.compare import greater_equal, isinf, lesser, logical_and
from tigon.ops.primitive.create import _full
from tigon.ops.primitive.functions import cos, log, sqrt
from tigon.ops.primitive.random import KEY_SAMPLE, _bits_oracle, _random_bits
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import Creation, composite

# -------------------------------------------------------------- bits as numbers, in operators


def _bits(key: Any, shape: tuple[int, ...], ordinal: int, stream: int) -> Any:
    return _random_bits(key, shape=shape, ordinal=ordinal, stream=stream)


def unit_interval(
    key: Any, shape: tuple[int, ...], dtype: str, ordinal: int, stream: int = 0
) -> Any:
    """Numbers in [0, 1), as many bits as the dtype holds exactly. Draws one word (float32) or two
    (float64: this stream and the next)."""
    words = _bits(key, shape, ordinal, stream)
    if dtype == "float64":
        more = _bits(key, shape, ordinal, stream + 1)
        high = cast(floor_divide(words, 2**5), dtype="float64")
        low = cast(floor_divide(more, 2**6), dtype="float64")
        return (high * 2.0**26 + low) * 2.0**-53
    check(as_dtype(dtype).is_float, "random", f"expected a dtype of floats; given {dtype}")
    # int32 on the way: 24 bits fit, and hardware converts signed integers faster.
    unit = cast(cast(floor_divide(words, 2**8), dtype="int32"), dtype="float32") * 2.0**-24
    return unit if dtype == "float32" else cast(unit, dtype=dtype)


def standard_normal(key: Any, shape: tuple[int, ...], dtype: str, ordinal: int) -> Any:
    """Box and Muller: radius and angle, both from uniform numbers."""
    second = 2 if dtype == "float64" else 1
    radius = sqrt(-2 * log(1 - unit_interval(key, shape, dtype, ordinal)))
    return radius * cos(2 * math.pi * unit_interval(key, shape, dtype, ordinal, second))


def _unit_oracle(
    key: np.ndarray, shape: tuple[int, ...], dtype: str, ordinal: int, stream: int = 0
) -> Any:
    words = _bits_oracle(key, shape, ordinal, stream)
    if dtype == "float64":
        more = _bits_oracle(key, shape, ordinal, stream + 1)
        return ((words >> 5).astype(float) * 2.0**26 + (more >> 6)) * 2.0**-53
    return ((words >> 8).astype(np.float32) * np.float32(2.0**-24)).astype(np.float32)


def _normal_oracle(key: np.ndarray, shape: tuple[int, ...], dtype: str, ordinal: int) -> Any:
    u = _unit_oracle(key, shape, dtype, ordinal)
    v = _unit_oracle(key, shape, dtype, ordinal, 2 if dtype == "float64" else 1)
    kind = np.dtype(dtype).type
    return np.sqrt(kind(-2) * np.log(1 - u)) * np.cos(kind(2 * math.pi) * v)


# ------------------------------------------------------------------------ MXNet's operators


def _named(dtype: str) -> str:
    return "float32" if dtype in ("None", "") else dtype


class UniformAttrs(Frozen):
    low: float = 0.0
    high: float = 1.0
    shape: tuple[int, ...] = (1,)
    dtype: str = "float32"
    ordinal: int = 0


def _in_range(where: str, dtype: str, **numbers: float) -> None:
    limit = float(np.finfo(as_dtype(dtype).numpy).max)
    for name, number in numbers.items():
        check(
            isinstance(number, RuntimeNumber) or abs(number) <= limit,
            where,
            f"{name} is {number!r}, which {dtype} does not hold; give a finite number",
        )


def _decompose_uniform(attrs: UniformAttrs, key: Any) -> Any:
    dtype = _named(attrs.dtype)
    computed = "float32" if as_dtype(dtype).is_narrow else dtype
    unit = unit_interval(key, attrs.shape, computed, attrs.ordinal)
    if (attrs.low, attrs.high) == (0, 1) and computed == dtype:
        return unit
    _in_range("uniform", dtype, low=attrs.low, high=attrs.high)
    low = attrs.low
    if not isinstance(low, RuntimeNumber):
        check_number("uniform", "high", attrs.high, f"at least low, {low}", lambda x: x >= low)
    span = attrs.high - attrs.low
    if isinstance(attrs.low + attrs.high, RuntimeNumber):
        drawn = unit * span + attrs.low
        return drawn if computed == dtype else cast(drawn, dtype=dtype)
    last = _before_high(attrs, as_dtype(dtype))
    if _overflows(attrs, computed):
        drawn = unit * attrs.high + (1 - unit) * attrs.low
        drawn = drawn if last is None else minimum(drawn, last)
    else:
        drawn = _between(unit, span, attrs.low, last)
    return drawn if computed == dtype else cast(drawn, dtype=dtype)


def _overflows(attrs: UniformAttrs, dtype: str) -> bool:
    return attrs.high - attrs.low > float(np.finfo(as_dtype(dtype).numpy.type).max)


def _between(unit: Any, span: Any, low: Any, last: Any | None) -> Any:
    """Numbers of [0, 1) put between `low` and `last`."""
    drawn = unit * span + low
    return drawn if last is None else minimum(drawn, last)


def _before_high(attrs: UniformAttrs, dtype: DType) -> float | None:
    """Rounding may reach `high`, which is not to be drawn: the greatest number of the dtype before
    it instead."""
    low, high = (rounded(np.array([number]), dtype) for number in (attrs.low, attrs.high))
    if not low < high:
        return None
    if not dtype.is_narrow:
        return float(np.nextafter(high, low)[0])
    bits = to_memory(high, dtype).view(np.int16)
    before = bits - 1 if high > 0 else bits + 1 if high < 0 else np.array([-0x7FFF], np.int16)
    return float(from_memory(before.view(dtype.memory), dtype)[0])


def uniform_numbers(shape: tuple[int, ...], key: Any, *numbers: Any) -> Any:
    """`numbers`: span, low and last."""
    unit = unit_interval(key, shape, numbers[0].dtype.name, 0)
    return _between(unit, *numbers)


def _created_uniform(attrs: UniformAttrs) -> Creation | None:
    dtype = as_dtype(_named(attrs.dtype))
    if dtype.is_narrow or not dtype.is_float or attrs.ordinal or _overflows(attrs, dtype.name):
        return None
    last = _before_high(attrs, dtype)
    if last is None:
        return None
    return Creation(uniform_numbers, dtype, (attrs.high - attrs.low, attrs.low, last))


def _uniform_oracle(
    key: np.ndarray, low: float, high: float, shape: tuple[int, ...], dtype: str, ordinal: int
) -> Any:
    kind = np.dtype(dtype).type
    unit = _unit_oracle(key, shape, dtype, ordinal)
    if high - low > float(np.finfo(kind).max):
        drawn = unit * kind(high) + (1 - unit) * kind(low)
    else:
        drawn = unit * kind(high - low) + kind(low)
    return np.minimum(drawn, np.nextafter(kind(high), kind(low))) if low < high else drawn


random_uniform = composite(
    "_random_uniform",
    _decompose_uniform,
    operands="key%",
    attrs=UniformAttrs,
    differentiable=False,
    numpy=_uniform_oracle,
    aliases=("random_uniform", "uniform"),
    created=_created_uniform,
    widens=False,
    samples=(
        (KEY_SAMPLE, {"shape": (3, 5)}),
        (KEY_SAMPLE, {"shape": (4,), "low": -1, "high": 3, "dtype": "float64", "ordinal": 2}),
        (KEY_SAMPLE, {"shape": (4,), "low": -3e38, "high": 3e38}),
        (KEY_SAMPLE, {"shape": (0, 2)}),
    ),
    doc="""Numbers drawn evenly from [low, high).

    Parameters: `low` (default 0), `high` (default 1), `shape` (default (1,)), `dtype`.

    >>> x = nd.random.uniform(low=2, high=3, shape=(2, 2))
    >>> x.shape, bool((x.asnumpy() >= 2).all()), bool((x.asnumpy() < 3).all())
    ((2, 2), True, True)
    """,
)


class NormalAttrs(Frozen):
    loc: float = 0.0
    scale: float = 1.0
    shape: tuple[int, ...] = (1,)
    dtype: str = "float32"
    ordinal: int = 0


def check_number(
    where: str, name: str, number: float, expected: str, good: Callable[[float], bool]
) -> None:
    """Of a number that is known before a program runs."""
    check(
        isinstance(number, RuntimeNumber) or good(number),
        f"random_{where}",
        f"{name}: expected {expected}; given {number}",
    )


def _decompose_normal(attrs: NormalAttrs, key: Any) -> Any:
    check_number(
        "normal", "scale", attrs.scale, "0 or more, a standard deviation", lambda x: x >= 0
    )
    drawn = standard_normal(key, attrs.shape, _named(attrs.dtype), attrs.ordinal)
    _in_range("normal", _named(attrs.dtype), loc=attrs.loc, scale=attrs.scale)
    if attrs.scale != 1:
        drawn = drawn * attrs.scale
    return drawn + attrs.loc if attrs.loc != 0 else drawn


def normal_numbers(shape: tuple[int, ...], key: Any, scale: Any, loc: Any | None = None) -> Any:
    drawn = standard_normal(key, shape, scale.dtype.name, 0) * scale
    return drawn if loc is None else drawn + loc


def _created_normal(attrs: NormalAttrs) -> Creation | None:
    dtype = as_dtype(_named(attrs.dtype))
    if dtype.is_narrow or not dtype.is_float or attrs.ordinal:
        return None
    limit = float(np.finfo(dtype.numpy).max)
    if not (0 <= attrs.scale <= limit and abs(attrs.loc) <= limit):
        return None  # to be refused
    numbers = (attrs.scale, attrs.loc) if attrs.loc != 0 else (attrs.scale,)
    return Creation(normal_numbers, dtype, numbers)


def _random_normal_oracle(
    key: np.ndarray, loc: float, scale: float, shape: tuple[int, ...], dtype: str, ordinal: int
) -> Any:
    kind = np.dtype(dtype).type
    return _normal_oracle(key, shape, dtype, ordinal) * kind(scale) + kind(loc)


random_normal = composite(
    "_random_normal",
    _decompose_normal,
    operands="key%",
    attrs=NormalAttrs,
    differentiable=False,
    numpy=_random_normal_oracle,
    aliases=("random_normal", "normal"),
    created=_created_normal,
    samples=(
        (KEY_SAMPLE, {"shape": (3, 5)}),
        (KEY_SAMPLE, {"shape": (4,), "loc": -1, "scale": 3, "dtype": "float64", "ordinal": 2}),
        (KEY_SAMPLE, {"shape": (0, 2)}),
    ),
    doc="""Numbers drawn from a normal distribution.

    Parameters: `loc` the mean (default 0), `scale` the standard deviation (default 1), `shape`
    (default (1,)), `dtype`.

    >>> x = nd.random.normal(loc=100, scale=1, shape=(1000,))
    >>> x.shape, 99 < float(x.asnumpy().mean()) < 101
    ((1000,), True)
    """,
)


class RandintAttrs(Frozen):
    low: int
    high: int
    shape: tuple[int, ...] = (1,)
    dtype: str = "int32"
    ordinal: int = 0


def _check_randint(attrs: RandintAttrs) -> int:
    span = attrs.high - attrs.low
    check(span > 0, "randint", f"no whole number from {attrs.low} up to below {attrs.high}")
    kind = as_dtype(_integer_name(attrs.dtype))
    check(kind.is_integer, "randint", f"expected an integer dtype; given {kind}")
    limits = np.iinfo(kind.numpy)
    check(
        limits.min <= attrs.low and attrs.high - 1 <= limits.max,
        "randint",
        f"the range from {attrs.low} to {attrs.high - 1} does not fit {kind}",
    )
    return span


def _integer_name(dtype: str) -> str:
    return "int32" if dtype in ("None", "") else dtype


def _decompose_randint(attrs: RandintAttrs, key: Any) -> Any:
    span = _check_randint(attrs)
    word = cast(_bits(key, attrs.shape, attrs.ordinal, 0), dtype="uint64")
    if span <= 2**32:
        # The high word of a product: even to within span / 2^32, without a division.
        offset = floor_divide(multiply(word, _wide(span)), _wide(2**32))
    else:
        more = cast(_bits(key, attrs.shape, attrs.ordinal, 1), dtype="uint64")
        both = add(multiply(word, _wide(2**32)), more)
        offset = both - multiply(floor_divide(both, _wide(span)), _wide(span))
    return (
        add(cast(offset, dtype="int64"), attrs.low)
        if attrs.dtype == "int64"
        else cast(add(cast(offset, dtype="int64"), attrs.low), dtype=_integer_name(attrs.dtype))
    )


def _wide(value: int) -> Any:
    return _full(shape=(), value=value, dtype="uint64")


def _randint_oracle(key: np.ndarray, **fields: Any) -> np.ndarray:
    attrs = RandintAttrs(**fields)
    span = _check_randint(attrs)
    word = _bits_oracle(key, attrs.shape, attrs.ordinal, 0).astype(object)
    if span <= 2**32:
        offset = word * span >> 32
    else:
        offset = (word * 2**32 + _bits_oracle(key, attrs.shape, attrs.ordinal, 1)) % span
    return np.asarray(offset + attrs.low).astype(_integer_name(attrs.dtype))


random_randint = composite(
    "_random_randint",
    _decompose_randint,
    operands="key%",
    attrs=RandintAttrs,
    differentiable=False,
    numpy=_randint_oracle,
    aliases=("random_randint", "randint"),
    samples=(
        (KEY_SAMPLE, {"low": -3, "high": 4, "shape": (3, 5)}),
        (KEY_SAMPLE, {"low": 0, "high": 2**40, "shape": (7,), "dtype": "int64", "ordinal": 1}),
        (KEY_SAMPLE, {"low": 0, "high": 2, "shape": (0,)}),
    ),
    doc="""Whole numbers drawn evenly from `low` up to, not including, `high`.

    Parameters: `low`, `high`, `shape` (default (1,)), `dtype` int32 (default) or int64.

    >>> x = nd.random.randint(low=3, high=5, shape=(100,)).asnumpy()
    >>> sorted(set(x.tolist()))
    [3, 4]
    """,
)


class ExponentialAttrs(Frozen):
    lam: float = 1.0
    shape: tuple[int, ...] = (1,)
    dtype: str = "float32"
    ordinal: int = 0


def _decompose_exponential(attrs: ExponentialAttrs, key: Any) -> Any:
    check_number("exponential", "lam", attrs.lam, "a rate above 0", lambda x: x > 0)
    unit = unit_interval(key, attrs.shape, _named(attrs.dtype), attrs.ordinal)
    return log(1 - unit) / -attrs.lam


random_exponential = composite(
    "_random_exponential",
    _decompose_exponential,
    operands="key%",
    attrs=ExponentialAttrs,
    differentiable=False,
    numpy=lambda key, lam, shape, dtype, ordinal: (
        np.log(1 - _unit_oracle(key, shape, dtype, ordinal)) / np.dtype(dtype).type(-lam)
    ),
    aliases=("random_exponential", "exponential"),
    samples=(
        (KEY_SAMPLE, {"shape": (3, 5)}),
        (KEY_SAMPLE, {"shape": (4,), "lam": 2.0, "dtype": "float64"}),
    ),
    doc="""Numbers drawn from an exponential distribution.

    Parameters: `lam` the rate (default 1), `shape` (default (1,)), `dtype`.

    >>> nd.random.exponential(shape=(3,)).shape
    (3,)
    """,
)


class BernoulliAttrs(Frozen):
    p: float = 0.5
    shape: tuple[int, ...] = (1,)
    dtype: str = "float32"
    ordinal: int = 0


def _decompose_bernoulli(attrs: BernoulliAttrs, key: Any) -> Any:
    check_number("bernoulli", "p", attrs.p, "a probability", lambda x: 0 <= x <= 1)
    hit = lesser(unit_interval(key, attrs.shape, "float32", attrs.ordinal), attrs.p)
    return cast(hit, dtype=_named(attrs.dtype))


random_bernoulli = composite(
    "_random_bernoulli",
    _decompose_bernoulli,
    operands="key%",
    attrs=BernoulliAttrs,
    differentiable=False,
    numpy=lambda key, p, shape, dtype, ordinal: (
        _unit_oracle(key, shape, "float32", ordinal) < np.float32(p)
    ).astype(dtype),
    aliases=("random_bernoulli", "bernoulli"),
    samples=((KEY_SAMPLE, {"shape": (3, 5)}), (KEY_SAMPLE, {"p": 0.9, "shape": (7,)})),
    doc="""1 with probability `p`, else 0.

    Parameters: `p` (default 0.5), `shape` (default (1,)), `dtype`.

    >>> nd.random.bernoulli(p=1, shape=(3,)).asnumpy()
    array([1., 1., 1.], dtype=float32)
    """,
)

# ----------------------------------------------------- one distribution per element of operands


class SampleAttrs(Frozen):
    shape: tuple[int, ...] = ()
    dtype: str = "None"
    ordinal: int = 0


def _per_element(attrs: SampleAttrs, x: Any) -> tuple[Any, str]:
    """A parameter with axes of extent 1 for the draws behind its own."""
    dtype = x.dtype.name if attrs.dtype == "None" else attrs.dtype
    return _reshape(cast(x, dtype=dtype), shape=x.shape + (1,) * len(attrs.shape)), dtype


def _decompose_sample_uniform(attrs: SampleAttrs, low: Any, high: Any, key: Any) -> Any:
    check(low.shape == high.shape, "sample_uniform", f"shapes differ: {low.shape}, {high.shape}")
    wide_low, dtype = _per_element(attrs, low)
    wide_high, _ = _per_element(attrs, high)
    unit = unit_interval(key, low.shape + attrs.shape, dtype, attrs.ordinal)
    span = wide_high - wide_low
    mixed = unit * wide_high + (1 - unit) * wide_low
    drawn = select(isinf(span), mixed, wide_low + unit * span)
    # Where rounding reaches `high`, which is not to be drawn, the other end is as likely.
    beyond = logical_and(greater_equal(drawn, wide_high), lesser(wide_low, wide_high))
    return select(lesser(wide_high, wide_low), nan, select(beyond, wide_low, drawn))


def _decompose_sample_normal(attrs: SampleAttrs, mu: Any, sigma: Any, key: Any) -> Any:
    check(mu.shape == sigma.shape, "sample_normal", f"shapes differ: {mu.shape}, {sigma.shape}")
    mean, dtype = _per_element(attrs, mu)
    deviation, _ = _per_element(attrs, sigma)
    drawn = standard_normal(key, mu.shape + attrs.shape, dtype, attrs.ordinal)
    return select(lesser(deviation, 0), nan, mean + drawn * deviation)


def _decompose_sample_exponential(attrs: SampleAttrs, lam: Any, key: Any) -> Any:
    rate, dtype = _per_element(attrs, lam)
    drawn = log(1 - unit_interval(key, lam.shape + attrs.shape, dtype, attrs.ordinal)) / -rate
    return select(lesser(rate, 0), nan, drawn)


def _sample_exponential_oracle(
    lam: np.ndarray, key: np.ndarray, shape: tuple[int, ...], dtype: str, ordinal: int
) -> Any:
    rate, _ = _columns(lam, lam, shape, dtype)
    drawn = np.log(1 - _unit_oracle(key, lam.shape + shape, rate.dtype.name, ordinal)) / -rate
    return np.where(rate < 0, np.nan, drawn).astype(rate.dtype)


def _columns(
    a: np.ndarray, b: np.ndarray, shape: tuple[int, ...], dtype: str
) -> tuple[np.ndarray, np.ndarray]:
    wide = [x.astype(x.dtype if dtype == "None" else dtype) for x in (a, b)]
    return tuple(x.reshape(x.shape + (1,) * len(shape)) for x in wide)  # type: ignore[return-value]


def _sample_uniform_oracle(
    low: np.ndarray,
    high: np.ndarray,
    key: np.ndarray,
    shape: tuple[int, ...],
    dtype: str,
    ordinal: int,
) -> Any:
    a, b = _columns(low, high, shape, dtype)
    unit = _unit_oracle(key, low.shape + shape, a.dtype.name, ordinal)
    return np.where(b < a, np.nan, a + unit * (b - a)).astype(a.dtype)


def _sample_normal_oracle(
    mu: np.ndarray,
    sigma: np.ndarray,
    key: np.ndarray,
    shape: tuple[int, ...],
    dtype: str,
    ordinal: int,
) -> Any:
    a, b = _columns(mu, sigma, shape, dtype)
    drawn = _normal_oracle(key, mu.shape + shape, a.dtype.name, ordinal)
    return np.where(b < 0, np.nan, a + drawn * b).astype(a.dtype)


sample_uniform = composite(
    "_sample_uniform",
    _decompose_sample_uniform,
    operands="low high key%",
    attrs=SampleAttrs,
    dtypes=lambda attrs: "f" if attrs.dtype == "None" else {},
    differentiable=False,
    numpy=_sample_uniform_oracle,
    aliases=("sample_uniform",),
    samples=(
        ((2,), np.array([7, 9], np.float32), KEY_SAMPLE, {"shape": (3,)}),
        ((2,), np.array([-2.5, 3], np.float32), KEY_SAMPLE, {}),
        ((2,), np.array([7.0, 9.0]), KEY_SAMPLE, {"shape": (3,), "dtype": "float64"}),
    ),
    doc="""Numbers drawn evenly from [low, high), for each pair of elements of `low` and `high`.

    Parameters: `shape` of the draws for each pair, `dtype`.

    >>> nd.sample_uniform(nd.array([0, 10]), nd.array([1, 11]), shape=(3,)).shape
    (2, 3)
    """,
)

sample_normal = composite(
    "_sample_normal",
    _decompose_sample_normal,
    operands="mu sigma key%",
    attrs=SampleAttrs,
    dtypes=lambda attrs: "f" if attrs.dtype == "None" else {},
    differentiable=False,
    numpy=_sample_normal_oracle,
    aliases=("sample_normal",),
    samples=(
        ((2,), np.array([0.5, 2], np.float32), KEY_SAMPLE, {"shape": (3,)}),
        ((2,), np.array([-0.5, 2], np.float32), KEY_SAMPLE, {}),
        ((2,), np.array([0.5, 2]), KEY_SAMPLE, {"shape": (3,), "dtype": "float64"}),
    ),
    doc="""Numbers drawn from a normal distribution, for each mean in `mu` and deviation in `sigma`.

    Parameters: `shape` of the draws for each pair, `dtype`.

    >>> nd.sample_normal(nd.array([0, 10]), nd.array([1, 1]), shape=(3,)).shape
    (2, 3)
    """,
)

sample_exponential = composite(
    "_sample_exponential",
    _decompose_sample_exponential,
    operands="lam key%",
    attrs=SampleAttrs,
    dtypes=lambda attrs: "f" if attrs.dtype == "None" else {},
    differentiable=False,
    numpy=_sample_exponential_oracle,
    aliases=("sample_exponential",),
    domain=(0.5, 2.0),
    samples=(
        ((2,), KEY_SAMPLE, {"shape": (3,)}),
        ((2, 3), KEY_SAMPLE, {}),
        (np.array([1, 5], np.float32), KEY_SAMPLE, {"shape": (3,), "dtype": "float64"}),
    ),
    doc="""Numbers drawn from an exponential distribution, for each rate in `lam`.

    Parameters: `shape` of the draws for each of them, `dtype`.

    >>> nd.sample_exponential(nd.array([1, 10]), shape=(3,)).shape
    (2, 3)
    """,
)
