"""Vectors of tokens, from files that have a token and its numbers on each line."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tigon import nd
from tigon.base import TigonError, check, data_dir
from tigon.base.lazy import complete as _complete
from tigon.contrib.text.vocab import Vocabulary
from tigon.gluon.utils import download
from tigon.registry import get_create_func, get_register_func


class _TokenEmbedding(Vocabulary):
    """A vocabulary whose tokens have vectors: base of those that read them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._idx_to_vec: Any = None

    @property
    def vec_len(self) -> int:
        """How many numbers a vector has."""
        return 0 if self._idx_to_vec is None else self._idx_to_vec.shape[1]

    @property
    def idx_to_vec(self) -> Any:
        """The vectors in the order of the numbers of their tokens: (tokens, numbers)."""
        return self._idx_to_vec

    def _read(
        self,
        path: str,
        elem_delim: str,
        init_unknown_vec: Callable[..., Any],
        encoding: str,
        vocabulary: Vocabulary | None,
    ) -> None:
        """Take over the vectors of a file; with a vocabulary, those of its tokens."""
        check(
            os.path.isfile(path),
            type(self).__name__,
            f"expected a file of vectors at {path!r}; there is none",
        )
        with open(path, encoding=encoding) as file:
            found = _vectors(file, path, elem_delim)
        check(found, type(self).__name__, f"expected vectors in {path!r}; found none")
        length = len(next(iter(found.values())))
        unknown = found.pop(self._unknown_token, None)
        if unknown is None:
            unknown = np.asarray(init_unknown_vec(shape=length).asnumpy(), np.float32)
        if vocabulary is None:
            added = [token for token in found if token not in self._token_to_idx]
            self._idx_to_token += added
        else:
            self._unknown_token = vocabulary.unknown_token
            self._reserved_tokens = vocabulary.reserved_tokens
            self._idx_to_token = list(vocabulary.idx_to_token)
        self._token_to_idx = {token: index for index, token in enumerate(self._idx_to_token)}
        rows = [unknown, *(found.get(token, unknown) for token in self._idx_to_token[1:])]
        self._idx_to_vec = nd.array(np.stack(rows))

    def get_vecs_by_tokens(self, tokens: Any, lower_case_backup: bool = False) -> Any:
        """The vector of a token, or those of a list, a row each; that of the unknown token where
        one has none. With `lower_case_backup` a token is looked for in lower case, too."""
        wanted = tokens if isinstance(tokens, list) else [tokens]
        known = self._token_to_idx
        numbers = [
            known.get(token, known.get(token.lower(), 0))
            if lower_case_backup
            else known.get(token, 0)
            for token in wanted
        ]
        found = self._idx_to_vec[nd.array(numbers, dtype="int64")]
        return found if isinstance(tokens, list) else found[0]

    def update_token_vectors(self, tokens: Any, new_vectors: Any) -> None:
        """Give a token, or each of a list, another vector."""
        wanted = tokens if isinstance(tokens, list) else [tokens]
        for token in wanted:
            check(
                token in self._token_to_idx,
                "update_token_vectors",
                f"expected tokens that have a vector; given {token!r:.80}; the unknown one is "
                f"{self._unknown_token!r}",
            )
        rows = new_vectors.reshape((1, -1)) if new_vectors.ndim == 1 else new_vectors
        check(
            tuple(rows.shape) == (len(wanted), self.vec_len),
            "update_token_vectors",
            f"expected vectors of shape {(len(wanted), self.vec_len)}; given "
            f"{tuple(new_vectors.shape)}",
        )
        for token, row in zip(wanted, rows, strict=True):
            self._idx_to_vec[self._token_to_idx[token]] = row


