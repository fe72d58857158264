"""Modules: the same numbers as an executor and as Gluon, whichever way they are asked for."""

from __future__ import annotations

import logging
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import gluon, nd, sym
from tigon.base import TigonError


def network(hidden: int = 4, classes: int = 3) -> Any:
    data = sym.var("data")
    first = sym.Activation(sym.FullyConnected(data, num_hidden=hidden, name="fc1"), act_type="tanh")
    normal = sym.BatchNorm(first, name="bn", fix_gamma=False)
    return sym.SoftmaxOutput(
        sym.FullyConnected(normal, num_hidden=classes, name="fc2"), name="softmax"
    )


def samples(count: int, width: int = 5, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(0)
    return rng.randn(count, width).astype("float32"), rng.randint(0, classes, count).astype("f")


def iterator(count: int = 24, batch: int = 6, **options: Any) -> Any:
    return mx.io.NDArrayIter(*samples(count), batch, **options)


def first_values(symbol: Any, batch: int = 6) -> dict[str, Any]:
    rng = np.random.RandomState(1)
    shapes = dict(zip(symbol.list_arguments(), symbol.infer_shape(data=(batch, 5))[0], strict=True))
    return {
        name: nd.array(rng.rand(*shape) - (0.5 if name.endswith("weight") else 0.0))
        for name, shape in shapes.items()
        if name not in ("data", "softmax_label")
    }


OPTIMIZERS = [
    ("sgd", {"learning_rate": 0.2, "momentum": 0.9, "wd": 0.01}),
    ("adam", {"learning_rate": 0.05}),
]


def by_module(context: Any, optimizer: str, params: dict[str, Any]) -> Any:
    symbol = network()
    module = mx.mod.Module(symbol, context=context)
    module.fit(
        iterator(),
        num_epoch=3,
        arg_params=first_values(symbol),
        aux_params={"bn_moving_mean": nd.zeros(4), "bn_moving_var": nd.ones(4)},
        optimizer=optimizer,
        optimizer_params=params,
    )
    return module.get_params()


def by_methods(optimizer: str, params: dict[str, Any]) -> Any:
    symbol, batches = network(), iterator()
    module = mx.mod.Module(symbol)
    module.bind(batches.provide_data, batches.provide_label)
    module.init_params(arg_params=first_values(symbol), allow_missing=True)
    module.init_optimizer(optimizer=optimizer, optimizer_params=params)
    for _ in range(3):
        batches.reset()
        for batch in batches:
            module.forward(batch)
            module.backward()
            module.update()
    return module.get_params()


def by_executor(optimizer: str, params: dict[str, Any]) -> Any:
    symbol, batches = network(), iterator()
    executor = symbol.simple_bind(data=(6, 5), softmax_label=(6,))
    executor.copy_params_from(
        first_values(symbol), {"bn_moving_mean": nd.zeros(4), "bn_moving_var": nd.ones(4)}
    )
    names = [name for name in symbol.list_arguments() if name not in ("data", "softmax_label")]
    own = mx.optimizer.create(
        optimizer,
        rescale_grad=1 / 6,
        param_idx2name=dict(enumerate(names)),
        sym=symbol,
        **params,
    )
    update = mx.optimizer.get_updater(own)
    for _ in range(3):
        batches.reset()
        for batch in batches:
            executor.forward(is_train=True, data=batch.data[0], softmax_label=batch.label[0])
            executor.backward()
            for index, name in enumerate(names):
                update(index, executor.grad_dict[name], executor.arg_dict[name])
    return {name: executor.arg_dict[name] for name in names}, executor.aux_dict


def by_gluon(optimizer: str, params: dict[str, Any]) -> Any:
    symbol, batches = network(), iterator()
    logits = symbol.get_internals()["fc2_output"]
    net = gluon.SymbolBlock(logits, sym.var("data"))
    net.initialize()
    net(nd.zeros((6, 5)))
    for name, array in first_values(symbol).items():
        net.collect_params()[name].set_data(array)
    for name, param in net.collect_params().items():
        if not name.endswith(("_weight", "_gamma")):
            param.wd_mult = 0.0
    trained = {n: p for n, p in net.collect_params().items() if p.grad_req != "null"}
    trainer = gluon.Trainer(trained, optimizer, dict(params))
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    for _ in range(3):
        batches.reset()
        for batch in batches:
            with mx.autograd.record():
                value = loss(net(batch.data[0]), batch.label[0])
            value.backward()
            trainer.step(6)
    every = {name: param.data() for name, param in net.collect_params().items()}
    states = {name: every.pop(name) for name in list(every) if "moving" in name}
    return every, states


@pytest.mark.parametrize("optimizer,params", OPTIMIZERS, ids=["sgd", "adam"])
@pytest.mark.parametrize("way", [by_methods, by_executor, by_gluon], ids=lambda way: way.__name__)
def test_the_same_training_gives_the_same_numbers(
    way: Any, optimizer: str, params: dict[str, Any]
) -> None:
    expected, found = by_module(mx.cpu(), optimizer, params), way(optimizer, params)
    for one, other in zip(expected, found, strict=True):
        assert sorted(one) == sorted(other)
        for name in one:
            np.testing.assert_allclose(
                one[name].asnumpy(), other[name].asnumpy(), rtol=2e-4, atol=2e-5, err_msg=name
            )


@pytest.mark.parametrize("kvstore", ["local", "device", None])
def test_two_contexts_train_like_one_where_samples_are_independent(kvstore: Any) -> None:
    data = sym.var("data")
    symbol = sym.SoftmaxOutput(sym.FullyConnected(data, num_hidden=3, name="fc"), name="softmax")
    found = []
    for context in (mx.cpu(), [mx.cpu(0), mx.cpu(1)]):
        module = mx.mod.Module(symbol, context=context)
        if kvstore is None and isinstance(context, list):
            continue  # nothing then adds up the gradients
        module.fit(
            iterator(),
            num_epoch=2,
            initializer=mx.init.One(),
            kvstore=kvstore,
            optimizer_params={"learning_rate": 0.1, "momentum": 0.9},
        )
        found.append(module.get_params()[0])
        outputs = module.predict(iterator(20))
        assert outputs.shape == (20, 3)
        found[-1]["outputs"] = outputs
    for name in found[0]:
        np.testing.assert_allclose(
            found[0][name].asnumpy(), found[-1][name].asnumpy(), rtol=1e-5, err_msg=name
        )


def trained(**options: Any) -> Any:
    module = mx.mod.Module(network(), **options)
    module.fit(iterator(), num_epoch=1, optimizer_params={"learning_rate": 0.1, "momentum": 0.9})
    return module


# -- shapes


def test_a_batch_of_another_size_binds_anew_and_compiles_once() -> None:
    module = trained()
    sizes = (6, 2, 9, 2, 6)
    whole = module.predict(iterator(18, 6)).asnumpy()
    before: float | None = None
    for round_ in range(2):
        for size in sizes:
            module.forward(mx.io.DataBatch([nd.array(samples(18)[0][:size])]), is_train=False)
            (output,) = module.get_outputs()
            np.testing.assert_allclose(output.asnumpy(), whole[:size], rtol=1e-5, atol=1e-6)
            assert module.data_shapes[0].shape == (size, 5)
            assert module.output_shapes == [("softmax_output", (size, 3))]
        compiled = mx.runtime.stats()["compilations"]
        assert before is None or (round_ and compiled == before)
        before = compiled


def test_training_goes_on_after_a_batch_of_another_size() -> None:
    data, labels = samples(10)
    module, other = (mx.mod.Module(network()) for _ in range(2))
    values = first_values(network())
    for one, shapes in ((module, (6, 4)), (other, (4,))):
        one.bind([("data", (shapes[0], 5))], [("softmax_label", (shapes[0],))])
        one.init_params(arg_params=values, allow_missing=True)
        one.init_optimizer(optimizer_params={"learning_rate": 0.1, "rescale_grad": 1.0})
        start = {6: 0, 4: 6}
        for size in (4, 6, 4):
            rows = slice(start[size], start[size] + size)
            batch = mx.io.DataBatch([nd.array(data[rows])], [nd.array(labels[rows])])
            one.forward_backward(batch)
            one.update()
    for name, array in module.get_params()[0].items():
        np.testing.assert_array_equal(array.asnumpy(), other.get_params()[0][name].asnumpy())


@pytest.mark.parametrize("count", [12, 13, 5])
def test_predictions_drop_the_padding_and_nothing_else(count: int) -> None:
    module = trained()
    padded = module.predict(iterator(count, 6))
    assert padded.shape == (count, 3)
    one_by_one = nd.concat(
        *[module.predict(nd.array(samples(count)[0][i : i + 1])) for i in range(count)], dim=0
    )
    np.testing.assert_allclose(padded.asnumpy(), one_by_one.asnumpy(), rtol=1e-5, atol=1e-6)
    parts = module.predict(iterator(count, 6), merge_batches=False)
    assert [len(part) for part in parts] == [1] * -(-count // 6)
    seen = list(module.iter_predict(iterator(count, 6)))
    assert [number for _, number, _ in seen] == list(range(-(-count // 6)))
    assert sum(outputs[0].shape[0] for outputs, _, _ in seen) == count


@pytest.mark.parametrize("count", [12, 13, 5])
def test_scores_do_not_count_the_padding(count: int) -> None:
    module = trained()
    _, labels = samples(count)
    guesses = module.predict(iterator(count, 6)).asnumpy()
    ((_, accuracy), (_, entropy)) = module.score(iterator(count, 6), ["acc", "ce"])
    assert accuracy == pytest.approx((guesses.argmax(1) == labels).mean())
    expected = -np.log(guesses[np.arange(count), labels.astype(int)] + 1e-12).mean()
    assert entropy == pytest.approx(expected, rel=1e-5)


# -- options


def test_gradients_add_up_where_asked_for() -> None:
    modules = {}
    for request in ("write", "add"):
        module = modules[request] = mx.mod.Module(network())
        module.bind([("data", (6, 5))], [("softmax_label", (6,))], grad_req=request)
        module.init_params(arg_params=first_values(network()), allow_missing=True)
        for batch in iterator(12):
            module.forward_backward(batch)
    (first, second) = iterator(12)
    module = mx.mod.Module(network())
    module.bind([("data", (6, 5))], [("softmax_label", (6,))])
    module.init_params(arg_params=first_values(network()), allow_missing=True)
    total: dict[str, Any] = {}
    for batch in (first, second):
        module.forward_backward(batch)
        for name, (grad,) in zip(module._param_names, module._exec_group.grad_arrays, strict=True):
            total[name] = total.get(name, 0) + grad.asnumpy()
    for (name, expected), (grad,), (last,) in zip(
        total.items(),
        modules["add"]._exec_group.grad_arrays,
        modules["write"]._exec_group.grad_arrays,
        strict=True,
    ):
        np.testing.assert_allclose(grad.asnumpy(), expected, rtol=1e-4, atol=1e-6, err_msg=name)
        assert not np.allclose(last.asnumpy(), expected)


def test_fixed_parameters_stay_and_the_others_move() -> None:
    symbol = network()
    values = first_values(symbol)
    module = mx.mod.Module(symbol, fixed_param_names=["fc1_weight", "bn_gamma"])
    module.fit(iterator(), num_epoch=1, arg_params=values, allow_missing=True)
    for name, array in module.get_params()[0].items():
        moved = not np.array_equal(array.asnumpy(), values[name].asnumpy())
        assert moved == (name not in ("fc1_weight", "bn_gamma")), name


def test_a_label_that_only_the_metric_reads() -> None:
    logged: list[str] = []
    own = logging.getLogger("a_label_that_only_the_metric_reads")
    own.addHandler(logging.NullHandler())
    own.warning = lambda text, *given: logged.append(text % given)  # type: ignore[method-assign]
    module = mx.mod.Module(sym.softmax(sym.var("data")), logger=own)
    assert logged == [
        "Module: label_names: the symbol has no argument 'softmax_label'; its arguments are data"
    ]
    module.bind([("data", (6, 5))], [("softmax_label", (6,))], for_training=False)
    module.init_params()
    ((_, value),) = module.score(iterator(12), "acc")
    data, labels = samples(12)
    assert value == pytest.approx((data.argmax(1) == labels).mean())


def test_batches_of_any_kind_with_data_are_taken() -> None:
    Batch = namedtuple("Batch", ["data"])
    module = mx.mod.Module(network(), label_names=None)
    module.bind([("data", (2, 5))], for_training=False)
    module.init_params()
    module.forward(Batch([nd.ones((2, 5))]))
    assert module.get_outputs()[0].shape == (2, 3)


def test_outputs_that_no_gradient_flows_from_need_none() -> None:
    data = sym.var("data")
    fc = sym.FullyConnected(data, num_hidden=3, name="fc")
    loss = sym.SoftmaxOutput(fc, name="softmax")
    module = mx.mod.Module(sym.Group([sym.BlockGrad(fc), loss, sym.argmax(fc, axis=1)]))
    batches = iterator()
    module.bind(batches.provide_data, batches.provide_label)
    module.init_params(mx.init.One())
    module.forward_backward(batches.next())
    assert module.get_outputs()[2].shape == (6,)
    module = mx.mod.Module(sym.Group([fc, loss]))
    module.bind(batches.provide_data, batches.provide_label)
    module.init_params()
    with pytest.raises(TigonError) as caught:
        module.forward_backward(batches.next())
    assert str(caught.value) == (
        "Executor.backward: output 'fc_output' is not a loss, so its gradient must be given; call "
        "backward(out_grads=...) with one array per output"
    )


# -- files


@pytest.mark.parametrize("optimizer,params", OPTIMIZERS, ids=["sgd", "adam"])
@pytest.mark.parametrize("context", [mx.cpu(), [mx.cpu(0), mx.cpu(1)]], ids=["one", "two"])
def test_a_checkpoint_goes_on_where_it_ended(
    tmp_path: Path, context: Any, optimizer: str, params: dict[str, Any]
) -> None:
    options: dict[str, Any] = {"optimizer": optimizer, "optimizer_params": params}
    values = first_values(network())
    whole = mx.mod.Module(network(), context=context)
    whole.fit(iterator(), num_epoch=2, arg_params=values, allow_missing=True, **options)
    half = mx.mod.Module(network(), context=context)
    half.fit(iterator(), num_epoch=1, arg_params=values, allow_missing=True, **options)
    half.save_checkpoint(tmp_path / "net", 1, save_optimizer_states=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "net-0001.params",
        "net-0001.states",
        "net-symbol.json",
    ]
    again = mx.mod.Module.load(tmp_path / "net", 1, load_optimizer_states=True, context=context)
    again.fit(iterator(), num_epoch=2, begin_epoch=1, **options)
    for one, other in zip(whole.get_params(), again.get_params(), strict=True):
        for name in one:
            np.testing.assert_allclose(
                one[name].asnumpy(), other[name].asnumpy(), rtol=1e-6, atol=1e-7, err_msg=name
            )


def test_parameters_of_one_module_serve_another(tmp_path: Path) -> None:
    module = trained()
    module.save_params(tmp_path / "p.params")
    assert sorted(nd.load(tmp_path / "p.params")) == [
        "arg:bn_beta",
        "arg:bn_gamma",
        "arg:fc1_bias",
        "arg:fc1_weight",
        "arg:fc2_bias",
        "arg:fc2_weight",
        "aux:bn_moving_mean",
        "aux:bn_moving_var",
    ]
    inner = mx.mod.Module(network().get_internals()["bn_output"], label_names=None)
    inner.bind([("data", (6, 5))], for_training=False)
    inner.set_params(*module.get_params())
    symbol, arguments, states = network(), *module.get_params()
    executor = symbol.get_internals()["bn_output"].simple_bind(data=(6, 5))
    executor.copy_params_from(arguments, states, allow_extra_params=True)
    data = nd.array(samples(6)[0])
    np.testing.assert_array_equal(
        inner.predict(data).asnumpy(), executor.forward(data=data)[0].asnumpy()
    )
