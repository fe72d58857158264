"""`mx.contrib`: operators of the group `contrib`, on arrays and on symbols; texts; models of other
programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tigon import nd as _nd
from tigon import sym as _sym
from tigon.base.lazy import imported_on_demand

nd = ndarray = _nd.contrib
sym = symbol = _sym.contrib

if TYPE_CHECKING:
    from tigon.contrib import amp, caffe, cxxnet, onnx, tensorboard, text
else:
    names = ("amp", "caffe", "cxxnet", "onnx", "tensorboard", "text")
    imported_on_demand(globals(), {part: f"tigon.contrib.{part}" for part in names})

__all__ = [
    "amp",
    "caffe",
    "cxxnet",
    "nd",
    "ndarray",
    "onnx",
    "sym",
    "symbol",
    "tensorboard",
    "text",
]
