"""Types of a symbol's values, from what is known of its variables.

Shapes flow forward through the operators' type rules. Operators with parameters tell, through
`record.infer_operands`, what shapes their missing operands must have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tigon.base import DType, TensorType, TigonError, as_dtype
from tigon.base.dtypes import float32
from tigon.base.frozen import Frozen
from tigon.export.hints import PartialShape, read_dtype, read_shape
from tigon.ir.graph import CONSTANT, VARIABLE, Node, Value, topological_order
from tigon.ops.primitive.control import operands_of_graphs, row_type
from tigon.ops.record import Family


class Hint(Frozen):
    """What is said about a variable. Zero extents are unknown unless the shape is `exact`."""

    shape: PartialShape = None
    dtype: DType | None = None
    exact: bool = False

    @property
    def known_shape(self) -> bool:
        return self.shape is not None and (self.exact or all(extent > 0 for extent in self.shape))


def hint_of(node: Node) -> Hint:
    """What a variable says about itself, in its attributes."""
    if node.types is not None:
        return Hint(node.types[0].shape, node.types[0].dtype, exact=True)
    shape, dtype = node.hints.get("__shape__"), node.hints.get("__dtype__")
    return Hint(read_shape(node.name, shape), read_dtype(node.name, dtype))


def infer(
    outputs: Sequence[Value], given: Mapping[str, Hint], match: bool = True
) -> dict[Value, TensorType]:
    """The types of all values that follow from those of some variables, given by name.

    Raises where an operator does not accept its operands; values whose type does not follow are
    missing from the result. With `match`, variables of unknown shape that meet known arrays
    element by element are taken to have their shape.
    """
    order = topological_order(outputs)
    hints = {
        node.name: merged(node, hint_of(node), given.get(node.name))
        for node in order
        if node.op is VARIABLE
    }
    default = _default_dtype(hints)
    types: dict[Value, TensorType] = {}
    for node in order:
        if node.op is VARIABLE:
            hint = hints[node.name]
            if hint.shape is not None and hint.known_shape:
                types[node.outputs[0]] = TensorType(hint.shape, hint.dtype or default)
    while _sweep(order, hints, types, default) or (
        match and _match_operands(order, hints, types, default)
    ):
        pass
    return types


def dtypes_without_shapes(
    nodes: Sequence[Node], types: Mapping[Value, TensorType], hints: Mapping[str, Hint]
) -> dict[Value, DType]:
    """A dtype for every value, types inferred or not."""
    every = {n.name: hint_of(n) for n in nodes if n.op is VARIABLE} | dict(hints)
    default = _default_dtype(every)
    statistics = {value for node in nodes for value in _statistics(node)}
    dtypes = {value: type_.dtype for value, type_ in types.items()}
    variables = [node.outputs[0] for node in nodes if node.op is VARIABLE]
    for value in variables:
        own = every[value.node.name].dtype
        if own is not None:
            dtypes.setdefault(value, own)

    def settle(values: Iterable[Value], usual: DType | None) -> None:
        for value in values if usual is not None else ():
            if value not in dtypes and (value.node.op is VARIABLE or _keeps_dtypes(value.node)):
                narrow = usual.is_narrow and value in statistics
                dtypes[value] = float32 if narrow else usual

    def forward() -> None:
        for node in nodes:
            settle(node.inputs, _dtype_of_operands(node, dtypes))
            if all(value in dtypes for value in node.inputs):
                _dtypes_of_results(node, dtypes)

    before = -1
    while before < len(dtypes):
        before = len(dtypes)
        forward()
    settle(variables, default)
    forward()
    return dtypes


def _dtype_of_operands(node: Node, dtypes: Mapping[Value, DType]) -> DType | None:
    """That of the operands which are not known yet, of an operator that knows from others what they
    are: its own, or that of the first known one; by element, that of the result, too."""
    by_element = _keeps_dtypes(node)
    has_rule = getattr(node.op, "infer_operands", None) is not None
    if not has_rule and not by_element:
        return None
    own = getattr(node.attrs, "dtype", None) if has_rule else None
    beside = (*node.inputs, *node.outputs) if by_element else node.inputs
    known = [dtypes[v] for v in beside if v in dtypes and v.node.op is not CONSTANT]
    found = as_dtype(own) if own else next(iter(known), None)
    return found if found is not None and found.is_float else None


def _keeps_dtypes(node: Node) -> bool:
    return _works_by_element(node) and not getattr(node.op, "keeps_shapes", False)


def _dtypes_of_results(node: Node, dtypes: dict[Value, DType]) -> None:
    for value in node.outputs:
        if value in dtypes or node.op is VARIABLE:
            continue
        if getattr(node.op, "keeps_shapes", False):
            dtypes.update(_dtypes_of_casts(node, dtypes))
        else:
            wanted = getattr(node.attrs, "dtype", None)
            strong = [dtypes[v] for v in node.inputs if v.node.op is not CONSTANT]
            dtypes[value] = as_dtype(wanted) if wanted else (strong or [float32])[0]


def _dtypes_of_casts(node: Node, dtypes: Mapping[Value, DType]) -> dict[Value, DType]:
    """What the type rule says of operands of any shape."""
    types = tuple(TensorType((), dtypes[value]) for value in node.inputs)
    found = node.op.infer_types(node.attrs, types)
    return {value: type_.dtype for value, type_ in zip(node.outputs, found, strict=True)}


def _statistics(node: Node) -> list[Value]:
    """Operands that are float32 beside narrower floats."""
    named = getattr(node.op, "statistics", ())
    if not named:
        return []
    return [v for o, v in zip(node.op.operands, node.inputs, strict=False) if o.name in named]


def merged(node: Node, own: Hint, given: Hint | None) -> Hint:
    """What a variable says of itself and what is given for it, together."""
    if given is None:
        return own
    shape, exact = given.shape, given.exact
    if shape is None:
        shape, exact = own.shape, own.exact
    elif own.shape is not None and node.types is None:
        agrees = len(shape) == len(own.shape) and all(
            a == b or a == 0 or b == 0 for a, b in zip(shape, own.shape, strict=True)
        )
        if not agrees:
            raise TigonError(
                f"variable '{node.name}': was declared with shape {own.shape}; given {shape}"
            )
        shape = tuple(a or b for a, b in zip(shape, own.shape, strict=True))
    return Hint(shape, given.dtype or own.dtype, exact)


def _default_dtype(hints: Mapping[str, Hint]) -> DType:
    """For variables of unknown dtype: the floating type that the known ones share, or float32."""
    floats = {h.dtype for h in hints.values() if h.dtype is not None and h.dtype.is_float}
    return floats.pop() if len(floats) == 1 else float32


def _sweep(
    order: Sequence[Node], hints: Mapping[str, Hint], types: dict[Value, TensorType], default: DType
) -> bool:
    """One pass over the nodes; whether anything new was learnt."""
    before = len(types)
    for node in order:
        if node.op is VARIABLE or all(value in types for value in node.outputs):
            _fill_from_results(node, hints, types, default)
            continue
        if node.op is CONSTANT:
            types[node.outputs[0]] = node.outputs[0].type
            continue
        if not all(value in types for value in node.inputs):
            _fill_operands(node, hints, types, default)
        if all(value in types for value in node.inputs):
            operand_types = tuple(types[value] for value in node.inputs)
            try:
                results = node.op.infer_types(node.attrs, operand_types)
            except TigonError as error:
                raise _at(node, error) from None
            types.update(zip(node.outputs, results, strict=True))
    return len(types) > before


def _fill_from_results(
    node: Node, hints: Mapping[str, Hint], types: dict[Value, TensorType], default: DType
) -> None:
    """Where results have the shapes of operands, what is known of one is known of the other."""
    if not getattr(node.op, "keeps_shapes", False):
        return
    for operand, result in zip(node.inputs, node.outputs, strict=True):
        if operand not in types:
            _learn(operand, types[result].shape, node, hints, types, default)


def _at(node: Node, error: TigonError) -> TigonError:
    if node.name and f"'{node.name}'" not in str(error):
        return type(error)(f"{error} (at {node.label})")
    return error


def _fill_operands(
    node: Node, hints: Mapping[str, Hint], types: dict[Value, TensorType], default: DType
) -> None:
    """Ask the operator for the types of its missing operands; a loop or a branch, its graphs."""
    if getattr(node.op, "family", None) is Family.CONTROL:
        _fill_from_graphs(node, hints, types, default, match=False)
        return
    rule = getattr(node.op, "infer_operands", None)
    if rule is None:
        return
    known: list[TensorType | None] = [types.get(value) for value in node.inputs]
    if not any(known):
        return
    try:
        found = rule(node.attrs, known)
    except TigonError as error:
        raise _at(node, error) from None
    if found is None:
        return
    for value, current, result in zip(node.inputs, known, found, strict=False):
        if current is None and result is not None:
            _learn(value, result, node, hints, types, default)


def _fill_from_graphs(
    node: Node,
    hints: Mapping[str, Hint],
    types: dict[Value, TensorType],
    default: DType,
    match: bool,
) -> None:
    """What a graph says of a variable holds for the operand that it stands for."""
    for graph, operands in operands_of_graphs(node):
        given = {}
        pairs = list(zip(graph.inputs, operands, strict=True))
        for inner, (value, is_row) in pairs:
            known = types.get(value)
            if known is not None:
                known = row_type(known) if is_row else known
                given[inner.node.name] = Hint(known.shape, known.dtype, exact=True)
            elif value.node.op is VARIABLE:
                hint = hints[value.node.name]
                shape = None if is_row else hint.shape
                given[inner.node.name] = Hint(shape, hint.dtype or default, hint.exact)
        try:
            found = infer(graph.outputs, given, match)
        except TigonError as error:
            raise _at(node, error) from None
        for inner, (value, is_row) in pairs:
            if value not in types and inner in found and not is_row:
                _learn(value, found[inner], node, hints, types, default)


def _learn(
    value: Value,
    result: TensorType | tuple[int, ...],
    node: Node,
    hints: Mapping[str, Hint],
    types: dict[Value, TensorType],
    default: DType,
) -> None:
    shape = result.shape if isinstance(result, TensorType) else tuple(result)
    dtype = result.dtype if isinstance(result, TensorType) else default
    if value.node.op is VARIABLE:
        hint = hints[value.node.name]
        if hint.shape is not None:
            agrees = len(hint.shape) == len(shape) and all(
                a == b or a == 0 for a, b in zip(hint.shape, shape, strict=True)
            )
            if not agrees:
                raise TigonError(
                    f"{node.label}: operand '{value.node.name}' was declared with shape "
                    f"{hint.shape}; the operator needs {shape}"
                )
        dtype = hint.dtype or dtype
    types[value] = TensorType(shape, dtype)


def _match_operands(
    order: Sequence[Node], hints: Mapping[str, Hint], types: dict[Value, TensorType], default: DType
) -> bool:
    """When nothing else helps: variables that meet known arrays element by element have their
    shape. This is what MXNet's `+` on symbols promises, where `simple_bind(a=...)` fixes `b`."""
    for node in order:
        before = len(types)
        if getattr(node.op, "family", None) is Family.CONTROL:
            _fill_from_graphs(node, hints, types, default, match=True)
            if len(types) > before:
                return True
        if not _works_by_element(node):
            continue
        operands = [*map(_before_casts, node.inputs)]
        known = [types[v] for v in operands if v in types and not types[v].weak]
        if not known or len({t.shape for t in known}) > 1:
            continue
        stack = [v for v in operands if v not in types]
        while stack:
            value = stack.pop()
            if value.node.op is VARIABLE and value not in types:
                _learn(value, known[0], node, hints, types, default)
            elif _works_by_element(value.node):
                stack.extend(v for v in map(_before_casts, value.node.inputs) if v not in types)
        if len(types) > before:
            return True
    return False


def _before_casts(value: Value) -> Value:
    """What has its shape, behind operators that keep shapes."""
    while getattr(value.node.op, "keeps_shapes", False):
        value = value.node.inputs[value.index]
    return value


def _works_by_element(node: Node) -> bool:
    family = getattr(node.op, "family", None)
    return family is Family.ELEMENTWISE or getattr(node.op, "name", "").startswith("elemwise_")
