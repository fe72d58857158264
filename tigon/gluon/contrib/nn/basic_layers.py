"""Layers that stand in `gluon.contrib.nn`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tigon import autograd, distributed
from tigon.base import as_dtype, check
from tigon.base.lazy import continued_by
from tigon.gluon.block import HybridBlock
from tigon.gluon.nn.basic import Embedding
from tigon.gluon.nn.norm import BatchNorm
from tigon.gluon.parameter import ParameterDict


class SparseEmbedding(Embedding):
    """Row `i` of a table for each index `i`, with a row-sparse gradient: `nn.Embedding` with
    `sparse_grad`. Unlike MXNet's it can be hybridized.

    >>> SparseEmbedding(10, 4)
    SparseEmbedding(10 -> 4, float32)
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        dtype: Any = "float32",
        weight_initializer: Any = None,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        super().__init__(
            input_dim,
            output_dim,
            dtype,
            weight_initializer,
            sparse_grad=True,
            prefix=prefix,
            params=params,
        )

    def __repr__(self) -> str:
        return f"SparseEmbedding({self._input_dim} -> {self._output_dim}, {self.weight.dtype})"


class SyncBatchNorm(BatchNorm):
    """`nn.BatchNorm` whose statistics are those of the batches of all ranks together, whatever
    their sizes. `num_devices`: how many ranks there are, or None.

    >>> SyncBatchNorm(in_channels=3, num_devices=1).running_mean.shape
    (3,)
    """

    def __init__(
        self,
        in_channels: int = 0,
        num_devices: int | None = None,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        use_global_stats: bool = False,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        running_mean_initializer: Any = "zeros",
        running_variance_initializer: Any = "ones",
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        ranks = distributed.size()
        check(
            num_devices in (None, ranks),
            "SyncBatchNorm",
            f"num_devices: expected None or the number of ranks, {ranks}; given {num_devices}; "
            "statistics of several devices of one rank are not summed: give each batch to one",
        )
        super().__init__(
            1,
            momentum,
            epsilon,
            center,
            scale,
            use_global_stats,
            beta_initializer,
            gamma_initializer,
            running_mean_initializer,
            running_variance_initializer,
            in_channels,
            prefix=prefix,
            params=params,
        )
        del self._kwargs["axis"]
        self._kwargs.update(ndev=1, key=self.prefix)

    def hybrid_forward(
        self,
        F: Any,
        x: Any,
        gamma: Any,
        beta: Any,
        running_mean: Any,
        running_var: Any,
    ) -> Any:
        operands = (x, gamma, beta, running_mean, running_var)
        alone = distributed.size() == 1 or self._kwargs["use_global_stats"]
        if alone or not autograd.is_training():
            return F.contrib.SyncBatchNorm(*operands, name="fwd", **self._kwargs)
        mean, variance = _of_all_ranks(F, x)
        settings = {name: self._kwargs[name] for name in ("eps", "momentum", "fix_gamma")}
        return F._normalize_by(
            x, gamma, beta, mean, variance, running_mean, running_var, **settings
        )


def _of_all_ranks(F: Any, x: Any) -> tuple[Any, Any]:
    """Mean and variance of each channel, from those of each rank, in one exchange."""
    wide = x if as_dtype(x.dtype).itemsize > 2 else x.astype("float32")
    channels = x.shape[1]
    mean = F.mean(wide, axis=1, exclude=True)
    centred = F.broadcast_sub(wide, mean.reshape((1, -1) + (1,) * (len(x.shape) - 2)))
    variance = F.mean(F.square(centred), axis=1, exclude=True)
    one = F.ones_like(F.slice_axis(mean, axis=0, begin=0, end=1))
    count = one * (math.prod(x.shape) // channels)
    every = distributed.allgather(F.expand_dims(F.concat(mean, variance, count, dim=0), axis=0))
    means = F.slice_axis(every, axis=1, begin=0, end=channels)
    variances = F.slice_axis(every, axis=1, begin=channels, end=2 * channels)
    counts = F.slice_axis(every, axis=1, begin=2 * channels, end=2 * channels + 1)
    shares = F.broadcast_div(counts, F.sum(counts, axis=0, keepdims=True))
    whole = F.sum(F.broadcast_mul(means, shares), axis=0, keepdims=True)
    apart = variances + F.square(F.broadcast_sub(means, whole))
    return whole.reshape((-1,)), F.sum(F.broadcast_mul(apart, shares), axis=0)


class PixelShuffle(HybridBlock):
    """What the layers that move channels into space share: of `factor` numbers along each axis, a
    block of channels becomes a block of places."""

    _ndim: int

    def __init__(self, factor: int | Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        ndim = self._ndim
        factors = (factor,) * ndim if isinstance(factor, int) else tuple(factor)
        check(
            len(factors) == ndim and min(factors) > 0,
            type(self).__name__,
            f"factor: expected a number above 0, or {ndim} of them; given {factor}",
        )
        self._factors = factors

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        ndim = self._ndim
        count = 1
        for factor in self._factors:
            count *= factor
        space = (0,) * ndim
        # (n, c * f1 * f2, h, w) -> (n, c, f1, f2, h, w) -> (n, c, h, f1, w, f2)
        x = F.reshape(x, shape=(0, -4, -1, count, *space))
        for place, factor in enumerate(self._factors[:-1], 2):
            count //= factor
            x = F.reshape(x, shape=(*(0,) * place, -4, factor, count, *space))
        turned = [axis for i in range(2, 2 + ndim) for axis in (ndim + i, i)]
        x = F.transpose(x, axes=(0, 1, *turned))
        return F.reshape(x, shape=(0, 0, *(-3,) * ndim))

    def __repr__(self) -> str:
        factors = self._factors[0] if self._ndim == 1 else self._factors
        return f"{type(self).__name__}({factors})"


class PixelShuffle1D(PixelShuffle):
    """(n, factor * c, w) becomes (n, c, w * factor).

    >>> from tigon import nd
    >>> PixelShuffle1D(2)(nd.array([[[1, 2], [3, 4]]])).asnumpy().tolist()
    [[[1.0, 3.0, 2.0, 4.0]]]
    """

    _ndim = 1


class PixelShuffle2D(PixelShuffle):
    """(n, f1 * f2 * c, h, w) becomes (n, c, h * f1, w * f2), for `factor` (f1, f2).

    >>> from tigon import nd
    >>> PixelShuffle2D((2, 3))(nd.ones((1, 12, 3, 5))).shape
    (1, 2, 6, 15)
    """

    _ndim = 2


class PixelShuffle3D(PixelShuffle):
    """(n, f1 * f2 * f3 * c, d, h, w) becomes (n, c, d * f1, h * f2, w * f3).

    >>> from tigon import nd
    >>> PixelShuffle3D((2, 1, 3))(nd.ones((1, 6, 1, 2, 2))).shape
    (1, 1, 2, 2, 6)
    """

    _ndim = 3


continued_by(globals(), "tigon.gluon.contrib.nn")
