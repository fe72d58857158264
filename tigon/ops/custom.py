"""Operators that users write in Python: a record for each kind and its attributes.

A kind is a class with the methods of MXNet's `CustomOpProp`, registered under a name. Its methods
are asked once for all calls of one shape; an error in them, or an answer that does not fit, is told
with the name of the operator.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tigon import _native
from tigon.base import DType, TensorType, TigonError, as_dtype, check
from tigon.base.dtypes import numpy_type
from tigon.base.errors import hide_inner_frames
from tigon.base.frozen import Frozen
from tigon.base.lazy import computed_once
from tigon.base.locks import plain_lock
from tigon.base.repeated import repeated
from tigon.context import Context
from tigon.ops.record import Effect, Family, Operand, Operator


class HostCode(Protocol):
    """Python code behind one call, or behind calls of one shape. What it is given to write into
    holds zeros, of states what they were."""

    read: frozenset[int]
    """What backward reads, numbered as MXNet does: cotangents, then inputs, then results. Of the
    others it is given None."""

    def forward(self, training: bool, inputs: Any, outputs: Any, states: Any) -> None: ...

    def backward(
        self,
        wanted: Sequence[bool],
        cotangents: Any,
        inputs: Any,
        outputs: Any,
        gradients: Any,
        states: Any,
    ) -> None:
        """`wanted`: of which inputs the gradient is read."""


class CustomAttrs(Frozen):
    """`given` are the user's attributes as text. `registration` tells apart what was registered
    under one name, one after the other."""

    op_type: str
    given: tuple[tuple[str, str], ...] = ()
    registration: int = 0
    training: bool | None = None


class _Kind:
    """What is registered under one name."""

    def __init__(self, name: str, make: Callable[..., Any], number: int) -> None:
        self.name = name
        self.make = make
        self.number = number
        self.operators: dict[tuple[tuple[str, str], ...], Operator] = {}


_kinds: dict[str, _Kind] = {}
_numbers = itertools.count(1)
_lock = plain_lock()

MOST_OPERATORS = 256
"""Attributes of one kind that are remembered: a number among them may differ at every call."""

MOST_TYPES = 256
"""The same of types of operands."""


def register_kind(name: str, make: Callable[..., Any]) -> None:
    """Let `make(**attributes)` be what `Custom(op_type=name)` asks; a later one takes its place."""
    _kinds[name] = _Kind(name, make, next(_numbers))


def kind_names() -> list[str]:
    """The registered names, sorted."""
    return sorted(_kinds)


def registration(name: str) -> int:
    """Which registration of the name holds; 0 if none."""
    found = _kinds.get(name)
    return 0 if found is None else found.number


def custom_operator(op_type: str, given: Mapping[str, Any]) -> tuple[Operator, CustomAttrs]:
    """The record of the kind under these attributes, and the attributes of its nodes."""
    kind = _kinds.get(op_type)
    if kind is None:
        known = ", ".join(kind_names()) or "none"
        raise TigonError(
            f"Custom: op_type '{op_type}' is not registered; registered are: {known}; decorate its "
            f"CustomOpProp with @mx.operator.register('{op_type}') first"
        )
    texts = tuple((name, str(value)) for name, value in given.items())
    with _lock:
        op = kind.operators.get(texts)
    if op is None:
        made = _record(kind, texts)
        with _lock:
            if len(kind.operators) >= MOST_OPERATORS:
                kind.operators.clear()
            op = kind.operators.setdefault(texts, made)
    return op, CustomAttrs(op_type, texts, kind.number)


def split_call(
    op_type: Any, operands: Sequence[Any], keywords: Mapping[str, Any]
) -> tuple[Operator, CustomAttrs, list[Any]]:
    """Record, attributes and operands of `Custom(*operands, op_type=..., **keywords)`: of the
    keywords arrays and symbols are operands, the rest is given to the kind as text. Operands not
    given are None."""
    check(
        isinstance(op_type, str) and op_type,
        "Custom",
        f"op_type: expected the name of a registered operator; given {op_type!r}; write "
        "Custom(x, op_type='name')",
    )
    named = {name: value for name, value in keywords.items() if hasattr(value, "apply_op")}
    plain = {name: value for name, value in keywords.items() if name not in named}
    op, attrs = custom_operator(op_type, plain)
    names = [operand.name for operand in op.operands]
    where = label_of(op_type)
    check(
        len(operands) <= len(names),
        where,
        f"expected at most {len(names)} operands ({', '.join(names)}); given {len(operands)}",
    )
    placed = [*operands, *[None] * (len(names) - len(operands))]
    for name, value in named.items():
        check(name in names, where, f"has no operand '{name}'; it has: {', '.join(names)}")
        place = names.index(name)
        check(placed[place] is None, where, f"operand '{name}' is given twice")
        placed[place] = value
    for name, value in zip(names, placed, strict=True):
        check(
            value is None or hasattr(value, "apply_op"),
            where,
            f"operand '{name}': expected an NDArray or a Symbol; given {type(value).__name__}; "
            "attributes are given by name",
        )
    return op, attrs, placed


def label_of(op_type: str) -> str:
    """Whom messages speak of."""
    return f"Custom '{op_type}'"


# ------------------------------------------------------------------------------ the record


def _record(kind: _Kind, given: tuple[tuple[str, str], ...]) -> Operator:
    prop = Prop(kind, given)
    return Operator(
        "Custom",
        Family.HOST,
        (*[Operand(n) for n in prop.arguments], *[Operand(n, auxiliary=True) for n in prop.states]),
        CustomAttrs,
        _Types(kind, given),
        f"Calls what is registered as '{kind.name}'.",
        outputs=len(prop.results) + len(prop.states),
        results=prop.results,
        mutates={len(prop.results) + i: name for i, name in enumerate(prop.states)},
        infer_operands=_OperandTypes(kind, given),
        is_loss=not prop.need_top_grad,
        effect=Effect.HOST,
        begin=lambda attrs, types, at: Prop(kind, given).begin(types, at),
        texts=lambda attrs: {"op_type": attrs.op_type, **dict(attrs.given)},
    )


class _Types:
    """The type rule: each answer of the user's is asked for once."""

    def __init__(self, kind: _Kind, given: tuple[tuple[str, str], ...]) -> None:
        self._kind = kind
        self._given = given
        self._known: dict[tuple[TensorType, ...], tuple[TensorType, ...]] = {}

    def __call__(self, attrs: CustomAttrs, *types: TensorType) -> tuple[TensorType, ...]:
        found = self._known.get(types)
        if found is None:
            prop = Prop(self._kind, self._given)
            operands, results = prop.infer(types)
            prop.check_operands(types, operands)
            found = (*results, *operands[len(prop.arguments) :])
            if len(self._known) >= MOST_TYPES:
                self._known.clear()
            self._known[types] = found
        return found


