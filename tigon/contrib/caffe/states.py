"""Where a training of Caffe was: `.solverstate`, in both forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, NoReturn

import numpy as np

from tigon.contrib.caffe.fields import SCHEMA
from tigon.contrib.caffe.layers.record import Network
from tigon.contrib.caffe.weights import Hdf5Blob, Stored, WireBlob
from tigon.readers.hdf5 import File, is_hdf5
from tigon.readers.message import Message
from tigon.readers.wire import read_wire


class SolverState(NamedTuple):
    """How many iterations are done, the caffemodel of then, and what the solver remembers of each
    array: of all arrays the first state, then of all the second."""

    iteration: int
    learned_net: str
    history: list[Stored]
    where: Message | File

    def fail(self, message: str) -> NoReturn:
        """Raise an error that says where."""
        if isinstance(self.where, File):
            self.where.fail(0, message)
        self.where.fail(message)

    def of(self, network: Network, states: int) -> Mapping[str, list[np.ndarray]]:
        """What is remembered of each array of a network, by the array's name. Caffe counts what
        does not learn, too.

        Raises a `TigonError` where these are arrays of another network or another solver.
        """
        names = list(network.arrays)
        if len(self.history) != states * len(names):
            self.fail(
                f"expected {states * len(names)} arrays, {states} for each of "
                f"{', '.join(names)[:200]}; given {len(self.history)}; is it of another network, "
                "or of another type of solver?"
            )
        return {
            name: [
                self.history[number + state * len(names)].array(network.arrays[name].shape)
                for state in range(states)
            ]
            for number, name in enumerate(names)
        }


def read_state(content: bytes, name: str) -> SolverState:
    """The state of a solver that a file holds.

    Raises a `TigonError` with the byte where the file is damaged.
    """
    if is_hdf5(content):
        return _of_hdf5(File(content, name))
    message = read_wire(content, SCHEMA["SolverState"], name)
    message.check(
        message.has("iter") and message.iter >= 0,
        f"expected the number of iterations; given {message.iter or 'none'}",
        "iter",
    )
    history: list[Stored] = [WireBlob(*pair) for pair in enumerate(message.history)]
    return SolverState(message.iter, message.learned_net, history, message)


def _of_hdf5(file: File) -> SolverState:
    if "iter" not in file.datasets:
        file.fail(0, "expected the number of iterations; is it the state of a solver?")
    count = file.datasets["iter"]
    if count.shape != (1,) or count.array().dtype.kind not in "iu" or count.array()[0] < 0:
        count.fail(f"expected one number of iterations; given shape {count.shape}")
    named = file.datasets.get("learned_net")
    history: list[Stored] = []
    while (found := file.datasets.get(f"history/{len(history)}")) is not None:
        history.append(Hdf5Blob(len(history), found))
    return SolverState(int(count.array()[0]), named.text() if named else "", history, file)
