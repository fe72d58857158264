"""Containers and the layers that need no spatial axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tigon.base import TigonError, as_dtype, check
from tigon.gluon._epoch import Settings
from tigon.gluon.block import Block, HybridBlock
from tigon.gluon.nn.activations import Activation


class Sequential(Block):
    """Blocks one after another, run imperatively.

    >>> net = Sequential()
    >>> net.add(Dense(4, activation="relu"), Dense(2))
    >>> len(net), net[1]
    (2, Dense(None -> 2, linear))
    """

    def add(self, *blocks: Block) -> None:
        """Append blocks."""
        for block in blocks:
            self.register_child(block)

    def forward(self, x: Any, *args: Any) -> Any:
        """Run the first block on all arguments, the rest on what comes out."""
        for block in self._children.values():
            x = block(x, *args)
            args = ()
            if isinstance(x, tuple):
                x, *rest = x
                args = tuple(rest)
        return (x, *args) if args else x

    def __getitem__(self, key: int | slice) -> Any:
        return _children_at(self, key)

    def __len__(self) -> int:
        return len(self._children)

    def __iter__(self) -> Iterator[Block]:
        return iter(self._children.values())

    def _hybridize_itself(self, active: bool, flags: dict[str, Any]) -> None:
        if self._children and all(isinstance(c, HybridBlock) for c in self._children.values()):
            import warnings

            warnings.warn(
                f"{self.name}: all children are HybridBlocks; HybridSequential would compile them "
                "together",
                stacklevel=3,
            )


class HybridSequential(HybridBlock):
    """Hybrid blocks one after another, compiled as one graph after `hybridize()`.

    >>> net = HybridSequential()
    >>> net.add(Dense(4, activation="relu"), Dense(2))
    >>> net.add(Sequential())
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: HybridSequential: children of a HybridBlock must be \
HybridBlocks; given Sequential; derive it from HybridBlock, or use Block or Sequential outside
    """

    def add(self, *blocks: HybridBlock) -> None:
        """Append hybrid blocks."""
        for block in blocks:
            self.register_child(block)

    def hybrid_forward(self, F: Any, x: Any, *args: Any) -> Any:
        """What a `hybrid_forward` of a subclass may call: the blocks one after another."""
        return HybridSequential.forward(self, x, *args)

    def forward(self, x: Any, *args: Any) -> Any:
        """Run the first block on all arguments, the rest on what comes out."""
        for block in self._children.values():
            x = block(x, *args)
            args = ()
            if isinstance(x, tuple):
                x, *rest = x
                args = tuple(rest)
        return (x, *args) if args else x

    def __getitem__(self, key: int | slice) -> Any:
        return _children_at(self, key)

    def __len__(self) -> int:
        return len(self._children)

    def __iter__(self) -> Iterator[Block]:
        return iter(self._children.values())


def _children_at(block: Any, key: int | slice) -> Any:
    children = list(block._children.values())
    if isinstance(key, int):
        return children[key]
    part = type(block)(prefix=block.prefix)
    part.add(*children[key])
    return part


class Dense(HybridBlock):
    """`activation(x . weight^T + bias)`. With `flatten`, all axes but the first are one.

    >>> from tigon import nd
    >>> layer = Dense(2, in_units=3, weight_initializer="ones")
    >>> layer.initialize()
    >>> layer(nd.ones((1, 3))).asnumpy().tolist()
    [[3.0, 3.0]]
    """

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        flatten: bool = True,
        dtype: Any = "float32",
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_units: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check(units > 0, "Dense", f"units must be positive; given {units}")
        self._units = units
        self._in_units = in_units
        self._flatten = flatten
        with self.name_scope():
            self.weight = self.params.get(
                "weight",
                shape=(units, in_units),
                init=weight_initializer,
                dtype=dtype,
                allow_deferred_init=True,
            )
            self.bias = (
                self.params.get(
                    "bias",
                    shape=(units,),
                    init=bias_initializer,
                    dtype=dtype,
                    allow_deferred_init=True,
                )
                if use_bias
                else None
            )
            self.act = Activation(activation, prefix=activation + "_") if activation else None

    def infer_shape(self, x: Any) -> None:
        extents = x.shape[1:] if self._flatten else x.shape[-1:]
        count = 1
        for extent in extents:
            count *= extent
        self.weight.shape = (self._units, count)

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        out = F.FullyConnected(
            x,
            weight,
            *(() if bias is None else (bias,)),
            no_bias=bias is None,
            num_hidden=self._units,
            flatten=self._flatten,
            name="fwd",
        )
        return out if self.act is None else self.act(out)

    def __repr__(self) -> str:
        in_units = self.weight.shape[1] if self.weight.shape else 0
        act = "linear" if self.act is None else repr(self.act)
        return f"{type(self).__name__}({in_units or None} -> {self.weight.shape[0]}, {act})"


class Dropout(HybridBlock):
    """In training, zeroes elements with probability `rate` and scales the others up to match.

    >>> Dropout(0.5)
    Dropout(p = 0.5, axes=())
    """

    def __init__(self, rate: float, axes: tuple[int, ...] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check(0 <= rate < 1, "Dropout", f"rate must be in [0, 1); given {rate}")
        self._rate = rate
        self._axes = tuple(axes)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        if self._rate == 0:
            return F.identity(x)
        return F.Dropout(x, p=self._rate, axes=self._axes, name="fwd")

    def __repr__(self) -> str:
        return f"Dropout(p = {self._rate}, axes={self._axes})"


class Embedding(HybridBlock):
    """Row `i` of a table for each index `i`. With `sparse_grad` the gradient of the table is the
    rows that a batch has asked for, and a `Trainer` whose optimizer is lazy (SGD, Adam, AdaGrad,
    Ftrl) reads and writes no others.

    >>> Embedding(10, 4)
    Embedding(10 -> 4, float32)
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        dtype: Any = "float32",
        weight_initializer: Any = None,
        sparse_grad: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check(
            sparse_grad in (True, False),
            "Embedding",
            f"sparse_grad: expected True or False; given {sparse_grad!r:.40}",
        )
        self._input_dim = input_dim
        self._output_dim = output_dim
        self._kwargs = Settings(
            {
                "input_dim": input_dim,
                "output_dim": output_dim,
                "dtype": str(as_dtype(dtype)),
                "sparse_grad": sparse_grad,
            }
        )
        with self.name_scope():
            self.weight = self.params.get(
                "weight",
                shape=(input_dim, output_dim),
                init=weight_initializer,
                dtype=dtype,
                allow_deferred_init=True,
                grad_stype="row_sparse" if sparse_grad else "default",
            )

    def hybrid_forward(self, F: Any, x: Any, weight: Any) -> Any:
        return F.Embedding(x, weight, name="fwd", **self._kwargs)

    def __repr__(self) -> str:
        return f"Embedding({self._input_dim} -> {self._output_dim}, {self.weight.dtype})"


