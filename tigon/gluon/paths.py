"""The paths of one kind of call: a tree of segments, in which values decide the way.

A path is traced (`trace/path.py`); here paths are put together, and become native code that runs
without Python as long as each value that decides has been seen before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tigon import _native
from tigon.base.frozen import Frozen
from tigon.gluon.structure import Structure, rebuild_outputs
from tigon.gluon.trace.path import Decision, Path, Segment
from tigon.runtime.counters import count

MOST_PATHS = 64
"""Of one kind of call. A block that takes more gives way to its Python code."""


class End(Frozen, eq=False):
    """What a call gives and leaves behind at the end of a path, arrays as native code counts them:
    operands up from 0, what segments made down from -1."""

    results: tuple[int, ...]
    form: Any
    """How the results are held: "bare", "tuple", "list", or a function of the results and of the
    arrays among the arguments."""
    states: tuple[tuple[int, int], ...]  # (from, to)


class Branches:
    """A segment in the tree: what follows by outcome, or its end."""

    def __init__(self, segment: Segment, inputs: tuple[int, ...], decided: int | None) -> None:
        self.segment = segment
        self.inputs = inputs
        self.decided = decided
        self.next: dict[Any, Branches] = {}
        self.end: End | None = None

    def is_same(self, other: Branches) -> bool:
        """Whether both come to the same decision in the same way."""
        mine, its = self.segment.decision, other.segment.decision
        same = self.segment.cached is other.segment.cached and self.inputs == other.inputs
        if not same or self.segment.draws != other.segment.draws or (mine is None) != (its is None):
            return False
        return mine is None or (mine.kind == its.kind and self.decided == other.decided)


class Paths:
    """The paths that calls of one kind were seen to take. `number_of(source)` is the operand that
    stands for what the caller has."""

    def __init__(
        self, training: bool, number_of: Callable[[Any], int], decides_only: bool = False
    ) -> None:
        """`decides_only`: calls find their path, and leave nothing behind."""
        self._training = training
        self._decides_only = decides_only
        self._number_of = number_of
        self.root: Branches | None = None
        self.ends: list[End] = []
        self.native: Any = None
        self.reads_nothing = False
        """Whether a segment is made of nothing, so that its context is to be said."""

    def __len__(self) -> int:
        return len(self.ends)

    def _array(self, source: Any) -> int:
        kind, which = source
        return -1 - which if kind == "made" else self._number_of(source)

    def add(self, path: Path, results: Sequence[int], structure: Structure) -> End | None:
        """One more, with the numbers of its results; None where the code went another way to a
        decision that is known."""
        arrays, form = self._form(results, structure)
        states = tuple((-1 - made, self._array(source)) for source, made in path.states.values())
        return self._add(path, End(arrays, form, states))

    def add_end(self, path: Path, form: Callable[[Any, Any], Any]) -> End | None:
        """One that leaves nothing behind; its result is what `form` gives."""
        return self._add(path, End((), form, ()))

    def _add(self, path: Path, end: End) -> End | None:
        steps = []
        for segment in path.segments:
            decision = segment.decision
            inputs = tuple(self._array(source) for source in segment.inputs)
            decided = None if decision is None else self._array(decision.array)
            steps.append(Branches(segment, inputs, decided))
        here = self.root
        known: list[Branches] = []
        for step in steps:
            if here is None:
                break
            if not here.is_same(step):
                return None
            known.append(here)
            decision = step.segment.decision
            here = None if decision is None else here.next.get(decision.outcome)
        if len(known) == len(steps):
            assert known[-1].end is not None
            return known[-1].end  # another thread has been here
        whole = [*known, *steps[len(known) :]]
        for step, before, after in zip(steps, whole, whole[1:], strict=False):
            assert step.segment.decision is not None
            before.next[step.segment.decision.outcome] = after
        whole[-1].end = end
        self.root = whole[0]
        self.ends.append(end)
        count("paths")
        return end

    def _form(self, results: Sequence[int], structure: Structure) -> tuple[tuple[int, ...], Any]:
        """The results of a path, and how they are held."""
        made = tuple(-1 - number for number in results)
        *parts, (kind, count) = structure
        if not parts and kind in _ARRAYS:
            parts, kind = [*structure], "bare"
        flat = kind == "bare" or (kind in ("tuple", "list") and parts and count == len(parts))
        if not flat or any(part not in _ARRAYS for part, _ in parts):
            return made, _rebuilds(structure)
        every = [made[w] if k == "output" else self._array((k, w)) for k, w in parts]
        return tuple(every), kind

    def all(self) -> list[Branches]:
        """Every segment, each before those that follow it."""
        found = [] if self.root is None else [self.root]
        for one in found:
            found += one.next.values()
        return found

    def decisions(self) -> list[Decision]:
        """One for each line that decides."""
        found = {}
        for one in self.all():
            decision = one.segment.decision
            if decision is not None:
                found.setdefault((decision.what, decision.line), decision)
        return list(found.values())

    def compile(self, operands: int) -> None:
        """Make the native tree."""
        every = self.all()
        self.reads_nothing = any(o.segment.cached is not None and not o.inputs for o in every)
        place = {id(one): number for number, one in enumerate(every)}
        number_of = {end: number for number, end in enumerate(self.ends)}
        segments: list[Any] = []
        for one in every:
            segment, decision = one.segment, one.segment.decision
            cache = None if segment.cached is None else segment.cached.sequences
            what: Any
            if one.end is not None:
                kind, what = None, number_of[one.end]
            else:
                assert decision is not None
                kind = decision.kind
                ways = [(_outcome(out), place[id(after)]) for out, after in one.next.items()]
                what = (one.decided, ways)
            segments.append((cache, one.inputs, segment.made, segment.draws, kind, what))
        ends = [(end.results, end.states, end.form) for end in self.ends]
        self.native = _native.Paths(segments, ends, operands, self._training, self._decides_only)

    def lines(self) -> list[str]:
        """The tree, with the lines that decide."""
        lines: list[str] = []
        pending = [] if self.root is None else [(self.root, "", "")]
        while pending:
            one, indent, label = pending.pop()
            decision = one.segment.decision
            then = "returns" if decision is None else f"{decision.what} at {decision.line}"
            lines.append(f"{indent}{label}{one.segment.operators} operators, then {then}")
            for outcome, after in reversed(one.next.items()):
                pending.append((after, indent + "  ", f"{_shown(outcome)}: "))
        return lines


_ARRAYS = ("output", "input", "parameter", "array")


def _outcome(outcome: Any) -> Any:
    return outcome if isinstance(outcome, bytes) else int(outcome)


def _shown(outcome: Any) -> str:
    return f"{len(outcome)} bytes" if isinstance(outcome, bytes) else str(outcome)


def _rebuilds(structure: Structure) -> Callable[[Any, Any], Any]:
    return lambda results, leaves: rebuild_outputs(structure, results, leaves)
