"""Choosing between elements, limiting and converting them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tigon.base import TigonError, as_dtype
from tigon.base.dtypes import DType
from tigon.base.extents import RuntimeNumber
from tigon.base.frozen import Frozen
from tigon.loop import build as L
from tigon.loop.semantics import convert
from tigon.ops.primitive.compare import (
    _is_true,
    greater_equal,
    lesser_equal,
    logical_and,
    not_equal,
)
from tigon.ops.record import Operator, broadcast_shapes, common_dtype, composite, elementwise, get

select: Operator = elementwise(
    "_select",
    operands="condition x y",
    lower=lambda condition, x, y: L.select(_is_true(condition), x, y),
    grad=lambda g, z, condition, x, y: (
        None,
        select(condition, g, 0),
        select(condition, 0, g),
    ),
    numpy=lambda condition, x, y: np.where(condition != 0, x, y),
    doc="""`where` once all three operands have one dtype.""",
)


def _decompose_where(condition: Any, x: Any, y: Any) -> Any:
    dtype = common_dtype("where", x.type, y.type)
    if condition.dtype is not dtype:
        if not condition.type.weak:  # to 0 and 1 first: a conversion alone may lose what is not 0
            condition = not_equal(condition, 0)
        condition = cast(condition, dtype=dtype.name)
    shape = broadcast_shapes("where", x.shape, y.shape)
    if condition.ndim == 1 and len(shape) > 1 and condition.shape[0] == shape[0]:
        # MXNet's other form: one condition per row.
        condition = get("_reshape")(condition, shape=condition.shape + (1,) * (len(shape) - 1))
    return select(condition, x, y)


def _where_oracle(condition: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    shape = np.broadcast_shapes(x.shape, y.shape)
    if condition.ndim == 1 and len(shape) > 1 and len(condition) == shape[0]:
        condition = condition.reshape(-1, *(1,) * (len(shape) - 1))
    return np.where(condition != 0, x, y)


def _grad_where(g: Any, z: Any, condition: Any, x: Any, y: Any) -> Any:
    return (
        None,
        get("_sum_to_like")(where(condition, g, 0), x),
        get("_sum_to_like")(where(condition, 0, g), y),
    )


where: Operator = composite(
    "where",
    _decompose_where,
    operands="condition x y",
    dtypes={"x y": "fiub"},
    grad=_grad_where,
    numpy=_where_oracle,
    samples=(
        ((2, 3), (2, 3), (2, 3), {}),
        ((3,), (3, 2), (3, 2), {}),
        (np.array([[0, 1, 2]], np.int32), (2, 3), (1, 3), {}),
        ((0, 3), (0, 3), (0, 3), {}),
    ),
    doc="""Elements of `x` where `condition` is not 0, of `y` elsewhere. `condition` may have any
    dtype; a vector chooses whole rows of `x` and `y`.

    >>> x, y = nd.array([[1, 2], [3, 4]]), nd.array([[5, 6], [7, 8]])
    >>> nd.where(nd.array([[0, 1], [1, 0]]), x, y).asnumpy()
    array([[5., 2.],
           [3., 8.]], dtype=float32)
    >>> nd.where(nd.array([0, 1]), x, y).asnumpy()
    array([[5., 6.],
           [3., 4.]], dtype=float32)
    """,
)


class ClipAttrs(Frozen):
    a_min: float
    a_max: float


def _limit(value: float, dtype: DType) -> float | int:
    """A bound in the array's dtype: truncated as any scalar, and kept in range."""
    if dtype.is_float or isinstance(value, RuntimeNumber):
        return value
    if math.isnan(value):
        raise TigonError(f"clip: expected a number as bound of {dtype}; given nan")
    limits = np.iinfo(dtype.numpy) if dtype.is_integer else None
    low, high = (limits.min, limits.max) if limits else (0, 1)
    return low if value <= low else high if value >= high else int(value)


