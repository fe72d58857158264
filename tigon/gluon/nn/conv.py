"""Convolutions and pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tigon.base import check
from tigon.base.arguments import fits
from tigon.gluon._epoch import Settings
from tigon.gluon.block import HybridBlock
from tigon.gluon.nn.activations import Activation
from tigon.gluon.parameter import ParameterDict
from tigon.ops.nn._shared import CHANNELS_FIRST, channels_last


def _tuple(where: str, value: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    given = (value,) * ndim if isinstance(value, int) else tuple(value)
    check(
        len(given) == ndim and all(fits(int, one) for one in given),
        where,
        f"expected a whole number, or {ndim} of them; given {value!r:.80}",
    )
    return given


def _channel_axis(where: str, layout: str, ndim: int) -> int:
    return ndim + 1 if channels_last(where, layout, ndim) else 1


class Convolutional(HybridBlock):
    """What convolutions share. Their weight is (channels, in_channels / groups, *kernel), or with
    the channels at its end under a layout that ends in C."""

    _operator = "Convolution"

    def __init__(
        self,
        ndim: int,
        channels: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int],
        padding: int | Sequence[int],
        dilation: int | Sequence[int],
        groups: int,
        layout: str,
        activation: str | None,
        use_bias: bool,
        weight_initializer: Any,
        bias_initializer: Any,
        in_channels: int,
        prefix: str | None,
        params: ParameterDict | None,
        adj: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        where = type(self).__name__
        check(channels > 0, where, f"channels must be positive; given {channels}")
        check(
            groups > 0 and channels % groups == 0 and in_channels % groups == 0,
            where,
            f"channels must be multiples of groups={groups}, one or more; given {in_channels} -> "
            f"{channels}",
        )
        self._layout_axis = _channel_axis(where, layout, ndim)
        self._channels = channels
        self._in_channels = in_channels
        self._kwargs = Settings(
            {
                "kernel": _tuple(where, kernel_size, ndim),
                "stride": _tuple(where, strides, ndim),
                "dilate": _tuple(where, dilation, ndim),
                "pad": _tuple(where, padding, ndim),
                "num_filter": channels,
                "num_group": groups,
                "no_bias": not use_bias,
                "layout": layout,
            }
        )
        if adj is not None:
            self._kwargs["adj"] = _tuple(where, adj, ndim)
        with self.name_scope():
            self.weight = self.params.get(
                "weight",
                shape=self._weight_shape(in_channels),
                init=weight_initializer,
                allow_deferred_init=True,
            )
            self.bias = (
                self.params.get(
                    "bias", shape=(channels,), init=bias_initializer, allow_deferred_init=True
                )
                if use_bias
                else None
            )
            self.act = Activation(activation, prefix=activation + "_") if activation else None

    def _alias(self) -> str:
        return "conv"

    def _channel_extents(self, in_channels: int) -> tuple[int, int]:
        return self._channels, in_channels // self._kwargs["num_group"]

    def _weight_shape(self, in_channels: int) -> tuple[int, ...]:
        first, second = self._channel_extents(in_channels)
        kernel = self._kwargs["kernel"]
        return (first, second, *kernel) if self._layout_axis == 1 else (first, *kernel, second)

    def infer_shape(self, x: Any) -> None:
        ndim = len(self._kwargs["kernel"])
        check(
            len(x.shape) == ndim + 2,
            type(self).__name__,
            f"expected data of {ndim + 2} axes ({self._kwargs['layout']}); given shape "
            f"{tuple(x.shape)}",
        )
        self.weight.shape = self._weight_shape(x.shape[self._layout_axis])

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        operands = (x, weight) if bias is None else (x, weight, bias)
        out = getattr(F, self._operator)(*operands, name="fwd", **self._kwargs)
        return out if self.act is None else self.act(out)

    def _known_in_channels(self) -> int | None:
        shape = self.weight.shape
        return shape[self._layout_axis] * self._kwargs["num_group"] if shape else None

    def __repr__(self) -> str:
        settings = self._kwargs
        ndim = len(settings["kernel"])
        text = (
            f"{type(self).__name__}({self._known_in_channels() or None} -> {self._channels}, "
            f"kernel_size={settings['kernel']}, stride={settings['stride']}"
        )
        if settings["pad"] != (0,) * ndim:
            text += f", padding={settings['pad']}"
        if settings["dilate"] != (1,) * ndim:
            text += f", dilation={settings['dilate']}"
        if settings.get("adj", (0,) * ndim) != (0,) * ndim:
            text += f", output_padding={settings['adj']}"
        if settings["num_group"] != 1:
            text += f", groups={settings['num_group']}"
        if self._layout_axis != 1:
            text += f", layout={settings['layout']}"
        if self.bias is None:
            text += ", bias=False"
        if self.act is not None:
            text += f", {self.act!r}"
        return text + ")"


class Conv1D(Convolutional):
    """Convolution over one axis: data (n, c, w), or (n, w, c) under the layout NWC.

    >>> Conv1D(4, 3, in_channels=2)
    Conv1D(2 -> 4, kernel_size=(3,), stride=(1,))
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        layout: str = "NCW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        super().__init__(
            1,
            channels,
            kernel_size,
            strides,
            padding,
            dilation,
            groups,
            layout,
            activation,
            use_bias,
            weight_initializer,
            bias_initializer,
            in_channels,
            prefix,
            params,
        )


