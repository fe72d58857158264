"""Densities and their gradients: what MXNet 1.9.1 answers, and shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, nd

CASES: dict[str, tuple[Any, list[Any], list[Any]]] = {
    # sample, parameters; logarithms, slopes of the sample, slopes of the parameters
    "normal": (
        [[0.5, 3, -1]],
        [[0.5], [2]],
        [[[-1.6120857, -2.3933358, -1.8933357]], [[0, -0.625, 0.375]], [0.25], [-0.4375]],
    ),
    "gamma": (
        [[0.5, 3, 1]],
        [[1.5], [2]],
        [[[-0.18607058, -4.2901907, -0.83949697]], [[-1, -1.8333333, -1.5]], [2.3754368], [-2.25]],
    ),
    "exponential": (
        [[0.5, 3, 1]],
        [[1.5]],
        [[[-0.3445349, -4.0945349, -1.0945349]], [[-1.5, -1.5, -1.5]], [-2.5]],
    ),
    "poisson": (
        [[0, 3, 1]],
        [[1.5]],
        [[[-1.5, -2.0753641, -1.0945349]], [[0, 0, 0]], [-0.33333331]],
    ),
    "negative_binomial": (
        [[0, 3, 1]],
        [[2], [0.4]],
        [[[-1.8325814, -1.9787638, -1.6502599]], [[0, 0, 0]], [-1.1655387], [8.333334]],
    ),
    "generalized_negative_binomial": (
        [[0, 3, 1]],
        [[2], [0.4]],
        [[[-1.4694668, -2.0208857, -1.3641062]], [[0, 0, 0]], [-0.5555558], [0.0686179]],
    ),
    "uniform": (
        [[0.5, 1, 2]],
        [[0], [2]],
        [[[-0.69314718, -0.69314718, -0.69314718]], [[0, 0, 0]], [1.5], [-1.5]],
    ),
    "dirichlet": (
        [[[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]],
        [[[1, 2, 0.5]]],
        [
            [[-0.22879055, -1.5624046]],
            [[[0, 3.3333333, -1], [0, 10, -0.625]]],
            [[-0.5512781, -2.145813, 5.2170444]],
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_figures_of_mxnet(name: str) -> None:
    sample, parameters, expected = CASES[name]
    arrays = [nd.array(sample), *map(nd.array, parameters)]
    for array in arrays:
        array.attach_grad()
    function = getattr(nd, f"random_pdf_{name}")
    with autograd.record():
        logarithm = function(*arrays, is_log=True)
    logarithm.backward()
    found = [logarithm, *(array.grad for array in arrays)]
    for one, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.asnumpy(), wanted, rtol=1e-5, atol=3e-6)
    density = function(*arrays).asnumpy()
    np.testing.assert_allclose(density, np.exp(logarithm.asnumpy()), rtol=1e-6)


def test_a_uniform_density_ends_with_its_range() -> None:
    x, low, high = nd.array([[-1, 0, 2, 2.1]]), nd.array([0]), nd.array([2])
    assert nd.random_pdf_uniform(x, low, high).asnumpy().tolist() == [[0, 0.5, 0.5, 0]]
    assert nd.random_pdf_uniform(x, low, high, is_log=True).asnumpy()[0, 0] == -np.inf


def test_chances_of_nothing() -> None:
    zero, one = nd.zeros(1), nd.ones(1)
    assert nd.random_pdf_poisson(zero, zero).asscalar() == 1
    assert nd.random_pdf_negative_binomial(zero, one, one).asscalar() == 1


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2, 3), (2,), (3,)], r"expected parameters of one shape; given \[\(2,\), \(3,\)\]"),
        ([(3, 2), (2,), (2,)], r"sample: expected the axes of the parameters, \(2,\).*given \(3,"),
        ([(2,), (2, 3), (2, 3)], r"sample: expected the axes of the parameters, \(2, 3\)"),
    ],
)
def test_shapes_that_do_not_fit(shapes: Any, message: str) -> None:
    with pytest.raises(mx.TigonError, match=f"^random_pdf_normal: {message}"):
        nd.random_pdf_normal(*map(nd.ones, shapes))


def test_rates_of_lars() -> None:
    """What MXNet 1.9.1 answers."""
    found = nd.multi_lars(
        nd.array([0.1, 0.2, 0.3]),
        nd.array([4, 0, 9]),
        nd.array([1, 1, 0]),
        nd.array([0.01, 0.1, 0.2]),
        eta=0.001,
        eps=1e-6,
        rescale_grad=0.5,
    )
    np.testing.assert_allclose(found.asnumpy(), [0.00038461464, 0.2, 0.3], rtol=1e-6)
    with pytest.raises(mx.TigonError, match="multi_lars: expected a number for each weight"):
        nd.multi_lars(nd.ones(2), nd.ones(2), nd.ones(1), nd.ones(2), eta=1, eps=0)