class Flatten(HybridBlock):
    """All axes but the first become one.

    >>> from tigon import nd
    >>> Flatten()(nd.ones((2, 3, 4))).shape
    (2, 12)
    """

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.Flatten(x)

    def __repr__(self) -> str:
        return "Flatten"


class Lambda(Block):
    """A function of arrays, or the name of one in `tigon.nd`, as a block.

    >>> from tigon import nd
    >>> Lambda("tanh")(nd.zeros((2,))).asnumpy().tolist()
    [0.0, 0.0]
    """

    def __init__(self, function: str | Callable[..., Any], prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        self._func_name = _function_name("Lambda", function)
        if isinstance(function, str):
            from tigon import nd

            function = _find_function("Lambda", nd, function)
        self._func_impl = function

    def forward(self, *args: Any) -> Any:
        return self._func_impl(*args)

    def __repr__(self) -> str:
        return f"Lambda({self._func_name})"


class HybridLambda(HybridBlock):
    """A function `f(F, x, ...)`, or the name of one in both `tigon.nd` and `tigon.sym`.

    >>> from tigon import nd
    >>> HybridLambda(lambda F, x: F.relu(x) * 2)(nd.ones((2,))).asnumpy().tolist()
    [2.0, 2.0]
    """

    def __init__(self, function: str | Callable[..., Any], prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        self._func_name = _function_name("HybridLambda", function)
        if isinstance(function, str):
            from tigon import nd, sym

            _find_function("HybridLambda", nd, function)
            _find_function("HybridLambda", sym, function)
            self._by_name: str | None = function
        else:
            self._by_name = None
            self._func = function

    def hybrid_forward(self, F: Any, x: Any, *args: Any) -> Any:
        if self._by_name is not None:
            return getattr(F, self._by_name)(x, *args)
        return self._func(F, x, *args)

    def _traced_functions(self) -> list[Callable[..., Any]]:
        own = [] if self._by_name is not None else [self._func]
        return [*super()._traced_functions(), *own]

    def __repr__(self) -> str:
        return f"HybridLambda({self._func_name})"


def _function_name(where: str, function: Any) -> str:
    if isinstance(function, str):
        return function
    check(
        callable(function),
        where,
        f"expected a function or the name of an operator; given {function!r}",
    )
    return getattr(function, "__name__", type(function).__name__)


def _find_function(where: str, module: Any, name: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if found is None:
        raise TigonError(f"{where}: there is no operator '{name}' in {module.__name__}")
    return found
