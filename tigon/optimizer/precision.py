"""Which weights have a master copy in a wider dtype under `multi_precision`, and what follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tigon.base import as_dtype
from tigon.ir import Value
from tigon.ops.primitive.choose import cast

Formula = Callable[..., tuple[Value, Sequence[Value]]]
"""(weight, gradient, states, *rates) -> (new weight, new states), in operators on graph values."""


def wider(dtype: Any) -> str | None:
    """The dtype in which steps of a weight are made exactly enough; None where its own is.

    >>> wider("float32"), wider("int8"), wider("float16")
    (None, None, 'float32')
    """
    found = as_dtype(dtype)
    return "float32" if found.is_float and found.itemsize < 4 else None


def follow(weight: Any, exact: Any) -> None:
    """Let a weight be its master copy, rounded; nothing where it is its own."""
    if exact is not weight:
        weight[:] = exact.astype(weight.dtype)


def on_master(
    formula: Formula,
    weight: Value,
    grad: Value,
    states: Sequence[Value],
    numbers: Sequence[Value],
    place: int | None,
) -> tuple[Value, Sequence[Value]]:
    """New weight and states. `place`: where the states hold the master copy that the formula is
    about; `numbers` are of its dtype. Steps of narrow floats without a copy are made in float32 and
    rounded once."""
    if place is None and weight.dtype.is_narrow:
        own = [cast(state, dtype="float32") for state in states]
        wide = [cast(one, dtype="float32") for one in (weight, grad)]
        new, changed = formula(*wide, own, *numbers)
        pairs = zip(changed, states, strict=True)
        return cast(new, dtype=weight.dtype.name), [
            one if one.dtype is state.dtype else cast(one, dtype=state.dtype.name)
            for one, state in pairs
        ]
    if place is None:
        return formula(weight, grad, states, *numbers)
    master, own = states[place], [*states[:place], *states[place + 1 :]]
    new, changed = formula(master, cast(grad, dtype=master.dtype.name), own, *numbers)
    changed = [*changed]
    changed.insert(place, new)
    return cast(new, dtype=weight.dtype.name), changed
