"""Numbers, images and texts of training for TensorBoard."""

from __future__ import annotations

import io
import os
import socket
import time
import weakref
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np

from tigon.base import TigonError, check
from tigon.base.files import AnyPath, open_records
from tigon.contrib.tensorboard import messages
from tigon.image.codec import pillow


class SummaryWriter:
    """Appends to a file in `logdir` that `tensorboard --logdir` shows; others that are there stay.

    What is added is written after `flush_secs` seconds at the latest, when something is added then,
    and by `flush` and `close`. Steps that are not given count what was added under a tag.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with SummaryWriter(folder) as writer:
    ...         writer.add_scalar("loss", 0.5, global_step=1)
    ...         writer.log({"accuracy": 0.75}, step=1)
    ...     [name.startswith("events.out.tfevents.") for name in os.listdir(folder)]
    [True]
    """

    def __init__(
        self, logdir: AnyPath, flush_secs: float = 120, filename_suffix: str = "", **_: Any
    ) -> None:
        folder = os.fsdecode(logdir)
        os.makedirs(folder, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}"
        number = 0
        while os.path.exists(self._path(folder, name, number, filename_suffix)):
            number += 1
        self._file = open_records(self._path(folder, name, number, filename_suffix))
        weakref.finalize(self, self._file.close)
        self._flush_secs = flush_secs
        self._flushed = time.monotonic()
        self._steps: dict[str, int] = {}
        self._write(messages.first_event(now))
        self.flush()

    @staticmethod
    def _path(folder: str, name: str, number: int, suffix: str) -> str:
        return os.path.join(folder, f"{name}.{number}{suffix}")

    def add_scalar(self, tag: str, value: Any, global_step: int | None = None) -> None:
        """A number: a Python number, or an array of one element; or several by name, as a
        dictionary or a pair of a name and a number, under `tag/name`."""
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
            value = {value[0]: value[1]}
        several = isinstance(value, Mapping)
        numbers = {f"{tag}/{k}": v for k, v in value.items()} if several else {tag: value}
        checked = {own: _single("add_scalar", own, one) for own, one in numbers.items()}
        for own, one in checked.items():
            self._add(own, global_step, messages.single(2, one))

    def add_scalars(
        self, main_tag: str, values: Mapping[str, Any], global_step: int | None = None
    ) -> None:
        """Several numbers, under `main_tag/name`."""
        self.add_scalar(main_tag, dict(values), global_step)

    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Several numbers by their tags."""
        for tag, value in values.items():
            self.add_scalar(tag, value, step)

    def add_histogram(
        self, tag: str, values: Any, global_step: int | None = None, bins: Any = 30
    ) -> None:
        """How the numbers of an array are distributed. `bins`: as numpy.histogram takes them."""
        numbers = _array(values).astype(np.float64).ravel()
        check(
            numbers.size > 0 and bool(np.isfinite(numbers).all()),
            "SummaryWriter.add_histogram",
            f"'{tag}': expected finite numbers, one at least; given {numbers.size}, of which "
            f"{int((~np.isfinite(numbers)).sum())} are not finite",
        )
        counts, limits = np.histogram(numbers, bins)
        facts = numbers.min(), numbers.max(), numbers.size, numbers.sum(), (numbers**2).sum()
        found = messages.histogram(map(float, facts), limits[1:].tolist(), counts.tolist())
        self._add(tag, global_step, messages.content(5, found))

    def add_image(self, tag: str, image: Any, global_step: int | None = None) -> None:
        """An image (height, width), (height, width, channels) or (channels, height, width) of 1, 3
        or 4 channels, behind where both could be: integers from 0 to 255, or floats from 0 to 1.
        Needs Pillow: `pip install tigon[image]`."""
        pixels = _array(image)
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        if pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4) and pixels.shape[0] in (1, 3, 4):
            pixels = pixels.transpose(1, 2, 0)
        check(
            pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4) and pixels.size > 0,
            "SummaryWriter.add_image",
            f"'{tag}': expected (height, width) with 1, 3 or 4 channels behind or before; given "
            f"shape {_array(image).shape}",
        )
        if pixels.dtype.kind == "f":
            pixels = np.clip(np.nan_to_num(pixels) * 255 + 0.5, 0, 255)
        pixels = pixels.astype(np.uint8)
        height, width, channels = pixels.shape
        picture = pillow("SummaryWriter.add_image").fromarray(
            np.ascontiguousarray(pixels[:, :, 0] if channels == 1 else pixels)
        )
        encoded = io.BytesIO()
        picture.save(encoded, "PNG")
        made = messages.image(height, width, channels, encoded.getvalue())
        self._add(tag, global_step, messages.content(4, made))

    def add_text(self, tag: str, text: str, global_step: int | None = None) -> None:
        """A text, which is shown as Markdown."""
        made = messages.content(8, messages.string_tensor(str(text)))
        self._add(tag, global_step, messages.content(9, messages.plugin("text")) + made)

    def _add(self, tag: str, step: int | None, value: bytes) -> None:
        check(
            isinstance(tag, str) and bool(tag),
            "SummaryWriter",
            f"tag: expected a name; given {tag!r}",
        )
        if step is None:
            step = self._steps.get(tag, 0)
        self._steps[tag] = int(step) + 1
        summary = messages.text(1, tag) + value
        self._write(messages.event(time.time(), int(step), summary))
        if time.monotonic() - self._flushed >= self._flush_secs:
            self.flush()

    def _write(self, data: bytes) -> None:
        if self._file.closed:
            raise TigonError("SummaryWriter: it is closed; make a new one")
        self._file.write(messages.record(data))

    def flush(self) -> None:
        """Write what was added so far."""
        if not self._file.closed:
            self._file.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what was added, and end the file."""
        self._file.close()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


class LogMetricsCallback:
    """For `batch_end_callback` and `eval_end_callback`: adds metrics to `summary_writer`, by epoch.

    `prefix`: what their tags begin with, such as 'train'."""

    def __init__(self, logging_dir: AnyPath, prefix: str | None = None) -> None:
        self.prefix = prefix
        self.summary_writer = SummaryWriter(logging_dir)

    def __call__(self, param: Any) -> None:
        if param.eval_metric is None:
            return
        for name, value in param.eval_metric.get_name_value():
            tag = name if self.prefix is None else f"{self.prefix}-{name}"
            self.summary_writer.add_scalar(tag, value, global_step=param.epoch)
        self.summary_writer.flush()


def _array(values: Any) -> np.ndarray:
    return values.asnumpy() if hasattr(values, "asnumpy") else np.asarray(values)


def _single(where: str, tag: str, value: Any) -> float:
    found = _array(value)
    check(
        found.size == 1 and found.dtype.kind in "biuf",
        f"SummaryWriter.{where}",
        f"'{tag}': expected one number; given {type(value).__name__} of shape {found.shape}",
    )
    return float(found.reshape(()))
