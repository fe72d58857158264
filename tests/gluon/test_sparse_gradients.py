"""Gradients by rows, from the layer to the optimizer: no dense table is made, and no other rows are
read or written."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, optimizer
from tigon.gluon import nn
from tigon.optimizer.states import as_list
from tigon.runtime import reset_peak, stats

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "sgd": [{"wd": 0.1}, {"momentum": 0.9, "wd": 0.1, "clip_gradient": 0.5}],
    "ccsgd": [{"momentum": 0.9}],
    "adam": [{"wd": 0.1}],
    "adamw": [{"wd": 0.1}],
    "adagrad": [{"wd": 0.1}],
    "ftrl": [{}],
}
"""Of the optimizers that update rows alone."""
STEPS = ([1, 4], [4], [], [0, 2, 4])
OTHERS = sorted(optimizer.Optimizer.opt_registry.keys() - SETTINGS.keys() - {"lbsgd", "sgld"})


def rows_of(numbers: list[int], step: int, dtype: str = "float32") -> Any:
    values = np.arange(2 * len(numbers)).reshape(-1, 2) / 4 + step
    return nd.sparse.row_sparse_array(
        (nd.array(values, dtype=dtype), numbers), shape=(6, 2), dtype=dtype
    )


def test_which_optimizers_update_rows() -> None:
    kinds = optimizer.Optimizer.opt_registry.items()
    assert {
        name for name, kind in kinds if kind.__module__.startswith("tigon.") and kind.by_rows
    } == (SETTINGS.keys())


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", SETTINGS)
def test_rows_are_updated_alone(name: str, dtype: str) -> None:
    for settings in SETTINGS[name]:
        precise = {"multi_precision": dtype == "float16"}
        made = [optimizer.create(name, learning_rate=0.1, **settings, **precise) for _ in range(2)]
        update = optimizer.get_updater(made[0])
        weight = nd.array(np.arange(12).reshape(6, 2) / 8 + 1, dtype=dtype)
        expected = weight.copy()
        state = made[1].create_state_multi_precision(0, expected)
        for step, numbers in enumerate(STEPS):
            grad = rows_of(numbers, step, dtype)
            before = weight.asnumpy()
            update([0], [grad], [weight])
            untouched = [row for row in range(6) if row not in numbers]
            assert weight.asnumpy()[untouched].tobytes() == before[untouched].tobytes()
            if not numbers:
                made[1]._update_count(0)
                continue
            # The same of small arrays, which hold these rows alone.
            where = nd.array(numbers, dtype="int64")
            part = nd.take(expected, where)
            own = _mapped(state, lambda array, where=where: nd.take(array, where))
            made[1].update_multi_precision(0, part, grad.data, own)
            for whole, rows in zip((expected, *as_list(state)), (part, *as_list(own)), strict=True):
                whole[numbers] = rows
        assert weight.asnumpy().tobytes() == expected.asnumpy().tobytes(), settings
        for one, other in zip(as_list(update.states[0]), as_list(state), strict=True):
            assert one.asnumpy().tobytes() == other.asnumpy().tobytes()


def _mapped(state: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(state, (tuple, list)):
        return tuple(_mapped(one, function) for one in state)
    return None if state is None else function(state)


@pytest.mark.parametrize("name", [*OTHERS, "sgd", "adam"])
def test_all_rows_are_updated(name: str) -> None:
    """By rules that look at whole arrays, and where lazy_update is off."""
    settings = {"lazy_update": False, "wd": 0.1} if name in SETTINGS else {}
    weights = []
    for dense in (False, True):
        before = stats()["fallbacks"]
        update = optimizer.get_updater(optimizer.create(name, learning_rate=0.1, **settings))
        weight = nd.array(np.arange(12).reshape(6, 2) / 8 + 1)
        for step, numbers in enumerate(STEPS):
            grad = rows_of(numbers, step)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                update(0, grad.tostype("default") if dense else grad, weight)
        weights.append(weight.asnumpy().tobytes())
        assert (stats()["fallbacks"] > before) == (not dense and name not in SETTINGS)
    assert weights[0] == weights[1]


def test_a_rule_of_a_program_looks_at_whole_arrays() -> None:
    class Normed(optimizer.SGD):
        def formula(self, weight: Any, grad: Any, states: Any, lr: Any, wd: Any) -> Any:
            return weight - lr * grad, states

    class Own(Normed):
        by_rows = True

    class Faster(optimizer.Adam):
        pass

    assert [Normed.by_rows, Own.by_rows, Faster.by_rows] == [False, True, True]


@pytest.mark.parametrize("operator", ["sgd_update", "sgd_mom_update", "adam_update", "ftrl_update"])
def test_update_operators_are_lazy(operator: str) -> None:
    states = {"sgd_mom_update": 1, "adam_update": 2, "ftrl_update": 2}.get(operator, 0)
    function = getattr(nd.sparse, operator)
    kept = nd.array(np.arange(12).reshape(6, 2) + 1.0)
    held = [nd.ones((6, 2)) for _ in range(states)]
    weight = kept.copy()
    assert function(weight, rows_of([1, 4], 1), *held, out=weight, lr=0.1, wd=0.1) is weight
    dense, other = kept.copy(), [nd.ones((6, 2)) for _ in range(states)]
    function(dense, rows_of([1, 4], 1).tostype("default"), *other, out=dense, lr=0.1, wd=0.1)
    for lazy, whole, first in zip(
        (weight, *held), (dense, *other), (kept, *[nd.ones((6, 2))] * states), strict=True
    ):
        assert (lazy.asnumpy()[[1, 4]] == whole.asnumpy()[[1, 4]]).all()
        assert (lazy.asnumpy()[[0, 2, 3, 5]] == first.asnumpy()[[0, 2, 3, 5]]).all()


# --------------------------------------------------------------------------------- training


def embedding(rows: int = 4, columns: int = 2, hybridized: bool = False, **options: Any) -> Any:
    net = nn.Embedding(rows, columns, sparse_grad=True, **options)
    net.initialize(mx.init.One())
    if hybridized:
        net.hybridize()
    return net


def train(net: Any, trainer: Any, steps: Any) -> None:
    for ids in steps:
        with autograd.record():
            loss = net(nd.array(ids)).sum()
        loss.backward()
        trainer.step(1)


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize(
    ("kvstore", "on_store"),
    [(None, None), ("local", None), ("local", True), ("device", True), ("dist_sync", None)],
)
def test_trainers_move_rows_as_mxnet_does(kvstore: Any, on_store: Any, hybridized: bool) -> None:
    """`truth/cases_23_kvstore.py` and `cases_5.py`: the numbers are those of mxnet 1.9.1."""
    if on_store:
        kvstore = mx.kv.create(kvstore)
    net = embedding(hybridized=hybridized)
    settings = {"learning_rate": 0.1, "momentum": 0.9}
    trainer = gluon.Trainer(net.collect_params(), "sgd", settings, kvstore, None, on_store)
    train(net, trainer, [[1, 3], [1, 3]])
    np.testing.assert_allclose(net.weight.data().asnumpy()[:, 0], [1, 0.71, 1, 0.71], rtol=1e-6)
    net = embedding(hybridized=hybridized)
    if on_store:
        kvstore = mx.kv.create(kvstore.type)
    settings = {"learning_rate": 0.1, "wd": 0.1}
    trainer = gluon.Trainer(net.collect_params(), "adam", settings, kvstore, None, on_store)
    train(net, trainer, [[1, 1, 3], [3]])
    assert net.weight.grad().stype == "row_sparse"
    assert net.weight.grad().indices.asnumpy().tolist() == [3]
    np.testing.assert_allclose(net.weight.data().asnumpy()[:, 0], [1, 0.9, 1, 0.80002], rtol=1e-5)


@pytest.mark.parametrize("hybridized", [False, True])
def test_no_dense_table_is_made(hybridized: bool) -> None:
    net = embedding(200_000, 8, hybridized)
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.1})
    train(net, trainer, [[7, 9, 7], [1, 2]])  # states are there now
    nd.waitall()
    reset_peak()
    before = stats()["bytes_now"]
    train(net, trainer, [[3, 3, 199_999], [5]])
    nd.waitall()
    assert stats()["bytes_peak"] - before < 200_000  # a column would be 800,000


class Layers(gluon.HybridBlock):
    """An embedding below other layers, one in a loop, and one whose table is used densely, too."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.below = nn.Embedding(6, 3, sparse_grad=True)
            self.dense = nn.Dense(4, in_units=3, activation="tanh")
            self.looped, self.tied = (
                self.params.get(name, shape=(6, 3), grad_stype="row_sparse")
                for name in ("looped", "tied")
            )

    def hybrid_forward(self, F: Any, x: Any, looped: Any, tied: Any) -> Any:
        def row(ids: Any, table: Any) -> Any:
            return F.Embedding(ids, table, input_dim=6, output_dim=3, sparse_grad=True)

        found, _ = F.contrib.foreach(lambda i, s: (row(i, looped) + s, s), x, F.zeros((3,)))
        both = F.dot(row(x, tied), tied, transpose_b=True)
        return self.dense(self.below(x)).sum() + (found**2).sum() + (both**2).sum()


