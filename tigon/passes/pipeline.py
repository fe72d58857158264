"""The passes a graph goes through before it is lowered: order is data, with reasons."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from tigon.base import TigonError, config
from tigon.base.frozen import Frozen
from tigon.base.tiles import WIDE, Registers
from tigon.ir.graph import Graph
from tigon.passes.canonicalize import canonicalize
from tigon.passes.check_indices import check_indices
from tigon.passes.decompose import decompose
from tigon.passes.drop_closing_reshapes import drop_closing_reshapes
from tigon.passes.fold_constants import Evaluate, fold_constants
from tigon.passes.hoist_from_loops import hoist_from_loops
from tigon.passes.join_parts import join_parts
from tigon.passes.keep_residuals import keep_residuals
from tigon.passes.lay_out_images import lay_out_images
from tigon.passes.own_outputs import own_outputs
from tigon.passes.recompute import drop_marks
from tigon.passes.remove_dead_code import remove_dead_code
from tigon.passes.replace_empty_values import replace_empty_values
from tigon.passes.share_common_subexpressions import share_common_subexpressions
from tigon.passes.shorten_views import shorten_views
from tigon.passes.sink_from_loops import sink_from_loops
from tigon.passes.split_sums import split_sums
from tigon.passes.store_operands import store_operands


class Pass(Frozen):
    """One step. An optional one may be left out without changing any result."""

    run: Callable[..., Graph]
    reason: str
    optional: bool = True
    evaluates: bool = False
    """Whether it takes the evaluator as a second argument."""
    lays_out: bool = False
    """Whether it takes the registers of the target as a second argument."""
    keeps_shapes: bool = True
    """Whether each output comes out in its shape; where not, as the same bytes in order."""
    switch: str = ""
    """The environment variable that must be 1 for it to run: it changes what a graph means."""

    @property
    def name(self) -> str:
        return self.run.__name__


PIPELINE = (
    Pass(
        check_indices,
        "first: the records of users' operators tell; what those are made of is in range",
        optional=False,
        switch="TIGON_CHECK_INDICES",
    ),
    Pass(decompose, "early: all that follows, and lowering, knows primitives only", optional=False),
    Pass(keep_residuals, "before work leaves loops: a loop and its gradient must look alike"),
    Pass(hoist_from_loops, "before all that simplifies, for it makes work around loops"),
    Pass(sink_from_loops, "after hoisting: what is left in a loop depends on its states"),
    Pass(replace_empty_values, "before all that assumes a first element", optional=False),
    Pass(fold_constants, "early: folded numbers let canonicalize see x * 1", evaluates=True),
    Pass(canonicalize, "before sharing: equal things must be spelled alike to be found equal"),
    Pass(share_common_subexpressions, "before dead code: merged operands widen what is unread"),
    Pass(join_parts, "once pads are merged; what comes next reads past joins"),
    Pass(remove_dead_code, "reads past joins and writes, which leaves slices of other things"),
    Pass(canonicalize, "again: slices moved past joins meet other slices"),
    Pass(share_common_subexpressions, "again, for what became equal; before anything is copied"),
    Pass(
        drop_marks,
        "once nothing is merged any more: what is computed twice stays twice",
        optional=False,
    ),
    Pass(
        lay_out_images,
        "when nothing simplifies views any more; before sums are cut, which may be those of images",
        optional=False,
        lays_out=True,
    ),
    Pass(
        split_sums,
        "after all that would merge the parts again; they are rounded otherwise than the whole",
        optional=False,
    ),
    Pass(
        shorten_views,
        "after the last step that makes views; before outputs, for what it copies is in memory",
        optional=False,
    ),
    Pass(store_operands, "after the last step that makes views", optional=False),
    Pass(own_outputs, "when nothing else changes what computes an output", optional=False),
    Pass(
        drop_closing_reshapes,
        "last: only what is stored goes without its shape, and copies are there to be left out",
        keeps_shapes=False,
    ),
)


def optional_passes() -> tuple[str, ...]:
    """Names of the passes that may be disabled.

    >>> print(*optional_passes(), sep="\\n")
    canonicalize
    drop_closing_reshapes
    fold_constants
    hoist_from_loops
    join_parts
    keep_residuals
    remove_dead_code
    share_common_subexpressions
    sink_from_loops
    """
    return tuple(sorted({step.name for step in PIPELINE if step.optional}))


def switched_on() -> frozenset[str]:
    """Names of the passes that an environment variable asks for."""
    return frozenset(step.name for step in PIPELINE if step.switch and config.is_on(step.switch))


def run(
    graph: Graph,
    evaluate: Evaluate,
    disabled: Collection[str] = frozenset(),
    *,
    keep_shapes: bool = True,
    registers: Registers = WIDE,
) -> Graph:
    """Put the graph through all passes but the disabled ones, and those that do not keep the shapes
    of outputs where these matter."""
    unknown = sorted(set(disabled) - set(optional_passes()))
    if unknown:
        raise TigonError(
            f"pipeline: cannot disable {', '.join(unknown)}; "
            f"optional passes are {', '.join(optional_passes())}"
        )
    left_out = {step.name for step in PIPELINE if step.switch} - switched_on()
    left_out.update(disabled)
    for step in PIPELINE:
        if step.name not in left_out and (step.keeps_shapes or not keep_shapes):
            arguments: list[Any] = [graph]
            if step.evaluates:
                arguments.append(evaluate)
            if step.lays_out:
                arguments.append(registers)
            graph = step.run(*arguments)
    return graph
