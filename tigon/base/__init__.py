"""Floor 0: dtypes, tensor types and errors. Imports nothing of tigon."""

from tigon.base.dtypes import DType, as_dtype
from tigon.base.errors import InternalError, MXNetError, TigonError, check
from tigon.base.types import Shape, TensorType

__all__ = [
    "DType",
    "InternalError",
    "MXNetError",
    "Shape",
    "TensorType",
    "TigonError",
    "as_dtype",
    "check",
]
