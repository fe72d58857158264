"""Traced graphs of one block: where one fits a call, it runs; else the block is traced again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tigon import _native
from tigon._native import Shortcuts, call_kind, is_recording, is_training, nested_call_kind
from tigon.base import check, nested, type_of
from tigon.base.collector import collector_paused
from tigon.base.dtypes import BY_CODE
from tigon.base.locks import plain_lock
from tigon.base.unread import Unread, number_of
from tigon.context import context_at, context_in
from tigon.gluon import _epoch
from tigon.gluon import trace as tracing
from tigon.gluon.compiled_graphs import CompiledByKey, compiled_graph
from tigon.gluon.operands import Operands
from tigon.gluon.paths import MOST_PATHS, Paths
from tigon.gluon.structure import (
    SINGLE,
    check_results,
    collect_outputs,
    flat_form,
    inputs_in,
    rebuild,
    rebuild_arguments,
    rebuild_outputs,
)
from tigon.gluon.symbolic import input_names
from tigon.gluon.trace.guards import GuardSet
from tigon.gluon.trace.path import Path, Places
from tigon.gluon.trace.sources import Source, source_of
from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value
from tigon.nd.stored.base import BaseSparseNDArray
from tigon.ops import casting
from tigon.program.cached_graph import CachedGraph, States, thread_states
from tigon.program.lowered import CompiledGraph
from tigon.runtime import keys
from tigon.runtime.counters import count, fall_back, give_way
from tigon.sym.traced import traced_variable

GRAPHS_PER_KIND = 8
"""Traces kept for one kind of input: a Python value that takes many values, such as a step counter,
must not fill the memory. The least recently made goes first."""

KINDS_KEPT = 512
"""The same for kinds of calls: a number among the arguments makes a kind of its own."""


SECOND_LOOKS = 2
"""How often a kind of call that gave way is traced again, where the code changed what it read: a
table that it makes at its first call is there at the second."""


class _Unknown:
    """In the place of a result."""


UNKNOWN = _Unknown()


class GaveWay(Exception):
    """The code of a call was no program. It has run, and this is its result."""

    def __init__(self, result: Any, trace: tracing.Trace) -> None:
        super().__init__(trace.reason)
        self.result = result
        self.trace = trace


TRACES_BEFORE_A_REST = 8
LONGEST_REST = 1024
"""Calls. Where every call is traced again, which takes a thousand times what a call takes, it soon
runs as Python code most of the time; once what it reads stands still, a graph serves it again."""


class Rest:
    """How often a kind of call was traced in place of an older trace, and how many calls of it are
    not traced from now on."""

    def __init__(self) -> None:
        self.traces = 0
        self.calls = 0


class Yielded:
    """A kind of call that gave way."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.looks = 0


