"""Imperative operators: integer ids for the native dispatcher, and the programs behind them.

An imperative call is a one-node graph. The native side looks a program up by operator, attributes
and operand types; on a miss it asks here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from itertools import count
from typing import Any

from tigon import _native
from tigon.analysis.views import is_computed
from tigon.base import TensorType, TigonError, TigonIndexError, TigonTimeoutError, notices
from tigon.base.dtypes import BY_CODE, float32
from tigon.base.extents import is_known
from tigon.base.frozen import Frozen, replace
from tigon.base.locks import plain_lock
from tigon.context import check_one_kind, context_at
from tigon.ir import Graph, Node, Value, substitute, variable
from tigon.ir.graph import attrs_key
from tigon.loop import build as L
from tigon.loop.grammar import Expr, Load, Local
from tigon.loop.simplify import simplify
from tigon.lower.elements import Coords, Elements, axes_over, linear
from tigon.ops import casting
from tigon.ops.record import Family, Operator, get
from tigon.passes.gradient import gradient_by_rows, with_rows
from tigon.passes.pipeline import switched_on
from tigon.passes.primitives import zeros_like
from tigon.passes.set_mode import in_prediction, trains
from tigon.passes.thread_keys import KEY_TYPE
from tigon.program import creation
from tigon.program.by_shape import ByShape, Fit, Types, first_extent_aside
from tigon.program.compile import compile_graph, without_slope
from tigon.program.lowered import AnyLowered, lower_graph, prepare
from tigon.program.target import disabled_passes
from tigon.runtime import tracing

_LOCK = plain_lock()
_OPERATORS: list[Operator | ImperativeCall] = []
_OPERATOR_IDS: dict[Operator | ImperativeCall, int] = {}


class OperatorCall(Frozen):
    """What a tape node of an imperative operator remembers."""

    op: Operator
    attrs: Any
    types: tuple[TensorType, ...]


class ImperativeCall(Frozen):
    """A call by the user. Casts are put around it where a policy says so; one that draws takes a
    key itself, and new states take the place of the old ones."""

    op: Operator


def call_id(op: Operator) -> int:
    """The integer by which the native dispatcher knows calls of an operator by the user."""
    return operator_id(ImperativeCall(op))


def operator_id(op: Operator | ImperativeCall) -> int:
    """The integer by which the native dispatcher knows an operator as a node, whose key is an
    operand and whose new states are results."""
    found = _OPERATOR_IDS.get(op)
    if found is None:
        with _LOCK:
            found = _OPERATOR_IDS.setdefault(op, len(_OPERATORS))
            if found == len(_OPERATORS):
                _OPERATORS.append(op)
    return found


def name_of_operator(number: int) -> str:
    """What `operator_id` gave this number to."""
    found = _OPERATORS[number]
    return found.op.name if isinstance(found, ImperativeCall) else found.name


ATTRIBUTES_KEPT = 8192
"""Attributes interned before a new generation begins: shapes are attributes, and those that change
with every call must not fill the memory."""

_attributes: dict[int, Any] = {}  # by number: two generations, and the lasting ones
_recent: dict[Any, int] = {}
_earlier: dict[Any, int] = {}
_lasting: dict[Any, int] = {}
_numbers = count()
_caches: list[dict[Any, Any]] = []


def attributes_id(attrs: Any, lasting: bool = False) -> int:
    """The integer of interned attributes. Attributes of one meaning share it: not 0.0 and -0.0.

    It is good for at least `ATTRIBUTES_KEPT` further ones; whoever keeps it longer says that it is
    `lasting`, or keeps it in a `cache_of_numbers`.
    """
    key = attrs_key(attrs)
    found = None if lasting else _recent.get(key)
    if found is None:
        with _LOCK:
            found = _intern(key, attrs)
            if lasting:
                _lasting[key] = found
    return found


def attributes_of(number: int) -> Any:
    """The attributes behind an integer that has not lapsed."""
    return _attributes[number]


def _intern(key: Any, attrs: Any) -> int:
    global _earlier, _recent
    found = _recent.get(key)
    if found is None:
        if len(_recent) >= ATTRIBUTES_KEPT:
            for old in _earlier.keys() - _lasting.keys():
                del _attributes[_earlier[old]]
            _earlier, _recent = _recent, {}
            for cache in _caches:
                cache.clear()
        found = _lasting.get(key, _earlier.pop(key, None))
        if found is None:
            found = next(_numbers)
            _attributes[found] = attrs
        _recent[key] = found
    return found


def cache_of_numbers() -> dict[Any, Any]:
    """A dictionary whose values may hold numbers of attributes; it is emptied before they lapse."""
    cache: dict[Any, Any] = {}
    _caches.append(cache)
    return cache


def remember(cache: dict[Any, Any], key: Any, value: Any, most: int | None = None) -> Any:
    """Put it into a cache of bounded size; returns the value."""
    if len(cache) >= (ATTRIBUTES_KEPT if most is None else most):
        cache.clear()
    cache[key] = value
    return value


def invoke(op: Operator, attrs: Any, operands: Sequence[Any], out: Any = None) -> Any:
    """Run one operator on arrays and numbers."""
    return _native.invoke(operator_id(op), attributes_id(attrs), operands, out)


# ---------------------------------------------------------------- the compile handler


def _compile_operator(
    operator: int, attributes: int, signature: Any, devices: tuple[int, ...]
) -> Any:
    """Answer a miss of the signature cache. `devices`: those of the operands, each once."""
    op, attrs = _OPERATORS[operator], _attributes[attributes]
    if len(devices) > 1:
        name = op.op.name if isinstance(op, ImperativeCall) else op.name
        check_one_kind(name, map(context_at, devices))
    if not isinstance(op, ImperativeCall):
        return _compile_node(op, attrs, signature)
    while True:
        policy = casting.current()
        called = op.op if policy is None else policy.imperative(op.op, attrs)
        made = _compile_call(called, attrs, signature)
        if casting.current() is policy:  # else the cache was cleared before this comes into it
            return made


def _compile_call(op: Operator, attrs: Any, signature: Any) -> Any:
    """A sequence, where the operator draws or its states move."""
    given, visible = len(signature), op.visible_count(attrs)
    draws = op.draws(attrs, training=False)
    states = {
        output: position
        for output, position in (op.states(attrs, given) if op.advances(attrs) else {}).items()
        if not signature[position][2]
    }
    if not draws and not states:
        return _compile_node(op, attrs, signature)
    key = [(KEY_TYPE.dtype.code, KEY_TYPE.shape, False)] if draws else []
    program = _compile_node(op, attrs, (*signature, *key), op.output_count(attrs))
    # What the tape has saved of auxiliary states, as of running statistics, stays as it is;
    # states of optimizers are overwritten in place.
    swapped = [(given + o, p) for o, p in states.items() if op.operands[p].auxiliary]
    over = [(o, p) for o, p in states.items() if not op.operands[p].auxiliary]
    slots = [*range(given), *([_native.KEY_SLOT] if draws else [])]
    steps: list[Any] = [("run", program, slots, over, ())]
    if swapped:
        steps.append(("commit", swapped))
    types = [(code, shape) for code, shape, _ in signature]
    return _native.Sequence(types, steps, range(given, given + visible), int(draws))


def _compile_node(op: Operator, attrs: Any, signature: Any, visible: int | None = None) -> Any:
    # Numbers come in the dtype of the array they meet; among themselves they stay weak.
    alone = all(number for *_, number in signature)
    types = tuple(TensorType(tuple(shape), BY_CODE[code], alone) for code, shape, _ in signature)
    call = OperatorCall(op, attrs, types)
    differentiable = op.differentiable and any(t.dtype.has_gradients for t in types)
    rule: Any = partial(operator_gradient, call) if differentiable else None
    if not op.differentiable and not op.mutates:
        rule = _without_slope
    if op.shares_memory:
        operands = _operands(types)
        node = Node(op, operands, attrs)
        offset = _as_view(Graph(operands, node.outputs))
        if offset is not None:
            return _native.View(offset, node.outputs[0].shape, gradient=rule, tag=call)
    name = casting.called(op)[0].name
    if op.created is not None and (created := op.created(attrs)) is not None:
        program = creation.program(
            created, attrs.shape, bool(types), name=name, gradient=rule, tag=call
        )
        if program is not None:
            return program
    if not types or all(operand.random_key for operand in op.operands):
        fit = _use_leaf(call)
    else:
        fit = _use(call, "forward", partial(_lower_operator, op, attrs, alone))
    program = fit.result.program(
        fit.extents,
        fit.values,
        name=name,
        visible=op.visible_count(attrs) if visible is None else visible,
        gradient=rule,
        tag=call,
    ).program
    program.answers_truth = op.answers_truth
    program.updates = op.overwrites
    return program


def _use(call: OperatorCall, what: Any, make: Callable[[Types], Any]) -> Fit:
    """What is shared by all calls of the operator with these attributes, for this one."""
    weak = any(type_.weak for type_ in call.types)
    key = (call.op, attrs_key(call.attrs), weak, what)
    # Other extents tell layers apart, whose kernels gain from knowing them.
    return _shared(key, lambda: ByShape(make, first_extent_aside), _named(call.types))


def _use_leaf(call: OperatorCall) -> Fit:
    """The same for an operator without arrays: its shape is an attribute."""
    shape = getattr(call.attrs, "shape", None)
    if not isinstance(shape, tuple) or not shape:
        return _use(call, "leaf", lambda types: _lower_operator(call.op, call.attrs, False, types))

    def lower(types: Types) -> AnyLowered:
        given = {name: type_ for name, type_ in types.items() if name != "shape"}
        attrs = replace(call.attrs, shape=types["shape"].shape)
        return _lower_operator(call.op, attrs, False, given)

    key = (call.op, attrs_key(replace(call.attrs, shape=())), len(shape))
    types = {**_named(call.types), "shape": TensorType(shape, float32)}
    return _shared(key, lambda: ByShape(lower), types)


def _shared(key: Any, make: Callable[[], ByShape[AnyLowered]], types: Types) -> Fit:
    key = (key, disabled_passes(), switched_on())
    shared = _by_shape.get(key)
    if shared is None:
        shared = remember(_by_shape, key, make(), PROGRAMS_KEPT)
    return shared.use(types, lambda made: made)


def _named(types: Iterable[TensorType]) -> dict[str, TensorType]:
    return {f"x{i}": type_ for i, type_ in enumerate(types)}


_by_shape: dict[Any, ByShape[AnyLowered]] = {}

PROGRAMS_KEPT = 1024
"""Operators under attributes whose lowered graphs are remembered, tens of kilobytes for each."""


def _operands(types: Iterable[TensorType]) -> tuple[Value, ...]:
    return tuple(variable(name, type_) for name, type_ in _named(types).items())


def _lower_operator(op: Operator, attrs: Any, weak: bool, types: Types) -> AnyLowered:
    operands = _operands(TensorType(type_.shape, type_.dtype, weak) for type_ in types.values())
    return lower_graph(Graph(operands, Node(op, operands, attrs).outputs))


def _as_view(graph: Graph) -> int | None:
    """If the only output is a contiguous part of the first input, where it begins."""
    (output,) = prepare(graph).outputs
    if output.node.op is get("_copy"):
        output = output.node.inputs[0]
    if output is graph.inputs[0]:
        return 0
    if output.node.op.family is not Family.VIEW or not output.type.size:
        return None
    coords, ranges = axes_over(output.shape)

    def stop(value: Value, at: Coords) -> Expr | None:
        if value is graph.inputs[0]:
            return Load(0, linear(at, value.shape, ranges), value.dtype)
        opaque = value in graph.inputs or is_computed(value.node)
        return Local("opaque", value.dtype) if opaque else None

    element = Elements(ranges, stop).at(output, coords)
    if not isinstance(element, Load):
        return None
    offset = simplify(L.sub(element.index, linear(coords, output.shape, ranges)), ranges)
    value = getattr(offset, "value", None)
    return value if isinstance(value, int) else None


class OperatorGradient(Frozen, eq=False):
    """The backward graph of one operator, and where its inputs come from."""

    saved: list[tuple[str, int]]
    cotangents: list[int]
    targets: list[int]
    rows: list[int]  # of each target the output that says which rows its cotangent is, or -1
    lowered: Callable[[], AnyLowered]
    has_modes: bool  # in prediction it would be another graph,
    also_saved: list[tuple[str, int]]  # which reads these, too


def operator_gradient(call: OperatorCall, wanted: tuple[bool, ...]) -> Any:
    """How cotangents flow through one operator, for these wanted inputs; None if not at all."""
    fit = _use(call, wanted, partial(_lower_gradient, call.op, call.attrs, wanted))
    rule: OperatorGradient | None = fit.result
    if rule is None:
        return without_slope()
    name = f"{casting.called(call.op)[0].name}_backward"

    def compile_backward() -> Any:
        return rule.lowered().program(fit.extents, fit.values, name=name).program

    def compile_prediction() -> Any:
        _, _, (_, graph) = _backward_graphs(call.op, call.attrs, wanted, _named(call.types))
        places = [*rule.saved, *rule.also_saved]
        return compile_graph(_over(graph, rule.cotangents, places), name=name).program

    return _native.Gradient(
        saved=rule.saved,
        cotangents=rule.cotangents,
        targets=rule.targets,
        rows=rule.rows,
        compile=compile_backward,
        predict=compile_prediction if rule.has_modes else None,
        also_saved=rule.also_saved,
    )


def _without_slope(wanted: tuple[bool, ...]) -> Any:
    return without_slope()


def _lower_gradient(
    op: Operator, attrs: Any, wanted: tuple[bool, ...], types: Types
) -> OperatorGradient | None:
    targets, rows, graphs = _backward_graphs(op, attrs, wanted, types)
    if not targets:
        return None
    read = [{value.node.name for value in Graph.of(graph.outputs).inputs} for graph in graphs]
    places = [("input", i) for i in range(len(types))]
    places += [("output", i) for i in range(op.output_count(attrs))]
    saved = [place for place in places if _variable_name(*place) in read[0]]
    also = [p for p in places if _variable_name(*p) in read[-1] and p not in saved]
    cotangents = [
        i
        for i in range(op.visible_count(attrs))
        if any(_variable_name("cotangent", i) in names for names in read)
    ]
    backward = _over(graphs[0], cotangents, saved)
    lowered = cache(lambda: lower_graph(backward))
    if not all(is_known(*type_.shape) for type_ in types.values()):
        lowered()  # now, so that all conditions are known before anything runs
    return OperatorGradient(saved, cotangents, targets, rows, lowered, len(graphs) > 1, also)


def _backward_graphs(
    op: Operator, attrs: Any, wanted: tuple[bool, ...], types: Types
) -> tuple[list[int], list[int], list[Graph]]:
    """The wanted operands that something flows to, with the outputs that say which rows their
    cotangents are, or -1, and these cotangents as a graph over those of the results, the operands
    and the results; then the same of prediction, over operands alone, where that is another graph
    than that of the call."""
    operands = _operands(types.values())
    node = Node(op, operands, attrs)
    nodes = [node, Node(op, operands, in_prediction(attrs))] if trains(node) else [node]
    given = [
        variable(_variable_name("cotangent", i), value.type)
        for i, value in enumerate(node.outputs[: op.visible_count(attrs)])
    ]
    asked = [i for i, want in enumerate(wanted) if want and operands[i].dtype.has_gradients]
    wrt = [operands[i] for i in asked]
    found = [gradient_by_rows(n.outputs[: len(given)], given, wrt) for n in nodes]
    flows = [i for i in range(len(asked)) if any(grads[i] is not None for grads in found)]
    # The rule's y is the result that exists already, not one computed again. What prediction would
    # have given does not exist.
    results = [variable(_variable_name("output", i), v.type) for i, v in enumerate(node.outputs)]
    known = dict(zip(node.outputs, results, strict=True))
    graphs = []
    rows: list[int] = []
    for grads in found:
        cotangents = [
            zeros_like(operands[asked[place]]) if grad is None else grad
            for place in flows
            for grad in (grads[place],)
        ]
        outputs, rows = with_rows(cotangents)
        inputs = (*given, *operands, *results)
        graphs.append(prepare(Graph(inputs, substitute(outputs, known))))
    return [asked[place] for place in flows], rows, graphs


def _variable_name(kind: str, index: int) -> str:
    letters = {"cotangent": "g", "input": "x", "output": "y"}
    return f"{letters[kind]}{index}"


def _over(graph: Graph, cotangents: Sequence[int], places: Sequence[tuple[str, int]]) -> Graph:
    """The graph with these inputs, in this order."""
    inputs = {value.node.name: value for value in graph.inputs}
    named = [*[("cotangent", i) for i in cotangents], *places]
    return Graph([inputs[_variable_name(*place)] for place in named], graph.outputs)


SLOTS = {
    "add": "broadcast_add",
    "subtract": "broadcast_sub",
    "multiply": "broadcast_mul",
    "true_divide": "broadcast_div",
    "floor_divide": "floor_divide",
    "remainder": "broadcast_mod",
    "power": "broadcast_power",
    "matmul": "matmul",
    "negative": "negative",
    "absolute": "abs",
    "eq": "broadcast_equal",
    "ne": "broadcast_not_equal",
    "lt": "broadcast_lesser",
    "le": "broadcast_lesser_equal",
    "gt": "broadcast_greater",
    "ge": "broadcast_greater_equal",
}
"""Python's operators and the records behind them."""


def _looked_up(operator: int, attributes: int) -> tuple[Operator, Any]:
    op = _OPERATORS[operator]
    return op.op if isinstance(op, ImperativeCall) else op, _attributes[attributes]


def install() -> None:
    """Connect the native dispatcher with the compiler."""
    _native.set_error_types(TigonError, TigonIndexError, TigonTimeoutError)
    _native.set_notice_teller(notices.tell)
    _native.set_compile_handler(_compile_operator)
    tracing.set_lookup(_looked_up)
    for slot, name in SLOTS.items():
        op = get(name)
        _native.set_slot_operator(slot, call_id(op), attributes_id(op.make_attrs({}), True))
    add = get("broadcast_add")
    _native.set_sum_operator(operator_id(add), attributes_id(add.make_attrs({}), True))
