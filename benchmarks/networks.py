"""Whole networks beside all peers that are installed: inference and training.

    make bench-networks                                          every row
    make bench-networks NETWORKS="--only encoder --rounds 3"     the rows whose name has a word
    make bench-networks NETWORKS="--write docs/benchmarks.md"    into that page's section, too
    make bench-networks NETWORKS="--mxnet mxnet/bin/python"      MXNet beside them (mxnet_side.py)
    make bench-networks NETWORKS="--json out.json"               the figures as JSON, too

All contestants build the network from one description with the same weights; their results are
compared first. Turns are those of `make bench`. The floor of a row is its multiply-adds (products
and convolutions; in training also both of their gradients, without that of the data) at the peak,
the greatest that was measured beside any row. Errors are the greatest distances from float64, as
shares of the greatest number: in training those of the first three losses.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import machine
import models
import numpy as np
import pages
import peers
import turns
from description import Description
from peers import mxnet_side
from processors import confine
from workloads import LOOP, MOMENTUM, RATE, Row, tigon_steps

from tigon import _native, nd
from tigon.base.progress import Progress

torch_side, jax_side, onnx_side, openvino_side, mnn_side = map(
    peers.side, ("torch", "jax", "onnxruntime", "openvino", "MNN")
)
if torch_side is not None:
    import torch
    from peers import torch_networks
if jax_side is not None:
    from peers import jax_networks
if any(map(peers.installed, peers.READ_ONNX)):
    from peers import onnx_networks

STEPS = 3
"""Of training whose losses are compared: the second and third follow from gradients."""

TOLERANCE = 1e-3
COLUMNS = {
    "tigon": "tigon",
    LOOP: "record/backward/step",
    "tigon imperative": "imperative",
    "torch": "torch",
    "torch, channels last": "channels last",
    "torch, frozen": "frozen",
    "torch, its encoder": "its encoder",
    "jax": "jax",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "mnn": "mnn",
    "mxnet": "mxnet",
    "mxnet, fused": "fused",
}
"""Contestants, and the heads of their columns; those of variants stand behind their framework's."""


@dataclass(frozen=True)
class Goal:
    """At most so many times the best peer, or so many times the floor where that is given; and
    `even`: hybridized at most as long as imperatively."""

    ratio: float
    floor: float | None = None
    even: bool = False

    def text(self) -> str:
        parts = f"<= {self.ratio:g}"
        if self.floor is not None:
            parts += f", or <= {self.floor:g} x floor"
        return parts + ("; <= imperative" if self.even else "")

    def met(self, ratio: float | None, distance: float, to_imperative: float) -> bool:
        near = self.floor is not None and distance <= self.floor
        reached = near or (ratio is not None and ratio <= self.ratio)
        return reached and not (self.even and to_imperative > 1)


@dataclass(frozen=True)
class Work:
    """A row: a network of `models.MODELS`, the shape of its data, and the goal."""

    name: str
    model: str
    shape: tuple[int, ...]
    goal: Goal | None = None
    trains: bool = False
    labels: int = 10

    @property
    def make(self) -> Callable[[], Any]:
        return models.MODELS[self.model]

    @property
    def images(self) -> bool:
        return len(self.shape) == 4


IMAGE, SEQUENCES = (3, 224, 224), (4, 128, models.SIZE)
WORKS = (
    Work("ResNet-18, batch 1", "ResNet-18", (1, *IMAGE), Goal(1.0, 1.15)),
    Work("ResNet-18, batch 8", "ResNet-18", (8, *IMAGE), Goal(1.0, 1.12)),
    Work("ResNet-50, batch 1", "ResNet-50", (1, *IMAGE)),
    Work("MobileNetV2, batch 1", "MobileNetV2", (1, *IMAGE)),
    Work("encoder, 4 x 128", "encoder", SEQUENCES, Goal(0.95, 1.15)),
    Work(
        "training step ResNet-18, batch 8",
        "ResNet-18",
        (8, *IMAGE),
        Goal(0.9),
        trains=True,
        labels=1000,
    ),
    Work("training step LeNet, batch 64", "LeNet", (64, 1, 28, 28), Goal(0.45), trains=True),
    Work(
        "training step encoder, 4 x 128",
        "encoder, classes",
        SEQUENCES,
        Goal(0.48, 1.18, even=True),
        trains=True,
    ),
)


@dataclass
class Contest:
    """Contestants of one work, what they have computed, and how far that is from float64."""

    work: Work
    description: Description
    exact: np.ndarray
    row: Row = field(init=False)
    errors: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.row = Row(self.work.name, TOLERANCE)

    def enter(self, name: str, run: Callable[[], Any], found: Any, **options: Any) -> None:
        made = np.asarray(found, np.float64)
        self.errors[name] = turns.distance(made, self.exact)
        scaled = made.reshape(self.exact.shape) / abs(self.exact).max()
        self.row.enter(name, run, lambda: scaled, **options)

    def enter_step(self, name: str, step: Callable[[], Any]) -> None:
        self.enter(name, step, [np.mean(_number(step())) for _ in range(STEPS)])


