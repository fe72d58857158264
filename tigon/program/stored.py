"""Programs of earlier processes. What a graph was compiled to is kept on disk as numbers and names
of functions, under the graph itself: the next process neither runs passes nor lowers anything.

A file holds JSON, no code; the functions it names are found in the same store or not at all. What
compiles is part of the key by content: another version's programs are not ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tigon.analysis.memory_plan import MemoryPlan, MemoryRow
from tigon.backends.interface import Store
from tigon.base.digests import compiler_version
from tigon.base.frozen import Frozen
from tigon.base.lazy import computed_once
from tigon.ir import Graph
from tigon.ir.graph import is_open, nodes_within
from tigon.loop.fingerprint import declared_elsewhere
from tigon.passes.gradient import BACKWARD
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
    """Of each output: inputs that are read in step where it is written."""
    last_reads: list[int]
    """Of each input: the number of the wave that reads it last."""
    writes: list[int]
    """Of each output: that of the wave that writes it. It may lie where an input does that is read
    earlier."""
    cost: float
    plan: MemoryPlan
    operators: int


class Key(Frozen):
    """What a program depends on, as text, and the names of its nodes, each once. What nodes are
    called is no part of the text where what is kept says "the third name": the second network of
    a process, whose layers have other names, is found like the first."""

    text: str
    names: tuple[str, ...]

    @computed_once
    def numbers(self) -> dict[str, int]:
        """Of the names."""
        return {name: number for number, name in enumerate(self.names)}

    @property
    def with_names(self) -> str:
        return f"{self.text} {self.names}"

    @property
    def name(self) -> str:
        """Of what is kept under it."""
        return _name_of(self.text)

    @property
    def name_with_names(self) -> str:
        return _name_of(self.with_names)


def _name_of(text: str) -> str:
    from tigon.backends.store import name_of  # who only imports the package keeps nothing

    return name_of(text)


def key_of(
    graph: Graph,
    disabled: frozenset[str],
    donated: Sequence[int],
    in_place: Sequence[tuple[int, int]],
    backend: str,
) -> Key | None:
    """None for graphs that cannot be told apart by text."""
    if any(map(is_open, graph.nodes)):
        return None
    order: dict[str, int] = {}
    same_names = [
        order.setdefault(each.name, len(order)) if each.name else -1
        for node in graph.nodes
        for each in (node, *nodes_within(node))
    ]
    text = repr((graph.key, same_names, sorted(disabled), list(donated), list(in_place)))
    if " at 0x" in text:
        return None  # an attribute that is known by identity only
    start = f"program {compiler_version()}{declared_elsewhere()} {backend}"
    return Key(f"{start} {text}", tuple(order))


_NUMBERED = re.compile(r"\\u0001(\d+)\\u0001")  # as JSON writes it


def numbered(name: str, key: Key) -> str | None:
    """A node's name as what is kept says it, that of a gradient, too; None where it only begins
    with a name that was given."""
    base, backward, numbers = name, "", key.numbers
    while base.endswith(BACKWARD) and base not in numbers:
        base, backward = base.removesuffix(BACKWARD), backward + BACKWARD
    if base in numbers:
        return f"\x01{numbers[base]}\x01{backward}"
    return None if any(name[:end] in numbers for end in range(1, len(name))) else name


def save(store: Store, key: Key, program: StoredProgram, renamed: Mapping[str, str] | None) -> None:
    """`renamed`: texts of the program as they are with numbers for names; None where there are no
    such: other names make another program then."""
    text = key.with_names if renamed is None else key.text
    store.save(text, dump(program, {} if renamed is None else renamed))


def find(store: Store, name: str, names: Sequence[str]) -> StoredProgram | None:
    """What is kept under a name of a key, with these for the names in it."""
    content = store.load_program(name)
    return None if content is None else load(content, names)


def dump(stored: StoredProgram, renamed: Mapping[str, str] = MappingProxyType({})) -> bytes:
    import json  # not needed where nothing is stored

    return json.dumps(_fields(stored, renamed)).encode()


def _fields(stored: StoredProgram, renamed: Mapping[str, str]) -> dict[str, Any]:
    plan = stored.plan
    return {
        **vars(stored),
        "waves": [
            [
                [
                    buffers,
                    slots.hex(),
                    *rest,
                    renamed.get(name, name),
                    None if control is None else vars(control),
                ]
                for buffers, slots, *rest, name, control in wave
            ]
            for wave in stored.waves
        ],
        "within": [[_fields(inner, renamed) for inner in programs] for programs in stored.within],
        "constants": [constant.hex() for constant in stored.constants],
        "plan": [
            plan.total_bytes,
            plan.temporaries,
            plan.arena_bytes,
            plan.unplanned_bytes,
            [[renamed.get(name, name), *row] for name, *row in map(_row, plan.rows)],
        ],
    }


def _row(row: MemoryRow) -> list[Any]:
    return list(vars(row).values())


def load(content: bytes, names: Sequence[str] = ()) -> StoredProgram | None:
    """None where the file is not what `dump` writes."""
    try:
        return _program(fields_of(content, names))
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None


def fields_of(content: bytes, names: Sequence[str]) -> Any:
    """What JSON says, with names for their numbers."""
    import json

    def named(match: re.Match[str]) -> str:
        return json.dumps(names[int(match[1])])[1:-1]

    return json.loads(_NUMBERED.sub(named, content.decode()))


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
        fields["last_reads"],
        fields["writes"],
        fields["cost"],
        plan,
        fields["operators"],
    )
