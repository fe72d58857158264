"""The null backend takes any well-formed nest, refuses others, and computes nothing."""

import pytest

from tigon.backends.null import NullBackend
from tigon.base.dtypes import float32
from tigon.base.errors import InternalError
from tigon.base.frozen import replace
from tigon.loop import build as L
from tigon.loop.grammar import Buffer, LoopAxis, Nest, Store


def fill(count: int) -> Nest:
    store = Store(0, L.axis("i"), L.const(2.5, float32))
    return Nest((Buffer(float32, "out"),), (LoopAxis("i", L.const(count)),), (store,))


def test_shapes_share_one_function() -> None:
    backend = NullBackend()
    launches = [backend.prepare(fill(count)) for count in (3, 5)]
    assert [launch.points for launch in launches] == [0, 0]
    first, second = backend.compile([launch.structure for launch in launches])
    assert first == second != 0
    assert backend.counters["compilations"] == 1
    assert backend.counters["cache_hits"] == 1


def test_a_malformed_nest_is_refused() -> None:
    with pytest.raises(InternalError, match="axis i is not in scope"):
        NullBackend().prepare(replace(fill(3), space=()))
