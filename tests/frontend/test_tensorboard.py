"""Event files, read by a reader of our own and, where it is installed, by TensorBoard's."""

from __future__ import annotations

import io
import struct
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import nd
from tigon.contrib.tensorboard import LogMetricsCallback, SummaryWriter, messages

MASK = 0xA282EAD8


def crc32c(data: bytes) -> int:
    """Bit by bit, as the polynomial says."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 * (value & 1))
    return value ^ 0xFFFFFFFF


def is_masked(stored: int, data: bytes) -> bool:
    rotated = (stored - MASK) & 0xFFFFFFFF
    return ((rotated << 15) | (rotated >> 17)) & 0xFFFFFFFF == crc32c(data)


def records(content: bytes) -> list[bytes]:
    found = []
    while content:
        length, checked = struct.unpack("<QI", content[:12])
        data = content[12 : 12 + length]
        (own,) = struct.unpack("<I", content[12 + length : 16 + length])
        assert is_masked(checked, content[:8]) and is_masked(own, data)
        found.append(data)
        content = content[16 + length :]
    return found


def varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at


def fields(data: bytes) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(key & 7)
            if size is None:
                size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        found.setdefault(key >> 3, []).append(value)
    return found


def events(folder: Path) -> list[tuple[int, str, dict[int, list[Any]]]]:
    """Step, tag and value of each."""
    (path,) = folder.iterdir()
    first, *rest = records(path.read_bytes())
    assert fields(first)[3] == [b"brain.Event:2"]
    found = []
    for one in rest:
        event = fields(one)
        assert struct.unpack("<d", event[1][0])[0] > 1.5e9
        (value,) = fields(event[5][0])[1]
        summary = fields(value)
        found.append((event[2][0], summary[1][0].decode(), summary))
    return found


IMAGE = np.arange(30, dtype=np.uint8).reshape(2, 5, 3)


def write_all(folder: Path) -> None:
    with SummaryWriter(folder) as writer:
        writer.add_scalar("loss", 0.5, global_step=3)
        writer.add_scalar("loss", nd.array([0.25]))
        writer.add_scalar("rate", {"a": 1, "b": np.float32(2)}, 7)
        writer.add_scalar("pair", ("c", True), 8)
        writer.log({"x": 4}, step=300)
        writer.add_histogram("weights", nd.array([[0, 1], [1, 4]]), 5, bins=[0, 1, 2, 5])
        writer.add_image("picture", IMAGE, 6)
        writer.add_image("gray", nd.array([[0.0, 0.5], [1.0, 7.0]]), 6)
        writer.add_image("front", IMAGE.transpose(2, 0, 1), 6)
        writer.add_text("words", "**bold** \u6f22", 9)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_all(tmp_path)
    found = events(tmp_path)
    numbers = [
        (step, tag, struct.unpack("<f", value[2][0])[0]) for step, tag, value in found if 2 in value
    ]
    assert numbers == [
        *((3, "loss", 0.5), (4, "loss", 0.25), (7, "rate/a", 1.0), (7, "rate/b", 2.0)),
        *((8, "pair/c", 1.0), (300, "x", 4.0)),
    ]
    by_tag = {tag: value for _, tag, value in found}
    shown = fields(by_tag["weights"][5][0])
    doubles = [struct.unpack("<d", shown[place][0])[0] for place in range(1, 6)]
    assert doubles == [0, 4, 4, 6, 18]
    assert struct.unpack("<3d", shown[6][0]) == (1, 2, 5)
    assert struct.unpack("<3d", shown[7][0]) == (1, 2, 1)
    from PIL import Image

    for tag, expected in (
        ("picture", IMAGE),
        ("front", IMAGE),
        ("gray", np.array([[0, 128], [255, 255]])),
    ):
        image = fields(by_tag[tag][4][0])
        height, width, *_ = expected.shape
        assert (image[1], image[2]) == ([height], [width])
        decoded = np.asarray(Image.open(io.BytesIO(image[4][0])))
        np.testing.assert_array_equal(decoded, expected)
    tensor = fields(by_tag["words"][8][0])
    assert tensor[8] == ["**bold** \u6f22".encode()] and tensor[1] == [messages.DT_STRING]


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    loader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard"
    )
    write_all(tmp_path)
    found = loader.EventAccumulator(str(tmp_path))
    found.Reload()
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [(3, 0.5), (4, 0.25)]
    (shown,) = found.Histograms("weights")
    assert shown.histogram_value.bucket == [1, 2, 1] and shown.step == 5
    assert [(i.width, i.height) for i in found.Images("picture")] == [(5, 2)]
    (words,) = found.Tensors("words")
    assert words.tensor_proto.string_val[0].decode() == "**bold** \u6f22"


@pytest.mark.parametrize(
    ("data", "expected"),
    [(bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)],
)
def test_checksums_are_those_of_rfc_3720(data: bytes, expected: int) -> None:
    assert messages.checksum(data) == crc32c(data) == expected


def test_writers_of_one_folder_have_files_of_their_own(tmp_path: Path) -> None:
    writers = [SummaryWriter(tmp_path, filename_suffix=".a") for _ in range(3)]
    for writer in writers:
        writer.add_scalar("x", 1)
        writer.flush()
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 3 and all(len(records(path.read_bytes())) == 2 for path in paths)
    for writer in writers:
        writer.close()
    with pytest.raises(mx.TigonError) as raised:
        writers[0].add_scalar("x", 1)
    assert str(raised.value) == "SummaryWriter: it is closed; make a new one"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda w: w.add_scalar("x", nd.ones(2)),
            "SummaryWriter.add_scalar: 'x': expected one number; given NDArray of shape (2,)",
        ),
        (
            lambda w: w.add_scalar("x", "high"),
            "SummaryWriter.add_scalar: 'x': expected one number; given str of shape ()",
        ),
        (lambda w: w.add_scalar("", 1), "SummaryWriter: tag: expected a name; given ''"),
        (
            lambda w: w.add_histogram("h", [1.0, float("nan")]),
            "SummaryWriter.add_histogram: 'h': expected finite numbers, one at least; given 2, of "
            "which 1 are not finite",
        ),
        (
            lambda w: w.add_histogram("h", []),
            "SummaryWriter.add_histogram: 'h': expected finite numbers, one at least; given 0, of "
            "which 0 are not finite",
        ),
        (
            lambda w: w.add_image("i", nd.ones((2, 2, 2))),
            "SummaryWriter.add_image: 'i': expected (height, width) with 1, 3 or 4 channels behind "
            "or before; given shape (2, 2, 2)",
        ),
        (
            lambda w: mx.callback.TrackMetrics(w.flush),
            "TrackMetrics: expected a tracker with log(values, step); given method",
        ),
        (
            lambda w: mx.callback.TrackMetrics(w, frequent=0),
            "TrackMetrics: frequent: expected at least 1; given 0",
        ),
    ],
)
def test_what_is_refused_leaves_the_file_as_it_was(tmp_path: Path, call: Any, message: str) -> None:
    with SummaryWriter(tmp_path) as writer, pytest.raises(mx.TigonError) as raised:
        call(writer)
    assert str(raised.value) == message
    assert events(tmp_path) == []


def test_metrics_of_training_are_written(tmp_path: Path) -> None:
    data = mx.io.NDArrayIter(np.random.randn(8, 2), np.arange(8) % 2, 4)
    network = mx.sym.SoftmaxOutput(
        mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=2), name="softmax"
    )
    told: list[Any] = []
    tracker = namedtuple("Tracker", "log")(lambda values, step: told.append((step, values)))
    mx.mod.Module(network).fit(
        data,
        num_epoch=2,
        batch_end_callback=[
            LogMetricsCallback(tmp_path / "log", prefix="train"),
            mx.callback.TrackMetrics(tracker, prefix="train/"),
        ],
    )
    assert [(step, tag) for step, tag, _ in events(tmp_path / "log")] == [
        *[(0, "train-accuracy")] * 2,
        *[(1, "train-accuracy")] * 2,
    ]
    assert [step for step, _ in told] == [1, 2, 3, 4]
    assert {key for _, values in told for key in values} == {"train/accuracy"}
