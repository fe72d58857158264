"""What is exported of compiled graphs: which inputs the caller gives, which the library holds, and
which sizes are open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tigon.base import TensorType, TigonError, check, type_of
from tigon.base.extents import RuntimeExtents, UnknownExtent
from tigon.base.frozen import Frozen
from tigon.ops.record import has_effect
from tigon.program.cached_graph import CachedGraph
from tigon.standalone.library import Held, Source, Spec, export
from tigon.standalone.programs import told, with_names
from tigon.standalone.verbs import verb

Extents = str | Mapping[str, Sequence[str | None]] | None
"""Which extents are open: "batch", the first axis of all inputs that have as many places as the
first one; None: none; or names per axis of inputs, None for a fixed one. Axes of one name are
one extent."""


class Operand(Frozen, eq=False):
    """An input of a graph. `array`: what the library holds; None where the caller gives one."""

    name: str
    type: TensorType
    array: Any = None


def held(name: str, array: Any) -> Held:
    """An array as the library holds it."""
    type_ = type_of(array)
    return Held(name, type_.dtype, type_.shape, array.bits_to_numpy())


def export_graph(
    cached: CachedGraph,
    operands: Sequence[Operand],
    results: Sequence[str],
    path: Any,
    *,
    inputs: Sequence[Operand],
    extents: Extents = "batch",
    **options: Any,
) -> tuple[str, ...]:
    """Export a graph in prediction. `operands` in the order of its inputs; `inputs`: those that the
    caller gives, in the order in which that is done."""
    who = verb(options["system"])
    for node in cached.graph.nodes:
        check(
            not has_effect(node),
            who,
            f"{told(node.label, node.name)} is Python code, which cannot leave Python; compute it "
            "before or after",
        )
    likely, names = open_sizes(inputs, extents, who)

    def spec(sizes: Sequence[int] | None) -> Spec:
        opened, types = open_types(inputs, extents, sizes, who)
        every = {one.name: types.get(one.name, one.type) for one in operands}
        moded = cached.moded(False).typed(every)
        moving = {place for _, place in moded.states}
        sources: list[Source] = []
        weights: list[Held] = []
        kept: list[Held] = []
        places = {id(one): number for number, one in enumerate(inputs)}
        for number, one in enumerate(operands):
            if one.array is None:
                sources.append(Source("input", places[id(one)]))
            elif number in moving:
                sources.append(Source("state", len(kept)))
                kept.append(held(one.name, one.array))
            else:
                sources.append(Source("weight", len(weights)))
                weights.append(held(one.name, one.array))
        sources += [Source("key")] * (len(moded.graph.inputs) - len(operands))
        return Spec(
            cached.name,
            moded.graph,
            tuple(sources),
            tuple((one.name, types[one.name]) for one in inputs),
            tuple(results),
            tuple(weights),
            tuple(kept),
            tuple((made, sources[place].number) for made, place in moded.states),
            tuple(moded.states),
            moded.random_calls,
            extents=opened,
            names=names,
            likely=likely,
        )

    return with_open_extents(lambda: export(spec, likely, path, **options), names, who)


def with_open_extents(make: Callable[[], Any], names: Sequence[str], who: str) -> Any:
    """What `make` gives; where it would have to know an open extent, the error says what to do."""
    try:
        return make()
    except (UnknownExtent, TigonError) as error:
        if not names or str(error).startswith(who):
            raise
        text = with_names(str(error), names)
        raise TigonError(
            f"{who}: {', '.join(names)} cannot be left open: {text}; pass extents=None for "
            "the sizes of the call, or leave other axes open"
        ) from error


def open_sizes(
    given: Sequence[Operand], extents: Extents, who: str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The sizes of open extents in the types given, and their names."""
    fixed = {one.name: one.type for one in given}
    likely: dict[str, int] = {}
    for (name, axis), extent in _axes(given, extents, who).items():
        size = likely.setdefault(extent, fixed[name].shape[axis])
        check(
            size == fixed[name].shape[axis],
            who,
            f"extents: '{extent}' is {size} in one place and {fixed[name].shape[axis]} in axis "
            f"{axis} of '{name}'; give them different names",
        )
    return tuple(likely.values()), tuple(likely)


def open_types(
    given: Sequence[Operand], extents: Extents, sizes: Sequence[int] | None, who: str
) -> tuple[RuntimeExtents | None, dict[str, TensorType]]:
    """The extents and the types with them. `sizes`: what questions about the extents are answered
    by; None: primes near the sizes in the types given."""
    fixed = {one.name: one.type for one in given}
    axes = _axes(given, extents, who)
    likely, names = open_sizes(given, extents, who)
    if not names:
        return None, fixed
    opened = RuntimeExtents(likely)
    if sizes is not None:
        opened.examples = tuple(sizes)
    unknown = dict(zip(names, opened.unknown, strict=True))
    return opened, {
        name: TensorType(
            tuple(
                unknown[axes[name, axis]] if (name, axis) in axes else extent  # type: ignore[misc]
                for axis, extent in enumerate(type_.shape)
            ),
            type_.dtype,
        )
        for name, type_ in fixed.items()
    }


def _axes(given: Sequence[Operand], extents: Extents, who: str) -> dict[tuple[str, int], str]:
    """Open axes, by input and number, with their names."""
    if extents is None:
        return {}
    if isinstance(extents, str):
        with_axes = [one for one in given if one.type.shape]
        batch = with_axes[0].type.shape[0] if with_axes else 0
        return {(one.name, 0): extents for one in with_axes if one.type.shape[0] == batch}
    known = {one.name: one.type for one in given}
    found: dict[tuple[str, int], str] = {}
    check(
        isinstance(extents, Mapping),
        who,
        "extents: expected None, the name of the first axis, or a dict with a name or None for "
        f"each axis of inputs; given {extents!r}",
    )
    for name, axes in extents.items():
        check(
            name in known
            and isinstance(axes, (list, tuple))
            and len(axes) == known[name].ndim
            and all(axis is None or isinstance(axis, str) for axis in axes),
            who,
            f"extents: expected a name or None for each axis of inputs among "
            f"{', '.join(f'{n} of {t.ndim} axes' for n, t in known.items())}; given {name!r}: "
            f"{axes!r}",
        )
        found |= {(name, axis): each for axis, each in enumerate(axes) if each is not None}
    return found
