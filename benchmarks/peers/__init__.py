"""The other frameworks, where they are installed, and how each is quickest at what a row asks.

`pip install tigon[bench]` installs all of them; each that is missing leaves its column empty. A
side is imported on its own, so that a fresh process can load one and no other.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

import numpy as np

NAMES = {
    "torch": "PyTorch",
    "jax": "JAX",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "MNN": "MNN",
    "scipy": "SciPy",
}
"""Columns, and how their makers write them."""

SIDES = {
    "torch": "torch_side",
    "jax": "jax_side",
    "onnxruntime": "onnx_side",
    "openvino": "openvino_side",
    "MNN": "mnn_side",
    "scipy": "blas_side",
}
"""The modules of this package that know them."""

READ_ONNX = ("onnxruntime", "openvino", "MNN")
"""Those that are given models of ONNX, which the package `onnx` makes."""


def installed(name: str) -> bool:
    needs = [name, "onnx"] if name in READ_ONNX else [name]
    return all(find_spec(package) for package in needs)


def side(name: str) -> Any:
    """The module that knows this peer, or None."""
    return importlib.import_module(f"peers.{SIDES[name]}") if installed(name) else None


def versions() -> str:
    """What is installed, and what is not."""
    sides = {name: side(name) for name in SIDES}
    found = [f"numpy {np.__version__}"]
    found += [f"{NAMES[name]} {made.VERSION}" for name, made in sides.items() if made is not None]
    found += [f"no {NAMES[name]}" for name, made in sides.items() if made is None]
    return ", ".join(found)
