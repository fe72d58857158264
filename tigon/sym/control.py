"""Loops and branches in graphs: the functions that users give run once, on variables, and what they
do becomes a graph of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

from tigon.base import TensorType, TigonError, check
from tigon.base.errors import add_place, line_of, user_line
from tigon.ir.graph import (
    CONSTANT,
    VARIABLE,
    Graph,
    Node,
    Value,
    constant,
    topological_order,
    variable,
)
from tigon.ir.rewrite import substitute, untyped
from tigon.ops import get
from tigon.ops.control_structure import (
    CannotTrace,
    Nest,
    check_count,
    check_most,
    in_dtypes_of,
    in_float32,
    nested,
    pair,
)
from tigon.ops.primitive import control as ops
from tigon.ops.record import has_effect
from tigon.runtime import tracing
from tigon.sym.symbol import Symbol, apply, enter


class _Within:
    """In the place of a trace, while the body of a loop or a branch runs."""

    def __init__(self, trace: Any, where: str) -> None:
        self._trace = trace
        self._where = where

    def give_way(self, reason: str) -> None:
        raise CannotTrace(f"{self._where}: {reason}")

    change = give_way

    def decide(self, _symbol: Any, _kind: str, what: str, _read: Callable[[Any], Any]) -> Any:
        raise CannotTrace(f"{self._where}: it does {what} at {user_line()}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trace, name)


class Inner:
    """What is traced of a body: its variables, and where its nodes begin."""

    def __init__(self, where: str, lazy: bool, what: str = "a loop or a branch of a graph") -> None:
        """`lazy`: all that is computed within stays within. Otherwise what does not depend on the
        variables is computed once, around the loop. `what` it is, for messages."""
        self.where = where
        self.lazy = lazy
        self.what = what
        self.variables: list[Value] = []
        self.first = constant(0).node.serial

    def enter(self, prefix: str, nest: Nest, types: Sequence[TensorType | None]) -> Any:
        """Variables in the structure of what the user gave."""
        made = []
        for number, (leaf, type_) in enumerate(zip(nest.leaves, types, strict=True)):
            value = variable(f"{prefix}{number}", type_)
            self.variables.append(value)
            made.append(type(leaf)((value,)))
        return nest.rebuilt(made)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the body gives; an error says that it came from there."""
        with self.traced():
            try:
                return function(*arguments)
            except CannotTrace:
                raise
            except Exception as error:
                add_place(error, f"{self.where}: in its body at {line_of(error)}")
                raise

    @contextmanager
    def traced(self) -> Iterator[None]:
        """What runs meanwhile is the body."""
        hooks = tracing.installed()
        trace = hooks.giver
        if trace is not None:
            within = _Within(trace, self.where)
            tracing.install(tracing.Hooks(hooks.capture, hooks.adapt, hooks.reader, within))
        try:
            yield
        finally:
            if trace is not None:
                tracing.install(hooks)

    def check_kept(self) -> None:
        """Nothing of a body may be used beyond it."""
        trace = tracing.installed().giver
        variables = {value.node for value in self.variables}
        if trace is not None and trace.holds(variables, self.first):
            raise CannotTrace(f"{self.where}: it keeps an array of its body beyond it")

    def close(self, values: Sequence[Value]) -> tuple[list[Value], set[Node]]:
        """What `values` read of the program around, and the nodes within."""
        within = {value.node for value in self.variables}
        others: dict[Value, None] = {}
        order = topological_order(values)
        for node in order:
            if node.op is CONSTANT or node in within:
                continue
            made_here = node.serial > self.first and node.op is not VARIABLE
            stays = made_here and (self.lazy or acts(node))
            if stays or any(value.node in within for value in node.inputs):
                within.add(node)
        for node in within:
            if _has_states(node):
                raise CannotTrace(
                    f"{self.where}: {node.label} changes a state or is Python code, which "
                    f"{self.what} cannot hold; do it outside"
                )
        for node in order:
            if node in within:
                others.update(
                    (v, None)
                    for v in node.inputs
                    if v.node not in within and v.node.op is not CONSTANT
                )
        others.update(
            (v, None) for v in values if v.node not in within and v.node.op is not CONSTANT
        )
        return list(others), within

    def graph(self, values: Sequence[Value], others: Sequence[Value]) -> Graph:
        inner = [
            variable(f"other{i}", v.type if v.is_typed else None) for i, v in enumerate(others)
        ]
        moved = substitute(values, dict(zip(others, inner, strict=True)))
        return untyped(Graph([*self.variables, *inner], moved))


