"""Damaged files of Caffe: `python -m tests.readers.hostile "caffe network" 100000 7`."""

from __future__ import annotations

import random
import re

import numpy as np

import tigon as mx
from tests.caffe import test_snapshots
from tests.caffe.models import caffemodel
from tests.caffe.test_layers import CASES, text_of
from tests.readers.hostile import Case, Hostile, mutated_bytes
from tigon.contrib.caffe.fields import SCHEMA
from tigon.contrib.caffe.net import Assembly, State
from tigon.contrib.caffe.solver import Solver
from tigon.contrib.caffe.states import read_state
from tigon.contrib.caffe.weights import arrays_for
from tigon.readers.hdf5 import File
from tigon.readers.text import read_text
from tigon.readers.wire import read_wire

SAID = re.compile(
    r"^evil: (line \d+, column \d+: |at byte \d+: |has no array for|"
    r"expected one network to train|shapes: )",
)
SOLVER = """
net_param { layer { name: "d" type: "HDF5Data" top: "x" hdf5_data_param { batch_size: 4 } } }
base_lr: 0.01 momentum: 0.9 weight_decay: 5e-4 lr_policy: "multistep" stepvalue: [5000, 7000]
gamma: 0.1 power: .75 display: 100 max_iter: 10000 type: "Adam" test_iter: 3 test_interval: 50
test_state { phase: TEST level: 1 stage: "a" stage: 'b' } clip_gradients: 35 random_seed: -1
"""
OLD = """
input: "data" input_dim: 2 input_dim: 3 input_dim: 6 input_dim: 6
layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "data" top: "padded" }
layers { layer { name: "conv" type: "conv" num_output: 4 kernelsize: 3 stride: 2
  blobs_lr: 1 blobs_lr: 3 weight_decay: 2 weight_decay: 0 } bottom: "padded" top: "conv" }
layers { name: "ip" type: INNER_PRODUCT bottom: "conv" top: "ip" blobs_lr: 1
  inner_product_param { num_output: 5 } include { phase: TEST } }
"""
ARRAYS = {
    "conv": [np.ones((4, 3, 3, 3), np.float32), np.ones(4, np.float32)],
    "ip": [np.ones((5, 36), np.float64), np.ones(5, np.float32)],
}
MODELS = [caffemodel(ARRAYS, generation, old) for generation in (0, 1, 2) for old in (True, False)]
TOKEN = re.compile(r"\w+|\"[^\"]*\"|\S")
NUMBER = re.compile(r"(?<=: )-?[\d.]+")
SETTING = re.compile(r"\w+: -?[\w.]+ ")
NUMBERS = [
    "0",
    "1",
    "2",
    "3",
    "5",
    "-1",
    "-2",
    "7",
    "100",
    "65536",
    "2147483647",
    "4294967295",
    "0.5",
]
VALUES = ["0", "-1", "1", "2147483647", "4294967295", "1e39", "nan", "-inf", "0x7f", '""', "{", "}",
          "[", "]", ":", '"', "'\\377'", "true", "MAX", "dim: 9999999", "num_output: 1 ",
          "layer {", "bottom: \"b0\"", "top: \"own\"", "axis: -7", "shape { dim: 0 dim: -1 }",
          "kernel_size: 2147483647", "pad: 4294967295", "tiles: 2147483647", "#", "\x00", "\ufeff",
          "\u00e9", "param { name: 'w' }"]  # fmt: skip


