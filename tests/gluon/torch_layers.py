"""Layers of PyTorch and the same ones of Gluon. `recorded()` gives what PyTorch computes, from
`torch_layers.safetensors`; `python -m tests.gluon.torch_layers` writes that anew, with PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tigon import gluon, nd
from tigon.gluon import nn, rnn
from tigon.gluon.utils import torch_names

FILE = Path(__file__).with_suffix(".safetensors")


class Pair(NamedTuple):
    """A layer in both."""

    torch: str
    """An expression over `torch.nn` as `nn`."""
    ours: Callable[[], Any]
    shape: tuple[int, ...]
    """Of the input; of an embedding it is whole numbers below 5."""
    names: Any = torch_names


class Attention(gluon.HybridBlock):
    """Self-attention of (length, batch, width), by MXNet's operators, which hold for each head the
    projections of queries, keys and values side by side."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Dense(3 * width, flatten=False, in_units=width)
        self.out = nn.Dense(width, flatten=False, in_units=width)

    def forward(self, x: Any) -> Any:
        projected = self.project(x)
        scores = nd.contrib.interleaved_matmul_selfatt_qk(projected, heads=self.heads)
        weights = nd.softmax(scores, axis=-1)
        mixed = nd.contrib.interleaved_matmul_selfatt_valatt(projected, weights, heads=self.heads)
        return self.out(mixed)


class GroupNormByChannel(gluon.HybridBlock):
    """`nn.GroupNorm` of Gluon scales groups, PyTorch's scales channels."""

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__()
        self.groups = groups
        self.gamma = gluon.Parameter("gamma", shape=(channels,))
        self.beta = gluon.Parameter("beta", shape=(channels,))

    def forward(self, x: Any) -> Any:
        one, zero = nd.ones((self.groups,)), nd.zeros((self.groups,))
        normed = nd.GroupNorm(x, one, zero, num_groups=self.groups, eps=1e-5)
        axes = (1, -1) + (1,) * (x.ndim - 2)
        return normed * self.gamma.data().reshape(axes) + self.beta.data().reshape(axes)


def by_head(heads: int) -> Callable[[Any], Any]:
    """(queries of all heads, keys, values) as, for each head, its queries, keys and values."""

    def change(array: Any) -> Any:
        width = array.shape[0] // 3
        rest = array.shape[1:]
        apart = array.reshape((3, heads, width // heads, -1))
        return apart.transpose((1, 0, 2, 3)).reshape((3 * width, *rest))

    return change


ATTENTION = {
    "project.weight": ("in_proj_weight", by_head(2)),
    "project.bias": ("in_proj_bias", by_head(2)),
    "out.weight": "out_proj.weight",
    "out.bias": "out_proj.bias",
}

PAIRS: dict[str, Pair] = {
    "Dense": Pair("nn.Linear(3, 4)", lambda: nn.Dense(4, in_units=3, flatten=False), (2, 5, 3)),
    "Conv1D": Pair(
        "nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2)",
        lambda: nn.Conv1D(6, 3, strides=2, padding=1, groups=2, in_channels=4), (2, 4, 7)),
    "Conv2D": Pair(
        "nn.Conv2d(2, 3, (3, 2), dilation=2)",
        lambda: nn.Conv2D(3, (3, 2), dilation=2, in_channels=2), (1, 2, 6, 5)),
    "Conv2DTranspose": Pair(
        "nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)",
        lambda: nn.Conv2DTranspose(
            6, 3, strides=2, padding=1, output_padding=1, groups=2, in_channels=4),
        (1, 4, 3, 3)),
    "BatchNorm": Pair(
        "nn.BatchNorm2d(3, momentum=0.25)", lambda: nn.BatchNorm(in_channels=3, momentum=0.75),
        (4, 3, 2, 2)),
    "LayerNorm": Pair("nn.LayerNorm(4)", lambda: nn.LayerNorm(in_channels=4), (2, 3, 4)),
    "GroupNorm": Pair("nn.GroupNorm(2, 4)", lambda: GroupNormByChannel(2, 4), (2, 4, 3)),
    "InstanceNorm": Pair(
        "nn.InstanceNorm1d(3, affine=True)", lambda: nn.InstanceNorm(in_channels=3), (2, 3, 5)),
    "Embedding": Pair("nn.Embedding(5, 3)", lambda: nn.Embedding(5, 3), (2, 4)),
    "PReLU": Pair("nn.PReLU(3)", lambda: nn.PReLU(in_channels=3), (2, 3, 4)),
    "RNN": Pair("nn.RNN(3, 2)", lambda: rnn.RNN(2, activation="tanh", input_size=3), (4, 2, 3)),
    "LSTM": Pair(
        "nn.LSTM(3, 2, num_layers=2, bidirectional=True)",
        lambda: rnn.LSTM(2, num_layers=2, bidirectional=True, input_size=3), (4, 2, 3)),
    "GRU": Pair(
        "nn.GRU(3, 2, batch_first=True)", lambda: rnn.GRU(2, layout="NTC", input_size=3),
        (2, 4, 3)),
    "MultiheadAttention": Pair(
        "Itself(nn.MultiheadAttention(4, 2))", lambda: Attention(4, 2), (3, 2, 4), ATTENTION),
}  # fmt: skip


def recorded() -> dict[str, dict[str, Any]]:
    """By layer and by name: parameters, `input`, `output`, and what training leaves in states."""
    found: dict[str, dict[str, Any]] = {}
    for name, array in nd.load(str(FILE)).items():
        layer, _, rest = name.partition("/")
        found.setdefault(layer, {})[rest] = array
    return found


def by_torch(torch: Any) -> dict[str, np.ndarray]:
    """The same from PyTorch, with values that are multiples of an eighth."""

    class Itself(torch.nn.Module):
        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Any) -> Any:
            return self.layer(x, x, x, need_weights=False)

    draw = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for name, pair in PAIRS.items():
        layer = eval(pair.torch, {"nn": torch.nn, "Itself": Itself})
        state = {}
        for key, value in layer.state_dict().items():
            if value.dtype.is_floating_point:
                low = 4 if "var" in key else -8
                value = torch.tensor(draw.integers(low, 9, tuple(value.shape)) / 8).float()
            state[key] = value
        layer.load_state_dict(state)
        held = {key.removeprefix("layer."): value for key, value in state.items()}
        arrays.update((f"{name}/{key}", value.numpy().copy()) for key, value in held.items())
        if name == "Embedding":
            x = torch.tensor(draw.integers(0, 5, pair.shape))
        else:
            x = torch.tensor(draw.integers(-8, 9, pair.shape) / 8).float()
        layer.eval()
        out = layer(x)
        out = out[0] if isinstance(out, tuple) else out
        arrays[f"{name}/input"] = x.numpy()
        arrays[f"{name}/output"] = out.detach().numpy()
        if name == "BatchNorm":
            layer.train()
            layer(x)
            for key in ("running_mean", "running_var"):
                arrays[f"{name}/after/{key}"] = layer.state_dict()[key].numpy().copy()
    return arrays


if __name__ == "__main__":
    import torch

    from tigon.export import safetensors

    FILE.write_bytes(safetensors.write(by_torch(torch), {"made by": f"torch {torch.__version__}"}))
    sys.exit(0)
