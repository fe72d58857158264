"""Cells with one mask for all steps and with projections, and unrolling as one loop."""

from __future__ import annotations

from typing import Any

from tigon import nd
from tigon.base import check
from tigon.gluon.parameter import ParameterDict
from tigon.gluon.rnn.memory import Memory
from tigon.gluon.rnn.modifiers import ModifierCell, _check_has_steps
from tigon.gluon.rnn.recurrent_cell import GatedCell, RecurrentCell
from tigon.gluon.rnn.rnn_cell import lstm_step
from tigon.gluon.rnn.sequences import (
    as_array,
    checked_lengths,
    formatted,
    is_list,
    masked,
    time_axis,
)
from tigon.nd import NDArray

__all__ = ["LSTMPCell", "VariationalDropoutCell", "dynamic_unroll"]


class VariationalDropoutCell(ModifierCell):
    """In training, drops inputs, the first state and outputs of another cell by the same decision
    at all steps (Gal and Ghahramani 2016), until `reset`.

    >>> from tigon.gluon import rnn
    >>> VariationalDropoutCell(rnn.GRUCell(2, input_size=1), drop_states=0.2)
    VariationalDropoutCell(p_out = 0.0, p_state = 0.2)
    """

    def __init__(
        self,
        base_cell: RecurrentCell,
        drop_inputs: float = 0.0,
        drop_states: float = 0.0,
        drop_outputs: float = 0.0,
    ) -> None:
        if drop_states:
            _check_has_steps("VariationalDropoutCell", base_cell)
        super().__init__(base_cell)
        self.drop_inputs = drop_inputs
        self.drop_states = drop_states
        self.drop_outputs = drop_outputs
        self._memory = Memory()

    def _alias(self) -> str:
        return "vardrop"

    def reset(self) -> None:
        super().reset()
        self._memory.clear()

    def hybrid_forward(self, F: Any, inputs: Any, states: Any) -> Any:
        self._memory.enter("VariationalDropoutCell")
        states = list(states)
        states[0] = self._dropped(F, "states", self.drop_states, states[0])
        inputs = self._dropped(F, "inputs", self.drop_inputs, inputs)
        output, states = self.base_cell(inputs, states)
        return self._dropped(F, "outputs", self.drop_outputs, output), states

    def _dropped(self, F: Any, what: str, rate: float, x: Any) -> Any:
        if not rate:
            return x
        mask = self._memory.kept(what)
        if mask is None:
            mask = self._memory.keep(what, F.Dropout(F.ones_like(x), p=rate))
        return F.elemwise_mul(x, mask)

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """All steps; without a mask of states those of inputs and outputs are of all steps at once.
        See `RecurrentCell.unroll`."""
        if self.drop_states:
            return super().unroll(length, inputs, begin_state, layout, merge_outputs, valid_length)
        where = "VariationalDropoutCell"
        axes = (time_axis(where, layout),)
        inputs = as_array(where, inputs, layout)
        if self.drop_inputs:
            inputs = nd.Dropout(inputs, p=self.drop_inputs, axes=axes)
        outputs, states = self._within(length, inputs, begin_state, layout, True, valid_length)
        if self.drop_outputs:
            outputs = nd.Dropout(outputs, p=self.drop_outputs, axes=axes)
        return formatted(where, length, outputs, layout, merge_outputs), states

    def __repr__(self) -> str:
        return f"VariationalDropoutCell(p_out = {self.drop_outputs}, p_state = {self.drop_states})"


