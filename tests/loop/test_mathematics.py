"""Every elementary function keeps its stated bound, at dense samples and at special values."""

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

from tigon.backends.llvm.scalar import EMITTED
from tigon.base.dtypes import DType, float32, float64
from tigon.base.errors import InternalError
from tigon.loop import build as L
from tigon.loop.expand import expand
from tigon.loop.functions import FUNCTIONS, declare, evaluate
from tigon.loop.grammar import Apply, Buffer, Expr, LoopAxis, Nest, Store, walk
from tigon.loop.interpret import interpret

ULP = {name: row.ulp for name, row in FUNCTIONS.items() if row.ulp is not None}

COUNT = 6_000
# Where the samples lie: intervals, and "wide" for all magnitudes.
DOMAINS: dict[str, tuple] = {
    "exp": ((-1, 1), (-800, 800)),
    "expm1": ((-1, 1), (-30, 800), "small"),
    "log": ((0.5, 2), "positive"),
    "log1p": ((-0.999, 3), "positive", "small"),
    "log2": ((0.5, 2), "positive"),
    "log10": ((0.5, 2), "positive"),
    "sin": ((-10, 10), (-1e5, 1e5), (-1e9, 1e9), "wide"),
    "cos": ((-10, 10), (-1e5, 1e5), (-1e9, 1e9), "wide"),
    "tan": ((-10, 10), (-1e5, 1e5), "wide"),
    "arcsin": ((-1, 1), "small"),
    "arccos": ((-1, 1), (0.99, 1)),
    "arctan": ((-4, 4), "wide"),
    "sinh": ((-2, 2), (-800, 800), "small"),
    "cosh": ((-2, 2), (-800, 800)),
    "tanh": ((-1, 1), (-20, 20), "small"),
    "arcsinh": ((-4, 4), "wide"),
    "arccosh": ((1, 3), (1, 1e10)),
    "arctanh": ((-1, 1), "small"),
    "sigmoid": ((-6, 6), (-800, 800)),
    "erf": ((-1, 1), (-7, 7), "small"),
    "erfinv": ((-1, 1), (0.99, 1), "small"),
    "normal_cdf": ((-3, 3), (-39, 9), "wide"),
    "gelu": ((-3, 3), (-39, 9), (-15, -10), "wide"),
    "gamma": ((0.1, 35), (-9.9, 0), (-42, -9), (-190, -160), (160, 172)),
    "lgamma": ((0.1, 35), (-9.9, 0), "positive"),
    "cbrt": ((-10, 10), "wide"),
    "rsqrt": ((0.5, 4), "positive"),
}
SPECIAL = [0.0, 1.0, 0.5, 2.0, 1e-30, 30000.0, math.inf, math.nan]


def run(function: str, arrays: list[np.ndarray], dtype: DType) -> np.ndarray:
    index = L.axis("i")
    loads = [L.load(number, index, dtype) for number in range(len(arrays))]
    value = expand(L.apply(function, *loads))
    buffers = (*(Buffer(dtype, "in") for _ in arrays), Buffer(dtype, "out"))
    space = (LoopAxis("i", L.const(len(arrays[0]))),)
    out = np.zeros(len(arrays[0]), dtype.numpy)
    interpret(Nest(buffers, space, (Store(len(arrays), index, value),)), [*arrays, out])
    return out


def sample(domain: object, dtype: DType, rng: np.random.Generator) -> np.ndarray:
    limits = np.finfo(dtype.numpy)
    if isinstance(domain, tuple):
        values = rng.uniform(*domain, COUNT)
    else:
        low = np.log(limits.smallest_subnormal) + 1
        high = -2 if domain == "small" else np.log(limits.max)
        values = np.exp(rng.uniform(low, high, COUNT).astype(np.longdouble))
        if domain in ("wide", "small"):
            values *= rng.choice([-1, 1], COUNT)
    return values.astype(dtype.numpy)


