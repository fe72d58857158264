"""Where the parameters of a network of the zoo are found. Nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from tigon.base import check
from tigon.base.lazy import complete as _complete
from tigon.context import check_context
from tigon.gluon.block import Block
from tigon.gluon.utils import check_sha1

DEFAULT_ROOT = "~/.mxnet/models"
"""Where MXNet kept the files that it downloaded."""

Network = TypeVar("Network", bound=Block)

_model_sha1: dict[str, str] = {}
"""What programs know of the files of their networks: the SHA-1 by the name of the network."""


def short_hash(name: str) -> str:
    """The first eight digits of the SHA-1 that a program has put down for a network, which are in
    the name of its file.

    >>> _model_sha1["tiny"] = "0123456789abcdef0123456789abcdef01234567"
    >>> short_hash("tiny")
    '01234567'
    >>> del _model_sha1["tiny"]
    """
    check(
        name in _model_sha1,
        "model_zoo",
        f"no SHA-1 of {name} is known; put it into model_store._model_sha1",
    )
    return _model_sha1[name][:8]


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
    if name in _model_sha1 and (path / f"{name}-{short_hash(name)}.params").is_file():
        exact = path / f"{name}-{short_hash(name)}.params"
        check(
            check_sha1(str(exact), _model_sha1[name]),
            "model_zoo",
            f"{exact}: expected the SHA-1 {_model_sha1[name]} of model_store._model_sha1; there is "
            "another file under that name; get it again, or name yours as root=",
        )
        return str(exact)
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


_complete(globals())
