"""Training that is interrupted goes on as if it had not been."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, lr_scheduler, metric, nd, sym
from tigon.gluon import nn
from tigon.runtime import keys

ROOT = Path(__file__).parents[2]
STEPS = 24


class Training:
    """Everything that draws, counts or remembers."""

    def __init__(self, folder: Any, optimizer: str = "adam", hybridized: bool = True) -> None:
        self.net = nn.HybridSequential()
        self.net.add(nn.Dense(8, activation="relu"), nn.BatchNorm(), nn.Dropout(0.5), nn.Dense(2))
        self.net[0].weight.grad_req = "add"
        self.net.initialize(mx.init.Xavier())
        if hybridized:
            self.net.hybridize()
        schedule = lr_scheduler.FactorScheduler(step=5, factor=0.7, base_lr=0.05)
        self.trainer = gluon.Trainer(
            self.net.collect_params(), optimizer, {"lr_scheduler": schedule, "wd": 0.01}
        )
        points = np.random.RandomState(0).randn(22, 3).astype("float32")
        labels = (points.sum(1) > 0).astype("float32")
        data = gluon.data.ArrayDataset(points, labels)
        self.loader = gluon.data.DataLoader(data, 4, shuffle=True, last_batch="rollover")
        self.metric = metric.create(["acc", "f1", metric.PCC()])
        self.checkpoint = gluon.Checkpoint(
            folder, net=self.net, trainer=self.trainer, data=self.loader, metric=self.metric
        )

    def run(self, until: int = STEPS, each: int = 1, done: Any = None) -> str:
        """Up to step `until`; gives all that it has come to."""
        loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
        self.net(nd.zeros((1, 3)))  # so that there is something to resume
        state = self.checkpoint.resume() or {"step": 0}
        step = state["step"]
        while step < until:
            for x, y in self.loader:
                noise = float(np.random.randn()) + random.random()
                with autograd.record():
                    result = self.net(x + 0.1 * noise * nd.random.normal(shape=x.shape))
                    loss = loss_of(result, y)
                loss.backward()
                self.trainer.step(len(x))
                self.metric.update(y, result)
                step += 1
                if step % 3 == 0:
                    self.net.collect_params().zero_grad()
                if step % each == 0:
                    self.checkpoint.save(step)
                if done is not None:
                    done()
                if step == until:
                    break
        return self.summary()

    def summary(self) -> str:
        values = {
            name: param.data().asnumpy().tobytes().hex()
            for name, param in self.net._collect_params_with_prefix().items()
        }
        states = self.trainer._updater.get_states().hex()
        draws = nd.random.uniform(shape=(2,)).asnumpy().tolist(), random.random()
        return json.dumps([values, states, self.metric.get()[1], draws, np.random.rand()])


def straight(folder: Path, seed: int, **options: Any) -> str:
    seed_all(seed)
    return Training(folder, **options).run(each=STEPS + 1)


def seed_all(seed: int) -> None:
    mx.random.seed(seed)
    np.random.seed(seed)
    random.seed(seed)


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "nag", "nadam", "lbsgd", "ftml"])
def test_training_goes_on_with_the_same_numbers(
    tmp_path: Path, optimizer: str, hybridized: bool
) -> None:
    options = {"optimizer": optimizer, "hybridized": hybridized}
    expected = straight(tmp_path / "none", 5, **options)
    stops = sorted(random.Random(optimizer).sample(range(1, STEPS), 3))
    seed_all(5)
    Training(tmp_path, **options).run(stops[0])
    for stop in [*stops[1:], STEPS]:
        seed_all(99)  # another process knows nothing of what was drawn
        found = Training(tmp_path, **options).run(stop)
    assert found == expected


KILLED = """
import os, random, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.gluon import test_checkpoints as tests

folder, seed, kills = Path(sys.argv[2]), 3, 20
expected = tests.straight(folder / "none", seed)
moments, killed = random.Random(7), 0


def living(count):
    # One life: it ends at the count-th step or call that writes, renames or flushes a file.
    left = [count]

    def count_down(*_):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("write", "replace", "rename", "fsync", "unlink"):
        def counted(*arguments, call=getattr(os, name), **keywords):
            count_down()
            return call(*arguments, **keywords)
        setattr(os, name, counted)
    tests.seed_all(seed if not list(folder.glob("checkpoint*")) else 99)
    found = tests.Training(folder).run(done=count_down)
    (folder / "result").write_text(found)
    os._exit(0)


