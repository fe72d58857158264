"""Arithmetic and rounding, element by element, with numpy's broadcasting.

Each record of this folder says how one element is computed: `lower` gives it in the loop language,
`grad` the derivative in operators.

Integer rules are MXNet's: division truncates, a remainder has the divisor's sign, x / 0 and x % 0
are 0, a Python scalar is converted to the array's dtype before anything is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tigon.loop import build as L
from tigon.loop.grammar import Expr
from tigon.ops.primitive.choose import select
from tigon.ops.primitive.compare import equal, greater, greater_equal, lesser, lesser_equal
from tigon.ops.primitive.real import real_function
from tigon.ops.record import Operator, elementwise

# ------------------------------------------------------------------------- arithmetic


def _integer_oracle(floats: Callable[..., Any], integers: Callable[..., Any]) -> Callable[..., Any]:
    """One oracle for floats, another for integers (numpy warns where we define a result)."""

    def oracle(*arrays: np.ndarray) -> Any:
        with np.errstate(all="ignore"):
            rule = floats if arrays[0].dtype.kind == "f" else integers
            return np.asarray(rule(*arrays)).astype(arrays[0].dtype)

    return oracle


add = elementwise(
    "broadcast_add",
    operands="lhs rhs",
    lower=L.add,
    grad=lambda g, z, x, y: (g, g),
    numpy=np.add,
    aliases=("broadcast_plus", "add"),
    doc="""Sum of two arrays, broadcast against each other.

    >>> nd.broadcast_add(nd.array([[1, 2, 3]]), nd.array([[10], [20]])).asnumpy()
    array([[11., 12., 13.],
           [21., 22., 23.]], dtype=float32)
    """,
)

subtract = elementwise(
    "broadcast_sub",
    operands="lhs rhs",
    lower=L.sub,
    grad=lambda g, z, x, y: (g, -g),
    numpy=np.subtract,
    aliases=("broadcast_minus", "subtract"),
    doc="""Difference of two arrays, broadcast against each other.

    >>> nd.broadcast_sub(nd.array([[1, 2, 3]]), nd.array([[10], [20]])).asnumpy()
    array([[ -9.,  -8.,  -7.],
           [-19., -18., -17.]], dtype=float32)
    """,
)

multiply = elementwise(
    "broadcast_mul",
    operands="lhs rhs",
    lower=L.mul,
    grad=lambda g, z, x, y: (g * y, g * x),
    numpy=np.multiply,
    aliases=("multiply",),
    doc="""Product of two arrays, element by element, broadcast against each other.

    >>> nd.broadcast_mul(nd.array([[1, 2, 3]]), nd.array([[10], [20]])).asnumpy()
    array([[10., 20., 30.],
           [20., 40., 60.]], dtype=float32)
    """,
)


def _lower_divide(x: Expr, y: Expr) -> Expr:
    if x.dtype.is_float:
        return L.div(x, y)
    return L.truncdiv(x, y)


def towards_zero(a: int, b: int) -> int:
    """a / b without its fraction, for b > 0.

    >>> towards_zero(7, 2), towards_zero(-7, 2)
    (3, -3)
    """
    return a // b if a >= 0 else -(-a // b)


def _truncated(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    shape = np.broadcast_shapes(x.shape, y.shape)
    x, y = np.atleast_1d(x), np.atleast_1d(y)  # single objects would become int64 again
    quotient = np.abs(x.astype(object)) // np.where(y == 0, 1, np.abs(y.astype(object)))
    signed = np.where((x < 0) != (y < 0), -quotient, quotient)
    least = int(np.iinfo(x.dtype).min)
    wrapped = (signed - least) % 2 ** (8 * x.dtype.itemsize) + least  # the least number by -1
    return np.where(y == 0, 0, wrapped).reshape(shape)


divide = elementwise(
    "broadcast_div",
    operands="lhs rhs",
    lower=_lower_divide,
    grad=lambda g, z, x, y: (g / y, -g * z / y),
    numpy=_integer_oracle(np.divide, _truncated),
    dtypes="fiu",
    aliases=("divide", "true_divide"),
    domain=(0.5, 2.0),
    doc="""Quotient of two arrays, broadcast against each other. Integers are rounded towards zero;
    an integer divided by 0 is 0.

    >>> nd.broadcast_div(nd.array([[6, 8]]), nd.array([[2], [4]])).asnumpy()
    array([[3. , 4. ],
           [1.5, 2. ]], dtype=float32)
    >>> (nd.array([7, -7], dtype="int32") / 2).asnumpy()
    array([ 3, -3], dtype=int32)
    """,
)


def _lower_modulo(x: Expr, y: Expr) -> Expr:
    if x.dtype.is_float:
        return L.select(L.eq(y, 0), 0, L.mod(x, y))
    return L.mod(x, y)


modulo = elementwise(
    "broadcast_mod",
    operands="lhs rhs",
    lower=_lower_modulo,
    grad=lambda g, z, x, y: (g, g * rint((z - x) / y)),  # x / y may vanish below 0
    numpy=_integer_oracle(lambda x, y: np.where(y == 0, 0, np.mod(x, y)), np.mod),
    dtypes="fiu",
    aliases=("_mod", "_Mod", "modulo", "mod"),
    domain=(0.5, 2.0),
    doc="""Remainder of a division, with the sign of the divisor; x mod 0 is 0.

    >>> nd.broadcast_mod(nd.array([7, -7, 7]), nd.array([3, 3, 0])).asnumpy()
    array([1., 2., 0.], dtype=float32)
    """,
)

floor_divide = elementwise(
    "floor_divide",
    operands="lhs rhs",
    lower=lambda x, y: L.floor(L.div(x, y)) if x.dtype.is_float else L.floordiv(x, y),
    numpy=_integer_oracle(lambda x, y: np.floor(np.divide(x, y)), np.floor_divide),
    dtypes="fiu",
    domain=(0.5, 2.0),
    differentiable=False,
    doc="""Quotient rounded towards minus infinity; an integer divided by 0 gives 0.

    >>> nd.floor_divide(nd.array([7, -7]), nd.array([2, 2])).asnumpy()
    array([ 3., -4.], dtype=float32)
    """,
)

maximum = elementwise(
    "broadcast_maximum",
    operands="lhs rhs",
    lower=L.maximum,
    grad=lambda g, z, x, y: (g * greater_equal(x, y), g * lesser(x, y)),
    numpy=np.maximum,
    aliases=("_maximum", "_Maximum", "maximum"),
    doc="""The larger of two elements; NaN if one of them is. Where both are equal, the gradient
    goes to the first.

    >>> nd.broadcast_maximum(nd.array([1, 5, 3]), nd.array([4])).asnumpy()
    array([4., 5., 4.], dtype=float32)
    """,
)

minimum = elementwise(
    "broadcast_minimum",
    operands="lhs rhs",
    lower=L.minimum,
    grad=lambda g, z, x, y: (g * lesser_equal(x, y), g * greater(x, y)),
    numpy=np.minimum,
    aliases=("_minimum", "_Minimum", "minimum"),
    doc="""The smaller of two elements; NaN if one of them is. Where both are equal, the gradient
    goes to the first.

    >>> nd.broadcast_minimum(nd.array([1, 5, 3]), nd.array([4])).asnumpy()
    array([1., 4., 3.], dtype=float32)
    """,
)

hypot: Operator = elementwise(
    "broadcast_hypot",
    operands="lhs rhs",
    lower=L.hypot,
    grad=lambda g, z, x, y: (g * _direction(x, y), g * _direction(y, x)),
    numpy=np.hypot,
    aliases=("_hypot", "hypot"),
    domain=(0.5, 2.0),
    doc="""Length of the hypotenuse: square root of x² + y², without overflow in between.

    >>> nd.broadcast_hypot(nd.array([3, 5]), nd.array([4, 12])).asnumpy()
    array([ 5., 13.], dtype=float32)
    """,
)


def _lower_direction(x: Expr, y: Expr) -> Expr:
    """Where the other is nothing beside it, +-1, at infinity too; at the origin 0."""
    length = L.hypot(x, y)
    alone = L.eq(L.abs(x), length)
    return L.select(alone, _lower_sign(x), L.div(x, length))


def _direction_oracle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    length = np.hypot(x, y)
    return np.where(np.abs(x) == length, np.sign(x), x / np.where(length == 0, 1, length))


_direction: Operator = elementwise(
    "_direction",
    operands="lhs rhs",
    lower=_lower_direction,
    grad=lambda g, z, x, y: (
        g * _turning(y, x) * _direction(y, x),
        -g * _turning(y, x) * z,
    ),
    numpy=_direction_oracle,
    dtypes="f",
    domain=(0.5, 2.0),
    doc="""x / hypot(x, y), the slope of a length along x; at the origin 0.""",
)


def _length(x: Any, y: Any) -> Any:
    """1 in place of 0, where what is divided is 0 too."""
    length = hypot(x, y)
    return select(equal(length, 0), 1, length)


def _lower_turning(x: Expr, y: Expr) -> Expr:
    length = L.hypot(x, y)
    return L.select(L.eq(length, 0), 0, L.div(_lower_direction(x, y), length))


_turning: Operator = elementwise(
    "_turning",
    operands="lhs rhs",
    lower=_lower_turning,
    grad=lambda g, z, x, y: (
        g * (_turning(y, x) + z) * (_direction(y, x) - _direction(x, y)) / _length(x, y),
        -2 * g * z * _turning(y, x),
    ),
    numpy=lambda x, y: _direction_oracle(x, y) / np.where(np.hypot(x, y) == 0, 1, np.hypot(x, y)),
    dtypes="f",
    domain=(0.5, 2.0),
    doc="""x / (x² + y²), the slope of an angle, not by the sum of squares, which may overflow or
    vanish; at the origin 0.""",
)

arctan2 = elementwise(
    "arctan2",
    operands="lhs rhs",
    lower=L.atan2,
    grad=lambda g, z, y, x: (g * _turning(x, y), -g * _turning(y, x)),
    numpy=np.arctan2,
    aliases=("_npi_arctan2",),
    domain=(0.5, 2.0),
    doc="""Angle of the point (rhs, lhs) against the first axis, from -π to π.

    >>> nd.arctan2(nd.array([1, -1]), nd.array([1, -1])).asnumpy()
    array([ 0.7854, -2.3562], dtype=float32)
    """,
)

negative = elementwise(
    "negative",
    lower=L.neg,
    grad=lambda g, y, x: (-g,),
    numpy=np.negative,
    aliases=("_np_negative",),
    doc="""The elements with the opposite sign.

    >>> nd.negative(nd.array([1, -2])).asnumpy()
    array([-1.,  2.], dtype=float32)
    """,
)


def _lower_reciprocal(x: Expr) -> Expr:
    return L.div(1, x)


reciprocal = real_function(
    "reciprocal",
    lower=_lower_reciprocal,
    grad=lambda g, y, x: (-g * square(y),),
    numpy=np.reciprocal,
    domain=(0.5, 2.0),
    doc="""1 / x.

    >>> nd.reciprocal(nd.array([2, -4])).asnumpy()
    array([ 0.5 , -0.25], dtype=float32)
    """,
)

absolute = elementwise(
    "abs",
    lower=L.abs,
    grad=lambda g, y, x: (g * sign(x),),
    numpy=np.absolute,
    aliases=("absolute",),
    doc="""The elements without their sign.

    >>> nd.abs(nd.array([-2, 0, 3])).asnumpy()
    array([2., 0., 3.], dtype=float32)
    """,
)


def _lower_sign(x: Expr) -> Expr:
    if x.dtype.kind == "u":
        return L.minimum(x, 1)
    return L.select(L.gt(x, 0), 1, L.select(L.lt(x, 0), -1, x))


sign: Operator = elementwise(
    "sign",
    lower=_lower_sign,
    numpy=np.sign,
    dtypes="fiu",
    differentiable=False,
    doc="""-1, 0 or 1.

    >>> nd.sign(nd.array([-2, 0, 3])).asnumpy()
    array([-1.,  0.,  1.], dtype=float32)
    """,
)

square: Operator = elementwise(
    "square",
    lower=lambda x: L.mul(x, x),
    grad=lambda g, y, x: (2 * g * x,),
    numpy=np.square,
    dtypes="fiu",
    doc="""x².

    >>> nd.square(nd.array([-2, 3])).asnumpy()
    array([4., 9.], dtype=float32)
    """,
)

# ----------------------------------------------------------------------------- rounding


def _rounding(function: Callable[[Expr], Expr]) -> Callable[[Expr], Expr]:
    """Integers are already whole."""
    return lambda x: function(x) if x.dtype.is_float else x


def _whole(rule: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: np.asarray(rule(x)).astype(x.dtype) if x.dtype.kind == "f" else x.copy()


floor: Operator = elementwise(
    "floor",
    lower=_rounding(L.floor),
    numpy=_whole(np.floor),
    dtypes="fiu",
    differentiable=False,
    doc="""The largest whole number not above x.

    >>> nd.floor(nd.array([-1.5, 1.5])).asnumpy()
    array([-2.,  1.], dtype=float32)
    """,
)

ceil = elementwise(
    "ceil",
    lower=_rounding(L.ceil),
    numpy=_whole(np.ceil),
    dtypes="fiu",
    differentiable=False,
    doc="""The smallest whole number not below x.

    >>> nd.ceil(nd.array([-1.5, 1.5])).asnumpy()
    array([-1.,  2.], dtype=float32)
    """,
)

round_even = elementwise(
    "_round_even",
    lower=_rounding(L.rint),
    numpy=_whole(np.rint),
    dtypes="fiu",
    differentiable=False,
    doc="""The nearest whole number; of two equally near ones the even one, as IEEE 754 rounds.

    >>> nd._round_even(nd.array([-1.5, 1.5, 2.5])).asnumpy()
    array([-2.,  2.,  2.], dtype=float32)
    """,
)

trunc = elementwise(
    "trunc",
    lower=_rounding(L.trunc),
    numpy=_whole(np.trunc),
    dtypes="fiu",
    differentiable=False,
    doc="""x without its fraction.

    >>> nd.trunc(nd.array([-1.9, 1.9])).asnumpy()
    array([-1.,  1.], dtype=float32)
    """,
)

fix = elementwise(
    "fix",
    lower=_rounding(L.trunc),
    numpy=_whole(np.fix),
    dtypes="fiu",
    differentiable=False,
    doc="""The whole number next to x towards 0.

    >>> nd.fix(nd.array([-1.9, 1.9])).asnumpy()
    array([-1.,  1.], dtype=float32)
    """,
)


def _lower_rint(x: Expr) -> Expr:
    low, high = L.floor(x), L.ceil(x)
    return L.select(L.le(L.sub(x, low), L.sub(high, x)), low, high)


rint: Operator = elementwise(
    "rint",
    lower=_rounding(_lower_rint),
    numpy=_whole(lambda x: np.where(x - np.floor(x) <= np.ceil(x) - x, np.floor(x), np.ceil(x))),
    dtypes="fiu",
    differentiable=False,
    doc="""The nearest whole number; of two equally near ones the lower (MXNet's rule).

    >>> nd.rint(nd.array([-1.5, 1.5, 1.9])).asnumpy()
    array([-2.,  1.,  2.], dtype=float32)
    """,
)


def _lower_round(x: Expr) -> Expr:
    # trunc(x + 0.5) would round 0.49999997 up; the fraction itself is exact.
    whole = L.trunc(x)
    away = L.ge(L.abs(L.sub(x, whole)), 0.5)
    return L.select(away, L.add(whole, _lower_sign(x)), whole)


round = elementwise(
    "round",
    lower=_rounding(_lower_round),
    numpy=_whole(
        lambda x: np.where(np.abs(x - np.trunc(x)) >= 0.5, np.trunc(x) + np.sign(x), np.trunc(x))
    ),
    dtypes="fiu",
    differentiable=False,
    doc="""The nearest whole number; of two equally near ones the one further from 0.

    >>> nd.round(nd.array([-1.5, 1.5, 1.4])).asnumpy()
    array([-2.,  2.,  1.], dtype=float32)
    """,
)
