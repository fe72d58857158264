"""Floor 2: the operators. Each is one record; importing this package registers all of them.

>>> get("split").name, "broadcast_add" in names()
('SliceChannel', True)
>>> from tigon.ir.graph import variable
>>> 1 - variable("x") * 2
<Value broadcast_sub:0>
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from tigon.ops.operators import install
from tigon.ops.record import Family, Operator, all_operators, get, names

__all__ = ["Family", "Operator", "all_operators", "get", "names"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
    if _module.ispkg:
        for _inner in iter_modules([f"{__path__[0]}/{_module.name}"]):
            import_module(f"{__name__}.{_module.name}.{_inner.name}")
install()
