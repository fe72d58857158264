"""Data iterators in the style of MXNet's modules."""

from tigon.base.lazy import complete as _complete
from tigon.io.iterators import DataBatch, DataDesc, DataIter, NDArrayIter

__all__ = ["DataBatch", "DataDesc", "DataIter", "NDArrayIter"]

_complete(globals())
