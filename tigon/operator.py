"""Operators written in Python, as in MXNet: `nd.Custom`, `sym.Custom` and `F.Custom` call them.

>>> import tigon as mx
>>> class Square(mx.operator.CustomOp):
...     def forward(self, is_train, req, in_data, out_data, aux):
...         self.assign(out_data[0], req[0], in_data[0] * in_data[0])
...     def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
...         self.assign(in_grad[0], req[0], 2 * in_data[0] * out_grad[0])
>>> @mx.operator.register("square_of_mine")
... class SquareProp(mx.operator.CustomOpProp):
...     def create_operator(self, ctx, in_shapes, in_dtypes):
...         return Square()
>>> x = mx.nd.array([1, 2, 3])
>>> x.attach_grad()
>>> with mx.autograd.record():
...     y = mx.nd.Custom(x, op_type="square_of_mine")
>>> y.backward()
>>> y.asnumpy().tolist(), x.grad.asnumpy().tolist()
([1.0, 4.0, 9.0], [2.0, 4.0, 6.0])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from tigon.base import check
from tigon.base.frozen import MISSING, fields
from tigon.base.lazy import complete as _complete
from tigon.nd import NDArray
from tigon.ops import record
from tigon.ops.custom import kind_names, register_kind
from tigon.ops.signature import HIDDEN

Shapes = list[list[int]]
Kind = TypeVar("Kind", bound=type)


class CustomOp:
    """What computes: override `forward` and `backward`. They write their results into the arrays
    that they are given, mostly by `assign`.

    These arrays are in the processor's memory, wherever the operands are. What the code keeps of
    them is its own from its end on: nobody else's writes change it, nor does it change what others
    have. (It costs a copy of those that are kept, and of no others.) Random operators draw from a
    stream of this call: a seed gives the same numbers whenever the code runs, and its callers draw
    the same with and without it.
    """

    def forward(
        self,
        is_train: bool,
        req: Sequence[str],
        in_data: Sequence[NDArray],
        out_data: Sequence[NDArray],
        aux: Sequence[NDArray],
    ) -> None:
        """Write the outputs. `aux` may be written, too: the next call finds what this one left."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def backward(
        self,
        req: Sequence[str],
        out_grad: Sequence[NDArray],
        in_data: Sequence[NDArray],
        out_data: Sequence[NDArray],
        in_grad: Sequence[NDArray],
        aux: Sequence[NDArray],
    ) -> None:
        """Write the gradients of the inputs."""
        raise NotImplementedError(
            f"{type(self).__name__}.backward: define it, or record what needs no gradient under "
            "autograd.pause()"
        )

    def assign(self, dst: NDArray, req: str, src: Any) -> None:
        """Write `src` into `dst` as `req` asks: "null" leaves it alone, "add" adds to it.

        >>> from tigon import nd
        >>> total = nd.ones(2)
        >>> CustomOp().assign(total, "add", nd.ones(2))
        >>> total.asnumpy().tolist()
        [2.0, 2.0]
        """
        check(
            req in ("null", "write", "inplace", "add"),
            "assign",
            f"expected req 'null', 'write', 'inplace' or 'add'; given {req!r}",
        )
        if req in ("write", "inplace"):
            dst[:] = src
        elif req == "add":
            dst[:] += src


class CustomOpProp:
    """What is known of an operator before it runs. Attributes of a call (`nd.Custom(x, size=3)`)
    are given to `__init__` by name, as text.

    `need_top_grad=False` says of a loss that its gradient does not depend on what comes from above.
    """

    def __init__(self, need_top_grad: bool = True) -> None:
        self.need_top_grad_ = need_top_grad

    def list_arguments(self) -> list[str]:
        """Names of the operands."""
        return ["data"]

    def list_outputs(self) -> list[str]:
        """Names of the results."""
        return ["output"]

    def list_auxiliary_states(self) -> list[str]:
        """Names of operands that forward and backward may write."""
        return []

    def infer_shape(self, in_shape: Shapes) -> tuple[Shapes, Shapes, Shapes]:
        """Shapes of operands, results and auxiliary states from those of the operands; what is not
        known yet is [], so that one number has the shape [1]. Unless overridden all that is not
        known has the shape of the first."""
        first = in_shape[0]
        return (
            [shape or first for shape in in_shape],
            [first for _ in self.list_outputs()],
            [first for _ in self.list_auxiliary_states()],
        )

    def infer_type(self, in_type: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """The same for types. Unless overridden all have the type of the first operand."""
        dtype = in_type[0]
        return (
            list(in_type),
            [dtype for _ in self.list_outputs()],
            [dtype for _ in self.list_auxiliary_states()],
        )

    def declare_backward_dependency(
        self, out_grad: list[int], in_data: list[int], out_data: list[int]
    ) -> list[int]:
        """Numbers of the arrays that backward reads; it gets None in the place of the others."""
        return [*(out_grad if self.need_top_grad_ else []), *in_data, *out_data]

    def create_operator(self, ctx: Any, in_shapes: Shapes, in_dtypes: list[Any]) -> CustomOp:
        """What computes on operands of these shapes and types. `ctx` is where the code's arrays
        are: the operands' context, or `cpu(0)` where that is not the processor."""
        raise NotImplementedError(f"{type(self).__name__}.create_operator")


def register(reg_name: str) -> Callable[[Kind], Kind]:
    """Register a `CustomOpProp`, so that `Custom(..., op_type=reg_name)` finds it. A later one of
    the same name takes its place."""

    def decorate(prop_cls: Kind) -> Kind:
        check(
            isinstance(reg_name, str) and reg_name,
            "register",
            f"expected a name; given {reg_name!r}; write @mx.operator.register('name')",
        )
        check(
            isinstance(prop_cls, type) and issubclass(prop_cls, CustomOpProp),
            "register",
            f"'{reg_name}': expected a class derived from CustomOpProp; given {prop_cls!r}",
        )
        register_kind(reg_name, prop_cls)
        return prop_cls

    return decorate


def get_all_registered_operators() -> list[str]:
    """Names of all operators there are, and of those registered here.

    >>> "relu" in get_all_registered_operators()
    True
    """
    return sorted({*record.names(), *kind_names()})


class OperatorArguments(NamedTuple):
    """How many arguments an operator has, their names, and what each is."""

    narg: int
    names: list[str]
    types: list[str]


def get_operator_arguments(op_name: str) -> OperatorArguments:
    """The arguments of an operator: operands, then attributes.

    >>> found = get_operator_arguments("FullyConnected")
    >>> found.narg, found.names[2:4], found.types[2:4]
    (6, ['bias', 'num_hidden'], ['NDArray-or-Symbol', 'int, required'])
    """
    op = record.get(op_name)
    operands = [operand.name for operand in op.operands if not operand.random_key]
    types = ["NDArray-or-Symbol"] * len(operands)
    names = []
    for name, default in fields(op.attrs_type).items():
        if name in HIDDEN:
            continue
        names.append(name)
        kind = op.attrs_type.__annotations__.get(name, "")
        required = "required" if default is MISSING else f"optional, default={default!r}"
        types.append(f"{getattr(kind, '__name__', kind)}, {required}")
    return OperatorArguments(len(types), [*operands, *names], types)


__all__ = [
    "CustomOp",
    "CustomOpProp",
    "OperatorArguments",
    "get_all_registered_operators",
    "get_operator_arguments",
    "register",
]

_complete(globals())
