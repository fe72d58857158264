"""From a call on arrays to the native runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import TensorType, TigonError, check
from tigon.base.dtypes import BY_CODE, DType, float32, to_memory
from tigon.base.errors import user_line
from tigon.base.frozen import replace
from tigon.base.unread import Unread
from tigon.context import context_in
from tigon.ir.graph import constant
from tigon.ops import casting, record
from tigon.ops.attributes import attr_fields
from tigon.ops.mxnet import amp_cast
from tigon.ops.record import Effect, Operator
from tigon.ops.signature import Signature
from tigon.program.operators import (
    attributes_id,
    cache_of_numbers,
    call_id,
    operator_id,
    remember,
)
from tigon.runtime import tracing
from tigon.runtime.tracing import instead_of, is_sparse

NDArray = _native.NDArray

PLAIN = frozenset((NDArray, float, int, bool))
_CACHEABLE = (int, float, str, bool, tuple, type(None))


def apply(op: Operator, attrs: Any, operands: Sequence[Any], out: Any = None) -> Any:
    """Run an operator on arrays and numbers; with a symbol among them, or while a block is
    traced, make it part of the graph instead."""
    if tracing.active[0] and op.overwrites:
        what = f"updates arrays in place by {op.name}"
        operands, out = tracing.needs_arrays(what, (tuple(operands), out))
    given = list(operands)
    while given and given[-1] is None:
        given.pop()
    arrays = False
    for position, operand in enumerate(given):
        kind = type(operand)
        if kind is NDArray:
            arrays = True
        elif kind not in PLAIN:
            if is_sparse(operand):
                return operand.apply_stored(op, attrs, given, out)
            if hasattr(operand, "apply_op"):
                result = operand.apply_op(op, attrs, given)
                return result if out is None else _written(op, out, result)
            given[position] = _number(op, position, operand)
    symbolic = tracing.symbolic()
    if symbolic is not None and (out is None or _holds_symbols(out)):
        result = symbolic(op, attrs, given)
        return result if out is None else _written(op, out, result)
    if op.effect is not Effect.NONE:
        from tigon.program.host import call_host  # most programs have no such operators

        policy = casting.current()
        if policy is not None:
            given = _cast_arrays(policy.rule(op, attrs), op, given)
        return call_host(op, attrs, given, out)
    return _invoke(op, attrs, given, out, arrays)


def _invoke(op: Operator, attrs: Any, given: list[Any], out: Any, arrays: bool) -> Any:
    """`arrays`: whether there are any among the operands."""
    signature = signature_of(op)
    if signature.selects and len(given) == 3:
        _lift_branches(given)
    if not arrays and signature.names and not any(o.optional for o in op.operands):
        _check_any_array(op, given)
    if signature.trains and not attrs.training and _native.is_training():
        attrs = replace(attrs, training=True)
    if op.mutates:
        op, attrs, given = _rates_as_operands(op, attrs, given)
    result = _native.invoke(call_id(op), attributes_id(attrs), given, out)
    return list(result) if type(result) is tuple else result


def _cast_arrays(rule: Any, op: Operator, given: Sequence[Any]) -> list[Any]:
    """The operands of Python code in the floats that it is to compute in."""
    if not isinstance(rule, DType):
        return list(given)
    return [
        amp_cast(array, dtype=rule.name)
        if BY_CODE[array.dtype_code] in casting.CASTABLE
        and array.dtype_code != rule.code
        and not operand.auxiliary
        else array
        for operand, array in zip(op.operands, given, strict=False)
    ]


def run_node(op: Operator, attrs: Any, operands: Sequence[Any]) -> list[Any]:
    """Run one node of a graph as it is: mode and random key are settled. All outputs, visible or
    not."""
    if signature_of(op).selects:
        operands = list(operands)
        _lift_branches(operands)
    outputs: list[Any] = []
    count = op.output_count(attrs)
    if count == op.visible_count(attrs):
        result = _native.invoke(operator_id(op), attributes_id(attrs), operands)
        return list(result) if type(result) is tuple else [result]
    types = op.infer_types(attrs, tuple(_type(operand) for operand in operands))
    device = _device_of(operands)
    outputs = [_native.empty(t.shape, t.dtype.code, device) for t in types]
    _native.invoke(operator_id(op), attributes_id(attrs), operands, outputs)
    return outputs


def _device_of(operands: Sequence[Any]) -> int:
    """Where a call on these computes."""
    found = context_in(operands)
    return _native.current_device() if found is None else found.index


def _type(operand: Any) -> TensorType:
    if type(operand) is NDArray:
        return TensorType(operand.shape, BY_CODE[operand.dtype_code])
    return constant(operand).type


def _check_any_array(op: Operator, given: Sequence[Any]) -> None:
    least = sum(not (o.optional or o.variadic or o.random_key) for o in op.operands)
    if len(given) < least:
        op.check_operand_count(len(given))


def _lift_branches(given: list[Any]) -> None:
    """`where(condition, number, x)`: the number takes the dtype of x, not of the condition."""
    branches = [operand for operand in given[1:] if type(operand) is NDArray]
    if len(branches) == 2:
        return
    code = branches[0].dtype_code if branches else float32.code
    for position in (1, 2):
        if type(given[position]) is not NDArray:
            lifted = _native.empty((), code, _device_of(given))
            lifted.copy_from_numpy(to_memory(np.array(given[position]), BY_CODE[code]))
            given[position] = lifted


_signatures: dict[Operator, Signature] = {}


def signature_of(op: Operator) -> Signature:
    found = _signatures.get(op)
    if found is None:
        found = _signatures[op] = Signature(op)
    return found


def _holds_symbols(out: Any) -> bool:
    """Whether a traced program has made what is to be written."""
    return any(hasattr(o, "_assign") for o in (out if isinstance(out, (list, tuple)) else [out]))


def _written(op: Operator, out: Any, result: Any) -> Any:
    """`out=` in traced code: the symbol that stands for an array gets the result as its value."""
    targets = list(out) if isinstance(out, (list, tuple)) else [out]
    values = list(result) if len(targets) > 1 else [result]
    for target, value in zip(targets, values, strict=True):
        own = hasattr(target, "_assign")
        check(
            own or tracing.give_way(f"it overwrites an array (out=) at {user_line()}"),
            op.name,
            "out= is an array that the traced program has not made, which would be overwritten "
            "once and not at every call; leave out= away, or make it with nd.zeros inside the "
            "program",
        )
        check(
            target.shape == value.shape,
            op.name,
            f"out= expects shape {value.shape}; given {target.shape}",
        )
        if own:
            target._assign(f"{op.name}(out=...)", value)
        else:
            target[:] = tracing.concrete(value, "out=")
    return out


def _number(op: Operator, position: int, operand: Any) -> Any:
    if isinstance(operand, Unread):
        operand = operand.value()
        if type(operand) in PLAIN:
            return operand
    if isinstance(operand, np.generic):
        return operand.item()
    name = op.operands[min(position, len(op.operands) - 1)].name if op.operands else position
    raise TigonError(
        f"{op.name}: operand '{name}': expected an NDArray or a number; given "
        f"{type(operand).__name__}; {instead_of(operand)}"
    )


_by_rates: dict[Operator, tuple[Operator, tuple[str, ...], tuple[str, ...]] | None] = {}


def _has_rates(op: Operator) -> bool:
    """Whether there is a form of an optimizer's update that takes learning rates as operands."""
    if op not in _by_rates:
        sibling = record.get(f"_{op.name}") if f"_{op.name}" in record.names() else None
        _by_rates[op] = None
        if sibling is not None and op.mutates and sibling.mutates == op.mutates:
            rates = tuple(o.name for o in sibling.operands[len(op.operands) :])
            _by_rates[op] = (sibling, rates, tuple(attr_fields(sibling.attrs_type)))
    return _by_rates[op] is not None


