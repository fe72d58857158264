"""Convolutions and pooling, in the layout NCHW."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon.base import check
from tigon.gluon.block import HybridBlock
from tigon.gluon.nn.activations import Activation

_LAYOUTS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


def _tuple(value: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    return (value,) * ndim if isinstance(value, int) else tuple(value)


def _check_layout(where: str, layout: str, ndim: int) -> None:
    check(
        layout == _LAYOUTS[ndim],
        where,
        f"expected layout {_LAYOUTS[ndim]}; given {layout}; transpose the data first",
    )


class _Conv(HybridBlock):
    """Convolution over `len(kernel_size)` axes."""

    _operator = "Convolution"

    def __init__(
        self,
        channels: int,
        kernel_size: tuple[int, ...],
        strides: int | Sequence[int],
        padding: int | Sequence[int],
        dilation: int | Sequence[int],
        groups: int,
        layout: str,
        in_channels: int = 0,
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        adj: tuple[int, ...] | None = None,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        ndim = len(kernel_size)
        where = type(self).__name__
        check(channels > 0, where, f"channels must be positive; given {channels}")
        check(
            channels % groups == 0 and in_channels % groups == 0,
            where,
            f"channels must be multiples of groups={groups}; given {in_channels} -> {channels}",
        )
        _check_layout(where, layout, ndim)
        self._channels = channels
        self._in_channels = in_channels
        self._attributes: dict[str, Any] = {
            "kernel": kernel_size,
            "stride": _tuple(strides, ndim),
            "dilate": _tuple(dilation, ndim),
            "pad": _tuple(padding, ndim),
            "num_filter": channels,
            "num_group": groups,
            "no_bias": not use_bias,
        }
        if adj is not None:
            self._attributes["adj"] = adj
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

    def _weight_shape(self, in_channels: int) -> tuple[int, ...]:
        groups = self._attributes["num_group"]
        return (self._channels, in_channels // groups, *self._attributes["kernel"])

    def infer_shape(self, x: Any) -> None:
        ndim = len(self._attributes["kernel"])
        check(
            len(x.shape) == ndim + 2,
            type(self).__name__,
            f"expected data of {ndim + 2} axes ({_LAYOUTS[ndim]}); given shape {tuple(x.shape)}",
        )
        self.weight.shape = self._weight_shape(x.shape[1])

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        operands = (x, weight) if bias is None else (x, weight, bias)
        out = getattr(F, self._operator)(*operands, name="fwd", **self._attributes)
        return out if self.act is None else self.act(out)

    def _channels_text(self) -> str:
        shape = self.weight.shape
        known = shape[1] * self._attributes["num_group"] if shape and shape[1] else None
        return f"{known} -> {self._channels}"

    def __repr__(self) -> str:
        attributes = self._attributes
        ndim = len(attributes["kernel"])
        text = (
            f"{type(self).__name__}({self._channels_text()}, "
            f"kernel_size={attributes['kernel']}, stride={attributes['stride']}"
        )
        if attributes["pad"] != (0,) * ndim:
            text += f", padding={attributes['pad']}"
        if attributes["dilate"] != (1,) * ndim:
            text += f", dilation={attributes['dilate']}"
        if attributes.get("adj", (0,) * ndim) != (0,) * ndim:
            text += f", output_padding={attributes['adj']}"
        if attributes["num_group"] != 1:
            text += f", groups={attributes['num_group']}"
        if self.bias is None:
            text += ", bias=False"
        if self.act is not None:
            text += f", {self.act!r}"
        return text + ")"


class Conv1D(_Conv):
    """Convolution over one axis: data (n, c, w).

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
        **kwargs: Any,
    ) -> None:
        super().__init__(
            channels,
            _tuple(kernel_size, 1),
            strides,
            padding,
            dilation,
            groups,
            layout,
            **kwargs,
        )


