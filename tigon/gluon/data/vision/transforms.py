"""What images (height, width, channels) are changed by on the way into a batch: blocks."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon import autograd, image, nd
from tigon._native import is_host
from tigon.base import TigonError, as_dtype, check
from tigon.base.lazy import complete as _complete
from tigon.context import current_context
from tigon.gluon.block import Block, HybridBlock
from tigon.gluon.data import shared
from tigon.gluon.nn import HybridSequential, Sequential
from tigon.gluon.parameters_section import describe as _describe
from tigon.gluon.trace import current as current_trace
from tigon.image import augmenters
from tigon.image.chance import chance
from tigon.image.geometry import as_array
from tigon.image.tables import look_up, table_of
from tigon.nd.views import host
from tigon.runtime import tracing
from tigon.sym import Symbol

__all__ = [
    "Cast",
    "CenterCrop",
    "Compose",
    "CropResize",
    "HybridCompose",
    "HybridRandomApply",
    "Normalize",
    "RandomApply",
    "RandomBrightness",
    "RandomColorJitter",
    "RandomContrast",
    "RandomCrop",
    "RandomFlipLeftRight",
    "RandomFlipTopBottom",
    "RandomGray",
    "RandomHue",
    "RandomLighting",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSaturation",
    "Resize",
    "Rotate",
    "ToTensor",
]


class _OnArrays(HybridBlock):
    """Does its work outside of compiled code, image by image: sizes differ from one to the next, or
    are drawn. Traced, it is compiled nevertheless where that is possible."""

    def forward(self, x: Any) -> Any:
        if isinstance(x, Symbol):
            compiled = self._compiled(x)
            if compiled is not None:
                return compiled
            x = tracing.needs_arrays("resizes, crops or draws in Python code", x)
        if x.ndim == 4:
            return nd.stack(*[self._change(one) for one in x])
        return self._change(x)

    def _change(self, x: Any) -> Any:
        """One image."""
        raise NotImplementedError

    def _compiled(self, x: Any) -> Any:
        """The same of traced images, in operators; None where there are none for it."""


class Compose(Sequential):
    """Transforms one after the other. Those in a row that can be compiled become one kernel;
    `ToTensor` with `Cast`, `Normalize` and, before them, random flips becomes one look-up of bytes.

    >>> ready = Compose([Resize(4), ToTensor(), Normalize(0.5, 0.25)])
    >>> ready(nd.zeros((6, 8, 3), dtype="uint8")).shape
    (3, 4, 4)
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        super().__init__()
        row: list[HybridBlock] = []
        for change in [*transforms, None]:
            if isinstance(change, HybridBlock) and not isinstance(change, _OnArrays):
                row.append(change)
                continue
            if len(row) > 0:
                flips, numbers = _byte_by_byte(row)
                self.add(_ByteByByte(flips, numbers) if numbers else _compiled(row))
                row = []
            if change is not None:
                self.add(change if isinstance(change, Block) else _Function(change))

    def _hybridize_itself(self, active: bool, flags: dict[str, Any]) -> None:
        """Rows are compiled already; those between them have no common program."""


def _compiled(row: Sequence[HybridBlock]) -> HybridBlock:
    """Transforms in a row as one."""
    if len(row) == 1:
        return row[0]
    compiled = HybridSequential()
    compiled.add(*row)
    compiled.hybridize()
    return compiled


def _byte_by_byte(row: list[HybridBlock]) -> tuple[list[HybridBlock], list[HybridBlock]]:
    """Flips, and transforms after them that put channels first and change number by number; nothing
    where the row is another."""
    kinds = [type(block) for block in row]
    start = next((i for i, kind in enumerate(kinds) if kind not in _FLIPS), len(row))
    if kinds.count(ToTensor) != 1 or not set(kinds[start:]) <= _NUMBERS:
        return [], []
    return row[:start], row[start:]


_PIXELS = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
_MOST_TABLES = 8


