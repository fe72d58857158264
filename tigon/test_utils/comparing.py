"""Comparing arrays of any kind within tolerances that follow from their dtypes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np

from tigon.base.dtypes import BY_CODE, numpy_type
from tigon.nd import NDArray

Tolerance = float | Mapping[Any, float] | None


def default_dtype() -> type:
    """The dtype of what is drawn here: float32."""
    return np.float32


def _by_dtype(half: float, single: float, double: float) -> dict[np.dtype, float]:
    found = {}
    for dtype in BY_CODE.values():
        kind = np.dtype(numpy_type(dtype))
        exact = {2: half, 4: single, 8: double}[dtype.itemsize] if dtype.is_float else 0.0
        found[kind] = exact
    return found


def default_rtols() -> dict[np.dtype, float]:
    """Relative tolerances, by dtype; integers are compared exactly.

    >>> default_rtols()[np.dtype("float32")]
    0.0001
    """
    return _by_dtype(1e-2, 1e-4, 1e-5)


def default_atols() -> dict[np.dtype, float]:
    """Absolute tolerances, by dtype."""
    return _by_dtype(1e-1, 1e-3, 1e-20)


def default_numeric_eps() -> dict[np.dtype, float]:
    """Steps of finite differences, by dtype: powers of two, which no sum rounds."""
    return {dtype: eps for dtype, eps in _by_dtype(2.0**-6, 2.0**-9, 2.0**-14).items() if eps}


def effective_dtype(dat: Any) -> np.dtype:
    """The dtype whose tolerances hold for an array: its own."""
    return np.dtype(dat.dtype)


def get_tolerance(dat: Any, tol: Tolerance, default_tol: Mapping[Any, float]) -> float:
    """A tolerance that is given as a number or by dtype, or else the default of the dtype."""
    if isinstance(tol, Number):
        return float(tol)  # type: ignore[arg-type]
    dtype = effective_dtype(dat)
    given: Mapping[Any, float] = tol or {}  # type: ignore[assignment]
    return given.get(dtype, default_tol[dtype])


def get_tols(x: Any, y: Any, rtol: Tolerance, atol: Tolerance) -> tuple[float, float]:
    """Relative and absolute tolerance for a comparison: the larger ones of the two.

    >>> get_tols(np.zeros(1, np.float32), np.zeros(1), None, 0.5)
    (0.0001, 0.5)
    """
    both = [value if hasattr(value, "dtype") else np.array(value) for value in (x, y)]
    relative = max(get_tolerance(value, rtol, default_rtols()) for value in both)
    absolute = max(get_tolerance(value, atol, default_atols()) for value in both)
    return relative, absolute


def get_rtol(rtol: float | None = None, dtype: Any = np.float64) -> float:
    """The relative tolerance, or that of the dtype."""
    return default_rtols()[np.dtype(dtype)] if rtol is None else rtol


def get_atol(atol: float | None = None, dtype: Any = np.float64) -> float:
    """The absolute tolerance, or that of the dtype."""
    return default_atols()[np.dtype(dtype)] if atol is None else atol


def get_etol(etol: float | None = None) -> float:
    """The share of elements that may be wrong: none unless it is given."""
    return 0 if etol is None else etol


def as_numpy(value: Any) -> Any:
    """The numbers of an array of either kind."""
    return value.asnumpy() if isinstance(value, NDArray) else value


def same(a: Any, b: Any) -> bool:
    """Whether two arrays have one shape and equal elements."""
    return bool(np.array_equal(as_numpy(a), as_numpy(b)))


def checkShapes(a: Any, b: Any) -> None:
    """Raise AssertionError where shapes differ."""
    if tuple(a.shape) != tuple(b.shape):
        raise AssertionError(f"expected equal shapes; given {tuple(a.shape)} and {tuple(b.shape)}")


def almost_equal(
    a: Any,
    b: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    use_broadcast: bool = True,
) -> bool:
    """Whether |a - b| <= atol + rtol * |b| everywhere; tolerances are those of float64 unless they
    are given.

    >>> almost_equal(np.ones(2), np.ones(2) + 1e-6), almost_equal(np.ones(2), np.ones(2) + 1e-4)
    (True, False)
    """
    a, b = as_numpy(a), as_numpy(b)
    if not use_broadcast:
        checkShapes(a, b)
    return bool(np.allclose(a, b, get_rtol(rtol), get_atol(atol), equal_nan=equal_nan))


def _violation(a: Any, b: Any, rtol: float, atol: float, equal_nan: bool) -> np.ndarray:
    """By how much each element is beyond its tolerance; at most 1 where it is not."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    with np.errstate(all="ignore"):
        allowed = atol + rtol * np.abs(b)
        apart = np.abs(a - b)
        times = apart / np.where(allowed == 0, np.finfo(float).tiny, allowed)
    times = np.where(a == b, 0.0, times)
    both = np.isnan(a) & np.isnan(b)
    return np.where(np.isnan(times), np.where(both & equal_nan, 0.0, np.inf), times)


def find_max_violation(a: Any, b: Any, rtol: float, atol: float) -> tuple[Any, float]:
    """Where two arrays are farthest beyond the tolerance, and how many times it."""
    times = _violation(a, b, rtol, atol, False)
    where = np.unravel_index(int(times.argmax()), times.shape)
    return tuple(int(i) for i in where), float(times.max())


def locationError(a: Any, b: Any, index: Any, names: Sequence[str], maxError: bool = False) -> str:
    """One line about the elements at a place."""
    which = "worst" if maxError else "also"
    return f"{which} at {index}: {names[0]} is {a[index]!r}, {names[1]} is {b[index]!r}"


