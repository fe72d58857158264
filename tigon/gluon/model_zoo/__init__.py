"""Well-known networks, by MXNet's names."""

from tigon.gluon.model_zoo import model_store, vision

__all__ = ["model_store", "vision"]
