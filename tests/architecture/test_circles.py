"""No files import each other, not even inside of functions; and imports there are counted, so that
they become fewer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "tigon").rglob("*.py"))

LATE = 55
"""Imports of this package inside of functions."""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imported(node: ast.AST) -> Iterator[str]:
    """The modules of this package that an import statement names."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
    else:
        return
    for name in names:
        if name in MODULES:
            yield name


def statements(tree: ast.Module) -> Iterator[tuple[ast.AST, bool]]:
    """Import statements, and whether they are inside of a function; those for type checkers are
    left out."""
    stack: list[tuple[ast.AST, bool]] = [(tree, False)]
    while stack:
        node, late = stack.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node, late
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        inside = late or isinstance(node, (ast.FunctionDef, ast.Lambda))
        stack += [(child, inside) for child in ast.iter_child_nodes(node)]


def edges() -> tuple[dict[str, set[str]], list[tuple[str, str]]]:
    """What each file imports when it is imported, and what functions import."""
    early: dict[str, set[str]] = {}
    late = []
    for module, path in MODULES.items():
        found = early.setdefault(module, set())
        for node, inside in statements(ast.parse(path.read_text())):
            for name in set(imported(node)) - {module}:
                if inside:
                    late.append((module, name))
                elif path.name != "__init__.py":  # a package is there before its parts
                    found.add(name)
    return early, late


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Sets of files each of which leads to all others (Tarjan 1972, by reach)."""
    reach: dict[str, set[str]] = {}
    for module in graph:
        seen: set[str] = set()
        stack = [module]
        while stack:
            for name in graph.get(stack.pop(), set()) - seen:
                seen.add(name)
                stack.append(name)
        reach[module] = seen
    return {
        frozenset(b for b in reach[a] if a in reach.get(b, set())) for a in graph if a in reach[a]
    }


def test_no_files_import_each_other() -> None:
    early, late = edges()
    for module, name in late:
        early[module].add(name)
    assert circles(early) == set()


def test_late_imports_are_counted() -> None:
    _, late = edges()
    assert len(late) == LATE, "write the lower number here" if len(late) < LATE else late
