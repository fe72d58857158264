"""NDArray itself: memory, numpy, DLPack, identity."""

from __future__ import annotations

import gc
import resource
import weakref

import numpy as np
import pytest

from tests.native.conftest import FLOAT32, array
from tigon import _native

DTYPES = {
    "float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6,
    "bool": 7, "int16": 8, "uint16": 9, "uint32": 10, "uint64": 11,
}  # fmt: skip


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (5,), (2, 3, 4)])
def test_numpy_round_trip(name: str, shape: tuple[int, ...]) -> None:
    given = (np.arange(np.prod(shape, dtype=int)) % 2).reshape(shape).astype(name)
    held = _native.from_numpy(given)
    assert held.dtype_code == DTYPES[name]
    assert (held.shape, held.size, held.ndim) == (shape, given.size, given.ndim)
    assert held.nbytes == given.nbytes
    back = held.asnumpy()
    assert back.dtype == given.dtype and back.shape == shape
    np.testing.assert_array_equal(back, given)


def test_numpy_arrays_of_any_layout_are_copied() -> None:
    base = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    read_only = base.copy()
    read_only.flags.writeable = False
    for given in [
        base.T, base[:, ::2], base[::-1, :, ::-2, 1:], base.transpose(2, 0, 3, 1), read_only,
        np.broadcast_to(base[0, 0, 0], (7, 5)),
    ]:  # fmt: skip
        np.testing.assert_array_equal(_native.from_numpy(given).asnumpy(), given)
    large = np.arange(3_000_000, dtype=np.float32).reshape(1500, 2000)
    np.testing.assert_array_equal(_native.from_numpy(large).asnumpy(), large)
    np.testing.assert_array_equal(_native.from_numpy(large.T).asnumpy(), large.T)


@pytest.mark.parametrize(
    "given", [np.zeros(3, complex), np.zeros(3, ">f4"), np.array(["a"]), [1, 2], "text",
              np.array([None]), np.zeros(2, "datetime64[s]")]
)  # fmt: skip
def test_what_is_not_a_supported_array_is_refused(given: object) -> None:
    with pytest.raises(RuntimeError, match="from_numpy: expected"):
        _native.from_numpy(given)


def test_item_and_values() -> None:
    assert array([2.5]).item() == 2.5
    assert isinstance(array(7, "int32").item(), int)
    assert array(True, "bool").item() is True
    assert array(-0.333, "float16").item() == float(np.float16(-0.333))
    assert array(2**63 + 5, "uint64").item() == 2**63 + 5
    with pytest.raises(RuntimeError, match="item: expected an array of size 1"):
        array([1, 2]).item()


def test_views_share_storage_and_version() -> None:
    whole = array(np.arange(12).reshape(3, 4))
    row = whole.view(4, (2, 2))
    assert row.storage_id == whole.storage_id and row.storage_offset == 16
    row.copy_from_numpy(np.full((2, 2), 9, np.float32))
    assert whole.version == row.version == 1
    np.testing.assert_array_equal(whole.asnumpy().ravel()[4:8], 9)
    np.testing.assert_array_equal(whole.detach().asnumpy(), whole.asnumpy())
    for offset, shape in [(-1, (1,)), (12, (1,)), (0, (13,)), (2**62, (4,))]:
        with pytest.raises(RuntimeError, match="view: elements"):
            whole.view(offset, shape)
    assert whole.view(12, (0,)).size == 0


def test_swap_storage() -> None:
    a, b = array([1, 2]), array([3, 4])
    a.swap_storage(b)
    assert a.storage_id == b.storage_id
    with pytest.raises(RuntimeError, match="swap_storage: expected float32"):
        a.swap_storage(array([1, 2, 3]))


def test_copy_from_numpy_refuses_other_types() -> None:
    a = array([1, 2])
    for wrong in [np.zeros(3, np.float32), np.zeros(2, np.float64)]:
        with pytest.raises(RuntimeError, match="copy_from_numpy: expected float32"):
            a.copy_from_numpy(wrong)
    assert a.version == 0


