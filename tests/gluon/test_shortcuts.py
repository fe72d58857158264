"""Calls that reach their program without Python code, and what must send them the long way."""

import numpy as np
import pytest

from tigon import TigonError, _native, autograd, jit, nd, random
from tigon.gluon import HybridBlock, nn

FACTOR = 2.0


def double(x):
    return x * 2


def settled(net, *arguments):
    """Calls until the short way is taken; the last result."""
    for _ in range(3):
        result = net(*arguments)
    return result


@pytest.fixture
def long_calls(monkeypatch):
    """Counts the calls that no shortcut served."""
    count = [0]
    original = HybridBlock._long_call

    def counted(self, *args):
        count[0] += 1
        return original(self, *args)

    monkeypatch.setattr(HybridBlock, "_long_call", counted)
    return count


class Scaled(HybridBlock):
    def forward(self, x):
        return double(x) * FACTOR


def dense():
    net = nn.Dense(2, in_units=3)
    net.initialize()
    net.hybridize()
    return net


def test_the_third_call_is_short(long_calls):
    net, x = dense(), nd.ones((4, 3))
    expected = settled(net, x).asnumpy()
    long_calls[0] = 0
    assert np.array_equal(net(x).asnumpy(), expected)
    assert long_calls[0] == 0


def test_several_kinds_of_call_are_short(long_calls):
    net = dense()
    arrays = [nd.ones((rows, 3)) for rows in (1, 2, 3, 4)]
    for x in arrays:
        settled(net, x)
    long_calls[0] = 0
    assert [net(x).shape for x in arrays] == [(1, 2), (2, 2), (3, 2), (4, 2)]
    assert long_calls[0] == 0


def test_a_global_is_assigned(monkeypatch):
    net, x = Scaled(), nd.ones((2,))
    net.hybridize()
    assert settled(net, x).asnumpy().tolist() == [4, 4]
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert settled(net, x).asnumpy().tolist() == [6, 6]
    monkeypatch.setitem(globals(), "double", lambda x: x * 10)
    assert net(x).asnumpy().tolist() == [30, 30]


def test_a_closure_variable_is_assigned():
    by = nd.array([2.0])

    class Closed(HybridBlock):
        def forward(self, x):
            return x * by

    net, x = Closed(), nd.ones((1,))
    net.hybridize()
    assert settled(net, x).item() == 2
    by = nd.array([5.0])
    assert settled(net, x).item() == 5
    by[:] = 7
    assert net(x).item() == 7


def test_a_list_that_is_edited_is_compared():
    by = [2.0]

    class Listed(HybridBlock):
        def forward(self, x):
            return x * by[0]

    net, x = Listed(), nd.ones((1,))
    net.hybridize()
    assert settled(net, x).item() == 2
    by[0] = 5.0
    assert net(x).item() == 5


def test_hooks_run_whenever_they_were_added():
    net, x = dense(), nd.ones((4, 3))
    settled(net, x)
    seen = []
    handle = net.register_forward_hook(lambda block, args, result: seen.append(result.shape))
    settled(net, x)
    assert seen == [(4, 2)] * 3
    handle.detach()
    settled(net, x)
    assert len(seen) == 3


def test_parameters_are_replaced_and_overwritten():
    net, x = dense(), nd.ones((1, 3))
    settled(net, x)
    net.weight.set_data(nd.ones((2, 3)))
    assert settled(net, x).asnumpy().tolist() == [[3, 3]]
    net.weight.data()[:] = 2
    assert net(x).asnumpy().tolist() == [[6, 6]]
    net.initialize(init="zeros", force_reinit=True)
    assert net(x).asnumpy().tolist() == [[0, 0]]


def test_modes_are_told_apart():
    net = nn.HybridSequential()
    net.add(nn.Dense(2, in_units=3), nn.Dropout(0.5))
    net.initialize()
    net.hybridize()
    x = nd.ones((64, 3))
    plain = settled(net, x).asnumpy()
    with autograd.record():
        y = settled(net, x)
    assert (y.asnumpy() == 0).any()
    y.backward()
    assert abs(net[0].weight.grad().asnumpy()).sum() > 0
    with autograd.train_mode():
        assert (settled(net, x).asnumpy() == 0).any()
    assert np.array_equal(net(x).asnumpy(), plain)


