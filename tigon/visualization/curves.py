"""Curves of training as a picture."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tigon.base import TigonError
from tigon.base.files import AnyPath, write_file

_STYLES = ["o-", "x--", "s:", "^-."]


def plot_curves(
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    filename: AnyPath,
    title: str = "",
    pictures: Sequence[tuple[Any, str]] = (),
) -> None:
    """Write a picture: one panel per key, one line per name in it; beside them gray `pictures`
    (rows and columns of numbers) with a text each.

    Needs matplotlib: `pip install tigon[demo]`.
    """
    try:
        import matplotlib
    except ImportError:
        raise TigonError(
            "plot_curves: needs matplotlib, which is not installed; pip install 'tigon[demo]'"
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    side = math.ceil(math.sqrt(len(pictures)))
    widths = [5] * len(curves) + [4] * bool(side)
    figure = pyplot.figure(figsize=(sum(widths), 3.6))
    grid = figure.add_gridspec(1, len(widths), width_ratios=widths)
    panels = [[figure.add_subplot(grid[0, column]) for column in range(len(curves))]]
    if side:
        cells = grid[0, -1].subgridspec(side, side, hspace=0.4)
        for number, (picture, text) in enumerate(pictures):
            cell = figure.add_subplot(cells[divmod(number, side)])
            cell.imshow(picture, cmap="gray_r")
            cell.set_title(text, fontsize=8, pad=2)
            cell.set_axis_off()
    for panel, (label, lines) in zip(panels[0], curves.items(), strict=True):
        for style, (name, values) in zip(_STYLES * len(lines), lines.items(), strict=False):
            panel.plot(range(1, len(values) + 1), values, style, label=name)
        panel.set_xlabel("epoch")
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
        panel.legend()
    figure.suptitle(title)
    figure.tight_layout()
    suffix = os.path.splitext(os.fsdecode(filename))[1]
    written = io.BytesIO()
    figure.savefig(written, dpi=110, format=suffix[1:] or "png")
    write_file(filename, written.getbuffer())
    pyplot.close(figure)
