"""Several processes of one thread against one process of several, and against others' processes.

    make bench-mpi                                          every row
    make bench-mpi MPI="--only encoder --rounds 3"          the rows whose name has a word
    make bench-mpi MPI="--write docs/distributed.md"        into that page's section, too
    make bench-mpi MPI="--json out.json"                    the figures as JSON, too

Every contestant is a process, or as many as there are ranks, that sleep until it is their turn;
turns are those of `make bench`. Their results are compared first: the losses of the first three
steps, on all ranks together, and a thousand of the sums. ResNet-18 gets the same images on all
ranks, so that statistics of the whole batch and of its parts agree.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

import machine
import models
import numpy as np
import pages
import peers
import turns
from processors import confine, processors, together_with
from workloads import MOMENTUM, RATE, Row

from tigon.base.files import write_file
from tigon.base.progress import Progress

CHILD = Path(__file__).with_name("ranks_child.py")
COUNT = 25_000_000
"""Numbers of float32 in 100 MB."""

APART = {"TIGON_RANKS_PER_HOST": "1"}
"""Ranks that send messages, as if each were on a host of its own."""


class Processes:
    """Those of one contestant, by a socket that only this user can open."""

    def __init__(
        self,
        commands: Sequence[tuple[Sequence[str], Mapping[str, str]]],
        count: int,
        question: Mapping[str, Any],
        folder: str,
    ) -> None:
        """`commands`: what is started, and what each finds in its environment, so that `count`
        processes call back."""
        path = os.path.join(folder, f"socket{len(os.listdir(folder))}")
        with Listener(path) as listener:
            self._started = [
                subprocess.Popen([*command, str(CHILD), path], env={**os.environ, **environment})
                for command, environment in commands
            ]
            listener._listener._socket.settimeout(120)  # type: ignore[attr-defined]
            self._connections = [listener.accept() for _ in range(count)]
        self._by_rank: dict[int, Connection] = {}
        for connection in self._connections:
            rank, process = json.loads(connection.recv_bytes())
            self._by_rank[rank] = connection
            together_with(process)
        self._tell(question)
        self.result = np.mean([self._answer(rank) for rank in sorted(self._by_rank)], axis=0)
        """What all ranks have computed, their mean."""

    def _tell(self, what: Any) -> None:
        for connection in self._connections:
            connection.send_bytes(json.dumps(what).encode())

    def _answer(self, rank: int) -> Any:
        try:
            return json.loads(self._by_rank[rank].recv_bytes())
        except EOFError:
            raise SystemExit("a contestant's process has ended; what it said is above") from None

    def call(self) -> None:
        """Do the work once, on all ranks."""
        self._tell("run")
        for rank in self._by_rank:
            self._answer(rank)

    def close(self) -> None:
        try:
            self._tell("end")
            for process in self._started:
                process.wait(60)
        except (OSError, subprocess.TimeoutExpired):
            for process in self._started:
                process.kill()
        for connection in self._connections:
            connection.close()


def mpiexec() -> str:
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None or not peers.installed("mpi4py"):
        raise SystemExit("bench-mpi needs MPI: pip install 'tigon[mpi]'")
    return found


def by_mpi(ranks: int, **environment: str) -> list[tuple[list[str], dict[str, str]]]:
    """Ranks of one thread, each on a processor of its own where there are as many."""
    places = ["--use-hwthread-cpus"] if ranks <= processors() else ["--oversubscribe"]
    command = [mpiexec(), *places, "-n", str(ranks), sys.executable]
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return [(command, {**allowed, "TIGON_NUM_THREADS": "1", **environment})]


def as_they_are(ranks: int) -> list[tuple[list[str], dict[str, str]]]:
    """Processes of PyTorch, which find each other by a file."""
    return [
        ([sys.executable], {"RANK": str(rank), "WORLD_SIZE": str(ranks), "OMP_NUM_THREADS": "1"})
        for rank in range(ranks)
    ]


# -------------------------------------------------------------------------------------- rows


@dataclass(frozen=True)
class Work:
    """A row, and the most that tigon may take of others' times, by how their names begin."""

    name: str
    goals: Mapping[str, float]
    model: str = ""
    shape: tuple[int, ...] = ()
    labels: int = 10
    environment: Mapping[str, str] = field(default_factory=dict)
    count: int = COUNT


ONE = "one process"
MPI = "mpi4py"
DDP = "torch"
WORKS = (
    Work(
        "training step ResNet-18, batch 8",
        {ONE: 1.08, DDP: 0.7},
        "ResNet-18",
        (8, 3, 224, 224),
        1000,
    ),
    Work(
        "training step encoder, 4 x 128",
        {ONE: 1.10, DDP: 0.7},
        "encoder, classes",
        (4, 128, models.SIZE),
    ),
    Work("allreduce of 100 MB, by shared memory", {MPI: 0.2}),
    Work("allreduce of 100 MB, by messages", {MPI: 0.4}, environment=APART),
)


