"""`arange(infer_range=True)` without a stop: numbers of which there are as many as the array has
elements along its last axis that they meet, element by element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from tigon.base import TigonError
from tigon.ops import record
from tigon.ops.record import Family
from tigon.sym.symbol import Symbol


class OpenRange(Symbol):
    """A symbol whose extent is not known yet. What is applied to it alone is applied when it is;
    what needs to know it before says what is missing."""

    __slots__ = ("_over",)

    awaits_extent = True

    def __init__(self, over: Callable[[Any], Any]) -> None:
        """`over(other)` is the symbol for as many numbers as `other` has along its last axis."""
        self._over = over

    @classmethod
    def of(cls, start: float, step: float, repeat: int, dtype: str) -> OpenRange:
        attributes = {"start": start, "step": step, "repeat": repeat, "axis": -1}

        def over(other: Any) -> Any:
            like = record.get("Cast")(other, dtype=dtype)
            return record.get("_contrib_arange_like")(like, **attributes)

        return cls(over)

    def meet(self, op: Any, attrs: Any, operands: Sequence[Any]) -> Any:
        """An operator of which this is an operand."""
        if not _works_by_element(op):
            self._refuse(op.name.lstrip("_"))
        others = [o for o in operands if hasattr(o, "apply_op") and not _is_open(o)]
        if not others:
            return OpenRange(lambda other: _applied(op, attrs, operands, other))
        return _applied(op, attrs, operands, others[0])

    @property
    def _values(self) -> NoReturn:  # type: ignore[override]
        self._refuse("arange")

    def __repr__(self) -> str:
        return "<Symbol of arange(infer_range=True)>"

    @staticmethod
    def _refuse(where: str) -> NoReturn:
        raise TigonError(
            f"{where}: how many numbers arange(infer_range=True) has is told by an array that it "
            "meets element by element, in a sum or a comparison; give it a stop, or use "
            "contrib.arange_like(array, axis=...)"
        )


def _is_open(operand: Any) -> bool:
    return getattr(operand, "awaits_extent", False)


def _applied(op: Any, attrs: Any, operands: Sequence[Any], other: Any) -> Any:
    known = [o._over(other) if _is_open(o) else o for o in operands]
    symbol = next(o for o in known if hasattr(o, "apply_op"))
    return symbol.apply_op(op, attrs, known)


def _works_by_element(op: Any) -> bool:
    return (
        op.family is Family.ELEMENTWISE
        or op.name.startswith("elemwise_")
        or (op.name.endswith("_scalar"))
    )