class Entry:
    """One traced graph, what it depends on, and where its results go."""

    may_have_effects = True
    may_fork = True

    def __init__(
        self,
        block: Any,
        leaves: Sequence[Any],
        args: tuple[Any, ...],
        compiled: CompiledByKey,
        places: Places,
    ) -> None:
        """`compiled`: what earlier traces were compiled to, by structure of the graph. `places`:
        what the block's code has decided by."""
        self.training = is_training()
        self.recording = is_recording()
        self.reason = ""
        self.epoch = _epoch.current
        self.policy = casting.current()
        """The casts that its operators have."""
        self.context = context_in(leaves)
        """Where calls of this kind are: parameters are taken there."""
        self._compiled_by_key = compiled
        self._places = places
        self.paths: Paths | None = None
        """Where values decide how the code goes on."""
        self.version = 0
        """Of the paths."""
        self._traced: Any = None
        """The structure and the arrays of the call that was traced, if it went on a path."""
        self.steady, self.lasting = GuardSet(), GuardSet()
        trace, result, fresh = self._run_code(block, leaves, args, None)
        if trace.path is not None and trace.path.segments:
            self._begin_paths()
            self._add_path(trace, result, fresh)
        else:
            with collector_paused():
                self._collect(trace, result, fresh)
                self.cached = None
                if self.graph.outputs:
                    self.cached = compiled_graph(
                        self.graph, block.name, compiled, trace.draws, self.states, self.unread
                    )
        self.trace = trace
        trace.release()
        self.epoch = -1

    def _run_code(
        self,
        block: Any,
        leaves: Sequence[Any],
        args: tuple[Any, ...],
        before: tuple[GuardSet, GuardSet] | None,
    ) -> tuple[tracing.Trace, Any, dict[int, Any]]:
        """Trace the code of one call. Its guards are those of this entry from then on."""
        types = [type_of(leaf) for leaf in leaves]
        names = input_names(len(leaves))
        made = {
            id(leaf): traced_variable(name, type_, True)  # one symbol, where one array comes twice
            for name, type_, leaf in zip(names, types, leaves, strict=True)
        }
        symbols = [made[id(leaf)] for leaf in leaves]
        by_name = {symbol.name: symbol for symbol in symbols}
        self.arguments = rebuild_arguments(args, iter(types))
        self.types = types
        given = [*zip(symbols, leaves, strict=True)]
        trace = tracing.Trace(
            arguments=given,
            strict=getattr(block, "_flags", {}).get("strict", False),
            effects=self.may_have_effects,
            begin_path=partial(self._begin_path, block.name) if self.may_fork else None,
            before=before,
        )
        try:
            with tracing.tracing(trace):
                given_args, containers = rebuild(args, iter(symbols))
                trace.take(given_args, containers)
                trace.reads.reach(given_args)
                result = _read_numbers(block._traced(*given_args))
                fresh = check_results(result, trace)
                trace.result = result
        except TypeError:  # json and Decimal, say, take none but Python's very own numbers
            if not trace.may_be_repeated():
                raise
            self._places.numbers_are_read = True
            return self._run_code(block, leaves, args, before)
        if trace.reason is not None:
            raise GaveWay(trace.concrete_within(result), trace)
        self.input_names = [by_name[name].name if name in by_name else name for name in names]
        self.steady = trace.reads.steady
        self.lasting = trace.reads.lasting
        self._steady_holds = self.steady.native.hold
        self._lasting_holds = self.lasting.native.hold
        return trace, result, fresh

    # -- where values decide

    def _begin_path(self, name: str, trace: tracing.Trace) -> Path:
        return Path(trace, name, self._compiled_by_key, self._places)

    def _begin_paths(self) -> None:
        self.paths = self._paths()
        self.cached: CachedGraph | None = None
        self.form = None
        self._sources: list[Source] = []
        self._numbers: dict[Any, int] = {}
        self.donated = ()

    def _paths(self) -> Paths:
        return Paths(self.training, self._number_of)

    def _number_of(self, source: Source) -> int:
        """The operand that stands for what the caller has."""
        kind, which = source
        key = (kind, which if kind == "input" else id(which))
        if key not in self._numbers:
            self._numbers[key] = len(self._sources)
            self._sources.append(source)
        return self._numbers[key]

    def _add_path(self, trace: tracing.Trace, result: Any, fresh: dict[int, Any]) -> None:
        """What the trace did after its last decision is done, and the path kept."""
        path, paths = trace.path, self.paths
        assert path is not None and paths is not None
        try:
            outputs: list[Value] = []
            structure = collect_outputs(result, outputs, path.sources(), fresh, trace)
            computed = [value for value in outputs if value not in path.number_of]
            graph, states, unread = threaded(computed, trace.effects, path.calls)
            first = path.conclude(graph, states, unread)
        except BaseException:
            path.give_back()
            raise
        own = {value: first + place for place, value in enumerate(computed)}
        numbers = [own[v] if v in own else path.number_of[v] for v in outputs]
        if paths.add(path, numbers, structure) is None:  # it has come here in another way
            self._begin_paths()
            paths = self.paths
            paths.add(path, numbers, structure)
        self._compile_paths()
        self._traced = structure, [path.made[number] for number in numbers]

    def _compile_paths(self) -> None:
        assert self.paths is not None
        operands = Operands(self._sources)
        operands.bind(self.context)
        self.paths.compile(len(operands))
        self.operands = operands
        # At once: other threads may be calling.
        self._ready = (self.paths.native, operands, self.paths.reads_nothing)
        self.version += 1

    def follow(self, block: Any, leaves: Sequence[Any], args: tuple[Any, ...]) -> None:
        """Trace a call that came to where nobody has been; its path is known then."""
        trace, result, fresh = self._run_code(block, leaves, args, (self.steady, self.lasting))
        self._add_path(trace, result, fresh)
        trace.release()

    def take_result(self, leaves: Sequence[Any]) -> Any:
        """Of the call that was traced; UNKNOWN if it has not been computed."""
        if self._traced is None:
            return UNKNOWN
        (structure, arrays), self._traced = self._traced, None
        return rebuild_outputs(structure, arrays, leaves)

    def _collect(self, trace: tracing.Trace, result: Any, fresh: dict[int, Any]) -> None:
        """Sort the variables of the graph into inputs, parameters and captured arrays."""
        outputs: list[Value] = []
        sources = trace.sources()
        self.structure = collect_outputs(result, outputs, sources, fresh, trace)
        self.graph, self.states, self.unread = threaded(outputs, trace.effects, trace.calls)
        inputs = self.graph.inputs
        self.operands = Operands(source_of(value, sources) for value in inputs)
        self.donated: tuple[int, ...] = ()  # inputs of the graph whose memory may hold results
        self.form = flat_form(self.structure) if inputs or self.context is None else None

    def holds(self) -> bool:
        """Whether nothing that the trace read has changed."""
        if self.epoch != _epoch.current:
            epoch = _epoch.current
            if self.policy is not casting.current() or not self._steady_holds():
                return False
            self._bind()
            self.epoch = epoch
        return self._lasting_holds()

    def _bind(self) -> None:
        self.operands.bind(self.context)

    def compiled_graphs(self) -> list[CompiledGraph]:
        """What was compiled so far for calls of this kind."""
        if self.paths is not None:
            cached = dict.fromkeys(one.segment.cached for one in self.paths.all())
            return [program for held in cached if held is not None for program in held.programs]
        if self.cached is None:
            return []
        given = [self._operand_type(slot) for slot in range(len(self.operands))]
        return self.cached.compiled_for(given, self.training)

    def _operand_type(self, slot: int) -> tuple[int, tuple[int, ...]]:
        """The type of one operand, as (dtype code, shape)."""
        kind, which = self.operands.sources[slot]
        if kind == "input":
            type_ = self.types[which]
            return type_.dtype.code, type_.shape
        held = self.operands.template[slot]
        return held.dtype_code, held.shape

    def changed(self) -> str:
        """The first thing that changed, for the explanation."""
        if self.policy is not casting.current():
            return "the mixed precision of operators changed"
        failed = self.steady.failed() or self.lasting.failed()
        return "" if failed is None else f"{failed} changed"

    def run(self, leaves: Sequence[Any]) -> Any:
        """The result for these arrays; UNKNOWN where a value decides for what was never traced,
        and nothing has happened then. (A method by name: `entry(...)` would cost 60 ns more.)"""
        if self.cached is None:
            if self.paths is not None:
                return self._run_paths(leaves)
            keys.reserve(len(self.trace.draws))
            return rebuild_outputs(self.structure, (), leaves)
        arrays = self.operands.of(leaves)
        if arrays or self.context is None:
            results = self.cached.sequences(arrays, self.training, self.donated)
        else:  # what is made of nothing is made where the arguments are
            with self.context:
                results = self.cached.sequences(arrays, self.training, self.donated)
        if self.structure is SINGLE:
            return results[0]
        return rebuild_outputs(self.structure, results, leaves)

    def _run_paths(self, leaves: Sequence[Any]) -> Any:
        native, operands, reads_nothing = self._ready
        arrays = operands.of(leaves)
        if reads_nothing and self.context is not None:
            with self.context:
                result = native(arrays, leaves)
        else:
            result = native(arrays, leaves)
        return UNKNOWN if result is NotImplemented else result

    @property
    def is_native(self) -> bool:
        """Whether calls of arrays alone need no Python."""
        if self.paths is not None:
            return self.context is None or not self.paths.reads_nothing
        return self.form is not None

    def shorten(self, shortcuts: Shortcuts, args: tuple[Any, ...]) -> None:
        """Let calls like this one go the native way from now on."""
        if self.paths is not None:
            native, operands, _ = self._ready
            form = "bare"  # each path has its own
        else:
            assert self.cached is not None and self.form is not None
            operands, form = self.operands, self.form
            native = self.cached.sequences.find(operands.of(args), self.training, ())
        shortcuts.add(
            native,
            operands.template,
            operands.inputs,
            args,
            self.epoch,
            self.lasting.native,
            form,
        )


