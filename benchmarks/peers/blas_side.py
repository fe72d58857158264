"""numpy's BLAS, told its processor: OpenBLAS takes new ones for older ones that it knows, and uses
half of their registers. SciPy brings a copy of the same library, which reads the variable when it
is loaded; numpy's own was loaded before."""

from __future__ import annotations

import os
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import scipy

from tigon.backends.llvm.target import host_level

CORES = {"x86-64-v3": "HASWELL", "x86-64-v4": "SKYLAKEX", "x86-64-v4-narrow": "SKYLAKEX"}
"""What OpenBLAS calls the best kernels of a level; elsewhere it is right by itself."""

_told = {"OPENBLAS_CORETYPE": CORES[host_level()]} if host_level() in CORES else {}
with patch.dict(os.environ, {**_told, **os.environ}):  # not for processes that are started later
    from scipy.linalg.blas import sgemm

VERSION = scipy.__version__


def product(a: np.ndarray, b: np.ndarray) -> Callable[[], np.ndarray]:
    """A call that multiplies two matrices of float32; no operand is copied: their transposes are
    the columns that BLAS wants."""
    left, right = b.T, a.T
    return lambda: sgemm(1.0, left, right).T
