"""RNN beyond its record: run-time extents, one compilation for all lengths, drops, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.ops_nn.checks import arrays_of
from tigon import autograd, gluon, nd, sym
from tigon.base import TigonError
from tigon.ops import get
from tigon.ops.nn.recurrent import GATES, RNNAttrs, parameter_count
from tigon.runtime import stats

RNN = get("RNN")
SAMPLES = [sample for sample in RNN.samples if not sample[-1].get("training")]


def given(
    mode: str, length: int = 3, batch: int = 2, features: int = 3, size: int = 2, **fields: Any
) -> tuple[list[nd.NDArray], dict[str, Any]]:
    """Operands and attributes."""
    fields = {"num_layers": 1, **fields, "mode": mode, "state_size": size}
    attrs = RNNAttrs(**fields)
    random = np.random.RandomState(length)
    rows = attrs.num_layers * attrs.directions
    shapes = [(length, batch, features), (parameter_count(attrs, features),)]
    shapes.append((rows, batch, attrs.result_size))
    if mode == "lstm":
        shapes.append((rows, batch, size))
    return [nd.array(random.uniform(-1, 1, shape)) for shape in shapes], fields


def expected(arrays: list[nd.NDArray], fields: dict[str, Any]) -> tuple[np.ndarray, ...]:
    return RNN.oracle(RNN.make_attrs(fields), *[array.asnumpy() for array in arrays])


def first(result: Any) -> nd.NDArray:
    return result[0] if isinstance(result, list) else result


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_three_ways_of_running_agree(number: int) -> None:
    arrays, fields = arrays_of(RNN, SAMPLES[number], "float32")
    operands = [nd.array(a, dtype=a.dtype) for a in arrays]
    wanted = RNN.oracle(RNN.make_attrs(fields), *arrays)
    names = [f"x{i}" for i in range(len(arrays))]
    symbol = sym.RNN(*map(sym.var, names), **fields)
    bound = symbol.bind(mx.cpu(), dict(zip(names, operands, strict=True)))
    jitted = mx.jit(lambda *given: nd.RNN(*given, **fields))
    for results in (nd.RNN(*operands, **fields), bound.forward(), jitted(*operands)):
        results = results if isinstance(results, (list, tuple)) else [results]
        for result, exact in zip(results, wanted, strict=True):
            np.testing.assert_allclose(result.asnumpy(), exact, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("mode", GATES)
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("hybridized", [False, True])
def test_one_compilation_serves_all_lengths(mode: str, recorded: bool, hybridized: bool) -> None:
    def call(*operands: nd.NDArray) -> Any:
        return nd.RNN(*operands, mode=mode, state_size=2, num_layers=2, bidirectional=True)

    function = mx.jit(call) if hybridized else call

    def run(length: int) -> None:
        arrays, fields = given(mode, length, num_layers=2, bidirectional=True)
        for array in arrays:
            array.attach_grad()
        if recorded:
            with autograd.record():
                out = function(*arrays)
            out.backward()
            slope = arrays[1].grad.asnumpy()
            assert np.isfinite(slope).all() and slope.any()
        else:
            out = function(*arrays)
        np.testing.assert_allclose(out.asnumpy(), expected(arrays, fields)[0], rtol=2e-6, atol=2e-6)

    for length in (11, 20, 31):  # the second one says which extents vary
        run(length)
    before = stats()
    for length in (9, 30, 64, 10, 77, 17, 100, 41, 13, 200):
        run(length)
    after = stats()
    assert after["compilations"] == before["compilations"]
    # A product of few rows has tiles of another form than one of many.
    assert after["kernel_compilations"] - before["kernel_compilations"] <= 6


def test_an_lstm_of_ones_gives_what_mxnet_gives() -> None:
    weights = nd.concat(nd.ones(32), nd.zeros(16), dim=0)
    states = [nd.zeros((1, 1, 2))] * 2
    out, _, cell = nd.RNN(
        nd.ones((1, 1, 2)), weights, *states, mode="lstm", state_size=2, num_layers=1,
        state_outputs=True,
    )  # fmt: skip
    np.testing.assert_allclose(out.asnumpy().reshape(-1), [0.60828] * 2, atol=5e-6)
    np.testing.assert_allclose(cell.asnumpy().reshape(-1), [0.84911] * 2, atol=5e-6)
    shapes, _, _ = sym.RNN(sym.var("x"), mode="lstm", state_size=2, num_layers=1).infer_shape(
        x=(3, 2, 5)
    )
    assert shapes == [(3, 2, 5), (72,), (1, 2, 2), (1, 2, 2)]


@pytest.mark.parametrize("mode", GATES)
def test_lengths_are_those_of_sequences_alone(mode: str) -> None:
    fields = {"bidirectional": True, "state_outputs": True}
    arrays, fields = given(mode, 4, **fields)
    lengths = [1, 3]
    together = nd.RNN(
        *arrays, sequence_length=nd.array(lengths), use_sequence_length=True, **fields
    )
    for i, length in enumerate(lengths):
        alone = [
            arrays[0][:length, i : i + 1], arrays[1], *[s[:, i : i + 1] for s in arrays[2:]]
        ]  # fmt: skip
        own = nd.RNN(*alone, **fields)
        np.testing.assert_allclose(
            together[0][:length, i].asnumpy(), own[0][:, 0].asnumpy(), rtol=2e-6, atol=2e-6
        )
        assert not together[0][length:, i].asnumpy().any()
        for state, last in zip(together[1:], own[1:], strict=True):
            np.testing.assert_allclose(
                state[:, i].asnumpy(), last[:, 0].asnumpy(), rtol=2e-6, atol=2e-6
            )


def test_what_is_dropped_is_between_layers_and_in_training() -> None:
    arrays, fields = given("rnn_tanh", num_layers=2, p=0.5)
    plain = nd.RNN(*arrays, **fields).asnumpy()
    np.testing.assert_allclose(plain, expected(arrays, {**fields, "p": 0.0})[0], rtol=1e-5)
    with autograd.train_mode():
        one, other = (nd.RNN(*arrays, **fields).asnumpy() for _ in range(2))
        alone = nd.RNN(*given("rnn_tanh")[0], **{**fields, "num_layers": 1}).asnumpy()
    assert (one != other).any() and (one != plain).any()
    exact = expected(given("rnn_tanh")[0], given("rnn_tanh")[1])[0]
    np.testing.assert_allclose(alone, exact, rtol=1e-5)


def test_a_cell_that_is_no_number_becomes_the_lower_limit() -> None:
    arrays, fields = given("lstm", lstm_state_clip_min=-0.5, lstm_state_clip_max=0.5)
    arrays[3][0, 0, 0] = np.nan
    clipped = nd.RNN(*arrays, lstm_state_clip_nan=True, state_outputs=True, **fields)
    assert all(np.isfinite(result.asnumpy()).all() for result in clipped)
    assert np.isnan(nd.RNN(*arrays, **fields).asnumpy()).any()


class Layer(gluon.nn.HybridBlock):
    def hybrid_forward(self, F: Any, *arrays: Any) -> Any:
        return F.RNN(*arrays, mode="gru", state_size=2, num_layers=1, use_sequence_length=True)


@pytest.mark.parametrize("length", [4, -1, np.nan])
@pytest.mark.parametrize("hybridized", [False, True])
def test_lengths_beyond_the_steps_are_refused(length: float, hybridized: bool) -> None:
    arrays, _ = given("gru")
    net = Layer()
    net.hybridize(hybridized)
    with pytest.raises(IndexError) as error:
        net(*arrays, nd.array([3, length])).asnumpy()
    shown = "nan, or 9223372036854775807 or more" if np.isnan(length) else length
    assert str(error.value).splitlines()[0] == (
        f"RNN: sequence_length: expected 0 to 3, as many as there are; given {shown}; clip it, or "
        "give more"
    )


REFUSED: dict[str, tuple[str, dict[int, Any], dict[str, Any], str]] = {
    "data": ("gru", {0: (3, 2)}, {}, "data: expected axes (time, batch, features); given shape"),
    "parameters": ("lstm", {1: (57,)}, {}, "parameters: expected shape (56,)"),
    "state": ("gru", {2: (1, 3, 2)}, {}, "state: expected shape (1, 2, 2)"),
    "cell": ("lstm", {3: (1, 2, 3)}, {}, "state_cell: expected shape (1, 2, 2)"),
    "mode": ("gru", {}, {"mode": "sru"}, "mode: expected one of 'rnn_relu', "),
    "size": ("gru", {}, {"state_size": 0}, "state_size: expected at least 1; given 0"),
    "p": ("gru", {}, {"p": 1.5}, "p: expected a probability; given 1.5"),
    "projection": ("gru", {}, {"projection_size": 1}, "projection_size: expected 1 or more, of"),
    "clip": ("lstm", {}, {"lstm_state_clip_min": 0.0}, "lstm_state_clip_min and lstm_state_clip"),
    "limits": (
        "lstm",
        {},
        {"lstm_state_clip_min": 1.0, "lstm_state_clip_max": 0.0},
        "lstm_state_clip_min: expected at most lstm_state_clip_max",
    ),
    "dtype": ("gru", {2: "float64"}, {}, "state: expected float32 like data; given float64"),
    "integers": ("gru", {0: "int32"}, {}, "data: expected floating-point numbers; given int32"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name: str) -> None:
    mode, operands, attributes, message = REFUSED[name]
    arrays, fields = given(mode)
    for place, change in operands.items():
        is_dtype = isinstance(change, str)
        arrays[place] = arrays[place].astype(change) if is_dtype else nd.zeros(change)
    with pytest.raises(TigonError) as error:
        first(nd.RNN(*arrays, **{**fields, **attributes})).asnumpy()
    assert str(error.value).startswith(f"RNN: {message}")


def test_missing_operands_are_named() -> None:
    arrays, fields = given("lstm")
    with pytest.raises(TigonError, match="expected operands data, parameters, state, state_cell"):
        nd.RNN(*arrays[:3], **fields)
    with pytest.raises(TigonError, match=r"sequence_length: expected shape \(2,\)"):
        nd.RNN(*arrays, nd.ones(3), use_sequence_length=True, **fields)


def test_a_loop_over_nothing_that_was_computed() -> None:
    def body(F: Any, x: Any, s: Any) -> Any:
        return F.contrib.foreach(lambda row, s: (row + s, s * 2), x * 2, s)[1]

    net = type("Net", (gluon.nn.HybridBlock,), {"hybrid_forward": lambda _, F, *a: body(F, *a)})()
    net.hybridize()
    for _ in range(2):
        assert net(nd.zeros((0, 2, 3)), nd.ones((2, 3))).asnumpy().tolist() == [[1.0] * 3] * 2
