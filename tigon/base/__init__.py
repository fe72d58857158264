"""Floor 0: dtypes, tensor types and errors. Imports nothing of tigon."""

from tigon.base.dtypes import DType, as_dtype
from tigon.base.errors import (
    InternalError,
    MXNetError,
    TigonError,
    TigonIndexError,
    TigonTimeoutError,
    TigonTypeError,
    check,
)
from tigon.base.types import Shape, TensorType, type_of

__all__ = [
    "DType",
    "InternalError",
    "MXNetError",
    "Shape",
    "TensorType",
    "TigonError",
    "TigonIndexError",
    "TigonTimeoutError",
    "TigonTypeError",
    "as_dtype",
    "check",
    "type_of",
]
