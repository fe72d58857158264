"""The most memory that a process has held: networks run or trained in fresh processes, by tigon and
by the peers that are installed.

    make bench-memory                                       every row
    make bench-memory MEMORY="--only encoder"               the rows whose name contains a word
    make bench-memory MEMORY="--write docs/benchmarks.md"   into that page's section, too
    make bench-memory MEMORY="--mxnet mxnet/bin/python"     MXNet beside them (mxnet_side.py)
    make bench-memory MEMORY="--json out.json"              the figures as JSON, too

A process imports its framework, builds the network, and runs or trains it a few times; then it
tells the peak of its resident memory, imports and compiling included. tigon starts without code on
disk, and once more with it. Weights are as each framework makes them; ONNX Runtime and OpenVINO
read a model from a file, as their users do.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models
import pages
import peers
from networks import WORKS, Work
from peers import mxnet_side
from processors import confine

import tigon
from tigon.base.files import write_file
from tigon.base.progress import Progress

if peers.installed("onnxruntime") or peers.installed("openvino"):
    from peers import onnx_networks

ROOT = Path(__file__).resolve().parents[1]
PEAK = """
with open("/proc/self/status") as file:  # getrusage counts what held the memory before exec
    (peak,) = (line.split()[1] for line in file if line.startswith("VmHWM"))
print(int(peak) * 1024 / 1e6)
"""
TIGON = """
import numpy as np
from models import MODELS
from tigon import _native, autograd, gluon, nd

_native.set_num_threads({threads})
net, x = MODELS[{model!r}](), nd.array(np.ones({shape}, np.float32))
net.initialize()
"""
INFERENCE = """
for _ in range({calls}):
    net(x).wait_to_read()
"""
LOSS = """
loss_function, y = gluon.loss.SoftmaxCrossEntropyLoss(), nd.zeros({places})
net.infer_shape(x)
trainer = gluon.Trainer(net.collect_params(), "sgd", {{"learning_rate": 0.01, "momentum": 0.9}})
"""
LOOP = """
for _ in range({calls}):
    with autograd.record():
        loss = loss_function(net(x), y)
    loss.backward()
    trainer.step(len(x))
    nd.waitall()
"""
WHOLE = """
step = gluon.TrainStep(net, loss_function, trainer)
for _ in range({calls}):
    step(x, y).wait_to_read()
"""
HYBRIDIZED = """
net.hybridize()
"""
TORCH = """
import numpy as np
import torch
from description import from_text
from peers import torch_networks, torch_side

net = torch_networks.Network(from_text(open({description!r}).read()))
data = np.ones({shape}, np.float32)
"""
SCRIPTS = {
    False: {
        "tigon": TIGON + HYBRIDIZED + INFERENCE,
        "tigon imperative": TIGON + INFERENCE,
        "torch": TORCH
        + """
net, x = net.eval(), torch.from_numpy(data)
with torch.inference_mode():
    for _ in range({calls}):
        net(x)
""",
        "onnxruntime": """
import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.inter_op_num_threads = {threads}, 1
session = onnxruntime.InferenceSession({onnx!r}, options, providers=["CPUExecutionProvider"])
feed = {{session.get_inputs()[0].name: np.ones({shape}, np.float32)}}
for _ in range({calls}):
    session.run(None, feed)
""",
        "openvino": """
import numpy as np
from peers import openvino_side

run, _ = openvino_side.call({onnx!r}, np.ones({shape}, np.float32))
for _ in range({calls}):
    run()
""",
    },
    True: {
        "tigon": TIGON + LOSS + WHOLE,
        "tigon hybridized": TIGON + HYBRIDIZED + LOSS + "loss_function.hybridize()" + LOOP,
        "tigon imperative": TIGON + LOSS + LOOP,
        "torch": TORCH
        + """
step = torch_side.step(net.train(), data, np.zeros({places}), 0.01, 0.9)
for _ in range({calls}):
    step()
