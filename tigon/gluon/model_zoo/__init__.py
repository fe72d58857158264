"""Well-known networks, by MXNet's names."""

from tigon.base.lazy import missing_of as _missing_of
from tigon.gluon.model_zoo import model_store, vision

__all__ = ["model_store", "vision"]

__getattr__ = _missing_of(__name__)
