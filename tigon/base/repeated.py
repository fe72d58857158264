"""Names that are given more than once."""

from __future__ import annotations

from collections.abc import Iterable


def repeated(names: Iterable[str]) -> list[str]:
    """Those that come more than once, in order of the alphabet.

    >>> repeated(["weight", "data", "bias", "data"])
    ['data']
    """
    seen: set[str] = set()
    return sorted({name for name in names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]
