"""A dense layer too large for one rank: each has a part of it."""

from __future__ import annotations

from typing import Any

from tigon import distributed, nd
from tigon.base import check
from tigon.gluon.block import HybridBlock
from tigon.gluon.parameters_section import describe as _describe


class SplitDense(HybridBlock):
    """`nn.Dense` whose weight is divided among the ranks, so that each keeps and computes 1/n of
    it. Its numbers are those of `nn.Dense`, from the same seed.

    Each rank brings its own batch, all of one size. Split by "columns" of its results, the layer
    gathers the batches of all ranks, computes its own columns for them, and gives each rank those
    of its batch. By "rows", each rank takes its own columns of all batches, and the sums over ranks
    are divided among them. What travels is the batch in the first case and back the results, or the
    other way round: split by columns where there are more units than inputs.

    >>> layer = SplitDense(4, in_units=3, weight_initializer="ones")
    >>> layer.initialize()
    >>> layer(nd.ones((1, 3))).asnumpy().tolist()
    [[3.0, 3.0, 3.0, 3.0]]
    """

    def __init__(
        self,
        units: int,
        in_units: int,
        split: str = "columns",
        use_bias: bool = True,
        dtype: Any = "float32",
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        ranks = distributed.size()
        check(
            split in ("columns", "rows"),
            "SplitDense",
            f"split: expected 'columns' or 'rows'; given {split!r:.80}",
        )
        by_columns = split == "columns"
        name, extent = ("units", units) if by_columns else ("in_units", in_units)
        check(
            extent > 0 and extent % ranks == 0,
            "SplitDense",
            f"{name}: expected a multiple of the number of ranks, {ranks}; given {extent}",
        )
        self._units, self._in_units, self._by_columns = units, in_units, by_columns
        shape = (units // ranks, in_units) if by_columns else (units, in_units // ranks)
        with self.name_scope():
            self.weight = self.params.get(
                "weight", shape=shape, init=weight_initializer, dtype=dtype
            )
            self.weight.split_axis = 0 if by_columns else 1
            self.bias = None
            if use_bias:
                self.bias = self.params.get(
                    "bias", shape=shape[:1], init=bias_initializer, dtype=dtype
                )
                self.bias.split_axis = 0 if by_columns else None

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        rows, ranks = x.shape[0], distributed.size()
        check(
            len(x.shape) == 2 and x.shape[1] == self._in_units,
            self.name,
            f"expected (batch, {self._in_units}); given {x.shape}",
        )
        if self._by_columns:
            part = F.dot(distributed.allgather(x), weight, transpose_b=True)
            if bias is not None:
                part = F.broadcast_add(part, F.expand_dims(bias, axis=0))
            own = distributed.alltoall(part).reshape((ranks, rows, self._units // ranks))
            return F.transpose(own, axes=(1, 0, 2)).reshape((rows, self._units))
        columns = x.reshape((rows, ranks, self._in_units // ranks))
        columns = F.transpose(columns, axes=(1, 0, 2)).reshape((ranks * rows, -1))
        part = F.dot(distributed.alltoall(columns), weight, transpose_b=True)
        out = distributed.reduce_scatter(part)
        return out if bias is None else F.broadcast_add(out, F.expand_dims(bias, axis=0))

    def whole_weight(self) -> Any:
        """The weight of all ranks; all have to ask.

        >>> layer = SplitDense(4, in_units=3)
        >>> layer.initialize()
        >>> layer.whole_weight().shape
        (4, 3)
        """
        own = self.weight.data().detach()
        if self._by_columns:
            return distributed.allgather(own)
        return nd.transpose(distributed.allgather(nd.transpose(own)))

    def __repr__(self) -> str:
        how = "columns" if self._by_columns else "rows"
        return f"SplitDense({self._in_units} -> {self._units}, by {how})"


_describe(
    SplitDense,
    units="results of each sample; by columns a multiple of the number of ranks",
    in_units="what each sample has; by rows a multiple of the number of ranks",
    split="'columns' or 'rows'",
    use_bias="whether a bias is added",
    dtype="of the parameters",
    weight_initializer="fills the weight as a whole, of which each rank keeps its part",
    bias_initializer="fills the bias",
)
