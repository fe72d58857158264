"""Initial values of parameters.

An initializer is called with a name (or an `InitDesc`) and an array, which it fills. Names decide
where the user did not: biases and means start at 0, scales and variances at 1, weights by the
initializer itself.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tigon.base import TigonError, check
from tigon.base.arguments import NamesWrongTypes
from tigon.base.lazy import complete as _complete
from tigon.export.params import plain_names
from tigon.ops.nn.recurrent import RNNAttrs, features_of, pieces

__all__ = [
    "Bilinear",
    "Constant",
    "FusedRNN",
    "InitDesc",
    "Initializer",
    "LSTMBias",
    "Load",
    "MSRAPrelu",
    "Mixed",
    "Normal",
    "One",
    "Orthogonal",
    "Uniform",
    "Xavier",
    "Zero",
    "create",
    "register",
]

_REGISTRY: dict[str, type[Initializer]] = {}


def register(initializer_class: type[Initializer]) -> type[Initializer]:
    """Make a class known by its lower-case name: `@register class Mine(Initializer)`."""
    _REGISTRY[initializer_class.__name__.lower()] = initializer_class
    return initializer_class


def _alias(*names: str) -> Callable[[type[Initializer]], type[Initializer]]:
    def add(initializer_class: type[Initializer]) -> type[Initializer]:
        for name in names:
            _REGISTRY[name] = initializer_class
        return initializer_class

    return add


def create(given: Any, **fields: Any) -> Any:
    """An initializer from a name, an instance, a callable, or what `dumps` wrote.

    >>> create("xavier")
    Xavier(rnd_type='uniform', factor_type='avg', magnitude=3)
    >>> create("nothing")
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: initializer: 'nothing' is not known; choose one of bilinear, \
... normal, ... zeros
    """
    if isinstance(given, str):
        if given.startswith("["):
            try:
                name, fields = json.loads(given)
                if not isinstance(name, str) or not isinstance(fields, dict):
                    raise ValueError
            except (ValueError, RecursionError):
                raise TigonError(
                    f"initializer: expected JSON such as '[\"one\", {{}}]'; given {given!r:.80}"
                ) from None
            return create(name, **fields)
        found = _REGISTRY.get(given.lower())
        known = ", ".join(sorted(_REGISTRY))
        check(found, "initializer", f"'{given}' is not known; choose one of {known}")
        assert found is not None
        try:
            return found(**fields)
        except TypeError as error:
            raise TigonError(f"initializer '{given}': {error}; given {fields!r:.80}") from None
    check(
        callable(given),
        "initializer",
        f"expected an initializer or its name; given {given!r}",
    )
    return given


class InitDesc(str):
    """The name of an array with attributes and a default initializer.

    >>> InitDesc("fc_bias").global_init is None
    True
    """

    attrs: dict[str, Any]
    global_init: Any

    def __new__(
        cls, name: str, attrs: Mapping[str, Any] | None = None, global_init: Any = None
    ) -> InitDesc:
        result = super().__new__(cls, name)
        result.attrs = dict(attrs or {})
        result.global_init = global_init
        return result


class Initializer(NamesWrongTypes):
    """Base of all initializers: decides by name, subclasses fill weights.

    >>> from tigon import nd
    >>> bias = nd.ones((2,))
    >>> Normal(0.1)("fc_bias", bias)
    >>> bias.asnumpy().tolist()
    [0.0, 0.0]
    """

    def __init__(self, **fields: Any) -> None:
        self._fields = fields
        self._verbose = False

    def set_verbosity(self, verbose: bool = False, print_func: Any = None) -> Initializer:
        """Print the name of each array that is filled."""
        self._verbose = verbose
        self._print = print_func or print
        return self

    def dumps(self) -> str:
        """As text that `create` reads.

        >>> Normal(0.5).dumps()
        '["normal", {"sigma": 0.5}]'
        """
        return json.dumps([type(self).__name__.lower(), self._fields])

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._fields == other._fields  # type: ignore[attr-defined]

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._fields.items())
        return f"{type(self).__name__}({shown})"

    def __call__(self, description: str, array: Any) -> None:
        """Fill `array`, by the initializer named in the description or by the name's suffix."""
        check(
            isinstance(description, str),
            type(self).__name__,
            f"expected a name and an array; given {type(description).__name__}",
        )
        own = description.attrs.get("__init__") if isinstance(description, InitDesc) else None
        if own is not None and own != "":
            chosen = create(own)
            if isinstance(chosen, Initializer):
                chosen._init_weight(description, array)
            else:  # which looks at the name; what chose it has been heeded
                chosen(InitDesc(description, global_init=description.global_init), array)
        else:
            self._init_by_suffix(description, array)
        if self._verbose:
            self._print(f"initialized {description} by {self!r}")

    def _init_by_suffix(self, name: str, array: Any) -> None:
        if name.endswith("weight"):
            self._init_weight(name, array)
        elif name.endswith(
            ("bias", "beta", "running_mean", "moving_mean", "moving_inv_var", "moving_avg")
        ):
            array[...] = 0
        elif name.endswith(("gamma", "running_var", "moving_var")):
            array[...] = 1
        else:
            self._init_default(name, array)

    def _init_default(self, name: str, array: Any) -> None:
        """Names without a known suffix."""
        self._init_weight(name, array)

    def _init_weight(self, name: str, array: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__}: define _init_weight(self, name, array)")


