"""What is not there yet says so, and what lands is taken out of the table."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import tigon as mx
from tigon import nd, sym
from tigon.base.absent import TABLE
from tigon.gluon import nn

TOOLS = str(Path(__file__).resolve().parents[2] / "tools")

NAMES = [(row.owner, name, row.instead) for row in TABLE for name in row.names.split()]


def found(owner: str) -> Any:
    try:
        return import_module(owner)
    except ModuleNotFoundError:
        module, _, name = owner.rpartition(".")
        return getattr(found(module), name)


@pytest.mark.parametrize(("owner", "name", "instead"), NAMES)
def test_what_is_missing_says_so(owner: str, name: str, instead: str) -> None:
    place = found(owner)
    assert not hasattr(place, name), "it has landed: take it out of tigon/base/absent.py"
    with pytest.raises(AttributeError) as error:
        getattr(place, name)
    shown = owner.replace("tigon", "mx", 1)
    assert str(error.value) == (
        f"{shown}.{name} is not there yet; the nearest thing: {instead}; see docs/missing.md"
    )


def test_other_names_are_plain_errors() -> None:
    for place in (mx, nd, nn, mx.metric, nd.contrib, sym):
        with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
            place.nonsense  # noqa: B018


def test_instances_and_subclasses() -> None:
    layer = nn.Dense(1)
    with pytest.raises(AttributeError, match=r"mx\.gluon\.Block\.optimize_for is not there"):
        layer.optimize_for("backend")

    class Optimizing(nn.Dense):
        def optimize_for(self, name: str) -> str:
            return name

    assert Optimizing(1).optimize_for("backend") == "backend"
    layer.optimize_for = 3
    assert layer.optimize_for == 3


def test_the_page_is_up_to_date() -> None:
    sys.path.insert(0, TOOLS)
    try:
        module = import_module("missing_page")
    finally:
        sys.path.remove(TOOLS)
    assert module.PAGE.read_text() == module.page(), "run make docs"
