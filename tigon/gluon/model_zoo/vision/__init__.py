"""Networks for images: each a function that makes one, and `get_model` to call it by name.

>>> from tigon import nd
>>> from tigon.gluon.model_zoo import vision
>>> net = vision.resnet18_v1(classes=10, thumbnail=True)
>>> net.initialize()
>>> net(nd.ones((1, 3, 16, 16))).shape
(1, 10)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tigon.base import check
from tigon.gluon.block import HybridBlock
from tigon.gluon.model_zoo.vision.resnet import (
    BasicBlockV1,
    BasicBlockV2,
    BottleneckV1,
    BottleneckV2,
    ResNetV1,
    ResNetV2,
    get_resnet,
    resnet18_v1,
    resnet18_v2,
    resnet34_v1,
    resnet34_v2,
    resnet50_v1,
    resnet50_v2,
    resnet101_v1,
    resnet101_v2,
    resnet152_v1,
    resnet152_v2,
)

_MODELS: dict[str, Callable[..., HybridBlock]] = {
    "resnet18_v1": resnet18_v1,
    "resnet34_v1": resnet34_v1,
    "resnet50_v1": resnet50_v1,
    "resnet101_v1": resnet101_v1,
    "resnet152_v1": resnet152_v1,
    "resnet18_v2": resnet18_v2,
    "resnet34_v2": resnet34_v2,
    "resnet50_v2": resnet50_v2,
    "resnet101_v2": resnet101_v2,
    "resnet152_v2": resnet152_v2,
}


def get_model(name: str, **kwargs: Any) -> HybridBlock:
    """A network by name, such as "resnet18_v1".

    Args:
        name: of the function that makes it; upper and lower case are equal.
        **kwargs: for that function: `classes` (1000), `pretrained` (False), `ctx`, `root`.

    Raises:
        TigonError: there is no such network.

    >>> type(get_model("resnet50_v2")).__name__
    'ResNetV2'
    """
    make = _MODELS.get(name.lower())
    check(
        make is not None,
        "get_model",
        f"there is no network '{name}'; choose one of {', '.join(sorted(_MODELS))}",
    )
    assert make is not None
    return make(**kwargs)


__all__ = [
    "BasicBlockV1",
    "BasicBlockV2",
    "BottleneckV1",
    "BottleneckV2",
    "ResNetV1",
    "ResNetV2",
    "get_model",
    "get_resnet",
    "resnet18_v1",
    "resnet18_v2",
    "resnet34_v1",
    "resnet34_v2",
    "resnet50_v1",
    "resnet50_v2",
    "resnet101_v1",
    "resnet101_v2",
    "resnet152_v1",
    "resnet152_v2",
]
