"""What all cells share: states to begin with, and going over steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon import nd
from tigon.base import TigonError, as_dtype, check
from tigon.gluon.block import Block, HybridBlock
from tigon.gluon.parameter import Parameter, ParameterDict
from tigon.gluon.rnn.sequences import (
    as_array,
    as_steps,
    at_ends,
    checked_lengths,
    formatted,
    masked,
    states_for,
    time_axis,
)
from tigon.nd import NDArray
from tigon.ops import casting


class RecurrentCell(Block):
    """One step of a recurrent network: `cell(inputs, states)` gives (output, next states).

    Subclasses say which states there are (`state_info`), and what a step computes.
    """

    def __init__(self, prefix: str | None = None, params: ParameterDict | None = None) -> None:
        super().__init__(prefix, params)
        self._modified = False

    def reset(self) -> None:
        """Forget what modifiers keep from step to step: a new sequence begins."""
        for cell in self._children.values():
            if isinstance(cell, RecurrentCell):
                cell.reset()

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Shape and layout of each state."""
        raise NotImplementedError(f"{type(self).__name__}: define state_info(self, batch_size)")

    def begin_state(self, batch_size: int = 0, func: Any = nd.zeros, **kwargs: Any) -> list[Any]:
        """The states to begin with, made by `func(name=, shape=, **kwargs)`.

        >>> from tigon.gluon import rnn
        >>> [state.shape for state in rnn.LSTMCell(4).begin_state(batch_size=3)]
        [(3, 4), (3, 4)]
        """
        self._check_unmodified()
        return self._begin_state(batch_size=batch_size, func=func, **kwargs)

    def _begin_state(self, batch_size: int = 0, func: Any = nd.zeros, **kwargs: Any) -> list[Any]:
        return [
            func(name=f"{self.prefix}begin_state_{number}", **{**info, **kwargs})
            for number, info in enumerate(self.state_info(batch_size))
        ]

    def _check_unmodified(self) -> None:
        check(
            not self._modified,
            type(self).__name__,
            f"'{self.name}' is the base of a modifier, such as ZoneoutCell; call that one",
        )

    def _parted(self, cells: Sequence[Any], states: Any) -> list[list[Any]]:
        """The states of each of these cells."""
        counts = [len(cell.state_info()) for cell in cells]
        self._check_states(states, sum(counts))
        rest = iter(states)
        return [[next(rest) for _ in range(count)] for count in counts]

    def _check_states(self, states: Any, count: int) -> None:
        given = len(states) if isinstance(states, (list, tuple)) else type(states).__name__
        check(
            given == count,
            type(self).__name__,
            f"states: expected a list of {count}; given {given}; begin_state gives those to begin "
            "with",
        )

    def _begins(self, inputs: Any, begin_state: Any, layout: str) -> Any:
        if begin_state is not None:
            return begin_state
        return states_for(self, inputs, 1 - time_axis(type(self).__name__, layout))

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """Go over the steps of a sequence: (outputs, last states).

        Parameters
        ----------
        length : steps
        inputs : one array in `layout`, or a list of `length` arrays, each of one step
        begin_state : the states to begin with; None: zeros
        layout : 'NTC' (batch, time, features) or 'TNC'
        merge_outputs : True: outputs are one array in `layout`; False: a list of steps; None: as it
            is made
        valid_length : shape (batch,): steps that count, at most `length`. Outputs behind them are
            0, and the last states those at their ends.

        >>> from tigon import nd
        >>> from tigon.gluon import rnn
        >>> cell = rnn.GRUCell(4)
        >>> cell.initialize()
        >>> outputs, states = cell.unroll(3, nd.ones((2, 3, 5)), merge_outputs=True)
        >>> outputs.shape, states[0].shape
        ((2, 3, 4), (2, 4))
        """
        where = type(self).__name__
        self.reset()
        steps = as_steps(where, length, inputs, layout)
        states = self._begins(steps, begin_state, layout)
        outputs, stages = [], []
        for step in steps:
            output, states = self(step, states)
            outputs.append(output)
            stages.append(states)
        self.reset()
        if valid_length is None:
            return formatted(where, length, outputs, layout, merge_outputs), states
        lengths = checked_lengths(where, length, valid_length)
        whole = masked(where, as_array(where, outputs, layout), lengths, layout)
        return formatted(where, length, whole, layout, merge_outputs), at_ends(stages, lengths)

    def _activated(self, F: Any, x: Any, activation: Any) -> Any:
        """An activation by name, or a block or a function."""
        if isinstance(activation, str):
            return F.Activation(x, act_type=activation)
        return activation(x)


