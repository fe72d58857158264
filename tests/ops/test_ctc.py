"""CTCLoss beyond its record: what MXNet 1.9.1 answers, all alignments counted one by one, lengths,
numbers at their limits, the warning, refusals."""

from __future__ import annotations

import gc
import itertools
import warnings
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.ops_nn.checks import arrays_of
from tigon import TigonIndexError, _native, autograd, gluon, nd, sym
from tigon.base import TigonError
from tigon.base.notices import LABEL_CANNOT_FIT
from tigon.ops import get
from tigon.runtime import stats

CTC = get("CTCLoss")
CHANCES = np.log([[[0.6, 0.3, 0.1]], [[0.2, 0.5, 0.3]]])


def run_of(
    data: np.ndarray, label: Any, *lengths: Any, **fields: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Losses, and the gradient of their sum."""
    x = nd.array(data)
    x.attach_grad()
    with autograd.record():
        loss = nd.CTCLoss(x, nd.array(label), *map(nd.array, lengths), **fields)
    loss.backward()
    return loss.asnumpy(), x.grad.asnumpy()


@pytest.mark.parametrize(
    ("label", "blank", "expected"),
    [  # what MXNet 1.9.1 answers, but for the last: there its answer changes from run to run
        ([1, 0], "first", 0.67334),
        ([0, -1], "last", 1.13943),
        ([1, 2], "first", 2.40795),
        ([0, 0], "first", 2.12026),
    ],
)
def test_figures(label: list[int], blank: str, expected: float) -> None:
    data = nd.array(CHANCES)
    for function in (nd.CTCLoss, nd.ctc_loss, nd.contrib.ctc_loss, nd.contrib.CTCLoss):
        loss = function(data, nd.array([label]), blank_label=blank)
        np.testing.assert_allclose(loss.asnumpy(), [expected], atol=5e-6)


@pytest.mark.parametrize("number", range(len(CTC.samples)))
def test_three_ways_of_running_agree(number: int) -> None:
    arrays, fields = arrays_of(CTC, CTC.samples[number], "float32")
    operands = [nd.array(a, dtype=a.dtype) for a in arrays]
    wanted = CTC.oracle(CTC.make_attrs(fields), *arrays)[0]
    names = [f"x{i}" for i in range(len(arrays))]
    symbol = sym.CTCLoss(*map(sym.var, names), **fields)
    symbol = sym.load_json(symbol.tojson())
    bound = symbol.bind(mx.cpu(), dict(zip(names, operands, strict=True)))
    jitted = mx.jit(lambda *given: nd.CTCLoss(*given, **fields))
    for result in (nd.CTCLoss(*operands, **fields), bound.forward()[0], jitted(*operands)):
        np.testing.assert_allclose(result.asnumpy(), wanted, rtol=2e-6, atol=2e-6)


def collapsed(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(each for each, _ in itertools.groupby(path) if each != blank)


@pytest.mark.parametrize("blank", ["first", "last"])
@pytest.mark.parametrize("label", [(), (1,), (1, 1), (1, 2), (1, 2, 1), (2, 2, 1), (1, 2, 2, 1)])
def test_it_is_the_sum_over_all_alignments(blank: str, label: tuple[int, ...]) -> None:
    """Every path of classes counted by itself, and its share of the gradient."""
    steps, classes = 5, 3
    data = np.random.default_rng(len(label)).normal(size=(steps, 1, classes))
    chances = np.exp(data[:, 0]) / np.exp(data[:, 0]).sum(axis=1, keepdims=True)
    first = blank == "first"
    own = label if first else tuple(each - 1 for each in label)
    total, shares = 0.0, np.zeros((steps, classes))
    for path in itertools.product(range(classes), repeat=steps):
        if collapsed(path, 0 if first else classes - 1) == own:
            chance = np.prod([chances[t, c] for t, c in enumerate(path)])
            total += chance
            for t, c in enumerate(path):
                shares[t, c] += chance
    row = [*own, *[0 if first else -1] * (steps - len(own))]
    loss, slope = run_of(data, [row], blank_label=blank)
    if not total:
        assert len(label) == 4  # with its neighbours, six steps
        assert loss.tolist() == [0] and not slope.any()
        return
    np.testing.assert_allclose(loss, [-np.log(total)], rtol=2e-6)
    np.testing.assert_allclose(slope[:, 0], chances - shares / total, atol=2e-6)


def test_lengths_are_those_of_sequences_alone() -> None:
    rng = np.random.default_rng(3)
    data, label = rng.normal(size=(7, 4, 5)), rng.integers(1, 5, (4, 3))
    steps, counts = [7, 4, 6, 0], [3, 1, 0, 0]
    lengths = {"use_data_lengths": True, "use_label_lengths": True}
    losses, slopes = run_of(data, label, steps, counts, **lengths)
    for i, (step, count) in enumerate(zip(steps, counts, strict=True)):
        alone, slope = run_of(data[:step, i : i + 1], label[i : i + 1, :count])
        np.testing.assert_allclose(losses[i], alone[0], rtol=1e-6)
        np.testing.assert_allclose(slopes[:step, i], slope[:, 0], rtol=1e-5, atol=1e-6)
        assert not slopes[step:, i].any()


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("hybridized", [False, True])
def test_one_compilation_serves_all_lengths(recorded: bool, hybridized: bool) -> None:
    def call(data: nd.NDArray, label: nd.NDArray) -> Any:
        return nd.CTCLoss(data, label)

    function = mx.jit(call) if hybridized else call

    def run(steps: int) -> None:
        rng = np.random.default_rng(steps)
        given = rng.normal(size=(steps, 2, 4)).astype(np.float32)
        label = np.array([[1, 2, 1], [3, 0, 0]], np.float32)
        data = nd.array(given)
        data.attach_grad()
        if recorded:
            with autograd.record():
                loss = function(data, nd.array(label))
            loss.backward()
            assert np.isfinite(data.grad.asnumpy()).all() and data.grad.asnumpy().any()
        else:
            loss = function(data, nd.array(label))
        wanted = CTC.oracle(CTC.make_attrs({}), given.astype(np.float64), label)[0]
        np.testing.assert_allclose(loss.asnumpy(), wanted, rtol=2e-5)

    for steps in (11, 20, 31):  # the second one says which extents vary
        run(steps)
    before = stats()
    for steps in (9, 30, 64, 10, 77, 17, 100):
        run(steps)
    assert stats()["compilations"] == before["compilations"]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32", "float64"])
def test_labels_of_every_dtype(dtype: str) -> None:
    data = nd.array(np.random.default_rng(1).normal(size=(5, 2, 4)))
    label = nd.array([[0, 1, 2], [2, 2, 0]], dtype=dtype)
    counts = nd.array([3, 2], dtype=dtype)
    loss = nd.CTCLoss(data, label, counts, use_label_lengths=True, blank_label="last")
    padded = nd.array([[0, 1, 2], [2, 2, -1]])
    expected = nd.CTCLoss(data, padded, blank_label="last")
    np.testing.assert_array_equal(loss.asnumpy(), expected.asnumpy())
    assert (nd.CTCLoss(data, label, blank_label="last").asnumpy() > 0).all()


def test_the_blank_alone() -> None:
    for blank, padding in (("first", 0), ("last", -1)):
        loss, slope = run_of(np.ones((3, 2, 1)), np.full((2, 2), padding), blank_label=blank)
        assert loss.tolist() == [0, 0] and not slope.any()


def test_long_sequences_and_large_numbers() -> None:
    rng = np.random.default_rng(5)
    data = rng.normal(size=(250, 2, 6))
    label = rng.integers(1, 6, (2, 80))
    loss, slope = run_of(data, label)
    wanted = CTC.oracle(CTC.make_attrs({}), data, label)[0]
    assert (wanted > 100).all()  # of chances that float32 does not hold
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    shifted, moved = run_of(data + 50, label)
    np.testing.assert_allclose(shifted, loss, rtol=1e-5)
    np.testing.assert_allclose(moved, slope, atol=2e-3)
    np.testing.assert_allclose(slope.sum(axis=2), 0, atol=1e-3)
    extreme, far = run_of(np.where(rng.random((9, 1, 4)) < 0.5, 1e4, -1e4), [[1, 2, 3]])
    assert np.isfinite(extreme).all() and np.isfinite(far).all()


def test_classes_that_cannot_be() -> None:
    data = np.zeros((4, 2, 3))
    data[:, :, 2] = -np.inf
    loss, slope = run_of(data, [[1, 0], [2, 0]])
    np.testing.assert_allclose(loss[0], CTC.oracle(CTC.make_attrs({}), data[:, :1, :2], [[1, 0]]))
    assert np.isinf(loss[1]) and loss[1] > 0
    assert np.isfinite(slope).all()
    assert slope[:, 0, :2].any() and not slope[:, 0, 2].any() and not slope[:, 1].any()


def test_labels_that_cannot_fit_are_told_once() -> None:
    data = np.random.default_rng(1).normal(size=(3, 3, 4))
    labels = [[1, 1, 1], [1, 2, 3], [2, 2, 0]]
    _native.forget_notices()
    gc.collect()  # what it would warn of is not looked for here
    with pytest.warns(RuntimeWarning) as told:
        loss, slope = run_of(data, labels)
    assert [str(each.message) for each in told] == [LABEL_CANNOT_FIT.text]
    assert told[0].filename == __file__
    assert loss[0] == 0 and (loss[1:] > 0).all()
    assert not slope[:, 0].any() and slope[:, 1].any() and slope[:, 2].any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_of(data, labels)
        mx.jit(nd.CTCLoss)(nd.array(data), nd.array(labels)).asnumpy()


@pytest.mark.parametrize("hybridized", [False, True])
def test_the_warning_comes_from_every_way_of_running(hybridized: bool) -> None:
    loss = gluon.loss.CTCLoss(layout="TNC")
    if hybridized:
        loss.hybridize()
    data = np.random.default_rng(1).normal(size=(2, 1, 4))
    for label in ([[0, 1]], [[1, 1]]):
        _native.forget_notices()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            loss(nd.array(data), nd.array(label)).asnumpy()
        assert len(told) == (label == [[1, 1]])


@pytest.mark.parametrize(
    ("shapes", "fields", "message"),
    [
        (
            [(2, 1, 3), (1, 3)],
            {},
            r"label: expected at most 2 columns, a step of data, \(2, 1, 3\), for each label; "
            r"given shape \(1, 3\); cut off columns of padding, or give more steps",
        ),
        ([(4, 3), (1, 3)], {}, r"data: expected axes \(time, batch, classes\); given shape \(4, 3"),
        ([(4, 1, 0), (1, 3)], {}, r"data: expected one class or more, the blank; given"),
        ([(4, 2, 3), (1, 3)], {}, r"label: expected shape \(2, labels\), .*; given \(1, 3\)"),
        ([(4, 2, 3), (2,)], {}, r"label: expected shape \(2, labels\), .*; given \(2,\)"),
        ([(4, 1, 3), (1, 3)], {"blank_label": "middle"}, "'first' or 'last'; given 'middle'"),
        (
            [(4, 2, 3), (2, 3), (3,)],
            {"use_data_lengths": True},
            r"data_lengths: expected shape \(2,\), a number for each of the batch; given \(3,\)",
        ),
        (
            [(4, 2, 3), (2, 3), (2, 1)],
            {"use_label_lengths": True},
            r"label_lengths: expected shape \(2,\), a number for each of the batch; given \(2, 1",
        ),
    ],
)
def test_refusals(shapes: list[tuple[int, ...]], fields: dict[str, Any], message: str) -> None:
    arrays = [nd.zeros(shape) for shape in shapes]
    with pytest.raises(TigonError, match=f"^CTCLoss: .*{message}"):
        nd.CTCLoss(*arrays, **fields)
    if not all(itertools.chain(*shapes)):
        return  # to symbols 0 is an extent that is not known
    with pytest.raises(TigonError, match=message):
        sym.CTCLoss(*[sym.var(f"x{i}") for i in range(len(shapes))], **fields).infer_shape(
            **{f"x{i}": shape for i, shape in enumerate(shapes)}
        )


@pytest.mark.parametrize(
    ("label", "lengths", "blank", "message"),
    [
        ([[1, 3]], {}, "first", "label: index 3 is out of bounds .* size 3; expected 0 to 2"),
        ([[-2, 1]], {}, "first", "label: index -2 is out of bounds"),
        ([[2, -1]], {}, "last", "label: index 2 is out of bounds .* size 2; expected 0 to 1"),
        ([[1, 2]], {"data_lengths": [5]}, "first", "data_lengths: expected 0 to 4.* given 5"),
        ([[1, 2]], {"data_lengths": [-1]}, "first", "data_lengths: expected 0 to 4.* given -1"),
        ([[1, 2]], {"label_lengths": [3]}, "first", "label_lengths: expected 0 to 2.* given 3"),
    ],
)
def test_positions_out_of_range(
    label: Any, lengths: dict[str, Any], blank: str, message: str
) -> None:
    uses = {f"use_{name}": True for name in lengths}
    given = [nd.array(each) for each in lengths.values()]
    with pytest.raises(TigonIndexError, match=f"CTCLoss: {message}"):
        nd.CTCLoss(
            nd.zeros((4, 1, 3)), nd.array(label), *given, blank_label=blank, **uses
        ).asnumpy()


ROWS = np.log([[[0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.6, 0.2, 0.2]]])


@pytest.mark.parametrize("hybridized", [False, True])
def test_gluon_figures_of_mxnet(hybridized: bool) -> None:
    """What MXNet 1.9.1 answers."""

    def loss(*operands: Any, **fields: Any) -> float:
        block = gluon.loss.CTCLoss(**fields)
        if hybridized:
            block.hybridize()
        arrays = [None if each is None else nd.array(each) for each in operands]
        result = block(*arrays)
        assert result.shape == (1,)
        return float(result.asscalar())

    turned = np.swapaxes(ROWS, 0, 1)
    found = [
        loss(ROWS, [[0, 1]]),
        loss(ROWS, [[0, -1]]),
        loss(turned, [[0, 1]], layout="TNC"),
        loss(ROWS, [[0], [1]], label_layout="TN"),
        loss(ROWS, [[0, 1]], weight=2.0),
        loss(ROWS, [[0, 1]], [2]),
        loss(ROWS, [[0, 1]], None, [1]),
        loss(ROWS, [[0, 1]], None, None, [3]),
    ]
    np.testing.assert_allclose(
        found,
        [3.17009, 2.08747, 3.17009, 3.17009, 6.34017, 2.99573, 2.08747, 9.51026],
        atol=1e-5,
    )


def test_gluon_on_symbols() -> None:
    loss = gluon.loss.CTCLoss()
    symbol = loss(*map(sym.var, ("pred", "label", "steps", "counts")))
    assert symbol.list_arguments() == ["pred", "label", "steps", "counts"]
    shapes, outputs, _ = symbol.infer_shape(pred=(3, 5, 4), label=(3, 2))
    assert shapes == [(3, 5, 4), (3, 2), (3,), (3,)] and outputs == [(3,)]
    assert loss(sym.var("pred"), sym.var("label"), None, sym.var("counts")).list_arguments() == [
        "pred",
        "label",
        "counts",
    ]
    older = sym.load_json(symbol.tojson().replace('"CTCLoss"', '"_contrib_ctc_loss"'))
    assert older.list_arguments() == symbol.list_arguments()


def test_gluon_refusals() -> None:
    with pytest.raises(TigonError, match="CTCLoss: layout: expected 'NTC' or 'TNC'; given 'CNT'"):
        gluon.loss.CTCLoss(layout="CNT")
    with pytest.raises(TigonError, match="CTCLoss: label_layout: expected 'NT' or 'TN'; given 'T'"):
        gluon.loss.CTCLoss(label_layout="T")
    with pytest.raises(TigonError, match=r"^CTCLoss: label: expected at most 3 columns"):
        gluon.loss.CTCLoss()(nd.array(ROWS), nd.array([[0, 1, 0, 1]]))


def test_a_recurrent_network_learns_where_labels_are() -> None:
    """Pulses of two kinds in noise, of which only the order is told."""
    mx.random.seed(11)
    rng = np.random.default_rng(2)
    steps, batch = 12, 8
    data = rng.normal(0, 0.1, (batch, steps, 2))
    labels = np.full((batch, 3), -1)
    for sample in range(batch):
        count = 1 + sample % 3
        places = np.sort(rng.choice(steps // 2, count, replace=False)) * 2
        kinds = rng.integers(0, 2, count)
        data[sample, places, kinds] += 1
        labels[sample, :count] = kinds

    class Reader(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            with self.name_scope():
                self.rnn = gluon.rnn.GRU(8, layout="NTC", input_size=2)
                self.classes = gluon.nn.Dense(3, flatten=False, in_units=8)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return self.classes(self.rnn(x))

    net = Reader()
    net.initialize(mx.init.Xavier())
    net.hybridize()
    loss = gluon.loss.CTCLoss()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.03})
    step = gluon.TrainStep(net, loss, trainer)
    x, y = nd.array(data), nd.array(labels)
    for _ in range(120):
        last = step(x, y)
    assert float(last.mean().asscalar()) < 0.5
    best = net(x).asnumpy().argmax(axis=2)
    read = [collapsed(tuple(row), 2) for row in best]
    right = sum(row == tuple(label[label >= 0]) for row, label in zip(read, labels, strict=True))
    assert right >= 7
