# ruff: noqa: E501  (whole messages)
"""Stores of one machine: values, sums, updaters, compression and states, alone and under Trainer and
Module."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.base import TigonError

KINDS = ["local", "device", "local_update_cpu", "local_allreduce_cpu", "local_allreduce_device"]


def pulled(store: Any, key: Any = "w", shape: tuple[int, ...] = (2,)) -> list[float]:
    out = nd.zeros(shape)
    store.pull(key, out=out)
    return out.asnumpy().ravel().tolist()


def store_of(kind: str = "local", value: float = 0.0, key: Any = "w", shape: Any = (2,)) -> Any:
    store = mx.kv.create(kind)
    store.init(key, nd.ones(shape) * value)
    return store


# -- values: mxnet 1.9.1


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_pushed_is_summed_and_takes_the_place_of_the_value(kind: str) -> None:
    store = store_of(kind, 4)
    assert (store.type, store.rank, store.num_workers) == (kind, 0, 1)
    assert pulled(store) == [4, 4]
    store.push("w", nd.ones((2,)))
    assert pulled(store) == [1, 1]
    store.push("w", [nd.ones((2,)), nd.ones((2,)) * 10, nd.ones((2,), ctx=mx.cpu(1)) * 100])
    assert pulled(store) == [111, 111]
    store.push(["w", "w"], [nd.ones((2,)), nd.ones((2,)) * 10])
    assert pulled(store) == [11, 11]


@pytest.mark.parametrize("keys", [["a", "b"], [3, 5]])
def test_lists_of_keys(keys: list[Any]) -> None:
    store = mx.kv.create()
    store.init(keys, [nd.ones((2,)), nd.ones((3,)) * 2])
    one, other = nd.zeros((2,)), nd.zeros((3,))
    store.pull(keys[::-1], out=[other, one])
    assert (one.asnumpy().tolist(), other.asnumpy().tolist()) == ([1, 1], [2, 2, 2])
    store.push(keys, [[nd.ones((2,))] * 2, [nd.ones((3,)) * 5, nd.ones((3,))]], priority=-1)
    several = [[nd.zeros((2,)), nd.zeros((2,), ctx=mx.cpu(1))], [other]]
    store.pull(keys, out=several, priority=-1)
    assert [[array.asnumpy()[0] for array in own] for own in several] == [[2, 2], [6]]


def test_what_is_handed_over_stays_the_callers_own() -> None:
    given, pushed = nd.ones((2,)), nd.ones((2,)) * 3
    store = mx.kv.create()
    store.init("w", given)
    given[:] = 7
    assert pulled(store) == [1, 1]
    store.push("w", pushed)
    pushed[:] = 9
    assert pulled(store) == [3, 3]


def test_pushpull_and_broadcast() -> None:
    store, out = mx.kv.create(), [nd.zeros((2,)), nd.zeros((2,), ctx=mx.cpu(1))]
    store.broadcast("w", nd.ones((2,)), out=out)
    assert [array.asnumpy().tolist() for array in out] == [[1, 1], [1, 1]]
    grads = [nd.ones((2,)), nd.ones((2,), ctx=mx.cpu(1)) * 2]
    store.pushpull("w", grads)
    assert [array.asnumpy().tolist() for array in grads] == [[3, 3], [3, 3]]
    store.pushpull("w", grads, out=out[0])
    assert out[0].asnumpy().tolist() == [6, 6] and grads[0].asnumpy().tolist() == [3, 3]


def test_dtypes_of_what_is_pulled_into() -> None:
    store, half = store_of(value=3), nd.zeros((2,), dtype="float16")
    store.pull("w", out=half)
    assert half.dtype == np.float16 and half.asnumpy().tolist() == [3, 3]
    store.push("w", nd.ones((2,), dtype="float16"))
    assert pulled(store) == [1, 1]


def test_nothing_is_recorded() -> None:
    store, grad = store_of(), nd.ones((2,))
    grad.attach_grad()
    with autograd.record():
        store.push("w", [grad, grad])
        store.pull("w", out=grad)
        out = grad * 2
    out.backward()
    assert grad.grad.asnumpy().tolist() == [2, 2]


# -- updaters


@pytest.mark.parametrize("key", ["w", 7])
def test_an_updater_is_told_key_sum_and_value(key: Any) -> None:
    seen, store = [], store_of(value=10, key=key)

    def update(name: Any, pushed: Any, kept: Any) -> None:
        seen.append((name, pushed.asnumpy().tolist(), kept.asnumpy().tolist()))
        kept += pushed * 2

    store.set_updater(update)
    store.push(key, [nd.ones((2,)), nd.ones((2,))])
    assert pulled(store, key) == [14, 14] and seen == [(key, [2, 2], [10, 10])]


@pytest.mark.parametrize("kind", ["local", "device"])
def test_an_optimizer_moves_values_in_one_call_for_all_keys(kind: str) -> None:
    store = store_of(kind, 1)
    store.init("v", nd.ones((3,)))
    store.set_optimizer(mx.optimizer.SGD(learning_rate=0.1, momentum=0.9, wd=0.1, rescale_grad=0.5))
    for expected in (0.89, 0.6821):  # mxnet 1.9.1
        store.push(["w", "v"], [[nd.ones((2,))] * 2, [nd.ones((3,))] * 2])
        np.testing.assert_allclose(pulled(store), expected, rtol=1e-5)
        np.testing.assert_allclose(pulled(store, "v", (3,)), expected, rtol=1e-5)


def test_states_go_on_with_their_counts(tmp_path: Path) -> None:
    store = store_of(value=1)
    store.set_optimizer(mx.optimizer.Adam(learning_rate=0.1))
    store.push("w", nd.ones((2,)))
    store.save_optimizer_states(tmp_path / "w.states")
    other = mx.kv.create()
    other.init("w", nd.array(pulled(store)))
    other.set_optimizer(mx.optimizer.Adam(learning_rate=0.1))
    other.load_optimizer_states(tmp_path / "w.states")
    for one in (store, other):
        one.push("w", nd.ones((2,)) * 3)
    assert pulled(store) == pulled(other)


# -- compression


def test_two_bits_keep_what_they_leave_out() -> None:
    store = mx.kv.create("device")
    store.set_gradient_compression({"type": "2bit", "threshold": 0.5})
    store.init("w", nd.zeros((4,)))
    for values, expected in (  # mxnet 1.9.1
        ([0.3, 0.6, -0.7, 0.0], [0, 1, -1, 0]),
        ([0.3, 0.6, -0.7, 0.0], [1, 1, -1, 0]),
        ([0.0, 0.0, 0.0, 0.5], [0, 0, 0, 1]),
        ([1.7, -1.7, 0.0, 0.0], [1, -1, 0, 0]),
        ([0.0, 0.0, 0.0, 0.0], [1, -1, 0, 0]),
    ):
        store.push("w", [nd.array(values), nd.array(values)])
        assert pulled(store, shape=(4,)) == expected


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_by_compression(seed: int) -> None:
    rng, store = np.random.RandomState(seed), mx.kv.create("device")
    store.set_gradient_compression({"type": "2bit", "threshold": 0.25})
    store.init(0, nd.zeros((50,)))
    given, sent = np.zeros(50), np.zeros(50)
    for _ in range(40):
        parts = rng.randn(2, 50).astype("float32") * 0.1
        given += parts.sum(0)
        store.push(0, [nd.array(part) for part in parts])
        now = np.array(pulled(store, 0, (50,)))
        assert set(np.abs(now).round(3)) <= {0.0, 0.25, 0.5}
        sent += now
    assert np.abs(given - sent).max() <= 0.5 + 1e-4  # of two contexts


# -- stores of a program's own


def test_a_registered_store_is_used_by_trainers_and_modules() -> None:
    calls: list[str] = []

    @mx.kv.KVStoreBase.register
    class Summing(mx.kv.KVStoreBase):
        def broadcast(self, key: Any, value: Any, out: Any, priority: int = 0) -> None:
            calls.append("broadcast")
            for array in out if isinstance(out, list) else [out]:
                value.copyto(array)

        def pushpull(self, key: Any, value: Any, out: Any = None, priority: int = 0) -> None:
            calls.append("pushpull")
            total = sum(array.as_in_context(mx.cpu()) for array in value)
            for array in value if out is None else out:
                total.copyto(array)

    try:
        contexts = [mx.cpu(0), mx.cpu(1)]
        store = mx.kv.create("summing")
        assert (store.type, store.rank, store.num_workers) == ("summing", 0, 1)
        found = [trained(dense(contexts), kvstore=kind) for kind in ("summing", "device")]
        np.testing.assert_allclose(*found)
        module = mx.mod.Module(linear(), label_names=["y"], context=contexts)
        module.fit(samples(), num_epoch=1, kvstore="summing", eval_metric="mse")
        assert set(calls) == {"broadcast", "pushpull"}
    finally:
        del mx.kv.KVStoreBase.kv_registry["summing"]


def linear() -> Any:
    fc = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=1, name="fc")
    return mx.sym.LinearRegressionOutput(fc, mx.sym.var("y"))


def samples() -> Any:
    rng = np.random.RandomState(0)
    return mx.io.NDArrayIter(rng.randn(8, 2), rng.randn(8), 4, label_name="y")


# -- trainers


def dense(contexts: Any) -> Any:
    net = gluon.nn.Dense(3, in_units=2, weight_initializer=mx.init.One())
    net.initialize(ctx=contexts)
    return net


def losses(net: Any, contexts: Any, seed: int) -> None:
    rng = np.random.RandomState(seed)
    with autograd.record():
        parts = [(net(nd.array(rng.randn(2, 2), ctx=ctx)) ** 2).sum() for ctx in contexts]
    autograd.backward(parts)


def trained(net: Any, steps: int = 3, optimizer: str = "sgd", **options: Any) -> np.ndarray:
    params = {"learning_rate": 0.05, **({"momentum": 0.9} if optimizer == "sgd" else {})}
    trainer = gluon.Trainer(net.collect_params(), optimizer, params, **options)
    contexts = net.weight.list_ctx()
    for seed in range(steps):
        losses(net, contexts, seed)
        trainer.step(4)
    first, *others = [net.weight.data(ctx).asnumpy() for ctx in contexts]
    for other in others:
        np.testing.assert_array_equal(first, other)
    return first


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("contexts", [[mx.cpu(0)], [mx.cpu(0), mx.cpu(1)]], ids=["one", "two"])
@pytest.mark.parametrize("update", [None, True, False])
@pytest.mark.parametrize("given", ["device", "local", "store", "compressed"])
def test_trainers_give_the_same_numbers_through_a_store(
    optimizer: str, contexts: Any, update: bool | None, given: str
) -> None:
    if len(contexts) == 1 and update and given != "store":
        return  # refused: see below
    options: dict[str, Any] = {"kvstore": given, "update_on_kvstore": update}
    if given == "store":
        options["kvstore"] = mx.kv.create("local")
    if given == "compressed":  # so fine that nothing that matters is lost in the end
        options["kvstore"] = "device"
        options["compression_params"] = {"type": "2bit", "threshold": 1e30}
    expected = trained(dense(contexts), optimizer=optimizer, kvstore="device")
    found = trained(dense(contexts), optimizer=optimizer, **options)
    if given == "compressed" and len(contexts) > 1:  # nothing was sent
        np.testing.assert_array_equal(found, 1.0)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_store_is_made_at_the_first_step() -> None:
    net = dense([mx.cpu(0), mx.cpu(1)])
    trainer = gluon.Trainer(net.collect_params(), "sgd")
    assert trainer._kvstore is None and trainer._update_on_kvstore is None
    losses(net, net.weight.list_ctx(), 0)
    trainer.step(1)
    assert trainer._kvstore.type == "device" and trainer._update_on_kvstore is True


def test_a_weight_that_is_written_between_steps_counts() -> None:
    found = []
    for store in (None, mx.kv.create("local")):
        net = dense([mx.cpu()])
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"momentum": 0.9}, kvstore=store)
        for seed in range(3):
            losses(net, [mx.cpu()], seed)
            trainer.step(1)
            net.weight.set_data(net.weight.data() * 0.5)
        found.append(net.weight.data().asnumpy())
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_gradients_are_stale_after_a_step_through_a_store() -> None:
    net = dense([mx.cpu()])
    store = mx.kv.create("local")
    trainer = gluon.Trainer(net.collect_params(), "sgd", kvstore=store, update_on_kvstore=False)
    losses(net, [mx.cpu()], 0)
    trainer.step(1)
    with pytest.raises(TigonError, match="was not computed since the last step"):
        trainer.step(1)


@pytest.mark.parametrize("update", [True, False])
def test_states_of_a_trainer_are_those_of_its_store(tmp_path: Path, update: bool) -> None:
    def made(net: Any) -> Any:
        params = {"learning_rate": 0.1}
        store = mx.kv.create("local")
        return gluon.Trainer(
            net.collect_params(), "adam", params, kvstore=store, update_on_kvstore=update
        )

    net = dense([mx.cpu()])
    trainer = made(net)
    losses(net, [mx.cpu()], 0)
    trainer.step(1)
    trainer.save_states(tmp_path / "t.states")
    other = dense([mx.cpu()])
    for name in ("weight", "bias"):
        getattr(other, name).set_data(getattr(net, name).data())
    again = made(other)
    again.load_states(tmp_path / "t.states")
    copied_net, copied = copy.deepcopy((net, trainer))
    for one, own in ((net, trainer), (other, again), (copied_net, copied)):
        losses(one, [mx.cpu()], 1)
        own.step(1)
        np.testing.assert_array_equal(one.weight.data().asnumpy(), net.weight.data().asnumpy())


class Server(mx.kv.KVStoreBase):
    """A store that moves weights itself, and keeps the states of its optimizer to itself."""

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}

    @staticmethod
    def is_capable(capability: str) -> bool:
        return True

    def set_optimizer(self, optimizer: Any) -> None:
        self.update = mx.optimizer.get_updater(optimizer)

    def broadcast(self, key: Any, value: Any, out: Any, priority: int = 0) -> None:
        self.values[key] = value.copy()

    def pushpull(self, key: Any, value: Any, out: Any = None, priority: int = 0) -> None:
        self.update(key, sum(value), self.values[key])
        for array in out:
            self.values[key].copyto(array)

    def save_optimizer_states(self, fname: Any, dump_optimizer: bool = False) -> None:
        Path(fname).write_bytes(self.update.get_states())

    def load_optimizer_states(self, fname: Any) -> None:
        self.update.set_states(Path(fname).read_bytes())


def test_states_that_a_store_keeps_to_itself_are_in_its_files(tmp_path: Path) -> None:
    net = dense([mx.cpu()])
    trainer = gluon.Trainer(net.collect_params(), "adam", kvstore=Server())
    losses(net, [mx.cpu()], 0)
    trainer.step(1)
    trainer.save_states(tmp_path / "t.states")
    states = nd.load(str(tmp_path / "t.states"))
    assert {"state:0:0", "state:0:1", "state:1:0", "state:1:1"} <= set(states)
    other = dense([mx.cpu()])
    for name in ("weight", "bias"):
        getattr(other, name).set_data(getattr(net, name).data())
    again = gluon.Trainer(other.collect_params(), "adam", kvstore=Server())
    again.load_states(tmp_path / "t.states")
    for one, own in ((net, trainer), (other, again)):
        losses(one, [mx.cpu()], 1)
        own.step(1)
        np.testing.assert_array_equal(one.weight.data().asnumpy(), net.weight.data().asnumpy())
    with pytest.raises(TigonError) as caught:
        gluon.Checkpoint(tmp_path, net=net, trainer=trainer).save(1)
    assert str(caught.value) == (
        "Checkpoint: the store 'server' keeps the trainer's states, in files of its own; use Trainer.save_states, or make the trainer with update_on_kvstore=False"
    )


# -- what is refused


def test_a_store_that_cannot_be_made_is_told_at_every_step() -> None:
    contexts = [mx.cpu(0), mx.cpu(1)]
    net, compressed = dense(contexts), {"type": "2bit", "threshold": 0.5}
    trainer = gluon.Trainer(
        net.collect_params(), "sgd", kvstore="local", compression_params=compressed
    )
    module = mx.mod.Module(
        linear(), label_names=["y"], context=contexts, compression_params=compressed
    )
    module.bind(samples().provide_data, samples().provide_label)
    module.init_params()
    for _ in range(2):
        losses(net, contexts, 0)
        for call in (lambda: trainer.step(1), module.init_optimizer):
            with pytest.raises(TigonError) as caught:
                call()
            assert str(caught.value) == (
                "set_gradient_compression: a store 'local' does not compress; create('device') does"
            )
    assert not module.optimizer_initialized
    module.init_optimizer("device")
    before = module._optimizer, module._updater, module._kvstore
    with pytest.raises(TigonError):
        module.init_optimizer("local", force_init=True)
    assert before == (module._optimizer, module._updater, module._kvstore)


def test_what_a_store_refuses(tmp_path: Path) -> None:
    store = store_of()
    store.init("v", nd.zeros((3,)))
    (tmp_path / "w.params").write_bytes(b"")
    other = store_of("device")
    other.set_optimizer(mx.optimizer.SGD(momentum=0.9))
    other.push("w", nd.ones((2,)))
    other.save_optimizer_states(tmp_path / "other.states")
    strange = store_of(key="u")
    strange.set_optimizer(mx.optimizer.SGD(momentum=0.9))
    wide = store_of(shape=(5,))
    wide.set_optimizer(mx.optimizer.SGD(momentum=0.9))
    for call, message in (
        (
            lambda: store.init("w", nd.ones((2,))),
            "KVStore.init: key 'w' has a value; push to it, or take another key",
        ),
        (
            lambda: store.pull("x", nd.ones((2,))),
            "KVStore.pull: key 'x' is not known; call init first; known are 'w', 'v'",
        ),
        (
            lambda: mx.kv.create().push(1, nd.ones((2,))),
            "KVStore.push: key 1 is not known; call init first",
        ),
        (
            lambda: store.push("w", nd.ones((3,))),
            "KVStore.push: key 'w' has a value of shape (2,); given (3,)",
        ),
        (
            lambda: store.pull("w", nd.ones((2, 1))),
            "KVStore.pull: key 'w' has a value of shape (2,); given out of shape (2, 1)",
        ),
        (
            lambda: store.pull("w"),
            "KVStore.pull: expected out, the arrays to copy into; given none",
        ),
        (
            lambda: store.push(["w", "v"], [nd.ones((2,))]),
            "KVStore.push: expected arrays for 2 keys; given 1",
        ),
        (
            lambda: store.push(["w", "v"], nd.ones((2,))),
            "KVStore.push: expected a list of arrays, as keys are a list; given NDArray",
        ),
        (lambda: store.push("w", [1.0]), "KVStore.push: key 'w': expected arrays; given float"),
        (
            lambda: store.push(1.5, nd.ones((2,))),
            "KVStore.push: a key is a number or a name; given 1.5",
        ),
        (
            lambda: store.row_sparse_pull("w", nd.ones((2,)), row_ids=nd.ones((1,))),
            "KVStore.row_sparse_pull: key 'w': expected out to be row-sparse; given a dense array; use pull, or nd.sparse.zeros('row_sparse', shape)",
        ),
        (
            lambda: store.set_gradient_compression({"type": "2bit"}),
            "set_gradient_compression: a store 'local' does not compress; create('device') does",
        ),
        (
            lambda: other.set_gradient_compression({"type": "3bit"}),
            "set_gradient_compression: type: expected '2bit', 'float16' or 'none'; given '3bit'",
        ),
        (
            lambda: other.set_gradient_compression({"type": "2bit", "treshold": 1}),
            "set_gradient_compression: expected type and threshold; given treshold, too",
        ),
        (
            lambda: other.set_gradient_compression({"type": "2bit", "threshold": 0}),
            "set_gradient_compression: threshold is a positive number; given 0",
        ),
        (
            lambda: store.set_optimizer("sgd"),
            "KVStore.set_optimizer: expected an optimizer; given str; make one with mx.optimizer.create",
        ),
        (
            lambda: store.set_updater(3),
            "KVStore.set_updater: expected a function of (key, sum, value); given int",
        ),
        (
            lambda: store.save_optimizer_states("x"),
            "KVStore.save_optimizer_states: there is no optimizer, and so no states; call set_optimizer first",
        ),
        (
            lambda: strange.load_optimizer_states(tmp_path / "other.states"),
            f"load_optimizer_states: {tmp_path}/other.states has states of a parameter w, which is not there; known are u; was it saved for another network?",
        ),
        (
            lambda: wide.load_optimizer_states(tmp_path / "other.states"),
            f"load_states: 'state:w:0' expects shape (5,); {tmp_path}/other.states has (2,); was it saved for another network?",
        ),
        (
            lambda: store.is_capable("sparse"),
            "KVStore.is_capable: expected 'optimizer'; given 'sparse'",
        ),
        (
            lambda: mx.kv.create("lokal"),
            "kvstore.create: 'lokal' is not known; choose one of device, dist, dist_async, dist_device_async, dist_device_sync, dist_sync, dist_sync_device, local, local_allreduce_cpu, local_allreduce_device, local_update_cpu",
        ),
        (lambda: mx.kv.create(3), "kvstore.create: expected the name of a store; given 3"),
        (lambda: mx.kv.KVStoreBase.register(3), "KVStoreBase.register: expected a class; given 3"),
    ):
        with pytest.raises(TigonError) as caught:
            call()
        assert str(caught.value) == message
    assert pulled(store) == [0, 0] and pulled(store, "v", (3,)) == [0, 0, 0]


@pytest.mark.parametrize("options", [{"update_on_kvstore": True}, {"update_on_kvstore": False}])
def test_compiled_steps_go_through_stores(options: dict[str, Any]) -> None:
    trained = []
    for given in ({"kvstore": None}, {"kvstore": mx.kv.create("device"), **options}):
        net = dense([mx.cpu()])
        trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.1}, **given)
        step = gluon.TrainStep(net, gluon.loss.L2Loss(), trainer)
        for number in range(3):
            step(nd.ones((4, 2)) * number, nd.ones((4, 3)))
        trained.append([param.data().asnumpy() for param in net.collect_params().values()])
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


class Shrinking(mx.kv.KVStore):
    num_workers = 4


def test_compiled_steps_divide_by_the_ranks_that_there_are() -> None:
    net, store = dense([mx.cpu()]), Shrinking("device")
    options = {"kvstore": store, "update_on_kvstore": False}
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 1.0}, **options)
    step = gluon.TrainStep(net, lambda output, label: output.sum(axis=1), trainer)
    moved = []
    for workers in (4, 2, 1):
        store.num_workers = workers  # others are lost
        before = net.weight.data().asnumpy()
        step(nd.ones((2, 2)), nd.ones((2, 3)))
        moved.append(before - net.weight.data().asnumpy())
    for made, expected in zip(moved, (1 / 4, 1 / 2, 1), strict=True):
        np.testing.assert_allclose(made, expected, rtol=1e-6)


def test_what_trainers_refuse() -> None:
    net = dense([mx.cpu()])
    params, store = net.collect_params(), mx.kv.create("local")
    through = gluon.Trainer(params, "sgd", kvstore=store, update_on_kvstore=True)
    step = gluon.TrainStep(net, gluon.loss.L2Loss(), through, clip_global_norm=1)
    nothing = gluon.Trainer(params, "sgd", kvstore=None, update_on_kvstore=True)
    in_store = "weights are updated in the store, by step alone; make the trainer with update_on_kvstore=False"
    for call, message in (
        (
            lambda: gluon.Trainer(params, "sgd", kvstore="nccl"),
            "Trainer: kvstore: expected 'device', 'local', 'dist_sync', a store, or None; given 'nccl'",
        ),
        (
            nothing._init_kvstore,
            "Trainer: update_on_kvstore=True asks for a store, and kvstore=None on 1 context(s) makes none; give mx.kv.create('local'), or leave update_on_kvstore out",
        ),
        (through.allreduce_grads, f"Trainer.allreduce_grads: {in_store}"),
        (lambda: through.update(1), f"Trainer.update: {in_store}"),
        (
            lambda: step(nd.ones((1, 2)), nd.ones((1, 3))),
            f"{step.name}: adjust and clip_global_norm look at gradients before weights move, and a store moves the weights of this trainer; make the Trainer with update_on_kvstore=False",
        ),
    ):
        with pytest.raises(TigonError) as caught:
            call()
        assert str(caught.value) == message
