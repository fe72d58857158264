"""How blocks are called: by position and by name, and which of their methods runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, sym
from tigon.gluon import nn


class ByF(gluon.HybridBlock):
    def hybrid_forward(self, F: Any, x: Any, scale: float = 2.0, mask: Any = None) -> Any:
        return x * scale if mask is None else x * scale * mask


class Plain(gluon.HybridBlock):
    def forward(self, x: Any, scale: float = 2.0, mask: Any = None) -> Any:
        return x * scale if mask is None else x * scale * mask


class Imperative(gluon.Block):
    def forward(self, x: Any, scale: float = 2.0, mask: Any = None) -> Any:
        return x * scale if mask is None else x * scale * mask


class NameOnly(gluon.HybridBlock):
    def forward(self, x: Any, /, *, scale: float = 2.0, mask: Any = None, **more: Any) -> Any:
        y = x * scale if mask is None else x * scale * mask
        return y + sum(more.values()) if more else y


class Weighted(gluon.HybridBlock):
    """What is given comes after a parameter of its own, whose shape is inferred."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = self.params.get("weight", shape=(0,), init="ones", allow_deferred_init=True)

    def hybrid_forward(
        self, F: Any, x: Any, weight: Any, scale: float = 2.0, mask: Any = None
    ) -> Any:
        y = F.broadcast_mul(F.elemwise_add(weight, weight), x * scale / 2)
        return y if mask is None else y * mask


X, MASK = nd.array([1, 2]), nd.array([0, 1])


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("kind", [ByF, Plain, Imperative, NameOnly, Weighted])
def test_arguments_by_name(kind: type[gluon.Block], hybridize: bool) -> None:
    block = kind()
    block.initialize()
    if hybridize:
        block.hybridize()
    for _ in range(3):
        assert block(X, mask=MASK).asnumpy().tolist() == [0, 4]
        assert block(X, mask=MASK, scale=3).asnumpy().tolist() == [0, 6]
        assert block(X, scale=3, mask=MASK).asnumpy().tolist() == [0, 6]
        assert block(X, scale=5.0).asnumpy().tolist() == [5, 10]
        assert block(X, mask=None).asnumpy().tolist() == [2, 4]
        assert block(X).asnumpy().tolist() == [2, 4]


@pytest.mark.parametrize("hybridize", [False, True])
def test_gradients_flow_to_arguments_by_name(hybridize: bool) -> None:
    block, x, mask = NameOnly(), X.copy(), MASK.copy()
    if hybridize:
        block.hybridize()
    x.attach_grad()
    mask.attach_grad()
    for _ in range(2):
        with autograd.record():
            y = block(x, mask=mask, bias=mask)
        y.backward()
        assert x.grad.asnumpy().tolist() == [0, 2]
        assert mask.grad.asnumpy().tolist() == [3, 5]