def acts(node: Node) -> bool:
    """Whether each iteration does it anew."""
    op: Any = node.op
    draws = getattr(op, "draws", None)
    return bool(draws and draws(node.attrs)) or _has_states(node)


def _has_states(node: Node) -> bool:
    op: Any = node.op
    return has_effect(node) or bool(getattr(op, "mutates", None))


def _symbols(where: str, what: str, given: Any) -> Nest:
    """Operands; arrays that the code holds are symbols of the trace."""
    nest = nested(where, what, given)
    capture = tracing.capture()
    leaves = [
        leaf if capture is None or isinstance(leaf, Symbol) else capture(leaf)
        for leaf in nest.leaves
    ]
    return Nest(tuple(leaves), nest.shape)


def _values(where: str, nest: Nest) -> list[Value]:
    return [enter(leaf, where) for leaf in nest.leaves]


def _type(value: Value) -> TensorType | None:
    return TensorType(value.shape, value.dtype) if value.is_typed else None


def _node(op: Any, attrs: Any, operands: Sequence[Value], within: set[Node]) -> Symbol:
    """The outputs that users see, as symbols."""
    trace = tracing.installed().giver
    if trace is not None:
        trace.without(within)
    symbols = [Symbol((value,)) for value in operands]
    try:
        return apply(op, attrs, symbols, hint=op.name, like=Symbol)
    except TigonError as error:
        error.args = (f"{error} (the loop or branch at {user_line()})", *error.args[1:])
        raise


def _listed(result: Any, kind: type[Symbol], count: int) -> list[Any]:
    return [kind((value,)) for value in result._values[:count]]


def _kind(leaves: Sequence[Any]) -> type[Symbol]:
    kinds = [type(leaf) for leaf in leaves if isinstance(leaf, Symbol) and type(leaf) is not Symbol]
    return kinds[0] if kinds else Symbol


def _or_on_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """Where a body cannot be traced, the trace gives way, and the body runs on arrays from the
    begin. What it did before, beside computing, it does again."""

    @wraps(function)
    def on_symbols(*arguments: Any, **named: Any) -> Any:
        trace = tracing.installed().giver
        if trace is None:
            return function(*arguments, **named)
        mark = trace.mark()
        try:
            return function(*arguments, **named)
        except CannotTrace as error:
            trace.undo(mark)
            arrays = tracing.control("arrays")
            if arrays is None or not tracing.give_way(str(error)):
                raise
            return arrays[function.__name__](*arguments, **named)

    return on_symbols


def _checked(
    where: str, what: str, body: Callable[..., Any], states: Nest
) -> Callable[..., tuple[Nest, Nest]]:
    """A body whose results are looked at where its errors have their place."""

    def run(*given: Any) -> tuple[Nest, Nest]:
        outs, after = pair(where, body(*given))
        results, last = nested(where, "outputs", outs), nested(where, what, after)
        check_count(where, states, last)
        return results, in_dtypes_of(states, last)

    return run


def _released(*nests: Nest) -> list[Nest]:
    """The structures alone: symbols that are alive then were put somewhere."""
    return [Nest((None,) * len(nest.leaves), nest.shape) for nest in nests]


@_or_on_arrays
def foreach(
    body: Callable[..., Any],
    data: Any,
    init_states: Any,
    name: str = "foreach",
    recompute: bool = False,
) -> Any:
    """A loop over the rows of `data` as one node. See `nd.contrib.foreach`.

    >>> from tigon import sym
    >>> x, s = sym.var("x"), sym.var("s")
    >>> rows, last = sym.contrib.foreach(lambda row, s: (row + s, row + s), x, s)
    >>> rows.list_arguments()
    ['x', 's']
    """
    given, states = _symbols("foreach", "data", data), _symbols("foreach", "states", init_states)
    states = in_dtypes_of(states, states)
    check(given.leaves, "foreach", "expected data to go over; given none")
    own, begin = _values("foreach", given), _values("foreach", states)
    inner = Inner("foreach", lazy=False)
    rows = [None if (t := _type(v)) is None else ops.row_type(t) for v in own]
    arguments = (
        inner.enter("data", given, rows),
        inner.enter("state", states, list(map(_type, begin))),
    )
    results, last = inner.run(_checked("foreach", "states", body, states), *arguments)
    values = [*_values("foreach", results), *_values("foreach", last)]
    results, last = _released(results, last)
    del arguments
    inner.check_kept()
    others, within = inner.close(values)
    attrs = ops.ForeachAttrs(
        inner.graph(values, others), len(own), len(begin), recompute=bool(recompute)
    )
    made = _node(ops._foreach, attrs, [*own, *begin, *others], within)
    count = len(results.leaves)
    symbols = _listed(made, _kind([*given.leaves, *states.leaves]), count + len(begin))
    return results.rebuilt(symbols[:count]), last.rebuilt(symbols[count:])


