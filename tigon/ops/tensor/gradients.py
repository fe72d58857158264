"""Functions with gradients of one's own choosing."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base.frozen import Frozen
from tigon.ops.primitive.arithmetic import round, sign
from tigon.ops.primitive.choose import identity
from tigon.ops.record import Operator, composite


class ScalarAttrs(Frozen):
    scalar: float = 1.0


gradient_multiplier: Operator = composite(
    "_contrib_gradientmultiplier",
    lambda attrs, data: identity(data),
    attrs=ScalarAttrs,
    grad=lambda a, g, y, x: (gradient_multiplier(g, scalar=a.scalar) * a.scalar,),
    numpy=lambda x, scalar: x.copy(),
    check_gradient=False,  # by definition not the derivative of what it gives
    samples=(((2, 3), {"scalar": -0.5}), ((0,), {})),
    doc="""The same elements; the gradient is multiplied by `scalar` (a reversed gradient where that
    is negative).

    >>> nd.contrib.gradientmultiplier(nd.array([1, 2]), scalar=-1).asnumpy()
    array([1., 2.], dtype=float32)
    """,
)


def _straight_through(name: str, op: Operator, oracle: Any, what: str, shows: str) -> Operator:
    return composite(
        name,
        lambda data: op(data),
        dtypes=op.dtypes,
        grad=lambda g, y, x: (g,),
        numpy=oracle,
        check_gradient=False,  # by definition not the derivative of what it gives
        samples=(((2, 3), {}), ((), {}), ((0, 2), {})),
        doc=f"""{what}, with the gradient of the identity (straight-through estimator).

    >>> nd.contrib.{name.removeprefix("_contrib_")}(nd.array([-1.5, 0.4])).asnumpy()
    array({shows}, dtype=float32)
    """,
    )


round_ste = _straight_through(
    "_contrib_round_ste", round, round.numpy, "The nearest whole number", "[-2.,  0.]"
)
sign_ste = _straight_through("_contrib_sign_ste", sign, np.sign, "-1, 0 or 1", "[-1.,  1.]")


class QuadraticAttrs(Frozen):
    a: float = 0.0
    b: float = 0.0
    c: float = 0.0


quadratic = composite(
    "_contrib_quadratic",
    lambda attrs, data: (data * attrs.a + attrs.b) * data + attrs.c,
    attrs=QuadraticAttrs,
    dtypes="fiu",
    numpy=lambda x, a, b, c: (x * x.dtype.type(a) + x.dtype.type(b)) * x + x.dtype.type(c),
    samples=(((2, 3), {"a": 2.0, "b": 1.0, "c": 3.0}), ((0,), {})),
    doc="""a·x² + b·x + c.

    Parameters: `a`, `b`, `c` (default 0).

    >>> nd.contrib.quadratic(nd.array([1, 2]), a=1, b=2, c=3).asnumpy()
    array([ 6., 11.], dtype=float32)
    """,
)
