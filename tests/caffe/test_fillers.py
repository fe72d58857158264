"""Fillers as initializers: Caffe's spreads, and what is said of arrays that they do not fit."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tigon as mx
from tigon import initializer, nd
from tigon.contrib.caffe.fields import SCHEMA
from tigon.contrib.caffe.fillers import CaffeScaled, initializer_of
from tigon.readers.text import read_text

SHAPE = (40, 30, 5, 5)
IN, OUT = 30 * 25, 40 * 25
SPREADS = {
    'type: "uniform" min: -1 max: 3': (1.0, 4 / math.sqrt(12), (-1, 3)),
    'type: "uniform"': (0.5, 1 / math.sqrt(12), (0, 1)),
    'type: "gaussian" mean: 2 std: 0.5': (2.0, 0.5, None),
    'type: "gaussian" std: 0.1': (0.0, 0.1, None),
    'type: "gaussian" sparse: 10': (0.0, math.sqrt(10 / 40), None),
    'type: "xavier"': (0.0, math.sqrt(1 / IN), (-math.sqrt(3 / IN), math.sqrt(3 / IN))),
    'type: "xavier" variance_norm: FAN_OUT': (0.0, math.sqrt(1 / OUT), None),
    'type: "xavier" variance_norm: AVERAGE': (0.0, math.sqrt(2 / (IN + OUT)), None),
    'type: "msra"': (0.0, math.sqrt(2 / IN), None),
    'type: "constant" value: 3': (3.0, 0.0, (3, 3)),
    'type: "constant"': (0.0, 0.0, (0, 0)),
    "value: 2": (2.0, 0.0, (2, 2)),
    "": (7.0, 0.0, (7, 7)),
}


def filled(text: str, shape: tuple[int, ...], name: str = "own_bias") -> np.ndarray:
    chosen = initializer_of(read_text(text, SCHEMA["FillerParameter"], "net"), 7.0)
    array = nd.zeros(shape)
    mx.random.seed(3)
    initializer.Zero()(initializer.InitDesc(name, {"__init__": chosen.dumps()}), array)
    return array.asnumpy()


@pytest.mark.parametrize("text", SPREADS)
def test_spreads_are_those_of_caffe(text: str) -> None:
    """Whatever the array is called, and from the text that symbols carry."""
    mean, deviation, bounds = SPREADS[text]
    found = filled(text, SHAPE)
    assert found.mean() == pytest.approx(mean, abs=0.02 * deviation + 1e-6)
    assert found.std() == pytest.approx(deviation, rel=0.03)
    if bounds is not None:
        assert found.min() >= bounds[0] and found.max() <= bounds[1]
        assert found.max() - found.min() >= 0.99 * (bounds[1] - bounds[0])
    assert np.isclose((found == 0).mean(), 0.75, atol=0.01) == ("sparse" in text)


def test_rows_of_the_unit_ball_and_kernels() -> None:
    rows = filled('type: "positive_unitball"', (6, 3, 2))
    np.testing.assert_allclose(rows.reshape(6, -1).sum(axis=1), 1, rtol=1e-5)
    assert rows.min() >= 0
    kernel = filled('type: "bilinear"', (1, 1, 4, 4))[0, 0]
    np.testing.assert_allclose(kernel[1], np.array([0.25, 0.75, 0.75, 0.25]) * 0.75)
    # An array of one axis: each number comes in alone, all go out.
    bias = filled('type: "xavier"', (4000,))
    assert bias.std() == pytest.approx(1, rel=0.03)
    assert filled('type: "msra" variance_norm: FAN_OUT', (4000,)).std() < 0.03
    assert CaffeScaled("gaussian", "out", 2).dumps() == (
        '["caffescaled", {"rnd_type": "gaussian", "factor_type": "out", "magnitude": 2}]'
    )
