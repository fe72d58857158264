"""Residual networks: He et al., arXiv 1512.03385 (v1) and 1603.05027 (v2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tigon.base import check
from tigon.gluon import nn
from tigon.gluon.block import HybridBlock
from tigon.gluon.model_zoo.model_store import DEFAULT_ROOT, with_parameters

# Names of parameters in saved files follow from the order in which layers are made here and from
# their prefixes, which are MXNet's.


def _conv3x3(channels: int, stride: int, in_channels: int) -> nn.Conv2D:
    return nn.Conv2D(
        channels,
        kernel_size=3,
        strides=stride,
        padding=1,
        use_bias=False,
        in_channels=in_channels,
    )


def _conv1x1(channels: int, stride: int = 1, in_channels: int = 0) -> nn.Conv2D:
    return nn.Conv2D(
        channels, kernel_size=1, strides=stride, use_bias=False, in_channels=in_channels
    )


class _ResidualV1(HybridBlock):
    """`relu(body(x) + shortcut)`; the shortcut is `x`, or a projection of it."""

    def _add_shortcut(self, downsample: bool, channels: int, stride: int, in_channels: int) -> None:
        self.downsample = None
        if downsample:
            self.downsample = nn.HybridSequential(prefix="")
            self.downsample.add(_conv1x1(channels, stride, in_channels), nn.BatchNorm())

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.Activation(self.body(x) + shortcut, act_type="relu")


class BasicBlockV1(_ResidualV1):
    """Two 3x3 convolutions, each normalized, as in ResNet-18 and 34 v1.

    Args:
        channels: of the result.
        stride: of the first convolution and of the shortcut.
        downsample: whether the shortcut is a 1x1 convolution.
        in_channels: of the data; 0 means to see at the first call.
    """

    def __init__(
        self,
        channels: int,
        stride: int,
        downsample: bool = False,
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.body = nn.HybridSequential(prefix="")
        self.body.add(
            _conv3x3(channels, stride, in_channels),
            nn.BatchNorm(),
            nn.Activation("relu"),
            _conv3x3(channels, 1, channels),
            nn.BatchNorm(),
        )
        self._add_shortcut(downsample, channels, stride, in_channels)


class BottleneckV1(_ResidualV1):
    """1x1, 3x3 and 1x1 convolutions, each normalized, as in ResNet-50, 101 and 152 v1.

    Arguments as for `BasicBlockV1`.
    """

    def __init__(
        self,
        channels: int,
        stride: int,
        downsample: bool = False,
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.body = nn.HybridSequential(prefix="")
        # The biases before a normalization do nothing, but MXNet's files hold them.
        self.body.add(
            nn.Conv2D(channels // 4, kernel_size=1, strides=stride),
            nn.BatchNorm(),
            nn.Activation("relu"),
            _conv3x3(channels // 4, 1, channels // 4),
            nn.BatchNorm(),
            nn.Activation("relu"),
            nn.Conv2D(channels, kernel_size=1, strides=1),
            nn.BatchNorm(),
        )
        self._add_shortcut(downsample, channels, stride, in_channels)


class BasicBlockV2(HybridBlock):
    """Two 3x3 convolutions, each after normalization and relu, as in ResNet-18 and 34 v2.

    Arguments as for `BasicBlockV1`.
    """

    def __init__(
        self,
        channels: int,
        stride: int,
        downsample: bool = False,
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bn1 = nn.BatchNorm()
        self.conv1 = _conv3x3(channels, stride, in_channels)
        self.bn2 = nn.BatchNorm()
        self.conv2 = _conv3x3(channels, 1, channels)
        self.downsample = _conv1x1(channels, stride, in_channels) if downsample else None

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        first = F.Activation(self.bn1(x), act_type="relu")
        shortcut = x if self.downsample is None else self.downsample(first)
        second = F.Activation(self.bn2(self.conv1(first)), act_type="relu")
        return self.conv2(second) + shortcut


class BottleneckV2(HybridBlock):
    """1x1, 3x3 and 1x1 convolutions, each after normalization and relu, as in ResNet-50, 101 and
    152 v2.

    Arguments as for `BasicBlockV1`; the stride is that of the 3x3 convolution.
    """

    def __init__(
        self,
        channels: int,
        stride: int,
        downsample: bool = False,
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bn1 = nn.BatchNorm()
        self.conv1 = _conv1x1(channels // 4)
        self.bn2 = nn.BatchNorm()
        self.conv2 = _conv3x3(channels // 4, stride, channels // 4)
        self.bn3 = nn.BatchNorm()
        self.conv3 = _conv1x1(channels)
        self.downsample = _conv1x1(channels, stride, in_channels) if downsample else None

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        first = F.Activation(self.bn1(x), act_type="relu")
        shortcut = x if self.downsample is None else self.downsample(first)
        second = F.Activation(self.bn2(self.conv1(first)), act_type="relu")
        third = F.Activation(self.bn3(self.conv2(second)), act_type="relu")
        return self.conv3(third) + shortcut


def _check_stages(where: str, layers: Sequence[int], channels: Sequence[int]) -> None:
    check(
        len(layers) == len(channels) - 1,
        where,
        f"expected one more channels than layers; given {len(channels)} and {len(layers)}",
    )


def _stem(channels: int, thumbnail: bool) -> list[HybridBlock]:
    if thumbnail:
        return [_conv3x3(channels, 1, 0)]
    return [
        nn.Conv2D(channels, 7, 2, 3, use_bias=False),
        nn.BatchNorm(),
        nn.Activation("relu"),
        nn.MaxPool2D(3, 2, 1),
    ]


def _stages(
    block: type[HybridBlock], layers: Sequence[int], channels: Sequence[int]
) -> list[HybridBlock]:
    """One sequence of blocks per stage; all but the first halve both spatial extents."""
    stages: list[HybridBlock] = []
    for index, (count, before, after) in enumerate(
        zip(layers, channels[:-1], channels[1:], strict=True)
    ):
        stage = nn.HybridSequential(prefix=f"stage{index + 1}_")
        with stage.name_scope():
            stride = 1 if index == 0 else 2
            stage.add(block(after, stride, after != before, in_channels=before, prefix=""))
            for _ in range(count - 1):
                stage.add(block(after, 1, False, in_channels=after, prefix=""))
        stages.append(stage)
    return stages


class _ResNet(HybridBlock):
    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.output(self.features(x))


class ResNetV1(_ResNet):
    """Residual network of the first kind: data (n, 3, h, w) to scores (n, classes).

    Args:
        block: `BasicBlockV1` or `BottleneckV1`.
        layers: blocks per stage.
        channels: of the stem and of each stage.
        classes: number of scores.
        thumbnail: for small images, a 3x3 convolution instead of the stem that divides both spatial
            extents by four.
    """

    def __init__(
        self,
        block: type[HybridBlock],
        layers: Sequence[int],
        channels: Sequence[int],
        classes: int = 1000,
        thumbnail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_stages("ResNetV1", layers, channels)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self.features.add(
                *_stem(channels[0], thumbnail),
                *_stages(block, layers, channels),
                nn.GlobalAvgPool2D(),
            )
            self.output = nn.Dense(classes, in_units=channels[-1])


class ResNetV2(_ResNet):
    """Residual network of the second kind, that normalizes its data first. Arguments as for
    `ResNetV1`, with `BasicBlockV2` or `BottleneckV2`.
    """

    def __init__(
        self,
        block: type[HybridBlock],
        layers: Sequence[int],
        channels: Sequence[int],
        classes: int = 1000,
        thumbnail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_stages("ResNetV2", layers, channels)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self.features.add(
                nn.BatchNorm(scale=False, center=False),
                *_stem(channels[0], thumbnail),
                *_stages(block, layers, channels),
                nn.BatchNorm(),
                nn.Activation("relu"),
                nn.GlobalAvgPool2D(),
                nn.Flatten(),
            )
            self.output = nn.Dense(classes, in_units=channels[-1])


_NETWORKS = {
    1: (ResNetV1, {"basic": BasicBlockV1, "bottleneck": BottleneckV1}),
    2: (ResNetV2, {"basic": BasicBlockV2, "bottleneck": BottleneckV2}),
}
_NARROW = (64, 64, 128, 256, 512)
_WIDE = (64, 256, 512, 1024, 2048)
_DEPTHS = {
    18: ("basic", (2, 2, 2, 2), _NARROW),
    34: ("basic", (3, 4, 6, 3), _NARROW),
    50: ("bottleneck", (3, 4, 6, 3), _WIDE),
    101: ("bottleneck", (3, 4, 23, 3), _WIDE),
    152: ("bottleneck", (3, 8, 36, 3), _WIDE),
}


def get_resnet(
    version: int,
    num_layers: int,
    pretrained: bool = False,
    ctx: Any = None,
    root: str | Path = DEFAULT_ROOT,
    **kwargs: Any,
) -> HybridBlock:
    """A residual network by version and depth.

    Args:
        version: 1 or 2.
        num_layers: 18, 34, 50, 101 or 152.
        pretrained: whether to load parameters from `root`; nothing is downloaded.
        ctx: where to put them; default the current context.
        root: a folder with `resnet18_v1.params` or `resnet18_v1-<hash>.params`, or a file.
        **kwargs: `classes` (1000), `thumbnail` (False), `prefix`, `params`.

    Raises:
        TigonError: an unknown version or depth; no file where `pretrained` asks for one.

    >>> from tigon import nd
    >>> net = get_resnet(1, 18, classes=10, thumbnail=True)
    >>> net.initialize()
    >>> net.hybridize()
    >>> net(nd.ones((2, 3, 32, 32))).shape
    (2, 10)
    """
    check(
        version in _NETWORKS, "get_resnet", f"expected version 1 or 2; given {version}; choose one"
    )
    check(
        num_layers in _DEPTHS,
        "get_resnet",
        f"expected num_layers {', '.join(map(str, _DEPTHS))}; given {num_layers}; "
        f"for another depth, use ResNetV{version} itself",
    )
    network, blocks = _NETWORKS[version]
    kind, layers, channels = _DEPTHS[num_layers]
    net = network(blocks[kind], layers, channels, **kwargs)
    return with_parameters(net, f"resnet{num_layers}_v{version}", pretrained, ctx, root)


def resnet18_v1(**kwargs: Any) -> HybridBlock:
    """ResNet-18 v1; arguments as for `get_resnet`."""
    return get_resnet(1, 18, **kwargs)


def resnet34_v1(**kwargs: Any) -> HybridBlock:
    """ResNet-34 v1; arguments as for `get_resnet`."""
    return get_resnet(1, 34, **kwargs)


def resnet50_v1(**kwargs: Any) -> HybridBlock:
    """ResNet-50 v1; arguments as for `get_resnet`."""
    return get_resnet(1, 50, **kwargs)


def resnet101_v1(**kwargs: Any) -> HybridBlock:
    """ResNet-101 v1; arguments as for `get_resnet`."""
    return get_resnet(1, 101, **kwargs)


def resnet152_v1(**kwargs: Any) -> HybridBlock:
    """ResNet-152 v1; arguments as for `get_resnet`."""
    return get_resnet(1, 152, **kwargs)


def resnet18_v2(**kwargs: Any) -> HybridBlock:
    """ResNet-18 v2; arguments as for `get_resnet`."""
    return get_resnet(2, 18, **kwargs)


def resnet34_v2(**kwargs: Any) -> HybridBlock:
    """ResNet-34 v2; arguments as for `get_resnet`."""
    return get_resnet(2, 34, **kwargs)


def resnet50_v2(**kwargs: Any) -> HybridBlock:
    """ResNet-50 v2; arguments as for `get_resnet`."""
    return get_resnet(2, 50, **kwargs)


def resnet101_v2(**kwargs: Any) -> HybridBlock:
    """ResNet-101 v2; arguments as for `get_resnet`."""
    return get_resnet(2, 101, **kwargs)


def resnet152_v2(**kwargs: Any) -> HybridBlock:
    """ResNet-152 v2; arguments as for `get_resnet`."""
    return get_resnet(2, 152, **kwargs)
