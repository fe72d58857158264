"""One process of a contestant of `ranks.py`: python ranks_child.py SOCKET.

It tells by the socket which rank it is, is told what to work on, and does that as often as it is
asked to. Messages are JSON; between them it sleeps. The work, by `kind`:

    step            a training step of tigon, of as many ranks as were started
    allreduce       numbers that tigon adds up
    mpi             numbers that MPI adds up, in one call of mpi4py's
    torch step      a training step of PyTorch's DistributedDataParallel over gloo
    torch allreduce numbers that gloo adds up
    loop            a training step layer by layer, on a network that is emulated by waiting
    parts           how long the parts of a step take, once
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import numpy as np

Work = Callable[[], Any]
"""Does it once, and waits for it; gives a number or an array to compare."""

Question = dict[str, Any]

STEPS = 3
"""Of training whose losses are compared: the second and third follow from gradients."""


def part(whole: np.ndarray, rank: int, ranks: int) -> np.ndarray:
    """The samples of a rank."""
    return np.split(whole, ranks)[rank]


def numbers(count: int, rank: int) -> np.ndarray:
    return np.random.default_rng(rank).normal(size=count).astype(np.float32)


def arrays(folder: str) -> dict[str, np.ndarray]:
    return {path.stem: np.load(path) for path in Path(folder).glob("*.npy")}


def tigon_step(question: Question, rank: int, ranks: int) -> Work:
    import models

    from tigon import gluon, nd

    given = arrays(question["data"])
    net = models.filled(models.MODELS[question["model"]], given["data"].shape)
    x, y = (nd.array(part(given[name], rank, ranks)) for name in ("data", "labels"))
    fields = {"learning_rate": question["rate"], "momentum": question["momentum"]}
    store = "dist_sync" if ranks > 1 else None
    trainer = gluon.Trainer(net.collect_params(), "sgd", fields, kvstore=store)
    step = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)

    def run() -> Any:
        losses = step(x, y)
        nd.waitall()  # for the weights, too
        return losses.asnumpy().mean()

    return run


def tigon_allreduce(question: Question, rank: int, ranks: int) -> Work:
    from tigon import distributed, nd

    x = nd.array(numbers(question["count"], rank))

    def run() -> Any:
        total = distributed.allreduce(x)
        total.wait_to_read()
        return total

    return run


def mpi_allreduce(question: Question, rank: int, ranks: int) -> Work:
    from mpi4py import MPI

    x = numbers(question["count"], rank)
    total = np.empty_like(x)

    def run() -> Any:
        MPI.COMM_WORLD.Allreduce(x, total)
        return total

    return run


def tigon_loop(question: Question, rank: int, ranks: int) -> Work:
    from tigon import autograd, distributed, gluon, nd

    size, batch = question["size"], question["batch"]
    net = gluon.nn.Sequential()  # not hybridized: gradients come out layer by layer
    for _ in range(question["layers"]):
        net.add(gluon.nn.Dense(size, in_units=size))
    net.initialize()
    fields = {"learning_rate": 1e-6}
    store = "dist_sync" if question["together"] else None
    own = {"kvstore": store, "update_on_kvstore": False if store else None}
    trainer = gluon.Trainer(net.collect_params(), "sgd", fields, **own)
    x = nd.array(numbers(batch * size, rank).reshape(batch, size))
    distributed.barrier()
    if question["network"]:
        emulate(*question["network"])

    def run() -> Any:
        with autograd.record():
            loss = net(x).sum()
        loss.backward()
        if not question["overlapped"]:
            nd.waitall()
        trainer.step(batch * ranks)
        nd.waitall()

    return run


def emulate(latency: float, bandwidth: float) -> None:
    """Let what ranks send for sums take as long as on such a network, without a processor."""
    from tigon.distributed.channel import Channel
    from tigon.distributed.groups import Messages

    sent = [0.0]
    taking, passing, finish = Messages._taking, Messages._passing, Channel.finish

    def counted(start: Any, size: float) -> Any:
        def begin() -> Any:
            sent[0] += size
            return start()

        return begin

    def slow_taking(self: Any, given: Any, received: np.ndarray) -> Any:
        others = self.size - 1
        return counted(taking(self, given, received), received.nbytes * others / self.size)

    def slow_passing(self: Any, flat: np.ndarray, counts: Any) -> Any:
        others = self.size - 1
        return counted(passing(self, flat, counts), flat.nbytes * others / self.size)

    def slow_finish(self: Any, requests: Any) -> None:
        finish(self, requests)
        if sent[0]:
            time.sleep(latency + sent[0] / bandwidth)
            sent[0] = 0.0

    Messages._taking, Messages._passing = slow_taking, slow_passing  # type: ignore[method-assign]
    Channel.finish = slow_finish  # type: ignore[method-assign]


def parts_of_a_step(question: Question, rank: int, ranks: int) -> Work:
    import models

    from tigon import autograd, gluon, nd

    shape = tuple(question["shape"])
    net = models.filled(models.MODELS["ResNet-18"], shape)
    net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"momentum": 0.9})
    x = nd.array(numbers(int(np.prod(shape)), 0).reshape(shape))

    def step() -> tuple[float, float]:
        began = time.perf_counter()
        with autograd.record():
            loss = net(x).sum()
        loss.backward()
        nd.waitall()
        between = time.perf_counter()
        trainer.step(shape[0])
        nd.waitall()
        return between - began, time.perf_counter() - between

    step()
    # The quickest: the simulation is of processors that do nothing else.
    return lambda: np.min([step() for _ in range(question["rounds"])], axis=0)


def torch_begins(question: Question) -> Any:
    """PyTorch with one thread on a processor of its own, as MPI's launcher binds ranks."""
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) >= ranks:
        os.sched_setaffinity(0, [cores[rank]])
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    meeting = f"file://{question['meeting']}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=ranks)
    return torch


