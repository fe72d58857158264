"""SqueezeNet: Iandola et al., arXiv 1602.07360."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tigon.base import check
from tigon.gluon import nn
from tigon.gluon.block import HybridBlock
from tigon.gluon.model_zoo.model_store import DEFAULT_ROOT, with_parameters

# Channels of a fire block's squeezing layer; 0: a pooling layer.
_STAGES = {
    "1.0": ((96, 7), (0, 16, 16, 32, 0, 32, 48, 48, 64, 0, 64)),
    "1.1": ((64, 3), (0, 16, 16, 0, 32, 32, 0, 48, 48, 64, 64)),
}


class _SideBySide(HybridBlock):
    """Blocks that read the same data; their results are joined along the channels."""

    def __init__(self, *blocks: HybridBlock) -> None:
        super().__init__(prefix="")
        for block in blocks:
            self.register_child(block)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.concat(*(block(x) for block in self._children.values()), dim=1)


def _convolution(channels: int, kernel: int, padding: int = 0) -> nn.HybridSequential:
    made = nn.HybridSequential(prefix="")
    made.add(nn.Conv2D(channels, kernel, padding=padding), nn.Activation("relu"))
    return made


def _fire(squeezed: int) -> nn.HybridSequential:
    made = nn.HybridSequential(prefix="")
    first = _convolution(squeezed, 1)
    paths = _SideBySide(_convolution(4 * squeezed, 1), _convolution(4 * squeezed, 3, 1))
    made.add(first, paths)
    return made


class SqueezeNet(HybridBlock):
    """Fire blocks: data (n, 3, 224, 224) to scores (n, classes). `version`: "1.0" or "1.1"."""

    def __init__(self, version: str, classes: int = 1000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check(
            version in _STAGES,
            "SqueezeNet",
            f"expected version '1.0' or '1.1'; given {version!r}; choose one",
        )
        (channels, kernel), stages = _STAGES[version]
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self.features.add(nn.Conv2D(channels, kernel, strides=2), nn.Activation("relu"))
            for squeezed in stages:
                pool = (
                    nn.MaxPool2D(pool_size=3, strides=2, ceil_mode=True) if not squeezed else None
                )
                self.features.add(pool or _fire(squeezed))
            self.features.add(nn.Dropout(0.5))
            self.output = nn.HybridSequential(prefix="")
            self.output.add(
                nn.Conv2D(classes, kernel_size=1),
                nn.Activation("relu"),
                nn.AvgPool2D(13),
                nn.Flatten(),
            )

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.output(self.features(x))


def get_squeezenet(
    version: str,
    pretrained: bool = False,
    ctx: Any = None,
    root: str | Path = DEFAULT_ROOT,
    **kwargs: Any,
) -> HybridBlock:
    """SqueezeNet "1.0" or "1.1"; `pretrained`, `ctx` and `root` as for `get_resnet`, `classes`
    (1000).

    >>> len(get_squeezenet("1.1").features)
    14
    """
    net = SqueezeNet(version, **kwargs)
    return with_parameters(net, f"squeezenet{version}", pretrained, ctx, root)


def squeezenet1_0(**kwargs: Any) -> HybridBlock:
    """SqueezeNet 1.0; arguments as for `get_squeezenet`."""
    return get_squeezenet("1.0", **kwargs)


def squeezenet1_1(**kwargs: Any) -> HybridBlock:
    """SqueezeNet 1.1; arguments as for `get_squeezenet`."""
    return get_squeezenet("1.1", **kwargs)
