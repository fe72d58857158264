"""Modules of buckets, chains, Python code, and `FeedForward`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.module.given_batches import GivenBatches
from tigon import nd, sym
from tigon.io import DataBatch, DataDesc, NDArrayIter

# -- buckets


def sentences(length: int) -> Any:
    words = sym.Embedding(sym.var("data"), input_dim=7, output_dim=4, name="words")
    normal = sym.BatchNorm(sym.mean(words, axis=1), name="bn", fix_gamma=False)
    fc = sym.FullyConnected(normal, num_hidden=2, name="fc")
    return sym.SoftmaxOutput(fc, name="softmax"), ("data",), ("softmax_label",)


class Sentences(GivenBatches):
    """Batches of sentences of different lengths, the same ones in every epoch."""

    def __init__(self, lengths: tuple[int, ...], batch: int = 6) -> None:
        rng = np.random.RandomState(0)
        self.default_bucket_key = max(lengths)
        made = []
        for length in lengths:
            data = rng.randint(0, 7, (batch, length)).astype("float32")
            label = (data.mean(1) > 3).astype("float32")
            described = [DataDesc("data", data.shape)], [DataDesc("softmax_label", label.shape)]
            made.append(
                DataBatch(
                    [nd.array(data)],
                    [nd.array(label)],
                    pad=0,
                    bucket_key=length,
                    provide_data=described[0],
                    provide_label=described[1],
                )
            )
        data_described = [DataDesc("data", (batch, max(lengths)))]
        super().__init__(made, (data_described, [DataDesc("softmax_label", (batch,))]))


LENGTHS = (3, 8, 5, 3, 8, 5, 2)


def bucketed(optimizer: str = "adam", **options: Any) -> Any:
    mx.random.seed(0)
    module = mx.mod.BucketingModule(sentences, default_bucket_key=8, **options)
    module.fit(
        Sentences(LENGTHS),
        num_epoch=4,
        optimizer=optimizer,
        optimizer_params={"learning_rate": 0.05},
        initializer=mx.init.Xavier(),
    )
    return module


@pytest.mark.parametrize("context", [mx.cpu(), [mx.cpu(0), mx.cpu(1)]], ids=["one", "two"])
def test_buckets_learn_together_as_one_module_per_batch_would(context: Any) -> None:
    """A symbol of any length, parameters and states handed on by hand."""
    found = bucketed(context=context).get_params()
    mx.random.seed(0)
    modules, last = {}, None
    for _ in range(4):
        for batch in Sentences(LENGTHS):
            length = batch.bucket_key
            if length not in modules:
                symbol, *names = sentences(length)
                own = modules[length] = mx.mod.Module(symbol, *names, context=context)
                first = last or own
                shape = (6, 8 if last is None else length)
                if last is None:
                    symbol, *names = sentences(8)
                    own = first = modules[8] = mx.mod.Module(symbol, *names, context=context)
                    own.bind([("data", shape)], [("softmax_label", (6,))])
                    own.init_params(mx.init.Xavier())
                    own.init_optimizer(optimizer="adam", optimizer_params={"learning_rate": 0.05})
                    last = own
                    symbol, *names = sentences(length)
                    own = modules[length] = mx.mod.Module(symbol, *names, context=context)
                own.bind(batch.provide_data, batch.provide_label, shared_module=first)
            modules[length].forward_backward(batch)
            modules[length].update()
    last._params_dirty = True
    for one, other in zip(found, last.get_params(), strict=True):
        assert sorted(one) == sorted(other)
        for name in one:
            np.testing.assert_allclose(
                one[name].asnumpy(), other[name].asnumpy(), rtol=2e-4, atol=1e-5, err_msg=name
            )


def test_buckets_share_parameters_gradients_states_and_memory() -> None:
    before = mx.runtime.stats()["whole_steps"]
    module = bucketed()
    assert mx.runtime.stats()["whole_steps"] - before == 4 * len(LENGTHS)
    assert sorted(module._buckets) == [2, 3, 5, 8]
    executors = [own._exec_group.execs[0] for own in module._buckets.values()]
    for name in module._default._param_names:
        assert len({id(one.arg_dict[name]) for one in executors}) == 1
        assert len({id(one.grad_dict[name]) for one in executors}) == 1
    assert len({id(one.aux_dict["bn_moving_mean"]) for one in executors}) == 1
    assert len({id(one.arg_dict["softmax_label"]) for one in executors}) == 1
    assert len({id(own._updater) for own in module._buckets.values()}) == 1


def test_a_bucket_costs_the_memory_of_its_inputs() -> None:
    def wide(length: int) -> Any:
        fc = sym.FullyConnected(
            sym.sum(sym.var("data"), axis=1, keepdims=True), num_hidden=50_000, name="fc"
        )
        out = sym.FullyConnected(fc, num_hidden=2, name="out")
        return sym.SoftmaxOutput(out, name="softmax"), ("data",), ("softmax_label",)

    module = mx.mod.BucketingModule(wide, default_bucket_key=4)
    module.bind([("data", (4, 4))], [("softmax_label", (4,))])
    module.init_params()
    module.init_optimizer(optimizer_params={"momentum": 0.9})
    used = []
    for length in (4, 2, 3, 1):
        data, label = [("data", (4, length))], [("softmax_label", (4,))]
        batch = DataBatch(
            [nd.ones((4, length))],
            [nd.zeros((4,))],
            bucket_key=length,
            provide_data=data,
            provide_label=label,
        )
        module.forward_backward(batch)
        module.update()
        nd.waitall()
        used.append(mx.runtime.stats()["bytes_now"])
    assert used[-1] - used[0] < 1_000  # what is computed in between takes 800,000
    module.switch_bucket(2, [], None)
    with pytest.raises(mx.TigonError) as caught:
        module.backward()
    assert str(caught.value) == (
        "Executor.backward: what it needs was given up when another bucket was computed; call "
        "forward(is_train=True) before it"
    )


def test_scores_and_predictions_of_buckets() -> None:
    module = bucketed()
    batches = Sentences(LENGTHS)
    ((_, accuracy),) = module.score(batches, "acc")
    outputs = module.predict(batches).asnumpy()
    labels = np.concatenate([batch.label[0].asnumpy() for batch in batches.made])
    assert outputs.shape == (6 * len(LENGTHS), 2)
    assert accuracy == pytest.approx((outputs.argmax(1) == labels).mean())
    assert accuracy > 0.7


def test_a_checkpoint_of_buckets_predicts_the_same(tmp_path: Path) -> None:
    module = bucketed()
    expected = module.predict(Sentences(LENGTHS)).asnumpy()
    module.save_checkpoint(tmp_path / "words", 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "words-0004.params",
        *[f"words-{key}-symbol.json" for key in (2, 3, 5, 8)],
        "words.buckets",
    ]
    for options in ({}, {"sym_gen": sentences, "default_bucket_key": 8}):
        again = mx.mod.BucketingModule.load(tmp_path / "words", 4, **options)
        again.bind(Sentences(LENGTHS).provide_data, for_training=False)
        np.testing.assert_allclose(
            again.predict(Sentences(LENGTHS)).asnumpy(), expected, rtol=1e-5, atol=1e-6
        )


def test_prepare_binds_a_bucket_and_stays_in_this_one() -> None:
    module = mx.mod.BucketingModule(sentences, default_bucket_key=8)
    batches = Sentences((8, 3))
    module.bind(batches.provide_data, batches.provide_label)
    module.init_params()
    module.forward(batches.made[0])
    module.prepare(batches.made[1])
    assert sorted(module._buckets) == [3, 8] and module._curr_bucket_key == 8
    assert module.get_outputs()[0].shape == (6, 2)


# -- chains


def samples(count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(0)
    return rng.randn(count, 5).astype("float32"), rng.randint(0, 3, count).astype("float32")


def layer(data: Any, name: str) -> Any:
    return sym.Activation(sym.FullyConnected(data, num_hidden=4, name=name), act_type="tanh")


def test_a_chain_trains_as_the_whole_symbol() -> None:
    def loss(data: Any) -> Any:
        return sym.SoftmaxOutput(sym.FullyConnected(data, num_hidden=3, name="c"), name="softmax")

    whole = mx.mod.Module(loss(layer(layer(sym.var("data"), "a"), "b")))
    chain = mx.mod.SequentialModule()
    chain.add(mx.mod.Module(layer(sym.var("data"), "a"), label_names=None))
    chain.add(mx.mod.Module(layer(sym.var("x"), "b"), ["x"], None), auto_wiring=True)
    chain.add(mx.mod.Module(loss(sym.var("data"))), take_labels=True, auto_wiring=True)
    found = []
    for module in (whole, chain):
        mx.random.seed(0)
        batches, own = NDArrayIter(*samples(), 4), mx.metric.Accuracy()
        module.fit(
            batches,
            num_epoch=3,
            eval_metric=own,
            initializer=mx.init.Xavier(),
            optimizer_params={"learning_rate": 0.5, "momentum": 0.9},
        )
        score = module.score(batches, "ce")
        found.append((module.get_params()[0], own.get(), score, module.predict(batches)))
    assert found[0][1] == found[1][1]
    np.testing.assert_allclose(found[0][2][0][1], found[1][2][0][1], rtol=1e-4)
    np.testing.assert_allclose(found[0][3].asnumpy(), found[1][3].asnumpy(), rtol=1e-4)
    for name in found[0][0]:
        one, other = (params[name].asnumpy() for params, *_ in found)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6, err_msg=name)
    assert chain.data_names == ["data"] and chain.output_names == ["softmax_output"]
    assert chain.output_shapes == [("softmax_output", (4, 3))]


def test_a_loss_in_python_trains_as_that_of_the_symbol() -> None:
    fc = sym.FullyConnected(sym.var("data"), num_hidden=3, name="fc")
    whole = mx.mod.Module(sym.SoftmaxOutput(fc, name="softmax"))

    def slope(scores: Any, labels: Any) -> Any:
        return nd.softmax(scores) - nd.one_hot(labels, 3)

    chain = mx.mod.SequentialModule()
    chain.add(mx.mod.Module(fc, label_names=None))
    chain.add(mx.mod.PythonLossModule(grad_func=slope), take_labels=True, auto_wiring=True)
    found = []
    for module in (whole, chain):
        mx.random.seed(0)
        module.fit(NDArrayIter(*samples(), 4), num_epoch=2, initializer=mx.init.Xavier())
        found.append(module.get_params()[0])
    for name in found[0]:
        np.testing.assert_allclose(
            found[0][name].asnumpy(), found[1][name].asnumpy(), rtol=1e-4, atol=1e-6
        )


def test_a_module_in_python() -> None:
    class Doubling(mx.mod.PythonModule):
        def __init__(self) -> None:
            super().__init__(["data"], None, ["twice"])

        def _compute_output_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
            return [("twice", self.data_shapes[0][1])]

        def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
            self.given = data_batch.data[0]

        def get_outputs(self, merge_multi_context: bool = True) -> list[Any]:
            return [self.given * 2]

    module = Doubling()
    module.bind([("data", (4, 5))], for_training=False)
    module.init_params()
    predicted = module.predict(NDArrayIter(*samples(10), 4)).asnumpy()
    np.testing.assert_array_equal(predicted, samples(10)[0] * 2)


# -- FeedForward


def classifier() -> Any:
    return sym.SoftmaxOutput(
        sym.FullyConnected(layer(sym.var("data"), "a"), num_hidden=3, name="b"), name="softmax"
    )


def test_feed_forward_on_numpy_arrays(tmp_path: Path) -> None:
    data, labels = samples(22)
    ends: list[Any] = []
    model = mx.model.FeedForward(
        classifier(),
        num_epoch=40,
        numpy_batch_size=4,
        optimizer="adam",
        learning_rate=0.05,
        initializer=mx.init.Xavier(),
    )
    model.fit(
        data,
        labels.reshape(22, 1),
        eval_data=(data, labels),
        eval_end_callback=lambda param: ends.append(param.eval_metric.get()[1]),
    )
    assert len(ends) == 40 and ends[-1] > 0.7
    outputs = model.predict(data)
    assert type(outputs) is np.ndarray and outputs.shape == (22, 3)
    score = model.score(NDArrayIter(data, labels, 4))
    assert score == pytest.approx((outputs.argmax(1) == labels).mean())
    assert score == pytest.approx(ends[-1])
    model.save(tmp_path / "ff")
    again = mx.model.FeedForward.load(tmp_path / "ff", 40, num_epoch=41, learning_rate=0.0)
    np.testing.assert_array_equal(again.predict(data), outputs)
    again.fit(data, labels)
    np.testing.assert_allclose(again.predict(data), outputs, rtol=1e-6)
    found, given, true = model.predict(NDArrayIter(data, labels, 4), return_data=True)
    np.testing.assert_array_equal(given, data)
    np.testing.assert_array_equal(true, labels)
    np.testing.assert_allclose(found, outputs, rtol=1e-5)


def test_epochs_of_a_given_number_of_batches() -> None:
    data, labels = samples(12)
    seen: list[tuple[int, int]] = []
    mx.model.FeedForward.create(
        classifier(),
        NDArrayIter(data, labels, 4),
        num_epoch=3,
        epoch_size=2,
        batch_end_callback=lambda param: seen.append((param.epoch, param.nbatch)),
    )
    assert seen == [(epoch, batch) for epoch in range(3) for batch in range(2)]
