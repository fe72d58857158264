"""A graph that is lowered: its kernels, in waves, for all extents that fit it; and the programs
made of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import groupby, islice
from typing import Any, TypeAlias

import numpy as np

from tigon import _native
from tigon.analysis.memory_plan import MemoryPlan, MemoryRow, Request, plan
from tigon.backends.interface import Backend, Structure
from tigon.base import InternalError, TensorType, check, config
from tigon.base.collector import collector_paused
from tigon.base.dtypes import BY_CODE, from_memory, to_memory
from tigon.base.extents import RuntimeExtents, is_known
from tigon.base.frozen import Frozen
from tigon.base.lazy import computed_once
from tigon.base.locks import lock_without_forks
from tigon.base.terminal import between_bars
from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value
from tigon.loop.grammar import Const, Extern, Loop, Store
from tigon.lower.alike import AlikeGroups
from tigon.lower.body import LoweredNest
from tigon.lower.control import Control
from tigon.lower.elements import is_array_constant
from tigon.lower.fuse.fuser import fuse
from tigon.lower.fuse.group import Group
from tigon.lower.fuse.order import may_come_before, put_before
from tigon.ops.record import Family
from tigon.passes import pipeline
from tigon.passes.primitives import again, repeated
from tigon.program import stored
from tigon.program.control import graphs_of, stored_control
from tigon.program.target import backend, disabled_passes, own_backend
from tigon.runtime.counters import count
from tigon.runtime.profiling import SpanKind, span

# Compiling imports modules and calls LLVM: a child forked in the middle could do neither.
COMPILING = lock_without_forks()


@contextmanager
def _compiling(what: str) -> Iterator[None]:
    with COMPILING, collector_paused(), span(SpanKind.COMPILE, what):
        yield


class Kernel(Frozen, eq=False):
    """One dispatch of native code: what it computes, and its loops as text."""

    name: str
    operators: tuple[str, ...]
    nests: tuple[LoweredNest, ...]
    wave: int = 0

    def __repr__(self) -> str:
        return f"Kernel(name={self.name!r}, operators={self.operators!r}, wave={self.wave})"

    def __str__(self) -> str:
        from tigon.loop.show import show

        return "\n".join(
            str(lowered.nest) if isinstance(lowered.nest, Control) else show(lowered.nest)
            for lowered in self.nests
        )


class CompiledGraph(Frozen):
    """A program and the facts about it."""

    lowered: LoweredGraph | StoredGraph
    program: Any  # _native.Program
    stored: stored.StoredProgram
    compile_seconds: float

    @property
    def memory_plan(self) -> MemoryPlan:
        return self.stored.plan

    @property
    def operators(self) -> int:
        """Nodes of the graph as it was given."""
        return self.stored.operators

    @property
    def graph(self) -> Graph:
        """As it was lowered."""
        return self.lowered.graph

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        return self.lowered.kernels

    def run(self, arrays: Sequence[Any], **options: Any) -> tuple[Any, ...]:
        return self.program(arrays, **options)


def prepare(
    graph: Graph, disabled: frozenset[str] = frozenset(), *, keep_shapes: bool = True
) -> Graph:
    """The graph as primitives, each output a value that some kernel computes; in its own shape, or
    in any that has the same bytes in order."""
    optional = set(pipeline.optional_passes())
    left_out = optional if "all" in disabled else optional & disabled
    registers = backend(config.text("TIGON_BACKEND")).registers
    return pipeline.run(graph, _evaluate, left_out, keep_shapes=keep_shapes, registers=registers)


def _evaluate(graph: Graph) -> list[np.ndarray]:
    """Constant folding's evaluator: the same compiler, on a small graph without inputs."""
    lowered = LoweredGraph(graph, frozenset({"fold_constants"}), (), (), target=own_backend())
    known = _known_while_lowered(lowered)
    if known is not None:
        return known
    arrays = lowered.program(name="constant").run([])
    return [from_memory(array.bits_to_numpy(), BY_CODE[array.dtype_code]) for array in arrays]


