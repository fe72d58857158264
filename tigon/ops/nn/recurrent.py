"""RNN: layers of recurrent networks over whole sequences, of MXNet's flat parameters.

A layer is one product of all steps with the weights of its input, then a loop over the steps with
what depends on the state (`_foreach`); the direction from the last step to the first is such a loop
in reverse. Parameters: all weights, layer by layer and direction by direction, those of input,
state and projection; then all biases in the same order.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from tigon.base import TensorType, TigonError, check
from tigon.base.dtypes import float32
from tigon.base.frozen import Frozen, replace
from tigon.base.types import Shape
from tigon.ir.graph import Graph, Value, variable
from tigon.ops.nn.linear import fully_connected
from tigon.ops.primitive.activation import relu, sigmoid
from tigon.ops.primitive.arithmetic import add, multiply, subtract
from tigon.ops.primitive.choose import clip, where
from tigon.ops.primitive.compare import equal, lesser
from tigon.ops.primitive.control import _foreach
from tigon.ops.primitive.create import _iota
from tigon.ops.primitive.functions import tanh
from tigon.ops.primitive.gather import checked_counts
from tigon.ops.primitive.random import _bits_oracle, _random_bits
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import Work, composite
from tigon.ops.tensor.join import concat, stack
from tigon.ops.tensor.slice import slice_axis

GATES = {"rnn_relu": 1, "rnn_tanh": 1, "lstm": 4, "gru": 3}
"""Rows of weights per unit: of an LSTM input, forget, candidate, output; of a GRU reset, update,
candidate."""


GATE_NAMES: dict[str, tuple[str, ...]] = {
    "rnn_relu": ("",),
    "rnn_tanh": ("",),
    "lstm": ("_i", "_f", "_c", "_o"),
    "gru": ("_r", "_z", "_o"),
}
"""What names of single gates' parameters end with."""


class RNNAttrs(Frozen, kw_only=True):
    state_size: int
    num_layers: int
    bidirectional: bool = False
    mode: str
    p: float = 0.0
    state_outputs: bool = False
    projection_size: int | None = None
    lstm_state_clip_min: float | None = None
    lstm_state_clip_max: float | None = None
    lstm_state_clip_nan: bool = False
    use_sequence_length: bool = False
    training: bool | None = None
    ordinal: int = 0

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def is_lstm(self) -> bool:
        return self.mode == "lstm"

    @property
    def result_size(self) -> int:
        """Numbers that one direction gives per step."""
        return self.projection_size or self.state_size

    @property
    def clips(self) -> bool:
        return self.lstm_state_clip_min is not None


def _is_active(attrs: RNNAttrs) -> bool:
    """Whether something is dropped."""
    return attrs.p > 0.0 and attrs.training is True and attrs.num_layers > 1


def weight_shapes(attrs: RNNAttrs, features: int) -> list[list[Shape]]:
    """The weights of each layer and direction."""
    rows = GATES[attrs.mode] * attrs.state_size
    found: list[list[Shape]] = []
    for layer in range(attrs.num_layers):
        columns = attrs.directions * attrs.result_size if layer else features
        own: list[Shape] = [(rows, columns), (rows, attrs.result_size)]
        if attrs.projection_size:
            own.append((attrs.projection_size, attrs.state_size))
        found += [own] * attrs.directions
    return found


def parameter_count(attrs: RNNAttrs, features: int) -> int:
    """Numbers in the flat parameters.

    >>> parameter_count(RNNAttrs(mode="lstm", state_size=2, num_layers=1), 5)
    72
    """
    shapes = weight_shapes(attrs, features)
    biases = 2 * GATES[attrs.mode] * attrs.state_size * len(shapes)
    return sum(rows * columns for own in shapes for rows, columns in own) + biases


