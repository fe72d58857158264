"""The iterators of a configuration as iterators of tigon."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tigon import image, io, nd
from tigon.base import TigonError
from tigon.base.files import write_file
from tigon.contrib.cxxnet.configuration import Section
from tigon.contrib.cxxnet.text import Place, Setting


class Centred(io.DataIter):
    """Another iterator's batches, `(data - mean) * scale`."""

    def __init__(self, batches: Any, mean: np.ndarray, scale: float) -> None:
        super().__init__(batches.batch_size)
        self.batches, self.mean, self.scale = batches, nd.array(mean[None]), scale
        self.provide_data, self.provide_label = batches.provide_data, batches.provide_label

    def reset(self) -> None:
        """Begin again."""
        self.batches.reset()

    def next(self) -> Any:
        """The next batch."""
        batch = self.batches.next()
        batch.data = [nd.broadcast_sub(batch.data[0], self.mean) * self.scale]
        return batch


class _Section:
    """What is set for the iterators of a section. Settings of the whole count last, as there."""

    def __init__(
        self, section: Section, common: Sequence[Setting], place: Place, shape: Sequence[int]
    ) -> None:
        self.place, self.section, self.shape = place, section, tuple(shape)
        self.found = {setting.name: setting for setting in (*section.settings, *common)}

    def fail(self, message: str) -> TigonError:
        head = f"{self.section.kind} = {self.section.name}, iter = {self.section.chain[0]}"
        return self.place.fail(self.section.line, f"{head}: {message}")

    def flag(self, name: str, default: int = 0) -> bool:
        setting = self.found.get(name)
        return bool(default if setting is None else self.place.integer(setting, -1))

    def integer(self, name: str, default: int) -> int:
        setting = self.found.get(name)
        return default if setting is None else self.place.integer(setting)

    def number(self, name: str, default: float) -> float:
        setting = self.found.get(name)
        return default if setting is None else self.place.number(setting)

    def path(self, *names: str) -> str:
        for name in names:
            if name in self.found:
                return self.found[name].value
        raise self.fail(f"expected {' or '.join(names)}, the path of a file")

    def refuse(self, names: Mapping[str, str], without: Collection[str]) -> None:
        """Raise where a setting asks for what there is nothing for."""
        asked = [
            name for name in names
            if name in self.found and name not in without
            and self.found[name].value.strip() not in ("", "0", "-1", "0.0")
        ]  # fmt: skip
        if asked:
            raise self.fail(
                f"{asked[0]} has no equal here ({names[asked[0]]}); give fit an iterator of your "
                f"own, or leave settings out: without={asked!r}"
            )


_GEOMETRY = "how an image is turned, sheared or cut"
_UNKNOWN = {
    **dict.fromkeys(
        "max_rotate_angle max_aspect_ratio max_shear_ratio min_crop_size max_crop_size rotate "
        "rotate_list min_random_scale max_random_scale crop_x_start crop_y_start".split(),
        _GEOMETRY,
    ),
    "test_skipread": "it reads one batch only",
}


def _mnist(own: _Section, batch_size: int, without: Collection[str]) -> Any:
    return io.MNISTIter(
        image=own.path("path_img"),
        label=own.path("path_label"),
        batch_size=batch_size,
        shuffle=own.flag("shuffle"),
        flat=own.flag("input_flat", 1),
        label_name="label",
    )


def _images(own: _Section, batch_size: int, without: Collection[str], flags: str) -> dict[str, Any]:
    own.refuse(_UNKNOWN, without)
    return {
        "data_shape": own.shape,
        "batch_size": batch_size,
        "label_width": own.integer("label_width", 1),
        "label_name": "label",
        **{name: own.flag(name) for name in flags.split()},
    }


def _records(own: _Section, batch_size: int, without: Collection[str]) -> Any:
    fields = _images(own, batch_size, without, "shuffle rand_crop rand_mirror mirror")
    if "image_list" in own.found:
        fields["path_imglist"] = own.path("image_list")
    fields["preprocess_threads"] = own.integer("nthread", 4)
    return _centred(
        own, io.ImageRecordIter(path_imgrec=own.path("image_rec", "image_bin"), **fields)
    )


def _listed(own: _Section, batch_size: int, without: Collection[str]) -> Any:
    fields = _images(own, batch_size, without, "shuffle rand_crop rand_mirror")
    fields["path_imglist"] = own.path("image_list")
    return _centred(own, image.ImageIter(path_root=own.path("image_root"), **fields))


