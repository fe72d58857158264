"""Parameters: named arrays that learn, and dictionaries of them."""

from tigon.gluon.parameter.dictionary import ParameterDict
from tigon.gluon.parameter.parameter import (
    Constant,
    DeferredInitializationError,
    Parameter,
)

__all__ = ["Constant", "DeferredInitializationError", "Parameter", "ParameterDict"]
