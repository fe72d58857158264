"""Many batch sizes through one hybridized network: whether the programs that serve them all are as
quick as that of a network which has only ever seen one size."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from inputs import dense_layers, normal
from turns import Times, take_turns
from workloads import Contestant, gluon_network

from tigon import gluon, nd
from tigon.gluon import nn

LAYERS = (512, 256, 128, 2)
SIZES = (
    *(1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 19, 23, 27, 32),
    *(37, 41, 48, 55, 64, 71, 80, 96, 100, 113, 128, 150, 177, 200),
)


NAME = f"{len(SIZES)} batch sizes through one network {'-'.join(map(str, LAYERS))}"


def measure(rounds: int, sizes: tuple[int, ...] = SIZES) -> dict[int, tuple[Times, Times]]:
    """By batch size: of the network that they all go through, and of one of its own, which has the
    same parameters, so that their place in memory makes no difference."""
    shared = gluon_network(dense_layers(LAYERS))
    shared.hybridize()
    inputs = {size: nd.array(normal(size, LAYERS[0])) for size in sizes}
    for x in inputs.values():
        shared(x).wait_to_read()
    found = {}
    for size, x in inputs.items():
        own = _like(shared)
        own.hybridize()
        np.testing.assert_allclose(shared(x).asnumpy(), own(x).asnumpy(), rtol=1e-4, atol=1e-4)
        nets = {"shared": _contestant(shared, x), "own": _contestant(own, x)}
        times = take_turns(nets, rounds, 0.01, disturbed=math.inf)
        found[size] = times["shared"], times["own"]
    return found


def _like(net: gluon.HybridBlock) -> gluon.HybridBlock:
    made = nn.HybridSequential()
    for layer in net:
        outputs, inputs = layer.weight.shape
        activation = "relu" if layer.act is not None else None
        made.add(nn.Dense(outputs, activation, in_units=inputs, params=layer.params))
    return made


def _contestant(net: gluon.HybridBlock, x: nd.NDArray) -> Contestant:
    call: partial[Any] = partial(net, x)
    return Contestant(lambda: call().wait_to_read(), call)


def lines(found: dict[int, tuple[Times, Times]]) -> list[str]:
    """The ratios, the worst first."""
    if not found:
        return []
    ratios = ratios_of(found)
    worst = sorted(ratios, key=lambda size: -ratios[size])[:3]
    middle = float(np.median(list(ratios.values())))
    told = ", ".join(f"{ratios[size]:.2f} at {size}" for size in worst)
    return [
        f"- {NAME}, from {min(found)} to {max(found)}, each against a network that has only seen "
        f"that size: {middle:.2f} of its time in the median, at worst {told}."
    ]


def ratios_of(found: dict[int, tuple[Times, Times]]) -> dict[int, float]:
    """By batch size, the time of the shared network over that of one of its own."""
    return {size: shared.over(own) for size, (shared, own) in found.items()}
