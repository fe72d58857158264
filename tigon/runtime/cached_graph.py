"""A graph that is called again and again: what hybridize, bind and compile stand on.

Per types, mode and wanted gradients there is one forward program and, when recorded, one backward
program. Both are cut from one joint graph: what the backward half needs from the forward half is
kept as residuals, except for what is cheaper computed again.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, cast

from tigon import _native
from tigon.analysis.min_cut import INFINITE, cheapest_cut
from tigon.base import TensorType, check
from tigon.base.dtypes import BY_CODE
from tigon.base.frozen import Frozen
from tigon.base.locks import reentrant_lock
from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value, substitute, typed, variable
from tigon.lower.elements import POINTWISE, TRANSPARENT
from tigon.passes.gradient import gradient
from tigon.passes.set_mode import OWN_MODE as OWN_MODE
from tigon.passes.set_mode import set_mode
from tigon.passes.thread_keys import thread_keys
from tigon.runtime import keys
from tigon.runtime.compile import CompiledGraph, compile_graph, prepare
from tigon.runtime.counters import count


class GraphCall(Frozen):
    """What a tape node of a compiled graph remembers: the typed graph, its random key included."""

    graph: Graph
    kept: frozenset[int]  # inputs that the tape keeps for backward


class Variant(Frozen, eq=False):
    """The graph for one set of types and one mode. What was compiled of it is added later."""

    graph: Graph  # typed, mode set, keys threaded; outputs, then new auxiliary states
    results: int
    states: tuple[tuple[int, int], ...]  # (output, input whose new state it is)
    random_calls: int
    forward: dict[Any, CompiledGraph]  # by wanted gradients, and donated inputs if any
    backward: dict[tuple[bool, ...], CompiledGraph]


class Steps(Frozen):
    """A call of a compiled graph, step by step: append the key of `random_calls` draws, run
    `program`, let the arrays of `states` (output, input) take over their new storage, and give the
    first `results` outputs."""

    program: Any
    random_calls: int
    states: tuple[tuple[int, int], ...]
    results: int


VARIANTS_KEPT = 256
"""Types and modes of one graph that stay compiled: shapes that change with every call must not
fill the memory. The oldest goes first."""


class CachedGraph:
    """Call a graph on arrays.

    `graph` may be untyped; its inputs are variables with distinct names. Outputs of operators that
    advance a state (`record.mutates`) are written back into the arrays passed for these states.
    `drawn` are the serials of the random nodes that the program made, where that may be more than
    the graph holds.
    """

    def __init__(
        self,
        graph: Graph,
        name: str = "graph",
        disabled: frozenset[str] | None = None,
        drawn: Sequence[int] = (),
    ) -> None:
        self.graph = graph
        self._drawn = tuple(drawn)
        self.name = name
        self.disabled = disabled
        names = [value.node.name for value in graph.inputs]
        repeated = {name for name in names if names.count(name) > 1}
        check(
            not repeated,
            name,
            f"two different variables are named {sorted(repeated)}; give each a name of its own",
        )
        self._variants: dict[Any, Variant] = {}
        self._lock = reentrant_lock()

    # -- calling

    def __call__(
        self,
        arrays: Sequence[_native.NDArray],
        training: bool | None = None,
        out: Sequence[_native.NDArray | None] | None = None,
        donate: Sequence[int] = (),
    ) -> list[_native.NDArray]:
        """The results, in order of the graph's outputs. Recorded on the tape as one call."""
        mode = _native.is_training() if training is None else training
        key = (mode, *[(array.dtype_code, array.shape) for array in arrays])
        variant = self._variants.get(key)
        if variant is None:
            variant = self._add_variant(key, arrays, mode)
        wanted = None
        if _native.is_recording():
            flags = tuple([a.has_tape or a.grad_req != "null" for a in arrays])
            if True in flags:
                wanted = flags
        slot = (wanted, tuple(donate)) if donate else wanted
        compiled = variant.forward.get(slot) or self._compile(variant, wanted, tuple(donate))
        given = arrays
        if variant.random_calls:
            given = [*arrays, keys.take(variant.random_calls)]
        results = compiled.program(given, out, donate) if out or donate else compiled.program(given)
        if variant.states:
            for output, operand in variant.states:
                arrays[operand].swap_storage(results[output])
        return list(results[: variant.results])

    def steps(
        self, arrays: Sequence[_native.NDArray], training: bool, wanted: tuple[bool, ...] | None
    ) -> Steps:
        """What a call on such arrays does, for callers that make it many times. `wanted` says
        which arrays gradients are recorded for; None where nothing is."""
        compiled = self.compiled(arrays, training, wanted)
        key = (training, *[(array.dtype_code, array.shape) for array in arrays])
        variant = self._variants[key]
        return Steps(compiled.program, variant.random_calls, variant.states, variant.results)

    def types(self, arrays: Sequence[_native.NDArray]) -> dict[str, TensorType]:
        return {
            value.node.name: TensorType(tuple(array.shape), BY_CODE[array.dtype_code])
            for value, array in zip(self.graph.inputs, arrays, strict=True)
        }

    def compiled(
        self,
        arrays: Sequence[_native.NDArray],
        training: bool = False,
        wanted: Any = None,
        donated: tuple[int, ...] = (),
    ) -> CompiledGraph:
        """The forward program for these arrays, compiled if need be."""
        key = (training, *[(array.dtype_code, array.shape) for array in arrays])
        variant = self._variants.get(key) or self._add_variant(key, arrays, training)
        slot = (wanted, donated) if donated else wanted
        return variant.forward.get(slot) or self._compile(variant, wanted, donated)

    @property
    def programs(self) -> list[CompiledGraph]:
        """Everything compiled so far, forward before backward."""
        return [
            program
            for variant in self._variants.values()
            for programs in (variant.forward, variant.backward)
            for program in programs.values()
        ]

    # -- compiling

    def _add_variant(self, key: Any, arrays: Sequence[_native.NDArray], mode: bool) -> Variant:
        check(
            len(arrays) == len(self.graph.inputs),
            self.name,
            f"expected {len(self.graph.inputs)} arrays; given {len(arrays)}",
        )
        with self._lock:
            found = self._variants.get(key)
            if found is None:
                found = self.variant(self.types(arrays), mode)
                # A new dictionary: other threads may be reading the old one.
                kept = [*self._variants.items()][-VARIANTS_KEPT + 1 :]
                self._variants = dict([*kept, (key, found)])
            return found

    def variant(self, types: dict[str, TensorType], mode: bool) -> Variant:
        """The graph for these types and this mode, nothing compiled yet."""
        graph, calls = thread_keys(set_mode(self.graph, mode), self._drawn)
        graph = typed(graph, types)
        position = {value: index for index, value in enumerate(graph.inputs)}
        outputs = list(graph.outputs)
        states: list[tuple[int, int]] = []
        for node in graph.nodes:
            if not getattr(node.attrs, "training", mode):
                continue
            for output, operand in getattr(node.op, "mutates", {}).items():
                names = [o.name for o in node.op.operands]
                source = node.inputs[names.index(operand)]
                if source in position:
                    states.append((len(outputs), position[source]))
                    outputs.append(node.outputs[output])
        graph = Graph(graph.inputs, outputs)
        return Variant(graph, len(self.graph.outputs), tuple(states), calls, {}, {})

    def _compile(
        self, variant: Variant, wanted: tuple[bool, ...] | None, donated: tuple[int, ...] = ()
    ) -> CompiledGraph:
        slot = (wanted, donated) if donated else wanted
        with self._lock:
            found = variant.forward.get(slot)
            if found is not None:
                count("cache_hits")
                return found
            if wanted is None:
                compiled = compile_graph(
                    variant.graph, name=self.name, disabled=self.disabled, donated=donated
                )
            else:
                compiled = self._compile_recorded(variant, wanted)
            variant.forward[slot] = compiled
            return compiled

    def _compile_recorded(self, variant: Variant, wanted: tuple[bool, ...]) -> CompiledGraph:
        graph = variant.graph
        results = graph.outputs[: variant.results]
        cotangents = [variable(f"_cotangent{i}", value.type) for i, value in enumerate(results)]
        targets = [i for i, want in enumerate(wanted) if want and graph.inputs[i].dtype.is_float]
        found = gradient(results, cotangents, [graph.inputs[i] for i in targets])
        flows = [(i, grad) for i, grad in zip(targets, found, strict=True) if grad is not None]
        joint = Graph((*graph.inputs, *cotangents), (*graph.outputs, *[grad for _, grad in flows]))
        cut = cut_joint_graph(
            prepare(joint, self.disabled or frozenset()), len(graph.inputs), len(graph.outputs)
        )

        def compile_backward() -> Any:
            compiled = compile_graph(
                cut.backward, name=f"{self.name}_backward", disabled=self.disabled
            )
            variant.backward[wanted] = compiled
            return compiled.program

        flow = None
        if flows:
            flow = _native.Gradient(
                saved=cut.saved,
                cotangents=cut.cotangents,
                targets=[i for i, _ in flows],
                compile=compile_backward,
            )
        return compile_graph(
            cut.forward,
            name=self.name,
            visible=len(graph.outputs),
            gradient=lambda _wanted: flow,
            tag=GraphCall(
                Graph(graph.inputs, results),
                frozenset(index for kind, index in cut.saved if kind == "input"),
            ),
            disabled=self.disabled,
        )


