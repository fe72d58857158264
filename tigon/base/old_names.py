"""What programs for MXNet import from `mxnet.base` besides its errors."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from tigon.base import config

string_types = (str,)
numeric_types = (float, int, np.generic)
integer_types = (int, np.int32, np.int64)
mx_real_t = np.float32
"""The dtype that arrays have unless another one is given."""


def py_str(x: Any) -> str:
    """Bytes of native code as text.

    >>> py_str(b"relu")
    'relu'
    """
    return x.decode("utf-8")


def as_list(given: Any) -> Any:
    """Lists and tuples as they are, anything else as a list of it.

    >>> as_list((1, 2)), as_list(3)
    ((1, 2), [3])
    """
    return given if isinstance(given, (list, tuple)) else [given]


def data_dir() -> str:
    """The folder that `MXNET_HOME` names, for files of networks and data: `~/.mxnet` unless it is
    set. Nothing is put there."""
    return config.text("MXNET_HOME") or os.path.join(os.path.expanduser("~"), ".mxnet")
