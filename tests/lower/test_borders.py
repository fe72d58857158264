"""What is written within a border is what a pad of it is, whoever computes it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fuzz.interpret import interpret
from tigon import _native
from tigon.base import TensorType, as_dtype
from tigon.ir import Graph, Value, variable
from tigon.lower.fuse.reads import border_of
from tigon.ops import get
from tigon.program.compile import compile_graph
from tigon.program.target import optional_passes

MAKERS = {
    "nothing": lambda x: x,
    "a view": lambda x: get("transpose")(x),
    "elementwise work": lambda x: get("abs")(x) + x,
    "a product": lambda x: get("abs")(get("dot")(x, get("transpose")(x) + 1) + 1),
    "rows": lambda x: x - get("max")(x, axis=1, keepdims=True),
    "a row's result": lambda x: get("sum")(x, axis=1),
    "a scan": lambda x: get("cumsum")(x, axis=1) * 2,
    "a join": lambda x: get("concat")(x, x + 1, dim=0),
}


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("maker", MAKERS)
def test_what_is_written_within_a_border(maker: str, dtype: str) -> None:
    random = np.random.default_rng([*MAKERS].index(maker))
    for shape in ((3, 5), (1, 17), (4, 1), (0, 2), (20, 33)):
        x = variable("x", TensorType(shape, as_dtype(dtype)))
        y = MAKERS[maker](x)
        outputs: list[Value] = []
        for value in (0.0, 2.5):
            before, after = random.integers(0, 4, (2, y.ndim)).tolist()
            if value:  # lines of memory as they are
                before[-1] = after[-1] = 0
            padded = get("_pad")(y, before=tuple(before), after=tuple(after), value=value)
            written = get("_stored")(padded)
            if value and padded.shape[-1] > 1:
                assert border_of(written.node) is padded.node
            outputs += [written, padded, get("relu")(written) + padded]
        graph = Graph([x], [*outputs, y])
        given = [random.integers(-4, 5, shape).astype(dtype)]
        wanted = interpret(graph, given)
        for disabled in (frozenset[str](), frozenset(optional_passes())):
            found = compile_graph(graph, disabled=disabled).run([*map(_native.from_numpy, given)])
            for one, other in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(one.asnumpy(), other)
