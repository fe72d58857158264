"""Gradients in two bits: what is left out of one push is part of the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tigon.base import check

_WHERE = "set_gradient_compression"


class TwoBits:
    """Of each number -threshold, 0 or threshold is sent; the rest stays for the next time.

    >>> from tigon import nd
    >>> send = TwoBits(0.5)
    >>> gradient = nd.array([0.3, 0.6, -0.7])
    >>> send("w", gradient).asnumpy().tolist(), send("w", gradient).asnumpy().tolist()
    ([0.0, 0.5, -0.5], [0.5, 0.5, -0.5])
    """

    def __init__(self, threshold: float = 0.5) -> None:
        check(threshold > 0, _WHERE, f"threshold is a positive number; given {threshold}")
        self.threshold = float(threshold)
        self._left: dict[Any, Any] = {}

    def __call__(self, place: Any, gradient: Any) -> Any:
        """What is sent of a gradient; `place` says whose it is."""
        left = self._left.get(place)
        whole = gradient if left is None else gradient + left
        above = (whole >= self.threshold) * self.threshold
        sent = above - (whole <= -self.threshold) * self.threshold
        self._left[place] = whole - sent
        return sent


def compression(params: Mapping[str, Any]) -> TwoBits | None:
    """What these parameters ask for: {'type': '2bit', 'threshold': 0.5}, or 'none'."""
    check(
        isinstance(params, Mapping) and "type" in params,
        _WHERE,
        f"expected {{'type': '2bit', 'threshold': 0.5}}; given {params!r:.80}",
    )
    fields = dict(params)
    kind = fields.pop("type")
    check(kind in ("2bit", "none"), _WHERE, f"type: expected '2bit' or 'none'; given {kind!r:.80}")
    unknown = sorted(set(fields) - {"threshold"})
    check(not unknown, _WHERE, f"expected type and threshold; given {', '.join(unknown)}, too")
    return TwoBits(**fields) if kind == "2bit" else None