def torch_step(question: Question, rank: int, ranks: int) -> Work:
    torch = torch_begins(question)
    from description import from_text
    from peers import torch_networks, torch_side
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    given = arrays(question["data"])
    x, y = (part(given.pop(name), rank, ranks) for name in ("data", "labels"))
    described, layout = from_text(question["description"]), torch.contiguous_format
    if question["variant"] == "its encoder":
        model = torch_networks.Encoder(described, given, question["heads"])
    else:
        if question["variant"] == "channels last":
            layout = torch.channels_last
        model = torch_networks.Network(described, given, layout)
    whole = DistributedDataParallel(model, gradient_as_bucket_view=True)
    step = torch_side.step(whole, x, y, question["rate"], question["momentum"], layout)
    return lambda: step().numpy()


def torch_allreduce(question: Question, rank: int, ranks: int) -> Work:
    torch = torch_begins(question)
    x = torch.from_numpy(numbers(question["count"], rank))
    total = torch.empty_like(x)

    def run() -> Any:
        total.copy_(x)  # gloo adds up in place
        torch.distributed.all_reduce(total)
        return total.numpy()

    return run


KINDS: dict[str, Callable[[Question, int, int], Work]] = {
    "step": tigon_step,
    "allreduce": tigon_allreduce,
    "mpi": mpi_allreduce,
    "torch step": torch_step,
    "torch allreduce": torch_allreduce,
    "loop": tigon_loop,
    "parts": parts_of_a_step,
}


def place() -> tuple[int, int]:
    """Rank and number of ranks, as launchers say; MPI is not asked."""
    for rank, ranks in (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("RANK", "WORLD_SIZE")):
        if rank in os.environ:
            return int(os.environ[rank]), int(os.environ[ranks])
    return 0, 1


def compared(kind: str, run: Work) -> list[float]:
    """What a rank has computed: losses, or some of the numbers."""
    if kind == "loop":
        return []
    if kind == "parts":
        return [*map(float, run())]
    if kind.endswith("step"):
        return [float(np.mean(run())) for _ in range(STEPS)]
    total = run()
    total = total if isinstance(total, np.ndarray) else total.asnumpy()
    return [*map(float, total[:: max(1, len(total) // 1000)]), float(total.mean(dtype=np.float64))]


def main() -> None:
    rank, ranks = place()
    with Client(sys.argv[1]) as parent:

        def say(what: Any) -> None:
            parent.send_bytes(json.dumps(what).encode())

        say([rank, os.getpid()])
        question = json.loads(parent.recv_bytes())
        run = KINDS[question["kind"]](question, rank, ranks)
        say(compared(question["kind"], run))
        while json.loads(parent.recv_bytes()) == "run":
            run()
            say("done")
        if "torch" in sys.modules:
            sys.modules["torch"].distributed.destroy_process_group()


if __name__ == "__main__":
    main()
