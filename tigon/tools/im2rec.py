"""Record files of images, in two steps: a list, then a record file by the list.

    python -m tigon.tools.im2rec data/train images --list --recursive
    python -m tigon.tools.im2rec data/train images --resize 256

The first writes `data/train.lst`, lines of number, label and path with tabs between: with
`--recursive` a label is the number of the folder. The second writes `data/train.rec` and its index
`data/train.idx` for each list whose path begins with the prefix. `--index data/train.rec` writes an
index anew. What of a record file is not complete is never in its place. Images that cannot be read
are named and left out; the program then ends with status 1.
"""

from __future__ import annotations

import argparse
import glob
import os
import random
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from tigon import image, recordio
from tigon.base import TigonError, check
from tigon.base.files import write_file
from tigon.base.progress import Progress
from tigon.image import codec

AHEAD = 64
"""How many images are read before they are written."""


class Row(NamedTuple):
    """A line of a list."""

    number: int
    labels: list[float]
    path: str

    def shown(self) -> str:
        labels = "\t".join(f"{label:f}" for label in self.labels)
        return f"{self.number}\t{labels}\t{self.path}\n"


# --------------------------------------------------------------------------------- lists


def find_images(root: str, recursive: bool, exts: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Paths below a folder, in order, and the number of the folder that each is in."""
    if not recursive:
        for name in sorted(os.listdir(root)):
            if os.path.splitext(name)[1].lower() in exts and os.path.isfile(
                os.path.join(root, name)
            ):
                yield name, 0
        return
    folders: dict[str, int] = {}
    for folder, inside, names in os.walk(root, followlinks=True):
        inside.sort()
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in exts:
                label = folders.setdefault(folder, len(folders))
                yield os.path.relpath(os.path.join(folder, name), root), label


def make_lists(options: argparse.Namespace) -> list[str]:
    """Write the lists of the images below the root; their paths."""
    check(os.path.isdir(options.root), "im2rec", f"expected a folder of images at {options.root}")
    found = list(find_images(options.root, options.recursive, options.exts))
    check(
        found,
        "im2rec",
        f"{options.root} has no files that end in {', '.join(options.exts)}; with --recursive "
        "those in its folders are found, too",
    )
    rows = [Row(number, [label], path) for number, (path, label) in enumerate(found)]
    if options.shuffle:
        random.Random(100).shuffle(rows)
    written = []
    size = -(-len(rows) // options.chunks)
    for chunk in range(options.chunks):
        name = f"_{chunk}" if options.chunks > 1 else ""
        written += _write_parts(options, name, rows[chunk * size : (chunk + 1) * size])
    return written


def _write_parts(options: argparse.Namespace, name: str, rows: list[Row]) -> list[str]:
    tests = int(len(rows) * options.test_ratio)
    trains = int(len(rows) * options.train_ratio)
    if options.train_ratio == 1.0:
        return [_write_list(f"{options.prefix}{name}.lst", rows)]
    parts = [("_test", rows[:tests]), ("_train", rows[tests : tests + trains])]
    if options.train_ratio + options.test_ratio < 1.0:
        parts.append(("_val", rows[tests + trains :]))
    return [
        _write_list(f"{options.prefix}{name}{part}.lst", chosen) for part, chosen in parts if chosen
    ]


def _write_list(path: str, rows: list[Row]) -> str:
    write_file(path, "".join(row.shown() for row in rows).encode())
    return path


def read_list(path: str) -> list[Row]:
    """The rows of a list."""
    found = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            words = line.strip("\n").split("\t")
            try:
                row = Row(int(words[0]), [float(word) for word in words[1:-1]], words[-1])
            except ValueError:
                row = Row(0, [], "")
            check(
                row.labels,
                "im2rec",
                f"{path}, line {number}: expected a number, labels and a path, with tabs between; "
                f"given {line.rstrip()!r:.60}",
            )
            found.append(row)
    return found


# ------------------------------------------------------------------------------- records


def record_of(row: Row, options: argparse.Namespace) -> bytes:
    """The record of an image."""
    path = os.path.join(options.root, row.path)
    label = row.labels if options.pack_label or len(row.labels) > 1 else row.labels[0]
    header = recordio.IRHeader(0, label, row.number, 0)
    if options.pass_through:
        try:
            with open(path, "rb") as file:
                return recordio.pack(header, file.read())
        except OSError as error:
            raise TigonError(f"imread: {path}: {error.strerror}") from error
    pixels: Any = codec.read(path, options.color, "BGR")
    if options.center_crop:
        side = min(pixels.shape[:2])
        pixels = image.center_crop(pixels, (side, side))[0]
    if options.resize and min(pixels.shape[:2]) != options.resize:
        pixels = image.resize_short(pixels, options.resize, interp=9).asnumpy()
    return recordio.pack_img(header, np.asarray(pixels), options.quality, options.encoding)


def make_records(path: str, options: argparse.Namespace) -> int:
    """Write the record file and the index of a list; how many images could not be read."""
    rows = read_list(path)
    base = os.path.splitext(path)[0]
    damaged = 0
    with (
        ThreadPoolExecutor(options.num_thread) as threads,
        recordio.MXIndexedRecordIO(f"{base}.idx", f"{base}.rec", "w") as records,
        Progress(len(rows), f"{base}.rec", "images") as bar,
    ):
        left = iter(rows)
        waiting = [(row, threads.submit(record_of, row, options)) for row in islice(left, AHEAD)]
        while waiting:
            row, future = waiting.pop(0)
            waiting += [(new, threads.submit(record_of, new, options)) for new in islice(left, 1)]
            try:
                content = future.result()
            except TigonError as error:
                damaged += 1
                bar.say(f"left out: {error}", sys.stderr)
            else:
                records.write_idx(row.number, content)
            bar.step()
    print(f"{base}.rec: {len(rows) - damaged} of {len(rows)} images")
    return damaged


def write_index(path: str) -> None:
    """Write the index of a record file anew: keys 0, 1, ..."""
    places = recordio.record_places(path)
    index = os.path.splitext(path)[0] + ".idx"
    write_file(index, "".join(f"{key}\t{place}\n" for key, place in enumerate(places)).encode())
    print(f"{index}: {len(places)} records")


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    made = argparse.ArgumentParser(
        prog="python -m tigon.tools.im2rec",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("prefix", nargs="?", help="what the paths of lists and records begin with")
    made.add_argument("root", nargs="?", help="the folder of the images")
    made.add_argument("--index", metavar="FILE.rec", help="write the index of this file anew")
    lists = made.add_argument_group("lists")
    lists.add_argument("--list", action="store_true", help="write a list instead of records")
    lists.add_argument("--exts", nargs="+", default=[".jpeg", ".jpg", ".png"])
    lists.add_argument("--chunks", type=int, default=1, help="into how many lists")
    lists.add_argument("--train-ratio", type=float, default=1.0)
    lists.add_argument("--test-ratio", type=float, default=0.0)
    lists.add_argument("--recursive", action="store_true", help="a folder for each class")
    lists.add_argument("--no-shuffle", dest="shuffle", action="store_false")
    records = made.add_argument_group("records")
    records.add_argument("--pass-through", action="store_true", help="keep files as they are")
    records.add_argument("--resize", type=int, default=0, help="the shorter side becomes this")
    records.add_argument("--center-crop", action="store_true", help="take the square in the middle")
    records.add_argument("--quality", type=int, default=95, help="of JPEG 1 to 100, of PNG 0 to 9")
    records.add_argument("--num-thread", type=int, default=1)
    records.add_argument("--color", type=int, default=1, choices=[-1, 0, 1])
    records.add_argument("--encoding", default=".jpg", choices=[".jpg", ".png"])
    records.add_argument("--pack-label", action="store_true", help="write all labels of a row")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with these arguments, or those of the command line; the status to end with."""
    commands = parser()
    options = commands.parse_args(arguments)
    if options.index is None and (options.prefix is None or options.root is None):
        commands.error("expected prefix and root, or --index FILE.rec")
    options.root = os.path.abspath(options.root or "")
    try:
        if options.index is not None:
            write_index(options.index)
            return 0
        if options.list:
            for path in make_lists(options):
                print(path)
            return 0
        lists = sorted(glob.glob(f"{glob.escape(options.prefix)}*.lst"))
        check(
            lists,
            "im2rec",
            f"there is no list whose path begins with {options.prefix} and ends in .lst; make one "
            "with --list",
        )
        return int(sum(make_records(path, options) for path in lists) > 0)
    except (TigonError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
