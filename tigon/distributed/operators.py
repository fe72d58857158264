"""Collectives as operators: on arrays, in hybridized blocks, in training steps, and differentiable.

Every rank has to make the same calls, in the same order. What is differentiated is the sum of what
all ranks begin backward at; so the gradient of a sum over ranks is a sum over ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tigon import nd
from tigon.base import TensorType, TigonError, check, config
from tigon.base.frozen import Frozen
from tigon.context import Context
from tigon.distributed.agreement import Signature
from tigon.distributed.groups import even_parts
from tigon.distributed.memory import COMBINE, is_unknown_to_numpy, memory
from tigon.distributed.parts import Parts
from tigon.distributed.world import Place, Ranks, world
from tigon.ops.primitive.arithmetic import multiply
from tigon.ops.primitive.choose import where
from tigon.ops.primitive.compare import equal
from tigon.ops.record import Effect, Family, Operand, Operator
from tigon.ops.tensor.create import zeros_like

REDUCTIONS = ("sum", "mean", "max", "min")


class ReduceAttrs(Frozen):
    op: str = "sum"


class RootAttrs(Frozen):
    root: int = 0


class NoCollectiveAttrs(Frozen):
    """None: which rank has what says it all."""


Code = Callable[[Ranks, Any, np.ndarray, np.ndarray], None]
"""(ranks, attributes, what this one has, where its result goes), both in memory, by rows."""


class _Collective:
    """The code of calls of one operator and one type."""

    def __init__(self, op: Operator, attrs: Any, type_: TensorType, run: Code) -> None:
        self._op = op
        self._attrs = attrs
        self._type = type_
        self._run = run
        world()  # MPI is loaded by whoever calls first, not by the engine
        self.read: frozenset[int] = _READS.get(getattr(attrs, "op", ""), frozenset({0}))
        fields = ", ".join(f"{name}={value!r}" for name, value in attrs.__dict__.items())
        self._signature = Signature(op.name, (f"{type_}" + (f" {fields}" if fields else ""),))

    def forward(self, training: bool, inputs: Any, outputs: Any, states: Any) -> None:
        ranks = world()
        ranks.begin(Place(self._op.name, ranks.step))
        ranks.check(self._signature)
        if isinstance(ranks, Ranks):
            self._check_ranks(ranks, tuple(outputs[0].shape))
            _on_memory(lambda *both: self._run(ranks, self._attrs, *both), inputs[0], outputs[0])
        else:
            outputs[0][...] = inputs[0]

    def _check_ranks(self, ranks: Ranks, shape: tuple[int, ...]) -> None:
        """A graph that was made before ranks were lost has the shapes of then."""
        now = self._op.infer(self._attrs, self._type).shape
        check(
            shape == now,
            self._op.name,
            f"its graph was made for another number of ranks than {ranks.size}: its result has "
            f"shape {shape} there, and {now} now; make the graph anew (hybridize, or a new "
            "TrainStep) in the function that distributed.run calls",
        )

    def backward(
        self,
        wanted: Sequence[bool],
        cotangents: Any,
        inputs: Any,
        outputs: Any,
        gradients: Any,
        states: Any,
    ) -> None:
        # The rule of the record, on arrays: operators within Python code run at once.
        assert self._op.grad is not None
        (found,) = self._op.grad(self._attrs, cotangents[0], outputs[0], inputs[0])
        gradients[0][...] = found


_READS = {"max": frozenset({0, 1, 2}), "min": frozenset({0, 1, 2})}


def _on_memory(run: Callable[[np.ndarray, np.ndarray], None], given: Any, made: Any) -> None:
    """Sums of bfloat16 are made in float32 and rounded once."""
    if is_unknown_to_numpy(given):
        wide = nd.zeros(made.shape, dtype="float32")
        run(memory(given.astype("float32")), memory(wide))
        made[...] = wide.astype(made.dtype)
    else:
        run(memory(given), memory(made))


def _collective(
    name: str,
    attrs: type,
    infer: Callable[..., TensorType],
    grad: Callable[..., Any],
    run: Code,
    doc: str,
) -> Operator:
    record: Operator

    def begin(own: Any, types: Sequence[TensorType], at: Context) -> _Collective:
        return _Collective(record, own, types[0], run)

    record = Operator(
        name,
        Family.HOST,
        (Operand("data"),),
        attrs,
        infer,
        doc,
        grad=grad,
        effect=Effect.CHANNEL,
        begin=begin,
        dtypes="fiu",
    )
    return record


# -------------------------------------------------------------------------------- allreduce


def _check_mean(name: str, attrs: ReduceAttrs, data: TensorType) -> None:
    check(
        attrs.op != "mean" or data.dtype.is_float,
        name,
        f"op='mean' is of floats; given {data.dtype}; add up, and divide",
    )


def _infer_allreduce(attrs: ReduceAttrs, data: TensorType) -> TensorType:
    check(
        attrs.op in REDUCTIONS,
        "allreduce",
        f"op: expected one of {', '.join(REDUCTIONS)}; given {attrs.op!r}",
    )
    _check_mean("allreduce", attrs, data)
    return TensorType(data.shape, data.dtype)


def _grad_allreduce(attrs: ReduceAttrs, g: Any, y: Any, x: Any) -> tuple[Any]:
    if attrs.op in ("sum", "mean"):
        return (_allreduce(g, op=attrs.op),)
    total = _allreduce(g, op="sum")
    return (where(equal(x, y), total, zeros_like(total)),)


def _run_allreduce(ranks: Ranks, attrs: ReduceAttrs, x: np.ndarray, y: np.ndarray) -> None:
    ranks.allreduce(y, COMBINE["sum" if attrs.op == "mean" else attrs.op], x)
    if attrs.op == "mean":
        np.divide(y, ranks.size, out=y)


_allreduce: Operator = _collective(
    "allreduce",
    ReduceAttrs,
    _infer_allreduce,
    _grad_allreduce,
    _run_allreduce,
    "What all ranks have, added up or combined otherwise; all of them get it.",
)


# ------------------------------------------------------- parts and wholes, along the first axis


def _rows(name: str, data: TensorType) -> int:
    check(data.shape, name, "expected at least one axis; given a 0-d array")
    return data.shape[0]


def _infer_allgather(attrs: Any, data: TensorType) -> TensorType:
    return TensorType(
        (_rows("allgather", data) * config.launched().size, *data.shape[1:]), data.dtype
    )


def _infer_reduce_scatter(attrs: ReduceAttrs, data: TensorType) -> TensorType:
    check(
        attrs.op in ("sum", "mean"),
        "reduce_scatter",
        f"op: expected sum or mean; given {attrs.op!r}",
    )
    _check_mean("reduce_scatter", attrs, data)
    return TensorType((_divided("reduce_scatter", data), *data.shape[1:]), data.dtype)


def _infer_alltoall(attrs: Any, data: TensorType) -> TensorType:
    _divided("alltoall", data)
    return TensorType(data.shape, data.dtype)


def _divided(name: str, data: TensorType) -> int:
    rows, size = _rows(name, data), config.launched().size
    check(
        rows % size == 0,
        name,
        f"the first axis is cut into {size} parts, one for each rank; given shape {data.shape}; "
        "pad it",
    )
    return rows // size


def _run_allgather(ranks: Ranks, attrs: Any, x: np.ndarray, y: np.ndarray) -> None:
    y[ranks.rank * x.size : (ranks.rank + 1) * x.size] = x
    bounds = [x.size * rank for rank in range(ranks.size + 1)]
    ranks.group.gather_parts(Parts.of(y, bounds))


def _run_reduce_scatter(ranks: Ranks, attrs: ReduceAttrs, x: np.ndarray, y: np.ndarray) -> None:
    ranks.group.reduce_parts(Parts.of(x, even_parts(x.size, ranks.size)), y, COMBINE["sum"])
    if attrs.op == "mean":
        np.divide(y, ranks.size, out=y)


def _run_alltoall(ranks: Ranks, attrs: Any, x: np.ndarray, y: np.ndarray) -> None:
    ranks.messages.exchange_rows(x, y)


_allgather: Operator = _collective(
    "allgather",
    NoCollectiveAttrs,
    _infer_allgather,
    lambda attrs, g, y, x: (_reduce_scatter(g, op="sum"),),
    _run_allgather,
    "What all ranks have, one after the other along the first axis.",
)

_reduce_scatter: Operator = _collective(
    "reduce_scatter",
    ReduceAttrs,
    _infer_reduce_scatter,
    lambda attrs, g, y, x: (
        _allgather(g if attrs.op == "sum" else multiply(g, 1.0 / config.launched().size)),
    ),
    _run_reduce_scatter,
    "The sum of what all ranks have, of which each gets its part along the first axis.",
)

_alltoall: Operator = _collective(
    "alltoall",
    NoCollectiveAttrs,
    _infer_alltoall,
    lambda attrs, g, y, x: (_alltoall(g),),
    _run_alltoall,
    "Part r along the first axis of rank s becomes part s of rank r.",
)


# ---------------------------------------------------------------------------- one and all


def _infer_root(attrs: RootAttrs, data: TensorType) -> TensorType:
    size = config.launched().size
    check(
        0 <= attrs.root < size,
        "broadcast",
        f"root: expected a rank from 0 to {size - 1}; given {attrs.root}",
    )
    return TensorType(data.shape, data.dtype)


def _run_broadcast(ranks: Ranks, attrs: RootAttrs, x: np.ndarray, y: np.ndarray) -> None:
    y[...] = x
    ranks.messages.broadcast(y, attrs.root)


def _run_reduce(ranks: Ranks, attrs: RootAttrs, x: np.ndarray, y: np.ndarray) -> None:
    ranks.allreduce(y, COMBINE["sum"], x)
    if ranks.rank != attrs.root:
        y[...] = 0


_broadcast: Operator = _collective(
    "broadcast",
    RootAttrs,
    _infer_root,
    lambda attrs, g, y, x: (_reduce(g, root=attrs.root),),
    _run_broadcast,
    "What the root has; all ranks get it.",
)

_reduce: Operator = _collective(
    "reduce",
    RootAttrs,
    _infer_root,
    lambda attrs, g, y, x: (_broadcast(g, root=attrs.root),),
    _run_reduce,
    "The sum of what all ranks have, at the root; zeros at the others.",
)


# ------------------------------------------------------------------------------ for users


def _checked(name: str, data: Any) -> Any:
    if not hasattr(data, "apply_op"):
        raise TigonError(
            f"{name}: expected an NDArray or a Symbol; given {type(data).__name__}; convert it "
            "with nd.array"
        )
    return data


def allreduce(data: Any, op: str = "sum") -> Any:
    """Combine what all ranks have, element by element; all ranks get the same bits.

    Parameters
    ----------
    data : array or symbol of numbers, of the same shape and dtype on all ranks
    op : 'sum', 'mean', 'max' or 'min'; a NaN of any rank is the result

    >>> from tigon import nd
    >>> allreduce(nd.array([1, 2])).asnumpy().tolist()
    [1.0, 2.0]
    """
    return _allreduce(_checked("allreduce", data), op=op)


def allgather(data: Any) -> Any:
    """Join what all ranks have along the first axis, in the order of the ranks.

    Parameters
    ----------
    data : array or symbol of numbers, of at least one axis, of the same shape and dtype on all
        ranks; the result has its first axis times the number of ranks

    >>> from tigon import nd
    >>> allgather(nd.ones((2, 3))).shape
    (2, 3)
    """
    return _allgather(_checked("allgather", data))


def reduce_scatter(data: Any, op: str = "sum") -> Any:
    """Add up what all ranks have, and give each its part along the first axis.

    Parameters
    ----------
    data : array or symbol of numbers, of the same shape and dtype on all ranks; the extent of its
        first axis is a multiple of the number of ranks, or it is an error
    op : 'sum' or, of floats, 'mean'

    >>> from tigon import nd
    >>> reduce_scatter(nd.array([1, 2])).asnumpy().tolist()
    [1.0, 2.0]
    """
    return _reduce_scatter(_checked("reduce_scatter", data), op=op)


def broadcast(data: Any, root: int = 0) -> Any:
    """Give all ranks what the rank `root` has.

    Parameters
    ----------
    data : array or symbol of numbers, of the same shape and dtype on all ranks; of those that are
        not the root it says these alone
    root : the number of a rank, 0 by default; another number is an error

    >>> from tigon import nd
    >>> broadcast(nd.array([1, 2])).asnumpy().tolist()
    [1.0, 2.0]
    """
    return _broadcast(_checked("broadcast", data), root=root)


def alltoall(data: Any) -> Any:
    """Cut what each rank has into as many parts along the first axis as there are ranks, and give
    part r to rank r; what comes is joined in the order of the ranks.

    Parameters
    ----------
    data : array or symbol of numbers, of the same shape and dtype on all ranks; the extent of its
        first axis is a multiple of the number of ranks, or it is an error. The result has its shape

    >>> from tigon import nd
    >>> alltoall(nd.array([1, 2])).asnumpy().tolist()
    [1.0, 2.0]
    """
    return _alltoall(_checked("alltoall", data))