def pieces(attrs: RNNAttrs, features: int) -> list[tuple[str, Shape]]:
    """The flat parameters gate by gate: names and shapes of what lies one after another.

    >>> pieces(RNNAttrs(mode="rnn_tanh", state_size=2, num_layers=1), 3)
    [('l0_i2h_weight', (2, 3)), ('l0_h2h_weight', (2, 2)), ('l0_i2h_bias', (2,)), \
('l0_h2h_bias', (2,))]
    """
    check(not attrs.projection_size, "RNN", "projections are no gates; expected none")
    places = [
        f"{side}{layer}" for layer in range(attrs.num_layers) for side in "lr"[: attrs.directions]
    ]
    gates, size = GATE_NAMES[attrs.mode], attrs.state_size
    found: list[tuple[str, Shape]] = []
    for place, shapes in zip(places, weight_shapes(attrs, features), strict=True):
        for which, (_, columns) in zip(("i2h", "h2h"), shapes, strict=True):
            found += [(f"{place}_{which}{gate}_weight", (size, columns)) for gate in gates]
    for place in places:
        for which in ("i2h", "h2h"):
            found += [(f"{place}_{which}{gate}_bias", (size,)) for gate in gates]
    return found


def features_of(attrs: RNNAttrs, count: int) -> int:
    """How many features the inputs of so many parameters have.

    >>> features_of(RNNAttrs(mode="lstm", state_size=2, num_layers=1), 72)
    5
    """
    rest = count - parameter_count(attrs, 0)
    features, left = divmod(rest, GATES[attrs.mode] * attrs.state_size * attrs.directions)
    check(
        rest > 0 and not left,
        "RNN",
        f"parameters: {count} numbers are those of no input size, in {attrs.num_layers} layers and "
        f"{attrs.directions} directions of mode '{attrs.mode}', state_size {attrs.state_size}",
    )
    return features


def _present(attrs: RNNAttrs) -> tuple[str, ...]:
    names = ["data", "parameters", "state"]
    if attrs.is_lstm:
        names.append("state_cell")
    if attrs.use_sequence_length:
        names.append("sequence_length")
    return tuple(names)


class _Given(Frozen, eq=False):
    """What follows data, parameters and state, or the types of it."""

    cell: Any
    lengths: Any
    key: Any


def _given(attrs: RNNAttrs, rest: tuple[Any, ...]) -> _Given:
    left = list(rest)
    missing = f"expected operands {', '.join(_present(attrs))}; given {3 + len(rest)} of them"
    wanted = len(_present(attrs)) - 3
    check(wanted <= len(left) <= wanted + 1, "RNN", missing)
    cell = left.pop(0) if attrs.is_lstm else None
    lengths = left.pop(0) if attrs.use_sequence_length else None
    return _Given(cell, lengths, left[0] if left else None)


def _check_attributes(attrs: RNNAttrs) -> None:
    def expect(condition: object, message: str) -> None:
        check(condition, "RNN", message)

    modes = ", ".join(map(repr, GATES))
    expect(attrs.mode in GATES, f"mode: expected one of {modes}; given '{attrs.mode}'")
    for name in ("state_size", "num_layers"):
        number = getattr(attrs, name)
        expect(number > 0, f"{name}: expected at least 1; given {number}")
    expect(0.0 <= attrs.p <= 1.0, f"p: expected a probability; given {attrs.p}")
    size = attrs.projection_size
    expect(
        size is None or (attrs.is_lstm and 0 < size),
        f"projection_size: expected 1 or more, of mode 'lstm', or None; given {size} of mode "
        f"'{attrs.mode}'",
    )
    low, high = attrs.lstm_state_clip_min, attrs.lstm_state_clip_max
    expect(
        (low is None) == (high is None),
        f"lstm_state_clip_min and lstm_state_clip_max: expected both or none; given {low} and "
        f"{high}",
    )
    expect(
        low is None or high is None or (attrs.is_lstm and low <= high),
        f"lstm_state_clip_min: expected at most lstm_state_clip_max, of mode 'lstm'; given {low} "
        f"and {high} of mode '{attrs.mode}'",
    )


