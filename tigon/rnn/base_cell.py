"""What all symbolic cells share: parameters by name, states to begin with, going over steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tigon import nd, sym
from tigon.base import check
from tigon.base.arguments import NamesWrongTypes
from tigon.gluon.rnn.sequences import as_array, as_steps, is_list, time_axis, zeros_like_batch
from tigon.sym.symbol import Symbol


class RNNParams:
    """Variables by name, made at their first use; cells that share it share their parameters.

    >>> RNNParams("lstm_").get("i2h_weight").name
    'lstm_i2h_weight'
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._params: dict[str, Symbol] = {}

    def get(self, name: str, **kwargs: Any) -> Symbol:
        """The variable of that name, behind the prefix."""
        full = self._prefix + name
        if full not in self._params:
            self._params[full] = sym.var(full, **kwargs)
        return self._params[full]


class BaseRNNCell(NamesWrongTypes):
    """One step of a recurrent network on symbols: `cell(inputs, states)` gives (output, next
    states)."""

    def __init__(self, prefix: str = "", params: RNNParams | None = None) -> None:
        self._own_params = params is None
        self._prefix = prefix
        self._params = RNNParams(prefix) if params is None else params
        self._modified = False
        self.reset()

    def reset(self) -> None:
        """Names begin anew, and what modifiers keep from step to step is forgotten."""
        self._init_counter = -1
        self._counter = -1
        for cell in self._cells_within():
            cell.reset()

    def _cells_within(self) -> Sequence[BaseRNNCell]:
        return ()

    @property
    def params(self) -> RNNParams:
        """Its parameters."""
        self._own_params = False
        return self._params

    @property
    def state_info(self) -> list[dict[str, Any]]:
        """Shape, with 0 for the batch, and layout of each state."""
        raise NotImplementedError(f"{type(self).__name__}: define state_info")

    @property
    def state_shape(self) -> list[tuple[int, ...]]:
        """Shapes of the states."""
        return [info["shape"] for info in self.state_info]

    @property
    def _gate_names(self) -> tuple[str, ...]:
        return ()

    def begin_state(self, func: Any = sym.zeros, **kwargs: Any) -> list[Any]:
        """The states to begin with, made by `func(name=, shape=, **kwargs)`. Zeros take the batch
        of the inputs that they meet.

        >>> from tigon import rnn, sym
        >>> [state.name for state in rnn.LSTMCell(2, prefix="l_").begin_state(func=sym.var)]
        ['l_begin_state_0', 'l_begin_state_1']
        """
        check(
            not self._modified,
            type(self).__name__,
            "it is the base of a modifier, such as ZoneoutCell; call that one",
        )
        return self._begin_state(func, **kwargs)

    def _begin_state(self, func: Any, **kwargs: Any) -> list[Any]:
        states = []
        for info in self.state_info:
            self._init_counter += 1
            name = f"{self._prefix}begin_state_{self._init_counter}"
            states.append(func(name=name, **{**info, **kwargs}))
        return states

    def __call__(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        """One step."""
        self._counter += 1
        count = len(self.state_info)
        given = len(states) if is_list(states) else type(states).__name__
        check(
            given == count,
            type(self).__name__,
            f"states: expected a list of {count}; given {given}; begin_state gives those to begin "
            "with",
        )
        return self._step(inputs, [self._of_batch(state, inputs, 0) for state in states])

    def _step(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        raise NotImplementedError(f"{type(self).__name__}: define _step(self, inputs, states)")

    def _of_batch(self, state: Symbol, inputs: Symbol, place: int, batch_axis: int = 0) -> Symbol:
        """A state of zeros for a batch that was not known yet, for that of the inputs."""
        node = state._values[0].node
        if getattr(node.op, "name", "") != "_zeros" or node.attrs.shape[place]:
            return state
        return zeros_like_batch(inputs, batch_axis, node.attrs.shape, place)

    def unpack_weights(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters gate by gate, out of those that all gates share.

        >>> from tigon import nd, rnn
        >>> cell = rnn.GRUCell(1, prefix="g_")
        >>> packed = {f"g_{i}2h_{kind}": nd.zeros(3 if kind == "bias" else (3, 1))
        ...           for i in "ih" for kind in ("weight", "bias")}
        >>> sorted(cell.unpack_weights(packed))[:3]
        ['g_h2h_o_bias', 'g_h2h_o_weight', 'g_h2h_r_bias']
        """
        args = dict(args)
        size = getattr(self, "_num_hidden", 0)
        for group in self._groups():
            whole = args.pop(group)
            stem, kind = group.rsplit("_", 1)
            for number, gate in enumerate(self._gate_names):
                part = whole[number * size : (number + 1) * size]
                args[f"{stem}{gate}_{kind}"] = part.copy()
        return args

    def pack_weights(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """The opposite of `unpack_weights`."""
        args = dict(args)
        for group in self._groups():
            stem, kind = group.rsplit("_", 1)
            parts = [args.pop(f"{stem}{gate}_{kind}") for gate in self._gate_names]
            args[group] = nd.concat(*parts, dim=0)
        return args

    def _groups(self) -> list[str]:
        if not self._gate_names:
            return []
        return [f"{self._prefix}{i}2h_{kind}" for i in "ih" for kind in ("weight", "bias")]

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
    ) -> tuple[Any, list[Any]]:
        """Go over the steps of a sequence: (outputs, last states).

        Parameters
        ----------
        length : steps
        inputs : one symbol in `layout`, or a list of `length` symbols, each of one step
        begin_state : the states to begin with; None: zeros
        layout : 'NTC' (batch, time, features) or 'TNC'
        merge_outputs : True: outputs are one symbol in `layout`; False: a list of steps; None: as
            it is made

        >>> from tigon import rnn, sym
        >>> outputs, _ = rnn.RNNCell(3, prefix="a_").unroll(2, sym.var("x"), merge_outputs=True)
        >>> outputs.infer_shape(x=(4, 2, 5))[1]
        [(4, 2, 3)]
        """
        self.reset()
        steps = as_steps(type(self).__name__, length, inputs, layout)
        states = self.begin_state() if begin_state is None else begin_state
        outputs = []
        for step in steps:
            output, states = self(step, states)
            outputs.append(output)
        return self._formatted(length, outputs, layout, merge_outputs), states

    def _formatted(self, length: int, outputs: Any, layout: str, merge: bool | None) -> Any:
        where = type(self).__name__
        time_axis(where, layout)
        if merge is None:
            return outputs
        if merge:
            return as_array(where, outputs, layout)
        return as_steps(where, length, outputs, layout)

    def _activated(self, x: Any, activation: Any, name: str) -> Any:
        if isinstance(activation, str):
            return sym.Activation(x, act_type=activation, name=name)
        return activation(x, name=name)
