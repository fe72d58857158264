"""From lowered graphs to what an exported library runs: launches with formulas for numbers, and the
code of one level of the processor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, pairwise, product
from typing import Any

from tigon import _native
from tigon.backends.collect import Collector
from tigon.backends.cpu.backend import CpuBackend
from tigon.backends.interface import Structure
from tigon.backends.llvm.target import LEVELS, WEB
from tigon.base import TigonError, check
from tigon.base.extents import RuntimeExtents
from tigon.base.frozen import Frozen
from tigon.ir import Value
from tigon.loop.grammar import AnyNest, Extern
from tigon.lower.body import LoweredNest
from tigon.lower.control import Control
from tigon.program.control import StoredControl, stored_control
from tigon.program.lowered import Kernel, LoweredGraph, constant_bytes
from tigon.runtime.profiling import place_of
from tigon.standalone import tables as T
from tigon.standalone.tables import Tables

WEB_LEVEL = "simd128"
"""What the code of modules of WebAssembly is called."""

Condition = tuple[Any, str, bool]
"""(formula, test, answer), as `RuntimeExtents.guards` has them."""


def with_names(text: str, names: Sequence[str]) -> str:
    """A text with names of open extents where it numbers them.

    >>> with_names("n1*n10 + n12", [f"axis{number}" for number in range(11)])
    'axis1*axis10 + n12'
    """
    own = {f"n{number}": name for number, name in enumerate(names)}
    return re.sub(r"\bn\d+\b", lambda found: own.get(found[0], found[0]), text)


def told(label: str, name: str | None) -> str:
    """What an error says of a node: with the user's line that made it, if that is known."""
    place = place_of(name) if name else None
    return label if place is None else f"{label} at {place}"


class Choice(Frozen, eq=False):
    """One way to run a launch: a function with its numbers, right where conditions hold."""

    structure: Structure
    conditions: tuple[Condition, ...]
    numbers: tuple[tuple[str, Any], ...]
    points: Any
    grain: int
    scratch_bytes: Any


class Launch(Frozen, eq=False):
    name: str
    buffers: tuple[tuple[int, int], ...]
    choices: tuple[Choice, ...] = ()
    control: StoredControl | None = None
    programs: tuple[Program, ...] = ()


class Temporary(Frozen, eq=False):
    nbytes: Any
    first: int
    last: int
    shares: tuple[int, ...]


class Program(Frozen, eq=False):
    """A lowered graph as an exported library has it."""

    conditions: tuple[Condition, ...]
    temporaries: tuple[Temporary, ...]
    constants: tuple[bytes, ...]
    launches: tuple[Launch, ...]
    inputs: int
    outputs: int
    may_alias: tuple[tuple[int, ...], ...]
    last_reads: tuple[int, ...]
    writes: tuple[int, ...]

    def may_lie_over(self, output: int, source: int) -> bool:
        """Whether an output may be written where an input is."""
        in_step = source in self.may_alias[output]
        return in_step or self.last_reads[source] < self.writes[output]

    def serves(self, sizes: Sequence[int]) -> bool:
        """Whether it is right for these sizes of the open extents."""
        return all(_holds(condition, sizes) for condition in self.conditions) and all(
            not launch.choices
            or any(all(_holds(c, sizes) for c in choice.conditions) for choice in launch.choices)
            for launch in self.launches
        )

    def structures(self) -> Iterable[Structure]:
        """Of all functions, those of loops and branches included."""
        for launch in self.launches:
            yield from (choice.structure for choice in launch.choices)
            for program in launch.programs:
                yield from program.structures()


