"""Operators that work element by element, with numpy's broadcasting. Every record is a primitive:
`lower` gives one element in the loop language, `grad` the derivative in operators.

Integer rules are MXNet's: division truncates, a remainder has the divisor's sign, x / 0 and x % 0
are 0, a Python scalar is converted to the array's dtype before anything is computed. Comparisons
and logic answer 0 or 1 in the operands' dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tigon.base import TensorType, TigonError, as_dtype, check
from tigon.base.dtypes import DType, float64
from tigon.base.extents import RuntimeNumber
from tigon.base.frozen import Frozen
from tigon.loop import build as L
from tigon.loop.grammar import Const, Expr
from tigon.loop.semantics import convert
from tigon.ops.record import Operator, broadcast_shapes, common_dtype, composite, elementwise, get

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
    kinds="fiu",
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
    kinds="fiu",
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
    kinds="fiu",
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
    quotient = np.abs(x.astype(object)) // np.where(y == 0, 1, np.abs(y.astype(object)))
    signed = np.where((x < 0) != (y < 0), -quotient, quotient)
    return np.where(y == 0, 0, signed)


divide = elementwise(
    "broadcast_div",
    operands="lhs rhs",
    lower=_lower_divide,
    grad=lambda g, z, x, y: (g / y, -g * z / y),
    numpy=_integer_oracle(np.divide, _truncated),
    kinds="fiu",
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
    kinds="fiu",
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
    kinds="fiu",
    domain=(0.5, 2.0),
    differentiable=False,
    doc="""Quotient rounded towards minus infinity; an integer divided by 0 gives 0.

    >>> nd.floor_divide(nd.array([7, -7]), nd.array([2, 2])).asnumpy()
    array([ 3., -4.], dtype=float32)
    """,
)


def _lower_power(x: Expr, y: Expr) -> Expr:
    if not x.dtype.is_float:
        return _lower_integer_power(x, y)
    if isinstance(y, Const):  # exact, and far cheaper than the general power
        if y.value == 2:
            return L.mul(x, x)
        if y.value == 1:
            return x
        if y.value == -1:
            return L.div(1, x)
    return L.pow(x, y)


def _lower_integer_power(x: Expr, y: Expr) -> Expr:
    """Squares and products that wrap: exact modulo 2**bits. 1/x**n is rounded towards zero as every
    quotient of integers, and 0 where x is 0."""
    dtype = x.dtype
    if isinstance(y, Const) and not isinstance(y.value, RuntimeNumber):
        bits = abs(y.value).bit_length()
    else:
        bits = 8 * dtype.itemsize - (dtype.kind == "i")
    # The first bit needs no select: then x is needed whatever the others decide, and where it is
    # gathered, it is not gathered anew for each of them.
    result = L.add(L.mul(L.sub(x, 1), L.and_(y, 1)), 1) if bits else L.const(1, dtype)
    square = L.mul(x, x)
    for bit in range(1, bits):
        result = L.select(L.ne(L.and_(y, 1 << bit), 0), L.mul(result, square), result)
        square = L.mul(square, square)
    if dtype.kind == "u":
        return result
    sign = L.select(L.ne(L.and_(y, 1), 0), x, 1)  # of +-1, which alone have an inverse
    inverse = L.select(L.eq(L.abs(x), 1), sign, 0)
    return L.select(L.lt(y, 0), inverse, result)


def _exact_power(x: np.integer, y: np.integer, modulus: int) -> int:
    if y < 0:
        return int(x) ** (int(y) % 2) if abs(int(x)) == 1 else 0
    return pow(int(x), int(y), modulus)


def _integer_power(x: np.ndarray, y: np.ndarray) -> Any:
    modulus = 1 << 8 * x.dtype.itemsize
    x, y = np.broadcast_arrays(x, y)
    exact = [_exact_power(*pair, modulus) for pair in zip(x.flat, y.flat, strict=True)]
    wrapped = np.array([power % modulus for power in exact], f"u{x.dtype.itemsize}")
    return wrapped.astype(x.dtype).reshape(x.shape)


def _without_logarithm(x: Any, y: Any, z: Any) -> Any:
    return logical_or(equal(z, 0), logical_and(equal(x, 0), equal(y, 0)))


power: Operator = elementwise(
    "broadcast_power",
    operands="lhs rhs",
    lower=_lower_power,
    grad=lambda g, z, x, y: (
        # The formulas alone give 0 times infinity where x ** 0 is 1 for all x, where z log x has
        # the limit 0 for z -> 0, and at 0 ** 0, from where on 0 ** y does not change.
        g * (y * power(select(equal(y, 0), 1, x), y - 1)),
        g * (z * log(select(_without_logarithm(x, y, z), 1, x))),
    ),
    numpy=_integer_oracle(np.power, _integer_power),
    kinds="fiu",
    aliases=("_power", "_Power", "power", "pow"),
    domain=(0.5, 2.0),
    doc="""First array to the power of the second, broadcast against each other. Integers are exact
    and wrap; with a negative exponent they are 1 / x^n rounded towards zero, and 0 where x is 0.

    >>> nd.broadcast_power(nd.array([[1, 2, 3]]), nd.array([[2], [3]])).asnumpy()
    array([[ 1.,  4.,  9.],
           [ 1.,  8., 27.]], dtype=float32)
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
    floats_only=True,
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
    floats_only=True,
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
    floats_only=True,
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
    floats_only=True,
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
    kinds="fiu",
    aliases=("_np_negative",),
    doc="""The elements with the opposite sign.

    >>> nd.negative(nd.array([1, -2])).asnumpy()
    array([-1.,  2.], dtype=float32)
    """,
)


def _lower_reciprocal(x: Expr) -> Expr:
    return L.div(1, x)


