"""Powers, exponentials, logarithms, roots and trigonometry, element by element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tigon.base.extents import RuntimeNumber
from tigon.loop import build as L
from tigon.loop.grammar import Const, Expr
from tigon.ops.primitive.arithmetic import (
    _integer_oracle,
    _turning,
    hypot,
    reciprocal,
    square,
)
from tigon.ops.primitive.choose import select
from tigon.ops.primitive.compare import equal, logical_and, logical_or
from tigon.ops.primitive.real import real_function
from tigon.ops.record import Operator, elementwise


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
    dtypes="fiu",
    aliases=("_power", "_Power", "power", "pow"),
    domain=(0.5, 2.0),
    doc="""First array to the power of the second, broadcast against each other. Integers are exact
    and wrap; with a negative exponent they are 1 / x^n rounded towards zero, and 0 where x is 0.

    >>> nd.broadcast_power(nd.array([[1, 2, 3]]), nd.array([[2], [3]])).asnumpy()
    array([[ 1.,  4.,  9.],
           [ 1.,  8., 27.]], dtype=float32)
    """,
)

# ------------------------------------------------------- exponentials, logarithms, roots

exp = real_function(
    "exp",
    lower=L.exp,
    grad=lambda g, y, x: (g * y,),
    numpy=np.exp,
    doc="""e to the power of x.

    >>> nd.exp(nd.array([0, 1])).asnumpy()
    array([1.    , 2.7183], dtype=float32)
    """,
)

expm1 = real_function(
    "expm1",
    lower=L.expm1,
    grad=lambda g, y, x: (g * (y + 1),),
    numpy=np.expm1,
    doc="""exp(x) - 1, exact near 0.

    >>> nd.expm1(nd.array([0, 1])).asnumpy()
    array([0.    , 1.7183], dtype=float32)
    """,
)

log: Operator = real_function(
    "log",
    lower=L.log,
    grad=lambda g, y, x: (g / x,),
    numpy=np.log,
    domain=(0.1, 10.0),
    doc="""Natural logarithm.

    >>> nd.log(nd.array([1, 2])).asnumpy()
    array([0.    , 0.6931], dtype=float32)
    """,
)

log1p = real_function(
    "log1p",
    lower=L.log1p,
    grad=lambda g, y, x: (g / (1 + x),),
    numpy=np.log1p,
    domain=(-0.5, 10.0),
    doc="""log(1 + x), exact near 0.

    >>> nd.log1p(nd.array([0, 1])).asnumpy()
    array([0.    , 0.6931], dtype=float32)
    """,
)

log2 = real_function(
    "log2",
    lower=L.log2,
    grad=lambda g, y, x: (g * (1 / math.log(2)) / x,),
    numpy=np.log2,
    domain=(0.1, 10.0),
    doc="""Logarithm to base 2.

    >>> nd.log2(nd.array([1, 8])).asnumpy()
    array([0., 3.], dtype=float32)
    """,
)

log10 = real_function(
    "log10",
    lower=L.log10,
    grad=lambda g, y, x: (g * (1 / math.log(10)) / x,),
    numpy=np.log10,
    domain=(0.1, 10.0),
    doc="""Logarithm to base 10.

    >>> nd.log10(nd.array([1, 1000])).asnumpy()
    array([0., 3.], dtype=float32)
    """,
)

sqrt = real_function(
    "sqrt",
    lower=L.sqrt,
    grad=lambda g, y, x: (g / (2 * y),),
    numpy=np.sqrt,
    domain=(0.1, 10.0),
    doc="""Square root.

    >>> nd.sqrt(nd.array([4, 9])).asnumpy()
    array([2., 3.], dtype=float32)
    """,
)

rsqrt = real_function(
    "rsqrt",
    lower=L.rsqrt,
    grad=lambda g, y, x: (-g * y / (2 * x),),
    numpy=lambda x: (1 / np.sqrt(x)).astype(x.dtype),
    domain=(0.1, 10.0),
    doc="""1 / sqrt(x).

    >>> nd.rsqrt(nd.array([4, 16])).asnumpy()
    array([0.5 , 0.25], dtype=float32)
    """,
)

cbrt = real_function(
    "cbrt",
    lower=L.cbrt,
    grad=lambda g, y, x: (g * square(reciprocal(y)) / 3,),
    numpy=np.cbrt,
    domain=(0.1, 10.0),
    doc="""Cube root.

    >>> nd.cbrt(nd.array([8, -27])).asnumpy()
    array([ 2., -3.], dtype=float32)
    """,
)

rcbrt = real_function(
    "rcbrt",
    lower=lambda x: L.div(1, L.cbrt(x)),
    grad=lambda g, y, x: (-g * y / (3 * x),),
    numpy=lambda x: (1 / np.cbrt(x)).astype(x.dtype),
    ulp=(2, 2),
    domain=(0.1, 10.0),
    doc="""1 / cbrt(x).

    >>> nd.rcbrt(nd.array([8, -64])).asnumpy()
    array([ 0.5 , -0.25], dtype=float32)
    """,
)

# ------------------------------------------------------------------------ trigonometry

sin = real_function(
    "sin",
    lower=L.sin,
    grad=lambda g, y, x: (g * cos(x),),
    numpy=np.sin,
    doc="""Sine of an angle in radians.

    >>> nd.sin(nd.array([0, 1])).asnumpy()
    array([0.    , 0.8415], dtype=float32)
    """,
)

cos: Operator = real_function(
    "cos",
    lower=L.cos,
    grad=lambda g, y, x: (-g * sin(x),),
    numpy=np.cos,
    doc="""Cosine of an angle in radians.

    >>> nd.cos(nd.array([0, 1])).asnumpy()
    array([1.    , 0.5403], dtype=float32)
    """,
)

tan = real_function(
    "tan",
    lower=L.tan,
    grad=lambda g, y, x: (g * (1 + square(y)),),
    numpy=np.tan,
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
    dtypes="f",
    doc="""1 - x², exact near 1, with a slope that is exact near 0.""",
)

arcsin = real_function(
    "arcsin",
    lower=L.arcsin,
    grad=lambda g, y, x: (g * rsqrt(_complement(x)),),
    numpy=np.arcsin,
    domain=(-0.9, 0.9),
    doc="""The angle between -π/2 and π/2 whose sine is x.

    >>> nd.arcsin(nd.array([0, 1])).asnumpy()
    array([0.    , 1.5708], dtype=float32)
    """,
)

arccos = real_function(
    "arccos",
    lower=L.arccos,
    grad=lambda g, y, x: (-g * rsqrt(_complement(x)),),
    numpy=np.arccos,
    domain=(-0.9, 0.9),
    doc="""The angle between 0 and π whose cosine is x.

    >>> nd.arccos(nd.array([0, 1])).asnumpy()
    array([1.5708, 0.    ], dtype=float32)
    """,
)

arctan = real_function(
    "arctan",
    lower=L.arctan,
    grad=lambda g, y, x: (g * _turning(1, x),),
    numpy=np.arctan,
    doc="""The angle between -π/2 and π/2 whose tangent is x.

    >>> nd.arctan(nd.array([0, 1])).asnumpy()
    array([0.    , 0.7854], dtype=float32)
    """,
)

sinh = real_function(
    "sinh",
    lower=L.sinh,
    grad=lambda g, y, x: (g * cosh(x),),
    numpy=np.sinh,
    doc="""Hyperbolic sine.

    >>> nd.sinh(nd.array([0, 1])).asnumpy()
    array([0.    , 1.1752], dtype=float32)
    """,
)

cosh: Operator = real_function(
    "cosh",
    lower=L.cosh,
    grad=lambda g, y, x: (g * sinh(x),),
    numpy=np.cosh,
    doc="""Hyperbolic cosine.

    >>> nd.cosh(nd.array([0, 1])).asnumpy()
    array([1.    , 1.5431], dtype=float32)
    """,
)

tanh = real_function(
    "tanh",
    lower=L.tanh,
    grad=lambda g, y, x: (g * (1 - square(y)),),
    numpy=np.tanh,
    doc="""Hyperbolic tangent.

    >>> nd.tanh(nd.array([0, 1])).asnumpy()
    array([0.    , 0.7616], dtype=float32)
    """,
)

arcsinh = real_function(
    "arcsinh",
    lower=L.arcsinh,
    grad=lambda g, y, x: (g / hypot(x, 1),),
    numpy=np.arcsinh,
    doc="""The number whose hyperbolic sine is x.

    >>> nd.arcsinh(nd.array([0, 1])).asnumpy()
    array([0.    , 0.8814], dtype=float32)
    """,
)

arccosh = real_function(
    "arccosh",
    lower=L.arccosh,
    grad=lambda g, y, x: (g * rsqrt(x - 1) * rsqrt(x + 1),),
    numpy=np.arccosh,
    domain=(1.5, 10.0),
    doc="""The positive number whose hyperbolic cosine is x.

    >>> nd.arccosh(nd.array([1, 2])).asnumpy()
    array([0.   , 1.317], dtype=float32)
    """,
)

arctanh = real_function(
    "arctanh",
    lower=L.arctanh,
    grad=lambda g, y, x: (g / _complement(x),),
    numpy=np.arctanh,
    domain=(-0.9, 0.9),
    doc="""The number whose hyperbolic tangent is x.

    >>> nd.arctanh(nd.array([0, 0.5])).asnumpy()
    array([0.    , 0.5493], dtype=float32)
    """,
)

degrees = real_function(
    "degrees",
    lower=lambda x: L.mul(x, 180 / math.pi),
    grad=lambda g, y, x: (g * (180 / math.pi),),
    numpy=np.degrees,
    doc="""Radians as degrees.

    >>> nd.degrees(nd.array([0, 1])).asnumpy()
    array([ 0.    , 57.2958], dtype=float32)
    """,
)

radians = real_function(
    "radians",
    lower=lambda x: L.mul(x, math.pi / 180),
    grad=lambda g, y, x: (g * (math.pi / 180),),
    numpy=np.radians,
    doc="""Degrees as radians.

    >>> nd.radians(nd.array([0, 180])).asnumpy()
    array([0.    , 3.1416], dtype=float32)
    """,
)