class DonatingEntry(Entry):
    """One whose block gives up some arguments: `block.donated_leaves(args)` says which arrays."""

    def __init__(
        self,
        block: Any,
        leaves: Sequence[Any],
        args: tuple[Any, ...],
        compiled: CompiledByKey,
        places: Places,
    ) -> None:
        super().__init__(block, leaves, args, compiled, places)
        self.form = None
        self.given_up = block.donated_leaves(args)
        if self.paths is not None:  # whose programs overwrite nothing
            self.handed_through = frozenset(self.given_up)
            return
        # Their memory goes to the result, where it is the argument itself.
        self.handed_through = inputs_in(self.structure).intersection(self.given_up)
        self.donated = tuple(
            slot
            for slot, position in self.operands.inputs
            if position in self.given_up and position not in self.handed_through
        )

    def run(self, leaves: Sequence[Any]) -> Any:
        return self._give_up(leaves, super().run)

    def take_result(self, leaves: Sequence[Any]) -> Any:
        return self._give_up(leaves, super().take_result)

    def _give_up(self, leaves: Sequence[Any], give: Callable[[Sequence[Any]], Any]) -> Any:
        given = list(leaves)
        for position in self.handed_through:
            given[position] = given[position].reshape(given[position].shape)
        result = give(given)
        for position in () if result is UNKNOWN else self.given_up:
            if not leaves[position].donated:
                _native.give_up(leaves[position])
        return result


