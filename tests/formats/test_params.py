"""MXNet's .params, byte by byte, and safetensors."""

import itertools
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tigon as mx
from tigon import nd
from tigon.base.dtypes import ALL, DType, to_memory
from tigon.export import params, safetensors

DTYPES = ["float32", "float64", "int32", "int64", "uint8", "bool"]


def shape(*extents):
    return struct.pack(f"<i{len(extents)}q", len(extents), *extents)


def record(version, array, code):
    """An array as MXNet writes it, by hand."""
    head = {
        1: struct.pack("<I", 0xF993FAC8) + shape(*array.shape),
        2: struct.pack("<Ii", 0xF993FAC9, 0) + shape(*array.shape),
        3: struct.pack("<Ii", 0xF993FACA, 0) + shape(*array.shape),
        0: struct.pack(f"<I{array.ndim}I", array.ndim, *array.shape),
    }[version]
    return head + struct.pack("<iii", 1, 0, code) + array.tobytes()


def listing(records, names=()):
    parts = [struct.pack("<QQQ", 0x112, 0, len(records)), *records, struct.pack("<Q", len(names))]
    for name in names:
        parts.append(struct.pack("<Q", len(name)) + name)
    return b"".join(parts)


X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_reading_every_version(version):
    (array,) = nd.load_frombuffer(listing([record(version, X, 0)]))
    assert array.dtype is np.float32
    assert np.array_equal(array.asnumpy(), X)


def test_reading_names():
    content = listing([record(2, X, 0), record(2, X[0], 0)], [b"arg:w", "aux:\u03b2".encode()])
    found = nd.load_frombuffer(content)
    assert list(found) == ["arg:w", "aux:\u03b2"]
    assert found["aux:\u03b2"].shape == (3,)


def test_reading_a_device_that_is_not_here():
    content = listing(
        [struct.pack("<Ii", 0xF993FAC9, 0) + shape(1) + struct.pack("<iii", 2, 3, 4) + b"\1\0\0\0"]
    )
    assert nd.load_frombuffer(content)[0].asnumpy().tolist() == [1]


def test_reading_empty_and_scalar_arrays():
    none = struct.pack("<Ii", 0xF993FAC9, 0) + shape()
    unknown = struct.pack("<Iii", 0xF993FACA, 0, -1)
    scalar = struct.pack("<Ii", 0xF993FACA, 0) + shape() + struct.pack("<iiif", 1, 0, 0, 2.5)
    empty, missing, number = nd.load_frombuffer(listing([none, unknown, scalar]))
    assert empty.shape == missing.shape == (0,)
    assert number.shape == () and number.asscalar() == 2.5


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_every_dtype_has_its_number(dtype: DType) -> None:
    values = np.array([1, 0 if dtype.kind in "bu" else -2], dtype.numpy)
    content = listing([record(2, to_memory(values, dtype), dtype.code)])
    (array,) = nd.load_frombuffer(content)
    assert array.dtype_code == dtype.code
    assert array.astype("float64").asnumpy().tolist() == values.tolist()
    assert params.write([array.bits_to_numpy()]) == content


def test_bytes_written_are_mxnets(tmp_path):
    nd.save(str(tmp_path / "x"), {"w": nd.array(X)})
    assert (tmp_path / "x").read_bytes() == listing([record(2, X, 0)], [b"w"])
    nd.save(str(tmp_path / "y"), [nd.array(X)])
    assert (tmp_path / "y").read_bytes() == listing([record(2, X, 0)])


