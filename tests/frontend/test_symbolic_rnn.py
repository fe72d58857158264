"""Symbolic cells against those of Gluon, by the same parameters; fused against unfused; batches of
sentences; checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import gluon, nd, sym
from tigon.base import TigonError
from tigon.gluon import rnn as layers
from tigon.ops.nn.recurrent import GATE_NAMES

rnn = mx.rnn

CELLS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "rnn": (rnn.RNNCell, layers.RNNCell),
    "lstm": (rnn.LSTMCell, layers.LSTMCell),
    "gru": (rnn.GRUCell, layers.GRUCell),
}


def run(symbol: sym.Symbol, arrays: dict[str, nd.NDArray]) -> list[np.ndarray]:
    own = {name: arrays[name] for name in symbol.list_arguments()}
    return [out.asnumpy() for out in symbol.bind(mx.cpu(), own).forward()]


def random_arrays(symbol: sym.Symbol, **shapes: Any) -> dict[str, nd.NDArray]:
    found, _, _ = symbol.infer_shape(**shapes)
    random = np.random.RandomState(0)
    names = symbol.list_arguments()
    return {
        name: nd.array(random.uniform(-1, 1, shape))
        for name, shape in zip(names, found, strict=True)
    }


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("layout", ["NTC", "TNC"])
def test_cells_agree_with_those_of_gluon(name: str, layout: str) -> None:
    symbolic, imperative = CELLS[name]
    outputs, states = symbolic(3, prefix="a_").unroll(
        4, sym.var("x"), layout=layout, merge_outputs=True
    )
    symbol = sym.Group([outputs, *states])
    shape = (2, 4, 5) if layout == "NTC" else (4, 2, 5)
    arrays = random_arrays(symbol, x=shape)
    found = run(symbol, arrays)
    cell = imperative(3, input_size=5, prefix="a_")
    cell.initialize()
    for key, parameter in cell.collect_params().items():
        parameter.set_data(arrays[key])
    wanted, last = cell.unroll(4, arrays["x"], layout=layout, merge_outputs=True)
    for one, other in zip(found, [wanted, *last], strict=True):
        np.testing.assert_allclose(one, other.asnumpy(), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("mode", GATE_NAMES)
@pytest.mark.parametrize("both", [False, True])
def test_fused_and_unfused_agree(mode: str, both: bool) -> None:
    cell = rnn.FusedRNNCell(
        3, num_layers=2, mode=mode, bidirectional=both, get_next_state=True, prefix="f_"
    )
    outputs, states = cell.unroll(4, sym.var("x"), merge_outputs=True)
    fused = sym.Group([outputs, *states])
    arrays = random_arrays(fused, x=(2, 4, 5))
    found = run(fused, arrays)
    stack = cell.unfuse()
    outputs, states = stack.unroll(4, sym.var("x"), merge_outputs=True)
    loose = cell.unpack_weights(arrays)
    assert "f_parameters" not in loose
    packed = stack.pack_weights(loose)
    wanted = run(sym.Group([outputs, *states]), packed)
    np.testing.assert_allclose(found[0], wanted[0], rtol=2e-6, atol=2e-6)
    count = len(found) - 1
    for number in range(len(wanted) - 1):
        kind, row = number % count, number // count
        np.testing.assert_allclose(found[1 + kind][row], wanted[1 + number], rtol=2e-6, atol=2e-6)
    again = cell.pack_weights(stack.unpack_weights(packed))
    assert sorted(again) == sorted(arrays)
    assert (again["f_parameters"].asnumpy() == arrays["f_parameters"].asnumpy()).all()


def test_states_may_be_given() -> None:
    cell = rnn.LSTMCell(3, prefix="l_")
    begin = cell.begin_state(func=sym.var)
    outputs, _ = cell.unroll(2, sym.var("x"), begin_state=begin, merge_outputs=True)
    assert "l_begin_state_1" in outputs.list_arguments()
    stepped, _ = rnn.GRUCell(3)(sym.var("x"), rnn.GRUCell(3).begin_state())
    assert stepped.infer_shape(x=(4, 5))[1] == [(4, 3)]


def modified() -> Any:
    stack = rnn.SequentialRNNCell()
    stack.add(rnn.ZoneoutCell(rnn.LSTMCell(3, prefix="a_"), 0.5, 0.5))
    stack.add(rnn.DropoutCell(0.5))
    stack.add(rnn.ResidualCell(rnn.GRUCell(3, prefix="b_")))
    stack.add(rnn.BidirectionalCell(rnn.RNNCell(2, prefix="c_"), rnn.RNNCell(3, prefix="d_")))
    return stack


def test_cells_of_cells() -> None:
    merged, states = modified().unroll(3, sym.var("x"), merge_outputs=True)
    steps, _ = modified().unroll(3, sym.var("x"), merge_outputs=False)
    arrays = random_arrays(merged, x=(2, 3, 4))
    (whole,) = run(merged, arrays)
    assert whole.shape == (2, 3, 5) and len(states) == 5
    np.testing.assert_allclose(np.stack(run(sym.Group(steps), arrays), axis=1), whole, rtol=1e-6)
    loose = modified().unpack_weights(arrays)
    assert "a_i2h_f_bias" in loose and "b_h2h_z_weight" in loose
    packed = modified().pack_weights(loose)
    assert all((packed[key].asnumpy() == arrays[key].asnumpy()).all() for key in arrays)


def test_how_parameters_begin() -> None:
    outputs, _ = rnn.LSTMCell(2, prefix="l_").unroll(1, sym.var("x"), merge_outputs=True)
    fused, _ = rnn.FusedRNNCell(2, prefix="f_").unroll(1, sym.var("x"), merge_outputs=True)
    hints = {**outputs.attr_dict(), **fused.attr_dict()}
    bias = nd.ones(8)
    mx.init.Zero()(mx.init.InitDesc("l_i2h_bias", hints["l_i2h_bias"]), bias)
    assert bias.asnumpy().tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    flat = nd.zeros(8 * (3 + 2 + 2))
    init = mx.init.Uniform(1)
    init(mx.init.InitDesc("f_parameters", hints["f_parameters"], global_init=init), flat)
    values = flat.asnumpy()
    assert values[:40].std() > 0.3 and values[40:].tolist() == [0, 0, 1, 1, 0, 0, 0, 0] * 2
    again = mx.init.create(mx.init.FusedRNN(mx.init.One(), 2, 1, "gru").dumps())
    flat = nd.zeros(6 * (3 + 2 + 2))
    again("parameters", flat)
    assert flat.asnumpy().tolist() == [1] * 30 + [0] * 12


def test_checkpoints_are_of_single_gates(tmp_path: Path) -> None:
    cell = rnn.FusedRNNCell(3, mode="gru", prefix="f_")
    symbol, _ = cell.unroll(4, sym.var("x"), merge_outputs=True)
    arrays = random_arrays(symbol, x=(2, 4, 5))
    parameters = {"f_parameters": arrays["f_parameters"]}
    prefix = str(tmp_path / "net")
    rnn.do_rnn_checkpoint(cell, prefix, period=2)(0, symbol, parameters, {})
    assert not list(tmp_path.iterdir())
    rnn.do_rnn_checkpoint(cell, prefix, period=2)(1, symbol, parameters, {"m": nd.ones(1)})
    assert "arg:f_l0_i2h_r_weight" in nd.load(f"{prefix}-0002.params")
    read, arguments, auxiliary = rnn.load_rnn_checkpoint(cell, prefix, 2)
    assert list(auxiliary) == ["m"]
    found = run(read, {**arguments, "x": arrays["x"]})
    np.testing.assert_array_equal(found[0], run(symbol, arrays)[0])
    stack = cell.unfuse()
    _, arguments, _ = rnn.load_rnn_checkpoint(stack, prefix, 2)
    unfused, _ = stack.unroll(4, sym.var("x"), merge_outputs=True)
    np.testing.assert_allclose(
        run(unfused, {**arguments, "x": arrays["x"]})[0], found[0], rtol=2e-6, atol=2e-6
    )


@pytest.mark.parametrize("layout", ["NT", "TN"])
def test_sentences_in_buckets(layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.RandomState(0)
    sentences = [list(random.randint(1, 9, n)) for n in random.randint(1, 9, 100)]
    batches = rnn.BucketSentenceIter(sentences, 4, [2, 5, 7], invalid_label=0, layout=layout)
    left_out = sum(len(sentence) > 7 for sentence in sentences)
    assert f"leaves out {left_out} sentences longer than 7" in capsys.readouterr().out
    known = {tuple(sentence) for sentence in sentences}
    for _ in range(2):
        count = 0
        for batch in batches:
            data, labels = (part[0].asnumpy() for part in (batch.data, batch.label))
            assert batch.provide_data[0].shape == data.shape
            if layout == "TN":
                data, labels = data.T, labels.T
            assert data.shape == (4, batch.bucket_key)
            for row, label in zip(data, labels, strict=True):
                assert tuple(row[row > 0].astype(int)) in known
                assert label.tolist() == [*row[1:], 0]
                count += 1
        assert 100 - left_out - 9 <= count <= 100 - left_out
        batches.reset()


def test_default_buckets_and_words() -> None:
    batches = rnn.BucketSentenceIter([[1], [2], [3, 4]], 2)
    assert batches.buckets == [1] and batches.default_bucket_key == 1
    coded, vocab = rnn.encode_sentences([["a", "b"]], start_label=1, invalid_label=0)
    assert coded == [[1, 2]] and vocab == {"\n": 0, "a": 1, "b": 2}
    assert rnn.encode_sentences([["a", "z"]], vocab, unknown_token="b")[0] == [[1, 2]]


def refused(message: str, call: Callable[[], Any]) -> None:
    with pytest.raises(TigonError) as error:
        call()
    assert str(error.value).startswith(message), str(error.value)


def test_what_does_not_fit_is_refused() -> None:
    x = sym.var("x")
    fused = rnn.FusedRNNCell(2, prefix="f_")
    refused("FusedRNNCell: has no single steps", lambda: fused(x, []))
    refused("FusedRNNCell: mode: expected one of", lambda: rnn.FusedRNNCell(2, mode="sru"))
    refused(
        "RNN: parameters: 71 numbers", lambda: fused.unpack_weights({"f_parameters": nd.ones(71)})
    )
    refused("ZoneoutCell: expected a cell with single steps", lambda: rnn.ZoneoutCell(fused))
    cell = rnn.GRUCell(2)
    refused("GRUCell: states: expected a list of 1; given 2", lambda: cell(x, [x, x]))
    rnn.ResidualCell(cell)
    refused("GRUCell: it is the base of a modifier", lambda: cell.begin_state())
    refused("encode_sentences: the word 'z'", lambda: rnn.encode_sentences([["z"]], {"a": 0}))
    refused("BucketSentenceIter: no length has 3", lambda: rnn.BucketSentenceIter([[1]], 3))
    refused(
        "BucketSentenceIter: layout: expected 'NT' or 'TN'",
        lambda: rnn.BucketSentenceIter([[1]], 1, layout="NTC"),
    )
    assert gluon.rnn is layers
