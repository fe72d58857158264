"""Write `docs/missing.md` from `tigon/base/absent.py`: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

from tigon.base.absent import Absent, by_owner
from tigon.base.files import write_file

PAGE = Path(__file__).resolve().parent.parent / "docs" / "missing.md"

HEAD = """# What is missing so far

Written by `make docs` from `tigon/base/absent.py`. Names of MXNet 1.9.1, and of a few that
programs bring from elsewhere, that are not there, with the nearest thing that is. Whoever asks for
one is told the same by an `AttributeError`.

An argument that asks for what is missing is refused, never ignored, as a gpu is (there is no
backend for one: `mx.num_gpus()` is 0, and every `ctx=mx.gpu()` says so).
"""


def rows(owner: str, found: list[Absent]) -> list[str]:
    shown = owner.replace("tigon", "mx", 1)
    lines = [f"## `{shown}`", "", "| missing | the nearest thing |", "|---|---|"]
    for row in found:
        lines.append(f"| {', '.join(f'`{name}`' for name in row.names.split())} | {row.instead} |")
    return [*lines, ""]


def page() -> str:
    return "\n".join([HEAD, *(line for one in by_owner().items() for line in rows(*one))])


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text() != page())
    write_file(PAGE, page().encode())
