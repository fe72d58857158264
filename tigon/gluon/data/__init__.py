"""Datasets, samplers and loaders."""

from tigon.base.lazy import missing_of as _missing_of
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

__getattr__ = _missing_of(__name__)
