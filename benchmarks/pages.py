"""How figures are written, and where: numbers, what they were measured with, sections of pages."""

from __future__ import annotations

import argparse
import json
import platform
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import machine
import peers
from processors import processors
from turns import Times

import tigon as mx
from tigon.base.files import write_file


def number(value: float) -> str:
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def cell(times: Times | None, unit: float = 1.0) -> str:
    """Median and, in brackets, mean; the unit in microseconds."""
    if times is None:
        return "-"
    return f"{number(times.median / unit)} ({number(times.mean / unit)})"


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def head(names: Sequence[str]) -> list[str]:
    return [row(names), "|---" * len(names) + "|"]


def table(titles: str, rows: Iterable[Sequence[str]]) -> list[str]:
    """With its titles, which semicolons part."""
    return ["", *head(titles.split(";")), *map(row, rows)]


def conditions(limits: machine.Limits, others: float, *more: str) -> list[str]:
    """Where and with what this was measured; `more` are further peers and their versions."""
    versions = ", ".join([peers.versions(), *more])
    lines = [
        f"- tigon {mx.__version__}, {versions}, Python {platform.python_version()}, "
        f"{platform.system()}; {limits.threads} threads, float32",
        f"- {machine.describe()}",
        f"- all threads together: {limits.peak:,.0f} GFLOP/s of multiply-adds in registers, "
        f"{limits.cache:,.0f} GB/s read from caches, {limits.memory:,.0f} GB/s read or written in "
        "memory (measured by `benchmarks/machine.py`)",
    ]
    if others > 0.05:
        lines.append(
            f"- **The machine was busy**: other programs took {others:.0%} of the processors "
            "meanwhile; these figures show that the benchmark runs, and nothing else."
        )
    return lines


def paragraphs(parts: Sequence[Sequence[str]]) -> list[str]:
    """The lines of all parts, an empty one between two; parts without lines are left out."""
    return "\n\n".join("\n".join(part) for part in parts if part).split("\n")


def write(path: Path, lines: Sequence[str], section: str, command: str) -> None:
    """Put the lines between the markers of a section of a page; what surrounds them stays."""
    begin = f"<!-- {section}: written by `{command}`, do not edit -->"
    end = f"<!-- end of {section} -->"
    old = path.read_text() if path.exists() else f"# Benchmarks\n\n{begin}\n{end}\n"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(old):
        raise SystemExit(f"{path} has no place for {section}; add these lines:\n{begin}\n{end}")
    text = "\n".join(lines).strip()
    write_file(path, pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", old).encode())


def arguments(description: str, **further: Any) -> argparse.ArgumentParser:
    """What those programs are asked that measure rows and write them down. `further`: arguments of
    their own."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name contains this")
    for name, given in further.items():
        parser.add_argument(f"--{name}", **given)
    parser.add_argument("--threads", type=int, default=min(2, processors()))
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--write", type=Path, help="the page to write")
    return parser


def tell(
    lines: Sequence[str],
    rows: Sequence[Any],
    options: argparse.Namespace,
    explanation: str,
    section: str,
) -> None:
    """Print what was measured, and write it where `options` say."""
    print("\n".join(lines))
    if options.json:
        write_file(options.json, json.dumps([row.json() for row in rows], indent=1).encode())
    if options.write:
        write(options.write, [explanation, *lines], section, f"make bench-{section}")
