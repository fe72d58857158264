"""The rules of Caffe's layers, one for each type."""

from tigon.contrib.caffe.layers import arrange, common, data, losses, neurons, vision
from tigon.contrib.caffe.layers.record import (
    RECORDS,
    REFUSED,
    Blob,
    Given,
    Layer,
    Network,
    record_of,
)

__all__ = ["RECORDS", "REFUSED", "Blob", "Given", "Layer", "Network", "record_of"]

RULES = (arrange, common, data, losses, neurons, vision)
"""The files that declare them."""
