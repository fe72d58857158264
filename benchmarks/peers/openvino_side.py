"""OpenVINO: models of ONNX in float32 (it computes in bfloat16 where it may), for the least time of
one call; inputs and outputs stay where they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino
from processors import processors

VERSION = openvino.__version__.partition("-")[0]


def call(model: bytes, *arrays: np.ndarray) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
    """A call that reads and writes the same memory each time, and one that returns the result."""
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": processors(),
            "PERFORMANCE_HINT": "LATENCY",
        },
    )
    request = compiled.create_infer_request()
    for index, array in enumerate(arrays):
        request.set_input_tensor(index, openvino.Tensor(array))

    def result() -> np.ndarray:
        request.infer()
        return np.array(request.get_output_tensor(0).data)

    return request.infer, result
