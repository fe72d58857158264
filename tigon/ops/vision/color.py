"""Pictures in other light: brightness, contrast and saturation by chance, and noise along the
directions in which colors vary (Krizhevsky et al. 2012). Pictures have their channels last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.frozen import Frozen
from tigon.ir.graph import constant
from tigon.ops.primitive.choose import cast, clip
from tigon.ops.primitive.random import KEY_SAMPLE
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import Operator, composite
from tigon.ops.tensor.random import (
    _normal_oracle,
    _unit_oracle,
    standard_normal,
    unit_interval,
)

GRAY = (0.299, 0.587, 0.114)
"""How much red, green and blue count in the lightness of a pixel."""

LIGHT = np.array(
    [
        [55.46 * -0.5675, 4.794 * 0.7192, 1.148 * 0.4009],
        [55.46 * -0.5808, 4.794 * -0.0045, 1.148 * -0.8140],
        [55.46 * -0.5836, 4.794 * -0.6948, 1.148 * 0.4203],
    ]
)
"""The main directions of colors over many photographs, times their deviations, as columns."""


class FactorAttrs(Frozen):
    min_factor: float
    max_factor: float
    ordinal: int = 0


def _check_picture(where: str, data: Any, channels: tuple[int, ...]) -> None:
    check(
        data.ndim in (3, 4) and (not channels or data.shape[-1] in channels),
        where,
        f"data: expected (height, width, channels) or a batch of these, of "
        f"{' or '.join(map(str, channels)) or 'any number of'} channels; given shape {data.shape}",
    )


def _wide(data: Any) -> Any:
    return data if data.dtype.is_float else cast(data, dtype="float32")


def _like(found: Any, data: Any) -> Any:
    """In the dtype of the picture: numbers of uint8 end at 0 and 255."""
    if data.dtype.is_float:
        return found
    return cast(clip(found, a_min=0, a_max=255), dtype=data.dtype.name)


def _like_oracle(found: np.ndarray, data: np.ndarray) -> np.ndarray:
    if data.dtype.kind == "f":
        return found.astype(data.dtype)
    return np.clip(found, 0, 255).astype(data.dtype)


def _lightness(x: Any) -> Any:
    weights = constant(np.array(GRAY).reshape((1,) * (x.ndim - 1) + (3,)), x.dtype.name)
    gray = _reduce_sum(x * weights, axes=(x.ndim - 1,))
    return _reshape(gray, shape=(*x.shape[:-1], 1))


def _brightness(x: Any, factor: Any) -> Any:
    return x * factor


def _contrast(x: Any, factor: Any) -> Any:
    """From or to the mean lightness of each picture."""
    gray = _lightness(x) if x.shape[-1] == 3 else x
    axes = tuple(range(x.ndim - 3, x.ndim))
    pixels = x.shape[-3] * x.shape[-2]
    mean = _reshape(_reduce_sum(gray, axes=axes), shape=(*x.shape[:-3], 1, 1, 1)) / max(pixels, 1)
    return x * factor + mean * (1 - factor)


def _saturation(x: Any, factor: Any) -> Any:
    return x * factor + _lightness(x) * (1 - factor) if x.shape[-1] == 3 else x


def _contrast_oracle(x: np.ndarray, factor: Any) -> Any:
    gray = x @ np.array(GRAY, x.dtype) if x.shape[-1] == 3 else x[..., 0]
    mean = gray.sum((-1, -2)) / max(x.shape[-3] * x.shape[-2], 1)
    return x * factor + mean.reshape(*x.shape[:-3], 1, 1, 1) * (1 - factor)


def _saturation_oracle(x: np.ndarray, factor: Any) -> Any:
    if x.shape[-1] != 3:
        return x.copy()
    return x * factor + (x @ np.array(GRAY, x.dtype))[..., None] * (1 - factor)


def _enhanced(
    name: str,
    words: str,
    channels: tuple[int, ...],
    rule: Callable[[Any, Any], Any],
    oracle: Callable[[np.ndarray, Any], Any],
) -> Operator:
    where = f"image.random_{name}"

    def decompose(attrs: FactorAttrs, data: Any, key: Any) -> Any:
        _check_picture(where, data, channels)
        check(
            0 <= attrs.min_factor <= attrs.max_factor,
            where,
            "min_factor and max_factor: expected 0 <= min_factor <= max_factor; given "
            f"{attrs.min_factor} and {attrs.max_factor}",
        )
        x = _wide(data)
        unit = cast(unit_interval(key, (), "float32", attrs.ordinal), dtype=x.dtype.name)
        factor = unit * (attrs.max_factor - attrs.min_factor) + attrs.min_factor
        return _like(rule(x, factor), data)

    def by_numpy(
        data: np.ndarray, key: np.ndarray, min_factor: float, max_factor: float, ordinal: int
    ) -> Any:
        x = data if data.dtype.kind == "f" else data.astype(np.float32)
        unit = x.dtype.type(_unit_oracle(key, (), "float32", ordinal))
        factor = unit * x.dtype.type(max_factor - min_factor) + x.dtype.type(min_factor)
        return _like_oracle(np.asarray(oracle(x, factor)), data)

    range_ = {"min_factor": 0.5, "max_factor": 1.5}
    return composite(
        f"_image_random_{name}",
        decompose,
        operands="data key%",
        attrs=FactorAttrs,
        dtypes="P",
        numpy=by_numpy,
        tolerance={"float32": 1e-5},
        samples=(
            ((4, 3, 3), KEY_SAMPLE, range_),
            ((2, 3, 2, 3), KEY_SAMPLE, {"min_factor": 0.0, "max_factor": 4.0}),
            ((0, 3, 2, 3), KEY_SAMPLE, range_),
        ),
        doc=f"""{words}, by a factor that is drawn evenly from `min_factor` to `max_factor`. Of
    numbers of uint8 what is beyond 0 and 255 becomes these.

    >>> nd.image.random_{name}(nd.ones((2, 2, 3)), min_factor=0.5, max_factor=0.9).shape
    (2, 2, 3)
    """,
    )


random_brightness = _enhanced(
    "brightness", "A picture brighter or darker", (), _brightness, lambda x, factor: x * factor
)
random_contrast = _enhanced(
    "contrast",
    "A picture whose lightness is further from its mean, or closer to it",
    (1, 3),
    _contrast,
    _contrast_oracle,
)
random_saturation = _enhanced(
    "saturation",
    "A picture whose pixels have more color, or less",
    (1, 3),
    _saturation,
    _saturation_oracle,
)


class LightingAttrs(Frozen):
    alpha: tuple[float, ...]


class RandomLightingAttrs(Frozen):
    alpha_std: float = 0.05
    ordinal: int = 0


def _lit(data: Any, light: Any) -> Any:
    x = _wide(data)
    row = _reshape(cast(light, dtype=x.dtype.name), shape=(*(1,) * (x.ndim - 1), 3))
    return _like(x + row, data)


def _decompose_lighting(attrs: LightingAttrs, data: Any) -> Any:
    _check_picture("image.adjust_lighting", data, (3,))
    check(
        len(attrs.alpha) == 3,
        "image.adjust_lighting",
        f"alpha: expected three numbers; given {attrs.alpha}",
    )
    return _lit(data, constant(LIGHT @ np.array(attrs.alpha), "float64"))


def _decompose_random_lighting(attrs: RandomLightingAttrs, data: Any, key: Any) -> Any:
    _check_picture("image.random_lighting", data, (3,))
    check(
        attrs.alpha_std >= 0,
        "image.random_lighting",
        f"alpha_std: expected 0 or more, a standard deviation; given {attrs.alpha_std}",
    )
    drawn = standard_normal(key, (1, 3), "float64", attrs.ordinal) * attrs.alpha_std
    light = _reduce_sum(drawn * constant(LIGHT, "float64"), axes=(1,))
    return _lit(data, light)


def _lighting_oracle(data: np.ndarray, alpha: Any) -> Any:
    x = data if data.dtype.kind == "f" else data.astype(np.float32)
    return _like_oracle(x + (LIGHT @ np.array(alpha, float)).astype(x.dtype), data)


adjust_lighting = composite(
    "_image_adjust_lighting",
    _decompose_lighting,
    attrs=LightingAttrs,
    dtypes="P",
    numpy=_lighting_oracle,
    tolerance={"float32": 1e-5},
    samples=(
        ((4, 3, 3), {"alpha": (0.1, -0.2, 0.3)}),
        ((2, 3, 2, 3), {"alpha": (0.0, 0.1, 0.0)}),
        ((0, 3, 2, 3), {"alpha": (0.0, 0.1, 0.0)}),
    ),
    doc="""A picture of red, green and blue from 0 to 255 in another light: to all pixels the main
    directions of colors over many photographs are added, as often as the three numbers of `alpha`
    say. Of uint8 what is beyond 0 and 255 becomes these.

    >>> nd.image.adjust_lighting(nd.zeros((1, 1, 3)), alpha=(0, 1, 0)).asnumpy().round(2)
    array([[[ 3.45, -0.02, -3.33]]], dtype=float32)
    """,
)

random_lighting = composite(
    "_image_random_lighting",
    _decompose_random_lighting,
    operands="data key%",
    attrs=RandomLightingAttrs,
    dtypes="P",
    numpy=lambda data, key, alpha_std, ordinal: _lighting_oracle(
        data, _normal_oracle(key, (3,), "float64", ordinal) * alpha_std
    ),
    tolerance={"float32": 1e-5},
    samples=(
        ((4, 3, 3), KEY_SAMPLE, {"alpha_std": 0.5}),
        ((2, 3, 2, 3), KEY_SAMPLE, {"alpha_std": 0.5}),
    ),
    doc="""`image.adjust_lighting` by three normal numbers of deviation `alpha_std` (default 0.05).

    >>> nd.image.random_lighting(nd.zeros((2, 2, 3))).shape
    (2, 2, 3)
    """,
)
