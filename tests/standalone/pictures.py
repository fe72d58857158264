"""What programs in any language are given: a library that tells digits apart, and pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import tigon as mx
from tigon import nd

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))


def export_digits(folder: Path, **options: Any) -> Any:
    """A network with random weights, whose library is `folder` / "digits.so"."""
    from digits import DigitNet

    mx.random.seed(2)
    net = DigitNet(prefix="digits_")
    net.initialize(mx.init.Xavier())
    net.hybridize()
    net.export_native(folder / "digits", nd.zeros((4, 1, 8, 8)), **options)
    return net


def pictures(folder: Path, count: int) -> tuple[np.ndarray, list[str]]:
    """Images, and their files: in bytes and in text."""
    images = np.random.default_rng(4).integers(0, 256, (count, 1, 8, 8))
    paths = []
    for number, image in enumerate(images):
        path = folder / f"{number}.pgm"
        if number % 2:
            path.write_text("P2 8 8 255\n" + " ".join(map(str, image.ravel())) + "\n")
        else:
            path.write_bytes(b"P5\n8 8\n255\n" + image.astype(np.uint8).tobytes())
        paths.append(str(path))
    return (images / 255).astype("float32"), paths