class LevelCode:
    """What is compiled for one level."""

    def __init__(self, level: str, who: str) -> None:
        """`who`: what errors begin with."""
        self.level, self.who = level, who
        self._target = WEB if level == WEB_LEVEL else LEVELS[level]
        self._collector = Collector(self._target, threads=1)
        self.backend = CpuBackend(self._target, self._collector)
        self._open: dict[AnyNest, tuple[Choice, ...]] = {}

    @property
    def features(self) -> list[str]:
        """Instructions that a machine must have."""
        return self._target.features.replace("+", "").split(",")

    def open_choices(self, nest: AnyNest, opened: Open) -> tuple[Choice, ...]:
        """The ways to run a nest whose sizes are open; launches of one nest share them."""
        found = self._open.get(nest)
        if found is None:
            found = self._open[nest] = _open_choices(nest, self, opened)
        return found

    def link(self, programs: Sequence[Program], runtime: bytes = b"") -> Linked:
        """The code of all functions, and the `runtime`, in one piece that calls nothing else."""
        images, names = self.objects(programs)
        code, places, elsewhere = _native.link_anywhere([*([runtime] if runtime else ()), *images])
        if elsewhere:
            raise TigonError(
                f"{self.who}: the code of {self.level} calls {', '.join(sorted(elsewhere))} of "
                "the C library, which an exported library does not have; please report it"
            )
        found = {number: places[name] for number, name in names.items()}
        return Linked(code, found, {name: places[name] for name in places})

    def objects(self, programs: Sequence[Program]) -> tuple[list[bytes], dict[int, str]]:
        """Object code of all functions, and what they are called, by the id of a structure."""
        structures = [one for program in programs for one in program.structures()]
        self.backend.compile(structures)
        symbols = self._collector.symbols
        names = zip(map(id, structures), self.backend.names(structures), strict=True)
        return self._collector.images, {number: symbols[name] for number, name in names}


class Linked(Frozen, eq=False):
    code: bytes
    functions: dict[int, int]
    """Places by the id of a structure."""
    places: dict[str, int]


def read_program(lowered: LoweredGraph, code: LevelCode, opened: Open | None = None) -> Program:
    """What a lowered graph runs. `opened`: what it was lowered with."""
    numbers = {value: number for number, value in enumerate(lowered.temporaries)}

    def place(value: Value | None) -> tuple[int, int]:
        if value in lowered.inputs:
            return T.INPUT, lowered.inputs[value]
        if value in lowered.outputs:
            return T.OUTPUT, lowered.outputs[value]
        if value in lowered.constants:
            return T.CONSTANT, lowered.constants[value]
        return (T.TEMPORARY, numbers[value]) if value in numbers else (T.NOTHING, 0)

    def launch(kernel: Kernel, nest: LoweredNest) -> Launch:
        buffers = tuple(map(place, nest.values))
        if isinstance(nest.nest, Control):
            programs = tuple(
                read_program(inner, code, opened) for inner in lowered.within[nest.nest]
            )
            control = stored_control(nest.nest, lambda number: number)
            return Launch(kernel.name, buffers, (), control, programs)
        check(
            not isinstance(nest.nest, Extern),
            code.who,
            f"{told(kernel.name, kernel.name)} calls '{getattr(nest.nest, 'routine', '')}', a "
            "routine that exported libraries do not have; compute it before or after",
        )
        return Launch(kernel.name, buffers, _choices(nest, code, opened))

    ordered = sorted(
        ((kernel, nest) for kernel in lowered.kernels for nest in kernel.nests),
        key=lambda pair: (pair[0].wave, isinstance(pair[1].nest, Control)),
    )
    guards = opened.extents.guards.items() if opened is not None else ()
    return Program(
        tuple((formula, test, answer) for (formula, test), answer in guards),
        tuple(
            Temporary(
                value.type.nbytes,
                lowered.producer[value].wave,
                lowered.last_read(value, lowered.producer[value].wave),
                tuple(shares),
            )
            for value, shares in zip(lowered.temporaries, lowered.takes_over, strict=True)
        ),
        tuple(map(constant_bytes, lowered.constants)),
        tuple(launch(kernel, nest) for kernel, nest in ordered),
        len(lowered.inputs),
        len(lowered.outputs),
        tuple(map(tuple, lowered.may_alias)),
        tuple(lowered.last_reads),
        tuple(lowered.writes),
    )


class Open(Frozen, eq=False):
    """Open extents, and the sizes at which the library should be at its best."""

    extents: RuntimeExtents
    likely: tuple[int, ...]