reciprocal = elementwise(
    "reciprocal",
    lower=_lower_reciprocal,
    grad=lambda g, y, x: (-g * square(y),),
    numpy=np.reciprocal,
    floats_only=True,
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
    kinds="fiu",
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
    kinds="fiu",
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
    kinds="fiu",
    doc="""x².

    >>> nd.square(nd.array([-2, 3])).asnumpy()
    array([4., 9.], dtype=float32)
    """,
)

# ------------------------------------------------------- exponentials, logarithms, roots

exp = elementwise(
    "exp",
    lower=L.exp,
    grad=lambda g, y, x: (g * y,),
    numpy=np.exp,
    floats_only=True,
    doc="""e to the power of x.

    >>> nd.exp(nd.array([0, 1])).asnumpy()
    array([1.    , 2.7183], dtype=float32)
    """,
)

expm1 = elementwise(
    "expm1",
    lower=L.expm1,
    grad=lambda g, y, x: (g * (y + 1),),
    numpy=np.expm1,
    floats_only=True,
    doc="""exp(x) - 1, exact near 0.

    >>> nd.expm1(nd.array([0, 1])).asnumpy()
    array([0.    , 1.7183], dtype=float32)
    """,
)

log: Operator = elementwise(
    "log",
    lower=L.log,
    grad=lambda g, y, x: (g / x,),
    numpy=np.log,
    floats_only=True,
    domain=(0.1, 10.0),
    doc="""Natural logarithm.

    >>> nd.log(nd.array([1, 2])).asnumpy()
    array([0.    , 0.6931], dtype=float32)
    """,
)

log1p = elementwise(
    "log1p",
    lower=L.log1p,
    grad=lambda g, y, x: (g / (1 + x),),
    numpy=np.log1p,
    floats_only=True,
    domain=(-0.5, 10.0),
    doc="""log(1 + x), exact near 0.

    >>> nd.log1p(nd.array([0, 1])).asnumpy()
    array([0.    , 0.6931], dtype=float32)
    """,
)

log2 = elementwise(
    "log2",
    lower=L.log2,
    grad=lambda g, y, x: (g * (1 / math.log(2)) / x,),
    numpy=np.log2,
    floats_only=True,
    domain=(0.1, 10.0),
    doc="""Logarithm to base 2.

    >>> nd.log2(nd.array([1, 8])).asnumpy()
    array([0., 3.], dtype=float32)
    """,
)

log10 = elementwise(
    "log10",
    lower=L.log10,
    grad=lambda g, y, x: (g * (1 / math.log(10)) / x,),
    numpy=np.log10,
    floats_only=True,
    domain=(0.1, 10.0),
    doc="""Logarithm to base 10.

    >>> nd.log10(nd.array([1, 1000])).asnumpy()
    array([0., 3.], dtype=float32)
    """,
)

sqrt = elementwise(
    "sqrt",
    lower=L.sqrt,
    grad=lambda g, y, x: (g / (2 * y),),
    numpy=np.sqrt,
    floats_only=True,
    domain=(0.1, 10.0),
    doc="""Square root.

    >>> nd.sqrt(nd.array([4, 9])).asnumpy()
    array([2., 3.], dtype=float32)
    """,
)

rsqrt = elementwise(
    "rsqrt",
    lower=L.rsqrt,
    grad=lambda g, y, x: (-g * y / (2 * x),),
    numpy=lambda x: (1 / np.sqrt(x)).astype(x.dtype),
    floats_only=True,
    domain=(0.1, 10.0),
    doc="""1 / sqrt(x).

    >>> nd.rsqrt(nd.array([4, 16])).asnumpy()
    array([0.5 , 0.25], dtype=float32)
    """,
)

cbrt = elementwise(
    "cbrt",
    lower=L.cbrt,
    grad=lambda g, y, x: (g * square(reciprocal(y)) / 3,),
    numpy=np.cbrt,
    floats_only=True,
    domain=(0.1, 10.0),
    doc="""Cube root.

    >>> nd.cbrt(nd.array([8, -27])).asnumpy()
    array([ 2., -3.], dtype=float32)
    """,
)

rcbrt = elementwise(
    "rcbrt",
    lower=lambda x: L.div(1, L.cbrt(x)),
    grad=lambda g, y, x: (-g * y / (3 * x),),
    numpy=lambda x: (1 / np.cbrt(x)).astype(x.dtype),
    floats_only=True,
    ulp=(2, 2),
    domain=(0.1, 10.0),
    doc="""1 / cbrt(x).

    >>> nd.rcbrt(nd.array([8, -64])).asnumpy()
    array([ 0.5 , -0.25], dtype=float32)
    """,
)

# ------------------------------------------------------------------------ trigonometry

sin = elementwise(
    "sin",
    lower=L.sin,
    grad=lambda g, y, x: (g * cos(x),),
    numpy=np.sin,
    floats_only=True,
    doc="""Sine of an angle in radians.

    >>> nd.sin(nd.array([0, 1])).asnumpy()
    array([0.    , 0.8415], dtype=float32)
    """,
)

cos: Operator = elementwise(
    "cos",
    lower=L.cos,
    grad=lambda g, y, x: (-g * sin(x),),
    numpy=np.cos,
    floats_only=True,
    doc="""Cosine of an angle in radians.

    >>> nd.cos(nd.array([0, 1])).asnumpy()
    array([1.    , 0.5403], dtype=float32)
    """,
)

tan = elementwise(
    "tan",
    lower=L.tan,
    grad=lambda g, y, x: (g * (1 + square(y)),),
    numpy=np.tan,
    floats_only=True,
    domain=(-1.2, 1.2),
    doc="""Tangent of an angle in radians.

    >>> nd.tan(nd.array([0, 1])).asnumpy()
    array([0.    , 1.5574], dtype=float32)
    """,
)

