"""Arrays in lists: what loops and branches are given and give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tigon.base import DType, TensorType, TigonError, as_dtype, check
from tigon.base.dtypes import float32
from tigon.base.errors import add_place, line_of
from tigon.base.frozen import Frozen
from tigon.ops import casting
from tigon.ops.mxnet import amp_cast

DEEPEST = 32
"""Lists in lists that a loop or a branch is given, or gives."""


class CannotTrace(TigonError):
    """What runs in a loop or a branch does what no graph can hold."""


class Nest(Frozen, eq=False):
    """An array, or lists of arrays, which may hold lists."""

    leaves: tuple[Any, ...]
    shape: Any
    """None for an array, else a list of such shapes."""

    def rebuilt(self, leaves: Sequence[Any]) -> Any:
        """Others in the same structure; what was a tuple is a list, as in MXNet."""
        return _rebuilt(self.shape, iter(leaves))


def nested(where: str, what: str, given: Any) -> Nest:
    leaves: list[Any] = []
    shape = _shape_of(given, leaves, 0)
    check(shape is not _TOO_DEEP, where, f"{what}: expected lists at most {DEEPEST} deep")
    for leaf in leaves:
        check(
            hasattr(leaf, "apply_op"),
            where,
            f"{what}: expected arrays, or lists of them; given {type(leaf).__name__}",
        )
    return Nest(tuple(leaves), shape)


def pair(where: str, result: Any) -> tuple[Any, Any]:
    """What a body gives: outputs and states. None stands for no outputs."""
    check(
        isinstance(result, (list, tuple)) and len(result) == 2,
        where,
        f"expected (outputs, states) from the body; given {type(result).__name__}",
    )
    outputs, states = result
    return [] if outputs is None else outputs, states


def check_count(where: str, before: Nest, after: Nest) -> None:
    check(
        len(before.leaves) == len(after.leaves),
        where,
        f"expected {len(before.leaves)} states from the body, as many as it is given; given "
        f"{len(after.leaves)}",
    )


def check_types(where: str, before: Nest, after: Nest) -> None:
    """Of arrays: states keep theirs."""
    for number, (old, new) in enumerate(zip(before.leaves, after.leaves, strict=True)):
        check(
            old.shape == new.shape and old.dtype is new.dtype,
            where,
            f"state {number} comes in as {_described(old)} and leaves the body as "
            f"{_described(new)}; a state keeps its shape and dtype from iteration to iteration",
        )


def _described(array: Any) -> str:
    return str(TensorType(tuple(array.shape), as_dtype(array.dtype)))


def in_dtypes_of(before: Nest, after: Nest) -> Nest:
    """Under mixed precision, states as they came in: an operator of the body may have made them
    narrower. Those of symbols whose types nobody knows are float32."""
    if casting.current() is None:
        return after
    pairs = zip(before.leaves, after.leaves, strict=True)
    leaves = [_converted(new, _dtype_of(old) or float32) for old, new in pairs]
    return Nest(tuple(leaves), after.shape)


def in_float32(results: Nest) -> Nest:
    """Under mixed precision, what branches give: one of them may be narrower than the other."""
    if casting.current() is None:
        return results
    return Nest(tuple(_converted(leaf, float32) for leaf in results.leaves), results.shape)


def _dtype_of(leaf: Any) -> DType | None:
    values = getattr(leaf, "_values", None)  # of a symbol
    return as_dtype(leaf.dtype) if values is None else casting.dtype_of(values[0])


def _converted(leaf: Any, dtype: DType) -> Any:
    known = _dtype_of(leaf)
    fixed = dtype not in casting.CASTABLE or (known is not None and known not in casting.CASTABLE)
    return leaf if fixed or known is dtype else amp_cast(leaf, dtype=dtype.name)


class Iterations:
    """Errors within say which iteration it was, and in which line of the user's."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.number = 0

    def __enter__(self) -> Iterations:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            add_place(error, f"{self._where}: iteration {self.number} at {line_of(error)}")


def check_most(max_iterations: Any) -> int:
    check(
        isinstance(max_iterations, int) and max_iterations > 0,
        "while_loop",
        f"expected max_iterations, a whole number above 0; given {max_iterations!r}",
    )
    return int(max_iterations)


def _shape_of(item: Any, leaves: list[Any], depth: int) -> Any:
    if not isinstance(item, (list, tuple)):
        leaves.append(item)
        return None
    if depth == DEEPEST:
        return _TOO_DEEP
    found = [_shape_of(inner, leaves, depth + 1) for inner in item]
    return _TOO_DEEP if _TOO_DEEP in found else found


_TOO_DEEP = "too deep"


def _rebuilt(shape: Any, leaves: Iterator[Any]) -> Any:
    return next(leaves) if shape is None else [_rebuilt(inner, leaves) for inner in shape]
