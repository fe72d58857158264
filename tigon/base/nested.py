"""Lists, tuples and dictionaries in each other, as deep as `DEEPEST`: what they hold, in order."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tigon.base.errors import TigonError

DEEPEST = 1000
"""Levels of containers. The native look-up of arguments knows the same number."""

Step = tuple[str, Any]
"""What to make next when a nest is built: ("leaf", item), or a container of the last so many."""


def filled(container: Any, items: Iterable[tuple[Any, Any]]) -> Any:
    """A copy of a list or dictionary, of its class, with other items in these places."""
    made = copy.copy(container)
    put = list.__setitem__ if isinstance(made, list) else dict.__setitem__
    for key, item in items:
        put(made, key, item)
    return made


def _step(part: Any) -> Step | None:
    """What closes a container; None for a leaf."""
    if isinstance(part, (dict, list)):
        keys = list(part) if isinstance(part, dict) else list(range(len(part)))
        if type(part) not in (dict, list):
            return "items", (filled(part, [(key, None) for key in keys]), keys)
        return ("dict", keys) if isinstance(part, dict) else ("list", len(part))
    if isinstance(part, tuple):
        if type(part) is tuple:
            return "tuple", len(part)
        return "subclass", (type(part), len(part), dict(getattr(part, "__dict__", ())))
    return None


def steps(item: Any, where: str, keeps: Callable[[Any], bool] | None = None) -> Iterator[Step]:
    """How to build the nest again from its leaves, each container after its parts. Lists and
    dictionaries that `keeps` are leaves, too.

    >>> list(steps([1, {"a": (2,)}], "f"))  # doctest: +NORMALIZE_WHITESPACE
    [('leaf', 1), ('leaf', 2), ('tuple', 1), ('dict', ['a']), ('list', 2)]
    """
    stack: list[tuple[Step | None, Iterator[Any]]] = [(None, iter((item,)))]
    while stack:
        closing, rest = stack[-1]
        for part in rest:
            step = _step(part)
            if step is None or (keeps and not isinstance(part, tuple) and keeps(part)):
                yield "leaf", part
                continue
            inside = part.values() if isinstance(part, dict) else part
            stack.append((step, iter(list(inside))))
            if len(stack) > DEEPEST + 1:
                raise TigonError(
                    f"{where}: containers are nested more than {DEEPEST} deep; one of them may "
                    "contain itself; pass arrays in lists, tuples or dictionaries that end"
                )
            break
        else:
            stack.pop()
            if closing is not None:
                yield closing


def close(made: list[Any], kind: str, what: Any) -> None:
    """Put a container, as `steps` names it, in the place of its parts at the end of `made`."""
    start = len(made) - count_of(kind, what)
    parts = made[start:]
    del made[start:]
    if kind == "dict":
        made.append(dict(zip(what, parts, strict=True)))
    elif kind == "items":
        made.append(filled(what[0], zip(what[1], parts, strict=True)))
    elif kind == "subclass":
        derived = tuple.__new__(what[0], parts)  # its own code may take other arguments
        for name, value in what[2].items():
            object.__setattr__(derived, name, value)
        made.append(derived)
    else:
        made.append(parts if kind == "list" else tuple(parts))


def parts(structure: Sequence[Step]) -> list[Sequence[Step]]:
    """How to build each part of the outermost container.

    >>> parts((("leaf", 1), ("leaf", 2), ("leaf", 3), ("tuple", 2), ("list", 2)))
    [(('leaf', 1),), (('leaf', 2), ('leaf', 3), ('tuple', 2))]
    """
    starts: list[int] = []
    for position, (kind, what) in enumerate(structure[:-1]):
        count = count_of(kind, what)
        starts[len(starts) - count :] = [starts[len(starts) - count] if count else position]
    return [structure[a:b] for a, b in pairwise([*starts, len(structure) - 1])]


def count_of(kind: str, what: Any) -> int:
    """How many of the last parts a step takes: none, if it is no container."""
    if kind in ("list", "tuple"):
        return int(what)
    if kind == "items":
        return len(what[1])
    return len(what) if kind == "dict" else what[1] if kind == "subclass" else 0


def replaced(item: Any, of: Callable[[Any], Any], known: Mapping[int, Any] | None = None) -> Any:
    """The nest with `of(leaf)` in the place of each leaf. Lists and dictionaries stay themselves,
    wherever they are held, and may contain themselves; those `known` by their `id` are replaced as
    they are.

    >>> inner = [1]
    >>> replaced((inner, {"a": inner}), lambda leaf: leaf + 1), inner
    (([2], {'a': [2]}), [2])
    """
    made: dict[int, Any] = dict(known or {})

    def value(part: Any) -> Any:
        return made[id(part)] if isinstance(part, (list, tuple, dict)) else of(part)

    stack = [item] if isinstance(item, (list, tuple, dict)) and id(item) not in made else []
    opened: dict[int, bool] = {}  # whether it is finished, too
    while stack:
        part: Any = stack[-1]
        inside = list(part.values() if isinstance(part, dict) else part)
        if id(part) not in opened:
            opened[id(part)] = False
            if not isinstance(part, tuple):
                made[id(part)] = part
            stack += [p for p in inside if isinstance(p, (list, tuple, dict)) and id(p) not in made]
            continue
        stack.pop()
        if opened[id(part)]:
            continue
        opened[id(part)] = True
        values = [value(held) for held in inside]
        if isinstance(part, tuple):
            step = _step(part)
            assert step is not None
            close(values, *step)
            made[id(part)] = values[0]
        else:
            put: Any = list.__setitem__ if isinstance(part, list) else dict.__setitem__
            keys = range(len(values)) if isinstance(part, list) else list(part)
            for key, new in zip(keys, values, strict=True):
                put(part, key, new)
    return value(item)


def rebuilt(item: Any, of: Callable[[Any], Any]) -> tuple[Any, list[tuple[Any, Any]]]:
    """A nest with `of(leaf)` in the place of each leaf, asked for in order, and its new containers
    beside the old ones. A container in which nothing is replaced stays itself; what stands twice is
    made once.

    >>> plain, arrays = {"rate": 1}, ["x"]
    >>> made, pairs = rebuilt((plain, arrays), lambda leaf: leaf * 2 if leaf == "x" else leaf)
    >>> made, made[0] is plain, pairs[0][1] is arrays
    (({'rate': 1}, ['xx']), True, True)
    """
    made: dict[int, Any] = {}
    pairs: list[tuple[Any, Any]] = []
    kinds = (list, tuple, dict)
    if not isinstance(item, kinds):
        return of(item), pairs
    opened: list[tuple[Any, Iterator[Any], list[Any]]] = [(item, _inside(item), [])]
    while True:
        part, rest, values = opened[-1]
        for held in rest:
            if not isinstance(held, kinds):
                values.append(of(held))
                continue
            if id(held) not in made:
                opened.append((held, _inside(held), []))
                break
            for leaf in leaves(held, "rebuilt"):  # asked for once more, in its place
                of(leaf)
            values.append(made[id(held)])
        else:
            opened.pop()
            made[id(part)] = part
            if any(new is not old for new, old in zip(values, _inside(part), strict=True)):
                step = _step(part)
                assert step is not None
                close(values, *step)
                made[id(part)] = values[0]
                if not isinstance(part, tuple):
                    pairs.append((values[0], part))
            if not opened:
                return made[id(item)], pairs
            opened[-1][2].append(made[id(part)])


def _inside(container: Any) -> Iterator[Any]:
    return iter(list(container.values() if isinstance(container, dict) else container))


def leaves(item: Any, where: str) -> Iterator[Any]:
    """Everything in a nest that is no list, tuple or dictionary, in order.

    >>> list(leaves([1, {"a": (2,)}], "f"))
    [1, 2]
    """
    for kind, what in steps(item, where):
        if kind == "leaf":
            yield what


def holds(item: Any, kinds: type | tuple[type, ...]) -> bool:
    """Whether something of these types is in a nest, which may contain itself.

    >>> holds([1, {"a": ("b",)}], str)
    True
    """
    if not issubclass(type(item), (list, tuple, dict)):  # `isinstance` would ask a proxy
        return issubclass(type(item), kinds)
    deeper = False
    for part in item.values() if isinstance(item, dict) else item:
        if isinstance(part, kinds):
            return True
        deeper = deeper or isinstance(part, (list, tuple, dict))
    return deeper and _holds_deep(item, kinds)


def _holds_deep(item: Any, kinds: type | tuple[type, ...]) -> bool:
    seen: set[int] = set()
    stack = [item]
    while stack:
        part = stack.pop()
        if isinstance(part, kinds):
            return True
        if isinstance(part, (list, tuple, dict)) and id(part) not in seen:
            seen.add(id(part))
            stack.extend(part.values() if isinstance(part, dict) else part)
    return False
