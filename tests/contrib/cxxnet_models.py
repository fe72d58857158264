"""Models in cxxnet's format: the tests' own writer, after its sources."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

CODES = {
    "share": 0, "fullc": 1, "softmax": 2, "relu": 3, "flatten": 7, "conv": 10, "bias": 17,
    "concat": 18, "caffe": 20, "maxout": 22, "split": 23, "insanity_max_pooling": 25, "l2_loss": 26,
    "prelu": 29, "batch_norm": 30, "batch_norm_no_ma": 32, "a kind of later": 99,
}  # fmt: skip


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def integers(values: Sequence[int]) -> bytes:
    return struct.pack(f"<Q{len(values)}i", len(values), *values)


def array(values: Any) -> bytes:
    own = np.asarray(values, np.float32)
    return struct.pack(f"<{own.ndim}I", *own.shape) + own.tobytes()


SETTINGS = bytes(range(82)) * 4
"""Of a layer: nobody needs them."""


def layer(
    kind: str, inputs: Sequence[int], outputs: Sequence[int], name: str = "", primary: int = -1
) -> bytes:
    head = struct.pack("<2i", CODES[kind], primary) + text(name)
    return head + integers(inputs) + integers(outputs)


def model(
    nodes: Sequence[str], layers: Sequence[bytes], shape: Sequence[int], arrays: bytes,
    updates: int = 0,
) -> bytes:  # fmt: skip
    head = struct.pack("<i7i", 0, len(nodes), len(layers), *shape, 1, 0) + bytes(31 * 4)
    structure = b"".join([*map(text, nodes), *layers])
    return head + structure + struct.pack("<qQ", updates, len(arrays)) + arrays


CONFIGURATION = """
netconfig = start
layer[0->a,b] = split
layer[a->c] = conv:cv
  nchannel = 4
  kernel_height = 2
  kernel_width = 3
  ngroup = 2
layer[b->d] = share[cv]
layer[c->c2] = prelu:p
layer[c2->e] = batch_norm:bn
layer[e->f] = flatten
layer[d->g] = flatten
layer[f,g->h] = concat
layer[h->i] = fullc
  nhidden = 3
  no_bias = 1
layer[i->i] = bias:shift
layer[i->i] = softmax
netconfig = end
input_shape = 2,3,4
batch_size = 2
eta = 0.1
lr:schedule = factor
lr:step = 100
"""
"""A network with each kind of layer that holds something."""

NODES = ["in", "a", "b", "c", "d", "c2", "e", "f", "g", "h", "i"]
LAYERS = [
    layer("split", [0], [1, 2]),
    layer("conv", [1], [3], "cv"),
    layer("share", [2], [4], "", 1),
    layer("prelu", [3], [5], "p"),
    layer("batch_norm", [5], [6], "bn"),
    layer("flatten", [6], [7]),
    layer("flatten", [4], [8]),
    layer("concat", [7, 8], [9]),
    layer("fullc", [9], [10]),
    layer("bias", [10], [10], "shift"),
    layer("softmax", [10], [10]),
]


def drawn(seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of the network, in the form and the order in which they are written."""
    draw = np.random.default_rng(seed)
    shapes = {
        "conv": (2, 2, 6), "conv bias": (4,), "slope": (4,), "gamma": (4,), "beta": (4,),
        "mean": (4,), "variance": (4,), "full": (3, 32), "full bias": (3,), "shift": (3,),
    }  # fmt: skip
    found = {name: draw.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    found["variance"] = np.abs(found["variance"]) + 0.5
    return found


def content(updates: int = 250, moves: bool = True, layers: Sequence[bytes] = LAYERS) -> bytes:
    """A model of `CONFIGURATION`. Without `moves` its batch_norm has no running statistics."""
    parts = []
    for name, value in drawn().items():
        if moves or name not in ("mean", "variance"):
            parts += [SETTINGS] if name in ("conv", "full", "shift") else []
            parts.append(array(value))
    return model(NODES, layers, (2, 3, 4), b"".join(parts), updates)
