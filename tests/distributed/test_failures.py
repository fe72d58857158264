"""Ranks that are killed, stop, or do not come; checkpoints of several."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.distributed.launching import run
from tests.distributed.torture import PROGRAM, check, lived_through, told
from tigon import gluon
from tigon.base import TigonError
from tigon.gluon import shards

QUIET = {"TIGON_NOTICES": "0"}


@pytest.mark.parametrize(
    ("tolerant", "keep", "ranks", "kills"),
    [(True, "memory", 5, 4), (True, "disk", 3, 2), (False, "disk", 3, 2)],
    ids=["from memory", "from files", "started again"],
)
def test_killed_ranks_cost_no_step(tolerant: bool, keep: str, ranks: int, kills: int) -> None:
    outputs = lived_through(11, tolerant, keep, ranks, kills)
    said = "\n".join(outputs)
    source = "memory" if keep == "memory" else r"\S+checkpoint-\d{10}\.params"
    assert len(re.findall(rf"goes on after step \d+ with \d ranks?, from {source}", said)) == kills
    if tolerant:
        noticed = (
            r"rank \d on \S+ \(of 5 ranks\) has ended without a word .*: noticed by rank \d in \S"
        )
        assert keep == "disk" or re.search(noticed, said)
    else:
        assert "was started without the fault tolerance that on_failure='shrink' needs" in said


def test_a_stopped_rank_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    limit = {**QUIET, "TIGON_RANK_TIMEOUT": "3"}
    status, output = run(3, PROGRAM, str(tmp_path), "memory", "12", "1:5:0:19", **limit)
    assert status != 0
    said = re.findall(r"^tigon: rank .* has waited .*", output, re.MULTILINE)
    assert len(said) == 1, output
    assert re.fullmatch(
        r"tigon: rank 0 of 3 on \S+ has waited 3\.\d s in \S.*, step \d+, called at "
        r"\S+failing\.py:\d+ for rank 1 on \S+, not arrived; "
        rf"{tmp_path}/checkpoint-\d{{10}}\.params was written; all ranks are ended",
        said[0],
    ), said
    _, again = run(3, PROGRAM, str(tmp_path), "disk", "12", **QUIET)
    (went_on,) = re.findall(r"goes on after step (\d+) with 3 ranks, from \S+params\n", again)
    done, rest = list(told(output)), list(told(again))
    assert int(went_on) >= max(one["step"] for one in done)
    check([done, rest], 12, 1)
    _, straight = run(3, PROGRAM, str(tmp_path / "straight"), "memory", "12", **QUIET)
    expected, found = (
        [one["ended"] for one in told(text) if "ended" in one] for text in (straight, again)
    )
    assert found == expected  # weights and states to the bit


NEVER = {
    "one does not come": (
        "barrier(timeout=1)",
        r"rank 0 of 2 on \S+ has waited 1\.\d s in barrier, called at \S+ for rank 1 on \S+, "
        r"not arrived; all ranks are ended",
    ),
    "one does not begin": (
        "barrier()",
        r"rank 0 of 2 has waited 2 s in the first use of other ranks, called at \S+ inside of "
        r"MPI, for ranks that do not come there: all that were started have to; all ranks",
    ),
}


@pytest.mark.parametrize("how", NEVER)
def test_who_does_not_come_is_named(how: str) -> None:
    call, message = NEVER[how]
    begin = "" if how == "one does not begin" else "distributed.barrier()\n"
    program = (
        f"import time\nfrom tigon import distributed\n{begin}"
        f"distributed.{call} if distributed.rank() == 0 else time.sleep(60)\n"
    )
    status, output = run(2, program, TIGON_RANK_TIMEOUT="2")
    assert status != 0
    assert re.search(message, output), output


LOSES_ONE = """
import os, sys
from tigon import distributed, gluon, nd
from tigon.base import TigonError

class Gathers(gluon.HybridBlock):
    def forward(self, x):
        return distributed.allgather(x * 2)

first = distributed.rank()
block, net = Gathers(), gluon.nn.Dense(1, in_units=2)
block.hybridize()
net.initialize()
checkpoint = gluon.Checkpoint(sys.argv[1], net=net)

def train(state):
    x = nd.ones((1,)) * (first + 1)
    if state:
        try:
            block(x).wait_to_read()
        except TigonError as error:
            print("refused:", error)
        block.hybridize()
    print("gathered", block(x).asnumpy().tolist(), distributed.allgather(x).asnumpy().tolist())
    checkpoint.remember(1)
    if not state:
        if first == 2:
            os.kill(os.getpid(), 9)
        distributed.barrier()
        distributed.barrier()

