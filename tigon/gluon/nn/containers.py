"""Containers whose blocks all see the same input."""

from __future__ import annotations

from typing import Any

from tigon import nd
from tigon.gluon.block import HybridBlock
from tigon.gluon.nn.basic import HybridSequential, Sequential


class Concurrent(Sequential):
    """Blocks side by side on the same input: their results are joined along `axis`.

    >>> from tigon import nd
    >>> net = Concurrent(axis=1)
    >>> net.add(Identity(), Identity())
    >>> net(nd.array([[1, 2]])).asnumpy().tolist()
    [[1.0, 2.0, 1.0, 2.0]]
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def forward(self, x: Any, *args: Any) -> Any:
        """Run each block on all arguments and join what comes out."""
        results = [block(x, *args) for block in self._children.values()]
        return nd.concat(*results, dim=self.axis)


class HybridConcurrent(HybridSequential):
    """Hybrid blocks side by side on the same input: their results are joined along `axis`.

    >>> from tigon import nd
    >>> net = HybridConcurrent(axis=0)
    >>> net.add(Identity(), Identity())
    >>> net(nd.array([[1, 2]])).asnumpy().tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def hybrid_forward(self, F: Any, x: Any, *args: Any) -> Any:
        """Run each block on all arguments and join what comes out."""
        results = [block(x, *args) for block in self._children.values()]
        return F.concat(*results, dim=self.axis)


class Identity(HybridBlock):
    """Gives what it is given, as a branch of `HybridConcurrent` beside others.

    >>> from tigon import nd
    >>> Identity()(nd.ones((2,))).asnumpy().tolist()
    [1.0, 1.0]
    """

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return x
