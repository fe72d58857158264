"""Cells that change what other cells do."""

from __future__ import annotations

from typing import Any

from tigon import nd
from tigon.base import TigonError, check
from tigon.gluon.parameter import ParameterDict
from tigon.gluon.rnn.memory import Memory
from tigon.gluon.rnn.recurrent_cell import HybridRecurrentCell, RecurrentCell
from tigon.gluon.rnn.sequences import (
    as_array,
    as_steps,
    checked_lengths,
    formatted,
    is_list,
    masked,
    reversed_steps,
)


class DropoutCell(HybridRecurrentCell):
    """Drops inputs in training, and has no states.

    >>> DropoutCell(0.5)
    DropoutCell(rate=0.5, axes=())
    """

    def __init__(
        self,
        rate: float,
        axes: tuple[int, ...] = (),
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        super().__init__(prefix, params)
        check(
            isinstance(rate, (int, float)) and 0 <= rate < 1,
            "DropoutCell",
            f"rate: expected a number from 0 to 1, without 1; given {rate!r}",
        )
        self._rate = rate
        self._axes = tuple(axes)

    def _alias(self) -> str:
        return "dropout"

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        return []

    def hybrid_forward(self, F: Any, inputs: Any, states: Any) -> Any:
        return self._dropped(F, inputs), list(states)

    def _dropped(self, F: Any, inputs: Any) -> Any:
        return F.Dropout(inputs, p=self._rate, axes=self._axes) if self._rate else inputs

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """All steps at once, where they are one array. See `RecurrentCell.unroll`."""
        inputs = formatted("DropoutCell", length, inputs, layout, merge_outputs)
        if not is_list(inputs):
            return self._dropped(nd, inputs), begin_state or []
        return super().unroll(length, inputs, begin_state or [], layout, merge_outputs)

    def __repr__(self) -> str:
        return f"DropoutCell(rate={self._rate}, axes={self._axes})"


class ModifierCell(HybridRecurrentCell):
    """Base of cells that change what another cell does, whose parameters and states they have.

    The cell within is not to be called any more.
    """

    def __init__(self, base_cell: RecurrentCell) -> None:
        base_cell._check_unmodified()
        super().__init__(prefix=base_cell.prefix + self._alias(), params=None)
        base_cell._modified = True
        self.base_cell = base_cell

    @property
    def params(self) -> ParameterDict:
        """Those of the cell within."""
        return self.base_cell.params

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        return self.base_cell.state_info(batch_size)

    def _begin_state(self, batch_size: int = 0, func: Any = nd.zeros, **kwargs: Any) -> list[Any]:
        return self.base_cell._begin_state(batch_size=batch_size, func=func, **kwargs)

    def _within(self, *arguments: Any, **keywords: Any) -> tuple[Any, list[Any]]:
        """The cell within over all steps, begun with what this cell says."""
        length, inputs, begin_state, layout, *rest = arguments
        begin_state = self._begins(inputs, begin_state, layout)
        return self.base_cell.unroll(length, inputs, begin_state, layout, *rest, **keywords)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_cell!r})"


class ZoneoutCell(ModifierCell):
    """In training, each number of the output and of the states keeps at random what it was in the
    step before (Krueger et al. 2016).

    >>> from tigon.gluon import rnn
    >>> ZoneoutCell(rnn.RNNCell(2, input_size=1), zoneout_states=0.1)
    ZoneoutCell(p_out=0.0, p_state=0.1, RNNCell(1 -> 2, tanh))
    """

    def __init__(
        self, base_cell: RecurrentCell, zoneout_outputs: float = 0.0, zoneout_states: float = 0.0
    ) -> None:
        _check_has_steps("ZoneoutCell", base_cell)
        super().__init__(base_cell)
        self.zoneout_outputs = zoneout_outputs
        self.zoneout_states = zoneout_states
        self._memory = Memory()

    def _alias(self) -> str:
        return "zoneout"

    def reset(self) -> None:
        super().reset()
        self._memory.clear()

    def hybrid_forward(self, F: Any, inputs: Any, states: Any) -> Any:
        if self.zoneout_outputs:
            self._memory.enter("ZoneoutCell")
        output, after = self.base_cell(inputs, states)
        if self.zoneout_states:
            pairs = zip(after, states, strict=True)
            after = [self._kept(F, self.zoneout_states, new, old) for new, old in pairs]
        if self.zoneout_outputs:
            before = self._memory.kept("output")
            before = F.zeros_like(output) if before is None else before
            output = self._kept(F, self.zoneout_outputs, output, before)
            self._memory.keep("output", output)
        return output, after

    def _kept(self, F: Any, rate: float, new: Any, old: Any) -> Any:
        return F.where(F.Dropout(F.ones_like(new), p=rate), new, old)

    def __repr__(self) -> str:
        return (
            f"ZoneoutCell(p_out={self.zoneout_outputs}, p_state={self.zoneout_states}, "
            f"{self.base_cell!r})"
        )