distributed.run(train, checkpoint, on_failure="shrink")
"""


def test_graphs_of_the_ranks_that_there_were_are_refused(tmp_path: Path) -> None:
    _, output = run(3, LOSES_ONE, str(tmp_path), options=["--with-ft", "ulfm"])
    said = re.findall(r"refused: .*", output)
    assert len(said) == 2, output
    for one in said:
        assert re.search(
            r"allgather: its graph was made for another number of ranks than 2: its result has "
            r"shape \(3,\) there, and \(2,\) now; make the graph anew",
            one,
        ), one
    assert output.count("gathered [2.0, 4.0, 6.0] [1.0, 2.0, 3.0]") >= 2, output
    assert output.count("gathered [2.0, 4.0] [1.0, 2.0]") == 2, output


# ---------------------------------------------------------------------- batches and states


@pytest.mark.parametrize("ranks", [1, 2, 4, 12])
def test_other_ranks_go_on_with_the_samples_that_nobody_has_seen(ranks: int) -> None:
    length, before = 23, 3

    def loaders(count: int) -> list[Any]:
        made = []
        for rank in range(count):
            sampler = gluon.data.ShardedBatchSampler(length, 2, seed=4, ranks=count, rank=rank)
            data = np.arange(length, dtype="float32")
            made.append(gluon.data.DataLoader(data, batch_sampler=sampler))
        return made

    states = []
    for loader in loaders(before):
        epoch = iter(loader)
        next(epoch), next(epoch)
        states.append(json.loads(json.dumps(loader.state_dict())))
    order = gluon.data.ShardedBatchSampler(length, 2, seed=4, ranks=1, rank=0).order(0)
    left, following = [], []
    for rank, loader in enumerate(loaders(ranks)):
        loader.load_state_dict(states[rank if rank < before else 0])
        left += [int(n) for batch in loader for n in batch.asnumpy()]
        following += [int(n) for batch in loader for n in batch.asnumpy()]
    both = sorted(left + following)
    assert sorted(left) == (sorted(order[12:]) if length - 12 >= ranks else [])
    assert both == sorted([*order[12:], *range(length)])


def test_layers_that_one_process_has_whole_are_divided_among_others(tmp_path: Path) -> None:
    net = gluon.contrib.nn.SplitDense(4, in_units=3)
    net.weight.grad_req = "add"  # and keeps its gradients
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "adam", kvstore="dist_sync")
    with mx.autograd.record():
        loss = net(mx.nd.ones((2, 3))).sum()
    loss.backward()
    trainer.step(2)
    gluon.Checkpoint(tmp_path, net=net, trainer=trainer).save(1)
    contents, arrays = shards.read(str(tmp_path), 1)
    for rank in range(2):
        own = shards.of_rank(arrays, contents, rank, 2, lambda key: key.partition("/")[0])
        rows = slice(2 * rank, 2 * rank + 2)
        for name in (
            *("net/value/weight", "net/value/bias", "net/grad/weight/0"),
            *("trainer/states/state:0:0", "trainer/states/state:1:0"),
        ):
            np.testing.assert_array_equal(own[name], arrays[name][rows])
    trainer.save_states(tmp_path / "states")  # of one rank they are whole
    before = trainer._states()
    trainer.load_states(tmp_path / "states")
    for name, array in trainer._states().items():
        np.testing.assert_array_equal(array.asnumpy(), before[name].asnumpy())


SNAPSHOT = {"step": 3, "ranks": 4, "has_beside": True, "is_divided": True, "is_cut": False}


@pytest.mark.parametrize(
    ("held", "step"),
    [
        ({0: [0, 3], 1: [1, 3], 2: [3, 3]}, 3),  # (rank then, step): 1 keeps 2's
        ({0: [0, 3], 1: [1, 4], 2: [3, 3]}, None),  # not the same step
        ({0: [0, 3], 1: [3, 3]}, None),  # nobody has 2's
    ],
)
def test_what_is_left_of_several_ranks(held: dict[int, list[int]], step: int | None) -> None:
    found = shards.newest(
        {rank: [{**SNAPSHOT, "rank": then, "step": at}] for rank, (then, at) in held.items()}
    )
    assert (found and found[0]["step"]) == step


def test_what_one_process_saves_as_rank_of_several_is_shared_out(tmp_path: Path) -> None:
    sizes = {"a": 9, "b": 4, "c": 3, "d": 2}
    whole = {name: np.ones(size, np.float32) for name, size in sizes.items()}
    contents = {"version": 2, "step": 1, "ranks": 2, "progress": {}, "parts": {}, "cut": {"e": 0}}
    written = []
    for rank in range(2):
        own = {"e": np.array([rank, rank + 2.0]), "random/tigon": np.array([rank])}
        snapshot = shards.Snapshot(contents, rank, whole, {f"part{rank}": own["e"]}, own, b"")
        written.append(shards.write_shard(str(tmp_path), snapshot, [0, 1]))
        assert max(snapshot.shard([0, 1])[name].size for name in "ab"[rank]) in (9, 4)
    shards.write_head(str(tmp_path), contents, written, keep=1)
    found, arrays = shards.read(str(tmp_path), 1)
    assert found["shards"] == written
    assert set(arrays) >= {"a", "b", "c", "d", "part0", "part1", "rank/0/e", "rank/1/e"}
    for ranks, expected in ((2, [[0, 2], [1, 3]]), (1, [[0, 2, 1, 3]]), (4, [[0], [2], [1], [3]])):
        for rank in range(ranks):
            own = shards.of_rank(arrays, found, rank, ranks, lambda key: key.partition("/")[0])
            assert own["e"].tolist() == expected[rank]
            assert ("random/tigon" in own) == (rank < 2)
    name = written[1]["name"]
    for damage, told_ in (
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b"part1", b"part2")),
            "is damaged",
        ),
        (lambda path: shutil.copy(tmp_path / written[0]["name"], path), "is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "is damaged"),
        (lambda path: path.unlink(), "is missing"),
    ):
        damage(tmp_path / name)
        with pytest.raises(TigonError, match=f"Checkpoint.resume: .*{name} {told_}"):
            shards.read(str(tmp_path), 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: mx.distributed.set_timeout("x"),
            "set_timeout: expected seconds, more than 0; given 'x'",
        ),
        (
            lambda: mx.distributed.run(None, None, on_failure="retry"),
            "distributed.run: on_failure: expected 'end' or 'shrink'; given 'retry'",
        ),
        (
            lambda: mx.distributed.run(None, None, timeout=-1),
            "set_timeout: expected seconds, more than 0; given -1",
        ),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(TigonError) as caught:
        call()
    assert str(caught.value) == message