def test_a_recorded_call_of_a_short_net_is_recorded():
    net, x = dense(), nd.ones((1, 3))
    settled(net, x)
    x.attach_grad()
    with autograd.record():
        net(x).sum().backward()
    assert np.allclose(x.grad.asnumpy(), net.weight.data().asnumpy().sum(0))


def test_inside_another_trace_the_code_is_traced():
    inner, x = Scaled(), nd.ones((2,))
    inner.hybridize()
    settled(inner, x)

    class Outer(HybridBlock):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x) + 1

    net = Outer()
    net.hybridize()
    assert settled(net, x).asnumpy().tolist() == [5, 5]
    assert "2 kernels" not in net.explain()


def test_an_error_says_in_which_block_it_happened():
    net, x = Scaled(), nd.ones((3,))
    net.hybridize()
    settled(net, x)
    _native.Program("taker", [(0, (3,))], [], 0, 0, (), ())([x], donate=[0])
    with pytest.raises(TigonError, match=r"(?s)donated.*in block Scaled"):
        net(x)


def test_hybridize_off_and_a_call_with_keywords():
    net, x = dense(), nd.ones((4, 3))
    settled(net, x)
    net.hybridize(False)
    assert settled(net, x).shape == (4, 2)
    with pytest.raises(TypeError):
        net(x, training=True)


def test_a_class_that_calls_its_base():
    class Counted(nn.Dense):
        calls = 0

        def __call__(self, *args):
            type(self).calls += 1
            return super().__call__(*args)

    net = Counted(2, in_units=3)
    net.initialize()
    net.hybridize()
    assert settled(net, nd.ones((4, 3))).shape == (4, 2)
    assert Counted.calls == 3


class Several(HybridBlock):
    """States that move, random numbers, and two results."""

    def __init__(self, kind):
        super().__init__()
        self.norm = nn.BatchNorm(in_channels=3)
        self.dropout = nn.Dropout(0.5)
        self.kind = kind

    def forward(self, x):
        y = self.dropout(self.norm(x))
        return {"tuple": (y, x * 2), "list": [y, x * 2], "bare": y}[self.kind]


@pytest.mark.parametrize("kind", ["bare", "tuple", "list"])
def test_recorded_calls_with_states_and_draws_are_short(kind, long_calls):
    def run(hybridized):
        net, seen = Several(kind), []
        net.initialize()
        if hybridized:
            net.hybridize()
        random.seed(5)
        for number in range(6):
            if number == 4:
                long_calls[0] = 0
            x = nd.arange(12).reshape((4, 3)) * (number + 1)
            with autograd.record():
                result = net(x)
                parts = [result] if kind == "bare" else result
                loss = sum((part**2).sum() for part in parts)
            loss.backward()
            seen.append(type(result))
            seen += [part.asnumpy() for part in parts]
            seen += [net.norm.gamma.grad().asnumpy(), net.norm.running_mean.data().asnumpy()]
        return seen

    expected = run(False)
    found = run(True)
    assert long_calls[0] == 0
    for one, other in zip(expected, found, strict=True):
        if isinstance(one, type):
            assert one is other
        else:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("train_mode", [False, True])
def test_what_is_recorded_is_told_apart(train_mode):
    """The same block under record() and outside, with arrays of which gradients are asked for, and
    of which they are not."""
    net = Scaled()
    net.hybridize()
    plain, leaf = nd.ones((2, 3)), nd.ones((2, 3))
    leaf.attach_grad()
    with autograd.train_mode() if train_mode else autograd.predict_mode():
        settled(net, plain)
        settled(net, leaf)
    for _ in range(3):
        with autograd.record(train_mode=train_mode):
            assert not settled(net, plain).has_tape
            y = net(leaf)
            assert not net(plain).has_tape
            z = net(y)
        z.backward()
        assert leaf.grad.asnumpy().tolist() == [[16] * 3] * 2
        leaf.grad[:] = 0
        assert not net(leaf).has_tape


def test_functions_of_jit_are_short(monkeypatch):
    def function(a, b):
        return a * b, a + b

    compiled = jit(function)
    a, b = nd.ones((2,)), nd.ones((2,))
    settled(compiled, a, b)
    monkeypatch.setattr(type(compiled), "_long_call", None)
    assert [part.asnumpy().tolist() for part in compiled(a, b)] == [[1, 1], [2, 2]]
    with pytest.raises(TypeError):
        compiled(a, b=b)
    with pytest.raises(TypeError):
        compiled(a, a)
