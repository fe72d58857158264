"""Datasets of images: published ones from their files, folders, lists and record files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tigon import nd, recordio
from tigon.base import TigonError, check, data_dir
from tigon.gluon.data.dataset import Dataset, RecordFileDataset
from tigon.gluon.data.vision import files
from tigon.gluon.parameters_section import describe as _describe
from tigon.image import imdecode, imread

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "FashionMNIST",
    "ImageFolderDataset",
    "ImageListDataset",
    "ImageRecordDataset",
]

Transform = Callable[[Any, Any], Any]


class _Published(Dataset):
    """Images and labels in memory."""

    def __init__(self, root: Any, name: str, transform: Transform | None) -> None:
        place = os.path.join(data_dir(), "datasets", name) if root is None else os.fspath(root)
        self._root = os.path.expanduser(place)
        self._transform = transform
        self._data, self._label = self._read()

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def __getitem__(self, idx: Any) -> Any:
        image, label = nd.array(self._data[idx], dtype="uint8"), self._label[idx]
        return (image, label) if self._transform is None else self._transform(image, label)

    def __len__(self) -> int:
        return len(self._label)


class MNIST(_Published):
    """Handwritten digits: images of uint8 (28, 28, 1), labels 0 to 9.

    The files, packed or not, are those that were published: `train-images-idx3-ubyte.gz`,
    `train-labels-idx1-ubyte.gz`, and for `train=False` those of `t10k`."""

    def __init__(
        self, root: Any = None, train: bool = True, transform: Transform | None = None
    ) -> None:
        self._train = train
        super().__init__(
            root, type(self).__name__.lower().replace("fashionm", "fashion-m"), transform
        )

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        part = "train" if self._train else "t10k"
        return files.read_images_and_labels(self._root, part, type(self).__name__)


class FashionMNIST(MNIST):
    """Clothes in ten classes, in files and images of the form of `MNIST`."""


class CIFAR10(_Published):
    """Images of uint8 (32, 32, 3) in ten classes.

    The files are those of the binary version, `data_batch_1.bin` to `data_batch_5.bin` or
    `test_batch.bin`, in the folder, in its `cifar-10-batches-bin`, or packed in
    `cifar-10-binary.tar.gz`."""

    def __init__(
        self, root: Any = None, train: bool = True, transform: Transform | None = None
    ) -> None:
        self._train = train
        super().__init__(root, "cifar10", transform)

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        names = [f"data_batch_{number}.bin" for number in range(1, 6)]
        return self._images(
            names if self._train else ["test_batch.bin"],
            "cifar-10-batches-bin",
            "cifar-10-binary.tar.gz",
            labels=1,
            which=0,
        )

    def _images(
        self, names: Sequence[str], folder: str, archive: str, labels: int, which: int
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = files.read_cifar(self._root, names, folder, archive, labels, type(self).__name__)
        images = rows[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images), rows[:, which].astype(np.int32)


class CIFAR100(CIFAR10):
    """Images of uint8 (32, 32, 3) in twenty classes, or with `fine_label` in a hundred.

    The files are those of the binary version, `train.bin` or `test.bin`, in the folder, in its
    `cifar-100-binary`, or packed in `cifar-100-binary.tar.gz`."""

    def __init__(
        self,
        root: Any = None,
        fine_label: bool = False,
        train: bool = True,
        transform: Transform | None = None,
    ) -> None:
        self._train = train
        self._fine_label = fine_label
        _Published.__init__(self, root, "cifar100", transform)

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        return self._images(
            ["train.bin" if self._train else "test.bin"],
            "cifar-100-binary",
            "cifar-100-binary.tar.gz",
            labels=2,
            which=int(self._fine_label),
        )


class ImageRecordDataset(RecordFileDataset):
    """Images and labels from a record file that `tigon.tools.im2rec` writes. A label is a number,
    or an array where a record has several."""

    def __init__(self, filename: Any, flag: int = 1, transform: Transform | None = None) -> None:
        super().__init__(filename)
        self._flag = flag
        self._transform = transform

    def __getitem__(self, index: int) -> Any:
        record = super().__getitem__(index)
        try:
            header, content = recordio.unpack(record)
            image = imdecode(content, self._flag)
        except TigonError as error:
            raise TigonError(
                f"ImageRecordDataset: {self.filename}, record {self._record.keys[index]}: {error}"
            ) from None
        if self._transform is not None:
            return self._transform(image, header.label)
        return image, header.label


class _ImageFiles(Dataset):
    """Images by their paths."""

    def __init__(self, root: Any, flag: int, transform: Transform | None) -> None:
        self._root = os.path.expanduser(os.fspath(root))
        self._flag = flag
        self._transform = transform
        self.items: list[tuple[str, Any]] = []

    def __getitem__(self, idx: int) -> Any:
        path, label = self.items[idx]
        image = imread(path, self._flag)
        return (image, label) if self._transform is None else self._transform(image, label)

    def __len__(self) -> int:
        return len(self.items)


class ImageFolderDataset(_ImageFiles):
    """Images in folders, one for each class: `root/cat/1.jpg`.

    `synsets` are the classes, sorted; a label is the number of one. `items` are paths and labels.
    Other files are left out, with a warning."""

    def __init__(self, root: Any, flag: int = 1, transform: Transform | None = None) -> None:
        super().__init__(root, flag, transform)
        self._exts = [".jpg", ".jpeg", ".png"]
        self.synsets: list[str] = []
        check(
            os.path.isdir(self._root),
            "ImageFolderDataset",
            f"expected a folder of folders of images at {self._root}; there is none",
        )
        for folder in sorted(os.listdir(self._root)):
            path = os.path.join(self._root, folder)
            if not os.path.isdir(path):
                warnings.warn(f"ImageFolderDataset: {path} is no folder: left out", stacklevel=3)
                continue
            self._list(path, len(self.synsets))
            self.synsets.append(folder)
        check(
            self.items,
            "ImageFolderDataset",
            f"{self._root} has no folders with files that end in {', '.join(self._exts)}; expected "
            "a folder for each class, images in it",
        )

    def _list(self, folder: str, label: int) -> None:
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if os.path.splitext(name)[1].lower() in self._exts:
                self.items.append((path, label))
            else:
                warnings.warn(f"ImageFolderDataset: {path} is no image: left out", stacklevel=4)


class ImageListDataset(_ImageFiles):
    """Images by a list: of [label, ..., path], or the path of a list file as `tigon.tools.im2rec`
    makes it, lines of number, labels and path with tabs between. Paths begin at `root`."""

    def __init__(
        self,
        root: Any = ".",
        imglist: Any = None,
        flag: int = 1,
        transform: Transform | None = None,
    ) -> None:
        super().__init__(root, flag, transform)
        check(
            imglist is not None,
            "ImageListDataset",
            "expected imglist: the path of a list file, or a list of [label, ..., path]",
        )
        for place, row in enumerate(_rows(self._root, imglist)):
            *labels, path = row
            try:
                numbers = [float(label) for label in labels]
            except (TypeError, ValueError):
                numbers = []
            check(
                numbers and isinstance(path, (str, os.PathLike)),
                "ImageListDataset",
                f"imglist, row {place}: expected one label or more, and a path; given {row!r:.80}",
            )
            label = numbers[0] if len(numbers) == 1 else np.array(numbers, np.float32)
            self.items.append((os.path.join(self._root, path), label))


def _rows(root: str, imglist: Any) -> list[Any]:
    if not isinstance(imglist, (str, os.PathLike)):
        return [list(row) for row in imglist]
    path = os.path.join(root, os.path.expanduser(imglist))
    content = files.read_whole(path, "ImageListDataset").decode()
    return [line.split("\t")[1:] for line in content.splitlines() if line.strip()]


_describe(
    MNIST,
    FashionMNIST,
    CIFAR10,
    CIFAR100,
    ImageRecordDataset,
    ImageFolderDataset,
    ImageListDataset,
    root="the folder of the files; by default that under `mx.base.data_dir()`",
    train="whether it is the part for training",
    transform="a function of image and label, in place of both",
    fine_label="whether there are a hundred classes",
    filename="the path of the record file; its index is beside it",
    flag="1: images have three channels; 0: one",
    imglist="rows, or the path of a list file",
)
