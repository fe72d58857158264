"""Loops and branches: operators that hold graphs. Their outputs are those of other operators, so
they are differentiated, planned and compiled as these are; `passes/control_gradient.py` has the
rule, since the gradient of a loop is a loop over the gradient of its body.

Names, attributes and files follow MXNet 1.9.1 (`F.contrib.foreach`, `while_loop`, `cond`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon.base import InternalError, TensorType, as_dtype, check
from tigon.base.dtypes import bool_, int64
from tigon.base.extents import same_shape
from tigon.base.frozen import Frozen
from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value
from tigon.ir.rewrite import typed
from tigon.ops.record import Family, primitive

COUNT_TYPE = TensorType((1,), int64)
"""Of a number of iterations."""


class ForeachAttrs(Frozen):
    """The body takes a row of each array of data, the states, and what else it reads; it gives rows
    of results, then the next states. Operands are the same, then the number of iterations if it is
    `counted`, then the random key if it is `keyed`."""

    body: Graph
    data: int
    states: int
    reverse: bool = False
    """From the last row to the first."""
    counted: bool = False
    """Not all rows, but as many of the first as an operand says."""
    keyed: bool = False
    ordinal: int = 0
    recompute: bool = False
    """Gradients compute each iteration again from the states that it began with, and passes leave
    all work within: memory for little more than the states."""


UNLIMITED = 2**31 - 1
"""Iterations of a loop for which nobody says a number: none that would end too early."""


class WhileAttrs(Frozen):
    """Condition and body take the states and what else they read."""

    condition: Graph
    body: Graph
    states: int
    max_iterations: int
    keyed: bool = False
    ordinal: int = 0
    recompute: bool = False
    residuals: int = 0
    """The last ones of the stacked results, which gradients alone read: of iterations that are not
    made, their rows are left as they are."""


class CondAttrs(Frozen):
    """Both branches take all operands but the first, which decides."""

    then: Graph
    otherwise: Graph
    keyed: bool = False
    ordinal: int = 0


class Operands(Frozen):
    """The operands of a loop, or their types, by what they are."""

    data: tuple[Any, ...]
    states: tuple[Any, ...]
    others: tuple[Any, ...]
    count: tuple[Any, ...]
    key: tuple[Any, ...]

    @property
    def of_body(self) -> tuple[Any, ...]:
        """Without the rows' first axis."""
        return (*self.data, *self.states, *self.others, *self.key)


def operands_of(attrs: Any, given: Sequence[Any]) -> Operands:
    data = getattr(attrs, "data", 0)
    key = len(given) - attrs.keyed
    count = key - getattr(attrs, "counted", False)
    first = data + attrs.states
    return Operands(
        tuple(given[:data]),
        tuple(given[data:first]),
        tuple(given[first:count]),
        tuple(given[count:key]),
        tuple(given[key:]),
    )


def outs_of(attrs: Any) -> int:
    """Stacked results of a loop."""
    return len(attrs.body.outputs) - attrs.states


def result_count(node: Node) -> int:
    """The outputs that users see: those of a loop that gradients read are not among them."""
    return len(node.outputs) if node.op is _cond else len(node.attrs.body.outputs)


def operands_of_graphs(node: Node) -> list[tuple[Graph, list[tuple[Value, bool]]]]:
    """The graphs of a loop or a branch, and what each of their variables stands for: an operand,
    or a row of one."""
    attrs = node.attrs
    if node.op is _cond:
        own = [(value, False) for value in node.inputs[1:]]
        return [(attrs.then, own), (attrs.otherwise, own)]
    given = operands_of(attrs, node.inputs)
    own = [(value, number < len(given.data)) for number, value in enumerate(given.of_body)]
    graphs = [attrs.body] if node.op is _foreach else [attrs.condition, attrs.body]
    return [(graph, own) for graph in graphs]


def row_type(type_: TensorType) -> TensorType:
    """What an iteration sees of an array: of numbers in a row, arrays of one, as `x[i]` gives."""
    return TensorType(type_.shape[1:] or (1,), type_.dtype)


def body_of(where: str, graph: Graph, types: Sequence[TensorType]) -> Graph:
    """A graph for operands of these types."""
    if len(graph.inputs) != len(types):
        raise InternalError(
            f"{where}: its graph takes {len(graph.inputs)} operands; given {len(types)}"
        )
    names = [value.node.name for value in graph.inputs]
    if len(set(names)) < len(names):
        raise InternalError(f"{where}: two operands of its graph have one name: {names}")
    plain = (TensorType(type_.shape, type_.dtype) for type_ in types)
    return typed(graph, dict(zip(names, plain, strict=True)))


