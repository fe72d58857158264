"""Recurrent layers: whole sequences by one operator, `RNN`."""

from __future__ import annotations

from typing import Any

from tigon import nd
from tigon.base import check
from tigon.gluon.block import HybridBlock
from tigon.gluon.parameter import ParameterDict
from tigon.gluon.rnn.sequences import is_list, zeros_like_batch
from tigon.nd import NDArray
from tigon.ops.nn.recurrent import GATES


class _RNNLayer(HybridBlock):
    """What the layers share."""

    def __init__(
        self,
        hidden_size: int,
        num_layers: int,
        layout: str,
        dropout: float,
        bidirectional: bool,
        input_size: int,
        i2h_weight_initializer: Any,
        h2h_weight_initializer: Any,
        i2h_bias_initializer: Any,
        h2h_bias_initializer: Any,
        mode: str,
        projection_size: int | None = None,
        h2r_weight_initializer: Any = None,
        lstm_state_clip_min: float | None = None,
        lstm_state_clip_max: float | None = None,
        lstm_state_clip_nan: bool = False,
        dtype: Any = "float32",
        use_sequence_length: bool = False,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        super().__init__(prefix, params)
        where = type(self).__name__
        check(layout in ("TNC", "NTC"), where, f"layout: expected 'TNC' or 'NTC'; given {layout!r}")
        check(mode in GATES, where, f"activation: expected 'relu' or 'tanh'; given {mode[4:]!r}")
        for name, number in (("hidden_size", hidden_size), ("num_layers", num_layers)):
            check(number > 0, where, f"{name}: expected at least 1; given {number}")
        self._hidden_size = hidden_size
        self._num_layers = num_layers
        self._layout = layout
        self._dropout = dropout
        self._dir = 2 if bidirectional else 1
        self._input_size = input_size
        self._mode = mode
        self._projection_size = projection_size
        self._lstm_state_clip_min = lstm_state_clip_min
        self._lstm_state_clip_max = lstm_state_clip_max
        self._lstm_state_clip_nan = lstm_state_clip_nan
        self._use_sequence_length = use_sequence_length
        self._dtype = dtype
        rows, columns, state = GATES[mode] * hidden_size, input_size, self._state_sizes()[0]
        initializers = {
            "i2h_weight": i2h_weight_initializer,
            "h2h_weight": h2h_weight_initializer,
            "i2h_bias": i2h_bias_initializer,
            "h2h_bias": h2h_bias_initializer,
            "h2r_weight": h2r_weight_initializer,
        }
        for place in self._places():
            shapes: dict[str, tuple[int, ...]] = {
                "i2h_weight": (rows, columns),
                "h2h_weight": (rows, state),
                "i2h_bias": (rows,),
                "h2h_bias": (rows,),
            }
            if projection_size:
                shapes["h2r_weight"] = (projection_size, hidden_size)
            for kind, shape in shapes.items():
                made = self.params.get(
                    f"{place}_{kind}",
                    shape=shape,
                    init=initializers[kind],
                    dtype=dtype,
                    allow_deferred_init=True,
                )
                setattr(self, f"{place}_{kind}", made)
            if place[0] == ("r" if bidirectional else "l"):
                columns = state * self._dir

    def _places(self) -> list[str]:
        """What names of parameters begin with: layer by layer, direction by direction."""
        return [f"{side}{layer}" for layer in range(self._num_layers) for side in "lr"[: self._dir]]

    def _state_sizes(self) -> list[int]:
        """Of one direction of one layer."""
        sizes = [self._projection_size or self._hidden_size]
        return [*sizes, self._hidden_size] if self._mode == "lstm" else sizes

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Shape and layout of each state."""
        lead = self._num_layers * self._dir
        return [
            {"shape": (lead, batch_size, size), "__layout__": "LNC"} for size in self._state_sizes()
        ]

    def begin_state(self, batch_size: int = 0, func: Any = nd.zeros, **kwargs: Any) -> list[Any]:
        """The states to begin with, made by `func(name=, shape=, **kwargs)`.

        >>> [state.shape for state in LSTM(4, num_layers=2).begin_state(batch_size=3)]
        [(2, 3, 4), (2, 3, 4)]
        """
        return [
            func(name=f"{self.prefix}h0_{number}", **{**info, **kwargs})
            for number, info in enumerate(self.state_info(batch_size))
        ]

    def infer_shape(self, inputs: Any, *_: Any) -> None:
        features = inputs.shape[2] if len(inputs.shape) == 3 else 0
        check(
            features,
            type(self).__name__,
            f"inputs: expected three axes in layout {self._layout}; given shape "
            f"{tuple(inputs.shape)}; reshape them",
        )
        rows = GATES[self._mode] * self._hidden_size
        for side in "lr"[: self._dir]:
            getattr(self, f"{side}0_i2h_weight").shape = (rows, features)

    def hybrid_forward(
        self, F: Any, inputs: Any, states: Any = None, sequence_length: Any = None, **params: Any
    ) -> Any:
        where = type(self).__name__
        check(
            (sequence_length is not None) == self._use_sequence_length,
            where,
            "sequence_length: expected lengths, since use_sequence_length is True; given None"
            if self._use_sequence_length
            else "sequence_length is given although use_sequence_length is False; set it",
        )
        begin = self._states_of(inputs) if states is None else states
        begin = list(begin) if is_list(begin) else [begin]
        count = len(self._state_sizes())
        check(len(begin) == count, where, f"states: expected {count} of them; given {len(begin)}")
        batch_first = self._layout == "NTC"
        found = F.RNN(
            F.swapaxes(inputs, dim1=0, dim2=1) if batch_first else inputs,
            self._flat(F, params),
            *begin,
            **({} if sequence_length is None else {"sequence_length": sequence_length}),
            state_size=self._hidden_size,
            projection_size=self._projection_size,
            num_layers=self._num_layers,
            bidirectional=self._dir == 2,
            p=self._dropout,
            state_outputs=True,
            mode=self._mode,
            use_sequence_length=self._use_sequence_length,
            lstm_state_clip_min=self._lstm_state_clip_min,
            lstm_state_clip_max=self._lstm_state_clip_max,
            lstm_state_clip_nan=self._lstm_state_clip_nan,
        )
        outputs, *last = found
        if batch_first:
            outputs = F.swapaxes(outputs, dim1=0, dim2=1)
        return outputs if states is None else (outputs, last)

    def _states_of(self, inputs: Any) -> list[Any]:
        axis = self._layout.index("N")
        if not isinstance(inputs, NDArray):
            shapes = [info["shape"] for info in self.state_info(0)]
            return [zeros_like_batch(inputs, axis, shape, 1) for shape in shapes]
        check(
            inputs.ndim == 3,
            type(self).__name__,
            f"inputs: expected three axes in layout {self._layout}; given shape {inputs.shape}; "
            "reshape them",
        )
        return self.begin_state(inputs.shape[axis], ctx=inputs.context, dtype=inputs.dtype)

    def _flat(self, F: Any, params: dict[str, Any]) -> Any:
        """All weights, then all biases, as the operator takes them."""
        weights = ["i2h_weight", "h2h_weight"] + ["h2r_weight"] * bool(self._projection_size)
        names = [f"{place}_{kind}" for place in self._places() for kind in weights]
        names += [f"{place}_{side}_bias" for place in self._places() for side in ("i2h", "h2h")]
        return F.concat(*(F.reshape(params[name], shape=(-1,)) for name in names), dim=0)

    def __repr__(self) -> str:
        columns = self.l0_i2h_weight.shape[1]  # type: ignore[attr-defined]
        shown = f"{columns or None} -> {self._hidden_size}, {self._layout}"
        if self._num_layers != 1:
            shown += f", num_layers={self._num_layers}"
        if self._dropout != 0:
            shown += f", dropout={self._dropout}"
        if self._dir == 2:
            shown += ", bidirectional"
        return f"{type(self).__name__}({shown})"


class RNN(_RNNLayer):
    """Layers of the simple recurrent network `h' = activation(W x + R h)` over whole sequences.

    Call it with inputs of shape (time, batch, features), or (batch, time, features) in layout
    'NTC': it gives the results of all steps. With states, `layer(inputs, states)`, it gives
    (results, last states). Lengths follow if `use_sequence_length=True`.

    >>> from tigon import nd
    >>> layer = RNN(4, num_layers=2)
    >>> layer.initialize()
    >>> layer(nd.ones((5, 3, 2))).shape
    (5, 3, 4)
    >>> outputs, states = layer(nd.ones((5, 3, 2)), layer.begin_state(batch_size=3))
    >>> [state.shape for state in states]
    [(2, 3, 4)]
    """

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        activation: str = "relu",
        layout: str = "TNC",
        dropout: float = 0,
        bidirectional: bool = False,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        input_size: int = 0,
        dtype: Any = "float32",
        use_sequence_length: bool = False,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        super().__init__(
            hidden_size,
            num_layers,
            layout,
            dropout,
            bidirectional,
            input_size,
            i2h_weight_initializer,
            h2h_weight_initializer,
            i2h_bias_initializer,
            h2h_bias_initializer,
            f"rnn_{activation}",
            dtype=dtype,
            use_sequence_length=use_sequence_length,
            prefix=prefix,
            params=params,
        )


class LSTM(_RNNLayer):
    """Layers of a network with long short-term memory (Hochreiter and Schmidhuber 1997) over whole
    sequences; with `projection_size` its results are projected. Called as `RNN` is; there are two
    states, results and cells.

    >>> from tigon import nd
    >>> layer = LSTM(4, bidirectional=True, layout="NTC")
    >>> layer.initialize()
    >>> outputs, states = layer(nd.ones((3, 5, 2)), layer.begin_state(batch_size=3))
    >>> outputs.shape, [state.shape for state in states]
    ((3, 5, 8), [(2, 3, 4), (2, 3, 4)])
    """

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        layout: str = "TNC",
        dropout: float = 0,
        bidirectional: bool = False,
        input_size: int = 0,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        projection_size: int | None = None,
        h2r_weight_initializer: Any = None,
        state_clip_min: float | None = None,
        state_clip_max: float | None = None,
        state_clip_nan: bool = False,
        dtype: Any = "float32",
        use_sequence_length: bool = False,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        super().__init__(
            hidden_size,
            num_layers,
            layout,
            dropout,
            bidirectional,
            input_size,
            i2h_weight_initializer,
            h2h_weight_initializer,
            i2h_bias_initializer,
            h2h_bias_initializer,
            "lstm",
            projection_size,
            h2r_weight_initializer,
            state_clip_min,
            state_clip_max,
            state_clip_nan,
            dtype=dtype,
            use_sequence_length=use_sequence_length,
            prefix=prefix,
            params=params,
        )


class GRU(_RNNLayer):
    """Layers of gated recurrent units (Cho et al. 2014) over whole sequences. Called as `RNN` is.

    >>> from tigon import nd
    >>> layer = GRU(4, use_sequence_length=True)
    >>> layer.initialize()
    >>> layer(nd.ones((5, 2, 3)), None, nd.array([2, 5]))[2:, 0].sum().asscalar()
    np.float32(0.0)
    """

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        layout: str = "TNC",
        dropout: float = 0,
        bidirectional: bool = False,
        input_size: int = 0,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        dtype: Any = "float32",
        use_sequence_length: bool = False,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        super().__init__(
            hidden_size,
            num_layers,
            layout,
            dropout,
            bidirectional,
            input_size,
            i2h_weight_initializer,
            h2h_weight_initializer,
            i2h_bias_initializer,
            h2h_bias_initializer,
            "gru",
            dtype=dtype,
            use_sequence_length=use_sequence_length,
            prefix=prefix,
            params=params,
        )
