"""Zeros, ones, ranges, and the same like another array."""

from __future__ import annotations

from math import ceil, isfinite, prod
from typing import Any

import numpy as np

from tigon.base import as_dtype, check
from tigon.base.frozen import Frozen
from tigon.loop.semantics import convert
from tigon.ops.primitive.arithmetic import add, floor_divide, modulo, towards_zero
from tigon.ops.primitive.choose import cast
from tigon.ops.primitive.compare import equal, lesser, logical_and, not_equal
from tigon.ops.primitive.create import _full, _iota, _line, _number, _whole
from tigon.ops.primitive.view import _reshape, normalized_axis
from tigon.ops.record import composite
from tigon.ops.tensor.repeat import repeat
from tigon.ops.tensor.slice import slice_axis


class ShapeDtypeAttrs(Frozen):
    shape: tuple[int, ...] = (1,)
    dtype: str = "float32"


def _filled(name: str, python_name: str, value: int, word: str) -> Any:
    return composite(
        name,
        lambda attrs: _full(shape=attrs.shape, value=value, dtype=attrs.dtype),
        operands="",
        attrs=ShapeDtypeAttrs,
        differentiable=False,
        numpy=lambda shape, dtype: np.full(shape, value, dtype),
        aliases=(python_name,),
        samples=(({"shape": (2, 3)},), ({"shape": (0,), "dtype": "int64"},)),
        doc=f"""An array of {word}.

    Parameters: `shape`, `dtype` (default float32).

    >>> nd.{name}(shape=(2,)).asnumpy()
    array([{value}., {value}.], dtype=float32)
    """,
    )


zeros = _filled("_zeros", "zeros", 0, "zeros")
ones = _filled("_ones", "ones", 1, "ones")


def _like(name: str, value: int, word: str) -> Any:
    return composite(
        name,
        lambda data: _full(shape=data.shape, value=value, dtype=data.dtype.name),
        differentiable=False,
        numpy=lambda x: np.full_like(x, value),
        samples=(((2, 3), {}), ((), {}), ((0,), {})),
        doc=f"""{word} in the shape and dtype of another array.

    >>> nd.{name}(nd.array([5, 6])).asnumpy()
    array([{value}., {value}.], dtype=float32)
    """,
    )


zeros_like = _like("zeros_like", 0, "Zeros")
ones_like = _like("ones_like", 1, "Ones")


class FullLikeAttrs(Frozen):
    fill_value: int | float
    dtype: str | None = None


full_like = composite(
    "_full_like",
    lambda attrs, data: _full(
        shape=data.shape, value=attrs.fill_value, dtype=attrs.dtype or data.dtype.name
    ),
    attrs=FullLikeAttrs,
    differentiable=False,
    numpy=lambda x, fill_value, dtype: np.full(
        x.shape, _number(fill_value, dtype or x.dtype.name), dtype or x.dtype
    ),
    aliases=("full_like", "_npi_full_like"),
    samples=(((2, 3), {"fill_value": 2.5}), ((0,), {"fill_value": 1, "dtype": "int32"})),
    doc="""One number in the shape of another array.

    Parameters: `fill_value`, `dtype` (that of the array if not given).

    >>> nd.full_like(nd.array([[1, 2]]), fill_value=5).asnumpy()
    array([[5., 5.]], dtype=float32)
    """,
)


class ArangeAttrs(Frozen):
    start: int | float = 0
    stop: int | float | None = None
    step: int | float = 1
    repeat: int = 1
    infer_range: bool = False
    dtype: str = "float32"


def _arange_length(attrs: ArangeAttrs) -> tuple[int | float, int]:
    """The first number and how many there are."""
    start, stop = (attrs.start, attrs.stop) if attrs.stop is not None else (0, attrs.start)
    check(
        attrs.step != 0 and isfinite(start) and isfinite(stop) and isfinite(attrs.step),
        "arange",
        f"cannot go from {start} to {stop} in steps of {attrs.step}",
    )
    return start, max(0, ceil((stop - start) / attrs.step))


