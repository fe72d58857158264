"""What operators refuse when one argument is spoilt, as a list: of each attribute which values, of
each operand which shapes and dtypes. A check that lost a clause, or whose boundary moved, shows.

`make golden` (TIGON_UPDATE_GOLDEN=1) rewrites the list; review reads the difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.registry.test_records import OPERATORS, usual
from tigon.base import TensorType, TigonError, as_dtype
from tigon.base.dtypes import DType
from tigon.base.types import Shape
from tigon.ir.graph import variable
from tigon.ops.attributes import attr_fields
from tigon.ops.record import Operator

HERE = Path(__file__).parent / "refusals"
VALUES: tuple[Any, ...] = (
    "nonsense", -3, -2, -1, 0, 1, 2, 3, -0.5, 0.5, (), (-1,), (0,), (1,), (0, 1), (1, 1), (2, 1, 3),
)  # fmt: skip
DTYPES = ("float32", "float64", "int32", "uint8", "bool")


def refused(attempt: Callable[[], object]) -> bool:
    """No other error than one of the user's may come of it."""
    try:
        attempt()
    except TigonError:
        return True
    return False


def other_shapes(shape: Shape) -> Iterator[tuple[str, Shape]]:
    yield "an axis more", (*shape, 1)
    yield "an axis before", (1, *shape)
    if shape:
        yield "no last axis", shape[:-1]
        yield "no first axis", shape[1:]
    for axis, extent in enumerate(shape):
        for other in {0, 1, extent - 1, extent + 1} - {extent, -1}:
            yield f"{other} at {axis}", (*shape[:axis], other, *shape[axis + 1 :])


def refusals(op: Operator) -> Iterator[str]:
    sample = op.samples[0]
    attributes = sample[-1]
    shapes = [given.shape if isinstance(given, np.ndarray) else given for given in sample[:-1]]
    dtypes = usual(op, sample)

    def made(own: dict[str, Any], places: list[Shape], kinds: list[DType]) -> None:
        given = zip(places, kinds, strict=True)
        op(*(variable(f"x{n}", TensorType(tuple(s), d)) for n, (s, d) in enumerate(given)), **own)

    made(attributes, shapes, dtypes)
    for name in attr_fields(op.attrs_type):
        found = [
            repr(value)
            for value in VALUES
            if refused(lambda v=value, n=name: made({**attributes, n: v}, shapes, dtypes))
        ]
        yield f"{op.name}, {name}: {', '.join(found) or 'nothing'}"
    for place, shape in enumerate(shapes):
        found = []
        for what, other in sorted(other_shapes(tuple(shape))):
            changed = [*shapes[:place], other, *shapes[place + 1 :]]
            if refused(lambda c=changed: made(attributes, c, dtypes)):
                found.append(what)
        for name in DTYPES:
            kinds = [*dtypes[:place], as_dtype(name), *dtypes[place + 1 :]]
            if refused(lambda k=kinds: made(attributes, shapes, k)):
                found.append(name)
        yield f"{op.name}, operand {place} {tuple(shape)}: {', '.join(found) or 'nothing'}"


def compare(name: str, lines: list[str]) -> None:
    path = HERE / f"{name}.txt"
    text = "\n".join(lines) + "\n"
    if os.environ.get("TIGON_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text().splitlines() == lines


@pytest.mark.filterwarnings("ignore")
def test_what_operators_refuse() -> None:
    compare("operators", [line for op in OPERATORS if op.samples for line in refusals(op)])
