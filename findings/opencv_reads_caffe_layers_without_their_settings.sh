#!/bin/sh
# opencv-python-headless 4.14.0.94, with numpy 2.2.6: `cv2.dnn.readNetFromCaffe` reads layers of valid
# prototxt files and computes with other settings than the file gives, without a word:
#   InnerProduct  transpose: true     the weights are taken as if they were not transposed
#   LRN           k: 2                the constant is 1
#   Concat        concat_dim: 0       channels are joined (the older name of `axis`)
#   Log           base: 10, scale: 10 the natural logarithm of what comes in is computed
#
# Expected: what Caffe computes, or an error that names the setting.
#
# Why it matters: the importer (the last one: 5.0 has none) is how many people run old Caffe models
# today. A model with one of these settings loads and gives wrong numbers.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --no-deps opencv-python-headless==4.14.0.94 numpy==2.2.6
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import sys

import cv2
import numpy as np

print("opencv", cv2.__version__, "numpy", np.__version__)
folder = sys.argv[1]


def varint(value):
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def run(settings, arrays, *blobs):
    """What OpenCV makes of one layer."""
    text = ""
    for number, array in enumerate(arrays):
        dims = " ".join(f"dim: {extent}" for extent in array.shape)
        text += f'layer {{ name: "x{number}" type: "Input" top: "x{number}" '
        text += f"input_param {{ shape {{ {dims} }} }} }}\n"
    bottoms = " ".join(f'bottom: "x{number}"' for number in range(len(arrays)))
    text += f'layer {{ name: "y" top: "y" {bottoms} {settings} }}\n'
    with open(f"{folder}/net.prototxt", "w") as file:
        file.write(text)
    model = field(1, b"y")
    for blob in blobs:
        shape = field(1, b"".join(map(varint, blob.shape)))
        model += field(7, field(7, shape) + field(5, blob.astype("<f4").tobytes()))
    with open(f"{folder}/net.caffemodel", "wb") as file:
        file.write(field(100, model) if blobs else field(1, b"net"))
    net = cv2.dnn.readNetFromCaffe(f"{folder}/net.prototxt", f"{folder}/net.caffemodel")
    for number, array in enumerate(arrays):
        net.setInput(array, f"x{number}")
    return net.forward()


x = np.array([[1, 2, 3]], np.float32)
weight = np.array([[1, 2], [3, 4], [5, 6]], np.float32)  # 3 inputs, 2 outputs
image = np.array([1, 2], np.float32).reshape(2, 1, 1, 1)
cases = {
    "InnerProduct": (
        run('type: "InnerProduct" inner_product_param { num_output: 2 bias_term: false '
            "transpose: true }", [x], weight),
        x @ weight,
    ),
    "LRN": (
        run('type: "LRN" lrn_param { local_size: 1 alpha: 1 beta: 1 k: 2 }', [image]),
        image / (2 + image**2),
    ),
    "Concat": (
        run('type: "Concat" concat_param { concat_dim: 0 }', [image, image]),
        np.concatenate([image, image]),
    ),
    "Log": (run('type: "Log" log_param { base: 10 scale: 10 }', [image]), np.log10(10 * image)),
}
for name, (seen, expected) in cases.items():
    print(f"{name}: {seen.shape} {np.float64(seen).ravel().round(4).tolist()}; "
          f"expected {expected.shape} {np.float64(expected).ravel().round(4).tolist()}")
    wrong = seen.shape != expected.shape or not np.allclose(seen, expected, rtol=1e-3)
    assert wrong, f"the behaviour of {name} has changed"
PYTHON
# Output seen:
#   opencv 4.14.0 numpy 2.2.6
#   InnerProduct: (1, 2) [14.0, 32.0]; expected (1, 2) [22.0, 28.0]
#   LRN: (2, 1, 1, 1) [0.5, 0.4]; expected (2, 1, 1, 1) [0.3333, 0.3333]
#   Concat: (2, 2, 1, 1) [1.0, 1.0, 2.0, 2.0]; expected (4, 1, 1, 1) [1.0, 2.0, 1.0, 2.0]
#   Log: (2, 1, 1, 1) [0.0, 0.6931]; expected (2, 1, 1, 1) [1.0, 1.301]