@register
@_alias("zeros")
class Zero(Initializer):
    """All zeros."""

    def __init__(self) -> None:
        super().__init__()

    def _init_weight(self, name: str, array: Any) -> None:
        array[...] = 0


@register
@_alias("ones")
class One(Initializer):
    """All ones."""

    def __init__(self) -> None:
        super().__init__()

    def _init_weight(self, name: str, array: Any) -> None:
        array[...] = 1


@register
class Constant(Initializer):
    """A number everywhere, or the values of an array."""

    def __init__(self, value: Any = 0) -> None:
        super().__init__(value=value)
        self.value = value

    def dumps(self) -> str:
        value = self.value.asnumpy() if hasattr(self.value, "asnumpy") else self.value
        value = value.tolist() if hasattr(value, "tolist") else value
        return json.dumps(["constant", {"value": value}])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self.dumps() == other.dumps()

    __hash__ = object.__hash__

    def _init_weight(self, name: str, array: Any) -> None:
        array[...] = _array(self.value, array.dtype) if isinstance(self.value, list) else self.value


@register
class Uniform(Initializer):
    """Uniform in [-scale, scale)."""

    def __init__(self, scale: float = 0.07) -> None:
        super().__init__(scale=scale)
        self.scale = scale

    def _init_weight(self, name: str, array: Any) -> None:
        _fill(array, "uniform", -self.scale, self.scale)


@register
@_alias("gaussian")
class Normal(Initializer):
    """Normal with mean 0."""

    def __init__(self, sigma: float = 0.01) -> None:
        super().__init__(sigma=sigma)
        self.sigma = sigma

    def _init_weight(self, name: str, array: Any) -> None:
        _fill(array, "normal", 0.0, self.sigma)