class _OperandTypes:
    """What types missing operands must have; None where the kind cannot say it yet."""

    def __init__(self, kind: _Kind, given: tuple[tuple[str, str], ...]) -> None:
        self._kind = kind
        self._given = given

    def __call__(
        self, attrs: CustomAttrs, types: Sequence[TensorType | None]
    ) -> Sequence[TensorType] | None:
        prop = Prop(self._kind, self._given)
        own = [*types, *[None] * (len(prop.arguments) + len(prop.states) - len(types))]
        if own[0] is None:
            return None
        return prop.infer(own)[0]


class Prop:
    """A user's `CustomOpProp`, whose answers are checked."""

    def __init__(self, kind: _Kind, given: tuple[tuple[str, str], ...]) -> None:
        self.where = label_of(kind.name)
        self._prop = self._asked(kind.make.__name__, kind.make, **dict(given))
        self.arguments = self._names("list_arguments")
        self.results = self._names("list_outputs")
        self.states = self._names("list_auxiliary_states")
        check(self.arguments, self.where, "list_arguments: expected at least one name; given none")
        check(self.results, self.where, "list_outputs: expected at least one name; given none")
        twice = repeated((*self.arguments, *self.states))
        check(not twice, self.where, f"two operands are named {', '.join(twice)}")

    @property
    def need_top_grad(self) -> bool:
        return bool(getattr(self._prop, "need_top_grad_", True))

    def _asked(self, what: str, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """The user's answer. It is no part of a program that is being traced."""
        suspended = _native.suspend()
        try:
            return function(*given, **named)
        except Exception as error:
            hide_inner_frames(error)
            raise TigonError(
                f"{self.where}: {what} raised {type(error).__name__}: {error}"
            ) from error
        finally:
            if suspended:
                _native.resume()

    def _names(self, method: str) -> tuple[str, ...]:
        given = self._asked(method, getattr(self._prop, method))
        check(
            isinstance(given, (list, tuple)) and all(isinstance(name, str) for name in given),
            self.where,
            f"{method}: expected a list of names; given {given!r}",
        )
        return tuple(given)

    # -- types

    def infer(
        self, types: Sequence[TensorType | None]
    ) -> tuple[tuple[TensorType, ...], tuple[TensorType, ...]]:
        """The types of all operands and those of the results, from those of the operands."""
        known = types[: len(self.arguments)]
        shapes = self._parts(
            "infer_shape",
            [[] if type_ is None else [*map(int, type_.shape)] for type_ in known],
            _as_shape,
        )
        first = next(type_ for type_ in known if type_ is not None)
        if not any(type_ is not None and not type_.shape for type_ in known):
            self._check_known(shapes, known)
        dtypes = self._parts(
            "infer_type",
            [numpy_type((first if type_ is None else type_).dtype) for type_ in known],
            _as_dtype,
        )
        found = [
            tuple(TensorType(s, d) for s, d in zip(part, kinds, strict=True))
            for part, kinds in zip(shapes, dtypes, strict=True)
        ]
        return (*found[0], *found[2]), found[1]

    def _check_known(self, shapes: list[list[Any]], given: Sequence[TensorType | None]) -> None:
        """[] is no shape: it stands for what is not known. Of operands that are given their own."""
        for place, (shape, type_) in enumerate(zip(shapes[0], given, strict=True)):
            if shape == () and type_ is not None:
                shapes[0][place] = type_.shape
        for own, part in zip((self.arguments, self.results, self.states), shapes, strict=True):
            for name, shape in zip(own, part, strict=True):
                check(
                    shape != (),
                    self.where,
                    f"infer_shape: '{name}': expected a shape; given [], which says that it is not "
                    "known; write [1] for one number",
                )

    def _parts(self, method: str, given: list[Any], read: Callable[[Any], Any]) -> list[list[Any]]:
        """What `infer_shape` and `infer_type` answer: for arguments, results and states."""
        answer = self._asked(method, getattr(self._prop, method), given)
        names = (self.arguments, self.results, self.states)
        if isinstance(answer, (list, tuple)) and len(answer) == 2 and not self.states:
            answer = (*answer, [])
        fits = (
            isinstance(answer, (list, tuple))
            and len(answer) == 3
            and all(isinstance(part, (list, tuple)) for part in answer)
            and [*map(len, answer)] == [*map(len, names)]
        )
        check(
            fits,
            self.where,
            f"{method}: expected lists for {len(names[0])} arguments ({', '.join(names[0])}), "
            f"{len(names[1])} outputs ({', '.join(names[1])}) and {len(names[2])} auxiliary states "
            f"({', '.join(names[2]) or 'none'}); given {answer!r}",
        )
        result = []
        for part, own in zip(answer, names, strict=True):
            values = [read(item) for item in part]
            for name, item, value in zip(own, part, values, strict=True):
                check(
                    value is not None,
                    self.where,
                    f"{method}: '{name}': expected {read.__doc__}; given {item!r}",
                )
            result.append(values)
        return result

    def check_operands(self, given: Sequence[TensorType], expected: Sequence[TensorType]) -> None:
        names = (*self.arguments, *self.states)
        for name, own, type_ in zip(names, given, expected, strict=True):
            check(
                own.shape == type_.shape and own.dtype is type_.dtype,
                self.where,
                f"operand '{name}': expected {type_}, as infer_shape and infer_type tell; "
                f"given {own}",
            )

    # -- computing

    def begin(self, types: Sequence[TensorType], at: Context) -> CustomCode:
        """What computes calls on such operands, of which the first is there."""
        operands, _ = self.infer(types)
        arguments = operands[: len(self.arguments)]
        operator = self._asked(
            "create_operator",
            self._prop.create_operator,
            at,
            [list(type_.shape) for type_ in arguments],
            [numpy_type(type_.dtype) for type_ in arguments],
        )
        for method in ("forward", "backward"):
            check(
                callable(getattr(operator, method, None)),
                self.where,
                f"create_operator: expected a CustomOp, with forward and backward; given "
                f"{type(operator).__name__}",
            )
        return CustomCode(self, operator)

    def dependencies(self) -> frozenset[int]:
        """What backward reads, numbered as MXNet does: cotangents, then inputs, then results."""
        results, arguments = len(self.results), len(self.arguments)
        ends = (0, results, results + arguments, 2 * results + arguments)
        numbers = [list(range(*pair)) for pair in itertools.pairwise(ends)]
        method = "declare_backward_dependency"
        given = self._asked(method, self._prop.declare_backward_dependency, *numbers)
        check(
            isinstance(given, (list, tuple)) and all(number in range(ends[-1]) for number in given),
            self.where,
            f"{method}: expected numbers among those that it is given; given {given!r}",
        )
        return frozenset(given)


def _as_shape(given: Any) -> tuple[int, ...] | None:
    """a shape such as (2, 3)"""
    if not isinstance(given, (list, tuple)):
        return None
    whole = all(isinstance(extent, (int, np.integer)) and extent >= 0 for extent in given)
    return tuple(map(int, given)) if whole else None


def _as_dtype(given: Any) -> DType | None:
    """a dtype such as numpy.float32"""
    if given is None:  # which means the default elsewhere
        return None
    try:
        return as_dtype(given)
    except (TigonError, TypeError):
        return None


class CustomCode:
    """A user's `CustomOp` at work on arrays of its own."""

    def __init__(self, prop: Prop, operator: Any) -> None:
        self.where = prop.where
        self._operator = operator
        self._prop = prop

    @computed_once
    def read(self) -> frozenset[int]:
        return self._prop.dependencies()

    def forward(self, training: bool, inputs: Any, outputs: Any, states: Any) -> None:
        given = list(inputs), list(outputs), list(states)
        self._operator.forward(
            is_train=training,
            req=["write"] * len(outputs),
            in_data=given[0],
            out_data=given[1],
            aux=given[2],
        )
        self._check_kept("forward", "out_data", given[1], outputs)
        self._check_kept("forward", "aux", given[2], states)

    def backward(
        self,
        wanted: Sequence[bool],
        cotangents: Any,
        inputs: Any,
        outputs: Any,
        gradients: Any,
        states: Any,
    ) -> None:
        declared = enumerate(cotangents)
        in_grad, aux = list(gradients), list(states)
        self._operator.backward(
            req=["write" if want else "null" for want in wanted],
            out_grad=[array if number in self.read else None for number, array in declared],
            in_data=list(inputs),
            out_data=list(outputs),
            in_grad=in_grad,
            aux=aux,
        )
        self._check_kept("backward", "in_grad", in_grad, gradients)
        self._check_kept("backward", "aux", aux, states)

    def _check_kept(self, method: str, name: str, now: list[Any], given: Sequence[Any]) -> None:
        """Whoever puts another array into the list has written nothing."""
        kept = len(now) == len(given) and all(a is b for a, b in zip(now, given, strict=True))
        check(
            kept,
            method,
            f"{name} holds another array than it was given, which nobody reads; write into it: "
            f"self.assign({name}[0], req[0], value)",
        )