def _known_while_lowered(lowered: LoweredGraph) -> list[np.ndarray] | None:
    """The outputs, where building the loops has left nothing but storing one number in each: code
    for that would take milliseconds to make. None where there is more to do."""
    numbers: dict[Value, Any] = {}
    for kernel in lowered.kernels:
        for nest in kernel.nests:
            if isinstance(nest.nest, Extern | Control):
                return None
            statements = list(nest.nest.body)
            for statement in statements:
                if isinstance(statement, Loop):
                    statements += statement.body
                    continue
                if not isinstance(statement, Store) or statement.accumulate:
                    return None
                value = nest.values[statement.buffer]
                if not isinstance(statement.value, Const) or value is None or value in numbers:
                    return None
                numbers[value] = statement.value.value
    if not all(value in numbers for value in lowered.graph.outputs):
        return None
    return [
        np.full(type_.shape, numbers[value], type_.dtype.numpy)
        for value, type_ in zip(lowered.graph.outputs, lowered.output_types, strict=True)
    ]


def _native_program(
    made: stored.StoredProgram,
    addresses: Sequence[int],
    within: Sequence[Sequence[Any]],
    name: str,
    visible: int | None = None,
    gradient: Callable[..., Any] | None = None,
    tag: Any = None,
) -> Any:
    """`addresses` of the functions, and of each loop and branch the programs, in order."""
    functions, programs = iter(addresses), iter(within)

    def launch(given: Sequence[Any]) -> tuple[Any, ...]:
        *fields, control = given
        if control is None:
            return (next(functions), *fields, None)
        return (0, *fields, control.native(next(programs)))

    return _native.Program(
        name=name,
        inputs=made.inputs,
        outputs=made.outputs,
        visible=len(made.outputs) if visible is None else visible,
        arena_bytes=made.arena_bytes,
        constants=made.constants,
        waves=[list(map(launch, wave)) for wave in made.waves],
        may_alias=made.may_alias,
        last_reads=made.last_reads,
        writes=made.writes,
        cost=made.cost,
        gradient=gradient,
        tag=tag,
    )


def _native_of_stored(
    made: stored.StoredProgram, target: Backend, name: str, **options: Any
) -> Any | None:
    """None where functions are missing: files that were tidied away."""
    addresses = target.find(made.functions)
    if addresses is None:
        return None
    within = []
    for programs in made.within:
        found = [_native_of_stored(program, target, name) for program in programs]
        if None in found:
            return None
        within.append(found)
    return _native_program(made, addresses, within, name, **options)


class StoredGraph:
    """A graph that an earlier process compiled: its program without lowering it."""

    def __init__(
        self, lower: Callable[[], LoweredGraph], target: Backend, program: stored.StoredProgram
    ) -> None:
        self._lower = lower
        self._target = target
        self._stored = program

    @computed_once
    def lowered(self) -> LoweredGraph:
        """For those who want to look at it."""
        with _compiling("lower a stored graph"):
            return self._lower()

    @property
    def graph(self) -> Graph:
        return self.lowered.graph

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        return self.lowered.kernels

    def memory_plan(self) -> MemoryPlan:
        return self._stored.plan

    def program(
        self,
        extents: RuntimeExtents | None = None,
        values: tuple[int, ...] = (),
        *,
        name: str = "graph",
        visible: int | None = None,
        gradient: Callable[..., Any] | None = None,
        tag: Any = None,
    ) -> CompiledGraph:
        """As `LoweredGraph.program`; there are no run-time extents."""
        began = time.perf_counter()
        with _compiling(name):
            made = self._stored
            options = {"visible": visible, "gradient": gradient, "tag": tag}
            program = _native_of_stored(made, self._target, name, **options)
            if program is None:
                return self.lowered.program(name=name, visible=visible, gradient=gradient, tag=tag)
        seconds = time.perf_counter() - began
        count("programs")
        count("compile_seconds", seconds)
        return CompiledGraph(self, program, made, seconds)


NEVER_FREE = (1 << 31) - 1
"""The last wave that reads an input which is an output, too."""

NOTICE_SECONDS = 1.0
"""Who waits longer for a program is told what for."""


