"""Symbolic cells: the simple one, LSTM, GRU, whole networks by one operator, cells of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tigon import nd, sym
from tigon.base import TigonError, check
from tigon.gluon.rnn.sequences import as_array, as_steps, is_list
from tigon.initializer import FusedRNN, LSTMBias
from tigon.ops.nn.recurrent import GATE_NAMES, RNNAttrs, features_of, pieces
from tigon.rnn.base_cell import BaseRNNCell, RNNParams

__all__ = [
    "BaseRNNCell",
    "BidirectionalCell",
    "DropoutCell",
    "FusedRNNCell",
    "GRUCell",
    "LSTMCell",
    "ModifierCell",
    "RNNCell",
    "RNNParams",
    "ResidualCell",
    "SequentialRNNCell",
    "ZoneoutCell",
]


class _GatedCell(BaseRNNCell):
    """A cell of two products, of the inputs and of the first state."""

    _mode = "rnn_tanh"
    _states = 1

    def __init__(
        self, num_hidden: int, prefix: str, params: RNNParams | None, bias: Any = None
    ) -> None:
        super().__init__(prefix, params)
        check(
            num_hidden > 0,
            type(self).__name__,
            f"num_hidden: expected 1 or more; given {num_hidden}",
        )
        self._num_hidden = num_hidden
        self._iW = self._params.get("i2h_weight")
        self._iB = self._params.get("i2h_bias", init=bias)
        self._hW = self._params.get("h2h_weight")
        self._hB = self._params.get("h2h_bias")

    @property
    def state_info(self) -> list[dict[str, Any]]:
        return [{"shape": (0, self._num_hidden), "__layout__": "NC"} for _ in range(self._states)]

    @property
    def _gate_names(self) -> tuple[str, ...]:
        return GATE_NAMES[self._mode]

    def _products(self, inputs: Any, state: Any, name: str) -> tuple[Any, Any]:
        rows = len(self._gate_names) * self._num_hidden
        own = sym.FullyConnected(inputs, self._iW, self._iB, num_hidden=rows, name=f"{name}i2h")
        last = sym.FullyConnected(state, self._hW, self._hB, num_hidden=rows, name=f"{name}h2h")
        return own, last


class RNNCell(_GatedCell):
    """`h' = activation(W x + R h)`, with biases.

    >>> from tigon import nd, sym
    >>> output, states = RNNCell(3, prefix="a_")(sym.var("x"), [sym.var("h")])
    >>> output.list_arguments()
    ['x', 'a_i2h_weight', 'a_i2h_bias', 'h', 'a_h2h_weight', 'a_h2h_bias']
    """

    def __init__(
        self,
        num_hidden: int,
        activation: Any = "tanh",
        prefix: str = "rnn_",
        params: RNNParams | None = None,
    ) -> None:
        super().__init__(num_hidden, prefix, params)
        self._activation = activation

    def _step(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        name = f"{self._prefix}t{self._counter}_"
        own, last = self._products(inputs, states[0], name)
        output = self._activated(own + last, self._activation, f"{name}out")
        return output, [output]


class LSTMCell(_GatedCell):
    """A cell with long short-term memory. States are its output and its memory; the bias of the
    forget gate begins as `forget_bias`."""

    _mode = "lstm"
    _states = 2

    def __init__(
        self,
        num_hidden: int,
        prefix: str = "lstm_",
        params: RNNParams | None = None,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__(num_hidden, prefix, params, LSTMBias(forget_bias=forget_bias))

    def _step(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        name = f"{self._prefix}t{self._counter}_"
        own, last = self._products(inputs, states[0], name)
        gates = sym.split(own + last, num_outputs=4, name=f"{name}slice")
        entering, kept, leaving = (
            sym.Activation(gates[i], act_type="sigmoid", name=f"{name}{letter}")
            for i, letter in ((0, "i"), (1, "f"), (3, "o"))
        )
        candidate = sym.Activation(gates[2], act_type="tanh", name=f"{name}c")
        memory = sym.elemwise_add(kept * states[1], entering * candidate, name=f"{name}state")
        shown = sym.Activation(memory, act_type="tanh")
        output = sym.elemwise_mul(leaving, shown, name=f"{name}out")
        return output, [output, memory]


class GRUCell(_GatedCell):
    """A gated recurrent unit."""

    _mode = "gru"

    def __init__(
        self, num_hidden: int, prefix: str = "gru_", params: RNNParams | None = None
    ) -> None:
        super().__init__(num_hidden, prefix, params)

    def _step(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        name = f"{self._prefix}t{self._counter}_"
        products = self._products(inputs, states[0], name)
        own, last = (sym.split(product, num_outputs=3) for product in products)
        reset = sym.Activation(own[0] + last[0], act_type="sigmoid", name=f"{name}r_act")
        update = sym.Activation(own[1] + last[1], act_type="sigmoid", name=f"{name}z_act")
        candidate = sym.Activation(own[2] + reset * last[2], act_type="tanh", name=f"{name}h_act")
        output = sym.elemwise_add((1.0 - update) * candidate, update * states[0], name=f"{name}out")
        return output, [output]


class FusedRNNCell(BaseRNNCell):
    """Layers over whole sequences by one operator, `RNN`, of flat parameters: faster than cells one
    after another (`unfuse`), whose parameters `unpack_weights` gives.

    >>> from tigon import nd, sym
    >>> cell = FusedRNNCell(2, num_layers=2, mode="gru", prefix="f_")
    >>> outputs, _ = cell.unroll(4, sym.var("x"), merge_outputs=True)
    >>> outputs.infer_shape(x=(3, 4, 5))[:2]
    ([(3, 4, 5), (90,)], [(3, 4, 2)])
    """

    def __init__(
        self,
        num_hidden: int,
        num_layers: int = 1,
        mode: str = "lstm",
        bidirectional: bool = False,
        dropout: float = 0.0,
        get_next_state: bool = False,
        forget_bias: float = 1.0,
        prefix: str | None = None,
        params: RNNParams | None = None,
    ) -> None:
        super().__init__(f"{mode}_" if prefix is None else prefix, params)
        known = ", ".join(map(repr, GATE_NAMES))
        check(mode in GATE_NAMES, "FusedRNNCell", f"mode: expected one of {known}; given {mode!r}")
        self._num_hidden = num_hidden
        self._num_layers = num_layers
        self._mode = mode
        self._bidirectional = bidirectional
        self._dropout = dropout
        self._get_next_state = get_next_state
        self._directions = ["l", "r"] if bidirectional else ["l"]
        self._attrs = RNNAttrs(
            state_size=num_hidden, num_layers=num_layers, bidirectional=bidirectional, mode=mode
        )
        init = FusedRNN(None, num_hidden, num_layers, mode, bidirectional, forget_bias)
        self._parameter = self._params.get("parameters", init=init)

    @property
    def state_info(self) -> list[dict[str, Any]]:
        shape = (len(self._directions) * self._num_layers, 0, self._num_hidden)
        count = 2 if self._mode == "lstm" else 1
        return [{"shape": shape, "__layout__": "LNC"} for _ in range(count)]

    @property
    def _gate_names(self) -> tuple[str, ...]:
        return GATE_NAMES[self._mode]

    @property
    def _num_gates(self) -> int:
        return len(self._gate_names)

    def unpack_weights(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of each layer, direction and gate, out of the flat ones."""
        args = dict(args)
        flat = args.pop(f"{self._prefix}parameters").reshape((-1,))
        begin = 0
        for name, shape in pieces(self._attrs, features_of(self._attrs, flat.size)):
            end = begin + shape[0] * (shape[1] if len(shape) > 1 else 1)
            args[self._prefix + name] = flat[begin:end].reshape(shape).copy()
            begin = end
        return args

    def pack_weights(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """The flat parameters, out of those of each layer, direction and gate."""
        args = dict(args)
        first = args[f"{self._prefix}l0_i2h{self._gate_names[0]}_weight"]
        names = [name for name, _ in pieces(self._attrs, first.shape[1])]
        parts = [args.pop(self._prefix + name).reshape((-1,)) for name in names]
        args[f"{self._prefix}parameters"] = nd.concat(*parts, dim=0)
        return args

    def __call__(self, inputs: Any, states: Any) -> Any:
        """There are no single steps."""
        raise TigonError("FusedRNNCell: has no single steps; use unroll, or the cells of unfuse()")

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
    ) -> tuple[Any, list[Any]]:
        """All steps at once: (outputs, last states), these [] without `get_next_state`. See
        `BaseRNNCell.unroll`."""
        self.reset()
        whole = as_array("FusedRNNCell", inputs, layout)
        if layout == "NTC":
            whole = sym.swapaxes(whole, dim1=0, dim2=1)
        states = self.begin_state() if begin_state is None else begin_state
        made = sym.RNN(
            whole,
            self._parameter,
            *(self._of_batch(state, whole, 1, 1) for state in states),
            state_size=self._num_hidden,
            num_layers=self._num_layers,
            bidirectional=self._bidirectional,
            p=self._dropout,
            state_outputs=self._get_next_state,
            mode=self._mode,
            name=f"{self._prefix}rnn",
        )
        outputs, *last = list(made) if self._get_next_state else [made]
        if layout == "NTC":
            outputs = sym.swapaxes(outputs, dim1=0, dim2=1)
        return self._formatted(length, outputs, layout, merge_outputs), last

    def unfuse(self) -> SequentialRNNCell:
        """Cells one above another that compute the same, with parameters as `unpack_weights` names
        them, packed by gate."""
        stack = SequentialRNNCell()
        for layer in range(self._num_layers):
            cells = [self._cell(f"{self._prefix}{side}{layer}_") for side in self._directions]
            if self._bidirectional:
                prefix = f"{self._prefix}bi_l{layer}_"
                stack.add(BidirectionalCell(*cells, output_prefix=prefix))
            else:
                stack.add(cells[0])
            if self._dropout > 0 and layer != self._num_layers - 1:
                stack.add(DropoutCell(self._dropout, prefix=f"{self._prefix}_dropout{layer}_"))
        return stack

    def _cell(self, prefix: str) -> BaseRNNCell:
        if self._mode == "lstm":
            return LSTMCell(self._num_hidden, prefix=prefix)
        if self._mode == "gru":
            return GRUCell(self._num_hidden, prefix=prefix)
        return RNNCell(self._num_hidden, activation=self._mode[4:], prefix=prefix)


