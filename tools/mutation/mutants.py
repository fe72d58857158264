"""Small changes of Python source: one expression, one statement, each with its place and kind.

Left out is what only people read or what does not run: docstrings, the words of messages,
`__repr__` and `__str__`, annotations, assertions, `TYPE_CHECKING`, `__all__`.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
}
ARITHMETIC: dict[type[ast.operator], tuple[str, ...]] = {
    ast.Add: ("-",),
    ast.Sub: ("+",),
    ast.Mult: ("/", "+"),
    ast.Div: ("*",),
    ast.FloorDiv: ("*",),
    ast.Mod: ("*",),
    ast.Pow: ("*",),
    ast.BitOr: ("&",),
    ast.BitAnd: ("|",),
    ast.LShift: (">>",),
    ast.RShift: ("<<",),
}
SIGNS: dict[type, str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.In: "in", ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not",
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**", ast.BitOr: "|", ast.BitAnd: "&", ast.LShift: "<<", ast.RShift: ">>",
}  # fmt: skip
OTHER_FUNCTION = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}
WORDS = ("check", "warn", "warn_once", "TypeError", "ValueError", "AttributeError", "TigonError")
"""Calls whose texts are messages."""
SYMMETRIC = ("min", "max", "hypot")
"""Calls that mean the same with their arguments swapped."""
ASSERTS = ("strict", "stacklevel")
"""Keywords that assert something, or say where a warning points."""
UNREAD = ("__repr__", "__str__", "__dir__")


@dataclass(frozen=True)
class Mutant:
    """`text` instead of what is between two offsets of the source, in bytes."""

    path: str
    kind: str
    begin: int
    end: int
    text: str
    lines: tuple[int, int]
    """Where it is."""
    executed: tuple[tuple[int, int], ...]
    """A test that executes a line of one of these ranges executes it; the first is asked first."""

    def applied(self, source: bytes) -> bytes:
        return source[: self.begin] + self.text.encode() + source[self.end :]


class _Places:
    """Offsets of nodes."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column

    def span(self, node: ast.expr | ast.stmt | ast.keyword | ast.arg) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return (
            self.at(node.lineno, node.col_offset),
            self.at(node.end_lineno, node.end_col_offset),
        )

    def text(self, node: ast.expr | ast.stmt | ast.keyword) -> str:
        begin, end = self.span(node)
        return self.source[begin:end].decode()


def mutants(path: str, source: bytes) -> list[Mutant]:
    """All of one file; some are no programs or the same one: see `differs`."""
    finder = _Finder(path, source)
    finder.visit(ast.parse(source))
    return finder.found


def differs(mutant: Mutant, source: bytes) -> bool:
    """Whether it is a program, and another one."""
    try:
        return _code(mutant.applied(source)) != _code(source)
    except SyntaxError:
        return False


def _code(source: bytes) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.dump(ast.parse(source)) if compile(source, "<mutant>", "exec") else ""


