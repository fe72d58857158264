"""NDArray: creation, conversion, indexing and assignment, as MXNet programs know them."""

import copy
import pickle

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, nd
from tigon.program import operators

A = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_default_dtypes():
    assert nd.array([1, 2]).dtype is np.float32
    assert nd.array(np.array([1, 2], np.int64)).dtype is np.float32
    assert nd.array(nd.array([1], dtype="int32")).dtype is np.int32
    assert nd.array([1], dtype="float64").dtype is np.float64
    assert nd.arange(3).dtype is np.float32
    assert nd.from_numpy(np.arange(3)).dtype is np.int64
    assert nd.array([True, False], dtype="bool").dtype is np.bool_


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8", "bool"])
def test_creation_in_every_dtype(dtype):
    assert nd.zeros((2, 2), dtype=dtype).asnumpy().dtype == dtype
    assert nd.ones(3, dtype=dtype).asnumpy().tolist() == np.ones(3, dtype).tolist()
    assert nd.full((2,), 1, dtype=dtype).asnumpy().tolist() == np.full(2, 1, dtype).tolist()
    assert nd.empty((0, 3), dtype=dtype).shape == (0, 3)


def test_repr_is_mxnets():
    assert repr(nd.array([[1, 2], [3, 4]])) == "\n[[1. 2.]\n [3. 4.]]\n<NDArray 2x2 @cpu(0)>"
    assert repr(nd.ones(3, dtype="int32")) == "\n[1 1 1]\n<NDArray 3 @cpu(0)>"
    assert str(nd.zeros((0,))) == "\n[]\n<NDArray 0 @cpu(0)>"


def test_conversions_to_python():
    one = nd.array([2.5])
    assert float(one) == 2.5
    assert int(one) == 2
    assert bool(one)
    assert one.asscalar() == np.float32(2.5)
    assert f"{one:.1f}" == "2.5"
    assert [10, 20, 30][nd.array([1], dtype="int64")] == 20
    assert len(nd.zeros((3, 2))) == 3
    assert [row.shape for row in nd.zeros((2, 5))] == [(5,), (5,)]
    assert np.asarray(nd.ones(2)).tolist() == [1.0, 1.0]
    assert np.array(nd.ones(2), dtype=np.int32).dtype == np.int32
    assert 3.0 in nd.array([1, 3])
    with pytest.raises(mx.TigonError, match="asscalar: expected an array of one element"):
        nd.ones(2).asscalar()
    with pytest.raises(mx.TigonError, match="ambiguous"):
        bool(nd.ones(2))
    with pytest.raises(TypeError):
        float(nd.ones(2))
    with pytest.raises(TypeError):
        [1][nd.array([0])]