_complement: Operator = elementwise(
    "_one_minus_square",
    lower=lambda x: L.mul(L.sub(1, x), L.add(1, x)),
    grad=lambda g, y, x: (-2 * g * x,),
    numpy=lambda x: (1 - x) * (1 + x),
    floats_only=True,
    doc="""1 - x², exact near 1, with a slope that is exact near 0.""",
)

arcsin = elementwise(
    "arcsin",
    lower=L.arcsin,
    grad=lambda g, y, x: (g * rsqrt(_complement(x)),),
    numpy=np.arcsin,
    floats_only=True,
    domain=(-0.9, 0.9),
    doc="""The angle between -π/2 and π/2 whose sine is x.

    >>> nd.arcsin(nd.array([0, 1])).asnumpy()
    array([0.    , 1.5708], dtype=float32)
    """,
)

arccos = elementwise(
    "arccos",
    lower=L.arccos,
    grad=lambda g, y, x: (-g * rsqrt(_complement(x)),),
    numpy=np.arccos,
    floats_only=True,
    domain=(-0.9, 0.9),
    doc="""The angle between 0 and π whose cosine is x.

    >>> nd.arccos(nd.array([0, 1])).asnumpy()
    array([1.5708, 0.    ], dtype=float32)
    """,
)

arctan = elementwise(
    "arctan",
    lower=L.arctan,
    grad=lambda g, y, x: (g * _turning(1, x),),
    numpy=np.arctan,
    floats_only=True,
    doc="""The angle between -π/2 and π/2 whose tangent is x.

    >>> nd.arctan(nd.array([0, 1])).asnumpy()
    array([0.    , 0.7854], dtype=float32)
    """,
)

sinh = elementwise(
    "sinh",
    lower=L.sinh,
    grad=lambda g, y, x: (g * cosh(x),),
    numpy=np.sinh,
    floats_only=True,
    doc="""Hyperbolic sine.

    >>> nd.sinh(nd.array([0, 1])).asnumpy()
    array([0.    , 1.1752], dtype=float32)
    """,
)

cosh: Operator = elementwise(
    "cosh",
    lower=L.cosh,
    grad=lambda g, y, x: (g * sinh(x),),
    numpy=np.cosh,
    floats_only=True,
    doc="""Hyperbolic cosine.

    >>> nd.cosh(nd.array([0, 1])).asnumpy()
    array([1.    , 1.5431], dtype=float32)
    """,
)

tanh = elementwise(
    "tanh",
    lower=L.tanh,
    grad=lambda g, y, x: (g * (1 - square(y)),),
    numpy=np.tanh,
    floats_only=True,
    doc="""Hyperbolic tangent.

    >>> nd.tanh(nd.array([0, 1])).asnumpy()
    array([0.    , 0.7616], dtype=float32)
    """,
)

arcsinh = elementwise(
    "arcsinh",
    lower=L.arcsinh,
    grad=lambda g, y, x: (g / hypot(x, 1),),
    numpy=np.arcsinh,
    floats_only=True,
    doc="""The number whose hyperbolic sine is x.

    >>> nd.arcsinh(nd.array([0, 1])).asnumpy()
    array([0.    , 0.8814], dtype=float32)
    """,
)

arccosh = elementwise(
    "arccosh",
    lower=L.arccosh,
    grad=lambda g, y, x: (g * rsqrt(x - 1) * rsqrt(x + 1),),
    numpy=np.arccosh,
    floats_only=True,
    domain=(1.5, 10.0),
    doc="""The positive number whose hyperbolic cosine is x.

    >>> nd.arccosh(nd.array([1, 2])).asnumpy()
    array([0.   , 1.317], dtype=float32)
    """,
)

arctanh = elementwise(
    "arctanh",
    lower=L.arctanh,
    grad=lambda g, y, x: (g / _complement(x),),
    numpy=np.arctanh,
    floats_only=True,
    domain=(-0.9, 0.9),
    doc="""The number whose hyperbolic tangent is x.

    >>> nd.arctanh(nd.array([0, 0.5])).asnumpy()
    array([0.    , 0.5493], dtype=float32)
    """,
)

degrees = elementwise(
    "degrees",
    lower=lambda x: L.mul(x, 180 / math.pi),
    grad=lambda g, y, x: (g * (180 / math.pi),),
    numpy=np.degrees,
    floats_only=True,
    doc="""Radians as degrees.

    >>> nd.degrees(nd.array([0, 1])).asnumpy()
    array([ 0.    , 57.2958], dtype=float32)
    """,
)

radians = elementwise(
    "radians",
    lower=lambda x: L.mul(x, math.pi / 180),
    grad=lambda g, y, x: (g * (math.pi / 180),),
    numpy=np.radians,
    floats_only=True,
    doc="""Degrees as radians.

    >>> nd.radians(nd.array([0, 180])).asnumpy()
    array([0.    , 3.1416], dtype=float32)
    """,
)

# -------------------------------------------------------------------- special functions


def _special(name: str) -> Callable[..., Any]:
    """scipy's function: the oracle; scipy is needed by the tests only."""

    def oracle(x: np.ndarray) -> np.ndarray:
        import scipy.special  # type: ignore[import-untyped]

        return np.asarray(getattr(scipy.special, name)(x)).astype(x.dtype)

    return oracle


def _bell(x: Any, rate: float) -> Any:
    """exp(-rate x²). Far out it is 0, and of its slope infinity times 0 would be left."""
    return exp(square(clip(x, a_min=-40, a_max=40)) * -rate)


erf = elementwise(
    "erf",
    lower=L.erf,
    grad=lambda g, y, x: (g * (2 / math.sqrt(math.pi)) * _bell(x, 1),),
    numpy=_special("erf"),
    floats_only=True,
    doc="""The error function, 2/sqrt(π) times the integral of exp(-t²) from 0 to x.

    >>> nd.erf(nd.array([0, 1])).asnumpy()
    array([0.    , 0.8427], dtype=float32)
    """,
)

