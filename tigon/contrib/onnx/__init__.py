"""`mx.contrib.onnx`: models in ONNX's format. Operator sets 7 to 28 are read, as symbols and
blocks; symbols and blocks are written, for operator sets from 18 on.

Both need the package `onnx` (`pip install tigon[onnx]`). `docs/onnx.md` lists the operators that
are read, and what of ONNX's own tests passes.
"""

from tigon.base.lazy import complete as _complete
from tigon.contrib.onnx.exporting import export_model
from tigon.contrib.onnx.importing import get_model_metadata, import_model, import_to_gluon

__all__ = ["export_model", "get_model_metadata", "import_model", "import_to_gluon"]

_complete(globals())