class _Finder(ast.NodeVisitor):
    def __init__(self, path: str, source: bytes) -> None:
        self.found: list[Mutant] = []
        self._path = path
        self._places = _Places(source)
        self._statement: ast.stmt | None = None
        self._within: list[tuple[int, int]] = []
        """Bodies of the functions around."""
        self._messages = 0
        self._defaults: tuple[int, int] | None = None

    def _add(self, kind: str, node: ast.expr | ast.stmt, span: tuple[int, int], text: str) -> None:
        assert node.end_lineno is not None
        own = (node.lineno, node.end_lineno)
        executed = [self._defaults] if self._defaults else [own]
        if self._statement is not None and not self._defaults:
            assert self._statement.end_lineno is not None
            executed.append((self._statement.lineno, self._statement.end_lineno))
        if not self._within and not self._defaults:
            executed = [(1, 1 << 30)]  # at import, in whichever test: whoever uses the module
        mutant = Mutant(self._path, kind, *span, text, own, tuple(executed))
        if mutant not in self.found[-8:]:
            self.found.append(mutant)

    def _replace(self, kind: str, node: ast.expr | ast.stmt, text: str) -> None:
        self._add(kind, node, self._places.span(node), text)

    def _between(self, before: ast.expr, after: ast.expr, sign: str) -> tuple[int, int] | None:
        """Where the operator stands between two operands."""
        begin, end = self._places.span(before)[1], self._places.span(after)[0]
        at = self._places.source.find(sign.encode(), begin, end)
        return None if at < 0 else (at, at + len(sign))

    # -- what is left out

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_Raise(self, node: ast.Raise) -> None:
        if self._within:
            self._replace("dropped statement", node, "pass")

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Import(self, node: ast.Import) -> None:
        pass

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        pass

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            self.visit(statement)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name in UNREAD or any(
            isinstance(d, ast.Name) and d.id == "overload" for d in node.decorator_list
        ):
            return
        assert node.end_lineno is not None
        body = (node.body[0].lineno, node.end_lineno)
        self._defaults = body
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        self._defaults = None
        self._within.append(body)
        for statement in node.body:
            self.visit(statement)
        self._within.pop()

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._within.append((node.lineno, node.lineno))
        self.visit(node.body)
        self._within.pop()

    def visit(self, node: ast.AST) -> None:
        if not isinstance(node, ast.stmt):
            super().visit(node)
            return
        outer, self._statement = self._statement, node
        super().visit(node)
        self._statement = outer

    # -- statements

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if self._within and isinstance(node.value, ast.Call):
            self._replace("dropped statement", node, "pass")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return
        attributes = all(isinstance(t, (ast.Attribute, ast.Subscript)) for t in node.targets)
        if self._within and attributes:
            self._replace("dropped statement", node, "pass")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if self._within:
            self._replace("dropped statement", node, "pass")
        self._operator(node, node.target, node.op, node.value)
        self.generic_visit(node)

    def visit_Break(self, node: ast.Break) -> None:
        self._replace("other jump", node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self._replace("other jump", node, "break")

    def visit_Return(self, node: ast.Return) -> None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, bool):
            self._replace("constant", node.value, str(not node.value.value))
            return
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        self._condition(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    # -- expressions

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._condition(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._replace("condition", test, "True")
            self._condition(test)
        self.generic_visit(node)

    def _condition(self, test: ast.expr) -> None:
        text = self._places.text(test)
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            self._replace("condition", test, f"({self._places.text(test.operand)})")
        elif not isinstance(test, ast.Compare):  # whose operator is changed
            self._replace("condition", test, f"(not ({text}))")

    def visit_Compare(self, node: ast.Compare) -> None:
        left = node.left
        for sign, right in zip(node.ops, node.comparators, strict=True):
            span = self._between(left, right, SIGNS[type(sign)])
            for other in COMPARISONS[type(sign)] if span else ():
                assert span is not None
                self._add("comparison", node, span, other)
            left = right
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        sign, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for before, after in zip(node.values, node.values[1:], strict=False):
            if span := self._between(before, after, sign):
                self._add("boolean operator", node, span, other)
        for index in range(len(node.values)):
            rest = [self._places.text(v) for i, v in enumerate(node.values) if i != index]
            self._replace("dropped clause", node, f"({f' {sign} '.join(rest)})")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self._operator(node, node.left, node.op, node.right)
        self.generic_visit(node)

    def _operator(
        self, node: ast.expr | ast.stmt, left: ast.expr, sign: ast.operator, right: ast.expr
    ) -> None:
        if type(sign) in ARITHMETIC and not isinstance(left, (ast.JoinedStr, ast.Constant)):
            span = self._between(left, right, SIGNS[type(sign)])
            for other in ARITHMETIC[type(sign)] if span else ():
                assert span is not None
                self._add("arithmetic", node, span, other)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, (ast.USub, ast.Not)):
            self._replace("dropped sign", node, f"({self._places.text(node.operand)})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value, kind = node.value, "default" if self._defaults else "constant"
        if isinstance(value, bool):
            self._replace(kind, node, str(not value))
        elif isinstance(value, int):
            self._replace(kind, node, str(value + 1))
            if value > 0:
                self._replace(kind, node, str(value - 1))
        elif isinstance(value, float):
            self._replace(kind, node, "1.0" if value == 0 else f"({value!r} * 2)")
        elif isinstance(value, str) and not self._messages and " " not in value:
            self._replace(kind, node, repr(f"{value}_") if value else "'_'")

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        name = node.func.attr if isinstance(node.func, ast.Attribute) else name
        if isinstance(node.func, ast.Name) and name in OTHER_FUNCTION:
            self._replace("other function", node.func, OTHER_FUNCTION[name])
        for keyword in node.keywords:
            if keyword.arg not in (None, *ASSERTS) and name not in WORDS:
                self._drop(node, keyword)
        plain = not any(isinstance(argument, ast.Starred) for argument in node.args)
        if (
            len(node.args) >= 2
            and plain
            and name not in (*WORDS, *SYMMETRIC, "isinstance", "getattr")
        ):
            first, second = node.args[:2]
            span = (self._places.span(first)[0], self._places.span(second)[1])
            text = f"{self._places.text(second)}, {self._places.text(first)}"
            self._add("swapped arguments", node, span, text)
        self.visit(node.func)
        if name in ("cast", "TypeVar"):
            return
        if name == "check":
            self.visit(node.args[0])
            self._condition(node.args[0])
            return
        words = name in WORDS or (name or "").endswith(("Error", "Warning"))
        self._messages += words
        for argument in node.args:
            self.visit(argument)
        for keyword in node.keywords:
            if keyword.arg not in ("doc", *ASSERTS):
                self.visit(keyword.value)
        self._messages -= words

    def _drop(self, node: ast.Call, keyword: ast.keyword) -> None:
        begin, end = self._places.span(keyword)
        source = self._places.source
        after = source[end:].lstrip()
        if after.startswith(b","):
            end = source.index(b",", end) + 1
        elif node.args or len(node.keywords) > 1:
            begin = source.rindex(b",", 0, begin)
        self._add("dropped keyword", node, (begin, end), "")


def in_words(mutant: Mutant, source: bytes) -> Iterator[str]:
    """The lines before and after, as a difference."""
    line = source.count(b"\n", 0, mutant.begin)
    last = source.count(b"\n", 0, max(mutant.begin, mutant.end - 1))
    changed = mutant.applied(source)
    more = changed.count(b"\n") - source.count(b"\n")
    yield f"@@ {mutant.path}:{line + 1} @@ {mutant.kind}"
    for text in source.split(b"\n")[line : last + 1]:
        yield f"-{text.decode()}"
    for text in changed.split(b"\n")[line : last + 1 + more]:
        yield f"+{text.decode()}"
