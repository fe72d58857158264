"""RNN, GRU and LSTM: a product of all steps with the weights of the input, then a loop over steps
with what depends on the state. Steps behind the end of a sequence give zeros and keep states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tigon.contrib.onnx.build import (
    cast,
    compare,
    concat,
    cut,
    flip,
    number,
    op,
    reshape,
    transpose,
    unsqueeze,
    where,
)
from tigon.contrib.onnx.converters.loops import over_rows
from tigon.contrib.onnx.registry import converts
from tigon.ir.graph import Value

Function = Callable[[Value], Value]

_ALPHA = {"LeakyRelu": 0.01, "ThresholdedRelu": 1.0, "HardSigmoid": 0.2, "Elu": 1.0,
          "Affine": 1.0, "ScaledTanh": 1.0}  # fmt: skip
_BETA = {"HardSigmoid": 0.5, "Affine": 0.0, "ScaledTanh": 1.0}

_ACTIVATIONS: dict[str, Callable[[Value, float, float], Value]] = {
    "Relu": lambda x, a, b: op.relu(x),
    "Tanh": lambda x, a, b: op.tanh(x),
    "Sigmoid": lambda x, a, b: op.sigmoid(x),
    "Affine": lambda x, a, b: x * a + b,
    "LeakyRelu": lambda x, a, b: op.LeakyReLU(x, act_type="leaky", slope=a),
    "ThresholdedRelu": lambda x, a, b: where(compare("greater", x, number(a, x)), x, number(0, x)),
    "ScaledTanh": lambda x, a, b: op.tanh(x * b) * a,
    "HardSigmoid": lambda x, a, b: op.hard_sigmoid(x, alpha=a, beta=b),
    "Elu": lambda x, a, b: op.LeakyReLU(x, act_type="elu", slope=a),
    "Softsign": lambda x, a, b: op.softsign(x),
    "Softplus": lambda x, a, b: op._softrelu(x),
}


def _functions(call: Any, default: Sequence[str], directions: int) -> list[list[Function]]:
    """Of each direction. Parameters are handed out in the order of the functions that take them."""
    names = call["activations"] or tuple(default) * directions
    count = len(default) * directions
    call.check(len(names) >= count, f"activations: expected {count}; given {len(names)}")
    names = names[:count]  # by default there are two for RNN, also where there is one direction
    canonical = {name.lower(): name for name in _ACTIVATIONS}
    limit = call["clip"]
    alphas, betas = list(call["activation_alpha"] or ()), list(call["activation_beta"] or ())
    found: list[Function] = []
    for given in names:
        call.check(given.lower() in canonical, f"activations: '{given}' is not known")
        name = canonical[given.lower()]
        alpha = alphas.pop(0) if name in _ALPHA and alphas else _ALPHA.get(name, 0.0)
        beta = betas.pop(0) if name in _BETA and betas else _BETA.get(name, 0.0)
        of_cell = len(found) % len(default) == 2  # ONNX Runtime clips what gates are made of alone
        found.append(_clipped(_ACTIVATIONS[name], alpha, beta, None if of_cell else limit))
    return [found[k : k + len(default)] for k in range(0, len(found), len(default))]


def _clipped(rule: Any, alpha: float, beta: float, limit: float | None) -> Function:
    if limit is None:
        return lambda x: rule(x, alpha, beta)
    return lambda x: rule(op.clip(x, a_min=-limit, a_max=limit), alpha, beta)


Step = Callable[[Value, "list[Value]"], "list[Value]"]
"""A row of the product and the states before to the states after."""


def _entry(x: Value, place: int) -> Value:
    return reshape(cut(x, 0, place, place + 1), x.shape[1:])


def _layer(
    call: Any,
    gates: int,
    default: Sequence[str],
    x: Value,
    weight: Value,
    recurrent: Value,
    bias: Value | None,
    lengths: Value | None,
    initial: Sequence[Value | None],
    step_of: Callable[[int, list[Function], Value, Value | None], Step],
) -> list[Value]:
    """All outputs: of every step, then the last states."""
    batch_first = bool(call["layout"])
    x = transpose(x, (1, 0, 2)) if batch_first else x
    direction = call["direction"]
    turns = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}.get(direction)
    call.check(turns, f"direction: expected forward, reverse or bidirectional; given '{direction}'")
    assert turns is not None
    hidden = recurrent.shape[-1]
    call.check(
        x.ndim == 3
        and weight.shape == (len(turns), gates * hidden, x.shape[2])
        and recurrent.shape == (len(turns), gates * hidden, hidden),
        f"expected data (steps, batch, n) and weights ({len(turns)}, {gates * hidden}, n) and "
        f"({len(turns)}, {gates * hidden}, {hidden}); given {x.shape}, {weight.shape} and "
        f"{recurrent.shape}",
    )
    functions = _functions(call, default, len(turns))
    steps, lasts = [], []
    for place, reverse in enumerate(turns):
        own_bias = None if bias is None else _entry(bias, place)
        step = step_of(place, functions[place], _entry(recurrent, place), own_bias)
        begin = [_begin(call, each, place, x, hidden, batch_first) for each in initial]
        rows, last = _run(x, _entry(weight, place), lengths, begin, step, reverse)
        steps.append(unsqueeze(rows, (1,)))
        lasts.append(last)
    every = concat(steps, 1)
    columns = zip(*lasts, strict=True)
    states = [concat([unsqueeze(s, (0,)) for s in column], 0) for column in columns]
    if batch_first:
        every = transpose(every, (2, 0, 1, 3))
        states = [transpose(state, (1, 0, 2)) for state in states]
    return [every, *states]


def _begin(
    call: Any, initial: Value | None, place: int, x: Value, hidden: int, batch_first: bool
) -> Value:
    if initial is not None:
        initial = transpose(initial, (1, 0, 2)) if batch_first else initial
        return _entry(initial, place)
    # Made of the data, so that a batch of any size fits.
    first = op.sum(cut(x, 0, 0, 1), axis=(0, 2), keepdims=True)
    zeros = op.zeros_like(reshape(first, (x.shape[1], 1)))
    return op.broadcast_add(zeros, op._full(shape=(1, hidden), value=0, dtype=x.dtype.name))


def _run(
    x: Value,
    weight: Value,
    lengths: Value | None,
    begin: list[Value],
    step: Step,
    reverse: bool,
) -> tuple[Value, list[Value]]:
    rows = op.dot(x, weight, transpose_b=True)
    data = [rows]
    if lengths is not None:
        numbers = op._iota(shape=(x.shape[0], 1, 1), axis=0)
        ends = reshape(cast(lengths, "int64"), (1, x.shape[1], 1))
        data.append(compare("lesser", numbers, ends))
    data = [flip(each, 0) if reverse else each for each in data]

    def body(given: list[Value], before: list[Value]) -> tuple[list[Value], list[Value]]:
        after = step(given[0], before)
        if lengths is None:
            return [after[0]], after
        inside = given[1]
        kept = [where(inside, new, old) for new, old in zip(after, before, strict=True)]
        return [where(inside, after[0], number(0, after[0]))], kept

    (outs,), last = over_rows(body, data, begin)
    return (flip(outs, 0) if reverse else outs), last


def _gates(x: Value, count: int) -> list[Value]:
    size = x.shape[-1] // count
    return [cut(x, x.ndim - 1, k * size, (k + 1) * size) for k in range(count)]


def _times(x: Value, weight: Value) -> Value:
    return op.dot(x, weight, transpose_b=True)


def _summed(row: Value, bias: Value | None) -> Value:
    if bias is None:
        return row
    first, second = _gates(bias, 2)
    return op.broadcast_add(row, first + second)


@converts("RNN")
def rnn(
    call: Any,
    x: Value,
    weight: Value,
    recurrent: Value,
    bias: Value | None = None,
    lengths: Value | None = None,
    initial: Value | None = None,
) -> list[Value]:
    def step_of(_place: int, functions: list[Function], own: Value, bias: Value | None) -> Step:
        (activate,) = functions
        return lambda row, states: [activate(_summed(row + _times(states[0], own), bias))]

    return _layer(call, 1, ["Tanh"], x, weight, recurrent, bias, lengths, [initial], step_of)


@converts("GRU")
def gru(
    call: Any,
    x: Value,
    weight: Value,
    recurrent: Value,
    bias: Value | None = None,
    lengths: Value | None = None,
    initial: Value | None = None,
) -> list[Value]:
    before_reset = bool(call["linear_before_reset"])

    def step_of(_place: int, functions: list[Function], own: Value, bias: Value | None) -> Step:
        hidden = own.shape[-1]
        gate, activate = functions
        of_gates, of_candidate = (cut(own, 0, 0, 2 * hidden), cut(own, 0, 2 * hidden, 3 * hidden))

        def step(row: Value, states: list[Value]) -> list[Value]:
            (state,) = states
            inner = [number(0, row)] * 2
            if bias is not None:
                of_input, of_state = _gates(bias, 2)
                both = of_input + of_state
                row_gates = op.broadcast_add(
                    cut(row, 1, 0, 2 * hidden), cut(both, 0, 0, 2 * hidden)
                )
                inner = [cut(each, 0, 2 * hidden, 3 * hidden) for each in (of_input, of_state)]
            else:
                row_gates = cut(row, 1, 0, 2 * hidden)
            update, reset = _gates(gate(row_gates + _times(state, of_gates)), 2)
            entering = op.broadcast_add(cut(row, 1, 2 * hidden, 3 * hidden), inner[0])
            if before_reset:
                kept = reset * op.broadcast_add(_times(state, of_candidate), inner[1])
            else:
                kept = op.broadcast_add(_times(reset * state, of_candidate), inner[1])
            candidate = activate(entering + kept)
            return [(1 - update) * candidate + update * state]

        return step

    return _layer(
        call, 3, ["Sigmoid", "Tanh"], x, weight, recurrent, bias, lengths, [initial], step_of
    )


@converts("LSTM")
def lstm(
    call: Any,
    x: Value,
    weight: Value,
    recurrent: Value,
    bias: Value | None = None,
    lengths: Value | None = None,
    initial: Value | None = None,
    cell: Value | None = None,
    peepholes: Value | None = None,
) -> list[Value]:
    coupled = bool(call["input_forget"])

    def step_of(place: int, functions: list[Function], own: Value, bias: Value | None) -> Step:
        gate, enter, leave = functions
        peeps = None if peepholes is None else _gates(_entry(peepholes, place), 3)

        def peeped(x: Value, cell: Value, which: int) -> Value:
            return x if peeps is None else x + op.broadcast_mul(cell, peeps[which])

        def step(row: Value, states: list[Value]) -> list[Value]:
            before, cell = states
            sums = _gates(_summed(row + _times(before, own), bias), 4)
            entering = gate(peeped(sums[0], cell, 0))
            kept = 1 - entering if coupled else gate(peeped(sums[2], cell, 2))
            after = kept * cell + entering * enter(sums[3])
            return [gate(peeped(sums[1], after, 1)) * leave(after), after]

        return step

    return _layer(
        call,
        4,
        ["Sigmoid", "Tanh", "Tanh"],
        x,
        weight,
        recurrent,
        bias,
        lengths,
        [initial, cell],
        step_of,
    )