while True:
    child = os.fork()
    if not child:
        living(moments.randrange(1, 14) if killed < kills else -1)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
    killed += 1
assert (folder / "result").read_text() == expected
print(killed, len(list(folder.glob("checkpoint*"))), [p.name for p in folder.glob(".tigon*")] and 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_process_that_is_killed_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(ROOT), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "TIGON_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    killed, files, _ = done.stdout.split(maxsplit=2)
    assert int(killed) >= 18 and int(files) == 3


def small(folder: Path, **more: Any) -> tuple[Any, Any, gluon.Checkpoint]:
    net = nn.Dense(2, in_units=3)
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"momentum": 0.9})
    return net, trainer, gluon.Checkpoint(folder, net=net, trainer=trainer, **more)


def test_the_newest_files_stay(tmp_path: Path) -> None:
    net, _, _ = small(tmp_path)
    checkpoint = gluon.Checkpoint(tmp_path, keep=2, net=net)
    assert checkpoint.resume() is None
    (tmp_path / "notes.txt").write_text("mine")
    for step in (1, 5, 9, 12):
        path = checkpoint.save(step, epoch=step // 5, best=np.float32(0.5), names=["a"])
    assert path == str(tmp_path / "checkpoint-0000000012.params")
    assert sorted(os.listdir(tmp_path)) == [
        *("checkpoint-0000000009.params", "checkpoint-0000000012.params", "notes.txt")
    ]
    assert checkpoint.resume() == {"step": 12, "epoch": 2, "best": 0.5, "names": ["a"]}


def test_a_damaged_file_is_told_and_the_one_before_it_is_taken(tmp_path: Path) -> None:
    net, _, checkpoint = small(tmp_path)
    net.weight.set_data(nd.ones((2, 3)))
    first = Path(checkpoint.save(1))
    net.weight.set_data(nd.zeros((2, 3)))
    second = Path(checkpoint.save(2))
    content = bytearray(second.read_bytes())
    for damage in (len(content) // 3, len(content) - 40):
        other = content.copy()
        other[damage] ^= 64
        second.write_bytes(other)
        with pytest.warns(UserWarning, match="is damaged.*; going on from the one before"):
            assert checkpoint.resume() == {"step": 1}
        assert net.weight.data().asnumpy().min() == 1
    second.write_bytes(content[:-9])
    first.unlink()
    with pytest.raises(mx.TigonError, match=r"Checkpoint.resume: .*0002.params is damaged"):
        checkpoint.resume()


def test_what_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    net, _, checkpoint = small(tmp_path)
    checkpoint.save(1)
    path = tmp_path / "checkpoint-0000000001.params"
    wide = nn.Dense(5, in_units=3)
    wide.initialize()
    before = wide.weight.data().asnumpy()
    with pytest.raises(mx.TigonError) as raised:
        gluon.Checkpoint(tmp_path, net=wide).resume()
    assert str(raised.value) == (
        f"Checkpoint.resume: {path} holds block 'net', trainer 'trainer'; here are block 'net'; "
        "make the Checkpoint of the same parts, or take an empty folder"
    )
    other = gluon.Trainer(wide.collect_params(), "sgd", {"momentum": 0.9})
    mx.random.seed(1)
    nd.random.uniform(shape=(1,))
    stream = keys.state()
    with pytest.raises(mx.TigonError, match=r"'weight' expects .*0001.params, part 'net' has"):
        gluon.Checkpoint(tmp_path, net=wide, trainer=other).resume()
    np.testing.assert_array_equal(wide.weight.data().asnumpy(), before)
    assert keys.state() == stream
    third = gluon.Trainer(net.collect_params(), "adam")
    net.weight.set_data(nd.ones((2, 3)) * 7)
    with pytest.raises(mx.TigonError, match=r"part 'trainer' was saved by the optimizer sgd; this"):
        gluon.Checkpoint(tmp_path, net=net, trainer=third).resume()
    assert net.weight.data().asnumpy().min() == 7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda folder: gluon.Checkpoint(folder),
            "Checkpoint: expected parts by name, such as net=net, trainer=trainer",
        ),
        (
            lambda folder: gluon.Checkpoint(3, net=nn.Dense(1)),
            "Checkpoint: folder: expected the path of a folder; given 3",
        ),
        (
            lambda folder: gluon.Checkpoint(folder, keep=0, net=nn.Dense(1)),
            "Checkpoint: keep: expected how many files stay, at least 1; given 0",
        ),
        (
            lambda folder: gluon.Checkpoint(folder, net=3),
            "Checkpoint: net: expected a block, a trainer, a module, a metric or an object with "
            "state_dict and load_state_dict; given int",
        ),
        (
            lambda folder: gluon.Checkpoint(folder, net=nn.Dense(1)).save(1),
            "Checkpoint.save: parameter 'weight' has no values yet; run one batch first",
        ),
        (
            lambda folder: small(folder)[2].save(-1),
            "Checkpoint.save: step: expected a whole number from 0 on; given -1",
        ),
        (
            lambda folder: small(folder)[2].save(1, best=nd.ones(1)),
            "Checkpoint.save: expected numbers, texts, lists and dictionaries of them; given "
            "{'best': \n[1.]\n<NDArray 1 @cpu(0)>}",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, make: Any, message: str) -> None:
    with pytest.raises(mx.TigonError) as raised:
        make(tmp_path)
    assert str(raised.value) == message
    assert not os.listdir(tmp_path)


def test_arrays_that_are_no_checkpoint_are_told(tmp_path: Path) -> None:
    _, _, checkpoint = small(tmp_path)
    path = tmp_path / "checkpoint-0000000001.params"
    nd.save(str(path), {"weight": nd.ones(1)})
    with pytest.raises(mx.TigonError) as raised:
        checkpoint.resume()
    assert str(raised.value) == (f"Checkpoint.resume: {path} holds arrays that are no checkpoint")


def test_narrow_floats_and_several_contexts_are_kept(tmp_path: Path) -> None:
    net = nn.Dense(2, in_units=3)
    net.cast("bfloat16")
    net.weight.grad_req = "add"
    contexts = [mx.cpu(0), mx.cpu(1)]
    net.initialize(ctx=contexts)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"momentum": 0.9, "multi_precision": True})
    checkpoint = gluon.Checkpoint(tmp_path, net=net, trainer=trainer)

    def step() -> list[Any]:
        with autograd.record():
            losses = [
                net(nd.ones((1, 3), ctx=context, dtype="bfloat16")).sum() for context in contexts
            ]
        autograd.backward(losses)
        trainer.step(1)
        return [net.weight.data(c).asnumpy().tolist() for c in contexts]

    step()
    checkpoint.save(1)
    expected = step()
    checkpoint.resume()
    assert step() == expected


