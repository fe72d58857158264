"""Layers that add a border."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon.base import check
from tigon.gluon.block import HybridBlock


class ReflectionPad2D(HybridBlock):
    """Images (n, c, h, w) with a border that mirrors what lies within, edges not repeated.

    `padding`: rows and columns on each side, less than the image has; or eight numbers, before and
    behind along each axis.

    >>> from tigon import nd
    >>> ReflectionPad2D(1)(nd.array([[[[1, 2], [3, 4]]]])).asnumpy()[0, 0].tolist()
    [[4.0, 3.0, 4.0, 3.0], [2.0, 1.0, 2.0, 1.0], [4.0, 3.0, 4.0, 3.0], [2.0, 1.0, 2.0, 1.0]]
    """

    def __init__(self, padding: int | Sequence[int] = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        widths = (0,) * 4 + (padding,) * 4 if isinstance(padding, int) else tuple(padding)
        check(
            len(widths) == 8 and min(widths) >= 0 and not any(widths[:4]),
            "ReflectionPad2D",
            "padding: expected a number of 0 or more, or eight of them, before and behind along "
            f"each axis, those of the first two axes 0; given {padding}",
        )
        self._padding = widths

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.pad(x, mode="reflect", pad_width=self._padding)
