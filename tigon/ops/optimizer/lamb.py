"""Both phases of LAMB on a copy of the weight in higher precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon.base import TensorType, as_dtype
from tigon.ir.graph import Value
from tigon.ops.attributes import attrs_dict
from tigon.ops.optimizer.records import _check_shapes, lamb_update_phase1, lamb_update_phase2
from tigon.ops.primitive.choose import cast
from tigon.ops.record import composite


def _as(x: Value, like: Value) -> Value:
    return x if x.dtype is like.dtype else cast(x, dtype=like.dtype.name)


def _infer_operands(names: Sequence[str], narrow: Sequence[str], scalars: Sequence[str]) -> Any:
    def rule(attrs: Any, types: list[TensorType | None]) -> list[TensorType | None]:
        known = {name: t for name, t in zip(names, types, strict=True) if name not in scalars}
        shape = next((t.shape for t in known.values() if t is not None), None)
        own = next((known[name] for name in narrow if known[name] is not None), None)
        if shape is None:
            return types
        exact = TensorType(shape, as_dtype("float32"))
        return [
            t or (own if name in narrow else None if name in scalars else exact)
            for name, t in zip(names, types, strict=True)
        ]

    return rule


_FIRST = ("weight", "grad", "mean", "var", "weight32")
_SECOND = ("weight", "g", "r1", "r2", "weight32")


def _infer_first(attrs: Any, *types: TensorType) -> tuple[TensorType, ...]:
    _check_shapes("mp_lamb_update_phase1", _FIRST, types)
    return (TensorType(types[4].shape, types[4].dtype),) * 3


def _first(attrs: Any, *operands: Value) -> tuple[Value, ...]:
    _, grad, mean, var, exact = operands
    return lamb_update_phase1(exact, _as(grad, exact), mean, var, **attrs_dict(attrs))


def _first_oracle(*given: np.ndarray, **fields: Any) -> Any:
    _, grad, mean, var, exact = given
    attrs = lamb_update_phase1.make_attrs(fields)
    return lamb_update_phase1.oracle(attrs, exact, grad.astype(exact.dtype), mean, var)


mp_lamb_update_phase1 = composite(
    "mp_lamb_update_phase1",
    _first,
    operands=" ".join(_FIRST),
    attrs=lamb_update_phase1.attrs_type,
    dtypes={"weight grad": "f", "mean var weight32": "f"},
    infer=_infer_first,
    numpy=_first_oracle,
    outputs=3,
    visible=1,
    mutates={1: "mean", 2: "var"},
    differentiable=False,
    infer_operands=_infer_operands(_FIRST, ("weight", "grad"), ()),
    samples=[
        (
            (3, 4),
            (3, 4),
            np.full((3, 4), 0.75),
            np.full((3, 4), 0.75),
            (3, 4),
            {"wd": 0.05, "t": 2.0, "clip_gradient": 0.5},
        )
    ],
    doc="""`lamb_update_phase1` of `weight32`, a copy of weight with more digits, whose dtype the
result has.

Parameters
----------
weight, grad : the weight and its gradient, of one shape
mean, var : the moving averages, of that shape, changed in place
weight32 : the copy, which `mp_lamb_update_phase2` moves
wd, t : weight decay, and the number of this update, from 1
rescale_grad : the gradient is multiplied with it first
clip_gradient : then clipped to [-clip_gradient, clip_gradient], if that is not negative

Examples
--------
>>> half, exact = nd.ones(1, dtype="float16"), nd.ones(1)
>>> zeros = [nd.zeros(1), nd.zeros(1)]
>>> nd.mp_lamb_update_phase1(half, nd.zeros(1, dtype="float16"), *zeros, exact, wd=0.5, t=1)
<BLANKLINE>
[0.5]
<NDArray 1 @cpu(0)>
""",
)


def _infer_second(attrs: Any, *types: TensorType) -> tuple[TensorType, ...]:
    weight, g, r1, r2, exact = types
    name = "mp_lamb_update_phase2"
    _check_shapes(name, ("weight", "g", "weight32"), (weight, g, exact))
    lamb_update_phase2.infer(attrs, exact, g, r1, r2)
    return TensorType(weight.shape, weight.dtype), TensorType(exact.shape, exact.dtype)


def _second(attrs: Any, *operands: Value) -> tuple[Value, ...]:
    weight, g, r1, r2, exact = operands
    new = lamb_update_phase2(exact, _as(g, exact), r1, r2, **attrs_dict(attrs))
    return _as(new, weight), new


def _second_oracle(*given: np.ndarray, **fields: Any) -> Any:
    weight, g, r1, r2, exact = given
    attrs = lamb_update_phase2.make_attrs(fields)
    (new,) = lamb_update_phase2.oracle(attrs, exact, g.astype(exact.dtype), r1, r2)
    return new.astype(weight.dtype), new


mp_lamb_update_phase2 = composite(
    "mp_lamb_update_phase2",
    _second,
    operands=" ".join(_SECOND),
    attrs=lamb_update_phase2.attrs_type,
    dtypes={"weight": "f", "g weight32": "f"},
    infer=_infer_second,
    numpy=_second_oracle,
    outputs=2,
    visible=1,
    mutates={0: "weight", 1: "weight32"},
    differentiable=False,
    infer_operands=_infer_operands(_SECOND, ("weight",), ("r1", "r2")),
    samples=[
        ((3, 4), (3, 4), np.array([0.5]), np.array([0.75]), (3, 4), {"lr": 0.1}),
        (
            (3, 4),
            (3, 4),
            np.array([0.5]),
            np.array([0.0]),
            (3, 4),
            {"lr": 0.1, "lower_bound": 0.6, "upper_bound": 2.0},
        ),
    ],
    doc="""`lamb_update_phase2` of `weight32`, a copy of weight with more digits, which moves; the
weight follows it.

Parameters
----------
weight : the weight, whose dtype the result has
g : the direction that the first phase gave
r1, r2 : the norms of `weight32` and of the direction, one number each
weight32 : the copy, changed in place
lr : learning rate
lower_bound, upper_bound : of r1, where they are not negative

Examples
--------
>>> half, exact, one = nd.ones(1, dtype="float16"), nd.ones(1), nd.ones(1)
>>> nd.mp_lamb_update_phase2(half, one, one, nd.array([2]), exact, lr=0.5).asnumpy()
array([0.75], dtype=float16)
>>> exact.asnumpy()
array([0.75], dtype=float32)
""",
)
