"""The text of a configuration: names, equals signs and values, each setting on a line or beside
others; `#` begins a remark, quotes hold what has spaces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tigon.base import TigonError

_TOKEN = re.compile(
    r"""(?P<space>[ \t\f\v]+) | (?P<end>\r\n|\n|\r) | (?P<remark>\#[^\r\n]*)
      | "(?P<line>(?:\\.|[^"\\\r\n])*)" | '(?P<lines>(?:\\[\s\S]|[^'\\])*)'
      | (?P<equals>=) | (?P<word>[^\s=\#"']+)""",
    re.VERBOSE,
)
MOST_CHARACTERS = 1000
"""Of a name or a number: what is longer is no setting."""


class Setting(NamedTuple):
    """A name, what it is set to, and the line where that stands; 0: it was given by the program."""

    name: str
    value: str
    line: int = 0


class Place:
    """What errors and warnings about a configuration say first."""

    def __init__(self, where: str) -> None:
        self.where = where

    def at(self, line: int) -> str:
        """`file: line 3`, say."""
        return f"{self.where}: line {line}" if line else f"{self.where}: the settings given to load"

    def fail(self, line: int, message: str) -> TigonError:
        """The error to raise."""
        return TigonError(f"{self.at(line)}: {message}")

    def integer(self, setting: Setting, least: int = 0, most: int = 2**31 - 1) -> int:
        """A setting's value as a whole number."""
        text = setting.value.strip()
        if re.fullmatch(r"[+-]?[0-9]{1,10}", text) and least <= int(text) <= most:
            return int(text)
        raise self.fail(
            setting.line,
            f"{setting.name}: expected a whole number from {least} to {most}; given {text!r:.80}",
        )

    def number(self, setting: Setting, least: float = -3e38, most: float = 3e38) -> float:
        """A setting's value as a number."""
        text = setting.value.strip()
        known = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?f?", text[:100])
        if known and len(text) <= 100 and least <= float(text.rstrip("f")) <= most:
            return float(text.rstrip("f"))
        limits = "" if (least, most) == (-3e38, 3e38) else f" from {least:g} to {most:g}"
        raise self.fail(
            setting.line, f"{setting.name}: expected a number{limits}; given {text!r:.80}"
        )

    def choice(self, setting: Setting, known: dict[str, str]) -> str:
        """A setting's value, out of a few words, as what it means."""
        if setting.value in known:
            return known[setting.value]
        raise self.fail(
            setting.line,
            f"{setting.name}: expected one of {', '.join(known)}; given {setting.value!r:.80}",
        )


class _Token(NamedTuple):
    text: str
    line: int
    is_equals: bool


def settings_of(content: str | bytes, place: Place) -> list[Setting]:
    """The settings in a text, in its order.

    >>> settings_of('eta = 0.1 # slow\\npath = "my data"', Place("text"))
    [Setting(name='eta', value='0.1', line=1), Setting(name='path', value='my data', line=2)]
    """
    if isinstance(content, (bytes, memoryview)):
        try:
            content = bytes(content).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = bytes(content)[: error.start]
            line = before.count(b"\n") + 1
            raise place.fail(line, f"byte {error.start} is not UTF-8") from None
    tokens = list(_tokens(content, place))
    found = []
    for start in range(0, len(tokens), 3):
        name, *rest = tokens[start : start + 3]
        shown = " ".join(token.text for token in (name, *rest))
        same_line = all(token.line == name.line for token in rest)
        if [token.is_equals for token in (name, *rest)] != [False, True, False] or not same_line:
            raise place.fail(
                name.line,
                f"expected NAME = VALUE on one line; given {shown!r:.80}; put quotes around a "
                "value with spaces",
            )
        if len(name.text) > MOST_CHARACTERS:
            raise place.fail(name.line, f"expected a name; given {name.text!r:.80}...")
        found.append(Setting(name.text, rest[1].text, name.line))
    return found


def _tokens(text: str, place: Place) -> Iterator[_Token]:
    at, line, touches = 0, 1, False
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise place.fail(line, f"expected the end of a text in quotes {text[at]}")
        kind, content = match.lastgroup, match.group(match.lastgroup or 0)
        if kind in ("line", "lines", "word"):
            if touches:
                raise place.fail(line, f"expected a space before {match.group()!r:.80}")
            plain = content if kind == "word" else re.sub(r"\\([\s\S])", r"\1", content)
            yield _Token(plain, line, False)
        elif kind == "equals":
            yield _Token("=", line, True)
        touches = kind in ("line", "lines", "word")
        if kind in ("end", "lines"):
            line += len(re.findall(r"\r\n|\n|\r", match.group()))
        at = match.end()
