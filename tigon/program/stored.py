"""Programs of earlier processes. What a graph was compiled to is kept on disk as numbers and names
of functions, under the graph itself: the next process neither runs passes nor lowers anything.

A file holds JSON, no code; the functions it names are found in the same store or not at all. What
compiles is part of the key by content: another version's programs are not ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tigon.analysis.memory_plan import MemoryPlan, MemoryRow
from tigon.base.digests import compiler_version
from tigon.base.frozen import Frozen
from tigon.ir import Graph
from tigon.ir.graph import is_open, nodes_within
from tigon.loop.fingerprint import declared_elsewhere
from tigon.program.control import StoredControl


class StoredProgram(Frozen, eq=False):
    """All that a native program is made of but the addresses of its functions."""

    functions: list[str]
    """Names under which the backend finds them, one per launch."""
    waves: list[list[list[Any]]]
    """Per launch: buffers, slots, points, grain, bytes of scratch, name; and of a loop or a branch
    what else is known, else None."""
    within: list[list[StoredProgram]]
    """Of each loop and branch, in order: the programs that it runs."""
    inputs: list[tuple[int, tuple[int, ...]]]
    outputs: list[tuple[int, tuple[int, ...]]]
    arena_bytes: int
    constants: list[bytes]
    may_alias: list[list[int]]
    cost: float
    plan: MemoryPlan
    operators: int


def key_of(
    graph: Graph,
    disabled: frozenset[str],
    donated: Sequence[int],
    in_place: Sequence[tuple[int, int]],
    backend: str,
) -> str | None:
    """What a program depends on, as text; None for graphs that cannot be told apart by text."""
    if any(map(is_open, graph.nodes)):
        return None
    names = [n.name for node in graph.nodes for n in (node, *nodes_within(node))]
    text = repr((graph.key, names, sorted(disabled), list(donated), list(in_place)))
    if " at 0x" in text:
        return None  # an attribute that is known by identity only
    return f"program {compiler_version()}{declared_elsewhere()} {backend} {text}"


def dump(stored: StoredProgram) -> bytes:
    import json  # not needed where nothing is stored

    return json.dumps(_fields(stored)).encode()


def _fields(stored: StoredProgram) -> dict[str, Any]:
    plan = stored.plan
    return {
        **vars(stored),
        "waves": [
            [
                [buffers, slots.hex(), *rest, None if control is None else vars(control)]
                for buffers, slots, *rest, control in wave
            ]
            for wave in stored.waves
        ],
        "within": [list(map(_fields, programs)) for programs in stored.within],
        "constants": [constant.hex() for constant in stored.constants],
        "plan": [
            plan.total_bytes,
            plan.temporaries,
            plan.arena_bytes,
            plan.unplanned_bytes,
            [list(vars(row).values()) for row in plan.rows],
        ],
    }


def load(content: bytes) -> StoredProgram | None:
    """None where the file is not what `dump` writes."""
    import json

    try:
        return _program(json.loads(content))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _program(fields: Mapping[str, Any]) -> StoredProgram:
    total, slots, arena, unplanned, rows = fields["plan"]
    report = tuple(MemoryRow(*row) for row in rows)
    plan = MemoryPlan(total, slots, arena, unplanned, report)
    waves = [
        [
            [
                [tuple(place) for place in buffers],
                bytes.fromhex(slots),
                *rest,
                None if control is None else StoredControl(**control),
            ]
            for buffers, slots, *rest, control in wave
        ]
        for wave in fields["waves"]
    ]
    return StoredProgram(
        fields["functions"],
        waves,
        [list(map(_program, programs)) for programs in fields["within"]],
        [(code, tuple(shape)) for code, shape in fields["inputs"]],
        [(code, tuple(shape)) for code, shape in fields["outputs"]],
        fields["arena_bytes"],
        [bytes.fromhex(constant) for constant in fields["constants"]],
        fields["may_alias"],
        fields["cost"],
        plan,
        fields["operators"],
    )