def _choices(nest: LoweredNest, code: LevelCode, opened: Open | None) -> tuple[Choice, ...]:
    if opened is not None:
        return code.open_choices(nest.nest, opened)
    with nest.known():
        launchable = code.backend.prepare(nest.nest)
        block = launchable.packed()
    numbers = tuple(
        ("<q", int.from_bytes(block[at : at + 8], "little", signed=True))
        for at in range(0, len(block), 8)
    )
    return (
        Choice(
            launchable.structure,
            (),
            numbers,
            launchable.points,
            launchable.grain,
            launchable.scratch_bytes,
        ),
    )


# ------------------------------------------------------------------------- for sizes that are open

PROBES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 1024, 4096, 65536)
"""Sizes at which is asked how a launch would be run."""

COARSE = (*range(1, 9), 16, 17, 64, 1024)
"""The same of each extent, where there are several."""

MOST_SIZES = 10_000

MOST_CHOICES = 32
"""Ways to run one launch."""


def _open_choices(nest: AnyNest, code: LevelCode, opened: Open) -> tuple[Choice, ...]:
    """The ways to run a launch: one for each range of sizes in which results round alike, and more
    where what one stands on does not hold for all of them. The first is that of the likely size."""
    extents, likely = opened.extents, opened.likely
    if len(likely) > 1:  # which ones round alike is not asked then
        sizes = [*islice(product(COARSE, repeat=len(likely)), MOST_SIZES), likely]
        return _covering(nest, code, opened, sizes, (), likely)
    (own,) = extents.unknown
    ranges = _ranges(nest, code, opened)
    ranges.sort(key=lambda both: not both[0] <= likely[0] <= both[1])
    choices: list[Choice] = []
    for low, high in ranges:
        bounds: list[Condition] = []
        if low > PROBES[0]:
            bounds.append((own - low, "lt", False))
        if high < PROBES[-1]:
            bounds.append((own - high, "le", True))
        sizes = {low, high, *(n for n in (*PROBES, *likely) if low <= n <= high)}
        first = likely[0] if likely[0] in sizes else sorted(sizes)[len(sizes) // 2]
        given = [(n,) for n in sorted(sizes)]
        choices += _covering(nest, code, opened, given, bounds, (first,))
    return tuple(choices)


def _ranges(nest: AnyNest, code: LevelCode, opened: Open) -> list[tuple[int, int]]:
    """Of sizes for which a launch rounds alike: the ends are found by halving."""
    known: dict[int, Any] = {}

    def rounding(size: int) -> Any:
        if size not in known:
            known[size] = code.backend.rounding(nest, opened.extents, (size,))
        return known[size]

    ranges, low = [], PROBES[0]
    for before, after in pairwise((*PROBES[::3], PROBES[-1])):
        if rounding(before) == rounding(after):
            continue
        while after - before > 1:
            middle = (before + after) // 2
            if rounding(middle) == rounding(before):
                before = middle
            else:
                after = middle
        ranges.append((low, before))
        low = after
    return [*ranges, (low, PROBES[-1])]


def _covering(
    nest: AnyNest,
    code: LevelCode,
    opened: Open,
    sizes: Sequence[tuple[int, ...]],
    bounds: Sequence[Condition],
    first: tuple[int, ...],
) -> tuple[Choice, ...]:
    """Ways to run a launch until each of these sizes has one."""
    choices: list[Choice] = []
    missing, own = list(sizes), first
    while missing and len(choices) < MOST_CHOICES:
        with opened.extents.supposed(own) as noted:
            made = code.backend.formulas(nest, opened.extents, own)
            conditions = [(formula, test, answer) for (formula, test), answer in noted.items()]
        choices.append(
            Choice(
                made.structure,
                (*bounds, *conditions),
                made.numbers,
                made.points,
                made.grain,
                made.scratch_bytes,
            )
        )
        missing = [
            each
            for each in missing
            if each != own and not all(_holds(condition, each) for condition in conditions)
        ]
        if missing:
            own = missing[-1]
    return tuple(choices)


def _holds(condition: Condition, values: Sequence[int]) -> bool:
    formula, test, answer = condition
    found = formula.at(values)
    return {"eq": found == 0, "lt": found < 0, "le": found <= 0}[test] is answer


# ---------------------------------------------------------------------------------- into tables


def write_program(
    tables: Tables, program: Program, functions: Mapping[int, int], names: Sequence[str]
) -> int:
    """The place of the program's row. `functions`: what tables call them by, by the id of a
    structure; `names`: of open extents."""
    constants = [tables.constant(content) for content in program.constants]
    launches = [_launch_row(tables, launch, functions, names) for launch in program.launches]
    temporaries = [
        T.TemporaryRow(
            tables.formula(one.nbytes),
            one.first,
            one.last,
            len(one.shares),
            tables.words(one.shares) if one.shares else 0,
        )
        for one in program.temporaries
    ]
    row = T.ProgramRow(
        *tables.rows(_condition_rows(tables, program.conditions, names)),
        *tables.rows(temporaries),
        len(constants),
        tables.words(constants) if constants else 0,
        *tables.rows(launches),
        program.inputs,
        program.outputs,
    )
    return tables.words(row)


def _condition_rows(
    tables: Tables, conditions: Sequence[Condition], names: Sequence[str]
) -> list[T.ConditionRow]:
    return [
        tables.condition(formula, test, answer, condition_text(formula, test, answer, names))
        for formula, test, answer in conditions
    ]


_SIGNS = {
    ("eq", True): "=",
    ("eq", False): "!=",
    ("lt", True): "<",
    ("lt", False): ">=",
    ("le", True): "<=",
    ("le", False): ">",
}


def condition_text(formula: Any, test: str, answer: bool, names: Sequence[str]) -> str:
    """A condition as users read it.

    >>> from tigon.base.extents import RuntimeExtents
    >>> (batch,) = RuntimeExtents([64]).unknown
    >>> condition_text(batch - 12, "lt", False, ["batch"])
    'batch >= 12'
    >>> condition_text(12 - batch, "lt", True, ["batch"])
    'batch > 12'
    """
    constant = formula.terms.get((), 0)
    left, sign = formula - constant, _SIGNS[test, answer]
    if all(coefficient < 0 for coefficient in left.terms.values()):
        left, constant = -left, -constant
        sign = sign.translate(str.maketrans("<>", "><"))
    return f"{with_names(repr(left), names)} {sign} {-constant}"


def _launch_row(
    tables: Tables, launch: Launch, functions: Mapping[int, int], names: Sequence[str]
) -> T.LaunchRow:
    control = 0
    if launch.control is not None:
        control = _control_place(tables, launch, functions, names)
    choices = [
        T.ChoiceRow(
            *tables.rows(_condition_rows(tables, choice.conditions, names)),
            functions[id(choice.structure)],
            *tables.rows([tables.slot(*number) for number in choice.numbers]),
            tables.formula(choice.points),
            choice.grain,
            tables.formula(choice.scratch_bytes),
        )
        for choice in launch.choices
    ]
    return T.LaunchRow(
        tables.text(launch.name), *tables.rows(launch.buffers), control, *tables.rows(choices)
    )


def _control_place(
    tables: Tables, launch: Launch, functions: Mapping[int, int], names: Sequence[str]
) -> int:
    control = launch.control
    assert control is not None
    programs = [write_program(tables, program, functions, names) for program in launch.programs]
    most, ordinal = control.numbers

    def formulas(sizes: Sequence[Any]) -> int:
        return tables.words([tables.formula(size) for size in sizes]) if sizes else 0

    row = T.ControlRow(
        control.kind,
        *control.counts,
        int(control.reverse),
        int(control.counted),
        int(control.keyed),
        tables.formula(most),
        ordinal,
        formulas(control.row_bytes),
        formulas(control.state_bytes),
        tables.words(map(int, control.kept)) if control.kept else 0,
        programs[0],
        programs[1] if len(programs) > 1 else 0,
    )
    return tables.words(row)
