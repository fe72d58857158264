"""The large operators against their oracles and finite differences, sample by sample."""

from __future__ import annotations

import pytest

from tests.ops_nn.checks import check_gradient, check_meaning
from tigon.ops.record import Operator, all_operators

_FOLDERS = ("tigon.ops.nn", "tigon.ops.optimizer", "tigon.ops.vision.resize")


def _own() -> list[Operator]:
    return [
        op
        for op in all_operators()
        if op.decompose is not None and op.decompose.__module__.startswith(_FOLDERS)
    ]


_CASES = [(op, sample) for op in _own() for sample in op.samples]
_NAMES = [f"{op.name}-{i}" for op in _own() for i, _ in enumerate(op.samples)]


def _is_smooth(op: Operator) -> bool:
    """A loss's gradient is by definition not the derivative of what it gives."""
    derives = op.differentiable and not op.is_loss and op.check_gradient is not False
    return derives and op.name != "_backward_MAERegressionOutput"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("op", "sample"), _CASES, ids=_NAMES)
def test_decomposition_means_what_the_oracle_says(op: Operator, sample: tuple, dtype: str) -> None:
    check_meaning(op, sample, dtype)


@pytest.mark.parametrize(
    ("op", "sample"),
    [case for case in _CASES if _is_smooth(case[0])],
    ids=[name for name, case in zip(_NAMES, _CASES, strict=True) if _is_smooth(case[0])],
)
def test_gradients_to_second_order(op: Operator, sample: tuple) -> None:
    check_gradient(op, sample)