def _infer(
    attrs: RNNAttrs,
    data: TensorType,
    parameters: TensorType,
    state: TensorType,
    *rest: TensorType,
) -> tuple[TensorType, ...]:
    _check_attributes(attrs)
    given = _given(attrs, rest)
    check(
        data.ndim == 3,
        "RNN",
        f"data: expected axes (time, batch, features); given shape {data.shape}; reshape it",
    )
    length, batch, features = data.shape
    count = parameter_count(attrs, features)
    check(
        parameters.shape == (count,),
        "RNN",
        f"parameters: expected shape ({count},), all weights and then all biases of "
        f"{attrs.num_layers} layers in {attrs.directions} directions, mode '{attrs.mode}', "
        f"state_size {attrs.state_size}, on {features} features; given {parameters.shape}; does "
        "state_size or the last axis of data differ from those they were made for?",
    )
    states = _state_types(attrs, data)
    for name, found, expected in zip(
        ("state", "state_cell"), (state, given.cell), states, strict=False
    ):
        check(
            found.shape == expected.shape,
            "RNN",
            f"{name}: expected shape {expected.shape}, (layers times directions, batch, size); "
            f"given {found.shape}; nd.zeros of that shape begins anew",
        )
    if given.lengths is not None:
        check(
            given.lengths.shape == (batch,),
            "RNN",
            f"sequence_length: expected shape ({batch},), a number of steps for each sequence of "
            f"the batch; given {given.lengths.shape}",
        )
    out = TensorType((length, batch, attrs.directions * attrs.result_size), data.dtype)
    return (out, *states) if attrs.state_outputs else (out,)


def _state_types(attrs: RNNAttrs, data: TensorType) -> list[TensorType]:
    lead = (attrs.num_layers * attrs.directions, data.shape[1])
    types = [TensorType((*lead, attrs.result_size), data.dtype)]
    if attrs.is_lstm:
        types.append(TensorType((*lead, attrs.state_size), data.dtype))
    return types


def _infer_operands(attrs: RNNAttrs, types: list[TensorType | None]) -> list[TensorType | None]:
    data = types[0]
    if data is None or data.ndim != 3 or attrs.mode not in GATES:
        return types
    parameters = TensorType((parameter_count(attrs, data.shape[2]),), data.dtype)
    expected = [data, parameters, *_state_types(attrs, data)]
    if attrs.use_sequence_length:
        expected.append(TensorType((data.shape[1],), data.dtype))
    filled = [given or own for given, own in zip(types, expected, strict=False)]
    return [*filled, *types[len(filled) :]]


# ------------------------------------------------------------------------------------ meaning


def _of_step(attrs: RNNAttrs) -> RNNAttrs:
    """With what a step does not depend on as it is by default."""
    return replace(attrs, num_layers=1, bidirectional=False, p=0.0, training=None, ordinal=0)


@lru_cache(maxsize=64)
def _body(attrs: RNNAttrs, masked: bool) -> Graph:
    """What a step does: (its row of the product, whether it is within, states, weights) gives a row
    of results and the next states."""
    row = variable("row")
    within = [variable("within")] if masked else []
    states = [variable("state"), *([variable("cell")] if attrs.is_lstm else [])]
    weights = [variable("weight")]
    if attrs.mode == "gru":
        weights.append(variable("bias"))
    if attrs.projection_size:
        weights.append(variable("projection"))
    if attrs.is_lstm:
        after = _lstm_step(attrs, row, states, weights)
    elif attrs.mode == "gru":
        after = [_gru_step(attrs, row, states[0], *weights)]
    else:
        activate = tanh if attrs.mode == "rnn_tanh" else relu
        after = [activate(add(row, _product(states[0], weights[0], attrs.state_size)))]
    out = after[0]
    if masked:
        out = where(within[0], out, 0)
        after = [where(within[0], new, old) for new, old in zip(after, states, strict=True)]
    return Graph([row, *within, *states, *weights], [out, *after])


def _product(x: Any, weight: Any, rows: int, *bias: Any) -> Any:
    return fully_connected(x, weight, *bias, num_hidden=rows, no_bias=not bias, flatten=False)


def _gate(gates: Any, number: int, size: int) -> Any:
    return slice_axis(gates, axis=-1, begin=number * size, end=(number + 1) * size)


def _lstm_step(attrs: RNNAttrs, row: Any, states: list[Any], weights: list[Any]) -> list[Any]:
    size = attrs.state_size
    gates = add(row, _product(states[0], weights[0], 4 * size))
    entering, kept, candidate, leaving = (_gate(gates, number, size) for number in range(4))
    cell = add(multiply(sigmoid(kept), states[1]), multiply(sigmoid(entering), tanh(candidate)))
    if attrs.clips:
        if attrs.lstm_state_clip_nan:
            cell = where(equal(cell, cell), cell, attrs.lstm_state_clip_min)
        cell = clip(cell, a_min=attrs.lstm_state_clip_min, a_max=attrs.lstm_state_clip_max)
    out = multiply(sigmoid(leaving), tanh(cell))
    if attrs.projection_size:
        out = _product(out, weights[1], attrs.projection_size)
    return [out, cell]


