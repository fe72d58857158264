"""Damaged files of cxxnet: `python -m tests.readers.hostile "cxxnet models" 100000 7`."""

from __future__ import annotations

import random
import re
import warnings

from tests.contrib import cxxnet_models
from tests.readers.hostile import Case, Hostile, mutated_bytes
from tigon.contrib import cxxnet
from tigon.contrib.cxxnet.models import Model, arrays_for

MNIST = """
data = train
iter = mnist
    path_img = "images"
    path_label = "labels"
    shuffle = 1
    {flat}
iter = threadbuffer
iter = end
eval = test
iter = mnist
    path_img = images
    path_label = labels
    {flat}
iter = end
netconfig=start
{layers}
layer[+1:out] = fullc:out
  nhidden = 2
layer[+0] = softmax
netconfig=end
batch_size = 20
input_shape = {shape}
num_round = 6
max_round = 5
random_type = xavier
eta = 0.5
momentum = 0.9
bias:wd = 0.01
metric[label] = error
metric = rec@1
"""

WORDS = ["=", "\n", "[", "]", "->", ",", "+1", "+0", ":", "#", '"', "'", "0", "-1", "1e999", "nan",
         "9" * 5000, "share[f]", "layer[+1] = fullc", "iter = end", "netconfig = end", "\x00", "ü",
         "nchannel = 2147483647", "kernel_size = 0", "stride = 2147483647", "label_vec[0,9) = l",
         "[" * 3000, "layer[0->" + "a," * 2000 + "b] = split"]  # fmt: skip

FUZZED = MNIST.format(
    flat="", shape="2,6,6",
    layers="layer[0->1] = conv:c\nnchannel = 2\nkernel_size = 3\npad = 1\nlayer[1->2,3] = split\n"
    "layer[2->4] = batch_norm\nlayer[3->5] = share[c]\nlayer[4,5->6] = concat\n"
    "layer[+1] = max_pooling\nkernel_size = 2\n"
    "stride=2\nlayer[+1] = lrn\nalpha=1\nbeta=1\nlayer[+1] = insanity\ncalm_end=9\n"
    "layer[+1:f] = flatten\nlayer[f->f] = bias:b\nlr:schedule = expdecay",
)  # fmt: skip


def mutated(text: str, draw: random.Random) -> bytes:
    content = text.encode()
    for _ in range(draw.randint(1, 3)):
        place, other = draw.randrange(len(content) + 1), draw.randrange(len(content) + 1)
        kind = draw.randrange(6)
        if kind == 0:
            content = content[:place] + draw.choice(WORDS).encode() + content[place:]
        elif kind == 1:
            content = content[:place] + content[place + draw.randint(1, 20) :]
        elif kind == 2:
            lines = content.splitlines(keepends=True)
            draw.shuffle(lines)
            content = b"".join(lines[: draw.randint(1, len(lines))])
        elif kind == 3:
            content = content[:place] + content[other : other + 30] + content[place:]
        elif kind == 4 and place < len(content):
            content = content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :]
        else:
            content = (
                content[:place] + str(draw.choice([0, 1, 2, 7, 2**31])).encode() + content[place:]
            )
        if not content:
            return b""
    return content


def read_configuration(content: bytes) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*settings that cxxnet does not know")
        cxxnet.loads(content, "evil")


NETWORK = cxxnet.loads(cxxnet_models.CONFIGURATION)
SHAPES = {name: own.shape for name, own in NETWORK._built.tensors.items()}
GOOD = [cxxnet_models.content(), cxxnet_models.content(moves=False)]


def read_model(content: bytes) -> None:
    layers = NETWORK.configuration.layers
    arrays_for(Model(content, "evil"), layers, NETWORK.input_shape, SHAPES, by_name=True)
    arrays_for(Model(content, "evil"), layers, NETWORK.input_shape, SHAPES, by_name=False)


def draw_configuration(draw: random.Random) -> Case:
    return read_configuration, mutated(FUZZED, draw)


def draw_model(draw: random.Random) -> Case:
    return read_model, mutated_bytes(draw.choice(GOOD), draw)


HOSTILE = {
    "configurations": Hostile(draw_configuration, re.compile(r"evil: line \d+: ")),
    "models": Hostile(draw_model, re.compile(r"evil: at byte \d+: "), 1 << 16),
}