class LoweredGraph:
    """Kernels of one graph, arranged in waves. Makes a program for each tuple of values that the
    run-time extents of its types take: extents, places in the arena and the cut into chunks are
    numbers of the program, code is shared."""

    def __init__(
        self,
        given: Graph,
        disabled: frozenset[str],
        donated: Sequence[int],
        in_place: Sequence[tuple[int, int]],
        key: stored.Key | None = None,
        target: Backend | None = None,
    ) -> None:
        """`key`: under which its program is kept for later processes. `target`: what compiles, if
        it is not what all programs are compiled by."""
        began = time.perf_counter()
        self.given = given
        self.key = key
        self.graph = graph = prepare(given, disabled, keep_shapes=False)
        self.donated = (*donated, *[source for _, source in in_place])
        self.target = backend(config.text("TIGON_BACKEND")) if target is None else target
        fusion = fuse(graph, enabled="fuse" not in disabled and "all" not in disabled)
        self.operators = sum(
            node.op is not VARIABLE and node.op is not CONSTANT for node in given.nodes
        )
        self.output_types = [value.type for value in given.outputs]  # `graph` may reshape them
        self.inputs = {value: index for index, value in enumerate(graph.inputs)}
        self.outputs = {value: index for index, value in enumerate(graph.outputs)}
        self.constants = {
            node.outputs[0]: index
            for index, node in enumerate(
                node for node in graph.nodes if is_array_constant(node.outputs[0])
            )
        }
        # Where extents are open already, or numbers alone are computed, no others are left open.
        opens = bool(graph.inputs) and all(is_known(*value.shape) for value in graph.inputs)
        alike = AlikeGroups(fusion, opens)
        lowered = [(group, nests) for group in fusion.groups if (nests := alike.lower(group))]
        self.wave_of = self._waves(lowered, in_place)
        self.kernels = self._kernels(lowered)
        self.within = {
            nest.nest: [
                lower_graph(inner, disabled=disabled) for inner in graphs_of(nest.nest.node)
            ]
            for kernel in self.kernels
            for nest in kernel.nests
            if isinstance(nest.nest, Control)
        }
        """What loops and branches run, in the order in which they are launched."""
        self.producer: dict[Value, Kernel] = {}
        self.last_readers: dict[Value, dict[Kernel, None]] = {}
        """The kernels of the last wave that reads a value."""
        self._touching: dict[tuple[Kernel, Value], list[LoweredNest]] = {}
        for kernel in self.kernels:  # in order of waves
            for nest in kernel.nests:
                for value, buffer in zip(nest.values, nest.nest.buffers, strict=True):
                    if value is not None:
                        self._touch(kernel, nest, value, buffer.role)
        self.temporaries = [value for value in self.producer if value not in self.outputs]
        self.takes_over = self._takers(self.temporaries, self.temporaries)
        self.may_alias = self._takers(self.graph.inputs, self.graph.outputs)
        self.last_reads = [
            NEVER_FREE if value in self.outputs else self.last_read(value, -1)
            for value in self.graph.inputs
        ]
        self.writes = [
            self.producer[value].wave if value in self.producer else -1
            for value in self.graph.outputs
        ]
        self.seconds = time.perf_counter() - began
        count("compile_seconds", self.seconds)

    # -- waves

    def _waves(
        self,
        lowered: list[tuple[Group, list[LoweredNest]]],
        in_place: Sequence[tuple[int, int]],
    ) -> dict[Group, int]:
        """Each kernel as early as its operands permit; kernels of a wave run together."""
        loads: dict[Group, set[Value]] = {}
        writer: dict[Value, Group] = {}
        for group, nests in lowered:
            loads[group], stores = _touched(nests)
            writer.update((value, group) for value in stores)
        before = {
            group: {writer[value] for value in read if value in writer}
            for group, read in loads.items()
        }
        _let_readers_go_first(
            [
                (writer[self.graph.outputs[output]], self.graph.inputs[source])
                for output, source in in_place
                if self.graph.outputs[output] in writer
            ],
            loads,
            before,
        )
        groups = [group for group, _ in lowered]
        waves = _levels(groups, before)
        if any(node.op is again for node in self.given.nodes):
            waves = _repeats_when_read(waves, before)
        # What is only put into another order, such as weights into panels, would lie there all the
        # time until it is read: it is made just before.
        first_reads: dict[Group, int] = {}
        only_moved: set[Group] = set()
        for group, read in loads.items():
            for value in read:
                made = writer.get(value)
                if made is not None and not before[made]:
                    first_reads[made] = min(first_reads.get(made, waves[group]), waves[group])
                    if value.node.op.has_memory:
                        only_moved.add(made)
        return waves | {made: first_reads[made] - 1 for made in only_moved}

    def _kernels(self, lowered: list[tuple[Group, list[LoweredNest]]]) -> tuple[Kernel, ...]:
        """Groups become kernels; elementwise groups of one formula and wave become one."""
        parts: dict[Any, list[tuple[Group, list[LoweredNest]]]] = {}
        for group, nests in lowered:
            wave = self.wave_of[group]
            key: Any = (wave, group.number)
            if group.kind == "map" and group.axes is None:
                key = (wave, tuple((node.op, node.attrs) for node in group.members))
            parts.setdefault(key, []).append((group, nests))
        kernels = []
        self._nodes: list[tuple[str, list[Node]]] = []
        for (wave, _), members in parts.items():
            nodes = [node for group, _ in members for node in group.members]
            name = _kernel_name(nodes)
            self._nodes.append((name, nodes))
            kernels.append(
                Kernel(
                    name,
                    tuple(dict.fromkeys(node.op.name for node in nodes)),
                    tuple(nest for _, nests in members for nest in nests),
                    wave,
                )
            )
        return tuple(sorted(kernels, key=lambda kernel: kernel.wave))

    # -- memory

    def _touch(self, kernel: Kernel, nest: LoweredNest, value: Value, role: str) -> None:
        touching = self._touching.setdefault((kernel, value), [])
        if not touching or touching[-1] is not nest:
            touching.append(nest)
        if role == "out":
            self.producer[value] = kernel
            return
        readers = self.last_readers.setdefault(value, {})
        if readers and next(iter(readers)).wave < kernel.wave:
            readers.clear()
        readers[kernel] = None

    def last_read(self, value: Value, never: int) -> int:
        """The wave that reads a value last, or `never`."""
        readers = self.last_readers.get(value)
        return next(iter(readers)).wave if readers else never

    def _takers(self, sources: Sequence[Value], takers: Sequence[Value]) -> list[list[int]]:
        """For each of `takers` the numbers of the sources in whose place it may be written: those
        that its kernel reads last, element by element in step. Only values of one size take each
        other's place."""
        # By lookup: == would settle what n bytes are.
        number = {(value, value.type.nbytes): place for place, value in enumerate(sources)}
        found: list[list[int]] = []
        for taker in takers:
            writer, nbytes = self.producer.get(taker), taker.type.nbytes
            touched: dict[Value, None] = {}
            if writer is not None:
                nests = self._touching[writer, taker]
                touched = dict.fromkeys(value for value in nests[0].values if value is not None)
            found.append(
                sorted(
                    number[source, nbytes]
                    for source in touched
                    if (source, nbytes) in number and self._hands_over(source, taker, writer)
                )
            )
        return found

    def _requests(self) -> list[Request]:
        return [
            Request(
                value.node.name or value.node.op.name,
                int(value.type.nbytes),
                self.producer[value].wave,
                self.last_read(value, self.producer[value].wave),
                tuple(sources),
            )
            for value, sources in zip(self.temporaries, self.takes_over, strict=True)
        ]

    # -- programs

    def program(
        self,
        extents: RuntimeExtents | None = None,
        values: tuple[int, ...] = (),
        *,
        name: str = "graph",
        visible: int | None = None,
        gradient: Callable[..., Any] | None = None,
        tag: Any = None,
    ) -> CompiledGraph:
        """The program for these values of the run-time extents that the graph was lowered with."""
        began = time.perf_counter()
        known = nullcontext() if extents is None else extents.known(values)
        with _compiling(name), known:
            self._check_sizes()
            requests = self._requests()
            arranged = plan(requests)
            within = {
                control: [
                    inner.program(None, values, name=f"{name} within {control.node.label}")
                    for inner in lowered
                ]
                for control, lowered in self.within.items()
            }
            waves, addresses, structures, cost = self._launches(values, arranged.offsets, within)
            made = stored.StoredProgram(
                [] if self.key is None else self.target.names(structures),
                waves,
                [[inner.stored for inner in programs] for programs in within.values()],
                [_signature(value.type) for value in self.graph.inputs],
                [_signature(type_) for type_ in self.output_types],
                arranged.total_bytes,
                [constant_bytes(value) for value in self.constants],
                self.may_alias,
                self.last_reads,
                self.writes,
                cost,
                self._report(requests, arranged),
                self.operators,
            )
            running = [[inner.program for inner in programs] for programs in within.values()]
            program = _native_program(made, addresses, running, name, visible, gradient, tag)
            if self.key is not None:
                stored.save(self.target.store, self.key, made, self._renamed(self.key))
        seconds = time.perf_counter() - began
        count("programs")
        count("compile_seconds", seconds)
        taken = self.seconds + seconds
        if taken > NOTICE_SECONDS and config.text("TIGON_NOTICES") != "0":
            kept = "" if self.key is None else "; the next process finds it on disk"
            with between_bars(sys.stderr):
                print(
                    f"tigon: compiled {name} in {taken:.1f} s: {self.operators} primitives in "
                    f"{len(self.kernels)} kernels{kept}",
                    file=sys.stderr,
                )
        return CompiledGraph(self, program, made, taken)

    def _renamed(self, key: stored.Key) -> dict[str, str] | None:
        """The texts of a program with numbers for the names of `key`; None where one of them stands
        for two things, or holds a name in part."""
        found: dict[str, str] = {}
        if self.within:
            return None

        def name_of(node: Node) -> str:
            return (stored.numbered(node.name, key) or "") if node.name else ""

        nodes = [node for _, kernel in self._nodes for node in kernel]
        values = [*self.graph.inputs, *self.graph.outputs, *self.temporaries]
        for node in (*nodes, *(value.node for value in values)):
            if node.name and not name_of(node):
                return None
        texts = [(name, _kernel_name(kernel, name_of)) for name, kernel in self._nodes]
        texts += [(_label(value), name_of(value.node) or _label(value)) for value in values]
        return found if all(found.setdefault(*text) == text[1] for text in texts) else None

    def _check_sizes(self) -> None:
        """Strides of arrays that are too large would not fit into slots."""
        for value in (*self.graph.inputs, *self.graph.outputs, *self.temporaries):
            shape = tuple(map(int, value.shape))
            check(
                int(value.type.nbytes) < 1 << 63,
                "array",
                f"the size of shape {shape} overflows 64 bits; use smaller extents",
            )

    def _launches(
        self,
        values: tuple[int, ...],
        offsets: Sequence[int],
        within: Mapping[Control, Sequence[CompiledGraph]],
    ) -> tuple[list[list[list[Any]]], list[int], list[Structure], float]:
        """The launches of each wave; in order of them addresses and structures; and an estimate of
        their time in microseconds."""
        place = dict(zip(self.temporaries, offsets, strict=True))
        nests = [
            (kernel, nest)
            for kernel in self.kernels
            for nest in kernel.nests
            if not isinstance(nest.nest, Control)
        ]
        # One object for all launches of a nest, which costs time to hash.
        unlike = {id(nest.nest): nest for _, nest in nests}
        prepared = {}
        for number, nest in unlike.items():
            with nest.known():
                prepared[number] = self.target.prepare(nest.nest, values)
        launches = [(kernel, nest, prepared[id(nest.nest)]) for kernel, nest in nests]
        before = self.target.counters["compiled"]
        compiled = self.target.compile([launch.structure for _, _, launch in launches])
        count("kernel_compilations", self.target.counters["compiled"] - before)
        # Kernels come in order of their waves.
        waves: list[list[list[Any]]] = [
            [] for _ in range(max((k.wave for k in self.kernels), default=-1) + 1)
        ]
        addresses, structures = [], []
        cost = 0.0
        for (kernel, nest, launch), address in zip(launches, compiled, strict=True):
            cost += launch.cost_us
            if launch.points == 0:
                continue
            addresses.append(address)
            structures.append(launch.structure)
            buffers = [self._place(value, place) for value in nest.values]
            with nest.known():
                slots = launch.packed()
            waves[kernel.wave].append(
                [
                    buffers,
                    slots,
                    launch.points,
                    launch.grain,
                    launch.scratch_bytes,
                    kernel.name,
                    None,
                ]
            )
        alone: dict[int, list[list[Any]]] = {}  # after the wave of this number
        for kernel in self.kernels:
            for nest in kernel.nests:
                if isinstance(nest.nest, Control):
                    buffers = [self._place(value, place) for value in nest.values]
                    control = stored_control(nest.nest)
                    programs = within[nest.nest]
                    cost += control.microseconds([inner.program.cost for inner in programs])
                    fields = [buffers, b"", 1, 1, 0, kernel.name, control]
                    alone.setdefault(kernel.wave, []).append(fields)
        every = []
        for number, wave in enumerate(waves):
            every += [wave, *[[fields] for fields in alone.get(number, ())]]
        return [wave for wave in every if wave], addresses, structures, cost

    def _place(self, value: Value | None, place: dict[Value, int]) -> tuple[int, int]:
        if value is None:
            return (_native.ARENA, 0)  # scratch: the kernel's own, the entry is ignored
        if value in self.inputs:
            return (_native.INPUT, self.inputs[value])
        if value in self.outputs:
            return (_native.OUTPUT, self.outputs[value])
        if value in self.constants:
            return (_native.CONSTANT, self.constants[value])
        if value not in self.producer and value.type.size == 0:
            return (_native.ARENA, 0)  # no kernel makes what has no elements, and none reads it
        return (_native.ARENA, place[value])

    def _hands_over(self, source: Value, taker: Value, writer: Kernel | None) -> bool:
        """Whether the kernel that writes `taker` is the last to read `source`, in step with it."""
        if writer is None or source is taker or source in self.outputs:
            return False
        if any(
            kernel is not writer and kernel.wave >= writer.wave
            for kernel in islice(self.last_readers.get(source, ()), 2)
        ):
            return False
        nests = self._touching[writer, taker]
        return nests == self._touching[writer, source] and all(
            nest.in_step(source, taker) for nest in nests
        )

    def memory_plan(self) -> MemoryPlan:
        """What a program would need. Nothing is compiled for it."""
        requests = self._requests()
        return self._report(requests, plan(requests))

    def _report(self, requests: Sequence[Request], arranged: Any) -> MemoryPlan:
        last = max((kernel.wave for kernel in self.kernels), default=0)
        rows = []
        total = 0
        free = _FreeInputs(self)
        for value in self.graph.inputs:
            nbytes = int(value.type.nbytes)
            rows.append(MemoryRow(value.node.name, "input", _text(value.type), nbytes, 0, last))
            total += nbytes
        for index, value in enumerate(self.graph.outputs):
            first = self.producer[value].wave if value in self.producer else 0
            nbytes = int(value.type.nbytes)
            rows.append(MemoryRow(_label(value), "output", _text(value.type), nbytes, first, last))
            if not free.take(index):
                total += nbytes
        for value, request, offset in zip(
            self.temporaries, requests, arranged.offsets, strict=True
        ):
            rows.append(
                MemoryRow(
                    request.name,
                    "temporary",
                    _text(value.type),
                    request.nbytes,
                    request.first,
                    request.last,
                    offset,
                )
            )
        total += arranged.total_bytes
        # As if each operator of the program as written had memory of its own.
        unplanned = sum(
            int(value.type.nbytes)
            for node in self.given.nodes
            if node.op is not CONSTANT
            for value in node.outputs
            if value.is_typed
        )
        return MemoryPlan(total, arranged.slots, arranged.total_bytes, unplanned, tuple(rows))


