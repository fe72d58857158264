"""Images from files to batches: DataLoader beside PyTorch's, turn by turn, over one folder.

    make bench-data
    make bench-data DATA="--rounds 3"

A folder of JPEG files of 224 x 224 is made for it. Two cases: images as they are decoded, and with
channels first, in float32, normalized. Both sides read the same files with the same Pillow, in as
many worker processes, which live on from epoch to epoch; a turn is an epoch, of which the first
batches do not count. Before anything is timed the batches of both sides are compared. The floor is
Pillow alone: it decodes the same files, in one process for each worker, and nothing is done with
what comes out.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import peers
from PIL import Image
from PIL import __version__ as PILLOW
from processors import processors

import tigon as mx
from tigon.base.progress import progress
from tigon.gluon.data import DataLoader
from tigon.gluon.data.vision import ImageFolderDataset, transforms

SIDE, BATCH, FILES, TIMES = 224, 32, 256, 8
UNCOUNTED = 8
"""Batches of an epoch that are over before the clock begins: those ordered ahead, and as many."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Those of ImageNet."""

FLOOR = (
    "import sys, time; from io import BytesIO; from PIL import Image\n"
    "contents = [open(path, 'rb').read() for path in sys.argv[1:]]\n"
    "for turn in range(2):\n"
    "    began = time.perf_counter()\n"
    "    for content in contents: Image.open(BytesIO(content)).load()\n"
    "print((time.perf_counter() - began) / len(contents))"
)


def picture(random: np.random.Generator) -> np.ndarray:
    """Noise whose power falls with frequency as that of photographs does (Field 1987)."""
    frequencies = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    frequencies[0, 0] = 1
    noise = np.fft.rfft2(random.normal(size=(4, SIDE, SIDE))) / frequencies
    layers = np.fft.irfft2(noise, (SIDE, SIDE))
    colours = np.moveaxis(layers[:1] + 0.4 * layers[1:], 0, -1)
    low, high = np.quantile(colours, (0.005, 0.995))
    return ((colours - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)


def write_folder(folder: Path, count: int) -> None:
    random = np.random.default_rng(0)
    for number in range(count):
        path = folder / str(number % 10) / f"{number:04}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture(random)).save(path, quality=90)


@dataclass
class Case:
    """Loaders of all contestants, which give equal batches."""

    name: str
    loaders: dict[str, Iterable[Any]]
    goal: float


def cases(folder: Path, workers: int, times: int) -> list[Case]:
    images = ImageFolderDataset(str(folder))
    paths, labels = zip(*images.items, strict=True)
    order = list(range(len(paths))) * times
    ready = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    torch_side = import_module("peers.torch_loading") if peers.installed("torch") else None
    found = []
    for name, dataset, statistics_, goal in (
        ("decoded: uint8, channels last", images, (None, None), 1.2),
        (
            "decoded, channels first, float32, normalized",
            images.transform_first(ready),
            (MEAN, STD),
            1.5,
        ),
    ):
        loaders: dict[str, Iterable[Any]] = {
            "tigon": DataLoader(dataset, BATCH, sampler=order, num_workers=workers)
        }
        if torch_side is not None:
            for other, change in torch_side.changes(*statistics_).items():
                loaders[other] = torch_side.loader(paths, labels, change, BATCH, workers, order)
        found.append(Case(name, loaders, goal))
    return found


def check(case: Case) -> None:
    """The batches of an epoch are the same numbers, float32 up to rounding."""
    for batches in zip(*case.loaders.values(), strict=True):
        (images, labels), *others = (
            [part.asnumpy() if isinstance(part, mx.nd.NDArray) else part.numpy() for part in batch]
            for batch in batches
        )
        for other_images, other_labels in others:
            assert images.dtype == other_images.dtype and images.shape == other_images.shape
            np.testing.assert_allclose(images, other_images, rtol=0, atol=2e-6, err_msg=case.name)
            np.testing.assert_array_equal(labels, other_labels)


def speed(loader: Iterable[Any]) -> float:
    """Samples per second of an epoch."""
    count = 0
    for place, (images, _) in enumerate(loader):
        if place + 1 == UNCOUNTED:
            began = time.perf_counter()
        elif place >= UNCOUNTED:
            count += images.shape[0]
        del images
    return count / (time.perf_counter() - began)


def floor(paths: Sequence[str], workers: int) -> float:
    """Samples per second that Pillow alone decodes."""
    command = [sys.executable, "-c", FLOOR, *paths]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(workers)]
    return sum(1 / float(process.communicate()[0]) for process in running)


def table(found: list[Case], rounds: int, limit: Callable[[], float]) -> list[str]:
    lines = [
        "| samples per second | tigon | torch | torchvision | Pillow alone | tigon : best other | "
        "goal |",
        "|---" * 7 + "|",
    ]
    for case in found:
        check(case)
        speeds: dict[str, list[float]] = {name: [] for name in [*case.loaders, "floor"]}
        for _ in progress(range(rounds), case.name, "rounds"):
            for name, loader in case.loaders.items():
                speeds[name].append(speed(loader))
            speeds["floor"].append(limit())
        cells = [
            f"{statistics.median(speeds[name]):,.0f}" if name in speeds else "-"
            for name in ("tigon", "torch", "torchvision", "floor")
        ]
        ratios = {
            name: statistics.median(
                mine / theirs for mine, theirs in zip(speeds["tigon"], speeds[name], strict=True)
            )
            for name in case.loaders
            if name != "tigon"
        }
        best = min(ratios, key=lambda name: ratios[name], default="")
        ratio = f"{ratios[best]:.2f} {best}" if best else "-"
        lines.append(f"| {case.name} | {' | '.join(cells)} | {ratio} | {case.goal} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--times", type=int, default=TIMES, help="how often an epoch has each file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_folder(folder, options.files)
        paths = [str(path) for path in sorted(folder.rglob("*.jpg"))]
        size = statistics.mean(Path(path).stat().st_size for path in paths)
        print(
            f"- tigon {mx.__version__}, Pillow {PILLOW}, {peers.versions()}, "
            f"Python {platform.python_version()}; {options.workers} workers on {processors()} "
            f"processors, batches of {BATCH}\n- {len(paths)} files of {SIDE} x {SIDE}, "
            f"{size / 1000:.1f} KB each; medians of {options.rounds} epochs of "
            f"{len(paths) * options.times} samples each\n"
        )
        found = cases(folder, options.workers, options.times)
        for line in table(found, options.rounds, lambda: floor(paths, options.workers)):
            print(line)


if __name__ == "__main__":
    main()
