"""What was aimed at, and how far it is reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from beginnings import (
    EXTENTS,
    FIRST_LOOP,
    FIRST_RESIDUAL,
    FIRST_RESULT,
    FIRST_STEP,
    NETWORK,
    RESIDUAL,
    STEP,
)
from extents import ratios_of
from figures import Figures
from workloads import (
    CONTEXTS,
    DECISION,
    FACTORS,
    LOOP,
    LSTM,
    MODULE,
    ONE_CONTEXT,
    SCAN,
    SEGMENTS,
    WITH_METRIC,
)

DOCUMENTS = "network 512-256-128-2, batch 1, {}"
CHAIN = "tanh(b*a+1)*0.5+a, {:,} elements"
SCALED = "b*a+1, 10,000,000 elements"
TRAINING = "training step 784-256-128-10, batch 64"
BUSY = TRAINING + ", beside a busy process"
ALLOCATING = ("torch", "jax", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Goal:
    """Something that is to be `most` at most; measuring it raises KeyError where what it needs
    was not measured."""

    work: str
    most: float
    unit: str
    measured: Callable[[Figures], float]


def _over(row: str, *others: str, column: str = "tigon") -> Callable[[Figures], float]:
    """The ratio to the quickest of the others that are there."""

    def measured(figures: Figures) -> float:
        times = figures.row(row).times
        there = [times[name] for name in others if name in times]
        if not there:
            raise KeyError(row)
        return times[column].over(min(there, key=lambda found: found.median))

    return measured


def _limit(row: str) -> Callable[[Figures], float]:
    def measured(figures: Figures) -> float:
        found = figures.row(row)
        return found.times["tigon"].median / found.limit

    return measured


def _microseconds(row: str) -> Callable[[Figures], float]:
    return lambda figures: figures.row(row).times["tigon"].median


def _disturbed(figures: Figures) -> float:
    busy, quiet = (figures.row(name).times["tigon"].mean for name in (BUSY, TRAINING))
    return busy / quiet


def _decision(figures: Figures) -> float:
    """Microseconds."""
    times = figures.row(DECISION).times
    pairs = zip(times["tigon"].turns, times[SEGMENTS].turns, strict=True)
    return statistics.median(whole - parts for whole, parts in pairs)


def _numpy(size: int, column: str) -> Callable[[Figures], float]:
    return _over(CHAIN.format(size), "numpy", "numpy, in place", column=column)


MILLIONS = CHAIN.format(10_000_000)
GOALS = (
    Goal(
        "network, batch 1, hybridized",
        0.65,
        "x ONNX Runtime, bound",
        _over(DOCUMENTS.format("hybridized"), "onnxruntime"),
    ),
    Goal(
        "network, batch 1, imperative",
        0.7,
        "x PyTorch",
        _over(DOCUMENTS.format("imperative"), "torch"),
    ),
    Goal("chain, 1,000 elements, hybridized", 0.5, "x numpy", _numpy(1000, "tigon")),
    Goal("chain, 1,000 elements, imperative", 1.5, "x numpy", _numpy(1000, "tigon imperative")),
    Goal("chain, 10 million elements", 0.4, "x the best peer", _over(MILLIONS, *ALLOCATING)),
    Goal("chain, 10 million elements", 1.3, "x the limit", _limit(MILLIONS)),
    Goal("b*a+1, 10 million elements", 0.4, "x the best peer", _over(SCALED, *ALLOCATING)),
    Goal("b*a+1, 10 million elements", 1.3, "x the limit", _limit(SCALED)),
    Goal(
        "one imperative add of 10 elements",
        0.4,
        "us",
        _microseconds("one imperative add of 10 elements (of 1,000)"),
    ),
    Goal(
        "one recorded operator, forward and backward",
        1.5,
        "us",
        _microseconds("one recorded product of 10 elements, forward and backward (of 100)"),
    ),
    Goal(FACTORS, 1.2, "x SciPy's LAPACK in a loop", _over(FACTORS, "SciPy's LAPACK in a loop")),
    Goal(SCAN, 0.3, "us", _microseconds(SCAN)),
    Goal(
        f"{SCAN}, forward and backward",
        0.7,
        "us",
        _microseconds(f"{SCAN}, forward and backward"),
    ),
    Goal(DECISION, 0.5, f"us more than {SEGMENTS}", _decision),
    Goal(CONTEXTS, 1.1, f"x {ONE_CONTEXT}", _over(CONTEXTS, ONE_CONTEXT)),
    Goal(LSTM, 1.6, "x PyTorch", _over(LSTM, "torch")),
    Goal(
        f"{LSTM}, forward and backward",
        1.6,
        "x PyTorch",
        _over(f"{LSTM}, forward and backward", "torch"),
    ),
    Goal("training step, one program", 0.65, "x JAX", _over(TRAINING, "jax")),
    Goal("record/backward/step", 1.1, "x one program", _over(TRAINING, "tigon", column=LOOP)),
    Goal("a step of Module.fit", 1.1, f"x {WITH_METRIC}", _over(MODULE, WITH_METRIC)),
    Goal("training step beside a busy process, mean", 2.5, "x its quiet mean", _disturbed),
    *(
        Goal(
            name,
            most,
            "ms",
            lambda figures, name=name: figures.beginnings.first[name].cold["tigon"],
        )
        for name, most in (
            (FIRST_RESULT, 40),
            (FIRST_STEP, 40),
            (FIRST_LOOP, 40),
            (FIRST_RESIDUAL, 130),
        )
    ),
    *(
        goal
        for work, name, cold, warm in (
            ("network", NETWORK, 30, 10),
            ("training step", STEP, 100, 20),
            ("ResNet-18", RESIDUAL, 300, 60),
        )
        for goal in (
            Goal(
                f"first call, nothing on disk: {work}",
                cold,
                "ms",
                lambda figures, name=name: figures.beginnings.first[name].cold["tigon"],
            ),
            Goal(
                f"first call, code on disk: {work}",
                warm,
                "ms",
                lambda figures, name=name: figures.beginnings.first[name].warm,
            ),
        )
    ),
    Goal(
        "30 batch sizes through one network",
        2,
        "compilations",
        lambda figures: figures.beginnings.first[EXTENTS].compilations,
    ),
    Goal(
        "the slowest of these sizes",
        1.15,
        "x a program of its own",
        lambda figures: max(ratios_of(figures.extents).values()),
    ),
    Goal(
        "`import tigon`, numpy included",
        100,
        "ms",
        lambda figures: figures.beginnings.imports["tigon"].milliseconds,
    ),
    Goal(
        "installed, apart from numpy and LLVM",
        10,
        "MB",
        lambda figures: figures.beginnings.imports["tigon"].installed,
    ),
    Goal(
        "in memory after the import",
        60,
        "MB",
        lambda figures: figures.beginnings.imports["tigon"].resident,
    ),
)


def table(figures: Figures) -> list[str]:
    """The goals that these figures say something about."""
    lines = ["| goal | at most | measured | |", "|---|---|---|---|"]
    for goal in GOALS:
        try:
            measured = goal.measured(figures)
        except (KeyError, ValueError):
            continue
        word = "met" if measured <= goal.most else "**missed**"
        lines.append(f"| {goal.work} | {goal.most:g} {goal.unit} | {measured:.3g} | {word} |")
    return lines if len(lines) > 2 else []
