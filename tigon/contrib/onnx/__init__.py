"""`mx.contrib.onnx`: models in ONNX's format, of operator sets 7 to 28, as symbols and blocks.

Reading needs the package `onnx` (`pip install tigon[onnx]`). `docs/onnx.md` lists the operators,
and what of ONNX's own tests passes.
"""

from tigon.contrib.onnx.importing import get_model_metadata, import_model, import_to_gluon

__all__ = ["get_model_metadata", "import_model", "import_to_gluon"]