""",
    },
}
"""By whether they train, and contestant."""

COLUMNS = (
    "tigon",
    "tigon, code on disk",
    "tigon hybridized",
    "tigon imperative",
    "torch",
    "onnxruntime",
    "openvino",
    "mxnet",
)
CALLS = 5
RATIO, RATIO_IN_TRAINING = 1.0, 0.6
"""Goals, against the peer that needs least."""


@dataclass(frozen=True)
class Found:
    """Megabytes by contestant."""

    work: Work
    megabytes: Mapping[str, float]

    @property
    def best_other(self) -> str | None:
        others = [name for name in self.megabytes if not name.startswith("tigon")]
        return min(others, key=lambda name: self.megabytes[name], default=None)

    @property
    def ratio(self) -> float | None:
        best = self.best_other
        return None if best is None else self.megabytes["tigon"] / self.megabytes[best]

    @property
    def most(self) -> float:
        return RATIO_IN_TRAINING if self.work.trains else RATIO

    def goal(self) -> str:
        return f"<= {self.most:g}; <= imperative"

    def verdict(self) -> str:
        if self.work.goal is None:
            return ""
        near = self.ratio is not None and self.ratio <= self.most
        even = self.megabytes["tigon"] <= self.megabytes["tigon imperative"]
        return "met" if near and even else "**missed**"

    def json(self) -> dict[str, Any]:
        return {
            "name": self.work.name,
            "megabytes": dict(self.megabytes),
            "ratio": self.ratio,
            "best other": self.best_other,
            "met": self.verdict() == "met" if self.work.goal else None,
        }


def table(rows: list[Found]) -> list[str]:
    there = [name for name in COLUMNS if any(name in row.megabytes for row in rows)]
    ends = ("tigon : best other", "tigon : imperative", "goal", "")
    lines = pages.head(["resident at most, MB", *there, *ends])
    for row in rows:
        own = row.megabytes
        ratio = row.ratio
        cells = [
            row.work.name,
            *(pages.number(own[name]) if name in own else "-" for name in there),
            "-" if ratio is None else f"{ratio:.2f} {row.best_other}",
            f"{own['tigon'] / own['tigon imperative']:.2f}",
            row.goal() if row.work.goal else "-",
            row.verdict(),
        ]
        lines.append(pages.row(cells))
    return lines


def measure(only: str, repeats: int, threads: int, mxnet: Path | None) -> list[Found]:
    """The rows whose name contains a word; medians of so many processes each."""
    works = [work for work in WORKS if only in work.name]
    found = []
    with tempfile.TemporaryDirectory() as name, Progress(len(works), "memory", "rows") as bar:
        for work in works:
            found.append(_measured(work, Path(name), repeats, threads, mxnet))
            bar.say(f"  {work.name}: done", sys.stderr)
            bar.step()
    return found


def _measured(work: Work, folder: Path, repeats: int, threads: int, mxnet: Path | None) -> Found:
    net = models.filled(work.make, work.shape)
    description = models.describe(net, work.shape)
    paths = {kind: str(folder / kind) for kind in ("description", "onnx")}
    write_file(paths["description"], description.text().encode())
    scripts = {
        who: script
        for who, script in SCRIPTS[work.trains].items()
        if who.startswith("tigon") or peers.installed(who)
    }
    if not work.trains and {"onnxruntime", "openvino"} & set(scripts):
        write_file(paths["onnx"], onnx_networks.model(description, models.values(net)))
    places = description.nodes[-1].shape[:-1]
    given = {"shape": work.shape, "places": places, "model": work.model, "calls": CALLS}
    given |= {**paths, "threads": threads}
    runs: dict[str, list[float]] = {}
    for _ in range(repeats):  # contestants' processes take turns
        for who, script in scripts.items():
            filled = script.format(**given) + PEAK
            with tempfile.TemporaryDirectory() as cache:
                runs.setdefault(who, []).append(_process(filled, cache))
                if who == "tigon":
                    runs.setdefault("tigon, code on disk", []).append(_process(filled, cache))
        if mxnet is not None:
            labels = places if work.trains else None
            peak = mxnet_side.most_memory(mxnet, description, labels, CALLS)
            runs.setdefault("mxnet", []).append(peak)
    return Found(work, {who: statistics.median(many) for who, many in runs.items()})


def _process(script: str, cache: str) -> float:
    """The number that a fresh process prints."""
    paths = [str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TIGON_CACHE": cache}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"a fresh process failed:\n{script}\n{done.stderr}")
    return float(done.stdout.split()[-1])


EXPLANATION = f"""\
The peak of a fresh process's resident memory (`VmHWM`) after {CALLS} calls or steps, medians of
several processes; imports and compiling are in it. *tigon* is the hybridized network, in training
one program (`TrainStep`), with nothing on disk at first, and with its code there; *tigon
hybridized* trains by record/backward/step. MXNet is hybridized with static memory.
"""


def main() -> None:
    parser = pages.arguments(
        __doc__,
        repeats={"type": int, "default": 3, "help": "processes of each contestant"},
        mxnet={"type": Path, "help": "a Python that has MXNet 1.9.1"},
    )
    options = parser.parse_args()
    confine(options.threads)
    rows = measure(options.only, options.repeats, options.threads, options.mxnet)
    versions = [peers.versions(), *(["MXNet 1.9.1"] if options.mxnet else [])]
    lines = [f"- tigon {tigon.__version__}, {', '.join(versions)}; {options.threads} threads"]
    if peers.installed("torch") and "+cu" in peers.side("torch").VERSION:
        lines.append("- **PyTorch is its build for GPUs**, which holds more than the one without.")
    lines += ["", *table(rows)]
    pages.tell(lines, rows, options, EXPLANATION, "memory")


if __name__ == "__main__":
    main()
