"""Recording, backward and gradients of gradients."""

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, nd


def test_scopes():
    assert not autograd.is_recording() and not autograd.is_training()
    with autograd.record():
        assert autograd.is_recording() and autograd.is_training()
        with autograd.predict_mode():
            assert autograd.is_recording() and not autograd.is_training()
        with autograd.pause():
            assert not autograd.is_recording() and not autograd.is_training()
        with autograd.pause(train_mode=True):
            assert autograd.is_training()
    with autograd.record(train_mode=False):
        assert autograd.is_recording() and not autograd.is_training()
    with autograd.train_mode():
        assert autograd.is_training() and not autograd.is_recording()

    @autograd.train_mode()
    def function():
        return autograd.is_training()

    assert function() and not autograd.is_training()


def test_scopes_survive_exceptions():
    with pytest.raises(ValueError):
        with autograd.record():
            raise ValueError
    assert not autograd.is_recording() and not autograd.is_training()


def test_grad_req():
    x = nd.array([1, 2])
    for request, expected in (("write", [2, 4]), ("add", [4, 8]), ("null", [0, 0])):
        x.attach_grad(request)
        for _ in range(2):
            with autograd.record():
                y = x * x
            if request == "null":
                continue
            y.backward()
        assert x.grad.asnumpy().tolist() == expected
    with pytest.raises(mx.TigonError, match="grad_req"):
        x.attach_grad("often")


def test_out_grad_and_retain_graph():
    x = nd.array([1, 2])
    x.attach_grad("add")
    with autograd.record():
        y = x * x
    y.backward(nd.array([1, 10]), retain_graph=True)
    y.backward(nd.array([1, 10]))
    assert x.grad.asnumpy().tolist() == [4, 80]
    with pytest.raises(mx.TigonError):
        y.backward()


def test_mark_variables_and_several_heads():
    x, dx = nd.array([3]), nd.zeros(1)
    autograd.mark_variables([x], [dx])
    with autograd.record():
        y, z = x * 2, x * x
    autograd.backward([y, z], [nd.ones(1), nd.full(1, 10)])
    assert dx.asscalar() == 62
    with pytest.raises(mx.TigonError, match="expected a gradient like its variable"):
        autograd.mark_variables(x, nd.zeros(2))


def test_indexing_is_recorded():
    x = nd.array([[1, 2], [3, 4]])
    x.attach_grad()
    with autograd.record():
        y = (x[0] * x[:, 1]).sum() + x[[1, 1], [0, 1]].sum() + x.reshape((4,))[1:3].sum()
    y.backward()
    assert x.grad.asnumpy().tolist() == [[2, 6], [2, 3]]


def test_grad_leaves_attached_gradients_alone():
    x = nd.array([3])
    x.attach_grad()
    with autograd.record():
        y = x * x
    (slope,) = autograd.grad(y, x)
    assert slope.asscalar() == 6
    assert x.grad.asscalar() == 0


@pytest.mark.parametrize("create_graph", [False, True])
def test_one_variable_has_a_list_of_one_gradient(create_graph):
    """mxnet 1.9.1: programs take `grad(y, x)[0]`, which of an array would be its first row."""
    x = nd.array([1, 2, 3])
    x.attach_grad()
    with autograd.record():
        y = x * x
        found = autograd.grad(y, x, create_graph=create_graph)
    assert isinstance(found, list)
    assert [slope.asnumpy().tolist() for slope in found] == [[2, 4, 6]]


def test_gradient_of_a_gradient():
    x = nd.array([0.3, -1.2, 2.0], dtype="float64")
    x.attach_grad()
    with autograd.record():
        y = nd.sigmoid(x) * x + nd.tanh(x)
        (first,) = autograd.grad([y], [x], create_graph=True)
        z = (first * first).sum()
    z.backward()

    def f(v):
        return v / (1 + np.exp(-v)) + np.tanh(v)

    def df(v, h=1e-4):
        return (f(v + h) - f(v - h)) / (2 * h)

    v = x.asnumpy()
    second = (df(v + 1e-3) - df(v - 1e-3)) / 2e-3
    assert np.allclose(first.asnumpy(), df(v), atol=1e-6)
    assert np.allclose(x.grad.asnumpy(), 2 * df(v) * second, atol=1e-4)


