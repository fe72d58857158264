"""Values and gradients where formulas break: at 0, at infinity, at poles, where exp underflows.
float32 is compared with closed forms in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special as special

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.base import TigonError

MODES = ("imperative", "hybridized")


def differentiated(
    function: Callable[..., Any], *values: Any, mode: str = "imperative", dtype: str = "float32"
) -> list[np.ndarray]:
    """The result, and the gradient of its sum by each value."""
    arrays = [nd.array(value, dtype=dtype) for value in values]
    for array in arrays:
        array.attach_grad()
    if mode == "hybridized":
        function = mx.jit(function)
    with autograd.record():
        y = function(*arrays)
    y.backward()
    return [y.asnumpy(), *(array.grad.asnumpy() for array in arrays)]


def assert_close(found: np.ndarray, wanted: Any, tolerance: float = 3e-6) -> None:
    """In relation to each value, and to the smallest float32 there is."""
    wanted = np.asarray(wanted, np.float64)
    with np.errstate(invalid="ignore"):
        off = np.abs(found.astype(np.float64) - wanted) > tolerance * np.abs(wanted) + 3e-45
    off |= np.isnan(found) != np.isnan(wanted)
    infinite = np.isinf(found) | (np.abs(wanted) > 3.4e38)
    off &= ~(infinite & (np.sign(found) == np.sign(wanted)))
    assert not off.any(), list(zip(found[off], wanted[off], strict=True))[:5]


# ---------------------------------------------------------------------- where there is no slope

ZERO_GRADIENTS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "norm": (nd.norm, ([0, 0, 0],)),
    "norm of rows": (lambda x: nd.norm(x, axis=1), ([[0, 0], [0, 0]],)),
    "norm keeping axes": (lambda x: nd.norm(x, axis=(0, 1), keepdims=True), ([[0, 0], [0, 0]],)),
    "norm of absolute values": (lambda x: nd.norm(x, ord=1), ([0, 0],)),
    "norm in float64": (lambda x: nd.norm(x, out_dtype="float64"), ([0, 0],)),
    "x ** 0": (lambda x: x**0, ([0, 1, -2, np.inf],)),
    "x ** 0.0": (lambda x: x**0.0, ([0, 1],)),
    "power(x, zeros)": (lambda x: nd.power(x, nd.zeros((2,))), ([0, 3],)),
    "0 ** y": (lambda y: nd.power(nd.zeros((3,)), y), ([0, 1, 2],)),
    "0 ** 0": (nd.broadcast_power, ([0], [0])),
    "arctan2": (nd.arctan2, ([0, -0.0], [0, 0])),
    "hypot": (nd.broadcast_hypot, ([0], [0])),
    "abs": (nd.abs, ([0, -0.0],)),
    "smooth_l1": (nd.smooth_l1, ([0],)),
    "L2Normalization": (nd.L2Normalization, ([[1, 0, 0]],)),
    "prod with two zeros": (nd.prod, ([0, 0, 3],)),
    "masked log_softmax": (
        lambda x: nd.log_softmax(x)[:, 0] * 0,
        ([[1, -np.inf, 2]],),
    ),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ZERO_GRADIENTS)
def test_gradients_that_are_zero(name: str, mode: str) -> None:
    function, values = ZERO_GRADIENTS[name]
    for gradient in differentiated(function, *values, mode=mode)[1:]:
        if name == "L2Normalization":
            gradient = gradient[:, :1]  # along the vector itself
        np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_beside_them(mode: str) -> None:
    (_, norm) = differentiated(lambda x: nd.norm(x, axis=1), [[0, 0], [3, 4]], mode=mode)
    assert_close(norm, [[0, 0], [0.6, 0.8]])
    for size in (1e-37, 1e-30, 1e-20, 1e20, 1e30, 6e37):
        y, norm = differentiated(nd.norm, [3 * size, -4 * size], mode=mode)
        exact = np.array([3 * size, -4 * size], np.float32).astype(np.float64)
        length = np.hypot(*exact)
        assert_close(y, length)
        assert_close(norm, exact / length)
    for size in (1e-300, 1e-160, 1.0, 1e160, 3e307):
        pair = np.array([3 * size, -4 * size, size * 1e-3, 0])
        y, norm = differentiated(nd.norm, pair, mode=mode, dtype="float64")
        length = np.hypot(np.hypot(pair[0], pair[1]), pair[2])
        np.testing.assert_allclose(y, length, rtol=1e-15)
        np.testing.assert_allclose(norm, pair / length, rtol=1e-15)
    mixed = nd.array([1e-200, 1e200, 3.0, np.inf], dtype="float64")
    assert nd.norm(mixed[:3]).asscalar() == 1e200
    assert nd.norm(mixed).asscalar() == np.inf
    assert np.isnan(nd.norm(nd.array([1e200, np.nan], dtype="float64")).asscalar())
    for size in (1e-30, 1.0, 1e30):
        _, dy, dx = differentiated(nd.arctan2, [3 * size], [4 * size], mode=mode)
        assert_close(np.array([dy[0] * size, dx[0] * size]), [4 / 25, -3 / 25])
    _, dx, dy = differentiated(nd.broadcast_power, [2, 4, 5], [3, 0.5, 0], mode=mode)
    assert_close(dx, [12, 0.25, 0])
    assert_close(dy, [8 * np.log(2), 2 * np.log(4), np.log(5)])
    _, row = differentiated(lambda x: nd.softmax(x)[:, 0], [[1, -np.inf, 2]], mode=mode)
    p = 1 / (1 + np.e)
    assert_close(row, [[p * (1 - p), 0, -p * (1 - p)]], 1e-5)
    _, row = differentiated(lambda x: nd.prod(x), [0, 2, 3], mode=mode)
    assert_close(row, [6, 0, 0])
    _, a, b = differentiated(nd.broadcast_maximum, [1, 1], [1, 2], mode=mode)
    assert_close(a + b, [1, 1])
    choose = nd.array([1, 0])
    _, a, b = differentiated(
        lambda x, y: nd.where(choose, nd.sqrt(x), nd.log(y)), [4, -1], [-1, 2], mode=mode
    )
    assert_close(a, [0.25, np.nan])  # sqrt itself has none at -1
    assert_close(b, [np.nan, 0.5]) if np.isnan(b[0]) else assert_close(b, [0, 0.5])


def test_second_order_at_zero_is_a_number() -> None:
    for function in (
        nd.norm,
        lambda x: x**0,
        lambda x: nd.power(x, nd.zeros((3,))),
        lambda x: nd.broadcast_hypot(x, nd.zeros((3,))),
        lambda x: nd.arctan2(x, nd.zeros((3,))),
        lambda x: nd.power(nd.zeros((3,)), x),
    ):
        x = nd.zeros((3,))
        x.attach_grad()
        with autograd.record():
            (first,) = autograd.grad(function(x), [x], create_graph=True)
            total = first.sum()
        total.backward()
        assert np.isfinite(x.grad.asnumpy()).all()


# -------------------------------------------------------------------------- functions at extremes

TINY = [0, 1e-45, 1e-40, 1e-38, 1e-20, 1e-4, 0.5, 1, 5, 9, 10, 15, 17, 20, 40, 60, 80, 87]
HUGE = [88, 89, 90, 95, 100, 103, 104, 110, 150, 1e3, 1e5, 1e10, 1e19, 1e30, 3e38]
EXTREMES = np.array([*TINY, *HUGE], np.float32)
EXTREMES = np.concatenate([EXTREMES, -EXTREMES])


@pytest.mark.parametrize(
    "row", [[0, 2, 3], [0, 0, 3], [0, 5], [0, 0, 0], [2, 3, 4], [1e-10, 1e10]], ids=str
)
@pytest.mark.parametrize("mode", MODES)
def test_second_order_of_a_product_at_zeros(row: list[float], mode: str) -> None:
    x, weights = nd.array(row, dtype="float64"), np.arange(1.0, len(row) + 1)
    x.attach_grad()
    product = mx.jit(nd.prod) if mode == "hybridized" else nd.prod
    with autograd.record():
        (slopes,) = autograd.grad(product(x), x, create_graph=True)
        total = (slopes * nd.array(weights, dtype="float64")).sum()
    total.backward()
    places = range(len(row))
    without = [
        sum(weights[i] * np.prod(np.delete(row, [i, j])) for i in places if i != j) for j in places
    ]
    np.testing.assert_allclose(x.grad.asnumpy(), without, rtol=1e-12)


def mish(x: np.ndarray) -> tuple[Any, Any]:
    e = np.exp(np.clip(x, None, 40).astype(np.longdouble))
    n = e * (e + 2)
    t = np.where(x > 40, 1, n / (n + 2))
    slope = t + np.where(x > 40, 0, x * 4 * e * (1 + e) / (n + 2) ** 2)
    return x * t, slope


WIDE: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], tuple[Any, Any]]]] = {
    "mish": (nd.mish, mish),
    "softrelu": (
        lambda x: nd.Activation(x, act_type="softrelu"),
        lambda x: (np.logaddexp(0, x), special.expit(x)),
    ),
    "log_sigmoid": (nd.log_sigmoid, lambda x: (-np.logaddexp(0, -x), special.expit(-x))),
    "softsign": (nd.softsign, lambda x: (x / (1 + np.abs(x)), 1 / (1 + np.abs(x)) ** 2)),
    "relu": (nd.relu, lambda x: (np.maximum(x, 0), (x > 0) * 1.0)),
    "elu": (
        lambda x: nd.LeakyReLU(x, act_type="elu", slope=1.0),
        lambda x: (np.where(x > 0, x, np.expm1(np.minimum(x, 0))), np.exp(np.minimum(x, 0))),
    ),
    "smooth_l1": (
        nd.smooth_l1,
        lambda x: (np.where(abs(x) < 1, x * x / 2, abs(x) - 0.5), np.clip(x, -1, 1)),
    ),
    "gelu": (
        lambda x: nd.LeakyReLU(x, act_type="gelu"),
        lambda x: (
            np.where(x < -40, 0, x) * special.erfc(-x / np.sqrt(2)) / 2,
            special.erfc(-x / np.sqrt(2)) / 2 + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi),
        ),
    ),
    "arctan": (nd.arctan, lambda x: (np.arctan(x), 1 / (1 + x * x))),
    "arcsinh": (nd.arcsinh, lambda x: (np.arcsinh(x), 1 / np.sqrt(1 + x * x))),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", WIDE)
def test_over_all_magnitudes(name: str, mode: str) -> None:
    function, exact = WIDE[name]
    y, slope = differentiated(function, EXTREMES, mode=mode)
    with np.errstate(all="ignore"):
        value, derivative = exact(EXTREMES.astype(np.float64))
    assert_close(y, value)
    if name == "elu":  # y + 1, as precise as y
        np.testing.assert_allclose(slope, derivative, rtol=1e-6, atol=1e-7)
    else:
        assert_close(slope, derivative, 2e-5 if name == "mish" else 3e-6)


def test_infinities_of_activations() -> None:
    x = nd.array([np.inf, -np.inf])
    for function, wanted in {
        nd.relu: [np.inf, 0],
        nd.sigmoid: [1, 0],
        nd.tanh: [1, -1],
        nd.softsign: [1, -1],
        nd.mish: [np.inf, 0],
        lambda x: nd.LeakyReLU(x, act_type="gelu"): [np.inf, 0],
        nd.erf: [1, -1],
        nd.log_sigmoid: [0, -np.inf],
    }.items():
        np.testing.assert_array_equal(function(x).asnumpy(), wanted)


@pytest.mark.parametrize("mode", MODES)
def test_slopes_of_activations_at_infinity(mode: str) -> None:
    for dtype in ("float32", "float64"):
        for function, wanted in {
            nd.relu: [1, 0],
            nd.sigmoid: [0, 0],
            nd.tanh: [0, 0],
            nd.softsign: [0, 0],
            nd.mish: [1, 0],
            nd.erf: [0, 0],
            nd.log_sigmoid: [0, 1],
            nd.arctan: [0, 0],
            nd.arcsinh: [0, 0],
            lambda x: nd.Activation(x, act_type="softrelu"): [1, 0],
            lambda x: nd.LeakyReLU(x, act_type="gelu"): [1, 0],
            lambda x: nd.LeakyReLU(x, act_type="elu"): [1, 0],
            lambda x: nd.LeakyReLU(x, act_type="leaky", slope=0.5): [1, 0.5],
        }.items():
            _, slope = differentiated(function, [np.inf, -np.inf], mode=mode, dtype=dtype)
            np.testing.assert_array_equal(slope, wanted)


# ------------------------------------------------------------------------------ gamma and its kin


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_digamma_everywhere(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [
            rng.uniform(-30, 30, 3000),
            rng.uniform(-1e4, 0, 1000),
            10.0 ** rng.uniform(-35, 35, 500),
            -(10.0 ** rng.uniform(-35, 0, 500)),
            np.arange(-50, 0) + 2.0**-12,
            [1.4616321449683622, -0.5040830082644554, np.inf],
        ]
    ).astype(dtype)
    x = x[(x > 0) | (x != np.floor(x))]
    # By reflection, pi / tan(pi x) of what is left of the next whole number.
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        angle = np.pi * (wide - np.rint(wide)).astype(np.longdouble)
        below = special.digamma(1 - np.minimum(wide, 0)) - np.pi / np.tan(angle)
        wanted = np.where(wide < 0, below, special.digamma(wide))
    wanted = wanted.astype(np.float64)
    y, slope = differentiated(nd.digamma, x, dtype=dtype)
    eps = np.finfo(dtype).eps
    # Near its roots, between two poles each, the absolute error is bounded.
    finite = np.isfinite(wanted)
    off = np.abs(y[finite] - wanted[finite]) / (1 + abs(wanted[finite]))
    assert off.max() <= (4 if dtype == "float32" else 40) * eps
    assert np.array_equal(y[~finite], wanted[~finite])
    # The derivative by reflection, pi² / sin(pi x)² - psi'(1 - x).
    with np.errstate(all="ignore"):
        sine = np.sin(np.pi * (wide - np.rint(wide)))
        below = (np.pi / sine) ** 2 - special.polygamma(1, 1 - np.minimum(wide, 0))
        trigamma = np.where(wide < 0, below, special.polygamma(1, np.maximum(wide, 1e-300)))
    usable = np.abs(trigamma) < np.finfo(dtype).max
    tolerance = 1e-5 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(slope[usable], trigamma[usable], rtol=tolerance)
    _, slope = differentiated(nd.gammaln, x, dtype=dtype)
    np.testing.assert_allclose(slope, y, rtol=4 * eps, atol=4 * eps)
    poles = nd.digamma(nd.array([0, -1, -7, -1e20, -np.inf], dtype=dtype)).asnumpy()
    assert np.isnan(poles).all()


def test_gamma_and_its_slope() -> None:
    x = np.concatenate([np.linspace(-20.3, 33.7, 997), [1e-30, -1e-30, 170.5, -150.2, 300.5]])
    y, slope = differentiated(nd.gamma, x, dtype="float64")
    np.testing.assert_allclose(y, special.gamma(x), rtol=1e-13)
    with np.errstate(over="ignore"):
        wanted = special.gamma(x) * special.digamma(x)
    np.testing.assert_allclose(slope, wanted, rtol=1e-11)


# --------------------------------------------------------------------------------- random numbers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_over_any_range(dtype: str) -> None:
    most = float(np.finfo(dtype).max)
    one = float(np.nextafter(np.dtype(dtype).type(1), np.dtype(dtype).type(0)))
    for low, high in [(-most, most), (-3e38, 3e38), (0, most), (one, 1), (-5, 7), (2**30, 2**31)]:
        drawn = nd.random.uniform(low, high, shape=(20_000,), dtype=dtype).asnumpy()
        assert np.isfinite(drawn).all()
        assert (drawn >= low).all()
        assert (drawn < high).all()
        middle = low / 2 + high / 2
        if (low, high) != (one, 1):
            assert 0.48 < np.mean(drawn < middle) < 0.52
        rows = nd.random.uniform(
            nd.array([low], dtype=dtype), nd.array([high], dtype=dtype), shape=(1000,), dtype=dtype
        ).asnumpy()
        assert np.isfinite(rows).all()
        assert (rows >= low).all()
        assert (rows < high).all()


def test_numbers_that_the_dtype_does_not_hold_are_refused() -> None:
    for call in (
        lambda: nd.random.uniform(0, 1e39, shape=(2,)),
        lambda: nd.random.uniform(-np.inf, 0, shape=(2,)),
        lambda: nd.random.uniform(np.nan, 1, shape=(2,)),
        lambda: nd.random.normal(0, 1e39, shape=(2,)),
    ):
        with pytest.raises(TigonError, match="which float32 does not hold; give a finite number"):
            call()
    huge = nd.random.normal(0, 1e37, shape=(10_000,)).asnumpy()
    assert np.isfinite(huge).all()
    assert 0.9e37 < huge.astype(np.float64).std() < 1.1e37


# ------------------------------------------------------------------------------------------ losses

LOGITS = np.array(
    [0, -0.0, 1e-30, 1e-4, 0.5, 1, 5, 15, 20, 50, 88, 90, 104, 1e3, 1e10, 3e37], np.float32
)
LOGITS = np.concatenate([LOGITS, -LOGITS])


def loss_of(loss: Any, mode: str, pred: Any, *others: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values and gradients by the prediction, one sample each."""
    if mode == "hybridized":
        loss.hybridize()
    x = nd.array(pred).reshape((len(pred), -1))
    x.attach_grad()
    with autograd.record():
        y = loss(x, *(nd.array(other).reshape(x.shape) for other in others))
    y.backward()
    return y.asnumpy().ravel(), x.grad.asnumpy().ravel()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("label", [0.0, 1.0, 0.25])
