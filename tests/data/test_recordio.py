"""Record files: what is written is read, and damaged or foreign ones are told as such."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tigon as mx
from tigon import recordio
from tigon.recordio import IRHeader, MXIndexedRecordIO, MXRecordIO

MAGIC = struct.pack("<I", 0xCED7230A)
PIECES = st.lists(st.sampled_from([MAGIC, b"abcd", b"x", b"", b"\x00" * 4, MAGIC[:2]]), max_size=8)


def write(path: Any, *records: bytes) -> str:
    with MXRecordIO(path, "w") as file:
        for record in records:
            file.write(record)
    return os.fspath(path)


def write_indexed(folder: Path, name: str, records: dict[int, bytes]) -> tuple[str, str]:
    paths = str(folder / f"{name}.idx"), str(folder / f"{name}.rec")
    with MXIndexedRecordIO(*paths, "w") as file:
        for key, record in records.items():
            file.write_idx(key, record)
    return paths


def read_all(file: MXRecordIO) -> list[bytes]:
    return list(iter(file.read, None))


def message(run: Any) -> str:
    with pytest.raises(mx.TigonError) as error:
        run()
    return str(error.value)


@settings(max_examples=150, deadline=None)
@given(records=st.lists(PIECES.map(b"".join), max_size=5))
def test_what_is_written_is_read(tmp_path_factory: Any, records: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("records")
    paths = write_indexed(folder, "a", dict(enumerate(records)))
    with MXRecordIO(paths[1], "r") as file:
        assert read_all(file) == records
        file.reset()
        assert read_all(file) == records
    with MXIndexedRecordIO(*paths, "r") as indexed:
        for key in reversed(range(len(records))):
            assert indexed.read_idx(key) == records[key]
            assert indexed.read() == (records[key + 1] if key + 1 < len(records) else None)
        assert [indexed.idx[key] for key in indexed.keys] == recordio.record_places(paths[1])
    assert os.path.getsize(paths[1]) % 4 == 0


def test_bytes_of_mxnet(tmp_path: Path) -> None:
    """Source: mxnet 1.9.1."""
    path = write(tmp_path / "a.rec", b"abcd" + MAGIC + b"efgh", b"next")
    words = struct.unpack("<9I", Path(path).read_bytes())
    assert [hex(word) for word in words] == [
        "0xced7230a", "0x20000004", "0x64636261", "0xced7230a", "0x60000004", "0x68676665",
        "0xced7230a", "0x4", "0x7478656e",
    ]  # fmt: skip


def test_nothing_is_there_before_it_is_closed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.rec", b"old")
    new = MXRecordIO(path, "w")
    new.write(b"new")
    assert read_all(MXRecordIO(path, "r")) == [b"old"]
    new.close()
    new.close()
    assert read_all(MXRecordIO(path, "r")) == [b"new"]
    with pytest.raises(ZeroDivisionError), MXRecordIO(path, "w") as file:
        file.write(b"half")
        1 / 0  # noqa: B018
    assert read_all(MXRecordIO(path, "r")) == [b"new"]
    assert os.listdir(tmp_path) == ["a.rec"]


def test_a_writer_that_nobody_closed_is_closed_when_it_is_gone(tmp_path: Path) -> None:
    paths = str(tmp_path / "a.idx"), str(tmp_path / "a.rec")
    file = MXIndexedRecordIO(*paths, "w")
    file.write_idx(3, b"three")
    del file
    assert MXIndexedRecordIO(*paths, "r").read_idx(3) == b"three"
    program = (
        f"from tigon import recordio\nf = recordio.MXRecordIO({paths[1]!r}, 'w')\nf.write(b'x')"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
    assert read_all(MXRecordIO(paths[1], "r")) == [b"x"]


def test_what_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    program = (
        "import os, signal\nfrom tigon import recordio\n"
        f"f = recordio.MXRecordIO({str(path)!r}, 'w')\nf.write(b'x' * 3000000)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2])
    assert os.listdir(tmp_path) == [".a.rec.tigon-unfinished"]
    write(path, b"whole")
    assert os.listdir(tmp_path) == ["a.rec"]
    assert read_all(MXRecordIO(path, "r")) == [b"whole"]


def test_two_writers(tmp_path: Path) -> None:
    path = str(tmp_path / "a.rec")
    first = MXRecordIO(path, "w")
    first.write(b"first")
    assert message(lambda: MXRecordIO(path, "w")) == (
        f"{path}: expected to be its only writer; another one, of this process or of another, has "
        "not closed it; close that one first, or write to another file"
    )
    link = tmp_path / "link.rec"
    link.symlink_to(path)
    assert message(lambda: MXRecordIO(link, "w")).startswith(f"{link}: expected to be its only")
    first.close()
    assert read_all(MXRecordIO(path, "r")) == [b"first"]


def test_reading_needs_reading_and_writing_writing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.rec", b"x")
    reader = MXRecordIO(path, "r")
    assert message(lambda: reader.write(b"")) == (
        f"MXRecordIO: {path} was opened with flag 'r'; write needs 'w'"
    )
    writer = MXRecordIO(tmp_path / "b.rec", "w")
    assert "was opened with flag 'w'; read needs 'r'" in message(writer.read)
    assert "only one process can do that" in message(lambda: pickle.dumps(writer))
    reader.close()
    assert message(reader.read) == f"MXRecordIO: {path} is closed; call open(), or reset() first"
    assert message(lambda: MXRecordIO(path, "a")) == (
        "MXRecordIO: flag: expected 'r' or 'w'; given 'a'"
    )
    with pytest.raises(FileNotFoundError, match=r"nowhere\.rec"):
        MXRecordIO(tmp_path / "nowhere.rec", "r")


def test_readers_go_on_elsewhere(tmp_path: Path) -> None:
    paths = write_indexed(tmp_path, "a", {0: b"a", 1: b"b", 2: b"c"})
    file = MXIndexedRecordIO(*paths, "r")
    file.read()
    other = pickle.loads(pickle.dumps(file))
    assert (other.read(), file.read(), other.read_idx(0), file.tell()) == (b"b", b"b", b"a", 24)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(file.read_idx, [2, 0]) == [b"c", b"a"]
    file.close()
    closed = pickle.loads(pickle.dumps(file))
    assert not closed.is_open


# --------------------------------------------------------------- damaged and foreign files


def test_damaged_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.rec", b"abcdefgh", b"ijkl")
    whole = Path(path).read_bytes()

    def told(content: bytes) -> str:
        Path(path).write_bytes(content)
        said = message(lambda: read_all(MXRecordIO(path, "r")))
        places = message(lambda: recordio.record_places(path))
        assert places.replace("record_places: ", "MXRecordIO: ") == said
        return said

    end = "; write the file anew, or leave this record out"
    assert told(b"\x89PNG\r\n\x1a\n rest") == (
        f"MXRecordIO: {path}, record 0 (byte 0): expected 0xced7230a at byte 0; found 0x474e5089; "
        f"is it a record file?{end}"
    )
    assert told(whole[:20]) == (
        f"MXRecordIO: {path}, record 1 (byte 16): expected 8 bytes at byte 16; the file ends there"
        + end
    )
    assert told(whole[:-2]) == (
        f"MXRecordIO: {path}, record 1 (byte 16): expected 4 bytes from byte 24; the file ends "
        f"after 2 of them{end}"
    )
    too_long = whole[:20] + struct.pack("<I", 400) + whole[24:]
    assert "expected 400 bytes from byte 24; the file ends after 4 of them" in told(too_long)
    part = whole[:20] + struct.pack("<I", 2 << 29 | 4) + whole[24:]
    assert "expected its beginning at byte 16; found part 2 of another one" in told(part)
    assert "found 0x6b6a6968; the file is damaged" in told(whole[:16] + b"hijk" + whole[20:])
    first = whole[:20] + struct.pack("<I", 1 << 29 | 4) + whole[24:]
    assert "expected 8 bytes at byte 28; the file ends there" in told(first)
    assert "expected its next part at byte 28; found part 0" in told(first + whole[16:])


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    records = [b"ab", MAGIC + b"efgh" + MAGIC, b"", b"ijklm"]
    path = write(tmp_path / "a.rec", *records)
    whole = Path(path).read_bytes()
    ends = {*recordio.record_places(path), len(whole)}
    padding = 3  # of the last record: its bytes are all there without
    for size in range(len(whole) - padding):
        Path(path).write_bytes(whole[:size])
        file = MXRecordIO(path, "r")
        if size in ends:
            assert read_all(file) == records[: sorted(ends).index(size)]
        elif size + 1 not in ends and size + 2 not in ends and size + 3 not in ends:
            assert path in message(lambda file=file: read_all(file))


def test_an_index_of_another_file(tmp_path: Path) -> None:
    long = write_indexed(tmp_path, "long", {key: bytes(40) for key in range(9)})
    short = write_indexed(tmp_path, "short", {key: bytes(11) for key in range(9)})
    assert message(lambda: MXIndexedRecordIO(long[0], short[1], "r")) == (
        f"MXIndexedRecordIO: {long[0]} is not the index of {short[1]}: record 8 would begin at "
        "byte 384 of 180; give the index that was written with it, or write a new one with python "
        "-m tigon.tools.im2rec --index"
    )
    file = MXIndexedRecordIO(short[0], long[1], "r")
    assert message(lambda: file.read_idx(1)) == (
        f"MXIndexedRecordIO: {long[1]}, record 1 (byte 20): expected 0xced7230a at byte 20; found "
        f"0x0; is {short[0]} its index?; write the file anew, or leave this record out"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0\t0\n1\tx\n", "line 2: expected a key (int), a tab, and a multiple of 4; given '1\\tx'"),
        ("0\t2\n", "line 1: expected a key (int), a tab, and a multiple of 4; given '0\\t2'"),
        ("a\t0\n", "line 1: expected a key (int), a tab, and a multiple of 4; given 'a\\t0'"),
        ("0\t-4\n", "line 1: expected a key (int), a tab, and a multiple of 4; given '0\\t-4'"),
        ("0 0\n", "line 1: expected a key (int), a tab, and a multiple of 4; given '0 0'"),
        ("0\t0\n0\t0\n", "line 2: the key 0 stands twice; write the index anew"),
    ],
)
def test_indexes_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    paths = write_indexed(tmp_path, "a", {0: b"x"})
    Path(paths[0]).write_text(text)
    found = message(lambda: MXIndexedRecordIO(*paths, "r"))
    assert found.startswith(f"MXIndexedRecordIO: {paths[0]}, {said}")


def test_exchanged_paths_and_keys(tmp_path: Path) -> None:
    paths = write_indexed(tmp_path, "a", {5: b"\xff\xfe", 7: b"y"})
    assert "are the paths of index and record file exchanged?" in message(
        lambda: MXIndexedRecordIO(paths[1], paths[0], "r")
    )
    file = MXIndexedRecordIO(*paths, "r")
    assert message(lambda: file.read_idx(6)) == (
        f"MXIndexedRecordIO: {paths[0]} has no record 6; it has 2: 5, 7"
    )
    with MXIndexedRecordIO(*paths, "w") as writer:
        writer.write_idx(1, b"")
        assert "has a record 1 already" in message(lambda: writer.write_idx(1, b""))


@settings(max_examples=150, deadline=None)
@given(
    records=st.lists(PIECES.map(b"".join), min_size=1, max_size=4),
    place=st.floats(0, 1, exclude_max=True),
    byte=st.integers(0, 255),
    cut=st.booleans(),
)
def test_whatever_is_damaged_is_told(
    tmp_path_factory: Any, records: list[bytes], place: float, byte: int, cut: bool
) -> None:
    """A file with one byte changed, or cut off, is read as records or refused; and so is its
    index."""
    folder = tmp_path_factory.mktemp("damaged")
    paths = write_indexed(folder, "a", dict(enumerate(records)))
    for path in map(Path, paths):
        whole = path.read_bytes()
        at = int(place * len(whole))
        path.write_bytes(whole[:at] if cut else whole[:at] + bytes([byte]) + whole[at + 1 :])
        try:
            with MXIndexedRecordIO(*paths, "r") as file:
                found = [file.read_idx(key) for key in file.keys]
            assert all(isinstance(record, bytes) for record in found)
            with MXRecordIO(paths[1], "r") as plain:
                assert len(read_all(plain)) == len(recordio.record_places(paths[1]))
        except mx.TigonError as error:
            assert paths[0] in str(error) or paths[1] in str(error)
        path.write_bytes(whole)


# ------------------------------------------------------------------------------ headers


def test_headers() -> None:
    """Source: mxnet 1.9.1."""
    assert recordio.pack(IRHeader(9, np.array([1, 2, 3]), 2**33, 2**34), b"z") == (
        b"\x03\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x04\0\0\0\0\0\x80?\0\0\0@\0\0@@z"
    )
    header, content = recordio.unpack(recordio.pack((0, 3.5, 7, 1), b"data"))
    assert (header, content) == (IRHeader(0, 3.5, 7, 1), b"data")
    header, content = recordio.unpack(recordio.pack((0, mx.nd.array([1, 2]), 7, 1), b"data"))
    assert header.label.tolist() == [1, 2] and content == b"data"


def test_wrong_headers() -> None:
    assert message(lambda: recordio.unpack(b"short")) == (
        "unpack: expected a record of at least 24 bytes, those of its header; given 5; was it "
        "written by pack?"
    )
    packed = recordio.pack((0, [1, 2, 3], 0, 0), b"")
    assert message(lambda: recordio.unpack(packed[:-1])) == (
        "unpack: the header says that 3 labels follow (12 bytes); 11 bytes are there; was it "
        "written by pack?"
    )
    for wrong in ((0, "cat", 0, 0), (0, 1, -1, 0), (0, 1, 2**64, 0), (0, 1, "a", 0)):
        assert message(lambda wrong=wrong: recordio.pack(wrong, b"")).startswith(
            "pack: expected IRHeader(flag, label, id, id2) of a number"
        )
    assert "a number, or a row of them" in message(lambda: recordio.pack((0, [[1]], 0, 0), b""))


def test_images_in_records() -> None:
    image = np.zeros((8, 6, 3), np.uint8)
    image[:, :, 0] = 255  # blue
    packed = recordio.pack_img((0, 1, 2, 0), image, quality=9, img_fmt=".png")
    header, found = recordio.unpack_img(packed)
    assert header.label == 1 and (found == image).all()
    decoded = mx.image.imdecode(recordio.unpack(packed)[1])
    assert decoded.asnumpy()[0, 0].tolist() == [0, 0, 255]
    _, near = recordio.unpack_img(recordio.pack_img((0, 1, 2, 0), image))
    assert abs(near.astype(int) - image).max() < 8
    grey = recordio.pack_img((0, 1, 2, 0), image[:, :, 0], img_fmt=".png", quality=3)
    assert recordio.unpack_img(grey)[1].shape == (8, 6)
    assert recordio.unpack_img(grey, iscolor=1)[1].shape == (8, 6, 3)
    with pytest.raises(mx.TigonError, match=r"img_fmt: expected '\.jpg' or '\.png'; given '\.gif'"):
        recordio.pack_img((0, 1, 2, 0), image, img_fmt=".gif")
    with pytest.raises(mx.TigonError, match=r"given float64\[8, 6, 3\]"):
        recordio.pack_img((0, 1, 2, 0), image / 2)
