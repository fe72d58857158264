"""Modules of WebAssembly, called by Node as any program would."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

NODE = shutil.which("node")
HOST = Path(__file__).with_name("web_host.mjs")
CLASSES = {
    "Float32Array": "float32",
    "Float64Array": "float64",
    "Int8Array": "int8",
    "Int16Array": "int16",
    "Int32Array": "int32",
    "BigInt64Array": "int64",
    "Uint8Array": "uint8",
    "Uint16Array": "uint16",
    "Uint32Array": "uint32",
    "BigUint64Array": "uint64",
}


class WebError(Exception):
    """What the module's JavaScript throws."""


def step(call: str, *arguments: Any, of: int = 0) -> dict[str, Any]:
    """A call of instance number `of`; "load" and "instance" make more."""
    return {"call": call, "of": of, "arguments": [_given(each) for each in arguments]}


def tell(script: Path, steps: Sequence[dict[str, Any]]) -> list[Any]:
    """What each step gives: a value, or a `WebError`."""
    assert NODE is not None
    # A module of JavaScript is one by its folder, in versions of Node that do not ask its text.
    script.with_name("package.json").write_text('{"type": "module"}')
    done = subprocess.run(
        [NODE, HOST],
        input=json.dumps({"module": str(script), "steps": list(steps)}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [_told(each) for each in json.loads(done.stdout)]


def _given(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        dtype = "bfloat16" if value.dtype.names else value.dtype.name
        content = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"dtype": dtype, "shape": list(value.shape), "bytes": content}
    if isinstance(value, Path):
        return {"file": str(value)}
    if isinstance(value, dict):
        return {name: _given(each) for name, each in value.items()}
    return value


def flat(array: np.ndarray) -> dict[str, Any]:
    """An array whose shape is left to follow."""
    return {**_given(array), "shape": None}


def _told(found: dict[str, Any]) -> Any:
    if "error" in found:
        return WebError(found["error"])
    return _array(found["result"])


def _array(value: Any) -> Any:
    if isinstance(value, list):
        return [_array(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "class" in value and "bytes" in value:
        content = base64.b64decode(value["bytes"])
        return np.frombuffer(content, CLASSES[value["class"]]).reshape(value["shape"])
    return {name: _array(each) for name, each in value.items()}
