"""The scalar functions of the loop language, each in one row: how it is typed, what it means, what
it costs. Rows here are what a target has instructions for (which ones, is a table of the target);
an elementary function stands with its expansion into these in `loop/mathematics/`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from tigon.base.dtypes import DType
from tigon.base.errors import InternalError
from tigon.base.frozen import Frozen, replace
from tigon.loop.semantics import (
    convert,
    fused_multiply_add,
    high_product,
    shift,
    truncated_quotient,
)

Expansion = TypeVar("Expansion", bound=Callable[..., Any])


class Function(Frozen):
    name: str
    arity: int
    kinds: str
    """Kinds of the operands' common dtype: any of 'f', 'i', 'u', 'b'."""
    numpy: Callable[..., Any]
    """On arrays; where the result is given, its dtype comes last."""
    result: str = "same"
    """Its dtype: "same" as the operands', "bool", or "given" by the Apply."""
    exact: bool = True
    """There is one right answer to the bit; folding a constant through it changes nothing."""
    commutes: bool = False
    moves: bool = False
    """It does no arithmetic: its operands may be floats that are narrower than float32."""
    price: float = 1.0
    """In instructions, about."""
    expansion: Callable[..., Any] | None = None
    """Of an elementary function: `(*operands, form)` is the same in functions without one."""
    ulp: tuple[float, float] | None = None
    """Bounds for float32 and float64 in units in the last place of the exact result."""
    note: str = ""
    """On the bounds, for the documentation."""
    fixed: tuple[float, ...] | None = ()
    """Numbers as operands that decide the code; all others are given at launch. None: all are."""

    @property
    def costly(self) -> bool:
        """Rather read its result again than compute it again."""
        return self.price >= 6


FUNCTIONS: dict[str, Function] = {}
"""By name. What has an expansion arrives at a backend written out (`loop/expand.py`)."""


def declare(function: Function) -> None:
    if function.name in FUNCTIONS:
        raise InternalError(f"loop.{function.name}: there is such a function already")
    FUNCTIONS[function.name] = function


def elementary(
    name: str,
    numpy: Callable[..., Any],
    *,
    ulp: tuple[float, float],
    note: str = "",
    commutes: bool = False,
    price: float = 50.0,
    fixed: tuple[float, ...] | None = None,
) -> Callable[[Expansion], Expansion]:
    """Declares a function of floats by its expansion: `(*operands, form)` gives an expression of
    the operands' dtype, float32 or float64 as `form` says. `numpy` is called with long doubles, so
    that the oracle is right to half a unit for both."""

    def register(expansion: Expansion) -> Expansion:
        arity = expansion.__code__.co_argcount - 1
        row = Function(name, arity, "f", numpy, exact=False, commutes=commutes, price=price)
        declare(replace(row, expansion=expansion, ulp=ulp, note=note, fixed=fixed))
        return expansion

    return register


def evaluate(function: str, operands: tuple[Any, ...], dtype: DType) -> Any:
    """`function` of numpy arrays (or scalars) of the operands' dtypes, as an array of `dtype`: the
    one definition that constant folding, the interpreter and the tests share. Slow and plain; no
    kernel runs through it.

    >>> from tigon.base.dtypes import int32
    >>> int(evaluate("floordiv", (np.int32(-7), np.int32(2)), int32))
    -4
    """
    row = FUNCTIONS[function]
    arrays = tuple(np.asarray(operand) for operand in operands)
    with np.errstate(all="ignore"):
        if row.result == "given":
            return row.numpy(*arrays, dtype)
        if row.expansion is not None:
            arrays = tuple(array.astype(np.longdouble) for array in arrays)
        return np.asarray(row.numpy(*arrays)).astype(dtype.numpy, copy=False)


_F, _N, _A = "f", "fiu", "fiub"
for _row in (
    # arithmetic; integers wrap; integer x // 0 and x % 0 are 0
    Function("add", 2, _N, np.add, commutes=True),
    Function("sub", 2, _N, np.subtract),
    Function("mul", 2, _N, np.multiply, commutes=True),
    Function("mulhi", 2, "u", high_product, commutes=True, price=7),  # of twice the bits
    Function("floordiv", 2, _N, np.floor_divide),
    Function("mod", 2, _N, np.mod),
    Function("div", 2, _F, np.divide, price=6),
    Function("fmod", 2, _N, np.fmod, price=60),  # sign of the dividend, as C
    Function("truncdiv", 2, "iu", truncated_quotient),  # rounds towards zero, as C
    Function("neg", 1, _N, np.negative),
    Function("abs", 1, _N, np.abs),
    # only inside contractions and mathematical functions; numpy has none that is exact everywhere
    Function("fma", 3, _F, fused_multiply_add, exact=False, fixed=None),
    # rounded twice where the machine has no instruction
    Function("multiply_add", 3, _F, fused_multiply_add, exact=False, fixed=None),
    # NaN propagates through both
    Function("maximum", 2, _A, np.maximum, commutes=True),
    Function("minimum", 2, _A, np.minimum, commutes=True),
    # comparison and logic
    Function("eq", 2, _A, np.equal, "bool", commutes=True),
    Function("ne", 2, _A, np.not_equal, "bool", commutes=True),
    Function("lt", 2, _A, np.less, "bool"),
    Function("le", 2, _A, np.less_equal, "bool"),
    Function("gt", 2, _A, np.greater, "bool"),
    Function("ge", 2, _A, np.greater_equal, "bool"),
    Function("and", 2, "iub", np.bitwise_and, commutes=True),
    Function("or", 2, "iub", np.bitwise_or, commutes=True),
    Function("xor", 2, "iub", np.bitwise_xor, commutes=True),
    Function("not", 1, "iub", np.invert),
    Function("shl", 2, "iu", shift(np.left_shift)),
    Function("shr", 2, "iu", shift(np.right_shift)),  # arithmetic for signed, logical for unsigned
    Function("select", 3, _A, np.where, moves=True),  # (condition: bool, if true, if false)
    # (condition: bool, given, if true, if false), a select whose condition holds for hardly any
    # element: a backend may look first, and compute the third from `given` only where it must
    Function(
        "seldom",
        4,
        _A,
        lambda condition, given, then, other: np.where(condition, then, other),
        moves=True,
    ),
    # float -> int truncates and saturates, NaN -> 0
    Function("cast", 1, _A, convert, "given", price=2, moves=True),
    # same size
    Function("bitcast", 1, _N, lambda a, dtype: a.view(dtype.numpy), "given"),
    # rounding
    Function("floor", 1, _F, np.floor),
    Function("ceil", 1, _F, np.ceil),
    Function("trunc", 1, _F, np.trunc),
    Function("rint", 1, _F, np.rint),  # half to even
    Function("sqrt", 1, _F, np.sqrt, price=8),
):
    declare(_row)
