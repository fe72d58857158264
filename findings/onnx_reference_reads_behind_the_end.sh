#!/bin/sh
# onnx 1.23.2: the reference evaluator ignores sequence_lens of LSTM, GRU and RNN. onnxruntime 1.32.0
# does not.
#
# Expected: of a batch whose sequences have lengths of their own, outputs behind an end are 0, and the
# last states are those at the end, as the operators say; or an error that lengths are not computed.
# Seen: all steps are computed for all sequences, without a word.
#
# Why it matters: the evaluator is what converters and runtimes are checked with. Padded batches, the
# only reason for the input, give other last states than the model has in every runtime.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnx.reference import ReferenceEvaluator

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
draw = np.random.default_rng(0)
for operator, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
    node = helper.make_node(operator, ["x", "w", "r", "", "n"], ["y", "h"], hidden_size=2)
    shapes = {"x": (3, 2, 3), "w": (1, 2 * gates, 3), "r": (1, 2 * gates, 2)}
    given = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    told = [helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()]
    told.append(helper.make_tensor_value_info("n", 6, (2,)))
    results = [helper.make_tensor_value_info("y", 1, (3, 1, 2, 2)),
               helper.make_tensor_value_info("h", 1, (1, 2, 2))]
    graph = helper.make_graph([node], "g", told, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    given["n"] = np.array([1, 3], np.int32)  # the first sequence has one step
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    behind = {}
    for name, (y, h) in (
        ("onnxruntime", session.run(None, given)),
        ("onnx.reference", ReferenceEvaluator(model).run(None, given)),
    ):
        behind[name] = float(np.abs(y[1:, :, 0]).max())
        ends = bool(np.allclose(h[0, 0], y[0, 0, 0]))
        print(f"{operator} {name}: largest output behind the end {behind[name]:.3f}; "
              f"last state is that at the end: {ends}")
    assert behind["onnxruntime"] == 0, "onnxruntime has changed"
    assert behind["onnx.reference"] > 0, "the behaviour has changed"
PYTHON
# Output seen:
#   onnx 1.23.2 onnxruntime 1.32.0
#   RNN onnxruntime: largest output behind the end 0.000; last state is that at the end: True
#   RNN onnx.reference: largest output behind the end 1.000; last state is that at the end: False
#   GRU onnxruntime: largest output behind the end 0.000; last state is that at the end: True
#   GRU onnx.reference: largest output behind the end 0.897; last state is that at the end: False
#   LSTM onnxruntime: largest output behind the end 0.000; last state is that at the end: True
#   LSTM onnx.reference: largest output behind the end 0.471; last state is that at the end: False
