"""The headers of an exported library: `model.h` and `model.hpp` of this folder, under its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


def c_header(prefix: str, described: Mapping[str, Any]) -> str:
    """For C and C++; what goes in and comes out is a comment at its begin."""
    return f"{_comment(prefix, described)}{_under(prefix, 'model.h')}"


def cpp_header(prefix: str) -> str:
    """A face for C++ over the other header: nothing to link."""
    return _under(prefix, "model.hpp")


def _under(prefix: str, template: str) -> str:
    text = (_FOLDER / template).read_text(encoding="utf-8")
    text = re.sub(r"\bmodel(?=_|\.h|::)|(?<=namespace )model\b", prefix, text)
    return re.sub(r"\bMODEL_", f"{prefix.upper()}_", text)


def _comment(prefix: str, described: Mapping[str, Any]) -> str:
    lines = [f"{prefix}: written by tigon's export_native.", ""]
    for kind in ("inputs", "outputs", "states"):
        if described[kind]:
            lines.append(f"{kind}:")
            lines += [f"  {n}  {name}: {shown}" for n, (name, shown) in enumerate(described[kind])]
    for number, (name, likely) in enumerate(described["extents"]):
        lines.append(f"extent {number}, {name}: any size; exported with {likely}")
    text = "\n   ".join(line.replace("*/", "* /") for line in lines)
    return f"/* {text} */\n".replace("\n   \n", "\n\n")
