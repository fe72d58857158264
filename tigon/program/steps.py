"""Graphs with operators of effect: a call runs programs, and Python code between them.

Each step records itself. A part of the graph has a backward program of its own, the gradient of
Python code is Python code, and the tape walks them in reverse order.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

from tigon import _native
from tigon.analysis.leads import leads
from tigon.analysis.memory_plan import MemoryPlan
from tigon.base import TensorType, TigonError
from tigon.base.frozen import Frozen
from tigon.context import Context
from tigon.ir import Graph, Node, Value
from tigon.passes.cut_at_effects import PureStep, cut_at_effects
from tigon.passes.thread_states import States
from tigon.program.host import HostCall, label
from tigon.program.lowered import CompiledGraph, Kernel, lower_graph


class Part(Protocol):
    """A graph without effects, as it is compiled."""

    def program(
        self,
        types: Sequence[TensorType],
        training: bool,
        wanted: tuple[bool, ...] | None,
    ) -> tuple[Any, CompiledGraph]: ...


class CompiledSteps(Frozen, eq=False):
    """The programs of one call, in order, and the facts about them."""

    programs: tuple[CompiledGraph, ...]

    @property
    def graph(self) -> Graph:
        raise TigonError(
            "graph: it is run in parts, between the operators that are Python code; look at "
            "`programs`, which has one graph for each"
        )

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        return tuple(kernel for compiled in self.programs for kernel in compiled.kernels)

    @property
    def memory_plan(self) -> MemoryPlan:
        """Of all programs together, as if they held their memory at the same time."""
        plans = [compiled.memory_plan for compiled in self.programs]
        return MemoryPlan(
            sum(plan.total_bytes for plan in plans),
            sum(plan.temporaries for plan in plans),
            sum(plan.arena_bytes for plan in plans),
            sum(plan.unplanned_bytes for plan in plans),
            tuple(row for plan in plans for row in plan.rows),
        )


class Compiled(Frozen, eq=False):
    """What a sequence was made of."""

    variants: tuple[Any, ...]
    graph: CompiledGraph | CompiledSteps


class StepGraph:
    """A graph of one mode, cut at its effects. `codes` keeps the Python code of each node and its
    types, where all calls share it, in both modes."""

    def __init__(
        self,
        graph: Graph,
        states: States,
        unread: int,
        draws: int,
        make_part: Callable[[Graph], Part],
        codes: MutableMapping[Any, Any] | None,
    ) -> None:
        cut = cut_at_effects(graph)
        self._steps = [
            (step, make_part(step.graph) if isinstance(step, PureStep) else None)
            for step in cut.steps
        ]
        self._results = cut.results[: len(graph.outputs) - len(states) - unread]
        self._moves = [(cut.results[output], place) for output, place in states]
        self._draws = draws
        self._codes = codes
        self._compiled: WeakValueDictionary[Any, Compiled] = WeakValueDictionary()

    def sequence(
        self,
        types: Sequence[TensorType],
        training: bool,
        wanted: tuple[bool, ...] | None,
        donated: Sequence[int],
        at: Context,
    ) -> _native.Sequence:
        """How a call on operands of these types goes, of which the first is there."""
        frame = _Frame(types, wanted)
        hosted: list[int] = []  # slots that Python code fills
        variants: list[Any] = []
        programs: list[CompiledGraph] = []
        for step, part in self._steps:
            slots = [frame.slot[place] for place in step.inputs]
            given = [frame.types[slot] for slot in slots]
            flags = tuple(frame.recorded[slot] for slot in slots)
            if isinstance(step, PureStep):
                assert part is not None
                variant, compiled = part.program(given, training, flags if any(flags) else None)
                variants.append(variant)
                programs.append(compiled)
                keys = [_native.KEY_SLOT] if variant.random_calls else []
                frame.steps.append(("run", compiled.program, [*slots, *keys], [], ()))
                graph: Graph = variant.own.graph
                taking = leads(graph, graph.outputs)
                frame.add(
                    [TensorType(value.shape, value.dtype) for value in graph.outputs],
                    [any(flags[i] for i in own if i < len(flags)) for own in taking],
                    on_tape=any(flags),
                )
            else:
                call = self._call(step.node, given, at)
                hosted += range(len(frame.types), len(frame.types) + len(call.types))
                frame.steps.append(("host", call, slots, list(map(_signature, call.types))))
                states = len(call.types) - call.visible
                frame.add(call.types, [any(flags)] * call.visible + [False] * states)
        moves = [(frame.slot[made], frame.slot[place]) for made, place in self._moves]
        if moves:
            waited = [*hosted, *[slot for slot, _ in moves]]
            frame.steps.append(("host", _await, waited, []))
            frame.steps.append(("commit", moves))
        if donated:
            frame.steps.append(("host", _give_up, list(donated), []))
        made_of = Compiled(tuple(variants), CompiledSteps(tuple(programs)))
        inputs = list(map(_signature, types))
        self._compiled[tuple(inputs)] = made_of
        results = [frame.slot[place] for place in self._results]
        return _native.Sequence(inputs, frame.steps, results, self._draws, made_of)

    def programs_for(self, types: Sequence[tuple[int, tuple[int, ...]]]) -> list[CompiledGraph]:
        """What was compiled so far for operands of these (dtype codes, shapes)."""
        found = self._compiled.get(tuple(types))
        return [] if found is None else [p for v in found.variants for p in v.programs]

    def _call(self, node: Node, types: Sequence[TensorType], at: Context) -> HostCall:
        key = (node.serial, at, *types)
        name = label(node.op, node.attrs, node.name)
        return HostCall(node.op, node.attrs, types, at, name, self._codes, key)


def sequence_of_steps(
    graph: Graph, name: str, disabled: frozenset[str] | None, at: Context
) -> tuple[_native.Sequence, tuple[CompiledGraph, ...]]:
    """A typed graph, of which nothing is recorded and no state moves, as its steps and programs.
    A random key among its inputs is an array as others."""
    cut = cut_at_effects(graph)
    types = [_plain(value) for value in graph.inputs]
    inputs = list(map(_signature, types))
    steps: list[Any] = []
    programs: list[CompiledGraph] = []
    for step in cut.steps:
        if isinstance(step, PureStep):
            lowered = lower_graph(step.graph, disabled=disabled)
            programs.append(lowered.program(name=name))
            steps.append(("run", programs[-1].program, step.inputs, [], ()))
            types += [_plain(value) for value in step.graph.outputs]
        else:
            op, attrs = step.node.op, step.node.attrs
            given = [types[place] for place in step.inputs]
            call = HostCall(op, attrs, given, at, label(op, attrs, step.node.name))
            steps.append(("host", call, step.inputs, list(map(_signature, call.types))))
            types += call.types
    made_of = tuple(programs)
    return _native.Sequence(inputs, steps, cut.results, 0, made_of), made_of


def _plain(value: Value) -> TensorType:
    return TensorType(value.shape, value.dtype)


class _Frame:
    """The arrays of a call so far, by slot: their types, and whether they are on the tape."""

    def __init__(self, types: Sequence[TensorType], wanted: tuple[bool, ...] | None) -> None:
        self.steps: list[Any] = []
        self.types = list(types)
        self.recorded = list(wanted or [False] * len(types))
        self.slot = list(range(len(types)))
        """Of each place of the graph's steps."""

    def add(
        self, types: Sequence[TensorType], recorded: Sequence[bool], on_tape: bool = False
    ) -> None:
        """What the last step makes. `on_tape`: a program puts all of its results there; those that
        take no part, as where the program paused the recording, are taken off again."""
        first = len(self.types)
        slots = range(first, first + len(types))
        self.types += types
        self.recorded += recorded
        self.slot += slots
        off = [slot for slot in slots if on_tape and not self.recorded[slot]]
        if off:
            own = [self.types[slot] for slot in off]
            self.steps.append(("host", _detached, off, list(map(_signature, own))))
            for slot in off:
                self.slot[self.slot.index(slot)] = len(self.types)
                self.types.append(self.types[slot])
                self.recorded.append(False)


def _signature(type_: TensorType) -> tuple[int, tuple[int, ...]]:
    return type_.dtype.code, tuple(map(int, type_.shape))


def _detached(*arrays: Any) -> list[Any]:
    return [array.detach() for array in arrays]


def _await(*states: Any) -> tuple[()]:
    """States move when all that makes them has ended well."""
    for state in states:
        state.wait_to_read()
    return ()


def _give_up(*arrays: Any) -> tuple[()]:
    for array in arrays:
        if not array.donated:
            _native.give_up(array)
    return ()
