"""Random numbers in the shape and the dtype of an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base.frozen import Frozen
from tigon.ops.attributes import attrs_dict
from tigon.ops.primitive.random import KEY_SAMPLE
from tigon.ops.record import Operator, composite, get


class UniformLikeAttrs(Frozen):
    low: float = 0.0
    high: float = 1.0
    ordinal: int = 0


class NormalLikeAttrs(Frozen):
    loc: float = 0.0
    scale: float = 1.0
    ordinal: int = 0


class ExponentialLikeAttrs(Frozen):
    lam: float = 1.0
    ordinal: int = 0


class GammaLikeAttrs(Frozen):
    alpha: float = 1.0
    beta: float = 1.0
    ordinal: int = 0


class PoissonLikeAttrs(Frozen):
    lam: float = 1.0
    ordinal: int = 0


class NegativeBinomialLikeAttrs(Frozen):
    k: int = 1
    p: float = 1.0
    ordinal: int = 0


class GeneralizedNegativeBinomialLikeAttrs(Frozen):
    mu: float = 1.0
    alpha: float = 1.0
    ordinal: int = 0


def _like(name: str, attrs: type, sample: dict[str, float]) -> Operator:
    own = get(f"_random_{name}")

    def decompose(attrs: Any, data: Any, key: Any) -> Any:
        return own(key, shape=data.shape, dtype=data.dtype.name, **attrs_dict(attrs))

    def oracle(data: np.ndarray, key: np.ndarray, **fields: Any) -> Any:
        assert own.numpy is not None
        return own.numpy(key, shape=data.shape, dtype=data.dtype.name, **fields)

    given = ", ".join(f"{parameter}={value}" for parameter, value in sample.items())
    return composite(
        f"_random_{name}_like",
        decompose,
        operands="data key%",
        attrs=attrs,
        dtypes="f",
        differentiable=False,
        numpy=oracle,
        samples=(
            ((3, 5), KEY_SAMPLE, sample),
            ((0, 2), KEY_SAMPLE, sample),
        ),
        doc=f"""What `random.{name}` draws, in the shape and the dtype of `data`, whose values are
    not read. Parameters are those of `random.{name}`.

    >>> nd.random.{name}_like(nd.zeros((2, 3), dtype="float64"), {given}).dtype.__name__
    'float64'
    """,
    )


uniform_like = _like("uniform", UniformLikeAttrs, {"low": -1.0, "high": 2.0})
normal_like = _like("normal", NormalLikeAttrs, {"loc": 1.0, "scale": 2.0})
exponential_like = _like("exponential", ExponentialLikeAttrs, {"lam": 4.0})
gamma_like = _like("gamma", GammaLikeAttrs, {"alpha": 2.0, "beta": 0.5})
poisson_like = _like("poisson", PoissonLikeAttrs, {"lam": 4.0})
negative_binomial_like = _like("negative_binomial", NegativeBinomialLikeAttrs, {"k": 3, "p": 0.25})
generalized_negative_binomial_like = _like(
    "generalized_negative_binomial",
    GeneralizedNegativeBinomialLikeAttrs,
    {"mu": 3.0, "alpha": 0.5},
)
