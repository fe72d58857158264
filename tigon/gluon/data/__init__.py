"""Datasets, samplers and loaders."""

from tigon.base.lazy import imported_on_demand as _imported_on_demand
from tigon.gluon.data.dataloader import DataLoader, default_batchify_fn
from tigon.gluon.data.dataset import ArrayDataset, Dataset, RecordFileDataset, SimpleDataset
from tigon.gluon.data.sampler import (
    BatchSampler,
    FilterSampler,
    IntervalSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
)
from tigon.gluon.data.sharded import ShardedBatchSampler

_imported_on_demand(
    globals(),
    {"batchify": "tigon.gluon.data.batchify", "vision": "tigon.gluon.data.vision"},
)

__all__ = [
    "ArrayDataset",
    "BatchSampler",
    "DataLoader",
    "Dataset",
    "FilterSampler",
    "IntervalSampler",
    "RandomSampler",
    "RecordFileDataset",
    "Sampler",
    "SequentialSampler",
    "ShardedBatchSampler",
    "SimpleDataset",
    "batchify",
    "default_batchify_fn",
    "vision",
]
