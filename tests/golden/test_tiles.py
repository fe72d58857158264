"""The loop of a product's tile as LLVM is given it, for machines whose addresses are scaled and for
those whose are not. The order in it decides how quick convolutions are, and no other test sees it:
places of rows that were made before the columns were read once took twice the time.

`make golden` (TIGON_UPDATE_GOLDEN=1) rewrites the texts; whoever changes one measures
`make bench-convolutions` before and after.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tigon.backends.cpu.tile import emit_tile
from tigon.backends.llvm.target import LEVELS, WEB
from tigon.base.dtypes import float32

HERE = Path(__file__).parent / "tiles"
TARGETS = {"x86-64-v3": LEVELS["x86-64-v3"], "web": WEB}


@pytest.mark.parametrize("listed", [False, True], ids=["strided", "listed"])
@pytest.mark.parametrize("target", TARGETS)
def test_tiles(target: str, listed: bool) -> None:
    """Two columns and four rows, of which the last has a start of its own."""
    text = emit_tile("tile", TARGETS[target], float32, 4, 2, listed, listed, listed).text()
    path = HERE / f"{target}_{'listed' if listed else 'strided'}.txt"
    if os.environ.get("TIGON_UPDATE_GOLDEN"):
        path.write_text(text + "\n")
    assert text + "\n" == path.read_text()
