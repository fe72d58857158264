# ruff: noqa: E501  (whole messages)
"""What modules, checkpoints and their kin say of what they cannot take; nothing is lost then."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import nd, sym
from tigon.io import DataBatch, DataIter, NDArrayIter

QUIET = logging.getLogger("refusals")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


def classifier(hidden: int = 3) -> Any:
    fc = sym.FullyConnected(sym.var("data"), num_hidden=hidden, name="fc")
    return sym.SoftmaxOutput(sym.BatchNorm(fc, name="bn"), name="softmax")


def bound(**options: Any) -> Any:
    module = mx.mod.Module(classifier(), logger=QUIET)
    module.bind([("data", (4, 2))], [("softmax_label", (4,))], **options)
    module.init_params()
    return module


def samples(count: int = 8, **options: Any) -> Any:
    return NDArrayIter(np.zeros((count, 2)), np.zeros(count), 4, **options)


class Empty(DataIter):
    provide_data = [mx.io.DataDesc("data", (4, 2))]  # noqa: RUF012
    provide_label = [mx.io.DataDesc("softmax_label", (4,))]  # noqa: RUF012

    def next(self) -> Any:
        raise StopIteration


ready, predicting = bound(), bound(for_training=False)
predicting.forward(DataBatch([nd.zeros((4, 2))]))
fresh = mx.mod.Module(classifier(), logger=QUIET)
loss = mx.mod.PythonLossModule()

MODULES = {
    "unknown data": (
        lambda: mx.mod.Module(classifier(), data_names=["images"]),
        "Module: data_names: the symbol has no argument 'images'; its arguments are data, fc_weight, fc_bias, bn_gamma, bn_beta, softmax_label",
    ),
    "unknown fixed": (
        lambda: mx.mod.Module(classifier(), fixed_param_names=["fc_wieght"]),
        "Module: fixed_param_names: the symbol has no argument 'fc_wieght'; its arguments are data, fc_weight, fc_bias, bn_gamma, bn_beta, softmax_label",
    ),
    "no symbol": (
        lambda: mx.mod.Module(nd.zeros(3)),
        "Module: symbol: expected a Symbol; given NDArray; a Gluon network is trained by gluon.Trainer, or exported first",
    ),
    "loads": (
        lambda: mx.mod.Module(classifier(), work_load_list=[1, 2]),
        "Module: work_load_list: expected 1 numbers, one per context; given 2",
    ),
    "forward first": (
        lambda: fresh.forward(DataBatch([nd.zeros((4, 2))])),
        "Module.forward: the module is not bound to shapes; call bind first",
    ),
    "init first": (
        lambda: fresh.init_params(),
        "Module.init_params: the module is not bound to shapes; call bind before initializing the parameters",
    ),
    "update first": (
        lambda: ready.update(),
        "Module.update: there is no optimizer; call init_optimizer first",
    ),
    "data name": (
        lambda: fresh.bind([("x", (4, 2))]),
        "Module.bind: data_shapes: expected data, the data_names of the module; given x",
    ),
    "label name": (
        lambda: fresh.bind([("data", (4, 2))], [("y", (4,))]),
        "Module.bind: label_shapes: expected softmax_label, the label_names of the module; given y; give the iterator label_name='softmax_label', or the module other label_names",
    ),
    "shapes": (
        lambda: fresh.bind(["data"]),
        "Module.bind: data_shapes: expected a list of (name, shape) or DataDesc; given 'data' in it",
    ),
    "input gradients": (
        lambda: fresh.bind([("data", (4, 2))], for_training=False, inputs_need_grad=True),
        "Module.bind: inputs_need_grad asks for gradients, which for_training=False has none of",
    ),
    "request": (
        lambda: fresh.bind([("data", (4, 2))], grad_req="wirte"),
        "bind: grad_req of 'fc_weight': expected 'write', 'add' or 'null'; given 'wirte'",
    ),
    "shared": (
        lambda: fresh.bind([("data", (4, 2))], shared_module=mx.mod.Module(classifier())),
        "Module.bind: shared_module: expected a bound Module with parameters; given Module",
    ),
    "no labels": (
        lambda: ready.forward(DataBatch([nd.zeros((4, 2))])),
        "Module.forward: the batch has no labels; expected softmax_label, as bound; give them, or pass is_train=False",
    ),
    "more data": (
        lambda: ready.forward(DataBatch([nd.zeros((4, 2))] * 2, [nd.zeros(4)])),
        "Module.forward: the batch has 2 arrays of data; expected 1: data",
    ),
    "more labels": (
        lambda: ready.forward(DataBatch([nd.zeros((4, 2))], [nd.zeros(4)] * 2)),
        "Module.forward: the batch has 2 arrays of labels; expected 1: softmax_label",
    ),
    "labels of another shape": (
        lambda: ready.forward(DataBatch([nd.zeros((4, 2))], [nd.zeros(3)])),
        "Executor.forward: argument 'softmax_label': expected shape (4,), as bound; given (3,); use Executor.reshape for another shape",
    ),
    "backward of prediction": (
        lambda: predicting.backward(),
        "Module.backward: the module is bound for prediction; bind it again with for_training=True",
    ),
    "input grads": (
        lambda: ready.get_input_grads(),
        "Module.get_input_grads: the module is bound without them; bind with inputs_need_grad=True",
    ),
    "states": (
        lambda: ready.get_states(),
        "Module.get_states: states of several contexts are not merged; pass merge_multi_context=False",
    ),
    "missing parameter": (
        lambda: ready.init_params(arg_params={"fc_bias": nd.zeros(3)}, force_init=True),
        "Module.init_params: 'fc_weight' is missing among the given parameters, which are fc_bias; give it, or pass allow_missing=True",
    ),
    "parameter of another shape": (
        lambda: ready.set_params({"fc_bias": nd.zeros(4)}, {}, allow_missing=True),
        "Module.init_params: 'fc_bias': expected shape (3,); given (4,); does the checkpoint belong to this symbol?",
    ),
    "unknown parameter": (
        lambda: ready.set_params({"fc2_bias": nd.zeros(4)}, {}, allow_missing=True),
        "Module.set_params: the module has no parameters 'fc2_bias'; it has: fc_weight, fc_bias, bn_gamma, bn_beta; pass allow_extra=True to skip them",
    ),
    "epochs": (
        lambda: ready.fit(samples()),
        "Module.fit: the number of epochs is missing; give num_epoch=10, say",
    ),
    "no batches": (
        lambda: bound().fit(Empty(), num_epoch=1),
        "Module.fit: train_data has no batches in epoch 0; is it empty, or at its end and never reset?",
    ),
    "metric": (
        lambda: ready.score(samples(), "accurracy"),
        f"metric: 'accurracy' is not known; choose one of {', '.join(sorted(mx.metric._REGISTRY))}",
    ),
    "optimizer": (
        lambda: ready.init_optimizer(optimizer="sdg"),
        "optimizer: 'sdg' is not known; choose one of adadelta, adagrad, adam, adamax, adamw, ccsgd, dcasgd, ftml, ftrl, lamb, lars, lbsgd, nadam, nag, rmsprop, sgd, sgld, signum, test",
    ),
    "store": (
        lambda: ready.init_optimizer(kvstore=3),
        "kvstore: expected the name of a store, a store, or None; given 3",
    ),
    "borrowing": (
        lambda: ready.borrow_optimizer(fresh),
        "Module.borrow_optimizer: the other module has no optimizer; call its init_optimizer first",
    ),
    "predicting": (
        lambda: ready.predict([1, 2]),
        "Module.predict: expected a DataIter or an array of data; given list; wrap it in mx.io.NDArrayIter",
    ),
    "row ids": (
        lambda: ready.predict(samples(), sparse_row_id_fn=len),
        "Module.predict: sparse_row_id_fn is for row-sparse parameters, and those of modules are dense; leave it out",
    ),
    "default bucket": (
        lambda: mx.mod.BucketingModule(lambda key: (classifier(), ["data"], ["softmax_label"])),
        "BucketingModule: default_bucket_key is missing; give the key of the bucket that has all parameters, such as the longest length",
    ),
    "what sym_gen gives": (
        lambda: mx.mod.BucketingModule(lambda key: classifier(), 4),
        "BucketingModule: sym_gen(4): expected (symbol, data_names, label_names); given Symbol",
    ),
    "chain of nothing": (
        lambda: mx.mod.SequentialModule().bind([("data", (4, 2))]),
        "SequentialModule.bind: there are no modules; add some",
    ),
    "meta": (
        lambda: mx.mod.SequentialModule().add(fresh, take_label=True),
        "SequentialModule.add: expected take_labels and auto_wiring; given take_label",
    ),
    "loss": (
        lambda: mx.mod.PythonLossModule(grad_func=3),
        "PythonLossModule: grad_func: expected a function of data and labels; given int",
    ),
    "names of a loss": (
        lambda: loss.bind([("x", (4, 2))]),
        "PythonLossModule.bind: data_shapes: expected data; given x",
    ),
    "epochs of FeedForward": (
        lambda: mx.model.FeedForward(classifier()).fit(np.zeros((4, 2)), np.zeros(4)),
        "FeedForward.fit: the number of epochs is missing; give num_epoch=10, say, to FeedForward",
    ),
    "labels of FeedForward": (
        lambda: mx.model.FeedForward(classifier(), num_epoch=1).fit(np.zeros((4, 2)), np.zeros(3)),
        "FeedForward.fit: y: expected 4 labels, one for each sample of X; given 3",
    ),
    "no labels of FeedForward": (
        lambda: mx.model.FeedForward(classifier(), num_epoch=1).fit(np.zeros((4, 2))),
        "FeedForward.fit: y, the labels, is missing; give one for each sample of X",
    ),
    "data of FeedForward": (
        lambda: mx.model.FeedForward(classifier(), num_epoch=1).fit([1]),
        "FeedForward.fit: X: expected a numpy array or a DataIter; given list",
    ),
    "parameters of FeedForward": (
        lambda: mx.model.FeedForward(classifier()).predict(np.zeros((4, 2))),
        "FeedForward.predict: there are no parameters; call fit, or give arg_params",
    ),
    "extra parameters of FeedForward": (
        lambda: mx.model.FeedForward(classifier(), arg_params={"w": 1}),
        "FeedForward: arg_params: the symbol has no 'w'; it has: data, fc_weight, fc_bias, bn_gamma, bn_beta, softmax_label; pass allow_extra_params=True to skip them",
    ),
    "monitor": (
        lambda: mx.mon.Monitor(0),
        "Monitor: interval: expected 1 or more; given 0",
    ),
    "speedometer": (
        lambda: mx.callback.Speedometer(1, 0),
        "Speedometer: frequent: expected 1 or more; given 0",
    ),
    "bar": (
        lambda: mx.callback.ProgressBar(0),
        "ProgressBar: total: expected 1 or more batches; given 0",
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_what_is_refused(name: str) -> None:
    before = {n: a.asnumpy() for n, a in ready.get_params()[0].items()}
    call, message = MODULES[name]
    with pytest.raises((mx.TigonError, RuntimeError, ValueError)) as caught:
        call()
    assert str(caught.value) == message
    for array_name, array in ready.get_params()[0].items():
        np.testing.assert_array_equal(array.asnumpy(), before[array_name])
    assert not fresh.binded


def test_a_batch_that_the_parameters_are_not_for() -> None:
    module = bound()
    with pytest.raises(mx.TigonError) as caught:
        module.forward(DataBatch([nd.zeros((4, 5))], [nd.zeros(4)]))
    assert str(caught.value) == (
        "Module.forward: a batch of data of shape (4, 5) does not go with parameters that were made "
        "for (4, 2): Module.reshape: parameter 'fc_weight' would have shape (3, 5), and has (3, 2)"
    )
    assert module.data_shapes[0].shape == (4, 2)
    module.forward(DataBatch([nd.zeros((4, 2))], [nd.zeros(4)]))


def test_labels_of_another_shape_in_a_whole_step() -> None:
    class Wrong(Empty):
        def next(self) -> Any:
            return DataBatch([nd.zeros((4, 2))], [nd.zeros(3)])

    module = bound()
    with pytest.raises(mx.TigonError) as caught:
        module.fit(Wrong(), num_epoch=1)
    assert str(caught.value) == (
        "Module.fit: 'softmax_label': expected shape (4,), as bound; given (3,); do data and labels "
        "have the same number of samples?"
    )
    assert module._optimizer.num_update == 0


def test_an_epoch_without_batches_after_others() -> None:
    class Once(Empty):
        left = 1

        def next(self) -> Any:
            if not self.left:
                raise StopIteration
            self.left = 0
            return DataBatch([nd.zeros((4, 2))], [nd.zeros(4)])

    module = bound()
    with pytest.raises(mx.TigonError, match="no batches in epoch 1"):
        module.fit(Once(), num_epoch=3)
    assert module._optimizer.num_update == 1


def test_parts_of_a_batch_need_a_sample_each() -> None:
    module = mx.mod.Module(classifier(), context=[mx.cpu(0), mx.cpu(1)])
    with pytest.raises(ValueError) as caught:
        module.bind([("data", (1, 2))], [("softmax_label", (1,))])
    assert str(caught.value) == (
        "Module.bind: 1 samples cannot be cut into 2 parts, one per context, of at least one sample; "
        "use a larger batch, or fewer contexts"
    )
    assert not module.binded


# -- files


def saved(folder: Path, hidden: int = 3) -> Any:
    module = mx.mod.Module(classifier(hidden), logger=QUIET)
    module.fit(samples(), num_epoch=1, optimizer_params={"momentum": 0.9})
    module.save_checkpoint(folder / "net", 1, save_optimizer_states=True)
    return module


def test_states_that_do_not_fit_leave_no_optimizer(tmp_path: Path) -> None:
    for folder, hidden in (("one", 3), ("other", 5)):
        (tmp_path / folder).mkdir()
        saved(tmp_path / folder, hidden)
    (tmp_path / "one" / "net-0001.states").write_bytes(
        (tmp_path / "other" / "net-0001.states").read_bytes()
    )
    module = mx.mod.Module.load(tmp_path / "one" / "net", 1, load_optimizer_states=True)
    module.bind(samples().provide_data, samples().provide_label)
    for _ in range(2):
        with pytest.raises(mx.TigonError, match="was it saved for another network"):
            module.init_optimizer(optimizer_params={"momentum": 0.9})
        assert not module.optimizer_initialized


def test_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
    module = saved(tmp_path / "one")
    saved(tmp_path / "other", 5)
    (one, other) = tmp_path / "one", tmp_path / "other"
    nd.save(one / "gluon-0001.params", {"0.weight": nd.zeros(1)})
    nd.save(one / "list-0001.params", [nd.zeros(1)])
    nd.save(one / "half-0001.params", {"arg:fc_weight": nd.zeros((3, 2))})
    (one / "half-symbol.json").write_text((one / "net-symbol.json").read_text())
    whole = (one / "net-0001.params").read_bytes()
    (one / "cut-0001.params").write_bytes(whole[: len(whole) // 2])
    before = {name: array.asnumpy() for name, array in module.get_params()[0].items()}
    for call, message in (
        (
            lambda: module.load_params(one / "gluon-0001.params"),
            f"load_params: {one}/gluon-0001.params: expected names such as 'arg:fc_weight' or 'aux:bn_moving_mean'; given '0.weight'; files of Gluon's networks are read by load_parameters",
        ),
        (
            lambda: module.load_params(one / "list-0001.params"),
            f"load_params: {one}/list-0001.params holds a list of arrays without names; expected what save_checkpoint wrote",
        ),
        (
            lambda: mx.mod.Module.load(one / "half", 1),
            f"Module.load: {one}/half-0001.params has no values of 'fc_bias', 'bn_gamma', 'bn_beta', 'bn_moving_mean', 'bn_moving_var', which the symbol of the checkpoint needs; are the two files of one network? Are all labels in label_names?",
        ),
        (
            lambda: module.load_params(other / "net-0001.params"),
            "Module.init_params: 'fc_weight': expected shape (3, 2); given (5, 2); does the checkpoint belong to this symbol?",
        ),
        (
            lambda: module.load_optimizer_states(other / "net-0001.states"),
            f"load_states: 'state:0:0' expects shape (3, 2); {other}/net-0001.states has (5, 2); was it saved for another network?",
        ),
    ):
        with pytest.raises(mx.TigonError) as caught:
            call()
        assert str(caught.value) == message
    with pytest.raises(mx.TigonError, match=r"cut-0001\.params"):
        mx.model.load_params(one / "cut", 1)
    with pytest.raises(FileNotFoundError, match="nothing-symbol"):
        mx.model.load_checkpoint(one / "nothing", 1)
    for name, array in module.get_params()[0].items():
        np.testing.assert_array_equal(array.asnumpy(), before[name])


def test_states_of_another_optimizer(tmp_path: Path) -> None:
    saved(tmp_path)
    module = bound()
    module.init_optimizer(optimizer="adam")
    with pytest.raises(mx.TigonError) as caught:
        module.load_optimizer_states(tmp_path / "net-0001.states")
    assert str(caught.value) == (
        f"load_states: {tmp_path}/net-0001.states was saved by the optimizer sgd; this one is adam"
    )


def test_buckets_that_do_not_share() -> None:
    def generate(key: int) -> Any:
        fc = sym.FullyConnected(sym.var("data"), num_hidden=3, name="fc" if key < 9 else "other")
        return sym.SoftmaxOutput(fc, name="softmax"), ["data"], ["softmax_label"]

    module = mx.mod.BucketingModule(generate, 4, logger=QUIET)
    module.bind([("data", (2, 4))], [("softmax_label", (2,))])
    module.init_params()
    for key, message in (
        (
            2,
            "simple_bind: 'fc_weight' is shared, as float32 of shape (3, 4); expected float32 of shape (3, 2); rename it, or leave it out of shared_arg_names",
        ),
        (
            9,
            "Module.bind: shared_module has no parameters 'other_weight', 'other_bias'; it has: fc_weight, fc_bias; make the module of which others share the largest one, such as that of default_bucket_key",
        ),
    ):
        with pytest.raises(mx.TigonError) as caught:
            module.switch_bucket(key, [("data", (2, key))], [("softmax_label", (2,))])
        assert str(caught.value) == message
    assert module._curr_bucket_key == 4


def test_two_modules_of_a_chain_with_one_name() -> None:
    chain = mx.mod.SequentialModule(logger=QUIET)
    for _ in range(2):
        fc = sym.FullyConnected(sym.var("data"), num_hidden=2, name="fc")
        chain.add(mx.mod.Module(fc, label_names=None), auto_wiring=True)
    chain.bind([("data", (4, 2))])
    with pytest.raises(mx.TigonError) as caught:
        chain.init_params()
    assert str(caught.value) == (
        "SequentialModule.init_params: modules 0 and 1 both have a parameter 'fc_weight'; give "
        "layers names of their own"
    )