def test_binary_cross_entropy_slopes_are_sigmoid_minus_label(label: float, mode: str) -> None:
    wide, labels = LOGITS.astype(np.float64), np.full(len(LOGITS), label)
    value = np.logaddexp(0, wide) - wide * label
    for loss in (
        gluon.loss.SigmoidBCELoss(),
        gluon.loss.LogisticLoss(label_format="binary"),
    ):
        y, slope = loss_of(loss, mode, LOGITS, labels)
        np.testing.assert_allclose(y, value, rtol=2e-6, atol=1e-7)
        np.testing.assert_allclose(slope, special.expit(wide) - label, rtol=1e-6, atol=1e-7)
    y, slope = loss_of(gluon.loss.LogisticLoss(), mode, LOGITS, 2 * labels - 1)
    np.testing.assert_allclose(slope, special.expit(wide) - label, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("label", [0.0, 1.0, 0.25])
def test_binary_cross_entropy_with_weights_of_positives(label: float, mode: str) -> None:
    pred = nd.array(LOGITS).reshape((-1, 1))
    pred.attach_grad()
    loss = gluon.loss.SigmoidBCELoss()
    if mode == "hybridized":
        loss.hybridize()
    with autograd.record():
        y = loss(pred, nd.full(pred.shape, label), None, nd.array([[3.0]]))
    y.backward()
    wide = LOGITS.astype(np.float64)
    weight = 1 + 2 * label
    wanted = 1 - label - weight * special.expit(-wide)
    np.testing.assert_allclose(pred.grad.asnumpy().ravel(), wanted, rtol=2e-6, atol=2e-7)


SLOPES: dict[str, tuple[Any, Callable[[np.ndarray], Any]]] = {
    "L1": (gluon.loss.L1Loss, lambda d: np.sign(d)),
    "L2": (gluon.loss.L2Loss, lambda d: d),
    "Huber": (gluon.loss.HuberLoss, lambda d: np.clip(d, -1, 1)),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SLOPES)
def test_regression_slopes(name: str, mode: str) -> None:
    loss, slope = SLOPES[name]
    at = LOGITS[np.abs(LOGITS) < 1e18]
    _, found = loss_of(loss(), mode, at, np.zeros(len(at)))
    assert_close(found, slope(at.astype(np.float64)))


@pytest.mark.parametrize("mode", MODES)
def test_other_losses_at_their_edges(mode: str) -> None:
    margin = np.array([0.0, 1.0, 1 - 1e-6, 1 + 1e-6, -50, 50], np.float32)
    one = np.ones(len(margin))
    _, slope = loss_of(gluon.loss.HingeLoss(), mode, margin, one)
    assert_close(slope, -1.0 * (margin < 1))
    _, slope = loss_of(gluon.loss.SquaredHingeLoss(), mode, margin, one)
    assert_close(slope, -2 * np.maximum(0, 1 - margin.astype(np.float64)), 1e-5)
    _, slope = loss_of(gluon.loss.PoissonNLLLoss(), mode, margin, one)
    assert_close(slope, (np.exp(margin.astype(np.float64)) - 1) / len(margin), 1e-5)
    zero = nd.zeros((2, 3))
    zero.attach_grad()
    loss = gluon.loss.CosineEmbeddingLoss()
    if mode == "hybridized":
        loss.hybridize()
    with autograd.record():
        y = loss(zero, nd.zeros((2, 3)), nd.array([1, -1]))
    y.backward()
    assert y.asnumpy().tolist() == [[1], [0]]
    assert not zero.grad.asnumpy().any()
    big, one_hot = nd.array([[1e4, -1e4, 0], [-np.inf, 5, 5]]), nd.array([1, 2])
    big.attach_grad()
    loss = gluon.loss.SoftmaxCELoss()
    if mode == "hybridized":
        loss.hybridize()
    with autograd.record():
        y = loss(big, one_hot)
    y.backward()
    np.testing.assert_allclose(y.asnumpy(), [2e4, np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(big.grad.asnumpy(), [[1, -1, 0], [0, 0.5, -0.5]], atol=1e-6)
