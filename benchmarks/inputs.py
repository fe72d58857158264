"""What all contestants compute with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

RANDOM = np.random.RandomState(0)

Layers = Sequence[tuple[np.ndarray, np.ndarray]]
"""Weights of (outputs, inputs) and biases of dense layers; rectifiers between them."""


def normal(*shape: int) -> np.ndarray:
    return RANDOM.randn(*shape).astype(np.float32)


def dense_layers(sizes: Sequence[int]) -> Layers:
    return [
        (normal(after, before) / np.sqrt(before).astype(np.float32), normal(after) * 0.1)
        for before, after in itertools.pairwise(sizes)
    ]
