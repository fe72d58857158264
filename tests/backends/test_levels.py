"""A fixed seed draws the same numbers at each level of a processor; formulas without a fused
multiply-add are rounded otherwise."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

PROGRAM = """
import json
from tigon import nd, random
random.seed(3)
found = {"exact": [], "rounded": []}
for dtype in ("float32", "float64"):
    for size in (1, 3, 5, 33):
        found["exact"] += nd.random.uniform(shape=(size,), dtype=dtype).asnumpy().tolist()
        found["rounded"] += nd.random.normal(shape=(size,), dtype=dtype).asnumpy().tolist()
found["exact"] += nd.random.randint(0, 1000, shape=(17,)).asnumpy().tolist()
found["exact"] += nd.random.shuffle(nd.arange(9)).asnumpy().tolist()
print(json.dumps(found))
"""


def drawn(level: str) -> Any:
    environment = {**os.environ, "TIGON_LEVEL": level}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are levels of x86-64")
def test_numbers_are_the_same_at_each_level() -> None:
    first, second = drawn("x86-64-v2"), drawn("x86-64-v3")
    assert first["exact"] == second["exact"]
    np.testing.assert_allclose(first["rounded"], second["rounded"], rtol=2e-6, atol=1e-7)
