"""Random keys: reading, writing and differentiating like numpy."""

import random

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd


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


def key_of_arrays(rng, key):
    """The same key, some of its lists as arrays."""
    return tuple(
        nd.array(entry, dtype="int32") if isinstance(entry, list) and rng.random() < 0.5 else entry
        for entry in key
    )


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
        except (IndexError, DeprecationWarning):  # numpy up to 2.2 warns where nothing is read
            continue
        x = nd.array(a)
        key_of_numpy, key = key, key_of_arrays(rng, key)
        got = x[key]
        assert got.shape == (expected.shape or (1,)), (shape, key)
        assert np.array_equal(got.asnumpy().reshape(expected.shape), expected), (shape, key)
        x.attach_grad()
        with autograd.record():
            y = (x[key] * 2).sum()
        y.backward()
        gradient = np.zeros_like(a)
        np.add.at(gradient, key_of_numpy, 2)
        assert np.array_equal(x.grad.asnumpy(), gradient), (shape, key)
        value = values.normal(size=rng.choice([expected.shape, expected.shape[-1:]]))
        a[key_of_numpy] = value
        x = nd.array(x.asnumpy())
        x[key] = nd.array(value) if rng.random() < 0.7 else np.asarray(value, np.float32)
        assert np.array_equal(x.asnumpy(), a), (shape, key)
        a[key_of_numpy] += 1
        x[key] += 1
        assert np.array_equal(x.asnumpy(), a), (shape, key)


@pytest.mark.filterwarnings("ignore:.*gives way:RuntimeWarning")
@pytest.mark.parametrize("seed", range(4))
def test_random_keys_written_in_traced_code(seed):
    rng = random.Random(seed)
    values = np.random.default_rng(seed)
    for _ in range(10):
        shape = tuple(rng.choice([1, 2, 3, 4]) for _ in range(rng.randint(1, 3)))
        a = values.normal(size=shape).astype(np.float32)
        key = random_key(rng, shape)
        ours = key_of_arrays(rng, key)

        def write(x, ours=ours):
            y = x * 2
            y[ours] = 7
            y[ours] += 1
            return y

        expected = a * 2
        expected[key] = 7
        expected[key] += 1
        compiled = mx.jit(write)
        for _ in range(2):
            assert np.array_equal(compiled(nd.array(a)).asnumpy(), expected), (shape, key)


def test_an_ellipsis_of_no_axes_separates():
    a = np.arange(24.0, dtype=np.float32).reshape(4, 2, 3)
    key = (slice(0, 2), [0], ..., [1])
    assert nd.array(a)[key].shape == a[key].shape == (1, 2)


INDEX_DTYPES = ["int32", "int64", "uint8", "float32", "float64"]


def as_index(rng, array, shape):
    """An index array as a list, a numpy array or an NDArray."""
    form = rng.randrange(3)
    if form == 0:
        return array.tolist()
    if form == 1:
        return array
    dtypes = INDEX_DTYPES if array.size and array.min() < 0 else INDEX_DTYPES[2:]
    dtype = rng.choice([name for name in dtypes if name != "uint8" or array.min(initial=0) >= 0])
    if dtype.startswith("float") and array.ndim > 1:  # might look like a comparison
        dtype = "int64"
    return nd.array(array, dtype=dtype)


def key_with_arrays(rng, shape):
    """A key for numpy, the same one for NDArrays, and whether an index array is out of range."""
    index_shape = rng.choice([(2,), (3,), (2, 2), (1,)])
    ours, theirs = [], []
    for size in shape[: rng.randint(1, len(shape))]:
        if rng.random() < 0.3:
            ours.append(slice(rng.choice([None, 0, 1]), None, rng.choice([None, -1])))
            theirs.append(ours[-1])
            continue
        count = int(np.prod(index_shape))
        array = np.array([rng.randint(-size, max(size - 1, -size)) for _ in range(count)])
        if rng.random() < 0.25:
            array[rng.randrange(count)] = rng.choice([size, -size - 1, size + 100, -1000])
        array = array.reshape(index_shape)
        theirs.append(array)
        ours.append(as_index(rng, array, shape))
    return tuple(ours), tuple(theirs)


class Reading(gluon.HybridBlock):
    """Reads at a key, whose arrays are arguments."""

    def __init__(self, key):
        super().__init__()
        self.key = key

    def forward(self, x, *arrays):
        given = iter(arrays)
        return x[tuple(next(given) if isinstance(e, nd.NDArray) else e for e in self.key)] * 1


def outcome(read):
    try:
        return read().asnumpy()
    except mx.TigonIndexError as error:
        assert isinstance(error, IndexError) and "out of bounds" in str(error)
        return "out of bounds"


@pytest.mark.parametrize("seed", range(6))
def test_out_of_range_as_in_numpy(seed):
    """Reads, gradients, traced programs and writes agree about what is refused."""
    rng = random.Random(seed)
    refused = 0
    for _ in range(40):
        shape = tuple(rng.randint(1, 4) for _ in range(rng.randint(1, 3)))
        a = np.random.default_rng(rng.randrange(1000)).normal(size=shape).astype(np.float32)
        ours, theirs = key_with_arrays(rng, shape)
        what = (shape, ours)
        try:
            expected = a[theirs]
        except IndexError:
            expected = None
            refused += 1
        x = nd.array(a)
        x.attach_grad()

        def recorded(x=x, ours=ours):
            with autograd.record():
                y = x[ours] * 1
            y.backward()
            return y

        def written(x=x, ours=ours):
            x = x.copy()
            x[ours] = 7
            return x

        net = Reading(ours)
        net.hybridize()
        arrays = [entry for entry in ours if isinstance(entry, nd.NDArray)]
        reads = [lambda x=x, o=ours: x[o], recorded, lambda n=net, x=x, a=arrays: n(x, *a)]
        for read in reads:
            found = outcome(read)
            if expected is None:
                assert isinstance(found, str), what
            else:
                np.testing.assert_array_equal(found.reshape(expected.shape), expected, str(what))
        found = outcome(written)
        assert isinstance(found, str) == (expected is None), what
        np.testing.assert_array_equal(x.asnumpy(), a)
        if expected is not None:
            gradient, changed = np.zeros_like(a), a.copy()
            np.add.at(gradient, theirs, 1)
            changed[theirs] = 7
            np.testing.assert_array_equal(x.grad.asnumpy(), gradient, str(what))
            np.testing.assert_array_equal(found, changed, str(what))
    assert refused > 2


@pytest.mark.filterwarnings("ignore:.*gives way:RuntimeWarning")
@pytest.mark.parametrize("compiled", [False, True])
def test_single_elements_take_arrays_of_one_element(compiled):
    """What `x[0]` gives has shape (1,), so it can be put back."""

    def swap(x):
        y = x * 1
        y[0] += 1
        y[1, 2] = x[0, 0]
        y[1, ..., 0] = x.sum()
        y[0, 1] = nd.array([5]) if not compiled else x[1, 1]
        return y

    x = nd.array([[1, 2, 3], [4, 5, 6]])
    found = (mx.jit(swap) if compiled else swap)(x)
    assert found.asnumpy().tolist() == [[2, 5, 4], [21, 5, 1]]
    x[0, 0] = nd.array([9])
    x[1, 0] += nd.array([1])
    x[1, 1] = np.ones((1, 1))
    assert x.asnumpy().tolist() == [[9, 2, 3], [5, 1, 6]]
