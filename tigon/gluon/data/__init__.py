"""Datasets, samplers and loaders."""

from tigon.base.lazy import complete as _complete
from tigon.gluon.data.dataloader import DataLoader, default_batchify_fn
from tigon.gluon.data.dataset import ArrayDataset, Dataset, SimpleDataset
from tigon.gluon.data.sampler import (
    BatchSampler,
    FilterSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
)

__all__ = [
    "ArrayDataset",
    "BatchSampler",
    "DataLoader",
    "Dataset",
    "FilterSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SimpleDataset",
    "default_batchify_fn",
]

_complete(globals())