def _check_has_steps(where: str, cell: Any) -> None:
    pending = [cell]
    while pending:
        one = pending.pop()
        check(
            not isinstance(one, BidirectionalCell),
            where,
            "BidirectionalCell has no single steps; put the modifier around the cells within",
        )
        pending += one._children.values()


class ResidualCell(ModifierCell):
    """Adds the inputs to the output (Wu et al. 2016).

    >>> from tigon.gluon import rnn
    >>> ResidualCell(rnn.GRUCell(2, input_size=2))
    ResidualCell(GRUCell(2 -> 6))
    """

    def _alias(self) -> str:
        return "residual"

    def hybrid_forward(self, F: Any, inputs: Any, states: Any) -> Any:
        output, states = self.base_cell(inputs, states)
        return F.elemwise_add(output, inputs), states

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """The cell within over all steps, then the sum. See `RecurrentCell.unroll`."""
        where = "ResidualCell"
        outputs, states = self._within(
            length, inputs, begin_state, layout, merge_outputs, valid_length
        )
        merge = not is_list(outputs) if merge_outputs is None else merge_outputs
        inputs = formatted(where, length, inputs, layout, merge)
        if valid_length is not None:
            lengths = checked_lengths(where, length, valid_length)
            inputs = formatted(where, length, masked(where, inputs, lengths, layout), layout, merge)
        if merge:
            return nd.elemwise_add(outputs, inputs), states
        pairs = zip(outputs, inputs, strict=True)
        return [nd.elemwise_add(output, step) for output, step in pairs], states


class BidirectionalCell(HybridRecurrentCell):
    """Two cells, over the steps in both directions; their outputs lie side by side.

    >>> from tigon import nd
    >>> from tigon.gluon import rnn
    >>> cell = BidirectionalCell(rnn.GRUCell(2), rnn.GRUCell(3))
    >>> cell.initialize()
    >>> outputs, states = cell.unroll(4, nd.ones((1, 4, 5)), merge_outputs=True)
    >>> outputs.shape, [state.shape for state in states]
    ((1, 4, 5), [(1, 2), (1, 3)])
    """

    def __init__(
        self, l_cell: RecurrentCell, r_cell: RecurrentCell, output_prefix: str = "bi_"
    ) -> None:
        super().__init__(prefix="", params=None)
        self.register_child(l_cell, "l_cell")
        self.register_child(r_cell, "r_cell")
        self._output_prefix = output_prefix

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        cells: Any = self._children.values()
        return [info for cell in cells for info in cell.state_info(batch_size)]

    def _begin_state(self, batch_size: int = 0, func: Any = nd.zeros, **kwargs: Any) -> list[Any]:
        cells: Any = self._children.values()
        return [
            state
            for cell in cells
            for state in cell.begin_state(batch_size=batch_size, func=func, **kwargs)
        ]

    def forward(self, *arguments: Any) -> Any:
        """There are no single steps."""
        raise TigonError("BidirectionalCell: has no single steps; use unroll")

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """Each cell over all steps. See `RecurrentCell.unroll`."""
        where = "BidirectionalCell"
        self.reset()
        cells: Any = list(self._children.values())
        steps = as_steps(where, length, inputs, layout)
        first, second = self._parted(cells, self._begins(steps, begin_state, layout))
        lengths = None if valid_length is None else checked_lengths(where, length, valid_length)
        forth, left = cells[0].unroll(length, steps, first, layout, merge_outputs, lengths)
        turned = reversed_steps(where, steps, lengths, layout)
        back, right = cells[1].unroll(length, turned, second, layout, False, lengths)
        back = reversed_steps(where, back, lengths, layout)
        merge = not is_list(forth) if merge_outputs is None else merge_outputs
        if merge:
            both = (as_array(where, outputs, layout) for outputs in (forth, back))
            return nd.concat(*both, dim=2), [*left, *right]
        forth = as_steps(where, length, forth, layout)
        pairs = zip(forth, back, strict=True)
        return [nd.concat(one, other, dim=1) for one, other in pairs], [*left, *right]

    def __repr__(self) -> str:
        forth, back = self._children.values()
        return f"BidirectionalCell(forward={forth!r}, backward={back!r})"