@pytest.mark.parametrize("hybridize", [False, True])
def test_blocks_within_blocks_are_given_names(hybridize: bool) -> None:
    class Outer(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.named = ByF(), NameOnly()

        def hybrid_forward(self, F: Any, x: Any, mask: Any) -> Any:
            return self.inner(x, mask=mask) + self.named(x, mask=mask, scale=3)

    outer = Outer()
    if hybridize:
        outer.hybridize()
    for _ in range(2):
        assert outer(mask=MASK, x=X).asnumpy().tolist() == [0, 10]
    symbol = outer(sym.var("x"), mask=sym.var("mask"))
    assert symbol.list_arguments() == ["x", "mask"]


def test_names_that_do_not_fit() -> None:
    for hybridize in (False, True):
        for kind in (ByF, Plain, Imperative):
            block = kind()
            block.hybridize(hybridize)
            with pytest.raises(TypeError, match="unexpected keyword argument 'wrong'"):
                block(X, wrong=1)
            with pytest.raises(TypeError, match="multiple values for argument 'scale'"):
                block(X, 2, scale=1)
            with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
                block(mask=MASK)
        block = NameOnly()
        block.hybridize(hybridize)
        with pytest.raises(TypeError, match="positional"):
            block(x=X)


def test_hooks_see_arguments_by_position() -> None:
    block = ByF()
    seen: list[Any] = []
    block.register_forward_pre_hook(lambda block, args: seen.append(args))
    block(X, mask=MASK)
    assert len(seen) == 1
    assert seen[0][0] is X and seen[0][1] == 2.0 and seen[0][2] is MASK


def test_symbol_blocks_know_their_inputs_by_name() -> None:
    block = gluon.SymbolBlock(sym.var("a") - sym.var("b"), [sym.var("a"), sym.var("b")])
    assert block(b=nd.array([1]), a=nd.array([5])).asnumpy().tolist() == [4]
    with pytest.raises(mx.TigonError, match="it has no input 'c'; given by name can be a, b"):
        block(nd.array([1]), nd.array([1]), c=X)


def test_losses_take_weights_by_name() -> None:
    loss = gluon.loss.L2Loss()
    loss.hybridize()
    values = loss(label=nd.zeros((2, 1)), pred=nd.ones((2, 1)), sample_weight=nd.array([[1], [4]]))
    assert values.asnumpy().tolist() == [0.5, 2]


# ------------------------------------------------------------------- forward or hybrid_forward


class Sum(nn.HybridSequential):
    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return sum(block(x) for block in self) + super().hybrid_forward(F, x)


class Forward(gluon.HybridBlock):
    def forward(self, x: Any) -> Any:
        return x + 1


class ThenByF(Forward):
    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return super().forward(x) if F is None else F.square(x)


class ThenForward(ThenByF):
    def forward(self, x: Any) -> Any:
        return super().forward(x) * 10


class Nothing(ThenForward):
    pass


class Mixed(Forward, ByF):
    """Of two bases the first."""


class MixedByF(ByF, Forward):
    pass


@pytest.mark.parametrize("hybridize", [False, True])
def test_the_method_of_the_most_derived_class_runs(hybridize: bool) -> None:
    doubling, sequence = nn.HybridLambda(lambda F, x: x * 2), Sum()
    sequence.add(doubling, doubling)
    cases: list[tuple[gluon.HybridBlock, list[float]]] = [
        (sequence, [8, 16]),
        (Forward(), [2, 3]),
        (ThenByF(), [1, 4]),
        (ThenForward(), [10, 40]),
        (Nothing(), [10, 40]),
        (Mixed(), [2, 3]),
        (MixedByF(), [2, 4]),
    ]
    for block, expected in cases:
        block.hybridize(hybridize)
        for _ in range(2):
            assert block(X).asnumpy().tolist() == expected, type(block)
        assert block(sym.var("x")).eval(x=X)[0].asnumpy().tolist() == expected, type(block)


# ------------------------------------------------------------------------ attributes of layers


def test_kwargs_of_layers_are_what_their_operator_is_given() -> None:
    x = nd.array(np.arange(32).reshape((1, 2, 4, 4)))

    class Strided(nn.Conv2D):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._kwargs["stride"] = (2, 2)

    layer = Strided(3, 3, padding=1, in_channels=2)
    layer.initialize()
    layer.hybridize()
    assert layer(x).shape == (1, 3, 2, 2)
    layer._kwargs["stride"] = (4, 4)  # what was traced has read it
    assert layer(x).shape == (1, 3, 1, 1)
    layer._kwargs = dict(layer._kwargs)
    assert layer(x).shape == (1, 3, 1, 1)
    layer._kwargs["stride"] = (2, 1)
    assert layer(x).shape == (1, 3, 2, 4)
    pool = nn.AvgPool2D(2)
    pool.hybridize()
    assert pool(x).asnumpy().ravel()[0] == 2.5
    pool._kwargs.update(pool_type="max")
    assert pool(x).asnumpy().ravel()[0] == 5
    norm = nn.BatchNorm(in_channels=2)
    norm.initialize()
    norm.hybridize()
    assert norm._kwargs["use_global_stats"] is False
    with autograd.record():
        assert abs(norm(x).mean().asscalar()) < 1e-4
    norm._kwargs["use_global_stats"] = True
    with autograd.record():
        assert abs(norm(x).mean().asscalar()) > 1
    assert nn.Embedding(4, 2)._kwargs["input_dim"] == 4
    assert nn.LayerNorm(epsilon=1e-3)._kwargs == {
        "axis": -1,
        "eps": 1e-3,
        "center": True,
        "scale": True,
    }
