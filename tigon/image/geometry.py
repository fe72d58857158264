"""Sizes of images: reading, resizing, cropping, padding and turning them. Images are arrays
(height, width, channels)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon.base import check
from tigon.image import codec
from tigon.image.chance import chance
from tigon.image.resample import resample
from tigon.nd import NDArray, array, from_numpy
from tigon.nd.views import host

__all__ = [
    "center_crop",
    "color_normalize",
    "copyMakeBorder",
    "fixed_crop",
    "imdecode",
    "imread",
    "imresize",
    "imrotate",
    "random_crop",
    "random_rotate",
    "random_size_crop",
    "resize_short",
    "scale_down",
]


def pixels(where: str, src: Any) -> np.ndarray:
    """An image as numpy's array, to be read: it may be the memory of `src`."""
    found = host(src)
    check(
        found.ndim == 3 and found.size > 0,
        where,
        f"expected an image (height, width, channels); given shape {found.shape}",
    )
    return found


def as_array(image: np.ndarray) -> NDArray:
    """An array of an image, without a copy where its memory is in order."""
    return from_numpy(np.ascontiguousarray(image))


def imread(filename: Any, flag: int = 1, to_rgb: bool = True) -> NDArray:
    """The image of a file: uint8 (height, width, 3), turned as its camera says.

    Parameters
    ----------
    filename : its path
    flag : 1 (default) three channels, 0 one: grey
    to_rgb : red first (default), or blue first
    """
    return as_array(codec.read(filename, flag, "RGB" if to_rgb else "BGR"))


def imdecode(buf: Any, flag: int = 1, to_rgb: bool = True, out: Any = None) -> NDArray:
    """The image that the bytes of a file hold; see `imread`. `out`: what it is written to."""
    image = codec.decode(buf, flag, "RGB" if to_rgb else "BGR")
    if out is None:
        return as_array(image)
    check(
        tuple(out.shape) == image.shape,
        "imdecode",
        f"out: expected an array of the image's shape {image.shape}; given {tuple(out.shape)}",
    )
    out[:] = as_array(image).astype(out.dtype)
    return out


def imresize(src: Any, w: int, h: int, interp: int = 1) -> NDArray:
    """An image in another size.

    `interp`: 0 the nearest pixel, 1 (default) bilinear, 2 bicubic, 3 the mean of the area (to a
    smaller size), 4 Lanczos, 9 as suits the sizes, 10 any of the first five.

    >>> imresize(array(np.zeros((4, 6, 3))), 3, 2).shape
    (2, 3, 3)
    """
    image = pixels("imresize", src)
    height, width = image.shape[:2]
    how = _get_interp_method(interp, (height, width, h, w))
    return as_array(_resized("imresize", image, w, h, how))


def _resized(where: str, image: np.ndarray, width: int, height: int, how: int) -> np.ndarray:
    """Resized, or copied: in memory of its own."""
    found = resample(where, image, width, height, how)
    return image.copy() if found is image else found


def _get_interp_method(interp: int, sizes: Sequence[int] = ()) -> int:
    """The way of resizing that a number stands for: 0 to 4 themselves; 9: the mean of areas to a
    smaller size, bicubic to a larger one, else bilinear; 10: any. `sizes`: height and width before
    and after.

    >>> _get_interp_method(9, (4, 4, 2, 2)), _get_interp_method(9, (2, 2, 4, 4))
    (3, 2)
    """
    if interp == 9:
        if not sizes:
            return 2
        check(
            len(sizes) == 4,
            "image",
            f"sizes: expected (old height, old width, new height, new width); given {sizes!r}",
        )
        old_height, old_width, new_height, new_width = sizes
        if new_height > old_height and new_width > old_width:
            return 2
        return 3 if new_height < old_height and new_width < old_width else 1
    if interp == 10:
        return chance().randint(0, 4)
    check(
        interp in (0, 1, 2, 3, 4),
        "image",
        f"interp: expected 0 (nearest), 1 (bilinear), 2 (bicubic), 3 (area), 4 (Lanczos), 9 (as "
        f"suits the sizes) or 10 (any); given {interp!r}",
    )
    return interp