class _FreeInputs:
    """Inputs that the caller gives up, each to one output of its size at most."""

    def __init__(self, lowered: LoweredGraph) -> None:
        self._lowered = lowered
        self._left = set(lowered.donated)
        self._by_size: dict[int, list[tuple[int, int]]] = {}  # (last read, input), the first last
        for given in self._left:
            nbytes = int(lowered.graph.inputs[given].type.nbytes)
            self._by_size.setdefault(nbytes, []).append((lowered.last_reads[given], given))
        for given_up in self._by_size.values():
            given_up.sort(reverse=True)

    def take(self, output: int) -> bool:
        """Whether there is one for this output."""
        lowered = self._lowered
        in_step = [given for given in lowered.may_alias[output] if given in self._left]
        if in_step:
            self._left.remove(in_step[0])
            return True
        given_up = self._by_size.get(int(lowered.graph.outputs[output].type.nbytes), [])
        while given_up and given_up[-1][0] < lowered.writes[output]:
            _, given = given_up.pop()
            if given in self._left:
                self._left.remove(given)
                return True
        return False


AnyLowered: TypeAlias = "LoweredGraph | StoredGraph"


def lower_graph(
    graph: Graph,
    *,
    disabled: frozenset[str] | None = None,
    donated: Sequence[int] = (),
    in_place: Sequence[tuple[int, int]] = (),
) -> AnyLowered:
    """All of compiling that does not depend on the values of run-time extents."""
    disabled = disabled_passes() if disabled is None else disabled
    with _compiling("lower"):
        count("compilations")
        key = key_for(graph, disabled, donated, in_place)
        lower = partial(LoweredGraph, graph, disabled, donated, in_place, key)
        found = None if key is None else found_graph(key.name, key.names, lower)
        if found is None and key is not None:
            found = found_graph(key.name_with_names, key.names, lower)
        return lower() if found is None else found