@contextmanager
def contestants(work: Work, ranks: int, threads: int) -> Iterator[Row]:
    """The row, while its processes are there."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ends:
        row = Row(work.name, 1e-3 if work.model else 1e-6)

        def enter(name: str, commands: Any, count: int, question: Mapping[str, Any]) -> None:
            made = Processes(commands, count, question, folder)
            ends.callback(made.close)
            row.enter(name, made.call, lambda: made.result)

        own = by_mpi(ranks, **work.environment)
        meeting = os.path.join(folder, "meeting")
        if not work.model:
            question = {"count": work.count, "meeting": meeting}
            enter("tigon", own, ranks, {"kind": "allreduce", **question})
            enter(MPI, by_mpi(ranks), ranks, {"kind": "mpi", **question})
            if peers.installed("torch"):
                enter(
                    "torch, gloo",
                    as_they_are(ranks),
                    ranks,
                    {"kind": "torch allreduce", **question},
                )
            return (yield row)  # type: ignore[return-value]
        description = _write_data(work, ranks, os.path.join(folder, "data"))
        question = {
            "model": work.model,
            "data": os.path.join(folder, "data"),
            "rate": RATE,
            "momentum": MOMENTUM,
            "heads": models.HEADS,
        }
        enter("tigon", own, ranks, {"kind": "step", **question})
        alone = [([sys.executable], {"TIGON_NUM_THREADS": str(threads)})]
        enter(ONE, alone, 1, {"kind": "step", **question})
        variants = ["", "channels last" if len(work.shape) == 4 else "its encoder"]
        for variant in variants if peers.installed("torch") else []:
            asked = {
                **question,
                "kind": "torch step",
                "variant": variant,
                "description": description,
                "meeting": meeting + variant,
            }
            name = f"torch DDP, {variant}" if variant else "torch DDP"
            enter(name, as_they_are(ranks), ranks, asked)
        yield row


def _write_data(work: Work, ranks: int, folder: str) -> str:
    """Samples, labels and weights in files; the network as text."""
    random = np.random.RandomState(0)
    net = models.filled(models.MODELS[work.model], work.shape)
    description = models.describe(net, (work.shape[0] // ranks, *work.shape[1:]))  # of a rank
    images = len(work.shape) == 4
    repeats = ranks if images else 1  # of what ranks have
    shape = (work.shape[0] // repeats, *work.shape[1:])
    places = (shape[0], *description.nodes[-1].shape[1:-1])
    data = random.randn(*shape).astype(np.float32)
    labels = random.randint(0, work.labels, places)
    arrays = {
        "data": np.concatenate([data] * repeats),
        "labels": np.concatenate([labels] * repeats),
        **models.values(net),
    }
    os.mkdir(folder)
    for name, array in arrays.items():
        content = io.BytesIO()
        np.save(content, array)
        write_file(os.path.join(folder, f"{name}.npy"), content.getvalue())
    return description.text()


# ----------------------------------------------------------------------------------- figures


@dataclass(frozen=True, kw_only=True)
class Found(turns.Beside):
    """One row as it was measured."""

    work: Work

    def ratios(self) -> dict[str, tuple[float, str, float]]:
        """By goal: the ratio of means to the quickest that it speaks of, who that is, and what was
        aimed at."""
        found = {}
        for begins, most in self.work.goals.items():
            there = [name for name in self.times if name.startswith(begins)]
            if there:
                other = min(there, key=lambda name: self.times[name].mean)
                ratio = self.times["tigon"].mean / self.times[other].mean
                found[begins] = ratio, other, most
        return found

    def json(self) -> dict[str, Any]:
        met = {name: ratio <= most for name, (ratio, _, most) in self.ratios().items()}
        return {"name": self.work.name, **self.figures(), "met": met}


def table(rows: Sequence[Found]) -> list[str]:
    """In milliseconds."""
    names = list(dict.fromkeys(name for row in rows for name in row.times))
    titles = ["milliseconds per call: median (mean)", *names, "means, tigon : others", "goal", ""]
    lines = pages.head(titles)
    for row in rows:
        ratios = row.ratios()
        lines.append(
            pages.row(
                [
                    row.work.name,
                    *(pages.cell(row.times.get(name), 1e3) for name in names),
                    "; ".join(f"{ratio:.2f} {other}" for ratio, other, _ in ratios.values()),
                    "; ".join(f"<= {most:g} {begins}" for begins, most in row.work.goals.items()),
                    "; ".join(
                        "met" if ratio <= most else "**missed**"
                        for ratio, _, most in ratios.values()
                    ),
                ]
            )
        )
    return lines


EXPLANATION = """\
Rows, turns and medians are those of [benchmarks.md](benchmarks.md); goals are held against ratios
of means. *tigon*: ranks of one thread, started by MPI and each bound to a processor, in training
`TrainStep` with `kvstore='dist_sync'`; *one process*: the same step of the whole batch, with as
many threads. *mpi4py*: one call of `Allreduce`. *torch DDP*: as many processes of
`DistributedDataParallel` over gloo, of one thread and bound alike, with `gradient_as_bucket_view`
and the fused optimizer; *torch, gloo*: its `all_reduce`.
"""


def measure(only: str, rounds: int, seconds: float, ranks: int) -> tuple[list[Found], float]:
    works = [work for work in WORKS if only in work.name]
    rows = []
    with Progress(len(works), "ranks", "rows") as bar:
        for work in works:
            with contestants(work, ranks, ranks) as row:
                turns.check(row)
                times = turns.take_turns(row.contestants, rounds, seconds)
            rows.append(Found(times=times, work=work))
            bar.say(f"  {work.name}: done", sys.stderr)
            bar.step()
    return rows, turns.busy(rows)


def library() -> str:
    """MPI and its version, as mpi4py tells it."""
    code = "from mpi4py import MPI; print(MPI.Get_library_version())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return told.stdout.split(",")[0].strip("\0 \n")


def main() -> None:
    parser = pages.arguments(
        __doc__,
        rounds={"type": int, "default": turns.ROUNDS},
        seconds={"type": float, "default": 3.0, "help": "of each turn"},
    )
    options = parser.parse_args()
    confine(options.threads)
    limits = machine.measure(options.threads)
    rows, others = measure(options.only, options.rounds, options.seconds, options.threads)
    lines = [
        *pages.conditions(limits, others, f"{library()}"),
        f"- {options.threads} ranks of one thread each",
        "",
        *table(rows),
    ]
    pages.tell(lines, rows, options, EXPLANATION, "mpi")


if __name__ == "__main__":
    main()
