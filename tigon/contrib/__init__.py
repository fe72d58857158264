"""`mx.contrib`: operators of the group `contrib`, on arrays and on symbols; texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tigon import nd as _nd
from tigon import sym as _sym
from tigon.base.lazy import imported_on_demand

nd = ndarray = _nd.contrib
sym = symbol = _sym.contrib

if TYPE_CHECKING:
    from tigon.contrib import amp, cxxnet, tensorboard, text
else:
    parts = {part: f"tigon.contrib.{part}" for part in ("amp", "cxxnet", "tensorboard", "text")}
    imported_on_demand(globals(), parts)

__all__ = ["amp", "cxxnet", "nd", "ndarray", "sym", "symbol", "tensorboard", "text"]
