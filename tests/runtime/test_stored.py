"""Programs that an earlier process compiled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.support import lines_of, run_script
from tigon.analysis.memory_plan import MemoryPlan, MemoryRow
from tigon.base import TensorType, as_dtype
from tigon.ir import Graph, variable
from tigon.ops.record import get
from tigon.program import stored

PROGRAM = """
import json, sys
import numpy as np
import tigon as mx
from tigon import gluon, nd
from tigon.gluon import nn

mx.random.seed(1)
net = nn.HybridSequential()
net.add(nn.Dense(6, "relu", in_units=5), nn.BatchNorm(), nn.Dense(3, in_units=6))
net.initialize(mx.init.Xavier())
net.hybridize()
trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.1})
step = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
x = nd.array(np.linspace(-1, 1, 20).reshape(4, 5))
losses = [step(x, nd.array([0, 1, 2, 0])).asnumpy().tolist() for _ in range(3)]
(program,) = step.compiled[0].compiled_graphs()
stats = mx.runtime.stats()
print(json.dumps({
    "losses": losses,
    "out": net(x).asnumpy().tolist(),
    "plan": str(program.memory_plan),
    "lowered": type(program.lowered).__name__,
    "kernels": len(program.kernels) if "look" in sys.argv else None,
    "functions": stats["kernel_compilations"],
}))
"""


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, "TIGON_CACHE": str(folder)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_second_process_computes_the_same_without_lowering(tmp_path: Path) -> None:
    first, second, third = run(tmp_path), run(tmp_path), run(tmp_path, "look")
    assert (first.pop("lowered"), second.pop("lowered")) == ("LoweredGraph", "StoredGraph")
    assert first.pop("functions") > second.pop("functions")
    assert first == second
    assert third["kernels"] > 3  # lowered after all, to be looked at


def test_damaged_files_and_missing_functions_are_made_again(tmp_path: Path) -> None:
    expected = run(tmp_path)
    for number, file in enumerate(sorted(tmp_path.iterdir())):
        if number % 3 == 0:
            file.unlink()
        elif number % 3 == 1:
            file.write_bytes(file.read_bytes()[:-7])
    found = run(tmp_path)
    assert (found["losses"], found["out"]) == (expected["losses"], expected["out"])


NAMED = """
import sys
import tigon as mx
from tigon import nd
from tigon.gluon import nn

for _ in range(int(sys.argv[1])):
    nn.Dense(1), nn.Conv2D(1, 1)
net = nn.HybridSequential()
net.add(nn.Conv2D(3, 3, in_channels=1, activation="relu"), nn.Dense(4, in_units=12))
net.initialize(mx.init.One())
net.hybridize()
x = nd.ones((1, 1, 4, 4))
trainer = mx.gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
step = mx.gluon.TrainStep(net, mx.gluon.loss.L2Loss(), trainer)
y = step(x, nd.ones((1, 4)))
compiled = step.compiled[0].compiled_graphs()
print(*(type(each.lowered).__name__ for each in compiled))
print([row.name for each in compiled for row in each.memory_plan.rows])
print([row[1] for each in compiled for row in each.program.launches])
print([kernel.name for each in compiled for kernel in each.kernels])
print(y.asnumpy().tolist())
"""


def test_a_network_is_found_whatever_its_layers_are_called(tmp_path: Path) -> None:
    """What is kept says which name, not what it is."""

    def lines(layers: int, cache: Path) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", NAMED, str(layers)],
            env={**os.environ, "TIGON_CACHE": str(cache), "TIGON_LIBRARY": "0"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    lines(0, tmp_path / "one")
    found, expected = lines(2, tmp_path / "one"), lines(2, tmp_path / "other")
    assert "StoredGraph" in found[0] and "LoweredGraph" not in found[0]
    assert "LoweredGraph" in expected[0] and "conv2_weight" in expected[1]
    assert found[1:] == expected[1:]


RECORDED = """
import sys
import tigon as mx
from tigon import autograd, nd
from tigon.gluon import nn
from tigon.runtime.counters import stats

for _ in range(int(sys.argv[1])):
    nn.Dense(1), nn.BatchNorm()
net = nn.HybridSequential()
net.add(nn.Dense(6, in_units=5, activation="tanh"), nn.BatchNorm(in_channels=6), nn.Dense(2))
net.initialize(mx.init.One())
net.hybridize()
x = nd.arange(15).reshape((3, 5))
x.attach_grad()
for _ in range(2):
    with autograd.record():
        y = net(x).sum()
    y.backward()