def _types(graph: Graph) -> list[TensorType]:
    return [TensorType(value.shape, value.dtype) for value in graph.outputs]


def _stacked(length: int, types: Sequence[TensorType]) -> list[TensorType]:
    return [TensorType((length, *type_.shape), type_.dtype) for type_ in types]


def foreach_body(attrs: ForeachAttrs, types: Sequence[TensorType]) -> Graph:
    given = operands_of(attrs, types)
    rows = tuple(map(row_type, given.data))
    return body_of("foreach", attrs.body, (*rows, *given.states, *given.others, *given.key))


def _infer_foreach(attrs: ForeachAttrs, *types: TensorType) -> tuple[TensorType, ...]:
    given = operands_of(attrs, types)
    check(given.data, "foreach", "expected data to go over; given none")
    for number, type_ in enumerate(given.data):
        check(
            type_.ndim > 0 and same_shape(type_.shape[:1], given.data[0].shape[:1]),
            "foreach",
            f"data[{number}]: expected an array of as many rows as data[0], "
            f"{given.data[0]}; given {type_}",
        )
    check(given.count in ((), (COUNT_TYPE,)), "foreach", f"expected a count; given {given.count!r}")
    length = given.data[0].shape[0]
    found = _types(foreach_body(attrs, types))
    outs = outs_of(attrs)
    _check_states("foreach", given.states, found[outs:])
    states = [TensorType(type_.shape, type_.dtype) for type_ in given.states]
    return (*_stacked(length, found[:outs]), *states, *_stacked(length, states))


def _check_states(where: str, before: Sequence[TensorType], after: Sequence[TensorType]) -> None:
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        check(
            same_shape(old.shape, new.shape) and old.dtype is new.dtype,
            where,
            f"state {number} comes in as {TensorType(old.shape, old.dtype)} and leaves the body as "
            f"{new}; a state keeps its shape and dtype from iteration to iteration",
        )


_foreach = primitive(
    "_foreach",
    Family.CONTROL,
    operands="*operands",
    attrs=ForeachAttrs,
    infer=_infer_foreach,
    outputs=lambda attrs: outs_of(attrs) + 2 * attrs.states,
    numpy=lambda *arrays, **attrs: _foreach_oracle(ForeachAttrs(**attrs), arrays),
    samples=(
        (
            (4, 3),
            (3,),
            (3,),
            {
                "body": """graph(%data0, %state0, %other0) {
                    %0 = broadcast_mul(%state0, %other0)
                    %1 = broadcast_add(%data0, %0)
                    %2 = tanh(%1)
                    return %2, %1
                }""",
                "data": 1,
                "states": 1,
            },
        ),
        (
            (3, 2),
            (3,),
            (2,),
            (1,),
            {
                "body": """graph(%data0, %data1, %state0, %state1) {
                    %0 = broadcast_add(%data0, %state0)
                    %1 = broadcast_mul(%data1, %state1)
                    return %0, %1
                }""",
                "data": 2,
                "states": 2,
                "reverse": True,
            },
        ),
        ((0, 3), (3,), {"body": "graph(%d, %s) {\nreturn %d, %s\n}", "data": 1, "states": 1}),
    ),
    doc="""A loop over the rows of arrays, with states from one iteration to the next.

    Results are the stacked rows of results, the last states, and, stacked, the states that each
    iteration began with, which gradients read. A body is executed in one native call.

    >>> x = nd.array([1, 2, 3])
    >>> sums, last = nd.contrib.foreach(lambda x, s: (x + s, x + s), x, nd.zeros(1))
    >>> last.asnumpy()
    array([6.], dtype=float32)
    """,
)


def while_graphs(attrs: WhileAttrs, types: Sequence[TensorType]) -> tuple[Graph, Graph]:
    """Condition and body."""
    given = operands_of(attrs, types)
    condition = body_of("while_loop", attrs.condition, given.of_body)
    return condition, body_of("while_loop", attrs.body, given.of_body)


