"""Gradients that can be differentiated again: the reverse walk in recorded operators."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from heapq import heappop, heappush
from typing import Any, NoReturn

import numpy as np

from tigon import _native
from tigon.base import TensorType, TigonError, as_dtype, check
from tigon.base.dtypes import BY_CODE, to_memory
from tigon.context import context_of
from tigon.ir.graph import CONSTANT, Graph, Node, Value, topological_order, variable
from tigon.nd.dispatch import NDArray, run_node
from tigon.ops.record import Operator
from tigon.ops.record import get as operator
from tigon.ops.tensor.gradients import functions_among
from tigon.passes.decompose import decompose
from tigon.passes.gradient import gradient
from tigon.passes.set_mode import in_prediction, trains
from tigon.program.cached_graph import GraphCall
from tigon.program.host import HostGradient
from tigon.program.operators import OperatorCall, operator_gradient


def differentiable_gradients(
    heads: list[NDArray], head_grads: list[NDArray | None], targets: list[NDArray], training: bool
) -> list[NDArray]:
    """The reverse walk in recorded operators: each tape node's gradient rule is applied again."""
    add, ones, zeros = operator("broadcast_add"), operator("ones_like"), operator("zeros_like")
    recording, mode = _native.set_recording(True), _native.set_training(training)
    try:
        for target in targets:
            check(
                target.has_tape or target.grad_req != "null",
                "grad",
                "a variable takes no part in the recorded computation; call attach_grad on it "
                "before autograd.record()",
            )
        collected: dict[Any, dict[int, NDArray]] = {}
        keys = [leaf_key(target) for target in targets]
        leaves: dict[Any, NDArray] = {}
        nodes: dict[int, Any] = {}
        latest: list[int] = []  # a heap: calls are left in the reverse order of their making

        def receive(array: Any, cotangent: NDArray) -> None:
            if not isinstance(array, NDArray):
                return
            cotangent = cotangent.as_in_context(context_of(array))
            own = leaf_key(array)
            if own in keys:
                leaves[own] = add(leaves[own], cotangent) if own in leaves else cotangent
            found = _native.tape_node(array)
            if found is None:
                return
            node, output = found
            if node.sequence not in nodes:
                nodes[node.sequence] = node
                heappush(latest, -node.sequence)
            slots = collected.setdefault(node.sequence, {})
            slots[output] = add(slots[output], cotangent) if output in slots else cotangent

        for head, cotangent in zip(heads, head_grads, strict=True):
            receive(head, ones(head) if cotangent is None else cotangent)
        while latest:
            node = nodes.pop(-heappop(latest))
            cotangents = collected.pop(node.sequence)
            for operand, cotangent in _pull_back(node, cotangents, training):
                receive(operand, cotangent)
        return [
            leaves[own] if own in leaves else zeros(target)
            for own, target in zip(keys, targets, strict=True)
        ]
    finally:
        _native.set_recording(recording)
        _native.set_training(mode)


def leaf_key(array: NDArray) -> Any:
    """What identifies a variable: its place on the tape, or the array itself."""
    found = _native.tape_node(array)
    if found is not None:
        return found[0].sequence, found[1]
    return array.storage_id, array.shape, array.storage_offset


def _pull_back(
    node: Any, cotangents: dict[int, NDArray], training: bool
) -> list[tuple[Any, NDArray]]:
    """Cotangents of one call's inputs, computed by recorded operators. Unless `training`, they are
    those of what it would have computed in prediction."""
    tag = node.tag
    exists = True  # what its gradient may read as its results
    if isinstance(tag, GraphCall):
        if not training:
            tag.check_predicts()
        inputs, outputs = list(tag.graph.inputs), list(tag.graph.outputs)
        results = outputs
    elif isinstance(tag, OperatorCall):
        inputs = [variable(f"x{i}", type_) for i, type_ in enumerate(tag.types)]
        made = Node(tag.op, tuple(inputs), tag.attrs)
        if not training and trains(made):
            made = Node(tag.op, tuple(inputs), in_prediction(tag.attrs))
            exists = False
        results = list(made.outputs)
        outputs = results[: tag.op.visible_count(tag.attrs)]
    else:
        _refuse(tag.call.label if isinstance(tag, HostGradient) else "a custom Function")
    if functions_among(topological_order(outputs)):
        _refuse("a custom Function")
    arrays = node.inputs
    given: list[Value | None] = [
        variable(f"g{index}", TensorType(output.shape, output.dtype))
        if index in cotangents
        else None
        for index, output in enumerate(outputs)
    ]
    targets = [
        i
        for i, array in enumerate(arrays)
        if isinstance(array, NDArray) and (array.has_tape or array.grad_req != "null")
    ]
    found = gradient(outputs, given, [inputs[i] for i in targets])
    environment: dict[Value, Any] = dict(zip(inputs, arrays, strict=False))
    for index, output in enumerate(outputs):
        saved = node.saved_output(index) if exists else None
        if saved is not None:
            environment[output] = saved
    for index, value in enumerate(given):
        if value is not None:
            environment[value] = cotangents[index]
    flows = [(i, value) for i, value in zip(targets, found, strict=True) if value is not None]
    wanted = [value for _, value in flows]
    kept = tag.kept if isinstance(tag, GraphCall) else _kept_inputs(tag, _flags(arrays))
    wanted = _within_reach(tag, list(zip(inputs, arrays, strict=False)), kept, wanted, environment)
    with context_of(next(iter(cotangents.values()))):
        values = evaluate(wanted, environment)
    return [(arrays[i], value) for (i, _), value in zip(flows, values, strict=True)]