def _vectors(file: Any, path: str, elem_delim: str) -> dict[str, np.ndarray]:
    """By token. A line of one number is a head, which says how many there are."""
    found: dict[str, np.ndarray] = {}
    length = 0
    for number, line in enumerate(file, 1):
        token, *elements = line.rstrip().split(elem_delim)
        where = f"{path}, line {number}"
        if len(elements) < 2:
            if number > 1:
                warnings.warn(f"{where}: {token!r:.80} has no vector; left out", stacklevel=4)
            continue
        if token in found:
            warnings.warn(f"{where}: {token!r:.80} has a vector already; left out", stacklevel=4)
            continue
        try:
            vector = np.array([float(element) for element in elements], np.float32)
        except ValueError:
            raise TigonError(
                f"{where}: expected a token and numbers, between {elem_delim!r}; given {line!r:.80}"
            ) from None
        length = length or len(vector)
        check(
            len(vector) == length,
            where,
            f"expected {length} numbers as in the lines before; given {len(vector)}",
        )
        found[token] = vector
    return found


register = get_register_func(_TokenEmbedding, "token embedding")
create = get_create_func(_TokenEmbedding, "token embedding")


class _Published(_TokenEmbedding):
    """Vectors that others have made, from a file that is there."""

    def __init__(
        self,
        pretrained_file_name: str,
        embedding_root: str | None = None,
        init_unknown_vec: Callable[..., Any] = nd.zeros,
        vocabulary: Vocabulary | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        root = os.path.join(data_dir(), "embeddings") if embedding_root is None else embedding_root
        folder = os.path.join(os.path.expanduser(root), type(self).__name__.lower())
        path = download(pretrained_file_name, os.path.join(folder, pretrained_file_name))
        self._read(path, " ", init_unknown_vec, "utf8", vocabulary)


@register
class GloVe(_Published):
    """The vectors of GloVe (Pennington, Socher and Manning 2014), from
    `embedding_root/glove/pretrained_file_name`."""

    def __init__(self, pretrained_file_name: str = "glove.840B.300d.txt", **options: Any) -> None:
        super().__init__(pretrained_file_name, **options)


@register
class FastText(_Published):
    """The vectors of fastText (Bojanowski and others 2016), from
    `embedding_root/fasttext/pretrained_file_name`."""

    def __init__(self, pretrained_file_name: str = "wiki.simple.vec", **options: Any) -> None:
        super().__init__(pretrained_file_name, **options)


class CustomEmbedding(_TokenEmbedding):
    """The vectors of a file of one's own: on each line a token and its numbers, with `elem_delim`
    between them. The unknown token has the vector that the file gives it, or what
    `init_unknown_vec(shape=...)` makes."""

    def __init__(
        self,
        pretrained_file_path: str,
        elem_delim: str = " ",
        encoding: str = "utf8",
        init_unknown_vec: Callable[..., Any] = nd.zeros,
        vocabulary: Vocabulary | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._read(pretrained_file_path, elem_delim, init_unknown_vec, encoding, vocabulary)


class CompositeEmbedding(_TokenEmbedding):
    """For the tokens of a vocabulary, the vectors of several embeddings one after the other."""

    def __init__(self, vocabulary: Vocabulary, token_embeddings: Any) -> None:
        given = token_embeddings if isinstance(token_embeddings, list) else [token_embeddings]
        for one in given:
            check(
                isinstance(one, _TokenEmbedding),
                "CompositeEmbedding",
                f"expected embeddings of tokens; given {type(one).__name__}",
            )
        super().__init__(
            unknown_token=vocabulary.unknown_token, reserved_tokens=vocabulary.reserved_tokens
        )
        self._idx_to_token = list(vocabulary.idx_to_token)
        self._token_to_idx = dict(vocabulary.token_to_idx)
        parts: Sequence[Any] = [one.get_vecs_by_tokens(self._idx_to_token) for one in given]
        self._idx_to_vec = nd.concat(*parts, dim=1)


_complete(globals())

__all__ = [
    "CompositeEmbedding",
    "CustomEmbedding",
    "FastText",
    "GloVe",
    "create",
    "register",
]
