"""The rows of the table, by subject. Importing them fills it."""

from tigon.contrib.onnx.converters import (
    attention,
    control,
    elementwise,
    image,
    indexing,
    linear,
    normalization,
    quantized,
    recurrent,
    reduction,
    shape,
    signal,
    window,
)

__all__ = [
    "attention",
    "control",
    "elementwise",
    "image",
    "indexing",
    "linear",
    "normalization",
    "quantized",
    "recurrent",
    "reduction",
    "shape",
    "signal",
    "window",
]
