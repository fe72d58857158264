"""A rectifier whose slope below zero is drawn anew each time (Xu et al. 2015), with limits that
close in on each other while a network learns; cxxnet called it insanity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tigon.base import TensorType, TigonError, check
from tigon.base.dtypes import float32
from tigon.base.frozen import Frozen
from tigon.ir.graph import Value
from tigon.ops.primitive.arithmetic import add, divide, maximum, minimum, multiply, subtract
from tigon.ops.primitive.choose import identity, where
from tigon.ops.primitive.compare import greater
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import composite, same_type
from tigon.ops.tensor.random import random_uniform

NAME = "_insanity"


class InsanityAttrs(Frozen, kw_only=True):
    lower_bound: float = 5.0
    upper_bound: float = 10.0
    calm_start: int = 0
    calm_end: int = 0
    training: bool | None = None
    ordinal: int = 0

    @property
    def closing(self) -> float:
        """How far each limit moves in a step from `calm_start` to `calm_end`: the upper one ends at
        the logarithmic mean of both."""
        low, high = self.lower_bound, self.upper_bound
        if self.calm_end <= self.calm_start or low == high:
            return 0.0
        middle = (high - low) / (math.log(high) - math.log(low))
        return (high - middle) / (self.calm_end - self.calm_start)


def _infer(
    attrs: InsanityAttrs, data: TensorType, steps: TensorType, key: TensorType | None = None
) -> tuple[TensorType, TensorType]:
    check(
        0 < attrs.lower_bound <= attrs.upper_bound,
        NAME,
        f"expected 0 < lower_bound <= upper_bound; given {attrs.lower_bound} and "
        f"{attrs.upper_bound}",
    )
    check(steps.shape == (1,), NAME, f"steps: expected shape (1,); given {steps.shape}")
    return same_type(data), same_type(steps)


def _infer_operands(attrs: InsanityAttrs, types: list[TensorType | None]) -> list[Any]:
    data, steps, *key = types
    if data is None:
        return types
    dtype = float32 if data.dtype.is_narrow else data.dtype
    return [data, steps or TensorType((1,), dtype), *key]


def _decompose(
    attrs: InsanityAttrs, data: Value, steps: Value, key: Value | None = None
) -> tuple[Value, Value]:
    passed = maximum(minimum(steps, float(attrs.calm_end)), float(attrs.calm_start))
    moved = multiply(subtract(passed, float(attrs.calm_start)), attrs.closing)
    low, high = add(moved, attrs.lower_bound), subtract(attrs.upper_bound, moved)
    if not attrs.training:
        middle = _reshape(multiply(add(low, high), 0.5), shape=(1,) * data.ndim)
        return where(greater(data, 0.0), data, divide(data, middle)), identity(steps)
    if key is None:
        raise TigonError(f"{NAME}: draws its slopes in training; its key is missing")
    drawn = random_uniform(
        key, low=0.0, high=1.0, shape=data.shape, dtype=data.dtype.name, ordinal=attrs.ordinal
    )
    limits = [_reshape(limit, shape=(1,) * data.ndim) for limit in (low, high)]
    divisors = add(multiply(drawn, subtract(limits[1], limits[0])), limits[0])
    return where(greater(data, 0.0), data, divide(data, divisors)), add(steps, 1.0)


def _oracle(data: np.ndarray, steps: np.ndarray, **fields: Any) -> tuple[np.ndarray, np.ndarray]:
    attrs = InsanityAttrs(**fields)
    passed = min(max(float(steps[0]), attrs.calm_start), attrs.calm_end) - attrs.calm_start
    moved = passed * attrs.closing if attrs.closing else 0.0
    low, high = attrs.lower_bound + moved, attrs.upper_bound - moved
    return np.where(data > 0, data, data / ((low + high) / 2)).astype(data.dtype), steps.copy()


insanity = composite(
    NAME,
    _decompose,
    operands="data steps! key?%",
    attrs=InsanityAttrs,
    dtypes="f",
    statistics=("steps",),  # a float of two bytes stops counting at 256, or 2048
    infer=_infer,
    infer_operands=_infer_operands,
    outputs=2,
    visible=1,
    mutates={1: "steps"},
    initial={"steps": '["zero", {}]'},
    draws_if=lambda attrs: attrs.training is True,
    numpy=_oracle,
    samples=[
        ((2, 3), (1,), {}),
        ((3,), np.array([40.0], np.float32), {"calm_end": 10, "calm_start": 2}),
    ],
    doc="""Data above zero as it is, below zero divided by numbers that are drawn in training from
`lower_bound` to `upper_bound`, and by the middle of these in prediction.

Parameters
----------
data : any shape
steps : (1,), an auxiliary state: how many times it ran in training
lower_bound, upper_bound : limits of the divisors
calm_start, calm_end : from step to step of these the limits move towards each other, until the
    upper one is at their logarithmic mean; equal: they stay

Examples
--------
>>> nd._insanity(nd.array([-15, 2]), nd.zeros(1)).asnumpy()
array([-2.,  2.], dtype=float32)
""",
)