@pytest.mark.parametrize("handle", ["pad", "discard", "roll_over"])
def test_modules_and_their_iterators_go_on(tmp_path: Path, handle: str) -> None:
    hidden = sym.Dropout(sym.FullyConnected(sym.var("data"), num_hidden=4, name="a"), p=0.3)
    symbol = sym.SoftmaxOutput(sym.BatchNorm(hidden, name="norm"), name="softmax")

    def run(folder: Path, until: int, each: int = 1) -> Any:
        points = np.random.RandomState(1).randn(14, 3).astype("float32")
        batches = mx.io.NDArrayIter(points, points[:, 0] > 0, 4, True, handle)
        module = mx.mod.Module(symbol)
        module.bind(batches.provide_data, batches.provide_label)
        module.init_params(mx.init.Xavier())
        schedule = lr_scheduler.FactorScheduler(step=4, factor=0.5)
        fields = {"learning_rate": 0.1, "lr_scheduler": schedule}
        module.init_optimizer(optimizer="adam", optimizer_params=fields)
        checkpoint = gluon.Checkpoint(folder, module=module, data=batches)
        step = (checkpoint.resume() or {"step": 0})["step"]
        while step < until:
            for batch in batches:
                module.forward_backward(batch)
                module.update()
                step += 1
                if step % each == 0:
                    checkpoint.save(step)
                if step == until:
                    break
            else:
                batches.reset()
        arguments, states = module.get_params()
        return {k: v.asnumpy().tolist() for k, v in {**arguments, **states}.items()}

    seed_all(4)
    expected = run(tmp_path / "none", 13, each=99)
    seed_all(4)
    run(tmp_path, 3)
    for until in (6, 11, 13):
        seed_all(99)
        found = run(tmp_path, until)
    assert found == expected


