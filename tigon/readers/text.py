"""Messages as text (protobuf.dev/reference/protobuf/textformat-spec), without extensions.

Nothing here recurses, and a file is read once, token by token: time and memory are linear in it.
"""

from __future__ import annotations

import difflib
import math
import re
from typing import Any

from tigon.readers.message import DEEPEST, Message, Source
from tigon.readers.schema import INTEGERS, EnumType, Field, MessageType

_TOKEN = re.compile(
    r"""
    (?P<space>(?:\s+|\#[^\n]*)+)
  | (?P<name>[A-Za-z_]\w*)
  | (?P<number>-?\s*(?:0[xX][0-9A-Fa-f]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?)(?![\w.]))
  | (?P<string>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')
  | (?P<mark>[{}<>\[\]:,;]|-)
    """,
    re.VERBOSE | re.ASCII,
)
_LONGEST_NUMBER = 64
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{4})|(.))")
_LETTERS = {"n": 10, "t": 9, "r": 13, "a": 7, "b": 8, "f": 12, "v": 11}
_BOOLS = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}
_NAMED_FLOATS = {"inf": math.inf, "infinity": math.inf, "nan": math.nan}
_CLOSING = {"{": "}", "<": ">"}
_END = "the end of the file"


def read_text(content: str | bytes, kind: MessageType, name: str) -> Message:
    """The message that a text holds, of the given kind; `name` is the file's, for errors.

    Raises `TigonError` with line and column, and with the path of the message there, where the text
    is malformed, a field is not known, or a value is not of the field's kind.

    >>> from tigon.readers.schema import Schema
    >>> kind = Schema("message Solver\\n  base_lr 1 float\\n  net 2 string")["Solver"]
    >>> read_text("base_lr: 1e-2  # at first", kind, "solver.prototxt").base_lr
    0.01
    >>> read_text("base_rl: 1e-2", kind, "solver.prototxt")
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: solver.prototxt: line 1, column 1: expected a field of Solver; \
given 'base_rl'; is 'base_lr' meant?
    """
    if isinstance(content, bytes):
        try:
            content = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            Source(name, content).fail(
                error.start, "expected text in UTF-8; is it a file of another kind?"
            )
    return _Reader(Source(name, content)).read(kind)


