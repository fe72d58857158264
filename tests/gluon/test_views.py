"""Views of arrays, returned and handed on."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

from tests.gluon.both_ways import Case, Make, adder
from tigon import autograd, nd

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gives way:RuntimeWarning", "ignore:.*traced again:RuntimeWarning"
)

CASES: dict[str, Case] = {}
case = adder(CASES)


@case
def a_view_of_a_numpy_array_is_returned(make: Make) -> list[Any]:
    held = np.arange(6.0)
    net = make(lambda self, x: (x, self.held[1:3]), held=held)
    seen = []
    for _ in range(3):
        net(nd.array([1, 2]))[1][:] += 1
        seen.append(held.tolist())
    return seen


HELD = np.array([[1, 2], [3, 4]])


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        lambda x, held: (x * 2)[:],
        lambda x, held: x[:][0],
        lambda x, held: x[...][0],
        lambda x, held: x[0:2][0:1],
        lambda x, held: x[:, :3][:, 0],
        lambda x, held: held[: x.shape[0]][0],
        lambda x, held: (x[:], x[0])[1],
        lambda x, held: ((x * 2)[:2], (x * 2)[0]),
        lambda x, held: [row for row in x[:2]],
        lambda x, held: x[:],
        lambda x, held: held[:],
        lambda x, held: x.reshape(x.shape),
        lambda x, held: x.detach().detach(),
        lambda x, held: x.reshape((-1,)).reshape((2, 2)),
    ],
)
def test_views_of_all_of_an_array(function: Any, recorded: bool) -> None:
    """Each is another array that shares memory."""

    def run(make: Make) -> Any:
        held, seen = nd.array(HELD), []
        compiled = make.jit(lambda x: function(x, held))
        for _ in range(2):
            x = nd.array(HELD)
            with autograd.record() if recorded else contextlib.nullcontext():
                result = compiled(x)
            first = result[0] if isinstance(result, (list, tuple)) else result
            first[:] = 9
            seen += [first is x, x.asnumpy().tolist(), held.asnumpy().tolist()]
        return seen

    assert run(Make(False)) == run(Make(True))


@pytest.mark.parametrize("name", CASES)
def test_hybridized_as_imperatively(name: str) -> None:
    assert CASES[name](Make(False)) == CASES[name](Make(True))