def _refuse(what: str) -> NoReturn:
    raise TigonError(
        f"grad: create_graph=True cannot differentiate through {what}; "
        "write it in operators, or use create_graph=False"
    )


def _flags(arrays: Sequence[Any]) -> tuple[bool, ...]:
    """Which inputs of a call the tape was asked to differentiate."""
    return tuple(
        isinstance(array, NDArray) and (array.has_tape or array.grad_req != "null")
        for array in arrays
    )


@lru_cache(maxsize=1024)
def _kept_inputs(call: OperatorCall, wanted: tuple[bool, ...]) -> frozenset[int]:
    """The inputs that the tape keeps of an operator's call."""
    rule = operator_gradient(call, wanted)
    saved = rule.saved if rule is not None else ()
    return frozenset(index for kind, index in saved if kind == "input")


def _within_reach(
    tag: OperatorCall | GraphCall,
    inputs: Sequence[tuple[Value, Any]],
    kept: frozenset[int],
    values: list[Value],
    environment: dict[Value, Any],
) -> list[Value]:
    """The values in a form that can be computed from what the tape has kept.

    A large operator asks for all of its operands, its parts perhaps not: BatchNorm's gradient does
    without the running statistics. And its gradient reads outputs that users do not see (the
    batch's mean), through which the tape lets no cotangent flow: its parts show everything."""
    hidden = any(
        isinstance(n.op, Operator) and n.op.visible_count(n.attrs) < len(n.outputs)
        for n in _pending(values, environment)
    )
    if not hidden and _out_of_reach(inputs, kept, values, environment) is None:
        return values
    parts = list(decompose(Graph(tuple(environment), values)).outputs)
    missing = _out_of_reach(inputs, kept, parts, environment)
    if missing is not None:
        what = tag.op.name if isinstance(tag, OperatorCall) else "a compiled graph"
        raise TigonError(
            f"grad: create_graph=True needs '{missing}', an input of {what} that was not kept; "
            "call the block without hybridize, or attach a gradient to that input"
        )
    return parts


def _out_of_reach(
    inputs: Sequence[tuple[Value, Any]],
    kept: frozenset[int],
    values: Sequence[Value],
    environment: dict[Value, Any],
) -> str | None:
    needed = {v for n in _pending(values, environment) for v in n.inputs if v in environment}
    needed.update(value for value in values if value in environment)
    for index, (value, array) in enumerate(inputs):
        if value not in needed or index in kept or not isinstance(array, NDArray):
            continue
        if array.has_tape or array.grad_req == "null":  # variables themselves are always at hand
            return value.node.name
    return None


_ARRAYS = (NDArray, _native.RandomKey)


def evaluate(values: Sequence[Value], environment: dict[Value, Any]) -> list[Any]:
    """Run a graph operator by operator on arrays, as the user would have written it."""
    for node in _pending(values, environment):
        if node.op is CONSTANT:
            environment[node.outputs[0]] = _constant(node)
            continue
        given = [environment[value] for value in node.inputs]
        results = run_node(node.op, node.attrs, given)
        if given and not any(isinstance(one, _ARRAYS) for one in given):
            results = [_as_number(result, environment) for result in results]
        environment.update(zip(node.outputs, results, strict=False))
    return [environment[value] for value in values]


def _as_number(result: NDArray, environment: dict[Value, Any]) -> Any:
    """What numbers alone come to is one again, which takes the dtype of what it meets. Spread over
    a shape it has that of the arrays that are there."""
    if result.size == 1:
        return result.item()
    dtypes = (BY_CODE[a.dtype_code] for a in environment.values() if isinstance(a, NDArray))
    found = next((dtype for dtype in dtypes if dtype.is_float), None)
    return result if found is None else result.astype(found)


def _pending(values: Sequence[Value], known: dict[Value, Any]) -> list[Node]:
    """The nodes that must run, inputs first; what is known already is not computed again."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack = [(value.node, False) for value in reversed(values) if value not in known]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((v.node, False) for v in reversed(node.inputs) if v not in known)
    return order


def _constant(node: Node) -> Any:
    attrs = node.attrs
    if attrs.weak:
        return attrs.value
    values = to_memory(np.array(attrs.value), as_dtype(attrs.dtype))
    return _native.from_numpy(values.reshape(attrs.shape))
