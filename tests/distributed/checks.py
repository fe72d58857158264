"""What all ranks of one start check: every function here, in this order; or those that are named.

A start takes longer than most checks: so there is one for each number of ranks.
"""

from __future__ import annotations

import doctest
import json
import os
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import tigon as mx
from tigon import _native, autograd, distributed, gluon, nd
from tigon.base import TigonError

RANK, SIZE = distributed.rank(), distributed.size()
CHECKS: list[Callable[[], None]] = []


def check(function: Callable[[], None]) -> Callable[[], None]:
    CHECKS.append(function)
    return function


@contextmanager
def refused(*parts: str) -> Iterator[None]:
    """All ranks raise an error of these words, and go on together."""
    try:
        yield
    except TigonError as error:
        missing = [part for part in parts if part not in str(error)]
        assert not missing, f"{missing} not in {error}"
    else:
        raise AssertionError("nothing was raised")


def of_ranks(array: Any) -> np.ndarray:
    """What all ranks have, by rank."""
    return distributed.allgather(array.expand_dims(0)).asnumpy()


def same_on_all(*arrays: Any) -> None:
    for array in arrays:
        bits = nd.array(array.bits_to_numpy().reshape(-1).view(np.uint8), dtype="uint8")
        every = of_ranks(bits)
        assert (every == every[0]).all(), every


# ----------------------------------------------------------------------------- collectives


@check
def collectives_mean_what_they_say() -> None:
    for dtype in ("float32", "float64", "float16", "bfloat16", "int32", "uint8"):
        for shape in ((SIZE,), (2 * SIZE, 3), (SIZE * 1000, 5)):
            own = [nd.array(np.arange(np.prod(shape)).reshape(shape) % 7 + r) for r in range(SIZE)]
            own = [array.astype(dtype) for array in own]
            plain = np.stack([array.astype("float64").asnumpy() for array in own])
            rows = shape[0] // SIZE
            mine = slice(RANK * rows, (RANK + 1) * rows)
            for made, expected in (
                (distributed.allreduce(own[RANK]), plain.sum(0)),
                (distributed.allreduce(own[RANK], op="max"), plain.max(0)),
                (distributed.allreduce(own[RANK], op="min"), plain.min(0)),
                (distributed.reduce_scatter(own[RANK]), plain.sum(0)[mine]),
                (distributed.allgather(own[RANK]), np.concatenate(list(plain))),
                (distributed.broadcast(own[RANK], root=SIZE - 1), plain[SIZE - 1]),
                (distributed.alltoall(own[RANK]), np.concatenate([p[mine] for p in plain])),
            ):
                assert made.dtype == own[0].dtype and made.shape == expected.shape
                np.testing.assert_array_equal(made.astype("float64").asnumpy(), expected)
    mean = distributed.allreduce(nd.array([1.0, 2.0]) * RANK, op="mean")
    np.testing.assert_allclose(mean.asnumpy(), np.array([1, 2]) * (SIZE - 1) / 2, rtol=1e-6)


@check
def nothing_and_scalars_travel_too() -> None:
    assert distributed.allreduce(nd.zeros((0, 3))).shape == (0, 3)
    assert distributed.allgather(nd.zeros((0, 3))).shape == (0, 3)
    assert distributed.allreduce(nd.array(2.0)).asnumpy() == 2 * SIZE


@check
def arrays_of_many_pieces() -> None:
    count = 3_000_017
    own = nd.arange(count) % 1000 + RANK
    total = distributed.allreduce(own)
    expected = (np.arange(count) % 1000) * SIZE + sum(range(SIZE))
    np.testing.assert_array_equal(total.asnumpy(), expected.astype(np.float32))
    same_on_all(total[:1000])


@check
def a_nan_of_any_rank_is_the_result() -> None:
    for op in ("sum", "max", "min"):
        for place in range(SIZE):
            given = nd.array([1.0, np.nan if place == RANK else 2.0, np.inf])
            made = distributed.allreduce(given, op=op).asnumpy()
            assert np.isnan(made[1]) and not np.isnan(made[0]) and made[2] == np.inf, (op, made)


class Everything(gluon.HybridBlock):
    def forward(self, x: Any) -> Any:
        whole = distributed.allgather(x * 2)
        part = distributed.reduce_scatter(whole * whole)
        other = distributed.alltoall(part.tile((SIZE, 1)))
        root = distributed.broadcast(x * 3, root=SIZE - 1)
        mean = distributed.allreduce(x * x, op="mean")
        highest = distributed.allreduce(x, op="max")
        return part.sum() + other.sum() + (root * root).sum() + mean.sum() * 5 + highest.sum()


@check
def gradients_are_those_of_the_sum_over_all_ranks() -> None:
    """Compared with differences, imperatively and hybridized."""
    base = np.array([[0.5, -1.0, 2.0]]) + np.arange(SIZE).reshape(-1, 1) * [[0.3, 0.7, -0.4]]
    imperative, hybrid = Everything(), Everything()
    hybrid.hybridize()

    def value(points: np.ndarray) -> float:
        own = imperative(nd.array(points[RANK : RANK + 1], dtype="float64"))
        return float(distributed.allreduce(own).asnumpy().item())

    step = 1e-6
    slopes = np.zeros_like(base)
    for place in np.ndindex(*base.shape):
        moved = np.zeros_like(base)
        moved[place] = step
        slopes[place] = (value(base + moved) - value(base - moved)) / (2 * step)
    for block in (imperative, hybrid, hybrid):
        x = nd.array(base[RANK : RANK + 1], dtype="float64")
        x.attach_grad()
        with autograd.record():
            y = block(x)
        y.backward()
        np.testing.assert_allclose(x.grad.asnumpy()[0], slopes[RANK], rtol=1e-5)


