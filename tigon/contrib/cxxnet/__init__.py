"""cxxnet's configurations: read, built as symbols, and trained as they say.

>>> text = '''
... netconfig = start
... layer[+1:fc1] = fullc:fc1
...   nhidden = 2
... layer[+0] = softmax
... netconfig = end
... input_shape = 1,1,3
... batch_size = 4
... metric = error
... '''
>>> network = loads(text)
>>> network.symbol.list_arguments()
['data', 'fc1_wmat', 'fc1_bias', 'label']
>>> import numpy as np
>>> scores = network.fit((np.eye(3)[[0, 1, 0, 1]], np.array([0, 1, 0, 1])), num_round=2)
>>> sorted(scores[1])
['train-error']
"""

from __future__ import annotations

import os
from typing import Any

from tigon.base.files import AnyPath
from tigon.contrib.cxxnet.configuration import Configuration, Layer, Section
from tigon.contrib.cxxnet.metrics import Metric
from tigon.contrib.cxxnet.network import Network
from tigon.contrib.cxxnet.updaters import NAG, SGD, Adam

__all__ = [
    "NAG",
    "SGD",
    "Adam",
    "Configuration",
    "Layer",
    "Metric",
    "Network",
    "Section",
    "load",
    "loads",
]


def load(path: AnyPath, context: Any = None, **settings: Any) -> Network:
    """The network of a configuration.

    Parameters
    ----------
    path : the file
    context : where it runs; None: the present context
    settings : what counts instead of what the file says, as on cxxnet's command line:
        `batch_size=50`, `**{"wmat:lr": 0.1}`

    Raises a `TigonError` with file and line where the file says what cannot be. Nothing of the file
    is run, and files that it names are read when an iterator of theirs is made.
    """
    with open(path, "rb") as file:
        content = file.read()
    return Network(Configuration(content, os.fsdecode(path), settings), context)


def loads(
    content: str | bytes, where: str = "configuration", context: Any = None, **settings: Any
) -> Network:
    """The same of a text; `where` is what errors call it."""
    return Network(Configuration(content, where, settings), context)
