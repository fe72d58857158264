"""Python writes the records that C reads."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tigon.standalone import tables
from tigon.standalone.digest import digest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "csrc/standalone/tables.h").read_text(encoding="utf-8")
ENUMS = {
    name: re.findall(r"\bk\w+", re.sub(r"//.*", "", body))
    for name, body in re.findall(r"enum (\w+) \{(.*?)\};", TEXT, re.S)
}
RECORDS = {name[:-3]: row for name, row in vars(tables).items() if name.endswith("Row")}


@pytest.mark.parametrize("name", RECORDS)
def test_fields_are_those_of_the_header(name: str) -> None:
    fields = [
        f"k{name}{''.join(part.capitalize() for part in field.split('_'))}"
        for field in RECORDS[name]._fields
    ]
    assert ENUMS[name] == [*fields, f"k{name}Size"]


def test_lists_are_those_of_the_header() -> None:
    assert ENUMS.keys() - RECORDS.keys() == {
        "Source", "Target", "Space", "Form", "Test", "Factor", "ControlKind",
    }  # fmt: skip
    told = {
        "Source": ("FROM_INPUT", "FROM_WEIGHT", "FROM_STATE", "FROM_KEY", "FROM_SCHEDULE"),
        "Target": ("TO_OUTPUT", "TO_STATE", "TO_STATE_LATER"),
        "Space": ("INPUT", "OUTPUT", "TEMPORARY", "CONSTANT", "NOTHING"),
        "Form": ("AS_IT_IS", "WHOLE", "REAL", "SHARE"),
        "Factor": ("THE_EXTENT", "QUOTIENT", "REST"),
    }
    for name, members in told.items():
        assert [getattr(tables, each) for each in members] == list(range(len(members)))
        own = "Space" if name == "Space" else ""
        camel = ["".join(map(str.capitalize, each.split("_"))) for each in members]
        assert ENUMS[name] == [f"k{own}{each}" for each in camel]
    assert ENUMS["Test"] == ["kIsZero", "kIsNegative", "kIsNotPositive"]
    assert tables.TESTS == {"eq": 0, "lt": 1, "le": 2}


def test_room_is_shared_with_nothing() -> None:
    made = tables.Tables()
    flags = made.words([0, 0, 1])
    room = made.room(3)
    later = made.words([0, 0, 0])
    made.overwrite(room, [7, 8, 9])
    content = np.frombuffer(made.content(tables.ModelRow(*[0] * 24)), "<i8")
    found = [content[place : place + 3].tolist() for place in (flags, room, later)]
    assert found == [[0, 0, 1], [7, 8, 9], [0, 0, 0]]


def test_digests_see_every_byte_and_its_place() -> None:
    content = bytes(range(256)) * 3 + b"end"
    seen = {digest(content), digest(content[:-1]), digest(content + b"\0")}
    for place in range(0, len(content), 97):
        seen.add(digest(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]))
    seen.add(digest(content[8:16] + content[:8] + content[16:]))
    assert len(seen) == 4 + len(range(0, len(content), 97))