@_or_on_arrays
def while_loop(
    cond: Callable[..., Any],
    func: Callable[..., Any],
    loop_vars: Any,
    max_iterations: int | None = None,
    name: str = "while_loop",
    recompute: bool = False,
) -> Any:
    """A loop while a condition holds as one node. See `nd.contrib.while_loop`.

    >>> from tigon import sym
    >>> i = sym.var("i")
    >>> rows, last = sym.contrib.while_loop(lambda i: i < 3, lambda i: (i, i + 1), i, 5)
    >>> rows.list_arguments()
    ['i']
    """
    most = check_most(max_iterations)
    states = _symbols("while_loop", "loop_vars", loop_vars)
    check(states.leaves, "while_loop", "expected loop_vars; given none")
    states = in_dtypes_of(states, states)
    begin = _values("while_loop", states)
    inner = Inner("while_loop", lazy=False)
    variables = inner.enter("state", states, list(map(_type, begin)))
    arguments = variables if isinstance(variables, list) else [variables]
    decides = enter(inner.run(cond, *arguments), "while_loop")
    results, last = inner.run(_checked("while_loop", "loop_vars", func, states), *arguments)
    values = [*_values("while_loop", results), *_values("while_loop", last)]
    holds = get("Cast")(decides, dtype="bool")
    (results,) = _released(results)
    del arguments, variables, last
    inner.check_kept()
    others, within = inner.close([holds, *values])
    attrs = ops.WhileAttrs(
        inner.graph([holds], others),
        inner.graph(values, others),
        len(begin),
        most,
        recompute=bool(recompute),
    )
    made = _node(ops._while_loop, attrs, [*begin, *others], within)
    count = len(results.leaves)
    symbols = _listed(made, _kind(states.leaves), count + len(begin))
    return results.rebuilt(symbols[:count]), states.rebuilt(symbols[count:])


@_or_on_arrays
def cond(
    pred: Any, then_func: Callable[[], Any], else_func: Callable[[], Any], name: str = "cond"
) -> Any:
    """One of two graphs as one node. See `nd.contrib.cond`.

    >>> from tigon import sym
    >>> p, x = sym.var("p"), sym.var("x")
    >>> sym.contrib.cond(p, lambda: x * 2, lambda: x).list_arguments()
    ['p', 'x']
    """
    decides = get("Cast")(enter(pred, "cond"), dtype="bool")
    branches, shapes, kinds = [], [], []
    others: dict[Value, None] = {}
    within: set[Node] = set()
    for function in (then_func, else_func):
        check(callable(function), "cond", f"expected functions; given {type(function).__name__}")
        inner = Inner("cond", lazy=True)
        results = in_float32(_symbols("cond", "results", inner.run(function)))
        values = _values("cond", results)
        shapes.append(results.shape)
        kinds.append(_kind(results.leaves))
        (results,) = _released(results)
        inner.check_kept()
        read, own = inner.close(values)
        others.update(dict.fromkeys(read))
        within |= own
        branches.append((inner, values))
    check(
        shapes[0] == shapes[1],
        "cond",
        "expected branches that give their results in the same lists; then_func gives "
        f"{_described(shapes[0])} and else_func {_described(shapes[1])}",
    )
    if not others:
        raise CannotTrace("cond: its branches read nothing; use where")
    then, otherwise = (inner.graph(values, list(others)) for inner, values in branches)
    made = _node(ops._cond, ops.CondAttrs(then, otherwise), [decides, *others], within)
    return results.rebuilt(_listed(made, kinds[0], len(results.leaves)))


def _described(shape: Any) -> str:
    return "an array" if shape is None else f"a list of {len(shape)}"


tracing.set_control("symbols", {"foreach": foreach, "while_loop": while_loop, "cond": cond})
