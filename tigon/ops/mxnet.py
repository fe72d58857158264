"""MXNet's further spellings of what other files define (strict, summed, scalar), and what its files
hold besides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon.base import TensorType, as_dtype, check
from tigon.base.dtypes import DType, float32
from tigon.base.frozen import Frozen
from tigon.loop.semantics import convert
from tigon.ops.primitive.arithmetic import (
    add,
    divide,
    hypot,
    maximum,
    minimum,
    modulo,
    multiply,
    subtract,
)
from tigon.ops.primitive.choose import cast, identity
from tigon.ops.primitive.compare import (
    equal,
    greater,
    greater_equal,
    lesser,
    lesser_equal,
    logical_and,
    logical_or,
    logical_xor,
    not_equal,
)
from tigon.ops.primitive.functions import power
from tigon.ops.record import Operator, composite


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
        dtypes=op.dtypes,
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
    dtypes="fiu",
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
        dtypes=op.dtypes,
        numpy=oracle,
        domain=op.domain or (0.5, 2.0),
        aliases=(f"_{camel}",),
        differentiable=op.differentiable,
        widens=False,  # the number is rounded as one beside an array is
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


identity_with_attr_like_rhs = composite(
    "_identity_with_attr_like_rhs",
    lambda lhs, rhs: identity(lhs),
    operands="lhs rhs",
    grad=lambda g, y, lhs, rhs: (g, None),
    numpy=lambda lhs, rhs: lhs.copy(),
    samples=(((2, 3), (2, 3), {}),),
    doc="""The first operand; the second lends it its attributes in MXNet.""",
)


class CastAttrs(Frozen):
    dtype: str


def _amp_cast(attrs: CastAttrs, data: Any) -> Any:
    known = data.dtype.is_float and data.dtype is not as_dtype(attrs.dtype)
    return cast(data, dtype=attrs.dtype) if known else identity(data)


def _check_float(attrs: CastAttrs, data: TensorType) -> TensorType:
    wanted = as_dtype(attrs.dtype)
    check(wanted.is_float, "amp_cast", f"dtype: expected a dtype of floats; given {wanted}")
    return TensorType(data.shape, wanted if data.dtype.is_float else data.dtype)


amp_cast = composite(
    "amp_cast",
    _amp_cast,
    attrs=CastAttrs,
    infer=_check_float,
    keeps_shapes=True,
    widens=False,
    numpy=lambda x, dtype: convert(x, as_dtype(dtype)) if x.dtype.kind == "f" else x.copy(),
    samples=(
        ((3, 5), {"dtype": "float64"}),
        (np.arange(3, dtype=np.int32), {"dtype": "float64"}),
        ((), {"dtype": "float32"}),
        ((0, 2), {"dtype": "float64"}),
    ),
    check_gradient=(True, True, False, True),  # differences are made in float64
    doc="""Floats converted to another dtype of floats; integers and bools stay as they are. It is
    what automatic mixed precision puts before operators, and what files are saved without.

    Parameters: `dtype` name of the new type.

    >>> nd.amp_cast(nd.array([0.1]), dtype="float16").dtype.__name__
    'float16'
    >>> nd.amp_cast(nd.array([1], dtype="int32"), dtype="float16").dtype.__name__
    'int32'
    """,
)


class MulticastAttrs(Frozen):
    num_outputs: int
    cast_narrow: bool = False


def _common(attrs: MulticastAttrs, dtypes: Sequence[DType]) -> DType | None:
    """The dtype of all floats in the end. float16 and bfloat16 hold each other's numbers in
    float32 only."""
    check(
        attrs.num_outputs == len(dtypes),
        "amp_multicast",
        f"num_outputs: expected the number of arrays, {len(dtypes)}; given {attrs.num_outputs}",
    )
    floats = [dtype for dtype in dtypes if dtype.is_float]
    if not floats:
        return None
    if attrs.cast_narrow:
        return min(floats, key=lambda dtype: dtype.itemsize)
    widest = max(floats, key=lambda dtype: dtype.itemsize)
    return float32 if widest.is_narrow and len(set(floats)) > 1 else widest


def _multicast(attrs: MulticastAttrs, *data: Any) -> tuple[Any, ...]:
    common = _common(attrs, [x.dtype for x in data])
    return tuple(
        cast(x, dtype=common.name)
        if common is not None and x.dtype.is_float and x.dtype is not common
        else identity(x)
        for x in data
    )


def _multicast_oracle(*xs: np.ndarray, **fields: Any) -> tuple[np.ndarray, ...]:
    common = _common(MulticastAttrs(**fields), [as_dtype(x.dtype) for x in xs])
    return tuple(
        convert(x, common) if common is not None and x.dtype.kind == "f" else x.copy() for x in xs
    )


amp_multicast = composite(
    "amp_multicast",
    _multicast,
    operands="*data",
    attrs=MulticastAttrs,
    outputs=lambda a: a.num_outputs,
    keeps_shapes=True,
    numpy=_multicast_oracle,
    widens=False,
    samples=(
        ((2,), (3,), {"num_outputs": 2}),
        ((2,), np.ones((3,), np.float64), {"num_outputs": 2, "cast_narrow": True}),
    ),
    doc="""Arrays of several float dtypes, all converted to the widest of them; float16 beside
    bfloat16 becomes float32. Others stay as they are.

    Parameters: `num_outputs` how many there are; `cast_narrow` (default False) converts to the
    narrowest instead.

    >>> x, y = nd.array([1]), nd.array([2], dtype="float16")
    >>> [part.dtype.__name__ for part in nd.amp_multicast(x, y, num_outputs=2)]
    ['float32', 'float32']
    """,
)