def errors(function: str, arrays: list[np.ndarray], got: np.ndarray) -> np.ndarray:
    """In units in the last place; infinite where one of the two is finite or NaN alone."""
    kept = np.longdouble if function not in ("erf", "erfinv", "gamma", "lgamma") else np.float64
    exact = np.asarray(_oracle(function, arrays)).astype(kept)
    rounded = exact.astype(got.dtype)
    size = np.abs(rounded)
    if function == "lgamma":
        size = np.maximum(size, 1)
    unit = np.spacing(size).astype(np.longdouble)
    both = np.isfinite(rounded) & np.isfinite(got)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    distance = np.abs(got.astype(np.longdouble) - exact) / np.where(both, unit, 1)
    edge = np.abs(exact.astype(np.longdouble)) > 0.9999995 * np.finfo(got.dtype).max
    return np.where(both, distance, np.where(same | edge, 0, np.inf))


def _precisely(function: Callable[[mpmath.mpf], mpmath.mpf]) -> Callable[[np.ndarray], np.ndarray]:
    """A function of mpmath on arrays, to the last bit of long double."""

    def one(x: np.longdouble) -> np.longdouble:
        if np.isnan(x):
            return x
        with mpmath.workprec(120):
            exact = function(mpmath.mpf(float(x)))
            high = float(exact)
            if math.isinf(high):
                return np.longdouble(high)
            return np.longdouble(high) + np.longdouble(float(exact - high))

    return np.vectorize(one, otypes=[np.longdouble])


def _normal_cdf(x: mpmath.mpf) -> mpmath.mpf:
    near = max(min(x, mpmath.mpf(200)), mpmath.mpf(-200))
    return mpmath.erfc(-near / mpmath.sqrt(2)) / 2


def _gelu(x: mpmath.mpf) -> mpmath.mpf:
    return mpmath.mpf(0) if x < -200 else x * _normal_cdf(x)


PRECISE = {
    "normal_cdf": _precisely(_normal_cdf),
    "gelu": lambda x: np.copysign(_precisely(_gelu)(x), x),  # mpmath has no -0
}


def _oracle(function: str, arrays: list[np.ndarray]) -> np.ndarray:
    if function in PRECISE:
        return PRECISE[function](*arrays)
    return FUNCTIONS[function].numpy(*(array.astype(np.longdouble) for array in arrays))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
@pytest.mark.parametrize("function", sorted(DOMAINS))
def test_bound_of_one_operand(function: str, dtype: DType) -> None:
    rng = np.random.default_rng(7)
    for domain in DOMAINS[function]:
        x = sample(domain, dtype, rng)
        found = errors(function, [x], run(function, [x], dtype))
        worst = int(found.argmax())
        assert found[worst] <= ULP[function][dtype is float64], (domain, x[worst])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
@pytest.mark.parametrize("function", ["pow", "atan2", "hypot"])
def test_bound_of_two_operands(function: str, dtype: DType) -> None:
    rng = np.random.default_rng(8)
    pairs = [
        ((0, 10), (-10, 10)),
        ((-10, 10), (-10, 10)),
        ((0.9, 1.1), (-900, 900)),
        ("positive", (-3, 3)),
    ]
    for first, second in pairs:
        arrays = [sample(first, dtype, rng), sample(second, dtype, rng)]
        found = errors(function, arrays, run(function, arrays, dtype))
        worst = int(found.argmax())
        assert found[worst] <= ULP[function][dtype is float64], [a[worst] for a in arrays]
    whole = [rng.integers(-20, 20, 500).astype(dtype.numpy) for _ in range(2)]
    assert errors(function, whole, run(function, whole, dtype)).max() <= 2


SLOW = ("erf", "erfinv", "gamma", "lgamma", *PRECISE)
"""Their oracles are computed one by one."""