def test_copies_and_pickles():
    x = nd.array([[1, 2]])
    for y in (x.copy(), copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert y.asnumpy().tolist() == [[1, 2]]
        assert y.storage_id != x.storage_id
    target = nd.zeros((1, 2), dtype="int32")
    assert x.copyto(target) is target
    assert target.asnumpy().tolist() == [[1, 2]]
    assert x.as_in_context(mx.cpu()) is x
    assert x.context == mx.cpu()
    assert x.astype("float32", copy=False) is x
    assert x.astype("float32") is not x


@pytest.mark.parametrize(
    "key",
    [
        1,
        -1,
        (1, 2),
        (1, 2, 3),
        slice(0, 1),
        slice(None, None, -1),
        (slice(None), 1),
        (slice(None), slice(1, 3)),
        (..., 2),
        (..., slice(None, None, 2)),
        (0, ...),
        None,
        (slice(None), None, 1),
        (slice(5, 9),),
        [0, 1, 1],
        (slice(None), [0, 2]),
        ([0, 1], [2, 0]),
        ([0, 1], slice(None), [3, 1]),
        (slice(None), [0, 2], [1, 1]),
        (0, [1, 2]),
        ([[0, 1], [1, 0]],),
        (slice(None), np.array([True, False, True])),
        (slice(0, 1), [2, -1]),
    ],
    ids=repr,
)
def test_reading_like_numpy(key):
    expected = A[key]
    got = nd.array(A)[key]
    assert got.shape == (expected.shape or (1,))
    assert np.array_equal(got.asnumpy().reshape(expected.shape), expected)


def test_index_arrays():
    x = nd.array(A)
    assert np.array_equal(x[nd.array([1, 0, -1])].asnumpy(), A[[1, 0, -1]])
    picked = x[nd.array([0, 1], dtype="int32"), nd.array([2, 0])]
    assert np.array_equal(picked.asnumpy(), A[[0, 1], [2, 0]])
    mask = x > 11
    assert np.array_equal(x[mask.astype("bool")].asnumpy(), A[A > 11])


@pytest.mark.parametrize("key", [2, (0, 3), (0, 0, 0, 0), [0, 5], (slice(None), [7])], ids=repr)
def test_indices_out_of_range(key):
    with pytest.raises(IndexError):
        nd.array(A)[key]


WRITES = [
    (slice(None), 7),
    (1, 5),
    (1, np.ones((3, 4))),
    ((slice(None), 1), np.arange(4.0)),
    ((slice(None), slice(None), 2), 9),
    ((slice(None), slice(None, None, 2)), np.arange(16.0).reshape(2, 2, 4)),
    ((..., slice(None, None, -1)), np.arange(4.0)),
    ((0, 1, 2), 3),
    (slice(1, 1), 3),
    ([1, 0], 4),
    ((slice(None), [0, 2]), np.arange(16.0).reshape(2, 2, 4)),
    (([0, 1], [2, 0]), np.arange(8.0).reshape(2, 4)),
    ((slice(None), [1, 1]), np.arange(16.0).reshape(2, 2, 4)),
    (([0, 1], slice(None), [3, 1]), np.arange(6.0).reshape(2, 3)),
    ((slice(None), slice(1, 3), [0, 3]), np.arange(2.0)),
    ((slice(None), None, 0), 2),
]


@pytest.mark.parametrize(("key", "value"), WRITES, ids=lambda part: repr(part)[:40])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_writing_like_numpy(key, value, dtype):
    expected = A.astype(dtype)
    x = nd.array(expected, dtype=dtype)
    same = x
    expected[key] = value
    x[key] = nd.array(value) if isinstance(value, np.ndarray) else value
    assert x is same
    assert np.array_equal(x.asnumpy(), expected)


def test_writing_what_does_not_fit():
    x = nd.zeros((2, 3))
    with pytest.raises(mx.TigonError, match=r"a value of shape \(2,\) does not fit"):
        x[1] = nd.ones(2)
    assert not x.asnumpy().any()


def test_masks():
    x = nd.array(A)
    x[(x > 11).astype("bool")] = -1
    assert np.array_equal(x.asnumpy(), np.where(A > 11, -1, A))


def test_contiguous_slices_share_memory():
    x = nd.zeros((3, 4))
    x[1][:] = 5
    x[2][1:3] += 1
    x.reshape((4, 3))[0] = 9
    expected = np.zeros((3, 4))
    expected[1], expected[2, 1:3] = 5, 1
    expected.reshape(4, 3)[0] = 9
    assert np.array_equal(x.asnumpy(), expected)
    assert x[1].storage_id == x.storage_id
    assert x[:, 1].storage_id != x.storage_id


def test_in_place_operators_keep_identity():
    x = nd.ones(4)
    y = x
    x += 2
    x *= nd.array([1, 2, 3, 4])
    x -= 1
    x /= 2
    assert x is y
    assert y.asnumpy().tolist() == [1.0, 2.5, 4.0, 5.5]


def test_scalars_are_truncated_to_the_arrays_dtype():
    x = nd.array([3, 5], dtype="int32")
    assert (x * 1.5).asnumpy().tolist() == [3, 5]
    assert (x / 2).asnumpy().tolist() == [1, 2]
    assert (2.9 - x).asnumpy().tolist() == [-1, -3]
    assert (x // 2).asnumpy().tolist() == [1, 2]


def test_numpy_numbers_beside_arrays():
    x = nd.ones(2)
    assert (np.float64(2) * x).dtype is np.float32
    assert (x + np.int64(1)).asnumpy().tolist() == [2, 2]


def test_comparisons_keep_the_dtype():
    x = nd.array([1, 2, 3])
    assert (x > 2).dtype is np.float32
    assert (x == x).asnumpy().tolist() == [1, 1, 1]
    assert (x.astype("int64") != 2).dtype is np.int64


def test_shapes_of_reductions():
    x = nd.ones((2, 3))
    assert x.sum().shape == (1,)
    assert x.sum(axis=0).shape == (3,)
    assert x.sum(axis=0, keepdims=True).shape == (1, 3)
    assert x.sum(axis=0, exclude=True).shape == (2,)
    assert x[0, 0].shape == (1,)
    assert nd.array(3).shape == ()


@pytest.mark.parametrize(
    ("arguments", "keywords", "shape"),
    [
        ((4, 6), {}, (4, 6)),
        (((4, 6),), {}, (4, 6)),
        ((-1,), {}, (24,)),
        ((0, -1), {}, (2, 12)),
        ((-2,), {}, (2, 3, 4)),
        ((0, -3), {}, (2, 12)),
        ((-4, 1, 2, -2), {}, (1, 2, 3, 4)),
        ((), {"shape": (3, -1)}, (3, 8)),
        ((-1, 0), {"reverse": True}, (6, 4)),
    ],
)
def test_reshape_codes(arguments, keywords, shape):
    assert nd.zeros((2, 3, 4)).reshape(*arguments, **keywords).shape == shape


def test_out():
    x = nd.array([1, 2])
    target = nd.zeros(2)
    result = nd.broadcast_add(x, x, out=target)
    assert result.storage_id == target.storage_id
    assert target.asnumpy().tolist() == [2, 4]
    nd.sqrt(target, out=target)
    assert np.allclose(target.asnumpy(), np.sqrt([2, 4]))


def test_operands_and_attributes_by_position_and_name():
    x, w, b = nd.ones((2, 3)), nd.ones((4, 3)), nd.zeros(4)
    expected = np.full((2, 4), 3.0)
    for y in (
        nd.FullyConnected(x, w, b, 4),
        nd.FullyConnected(x, w, b, num_hidden=4),
        nd.FullyConnected(data=x, weight=w, bias=b, num_hidden=4),
        nd.FullyConnected(x, weight=w, num_hidden=4, no_bias=True),
    ):
        assert np.array_equal(y.asnumpy(), expected)
    assert nd.clip(x, 2, 3).asnumpy().max() == 2
    assert nd.sum(x, 1).shape == (2,)
    assert nd.concat(x, x, dim=1).shape == nd.Concat(*[x, x], dim=1, num_args=2).shape == (2, 6)
    assert nd.stack(x, x, axis=1).shape == (2, 2, 3)
    first, second, third = nd.split(x, num_outputs=3, axis=1)
    assert first.shape == second.shape == third.shape == (2, 1)


def test_numbers_on_either_side():
    x = nd.array([1, 4])
    assert nd.maximum(x, 2).asnumpy().tolist() == [2, 4]
    assert nd.maximum(2, x).asnumpy().tolist() == [2, 4]
    assert nd.maximum(2, 3) == 3
    assert nd.power(2, x).asnumpy().tolist() == [2, 16]
    assert nd.subtract(5, x).asnumpy().tolist() == [4, 1]
    assert nd.where(x > 2, x, 0).asnumpy().tolist() == [0, 4]


def test_random_numbers_repeat_with_the_seed():
    def draw():
        mx.random.seed(42)
        return [
            nd.random.uniform(-1, 1, shape=(3,)).asnumpy(),
            nd.random.normal(0, 2, shape=(2, 2)).asnumpy(),
            nd.random.randint(0, 10, shape=5).asnumpy(),
            nd.random.randn(2, 3).asnumpy(),
        ]

    first, second = draw(), draw()
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(
        nd.random.uniform(shape=3).asnumpy(), nd.random.uniform(shape=3).asnumpy()
    )
    per_element = nd.random.uniform(nd.array([0, 10]), nd.array([1, 11])).asnumpy()
    assert 0 <= per_element[0] < 1 and 10 <= per_element[1] < 11


def test_states_are_updated_in_place():
    weight, momentum = nd.ones(2), nd.zeros(2)
    nd.sgd_mom_update(weight, nd.ones(2), momentum, lr=0.1, momentum=0.9, out=weight)
    assert np.allclose(weight.asnumpy(), 0.9)
    assert np.allclose(momentum.asnumpy(), -0.1)


def test_running_statistics_advance_in_training():
    x = nd.array(np.random.default_rng(0).normal(size=(16, 3)))
    gamma, beta, mean, variance = nd.ones(3), nd.zeros(3), nd.zeros(3), nd.ones(3)
    nd.BatchNorm(x, gamma, beta, mean, variance)
    assert not mean.asnumpy().any()
    with autograd.record():
        nd.BatchNorm(x, gamma, beta, mean, variance)
    assert np.allclose(mean.asnumpy(), x.asnumpy().mean(0) * 0.1, atol=1e-6)


def test_dlpack_shares_memory():
    x = nd.ones(4)
    view = np.from_dlpack(x)
    x += 1
    x.wait_to_read()
    assert view.tolist() == [2, 2, 2, 2]
    y = nd.from_dlpack(np.arange(3.0))
    assert y.asnumpy().tolist() == [0, 1, 2]
    view[0] = 7  # the versioned capsule says that it may be written
    assert x.asnumpy().tolist() == [7, 2, 2, 2]


def test_dlpack_of_memory_that_is_only_read():
    source = np.arange(3.0)
    source.flags.writeable = False
    x = nd.from_dlpack(source)
    x += 1
    assert x.asnumpy().tolist() == [1, 2, 3] and source.tolist() == [0, 1, 2]


def test_dlpack_versions_and_copies():
    class Old:
        def __dlpack__(self):
            return nd.ones(2).__dlpack__()

    class New:
        def __dlpack__(self, *, max_version):
            return nd.ones(2).__dlpack__(max_version=max_version)

    x = nd.ones(2)
    assert '"dltensor"' in repr(x.__dlpack__())
    assert '"dltensor"' in repr(x.__dlpack__(max_version=(0, 8)))
    assert '"dltensor_versioned"' in repr(x.__dlpack__(max_version=(1, 1)))
    for source in (Old(), New(), x.__dlpack__(max_version=(1, 0)), x.__dlpack__()):
        assert nd.from_dlpack(source).asnumpy().tolist() == [1, 1]
    copied = np.from_dlpack(x, copy=True)
    copied[0] = 5
    assert x.asnumpy().tolist() == [1, 1]
    with pytest.raises(BufferError, match="expected dl_device"):
        x.__dlpack__(dl_device=(2, 0))
    with pytest.raises(TypeError, match="keyword argument"):
        x.__dlpack__(version=(1, 0))

    class Failing:
        def __dlpack__(self, **_):
            raise BufferError("not today")

    with pytest.raises(BufferError, match="not today"):
        nd.from_dlpack(Failing())


def test_sub_namespaces():
    x = nd.array([[2, 0], [0, 2]])
    assert nd.linalg.gemm2(x, x).asnumpy()[0, 0] == 4
    assert nd.op.relu(x).shape == (2, 2)
    assert nd.random.normal is mx.random.normal
    import tigon.nd.linalg

    assert tigon.nd.linalg is nd.linalg


def test_a_context_manager_chooses_the_device():
    with mx.cpu(1):
        assert mx.current_context() == mx.cpu(1)
    assert mx.current_context() == mx.cpu(0)
    assert mx.num_gpus() == 0


def test_a_schedule_of_rates_is_one_program():
    weight, momentum = nd.ones(3), nd.zeros(3)
    nd.sgd_mom_update(weight, nd.ones(3), momentum, lr=0.1, momentum=0.9, out=weight)
    before = mx.runtime.stats()["compilations"]
    for step in range(5):
        rate = 0.1 / (step + 2)
        nd.sgd_mom_update(weight, nd.ones(3), momentum, lr=rate, momentum=0.9, out=weight)
    assert mx.runtime.stats()["compilations"] == before
    expected, velocity = 1.0, 0.0
    for step in range(6):
        velocity = 0.9 * velocity - 0.1 / (step + 1)
        expected += velocity
    assert np.allclose(weight.asnumpy(), expected)


# ------------------------------------------------------- attributes equal and of another meaning


def is_negative(array):
    return bool(np.signbit(array.asnumpy()).all())


@pytest.mark.parametrize(
    "make",
    [
        lambda value: nd.full((2,), value),
        lambda value: nd.full([2], value),
        lambda value: nd.clip(nd.array([-1.0, -2.0]), value, 1.0),
        lambda value: nd.clip(nd.array([-1.0, -2.0]), a_min=value, a_max=1.0),
        lambda value: nd.op._mul_scalar(nd.ones(2), scalar=value),
        lambda value: nd.ones(2) * value,
    ],
    ids="full full_list clip clip_named scalar number".split(),
)
def test_zeros_of_both_signs(make):
    for _ in range(2):
        assert not is_negative(make(0.0))
        assert not is_negative(make(0))
        assert is_negative(make(-0.0))


def test_zeros_of_both_signs_are_written():
    for value in (0.0, -0.0, 0, np.float32(-0.0)):
        x = nd.ones((3, 2))
        x[:] = value
        assert is_negative(x) == bool(np.signbit(value))
        x[:, 1] = 1
        x[:, 1] = value
        assert is_negative(x[:, 1]) == bool(np.signbit(value))
    x = nd.ones(2, dtype="int32")
    x[:] = -0.0
    assert x.asnumpy().tolist() == [0, 0]


def test_attributes_that_keep_changing_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(operators, "ATTRIBUTES_KEPT", 8)
    x = nd.array([1, 2, 3])
    for step in range(100):
        assert nd.clip(x, float("nan"), 2.0).shape == (3,)
        assert nd.clip(x, 0.0, step / 100).asnumpy().max() == np.float32(step / 100)
        assert nd.full((1 + step,), float("nan")).shape == (1 + step,)
        assert (x * 2 + x).asnumpy().tolist() == [3, 6, 9]
        assert nd.maximum(x, 2).asnumpy().tolist() == [2, 2, 3]
    kept = len(operators._attributes) - len(operators._lasting)
    assert kept <= 2 * 8
    assert max(map(len, operators._caches)) <= 8
