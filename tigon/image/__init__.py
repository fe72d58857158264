"""Reading, resizing, cropping and changing images: arrays (height, width, channels), and
iterators over them.

Files are read by Pillow: `pip install 'tigon[image]'`."""

from __future__ import annotations

from tigon.base.lazy import imported_on_demand as _imported_on_demand

_PLACES = {
    "geometry": """
        _get_interp_method center_crop color_normalize copyMakeBorder fixed_crop imdecode imread
        imresize imrotate random_crop random_rotate random_size_crop resize_short scale_down
    """,
    "augmenters": """
        Augmenter BrightnessJitterAug CastAug CenterCropAug ColorJitterAug ColorNormalizeAug
        ContrastJitterAug CreateAugmenter ForceResizeAug HorizontalFlipAug HueJitterAug LightingAug
        RandomCropAug RandomGrayAug RandomOrderAug RandomSizedCropAug ResizeAug SaturationJitterAug
        SequentialAug
    """,
    "iterator": "ImageIter",
    "detection": """
        CreateDetAugmenter CreateMultiRandCropAugmenter DetAugmenter DetBorrowAug
        DetHorizontalFlipAug DetRandomCropAug DetRandomPadAug DetRandomSelectAug ImageDetIter
    """,
}

_imported_on_demand(
    globals(),
    {name: f"tigon.image.{file}:{name}" for file, all_ in _PLACES.items() for name in all_.split()},
)

__all__ = sorted(
    name for all_ in _PLACES.values() for name in all_.split() if not name.startswith("_")
)
