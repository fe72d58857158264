"""What notebooks show of blocks."""

from __future__ import annotations

from html import escape
from typing import Any

from tigon.visualization.summary import _count


def block_html(block: Any) -> str:
    """A block as a tree whose parts open and close: name, class, and numbers that it learns.

    >>> from tigon.gluon import nn
    >>> net = nn.HybridSequential()
    >>> net.add(nn.Dense(2, in_units=3))
    >>> block_html(net).count("<details"), "8 numbers" in block_html(net)
    (2, True)
    """
    open_: list[list[str]] = []  # of each block that is open, its children's text
    text = ""
    for event, _, name, one in block._tour("_repr_html_"):
        if event == "enter":
            open_.append([])
            continue
        title = f"<code>{escape(name)}</code> {escape(type(one).__name__)}"
        if event == "again":
            text = f"<div>{title}: see above</div>"
        else:
            inner = open_.pop()
            parts = [
                escape(f"{key}: {param.shape} {_dtype(param)}")
                for key, param in one._reg_params.items()
            ]
            parts = [f"<div>{part}</div>" for part in parts]
            total = _count(one.collect_params().values())
            shown = ' open=""' if one is block else ""
            text = (
                f'<details{shown} style="margin-left: 1em"><summary>{title}'
                f"{_numbers(total)}</summary>"
                f"{''.join([*parts, *inner])}</details>"
            )
        if open_:
            open_[-1].append(text)
    return text


def _numbers(total: int) -> str:
    return f": {total:,} number{'s' * (total != 1)}" if total else ""


def _dtype(param: Any) -> str:
    return getattr(param.dtype, "__name__", str(param.dtype))
