"""Where the parameters of a network of the zoo are found. Nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from tigon.base import check
from tigon.context import check_context
from tigon.gluon.block import Block

DEFAULT_ROOT = "~/.mxnet/models"
"""Where MXNet kept the files that it downloaded."""

Network = TypeVar("Network", bound=Block)


def get_model_file(name: str, root: str | Path = DEFAULT_ROOT) -> str:
    """The file with the parameters of network `name`.

    Args:
        name: such as "resnet18_v1".
        root: a folder with `name.params` or, as MXNet downloads it, `name-<hash>.params`; or the
            file itself.

    Raises:
        TigonError: there is no such file, or there are several.
    """
    path = Path(root).expanduser()
    if path.is_file():
        return str(path)
    found = sorted(path.glob(f"{name}.params")) or sorted(path.glob(f"{name}-*.params"))
    check(
        bool(found),
        "model_zoo",
        f"no parameters for {name}: expected {name}.params or {name}-<hash>.params in {path}; "
        "files are not downloaded, so put one there, name it as root=, or leave pretrained=False",
    )
    check(
        len(found) == 1,
        "model_zoo",
        f"several parameters for {name} in {path}: {', '.join(file.name for file in found)}; "
        "name one of them as root=",
    )
    return str(found[0])


def with_parameters(
    network: Network, name: str, pretrained: bool, ctx: Any, root: str | Path
) -> Network:
    """The network itself, its parameters loaded if `pretrained`."""
    check_context("model_zoo", ctx)
    if pretrained:
        network.load_parameters(get_model_file(name, root), ctx=ctx)
    return network