clip = elementwise(
    "clip",
    attrs=ClipAttrs,
    lower=lambda a, x: L.minimum(L.maximum(x, _limit(a.a_min, x.dtype)), _limit(a.a_max, x.dtype)),
    grad=lambda a, g, y, x: (g * logical_and(greater_equal(x, a.a_min), lesser_equal(x, a.a_max)),),
    numpy=lambda x, a_min, a_max: np.clip(
        x, x.dtype.type(_limit(a_min, as_dtype(x.dtype))), _limit(a_max, as_dtype(x.dtype))
    ).astype(x.dtype),
    dtypes="fiu",
    samples=(
        ((3, 5), {"a_min": -0.5, "a_max": 0.7}),
        ((), {"a_min": 0.0, "a_max": 1.0}),
        ((0, 2), {"a_min": 0.0, "a_max": 1.0}),
    ),
    doc="""The elements, kept between `a_min` and `a_max`.

    >>> nd.clip(nd.array([0, 1, 2, 3]), a_min=1, a_max=2).asnumpy()
    array([1., 1., 2., 2.], dtype=float32)
    """,
)


class CastAttrs(Frozen):
    dtype: str


cast = elementwise(
    "Cast",
    attrs=CastAttrs,
    result="dtype",
    widens=False,
    lower=lambda a, x: L.cast(x, as_dtype(a.dtype)),
    grad=lambda a, g, y, x: (cast_like(g, x),),
    numpy=lambda x, dtype: convert(x, as_dtype(dtype)),
    aliases=("cast",),
    samples=(
        ((3, 5), {"dtype": "float64"}),
        ((3, 5), {"dtype": "int32"}),
        ((4,), {"dtype": "bool"}),
        ((), {"dtype": "uint8"}),
        ((0, 2), {"dtype": "int64"}),
    ),
    domain=(0.5, 4.0),
    doc="""The elements converted to another dtype. Floats become integers by dropping the
    fraction; what does not fit becomes the nearest limit, NaN becomes 0. Integers wrap.

    Parameters: `dtype` name of the new type.

    >>> nd.cast(nd.array([0.9, -1.9]), dtype="int32").asnumpy()
    array([ 0, -1], dtype=int32)
    """,
)

cast_like: Operator = composite(
    "_cast_like",
    lambda data, like: cast(data, dtype=like.dtype.name) if data.dtype is not like.dtype else data,
    operands="data like",
    grad=lambda g, y, data, like: (cast_like(g, data), None),
    numpy=lambda data, like: convert(data, as_dtype(like.dtype)),
    samples=(((2, 3), np.zeros(1, np.float64), {}), ((3,), np.zeros(1, np.int32), {})),
    doc="""The elements of `data` in the dtype of `like`.""",
)


def _same_elements(name: str, doc: str, **declared: Any) -> Operator:
    return elementwise(
        name,
        widens=False,
        lower=lambda x: x,
        grad=lambda g, y, x: (g,),
        numpy=np.copy,
        doc=doc,
        **declared,
    )


identity = _same_elements(
    "_copy",
    """The same elements.

    >>> nd.identity(nd.array([1, 2])).asnumpy()
    array([1., 2.], dtype=float32)
    """,
    aliases=("identity",),
)

stored = _same_elements(
    "_stored",
    """The same elements, in memory: no reader looks through it.""",
    has_memory=True,
)

kept = _same_elements(
    "_kept",
    """The same elements, in memory until a gradient reads them, by kernels of its own.""",
    has_memory=True,
    apart=True,
)

again = _same_elements(
    "_again",
    """The same elements, to compute from them a second time: what reads this is not merged with
    what reads the operand.""",
)

repeated = _same_elements(
    "_repeated",
    """The same elements, computed a second time, in memory: what reads them is computed later,
    by a kernel of its own.""",
    has_memory=True,
    apart=True,
)

stop_gradient = elementwise(
    "BlockGrad",
    widens=False,
    lower=lambda x: x,
    numpy=np.copy,
    differentiable=False,
    aliases=("stop_gradient",),
    doc="""The same elements; no gradient passes through.

    >>> nd.stop_gradient(nd.array([1, 2])).asnumpy()
    array([1., 2.], dtype=float32)
    """,
)

detach = elementwise(
    "_detach",
    widens=False,
    lower=lambda x: x,
    numpy=np.copy,
    differentiable=False,
    ends_recording=True,
    doc="""The same elements, without their history: what is computed while recording is paused.

    >>> nd._detach(nd.array([1, 2])).asnumpy()
    array([1., 2.], dtype=float32)
    """,
)
