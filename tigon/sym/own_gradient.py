"""`autograd.Function` in a graph: its forward is a part of the program that is traced, and its
backward, run once on variables for the cotangents, is the gradient of the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tigon.base import TensorType
from tigon.base.errors import line_of
from tigon.ir.graph import Value
from tigon.ops.control_structure import CannotTrace, Nest
from tigon.ops.tensor.gradients import OwnGradientAttrs, own_gradient
from tigon.runtime import tracing
from tigon.sym.control import Inner, acts
from tigon.sym.symbol import Symbol, apply, enter


def with_gradient(
    called: str,
    results: Sequence[Symbol],
    inputs: Sequence[Symbol],
    backward: Callable[..., Sequence[Symbol | None]],
) -> list[Symbol]:
    """The results, whose gradient is what `backward(*cotangents)` gives for the inputs. Raises
    CannotTrace where that is no graph; what it computed is then no part of the program."""
    trace = tracing.installed().giver
    mark = trace.mark()
    try:
        return _traced(called, results, inputs, backward)
    except CannotTrace:
        trace.undo(mark)
        raise
    except Exception as error:
        trace.undo(mark)
        where, said = f"{called}.backward", str(error)
        if not said.startswith(where):  # its own results are told with its name
            said = f"{where}: at {line_of(error)}: {type(error).__name__}: {said}"
        raise CannotTrace(said) from error


def _traced(
    called: str,
    results: Sequence[Symbol],
    inputs: Sequence[Symbol],
    backward: Callable[..., Sequence[Symbol | None]],
) -> list[Symbol]:
    where = f"{called}.backward"
    own = [enter(result, called) for result in results]
    inner = Inner(where, lazy=True, what="the gradient of a graph")
    like = type(results[0])
    nest = Nest(tuple(results), [None] * len(results))
    cotangents = inner.enter("cotangent", nest, [_type(value) for value in own])
    with inner.traced():
        found = backward(*cotangents)
    given = tuple(number for number, one in enumerate(found) if one is not None)
    values = [enter(found[number], where) for number in given]
    del found, cotangents, nest
    inner.check_kept()
    others, within = inner.close(values)
    for node in within:
        if acts(node):
            raise CannotTrace(
                f"{where}: {node.label} draws random numbers; draw them in forward, and save them"
            )
    attrs = OwnGradientAttrs(inner.graph(values, others), len(own), len(inputs), given, called)
    tracing.installed().giver.without(within)
    operands = [*own, *[enter(one, called) for one in inputs], *others]
    made = apply(
        own_gradient,
        attrs,
        [Symbol((value,)) for value in operands],
        hint=called.lower(),
        like=Symbol,
    )
    return [like((value,)) for value in made._values]


def _type(value: Value) -> TensorType | None:
    return TensorType(value.shape, value.dtype) if value.is_typed else None
