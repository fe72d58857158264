#!/bin/sh
# ml_dtypes 0.6.0, with numpy 2.4.6: conversions from float64 and int64 to bfloat16 and the floats of
# one byte go by way of float32, and so are rounded twice. numpy's own conversion from float64 to
# float16 rounds once.
#
# Expected: the nearest number of the target, as `astype` gives for float16. Seen: a number just above
# the middle of two becomes the lower one, since float32 has put it on the middle and ties go to even.
#
# Why it matters: weights that are kept in float64 (or computed by numpy, whose default it is) and stored
# as bfloat16 or float8 come out other than those of a framework that rounds once, in the last place;
# and who takes these conversions for an oracle finds "errors" in kernels that are right.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet ml_dtypes==0.6.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import ml_dtypes
import numpy as np

print("ml_dtypes", ml_dtypes.__version__, "numpy", np.__version__)
seen = {}
for name, digits in (("bfloat16", 7), ("float8_e4m3fn", 3), ("float8_e5m2", 2)):
    above = 1 + 2.0 ** -(digits + 1) + 2.0**-40  # the nearest number is 1 + 2 ** -digits
    seen[name] = float(np.array([above]).astype(getattr(ml_dtypes, name))[0])
    print(f"float64 {above!r} as {name}: {seen[name]}; nearest: {1 + 2.0 ** -digits}")
whole = 2**25 + 2**17 + 1
seen["int64"] = int(np.array([whole]).astype(ml_dtypes.bfloat16)[0])
print(f"int64 {whole} as bfloat16: {seen['int64']}; nearest: {2**25 + 2**18}")
half = float(np.array([1 + 2.0**-11 + 2.0**-40]).astype(np.float16)[0])
print(f"float64 just above the middle as numpy's float16: {half}; nearest: {1 + 2.0**-10}")
assert half == 1 + 2.0**-10, "numpy's float16 no longer rounds once"
assert seen == {"bfloat16": 1.0, "float8_e4m3fn": 1.0, "float8_e5m2": 1.0, "int64": 2**25}, (
    "the behaviour has changed"
)
PYTHON
# Output seen:
#   ml_dtypes 0.6.0 numpy 2.4.6
#   float64 1.0039062500009095 as bfloat16: 1.0; nearest: 1.0078125
#   float64 1.0625000000009095 as float8_e4m3fn: 1.0; nearest: 1.125
#   float64 1.1250000000009095 as float8_e5m2: 1.0; nearest: 1.25
#   int64 33685505 as bfloat16: 33554432; nearest: 33816576
#   float64 just above the middle as numpy's float16: 1.0009765625; nearest: 1.0009765625