def _number(loss: Any) -> np.ndarray:
    return loss.asnumpy() if isinstance(loss, nd.NDArray) else np.asarray(loss)


def contest(work: Work, start: Callable[..., Any] | None) -> Contest:
    """`start` starts MXNet's process, where that was asked for."""
    random = np.random.RandomState(0)
    data = random.randn(*work.shape).astype(np.float32)
    net = models.filled(work.make, work.shape)
    description, values = models.describe(net, work.shape), models.values(net)
    if work.trains:
        places = description.nodes[-1].shape[:-1]
        labels = random.randint(0, work.labels, places)
        given = data, labels, RATE, MOMENTUM
        exact = models.exact_losses(work.make, *given, STEPS)
        made = Contest(work, description, exact)
        _training(made, values, *given)
    else:
        exact = models.in_double(work.make, work.shape)(nd.array(data, dtype="float64")).asnumpy()
        made = Contest(work, description, exact)
        _inference(made, net, values, data)
    if start is not None:
        _with_mxnet(made, start, values, data, labels if work.trains else None)
    return made


def _inference(made: Contest, net: Any, values: dict[str, np.ndarray], data: np.ndarray) -> None:
    work, x = made.work, nd.array(data)
    other = models.filled(work.make, work.shape)
    net.hybridize()
    for name, block in (("tigon", net), ("tigon imperative", other)):
        run = partial(lambda block: block(x).wait_to_read(), block)
        made.enter(name, run, block(x).asnumpy())
    if torch_side is not None:
        _torch_inference(made, values, data)
    if jax_side is not None:
        call = jax_networks.network(made.description, values, data)
        made.enter("jax", call, call())
    if not any(map(peers.installed, peers.READ_ONNX)):
        return
    model = onnx_networks.model(made.description, values)
    if onnx_side is not None:
        run, result = onnx_side.bound(model, made.exact.shape, data)
        made.enter("onnxruntime", run, result())
    if openvino_side is not None:
        run, result = openvino_side.call(model, data)
        made.enter("openvino", run, result())
    if mnn_side is not None:
        run, result = mnn_side.call(model, data)
        made.enter("mnn", run, result())


def _torch_inference(made: Contest, values: dict[str, np.ndarray], data: np.ndarray) -> None:
    def enter(name: str, model: Any, x: Any) -> None:
        with torch.inference_mode():
            found = model(x).numpy()
        made.enter(name, partial(model, x), found, within=torch.inference_mode)

    x = torch.from_numpy(data)
    plain = torch_networks.Network(made.description, values).eval()
    enter("torch", plain, x)
    enter("torch, frozen", torch_side.frozen(plain, data), x)
    if made.work.images:
        layout = torch.channels_last
        last = torch_networks.Network(made.description, values, layout).eval()
        enter("torch, channels last", last, x.contiguous(memory_format=layout))
    else:
        own = torch_networks.Encoder(made.description, values, models.HEADS).eval()
        enter("torch, its encoder", own, x)


def _training(
    made: Contest,
    values: dict[str, np.ndarray],
    data: np.ndarray,
    labels: np.ndarray,
    rate: float,
    momentum: float,
) -> None:
    work, given = made.work, (data, labels, rate, momentum)
    titles = {"TrainStep": "tigon", "loop": LOOP, "imperative": "tigon imperative"}
    steps = tigon_steps(partial(models.filled, work.make, work.shape), data, labels)
    for how, step in steps.items():
        made.enter_step(titles[how], step)
    if torch_side is not None:
        model = torch_networks.Network(made.description, values)
        made.enter_step("torch", torch_side.step(model, *given))
        if work.images:
            layout = torch.channels_last
            model = torch_networks.Network(made.description, values, layout)
            made.enter_step("torch, channels last", torch_side.step(model, *given, layout))
        else:
            own = torch_networks.Encoder(made.description, values, models.HEADS)
            made.enter_step("torch, its encoder", torch_side.step(own, *given))
    if jax_side is not None:
        made.enter_step("jax", jax_networks.step(made.description, values, *given))


def _with_mxnet(
    made: Contest,
    start: Callable[..., Any],
    values: dict[str, np.ndarray],
    data: np.ndarray,
    labels: np.ndarray | None,
) -> None:
    if labels is None:
        for name, fused in (("mxnet", False), ("mxnet, fused", True)):
            worker = start(made.description, values, data, subgraphs=fused)
            made.enter(name, worker.call, worker.result())
        return
    options = {"labels": labels, "rate": RATE, "momentum": MOMENTUM}
    worker = start(made.description, values, data, **options)
    losses = [worker.result() for _ in range(STEPS)]
    made.enter("mxnet", worker.call, np.array(losses).mean(axis=tuple(range(1, np.ndim(losses)))))


# ------------------------------------------------------------------------------ figures