class HybridRecurrentCell(RecurrentCell, HybridBlock):
    """A cell that can be traced: subclasses write `hybrid_forward(self, F, inputs, states)`."""

    def _begin_check(self, inputs: Any, states: Any) -> None:
        """What the shapes of arrays tell before anything is computed."""
        found = self.state_info(inputs.shape[0] if isinstance(inputs, NDArray) else 0)
        self._check_states(states, len(found))
        for number, (state, info) in enumerate(zip(states, found, strict=True)):
            if not (isinstance(state, NDArray) and isinstance(inputs, NDArray)):
                continue
            is_alike = state.dtype == inputs.dtype or casting.mixes(state.dtype, inputs.dtype)
            if is_alike and state.shape == info["shape"]:
                continue
            raise TigonError(
                f"{type(self).__name__}: states[{number}]: expected shape {info['shape']}, "
                f"{as_dtype(inputs.dtype)} like inputs; given {state.shape}, "
                f"{as_dtype(state.dtype)}; begin_state(batch_size={inputs.shape[0]}) gives those "
                "to begin with"
            )


class GatedCell(HybridRecurrentCell):
    """A cell of two products, of the inputs and of the first state, with weights and biases."""

    _gates = 1

    def __init__(
        self,
        hidden_size: int,
        initializers: dict[str, Any],
        input_size: int,
        prefix: str | None,
        params: ParameterDict | None,
        projection_size: int | None = None,
    ) -> None:
        super().__init__(prefix, params)
        check(
            hidden_size > 0,
            type(self).__name__,
            f"hidden_size: expected 1 or more; given {hidden_size}",
        )
        self._hidden_size = hidden_size
        self._input_size = input_size
        rows = self._gates * hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "i2h_weight": (rows, input_size),
            "h2h_weight": (rows, projection_size or hidden_size),
        }
        if projection_size:
            shapes["h2r_weight"] = (projection_size, hidden_size)
        shapes.update({"i2h_bias": (rows,), "h2h_bias": (rows,)})
        for name, shape in shapes.items():
            setattr(self, name, self._parameter(name, shape, initializers[name]))

    i2h_weight: Parameter

    def _parameter(self, name: str, shape: tuple[int, ...], init: Any) -> Parameter:
        return self.params.get(name, shape=shape, init=init, allow_deferred_init=True)

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        return [{"shape": (batch_size, self._hidden_size), "__layout__": "NC"}]

    def infer_shape(self, inputs: Any, *_: Any) -> None:
        features = 1
        for extent in inputs.shape[1:]:
            features *= extent
        self.i2h_weight.shape = (self._gates * self._hidden_size, features)

    def _products(
        self, F: Any, inputs: Any, state: Any, weights: tuple[Any, ...], biases: tuple[Any, ...]
    ) -> tuple[Any, Any]:
        rows = self._gates * self._hidden_size
        own = F.FullyConnected(inputs, weights[0], biases[0], num_hidden=rows, name="i2h")
        return own, F.FullyConnected(state, weights[1], biases[1], num_hidden=rows, name="h2h")

    def __repr__(self) -> str:
        rows, columns = self.i2h_weight.shape
        return f"{type(self).__name__}({columns or None} -> {rows})"