class _ByteByByte(Block):
    """Flips, which are a matter of reading, and what is done with bytes number by number, by
    tables: 256 entries for each channel, filled by the blocks themselves. The result lies where the
    batch will. Whatever is no image of uint8 goes through the blocks."""

    def __init__(self, flips: list[HybridBlock], numbers: list[HybridBlock]) -> None:
        super().__init__()
        self.compiled = _compiled([*flips, *numbers])
        self._tables = _Tables(flips, numbers)

    def forward(self, x: Any) -> Any:
        tables = self._tables
        table = None
        if not (self.compiled._forward_hooks or self.compiled._forward_pre_hooks):
            table = tables.of(x)
        if table is None:
            return self.compiled(x)
        pixels = host(x)
        if tables.flips is not None:
            # What becomes of four pixels tells what becomes of an image; so it is drawn as ever.
            top_left = int(tables.flips(nd.from_numpy(_PIXELS.copy())).asnumpy()[0, 0, 0])
            pixels = pixels[:, ::-1] if top_left & 1 else pixels
            pixels = pixels[::-1] if top_left & 2 else pixels
        made = shared.lend((pixels.shape[2], *pixels.shape[:2]), table.dtype)
        look_up(pixels, table, made)
        return shared.array_of(made)


class _Tables:
    """The tables of a row, by channels and by what its blocks hold. This is no block: those of the
    row are met once, as they are written there."""

    def __init__(self, flips: list[HybridBlock], numbers: list[HybridBlock]) -> None:
        self._blocks = [*flips, *numbers]
        self.flips = _compiled(flips) if flips else None
        self._numbers = _compiled(numbers)
        self._found: dict[Any, np.ndarray] = {}

    def of(self, x: Any) -> np.ndarray | None:
        """The table for an image; None where it has to go through the blocks."""
        if not _is_for_tables(x) or not all(map(_is_as_written, self._blocks)):
            return None
        held = tuple(map(_held_by, self._blocks))
        if None in held:
            return None
        key = (x.shape[2], held)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _MOST_TABLES:
                self._found.clear()
            found = self._found[key] = table_of(self._numbers, x.shape[2])
        return found


def _is_for_tables(x: Any) -> bool:
    return (
        current_trace() is None
        and isinstance(x, nd.NDArray)
        and x.ndim == 3
        and x.dtype == np.uint8
        and x.size > 0
        and x.context == current_context()
        and is_host(x.device_index)
        and not autograd.is_recording()
    )


def _is_as_written(block: Block) -> bool:
    """Whether it computes what is written here: what users put in the place of a method, in an
    object or in the class, is called, and so are hooks."""
    if block._forward_hooks or block._forward_pre_hooks:
        return False
    kind = type(block)
    return _WRITTEN[kind] == (
        kind.__call__,
        getattr(block.forward, "__func__", None),
        getattr(block.hybrid_forward, "__func__", None),
    )


def _held_by(block: Any) -> tuple[Any, ...] | None:
    """What the results of a block depend on, as it is now; None where no table can be made of
    that."""
    kind = type(block)
    try:
        if kind is Normalize:
            return _per_channel("mean", block._mean), _per_channel("std", block._std)
        if kind is Cast:
            name = as_dtype(block._dtype).name
            return None if name == "bfloat16" else (name,)
    except TigonError:
        return None  # the block says it
    return ()


