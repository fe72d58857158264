"""A mode means the same however it is set and however the program is run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, sym
from tigon.ops.attributes import attr_fields
from tigon.ops.record import all_operators

SCOPES: dict[str, Callable[[], Any]] = {
    "predict": autograd.predict_mode,
    "train": autograd.train_mode,
    "record predict": lambda: autograd.record(train_mode=False),
    "record train": autograd.record,
    "pause predict": autograd.pause,
    "pause train": lambda: autograd.pause(train_mode=True),
}
CHAINS: list[tuple[str, ...]] = [(), *((name,) for name in SCOPES)]
PAIRS = list(itertools.product(SCOPES, SCOPES))

OPERATORS: dict[str, Callable[..., Any]] = {
    "Dropout": lambda F, x, _: F.Dropout(x, p=0.5),
    "Dropout always": lambda F, x, _: F.Dropout(x, p=0.5, mode="always"),
    "Dropout axes": lambda F, x, _: F.Dropout(x, p=0.25, axes=(0,)),
    "LeakyReLU": lambda F, x, _: F.LeakyReLU(x - 2, act_type="rrelu"),
    "BatchNorm": lambda F, x, states: F.BatchNorm(x, *states, momentum=0.5, fix_gamma=False),
    "_contrib_BatchNormWithReLU": lambda F, x, states: F.contrib.BatchNormWithReLU(
        x, *states, momentum=0.5, fix_gamma=False
    ),
    "_contrib_SyncBatchNorm": lambda F, x, states: F.contrib.SyncBatchNorm(
        x, *states, momentum=0.5, key="bn"
    ),
    "IdentityAttachKLSparseReg": lambda F, x, states: F.IdentityAttachKLSparseReg(
        x, states[2], momentum=0.5
    ),
    "BatchNorm global": lambda F, x, states: F.BatchNorm(x, *states, use_global_stats=True),
}


def test_every_operator_with_modes_is_here() -> None:
    modes = {
        op.name
        for op in all_operators()
        if "training" in attr_fields(op.attrs_type) and not op.name.startswith("_backward")
    }
    # Of three axes, or with a count among the states: they have tests of their own.
    modes -= {"RNN", "_contrib_SummedBatchNorm", "_insanity"}
    assert modes == {name.split()[0] for name in OPERATORS}


class Moded(gluon.HybridBlock):
    """`operator` under the scopes of `chain`, which may change from call to call."""

    def __init__(self, operator: str, prefix: str = "moded_") -> None:
        super().__init__(prefix=prefix)
        self.operator = operator
        self.chain: tuple[str, ...] = ()
        get = self.params.get
        self.gamma = get("gamma", shape=(3,), init=mx.init.Constant(2.0))
        self.beta = get("beta", shape=(3,), init="zeros")
        for name, init in (("mean", "zeros"), ("var", "ones")):
            setattr(self, name, get(name, shape=(3,), init=init, grad_req="null"))

    def forward(self, x: Any) -> Any:
        states = [param.data() for param in (self.gamma, self.beta, self.mean, self.var)]
        with ExitStack() as stack:
            for name in self.chain:
                stack.enter_context(SCOPES[name]())
            y = OPERATORS[self.operator](F(x), x, states)
        return y + OPERATORS[self.operator](F(x), x, states)


def F(x: Any) -> Any:
    return sym if isinstance(x, sym.Symbol) else nd


class Outer(gluon.HybridBlock):
    """The same inside of another block, which sets modes of its own around it."""

    def __init__(self, operator: str) -> None:
        super().__init__(prefix="outer_")
        self.inner = Moded(operator, "outer_inner_")
        self.chain = ()

    @property
    def chain(self) -> tuple[str, ...]:
        return self._chain

    @chain.setter
    def chain(self, chain: tuple[str, ...]) -> None:
        """Set here and not in forward, which would give way for it."""
        self._chain = chain
        self.inner.chain = chain[1:]

    def forward(self, x: Any) -> Any:
        with ExitStack() as stack:
            for name in self.chain[:1]:
                stack.enter_context(SCOPES[name]())
            y = self.inner(x)
        return y + self.inner(x)


def numbers(net: gluon.HybridBlock) -> list[list[float]]:
    return [param.data().asnumpy().round(5).tolist() for param in net.collect_params().values()]


X = np.random.default_rng(0).uniform(1, 3, (4, 3)).astype("float32")


def calls(
    make: Callable[[], Any], how: str, ambient: str, chains: Sequence[tuple[str, ...]]
) -> list[Any]:
    """What the calls under each of the chains give, one after the other: results, gradients and
    what they leave behind."""
    mx.random.seed(3)
    net = make()
    net.initialize()
    run: Any = net
    if how == "hybridized":
        net.hybridize()
    if how == "jit":
        run = mx.jit(lambda x: net(x))
    seen: list[Any] = []
    for chain in chains:
        net.chain = chain
        x = nd.array(X)
        x.attach_grad()
        with SCOPES[ambient]():
            y = run(x)
        seen.append(y.asnumpy().round(5).tolist())
        if ambient.startswith("record"):
            with autograd.record():
                head = y * 1
            head.backward(nd.array(X))
            seen.append(x.grad.asnumpy().round(5).tolist())
        seen.append(numbers(net))
    return seen


@pytest.mark.filterwarnings("ignore:.*it records operators:RuntimeWarning")
@pytest.mark.parametrize("ambient", ["predict", "train", "record train", "record predict"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_scopes_in_traced_code(operator: str, ambient: str) -> None:
    for index, pair in enumerate(itertools.pairwise([*CHAINS, *CHAINS[::-1]])):
        expected = calls(lambda: Moded(operator), "imperative", ambient, pair)
        how = ("hybridized", "jit")[index % 2]
        assert calls(lambda: Moded(operator), how, ambient, pair) == expected, (how, pair)


@pytest.mark.filterwarnings("ignore:.*it records operators:RuntimeWarning")
@pytest.mark.parametrize("make", [Moded, Outer])
@pytest.mark.parametrize("operator", OPERATORS)
def test_nested_scopes_and_blocks(operator: str, make: Any) -> None:
    for ambient in ("predict", "record train"):
        for first in range(0, len(PAIRS), 6):
            chains = PAIRS[first : first + 6]
            expected = calls(lambda: make(operator), "imperative", ambient, chains)
            how = "jit" if first % 4 else "hybridized"
            found = calls(lambda: make(operator), how, ambient, chains)
            assert found == expected, (how, chains)


def bound(
    net: gluon.HybridBlock, training: bool, simple: bool, stored: bool
) -> tuple[list[Any], list[Any]]:
    """The net as a symbol, run by an executor: its result, and what it leaves behind."""
    symbol = net(sym.var("data"))
    if stored:
        symbol = sym.load_json(symbol.tojson())
    params = {name: param.data().copy() for name, param in net.collect_params().items()}
    names, auxiliary = symbol.list_arguments(), symbol.list_auxiliary_states()
    arguments = {name: params[name] for name in names if name != "data"} | {"data": nd.array(X)}
    states = {name: params[name] for name in auxiliary}
    if simple:
        executor = symbol.simple_bind(ctx=mx.cpu(), data=X.shape)
        executor.copy_params_from(arguments, states)
    else:
        executor = symbol.bind(args=arguments, aux_states=states)
    mx.random.seed(3)
    (y,) = executor.forward(is_train=training)
    left = {**params, **executor.arg_dict, **executor.aux_dict}
    return y.asnumpy().round(5).tolist(), [
        left[name].asnumpy().round(5).tolist() for name in params
    ]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("operator", OPERATORS)
def test_symbols_keep_what_the_code_has_set(operator: str, training: bool) -> None:
    for make in (Moded, Outer):
        for chain in [*CHAINS, *PAIRS[::5]]:
            net = make(operator)
            net.chain = chain
            net.initialize()
            traced_in = [autograd.predict_mode, autograd.train_mode][len(chain) % 2]
            with traced_in():
                results = [
                    bound(net, training, simple, stored)
                    for simple in (True, False)
                    for stored in (True, False)
                ]
            mx.random.seed(3)
            with autograd.train_mode() if training else autograd.predict_mode():
                y = net(nd.array(X))
            assert results == [(y.asnumpy().round(5).tolist(), numbers(net))] * 4, (make, chain)


@pytest.mark.parametrize("operator", OPERATORS)
def test_training_steps(operator: str) -> None:
    for chain in [*CHAINS, *PAIRS[::7]]:
        found = []
        for compiled in (False, True):
            mx.random.seed(3)
            net = Moded(operator)
            net.initialize()
            net.chain = chain
            trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
            loss = gluon.loss.L2Loss()
            step = gluon.TrainStep(net, loss, trainer, ignore_stale_grad=True)
            for _ in range(2):
                if compiled:
                    step(nd.array(X), nd.zeros(X.shape))
                    continue
                with autograd.record():
                    value = loss(net(nd.array(X)), nd.zeros(X.shape))
                if value.has_tape:
                    value.backward()
                    trainer.step(len(X), ignore_stale_grad=True)
            found.append(numbers(net))
        assert np.allclose(np.array(found[0]), np.array(found[1]), atol=1e-4), chain


def test_a_symbol_block_under_a_mode() -> None:
    """The nodes of a symbol that traced code calls have the mode of the call."""
    x = sym.var("data")
    symbol = sym.BatchNorm(sym.Dropout(x, p=0.5), momentum=0.5, name="bn")
    found = []
    for hybrid in (False, True):
        block = gluon.SymbolBlock(symbol, x)
        block.initialize()

        class Net(gluon.HybridBlock):
            def __init__(self, block: Any) -> None:
                super().__init__()
                self.block = block

            def forward(self, x: Any) -> Any:
                with autograd.predict_mode():
                    y = self.block(x)
                return y + self.block(x)

        net = Net(block)
        if hybrid:
            net.hybridize()
        mx.random.seed(5)
        with autograd.train_mode():
            y = net(nd.array(X))
        found.append((y.asnumpy().round(5).tolist(), numbers(block)))
    assert found[0] == found[1]


def test_calling_a_symbol_again_draws_again() -> None:
    x = sym.var("x")
    dropped = sym.Dropout(x, p=0.5)
    both = sym.Group([dropped, dropped(x=x)])
    first, second = both.bind(args={"x": nd.ones(100)}).forward(is_train=True)
    assert first.asnumpy().tolist() != second.asnumpy().tolist()


# --------------------------------------------------------------- backward in prediction


def once(operator: str, recorded_in: bool, **backward: Any) -> list[list[float]]:
    """The gradients of one call of an operator, imperatively."""
    mx.random.seed(3)
    x, gamma, beta = nd.array(X), nd.array([2, 3, 4]), nd.zeros(3)
    for array in (x, gamma, beta):
        array.attach_grad()
    states = [gamma, beta, nd.array([0.5, 0, 1]), nd.array([1, 4, 2])]
    with autograd.record(recorded_in):
        y = OPERATORS[operator](nd, x, states)
    autograd.backward([y], [nd.array(X)], **backward)
    return [array.grad.asnumpy().round(4).tolist() for array in (x, gamma, beta)]


@pytest.mark.parametrize("operator", OPERATORS)
def test_backward_in_prediction_of_single_operators(operator: str) -> None:
    predicted = once(operator, False)
    assert once(operator, False, train_mode=False) == predicted
    assert once(operator, True, train_mode=False) == predicted
    assert once(operator, True, train_mode=True) == once(operator, True)
    depends = "always" not in operator and "global" not in operator
    assert (once(operator, True) != predicted) == depends


@pytest.mark.parametrize("operator", [name for name in OPERATORS if name != "BatchNorm global"])
def test_differentiable_gradients_in_prediction(operator: str) -> None:
    found = []
    for create_graph in (False, True):
        mx.random.seed(3)
        x, gamma = nd.array(X), nd.array([2, 3, 4])
        states = [gamma, nd.zeros(3), nd.array([0.5, 0, 1]), nd.array([1, 4, 2])]
        x.attach_grad()
        with autograd.record():
            y = OPERATORS[operator](nd, x, states)
        (dx,) = autograd.grad([y], [x], [nd.array(X)], create_graph=create_graph, train_mode=False)
        found.append(dx.asnumpy().round(4).tolist())
    assert found[0] == found[1]


@pytest.mark.parametrize("recorded_in", [True, False])
def test_the_numbers_of_batch_norm(recorded_in: bool) -> None:
    """x = 1, 3 and head 1, 2: the gradient of prediction is 1, 2."""
    x = nd.array([[1], [3]])
    x.attach_grad()
    one, zero = nd.ones(1), nd.zeros(1)
    with autograd.record(train_mode=recorded_in):
        y = nd.BatchNorm(x, one, zero, nd.zeros(1), nd.ones(1), eps=0)
    y.backward(nd.array([[1], [2]]), train_mode=False)
    assert x.grad.asnumpy().ravel().tolist() == [1, 2]


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_compiled_graph_of_the_other_mode_refuses(operator: str) -> None:
    net = Moded(operator)
    net.initialize()
    net.hybridize()
    depends = "always" not in operator and "global" not in operator
    for recorded_in in (True, False):
        x = nd.array(X)
        x.attach_grad()
        with autograd.record(recorded_in):
            y = net(x)
        refused = depends and recorded_in
        for backward in (
            lambda y=y: y.backward(nd.array(X), train_mode=False, retain_graph=True),
            lambda y=y, x=x: autograd.grad([y], [x], train_mode=False, retain_graph=True),
            lambda y=y, x=x: autograd.grad([y], [x], train_mode=False, create_graph=True),
        ):
            if not refused:
                if recorded_in or operator.startswith("Dropout"):
                    backward()
                continue
            with pytest.raises(mx.TigonError) as caught:
                backward()
            text = str(caught.value)
            assert f"{__file__}:" in text
            assert operator.split()[0] in text
            assert "was recorded in training" in text
        y.backward(nd.array(X))  # as it was recorded


def test_executors_differentiate_prediction() -> None:
    x = sym.var("x")
    symbol = sym.BatchNorm(x, name="bn", eps=0.0)
    arguments = {"x": nd.array([[1], [3]]), "bn_gamma": nd.ones(1), "bn_beta": nd.zeros(1)}
    states = {"bn_moving_mean": nd.zeros(1), "bn_moving_var": nd.ones(1)}
    gradients = {"x": nd.zeros((2, 1))}
    executor = symbol.bind(None, arguments, gradients, "write", states)
    executor.forward(is_train=False)
    for told in ({"is_train": False}, {}):  # what was computed is differentiated
        gradients["x"][:] = 0
        executor.backward(nd.array([[1], [2]]), **told)
        assert gradients["x"].asnumpy().ravel().tolist() == [1, 2]
        assert executor.outputs[0].asnumpy().ravel().tolist() == [1, 3]
        assert states["bn_moving_mean"].asnumpy() == 0
    executor.forward(is_train=True)
    with pytest.raises(mx.TigonError, match="was recorded in training"):
        executor.backward(nd.array([[1], [2]]), is_train=False)
