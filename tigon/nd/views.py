"""What arrays hold, for code that reads it with numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon import _native
from tigon.nd.dispatch import NDArray


def host(sample: Any) -> np.ndarray:
    """An array of numpy, not copied where that is possible: to be read, not written.

    >>> from tigon import nd
    >>> host(nd.array([1, 2])).tolist(), host([3]).tolist()
    ([1.0, 2.0], [3])
    """
    if not isinstance(sample, NDArray):
        return np.asarray(sample)
    if not _native.is_host(sample.device_index):
        return sample.asnumpy()
    try:
        return np.from_dlpack(sample)
    except (BufferError, RuntimeError, TypeError):  # of dtypes that numpy does not know
        return sample.asnumpy()
