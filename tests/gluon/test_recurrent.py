"""Recurrent layers and cells: every cell over steps, by itself and in graphs, in all layouts;
layers against their cells; parameters in files; refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.base import TigonError
from tigon.gluon import contrib, rnn
from tigon.runtime import stats

Make = Callable[[], rnn.RecurrentCell]


def stacked(kind: Any) -> Any:
    stack = kind()
    for cell in (rnn.LSTMCell(3), rnn.DropoutCell(0.5), rnn.GRUCell(2)):
        stack.add(cell)
    return stack


CELLS: dict[str, tuple[Make, int]] = {
    "rnn": (lambda: rnn.RNNCell(3), 2),
    "relu": (lambda: rnn.RNNCell(3, activation="relu"), 2),
    "own activation": (lambda: rnn.RNNCell(3, activation=gluon.nn.LeakyReLU(0.1)), 2),
    "lstm": (lambda: rnn.LSTMCell(3), 2),
    "gru": (lambda: rnn.GRUCell(3), 2),
    "lstmp": (lambda: contrib.rnn.LSTMPCell(3, 2), 2),
    "stack": (lambda: stacked(rnn.SequentialRNNCell), 2),
    "hybrid stack": (lambda: stacked(rnn.HybridSequentialRNNCell), 2),
    "residual": (lambda: rnn.ResidualCell(rnn.GRUCell(2)), 2),
    "zoneout": (lambda: rnn.ZoneoutCell(rnn.LSTMCell(3), 0.5, 0.5), 2),
    "variational": (lambda: contrib.rnn.VariationalDropoutCell(rnn.GRUCell(3), 0.3, 0.3, 0.3), 2),
    "inputs dropped": (lambda: contrib.rnn.VariationalDropoutCell(rnn.GRUCell(3), 0.3), 2),
    "both ways": (lambda: rnn.BidirectionalCell(rnn.GRUCell(3), rnn.LSTMCell(2)), 2),
    "modified within": (
        lambda: rnn.ResidualCell(rnn.ZoneoutCell(rnn.RNNCell(2), zoneout_states=0.2)),
        2,
    ),
}
HYBRID = [name for name in CELLS if name != "stack"]
CONVOLUTIONS = [name for name in contrib.rnn.__all__ if name.startswith("Conv")]


def made(name: str) -> Any:
    cell = CELLS[name][0]()
    mx.random.seed(1)
    cell.initialize(mx.init.Uniform(1))
    return cell


def inputs(layout: str = "NTC", batch: int = 2, length: int = 4) -> nd.NDArray:
    x = np.random.RandomState(0).uniform(-1, 1, (batch, length, 2))
    return nd.array(x if layout == "NTC" else x.swapaxes(0, 1))


def close(one: Any, other: Any) -> None:
    np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("lengths", [None, [1, 4]])
def test_layouts_and_forms_hold_the_same(name: str, lengths: Any) -> None:
    cell = made(name)
    valid = None if lengths is None else nd.array(lengths)
    whole, states = cell.unroll(4, inputs(), merge_outputs=True, valid_length=valid)
    steps, _ = cell.unroll(4, inputs(), merge_outputs=False, valid_length=valid)
    given = list(nd.split(inputs(), num_outputs=4, axis=1, squeeze_axis=True))
    forms = [
        cell.unroll(4, inputs("TNC"), layout="TNC", merge_outputs=True, valid_length=valid),
        cell.unroll(4, given, merge_outputs=True, valid_length=valid),
        cell.unroll(
            4, inputs(), cell.begin_state(batch_size=2), merge_outputs=True, valid_length=valid
        ),
    ]
    assert isinstance(steps, list) and len(steps) == 4
    close(nd.stack(*steps, axis=1), whole)
    close(forms[0][0].swapaxes(0, 1), whole)
    close(forms[1][0], whole)
    close(forms[2][0], whole)
    assert [state.shape for state in states] == [info["shape"] for info in cell.state_info(2)]
    for state, again in zip(states, forms[2][1], strict=True):
        close(state, again)


@pytest.mark.parametrize("name", CELLS)
def test_lengths_end_sequences(name: str) -> None:
    cell = made(name)
    valid = nd.array([2, 4])
    whole, states = cell.unroll(4, inputs(), merge_outputs=True, valid_length=valid)
    assert not whole[0, 2:].asnumpy().any()
    alone, last = cell.unroll(2, inputs()[:1, :2], merge_outputs=True)
    close(whole[:1, :2], alone)
    for state, own in zip(states, last, strict=True):
        close(state[:1], own)


class Unrolled(gluon.HybridBlock):
    def __init__(self, cell: Any, length: int) -> None:
        super().__init__()
        self.cell, self.length = cell, length

    def hybrid_forward(self, F: Any, x: Any, lengths: Any = None) -> Any:
        outputs, states = self.cell.unroll(self.length, x, merge_outputs=True, valid_length=lengths)
        return [outputs, *states]


@pytest.mark.parametrize("name", HYBRID)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("lengths", [None, [3, 4]])
def test_graphs_hold_what_arrays_compute(name: str, training: bool, lengths: Any) -> None:
    net = Unrolled(made(name), 4)
    given = [inputs()] + ([] if lengths is None else [nd.array(lengths)])
    given[0].attach_grad()

    def run() -> list[np.ndarray]:
        mx.random.seed(3)
        with autograd.record(train_mode=training):
            results = net(*given)
            total = sum((result * result).sum() for result in results)
        total.backward()
        slopes = [p.grad().asnumpy() for p in net.collect_params().values()]
        return [*(r.asnumpy() for r in results), given[0].grad.asnumpy(), *slopes]

    run()
    plain = run()
    net.hybridize(strict=True)
    for _ in range(2):
        for one, other in zip(run(), plain, strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("last", [False, True])
def test_convolutional_cells(name: str, last: bool) -> None:
    dims = int(name[4])
    spatial = (6, 5, 4)[:dims]
    layout = {1: "NCW", 2: "NCHW", 3: "NCDHW"}[dims]
    shape = (2, *spatial)
    first = getattr(contrib.rnn, name)(shape, 3, 3, 3, i2h_pad=1, prefix="c_")
    mx.random.seed(1)
    first.initialize(mx.init.Uniform(1))
    x = nd.array(np.random.RandomState(0).uniform(-1, 1, (2, 4, *shape)))
    outputs, states = first.unroll(4, x, merge_outputs=True)
    assert outputs.shape == (2, 4, 3, *spatial)
    assert [state.shape for state in states] == [(2, 3, *spatial)] * len(first.state_info())
    if last:
        layout = layout.replace("C", "") + "C"
        cell = getattr(contrib.rnn, name)(
            (*spatial, 2), 3, 3, 3, i2h_pad=1, conv_layout=layout, prefix="c_"
        )
        cell.initialize()
        for key, parameter in first.collect_params().items():
            value = parameter.data()
            if value.ndim > 1:
                value = value.transpose((0, *range(2, value.ndim), 1))
            cell.collect_params()[key].set_data(value)
        moved = x.transpose((0, 1, *range(3, x.ndim), 2))
        back = cell.unroll(4, moved, merge_outputs=True)[0]
        np.testing.assert_allclose(
            np.moveaxis(back.asnumpy(), -1, 2), outputs.asnumpy(), rtol=1e-5, atol=1e-5
        )


LAYERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "rnn_relu": (rnn.RNN, lambda *a, **k: rnn.RNNCell(*a, activation="relu", **k)),
    "rnn_tanh": (lambda *a, **k: rnn.RNN(*a, activation="tanh", **k), rnn.RNNCell),
    "lstm": (rnn.LSTM, rnn.LSTMCell),
    "gru": (rnn.GRU, rnn.GRUCell),
    "lstmp": (
        lambda *a, **k: rnn.LSTM(*a, projection_size=2, **k),
        lambda size, **k: contrib.rnn.LSTMPCell(size, 2, **k),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    "both, lengths, hybridized",
    [(False, None, False), (False, [2, 4], True), (True, None, True), (True, [2, 4], False)],
)
def test_layers_agree_with_their_cells(
    name: str, both: bool, lengths: Any, hybridized: bool
) -> None:
    """Each two of these options together."""
    kind, cell_kind = LAYERS[name]
    layer = kind(
        3, num_layers=2, layout="NTC", bidirectional=both, prefix="x_",
        use_sequence_length=lengths is not None,
    )  # fmt: skip
    mx.random.seed(2)
    layer.initialize(mx.init.Uniform(1))
    layer.hybridize(hybridized, strict=True)
    stack = rnn.SequentialRNNCell()
    for number in range(2):
        cells = [cell_kind(3, prefix=f"x_{side}{number}_") for side in "lr"[: 1 + both]]
        stack.add(rnn.BidirectionalCell(*cells) if both else cells[0])
    stack.initialize()
    x = inputs()
    valid = None if lengths is None else nd.array(lengths)
    begin = layer.begin_state(batch_size=2)
    layer(x, begin, *([] if valid is None else [valid]))
    stack.unroll(4, x)
    theirs = stack.collect_params()
    assert sorted(theirs) == sorted(layer.collect_params())
    for key, parameter in layer.collect_params().items():
        theirs[key].set_data(parameter.data())
    found = []
    for run in (
        lambda: layer(x, begin, *([] if valid is None else [valid])),
        lambda: stack.unroll(4, x, merge_outputs=True, valid_length=valid),
    ):
        with autograd.record():
            outputs, states = run()
            total = (outputs * outputs).sum() + sum(state.sum() for state in states)
        total.backward()
        block = layer if not found else stack
        grads = {key: p.grad() for key, p in block.collect_params().items()}
        found.append((outputs, states, grads))
    (own, last, slopes), (wanted, states, others) = found
    close(own, wanted)
    count = len(last)
    for number, state in enumerate(last):
        for row in range(state.shape[0]):
            close(state[row], states[row * count + number])
    for key, slope in slopes.items():
        np.testing.assert_allclose(
            slope.asnumpy(), others[key].asnumpy(), rtol=2e-5, atol=2e-5, err_msg=key
        )
    if valid is None:
        close(layer(x), own)


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_go_through_files(name: str, tmp_path: Path) -> None:
    def fresh(prefix: str) -> Any:
        return LAYERS[name][0](3, num_layers=2, bidirectional=True, input_size=2, prefix=prefix)

    layer, other = fresh("a_"), fresh("b_")
    layer.initialize(mx.init.Uniform(1))
    path = str(tmp_path / "layer.params")
    layer.save_parameters(path)
    other.load_parameters(path)
    x = inputs("TNC")
    close(layer(x), other(x))
    assert "l0_i2h_weight" in nd.load(path) and "r1_h2h_bias" in nd.load(path)
    layer.hybridize()
    layer(x)
    stem = str(tmp_path / "net")
    layer.export(stem)
    imported = gluon.SymbolBlock.imports(f"{stem}-symbol.json", "data", f"{stem}-0000.params")
    close(imported(x), layer(x))
    symbol_file = Path(f"{stem}-symbol.json")
    text = symbol_file.read_text()
    assert '"op": "Concat"' in text
    symbol_file.write_text(text.replace('"op": "Concat"', '"op": "_rnn_param_concat"'))  # MXNet's
    imported = gluon.SymbolBlock.imports(str(symbol_file), "data", f"{stem}-0000.params")
    close(imported(x), layer(x))


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_one_compilation_of_a_layer_serves_all_lengths(name: str) -> None:
    layer = LAYERS[name][0](3, num_layers=2, bidirectional=True, input_size=2)
    layer.initialize()
    layer.hybridize(strict=True)

    def run(length: int) -> None:
        with autograd.record():
            out = layer(nd.ones((length, 5, 2)))
        out.backward()

    for length in (11, 20, 31):
        run(length)
    before = stats()["compilations"]
    for length in (9, 30, 64, 10, 77, 17, 100, 41, 13, 200):
        run(length)
    assert stats()["compilations"] == before


@pytest.mark.parametrize("hybridized", [False, True])
def test_a_layer_learns_with_a_train_step(hybridized: bool) -> None:
    """The sum of a sequence."""
    net = gluon.nn.HybridSequential()
    net.add(rnn.GRU(8, layout="NTC"), gluon.nn.Dense(1, flatten=False))
    mx.random.seed(4)
    net.initialize(mx.init.Xavier())
    loss = gluon.loss.L2Loss()
    x = nd.array(np.random.RandomState(0).uniform(-1, 1, (32, 6, 1)))
    y = nd.cumsum(x, axis=1)
    net(x)
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.02})
    if hybridized:
        step = gluon.TrainStep(net, loss, trainer)
        losses = [float(step(x, y).mean().asscalar()) for _ in range(120)]
    else:
        losses = []
        for _ in range(120):
            with autograd.record():
                value = loss(net(x), y).mean()
            value.backward()
            trainer.step(1)
            losses.append(float(value.asscalar()))
    assert losses[-1] < losses[0] / 20


def test_masks_are_those_of_all_steps() -> None:
    cell = contrib.rnn.VariationalDropoutCell(rnn.RNNCell(50), drop_outputs=0.5, drop_states=0.1)
    cell.initialize(mx.init.Uniform(1))
    with autograd.record():
        outputs, _ = cell.unroll(3, inputs(length=3), merge_outputs=True)
    dropped = outputs.asnumpy() == 0
    assert 0.2 < dropped.mean() < 0.8
    assert (dropped == dropped[:, :1]).all()


def test_what_is_kept_is_of_the_step_before() -> None:
    cell = rnn.ZoneoutCell(rnn.RNNCell(50), zoneout_outputs=0.5)
    cell.initialize(mx.init.Uniform(1))
    with autograd.record():
        outputs = cell.unroll(3, inputs(length=3), merge_outputs=True)[0].asnumpy()
    same = outputs[:, 2] == outputs[:, 1]
    assert 0.2 < same.mean() < 0.8


MEMORIES: dict[str, Callable[[], Any]] = {
    "zoneout": lambda: rnn.ZoneoutCell(rnn.RNNCell(6), zoneout_outputs=0.5),
    "variational": lambda: contrib.rnn.VariationalDropoutCell(rnn.RNNCell(6), 0.5, 0.5, 0.5),
}


@pytest.mark.parametrize("name", MEMORIES)
@pytest.mark.parametrize("resets", [False, True])
def test_single_steps_keep_what_modifiers_keep(name: str, resets: bool) -> None:
    """A hybridized step gives way; a block that goes over steps itself is a graph if it
    resets before and after them."""

    def results(hybridized: bool, whole: bool) -> np.ndarray:
        mx.random.seed(1)
        cell = MEMORIES[name]()
        cell.initialize(mx.init.Uniform(1))
        cell.unroll(1, nd.ones((1, 1, 2)))

        class Steps(gluon.HybridBlock):
            def __init__(self) -> None:
                super().__init__()
                self.cell = cell

            def forward(self, x: Any, state: Any) -> Any:
                if resets:
                    self.cell.reset()
                outputs = []
                for step in range(3):
                    output, (state,) = self.cell(x * (step + 1), [state])
                    outputs.append(output)
                if resets:
                    self.cell.reset()
                return nd.concat(*outputs, dim=0)

        net = Steps()
        if hybridized:
            (net if whole else cell).hybridize(strict=whole and resets)
        mx.random.seed(9)
        rows = []
        for _ in range(3):
            cell.reset()
            with autograd.record():
                rows.append(net(nd.ones((1, 2)), nd.zeros((1, 6))).asnumpy())
        return np.stack(rows)

    plain = results(False, False)
    assert len({row.tobytes() for row in plain}) == 3
    for whole in (False, True):
        if whole and resets:
            found = results(True, whole)
        else:
            with pytest.warns(RuntimeWarning, match="keeps arrays from step to step"):
                found = results(True, whole)
        np.testing.assert_allclose(found, plain, rtol=1e-6)


def test_a_loop_over_a_cell() -> None:
    cell = rnn.LSTMCell(3, input_size=2)
    cell.initialize(mx.init.Uniform(1))
    wanted, states = cell.unroll(4, inputs(), merge_outputs=True)
    for layout in ("NTC", "TNC"):
        begin = cell.begin_state(batch_size=2)
        found, last = contrib.rnn.dynamic_unroll(cell, inputs(layout), begin, layout=layout)
        close(found if layout == "NTC" else found.swapaxes(0, 1), wanted)
        close(last[1], states[1])
    lengths = nd.array([1, 3])
    wanted, states = cell.unroll(4, inputs(), merge_outputs=True, valid_length=lengths)
    found, last = contrib.rnn.dynamic_unroll(
        cell, inputs("TNC"), cell.begin_state(2), valid_length=lengths
    )
    close(found.swapaxes(0, 1), wanted)
    close(last[0], states[0])


def refused(message: str, call: Callable[[], Any]) -> None:
    with pytest.raises(TigonError) as error:
        call()
    assert str(error.value).startswith(message), str(error.value)


def test_what_does_not_fit_is_refused() -> None:
    cell = rnn.LSTMCell(3, input_size=2)
    cell.initialize()
    x = nd.ones((2, 2))
    good = cell.begin_state(batch_size=2)
    refused("LSTMCell: states: expected a list of 2; given 1", lambda: cell(x, good[:1]))
    refused(
        "LSTMCell: states[1]: expected shape (2, 3), float32 like inputs; given (1, 3), float32",
        lambda: cell(x, [good[0], nd.zeros((1, 3))]),
    )
    refused(
        "LSTMCell: states[0]: expected shape (2, 3), float32 like inputs; given (2, 3), float64",
        lambda: cell(x, [good[0].astype("float64"), good[1]]),
    )
    refused(
        "LSTMCell: inputs: expected 3 steps along axis 1 of layout NTC; given shape (2, 4, 2)",
        lambda: cell.unroll(3, inputs()),
    )
    refused(
        "LSTMCell: inputs: expected 3 arrays, one for each step; given 1",
        lambda: cell.unroll(3, [x]),
    )
    refused("LSTMCell: length: expected a number", lambda: cell.unroll(0, inputs()))
    refused("LSTMCell: layout: expected 'NTC'", lambda: cell.unroll(4, inputs(), layout="NCT"))
    with pytest.raises(IndexError, match=r"LSTMCell: valid_length: expected 0 to 4.* given 5"):
        cell.unroll(4, inputs(), merge_outputs=True, valid_length=nd.array([1, 5]))[0].asnumpy()
    residual = rnn.ResidualCell(cell)
    refused("LSTMCell: 'lstm", lambda: cell.begin_state(batch_size=1))
    refused("LSTMCell: 'lstm", lambda: rnn.ZoneoutCell(cell))
    both = rnn.BidirectionalCell(rnn.GRUCell(2), rnn.GRUCell(2))
    refused("BidirectionalCell: has no single steps", lambda: both(x, []))
    refused("ZoneoutCell: BidirectionalCell has no", lambda: rnn.ZoneoutCell(both))
    assert repr(residual) == "ResidualCell(LSTMCell(2 -> 12))"
    layer = rnn.LSTM(3, input_size=2)
    layer.initialize()
    refused("LSTM: states: expected 2 of them; given 1", lambda: layer(inputs("TNC"), good[:1]))
    refused("RNN: state: expected shape (1, 2, 3)", lambda: layer(inputs("TNC"), good))
    refused("LSTM: inputs: expected three axes", lambda: layer(nd.ones((2, 2))))
    refused("LSTM: layout: expected 'TNC' or 'NTC'", lambda: rnn.LSTM(3, layout="CNT"))
    refused(
        "LSTM: sequence_length is given although",
        lambda: layer(inputs("TNC"), None, nd.ones(2)),
    )
    refused("RNN: activation: expected 'relu'", lambda: rnn.RNN(3, activation="sigmoid"))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("layout", ["NTC", "TNC"])
def test_a_layer_of_a_file_takes_an_empty_batch(kind: str, layout: str, tmp_path: Any) -> None:
    layer = getattr(rnn, kind)(3, layout=layout)
    layer.initialize()
    layer.hybridize()
    x = nd.ones((2, 2, 4))
    layer(x)
    files = layer.export(tmp_path / "layer")
    block = gluon.SymbolBlock.imports(files[0], ["data"], files[1])
    empty = (0, 2, 4) if layout == "NTC" else (2, 0, 4)
    for net in (layer, block):
        assert net(x).shape == (2, 2, 3)
        assert net(nd.zeros(empty)).shape == (*empty[:2], 3)
