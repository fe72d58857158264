"""What a tree of blocks is made of, in a file beside its parameters (`Block.save`)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tigon.base import check
from tigon.base.files import AnyPath, write_file


def describe(block: Any) -> dict[str, str]:
    """The class of each block, by attribute path; that of the whole under no name."""
    return {
        prefix + name: type(one).__name__
        for event, prefix, name, one in block._tour("save")
        if event == "enter"
    }


def files_of(prefix: AnyPath) -> tuple[str, str]:
    """Of the architecture and of the parameters."""
    stem = os.fsdecode(prefix)
    return f"{stem}-model.json", f"{stem}-model.params"


def write_architecture(block: Any, filename: str) -> None:
    write_file(filename, json.dumps({"blocks": describe(block)}, indent=2).encode())


def check_architecture(block: Any, filename: str) -> None:
    """Refuse a file of another architecture."""
    try:
        saved = json.loads(Path(filename).read_bytes())["blocks"]
    except (ValueError, KeyError, TypeError):
        saved = None
    check(
        isinstance(saved, dict),
        "Block.load",
        f"{filename} is no file that Block.save wrote; for parameters alone use load_parameters",
    )
    own = describe(block)
    for path in sorted({**saved, **own}, key=lambda path: (path.count("."), path)):
        where = f"{type(block).__name__}.{path}" if path else type(block).__name__
        check(
            saved.get(path) == own.get(path),
            "Block.load",
            f"{where}: expected {saved.get(path) or 'no block'}, as in {filename}; given "
            f"{own.get(path) or 'no block'}; build the network as it was when it was saved",
        )
