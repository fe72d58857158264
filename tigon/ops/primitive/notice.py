"""What a program tells the user without stopping."""

from __future__ import annotations

from tigon.base import TensorType
from tigon.base.frozen import Frozen
from tigon.base.notices import SILENT
from tigon.ops.record import Family, primitive


class ToldAttrs(Frozen, kw_only=True):
    notice: int
    operator: str = ""


_told = primitive(
    "_told",
    Family.NOTICE,
    operands="flags",
    attrs=ToldAttrs,
    infer=lambda attrs, flags: TensorType(flags.shape, flags.dtype),
    differentiable=False,
    numpy=lambda flags, notice, operator: flags.copy(),
    samples=(
        ((3, 5), {"notice": SILENT}),
        ((), {"notice": SILENT}),
        ((0, 3), {"notice": SILENT}),
    ),
    doc="""The same flags. If one of them is not 0, the user is warned, once in a process.

    Parameters: `notice` is the number of the warning (`tigon/base/notices.py`); `operator` is whom
    it speaks of.

    >>> nd._told(nd.array([False], dtype="bool"), notice=0).asnumpy()
    array([False])
    """,
)
