"""Values decide how hybridized code goes on: each way is a path of compiled segments.

Each program runs imperatively and hybridized, on data that takes different ways, several times:
results, gradients, states and the random stream must be the same, with no Python on ways that are
known.
"""

from __future__ import annotations

import gc
import sys
import threading
import warnings

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, nd
from tigon.base import TigonError
from tigon.gluon import nn

ROUNDS = 3


def rows(count=5, scale=1.0):
    """Inputs whose sums differ in sign and size."""
    return [
        np.random.RandomState(seed).randn(4, 3).astype("float32") * (seed + 0.2) * scale
        for seed in range(count)
    ]


class Net(nn.HybridBlock):
    """Layers, and a function of itself and the input."""

    def __init__(self, function, layers=("dense",)):
        super().__init__(prefix="net_")
        with self.name_scope():
            if "dense" in layers:
                self.dense = nn.Dense(3, in_units=3)
            if "norm" in layers:
                self.norm = nn.BatchNorm(in_channels=3)
            if "drop" in layers:
                self.drop = nn.Dropout(0.5)
            if "experts" in layers:
                self.experts = nn.HybridSequential()
                for _ in range(4):
                    self.experts.add(nn.Dense(3, in_units=3))
        self.function = function

    def forward(self, x):
        return self.function(self, x)


PROGRAMS = {}


def program(*layers):
    def add(function):
        PROGRAMS[function.__name__] = lambda: Net(function, layers)
        return function

    return add


@program("dense")
def branches(net, x):
    h = net.dense(x)
    return h * 2 if h.sum() > 0 else -h


@program()
def loops_until_convergence(net, x):
    steps = 0
    while (x * x).sum() > 1:
        x = x * 0.5
        steps += 1
    return x * steps


@program("experts", "dense")
def routes_among_experts(net, x):
    expert = int(net.dense(x).mean(axis=0).argmax(axis=0))
    return net.experts[expert](x)


@program("dense")
def clips_by_a_norm(net, x):
    h = net.dense(x)
    norm = (h * h).sum().sqrt()
    if norm > 3:
        h = h * (3 / norm)
    return h


@program("dense")
def leaves_early(net, x):
    for _ in range(4):
        x = net.dense(x)
        if x.max() > 2:
            return x
    return x * 100


@program("dense")
def decides_within_decisions(net, x):
    total = 0 * x
    for row in range(x.shape[0]):
        if x[row].sum() > 0:
            if x[row].max() > 2:
                break
            total = total + x
        elif x[row].min() < -2:
            continue
        total = total - net.dense(x)
    return total


@program("dense", "norm", "drop")
def moves_states_and_draws(net, x):
    h = net.drop(net.norm(net.dense(x)))
    nd.random.uniform(shape=(2,))  # nobody reads it
    if h.mean() > 0:
        h = net.drop(h) * 2
    y = net.norm(h)
    if y.max() > 1.5:
        return net.drop(y)
    return y + nd.random.normal(shape=(4, 3)) + net.norm.running_mean.data()


@program()
def decides_by_numbers(net, x):
    total, mean = x.sum().asscalar(), x.mean().item()
    if total > 0.5 and mean < 0.2:
        return x + 1
    return x * 2 if total <= -1 else x


@program()
def reads_an_integer(net, x):
    place = x.sum(axis=1).argmax(axis=0).astype("int32")
    return x[int(place.asscalar())] * 2


@program("dense")
def writes_across_decisions(net, x):
    h = net.dense(x)
    view = h[1:]
    with autograd.pause():
        own = nd.zeros((4, 3))
        if x.sum() > 0:
            own[1] = 3
            own += 1
        else:
            own[:, 0] = 4
        if own.max() > 2:
            own[0] = 5
    return (view * 2).sum() + (h + own)


@program("dense")
def pauses(net, x):
    h = net.dense(x)
    with autograd.pause():
        scale = h.sum()
        if scale > 0:
            scale = scale * 0.5
    return h * scale


@program("dense")
def gives_other_structures(net, x):
    h = net.dense(x)
    if h.sum() > 0:
        return h, [x, h * 2]
    return {"h": h, "n": 3}


