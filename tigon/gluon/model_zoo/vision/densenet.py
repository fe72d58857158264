"""DenseNet: Huang et al., arXiv 1608.06993."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tigon.base import check
from tigon.gluon import nn
from tigon.gluon.block import HybridBlock
from tigon.gluon.model_zoo.model_store import DEFAULT_ROOT, with_parameters

# Channels of the first layer, those that each layer adds, and layers of each stage.
_SIZES = {
    121: (64, 32, (6, 12, 24, 16)),
    161: (96, 48, (6, 12, 36, 24)),
    169: (64, 32, (6, 12, 32, 32)),
    201: (64, 32, (6, 12, 48, 32)),
}


def _normalized(net: nn.HybridSequential, *layers: HybridBlock) -> nn.HybridSequential:
    """Normalization and relu before further layers."""
    net.add(nn.BatchNorm(), nn.Activation("relu"), *layers)
    return net


def _convolution(channels: int, kernel: int, padding: int = 0) -> nn.Conv2D:
    return nn.Conv2D(channels, kernel_size=kernel, padding=padding, use_bias=False)


def _dense_layer(growth_rate: int, bn_size: int, dropout: float) -> nn.HybridConcurrent:
    """What comes in, and beside it `growth_rate` channels made of it."""
    made = _normalized(nn.HybridSequential(prefix=""), _convolution(bn_size * growth_rate, 1))
    _normalized(made, _convolution(growth_rate, 3, 1))
    if dropout:
        made.add(nn.Dropout(dropout))
    layer = nn.HybridConcurrent(axis=1, prefix="")
    layer.add(nn.Identity(), made)
    return layer


class DenseNet(HybridBlock):
    """Stages whose layers each see the channels of all before: data (n, 3, 224, 224) to scores
    (n, classes).

    Args:
        num_init_features: channels of the first convolution.
        growth_rate: channels that each layer adds.
        block_config: how many layers each stage has.
        bn_size: channels within a layer, in multiples of `growth_rate`.
        dropout: in training, the probability with which a number that a layer adds is zeroed.
        classes: how many scores come out.

    >>> len(DenseNet(8, 4, (1, 2)).features)
    11
    """

    def __init__(
        self,
        num_init_features: int,
        growth_rate: int,
        block_config: Sequence[int],
        bn_size: int = 4,
        dropout: float = 0,
        classes: int = 1000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self.features.add(
                nn.Conv2D(num_init_features, kernel_size=7, strides=2, padding=3, use_bias=False)
            )
            _normalized(self.features, nn.MaxPool2D(pool_size=3, strides=2, padding=1))
            channels = num_init_features
            for number, layers in enumerate(block_config, 1):
                if number > 1:
                    channels //= 2
                    self.features.add(
                        _normalized(
                            nn.HybridSequential(prefix=""),
                            _convolution(channels, 1),
                            nn.AvgPool2D(pool_size=2, strides=2),
                        )
                    )
                stage = nn.HybridSequential(prefix=f"stage{number}_")
                with stage.name_scope():
                    for _ in range(layers):
                        stage.add(_dense_layer(growth_rate, bn_size, dropout))
                self.features.add(stage)
                channels += layers * growth_rate
            _normalized(self.features, nn.AvgPool2D(pool_size=7), nn.Flatten())
            self.output = nn.Dense(classes)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.output(self.features(x))


def get_densenet(
    num_layers: int,
    pretrained: bool = False,
    ctx: Any = None,
    root: str | Path = DEFAULT_ROOT,
    **kwargs: Any,
) -> HybridBlock:
    """DenseNet of 121, 161, 169 or 201 layers; `pretrained`, `ctx` and `root` as for `get_resnet`,
    `bn_size` (4), `dropout` (0) and `classes` (1000) as for `DenseNet`.

    >>> type(get_densenet(121)).__name__
    'DenseNet'
    """
    check(
        num_layers in _SIZES,
        "get_densenet",
        f"expected one of {', '.join(map(str, _SIZES))} layers; given {num_layers}; choose one",
    )
    net = DenseNet(*_SIZES[num_layers], **kwargs)
    return with_parameters(net, f"densenet{num_layers}", pretrained, ctx, root)


def densenet121(**kwargs: Any) -> HybridBlock:
    """DenseNet of 121 layers; arguments as for `get_densenet`."""
    return get_densenet(121, **kwargs)


def densenet161(**kwargs: Any) -> HybridBlock:
    """DenseNet of 161 layers; arguments as for `get_densenet`."""
    return get_densenet(161, **kwargs)


def densenet169(**kwargs: Any) -> HybridBlock:
    """DenseNet of 169 layers; arguments as for `get_densenet`."""
    return get_densenet(169, **kwargs)


def densenet201(**kwargs: Any) -> HybridBlock:
    """DenseNet of 201 layers; arguments as for `get_densenet`."""
    return get_densenet(201, **kwargs)