class _CellOfCells(BaseRNNCell):
    _cells: list[BaseRNNCell]

    def _cells_within(self) -> Sequence[BaseRNNCell]:
        return getattr(self, "_cells", ())

    @property
    def state_info(self) -> list[dict[str, Any]]:
        return [info for cell in self._cells for info in cell.state_info]

    def _begin_state(self, func: Any, **kwargs: Any) -> list[Any]:
        return [state for cell in self._cells for state in cell._begin_state(func, **kwargs)]

    def unpack_weights(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Of each cell in turn."""
        for cell in self._cells:
            args = cell.unpack_weights(args)
        return dict(args)

    def pack_weights(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Of each cell in turn."""
        for cell in self._cells:
            args = cell.pack_weights(args)
        return dict(args)

    def _parted(self, states: Any) -> list[list[Any]]:
        rest = iter(states)
        return [[next(rest) for _ in cell.state_info] for cell in self._cells]


class SequentialRNNCell(_CellOfCells):
    """Cells one above another: each takes the outputs of the one before."""

    def __init__(self, params: RNNParams | None = None) -> None:
        self._cells = []
        super().__init__("", params)
        self._override_cell_params = params is not None

    def add(self, cell: BaseRNNCell) -> None:
        """Put a cell on top."""
        self._cells.append(cell)
        if self._override_cell_params:
            check(
                cell._own_params,
                "SequentialRNNCell",
                "expected params of the stack or of the cell; given both",
            )
            cell._params._params.update(self._params._params)
        self._params._params.update(cell._params._params)

    def _step(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        following: list[Any] = []
        for cell, own in zip(self._cells, self._parted(states), strict=True):
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
    ) -> tuple[Any, list[Any]]:
        """One cell after another over all steps. See `BaseRNNCell.unroll`."""
        self.reset()
        states = self.begin_state() if begin_state is None else begin_state
        last: list[Any] = []
        for cell, own in zip(self._cells, self._parted(states), strict=True):
            merge = merge_outputs if cell is self._cells[-1] else None
            inputs, after = cell.unroll(length, inputs, own, layout, merge)
            last += after
        return inputs, last


class BidirectionalCell(_CellOfCells):
    """Two cells, over the steps in both directions; their outputs lie side by side."""

    def __init__(
        self,
        l_cell: BaseRNNCell,
        r_cell: BaseRNNCell,
        params: RNNParams | None = None,
        output_prefix: str = "bi_",
    ) -> None:
        self._cells = [l_cell, r_cell]
        super().__init__("", params)
        self._output_prefix = output_prefix
        for cell in self._cells:
            self._params._params.update(cell._params._params)

    def __call__(self, inputs: Any, states: Any) -> Any:
        """There are no single steps."""
        raise TigonError("BidirectionalCell: has no single steps; use unroll")

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
    ) -> tuple[Any, list[Any]]:
        """Each cell over all steps. See `BaseRNNCell.unroll`."""
        where = "BidirectionalCell"
        self.reset()
        steps = as_steps(where, length, inputs, layout)
        states = self.begin_state() if begin_state is None else begin_state
        first, second = self._parted(states)
        forth, left = self._cells[0].unroll(length, steps, first, layout, merge_outputs)
        back, right = self._cells[1].unroll(length, steps[::-1], second, layout, False)
        back = back[::-1]
        merge = not is_list(forth) if merge_outputs is None else merge_outputs
        if merge:
            both = (as_array(where, outputs, layout) for outputs in (forth, back))
            return sym.concat(*both, dim=2, name=f"{self._output_prefix}out"), [*left, *right]
        pairs = zip(as_steps(where, length, forth, layout), back, strict=True)
        outputs = [
            sym.concat(one, other, dim=1, name=f"{self._output_prefix}t{number}")
            for number, (one, other) in enumerate(pairs)
        ]
        return outputs, [*left, *right]


