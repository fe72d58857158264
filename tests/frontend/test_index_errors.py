"""Indices that are no good: who says so, when, and in which words."""

import inspect
import re

import numpy as np
import pytest

import tigon as mx
from tigon import _native, autograd, gluon, nd


def message(read):
    with pytest.raises(mx.TigonIndexError) as error:
        read().asnumpy()
    assert isinstance(error.value, IndexError) and isinstance(error.value, mx.TigonError)
    return str(error.value)


def test_small_work_is_refused_at_once():
    x = nd.arange(5)
    with pytest.raises(IndexError) as error:
        x[nd.array([1, 7])]
    assert str(error.value) == (
        "x[...]: index 7 is out of bounds for axis 0 with size 5; expected -5 to 4"
    )


def test_work_done_later_is_refused_where_it_is_read():
    x = nd.arange(10)
    where = nd.array(np.arange(1_000_000) % 10)
    where[654_321] = 10
    nd.waitall()
    y, line = x[where], inspect.currentframe().f_lineno
    z = y * 2 + 1
    expected = (
        "x[...]: index 10 is out of bounds for axis 0 with size 10; expected -10 to 9 "
        f"(called at {__file__}:{line})"
    )
    assert message(lambda: z) == message(lambda: y) == expected
    assert x.asnumpy().tolist() == list(range(10))  # others are not concerned
    assert x[where % 10].asnumpy()[654_321] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_no_position(bad, dtype):
    x = nd.arange(5)
    where = nd.array([0, bad, 1], dtype=dtype)
    beyond = "nan, or 9223372036854775807 or more, is|-9223372036854775808 is"
    assert re.search(beyond, message(lambda: x[where]))
    with pytest.raises(mx.TigonIndexError, match="out of bounds"):
        x[where] = 1
    assert x.asnumpy().tolist() == [0, 1, 2, 3, 4]


def test_positions_are_truncated_as_in_mxnet():
    assert nd.arange(5)[nd.array([1.9, -0.5, -1.9])].asnumpy().tolist() == [1, 0, 4]


@pytest.mark.parametrize("hybridize", [False, True])
def test_the_result_of_a_comparison_is_no_index(hybridize):
    class Reading(gluon.HybridBlock):
        def forward(self, y, mask):
            return y[mask] + 0

    read = Reading()
    read.hybridize(hybridize)
    y = nd.array([[1, 2, 3], [4, 5, 6]])
    text = message(lambda: read(y, y > 2))
    for word in ("nd.where", "nd.contrib.boolean_mask", "astype('int32')", "(2, 3)"):
        assert word in text
    deep = nd.ones((2, 3, 4))
    assert "boolean_mask" in message(lambda: read(deep, y > 2))  # over the leading axes
    with pytest.raises(mx.TigonIndexError, match=r"nd\.where"):
        y[y > 2] = 0
    assert y.asnumpy().tolist() == [[1, 2, 3], [4, 5, 6]]
    for dtype in ("int32", "int64", "uint8"):  # whose comparisons give numbers too
        whole = nd.array([[1, 2, 3], [4, 5, 6]], dtype=dtype)
        within = mx.jit(lambda y: y[y > 2]) if hybridize else lambda y: y[y > 2]
        for choose in (
            within,
            lambda y: y[nd.greater(y, 2)],
            lambda y: y[nd.logical_and(y > 2, y < 5)],
            lambda y: y[y[:, :1] > 2],  # one answer for each row
        ):
            text = message(lambda choose=choose, whole=whole: choose(whole))
            assert "given a comparison of shape" in text
        with pytest.raises(mx.TigonIndexError, match="a comparison"):
            whole[whole > 2] = 0
        assert whole.asnumpy().tolist() == [[1, 2, 3], [4, 5, 6]]
        assert whole[(whole > 2).astype("bool")].asnumpy().tolist() == [3, 4, 5, 6]
        assert whole[nd.array([[1, 0, 1], [0, 0, 1]], dtype="int32")].shape == (2, 3, 3)
        assert whole[whole[:, 0] > 2].asnumpy().tolist() == [[1, 2, 3], [4, 5, 6]]  # rows 0 and 1
    assert "floating-point" in message(lambda: y[nd.array([[0], [1]])])
    # Where numbers are what is meant.
    line = nd.array([5, 6, 7])
    assert read(line, nd.array([2, 1, 0])).asnumpy().tolist() == [7, 6, 5]
    assert read(y, (y > 2).astype("int32")).shape == (2, 3, 3)
    assert read(y, nd.zeros((3, 2))).shape == (3, 2, 3)