def _decompose_arange(attrs: ArangeAttrs) -> Any:
    check(
        not attrs.infer_range,
        "arange",
        "infer_range needs another array; use contrib.arange_like",
    )
    start, length = _arange_length(attrs)
    line = _iota(shape=(length,), start=start, step=attrs.step, dtype=attrs.dtype)
    return repeat(line, repeats=attrs.repeat) if attrs.repeat != 1 else line


def _arange_oracle(**fields: Any) -> np.ndarray:
    attrs = ArangeAttrs(**fields)
    start, length = _arange_length(attrs)
    return np.repeat(_line(length, start, attrs.step, attrs.dtype), attrs.repeat)


arange = composite(
    "_arange",
    _decompose_arange,
    operands="",
    attrs=ArangeAttrs,
    differentiable=False,
    numpy=_arange_oracle,
    aliases=("arange",),
    samples=(
        ({"start": 5},),
        ({"start": 1, "stop": 7, "step": 2.5},),
        ({"start": 3, "stop": 0, "step": -1, "dtype": "int32", "repeat": 2},),
        ({"start": 2**60 + 1, "stop": 2**60 + 4, "step": 1.0, "dtype": "int64"},),
        ({"start": 2, "stop": 2},),
    ),
    doc="""Evenly spaced numbers from `start` up to, not including, `stop`.

    Parameters: `start` and `stop` (one number alone is the stop), `step`, `repeat` how often each
    number occurs, `dtype` (default float32).

    >>> nd._arange(start=1, stop=7, step=2).asnumpy()
    array([1., 3., 5.], dtype=float32)
    """,
)


class LinspaceAttrs(Frozen):
    start: int | float
    stop: int | float
    num: int
    endpoint: bool = True
    dtype: str = "float32"


def _linspace_step(attrs: LinspaceAttrs) -> float:
    check(attrs.num >= 0, "linspace", f"num is {attrs.num}; it must not be negative")
    gaps = attrs.num - 1 if attrs.endpoint else attrs.num
    return (attrs.stop - attrs.start) / gaps if gaps > 0 else 0.0


def _decompose_linspace(attrs: LinspaceAttrs) -> Any:
    step = _linspace_step(attrs)
    start, stop = _whole(attrs.start), _whole(attrs.stop)
    if as_dtype(attrs.dtype).is_integer and isinstance(start, int) and isinstance(stop, int):
        return _whole_linspace(attrs, start, stop)
    return _iota(shape=(attrs.num,), start=float(attrs.start), step=step, dtype=attrs.dtype)


def _whole_linspace(attrs: LinspaceAttrs, start: int, stop: int) -> Any:
    """By whole numbers, exactly: start + place * distance / gaps, rounded towards zero."""
    gaps = max(1, attrs.num - attrs.endpoint)
    check(
        abs(stop - start) * max(1, attrs.num) < 2**63,
        "linspace",
        f"{attrs.num} whole numbers from {start} to {stop} are too far apart; use arange",
    )
    ahead = _iota(shape=(attrs.num,), step=stop - start)
    value = add(floor_divide(ahead, gaps), start)
    cut = logical_and(lesser(value, 0), not_equal(modulo(ahead, gaps), 0))
    return cast(add(value, cut), dtype=attrs.dtype)


def _linspace_oracle(**fields: Any) -> Any:
    attrs = LinspaceAttrs(**fields)
    start, stop = _whole(attrs.start), _whole(attrs.stop)
    if as_dtype(attrs.dtype).is_integer and isinstance(start, int) and isinstance(stop, int):
        gaps = max(1, attrs.num - attrs.endpoint)
        ahead = [start * gaps + place * (stop - start) for place in range(attrs.num)]
        return np.array([towards_zero(each, gaps) for each in ahead], attrs.dtype)
    wide = np.linspace(attrs.start, attrs.stop, attrs.num, attrs.endpoint, dtype=np.float64)
    return convert(wide, as_dtype(attrs.dtype))