class _Function(Block):
    """A function as a block."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        check(
            callable(function),
            "Compose",
            f"expected transforms, blocks or functions; given {function!r:.60}",
        )
        self._function = function

    def forward(self, x: Any) -> Any:
        return self._function(x)


class HybridCompose(HybridSequential):
    """Transforms one after the other, compiled as one."""

    def __init__(self, transforms: Sequence[HybridBlock]) -> None:
        super().__init__()
        for change in transforms:
            check(
                isinstance(change, HybridBlock),
                "HybridCompose",
                f"expected HybridBlocks; given {change!r:.60}; Compose takes functions, too",
            )
            self.add(change)
        self.hybridize()


class Cast(HybridBlock):
    """To another dtype."""

    def __init__(self, dtype: Any = "float32") -> None:
        super().__init__()
        self._dtype = dtype

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.cast(x, dtype=self._dtype)


class ToTensor(HybridBlock):
    """Numbers from 0 to 255 as float32 from 0 to 1, channels first.

    >>> ToTensor()(nd.full((4, 6, 3), 255, dtype="uint8")).shape
    (3, 4, 6)
    """

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.image.to_tensor(x)


class Normalize(HybridBlock):
    """(image - mean) / std, channel by channel, of images with channels first.

    >>> Normalize([1, 2, 3], 2)(nd.full((3, 1, 1), 5)).asnumpy().ravel().tolist()
    [2.0, 1.5, 1.0]
    """

    def __init__(self, mean: Any = 0.0, std: Any = 1.0) -> None:
        super().__init__()
        self._mean = _per_channel("mean", mean)
        self._std = _per_channel("std", std)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        mean, std = _per_channel("mean", self._mean), _per_channel("std", self._std)
        return F.image.normalize(x, mean=mean, std=std)


def _per_channel(name: str, given: Any) -> tuple[float, ...]:
    """As the operator takes them. Whatever a program put in the place of a tuple may change."""
    if type(given) is tuple and given and all(type(value) is float for value in given):
        return given
    try:
        values = np.atleast_1d(given.asnumpy() if isinstance(given, nd.NDArray) else given)
    except ValueError:  # rows of several lengths
        values = np.empty((0, 0))
    check(
        values.ndim == 1 and len(values) > 0 and values.dtype.kind in "fiu",
        "Normalize",
        f"{name}: expected a number, or one for each channel; given {given!r:.60}",
    )
    return tuple(float(value) for value in values)


# ------------------------------------------------------------------------ sizes and parts


def _size(where: str, size: Any) -> tuple[int, int]:
    """(width, height)."""
    pair = (size, size) if isinstance(size, numbers.Integral) else tuple(size)
    check(
        len(pair) == 2 and min(pair) > 0,
        where,
        f"size: expected (width, height), or one number for both; given {size!r}",
    )
    return int(pair[0]), int(pair[1])


class Resize(_OnArrays):
    """In another size: (width, height), or one number for both; with `keep_ratio` the number is
    that of the shorter side.

    >>> Resize(4, keep_ratio=True)(nd.zeros((6, 12, 3))).shape
    (4, 8, 3)
    """

    def __init__(self, size: Any, keep_ratio: bool = False, interpolation: int = 1) -> None:
        super().__init__()
        self._size = _size("Resize", size)
        self._keep = keep_ratio and isinstance(size, numbers.Integral)
        self._interpolation = interpolation

    def _change(self, x: Any) -> Any:
        if self._keep:
            return image.resize_short(x, self._size[0], self._interpolation)
        return image.imresize(x, *self._size, interp=self._interpolation)

    def _compiled(self, x: Any) -> Any:
        if self._interpolation not in (0, 1):
            return None
        size = self._size[:1] if self._keep else self._size
        keep = self._keep
        return nd.image.resize(x, size=size, keep_ratio=keep, interp=self._interpolation)


class CenterCrop(_OnArrays):
    """The part of `size` (width, height) in the middle."""

    def __init__(self, size: Any, interpolation: int = 1) -> None:
        super().__init__()
        self._size = _size("CenterCrop", size)
        self._interpolation = interpolation

    def _change(self, x: Any) -> Any:
        return image.center_crop(x, self._size, self._interpolation)[0]

    def _compiled(self, x: Any) -> Any:
        (width, height), (old_height, old_width) = self._size, x.shape[-3:-1]
        if width > old_width or height > old_height:
            return None
        left, top = (old_width - width) // 2, (old_height - height) // 2
        return nd.image.crop(x, x=left, y=top, width=width, height=height)


class CropResize(_OnArrays):
    """A fixed part, from (x, y) on, resized if there is a `size` (width, height)."""

    def __init__(
        self, x: int, y: int, width: int, height: int, size: Any = None, interpolation: Any = None
    ) -> None:
        super().__init__()
        self._part = (x, y, width, height)
        self._size = None if size is None else _size("CropResize", size)
        self._interpolation = 1 if interpolation is None else interpolation

    def _change(self, x: Any) -> Any:
        return image.fixed_crop(x, *self._part, self._size, self._interpolation)

    def _compiled(self, x: Any) -> Any:
        left, top, width, height = self._part
        part = nd.image.crop(x, x=left, y=top, width=width, height=height)
        if self._size is None:
            return part
        if self._interpolation not in (0, 1):
            return None
        return nd.image.resize(part, size=self._size, interp=self._interpolation)


class RandomCrop(_OnArrays):
    """A part of `size` (width, height) from anywhere, with `pad` pixels around the image first."""

    def __init__(
        self, size: Any, pad: Any = None, pad_value: float = 0, interpolation: int = 1
    ) -> None:
        super().__init__()
        self._size = _size("RandomCrop", size)
        self._pad = pad
        self._pad_value = pad_value
        self._interpolation = interpolation

    def _change(self, x: Any) -> Any:
        if self._pad:
            pads = [self._pad] * 4 if isinstance(self._pad, numbers.Integral) else list(self._pad)
            check(
                len(pads) in (2, 4),
                "RandomCrop",
                f"pad: expected a number, (left and right, top and bottom), or (left, top, right, "
                f"bottom); given {self._pad!r}",
            )
            left, top, right, bottom = pads if len(pads) == 4 else pads * 2
            x = image.copyMakeBorder(x, top, bottom, left, right, 0, self._pad_value)
        return image.random_crop(x, self._size, self._interpolation)[0]


class RandomResizedCrop(_OnArrays):
    """A part of random area (a share within `scale`) and shape (width / height within `ratio`),
    resized to `size` (width, height)."""

    def __init__(
        self,
        size: Any,
        scale: Any = (0.08, 1.0),
        ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: int = 1,
    ) -> None:
        super().__init__()
        self._size = _size("RandomResizedCrop", size)
        self._scale = scale
        self._ratio = ratio
        self._interpolation = interpolation

    def _change(self, x: Any) -> Any:
        crop = image.random_size_crop
        return crop(x, self._size, self._scale, self._ratio, self._interpolation)[0]


class Rotate(Block):
    """Turned against the clock, of float32 and channels first: an image or a batch; see
    `mx.image.imrotate`."""

    def __init__(
        self, rotation_degrees: Any, zoom_in: bool = False, zoom_out: bool = False
    ) -> None:
        super().__init__()
        self._degrees = rotation_degrees
        self._zoom = (zoom_in, zoom_out)

    def forward(self, x: Any) -> Any:
        return image.imrotate(x, self._degrees, *self._zoom)


class RandomRotation(Block):
    """With a probability turned by random degrees between two limits; as `Rotate`."""

    def __init__(
        self,
        angle_limits: Sequence[float],
        zoom_in: bool = False,
        zoom_out: bool = False,
        rotate_with_proba: float = 1.0,
    ) -> None:
        super().__init__()
        check(
            len(angle_limits) == 2 and angle_limits[0] <= angle_limits[1],
            "RandomRotation",
            f"angle_limits: expected (least, greatest) in degrees; given {angle_limits!r}",
        )
        check(
            0 <= rotate_with_proba <= 1,
            "RandomRotation",
            f"rotate_with_proba: expected a probability; given {rotate_with_proba}",
        )
        self._limits = angle_limits
        self._zoom = (zoom_in, zoom_out)
        self._probability = rotate_with_proba

    def forward(self, x: Any) -> Any:
        if chance().random() >= self._probability:
            return x
        return image.random_rotate(x, self._limits, *self._zoom)


# --------------------------------------------------------------------- flips and colours


class RandomFlipLeftRight(HybridBlock):
    """Left becomes right, with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.image.random_flip_left_right(x, p=self.p)


