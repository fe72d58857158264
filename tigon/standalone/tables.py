"""The tables of an exported library, as `csrc/standalone/tables.h` says: words of 64 bits, which
the runtime reads where they lie. Each record here has the fields that an enum has there, in
order."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tigon.base.extents import RuntimeExtent, RuntimeNumber, RuntimeRatio

MAGIC = int.from_bytes(b"tigon", "little")

PLACED = 8
"""Words: constants lie at multiples of a cache line."""


class ModelRow(NamedTuple):
    magic: int
    name: int
    levels: int
    levels_at: int
    inputs: int
    inputs_at: int
    outputs: int
    outputs_at: int
    extents: int
    extents_at: int
    states: int
    states_at: int
    weights: int
    weights_at: int
    apart: int
    distance: int
    bytes: int
    begin: int
    digest: int
    digest_high: int
    draws: int
    updates: int
    notices: int
    notices_at: int


class ArrayRow(NamedTuple):
    name: int
    dtype: int
    item: int
    dimensions: int
    shape_at: int
    bytes: int
    place: int


class ExtentRow(NamedTuple):
    name: int
    likely: int


class LevelRow(NamedTuple):
    name: int
    features: int
    features_at: int
    code: int
    ways: int
    ways_at: int


class WayRow(NamedTuple):
    program: int
    sources: int
    sources_at: int
    targets: int
    targets_at: int


class ProgramRow(NamedTuple):
    conditions: int
    conditions_at: int
    temporaries: int
    temporaries_at: int
    constants: int
    constants_at: int
    launches: int
    launches_at: int
    inputs: int
    outputs: int


class ConditionRow(NamedTuple):
    formula: int
    test: int
    answer: int
    text: int


class TemporaryRow(NamedTuple):
    bytes: int
    first: int
    last: int
    shares: int
    shares_at: int


class LaunchRow(NamedTuple):
    name: int
    buffers: int
    buffers_at: int
    control: int
    choices: int
    choices_at: int


class ChoiceRow(NamedTuple):
    conditions: int
    conditions_at: int
    function: int
    slots: int
    slots_at: int
    points: int
    grain: int
    scratch: int


class ControlRow(NamedTuple):
    kind: int
    data: int
    states: int
    others: int
    outs: int
    loose: int
    reverse: int
    counted: int
    keyed: int
    most: int
    ordinal: int
    rows_at: int
    bytes_at: int
    kept_at: int
    body: int
    other: int


FROM_INPUT, FROM_WEIGHT, FROM_STATE, FROM_KEY, FROM_SCHEDULE = range(5)
TO_OUTPUT, TO_STATE, TO_STATE_LATER = range(3)
INPUT, OUTPUT, TEMPORARY, CONSTANT, NOTHING = range(5)
TESTS = {"eq": 0, "lt": 1, "le": 2}
AS_IT_IS, WHOLE, REAL, SHARE = range(4)
THE_EXTENT, QUOTIENT, REST = range(3)


class Tables:
    """Tables that grow. The row of the model comes first, when all else is there.

    >>> tables = Tables()
    >>> place = tables.text("batch")
    >>> tables.text("batch") == place, len(tables.content(ModelRow(*[0] * 24))) % 8
    (True, 0)
    """

    def __init__(self) -> None:
        self._words: list[int] = [0] * len(ModelRow._fields)
        self._known: dict[Any, int] = {}

    def words(self, words: Iterable[int]) -> int:
        """The place of these words; equal ones are there once."""
        given = tuple(words)
        found = self._known.get(given)
        if found is None:
            found = self._known[given] = len(self._words)
            self._words += given
        return found

    def room(self, count: int) -> int:
        """The place of words that `overwrite` fills: nobody else's, whatever they hold now."""
        self._words += [0] * count
        return len(self._words) - count

    def rows(self, rows: Sequence[Iterable[int]]) -> tuple[int, int]:
        """How many, and the place of the first."""
        return len(rows), self.words([word for row in rows for word in row]) if rows else 0

    def text(self, text: str) -> int:
        content = text.encode() + b"\0"
        content += bytes(-len(content) % 8)
        return self.words(struct.unpack(f"<{len(content) // 8}q", content))

    def constant(self, content: bytes) -> int:
        """Bytes of an array, at a place for vectors."""
        found = self._known.get(content)
        if found is None:
            self._words += [0] * (-len(self._words) % PLACED)
            found = self._known[content] = len(self._words)
            content += bytes(-len(content) % 8)
            self._words += struct.unpack(f"<{len(content) // 8}q", content)
        return found

    def formula(self, number: Any) -> int:
        """A number that may depend on open extents."""
        if not isinstance(number, RuntimeExtent):
            return self.words([1, int(number), 0] if number else [0])
        words = [len(number.terms)]
        for monomial, coefficient in number.terms.items():
            words += [coefficient, len(monomial)]
            for kind, *operands in monomial:
                if kind == "n":
                    words += [THE_EXTENT, operands[0], 0]
                else:
                    places = [self.formula(operand) for operand in operands]
                    words += [QUOTIENT if kind == "floordiv" else REST, *places]
        return self.words(words)

    def slot(self, form: str, value: Any) -> tuple[int, int]:
        """A number of a launch: how it is to be found, and what by."""
        if isinstance(value, RuntimeExtent):
            return REAL if form == "<d" else WHOLE, self.formula(value)
        if isinstance(value, RuntimeRatio):
            by = self.formula(value.denominator)
            return SHARE, self.words([_bits("<d", value.numerator), by])
        assert not isinstance(value, RuntimeNumber), value
        return AS_IT_IS, _bits(form, value)

    def condition(self, formula: RuntimeExtent, test: str, answer: bool, text: str) -> ConditionRow:
        return ConditionRow(self.formula(formula), TESTS[test], int(answer), self.text(text))

    def overwrite(self, place: int, words: Sequence[int]) -> None:
        self._words[place : place + len(words)] = words

    def content(self, model: ModelRow) -> bytes:
        self._words[: len(model)] = model
        return struct.pack(f"<{len(self._words)}q", *self._words)


def as_word(number: int) -> int:
    """64 bits without a sign as they are written here.

    >>> as_word(2**64 - 1)
    -1
    """
    return number - 2**64 if number >= 2**63 else number


def _bits(form: str, value: Any) -> int:
    return int(struct.unpack("<q", struct.pack(form, value))[0])
