"""Every option of the recurrent layers, at another value than its default, against numpy."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, nd
from tigon.gluon import rnn

Array = np.ndarray
RANDOM = np.random.RandomState(3)
STEPS, BATCH, SIZE = 3, 2, 4


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def step(kind: str, o: dict[str, Any], w: dict[str, Array], x: Array, h: Array, c: Array) -> Any:
    """One step of one layer in one direction: output and cell."""
    i2h, h2h = x @ w["i2h_weight"].T + w["i2h_bias"], h @ w["h2h_weight"].T + w["h2h_bias"]
    if kind == "RNN":
        total = i2h + h2h
        return (np.tanh(total) if o.get("activation") == "tanh" else np.maximum(total, 0)), c
    if kind == "GRU":
        (ri, zi, ni), (rh, zh, nh) = np.split(i2h, 3, 1), np.split(h2h, 3, 1)
        update = sigmoid(zi + zh)
        return (1 - update) * np.tanh(ni + sigmoid(ri + rh) * nh) + update * h, c
    i, f, g, out = np.split(i2h + h2h, 4, 1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    if o.get("state_clip_nan"):
        c = np.where(np.isnan(c), 0, c)
    if o.get("state_clip_min") is not None:
        c = np.clip(c, o["state_clip_min"], o["state_clip_max"])
    h = sigmoid(out) * np.tanh(c)
    return (h @ w["h2r_weight"].T if o.get("projection_size") else h), c


def run(kind: str, o: dict[str, Any], layer: Any, x: Array, lengths: Any) -> Array:
    ways = "lr" if o.get("bidirectional") else "l"
    for number in range(o.get("num_layers", 1)):
        parts = []
        for way in ways:
            start = f"{way}{number}_"
            w = {
                name[len(start) :]: param.data().asnumpy()
                for name, param in layer._reg_params.items()
                if name.startswith(start)
            }
            found = np.zeros((STEPS, BATCH, o.get("projection_size") or o["hidden_size"]))
            for row in range(BATCH):
                count = STEPS if lengths is None else int(lengths[row])
                h = np.zeros((1, found.shape[2]))
                c = np.zeros((1, o["hidden_size"]))
                for t in range(count) if way == "l" else reversed(range(count)):
                    h, c = step(kind, o, w, x[t, row : row + 1], h, c)
                    found[t, row] = h[0]
            parts.append(found)
        x = np.concatenate(parts, 2)
    return x


COMMON: list[dict[str, Any]] = [
    {"hidden_size": 3},
    {"hidden_size": 2, "num_layers": 2, "bidirectional": True, "layout": "NTC"},
    {
        "hidden_size": 2,
        "input_size": SIZE,
        "dtype": "float64",
        "use_sequence_length": True,
        "i2h_weight_initializer": mx.init.Normal(2),
        "h2h_weight_initializer": mx.init.Normal(0.5),
        "i2h_bias_initializer": "ones",
        "h2h_bias_initializer": mx.init.Constant(-0.5),
    },
]
CASES: list[tuple[str, dict[str, Any]]] = [
    *[(kind, options) for kind in ("RNN", "LSTM", "GRU") for options in COMMON],
    ("RNN", {"hidden_size": 2, "activation": "tanh"}),
    ("LSTM", {"hidden_size": 3, "projection_size": 2, "h2r_weight_initializer": mx.init.Normal(1)}),
    ("LSTM", {"hidden_size": 3, "state_clip_min": -0.05, "state_clip_max": 0.02}),
    (
        "LSTM",
        {"hidden_size": 3, "state_clip_min": -1.0, "state_clip_max": 1.0, "state_clip_nan": True},
    ),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_formula(number: int) -> None:
    kind, options = CASES[number]
    layer = getattr(rnn, kind)(**options)
    layer.initialize(mx.init.Normal(1))
    x = RANDOM.randn(STEPS, BATCH, SIZE)
    given = np.swapaxes(x, 0, 1) if options.get("layout") == "NTC" else x
    dtype = options.get("dtype", "float32")
    lengths = np.array([STEPS, 1]) if options.get("use_sequence_length") else None
    more = {} if lengths is None else {"sequence_length": nd.array(lengths, dtype="int32")}
    for hybridize in (False, True):
        layer.hybridize(hybridize)
        y = layer(nd.array(given, dtype=dtype), **more)
        found = y.asnumpy()
        found = np.swapaxes(found, 0, 1) if options.get("layout") == "NTC" else found
        assert y.dtype == np.dtype(dtype)
        expected = run(kind, options, layer, x, lengths)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_dropout_lies_between_the_layers(kind: str) -> None:
    layer = getattr(rnn, kind)(4, num_layers=2, dropout=0.5)
    layer.initialize()
    x = nd.ones((STEPS, BATCH, SIZE))
    quiet = layer(x).asnumpy()
    np.testing.assert_array_equal(layer(x).asnumpy(), quiet)
    mx.random.seed(1)
    with autograd.record():
        one, other = layer(x).asnumpy(), layer(x).asnumpy()
    assert (one != other).any() and (one != quiet).any()
    single = getattr(rnn, kind)(4, dropout=0.5)
    single.initialize()
    with autograd.record():
        np.testing.assert_array_equal(single(x).asnumpy(), single(x).asnumpy())


def test_numbers_that_are_none_are_cut_off() -> None:
    weights = {"i2h_weight_initializer": mx.init.Constant(np.nan)}
    for clips in (False, True):
        limits = {"state_clip_min": -1.0, "state_clip_max": 1.0} if clips else {}
        layer = rnn.LSTM(2, state_clip_nan=clips, input_size=1, **limits, **weights)
        layer.initialize()
        begin = [nd.zeros((1, 1, 2)), nd.zeros((1, 1, 2))]
        _, (_, cell) = layer(nd.ones((1, 1, 1)), begin)
        assert np.isnan(cell.asnumpy()).all() != clips


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_no_option_is_left_at_its_default(kind: str) -> None:
    for name, parameter in inspect.signature(getattr(rnn, kind)).parameters.items():
        values = [options[name] for other, options in CASES if other == kind and name in options]
        elsewhere = name in ("prefix", "params", "dropout")
        assert elsewhere or any(v is not parameter.default for v in values), f"no case gives {name}"
