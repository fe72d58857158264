"""Convolutions whose points of the window are moved by what another convolution computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon.base import check
from tigon.gluon._epoch import Settings
from tigon.gluon.block import HybridBlock
from tigon.gluon.nn.activations import Activation
from tigon.gluon.nn.conv import _tuple
from tigon.gluon.parameter import Parameter, ParameterDict


class DeformableConvolution(HybridBlock):
    """Convolution over two axes, data (n, c, h, w), that reads each point of its window at an
    offset, which a convolution of the same window computes from the data.

    >>> from tigon import nd
    >>> layer = DeformableConvolution(4, kernel_size=(3, 3), padding=(1, 1), in_channels=2)
    >>> layer.initialize()
    >>> layer(nd.ones((1, 2, 5, 5))).shape, layer.offset_weight.shape
    ((1, 4, 5, 5), (18, 2, 3, 3))
    """

    _per_point = 2
    """Numbers for each point of the window: how far to move along both axes."""

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int] = (1, 1),
        strides: int | Sequence[int] = (1, 1),
        padding: int | Sequence[int] = (0, 0),
        dilation: int | Sequence[int] = (1, 1),
        groups: int = 1,
        num_deformable_group: int = 1,
        layout: str = "NCHW",
        use_bias: bool = True,
        in_channels: int = 0,
        activation: str | None = None,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        offset_weight_initializer: Any = "zeros",
        offset_bias_initializer: Any = "zeros",
        offset_use_bias: bool = True,
        op_name: str | None = None,
        adj: int | Sequence[int] | None = None,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        where = type(self).__name__
        check(channels > 0, where, f"channels must be positive; given {channels}")
        check(
            layout == "NCHW", where, f"layout: expected 'NCHW'; given {layout!r}; transpose first"
        )
        check(
            groups > 0 and channels % groups == 0 and in_channels % groups == 0,
            where,
            f"channels must be multiples of groups={groups}, one or more; given {in_channels} -> "
            f"{channels}",
        )
        check(
            num_deformable_group > 0 and in_channels % num_deformable_group == 0,
            where,
            f"in_channels must be a multiple of num_deformable_group={num_deformable_group}, one "
            f"or more; given {in_channels}",
        )
        check(
            op_name in (None, where) and adj is None,
            where,
            f"op_name and adj: expected '{where}' and None; given {op_name!r} and {adj!r}",
        )
        self._channels, self._in_channels = channels, in_channels
        window = {
            "kernel": _tuple(where, kernel_size, 2),
            "stride": _tuple(where, strides, 2),
            "dilate": _tuple(where, dilation, 2),
            "pad": _tuple(where, padding, 2),
        }
        points = window["kernel"][0] * window["kernel"][1] * num_deformable_group
        self._kwargs_offset = Settings(
            {
                **window,
                "num_filter": points * self._per_point,
                "num_group": groups,
                "no_bias": not offset_use_bias,
                "layout": layout,
            }
        )
        self._kwargs_deformable_conv = Settings(
            {
                **window,
                "num_filter": channels,
                "num_group": groups,
                "num_deformable_group": num_deformable_group,
                "no_bias": not use_bias,
                "layout": layout,
            }
        )
        with self.name_scope():
            self.offset_weight = self._weight(
                "offset_weight", self._kwargs_offset, offset_weight_initializer
            )
            self.offset_bias = self._bias(
                "offset_bias", self._kwargs_offset, offset_bias_initializer
            )
            self.deformable_conv_weight = self._weight(
                "deformable_conv_weight", self._kwargs_deformable_conv, weight_initializer
            )
            self.deformable_conv_bias = self._bias(
                "deformable_conv_bias", self._kwargs_deformable_conv, bias_initializer
            )
            self.act = Activation(activation, prefix=activation + "_") if activation else None

    def _alias(self) -> str:
        return "deformable_conv"

    def _weight_shape(self, settings: Any, in_channels: int) -> tuple[int, ...]:
        return (
            settings["num_filter"],
            in_channels // settings["num_group"],
            *settings["kernel"],
        )

    def _weight(self, name: str, settings: Any, init: Any) -> Parameter:
        shape = self._weight_shape(settings, self._in_channels)
        return self.params.get(name, shape=shape, init=init, allow_deferred_init=True)

    def _bias(self, name: str, settings: Any, init: Any) -> Parameter | None:
        if settings["no_bias"]:
            return None
        shape = (settings["num_filter"],)
        return self.params.get(name, shape=shape, init=init, allow_deferred_init=True)

    def infer_shape(self, x: Any) -> None:
        check(
            len(x.shape) == 4,
            type(self).__name__,
            f"expected data of 4 axes (NCHW); given shape {tuple(x.shape)}",
        )
        for weight, settings in (
            (self.offset_weight, self._kwargs_offset),
            (self.deformable_conv_weight, self._kwargs_deformable_conv),
        ):
            weight.shape = self._weight_shape(settings, x.shape[1])

    def hybrid_forward(
        self,
        F: Any,
        x: Any,
        offset_weight: Any,
        deformable_conv_weight: Any,
        offset_bias: Any = None,
        deformable_conv_bias: Any = None,
    ) -> Any:
        moved = F.Convolution(x, offset_weight, offset_bias, name="offset", **self._kwargs_offset)
        result = self._convolved(F, x, moved, deformable_conv_weight, deformable_conv_bias)
        return result if self.act is None else self.act(result)

    def _convolved(self, F: Any, x: Any, moved: Any, weight: Any, bias: Any) -> Any:
        return F.contrib.DeformableConvolution(
            x, moved, weight, bias, name="fwd", **self._kwargs_deformable_conv
        )

    def __repr__(self) -> str:
        settings = self._kwargs_deformable_conv
        given = self.deformable_conv_weight.shape
        in_channels = given[1] * settings["num_group"] if given else None
        parts = [
            f"{in_channels or None} -> {self._channels}",
            f"kernel_size={settings['kernel']}",
            f"stride={settings['stride']}",
        ]
        if settings["pad"] != (0, 0):
            parts.append(f"padding={settings['pad']}")
        if settings["dilate"] != (1, 1):
            parts.append(f"dilation={settings['dilate']}")
        if settings["num_group"] != 1:
            parts.append(f"groups={settings['num_group']}")
        if self.deformable_conv_bias is None:
            parts.append("bias=False")
        if self.act is not None:
            parts.append(repr(self.act))
        return f"{type(self).__name__}({', '.join(parts)})"


class ModulatedDeformableConvolution(DeformableConvolution):
    """The same, and each point of the window counts by a factor from 0 to 2, which is computed
    along with the offsets.

    >>> from tigon import nd
    >>> layer = ModulatedDeformableConvolution(4, kernel_size=(3, 3), padding=(1, 1))
    >>> layer.initialize()
    >>> layer(nd.ones((1, 2, 5, 5))).shape, layer.offset_weight.shape
    ((1, 4, 5, 5), (27, 2, 3, 3))
    """

    _per_point = 3

    def _alias(self) -> str:
        return "modulated_deformable_conv"

    def _convolved(self, F: Any, x: Any, moved: Any, weight: Any, bias: Any) -> Any:
        split = self._kwargs_offset["num_filter"] // 3 * 2
        offset = F.slice_axis(moved, axis=1, begin=0, end=split)
        factor = F.sigmoid(F.slice_axis(moved, axis=1, begin=split, end=None)) * 2
        return F.contrib.ModulatedDeformableConvolution(
            x, offset, factor, weight, bias, name="fwd", **self._kwargs_deformable_conv
        )
