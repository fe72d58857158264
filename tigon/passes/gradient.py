"""Reverse-mode differentiation, graph to graph.

One pass serves `Symbol.grad`, compiled training and the imperative tape. Its result is made of
operators again, so gradients of gradients need nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tigon.base import InternalError, TensorType, TigonError, check
from tigon.base.extents import same_shape
from tigon.base.frozen import Frozen, replace
from tigon.ir.graph import CONSTANT, VARIABLE, Node, Value, attrs_key, topological_order, variable
from tigon.ir.rewrite import substitute
from tigon.ir.template import NAME, Template
from tigon.ir.text import parse_attrs, show_attrs
from tigon.ops.record import ByRows, Family, Operator, composite, get
from tigon.passes.control_gradient import control_gradient
from tigon.passes.decompose import name_after
from tigon.passes.primitives import add, scatter_add, sum_to_like, zeros_like
from tigon.passes.roles import operand_roles
from tigon.passes.widen_floats import is_narrow, widened

BACKWARD = "_backward"
"""How names of what differentiates a node go on after the node's."""


class Rows(NamedTuple):
    """A cotangent of which most rows are zero: the others, some of which may stand several
    times."""

    rows: Value
    values: Value


def gradient(
    outputs: Sequence[Value], cotangents: Sequence[Value | None], wrt: Sequence[Value]
) -> list[Value | None]:
    """Cotangents of `wrt`, given those of `outputs` (None: that output contributes nothing).

    A result is None where no differentiable path leads from that value to an output. Values in
    `wrt` may be interior; each gets its whole cotangent. Types are not needed.

    >>> from tigon.ir import Graph, show, variable
    >>> from tigon.ops.primitive.arithmetic import multiply
    >>> x, g = variable("x"), variable("g")
    >>> (dx,) = gradient([multiply(x, x)], [g], [x])
    >>> print(show(Graph([g, x], [dx])))
    graph(%g, %x) {
      %0 = broadcast_mul(%g, %x)
      %1 = _sum_to_like(%0, %x)
      %2 = broadcast_mul(%g, %x)
      %3 = _sum_to_like(%2, %x)
      %4 = broadcast_add(%1, %3)
      return %4
    }
    """
    check(
        len(outputs) == len(cotangents),
        "gradient",
        f"expected one cotangent per output; given {len(cotangents)} for {len(outputs)} outputs; "
        "pass None for an output that does not count",
    )
    return _walk(outputs, cotangents, wrt)


def gradient_by_rows(
    outputs: Sequence[Value], cotangents: Sequence[Value | None], wrt: Sequence[Value]
) -> list[Value | Rows | None]:
    """The same, but that a variable has rows for its cotangent where all that uses it, on the way
    to an output, gives such.

    >>> from tigon.base import TensorType, as_dtype
    >>> from tigon.ir import Graph, show, variable
    >>> from tigon.ops import get
    >>> ids, table, g = variable("ids"), variable("table"), variable("g")
    >>> y = get("Embedding")(ids, table, input_dim=9, output_dim=2, sparse_grad=True)
    >>> (found,) = gradient_by_rows([y], [g], [table])
    >>> print(show(Graph([ids, g], found)))
    graph(%ids, %g) {
      %0 = Cast(%ids) {dtype='int64'}
      %1 = clip(%0) {a_min=0.0, a_max=8.0}
      %2 = Reshape(%1) {shape=(-1,)}
      %3 = Reshape(%g) {shape=(-1, 2)}
      return %2, %3
    }
    """
    parts: dict[Value, list[Rows]] = {
        value: [] for value in wrt if value.node.op is VARIABLE and len(value.node.outputs) == 1
    }
    whole = _walk(outputs, cotangents, wrt, parts=parts)
    found: list[Value | Rows | None] = []
    for value, cotangent in zip(wrt, whole, strict=True):
        own = parts.get(value, [])
        if own and cotangent is None:
            found.append(own[0] if len(own) == 1 else Rows(*map(_joined, zip(*own, strict=True))))
            continue
        for rows, values in own:
            cotangent = scatter_add(cotangent, rows, values, axis=0)
        found.append(cotangent)
    return found


def with_rows(cotangents: Sequence[Value | Rows]) -> tuple[list[Value], list[int]]:
    """The outputs of a graph that gives these: a value for each, then the numbers of rows; and of
    each where these are, or -1."""
    outputs = [one.values if isinstance(one, Rows) else one for one in cotangents]
    places = [-1] * len(outputs)
    for index, one in enumerate(cotangents):
        if isinstance(one, Rows):
            places[index] = len(outputs)
            outputs.append(one.rows)
    return outputs, places


def _joined(values: Sequence[Value]) -> Value:
    return get("Concat")(*values, dim=0)


