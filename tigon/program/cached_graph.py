"""A graph that is called again and again: what hybridize, bind and compile stand on.

Per types, mode and wanted gradients there is one forward program and, when recorded, one backward
program. Both are cut from one joint graph: what the backward half needs from the forward half is
kept as residuals, except for what is cheaper computed again.

The first types are compiled as they are. When others of the same kind come, the graph is compiled
once more, with the extents that differ left open; from then on new extents cost a program with
other numbers (`LoweredGraph.program`), and no compilation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from weakref import WeakValueDictionary, ref

from tigon import _native
from tigon.base import TensorType, TigonError, check
from tigon.base.collector import collector_paused
from tigon.base.dtypes import BY_CODE
from tigon.base.errors import user_line
from tigon.base.frozen import Frozen, replace
from tigon.base.lazy import computed_once
from tigon.base.locks import reentrant_lock
from tigon.base.repeated import repeated
from tigon.context import check_operands, context_in, current_context
from tigon.ir import Graph, typed
from tigon.ops.record import has_effect
from tigon.passes.pack_weights import pack_weights
from tigon.passes.set_mode import set_mode, trains
from tigon.passes.thread_keys import serials_of_draws, thread_keys
from tigon.passes.thread_states import States as States
from tigon.passes.thread_states import keep_states
from tigon.passes.thread_states import thread_states as thread_states
from tigon.program.budget import Budget
from tigon.program.by_shape import ByShape, Fit, Types
from tigon.program.compile import without_slope
from tigon.program.lowered import AnyLowered, CompiledGraph, lower_graph
from tigon.program.recorded import Recorded, record
from tigon.program.steps import Compiled, CompiledSteps, StepGraph
from tigon.program.target import backend
from tigon.runtime.counters import count


class GraphCall:
    """What a tape node of a compiled graph remembers."""

    def __init__(self, variant: Variant, kept: frozenset[int]) -> None:
        self._variant = variant
        self.kept = kept  # inputs that the tape keeps for backward

    @property
    def source(self) -> Graph:
        """The graph in no mode yet and without its random key."""
        return self._variant.own.source

    def check_predicts(self) -> None:
        """Raise where backward asks for prediction and that is not what was compiled."""
        differing = [node.label for node in self.graph.nodes if trains(node)]
        if differing:
            raise TigonError(
                f"backward in prediction at {user_line()}: {self._variant.name} was recorded in "
                f"training, as one compiled graph, in which {', '.join(differing)} would compute "
                "something else in prediction; record it under record(train_mode=False), or call "
                "it without hybridize"
            )

    @computed_once
    def graph(self) -> Graph:
        """The typed graph, its random key included."""
        own = self._variant.own
        return Graph(own.graph.inputs, own.graph.outputs[: own.results])


class ModeGraph(Frozen):
    """A graph with its mode set and keys threaded; outputs, then new auxiliary states."""

    graph: Graph
    results: int
    states: States
    random_calls: int
    source: Graph  # as it was before, without the states among its outputs

    def typed(self, types: Mapping[str, TensorType]) -> ModeGraph:
        return replace(self, graph=typed(self.graph, types))


class Plain(Frozen, eq=False):
    """A graph lowered to run where nothing is recorded: what is made of `weights`, inputs by
    number, and the rest, which takes that after the inputs."""

    main: AnyLowered
    packs: AnyLowered | None = None
    key: Any = None
    """Of what is made: others that make the same share it."""
    weights: tuple[int, ...] = ()
    made: int = 0


class Lowering:
    """A typed graph, lowered once per set of wanted gradients."""

    def __init__(
        self, typed: ModeGraph, disabled: frozenset[str] | None, budget: Budget | None
    ) -> None:
        self.typed = typed
        self.disabled = disabled
        self.budget = budget
        self._plain: dict[tuple[int, ...], Plain] = {}
        self._recorded: dict[tuple[bool, ...], Recorded] = {}

    def plain(self, donated: tuple[int, ...]) -> Plain:
        found = self._plain.get(donated)
        if found is None:
            found = self._plain[donated] = self._lower(donated)
        return found

    def _lower(self, donated: tuple[int, ...]) -> Plain:
        graph = self.typed.graph
        apart = pack_weights(graph, backend().registers)
        if apart is None or not set(apart.weights).isdisjoint(donated):
            return Plain(lower_graph(graph, disabled=self.disabled, donated=donated))
        main = lower_graph(apart.main, disabled=self.disabled, donated=donated)
        packs = lower_graph(apart.packs, disabled=self.disabled)
        key, made = (apart.packs.key, apart.weights), len(apart.packs.outputs)
        return Plain(main, packs, key, apart.weights, made)

    def recorded(self, wanted: tuple[bool, ...]) -> Recorded:
        found = self._recorded.get(wanted)
        if found is None:
            found = record(self.typed.graph, self.typed.results, wanted, self.disabled, self.budget)
            self._recorded[wanted] = found
        return found


class Packs(Frozen, eq=False):
    """What is made of weights before a forward program runs, and kept while they stay."""

    compiled: CompiledGraph
    prepared: Any  # _native.Prepared
    weights: tuple[int, ...]
    made: int  # how many arrays


class Variant:
    """The programs for one set of types and one mode."""

    def __init__(
        self,
        moded: ModeGraph,
        types: Mapping[str, TensorType],
        disabled: frozenset[str] | None,
        name: str,
        budget: Budget | None = None,
    ) -> None:
        self.types = types
        self.name = name
        self.results = moded.results
        self.states = moded.states
        self.random_calls = moded.random_calls
        self.forward: dict[Any, CompiledGraph] = {}  # by wanted gradients, and donated inputs
        self.packs: dict[Any, Packs] = {}  # by the same
        self.backward: dict[tuple[bool, ...], CompiledGraph] = {}
        self._moded = moded
        self._disabled = disabled
        self._budget = budget

    @computed_once
    def own(self) -> ModeGraph:
        return self._moded.typed(self.types)

    @property
    def programs(self) -> list[CompiledGraph]:
        """Those compiled so far, forward before backward."""
        return [*self.forward.values(), *self.backward.values()]

    @computed_once
    def exact(self) -> Lowering:
        """For these types and no others."""
        return Lowering(self.own, self._disabled, self._budget)


SEQUENCES_KEPT = 256
"""Types, modes and wanted gradients for which one graph stays compiled: shapes that change with
every call must not fill the memory. The older half goes first."""


class CachedGraph:
    """Call a graph on arrays.

    `graph` may be untyped; its inputs are variables with distinct names. States that operators
    advance (`record.mutates`) are written back into the arrays passed for them. `states` tells
    which of the last outputs are new states of which inputs, where `thread_states` was run already;
    `unread` of the outputs before them nobody reads: they stand for calls of effect. `drawn` are
    the serials of the random nodes that the program made, where that may be more than the graph
    holds. `recompute`: the bytes that a recorded call and its gradient may take beyond arguments,
    results and gradients; 0 for as few as can be. Types that differ in extents are then compiled
    one by one, for what fits depends on them.
    """

    def __init__(
        self,
        graph: Graph,
        name: str = "graph",
        disabled: frozenset[str] | None = None,
        drawn: Sequence[int] = (),
        states: States | None = None,
        unread: int = 0,
        one_code: bool = False,
        recompute: int | None = None,
    ) -> None:
        self.graph, self.states = thread_states(graph) if states is None else (graph, states)
        self.unread = unread
        self.has_effects = any(map(has_effect, self.graph.nodes))
        self._drawn = tuple(drawn)
        self.name = name
        self.disabled = disabled
        self.budget = None if recompute is None else Budget(name, recompute)
        twice = repeated(value.node.name for value in graph.inputs)
        check(
            not twice,
            name,
            f"two different variables are named {twice}; give each a name of its own",
        )
        own = ref(self)  # or what was compiled would hold itself

        def make(*call: Any) -> _native.Sequence:
            cached = own()
            assert cached is not None
            with collector_paused():
                return cached._sequence(*call)

        self.sequences = _native.SequenceCache(make, SEQUENCES_KEPT)
        """`sequences(arrays, training, donated)` runs the graph."""
        self._variants: WeakValueDictionary[Any, Variant] = WeakValueDictionary()
        self._moded: dict[bool, ModeGraph] = {}
        self._steps: dict[bool, StepGraph] = {}
        self._codes: WeakValueDictionary[Any, Any] | None = None
        if one_code:
            self._codes = WeakValueDictionary()
        self.by_shape = {mode: ByShape(partial(self._lowering, mode)) for mode in (False, True)}
        """By mode, what types that differ in extents share."""
        self.others: dict[Any, Any] = {}
        """What others made of this graph, to go when it goes."""
        self._packs: WeakValueDictionary[Any, Packs] = WeakValueDictionary()
        self._lock = reentrant_lock()

    # -- calling

    def __call__(
        self,
        arrays: Sequence[_native.NDArray],
        training: bool | None = None,
        donate: Sequence[int] = (),
    ) -> list[_native.NDArray]:
        """The results, in order of the graph's outputs. Recorded on the tape as one call. `donate`:
        inputs whose memory may hold results, and that are empty afterwards."""
        return list(self.sequences(arrays, training, donate))

    def types(self, arrays: Sequence[_native.NDArray]) -> dict[str, TensorType]:
        return {
            value.node.name: TensorType(tuple(array.shape), BY_CODE[array.dtype_code])
            for value, array in zip(self.graph.inputs, arrays, strict=True)
        }

    def compiled(
        self,
        arrays: Sequence[_native.NDArray],
        training: bool = False,
        donated: Sequence[int] = (),
    ) -> CompiledGraph | CompiledSteps:
        """What runs forward on these arrays where nothing is recorded, compiled if need be."""
        recording = _native.set_recording(False)
        try:
            found: Compiled = self.sequences.find(arrays, training, donated).tag
        finally:
            _native.set_recording(recording)
        return found.graph

    def compiled_for(
        self, types: Sequence[tuple[int, tuple[int, ...]]], training: bool
    ) -> list[CompiledGraph]:
        """What was compiled so far for inputs of these (dtype codes, shapes)."""
        found = self._variants.get((training, *types))
        if found is not None:
            return found.programs
        steps = self._steps.get(training)
        return [] if steps is None else steps.programs_for(types)

    @property
    def programs(self) -> list[CompiledGraph]:
        """Everything that is compiled, forward before backward."""
        variants = dict.fromkeys(v for made in self.sequences.sequences for v in made.tag.variants)
        return [program for variant in variants for program in variant.programs]

    @property
    def refused(self) -> list[str]:
        """Why types that differ in extents are compiled one by one, where they are."""
        return [reason for shared in self.by_shape.values() for reason in shared.refused]

    # -- compiling

    def _sequence(
        self,
        arrays: Sequence[_native.NDArray],
        training: bool,
        wanted: tuple[bool, ...] | None,
        donated: tuple[int, ...],
    ) -> _native.Sequence:
        """How a call on such arrays goes. `wanted`: of which ones gradients are recorded; None
        where nothing is."""
        check(
            len(arrays) == len(self.graph.inputs),
            self.name,
            f"expected {len(self.graph.inputs)} arrays; given {len(arrays)}",
        )
        check_operands(self.name, arrays)
        operands = list(self.types(arrays).values())
        if self.has_effects:
            with self._lock:
                context = context_in(arrays) or current_context()
                stepped = self._stepped(training)
                return stepped.sequence(operands, training, wanted, donated, context)
        variant, compiled = self.program(operands, training, wanted, donated)
        types = [(array.dtype_code, array.shape) for array in arrays]
        given = [*range(len(arrays))]
        drawn = [_native.KEY_SLOT] if variant.random_calls else []
        steps: list[Any] = []
        packs, packed = variant.packs.get((wanted, donated)), 0
        if packs is not None:
            packed = packs.made
            steps.append(("prepare", packs.prepared, packs.weights))
        first = len(given) + packed
        taken = [*given, *drawn, *range(len(given), first)]
        steps.append(("run", compiled.program, taken, [], donated))
        if variant.states:
            steps.append(("commit", [(first + made, at) for made, at in variant.states]))
        return _native.Sequence(
            types,
            steps,
            range(first, first + variant.results),
            variant.random_calls,
            Compiled((variant,), compiled),
        )

    def program(
        self,
        types: Sequence[TensorType],
        training: bool,
        wanted: tuple[bool, ...] | None,
        donated: tuple[int, ...] = (),
    ) -> tuple[Variant, CompiledGraph]:
        """What runs, and records, the graph on operands of these types."""
        key = (training, *[(type_.dtype.code, type_.shape) for type_ in types])
        with self._lock:
            variant = self._variants.get(key)
            if variant is None:
                names = (value.node.name for value in self.graph.inputs)
                named = dict(zip(names, types, strict=True))
                moded = self.moded(training)
                variant = Variant(moded, named, self.disabled, self.name, self.budget)
                self._variants[key] = variant
            return variant, self._compile(variant, training, wanted, donated)

    def _stepped(self, mode: bool) -> StepGraph:
        """The graph for this mode, cut at its effects."""
        found = self._steps.get(mode)
        if found is None:
            settled, kept = keep_states(set_mode(self.graph, mode), self.states)
            drawn = serials_of_draws(settled, self._drawn)
            found = self._steps[mode] = StepGraph(
                settled,
                kept,
                self.unread,
                len(drawn),
                lambda part: CachedGraph(
                    part,
                    self.name,
                    self.disabled,
                    drawn,
                    (),
                    recompute=None if self.budget is None else self.budget.nbytes,
                ),
                self._codes,
            )
        return found

    def _lowering(self, mode: bool, types: Types) -> Lowering:
        return Lowering(self.moded(mode).typed(types), self.disabled, None)

    def moded(self, mode: bool) -> ModeGraph:
        """The graph for this mode; types may be missing."""
        found = self._moded.get(mode)
        if found is None:
            found = self._moded[mode] = _with_mode(self.graph, self.states, mode, self._drawn)
        return found

    def _compile(
        self,
        variant: Variant,
        mode: bool,
        wanted: tuple[bool, ...] | None,
        donated: tuple[int, ...] = (),
    ) -> CompiledGraph:
        slot = (wanted, donated)
        found = variant.forward.get(slot)
        if found is not None:
            count("cache_hits")
            return found
        by_shape = self.by_shape[mode]
        if wanted is None:
            fit = by_shape.use(
                variant.types, lambda made: made.plain(donated), lambda: variant.exact
            )
            plain: Plain = fit.result
            compiled = plain.main.program(fit.extents, fit.values, name=self.name)
            if plain.packs is not None:
                variant.packs[slot] = self._packs_of(plain)
        elif self.budget is not None:
            compiled = self._recorded_program(variant, Fit(variant.exact.recorded(wanted)), wanted)
        else:
            fit = by_shape.use(
                variant.types, lambda made: made.recorded(wanted), lambda: variant.exact
            )
            compiled = self._recorded_program(variant, fit, wanted)
        variant.forward[slot] = compiled
        return compiled

    def _packs_of(self, plain: Plain) -> Packs:
        """Of one program and its arrays: calls of other extents share them."""
        found = self._packs.get(plain.key)
        if found is None:
            assert plain.packs is not None
            compiled = plain.packs.program(name=f"{self.name}_weights")
            prepared = _native.Prepared(compiled.program)
            found = Packs(compiled, prepared, plain.weights, plain.made)
            self._packs[plain.key] = found
        return found

    def _recorded_program(
        self, variant: Variant, fit: Fit, wanted: tuple[bool, ...]
    ) -> CompiledGraph:
        recorded: Recorded = fit.result

        def compile_backward() -> Any:
            with self._lock:
                compiled = recorded.backward().program(
                    fit.extents, fit.values, name=f"{self.name}_backward"
                )
                variant.backward[wanted] = compiled
                return compiled.program

        kept = frozenset(index for kind, index in recorded.saved if kind == "input")
        call = GraphCall(variant, kept)

        def predict() -> Any:
            call.check_predicts()
            return compile_backward()

        flow = without_slope()
        if recorded.targets:
            flow = _native.Gradient(
                saved=recorded.saved,
                cotangents=recorded.cotangents,
                targets=recorded.targets,
                rows=recorded.rows,
                leads=recorded.leads,
                compile=compile_backward,
                predict=predict,
            )
        return recorded.forward.program(
            fit.extents,
            fit.values,
            name=self.name,
            visible=variant.results + len(variant.states),
            gradient=lambda _wanted: flow,
            tag=call,
        )


def _with_mode(graph: Graph, states: States, mode: bool, drawn: Sequence[int]) -> ModeGraph:
    results = len(graph.outputs) - len(states)
    source = Graph(graph.inputs, graph.outputs[:results])
    settled, kept = keep_states(set_mode(graph, mode), states)
    keyed, calls = thread_keys(settled, drawn)
    return ModeGraph(keyed, results, kept, calls, source)