class RandomFlipTopBottom(HybridBlock):
    """Top becomes bottom, with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.image.random_flip_top_bottom(x, p=self.p)


_FLIPS = (RandomFlipLeftRight, RandomFlipTopBottom)
_NUMBERS = {Cast, ToTensor, Normalize}
_WRITTEN: dict[type, tuple[Any, ...]] = {
    kind: (kind.__call__, kind.forward, kind.hybrid_forward) for kind in (*_FLIPS, *_NUMBERS)
}


class _Factor(HybridBlock):
    """A random factor around 1."""

    def __init__(self, name: str, share: float) -> None:
        super().__init__()
        check(
            share >= 0,
            type(self).__name__,
            f"{name}: expected a share from 0 on, how far it changes; given {share}",
        )
        self._factors = {"min_factor": max(0.0, 1 - share), "max_factor": 1 + share}


class RandomBrightness(_Factor):
    """Times a factor from 1 - `brightness` to 1 + `brightness`."""

    def __init__(self, brightness: float) -> None:
        super().__init__("brightness", brightness)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.image.random_brightness(x, **self._factors)


class RandomContrast(_Factor):
    """Distances from the mean brightness times a factor from 1 - `contrast` to 1 + `contrast`."""

    def __init__(self, contrast: float) -> None:
        super().__init__("contrast", contrast)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.image.random_contrast(x, **self._factors)


class RandomSaturation(_Factor):
    """Distances from grey times a factor from 1 - `saturation` to 1 + `saturation`."""

    def __init__(self, saturation: float) -> None:
        super().__init__("saturation", saturation)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.image.random_saturation(x, **self._factors)


class RandomHue(_OnArrays):
    """Colours turned by up to `hue` of half a turn."""

    def __init__(self, hue: float) -> None:
        super().__init__()
        self._change_hue = augmenters.HueJitterAug(hue)

    def _change(self, x: Any) -> Any:
        return _like(x, self._change_hue(x))


class RandomColorJitter(_OnArrays):
    """Brightness, contrast, saturation and hue, in an order that is drawn."""

    def __init__(
        self, brightness: float = 0, contrast: float = 0, saturation: float = 0, hue: float = 0
    ) -> None:
        super().__init__()
        parts: list[augmenters.Augmenter] = []
        parts += [augmenters.BrightnessJitterAug(brightness)] if brightness else []
        parts += [augmenters.ContrastJitterAug(contrast)] if contrast else []
        parts += [augmenters.SaturationJitterAug(saturation)] if saturation else []
        parts += [augmenters.HueJitterAug(hue)] if hue else []
        self._jitter = augmenters.RandomOrderAug(parts)

    def _change(self, x: Any) -> Any:
        return _like(x, self._jitter(x))


def _like(x: Any, changed: Any) -> Any:
    """Of the dtype that the image had; integers within their range."""
    dtype = np.dtype(x.dtype)
    if dtype.kind == "f":
        return changed.astype(dtype)
    limits = np.iinfo(dtype)
    values = np.floor(changed.asnumpy() + 0.5).clip(limits.min, limits.max)
    return as_array(values.astype(dtype))


class RandomLighting(HybridBlock):
    """Noise of deviation `alpha` along the colours of natural images."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self._alpha = alpha

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.image.random_lighting(x, alpha_std=self._alpha)


