"""Tracing: what a hybridized block's Python code does, once, on symbols; and what it depended on.

A trace collects
* inputs: one typed symbol per array of the call,
* parameters and captured arrays: symbols that stand for arrays read along the way,
* guards: what the code read (`reads.py`), seen by watching the frames that ran (`watch.py`).

The compiled graph is used again only while every guard holds. Where the code does what a graph
cannot hold, the trace gives way: what was traced so far is computed on the arrays of this very
call, in order, and the rest of the code runs on them. Nothing runs twice.
"""

from __future__ import annotations

import gc
import math
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from operator import is_
from types import FrameType
from typing import Any

import numpy as np

from tigon import nd
from tigon._native import (
    is_recording,
    is_training,
)
from tigon.analysis.leads import is_recorded
from tigon.base import InternalError, TensorType, TigonError, as_dtype, check, nested, type_of
from tigon.base.collector import collector_paused
from tigon.base.frozen import replace
from tigon.base.unread import Unread
from tigon.context import context_in
from tigon.gluon.trace import watch
from tigon.gluon.trace.current import entered, install, modes
from tigon.gluon.trace.guards import GuardSet
from tigon.gluon.trace.held import SYMBOLIC, attributes, in_error, set_attribute
from tigon.gluon.trace.path import MOST_BITS, Path
from tigon.gluon.trace.reads import Reads
from tigon.gluon.trace.sources import Source, source_of
from tigon.gluon.trace.values import content_of
from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value, variable
from tigon.ir.graph import topological_order
from tigon.nd.dispatch import apply as apply_on_arrays
from tigon.ops.custom import registration
from tigon.ops.primitive.choose import detach
from tigon.ops.record import Effect, Family
from tigon.program.cached_graph import CachedGraph
from tigon.program.host import label
from tigon.runtime import tracing as hooks
from tigon.sym.symbol import Symbol
from tigon.sym.traced import ArraySymbol, name_beside, traced_variable


class Step:
    """One thing that a trace did: a node, or a view of what a symbol stands for."""

    __slots__ = ("node", "outputs", "recording", "training", "view")

    def __init__(
        self,
        node: Node | None,
        outputs: Sequence[Value],
        recording: bool,
        training: bool,
        view: tuple[Value, Callable[[Any], Any]] | None = None,
    ) -> None:
        self.node = node
        self.outputs = outputs
        self.recording = recording
        self.training = training
        self.view = view