def _gru_step(attrs: RNNAttrs, row: Any, state: Any, weight: Any, bias: Any) -> Any:
    size = attrs.state_size
    own = _product(state, weight, 3 * size, bias)
    reset = sigmoid(add(_gate(row, 0, size), _gate(own, 0, size)))
    update = sigmoid(add(_gate(row, 1, size), _gate(own, 1, size)))
    candidate = tanh(add(_gate(row, 2, size), multiply(reset, _gate(own, 2, size))))
    return add(candidate, multiply(update, subtract(state, candidate)))


class _Flat:
    """The flat parameters, taken piece by piece."""

    def __init__(self, parameters: Value) -> None:
        self._parameters = parameters
        self._taken = 0

    def take(self, *shape: int) -> Value:
        begin = self._taken
        self._taken = begin + prod(shape)
        piece = slice_axis(self._parameters, axis=0, begin=begin, end=self._taken)
        return _reshape(piece, shape=shape) if len(shape) > 1 else piece


def _decompose(
    attrs: RNNAttrs, data: Value, parameters: Value, state: Value, *rest: Value
) -> tuple[Value, ...]:
    given = _given(attrs, rest)
    flat = _Flat(parameters)
    rows = GATES[attrs.mode] * attrs.state_size
    shapes = weight_shapes(attrs, data.shape[2])
    weights = [[flat.take(*shape) for shape in own] for own in shapes]
    biases = [[flat.take(rows), flat.take(rows)] for _ in shapes]
    within = None if given.lengths is None else _within(data, given.lengths)
    begins = [state] if given.cell is None else [state, given.cell]
    lasts: list[tuple[Value, ...]] = []
    layer_input = data
    for layer in range(attrs.num_layers):
        if layer and _is_active(attrs):
            layer_input = _dropped(attrs, layer_input, given.key, layer)
        outs = []
        for direction in range(attrs.directions):
            number = layer * attrs.directions + direction
            own = [_state_at(begin, number) for begin in begins]
            out, *last = _over_steps(
                attrs, layer_input, weights[number], biases[number], own, within, direction == 1
            )
            outs.append(out)
            lasts.append(tuple(last))
        layer_input = concat(*outs, dim=2) if len(outs) > 1 else outs[0]
    if not attrs.state_outputs:
        return (layer_input,)
    return (layer_input, *(stack(*kind, axis=0) for kind in zip(*lasts, strict=True)))


def _over_steps(
    attrs: RNNAttrs,
    data: Value,
    weights: list[Value],
    biases: list[Value],
    states: list[Value],
    within: Value | None,
    reverse: bool,
) -> tuple[Value, ...]:
    """One layer in one direction: results of all steps, and the last states."""
    rows = GATES[attrs.mode] * attrs.state_size
    others = [weights[1]]
    bias = biases[0]
    if attrs.mode == "gru":  # the reset gate acts on it
        others.append(biases[1])
    else:
        bias = add(bias, biases[1])
    product = _product(data, weights[0], rows, bias)
    arrays = [product] if within is None else [product, within]
    found = _foreach(
        *arrays,
        *states,
        *others,
        *weights[2:],
        body=_body(_of_step(attrs), within is not None),
        data=len(arrays),
        states=len(states),
        reverse=reverse,
    )
    return tuple(found[: 1 + len(states)])


def _state_at(states: Value, number: int) -> Value:
    row = slice_axis(states, axis=0, begin=number, end=number + 1)
    return _reshape(row, shape=states.shape[1:])


def _within(data: Value, lengths: Value) -> Value:
    """Of each step and sequence, whether it is before the end."""
    length, batch, _ = data.shape
    whole = checked_counts(lengths, length, "RNN: sequence_length")
    line = _iota(shape=(length, 1, 1), axis=0)
    return lesser(line, _reshape(whole, shape=(1, batch, 1)))