# ------------------------------------------------------------------------ the cut


class Cut(Frozen):
    """A joint graph in two halves."""

    forward: Graph  # outputs: results and states, then residuals
    backward: Graph  # inputs: the cotangents used, then what was saved
    saved: list[tuple[str, int]]
    cotangents: list[int]


def cut_joint_graph(joint: Graph, inputs: int, results: int) -> Cut:
    """Divide a graph of primitives whose first `inputs` inputs are the forward graph's (the rest
    are cotangents) and whose first `results` outputs are the forward graph's (the rest are
    gradients).

    The forward values that the backward half reads are saved, or computed again from saved ones:
    whichever set takes the fewest bytes. Only pointwise work and views are ever repeated.
    """
    forward_outputs = joint.outputs[:results]
    late = _reached_from(joint, set(joint.inputs[inputs:]))
    crossing = _crossing(joint, joint.outputs[results:], late)
    order = {node: index for index, node in enumerate(joint.nodes)}
    kept: list[Value] = sorted(
        _cheapest_to_keep(crossing, set(forward_outputs)), key=lambda v: (order[v.node], v.index)
    )

    position = {value: index for index, value in enumerate(joint.inputs[:inputs])}
    outputs = list(forward_outputs)
    saved: list[tuple[str, int]] = []
    stand_ins: dict[Value, Value] = {}
    for index, value in enumerate(kept):
        if value in position:
            saved.append(("input", position[value]))
        else:
            if value not in outputs:
                outputs.append(value)
            saved.append(("output", outputs.index(value)))
        stand_ins[value] = variable(f"_saved{index}", value.type)
    gradients = substitute(joint.outputs[results:], stand_ins) if kept else joint.outputs[results:]
    used = set(Graph.of(gradients).inputs)
    cotangents = [i for i, value in enumerate(joint.inputs[inputs:]) if value in used]
    backward = Graph(
        [*[joint.inputs[inputs + i] for i in cotangents], *stand_ins.values()], gradients
    )
    return Cut(Graph(joint.inputs[:inputs], outputs), backward, saved, cotangents)