erfinv = elementwise(
    "erfinv",
    lower=L.erfinv,
    grad=lambda g, y, x: (g * (math.sqrt(math.pi) / 2) * exp(square(y)),),
    numpy=_special("erfinv"),
    floats_only=True,
    domain=(-0.9, 0.9),
    doc="""The number whose error function is x.

    >>> nd.erfinv(nd.array([0, 0.5])).asnumpy()
    array([0.    , 0.4769], dtype=float32)
    """,
)

gamma = elementwise(
    "gamma",
    lower=L.gamma,
    grad=lambda g, y, x: (g * y * digamma(x),),
    numpy=_special("gamma"),
    floats_only=True,
    domain=(0.5, 4.0),
    doc="""The gamma function; (n - 1)! for a whole n.

    >>> nd.gamma(nd.array([3, 4])).asnumpy()
    array([2., 6.], dtype=float32)
    """,
)

gammaln = elementwise(
    "gammaln",
    lower=L.lgamma,
    grad=lambda g, y, x: (g * digamma(x),),
    numpy=_special("gammaln"),
    floats_only=True,
    domain=(0.5, 4.0),
    doc="""Logarithm of the absolute value of the gamma function.

    >>> nd.gammaln(nd.array([3, 4])).asnumpy()
    array([0.6931, 1.7918], dtype=float32)
    """,
)

_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)  # B2, B4, ...


def _lower_polygamma(order: int, x: Expr) -> Expr:
    """The recurrence up to where the asymptotic series is exact to double precision, the series
    from there, and for x < 1/2 the reflection, whose derivatives are polynomials in cot(pi x).

    psi_n(z) = (-1)^(n+1) [(n-1)!/z^n + n!/(2 z^(n+1)) + sum B_2k (2k+n-1)!/(2k)! / z^(2k+n)],
    and for n = 0 log z in place of the first term. In double precision: it cancels near its roots.
    """
    result, x = x.dtype, L.cast(x, float64)
    shift = 8 + order
    reflect = L.lt(x, 0.5)
    z = L.select(reflect, L.sub(1, x), x)
    small = L.lt(z, shift)
    far = L.select(small, L.add(z, shift), z)
    inverse = L.div(1, far)
    squared = L.mul(inverse, inverse)
    series: Expr = L.const(0, x.dtype)
    for index in range(len(_BERNOULLI), 0, -1):
        weight = math.factorial(2 * index + order - 1) / math.factorial(2 * index)
        series = L.mul(squared, L.add(series, _BERNOULLI[index - 1] * weight))
    series = L.add(series, L.mul(inverse, 0.5 * math.factorial(order)))
    if order:
        series = L.add(series, math.factorial(order - 1))
    for _ in range(order):
        series = L.mul(series, inverse)
    steps: Expr = L.const(0, x.dtype)
    for step in range(shift):
        term = L.div(1, L.add(z, step))
        power_ = term
        for _ in range(order):
            power_ = L.mul(power_, term)
        steps = L.add(steps, L.mul(power_, math.factorial(order)))
    total = L.add(series, L.select(small, steps, 0))
    value = L.sub(L.log(far), total) if order == 0 else total if order % 2 else L.neg(total)
    # Of the whole number next to x nothing is left to be rounded away.
    cotangent = L.div(1, L.tan(L.mul(L.sub(x, L.rint(x)), math.pi)))
    *lower, highest = (c * math.pi ** (order + 1) for c in _cotangent_derivative(order))
    slope: Expr = L.const(highest, x.dtype)
    for coefficient in reversed(lower):
        slope = L.add(L.mul(slope, cotangent), coefficient)
    mirrored = L.sub(value if order % 2 == 0 else L.neg(value), slope)
    pole = L.and_(L.le(x, 0), L.eq(x, L.floor(x)))
    return L.cast(L.select(pole, math.nan, L.select(reflect, mirrored, value)), result)


def _cotangent_derivative(order: int) -> list[float]:
    """Coefficients of P with d^n cot / dx^n = P(cot x): each derivative maps P to -(1 + c²) P'."""
    coefficients = [0.0, 1.0]
    for _ in range(order):
        slope = [k * c for k, c in enumerate(coefficients)][1:]
        coefficients = [0.0] * (len(slope) + 2)
        for k, c in enumerate(slope):
            coefficients[k] -= c
            coefficients[k + 2] -= c
    return coefficients


class PolygammaAttrs(Frozen):
    order: int = 1


def _polygamma_oracle(x: np.ndarray, order: int) -> np.ndarray:
    import scipy.special

    # Shifted by the recurrence, since scipy knows positive numbers only.
    steps = sum((x.astype(np.float64) + k) ** -(order + 1) for k in range(8))
    far = scipy.special.polygamma(order, x.astype(np.float64) + 8)
    return np.asarray(far - (-1) ** order * math.factorial(order) * steps).astype(x.dtype)


digamma: Operator = elementwise(
    "digamma",
    lower=lambda x: _lower_polygamma(0, x),
    grad=lambda g, y, x: (g * polygamma(x, order=1),),
    numpy=_special("digamma"),
    floats_only=True,
    domain=(-0.9, 4.0),
    ulp=(4, 40),
    doc="""Derivative of the logarithm of the gamma function; NaN at 0, -1, -2, ...

    >>> nd.digamma(nd.array([1])).asnumpy()
    array([-0.5772], dtype=float32)
    """,
)

polygamma: Operator = elementwise(
    "_polygamma",
    attrs=PolygammaAttrs,
    lower=lambda a, x: _lower_polygamma(a.order, x),
    grad=lambda a, g, y, x: (g * polygamma(x, order=a.order + 1),),
    numpy=_polygamma_oracle,
    floats_only=True,
    domain=(0.5, 4.0),
    tolerance={"float32": 2e-5},
    samples=(((5,), {}), ((3, 5), {"order": 2}), ((0, 2), {"order": 3})),
    doc="""Derivative of `digamma`, `order` times.""",
)

