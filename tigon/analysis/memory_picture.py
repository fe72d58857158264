"""A memory plan as a picture: address against time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon.base import svg

WIDTH, HEIGHT = 640.0, 240.0
LEFT, TOP, RIGHT, BOTTOM = 74.0, 40.0, 16.0, 34.0
FILLS = ("#9ecae1", "#fdd0a2", "#c7e9c0", "#dadaeb", "#fbb4b9", "#fee391", "#b3cde3", "#d9d9d9")


def plan_picture(plans: Sequence[tuple[str, Any]], title: str = "memory") -> str:
    """SVG of plans with a name each, one panel below the other.

    >>> from tigon.analysis.memory_plan import MemoryPlan, MemoryRow
    >>> row = MemoryRow("h", "temporary", "float32[4]", 16, 0, 1, 0)
    >>> plan_picture([("", MemoryPlan(48, 1, 64, 48, rows=(row,)))]).count("<title>h")
    1
    """
    height = TOP + HEIGHT + BOTTOM
    parts = []
    for number, (name, plan) in enumerate(plans):
        panel = _panel(name, plan)
        parts.append(svg.element("g", *panel, transform=f"translate(0 {number * height:g})"))
    return svg.document(LEFT + WIDTH + RIGHT, height * len(plans), parts, title)


def _panel(name: str, plan: Any) -> list[str]:
    held = [row for row in plan.rows if row.offset is not None and row.nbytes]
    outside = sum(row.nbytes for row in plan.rows if row.offset is None)
    head = (
        f"{name + ': ' if name else ''}arena of {in_bytes(plan.arena_bytes)} for {len(held)} "
        f"temporaries; {in_bytes(outside)} of inputs and outputs beside it"
    )
    parts = [svg.text(LEFT, 18, head, font_size=12, fill="#1c2430")]
    steps = 1 + max((row.last for row in held), default=0)
    across, upward = WIDTH / steps, HEIGHT / max(plan.arena_bytes, 1)
    parts.append(
        svg.element(
            "rect", x=LEFT, y=TOP, width=WIDTH, height=HEIGHT, fill="#f7f8fa", stroke="none"
        )
    )
    for number, row in enumerate(held):
        left = LEFT + row.first * across
        width = (row.last - row.first + 1) * across
        tall = row.nbytes * upward
        top = TOP + HEIGHT - row.offset * upward - tall
        hint = f"{row.name}\n{row.type}, {in_bytes(row.nbytes)} at {row.offset}\n"
        hint += f"steps {row.first} to {row.last}"
        drawn = [
            svg.tooltip(hint),
            svg.element(
                "rect",
                x=left,
                y=top,
                width=width,
                height=tall,
                fill=FILLS[number % len(FILLS)],
                stroke="#5b6472",
                stroke_width=0.6,
            ),
        ]
        if tall >= 11 and svg.width_of(row.name, 9) + 4 <= width:
            drawn.append(
                svg.text(left + 3, top + tall / 2 + 3.5, row.name, font_size=9, fill="#1c2430")
            )
        parts.append(svg.element("g", *drawn))
    return [*parts, *_axes(plan.arena_bytes, steps, across)]


def _axes(arena_bytes: int, steps: int, across: float) -> list[str]:
    line: dict[str, str | float] = {"stroke": "#5b6472", "stroke_width": 1}
    bottom = TOP + HEIGHT
    parts = [
        svg.element("line", x1=LEFT, y1=TOP, x2=LEFT, y2=bottom, **line),
        svg.element("line", x1=LEFT, y1=bottom, x2=LEFT + WIDTH, y2=bottom, **line),
    ]
    for part in range(5) if arena_bytes else ():
        y = bottom - HEIGHT * part / 4
        parts.append(svg.element("line", x1=LEFT - 4, y1=y, x2=LEFT, y2=y, **line))
        label = in_bytes(arena_bytes * part / 4)
        parts.append(svg.text(LEFT - 7, y + 4, label, text_anchor="end", font_size=10))
    each = max(1, -(-steps // 16))
    for step in range(0, steps, each):
        x = LEFT + (step + 0.5) * across
        parts.append(svg.text(x, bottom + 14, str(step), text_anchor="middle", font_size=10))
    middle = LEFT + WIDTH / 2
    parts.append(svg.text(middle, bottom + 28, "step", text_anchor="middle", font_size=10))
    return parts


def in_bytes(count: float) -> str:
    """A size for people.

    >>> in_bytes(64), in_bytes(1536), in_bytes(3 * 2**30)
    ('64 B', '1.5 KiB', '3 GiB')
    """
    power = 0
    while count >= 1024 and power < 3:
        count, power = count / 1024, power + 1
    return f"{count:.1f}".removesuffix(".0") + f" {('B', 'KiB', 'MiB', 'GiB')[power]}"