def every_exponent(dtype: DType, count: int, seed: int) -> np.ndarray:
    """`count` floats at even distances among all there are: each sign and exponent, subnormal
    numbers, infinity and NaN by their share."""
    bits = 8 * dtype.itemsize
    rng = np.random.default_rng(seed)
    step = 2**bits // count
    starts = np.arange(count, dtype=np.uint64) * np.uint64(step)
    places = starts + rng.integers(0, step, count, np.uint64)
    return places.astype(f"u{dtype.itemsize}").view(dtype.numpy)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
@pytest.mark.parametrize("function", sorted(ULP))
def test_bound_over_the_whole_range(function: str, dtype: DType) -> None:
    arity, count = FUNCTIONS[function].arity, 20_000 if function in SLOW else 150_000
    arrays = [every_exponent(dtype, count, number) for number in range(arity)]
    if arity == 2:  # most pairs of any magnitudes have a trivial result
        rng = np.random.default_rng(9)
        rng.shuffle(arrays[1])
        near = (arrays[0] * rng.uniform(0.1, 10, count)).astype(dtype.numpy)
        if function == "pow":  # a result that is neither 0 nor infinite
            power = 2 ** rng.uniform(-7, 10, count) * rng.choice([-1, 1], count)
            near = (power / np.log2(np.abs(arrays[0].astype(np.longdouble)))).astype(dtype.numpy)
        arrays[1] = np.where(np.arange(count) % 4 == 0, arrays[1], near)
    found = errors(function, arrays, run(function, arrays, dtype))
    worst = int(found.argmax())
    assert found[worst] <= ULP[function][dtype is float64], [a[worst] for a in arrays]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
@pytest.mark.parametrize("function", sorted(ULP))
def test_special_values(function: str, dtype: DType) -> None:
    limits = np.finfo(dtype.numpy)
    edges = [limits.tiny, limits.tiny / 2**10, float(limits.eps), 1 - float(limits.epsneg)]
    values = np.array([*SPECIAL, *edges, limits.max], dtype.numpy)
    values = np.concatenate([values, -values])
    arrays = [values]
    if FUNCTIONS[function].arity == 2:
        arrays = [grid.ravel().copy() for grid in np.meshgrid(values, values)]
    got = run(function, arrays, dtype)
    if function == "gamma":  # Python's overflows there without a sign
        keep = ~((arrays[0] < 0) & (arrays[0] > -1e-30))
        arrays, got = [arrays[0][keep]], got[keep]
    expected = _oracle(function, arrays).astype(dtype.numpy)
    found = errors(function, arrays, got)
    worst = int(found.argmax())
    assert found[worst] <= max(2, ULP[function][dtype is float64]), [a[worst] for a in arrays]
    ordinary = ~np.isnan(expected)
    if function == "lgamma":  # near its zeros only the absolute error is bounded
        ordinary &= np.abs(expected) > 1e-12
    np.testing.assert_array_equal(np.signbit(got)[ordinary], np.signbit(expected)[ordinary])


@pytest.mark.parametrize("function", ["tanh", "erf", "sin", "cos", "sigmoid"])
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_never_beyond_one(function: str, dtype: DType) -> None:
    x = np.concatenate([np.linspace(-12, 12, 30_001), [1e20, -1e30]]).astype(dtype.numpy)
    assert np.abs(run(function, [x], dtype)).max() <= 1


def test_values_that_must_be_exact() -> None:
    zero = np.zeros(1, np.float32)
    for function, value in {
        "exp": 1,
        "cos": 1,
        "sigmoid": 0.5,
        "log1p": 0,
        "gamma": np.inf,
    }.items():
        assert run(function, [zero], float32)[0] == value
    powers = 2.0 ** np.arange(-20, 20)
    assert np.array_equal(run("log2", [powers], float64), np.arange(-20.0, 20))


