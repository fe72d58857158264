"""Native code for the bytes of images: the same numbers as operators and numpy give, wherever they
lie."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tigon as mx
from tests.data import worker_datasets as sets
from tests.data.test_images import saved
from tigon import _native, autograd, image, nd, recordio
from tigon.base.files import anonymous_file
from tigon.gluon.data import DataLoader, shared
from tigon.gluon.data.batchify import Group, Pad, Stack
from tigon.gluon.data.loading import Order, default_batchify_fn, load
from tigon.gluon.data.vision import transforms
from tigon.gluon.nn import HybridSequential
from tigon.image import codec, resample
from tigon.image.tables import look_up
from tigon.nd.views import host

RNG = np.random.default_rng(5)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def exactly(found: Any, wanted: Any) -> None:
    found, wanted = (x.asnumpy() if isinstance(x, nd.NDArray) else x for x in (found, wanted))
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    assert found.tobytes() == wanted.tobytes()


# ---------------------------------------------------------------------------- resampling

SIDES = st.integers(1, 40)


def by_numpy(picture: np.ndarray, width: int, height: int, how: int) -> np.ndarray:
    if how == resample.NEAREST:
        rows = np.arange(height) * picture.shape[0] // height
        return picture[rows][:, np.arange(width) * picture.shape[1] // width]
    found = picture
    for axis, size in ((0, height), (1, width)):
        found = resample._along(found, axis, size, how)
    if picture.dtype == np.float32:
        return found
    return np.clip(np.floor(found + np.float32(0.5)), 0, 255).astype(np.uint8)


@settings(max_examples=150, deadline=None)
@given(
    old=st.tuples(SIDES, SIDES, st.integers(1, 5)),
    width=SIDES,
    height=SIDES,
    how=st.integers(0, 4),
    layout=st.sampled_from(("whole", "part", "turned", "transposed", "read-only")),
    floats=st.booleans(),
)
def test_resizing_is_that_of_numpy_to_the_bit(
    old: Any, width: int, height: int, how: int, layout: str, floats: bool
) -> None:
    random = np.random.default_rng(width + 41 * height)
    picture = random.integers(0, 256, old, dtype=np.uint8)
    if floats:
        picture = random.normal(0, 100, old).astype(np.float32)
    if layout == "part":
        picture = np.pad(picture, ((1, 2), (2, 1), (0, 0)), mode="wrap")[1:-2, 2:-1]
    elif layout == "turned":
        picture = picture[::-1, ::-1]
    elif layout == "transposed":
        picture = picture.transpose(1, 0, 2)
    elif layout == "read-only":
        picture.flags.writeable = False
    exactly(
        resample.resample("", picture, width, height, how), by_numpy(picture, width, height, how)
    )


def test_what_is_resized_has_memory_of_its_own() -> None:
    picture = nd.array(RNG.integers(0, 256, (6, 7, 3)), dtype="uint8")
    before = picture.asnumpy()
    for made in (
        image.imresize(picture, 7, 6),
        image.resize_short(picture, 6),
        image.fixed_crop(picture, 0, 0, 7, 6),
        image.copyMakeBorder(picture, 0, 0, 0, 0),
        image.center_crop(picture, (7, 6))[0],
    ):
        made[:] = 0
        assert (picture.asnumpy() == before).all()


def test_other_element_types_are_resized() -> None:
    values = RNG.integers(0, 2**15, (5, 6, 3))
    for dtype in ("uint16", "int32", "float64", "float16"):
        for how in range(5):
            found = resample.resample("", values.astype(dtype), 9, 4, how)
            assert found.shape == (4, 9, 3)
            assert np.abs(found.mean() - values.mean()) < 8000
    swapped = values.astype(">f4")
    for how in range(5):
        np.testing.assert_allclose(
            resample.resample("", swapped, 9, 4, how),
            resample.resample("", values.astype("f4"), 9, 4, how),
            rtol=1e-6,
        )
    wide = nd.array(values, dtype="bfloat16")
    exactly(
        image.imresize(wide, 3, 2, 0).astype("float32"),
        resample.resample("", wide.astype("float32").asnumpy(), 3, 2, 0),
    )


# ------------------------------------------------------------------------------ decoding


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
@pytest.mark.parametrize("blocks", ["one", "several"])
def test_decoded_pixels_are_those_that_pillow_gives(kind: str, blocks: str) -> None:
    for shape in ((1, 1, 3), (7, 5, 3), (300, 41, 3)):
        content = saved(RNG.integers(0, 256, shape, dtype=np.uint8), kind)
        wanted = np.asarray(Image.open(BytesIO(content), "r").convert("RGB"))
        before = Image.core.get_block_size()
        if blocks == "several":
            Image.core.set_block_size(4096)
        try:
            exactly(codec.decode(content), wanted)
            exactly(codec.decode(content, channels="BGR"), np.ascontiguousarray(wanted[..., ::-1]))
            assert codec.decode(content).flags.writeable
        finally:
            Image.core.set_block_size(before)


def test_decoded_pixels_of_a_pillow_without_arrow(monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8))
    wanted = codec.decode(content)
    monkeypatch.delattr(Image.Image, "__arrow_c_array__")
    exactly(codec.decode(content), wanted)
    exactly(codec.decode(content, channels="BGR"), np.ascontiguousarray(wanted[..., ::-1]))


def test_memory_that_does_not_fit_is_refused() -> None:
    picture = np.zeros((2, 3, 3), np.uint8)
    table = np.zeros((3, 256), np.float32)
    places = np.zeros(2, np.int64)
    weights = np.zeros((1, 2), np.float32)
    read_only = np.zeros((3, 2, 3), np.float32)
    read_only.flags.writeable = False
    calls: list[Any] = [
        lambda: _native.look_up_bytes(picture, table[:2], np.zeros((3, 2, 3), np.float32)),
        lambda: _native.look_up_bytes(picture, table[:, ::2], np.zeros((3, 2, 3), np.float32)),
        lambda: _native.look_up_bytes(picture, table, np.zeros((3, 3, 2), np.float32)),
        lambda: _native.look_up_bytes(picture, table, np.zeros((3, 2, 3), np.float64)),
        lambda: _native.look_up_bytes(picture.astype(np.int16), table, picture),
        lambda: _native.resample_image(picture, (places, weights), None, picture[:1]),
        lambda: _native.resample_image(picture, (places, weights[:, :1]), None, picture),
        lambda: _native.resample_image(picture[:, ::-1], None, None, picture.copy()),
        lambda: _native.pick_pixels(picture, places + 2, places, np.zeros((2, 2, 3), np.uint8)),
        lambda: _native.pick_pixels(picture, places, places - 1, np.zeros((2, 2, 3), np.uint8)),
    ]
    for call in calls:
        with pytest.raises(AssertionError, match="the memory of an image: expected"):
            call()
    with pytest.raises((BufferError, ValueError)):
        _native.look_up_bytes(picture, table, read_only)
    with pytest.raises(AssertionError, match="another number of axes"):
        _native.look_up_bytes(picture[0], table, read_only)
    with pytest.raises(ValueError):
        _native.take_pixels(object(), picture)


# -------------------------------------------------------------------------------- tables


@pytest.mark.parametrize("entry", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_look_ups_of_any_layout(entry: str, channels: int) -> None:
    whole = RNG.integers(0, 256, (6, 5, channels), dtype=np.uint8)
    table = RNG.integers(0, 256, (channels, 256)).astype(entry)
    views = (whole, whole[::-1], whole[:, ::-1], whole[1:4, 2:], whole[..., ::-1], whole[::2, ::-2])
    for view in (*views, whole[:0], whole.transpose(1, 0, 2)):
        out = np.empty((channels, *view.shape[:2]), entry)
        look_up(view, table, out)
        wanted = np.stack([table[c][view[..., c]] for c in range(channels)])
        exactly(out, wanted)


def compiled(blocks: Any) -> HybridSequential:
    found = HybridSequential()
    found.add(*blocks)
    found.hybridize()
    return found


CHAINS = {
    "to tensor": lambda: [transforms.ToTensor()],
    "normalized": lambda: [transforms.ToTensor(), transforms.Normalize(MEAN, STD)],
    "cast before": lambda: [transforms.Cast("float32"), transforms.ToTensor()],
    "float16": lambda: [transforms.ToTensor(), transforms.Cast("float16")],
    "bfloat16": lambda: [transforms.ToTensor(), transforms.Cast("bfloat16")],
    "float64, twice": lambda: [
        transforms.ToTensor(),
        transforms.Cast("float64"),
        transforms.Normalize(MEAN, 0.3),
        transforms.Normalize(0.1, STD),
    ],
    "flipped": lambda: [transforms.RandomFlipLeftRight(), transforms.ToTensor()],
    "flipped twice": lambda: [
        transforms.RandomFlipTopBottom(0.4),
        transforms.RandomFlipLeftRight(0.7),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ],
    "flipped three times": lambda: [
        transforms.RandomFlipLeftRight(),
        transforms.RandomFlipLeftRight(),
        transforms.RandomFlipTopBottom(),
        transforms.ToTensor(),
    ],
}


@pytest.mark.parametrize("chain", CHAINS)
def test_chains_give_what_their_operators_give(chain: str) -> None:
    blocks = CHAINS[chain]()
    fast, slow = transforms.Compose(blocks), compiled(blocks)
    channels = (3,) if "normalized" in chain or "twice" in chain else (1, 3, 4)
    for count in channels:
        # `gave` in the order of what was drawn: the stream goes on alike, too
        for dtype in ("uint8", "float32"):
            x = nd.array(RNG.integers(0, 256, (9, 6, count)), dtype=dtype)
            gave = []
            for run in (fast, slow):
                mx.random.seed(3)
                gave.append([*(run(x) for _ in range(8)), nd.random.uniform(shape=(3,))])
            for found, wanted in zip(*gave, strict=True):
                exactly(found.astype("float64"), wanted.astype("float64"))
                assert found.dtype == wanted.dtype
    batch = nd.array(RNG.integers(0, 256, (2, 5, 4, 3)), dtype="uint8")
    mx.random.seed(4)
    made = fast(batch)
    mx.random.seed(4)
    exactly(made.astype("float64"), slow(batch).astype("float64"))


def test_what_looks_at_operators_sees_them() -> None:
    x = nd.array(RNG.integers(0, 256, (4, 5, 3)), dtype="uint8")
    normalize = transforms.Normalize(MEAN, STD)
    chain = transforms.Compose([transforms.ToTensor(), normalize])
    wanted = chain(x)
    seen: list[Any] = []
    handle = normalize.register_forward_hook(lambda block, given, out: seen.append(out))
    exactly(chain(x), wanted)
    assert len(seen) == 1
    handle.detach()
    normalize._mean = (0.0,)  # tables are of the numbers as they are
    assert not (chain(x).asnumpy() == wanted.asnumpy()).all()
    normalize._mean = MEAN
    exactly(chain(x), wanted)
    with autograd.record():
        recorded = chain(x)
    exactly(recorded, wanted)

    exactly(mx.jit(lambda x: chain(x) + 1)(x), chain(x) + 1)
    exactly(transforms.Compose([chain, transforms.Cast("float32")])(x), wanted)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("hybrid_forward", "object"),
        ("hybrid_forward", "class"),
        ("forward", "object"),
        ("forward", "class"),
        ("__call__", "class"),
    ],
)
@pytest.mark.parametrize(
    "kind", [transforms.RandomFlipTopBottom, transforms.ToTensor, transforms.Normalize]
)
def test_chains_call_methods_that_were_replaced(
    monkeypatch: pytest.MonkeyPatch, kind: type, where: str, name: str
) -> None:
    x = nd.array(RNG.integers(0, 256, (4, 5, 3)), dtype="uint8")
    blocks = [transforms.RandomFlipTopBottom(1), transforms.ToTensor(), transforms.Normalize(1, 2)]
    chain = transforms.Compose(blocks)
    wanted = chain(x)
    block = next(one for one in blocks if type(one) is kind)
    owner = kind if where == "class" else block
    theirs = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *given: abs(theirs(*given)) * 0)
    zeros = nd.zeros((3, 4, 5))
    exactly(chain(x), zeros if block is blocks[2] else transforms.Normalize(1, 2)(zeros))
    monkeypatch.undo()
    exactly(chain(x), wanted)


@pytest.mark.parametrize("kind", [tuple, list, np.array, nd.array])
def test_numbers_of_blocks_in_any_form(kind: Any) -> None:
    x = nd.array(RNG.integers(0, 256, (4, 5, 3)), dtype="uint8")
    normalize = transforms.Normalize(MEAN, STD)
    chain = transforms.Compose([transforms.ToTensor(), normalize])
    slow = compiled([transforms.ToTensor(), transforms.Normalize((0.5, 0.25, 0.125), (2, 3, 4))])
    chain(x)
    normalize._mean, normalize._std = kind([0.5, 0.25, 0.125]), kind([2.0, 3.0, 4.0])
    exactly(chain(x), slow(x))
    exactly(chain(x.astype("float32")), slow(x.astype("float32")))
    if kind is not tuple:
        normalize._mean[:] = kind([0.0, 0.0, 0.0])
        slow = compiled([transforms.ToTensor(), transforms.Normalize(0, (2, 3, 4))])
        exactly(chain(x), slow(x))


@pytest.mark.parametrize("given", ["x", None, [], [[1], [1, 2]], np.zeros((2, 2))])
def test_numbers_that_are_none_are_refused_by_the_block(given: Any) -> None:
    x = nd.zeros((4, 5, 3), dtype="uint8")
    said = r"Normalize: std: expected a number, or one for each channel; given "
    with pytest.raises(mx.TigonError, match=said):
        transforms.Normalize(0, given)
    normalize = transforms.Normalize(0, 1)
    chain = transforms.Compose([transforms.ToTensor(), normalize])
    chain(x)
    normalize._std = given
    with pytest.raises(mx.TigonError, match=said):
        chain(x)


@pytest.mark.parametrize(
    "dtype", ["bfloat16", mx.base.as_dtype("bfloat16"), nd.zeros(1, dtype="bfloat16").dtype]
)
def test_chains_to_bfloat16_by_any_name(dtype: Any) -> None:
    x = nd.array(RNG.integers(0, 256, (4, 5, 3)), dtype="uint8")
    found = transforms.Compose([transforms.ToTensor(), transforms.Cast(dtype)])(x)
    exactly(found, transforms.ToTensor()(x).astype("bfloat16"))


def test_blocks_of_a_chain_are_met_once() -> None:
    blocks = [transforms.RandomFlipTopBottom(1), transforms.ToTensor(), transforms.Normalize(1, 2)]
    for start in (0, 1):
        chain = transforms.Compose(blocks[start:])
        met: list[Any] = []
        chain.apply(met.append)
        assert [met.count(block) for block in blocks] == [int(not start), 1, 1]
        assert repr(chain).count("ToTensor") == 1
    x = nd.array(RNG.integers(0, 256, (4, 5, 3)), dtype="uint8")
    seen: list[str] = []
    for block in met:
        block.register_forward_hook(lambda block, given, out: seen.append(type(block).__name__))
    chain(x)
    assert len(seen) == len(met)


def test_chains_that_cannot_be_tables_refuse_as_operators_do() -> None:
    chain = transforms.Compose([transforms.ToTensor(), transforms.Normalize((1, 2), 1)])
    grey = nd.zeros((4, 5, 3), dtype="uint8")
    with pytest.raises(mx.TigonError, match=r"image.normalize: expected one number or one per"):
        chain(grey)
    with pytest.raises(mx.TigonError, match=r"image.to_tensor"):
        chain(nd.zeros((4, 5), dtype="uint8"))
    assert transforms.Compose([transforms.ToTensor()])(nd.zeros((0, 5, 3), dtype="uint8")).size == 0


# ------------------------------------------------------------------------------- loaders


def epoch(loader: Any) -> list[Any]:
    return [
        [part.asnumpy() if isinstance(part, nd.NDArray) else part for part in batch]
        for batch in loader
    ]


@pytest.mark.alone
@pytest.mark.parametrize("how", ["one", "two", "further", "swapped", "threads"])
def test_samples_lie_where_their_batch_does(how: str) -> None:
    chain = transforms.Compose([transforms.RandomFlipLeftRight(), *CHAINS["normalized"]()])
    data = sets.Pictures(22, chain, how)
    random = how != "threads"  # threads that draw do so in any order
    data.transform = chain if random else transforms.Compose(CHAINS["normalized"]())
    mx.random.seed(9)
    wanted = [epoch(DataLoader(data, 4)) for _ in range(2)]
    mx.random.seed(9)
    loader = DataLoader(data, 4, num_workers=2)
    for batches in wanted:
        for found, right in zip(epoch(loader), batches, strict=True):
            for mine, theirs in zip(found, right, strict=True):
                exactly(np.asarray(mine), np.asarray(theirs))


@pytest.mark.parametrize(
    ("how", "lie"), [("one", True), ("two", True), ("sized", True), ("scaled", True),
                     ("cached", False)],
)  # fmt: skip
def test_batches_are_made_where_the_loop_finds_them(
    monkeypatch: pytest.MonkeyPatch, how: str, lie: bool
) -> None:
    """In the worker itself: nothing is copied, of samples of many shapes neither, and the memory
    does not grow."""
    memory = anonymous_file("tigon-test")
    arena = shared.Arena(memory)
    monkeypatch.setattr(shared, "_arena", arena)
    data = sets.Pictures(320, transforms.Compose(CHAINS["normalized"]()), how)
    batchify = Group(Pad(), Stack()) if how == "sized" else default_batchify_fn
    for number in range(40):
        arena.begin()
        order = Order(number, 8 * number, list(range(8 * number, 8 * number + 8)), 1)
        batch = load(data, batchify, order)
        slot = arena._slot
        inside = [slot is not None and part.size and
                  0 <= host(part).ctypes.data - slot.whole().ctypes.data < slot.capacity
                  for part in batch]  # fmt: skip
        sent = arena.pack(batch)
        if number % 4 == 2:  # some batches after another shape
            assert all(inside) or not lie
            assert not lie or sent.offset == slot.offset
        del batch
        arena.release([sent.offset])
    assert arena._lends == lie
    assert sum(one.capacity for one in arena._slots.values()) <= 4 * max(arena._usual, 1 << 16)
    os.close(memory)


@pytest.mark.alone
def test_samples_that_a_dataset_keeps_are_its_own() -> None:
    chain = transforms.Compose(CHAINS["normalized"]())
    wanted = epoch(DataLoader(sets.Pictures(12, chain, "one"), 4))
    loader = DataLoader(sets.Pictures(12, chain, "cached"), 4, num_workers=1)
    for _ in range(4):
        for batch, right in zip(loader, wanted, strict=True):
            exactly(batch[0], right[0])
            host(batch[0])[
                ...
            ] = -1  # the batch is the loop's: what the worker keeps must not change


@pytest.mark.alone
def test_batches_of_samples_as_they_are() -> None:
    data = sets.Pictures(12, transforms.Compose(CHAINS["normalized"]()), "one")
    wanted = [data[index][0].asnumpy() for index in range(12)]
    loader = DataLoader(data, 4, num_workers=1, batchify_fn=sets.as_they_are)
    for _ in range(3):
        found = [sample for batch in loader for sample in batch]
        for (picture, index), right in zip(found, wanted, strict=True):
            exactly(picture, right)
            host(picture)[...] = index


# ------------------------------------------------------------------------------ iterators


class Spelled(image.ImageIter):
    """As its base, in words of its own: so it is not looked up."""

    def augmentation_transform(self, data: Any) -> Any:
        for change in self.auglist:
            data = change(data)
        return data


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mean": True, "std": True},
        {"rand_mirror": True, "rand_crop": True, "mean": True},
        {"brightness": 0.3, "std": True},
        {"resize": 9, "rand_mirror": True, "std": True},
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_image_iter_gives_what_its_augmenters_give(
    tmp_path: Path, options: Any, dtype: str
) -> None:
    rows = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        path.write_bytes(saved(RNG.integers(0, 256, (12, 11, 3), dtype=np.uint8)))
        rows.append([number, path.name])
    if dtype == "uint8" and ("mean" in options or "brightness" in options):
        options = {}  # negative numbers have no uint8
    gave = []
    for kind in (image.ImageIter, Spelled):
        mx.random.seed(2)
        batches = kind(
            2, (3, 8, 7), imglist=rows, path_root=tmp_path, dtype=dtype, shuffle=True, **options
        )
        gave.append([(one.data[0], one.label[0]) for one in batches])
    for (found, label), (wanted, right) in zip(*gave, strict=True):
        exactly(found, wanted)
        exactly(label, right)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("augmentation_transform", "object"),
        ("augmentation_transform", "class"),
        ("postprocess_data", "object"),
        ("postprocess_data", "class"),
        ("__call__", "class"),
    ],
)
def test_image_iter_calls_methods_that_were_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str
) -> None:
    (tmp_path / "one.png").write_bytes(saved(np.full((4, 5, 3), 7, np.uint8)))
    change = image.CastAug()
    parts = {"imglist": [[0, "one.png"]], "path_root": tmp_path}
    batches = image.ImageIter(1, (3, 4, 5), aug_list=[change], **parts)
    assert (batches.next().data[0].asnumpy() == 7).all()
    batches.reset()

    owner: Any = change if name == "__call__" else batches
    owner = type(owner) if where == "class" else owner
    theirs = getattr(owner, name)

    def counted(*given: Any) -> Any:
        """No table of bytes: each number is another."""
        found = theirs(*given)
        return nd.arange(found.size).reshape(found.shape)

    monkeypatch.setattr(owner, name, counted)
    assert sorted(batches.next().data[0].asnumpy().ravel()) == list(range(60))
    batches.reset()
    monkeypatch.undo()
    assert (batches.next().data[0].asnumpy() == 7).all()


@pytest.mark.alone
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_image_record_iter_gives_what_its_formula_gives(
    tmp_path: Path, channels: int, dtype: str
) -> None:
    prefix = str(tmp_path / "images")
    records = recordio.MXIndexedRecordIO(f"{prefix}.idx", f"{prefix}.rec", "w")
    pictures = RNG.integers(0, 256, (5, 8, 7, channels), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        header = recordio.IRHeader(0, float(number), number, 0)
        records.write_idx(number, recordio.pack_img(header, picture, img_fmt=".png"))
    records.close()
    numbers: dict[str, float] = {"mean_r": 10, "mean_g": 20, "std_b": 3, "scale": 0.5}
    found = list(
        mx.io.ImageRecordIter(
            path_imgrec=f"{prefix}.rec", data_shape=(channels, 8, 7), batch_size=5,
            preprocess_threads=2, dtype=dtype, **numbers,
        )
    )  # fmt: skip
    planes = pictures[..., ::-1].transpose(0, 3, 1, 2)  # `pack_img` takes blue first
    if dtype == "uint8":
        exactly(found[0].data[0], np.ascontiguousarray(planes))
        return
    mean = np.array([10, 20, 0][:channels], np.float32)[:, None, None]
    factor = (0.5 / np.array([1, 1, 3][:channels], np.float32)).astype(np.float32)[:, None, None]
    exactly(found[0].data[0], ((planes.astype(np.float32) - mean) * factor).astype(dtype))
