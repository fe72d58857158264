"""What a configuration does not set has cxxnet's default, and each setting counts: a row each."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tigon.contrib import cxxnet
from tigon.ir.graph import Graph

LAYERS = {
    "fullc": "layer[+1:a] = flatten\nlayer[+1:b] = fullc:f\nnhidden = 2",
    "conv": "layer[+1:a] = conv:c\nnchannel = 2\nkernel_size = 2",
    "pool": "layer[+1:a] = max_pooling\nkernel_size = 2",
    "norm": "layer[+1:a] = batch_norm:n",
    "still": "layer[+1:a] = batch_norm_no_ma:n",
    "xelu": "layer[+1:a] = xelu",
    "insanity": "layer[+1:a] = insanity:i",
    "prelu": "layer[+1:a] = prelu:p",
    "lrn": "layer[+1:a] = lrn\nalpha = 0.1\nbeta = 0.5",
    "dropout": "layer[+1:a] = relu\nlayer[+0] = dropout",
    "bias": "layer[+1:a] = flatten\nlayer[+0] = bias:b",
    "softmax": "layer[+1:a] = flatten\nlayer[+0] = softmax",
    "lp": "layer[+1:a] = flatten\nlayer[+0] = lp_loss",
    "l2": "layer[+1:a] = flatten\nlayer[+0] = l2_loss",
}
DEFAULTS = """
fullc init_sigma 0.01 0.02      fullc init_bias 0 1           fullc no_bias 0 1
fullc random_type gaussian uniform                            fullc random_type gaussian kaiming
fullc lr 0.01 0.1               fullc wd 0 0.1                fullc momentum 0.9 0.5
fullc clip_gradient 0 1         fullc lr:schedule constant factor
fullc lr:step 1 2               fullc lr:start_epoch 0 3      fullc lr:gamma 0.5 0.25
fullc lr:alpha 0.5 0.25         fullc lr:factor 0.1 0.5       fullc lr:minimum_lr 0.00001 0.001
fullc momentum_schedule 0 1     fullc base_momentum 0.5 0.6   fullc final_momentum 0.9 0.8
fullc saturation_epoch 0 9      fullc beta1 0.1 0.2           fullc beta2 0.001 0.01
fullc eta 0.01 0.1              fullc wmat:lr 0.01 0.1        fullc bias:wd 0 0.1
conv stride 1 2                 conv pad 0 1                  conv pad_x 0 1
conv pad_y 0 1                  conv ngroup 1 2               conv no_bias 0 1
conv init_sigma 0.01 0.02       pool stride 1 2               pool pad 0 1
norm eps 1e-10 1e-5             norm bn_momentum 0.9 0.5      norm init_slope 1 2
norm init_bias 0 1              still eps 1e-10 1e-5          still init_slope 1 2
xelu b 5 4                      insanity lb 5 4               insanity ub 10 9
insanity calm_start 0 1         insanity calm_end 0 1         prelu init_slope 0.25 0.5
lrn local_size 3 5              lrn knorm 1 2                 dropout threshold 0 0.5
bias init_bias 0 1              softmax grad_scale 1 2        softmax batch_size 100 50
softmax update_period 1 2       softmax num_round 10 9        softmax max_round 2147483647 3
softmax updater sgd nag         softmax target label label    lp p 2 3
lp grad_scale 1 2               l2 grad_scale 1 2
"""
"""Layer, setting, its default, and another value."""
ROWS = [tuple(part.split()) for line in DEFAULTS.strip().splitlines()
        for part in line.split("   ") if part.strip()]  # fmt: skip


def described(layers: str, *settings: str) -> Any:
    """All that is computed and learnt: graph, beginnings, rates, rounds."""
    rest = "\n".join(settings)
    net = cxxnet.loads(
        f"{rest}\nnetconfig = start\n{layers}\nnetconfig = end\ninput_shape = 2,4,6\n"
    )
    said = net.symbol.attr_dict().items()
    begins = {name: own["__init__"] for name, own in said if "__init__" in own}
    rates = {name: dict(vars(own)) for name, own in net._tensors.items()}
    whole = (net.batch_size, net.update_period, net.num_round, type(net.optimizer()))
    return Graph.of(net.symbol._values).key, begins, rates, whole


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_what_is_not_set_has_its_default(row: tuple[str, ...]) -> None:
    kind, name, default, other = row
    found = described(LAYERS[kind])
    assert found == described(LAYERS[kind], f"{name} = {default}")
    assert (found != described(LAYERS[kind], f"{name} = {other}")) == (default != other)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("xavier", f'["uniform", {{"scale": {math.sqrt(3 / (2 * 6 + 2))}}}]'),
     ("kaiming", f'["normal", {{"sigma": {math.sqrt(2 / (2 * 6))}}}]')],
)  # fmt: skip
def test_windows_that_are_no_squares_count_whole(kind: str, wanted: str) -> None:
    layers = (
        "layer[+1:a] = conv:c\nnchannel = 2\nkernel_height = 2\nkernel_width = 3\n"
        f"random_type = {kind}"
    )
    assert described(layers)[1]["c_wmat"] == wanted


def test_what_is_learnt_and_what_only_moves() -> None:
    layers = f"{LAYERS['norm']}\nlayer[+1:b] = insanity:i\nlayer[+1:c] = prelu:p"
    net = cxxnet.loads(f"netconfig=start\n{layers}\nnetconfig=end\ninput_shape=2,4,6")
    assert net.parameters == ["n_wmat", "n_bias", "p_bias"]
    assert net.block().params.keys() == {
        *net.parameters,
        "n_moving_mean",
        "n_moving_var",
        "i_steps",
    }
