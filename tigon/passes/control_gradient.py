"""Gradients of loops and branches: a loop from the last iteration to the first over the gradient of
the body, a branch over those of the branches.

Each iteration is computed again from what it began with, which the loop forward stacks.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from tigon.base import InternalError, TensorType, check
from tigon.base.extents import same_shape
from tigon.ir.graph import Graph, Node, Value, variable
from tigon.ir.rewrite import substitute, untyped
from tigon.ops.primitive import control as ops
from tigon.ops.primitive.random import KEY_NAME
from tigon.passes.primitives import add, reshape, zeros_like

Gradient = Callable[
    [Sequence[Value], Sequence[Value | None], Sequence[Value]], Sequence[Value | None]
]
"""(outputs, cotangents, with respect to) -> cotangents."""


def control_gradient(
    node: Node, cotangents: Sequence[Value | None], wanted: Sequence[int], gradient: Gradient
) -> list[tuple[Value, Value]]:
    """(operand, cotangent) pairs of a typed loop or branch. Cotangents may be missing."""
    flowing = [
        cotangent if value.dtype.is_float else None
        for value, cotangent in zip(node.outputs, cotangents, strict=True)
    ]
    places = [place for place in wanted if node.inputs[place].dtype.is_float]
    if not places or not any(flowing):
        return []
    if node.op is ops._cond:
        found = _cond_gradient(node, flowing, places, gradient)
    elif node.op is ops._foreach or node.op is ops._while_loop:
        found = _loop_gradient(node, flowing, places, gradient)
    else:
        raise InternalError(f"{node.label}: is no loop and no branch")
    return [(node.inputs[place], value) for place, value in zip(places, found, strict=True)]


def _loop_gradient(
    node: Node, cotangents: Sequence[Value | None], places: Sequence[int], gradient: Gradient
) -> list[Value]:
    attrs = node.attrs
    types = [value.type for value in node.inputs]
    is_while = node.op is ops._while_loop
    check(
        not is_while or attrs.max_iterations != ops.UNLIMITED,
        node.label,
        "its gradient keeps the states of every iteration, and how many there are at most is not "
        "said; give max_iterations, or, of a model that was read, values={...} of the input that "
        "limits them",
    )
    body = ops.while_graphs(attrs, types)[1] if is_while else ops.foreach_body(attrs, types)
    given = ops.operands_of(attrs, node.inputs)
    outs, states = ops.outs_of(attrs), attrs.states
    count = (node.outputs[-1],) if is_while else given.count
    begins = node.outputs[outs + states : outs + 2 * states]
    own = ops.operands_of(attrs, range(len(node.inputs)))
    wanted_data = [i for i, place in enumerate(own.data) if place in places]
    wanted_states = [i for i, place in enumerate(own.states) if place in places]
    wanted_others = [i for i, place in enumerate(own.others) if place in places]

    rows = _Rows()
    inner_data = [rows.enter(f"data{i}", value) for i, value in enumerate(given.data)]
    inner_states = [
        _like(rows.enter(f"begin{i}", value), state.type)
        for i, (value, state) in enumerate(zip(begins, given.states, strict=True))
    ]
    inner_others = [variable(f"other{i}", _strong(v)) for i, v in enumerate(given.others)]
    inner_key = [variable(KEY_NAME, value.type) for value in given.key]
    inner = (*inner_data, *inner_states, *inner_others, *inner_key)
    results = substitute(body.outputs, dict(zip(body.inputs, inner, strict=True)))

    upon = [
        None if value is None else _like(rows.enter(f"cotangent{i}", value), results[i].type)
        for i, value in enumerate(cotangents[:outs])
    ]
    carried = {
        i: variable(f"carried{i}", state.type)
        for i, state in enumerate(inner_states)
        if state.dtype.is_float
    }
    upon += [carried.get(i) for i in range(states)]
    sources = [
        *[inner_states[i] for i in carried],
        *[inner_data[i] for i in wanted_data],
        *[inner_others[i] for i in wanted_others],
    ]
    found = [
        zeros_like(source) if value is None else value
        for source, value in zip(sources, gradient(results, upon, sources), strict=True)
    ]
    # What flows into the stacked states themselves, of a gradient of a gradient.
    into = cotangents[outs + states : outs + 2 * states]
    for number, i in enumerate(carried):
        flowing = into[i]
        if flowing is not None:
            entered = _like(rows.enter(f"into{i}", flowing), inner_states[i].type)
            found[number] = add(found[number], entered)
    sums = [variable(f"sum{i}", inner_others[i].type) for i in wanted_others]
    first, second = len(carried), len(carried) + len(wanted_data)
    outputs = [
        *found[first:second],
        *found[:first],
        *[add(total, value) for total, value in zip(sums, found[second:], strict=True)],
    ]
    # What no iteration reads may not have been kept where this gradient is differentiated.
    read = set(Graph.of(outputs).inputs)
    rows = rows.among(read)
    outer_others = [v for v, inner in zip(given.others, inner_others, strict=True) if inner in read]
    inner_others = [inner for inner in inner_others if inner in read]
    inputs = [*rows.inner, *carried.values(), *sums, *inner_others, *inner_key]
    made = ops.ForeachAttrs(
        untyped(Graph(inputs, outputs)),
        len(rows.inner),
        len(carried) + len(sums),
        reverse=not getattr(attrs, "reverse", False),
        counted=bool(count),
        keyed=attrs.keyed,
        ordinal=attrs.ordinal,
        recompute=attrs.recompute,
    )
    last = cotangents[outs : outs + states]
    operands = (
        *rows.outer,
        *[_or_zeros(last[i], given.states[i]) for i in carried],
        *[zeros_like(given.others[i]) for i in wanted_others],
        *outer_others,
        *count,
        *given.key,
    )
    name = f"{node.name}_backward" if node.name else ""
    backward = Node(ops._foreach, operands, made, name).outputs
    flows = dict(zip((own.data[i] for i in wanted_data), backward, strict=False))
    rest = backward[len(wanted_data) :]
    ends = dict(zip((own.states[i] for i in carried), rest, strict=False))
    flows.update((own.states[i], ends[own.states[i]]) for i in wanted_states)
    flows.update(zip((own.others[i] for i in wanted_others), rest[len(carried) :], strict=False))
    return [_like(flows[place], node.inputs[place].type) for place in places]


def _cond_gradient(
    node: Node, cotangents: Sequence[Value | None], places: Sequence[int], gradient: Gradient
) -> list[Value]:
    attrs = node.attrs
    upon = [(i, value) for i, value in enumerate(cotangents) if value is not None]
    # Graphs know their inputs by name, and those of a gradient have cotangents among them already.
    known = {v.node.name for branch in (attrs.then, attrs.otherwise) for v in branch.inputs}
    name = "cotangent"
    while any(f"{name}{i}" in known for i, _ in upon):
        name = f"next_{name}"
    flowing = [variable(f"{name}{i}", _strong(value)) for i, value in upon]

    def backward_of(branch: Graph) -> Graph:
        given: list[Value | None] = [None] * len(branch.outputs)
        for (i, _), value in zip(upon, flowing, strict=True):
            given[i] = value
        sources = [branch.inputs[place - 1] for place in places]
        found = gradient(branch.outputs, given, sources)
        outputs = [
            zeros_like(source) if value is None else value
            for source, value in zip(sources, found, strict=True)
        ]
        return untyped(Graph((*flowing, *branch.inputs), outputs))

    then, otherwise = ops.cond_graphs(attrs, [value.type for value in node.inputs])
    made = ops.CondAttrs(backward_of(then), backward_of(otherwise), attrs.keyed, attrs.ordinal)
    operands = (node.inputs[0], *[value for _, value in upon], *node.inputs[1:])
    return list(
        Node(ops._cond, operands, made, f"{node.name}_backward" if node.name else "").outputs
    )


class _Rows:
    """Stacked arrays, and what an iteration sees of them."""

    def __init__(self) -> None:
        self.outer: list[Value] = []
        self.inner: list[Value] = []

    def enter(self, name: str, value: Value) -> Value:
        self.outer.append(value)
        self.inner.append(variable(name, ops.row_type(value.type)))
        return self.inner[-1]

    def among(self, read: Container[Value]) -> _Rows:
        """Those that are read; of none, one of them, whose length is that of the loop."""
        pairs = list(zip(self.outer, self.inner, strict=True))
        kept = _Rows()
        for outer, inner in [pair for pair in pairs if pair[1] in read] or pairs[-1:]:
            kept.outer.append(outer)
            kept.inner.append(inner)
        return kept


def _strong(value: Value) -> TensorType:
    return TensorType(value.shape, value.dtype)


def _like(value: Value, type_: TensorType) -> Value:
    """The same numbers in this shape: rows of arrays of one axis have one, too."""
    return value if same_shape(value.shape, type_.shape) else reshape(value, shape=type_.shape)


def _or_zeros(value: Value | None, like: Value) -> Value:
    return zeros_like(like) if value is None else value
