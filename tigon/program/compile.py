"""Graph -> passes -> kernels -> native program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tigon import _native
from tigon.base import InternalError
from tigon.ir import Graph
from tigon.program.lowered import CompiledGraph, lower_graph


def compile_graph(
    graph: Graph,
    *,
    name: str = "graph",
    visible: int | None = None,
    gradient: Callable[[tuple[bool, ...]], Any] | None = None,
    tag: Any = None,
    disabled: frozenset[str] | None = None,
    donated: Sequence[int] = (),
    in_place: Sequence[tuple[int, int]] = (),
) -> CompiledGraph:
    """Compile a typed graph without run-time extents. Program inputs are the graph's inputs, in
    order.

    `visible`: how many of the outputs the caller sees (the rest are residuals); `gradient` and
    `tag` are handed to the native program. `donated` inputs count as given up in the memory plan.
    `in_place` are pairs (output, input) that the caller will give the same memory: the kernel that
    writes such an output waits until all others have read the input.
    """
    lowered = lower_graph(graph, disabled=disabled, donated=donated, in_place=in_place)
    return lowered.program(name=name, visible=visible, gradient=gradient, tag=tag)


def without_slope() -> Any:
    """Nothing flows through the call, but what it is made of takes part: gradients of 0, as in
    MXNet."""
    return _native.Gradient(saved=[], cotangents=[], targets=[], compile=_no_program)


def _no_program() -> Any:
    raise InternalError("a gradient without targets was asked for its program")