def test_third_order():
    x = nd.array([2.0], dtype="float64")
    x.attach_grad()
    with autograd.record():
        y = x * x * x * x
        (a,) = autograd.grad([y], [x], create_graph=True)
        (b,) = autograd.grad([a], [x], create_graph=True)
    b.backward()
    assert (a.asscalar(), b.asscalar(), x.grad.asscalar()) == (32, 48, 48)


def test_gradient_penalty_reaches_the_parameters():
    """Differentiate the norm of an input gradient with respect to a weight."""
    rng = np.random.default_rng(1)
    x, w = nd.array(rng.normal(size=(4, 3))), nd.array(rng.normal(size=(2, 3)))
    x.attach_grad()
    w.attach_grad()
    with autograd.record():
        y = nd.FullyConnected(x, w, num_hidden=2, no_bias=True).sum()
        (dx,) = autograd.grad([y], [x], create_graph=True)
        penalty = (dx * dx).sum()
    penalty.backward()
    assert np.allclose(w.grad.asnumpy(), 8 * w.asnumpy().sum(0), atol=1e-4)


def test_custom_function():
    class Clamp(autograd.Function):
        def forward(self, x, y):
            self.save_for_backward(x)
            return nd.clip(x, 0, 1), x * y

        def backward(self, d_clip, d_product):
            (x,) = self.saved_tensors
            return d_clip * 100, d_product * x

    x, y = nd.array([0.5, 2]), nd.array([3, 4])
    x.attach_grad()
    y.attach_grad()
    with autograd.record():
        clipped, product = Clamp()(x, y)
        z = clipped.sum() + product.sum()
    z.backward()
    assert x.grad.asnumpy().tolist() == [100, 100]
    assert y.grad.asnumpy().tolist() == [0.5, 2]
    function = Clamp()
    function(x, y)
    with pytest.raises(mx.TigonError, match="used once"):
        function(x, y)


def test_writes_while_recording_are_refused():
    x = nd.array([1, 2])
    x.attach_grad()
    with autograd.record():
        y = x * 2
        with pytest.raises(mx.TigonError):
            y += 1
        with pytest.raises(mx.TigonError):
            x[0] = 3
        with pytest.raises(mx.TigonError):
            nd.relu(y, out=x)
        z = nd.zeros(2)
        z[:] = 1  # not part of the recording
    assert x.asnumpy().tolist() == [1, 2]


def test_a_value_overwritten_before_backward_is_noticed():
    x = nd.array([1, 2])
    x.attach_grad()
    with autograd.record():
        y = x * x
    x[:] = 7
    with pytest.raises(mx.TigonError):
        y.backward()