@dataclass(frozen=True, kw_only=True)
class Found(turns.Beside):
    """One row as it was measured: operations, and the peak in GFLOP/s, the greatest of the run. One
    that was measured beside a busy processor would flatter."""

    work: Work
    errors: dict[str, float]
    operations: float
    peak: float

    @property
    def floor(self) -> float:
        """Microseconds."""
        return self.operations / self.peak / 1e3

    @property
    def distance(self) -> float:
        return self.times["tigon"].median / self.floor

    def verdict(self) -> str:
        goal = self.work.goal
        if goal is None:
            return ""
        to_imperative = self.times["tigon"].over(self.times["tigon imperative"])
        return "met" if goal.met(self.ratio, self.distance, to_imperative) else "**missed**"

    def json(self) -> dict[str, Any]:
        return {
            "name": self.work.name,
            **self.figures(),
            "floor": self.floor,
            "distance": self.distance,
            "goal": self.work.goal and self.work.goal.text(),
            "met": self.verdict() == "met" if self.work.goal else None,
            "errors": self.errors,
        }


def table(rows: list[Found]) -> list[str]:
    """In milliseconds."""
    there = [name for name in COLUMNS if any(name in row.times for row in rows)]
    ends = (
        "tigon : best other",
        "quickest turns",
        "tigon : floor",
        "error (best other's)",
        "goal",
        "",
    )
    titles = ["milliseconds per call: median (mean)", *(COLUMNS[name] for name in there), *ends]
    lines = pages.head(titles)
    for row in rows:
        best, ratio = row.best_other, row.ratio
        error = f"{row.errors['tigon']:.0e}"
        goal = row.work.goal
        cells = [
            row.work.name,
            *(pages.cell(row.times.get(name), 1e3) for name in there),
            "-" if ratio is None else f"{ratio:.2f} {best}",
            "-" if ratio is None else f"{turns.quickest_ratio(row.times):.2f}",
            f"{row.distance:.2f} x {pages.number(row.floor / 1e3)}",
            error if best is None else f"{error} ({row.errors[best]:.0e})",
            goal.text() if goal else "-",
            row.verdict(),
        ]
        lines.append(pages.row(cells))
    return lines


EXPLANATION = """\
Rows, turns and ratios are as above; milliseconds. *Quickest turns* is the ratio of tigon's quickest
turn to the quickest of all peers. *tigon* is the hybridized network, in training
one program (`TrainStep`). PyTorch runs in inference mode, as it is written, with its channels last,
and frozen by TorchScript; *its encoder* is made of `torch.nn.TransformerEncoderLayer`. ONNX Runtime
and OpenVINO (float32, for latency) read the same model with bound inputs and outputs, MNN converts
it and copies both. MXNet is hybridized with static memory in a process of its own, *fused* by its
oneDNN subgraphs. Floors are multiply-adds at the peak, the greatest beside any row; errors the
greatest distance from float64.
"""


def measure(only: str, rounds: int, seconds: float, threads: int, mxnet: Path | None) -> Any:
    """The rows whose name contains a word, and the share of the processors that others took."""
    works = [work for work in WORKS if only in work.name]
    rows = []
    with Progress(len(works), "networks", "rows") as bar:
        for work in works:
            rows.append(_measured(work, rounds, seconds, threads, mxnet))
            gc.unfreeze()  # or what a row's networks leave in circles stays for good
            bar.say(f"  {work.name}: done", sys.stderr)
            bar.step()
    peak = max((row.peak for row in rows), default=0.0)
    return [replace(row, peak=peak) for row in rows], turns.busy(rows)


def _measured(work: Work, rounds: int, seconds: float, threads: int, mxnet: Path | None) -> Found:
    with mxnet_side.workers(mxnet) as start:
        made = contest(work, start if mxnet else None)
        peak = machine.peak(threads)
        turns.check(made.row)
        times = turns.take_turns(made.row.contestants, rounds, seconds)
        peak = max(peak, machine.peak(threads))
    count = made.description.training if work.trains else made.description.forward
    return Found(times=times, work=work, errors=made.errors, operations=2.0 * count, peak=peak)


def main() -> None:
    parser = pages.arguments(
        __doc__,
        rounds={"type": int, "default": turns.ROUNDS},
        seconds={"type": float, "default": turns.SECONDS, "help": "of each turn"},
        mxnet={"type": Path, "help": "a Python that has MXNet 1.9.1"},
    )
    options = parser.parse_args()
    confine(options.threads)
    _native.set_num_threads(options.threads)
    limits = machine.measure(options.threads)
    rows, others = measure(
        options.only, options.rounds, options.seconds, options.threads, options.mxnet
    )
    limits = limits.better(machine.measure(options.threads))
    more = ["MXNet 1.9.1"] if options.mxnet else []
    lines = [*pages.conditions(limits, others, *more), "", *table(rows)]
    pages.tell(lines, rows, options, EXPLANATION, "networks")


if __name__ == "__main__":
    main()
