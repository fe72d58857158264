"""Augmenters: objects that change an image, at random or always, in the order of a list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.arguments import NamesWrongTypes
from tigon.image.chance import chance
from tigon.image.geometry import (
    as_array,
    center_crop,
    color_normalize,
    imresize,
    random_crop,
    random_size_crop,
    resize_short,
)
from tigon.nd import NDArray, array

__all__ = [
    "Augmenter",
    "BrightnessJitterAug",
    "CastAug",
    "CenterCropAug",
    "ColorJitterAug",
    "ColorNormalizeAug",
    "ContrastJitterAug",
    "CreateAugmenter",
    "ForceResizeAug",
    "HorizontalFlipAug",
    "HueJitterAug",
    "LightingAug",
    "RandomCropAug",
    "RandomGrayAug",
    "RandomOrderAug",
    "RandomSizedCropAug",
    "ResizeAug",
    "SaturationJitterAug",
    "SequentialAug",
]

GREY = np.array([0.299, 0.587, 0.114], np.float32)
"""How much of red, green and blue is seen as brightness (ITU-R BT.601)."""


class Augmenter(NamesWrongTypes):
    """Base: calling it with an image gives the changed one. `**kwargs` is what `dumps` shows."""

    def __init__(self, **kwargs: Any) -> None:
        self._kwargs = {name: _plain(value) for name, value in kwargs.items()}

    def dumps(self) -> str:
        """Name and arguments as JSON.

        >>> ResizeAug(32).dumps()
        '["resizeaug", {"size": 32, "interp": 2}]'
        """
        return json.dumps([type(self).__name__.lower(), self._kwargs])

    def __call__(self, src: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: define __call__")


def _plain(value: Any) -> Any:
    if isinstance(value, (NDArray, np.ndarray)):
        return (value.asnumpy() if isinstance(value, NDArray) else value).tolist()
    return value


def _image(src: Any) -> np.ndarray:
    return src.asnumpy() if isinstance(src, NDArray) else np.asarray(src)


def _numbers(src: Any) -> np.ndarray:
    """In floating point, as whatever computes with an image leaves it."""
    image = _image(src)
    return image if image.dtype.kind == "f" else image.astype(np.float32)


class SequentialAug(Augmenter):
    """Augmenters one after the other."""

    def __init__(self, ts: Sequence[Augmenter]) -> None:
        super().__init__()
        self.ts = list(ts)

    def dumps(self) -> str:
        return json.dumps([type(self).__name__.lower(), [json.loads(t.dumps()) for t in self.ts]])

    def __call__(self, src: Any) -> Any:
        for change in self.ts:
            src = change(src)
        return src


class RandomOrderAug(SequentialAug):
    """Augmenters in an order that is drawn each time."""

    def __call__(self, src: Any) -> Any:
        for change in chance().sample(self.ts, len(self.ts)):
            src = change(src)
        return src


class ResizeAug(Augmenter):
    """The shorter side becomes `size`."""

    def __init__(self, size: int, interp: int = 2) -> None:
        super().__init__(size=size, interp=interp)
        self.size = size
        self.interp = interp

    def __call__(self, src: Any) -> Any:
        return resize_short(src, self.size, self.interp)


class ForceResizeAug(Augmenter):
    """Resized to `size` (width, height), whatever the shape was."""

    def __init__(self, size: Sequence[int], interp: int = 2) -> None:
        super().__init__(size=size, interp=interp)
        self.size = size
        self.interp = interp

    def __call__(self, src: Any) -> Any:
        return imresize(src, *self.size, interp=self.interp)


class RandomCropAug(Augmenter):
    """A part of `size` (width, height) from anywhere."""

    def __init__(self, size: Sequence[int], interp: int = 2) -> None:
        super().__init__(size=size, interp=interp)
        self.size = size
        self.interp = interp

    def __call__(self, src: Any) -> Any:
        return random_crop(src, self.size, self.interp)[0]


class RandomSizedCropAug(Augmenter):
    """A part of random area and shape, resized to `size` (width, height)."""

    def __init__(
        self,
        size: Sequence[int],
        area: float | Sequence[float],
        ratio: Sequence[float],
        interp: int = 2,
        **kwargs: Any,
    ) -> None:
        area = kwargs.pop("min_area", area)
        check(not kwargs, "RandomSizedCropAug", f"unexpected arguments: {', '.join(kwargs)}")
        super().__init__(size=size, area=area, ratio=ratio, interp=interp)
        self.size = size
        self.area = area
        self.ratio = ratio
        self.interp = interp

    def __call__(self, src: Any) -> Any:
        return random_size_crop(src, self.size, self.area, self.ratio, self.interp)[0]


class CenterCropAug(Augmenter):
    """The part of `size` (width, height) in the middle."""

    def __init__(self, size: Sequence[int], interp: int = 2) -> None:
        super().__init__(size=size, interp=interp)
        self.size = size
        self.interp = interp

    def __call__(self, src: Any) -> Any:
        return center_crop(src, self.size, self.interp)[0]


class HorizontalFlipAug(Augmenter):
    """With probability `p` left becomes right."""

    def __init__(self, p: float) -> None:
        super().__init__(p=p)
        self.p = p

    def __call__(self, src: Any) -> Any:
        if chance().random() < self.p:
            return as_array(_image(src)[:, ::-1])
        return src


class CastAug(Augmenter):
    """Of another dtype."""

    def __init__(self, typ: str = "float32") -> None:
        super().__init__(type=typ)
        self.typ = typ

    def __call__(self, src: Any) -> Any:
        return src.astype(self.typ)


class ColorNormalizeAug(Augmenter):
    """(image - mean) / std, channel by channel; None leaves out."""

    def __init__(self, mean: Any, std: Any) -> None:
        super().__init__(mean=mean, std=std)
        self.mean = mean if mean is None or isinstance(mean, NDArray) else array(mean)
        self.std = std if std is None or isinstance(std, NDArray) else array(std)

    def __call__(self, src: Any) -> Any:
        return color_normalize(src, self.mean, self.std)


class BrightnessJitterAug(Augmenter):
    """Times a factor from 1 - `brightness` to 1 + `brightness`."""

    def __init__(self, brightness: float) -> None:
        super().__init__(brightness=brightness)
        self.brightness = brightness

    def __call__(self, src: Any) -> Any:
        factor = 1 + chance().uniform(-self.brightness, self.brightness)
        return as_array(_numbers(src) * np.float32(factor))


class ContrastJitterAug(Augmenter):
    """Distances from the mean brightness times a factor from 1 - `contrast` to 1 + `contrast`."""

    def __init__(self, contrast: float) -> None:
        super().__init__(contrast=contrast)
        self.contrast = contrast

    def __call__(self, src: Any) -> Any:
        factor = np.float32(1 + chance().uniform(-self.contrast, self.contrast))
        image = _numbers(src)
        return as_array(image * factor + (1 - factor) * (image @ GREY).mean())


class SaturationJitterAug(Augmenter):
    """Distances from grey times a factor from 1 - `saturation` to 1 + `saturation`."""

    def __init__(self, saturation: float) -> None:
        super().__init__(saturation=saturation)
        self.saturation = saturation

    def __call__(self, src: Any) -> Any:
        factor = np.float32(1 + chance().uniform(-self.saturation, self.saturation))
        image = _numbers(src)
        return as_array(image * factor + (1 - factor) * (image @ GREY)[:, :, None])


_TO_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]], np.float64
)


class HueJitterAug(Augmenter):
    """Colours turned by up to `hue` of half a turn, in either direction (in the space YIQ)."""

    def __init__(self, hue: float) -> None:
        super().__init__(hue=hue)
        self.hue = hue

    def __call__(self, src: Any) -> Any:
        turn = chance().uniform(-self.hue, self.hue) * np.pi
        cosine, sine = np.cos(turn), np.sin(turn)
        turned = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
        colors = np.linalg.inv(_TO_YIQ) @ turned @ _TO_YIQ
        return as_array(_numbers(src) @ colors.T.astype(np.float32))


class ColorJitterAug(RandomOrderAug):
    """Brightness, contrast and saturation, in an order that is drawn."""

    def __init__(self, brightness: float, contrast: float, saturation: float) -> None:
        parts: list[Augmenter] = []
        if brightness > 0:
            parts.append(BrightnessJitterAug(brightness))
        if contrast > 0:
            parts.append(ContrastJitterAug(contrast))
        if saturation > 0:
            parts.append(SaturationJitterAug(saturation))
        super().__init__(parts)


class LightingAug(Augmenter):
    """Noise along the axes of the colours of natural images (Krizhevsky et al. 2012).

    `alphastd`: its deviation; `eigval`, `eigvec`: how much along which colours."""

    def __init__(self, alphastd: float, eigval: Any, eigvec: Any) -> None:
        super().__init__(alphastd=alphastd, eigval=eigval, eigvec=eigvec)
        self.alphastd = alphastd
        self.eigval = _image(eigval)
        self.eigvec = _image(eigvec)

    def __call__(self, src: Any) -> Any:
        draws = chance()
        alpha = [draws.gauss(0, self.alphastd) for _ in range(3)]
        shift = (self.eigvec * alpha) @ self.eigval
        return as_array(_numbers(src) + shift.astype(np.float32))


class RandomGrayAug(Augmenter):
    """With probability `p` all channels become the brightness."""

    def __init__(self, p: float) -> None:
        super().__init__(p=p)
        self.p = p

    def __call__(self, src: Any) -> Any:
        if chance().random() < self.p:
            image = _numbers(src)
            return as_array(np.repeat((image @ GREY)[:, :, None], 3, axis=2))
        return src


IMAGENET_MEAN = (123.68, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
EIGENVALUES = np.array([55.46, 4.794, 1.148])
EIGENVECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)


def statistics(where: str, name: str, given: Any, of_imagenet: Sequence[float]) -> Any:
    """Mean or deviation of each channel: as given, those of ImageNet for True, None for None."""
    if given is None or given is False:
        return None
    found = np.asarray(of_imagenet if given is True else _image(given), np.float32)
    check(
        found.shape in ((1,), (3,)),
        where,
        f"{name}: expected True (that of ImageNet), None, or a number for each of 1 or 3 channels; "
        f"given shape {found.shape}",
    )
    return found


def CreateAugmenter(
    data_shape: Sequence[int],
    resize: int = 0,
    rand_crop: bool = False,
    rand_resize: bool = False,
    rand_mirror: bool = False,
    mean: Any = None,
    std: Any = None,
    brightness: float = 0,
    contrast: float = 0,
    saturation: float = 0,
    hue: float = 0,
    pca_noise: float = 0,
    rand_gray: float = 0,
    inter_method: int = 2,
) -> list[Augmenter]:
    """A list of augmenters that give images of `data_shape` (channels, height, width).

    Parameters
    ----------
    data_shape : of the result; only height and width are looked at
    resize : what the shorter side becomes first; 0 (default): it stays
    rand_crop : the part that is taken is drawn; otherwise it is the middle
    rand_resize : its area and shape are drawn, too (needs `rand_crop`)
    rand_mirror : half of the images are flipped
    mean, std : what is subtracted and divided by, channel by channel; True: those of ImageNet
    brightness, contrast, saturation, hue : how far each changes, as a share
    pca_noise : the deviation of noise along the colours of natural images
    rand_gray : the probability of an image without colours
    inter_method : how images are resized; see `imresize`

    >>> [type(one).__name__ for one in CreateAugmenter((3, 8, 8), rand_mirror=True)]
    ['CenterCropAug', 'HorizontalFlipAug', 'CastAug']
    """
    check(
        len(data_shape) == 3,
        "CreateAugmenter",
        f"data_shape: expected (channels, height, width); given {data_shape!r}",
    )
    size = (data_shape[2], data_shape[1])
    found: list[Augmenter] = [ResizeAug(resize, inter_method)] if resize > 0 else []
    if rand_resize:
        check(rand_crop, "CreateAugmenter", "rand_resize needs rand_crop=True")
        found.append(RandomSizedCropAug(size, 0.08, (3 / 4, 4 / 3), inter_method))
    else:
        found.append((RandomCropAug if rand_crop else CenterCropAug)(size, inter_method))
    found += [HorizontalFlipAug(0.5)] if rand_mirror else []
    found.append(CastAug())
    found += (
        [ColorJitterAug(brightness, contrast, saturation)]
        if brightness or contrast or saturation
        else []
    )
    found += [HueJitterAug(hue)] if hue else []
    found += [LightingAug(pca_noise, EIGENVALUES, EIGENVECTORS)] if pca_noise > 0 else []
    found += [RandomGrayAug(rand_gray)] if rand_gray > 0 else []
    mean = statistics("CreateAugmenter", "mean", mean, IMAGENET_MEAN)
    std = statistics("CreateAugmenter", "std", std, IMAGENET_STD)
    if mean is not None or std is not None:
        found.append(ColorNormalizeAug(mean, std))
    return found
