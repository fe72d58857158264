"""Damaged files of MXNet's formats and safetensors, of states of optimizers, and of all formats
that `inspect` knows: `python -m tests.readers.hostile arrays 100000 7`."""

from __future__ import annotations

import json
import random
import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

from tests.formats.test_damaged_files import (
    POSITION,
    VALUES,
    binary_files,
    graph_files,
    load_and_infer,
    places,
    trained,
    with_value,
    without,
)
from tests.formats.test_inspect import files_of_all_kinds, inspected
from tests.readers.hostile import Case, Hostile, mutated_bytes
from tigon import nd

ARRAYS = binary_files()
GRAPHS = graph_files()
PLACES = {kind: list(places(graph)) for kind, graph in GRAPHS.items()}
SPARSE = 2**24
"""Bytes that sparse arrays may take as dense ones, whatever the file is worth."""


def read_arrays(content: bytes) -> None:
    nd.load_frombuffer(content, "evil")


def read_graph(content: bytes) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "this graph holds operators")
        load_and_infer(content)


def draw_arrays(draw: random.Random) -> Case:
    return read_arrays, mutated_bytes(draw.choice(list(ARRAYS.values())), draw)


def draw_graph(draw: random.Random) -> Case:
    """Any value at any place, or other bytes."""
    kind = draw.choice(list(GRAPHS))
    good: Any = GRAPHS[kind]
    manner = draw.randrange(4)
    if manner == 0:
        return read_graph, mutated_bytes(json.dumps(good, indent=1).encode(), draw)
    path = draw.choice(PLACES[kind])
    other = without(good, path) if manner == 1 else with_value(good, path, draw.choice(VALUES))
    return read_graph, json.dumps(other).encode()


def _states() -> Hostile:
    trainer, folder = trained("adam"), tempfile.TemporaryDirectory()
    path = Path(folder.name) / "evil"
    trainer.save_states(path)
    good = path.read_bytes()

    def read(content: bytes) -> None:
        (Path(folder.name) / "evil").write_bytes(content)  # the folder is there as long as this
        trainer.load_states(path)

    return Hostile(lambda draw: (read, mutated_bytes(good, draw)), re.compile(""))


def _inspected() -> Hostile:
    with tempfile.TemporaryDirectory() as folder:
        return inspected(files_of_all_kinds(Path(folder)))


HOSTILE = {
    "arrays": Hostile(draw_arrays, POSITION, SPARSE + (1 << 20)),
    "graphs": Hostile(draw_graph, POSITION, 64 << 20),
    "states": _states(),
    "inspect": _inspected(),
}