@register
class Xavier(Initializer):
    """Keeps the scale of activations and gradients roughly equal in all layers.

    `magnitude` over the mean of fan-in and fan-out (or one of them, by `factor_type`) is the
    variance, or a third of it for `uniform`.
    """

    def __init__(
        self, rnd_type: str = "uniform", factor_type: str = "avg", magnitude: float = 3
    ) -> None:
        super().__init__(rnd_type=rnd_type, factor_type=factor_type, magnitude=magnitude)
        check(
            rnd_type in ("uniform", "gaussian"),
            "Xavier",
            f"rnd_type is 'uniform' or 'gaussian'; given {rnd_type!r}",
        )
        check(
            factor_type in ("avg", "in", "out"),
            "Xavier",
            f"factor_type is 'avg', 'in' or 'out'; given {factor_type!r}",
        )
        self.rnd_type = rnd_type
        self.factor_type = factor_type
        self.magnitude = float(magnitude)

    def _init_weight(self, name: str, array: Any) -> None:
        shape = array.shape
        check(
            len(shape) >= 2,
            type(self).__name__,
            f"needs at least two axes; '{name}' has shape {tuple(shape)}; "
            "choose another initializer for it",
        )
        receptive = math.prod(shape[2:])
        fan_in, fan_out = shape[1] * receptive, shape[0] * receptive
        factor = {"avg": (fan_in + fan_out) / 2, "in": fan_in, "out": fan_out}[self.factor_type]
        scale = math.sqrt(self.magnitude / factor) if factor else 0.0
        if self.rnd_type == "uniform":
            _fill(array, "uniform", -scale, scale)
        else:
            _fill(array, "normal", 0.0, scale)


@register
class MSRAPrelu(Xavier):
    """Xavier for networks of rectifiers with the given slope."""

    def __init__(self, factor_type: str = "avg", slope: float = 0.25) -> None:
        super().__init__("gaussian", factor_type, 2.0 / (1 + slope**2))
        self._fields = {"factor_type": factor_type, "slope": slope}


@register
class Orthogonal(Initializer):
    """Rows (or columns) that are orthonormal, times `scale`.

    Made by Gram-Schmidt on random vectors, row by row.
    """

    def __init__(self, scale: float = 1.414, rand_type: str = "uniform") -> None:
        super().__init__(scale=scale, rand_type=rand_type)
        self.scale = scale
        self.rand_type = rand_type

    def _init_weight(self, name: str, array: Any) -> None:
        from tigon import nd

        rows, columns = array.shape[0], math.prod(array.shape[1:])
        count, length = min(rows, columns), max(rows, columns)
        draw = nd.random.uniform if self.rand_type == "uniform" else nd.random.normal
        low, high = (-1.0, 1.0) if self.rand_type == "uniform" else (0.0, 1.0)
        vectors = draw(low, high, shape=(count, length), dtype="float64")
        basis: list[Any] = []
        for index in range(count):
            vector = vectors[index : index + 1]
            for _ in range(2):  # twice is enough against rounding
                for unit in basis:
                    vector = vector - (vector * unit).sum() * unit
            basis.append(vector / vector.norm())
        matrix = nd.concat(*basis, dim=0)
        if rows > columns:
            matrix = matrix.T
        array[...] = (matrix * self.scale).astype(array.dtype).reshape(array.shape)