def _dropped(attrs: RNNAttrs, x: Value, key: Value | None, layer: int) -> Value:
    if key is None:
        raise TigonError("RNN: draws at random under these attributes; its key is missing")
    kept = 1.0 - attrs.p
    bits = _random_bits(key, shape=x.shape, ordinal=attrs.ordinal, stream=layer)
    return where(lesser(bits, _threshold(attrs)), multiply(x, 1.0 / kept if kept else 0.0), 0)


def _threshold(attrs: RNNAttrs) -> int:
    return min(round((1.0 - attrs.p) * 2**32), 2**32 - 1)


# ------------------------------------------------------------------------------------ oracle


def _oracle(
    data: np.ndarray, parameters: np.ndarray, state: np.ndarray, *rest: np.ndarray, **fields: Any
) -> tuple[np.ndarray, ...]:
    attrs = RNNAttrs(**fields)
    given = _given(attrs, rest)
    length, batch, features = data.shape
    shapes = weight_shapes(attrs, features)
    rows = GATES[attrs.mode] * attrs.state_size
    sizes = [m * n for own in shapes for m, n in own] + [rows] * (2 * len(shapes))
    pieces = iter(np.split(parameters, np.cumsum(sizes)[:-1]))
    weights = [[next(pieces).reshape(shape) for shape in own] for own in shapes]
    lengths = np.full(batch, length) if given.lengths is None else given.lengths.astype(int)
    lasts = [state.copy()] + ([] if given.cell is None else [given.cell.copy()])
    x = data
    for layer in range(attrs.num_layers):
        if layer and _is_active(attrs):
            bits = _bits_oracle(given.key, x.shape, attrs.ordinal, layer)
            scale = 1 / (1 - attrs.p) if attrs.p < 1 else 0.0
            x = np.where(bits < _threshold(attrs), x * scale, 0).astype(x.dtype)
        size = attrs.result_size
        out = np.zeros((length, batch, attrs.directions * size), x.dtype)
        for direction in range(attrs.directions):
            number = layer * attrs.directions + direction
            first, second = next(pieces), next(pieces)
            for sequence in range(batch):
                steps = range(lengths[sequence])[:: -1 if direction else 1]
                own = [last[number, sequence] for last in lasts]
                for step in steps:
                    row = weights[number][0] @ x[step, sequence] + first
                    own = _step_oracle(attrs, row, own, weights[number][1:], second)
                    out[step, sequence, direction * size : (direction + 1) * size] = own[0]
                for last, new in zip(lasts, own, strict=True):
                    last[number, sequence] = new
        x = out
    return (x, *lasts) if attrs.state_outputs else (x,)


def _step_oracle(
    attrs: RNNAttrs,
    row: np.ndarray,
    states: list[np.ndarray],
    weights: list[np.ndarray],
    bias: np.ndarray,
) -> list[np.ndarray]:
    own = weights[0] @ states[0] + bias
    if attrs.mode.startswith("rnn"):
        total = row + own
        return [np.tanh(total) if attrs.mode == "rnn_tanh" else np.maximum(total, 0)]
    size = attrs.state_size
    a, b = row.reshape(-1, size), own.reshape(-1, size)
    if attrs.mode == "gru":
        reset, update = _logistic(a[0] + b[0]), _logistic(a[1] + b[1])
        return [(1 - update) * np.tanh(a[2] + reset * b[2]) + update * states[0]]
    entering, kept, _, leaving = _logistic(a + b)
    cell = kept * states[1] + entering * np.tanh(a[2] + b[2])
    if attrs.clips:
        if attrs.lstm_state_clip_nan:
            cell = np.where(np.isnan(cell), attrs.lstm_state_clip_min, cell)
        cell = np.clip(cell, attrs.lstm_state_clip_min, attrs.lstm_state_clip_max)
    out = leaving * np.tanh(cell)
    return [weights[1] @ out if attrs.projection_size else out, cell]