class LSTMPCell(GatedCell):
    """An LSTM cell whose output is projected to fewer numbers (Sak et al. 2014). States are the
    output and the memory.

    >>> from tigon import nd
    >>> cell = LSTMPCell(4, 2)
    >>> cell.initialize()
    >>> output, states = cell(nd.ones((1, 3)), cell.begin_state(batch_size=1))
    >>> output.shape, [state.shape for state in states]
    ((1, 2), [(1, 2), (1, 4)])
    """

    _gates = 4

    def __init__(
        self,
        hidden_size: int,
        projection_size: int,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        h2r_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        input_size: int = 0,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        check(
            projection_size > 0,
            "LSTMPCell",
            f"projection_size: expected 1 or more; given {projection_size}",
        )
        initializers = {
            "i2h_weight": i2h_weight_initializer,
            "h2h_weight": h2h_weight_initializer,
            "h2r_weight": h2r_weight_initializer,
            "i2h_bias": i2h_bias_initializer,
            "h2h_bias": h2h_bias_initializer,
        }
        super().__init__(hidden_size, initializers, input_size, prefix, params, projection_size)
        self._projection_size = projection_size

    def _alias(self) -> str:
        return "lstmp"

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        projected = {"shape": (batch_size, self._projection_size), "__layout__": "NC"}
        return [projected, *super().state_info(batch_size)]

    def hybrid_forward(
        self,
        F: Any,
        inputs: Any,
        states: Any,
        i2h_weight: Any,
        h2h_weight: Any,
        h2r_weight: Any,
        i2h_bias: Any,
        h2h_bias: Any,
    ) -> Any:
        self._begin_check(inputs, states)
        own, last = self._products(
            F, inputs, states[0], (i2h_weight, h2h_weight), (i2h_bias, h2h_bias)
        )
        hidden, (_, memory) = lstm_step(
            self, F, F.elemwise_add(own, last), states[1], "tanh", "sigmoid"
        )
        output = F.FullyConnected(
            hidden, h2r_weight, num_hidden=self._projection_size, no_bias=True
        )
        return output, [output, memory]

    def __repr__(self) -> str:
        rows, columns = self.i2h_weight.shape
        return f"LSTMPCell({columns or None} -> {rows} -> {self._projection_size})"


def dynamic_unroll(
    cell: RecurrentCell,
    inputs: Any,
    begin_state: Any,
    drop_inputs: float = 0,
    drop_outputs: float = 0,
    layout: str = "TNC",
    valid_length: Any = None,
) -> tuple[Any, list[Any]]:
    """The steps of a sequence as a loop, `contrib.foreach`: (outputs, last states). In a hybridized
    block one compilation serves all lengths. What is dropped, is dropped at all steps.

    >>> from tigon import nd
    >>> from tigon.gluon import rnn
    >>> cell = rnn.RNNCell(2, input_size=3)
    >>> cell.initialize()
    >>> outputs, states = dynamic_unroll(cell, nd.ones((4, 1, 3)), cell.begin_state(1))
    >>> outputs.shape
    (4, 1, 2)
    """
    where = "dynamic_unroll"
    axis = time_axis(where, layout)
    if drop_inputs:
        inputs = nd.Dropout(inputs, p=drop_inputs, axes=(axis,))
    if axis:
        inputs = nd.swapaxes(inputs, dim1=0, dim2=1)
    begin = list(begin_state) if is_list(begin_state) else [begin_state]
    if valid_length is None:
        outputs, states = nd.contrib.foreach(cell, inputs, begin)
    else:
        lengths = valid_length
        if isinstance(inputs, NDArray):
            lengths = checked_lengths("dynamic_unroll", inputs.shape[0], valid_length)
        outputs, states = _within_lengths(cell, inputs, begin, lengths)
        outputs = masked(where, outputs, lengths, "TNC")
    if axis:
        outputs = nd.swapaxes(outputs, dim1=0, dim2=1)
    if drop_outputs:
        outputs = nd.Dropout(outputs, p=drop_outputs, axes=(axis,))
    return outputs, states


def _within_lengths(
    cell: RecurrentCell, inputs: Any, begin: list[Any], lengths: Any
) -> tuple[Any, list[Any]]:
    """States stay as they are behind the ends of their sequences."""
    lengths = nd.cast(lengths, dtype="float32")

    def body(row: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        number, *own = states
        output, after = cell(row, own)
        within = nd.broadcast_lesser(number, lengths)
        kept = [nd.where(within, new, old) for new, old in zip(after, own, strict=True)]
        return output, [number + 1, *kept]

    outputs, (_, *last) = nd.contrib.foreach(body, inputs, [nd.zeros(1), *begin])
    return outputs, last
