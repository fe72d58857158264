"""Functions with gradients of one's own choosing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tigon.base import TensorType
from tigon.base.frozen import Frozen
from tigon.ir.graph import Graph, Node, Value, nodes_within
from tigon.ir.rewrite import substitute
from tigon.ops.primitive.arithmetic import round, sign
from tigon.ops.primitive.choose import identity
from tigon.ops.record import Operator, composite


class ScalarAttrs(Frozen):
    scalar: float = 1.0


gradient_multiplier: Operator = composite(
    "_contrib_gradientmultiplier",
    lambda attrs, data: identity(data),
    attrs=ScalarAttrs,
    grad=lambda a, g, y, x: (gradient_multiplier(g, scalar=a.scalar) * a.scalar,),
    numpy=lambda x, scalar: x.copy(),
    check_gradient=False,  # by definition not the derivative of what it gives
    samples=(((2, 3), {"scalar": -0.5}), ((0,), {})),
    doc="""The same elements; the gradient is multiplied by `scalar` (a reversed gradient where that
    is negative).

    >>> nd.contrib.gradientmultiplier(nd.array([1, 2]), scalar=-1).asnumpy()
    array([1., 2.], dtype=float32)
    """,
)


def _straight_through(name: str, op: Operator, oracle: Any, what: str, shows: str) -> Operator:
    return composite(
        name,
        lambda data: op(data),
        dtypes=op.dtypes,
        grad=lambda g, y, x: (g,),
        numpy=oracle,
        check_gradient=False,  # by definition not the derivative of what it gives
        samples=(((2, 3), {}), ((), {}), ((0, 2), {})),
        doc=f"""{what}, with the gradient of the identity (straight-through estimator).

    >>> nd.contrib.{name.removeprefix("_contrib_")}(nd.array([-1.5, 0.4])).asnumpy()
    array({shows}, dtype=float32)
    """,
    )


round_ste = _straight_through(
    "_contrib_round_ste", round, round.numpy, "The nearest whole number", "[-2.,  0.]"
)
sign_ste = _straight_through("_contrib_sign_ste", sign, np.sign, "-1, 0 or 1", "[-1.,  1.]")


class QuadraticAttrs(Frozen):
    a: float = 0.0
    b: float = 0.0
    c: float = 0.0


quadratic = composite(
    "_contrib_quadratic",
    lambda attrs, data: (data * attrs.a + attrs.b) * data + attrs.c,
    attrs=QuadraticAttrs,
    dtypes="fiu",
    numpy=lambda x, a, b, c: (x * x.dtype.type(a) + x.dtype.type(b)) * x + x.dtype.type(c),
    samples=(((2, 3), {"a": 2.0, "b": 1.0, "c": 3.0}), ((0,), {})),
    doc="""a·x² + b·x + c.

    Parameters: `a`, `b`, `c` (default 0).

    >>> nd.contrib.quadratic(nd.array([1, 2]), a=1, b=2, c=3).asnumpy()
    array([ 6., 11.], dtype=float32)
    """,
)


class OwnGradientAttrs(Frozen):
    """`backward` takes the cotangents of `results` results and what else it reads. It gives those
    of the inputs numbered in `given`, of `inputs`; the others have none. `called` is what messages
    speak of."""

    backward: Graph
    results: int
    inputs: int
    given: tuple[int, ...]
    called: str = "a custom Function"


def _infer(attrs: OwnGradientAttrs, *types: TensorType) -> tuple[TensorType, ...]:
    return tuple(TensorType(type_.shape, type_.dtype) for type_ in types[: attrs.results])


def _decompose(attrs: OwnGradientAttrs, *operands: Value) -> Any:
    return operands[0] if attrs.results == 1 else operands[: attrs.results]


def _gradient(attrs: OwnGradientAttrs, g: Any, y: Any, *operands: Value) -> tuple[Any, ...]:
    cotangents = (g,) if attrs.results == 1 else g
    others = operands[attrs.results + attrs.inputs :]
    read = dict(zip(attrs.backward.inputs, (*cotangents, *others), strict=True))
    made = substitute(attrs.backward.outputs, read)
    found = dict(zip(attrs.given, made, strict=True))
    none = [None] * len(others)
    return (*[None] * attrs.results, *[found.get(i) for i in range(attrs.inputs)], *none)


own_gradient = composite(
    "_own_gradient",
    _decompose,
    operands="*operands",
    attrs=OwnGradientAttrs,
    infer=_infer,
    outputs=lambda attrs: attrs.results,
    grad=_gradient,
    numpy=lambda *arrays, results, **_: arrays[0] if results == 1 else tuple(arrays[:results]),
    check_gradient=False,  # it is what the graph says
    samples=(
        (
            (2, 3),
            (2, 3),
            (3,),
            {
                "backward": """graph(%g, %other0) {
                    %0 = broadcast_mul(%g, %other0)
                    return %0
                }""",
                "results": 1,
                "inputs": 1,
                "given": (0,),
            },
        ),
        (
            (2,),
            (3,),
            (2,),
            (3,),
            {
                "backward": "graph(%g, %h) {\nreturn %g\n}",
                "results": 2,
                "inputs": 2,
                "given": (0,),
            },
        ),
    ),
    doc="""The first operands, with a gradient of their own: what `autograd.Function` is in a graph.

    Operands are the results, the inputs that they were computed from, and what the graph of the
    gradient reads beside cotangents.

    >>> class Passed(mx.autograd.Function):
    ...     def forward(self, x):
    ...         return x.round()
    ...     def backward(self, dy):
    ...         return dy
    >>> round_in_forward = mx.jit(lambda x: Passed()(x) * 2)
    >>> x = nd.array([1.4, 2.6])
    >>> x.attach_grad()
    >>> with mx.autograd.record():
    ...     y = round_in_forward(x)
    >>> y.backward()
    >>> y.asnumpy().tolist(), x.grad.asnumpy().tolist()
    ([2.0, 6.0], [2.0, 2.0])
    """,
)


def functions_among(nodes: Iterable[Node]) -> list[str]:
    """Which functions with gradients of their own these nodes call, in loops and branches, too."""
    every = (inner for node in nodes for inner in (node, *nodes_within(node)))
    return [node.attrs.called for node in every if node.op is own_gradient]