class Conv2D(Convolutional):
    """Convolution over two axes: data (n, c, h, w), or (n, h, w, c) under the layout NHWC.

    >>> Conv2D(4, kernel_size=3, padding=1, activation="relu")
    Conv2D(None -> 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), Activation(relu))
    >>> Conv2D(4, 3, in_channels=2, layout="NHWC").weight.shape
    (4, 3, 3, 2)
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: int | Sequence[int] = (0, 0),
        dilation: int | Sequence[int] = (1, 1),
        groups: int = 1,
        layout: str = "NCHW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        super().__init__(
            2,
            channels,
            kernel_size,
            strides,
            padding,
            dilation,
            groups,
            layout,
            activation,
            use_bias,
            weight_initializer,
            bias_initializer,
            in_channels,
            prefix,
            params,
        )


class Conv3D(Convolutional):
    """Convolution over three axes: data (n, c, d, h, w), or (n, d, h, w, c) under NDHWC."""

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1, 1),
        padding: int | Sequence[int] = (0, 0, 0),
        dilation: int | Sequence[int] = (1, 1, 1),
        groups: int = 1,
        layout: str = "NCDHW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        super().__init__(
            3,
            channels,
            kernel_size,
            strides,
            padding,
            dilation,
            groups,
            layout,
            activation,
            use_bias,
            weight_initializer,
            bias_initializer,
            in_channels,
            prefix,
            params,
        )


class Transposed(Convolutional):
    """The adjoint of a convolution: its weight is that of the convolution."""

    _operator = "Deconvolution"

    def _channel_extents(self, in_channels: int) -> tuple[int, int]:
        return in_channels, self._channels // self._kwargs["num_group"]

    def _known_in_channels(self) -> int | None:
        return self.weight.shape[0] if self.weight.shape else None


class Conv1DTranspose(Transposed):
    """The adjoint of a convolution over one axis, as used for upsampling: data (n, c, w), or
    (n, w, c) under the layout NWC.

    >>> Conv1DTranspose(4, 3, strides=2, in_channels=2)
    Conv1DTranspose(2 -> 4, kernel_size=(3,), stride=(2,))
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        layout: str = "NCW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        super().__init__(
            1,
            channels,
            kernel_size,
            strides,
            padding,
            dilation,
            groups,
            layout,
            activation,
            use_bias,
            weight_initializer,
            bias_initializer,
            in_channels,
            prefix,
            params,
            adj=output_padding,
        )


class Conv2DTranspose(Transposed):
    """The adjoint of a convolution over two axes, as used for upsampling.

    >>> Conv2DTranspose(4, 3, strides=2, in_channels=2)
    Conv2DTranspose(2 -> 4, kernel_size=(3, 3), stride=(2, 2))
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: int | Sequence[int] = (0, 0),
        output_padding: int | Sequence[int] = (0, 0),
        dilation: int | Sequence[int] = (1, 1),
        groups: int = 1,
        layout: str = "NCHW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        super().__init__(
            2,
            channels,
            kernel_size,
            strides,
            padding,
            dilation,
            groups,
            layout,
            activation,
            use_bias,
            weight_initializer,
            bias_initializer,
            in_channels,
            prefix,
            params,
            adj=output_padding,
        )


class Conv3DTranspose(Transposed):
    """The adjoint of a convolution over three axes, as used for upsampling: data
    (n, c, d, h, w), or (n, d, h, w, c) under the layout NDHWC.

    >>> Conv3DTranspose(4, 3, strides=2, in_channels=2)
    Conv3DTranspose(2 -> 4, kernel_size=(3, 3, 3), stride=(2, 2, 2))
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1, 1),
        padding: int | Sequence[int] = (0, 0, 0),
        output_padding: int | Sequence[int] = (0, 0, 0),
        dilation: int | Sequence[int] = (1, 1, 1),
        groups: int = 1,
        layout: str = "NCDHW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        super().__init__(
            3,
            channels,
            kernel_size,
            strides,
            padding,
            dilation,
            groups,
            layout,
            activation,
            use_bias,
            weight_initializer,
            bias_initializer,
            in_channels,
            prefix,
            params,
            adj=output_padding,
        )