@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_powers_that_are_floats_come_out_exactly(dtype: DType) -> None:
    limit = 2.0 ** (24 if dtype is float32 else 53)
    pairs = [(b, e) for b in range(1, 200) for e in range(40) if float(b) ** e < limit]
    pairs += [(b * b, 0.5) for b in range(1, 200)] + [(2, -e) for e in range(100)]
    base, exponent = np.array(pairs, dtype.numpy).T.copy()
    exact = [float(b) ** e if e < 0 else b ** (int(e) if e != 0.5 else 0.5) for b, e in pairs]
    for sign in (1, -1):
        odd = np.where(exponent % 2 == 1, sign, np.where(exponent == 0.5, np.nan, 1))
        wanted = np.array(exact, dtype.numpy) * (odd if sign < 0 else 1)
        np.testing.assert_array_equal(run("pow", [sign * base, exponent], dtype), wanted)


def test_constant_exponents_become_arithmetic() -> None:
    x = L.load(0, L.axis("i"), float32)
    assert expand(L.pow(x, 2)) is L.mul(x, x)
    assert expand(L.pow(x, 1)) is x
    assert expand(L.pow(x, -1)) is L.div(1.0, x)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("power", [-2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 2.5, -1.5])
def test_constant_exponents_agree_with_the_general_power(power: float) -> None:
    x = np.concatenate([np.random.default_rng(0).uniform(-3, 9, 500), SPECIAL, [-0.0, -np.inf]])
    x = x.astype(np.float32)
    value = expand(L.pow(L.load(0, L.axis("i"), float32), power))
    out = np.zeros_like(x)
    space = (LoopAxis("i", L.const(len(x))),)
    buffers = (Buffer(float32, "in"), Buffer(float32, "out"))
    interpret(Nest(buffers, space, (Store(1, L.axis("i"), value),)), [x, out])
    exact = np.power(x.astype(np.longdouble), power).astype(np.float32)
    np.testing.assert_array_max_ulp(out[np.isfinite(exact)], exact[np.isfinite(exact)], 2)
    np.testing.assert_array_equal(out[~np.isfinite(exact)], exact[~np.isfinite(exact)])
    ordinary = ~np.isnan(exact)
    np.testing.assert_array_equal(np.signbit(out)[ordinary], np.signbit(exact)[ordinary])


def test_expansion_is_arithmetic_only_and_short() -> None:
    x = L.load(0, L.axis("i"), float32)
    lengths = {}
    for function in ULP:
        operands = (x,) * FUNCTIONS[function].arity
        nodes = list(walk(expand(L.apply(function, *operands))))
        assert not any(FUNCTIONS[n.function].expansion for n in nodes if isinstance(n, Apply))
        lengths[function] = sum(isinstance(node, Apply) for node in nodes)
    assert lengths["exp"] <= 22
    assert lengths["tanh"] <= 22
    assert lengths["sigmoid"] <= 27


def test_every_elementary_function_is_expanded_and_bounded() -> None:
    for name, row in FUNCTIONS.items():
        assert (row.expansion is None) == (row.ulp is None), name
        assert row.expansion is not None or name in EMITTED
        assert not (row.exact and row.expansion), name


def test_sharing_survives_expansion() -> None:
    x: Expr = L.load(0, L.axis("i"), float32)
    for _ in range(60):
        x = L.add(L.mul(x, x), x)
    assert sum(1 for _ in walk(expand(L.exp(x)))) < 200
    assert float(evaluate("add", (np.float32(1), np.float32(2)), float32)) == 3


def test_a_name_stands_for_one_function_and_has_a_maker() -> None:
    with pytest.raises(InternalError, match="already"):
        declare(FUNCTIONS["add"])
    assert {L.spelled(name) for name in FUNCTIONS} >= {"and_", "add", "gelu"}
    for name in FUNCTIONS:
        assert getattr(L, L.spelled(name)).__name__ == L.spelled(name)
    for name in ("and", "add_", "nothing"):
        with pytest.raises(AttributeError, match="has no attribute"):
            getattr(L, name)
