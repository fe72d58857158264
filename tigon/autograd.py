"""Recording and differentiating imperative code: a thin face over the native tape.

>>> from tigon import autograd, nd
>>> x = nd.array([1, 2, 3])
>>> x.attach_grad()
>>> with autograd.record():
...     y = (x * x).sum()
>>> y.backward()
>>> x.grad.asnumpy().tolist()
[2.0, 4.0, 6.0]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from tigon import _native
from tigon.base import TensorType, TigonError, as_dtype, check
from tigon.base.lazy import complete as _complete
from tigon.ir.graph import Node, Value, constant, variable
from tigon.ir.rewrite import copied
from tigon.name import NameManager
from tigon.nd.replay import differentiable_gradients, leaf_key
from tigon.ops import casting
from tigon.ops.control_structure import CannotTrace
from tigon.program.cached_graph import GraphCall
from tigon.program.host import HostGradient
from tigon.program.operators import OperatorCall
from tigon.runtime import tracing
from tigon.runtime.tracing import is_sparse
from tigon.sym.own_gradient import with_gradient
from tigon.sym.symbol import Symbol

NDArray = _native.NDArray

# Names of this module's own: every recorded call passes through here.
_set_recording, _set_training = _native.set_recording, _native.set_training
_tracers = tracing.active


# ------------------------------------------------------------------------------ scopes


class _Scope:
    """Sets recording and training for a block of code or a function; None leaves one alone."""

    def __init__(self, recording: bool | None, training: bool | None) -> None:
        self._wanted = (recording, training)
        self._previous: list[tuple[bool | None, bool | None]] = []

    def __enter__(self) -> _Scope:
        recording, training = self._wanted
        if recording is not None:
            recording = _set_recording(recording)
        if training is not None:
            training = _set_training(training)
            if _tracers[0]:
                tracing.count_mode_scopes(+1)
        self._previous.append((recording, training))
        return self

    def __exit__(self, *_: object) -> None:
        recording, training = self._previous.pop()
        if recording is not None:
            _set_recording(recording)
        if training is not None:
            _set_training(training)
            if _tracers[0]:
                tracing.count_mode_scopes(-1)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def within(*arguments: Any, **keywords: Any) -> Any:
            with _Scope(*self._wanted):
                return function(*arguments, **keywords)

        return within


def record(train_mode: bool = True) -> _Scope:
    """Inside, operators are recorded for `backward`, in training mode unless told otherwise."""
    return _Scope(True, train_mode)


def pause(train_mode: bool = False) -> _Scope:
    """Inside, nothing is recorded."""
    return _Scope(False, train_mode)


def train_mode() -> _Scope:
    """Inside, Dropout drops and BatchNorm uses the batch; recording stays as it is."""
    return _Scope(None, True)


def predict_mode() -> _Scope:
    """Inside, Dropout and BatchNorm predict; recording stays as it is."""
    return _Scope(None, False)


class NoGradient(_Scope):
    """Inside, nothing is recorded and nothing is kept for a gradient.

    >>> from tigon import NoGradient, nd
    >>> x = nd.ones(2)
    >>> x.attach_grad()
    >>> with record(), NoGradient():
    ...     y = x * 2
    >>> y.has_tape
    False
    """

    def __init__(self) -> None:
        super().__init__(False, None)


def is_recording() -> bool:
    """Whether operators are recorded now."""
    return _native.is_recording()


def is_training() -> bool:
    """Whether operators work in training mode now."""
    return _native.is_training()


def set_recording(is_recording: bool) -> bool:
    """Turn recording on or off; returns what it was."""
    tracing.needs_arrays("calls autograd.set_recording")
    return _native.set_recording(bool(is_recording))


def set_training(train_mode: bool) -> bool:
    """Turn training mode on or off; returns what it was."""
    tracing.needs_arrays("calls autograd.set_training")
    return _native.set_training(bool(train_mode))


# ----------------------------------------------------------------------------- backward


def _arrays(where: str, *items: Any) -> Any:
    """What needs arrays makes a trace give way."""
    return tracing.needs_arrays(f"calls autograd.{where}", items)


def _typed(array: Any) -> str:
    return "none" if array is None else f"shape {array.shape} and {as_dtype(array.dtype)}"


def _check_alike(where: str, given: Any, target: Any, expected: str) -> None:
    """The text is made where it is wanted only: of every call of backward it would be a half."""
    if given is None:
        return
    if given.shape != target.shape or given.dtype_code != target.dtype_code:
        raise TigonError(f"{where}: expected {expected}, {_typed(target)}; given {_typed(given)}")


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, (list, tuple)) else [given]


def mark_variables(variables: Any, gradients: Any, grad_reqs: Any = "write") -> None:
    """Give arrays the gradients that backward fills.

    >>> from tigon import nd
    >>> x, dx = nd.ones(1), nd.zeros(1)
    >>> mark_variables(x, dx)
    >>> x.grad is dx
    True
    """
    variables, gradients = _arrays("mark_variables", _listed(variables), _listed(gradients))
    requests = [grad_reqs] * len(variables) if isinstance(grad_reqs, str) else list(grad_reqs)
    check(
        len(variables) == len(gradients) == len(requests),
        "mark_variables",
        f"expected one gradient and one grad_req per variable; given {len(variables)} variables, "
        f"{len(gradients)} gradients and {len(requests)} grad_reqs",
    )
    for target, given, request in zip(variables, gradients, requests, strict=True):
        check(
            request in ("write", "add", "null"),
            "mark_variables",
            f"expected grad_req 'write', 'add' or 'null'; given {request!r}",
        )
        _check_alike("mark_variables", given, target, "a gradient like its variable")
        target.mark_variable(given, request)


def _dense(array: Any) -> Any:
    """A dense array for a sparse one, computed of it."""
    if type(array) is NDArray or not is_sparse(array):
        return array
    recording = _native.set_recording(True)
    try:
        return array.tostype("default")
    finally:
        _native.set_recording(recording)


def _heads(where: str, heads: Any, head_grads: Any) -> tuple[list[NDArray], list[NDArray | None]]:
    heads, head_grads = _arrays(where, _listed(heads), head_grads)
    grads = [None] * len(heads) if head_grads is None else _listed(head_grads)
    heads, grads = [_dense(head) for head in heads], [_dense(grad) for grad in grads]
    for head in heads:
        check(
            isinstance(head, NDArray),
            where,
            f"expected NDArrays as heads; given {type(head).__name__}",
        )
    check(
        len(grads) == len(heads),
        where,
        f"expected one head gradient per head; given {len(grads)} for {len(heads)}",
    )
    for head, grad in zip(heads, grads, strict=True):
        _check_alike(where, grad, head, "a head gradient like its head")
    return heads, grads


def backward(
    heads: Any, head_grads: Any = None, retain_graph: bool = False, train_mode: bool = True
) -> None:
    """Fill the attached gradients of everything the heads were computed from.

    With `train_mode=False` they are those of what would have been computed in prediction; otherwise
    each call has the mode in which it was recorded. A compiled graph knows the gradient of its own
    mode only: to ask for the other one, where it matters, is an error.
    """
    heads, grads = _heads("backward", heads, head_grads)
    _native.backward(heads, grads, retain_graph, None, not train_mode)


def grad(
    heads: Any,
    variables: Any,
    head_grads: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    train_mode: bool = True,
) -> list[NDArray]:
    """The gradients of the heads with respect to variables, attached ones untouched: a list, of one
    array for each variable, also where one variable alone is given, as in MXNet 1.9.1.

    With `create_graph` the result is recorded itself and can be differentiated again. `train_mode`
    is that of `backward`.

    >>> from tigon import nd
    >>> x = nd.array([3])
    >>> x.attach_grad()
    >>> with record():
    ...     y = x * x * x
    ...     (dx,) = grad([y], [x], create_graph=True)
    >>> dx.backward()
    >>> dx.asscalar(), x.grad.asscalar()
    (np.float32(27.0), np.float32(18.0))
    """
    heads, variables = _arrays("grad", heads, variables)
    heads, grads = _heads("grad", heads, head_grads)
    targets = _listed(variables)
    check(targets, "grad", "expected at least one variable; given none")
    for target in targets:
        check(
            isinstance(target, NDArray),
            "grad",
            f"expected NDArrays as variables; given {type(target).__name__}",
        )
    if create_graph:
        return list(differentiable_gradients(heads, grads, targets, train_mode))
    return list(_native.backward(heads, grads, bool(retain_graph), targets, not train_mode) or [])


# --------------------------------------------------------------------- custom functions


class Function:
    """A function with a gradient of one's own: override `forward` and `backward`.

    In a hybridized block, in `jit` and in `TrainStep` both are traced with the code around, once,
    and are parts of the program. Where they do what no graph can hold, such as reading values, the
    block gives way.

    >>> from tigon import nd
    >>> class Double(Function):
    ...     def forward(self, x):
    ...         return x * 2
    ...     def backward(self, dy):
    ...         return dy * 2
    >>> x = nd.ones(1)
    >>> x.attach_grad()
    >>> with record():
    ...     y = Double()(x)
    >>> y.backward()
    >>> x.grad.asscalar()
    np.float32(2.0)
    """

    def __init__(self) -> None:
        tracing.made(self)
        self._used = False
        self.saved_tensors: tuple[NDArray, ...] = ()

    def save_for_backward(self, *arrays: NDArray) -> None:
        """Keep arrays for `backward`, as `self.saved_tensors`."""
        self.saved_tensors = arrays

    def __call__(self, *inputs: NDArray) -> Any:
        check(
            not self._used,
            type(self).__name__,
            "a Function is used once; make a new one for each call",
        )
        self._used = True
        for position, array in enumerate(inputs):
            check(
                isinstance(array, NDArray),
                type(self).__name__,
                f"input {position}: expected an NDArray; given {type(array).__name__}; "
                + (
                    "files hold operators: write an mx.operator.CustomOp"
                    if isinstance(array, Symbol)
                    else "give numbers to __init__"
                ),
            )
        if tracing.installed().giver is not None:
            return self._in_trace(inputs)
        inputs = tracing.needs_arrays(f"calls the autograd.Function {type(self).__name__}", inputs)
        return self._recorded(inputs, self._forward(inputs))

    def _recorded(self, inputs: Sequence[NDArray], given: Any) -> Any:
        """What forward has given on arrays."""
        outputs = self._outputs(given)
        if is_recording():
            outputs = [output.detach() for output in outputs]
            self._expect(inputs)
            _native.record_custom(inputs, outputs, self._pull_back)
        return _as_given(given, outputs)

    def _in_trace(self, inputs: Sequence[Any]) -> Any:
        """Forward is traced as all code around it. Where it or backward is no graph, the trace
        gives way, and what forward has computed by then is used."""
        capture = tracing.capture()
        assert capture is not None
        inputs = [one if isinstance(one, Symbol) else capture(one) for one in inputs]
        given = self._forward(inputs)
        if tracing.eager() is None:
            outputs = self._outputs(given)
            if not is_recording():
                return _as_given(given, outputs)
            outputs = [one if isinstance(one, Symbol) else capture(one) for one in outputs]
            self._expect(inputs)
            try:
                made = with_gradient(type(self).__name__, outputs, inputs, self._pull_back)
            except CannotTrace as error:
                tracing.give_way(f"it calls an autograd.Function that is no graph: {error}")
            else:
                return _as_given(given, made)
        trace = tracing.eager()
        for name, held in vars(self).items():
            vars(self)[name] = trace.concrete(held)
        return self._recorded(trace.concrete(inputs), trace.concrete(given))

    def _forward(self, inputs: Sequence[Any]) -> Any:
        with _Scope(False, None):
            return self.forward(*inputs)

    def _outputs(self, given: Any) -> list[Any]:
        outputs = [given] if isinstance(given, NDArray) else given
        check(
            isinstance(outputs, (list, tuple)) and all(isinstance(a, NDArray) for a in outputs),
            f"{type(self).__name__}.forward",
            f"expected an NDArray, or a list of them, as its result; given {given!r:.80}",
        )
        return list(outputs)

    def _expect(self, inputs: Sequence[Any]) -> None:
        """Of backward, such gradients, in this mode."""
        self._training = is_training()
        self._inputs = [(array.shape, array.dtype) for array in inputs]

    def _pull_back(self, *cotangents: NDArray) -> Sequence[NDArray | None]:
        with _Scope(False, self._training):
            given = self.backward(*cotangents)
        listed = [given] if given is None or isinstance(given, NDArray) else given
        where, expected = f"{type(self).__name__}.backward", self._inputs
        check(
            isinstance(listed, (list, tuple)) and len(listed) == len(expected),
            where,
            f"expected {len(expected)} gradients, one for each input; given "
            f"{len(listed) if isinstance(listed, (list, tuple)) else type(given).__name__}",
        )
        listed = [
            # Its operators may have computed in another float than the one that came in.
            array.astype(dtype) if _mixes(array, dtype) else array
            for array, (_, dtype) in zip(listed, expected, strict=True)
        ]
        for number, (array, (shape, dtype)) in enumerate(zip(listed, expected, strict=True)):
            fits = isinstance(array, NDArray) and (array.shape, array.dtype) == (shape, dtype)
            found = type(array).__name__
            if isinstance(array, NDArray):
                found = str(TensorType(array.shape, as_dtype(array.dtype)))
            check(
                array is None or fits,
                where,
                f"gradient {number}: expected {TensorType(shape, as_dtype(dtype))}, as the input, "
                f"or None; given {found}",
            )
        return list(listed)

    def forward(self, *inputs: NDArray) -> Any:
        """The outputs, from NDArrays; not recorded."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def backward(self, *output_grads: NDArray) -> Any:
        """The gradients of the inputs, from those of the outputs."""
        raise NotImplementedError(f"{type(self).__name__}.backward")


