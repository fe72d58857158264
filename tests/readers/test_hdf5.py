"""Files of HDF5: what its library wrote is read, and what is damaged is told with its byte."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

import tigon as mx
from tests.readers.record_hdf5 import ARRAYS
from tigon.readers import hdf5
from tigon.readers.hdf5 import File, is_hdf5

HERE = Path(__file__).parent
CONTENT = (HERE / "arrays.h5").read_bytes()


def test_what_the_library_wrote() -> None:
    found = File(CONTENT, "x").datasets
    assert found.keys() == ARRAYS.keys() and is_hdf5(CONTENT) and not is_hdf5(CONTENT[1:])
    for path, wanted in ARRAYS.items():
        if path == "a text":
            assert found[path].text() == wanted.decode() and found[path].dtype is None
            continue
        own = found[path].array()
        assert (own.dtype, own.shape) == (np.asarray(wanted).dtype, np.shape(wanted)), path
        np.testing.assert_array_equal(own, wanted)
        assert own.size == 0 or np.shares_memory(own, np.frombuffer(CONTENT, np.uint8))


def at(mark: bytes, number: int = 0) -> int:
    """Where a mark stands, for the so manyth time."""
    place = -1
    for _ in range(number + 1):
        place = CONTENT.index(mark, place + 1)
    return place


def with_bytes(place: int, value: bytes) -> bytes:
    return CONTENT[:place] + value + CONTENT[place + len(value) :]


TREE, HEAP, ROWS = at(b"TREE"), at(b"HEAP"), at(b"SNOD")
(NAMES,) = struct.unpack_from("<Q", CONTENT, HEAP + 24)
(OBJECT,) = struct.unpack_from("<Q", CONTENT, ROWS + 16)
"""The first object: 'a number'."""
FIRST = "a number"


def message(kind: int) -> int:
    """Where the content of a message of the first object stands."""
    place = OBJECT + 16
    while struct.unpack_from("<H", CONTENT, place) != (kind,):
        place += 8 + struct.unpack_from("<H", CONTENT, place + 2)[0]
    return place + 8


NOTHING = CONTENT.index(struct.pack("<BBBxxxxxQQQQ", 1, 2, 1, 0, 3, 0, 3))
"""The shape of 'nothing', with its largest extents."""

DAMAGED = {
    "no file of HDF5": (b"PK\3\4", 0, "expected a file of HDF5"),
    "a form of 1.8": (
        with_bytes(8, b"\2"), 8, "expected version 0 or 1 with places of 8 bytes; given 2 with 8 "
        "and 8; h5repack --low=0 --high=0 OLD NEW rewrites it"),
    "short places": (
        with_bytes(13, b"\4"), 8, "expected version 0 or 1 with places of 8 bytes; given 0 with 4 "
        "and 8; h5repack --low=0 --high=0 OLD NEW rewrites it"),
    "an end": (CONTENT[:40], 64, "expected 8 bytes; 0 are left"),
    "another tree": (
        with_bytes(TREE, b"FREE"), TREE, "expected a tree of names, which begins with b'TREE'"),
    "a tree of chunks": (
        with_bytes(TREE + 4, b"\1"), TREE + 4,
        "expected a tree of names, each level below the one above it"),
    "a tree in itself": (
        with_bytes(TREE + 5, b"\1" + CONTENT[TREE + 6 : TREE + 32] + struct.pack("<Q", TREE)), TREE,
        None),
    "rows twice": (
        with_bytes(TREE + 6, b"\2\0" + CONTENT[TREE + 8 : TREE + 48] +
                   CONTENT[TREE + 32 : TREE + 40]), ROWS,
        "expected each part in one place; it is there twice"),
    "no name": (
        with_bytes(ROWS + 8, struct.pack("<Q", 2**40)), ROWS + 8,
        "expected a name of 1 to 1024 bytes; given b''"),
    "a link": (
        with_bytes(ROWS + 24, b"\2"), ROWS + 8,
        "b'a number': links to elsewhere are not followed"),
    "a name that is no text": (
        CONTENT.replace(b"a number", b"\xff number"), ROWS + 8,
        "expected a name in UTF-8; given b'\\xff number'"),
    "another object": (
        with_bytes(OBJECT, b"\2"), OBJECT,
        "expected an object of version 1, which begins with b'\\x01'"),
    "no type": (
        with_bytes(message(3) - 8, b"\0"), OBJECT,
        f"{FIRST}: expected a group, or an array with shape, type and place"),
    "a type elsewhere": (
        with_bytes(message(3) - 4, b"\3"), message(3) - 8, "expected what is said of an array at "
        "the array; h5repack -l CONTI -f NONE OLD NEW rewrites it so that it is"),
    "a long message": (
        with_bytes(message(3) - 6, b"\xf8\xff"), message(3) - 8, "expected 65528 bytes; "),
    "many extents": (
        with_bytes(message(1) + 1, b"\x21"), message(1),
        f"{FIRST}: expected a shape of at most 32 extents; given 33"),
    "extents that no array has": (
        with_bytes(NOTHING + 16, struct.pack("<Q", 2**60)), NOTHING,
        f"nothing: expected extents that an array may have; given {(0, 2**60)}"),
    "floats of another form": (
        with_bytes(message(3) + 12, b"\7"), message(3),
        f"{FIRST}: expected numbers or a text; given elements of class 1, 4 bytes"),
    "whole numbers of 12 bits": (
        with_bytes(message(3), b"\x10" + CONTENT[message(3) + 1 : message(3) + 10] + b"\x0c"),
        message(3), f"{FIRST}: expected numbers or a text; given elements of class 0, 4 bytes"),
    "pairs": (
        with_bytes(message(3), b"\x16"), message(3),
        f"{FIRST}: expected numbers or a text; given elements of class 6, 4 bytes"),
    "an array in pieces": (
        with_bytes(message(8) + 1, b"\2"), message(8), f"{FIRST}: expected an array in one piece; "
        "h5repack -l CONTI -f NONE OLD NEW rewrites it so that it is"),
    "few numbers": (
        with_bytes(message(8) + 10, b"\3"), message(8),
        f"{FIRST}: expected 4 bytes of shape (); given 3"),
    "numbers behind the end": (
        with_bytes(message(8) + 2, struct.pack("<Q", 2**50)), 2**50, "expected 4 bytes; 0 are left"
    ),
}  # fmt: skip


@pytest.mark.parametrize("which", DAMAGED)
def test_what_is_damaged_is_told_with_its_byte(which: str) -> None:
    content, place, expected = DAMAGED[which]
    with pytest.raises(mx.TigonError) as told:
        File(content, "x")
    assert str(told.value).startswith("x: at byte " if place is None else f"x: at byte {place}: ")
    assert expected is None or expected in str(told.value)


def test_what_the_library_writes_on_demand_is_refused() -> None:
    with pytest.raises(mx.TigonError) as told:
        File((HERE / "refused.h5").read_bytes(), "x")
    assert "chunks: expected an array in one piece; h5repack -l CONTI" in str(told.value)
    found = File(CONTENT, "x").datasets
    for dataset, read, expected in (
        (found["a text"], found["a text"].array, "a text: expected numbers; given a text"),
        (found["whole"], found["whole"].text, "whole: expected a text; given numbers of int32"),
    ):
        with pytest.raises(mx.TigonError) as told:
            read()
        assert str(told.value) == f"x: at byte {dataset.place}: {expected}"


def test_how_much_is_looked_at_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "MOST", 60)
    with pytest.raises(mx.TigonError, match=r"^x: at byte \d+: holds more than 60 parts; is it"):
        File(CONTENT, "x")
    monkeypatch.setattr(hdf5, "MOST", 1 << 18)
    monkeypatch.setattr(hdf5, "DEEPEST", 1)
    with pytest.raises(mx.TigonError, match=r"at byte \d+: expected at most 1 groups within each"):
        File(CONTENT, "x")