class Trace:
    """What one run of Python code on symbols has met so far.

    A typed trace stands for one kind of input: its symbols know their shapes and use arrays freely.
    An untyped one (`net(sym.var("data"))`, export) is made of named variables only.
    """

    def __init__(
        self,
        typed: bool = True,
        arguments: Sequence[tuple[Symbol, Any]] = (),
        strict: bool = False,
        effects: bool = True,
        begin_path: Callable[[Trace], Path] | None = None,
        before: tuple[GuardSet, GuardSet] | None = None,
    ) -> None:
        """`arguments`: the symbols of the call and the arrays that they stand for, without which a
        trace cannot give way. `strict`: it is an error if it would. `effects`: what is traced may
        hold operators that are Python code. `begin_path`: values may decide how the code goes on.
        `before`: guards that earlier traces of this kind of call have made."""
        self.typed = typed
        self.strict = strict
        self._may_have_effects = effects
        self.arguments = arguments
        self._unchosen = {symbol.name: symbol._values[0].node for symbol, _ in arguments}
        """Variables by names that nobody has chosen."""
        self.context = context_in(array for _, array in arguments)
        self.training = is_training()
        self.recording = is_recording()
        self.parameters: dict[int, tuple[Any, Any]] = {}  # id -> (Parameter, symbol)
        self.captured: dict[int, tuple[Any, Any]] = {}  # id -> (array, symbol)
        self.seen: set[Any] = set()
        self.keep: list[Any] = []  # objects whose id is a key above
        self.draws: list[int] = []  # serials of the random nodes, those without a user included
        self.calls: list[Node] = []  # nodes with states, those without a user included
        self.effects: list[Node] = []  # nodes of effect, likewise
        self.reads = Reads(self.cannot, before)
        self.path = None if begin_path is None else begin_path(self)
        """The decisions so far. None where values may decide nothing."""
        self._gave_number = False
        self.reason: str | None = None
        """Why this trace is no program, if it is none."""
        self.changes: str | None = None
        """What the code changed that it also read: a second trace may find it as it left it."""
        self.eager = False
        """Whether the code runs on arrays by now."""
        self.views: dict[Value, tuple[Value, Callable[[Any], Any]]] = {}
        """Of what each value is a view, and how it is made of that."""
        self.containers: dict[int, tuple[Any, Any, Any]] = {}
        """Among the arguments, those with symbols in them: what the code was given, what its caller
        gave, and what was in it."""
        self.given: dict[int, Any] = {}
        """Among the arguments, by `id`, what may change and is told apart by its content: another
        call may give another one."""
        self.result: Any = None
        self.symbols: list[weakref.ref[ArraySymbol]] = []
        """Made in this trace: one that outlives it was put somewhere."""
        self._taking: dict[Value, bool] = {}
        self._steps: list[Step] = []
        self._arrays: dict[Value, Any] = {}
        self._foreign: set[Node] = set()  # of symbols that the code makes for itself
        self._error: BaseException | None = None

    def take(self, args: tuple[Any, ...], containers: Sequence[tuple[Any, Any]]) -> None:
        """The arguments as the code gets them; and of these lists and dictionaries that were made
        anew, beside those of the caller."""
        for made, given in containers:
            self.containers[id(made)] = (made, given, _contents(made))
        met: set[int] = set()
        pending: list[Any] = [*args]
        while pending:
            item = pending.pop()
            if id(item) in met:  # shared by several, or by itself
                continue
            met.add(id(item))
            if isinstance(item, _KNOWN_BY_CONTENT):
                self.given[id(item)] = item
            if isinstance(item, (list, tuple, dict)):
                pending += item.values() if isinstance(item, dict) else item

    def returns(self, item: Any) -> None:
        """It is a part of the result."""
        if id(item) in self.given:
            self.cannot(f"it returns a {type(item).__name__} that it is given; return a copy")

    # -- arrays

    def state_of_parameter(self, param: Any) -> None:
        """The code was told which arrays a parameter has, or that it has none."""
        if ("state", id(param)) not in self.seen:
            self.seen.add(("state", id(param)))
            known = param._state()
            self.reads.steady.add(
                f"the arrays of {param.name}",
                "check",
                lambda: len(now := param._state()) == len(known) and all(map(is_, now, known)),
            )

    def parameter(self, param: Any) -> Any:
        """The symbol that stands for a parameter."""
        found = self.parameters.get(id(param))
        if found is None:
            shape, dtype = param.shape, param.dtype
            self.reads.steady.add(
                f"the type of {param.name}",
                "check",
                lambda: bool(param.shape == shape and param.dtype == dtype),
            )
            found = self.parameters[id(param)] = (param, self._parameter_symbol(param))
        return found[1]

    def _parameter_symbol(self, param: Any) -> Any:
        if not self.typed:
            return param.var()
        known = self.captured.get(id(param._only))
        if known is not None:
            self._same_array(param)
            return known[1]
        self._make_way(param.name)
        return traced_variable(param.name, TensorType(param.shape, as_dtype(param.dtype)), True)

    def _make_way(self, name: str) -> None:
        """For a parameter of this name: what nobody has chosen to call so is called otherwise."""
        node = self._unchosen.pop(name, None)
        if node is not None:
            node.name = name_beside({*self._names_of_parameters(), name}, name)
            self._unchosen[node.name] = node

    def _names_of_parameters(self) -> set[str]:
        return {param.name for param, _ in self.parameters.values()}

    def _same_array(self, param: Any) -> None:
        """The code reached a parameter's array in two ways: one variable, while that is so."""
        array = param._only
        self.keep += (param, array)
        self.reads.steady.add(f"the array of {param.name}", "check", lambda: param._only is array)

    def array(self, array: Any) -> Any:
        """The symbol that stands for an array which the code used without being given it."""
        found = self.captured.get(id(array))
        if found is None:
            check(
                self.typed,
                "forward",
                "an NDArray that is no parameter meets a Symbol; make it a parameter with "
                "params.get_constant, so that it has a name",
            )
            owner = next((p for p, _ in self.parameters.values() if p._only is array), None)
            if owner is not None:
                self._same_array(owner)
                symbol = self.parameters[id(owner)][1]
            else:
                name = f"captured{len(self.captured)}"
                name = name_beside(self._names_of_parameters(), name)
                symbol = traced_variable(name, type_of(array), True)
                self._unchosen[name] = symbol._values[0].node
            found = self.captured[id(array)] = (array, symbol)
        return found[1]

    def adapt(self, node: Node) -> Sequence[Value]:
        """A new node under the modes that the code set for it: its own training mode, and no
        gradient through what is computed where recording is paused."""
        if node.op.advances_stream(node.attrs, training=is_training()):
            self.draws.append(node.serial)
        if getattr(node.attrs, "training", False) is None and self._is_mode_set():
            node = node.replace(attrs=replace(node.attrs, training=is_training()))
        if node.op.mutates:
            self.calls.append(node)
        if node.op.effect is not Effect.NONE:
            self._note_effect(node)
        outputs: Sequence[Value] = node.outputs
        if self.recording and not is_recording():
            outputs = [detach(value) for value in node.outputs]
        if self.typed:
            self._steps.append(Step(node, outputs, is_recording(), is_training()))
        return outputs

    def mark(self) -> Any:
        """How far it is, to go back to where a loop's body turns out to be no graph."""
        lists = (self._steps, self.draws, self.calls, self.effects, self.symbols)
        return [(held, len(held)) for held in lists], [(s, s._values) for s in self._alive()]

    def undo(self, mark: Any) -> None:
        """Go back there. What the code has done besides stays done."""
        lists, symbols = mark
        for held, length in lists:
            del held[length:]
        for symbol, values in symbols:
            symbol._values = values

    def holds(self, variables: Collection[Node], since: int) -> bool:
        """Whether the code has put something where it outlives a body: what depends on its
        variables, or, of one without, what was made since the node of this serial."""
        values = [value for symbol in self._alive() for value in symbol._values]
        if variables:
            return any(node in variables for node in topological_order(values))
        return any(v.node.serial > since and v.node.op is not VARIABLE for v in values)

    def without(self, nodes: Collection[Node]) -> None:
        """These stand in a graph of their own: a loop's, which has a step for all of them."""
        serials = {node.serial for node in nodes}
        self._steps = [
            step for step in self._steps if step.node is None or step.node.serial not in serials
        ]
        self.draws = [serial for serial in self.draws if serial not in serials]

    def _note_effect(self, node: Node) -> None:
        self.effects.append(node)
        if not self._may_have_effects and node.op.effect is not Effect.CHANNEL:
            called = label(node.op, node.attrs, node.name)
            self.cannot(f"it calls {called}, which is Python code, between its operators")
        op_type = getattr(node.attrs, "op_type", None)
        if op_type is not None and self.typed:
            number = node.attrs.registration
            self.reads.lasting.add(
                f"what is registered as {op_type}", "check", lambda: registration(op_type) == number
            )

    def _is_mode_set(self) -> bool:
        return hooks.count_mode_scopes(0) > 0 or is_training() != self.training

    def view(self, result: Symbol, source: Symbol, of: Callable[[Any], Any]) -> None:
        """`result` was made as a view of `source`, which `of` gives of its array."""
        if self.typed:
            view = self.views[result._values[0]] = (source._values[0], of)
            self._steps.append(Step(None, result._values, is_recording(), is_training(), view))

    # -- what was read

    def value(self, array: Any) -> None:
        """The code read an array's value, which may have been overwritten by the next call."""
        key = id(array)
        if ("value", key) not in self.seen:
            self.seen.add(("value", key))
            self.keep.append(array)
            version = array.version
            self.reads.lasting.add(
                "an array's value", "check", lambda: bool(array.version == version)
            )

    def block(self, block: Any, hooks_run: bool = True) -> None:
        """A block was run: its children are guarded, and the code it runs; hooks of the traced
        block itself run outside."""
        if id(block) in self.seen:
            return
        self.seen.add(id(block))
        self.keep.append(block)
        self.reads.reach(block)
        for hook in (*block._forward_hooks.values(), *block._forward_pre_hooks.values()):
            if hooks_run:
                self.reads.reach(hook)

    def made(self, item: Any) -> None:
        """The code makes this object."""
        self.reads.made(item)

    def function(self, function: Callable[..., Any]) -> None:
        """A function of the user's is run."""
        self.keep.append(function)
        self.reads.reach(function)

    def entered(self, frame: FrameType) -> None:
        """A frame of user code was entered."""
        if not self.eager:
            self.reads.frame(frame)

    def entered_library(self, frame: FrameType) -> None:
        """A method of a library's object was entered."""
        if not self.eager:
            self.reads.method_of_library(frame)

    def called(self, frame: FrameType, function: Any, caller: FrameType) -> None:
        """User code calls what gives something else each time; `caller` is the frame that does,
        which may be of a library."""
        name = function.__name__
        generator = getattr(function, "__self__", None)
        given = name == "seed" and caller.f_locals.get("a", "a seed") is not None
        if given and not watch.is_shared_generator(generator):
            return
        if name in ("random", "getrandbits") and not watch.is_shared_generator(generator):
            return  # made by the code, from a seed, or within reach: then its state tells
        name = getattr(function, "__qualname__", str(function))
        if function in watch.THREADS:
            self._leaves(f"it starts a thread at {watch.user_line(frame)}")
            return
        if name.startswith("SimpleQueue."):
            self.tells(frame)
            return
        if function is watch.FRAMES and not _asks_for_frames(frame, caller):
            return
        self.cannot(
            f"it calls {name} at {watch.user_line(frame)}, which a compiled graph would do once; "
            "pass what it gives as an argument"
        )

    def tells(self, frame: FrameType) -> None:
        """User code meets another thread."""
        self._leaves(f"it meets another thread at {watch.user_line(frame)}")

    def _leaves(self, reason: str) -> None:
        """Other threads, whose operators no trace would see, may work with what there is."""
        self.give_way(reason)
        for symbol in self._alive():
            symbol.stands_for = self.concrete(symbol)

    def release(self) -> None:
        """The trace is a program: what it met on the way is needed no longer, its guards apart."""
        self.arguments, self.result, self.symbols, self.path = (), None, [], None
        self._unchosen.clear()
        self._steps, self._arrays, self.views = [], {}, {}
        del self.reads

    def sources(self) -> dict[Value, Source]:
        """What the caller has for each variable that the code was given."""
        found: dict[Value, Source] = {}
        for place, (symbol, _) in enumerate(self.arguments):
            found[symbol._values[0]] = ("input", place)
        for array, symbol in self.captured.values():
            found[symbol._values[0]] = ("array", array)
        for param, symbol in self.parameters.values():
            found[symbol._values[0]] = ("parameter", param)
        return found

    # -- decisions

    def decide(self, symbol: ArraySymbol, kind: str, what: str, read: Callable[[Any], Any]) -> Any:
        """What `read` gives of the array that a symbol stands for, as a part of the path; or
        NotImplemented, where no program can hold it. `kind`: of what is told apart."""
        if self.path is None or not self.may_decide() or len(symbol._values) > 1:
            return NotImplemented
        value = symbol._values[0]
        for met in () if value.is_typed else Graph.of([value]).inputs:
            if not met.is_typed:  # the code has brought it along
                source_of(met, self.sources())
        type_ = value.type
        if type_.nbytes > MOST_BITS or (kind != "bits" and math.prod(type_.shape) != 1):
            return NotImplemented
        return self.path.decide(value, kind, what, read)

    def may_decide(self) -> bool:
        """Whether values may decide how the code goes on: nothing must have happened that cannot
        be thrown away, should a later call go where nobody has been."""
        open_yet = self.path is not None and not self.eager and self.reason is None
        return open_yet and not self.effects and (self.recording or not is_recording())

    def may_give_number(self) -> bool:
        """Whether `item()` may give a number that is not read yet."""
        if self.path is None or not self.may_decide() or self.path.reads_numbers:
            return False
        self._gave_number = True
        return True

    def may_be_repeated(self) -> bool:
        """Whether the code, which has raised an error, was given a number that was not read yet,
        and has changed nothing that it has read."""
        if not self._gave_number or self.eager or self.reason is not None or self._changed():
            return False
        self.strict = False
        self.reads.finish()
        failed = self.reads.steady.failed() or self.reads.lasting.failed()
        return self.reason is None and failed is None and not self.reads.drew()

    def is_off_tape(self, value: Value) -> bool:
        """Whether the code is recorded and what it computes a value from is not: numbers, or what
        was computed while recording was paused."""
        return self.recording and not self._takes_part(value)

    def takes_part(self, value: Value) -> bool:
        """Whether the code is recorded and something that it was given leads to a value, which may
        thus be on the tape."""
        return self.recording and self._takes_part(value)

    def _takes_part(self, value: Value) -> bool:
        known = self._taking.get(value)
        if known is None:
            known = self._taking[value] = self._is_led_to(value)
        return known

    def _is_led_to(self, value: Value) -> bool:
        pending, seen = [value], {value}
        while pending:
            met = pending.pop()
            known = self._taking.get(met)
            met = self.origin(met)
            if known or met.node.op is VARIABLE:
                return True
            if known is None and met.node.inputs and is_recorded(met.node):
                fresh = [value for value in met.node.inputs if value not in seen]
                pending += fresh
                seen.update(fresh)
        return False

    def origin(self, value: Value) -> Value:
        """What a value was before a decision."""
        while self.path is not None and value in self.path.origin:
            value = self.path.origin[value]
        return value

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Programs run in the middle of the trace, as they run in the call."""
        with entered(None), watch.unwatched(), modes(self.recording, self.training):
            yield

    def on_context(self, arrays: Sequence[Any]) -> AbstractContextManager[Any]:
        """What is made of nothing is made where the arguments are."""
        return nullcontext() if arrays or self.context is None else self.context

    # -- giving way

    def cannot(self, reason: str) -> None:
        """This trace is no program; its results are right for this call alone."""
        if self.reason is None:
            self.reason = reason
            if self.strict or not self.typed:
                raise TigonError(f"hybridize: {reason}, or do not hybridize this block")

    def change(self, what: str) -> None:
        """The code changes something that lasts; what it traces from then on may be right."""
        if self.reason is None:
            self.changes = what
        self.cannot(f"it {what}, which a compiled graph would do once; do it outside")

    def give_way(self, reason: str) -> None:
        """From here on the code runs on arrays."""
        self.cannot(reason)
        if not self.eager:
            self.eager = True
            install(self)
            if self.path is not None:
                self.path.commit()
        self._catch_up()

    def _catch_up(self) -> None:
        """Compute what was traced so far, in order, under the modes of each step."""
        steps, self._steps = self._steps, []
        if not steps:
            return
        with entered(None), watch.unwatched():
            for step in steps:
                with modes(step.recording, step.training):
                    self._do(step)

    def _do(self, step: Step) -> None:
        if step.view is not None:
            source, of = step.view
            self._arrays[step.outputs[0]] = of(self._array(source))
            return
        node = step.node
        assert node is not None
        if any(value.node in self._foreign or self._is_foreign(value) for value in node.inputs):
            self._foreign.add(node)
            return
        operands = [self._array(v) for v in node.inputs]
        if node.op.family is Family.CONTROL:  # which takes its random key as a graph does
            results = _run_as_graph(node, operands)
        else:
            made = apply_on_arrays(node.op, node.attrs, operands)
            results = made if isinstance(made, list) else [made]
        for value, result in zip(step.outputs, results, strict=False):
            self._arrays[value] = result

    def _array(self, value: Value) -> Any:
        """What a value stands for: an array, or a number."""
        found = self._arrays.get(value)
        if found is not None:
            return found
        if value.node.op is CONSTANT:
            attrs = value.node.attrs
            if not attrs.shape and not isinstance(attrs.value, tuple):
                return attrs.value
            values = np.array(attrs.value, value.dtype.numpy).reshape(attrs.shape)
            return nd.array(values, dtype=value.dtype.name)
        found = self._of_variable(value)
        if found is None:
            raise InternalError(f"trace: {value.node.label} was never computed")
        return found

    def _is_foreign(self, value: Value) -> bool:
        """A variable of a symbol that the code makes for itself, as `sym.var("x") * 2`."""
        return value.node.op is VARIABLE and self._of_variable(value) is None

    def _of_variable(self, value: Value) -> Any:
        for symbol, array in self.arguments:
            self._arrays.setdefault(symbol._values[0], array)
        for param, symbol in self.parameters.values():
            self._arrays.setdefault(
                symbol._values[0], param._for(self.context) if param._is_plain else param.data()
            )
        for array, symbol in self.captured.values():
            self._arrays.setdefault(symbol._values[0], array)
        return self._arrays.get(value)

    def concrete(self, item: Any) -> Any:
        """The same with arrays in the place of this trace's symbols, in its containers, too."""
        if isinstance(item, ArraySymbol):
            if item.stands_for is not None:
                return item.stands_for
            self._catch_up()
            found = [self._array(value) for value in item._values]
            return found[0] if len(found) == 1 else found
        if isinstance(item, Unread):
            return item.value()
        if not self.containers and not nested.holds(item, SYMBOLIC):
            return item
        known = {key: given for key, (_, given, _) in self.containers.items()}
        return nested.replaced(
            item, lambda leaf: self.concrete(leaf) if isinstance(leaf, SYMBOLIC) else leaf, known
        )

    def concrete_within(self, result: Any) -> Any:
        """The same of a result, and of sets, queues, errors and objects that the call made."""
        for leaf in nested.leaves(result, "hybridize"):
            if not isinstance(leaf, ArraySymbol) and not self.reads.has_reached(leaf):
                self._put_arrays(leaf)
        return self.concrete(result)

    def _put_arrays(self, made: Any) -> None:
        if isinstance(made, set):
            items = [self.concrete(item) for item in made]
            made.clear()
            made.update(items)
        elif isinstance(made, deque):
            for place, item in enumerate(made):
                made[place] = self.concrete(item)
        for name, held in attributes(made):
            if nested.holds(held, SYMBOLIC):
                set_attribute(made, name, self.concrete(held))

    def apply(self, op: Any, attrs: Any, operands: Sequence[Any]) -> Any:
        """An operator, after giving way."""
        return apply_on_arrays(op, attrs, [self.concrete(operand) for operand in operands])

    def finish(self) -> None:
        """The code has run. What it changed, and what it keeps, shows whether it is a program."""
        changed = self._changed()
        if changed:
            self.cannot(
                f"it changes a {type(changed[0]).__name__} that it is given; return the new one"
            )
        if self.eager:
            self._hand_over()
            return
        self.reads.finish()
        for kept in self.reads.kept(self.given):
            self.cannot(f"it keeps a {type(kept).__name__} that it is given; keep a copy")
        if self.reads.drew():
            self.cannot("it draws from Python's or numpy's random numbers; use nd.random")
        failed = self.reads.steady.failed() or self.reads.lasting.failed()
        if failed is not None and self.reason is None:
            self.changes = failed
            self.cannot(
                f"it changes {failed}, which a compiled graph would do once; return the new value, "
                "or change it outside"
            )
        if not self.recording and any(step.recording for step in self._steps):
            self.cannot(
                "it records operators by autograd.record, which its caller may differentiate; "
                "record around the call"
            )
        if self._kept():
            with watch.unwatched():  # programs may be told of collections
                gc.collect(0)  # errors that the code caught keep its frames
        if self._kept():
            self.cannot("it keeps an array beyond the call; return it instead")
        if self.reason is not None and self.typed:
            self.give_way(self.reason)
            self._hand_over()

    def _changed(self) -> list[Any]:
        """Containers among the arguments that the code has changed."""
        held = self.containers.values()
        return [made for made, _, before in held if _is_changed(made, before)]

    def _given(self) -> list[ArraySymbol]:
        """Symbols that the code did not make."""
        return [
            *(symbol for symbol, _ in self.arguments),
            *(symbol for _, symbol in self.parameters.values()),
            *(symbol for _, symbol in self.captured.values()),
        ]

    def _alive(self) -> list[ArraySymbol]:
        made = (reference() for reference in self.symbols)
        return [*self._given(), *(symbol for symbol in made if symbol is not None)]

    def _kept(self) -> list[ArraySymbol]:
        """Symbols that the code has put somewhere, and does not return."""
        known = {*map(id, self._given()), *map(id, nested.leaves(self.result, "hybridize"))}
        return [symbol for symbol in self._alive() if id(symbol) not in known]

    def fail(self, error: BaseException) -> None:
        """The code has raised. What it has put somewhere, or the error holds, stays, as arrays."""
        self._error = error
        if not self.eager:
            if self.strict or not (self._changed() or next(self._places(), None)):
                if self.path is not None:
                    self.path.give_back()
                return
            self.give_way("it keeps an array and raises an error")
        self._hand_over()

    def _places(self) -> Iterator[tuple[Callable[[Any], None], Any]]:
        """Where the code has put symbols: how to replace them, and what is there."""
        own = set(map(id, self._alive()))

        def is_symbol(item: Any) -> bool:
            """Whether there are symbols of this trace in it, and of no other."""
            if not nested.holds(item, SYMBOLIC):
                return False
            leaves = nested.leaves(item, "hybridize")
            found = [leaf.of if isinstance(leaf, Unread) else leaf for leaf in leaves]
            return all(id(leaf) in own for leaf in found if isinstance(leaf, ArraySymbol))

        for space in self.reads.spaces():
            if id(space) in self.containers:  # of the caller's, which are handed over as a whole
                continue
            items = enumerate(space) if isinstance(space, list) else space.items()
            for key, item in list(items):
                if is_symbol(item):
                    yield partial(space.__setitem__, key), item
        for held in in_error(self._error, self.reads.has_reached):
            for name, item in attributes(held):
                if is_symbol(item):
                    yield partial(set_attribute, held, name), item
        for cell in self.reads.cells:
            if is_symbol(content_of(cell)):
                yield partial(setattr, cell, "cell_contents"), cell.cell_contents

    def _hand_over(self) -> None:
        """Put arrays where the code has put symbols, and changes where the caller sees them."""
        for made, given, before in self.containers.values():
            if _is_changed(made, before):
                items = [(key, self.concrete(item)) for key, item in _contents(made)]
                given.clear()
                if isinstance(given, list):
                    given.extend(item for _, item in items)
                else:
                    given.update(items)
        for put, item in self._places():
            put(self.concrete(item))
        for symbol in self._alive():
            symbol.stands_for = self.concrete(symbol)


