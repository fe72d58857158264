"""`mx.contrib.text`: vocabularies, and vectors for their tokens from files.

>>> from collections import Counter
>>> vocab.Vocabulary(Counter(["b", "a", "b"])).to_indices(["a", "b", "c"])
[2, 1, 0]
"""

from tigon.base.lazy import complete as _complete
from tigon.contrib.text import embedding, utils, vocab

__all__ = ["embedding", "utils", "vocab"]

_complete(globals())
