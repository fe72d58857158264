# ruff: noqa: E501  (whole messages)
"""How starts of several ranks fail, and end: every rank says the same, and none is left waiting."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

import tigon as mx
from tests.distributed.launching import ROOT, run
from tigon import gluon, nd
from tigon.base import TigonError, config
from tigon.base.launch import Launch, launched_by, without_launch
from tigon.distributed import settings
from tigon.distributed.agreement import difference, ranks_text

BEGIN = """
import os, sys
import tigon as mx
from tigon import distributed, nd
rank = distributed.rank()
"""
ENDS = {
    "a rank raises": (
        """
distributed.allreduce(nd.ones((2,))).wait_to_read()
if rank == 1:
    raise ValueError("the data are gone")
distributed.allreduce(nd.ones((2,))).wait_to_read()
""",
        [
            "ValueError: the data are gone",
            "tigon: rank 1 of 2 on",
            "has ended by this ValueError; all ranks are ended",
        ],
    ),
    "a rank ends before the others": (
        """
for step in range(2 - rank):
    distributed.allreduce(nd.ones((2,)))
mx.waitall()
""",
        ["ranks differ: rank 0: allreduce of float32[2] op='sum'; rank 1: the end of the program;"],
    ),
    "a process that is none": (
        """
import subprocess
code = "import tigon as mx; print(mx.distributed.rank(), mx.distributed.size()); mx.distributed.barrier()"
distributed.barrier()
if os.fork() == 0:
    try:
        distributed.barrier()
    except mx.MXNetError as error:
        print("forked:", error)
    sys.exit()
os.wait()
made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
print("started:", made.stdout, made.stderr, made.returncode)
sys.exit(made.returncode)
""",
        [
            "forked: distributed: this process was started by rank 1 of 2 (process ",
            "started: 1 2\n",
            "TigonError: distributed: this process was started by rank 1 of 2 (process ",
            "), whose number it has, and cannot talk to other ranks; call from the rank itself; or, "
            "for a program that is to run alone, leave what the launcher has set out of its "
            "environment (OMPI_COMM_WORLD_*, PMIX_*, PMI_*)",
        ],
    ),
    "versions differ": (
        """
if rank == 1:
    mx.__version__ = "0.0.1"
mx.kv.create("dist_sync")
""",
        ["ranks differ: rank 0: the versions of tigon 0.1.0; rank 1: the versions of tigon 0.0.1;"],
    ),
}


@pytest.mark.parametrize("how", ENDS)
def test_nobody_is_left_waiting(how: str) -> None:
    program, expected = ENDS[how]
    status, output = run(2, BEGIN + program)
    assert status != 0, output
    for part in expected:
        assert part in output, output


def one_of(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """One process, whose environment takes it for one of several."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**config.environment(), "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def alone(program: str, **environment: str) -> str:
    """What it says when it cannot be one."""
    made = one_of(program, **environment)
    assert made.returncode != 0, made.stdout
    return made.stderr