def _logistic(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _sample(shape: Shape, *rest: Any, **fields: Any) -> tuple[Any, ...]:
    attrs = RNNAttrs(**{"num_layers": 1, **fields})
    types = _state_types(attrs, TensorType(shape, float32))
    states = [type_.shape for type_ in types]
    return (shape, (parameter_count(attrs, shape[2]),), *states, *rest, {"num_layers": 1, **fields})


_KEY = np.array([7, 3], np.int64)
_LENGTHS = np.array([3, 0, 2], np.float32)

rnn = composite(
    "RNN",
    _decompose,
    operands="data parameters state state_cell? sequence_length? key?%",
    attrs=RNNAttrs,
    dtypes=lambda attrs: {
        "data parameters state state_cell" if attrs.is_lstm else "data parameters state": "f"
    },
    draws_if=_is_active,
    infer=_infer,
    outputs=lambda attrs: 1 + attrs.state_outputs * (2 if attrs.is_lstm else 1),
    present=_present,
    infer_operands=_infer_operands,
    numpy=_oracle,
    work=Work.PRODUCT,
    domain=(-1.0, 1.0),
    samples=[
        _sample((4, 2, 3), mode="rnn_tanh", state_size=3, state_outputs=True),
        _sample((3, 2, 2), mode="lstm", state_size=2, state_outputs=True),
        _sample((3, 2, 2), mode="gru", state_size=3, bidirectional=True, state_outputs=True),
        _sample((2, 1, 2), mode="rnn_relu", state_size=2, num_layers=2),
        _sample(
            (3, 3, 2),
            _LENGTHS,
            mode="lstm",
            state_size=2,
            num_layers=2,
            bidirectional=True,
            use_sequence_length=True,
            state_outputs=True,
        ),
        _sample((3, 3, 2), _LENGTHS, mode="gru", state_size=2, use_sequence_length=True),
        _sample(
            (3, 2, 2),
            mode="lstm",
            state_size=3,
            num_layers=2,
            projection_size=2,
            lstm_state_clip_min=-0.25,
            lstm_state_clip_max=0.5,
            lstm_state_clip_nan=True,
            state_outputs=True,
        ),
        _sample(
            (3, 3, 2),
            _LENGTHS,
            _KEY,
            mode="lstm",
            state_size=2,
            num_layers=3,
            p=0.5,
            use_sequence_length=True,
            training=True,
        ),
        _sample((0, 2, 3), mode="gru", state_size=2, state_outputs=True),
    ],
    doc="""Layers of a recurrent network over whole sequences (Elman 1990; LSTM: Hochreiter and
Schmidhuber 1997; GRU: Cho et al. 2014).

With the weights W of the input and R of the state, both with biases, and gates in that order:

    rnn_tanh, rnn_relu   h' = activation(W x + R h)
    lstm (i f g o)       c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c')
    gru (r z n)          h' = (1 - z) tanh(W x + r R h) + z h, of which r and z are sigmoids

Parameters
----------
data : shape (time, batch, features)
parameters : one axis. All weights, layer by layer and direction by direction: of the input
    (gates times state_size, features), of the state, of the projection; then all biases in the
    same order: of the input, of the state.
state : shape (layers times directions, batch, state_size or projection_size)
state_cell : of an lstm, shape (layers times directions, batch, state_size)
sequence_length : of `use_sequence_length`, shape (batch,): steps that count, at most all. What
    follows them is 0, and the last states are those at their end.
state_size : units of each layer and direction
num_layers : layers, each on the results of the one before
bidirectional : each layer goes over the steps in both directions; results lie side by side
mode : 'rnn_relu', 'rnn_tanh', 'lstm' or 'gru'
p : in training, the probability that a number between two layers is 0
state_outputs : also give the last states, one array or, of an lstm, two
projection_size : of an lstm: results are projected to as many numbers
lstm_state_clip_min, lstm_state_clip_max : of an lstm: limits of the cell, or None
lstm_state_clip_nan : whether a cell that is no number becomes the lower limit

Results have shape (time, batch, directions times size). All lengths share one compilation.

Examples
--------
>>> x, ones = nd.ones((1, 1, 2)), nd.ones(32 + 16)
>>> zeros = nd.zeros((1, 1, 2))
>>> ones[32:] = 0
>>> out, h, c = nd.RNN(x, ones, zeros, zeros, mode="lstm", state_size=2, num_layers=1,
...                    state_outputs=True)
>>> out.asnumpy().round(5)[0], c.asnumpy().round(5)[0]
(array([[0.60828, 0.60828]], dtype=float32), array([[0.84911, 0.84911]], dtype=float32))
""",
)
