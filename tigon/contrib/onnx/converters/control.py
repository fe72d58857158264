"""If, Loop and Scan, whose bodies are graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon import sym
from tigon.base import TigonError
from tigon.base.extents import is_known
from tigon.contrib.onnx.build import (
    as_bool,
    axis_of,
    concat,
    cut,
    flip,
    move,
    op,
    reshape,
    unsqueeze,
    where,
)
from tigon.contrib.onnx.converters.loops import over_rows, symbols_of, values_of
from tigon.contrib.onnx.operand import Operand
from tigon.contrib.onnx.registry import converts
from tigon.ir.graph import VARIABLE, Value, constant
from tigon.ops.primitive.control import UNLIMITED, CondAttrs, _cond
from tigon.sym.control import Inner
from tigon.sym.symbol import apply


def _given(call: Any, operands: Sequence[Any]) -> list[Operand]:
    return [each if isinstance(each, Operand) else Operand.of(each) for each in operands]


def _result(operand: Operand) -> Value:
    """A value made where it is asked for: in the branch or the body."""
    value = operand.value
    return op.identity(value) if value.node.op is VARIABLE else value


# ------------------------------------------------------------------------------------ branches


@converts("If")
def if_(call: Any, condition: Value) -> list[Any]:
    reader = call.reader
    known = call.known(0)
    if known is None and not call.depends(0):
        known = call.constant_of(0)
    if known is not None:
        branch = call["then_branch"] if bool(known.reshape(())) else call["else_branch"]
        return reader.run_within(call, branch, [])
    return _decided(call, as_bool(condition), [call["then_branch"], call["else_branch"]])


def _decided(call: Any, decides: Value, branches: Sequence[Any]) -> list[Value]:
    """Each branch is gone through once, however deep they are nested."""
    traced = []
    others: dict[Value, None] = {}
    for branch in branches:
        inner = Inner("If", lazy=True)
        with inner.traced():
            values = [_result(each) for each in call.reader.run_within(call, branch, [])]
        others.update(dict.fromkeys(inner.close(values)[0]))
        traced.append((inner, values))
    (_, first), (_, second) = traced
    call.check(
        len(first) == len(second),
        f"expected branches with as many results; given {len(first)} and {len(second)}",
    )
    if not others:  # numbers alone
        return [where(reshape(decides, ()), x, y) for x, y in zip(first, second, strict=True)]
    then, otherwise = (inner.graph(values, list(others)) for inner, values in traced)
    given = symbols_of([decides, *others])
    return list(apply(_cond, CondAttrs(then, otherwise), given, hint="if")._values)


# --------------------------------------------------------------------------------------- loops


@converts("Loop")
def loop(call: Any, most: Value | None, condition: Value | None, *initial: Value) -> list[Any]:
    trips = None if most is None else _number(call, 0)
    begins = True if condition is None else _truth(call, 1)
    if trips is not None and trips < 0:
        trips = 0
    states = [each for each in call.operands[2:]]
    if begins is False:
        trips = 0
    if trips is not None and begins is not None:
        found = _counted(call, trips, states)
        if found is not None:
            return found
    return _while(call, trips, most, condition, [each.value for each in states])


def _number(call: Any, position: int) -> int | None:
    if call.depends(position):
        return None
    return int(call.constant_of(position).reshape(()))


def _truth(call: Any, position: int) -> bool | None:
    if call.depends(position):
        return None
    return bool(call.constant_of(position).reshape(()))


_GOES_ON = np.array(True)


def _counted(call: Any, trips: int, states: list[Any]) -> list[Any] | None:
    """A loop that ends after so many iterations; None where its body may end it before."""
    count = len(states)
    goes_on: list[bool] = []

    def body(rows: list[Value], before: list[Value]) -> tuple[list[Value], list[Value]]:
        results = call.reader.run_within(
            call, call["body"], _given(call, [rows[0], Operand.of_known(_GOES_ON), *before])
        )
        last = results[0].known
        goes_on.append(last is not None and bool(last.reshape(())))
        values = [each.value for each in results[1:]]
        return values[count:], values[:count]

    numbers = op._iota(shape=(trips,), axis=0)
    begin = [each.value for each in states]
    try:
        outs, last = over_rows(body, [numbers], begin)
    except TigonError:
        if goes_on and not goes_on[-1]:
            return None
        return _unrolled(call, trips, states)
    return [*last, *outs] if goes_on[-1] else None


_LONGEST = 1 << 10


def _unrolled(call: Any, trips: int, states: list[Any]) -> list[Any]:
    """One iteration after the other: states may change their shapes."""
    call.check(
        0 < trips <= _LONGEST,
        f"a state changes its shape, so that iterations are written out, {_LONGEST} at most; "
        f"given {trips}",
    )
    count = len(states)
    stacked: list[list[Value]] = []
    for number in range(trips):
        results = call.reader.run_within(
            call,
            call["body"],
            _given(
                call,
                [
                    Operand.of_known(np.array(number, np.int64)),
                    Operand.of_known(_GOES_ON),
                    *states,
                ],
            ),
        )
        states = results[1 : count + 1]
        stacked.append([each.value for each in results[count + 1 :]])
        last = results[0].known
        call.check(last is not None, "a loop whose states change shape cannot end by a value")
        if not bool(last.reshape(())):
            break
    columns = zip(*stacked, strict=True)
    outs = [concat([unsqueeze(v, (0,)) for v in column], 0) for column in columns]
    return [*states, *outs]


def _while(
    call: Any, trips: int | None, most: Value | None, condition: Value | None, states: list[Value]
) -> list[Any]:
    """A loop that a value ends. How many rows its results have is not known before, so that it may
    have states alone."""
    count = len(states)
    if len(call["body"].output) != count + 1:
        for position, given in enumerate((most, condition)):
            if given is not None:
                call.constant_of(position)  # says which inputs decide how many rows there are
        call.check(False, "the values within end it, so that its stacked results have no shape")
    truth = constant(_GOES_ON, "bool") if condition is None else as_bool(reshape(condition, ()))
    zero = constant(np.array(0), "int64")
    limit = None if most is None else reshape(most, ())

    def holds(number: Any, goes_on: Any, *_: Any) -> Any:
        (own, value) = values_of([number, goes_on])
        if limit is None:
            return goes_on
        inside = op.Cast(op.broadcast_lesser(own, limit), dtype="bool")
        return symbols_of([op.broadcast_logical_and(value, inside)])[0]

    def body(number: Any, goes_on: Any, *before: Any) -> Any:
        own, _ = values_of([number, goes_on])
        results = call.reader.run_within(
            call, call["body"], _given(call, values_of([number, goes_on, *before]))
        )
        after = [own + 1, as_bool(reshape(results[0].value, ()))]
        after += [_result(each) for each in results[1:]]
        return [], symbols_of(after)

    begin = symbols_of([op.identity(zero), op.identity(truth), *states])
    _, last = sym.contrib.while_loop(
        holds,
        body,
        begin,
        max_iterations=UNLIMITED if trips is None else trips,
    )
    results = values_of(last)[2:]
    for each in results:
        each.node.name = ""  # that of the file then
    return results


# ---------------------------------------------------------------------------------------- scan


@converts("Scan")
def scan(call: Any, *operands: Value) -> list[Value]:
    if call.since < 9:
        return _scan_of_batch(call, operands)
    return _scan(call, operands)


def _scan(call: Any, operands: Sequence[Value]) -> list[Value]:
    inputs = call["num_scan_inputs"]
    count = len(operands) - inputs
    call.check(0 < inputs <= len(operands), f"num_scan_inputs: given {inputs}")
    body = call["body"]
    outs = len(body.output) - count
    call.check(outs >= 0, f"expected a body of {count} states or more; given {len(body.output)}")
    axes = call["scan_input_axes"] or (0,) * inputs
    turns = call["scan_input_directions"] or call["directions"] or (0,) * inputs
    out_axes = call["scan_output_axes"] or (0,) * outs
    out_turns = call["scan_output_directions"] or (0,) * outs
    call.check(
        len(axes) == len(turns) == inputs and len(out_axes) == len(out_turns) == outs,
        f"expected axes and directions of {inputs} inputs and {outs} outputs",
    )
    data = []
    for value, axis, turn in zip(operands[count:], axes, turns, strict=True):
        moved = move(value, axis_of(axis, value.ndim), 0)
        data.append(flip(moved, 0) if turn else moved)

    def run(rows: list[Value], before: list[Value]) -> tuple[list[Value], list[Value]]:
        results = call.reader.run_within(call, body, _given(call, [*before, *rows]))
        values = [each.value for each in results]
        return values[count:], values[:count]

    stacked, last = over_rows(run, data, operands[:count])
    found = []
    for value, axis, turn in zip(stacked, out_axes, out_turns, strict=True):
        turned = flip(value, 0) if turn else value
        found.append(move(turned, 0, axis_of(axis, value.ndim)))
    return [*last, *found]


def _scan_of_batch(call: Any, operands: Sequence[Any]) -> list[Value]:
    """Opset 8: the first axis is a batch, each entry of which is gone over on its own."""
    lengths, *values = operands
    call.check(lengths is None, "sequence_lens are not read; convert the model to opset 9")
    batch = values[0].shape[0]
    call.check(is_known(batch) and 0 < batch <= _LONGEST, f"a batch of {batch}; give shapes")
    rows = []
    for entry in range(batch):
        own = [reshape(cut(v, 0, entry, entry + 1), v.shape[1:]) for v in values]
        rows.append([unsqueeze(v, (0,)) for v in _scan(call, own)])
    return [concat(list(column), 0) for column in zip(*rows, strict=True)]
