"""Tokens and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tigon.base import check


class Vocabulary:
    """Tokens by frequency: number 0 is the unknown one, then those reserved, then the most frequent
    ones of `counter` (at most `most_freq_count`, each at least `min_freq` times; of equal frequency
    in alphabetical order).

    >>> words = Vocabulary(Counter("abracadabra"), most_freq_count=2, reserved_tokens=["<pad>"])
    >>> words.idx_to_token, words.to_indices("b"), words.to_indices("z"), words.to_tokens([1, 2])
    (['<unk>', '<pad>', 'a', 'b'], 3, 0, ['<pad>', 'a'])
    """

    def __init__(
        self,
        counter: Counter[Any] | None = None,
        most_freq_count: int | None = None,
        min_freq: int = 1,
        unknown_token: Any = "<unk>",
        reserved_tokens: Sequence[Any] | None = None,
    ) -> None:
        check(
            counter is None or isinstance(counter, Counter),
            "Vocabulary",
            f"expected a collections.Counter; given {type(counter).__name__}",
        )
        check(min_freq > 0, "Vocabulary", f"min_freq: expected at least 1; given {min_freq}")
        reserved = None if reserved_tokens is None else list(reserved_tokens)
        known = [unknown_token, *(reserved or [])]
        check(
            len(set(known)) == len(known),
            "Vocabulary",
            f"expected every reserved token once, and not the unknown one; given {reserved!r:.80}",
        )
        self._unknown_token = unknown_token
        self._reserved_tokens = reserved
        self._idx_to_token: list[Any] = known
        found = [item for item in (counter or {}).items() if item[0] not in set(known)]
        found.sort(key=lambda item: (-item[1], item[0]))
        frequent = [token for token, times in found if times >= min_freq]
        self._idx_to_token += frequent[:most_freq_count]
        self._token_to_idx = {token: index for index, token in enumerate(self._idx_to_token)}

    def __len__(self) -> int:
        return len(self._idx_to_token)

    @property
    def token_to_idx(self) -> dict[Any, int]:
        """Numbers by tokens."""
        return self._token_to_idx

    @property
    def idx_to_token(self) -> list[Any]:
        """Tokens in the order of their numbers."""
        return self._idx_to_token

    @property
    def unknown_token(self) -> Any:
        """What stands for all others."""
        return self._unknown_token

    @property
    def reserved_tokens(self) -> list[Any] | None:
        """Those that have a number whatever was counted."""
        return self._reserved_tokens

    def to_indices(self, tokens: Any) -> Any:
        """The number of a token, or of each of a list; 0 where it is not known."""
        if isinstance(tokens, list):
            return [self._token_to_idx.get(token, 0) for token in tokens]
        return self._token_to_idx.get(tokens, 0)

    def to_tokens(self, indices: Any) -> Any:
        """The token of a number, or those of a list."""
        several = isinstance(indices, list)
        for index in indices if several else [indices]:
            check(
                isinstance(index, int) and 0 <= index < len(self),
                "to_tokens",
                f"expected numbers from 0 to {len(self) - 1}; given {index!r}",
            )
        if several:
            return [self._idx_to_token[index] for index in indices]
        return self._idx_to_token[indices]


__all__ = ["Vocabulary"]