def _reached_from(graph: Graph, sources: set[Value]) -> set[Node]:
    late = {value.node for value in sources}
    for node in graph.nodes:
        if any(value.node in late for value in node.inputs):
            late.add(node)
    return late


def _crossing(graph: Graph, gradients: Sequence[Value], late: set[Node]) -> list[Value]:
    """Forward values that the backward half reads."""
    found = dict.fromkeys(value for value in gradients if value.node not in late)
    stack = [value.node for value in gradients if value.node in late]
    seen = set(stack)
    while stack:
        for value in stack.pop().inputs:
            if value.node in late:
                if value.node not in seen:
                    seen.add(value.node)
                    stack.append(value.node)
            else:
                found[value] = None
    return [value for value in found if value.node.op is not CONSTANT]


def _cheapest_to_keep(crossing: Sequence[Value], present: set[Value]) -> set[Value]:
    """Values to keep so that all of `crossing` can be had in the backward half."""
    cost: dict[Hashable, float] = {}
    operands: dict[Hashable, Sequence[Hashable]] = {}
    given: list[Value] = []
    stack = list(crossing)
    while stack:
        value = stack.pop()
        node = value.node
        if value in cost or node.op is CONSTANT:
            continue
        if node.op is VARIABLE or value in present:
            cost[value] = 0.0  # in memory anyway
        elif node.op.family in TRANSPARENT:
            cost[value] = INFINITE  # a view is read through, never copied
        else:
            cost[value] = float(value.type.nbytes) or 1.0
        if node.op is VARIABLE or not (
            node.op.family in TRANSPARENT or node.op.family in POINTWISE
        ):
            given.append(value)
            continue
        operands[value] = [v for v in node.inputs if v.node.op is not CONSTANT]
        stack.extend(node.inputs)
    return cast("set[Value]", cheapest_cut(cost, operands, given, crossing))