FAILING = {
    "index": lambda x: nd.take(nd.ones((3, 3)), nd.array([0, 9, 1]), mode="raise", out=x),
    "indices": lambda x: nd.gather_nd(nd.ones((3, 3)), nd.array([[0, 9, 1]]), out=x),
    "matrix": lambda x: nd.linalg.potrf(-nd.eye(3), out=x),
    "of two": lambda x: nd.split(nd.ones((3, 6)), 2, out=[x, nd.ones((2, 2))]),
    "type": lambda x: nd.exp(nd.ones((3, 3), dtype="float64"), out=x),
    "rows": lambda x: x.__setitem__(nd.array([7]), 1),
    "place": lambda x: nd.ones((3, 3)).copyto(x.as_in_context(mx.gpu())),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_failed_write_changes_nothing(name):
    x = nd.full((3, 3), 2)
    x.attach_grad()
    with autograd.record():
        y = x * x
    with pytest.raises((mx.TigonError, IndexError)):
        FAILING[name](x)
        nd.waitall()
    assert (x.asnumpy() == 2).all()
    y.backward()
    assert (x.grad.asnumpy() == 4).all()


def test_detach_stops():
    x = nd.array([2])
    x.attach_grad()
    with autograd.record():
        y = x * x
        z = y.detach() * x + nd.BlockGrad(y)
    z.backward()
    assert x.grad.asscalar() == 4


def test_symbol_of_a_recording():
    x, w = nd.ones(2), nd.ones(2)
    x.attach_grad()
    w.attach_grad()
    with autograd.record():
        y = nd.tanh(x * w) + x
    symbol = autograd.get_symbol(y)
    assert symbol.list_arguments() == ["var0", "var1"]
    again = symbol.eval(var0=nd.array([1, 2]), var1=nd.array([3, 4]))[0]
    assert np.allclose(again.asnumpy(), np.tanh([3, 8]) + np.array([1, 2]))


@pytest.mark.parametrize("length", [3000])
def test_long_chains(length):
    x = nd.ones(1)
    x.attach_grad()
    with autograd.record():
        y = x
        for _ in range(length):
            y = y + 1
    y.backward()
    assert x.grad.asscalar() == 1


def test_one_variable_asked_for_twice():
    x = nd.array([3])
    x.attach_grad()
    for create_graph in (False, True):
        with autograd.record():
            y = x * x
            a, b = autograd.grad([y], [x, x], create_graph=create_graph)
        assert a.asscalar() == b.asscalar() == 6


def test_a_long_chain_differentiated_with_its_graph():
    x = nd.ones(1)
    x.attach_grad()
    with autograd.record():
        y = x
        for _ in range(1000):
            y = y + x
        (dx,) = autograd.grad([y], [x], create_graph=True)
    assert dx.asscalar() == 1001


ZERO_SLOPES = {
    "sign": lambda w: nd.sign(w),
    "round": lambda w: nd.round(w),
    "argmax": lambda w: nd.argmax(w, axis=0),
    "a comparison": lambda w: w > 0,
    "BlockGrad": lambda w: nd.BlockGrad(w * 2),
    "all of them": lambda w: nd.BlockGrad(nd.sign(w) * (w > 0)),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["imperative", "compiled"])
@pytest.mark.parametrize("name", ZERO_SLOPES)
def test_what_is_reached_with_a_slope_of_zero_has_a_gradient_of_zero(name, compiled):
    """MXNet 1.9.1; an old gradient would be taken for a new one by the next step."""
    function = mx.jit(ZERO_SLOPES[name]) if compiled else ZERO_SLOPES[name]
    for beside in (True, False):
        x, w, added = (nd.array([1, 2, 3]) for _ in range(3))
        for array, request in ((x, "write"), (w, "write"), (added, "add")):
            array.attach_grad(grad_req=request)
            array.grad[:] = 5
        with autograd.record():
            y = function(w) + function(added)
            if beside:
                y = y + x * 2
        y.backward()
        assert w.grad.asnumpy().tolist() == [0, 0, 0]
        assert added.grad.asnumpy().tolist() == [5, 5, 5]
        assert x.grad.asnumpy().tolist() == ([2, 2, 2] if beside else [5, 5, 5])


def test_what_is_reached_without_a_slope_keeps_its_history():
    w = nd.array([1, 2])
    w.attach_grad()
    with autograd.record():
        made = w * w
        other = nd.BlockGrad(made) * 2
        total = made.sum()
    other.backward()
    assert w.grad.asnumpy().tolist() == [0, 0]
    total.backward()
    assert w.grad.asnumpy().tolist() == [2, 4]
    with autograd.record():  # the history of `made` is used up: nothing needs it
        again = nd.BlockGrad(made) + w
    again.backward()
    assert w.grad.asnumpy().tolist() == [1, 1]


@pytest.mark.parametrize("hybridized", [False, True])
def test_what_draws_has_gradients_of_gradients(hybridized):
    """With the numbers that were drawn, wherever the arrays are."""
    mx.random.seed(1)
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Dropout(0.5), mx.gluon.nn.HybridLambda(lambda F, x: x * x * x))
    net.hybridize(hybridized)
    x = nd.arange(1, 9)
    x.attach_grad()
    with autograd.record():
        y = net(x)
        (dx,) = autograd.grad([y], [x], create_graph=True)
    symbol = autograd.get_symbol(y)
    dx.backward()
    kept = y.asnumpy() != 0
    assert 0 < kept.sum() < 8
    numbers = np.arange(1, 9, dtype="float32")
    np.testing.assert_allclose(dx.asnumpy(), np.where(kept, 24 * numbers**2, 0), rtol=1e-5)
    np.testing.assert_allclose(x.grad.asnumpy(), np.where(kept, 48 * numbers, 0), rtol=1e-5)
    assert symbol.list_arguments() == ["var0"]