@check
def what_ranks_differ_in_is_told_by_all() -> None:
    odd = SIZE - 1
    told = f"rank {odd}: "
    with refused("ranks differ", told + "allreduce of float32[3]", "allreduce of float32[2]"):
        distributed.allreduce(nd.zeros((3 if RANK == odd else 2,))).wait_to_read()
    with refused("ranks differ", told + "allreduce of float64[2]"):
        dtype = "float64" if RANK == odd else "float32"
        distributed.allreduce(nd.zeros((2,), dtype=dtype)).wait_to_read()
    with refused("ranks differ", told + "barrier", "allreduce of float32[2] op='sum'"):
        if RANK == odd:
            distributed.barrier()
        else:
            distributed.allreduce(nd.zeros((2,))).wait_to_read()
    with refused("ranks differ", told + "broadcast of float32[2] root=1"):
        distributed.broadcast(nd.zeros((2,)), root=int(RANK == odd)).wait_to_read()
    distributed.barrier()


# ---------------------------------------------------------------------------------- stores


def pulled(store: Any, key: Any, shape: tuple[int, ...] = (2,), dtype: str = "float32") -> Any:
    out = nd.zeros(shape, dtype=dtype)
    store.pull(key, out=out)
    return out


@check
def stores_add_up_over_ranks_and_contexts() -> None:
    for kind in ("dist_sync", "dist_device_sync"):
        store = mx.kv.create(kind)
        assert (store.type, store.rank, store.num_workers) == (kind, RANK, SIZE)
        assert store.get_num_dead_node(0) == 0 and store.is_capable("optimizer")
        store.init("w", nd.ones((2,)) * (RANK + 4))
        store.init([3, 5], [nd.ones((2,)) * RANK, nd.ones((3,)) * (RANK + 1)])
        assert pulled(store, "w").asnumpy().tolist() == [4, 4]  # of rank 0
        store.push("w", [nd.ones((2,)) * (RANK + 1), nd.ones((2,), ctx=mx.cpu(1))], priority=-3)
        whole = SIZE * (SIZE + 1) / 2
        assert pulled(store, "w").asnumpy().tolist() == [whole + SIZE] * 2
        store.push([5, 3], [nd.ones((3,)) * RANK, nd.ones((2,))])
        out = [nd.zeros((2,)), nd.zeros((3,), ctx=mx.cpu(1))]
        store.pull([3, 5], out=out)
        assert [array.asnumpy()[0] for array in out] == [SIZE, whole - SIZE]
        given = nd.ones((2,)) * RANK
        store.pushpull("w", given)
        assert given.asnumpy().tolist() == [whole - SIZE] * 2
        store.assign("w", nd.ones((2,)) * (RANK + 7))
        assert pulled(store, "w").asnumpy().tolist() == [7, 7]
        store.barrier()


@check
def stores_hold_any_dtype() -> None:
    for dtype in ("float64", "float16", "bfloat16", "int32"):
        store = mx.kv.create("dist_sync")
        store.broadcast("w", nd.ones((2,), dtype=dtype) * (RANK + 1), out=nd.zeros((2,)))
        assert pulled(store, "w").asnumpy().tolist() == [1, 1]
        store.push("w", nd.ones((2,), dtype=dtype) * (RANK + 1))
        made = pulled(store, "w", dtype=dtype).astype("float32").asnumpy()
        assert made.tolist() == [SIZE * (SIZE + 1) / 2] * 2


@check
def updaters_and_optimizers_of_stores() -> None:
    store = mx.kv.create("dist_sync")
    store.init("w", nd.ones((2,)))
    store.set_updater(lambda key, pushed, kept: kept.__iadd__(pushed * 2))
    store.push("w", nd.ones((2,)))
    assert pulled(store, "w").asnumpy().tolist() == [1 + 2 * SIZE] * 2
    alone, store = mx.kv.create("local"), mx.kv.create("dist_sync")
    keys = ["a", "b", "c", "d", "e"]
    for one in (alone, store):
        one.init(keys, [nd.ones((size,)) for size in (5, 40, 3, 12, 7)])
        one.set_optimizer(mx.optimizer.Adam(learning_rate=0.1))
    rng = np.random.default_rng(0)
    for _ in range(3):
        grads = rng.standard_normal((SIZE, 40)).astype("float32")
        sizes = (5, 40, 3, 12, 7)
        alone.push(keys, [[nd.array(g[:size]) for g in grads] for size in sizes])
        store.push(keys, [nd.array(grads[RANK][:size]) for size in sizes])
        for key, size in zip(keys, sizes, strict=True):
            made, expected = pulled(store, key, (size,)), pulled(alone, key, (size,))
            np.testing.assert_allclose(made.asnumpy(), expected.asnumpy(), rtol=1e-5)
            same_on_all(made)
    held = of_ranks(nd.array([len(store._updater.states)])).ravel()
    assert held.sum() == len(keys) and held.max() < len(keys)  # each has its own


