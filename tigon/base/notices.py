"""What programs tell while they run: a kernel says that something is so, and the user is warned,
once in a process. Kernels that are stored on disk know the numbers: a notice keeps its own."""

from __future__ import annotations

import os
import sys
import warnings

from tigon.base.frozen import Frozen


class Notice(Frozen):
    number: int
    text: str


LABEL_CANNOT_FIT = Notice(
    0,
    "CTCLoss: expected labels that some alignment fits, a step for each and one more between equal "
    "neighbours; given a sample with fewer steps: its loss is 0, and it has no gradient; give more "
    "steps (smaller strides before this layer) or shorter labels (this is said once)",
)

SILENT = 64
"""The number of a notice that nobody is told: kernels know fewer."""

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_BY_NUMBER = {notice.number: notice for notice in (LABEL_CANNOT_FIT,)}


def texts() -> tuple[str, ...]:
    """Of all notices, by number."""
    return tuple(_BY_NUMBER[number].text for number in range(len(_BY_NUMBER)))


def tell(number: int) -> None:
    """Warn of what a program has noticed, at the line of the user's that runs meanwhile."""
    warn_user(_BY_NUMBER[number].text)


def warn_user(text: str) -> None:
    """A warning that points at the user's line: the first caller outside the library."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, RuntimeWarning, stacklevel=level)
