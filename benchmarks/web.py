"""Exported modules of WebAssembly beside ONNX Runtime's, in Node, on one thread.

    make bench-web                                    every row
    make bench-web WEB="--only LeNet"                 the rows whose name contains a word
    make bench-web WEB="--write docs/benchmarks.md"   into that page's section, too

Each network is exported twice, as a module and as a model of ONNX; one process of Node
(web_host.mjs) runs both in turns and compares results. Medians of processor time; npm brings
onnxruntime-web once, into build/web.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pages
from native import KILO, LENET
from networks import WORKS, Work
from processors import confine

import tigon as mx
from tigon import nd
from tigon.base.files import write_file

ROOT = Path(__file__).resolve().parents[1]
PEER = "onnxruntime-web@1.30.0"
OTHERS = ("ResNet-18, batch 1", "MobileNetV2, batch 1", "encoder, 4 x 128")
ROWS = (
    *LENET,
    *(work for work in WORKS if work.name in OTHERS),
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was measured of one row: milliseconds, and bytes."""

    name: str
    tigon: float
    peer: float
    least: float
    least_peer: float
    first: float
    first_peer: float
    module_bytes: int
    node: str

    @property
    def ratio(self) -> float:
        return self.tigon / self.peer

    def json(self) -> dict[str, Any]:
        return {**vars(self), "ratio": self.ratio}


def peer() -> Path:
    """The folder of onnxruntime-web."""
    folder = ROOT / "build/web"
    found = folder / "node_modules/onnxruntime-web"
    if not found.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", PEER]
        subprocess.run(command, cwd=folder, check=True)
    return found


def measure(work: Work, runtime: Path, folder: Path, rounds: int) -> Found:
    net = work.make()
    net.initialize()
    net.hybridize()
    data = nd.array(np.random.default_rng(0).uniform(-1, 1, work.shape).astype("float32"))
    net(data)
    path = folder / work.name.replace(", ", "-")
    files = net.export_wasm(path, data, extents=None, weights="apart")
    model = f"{path}.onnx"
    mx.contrib.onnx.export_model(net, in_shapes=[work.shape], onnx_file_path=model)
    write_file(folder / "package.json", b'{"type": "module"}')
    shape = ",".join(map(str, work.shape))
    command = ["node", ROOT / "benchmarks/web_host.mjs", f"{path}.js", model, runtime, shape]
    done = subprocess.run([*command, str(rounds)], check=True, capture_output=True, text=True)
    said = json.loads(done.stdout.splitlines()[-1])
    if said["apart"] > 1e-3:
        raise SystemExit(f"{work.name}: results are {said['apart']} apart")
    return Found(
        name=work.name,
        tigon=said["tigon"]["median"],
        peer=said["onnxruntime"]["median"],
        least=said["tigon"]["least"],
        least_peer=said["onnxruntime"]["least"],
        first=said["first"],
        first_peer=said["theirFirst"],
        module_bytes=Path(files[0]).stat().st_size,
        node=said["node"],
    )


def table(rows: list[Found]) -> list[str]:
    titles = "network;module;to the first result;there;a run;there;ratio;ratio of the least"
    cells = [
        [
            row.name,
            f"{row.module_bytes / KILO:.0f} KB",
            f"{row.first:.0f} ms",
            f"{row.first_peer:.0f} ms",
            f"{row.tigon:.3f} ms",
            f"{row.peer:.3f} ms",
            f"{row.ratio:.2f}",
            f"{row.least / row.least_peer:.2f}",
        ]
        for row in rows
    ]
    return pages.table(titles, cells)


def main() -> None:
    parser = pages.arguments(__doc__ or "", rounds={"type": int, "default": 12})
    options = parser.parse_args()
    confine(1)
    runtime = peer()
    with tempfile.TemporaryDirectory() as folder:
        found = [
            measure(work, runtime, Path(folder), options.rounds)
            for work in ROWS
            if options.only in work.name
        ]
    node = found[0].node if found else ""
    explanation = (
        f"Exported modules beside {PEER} in Node {node}, both on one thread with vectors of 128 "
        "bits: the size of the module without its weights, milliseconds from loading to the first "
        "result, and medians of milliseconds of processor time of a run, in turns."
    )
    pages.tell(table(found), found, options, explanation, "web")


if __name__ == "__main__":
    main()
