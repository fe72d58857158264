"""States flow from use to use in the order of calls, however a program is run."""

from __future__ import annotations

import random
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, sym
from tigon.gluon import nn
from tigon.ops import record
from tigon.ops.primitive.arithmetic import add, multiply, subtract
from tigon.ops.record import Operator, all_operators, composite

X = np.random.default_rng(0).uniform(-1, 1, (4, 3)).astype("float32")


def close(found: Any, expected: Any) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def module_of(x: Any) -> Any:
    return sym if isinstance(x, sym.Symbol) else nd


# ----------------------------------------------------------------------- the known numbers


@pytest.mark.parametrize(("uses", "expected"), [(1, 1.0), (2, 6.5), (3, 14.25)])
@pytest.mark.parametrize("how", ["imperative", "hybridized", "step", "symbol", "jit"])
def test_one_batch_norm_called_again_and_again(how: str, uses: int, expected: float) -> None:
    """Momentum 0.5, batch means 2, 12, 22: 1, then 6.5, then 14.25."""

    class Net(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__(prefix="net_")
            self.bn = nn.BatchNorm(momentum=0.5, in_channels=1)

        def forward(self, x: Any) -> Any:
            y = self.bn(x)
            for i in range(1, uses):
                y = y + self.bn(x + 10 * i)
            return y

    net = Net()
    net.initialize()
    x = nd.array([[1], [3]])
    if how == "step":
        trainer = gluon.Trainer(net.collect_params(), "sgd")
        gluon.TrainStep(net, gluon.loss.L2Loss(), trainer)(x, nd.zeros((2, 1)))
    elif how == "symbol":
        symbol = net(sym.var("data"))
        executor = symbol.simple_bind(ctx=mx.cpu(), data=(2, 1))
        executor.copy_params_from(
            {"data": x}, {n: net.collect_params()[n].data() for n in executor.aux_dict}
        )
        executor.forward(is_train=True)
        assert executor.aux_dict[net.bn.running_mean.name].asscalar() == expected
        return
    else:
        run = mx.jit(lambda x: net(x)) if how == "jit" else net
        if how == "hybridized":
            net.hybridize()
        with autograd.record():
            y = run(x)
        y.backward()
    assert net.bn.running_mean.data().asscalar() == expected


# ------------------------------------------------------------------------- random programs


class Count(gluon.HybridBlock):
    """A layer with states of an operator that is not BatchNorm."""

    def __init__(self, momentum: float, prefix: str) -> None:
        super().__init__(prefix=prefix)
        self.momentum = momentum
        self.mom = self.params.get("mom", shape=(1,), init="zeros", grad_req="null")

    def forward(self, x: Any) -> Any:
        F = module_of(x)
        step = F.sgd_mom_update(
            F.mean(F.BlockGrad(x)),
            F.mean(F.BlockGrad(x)),
            self.mom.data(),
            lr=1.0,
            momentum=self.momentum,
        )
        return F.broadcast_add(x, step)


class Program(gluon.HybridBlock):
    """Random calls of a few children, some of which share their states."""

    def __init__(self, seed: int, named: bool) -> None:
        super().__init__(prefix=f"program{seed}_")
        self.seed = seed
        self.named = named  # to become a symbol, in which there are no calls that nobody uses
        first = nn.BatchNorm(momentum=0.5, in_channels=3, prefix=f"{self.prefix}a_")
        shared = nn.BatchNorm(
            momentum=0.25, in_channels=3, prefix=f"{self.prefix}a_", params=first.params
        )
        alone = nn.BatchNorm(momentum=0.75, in_channels=3, prefix=f"{self.prefix}b_")
        counts = Count(0.5, f"{self.prefix}c_")
        self.layers = [first, shared, alone, counts]
        for layer in self.layers:
            self.register_child(layer)
        self.dense = nn.Dense(3, in_units=3, prefix=f"{self.prefix}d_")

    def forward(self, x: Any) -> Any:
        rng = random.Random(self.seed)
        values = [x, self.dense(x)]
        bn = self.layers[0]
        for _ in range(rng.randint(3, 8)):
            kind = rng.choice("ccccrtu")
            value = rng.choice(values)
            if kind == "c":
                layer = rng.choice(self.layers)
                scope = rng.choice(
                    [nullcontext, nullcontext, autograd.predict_mode, autograd.train_mode]
                )
                with scope():
                    values.append(layer(value * rng.choice([0.5, 2.0]) + rng.randint(-3, 3)))
            elif kind == "r":  # a state is read
                values.append(module_of(x).broadcast_add(value, bn.running_mean.data()))
            elif kind == "t":
                values.append(value * rng.choice(values))
            elif not self.named:
                bn(value)
        chosen = rng.sample(values, 2)
        result = chosen[0] * chosen[1] + values[-1]
        return sum(values, result) if self.named else result


def left(net: gluon.HybridBlock) -> list[np.ndarray]:
    return [param.data().asnumpy() for param in net.collect_params().values()]


def made(seed: int, named: bool = False) -> Program:
    mx.random.seed(seed)
    net = Program(seed, named)
    net.initialize(mx.init.Uniform(0.5))
    return net


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_hybridized_programs(seed: int, mode: bool) -> None:
    results = []
    for hybrid in (False, True):
        net = made(seed)
        if hybrid:
            net.hybridize()
        found = []
        for recorded in (True, False, True):
            x = nd.array(X)
            x.attach_grad()
            scope = autograd.record(mode) if recorded else autograd.pause(mode)
            with scope:
                y = net(x)
            if recorded:
                y.backward(nd.array(X))
                found += [x.grad.asnumpy(), net.dense.weight.grad().asnumpy()]
                found += [net.layers[0].gamma.grad().asnumpy()]
            found += [y.asnumpy(), *left(net)]
        results.append(found)
    close(results[1], results[0])


@pytest.mark.parametrize("seed", range(12))
def test_training_steps(seed: int) -> None:
    results = []
    for compiled in (False, True):
        net = made(seed)
        loss = gluon.loss.L2Loss()
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.01})
        step = gluon.TrainStep(net, loss, trainer, ignore_stale_grad=True)
        for param in net.collect_params().values():
            if param.grad_req != "null":
                param.zero_grad()
        for _ in range(2):
            if compiled:
                step(nd.array(X), nd.zeros(X.shape))
                continue
            with autograd.record():
                value = loss(net(nd.array(X)), nd.zeros(X.shape))
            value.backward()
            trainer.step(len(X), ignore_stale_grad=True)
        results.append(left(net))
    close(results[1], results[0])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_symbols(seed: int, training: bool) -> None:
    net = made(seed, named=True)
    symbol = net(sym.var("data"))
    before = {name: param.data().copy() for name, param in net.collect_params().items()}
    x = nd.array(X)
    x.attach_grad()
    with autograd.record(training):
        y = net(x)
    y.backward(nd.array(X))
    after = {name: param.data().asnumpy() for name, param in net.collect_params().items()}
    for simple in (True, False):
        for form in (symbol, sym.load_json(symbol.tojson())):
            names = form.list_arguments()
            given = {name: array.copy() for name, array in before.items()} | {"data": nd.array(X)}
            arguments = {name: given[name] for name in names}
            states = {name: given[name] for name in form.list_auxiliary_states()}
            if simple:
                executor = form.simple_bind(mx.cpu(), **{n: given[n].shape for n in names})
                executor.copy_params_from(arguments, states)
            else:
                gradients = {"data": nd.zeros(X.shape)}
                executor = form.bind(None, arguments, gradients, "write", states)
            (found,) = executor.forward(is_train=training)
            close([found.asnumpy()], [y.asnumpy()])
            for name, array in (*executor.arg_dict.items(), *executor.aux_dict.items()):
                if name != "data":
                    close([array.asnumpy()], [after[name]])
            if training:
                executor.backward(nd.array(X))
                close([executor.grad_dict["data"].asnumpy()], [x.grad.asnumpy()])


