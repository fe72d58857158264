"""What is written beside a module of WebAssembly: `model.js` and `model.html` of this folder, for
its names, and the types of what goes in and comes out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tigon.base import TensorType
from tigon.base.extents import RuntimeExtent

_FOLDER = Path(__file__).parent

_ARRAYS = {
    "float16": "Uint16Array",
    "bfloat16": "Uint16Array",
    "bool": "Uint8Array",
    "int64": "BigInt64Array",
    "uint64": "BigUint64Array",
}

_SMALL = 16
"""Pictures up to this many pixels wide are filled by what is on them; larger ones have a border, as
those of MNIST have."""


def web_files(name: str, spec: Any, described: Mapping[str, Any]) -> dict[str, bytes]:
    """Contents by what their names end with. `described`: as `_Library.description` says it."""
    address = quote(name)
    weights = None if described["file_bytes"] is None else f"{address}.safetensors"
    script = _filled(
        "model.js",
        {
            "model.wasm": f"{address}.wasm",
            "model.d.ts": f"{address}.d.ts",
            "WEIGHTS = null": f"WEIGHTS = {json.dumps(weights)}",
        },
    )
    files = {".js": script, ".d.ts": types(address, spec, described)}
    picture = drawn_picture(spec)
    if picture is not None:
        places = {
            "model.js": f"{address}.js",
            "<title>model": f"<title>{escape(name)}",
            "PICTURE": json.dumps(picture).replace("<", r"\u003c"),  # it is within a script
        }
        files[".html"] = _filled("model.html", places)
    return {end: text.encode() for end, text in files.items()}


def _filled(template: str, places: Mapping[str, str]) -> str:
    """A file of this folder, with other texts for some of its own."""
    text = (_FOLDER / template).read_text(encoding="utf-8")
    return re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], text)


def drawn_picture(spec: Any) -> dict[str, Any] | None:
    """What the page draws on: the one input, if it is a grey picture of known size or several of
    them."""
    if len(spec.inputs) != 1 or spec.states:
        return None
    ((name, type_),) = spec.inputs
    shape = [1 if _is_open(extent) else int(extent) for extent in type_.shape]
    if type_.dtype.name != "float32" or any(map(_is_open, type_.shape[1:])) or len(shape) != 4:
        return None
    first, *rest = shape
    if 1 not in (rest[0], rest[2]) or not (_is_open(type_.shape[0]) or first == 1):
        return None
    height, width = rest[1:] if rest[0] == 1 else rest[:2]
    (result, *_), value = spec.outputs, spec.graph.outputs[0]
    if min(height, width) < 4 or value.type.ndim != 2 or _is_open(value.type.shape[1]):
        return None
    fit = 1.0 if max(height, width) <= _SMALL else 20 / 28
    return {
        "input": name,
        "output": result,
        "shape": [1, *rest],
        "height": height,
        "width": width,
        "fit": round(fit, 3),
    }


def _is_open(extent: Any) -> bool:
    return isinstance(extent, RuntimeExtent)


# ---------------------------------------------------------------------------------------- types


def types(address: str, spec: Any, described: Mapping[str, Any]) -> str:
    """`model.d.ts`."""
    results = spec.graph.outputs[: len(spec.outputs)]
    outputs = [(each, v.type) for each, v in zip(spec.outputs, results, strict=True)]
    states = [(one.name, TensorType(one.shape, one.dtype)) for one in spec.states]
    shown = {kind: dict(described[kind]) for kind in ("inputs", "outputs", "states")}
    inputs = [
        f"  /** {_told(shown['inputs'][each])} */\n  {json.dumps(each)}: {_array(type_)};"
        for each, type_ in spec.inputs
    ]
    made = [
        f"  /** {_told(shown['outputs'][each])} */\n"
        f"  readonly {json.dumps(each)}: Shaped<{_array(type_)}, {_shape(type_)}>;"
        for each, type_ in outputs
    ]
    kept = [
        f"  /** {_told(shown['states'][each])} */\n"
        f"  {json.dumps(each)}: Shaped<{_array(type_)}, {_shape(type_)}>;"
        for each, type_ in states
    ]
    largest = [f"  {json.dumps(each)}?: number;" for each in spec.names]
    weights = ["  /** Where the weights are, or what is in them. */\n  weights?: Source;"]
    lists = {
        "INPUTS": inputs,
        "OUTPUTS": made,
        "STATES": kept,
        "LARGEST": largest,
        "WEIGHTS": weights if described["file_bytes"] is not None else [],
    }
    places = {
        f"  // {kind}\n": "".join(f"{line}\n" for line in lines) for kind, lines in lists.items()
    }
    return _filled("model.d.ts", {"model.wasm": f"{address}.wasm", **places})


def _told(text: str) -> str:
    return text.replace("*/", "* /")


def _array(type_: TensorType) -> str:
    """The class of arrays of this dtype in JavaScript.

    >>> from tigon.base import as_dtype
    >>> _array(TensorType((2,), as_dtype("float64"))), _array(TensorType((2,), as_dtype("int64")))
    ('Float64Array', 'BigInt64Array')
    """
    name = type_.dtype.name
    return _ARRAYS.get(name) or f"{name.capitalize()}Array"


def _shape(type_: TensorType) -> str:
    """Its shape as a type: numbers, where they are known."""
    axes = ", ".join("number" if _is_open(extent) else str(extent) for extent in type_.shape)
    return f"readonly [{axes}]"
