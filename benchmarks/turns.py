"""How contestants are timed: turn by turn, each alone on the processors and warmed up."""

from __future__ import annotations

import gc
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from processors import others, processors, rest
from workloads import Contestant, Row

ROUNDS = 7
SECONDS = 0.12
WARM_UP = 0.015
DISTURBED = 0.2


@dataclass(frozen=True)
class Times:
    """Microseconds per call, round by round, and the share of the processors that other programs
    took meanwhile."""

    turns: tuple[float, ...]
    others: float

    @property
    def median(self) -> float:
        return statistics.median(self.turns)

    @property
    def mean(self) -> float:
        return statistics.mean(self.turns)

    @property
    def least(self) -> float:
        return min(self.turns)

    def over(self, other: Times) -> float:
        """The median of the ratios within each round: its turns met the same machine."""
        pairs = zip(self.turns, other.turns, strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)


def best_other(times: Mapping[str, Times]) -> str | None:
    """The quickest contestant whose name does not say that it is tigon."""
    others = [name for name in times if not name.startswith("tigon")]
    return min(others, key=lambda name: times[name].median, default=None)


def quickest_ratio(times: Mapping[str, Times]) -> float | None:
    """Of tigon's quickest turn to that of all others: what counts where other programs run."""
    others = [each.least for name, each in times.items() if not name.startswith("tigon")]
    return times["tigon"].least / min(others) if others else None


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What was measured of one row, tigon's own turns among others."""

    times: dict[str, Times]

    @property
    def best_other(self) -> str | None:
        return best_other(self.times)

    @property
    def ratio(self) -> float | None:
        best = self.best_other
        return None if best is None else self.times["tigon"].over(self.times[best])

    def figures(self) -> dict[str, Any]:
        return {
            "ratio": self.ratio,
            "best other": self.best_other,
            "ratio of the quickest turns": quickest_ratio(self.times),
            "microseconds": {name: list(each.turns) for name, each in self.times.items()},
        }


def busy(rows: Iterable[Beside]) -> float:
    """The share of the processors that other programs took meanwhile."""
    shares = [times.others for row in rows for times in row.times.values()]
    return statistics.mean(shares) if shares else 0.0


def measure(row: Row, rounds: int) -> dict[str, Times]:
    check(row)
    if not row.busy:
        return take_turns(row.contestants, rounds, SECONDS, row.per)
    with neighbour():
        return take_turns(row.contestants, rounds, SECONDS, row.per, disturbed=math.inf)


def take_turns(
    contestants: Mapping[str, Contestant],
    rounds: int,
    seconds: float,
    per: int = 1,
    disturbed: float = DISTURBED,
) -> dict[str, Times]:
    """In each round every contestant has a turn, so that a slow moment of the machine meets all.
    Turns during which other programs took more than a share of `disturbed` of the processors are
    taken again, while that does not double what this takes."""
    gc.collect()
    gc.freeze()  # nobody's turn looks through the objects of all frameworks
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    again = rounds * len(contestants)
    for _ in range(rounds):
        for name, contestant in contestants.items():
            rest()
            took, share = _turn(contestant, seconds)
            while share > disturbed and again:
                again -= 1
                rest()
                took, share = _turn(contestant, seconds)
            turns[name].append((took / per * 1e6, share))
    return {
        name: Times(tuple(took for took, _ in taken), statistics.mean(share for _, share in taken))
        for name, taken in turns.items()
    }


def _turn(contestant: Contestant, seconds: float) -> tuple[float, float]:
    """Seconds per call, after calls that do not count: threads wake, caches fill; and the share of
    the processors that others took meanwhile."""
    run, clock = contestant.run, time.perf_counter
    with contestant.within():
        run()
        began, calls = clock(), 0
        while calls == 0 or clock() - began < WARM_UP:
            run()
            calls += 1
        calls = max(1, int(seconds * calls / (clock() - began)))
        elsewhere = others()
        took = timed(run, calls)
        return took, (others() - elsewhere) / (took * calls * processors())


def timed(function: Callable[[], Any], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - began) / calls


def distance(found: np.ndarray, exact: np.ndarray) -> float:
    """The greatest of any element, as a share of the greatest of the exact ones."""
    greatest = abs(exact).max() or 1.0
    return float(abs(found.reshape(exact.shape) / greatest - exact / greatest).max())


def check(row: Row) -> dict[str, float]:
    """All contestants must have computed the same; and how far each is from the exact numbers,
    where the row has them."""
    found = {}
    for name, contestant in row.contestants.items():
        with contestant.within():
            found[name] = np.asarray(contestant.result())
    first, *others = found
    for name in others:
        np.testing.assert_allclose(
            found[name].reshape(found[first].shape),
            found[first],
            rtol=row.tolerance,
            atol=row.tolerance,
            err_msg=f"{row.name}: {name} and {first} differ",
        )
    if row.exact is None:
        return {}
    exact = np.asarray(row.exact(), np.float64)
    return {name: distance(made.astype(np.float64), exact) for name, made in found.items()}


@contextmanager
def neighbour() -> Iterator[None]:
    """Another process that uses one core all the time."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()