def _rates_as_operands(
    op: Operator, attrs: Any, given: list[Any]
) -> tuple[Operator, Any, list[Any]]:
    """An update in that form: a schedule of a thousand rates is then one program and not a
    thousand."""
    found = _by_rates[op] if _has_rates(op) else None
    if found is None or len(given) != len(op.operands):
        return op, attrs, given
    sibling, rates, fields = found
    own = sibling.attrs_type(**{name: getattr(attrs, name) for name in fields})
    return sibling, own, [*given, *(getattr(attrs, name) for name in rates)]


def make_function(op: Operator, name: str) -> Callable[..., Any]:
    """The imperative function of one operator under one of its names."""
    signature = signature_of(op)
    count = 1_000_000 if signature.variadic else len(signature.names)
    identity, trains = call_id(op), signature.trains
    # Calls that need nothing but operands and attributes seen before take the short way.
    short = not (signature.selects or _has_rates(op))
    needed = bool(signature.names)
    interned = cache_of_numbers()
    invoke, is_training, active = _native.invoke, _native.is_training, tracing.active

    def function(*arguments: Any, out: Any = None, name: str | None = None, **keywords: Any) -> Any:
        if short and not active[0]:
            operands = arguments if len(arguments) <= count else arguments[:count]
            for operand in operands:
                if type(operand) not in PLAIN:
                    break
            else:
                mode = trains and is_training()
                if keywords or operands is not arguments:
                    extra = arguments[count:]
                    attributes = _intern(signature, interned, mode, extra, keywords)
                else:
                    attributes = interned.get(mode)
                    if attributes is None:
                        attributes = _intern(signature, interned, mode, (), keywords)
                if attributes is not None and (operands or not needed):
                    result = invoke(identity, attributes, operands, out)
                    return list(result) if type(result) is tuple else result
        given, values = signature.split(arguments, keywords)
        attrs = op.make_attrs(values)
        with signature.placed(keywords):
            return apply(op, attrs, signature.there(attrs, given), out)

    function.__name__ = function.__qualname__ = name
    function.__module__ = "tigon.nd.op"
    function.__doc__ = op.doc
    function.__signature__ = signature.python(("out", "name"))  # type: ignore[attr-defined]
    return function


