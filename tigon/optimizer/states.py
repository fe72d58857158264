"""States of parameters as what they are made of: None, an array, or tuples of these, one within the
other where there is a master copy of the weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _parts(state: Any) -> list[Any] | None:
    return list(state) if isinstance(state, (list, tuple)) else None


def leaves(state: Any) -> dict[str, Any]:
    """The arrays of a state, by their places.

    >>> leaves(None), leaves("array"), leaves((None, ("mean", "variance")))
    ({}, {'0': 'array'}, {'1.0': 'mean', '1.1': 'variance'})
    """
    found: dict[str, Any] = {}
    for place, part in enumerate([state] if _parts(state) is None else state):
        inner = _parts(part)
        if inner is None:
            found[str(place)] = part
        else:
            found |= {f"{place}.{position}": leaf for position, leaf in enumerate(inner)}
    return {place: leaf for place, leaf in found.items() if leaf is not None}


def as_list(state: Any) -> list[Any]:
    """The arrays of a state, in order.

    >>> as_list((None, ("mean", "variance")))
    ['mean', 'variance']
    """
    if not isinstance(state, (tuple, list)):
        return [] if state is None else [state]
    found: list[Any] = []
    for part in state:  # which runs at every step
        if isinstance(part, (tuple, list)):
            found += [leaf for leaf in part if leaf is not None]
        elif part is not None:
            found.append(part)
    return found


def rebuilt(like: Any, found: Mapping[str, Any]) -> Any:
    """A state of the same form with other arrays, given by their places.

    >>> rebuilt((None, ["a", "b"]), {"1.0": "mean", "1.1": "variance"})
    (None, ('mean', 'variance'))
    """
    outer = _parts(like)
    if outer is None:
        return found.get("0")
    made = []
    for place, part in enumerate(outer):
        inner = _parts(part)
        if inner is None:
            made.append(found.get(str(place)))
        else:
            made.append(tuple(found.get(f"{place}.{i}") for i in range(len(inner))))
    return tuple(made)


def nested(found: Mapping[str, Any]) -> Any:
    """The state whose arrays these are, by their places; what is not there is None.

    >>> nested({"0": "array"}), nested({"1.0": "mean", "1.1": "variance"})
    ('array', (None, ('mean', 'variance')))
    """
    if list(found) == ["0"]:
        return found["0"]
    form: list[Any] = []
    for place in found:
        outer, _, inner = place.partition(".")
        form += [None] * (int(outer) + 1 - len(form))
        if inner:
            held = form[int(outer)] or []
            form[int(outer)] = held + [None] * (int(inner) + 1 - len(held))
    return rebuilt(form, found)