def a_bucketing_module() -> Any:
    def generate(key: int) -> Any:
        layer = sym.FullyConnected(sym.var("data"), num_hidden=2, name="fc", flatten=False)
        return (
            sym.SoftmaxOutput(sym.mean(layer, axis=1), name="softmax"),
            ("data",),
            ("softmax_label",),
        )

    return mx.mod.BucketingModule(generate, 4)


def a_chain_of_modules() -> Any:
    chain = mx.mod.SequentialModule()
    hidden = sym.FullyConnected(sym.var("data"), num_hidden=3, name="a")
    chain.add(mx.mod.Module(hidden, label_names=None))
    layer = sym.FullyConnected(sym.var("data"), num_hidden=2, name="b")
    chain.add(mx.mod.Module(layer, label_names=None), auto_wiring=True)
    chain.add(
        mx.mod.PythonLossModule(grad_func=lambda scores, labels: scores - labels.one_hot(2)),
        take_labels=True,
        auto_wiring=True,
    )
    return chain


@pytest.mark.parametrize("make", [a_bucketing_module, a_chain_of_modules])
def test_modules_of_several_go_on(tmp_path: Path, make: Any) -> None:
    def begun() -> Any:
        module = make()
        module.bind([("data", (3, 4, 2))], [("softmax_label", (3,))])
        module.init_params(mx.init.Xavier())
        schedule = lr_scheduler.FactorScheduler(step=2, factor=0.5)
        fields = {"learning_rate": 0.1, "lr_scheduler": schedule}
        module.init_optimizer(optimizer="adam", optimizer_params=fields)
        return module, gluon.Checkpoint(tmp_path, module=module)

    def step(module: Any, number: int) -> None:
        data = np.random.RandomState(number).randn(3, 4, 2)
        batch = mx.io.DataBatch([nd.array(data)], [nd.array([0, 1, 1])])
        batch.bucket_key = 4
        module.forward_backward(batch)
        module.update()

    module, checkpoint = begun()
    for number in range(3):
        step(module, number)
    checkpoint.save(3)
    other, checkpoint = begun()
    checkpoint.resume()
    for own in (module, other):
        for number in range(3, 6):
            step(own, number)
    expected, found = module.get_params()[0], other.get_params()[0]
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name].asnumpy(), array.asnumpy(), err_msg=name)


def test_a_sum_that_is_no_number_stays_one(tmp_path: Path) -> None:
    lost = metric.Loss()
    lost.update(None, [nd.array([np.nan])])
    checkpoint = gluon.Checkpoint(tmp_path, metric=lost)
    checkpoint.save(1)
    lost.reset()
    checkpoint.resume()
    assert np.isnan(lost.get()[1])


def test_an_iterator_takes_the_state_of_its_like(tmp_path: Path) -> None:
    batches = mx.io.NDArrayIter(np.arange(6), batch_size=2)
    state = batches.state_dict()
    for changed, message in (
        ({"samples": 7}, "samples: the state is of 7, this iterator has 6"),
        ({"batch_size": 3}, "batch_size: the state is of 3, this iterator has 2"),
        ({"key": [1, 2]}, "the state is of shuffle=True; this iterator has shuffle=False"),
    ):
        with pytest.raises(mx.TigonError) as raised:
            batches.load_state_dict({**state, **changed})
        assert str(raised.value) == f"NDArrayIter.load_state_dict: {message}"
    with pytest.raises(mx.TigonError, match=r"expected what state_dict\(\) gives; given 3"):
        batches.load_state_dict(3)


def test_a_checkpoint_collects_parameters_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected = []
    plain = gluon.Block._collect_params_with_prefix

    def counted(block: Any, prefix: str = "") -> Any:
        if block is net:
            collected.append(prefix)
        return plain(block, prefix)

    net = nn.HybridSequential()
    net.add(*[nn.Dense(2, in_units=2) for _ in range(5)])
    net.initialize()
    monkeypatch.setattr(gluon.Block, "_collect_params_with_prefix", counted)
    gluon.Checkpoint(tmp_path, net=net).save(1)
    assert len(collected) == 1
