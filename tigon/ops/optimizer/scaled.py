"""AdamW as programs for mixed precision call it: the factor on the gradient is an array, and where
it is 0 or no number, which says that a gradient has overflown, nothing moves."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType, as_dtype, check
from tigon.base.frozen import Frozen
from tigon.ir.graph import Value, constant
from tigon.ops.optimizer.formulas import _adamw, _scalar
from tigon.ops.optimizer.oracles import _adamw_oracle
from tigon.ops.primitive.choose import cast, where
from tigon.ops.primitive.compare import isfinite, logical_and, not_equal
from tigon.ops.record import Operator, composite


class ScaledAdamWAttrs(Frozen, kw_only=True):
    """Rates, and Adam's constants."""

    lr: float
    eta: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    wd: float = 0.0
    clip_gradient: float = -1.0


_DOC = """AdamW (Loshchilov and Hutter 2017) with the factor on the gradient as an operand:
`weight - eta * (lr * mean / (sqrt(var) + epsilon) + wd * weight)`, on the moving averages of
`g = rescale_grad * grad` and of its square. Where `rescale_grad` is 0 or not finite nothing
changes.

Parameters
----------
weight, grad : the weight and its gradient, of one shape
mean, var : the moving averages, of that shape, changed in place
rescale_grad : one number, as an array or as it is
lr, eta : the learning rate, and the factor on the whole step
wd : weight decay
clip_gradient : `g` is clipped to [-clip_gradient, clip_gradient], if that is not negative
"""


def _record(name: str, mixed: bool, example: str) -> Operator:
    """`mixed`: on a copy of the weight in higher precision, `weight32`; the weight follows it."""
    arrays = ["weight", "grad", "mean", "var", *(["weight32"] if mixed else [])]

    def infer(attributes: Any, *types: TensorType) -> tuple[TensorType, ...]:
        weight, *others = types[: len(arrays)]
        for word, given in zip(arrays[1:], others, strict=True):
            check(
                given.shape == weight.shape,
                name,
                f"{word}: expected shape {weight.shape} like weight; given {given.shape}",
            )
        scale = types[-1]
        check(
            scale.size == 1, name, f"rescale_grad: expected one number; given shape {scale.shape}"
        )
        exact = others[-1] if mixed else weight
        result = TensorType(exact.shape, exact.dtype)
        return (TensorType(weight.shape, weight.dtype), *[result] * (3 if mixed else 2))

    def decompose(attributes: Any, *operands: Value) -> tuple[Value, ...]:
        weight, grad, mean, var, *rest = operands
        exact, given = (rest[0] if mixed else weight), rest[-1]
        if mixed and grad.dtype is not exact.dtype:
            grad = cast(grad, dtype=exact.dtype.name)
        scale = _scalar(given, exact)
        usable = logical_and(isfinite(scale), not_equal(scale, 0.0))
        factor = where(usable, scale, scale * 0.0 + 1.0)
        lr, wd = (constant(value, exact.dtype) for value in (attributes.lr, attributes.wd))
        made = _adamw(attributes, exact, grad, mean, var, lr, wd, factor)
        old = (exact, mean, var)
        new, mean, var = (where(usable, a, b) for a, b in zip(made, old, strict=True))
        if not mixed:
            return new, mean, var
        rounded = new if new.dtype is weight.dtype else cast(new, dtype=weight.dtype.name)
        return rounded, mean, var, new

    def oracle(*given: np.ndarray, **values: Any) -> tuple[np.ndarray, ...]:
        weight, grad, mean, var, *rest = given
        exact, scale = (rest[0] if mixed else weight), float(rest[-1].reshape(()))
        if not np.isfinite(scale) or scale == 0:
            new = exact
        else:
            new, mean, var = _adamw_oracle(
                exact, grad.astype(exact.dtype), mean, var, rescale_grad=scale, **values
            )
        rounded = new.astype(weight.dtype)
        return (rounded, mean, var, new) if mixed else (rounded, mean, var)

    def infer_operands(attributes: Any, types: list[TensorType | None]) -> list[TensorType | None]:
        weight = types[0] or types[1]
        if weight is None:
            return types
        exact = TensorType(weight.shape, as_dtype("float32")) if mixed else weight
        found = [types[0] or weight, types[1] or weight]
        return [*found, *(given or exact for given in types[2:-1]), types[-1]]

    states = {"mean": 1, "var": 2, **({"weight32": 3} if mixed else {})}
    shapes = [(3, 4), (3, 4), np.full((3, 4), 0.75), np.full((3, 4), 0.75)]
    shapes += [(3, 4)] if mixed else []
    rates = {"lr": 0.1, "eta": 0.5, "wd": 0.05}
    return composite(
        name,
        decompose,
        operands=" ".join([*arrays, "rescale_grad"]),
        attrs=ScaledAdamWAttrs,
        dtypes={"weight grad": "f", "mean var weight32": "f"}
        if mixed
        else {"weight grad mean var": "f"},
        infer=infer,
        numpy=oracle,
        outputs=len(arrays) - 1,
        visible=1,
        mutates={0: "weight"} | {place: word for word, place in states.items()},
        differentiable=False,
        infer_operands=infer_operands,
        samples=[
            (*shapes, np.array([2.0]), rates),
            (*shapes, np.array([2.0]), rates | {"clip_gradient": 0.5}),
            (*shapes, np.array([0.0]), rates),
        ],
        doc=_DOC + (_MIXED if mixed else "") + example,
    )


_MIXED = """weight32 : a copy of the weight with more digits, on which the step is made
"""

adamw_update = _record(
    "_contrib_adamw_update",
    False,
    """
Examples
--------
>>> weight, mean, var = nd.array([1]), nd.zeros(1), nd.zeros(1)
>>> rates = {"lr": 0.5, "eta": 1.0, "beta1": 0, "beta2": 0}
>>> nd.contrib.adamw_update(weight, nd.array([4]), mean, var, 0.5, **rates).asnumpy()
array([0.5], dtype=float32)
>>> nd.contrib.adamw_update(weight, nd.array([4]), mean, var, float("inf"), **rates).asnumpy()
array([1.], dtype=float32)
""",
)

mp_adamw_update = _record(
    "_contrib_mp_adamw_update",
    True,
    """
Examples
--------
>>> weight, exact, mean, var = nd.array([1]), nd.array([1]), nd.zeros(1), nd.zeros(1)
>>> rates = {"lr": 0.5, "eta": 1.0, "beta1": 0, "beta2": 0}
>>> nd.contrib.mp_adamw_update(weight, nd.array([4]), mean, var, exact, 0.5, **rates).asnumpy()
array([0.5], dtype=float32)
>>> exact.asnumpy()
array([0.5], dtype=float32)
""",
)