@check
def compressed_pushes_keep_what_they_leave_out() -> None:
    rng = np.random.default_rng(1)
    two, half = mx.kv.create("dist_sync"), mx.kv.create("dist_device_sync")
    two.set_gradient_compression({"type": "2bit", "threshold": 0.5})
    half.set_gradient_compression({"type": "float16"})
    shapes = {"v": (5,), "w": (3, 7)}
    for store in (two, half):
        store.init([*shapes], [nd.zeros(shape) for shape in shapes.values()])
    left = {(name, r): 0.0 for name in shapes for r in range(SIZE)}
    sent: dict[Any, Any] = {name: 0 for name in shapes}
    given = dict(sent)
    for _ in range(4):
        each = {
            name: rng.standard_normal((SIZE, *shape)).astype("float32")
            for name, shape in shapes.items()
        }
        for store in (two, half):
            store.push([*shapes], [nd.array(each[name][RANK]) for name in shapes])
        for name, shape in shapes.items():
            expected = np.zeros(shape, "float32")
            for rank in range(SIZE):
                whole = each[name][rank] + left[name, rank]
                code = 0.5 * (whole >= 0.5) - 0.5 * (whole <= -0.5)
                left[name, rank] = whole - code
                expected += code
            made = pulled(two, name, shape)
            np.testing.assert_array_equal(made.asnumpy(), expected)
            sent[name] += pulled(half, name, shape).asnumpy()
            given[name] += each[name].sum(0)
    for name in shapes:  # sums of float16 are rounded once for each push
        np.testing.assert_allclose(sent[name], given[name], atol=4 * SIZE * 2**-10)


@check
def stores_tell_who_differs() -> None:
    store, odd = mx.kv.create("dist_sync"), SIZE - 1
    shape = (3,) if RANK == odd else (2,)
    with refused("ranks differ", f"rank {odd}: KVStore.init of 'w' float32 (3,)", "(2,)"):
        store.init("w", nd.ones(shape))
    assert "w" not in store
    names = ["b", "a"] if RANK == odd else ["a", "b"]
    with refused("ranks differ", f"rank {odd}: KVStore.init of "):
        store.init(names, [nd.ones((2,))] * 2)
    store.init(["a", "b"], [nd.ones((2,))] * 2)
    with refused("ranks differ", f"rank {odd}: KVStore.push of 'b'"):
        store.push("b" if RANK == odd else "a", nd.ones((2,)))
        pulled(store, "b" if RANK == odd else "a").wait_to_read()
    store.push("a", nd.ones((2,)))
    with refused("KVStore.load_optimizer_states: rank 0: FileNotFoundError"):
        store.set_optimizer(mx.optimizer.SGD())
        store.load_optimizer_states("/nowhere/at.all")


@check
def rows_alone_travel() -> None:
    shape, dtype = (100_000, 4), "float32"
    store, local = mx.kv.create("dist_sync"), mx.kv.create("local")
    for one in (store, local):
        one.init(["s", "d"], [nd.sparse.zeros("row_sparse", shape), nd.ones(shape)])
    for step in range(3):
        if step == 1:  # from here on rows of weights are moved, before that they are replaced
            for one in (store, local):
                one.set_optimizer(mx.optimizer.SGD(learning_rate=0.5, momentum=0.9, wd=0.1))
        rng = np.random.default_rng(step)
        every = [  # rank r has r rows, of which those of several meet in row 7
            nd.sparse.row_sparse_array(
                (
                    rng.standard_normal((rank, 4)).astype(dtype),
                    [7, *range(10 * rank, 11 * rank - 1)][:rank],
                ),
                shape=shape,
            )
            for rank in range(SIZE)
        ]
        before = mx.runtime.stats()["row_bytes_sent"]
        store.push(["s", "d"], [every[RANK], every[RANK]])
        sent = mx.runtime.stats()["row_bytes_sent"] - before
        assert sent == 2 * (8 + RANK * (8 + 4 * 4)), sent  # a number of rows, their numbers, they
        local.push(["s", "d"], [every, every])
        for key in ("s", "d"):
            ids = nd.array([7, 10, 20, 30, 5, RANK])
            made, expected = (nd.sparse.zeros("row_sparse", shape) for _ in range(2))
            store.row_sparse_pull(key, out=made, row_ids=ids)
            local.row_sparse_pull(key, out=expected, row_ids=ids)
            assert (made.indices.asnumpy() == np.unique(ids.asnumpy())).all()
            np.testing.assert_array_equal(made.asnumpy(), expected.asnumpy())
            same_on_all(pulled(store, key, shape))
    assert mx.runtime.stats()["row_bytes_sent"] - before < 1000  # pulls ask nobody
    values = nd.sparse.row_sparse_array((np.ones((1, 4)) * RANK, [RANK]), shape=shape, dtype=dtype)
    store.init("r", values)  # those of rank 0
    assert pulled(store, "r", shape).asnumpy().sum() == 0
    store.push("d", nd.zeros(shape) if RANK else nd.sparse.zeros("row_sparse", shape))
    same_on_all(pulled(store, "d", shape))
    store = mx.kv.create("dist_sync")
    store.init("w", nd.ones(shape))
    with refused("ranks differ", "KVStore.push by rows of 'w' rows of float32 (100000, 4)"):
        store.push("w", nd.ones(shape) if RANK == SIZE - 1 else every[RANK])
        pulled(store, "w", shape).wait_to_read()


@check
def keys_that_take_rows_from_now_on_are_refused_by_all() -> None:
    shape, given = (3, 2), nd.sparse.zeros("row_sparse", (3, 2))
    store = mx.kv.create("dist_sync")
    store.init(["d", "s"], [nd.ones(shape), nd.ones(shape)])
    store.set_optimizer(mx.optimizer.SGD(learning_rate=0.5, momentum=0.9))
    store.push(["d", "s"], [nd.ones(shape), given])
    planned = dict(store._buckets)
    assert planned
    store.push(["d", "s"], [nd.ones(shape), given])
    assert store._buckets == planned  # nothing is planned anew at each push
    with refused("KVStore.push: key 'd': expected dense gradients, as before; given row-sparse"):
        store.push("d", given)
    store.push(["d", "s"], [nd.ones(shape), given])
    same_on_all(pulled(store, "d", shape))


