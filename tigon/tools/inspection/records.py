"""Record files and their indexes."""

from __future__ import annotations

import struct
from collections import Counter

from tigon.base import TigonError
from tigon.recordio import MAGIC
from tigon.tools.inspection.report import Format, Report

_MARK = struct.pack("<I", MAGIC)
_KINDS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"\x93NUMPY": "NumPy"}


def _is_record_file(content: memoryview, path: str) -> bool:
    return bytes(content[:4]) == _MARK or path.endswith(".rec")


def _describe_records(content: memoryview, path: str) -> Report:
    records, at = 0, 0
    labels: Counter[int] = Counter()
    kinds: Counter[str] = Counter()
    while at < len(content):
        if at + 8 > len(content) or bytes(content[at : at + 4]) != _MARK:
            raise TigonError(
                f"{path}: at byte {at}: expected a record's mark {MAGIC:#x} and length; given "
                f"{bytes(content[at : at + 8]).hex()}; the file is damaged or cut off"
            )
        (word,) = struct.unpack("<I", content[at + 4 : at + 8])
        part, length = word >> 29, word & (1 << 29) - 1
        start, at = at + 8, at + 8 + (length + 3) // 4 * 4
        if at > len(content) or part > 3:
            raise TigonError(
                f"{path}: at byte {start - 4}: expected the length of a record within the "
                f"{len(content) - start} bytes that are left; given {length}, part {part}; the "
                "file is damaged or cut off"
            )
        if part in (0, 1):
            records += 1
            _count_image(content[start : start + length], labels, kinds)
    facts = [("records", f"{records:,}")]
    if kinds and sum(labels.values()) == records:
        shown = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
        facts += [("images", shown), ("labels of each", ", ".join(map(str, sorted(labels))))]
    return Report(format="a record file", facts=facts)


def _count_image(payload: memoryview, labels: Counter[int], kinds: Counter[str]) -> None:
    """A header of 24 bytes, labels, and a file whose first bytes say what it is."""
    if len(payload) < 24:
        return
    (flag,) = struct.unpack("<I", payload[:4])
    if flag > len(payload) // 4:
        return
    start = bytes(payload[24 + 4 * flag : 32 + 4 * flag])
    kind = next((name for mark, name in _KINDS.items() if start.startswith(mark)), None)
    if kind is not None:
        kinds[kind] += 1
        labels[max(flag, 1)] += 1


def _is_index(content: memoryview, path: str) -> bool:
    return path.endswith(".idx")


def _describe_index(content: memoryview, path: str) -> Report:
    lines = bytes(content).splitlines()
    for number, line in enumerate(lines, 1):
        key, tab, place = line.partition(b"\t")
        if not (tab and key.strip() and place.strip().isdigit()):
            raise TigonError(
                f"{path}: line {number}: expected a key, a tab and a byte offset; given "
                f"{line[:60]!r}; write the index anew: python -m tigon.tools.im2rec --index"
            )
    return Report(format="the index of a record file", facts=[("records", f"{len(lines):,}")])


FORMATS = (
    Format("record files", _is_record_file, _describe_records),
    Format("indexes of record files", _is_index, _describe_index),
)
