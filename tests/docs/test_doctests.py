"""Every example in every docstring of the package runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import tigon

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(tigon.__path__, "tigon.")
    if "_native" not in module.name
)


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS, verbose=False)
    assert failed == 0
