"""VGG: Simonyan and Zisserman, arXiv 1409.1556."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tigon.base import check
from tigon.gluon import nn
from tigon.gluon.block import HybridBlock
from tigon.gluon.model_zoo.model_store import DEFAULT_ROOT, with_parameters
from tigon.initializer import Xavier

_FILTERS = (64, 128, 256, 512, 512)
_DEPTHS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class VGG(HybridBlock):
    """Stages of 3x3 convolutions, each halved by pooling: data (n, 3, h, w) to (n, classes).

    Args:
        layers: convolutions per stage.
        filters: of each stage.
        classes: number of scores.
        batch_norm: whether each convolution is normalized.
    """

    def __init__(
        self,
        layers: Sequence[int],
        filters: Sequence[int],
        classes: int = 1000,
        batch_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check(
            len(layers) == len(filters),
            "VGG",
            f"expected as many layers as filters; given {len(layers)} and {len(filters)}",
        )
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            for count, channels in zip(layers, filters, strict=True):
                for _ in range(count):
                    weights = Xavier(rnd_type="gaussian", factor_type="out", magnitude=2)
                    convolution = nn.Conv2D(
                        channels, kernel_size=3, padding=1, weight_initializer=weights
                    )
                    norm = [nn.BatchNorm()] if batch_norm else []
                    self.features.add(convolution, *norm, nn.Activation("relu"))
                self.features.add(nn.MaxPool2D(strides=2))
            for _ in range(2):
                dense = nn.Dense(4096, activation="relu", weight_initializer="normal")
                self.features.add(dense, nn.Dropout(rate=0.5))
            self.output = nn.Dense(classes, weight_initializer="normal")

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.output(self.features(x))


def get_vgg(
    num_layers: int,
    pretrained: bool = False,
    ctx: Any = None,
    root: str | Path = DEFAULT_ROOT,
    **kwargs: Any,
) -> HybridBlock:
    """VGG of 11, 13, 16 or 19 layers; `pretrained`, `ctx` and `root` as for `get_resnet`, `classes`
    (1000), `batch_norm` (False).

    >>> get_vgg(11, classes=10).output
    Dense(None -> 10, linear)
    """
    check(
        num_layers in _DEPTHS,
        "get_vgg",
        f"expected num_layers {', '.join(map(str, _DEPTHS))}; given {num_layers}; "
        "for another depth, use VGG itself",
    )
    name = f"vgg{num_layers}" + ("_bn" if kwargs.get("batch_norm") else "")
    net = VGG(_DEPTHS[num_layers], _FILTERS, **kwargs)
    return with_parameters(net, name, pretrained, ctx, root)


def vgg11(**kwargs: Any) -> HybridBlock:
    """VGG-11; arguments as for `get_vgg`."""
    return get_vgg(11, **kwargs)


def vgg11_bn(**kwargs: Any) -> HybridBlock:
    """VGG-11 with normalization; arguments as for `get_vgg`."""
    return get_vgg(11, batch_norm=True, **kwargs)


def vgg13(**kwargs: Any) -> HybridBlock:
    """VGG-13; arguments as for `get_vgg`."""
    return get_vgg(13, **kwargs)


def vgg13_bn(**kwargs: Any) -> HybridBlock:
    """VGG-13 with normalization; arguments as for `get_vgg`."""
    return get_vgg(13, batch_norm=True, **kwargs)


def vgg16(**kwargs: Any) -> HybridBlock:
    """VGG-16; arguments as for `get_vgg`."""
    return get_vgg(16, **kwargs)


def vgg16_bn(**kwargs: Any) -> HybridBlock:
    """VGG-16 with normalization; arguments as for `get_vgg`."""
    return get_vgg(16, batch_norm=True, **kwargs)


def vgg19(**kwargs: Any) -> HybridBlock:
    """VGG-19; arguments as for `get_vgg`."""
    return get_vgg(19, **kwargs)


def vgg19_bn(**kwargs: Any) -> HybridBlock:
    """VGG-19 with normalization; arguments as for `get_vgg`."""
    return get_vgg(19, batch_norm=True, **kwargs)
