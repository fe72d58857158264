"""`mx.contrib`: operators of the group `contrib`, on arrays and on symbols; texts; models in
ONNX's format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tigon import nd as _nd
from tigon import sym as _sym
from tigon.base.lazy import imported_on_demand

nd = ndarray = _nd.contrib
sym = symbol = _sym.contrib

if TYPE_CHECKING:
    from tigon.contrib import amp, onnx, tensorboard, text
else:
    parts = {part: f"tigon.contrib.{part}" for part in ("amp", "onnx", "tensorboard", "text")}
    imported_on_demand(globals(), parts)

__all__ = ["amp", "nd", "ndarray", "onnx", "sym", "symbol", "tensorboard", "text"]
