"""The examples in the records' docs run, and show what they say."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from _pytest.doctest import _get_checker, _get_number_flag

import tigon as mx
from tigon.ops.record import Operator, all_operators

# Numbers are compared to the digits that the text shows.
FLAGS = _get_number_flag() | doctest.NORMALIZE_WHITESPACE
DOCUMENTED = [op for op in all_operators() if ">>>" in op.doc]


@pytest.mark.parametrize("op", DOCUMENTED, ids=[op.name for op in DOCUMENTED])
def test_example_runs(op: Operator) -> None:
    names = {"nd": mx.nd, "sym": mx.sym, "mx": mx, "np": np}
    test = doctest.DocTestParser().get_doctest(op.doc, names, op.name, op.name, 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(_get_checker(), verbose=False, optionflags=FLAGS)
    runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)


def test_public_operators_have_examples() -> None:
    """Names with an underscore in front are for compilers and files, the others for people."""
    missing = [op.name for op in all_operators() if op.name[0] != "_" and op not in DOCUMENTED]
    assert not missing
