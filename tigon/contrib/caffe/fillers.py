"""Caffe's fillers as initializers: those that MXNet has are its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tigon import nd
from tigon.initializer import Bilinear, Constant, Initializer, Normal, Xavier, Zero, register
from tigon.readers.message import Message

_FACTORS = {"FAN_IN": "in", "FAN_OUT": "out", "AVERAGE": "avg"}
_MAGNITUDES = {"xavier": ("uniform", 3.0), "msra": ("gaussian", 2.0)}


@register
class CaffeUniform(Initializer):
    """Uniform in [low, high)."""

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(low=low, high=high)
        self.low, self.high = low, high

    def _init_weight(self, name: str, array: Any) -> None:
        array[...] = _drawn("uniform", self.low, self.high, array)


@register
class CaffeGaussian(Initializer):
    """Normal with a mean and a deviation; with `sparse`, of each row (the weights of an output)
    about that many of every `len(array)` are kept, and the others 0."""

    def __init__(self, mean: float = 0.0, std: float = 1.0, sparse: int = -1) -> None:
        super().__init__(mean=mean, std=std, sparse=sparse)
        self.mean, self.std, self.sparse = mean, std, sparse

    def _init_weight(self, name: str, array: Any) -> None:
        drawn = _drawn("normal", self.mean, self.std, array)
        if self.sparse >= 0:
            drawn = drawn * (_drawn("uniform", 0.0, 1.0, array) < self.sparse / array.shape[0])
        array[...] = drawn


@register
class CaffeUnitBall(Initializer):
    """Positive numbers, those of each row with the sum 1."""

    def __init__(self) -> None:
        super().__init__()

    def _init_weight(self, name: str, array: Any) -> None:
        rows = _drawn("uniform", 0.0, 1.0, array).reshape((array.shape[0], -1))
        array[...] = (rows / rows.sum(axis=1, keepdims=True)).reshape(array.shape)


@register
class CaffeScaled(Xavier):
    """Xavier's and Kaiming's rules with Caffe's fans, which arrays of one axis have, too: all but
    the first axis come in, all but the second go out."""

    def __init__(
        self, rnd_type: str = "uniform", factor_type: str = "in", magnitude: float = 3
    ) -> None:
        super().__init__(rnd_type, factor_type, magnitude)

    def _init_weight(self, name: str, array: Any) -> None:
        count, shape = math.prod(array.shape), tuple(array.shape)
        fan_in, fan_out = count // shape[0], count // (shape[1] if len(shape) > 1 else 1)
        factor = {"in": fan_in, "out": fan_out, "avg": (fan_in + fan_out) / 2}[self.factor_type]
        spread = math.sqrt(self.magnitude / factor)
        if self.rnd_type == "uniform":
            array[...] = _drawn("uniform", -spread, spread, array)
        else:
            array[...] = _drawn("normal", 0.0, spread, array)


def _drawn(kind: str, first: float, second: float, array: Any) -> Any:
    draw = getattr(nd.random, kind)
    return draw(first, second, shape=tuple(array.shape), dtype=array.dtype)


def is_float32(number: float) -> bool:
    """Whether a number is finite as Caffe holds it."""
    return abs(number) <= float(np.finfo(np.float32).max)


def initializer_of(filler: Message, default: float = 0.0) -> Initializer:
    """The initializer that a `FillerParameter` describes; the constant `default` where the file
    gives none.

    Raises `TigonError` with the place in the file for a type that Caffe does not have.
    """
    for field in ("value", "min", "max", "mean", "std"):
        number = getattr(filler, field)
        filler.check(is_float32(number), f"expected a finite number; given {number}", field)
    if filler.type == "constant":
        value = filler.value if filler.has("value") or filler.has("type") else default
        return Constant(value) if value else Zero()
    if filler.type == "uniform":
        filler.check(
            filler.min <= filler.max, f"expected {filler.min} or more; given {filler.max}", "max"
        )
        return CaffeUniform(filler.min, filler.max)
    if filler.type == "gaussian":
        filler.check(filler.std >= 0, f"expected 0 or more; given {filler.std}", "std")
        if filler.mean == 0 and filler.sparse < 0:
            return Normal(filler.std)
        return CaffeGaussian(filler.mean, filler.std, filler.sparse)
    if filler.type == "positive_unitball":
        return CaffeUnitBall()
    if filler.type in _MAGNITUDES:
        kind, magnitude = _MAGNITUDES[filler.type]
        return CaffeScaled(kind, _FACTORS[filler.variance_norm], magnitude)
    if filler.type == "bilinear":
        return Bilinear()
    known = "constant, uniform, gaussian, positive_unitball, xavier, msra, bilinear"
    filler.fail(f"expected one of {known}; given '{filler.type:.60}'", "type")


def fits(filler: Initializer, shape: tuple[int, ...]) -> str:
    """What an array of a shape lacks for a filler; nothing where it fits."""
    if isinstance(filler, Bilinear) and (len(shape) != 4 or shape[2] != shape[3]):
        return f"a bilinear filler is for square kernels of two axes; the array has shape {shape}"
    return ""


__all__ = [
    "CaffeGaussian",
    "CaffeScaled",
    "CaffeUniform",
    "CaffeUnitBall",
    "fits",
    "initializer_of",
]
