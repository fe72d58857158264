"""The cells: the simple one, LSTM, GRU, and cells of cells."""

from __future__ import annotations

from typing import Any

from tigon import nd
from tigon.base import TigonError, check
from tigon.gluon.block import Block
from tigon.gluon.parameter import ParameterDict
from tigon.gluon.rnn.modifiers import (
    BidirectionalCell,
    DropoutCell,
    ModifierCell,
    ResidualCell,
    ZoneoutCell,
)
from tigon.gluon.rnn.recurrent_cell import GatedCell, HybridRecurrentCell, RecurrentCell

__all__ = [
    "BidirectionalCell",
    "DropoutCell",
    "GRUCell",
    "HybridRecurrentCell",
    "HybridSequentialRNNCell",
    "LSTMCell",
    "ModifierCell",
    "RNNCell",
    "RecurrentCell",
    "ResidualCell",
    "SequentialRNNCell",
    "ZoneoutCell",
]


class RNNCell(GatedCell):
    """`h' = activation(W x + R h)`, with biases.

    >>> from tigon import nd
    >>> cell = RNNCell(2)
    >>> cell.initialize("ones")
    >>> output, states = cell(nd.array([[1, 2]]), cell.begin_state(batch_size=1))
    >>> output.asnumpy()[0].round(5)
    array([0.99505, 0.99505], dtype=float32)
    """

    def __init__(
        self,
        hidden_size: int,
        activation: Any = "tanh",
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        input_size: int = 0,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        initializers = {
            "i2h_weight": i2h_weight_initializer,
            "h2h_weight": h2h_weight_initializer,
            "i2h_bias": i2h_bias_initializer,
            "h2h_bias": h2h_bias_initializer,
        }
        super().__init__(hidden_size, initializers, input_size, prefix, params)
        self._activation = activation

    def _alias(self) -> str:
        return "rnn"

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
        own, last = self._products(
            F, inputs, states[0], (i2h_weight, h2h_weight), (i2h_bias, h2h_bias)
        )
        output = self._activated(F, F.elemwise_add(own, last), self._activation)
        return output, [output]

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, {self._activation})"


class _CellOfGates(GatedCell):
    """One whose gates have a function of their own."""

    def __init__(
        self,
        hidden_size: int,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        input_size: int = 0,
        prefix: str | None = None,
        params: ParameterDict | None = None,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
    ) -> None:
        initializers = {
            "i2h_weight": i2h_weight_initializer,
            "h2h_weight": h2h_weight_initializer,
            "i2h_bias": i2h_bias_initializer,
            "h2h_bias": h2h_bias_initializer,
        }
        super().__init__(hidden_size, initializers, input_size, prefix, params)
        self._activation = activation
        self._recurrent_activation = recurrent_activation


class LSTMCell(_CellOfGates):
    """A cell with long short-term memory (Hochreiter and Schmidhuber 1997). States are its output
    and its memory; gates lie in the order input, forget, candidate, output.

    >>> from tigon import nd
    >>> cell = LSTMCell(2)
    >>> cell.initialize("ones")
    >>> output, states = cell(nd.ones((1, 2)), cell.begin_state(batch_size=1))
    >>> [state.asnumpy()[0, 0].round(5) for state in states]
    [np.float32(0.60828), np.float32(0.84911)]
    """

    _gates = 4

    def _alias(self) -> str:
        return "lstm"

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        return super().state_info(batch_size) * 2

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
        own, last = self._products(
            F, inputs, states[0], (i2h_weight, h2h_weight), (i2h_bias, h2h_bias)
        )
        return lstm_step(
            self, F, F.elemwise_add(own, last), states[1], self._activation,
            self._recurrent_activation,
        )  # fmt: skip


def lstm_step(
    cell: RecurrentCell,
    F: Any,
    gates: Any,
    memory: Any,
    activation: Any,
    gating: Any,
    axis: int = 1,
) -> tuple[Any, list[Any]]:
    """(output, states) from the sums of the gates, which lie along `axis`."""
    entering, kept, candidate, leaving = F.split(gates, num_outputs=4, axis=axis)
    entering, kept, leaving = (
        cell._activated(F, gate, gating) for gate in (entering, kept, leaving)
    )
    candidate = cell._activated(F, candidate, activation)
    memory = F.elemwise_add(F.elemwise_mul(kept, memory), F.elemwise_mul(entering, candidate))
    output = F.elemwise_mul(leaving, cell._activated(F, memory, activation))
    return output, [output, memory]


