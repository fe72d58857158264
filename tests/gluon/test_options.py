"""Every option of every layer, at another value than its default, against a formula in numpy."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, nd
from tigon.gluon import nn
from tigon.gluon.contrib import nn as contrib

RANDOM = np.random.RandomState(5)
Array = np.ndarray


def windows(x: Array, kernel: Any, stride: Any, pad: Any, dilate: Any, full: bool = False) -> Any:
    """(where in the result, slices of the padded data) for data (n, c, ...)."""
    counts = []
    for e, k, s, p, d in zip(x.shape[2:], kernel, stride, pad, dilate, strict=True):
        steps = (e + 2 * p - d * (k - 1) - 1) / s
        counts.append((math.ceil(steps) if full else math.floor(steps)) + 1)
    for place in itertools.product(*map(range, counts)):
        parts = [
            slice(at * s, at * s + d * (k - 1) + 1, d)
            for at, s, k, d in zip(place, stride, kernel, dilate, strict=True)
        ]
        yield place, counts, (slice(None), slice(None), *parts)


def convolved(
    x: Array, w: Array, b: Any, stride: Any, pad: Any, dilate: Any, groups: int = 1
) -> Array:
    padded = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in pad]])
    out: Any = None
    for place, counts, where in windows(x, w.shape[2:], stride, pad, dilate):
        if out is None:
            out = np.zeros((len(x), len(w), *counts))
        part = padded[where]
        for group in range(groups):
            each, into = part.shape[1] // groups, len(w) // groups
            ours = slice(group * into, (group + 1) * into)
            data = part[:, group * each : (group + 1) * each].reshape(len(x), -1)
            out[(slice(None), ours, *place)] = data @ w[ours].reshape(into, -1).T
    return out if b is None else out + b.reshape((1, -1) + (1,) * len(pad))


def transposed(
    x: Array, w: Array, b: Any, stride: Any, pad: Any, dilate: Any, adj: Any, groups: int = 1
) -> Array:
    """The adjoint: each number is spread over a window of the result."""
    kernel = w.shape[2:]
    extents = [
        (e - 1) * s + d * (k - 1) + 1 + a
        for e, s, d, k, a in zip(x.shape[2:], stride, dilate, kernel, adj, strict=True)
    ]
    into = w.shape[1]
    out = np.zeros((len(x), into * groups, *extents))
    for place in itertools.product(*map(range, x.shape[2:])):
        parts = [
            slice(at * s, at * s + d * (k - 1) + 1, d)
            for at, s, k, d in zip(place, stride, kernel, dilate, strict=True)
        ]
        for group in range(groups):
            each = x.shape[1] // groups
            mine = slice(group * each, (group + 1) * each)
            spread = np.tensordot(x[(slice(None), mine, *place)], w[mine], axes=(1, 0))
            out[(slice(None), slice(group * into, (group + 1) * into), *parts)] += spread
    cut = [slice(p, e - p) for p, e in zip(pad, extents, strict=True)]
    out = out[(slice(None), slice(None), *cut)]
    return out if b is None else out + b.reshape((1, -1) + (1,) * len(pad))


def pooled(
    x: Array, kind: str, size: Any, stride: Any, pad: Any, full: bool, counts_pad: bool
) -> Array:
    ndim = len(size)
    room = [(p, p + s * k) for p, s, k in zip(pad, stride, size, strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *room], constant_values=np.nan)
    inside = np.pad(np.ones_like(x), [(0, 0), (0, 0), *[(p, p) for p in pad]])
    inside = np.pad(inside, [(0, 0), (0, 0), *[(0, b - a) for a, b in room]], constant_values=-1)
    out: Any = None
    axes = tuple(range(2, 2 + ndim))
    for place, counts, where in windows(x, size, stride, pad, (1,) * ndim, full):
        if out is None:
            out = np.zeros((*x.shape[:2], *counts))
        part, mask = padded[where], inside[where]
        if kind == "max":
            found = np.nanmax(part, axes)
        else:
            number = (mask >= 0).sum(axes) if counts_pad else (mask > 0).sum(axes)
            found = np.nansum(part, axes) / number
        out[(slice(None), slice(None), *place)] = found
    return out


def tuples(value: Any, ndim: int) -> tuple[int, ...]:
    return (value,) * ndim if isinstance(value, int) else tuple(value)


Case = tuple[type, dict[str, Any], tuple[int, ...], Callable[..., Array]]
CASES: list[Case] = []


def case(kind: type, shape: tuple[int, ...], formula: Callable[..., Array], **options: Any) -> None:
    CASES.append((kind, options, shape, formula))


def values(layer: Any) -> dict[str, Array]:
    return {name: param.data().asnumpy() for name, param in layer._reg_params.items()}


def moved(x: Array, layout: str, back: bool = False) -> Array:
    if layout[-1] != "C":
        return x
    return np.moveaxis(x, 1, -1) if back else np.moveaxis(x, -1, 1)


# -- dense


def dense(layer: Any, x: Array, o: dict[str, Any]) -> Array:
    own = values(layer)
    rows = x if o.get("flatten") is False else x.reshape(len(x), -1)
    y = rows @ own["weight"].T + own.get("bias", 0)
    return np.maximum(y, 0) if o.get("activation") else y


case(nn.Dense, (2, 3, 2), dense, units=4, activation="relu", bias_initializer="ones")
case(nn.Dense, (2, 3, 2), dense, units=3, flatten=False, use_bias=False, in_units=2)
case(nn.Dense, (2, 3), dense, units=3, dtype="float64", weight_initializer=mx.init.Normal(2))


# -- convolutions


def convolution(layer: Any, x: Array, o: dict[str, Any]) -> Array:
    own, layout = values(layer), o.get("layout", "NCW")
    ndim = x.ndim - 2
    settings = [tuples(o.get(name, default), ndim) for name, default in _WINDOW.items()]
    data, weight = moved(x, layout), moved(own["weight"], layout)
    groups = o.get("groups", 1)
    if "output_padding" in inspect.signature(type(layer)).parameters:
        adj = tuples(o.get("output_padding", 0), ndim)
        y = transposed(data, weight, own.get("bias"), *settings, adj, groups)
    else:
        y = convolved(data, weight, own.get("bias"), *settings, groups)
    y = moved(y, layout, back=True)
    return np.maximum(y, 0) if o.get("activation") else y


_WINDOW = {"strides": 1, "padding": 0, "dilation": 1}
_EXTENTS = {1: (7,), 2: (6, 5), 3: (5, 4, 4)}
for _kind, _ndim, _layout in (
    (nn.Conv1D, 1, "NWC"),
    (nn.Conv2D, 2, "NHWC"),
    (nn.Conv3D, 3, "NDHWC"),
    (nn.Conv1DTranspose, 1, "NWC"),
    (nn.Conv2DTranspose, 2, "NHWC"),
    (nn.Conv3DTranspose, 3, "NDHWC"),
):
    _first = (2, 4, *_EXTENTS[_ndim])
    _more = {"output_padding": 1} if _kind.__name__.endswith("Transpose") else {}
    case(_kind, _first, convolution, channels=2, kernel_size=2, strides=2, padding=1, **_more)
    case(_kind, _first, convolution, channels=4, kernel_size=2, dilation=2, groups=2)
    case(
        _kind,
        (2, *_EXTENTS[_ndim], 4),
        convolution,
        channels=2,
        kernel_size=(3,) * _ndim,
        layout=_layout,
        use_bias=False,
        in_channels=4,
    )
    case(
        _kind,
        _first,
        convolution,
        channels=2,
        kernel_size=1,
        activation="relu",
        weight_initializer=mx.init.Normal(1),
        bias_initializer="ones",
    )


# -- pooling


def pooling(layer: Any, x: Array, o: dict[str, Any]) -> Array:
    layout, ndim = o.get("layout", "NCW"), x.ndim - 2
    kind = "max" if "Max" in type(layer).__name__ else "avg"
    data = moved(x, layout)
    if "Global" in type(layer).__name__:
        axes = tuple(range(2, x.ndim))
        whole = data.max(axes, keepdims=True) if kind == "max" else data.mean(axes, keepdims=True)
        return moved(whole, layout, back=True)
    size = tuples(o.get("pool_size", 2), ndim)
    stride = size if o.get("strides") is None else tuples(o["strides"], ndim)
    pad = tuples(o.get("padding", 0), ndim)
    counts_pad = o.get("count_include_pad", True)
    y = pooled(data, kind, size, stride, pad, o.get("ceil_mode", False), counts_pad)
    return moved(y, layout, back=True)


for _ndim, _layout in ((1, "NWC"), (2, "NHWC"), (3, "NDHWC")):
    _last = (2, *_EXTENTS[_ndim], 3)
    for _kind in (getattr(nn, f"{name}Pool{_ndim}D") for name in ("Max", "Avg")):
        case(_kind, (2, 3, *_EXTENTS[_ndim]), pooling, pool_size=3, strides=2, padding=1)
        case(_kind, _last, pooling, layout=_layout)
        case(_kind, (2, 3, *_EXTENTS[_ndim]), pooling, strides=2, pool_size=3, ceil_mode=True)
    _kind = getattr(nn, f"AvgPool{_ndim}D")
    _shape = (2, 3, *_EXTENTS[_ndim])
    case(_kind, _shape, pooling, pool_size=3, strides=1, padding=1, count_include_pad=False)
    for _kind in (getattr(nn, f"Global{name}Pool{_ndim}D") for name in ("Max", "Avg")):
        case(_kind, _last, pooling, layout=_layout)


# -- normalization, in training


def normalized(x: Array, axes: Any, epsilon: float) -> Array:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def affine(layer: Any, y: Array, axis: int) -> Array:
    own = values(layer)
    shape = [1] * y.ndim
    shape[axis] = -1
    return y * own["gamma"].reshape(shape) + own["beta"].reshape(shape)


def batch_norm(layer: Any, x: Array, o: dict[str, Any]) -> Array:
    axis = o.get("axis", 1) % x.ndim
    axes = tuple(i for i in range(x.ndim) if i != axis)
    shape = [1] * x.ndim
    shape[axis] = -1
    if o.get("use_global_stats"):
        mean, var = (values(layer)[f"running_{n}"].reshape(shape) for n in ("mean", "var"))
        return affine(layer, (x - mean) / np.sqrt(var + o.get("epsilon", 1e-5)), axis)
    keeps = o.get("momentum", 0.9)
    start = 3 if "running_mean_initializer" in o else 0
    np.testing.assert_allclose(
        values(layer)["running_mean"], keeps * start + (1 - keeps) * x.mean(axes), rtol=1e-5
    )
    return affine(layer, normalized(x, axes, o.get("epsilon", 1e-5)), axis)


_HALF, _THREE = mx.init.Constant(0.5), mx.init.Constant(3)
_BEGIN = {"beta_initializer": _HALF, "gamma_initializer": _THREE}
case(nn.BatchNorm, (4, 3, 2), batch_norm, axis=-1, momentum=0.5, epsilon=0.1, **_BEGIN)
case(
    nn.BatchNorm,
    (4, 3),
    batch_norm,
    use_global_stats=True,
    running_mean_initializer=_THREE,
    running_variance_initializer=_HALF,
    in_channels=3,
)
case(nn.BatchNorm, (4, 3), batch_norm, running_mean_initializer=_THREE)
case(nn.BatchNorm, (4, 3), batch_norm, center=False, scale=False)


def batch_norm_relu(layer: Any, x: Array, o: dict[str, Any]) -> Array:
    return np.maximum(batch_norm(layer, x, o), 0)


for _kind, _formula in ((nn.BatchNormReLU, batch_norm_relu), (contrib.SyncBatchNorm, batch_norm)):
    _axis = {"axis": -1} if _kind is nn.BatchNormReLU else {"num_devices": 1}
    case(_kind, (4, 3, 3), _formula, momentum=0.5, epsilon=0.1, **_axis, **_BEGIN)
    case(
        _kind,
        (4, 3),
        _formula,
        use_global_stats=True,
        running_mean_initializer=_THREE,
        running_variance_initializer=_HALF,
        in_channels=3,
    )
    case(_kind, (4, 3), _formula, center=False, scale=False)


def layer_norm(layer: Any, x: Array, o: dict[str, Any]) -> Array:
    axis = o.get("axis", -1)
    return affine(layer, normalized(x, axis, o.get("epsilon", 1e-5)), axis)


case(nn.LayerNorm, (2, 3, 4), layer_norm, axis=1, epsilon=0.1, in_channels=3, **_BEGIN)
case(nn.LayerNorm, (2, 3, 4), layer_norm, center=False, scale=False)


def instance_norm(layer: Any, x: Array, o: dict[str, Any]) -> Array:
    axis = o.get("axis", 1)
    axes = tuple(i for i in range(1, x.ndim) if i != axis % x.ndim)
    return affine(layer, normalized(x, axes, o.get("epsilon", 1e-5)), axis)


case(nn.InstanceNorm, (2, 3, 4), instance_norm, axis=2, epsilon=0.1, in_channels=4, **_BEGIN)
case(nn.InstanceNorm, (2, 3, 4), instance_norm, center=False, scale=True)


def group_norm(layer: Any, x: Array, o: dict[str, Any]) -> Array:
    grouped = x.reshape(len(x), o.get("num_groups", 1), -1)
    return affine(layer, normalized(grouped, 2, o.get("epsilon", 1e-5)), 1).reshape(x.shape)


case(nn.GroupNorm, (2, 4, 3), group_norm, num_groups=2, epsilon=0.1, in_channels=4, **_BEGIN)
case(nn.GroupNorm, (2, 4, 3), group_norm, center=False, scale=False)


# -- borders and channels


def reflected(layer: Any, x: Array, o: dict[str, Any]) -> Array:
    return np.pad(x, [(0, 0), (0, 0), (2, 2), (2, 2)], mode="reflect")


def shuffled(layer: Any, x: Array, o: dict[str, Any]) -> Array:
    factors = tuples(o["factor"], x.ndim - 2)
    axes = range(len(factors))
    split = x.reshape(len(x), -1, *factors, *x.shape[2:])
    turned = split.transpose(0, 1, *(a for i in axes for a in (2 + len(factors) + i, 2 + i)))
    extents = [e * f for e, f in zip(x.shape[2:], factors, strict=True)]
    return turned.reshape(len(x), -1, *extents)


case(nn.ReflectionPad2D, (2, 3, 4, 5), reflected, padding=2)
case(contrib.PixelShuffle1D, (2, 6, 4), shuffled, factor=3)
case(contrib.PixelShuffle2D, (2, 12, 2, 3), shuffled, factor=(2, 3))
case(contrib.PixelShuffle3D, (1, 16, 2, 1, 3), shuffled, factor=2)

# -- activations and the rest

case(nn.Activation, (2, 3), lambda layer, x, o: np.tanh(x), activation="tanh")
case(nn.LeakyReLU, (2, 3), lambda layer, x, o: np.where(x > 0, x, 0.3 * x), alpha=0.3)
case(
    nn.PReLU,
    (2, 3),
    lambda layer, x, o: np.where(x > 0, x, values(layer)["alpha"] * x),
    alpha_initializer=_HALF,
    in_channels=3,
)
case(nn.ELU, (2, 3), lambda layer, x, o: np.where(x > 0, x, 2 * np.expm1(x)), alpha=2.0)
case(nn.Swish, (2, 3), lambda layer, x, o: x / (1 + np.exp(-2 * x)), beta=2.0)
case(nn.HybridLambda, (2, 3), lambda layer, x, o: np.exp(x), function="exp")
case(nn.Lambda, (2, 3), lambda layer, x, o: np.exp(x), function="exp")


@pytest.mark.parametrize("number", range(len(CASES)))
def test_the_formula(number: int) -> None:
    kind, options, shape, formula = CASES[number]
    layer = kind(**options)
    layer.initialize()
    x = RANDOM.randn(*shape)
    dtype = options.get("dtype", "float32")
    with autograd.record():  # the mode of training
        y = layer(nd.array(x, dtype=dtype))
    expected = formula(layer, x, options)
    assert y.shape == expected.shape and y.dtype == np.dtype(dtype)
    np.testing.assert_allclose(y.asnumpy(), expected, rtol=2e-4, atol=2e-5)


def test_initializers_center_and_scale() -> None:
    for kind in (nn.BatchNorm, nn.LayerNorm, nn.InstanceNorm, nn.GroupNorm):
        for center, scale in ((True, False), (False, True)):
            layer = kind(center=center, scale=scale, in_channels=2)
            assert (layer.beta.grad_req == "write") is center
            assert (layer.gamma.grad_req == "write") is scale
    layer = nn.Dense(2, in_units=2, bias_initializer="ones", weight_initializer=_HALF)
    layer.initialize()
    assert values(layer)["bias"].tolist() == [1, 1] and (values(layer)["weight"] == 0.5).all()


def test_dropout() -> None:
    x = nd.ones((200, 4, 3))
    with autograd.record():
        y = nn.Dropout(0.25, axes=(1,))(x).asnumpy()
    assert (y == y[:, :1]).all()  # one decision along the axis
    assert set(np.unique(y.round(4))) == {0, np.float32(1 / 0.75).round(4)}
    assert abs((y == 0).mean() - 0.25) < 0.05


def test_embedding() -> None:
    for kind in (nn.Embedding, contrib.SparseEmbedding):
        layer = kind(4, 3, dtype="float64", weight_initializer=mx.init.Normal(1))
        layer.initialize()
        y = layer(nd.array([3, 0]))
        assert y.dtype == np.float64
        assert np.array_equal(y.asnumpy(), layer.weight.data().asnumpy()[[3, 0]])
    for sparse_grad in (False, True):  # see test_sparse_gradients.py
        stored = nn.Embedding(4, 3, sparse_grad=sparse_grad).weight.grad_stype
        assert stored == ("row_sparse" if sparse_grad else "default")


@pytest.mark.parametrize("split", ["columns", "rows"])
def test_split_dense(split: str) -> None:
    """Of one rank; of several in `tests/distributed`."""
    x = RANDOM.standard_normal((2, 4))
    for bias in (True, False):
        layer = contrib.SplitDense(
            units=3,
            in_units=4,
            split=split,
            use_bias=bias,
            dtype="float64",
            weight_initializer=mx.init.Normal(1),
            bias_initializer=mx.init.Constant(2),
        )
        layer.initialize()
        y = layer(nd.array(x, dtype="float64"))
        expected = x @ layer.weight.data().asnumpy().T + 2 * bias
        np.testing.assert_allclose(y.asnumpy(), expected, rtol=1e-12)
    with pytest.raises(mx.TigonError, match=r"expected \(batch, 4\); given \(2, 5\)"):
        layer(nd.ones((2, 5)))


ELSEWHERE = {"prefix", "params"}  # test_parameters.py
HERE = {
    nn.Dropout: {"rate", "axes"},
    nn.Concurrent: {"axis"},  # test_everyday_layers.py
    nn.HybridConcurrent: {"axis"},
    contrib.SparseEmbedding: {"input_dim", "output_dim", "dtype", "weight_initializer"},
    nn.Embedding: {"input_dim", "output_dim", "dtype", "weight_initializer", "sparse_grad"},
    contrib.SplitDense: {  # test_split_dense
        *("units", "in_units", "split", "use_bias"),
        *("dtype", "weight_initializer", "bias_initializer"),
    },
}
LAYERS = {
    getattr(nn, name)
    for name in nn.__all__
    if name not in ("Block", "HybridBlock", "SymbolBlock", "Sequential", "HybridSequential")
} | {getattr(contrib, name) for name in contrib.__all__}


@pytest.mark.parametrize("kind", sorted(LAYERS, key=lambda kind: kind.__name__))
def test_no_option_is_left_at_its_default(kind: type) -> None:
    given = set(HERE.get(kind, ()))
    for other, options, _, _ in CASES:
        given |= options.keys() if other is kind else set()
    for name, parameter in inspect.signature(kind).parameters.items():
        assert name in given | ELSEWHERE, f"no case gives {name}"
        for other, options, _, _ in CASES:
            if other is kind and name in options:
                assert options[name] != parameter.default or name in (
                    "use_bias",
                    "scale",
                    "center",
                    "num_devices",
                )
