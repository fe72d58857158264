"""One page: tigon with its peers and numpy beside it, in one process, turn by turn.

    make bench                                        everything, in under five minutes
    make bench BENCH="--write docs/benchmarks.md"     into that page, and the main rows into README
    make bench BENCH="--only matrix"                  the rows whose name contains a word
    make bench BENCH="--json out.json"                the figures as JSON, too
    make bench BENCH="--chart docs/benchmarks.svg"    a picture of the table, on written pages too

Each row is measured in rounds; in each round every contestant has its turn, so that a slow moment
of the machine meets all of them. Before anything is timed the results are compared. Peers that are
not installed (`pip install tigon[bench]`) leave their columns empty.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import beginnings
import chart
import extents
import goals
import machine
import pages
import peers
import turns
from figures import OTHERS, Figures, Measured
from pages import cell, conditions, number
from processors import confine, processors
from turns import Times
from workloads import Row, rows

from tigon import _native
from tigon.base.files import write_file
from tigon.base.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("tigon", "tigon imperative", *OTHERS)


def ratio(row: Measured) -> str:
    best = row.best_other()
    return "-" if best is None else f"{row.times['tigon'].over(row.times[best]):.2f} {best}"


def distance(row: Measured) -> str:
    """Times of the limit; "-" where nothing but the call itself limits."""
    if not row.limit:
        return "-"
    return f"{row.times['tigon'].median / row.limit:.1f} x {number(row.limit)}"


def table(measured: list[Measured]) -> list[str]:
    lines = [
        "| microseconds per call: median (mean) | "
        + " | ".join(COLUMNS)
        + " | tigon : best other | tigon : limit |",
        "|---|" + "---|" * (len(COLUMNS) + 2),
    ]
    notes = []
    for row in measured:
        cells = [cell(row.times.get(column)) for column in COLUMNS]
        lines.append(f"| {row.name} | {' | '.join([*cells, ratio(row), distance(row)])} |")
        for name, times in row.times.items():
            if name not in COLUMNS:
                share = times.over(row.times["tigon"])
                notes.append(f"- {row.name}: {name} {cell(times)}, {share:.2f} times tigon's.")
    return [*lines, "", *notes] if notes else lines


def short_table(measured: list[Measured]) -> list[str]:
    names = [peers.NAMES.get(name, name) for name in OTHERS]
    lines = [
        f"| microseconds per call | tigon | {' | '.join(names)} | tigon : best other |",
        "|---" * (len(OTHERS) + 3) + "|",
    ]
    for row in measured:
        if row.main:
            cells = [
                number(row.times[name].median) if name in row.times else "-"
                for name in ("tigon", *OTHERS)
            ]
            lines.append(f"| {row.name} | {' | '.join(cells)} | {ratio(row)} |")
    return lines


def import_table(found: dict[str, beginnings.Import]) -> list[str]:
    if not found:
        return []
    lines = [
        "| import of | milliseconds | in memory after it, MB | installed, MB |",
        "|---|---|---|---|",
    ]
    for name, imported in found.items():
        cells = (imported.milliseconds, imported.resident, imported.installed)
        lines.append(f"| {name} | {' | '.join(map(number, cells))} |")
    return lines


EXPLANATION = f"""\
Medians over {turns.ROUNDS} rounds, means in brackets; ratios are medians of the ratios within each
round. In each round every contestant has its turn: it waits until no thread of the one before
computes, makes calls that do not count, and is timed. All contestants share the same processors,
one for each thread; results are compared first. *tigon* is hybridized code, a training step in one
program (`TrainStep`), or one operator where the row is one; *tigon imperative* the same program as
it is written. The limit is the larger of operations over peak and bytes over bandwidth (of the
caches where everything fits there); operations are those of products and convolutions, bytes those
that must be read and written at least; the bandwidth of main memory is measured beside each row
that depends on it. Rows without one are limited by the call itself.

PyTorch runs in inference mode, the hybridized network frozen by TorchScript, training with its
fused optimizer. JAX runs compiled functions (`jit`), networks with constant weights, training steps
with donated state; only its addition of 10 elements is not compiled. ONNX Runtime runs with
spinning threads; products and the network with bound inputs and outputs, formulas with new outputs.
"""


def page(figures: Figures) -> list[str]:
    parts = [
        figures.conditions,
        table(figures.rows),
        extents.lines(figures.extents),
        beginnings.table(figures.beginnings.first),
        import_table(figures.beginnings.imports),
        goals.table(figures),
    ]
    return pages.paragraphs(parts)


def write(path: Path, lines: list[str], picture: Path | None) -> None:
    """Put the lines, and the picture where there is one, into their place of a page."""
    if picture is not None:
        place = os.path.relpath(picture.resolve(), path.resolve().parent)
        shown = f"![Times per call of all contestants, as multiples of tigon's]({place})"
        lines = [shown, "", *lines]
    pages.write(path, lines, "figures", "make bench")


def measure(only: str, rounds: int, threads: int) -> Figures:
    """Everything whose name contains a word."""
    figures = Figures()
    limits = machine.measure(threads)
    found: list[tuple[Row, dict[str, Times], float]] = []
    bar = Progress(None, "benchmarks", "rows")
    for row in rows(only):
        around = [machine.memory(threads)] if limits.in_memory(row.size) else []
        times = turns.measure(row, rounds)
        around += [machine.memory(threads) for _ in around]
        found.append((row, times, max(around, default=limits.memory)))
        row.contestants.clear()  # and with them their arrays
        bar.say(f"  {row.name}: done", sys.stderr)
        bar.step()
    bar.close()
    if only in extents.NAME:
        figures.extents = extents.measure(rounds)
    figures.beginnings = beginnings.measure(only=only)
    limits = limits.better(machine.measure(threads))
    figures.rows = [
        Measured(
            row.name, times, replace(limits, memory=memory).least(row.flops, row.size), row.main
        )
        for row, times, memory in found
    ]
    quiet = [times.others for row, of, _ in found if not row.busy for times in of.values()]
    figures.conditions = conditions(limits, sum(quiet) / max(1, len(quiet)))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--write", type=Path, help="the page to write (and README.md's table)")
    parser.add_argument("--chart", type=Path, help="the picture to draw (SVG; needs matplotlib)")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--threads", type=int, default=min(2, processors()))
    parser.add_argument("--rounds", type=int, default=turns.ROUNDS)
    options = parser.parse_args()
    confine(options.threads)
    _native.set_num_threads(options.threads)
    figures = measure(options.only, options.rounds, options.threads)
    lines = page(figures)
    print("\n".join(lines))
    if options.json:
        write_file(options.json, json.dumps(figures.json(), indent=1).encode())
    if options.chart:
        chart.draw(figures.json(), options.chart)
    if options.write:
        write(options.write, [EXPLANATION, *lines], options.chart)
        short = [*short_table(figures.rows), "", *figures.conditions]
        write(options.readme, short, options.chart)


if __name__ == "__main__":
    main()