# -------------------------------------------------------------------------- activations

sigmoid = elementwise(
    "sigmoid",
    lower=L.sigmoid,
    grad=lambda g, y, x: (g * y * (1 - y),),
    numpy=_special("expit"),
    floats_only=True,
    doc="""1 / (1 + exp(-x)).

    >>> nd.sigmoid(nd.array([0, 1])).asnumpy()
    array([0.5   , 0.7311], dtype=float32)
    """,
)


def _lower_softsign(x: Expr) -> Expr:
    most = float(np.finfo(x.dtype.numpy).max)  # infinity by infinity is no number
    finite = L.minimum(L.maximum(x, -most), most)
    return L.div(finite, L.add(L.abs(finite), 1))


softsign = elementwise(
    "softsign",
    lower=_lower_softsign,
    grad=lambda g, y, x: (g / (1 + absolute(x)) / (1 + absolute(x)),),
    numpy=lambda x: x / (1 + np.abs(x)),
    floats_only=True,
    doc="""x / (1 + abs(x)).

    >>> nd.softsign(nd.array([-1, 0, 3])).asnumpy()
    array([-0.5 ,  0.  ,  0.75], dtype=float32)
    """,
)

relu = elementwise(
    "relu",
    lower=lambda x: L.maximum(x, 0),
    grad=lambda g, y, x: (g * greater(y, 0),),
    numpy=lambda x: np.maximum(x, x.dtype.type(0)),
    kinds="fiu",
    doc="""max(x, 0).

    >>> nd.relu(nd.array([-1, 0, 3])).asnumpy()
    array([0., 0., 3.], dtype=float32)
    """,
)


def _lower_softrelu(x: Expr) -> Expr:
    # log(1 + e^x), written so that neither side overflows.
    return L.add(L.maximum(x, 0), L.log1p(L.exp(L.neg(L.abs(x)))))


softrelu = elementwise(
    "_softrelu",
    lower=_lower_softrelu,
    grad=lambda g, y, x: (g * _slope_of_softrelu(x),),
    numpy=lambda x: np.logaddexp(x, x.dtype.type(0)),
    floats_only=True,
    ulp=(3, 3),
    doc="""log(1 + exp(x)), which MXNet's `Activation` calls softrelu.""",
)

_slope_of_softrelu: Operator = elementwise(
    "_slope_of_softrelu",
    lower=L.sigmoid,
    grad=lambda g, y, x: (g * y * sigmoid(-x),),
    numpy=sigmoid.numpy,
    floats_only=True,
    doc="""`sigmoid`, but with a slope that keeps its digits where the result is nearly 1.""",
)

log_sigmoid = elementwise(
    "log_sigmoid",
    lower=lambda x: L.neg(_lower_softrelu(L.neg(x))),
    grad=lambda g, y, x: (g * _slope_of_softrelu(-x),),
    numpy=lambda x: -np.logaddexp(-x, x.dtype.type(0)),
    floats_only=True,
    ulp=(3, 3),
    doc="""log(1 / (1 + exp(-x))), without underflow.

    >>> nd.log_sigmoid(nd.array([0, -100])).asnumpy()
    array([  -0.6931, -100.    ], dtype=float32)
    """,
)


def _lower_mish(x: Expr) -> Expr:
    """With e = exp(x) it is x·e·(e + 2) / (e·(e + 2) + 2). For x far below 0, e has lost its digits
    where x·e has them still: e is multiplied as two roots. From 20 on it is x."""
    low = L.select(L.lt(x, -1000), -1000, x)
    near = L.select(L.gt(low, 20), 20, low)
    root = L.exp(L.mul(near, 0.5))
    e = L.mul(root, root)
    more = L.add(e, 2)
    ratio = L.div(more, L.add(L.mul(e, more), 2))
    return L.select(L.gt(x, 20), x, L.mul(L.mul(L.mul(near, root), ratio), root))


def _slope_of_mish_oracle(x: np.ndarray) -> np.ndarray:
    inner = np.tanh(np.logaddexp(x, x.dtype.type(0)))
    return inner + x * (1 - inner * inner) / (1 + np.exp(-x))


def _lower_slope_of_mish(x: Expr) -> Expr:
    """e·w / d² with w = 4(x + 1) + e·(4x + 6 + e·(4 + e)) and d = e·(e + 2) + 2."""
    near = L.select(L.lt(x, -1000), -1000, L.select(L.gt(x, 20), 20, x))
    root = L.exp(L.mul(near, 0.5))
    e = L.mul(root, root)
    inner = L.add(L.add(L.mul(4, near), 6), L.mul(e, L.add(4, e)))
    w = L.add(L.mul(4, L.add(near, 1)), L.mul(e, inner))
    d = L.add(L.mul(e, L.add(e, 2)), 2)
    slope = L.mul(L.mul(root, L.div(w, L.mul(d, d))), root)
    return L.select(L.gt(x, 20), 1, slope)


def _curvature_of_mish(x: Any) -> Any:
    """With e = exp(-|x|) on either side, so that no power overflows and no digits are lost but near
    where it is 0."""
    near = clip(x, a_min=-1000, a_max=1000)
    e = exp(-absolute(near))
    d = 2 + e * (2 + e)
    below = 4 * e * (2 * (1 + e) * d + near * (2 + e * (2 - e * (3 + 2 * e)))) / (d * square(d))
    d = 1 + 2 * e * (1 + e)
    above = 2 * (1 + e) * d - near * (2 + e * (3 - 2 * e * (1 + e)))
    return where(greater(near, 0), 4 * e * above / (d * square(d)) * e, below)


