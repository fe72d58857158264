"""A profile as a table, or as the same numbers in JSON: what took how long, by kind and name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from tigon.profiler.profile import Row

Sections = Mapping[str, Mapping[str, Row]]
"""Rows by kind, and by name."""

ORDERS = {
    "total": lambda row: row.total,
    "avg": lambda row: row.mean,
    "min": lambda row: row.least,
    "max": lambda row: row.most,
    "count": lambda row: row.count,
}

_COLUMNS = "{:<40} {:>12} {:>15} {:>15} {:>15} {:>15}"
_TIMES = ("Total Count", "Time (ms)", "Min Time (ms)", "Max Time (ms)", "Avg Time (ms)")
_SIZES = ("Total Count", "", "Min Use (kB)", "Max Use (kB)", "Avg Use (kB)")
_HEADINGS = {"block": "Blocks", "operator": "Operators", "kernel": "Kernels"}


def as_table(sections: Sections, sizes: np.ndarray, sort_by: str, ascending: bool) -> str:
    """A section for each kind. Times of kernels are those of all threads."""
    lines = ["", "Profile Statistics:", "\tNote the difference in units for different entries."]
    if len(sizes):
        lines += _heading("Device Storage", _SIZES)
        in_kb = sizes / 1000
        lines.append(
            _COLUMNS.format(
                "Memory:cpu",
                len(sizes),
                "",
                *(f"{size:.4f}" for size in (in_kb.min(), in_kb.max(), in_kb.mean())),
            )
        )
    for kind, rows in sections.items():
        lines += _heading(_HEADINGS.get(kind, kind.capitalize()), _TIMES)
        for name, row in _ordered(rows, sort_by, ascending):
            times = (row.total, row.least, row.most, row.mean)
            shown = name if len(name) <= 40 else f"{name[:37]}..."
            lines.append(
                _COLUMNS.format(shown, row.count, *(f"{time / 1e6:.4f}" for time in times))
            )
    return "\n".join([*lines, ""])


def _heading(title: str, columns: tuple[str, ...]) -> list[str]:
    rule = _COLUMNS.format(*("-" * len(text) for text in ("Name", *columns)))
    return [
        "",
        title,
        "=================",
        _COLUMNS.format("Name", *columns).rstrip(),
        rule.rstrip(),
    ]


def as_json(sections: Sections, sizes: np.ndarray, sort_by: str, ascending: bool) -> str:
    """The same, as MXNet's `dumps(format='json')` nests it."""
    times: dict[str, Any] = {}
    for kind, rows in sections.items():
        times[kind] = {
            name: {
                "Count": row.count,
                "Total": row.total / 1e6,
                "Min": row.least / 1e6,
                "Max": row.most / 1e6,
                "Avg": row.mean / 1e6,
            }
            for name, row in _ordered(rows, sort_by, ascending)
        }
    memory: dict[str, Any] = {}
    if len(sizes):
        kb = sizes / 1000
        memory["Device Storage"] = {
            "Memory:cpu": {
                "Count": len(sizes),
                "Min": float(kb.min()),
                "Max": float(kb.max()),
                "Avg": float(kb.mean()),
            }
        }
    return json.dumps({"Time": times, "Memory": memory, "Unit": {"Time": "ms", "Memory": "kb"}})


def _ordered(rows: Mapping[str, Row], sort_by: str, ascending: bool) -> list[tuple[str, Row]]:
    order = ORDERS[sort_by]
    return sorted(rows.items(), key=lambda item: (order(item[1]), item[0]), reverse=not ascending)
