"""Checkpoints, and the oldest way to train a symbol: `FeedForward`."""

from __future__ import annotations

from tigon.base.lazy import complete as _complete
from tigon.module.feed_forward import FeedForward
from tigon.module.files import BatchEndParam, load_checkpoint, load_params, save_checkpoint

__all__ = ["BatchEndParam", "FeedForward", "load_checkpoint", "load_params", "save_checkpoint"]

_complete(globals())