def _infer_while(attrs: WhileAttrs, *types: TensorType) -> tuple[TensorType, ...]:
    given = operands_of(attrs, types)
    condition, body = while_graphs(attrs, types)
    _check_decides("while_loop", condition)
    found = _types(body)
    outs = outs_of(attrs)
    _check_states("while_loop", given.states, found[outs:])
    states = [TensorType(type_.shape, type_.dtype) for type_ in given.states]
    most = attrs.max_iterations
    check(most >= 0, "while_loop", f"expected max_iterations of 0 or more; given {most}")
    return (*_stacked(most, found[:outs]), *states, *_stacked(most, states), COUNT_TYPE)


def _check_decides(where: str, graph: Graph) -> None:
    (value,) = graph.outputs
    if value.dtype is not bool_:
        raise InternalError(f"{where}: what decides must be bool; given {value.type}")
    check(
        value.type.size == 1,
        where,
        f"expected a condition of one element; given one of shape {value.shape}; reduce it, with "
        "sum or max",
    )


_while_loop = primitive(
    "_while_loop",
    Family.CONTROL,
    operands="*operands",
    attrs=WhileAttrs,
    infer=_infer_while,
    outputs=lambda attrs: outs_of(attrs) + 2 * attrs.states + 1,
    numpy=lambda *arrays, **attrs: _while_oracle(WhileAttrs(**attrs), arrays),
    samples=(
        (
            np.array([0.5, 1.5], np.float32),
            np.array([1.25, 0.75], np.float32),
            {
                "condition": """graph(%s, %w) {
                    %0 = _reduce_sum(%s) {axes=(0,)}
                    %1 = constant() {value=9.0, dtype='float32'}
                    %2 = broadcast_lesser(%0, %1)
                    %3 = Cast(%2) {dtype='bool'}
                    return %3
                }""",
                "body": """graph(%s, %w) {
                    %0 = broadcast_mul(%s, %w)
                    %1 = broadcast_add(%0, %s)
                    %2 = tanh(%0)
                    return %2, %1
                }""",
                "states": 1,
                "max_iterations": 7,
            },
        ),
    ),
    doc="""A loop that goes on while its condition holds, at most `max_iterations` times.

    Results are the stacked rows of results, of which those never reached are 0, the last states,
    the states that each iteration began with, and the number of iterations.

    >>> out, last = nd.contrib.while_loop(
    ...     lambda i: i < 3, lambda i: (i * 10, i + 1), nd.zeros(1), max_iterations=5)
    >>> out.asnumpy()[:, 0]
    array([ 0., 10., 20.,  0.,  0.], dtype=float32)
    """,
)


def cond_graphs(attrs: CondAttrs, types: Sequence[TensorType]) -> tuple[Graph, Graph]:
    """The two branches."""
    return (
        body_of("cond", attrs.then, types[1:]),
        body_of("cond", attrs.otherwise, types[1:]),
    )


def runs(attrs: Any, types: Sequence[TensorType]) -> list[tuple[Graph, int]]:
    """The graphs that a loop runs, and how often at most; of a branch the first."""
    if isinstance(attrs, ForeachAttrs):
        return [(foreach_body(attrs, types), int(operands_of(attrs, types).data[0].shape[0]))]
    if isinstance(attrs, WhileAttrs):
        condition, body = while_graphs(attrs, types)
        return [(condition, attrs.max_iterations + 1), (body, attrs.max_iterations)]
    return [(cond_graphs(attrs, types)[0], 1)]


def _infer_cond(attrs: CondAttrs, *types: TensorType) -> tuple[TensorType, ...]:
    decides = types[0]
    check(
        decides.size == 1 and decides.dtype is bool_,
        "cond",
        f"expected one bool to decide; given {decides}",
    )
    then, otherwise = (_types(graph) for graph in cond_graphs(attrs, types))
    check(
        len(then) == len(otherwise),
        "cond",
        f"expected branches with as many results; then_func gives {len(then)} and else_func "
        f"{len(otherwise)}",
    )
    for number, (one, other) in enumerate(zip(then, otherwise, strict=True)):
        check(
            same_shape(one.shape, other.shape) and one.dtype is other.dtype,
            "cond",
            f"result {number} is {one} where the condition holds and {other} where it does not; "
            "both branches must give the same shapes and dtypes",
        )
    return tuple(then)


