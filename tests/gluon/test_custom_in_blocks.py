"""Operators written in Python within blocks: hybridized, in functions of jit, in training steps and
in files."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.frontend.custom_operators import (
    only_here,
    register,
    register_counter,
    register_square,
)
from tigon import autograd, gluon, nd, sym
from tigon.gluon import nn


@pytest.fixture(autouse=True)
def log() -> Iterator[list[str]]:
    with only_here() as found:
        register_square()
        yield found


def lambda_block(function: Callable[..., Any]) -> Any:
    return nn.HybridLambda(function)


def calls(log: list[str]) -> list[str]:
    nd.waitall()
    return [entry for entry in log if not entry.startswith("create")]


def test_one_operator_for_each_call(log: list[str]) -> None:
    net = lambda_block(lambda F, x: F.Custom(F.Custom(x, op_type="square") + 1, op_type="square"))
    net.hybridize()
    for extent in (2, 3, 2, 3, 2):
        x = nd.full((extent,), 2)
        assert net(x).asnumpy().tolist() == [25] * extent
    assert log.count("create square [[2]]") == 2 * 3
    assert log.count("create square [[3]]") == 2 * 2
    assert calls(log) == ["square"] * 10


def test_calls_whose_results_nobody_reads(log: list[str]) -> None:
    def body(F: Any, x: Any) -> Any:
        F.Custom(x, op_type="square")
        F.Custom(x, op_type="square")  # the same again is not merged
        return x + 1

    net = lambda_block(body)
    net.hybridize()
    for number in range(1, 4):
        assert net(nd.ones(2)).asnumpy().tolist() == [2, 2]
        assert calls(log) == ["square"] * (2 * number)
    assert len(net.compiled) == 1


@pytest.mark.parametrize("hybridized", [False, True])
def test_what_takes_no_part_has_no_gradient(hybridized: bool, log: list[str]) -> None:
    def body(F: Any, x: Any) -> Any:
        with autograd.pause():
            y = x * 2
        return F.Custom(y, op_type="square"), F.Custom(x * 3, op_type="square")

    net = lambda_block(body)
    net.hybridize(hybridized)
    x = nd.ones(2)
    x.attach_grad()
    with autograd.record():
        aside, y = net(x)
        total = aside + y
    total.backward()
    assert not aside.has_tape and x.grad.asnumpy().tolist() == [18, 18]
    assert calls(log) == ["square", "square", "square backward"]


def test_results_in_structures_and_the_block_alone(log: list[str]) -> None:
    def body(F: Any, x: Any) -> Any:
        y = F.Custom(x, op_type="square")
        return [y, (x, y)]

    net = lambda_block(body)
    net.hybridize()
    for _ in range(2):
        y, (x, again) = net(nd.full((2,), 3))
        assert [a.asnumpy().tolist() for a in (y, x, again)] == [[9, 9], [3, 3], [9, 9]]
    assert calls(log) == ["square"] * 2


class WithStates(gluon.HybridBlock):
    def __init__(self, op_type: str) -> None:
        super().__init__()
        self.op_type = op_type
        with self.name_scope():
            self.norm = nn.BatchNorm(in_channels=2)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.Custom(self.norm(x), op_type=self.op_type)


def test_a_failed_call_moves_no_states(log: list[str]) -> None:
    fails = [True]

    def forward(op: Any, in_data: Any, out_data: Any, **_: Any) -> None:
        if fails[0]:
            raise ValueError("not yet")
        out_data[0][:] = in_data[0]

    register(
        "maybe",
        forward,
        lambda op, in_grad, out_grad, **_: in_grad[0].__setitem__(slice(None), out_grad[0]),
    )
    net = nn.HybridSequential()
    net.add(WithStates("maybe"), nn.BatchNorm(in_channels=2), nn.Dropout(0.5))
    net.initialize()
    net.hybridize()
    x = nd.array([[1, 2], [3, 4]])
    means = [net[0].norm.running_mean, net[1].running_mean]
    mx.random.seed(1)
    for _ in range(2):  # traced, and by the short way
        with pytest.raises(mx.TigonError, match=r"Custom 'maybe'.*: ValueError: not yet"):
            with autograd.record():
                net(x)
        assert [mean.data().asnumpy().tolist() for mean in means] == [[0, 0], [0, 0]]
    fails[0] = False
    with autograd.record():
        y = net(x)
    y.backward()
    assert net[0].norm.running_mean.data().asnumpy().any()
    mx.random.seed(1)
    net.hybridize(False)
    with autograd.record():
        again = net(x)
    np.testing.assert_allclose(again.asnumpy(), y.asnumpy(), atol=1e-6)  # nothing was drawn


def test_errors_name_operator_node_and_line() -> None:
    def fail(op: Any, **_: Any) -> None:
        raise ValueError("sour")

    register("fail", fail)
    net = lambda_block(lambda F, x: F.Custom(x * 2, op_type="fail", name="f") + 1)
    net.hybridize()
    first = test_errors_name_operator_node_and_line.__code__.co_firstlineno
    for _ in range(2):
        y = net(nd.ones(2))
        with pytest.raises(mx.TigonError) as raised:
            y.asnumpy()
        assert str(raised.value).startswith("Custom 'fail' (")
        assert str(raised.value).endswith(
            f"_f) on cpu(0): ValueError: sour (called at {__file__}:{first + 9})"
        )


def test_another_registration_is_noticed() -> None:
    net = lambda_block(lambda F, x: F.Custom(x, op_type="square"))
    net.hybridize()
    assert [net(nd.full((1,), 3)).asscalar() for _ in range(3)] == [9, 9, 9]
    register(
        "square",
        lambda op, in_data, out_data, **_: out_data[0].__setitem__(slice(None), -in_data[0]),
    )
    assert [net(nd.full((1,), 3)).asscalar() for _ in range(3)] == [-3, -3, -3]


def test_states_of_operators_are_parameters() -> None:
    register_counter()

    class Counting(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            with self.name_scope():
                self.count = self.params.get("count", shape=(1,), init="zeros", grad_req="null")

        def hybrid_forward(self, F: Any, x: Any, count: Any) -> Any:
            y = F.Custom(x, count, op_type="counter")
            return F.Custom(y, count, op_type="counter")

    net = Counting()
    net.initialize()
    for hybridized in (False, True):
        net.hybridize(hybridized)
        for _ in range(3):
            before = net.count.data().asscalar()
            assert net(nd.zeros(1)).asscalar() == 2 * before + 1
    assert net.count.data().asscalar() == 12


def test_jit(log: list[str]) -> None:
    @mx.jit
    def f(x: Any) -> Any:
        return nd.Custom(x + 1, op_type="square") * 2

    for _ in range(3):
        x = nd.full((2,), 2)
        x.attach_grad()
        with autograd.record():
            y = f(x)
        y.backward()
        assert y.asnumpy().tolist() == [18, 18] and x.grad.asnumpy().tolist() == [12, 12]
    assert calls(log) == ["square", "square backward"] * 3


def test_a_training_step_gives_way(log: list[str]) -> None:
    def trained(compiled: bool) -> Any:
        mx.random.seed(1)
        net = nn.HybridSequential()
        net.add(nn.Dense(2, in_units=3), lambda_block(lambda F, x: F.Custom(x, op_type="square")))
        net.initialize(mx.init.Uniform(1))
        net.hybridize()
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
        loss = gluon.loss.L2Loss()
        step = gluon.TrainStep(net, loss, trainer)
        data, label = nd.array([[1, 2, 3], [3, 2, 1]]) / 4, nd.ones((2, 2))
        for _ in range(3):
            if compiled:
                step(data, label)
            else:
                with autograd.record():
                    error = loss(net(data), label)
                error.backward()
                trainer.step(2)
        return net[0].weight.data().asnumpy()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = trained(compiled=True)
    assert calls(log) == ["square", "square backward"] * 3
    np.testing.assert_allclose(found, trained(compiled=False), rtol=1e-6)
    with pytest.warns(RuntimeWarning) as told:
        trained(compiled=True)
    assert "_step gives way to its Python code: it calls Custom 'square' (" in str(told[0].message)


def test_files(tmp_path: Path, log: list[str]) -> None:
    register_counter()
    net = nn.HybridSequential()
    net.add(
        nn.Dense(2, in_units=3),
        lambda_block(lambda F, x: F.Custom(x, op_type="square", factor=2.5, name="sq")),
    )
    net.initialize()
    net.hybridize()
    x = nd.array([[1, 2, 3]])
    y = net(x)
    symbol, parameters = net.export(str(tmp_path / "net"))
    row = next(r for r in json.loads(Path(symbol).read_text())["nodes"] if r["op"] == "Custom")
    assert row["attrs"] == {"op_type": "square", "factor": "2.5"}
    loaded = gluon.SymbolBlock.imports(symbol, ["data"], parameters)
    np.testing.assert_array_equal(loaded(x).asnumpy(), y.asnumpy())
    x.attach_grad()
    with autograd.record():
        loaded(x).backward()
    assert x.grad.asnumpy().any()


MXNET_FILE = {
    "nodes": [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "null", "name": "c_count", "inputs": []},
        {
            "op": "Custom",
            "name": "c",
            "attrs": {"op_type": "counter", "__ctx_group__": "dev1"},
            "inputs": [[0, 0, 0], [1, 0, 1]],
        },
    ],
    "arg_nodes": [0, 1],
    "node_row_ptr": [0, 1, 2, 3],
    "heads": [[2, 0, 0]],
    "attrs": {"mxnet_version": ["int", 10901]},
}


def test_files_of_mxnet() -> None:
    text = json.dumps(MXNET_FILE)
    with pytest.raises(mx.TigonError) as raised:
        sym.load_json(text)
    assert str(raised.value) == (
        "graph text: node 2 'c' (Custom), at nodes[2]: Custom: op_type 'counter' is not "
        "registered; registered are: square; decorate its CustomOpProp with "
        "@mx.operator.register('counter') first"
    )
    register_counter()
    net = sym.load_json(text)
    assert net.list_arguments() == ["data"] and net.list_auxiliary_states() == ["c_count"]
    assert json.loads(net.tojson()) == MXNET_FILE
    executor = net.simple_bind(data=(2,))
    executor.forward(data=nd.ones(2))
    assert executor.forward(data=nd.ones(2))[0].asnumpy().tolist() == [2, 2]
    del MXNET_FILE["nodes"][2]["attrs"]["op_type"]  # type: ignore
    with pytest.raises(mx.TigonError) as raised:
        sym.load_json(json.dumps(MXNET_FILE))
    assert str(raised.value) == (
        "graph text: node 2 'c' (Custom), at nodes[2]: expected the attribute 'op_type', the name "
        "of a registered operator"
    )


def test_the_order_of_calls_is_in_the_file(log: list[str]) -> None:
    register_square("other")
    x = sym.var("x")
    late = sym.Custom(sym.Custom(x, op_type="square"), op_type="square")
    early = sym.Custom(x, op_type="other")
    both = sym.load_json((early + late).tojson())
    both.eval(x=nd.ones(1))
    assert calls(log) == ["square", "square", "other"]


# --------------------------------------------------------------------- autograd.Function


class SumAndProduct(autograd.Function):
    def forward(self, a: Any, b: Any) -> Any:
        self.save_for_backward(a, b)
        self.training = autograd.is_training()
        assert not autograd.is_recording()
        return a + b, a * b

    def backward(self, g: Any, h: Any) -> Any:
        a, _ = self.saved_tensors
        assert autograd.is_training() == self.training
        return None, g + h * a


@pytest.mark.parametrize("hybridized", [False, True])
def test_functions(hybridized: bool) -> None:
    seen = []

    class Net(gluon.HybridBlock):
        def forward(self, a: Any, b: Any) -> Any:
            function = SumAndProduct()
            total, product = function(a * 2, b)
            seen.append(function.training)
            return total + product

    net = Net()
    net.hybridize(hybridized)
    a, b = nd.array([1, 2]), nd.array([3, 4])
    for array in (a, b):
        array.attach_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in range(2):
            with autograd.record():
                y = net(a, b)
            y.backward()
            assert y.asnumpy().tolist() == [11, 24]
            assert a.grad.asnumpy().tolist() == [0, 0] and b.grad.asnumpy().tolist() == [3, 5]
        net(a, b)
    assert seen == [True, True, False]


@pytest.mark.parametrize("recorded", [False, True])
def test_functions_give_lists_where_they_return_lists(recorded: bool) -> None:
    class Same(autograd.Function):
        def __init__(self, kind: Any) -> None:
            super().__init__()
            self.kind = kind

        def forward(self, x: Any) -> Any:
            return self.kind([x * 2])

        def backward(self, g: Any) -> Any:
            return g * 2

    x = nd.ones(2)
    x.attach_grad()
    for kind in (list, tuple):
        with autograd.record() if recorded else autograd.pause():
            result = Same(kind)(x)
        assert type(result) is kind and result[0].asnumpy().tolist() == [2, 2]


def test_wrong_functions() -> None:
    class Wrong(autograd.Function):
        def __init__(self, answer: Any, gradient: Any = None) -> None:
            super().__init__()
            self.answer, self.gradient = answer, gradient

        def forward(self, x: Any) -> Any:
            return self.answer

        def backward(self, g: Any) -> Any:
            return self.gradient

    x = nd.ones(2)
    x.attach_grad()
    ones = nd.ones(2)
    for call, message in (
        (
            lambda: Wrong(3)(x),
            "Wrong.forward: expected an NDArray, or a list of them, as its result; given 3",
        ),
        (
            lambda: Wrong(ones)(3),
            "Wrong: input 0: expected an NDArray; given int; give numbers to __init__",
        ),
        (
            lambda: Wrong(ones, [ones, ones])(x).backward(),
            "Wrong.backward: expected 1 gradients, one for each input; given 2",
        ),
        (
            lambda: Wrong(ones, 7)(x).backward(),
            "Wrong.backward: expected 1 gradients, one for each input; given int",
        ),
        (
            lambda: Wrong(ones, nd.ones(3))(x).backward(),
            "Wrong.backward: gradient 0: expected float32[2], as the input, or None; given "
            "float32[3]",
        ),
    ):
        with autograd.record(), pytest.raises(mx.TigonError) as raised:
            call()
        assert str(raised.value) == message
    with autograd.record():
        y = x * 2
    y.backward()
    assert x.grad.asnumpy().tolist() == [2, 2]


@pytest.mark.parametrize("hybridized", [False, True])
def test_what_an_operator_keeps_is_of_one_call(hybridized: bool, log: list[str]) -> None:
    @mx.operator.register("kept_square")
    class KeptSquareProp(mx.operator.CustomOpProp):
        def create_operator(self, ctx: Any, shapes: Any, dtypes: Any) -> Any:
            class KeptSquare(mx.operator.CustomOp):
                def forward(self, is_train: Any, req: Any, in_data: Any, out_data: Any, aux: Any):
                    self.kept = in_data[0].copy()
                    self.assign(out_data[0], req[0], in_data[0] ** 2)

                def backward(
                    self,
                    req: Any,
                    out_grad: Any,
                    in_data: Any,
                    out_data: Any,
                    in_grad: Any,
                    aux: Any,
                ):
                    self.assign(in_grad[0], req[0], 2 * self.kept * out_grad[0])

            return KeptSquare()

    class Net(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return F.Custom(x, op_type="kept_square")

    net = Net()
    if hybridized:
        net.hybridize()
    first, second = nd.array([1.0, 2.0]), nd.array([5.0, 6.0])
    first.attach_grad()
    second.attach_grad()
    with autograd.record():
        results = [net(first), net(second)]
    net(nd.array([100.0, 100.0]))
    autograd.backward(results)
    assert first.grad.asnumpy().tolist() == [2, 4]
    assert second.grad.asnumpy().tolist() == [10, 12]


@pytest.mark.parametrize("contexts", [[mx.cpu(0)], [mx.cpu(0), mx.cpu(1)]], ids=len)
@pytest.mark.parametrize("hybridized", [False, True])
def test_a_failing_loss_updates_nothing(
    hybridized: bool, contexts: list[Any], log: list[str]
) -> None:
    @mx.operator.register("fails_on_demand")
    class FailingProp(mx.operator.CustomOpProp):
        def create_operator(self, ctx: Any, shapes: Any, dtypes: Any) -> Any:
            class Failing(mx.operator.CustomOp):
                def forward(self, is_train: Any, req: Any, in_data: Any, out_data: Any, aux: Any):
                    if failing[0]:
                        raise ValueError("on demand")
                    self.assign(out_data[0], req[0], in_data[0] * 2)

                def backward(
                    self,
                    req: Any,
                    out_grad: Any,
                    in_data: Any,
                    out_data: Any,
                    in_grad: Any,
                    aux: Any,
                ):
                    self.assign(in_grad[0], req[0], out_grad[0] * 2)

            return Failing()

    class Net(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(2, in_units=3)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return F.Custom(self.dense(x), op_type="fails_on_demand")

    failing = [False]
    net = Net()
    net.initialize(ctx=contexts)
    if hybridized:
        net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "adam")

    def step() -> list[Any]:
        with autograd.record():
            losses = [net(nd.ones((1, 3), ctx=context)).sum() for context in contexts]
        autograd.backward(losses)
        trainer.step(1)
        return losses

    def weights() -> list[list[Any]]:
        params = net.collect_params().values()
        return [array.asnumpy().tolist() for param in params for array in param.list_data()]

    step()
    before = weights()
    failing[0] = True
    for loss in step():
        with pytest.raises(mx.TigonError, match="on demand"):
            loss.asnumpy()
    assert weights() == before
    failing[0] = False
    step()
    assert weights() != before


@pytest.mark.parametrize(
    ("way", "count"),
    [("imperative", 1), ("imperative", 2), ("hybridized", 1), ("hybridized", 2), ("step", 1)],
)
def test_an_update_that_was_not_done_is_told_at_a_later_step(
    way: str, count: int, log: list[str]
) -> None:
    """The loss can be read where only its gradient fails, and so can weights: without that a loop
    would go on for ever and learn nothing."""

    def backward(op: Any, out_grad: Any, in_grad: Any, req: Any, **_: Any) -> None:
        if failing[0]:
            raise ValueError("no slope")
        op.assign(in_grad[0], req[0], out_grad[0])

    def forward(op: Any, in_data: Any, out_data: Any, req: Any, **_: Any) -> None:
        op.assign(out_data[0], req[0], in_data[0])

    register("flat", forward, backward)

    class Flat(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return F.Custom(x, op_type="flat")

    failing, contexts = [True], [mx.cpu(number) for number in range(count)]
    net = nn.HybridSequential()
    net.add(nn.Dense(2, in_units=3), Flat())
    net.initialize(ctx=contexts)
    if way != "imperative":
        net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "adam")
    loss_of = gluon.loss.L2Loss()
    one = gluon.TrainStep(net, loss_of, trainer)

    def settle() -> None:
        for array in net[0].weight.list_data():
            array.wait_to_read()  # the update before has run, and the slopes that it asked for

    def step() -> None:
        settle()
        if way == "step":
            one(nd.ones((1, 3)), nd.ones((1, 2))).asnumpy()
            return
        with autograd.record():
            losses = [loss_of(net(nd.ones((1, 3), ctx=c)), nd.ones((1, 2))) for c in contexts]
        autograd.backward(losses)
        trainer.step(1)
        for loss in losses:
            loss.asnumpy()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a TrainStep gives way
        step()
    before = net[0].weight.data(contexts[0]).asnumpy().tolist()
    for still in (True, True, False):
        settle()
        failing[0] = still
        with pytest.raises(mx.TigonError) as raised:
            step()
        told, _, place = str(raised.value).partition(", the gradient of the call at ")
        assert told.startswith(
            "Adam: an earlier update has left weights as they were: Custom 'flat'"
        )
        assert place.startswith(f"{__file__}:") and "ValueError: no slope (called at " in place
        assert isinstance(raised.value.__cause__, ValueError)
        assert net[0].weight.data(contexts[0]).asnumpy().tolist() == before
        step()  # it was told once
    assert net[0].weight.data(contexts[0]).asnumpy().tolist() != before
    with pytest.raises(mx.TigonError, match="no slope"):
        nd.waitall()  # the gradients of steps that were refused