def test_compiled_in_any_way() -> None:
    """Rows where rows are enough, and the numbers of the imperative program everywhere."""
    made: list[list[np.ndarray]] = []
    for options in (None, {}, {"recompute": True}):
        mx.random.seed(1)
        net = Layers()
        net.initialize(mx.init.Normal(1))
        if options is not None:
            net.hybridize(**options)
        with warnings.catch_warnings(), autograd.record():
            warnings.simplefilter("ignore")
            loss = net(nd.array([1, 4, 1]))
            loss.backward()
        assert net.below.weight.grad().indices.asnumpy().tolist() == [1, 4]
        assert net.looped.grad().indices.asnumpy().tolist() == [1, 4]
        made.append([p.grad().asnumpy() for p in net.collect_params().values()])
    for one in made[1:]:
        for found, expected in zip(one, made[0], strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("hybridized", [False, True])
def test_sums_over_calls_and_what_clears_them(hybridized: bool) -> None:
    net = embedding(hybridized=hybridized)
    net.weight.grad_req = "add"
    for ids in ([1], [1, 2]):
        with autograd.record():
            loss = net(nd.array(ids)).sum()
        loss.backward()
    assert net.weight.grad().asnumpy()[:, 0].tolist() == [0, 2, 1, 0]
    net.collect_params().zero_grad()
    assert net.weight.grad().indices.size == 0
    copied = copy.deepcopy(net)
    assert copied.weight.grad().stype == "row_sparse"


def test_gradients_that_were_not_computed_are_refused() -> None:
    net = embedding()
    trainer = gluon.Trainer(net.collect_params(), "sgd")
    for _ in range(2):
        with pytest.raises(mx.TigonError, match="was not computed since the last step"):
            trainer.step(1)
        train(net, trainer, [[1]])
    trainer.step(1, ignore_stale_grad=True)


def test_several_contexts() -> None:
    contexts = [mx.cpu(0), mx.cpu(1)]
    for kvstore in ("device", mx.kv.create("local")):
        net = nn.Embedding(4, 2, sparse_grad=True)
        net.initialize(mx.init.One(), ctx=contexts)
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.5}, kvstore)
        with autograd.record():
            losses = [net(nd.array(ids, ctx=c)).sum() for ids, c in zip([[1], [1, 2]], contexts)]  # noqa: B905
        autograd.backward(losses)
        trainer.step(1)
        for context in contexts:
            found = net.weight.data(context).asnumpy()[:, 0].tolist()
            assert found == [1, 0, 0.5, 1]