@check
def sparse_gradients_train_as_in_one_process() -> None:
    ids = [[7, rank, 7][:rank] for rank in range(SIZE)]  # none on rank 0
    for on_store in (True, False):
        for name in ("sgd", "adam"):
            made = []
            for alone in (False, True):
                net = gluon.nn.HybridSequential()
                net.add(gluon.nn.Embedding(50, 3, sparse_grad=True), gluon.nn.Dense(2, in_units=3))
                net.initialize(mx.init.One())
                net.hybridize()
                settings = {"learning_rate": 0.1, "wd": 0.01}
                settings |= {"momentum": 0.9} if name == "sgd" else {}
                trainer = gluon.Trainer(
                    net.collect_params(),
                    name,
                    settings,
                    kvstore=None if alone else "dist_sync",
                    update_on_kvstore=None if alone else on_store,
                )
                for _ in range(3):
                    own = [one for rank in ids for one in rank] if alone else ids[RANK]
                    with autograd.record():
                        loss = (net(nd.array(own, dtype="int32").reshape((len(own),))) ** 2).sum()
                    loss.backward()
                    trainer.step(SIZE)
                made.append([p.data() for p in net.collect_params().values()])
            for one, other in zip(*made, strict=True):
                np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-5)
            same_on_all(*made[0])


# -------------------------------------------------------------------------------- training


BATCH = 6  # of each rank: no multiple of anything


def network(dtype: str) -> Any:
    mx.random.seed(3)
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(16, activation="tanh"), gluon.nn.Dense(3))
    net.cast(dtype)
    net.initialize(mx.init.Xavier())
    return net


def batches(dtype: str, steps: int = 20) -> Iterator[tuple[Any, Any]]:
    """Of all ranks together; of each rank its part."""
    rng = np.random.default_rng(0)
    for _ in range(steps):
        yield tuple(
            nd.array(rng.standard_normal((BATCH * SIZE, width)), dtype=dtype) for width in (8, 3)
        )


def own_part(array: Any) -> Any:
    return array[RANK * BATCH : (RANK + 1) * BATCH]


def trained(dtype: str, kvstore: Any, optimizer: str = "adam", **options: Any) -> tuple[Any, Any]:
    """Weights after 20 steps, of one process or of all ranks, and the trainer."""
    net, loss = network(dtype), gluon.loss.L2Loss()
    net.hybridize()
    trainer = gluon.Trainer(
        net.collect_params(), optimizer, {"learning_rate": 0.01}, kvstore=kvstore, **options
    )
    for data, label in batches(dtype):
        if kvstore is not None:
            data, label = own_part(data), own_part(label)
        with autograd.record():
            value = loss(net(data), label)
        value.backward()
        trainer.step(BATCH * SIZE)
    return [param.data() for param in net.collect_params().values()], trainer


def close(made: list[Any], expected: list[Any], dtype: str) -> None:
    for one, other in zip(made, expected, strict=True):
        bound = {"float32": 1e-4, "float64": 1e-9}[dtype]
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=bound, atol=bound / 10)


@check
def ranks_train_as_one_process_does() -> None:
    for dtype, optimizer, options in (
        ("float32", "adam", {}),
        ("float64", "sgd", {"update_on_kvstore": False}),
        ("float64", "lamb", {"update_on_kvstore": True}),
    ):
        expected, _ = trained(dtype, None, optimizer)
        made, trainer = trained(dtype, "dist_sync", optimizer, **options)
        assert trainer._update_on_kvstore == options.get("update_on_kvstore", True)
        close(made, expected, dtype)
        same_on_all(*made)
        again, _ = trained(dtype, "dist_sync", optimizer, **options)
        for one, other in zip(made, again, strict=True):
            np.testing.assert_array_equal(one.asnumpy(), other.asnumpy())


@check
def states_are_divided_among_ranks() -> None:
    def trained_on(kvstore: Any, kind: str) -> tuple[Any, Any]:
        mx.random.seed(3)
        net = gluon.nn.HybridSequential(prefix="states_")
        with net.name_scope():
            net.add(gluon.nn.Dense(57, in_units=40 * SIZE), gluon.nn.Dense(3, in_units=57))
        net.initialize()
        net.cast("float64")
        options = {"learning_rate": 0.01}
        trainer = gluon.Trainer(net.collect_params(), kind, options, kvstore=kvstore)
        for step in range(4):
            rng = np.random.default_rng(step)
            x = nd.array(rng.standard_normal((SIZE, 40 * SIZE)), dtype="float64")
            with autograd.record():
                loss = (net(x if kvstore is None else x[RANK : RANK + 1]) ** 2).sum()
            loss.backward()
            trainer.step(SIZE)
            if step == 1:
                trainer.save_states(path)
                trainer.load_states(path)
        return [param.data() for param in net.collect_params().values()], trainer

    for kind in ("adam", "lamb"):
        path = f"{tempfile.gettempdir()}/tigon-states-{os.getpid()}"  # of this rank
        expected, alone = trained_on(None, kind)
        os.remove(path)
        path = f"{tempfile.gettempdir()}/tigon-states-of-{os.getppid()}"
        made, trainer = trained_on("dist_sync", kind)
        close(made, expected, "float64")
        same_on_all(*made)
        held = sum(one.size for own in trainer._updater.states.values() for one in own)
        total = sum(one.size for own in alone._updater.states.values() for one in own)
        every = of_ranks(nd.array([held])).ravel()
        assert every.sum() == total
        if kind == "adam":  # all but what is small is divided evenly
            assert every.max() <= total / SIZE + 2 * (57 * 4 + 3 + 1), every
        again = gluon.Trainer(
            dict(enumerate(trainer._params)), kind, {"learning_rate": 0.01}, kvstore="dist_sync"
        )
        for one in (alone, again):  # states of all ranks, by one; before the first step
            one.load_states(path)
            for param in one._params:
                param.grad()[:] = 1.0 if one is alone else 1.0 / SIZE
            one.step(1)
        close([p.data() for p in again._params], [p.data() for p in alone._params], "float64")
        distributed.barrier()
        if RANK == 0:
            os.remove(path)


