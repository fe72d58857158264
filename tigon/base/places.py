"""Modules under more than one name: where MXNet has them, and, for programs that ask for it, under
`mxnet`. They are the same objects; what is not there says what to use in its place."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

PLACES = {
    "contrib.nd": "nd.contrib",
    "contrib.ndarray": "nd.contrib",
    "contrib.sym": "sym.contrib",
    "contrib.symbol": "sym.contrib",
    "contrib.onnx.onnx2mx": "contrib.onnx",
    "executor": "sym.executor",
    "gluon.contrib.data.sampler": "gluon.contrib.data",
    "gluon.metric": "metric",
    "gluon.nn.basic_layers": "gluon.nn",
    "gluon.nn.conv_layers": "gluon.nn",
    "image.image": "image",
    "io.io": "io",
    "img": "image",
    "io.utils": "io",
    "kv": "kvstore",
    "mod": "module",
    "mon": "monitor",
    "ndarray": "nd",
    "ndarray.utils": "nd",
    "symbol": "sym",
    "symbol.symbol": "sym.symbol",
    "viz": "visualization",
}
"""Modules of MXNet that have another place here; what is in them goes along."""


def place_of(path: str) -> str:
    """Where a module of MXNet is.

    >>> place_of("gluon.nn"), place_of("ndarray.random"), place_of("ndarray.utils")
    ('gluon.nn', 'nd.random', 'nd')
    """
    known, end = path, ""
    while known not in PLACES:
        known, dot, last = known.rpartition(".")
        if not dot:
            return path
        end = f".{last}{end}"
    return PLACES[known] + end


def module_at(path: str) -> ModuleType | None:
    """The module of a path within this package, imported if need be."""
    name = f"tigon.{path}"
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # something that a module of ours needs
    owner, _, last = name.rpartition(".")
    found = getattr(sys.modules.get(owner), last, None)
    return found if isinstance(found, ModuleType) else None


def module_in(package: str, name: str) -> ModuleType | None:
    """A module of MXNet's in a package of ours, where it has another place.

    >>> module_in("image", "image").__name__, module_in("nd", "utils").__name__
    ('tigon.image', 'tigon.nd')
    >>> module_in("image", "utils")
    """
    for path, place in PLACES.items():
        parent, _, last = path.rpartition(".")
        if last == name and parent and place_of(parent) == package:
            return module_at(place)
    return None


class Given:
    """A loader of a module that is there, which it leaves as it is."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = getattr(module, "__spec__", None)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import has written its own over it


def spec_of(fullname: str, module: ModuleType) -> ModuleSpec:
    """What an import of `fullname` needs to know to give this module.

    The modules in it are put under `fullname`, too: an import of one of them would otherwise write
    it over what else bears its name there, as the function `vision.alexnet`."""
    inside = f"{module.__name__}."
    for name in [name for name in sys.modules if name.startswith(inside)]:
        sys.modules.setdefault(f"{fullname}.{name[len(inside) :]}", sys.modules[name])
    loader = Given(module)
    return ModuleSpec(fullname, loader, is_package=hasattr(module, "__path__"))  # type: ignore


class Elsewhere:
    """Before other finders: modules of this package that have another place."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        head, _, rest = fullname.partition(".")
        if head != "tigon" or place_of(rest) == rest:
            return None
        found = module_at(place_of(rest))
        return None if found is None else spec_of(fullname, found)


class Absent:
    """After other finders: modules of MXNet that are not there yet."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        head, _, rest = fullname.partition(".")
        if head == "tigon":
            said = said_of(rest)
            if said is not None:
                raise ImportError(said, name=fullname)
        return None


def said_of(path: str) -> str | None:
    """What the table of absent things says of a module, or of what it would be in."""
    message = import_module("tigon.base.absent").message
    name = f"tigon.{place_of(path)}"
    while "." in name:
        owner, _, last = name.rpartition(".")
        said: str | None = message(owner, last)
        if said is not None:
            return said
        name = owner
    return None


def install() -> None:
    """Let imports find what is here."""
    sys.meta_path.insert(0, Elsewhere)
    sys.meta_path.append(Absent)