@program()
def decides_by_an_argument_alone(net, x):
    return x[0:1, 0] * 2 if x[0, 0] > 0 else x.sum()


@program("dense")
def catches_what_it_raises(net, x):
    try:
        if x.sum() > 0:
            raise ValueError("large")
    except ValueError:
        return net.dense(x)
    return x


def leaves(result):
    if isinstance(result, nd.NDArray):
        return [result]
    if isinstance(result, dict):
        result = result.values()
    return [leaf for part in result for leaf in leaves(part)] if not np.isscalar(result) else []


def outcome(make, inputs, hybridize, recorded):
    mx.random.seed(3)
    net = make()
    net.initialize(mx.init.Normal(0.5))
    net.hybridize(hybridize, strict=True)
    seen = []
    for _ in range(ROUNDS):
        for given in inputs:
            x = nd.array(given)
            if recorded:
                x.attach_grad()
                with autograd.record():
                    result = net(x)
                    head = sum(leaf.sum() for leaf in leaves(result))
                head.backward()
                trained = [p for p in net.collect_params().values() if p.grad_req != "null"]
                seen += [x.grad, *[param.grad().copy() for param in trained]]
                x.grad[:] = 0
                for param in trained:
                    param.zero_grad()
            else:
                result = net(x)
            seen += leaves(result)
            seen += [param.data().copy() for param in net.collect_params().values()]
    seen.append(nd.random.uniform(shape=(3,)))
    return [array.asnumpy() for array in seen], net


