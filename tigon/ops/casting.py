"""Casts around operators, by a table: what automatic mixed precision does.

A policy says of each operator in which floats it computes: narrow ones, float32, or the widest
among its operands. There is one place for each way in: where a node is made of symbols
(`sym/symbol.py`), where an imperative call is compiled (`program/operators.py`), and a pass for
graphs that are there already (`passes/insert_casts.py`). All of them ask `cast_operands`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tigon.base import TensorType, as_dtype
from tigon.base.dtypes import DType, bfloat16, float16, float32, rounded
from tigon.base.frozen import Frozen, fields
from tigon.ir.graph import CONSTANT, Node, Value, constant, variable
from tigon.ops.mxnet import amp_cast, amp_multicast
from tigon.ops.record import Family, Operator

WIDEST = "widest"
"""The rule of operators whose operands must be of one dtype: that of the widest."""

Rule = DType | str | None
"""In which floats an operator computes; None: in those that it is given."""

Make = Callable[[Operator, tuple[Value, ...], Any, str], Sequence[Value]]
"""Makes a node of (operator, inputs, attributes, name) and gives its outputs."""

CASTABLE = (float16, bfloat16, float32)
"""Of float64 nobody knows that it may be less."""


class Policy(Frozen, eq=False):
    """Which operators compute in which floats."""

    target: DType
    rules: Mapping[str, Rule]
    """By the name of the record."""
    conditional: Mapping[str, tuple[tuple[str, frozenset[str]], ...]]
    """Operators that compute in float32 if one of these attributes has one of these values."""
    told: frozenset[str] = frozenset()
    tell: Callable[[str], None] | None = None
    """Called with the name of an operator that is met and is to be `told`."""

    def rule(self, op: Operator, attrs: Any) -> Rule:
        """What holds for a call under these attributes."""
        if op.name in self.told and self.tell is not None:
            self.tell(op.name)
        for name, values in self.conditional.get(op.name, ()):
            if str(getattr(attrs, name, None)) in values:
                return float32
        return self.rules.get(op.name)

    def imperative(self, op: Operator, attrs: Any) -> Operator:
        """What an imperative call of an operator computes: it, or a composite of it and casts."""
        rule = self.rule(op, attrs)
        return op if rule is None else _with_casts(op, rule)


_policy: list[Policy | None] = [None]


def current() -> Policy | None:
    """The policy of this process, if there is one."""
    return _policy[0]


def install(policy: Policy | None) -> None:
    """Let it hold for what is called, composed and traced from now on. Whoever installs it sees to
    it that nothing older is served from caches."""
    _policy[0] = policy


def mixes(*dtypes: Any) -> bool:
    """Whether operators bring operands of these dtypes to one, as layers need not demand it."""
    return _policy[0] is not None and all(as_dtype(dtype) in CASTABLE for dtype in dtypes)


# ---------------------------------------------------------------------------- of one call


def cast_operands(
    rule: Rule, op: Operator, attrs: Any, values: Sequence[Value], make: Make, name: str = ""
) -> tuple[Value, ...]:
    """The operands of a call with the casts that a rule puts before them. Where types are known,
    nothing is cast that has its dtype already."""
    if rule is None:
        return tuple(values)
    if rule == WIDEST:
        return _to_widest(op, attrs, values, make, name)
    assert isinstance(rule, DType)
    places = range(len(values)) if rule is float32 else _beside_first(op, attrs, len(values))
    known = [dtype_of(values[place]) for place in places]
    if rule is not float32 and not all(dtype is None or dtype in CASTABLE for dtype in known):
        return tuple(values)  # what is beside it must be so, too
    result = _with_rounded_numbers(values) if rule is float32 else list(values)
    for place in places:
        if _may_be_cast(op, place, rule):
            result[place] = cast_value(result[place], rule, make)
    return tuple(result)


def _with_rounded_numbers(values: Sequence[Value]) -> list[Value]:
    """A number beside narrow floats is one of these, as it is where an imperative call takes it."""
    arrays = [value for value in values if not _is_number(value)]
    if not arrays or not arrays[0].is_typed or not arrays[0].dtype.is_narrow:
        return list(values)
    return [_rounded(value, arrays[0].dtype) for value in values]


def _rounded(value: Value, dtype: DType) -> Value:
    held = value.node.attrs.value if value.node.op is CONSTANT and _is_number(value) else None
    if not isinstance(held, (bool, int, float)):
        return value
    return constant(float(rounded(np.array(held), dtype)))


def _may_be_cast(op: Operator, place: int, dtype: DType) -> bool:
    """Not states, which are written back, nor keys; and statistics, which are float32 beside
    narrower floats, to nothing else."""
    operand = op.operands[min(place, len(op.operands) - 1)]
    stays = operand.name in op.statistics and dtype is not float32
    return not (operand.auxiliary or operand.random_key or stays)


def _beside_first(op: Operator, attrs: Any, count: int) -> list[int]:
    """The operands that have the dtype of the first one: lengths and positions stay."""
    for alike in op.alike(attrs):
        members = op.members(alike, count)
        if 0 in members:
            return members
    return [0] if count else []


def _is_number(value: Value) -> bool:
    if value.node.op is CONSTANT:
        return bool(value.node.attrs.weak)
    return value.is_typed and value.type.weak


def dtype_of(value: Value) -> DType | None:
    """As far as it is known: without types, that of what was cast."""
    if value.is_typed:
        dtype: DType = value.dtype
        return dtype
    node = value.node
    return _named(node.attrs.dtype) if node.op is amp_cast else None


def _named(name: str) -> DType | None:
    return next((dtype for dtype in CASTABLE if dtype.name == name), None)


def cast_value(value: Value, dtype: DType, make: Make) -> Value:
    known = dtype_of(value)
    if _is_number(value) or known is dtype or (value.is_typed and known not in CASTABLE):
        return value
    attrs = amp_cast.make_attrs({"dtype": dtype.name})
    name = f"{value.node.name or value.node.op.name}_amp_cast"
    return make(amp_cast, (value,), attrs, name)[0]


def _to_widest(
    op: Operator, attrs: Any, values: Sequence[Value], make: Make, name: str
) -> tuple[Value, ...]:
    result = list(values)
    for alike in op.alike(attrs):
        places = [p for p in op.members(alike, len(values)) if not _is_number(values[p])]
        known = [dtype_of(values[place]) for place in places]
        if len(places) < 2 or len({values[place] for place in places}) == 1:
            continue
        if None in known:
            if not _of_one_multicast([values[place] for place in places]):
                made = _multicast([values[place] for place in places], make, name or op.name)
                for place, value in zip(places, made, strict=True):
                    result[place] = value
        elif len(set(known)) > 1 and all(dtype in CASTABLE for dtype in known):
            for place in places:
                result[place] = cast_value(values[place], float32, make)
    return tuple(result)


def _of_one_multicast(values: Sequence[Value]) -> bool:
    return values[0].node.op is amp_multicast and len({value.node for value in values}) == 1


def _multicast(values: Sequence[Value], make: Make, name: str) -> Sequence[Value]:
    attrs = amp_multicast.make_attrs({"num_outputs": len(values)})
    return make(amp_multicast, tuple(values), attrs, f"{name}_amp_multicast")


# ------------------------------------------------------------------- of imperative calls

_made: dict[tuple[Operator, str], Operator] = {}
_called: dict[Operator, tuple[Operator, Rule]] = {}


def called(op: Operator) -> tuple[Operator, Rule]:
    """The operator that the user has called, behind one with casts around it, and their rule."""
    return _called.get(op, (op, None))


class _WithCasts(Operator, eq=False):
    """What it is made of says what is refused: the operator behind the casts."""

    def infer_types(self, attrs: Any, types: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        self.check_operand_count(len(types))
        found: tuple[TensorType, ...] = self.rule(self.infer, attrs, *types)
        return found


def _with_casts(op: Operator, rule: Rule) -> Operator:
    """The operator and the casts before it, as one. Its name tells what it computes: compiled
    programs are found by names."""
    key = (op, str(rule))
    found = _made.get(key)
    if found is not None:
        return found

    def decompose(*arguments: Any) -> tuple[Value, ...]:
        attrs = arguments[0] if op.has_attrs else op.make_attrs({})
        operands = arguments[1:] if op.has_attrs else arguments
        return Node(op, cast_operands(rule, op, attrs, operands, plain), attrs).outputs

    def infer(*arguments: Any) -> tuple[TensorType, ...]:
        attrs, types = arguments[: op.has_attrs], arguments[op.has_attrs :]
        operands = [variable(f"operand{number}", type_) for number, type_ in enumerate(types)]
        return tuple(value.type for value in decompose(*attrs, *operands))

    changes = {
        "name": f"{op.name}_in_{rule}",
        "family": Family.COMPOSITE,
        "aliases": (),
        "infer": infer,
        "decompose": decompose,
        "dtypes": {},
        "grad": None,
        "widens": False,
        "shares_memory": False,
    }
    found = _WithCasts(**{**{name: getattr(op, name) for name in fields(op)}, **changes})
    _called[found] = (op, rule)
    return _made.setdefault(key, found)


def plain(op: Operator, inputs: tuple[Value, ...], attrs: Any, name: str) -> Sequence[Value]:
    """The outputs of a node, for graphs that nobody traces."""
    return Node(op, inputs, attrs, name).outputs
