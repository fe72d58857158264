"""Floor 2: the operators. Each is one record; importing this package registers all of them.

>>> get("split").name, "broadcast_add" in names()
('SliceChannel', True)
>>> from tigon.ir.graph import variable
>>> 1 - variable("x") * 2
<Value broadcast_sub:0>
"""

from __future__ import annotations

from tigon.ops import (  # noqa: F401  (a test compares with the files that are there)
    contraction,
    contrib,
    creation,
    elementwise,
    image,
    indexing,
    linalg,
    nn,
    ordering,
    product,
    random,
    reduction,
    scan,
    spatial,
    update,
    views,
)
from tigon.ops.operators import install
from tigon.ops.record import Family, Operator, all_operators, get, names

__all__ = ["Family", "Operator", "all_operators", "get", "names"]

install()