def scale_down(src_size: Sequence[int], size: Sequence[int]) -> tuple[int, int]:
    """(width, height) as given, or smaller in the same proportion, so that it fits into an image of
    `src_size`.

    >>> scale_down((640, 480), (720, 120))
    (640, 106)
    """
    width, height = size
    own_width, own_height = src_size
    if own_height < height:
        width, height = width * own_height / height, own_height
    if own_width < width:
        width, height = own_width, height * own_width / width
    return int(width), int(height)


def resize_short(src: Any, size: int, interp: int = 2) -> NDArray:
    """An image in the size whose shorter side is `size`.

    >>> resize_short(array(np.zeros((4, 8, 3))), 2).shape
    (2, 4, 3)
    """
    image = pixels("resize_short", src)
    height, width = image.shape[:2]
    check(size > 0, "resize_short", f"size: expected a positive number; given {size}")
    if height > width:
        new_height, new_width = size * height // width, size
    else:
        new_height, new_width = size, size * width // height
    how = _get_interp_method(interp, (height, width, new_height, new_width))
    return as_array(_resized("resize_short", image, new_width, new_height, how))


def fixed_crop(
    src: Any, x0: int, y0: int, w: int, h: int, size: Sequence[int] | None = None, interp: int = 2
) -> Any:
    """The part of an image whose upper left corner is at (`x0`, `y0`); resized if there is a `size`
    (width, height).

    >>> fixed_crop(array(np.zeros((4, 8, 3))), 1, 2, 3, 2).shape
    (2, 3, 3)
    """
    height, width = src.shape[:2]
    check(
        0 <= x0 and 0 <= y0 and w > 0 and h > 0 and x0 + w <= width and y0 + h <= height,
        "fixed_crop",
        f"expected a part of an image of {width} by {height} (width by height); given {w} by {h} "
        f"from ({x0}, {y0})",
    )
    image = pixels("fixed_crop", src)[y0 : y0 + h, x0 : x0 + w]
    if size is None or tuple(size) == (w, h):
        return as_array(image.copy())
    how = _get_interp_method(interp, (h, w, size[1], size[0]))
    return as_array(resample("fixed_crop", image, size[0], size[1], how))


def _part(where: str, src: Any, size: Sequence[int]) -> tuple[int, int, int, int]:
    check(
        len(size) == 2 and min(size) > 0,
        where,
        f"size: expected (width, height), both positive; given {size!r}",
    )
    height, width = src.shape[:2]
    new_width, new_height = scale_down((width, height), size)
    return width, height, new_width, new_height


def random_crop(src: Any, size: Sequence[int], interp: int = 2) -> tuple[Any, tuple[int, ...]]:
    """A part of `size` (width, height) from anywhere in the image, and where: (x0, y0, w, h). Of an
    image that is too small the largest part of that shape, resized."""
    width, height, new_width, new_height = _part("random_crop", src, size)
    draws = chance()
    x0 = draws.randint(0, width - new_width)
    y0 = draws.randint(0, height - new_height)
    found = fixed_crop(src, x0, y0, new_width, new_height, size, interp)
    return found, (x0, y0, new_width, new_height)


def center_crop(src: Any, size: Sequence[int], interp: int = 2) -> tuple[Any, tuple[int, ...]]:
    """The part of `size` (width, height) in the middle, and where: (x0, y0, w, h). Of an image that
    is too small the largest part of that shape, resized.

    >>> center_crop(array(np.zeros((10, 20, 3))), (4, 4))[1]
    (8, 3, 4, 4)
    """
    width, height, new_width, new_height = _part("center_crop", src, size)
    x0, y0 = (width - new_width) // 2, (height - new_height) // 2
    found = fixed_crop(src, x0, y0, new_width, new_height, size, interp)
    return found, (x0, y0, new_width, new_height)


