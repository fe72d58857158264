"""Random keys: reading, writing and differentiating like numpy."""

import random

import numpy as np
import pytest

from tigon import autograd, nd


def random_key(rng, shape):
    bounds = [None, -5, -2, -1, 0, 1, 2, 3, 5]
    index_shape = rng.choice([(2,), (3,), (2, 2), (1,)])
    entries = []
    for size in shape[: rng.randint(0, len(shape))]:
        kind = rng.random()
        if kind < 0.25 and size:
            entries.append(rng.randint(-size, size - 1))
        elif kind < 0.6:
            step = rng.choice([None, 1, 2, -1, -2, 3])
            entries.append(slice(rng.choice(bounds), rng.choice(bounds), step))
        elif kind < 0.8 and size:
            count = int(np.prod(index_shape))
            flat = [rng.randint(-size, size - 1) for _ in range(count)]
            entries.append(np.reshape(flat, index_shape).tolist())
        else:
            entries.append(slice(None))
    for extra in (None, Ellipsis):
        if rng.random() < 0.2:
            entries.insert(rng.randint(0, len(entries)), extra)
    return tuple(entries)


@pytest.mark.parametrize("seed", range(8))
def test_random_keys(seed):
    rng = random.Random(seed)
    values = np.random.default_rng(seed)
    for _ in range(60):
        shape = tuple(rng.choice([0, 1, 2, 3, 4, 4, 3, 2]) for _ in range(rng.randint(1, 4)))
        a = values.normal(size=shape).astype(np.float32)
        key = random_key(rng, shape)
        try:
            expected = a[key]
        except IndexError:
            continue
        x = nd.array(a)
        got = x[key]
        assert got.shape == (expected.shape or (1,)), (shape, key)
        assert np.array_equal(got.asnumpy().reshape(expected.shape), expected), (shape, key)
        x.attach_grad()
        with autograd.record():
            y = (x[key] * 2).sum()
        y.backward()
        gradient = np.zeros_like(a)
        np.add.at(gradient, key, 2)
        assert np.array_equal(x.grad.asnumpy(), gradient), (shape, key)
        value = values.normal(size=rng.choice([expected.shape, expected.shape[-1:]]))
        a[key] = value
        x = nd.array(x.asnumpy())
        x[key] = nd.array(value) if rng.random() < 0.7 else np.asarray(value, np.float32)
        assert np.array_equal(x.asnumpy(), a), (shape, key)


def test_an_ellipsis_of_no_axes_separates():
    a = np.arange(24.0, dtype=np.float32).reshape(4, 2, 3)
    key = (slice(0, 2), [0], ..., [1])
    assert nd.array(a)[key].shape == a[key].shape == (1, 2)