def gru_step(
    cell: RecurrentCell,
    F: Any,
    own: Any,
    last: Any,
    state: Any,
    activation: Any,
    gating: Any,
    axis: int = 1,
) -> tuple[Any, list[Any]]:
    """(output, states) from the two products, whose gates lie along `axis`."""
    own, last = (F.split(product, num_outputs=3, axis=axis) for product in (own, last))
    reset = cell._activated(F, F.elemwise_add(own[0], last[0]), gating)
    update = cell._activated(F, F.elemwise_add(own[1], last[1]), gating)
    candidate = F.elemwise_add(own[2], F.elemwise_mul(reset, last[2]))
    candidate = cell._activated(F, candidate, activation)
    output = F.elemwise_add(F.elemwise_mul(1.0 - update, candidate), F.elemwise_mul(update, state))
    return output, [output]


class GRUCell(_CellOfGates):
    """A gated recurrent unit (Cho et al. 2014); gates lie in the order reset, update, candidate.

    >>> from tigon import nd
    >>> cell = GRUCell(2)
    >>> cell.initialize("ones")
    >>> output, states = cell(nd.ones((1, 2)), [nd.full((1, 2), 0.5)])
    >>> output.asnumpy()[0].round(5)
    array([0.52346, 0.52346], dtype=float32)
    """

    _gates = 3

    def _alias(self) -> str:
        return "gru"

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
        own, last = self._products(
            F, inputs, states[0], (i2h_weight, h2h_weight), (i2h_bias, h2h_bias)
        )
        return gru_step(self, F, own, last, states[0], self._activation, self._recurrent_activation)


class _Stack(RecurrentCell):
    """Cells one above another: each takes the outputs of the one before."""

    def add(self, cell: Block) -> None:
        """Put a cell on top."""
        self.register_child(cell)

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        return [info for cell in self for info in cell.state_info(batch_size)]

    def _begin_state(self, batch_size: int = 0, func: Any = nd.zeros, **kwargs: Any) -> list[Any]:
        return [
            state
            for cell in self
            for state in cell.begin_state(batch_size=batch_size, func=func, **kwargs)
        ]

    def forward(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        """One step of all cells."""
        following: list[Any] = []
        cells = list(self)
        for cell in cells:
            if isinstance(cell, BidirectionalCell):
                raise TigonError(
                    f"{type(self).__name__}: BidirectionalCell has no single steps; use unroll"
                )
        for cell, own in zip(cells, self._parted(cells, states), strict=True):
            inputs, after = cell(inputs, own)
            following += after
        return inputs, following

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """One cell after another over all steps. See `RecurrentCell.unroll`."""
        self.reset()
        cells = list(self)
        check(cells, type(self).__name__, "expected cells; there are none: add some")
        begin = self._parted(cells, self._begins(inputs, begin_state, layout))
        last: list[Any] = []
        for cell, states in zip(cells, begin, strict=True):
            merge = merge_outputs if cell is cells[-1] else None
            inputs, after = cell.unroll(length, inputs, states, layout, merge, valid_length)
            last += after
        return inputs, last

    def __getitem__(self, key: int) -> Any:
        return list(self._children.values())[key]

    def __len__(self) -> int:
        return len(self._children)

    def __iter__(self) -> Any:
        return iter(self._children.values())


class SequentialRNNCell(_Stack):
    """Cells one above another, run imperatively.

    >>> stack = SequentialRNNCell()
    >>> stack.add(LSTMCell(4))
    >>> stack.add(GRUCell(2))
    >>> len(stack), [info["shape"] for info in stack.state_info(3)]
    (2, [(3, 4), (3, 4), (3, 2)])
    """


class HybridSequentialRNNCell(_Stack, HybridRecurrentCell):
    """Cells one above another, compiled as one graph after `hybridize()`.

    >>> from tigon import nd
    >>> stack = HybridSequentialRNNCell()
    >>> stack.add(RNNCell(4))
    >>> stack.add(DropoutCell(0.5))
    >>> stack.add(RNNCell(2))
    >>> stack.initialize()
    >>> stack.hybridize()
    >>> stack.unroll(3, nd.ones((2, 3, 5)), merge_outputs=True)[0].shape
    (2, 3, 2)
    """