def _walk(
    outputs: Sequence[Value],
    cotangents: Sequence[Value | None],
    wrt: Sequence[Value],
    stop: frozenset[Value] = frozenset(),
    settled: bool = False,
    known: _Known | None = None,
    parts: dict[Value, list[Rows]] | None = None,
) -> list[Value | None]:
    """`stop`: values not to be entered. `settled`: keys that are needed are there. `parts`: values
    that take rows, and where these go."""
    known = {} if known is None else known
    order = topological_order(outputs, stop)
    active = _reached_from(wrt, order)
    collected: dict[Value, Value] = {}
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if cotangent is not None and output in active:
            _accumulate(collected, output, cotangent)
    # Reverse order: a value's cotangent is complete only after all its users.
    for node in reversed(order):
        if not any(value in active for value in node.inputs):
            continue
        if not any(value in collected for value in node.outputs):
            continue
        by_rows = None if not parts else _rows_of(node, collected, parts)
        for operand, cotangent in _pull_back(node, collected, active, settled, known, by_rows):
            _accumulate(collected, operand, cotangent)
    return [collected.get(value) for value in wrt]


def _rows_of(
    node: Node, collected: Mapping[Value, Value], parts: Mapping[Value, list[Rows]]
) -> int | None:
    """The operand to which this node gives rows, if it does."""
    rule = getattr(node.op, "by_rows", None)
    if rule is None or parts.keys().isdisjoint(node.inputs):
        return None
    (output,) = node.outputs
    found: ByRows | None = node.op.rule(rule, node.attrs, collected[output], *node.inputs)
    if found is None or node.inputs[found.operand] not in parts:
        return None
    parts[node.inputs[found.operand]].append(Rows(found.rows, found.values))
    return found.operand


def _reached_from(wrt: Sequence[Value], order: Sequence[Node]) -> set[Value]:
    """The values that depend differentiably on one of `wrt`. Where floats become integers the
    slope is 0, as far as types are known; integers made from integers have one."""
    active = set(wrt)
    for node in order:
        if not getattr(node.op, "differentiable", False):
            continue
        sources = [value for value in node.inputs if value in active]
        if not sources:
            continue
        whole = all(value.is_typed and value.dtype.is_integer for value in sources)
        for value in node.outputs:
            if not value.is_typed or value.dtype.is_float or (whole and value.dtype.is_integer):
                active.add(value)
    return active


def _accumulate(collected: dict[Value, Value], value: Value, cotangent: Value) -> None:
    present = collected.get(value)
    collected[value] = cotangent if present is None else add(present, cotangent)


def _pull_back(
    node: Node,
    collected: dict[Value, Value],
    active: set[Value],
    settled: bool,
    known: _Known,
    without: int | None = None,
) -> list[tuple[Value, Value]]:
    """(operand, cotangent) pairs that this node contributes; `without`: an operand that has got
    its own."""
    op = node.op
    if op is VARIABLE or op is CONSTANT or not op.differentiable:
        return []
    roles = operand_roles(op, node.attrs, len(node.inputs))
    wanted = [
        position
        for position, (value, role) in enumerate(zip(node.inputs, roles, strict=True))
        if value in active and not role.random_key and not role.auxiliary and position != without
    ]
    if not wanted:
        return []
    cotangents = tuple(
        collected[value] if value in collected else zeros_like(value) for value in node.outputs
    )
    values = widened(node, node.inputs) if is_narrow(node) else None
    if values is not None:
        return _pull_back_by_value(node, values, cotangents, wanted, settled, known)
    # A random node without its key is known by its place alone: a copy of it, which rules and
    # decompositions make, would be numbered anew and draw other numbers.
    keyed = any(r.random_key for r in roles) or getattr(node.attrs, "keyed", False)
    awaits_key = not settled and op.draws(node.attrs) and not keyed
    if op.family is Family.CONTROL and node.types is not None and not awaits_key:
        present = [collected.get(value) for value in node.outputs]
        return control_gradient(node, present, wanted, _within)
    if not awaits_key and _is_like_others(node, cotangents, collected):
        return _pull_back_alike(node, cotangents, wanted, settled, known)
    return _pull_back_anew(node, cotangents, wanted, settled, awaits_key, known)


