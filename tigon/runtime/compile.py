"""Graph -> passes -> kernels -> memory plan -> native program."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from tigon import _native
from tigon.analysis.memory_plan import MemoryPlan, MemoryRow, Request, plan
from tigon.backends.interface import Backend, Launchable
from tigon.base import InternalError, TensorType, TigonError, check
from tigon.base.frozen import Frozen
from tigon.base.locks import lock_without_forks
from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value
from tigon.lower.elements import is_array_constant
from tigon.lower.fuse import Fusion, Group, fuse, is_computed
from tigon.lower.nests import LoweredNest, lower_group
from tigon.lower.split import split_sums
from tigon.ops.record import get
from tigon.passes import pipeline
from tigon.runtime.counters import count

# Compiling imports modules and calls LLVM: a child forked in the middle could do neither.
_COMPILING = lock_without_forks()


class Kernel(Frozen):
    """One dispatch of native code: what it computes, and its loops as text."""

    name: str
    operators: tuple[str, ...]
    nests: tuple[LoweredNest, ...]
    launchables: tuple[Launchable, ...]
    wave: int = 0

    def __repr__(self) -> str:
        return f"Kernel(name={self.name!r}, operators={self.operators!r}, wave={self.wave})"

    def __str__(self) -> str:
        from tigon.loop.show import show

        return "\n".join(show(lowered.nest) for lowered in self.nests)


class CompiledGraph(Frozen):
    """A program and the facts about it."""

    graph: Graph  # as it was lowered
    program: Any  # _native.Program
    memory_plan: MemoryPlan
    kernels: tuple[Kernel, ...]
    compile_seconds: float
    operators: int  # nodes of the graph as it was given

    def run(self, arrays: Sequence[Any], **options: Any) -> tuple[Any, ...]:
        return self.program(arrays, **options)


@cache
def backend(name: str = "cpu") -> Backend:
    """The backend of that name."""
    if name == "cpu":
        from tigon.backends.cpu.backend import cpu

        return cpu
    if name == "null":
        from tigon.backends.null.backend import NullBackend

        return NullBackend()
    raise TigonError(f"backend: expected 'cpu' or 'null'; given '{name}'")


def optional_passes() -> tuple[str, ...]:
    """Names of what may be turned off without changing a result.

    >>> "fuse" in optional_passes()
    True
    """
    return (*pipeline.optional_passes(), "fuse")


def disabled_passes() -> frozenset[str]:
    """Optional passes turned off by `TIGON_DISABLE_PASSES=fuse,fold_constants,...` ("all")."""
    given = frozenset(filter(None, os.environ.get("TIGON_DISABLE_PASSES", "").split(",")))
    unknown = sorted(given - {*optional_passes(), "all"})
    check(
        not unknown,
        "TIGON_DISABLE_PASSES",
        f"expected names among {', '.join(optional_passes())} or all; given {', '.join(unknown)}",
    )
    return given


def compile_graph(
    graph: Graph,
    *,
    name: str = "graph",
    visible: int | None = None,
    gradient: Callable[[tuple[bool, ...]], Any] | None = None,
    tag: Any = None,
    disabled: frozenset[str] | None = None,
    donated: Sequence[int] = (),
    in_place: Sequence[tuple[int, int]] = (),
) -> CompiledGraph:
    """Compile a typed graph. Program inputs are the graph's inputs, in order.

    `visible`: how many of the outputs the caller sees (the rest are residuals); `gradient` and
    `tag` are handed to the native program. `donated` inputs count as given up in the memory plan.
    `in_place` are pairs (output, input) that the caller will give the same memory: the kernel that
    writes such an output waits until all others have read the input.
    """
    disabled = disabled_passes() if disabled is None else disabled
    with _COMPILING:
        return _compile_graph(graph, name, visible, gradient, tag, disabled, donated, in_place)


def _compile_graph(
    graph: Graph,
    name: str,
    visible: int | None,
    gradient: Callable[[tuple[bool, ...]], Any] | None,
    tag: Any,
    disabled: frozenset[str],
    donated: Sequence[int],
    in_place: Sequence[tuple[int, int]],
) -> CompiledGraph:
    began = time.perf_counter()
    operators = sum(node.op is not VARIABLE and node.op is not CONSTANT for node in graph.nodes)
    lowered = prepare(graph, disabled)
    types = [value.type for value in lowered.outputs]
    lowered = _without_closing_reshapes(lowered)
    target = backend(os.environ.get("TIGON_BACKEND", "cpu"))
    fusion = fuse(lowered, enabled="fuse" not in disabled and "all" not in disabled)
    assembly = _Assembly(lowered, fusion, target, in_place)
    program, report = assembly.program(
        name,
        len(lowered.outputs) if visible is None else visible,
        gradient,
        tag,
        types,
        graph,
        (*donated, *[source for _, source in in_place]),
    )
    seconds = time.perf_counter() - began
    count("compilations")
    count("compile_seconds", seconds)
    return CompiledGraph(lowered, program, report, assembly.kernels, seconds, operators)


def prepare(graph: Graph, disabled: frozenset[str] = frozenset()) -> Graph:
    """The graph as primitives, each output a value that some kernel computes."""
    optional = set(pipeline.optional_passes())
    left_out = optional if "all" in disabled else optional & disabled
    result = pipeline.run(graph, _evaluate, left_out)
    result = split_sums(result)
    return _own_outputs(result)


def _evaluate(graph: Graph) -> list[np.ndarray]:
    """Constant folding's evaluator: the same compiler, on a small graph without inputs."""
    compiled = compile_graph(graph, name="constant", disabled=frozenset({"fold_constants"}))
    return [array.asnumpy() for array in compiled.run([])]


