"""How users call an operator: `F.X(data, weight, bias, kernel=...)`, split into operands and
attributes. Shared by `nd` and `sym`, so that a program means the same in both."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from tigon.base import TigonError
from tigon.base.dtypes import check_dtype
from tigon.base.frozen import MISSING
from tigon.context import Context, on
from tigon.ops.attributes import attr_fields
from tigon.ops.record import Operator
from tigon.ops.tensor.shape import expanded, flattened, squeezed

if TYPE_CHECKING:
    import inspect

HIDDEN = frozenset(("training", "ordinal", "stream"))
"""Attributes that the caller of an operator sets, never its user."""

IGNORED = frozenset(("num_args", "ctx", "cudnn_off", "cudnn_tune", "workspace", "__layout__"))
"""What MXNet programs pass and what means nothing here, unless the operator declares it."""

NAMESPACES = {
    "random": ("_random_", "random_"),
    "linalg": ("_linalg_", "linalg_"),
    "contrib": ("_contrib_",),
    "image": ("_image_",),
    "sparse": ("_sparse_",),
}
"""`nd.random.uniform` is the operator registered as `_random_uniform`, and so on."""

SHARED = {
    "sparse": frozenset(
        """
        ElementWiseSum Embedding FullyConnected LinearRegressionOutput LogisticRegressionOutput
        MAERegressionOutput abs adagrad_update adam_update add_n arccos arccosh arcsin arcsinh
        arctan arctanh broadcast_add broadcast_div broadcast_minus broadcast_mul broadcast_plus
        broadcast_sub cbrt ceil clip concat cos cosh degrees dot elemwise_add elemwise_div
        elemwise_mul elemwise_sub exp expm1 fix floor ftrl_update gamma gammaln log log10 log1p log2
        make_loss mean negative norm radians relu rint round rsqrt sgd_mom_update sgd_update sigmoid
        sign sin sinh slice sqrt square stop_gradient sum tan tanh trunc where zeros_like
        """.split()
    )
}
"""Operators that a namespace has under the names that they have anyway."""


FLUENT = tuple(
    """
    abs arccos arccosh arcsin arcsinh arctan arctanh argmax argmax_channel argmin argsort
    broadcast_axes broadcast_like broadcast_to cbrt ceil clip cos cosh degrees depth_to_space diag
    dot exp expand_dims expm1 fix flatten flip floor gamma gammaln log log10 log1p log2 log_softmax
    max mean min nanprod nansum norm one_hot ones_like pad pick prod radians rcbrt reciprocal relu
    repeat reshape_like rint round rsqrt shape_array sigmoid sign sin sinh size_array slice
    slice_axis slice_like softmax softmin sort space_to_depth split split_v2 sqrt square squeeze
    sum swapaxes take tan tanh tile topk trunc zeros_like
    """.split()
)
"""Functions that are methods too, of arrays and of symbols."""

_OF_RESHAPE = (("order", "C"), ("copy", None))  # what np.reshape passes on
_NEVER = object()
_OF_NUMPY: dict[str, dict[str, Any]] = {
    "argmax": {},
    "argmin": {},
    "argsort": {"kind": None, "order": None, "stable": None},
    "max": {"initial": _NEVER, "where": _NEVER},
    "mean": {"dtype": None, "where": _NEVER},
    "min": {"initial": _NEVER, "where": _NEVER},
    "prod": {"dtype": None, "initial": _NEVER, "where": _NEVER},
    "round": {"decimals": _NEVER},  # to even digits, as ours does not
    "sum": {"dtype": None, "initial": _NEVER, "where": _NEVER},
    "take": {},
}
"""What numpy's function of that name gives to the method beyond what ours takes, and what it gives
if nobody has asked for it."""


def as_numpy_calls(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A method that takes what `np.mean(x, axis=0)` and its kin pass on. What only numpy can do, it
    does."""
    extras = _OF_NUMPY.get(name)
    if extras is None:
        return function

    def method(self: Any, *arguments: Any, **keywords: Any) -> Any:
        if keywords:
            asked = [
                word
                for word, own in extras.items()
                if word in keywords and (own is _NEVER or keywords[word] != own)
            ]
            of_all = name == "take" and keywords.get("axis", 0) is None
            if asked or of_all or isinstance(keywords.get("out"), np.ndarray):
                return getattr(self.asnumpy(), name)(*arguments, **keywords)
            keywords = {word: v for word, v in keywords.items() if word not in extras}
        return function(self, *arguments, **keywords)

    method.__name__, method.__doc__ = name, function.__doc__
    method.__qualname__, method.__module__ = function.__qualname__, function.__module__
    if hasattr(function, "__signature__"):
        method.__signature__ = function.__signature__  # type: ignore[attr-defined]
    return method