def test_states_in_files(tmp_path: Path) -> None:
    made = []
    for resumed in (False, True):
        net = embedding()
        trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.1})
        train(net, trainer, [[1, 2]])
        if resumed:
            trainer.save_states(str(tmp_path / "states"))
            net.save_parameters(str(tmp_path / "net"))
            net = embedding()
            net.load_parameters(str(tmp_path / "net"))
            trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.1})
            trainer.load_states(str(tmp_path / "states"))
        train(net, trainer, [[2, 3]])
        made.append(net.weight.data().asnumpy().tobytes())
    assert made[0] == made[1]


def test_parameters_of_files_that_hold_rows(tmp_path: Path) -> None:
    rows = nd.sparse.row_sparse_array((np.ones((1, 2)), [2]), shape=(4, 2), dtype="float32")
    nd.save(str(tmp_path / "net"), {"weight": rows})
    net = embedding()
    net.load_parameters(str(tmp_path / "net"))
    assert net.weight.data().asnumpy()[:, 0].tolist() == [0, 0, 1, 0]
    for array in (rows * 2, rows.tostype("default") * 3):
        net.weight.set_data(array)
        assert net.weight.data().asnumpy()[2, 0] in (2, 3)
    net = nn.Embedding(4, 2)
    net.collect_params().load_dict({net.weight.name: rows}, ctx=mx.cpu())
    assert net.weight.data().stype == "default" and net.weight.data().asnumpy()[2, 1] == 1
    huge = nd.sparse.zeros("row_sparse", (2**40, 2))
    nd.save(str(tmp_path / "huge"), {"weight": huge})
    with pytest.raises(mx.TigonError, match="its sparse arrays would take"):
        net.load_parameters(str(tmp_path / "huge"))


