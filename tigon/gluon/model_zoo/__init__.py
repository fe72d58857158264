"""Well-known networks, by MXNet's names."""

from tigon.base.lazy import complete as _complete
from tigon.gluon.model_zoo import model_store, vision

__all__ = ["model_store", "vision"]

_complete(globals())
