"""Ranks that are killed at seeded moments: `python -m tests.distributed.torture KILLS [SEED]`."""

from __future__ import annotations

import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.distributed.failing import SAMPLES
from tests.distributed.launching import run

PROGRAM = Path(__file__).with_name("failing.py")
_STEP = 0.01
"""Seconds of a step, about: kills fall anywhere into one, and into what follows it."""

Start = tuple[int, list[str]]
"""How many ranks, and the ends of some of them."""


def plan(draw: random.Random, tolerant: bool, ranks: int, kills: int) -> tuple[list[Start], int]:
    """Starts, and the number of steps. With fault tolerance one start loses ranks one by one; else
    each loses one, and the next has any number of ranks."""

    def end(rank: int, step: int) -> str:
        return f"{rank}:{step}:{draw.uniform(0, _STEP):.4f}:9"

    moments = [2 + 3 * number + draw.randrange(2) for number in range(kills)]
    last = 3 * kills + 8
    if tolerant:
        lost = draw.sample(range(ranks), kills)
        return [(ranks, [end(rank, step) for rank, step in zip(lost, moments, strict=True)])], last
    counts = [ranks, *[draw.randrange(2, ranks + 1) for _ in moments]]
    killed = [
        (count, [end(draw.randrange(count), step)])
        for count, step in zip(counts, moments, strict=False)
    ]
    return [*killed, (counts[-1], [])], last


def lived_through(seed: int, tolerant: bool, keep: str, ranks: int, kills: int) -> list[str]:
    """Run that, check what was done, and give the outputs."""
    draw = random.Random(seed)
    starts, steps = plan(draw, tolerant, ranks, kills)
    outputs, done = [], []
    with tempfile.TemporaryDirectory() as folder:
        for count, ends in starts:
            status, output = run(
                count,
                PROGRAM,
                folder,
                keep,
                str(steps),
                *ends,
                options=["--with-ft", "ulfm"] if tolerant else [],
            )
            outputs.append(output)
            done.append(list(told(output)))
            assert tolerant or ends or status == 0, output
    try:
        check(done, steps, kills)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {starts}: {error}\n" + "\n".join(outputs)) from error
    return outputs


def told(output: str) -> Iterator[dict[str, Any]]:
    for line in re.findall(r"\{\"first\".*\}", output):
        yield json.loads(line)


def check(done: list[list[dict[str, Any]]], steps: int, kills: int) -> None:
    """All came to the end, with the same numbers; no step that a rank had done was done again; no
    sample was seen twice in an epoch, and none is missing, but for what the lost ranks could not
    tell any more."""
    ended = [one["ended"] for one in done[-1] if "ended" in one]
    assert ended, "nobody came to the end"
    assert all(one == ended[0] for one in ended), "ranks end with different numbers"
    reached = 0
    for start in done:
        by_rank: dict[int, list[int]] = {}
        for one in start:
            if "step" in one:
                by_rank.setdefault(one["first"], []).append(one["step"])
        for rank, own in by_rank.items():
            assert own[0] > reached, f"rank {rank} did step {own[0]} again"
            assert own == sorted(set(own)), f"rank {rank} did steps again: {own}"
        reached = max([reached, *(max(own) for own in by_rank.values())])
    assert reached == steps
    seen: dict[int, list[int]] = {}
    for one in (one for start in done for one in start if "step" in one):
        seen.setdefault(one["epoch"], []).extend(one["samples"])
    for epoch, samples in seen.items():
        assert len(samples) == len(set(samples)), f"epoch {epoch}: samples came twice"
    missing = sum(SAMPLES - len(samples) for epoch, samples in seen.items() if epoch < max(seen))
    assert missing <= 4 * 5 * kills, f"{missing} samples were left out"


def main(kills: int, seed: int) -> None:
    began, done = time.monotonic(), 0
    while done < kills:
        draw = random.Random(seed)
        tolerant = draw.random() < 0.7
        ranks = draw.randrange(2, 6)
        count = draw.randrange(1, ranks if tolerant else 3)
        keep = draw.choice(["memory", "disk"]) if tolerant else "disk"
        lived_through(seed, tolerant, keep, ranks, count)
        done += count
        print(
            f"seed {seed}: {count} of {ranks} ranks, {keep}, "
            f"{'fault tolerance' if tolerant else 'started again'}; {done} kills, "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )
        seed += 1


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
