"""Files as HDF5's own library writes them: `python -m tests.readers.record_hdf5`, with h5py, wrote
those that lie beside the tests (h5py 3.16.0, HDF5 2.0.0)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
ARRAYS: dict[str, Any] = {
    "single": np.arange(6, dtype="<f4").reshape(2, 3),
    "double": np.array([-0.5, 1e300]),
    "half": np.array([1, -2], "<f2"),
    "big end first": np.array([1, 2, 3], ">f4"),
    "whole": np.array([-7, 7], "<i4"),
    "small": np.array([250], "u1"),
    "a number": np.float32(3),
    "nothing": np.zeros((0, 3), "<f4"),
    "a text": np.bytes_("a/b.caffemodel.h5"),
    **{f"many/{number}/{number % 3}": np.full(1, number, "<f4") for number in range(12)},
}
"""By path; a group has more than a row of names."""

LAYERS = {
    "ip": [np.arange(3, dtype="<f4").reshape(1, 3) / 4, np.array([0.5], "<f4")],
    "twin": [None, np.array([0.25], "<f4")],
}
"""The second layer has its weight from the first."""
HISTORY = [np.full((1, 3), 0.5, "<f4"), np.full(1, 2, "<f4"), np.full(1, -1, "<f4")]


def main() -> None:
    import h5py

    with h5py.File(HERE / "arrays.h5", "w") as file:
        for path, value in ARRAYS.items():
            file.create_dataset(path, data=value)
    with h5py.File(HERE / "snapshot.caffemodel.h5", "w") as file:
        for layer, blobs in LAYERS.items():
            for number, value in enumerate(blobs):
                if value is not None:
                    file.create_dataset(f"data/{layer}/{number}", data=value)
        file.create_group("data/relu")
    with h5py.File(HERE / "snapshot.solverstate.h5", "w") as file:
        file.create_dataset("iter", data=np.array([20], "<i4"))
        file.create_dataset("learned_net", data=np.bytes_("models/snapshot.caffemodel.h5"))
        file.create_dataset("current_step", data=np.array([0], "<i4"))
        for number, value in enumerate(HISTORY):
            file.create_dataset(f"history/{number}", data=value)
    with h5py.File(HERE / "refused.h5", "w") as file:
        file.create_dataset("chunks", data=np.zeros((4, 4)), chunks=(2, 2), compression="gzip")


if __name__ == "__main__":
    main()