class DropoutCell(BaseRNNCell):
    """Drops inputs in training, and has no states."""

    def __init__(
        self, dropout: float, prefix: str = "dropout_", params: RNNParams | None = None
    ) -> None:
        super().__init__(prefix, params)
        check(
            isinstance(dropout, (int, float)) and 0 <= dropout < 1,
            "DropoutCell",
            f"dropout: expected a number from 0 to 1, without 1; given {dropout!r}",
        )
        self.dropout = dropout

    @property
    def state_info(self) -> list[dict[str, Any]]:
        return []

    def _step(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        if self.dropout:
            inputs = sym.Dropout(inputs, p=self.dropout)
        return inputs, states

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
    ) -> tuple[Any, list[Any]]:
        """All steps at once, where they are one symbol. See `BaseRNNCell.unroll`."""
        inputs = self._formatted(length, inputs, layout, merge_outputs)
        if not is_list(inputs):
            return self._step(inputs, [])
        return super().unroll(length, inputs, [], layout, merge_outputs)


class ModifierCell(_CellOfCells):
    """Base of cells that change what another cell does, whose parameters and states they have."""

    def __init__(self, base_cell: BaseRNNCell) -> None:
        check(
            not base_cell._modified,
            type(self).__name__,
            "base_cell is modified already; modify what modifies it",
        )
        self._cells = [base_cell]
        super().__init__(base_cell._prefix, base_cell._params)
        base_cell._modified = True
        self.base_cell = base_cell

    @property
    def params(self) -> RNNParams:
        """Those of the cell within."""
        self._own_params = False
        return self.base_cell.params


