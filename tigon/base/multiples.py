"""Multiples of a number."""

from __future__ import annotations

from typing import Any


def round_up(number: Any, unit: int) -> Any:
    """The next multiple of `unit`; a formula, where `number` is one (`tigon.base.extents`).

    >>> round_up(65, 64), round_up(64, 64), round_up(0, 64)
    (128, 64, 0)
    """
    return -(-number // unit) * unit
