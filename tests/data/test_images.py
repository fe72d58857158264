"""Reading, resizing and changing images, against formulas and Pillow itself."""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tigon as mx
from tigon import image, nd
from tigon.image import augmenters
from tigon.image.resample import resample

RNG = np.random.default_rng(7)
PICTURE = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)


def saved(array: Any, kind: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    buffer = BytesIO()
    picture = Image.fromarray(array)
    if mode is not None:
        picture = picture.convert(mode)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def message(run: Any) -> str:
    with pytest.raises(mx.TigonError) as error:
        run()
    return str(error.value)


# ----------------------------------------------------------------------------- reading


def test_channels(tmp_path: Path) -> None:
    content = saved(PICTURE)
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for given_ in (content, bytearray(content), np.frombuffer(content, np.uint8)):
        assert (image.imdecode(given_).asnumpy() == PICTURE).all()
    assert image.imread(path).dtype == np.uint8
    assert (image.imread(str(path), to_rgb=False).asnumpy() == PICTURE[:, :, ::-1]).all()
    grey = image.imread(path, flag=0)
    assert grey.shape == (12, 17, 1)
    assert abs(grey.asnumpy()[:, :, 0] - PICTURE @ augmenters.GREY).max() <= 1
    out = nd.zeros((12, 17, 3))
    assert image.imdecode(content, out=out) is out and (out.asnumpy() == PICTURE).all()
    assert "out: expected an array of the image's shape (12, 17, 3)" in message(
        lambda: image.imdecode(content, out=nd.zeros(3))
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_the_camera_says(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    stored = {
        1: PICTURE, 2: PICTURE[:, ::-1], 3: PICTURE[::-1, ::-1], 4: PICTURE[::-1],
        5: PICTURE.transpose(1, 0, 2), 6: np.rot90(PICTURE),
        7: PICTURE[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PICTURE, -1),
    }[orientation]  # fmt: skip
    found = image.imdecode(saved(np.ascontiguousarray(stored), exif=exif)).asnumpy()
    assert (found == PICTURE).all()


def test_other_modes() -> None:
    flat = np.full((4, 4, 3), (200, 40, 90), np.uint8)
    cmyk = image.imdecode(saved(flat, "JPEG", "CMYK", quality=100)).asnumpy()
    assert abs(cmyk.astype(int) - flat).max() <= 4
    # Pillow 13.0.0 clips grey of 16 bits at 255, where it keeps the upper 8 bits of colours.
    deep = np.array([[0, 255, 256, 65535]], np.uint16)
    assert image.imdecode(saved(deep), flag=0).asnumpy().ravel().tolist() == [0, 0, 1, 255]
    assert image.imdecode(saved(deep)).asnumpy()[0, 3].tolist() == [255, 255, 255]
    clear = np.dstack([flat, np.zeros((4, 4), np.uint8)])
    assert (image.imdecode(saved(clear)).asnumpy() == flat).all()
    web = np.full((4, 4, 3), (204, 51, 102), np.uint8)
    assert (image.imdecode(saved(web, mode="P")).asnumpy() == web).all()
    bits = np.array([[0, 255]], np.uint8)
    assert image.imdecode(saved(bits, mode="1")).asnumpy()[0, :, 2].tolist() == [0, 255]
    grey = saved(bits, mode="LA")
    assert image.imdecode(grey, flag=-1).shape == (1, 2, 1)
    assert image.imdecode(saved(flat), flag=-1).shape == (4, 4, 3)
    assert "floating-point numbers" in message(
        lambda: image.imdecode(saved(deep.astype(np.float32), "TIFF"))
    )


def test_parts_are_copies() -> None:
    picture = nd.array(PICTURE, dtype="uint8")
    part = image.fixed_crop(picture, 0, 2, 17, 5)
    part[:] = 0
    same = image.imresize(picture, 17, 12)
    same[:] = 0
    assert (picture.asnumpy() == PICTURE).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_damaged_metadata_of_a_whole_image() -> None:
    exif = Image.Exif()
    exif[274] = 3
    content = saved(PICTURE, "JPEG", exif=exif, quality=100)
    damaged = content.replace(b"II*\x00\x08", b"II*\x00\xff").replace(
        b"MM\x00*\x00", b"MM\x00*\xff"
    )
    assert damaged != content and image.imdecode(damaged).shape == PICTURE.shape


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")),
    place=st.floats(0, 1, exclude_max=True),
    byte=st.integers(0, 255),
    cut=st.booleans(),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_images_are_read_or_refused(kind: str, place: float, byte: int, cut: bool) -> None:
    whole = saved(PICTURE, kind)
    at = int(place * len(whole))
    damaged = whole[:at] if cut else whole[:at] + bytes([byte]) + whole[at + 1 :]
    try:
        found = image.imdecode(damaged)
    except mx.TigonError as error:
        assert str(error).startswith("imdecode: ")
    else:
        assert found.ndim == 3 and found.shape[2] == 3 and found.dtype == np.uint8


def test_what_is_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    assert message(lambda: image.imread(path)) == (
        f"imread: {path}: No such file or directory; expected the path of an image"
    )
    path.write_bytes(b"not an image")
    assert message(lambda: image.imread(path)).startswith(
        f"imread: the 12 bytes of {path}, which begin with 6e 6f 74 20 61 6e 20 69, are no image "
        "that can be read ("
    )
    path.write_bytes(b"")
    assert message(lambda: image.imread(path)) == (
        f"imread: expected the bytes of an image of {path}; given none: is the file, or the "
        "record, empty?"
    )
    whole = saved(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), "JPEG")
    assert "is it damaged" in message(lambda: image.imdecode(whole[: len(whole) // 2]))
    assert "imread takes a path" in message(lambda: image.imdecode("a.jpg"))
    assert "array of uint8; given an array of float64" in message(
        lambda: image.imdecode(np.zeros(3))
    )
    assert "flag: expected 1 (colour), 0 (grey) or -1; given 2" in message(
        lambda: image.imdecode(whole, flag=2)
    )
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "is refused as too large" in message(lambda: image.imdecode(whole))
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert message(lambda: image.imdecode(whole)) == (
        "imdecode: images are read and written by Pillow, which is not installed; pip install "
        "'tigon[image]', or pip install pillow"
    )


# ---------------------------------------------------------------------------- geometry

SIDES = st.integers(1, 24)


@settings(max_examples=120, deadline=None)
@given(h=SIDES, w=SIDES, new_h=SIDES, new_w=SIDES, how=st.integers(0, 4))
def test_resizing_flat_images_changes_nothing(
    h: int, w: int, new_h: int, new_w: int, how: int
) -> None:
    flat = np.full((h, w, 2), 113, np.uint8)
    found = resample("", flat, new_w, new_h, how)
    assert found.shape == (new_h, new_w, 2) and found.dtype == np.uint8 and (found == 113).all()


@settings(max_examples=60, deadline=None)
@given(h=SIDES, w=SIDES, new_h=SIDES, new_w=SIDES)
def test_bilinear_is_that_of_the_operator(h: int, w: int, new_h: int, new_w: int) -> None:
    picture = np.random.default_rng(h * 25 + w).normal(size=(h, w, 3)).astype(np.float32)
    found = image.imresize(nd.array(picture), new_w, new_h).asnumpy()
    wanted = nd.image.resize(nd.array(picture), size=(new_w, new_h)).asnumpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    small = resample("", picture, 1, 1, 3)
    np.testing.assert_allclose(small.ravel(), picture.mean((0, 1)), rtol=1e-4, atol=1e-5)


def test_values_of_resizing() -> None:
    row = np.array([[[0], [100]]], np.uint8)
    assert resample("", row, 4, 1, 0).ravel().tolist() == [0, 0, 100, 100]
    assert resample("", row, 4, 1, 1).ravel().tolist() == [0, 25, 75, 100]
    # Keys' kernel at distances 3/4 and 1/4, with slope -3/4, edges repeated
    assert resample("", row.astype(float), 4, 1, 2).ravel().round(4).tolist() == [
        -10.5469, 22.6562, 77.3438, 110.5469,
    ]  # fmt: skip
    assert resample("", np.arange(6.0).reshape(1, 6, 1), 4, 1, 3).ravel().round(6).tolist() == [
        0.333333, 1.666667, 3.333333, 4.666667,
    ]  # fmt: skip
    assert resample("", row, 2, 1, 4) is row
    assert [image._get_interp_method(9, s) for s in ((2, 2, 4, 4), (4, 4, 2, 2), (2, 4, 4, 2))] == [
        2, 3, 1,
    ]  # fmt: skip
    assert image._get_interp_method(9) == 2 and image._get_interp_method(10) in range(5)
    assert "interp: expected 0 (nearest)" in message(lambda: image.imresize(nd.array(row), 1, 1, 7))


@pytest.mark.parametrize("interp", range(5))
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int8", "uint16", "int32"])
def test_resized_images_keep_their_dtype(dtype: str, interp: int) -> None:
    picture = nd.array(np.arange(90).reshape(6, 5, 3))
    found = image.imresize(picture.astype(dtype), 3, 8, interp)
    assert found.dtype == picture.astype(dtype).dtype
    wanted = image.imresize(picture, 3, 8, interp).asnumpy()
    far = {"float16": 0.04, "bfloat16": 0.3, "float64": 1e-4}.get(dtype, 0.51)  # of numbers < 128
    assert abs(found.astype("float32").asnumpy() - wanted).max() <= far


def test_truths_have_no_mean() -> None:
    truths = nd.ones((4, 4, 1)).astype("bool")
    assert image.imresize(truths, 2, 3, 0).dtype == truths.dtype
    assert message(lambda: image.imresize(truths, 2, 3)) == (
        "imresize: expected numbers; given bool: cast it first, or take the nearest pixel "
        "(interp=0)"
    )


def test_crops() -> None:
    picture = nd.array(PICTURE, dtype="uint8")
    found, place = image.center_crop(picture, (5, 4))
    assert place == (6, 4, 5, 4) and (found.asnumpy() == PICTURE[4:8, 6:11]).all()
    for _ in range(20):
        found, (x, y, w, h) = image.random_crop(picture, (5, 4))
        assert (found.asnumpy() == PICTURE[y : y + h, x : x + w]).all()
        found, (x, y, w, h) = image.random_size_crop(picture, (6, 6), (0.2, 0.9), (0.5, 2))
        assert found.shape == (6, 6, 3) and x + w <= 17 and y + h <= 12
        assert 0.1 < w * h / (12 * 17) <= 1
    assert image.random_crop(picture, (34, 12))[0].shape == (12, 34, 3)
    assert image.resize_short(picture, 6).shape == (6, 8, 3)
    assert image.resize_short(picture.transpose((1, 0, 2)), 6).shape == (8, 6, 3)
    assert message(lambda: image.fixed_crop(picture, 10, 0, 8, 2)) == (
        "fixed_crop: expected a part of an image of 17 by 12 (width by height); given 8 by 2 from "
        "(10, 0)"
    )
    assert "given shape (12, 17)" in message(lambda: image.resize_short(picture[:, :, 0], 6))


@pytest.mark.parametrize("kind", range(5))
def test_borders(kind: int) -> None:
    mode = ("constant", "edge", "symmetric", "wrap", "reflect")[kind]
    found = image.copyMakeBorder(nd.array(PICTURE, dtype="uint8"), 1, 2, 3, 0, type=kind)
    assert (found.asnumpy() == np.pad(PICTURE, ((1, 2), (3, 0), (0, 0)), mode=mode)).all()
    if kind == 0:
        found = image.copyMakeBorder(nd.array(PICTURE), 0, 1, 0, 0, values=(1, 2, 3)).asnumpy()
        assert found[12, 0].tolist() == [1, 2, 3]


def test_turning() -> None:
    square = RNG.normal(size=(2, 3, 5, 5)).astype(np.float32)
    for quarter in range(4):
        found = image.imrotate(nd.array(square), 90 * quarter).asnumpy()
        np.testing.assert_allclose(found, np.rot90(square, quarter, (2, 3)), atol=1e-5)
    each = image.imrotate(nd.array(square), nd.array([90, 180])).asnumpy()
    np.testing.assert_allclose(each[1], np.rot90(square[1], 2, (1, 2)), atol=1e-5)
    ones = nd.ones((1, 31, 41))
    assert image.imrotate(ones, 30).asnumpy().min() == 0
    assert image.imrotate(ones, 30, zoom_in=True).asnumpy().min() > 0.99
    inside = image.imrotate(ones, 30, zoom_out=True).asnumpy()
    assert inside[0, 0].max() < 1 and inside[0, 15, 20] == 1
    assert image.random_rotate(ones, (-10, 10)).shape == (1, 31, 41)
    assert "exclude each other" in message(lambda: image.imrotate(ones, 1, True, True))
    assert "expected float32; given uint8" in message(
        lambda: image.imrotate(ones.astype("uint8"), 1)
    )


# --------------------------------------------------------------------------- augmenters


def every_augmenter() -> list[Any]:
    a = augmenters
    return [
        a.ResizeAug(8), a.ForceResizeAug((9, 7)), a.RandomCropAug((5, 4)), a.CenterCropAug((5, 4)),
        a.RandomSizedCropAug((5, 4), 0.1, (0.5, 2)), a.HorizontalFlipAug(0.5), a.CastAug(),
        a.ColorNormalizeAug(a.IMAGENET_MEAN, a.IMAGENET_STD), a.BrightnessJitterAug(0.3),
        a.ContrastJitterAug(0.3), a.SaturationJitterAug(0.3), a.HueJitterAug(0.3),
        a.ColorJitterAug(0.1, 0.2, 0.3), a.RandomGrayAug(0.5),
        a.LightingAug(0.1, a.EIGENVALUES, a.EIGENVECTORS),
        a.SequentialAug([a.CastAug(), a.HueJitterAug(0.2)]),
        a.RandomOrderAug([a.CastAug(), a.HueJitterAug(0.2)]),
    ]  # fmt: skip


@pytest.mark.parametrize("change", every_augmenter(), ids=lambda change: type(change).__name__)
def test_the_seed_decides(change: Any) -> None:
    picture = nd.array(PICTURE, dtype="uint8")

    def run(seed: int) -> list[Any]:
        mx.random.seed(seed)
        return [change(picture).asnumpy().tolist() for _ in range(3)]

    assert run(5) == run(5)
    json.loads(change.dumps())


def test_every_augmenter_is_tried() -> None:
    kinds = {type(change).__name__ for change in every_augmenter()}
    assert kinds == set(augmenters.__all__) - {"Augmenter", "CreateAugmenter"}


def test_what_augmenters_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = nd.array(PICTURE, dtype="uint8")

    class Most:
        def uniform(self, low: float, high: float) -> float:
            return high

        def random(self) -> float:
            return 0.0

        def gauss(self, mean: float, deviation: float) -> float:
            return deviation

    monkeypatch.setattr(augmenters, "chance", Most)
    values = PICTURE.astype(np.float32)
    grey = values @ augmenters.GREY

    def same(change: Any, wanted: Any) -> None:
        np.testing.assert_allclose(change(picture).asnumpy(), wanted, rtol=1e-4, atol=1e-3)

    same(augmenters.BrightnessJitterAug(0.5), values * 1.5)
    same(augmenters.ContrastJitterAug(0.5), 1.5 * values - 0.5 * grey.mean())
    same(augmenters.SaturationJitterAug(0.5), 1.5 * values - 0.5 * grey[:, :, None])
    same(augmenters.RandomGrayAug(0.5), np.dstack([grey] * 3))
    same(augmenters.HorizontalFlipAug(0.5), PICTURE[:, ::-1])
    same(augmenters.HueJitterAug(2), values)  # a whole turn
    shift = augmenters.EIGENVECTORS @ augmenters.EIGENVALUES * 0.1
    same(
        augmenters.LightingAug(0.1, augmenters.EIGENVALUES, augmenters.EIGENVECTORS), values + shift
    )
    same(augmenters.ColorNormalizeAug([1, 2, 3], [4, 5, 6]), (values - [1, 2, 3]) / [4, 5, 6])


def test_lists_of_augmenters() -> None:
    found = image.CreateAugmenter(
        (3, 8, 9), resize=10, rand_crop=True, rand_resize=True, rand_mirror=True, mean=True,
        std=True, brightness=0.1, hue=0.1, pca_noise=0.1, rand_gray=0.1,
    )  # fmt: skip
    assert [type(one).__name__ for one in found] == [
        "ResizeAug", "RandomSizedCropAug", "HorizontalFlipAug", "CastAug", "ColorJitterAug",
        "HueJitterAug", "LightingAug", "RandomGrayAug", "ColorNormalizeAug",
    ]  # fmt: skip
    done: Any = nd.array(PICTURE, dtype="uint8")
    for change in found:
        done = change(done)
    assert done.shape == (8, 9, 3) and done.dtype == np.float32
    assert "rand_resize needs rand_crop=True" in message(
        lambda: image.CreateAugmenter((3, 8, 8), rand_resize=True)
    )
    assert "mean: expected True (that of ImageNet)" in message(
        lambda: image.CreateAugmenter((3, 8, 8), mean=[1, 2])
    )