def key_for(
    graph: Graph,
    disabled: frozenset[str],
    donated: Sequence[int] = (),
    in_place: Sequence[tuple[int, int]] = (),
) -> stored.Key | None:
    """Under which its program is kept, if it is."""
    target = backend(config.text("TIGON_BACKEND"))
    if not target.store.usable:
        return None
    options = disabled | pipeline.switched_on()
    return stored.key_of(graph, options, donated, in_place, target.version)


def found_graph(
    name: str, names: Sequence[str], lower: Callable[[], LoweredGraph]
) -> StoredGraph | None:
    """What an earlier process kept under the name of a key; `lower` for those who want to look."""
    target = backend(config.text("TIGON_BACKEND"))
    program = stored.find(target.store, name, names)
    return None if program is None else StoredGraph(lower, target, program)


def _signature(type_: TensorType) -> tuple[int, tuple[int, ...]]:
    return type_.dtype.code, tuple(map(int, type_.shape))


def _text(type_: TensorType) -> str:
    return str(TensorType(tuple(map(int, type_.shape)), type_.dtype, type_.weak))


def _touched(nests: Sequence[LoweredNest]) -> tuple[set[Value], set[Value]]:
    """The values that nests load, and those they store."""
    loads: set[Value] = set()
    stores: set[Value] = set()
    for nest in nests:
        for value, buffer in zip(nest.values, nest.nest.buffers, strict=True):
            if value is not None:
                (stores if buffer.role == "out" else loads).add(value)
    return loads - stores, stores


