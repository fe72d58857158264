"""Modules: a symbol with parameters, an optimizer and a training loop."""

from tigon.base.lazy import complete as _complete
from tigon.module.base_module import BaseModule
from tigon.module.bucketing_module import BucketingModule
from tigon.module.module import Module
from tigon.module.python_module import PythonLossModule, PythonModule
from tigon.module.sequential_module import SequentialModule

__all__ = [
    "BaseModule",
    "BucketingModule",
    "Module",
    "PythonLossModule",
    "PythonModule",
    "SequentialModule",
]

_complete(globals())
