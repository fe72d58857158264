"""What the place of an expression depends on: what it mentions, and what it reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon.loop.grammar import Apply, Axis, Buffer, Const, Expr, Load, Local, Slot, walk


class Facts:
    """What an expression mentions: axes and locals by name, its loads, whether one of them is of
    a written buffer; and, of its loads and the selects that have some, what is needed whatever
    its selects decide."""

    __slots__ = ("certain", "loads", "names", "volatile")

    def __init__(
        self,
        names: frozenset[str],
        loads: frozenset[Load],
        certain: frozenset[Expr],
        volatile: bool,
    ) -> None:
        self.names = names
        self.loads = loads
        self.certain = certain
        self.volatile = volatile


_CONNECTIVES = frozenset(("and", "or", "xor", "not"))
_NO_NAMES: frozenset[str] = frozenset()
_NO_LOADS: frozenset[Load] = frozenset()
_NONE: frozenset[Expr] = frozenset()
_NOTHING = Facts(_NO_NAMES, _NO_LOADS, _NONE, False)


def _union(a: frozenset[Any], b: frozenset[Any]) -> frozenset[Any]:
    return a | b if a and b and a is not b else a or b


class Analysis:
    """The facts of expressions, each found once."""

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self.known: dict[Expr, Facts] = {}
        self._written = frozenset(i for i, b in enumerate(buffers) if b.role != "in")
        self._of_data: dict[Expr, bool] = {}
        self._of_axes: dict[Load, bool] = {}

    def of(self, expr: Expr) -> Facts:
        known = self.known
        found = known.get(expr)
        if found is not None:
            return found
        stack = [expr]
        while stack:
            node = stack[-1]
            operands = node.operands
            missing = [operand for operand in operands if operand not in known]
            if missing:
                stack += missing
                continue
            stack.pop()
            if node not in known:
                known[node] = self._find_facts(node, [known[operand] for operand in operands])
        return known[expr]

    def _find_facts(self, node: Expr, parts: Sequence[Facts]) -> Facts:
        if not parts:
            if isinstance(node, (Axis, Local)):
                return Facts(frozenset((node.name,)), _NO_LOADS, _NONE, False)
            return _NOTHING
        if isinstance(node, Load):
            (index,) = parts
            own = frozenset((node,))
            volatile = index.volatile or node.buffer in self._written
            return Facts(index.names, index.loads | own, index.certain | own, volatile)
        # Most operands mention nothing, or nothing new: the sets are shared then.
        names, loads, certain, volatile = _NO_NAMES, _NO_LOADS, _NONE, False
        for part in parts:
            names = _union(names, part.names)
            loads = _union(loads, part.loads)
            certain = _union(certain, part.certain)
            volatile = volatile or part.volatile
        if loads and isinstance(node, Apply) and node.function == "select":
            certain = parts[0].certain | (parts[1].certain & parts[2].certain)
            if self._is_of_data(node.operands[0]):
                either = parts[1].certain | parts[2].certain
                certain |= {
                    part
                    for part in either - certain
                    if isinstance(part, Load) and self._is_of_axes(part)
                }
            certain |= {node}
        return Facts(names, loads, certain, volatile)

    def _is_of_data(self, condition: Expr) -> bool:
        """Whether every comparison in a condition is of something that was loaded or summed up."""
        found = self._of_data.get(condition)
        if found is None:
            compared: list[Expr] = []
            parts, seen = [condition], {condition}
            while parts:
                part = parts.pop()
                if isinstance(part, Apply) and part.function in _CONNECTIVES:
                    parts += [operand for operand in part.operands if operand not in seen]
                    seen.update(part.operands)
                else:
                    compared.append(part)
            found = self._of_data[condition] = all(
                any(isinstance(node, (Load, Local)) for node in walk(part)) for part in compared
            )
        return found

    def _is_of_axes(self, load: Load) -> bool:
        """Whether its index is arithmetic on axes and numbers, and on nothing else."""
        found = self._of_axes.get(load)
        if found is None:
            found = self._of_axes[load] = all(
                isinstance(node, (Const, Slot, Axis, Apply)) and node.dtype.kind in "ib"
                for node in walk(load.index)
            )
        return found