linspace = composite(
    "_linspace",
    _decompose_linspace,
    operands="",
    attrs=LinspaceAttrs,
    differentiable=False,
    numpy=_linspace_oracle,
    aliases=("linspace",),
    samples=(
        ({"start": 0, "stop": 1, "num": 5},),
        ({"start": 2, "stop": -1, "num": 3, "endpoint": False, "dtype": "float64"},),
        ({"start": 2, "stop": 3, "num": 1},),
        ({"start": -(2**60) - 1, "stop": -(2**60) + 6, "num": 4, "dtype": "int64"},),
        ({"start": -3, "stop": 4, "num": 6, "endpoint": False, "dtype": "int32"},),
        ({"start": 2, "stop": 3, "num": 0},),
    ),
    doc="""`num` evenly spaced numbers from `start` to `stop`.

    Parameters: `endpoint` whether the last number is `stop` (default True), `dtype`.

    >>> nd._linspace(start=0, stop=1, num=5).asnumpy()
    array([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
    """,
)


class EyeAttrs(Frozen):
    N: int
    M: int = 0
    k: int = 0
    dtype: str = "float32"


def _decompose_eye(attrs: EyeAttrs) -> Any:
    shape = (attrs.N, attrs.M or attrs.N)
    rows = _iota(shape=shape, axis=0, start=attrs.k, dtype="int64")
    return cast(equal(rows, _iota(shape=shape, axis=1, dtype="int64")), dtype=attrs.dtype)


eye = composite(
    "_eye",
    _decompose_eye,
    operands="",
    attrs=EyeAttrs,
    differentiable=False,
    numpy=lambda N, M, k, dtype: np.eye(N, M or N, k, dtype),
    aliases=("eye",),
    samples=(({"N": 3},), ({"N": 2, "M": 4, "k": -1, "dtype": "int32"},), ({"N": 0},)),
    doc="""Ones on a diagonal, zeros elsewhere.

    Parameters: `N` rows, `M` columns (as many if not given), `k` which diagonal, `dtype`.

    >>> nd._eye(N=2, M=3, k=1).asnumpy()
    array([[0., 1., 0.],
           [0., 0., 1.]], dtype=float32)
    """,
)


class ArangeLikeAttrs(Frozen):
    start: float = 0.0
    step: float = 1.0
    repeat: int = 1
    axis: int | None = None


def _arange_like_shape(attrs: ArangeLikeAttrs, shape: tuple[int, ...]) -> tuple[int, ...]:
    if attrs.axis is None:
        return shape
    return (shape[normalized_axis("arange_like", attrs.axis, len(shape))],)


def _decompose_arange_like(attrs: ArangeLikeAttrs, data: Any) -> Any:
    shape = _arange_like_shape(attrs, data.shape)
    size = prod(shape)
    check(
        attrs.repeat > 0,
        "arange_like",
        f"repeat is {attrs.repeat}; it must be positive",
    )
    line = _iota(
        shape=(-(-size // attrs.repeat),),
        start=attrs.start,
        step=attrs.step,
        dtype=data.dtype.name,
    )
    if attrs.repeat != 1:
        line = slice_axis(repeat(line, repeats=attrs.repeat), axis=0, begin=0, end=size)
    return _reshape(line, shape=shape)


def _arange_like_oracle(x: np.ndarray, **fields: Any) -> np.ndarray:
    attrs = ArangeLikeAttrs(**fields)
    shape = _arange_like_shape(attrs, x.shape)
    size = int(np.prod(shape))
    line = _line(-(-size // attrs.repeat), attrs.start, attrs.step, x.dtype.name)
    return np.repeat(line, attrs.repeat)[:size].reshape(shape)


arange_like = composite(
    "_contrib_arange_like",
    _decompose_arange_like,
    attrs=ArangeLikeAttrs,
    differentiable=False,
    numpy=_arange_like_oracle,
    samples=(
        ((2, 3), {}),
        ((2, 3), {"axis": 1, "start": 1.0}),
        ((5,), {"repeat": 2}),
        ((0, 2), {}),
    ),
    doc="""Evenly spaced numbers in the shape of an array, or along one of its axes.

    Parameters: `start`, `step`, `repeat` how often each number occurs, `axis`.

    >>> nd.contrib.arange_like(nd.zeros((2, 2))).asnumpy()
    array([[0., 1.],
           [2., 3.]], dtype=float32)
    """,
)
