"""Operators that are Python code: what runs them, on the engine, and puts them on the tape.

The code runs on a thread of the engine when its operands are there, in the order of the calls of
each thread. It sees arrays of its own, in memory of the processor, draws from a random stream of
its own, records nothing, and what it raises is raised where a result is read. Within such code all
is done at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, MutableMapping, Sequence
from functools import cache, partial
from typing import Any

from tigon import _native
from tigon.base import TensorType, TigonError, check
from tigon.base.dtypes import BY_CODE, float32
from tigon.base.errors import user_line
from tigon.context import Context, check_operands, context_at, context_of
from tigon.ops.record import Effect, Operator

NDArray = _native.NDArray


class HostCall:
    """An operator on operands of given types, call after call. What `begin` makes serves one call
    and its gradient, so that neither other calls nor other threads change what it keeps; or all
    calls that share `codes`."""

    def __init__(
        self,
        op: Operator,
        attrs: Any,
        types: Sequence[TensorType],
        at: Context,
        label: str,
        codes: MutableMapping[Any, Any] | None = None,
        key: Any = None,
    ) -> None:
        self.label = f"{label} on {at}"
        if not _in_host_memory(at.index):
            at = context_at(_native.FIRST_CPU)  # where the code's arrays are
        self.op = op
        self.attrs = attrs
        self.visible = op.visible_count(attrs)
        self.types = op.infer_types(attrs, tuple(types))
        self._states = len(op.states(attrs, len(types)))
        self._begin = (attrs, tuple(types), at)
        self._shared = None
        if codes is not None:
            self._shared = codes.get(key)
            if self._shared is None:
                self._shared = codes[key] = self.begun()

    def begun(self) -> Any:
        """The code of one call."""
        if self._shared is not None:
            return self._shared
        assert self.op.begin is not None
        with draws(_native.take_callback_key()):
            return self.op.begin(*self._begin)

    def __call__(self, *arrays: NDArray) -> list[NDArray]:
        """The results, then the new states; recorded where recording is on."""
        recording = _native.set_recording(False)
        try:
            training = getattr(self.attrs, "training", None)
            training = _native.is_training() if training is None else training
            inputs = [_own(array) for array in arrays]
            results = [arrays[0].device_index] * self.visible
            states = [array.device_index for array in arrays[len(arrays) - self._states :]]
            outputs = [
                _fresh(type_.shape, type_.dtype.code, device)
                for type_, device in zip(self.types, [*results, *states], strict=True)
            ]
            code = self.begun()
            taking = recording and any(map(_takes_part, arrays))
            read = code.read if taking else frozenset()
            key = _native.take_callback_key()
            run = partial(self._forward, code, training, key, inputs, outputs)
            run_host(run, inputs, outputs, self.label, self.op.effect)
            made = list(map(_given_back, outputs, [*results, *states]))
        finally:
            _native.set_recording(recording)
        if taking:
            seen = outputs[: self.visible]
            gradient = HostGradient(self, code, read, training, arrays, inputs, seen)
            _native.record_custom(arrays, made[: self.visible], gradient)
        return made

    def settled(self, *arrays: NDArray) -> list[NDArray]:
        """The results, when the states have moved on. Where the code raises they stay as they
        were, and the error is raised here."""
        made = self(*arrays)
        first = len(arrays) - self._states
        move_states(arrays[first:], made[self.visible :])
        return made[: self.visible]

    def _forward(
        self,
        code: Any,
        training: bool,
        key: tuple[int, int],
        inputs: Sequence[NDArray],
        outputs: list[NDArray],
    ) -> None:
        first, visible = len(inputs) - self._states, self.visible
        given = _native.lend(inputs[:first])
        made = fresh_as(outputs, inputs[first:])
        with modes(training, inputs[0].device_index), draws(key):
            try:
                code.forward(training, given, made[:visible], made[visible:])
            finally:
                _native.take_back(given)
        _native.hand_over(made, outputs)


class HostGradient:
    """The gradient of one recorded call."""

    def __init__(
        self,
        call: HostCall,
        code: Any,
        read: frozenset[int],
        training: bool,
        arrays: Sequence[NDArray],
        inputs: Sequence[NDArray],
        results: Sequence[NDArray],
    ) -> None:
        first = len(arrays) - call._states
        self.call = call
        self._code = code
        self._training = training
        self._types = [(array.shape, array.dtype_code) for array in inputs[:first]]
        numbered = enumerate((*inputs[:first], *results), len(results))
        kept = [array if number in read else None for number, array in numbered]
        self._inputs, self._results = kept[:first], kept[first:]
        self._at = inputs[0].device_index
        self._devices = [array.device_index for array in arrays]
        self._states = arrays[first:]
        self._wanted = [
            BY_CODE[array.dtype_code].has_gradients and _takes_part(array)
            for array in arrays[:first]
        ]
        self._versions = [None if array is None else array.version for array in kept]
        self._label = f"{call.label}, the gradient of the call at {user_line()}"

    def __call__(self, *cotangents: NDArray) -> list[NDArray | None]:
        kept = (*self._inputs, *self._results)
        for place, (array, version) in enumerate(zip(kept, self._versions, strict=True)):
            if array is None:
                continue
            number = place - len(self._inputs)
            name = f"input {place}" if number < 0 else f"output {number}"
            check(
                array.version == version,
                self._label,
                f"{name} was overwritten in place after it was recorded; make a copy before "
                "changing it",
            )
        given = [_own(cotangent) for cotangent in cotangents]
        old = [_own(state) for state in self._states]
        made = [
            _fresh(shape, code, device)
            for (shape, code), device in zip(
                [*self._types, *[(state.shape, state.dtype_code) for state in old]],
                self._devices,
                strict=True,
            )
        ]
        run = partial(self._backward, _native.take_callback_key(), given, old, made)
        reads = [array for array in kept if array is not None]
        run_host(run, [*given, *reads, *old], made, self._label, self.call.op.effect)
        found: list[Any] = list(map(_given_back, made, self._devices))
        move_states(self._states, found[len(self._types) :])
        return [
            gradient if wanted else None
            for gradient, wanted in zip(found, [*self._wanted, *[False] * len(old)], strict=True)
        ]

    def _backward(
        self,
        key: tuple[int, int],
        cotangents: Sequence[NDArray],
        old: Sequence[NDArray],
        outputs: list[NDArray],
    ) -> None:
        given = _native.lend([*cotangents, *self._inputs, *self._results])
        made = fresh_as(outputs, old)
        first, last = len(cotangents), len(cotangents) + len(self._inputs)
        count = len(self._inputs)
        with modes(self._training, self._at), draws(key):
            try:
                self._code.backward(
                    self._wanted,
                    given[:first],
                    given[first:last],
                    given[last:],
                    made[:count],
                    made[count:],
                )
            finally:
                _native.take_back(given)
        _native.hand_over(made, outputs)


def _in_host_memory(device: int) -> bool:
    return _native.device_kind(device) == _native.device_kind(_native.FIRST_CPU)


def _own(array: NDArray) -> NDArray:
    """What the code is given of an array: a handle of its own, or a copy of what is elsewhere."""
    plain = array.detach()
    if _in_host_memory(array.device_index):
        return plain
    return _native.move(plain, _native.FIRST_CPU)


def _fresh(shape: tuple[int, ...], code: int, device: int) -> NDArray:
    """What the code writes in the place of an array on a device."""
    return _native.empty(shape, code, device if _in_host_memory(device) else _native.FIRST_CPU)


def _given_back(array: NDArray, device: int) -> NDArray:
    """What the code has written, on the device."""
    plain = array.detach()
    return plain if plain.device_index == device else _native.move(plain, device)


def _takes_part(array: NDArray) -> bool:
    """Whether a gradient of it is asked for."""
    return array.has_tape or array.grad_req != "null"


def fresh_as(outputs: Sequence[NDArray], old: Sequence[NDArray]) -> list[NDArray]:
    """What the code is given to write into: zeros, and at the end states as they were."""
    made = [_native.empty(one.shape, one.dtype_code, one.device_index) for one in outputs]
    first = len(made) - len(old)
    for result in made[:first]:
        result[...] = 0
    for state, before in zip(made[first:], old, strict=True):
        state[...] = before
    return made


def move_states(states: Sequence[NDArray], new: Sequence[NDArray]) -> None:
    """Let states take over what was made; where it was not made, its error is raised and none of
    them moves."""
    for array in new:
        array.wait_to_read()
    for state, array in zip(states, new, strict=True):
        _native.take_over(state, array)


def call_host(op: Operator, attrs: Any, operands: Sequence[Any], out: Any = None) -> Any:
    """An imperative call: the code is made for it, and for its gradient."""
    for position, operand in enumerate(operands):
        check(
            isinstance(operand, NDArray),
            op.name,
            f"operand {position}: expected an NDArray; given {type(operand).__name__}",
        )
    check_operands(label(op, attrs), operands)
    types = [TensorType(array.shape, BY_CODE[array.dtype_code]) for array in operands]
    call = HostCall(op, attrs, types, context_of(operands[0]), label(op, attrs))
    results = [(type_.dtype.code, tuple(type_.shape)) for type_ in call.types[: call.visible]]
    given = _native.given_outputs(label(op, attrs), out, results, operands[0].device_index)
    made = call.settled(*operands)
    for place, target in enumerate(given):
        if target is not None:
            target[...] = made[place]
            made[place] = target
    return made[0] if len(made) == 1 else made


def label(op: Operator, attrs: Any, name: str = "") -> str:
    """Whom messages speak of: the kind, and the name of the node where it has one."""
    kind = f"{op.name} '{attrs.op_type}'" if hasattr(attrs, "op_type") else op.name
    return f"{kind} ({name})" if name else kind


# ------------------------------------------------------------------------------- running it

_order = threading.local()


def _token() -> NDArray:
    """An array that all Python code called by this thread writes: it runs in order of the calls.
    What was waited for in vain is waited for no longer."""
    given_up = _native.callbacks_given_up()
    if getattr(_order, "given_up", None) != given_up:
        _order.given_up = given_up
        _order.token = _native.empty((1,), float32.code)
    token: NDArray = _order.token
    return token


@cache
def _channel() -> NDArray:
    """An array that all collectives write, whichever thread calls them: they run in order of the
    calls."""
    return _native.empty((1,), float32.code)


def run_host(
    function: Callable[[], None],
    reads: Sequence[NDArray],
    writes: Sequence[NDArray],
    name: str,
    effect: Effect = Effect.HOST,
) -> None:
    """Run Python code when its arrays allow; within other such code, at once."""
    if not _native.in_callback():
        tokens = [_token(), _channel()] if effect is Effect.CHANNEL else [_token()]
        _native.push(function, reads, [*writes, *tokens], name)
        return
    try:
        function()
    except Exception as error:
        if hasattr(error, "of_callback"):  # it names the operator in which it arose
            raise
        ours = isinstance(error, TigonError)
        told = f"{name}: {error}" if ours else f"{name}: {type(error).__name__}: {error}"
        raised = type(error)(told) if ours else TigonError(told)
        raised.of_callback = True  # type: ignore[attr-defined]
        raise raised from error


class modes:
    """Nothing is recorded, operators work in this mode, and arrays are made on this device, for
    the length of a `with`."""

    def __init__(self, training: bool, at: int) -> None:
        self._training = training
        self._device = at

    def __enter__(self) -> None:
        self._before = (_native.set_recording(False), _native.set_training(self._training))
        self._outside = _native.set_current_device(self._device)

    def __exit__(self, *_: object) -> None:
        _native.set_recording(self._before[0])
        _native.set_training(self._before[1])
        _native.set_current_device(self._outside)


class draws:
    """Random operators draw from the stream that begins here, for the length of a `with`."""

    def __init__(self, key: tuple[int, int]) -> None:
        self._key = key

    def __enter__(self) -> None:
        self._outside = _native.set_key_scope((*self._key, 0))

    def __exit__(self, *_: object) -> None:
        _native.set_key_scope(self._outside)
