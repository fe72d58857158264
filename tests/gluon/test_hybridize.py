"""Hybridize is honest: what it computes is what the imperative program computes."""

from __future__ import annotations

import gc
import warnings

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, sym
from tigon.base import TigonError
from tigon.gluon import nn


class HybridNet(nn.HybridBlock):
    """The documents' network."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.fc1 = nn.Dense(10)
            self.fc2 = nn.Dense(2)

    def hybrid_forward(self, F, x):
        print(F)
        print(x)
        x = F.relu(self.fc1(x))
        print(x)
        return self.fc2(x)


def test_the_documents_print_shows_arrays_then_symbols_once_then_nothing(capsys):
    net = HybridNet()
    net.initialize()
    x = nd.random.normal(shape=(1, 4))
    first = net(x)
    shown = capsys.readouterr().out
    assert shown.startswith("<module 'tigon.nd' from")
    assert shown.count("<NDArray 1x4 @cpu(0)>") == 1
    assert shown.count("<NDArray 1x10 @cpu(0)>") == 1
    net(x)
    assert capsys.readouterr().out == shown
    net.hybridize()
    second = net(x)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("<module 'tigon.sym' from")
    assert shown[1] == "<Symbol data>"
    assert shown[2].startswith("<Symbol ")
    assert len(shown) == 3
    third = net(x)
    assert capsys.readouterr().out == ""
    np.testing.assert_array_equal(second.asnumpy(), third.asnumpy())
    np.testing.assert_allclose(first.asnumpy(), second.asnumpy(), rtol=1e-5)


def test_f_is_the_very_module():
    seen = []

    class Net(nn.HybridBlock):
        def hybrid_forward(self, F, x):
            seen.append(F)
            return x * 2

    net = Net()
    net(nd.ones(2))
    net.hybridize()
    net(nd.ones(2))
    assert seen == [mx.nd, mx.sym]


def test_one_native_call_forward_and_one_backward_whatever_the_depth():
    for depth in (2, 12):
        net = nn.HybridSequential()
        for _ in range(depth):
            net.add(nn.Dense(8, activation="relu", in_units=8))
        net.initialize()
        net.hybridize()
        x = nd.ones((2, 8))
        for _ in range(2):
            with autograd.record():
                y = net(x)
            y.backward()
        nd.waitall()
        before = mx.runtime.stats()
        with autograd.record():
            y = net(x)
        middle = mx.runtime.stats()
        y.backward()
        after = mx.runtime.stats()
        assert middle["native_calls"] - before["native_calls"] == 1
        assert after["native_calls"] - middle["native_calls"] == 1
        assert after["compilations"] == before["compilations"]
        assert after["fallbacks"] == before["fallbacks"]


@pytest.fixture
def make(capsys):
    """Makes hybridized blocks of functions, each with a way to ask how often its Python code ran.

    The code prints, which speaks while it is traced and changes nothing; for a counter that it
    moved, a block would give way.
    """
    shown = []

    def of(compute):
        class Net(nn.HybridBlock):
            def forward(self, *args):
                print(f"{self.name} runs")
                return compute(self, *args)

        net = Net()
        net.hybridize()

        def count():
            shown.append(capsys.readouterr().out)
            return "".join(shown).count(f"{net.name} runs\n")

        return net, count

    return of


def values(array):
    return array.asnumpy().tolist()


def test_shapes_dtypes_and_modes_trace_again_and_nothing_else_does(make):
    net, count = make(lambda self, x: x * x.shape[0])
    assert values(net(nd.ones(2))) == [2, 2]
    assert values(net(nd.ones(2) * 3)) == [6, 6]
    assert count() == 1
    assert values(net(nd.ones(3))) == [3, 3, 3]
    assert count() == 2
    assert net(nd.ones(2, dtype="float64")).dtype == np.float64
    assert count() == 3
    with autograd.record():
        net(nd.ones(2))
    assert count() == 4
    assert values(net(nd.ones(2))) == [2, 2]
    assert count() == 4


def test_python_arguments_and_structure_are_guards(make):
    net, count = make(lambda self, xs, factor: xs[0] * factor + (0 if len(xs) == 1 else xs[1]))
    x = nd.ones(2)
    assert values(net([x], 2)) == [2, 2]
    assert values(net([x], 3)) == [3, 3]
    assert values(net([x, x], 3)) == [4, 4]
    assert values(net([x], 2)) == [2, 2]
    assert count() == 3
    # 1, 1.0 and True compare equal in Python, but are other programs.
    assert values(net([x], 1)) == [1, 1]
    assert values(net([x], 1.0)) == [1, 1]
    assert values(net([x], True)) == [1, 1]
    assert count() == 6


def test_attributes_that_the_trace_read_are_guards(make):
    net, count = make(lambda self, x: x * self.scale + self.config["shift"])
    net.scale = 2
    net.config = {"shift": 1}
    net.unrelated = 0
    x = nd.ones(1)
    assert values(net(x)) == [3]
    net.unrelated = 5
    assert values(net(x)) == [3]
    assert count() == 1
    net.scale = 3
    assert values(net(x)) == [4]
    net.config["shift"] = 10  # changed in place, without any assignment to the block
    assert values(net(x)) == [13]
    assert count() == 3
    net.scale, net.config["shift"] = 2, 1
    assert values(net(x)) == [3]
    assert count() == 3  # the first graph fits again


def test_attributes_of_children_and_of_classes_are_guards():
    class Child(nn.HybridBlock):
        factor = 2

        def hybrid_forward(self, F, x):
            return x * self.factor

    net = nn.HybridSequential()
    net.add(Child(), Child())
    net.hybridize()
    x = nd.ones(1)
    assert values(net(x)) == [4]
    net[0].factor = 5
    assert values(net(x)) == [10]
    Child.factor = 3
    assert values(net(x)) == [15]
    net.add(Child())
    assert values(net(x)) == [45]


SCALE = 2


def test_globals_and_closures_are_guards():
    global SCALE
    shift = 1

    class Net(nn.HybridBlock):
        def hybrid_forward(self, F, x):
            return x * SCALE + shift

    net = Net()
    net.hybridize()
    assert values(net(nd.ones(1))) == [3]
    SCALE = 5
    assert values(net(nd.ones(1))) == [6]
    shift = 2
    assert values(net(nd.ones(1))) == [7]
    SCALE = 2


def test_is_training_is_a_guard(make):
    net, count = make(lambda self, x: x * (2 if autograd.is_training() else 3))
    x = nd.ones(1)
    assert values(net(x)) == [3]
    with autograd.train_mode():
        assert values(net(x)) == [2]
    assert values(net(x)) == [3]
    assert count() == 2


def test_code_that_changes_what_it_reads_is_never_reused():
    class Net(nn.HybridBlock):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    net = Net()
    net.hybridize()
    before = mx.runtime.stats()["given_way"]
    with pytest.warns(RuntimeWarning, match=r"it changes Net\.calls") as warned:
        assert [values(net(nd.ones(1)))[0] for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    assert net.calls == 6
    assert net.compiled == []
    assert len(warned) == 1
    assert mx.runtime.stats()["given_way"] == before + 1
    net.hybridize(strict=True)
    with pytest.raises(TigonError, match=r"it changes Net\.calls, which a compiled graph would do"):
        net(nd.ones(1))


def test_captured_arrays_are_read_at_each_call(make):
    table = nd.array([1, 2])
    net, count = make(lambda self, x: x + table)
    x = nd.zeros(2)
    assert values(net(x)) == [1, 2]
    table[:] = nd.array([5, 6])
    assert values(net(x)) == [5, 6]
    assert count() == 1


def test_operators_without_operands_become_nodes(make):
    net, count = make(lambda self, x: x + nd.random.uniform(shape=(100,)) + nd.ones(100))
    x = nd.zeros(100)
    mx.random.seed(3)
    first, second = net(x).asnumpy(), net(x).asnumpy()
    assert count() == 1
    assert (first != second).any()
    net.hybridize(False)
    mx.random.seed(3)
    np.testing.assert_array_equal(net(x).asnumpy(), first)
    np.testing.assert_array_equal(net(x).asnumpy(), second)


@pytest.mark.parametrize("used", [True, False])
def test_a_draw_whose_result_is_not_used_is_a_draw(used, make):
    """Else what comes after would differ from the imperative run."""

    def forward(self, x):
        nd.random.normal(shape=(2,))
        nd.Dropout(x, p=0.5)
        return x + nd.random.uniform(shape=(2,)) if used else x

    def run(hybridize):
        net, _ = make(forward)
        net.hybridize(hybridize)
        mx.random.seed(3)
        results = []
        for record in (False, True, True):
            with autograd.record() if record else autograd.predict_mode():
                results.append(values(net(nd.zeros(2))))
            results.append(values(nd.random.uniform(shape=(2,))))
        return results

    assert run(True) == run(False)


def test_plain_forward_with_parameters_and_gradient():
    class Linear(nn.HybridBlock):
        def __init__(self):
            super().__init__()
            self.weight = self.params.get("weight", shape=(3, 2), init="ones")

        def forward(self, x):
            return nd.dot(x, self.weight.data()).sum() * 2

    net = Linear()
    net.initialize()
    net.hybridize()
    with autograd.record():
        y = net(nd.ones((1, 3)))
    y.backward()
    assert values(y) == [12]
    assert values(net.weight.grad()) == [[2, 2]] * 3
    net.weight.set_data(nd.zeros((3, 2)))
    assert values(net(nd.ones((1, 3)))) == [0]


def test_same_seed_same_masks_either_way():
    def masks(hybridize):
        net = nn.HybridSequential()
        net.add(nn.Dropout(0.5), nn.Dense(6, in_units=50), nn.Dropout(0.3))
        mx.random.seed(11)
        net.initialize()
        if hybridize:
            net.hybridize()
        results = []
        for _ in range(3):
            with autograd.record():
                results.append(net(nd.ones((4, 50))).asnumpy())
        return results

    for imperative, hybrid in zip(masks(False), masks(True), strict=True):
        np.testing.assert_allclose(imperative, hybrid, rtol=1e-5)
        assert (imperative == 0).any()


def test_deferred_initialization_gives_the_same_values_either_way():
    def weights(hybridize):
        mx.random.seed(5)
        net = nn.HybridSequential()
        net.add(nn.Dense(4), nn.Dropout(0.5), nn.Dense(3))
        net.initialize(mx.init.Xavier())
        if hybridize:
            net.hybridize()
        with autograd.record():
            net(nd.ones((2, 5)))
        return [param.data().asnumpy() for param in net.collect_params().values()]

    for one, other in zip(weights(False), weights(True), strict=True):
        np.testing.assert_array_equal(one, other)


def test_auxiliary_states_advance_as_imperatively():
    def statistics(hybridize):
        mx.random.seed(1)
        net = nn.HybridSequential()
        net.add(nn.BatchNorm(in_channels=3))
        net.initialize()
        if hybridize:
            net.hybridize()
        for step in range(3):
            with autograd.record():
                net(nd.random.normal(step, 2, shape=(8, 3)))
        frozen = net[0].running_mean.data().asnumpy()
        net(nd.ones((8, 3)))  # prediction changes nothing
        np.testing.assert_array_equal(net[0].running_mean.data().asnumpy(), frozen)
        return frozen, net[0].running_var.data().asnumpy()

    for one, other in zip(statistics(False), statistics(True), strict=True):
        assert abs(one).max() > 0.1
        np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.parametrize("convert", [int, float, bool])
def test_numbers_made_of_arrays_are_paths_until_a_place_has_given_too_many(make, convert):
    net, count = make(lambda self, x: x * convert(x.sum()))
    for _ in range(3):
        for value in range(1, 6):
            expected = value * convert(2 * value)
            assert values(net(nd.ones(2) * value)) == [expected] * 2
    paths = 1 if convert is bool else 5
    assert count() == paths
    assert net.explain().startswith(f"graph 0 of {net.name}: {paths} path")
    net.hybridize(strict=True)
    if convert is bool:
        return
    with pytest.raises(
        TigonError, match=rf"{convert.__name__}\(x\) at \S+py:\d+ has given 8 different values"
    ):
        for value in range(1, 10):
            net(nd.ones(2) * value)


def test_results_of_any_structure_and_arguments_handed_through(make):
    net, _ = make(lambda self, x, y: {"sum": x + y, "pair": (x, [y * 2]), "n": 3})
    x, y = nd.ones(1), nd.ones(1)
    result = net(x, y)
    assert values(result["sum"]) == [2]
    assert result["pair"][0] is x
    assert values(result["pair"][1][0]) == [2]
    assert result["n"] == 3


def test_blocks_inside_blocks_and_imperative_parents():
    class Parent(nn.Block):
        def __init__(self):
            super().__init__()
            self.body = nn.HybridSequential()
            self.body.add(nn.Dense(2, in_units=2, weight_initializer="ones"))

        def forward(self, x):
            y = self.body(x)
            return y if y.sum().asscalar() > 0 else -y  # stays imperative

    net = Parent()
    net.initialize()
    net.hybridize()
    assert values(net(nd.ones((1, 2)))) == [[2, 2]]
    assert values(net(-nd.ones((1, 2)))) == [[2, 2]]
    assert net.body.compiled


def test_symbol_from_a_block():
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(2, activation="relu"), nn.Dense(1))
    net.initialize()
    y = net(sym.var("data"))
    assert isinstance(y, sym.Symbol)
    assert y.list_arguments() == [
        "data",
        "net_dense0_weight",
        "net_dense0_bias",
        "net_dense1_weight",
        "net_dense1_bias",
    ]
    shapes, _, _ = y.infer_shape(data=(3, 4))
    assert shapes == [(3, 4), (2, 4), (2,), (1, 2), (1,)]


def test_losses_agree_over_a_training():
    def losses(hybridize):
        mx.random.seed(2)
        net = nn.HybridSequential()
        net.add(
            nn.Conv2D(4, 3, padding=1),
            nn.BatchNorm(),
            nn.Activation("relu"),
            nn.MaxPool2D(),
            nn.Dropout(0.2),
            nn.Dense(3),
        )
        net.initialize(mx.init.Xavier())
        loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
        if hybridize:
            net.hybridize()
            loss_function.hybridize()
        trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
        x = nd.random.normal(shape=(16, 1, 6, 6))
        y = nd.array(np.arange(16) % 3)
        found = []
        for _ in range(8):
            with autograd.record():
                loss = loss_function(net(x), y)
            loss.backward()
            trainer.step(16)
            found.append(loss.mean().asscalar())
        return found

    one, other = losses(False), losses(True)
    assert one[-1] < one[0]
    np.testing.assert_allclose(one, other, rtol=2e-4)


def test_the_number_of_kept_graphs_is_bounded(make):
    net, _ = make(lambda self, x, k: x * k)
    for k in range(30):
        assert values(net(nd.ones(1), k)) == [k]
    net.step = 0
    net2, _ = make(lambda self, x: x * self.step)
    before = mx.runtime.stats()["fallbacks"]
    with pytest.warns(RuntimeWarning, match=f"{net2.name} is traced again and again") as warned:
        for step in range(20):
            net2.step = step
            assert values(net2(nd.ones(1))) == [step]
    assert len(net2.compiled) <= 8
    assert len(warned) == 1
    assert mx.runtime.stats()["fallbacks"] == before + 12


def test_what_changes_at_every_call_is_soon_seldom_traced(make):
    net, _ = make(lambda self, x: x * self.step)
    with pytest.warns(RuntimeWarning, match="most calls run as Python code") as warned:
        for step in range(3000):
            net.step = step
            assert values(net(nd.ones(1))) == [step]
    assert len(warned) == 1
    assert net._cached_graphs.traces < 30
    for _ in range(1100):  # once it stands still, it is compiled again
        assert values(net(nd.ones(1))) == [2999]
    before = mx.runtime.stats()["fallbacks"]
    assert values(net(nd.ones(1))) == [2999]
    assert mx.runtime.stats()["fallbacks"] == before


def test_explain_tells_why(make):
    net, _ = make(lambda self, x: x * self.scale)
    net.scale = 1
    net(nd.ones(1))
    net.scale = 2
    net(nd.ones(1))
    net(nd.ones(3))
    text = net.explain()
    assert "first call" in text
    assert "Net.scale changed" in text
    assert "new kind of call: (float32[3]), predict mode" in text


def test_threads_call_one_network():
    from concurrent.futures import ThreadPoolExecutor

    net = nn.HybridSequential()
    net.add(nn.Dense(16, activation="relu", in_units=8), nn.Dense(4, in_units=16))
    net.initialize(mx.init.Normal(1))
    inputs = [nd.random.normal(shape=(1 + i % 5, 8)) for i in range(40)]
    expected = [net(x).asnumpy() for x in inputs]
    net.hybridize()

    def run(i):
        x = inputs[i]
        if i % 3 == 0:
            with autograd.record():
                y = net(x)
            y.backward()
            return y.asnumpy()
        return net(x).asnumpy()

    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(run, range(40)), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    # Five shapes, in prediction or recorded.
    assert len(net.compiled) <= 10


@pytest.mark.filterwarnings("ignore:slow gives way:RuntimeWarning")
def test_a_trace_does_not_leak_into_other_threads():
    import threading

    entered, release = threading.Event(), threading.Event()

    class Slow(nn.HybridBlock):
        def forward(self, x):
            entered.set()
            release.wait(10)
            return x * 2

    slow = Slow(prefix="slow_")  # its number would depend on what ran before
    slow.hybridize()
    other = nn.Dense(2, in_units=3, weight_initializer="ones")
    other.initialize()
    thread = threading.Thread(target=lambda: slow(nd.ones(2)))
    thread.start()
    entered.wait(10)
    assert values(other(nd.ones((1, 3)))) == [[3, 3]]
    release.set()
    thread.join()
    assert values(slow(nd.ones(2))) == [2, 2]


def test_memory_of_inputs_is_not_kept(make):
    net, _ = make(lambda self, x: x * 2)
    net(nd.ones(2))
    nd.waitall()
    gc.collect()
    before = mx.runtime.stats()["bytes_now"]
    for _ in range(3):
        net(nd.ones(1 << 16))
    nd.waitall()
    assert mx.runtime.stats()["bytes_now"] <= before


def test_modes_that_the_code_sets_itself_are_kept():
    class Net(nn.HybridBlock):
        def forward(self, x):
            with autograd.predict_mode():
                frozen = nd.Dropout(x, p=0.5)
            with autograd.train_mode():
                dropped = nd.Dropout(x, p=0.5)
            with autograd.pause():
                constant = x * x
            return frozen, dropped, x * constant

    net = Net()
    x = nd.ones(50) * 2
    x.attach_grad()
    for hybridize in (False, True):
        net.hybridize(hybridize)
        for recording in (False, True):
            with autograd.record() if recording else autograd.pause():
                frozen, dropped, product = net(x)
            assert (frozen.asnumpy() == 2).all()
            assert set(values(dropped)) == {0.0, 4.0}
        product.backward()
        assert (x.grad.asnumpy() == 4).all()


def test_a_block_that_rests_is_traced_again():
    """What its code reads changes at every call, then stands still: a graph serves it again."""

    class Net(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.factor = [1]

        def hybrid_forward(self, F, x):
            return x * self.factor[0]

    net, x = Net(), nd.ones((1,))
    net.hybridize()
    begin = mx.runtime.stats()["fallbacks"]
    fallen = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(40):
            net.factor[0] = number
            assert net(x).asscalar() == number
            fallen.append(mx.runtime.stats()["fallbacks"] - begin)
        for _ in range(100):
            assert net(x).asscalar() == 39
            fallen.append(mx.runtime.stats()["fallbacks"] - begin)
    assert fallen[7] == 0 and fallen[8] == 1  # eight traces, then a rest
    assert fallen[40] > fallen[39]  # which goes on,
    assert fallen[-1] == fallen[-50] < 60  # and ends
