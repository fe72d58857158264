"""`mx.contrib`: operators of the group `contrib`, on arrays and on symbols."""

from __future__ import annotations

from tigon import nd as _nd
from tigon import sym as _sym
from tigon.base.lazy import complete as _complete

nd = ndarray = _nd.contrib
sym = symbol = _sym.contrib

__all__ = ["nd", "ndarray", "sym", "symbol"]

_complete(globals())