@pytest.mark.parametrize("recorded", [False, True], ids=["predicting", "recorded"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_paths_compute_what_the_code_says(name, recorded):
    inputs = rows()
    expected, _ = outcome(PROGRAMS[name], inputs, False, recorded)
    got, net = outcome(PROGRAMS[name], inputs, True, recorded)
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-5)
    (entry,) = net.compiled
    assert len(entry.paths) > 1
    assert net._cached_graphs.traces == 1


def calls_of_python(function):
    """The functions of Python that run in a call, that of the call itself apart."""
    seen = []
    sys.setprofile(lambda frame, event, _: seen.append(frame.f_code) if event == "call" else None)
    try:
        function()
    finally:
        sys.setprofile(None)
    return seen[1:]


@pytest.mark.parametrize("name", [n for n in PROGRAMS if n != "gives_other_structures"])
def test_known_paths_run_no_python(name):
    net = PROGRAMS[name]()
    net.initialize(mx.init.Normal(0.5))
    net.hybridize()
    given = [nd.array(x) for x in rows()]
    for _ in range(2):
        for x in given:
            net(x)
    before = mx.runtime.stats()
    for x in given:
        if name in ("moves_states_and_draws", "leaves_early"):
            continue  # by chance they may go where nobody has been
        assert calls_of_python(lambda x=x: net(x)) == []
    after = mx.runtime.stats()
    for counter in ("paths", "given_way", "imperative_operators", "compilations"):
        assert after[counter] == before[counter], counter


def test_an_unknown_way_is_as_if_it_had_not_been_tried():
    """The first segment moves a state and draws, natively; then the call is traced: both once."""

    def forward(net, x):
        h = net.drop(net.norm(x))
        return h * 2 if x.sum() > 0 else h

    def run(hybridize):
        mx.random.seed(5)
        net = Net(forward, ("norm", "drop"))
        net.initialize()
        net.hybridize(hybridize)
        seen = []
        for given in (1, 1, -1, -1, 1):
            with autograd.record():
                y = net(nd.array(rows()[0]) + 3 * given)
            seen += [y.asnumpy(), net.norm.running_mean.data().asnumpy()]
        return [*seen, nd.random.uniform(shape=(2,)).asnumpy()], net

    expected, _ = run(False)
    got, net = run(True)
    for mine, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    assert len(net.compiled[0].paths) == 2


def test_a_call_that_raises_on_its_way_leaves_nothing_behind():
    def forward(net, x):
        h = net.drop(net.norm(x))
        if h.max() > 1e6:
            raise OverflowError("too large")
        return h

    net = Net(forward, ("norm", "drop"))
    net.initialize()
    net.hybridize()
    x = nd.array(rows()[0])
    with autograd.record():
        net(x)
    mx.random.seed(1)
    expected = nd.random.uniform(shape=(2,)).asnumpy()
    mean = net.norm.running_mean.data().asnumpy()
    mx.random.seed(1)
    net.norm.gamma.set_data(nd.full((3,), 1e9))
    for _ in range(2):
        with pytest.raises(OverflowError, match="too large"), autograd.record():
            net(x)
    net.norm.gamma.set_data(nd.ones((3,)))
    np.testing.assert_array_equal(net.norm.running_mean.data().asnumpy(), mean)
    np.testing.assert_array_equal(nd.random.uniform(shape=(2,)).asnumpy(), expected)
    with autograd.record():
        net(x)
    assert (net.norm.running_mean.data().asnumpy() != mean).any()


def test_what_only_one_path_has_read_is_guarded():
    def forward(net, x):
        if x.sum() > 0:
            return x * 2
        return x * net.factor

    net = Net(forward, ())
    net.factor = 3
    net.hybridize()
    x = nd.ones((2,))
    assert net(x).asnumpy().tolist() == [2, 2]
    assert net(-x).asnumpy().tolist() == [-3, -3]
    net.factor = 5
    assert net(-x).asnumpy().tolist() == [-5, -5]
    assert net(x).asnumpy().tolist() == [2, 2]


class Settings:
    def __init__(self, factor):
        self.factor = factor

    def scaled(self, x):
        return x * self.factor


def test_what_is_first_reached_on_a_later_path_is_guarded():
    """Names within functions that only that path calls, of objects that only it asks for."""
    tables = {"settings": Settings(3)}

    def forward(net, x):
        if x.sum() > 0:
            return x * 2
        return getattr(tables["settings"], "sca" + "led")(x)

    net = Net(forward, ())
    net.hybridize(strict=True)
    x = nd.ones((2,))
    for expected, change in ((3, 5), (5, 7), (7, 7)):
        assert net(x).asnumpy().tolist() == [2, 2]
        assert net(-x).asnumpy().tolist() == [-expected] * 2
        tables["settings"].factor = change


def test_one_compilation_serves_the_rounds_of_a_loop_and_all_lengths():
    net = PROGRAMS["loops_until_convergence"]()
    net.hybridize()
    for length in (4, 6):
        for scale in (1, 100):
            net(nd.ones((length,)) * scale)
    inputs = [nd.ones((length,)) * 50 for length in range(10, 20)]
    nd.waitall()
    before = mx.runtime.stats()["compilations"]
    for x in inputs:
        assert net(x).shape == x.shape
    assert mx.runtime.stats()["compilations"] == before
    assert len({one.segment.cached for e in net.compiled for one in e.paths.all()}) <= 6


def test_a_place_that_gives_many_values_makes_the_block_give_way():
    def forward(net, x):
        return x * float(x.sum())

    line = forward.__code__.co_firstlineno + 1
    net = Net(forward, ())
    net.hybridize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for value in range(1, 12):
            assert net(nd.full((2,), value)).asnumpy().tolist() == [2 * value**2] * 2
    (message,) = [str(one.message) for one in caught]
    assert message == (
        f"net gives way to its Python code: float(x) at {__file__}:{line} has given 8 different "
        "values, each of which would be a program of its own; compute with the array itself. Calls "
        "of this kind run imperatively from now on"
    )
    assert net.compiled == []


def test_a_block_of_too_many_paths_gives_way():
    def forward(net, x):
        for place in range(7):
            if x[place] > 0:
                x = x + 1
        return x

    inputs = [
        np.array([1 if number >> bit & 1 else -9 for bit in range(7)], "float32")
        for number in range(128)
    ]
    net = Net(forward, ())
    expected = [net(nd.array(x)).asnumpy() for x in inputs]
    net.hybridize()
    with pytest.warns(RuntimeWarning, match="its values decide among more than 64 paths"):
        got = [net(nd.array(x)).asnumpy() for x in inputs]
    np.testing.assert_array_equal(got, expected)
    net.hybridize(strict=True)
    with pytest.raises(TigonError, match="more than 64 paths"):
        for x in inputs:
            net(nd.array(x))


def test_a_call_that_decides_without_end_gives_way():
    def forward(net, x):
        while x.sum() < 1200:
            x = x + 1
        return x

    net = Net(forward, ())
    net.hybridize()
    with pytest.warns(RuntimeWarning, match="it has decided 1000 times in one call"):
        assert net(nd.zeros((1,))).asnumpy().tolist() == [1200]


def test_a_decision_on_several_elements_is_the_error_of_arrays():
    def forward(net, x):
        return x if x > 0 else -x

    x = nd.ones((3,))
    messages = []
    for hybridize in (False, True):
        net = Net(forward, ())
        net.hybridize(hybridize)
        with pytest.raises(TigonError) as caught:
            net(x)
        messages.append(str(caught.value))
    assert "the truth value of an array of shape (3,) is ambiguous" in messages[1]
    assert messages[0] == messages[1]


def test_python_code_before_a_decision_runs_once_and_after_it_too():
    ran = []

    class Note(mx.operator.CustomOp):
        def forward(self, is_train, req, in_data, out_data, aux):
            ran.append(in_data[0].asnumpy().tolist())
            self.assign(out_data[0], req[0], in_data[0])

        def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
            self.assign(in_grad[0], req[0], out_grad[0])

    @mx.operator.register("note_of_forks")
    class NoteProp(mx.operator.CustomOpProp):
        def create_operator(self, ctx, shapes, dtypes):
            return Note()

    def noted(x):
        return nd.Custom(x, op_type="note_of_forks")

    def before(net, x):
        y = noted(x)
        return y * 2 if y.sum() > 0 else y

    def after(net, x):
        return noted(x * 2) if x.sum() > 0 else noted(x)

    inputs = [nd.full((1,), value) for value in (1, -1, 1, -1)]
    for function in (before, after):
        expected = []
        for hybridize in (False, True):
            ran.clear()
            net = Net(function, ())
            net.hybridize(hybridize)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                seen = [net(x).asnumpy().tolist() for x in inputs]
            expected.append([seen, list(ran)])
        assert expected[0] == expected[1]
        assert len(caught) == (function is before)
        assert len(ran) == 4


def test_threads_share_the_paths_of_a_block():
    net = PROGRAMS["decides_within_decisions"]()
    net.initialize(mx.init.Normal(0.5))
    inputs = [nd.array(x) for x in rows(12)]
    expected = [net(x).asnumpy() for x in inputs]
    net.hybridize()
    wrong = []

    def work(first):
        for place in [*range(first, 12), *range(first)] * 3:
            mine = net(inputs[place]).asnumpy()
            if not np.allclose(mine, expected[place], rtol=1e-5, atol=1e-5):
                wrong.append(place)

    threads = [threading.Thread(target=work, args=(3 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_nested_blocks_fork_as_parts_and_alone():
    def run(hybridize):
        mx.random.seed(3)
        net = nn.HybridSequential(prefix="outer_")
        with net.name_scope():
            net.add(nn.Dense(3, in_units=3), PROGRAMS["branches"](), nn.Dense(2, in_units=3))
        net.initialize(mx.init.Normal(0.5))
        net.hybridize(hybridize)
        seen = [net(nd.array(x)).asnumpy() for x in rows()]
        return seen + [net[1](nd.array(x)).asnumpy() for x in rows()], net

    expected, _ = run(False)
    got, net = run(True)
    for mine, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    assert net.compiled[0].paths and net[1].compiled[0].paths


def test_giving_way_after_a_decision_goes_on_with_arrays_states_and_gradients():
    def forward(net, x):
        h = net.norm(net.dense(x))
        with autograd.pause():
            own = h * 1
            view = own[0]
        if h.sum() > -1e9:
            h = h * 2
        net.count = getattr(net, "count", 0) + 1
        with autograd.pause():
            own[0] = 7
        return h + net.count + view.sum() + net.norm(h)

    def run(hybridize):
        mx.random.seed(3)
        net = Net(forward, ("dense", "norm"))
        net.initialize(mx.init.Normal(0.5))
        net.hybridize(hybridize)
        seen = []
        for given in rows(3):
            with autograd.record():
                y = net(nd.array(given))
            y.backward()
            seen += [y, net.dense.weight.grad().copy(), net.norm.running_mean.data().copy()]
        return [array.asnumpy() for array in seen]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for mine, theirs in zip(run(True), run(False), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def test_paths_are_freed_with_their_block():
    net = PROGRAMS["branches"]()
    net.initialize()
    net.hybridize()
    for x in rows():
        net(nd.array(x))
    gc.collect()
    before = mx.runtime.stats()["bytes_now"]
    for _ in range(3):
        for x in rows():
            net(nd.array(x))
    nd.waitall()
    gc.collect()
    assert mx.runtime.stats()["bytes_now"] == before


def test_the_explanation_shows_the_tree_with_lines():
    def forward(net, x):
        if x.sum() > 0:
            return x * 2
        return net.experts[int(x.max())](x)

    line = forward.__code__.co_firstlineno + 1
    net = Net(forward, ("experts",))
    net.initialize()
    net.hybridize()
    x = nd.ones((1, 3))
    net(x), net(-x), net(x * nd.array([[-9, 1, 1]]))
    assert net.explain().splitlines() == [
        f"graph 0 of {net.name}: 3 paths (first call)",
        f"  2 operators, then bool(x) at {__file__}:{line}",
        "    True: 1 operators, then returns",
        f"    False: 1 operators, then int(x) at {__file__}:{line + 2}",
        "      -1: 1 operators, then returns",
        "      1: 1 operators, then returns",
    ]


def test_export_says_which_lines_decide():
    def forward(net, x):
        if x.sum() > 0:
            return x * 2
        return x * float(x.max())

    line = forward.__code__.co_firstlineno + 1
    net = Net(forward, ())
    net.hybridize()
    net(nd.ones((2,))), net(-nd.ones((2,)))
    with pytest.raises(TigonError) as caught:
        net.export("nowhere")
    assert str(caught.value) == (
        f"export: net decides by values: bool(x) at {__file__}:{line}, float(x) at "
        f"{__file__}:{line + 2}; a file holds one graph, so write the branch as "
        "F.contrib.cond(condition, then, otherwise) and a loop as F.contrib.while_loop, which are "
        "parts of it"
    )


def test_what_decides_in_training_alone_is_exported_for_prediction(tmp_path):
    def forward(net, x):
        if autograd.is_training() and x.sum() > 0:
            return x * 3
        return x * 2

    net = Net(forward, ())
    net.hybridize()
    with autograd.record():
        net(nd.ones((2,)))
    symbol, params = net.export(str(tmp_path / "net"))
    loaded = mx.gluon.SymbolBlock.imports(symbol, ["data"], params)
    assert loaded(nd.ones((2,))).asnumpy().tolist() == [2, 2]


def test_symbols_from_outside_are_told_before_and_after_a_decision():
    outside = mx.sym.var("outside")

    def before(net, x):
        return x if (x + outside).sum() > 0 else -x

    def after(net, x):
        return x + outside if x.sum() > 0 else x

    for function in (before, after):
        net = Net(function, ())
        net.hybridize()
        with pytest.raises(TigonError, match="used the symbol 'outside', which belongs to no arg"):
            net(nd.ones((2,)))


def test_threads_call_while_paths_are_added():
    """A call has the arrays that its tree asks for, also where another thread adds paths."""
    count = 40
    net = nn.HybridSequential()
    experts = [nn.Dense(2, in_units=2) for _ in range(6)]
    net.add(*experts)

    def forward(net, x):
        return experts[int(x[0, 0])](x)

    routed = Net(forward, ())
    for expert in experts:
        routed.register_child(expert)
    routed.initialize(mx.init.Normal(1))
    inputs = [nd.full((1, 2), number) for number in range(6)]
    expected = [routed(x).asnumpy() for x in inputs]
    wrong = []

    def work(first):
        for turn in range(count):
            place = (first + turn) % 6
            try:
                if not np.allclose(routed(inputs[place]).asnumpy(), expected[place], rtol=1e-5):
                    wrong.append(place)
            except Exception as error:
                wrong.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(3):
            routed.hybridize()
            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
