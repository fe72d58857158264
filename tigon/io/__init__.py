"""Data iterators in the style of MXNet's modules."""

from __future__ import annotations

from tigon.base.lazy import imported_on_demand as _imported_on_demand
from tigon.io.arrays import NDArrayIter
from tigon.io.batches import DataBatch, DataDesc, DataIter, MXDataIter

__all__ = [
    "CSVIter",
    "DataBatch",
    "DataDesc",
    "DataIter",
    "ImageDetRecordIter",
    "ImageRecordIter",
    "ImageRecordIter_v1",
    "ImageRecordUInt8Iter",
    "ImageRecordUInt8Iter_v1",
    "LibSVMIter",
    "MNISTIter",
    "MXDataIter",
    "NDArrayIter",
    "PrefetchingIter",
    "ResizeIter",
]

_PLACES = {
    "rows": "CSVIter LibSVMIter MNISTIter",
    "around": "PrefetchingIter ResizeIter",
    "images": "ImageRecordIter ImageRecordIter_v1 ImageRecordUInt8Iter ImageRecordUInt8Iter_v1",
    "detection": "ImageDetRecordIter",
}

_imported_on_demand(
    globals(),
    {name: f"tigon.io.{file}:{name}" for file, names in _PLACES.items() for name in names.split()},
)
