"""Where traced code decides by a value: the trace is cut there.

What was traced so far becomes a segment, a program whose results are the value and all that live
symbols stand for. It runs, the value decides, and the code goes on, with symbols that now stand for
results of the segment. The way that a call has taken is a path; the paths of one kind of call are a
tree of segments (`gluon/paths.py`), in which later calls run without Python. What a call changes,
states and the random stream, it changes at its end, so that a call which comes to where nobody has
been can be thrown away and traced.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import CodeType
from typing import Any

from tigon import _native
from tigon.base import TensorType, as_dtype
from tigon.base.frozen import Frozen
from tigon.gluon.compiled_graphs import CompiledByKey, compiled_graph
from tigon.gluon.trace.sources import Source, source_of
from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value, variable
from tigon.ir.rewrite import substitute
from tigon.program.segments import cut_off
from tigon.runtime import keys

MOST_SEGMENTS = 1000
"""Of one path: a loop of Python that goes on for longer is better a loop of the graph."""

MOST_VALUES = 8
"""Different values that one place of the code may give before its block gives way: each is a path
of its own."""

MOST_BITS = 4096
"""Bytes of a value that is a part of a path."""


class Decision(Frozen, eq=False):
    """A value that the code asked for: how (`truth`, `integer`, `bits`), at which line, and what it
    was."""

    kind: str
    what: str
    line: str
    array: Any  # ("made", number) or a Source
    outcome: Any
    """Bytes of all bits, also where an `integer` is none of 64 bits or raises an error."""


class Segment(Frozen, eq=False):
    """What is computed between two decisions. Without a graph there is nothing to compute."""

    cached: Any
    inputs: tuple[Any, ...]  # ("made", number), or a Source
    made: int
    draws: int
    operators: int
    decision: Decision | None


Computed = tuple[Any, tuple[Any, ...], int, int, int]
"""The fields of a segment but for its decision."""

NOTHING: Computed = (None, (), 0, 0, 0)

Place = tuple[CodeType, int, str]
"""Where in the code, and what is asked for there."""


class Places:
    """The values that each place of a block's code has given."""

    def __init__(self) -> None:
        self.numbers_are_read = False
        """At once, because its code has given one that was not to what takes no such number."""
        self._values: dict[Place, set[Any]] = {}

    def gives(self, place: Place, outcome: Any) -> bool:
        """Note one; whether there are not too many by now."""
        values = self._values.setdefault(place, set())
        values.add(outcome)
        return len(values) < MOST_VALUES