_slope_of_mish: Operator = elementwise(
    "_slope_of_mish",
    lower=_lower_slope_of_mish,
    grad=lambda g, y, x: (g * _curvature_of_mish(x),),
    numpy=_slope_of_mish_oracle,
    floats_only=True,
    doc="""The slope of `mish`.""",
)

mish = elementwise(
    "mish",
    lower=_lower_mish,
    grad=lambda g, y, x: (g * _slope_of_mish(x),),
    numpy=lambda x: x * np.tanh(np.logaddexp(x, x.dtype.type(0))),
    floats_only=True,
    ulp=(8, 8),
    doc="""x · tanh(log(1 + exp(x))).

    >>> nd.mish(nd.array([0, 3])).asnumpy()
    array([0.    , 2.9865], dtype=float32)
    """,
)

_normal_cdf = elementwise(
    "_normal_cdf",
    lower=L.normal_cdf,
    grad=lambda g, y, x: (g * _normal_density(x),),
    numpy=_special("ndtr"),
    floats_only=True,
    doc="""The normal distribution's Phi: the share of it below x.""",
)


def _normal_density(x: Any) -> Any:
    return _bell(x, 0.5) * (1 / math.sqrt(2 * math.pi))


def _slope_of_gelu(x: Any) -> Any:
    near = clip(x, a_min=-40, a_max=40)  # beyond, the density is 0, and infinity times it is not
    return _normal_cdf(x) + near * _normal_density(x)


gelu = elementwise(
    "_gelu",
    lower=L.gelu,
    grad=lambda g, y, x: (g * _slope_of_gelu(x),),
    numpy=lambda x: x * _special("ndtr")(x),
    floats_only=True,
    doc="""x · Phi(x), which `LeakyReLU` knows as 'gelu' (Hendrycks and Gimpel 2016).""",
)


class HardSigmoidAttrs(Frozen):
    alpha: float = 0.2
    beta: float = 0.5


hard_sigmoid = elementwise(
    "hard_sigmoid",
    attrs=HardSigmoidAttrs,
    lower=lambda a, x: L.maximum(L.minimum(L.add(L.mul(x, a.alpha), a.beta), 1), 0),
    grad=lambda a, g, y, x: (g * a.alpha * logical_and(greater(y, 0), lesser(y, 1)),),
    numpy=lambda x, alpha, beta: np.clip(x * x.dtype.type(alpha) + x.dtype.type(beta), 0, 1),
    floats_only=True,
    doc="""alpha · x + beta, clipped to 0 and 1.

    Parameters: `alpha` the slope (default 0.2), `beta` the value at 0 (default 0.5).

    >>> nd.hard_sigmoid(nd.array([-5, 0, 1])).asnumpy()
    array([0. , 0.5, 0.7], dtype=float32)
    """,
)


class SmoothL1Attrs(Frozen):
    scalar: float = 1.0