def _pull_back_anew(
    node: Node,
    cotangents: tuple[Value, ...],
    wanted: list[int],
    settled: bool,
    awaits_key: bool,
    known: _Known,
) -> list[tuple[Value, Value]]:
    op = node.op
    if op.grad is not None and not awaits_key:
        return _by_rule(node, cotangents, wanted)
    if op.family is Family.HOST:
        raise TigonError(
            f"{node.label}: its gradient is Python code, which runs in backward() and is no part "
            "of a graph; bind the symbol, or record the call, and call backward()"
        )
    deferred = awaits_key or op.family is Family.CONTROL
    if not deferred and (op.family is not Family.COMPOSITE or op.decompose is None):
        raise TigonError(
            f"{node.label}: has no gradient; expected an operator with a gradient rule; "
            "apply stop_gradient to its operands if none is wanted"
        )
    if node.types is None or awaits_key:
        # By position: what is one value now may be two operands still.
        operands = [node.inputs[position] for position in wanted]
        found: Sequence[Value | None] = _deferred(node, cotangents, wanted)
    else:
        values = op.decomposed(node.attrs, *node.inputs)
        name_after(values, node.name or op.name, node.hints, frozenset(node.inputs))
        return _pull_back_by_value(node, values, cotangents, wanted, settled, known)
    return [(o, g) for o, g in zip(operands, found, strict=True) if g is not None]


def _pull_back_by_value(
    node: Node,
    values: tuple[Value, ...],
    cotangents: tuple[Value, ...],
    wanted: list[int],
    settled: bool,
    known: _Known,
) -> list[tuple[Value, Value]]:
    """Through what a call is made of, or what it is in float32: inside, the uses of one value
    cannot be told apart."""
    operands = list(dict.fromkeys(node.inputs[position] for position in wanted))
    found = _walk(values, cotangents, operands, frozenset(node.inputs), settled, known)
    return [(o, g) for o, g in zip(operands, found, strict=True) if g is not None]


_Known = dict[Any, tuple[list[int], Template]]
"""How gradients flow through calls, by what the calls are: of which of their different operands
there are cotangents, and these."""


def _is_like_others(
    node: Node, cotangents: tuple[Value, ...], collected: dict[Value, Value]
) -> bool:
    """Whether calls of the same operator on operands of the same types have the same gradient:
    where there is nothing that rules look at besides."""
    if node.types is None or node.op.family in (Family.HOST, Family.CONTROL):
        return False
    for value in (*node.inputs, *cotangents):
        producer = value.node
        if producer.op is CONSTANT or producer.op is zeros_like or producer.types is None:
            return False
    return all(value in collected for value in node.outputs)


def _pull_back_alike(
    node: Node,
    cotangents: tuple[Value, ...],
    wanted: list[int],
    settled: bool,
    known: _Known,
) -> list[tuple[Value, Value]]:
    """The same, worked out once for calls that are alike."""
    operands = [*dict.fromkeys(node.inputs)]
    place = {value: number for number, value in enumerate(operands)}
    places = tuple([place[value] for value in node.inputs])
    types = tuple([value.type for value in (*operands, *cotangents)])
    key = (
        node.op,
        attrs_key(node.attrs),
        places,
        types,
        tuple(wanted),
        settled,
        bool(node.name),
    )
    found = known.get(key)
    if found is None:
        own = [variable(f"operand{i}", value.type) for i, value in enumerate(operands)]
        given = tuple([variable(f"cotangent{i}", c.type) for i, c in enumerate(cotangents)])
        name = NAME if node.name else ""
        inputs = tuple([own[number] for number in places])
        call = Node(node.op, inputs, node.attrs, name, None, node.types)
        try:
            pairs = _pull_back_anew(call, given, wanted, settled, False, known)
        except TigonError:  # is to speak of the names that the user knows
            return _pull_back_anew(node, cotangents, wanted, settled, False, {})
        template = Template([*own, *call.outputs, *given], [value for _, value in pairs])
        number_of = {value: number for number, value in enumerate(own)}
        found = known[key] = ([number_of[operand] for operand, _ in pairs], template)
    numbers, template = found
    hints = node.hints if node.name or node.op.grad is None else None
    made = template.over([*operands, *node.outputs, *cotangents], node.name, hints)
    return [(operands[number], value) for number, value in zip(numbers, made, strict=True)]


def _within(
    outputs: Sequence[Value], cotangents: Sequence[Value | None], wrt: Sequence[Value]
) -> list[Value | None]:
    """In a loop or a branch, whose keys are there."""
    return _walk(outputs, cotangents, wrt, settled=True)


def _by_rule(
    node: Node, cotangents: tuple[Value, ...], wanted: list[int]
) -> list[tuple[Value, Value]]:
    op = node.op
    several = len(node.outputs) > 1
    g = cotangents if several else cotangents[0]
    y = node.outputs if several else node.outputs[0]
    results = op.rule(op.grad, node.attrs, g, y, *_in_one_dtype(node))
    if not isinstance(results, tuple) or len(results) != len(node.inputs):
        given = f"{len(results)}" if isinstance(results, tuple) else type(results).__name__
        raise InternalError(
            f"{node.label}: its gradient rule must give a tuple of {len(node.inputs)} cotangents, "
            f"one per operand; given {given}"
        )
    if node.name:
        made = [results[position] for position in wanted if results[position] is not None]
        known = frozenset((*cotangents, *node.outputs, *node.inputs))
        name_after(made, f"{node.name}{BACKWARD}", node.hints, known)
    pairs = []
    for position in wanted:
        cotangent, operand = results[position], node.inputs[position]
        if cotangent is None:
            continue
        typed = cotangent.is_typed and operand.is_typed
        broadcasts = op.family is Family.ELEMENTWISE and len(node.inputs) > 1
        if broadcasts and not (typed and same_shape(cotangent.shape, operand.shape)):
            cotangent = sum_to_like(cotangent, operand)
        if typed:
            _check_cotangent(node, position, operand.type, cotangent.type)
        pairs.append((operand, cotangent))
    return pairs