def _own_outputs(graph: Graph) -> Graph:
    """Copy outputs that are inputs, views, constants or repeated: each gets memory of its own."""
    seen: set[Value] = set()
    outputs = []
    for value in graph.outputs:
        if value.node.op is VARIABLE or value.node.op is CONSTANT or not is_computed(value.node):
            value = get("_copy")(value)
        elif value in seen:
            value = get("_copy")(value)
        seen.add(value)
        outputs.append(value)
    if all(new is old for new, old in zip(outputs, graph.outputs, strict=True)):
        return graph
    return Graph(graph.inputs, outputs)


def _without_closing_reshapes(graph: Graph) -> Graph:
    """Outputs that are copies of reshaped values, as these values: the same bytes in order."""
    outputs: list[Value] = []
    for value in graph.outputs:
        source = value.node.inputs[0] if value.node.op is get("_copy") else value
        while source.node.op is get("_reshape"):
            source = source.node.inputs[0]
        plain = source.node.op is not VARIABLE and source.node.op is not CONSTANT
        if source is not value and plain and is_computed(source.node):
            if source not in outputs and source not in graph.outputs:
                value = source
        outputs.append(value)
    return Graph(graph.inputs, outputs)


class _Assembly:
    """Kernels of one graph, arranged in waves and memory."""

    def __init__(
        self,
        graph: Graph,
        fusion: Fusion,
        target: Backend,
        in_place: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.graph = graph
        self.fusion = fusion
        self.target = target
        self.inputs = {value: index for index, value in enumerate(graph.inputs)}
        self.outputs = {value: index for index, value in enumerate(graph.outputs)}
        self.constants = {
            node.outputs[0]: index
            for index, node in enumerate(
                node for node in graph.nodes if is_array_constant(node.outputs[0])
            )
        }
        lowered = [
            (group, nests) for group in fusion.groups if (nests := lower_group(group, fusion))
        ]
        self.wave_of = self._waves(lowered, in_place)
        self.kernels = self._kernels(lowered)
        self.producer: dict[Value, Kernel] = {}
        self.readers: dict[Value, list[Kernel]] = {}
        for kernel in self.kernels:
            for nest in kernel.nests:
                for value, buffer in zip(nest.values, nest.nest.buffers, strict=True):
                    if value is None:
                        continue
                    if buffer.role == "out":
                        self.producer[value] = kernel
                    elif kernel not in self.readers.setdefault(value, []):
                        self.readers[value].append(kernel)

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
        for output, source in in_place:
            _let_readers_go_first(
                writer.get(self.graph.outputs[output]), self.graph.inputs[source], loads, before
            )
        waves: dict[Group, int] = {}
        stack = [group for group, _ in reversed(lowered)]
        while stack:
            group = stack[-1]
            waiting = [other for other in before[group] if other not in waves]
            if waiting:
                stack += waiting
                continue
            stack.pop()
            waves[group] = max((waves[other] + 1 for other in before[group]), default=0)
        return {group: waves[group] for group, _ in lowered}

    def _kernels(self, lowered: list[tuple[Group, list[LoweredNest]]]) -> tuple[Kernel, ...]:
        """Groups become kernels; elementwise groups of one formula and wave become one."""
        parts: dict[Any, list[tuple[Group, list[LoweredNest], list[Launchable]]]] = {}
        for group, nests in lowered:
            launchables = [self.target.prepare(nest.nest) for nest in nests]
            wave = self.wave_of[group]
            key: Any = (wave, group.bit)
            if group.kind == "map" and group.axes is None:
                key = (wave, tuple((node.op, node.attrs) for node in group.members))
            parts.setdefault(key, []).append((group, nests, launchables))
        kernels = []
        for (wave, _), members in parts.items():
            nodes = [node for group, _, _ in members for node in group.members]
            kernels.append(
                Kernel(
                    _kernel_name(nodes),
                    tuple(dict.fromkeys(node.op.name for node in nodes)),
                    tuple(nest for _, nests, _ in members for nest in nests),
                    tuple(launch for _, _, launches in members for launch in launches),
                    wave,
                )
            )
        return tuple(sorted(kernels, key=lambda kernel: kernel.wave))

    # -- memory

    def program(
        self,
        name: str,
        visible: int,
        gradient: Callable[..., Any] | None,
        tag: Any,
        types: Sequence[TensorType],
        given: Graph,
        donated: Sequence[int],
    ) -> tuple[Any, MemoryPlan]:
        temporaries = [value for value in self.producer if value not in self.outputs]
        number = {value: index for index, value in enumerate(temporaries)}
        alike: dict[int, list[Value]] = {}  # only values of one size take each other's place
        for value in temporaries:
            alike.setdefault(value.type.nbytes, []).append(value)
        requests = [
            Request(
                value.node.name or value.node.op.name,
                value.type.nbytes,
                self.producer[value].wave,
                max((kernel.wave for kernel in self.readers.get(value, ())), default=0),
                tuple(
                    number[other]
                    for other in alike[value.type.nbytes]
                    if self._hands_over(other, value)
                ),
            )
            for value in temporaries
        ]
        arranged = plan(requests)
        place = {value: arranged.offsets[index] for value, index in number.items()}
        inputs_alike: dict[int, list[Value]] = {}
        for value in self.inputs:
            inputs_alike.setdefault(value.type.nbytes, []).append(value)
        may_alias = [
            [
                self.inputs[value]
                for value in inputs_alike.get(output.type.nbytes, ())
                if self._hands_over(value, output)
            ]
            for output in self.graph.outputs
        ]
        addresses = self._compile()
        waves: list[list[tuple]] = [
            [] for _ in range(max((k.wave for k in self.kernels), default=-1) + 1)
        ]
        cost = 0.0
        position = 0
        for kernel in self.kernels:
            for nest, launch in zip(kernel.nests, kernel.launchables, strict=True):
                address = addresses[position]
                position += 1
                cost += launch.cost_us
                if launch.points == 0:
                    continue
                buffers = [self._place(value, place) for value in nest.values]
                waves[kernel.wave].append(
                    (
                        address,
                        buffers,
                        launch.slots,
                        launch.points,
                        launch.grain,
                        launch.scratch_bytes,
                        kernel.name,
                    )
                )
        program = _native.Program(
            name=name,
            inputs=[(value.dtype.code, value.shape) for value in self.graph.inputs],
            outputs=[(type_.dtype.code, type_.shape) for type_ in types],
            visible=visible,
            arena_bytes=arranged.total_bytes,
            constants=[_constant_bytes(value) for value in self.constants],
            waves=[wave for wave in waves if wave],
            may_alias=may_alias,
            cost=cost,
            gradient=gradient,
            tag=tag,
        )
        report = self._report(given, requests, arranged, temporaries, may_alias, donated)
        return program, report

    def _compile(self) -> list[int]:
        before = self.target.counters["compilations"]
        structures = [launch.structure for kernel in self.kernels for launch in kernel.launchables]
        addresses = self.target.compile(structures)
        count("kernel_compilations", self.target.counters["compilations"] - before)
        return addresses

    def _place(self, value: Value | None, place: dict[Value, int]) -> tuple[int, int]:
        if value is None:
            return (_native.ARENA, 0)  # scratch: the kernel's own, the entry is ignored
        if value in self.inputs:
            return (_native.INPUT, self.inputs[value])
        if value in self.outputs:
            return (_native.OUTPUT, self.outputs[value])
        if value in self.constants:
            return (_native.CONSTANT, self.constants[value])
        return (_native.ARENA, place[value])

    def _hands_over(self, source: Value, taker: Value) -> bool:
        """Whether `taker` may be written where `source` lies: it is read last by the kernel that
        writes `taker`, element by element in step."""
        writer = self.producer.get(taker)
        if writer is None or source is taker or source.type.nbytes != taker.type.nbytes:
            return False
        readers = self.readers.get(source, [])
        if not all(k is writer or k.wave < writer.wave for k in readers):
            return False
        if source in self.outputs:
            return False
        touching = [nest for nest in writer.nests if source in nest.values]
        if not touching:
            # Read only earlier, or never: free from this wave on.
            return source in self.inputs and all(k.wave < writer.wave for k in readers)
        writing = [nest for nest in writer.nests if taker in nest.values]
        return writing == touching and all(nest.in_step(source, taker) for nest in touching)

    def _report(
        self,
        given: Graph,
        requests: Sequence[Request],
        arranged: Any,
        temporaries: Sequence[Value],
        may_alias: Sequence[Sequence[int]],
        donated: Sequence[int],
    ) -> MemoryPlan:
        last = max((kernel.wave for kernel in self.kernels), default=0)
        rows = []
        total = 0
        reused: set[int] = set()
        for value in self.graph.inputs:
            rows.append(
                MemoryRow(value.node.name, "input", str(value.type), value.type.nbytes, 0, last)
            )
            total += value.type.nbytes
        for index, value in enumerate(self.graph.outputs):
            first = self.producer[value].wave if value in self.producer else 0
            rows.append(
                MemoryRow(_label(value), "output", str(value.type), value.type.nbytes, first, last)
            )
            free = [i for i in may_alias[index] if i in donated and i not in reused]
            if free:
                reused.add(free[0])
            else:
                total += value.type.nbytes
        places: dict[int, int] = {}
        for value, request, offset in zip(temporaries, requests, arranged.offsets, strict=True):
            rows.append(
                MemoryRow(
                    request.name,
                    "temporary",
                    str(value.type),
                    request.nbytes,
                    request.first,
                    request.last,
                    offset,
                )
            )
            places[offset] = max(places.get(offset, 0), request.nbytes)
        total += arranged.total_bytes
        # As if each operator of the program as written had memory of its own.
        unplanned = sum(
            value.type.nbytes
            for node in given.nodes
            if node.op is not CONSTANT
            for value in node.outputs
            if value.is_typed
        )
        return MemoryPlan(total, arranged.slots, arranged.total_bytes, unplanned, tuple(rows))


def _touched(nests: Sequence[LoweredNest]) -> tuple[set[Value], set[Value]]:
    """The values that nests load, and those they store."""
    loads: set[Value] = set()
    stores: set[Value] = set()
    for nest in nests:
        for value, buffer in zip(nest.values, nest.nest.buffers, strict=True):
            if value is not None:
                (stores if buffer.role == "out" else loads).add(value)
    return loads - stores, stores


def _let_readers_go_first(
    writer: Group | None,
    source: Value,
    loads: dict[Group, set[Value]],
    before: dict[Group, set[Group]],
) -> None:
    """Order the other readers of `source` before `writer`, except for those that need its results:
    with one of these the memory cannot be shared, and the program copies."""
    if writer is None:
        return
    for reader, read in loads.items():
        if source in read and reader is not writer and not _needs(reader, writer, before):
            before[writer].add(reader)


def _needs(group: Group, wanted: Group, before: dict[Group, set[Group]]) -> bool:
    stack, seen = [group], {group}
    while stack:
        for other in before[stack.pop()]:
            if other is wanted:
                return True
            if other not in seen:
                seen.add(other)
                stack.append(other)
    return False


def _kernel_name(nodes: Sequence[Node]) -> str:
    names = [node.name or node.op.name for node in nodes]
    return "+".join(dict.fromkeys(names[:4])) + ("+..." if len(names) > 4 else "")


def _label(value: Value) -> str:
    return value.node.name or value.node.op.name


def _constant_bytes(value: Value) -> bytes:
    attrs = value.node.attrs
    if not isinstance(attrs.value, tuple):
        raise InternalError("a scalar constant needs no memory")
    return np.array(attrs.value, value.dtype.numpy).tobytes()
