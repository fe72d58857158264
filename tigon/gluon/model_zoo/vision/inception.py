"""Inception V3: Szegedy et al., arXiv 1512.00567."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tigon.gluon import nn
from tigon.gluon.block import HybridBlock
from tigon.gluon.model_zoo.model_store import DEFAULT_ROOT, with_parameters

Part = tuple[Any, ...]
"""A convolution (channels, kernel, padding, stride), the last two 0 and 1 if they are not given;
("avg",) or ("max",), a pooling layer; ("fork", a branch, a branch, ...)."""

_AVG, _MAX = ("avg",), ("max",)
_WIDE, _HIGH = ((1, 7), (0, 3)), ((7, 1), (3, 0))
_FORK = ("fork", ((384, (1, 3), (0, 1)),), ((384, (3, 1), (1, 0)),))

_MODULES: tuple[tuple[str, tuple[tuple[Part, ...], ...]], ...] = (
    *(
        (
            f"A{number}_",
            (
                ((64, 1),),
                ((48, 1), (64, 5, 2)),
                ((64, 1), (96, 3, 1), (96, 3, 1)),
                (_AVG, (pooled, 1)),
            ),
        )
        for number, pooled in enumerate((32, 64, 64), 1)
    ),
    ("B_", (((384, 3, 0, 2),), ((64, 1), (96, 3, 1), (96, 3, 0, 2)), (_MAX,))),
    *(
        (
            f"C{number}_",
            (
                ((192, 1),),
                ((inner, 1), (inner, *_WIDE), (192, *_HIGH)),
                ((inner, 1), (inner, *_HIGH), (inner, *_WIDE), (inner, *_HIGH), (192, *_WIDE)),
                (_AVG, (192, 1)),
            ),
        )
        for number, inner in enumerate((128, 160, 160, 192), 1)
    ),
    (
        "D_",
        (
            ((192, 1), (320, 3, 0, 2)),
            ((192, 1), (192, *_WIDE), (192, *_HIGH), (192, 3, 0, 2)),
            (_MAX,),
        ),
    ),
    *(
        (
            f"E{number}_",
            (
                ((320, 1),),
                (((384, 1),), _FORK),
                (((448, 1), (384, 3, 1)), _FORK),
                (_AVG, (192, 1)),
            ),
        )
        for number in (1, 2)
    ),
)
"""Modules by prefix: what their branches are. A part that is a tuple of parts is a sequence."""


def _convolution(channels: int, kernel: Any, padding: Any = 0, stride: int = 1) -> HybridBlock:
    made = nn.HybridSequential(prefix="")
    made.add(
        nn.Conv2D(channels, kernel, strides=stride, padding=padding, use_bias=False),
        nn.BatchNorm(epsilon=0.001),
        nn.Activation("relu"),
    )
    return made


def _part(part: Part) -> HybridBlock:
    if part == _AVG:
        return nn.AvgPool2D(pool_size=3, strides=1, padding=1)
    if part == _MAX:
        return nn.MaxPool2D(pool_size=3, strides=2)
    if part[0] == "fork":
        return _side_by_side("", part[1:])
    return _sequence(part) if isinstance(part[0], tuple) else _convolution(*part)


def _sequence(parts: tuple[Part, ...]) -> HybridBlock:
    made = nn.HybridSequential(prefix="")
    made.add(*map(_part, parts))
    return made


def _side_by_side(prefix: str, branches: tuple[Any, ...]) -> HybridBlock:
    made = nn.HybridConcurrent(axis=1, prefix=prefix)
    with made.name_scope():
        made.add(*map(_sequence, branches))
    return made


class Inception3(HybridBlock):
    """Modules of branches side by side: data (n, 3, 299, 299) to scores (n, classes).

    >>> len(Inception3().features)
    20
    """

    def __init__(self, classes: int = 1000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self.features.add(
                _convolution(32, 3, 0, 2),
                _convolution(32, 3),
                _convolution(64, 3, 1),
                nn.MaxPool2D(pool_size=3, strides=2),
                _convolution(80, 1),
                _convolution(192, 3),
                nn.MaxPool2D(pool_size=3, strides=2),
                *(_side_by_side(prefix, branches) for prefix, branches in _MODULES),
                nn.AvgPool2D(pool_size=8),
                nn.Dropout(0.5),
            )
            self.output = nn.Dense(classes)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.output(self.features(x))


def inception_v3(
    pretrained: bool = False,
    ctx: Any = None,
    root: str | Path = DEFAULT_ROOT,
    **kwargs: Any,
) -> HybridBlock:
    """Inception V3; `pretrained`, `ctx` and `root` as for `get_resnet`, `classes` (1000).

    >>> type(inception_v3()).__name__
    'Inception3'
    """
    return with_parameters(Inception3(**kwargs), "inceptionv3", pretrained, ctx, root)