def _levels(groups: Sequence[Group], before: Mapping[Group, set[Group]]) -> dict[Group, int]:
    """Each group after those of `before`."""
    levels: dict[Group, int] = {}
    stack = list(reversed(groups))
    while stack:
        group = stack[-1]
        waiting = [other for other in before[group] if other not in levels]
        if waiting:
            stack += waiting
            continue
        stack.pop()
        levels[group] = max((levels[other] + 1 for other in before[group]), default=0)
    return {group: levels[group] for group in groups}


def _repeats_when_read(
    waves: Mapping[Group, int], before: Mapping[Group, set[Group]]
) -> dict[Group, int]:
    """What is computed a second time in waves of its own, just before others wait for it: as early
    as operands permit, all of it would lie in memory at once. What waits for it runs as late as it
    can."""
    order = sorted(waves, key=lambda group: waves[group])
    repeats = _repeats(order, before)
    levels = _levels_of_others(order, before, repeats)
    placed: dict[Group, int] = {}
    wave = 0
    others = sorted(levels, key=lambda group: levels[group])
    for _, row in groupby(others, lambda group: levels[group]):
        ready = list(row)
        needed: dict[Group, None] = {}
        todo = list(ready)
        while todo:
            found = [
                other
                for other in before[todo.pop()]
                if other in repeats and other not in placed and other not in needed
            ]
            needed.update(dict.fromkeys(found))
            todo += found
        within = _levels([*needed], {each: before[each] & needed.keys() for each in needed})
        placed.update((each, wave + level) for each, level in within.items())
        wave += max(within.values(), default=-1) + 1
        placed.update(dict.fromkeys(ready, wave))
        wave += 1
    return placed


