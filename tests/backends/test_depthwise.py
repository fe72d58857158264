"""Convolutions that see each channel by itself: along channels, or along lines of the image."""

from __future__ import annotations

import numpy as np
import pytest

from tigon import autograd, nd

CASES = [  # images, channels, height, width, kernel, stride, pad, dilate
    (2, 16, 30, 30, (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 17, 26, 33, (3, 3), (1, 1), (0, 0), (1, 1)),
    (2, 16, 29, 25, (5, 3), (1, 1), (2, 1), (1, 1)),
    (1, 16, 28, 28, (7, 7), (1, 1), (3, 3), (1, 1)),
    (1, 20, 30, 40, (3, 3), (1, 1), (2, 2), (2, 2)),
    (2, 16, 3, 24, (1, 3), (1, 1), (0, 1), (1, 1)),
    (2, 32, 28, 28, (3, 3), (2, 2), (1, 1), (1, 1)),
    (2, 16, 27, 31, (3, 3), (2, 2), (1, 1), (1, 1)),
    (2, 24, 7, 7, (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 16, 30, 30, (5, 5), (3, 2), (2, 2), (1, 1)),
    (1, 16, 40, 40, (3, 3), (2, 1), (1, 1), (1, 1)),
]


def windows(x: np.ndarray, kernel, stride, pad, dilate) -> np.ndarray:
    """(images, channels, places down, places along, kernel down, kernel along), as a view."""
    bordered = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in pad)))
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilate, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(bordered, reach, (2, 3), writeable=True)
    return view[:, :, :: stride[0], :: stride[1], :: dilate[0], :: dilate[1]]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_of_the_definition(case) -> None:
    n, c, height, width, kernel, stride, pad, dilate = case
    random = np.random.default_rng(1)
    x = random.standard_normal((n, c, height, width)).astype("float32")
    w = random.standard_normal((c, 1, *kernel)).astype("float32")
    seen = windows(x.astype("float64"), kernel, stride, pad, dilate)
    expected = np.einsum("ncxyuv,cuv->ncxy", seen, w[:, 0])
    head = random.standard_normal(expected.shape).astype("float32")
    weight = np.einsum("ncxyuv,ncxy->cuv", seen, head)[:, None]
    data = np.zeros((n, c, height + 2 * pad[0], width + 2 * pad[1]))
    for u in range(kernel[0]):
        for v in range(kernel[1]):
            rows = slice(u * dilate[0], u * dilate[0] + head.shape[2] * stride[0], stride[0])
            columns = slice(v * dilate[1], v * dilate[1] + head.shape[3] * stride[1], stride[1])
            data[:, :, rows, columns][..., : head.shape[2], : head.shape[3]] += (
                head * w[:, 0, u, v][None, :, None, None]
            )
    data = data[:, :, pad[0] : pad[0] + height, pad[1] : pad[1] + width]

    given = [nd.array(x), nd.array(w)]
    for array in given:
        array.attach_grad()
    with autograd.record():
        y = nd.Convolution(
            *given,
            kernel=kernel,
            stride=stride,
            pad=pad,
            dilate=dilate,
            num_filter=c,
            num_group=c,
            no_bias=True,
        )
    y.backward(nd.array(head))
    np.testing.assert_allclose(y.asnumpy(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(given[0].grad.asnumpy(), data, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(given[1].grad.asnumpy(), weight, rtol=1e-4, atol=1e-4)


def test_short_sums_of_integers_have_loops() -> None:
    x, w = (
        nd.arange(2 * 40).reshape((1, 2, 1, 40)).astype("int32"),
        nd.ones((2, 1, 1, 3), dtype="int32"),
    )
    y = nd.Convolution(x, w, kernel=(1, 3), num_filter=2, num_group=2, no_bias=True)
    wanted = x.asnumpy()
    wanted = wanted[..., :-2] + wanted[..., 1:-1] + wanted[..., 2:]
    np.testing.assert_array_equal(y.asnumpy(), wanted)