def _table(own: _Section, batch_size: int, without: Collection[str]) -> Any:
    path, width = own.path("filename"), own.integer("label_width", 1)
    try:
        rows = np.loadtxt(
            path, np.float32, delimiter=",", ndmin=2, skiprows=int(own.flag("has_header"))
        )
    except ValueError as error:
        raise own.fail(f"{path}: expected numbers with commas between; {error}") from None
    wanted = width + math.prod(own.shape)
    if rows.shape[1] != wanted:
        raise own.fail(
            f"{path}: expected {wanted} numbers a row: label_width {width} and input_shape "
            f"{','.join(map(str, own.shape))}; given {rows.shape[1]}"
        )
    labels = rows[:, 0] if width == 1 else rows[:, :width]
    data = rows[:, width:].reshape(len(rows), *own.shape)
    return io.NDArrayIter(data, labels, batch_size, shuffle=own.flag("shuffle"), label_name="label")


def _centred(own: _Section, batches: Any) -> Any:
    """(image - mean) * scale, where something is set."""
    scale = own.number("scale", 1.0)
    if "divideby" in own.found:
        scale = 1.0 / (own.number("divideby", 1.0) or 1.0)
    mean = np.zeros((own.shape[0], 1, 1), np.float32)
    if "mean_value" in own.found:
        setting = own.found["mean_value"]
        parts = setting.value.split(",")
        if len(parts) != own.shape[0]:
            raise own.place.fail(
                setting.line,
                f"mean_value: expected {own.shape[0]} numbers with commas between, one for each "
                f"channel; given {setting.value!r:.80}",
            )
        numbers = [own.place.number(setting._replace(value=part)) for part in parts]
        mean = np.array(numbers, np.float32).reshape(-1, 1, 1)
    elif "image_mean" in own.found:
        path = own.path("image_mean")
        mean = _read_mean(own, path) if os.path.exists(path) else _made_mean(batches, path)
    elif scale == 1.0:
        return batches
    return Centred(batches, mean, scale)


def _read_mean(own: _Section, path: str) -> np.ndarray:
    """The mean of all images, as cxxnet keeps it: three extents and the numbers."""
    with open(path, "rb") as file:
        content = file.read(2**28)
    shape = struct.unpack("<3I", content[:12]) if len(content) >= 12 else (0, 0, 0)
    if shape != own.shape or len(content) != 12 + 4 * shape[0] * shape[1] * shape[2]:
        raise TigonError(
            f"{path}: at byte 0: expected the mean image of shape {own.shape}, as cxxnet writes "
            f"it; given extents {shape} and {len(content)} bytes; remove it to have it made anew"
        )
    return np.frombuffer(content, "<f4", offset=12).reshape(shape)


def _made_mean(batches: Any, path: str) -> np.ndarray:
    total: Any = 0.0
    count = 0
    for batch in batches:
        kept = len(batch.data[0]) - (batch.pad or 0)
        total = total + batch.data[0].asnumpy()[:kept].astype(np.float64).sum(axis=0)
        count += kept
    batches.reset()
    mean = np.asarray(total / max(count, 1), "<f4")
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    write_file(path, struct.pack("<3I", *mean.shape) + mean.tobytes())
    return mean


_READERS: Mapping[str, Callable[..., Any]] = {
    "mnist": _mnist,
    "imgrec": _records,
    "img": _listed,
    "csv": _table,
}
_AROUND = ("threadbuffer", "membuffer")
"""They read ahead, which iterators do here by themselves."""
_REFUSED = {
    name: "it reads pages of images, of cxxnet's own form; pack the images by python -m "
    "tigon.tools.im2rec, and write iter = imgrec and image_rec"
    for name in ("imgbin", "imgbinx", "imginst", "imgbinold", "imgbinoldx")
} | {"attachtxt": "a second input is not there; put it into the first one"}


def create(
    section: Section,
    common: Sequence[Setting],
    place: Place,
    shape: Sequence[int],
    batch_size: int,
    without: Collection[str] = (),
) -> Any:
    """The iterator of a section."""
    own = _Section(section, common, place, shape)
    for number, name in enumerate(section.chain):
        if name not in (_AROUND if number else _READERS):
            known = (*_READERS, *_AROUND)
            reason = _REFUSED.get(name, f"known are {', '.join(known)}")
            if name in known:
                reason = "one that reads stands first, and alone; others stand behind it"
            raise own.fail(f"iter = {name:.80}: {reason}")
    return _READERS[section.chain[0]](own, batch_size, without)


SETTINGS = frozenset(
    """
    path_img path_label shuffle input_flat image_list image_rec image_bin image_root image_mean
    mean_value divideby scale rand_crop rand_mirror mirror label_width filename has_header
    round_batch index_offset silent buffer_size nthread
    """.split()
) | frozenset(_UNKNOWN)