def _repeats(order: Sequence[Group], before: Mapping[Group, set[Group]]) -> set[Group]:
    """The groups that compute something a second time, and those that serve nothing else."""
    after: dict[Group, list[Group]] = {group: [] for group in order}
    for group in order:
        for other in before[group]:
            after[other].append(group)
    found: set[Group] = set()
    for group in reversed(order):
        repeats = any(node.op is repeated for node in group.members)
        if repeats or (after[group] and found.issuperset(after[group])):
            found.add(group)
    return found


def _levels_of_others(
    order: Sequence[Group], before: Mapping[Group, set[Group]], repeats: set[Group]
) -> dict[Group, int]:
    """Levels as if repeats took no time; as late as they can be for groups that wait for some."""
    past: dict[Group, set[Group]] = {}  # the nearest of the others that a group waits for
    waiting: set[Group] = set()
    for group in order:
        past[group] = set()
        for other in before[group]:
            past[group] |= past[other] if other in repeats else {other}
        if not (repeats | waiting).isdisjoint(before[group]):
            waiting.add(group)
    others = [group for group in order if group not in repeats]
    levels = _levels(others, past)
    limit: dict[Group, int] = {}
    for group in sorted(others, key=lambda group: levels[group], reverse=True):
        if group in waiting:
            levels[group] = limit.get(group, levels[group])
        for other in past[group]:
            limit[other] = min(limit.get(other, levels[group] - 1), levels[group] - 1)
    return levels