def stepped(net: Any, dtype: str, kvstore: Any, trainer_options: Any, **options: Any) -> Any:
    """Weights after 20 compiled steps; `kvstore=None`: of one process on all batches."""
    trainer = gluon.Trainer(
        net.collect_params(), "adam", {"learning_rate": 0.01}, kvstore=kvstore, **trainer_options
    )
    step = gluon.TrainStep(net, gluon.loss.L2Loss(), trainer, **options)
    for data, label in batches(dtype):
        if kvstore is not None:
            data, label = own_part(data), own_part(label)
        step(data, label)
    return [param.data() for param in net.collect_params().values()], step


@check
def compiled_steps_train_as_one_process_does() -> None:
    for dtype, options, own in (
        ("float32", {}, {}),
        ("float64", {}, {"update_on_kvstore": False}),
        ("float64", {"clip_global_norm": 0.05}, {}),
        (
            "float64",
            {"adjust": lambda loss, grads: [grad * 0.5 for grad in grads]},
            {"update_on_kvstore": False},
        ),
    ):
        expected, _ = stepped(network(dtype), dtype, None, {}, **options)
        made, step = stepped(network(dtype), dtype, "dist_sync", own, **options)
        close(made, expected, dtype)
        same_on_all(*made)
        assert "gave way" not in step.explain(), step.explain()


class Gathers(gluon.HybridBlock):
    """Each sample beside the mean of all samples of all ranks, and some of it dropped."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.body, self.head = network("float64"), gluon.nn.Dense(3)
            self.head.cast("float64")
            self.head.initialize(mx.init.Xavier())
            self.drop = gluon.nn.Dropout(0.5)

    def forward(self, x: Any) -> Any:
        inner = self.body(x)
        mean = inner.mean(axis=0, keepdims=True)
        if distributed.size() > 1 and not self.whole:
            mean = distributed.allreduce(mean, op="mean")
        return self.head(nd.broadcast_add(inner, mean)) + 0 * self.drop(inner)

    whole = False


@check
def collectives_within_compiled_steps() -> None:
    """Against one process on the whole batch, and against the loop."""
    for own in ({}, {"update_on_kvstore": False}):
        alone = Gathers()
        alone.whole = True
        expected, _ = stepped(alone, "float64", None, {})
        made, step = stepped(Gathers(), "float64", "dist_sync", own)
        close(made, expected, "float64")
        same_on_all(*made)
        assert "gave way" not in step.explain(), step.explain()


@check
def networks_that_differ_are_told() -> None:
    odd = RANK == SIZE - 1
    for differ in ("units", "dtype", "more"):
        net = gluon.nn.HybridSequential(prefix="net_")
        with net.name_scope():
            net.add(gluon.nn.Dense(5 if differ == "units" and odd else 4, in_units=8))
            if differ == "more" and odd:
                net.add(gluon.nn.Dense(3, in_units=4))
        net.initialize()
        net.cast("float64" if differ == "dtype" and odd else "float32")
        trainer = gluon.Trainer(net.collect_params(), "sgd", kvstore="dist_sync")
        x = nd.ones((2, 8), dtype="float64" if differ == "dtype" and odd else "float32")
        with autograd.record():
            loss = net(x).sum()
        loss.backward()
        with refused("ranks differ", f"rank {SIZE - 1}: KVStore.init of ", "(net_dense"):
            trainer.step(2)


@check
def batches_of_different_sizes_are_told() -> None:
    net = network("float32")
    trainer = gluon.Trainer(net.collect_params(), "sgd", kvstore="dist_sync")
    step = gluon.TrainStep(net, gluon.loss.L2Loss(), trainer)
    rows = 3 if RANK == SIZE - 1 else 2
    with refused(
        "ranks differ", f"rank {SIZE - 1}: KVStore.push of gradients divided by {3 * SIZE}"
    ):
        step(nd.ones((rows, 8)), nd.ones((rows, 3)))
        mx.waitall()
    step(nd.ones((rows, 8)), nd.ones((rows, 3)), batch_size=2 * SIZE + 1)


class Normalized(gluon.HybridBlock):
    """Statistics of the batches of all ranks, or of one process's batch."""

    def __init__(self, whole: bool, dtype: str) -> None:
        super().__init__()
        made = gluon.nn.BatchNorm if whole else gluon.contrib.nn.SyncBatchNorm
        with self.name_scope():
            self.body, self.norm, self.head = network(dtype), made(), gluon.nn.Dense(3)
            for block in (self.norm, self.head):
                block.initialize(mx.init.Xavier())
                block.cast(dtype)

    def forward(self, x: Any) -> Any:
        return self.head(self.norm(nd.tanh(self.body(x))))