def test_what_is_settled_before_mpi_is_there() -> None:
    """Seeds by the number of the rank; threads by how many ranks share the processors."""
    program = "from tigon import _native; print(*_native.key_state(), _native.num_threads())"
    place = {"PMI_SIZE": "2", "MPI_LOCALNRANKS": "2"}
    first = one_of(program, PMI_RANK="0", MPI_LOCALRANKID="0", **place).stdout.split()
    second = one_of(program, PMI_RANK="1", MPI_LOCALRANKID="1", TIGON_NUM_THREADS="3", **place)
    cores = len(os.sched_getaffinity(0))
    free = cores == os.cpu_count()
    assert first == ["0", "0", str(max(1, cores // 2) if free else cores)]
    seed, counter, threads = second.stdout.split()
    assert (counter, threads) == ("0", "3") and seed != "0"


def test_an_mpi_that_is_missing_or_another_one() -> None:
    create = "import tigon as mx; mx.kv.create('dist_sync')"
    told = alone("import sys; sys.modules['mpi4py'] = None; " + create, PMI_RANK="0", PMI_SIZE="2")
    assert "distributed: several ranks were started, and MPI cannot be loaded (" in told
    assert "pip install 'tigon[mpi]' brings mpi4py and Open MPI" in told
    pytest.importorskip("mpi4py")
    told = alone(create, PMI_RANK="0", PMI_SIZE="2")
    assert "distributed: PMI has started 2 ranks, and the MPI that mpi4py has loaded (" in told
    assert "knows of 1: that is another MPI; start with the mpiexec of the one" in told


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Launch(0, 1, 0, 1, "")),
        (
            {
                "OMPI_COMM_WORLD_RANK": "5",
                "OMPI_COMM_WORLD_SIZE": "8",
                "OMPI_COMM_WORLD_LOCAL_RANK": "1",
                "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
                "PMIX_RANK": "5",
            },
            Launch(5, 8, 1, 4, "Open MPI"),
        ),
        (
            {"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"},
            Launch(1, 4, 1, 2, "PMI"),
        ),
        (
            {
                "PMIX_RANK": "3",
                "SLURM_STEP_NUM_TASKS": "6",
                "SLURM_LOCALID": "1",
                "SLURM_STEP_TASKS_PER_NODE": "2(x3)",
            },
            Launch(3, 6, 1, 2, "PMIx by Slurm"),
        ),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "6", "PMIX_RANK": "x"}, Launch(0, 1, 0, 1, "")),
    ],
)
def test_what_launchers_say(environment: dict[str, str], expected: Launch) -> None:
    assert launched_by(environment) == expected
    assert launched_by(without_launch(environment)) == Launch(0, 1, 0, 1, "")


@pytest.mark.parametrize(
    ("name", "read", "expected"),
    [
        (
            "TIGON_RANK_TIMEOUT",
            settings.timeout,
            "seconds, more than 0; given {}; leave it out for 300",
        ),
        (
            "TIGON_RANKS_PER_HOST",
            settings.ranks_per_host,
            "a whole number, more than 0; given {}; leave it out for all ranks",
        ),
    ],
)
def test_variables_that_are_no_numbers(
    monkeypatch: pytest.MonkeyPatch, name: str, read: Any, expected: str
) -> None:
    monkeypatch.setattr("tigon.distributed.settings._timeout", [])
    for given in ("0", "-2", "two"):
        monkeypatch.setenv(name, given)
        with pytest.raises(TigonError) as caught:
            read()
        assert str(caught.value) == f"{name}: expected {expected.format(repr(given))}"
    monkeypatch.setenv(name, "2")
    assert read() == 2


def test_launches_of_mxnet_are_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMLC_ROLE", "worker")
    monkeypatch.setenv("DMLC_NUM_WORKER", "8")
    with pytest.raises(TigonError) as caught:
        mx.kv.create("dist_sync")
    assert str(caught.value) == (
        "kvstore.create: 'dist_sync': the environment has DMLC_ROLE=worker, for MXNet's scheduler and servers, which tigon does not have: its ranks are started by MPI; run mpiexec -n 8 python train.py instead, without DMLC_ROLE"
    )


def test_asynchronous_stores_say_once_that_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tigon.runtime.counters._WARNED", set())
    with pytest.warns(RuntimeWarning, match="'dist_async' runs synchronously: each push") as said:
        store = mx.kv.create("dist_async")
    assert said[0].filename == __file__
    assert mx.kv.create("dist_async").type == store.type == "dist_async"


SAID = [
    (
        ["push\na (1,)", "push\na (1,)\nb (2,)", "push\na (1,)"],
        "rank 1: push of b (2,); ranks 0 and 2: push of nothing more",
    ),
    (["push\na", "barrier"], "rank 0: push of a; rank 1: barrier"),
    (["push\na", "push\na"], "after a different number of calls, all: push"),
]


@pytest.mark.parametrize(("texts", "said"), SAID)
def test_who_differs(texts: list[str], said: str) -> None:
    assert difference(4, texts) == (
        f"collective 4: ranks differ: {said}; all ranks have to make the same calls in the same order, with arrays of the same names, shapes and dtypes"
    )
    assert ranks_text(range(2, 20)) == "18 ranks from 2 on"


