"""The table as a picture: every row a line, every contestant a mark on it.

    python benchmarks/chart.py figures.json docs/benchmarks.svg

`figures.json` is what `make bench BENCH="--json figures.json"` writes; `--chart` does both.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

from tigon.base.files import write_file

# Colours that stay apart for the colour-blind, and markers for those who print.
MARKS = {
    "tigon imperative": ("tigon, imperative", "#000000", "|"),
    "torch": ("PyTorch", "#D55E00", "o"),
    "jax": ("JAX", "#0072B2", "s"),
    "onnxruntime": ("ONNX Runtime", "#009E73", "D"),
    "numpy": ("numpy", "#CC79A7", "^"),
}
LIMIT = ("limit of the machine", "#999999", "|")


def number(microseconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3g} {unit}"
    return f"{microseconds:.3g} µs"


def draw(figures: dict[str, Any], path: Path) -> None:
    """Times as multiples of tigon's, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "tigon", "font.size": 9})
    from matplotlib import pyplot

    rows = figures["rows"]
    figure, axes = pyplot.subplots(figsize=(10, 1.4 + 0.32 * len(rows)), layout="constrained")
    seen: dict[str, Any] = {}

    def mark(at: float, line: int, about: tuple[str, str, str]) -> None:
        name, colour, marker = about
        size = 9 if marker == "|" else 6
        (made,) = axes.plot(
            at, line, marker, color=colour, markersize=size, markeredgewidth=1.5 if size == 9 else 0
        )
        seen.setdefault(name, made)

    for line, row in enumerate(rows):
        medians = {name: times["median"] for name, times in row["microseconds"].items()}
        own = medians["tigon"]
        shown = {name: value / own for name, value in medians.items() if name in MARKS}
        if row["limit"]:
            mark(row["limit"] / own, line, LIMIT)
        for name, ratio in shown.items():
            mark(ratio, line, MARKS[name])
        least, most = min(shown.values(), default=1), max(shown.values(), default=1)
        axes.hlines(line, min(1, least), max(1, most), color="#dddddd", zorder=0)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.set_xlabel(
        "time per call, as a multiple of tigon's (the line at 1x): right of it is slower"
    )
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.invert_yaxis()
    right = axes.secondary_yaxis("right")
    times = [row["microseconds"]["tigon"]["median"] for row in rows]
    right.set_yticks(range(len(rows)), [f"tigon {number(time)}" for time in times])
    for side in (axes, right):
        side.tick_params(axis="y", length=0)
        side.spines[:].set_visible(False)
    order = [name for name, _, _ in (*MARKS.values(), LIMIT) if name in seen]
    figure.legend(
        [seen[name] for name in order], order, loc="outside upper center", ncols=6, frameon=False
    )
    picture = io.BytesIO()
    figure.savefig(picture, format="svg", metadata={"Date": None})
    write_file(path, picture.getbuffer())
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    draw(json.loads(options.figures.read_text()), options.picture)


if __name__ == "__main__":
    main()
