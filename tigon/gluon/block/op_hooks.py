"""`register_op_hook`: what every operator of a compiled block computes.

The block itself runs as without: beside it the graph of its code is computed once more, with every
output kept, on the same arrays and of the same random numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import local
from typing import Any

from tigon import autograd
from tigon._native import NDArray, is_training
from tigon.base import TigonError, check, nested, type_of
from tigon.gluon import trace as tracing
from tigon.gluon.arguments import packed
from tigon.gluon.block.scope import HookHandle
from tigon.ir.graph import CONSTANT, Graph, Value
from tigon.program.cached_graph import CachedGraph
from tigon.runtime import keys
from tigon.sym.symbol import Group, Symbol, output_name, var, visible_count

Callback = Callable[[str, str, NDArray], None]


class OpHook:
    """Calls `callback(name, operator, array)` after each compiled call of one block."""

    def __init__(self, block: Any, callback: Callback, monitor_all: bool) -> None:
        self._callback = callback
        self._monitor_all = monitor_all
        self._call = local()
        self._handles = [
            HookHandle(block._forward_pre_hooks, self.before),
            HookHandle(block._forward_hooks, self.after),
        ]

    def detach(self) -> None:
        for handle in self._handles:
            handle.detach()

    def before(self, block: Any, args: tuple[Any, ...]) -> None:
        """Remember where the stream of random numbers is."""
        if block._active and not tracing.active():
            self._call.key = keys.state()

    def after(self, block: Any, args: tuple[Any, ...], result: Any) -> None:
        if not block._active or tracing.active():
            return  # a part of a block that tells of it, or Python code
        arrays: dict[str, NDArray] = {}
        values, names = self._values(block, args, arrays)
        inputs = Symbol(values)._graph().inputs
        graph = CachedGraph(Graph(inputs, values), name="op hook", one_code=True)
        check(
            not graph.has_effects,
            "register_op_hook",
            f"{block.name} holds operators that are Python code, which would run a second time; "
            "register hooks on blocks without them",
        )
        states = [arrays[value.node.name].copy() for value in inputs]
        after = keys.state()
        with autograd.pause(train_mode=is_training()):
            keys_before = self._call.__dict__.get("key", after)
            with keys.scope(*keys_before):
                found = graph(states, is_training())
            for (name, operator), array in zip(names, found, strict=True):
                self._callback(name, operator, array)

    def _values(
        self, block: Any, args: tuple[Any, ...], arrays: dict[str, NDArray]
    ) -> tuple[list[Value], list[tuple[str, str]]]:
        """The values to tell of, in the order of the code, and what they are called; `arrays` are
        those of the variables."""

        def variable(leaf: Any) -> Any:
            if not isinstance(leaf, NDArray):
                return leaf
            type_ = type_of(leaf)
            name = f"data{len(arrays)}"
            arrays[name] = leaf
            return var(name, shape=type_.shape, dtype=type_.dtype.name)

        given, _ = nested.rebuilt(args, variable)
        trace = tracing.Trace(typed=False)
        try:
            with tracing.tracing(trace):
                result = block._traced(*packed(given, {}))
        except TigonError as error:
            raise TigonError(
                f"register_op_hook: the code of {block.name} is not one graph, of which operators "
                f"could be told; register hooks on the blocks within: {error}"
            ) from error
        for parameter, _ in trace.parameters.values():
            arrays[parameter.name] = parameter.list_data()[0]
        symbols = [leaf for leaf in nested.leaves(result, "forward") if isinstance(leaf, Symbol)]
        values: list[Value] = []
        names: list[tuple[str, str]] = []
        for node in Group(symbols)._nodes():
            if not node.inputs:
                continue
            own = node.name or node.op.name
            if self._monitor_all:
                for place, value in enumerate(node.inputs):
                    if value.node.op is not CONSTANT:
                        values.append(value)
                        names.append((f"{own}_{_input_name(node, place)}", node.op.name))
            for value in node.outputs[: visible_count(node)]:
                values.append(value)
                names.append((output_name(value), node.op.name))
        return values, names


class OpHooks:
    """Those of a tree of blocks: `detach()`, or leaving a `with`, ends them."""

    def __init__(self, hooks: Sequence[OpHook]) -> None:
        self._hooks = hooks

    def detach(self) -> None:
        """Remove them."""
        for hook in self._hooks:
            hook.detach()

    def __enter__(self) -> OpHooks:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()


def _input_name(node: Any, place: int) -> str:
    operands = node.op.operands
    last = len(operands) - 1
    if place >= last and operands[last].variadic:
        return f"{operands[last].name}{place - last}"
    return str(operands[place].name)
