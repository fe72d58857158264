"""Kinds of devices are named in few places: what a further one must bring is counted."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

NAMED = {
    "csrc/engine/device.cpp": "the table, and the processor as a kind",
    "tigon/context.py": "MXNet's names and numbers of contexts",
    "tigon/program/target.py": "which backend compiles for a target",
    "tigon/base/config.py": "the default of TIGON_BACKEND",
}
"""Files that name a kind of device, outside of the folder of its backend."""

QUOTED = re.compile(r"""["'](cpu|gpu|cuda|mirror|cpu_pinned|cpu_shared)(\(\d*\))?["']""")
FOLDERS = ("tigon/backends/cpu/", "csrc/tests/")


def code_without_texts(path: Path) -> str:
    """Without comments and, of Python, texts in three quotes."""
    text = path.read_text()
    if path.suffix == ".py":
        text = re.sub(r'"""(?:.|\n)*?"""', "", text)
        return re.sub(r"#.*", "", text)
    return re.sub(r"//.*", "", text)


def test_few_files_name_a_kind_of_device() -> None:
    files = [
        *(ROOT / "tigon").rglob("*.py"),
        *(ROOT / "csrc").rglob("*.cpp"),
        *(ROOT / "csrc").rglob("*.h"),
    ]
    named = set()
    for path in files:
        where = path.relative_to(ROOT).as_posix()
        # `tigon/__init__.py` lists the functions `cpu` and `gpu` among its names.
        if where.startswith(FOLDERS) or where == "tigon/__init__.py":
            continue
        if QUOTED.search(code_without_texts(path)):
            named.add(where)
    assert named == NAMED.keys()