def test_compiled_steps_run_as_loops() -> None:
    net = embedding()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.5})
    step = gluon.TrainStep(net, lambda output, label: output.sum(), trainer)
    with pytest.warns(RuntimeWarning, match="has a row-sparse gradient"):
        step(nd.array([1, 1]), nd.array([0]), batch_size=2)
    assert net.weight.data().asnumpy()[:, 0].tolist() == [1, 0.5, 1, 1]
    for export in (step.export_native, step.export_wasm):
        with pytest.raises(mx.TigonError) as caught:
            export("nowhere")
        assert str(caught.value) == (
            f"{export.__name__}: {net.weight._where} has a row-sparse gradient, which a library "
            "cannot hold; make the layer without sparse_grad"
        )


def test_sparse_parameters() -> None:
    net = gluon.contrib.nn.SparseEmbedding(4, 2)
    net.initialize()
    with autograd.record():
        loss = net(nd.array([3])).sum()
    loss.backward()
    assert net.weight.grad().stype == "row_sparse"
    weight = gluon.Parameter(
        "w", shape=(4, 2), init="ones", stype="row_sparse", grad_stype="row_sparse"
    )
    weight.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    ids = nd.array([2, 0, 2])
    for own in weight.list_row_sparse_data(ids):
        assert own.indices.asnumpy().tolist() == [0, 2]
    with autograd.record():
        rows = weight.row_sparse_data(ids)
        loss = nd.Embedding(ids, rows, input_dim=4, output_dim=2, sparse_grad=True).sum()
    loss.backward()
    assert weight.grad(mx.cpu(0)).asnumpy()[:, 0].tolist() == [1, 0, 2, 0]
    dense = gluon.Parameter("w", shape=(4, 2))
    dense.initialize()
    for call, expected in (
        (
            lambda: dense.row_sparse_data(ids),
            "Parameter 'w': row_sparse_data: expected a parameter of stype 'row_sparse'; given one "
            "of 'default'; use data(), or make it with stype='row_sparse'",
        ),
        (
            lambda: gluon.Parameter("w", grad_stype="csr"),
            "Parameter 'w': grad_stype: expected 'default' or 'row_sparse'; given 'csr'",
        ),
        (
            lambda: weight.row_sparse_data(nd.array([4])),
            "rows_of: expected numbers of rows from 0 to 3; given [4, 4]",
        ),
    ):
        with pytest.raises(mx.TigonError) as told:
            call()
        assert str(told.value) == expected


def test_losses_are_scaled() -> None:
    from tigon.contrib.amp.loss_scaler import LossScaler

    net = embedding()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.5})
    trainer._amp_loss_scaler = LossScaler(init_scale=4)
    for factor, expected in ((1.0, 0.5), (float("inf"), 0.5)):
        with autograd.record():
            loss = net(nd.array([1])).sum() * factor
        loss.backward()
        trainer.step(1)
        assert net.weight.data().asnumpy()[1, 0] == expected


# ----------------------------------------------------------------------------------- stores