def _mixes(array: Any, dtype: Any) -> bool:
    """Whether mixed precision brings this array to that dtype, which it has not."""
    differs = isinstance(array, NDArray) and array.dtype != dtype
    return differs and casting.mixes(array.dtype, dtype)


def _as_given(given: Any, outputs: Sequence[Any]) -> Any:
    """Outputs in the structure that forward gave them in."""
    if isinstance(given, NDArray):
        return outputs[0]
    return list(outputs) if isinstance(given, list) else tuple(outputs)


def get_symbol(x: NDArray) -> Symbol:
    """The recorded computation behind an array as a Symbol; arrays that were not computed become
    variables `var0`, `var1`, ...

    >>> from tigon import nd
    >>> x = nd.ones(2)
    >>> x.attach_grad()
    >>> with record():
    ...     y = x * 2 + x
    >>> get_symbol(y).list_arguments()
    ['var0']
    """
    check(isinstance(x, NDArray), "get_symbol", f"expected an NDArray; given {type(x).__name__}")
    found = _native.tape_node(x)
    check(found, "get_symbol", "expected the result of a recorded computation; given another array")
    calls: dict[int, Any] = {}
    stack = [found[0]]
    while stack:
        node = stack.pop()
        if node.sequence not in calls:
            calls[node.sequence] = node
            stack.extend(entry[0] for entry in map(_entry, node.inputs) if entry is not None)
    made: dict[Any, Value] = {}
    names = NameManager()
    for sequence in sorted(calls):  # inputs were recorded before their users
        for index, value in enumerate(_replay(calls[sequence], made, names)):
            made[sequence, index] = value
    return Symbol([made[found[0].sequence, found[1]]])