class ZoneoutCell(ModifierCell):
    """In training, each number of the output and of the states keeps at random what it was in the
    step before."""

    def __init__(
        self, base_cell: BaseRNNCell, zoneout_outputs: float = 0.0, zoneout_states: float = 0.0
    ) -> None:
        within = list(base_cell._cells_within()) or [base_cell]
        check(
            not any(isinstance(c, (FusedRNNCell, BidirectionalCell)) for c in (base_cell, *within)),
            "ZoneoutCell",
            f"expected a cell with single steps; given {type(base_cell).__name__}; unfuse it, or "
            "put the modifier around the cells within",
        )
        super().__init__(base_cell)
        self.zoneout_outputs = zoneout_outputs
        self.zoneout_states = zoneout_states

    def reset(self) -> None:
        super().reset()
        self.prev_output: Any = None

    def _step(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        output, after = self.base_cell(inputs, states)
        if self.zoneout_states:
            pairs = zip(after, states, strict=True)
            after = [_kept(self.zoneout_states, new, old) for new, old in pairs]
        if self.zoneout_outputs:
            before = sym.zeros_like(output) if self.prev_output is None else self.prev_output
            output = _kept(self.zoneout_outputs, output, before)
        self.prev_output = output
        return output, after


def _kept(rate: float, new: Any, old: Any) -> Any:
    return sym.where(sym.Dropout(sym.ones_like(new), p=rate), new, old)


class ResidualCell(ModifierCell):
    """Adds the inputs to the output."""

    def _step(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        output, states = self.base_cell(inputs, states)
        return sym.elemwise_add(output, inputs, name=f"{output.name}_plus_residual"), states

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
    ) -> tuple[Any, list[Any]]:
        """The cell within over all steps, then the sum. See `BaseRNNCell.unroll`."""
        self.reset()
        states = self.begin_state() if begin_state is None else begin_state
        outputs, states = self.base_cell.unroll(length, inputs, states, layout, merge_outputs)
        if is_list(outputs):
            steps = as_steps("ResidualCell", length, inputs, layout)
            pairs = zip(outputs, steps, strict=True)
            return [sym.elemwise_add(output, step) for output, step in pairs], states
        return sym.elemwise_add(outputs, as_array("ResidualCell", inputs, layout)), states
