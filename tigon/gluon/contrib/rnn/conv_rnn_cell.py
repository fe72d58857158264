"""Recurrent cells whose products are convolutions (Shi et al. 2015)."""

from __future__ import annotations

from typing import Any

from tigon.base import check
from tigon.gluon.parameter import ParameterDict
from tigon.gluon.rnn.recurrent_cell import HybridRecurrentCell
from tigon.gluon.rnn.rnn_cell import gru_step, lstm_step

__all__ = [
    "Conv1DGRUCell",
    "Conv1DLSTMCell",
    "Conv1DRNNCell",
    "Conv2DGRUCell",
    "Conv2DLSTMCell",
    "Conv2DRNNCell",
    "Conv3DGRUCell",
    "Conv3DLSTMCell",
    "Conv3DRNNCell",
]

_LAYOUTS = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}


class _ConvCell(HybridRecurrentCell):
    """What they share. `input_shape` is that of one sample at one step, in `conv_layout`; the
    kernel on the state has odd extents, and keeps its shape."""

    _dims = 1
    _gates = 1
    _states = 1

    def __init__(
        self,
        input_shape: tuple[int, ...],
        hidden_channels: int,
        i2h_kernel: int | tuple[int, ...],
        h2h_kernel: int | tuple[int, ...],
        i2h_pad: int | tuple[int, ...] = 0,
        i2h_dilate: int | tuple[int, ...] = 1,
        h2h_dilate: int | tuple[int, ...] = 1,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        conv_layout: str | None = None,
        activation: Any = "tanh",
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        super().__init__(prefix, params)
        where = type(self).__name__
        layouts = _LAYOUTS[self._dims]
        layout = layouts[0] if conv_layout is None else conv_layout
        check(
            layout in layouts,
            where,
            f"conv_layout: expected {' or '.join(map(repr, layouts))}; given {layout!r}",
        )
        shape = tuple(input_shape)
        check(
            len(shape) == self._dims + 1,
            where,
            f"input_shape: expected {self._dims + 1} extents, those of {layout[1:]}; given {shape}",
        )
        self._hidden_channels = hidden_channels
        self._conv_layout = layout
        self._activation = activation
        self._channel_axis = layout.index("C")
        self._i2h = self._geometry("i2h", i2h_kernel, i2h_dilate, i2h_pad)
        self._h2h = self._geometry("h2h", h2h_kernel, h2h_dilate, 0)
        check(
            all(extent % 2 for extent in self._h2h["kernel"]),
            where,
            f"h2h_kernel: expected odd extents; given {h2h_kernel}",
        )
        self._h2h["pad"] = tuple(
            dilate * (kernel - 1) // 2
            for kernel, dilate in zip(self._h2h["kernel"], self._h2h["dilate"], strict=True)
        )
        first = self._channel_axis == 1
        spatial = shape[1:] if first else shape[:-1]
        lines = zip(spatial, *self._i2h.values(), strict=True)
        spatial = tuple(
            extent + 2 * pad - dilate * (kernel - 1) for extent, kernel, dilate, pad in lines
        )
        check(
            all(extent > 0 for extent in spatial),
            where,
            f"i2h_kernel: expected a window within input_shape {shape}; given {i2h_kernel}",
        )
        self._state_shape = self._placed(hidden_channels, spatial)
        rows = self._gates * hidden_channels
        self.i2h_weight = self.params.get(
            "i2h_weight",
            shape=(rows, *self._placed(shape[0 if first else -1], self._i2h["kernel"])),
            init=i2h_weight_initializer,
            allow_deferred_init=True,
        )
        self.h2h_weight = self.params.get(
            "h2h_weight",
            shape=(rows, *self._placed(hidden_channels, self._h2h["kernel"])),
            init=h2h_weight_initializer,
            allow_deferred_init=True,
        )
        self.i2h_bias = self.params.get(
            "i2h_bias", shape=(rows,), init=i2h_bias_initializer, allow_deferred_init=True
        )
        self.h2h_bias = self.params.get(
            "h2h_bias", shape=(rows,), init=h2h_bias_initializer, allow_deferred_init=True
        )

    def _placed(self, channels: int, spatial: tuple[int, ...]) -> tuple[int, ...]:
        return (channels, *spatial) if self._channel_axis == 1 else (*spatial, channels)

    def _geometry(self, which: str, kernel: Any, dilate: Any, pad: Any) -> dict[str, Any]:
        given = {"kernel": kernel, "dilate": dilate, "pad": pad}
        found = {
            name: (value,) * self._dims if isinstance(value, int) else tuple(value)
            for name, value in given.items()
        }
        for name, value in found.items():
            check(
                len(value) == self._dims,
                type(self).__name__,
                f"{which}_{name}: expected a number or {self._dims} of them; given {given[name]}",
            )
        return found

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        shape = (batch_size, *self._state_shape)
        return [{"shape": shape, "__layout__": self._conv_layout} for _ in range(self._states)]

    def hybrid_forward(
        self,
        F: Any,
        inputs: Any,
        states: Any,
        i2h_weight: Any,
        h2h_weight: Any,
        i2h_bias: Any,
        h2h_bias: Any,
    ) -> Any:
        self._begin_check(inputs, states)
        shared = {
            "num_filter": self._gates * self._hidden_channels,
            "layout": self._conv_layout,
        }
        own = F.Convolution(inputs, i2h_weight, i2h_bias, **self._i2h, **shared)
        last = F.Convolution(states[0], h2h_weight, h2h_bias, **self._h2h, **shared)
        return self._step(F, own, last, states)

    def _step(self, F: Any, own: Any, last: Any, states: Any) -> Any:
        output = self._activated(F, F.elemwise_add(own, last), self._activation)
        return output, [output]

    def _alias(self) -> str:
        return "conv_rnn"

    def __repr__(self) -> str:
        shape = self.i2h_weight.shape
        channels = shape[1 if self._channel_axis == 1 else -1]
        shown = f"{channels or None} -> {shape[0]}, {self._activation}, {self._conv_layout}"
        return f"{type(self).__name__}({shown})"


class _ConvLSTMCell(_ConvCell):
    _gates = 4
    _states = 2

    def _step(self, F: Any, own: Any, last: Any, states: Any) -> Any:
        gates = F.elemwise_add(own, last)
        axis = self._channel_axis
        return lstm_step(self, F, gates, states[1], self._activation, "sigmoid", axis)

    def _alias(self) -> str:
        return "conv_lstm"


class _ConvGRUCell(_ConvCell):
    _gates = 3

    def _step(self, F: Any, own: Any, last: Any, states: Any) -> Any:
        axis = self._channel_axis
        return gru_step(self, F, own, last, states[0], self._activation, "sigmoid", axis)

    def _alias(self) -> str:
        return "conv_gru"


class Conv1DRNNCell(_ConvCell):
    """The simple cell, with convolutions over one axis.

    >>> from tigon import nd
    >>> cell = Conv1DRNNCell((2, 8), 3, i2h_kernel=3, h2h_kernel=3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(nd.ones((1, 2, 8)), cell.begin_state(batch_size=1))[0].shape
    (1, 3, 8)
    """


class Conv2DRNNCell(_ConvCell):
    """The simple cell, with convolutions over two axes."""

    _dims = 2


class Conv3DRNNCell(_ConvCell):
    """The simple cell, with convolutions over three axes."""

    _dims = 3


class Conv1DLSTMCell(_ConvLSTMCell):
    """An LSTM cell with convolutions over one axis."""


class Conv2DLSTMCell(_ConvLSTMCell):
    """An LSTM cell with convolutions over two axes.

    >>> from tigon import nd
    >>> cell = Conv2DLSTMCell((1, 6, 6), 4, i2h_kernel=3, h2h_kernel=3)
    >>> cell.initialize()
    >>> output, states = cell(nd.ones((2, 1, 6, 6)), cell.begin_state(batch_size=2))
    >>> [state.shape for state in states]
    [(2, 4, 4, 4), (2, 4, 4, 4)]
    """

    _dims = 2


class Conv3DLSTMCell(_ConvLSTMCell):
    """An LSTM cell with convolutions over three axes."""

    _dims = 3


class Conv1DGRUCell(_ConvGRUCell):
    """A gated recurrent unit with convolutions over one axis."""


class Conv2DGRUCell(_ConvGRUCell):
    """A gated recurrent unit with convolutions over two axes."""

    _dims = 2


class Conv3DGRUCell(_ConvGRUCell):
    """A gated recurrent unit with convolutions over three axes."""

    _dims = 3
