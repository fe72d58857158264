"""JSON text as a document: what is damaged is told with its place."""

from __future__ import annotations

import json
import re
from typing import Any

from tigon.base import TigonError
from tigon.export.values import repeated


def damaged(where: str, place: str, expectation: str, given: Any) -> TigonError:
    """The error to raise. `place` is a path into the JSON document."""
    text = repr(given)
    text = text if len(text) <= 80 else text[:77] + "..."
    return TigonError(
        f"{where}: at {place}: {expectation}; given {text}; the file is damaged or not a "
        "-symbol.json"
    )


class _Repeating(dict):
    """An object that has a name twice."""

    twice = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeating = _Repeating(found)
    repeating.twice = repeated([name for name, _ in pairs]) or ""
    return repeating


def object_at(where: str, place: str, found: Any) -> dict[str, Any]:
    """What is found at this place, if it is an object."""
    if not isinstance(found, dict):
        raise damaged(where, place, "expected an object", found)
    if isinstance(found, _Repeating):
        raise damaged(where, place, "expected every name once", f"{found.twice} twice")
    return found


def parsed(content: str | bytes, where: str) -> dict[str, Any]:
    """The object that this text is. `where` names the text in errors."""
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
    except UnicodeDecodeError as error:
        raise TigonError(
            f"{where}: byte {error.start} is not UTF-8; expected the JSON text of a graph"
        ) from None
    try:
        document = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        place, wrong = error.pos, error.msg
    except RecursionError:
        place, wrong = _deep_place(text), "is nested too deeply"
    except ValueError:
        digits = re.search("[0-9]{4000,}", text)
        place, wrong = digits.start() if digits else 0, "is a number of too many digits"
    else:
        return object_at(where, "line 1", document)
    line = text.count("\n", 0, place) + 1
    column = place - text.rfind("\n", 0, place)
    raise TigonError(
        f"{where}: line {line}, column {column}: {wrong}; expected the JSON text of a graph; the "
        "file is damaged or cut off"
    )


def _deep_place(text: str) -> int:
    """Where objects and lists lie more deeply in each other than in any graph."""
    depth = 0
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', text):
        depth += 1 if found.group() in "[{" else -1 if found.group() in "]}" else 0
        if depth > 100:
            return found.start()
    return 0


def version_of(document: dict[str, Any], where: str) -> int:
    """Of MXNet, as it counts them: 1.9.1 is 10901. Files did not say it before 0.9."""
    attributes = object_at(where, "attrs", document.get("attrs", {}))
    entry = attributes.get("mxnet_version", ["int", 800])
    if not isinstance(entry, list) or len(entry) != 2 or type(entry[1]) is not int:
        raise damaged(where, "attrs.mxnet_version", 'expected ["int", version]', entry)
    return entry[1]


def entry_of(where: str, place: str, entry: Any, count: int) -> tuple[int, int]:
    """An output of a node, of `count` there are."""
    if (
        not isinstance(entry, list)
        or len(entry) not in (2, 3)
        or not all(type(part) is int for part in entry)
        or not 0 <= entry[0] < count
        or entry[1] < 0
    ):
        raise damaged(where, place, f"expected [node below {count}, output, version]", entry)
    return entry[0], entry[1]
