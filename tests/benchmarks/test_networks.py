"""The benchmarks of whole networks, convolutions and memory work, on small rows; what they measure
is not judged here."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from tests.benchmarks.test_tools import evaluate, run


def test_multiply_adds_are_those_of_the_networks(tmp_path):
    printed = evaluate(
        """
import models
images = (1, 3, 224, 224)
shapes = {"ResNet-18": images, "MobileNetV2": images, "encoder": (4, 128, 512),
          "LeNet": (64, 1, 28, 28)}
for name, shape in shapes.items():
    found = models.describe(models.filled(models.MODELS[name], shape), shape)
    print(name, found.forward, found.training - 3 * found.forward)
""",
        tmp_path,
    )
    stem, first = 112 * 112 * 64 * 3 * 7 * 7, 64 * 24 * 24 * 20 * 5 * 5
    rows, size = 4 * 128, 512
    layer = rows * (4 * size * size + 2 * size * 2048) + 2 * 4 * 128 * 128 * size
    dense = 64 * (8 * 8 * 50 * 20 * 25 + 800 * 500 + 500 * 10)
    assert printed.splitlines() == [
        f"ResNet-18 1814073344 {-stem}",
        f"MobileNetV2 313619328 {-(112 * 112 * 32 * 3 * 3 * 3)}",
        f"encoder {4 * layer} {-3 * rows * size * size}",
        f"LeNet {first + dense} {-first}",
    ]


def test_descriptions_are_read_as_they_were_written(tmp_path):
    printed = evaluate(
        """
import models
from description import from_text
net = models.filled(models.lenet, (2, 1, 28, 28))
found = models.describe(net, (2, 1, 28, 28))
assert from_text(found.text()) == found
values = models.values(net)
assert {name: value.shape for name, value in values.items()} == found.parameters
again = models.values(models.filled(models.lenet, (2, 1, 28, 28)))
assert all((values[name] == again[name]).all() for name in values)
print(found.output == found.nodes[-1].name, found.nodes[-1].shape)
""",
        tmp_path,
    )
    assert printed == "True (2, 10)\n"


SMALL = """
import numpy as np
import models
from tigon import gluon, nd
from tigon.gluon import nn

def images():
    net = nn.HybridSequential(prefix="")
    net.add(
        nn.Conv2D(6, 3, strides=2, padding=1, in_channels=2, use_bias=False, prefix="a_"),
        nn.BatchNorm(prefix="b_"),
        nn.Activation("relu"),
        nn.MaxPool2D(3, 2, 1),
        nn.Conv2D(6, 3, padding=2, dilation=2, groups=6, in_channels=6, prefix="c_"),
        nn.HybridLambda(lambda F, x: F.clip(x, 0, 6)),
        nn.GlobalAvgPool2D(),
        nn.Dense(5, prefix="d_"),
    )
    return net

CASES = {
    "images": (images, (3, 2, 17, 17)),
    "encoder": (
        lambda: models.encoder_classifier(layers=1, size=16, heads=2, hidden=24), (2, 5, 16)
    ),
}

def each():
    for make, shape in CASES.values():
        net = models.filled(make, shape)
        data = np.random.RandomState(1).randn(*shape).astype(np.float32)
        yield models.describe(net, shape), models.values(net), data, net(nd.array(data)).asnumpy()
"""
PEERS = {
    "onnxruntime": """
from peers import onnx_networks, onnx_side
def theirs(description, values, data):
    return onnx_side.call(onnx_networks.model(description, values), data)()
""",
    "openvino": """
from peers import onnx_networks, openvino_side
def theirs(description, values, data):
    return openvino_side.call(onnx_networks.model(description, values), data)[1]()
""",
    "MNN": """
from peers import mnn_side, onnx_networks
def theirs(description, values, data):
    return mnn_side.call(onnx_networks.model(description, values), data)[1]()
""",
    "torch": """
import torch
from peers import torch_networks
def theirs(description, values, data):
    x = torch.from_numpy(data)
    with torch.inference_mode():
        found = torch_networks.Network(description, values).eval()(x)
        if data.ndim == 3:
            own = torch_networks.Encoder(description, values, 2).eval()(x)
            np.testing.assert_allclose(own, found, rtol=1e-4, atol=1e-5)
    return found
""",
    "jax": """
from peers import jax_networks
def theirs(description, values, data):
    return jax_networks.network(description, values, data)()
""",
}


@pytest.mark.parametrize("peer", PEERS)
def test_peers_build_the_same_networks(peer, tmp_path):
    for package in (peer, "onnx" if peer in ("onnxruntime", "openvino", "MNN") else peer):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    compared = """
for description, values, data, ours in each():
    found = np.asarray(theirs(description, values, data))
    np.testing.assert_allclose(found, ours, rtol=1e-4, atol=1e-5)
    print("agrees:", description.output)
"""
    printed = evaluate(SMALL + PEERS[peer] + compared, tmp_path)  # MNN prints lines of its own
    assert printed.count("agrees:") == 2, printed


def test_goals_are_met_by_peers_or_by_the_floor(tmp_path):
    printed = evaluate(
        """