@pytest.mark.parametrize("suffix", ["params", "safetensors"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip(tmp_path, suffix, dtype):
    file = tmp_path / f"x.{suffix}"
    given_ = {
        "a.b": nd.array(np.arange(6).reshape(2, 3), dtype=dtype),
        "empty": nd.zeros((0, 3), dtype=dtype),
        "one": nd.array(1, dtype=dtype),
    }
    nd.save(file, given_)
    found = nd.load(file)
    assert found.keys() == given_.keys()
    for name, array in given_.items():
        assert found[name].dtype is array.dtype
        assert found[name].shape == array.shape
        assert np.array_equal(found[name].asnumpy(), array.asnumpy())


def test_safetensors_agrees_with_the_library(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    arrays = {"a": X, "b": np.arange(3), "c": np.array([True])}
    assert {k: v.tolist() for k, v in library.load(safetensors.write(arrays)).items()} == {
        k: v.tolist() for k, v in arrays.items()
    }
    found = safetensors.read(library.save(arrays), "memory")
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def test_the_order_of_a_safetensors_header_means_nothing():
    arrays = {"a": X, "b": np.arange(3), "c": np.array([True]), "empty": np.zeros((0, 2))}
    content = safetensors.write(arrays, {"format": "np"})
    (length,) = struct.unpack("<Q", content[:8])
    entries = list(json.loads(content[8 : 8 + length]).items())
    for order in itertools.permutations(entries):
        parts = [(name, dict(reversed(list(entry.items())))) for name, entry in order]
        for indent in (None, 3):
            header = json.dumps(dict(parts), indent=indent).encode()
            changed = struct.pack("<Q", len(header)) + header + content[8 + length :]
            found = safetensors.read(changed, "memory")
            assert found.keys() == arrays.keys()
            assert all(np.array_equal(found[name], array) for name, array in arrays.items())


def test_a_failed_save_leaves_the_old_file(tmp_path):
    file = tmp_path / "x"
    nd.save(file, [nd.ones(1)])
    old = file.read_bytes()
    with pytest.raises(mx.TigonError, match="expected an NDArray"):
        nd.save(file, {"a": nd.ones(1), "b": 3})
    assert file.read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


HOSTILE = {
    "empty": b"",
    "mark": b"\0" * 24,
    "many arrays": struct.pack("<QQQ", 0x112, 0, 2**60),
    "many axes": struct.pack("<QQQIii", 0x112, 0, 1, 0xF993FAC9, 0, 10**6),
    "negative axes": struct.pack("<QQQIii", 0x112, 0, 1, 0xF993FAC9, 0, -5),
    "huge extents": listing(
        [struct.pack("<Ii", 0xF993FAC9, 0) + shape(2**62, 2**62) + struct.pack("<iii", 1, 0, 0)]
    ),
    "negative extents": listing(
        [struct.pack("<Ii", 0xF993FAC9, 0) + shape(-4, -4) + struct.pack("<iii", 1, 0, 0)]
    ),
    "unknown dtype": listing([record(2, X, 99)]),
    "sparse": struct.pack("<QQQIi", 0x112, 0, 1, 0xF993FAC9, 1),
    "long name": struct.pack("<QQQQQ", 0x112, 0, 0, 1, 2**61),
    "names without arrays": listing([], [b"a"]),
    "one name twice": listing([record(2, X, 0)] * 2, [b"a", b"a"]),
    "name not utf-8": listing([record(2, X, 0)], [b"\xff\xfe"]),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_params(content):
    with pytest.raises(
        mx.TigonError, match=r"^evil: at byte \d+: expected .*; given .*; the file is"
    ):
        nd.load_frombuffer(content, "evil")


def test_every_truncation_is_noticed():
    content = listing([record(2, X, 0), record(1, X, 0)], [b"a", b"b"])
    for length in range(len(content)):
        with pytest.raises(mx.TigonError, match="expected"):
            params.read(content[:length], "cut")


@given(st.binary(max_size=120), st.booleans())
@settings(max_examples=300, deadline=None)
def test_noise_never_does_worse_than_an_error(noise, after_mark):
    content = struct.pack("<QQQ", 0x112, 0, 1) + noise if after_mark else noise
    try:
        params.read(content, "noise")
    except mx.TigonError:
        pass


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_noise_in_safetensors(noise):
    content = struct.pack("<Q", len(noise)) + noise
    try:
        safetensors.read(content, "noise")
    except mx.TigonError:
        pass


HEADERS = {
    "not an object": "[]",
    "no dtype": '{"a": {"shape": [1], "data_offsets": [0, 4]}}',
    "dtype": '{"a": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}}',
    "negative": '{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
    "huge": '{"a": {"dtype": "F32", "shape": [99999999999, 99999999999], "data_offsets": [0, 4]}}',
    "beyond": '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
    "overlap": '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},'
    ' "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
    "hole": '{"a": {"dtype": "F32", "shape": [0], "data_offsets": [4, 4]}}',
    "twice": '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},'
    ' "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_hostile_safetensors(header):
    content = struct.pack("<Q", len(header)) + header.encode() + b"\0" * 4
    with pytest.raises(mx.TigonError, match=r"^evil: at byte \d+: expected .*; given "):
        safetensors.read(content, "evil")


def test_a_header_longer_than_the_file():
    with pytest.raises(mx.TigonError, match="a header of at most 4 bytes"):
        safetensors.read(struct.pack("<Q", 2**60) + b"{}  ", "evil")


@pytest.mark.parametrize("suffix", ["params", "safetensors"])
def test_a_name_that_no_reader_takes_is_not_written(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    nd.save(str(path), {"a": nd.ones(2)})
    before = path.read_bytes()
    with pytest.raises(mx.TigonError, match="is no text"):
        nd.save(str(path), {"w\udc80": nd.ones(2)})
    assert path.read_bytes() == before