_IN_PLACE: dict[str, Callable[..., tuple[int, ...]]] = {
    "expand_dims": lambda shape, axis: expanded(shape, axis),
    "flatten": lambda shape: flattened(shape),
    "squeeze": lambda shape, axis=None: squeezed(
        shape, (axis,) if isinstance(axis, int) else axis and tuple(axis)
    ),
}
"""Methods that take `inplace`, and the shape of what comes out."""


def taking_inplace(
    name: str, function: Callable[..., Any], shares: Callable[[Any], bool]
) -> Callable[..., Any]:
    """A method whose result, under `inplace=True`, is a view that shares memory with the array, as
    `x.reshape` gives it; so it is of what `shares`."""
    rule = _IN_PLACE.get(name)
    if rule is None:
        return function
    most = 0 if name == "flatten" else 1

    def method(self: Any, *arguments: Any, inplace: bool = False, **keywords: Any) -> Any:
        if len(arguments) == most + 1:
            *arguments, inplace = arguments  # type: ignore[assignment]
        if inplace and shares(self):
            return self.reshape(rule(tuple(self.shape), *arguments, **keywords))
        return function(self, *arguments, **keywords)

    method.__name__, method.__doc__ = name, function.__doc__
    method.__qualname__, method.__module__ = function.__qualname__, function.__module__
    if hasattr(function, "__signature__"):
        method.__signature__ = function.__signature__  # type: ignore[attr-defined]
    return method


