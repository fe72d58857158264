"""Files of arrays: MXNet's .params, states of optimizers in them, and safetensors."""

from __future__ import annotations

import struct
from collections import Counter

import numpy as np

from tigon.export import params, safetensors
from tigon.tools.inspection.report import Format, Report, Tensor

_MARK = struct.pack("<Q", params.LIST_MAGIC)


def _is_params(content: memoryview, path: str) -> bool:
    return bytes(content[:8]) == _MARK or path.endswith(".params")


def _describe_params(content: memoryview, path: str) -> Report:
    found = params.entries(content, path)
    named = found if isinstance(found, dict) else {str(n): entry for n, entry in enumerate(found)}
    versions = Counter(entry.version for entry in named.values())
    return Report(
        format="MXNet's .params",
        version=", ".join(f"{v} ({n} arrays)" for v, n in sorted(versions.items()))
        if len(versions) > 1
        else "".join(map(str, versions)),
        facts=[("names", _names(found))],
        parameters=[_tensor(name, entry.array) for name, entry in named.items()],
    )


def _names(found: object) -> str:
    if not isinstance(found, dict):
        return "none: a list of arrays"
    kinds = {name.partition(":")[0] for name in found if ":" in name}
    if kinds <= {"arg", "aux"} and kinds:
        return "of arguments (arg:) and auxiliary states (aux:), beside a -symbol.json"
    dots = any("." in name for name in found)
    return "attribute paths of a network" if dots else "of single arrays or parameters"


def _tensor(name: str, array: np.ndarray | params.Sparse) -> Tensor:
    if isinstance(array, np.ndarray):
        return Tensor.of(name, array)
    held = Tensor.of(name, array.values)
    places = array.indices.nbytes + (0 if array.pointers is None else array.pointers.nbytes)
    note = f"{array.storage}, {len(array.indices)} stored"
    return held._replace(shape=array.shape, note=note, bytes=array.values.nbytes + places)


def _is_safetensors(content: memoryview, path: str) -> bool:
    return path.endswith(".safetensors") or safetensors.is_safetensors(content)


def _describe_safetensors(content: memoryview, path: str) -> Report:
    arrays = safetensors.read(content, path)
    told = safetensors.metadata(content, path)
    return Report(
        format="safetensors",
        facts=[(f"metadata, {name}", value) for name, value in told.items()],
        parameters=[Tensor.of(name, array) for name, array in arrays.items()],
    )


FORMATS = (
    Format("MXNet's .params", _is_params, _describe_params),
    Format("safetensors", _is_safetensors, _describe_safetensors),
)