def _run_as_graph(node: Node, operands: Sequence[Any]) -> list[Any]:
    inputs = [variable(f"operand{i}") for i in range(len(operands))]
    return CachedGraph(Graph(inputs, Node(node.op, tuple(inputs), node.attrs).outputs))(operands)


_KNOWN_BY_CONTENT = (list, dict, set, np.ndarray, bytearray)


def _asks_for_frames(asking: FrameType, caller: FrameType) -> bool:
    """Whether it is the program that wants to know who called it, and not a library that makes a
    class and wants to know where."""
    path = caller.f_code.co_filename
    return caller is asking or path.endswith(("inspect.py", "traceback.py"))


def _contents(container: Any) -> list[tuple[Any, Any]]:
    return list(container.items() if isinstance(container, dict) else enumerate(container))


def _is_changed(container: Any, before: list[tuple[Any, Any]]) -> bool:
    now = _contents(container)
    return len(now) != len(before) or any(
        key != old or item is not held for (key, item), (old, held) in zip(now, before, strict=True)
    )


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Python code in here runs on symbols; what it reads is written into `trace`."""
    if not trace.typed:  # what the code does, it does for the symbol that it makes
        with entered(trace):
            yield trace
        return
    # What the collector would run meanwhile is no part of the program.
    with collector_paused(), entered(trace), watch.watched(trace):
        try:
            yield trace
        except BaseException as error:
            trace.fail(error)
            raise
        trace.finish()
