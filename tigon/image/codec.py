"""Images from and to the bytes of a file, by Pillow, as numpy arrays (height, width, channels) of
uint8."""

from __future__ import annotations

import os
from io import BytesIO
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import TigonError, check


def pillow(where: str) -> Any:
    """Pillow's `Image`, or an error that says how to get it."""
    try:
        from PIL import Image
    except ImportError:
        raise TigonError(
            f"{where}: images are read and written by Pillow, which is not installed; "
            "pip install 'tigon[image]', or pip install pillow"
        ) from None
    return Image


def decode(
    content: Any, flag: int = 1, channels: str = "RGB", name: str = "", where: str = "imdecode"
) -> np.ndarray:
    """The image that a file of these bytes holds, turned as it says.

    `flag`: 1 three channels, 0 one, -1 as many as it has, 1 or 3. Transparency is left out; of 16
    bits the upper 8 are kept; CMYK becomes RGB. `name`: of what is decoded, for errors.
    """
    check(flag in (-1, 0, 1), where, f"flag: expected 1 (colour), 0 (grey) or -1; given {flag!r}")
    image_module = pillow(where)
    of = f" of {name}" if name else ""
    data = _bytes(content, where)
    check(
        len(data) > 0,
        where,
        f"expected the bytes of an image{of}; given none: is the file, or the record, empty?",
    )
    try:
        reader = image_module.open
        picture = reader(BytesIO(data))
        picture.load()
        picture = _upright(picture, image_module)
        picture = _in_eight_bits(picture, image_module)
    except image_module.DecompressionBombError as error:
        raise TigonError(f"{where}: the image{of} is refused as too large: {error}") from None
    except TigonError:
        raise
    except Exception as error:  # Pillow's readers raise what they like about damaged files
        begin, said = data[:8].hex(" "), str(error).partition(" <")[0]  # Pillow tells an address
        raise TigonError(
            f"{where}: the {len(data)} bytes{of}, which begin with {begin}, are no image that can "
            f"be read ({said}); is it damaged, or of another format?"
        ) from None
    is_grey = flag == 0 or (flag == -1 and picture.mode == "L")
    wanted = "L" if is_grey else "RGB"
    picture = picture if picture.mode == wanted else picture.convert(wanted)
    return np.array(picture)[:, :, None] if is_grey else _colours(picture, channels)


def _colours(picture: Any, channels: str) -> np.ndarray:
    """The pixels of an image in RGB. Pillow has four bytes for each, and shows them (as Arrow's
    arrays) since 11.2 where they lie in one block, 16 MB by default; what it gives as bytes is
    copied three times: 50 us of an image of 224 x 224, which takes 250 to decode."""
    try:
        _, pixels = picture.__arrow_c_array__()
    except (AttributeError, ValueError):
        whole = np.array(picture)
        return whole if channels == "RGB" else np.ascontiguousarray(whole[:, :, ::-1])
    found = np.empty((picture.height, picture.width, 3), np.uint8)
    _native.take_pixels(pixels, found, channels == "BGR")
    return found


def _upright(picture: Any, image_module: Any) -> Any:
    """As the camera says that it was held (EXIF, tag 274)."""
    turns = image_module.Transpose
    how = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }.get(_orientation(picture))
    return picture if how is None else picture.transpose(how)


def _orientation(picture: Any) -> Any:
    try:
        return picture.getexif().get(274)
    except Exception:  # damaged metadata of an image that is not damaged
        return None


def _in_eight_bits(picture: Any, image_module: Any) -> Any:
    """Modes that Pillow would clip become grey by their upper 8 bits."""
    if picture.mode in ("RGB", "L"):
        return picture
    if picture.mode.startswith("I"):
        wide = np.asarray(picture).astype(np.int64).clip(0, 65535)
        return image_module.fromarray((wide >> 8).astype(np.uint8))
    if picture.mode == "F":
        raise TigonError(
            "imdecode: an image of floating-point numbers has no bits to be shown in; read it with "
            "numpy, and scale it"
        )
    if picture.mode in ("LA", "La", "1"):
        return picture.convert("L")
    return picture.convert("RGB")


def _bytes(content: Any, where: str) -> bytes:
    if isinstance(content, bytes):
        return content
    if hasattr(content, "asnumpy"):
        content = content.asnumpy()
    if isinstance(content, np.ndarray):
        check(
            content.dtype == np.uint8,
            where,
            f"expected bytes, or an array of uint8; given an array of {content.dtype}",
        )
        return content.tobytes()
    check(
        isinstance(content, (bytearray, memoryview)),
        where,
        f"expected the bytes of an image; given {type(content).__name__}; imread takes a path",
    )
    return bytes(content)


def read(path: Any, flag: int = 1, channels: str = "RGB") -> np.ndarray:
    """The image of a file."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise TigonError(
            f"imread: {os.fspath(path)}: {error.strerror}; expected the path of an image"
        ) from error
    return decode(content, flag, channels, os.fspath(path), "imread")


def encode(image: Any, quality: int, img_fmt: str, channels: str = "RGB") -> bytes:
    """The bytes of a file with this image."""
    array = image.asnumpy() if hasattr(image, "asnumpy") else np.asarray(image)
    is_one = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))
    check(
        is_one and array.dtype == np.uint8 and array.size > 0,
        "pack_img",
        "expected an image of uint8 (height, width), or with 1 or 3 channels behind; given "
        f"{array.dtype}{list(array.shape)}",
    )
    formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
    kind = formats.get(str(img_fmt).lower())
    check(kind is not None, "pack_img", f"img_fmt: expected '.jpg' or '.png'; given {img_fmt!r}")
    highest = 100 if kind == "JPEG" else 9
    check(
        isinstance(quality, (int, np.integer)) and (0 <= quality <= highest or kind == "PNG"),
        "pack_img",
        f"quality: expected an integer from 0 to {highest} for {img_fmt}; given {quality!r}",
    )
    image_module = pillow("pack_img")
    if array.ndim == 3:
        array = array[:, :, 0] if array.shape[2] == 1 else array
    if array.ndim == 3 and channels == "BGR":
        array = array[:, :, ::-1]
    picture = image_module.fromarray(np.ascontiguousarray(array))
    buffer = BytesIO()
    if kind == "JPEG":
        picture.save(buffer, "JPEG", quality=int(quality))
    else:  # a quality meant for JPEG asks for nothing of PNG
        picture.save(buffer, "PNG", compress_level=int(quality) if quality <= 9 else 6)
    return buffer.getvalue()