class Path:
    """The segments of one call so far, with the arrays that they have made."""

    def __init__(self, trace: Any, name: str, compiled: CompiledByKey, places: Places) -> None:
        self._trace = trace
        self._name = name
        self._compiled = compiled
        self._places = places
        self.segments: list[Segment] = []
        self.made: list[Any] = []
        self.number_of: dict[Value, int] = {}
        """Of the variables that stand for what segments made."""
        self.origin: dict[Value, Value] = {}
        """What each of them was before."""
        self.states: dict[Value, tuple[Source, int]] = {}
        """By what a state was when the call began: whose it is, and its latest value."""
        self._first_of: dict[Value, Value] = {}
        self._sources: dict[Value, Source] = {}
        self._drawn = 0  # of the trace's draws, those of earlier segments
        self._called = 0  # of its calls with states, likewise
        self._key: Any = None
        self._taken = 0

    @property
    def reads_numbers(self) -> bool:
        """Whether `item()` reads at once."""
        return self._places.numbers_are_read

    # -- at a decision

    def decide(self, value: Value, kind: str, what: str, read: Callable[[Any], Any]) -> Any:
        """What `read` gives of the array behind a value, which becomes part of the path."""
        value, computed = self._cut(value)
        array = self._array_of(value)
        result = error = None
        with self._outside():
            try:
                result = read(array)
            except Exception as raised:  # the code may catch it and go on
                error = raised
            told = kind == "truth" or (kind == "integer" and _is_number(result))
            outcome = result if told and error is None else _bits(array)
        code, instruction, line = _user_place()
        number = self.number_of.get(value)
        given = self._source(value) if number is None else ("made", number)
        self.segments.append(Segment(*computed, Decision(kind, what, line, given, outcome)))
        trace = self._trace
        if kind != "truth" and not self._places.gives((code, instruction, what), outcome):
            trace.give_way(
                f"{what} at {line} has given {MOST_VALUES} different values, each of which would "
                "be a program of its own; compute with the array itself"
            )
        elif len(self.segments) >= MOST_SEGMENTS:
            trace.give_way(
                f"it has decided {MOST_SEGMENTS} times in one call, at last at {line}; use "
                "nd.contrib.while_loop or foreach"
            )
        if error is not None:
            raise error
        return result

    def _cut(self, decided: Value) -> tuple[Value, Computed]:
        """Compute what was traced since the last decision. What the decided value is now, and what
        a segment says of it."""
        if decided.node.op is VARIABLE:
            return decided, NOTHING
        trace = self._trace
        wanted = {decided: None}
        for symbol in trace._alive():
            for value in symbol._values:
                wanted[value] = None
                while value in trace.views:  # where the trace gives way, they share memory again
                    value = trace.views[value][0]
                    wanted[value] = None
        outputs = [value for value in wanted if value.node.op not in (VARIABLE, CONSTANT)]
        if decided.node.op is CONSTANT:
            outputs.append(decided)
        graph, moves = cut_off(outputs, self.calls, trace.training)
        drawn = trace.draws[self._drawn :]
        computed, arrays = self._compute(graph, drawn, ())
        self._drawn, self._called = len(trace.draws), len(trace.calls)
        renamed = self._rename(outputs, [(graph.inputs[place], o) for o, place in moves], arrays)
        return renamed[decided], computed

    def _compute(
        self, graph: Graph, drawn: Sequence[int], states: Any, unread: int = 0
    ) -> tuple[Computed, Sequence[Any]]:
        """What a segment says of a graph, and what it gives on the arrays of this call."""
        trace = self._trace
        inputs: list[Any] = []
        names: dict[Value, Value] = {}
        arrays = []
        for place, value in enumerate(graph.inputs):
            number = self.number_of.get(value)
            inputs.append(self._source(value) if number is None else ("made", number))
            arrays.append(self._array_of(value))
            if number is not None:  # by its place: rounds of a loop are one graph
                names[value] = variable(f"made{place}", value.type)
        own = graph
        if names:
            own = Graph(
                [names.get(value, value) for value in graph.inputs],
                substitute(graph.outputs, names),
            )
        cached = compiled_graph(own, self._name, self._compiled, drawn, states, unread)
        if self._key is None:
            self._key = keys.take(0)
        with self._outside(), trace.on_context(arrays):
            results = cached.sequences(arrays, trace.training, ())
        self._taken += len(drawn)
        self.made += results
        operators = sum(node.op not in (VARIABLE, CONSTANT) for node in graph)
        return (cached, tuple(inputs), len(results), len(drawn), operators), results

    def _rename(
        self, outputs: Sequence[Value], moves: Sequence[tuple[Value, int]], arrays: Sequence[Any]
    ) -> dict[Value, Value]:
        """Let symbols stand for what the segment has made; what each value is now."""
        trace = self._trace
        first = len(self.made) - len(arrays)
        renamed: dict[Value, Value] = {}
        for number, (value, array) in enumerate(
            zip(outputs, arrays[: len(outputs)], strict=True), first
        ):
            type_ = TensorType(tuple(array.shape), as_dtype(array.dtype))
            renamed[value] = new = variable(f"made{number}", type_)
            self.number_of[new], self.origin[new] = number, value
            trace._arrays[new] = self._off_tape(array) if trace.is_off_tape(new) else array
        for value, new in renamed.items():
            if value in trace.views:
                source, of = trace.views[value]
                trace.views[new] = (renamed.get(source, source), of)
        self._share(list(renamed.values()))
        for state, output in moves:
            new = variable(f"made{first + output}", state.type)
            renamed[state] = new
            self.number_of[new], self.origin[new] = first + output, state
            begin = self._first_of[new] = self._first_of.get(state, state)
            known = self.states.get(begin)
            source = self._source(begin) if known is None else known[0]
            self.states[begin] = (source, first + output)
            trace._arrays[new] = arrays[output]
        for symbol in trace._alive():
            symbol._values = tuple(renamed.get(value, value) for value in symbol._values)
        trace._steps.clear()
        return renamed

    def _off_tape(self, array: Any) -> Any:
        """All results of a segment are on the tape, and may be kept there for their gradients; this
        one may be written to, should the trace give way."""
        with self._outside():
            return array.detach().copy()

    def _share(self, values: Sequence[Value]) -> None:
        """Arrays of views share memory with those of their sources, should the trace give way."""
        trace = self._trace
        with self._outside():
            for value in values:
                chain = []
                while value in trace.views:
                    chain.append((value, trace.views[value][1]))
                    value = trace.views[value][0]
                array = self._trace._array(value)
                for view, of in reversed(chain):
                    array = of(array)
                    if view in self.number_of:
                        trace._arrays[view] = array

    # -- what values are

    def _source(self, value: Value) -> Source:
        if value not in self._sources:
            self._note_sources()
        return source_of(value, self._sources)

    def _note_sources(self) -> None:
        """Symbols of states stand for what segments have made of them by now."""
        for value, source in self._trace.sources().items():
            if value not in self.number_of:
                self._sources[value] = source

    def sources(self) -> dict[Value, Source]:
        """Of all variables that the caller has arrays for."""
        self._note_sources()
        moved = {value: self.states[begin][0] for value, begin in self._first_of.items()}
        return {**self._sources, **moved}

    def _array_of(self, value: Value) -> Any:
        number = self.number_of.get(value)
        return self._trace._array(value) if number is None else self.made[number]

    def _outside(self) -> AbstractContextManager[Any]:
        return self._trace.outside()

    # -- at the end

    def conclude(self, graph: Graph, states: Any, unread: int) -> int:
        """Run what comes after the last decision; the number of its first result."""
        drawn = self._trace.draws[self._drawn :]
        first = len(self.made)
        if graph.outputs:
            computed, _ = self._compute(graph, drawn, states, unread)
            self.segments.append(Segment(*computed, None))
        else:
            self._key = keys.take(0) if self._key is None else self._key
            keys.take(len(drawn))
            self._taken += len(drawn)
            self.segments.append(Segment(None, (), 0, len(drawn), 0, None))
        self.commit()
        return first

    def ends_without_computing(self) -> None:
        self.segments.append(Segment(*NOTHING, None))

    @property
    def calls(self) -> Sequence[Node]:
        """With states, since the last decision."""
        calls: Sequence[Node] = self._trace.calls[self._called :]
        return calls

    def commit(self) -> None:
        """The states that segments have moved become what they are now."""
        trace = self._trace
        for begin, (_, number) in self.states.items():
            array, made = trace._array(begin), self.made[number]
            _native.commit(array, made)
            for value, earliest in self._first_of.items():
                if earliest is begin:
                    trace._arrays[value] = array

    def give_back(self) -> None:
        """The call has failed: as if it had drawn nothing."""
        if self._key is not None:
            _native.give_back_key(self._key, self._taken)


def _is_number(found: Any) -> bool:
    """Whether native code can compare it."""
    return isinstance(found, int) and -(2**63) <= found < 2**63


def _bits(array: Any) -> bytes:
    return array.bits_to_numpy().tobytes()


def _user_place() -> tuple[CodeType, int, str]:
    """The code of the user's that asks, and where it is."""
    frame: Any = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("tigon."):
        frame = frame.f_back
    return frame.f_code, frame.f_lasti, f"{frame.f_code.co_filename}:{frame.f_lineno}"