def _let_readers_go_first(
    overwritten: Sequence[tuple[Group, Value]],
    loads: dict[Group, set[Value]],
    before: dict[Group, set[Group]],
) -> None:
    """Of each pair of a group and the value that it overwrites: order the other readers of the
    value before the group, except for those that need its results: with one of these the memory
    cannot be shared, and the program copies."""
    if not overwritten:
        return
    readers: dict[Value, list[Group]] = {source: [] for _, source in overwritten}
    for group, read in loads.items():
        for value in read & readers.keys():
            readers[value].append(group)
    for writer, source in overwritten:
        for reader in readers[source]:
            if reader is not writer and not may_come_before(writer, reader):
                before[writer].add(reader)
                put_before((reader,), writer)


def _kernel_name(nodes: Sequence[Node], name_of: Callable[[Node], str] | None = None) -> str:
    names = [_who(node, node.name if name_of is None else name_of(node)) for node in nodes]
    return "+".join(dict.fromkeys(names[:4])) + ("+..." if len(names) > 4 else "")


def _who(node: Node, name: str) -> str:
    """Whom an error of the kernel speaks of."""
    if node.op.family in (Family.CHECK, Family.NOTICE) and node.attrs.operator:
        return str(node.attrs.operator)
    return name or node.op.name


def _label(value: Value) -> str:
    return value.node.name or value.node.op.name


def constant_bytes(value: Value) -> bytes:
    """What the memory of an array constant holds."""
    attrs = value.node.attrs
    if not isinstance(attrs.value, tuple):
        raise InternalError("a scalar constant needs no memory")
    return to_memory(np.array(attrs.value), value.dtype).tobytes()