@check
def statistics_of_the_batches_of_all_ranks() -> None:
    for dtype in ("float32", "float64"):
        own = {"update_on_kvstore": False} if dtype == "float64" else {}
        expected, _ = stepped(Normalized(True, dtype), dtype, None, {})
        made, step = stepped(Normalized(False, dtype), dtype, "dist_sync", own)
        close(made, expected, dtype)  # running statistics among them
        same_on_all(*made)
        assert "gave way" not in step.explain(), step.explain()
    layer, whole = gluon.contrib.nn.SyncBatchNorm(), gluon.nn.BatchNorm()
    layer.initialize(), whole.initialize()
    rng = np.random.default_rng(2)
    parts = [rng.standard_normal((rank + 1, 3, 4, 5)) for rank in range(SIZE)]  # other sizes
    with autograd.record():
        out = layer(nd.array(parts[RANK]))
        expected = whole(nd.array(np.concatenate(parts))).asnumpy()
    first = RANK * (RANK + 1) // 2
    np.testing.assert_allclose(out.asnumpy(), expected[first : first + RANK + 1], atol=1e-5)


class Divided(gluon.HybridBlock):
    """A network whose large layers are divided among ranks, or are whole."""

    def __init__(self, divided: bool) -> None:
        super().__init__()
        large = (12 * SIZE, 24 * SIZE)
        with self.name_scope():
            self.first = network("float64")[0]
            if divided:
                dense = gluon.contrib.nn.SplitDense
                self.wide = dense(large[0], in_units=16, dtype="float64")
                self.back = dense(3, in_units=large[0], split="rows", dtype="float64")
            else:
                self.wide = gluon.nn.Dense(large[0], in_units=16, dtype="float64")
                self.back = gluon.nn.Dense(3, in_units=large[0], dtype="float64")
            mx.random.seed(5)
            for block in (self.wide, self.back):
                block.initialize(mx.init.Xavier())

    def forward(self, x: Any) -> Any:
        return self.back(nd.tanh(self.wide(self.first(x))))


@check
def layers_that_are_divided_among_ranks() -> None:
    whole, divided = Divided(False), Divided(True)
    np.testing.assert_array_equal(
        divided.wide.whole_weight().asnumpy(), whole.wide.weight.data().asnumpy()
    )
    stepped(whole, "float64", None, {})
    _, step = stepped(divided, "float64", "dist_sync", {})
    for name in ("wide", "back"):
        made, expected = getattr(divided, name), getattr(whole, name)
        close([made.whole_weight()], [expected.weight.data()], "float64")
    close([divided.first.weight.data()], [whole.first.weight.data()], "float64")
    assert "gave way" not in step.explain(), step.explain()
    with refused("Trainer.save_states", "is divided among the ranks"):
        step.trainer.save_states("/nowhere/at.all")


# ------------------------------------------------------------- modules, estimators, data


@check
def modules_train_as_one_process_does() -> None:
    rng = np.random.default_rng(4)
    data = rng.standard_normal((4 * SIZE * BATCH, 8)).astype("float32")
    label = rng.integers(0, 3, len(data)).astype("float32")

    def fitted(kvstore: Any, optimizer: str, **options: Any) -> Any:
        x = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=9, name="one")
        x = mx.sym.FullyConnected(mx.sym.tanh(x), num_hidden=3, name="two")
        module = mx.mod.Module(mx.sym.SoftmaxOutput(x, name="softmax"))
        shapes = {"one_weight": (9, 8), "one_bias": (9,), "two_weight": (3, 9), "two_bias": (3,)}
        numbers = np.random.default_rng(7)
        # Ranks begin with what the first one has.
        begin = {
            name: nd.array(numbers.standard_normal(shape) / 3 + (RANK if kvstore else 0))
            for name, shape in shapes.items()
        }
        size, mine = (BATCH * SIZE, slice(None)) if kvstore is None else (BATCH, _share(len(data)))
        batches_ = mx.io.NDArrayIter(data[mine], label[mine], size)
        module.fit(
            batches_,
            num_epoch=5,
            kvstore=kvstore,
            arg_params=begin,
            optimizer=optimizer,
            optimizer_params={"learning_rate": 0.1, **options},
        )
        return module.get_params()[0]

    for optimizer, options in (("sgd", {"momentum": 0.9}), ("adam", {})):
        expected, made = (
            fitted(None, optimizer, **options),
            fitted("dist_sync", optimizer, **options),
        )
        names = sorted(made)
        close([made[name] for name in names], [expected[name] for name in names], "float32")
        same_on_all(*[made[name] for name in names])


def _share(count: int) -> np.ndarray:
    """Of each batch of all ranks one's own part."""
    batch = np.arange(count).reshape(-1, SIZE, BATCH)
    return batch[:, RANK].reshape(-1)


@check
def estimators_train_as_one_process_does() -> None:
    def fitted(kvstore: Any) -> list[Any]:
        net = network("float64")
        trainer = gluon.Trainer(
            net.collect_params(), "adam", {"learning_rate": 0.01}, kvstore=kvstore
        )
        given = list(batches("float64", 5))
        if kvstore is not None:
            given = [tuple(map(own_part, batch)) for batch in given]
        estimator = gluon.contrib.estimator.Estimator(
            net, gluon.loss.L2Loss(), train_metrics=mx.metric.MSE(), trainer=trainer
        )
        estimator.logger.setLevel("ERROR")
        estimator.fit(_Given(given), epochs=2)
        return [param.data() for param in net.collect_params().values()]

    close(fitted("dist_sync"), fitted(None), "float64")


class _Given(gluon.data.DataLoader):
    def __init__(self, batches_: list[Any]) -> None:
        self._batches = batches_

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


