"""Memory that training may take."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from tigon.base import TigonError
from tigon.base.frozen import Frozen
from tigon.passes.cut_joint import Choice

UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}

Result = TypeVar("Result")


class Budget(Frozen):
    """Bytes that the program called `who` may take; 0 for as few as can be."""

    who: str
    nbytes: int

    def best(
        self, offered: Iterable[Choice], measure: Callable[[Choice], tuple[int, Result]]
    ) -> Result:
        """What `measure` makes of the choice that repeats least, of those that fit as measured."""
        left = list(offered)
        smallest = min(left, key=lambda choice: (choice.nbytes, choice.work))
        if self.nbytes == 0:
            return measure(smallest)[1]
        needs: list[int] = []
        most = self.nbytes
        while left:
            fit = [choice for choice in left if choice.nbytes <= most] or [smallest]
            best = min(fit, key=lambda choice: (choice.work, choice.nbytes))
            needed, made = measure(best)
            if needed <= self.nbytes:
                return made
            needs.append(needed)
            # What the estimate leaves out, such as gradients on their way, others need as well,
            # if perhaps not at the same time: half of it is asked for.
            most = best.nbytes - max(1, (needed - self.nbytes) // 2)
            left = [] if best is smallest else fit
        found = f"; of what was tried the least takes {min(needs):,}"
        raise TigonError(
            f"{self.who}: recompute expected a budget that forward and backward fit in; given "
            f"{self.nbytes:,} bytes{found}; give more, or recompute=True for as little as can be"
        )


def budget_in_bytes(given: Any, who: str) -> int | None:
    """The option `recompute`, in bytes: None where nothing is to be repeated.

    >>> budget_in_bytes("1.5 GB", "net"), budget_in_bytes(True, "net"), budget_in_bytes(None, "net")
    (1500000000, 0, None)
    """
    if given is None or isinstance(given, (bool, np.bool_)):
        return 0 if given else None
    amount, unit = given, "B"
    if isinstance(given, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kMG]?B)\s*", given)
        amount, unit = (float(found[1]), found[2]) if found else (0, "B")
    if isinstance(amount, (int, float, np.number)) and 1 <= amount * UNITS[unit] < float("inf"):
        return int(amount * UNITS[unit])
    raise TigonError(
        f"{who}: recompute expected True, a number of bytes, or a text such as '200 MB'; "
        f"given {given!r}"
    )
