#!/bin/sh
# safetensors 0.8.0, with numpy 2.4.6: `safetensors.numpy.save` and `save_file` take an array that is not
# contiguous (`x.T`, `numpy.asfortranarray(x)`) and write its memory as it lies under the shape of the
# view: what is read back holds the same numbers in other places.
#
# Expected: the array's values, as `numpy.save` writes them, or an error, as the package's own
# `safetensors.torch.save` raises for tensors that are not contiguous. The documentation asks for
# contiguous arrays; nothing checks it.
# Seen: no error and no warning; [[0, 3], [1, 4], [2, 5]] comes back as [[0, 1], [2, 3], [4, 5]].
#
# Why it matters: weights that are converted from one framework to another are transposed on the way,
# mostly as a view. The file is valid, shapes and dtypes fit, the network loads and predicts noise.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import io

import numpy as np
import safetensors
from safetensors.numpy import load, save

print("safetensors", safetensors.__version__, "numpy", np.__version__)
x = np.arange(6, dtype=np.float32).reshape(2, 3)
seen = {}
for name, array in (("contiguous", x), ("transposed", x.T), ("fortran", np.asfortranarray(x))):
    back = load(save({"x": array}))["x"]
    file = io.BytesIO()
    np.save(file, array)
    file.seek(0)
    assert (np.load(file) == array).all(), "numpy's own files hold the values"
    seen[name] = bool((back == array).all())
    print(f"{name}: {array.tolist()} comes back as {back.tolist()}")
assert seen == {"contiguous": True, "transposed": False, "fortran": False}, "the behaviour has changed"
PYTHON
# Output seen:
#   safetensors 0.8.0 numpy 2.4.6
#   contiguous: [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]] comes back as [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
#   transposed: [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]] comes back as [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
#   fortran: [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]] comes back as [[0.0, 3.0, 1.0], [4.0, 2.0, 5.0]]
