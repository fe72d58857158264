"""Floor 2: the operators. Each is one record; importing this package registers all of them.

>>> get("split").name, "broadcast_add" in names()
('SliceChannel', True)
>>> from tigon.ir.graph import variable
>>> 1 - variable("x") * 2
<Value broadcast_sub:0>
"""

# ruff: noqa: F401  (importing a file registers its records)

from __future__ import annotations

import tigon.ops.attention
import tigon.ops.casting
import tigon.ops.factorizations
import tigon.ops.linalg
import tigon.ops.mxnet
import tigon.ops.nn
import tigon.ops.optimizer.formulas
import tigon.ops.optimizer.lamb
import tigon.ops.optimizer.oracles
import tigon.ops.optimizer.records
import tigon.ops.optimizer.scaled
import tigon.ops.primitive.activation
import tigon.ops.primitive.arithmetic
import tigon.ops.primitive.bits
import tigon.ops.primitive.choose
import tigon.ops.primitive.compare
import tigon.ops.primitive.contract
import tigon.ops.primitive.control
import tigon.ops.primitive.create
import tigon.ops.primitive.functions
import tigon.ops.primitive.gather
import tigon.ops.primitive.join
import tigon.ops.primitive.random
import tigon.ops.primitive.reduce
import tigon.ops.primitive.scan
import tigon.ops.primitive.special
import tigon.ops.primitive.view
import tigon.ops.primitive.window
import tigon.ops.tensor.create
import tigon.ops.tensor.densities
import tigon.ops.tensor.distributions
import tigon.ops.tensor.einsum
import tigon.ops.tensor.gradients
import tigon.ops.tensor.histogram
import tigon.ops.tensor.index
import tigon.ops.tensor.join
import tigon.ops.tensor.mask
import tigon.ops.tensor.matmul
import tigon.ops.tensor.matrix
import tigon.ops.tensor.order
import tigon.ops.tensor.pad
import tigon.ops.tensor.positions
import tigon.ops.tensor.product
import tigon.ops.tensor.random
import tigon.ops.tensor.random_like
import tigon.ops.tensor.reduce
import tigon.ops.tensor.repeat
import tigon.ops.tensor.shape
import tigon.ops.tensor.slice
import tigon.ops.tensor.sparse
import tigon.ops.tensor.statistics
import tigon.ops.vision.boxes
import tigon.ops.vision.color
import tigon.ops.vision.correlation
import tigon.ops.vision.deformable
import tigon.ops.vision.image
import tigon.ops.vision.multibox
import tigon.ops.vision.proposal
import tigon.ops.vision.resize
import tigon.ops.vision.roi_align
import tigon.ops.vision.spatial
import tigon.ops.vision.suppression
from tigon.ops.operators import install
from tigon.ops.record import Family, Operator, all_operators, get, names

__all__ = ["Family", "Operator", "all_operators", "get", "names"]

install()
