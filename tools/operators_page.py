"""Write `docs/operators.md` from the registry: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tigon.base.files import write_file
from tigon.ops import all_operators
from tigon.ops.record import EXPECTED, Family, Operator
from tigon.ops.signature import Signature

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/operators.md"

HEAD = """# Operators

Written by `make docs` from the operator records; a test compares. Every operator is a function of
`tigon.nd` and `tigon.sym` under each of its names. Names that begin with an underscore are what the
others are made of. A star marks primitives, which the compiler knows; all others are composites.
The third column says what operands may hold, and which have one dtype; those that it does not name
hold numbers of any dtype or bools. What it does not allow is a `TigonTypeError`.
"""


def dtypes(op: Operator) -> str:
    """What the record declares, under the attributes of each sample if they matter."""
    found = [_dtypes(op, op.make_attrs(sample[-1])) for sample in op.samples]
    first, *others = dict.fromkeys(found)
    return f"{first}; by attributes: {' or '.join(others)}" if others else first


def _dtypes(op: Operator, attrs: Any) -> str:
    names = [operand.name for operand in op.operands if not operand.random_key]
    parts = []
    for alike in op.alike(attrs):
        named = [op.operands[place].name for place in alike.operands]
        several = len(named) > 1 or op.operands[alike.operands[-1]].variadic
        if alike.kinds == "fiub" and not several:
            continue
        what = EXPECTED[alike.kinds] if alike.kinds != "fiub" else ""
        what = " ".join([what, "of" if what else "", "one dtype"]).strip() if several else what
        listed = ", ".join(f"`{name}`" for name in named)
        parts.append(what if named == names else f"{listed}: {what}")
    return "; ".join(parts) or "any"


def row(op: Operator) -> str:
    names = ", ".join(f"`{alias}`" for alias in op.aliases if not alias.startswith("_"))
    mark = "" if op.family is Family.COMPOSITE else " *"
    call = str(Signature(op).python(())).replace("|", "\\|")
    paragraph = " ".join(op.doc.strip().split("\n\n")[0].split())
    summary = paragraph.replace("|", "\\|")
    also = f" Also {names}." if names else ""
    taken = dtypes(op)
    return f"| `{op.name}`{mark} | `{call}` | {taken if taken != 'any' else ''} | {summary}{also} |"


def page() -> str:
    public = [op for op in all_operators() if not op.name.startswith("_")]
    inner = [op for op in all_operators() if op.name.startswith("_") and op.name != "_vjp"]
    lines = [HEAD]
    for title, operators in ((f"Public ({len(public)})", public), (f"Inner ({len(inner)})", inner)):
        lines += [f"## {title}", "", "| operator | arguments | operands | |", "|---|---|---|---|"]
        lines += [row(op) for op in sorted(operators, key=lambda op: op.name.lower())]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text() != page())
    write_file(PAGE, page().encode())