def random_size_crop(
    src: Any,
    size: Sequence[int],
    area: float | Sequence[float],
    ratio: Sequence[float],
    interp: int = 2,
    **kwargs: Any,
) -> tuple[Any, tuple[int, ...]]:
    """A part of random area and shape, resized to `size` (width, height), and where it was.

    Parameters
    ----------
    src : the image
    size : (width, height) of the result
    area : the least share of the image that is taken, or (least, greatest); `min_area` is its old
        name
    ratio : the least and the greatest width / height of what is taken
    interp : see `imresize`
    """
    area = kwargs.pop("min_area", area)
    check(not kwargs, "random_size_crop", f"unexpected arguments: {', '.join(kwargs)}")
    least, most = (area, 1.0) if isinstance(area, (int, float)) else area
    check(
        0 < least <= most and 0 < ratio[0] <= ratio[1],
        "random_size_crop",
        f"area and ratio: expected positive numbers in order; given {area!r} and {ratio!r}",
    )
    height, width = src.shape[:2]
    draws = chance()
    for _ in range(10):
        target = draws.uniform(least, most) * height * width
        shape = math.exp(draws.uniform(math.log(ratio[0]), math.log(ratio[1])))
        new_width, new_height = round(math.sqrt(target * shape)), round(math.sqrt(target / shape))
        if 0 < new_width <= width and 0 < new_height <= height:
            x0 = draws.randint(0, width - new_width)
            y0 = draws.randint(0, height - new_height)
            found = fixed_crop(src, x0, y0, new_width, new_height, size, interp)
            return found, (x0, y0, new_width, new_height)
    return center_crop(src, size, interp)


def color_normalize(src: Any, mean: Any, std: Any = None) -> NDArray:
    """(src - mean) / std, channel by channel, in float32.

    >>> color_normalize(array(np.full((1, 1, 3), 6)), array([1, 2, 3]), array([5, 4, 3])).asnumpy()
    array([[[1., 1., 1.]]], dtype=float32)
    """
    found = src if isinstance(src, NDArray) else array(src)
    if np.dtype(found.dtype).kind != "f":
        found = found.astype("float32")
    if mean is not None:
        found = found - (mean if isinstance(mean, NDArray) else array(mean)).astype(found.dtype)
    if std is not None:
        found = found / (std if isinstance(std, NDArray) else array(std)).astype(found.dtype)
    return found


_BORDERS = {0: "constant", 1: "edge", 2: "symmetric", 3: "wrap", 4: "reflect"}


def copyMakeBorder(
    src: Any,
    top: int,
    bot: int,
    left: int,
    right: int,
    type: int = 0,
    value: float = 0.0,
    values: Sequence[float] = (),
) -> NDArray:
    """An image with a border.

    `type`: what it is made of: 0 (default) `value`, or `values` of each channel; 1 the edge, 2 the
    image mirrored, 3 the other side, 4 the image mirrored without its edge.

    >>> copyMakeBorder(array(np.zeros((2, 2, 1))), 1, 0, 0, 2).shape
    (3, 4, 1)
    """
    image = pixels("copyMakeBorder", src)
    check(
        min(top, bot, left, right) >= 0,
        "copyMakeBorder",
        f"expected borders of 0 pixels or more; given {(top, bot, left, right)}",
    )
    check(
        type in _BORDERS,
        "copyMakeBorder",
        "type: expected 0 (a value), 1 (the edge), 2 (mirrored), 3 (the other side) or 4 "
        f"(mirrored without the edge); given {type!r}",
    )
    around = ((top, bot), (left, right), (0, 0))
    if type != 0:
        return as_array(np.pad(image, around, mode=_BORDERS[type]))  # type: ignore[call-overload]
    channels = image.shape[2]
    check(
        len(values) in (0, channels),
        "copyMakeBorder",
        f"values: expected one for each of {channels} channels; given {tuple(values)}",
    )
    height, width = image.shape[:2]
    found = np.empty((height + top + bot, width + left + right, channels), image.dtype)
    found[:] = np.asarray(values if len(values) else value, image.dtype)
    found[top : top + height, left : left + width] = image
    return as_array(found)


# ------------------------------------------------------------------------------- turning


