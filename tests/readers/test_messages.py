"""Messages as text and on the wire: what is read, and what is said of what cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tigon as mx
from tests.readers.encode import content, encoded, varint
from tigon.readers.message import Message
from tigon.readers.schema import RESERVED, Schema
from tigon.readers.text import read_text
from tigon.readers.wire import read_wire

TABLE = Schema("""
enum Color: RED 0, GREEN 1, BLUE -2
message Inner
  x 1 int32
  deeper 2 Inner
message All
  i 1 int32
  l 2 int64
  u 3 uint32
  v 4 uint64
  b 5 bool
  f 6 float = 1.5
  d 7 double
  s 8 string = none
  y 9 bytes
  e 10 Color = GREEN
  inner 11 Inner
  is 21 int64*
  fs 22 float*
  ds 23 double*
  ss 24 string*
  es 25 Color*
  inners 26 Inner*
  bs 27 bool*
""")
ALL = TABLE["All"]
EVERYTHING = r"""
# all kinds, in all spellings
i: -5 l: 0x7fffffffffffffff; u: 4294967295, v: 017
b: true f: 0.01 d: -1e-300 s: "a\"\n\x41\101" 'b\u00e9' y: '\377\0'
e: BLUE inner < x: 3 deeper { x: 4 } >
is: [1, -2, 3] is: 4 fs: 1 fs: .5f fs: -inf ds: 1. ss: 'x' ss: "" es: [RED, GREEN] es: -2
inners { } inners: { x: 1 } inners: [{ x: 2 }, < x: 3 >] bs: t bs: 0
"""


def shown(message: Message) -> dict[str, object]:
    """All that was given, as plain values."""
    found: dict[str, object] = {}
    for field, value in message.given():
        values = [shown(v) if isinstance(v, Message) else v for v in
                  (value if field.is_repeated else [value])]  # fmt: skip
        found[field.name] = values if field.is_repeated else values[0]
    return found


WANTED = {
    "i": -5, "l": 2**63 - 1, "u": 2**32 - 1, "v": 15, "b": True, "f": 0.01, "d": -1e-300,
    "s": 'a"\nAAb\u00e9', "y": b"\xff\0", "e": "BLUE", "inner": {"x": 3, "deeper": {"x": 4}},
    "is": [1, -2, 3, 4], "fs": [1.0, 0.5, -math.inf], "ds": [1.0], "ss": ["x", ""],
    "es": ["RED", "GREEN", "BLUE"], "inners": [{}, {"x": 1}, {"x": 2}, {"x": 3}],
    "bs": [True, False],
}  # fmt: skip


def test_all_kinds_are_read_from_text_and_wire() -> None:
    message = read_text(EVERYTHING, ALL, "all")
    assert shown(message) == WANTED
    for packed in (True, False):
        assert shown(read_wire(encoded(message, packed), ALL, "all")) == WANTED
    nothing = read_text("", ALL, "all")
    assert (nothing.f, nothing.s, nothing.e, nothing.i, nothing.inner.x) == (
        1.5,
        "none",
        "GREEN",
        0,
        0,
    )
    assert nothing.fs == [] and not nothing.has("f") and nothing.numbers("fs", "float32").size == 0
    assert read_text(b"\xef\xbb\xbf i: 1", ALL, "all").i == 1


def test_every_escape_of_a_text() -> None:
    given = r"""s: "\n\t\r\a\b\f\v\\\'\"\?\0\07\101\x4\x41" """
    wanted = "\n\t\r\a\b\f\v\\'\"?\0\x07A\x04A"
    assert read_text(given, ALL, "all").s == wanted


def test_numbers_that_are_packed_are_arrays_over_the_bytes() -> None:
    values = np.arange(1000, dtype=np.float32)
    data = content(22, values.tobytes())
    message = read_wire(data, ALL, "all")
    array = message.numbers("fs", "float32")
    assert np.shares_memory(array, np.frombuffer(data, np.uint8))
    again = read_wire(data + content(22, values[:2].tobytes()), ALL, "all")
    assert again.numbers("fs", "float32").tolist() == [*values, 0, 1]


def test_the_last_value_counts_and_messages_are_merged_on_the_wire() -> None:
    data = varint(1 << 3) + varint(1) + varint(1 << 3) + varint(2)
    data += content(11, b"\x08\x05") + content(11, content(2, b"\x08\x06"))
    message = read_wire(data, ALL, "all")
    assert shown(message) == {"i": 2, "inner": {"x": 5, "deeper": {"x": 6}}}


def test_what_the_table_does_not_know_is_passed_over_on_the_wire() -> None:
    unknown = varint(99 << 3) + varint(7) + varint(99 << 3 | 1) + bytes(8) + content(99, b"abc")
    unknown += varint(99 << 3 | 5) + bytes(4)
    group = varint(98 << 3 | 3) + unknown + varint(97 << 3 | 3) + varint(97 << 3 | 4)
    data = unknown + group + varint(98 << 3 | 4) + varint(1 << 3) + varint(3)
    assert shown(read_wire(data, ALL, "all")) == {"i": 3}
    assert shown(read_wire(encoded(read_text(EVERYTHING, ALL, "")), ALL, "", {"i", "s"})) == {
        "i": -5,
        "s": WANTED["s"],
    }


def test_no_field_hides_what_messages_have() -> None:
    own = {name for name in vars(Message) if not name.startswith("_")}
    assert own == RESERVED
    with pytest.raises(AttributeError, match="a message has no field 'q'"):
        _ = read_text("", ALL, "all").q
    with pytest.raises(mx.base.InternalError, match="M: within 1 is taken already"):
        Schema("message M\n  within 1 int32")


BAD_TEXT = {
    "ii: 1": "line 1, column 1: expected a field of All; given 'ii'; is 'i' meant?",
    "\n  zzz: 1": "line 2, column 3: expected a field of All; given 'zzz'",
    "i 1": "line 1, column 3: expected ':' behind i; given '1'",
    "i: 1 i: 2": "line 1, column 6: expected each field of All once; given 'i' again",
    "i: 2147483648": "line 1, column 4: i: expected a whole number from -2147483648 to 2147483647; "
    "given '2147483648'",
    "u: -1": "line 1, column 4: u: expected a whole number from 0 to 4294967295; given '-1'",
    "i: 1.5": "line 1, column 4: i: expected a whole number from -2147483648 to 2147483647; given "
    "'1.5'",
    "i: 08": "line 1, column 4: i: expected a whole number from -2147483648 to 2147483647; given "
    "'08'",
    "b: 2": "line 1, column 4: b: expected true or false; given '2'",
    "f: x": "line 1, column 4: f: expected a number; given 'x'",
    "f: --1": "line 1, column 4: f: expected a number; given '--1'",
    "f: 0x10": "line 1, column 4: f: expected a number; given '0x10'",
    "e: PINK": "line 1, column 4: e: expected one of RED, GREEN, BLUE; given 'PINK'",
    "e: 7": "line 1, column 4: e: expected one of RED, GREEN, BLUE; given '7'",
    "s: 5": "line 1, column 4: expected a string in quotes; given '5'",
    "s: 'a": "line 1, column 4: expected a name, a value or a bracket; given ''a'",
    "s: '\\377'": "line 1, column 4: expected a string in UTF-8; given 'b'\\xff''",
    "inner: 5": "line 1, column 8: expected '{' behind inner, which is a message; given '5'",
    "inner { x: 1": "line 1, column 13: inner: expected a field or '}' of Inner; given the end of "
    "the file",
    "inner { x: 1 >": "line 1, column 14: inner: expected a field or '}' of Inner; given '>'",
    "inners { } inners { x: y }": "line 1, column 24: inners[1]: x: expected a whole number from "
    "-2147483648 to 2147483647; given 'y'",
    "is: [1 2]": "line 1, column 8: expected ',' or ']' in the list of is; given '2'",
    "inners: [{} {}]": "line 1, column 13: expected ',' or ']' behind a message of a list; given "
    "'{'",
    "}": "line 1, column 1: expected a field of All; given '}'",
    "[a.b]: 1": "line 1, column 1: expected a field of All; given '['",
    "i: "
    + "1" * 70: "line 1, column 4: i: expected a whole number from -2147483648 to 2147483647; "
    "given '" + "1" * 59,
}


@pytest.mark.parametrize("text", BAD_TEXT, ids=lambda text: text[:20])
def test_errors_of_text_say_where(text: str) -> None:
    with pytest.raises(mx.TigonError) as raised:
        read_text(text, ALL, "file")
    assert str(raised.value) == f"file: {BAD_TEXT[text]}"


def test_text_that_is_none() -> None:
    with pytest.raises(mx.TigonError) as raised:
        read_text(b"i: 1 \xff", ALL, "file")
    wanted = "file: at byte 5: expected text in UTF-8; is it a file of another kind?"
    assert str(raised.value) == wanted


BAD_BYTES = {
    "08": "at byte 1: i: expected the rest of a varint; the message ends here",
    "08" + "ff" * 10: "at byte 1: i: expected a varint of at most ten bytes",
    "00": "at byte 0: expected a field; given number 0, wire type 0",
    "0f": "at byte 0: expected a field; given number 1, wire type 7",
    "0901": "at byte 0: i: expected a varint; given eight bytes",
    "0a01ff": "at byte 0: i: expected a varint; given a length and bytes",
    "088080808008": "at byte 1: i: expected a number from -2147483648 to 2147483647; given "
    "2147483648",
    "5007": "at byte 1: e: expected one of RED, GREEN, BLUE; given 7",
    "3501": "at byte 1: f: expected 4 bytes; 1 are left",
    "4205616263": "at byte 2: s: expected 5 bytes; 3 are left",
    "420261ff": "at byte 3: s: expected a string in UTF-8",
    "5a0508": "at byte 2: inner: expected 5 bytes; 1 are left",
    "5a020805" "5a0208": "at byte 6: inner: expected 2 bytes; 1 are left",
    "5a0112": "at byte 3: inner.deeper: expected the rest of a varint; the message ends here",
    "d2010108": "at byte 4: inners[0].x: expected the rest of a varint; the message ends here",
    "b2010500000000": "at byte 3: fs: expected 5 bytes; 4 are left",
    "b201050000000000": "at byte 3: fs: expected 4 bytes each; given 5 bytes",
    "aa01ffffffff7f": "at byte 7: is: expected 34359738367 bytes; 0 are left",
    "9c06": "at byte 2: expected a group 99 before its end",
    "9b06" * 101: "at byte 202: expected at most 100 groups within each other",
}  # fmt: skip


@pytest.mark.parametrize("given", BAD_BYTES, ids=lambda given: given[:20])
def test_errors_of_bytes_say_where(given: str) -> None:
    with pytest.raises(mx.TigonError) as raised:
        read_wire(bytes.fromhex(given), ALL, "file")
    assert str(raised.value) == f"file: {BAD_BYTES[given]}"


def test_depth_and_number_of_messages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    text, data = "inner {" + "deeper {" * 150, b""
    for _ in range(150):
        data = content(2, data)
    for read, given in ((read_text, text), (read_wire, content(11, data))):
        with pytest.raises(mx.TigonError, match="expected at most 100 messages within each other"):
            read(given, ALL, "file")  # type: ignore[operator]
    monkeypatch.setattr("tigon.readers.message.MOST_MESSAGES", 3)
    for read, given in ((read_text, "inners {}" * 4), (read_wire, content(26, b"") * 4)):
        with pytest.raises(mx.TigonError, match="holds more than 3 messages; is it damaged"):
            read(given, ALL, "file")  # type: ignore[operator]