def _intern(
    signature: Signature,
    interned: dict[Any, int],
    mode: bool,
    extra: tuple[Any, ...],
    keywords: dict[str, Any],
) -> int | None:
    """The number of these attributes, or None where the call needs the long way."""
    if not signature.own.isdisjoint(keywords):
        return None
    if not (extra or keywords):
        key: Any = mode
    elif signature.mixed:  # equal numbers of different types may mean different attributes
        kinds = tuple(map(repr, (*extra, *keywords.values())))
        key = (mode, extra, tuple(keywords.items()), kinds)
    elif signature.fractional and (0 in extra or 0 in keywords.values()):  # maybe -0.0
        zeros = [value for value in (*extra, *keywords.values()) if value == 0]
        key = (mode, extra, tuple(keywords.items()), *map(str, zeros))
    else:
        key = (mode, extra, tuple(keywords.items()))
    try:
        found = interned.get(key)
    except TypeError:  # a list, or a tuple of lists
        return None
    if found is None:
        if not all(isinstance(value, _CACHEABLE) for value in (*extra, *keywords.values())):
            return None
        padding = (None,) * (0 if signature.variadic else len(signature.names))
        _, values = signature.split((*padding, *extra), keywords)
        attrs = signature.op.make_attrs(values)
        if mode:
            attrs = replace(attrs, training=True)
        found = remember(interned, key, attributes_id(attrs))
    return found


_calls = cache_of_numbers()


def run(name: str, *operands: Any, out: Any = None, **attributes: Any) -> Any:
    """Run an operator by name; for the library's own calls, whose attributes are hashable, already
    checked and meant alike where they are equal, and whose operands are arrays and numbers."""
    key = (name, tuple(attributes.items()))
    found = _calls.get(key)
    if found is None:
        op = record.get(name)
        attrs = op.make_attrs(attributes)
        found = (op, attrs, call_id(op), attributes_id(attrs))
        remember(_calls, key, found)
    if tracing.active[0]:
        return apply(found[0], found[1], operands, out)
    return _native.invoke(found[2], found[3], operands, out)
