"""Counting tokens."""

from __future__ import annotations

import re
from collections import Counter


def count_tokens_from_str(
    source_str: str,
    token_delim: str = " ",
    seq_delim: str = "\n",
    to_lower: bool = False,
    counter_to_update: Counter[str] | None = None,
) -> Counter[str]:
    """How often each token stands in a text; delimiters are regular expressions. Adds to
    `counter_to_update`, if it is given.

    >>> sorted(count_tokens_from_str(" Life is life .\\n", to_lower=True).items())
    [('.', 1), ('is', 1), ('life', 2)]
    """
    text = source_str.lower() if to_lower else source_str
    counter: Counter[str] = Counter() if counter_to_update is None else counter_to_update
    counter.update(token for token in re.split(f"{token_delim}|{seq_delim}", text) if token)
    return counter


__all__ = ["count_tokens_from_str"]