def test_the_other_ways():
    """What the message names does what was meant."""
    y = nd.array([[1, 2, 3], [4, 5, 6]])
    y.attach_grad()
    assert nd.where(y > 2, y, nd.zeros_like(y)).asnumpy().tolist() == [[0, 0, 3], [4, 5, 6]]
    assert y[(y > 2).astype("bool")].asnumpy().tolist() == [3, 4, 5, 6]
    with autograd.record():
        chosen = nd.contrib.boolean_mask(y, nd.array([0, 1]))
    chosen.backward(nd.array([[1, 2, 3]]))
    assert chosen.asnumpy().tolist() == [[4, 5, 6]]
    assert y.grad.asnumpy().tolist() == [[0, 0, 0], [1, 2, 3]]
    assert nd.contrib.boolean_mask(y, y[0] > 1, axis=1).asnumpy().tolist() == [[2, 3], [5, 6]]
    assert nd.contrib.boolean_mask(y, nd.zeros((2,))).shape == (0, 3)
    with pytest.raises(mx.TigonError, match=r"^boolean_mask: index: expected shape \(2,\)"):
        nd.contrib.boolean_mask(y, y > 2)


def test_as_many_indices_as_rows():
    x = nd.zeros((3,))
    x[nd.array([2, 0, 1])] = nd.array([1, 2, 3])
    assert x.asnumpy().tolist() == [2, 3, 1]


@pytest.mark.parametrize("form", ["numpy", "list", "NDArray"])
def test_a_mask_has_the_shape_of_what_it_indexes(form):
    forms = {"numpy": np.array, "list": list, "NDArray": lambda m: nd.array(m).astype("bool")}
    x = nd.arange(4)
    for mask in ([True, False], [True, False, True, False, False]):
        given = forms[form](mask)
        assert "mask of shape" in message(lambda given=given: x[given])
        with pytest.raises(mx.TigonIndexError, match="mask of shape"):
            x[given] = 1
    assert x[forms[form]([True, False, False, True])].asnumpy().tolist() == [0, 3]
    deep = nd.arange(24).reshape((2, 3, 4))
    assert deep[:, forms[form]([True, False, True])].shape == (2, 2, 4)
    assert deep[..., forms[form]([True, False, True, True])].shape == (2, 3, 3)
    assert "mask of shape" in message(lambda: deep[..., forms[form]([True, False, True])])


def test_negative_coordinates_of_points():
    """mxnet 1.9.1: they count from the end."""
    x = nd.array([[1, 2, 3], [4, 5, 6]])
    x.attach_grad()
    with autograd.record():
        y = nd.gather_nd(x, nd.array([[0, -1], [-1, 0]]))
    y.backward(nd.array([10, 20]))
    assert y.asnumpy().tolist() == [3, 4]
    assert x.grad.asnumpy().tolist() == [[0, 0, 10], [20, 0, 0]]
    assert message(lambda: nd.gather_nd(x, nd.array([[0, 2], [0, 0]]))) == (
        "gather_nd: index 2 is out of bounds for axis 0 with size 2; expected -2 to 1"
    )
    assert message(
        lambda: nd.scatter_nd(nd.array([1]), nd.array([[0], [-4]]), shape=(2, 3))
    ).startswith("scatter_nd: index -4 is out of bounds for axis 1 with size 3")


@pytest.fixture
def checking(monkeypatch):
    _native.clear_signature_cache()
    monkeypatch.setenv("TIGON_CHECK_INDICES", "1")
    yield
    _native.clear_signature_cache()


def test_a_program_that_was_refused_runs_again():
    class Reading(gluon.HybridBlock):
        def forward(self, x, where):
            return x[where] * 2

    read = Reading()
    read.hybridize()
    x = nd.arange(5)
    x.attach_grad()
    for where, right in [([1, -1], True), ([5, 0], False), ([0, 2], True), ([0, -6], False)]:

        def run(where=where):
            with autograd.record():
                y = read(x, nd.array(where))
            y.backward()
            return y

        if right:
            assert run().asnumpy().tolist() == [2.0 * (i % 5) for i in where]
        else:
            assert "out of bounds" in message(run)


@pytest.mark.parametrize("how", ["imperative", "hybridized", "step"])
def test_labels_in_training(how, checking):
    net = gluon.nn.Dense(3, in_units=4)
    net.initialize()
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    if how == "hybridized":
        net.hybridize()
        loss.hybridize()
    step = gluon.TrainStep(net, loss, trainer) if how == "step" else None

    def train(label):
        x, y = nd.ones((2, 4)), nd.array(label)
        if step is not None:
            return step(x, y)
        with autograd.record():
            total = loss(net(x), y)
        total.backward()
        trainer.step(2)
        return total

    train([0, 2]).asnumpy()
    before = net.weight.data().asnumpy()
    for label in ([0, 3], [-1, 0]):
        assert "pick: index" in message(lambda given=label: train(given))
        np.testing.assert_array_equal(net.weight.data().asnumpy(), before)
    train([1, 1]).asnumpy()


def test_the_operators_of_symbols(checking):
    data, label = mx.sym.var("data"), mx.sym.var("label")
    out = mx.sym.SoftmaxOutput(data, label, name="softmax")
    executor = out.simple_bind(mx.cpu(), data=(2, 3), label=(2,))
    executor.forward(is_train=True, label=nd.array([0, 2]))
    executor.backward()
    with pytest.raises(mx.TigonIndexError, match=r"SoftmaxOutput: index 3 .*size 3"):
        executor.forward(is_train=True, label=nd.array([0, 3]))
        executor.backward()
        executor.grad_dict["data"].asnumpy()