@register
class Bilinear(Initializer):
    """The kernel that upsamples bilinearly, for transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()

    def _init_weight(self, name: str, array: Any) -> None:
        shape = array.shape
        half = math.ceil(shape[3] / 2.0)
        center = (2 * half - 1 - half % 2) / (2.0 * half)
        column = [1 - abs(x / half - center) for x in range(shape[3])]
        row = [1 - abs(y / half - center) for y in range(shape[2])]
        array[...] = _array([[a * b for b in column] for a in row], array.dtype)


@register
class LSTMBias(Initializer):
    """Zeros, but `forget_bias` for the forget gate."""

    def __init__(self, forget_bias: float = 1.0) -> None:
        super().__init__(forget_bias=forget_bias)
        self.forget_bias = forget_bias

    def _init_weight(self, name: str, array: Any) -> None:
        array[...] = 0
        hidden = array.shape[0] // 4
        array[hidden : 2 * hidden] = self.forget_bias


@register
class FusedRNN(Initializer):
    """The flat parameters of `RNN`: each weight by `init`, or as the whole network is initialized,
    biases by 0, that of the forget gate of an LSTM by `forget_bias`.

    >>> from tigon import nd
    >>> flat = nd.zeros(72)
    >>> FusedRNN("ones", 2, 1, "lstm")("lstm_parameters", flat)
    >>> flat[56:64].asnumpy().tolist(), flat.sum().asscalar()
    ([0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], np.float32(60.0))
    """

    def __init__(
        self,
        init: Any,
        num_hidden: int,
        num_layers: int,
        mode: str,
        bidirectional: bool = False,
        forget_bias: float = 1.0,
    ) -> None:
        own = None if init is None else create(init)
        super().__init__(
            init=None if own is None else own.dumps(),
            num_hidden=num_hidden,
            num_layers=num_layers,
            mode=mode,
            bidirectional=bidirectional,
            forget_bias=forget_bias,
        )
        self._init = own
        self._attrs = RNNAttrs(
            state_size=num_hidden, num_layers=num_layers, bidirectional=bidirectional, mode=mode
        )
        self._forget_bias = forget_bias

    def _init_weight(self, name: str, array: Any) -> None:
        chosen = getattr(name, "global_init", None) if self._init is None else self._init
        check(
            chosen is not None,
            "FusedRNN",
            f"{name}: expected an initializer for the weights; given None; give init",
        )
        flat, begin = array.reshape((-1,)), 0
        for own, shape in pieces(self._attrs, features_of(self._attrs, array.size)):
            end = begin + math.prod(shape)
            piece = flat[begin:end].reshape(shape)  # written through
            if own.endswith("_f_bias"):
                piece[:] = self._forget_bias
            else:
                chosen(InitDesc(own, global_init=getattr(name, "global_init", None)), piece)
            begin = end


class Load(NamesWrongTypes):
    """Values from a dictionary or a file; `default_init` for what is missing."""

    def __init__(self, param: Any, default_init: Any = None, verbose: bool = False) -> None:
        source = "the dictionary"
        if not isinstance(param, Mapping):
            from tigon.nd.files import load_dense

            source = os.fsdecode(param)
            param = load_dense(param)
            check(
                isinstance(param, Mapping),
                "initializer.Load",
                f"{source} holds arrays without names; expected what save_parameters wrote",
            )
        self.param = plain_names(param, source)
        self.default_init = default_init
        self.verbose = verbose

    def __call__(self, name: str, array: Any) -> None:
        found = self.param.get(str(name))
        if found is not None:
            check(
                tuple(found.shape) == tuple(array.shape),
                "initializer.Load",
                f"'{name}' expects shape {tuple(array.shape)}; the file has {tuple(found.shape)}",
            )
            array[...] = found
            return
        check(
            self.default_init is not None,
            "initializer.Load",
            f"there is no '{name}' among the loaded arrays; give default_init",
        )
        self.default_init(name, array)


class Mixed(NamesWrongTypes):
    """The first initializer whose pattern matches the name.

    >>> Mixed([".*bias", ".*"], [Zero(), Uniform(0.1)])
    Mixed('.*bias': Zero(), '.*': Uniform(scale=0.1))
    """

    def __init__(self, patterns: Sequence[str], initializers: Sequence[Any]) -> None:
        check(
            len(patterns) == len(initializers),
            "initializer.Mixed",
            f"given {len(patterns)} patterns for {len(initializers)} initializers; pair them",
        )
        self.map = [
            (re.compile(pattern), create(one))
            for pattern, one in zip(patterns, initializers, strict=True)
        ]

    def __repr__(self) -> str:
        shown = ", ".join(f"{pattern.pattern!r}: {one!r}" for pattern, one in self.map)
        return f"Mixed({shown})"

    def __call__(self, name: str, array: Any) -> None:
        for pattern, one in self.map:
            if pattern.match(name):
                one(name, array)
                return
        raise TigonError(
            f"initializer.Mixed: no pattern matches '{name}'; add '.*' as the last one"
        )


def _fill(array: Any, kind: str, first: float, second: float) -> None:
    from tigon import nd

    draw = getattr(nd.random, kind)
    draw(first, second, shape=array.shape, dtype=array.dtype, out=array)


def _array(values: Any, dtype: Any = "float32") -> Any:
    from tigon import nd

    return nd.array(values, dtype=dtype)


_complete(globals())
