"""Programs that say `import mxnet`: under its name are the very modules of this package.

>>> import sys, tigon
>>> before = set(sys.modules)
>>> tigon.install_as_mxnet()
>>> import mxnet as mx
>>> from mxnet.gluon.model_zoo import vision
>>> mx.__version__, mx.nd is tigon.nd, vision is tigon.gluon.model_zoo.vision
('1.9.1', True, True)
>>> uninstall()
>>> [name for name in set(sys.modules) - before if name.startswith("mxnet")]
[]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import tigon
from tigon.base import check
from tigon.base.places import module_at, place_of, said_of, spec_of

VERSION = "1.9.1"
"""Of MXNet, which programs compare with what they need."""


class _Package(ModuleType):
    """`mxnet` itself: this package, but for its version. What is set here is set there."""

    def __getattr__(self, name: str) -> Any:
        return getattr(tigon, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            super().__setattr__(name, value)
        else:
            setattr(tigon, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(tigon, name)

    def __dir__(self) -> list[str]:
        return dir(tigon)


class _Finder:
    """Finds `mxnet` and all below it; nothing below it is looked for anywhere else."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        head, _, rest = fullname.partition(".")
        if head != "mxnet":
            return None
        said = said_of(rest)
        if said is not None:
            raise ImportError(said, name=fullname)
        found = module_at(place_of(rest)) if rest else _package()
        if found is None:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return spec_of(fullname, found)


def _package() -> ModuleType:
    made = _Package("mxnet", tigon.__doc__)
    made.__version__ = VERSION  # type: ignore[attr-defined]
    made.__all__ = tigon.__all__  # type: ignore[attr-defined]
    made.__file__ = tigon.__file__
    made.__path__ = []  # so that there are modules in it, and none on the disk
    return made


def install_as_mxnet() -> None:
    """Let `import mxnet`, and the import of everything below it, give this package from now on.

    `mxnet.__version__` is then 1.9.1. Modules are the same objects under both names. What is not
    there yet is an ImportError that says what to use in its place. Twice is as good as once. Raises
    where another package of that name has been imported before.
    """
    if is_installed():
        return
    other = sys.modules.get("mxnet")
    check(
        other is None,
        "install_as_mxnet",
        f"mxnet is imported already, from {getattr(other, '__file__', None)}; call it before",
    )
    sys.meta_path.insert(0, _Finder)


def is_installed() -> bool:
    """Whether `import mxnet` gives this package."""
    return _Finder in sys.meta_path


def uninstall() -> None:
    """Undo `install_as_mxnet`: `import mxnet` means what it meant before. Programs that have the
    modules keep them."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not _Finder]
    for name in [name for name in sys.modules if name.partition(".")[0] == "mxnet"]:
        del sys.modules[name]


__all__ = ["VERSION", "install_as_mxnet", "is_installed", "uninstall"]
