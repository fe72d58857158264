"""From lists of names to a policy of casts."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from types import ModuleType
from typing import Any

from tigon.base import TigonError, check
from tigon.base.dtypes import DType, as_dtype, bfloat16, float16, float32
from tigon.contrib.amp.lists import symbol_bf16, symbol_fp16
from tigon.ir.graph import Graph, nodes_within
from tigon.ops import record
from tigon.ops.attributes import attr_fields
from tigon.ops.casting import WIDEST, Policy, Rule
from tigon.ops.record import Family
from tigon.runtime.counters import falls_short

Conditional = Sequence[tuple[str, str, Sequence[str]]]

CUSTOM = "Custom"
"""The name of all records of operators in Python, which are in no registry."""

_ITS_OWN = ("Cast", "amp_cast", "amp_multicast")
"""Their dtype is what they are about."""


def narrow_dtype(where: str, given: Any) -> DType:
    """float16 or bfloat16, by name or as numpy's type."""
    dtype = None
    if isinstance(given, (str, type, DType)) or hasattr(given, "itemsize"):
        try:
            dtype = as_dtype(given)
        except Exception:  # what it is, is told below
            dtype = None
    check(
        dtype in (float16, bfloat16),
        where,
        f"target_dtype: expected 'float16' or 'bfloat16'; given {given!r:.80}",
    )
    assert dtype is not None
    return dtype


class Lists:
    """The default lists of a dtype."""

    def __init__(self, dtype: DType) -> None:
        module: ModuleType = symbol_fp16 if dtype is float16 else symbol_bf16
        prefix = "FP16" if dtype is float16 else "BF16"
        self.low: list[str] = getattr(module, f"{prefix}_FUNCS")
        self.either: list[str] = getattr(module, f"{prefix}_FP32_FUNCS")
        self.float32: list[str] = module.FP32_FUNCS
        self.conditional: list[tuple[str, str, list[str]]] = module.CONDITIONAL_FP32_FUNCS
        self.widest: list[str] = module.WIDEST_TYPE_CASTS
        self.losses: list[str] = module.LOSS_OUTPUT_FUNCTIONS
        self.float32_operands: dict[str, list[str]] | None = getattr(
            module, f"{prefix}_USE_FP32_PARAMS", None
        )


def policy_of(
    where: str,
    dtype: DType,
    low: Any,
    low_name: str,
    conditional: Any,
    float32_ops: Any,
    trains: bool = False,
) -> Policy:
    """The policy of given lists; None stands for the default one. `trains`: losses will be
    scaled."""
    lists = Lists(dtype)
    wide = lists.float32 if float32_ops is None else float32_ops
    named = {
        low_name: _names(where, low_name, lists.low if low is None else low),
        "fp32_ops": _names(where, "fp32_ops", wide),
    }
    said = _conditions(where, lists.conditional if conditional is None else conditional)
    named["conditional_fp32_ops"] = list(said)
    _check_apart(where, named)
    # PReLU has an operand that the other forms of LeakyReLU lack.
    either = [*lists.widest, *(name for name, _, _ in lists.conditional)]
    rules: dict[str, Rule] = {name: WIDEST for name in either}
    rules |= dict.fromkeys(lists.losses, float32)
    rules |= dict.fromkeys(named["fp32_ops"], float32) | dict.fromkeys(named[low_name], dtype)
    rules |= dict.fromkeys(said, WIDEST)
    losses = lists.losses if trains and dtype is float16 else ()
    return Policy(dtype, rules, said, frozenset(losses), _tell)


def _tell(name: str) -> None:
    falls_short(
        f"amp: the gradient of {name} is its own, and scale_loss does not reach it; use a loss of "
        "gluon.loss, or give grad_scale"
    )


def _names(where: str, what: str, given: Any) -> list[str]:
    """Names of records, of a list of names that an operator has."""
    check(
        isinstance(given, (list, tuple)) and all(isinstance(name, str) for name in given),
        where,
        f"{what}: expected a list of names of operators; given {given!r:.80}",
    )
    unknown = [name for name in given if not (name == CUSTOM or record.is_known(name))]
    check(
        not unknown,
        where,
        f"{what}: expected names of operators; there is no {', '.join(map(repr, unknown))}; "
        "tigon.ops.names() lists them",
    )
    found = [name if name == CUSTOM else record.get(name).name for name in given]
    fixed = [name for name in found if name != CUSTOM and _stays(name)]
    check(
        not fixed,
        where,
        f"{what}: expected operators that compute; {', '.join(fixed)} converts, controls or "
        "updates arrays in place, and takes what it is given; leave it out",
    )
    return found


def _stays(name: str) -> bool:
    op = record.get(name)
    return name in _ITS_OWN or op.overwrites or op.family is Family.CONTROL


def _conditions(where: str, given: Any) -> dict[str, tuple[tuple[str, frozenset[str]], ...]]:
    found: dict[str, tuple[tuple[str, frozenset[str]], ...]] = {}
    what = "conditional_fp32_ops"
    rows = list(given) if isinstance(given, (list, tuple)) else [given]
    for row in rows:
        check(
            isinstance(row, (list, tuple))
            and len(row) == 3
            and all(isinstance(text, str) for text in row[:2])
            and isinstance(row[2], (list, tuple)),
            where,
            f"{what}: expected a list of (operator, attribute, list of values); given {row!r:.80}",
        )
        (name,) = _names(where, what, [row[0]])
        fields = () if name == CUSTOM else tuple(attr_fields(record.get(name).attrs_type))
        check(
            row[1] in fields,
            where,
            f"{what}: {row[0]} has no attribute {row[1]!r}; it has: {', '.join(fields) or 'none'}",
        )
        found[name] = (*found.get(name, ()), (row[1], frozenset(map(str, row[2]))))
    return found


def _check_apart(where: str, named: dict[str, list[str]]) -> None:
    seen: dict[str, str] = {}
    for what, names in named.items():
        for name in dict.fromkeys(names):
            check(
                name not in seen,
                where,
                f"{name} is in {seen.get(name)} and in {what}; give both lists, with each operator "
                "in one of them at most (what is not given is the default list)",
            )
            seen[name] = what


def names_given(where: str, what: str, of: str, given: Any) -> frozenset[str]:
    """Names of nodes that stay as they are, or of inputs; None stands for none."""
    names: Iterable[Any] = () if given is None else given
    check(
        isinstance(names, (list, tuple, set, frozenset)) and all(isinstance(n, str) for n in names),
        where,
        f"{what}: expected a list of names of {of}; given {given!r:.80}",
    )
    return frozenset(names)


def check_known(
    where: str, what: str, kind: str, names: Iterable[str], known: Collection[str]
) -> None:
    """Raise for names that nothing has: a typing error would leave them without effect."""
    for name in sorted(set(names) - set(known)):
        near = difflib.get_close_matches(name, known, 1)
        step = f"did you mean {near[0]!r}?" if near else "debug_str() of the symbol shows them all"
        raise TigonError(f"{where}: {what}: there is no {kind} {name!r}; {step}")


def names_within(graph: Graph) -> set[str]:
    """The names of all nodes, those of bodies and branches included."""
    return {one.name for node in graph.nodes for one in (node, *nodes_within(node)) if one.name}
