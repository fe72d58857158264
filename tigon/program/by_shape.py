"""Types that differ in extents only are compiled together, with run-time extents.

Which extents vary is learned from the calls: those in which the types seen so far differ. Axes that
always changed together are taken for one extent (the batch of the data and that of the labels),
which is a condition like any other: where it does not hold, the family does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

from tigon.base import TensorType, config
from tigon.base.extents import RuntimeExtents
from tigon.base.frozen import Frozen
from tigon.base.locks import reentrant_lock
from tigon.runtime.counters import count

Types = Mapping[str, TensorType]

Made = TypeVar("Made")
Result = TypeVar("Result")

TYPES_SEEN = 5
"""Types from which it is learned what varies, of one kind."""

REGIMES_KEPT = 4
"""Graphs of one family, where extents of different size are computed in different ways."""

KINDS_KEPT = 256
"""Kinds of types that one graph is called with; the oldest goes first."""


class Fit(Frozen, eq=False):
    """What serves some types, and the values of its run-time extents for them."""

    result: Any
    extents: RuntimeExtents | None = None
    values: tuple[int, ...] = ()


class ByShape(Generic[Made]):
    """What was made for types, shared by types that differ in extents.

    `make(types)` begins it, for types that may hold run-time extents. The first types are served as
    they are; from the second on what differs is left open.

    >>> from tigon.base.dtypes import float32
    >>> def compile(types):
    ...     print("compiling", types)
    ...     return types["x"]
    >>> compiled = ByShape(compile)
    >>> for batch in (64, 32, 10):
    ...     fit = compiled.use({"x": TensorType((batch, 3), float32)}, lambda made: made.size)
    ...     print(fit.result, fit.values)
    compiling {'x': float32[64,3]}
    192 ()
    compiling {'x': float32[n0,3]}
    3*n0 (32,)
    3*n0 (10,)
    """

    def __init__(
        self, make: Callable[[Types], Made], kind: Callable[[Types], Any] | None = None
    ) -> None:
        """`kind(types)`: equal for types that may share; by default the dtypes and the numbers of
        axes."""
        self._make = make
        self._kind = _dtypes_and_axes if kind is None else kind
        self._kinds: dict[Any, _Kind[Made]] = {}
        self._lock = reentrant_lock()

    def use(
        self,
        types: Types,
        then: Callable[[Made], Result],
        exact: Callable[[], Made] | None = None,
    ) -> Fit:
        """`then` of what serves these types: shared where it can be, else made by `exact`."""
        with self._lock:
            kind = self._kind(types)
            if kind not in self._kinds and len(self._kinds) == KINDS_KEPT:
                del self._kinds[next(iter(self._kinds))]
            found = self._kinds.setdefault(kind, _Kind()).use(types, self._make, then)
            if found is not None:
                return found
            return Fit(then(self._make(types) if exact is None else exact()))

    @property
    def refused(self) -> list[str]:
        """Why families are compiled one by one, where they are."""
        families = [family for kind in self._kinds.values() for family in kind.families]
        return [family.refused for family in families if family.refused]


def _dtypes_and_axes(types: Types) -> Any:
    return tuple((type_.dtype.name, type_.ndim) for type_ in types.values())


def first_extent_aside(types: Types) -> Any:
    """Types as they are but for the first extent of the first, wherever it occurs: the batch."""
    batch = next((type_.shape[0] for type_ in types.values() if type_.shape), None)
    return tuple(
        (type_.dtype.name, *[None if extent == batch else extent for extent in type_.shape])
        for type_ in types.values()
    )


class _Kind(Generic[Made]):
    """Types of the same dtypes and numbers of axes."""

    def __init__(self) -> None:
        self.families: list[_Family[Made]] = []
        self._seen: list[Types] = []

    def use(
        self, types: Types, make: Callable[[Types], Made], then: Callable[[Made], Result]
    ) -> Fit | None:
        for family in self.families:
            values = family.shapes.values(types)
            if values is not None:
                return family.use(values, make, then)
        if types in self._seen or len(self._seen) == TYPES_SEEN:
            return None
        self._seen.append(types)
        if len(self._seen) == 1:
            return None
        family = _Family[Made](ShapeFamily(self._seen))
        self.families.insert(0, family)
        values = family.shapes.values(types)
        assert values is not None
        return family.use(values, make, then)


class _Family(Generic[Made]):
    def __init__(self, shapes: ShapeFamily) -> None:
        self.shapes = shapes
        self.refused = ""
        self._regimes: list[tuple[RuntimeExtents, Made]] = []

    def use(
        self,
        values: tuple[int, ...],
        make: Callable[[Types], Made],
        then: Callable[[Made], Result],
    ) -> Fit | None:
        if self.refused:
            return None
        try:
            for extents, made in self._regimes:
                if extents.allow(values):
                    result = then(made)
                    if extents.allow(values):  # `then` may have met new conditions
                        return Fit(result, extents, values)
            if len(self._regimes) == REGIMES_KEPT:
                return None
            extents = RuntimeExtents(values)
            made = make(self.shapes.types(extents))
            result = then(made)
            # Kept also where it does not serve these values: it may serve the next.
            self._regimes.append((extents, made))
            return Fit(result, extents, values) if extents.allow(values) else None
        except Exception as error:  # whatever it is, the exact types will say it again
            if config.is_on("TIGON_DEBUG"):
                raise
            self.refused = f"{type(error).__name__}: {error}"
            count("extents_needed")
            return None


class ShapeFamily:
    """Types seen, all of one kind.

    >>> from tigon.base.dtypes import float32
    >>> def batch(n): return {"x": TensorType((n, 3), float32), "y": TensorType((n,), float32)}
    >>> family = ShapeFamily([batch(64), batch(10)])
    >>> family.types(RuntimeExtents([64]))
    {'x': float32[n0,3], 'y': float32[n0]}
    >>> family.values(batch(7)), family.values({**batch(7), "y": TensorType((8,), float32)})
    ((7,), None)
    """

    def __init__(self, seen: Sequence[Types]) -> None:
        self._first = seen[0]
        self._number: dict[tuple[str, int], int] = {}  # (variable, axis) -> extent
        columns: dict[tuple[int, ...], int] = {}
        for name in self._first:
            shapes = (types[name].shape for types in seen)
            for axis, column in enumerate(zip(*shapes, strict=True)):
                if len(set(column)) > 1:
                    number = columns.setdefault(column, len(columns))
                    self._number[name, axis] = number
        self._count = len(columns)

    def types(self, extents: RuntimeExtents) -> dict[str, TensorType]:
        """The types with `extents` in the places of those that vary."""
        return {
            name: TensorType(
                tuple(
                    cast(int, extents.unknown[self._number[name, axis]])
                    if (name, axis) in self._number
                    else extent
                    for axis, extent in enumerate(type_.shape)
                ),
                type_.dtype,
            )
            for name, type_ in self._first.items()
        }

    def values(self, types: Types) -> tuple[int, ...] | None:
        """What the run-time extents are in `types`; None where these do not belong here."""
        found: dict[int, int] = {}
        for name, first in self._first.items():
            pairs = zip(first.shape, types[name].shape, strict=True)
            for axis, (fixed, extent) in enumerate(pairs):
                number = self._number.get((name, axis))
                expected = fixed if number is None else found.setdefault(number, extent)
                if extent != expected:
                    return None
        return tuple(found[number] for number in range(self._count))