def assert_almost_equal(
    a: Any,
    b: Any,
    rtol: Tolerance = None,
    atol: Tolerance = None,
    names: Sequence[str] = ("a", "b"),
    equal_nan: bool = False,
    use_broadcast: bool = True,
    mismatches: tuple[int, int] = (10, 10),
) -> None:
    """Raise AssertionError unless |a - b| <= atol + rtol * |b| everywhere.

    Tolerances are numbers, or dictionaries by dtype, or follow from the dtypes. The message has the
    worst elements, `mismatches[0]` at most.

    >>> assert_almost_equal(np.float32([1, 2]), np.float32([1, 3]))
    Traceback (most recent call last):
    ...
    AssertionError: a and b differ in 1 of 2 elements: rtol 0.0001, atol 0.001, worst 769 times that
    worst at (1,): a is np.float32(2.0), b is np.float32(3.0)
    """
    if not use_broadcast:
        checkShapes(a, b)
    relative, absolute = get_tols(a, b, rtol, atol)
    a, b = np.asarray(as_numpy(a)), np.asarray(as_numpy(b))
    times = _violation(a, b, relative, absolute, equal_nan)
    wrong = int((times > 1).sum())
    if not wrong:
        return
    head = (
        f"{names[0]} and {names[1]} differ in {wrong} of {times.size} elements: rtol {relative:g}, "
        f"atol {absolute:g}, worst {times.max():.3g} times that"
    )
    a, b = np.broadcast_arrays(a, b)
    order = np.argsort(times, axis=None)[::-1][: max(1, min(wrong, mismatches[0]))]
    places = [tuple(int(i) for i in np.unravel_index(one, times.shape)) for one in order]
    lines = [locationError(a, b, place, names, i == 0) for i, place in enumerate(places)]
    raise AssertionError("\n".join([head, *lines]))


def assert_allclose(
    a: Any, b: Any, rtol: float = 1e-07, atol: float = 0, equal_nan: bool = True
) -> None:
    """`assert_almost_equal` with numpy's tolerances; NaNs are equal."""
    assert_almost_equal(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan)


def assert_almost_equal_with_err(
    a: Any,
    b: Any,
    rtol: Tolerance = None,
    atol: Tolerance = None,
    etol: float | None = None,
    names: Sequence[str] = ("a", "b"),
    equal_nan: bool = False,
    mismatches: tuple[int, int] = (10, 10),
) -> None:
    """The same, but a share of `etol` of the elements may be wrong.

    >>> assert_almost_equal_with_err(np.zeros(10), np.eye(10)[0], etol=0.1)
    """
    share = get_etol(etol)
    if share > 0:
        relative, absolute = get_tols(a, b, rtol, atol)
        times = _violation(as_numpy(a), as_numpy(b), relative, absolute, equal_nan)
        if times.size == 0 or (times > 1).mean() <= share:
            return
    assert_almost_equal(a, b, rtol, atol, names, equal_nan, mismatches=mismatches)


def assert_almost_equal_ignore_nan(
    a: Any,
    b: Any,
    rtol: Tolerance = None,
    atol: Tolerance = None,
    names: Sequence[str] = ("a", "b"),
) -> None:
    """The same, of the elements that are NaN in neither."""
    a, b = np.array(as_numpy(a)), np.array(as_numpy(b))
    holes = np.isnan(a) | np.isnan(b)
    a[holes] = b[holes] = 0
    assert_almost_equal(a, b, rtol, atol, names)


def assert_exception(
    f: Callable[..., Any], exception_type: type[BaseException], *args: Any, **kwargs: Any
) -> None:
    """Raise AssertionError unless a call raises an exception of this type."""
    try:
        f(*args, **kwargs)
    except exception_type:
        return
    raise AssertionError(f"expected {exception_type.__name__}; the call returned")


def same_array(array1: Any, array2: Any) -> bool:
    """Whether what is written into one array is seen in the other.

    >>> from tigon import nd
    >>> x = nd.zeros(4)
    >>> same_array(x, x[:2].reshape(2)), same_array(x, x.copy())
    (False, False)
    >>> same_array(x, x.reshape(4))
    True
    """
    if tuple(array1.shape) != tuple(array2.shape):
        return False
    array1[:] += 1
    seen = same(array1, array2)
    array1[:] -= 1
    return seen and same(array1, array2)


def compare_ndarray_tuple(t1: Any, t2: Any, rtol: Tolerance = None, atol: Tolerance = None) -> None:
    """`assert_almost_equal` of arrays, or of tuples of them, as states of optimizers are; None is
    passed over."""
    if t1 is None or t2 is None:
        return
    parts = ([t1], [t2])
    while any(isinstance(part, tuple) for part in parts[0]):
        parts = tuple(  # type: ignore[assignment]
            [leaf for part in side for leaf in (part if isinstance(part, tuple) else (part,))]
            for side in parts
        )
    for one, other in zip(*parts, strict=True):
        if one is not None and other is not None:
            assert_almost_equal(one, other, rtol=rtol, atol=atol)


def same_symbol_structure(sym1: Any, sym2: Any) -> bool:
    """Whether two symbols apply the same operators to each other in the same order, whatever their
    names and attributes."""

    def shape_of(symbol: Any) -> list[Any]:
        nodes = json.loads(symbol.tojson())["nodes"]
        return [(node["op"], [entry[:2] for entry in node["inputs"]]) for node in nodes]

    return shape_of(sym1) == shape_of(sym2)
