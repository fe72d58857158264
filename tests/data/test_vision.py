"""Published data sets from their files, folders and records of images, and transforms."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tigon as mx
from tests.data.test_images import PICTURE, message, saved
from tigon import image, nd, recordio
from tigon.gluon.data import DataLoader, vision
from tigon.gluon.data.vision import transforms

RNG = np.random.default_rng(3)


# ---------------------------------------------------------------------------- published


def write_mnist(folder: Path, part: str, count: int, packed: bool) -> tuple[Any, Any]:
    images = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    labels = RNG.integers(0, 10, count, dtype=np.uint8)
    for kind, head, array in (
        ("images-idx3", struct.pack(">IIII", 2051, count, 28, 28), images),
        ("labels-idx1", struct.pack(">II", 2049, count), labels),
    ):
        content = head + array.tobytes()
        name = f"{part}-{kind}-ubyte" + ".gz" * packed
        (folder / name).write_bytes(gzip.compress(content) if packed else content)
    return images, labels


@pytest.mark.parametrize("kind", [vision.MNIST, vision.FashionMNIST])
@pytest.mark.parametrize("packed", [False, True])
def test_mnist(tmp_path: Path, kind: Any, packed: bool) -> None:
    images, labels = write_mnist(tmp_path, "train", 7, packed)
    tests, _ = write_mnist(tmp_path, "t10k", 3, packed)
    data = kind(tmp_path)
    assert len(data) == 7 and len(kind(root=str(tmp_path), train=False)) == 3
    first, label = data[2]
    assert first.dtype == np.uint8 and (first.asnumpy()[..., 0] == images[2]).all()
    assert label == labels[2] and label.dtype == np.int32
    assert (kind(tmp_path, train=False)[1][0].asnumpy()[..., 0] == tests[1]).all()
    assert (
        kind(tmp_path, transform=lambda data, label: (data.shape, label + 1))[0][1] == labels[0] + 1
    )
    batch, wanted = next(iter(DataLoader(data.transform_first(transforms.ToTensor()), 4)))
    assert batch.shape == (4, 1, 28, 28) and wanted.dtype == np.int32
    pickle.loads(pickle.dumps(data))


def test_files_of_mnist_that_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    folder = tmp_path / "datasets" / "mnist"
    assert message(vision.MNIST) == (
        "MNIST: expected train-images-idx3-ubyte or train-images-idx3-ubyte.gz or "
        f"train-images.idx3-ubyte in {folder}; it is not there, and nothing is downloaded: put the "
        "published file there, or give the folder as root"
    )
    assert "fashion-mnist; it is not there" in message(vision.FashionMNIST)
    write_mnist(tmp_path, "train", 5, False)
    images, labels = (tmp_path / f"train-{n}-ubyte" for n in ("images-idx3", "labels-idx1"))
    whole, few = images.read_bytes(), labels.read_bytes()
    images.write_bytes(whole[:-1])
    assert (
        f"{images}: expected 3920 bytes for shape (5, 28, 28) behind the first 16; there are "
        in (message(lambda: vision.MNIST(tmp_path)))
    )
    images.write_bytes(few)
    assert "begins with 2051; it begins with 2049; are images and labels exchanged" in message(
        lambda: vision.MNIST(tmp_path)
    )
    images.write_bytes(whole[:10])
    assert "the file ends within its first numbers" in message(lambda: vision.MNIST(tmp_path))
    images.write_bytes(gzip.compress(whole)[:-20])
    assert f"{images} is damaged" in message(lambda: vision.MNIST(tmp_path))
    images.write_bytes(whole)
    labels.write_bytes(struct.pack(">II", 2049, 4) + few[8:12])
    assert "5 images and 4 labels of train" in message(lambda: vision.MNIST(tmp_path))


@pytest.mark.parametrize("where", ["", "cifar-10-batches-bin", "archive"])
def test_cifar10(tmp_path: Path, where: str) -> None:
    parts = {}
    for name in [f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"]:
        rows = RNG.integers(0, 256, (2, 3073), dtype=np.uint8)
        rows[:, 0] %= 10
        parts[name] = rows
    if where == "archive":
        with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
            for name, rows in parts.items():
                entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                entry.size = rows.size
                archive.addfile(entry, io.BytesIO(rows.tobytes()))
    else:
        (tmp_path / where).mkdir(exist_ok=True)
        for name, rows in parts.items():
            (tmp_path / where / name).write_bytes(rows.tobytes())
    data = vision.CIFAR10(tmp_path)
    assert len(data) == 10
    first, label = data[3]
    rows = parts["data_batch_2.bin"]
    assert first.shape == (32, 32, 3) and label == rows[1, 0]
    assert (first.asnumpy() == rows[1, 1:].reshape(3, 32, 32).transpose(1, 2, 0)).all()
    assert vision.CIFAR10(tmp_path, train=False)[0][1] == parts["test_batch.bin"][0, 0]


def test_cifar100(tmp_path: Path) -> None:
    rows = RNG.integers(0, 20, (3, 3074), dtype=np.uint8)
    (tmp_path / "train.bin").write_bytes(rows.tobytes())
    assert vision.CIFAR100(tmp_path)[1][1] == rows[1, 0]
    assert vision.CIFAR100(tmp_path, fine_label=True)[1][1] == rows[1, 1]
    (tmp_path / "test.bin").write_bytes(rows.tobytes()[:-1])
    assert "expected rows of 3074 bytes" in message(lambda: vision.CIFAR100(tmp_path, train=False))
    assert "expected test_batch.bin or" in message(lambda: vision.CIFAR10(tmp_path, train=False))
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"no archive")
    assert "is damaged" in message(lambda: vision.CIFAR10(tmp_path))


# ------------------------------------------------------------------- folders and records


def test_folders_of_images(tmp_path: Path) -> None:
    for place, name in enumerate(("dog/b.png", "cat/a.PNG", "dog/a.jpg")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(saved(np.full((4, 4, 3), place, np.uint8)))
    (tmp_path / "dog" / "notes.txt").write_text("")
    (tmp_path / "readme").write_text("")
    with pytest.warns(UserWarning) as seen:
        data = vision.ImageFolderDataset(tmp_path)
    assert sorted(str(one.message) for one in seen) == [
        f"ImageFolderDataset: {tmp_path}/dog/notes.txt is no image: left out",
        f"ImageFolderDataset: {tmp_path}/readme is no folder: left out",
    ]
    assert data.synsets == ["cat", "dog"]
    found = [
        (picture.asnumpy()[0, 0, 0], label) for picture, label in map(data.__getitem__, range(3))
    ]
    assert found == [(1, 0), (2, 1), (0, 1)]
    listed = vision.ImageListDataset(tmp_path, [[3, "dog/b.png"], [1, 2, "cat/a.PNG"]], flag=0)
    assert listed[0][0].shape == (4, 4, 1) and listed[0][1] == 3
    assert listed[1][1].tolist() == [1, 2]
    (tmp_path / "a.lst").write_text("0\t5\tdog/b.png\n1\t6\tcat/a.PNG\n")
    assert [vision.ImageListDataset(tmp_path, "a.lst")[i][1] for i in (0, 1)] == [5, 6]
    assert "row 0: expected one label or more, and a path; given ['x', 'y']" in message(
        lambda: vision.ImageListDataset(tmp_path, [["x", "y"]])
    )
    assert "there is none" in message(lambda: vision.ImageFolderDataset(tmp_path / "nowhere"))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has no folders with files that end in .jpg, .jpeg, .png" in message(
        lambda: vision.ImageFolderDataset(empty)
    )


def test_records_of_images(tmp_path: Path) -> None:
    paths = str(tmp_path / "a.idx"), str(tmp_path / "a.rec")
    with recordio.MXIndexedRecordIO(*paths, "w") as file:
        for key in range(4):
            label = key if key < 3 else [1, 2]
            file.write_idx(key * 2, recordio.pack((0, label, key, 0), saved(PICTURE[:, : 5 + key])))
        file.write_idx(9, recordio.pack((0, 0, 0, 0), b"no image"))
    data = vision.ImageRecordDataset(paths[1])
    assert len(data) == 5 and data[2][0].shape == (12, 7, 3) and data[2][1] == 2
    assert data[3][1].tolist() == [1, 2]
    assert message(lambda: data[4]).startswith(
        f"ImageRecordDataset: {paths[1]}, record 9: imdecode: the 8 bytes, which begin with 6e 6f "
    )
    assert pickle.loads(pickle.dumps(data))[1][1] == 1
    (tmp_path / "a.idx").rename(tmp_path / "b.idx")
    assert message(lambda: vision.ImageRecordDataset(paths[1])) == (
        f"RecordFileDataset: expected the index of {paths[1]} at {paths[0]}; it is not there; "
        f"write it with python -m tigon.tools.im2rec --index {paths[1]}"
    )


# ---------------------------------------------------------------------------- transforms

X = nd.array(PICTURE, dtype="uint8")
EVERY: dict[str, Any] = {
    "Cast": lambda: transforms.Cast("float32"),
    "CenterCrop": lambda: transforms.CenterCrop((5, 4)),
    "Compose": lambda: transforms.Compose([transforms.Resize(4), transforms.ToTensor()]),
    "CropResize": lambda: transforms.CropResize(1, 2, 6, 5, (3, 4)),
    "HybridCompose": lambda: transforms.HybridCompose([transforms.Cast(), transforms.ToTensor()]),
    "HybridRandomApply": lambda: transforms.HybridRandomApply(transforms.Cast()),
    "RandomApply": lambda: transforms.RandomApply([transforms.CenterCrop(3)]),
    "RandomBrightness": lambda: transforms.RandomBrightness(0.4),
    "RandomColorJitter": lambda: transforms.RandomColorJitter(0.1, 0.2, 0.3, 0.4),
    "RandomContrast": lambda: transforms.RandomContrast(0.4),
    "RandomCrop": lambda: transforms.RandomCrop((6, 5), pad=2),
    "RandomFlipLeftRight": lambda: transforms.RandomFlipLeftRight(),
    "RandomFlipTopBottom": lambda: transforms.RandomFlipTopBottom(),
    "RandomGray": lambda: transforms.RandomGray(),
    "RandomHue": lambda: transforms.RandomHue(0.3),
    "RandomLighting": lambda: transforms.RandomLighting(0.1),
    "RandomResizedCrop": lambda: transforms.RandomResizedCrop((6, 5)),
    "RandomSaturation": lambda: transforms.RandomSaturation(0.4),
    "Resize": lambda: transforms.Resize((6, 5)),
    "ToTensor": lambda: transforms.ToTensor(),
}
FLOATS: dict[str, Any] = {
    "Normalize": lambda: transforms.Normalize((1, 2, 3), (4, 5, 6)),
    "Rotate": lambda: transforms.Rotate(20),
    "RandomRotation": lambda: transforms.RandomRotation((-30, 30), rotate_with_proba=0.7),
}


@pytest.mark.filterwarnings("ignore:.*gives way:RuntimeWarning")
@pytest.mark.parametrize("name", transforms.__all__)
def test_every_transform_by_seed_compiled_and_pickled(name: str) -> None:
    change = {**EVERY, **FLOATS}[name]()
    x = X.astype("float32").transpose((2, 0, 1)) if name in FLOATS else X
    if name == "RandomLighting":
        x = X.astype("float32")

    def run(block: Any) -> list[Any]:
        mx.random.seed(4)
        return [block(x).asnumpy() for _ in range(4)]

    first = run(change)
    copied = pickle.loads(pickle.dumps(change))
    change.hybridize()
    for other in (change, copied):
        for a, b in zip(first, run(other), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(
                a.astype(float), b, atol=1.01 if a.dtype == np.uint8 else 1e-4
            )


def test_values_of_transforms() -> None:
    picture = PICTURE.astype(float) / 255
    ready = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))]
    )
    wanted = (picture.transpose(2, 0, 1) - [[[0.1]], [[0.2]], [[0.3]]]) / [
        [[0.4]],
        [[0.5]],
        [[0.6]],
    ]
    np.testing.assert_allclose(ready(X).asnumpy(), wanted, rtol=1e-5, atol=1e-6)
    assert len(ready) == 1, "one compiled block"
    assert (transforms.CenterCrop((5, 4))(X).asnumpy() == PICTURE[4:8, 6:11]).all()
    assert (transforms.CropResize(1, 2, 6, 5)(X).asnumpy() == PICTURE[2:7, 1:7]).all()
    batch = nd.stack(X, X)
    assert transforms.Resize(6, keep_ratio=True)(batch).shape == (2, 6, 8, 3)
    assert transforms.RandomResizedCrop(6)(batch).shape == (2, 6, 6, 3)
    grown = transforms.RandomCrop((19, 16), pad=(1, 2), pad_value=7)(X).asnumpy()
    assert (grown[2:-2, 1:-1] == PICTURE).all() and (grown[0] == 7).all()
    flipped = {tuple(transforms.RandomFlipLeftRight()(X).asnumpy()[0, 0]) for _ in range(30)}
    assert flipped == {tuple(PICTURE[0, 0]), tuple(PICTURE[0, -1])}
    assert (transforms.RandomFlipTopBottom(1)(X).asnumpy() == PICTURE[::-1]).all()
    turned = transforms.Rotate(90)(nd.array(picture[:12, :12].transpose(2, 0, 1))).asnumpy()
    np.testing.assert_allclose(
        turned, np.rot90(picture[:12, :12].transpose(2, 0, 1), 1, (1, 2)), atol=1e-5
    )
    composed = transforms.Compose([lambda x: x + 1, transforms.Cast()])
    assert composed(nd.zeros((1, 1, 3))).asnumpy().ravel().tolist() == [1, 1, 1]


def test_arguments_of_transforms() -> None:
    assert message(lambda: transforms.Resize((1, 2, 3))) == (
        "Resize: size: expected (width, height), or one number for both; given (1, 2, 3)"
    )
    assert "mean: expected a number, or one for each channel" in message(
        lambda: transforms.Normalize("grey")
    )
    assert "angle_limits: expected (least, greatest)" in message(
        lambda: transforms.RandomRotation((3, 1))
    )
    assert "expected transforms, blocks or functions; given 3" in message(
        lambda: transforms.Compose([3])
    )
    assert "Compose takes functions, too" in message(lambda: transforms.HybridCompose([abs]))
    assert "brightness: expected a share from 0 on" in message(
        lambda: transforms.RandomBrightness(-1)
    )


@pytest.mark.alone
def test_a_folder_through_worker_processes(tmp_path: Path) -> None:
    for place in range(12):
        folder = tmp_path / "ab"[place % 2]
        folder.mkdir(exist_ok=True)
        picture = RNG.integers(0, 256, (20 + place, 30, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"{place}.jpg")
    change = transforms.Compose(
        [
            transforms.RandomResizedCrop(16), transforms.RandomFlipLeftRight(),
            transforms.RandomColorJitter(0.2, 0.2, 0.2, 0.1), transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )  # fmt: skip
    data = vision.ImageFolderDataset(tmp_path).transform_first(change)

    def run(workers: int) -> list[Any]:
        mx.random.seed(8)
        loader = DataLoader(data, 5, shuffle=True, num_workers=workers)
        return [(batch.asnumpy(), label.asnumpy()) for batch, label in loader]

    alone = run(0)
    assert [batch.shape for batch, _ in alone] == [(5, 3, 16, 16), (5, 3, 16, 16), (2, 3, 16, 16)]
    for (a, la), (b, lb) in zip(alone, run(2), strict=True):
        assert (a == b).all() and (la == lb).all()
    assert image.imread(tmp_path / "a" / "0.jpg").shape == (20, 30, 3)