def _entry(array: Any) -> Any:
    return _native.tape_node(array) if isinstance(array, NDArray) else None


def _replay(node: Any, made: dict[Any, Value], names: NameManager) -> Sequence[Value]:
    operands = []
    given = node.inputs
    if isinstance(node.tag, OperatorCall) and node.tag.op.draws(node.tag.attrs):
        given = given[:-1]  # without the key: the symbol draws anew
    given = [array for array in given if not isinstance(array, _native.RandomKey)]
    for array in given:
        if not isinstance(array, NDArray):
            operands.append(constant(array))
            continue
        key = leaf_key(array)
        if key not in made:
            made[key] = variable(names.get(None, "var"))
        operands.append(made[key])
    if isinstance(node.tag, GraphCall):
        graph = node.tag.source
        return copied(graph.outputs, dict(zip(graph.inputs, operands, strict=False)))
    call: Any = node.tag.call if isinstance(node.tag, HostGradient) else node.tag
    if not isinstance(call, OperatorCall) and call is node.tag:
        raise TigonError("get_symbol: a custom Function has no symbol; write it in operators")
    op, rule = casting.called(call.op)
    name = names.get(None, op.name.lower())
    cast = casting.cast_operands(rule, op, call.attrs, operands, casting.plain, name)
    return Node(op, cast, call.attrs, name).outputs


__all__ = [
    "Function",
    "NoGradient",
    "backward",
    "get_symbol",
    "grad",
    "is_recording",
    "is_training",
    "mark_variables",
    "pause",
    "predict_mode",
    "record",
    "set_recording",
    "set_training",
    "train_mode",
]

_complete(globals())
