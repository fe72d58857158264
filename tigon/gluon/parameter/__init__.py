"""Parameters: named arrays that learn, and dictionaries of them."""

from typing import TYPE_CHECKING

from tigon.base.lazy import imported_on_demand
from tigon.gluon.parameter.dictionary import ParameterDict
from tigon.gluon.parameter.parameter import (
    Constant,
    DeferredInitializationError,
    Parameter,
)

if TYPE_CHECKING:
    from tigon.gluon.block.nesting import tensor_types
else:
    imported_on_demand(globals(), {"tensor_types": "tigon.gluon.block.nesting:tensor_types"})

__all__ = [
    "Constant",
    "DeferredInitializationError",
    "Parameter",
    "ParameterDict",
    "tensor_types",
]
