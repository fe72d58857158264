"""Every class of Gluon that takes arguments says in its documentation what they are."""

from __future__ import annotations

import inspect

import pytest

from tigon import gluon

MODULES = (gluon, gluon.nn, gluon.loss, gluon.data, gluon.contrib.nn)
CLASSES = {
    kind
    for module in MODULES
    for name in module.__all__
    for kind in (getattr(module, name),)
    if inspect.isclass(kind) and not issubclass(kind, Exception)
}


@pytest.mark.parametrize("kind", sorted(CLASSES, key=lambda kind: kind.__name__))
def test_each_argument_has_a_line(kind: type) -> None:
    parameters = inspect.signature(kind).parameters.values()
    wanted = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    if not wanted:
        return
    head, found, section = (kind.__doc__ or "").partition("\nParameters\n----------\n")
    assert found and head.strip(), f"{kind.__name__} has no Parameters section"
    lines = section.split("\n")
    named = [line.split(",")[0].strip("*") for line in lines[::2]]
    assert named == wanted
    assert all(line.startswith("    ") and line.strip() for line in lines[1::2])
