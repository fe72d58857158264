"""AlexNet, in the form of Krizhevsky, arXiv 1404.5997."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tigon.gluon import nn
from tigon.gluon.block import HybridBlock
from tigon.gluon.model_zoo.model_store import DEFAULT_ROOT, with_parameters


class AlexNet(HybridBlock):
    """Five convolutions and three dense layers: data (n, 3, 224, 224) to scores (n, classes)."""

    def __init__(self, classes: int = 1000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self.features.add(
                nn.Conv2D(64, kernel_size=11, strides=4, padding=2, activation="relu"),
                nn.MaxPool2D(pool_size=3, strides=2),
                nn.Conv2D(192, kernel_size=5, padding=2, activation="relu"),
                nn.MaxPool2D(pool_size=3, strides=2),
                nn.Conv2D(384, kernel_size=3, padding=1, activation="relu"),
                nn.Conv2D(256, kernel_size=3, padding=1, activation="relu"),
                nn.Conv2D(256, kernel_size=3, padding=1, activation="relu"),
                nn.MaxPool2D(pool_size=3, strides=2),
                nn.Flatten(),
                nn.Dense(4096, activation="relu"),
                nn.Dropout(0.5),
                nn.Dense(4096, activation="relu"),
                nn.Dropout(0.5),
            )
            self.output = nn.Dense(classes)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.output(self.features(x))


def alexnet(
    pretrained: bool = False, ctx: Any = None, root: str | Path = DEFAULT_ROOT, **kwargs: Any
) -> HybridBlock:
    """AlexNet; `pretrained`, `ctx` and `root` as for `get_resnet`, `classes` (1000).

    >>> alexnet(classes=10).output
    Dense(None -> 10, linear)
    """
    return with_parameters(AlexNet(**kwargs), "alexnet", pretrained, ctx, root)
