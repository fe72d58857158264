"""cxxnet's configurations."""

from __future__ import annotations

import re
from math import prod

from tigon.contrib.cxxnet.configuration import Configuration
from tigon.contrib.cxxnet.layers import Built, reason_against
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


FORMATS = (Format("cxxnet's configurations", _is_configuration, _describe),)