_cond = primitive(
    "_cond",
    Family.CONTROL,
    operands="*operands",
    attrs=CondAttrs,
    infer=_infer_cond,
    outputs=lambda attrs: len(attrs.then.outputs),
    numpy=lambda *arrays, **attrs: _cond_oracle(CondAttrs(**attrs), arrays),
    samples=tuple(
        (
            np.array(decides),
            (2, 3),
            (3,),
            {
                "then": """graph(%x, %w) {
                    %0 = broadcast_mul(%x, %w)
                    return %0
                }""",
                "otherwise": """graph(%x, %w) {
                    %0 = tanh(%x)
                    return %0
                }""",
            },
        )
        for decides in (True, False)
    ),
    doc="""One of two graphs, by a value: the other one is not executed.

    >>> x = nd.array([3])
    >>> nd.contrib.cond(x > 2, lambda: x * 10, lambda: x)
    <BLANKLINE>
    [30.]
    <NDArray 1 @cpu(0)>
    """,
)


# --------------------------------------------------------------------------------- oracles


def _evaluated(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The graph in numpy."""
    types = [TensorType(array.shape, as_dtype(array.dtype)) for array in arrays]
    graph = body_of("oracle", graph, types)
    found: dict[Value, np.ndarray] = dict(zip(graph.inputs, arrays, strict=True))
    for node in graph.nodes:
        if node.op is VARIABLE:
            continue
        operands = [found[v] for v in node.inputs]
        types = [value.type for value in node.inputs]
        weak = [type_.weak for type_ in types]
        if any(weak) and not all(weak):
            strong = {type_.dtype for type_ in types if not type_.weak}
            # Of a choice the condition may be of another.
            dtype = (strong.pop() if len(strong) == 1 else node.outputs[0].dtype).numpy
            operands = [
                array.astype(dtype) if is_weak else array
                for array, is_weak in zip(operands, weak, strict=True)
            ]
        found.update(zip(node.outputs, _results(node, operands), strict=True))
    return [found[value] for value in graph.outputs]


def _results(node: Node, arrays: list[np.ndarray]) -> Sequence[np.ndarray]:
    if node.op is CONSTANT:
        # A weak number keeps all its digits until it meets the dtype that it takes.
        dtype = None if node.attrs.weak else node.outputs[0].dtype.numpy
        return [np.array(node.attrs.value, dtype).reshape(node.attrs.shape)]
    return [np.asarray(result) for result in node.op.oracle(node.attrs, *arrays)]


def _empty(types: Sequence[TensorType]) -> list[np.ndarray]:
    return [np.zeros(type_.shape, type_.dtype.numpy) for type_ in types]


def _foreach_oracle(attrs: ForeachAttrs, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    given = operands_of(attrs, arrays)
    types = [TensorType(array.shape, as_dtype(array.dtype)) for array in arrays]
    results = _empty(_infer_foreach(attrs, *types))
    outs, states = outs_of(attrs), [np.array(state) for state in given.states]
    count = int(given.count[0][0]) if given.count else given.data[0].shape[0]
    for number in range(count)[:: -1 if attrs.reverse else 1]:
        rows = [np.atleast_1d(array[number]) for array in given.data]
        for result, state in zip(results[outs + len(states) :], states, strict=True):
            result[number] = state
        made = _evaluated(attrs.body, [*rows, *states, *given.others])
        for result, value in zip(results[:outs], made[:outs], strict=True):
            result[number] = value
        states = made[outs:]
    results[outs : outs + len(states)] = states
    return tuple(results)


def _while_oracle(attrs: WhileAttrs, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    given = operands_of(attrs, arrays)
    types = [TensorType(array.shape, as_dtype(array.dtype)) for array in arrays]
    results = _empty(_infer_while(attrs, *types))
    outs, states = outs_of(attrs), [np.array(state) for state in given.states]
    count = 0
    while count < attrs.max_iterations:
        if not _evaluated(attrs.condition, [*states, *given.others])[0].item():
            break
        for result, state in zip(results[outs + len(states) : -1], states, strict=True):
            result[count] = state
        made = _evaluated(attrs.body, [*states, *given.others])
        for result, value in zip(results[:outs], made[:outs], strict=True):
            result[count] = value
        states = made[outs:]
        count += 1
    results[outs : outs + len(states)] = states
    results[-1][:] = count
    return tuple(results)


def _cond_oracle(attrs: CondAttrs, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    branch = attrs.then if arrays[0].item() else attrs.otherwise
    return tuple(_evaluated(branch, arrays[1:]))
