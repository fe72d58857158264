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


# ----------------------------------------------------------------------------- sparse arrays


def numbers(values, code):
    """An array of positions: its dtype and shape, and its bytes."""
    array = np.array(values, {4: np.int32, 6: np.int64}[code])
    return struct.pack("<i", code) + shape(*array.shape), array.tobytes()


def sparse_record(version, storage, stored, dims, values, *positions):
    """A sparse array as MXNet writes it, by hand. `positions` are of the rows, or where rows begin
    and the columns."""
    magic = {2: 0xF993FAC9, 3: 0xF993FACA}[version]
    head = struct.pack("<Ii", magic, storage) + shape(*stored) + shape(*dims)
    own = np.array(values, np.float32).tobytes()
    return b"".join([
        head, struct.pack("<iii", 1, 0, 0), *[front for front, _ in positions],
        own, *[content for _, content in positions],
    ])  # fmt: skip


ROWS = [[0, 0], [1, 2], [0, 0], [3, 4]]


def row_sparse(version=2, code=6, rows=(3, 1), stored=(2, 2), dims=(4, 2)):
    return sparse_record(version, 1, stored, dims, [[3, 4], [1, 2]], numbers(rows, code))


def csr(version=2, code=6, begins=(0, 0, 2, 2, 3), columns=(1, 0, 1), stored=(3,), dims=(4, 2)):
    places = numbers(begins, code), numbers(columns, code)
    return sparse_record(version, 2, stored, dims, [2, 1, 4], *places)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("code", [4, 6])
def test_sparse_arrays_are_read_as_such(version, code):
    content = listing([row_sparse(version, code), csr(version, code), record(2, X, 0)])
    by_rows, by_elements, plain = nd.load_frombuffer(content)
    assert [array.stype for array in (by_rows, by_elements)] == ["row_sparse", "csr"]
    assert by_rows.indices.asnumpy().tolist() == [1, 3]
    assert [array.tolist() for array in params.read(content, "memory")[:2]] == [
        ROWS,
        by_elements.asnumpy().tolist(),
    ]
    assert by_rows.asnumpy().tolist() == ROWS
    assert by_elements.asnumpy().tolist() == [[0, 0], [1, 2], [0, 0], [0, 4]]
    assert plain.asnumpy().tolist() == X.tolist()
    entries = params.entries(content, "memory")
    assert [e.array.storage for e in entries[:2]] == ["row_sparse", "csr"]
    assert [e.version for e in entries] == [version, version, 2]
    assert entries[1].array.rows().tolist() == [1, 1, 3]


def test_sparse_arrays_of_no_elements():
    nothing = [
        sparse_record(2, 1, (0, 2), (4, 2), [], numbers([], 6)),
        sparse_record(2, 2, (0,), (4, 2), [], numbers([0] * 5, 6), numbers([], 6)),
        sparse_record(2, 2, (0,), (4, 2), [], numbers([], 6), numbers([], 6)),  # never filled
        struct.pack("<Ii", 0xF993FAC9, 1) + shape(0) + shape(),  # not even a shape
    ]
    *found, unknown = nd.load_frombuffer(listing(nothing))
    assert all(array.asnumpy().tolist() == [[0, 0]] * 4 for array in found)
    assert unknown.shape == (0,)


WRONG_SPARSE = {
    "row_sparse, a row that is none": row_sparse(rows=(3, 4)),
    "row_sparse, a row below 0": row_sparse(rows=(-1, 1)),
    "row_sparse, a row twice": row_sparse(rows=(1, 1)),
    "row_sparse, more rows than values": row_sparse(rows=(0, 1, 2)),
    "row_sparse, another width": row_sparse(dims=(4, 3)),
    "row_sparse, a shape of too many bytes": row_sparse(dims=(2**62, 2)),
    "csr, three axes": csr(dims=(4, 2, 1)),
    "csr, a column that is none": csr(columns=(1, 0, 2)),
    "csr, a column twice": csr(columns=(1, 1, 1)),
    "csr, rows that fall": csr(begins=(0, 2, 1, 2, 3)),
    "csr, rows that begin late": csr(begins=(1, 1, 2, 2, 3)),
    "csr, a row less": csr(begins=(0, 0, 2, 3)),
    "csr, elements left over": csr(begins=(0, 0, 1, 1, 2)),
    "csr, other places than elements": csr(columns=(1, 0), stored=(3,)),
    "a storage type that is none": struct.pack("<Ii", 0xF993FAC9, 3) + shape(1),
}


