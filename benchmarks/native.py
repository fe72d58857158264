"""Exported libraries beside the same networks in Python, on one thread.

    make bench-native                                       every row
    make bench-native NATIVE="--only LeNet"                 the rows whose name contains a word
    make bench-native NATIVE="--write docs/benchmarks.md"   into that page's section, too

Each library is written with its weights apart. A C program (native_host.c) that does nothing else
tells how long it is from opening the library to the first result, with weights that the system has
read, and how much resident memory it grows by; runs are timed here, by processor time, in turns
with Python's.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pages
from networks import WORKS, Work
from processors import confine

from tests.standalone.foreign import Array, Library, array_of
from tigon import _native, nd

ROOT = Path(__file__).resolve().parents[1]
LENET = (
    Work("LeNet, batch 1", "LeNet", (1, 1, 28, 28)),
    Work("LeNet, batch 64", "LeNet", (64, 1, 28, 28)),
)
ROWS = (*LENET, *(work for work in WORKS if not work.trains))
KILO = 1024


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was measured of one row."""

    name: str
    times: dict[str, float]
    """Microseconds of processor time."""
    library_bytes: int
    weights_bytes: int
    reading_ms: float
    first_ms: float
    grown_bytes: int
    plan_bytes: int

    @property
    def slower(self) -> float:
        """Than in Python."""
        return self.times["library"] / self.times["tigon"]

    def json(self) -> dict[str, Any]:
        return {**vars(self), "slower": self.slower}


def measure(work: Work, host: Path, folder: Path, rounds: int, seconds: float) -> Found:
    net = work.make()
    net.initialize()
    net.hybridize()
    data = nd.array(np.random.default_rng(0).uniform(-1, 1, work.shape).astype("float32"))
    wanted = net(data).asnumpy()
    (folder / work.name).mkdir()  # the system knows an open library by its path
    path = folder / work.name / "model"
    files = net.export_native(path, data, extents=None, weights="apart", prefix="model")
    sizes = {Path(file).suffix: Path(file).stat().st_size for file in files}
    weights = f"{path}.safetensors"
    said = [
        subprocess.run(
            [host, f"{path}.so", weights], check=True, capture_output=True, text=True
        ).stdout.split()
        for _ in range(2 * rounds)
    ]
    library = Library(f"{path}.so")
    instance = library.instance(weights_path=weights.encode())
    (found,) = instance(data.asnumpy())
    if not np.array_equal(found, wanted):
        raise SystemExit(f"{work.name}: the library computes something else")
    values, result = data.asnumpy(), np.empty_like(found)
    given, made = (Array * 1)(array_of(values)), (Array * 1)(array_of(result))
    handle, run = instance.handle, library.run
    runs = {
        "tigon": lambda: net(data).wait_to_read(),
        "library": lambda: run(handle, given, made),
    }
    times = _least(runs, rounds, seconds)
    instance.close()
    return Found(
        times=times,
        name=work.name,
        library_bytes=sizes[".so"],
        weights_bytes=sizes[".safetensors"],
        reading_ms=min(float(each[0]) for each in said),
        first_ms=min(float(each[1]) for each in said),
        grown_bytes=KILO * min(int(each[3]) - int(each[2]) for each in said),
        plan_bytes=net.compiled[-1]
        .cached.compiled([*net.compiled[-1].operands.of([data])])
        .memory_plan.arena_bytes,
    )


def _least(runs: dict[str, Callable[[], Any]], rounds: int, seconds: float) -> dict[str, float]:
    """Of each, the least processor time of a run, over turns: on one thread that is what computing
    takes, whoever else uses the machine."""
    found = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            run()
            spent = 0.0
            while spent < seconds:
                began = time.process_time()
                run()
                took = time.process_time() - began
                spent += took
                found[name] = min(found[name], took * 1e6)
    return found


def table(rows: list[Found]) -> list[str]:
    titles = (
        "network;library;weights;reading them;to the first result;memory grows by;plan;in Python;"
        "library;ratio"
    )
    cells = [
        [
            row.name,
            f"{row.library_bytes / KILO:.0f} KB",
            f"{row.weights_bytes / 1e6:.1f} MB",
            f"{row.reading_ms:.2f} ms",
            f"{row.first_ms:.2f} ms",
            f"{row.grown_bytes / 1e6:.1f} MB",
            f"{row.plan_bytes / 1e6:.1f} MB",
            f"{row.times['tigon']:.0f} us",
            f"{row.times['library']:.0f} us",
            f"{row.slower:.3f}",
        ]
        for row in rows
    ]
    return pages.table(titles, cells)


def main() -> None:
    parser = pages.arguments(__doc__ or "", rounds={"type": int, "default": 9})
    options = parser.parse_args()
    confine(1)
    _native.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        host = folder / "host"
        subprocess.run(
            ["cc", "-O2", "-I", ROOT, ROOT / "benchmarks/native_host.c", "-o", host, "-ldl"],
            check=True,
        )
        found = [
            measure(work, host, folder, options.rounds, 0.2)
            for work in ROWS
            if options.only in work.name
        ]
    explanation = (
        "Exported libraries on one thread, beside the same network in Python: sizes of the library "
        "without its weights and of these, milliseconds to read weights once and from opening the "
        "library to the first result, growth of the resident memory of a program that does nothing "
        "else, memory of intermediate results, and microseconds of processor time of a run, the "
        "least of all."
    )
    pages.tell(table(found), found, options, explanation, "native")


if __name__ == "__main__":
    main()