from networks import Goal, WORKS
goal = Goal(0.9, 1.2)
print(goal.text(), goal.met(0.9, 5, 9), goal.met(1.0, 1.2, 9), goal.met(1.0, 1.3, 0))
print(goal.met(None, 1.3, 0), goal.met(None, 1.1, 0))
even = Goal(0.9, even=True)
print(even.text(), even.met(0.5, 1, 1.0), even.met(0.5, 1, 1.1))
""",
        tmp_path,
    )
    assert printed.splitlines() == [
        "<= 0.9, or <= 1.2 x floor True True False",
        "False True",
        "<= 0.9; <= imperative True False",
    ]


def test_networks_are_timed_and_written(tmp_path):
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    brief = ("--rounds", "1", "--seconds", "0.001", "--only", "LeNet")
    done = run("networks.py", *brief, "--write", page, "--json", figures, home=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    (row,) = json.loads(figures.read_text())
    assert row["distance"] > 0 and row["errors"]["tigon"] < 1e-4
    assert {"tigon", "tigon imperative"} < set(row["microseconds"])
    text = page.read_text()
    assert "written by `make bench-networks`" in text and "| training step LeNet" in text


def test_convolutions_are_timed_and_written(tmp_path):
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    brief = ("--rounds", "1", "--seconds", "0.001", "--only", "MobileNetV2: 3x3 to 960")
    done = run("convolutions.py", *brief, "--write", page, "--json", figures, home=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    rows = json.loads(figures.read_text())
    assert [row["name"].rpartition(": ")[2] for row in rows] == [
        "forward",
        "gradient of the data",
        "gradient of the weight",
    ]
    assert all(row["limit"] > 0 and row["error"] < 1e-5 for row in rows)
    assert "written by `make bench-convolutions`" in page.read_text()


def test_convolutions_are_forty_and_means_are_held_against_goals(tmp_path):
    printed = evaluate(
        """
from dataclasses import replace
import convolutions
from convolutions import CONVOLUTIONS, DATA, FORWARD, Found
from turns import Times
kinds = [shape.depthwise for shape in CONVOLUTIONS]
print(len(CONVOLUTIONS), len({shape.name for shape in CONVOLUTIONS}), sum(kinds))
def times(ours):
    return {"tigon": Times((ours,), 0), "torch": Times((10.0,), 0), "openvino": Times((20.0,), 0)}
row = {"limit": 1.0, "error": 0, "size": 1.0, "judged": True, "rated": False}
quick = Found(times=times(5.0), name="a: " + FORWARD, depthwise=True, **row)
slow = replace(quick, name="b: " + DATA, times=times(20.0), depthwise=False)
print(*convolutions.goals([quick, slow])[2:], sep="\\n")
print(convolutions.rates([quick], 1.0), convolutions.goals([replace(quick, judged=False)]))
""",
        tmp_path,
    )
    assert printed.splitlines() == [
        "40 40 7",
        "| forward | 1 | 0.50 |  |  |",
        "| gradient of the data | 1 | 2.00 |  |  |",
        "| depthwise | 1 | 0.50 | <= 0.8 | met |",
        "| all | 2 | 1.00 | <= 0.95 | **missed** |",
        "| tigon : torch | 2 | 1.00 |  |  |",
        "| the greatest: b: gradient of the data | 1 above 1.15 | 2.00 | <= 1.15 | **missed** |",
        "[] []",
    ]


def test_peers_are_all_that_is_not_tigons(tmp_path):
    printed = evaluate(
        """
from turns import Times, best_other, quickest_ratio
own = {"tigon": Times((4.0, 8.0, 9.0), 0), "tigon imperative": Times((1.0, 1.0, 1.0), 0)}
print(best_other(own), quickest_ratio(own))
jax, torch = Times((2.0, 9.0, 9.0), 0), Times((5.0, 5.0, 6.0), 0)
print(best_other({**own, "jax": jax, "torch": torch}), quickest_ratio({**own, "jax": jax}))
""",
        tmp_path,
    )
    assert printed == "None None\ntorch 2.0\n"


def test_pooling_is_held_against_memory(tmp_path):
    brief = ("--rounds", "1", "--seconds", "0.001", "--only", "max pooling 3x3/2: forward")
    done = run("convolutions.py", *brief, home=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "| GB/s | tigon |" in done.stdout


def test_memory_is_that_of_fresh_processes(tmp_path):
    page = tmp_path / "page.md"
    given = ("--repeats", "1", "--only", "LeNet", "--write", page)
    done = run("memory.py", *given, "--json", tmp_path / "figures.json", home=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    (row,) = json.loads((tmp_path / "figures.json").read_text())
    megabytes = row["megabytes"]
    assert {"tigon", "tigon, code on disk", "tigon hybridized", "tigon imperative"} <= set(
        megabytes
    )
    assert all(30 < each < 4000 for each in megabytes.values())
    assert "written by `make bench-memory`" in page.read_text()


def test_what_contestants_compute_elsewhere_is_not_a_strangers(tmp_path):
    printed = evaluate(
        """
import subprocess, sys, time
import processors
busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
before = processors.used()
time.sleep(0.5)
alone = processors.used() - before
processors.together_with(busy.pid)
began = processors.used()
while processors.used() - began < 0.1:
    time.sleep(0.05)
busy.kill()
busy.wait()
print(alone < 0.1, processors.used() > 0)
""",
        tmp_path,
    )
    assert printed == "True True\n"