class Pooling(HybridBlock):
    """What the layers of pooling share."""

    def __init__(
        self,
        pool_size: tuple[int, ...],
        strides: int | Sequence[int] | None,
        padding: int | Sequence[int],
        ceil_mode: bool,
        global_pool: bool,
        pool_type: str,
        layout: str,
        count_include_pad: bool | None,
        prefix: str | None,
        params: ParameterDict | None,
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        ndim, where = len(pool_size), type(self).__name__
        channels_last(where, layout, ndim)
        self._kwargs = Settings(
            {
                "kernel": pool_size,
                "stride": pool_size if strides is None else _tuple(where, strides, ndim),
                "pad": _tuple(where, padding, ndim),
                "global_pool": global_pool,
                "pool_type": pool_type,
                "layout": layout,
                "pooling_convention": "full" if ceil_mode else "valid",
            }
        )
        if count_include_pad is not None:
            self._kwargs["count_include_pad"] = count_include_pad

    def _alias(self) -> str:
        return "pool"

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.Pooling(x, name="fwd", **self._kwargs)

    def __repr__(self) -> str:
        settings = self._kwargs
        return (
            f"{type(self).__name__}(size={settings['kernel']}, stride={settings['stride']}, "
            f"padding={settings['pad']}, "
            f"ceil_mode={settings['pooling_convention'] == 'full'}, "
            f"global_pool={settings['global_pool']}, pool_type={settings['pool_type']}, "
            f"layout={settings['layout']})"
        )


def _layer(name: str, doc: str, init: Callable[..., None]) -> type[Pooling]:
    init.__qualname__ = f"{name}.__init__"
    return type(name, (Pooling,), {"__init__": init, "__doc__": doc, "__module__": __name__})


def _largest(name: str, ndim: int, doc: str) -> type[Pooling]:
    def __init__(
        self: Pooling,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        layout: str = CHANNELS_FIRST[ndim - 1],
        ceil_mode: bool = False,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        size = _tuple(type(self).__name__, pool_size, ndim)
        Pooling.__init__(
            self, size, strides, padding, ceil_mode, False, "max", layout, None, prefix, params
        )

    return _layer(name, doc, __init__)


def _mean(name: str, ndim: int, doc: str) -> type[Pooling]:
    def __init__(
        self: Pooling,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        layout: str = CHANNELS_FIRST[ndim - 1],
        count_include_pad: bool = True,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        size, count = _tuple(type(self).__name__, pool_size, ndim), count_include_pad
        Pooling.__init__(
            self, size, strides, padding, ceil_mode, False, "avg", layout, count, prefix, params
        )

    return _layer(name, doc, __init__)


def _whole(name: str, ndim: int, pool_type: str, doc: str) -> type[Pooling]:
    def __init__(
        self: Pooling,
        layout: str = CHANNELS_FIRST[ndim - 1],
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        size = (1,) * ndim
        Pooling.__init__(self, size, None, 0, True, True, pool_type, layout, None, prefix, params)

    return _layer(name, doc, __init__)


MaxPool1D = _largest("MaxPool1D", 1, "The largest in each window along one axis.")
MaxPool2D = _largest("MaxPool2D", 2, "The largest in each window over two axes.")
MaxPool3D = _largest("MaxPool3D", 3, "The largest in each window over three axes.")
AvgPool1D = _mean("AvgPool1D", 1, "The mean of each window along one axis.")
AvgPool2D = _mean("AvgPool2D", 2, "The mean of each window over two axes.")
AvgPool3D = _mean("AvgPool3D", 3, "The mean of each window over three axes.")
GlobalMaxPool1D = _whole("GlobalMaxPool1D", 1, "max", "The largest along the last axis.")
GlobalMaxPool2D = _whole("GlobalMaxPool2D", 2, "max", "The largest over two axes.")
GlobalMaxPool3D = _whole("GlobalMaxPool3D", 3, "max", "The largest over three axes.")
GlobalAvgPool1D = _whole("GlobalAvgPool1D", 1, "avg", "The mean along the last axis.")
GlobalAvgPool2D = _whole("GlobalAvgPool2D", 2, "avg", "The mean over two axes.")
GlobalAvgPool3D = _whole("GlobalAvgPool3D", 3, "avg", "The mean over three axes.")
