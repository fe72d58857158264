"""The environment is read in one place, and all that is read there is said in the docs."""

import ast
import re
from pathlib import Path

import pytest

from tigon.base import config

ROOT = Path(__file__).parents[2]
OTHERS = {
    "tigon/backends/store.py": "XDG_CACHE_HOME",
    "tigon/test_utils/surroundings.py": "what tests set",
    "tigon/util.py": "what programs set",
    "tigon/gluon/trace/surroundings.py": "what programs read is guarded",
    "tigon/gluon/trace/values.py": "what programs read is guarded",
    "tigon/gluon/trace/guards.py": "what programs read is guarded",
}


def reads_environment(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
        for node in ast.walk(tree)
    )


def test_the_environment_is_read_in_one_place() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tigon").rglob("*.py")
        if reads_environment(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == {"tigon/base/config.py", *OTHERS}


def test_all_switches_are_known_and_told() -> None:
    native = {
        name
        for path in (ROOT / "csrc").rglob("*.cpp")
        for name in re.findall(r'getenv\("(\w+)"\)', path.read_text(encoding="utf-8"))
        if path.parent.name != "tests"
    }
    assert native and native <= config.SWITCHES.keys()
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    for name, (default, meaning) in config.SWITCHES.items():
        shown = f"`{default}`" if default else ""
        assert f"| `{name}` | {shown} | {meaning} |" in page


def test_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIGON_DEBUG", raising=False)
    assert config.text("TIGON_DEBUG") == "0" and not config.is_on("TIGON_DEBUG")
    monkeypatch.setenv("TIGON_DEBUG", "1")
    assert config.is_on("TIGON_DEBUG")
    with pytest.raises(KeyError):
        config.text("TIGON_NOTHING")