def mutated_text(text: str, draw: random.Random) -> bytes:
    """A text with a few tokens changed, or bytes, or only numbers."""
    manner = draw.random()
    if manner < 0.1:
        return mutated_bytes(text.encode(), draw)
    if manner < 0.6:  # still well formed: it is the layers that have to refuse it
        chance = draw.choice([0.05, 0.2])
        changed = NUMBER.sub(
            lambda found: draw.choice(NUMBERS) if draw.random() < chance else found.group(), text
        )
        return SETTING.sub(
            lambda found: "" if draw.random() < chance else found.group(), changed
        ).encode()
    for _ in range(draw.randint(1, 4)):
        tokens = list(TOKEN.finditer(text))
        if not tokens:
            break
        one, other = draw.choice(tokens), draw.choice(tokens)
        begin, end = one.span()
        kind = draw.randrange(5)
        if kind == 0:
            text = text[:begin] + text[end:]
        elif kind == 1:
            text = text[:begin] + draw.choice(VALUES) + text[end:]
        elif kind == 2:
            text = text[:begin] + other.group() + text[end:]
        elif kind == 3:
            text = text[:begin] + draw.choice(VALUES) + " " + text[begin:]
        else:
            first, last = sorted((begin, other.start()))
            text = text[:last] + " " + text[first:last][:200] + text[last:]
    return text.encode("utf-8", "surrogatepass")


def read_network(content: bytes) -> None:
    net = read_text(content, SCHEMA["NetParameter"], "evil")
    made = Assembly(net, State("test"))
    # What was accepted is a graph whose operators agree, with the shapes that the rules have told.
    blobs = [made.blobs[top] for top in made.outputs]
    graph = mx.sym.Group([blob.symbol for blob in blobs])
    given = {top: blob.shape or (1,) for top, blob in made.network.inputs.items()}
    known = set(graph.list_inputs())
    _, shapes, _ = graph.infer_shape(**{top: own for top, own in given.items() if top in known})
    wanted = [blob.shape or (1,) for blob in blobs]
    if shapes != wanted:
        raise AssertionError((shapes, wanted))


def read_solver(content: bytes) -> None:
    Solver(read_text(content, SCHEMA["SolverParameter"], "evil"))


NETWORK = Assembly(read_text(OLD, SCHEMA["NetParameter"], "net"), State("test")).network


def read_model(content: bytes) -> None:
    arrays_for(NETWORK, content, "evil")


def read_everything(content: bytes) -> None:
    """As a whole, not only what weights are in."""
    read_wire(content, SCHEMA["NetParameter"], "evil")


def network(draw: random.Random) -> Case:
    case = draw.choice(CASES)
    text = OLD if draw.random() < 0.2 else text_of(case, case.bottoms)
    return read_network, mutated_text(text, draw)


def solver(draw: random.Random) -> Case:
    return read_solver, mutated_text(SOLVER, draw)


def model(draw: random.Random) -> Case:
    read = read_everything if draw.random() < 0.25 else read_model
    return read, mutated_bytes(draw.choice(MODELS), draw)


def snapshot(draw: random.Random) -> Case:
    """Of HDF5 or of a state."""
    read, good = draw.choice(SNAPSHOTS)
    return read, mutated_bytes(good, draw)


def read_solver_state(content: bytes) -> None:
    read_state(content, "evil").of(STATE_NETWORK, 1)


def read_snapshot(content: bytes) -> None:
    arrays_for(STATE_NETWORK, content, "evil")


def read_datasets(content: bytes) -> None:
    for dataset in File(content, "evil").datasets.values():
        _ = dataset.text() if dataset.dtype is None else dataset.array()


STATE_NETWORK = Assembly(
    read_text(test_snapshots.NET, SCHEMA["NetParameter"], "net"),
    State("train"),
    test_snapshots.SHAPES,
).network
SNAPSHOTS = [
    (read_snapshot, test_snapshots.MODEL.read_bytes()),
    (read_solver_state, test_snapshots.STATE.read_bytes()),
    (read_solver_state, test_snapshots.state(3, test_snapshots.HISTORY, "x.caffemodel")),
    (read_datasets, (test_snapshots.HERE / "arrays.h5").read_bytes()),
]
HOSTILE = {draw.__name__: Hostile(draw, SAID) for draw in (network, solver, model, snapshot)}
