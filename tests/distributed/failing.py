"""Trains, and ends itself where it is told: FOLDER KEEP STEPS [RANK:STEP:SECONDS:SIGNAL]...

KEEP is `memory` or `disk`. What has been done is told by lines of JSON."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

import numpy as np

import tigon as mx
from tigon import autograd, distributed, gluon, nd

SAMPLES = 50
FIRST = distributed.rank()


def main(folder: str, keep: str, steps: int, ends: list[str]) -> None:
    mx.random.seed(1)
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(160, activation="tanh"), gluon.nn.BatchNorm(), gluon.nn.Dense(3))
    net.initialize(mx.init.Xavier())
    net(nd.zeros((2, 8)))
    trainer = gluon.Trainer(net.collect_params(), "adam", kvstore="dist_sync")
    points = np.random.default_rng(0).standard_normal((SAMPLES, 8)).astype("float32")
    data = gluon.data.ArrayDataset(points, np.arange(SAMPLES, dtype="float32"))
    sampler = gluon.data.ShardedBatchSampler(SAMPLES, 4)
    loader = gluon.data.DataLoader(data, batch_sampler=sampler)
    checkpoint = gluon.Checkpoint(folder, net=net, trainer=trainer, data=loader)
    loss_of = gluon.loss.L2Loss()

    def train(state: Any) -> None:
        step, epoch = (state["step"], state["epoch"]) if state else (0, 0)
        while step < steps:
            for (x, y), size in zip(loader, sampler.sizes, strict=True):
                end_if_told(step)
                with autograd.record():
                    loss = loss_of(net(x), y.expand_dims(1) * nd.ones((1, 3)))
                loss.backward()
                trainer.step(size)
                step += 1
                (checkpoint.remember if keep == "memory" else checkpoint.save)(step, epoch=epoch)
                tell(step=step, epoch=epoch, samples=y.asnumpy().astype(int).tolist())
                if step == steps:
                    return
            epoch += 1

    def end_if_told(step: int) -> None:
        for rank, at, seconds, signal in (end.split(":") for end in ends):
            if (int(rank), int(at)) == (FIRST, step):
                threading.Timer(float(seconds), os.kill, (os.getpid(), int(signal))).start()

    distributed.run(train, checkpoint, on_failure="shrink")
    weights = net[0].weight.data().asnumpy().tobytes().hex()
    moments = trainer._updater.to_arrays()
    tell(ended=[weights, {name: array.asnumpy().tolist() for name, array in moments.items()}])


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps({"first": FIRST, **what}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
