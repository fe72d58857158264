"""cxxnet's configurations and models."""

from __future__ import annotations

import re
import struct
from math import prod

from tigon.contrib.cxxnet.configuration import Configuration
from tigon.contrib.cxxnet.layers import Built, reason_against
from tigon.contrib.cxxnet.models import Model
from tigon.tools.inspection.report import Format, Missing, Report, Tensor

_NET = re.compile(rb"^[ \t]*netconfig[ \t]*=[ \t]*start", re.MULTILINE)


def _is_configuration(content: memoryview, path: str) -> bool:
    return _NET.search(content, 0, 2**20) is not None or path.endswith(".conf")


def _describe(content: memoryview, path: str) -> Report:
    found = Configuration(bytes(content), path)
    missing = [
        Missing(layer.kind, layer.name, reason)
        for layer in found.layers
        if (reason := reason_against(layer.kind)) is not None
    ]
    built = None if missing else Built(found, batch_size=1, update_period=1)
    told = ("updater", "batch_size", "update_period", "num_round", "lr:schedule", "dev")
    facts = [(name, setting.value) for name in told if (setting := found.last(name)) is not None]
    facts += [
        (f"section {own.kind} = {own.name}", "iter = " + ", ".join(own.chain))
        for own in found.sections
    ]
    inputs, parameters = None, None
    if built is not None:
        inputs = [Tensor("data", "float32", built.input_shape)]
        inputs += [Tensor("label", "float32")] if built.losses else []
        parameters = [
            Tensor(name, "float32", own.shape, "" if own.tags else "state", 4 * prod(own.shape))
            for name, own in built.tensors.items()
        ]
    return Report(
        format="a configuration of cxxnet",
        facts=facts,
        inputs=inputs,
        parameters=parameters,
        operators=[layer.kind for layer in found.layers],
        missing=missing,
    )


_FIRST_NODE = slice(156, 166), struct.pack("<Q2s", 2, b"in")
"""Of every model, the name of the node that data come in by."""


def _is_model(content: memoryview, path: str) -> bool:
    where, name = _FIRST_NODE
    return bytes(content[where]) == name


def _describe_model(content: memoryview, path: str) -> Report:
    model = Model(content, path)
    kinds = [layer.kinds[0] if layer.kinds else f"number {layer.code}" for layer in model.layers]
    parameters = [
        Tensor.of(
            f"{model.layers[number].name or f'{kinds[number]}{number}'}_{each.tag}", each.array
        )
        for number, held in model.arrays().items()
        for each in held
    ]
    return Report(
        format="a model of cxxnet",
        facts=[("updates", str(model.updates))],
        inputs=[Tensor("data", "float32", model.input_shape)],
        parameters=parameters,
        operators=kinds,
    )


FORMATS = (
    Format("cxxnet's models", _is_model, _describe_model),
    Format("cxxnet's configurations", _is_configuration, _describe),
)
