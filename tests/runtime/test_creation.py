"""One program of each kind for arrays of all shapes: the numbers are those of graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.runtime.support import lines_of, run_script
from tigon import nd
from tigon.base import TigonError
from tigon.runtime.counters import stats

SHAPES = [(), (1,), (3,), (4096,), (5, 819), (2, 3, 4, 5), (4097,), (100, 1000), (1 << 23,), (0, 3)]
KINDS: dict[str, Callable[..., Any]] = {
    "uniform": lambda F, **fields: F.random.uniform(-0.3, 0.7, **fields),
    "unit": lambda F, **fields: F.random.uniform(0, 1, **fields),
    "double": lambda F, **fields: F.random.uniform(-2, 5, dtype="float64", **fields),
    "half": lambda F, **fields: F.random.uniform(-2, 5, dtype="float16", **fields),
    "wide": lambda F, **fields: F.random.uniform(-3e38, 3e38, **fields),
    "normal": lambda F, **fields: F.random.normal(0, 0.1, **fields),
    "moved": lambda F, **fields: F.random.normal(-1, 3, **fields),
    "standard": lambda F, **fields: F.random.normal(0, 1, **fields),
    "zeros": lambda F, **fields: F.zeros(**fields),
    "negative zero": lambda F, **fields: F.full(val=-0.0, **fields),
    "nan": lambda F, **fields: F.full(val=float("nan"), **fields),
    "large": lambda F, **fields: F.full(val=1e39, **fields),
    "integers": lambda F, **fields: F.full(val=-7, dtype="int64", **fields),
    "truth": lambda F, **fields: F.ones(dtype="bool", **fields),
    "brain": lambda F, **fields: F.full(val=1.01, dtype="bfloat16", **fields),
}


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_those_of_a_graph_to_the_bit(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> list[bytes]:
        mx.random.seed(11)
        arrays = [KINDS[kind](nd, shape=shape) for shape in SHAPES]
        assert [array.shape for array in arrays] == SHAPES
        return [array.asnumpy().tobytes() for array in arrays]

    by_numbers = made()
    monkeypatch.setattr("tigon.program.creation.program", lambda *_, **__: None)
    mx.nd.waitall()
    mx._native.clear_signature_cache()
    assert made() == by_numbers


def test_other_shapes_and_numbers_compile_nothing() -> None:
    nd.random.uniform(-1, 1, shape=(3,)), nd.random.normal(0, 2, shape=(3,)), nd.ones((3,))
    before = stats()
    for size in range(1, 40):
        nd.random.uniform(-1 / size, 1, shape=(size, 7))
        nd.random.normal(0, size, shape=(size, 1, 2))
        nd.full((size, size), size + 0.5)
    after = stats()
    assert after["programs"] - before["programs"] == 3 * 39
    assert after["compilations"] == before["compilations"]
    assert after["kernel_compilations"] == before["kernel_compilations"]


SCRIPT = """
import tigon as mx
from tigon import nd
mx.random.seed(2)
x = nd.random.uniform(-2, 3, shape=(5, 1000))
y = nd.random.normal(1, 3, shape=(7,))
z = nd.full((2, 2), 4.5)
print(float(x.sum().asnumpy()), y.asnumpy().tolist(), z.asnumpy().tolist())
print(mx.runtime.stats()["compilations"])
"""


def test_kinds_are_kept_for_later_processes(tmp_path: Path) -> None:
    surroundings = {"TIGON_CACHE": str(tmp_path), "TIGON_LIBRARY": "0"}
    first, second = (lines_of(run_script(SCRIPT, **surroundings)) for _ in range(2))
    assert first[0] == second[0]
    assert int(second[1]) < int(first[1])
    for path in tmp_path.glob("*.o"):
        path.write_bytes(path.read_bytes()[:-1])
    assert lines_of(run_script(SCRIPT, **surroundings))[0] == first[0]


def test_what_cannot_be_drawn_is_refused_as_ever() -> None:
    refused = {
        "high: expected at least": lambda: nd.random.uniform(2, 1, shape=(3,)),
        "scale: expected": lambda: nd.random.normal(0, -1, shape=(3,)),
        "does not hold": lambda: nd.random.normal(0, 1e300, shape=(3,)),
        "finite": lambda: nd.random.uniform(0, float("inf"), shape=(3,)),
        "negative": lambda: nd.zeros((-1, -2)),
    }
    for text, call in refused.items():
        with pytest.raises(TigonError, match=text):
            call()


def test_drawing_is_recorded_and_written_as_before() -> None:
    out = nd.zeros((2, 3))
    mx.random.seed(4)
    nd.random.uniform(-1, 1, shape=(2, 3), out=out)
    mx.random.seed(4)
    assert np.array_equal(out.asnumpy(), nd.random.uniform(-1, 1, shape=(2, 3)).asnumpy())
    x = nd.ones((3,))
    x.attach_grad()
    with mx.autograd.record():
        y = (x * nd.full((3,), 2.5)).sum()
    y.backward()
    assert x.grad.asnumpy().tolist() == [2.5] * 3
