"""Floor 0: dtypes, tensor types and errors. Imports nothing of tigon.

It is also `mx.base`: `py_str`, `_as_list`, `integer_types` and what else programs for MXNet import
from there.
"""

from typing import TYPE_CHECKING

from tigon.base.dtypes import DType, as_dtype
from tigon.base.errors import (
    InternalError,
    MXNetError,
    NotImplementedForSymbol,
    TigonError,
    TigonIndexError,
    TigonTimeoutError,
    TigonTypeError,
    check,
)
from tigon.base.lazy import imported_on_demand
from tigon.base.types import Shape, TensorType, type_of

if TYPE_CHECKING:
    from tigon.base.old_names import as_list as _as_list
    from tigon.base.old_names import (
        data_dir,
        integer_types,
        mx_real_t,
        numeric_types,
        py_str,
        string_types,
    )
else:
    _OLD = "data_dir integer_types mx_real_t numeric_types py_str string_types"
    imported_on_demand(
        globals(),
        {
            "_as_list": "tigon.base.old_names:as_list",
            **{name: f"tigon.base.old_names:{name}" for name in _OLD.split()},
        },
    )

__all__ = [
    "DType",
    "InternalError",
    "MXNetError",
    "NotImplementedForSymbol",
    "Shape",
    "TensorType",
    "TigonError",
    "TigonIndexError",
    "TigonTimeoutError",
    "TigonTypeError",
    "_as_list",
    "as_dtype",
    "check",
    "data_dir",
    "integer_types",
    "mx_real_t",
    "numeric_types",
    "py_str",
    "string_types",
    "type_of",
]
