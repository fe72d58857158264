"""MXNet 1.9.1, in a process of its own Python: it needs a numpy of its time.

    python3.11 -m venv mxnet && mxnet/bin/pip install mxnet==1.9.1 numpy==1.23.5
    make bench-networks NETWORKS="--mxnet mxnet/bin/python"

The process takes its turns as the others do, and sleeps between them.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from description import DATA, Description
from processors import processors, together_with

from tigon import nd

CHILD = Path(__file__).with_name("mxnet_child.py")


class Worker:
    """A process that holds one workload; `call` does it once, `result` gives what it computed.

    The question that it begins with is in `mxnet_child.py`.
    """

    def __init__(self, python: Path, question: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [str(python), str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": str(processors())},
        )
        self._ask(question)

    @property
    def number(self) -> int:
        return self._process.pid

    def call(self) -> None:
        self._ask("run")

    def result(self) -> np.ndarray:
        return np.array(self._ask("result"))

    def peak(self) -> float:
        """Megabytes that were resident at most so far."""
        return float(self._ask("peak"))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _ask(self, question: Any) -> Any:
        process = self._process
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps(question).encode() + b"\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError(f"MXNet's process ended with {process.wait()}; see its messages")
        return json.loads(answer)


def holding(
    python: Path,
    description: Description,
    values: Mapping[str, np.ndarray],
    data: np.ndarray,
    labels: np.ndarray | None = None,
    **options: Any,
) -> Worker:
    """A worker with these weights; it trains where there are labels."""
    given = {"data": data} if labels is None else {"data": data, "labels": labels}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder, f"{name}.params")) for name in ("values", "data")}
        for name, arrays in (("values", values), ("data", given)):
            nd.save(paths[name], {key: nd.array(array) for key, array in arrays.items()})
        return Worker(python, {"symbol": description.symbol, **paths, **options})


def most_memory(
    python: Path,
    description: Description,
    labels: tuple[int, ...] | None,
    calls: int,
) -> float:
    """Megabytes of a process of its own; it trains where labels have a shape."""
    shapes = {DATA: description.shapes[DATA]} | ({} if labels is None else {"labels": labels})
    question = {"symbol": description.symbol, "values": None, "data": shapes}
    worker = Worker(python, {**question, "rate": 0.01, "momentum": 0.9})
    for _ in range(calls):
        worker.call()
    try:
        return worker.peak()
    finally:
        worker.close()


@contextmanager
def workers(python: Path | None) -> Iterator[Callable[..., Worker]]:
    """A way to start processes (as `holding` does), which end with the context; what they compute
    is no stranger's."""
    started: list[Worker] = []

    def start(*given: Any, **options: Any) -> Worker:
        assert python is not None
        started.append(holding(python, *given, **options))
        together_with(started[-1].number)
        return started[-1]

    try:
        yield start
    finally:
        for worker in started:
            worker.close()