@check
def samples_are_shared_out_without_loss() -> None:
    for length in (SIZE, 4 * SIZE + 1, 6 * SIZE, 7 * SIZE - 1):
        mx.random.seed(length)
        sampler = gluon.data.ShardedBatchSampler(length, 2)
        orders = []
        for _ in range(2):
            own = [number for batch in sampler for number in batch]
            padded = nd.array([*own, *[-1] * (length - len(own))], dtype="int64")
            every = of_ranks(padded).ravel()
            assert sorted(every[every >= 0]) == list(range(length))
            orders.append(own)
        lengths = of_ranks(nd.array([len(batch) for batch in sampler], dtype="int64"))
        assert lengths.sum(0).tolist() == sampler.sizes and lengths.min() > 0
        assert length < 8 or orders[0] != orders[1]
    net, data = network("float32"), nd.arange(8 * (4 * SIZE + 1)).reshape((-1, 8)) / 100
    trainer = gluon.Trainer(net.collect_params(), "sgd", kvstore="dist_sync")
    dataset = gluon.data.ArrayDataset(data, data[:, :3])
    sampler = gluon.data.ShardedBatchSampler(len(dataset), 2)
    loader = gluon.data.DataLoader(dataset, batch_sampler=sampler, num_workers=1)
    for (x, y), size in zip(loader, sampler.sizes, strict=True):
        with autograd.record():
            loss = gluon.loss.L2Loss()(net(x), y)
        loss.backward()
        trainer.step(size)
    same_on_all(*[param.data() for param in net.collect_params().values()])


@check
def ranks_draw_different_numbers_from_one_seed() -> None:
    masks = []
    for _ in range(2):
        mx.random.seed(11)
        with autograd.record():
            masks.append(nd.Dropout(nd.ones((50,)), p=0.5))
        masks.append(nd.random.uniform(shape=(50,)))
        masks.append(nd.array(list(gluon.data.RandomSampler(50))))
    for first, again in zip(masks[:3], masks[3:], strict=True):
        np.testing.assert_array_equal(first.asnumpy(), again.asnumpy())
        every = of_ranks(first)
        for one in range(SIZE):
            for other in range(one):
                assert (every[one] != every[other]).any()
    net = gluon.nn.Dense(4, in_units=3)
    net.initialize(mx.init.Normal())
    same_on_all(net.weight.data())  # networks begin alike


@check
def losses_are_scaled_alike() -> None:
    """Where one rank's gradients overflow, all skip the step."""
    net = network("float32")
    trainer = gluon.Trainer(net.collect_params(), "sgd", kvstore="dist_sync")
    trainer._amp_initialized = True  # without a policy, which would be one of later checks, too
    trainer._amp_loss_scaler = mx.contrib.amp.loss_scaler.LossScaler()
    scales = []
    for step in range(2):
        x = nd.ones((2, 8)) * (np.inf if step == 0 and RANK == SIZE - 1 else 1)
        with autograd.record():
            loss = net(x).sum()
            with mx.contrib.amp.scale_loss(loss, trainer) as scaled:
                scaled.backward()
        trainer.step(2)
        scales.append(trainer._amp_loss_scaler.loss_scale)
    assert scales[0] < 2**16
    params = [param.data() for param in net.collect_params().values()]
    same_on_all(*params)
    assert all(np.isfinite(param.asnumpy()).all() for param in params)


@check
def stores_hold_the_weights_themselves() -> None:
    net = gluon.nn.Dense(3, in_units=2)
    net.initialize()
    weight = net.weight.data()
    trainer = gluon.Trainer(net.collect_params(), "sgd", kvstore="dist_sync")

    def step() -> None:
        with autograd.record():
            loss = net(nd.ones((1, 2))).sum()
        loss.backward()
        trainer.step(SIZE)

    step()
    number = trainer._params.index(net.weight)
    assert trainer._kvstore._values[number] is weight is net.weight.data()
    # What somebody writes meanwhile is that of rank 0, on all ranks.
    net.weight.set_data(nd.full((3, 2), RANK + 1))
    step()
    same_on_all(net.weight.data())
    np.testing.assert_allclose(net.weight.data().asnumpy(), 0.99, rtol=1e-6)
    with refused(f"num_devices: expected None or the number of ranks, {SIZE}; given {SIZE + 1}"):
        gluon.contrib.nn.SyncBatchNorm(num_devices=SIZE + 1)
    if SIZE > 1:
        with refused("num_devices: expected None or the number of ranks"):
            gluon.contrib.nn.SyncBatchNorm(num_devices=1)


@check
def profiles_show_the_thread_that_enters_mpi() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile.json"
        mx.profiler.set_config(profile_all=True, filename=str(path))
        mx.profiler.set_state("run")
        distributed.allreduce(nd.ones((5000,)) + 1).wait_to_read()
        mx.profiler.set_state("stop")
        mx.profiler.dump()
        events = json.loads(path.read_text())["traceEvents"]
    (thread,) = [e["tid"] for e in events if e.get("args", {}).get("name") == "MPI"]
    shown = {(e["cat"], e["name"]) for e in events if e["ph"] == "X" and e["tid"] == thread}
    assert shown == {("task", "allreduce")}, shown
    assert any(e["ph"] == "X" and e["cat"] == "kernel" for e in events)