def _in_one_dtype(node: Node) -> tuple[Value, ...]:
    """The operands, numbers among them in the dtype of the arrays that they meet: what a rule
    computes of them alone (1/3 - 1 of x ** (1/3)) would else have the digits of a float32."""
    strong = [value.type.dtype for value in node.inputs if value.is_typed and not value.type.weak]
    if node.op.family is not Family.ELEMENTWISE or not strong or not strong[0].is_float:
        return node.inputs

    def own(value: Value) -> Value:
        if value.node.op is not CONSTANT or not value.node.attrs.weak:
            return value
        attrs = replace(value.node.attrs, dtype=strong[0].name, weak=False)
        return Node(CONSTANT, (), attrs).outputs[0]

    return tuple(map(own, node.inputs))


def _check_cotangent(node: Node, position: int, operand: TensorType, given: TensorType) -> None:
    if operand.shape != given.shape or operand.dtype is not given.dtype:
        raise InternalError(
            f"{node.label}: its gradient rule gives {given} for operand {position}; "
            f"expected the operand's type {operand}"
        )


# ------------------------------------------------------- what types or keys are missing for


class VjpAttrs(Frozen):
    """Operator, its attributes as graph text, wanted operands and the number of outputs."""

    op: str
    attrs: str
    wanted: tuple[int, ...]
    count: int


def _deferred(node: Node, cotangents: tuple[Value, ...], wanted: list[int]) -> tuple[Value, ...]:
    attrs = VjpAttrs(node.op.name, show_attrs(node.attrs), tuple(wanted), len(cotangents))
    operands = (*cotangents, *node.outputs, *node.inputs)
    return Node(_vjp, operands, attrs, f"{node.name or node.op.name}{BACKWARD}").outputs


def _infer_vjp(attrs: VjpAttrs, *types: TensorType) -> tuple[TensorType, ...]:
    inputs = types[2 * attrs.count :]
    return tuple(TensorType(inputs[i].shape, inputs[i].dtype) for i in attrs.wanted)


def _decompose_vjp(attrs: VjpAttrs, *operands: Value) -> Value | tuple[Value, ...]:
    op: Operator = get(attrs.op)
    # Own variables: the same value may have become operand twice since the node was made, and
    # each position wants its own share.
    own = [variable(f"operand{i}", value.type) for i, value in enumerate(operands)]
    cotangents, inputs = own[: attrs.count], own[2 * attrs.count :]
    node = Node(op, tuple(inputs), op.make_attrs(parse_attrs(attrs.attrs)))
    wrt = [inputs[position] for position in attrs.wanted]
    found = _walk(node.outputs, cotangents, wrt, settled=True)
    results = tuple(
        zeros_like(value) if cotangent is None else cotangent
        for value, cotangent in zip(wrt, found, strict=True)
    )
    moved = substitute(results, dict(zip(own, operands, strict=True)))
    return moved[0] if len(moved) == 1 else moved


_vjp = composite(
    "_vjp",
    _decompose_vjp,
    operands="*operands",
    attrs=VjpAttrs,
    infer=_infer_vjp,
    outputs=lambda attrs: len(attrs.wanted),
    widens=False,
    doc="""Cotangents of another operator's operands, to be worked out once types are known.

    Operands are the cotangents of the operator's outputs, these outputs, then its own operands.
    The gradient pass makes these nodes where a composite without a gradient rule is met in an
    untyped graph, and for random nodes whose key is not there yet. The outputs are not read: they
    tell which node is meant, so that a later change of mode or key reaches its gradient too (see
    `follow_forward`).
    """,
)


def follow_forward(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """A deferred gradient whose forward node got other attributes or operands follows it.

    A rewriting rule: None where `node` is no deferred gradient or its forward node is the same.
    """
    if node.op is not _vjp:
        return None
    count = node.attrs.count
    forward = inputs[count].node
    shown = show_attrs(forward.attrs)
    operands = (*inputs[:count], *forward.outputs, *forward.inputs)
    if shown == node.attrs.attrs and operands == inputs:
        return None
    attrs = VjpAttrs(node.attrs.op, shown, node.attrs.wanted, count)
    return Node(_vjp, operands, attrs, node.name, node.hints).outputs
