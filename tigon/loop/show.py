"""Readable text of expressions and nests, for `.kernels`, golden tests and error messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tigon.loop.functions import FUNCTIONS
from tigon.loop.grammar import (
    AnyNest,
    Apply,
    Buffer,
    Const,
    Contraction,
    Expr,
    Extern,
    Fail,
    Let,
    Load,
    LoopAxis,
    Reduce,
    Scan,
    Stmt,
    Store,
    walk,
)

_INFIX = {
    "mul": ("*", 7),
    "div": ("/", 7),
    "floordiv": ("//", 7),
    "mod": ("%", 7),
    "add": ("+", 6),
    "sub": ("-", 6),
    "shl": ("<<", 5),
    "shr": (">>", 5),
    "and": ("&", 4),
    "xor": ("^", 3),
    "or": ("|", 2),
    "lt": ("<", 1),
    "le": ("<=", 1),
    "gt": (">", 1),
    "ge": (">=", 1),
    "eq": ("==", 1),
    "ne": ("!=", 1),
}


def expression(expr: Expr, names: dict[Expr, str] | None = None) -> str:
    """One expression, infix; `names` stand for the subexpressions they are given for.

    >>> from tigon.loop import build as L
    >>> i = L.axis("i")
    >>> expression(L.mul(L.add(i, 1), L.select(L.lt(i, 3), i, 0)))
    '(i + 1) * select(i < 3, i, 0)'
    """
    return _text(expr, names or {}, 0, top=True)


def _text(expr: Expr, names: dict[Expr, str], level: int, top: bool = False) -> str:
    if expr in names and not top:
        return names[expr]
    texts: dict[Expr, str] = {}
    for node in walk(expr, names):
        texts[node] = _spelled(node, lambda part, level: _closed(part, names, texts, level))
    return _bracketed(expr, texts[expr], level)


def _closed(expr: Expr, names: dict[Expr, str], texts: dict[Expr, str], level: int) -> str:
    """A part of an expression, in brackets if it binds less than `level`."""
    return names[expr] if expr in names else _bracketed(expr, texts[expr], level)


def _bracketed(expr: Expr, text: str, level: int) -> str:
    if isinstance(expr, Const):
        return f"({text})" if text.startswith("-") and level else text
    infix = _INFIX.get(expr.function) if isinstance(expr, Apply) else None
    return f"({text})" if infix is not None and infix[1] < level else text


def _spelled(expr: Expr, part: Callable[[Expr, int], str]) -> str:
    """An expression, its operands being spelled by `part`."""
    if isinstance(expr, Const):
        return repr(expr.value)
    if isinstance(expr, Load):
        return f"b{expr.buffer}[{part(expr.index, 0)}]"
    if not isinstance(expr, Apply):
        return repr(expr)
    infix = _INFIX.get(expr.function)
    if infix is not None:
        symbol, own = infix
        # One above its own level on the right: a - (b - c) and comparisons do not associate.
        left, right = part(expr.operands[0], own), part(expr.operands[1], own + 1)
        return f"{left} {symbol} {right}"
    inner = [part(operand, 0) for operand in expr.operands]
    if FUNCTIONS[expr.function].result == "given":
        inner.append(str(expr.dtype))
    return f"{expr.function}({', '.join(inner)})"


def show(nest: AnyNest) -> str:
    """The whole nest as text.

    >>> from tigon.base.dtypes import float32
    >>> from tigon.loop import build as L
    >>> from tigon.loop.grammar import Accumulator, Local, Nest
    >>> i, k = LoopAxis("i", L.const(4)), LoopAxis("k", L.const(8), vector=True)
    >>> x = L.load(0, L.add(L.mul(L.axis("i"), 8), L.axis("k")), float32)
    >>> total = Reduce((k,), (Accumulator("s", "sum", L.mul(x, x)),))
    >>> out = Store(1, L.axis("i"), L.sqrt(L.local("s", float32)))
    >>> print(show(Nest((Buffer(float32, "in"), Buffer(float32, "out")), (i,), (total, out))))
    nest b0: float32 in, b1: float32 out
    parallel i < 4:
      t0 = b0[i * 8 + k]
      s = sum over k < 8 (vector): t0 * t0
      b1[i] = sqrt(s)
    """
    if isinstance(nest, Extern):
        numbers = ", ".join(map(expression, nest.numbers))
        call = f"{nest.routine}({numbers}) of {nest.dtype}"
        return f"{_head('extern', nest.buffers)}\n{call}, {expression(nest.points)} times"
    lines = [_head("nest" if not isinstance(nest, Contraction) else "contraction", nest.buffers)]
    if isinstance(nest, Contraction):
        for group in ("batch", "rows", "columns", "inner"):
            axes = getattr(nest, group)
            if axes:
                lines.append(f"{group} {_axes(axes)}")
        for side in ("left", "right"):
            _value(f"{side} = ", getattr(nest, side), lines, "")
        lines.append(f"{nest.accumulator}: {nest.dtype} = sum of left * right")
        _body(nest.body, lines, "")
        return "\n".join(lines)
    indent = ""
    if nest.space:
        lines.append(f"parallel {_axes(nest.space)}:")
        indent = "  "
    _body(nest.body, lines, indent)
    return "\n".join(lines)


def _head(kind: str, buffers: tuple[Buffer, ...]) -> str:
    listed = (
        f"b{number}: {buffer.dtype} {buffer.role}"
        + (f"[{expression(buffer.extent)}]" if buffer.extent is not None else "")
        for number, buffer in enumerate(buffers)
    )
    return f"{kind} {', '.join(listed)}"


def _axes(axes: tuple[LoopAxis, ...]) -> str:
    return ", ".join(_axis(axis) for axis in axes)


def _axis(axis: LoopAxis) -> str:
    plain = isinstance(axis.start, Const) and axis.start.value == 0
    start = "" if plain else f"{expression(axis.start)} <= "
    return f"{start}{axis.name} < {expression(axis.stop)}{' (vector)' if axis.vector else ''}"


def _body(body: tuple[Stmt, ...], lines: list[str], indent: str) -> None:
    for statement in body:
        if isinstance(statement, Let):
            _value(f"{statement.name} = ", statement.value, lines, indent)
        elif isinstance(statement, Store):
            sign = "+=" if statement.accumulate else "="
            target = f"b{statement.buffer}[{expression(statement.index)}]"
            _value(f"{target} {sign} ", statement.value, lines, indent)
        elif isinstance(statement, Reduce):
            for accumulator in statement.accumulators:
                head = f"{accumulator.name} = {accumulator.combine} over {_axes(statement.axes)}"
                if accumulator.position is not None:
                    head += f" at {expression(accumulator.position)}"
                _value(f"{head}: ", accumulator.value, lines, indent)
        elif isinstance(statement, Fail):
            _value(f"fail {statement.status} if ", statement.condition, lines, indent)
        elif isinstance(statement, Scan):
            lines.append(f"{indent}scan {_axis(statement.axis)}:")
            for accumulator in statement.accumulators:
                head = f"{accumulator.name} = {accumulator.combine} so far: "
                _value(head, accumulator.value, lines, indent + "  ")
            _body(statement.body, lines, indent + "  ")
        else:
            lines.append(f"{indent}for {_axes(statement.axes)}:")
            _body(statement.body, lines, indent + "  ")


def _value(head: str, value: Expr, lines: list[str], indent: str) -> None:
    """A value with what it shares named first: as a tree it might be exponential."""
    uses: Counter[Expr] = Counter()
    for node in walk(value):
        uses.update(node.operands)
    names: dict[Expr, str] = {}
    for node in walk(value):
        if uses[node] > 1 and isinstance(node, (Apply, Load)) and not _small(node):
            lines.append(f"{indent}t{len(names)} = {_text(node, names, 0, top=True)}")
            names[node] = f"t{len(names)}"
    lines.append(f"{indent}{head}{_text(value, names, 0)}")


def _small(node: Expr) -> bool:
    """An index of a few operations reads better in place."""
    return node.dtype.name == "int64" and sum(1 for _ in walk(node)) <= 5 and _pure_index(node)


def _pure_index(node: Expr) -> bool:
    return not any(isinstance(inner, Load) for inner in walk(node))
