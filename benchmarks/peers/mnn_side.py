"""MNN: models of ONNX, converted once by its own program, in float32; for the least time of one
call. Input and output are copied by each call: between its layouts and those of the model."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import MNN
import numpy as np
from processors import processors

from tigon.base.files import write_file

VERSION = MNN.version()


def call(model: bytes, array: np.ndarray) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
    """A call, and one that returns the first result."""
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "model.onnx", Path(folder) / "model.mnn"
        write_file(source, model)
        command = [sys.executable, "-m", "MNN.tools.mnnconvert", "-f", "ONNX", "--bizCode", "bench"]
        command += ["--modelFile", str(source), "--MNNModel", str(made)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        interpreter = MNN.Interpreter(str(made))
    session = interpreter.createSession(
        {"backend": "CPU", "numThread": processors(), "precision": "high"}
    )
    entry = interpreter.getSessionInput(session)
    leaving = interpreter.getSessionOutput(session)
    shape = tuple(leaving.getShape())
    kind = MNN.Tensor_DimensionType_Caffe
    given = MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, kind)
    out = np.empty(shape, np.float32)
    taken = MNN.Tensor(shape, MNN.Halide_Type_Float, out, kind)

    def run() -> None:
        entry.copyFrom(given)
        interpreter.runSession(session)
        leaving.copyToHostTensor(taken)

    def result() -> np.ndarray:
        run()
        return np.array(taken.getNumpyData())

    return run, result