class Signature:
    """The users' view of an operator: operands without the random key, attributes without the
    hidden ones.

    >>> from tigon.ops.tensor.shape import expand_dims
    >>> Signature(expand_dims).split(("x", 0), {})
    (['x'], {'axis': 0})
    """

    __slots__ = (
        "_dtypes",
        "_fields",
        "_ignored",
        "_positions",
        "fractional",
        "leading",
        "mixed",
        "names",
        "op",
        "own",
        "selects",
        "takes_key",
        "trains",
        "variadic",
    )

    def __init__(self, op: Operator) -> None:
        self.op = op
        self.names = tuple(o.name for o in op.operands if not o.random_key)
        self.own = frozenset(self.names)
        self.variadic = any(o.variadic for o in op.operands)
        fields = attr_fields(op.attrs_type)
        self.mixed = any(_several_numbers(annotation) for annotation, _ in fields.values())
        self.fractional = any("float" in str(annotation) for annotation, _ in fields.values())
        self._fields = tuple(name for name in fields if name not in HIDDEN)
        self.leading = leading_text(op)
        self._dtypes = tuple(name for name in ("dtype", "out_dtype") if name in fields)
        self._ignored = IGNORED.difference(fields)
        self._positions = {name: i for i, name in enumerate(self.names)}
        self.takes_key = op.takes_key
        self.trains = "training" in fields
        self.selects = self.names[:1] == ("condition",)

    def split(
        self, arguments: Sequence[Any], keywords: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """(operands, attributes). Operands not given are None, trailing ones left out."""
        if self.variadic:
            return self._split_variadic(arguments, keywords)
        count = len(self.names)
        operands = list(arguments[:count])
        attributes: dict[str, Any] = {}
        extra = arguments[count:]
        if len(extra) > len(self._fields):
            raise TigonError(
                f"{self.op.name}: expected at most {count + len(self._fields)} arguments "
                f"({', '.join((*self.names, *self._fields))}); given {len(arguments)}"
            )
        for name, value in zip(self._fields, extra, strict=False):
            attributes[name] = value
        for name, value in keywords.items():
            position = self._positions.get(name)
            if position is not None:
                operands.extend([None] * (position + 1 - len(operands)))
                if operands[position] is not None:
                    raise TigonError(f"{self.op.name}: operand '{name}' is given twice")
                operands[position] = value
            elif name in attributes:
                raise TigonError(f"{self.op.name}: attribute '{name}' is given twice")
            elif name not in self._ignored:
                attributes[name] = value
        for name in self._dtypes:
            value = attributes.get(name)
            if value is not None and not (isinstance(value, str) and value in ("None", "")):
                check_dtype(self.op.name, value)
        return operands, attributes

    def _split_variadic(
        self, arguments: Sequence[Any], keywords: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        operands = list(arguments)
        attributes: dict[str, Any] = {}
        if self.leading is not None and operands and isinstance(operands[0], str):
            attributes[self.leading] = operands.pop(0)
        for name, value in keywords.items():
            if name in attributes:
                raise TigonError(f"{self.op.name}: attribute '{name}' is given twice")
            if name in self._positions:
                operands.extend(value if isinstance(value, (list, tuple)) else [value])
            elif name not in self._ignored:
                attributes[name] = value
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
        return operands, attributes

    def placed(self, keywords: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """Where `ctx=` says that an operator without operands makes its result."""
        value = keywords.get("ctx")
        if isinstance(value, str):  # as symbols have it in old programs
            name, _, number = value.rstrip(")").partition("(")
            value = Context(name, int(number) if number.isdigit() else 0)
        return on(self.op.name, value)

    def required(self, attrs: Any) -> tuple[str, ...]:
        """The operands that exist under these attributes, for automatic variables."""
        if self.op.present is not None:
            return tuple(self.op.rule(self.op.present, attrs))
        return tuple(
            o.name for o in self.op.operands if not (o.optional or o.variadic or o.random_key)
        )

    def there(self, attrs: Any, operands: list[Any]) -> list[Any]:
        """Without the places of operands that do not exist under these attributes.

        >>> from tigon.ops import get
        >>> rnn = get("RNN")
        >>> gru = rnn.make_attrs({"mode": "gru", "state_size": 1, "num_layers": 1,
        ...                       "use_sequence_length": True})
        >>> Signature(rnn).there(gru, ["x", "w", "h", None, "lengths"])
        ['x', 'w', 'h', 'lengths']
        """
        if self.op.present is None or all(operand is not None for operand in operands):
            return operands
        own = self.required(attrs)
        named = zip(self.names, operands, strict=False)
        return [given for name, given in named if given is not None or name in own]

    def python(self, extra: Sequence[str]) -> inspect.Signature:
        """What `help` shows."""
        import inspect  # asked for by those who look, not by those who call

        kinds = inspect.Parameter
        parameters = []
        if self.leading is not None:
            parameters.append(kinds(self.leading, kinds.POSITIONAL_OR_KEYWORD))
        for operand in self.op.operands:
            if operand.variadic:
                parameters.append(kinds(operand.name, kinds.VAR_POSITIONAL))
            elif not operand.random_key:
                parameters.append(kinds(operand.name, kinds.POSITIONAL_OR_KEYWORD, default=None))
        kind = kinds.KEYWORD_ONLY if self.variadic else kinds.POSITIONAL_OR_KEYWORD
        fields = attr_fields(self.op.attrs_type)
        for name in self._fields:
            if name == self.leading:
                continue
            default = fields[name][1]
            parameters.append(kinds(name, kind, default=None if default is MISSING else default))
        taken = {parameter.name for parameter in parameters}
        for name in extra:
            if name in taken:
                continue
            parameters.append(kinds(name, kinds.KEYWORD_ONLY, default=None))
        return inspect.Signature(parameters)


def leading_text(op: Operator) -> str | None:
    """The attribute that stands before any number of operands: a text without a default.

    >>> from tigon.ops import get
    >>> leading_text(get("einsum")), leading_text(get("Concat"))
    ('subscripts', None)
    """
    if not any(operand.variadic for operand in op.operands):
        return None
    for name, (annotation, default) in attr_fields(op.attrs_type).items():
        return name if annotation is str and default is MISSING else None
    return None


def _several_numbers(annotation: Any) -> bool:
    """Whether an attribute tells 1, 1.0 and True apart."""
    options = set(typing.get_args(annotation)) or {annotation}
    return len(options & {int, float, bool}) > 1


def placement(name: str) -> tuple[str, str] | None:
    """Namespace and short name of a registered name that belongs to one, else None.

    >>> placement("_random_uniform"), placement("linalg_gemm2"), placement("dot")
    (('random', 'uniform'), ('linalg', 'gemm2'), None)
    """
    for namespace, prefixes in NAMESPACES.items():
        for prefix in prefixes:
            if name.startswith(prefix) and len(name) > len(prefix):
                return namespace, name[len(prefix) :]
    return None


def reshape_arguments(shape: tuple[Any, ...], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes behind `x.reshape(2, 3)`, `x.reshape((2, 3))` and `x.reshape(shape=(2, 3))`.

    >>> reshape_arguments((2, -1), {"reverse": True})
    {'reverse': True, 'shape': (2, -1)}
    """
    attributes = {word: v for word, v in keywords.items() if (word, v) not in _OF_RESHAPE}
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    if shape:
        if "shape" in attributes:
            raise TigonError("reshape: the shape is given twice, by position and as shape=")
        attributes["shape"] = shape
    if "shape" not in attributes:
        raise TigonError("reshape: expected a shape; given none; write x.reshape(shape=(2, -1))")
    return attributes


def moved_axes(where: str, ndim: int, source: Any, destination: Any) -> tuple[int, ...]:
    """The permutation that moves axes as `numpy.moveaxis` does.

    >>> moved_axes("moveaxis", 3, 0, -1)
    (1, 2, 0)
    """
    sources = [source] if isinstance(source, int) else list(source)
    destinations = [destination] if isinstance(destination, int) else list(destination)
    valid = all(-ndim <= axis < ndim for axis in (*sources, *destinations))
    sources = [axis % ndim for axis in sources] if valid else []
    destinations = [axis % ndim for axis in destinations] if valid else []
    distinct = len(set(sources)) == len(sources) and len(set(destinations)) == len(destinations)
    if not valid or not distinct or len(sources) != len(destinations):
        raise TigonError(
            f"{where}: expected equally many distinct axes within {ndim}; "
            f"given {source} to {destination}"
        )
    order = [axis for axis in range(ndim) if axis not in sources]
    for target, axis in sorted(zip(destinations, sources, strict=True)):
        order.insert(target, axis)
    return tuple(order)


def split_attributes(
    where: str, indices_or_sections: Any, axis: int, squeeze_axis: bool
) -> dict[str, Any]:
    """The attributes behind `split_v2`, as MXNet's files hold them.

    >>> split_attributes("split_v2", (2, 5), 0, False)["indices"]
    (0, 2, 5)
    """
    found: dict[str, Any] = {"axis": axis, "squeeze_axis": squeeze_axis}
    if isinstance(indices_or_sections, int):
        return {**found, "indices": (), "sections": indices_or_sections}
    if not isinstance(indices_or_sections, (tuple, list)):
        raise TigonError(
            f"{where}: expected a number of sections or a tuple of indices; "
            f"given {indices_or_sections!r}"
        )
    return {**found, "indices": (0, *indices_or_sections), "sections": 0}