@check
def what_is_told_of_the_ranks() -> None:
    text = distributed.describe()
    assert f"rank {RANK} of {SIZE}, started by " in text and "\nhost " in text, text
    threads = _native.num_threads()
    cores = len(os.sched_getaffinity(0))
    assert threads == max(1, cores // SIZE) and f"{threads} thread(s) each" in text
    assert (f"warning: {SIZE} threads on {cores} processors" in text) == (SIZE > cores), text


class Trained:
    """A network, its trainer and a metric, with random numbers in every step."""

    def __init__(self, folder: Path) -> None:
        self.net = gluon.nn.HybridSequential()
        layers = gluon.nn.Dense(64, in_units=40), gluon.nn.BatchNorm(), gluon.nn.Dropout(0.3)
        self.net.add(*layers, gluon.contrib.nn.SplitDense(3 * SIZE, 64))
        self.net.initialize(mx.init.Xavier())
        self.net(nd.zeros((2, 40)))
        self.trainer = gluon.Trainer(self.net.collect_params(), "adam", kvstore="dist_sync")
        whole = [param for param in self.net.collect_params().values() if param.split_axis is None]
        self.owned = gluon.Trainer(whole, "adam", {"learning_rate": 0.1}, kvstore="dist_sync")
        self.metric = mx.metric.Loss()
        self.checkpoint = gluon.Checkpoint(
            folder, net=self.net, trainer=self.trainer, owned=self.owned, metric=self.metric
        )

    def go_on(self) -> list[Any]:
        for _ in range(2):
            for trainer in (self.trainer, self.owned):
                with autograd.record():
                    loss = (self.net(nd.random.normal(shape=(4, 40))) ** 2).sum()
                loss.backward()
                trainer.step(4 * SIZE, ignore_stale_grad=True)
            self.metric.update(None, loss)
        arrays = [param.data() for param in self.net.collect_params().values()]
        for trainer in (self.trainer, self.owned):
            arrays += [array for _, array in sorted(trainer._own_states().items())]
        bits = [array.bits_to_numpy().tobytes() for array in arrays]
        return [bits, self.metric.get(), nd.random.uniform(shape=(2,)).asnumpy().tolist()]


@contextmanager
def folder_of_all() -> Iterator[Path]:
    folder = Path(tempfile.gettempdir()) / f"tigon-checkpoints-{os.getppid()}"
    yield folder
    distributed.barrier()
    if RANK == 0:
        shutil.rmtree(folder)


@check
def checkpoints_hold_what_all_ranks_have() -> None:
    mx.random.seed(6)
    with folder_of_all() as folder:
        one = Trained(folder)
        assert one.checkpoint.resume() is None
        one.go_on()
        one.checkpoint.save(2, epoch=1)
        expected = one.go_on()
        one.checkpoint.save(4, epoch=1)
        other = Trained(folder)
        assert other.checkpoint.resume() == {"step": 4, "epoch": 1}
        distributed.barrier()
        shard = next(folder.glob(f"*4.shard-{SIZE - 1}-of-{SIZE}-*"))
        content = shard.read_bytes()
        distributed.barrier()
        if RANK == 0:
            shard.write_bytes(content[:-3] + b"???")
        distributed.barrier()
        with warnings.catch_warnings(record=True) as caught:
            assert other.checkpoint.resume() == {"step": 2, "epoch": 1}
        said = f"{shard} is damaged: its content is not what was written; going on from the one "
        assert [said in str(one.message) for one in caught] == [True], caught
        assert other.go_on() == expected
        with refused("ranks differ", "Checkpoint.save of step 7", "Checkpoint.save of step 8"):
            other.checkpoint.save(7 + (RANK == SIZE - 1))
        with refused("ranks differ", "Checkpoint.save of step 7 of "):
            other.checkpoint.save(7, epoch=int(RANK == 0))
        with refused(f"rank {SIZE - 1}: TigonError: Checkpoint.resume: ", "make the Checkpoint of"):
            parts = {"net" if RANK < SIZE - 1 else "network": other.net}
            parts |= {"trainer": other.trainer, "owned": other.owned, "metric": other.metric}
            gluon.Checkpoint(folder, **parts).resume()


@check
def modules_in_checkpoints_of_all_ranks() -> None:
    def fitted(steps: int) -> Any:
        x = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=90, name="one")
        module = mx.mod.Module(mx.sym.SoftmaxOutput(x, name="softmax"))
        data = mx.io.NDArrayIter(np.eye(6, 20, dtype="float32"), np.arange(6.0), 2)
        module.fit(data, num_epoch=steps, kvstore="dist_sync", optimizer="adam")
        return module

    with folder_of_all() as folder:
        one, other = fitted(2), fitted(1)
        gluon.Checkpoint(folder, module=one).save(1)
        assert gluon.Checkpoint(folder, module=other).resume() == {"step": 1}
        bits = []
        for module in (one, other):
            arrays = {**module.get_params()[0], **module._kvstore._updater.to_arrays()}
            bits.append({name: array.asnumpy().tobytes() for name, array in arrays.items()})
        assert bits[0] == bits[1]
        # Where another part does not fit, all ranks put the module back, with its states.
        nets = [gluon.nn.Dense(units, in_units=2) for units in (3, 4)]
        for net in nets:
            net.initialize()
        gluon.Checkpoint(folder, module=fitted(3), net=nets[0]).save(2)
        with refused("Checkpoint.resume, their values: rank 0: "):
            gluon.Checkpoint(folder, module=other, net=nets[1]).resume()
        arrays = {**other.get_params()[0], **other._kvstore._updater.to_arrays()}
        assert bits[1] == {name: array.asnumpy().tobytes() for name, array in arrays.items()}


@check
def the_page_of_this_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "distributed.md"
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert not failed and tried > 20


def main(names: list[str]) -> None:
    for function in CHECKS:
        if names and function.__name__ not in names:
            continue
        try:
            function()
        except BaseException:
            print(f"rank {RANK} of {SIZE}: {function.__name__}:", flush=True)
            traceback.print_exc()
            raise
        distributed.barrier()
        if RANK == 0:
            print(f"passed {function.__name__}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