@pytest.mark.parametrize("kind", WRONG_SPARSE)
def test_sparse_arrays_that_fit_nothing(kind):
    content = listing([WRONG_SPARSE[kind]])
    with pytest.raises(mx.TigonError, match=r"^evil: at byte \d+: expected "):
        nd.load_frombuffer(content, "evil")


WRITTEN_BY_MXNET = bytes.fromhex(
    """
    120100000000000000000000000000000200000000000000c9fa93f9020000000100000002000000
    00000000020000000200000000000000020000000000000001000000000000000100000006000000
    01000000030000000000000006000000010000000200000000000000000000000000f03f00000000
    00000040000000000000000001000000000000000200000000000000010000000000000000000000
    00000000c9fa93f90100000002000000010000000000000002000000000000000200000003000000
    00000000020000000000000001000000000000000100000006000000010000000100000000000000
    000000000000f03f0000000000000040010000000000000002000000000000000100000000000000
    63010000000000000072
    """
)
"""Of mxnet 1.9.1: nd.save of a csr and a row-sparse array, by the names c and r."""


def test_sparse_arrays_are_written_as_mxnet_writes_them(tmp_path):
    matrix = nd.sparse.csr_matrix(np.array([[0, 1.0], [2, 0]]))
    rows = nd.sparse.row_sparse_array((np.array([[1.0, 2]]), np.array([1])), shape=(3, 2))
    nd.save(str(tmp_path / "x"), {"c": matrix, "r": rows})
    assert (tmp_path / "x").read_bytes() == WRITTEN_BY_MXNET
    again = nd.load(str(tmp_path / "x"))
    assert {name: array.stype for name, array in again.items()} == {"c": "csr", "r": "row_sparse"}
    assert again["c"].asnumpy().tolist() == [[0, 1], [2, 0]]
    assert again["r"].asnumpy().tolist() == [[0, 0], [1, 2], [0, 0]]
    nd.save(str(tmp_path / "x.safetensors"), again)  # has dense arrays only
    assert nd.load(str(tmp_path / "x.safetensors"))["r"].stype == "default"


def test_a_sparse_array_does_not_decide_how_much_memory_is_asked_for(tmp_path):
    nothing = sparse_record(2, 2, (0,), (2**40, 2), [], numbers([], 6), numbers([], 6))
    with pytest.raises(mx.TigonError) as told:
        nd.load_frombuffer(listing([nothing]), "evil")
    assert str(told.value) == (
        f"load: expected fewer than {2**24} rows of a matrix of which nothing is stored; given "
        f"{2**40}; is the file damaged?"
    )
    content = listing([row_sparse(dims=(2**40, 2))])
    (found,) = nd.load_frombuffer(content, "evil")
    assert found.shape == (2**40, 2) and found.data.shape == (2, 2)
    with pytest.raises(mx.TigonError) as told:
        params.read(content, "evil")
    assert str(told.value) == (
        f"evil: at byte 24: up to here its sparse arrays would take {2**43} bytes as dense ones; "
        f"a file of {len(content)} bytes is trusted with {2**24}; take the parts: "
        "tigon.export.params.entries"
    )
    (entry,) = params.entries(content, "evil")
    assert entry.array.shape == (2**40, 2) and entry.array.values.shape == (2, 2)