def test_identity_hash_and_weak_references() -> None:
    a, b = array([1]), array([1])
    assert len({a, b}) == 2 and a in {a}
    assert a != None and not (a == None)  # noqa: E711
    watch = weakref.ref(a)
    assert watch() is a
    del a
    gc.collect()
    assert watch() is None


def test_sizes_that_overflow_are_refused() -> None:
    for shape in [(2**40, 2**40), (2**62,), (2**31, 2**31, 4)]:
        with pytest.raises(RuntimeError, match="overflows 64 bits"):
            _native.empty(shape, FLOAT32)
    assert _native.empty((2**40, 0, 2**40), FLOAT32).nbytes == 0
    with pytest.raises(RuntimeError, match="negative extent"):
        _native.empty((-1,), FLOAT32)
    with pytest.raises(RuntimeError, match="unknown dtype"):
        _native.empty((1,), 99)
    with pytest.raises(RuntimeError, match="at most 32 axes"):
        _native.empty((1,) * 33, FLOAT32)


def test_more_memory_than_there_is() -> None:
    before = _native.stats()["bytes_now"]
    with pytest.raises(MemoryError, match=f"{2**46 * 4} bytes wanted"):
        _native.empty((2**46,), FLOAT32)
    assert _native.stats()["bytes_now"] == before
    assert array([1, 2]).asnumpy().sum() == 3


def test_the_class_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError):
        _native.NDArray()


@pytest.mark.parametrize("name", DTYPES)
def test_dlpack_out(name: str) -> None:
    given = (np.arange(6) % 2).reshape(2, 3).astype(name)
    held = _native.from_numpy(given)
    shared = np.from_dlpack(held)
    np.testing.assert_array_equal(shared, given)
    held.copy_from_numpy(1 - given if name != "bool" else ~given)
    np.testing.assert_array_equal(shared, held.asnumpy())
    del held
    gc.collect()
    assert shared.sum() >= 0  # the memory is still there


def test_dlpack_in_shares_memory_and_gives_it_back() -> None:
    source = np.arange(6, dtype=np.float32).reshape(2, 3)
    watch = weakref.ref(source)
    held = _native.from_dlpack(source)
    source[0, 0] = 42
    assert held.asnumpy()[0, 0] == 42
    strided = _native.from_dlpack(source.T)
    np.testing.assert_array_equal(strided.asnumpy(), source.T)
    del source
    gc.collect()
    assert watch() is not None
    del held
    gc.collect()
    assert watch() is None
    round_trip = _native.from_dlpack(array([1, 2, 3]))
    assert round_trip.asnumpy().tolist() == [1, 2, 3]


def test_dlpack_refuses() -> None:
    with pytest.raises(RuntimeError, match="from_dlpack: expected an object with __dlpack__"):
        _native.from_dlpack([1])
    with pytest.raises(RuntimeError, match="element type"):
        _native.from_dlpack(np.zeros(2, complex))
    capsule = array([1]).__dlpack__()
    _native.from_dlpack(capsule)
    with pytest.raises(RuntimeError, match="used before"):
        _native.from_dlpack(capsule)


@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (300, 300), (1 << 20,)])
def test_zeros_are_zeros_in_fresh_and_in_used_memory(shape: tuple[int, ...]) -> None:
    for _ in range(3):
        array = _native.zeros(shape, 0)
        assert array.shape == shape and array.version == 1
        assert not array.asnumpy().any()
        array[...] = 5
        array.wait_to_read()
        del array  # the next one may take its memory


def test_zeros_that_nobody_touches_take_no_memory() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    before = resident()
    kept = [_native.zeros((1 << 24,), 0) for _ in range(4)]
    assert resident() - before < 64 << 20
    assert kept[3][5:7].asnumpy().tolist() == [0, 0]