class Conv2D(_Conv):
    """Convolution over two axes: data (n, c, h, w).

    >>> Conv2D(4, kernel_size=3, padding=1, activation="relu")
    Conv2D(None -> 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), Activation(relu))
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
        **kwargs: Any,
    ) -> None:
        super().__init__(
            channels,
            _tuple(kernel_size, 2),
            strides,
            padding,
            dilation,
            groups,
            layout,
            **kwargs,
        )


class Conv3D(_Conv):
    """Convolution over three axes: data (n, c, d, h, w)."""

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1, 1),
        padding: int | Sequence[int] = (0, 0, 0),
        dilation: int | Sequence[int] = (1, 1, 1),
        groups: int = 1,
        layout: str = "NCDHW",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            channels,
            _tuple(kernel_size, 3),
            strides,
            padding,
            dilation,
            groups,
            layout,
            **kwargs,
        )


class _ConvTranspose(_Conv):
    _operator = "Deconvolution"

    def _weight_shape(self, in_channels: int) -> tuple[int, ...]:
        groups = self._attributes["num_group"]
        return (in_channels, self._channels // groups, *self._attributes["kernel"])

    def _channels_text(self) -> str:
        shape = self.weight.shape
        return f"{(shape[0] if shape else 0) or None} -> {self._channels}"


class Conv2DTranspose(_ConvTranspose):
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
        **kwargs: Any,
    ) -> None:
        super().__init__(
            channels,
            _tuple(kernel_size, 2),
            strides,
            padding,
            dilation,
            groups,
            layout,
            adj=_tuple(output_padding, 2),
            **kwargs,
        )


class _Pooling(HybridBlock):
    def __init__(
        self,
        pool_size: tuple[int, ...],
        strides: int | Sequence[int] | None,
        padding: int | Sequence[int],
        ceil_mode: bool,
        global_pool: bool,
        pool_type: str,
        layout: str,
        count_include_pad: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        ndim = len(pool_size)
        _check_layout(type(self).__name__, layout, ndim)
        self._attributes: dict[str, Any] = {
            "kernel": pool_size,
            "stride": pool_size if strides is None else _tuple(strides, ndim),
            "pad": _tuple(padding, ndim),
            "global_pool": global_pool,
            "pool_type": pool_type,
            "pooling_convention": "full" if ceil_mode else "valid",
        }
        if count_include_pad is not None:
            self._attributes["count_include_pad"] = count_include_pad

    def _alias(self) -> str:
        return "pool"

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.Pooling(x, name="fwd", **self._attributes)

    def __repr__(self) -> str:
        attributes = self._attributes
        return (
            f"{type(self).__name__}(size={attributes['kernel']}, stride={attributes['stride']}, "
            f"padding={attributes['pad']}, "
            f"ceil_mode={attributes['pooling_convention'] == 'full'}, "
            f"global_pool={attributes['global_pool']}, pool_type={attributes['pool_type']}, "
            f"layout={_LAYOUTS[len(attributes['kernel'])]})"
        )


def _pooling(name: str, ndim: int, pool_type: str, doc: str) -> type[_Pooling]:
    """One of the window pooling layers; they differ in axes and in what they take."""
    default_layout = _LAYOUTS[ndim]

    def __init__(
        self: _Pooling,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        layout: str = default_layout,
        ceil_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        if pool_type == "avg":
            kwargs.setdefault("count_include_pad", True)
        _Pooling.__init__(
            self,
            _tuple(pool_size, ndim),
            strides,
            padding,
            ceil_mode,
            False,
            pool_type,
            layout,
            **kwargs,
        )

    return type(name, (_Pooling,), {"__init__": __init__, "__doc__": doc, "__module__": __name__})


def _global_pooling(name: str, ndim: int, pool_type: str, doc: str) -> type[_Pooling]:
    default_layout = _LAYOUTS[ndim]

    def __init__(self: _Pooling, layout: str = default_layout, **kwargs: Any) -> None:
        _Pooling.__init__(self, (1,) * ndim, None, 0, True, True, pool_type, layout, **kwargs)

    return type(name, (_Pooling,), {"__init__": __init__, "__doc__": doc, "__module__": __name__})


MaxPool1D = _pooling("MaxPool1D", 1, "max", "The largest in each window along one axis.")
MaxPool2D = _pooling("MaxPool2D", 2, "max", "The largest in each window over two axes.")
MaxPool3D = _pooling("MaxPool3D", 3, "max", "The largest in each window over three axes.")
AvgPool1D = _pooling("AvgPool1D", 1, "avg", "The mean of each window along one axis.")
AvgPool2D = _pooling("AvgPool2D", 2, "avg", "The mean of each window over two axes.")
AvgPool3D = _pooling("AvgPool3D", 3, "avg", "The mean of each window over three axes.")
GlobalMaxPool1D = _global_pooling("GlobalMaxPool1D", 1, "max", "The largest along the last axis.")
GlobalMaxPool2D = _global_pooling("GlobalMaxPool2D", 2, "max", "The largest over two axes.")
GlobalMaxPool3D = _global_pooling("GlobalMaxPool3D", 3, "max", "The largest over three axes.")
GlobalAvgPool1D = _global_pooling("GlobalAvgPool1D", 1, "avg", "The mean along the last axis.")
GlobalAvgPool2D = _global_pooling("GlobalAvgPool2D", 2, "avg", "The mean over two axes.")
GlobalAvgPool3D = _global_pooling("GlobalAvgPool3D", 3, "avg", "The mean over three axes.")