class RandomGray(_OnArrays):
    """With probability `p` all channels become the brightness."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self._gray = augmenters.RandomGrayAug(p)

    def _change(self, x: Any) -> Any:
        return _like(x, self._gray(x))


class RandomApply(Sequential):
    """Transforms that are applied, all of them, with probability `p`."""

    def __init__(self, transforms: Any, p: float = 0.5) -> None:
        super().__init__()
        self.transforms = transforms if isinstance(transforms, Block) else Compose(transforms)
        self.p = p

    def forward(self, x: Any) -> Any:
        return self.transforms(x) if chance().random() < self.p else x


class HybridRandomApply(_OnArrays):
    """As `RandomApply`, of a block that can be compiled."""

    def __init__(self, transforms: HybridBlock, p: float = 0.5) -> None:
        super().__init__()
        check(
            isinstance(transforms, HybridBlock),
            "HybridRandomApply",
            f"expected a HybridBlock; given {transforms!r:.60}; RandomApply takes others",
        )
        self.transforms = transforms
        self.p = p

    def forward(self, x: Any) -> Any:
        return self.transforms(x) if chance().random() < self.p else x


_describe(
    *(globals()[name] for name in __all__ if name != "ToTensor"),
    transforms="what is applied, in order",
    dtype="of the result",
    mean="what is subtracted, one number or one for each channel",
    std="what is divided by, one number or one for each channel",
    size="(width, height), or one number for both",
    keep_ratio="whether one number is the size of the shorter side, in proportion",
    interpolation="how images are resized; see `mx.image.imresize`",
    x="where the part begins, from the left",
    y="where the part begins, from the top",
    width="of the part",
    height="of the part",
    pad="how many pixels are added: a number, two or four",
    pad_value="what they are",
    scale="the least and the greatest share of the area",
    ratio="the least and the greatest width / height",
    rotation_degrees="a number, or for a batch an array of them",
    zoom_in="whether it is so large that no border shows",
    zoom_out="whether it is so small that all of it shows",
    angle_limits="the least and the greatest number of degrees",
    rotate_with_proba="the probability with which an image is turned",
    p="the probability",
    brightness="how far it changes, as a share",
    contrast="how far it changes, as a share",
    saturation="how far it changes, as a share",
    hue="how far it changes, as a share of half a turn",
    alpha="the deviation",
)
_complete(globals())