# ----------------------------------------------------------------------- every such record


_toy = composite(
    "toy_running_sum",
    lambda data, total: (multiply(data, subtract(total, data)), add(total, data)),
    operands="data total!",
    outputs=2,
    mutates={1: "total"},
    initial={"total": '["zero", {}]'},
    numpy=lambda data, total: (data * (total - data), total + data),
    samples=[((3,), (3,), {})],
    doc="Times what has come before, which it adds to.",
)


MUTATING = [op for op in all_operators() if op.mutates]
record._REGISTRY.pop(_toy.name)  # other tests are made from what is registered


@pytest.fixture(scope="module", autouse=True)
def _known() -> Any:
    record._REGISTRY[_toy.name] = _toy
    yield
    record._REGISTRY.pop(_toy.name)


def operands(op: Operator, seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    sample = op.samples[0]
    return [
        nd.array(s.astype("float32") if isinstance(s, np.ndarray) else rng.uniform(0.5, 1, s))
        for s in sample[:-1]
    ]


def states_of(op: Operator, count: int) -> list[int]:
    attrs = op.make_attrs(op.samples[0][-1])
    return sorted(set(op.states(attrs, count).values()))


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("op", MUTATING, ids=lambda op: op.name)
def test_every_record_with_states(op: Operator, mode: bool) -> None:
    """Three calls with the same states, the second with a result that nobody uses."""
    attributes = {k: v for k, v in op.samples[0][-1].items() if k != "training"}
    first, second = operands(op, 1), operands(op, 2)
    states = states_of(op, len(first))

    def called(*arrays: Any) -> Any:
        given = list(arrays[: len(first)])
        other = [given[i] if i in states else array for i, array in enumerate(arrays[len(first) :])]
        y = op(*given, **attributes)
        op(*other, **attributes)
        z = op(*given, **attributes)
        y, z = [v[0] if isinstance(v, (list, tuple)) or len(v) > 99 else v for v in (y, z)]
        return [y, z, *[given[i] * 1 for i in states]]

    results = []
    for run in (called, mx.jit(called)):
        arrays = [array.copy() for array in (*first, *second)]
        with autograd.train_mode() if mode else autograd.predict_mode():
            found = run(*arrays)
        results.append([array.asnumpy() for array in (*found, *[arrays[i] for i in states])])
    close(results[1], results[0])


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("op", MUTATING, ids=lambda op: op.name)
def test_every_record_with_states_bound(op: Operator, mode: bool) -> None:
    attributes = {k: v for k, v in op.samples[0][-1].items() if k != "training"}
    first, second = operands(op, 1), operands(op, 2)
    states = states_of(op, len(first))
    variables = [sym.var(f"v{i}") for i in range(len(first))]
    others = [v if i in states else sym.var(f"w{i}") for i, v in enumerate(variables)]
    calls = [op(*variables, **attributes), op(*others, **attributes)]
    names = [f"v{i}" for i in range(len(first))] + [f"w{i}" for i in range(len(second))]
    arrays = dict(zip(names, (*first, *second), strict=True))
    expected_arrays = [array.copy() for array in first]
    with autograd.train_mode() if mode else autograd.predict_mode():
        expected = []
        for given in (first, second):
            mixed = [expected_arrays[i] if i in states else array for i, array in enumerate(given)]
            y = op(*mixed, **attributes)
            expected.append(y[0] if isinstance(y, list) else y)
    # The second call comes first in the graph.
    symbol = sym.Group([calls[1][0], calls[0][0]])
    executor = symbol.bind(
        args={n: arrays[n].copy() for n in symbol.list_arguments()},
        aux_states={n: arrays[n].copy() for n in symbol.list_auxiliary_states()},
        grad_req="null",
    )
    found = executor.forward(is_train=mode)
    bound = {**executor.arg_dict, **executor.aux_dict}
    close(
        [array.asnumpy() for array in (*found[::-1], *[bound[f"v{i}"] for i in states])],
        [array.asnumpy() for array in (*expected, *[expected_arrays[i] for i in states])],
    )


# ------------------------------------------------------------------------------- corners


def test_a_call_without_a_user_moves_its_states() -> None:
    found = []
    for hybrid in (False, True):
        bn = nn.BatchNorm(momentum=0.5, in_channels=3)
        bn.initialize()

        class Net(gluon.HybridBlock):
            def __init__(self, bn: Any) -> None:
                super().__init__()
                self.bn = bn

            def forward(self, x: Any) -> Any:
                self.bn(nd.Dropout(x, p=0.5))
                return x

        net = Net(bn)
        if hybrid:
            net.hybridize()
        mx.random.seed(1)
        for _ in range(2):
            with autograd.train_mode():
                assert net(nd.array(X)).shape == X.shape
        found.append([*left(bn), nd.random.uniform(shape=2).asnumpy()])
    close(found[1], found[0])


def test_an_array_reached_in_two_ways_is_one_state() -> None:
    for captured_first in (False, True):
        bn = nn.BatchNorm(momentum=0.5, in_channels=1)
        bn.initialize()
        array = bn.running_mean.data()

        def read(x: Any, first: bool = captured_first, bn: Any = bn, array: Any = array) -> Any:
            before = array * 1 if first else x.sum() * 0
            return [before, bn(x), array * 1, bn(x + 10), array * 1]

        x = nd.array([[1], [3]])
        run = mx.jit(read)
        for _ in range(2):
            bn.running_mean.set_data(nd.zeros(1))
            with autograd.train_mode():
                results = run(x)
            assert [results[i].asscalar() for i in (0, 2, 4)] == [0.0, 1.0, 6.5]
            assert array.asscalar() == 6.5


def test_states_given_one_array_are_one_state() -> None:
    x = sym.var("x")
    y = sym.BatchNorm(x, momentum=0.5, name="a") + sym.BatchNorm(x + 10, momentum=0.5, name="b")
    mean, variance = nd.zeros(1), nd.ones(1)
    executor = y.bind(
        args={n: nd.ones(1) for n in y.list_arguments()} | {"x": nd.array([[1], [3]])},
        aux_states={n: mean if "mean" in n else variance for n in y.list_auxiliary_states()},
    )
    executor.forward(is_train=True)
    assert mean.asscalar() == 6.5


def test_no_gradient_flows_through_how_a_state_advances() -> None:
    found = []
    for hybrid in (False, True):
        bn = nn.BatchNorm(momentum=0.5, in_channels=3)
        bn.initialize()

        class Net(gluon.HybridBlock):
            def __init__(self, bn: Any) -> None:
                super().__init__()
                self.bn = bn

            def forward(self, x: Any) -> Any:
                y = self.bn(x)
                with autograd.predict_mode():
                    z = self.bn(x * 2)
                return y * z + self.bn.running_mean.data() * x

        net = Net(bn)
        if hybrid:
            net.hybridize()
        x = nd.array(X)
        x.attach_grad()
        with autograd.record():
            y = net(x)
        y.backward(nd.array(X))
        found.append([x.grad.asnumpy(), y.asnumpy(), *left(bn)])
    close(found[1], found[0])


def test_the_order_of_calls_survives_a_file() -> None:
    x, states = sym.var("x"), [sym.var(n) for n in ("gamma", "beta", "mean", "var")]
    first = sym.BatchNorm(x, *states, momentum=0.5, name="first")
    second = sym.BatchNorm(x + 10, *states, momentum=0.5, name="second")
    symbol = second - first  # reached in the other order
    for form in (symbol, sym.load_json(symbol.tojson())):
        arguments = {"x": nd.array([[1], [3]]), "gamma": nd.ones(1), "beta": nd.zeros(1)}
        executor = form.bind(args=arguments, aux_states={"mean": nd.zeros(1), "var": nd.ones(1)})
        executor.forward(is_train=True)
        assert executor.aux_dict["mean"].asscalar() == 6.5


def test_traces_that_differ_in_order_alone() -> None:
    class Net(gluon.HybridBlock):
        reverse = False

        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm(momentum=0.5, in_channels=1)

        def forward(self, x: Any) -> Any:
            if self.reverse:
                second = self.bn(x + 10)
                first = self.bn(x)
            else:
                first = self.bn(x)
                second = self.bn(x + 10)
            return first - second

    net = Net()
    net.initialize()
    net.hybridize()
    for reverse, expected in ((False, 6.5), (True, 4.0), (False, 6.5)):
        net.reverse = reverse
        net.bn.running_mean.set_data(nd.zeros(1))
        with autograd.train_mode():
            net(nd.array([[1], [3]]))
        assert net.bn.running_mean.data().asscalar() == expected
