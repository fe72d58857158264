"""Write `docs/operators.md` from the registry: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

from tigon.base.files import write_file
from tigon.ops import all_operators
from tigon.ops.record import Family, Operator
from tigon.ops.signature import Signature

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/operators.md"

HEAD = """# Operators

Written by `make docs` from the operator records; a test compares. Every operator is a function of
`tigon.nd` and `tigon.sym` under each of its names. Names that begin with an underscore are what the
others are made of. A star marks primitives, which the compiler knows; all others are composites.
"""


def row(op: Operator) -> str:
    names = ", ".join(f"`{alias}`" for alias in op.aliases if not alias.startswith("_"))
    mark = "" if op.family is Family.COMPOSITE else " *"
    call = str(Signature(op).python(())).replace("|", "\\|")
    paragraph = " ".join(op.doc.strip().split("\n\n")[0].split())
    summary = paragraph.replace("|", "\\|")
    also = f" Also {names}." if names else ""
    return f"| `{op.name}`{mark} | `{call}` | {summary}{also} |"


def page() -> str:
    public = [op for op in all_operators() if not op.name.startswith("_")]
    inner = [op for op in all_operators() if op.name.startswith("_") and op.name != "_vjp"]
    lines = [HEAD]
    for title, operators in ((f"Public ({len(public)})", public), (f"Inner ({len(inner)})", inner)):
        lines += [f"## {title}", "", "| operator | arguments | |", "|---|---|---|"]
        lines += [row(op) for op in sorted(operators, key=lambda op: op.name.lower())]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text() != page())
    write_file(PAGE, page().encode())