def imrotate(
    src: Any, rotation_degrees: Any, zoom_in: bool = False, zoom_out: bool = False
) -> NDArray:
    """An image, or a batch of them, of float32 and channels first, turned against the clock.

    Parameters
    ----------
    src : (channels, height, width), or (batch, channels, height, width), in float32
    rotation_degrees : a number, or for a batch one for each image
    zoom_in : so large that no border shows
    zoom_out : so small that all of it shows; otherwise corners are cut off

    >>> imrotate(array([[[1, 2], [3, 4]]]), 90).asnumpy().round().tolist()
    [[[2.0, 4.0], [1.0, 3.0]]]
    """
    check(
        not (zoom_in and zoom_out),
        "imrotate",
        "zoom_in and zoom_out exclude each other; leave one out",
    )
    check(
        np.dtype(src.dtype) == np.float32,
        "imrotate",
        f"expected float32; given {np.dtype(src.dtype).name}: cast it first",
    )
    check(
        src.ndim in (3, 4),
        "imrotate",
        f"expected (channels, height, width), or a batch of such; given shape {tuple(src.shape)}",
    )
    images = src.asnumpy() if isinstance(src, NDArray) else np.asarray(src)
    degrees = np.asarray(
        rotation_degrees.asnumpy() if isinstance(rotation_degrees, NDArray) else rotation_degrees,
        np.float32,
    )
    if src.ndim == 3:
        check(degrees.size == 1, "imrotate", "one image is turned by one number of degrees")
        return as_array(_rotated(images, float(degrees.reshape(())), zoom_in, zoom_out))
    check(
        degrees.size in (1, len(images)),
        "imrotate",
        f"expected one number of degrees, or one for each of {len(images)} images; given "
        f"{degrees.size}",
    )
    turned = [
        _rotated(image, float(angle), zoom_in, zoom_out)
        for image, angle in zip(images, np.broadcast_to(degrees.ravel(), len(images)), strict=True)
    ]
    return as_array(np.stack(turned))


def random_rotate(
    src: Any, angle_limits: Sequence[float], zoom_in: bool = False, zoom_out: bool = False
) -> NDArray:
    """As `imrotate`, by random numbers of degrees between two limits."""
    draws = chance()
    low, high = angle_limits
    if src.ndim == 3:
        degrees: Any = draws.uniform(low, high)
    else:
        degrees = array([draws.uniform(low, high) for _ in range(src.shape[0])])
    return imrotate(src, degrees, zoom_in, zoom_out)


def _rotated(image: np.ndarray, degrees: float, zoom_in: bool, zoom_out: bool) -> np.ndarray:
    """Bilinear; what lies outside is 0."""
    _, height, width = image.shape
    turn = math.radians(degrees)
    cosine, sine = math.cos(turn), math.sin(turn)
    scale = 1.0
    if zoom_in or zoom_out:
        # The corners, from the middle, where they would lie: how far beyond the image's half.
        across, down = max(width - 1, 1), max(height - 1, 1)
        box_width = abs(across * cosine) + abs(down * sine)
        box_height = abs(across * sine) + abs(down * cosine)
        outer = max(box_width / across, box_height / down)
        scale = outer if zoom_out else 1 / outer
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x - (width - 1) / 2, y - (height - 1) / 2
    from_x = (cosine * x - sine * y) * scale + (width - 1) / 2
    from_y = (sine * x + cosine * y) * scale + (height - 1) / 2
    low_x, low_y = np.floor(from_x).astype(int), np.floor(from_y).astype(int)
    share_x = (from_x - low_x).astype(np.float32)
    share_y = (from_y - low_y).astype(np.float32)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))

    def at(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return padded[:, row.clip(-1, height) + 1, column.clip(-1, width) + 1]

    above = at(low_y, low_x) * (1 - share_x) + at(low_y, low_x + 1) * share_x
    below = at(low_y + 1, low_x) * (1 - share_x) + at(low_y + 1, low_x + 1) * share_x
    return (above * (1 - share_y) + below * share_y).astype(np.float32)