class GraphCache:
    """The traced graphs of one block, by kind of call.

    All that is asked of the block is `name` and `_traced(*args)`; a function will do as well.
    """

    def __init__(self, block: Any, entry_type: type[Entry] = Entry) -> None:
        self._block = block
        self._entry_type = entry_type
        self._by_kind: dict[Any, list[Entry]] = {}
        self._compiled = CompiledByKey(getattr(block, "_flags", {}).get("recompute"))
        self._places = Places()
        self._yielded: dict[Any, Yielded] = {}
        self._resting: dict[Any, Rest] = {}
        self._lock = plain_lock()
        self.traces = 0
        self.latest: Entry | None = None

    @property
    def entries(self) -> list[Entry]:
        return [entry for entries in self._by_kind.values() for entry in entries]

    def __call__(self, args: tuple[Any, ...], shortcuts: Shortcuts | None = None) -> Any:
        kind = call_kind(args)
        if kind is not None:
            return self.run(kind, args, args, shortcuts)
        found = nested_call_kind(args, tracing.freeze, tracing.freeze_attributes)
        check(
            found is not None,
            self._block.name,
            "an array among the arguments holds nothing: its memory was donated to a program; make "
            "a copy before donating it",
        )
        kind, leaves = found
        return self.run(kind, leaves, args)

    def run(
        self,
        kind: Any,
        leaves: Sequence[Any],
        args: tuple[Any, ...],
        shortcuts: Shortcuts | None = None,
    ) -> Any:
        """A call of a known kind. Where the program is all there is to it, `shortcuts` learn it."""
        for entry in self._by_kind.get(kind, ()):
            if entry.epoch == _epoch.current:
                if entry._lasting_holds():
                    break
            elif entry.holds():
                break
        else:
            if nested.holds(args, BaseSparseNDArray):
                fall_back(f"{self._block.name} is given sparse arrays, and runs as Python code")
                return self._block._imperatively(args)
            yielded = self._yielded.get(kind)
            if (yielded is not None and yielded.looks == 0) or self._rests(kind):
                return self._block._imperatively(args)
            gone = None
            try:
                entry, result = self._trace(kind, leaves, args)
            except GaveWay as error:
                gone = error
            if gone is not None:
                return self._give_way(kind, gone, args)
            if result is not UNKNOWN:
                return result
        if shortcuts is not None and entry.is_native and entry.epoch == _epoch.current:
            entry.shorten(shortcuts, args)
        version = entry.version
        result = entry.run(leaves)
        return result if result is not UNKNOWN else self._follow(kind, entry, version, leaves, args)

    def _follow(
        self, kind: Any, entry: Entry, version: int, leaves: Sequence[Any], args: tuple[Any, ...]
    ) -> Any:
        """A value has decided for what was never traced: nothing has happened, and the code runs.
        `version`: of the paths that were tried."""
        gone = full = None
        try:
            while True:
                with self._lock:
                    held = entry.holds()
                    if held and entry.version == version:
                        if entry.paths is not None and len(entry.paths) >= MOST_PATHS:
                            full = f"its values decide among more than {MOST_PATHS} paths"
                            strict = getattr(self._block, "_flags", {}).get("strict", False)
                            check(not strict, "hybridize", f"{full}; do not hybridize this block")
                            break
                        entry.follow(self._block, leaves, args)
                        return entry.take_result(leaves)
                result = UNKNOWN
                if not held:
                    entry, result = self._trace(kind, leaves, args)
                version = entry.version
                result = entry.run(leaves) if result is UNKNOWN else result
                if result is not UNKNOWN:
                    return result
        except GaveWay as error:
            gone = error
        self._by_kind[kind] = [other for other in self._by_kind.get(kind, ()) if other is not entry]
        _epoch.advance()  # no shortcut leads there
        if gone is not None:
            return self._give_way(kind, gone, args)
        assert full is not None
        self._yields(kind, full, False)
        return self._block._imperatively(args)

    def _rests(self, kind: Any) -> bool:
        """Whether calls of this kind have been traced so often that this one is not."""
        rest = self._resting.get(kind)
        if rest is None or rest.calls == 0:
            return False
        rest.calls -= 1
        count("fallbacks")
        return True

    def _give_way(self, kind: Any, gone: GaveWay, args: tuple[Any, ...]) -> Any:
        """From now on calls of this kind run the Python code; this one has."""
        trace = gone.trace
        assert trace.reason is not None
        self._yields(kind, trace.reason, trace.changes is not None)
        return self._block._gave_way(gone.result, args)

    def _yields(self, kind: Any, reason: str, looks_again: bool) -> None:
        yielded = self._yielded.get(kind)
        if yielded is None:
            yielded = Yielded(reason)
            yielded.looks = SECOND_LOOKS if looks_again else 0
            if len(self._yielded) > KINDS_KEPT:
                self._yielded.clear()
            self._yielded[kind] = yielded
        else:
            yielded.looks = yielded.looks - 1 if looks_again else 0
            yielded.reason = reason
        if yielded.looks == 0:
            give_way(
                f"{self._block.name} gives way to its Python code: {yielded.reason}. Calls of this "
                "kind run imperatively from now on"
            )

    def _trace(self, kind: Any, leaves: Sequence[Any], args: tuple[Any, ...]) -> tuple[Entry, Any]:
        """The entry for a call, and its result, if it was computed on the way."""
        with self._lock:
            entries = self._by_kind.get(kind, [])
            for entry in entries:
                if entry.holds():
                    return entry, UNKNOWN
            reason = self._reason(kind, entries)
            self.traces += 1
            entry = self._entry_type(self._block, leaves, args, self._compiled, self._places)
            entry.reason = reason
            entry._bind()
            self._yielded.pop(kind, None)
            # A new list: other threads may be reading the old one.
            self._by_kind[kind] = [entry, *entries][:GRAPHS_PER_KIND]
            if len(entries) == GRAPHS_PER_KIND:
                fall_back(
                    f"{self._block.name} is traced again and again, because what its code reads "
                    f"keeps changing ({reason}); pass it as an array instead. While it does, most "
                    "calls run as Python code"
                )
                rest = self._resting.setdefault(kind, Rest())
                rest.traces += 1
                if rest.traces > TRACES_BEFORE_A_REST:
                    rest.calls = min(2 ** (rest.traces - TRACES_BEFORE_A_REST), LONGEST_REST)
            if len(self._by_kind) > KINDS_KEPT:
                self._by_kind = dict([*self._by_kind.items()][-KINDS_KEPT:])
                self._resting = {k: v for k, v in self._resting.items() if k in self._by_kind}
            self.latest = entry
            return entry, entry.take_result(leaves)

    def _reason(self, kind: Any, entries: Sequence[Entry]) -> str:
        if entries:
            return entries[0].changed() or "a guard changed"
        if self.traces == 0:
            return "first call"
        _structure, training, recording, *types = kind
        mode = "train" if training else "predict"
        shown = ", ".join(
            f"{BY_CODE[code]}{list(shape)}" + "".join(f" on {context_at(d)}" for d in device)
            for shape, code, *device in types
        )
        return f"new kind of call: ({shown}), {mode} mode{', recording' if recording else ''}"

    def explain(self) -> str:
        """What was traced, why, and what the compiler made of it."""
        lines = []
        for number, entry in enumerate(self.entries):
            if entry.paths is not None:
                ways = f"{len(entry.paths)} path{'s' * (len(entry.paths) > 1)}"
                lines.append(f"graph {number} of {self._block.name}: {ways} ({entry.reason})")
                lines += ["  " + line for line in entry.paths.lines()]
                continue
            operators = sum(node.op not in (VARIABLE, CONSTANT) for node in entry.graph)
            lines.append(
                f"graph {number} of {self._block.name}: {operators} operators ({entry.reason})"
            )
            for variant in entry.compiled_graphs():
                plan = variant.memory_plan
                lines.append(
                    f"  {variant.program.name}: {variant.operators} primitives in "
                    f"{len(variant.kernels)} kernels, {plan.total_bytes:,} bytes planned "
                    f"({plan.unplanned_bytes:,} unplanned), "
                    f"compiled in {variant.compile_seconds:.2f} s"
                )
        for yielded in self._yielded.values():
            if yielded.looks == 0:
                lines.append(f"{self._block.name} runs imperatively: {yielded.reason}")
        for reason in sorted({r for cached in self._compiled.values() for r in cached.refused}):
            lines.append(f"  compiled for each shape, because an extent is needed: {reason}")
        return "\n".join(lines) if lines else "not called yet"


def _read_numbers(result: Any) -> Any:
    """Numbers that nobody has asked for yet are read where they are returned."""
    return nested.replaced(result, number_of) if nested.holds(result, Unread) else result


def threaded(
    outputs: Sequence[Value], effects: Sequence[Node], calls: Sequence[Node]
) -> tuple[Graph, States, int]:
    """The graph of these outputs with states as values, and how many outputs nobody reads: those of
    calls of effect."""
    used = set(Graph.of(outputs).nodes)
    unread = [node.outputs[0] for node in effects if node not in used]
    outputs = [*outputs, *unread]
    reached = Graph.of([*outputs, *[node.outputs[0] for node in calls]])
    graph, states = thread_states(Graph(reached.inputs, outputs), calls)
    return graph, states, len(unread)
