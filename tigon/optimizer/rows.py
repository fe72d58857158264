"""Updates by the rows of a gradient: no other rows of weight and states are read or written.

Numbers of rows differ from step to step, so they are a run-time extent: a graph is compiled for the
first number, and for the second one of any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import as_dtype, check, type_of
from tigon.base.types import TensorType
from tigon.ir import Graph, variable
from tigon.nd import NDArray
from tigon.nd.stored import RowSparseNDArray, write_rows
from tigon.ops.primitive.gather import _take
from tigon.optimizer.precision import Formula, on_master
from tigon.optimizer.update_graph import dtype_of_rates, numbers_of
from tigon.program.cached_graph import CachedGraph
from tigon.runtime.tracing import is_sparse


class UpdateOfRows:
    """The update of one parameter by some rows of its gradient, and of the same rows of its states.
    It serves all parameters of these types. `place`: where the states hold the master copy of the
    weight, or None."""

    def __init__(
        self,
        formula: Formula,
        weight: NDArray,
        grad: RowSparseNDArray,
        states: Sequence[NDArray],
        rates_each: int,
        place: int | None,
    ) -> None:
        self.dtype = dtype_of_rates([weight])
        rates = variable("rates", TensorType((rates_each,), as_dtype(self.dtype)))
        rows, values = (variable(n, type_of(a)) for n, a in _named(grad))
        whole = [
            variable(f"state{i}" if i else "weight", type_of(array))
            for i, array in enumerate((weight, *states))
        ]
        own, *own_states = [_take(array, rows, axis=0) for array in whole]
        exact = own if place is None else own_states[place]
        numbers = numbers_of(rates, 0, rates_each, exact)
        new, changed = on_master(formula, own, values, own_states, numbers, place)
        self.cached = CachedGraph(
            Graph([rates, rows, values, *whole], [new, *changed]), name="update_rows"
        )

    def step(
        self,
        weight: NDArray,
        grad: RowSparseNDArray,
        states: Sequence[NDArray],
        rates: Sequence[float],
    ) -> None:
        """Overwrite these rows of weight and states with their new values."""
        rows, values = grad.indices, grad.data
        if not rows.size:
            return
        recording = _native.set_recording(False)
        try:
            given = _native.from_numpy(np.array(rates, self.dtype), weight.device_index)
            made = self.cached([given, rows, values, weight, *states], False)
            for old, new in zip((weight, *states), made, strict=True):
                write_rows(old, rows, new)
        finally:
            _native.set_recording(recording)


def _named(grad: RowSparseNDArray) -> list[tuple[str, NDArray]]:
    return [("rows", grad.indices), ("values", grad.data)]


def table_of(weight: Any) -> NDArray:
    """The dense array of a weight, which shows in a row-sparse one."""
    if isinstance(weight, RowSparseNDArray):
        return weight.table()
    check(
        not is_sparse(weight),
        "optimizer",
        f"weight: expected a dense or a row-sparse array; given {getattr(weight, 'stype', '')}",
    )
    table: NDArray = weight
    return table
