"""`nd.contrib.foreach`, `while_loop` and `cond`: Python's own loops and branches on arrays. In a
hybridized block, where they meet symbols, they become nodes of the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tigon import _native
from tigon.base import check
from tigon.ops import casting, get
from tigon.ops.control_structure import (
    Iterations,
    check_count,
    check_most,
    check_types,
    in_dtypes_of,
    in_float32,
    nested,
    pair,
)
from tigon.runtime import keys, tracing


def _in_graph(function: str, *arguments: Any) -> Any:
    """What the symbolic function gives, where arguments are symbols or the code is traced;
    NotImplemented elsewhere."""
    hooks = tracing.installed()
    if hooks.capture is None and not _holds_symbol(arguments):
        return NotImplemented
    control = tracing.control("symbols")
    return NotImplemented if control is None else control[function](*arguments)


def _holds_symbol(arguments: Any) -> bool:
    pending = list(arguments)
    while pending:
        item = pending.pop()
        if isinstance(item, (list, tuple)):
            pending += item
        elif getattr(item, "stands_for", item) is None:  # a symbol
            return tracing.eager() is None
    return False


def _concrete(item: Any) -> Any:
    trace = tracing.eager()
    return item if trace is None else trace.concrete(item)


def foreach(
    body: Callable[..., Any],
    data: Any,
    init_states: Any,
    name: str = "foreach",
    recompute: bool = False,
) -> Any:
    """Run `body(row, states)` for each row of `data`; it gives (outputs, new states). Data, states
    and outputs are arrays or lists of them. Gives the outputs, each stacked along a new first axis,
    and the last states.

    In a hybridized block it is a loop of the graph: one native call, differentiable to every order.
    Bodies may read arrays and parameters around them. A state keeps its shape and dtype.

    For its gradient a loop of a graph keeps, of each iteration, what takes the fewest bytes and
    spares computing products again. `recompute=True`, which MXNet does not have, keeps the states
    alone, and computes each iteration again: less memory, more time. On arrays it changes nothing.

    >>> from tigon import nd
    >>> sums, last = foreach(lambda x, s: (x + s, x + s), nd.array([1, 2, 3]), nd.zeros(1))
    >>> sums.asnumpy()[:, 0].tolist(), last.asscalar()
    ([1.0, 3.0, 6.0], np.float32(6.0))
    """
    made = _in_graph("foreach", body, data, init_states, name, recompute)
    if made is not NotImplemented:
        return made
    given = nested("foreach", "data", _concrete(data))
    begin = nested("foreach", "states", _concrete(init_states))
    states = begin.rebuilt(begin.leaves)
    check(given.leaves, "foreach", "expected data to go over; given none")
    lengths = [leaf.shape[0] if leaf.shape else 0 for leaf in given.leaves]
    check(
        len(set(lengths)) == 1,
        "foreach",
        f"expected arrays of data with as many rows; given {', '.join(map(str, lengths))} rows",
    )
    rows: list[list[Any]] = []
    shape = None
    with keys.within() as stream, Iterations("foreach") as now:
        for number in range(lengths[0]):
            now.number = number
            stream.iteration(number)
            row = given.rebuilt([leaf[number] for leaf in given.leaves])
            outs, states = pair("foreach", body(row, states))
            shape = nested("foreach", "outputs", outs)
            after = nested("foreach", "states", states)
            check_count("foreach", begin, after)
            after = in_dtypes_of(begin, after)
            states = after.rebuilt(after.leaves)
            check_types("foreach", begin, after)
            rows.append(list(shape.leaves))
    if shape is None:
        return [], states
    return shape.rebuilt(_stacked(rows)), after.rebuilt(after.leaves)


def while_loop(
    cond: Callable[..., Any],
    func: Callable[..., Any],
    loop_vars: Any,
    max_iterations: int | None = None,
    name: str = "while_loop",
    recompute: bool = False,
) -> Any:
    """Run `func(*loop_vars)`, which gives (outputs, new loop_vars), while `cond(*loop_vars)` holds,
    at most `max_iterations` times. Gives the outputs, stacked to `max_iterations` rows, of which
    those never reached are 0, and the last loop_vars. Without an iteration outputs are [] where
    arrays compute, and rows of zeros in a graph. `recompute` is as in `foreach`.

    >>> from tigon import nd
    >>> i = nd.zeros(1)
    >>> out, last = while_loop(lambda i: i < 2, lambda i: (i + 5, i + 1), i, max_iterations=3)
    >>> out.asnumpy()[:, 0].tolist(), last.asscalar()
    ([5.0, 6.0, 0.0], np.float32(2.0))
    """
    made = _in_graph("while_loop", cond, func, loop_vars, max_iterations, name, recompute)
    if made is not NotImplemented:
        return made
    most = check_most(max_iterations)
    nest = nested("while_loop", "loop_vars", _concrete(loop_vars))
    check(nest.leaves, "while_loop", "expected loop_vars; given none")
    states = nest.rebuilt(nest.leaves)
    alone = not isinstance(states, list)
    rows: list[list[Any]] = []
    shape = None
    with keys.within() as stream, Iterations("while_loop") as now:
        while len(rows) < most:
            now.number = len(rows)
            stream.iteration(len(rows))
            arguments = [states] if alone else states
            if not _holds("while_loop", cond(*arguments)):
                break
            outs, after = pair("while_loop", func(*arguments))
            shape = nested("while_loop", "outputs", outs)
            new = nested("while_loop", "loop_vars", after)
            check_count("while_loop", nest, new)
            new = in_dtypes_of(nest, new)
            check_types("while_loop", nest, new)
            states = nest.rebuilt(new.leaves)
            rows.append(list(shape.leaves))
    if shape is None:
        return [], states
    return shape.rebuilt(_stacked(rows, most)), states


def cond(
    pred: Any, then_func: Callable[[], Any], else_func: Callable[[], Any], name: str = "cond"
) -> Any:
    """`then_func()` where `pred`, an array of one element, is not 0, else `else_func()`. The other
    one does not run; in a graph both give the same shapes and dtypes.

    >>> from tigon import nd
    >>> x = nd.array([3])
    >>> cond(x > 2, lambda: x * 10, lambda: x).asscalar()
    np.float32(30.0)
    """
    made = _in_graph("cond", pred, then_func, else_func, name)
    if made is not NotImplemented:
        return made
    with keys.within():
        result = (then_func if _holds("cond", _concrete(pred)) else else_func)()
    if casting.current() is None:
        return result
    given = in_float32(nested("cond", "results", result))
    return given.rebuilt(given.leaves)


def _holds(where: str, decides: Any) -> bool:
    if isinstance(decides, (bool, int, float)):
        return bool(decides)
    check(
        isinstance(decides, _native.NDArray) and decides.size == 1,
        where,
        f"expected an array of one element to decide; given "
        f"{getattr(decides, 'shape', type(decides).__name__)}",
    )
    return bool(decides.asscalar() != 0)


def _stacked(rows: list[list[Any]], length: int | None = None) -> list[Any]:
    stack, zeros_like = get("stack"), get("zeros_like")
    made = []
    for column in zip(*rows, strict=True):
        missing = 0 if length is None else length - len(column)
        made.append(stack(*column, *[zeros_like(column[0])] * missing, axis=0))
    return made


tracing.set_control("arrays", {"foreach": foreach, "while_loop": while_loop, "cond": cond})