smooth_l1 = elementwise(
    "smooth_l1",
    attrs=SmoothL1Attrs,
    lower=lambda a, x: L.select(
        L.lt(L.abs(x), 1 / a.scalar**2),
        L.mul(L.mul(x, x), 0.5 * a.scalar**2),
        L.sub(L.abs(x), 0.5 / a.scalar**2),
    ),
    grad=lambda a, g, y, x: (
        g * where(lesser(absolute(x), 1 / a.scalar**2), x * a.scalar**2, sign(x)),
    ),
    numpy=lambda x, scalar: np.where(
        np.abs(x) < 1 / scalar**2, 0.5 * scalar**2 * x * x, np.abs(x) - 0.5 / scalar**2
    ).astype(x.dtype),
    floats_only=True,
    samples=(((3, 5), {}), ((7,), {"scalar": 2.0}), ((0, 2), {})),
    doc="""Smooth L1 loss per element: a parabola near 0, abs(x) further out. With s = `scalar`:
    0.5 (s x)² where abs(x) < 1/s², else abs(x) - 0.5/s².

    >>> nd.smooth_l1(nd.array([0.5, 2, -3]), scalar=1).asnumpy()
    array([0.125, 1.5  , 2.5  ], dtype=float32)
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
    kinds="fiu",
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
    kinds="fiu",
    differentiable=False,
    doc="""The smallest whole number not below x.

    >>> nd.ceil(nd.array([-1.5, 1.5])).asnumpy()
    array([-1.,  2.], dtype=float32)
    """,
)

trunc = elementwise(
    "trunc",
    lower=_rounding(L.trunc),
    numpy=_whole(np.trunc),
    kinds="fiu",
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
    kinds="fiu",
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
    kinds="fiu",
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
    kinds="fiu",
    differentiable=False,
    doc="""The nearest whole number; of two equally near ones the one further from 0.

    >>> nd.round(nd.array([-1.5, 1.5, 1.4])).asnumpy()
    array([-2.,  2.,  1.], dtype=float32)
    """,
)

# ------------------------------------------------------------------ comparison and logic


def _truth(function: Callable[..., Expr]) -> Callable[..., Expr]:
    """0 or 1 in the operands' dtype."""

    def lower(*operands: Expr) -> Expr:
        return L.cast(function(*operands), operands[0].dtype)

    return lower


def _is_true(x: Expr) -> Expr:
    return L.ne(x, 0)


def _truth_oracle(rule: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arrays: np.asarray(rule(*arrays)).astype(arrays[0].dtype)


def _predicate(
    name: str,
    meaning: str,
    example: str,
    shows: str,
    lower: Callable[..., Expr],
    oracle: Callable[..., Any],
    operands: str = "lhs rhs",
    aliases: tuple[str, ...] = (),
    **record: Any,
) -> Operator:
    """An operator that answers 0 or 1."""
    return elementwise(
        name,
        operands=operands,
        lower=_truth(lower),
        numpy=_truth_oracle(oracle),
        aliases=aliases,
        differentiable=False,
        answers_truth=True,
        domain=(-2.0, 2.0),
        doc=f"""1 where {meaning}, else 0, in the operands' dtype.

    >>> {example}
    {shows}
    """,
        **record,
    )


equal: Operator = _predicate(
    "broadcast_equal",
    "both elements are equal",
    "nd.broadcast_equal(nd.array([1, 2]), nd.array([1, 3])).asnumpy()",
    "array([1., 0.], dtype=float32)",
    L.eq,
    np.equal,
    aliases=("_equal", "_Equal", "equal"),
)
not_equal = _predicate(
    "broadcast_not_equal",
    "the elements differ",
    "nd.broadcast_not_equal(nd.array([1, 2]), nd.array([1, 3])).asnumpy()",
    "array([0., 1.], dtype=float32)",
    L.ne,
    np.not_equal,
    aliases=("_not_equal", "_Not_Equal", "not_equal"),
)
lesser: Operator = _predicate(
    "broadcast_lesser",
    "the first element is smaller",
    "nd.broadcast_lesser(nd.array([1, 2]), nd.array([2, 2])).asnumpy()",
    "array([1., 0.], dtype=float32)",
    L.lt,
    np.less,
    aliases=("_lesser", "_Lesser", "lesser", "less"),
)
lesser_equal: Operator = _predicate(
    "broadcast_lesser_equal",
    "the first element is smaller or equal",
    "nd.broadcast_lesser_equal(nd.array([1, 3]), nd.array([2, 2])).asnumpy()",
    "array([1., 0.], dtype=float32)",
    L.le,
    np.less_equal,
    aliases=("_lesser_equal", "_Lesser_Equal", "lesser_equal", "less_equal"),
)
greater: Operator = _predicate(
    "broadcast_greater",
    "the first element is larger",
    "nd.broadcast_greater(nd.array([1, 3]), nd.array([2, 2])).asnumpy()",
    "array([0., 1.], dtype=float32)",
    L.gt,
    np.greater,
    aliases=("_greater", "_Greater", "greater"),
)
greater_equal: Operator = _predicate(
    "broadcast_greater_equal",
    "the first element is larger or equal",
    "nd.broadcast_greater_equal(nd.array([1, 2]), nd.array([2, 2])).asnumpy()",
    "array([0., 1.], dtype=float32)",
    L.ge,
    np.greater_equal,
    aliases=("_greater_equal", "_Greater_Equal", "greater_equal"),
)
logical_and: Operator = _predicate(
    "broadcast_logical_and",
    "both elements are not 0",
    "nd.broadcast_logical_and(nd.array([0, 2]), nd.array([1, 3])).asnumpy()",
    "array([0., 1.], dtype=float32)",
    lambda x, y: L.and_(_is_true(x), _is_true(y)),
    np.logical_and,
    aliases=("_logical_and", "_Logical_And", "logical_and"),
)
logical_or = _predicate(
    "broadcast_logical_or",
    "at least one of the elements is not 0",
    "nd.broadcast_logical_or(nd.array([0, 2]), nd.array([0, 3])).asnumpy()",
    "array([0., 1.], dtype=float32)",
    lambda x, y: L.or_(_is_true(x), _is_true(y)),
    np.logical_or,
    aliases=("_logical_or", "_Logical_Or", "logical_or"),
)
logical_xor = _predicate(
    "broadcast_logical_xor",
    "exactly one of the elements is not 0",
    "nd.broadcast_logical_xor(nd.array([0, 2]), nd.array([1, 3])).asnumpy()",
    "array([1., 0.], dtype=float32)",
    lambda x, y: L.xor(_is_true(x), _is_true(y)),
    np.logical_xor,
    aliases=("_logical_xor", "_Logical_Xor", "logical_xor"),
)
logical_not = _predicate(
    "logical_not",
    "the element is 0",
    "nd.logical_not(nd.array([0, 2])).asnumpy()",
    "array([1., 0.], dtype=float32)",
    lambda x: L.eq(x, 0),
    np.logical_not,
    operands="data",
)
isnan = _predicate(
    "_contrib_isnan",
    "the element is not a number",
    "nd.contrib.isnan(nd.array([1, float('nan')])).asnumpy()",
    "array([0., 1.], dtype=float32)",
    lambda x: L.ne(x, x),
    np.isnan,
    operands="data",
    aliases=("isnan",),
)
isinf = _predicate(
    "_contrib_isinf",
    "the element is infinite",
    "nd.contrib.isinf(nd.array([1, -float('inf')])).asnumpy()",
    "array([0., 1.], dtype=float32)",
    lambda x: L.eq(L.abs(x), math.inf) if x.dtype.is_float else L.const(False, as_dtype("bool")),
    np.isinf,
    operands="data",
    aliases=("isinf",),
)
isfinite = _predicate(
    "_contrib_isfinite",
    "the element is neither infinite nor NaN",
    "nd.contrib.isfinite(nd.array([1, float('nan'), float('inf')])).asnumpy()",
    "array([1., 0., 0.], dtype=float32)",
    lambda x: L.lt(L.abs(x), math.inf) if x.dtype.is_float else L.const(True, as_dtype("bool")),
    np.isfinite,
    operands="data",
    aliases=("isfinite",),
)

# ------------------------------------------------------------------ choosing and converting

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
    kinds="fiu",
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
    lower=lambda a, x: L.cast(x, as_dtype(a.dtype)),
    grad=lambda a, g, y, x: (cast_like(g, x),),
    numpy=lambda x, dtype: convert(x, as_dtype(dtype)),
    aliases=("cast", "amp_cast"),
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

identity = elementwise(
    "_copy",
    lower=lambda x: x,
    grad=lambda g, y, x: (g,),
    numpy=np.copy,
    aliases=("identity",),
    doc="""The same elements.

    >>> nd.identity(nd.array([1, 2])).asnumpy()
    array([1., 2.], dtype=float32)
    """,
)

stop_gradient = elementwise(
    "BlockGrad",
    lower=lambda x: x,
    numpy=np.copy,
    differentiable=False,
    aliases=("stop_gradient",),
    doc="""The same elements; no gradient passes through.

    >>> nd.stop_gradient(nd.array([1, 2])).asnumpy()
    array([1., 2.], dtype=float32)
    """,
)

# ---------------------------------------------------- strict, summed and scalar spellings


def _strict(name: str, op: Operator, word: str, shows: str, aliases: tuple[str, ...]) -> Operator:
    """`op` for operands of equal shape, as MXNet's symbols demand it."""

    def infer(x: TensorType, y: TensorType) -> Any:
        check(
            x.shape == y.shape,
            name,
            f"shapes differ: {x.shape} and {y.shape}; use {op.name} to broadcast",
        )
        return op.infer(x, y)

    return composite(
        name,
        op,
        operands="lhs rhs",
        infer=infer,
        grad=op.grad,
        numpy=op.numpy,
        domain=op.domain,
        aliases=aliases,
        samples=(((3, 5), (3, 5), {}), ((1,), (1,), {}), ((0, 2), (0, 2), {})),
        doc=f"""{word} of two arrays of the same shape.

    >>> nd.{name}(nd.array([6, 8]), nd.array([2, 4])).asnumpy()
    array({shows}, dtype=float32)
    """,
    )


elemwise_add = _strict("elemwise_add", add, "Sum", "[ 8., 12.]", ("_add", "_plus", "_Plus"))
elemwise_sub = _strict(
    "elemwise_sub", subtract, "Difference", "[4., 4.]", ("_sub", "_minus", "_Minus")
)
elemwise_mul = _strict("elemwise_mul", multiply, "Product", "[12., 32.]", ("_mul", "_Mul"))
elemwise_div = _strict("elemwise_div", divide, "Quotient", "[3., 2.]", ("_div", "_Div"))


class AddNAttrs(Frozen):
    num_args: int = 0


def _decompose_add_n(attrs: AddNAttrs, *values: Any) -> Any:
    check(values, "add_n", "expected at least one array; given none")
    for value in values[1:]:
        check(
            value.shape == values[0].shape,
            "add_n",
            f"shapes differ: {values[0].shape} and {value.shape}; use broadcast_add",
        )
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total if len(values) > 1 else identity(total)


def _sum_of(*arrays: np.ndarray, num_args: int = 0) -> Any:
    total = arrays[0].copy()
    for array in arrays[1:]:
        total = total + array
    return total


add_n = composite(
    "add_n",
    _decompose_add_n,
    operands="*args",
    attrs=AddNAttrs,
    grad=lambda a, g, y, *xs: (g,) * len(xs),
    numpy=_sum_of,
    aliases=("ElementWiseSum", "_sum", "ElemwiseSum"),
    samples=(((2, 3), (2, 3), (2, 3), {}), ((4,), {}), ((0, 2), (0, 2), {})),
    doc="""Sum of any number of arrays of the same shape.

    >>> nd.add_n(nd.array([1, 2]), nd.array([10, 20]), nd.array([100, 200])).asnumpy()
    array([111., 222.], dtype=float32)
    """,
)


class ScalarAttrs(Frozen):
    scalar: float
    is_int: bool = True  # MXNet 1.9 writes it; the array's dtype decides here


def _with_scalar(name: str, op: Operator, reverse: bool = False) -> Operator:
    """`op` with a number, under the name that MXNet's files give it."""

    def decompose(attrs: ScalarAttrs, data: Any) -> Any:
        return op(attrs.scalar, data) if reverse else op(data, attrs.scalar)

    def oracle(data: np.ndarray, scalar: float, is_int: bool) -> Any:
        assert op.numpy is not None
        number = convert(np.asarray(scalar), as_dtype(data.dtype))
        return op.numpy(number, data) if reverse else op.numpy(data, number)

    camel = "".join(part.capitalize() for part in name.strip("_").split("_"))
    if reverse:
        camel = "R" + camel[1:].capitalize().replace("scalar", "Scalar")
    order = "a number and the elements" if reverse else "the elements and a number"
    return composite(
        name,
        decompose,
        attrs=ScalarAttrs,
        numpy=oracle,
        domain=op.domain or (0.5, 2.0),
        aliases=(f"_{camel}",),
        differentiable=op.differentiable,
        samples=(((3, 5), {"scalar": 1.5}), ((), {"scalar": 3.0}), ((0, 2), {"scalar": 1.0})),
        doc=f"""`{op.name}` of {order}, as MXNet's files spell it.

    Parameters: `scalar` the number, converted to the array's dtype first.
    """,
    )


for _name, _op in {
    "_plus_scalar": add,
    "_minus_scalar": subtract,
    "_mul_scalar": multiply,
    "_div_scalar": divide,
    "_mod_scalar": modulo,
    "_power_scalar": power,
    "_maximum_scalar": maximum,
    "_minimum_scalar": minimum,
    "_hypot_scalar": hypot,
    "_equal_scalar": equal,
    "_not_equal_scalar": not_equal,
    "_greater_scalar": greater,
    "_greater_equal_scalar": greater_equal,
    "_lesser_scalar": lesser,
    "_lesser_equal_scalar": lesser_equal,
    "_logical_and_scalar": logical_and,
    "_logical_or_scalar": logical_or,
    "_logical_xor_scalar": logical_xor,
}.items():
    _with_scalar(_name, _op)
for _name, _op in {
    "_rminus_scalar": subtract,
    "_rdiv_scalar": divide,
    "_rmod_scalar": modulo,
    "_rpower_scalar": power,
}.items():
    _with_scalar(_name, _op, reverse=True)
