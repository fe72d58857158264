"""A symbol bound to arrays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import TensorType, TigonError, as_dtype, check
from tigon.base.dtypes import BY_CODE
from tigon.base.lazy import computed_once
from tigon.context import Context, check_context, check_one_kind, context_in, context_of
from tigon.ir.graph import VARIABLE, Graph, Value
from tigon.ir.rewrite import substitute
from tigon.program.cached_graph import CachedGraph
from tigon.sym.compiled import as_array, check_distinct
from tigon.sym.inference import Hint, infer
from tigon.sym.symbol import Symbol, output_name

NDArray = _native.NDArray
REQUESTS = ("write", "add", "null")


class Executor:
    """Runs a symbol on the arrays it was bound to, forward and backward.

    >>> from tigon import nd, sym
    >>> a, b = sym.var("a"), sym.var("b")
    >>> grad = nd.zeros(1)
    >>> arrays = {"a": nd.array([2]), "b": nd.array([3])}
    >>> executor = (a * b).bind(args=arrays, args_grad={"a": grad})
    >>> executor.forward()[0].asscalar()
    np.float32(6.0)
    >>> executor.backward(out_grads=nd.ones(1))
    >>> grad.asscalar()
    np.float32(3.0)
    """

    def __init__(
        self,
        symbol: Symbol,
        ctx: Context,
        arguments: Mapping[str, NDArray],
        gradients: Mapping[str, NDArray | None],
        requests: Mapping[str, str],
        auxiliary: Mapping[str, NDArray],
        graph: CachedGraph | None = None,
    ) -> None:
        """`graph`: what was made for another executor of the symbol, whose programs serve."""
        self._symbol = symbol
        self._ctx = check_context("Executor", ctx)
        self.arg_dict = dict(arguments)
        self.grad_dict = dict(gradients)
        self.aux_dict = dict(auxiliary)
        self._requests = dict(requests)
        if graph is None:
            merged = _merged(symbol, auxiliary)
            graph = CachedGraph(merged, name=symbol.name or "executor", one_code=True)
        self._graph = graph
        self._outputs: list[NDArray] | None = None
        self._recorded = False
        self._training = False
        self._gone: str | None = None  # why there is nothing to go back through
        self._watched: CachedGraph | None = None  # with all that a monitor is told of
        self._seen: list[NDArray] = []
        self._monitor: tuple[Callable[[str, NDArray], None], bool] | None = None
        # Handles of our own: what backward fills is this executor's business, not that of
        # gradients the user attached to the same arrays.
        self._handles = {name: array.detach() for name, array in self.arg_dict.items()}
        for name, handle in self._handles.items():
            gradient = self.grad_dict.get(name)
            if gradient is not None and self._requests[name] != "null":
                handle.mark_variable(gradient, self._requests[name])
        self._names = symbol.list_inputs()
        advanced = {self._names[source] for _, source in self._graph.states}
        self._advanced = sorted(advanced.intersection(self._handles))

    # -- what it holds

    @property
    def outputs(self) -> list[NDArray]:
        """The results of the last `forward`."""
        if self._outputs is None:
            raise TigonError("Executor.outputs: there are none yet; call forward() first")
        return self._outputs

    @property
    def output_dict(self) -> dict[str, NDArray]:
        return dict(zip(self._symbol.list_outputs(), self.outputs, strict=True))

    @property
    def arg_arrays(self) -> list[NDArray]:
        return list(self.arg_dict.values())

    @property
    def grad_arrays(self) -> list[NDArray | None]:
        return [self.grad_dict.get(name) for name in self.arg_dict]

    @property
    def aux_arrays(self) -> list[NDArray]:
        return list(self.aux_dict.values())

    def _arrays(self) -> list[NDArray]:
        return [
            self._handles[name] if name in self._handles else self.aux_dict[name]
            for name in self._names
        ]

    # -- running

    def forward(self, is_train: bool = False, **arrays: Any) -> list[NDArray]:
        """Compute the outputs. Arrays given by name are copied into the bound ones first."""
        for name, given in arrays.items():
            self._set(name, given)
        self._run(bool(is_train), bool(is_train))
        if self._monitor is not None:
            self._report(bool(is_train))
        return self.outputs

    def _set(self, name: str, given: Any) -> None:
        if name not in self.arg_dict:
            raise TigonError(
                f"Executor.forward: the symbol has no argument '{name}'; it has: "
                f"{', '.join(self.arg_dict)}"
            )
        target = self.arg_dict[name]
        array = as_array("Executor.forward", name, given)
        check(
            array.shape == target.shape,
            "Executor.forward",
            f"argument '{name}': expected shape {target.shape}, as bound; given {array.shape}; "
            "use Executor.reshape for another shape",
        )
        with _paused():
            array.astype(BY_CODE[target.dtype_code], copy=False).copyto(target)

    def _run(self, training: bool, recorded: bool) -> None:
        """Backward starts from what is recorded."""
        previous = _native.set_recording(recorded)
        mode = _native.set_training(training)
        try:
            with nullcontext() if self._names else self._ctx:  # where its arrays are
                self._outputs = self._computed(training)
        finally:
            _native.set_recording(previous)
            _native.set_training(mode)
        for name in self._advanced:  # states of optimizers are arguments
            self.arg_dict[name].swap_storage(self._handles[name])
        self._recorded, self._training, self._gone = recorded, training, None

    def _computed(self, training: bool) -> list[NDArray]:
        """The outputs. What a monitor is to see comes with them where calls have effects, which
        must not happen twice."""
        if self._monitor is None or not self._graph.has_effects:
            return self._graph(self._arrays(), training)
        if self._watched is None:
            whole = _merged(self._symbol, self.aux_dict)
            inner = Symbol(whole.outputs).get_internals()._values
            graph = Graph(whole.inputs, (*whole.outputs, *[v for v in inner if v.node.inputs]))
            self._watched = CachedGraph(graph, name=self._graph.name, one_code=True)
        results = self._watched(self._arrays(), training)
        count = len(self._symbol._values)
        self._seen = [array.detach() for array in results[count:]]
        return results[:count]

    def backward(self, out_grads: Any = None, is_train: bool = True) -> None:
        """Fill the gradient arrays as their grad_req says. `out_grads` are the cotangents of the
        outputs; they may be missing only if every output is a loss. The gradient is that of what
        `forward` computed, in its mode; only where none was called does `is_train` choose it. With
        `is_train=False` it is that of prediction, for which `forward` must not have been in
        training."""
        cotangents = None if out_grads is None else self._cotangents(out_grads)
        if cotangents is None:
            check(
                not self._lacking,
                "Executor.backward",
                f"output '{self._lacking[0] if self._lacking else ''}' is not a loss, so its "
                "gradient must be given; call backward(out_grads=...) with one array per output",
            )
        check(
            self._gone is None,
            "Executor.backward",
            f"{self._gone}; call forward(is_train=True) before it",
        )
        if not self._recorded:
            check(
                self._outputs is None or not self._graph.has_effects,
                "Executor.backward",
                "forward was not in training, and the symbol holds operators that are Python code, "
                "which would run a second time; call forward(is_train=True) before it",
            )
            self._run(bool(is_train) if self._outputs is None else self._training, True)
        if not any(self._handles[name].grad_req != "null" for name in self._handles):
            return
        outputs = self.outputs
        if cotangents is None:
            cotangents = [None] * len(outputs)
        pairs = [
            (output, cotangent)
            for output, cotangent in zip(outputs, cotangents, strict=True)
            if output.has_tape
        ]
        if not pairs:
            return
        heads, grads = [output for output, _ in pairs], [grad for _, grad in pairs]
        _native.backward(heads, grads, True, None, not is_train)

    @computed_once
    def _lacking(self) -> list[str]:
        """The outputs whose gradient `backward` must be given: no losses, and it flows."""
        wanted = {name for name, request in self._requests.items() if request != "null"}
        return [
            output_name(value)
            for value in self._symbol._values
            if not is_loss(value) and _gradient_flows(value, wanted)
        ]

    def _cotangents(self, out_grads: Any) -> list[NDArray | None]:
        values = self._symbol._values
        if isinstance(out_grads, Mapping):
            names = self._symbol.list_outputs()
            out_grads = [out_grads.get(name) for name in names]
        listed = list(out_grads) if isinstance(out_grads, (list, tuple)) else [out_grads]
        check(
            len(listed) == len(values),
            "Executor.backward",
            f"expected {len(values)} out_grads, one per output; given {len(listed)}",
        )
        return [
            None if grad is None else as_array("Executor.backward", name, grad)
            for name, grad in zip(self._symbol.list_outputs(), listed, strict=True)
        ]

    def take_over(self, outputs: list[NDArray]) -> None:
        """These are the outputs of a step that was computed elsewhere, backward included."""
        self._outputs, self._recorded, self._training = outputs, False, True
        self._gone = (
            "the outputs are those of a whole step of Module.fit, which has moved the parameters"
        )

    def release(self) -> None:
        """Give up what backward would need; outputs stay."""
        if self._recorded and self._outputs is not None:
            self._outputs = [output.detach() for output in self._outputs]
            self._recorded = False
            self._gone = "what it needs was given up when another bucket was computed"

    # -- parameters and shapes

    def copy_params_from(
        self,
        arg_params: Mapping[str, Any],
        aux_params: Mapping[str, Any] | None = None,
        allow_extra_params: bool = False,
    ) -> None:
        """Copy values by name into the bound arrays."""
        for given, own, kind in (
            (arg_params, self.arg_dict, "argument"),
            (aux_params or {}, self.aux_dict, "auxiliary state"),
        ):
            for name, value in given.items():
                if name not in own:
                    check(
                        allow_extra_params,
                        "Executor.copy_params_from",
                        f"the symbol has no {kind} '{name}'; it has: {', '.join(own)}; "
                        "pass allow_extra_params=True to skip it",
                    )
                    continue
                target = own[name]
                array = as_array("Executor.copy_params_from", name, value)
                check(
                    array.shape == target.shape,
                    "Executor.copy_params_from",
                    f"{kind} '{name}': expected shape {target.shape}; given {array.shape}",
                )
                with _paused():
                    array.astype(BY_CODE[target.dtype_code], copy=False).copyto(target)

    def reshape(
        self, partial_shaping: bool = False, allow_up_sizing: bool = False, **shapes: Any
    ) -> Executor:
        """An executor for other input shapes. Arrays whose shape stays are shared."""
        types = _types(self._symbol, "Executor.reshape", shapes, self._dtypes())
        arguments: dict[str, NDArray] = {}
        gradients: dict[str, NDArray | None] = {}
        with self._ctx:
            for name, array in self.arg_dict.items():
                shape = types[name].shape
                if shape == array.shape:
                    arguments[name], gradients[name] = array, self.grad_dict.get(name)
                    continue
                check(
                    name in shapes or partial_shaping,
                    "Executor.reshape",
                    f"the shape of '{name}' would change from {array.shape} to {shape}; pass "
                    "partial_shaping=True if that is meant",
                )
                arguments[name] = _zeros(types[name])
                old = self.grad_dict.get(name)
                gradients[name] = None if old is None else _zeros(types[name])
            auxiliary = {
                name: array if types[name].shape == array.shape else _zeros(types[name])
                for name, array in self.aux_dict.items()
            }
        same = all(array is auxiliary[name] for name, array in self.aux_dict.items())
        graph = self._graph if same else None
        return Executor(
            self._symbol, self._ctx, arguments, gradients, self._requests, auxiliary, graph
        )

    def _dtypes(self) -> dict[str, Any]:
        return {
            name: BY_CODE[array.dtype_code]
            for name, array in (*self.arg_dict.items(), *self.aux_dict.items())
        }

    # -- looking inside

    def _compiled(self) -> Any:
        return self._graph.compiled(self._arrays(), self._training)

    @property
    def memory_plan(self) -> Any:
        """Bytes in total, temporaries, and where everything lies, for the forward program."""
        return self._compiled().memory_plan

    @property
    def kernels(self) -> tuple[Any, ...]:
        """The native functions that one forward runs."""
        return self._compiled().kernels

    def set_monitor_callback(
        self, callback: Callable[[str, NDArray], None] | None, monitor_all: bool = False
    ) -> None:
        """Call `callback(name, array)` for the output of every operator after each forward; with
        `monitor_all` for the variables too. None: no longer."""
        self._monitor = None if callback is None else (callback, monitor_all)

    def _report(self, training: bool) -> None:
        assert self._monitor is not None
        callback, everything = self._monitor
        internals = self._symbol.get_internals()
        chosen = [v for v in internals._values if v.node.inputs]
        if self._graph.has_effects:
            with _paused():
                if everything:
                    for name, array in zip(self._names, self._arrays(), strict=True):
                        callback(name, array.copy())
                for value, array in zip(chosen, self._seen, strict=True):
                    callback(output_name(value), array)
            return
        with _paused():
            graph = CachedGraph(
                Graph(self._symbol._graph().inputs, chosen), name="monitor", one_code=True
            )
            states = [array.copy() for array in self._arrays()]
            if everything:
                for name, array in zip(self._names, states, strict=True):
                    callback(name, array)
            for value, array in zip(chosen, graph(states, training), strict=True):
                callback(output_name(value), array)

    def debug_str(self) -> str:
        """The kernels and the memory plan as text."""
        return f"{self._symbol.debug_str()}\n{self.memory_plan}"

    def get_optimized_symbol(self) -> Symbol:
        """The symbol as it is executed: primitives, folded and shared."""
        return Symbol(self._compiled().graph.outputs)

    def __repr__(self) -> str:
        return f"<Executor of {self._symbol!r}>"


def is_loss(value: Value) -> bool:
    """Whether the gradient of an output is its own business."""
    return bool(getattr(value.node.op, "is_loss", False))


def _gradient_flows(value: Value, names: Collection[str]) -> bool:
    """Whether a gradient of a value would reach one of these variables."""
    stack, seen = [value.node], set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op is None or not node.inputs:
            if node.name in names:
                return True
        elif node.op.differentiable and not node.op.ends_recording:
            stack += [operand.node for operand in node.inputs]
    return False


class _paused:
    def __enter__(self) -> None:
        self._previous = _native.set_recording(False)

    def __exit__(self, *_: object) -> None:
        _native.set_recording(self._previous)


# -------------------------------------------------------------------------------- binding


def _contexts_of_groups(where: str, group2ctx: Mapping[str, Any] | None) -> dict[str, Context]:
    """Where arrays of groups lie. All is computed where the first argument is, and so they are of
    one kind."""
    found = {group: check_context(where, one) for group, one in (group2ctx or {}).items()}
    check_one_kind(where, [*found.values()])
    return found


def _groups(symbol: Symbol) -> dict[str, str]:
    """Variables by the `ctx_group` of an `AttrScope`: their own, or that of the first node that
    takes them."""
    found: dict[str, str] = {}
    nodes = symbol._nodes()
    groups = {
        node: group
        for node in nodes
        if (group := node.hints.get("ctx_group") or node.hints.get("__ctx_group__"))  # in files
    }
    for node, group in groups.items():
        if node.op is VARIABLE:
            found[node.name] = group
    for node, group in groups.items():
        for value in node.inputs:
            if value.node.op is VARIABLE:
                found.setdefault(value.node.name, group)
    return found


def bind(
    self: Symbol,
    ctx: Any = None,
    args: Any = None,
    args_grad: Any = None,
    grad_req: Any = "write",
    aux_states: Any = None,
    group2ctx: Any = None,
    shared_exec: Any = None,
) -> Executor:
    """An executor over these arrays: see `Executor`. As in MXNet all of them are on `ctx`, unless
    there are groups; left out, it is where the first one is."""
    _contexts_of_groups("bind", group2ctx)
    bound = None if ctx is None else check_context("bind", ctx)
    check_distinct("bind", self)
    names, auxiliary_names = self.list_arguments(), self.list_auxiliary_states()
    arguments = _by_name("args", names, args, required=True)
    arguments = {name: as_array("bind", name, array) for name, array in arguments.items()}
    auxiliary = _by_name("aux_states", auxiliary_names, aux_states, required=True)
    gradients = _by_name("args_grad", names, args_grad, required=False)
    requests = _requests(names, grad_req)
    arrays = {
        f"{kind} '{name}'": array
        for kind, part in (
            ("argument", arguments),
            ("gradient of", gradients),
            ("auxiliary state", auxiliary),
        )
        for name, array in part.items()
        if array is not None
    }
    context = _place(bound, arrays, anywhere=bool(group2ctx))
    for name, gradient in gradients.items():
        if gradient is None:
            requests[name] = "null"
            continue
        array = arguments[name]
        check(
            gradient.shape == array.shape and gradient.dtype_code == array.dtype_code,
            "bind",
            f"args_grad of '{name}': expected shape {array.shape} and "
            f"{BY_CODE[array.dtype_code]}, like the argument; given {gradient.shape} and "
            f"{BY_CODE[gradient.dtype_code]}",
        )
        check(
            context_of(gradient) == context_of(array),
            "bind",
            f"args_grad of '{name}': expected an array on {context_of(array)}, like the argument; "
            f"given one on {context_of(gradient)}; move it with as_in_context",
        )
    given = {
        name: Hint(array.shape, BY_CODE[array.dtype_code], exact=True)
        for name, array in (*arguments.items(), *auxiliary.items())
    }
    infer(self._values, given)
    return Executor(self, context, arguments, gradients, requests, auxiliary)


def _place(bound: Context | None, arrays: Mapping[str, NDArray], anywhere: bool) -> Context:
    """Where the executor runs."""
    context = bound or context_in(arrays.values()) or check_context("bind", None)
    for name, array in arrays.items():
        own = context_of(array)
        check(
            own == context if bound and not anywhere else own.kind == context.kind,
            "bind",
            f"{name}: expected an array on {context}, where it is bound; given one on {own}; move "
            f"it with as_in_context, or bind all to {own}",
        )
    return context


def _merged(symbol: Symbol, auxiliary: Mapping[str, NDArray]) -> Graph:
    """The graph in which states that were given one array are one: each call of an operator then
    reads what the one before has left in it."""
    graph = symbol._graph()
    first: dict[int, Value] = {}
    same: dict[Value, Value] = {}
    for value in graph.inputs:
        array = auxiliary.get(value.node.name)
        if array is not None and first.setdefault(id(array), value) is not value:
            same[value] = first[id(array)]
    return Graph(graph.inputs, substitute(graph.outputs, same)) if same else graph


def _by_name(where: str, names: Sequence[str], given: Any, required: bool) -> dict[str, Any]:
    """Arrays by name, from a dict or from a list in the order of the names."""
    if given is None:
        given = {}
    if isinstance(given, (list, tuple)):
        check(
            len(given) == len(names),
            "bind",
            f"{where}: expected {len(names)} arrays ({', '.join(names)}); given {len(given)}",
        )
        given = dict(zip(names, given, strict=True))
    check(
        isinstance(given, Mapping),
        "bind",
        f"{where}: expected a list or a dict of NDArrays; given {type(given).__name__}",
    )
    found = {}
    for name in names:
        array = given.get(name)
        check(
            array is not None or not required,
            "bind",
            f"{where}: '{name}' is not bound to an array; it needs: {', '.join(names)}",
        )
        check(
            array is None or isinstance(array, NDArray),
            "bind",
            f"{where}: '{name}': expected an NDArray; given {type(array).__name__}; "
            "convert it with nd.array",
        )
        found[name] = array
    return found


def _requests(names: Sequence[str], given: Any) -> dict[str, str]:
    if isinstance(given, str):
        found = dict.fromkeys(names, given)
    elif isinstance(given, Mapping):
        found = {name: given.get(name, "null") for name in names}
    else:
        listed = list(given)
        check(
            len(listed) == len(names),
            "bind",
            f"grad_req: expected {len(names)} entries ({', '.join(names)}); given {len(listed)}",
        )
        found = dict(zip(names, listed, strict=True))
    for name, request in found.items():
        check(
            request in REQUESTS,
            "bind",
            f"grad_req of '{name}': expected 'write', 'add' or 'null'; given {request!r}",
        )
    return found


def _types(
    symbol: Symbol, where: str, shapes: Mapping[str, Any], dtypes: Mapping[str, Any] | None
) -> dict[str, TensorType]:
    """The types of all variables, from the shapes of some."""
    names = symbol.list_inputs()
    hints: dict[str, Hint] = {name: Hint(None, as_dtype(d)) for name, d in (dtypes or {}).items()}
    for name, shape in shapes.items():
        check(
            name in names,
            where,
            f"the symbol has no argument '{name}'; it has: {', '.join(names)}",
        )
        extents = (shape,) if isinstance(shape, (int, np.integer)) else shape
        check(
            isinstance(extents, (tuple, list))
            and all(isinstance(extent, (int, np.integer)) for extent in extents),
            where,
            f"argument '{name}' expects a shape such as (2, 3); given {shape!r:.40}",
        )
        known = hints[name].dtype if name in hints else None
        hints[name] = Hint(tuple(extents), known)
    found = infer(symbol._values, hints)
    result = {}
    for node in symbol._variable_nodes():
        check(
            node.outputs[0] in found,
            where,
            f"the shape of '{node.name}' does not follow from those given; give it too: "
            f"{where.split('.')[-1]}({node.name}=(...))",
        )
        result[node.name] = found[node.outputs[0]]
    return result


def _zeros(type_: TensorType) -> NDArray:
    array = _native.empty(type_.shape, type_.dtype.code)
    array.copy_from_numpy(np.zeros(type_.shape, type_.dtype.memory))
    return array


def simple_bind(
    self: Symbol,
    ctx: Any = None,
    grad_req: Any = "write",
    type_dict: Any = None,
    stype_dict: Any = None,
    group2ctx: Any = None,
    shared_arg_names: Any = None,
    shared_exec: Any = None,
    shared_buffer: Any = None,
    **shapes: Any,
) -> Executor:
    """An executor over new arrays (zeros) whose shapes follow from the given ones. Of
    `shared_exec` it takes the arguments `shared_arg_names` with their gradients, and the auxiliary
    states, as they are; arrays of `shared_buffer`, by name, where their types are those wanted, and
    puts there what it makes of the other arguments. Of `group2ctx`, contexts of the groups of
    `AttrScope(ctx_group=...)`, arrays take the place; computed is where the first one is."""
    contexts = _contexts_of_groups("simple_bind", group2ctx)
    context = check_context("simple_bind", ctx)
    check_one_kind("simple_bind", [context, *contexts.values()])
    check_distinct("simple_bind", self)
    places = {name: contexts.get(group, context) for name, group in _groups(self).items()}
    types = _types(self, "simple_bind", shapes, type_dict)
    names, auxiliary_names = self.list_arguments(), self.list_auxiliary_states()
    requests = _requests(names, grad_req)
    shared = _shared(shared_exec, names, shared_arg_names, auxiliary_names, types)
    buffer = {} if shared_buffer is None else shared_buffer
    arguments: dict[str, NDArray] = {}
    gradients: dict[str, NDArray | None] = {}
    auxiliary: dict[str, NDArray] = {}

    def zeros(name: str) -> NDArray:
        with places.get(name, context):
            return _zeros(types[name])

    for name in names:
        array, gradient = shared.get(name, (None, None))
        if array is None:
            array = buffer.get(name)
            if array is None or not _has_type(array, types[name]):
                array = buffer[name] = zeros(name)
        wanted = requests[name] != "null"
        arguments[name] = array
        if gradient is None and wanted:
            gradient = zeros(name)
        gradients[name] = gradient if wanted else None
    for name in auxiliary_names:
        auxiliary[name] = shared[name][0] if name in shared else zeros(name)
    return Executor(self, context, arguments, gradients, requests, auxiliary)


def _has_type(array: NDArray, type_: TensorType) -> bool:
    return array.shape == type_.shape and array.dtype_code == type_.dtype.code


def _shared(
    executor: Executor | None,
    names: Sequence[str],
    chosen: Sequence[str] | None,
    auxiliary: Sequence[str],
    types: Mapping[str, TensorType],
) -> dict[str, tuple[NDArray, NDArray | None]]:
    """Arrays and gradients of another executor, by name."""
    if executor is None:
        return {}
    own = executor.arg_dict
    found = {
        name: (own[name], executor.grad_dict.get(name))
        for name in names
        if name in own and (chosen is None or name in chosen)
    }
    states = executor.aux_dict
    found.update((name, (states[name], None)) for name in auxiliary if name in states)
    for name, (array, _) in found.items():
        check(
            _has_type(array, types[name]),
            "simple_bind",
            f"'{name}' is shared, as {BY_CODE[array.dtype_code]} of shape {array.shape}; expected "
            f"{types[name].dtype} of shape {types[name].shape}; rename it, or leave it out of "
            "shared_arg_names",
        )
    return found


Symbol.bind = bind
Symbol.simple_bind = simple_bind
