"""What classes and calls of Gluon say of arguments that they cannot take."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import tigon as mx
from tigon import gluon, nd
from tigon.gluon import nn

CLASSES = [
    kind
    for module in (gluon.nn, gluon.loss, gluon.contrib.nn)
    for name in module.__all__
    for kind in (getattr(module, name),)
    if inspect.isclass(kind) and issubclass(kind, gluon.Block)
]
NEEDED = {
    "units": 2,
    "in_units": 2,
    "channels": 2,
    "kernel_size": 3,
    "input_dim": 3,
    "output_dim": 2,
    "rate": 0.5,
}
NEEDED |= {
    "activation": "relu",
    "alpha": 0.1,
    "function": "relu",
    "outputs": None,
    "inputs": None,
    "weight": 1,
    "batch_axis": 0,
    "factor": 2,
}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_unknown_keyword_names_the_class(kind: type) -> None:
    parameters = inspect.signature(kind).parameters.values()
    given = {p.name: NEEDED[p.name] for p in parameters if p.default is p.empty and p.kind != 2}
    with pytest.raises(TypeError, match=kind.__name__) as caught:
        kind(**given, weight_initialiser="ones")
    message = str(caught.value)
    assert "'weight_initialiser'" in message and "HybridBlock" not in message.replace(
        kind.__name__, ""
    )


def test_an_unknown_keyword_names_those_that_there_are() -> None:
    with pytest.raises(mx.TigonError) as caught:
        nn.Dense(3, unit=5)
    assert str(caught.value) == (
        "Dense: has no argument 'unit'; it has: units, activation, use_bias, flatten, dtype, "
        "weight_initializer, bias_initializer, in_units, prefix, params; did you mean units?"
    )

    class Own(gluon.HybridBlock):
        def __init__(self, width: int, **keywords: Any) -> None:
            super().__init__(**keywords)

    with pytest.raises(
        TypeError, match=r"Own: has no argument 'x'; it has: width, prefix, params$"
    ):
        Own(3, x=1)


class Masked(gluon.HybridBlock):
    def hybrid_forward(self, F: Any, x: Any, mask: Any, scale: Any = None) -> Any:
        y = x if mask is None else x * mask
        return y if scale is None else y * scale


@pytest.mark.parametrize("hybridize", [False, True])
def test_none_where_an_array_must_be(hybridize: bool) -> None:
    deferred, known = nn.Dense(2), nn.Dense(2, in_units=3)
    net = nn.HybridSequential()
    net.add(nn.Activation("relu"))
    calls = [
        (deferred, (None,), "Dense: expected an array as 'x'"),
        (known, (None,), "Dense: expected an array as 'x'"),
        (net, (None,), "Activation: expected an array as 'x'"),
        (gluon.loss.L2Loss(), (nd.ones((2, 1)), None), "L2Loss: expected an array as 'label'"),
        (Masked(), (None, None), "Masked: expected an array as 'x'"),
    ]
    for block, arguments, message in calls:
        block.initialize()
        block.hybridize(hybridize)
        with pytest.raises(mx.TigonError) as caught:
            block(*arguments)
        assert str(caught.value).startswith(
            f"{message}; given None; does the code before it return its result?"
        )
    own = Masked()
    own.hybridize(hybridize)
    assert own(nd.ones((2,)), None).asnumpy().tolist() == [1, 1]
    assert own(nd.ones((2,)), nd.zeros((2,)), None).asnumpy().tolist() == [0, 0]
