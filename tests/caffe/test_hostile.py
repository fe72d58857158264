"""Whatever is wrong in a file of Caffe, reading it raises a `TigonError` that says where, and takes
no more memory than the file is worth."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import tigon as mx
from tests.caffe.hostile import HOSTILE
from tests.readers.encode import content, varint
from tests.readers.hostile import run
from tigon.contrib.caffe.fields import SCHEMA
from tigon.contrib.caffe.net import Assembly, State
from tigon.contrib.caffe.weights import array_of_blob
from tigon.readers.text import read_text
from tigon.readers.wire import read_wire


@pytest.mark.parametrize(
    ("kind", "count"), [("network", 1000), ("solver", 200), ("model", 800), ("snapshot", 2000)]
)
def test_damaged_files(kind: str, count: int) -> None:
    read, refused = run(HOSTILE[kind], count, 17, measured=count // 20)
    assert read > count // 10 and refused > count // 3, (read, refused)


NET = SCHEMA["NetParameter"]


def test_arrays_of_a_model_take_no_memory_of_their_own() -> None:
    values = np.zeros(1 << 20, np.float32).tobytes()
    model = content(100, content(1, b"big") + content(7, content(5, values)))
    tracemalloc.start()
    net = read_wire(model, NET, "model")
    assert net.layer[0].blobs[0].numbers("data", "float32").size == 1 << 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_many_empty_messages_take_little() -> None:
    """Two bytes of a file each, and the least that they can be here."""
    for read, given in ((read_wire, b"\x12\x00" * 20_000), (read_text, "layers{}" * 20_000)):
        tracemalloc.start()
        assert len(read(given, NET, "model").layers) == 20_000  # type: ignore[operator]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20_000 * 200


def test_sizes_that_are_only_said_take_nothing() -> None:
    """Extents of a blob, and of layers, are numbers until arrays are made."""
    shape = content(7, content(1, varint(2**62) * 8))
    model = content(100, content(1, b"big") + content(7, shape + content(5, bytes(8))))
    blob = read_wire(model, NET, "model").layer[0].blobs[0]
    with pytest.raises(
        mx.TigonError, match=r"^model: at byte \d+: layer\[0\].blobs\[0\].data: exp"
    ):
        array_of_blob(blob)
    for extents in ([0, 2**62], [1] * 40):  # no array may have these, of however many numbers
        shape = content(7, content(1, b"".join(map(varint, extents))))
        own = read_wire(shape + content(5, bytes(4)), SCHEMA["BlobProto"], "model")
        with pytest.raises(mx.TigonError, match=r"^model: at byte \d+: data: expected \d+ numbers"):
            array_of_blob(own)
    text = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } }
    layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
            inner_product_param { num_output: 500000000 } }"""
    tracemalloc.start()
    Assembly(read_text(text, NET, "net"), State("test"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_top_without_a_name_is_told_with_its_place() -> None:
    text = """layer { name: "x" type: "Input" top: "" input_param { shape { dim: 1 } } }"""
    with pytest.raises(mx.TigonError) as told:
        Assembly(read_text(text, NET, "net"), State("test"))
    assert str(told.value) == (
        "net: line 1, column 33: layer[0].top: layer 'x' (Input): expected a name for each top; "
        "given ''"
    )