class _Reader:
    def __init__(self, source: Source) -> None:
        assert isinstance(source.content, str)
        self.source = source
        self.text = source.content
        self.message: Message | None = None
        self.place = self._after = 0
        self.kind = self.token = ""
        self._advance()

    def _advance(self) -> None:
        """The next token that is not space: its kind, its text, its place."""
        end = self._after
        while True:
            self.place = end
            if end >= len(self.text):
                self.kind, self.token = "end", _END
                return
            found = _TOKEN.match(self.text, end)
            if found is None:
                self._fail("expected a name, a value or a bracket", self.text[end : end + 20])
            assert found is not None
            end = found.end()
            if found.lastgroup != "space":
                break
        self.kind, self.token, self._after = str(found.lastgroup), found.group(), end

    def _fail(self, expected: str, given: str | None = None, then: str = "") -> None:
        token = self.token if given is None else given
        shown = token if token is _END else f"'{token.splitlines()[0] if token else ''}'"
        path = self.message.full_path if self.message is not None else ""
        self.source.fail(self.place, f"{expected}; given {shown:.60}{then}", path)

    def _take(self, mark: str) -> bool:
        if self.kind == "mark" and self.token == mark:
            self._advance()
            return True
        return False

    def read(self, kind: MessageType) -> Message:
        top = Message(kind, self.source, 0)
        self.message = top
        closing: list[str] = []
        ends_list: list[Field | None] = []  # of each open message: the list of messages it is in
        while True:
            message = self.message
            assert message is not None
            if not closing and self.kind == "end":
                return top
            if closing and self._take(closing[-1]):
                closing.pop()
                self.message = message.within
                field = ends_list.pop()
                if field is not None and not self._take("]"):
                    if not self._take(","):
                        self._fail("expected ',' or ']' behind a message of a list")
                    self._open(field, closing, ends_list, field)
                elif not self._take(","):
                    self._take(";")
                continue
            if self.kind != "name":
                wanted = "a field" if not closing else f"a field or '{closing[-1]}'"
                self._fail(f"expected {wanted} of {message.of_type.name}")
            self._field(message, closing, ends_list)

    def _field(self, message: Message, closing: list[str], ends_list: list[Field | None]) -> None:
        field = message.of_type.by_name.get(self.token)
        if field is None:
            near = difflib.get_close_matches(self.token[:60], message.of_type.by_name, 1)
            then = f"; is '{near[0]}' meant?" if near else ""
            self._fail(f"expected a field of {message.of_type.name}", None, then)
        assert field is not None
        if not field.is_repeated and message.has(field.name):
            self._fail(f"expected each field of {message.of_type.name} once", None, " again")
        place = self.place
        self._advance()
        has_colon = self._take(":")
        if isinstance(field.kind, MessageType):
            if has_colon and self._take("["):
                if not self._take("]"):
                    self._open(field, closing, ends_list, field)
                return
            self._open(field, closing, ends_list, None)
            return
        if not has_colon:
            self._fail(f"expected ':' behind {field.name}")
        if field.is_repeated and self._take("["):
            while not self._take("]"):
                message.put(field, self._value(field), place)
                if not self._take(",") and not (self.kind == "mark" and self.token == "]"):
                    self._fail(f"expected ',' or ']' in the list of {field.name}")
        else:
            message.put(field, self._value(field), place)
        if not self._take(","):
            self._take(";")

    def _open(
        self,
        field: Field,
        closing: list[str],
        ends_list: list[Field | None],
        within: Field | None,
    ) -> None:
        if self.kind != "mark" or self.token not in _CLOSING:
            self._fail(f"expected '{{' behind {field.name}, which is a message")
        if len(closing) >= DEEPEST:
            self._fail(f"expected at most {DEEPEST} messages within each other")
        assert self.message is not None
        place, mark = self.place, self.token
        self._advance()
        self.message = self.message.child(field, place)
        closing.append(_CLOSING[mark])
        ends_list.append(within)

    def _value(self, field: Field) -> Any:
        """The value of a scalar field, which is then behind us."""
        kind, place = field.kind, self.place
        if kind in ("string", "bytes"):
            return self._string(kind)
        sign = -1 if self._take("-") else 1
        digits = self.token
        if self.kind == "number" and sign > 0 and digits[0] == "-":
            sign, digits = -1, digits[1:].strip()
        found: Any = None
        if self.kind == "name":
            found = self._named(kind, sign)
        elif self.kind == "number" and digits[0] != "-" and len(digits) <= _LONGEST_NUMBER:
            found = _number(kind, digits, sign)
        if found is None:
            self.place = place
            self._fail(f"{field.name}: expected {_told(kind)}", self.text[place : self._after])
        self._advance()
        return found

    def _named(self, kind: Any, sign: int) -> Any:
        """What a word says; None where it says nothing of this kind."""
        if isinstance(kind, EnumType):
            return self.token if sign > 0 and self.token in kind.numbers else None
        if kind == "bool":
            return _BOOLS.get(self.token) if sign > 0 else None
        if kind in INTEGERS:
            return None
        found = _NAMED_FLOATS.get(self.token.lower())
        return None if found is None else sign * found

    def _string(self, kind: str) -> str | bytes:
        """One string, or several behind each other."""
        place = self.place
        if self.kind != "string":
            self._fail("expected a string in quotes")
        parts = []
        while self.kind == "string":
            parts.append(self._unescaped(self.token[1:-1]))
            self._advance()
        whole = b"".join(parts)
        if kind == "bytes":
            return whole
        try:
            return whole.decode()
        except UnicodeDecodeError:
            self.place = place
            self._fail("expected a string in UTF-8", repr(whole))
            raise

    def _unescaped(self, text: str) -> bytes:
        if "\\" not in text:
            return text.encode("utf-8", "surrogatepass")
        parts, end = [], 0
        for found in _ESCAPE.finditer(text):
            parts.append(text[end : found.start()].encode())
            octal, digits, point, letter = found.groups()
            if octal is not None:
                parts.append(bytes([int(octal, 8) & 255]))
            elif digits is not None:
                parts.append(bytes([int(digits, 16)]))
            elif point is not None:
                parts.append(chr(int(point, 16)).encode("utf-8", "surrogatepass"))
            else:
                parts.append(bytes([_LETTERS[letter]]) if letter in _LETTERS else letter.encode())
            end = found.end()
        return b"".join([*parts, text[end:].encode()])


def _number(kind: Any, digits: str, sign: int) -> Any:
    """The value of a number without its sign; None where it is none of this kind."""
    is_whole = digits.isdigit() or digits[:2] in ("0x", "0X")
    is_octal = digits.isdigit() and len(digits) > 1 and digits[0] == "0"
    if kind in ("float", "double"):
        return sign * float(digits.rstrip("fF")) if digits[:2] not in ("0x", "0X") else None
    if not is_whole:
        return None
    try:
        found = sign * int(digits, 8 if is_octal else 0)
    except ValueError:  # an 8 in an octal number
        return None
    if kind == "bool":
        return bool(found) if found in (0, 1) else None
    if isinstance(kind, EnumType):
        return kind.words.get(found)
    least, greatest = INTEGERS[kind]
    return found if least <= found <= greatest else None


def _told(kind: Any) -> str:
    if isinstance(kind, EnumType):
        return f"one of {', '.join(kind.numbers)}"
    if kind in INTEGERS:
        least, greatest = INTEGERS[kind]
        return f"a whole number from {least} to {greatest}"
    return "true or false" if kind == "bool" else "a number"
