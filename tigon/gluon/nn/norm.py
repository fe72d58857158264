"""Normalization layers."""

from __future__ import annotations

from typing import Any

from tigon.base import as_dtype, check
from tigon.gluon._epoch import Settings
from tigon.gluon.block import HybridBlock
from tigon.gluon.parameter import Parameter


class _Norm(HybridBlock):
    """What the normalization layers share: gamma and beta of one extent."""

    def _affine(
        self,
        channels: int,
        center: bool,
        scale: bool,
        beta_initializer: Any,
        gamma_initializer: Any,
    ) -> None:
        self.gamma = self.params.get(
            "gamma",
            grad_req="write" if scale else "null",
            shape=(channels,),
            init=gamma_initializer,
            allow_deferred_init=True,
            differentiable=scale,
        )
        self.beta = self.params.get(
            "beta",
            grad_req="write" if center else "null",
            shape=(channels,),
            init=beta_initializer,
            allow_deferred_init=True,
            differentiable=center,
        )

    def _extent(self, x: Any, axis: int) -> int:
        ndim = len(x.shape)
        check(
            -ndim <= axis < ndim,
            type(self).__name__,
            f"axis {axis} is not in data of shape {tuple(x.shape)}; choose another axis",
        )
        return x.shape[axis]

    _kwargs: Settings

    def _parameters(self) -> list[Parameter]:
        return list(self._reg_params.values())

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value}" for name, value in self._kwargs.items())
        extent = self.gamma.shape[0] if self.gamma.shape and self.gamma.shape[0] else None
        return f"{type(self).__name__}({shown}, in_channels={extent})"


class BatchNorm(_Norm):
    """Normalizes each channel over the batch in training, by running statistics in prediction.

    >>> BatchNorm()
    BatchNorm(axis=1, eps=1e-05, momentum=0.9, fix_gamma=False, use_global_stats=False, \
in_channels=None)
    """

    def __init__(
        self,
        axis: int = 1,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        use_global_stats: bool = False,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        running_mean_initializer: Any = "zeros",
        running_variance_initializer: Any = "ones",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._axis = axis
        self._kwargs = Settings(
            {
                "axis": axis,
                "eps": epsilon,
                "momentum": momentum,
                "fix_gamma": not scale,
                "use_global_stats": use_global_stats,
            }
        )
        self._affine(in_channels, center, scale, beta_initializer, gamma_initializer)
        for name, init in (
            ("running_mean", running_mean_initializer),
            ("running_var", running_variance_initializer),
        ):
            param = self.params.get(
                name,
                grad_req="null",
                shape=(in_channels,),
                init=init,
                allow_deferred_init=True,
                differentiable=False,
            )
            setattr(self, name, param)

    def infer_shape(self, x: Any) -> None:
        extent = self._extent(x, self._axis)
        for param in self._parameters():
            param.shape = (extent,)

    def cast(self, dtype: Any) -> None:
        """Change the element type; statistics of half precision stay in float32."""
        super().cast("float32" if as_dtype(dtype).is_narrow else dtype)

    def hybrid_forward(
        self,
        F: Any,
        x: Any,
        gamma: Any,
        beta: Any,
        running_mean: Any,
        running_var: Any,
    ) -> Any:
        return F.BatchNorm(x, gamma, beta, running_mean, running_var, name="fwd", **self._kwargs)


class BatchNormReLU(BatchNorm):
    """`BatchNorm`, then `relu`, one kernel in a compiled network.

    >>> from tigon import nd
    >>> layer = BatchNormReLU()
    >>> layer.initialize()
    >>> layer(nd.array([[-1, 2]])).asnumpy().round(4).tolist()
    [[0.0, 2.0]]
    """

    def hybrid_forward(
        self,
        F: Any,
        x: Any,
        gamma: Any,
        beta: Any,
        running_mean: Any,
        running_var: Any,
    ) -> Any:
        settings = self._kwargs
        return F.contrib.BatchNormWithReLU(
            x, gamma, beta, running_mean, running_var, name="fwd", **settings
        )


class LayerNorm(_Norm):
    """Normalizes over one axis, in training and prediction alike.

    >>> LayerNorm(in_channels=4)
    LayerNorm(axis=-1, eps=1e-05, center=True, scale=True, in_channels=4)
    """

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._axis = axis
        self._epsilon = epsilon
        self._kwargs = Settings({"axis": axis, "eps": epsilon, "center": center, "scale": scale})
        self._affine(in_channels, center, scale, beta_initializer, gamma_initializer)

    def infer_shape(self, x: Any) -> None:
        extent = self._extent(x, self._axis)
        self.gamma.shape = self.beta.shape = (extent,)

    def hybrid_forward(self, F: Any, x: Any, gamma: Any, beta: Any) -> Any:
        return F.LayerNorm(x, gamma, beta, axis=self._axis, eps=self._epsilon, name="fwd")


class GroupNorm(_Norm):
    """Normalizes groups of channels of each sample; scale and shift are one per group.

    >>> GroupNorm(2).gamma.shape
    (2,)
    """

    def __init__(
        self,
        num_groups: int = 1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._num_groups = num_groups
        self._epsilon = epsilon
        self._kwargs = Settings(
            {"num_groups": num_groups, "eps": epsilon, "center": center, "scale": scale}
        )
        self._affine(num_groups, center, scale, beta_initializer, gamma_initializer)

    def hybrid_forward(self, F: Any, x: Any, gamma: Any, beta: Any) -> Any:
        return F.GroupNorm(
            x, gamma, beta, num_groups=self._num_groups, eps=self._epsilon, name="fwd"
        )


class InstanceNorm(_Norm):
    """Normalizes each channel of each sample."""

    def __init__(
        self,
        axis: int = 1,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = False,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._axis = axis
        self._epsilon = epsilon
        self._kwargs = Settings({"axis": axis, "eps": epsilon, "center": center, "scale": scale})
        self._affine(in_channels, center, scale, beta_initializer, gamma_initializer)

    def infer_shape(self, x: Any) -> None:
        extent = self._extent(x, self._axis)
        self.gamma.shape = self.beta.shape = (extent,)

    def hybrid_forward(self, F: Any, x: Any, gamma: Any, beta: Any) -> Any:
        if self._axis == 1:
            return F.InstanceNorm(x, gamma, beta, eps=self._epsilon, name="fwd")
        x = F.swapaxes(x, dim1=1, dim2=self._axis)
        out = F.InstanceNorm(x, gamma, beta, eps=self._epsilon, name="fwd")
        return F.swapaxes(out, dim1=1, dim2=self._axis)
