"""Write `docs/differences.md` from `tools/differences.py`, and `docs/mathematics.md` from the
bounds of elementary functions in `tigon/loop/mathematics/`: `make docs`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from differences import ELSEWHERE, PREAMBLE, RULES, WISHED, Difference

from tigon.base.files import write_file
from tigon.loop.functions import FUNCTIONS
from tigon.ops.record import all_operators

DOCS = Path(__file__).resolve().parent.parent / "docs"

DIFFERENCES = """# Differences from MXNet 1.9.1

Written by `make docs` from `tools/differences.py`; tests run the program of every row, which stands
below the tables. What MXNet does was recorded from its wheel for Linux. Where it is plainly wrong,
or only odd, tigon stays right.
"""

WISHES = """What MXNet does here is as it was meant to be; its users asked for more.
"""

MATHEMATICS = """# Elementary functions

Written by `make docs` from `tigon/loop/mathematics/`. How far a result may be from the exact one,
in units in the last place, for every float there is, subnormal numbers included: tests draw from
all exponents, `tests/loop/test_mathematics.py`. float16 and bfloat16 are computed in float32 and
rounded once.
Infinities, NaN and signs of zero are those of C's functions.

`+ - * /`, comparisons, rounding and `sqrt` are exact to the last bit.
"""

MORE_FORMULAS = """Operators that are more than arithmetic and one of these functions, over the same
range (`tests/registry/test_bounds.py`). 'elu' and 'selu' of `LeakyReLU` multiply `expm1`: 1 more.
Slopes in float32 are those of float64 to 3e-5 of themselves over the whole range, except those
made from the result (`tanh`, `sigmoid`, `expm1`): to a few units in the last place of 1.
"""

NOTES = {
    "digamma": "of max(1, abs(result)), for it has zeros",
    "_softrelu": "'softrelu' of `Activation`",
}


def table(rows: Sequence[Difference]) -> list[str]:
    lines = ["| | MXNet 1.9.1 | tigon |", "|---|---|---|"]
    return [*lines, *(f"| {row.topic} | {row.mxnet} | {row.tigon} |" for row in rows), ""]


def differences() -> str:
    lines = [DIFFERENCES, "## Integers", "", *table(RULES), "## Elsewhere", "", *table(ELSEWHERE)]
    lines += ["## Wished for", "", WISHES, *table(WISHED)]
    lines += ["## The programs", "", "```python", PREAMBLE.rstrip(), "```", ""]
    for row in (*RULES, *ELSEWHERE, *WISHED):
        title = row.topic[0].upper() + row.topic[1:]
        lines += [f"{title}:", "", "```python", row.program.strip(), "```", ""]
    return "\n".join(lines)


def mathematics() -> str:
    lines = [MATHEMATICS, "| function | float32 | float64 | |", "|---|---|---|---|"]
    for row in sorted(FUNCTIONS.values(), key=lambda row: row.name):
        if row.ulp is not None:
            lines.append(f"| `{row.name}` | {row.ulp[0]} | {row.ulp[1]} | {row.note} |")
    lines += ["", MORE_FORMULAS, "| operator | float32 | float64 | |", "|---|---|---|---|"]
    for op in sorted(set(all_operators()), key=lambda op: op.name):
        if op.ulp is not None:
            lines.append(f"| `{op.name}` | {op.ulp[0]} | {op.ulp[1]} | {NOTES.get(op.name, '')} |")
    return "\n".join([*lines, ""])


PAGES = {"differences.md": differences, "mathematics.md": mathematics}

if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(any((DOCS / name).read_text() != page() for name, page in PAGES.items()))
    for name, page in PAGES.items():
        write_file(DOCS / name, page().encode())