print([p.grad().asnumpy().tolist() for p in net.collect_params().values() if p.grad_req != "null"])
print(*(each.asnumpy().tolist() for each in (y, x.grad, net[1].running_mean.data())))
print(int(stats()["kernel_compilations"]))
"""


def test_recorded_halves_are_found_without_differentiating(tmp_path: Path) -> None:
    script = (
        RECORDED.replace(
            "import sys\n",
            "import sys\nimport tigon.program.recorded as recorded\n"
            "made = []\nhalves = recorded._halves\n"
            "recorded._halves = lambda *given: made.append(1) or halves(*given)\n",
            1,
        )
        + "print(len(made))\n"
    )

    def lines(layers: int) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", script, str(layers)],
            env={**os.environ, "TIGON_CACHE": str(tmp_path), "TIGON_LIBRARY": "0"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    first, second, named = lines(0), lines(0), lines(2)
    assert first[:2] == second[:2] == named[:2]
    assert first[-1] == "1" and second[-2:] == ["0", "0"] and named[-2:] == ["0", "0"]
    # What is left may be any part of what was kept.
    for number, path in enumerate(sorted(tmp_path.glob("*.o"))):
        if number % 2:
            path.unlink()
    assert lines(1)[:2] == first[:2]


def test_names_that_say_two_things_are_kept_as_they_are() -> None:
    key = stored.Key("text", ("dense0_fwd", "x"))
    assert stored.numbered("x", key) == "\x011\x01"
    assert stored.numbered("dense0_fwd_more", key) is None
    assert stored.numbered("dense0_fwd_backward_backward", key) == "\x010\x01_backward_backward"
    assert stored.numbered("other", key) == "other"


LOOP = """
import tigon as mx
from tigon import autograd, nd

x = nd.array([[1.0, 2.0], [3.0, 4.0]])
x.attach_grad()
loop = mx.jit(lambda x: nd.contrib.foreach(
    lambda row, s: (nd.tanh(row * s), nd.concat(row, s, dim=0)[1:3] + row), x, x[0])[0])
with autograd.record():
    y = loop(x)
y.backward()
print(y.asnumpy().tolist(), x.grad.asnumpy().tolist())
"""


def test_functions_of_loops_that_were_tidied_away_are_named_again(tmp_path: Path) -> None:
    """What is left may be any part of what was stored: the programs within, say, without their
    functions, and without the program around them."""

    def run_loop() -> list[str]:
        return lines_of(run_script(LOOP, TIGON_CACHE=str(tmp_path)))

    expected = run_loop()
    begin = b'{"functions": ['
    contents = {file: file.read_bytes() for file in tmp_path.iterdir() if file.suffix == ".o"}
    programs = {
        file: json.loads(content[content.index(begin) :])
        for file, content in contents.items()
        if begin in content
    }
    alone = [file for file, program in programs.items() if not program["within"]]
    assert alone and len(alone) < len(programs)
    for file in contents.keys() - alone:
        file.unlink()
    assert run_loop() == expected
    assert run_loop() == expected


def test_what_is_written_can_be_read() -> None:
    rows = (
        MemoryRow("x", "input", "float32[3]", 12),
        MemoryRow("t", "temporary", "x", 4, 0, 1, 64),
    )
    given = stored.StoredProgram(
        ["one", "two"],
        [
            [[[(0, 1), (2, 64)], b"\x01\x02", 5, 1, 0, "add", None]],
            [[[(1, 0)], b"", 1, 1, 64, "sum", None]],
        ],
        [],
        [(0, (3,))],
        [(0, (2, 3)), (1, ())],
        128,
        [b"\x00\xff"],
        [[0], []],
        [-1, 2],
        [3, 0],
        1.5,
        MemoryPlan(100, 2, 128, 200, rows),
        7,
    )
    read = stored.load(stored.dump(given))
    assert read is not None and stored.dump(read) == stored.dump(given)
    assert read.plan == given.plan and read.outputs == given.outputs
    assert read.waves[0][0][0] == [(0, 1), (2, 64)] and read.waves[0][0][1] == b"\x01\x02"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"plan": 3}', b"\xff\xfe", b"[" * 99_999]
)
def test_foreign_content_is_a_miss(content: bytes) -> None:
    assert stored.load(content) is None


def test_keys_tell_graphs_apart() -> None:
    def key(
        extent: int, name: str = "x", op: str = "tanh", disabled: Any = ()
    ) -> stored.Key | None:
        x = variable(name, TensorType((extent,), as_dtype("float32")))
        graph = Graph([x], [get(op)(x)])
        return stored.key_of(graph, frozenset(disabled), (), (), "cpu")

    keys = [key(3), key(4), key(3, "y"), key(3, op="exp"), key(3, disabled=["fuse"])]
    assert len(set(keys)) == len(keys) and None not in keys
    assert key(3) == keys[0]