def test_stores_of_rows() -> None:
    """`truth/cases_23_kvstore.py`: the numbers are those of mxnet 1.9.1."""
    for name in ("local", "device", "dist_sync"):
        store = mx.kv.create(name)
        store.init("t", nd.zeros((4, 2)).tostype("row_sparse"))
        one = nd.sparse.row_sparse_array((nd.ones((1, 2)), [1]), shape=(4, 2))
        two = nd.sparse.row_sparse_array((nd.ones((2, 2)) * 2, [1, 3]), shape=(4, 2))
        store.push("t", [one, two])
        out = nd.sparse.zeros("row_sparse", (4, 2))
        store.row_sparse_pull("t", out=out, row_ids=nd.array([0, 1, 2, 3]))
        assert out.asnumpy()[:, 0].tolist() == [0, 3, 0, 2]
        assert out.indices.asnumpy().tolist() == [0, 1, 2, 3]
        outs = [nd.sparse.zeros("row_sparse", (4, 2)) for _ in range(2)]
        store.row_sparse_pull("t", out=outs, row_ids=[nd.array([3]), nd.array([1, 1])])
        assert [out.indices.asnumpy().tolist() for out in outs] == [[3], [1]]
        dense = nd.ones((4, 2))
        store.pull("t", out=[dense, out])
        assert dense.asnumpy()[:, 0].tolist() == [0, 3, 0, 2]
        store.pull("t", out=out, ignore_sparse=False)
        assert out.indices.asnumpy().tolist() == [1, 3]
        store.push("t", nd.sparse.zeros("row_sparse", (4, 2)))
        store.pull("t", out=dense)
        assert dense.asnumpy().sum() == 0
        store.init("w", nd.ones((4, 2)))
        store.set_optimizer(mx.optimizer.SGD(learning_rate=0.5, wd=1.0))
        store.push(["w", "t"], [two, two])
        store.pull("w", out=dense)
        assert dense.asnumpy()[:, 0].tolist() == [1, -0.5, 1, -0.5]
        store.row_sparse_pull("t", out=out, row_ids=nd.array([3]))
        assert out.data.asnumpy().tolist() == [[-1, -1]]


def test_updaters_of_users_may_change_any_row() -> None:
    store, out = mx.kv.create("local"), nd.ones((4, 2))
    store.init("w", out)
    store.set_optimizer(mx.optimizer.SGD(learning_rate=0.5))
    rows = nd.sparse.row_sparse_array((nd.ones((1, 2)), [1]), shape=(4, 2))
    store.push("w", rows)
    store.pull_moved("w", out)
    assert out.asnumpy()[:, 0].tolist() == [1, 0.5, 1, 1]

    def decay(key: Any, total: Any, value: Any) -> None:
        value *= 0.5

    store.set_updater(decay)
    store.push("w", rows)
    store.pull_moved("w", out)
    assert out.asnumpy()[:, 0].tolist() == [0.5, 0.25, 0.5, 0.5]


REFUSED: list[tuple[Callable[[Any], Any], str]] = [
    (
        lambda store: store.push("w", [nd.ones((4, 2)), rows_of([1], 0)[:]]),
        "KVStore.push: key 'w' has a value of shape (4, 2); given (6, 2)",
    ),
    (
        lambda store: store.push("w", [nd.ones((4, 2)), nd.sparse.zeros("row_sparse", (4, 2))]),
        "KVStore.push: key 'w': expected dense arrays, or row-sparse ones; given default, "
        "row_sparse; convert them with tostype",
    ),
    (
        lambda store: store.push("w", nd.sparse.zeros("csr", (4, 2))),
        "KVStore.push: key 'w': expected dense arrays, or row-sparse ones; given csr; convert them "
        "with tostype",
    ),
    (
        lambda store: store.row_sparse_pull("w", nd.sparse.zeros("row_sparse", (4, 2))),
        "KVStore.row_sparse_pull: expected row_ids, numbers of rows; given none",
    ),
    (
        lambda store: store.row_sparse_pull(
            "w", nd.sparse.zeros("row_sparse", (4, 2)), row_ids=nd.array([4])
        ),
        "rows_of: expected numbers of rows from 0 to 3; given [4, 4]",
    ),
    (
        lambda store: store.row_sparse_pull(
            "w", nd.sparse.zeros("row_sparse", (4, 3)), row_ids=nd.array([1])
        ),
        "KVStore.row_sparse_pull: key 'w' has a value of shape (4, 2); given out of shape (4, 3)",
    ),
    (
        lambda store: (
            store.set_gradient_compression({"type": "2bit"}),
            store.push("w", nd.sparse.zeros("row_sparse", (4, 2))),
        ),
        "KVStore.push: key 'w': rows are not compressed; push dense arrays, or leave "
        "set_gradient_compression out",
    ),
]


@pytest.mark.parametrize(("call", "expected"), REFUSED, ids=[text[:60] for _, text in REFUSED])
def test_what_stores_refuse(call: Callable[[Any], Any], expected: str) -> None:
    store = mx.kv.create("device")
    store.init("w", nd.zeros((4, 2)))
    with pytest.raises(mx.TigonError) as told:
        call(store)
    assert str(told.value) == expected
