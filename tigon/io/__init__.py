"""Data iterators in the style of MXNet's modules."""

from tigon.base.lazy import missing_of as _missing_of
from tigon.io.iterators import DataBatch, DataDesc, DataIter, NDArrayIter

__all__ = ["DataBatch", "DataDesc", "DataIter", "NDArrayIter"]

__getattr__ = _missing_of(__name__)
