"""What MXNet calls contributed layers."""

from tigon.base.lazy import complete as _complete
from tigon.gluon.contrib.nn.basic_layers import (
    PixelShuffle1D,
    PixelShuffle2D,
    PixelShuffle3D,
    SparseEmbedding,
    SyncBatchNorm,
)
from tigon.gluon.contrib.nn.split_dense import SplitDense
from tigon.gluon.nn.containers import Concurrent, HybridConcurrent, Identity
from tigon.gluon.parameters_section import describe as _describe

__all__ = [
    "Concurrent",
    "HybridConcurrent",
    "Identity",
    "PixelShuffle1D",
    "PixelShuffle2D",
    "PixelShuffle3D",
    "SparseEmbedding",
    "SplitDense",
    "SyncBatchNorm",
]

_describe(PixelShuffle1D, PixelShuffle2D, PixelShuffle3D, SparseEmbedding, SyncBatchNorm)
_complete(globals())
