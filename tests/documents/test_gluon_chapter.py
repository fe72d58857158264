"""Gluon's chapter on hybridize: the snippets as they stand, with what the text says of them."""

import io
from contextlib import redirect_stdout
from time import time

import numpy as np

import tigon as mx
from tigon import nd, sym
from tigon.gluon import nn


def get_net():
    net = nn.HybridSequential()
    with net.name_scope():
        net.add(nn.Dense(256, activation="relu"), nn.Dense(128, activation="relu"), nn.Dense(2))
    net.initialize()
    return net


class HybridNet(nn.HybridBlock):
    def __init__(self, **kwargs):
        super(HybridNet, self).__init__(**kwargs)  # noqa: UP008
        with self.name_scope():
            self.fc1 = nn.Dense(10)
            self.fc2 = nn.Dense(2)

    def hybrid_forward(self, F, x):
        print(F)
        print(x)
        x = F.relu(self.fc1(x))
        print(x)
        return self.fc2(x)


def printed(call):
    text = io.StringIO()
    with redirect_stdout(text):
        result = call()
    return text.getvalue(), result


def test_results_stay_the_same():
    x = nd.random.normal(shape=(1, 512))
    net = get_net()
    before = net(x)
    assert before.shape == (1, 2)
    net.hybridize()
    after = net(x)
    assert np.allclose(before.asnumpy(), after.asnumpy(), rtol=1e-5, atol=1e-6)


def test_bench_runs():
    def bench(net, x):
        start = time()
        for _ in range(50):
            net(x)
        nd.waitall()
        return time() - start

    x = nd.random.normal(shape=(1, 512))
    net = get_net()
    lines = ["Before hybridizing: %.4f sec" % (bench(net, x))]  # noqa: UP031
    net.hybridize()
    lines.append("After hybridizing: %.4f sec" % (bench(net, x)))  # noqa: UP031
    assert all(line.endswith("sec") for line in lines)


def test_a_symbol_in_gives_a_symbol_out():
    net = get_net()
    net.hybridize()
    x = sym.var("data")
    y = net(x)
    assert isinstance(y, sym.Symbol)
    assert y.list_arguments()[0] == "data"
    assert len(y.list_arguments()) == 7


def test_what_is_printed_when():
    net = HybridNet()
    net.initialize()
    x = nd.random.normal(shape=(1, 4))
    first, _ = printed(lambda: net(x))
    assert "<module 'tigon.nd'" in first
    assert first.count("<NDArray 1x4 @cpu(0)>") == 1
    assert first.count("<NDArray 1x10 @cpu(0)>") == 1
    again, eager = printed(lambda: net(x))
    assert again == first
    net.hybridize()
    traced, hybrid = printed(lambda: net(x))
    assert "<module 'tigon.sym'" in traced
    assert traced.count("<Symbol ") == 2
    assert "NDArray" not in traced
    silent, once_more = printed(lambda: net(x))
    assert silent == ""
    assert np.allclose(eager.asnumpy(), hybrid.asnumpy(), rtol=1e-5)
    assert np.array_equal(hybrid.asnumpy(), once_more.asnumpy())


def test_exported_programs_are_read_elsewhere(tmp_path):
    net = get_net()
    x = nd.random.normal(shape=(1, 512))
    net.hybridize()
    expected = net(x)
    net.export(str(tmp_path / "net"))
    symbol = mx.load(str(tmp_path / "net-symbol.json"))
    params = nd.load(str(tmp_path / "net-0000.params"))
    arrays = {name.split(":", 1)[1]: array for name, array in params.items()}
    assert np.allclose(symbol.eval(data=x, **arrays)[0].asnumpy(), expected.asnumpy(), rtol=1e-5)