def store() -> Any:
    return mx.kv.create("dist_sync")


REFUSALS = [
    (
        lambda: mx.distributed.allreduce(3),
        "allreduce: expected an NDArray or a Symbol; given int; convert it with nd.array",
    ),
    (
        lambda: mx.distributed.allreduce(nd.ones(2), op="product"),
        "allreduce: op: expected one of sum, mean, max, min; given 'product'",
    ),
    (
        lambda: mx.distributed.allreduce(nd.ones(2, dtype="int32"), op="mean"),
        "allreduce: op='mean' is of floats; given int32; add up, and divide",
    ),
    (
        lambda: mx.distributed.reduce_scatter(nd.ones(2), op="max"),
        "reduce_scatter: op: expected sum or mean; given 'max'",
    ),
    (
        lambda: mx.distributed.reduce_scatter(nd.ones(2, dtype="int32"), op="mean"),
        "reduce_scatter: op='mean' is of floats; given int32; add up, and divide",
    ),
    (
        lambda: mx.distributed.broadcast(nd.ones(2), root=1),
        "broadcast: root: expected a rank from 0 to 0; given 1",
    ),
    (
        lambda: mx.distributed.alltoall(nd.array(1.0)),
        "alltoall: expected at least one axis; given a 0-d array",
    ),
    (
        lambda: gluon.contrib.nn.SplitDense(4, 3, split="up"),
        "SplitDense: split: expected 'columns' or 'rows'; given 'up'",
    ),
    (
        lambda: gluon.contrib.nn.SplitDense(0, 3),
        "SplitDense: units: expected a multiple of the number of ranks, 1; given 0",
    ),
    (
        lambda: gluon.contrib.nn.SyncBatchNorm(num_devices=3),
        "SyncBatchNorm: num_devices: expected None or the number of ranks, 1; given 3; statistics of several devices of one rank are not summed: give each batch to one",
    ),
    (
        lambda: gluon.data.ShardedBatchSampler(3, 1, ranks=4, rank=0),
        "ShardedBatchSampler: length: expected a sample for each of 4 ranks at least; given 3; start fewer ranks",
    ),
    (
        lambda: gluon.data.ShardedBatchSampler(3, 1, ranks=2, rank=2),
        "ShardedBatchSampler: rank: expected a number from 0 to 1; given 2",
    ),
    (
        lambda: store().set_gradient_compression({"type": "float16", "threshold": 1}),
        "set_gradient_compression: expected type alone; given threshold, too",
    ),
]


class Sums(gluon.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.body = gluon.nn.Dense(2, in_units=3)

    def forward(self, x: Any) -> Any:
        return mx.distributed.allreduce(self.body(x))


def test_budgets_are_of_one_program() -> None:
    net = Sums()
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "sgd")
    step = gluon.TrainStep(net, gluon.loss.L2Loss(), trainer, recompute="1 GB")
    with pytest.raises(TigonError) as caught:
        step(nd.ones((4, 3)), nd.ones((4, 2)))
    assert str(caught.value) == (
        f"{step.name}: recompute looks at one program, and this step is cut at its collectives; leave recompute out, or the collectives"
    )


def test_symbols_with_collectives() -> None:
    total = mx.distributed.allreduce(mx.sym.var("x") * 2)
    executor = total.bind(mx.cpu(), {"x": nd.ones(3)}, args_grad={"x": nd.zeros(3)})
    assert executor.forward(is_train=True)[0].asnumpy().tolist() == [2, 2, 2]
    executor.backward(nd.ones(3))
    assert executor.grad_arrays[0].asnumpy().tolist() == [2, 2, 2]
    with pytest.raises(TigonError) as caught:
        total.tojson()
    assert str(caught.value).endswith(
        "a file of symbols holds nothing that waits for other ranks; save the network without its collectives, or its parameters"
    )


@pytest.mark.parametrize(("call", "message"), REFUSALS, ids=[text[:50] for _, text in REFUSALS])
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(TigonError) as caught:
        call()
    assert str(caught.value) == message
