"""`multi_precision`: steps are made on a copy of the weight in a wider dtype. Which dtypes have
such a copy is said in one place; here float32 has one, in float64, so that every optimizer can be
compared with itself on float64 to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.gluon.test_own_optimizers import Momentum, Several
from tigon import autograd, gluon, nd, optimizer
from tigon.optimizer import precision
from tigon.optimizer.states import as_list

NAMES = sorted(optimizer.Optimizer.opt_registry)
FORMS = {
    "sgd": [{}, {"momentum": 0.9}],
    "nag": [{}, {"momentum": 0.9}],
    "signum": [{}, {"momentum": 0.0}],
    "lars": [{}, {"momentum": 0.9}],
    "dcasgd": [{}, {"momentum": 0.9}],
    "rmsprop": [{}, {"centered": True}],
    "lbsgd": [{"momentum": 0.9}, {"batch_scale": 2}],
}
CASES = [
    (name, form)
    for name in NAMES
    if name not in ("momentum", "several", "ours")
    for form in FORMS.get(name, [{}])
]
RANDOM = np.random.RandomState(3)
WEIGHTS = [RANDOM.randn(3, 4).astype("f"), RANDOM.randn(4).astype("f")]
GRADS = [[RANDOM.randn(*w.shape).astype("f") for w in WEIGHTS] for _ in range(4)]


@pytest.fixture
def doubles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def wider(dtype: Any) -> str | None:
        return "float64" if mx.base.as_dtype(dtype).name == "float32" else None

    monkeypatch.setattr(precision, "wider", wider)
    yield


def updated(kind: Any, dtype: str, as_lists: bool, **fields: Any) -> tuple[list[Any], Any]:
    mx.random.seed(3)
    made = kind(**fields) if isinstance(kind, type) else optimizer.create(kind, **fields)
    update = optimizer.get_updater(made)
    weights = [nd.array(w, dtype=dtype) for w in WEIGHTS]
    for grads in GRADS:
        given = [nd.array(g, dtype=dtype) for g in grads]
        if as_lists:
            update([0, 1], given, weights)
        else:
            for index in (0, 1):
                update(index, given[index], weights[index])
    return weights, update


@pytest.mark.parametrize("as_lists", [False, True], ids=["one by one", "lists"])
@pytest.mark.parametrize(("name", "form"), CASES, ids=str)
def test_steps_are_those_of_the_wider_dtype(
    name: str, form: dict[str, Any], as_lists: bool, doubles: None
) -> None:
    fields = {**form, "wd": 0.1, "clip_gradient": 1.5, "rescale_grad": 0.5}
    exact, _ = updated(name, "float64", as_lists, **fields)
    narrow, update = updated(name, "float32", as_lists, multi_precision=True, **fields)
    for index, (wide, weight) in enumerate(zip(exact, narrow, strict=True)):
        assert weight.dtype == np.float32
        np.testing.assert_array_equal(weight.asnumpy(), wide.asnumpy().astype("f"))
        last = update.optimizer.master_is_last
        master = update.states[index][1 if last else 0]
        assert master.dtype == np.float64
        np.testing.assert_array_equal(master.asnumpy(), wide.asnumpy())
    with pytest.warns(UserWarning, match="are lost in rounding"):
        coarse, _ = updated(name, "float32", as_lists, multi_precision=False, **fields)
    assert any((a.asnumpy() != b.asnumpy()).any() for a, b in zip(coarse, exact, strict=True))


@pytest.mark.parametrize("kind", [Momentum, Several])
def test_optimizers_of_a_program_get_master_copies(kind: type, doubles: None) -> None:
    fields = {"momentum": 0.9, "wd": 0.1, "clip_gradient": 1.5}
    exact, _ = updated(kind, "float64", True, **fields)
    narrow, _ = updated(kind, "float32", True, multi_precision=True, **fields)
    for wide, weight in zip(exact, narrow, strict=True):
        np.testing.assert_array_equal(weight.asnumpy(), wide.asnumpy().astype("f"))


@pytest.mark.parametrize(("name", "form"), CASES, ids=str)
def test_where_the_weight_is_wide_enough_nothing_changes(name: str, form: dict[str, Any]) -> None:
    plain, one = updated(name, "float32", True, **form)
    mixed, two = updated(name, "float32", True, multi_precision=True, **form)
    for a, b in zip(plain, mixed, strict=True):
        np.testing.assert_array_equal(a.asnumpy(), b.asnumpy())
    for index in (0, 1):
        assert len(as_list(one.states[index])) == len(as_list(two.states[index]))


def network() -> Any:
    mx.random.seed(4)
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(3, in_units=4, activation="tanh"), gluon.nn.Dense(1, in_units=3))
    net.initialize()
    return net


X = nd.array(RANDOM.randn(5, 4))
Y = nd.array(RANDOM.randn(5, 1))


def trained(name: str, form: dict[str, Any], by: str, contexts: Any = None) -> tuple[Any, Any]:
    net = network()
    if contexts:
        net.collect_params().reset_ctx(contexts)
    trainer = gluon.Trainer(net.collect_params(), name, {**form, "multi_precision": True})
    loss = gluon.loss.L2Loss()
    if by == "TrainStep":
        step = gluon.TrainStep(net, loss, trainer)
        for _ in range(4):
            step(X, Y)
        return net, trainer
    for _ in range(4):
        parts = [(X.as_in_context(c), Y.as_in_context(c)) for c in contexts or [mx.cpu()]]
        with autograd.record():
            losses = [loss(net(x), y) for x, y in parts]
        autograd.backward(losses)
        trainer.step(5 * len(parts))
    return net, trainer


@pytest.mark.parametrize("name", ["sgd", "adam", "lamb"])
@pytest.mark.parametrize("by", ["TrainStep", "two contexts"])
def test_ways_of_training_agree(name: str, by: str, doubles: None) -> None:
    form = {"learning_rate": 0.05, **({"momentum": 0.9} if name == "sgd" else {})}
    net, trainer = trained(name, form, "Trainer")
    contexts = [mx.cpu(0), mx.cpu(1)] if by == "two contexts" else None
    other, second = trained(name, form, by, contexts)
    for index, (a, b) in enumerate(
        zip(net.collect_params().values(), other.collect_params().values(), strict=True)
    ):
        np.testing.assert_allclose(
            a.data().asnumpy(), b.list_data()[-1].asnumpy(), rtol=1e-5, atol=1e-6
        )
        states = [as_list(t._updater.states[index]) for t in (trainer, second)]
        assert [s.dtype for s in states[0]] == [np.float64] * len(states[0])
        for mine, its in zip(*states, strict=True):
            np.testing.assert_allclose(mine.asnumpy(), its.asnumpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))
def test_states_with_master_copies_go_through_files_and_bytes(
    name: str, doubles: None, tmp_path: Any
) -> None:
    net, trainer = trained(name, {}, "Trainer")
    trainer.save_states(tmp_path / "states")
    again = gluon.Trainer(net.collect_params(), name, {"multi_precision": True})
    again.load_states(tmp_path / "states")
    update = optimizer.get_updater(optimizer.create(name, multi_precision=True))
    update.set_states(trainer._updater.get_states(dump_optimizer=True))
    for index, state in trainer._updater.states.items():
        for other in (again._updater.states[index], update.states[index]):
            for mine, its in zip(as_list(state), as_list(other), strict=True):
                np.testing.assert_array_equal(mine.asnumpy(), its.asnumpy())
    for index, param in enumerate(net.collect_params().values()):
        update(index, nd.ones(param.shape), param.data())  # the form is that of the optimizer


def test_states_of_another_form_are_refused(doubles: None) -> None:
    made = optimizer.SGD(momentum=0.9, multi_precision=True)
    weight = nd.ones(2)
    for state in (nd.zeros(2), (nd.zeros(2, dtype="float64"), nd.zeros(3, dtype="float64"))):
        with pytest.raises(
            mx.TigonError,
            match=r"SGD: expected, under multi_precision, a state with a copy of the weight in "
            r"float64 of shape \(2,\); given .*; make states by create_state_multi_precision",
        ):
            made.update_multi_precision(0, weight, nd.ones(2), state)


@pytest.mark.parametrize("by", ["update", "TrainStep"])
@pytest.mark.parametrize("name", ["sgd", "adam", "nadam", "lamb", "lars", "dcasgd"])
def test_states_that_are_not_like_their_weight_are_refused(name: str, by: str) -> None:
    made = optimizer.create(name, **({"momentum": 0.9} if name in ("sgd", "lars") else {}))
    net = gluon.nn.Dense(1, in_units=2, use_bias=False)
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), made)
    step = gluon.TrainStep(net, gluon.loss.L2Loss(), trainer)
    for wrong in (nd.zeros((3, 2)), nd.zeros((1, 2), dtype="float64")):
        count = len(as_list(made.create_state(0, net.weight.data())))
        trainer._updater.states[0] = tuple([wrong] * count) if count > 1 else wrong
        with pytest.raises(mx.TigonError) as error:
            if by == "update":
                trainer._updater(0, nd.ones((1, 2)), net.weight.data())
            else:
                step(nd.ones((1, 2)), nd.ones((1, 1)))
        kind, shape = type(made).__name__, tuple(wrong.shape)
        dtype = wrong.dtype.__name__
        assert str(error.value).startswith(
            f"{kind}: state 0 of parameter 0: expected float32 of shape (1, 2) like the weight; "
            f"given {dtype} of shape {shape}; make states by create_state_multi_precision"
        )


def test_small_steps_without_master_copies_are_warned_of(doubles: None) -> None:
    with pytest.warns(UserWarning, match="SGD: small steps of a weight of float32 are lost"):
        optimizer.SGD().create_state_multi_precision(0, nd.ones(2))
