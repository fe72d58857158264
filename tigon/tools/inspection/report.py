"""What is said of a file, whatever its format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tigon.base import as_dtype
from tigon.base.frozen import Frozen


class Tensor(NamedTuple):
    """An input or a parameter, as far as the file tells."""

    name: str
    dtype: str = "?"
    shape: tuple[int, ...] | None = None
    """0 where an extent is not known; None where nothing is."""
    note: str = ""
    bytes: int | None = None

    @staticmethod
    def of(name: str, array: np.ndarray, note: str = "") -> Tensor:
        """What an array is.

        >>> Tensor.of("w", np.ones((2, 3), np.float32))
        Tensor(name='w', dtype='float32', shape=(2, 3), note='', bytes=24)
        """
        return Tensor(name, as_dtype(array.dtype).name, array.shape, note, array.nbytes)


class Missing(NamedTuple):
    """An operator that there is none of here, at one node."""

    operator: str
    node: str
    reason: str


class Report(Frozen, kw_only=True):
    """A file's format and version, and what it holds."""

    format: str
    version: str = ""
    facts: Sequence[tuple[str, str]] = ()
    """Whatever else there is to say, under a heading each."""
    inputs: Sequence[Tensor] | None = None
    """None where the format has none."""
    parameters: Sequence[Tensor] | None = None
    operators: Sequence[str] | None = None
    """One per node."""
    missing: Sequence[Missing] = ()

    def text(self) -> str:
        """The report as lines of text.

        >>> toy = Report(format="a toy", version="2", inputs=[Tensor("x")], operators=["a", "a"])
        >>> print(toy.text())
        a toy, version 2
        inputs (1)
          x  ?  ?
        operators (2 of 1 kind)
          2 a
        """
        lines = [f"{self.format}, version {self.version}" if self.version else self.format]
        lines += [f"{_shown(name)}: {_shown(value)}" for name, value in self.facts]
        for name, tensors in (("inputs", self.inputs), ("parameters", self.parameters)):
            if tensors is not None:
                lines.append(f"{name} ({_amount(tensors)})")
                lines += _table(map(_row, tensors))
        if self.operators is not None:
            counts = Counter(self.operators)
            kinds = f"{len(counts)} kind{'s' if len(counts) != 1 else ''}"
            lines.append(f"operators ({len(self.operators)} of {kinds})")
            rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
            lines += [f"  {count} {_shown(name)}" for name, count in rows]
        if self.missing:
            lines.append(f"operators that are missing here ({len(self.missing)})")
            lines += [
                f"  {_shown(m.operator)}, node '{_shown(m.node)}': {m.reason}" for m in self.missing
            ]
        return "\n".join(lines)


class Format(NamedTuple):
    """A format: its name, how its files are known, and how they are read."""

    name: str
    is_one: Callable[[memoryview, str], bool]
    """Of content and path. Cheap: a look at the beginning."""
    describe: Callable[[memoryview, str], Report]
    """Of content and path, which names the file in errors. Raises a `TigonError` with the place
    where the content is damaged; runs no code from it, and keeps no view of it."""


def _shown(text: str) -> str:
    """A text of a file: what would steer a terminal is spelt out, and long ones are cut."""
    plain = text if text.isprintable() else repr(text)[1:-1]
    return plain if len(plain) <= 200 else f"{plain[:197]}..."


def _amount(tensors: Sequence[Tensor]) -> str:
    known = [tensor.bytes for tensor in tensors if tensor.bytes is not None]
    return f"{len(tensors)}, {sum(known):,} bytes" if known else str(len(tensors))


def _row(tensor: Tensor) -> tuple[str, ...]:
    shape = "?" if tensor.shape is None else str(tuple(tensor.shape))
    size = "" if tensor.bytes is None else f"{tensor.bytes:,} bytes"
    return _shown(tensor.name), tensor.dtype, shape, size, _shown(tensor.note)


def _table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    columns = [column for column in zip(*rows, strict=True) if any(column)]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in zip(*columns, strict=True)
    ]
