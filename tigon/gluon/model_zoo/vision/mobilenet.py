"""MobileNets: Howard et al., arXiv 1704.04861 (v1), Sandler et al., arXiv 1801.04381 (v2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tigon.gluon import nn
from tigon.gluon.block import HybridBlock
from tigon.gluon.model_zoo.model_store import DEFAULT_ROOT, with_parameters


class RELU6(HybridBlock):
    """`min(max(x, 0), 6)`."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.clip(x, a_min=0, a_max=6)


def _normalized(
    channels: int, kernel: int = 1, stride: int = 1, groups: int = 1, after: Sequence[Any] = ()
) -> list[HybridBlock]:
    """A convolution that keeps the extents up to its stride, normalized."""
    convolution = nn.Conv2D(channels, kernel, stride, kernel // 2, groups=groups, use_bias=False)
    return [convolution, nn.BatchNorm(scale=True), *after]


def _active(channels: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[HybridBlock]:
    return _normalized(channels, kernel, stride, groups, [nn.Activation("relu")])


def _active6(channels: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[HybridBlock]:
    return _normalized(channels, kernel, stride, groups, [RELU6()])


class LinearBottleneck(HybridBlock):
    """Expanded `t` times, convolved channel by channel, and projected: (n, in_channels, h, w) to
    (n, channels, h / stride, w / stride), plus the data where these shapes are equal."""

    def __init__(self, in_channels: int, channels: int, t: int, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_shortcut = stride == 1 and in_channels == channels
        wide = in_channels * t
        with self.name_scope():
            self.out = nn.HybridSequential()
            self.out.add(*_active6(wide), *_active6(wide, 3, stride, wide), *_normalized(channels))

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.out(x) + x if self.use_shortcut else self.out(x)


class MobileNet(HybridBlock):
    """Convolutions channel by channel and 1x1: data (n, 3, h, w) to scores (n, classes).
    `multiplier` scales all channels."""

    def __init__(self, multiplier: float = 1.0, classes: int = 1000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        channels = [32, 64, *[128] * 2, *[256] * 2, *[512] * 6, *[1024] * 2]
        widths = [int(width * multiplier) for width in channels]
        strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self.features.add(*_active(widths[0], 3, 2))
            for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True):
                self.features.add(*_active(before, 3, stride, before), *_active(after))
            self.features.add(nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = nn.Dense(classes)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.output(self.features(x))


class MobileNetV2(HybridBlock):
    """Linear bottlenecks: data (n, 3, h, w) to scores (n, classes). `multiplier` scales all
    channels."""

    def __init__(self, multiplier: float = 1.0, classes: int = 1000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        stages = ((16, 1), (24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1))
        halved = {24, 32, 64, 160}  # by the first block of their stage
        before = int(32 * multiplier)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="features_")
            with self.features.name_scope():
                self.features.add(*_active6(before, 3, 2))
                for channels, count in stages:
                    for number in range(count):
                        after = int(channels * multiplier)
                        stride = 2 if number == 0 and channels in halved else 1
                        expansion = 1 if channels == 16 else 6
                        self.features.add(LinearBottleneck(before, after, expansion, stride))
                        before = after
                last = int(1280 * multiplier) if multiplier > 1.0 else 1280
                self.features.add(*_active6(last), nn.GlobalAvgPool2D())
            self.output = nn.HybridSequential(prefix="output_")
            with self.output.name_scope():
                self.output.add(nn.Conv2D(classes, 1, use_bias=False, prefix="pred_"), nn.Flatten())

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.output(self.features(x))


def _suffix(multiplier: float) -> str:
    """As in the names of MXNet's files: 1.0, 0.75, 0.5, 0.25."""
    text = f"{multiplier:.2f}"
    return text[:-1] if text.endswith("0") else text


def get_mobilenet(
    multiplier: float,
    pretrained: bool = False,
    ctx: Any = None,
    root: str | Path = DEFAULT_ROOT,
    **kwargs: Any,
) -> HybridBlock:
    """MobileNet of some width; `pretrained`, `ctx` and `root` as for `get_resnet`, `classes`
    (1000).

    >>> get_mobilenet(0.25, classes=10).output
    Dense(None -> 10, linear)
    """
    net = MobileNet(multiplier, **kwargs)
    return with_parameters(net, f"mobilenet{_suffix(multiplier)}", pretrained, ctx, root)


def get_mobilenet_v2(
    multiplier: float,
    pretrained: bool = False,
    ctx: Any = None,
    root: str | Path = DEFAULT_ROOT,
    **kwargs: Any,
) -> HybridBlock:
    """MobileNet v2 of some width; arguments as for `get_mobilenet`."""
    net = MobileNetV2(multiplier, **kwargs)
    return with_parameters(net, f"mobilenetv2_{_suffix(multiplier)}", pretrained, ctx, root)


def mobilenet1_0(**kwargs: Any) -> HybridBlock:
    """MobileNet of width 1.0; arguments as for `get_mobilenet`."""
    return get_mobilenet(1.0, **kwargs)


def mobilenet_v2_1_0(**kwargs: Any) -> HybridBlock:
    """MobileNet v2 of width 1.0; arguments as for `get_mobilenet`."""
    return get_mobilenet_v2(1.0, **kwargs)


def mobilenet0_75(**kwargs: Any) -> HybridBlock:
    """MobileNet of width 0.75; arguments as for `get_mobilenet`."""
    return get_mobilenet(0.75, **kwargs)


def mobilenet_v2_0_75(**kwargs: Any) -> HybridBlock:
    """MobileNet v2 of width 0.75; arguments as for `get_mobilenet`."""
    return get_mobilenet_v2(0.75, **kwargs)


def mobilenet0_5(**kwargs: Any) -> HybridBlock:
    """MobileNet of width 0.5; arguments as for `get_mobilenet`."""
    return get_mobilenet(0.5, **kwargs)


def mobilenet_v2_0_5(**kwargs: Any) -> HybridBlock:
    """MobileNet v2 of width 0.5; arguments as for `get_mobilenet`."""
    return get_mobilenet_v2(0.5, **kwargs)


def mobilenet0_25(**kwargs: Any) -> HybridBlock:
    """MobileNet of width 0.25; arguments as for `get_mobilenet`."""
    return get_mobilenet(0.25, **kwargs)


def mobilenet_v2_0_25(**kwargs: Any) -> HybridBlock:
    """MobileNet v2 of width 0.25; arguments as for `get_mobilenet`."""
    return get_mobilenet_v2(0.25, **kwargs)
