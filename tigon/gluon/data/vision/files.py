"""The published files of MNIST, FashionMNIST and CIFAR, as numpy arrays. Nothing is downloaded."""

from __future__ import annotations

import gzip
import math
import os
import struct
import tarfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon.base import TigonError, check


def read_whole(path: Any, where: str) -> bytes:
    """The content of a file, unpacked if it is packed by gzip."""
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            content = file.read()
    except OSError as error:
        raise TigonError(f"{where}: {name}: {error.strerror}") from error
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise TigonError(f"{where}: {name} is damaged ({error}); get the file again") from None


def read_idx(path: Any, axes: int, where: str) -> np.ndarray:
    """An array of uint8 from a file of MNIST's format."""
    content = read_whole(path, where)
    magic = 0x800 + axes
    found = struct.unpack(">I", content[:4])[0] if len(content) >= 4 else None
    what = "images" if axes == 3 else "labels"
    check(
        found == magic,
        where,
        f"{os.fspath(path)}: expected a file of {what}, which begins with {magic}; it begins with "
        f"{found}; are images and labels exchanged, or is it another file?",
    )
    start = 4 + 4 * axes
    check(
        len(content) >= start, where, f"{os.fspath(path)}: the file ends within its first numbers"
    )
    shape = struct.unpack(f">{axes}I", content[4:start])
    check(
        len(content) == start + math.prod(shape),
        where,
        f"{os.fspath(path)}: expected {math.prod(shape)} bytes for shape {shape} behind the first "
        f"{start}; there are {len(content) - start}; get the file again",
    )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def find(root: str, names: Sequence[str], where: str) -> str:
    """The first of these files that is in a folder."""
    for name in names:
        path = os.path.join(root, name)
        if os.path.exists(path):
            return path
    raise TigonError(
        f"{where}: expected {' or '.join(names)} in {root}; it is not there, and nothing is "
        "downloaded: put the published file there, or give the folder as root"
    )


def read_images_and_labels(root: str, part: str, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, height, width, 1) and labels of MNIST's files."""
    found = []
    for kind, axes in (("images-idx3", 3), ("labels-idx1", 1)):
        names = [
            f"{part}-{kind}-ubyte",
            f"{part}-{kind}-ubyte.gz",
            f"{part}-{kind[:-5]}.{kind[-4:]}-ubyte",
        ]
        found.append(read_idx(find(root, names, where), axes, where))
    images, labels = found
    check(
        len(images) == len(labels),
        where,
        f"{len(images)} images and {len(labels)} labels of {part} in {root}: they are not of one "
        "data set",
    )
    return images[..., None], labels.astype(np.int32)


def read_cifar(
    root: str, names: Sequence[str], folder: str, archive: str, labels: int, where: str
) -> np.ndarray:
    """Rows of CIFAR's binary files, labels first: from the folder, the one that the archive makes,
    or the archive itself."""
    size = labels + 3072
    found = []
    for name in names:
        path = find(root, [name, os.path.join(folder, name), archive], where)
        if path.endswith(archive):
            content = _member(path, name, where)
            path = f"{path}:{name}"
        else:
            content = read_whole(path, where)
        check(
            len(content) > 0 and len(content) % size == 0,
            where,
            f"{path}: expected rows of {size} bytes, labels and an image of 3 x 32 x 32; it has "
            f"{len(content)} bytes; is it of the binary version?",
        )
        found.append(np.frombuffer(content, np.uint8).reshape(-1, size))
    return np.concatenate(found)


def _member(path: str, name: str, where: str) -> bytes:
    try:
        with tarfile.TarFile.gzopen(path) as archive:
            for member in archive:
                if os.path.basename(member.name) == name and member.isfile():
                    file = archive.extractfile(member)
                    assert file is not None
                    return file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise TigonError(f"{where}: {path} is damaged ({error}); get the file again") from None
    raise TigonError(f"{where}: {path} has no file {name}; is it of the binary version?")
