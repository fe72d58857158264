"""What a reduction or a scan combines elements by, each in one row. The order of elements is open:
they are combined in lanes, blocks and trees."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from tigon.base.dtypes import DType
from tigon.base.errors import InternalError
from tigon.base.frozen import Frozen
from tigon.loop import build as L
from tigon.loop.functions import FUNCTIONS
from tigon.loop.grammar import Apply, Expr, walk

Number = float | int


class Combine(Frozen):
    name: str
    kinds: str
    """Kinds of dtypes that it combines: any of 'f', 'i', 'u', 'b'."""
    neutral: Callable[[DType], Number]
    """What nothing comes to."""
    numpy: Callable[..., Any]
    """The step on arrays; of a positional one, where the extreme is along an axis."""
    step: Callable[[Expr, Expr], Expr] | None = None
    """What two elements come to, or what two lots of elements have come to."""
    start: Callable[[DType], Number] | None = None
    """What a scan begins with, if not `neutral`: it changes no element that it is combined with,
    while 0.0 + -0.0 is 0.0."""
    order: str = ""
    """"gt" or "lt" of a positional one: not the extreme element is the result but its position
    (int64), the first if several; NaN is extreme. It cannot be cut in parts, and no scan keeps it.
    """

    @property
    def positional(self) -> bool:
        return bool(self.order)

    def price(self, dtype: DType) -> float:
        """Of a step, in instructions."""
        if self.step is None:
            return 1.0
        step = self.step(L.local("a", dtype), L.local("b", dtype))
        return sum(FUNCTIONS[n.function].price for n in walk(step) if isinstance(n, Apply))

    def reduced(self, array: np.ndarray, dtype: DType) -> Any:
        """Along the first axis."""
        start = self.neutral(dtype)
        if isinstance(self.numpy, np.ufunc):
            return self.numpy.reduce(array, axis=0, dtype=dtype.numpy, initial=start)
        return reduce(self.numpy, array, np.full(array.shape[1:], start, dtype.numpy))

    def accumulated(self, array: np.ndarray, dtype: DType) -> Any:
        """Along the first axis, up to each element."""
        if isinstance(self.numpy, np.ufunc):
            return self.numpy.accumulate(array, axis=0, dtype=dtype.numpy)
        result = np.array(array, dtype.numpy)
        for place in range(1, len(result)):
            result[place] = self.numpy(result[place - 1], result[place])
        return result


COMBINES: dict[str, Combine] = {}
"""By name."""


def declare(combine: Combine) -> None:
    if combine.name in COMBINES:
        raise InternalError(f"loop.{combine.name}: there is such a combination already")
    COMBINES[combine.name] = combine


for _row in (
    Combine(
        "sum",
        "fiu",
        lambda dtype: 0,
        np.add,
        L.add,
        start=lambda dtype: -0.0 if dtype.is_float else 0,
    ),
    Combine("prod", "fiu", lambda dtype: 1, np.multiply, L.mul),
    Combine("maximum", "fiub", lambda dtype: L.least(dtype).value, np.maximum, L.maximum),
    Combine("minimum", "fiub", lambda dtype: L.greatest(dtype).value, np.minimum, L.minimum),
    Combine("argmax", "fiub", lambda dtype: L.least(dtype).value, np.argmax, order="gt"),
    Combine("argmin", "fiub", lambda dtype: L.greatest(dtype).value, np.argmin, order="lt"),
):
    declare(_row)
