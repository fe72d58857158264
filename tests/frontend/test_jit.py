"""`tigon.jit`: plain functions, compiled; what they compute is what they say."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections import namedtuple

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, sym
from tigon.base import TigonError
from tigon.gluon import graphs as traced_graphs
from tigon.gluon import nn

Pair = namedtuple("Pair", "left right")
FACTOR = 2
WEIGHT = nd.array([1, 2])


class Runs:
    """How often the Python code of a function ran, by what it printed: printing speaks while code
    is traced and changes nothing. For a counter that it moved, a function would give way."""

    def __init__(self, shown):
        self.shown = shown
        self.line = f"run of function {len(shown.of)}\n"
        shown.of.append(self)

    def __len__(self):
        self.shown.text += self.shown.capsys.readouterr().out
        return self.shown.text.count(self.line)


class Shown:
    def __init__(self, capsys):
        self.capsys, self.text, self.of = capsys, "", []


@pytest.fixture
def counted(capsys):
    """Makes compiled functions, each with how often its Python code ran."""
    shown = Shown(capsys)

    def make(function, **options):
        runs = Runs(shown)
        line = runs.line

        def body(*args, **keywords):
            print(line, end="")
            return function(*args, **keywords)

        body.__signature__ = inspect.signature(function)
        body.__name__ = function.__name__
        return mx.jit(body, **options), runs

    return make


def values(array):
    return array.asnumpy().tolist()


def test_python_runs_once_and_a_call_is_one_native_call(counted):
    def chain(a, b):
        return nd.tanh(b * a + 1) * 0.5 + a

    compiled, runs = counted(chain)
    a, b = nd.array([0.5, 1, 2]), nd.array([3, 2, 1])
    for _ in range(3):
        np.testing.assert_allclose(compiled(a, b).asnumpy(), chain(a, b).asnumpy(), rtol=1e-6)
    assert len(runs) == 1
    before = mx.runtime.stats()
    compiled(a, b)
    after = mx.runtime.stats()
    assert after["native_calls"] - before["native_calls"] == 1
    assert after["imperative_operators"] == before["imperative_operators"]
    assert after["compilations"] == before["compilations"]


def test_containers_in_and_out():
    @mx.jit
    def swap(pair, table):
        return Pair(pair.right, pair.left * 2), [table["a"][0] + table["b"], {"n": 7}], ()

    x, y = nd.array([1, 2]), nd.array([3, 4])
    pair, (total, rest), nothing = swap(Pair(x, y), {"a": [x], "b": y})
    assert type(pair) is Pair
    assert pair.left is y
    assert values(pair.right) == [2, 4]
    assert values(total) == [4, 6]
    assert rest == {"n": 7}
    assert nothing == ()


def test_shapes_dtypes_modes_structures_and_values_trace_again(counted):
    compiled, runs = counted(lambda x, by: x * (by[0] if isinstance(by, list) else by))
    x = nd.ones(2)
    assert values(compiled(x, 2)) == [2, 2]
    assert values(compiled(x, 3)) == [3, 3]
    assert values(compiled(x, [3])) == [3, 3]
    assert values(compiled(nd.ones(1), 2)) == [2]
    assert compiled(x.astype("float64"), 2).dtype == np.float64
    assert values(compiled(x, nd.array([5, 6]))) == [5, 6]
    assert len(runs) == 6
    with autograd.train_mode():
        compiled(x, 2)
    assert len(runs) == 7
    for by in (2, 3, [3]):
        compiled(x, by)
    assert len(runs) == 7


def test_globals_closures_and_replaced_arrays_are_guards():
    scale = 3

    def scaled(x):
        return x * FACTOR * scale + WEIGHT

    compiled = mx.jit(scaled)
    x = nd.ones(2)
    assert values(compiled(x)) == [7, 8]
    scale = 4
    assert values(compiled(x)) == [9, 10]
    spaces = globals()
    try:
        spaces["FACTOR"] = 1
        assert values(compiled(x)) == [5, 6]
        spaces["WEIGHT"] = nd.zeros(2)
        assert values(compiled(x)) == [4, 4]
    finally:
        spaces["FACTOR"], spaces["WEIGHT"] = 2, nd.array([1, 2])


def test_an_array_changed_in_place_is_no_constant(counted):
    held = nd.array([1, 2])
    compiled, runs = counted(lambda x: x + held)
    assert values(compiled(nd.ones(2))) == [2, 3]
    held[:] = 5
    assert values(compiled(nd.ones(2))) == [6, 6]
    assert len(runs) == 1


def test_static_arguments_by_position_and_name(counted):
    def power(x, exponent, mode="plain"):
        return x**exponent if mode == "plain" else -(x**exponent)

    for options in ({"static_argnums": (1, -1)}, {"static_argnames": ["exponent", "mode"]}):
        compiled, runs = counted(power, **options)
        x = nd.array([2, 3])
        assert values(compiled(x, 2)) == [4, 9]
        assert values(compiled(x, exponent=2)) == [4, 9]
        assert values(compiled(exponent=2, x=x)) == [4, 9]
        assert len(runs) == 1
        assert values(compiled(x, 2, mode="minus")) == [-4, -9]
        assert values(compiled(x, 2, "minus")) == [-4, -9]
        assert len(runs) == 2
        assert values(compiled(x, 2.0)) == [4, 9]
        assert len(runs) == 3


def test_static_arguments_are_compared_by_equality(counted):
    class Configuration:
        def __init__(self, by):
            self.by = by

        def __eq__(self, other):
            return self.by == other.by

        def __hash__(self):
            return hash(self.by)

    compiled, runs = counted(lambda x, options: x * options.by, static_argnums=1)
    assert values(compiled(nd.ones(1), Configuration(2))) == [2]
    assert values(compiled(nd.ones(1), Configuration(2))) == [2]
    assert len(runs) == 1
    assert values(compiled(nd.ones(1), Configuration(3))) == [3]


@pytest.mark.parametrize("options", [{}, {"static_argnums": 1}], ids=["guard", "static"])
def test_equal_numbers_of_different_meaning(options, counted):
    compiled, runs = counted(lambda x, by: (x + nd.full((1,), by)) / by, **options)
    zero = nd.array([-1.0])
    assert values(compiled(zero, 0.0)) == [-np.inf]
    assert values(compiled(zero, -0.0)) == [np.inf]
    assert np.isnan(values(compiled(zero, float("nan")))).all()
    assert len(runs) == 3
    compiled(zero, float("nan"))
    assert len(runs) == 3
    dtypes, _ = counted(lambda x, value: nd.array([0]).astype(type(value[0]).__name__), **options)
    given = [dtypes(zero, (value,)).dtype for value in (1, 1.0, True)]
    assert given == [np.int64, np.float64, np.bool_]


def test_keyword_only_and_gathered_arguments():
    @mx.jit
    def gathered(*arrays, by=1, **more):
        return sum(arrays[1:], arrays[0]) * by + more.get("bias", 0)

    x = nd.ones(2)
    assert values(gathered(x, x)) == [2, 2]
    assert values(gathered(x, x, x, by=2)) == [6, 6]
    assert values(gathered(x, bias=x)) == [2, 2]
    assert values(gathered(x, bias=x, by=x)) == [2, 2]


def test_calls_that_do_not_fit_fail_as_in_python():
    @mx.jit
    def pair(x, y, /, scale=1):
        return (x + y) * scale

    x = nd.ones(1)
    assert values(pair(x, x, scale=3)) == [6]
    for args, keywords in (((x,), {}), ((x, x, 1, 2), {}), ((x,), {"y": x}), ((x, x), {"z": 1})):
        with pytest.raises(TypeError):
            pair(*args, **keywords)
    with pytest.raises(TypeError):
        pair(x, x, 1, scale=2)


def test_gradients_flow_as_through_one_operation():
    def energy(x, weights):
        hidden = nd.tanh(nd.dot(x, weights["w"]) + weights["b"])
        return (hidden * hidden).sum(axis=1), hidden

    def gradients(function):
        mx.random.seed(3)
        x, w, b = nd.random.normal(shape=(4, 3)), nd.random.normal(shape=(3, 2)), nd.zeros(2)
        for array in (x, w, b):
            array.attach_grad()
        with autograd.record():
            total, hidden = function(x * 2, {"w": w, "b": b})
            loss = total + hidden.sum(axis=1)
        loss.backward()
        return [array.grad.asnumpy() for array in (x, w, b)]

    compiled = mx.jit(energy)
    for mine, theirs in zip(gradients(compiled), gradients(energy), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    x, weights = nd.ones((4, 3)), {"w": nd.ones((3, 2)), "b": nd.zeros(2)}
    weights["w"].attach_grad()
    with autograd.record():
        compiled(x, weights)
    nd.waitall()
    before = mx.runtime.stats()
    with autograd.record():
        total, _ = compiled(x, weights)
    total.backward()
    after = mx.runtime.stats()
    assert after["tape_nodes"] - before["tape_nodes"] <= 1
    assert after["native_calls"] - before["native_calls"] == 2


def test_second_derivatives():
    compiled = mx.jit(lambda x: x * x * x)
    x = nd.array([1, 2])
    x.attach_grad()
    with autograd.record():
        (first,) = autograd.grad(compiled(x), [x], create_graph=True)
    first.backward()
    assert values(x.grad) == [6, 12]


def test_blocks_inside_are_traced_with_their_parameters(counted):
    net = nn.HybridSequential()
    net.add(nn.Dense(4, activation="relu"), nn.BatchNorm(), nn.Dense(2))
    net.initialize()
    plain = nn.Sequential()
    plain.add(net)
    compiled, runs = counted(lambda x: nd.softmax(plain(x)))
    x = nd.random.normal(shape=(3, 5))
    np.testing.assert_allclose(
        compiled(x).asnumpy(), nd.softmax(net(x)).asnumpy(), rtol=1e-5, atol=1e-6
    )
    with autograd.record():
        loss = compiled(x)
    loss.backward()
    assert np.isfinite(net[0].weight.grad().asnumpy()).all()
    count = len(runs)
    net[0].weight.set_data(nd.zeros((4, 5)))
    np.testing.assert_allclose(
        compiled(x).asnumpy(), nd.softmax(net(x)).asnumpy(), rtol=1e-5, atol=1e-6
    )
    assert len(runs) == count
    plain.add(nn.Dense(1))
    plain[1].initialize()
    assert compiled(x).shape == (3, 1)


def test_methods_and_attributes_of_plain_objects():
    class Model:
        def __init__(self):
            self.rate = 2
            self.offset = nd.array([1])

        @mx.jit
        def apply(self, x):
            return x * self.rate + self.offset

    model, other = Model(), Model()
    other.rate = 5
    x = nd.array([10])
    assert values(model.apply(x)) == [21]
    assert values(other.apply(x)) == [51]
    model.rate = 3
    assert values(model.apply(x)) == [31]
    model.offset = nd.array([2])
    assert values(model.apply(x)) == [32]
    assert values(Model.apply(other, x)) == [51]


def test_random_numbers_go_on_as_imperatively():
    def noisy(x):
        return x + nd.random.uniform(shape=(3,)) * nd.Dropout(x, p=0.5)

    def run(function):
        mx.random.seed(11)
        with autograd.train_mode():
            return [function(nd.ones(3)).asnumpy() for _ in range(3)]

    np.testing.assert_array_equal(run(mx.jit(noisy)), run(noisy))


def test_compiled_functions_nest_and_meet_symbols(counted):
    inner, runs = counted(lambda x: x * 2)
    outer = mx.jit(lambda x: inner(x) + 1)
    assert values(outer(nd.ones(2))) == [3, 3]
    assert values(outer(nd.ones(2))) == [3, 3]
    assert len(runs) == 1
    symbol = outer(sym.var("x"))
    assert symbol.list_arguments() == ["x"]

    class Net(nn.HybridBlock):
        def forward(self, x):
            return outer(x)

    net = Net()
    net.hybridize()
    assert values(net(nd.ones(2))) == [3, 3]


def test_results_without_arrays_and_arguments_without_arrays():
    assert mx.jit(lambda x: 5)(nd.ones(1)) == 5
    assert mx.jit(lambda: None)() is None
    assert values(mx.jit(lambda n: nd.ones(n) * 2)(3)) == [2, 2, 2]


def test_name_documentation_and_report():
    @mx.jit
    def documented(x):
        """What it does."""
        return x + 1

    assert documented.__name__ == "documented"
    assert documented.__doc__ == "What it does."
    assert repr(documented) == "jit(documented(x))"
    assert documented.explain() == "not called yet"
    documented(nd.ones(2))
    documented(nd.ones(3))
    report = documented.explain()
    assert "graph 0 of documented: 1 operators (first call)" in report
    assert "new kind of call: (float32[3]), predict mode" in report
    assert len(documented.compiled) == 2


def test_many_kinds_of_calls_do_not_fill_the_memory(monkeypatch, counted):

    monkeypatch.setattr(traced_graphs, "KINDS_KEPT", 4)
    compiled, runs = counted(lambda x, n: x + n)
    for n in range(10):
        assert values(compiled(nd.ones(1), n)) == [n + 1]
    assert len(compiled.compiled) == 4
    assert values(compiled(nd.ones(1), 9)) == [10]
    assert len(runs) == 10


def provoked(function, *args, **keywords):
    with pytest.raises(TigonError) as caught:
        function(*args, **keywords)
    return str(caught.value)


def test_kinds_of_calls_that_fail_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(traced_graphs, "KINDS_KEPT", 4)

    @mx.jit
    def picky(x):
        if x.shape[0] % 2:
            raise ValueError(x.shape)
        return x * 2

    for size in range(1, 20):
        try:
            picky(nd.ones(size))
        except ValueError:
            pass
    assert len(picky._cached_graphs._by_kind) <= 4


@pytest.mark.parametrize("options", [{"donate_argnums": 0}, {"donate_argnames": ["state"]}])
def test_donated_arguments_hold_the_result(options, counted):
    compiled, runs = counted(lambda state, x: state * 0.5 + x, **options)
    state, x = nd.ones((3, 4)), nd.ones((3, 4))
    storage = state.storage_id
    for _ in range(3):
        old, state = state, compiled(state, x)
        assert state.storage_id == storage
        assert old.donated and not x.donated
        with pytest.raises(TigonError, match="donated"):
            old + 1
        with pytest.raises(TigonError, match="donated"):
            compiled(old, x)
    assert values(state[0]) == [1.875] * 4
    assert len(runs) == 1


def test_donated_containers_and_keywords():
    @mx.jit(donate_argnames=("states", "last"))
    def step(x, states, scale=2, *, last, first=None):
        total = x + last + (0 if first is None else first)
        return {
            "mean": states["mean"] * scale,
            "rest": [part + 1 for part in states["rest"]],
        }, total

    x, last, first = nd.ones(2), nd.ones(2), nd.ones(2)
    states = {"count": 3, "mean": nd.ones(2), "rest": [nd.ones(3), nd.ones(4)]}
    result, total = step(x, states=states, last=last, first=first)
    assert states["mean"].donated and all(part.donated for part in states["rest"])
    assert last.donated and not x.donated and not first.donated
    assert values(total) == [3, 3]
    assert values(result["mean"]) == [2, 2]
    assert [values(part) for part in result["rest"]] == [[2] * 3, [2] * 4]


def test_donated_arguments_that_are_not_used_or_handed_through():
    @mx.jit(donate_argnums=(0, 1, 2))
    def pass_on(a, b, c):
        return [b, b * 2], c

    a, b, c = nd.ones(2), nd.array([1, 2]), nd.array([3, 4])
    storage = b.storage_id
    (same, doubled), handed = pass_on(a, b, c)
    assert a.donated and b.donated and c.donated
    assert same.storage_id == storage
    assert values(same) == [1, 2] and values(doubled) == [2, 4] and values(handed) == [3, 4]


def test_donation_with_aliases_gradients_and_failures():
    compiled = mx.jit(lambda a, b: a * 2 + b, donate_argnums=0)
    x = nd.array([1, 2])
    assert values(compiled(x, x)) == [3, 6]  # one array twice
    assert x.donated
    y = nd.array([[1, 2], [3, 4]])
    assert values(compiled(y[0], y[1])) == [5, 8]  # memory that others see is not written
    assert values(y) == [[1, 2], [3, 4]]

    a, b = nd.array([1, 2]), nd.array([3, 4])
    a.attach_grad()
    with autograd.record():
        product = a * b
        result = mx.jit(lambda p, q: (p * p).sum() + q.sum(), donate_argnums=0)(product, b)
    assert product.donated
    result.backward()
    assert values(a.grad) == [2 * 1 * 9, 2 * 2 * 16]

    z = nd.ones(2)
    with pytest.raises(TigonError):
        compiled(z, nd.ones(3))
    assert not z.donated


def test_donation_inside_of_a_trace_is_none():
    inner = mx.jit(lambda x: x * 2, donate_argnums=0)
    x = nd.ones(2)
    assert values(mx.jit(lambda x: inner(x) + x)(x)) == [3, 3]
    assert not x.donated


def test_errors_of_donation():
    def named(x, mode, *rest):
        return x

    for options, message in (
        ({"donate_argnums": 3}, "donate_argnums: named(x, mode, *rest) has no argument number 3"),
        ({"donate_argnames": "made"}, "donate_argnames: named(x, mode, *rest) has no 'made'"),
        (
            {"donate_argnums": 2},
            "donate: 'rest' of named(x, mode, *rest) stands for any number of arguments; name one "
            "that has a place or a name of its own",
        ),
        (
            {"donate_argnums": 1, "static_argnames": "mode"},
            "'mode' of named(x, mode, *rest) is declared static and donated; only arrays can be "
            "donated",
        ),
    ):
        assert provoked(mx.jit, named, **options) == f"jit: {message}"
    compiled = mx.jit(named, donate_argnums=1)
    assert provoked(compiled, nd.ones(1), 3) == (
        "named: donated argument 'mode': only NDArrays can be donated; given int; convert it with "
        "nd.array, or do not donate it"
    )
    assert provoked(compiled, nd.ones(1), np.ones(1)).startswith("named: donated argument 'mode'")


def test_errors():
    x = nd.ones(2)
    assert provoked(mx.jit, 5) == (
        "jit: expected a function; given int; settings are passed by name: jit(static_argnums=...)"
    )

    def named(x, mode):
        return x

    assert provoked(mx.jit, named, static_argnums=2) == (
        "jit: static_argnums: named(x, mode) has no argument number 2"
    )
    assert provoked(mx.jit, named, static_argnames="made") == (
        "jit: static_argnames: named(x, mode) has no 'made'"
    )
    compiled = mx.jit(named, static_argnames="mode")
    assert provoked(compiled, x, [1]) == (
        "named: static argument 'mode' must be hashable; given list; "
        "use a tuple, or a frozen dataclass"
    )
    assert provoked(compiled, x, x) == (
        "named: static argument 'mode' is an array; arrays are traced: do not declare it static"
    )


def test_a_branch_on_data_is_two_paths_that_name_the_line():
    def branch(x):
        return x if x.sum() > 0 else -x

    line = branch.__code__.co_firstlineno + 1
    compiled = mx.jit(branch)
    for _ in range(2):
        positive = nd.array([1, 3])
        assert values(compiled(nd.array([1, -3]))) == [-1, 3]
        assert compiled(positive) is positive
    report = compiled.explain()
    assert report.startswith("graph 0 of branch: 2 paths (first call)")
    assert f"then bool(x) at {__file__}:{line}" in report


def test_functions_that_count_their_calls_give_way_with_the_right_count():
    calls = []

    @mx.jit
    def counting(x):
        calls.append(x.shape)
        return x * len(calls)

    with pytest.warns(RuntimeWarning, match="^counting gives way") as warned:
        assert [values(counting(nd.ones(1))) for _ in range(5)] == [[1], [2], [3], [4], [5]]
    assert calls == [(1,)] * 5
    assert len(warned) == 1


def test_a_loss_function_of_the_users_in_a_training_step():
    net = nn.Dense(1, in_units=2)
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    step = gluon.TrainStep(net, mx.jit(lambda out, y: nd.square(out - y).mean()), trainer)
    first = step(nd.ones((4, 2)), nd.ones((4, 1))).asscalar()
    assert step(nd.ones((4, 2)), nd.ones((4, 1))).asscalar() < first


def test_threads_may_call_one_function():
    from concurrent.futures import ThreadPoolExecutor

    compiled = mx.jit(lambda x, n: x * n + 1)
    with ThreadPoolExecutor(4) as pool:
        jobs = [(nd.ones(1 + i % 3), i % 4) for i in range(40)]
        for (x, n), y in zip(jobs, pool.map(lambda job: compiled(*job), jobs), strict=True):
            assert values(y) == [n + 1] * x.size
    assert len(compiled.compiled) == 12


@mx.jit
def _doubled(x):
    return x * 2


def test_copies_and_pickles_are_those_of_functions():
    assert copy.copy(_doubled) is _doubled and copy.deepcopy([_doubled])[0] is _doubled
    assert pickle.loads(pickle.dumps(_doubled)) is _doubled

    class Net(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.function = _doubled

        def forward(self, x):
            return self.function(x)

    net = copy.deepcopy(Net())
    assert net(nd.ones(2)).asnumpy().tolist() == [2, 2]


def test_an_argument_named_self():
    compiled = mx.jit(lambda x, self=1, **others: x * self * others.get("other", 1))
    assert compiled(nd.ones(1), self=3, other=2).asnumpy().tolist() == [6]


def test_objects_that_are_called_bind_nothing():
    class Times:
        def __call__(self, x):
            return x * 3

    class Holder:
        times = mx.jit(Times())

    assert Holder().times(nd.ones(1)).asnumpy().tolist() == [3]


@pytest.mark.parametrize("compiled", [False, True])
def test_the_symbol_of_recorded_draws_has_no_key(compiled):
    def function(x):
        return nd.Dropout(x, p=0.5) * 2

    x = nd.ones(4)
    x.attach_grad()
    with mx.autograd.record():
        y = (mx.jit(function) if compiled else function)(x)
    symbol = mx.autograd.get_symbol(y)
    assert symbol.list_arguments() == ["var0"]
    symbol.bind(mx.cpu(), {"var0": nd.ones(4)}).forward(is_train=True)
