"""A floor imports lower floors only; the layout in docs/architecture.md is a law, not a picture."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tigon"

FLOORS = {
    "base": 0,
    "_native": 0,
    "context": 1,
    "ir": 1,
    "readers": 1,
    "loop": 1,
    "ops": 2,
    "passes": 3,
    "analysis": 3,
    "lower": 4,
    "backends": 4,
    "runtime": 4,
    "program": 5,
    "attribute": 6,
    "name": 6,
    "nd": 6,
    "sym": 6,
    "visualization": 6,
    "profiler": 6,
    "export": 6,
    "standalone": 6,
    "autograd": 6,
    "distributed": 6,
    "random": 6,
}
HIGHEST = 8
FORBIDDEN = {
    "nd": {"sym"},
    "sym": {"nd"},
    "backends": {"ir", "ops", "passes", "analysis", "lower"},
    "gluon": {"passes", "lower", "backends", "loop"},
    "module": {"passes", "lower", "backends", "loop"},
    "model": {"passes", "lower", "backends", "loop"},
}
"""Beyond the floors: what a part never imports, whatever its height."""


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The parts of tigon that a file imports while it is being imported."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
            if node.module == "tigon":
                modules = [f"tigon.{alias.name}" for alias in node.names]
        for module in modules:
            parts = module.split(".")
            if parts[0] == "tigon" and len(parts) > 1:
                found.add(parts[1])
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_lead_down(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return
    own = FLOORS.get(part, HIGHEST)
    for other in imports(path) - {part}:
        assert FLOORS.get(other, HIGHEST) <= own, f"{path.name} ({part}) imports {other} above it"
        assert other not in FORBIDDEN.get(part, set()), f"{part} must not import {other}"


def test_what_is_written_as_llvm_knows_no_machine() -> None:
    """Another backend that writes LLVM stands on `llvm/` too."""
    for path in (PACKAGE / "backends/llvm").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("tigon.backends.cpu"), path.name


def test_native_code_knows_no_operator_names() -> None:
    """Operators carry ids; a name in csrc would be a second place for a fact."""
    names = re.compile(
        r'"(relu|softmax|convolution|fullyconnected|batchnorm|dropout|broadcast_\w+)"', re.I
    )
    for path in (ROOT / "csrc").rglob("*"):
        if path.suffix in (".h", ".cpp") and "tests" not in path.parts:
            assert not names.search(path.read_text()), path.name
