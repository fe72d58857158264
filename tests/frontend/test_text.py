"""`mx.contrib.text`: vocabularies and vectors of tokens, in the orders of mxnet 1.9.1."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import nd
from tigon.contrib import text

COUNTS = Counter({"c": 3, "b": 3, "a": 2, "z": 1, "<x>": 5})


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({}, ["<unk>", "<x>", "b", "c", "a", "z"]),
        ({"min_freq": 3}, ["<unk>", "<x>", "b", "c"]),
        ({"most_freq_count": 0}, ["<unk>"]),
        (
            {"most_freq_count": 2, "unknown_token": "<u>", "reserved_tokens": ["<pad>", "<x>"]},
            ["<u>", "<pad>", "<x>", "b", "c"],
        ),
    ],
    ids=str,
)
def test_vocabularies(options: dict[str, Any], tokens: list[str]) -> None:
    words = text.vocab.Vocabulary(COUNTS, **options)
    assert words.idx_to_token == tokens and len(words) == len(tokens)
    assert words.to_tokens(words.to_indices(tokens)) == tokens
    assert words.to_indices("no such token") == 0
    assert words.reserved_tokens == options.get("reserved_tokens")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: text.vocab.Vocabulary(["a"]), "expected a collections.Counter; given list"),
        (lambda: text.vocab.Vocabulary(COUNTS, min_freq=0), "expected at least 1; given 0"),
        (lambda: text.vocab.Vocabulary(COUNTS, reserved_tokens=["a", "a"]), "reserved token once"),
        (lambda: text.vocab.Vocabulary(COUNTS, reserved_tokens=["<unk>"]), "not the unknown one"),
        *[
            (lambda i=i: text.vocab.Vocabulary(COUNTS).to_tokens(i), f"from 0 to 5; given {given}")
            for i, given in ((6, 6), (-1, -1), ([0, 9], 9), ("a", "'a'"), (1.5, 1.5))
        ],
        (lambda: text.embedding.CustomEmbedding("nowhere"), "vectors at 'nowhere'; there is none"),
        (lambda: text.embedding.create("glove", embedding_root="x"), "nothing is downloaded; get"),
        (lambda: text.embedding.create("nope"), "'nope' is not registered; registered: fasttext"),
        (
            lambda: text.embedding.CompositeEmbedding(text.vocab.Vocabulary(), [3]),
            "expected embeddings of tokens; given int",
        ),
    ],
)  # fmt: skip
def test_what_is_given_wrongly(call: Any, said: str) -> None:
    with pytest.raises(mx.TigonError) as error:
        call()
    assert said in str(error.value)


def test_counting() -> None:
    count = text.utils.count_tokens_from_str
    assert count("*Life*is*great*!*\n*Life*", r"\*") == {"Life": 2, "is": 1, "great": 1, "!": 1}
    counter = Counter(a=3)
    assert count("A b", to_lower=True, counter_to_update=counter) is counter
    assert counter == {"a": 4, "b": 1}


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    file = tmp_path / "vectors.txt"
    file.write_text("3 3\nhello 1 2 3\nworld 4 5 6\n<unk> .25 .5 .75\n")
    return file


def test_vectors_of_a_file(vectors: Path) -> None:
    found = text.embedding.CustomEmbedding(str(vectors))
    assert found.idx_to_token == ["<unk>", "hello", "world"] and found.vec_len == 3
    unknown = [0.25, 0.5, 0.75]
    assert found.idx_to_vec.asnumpy().tolist() == [unknown, [1, 2, 3], [4, 5, 6]]
    assert found.get_vecs_by_tokens("hello").asnumpy().tolist() == [1, 2, 3]
    assert found.get_vecs_by_tokens(["HELLO", "x"]).asnumpy().tolist() == [unknown, unknown]
    lower = found.get_vecs_by_tokens(["HELLO", "x"], lower_case_backup=True)
    assert lower.asnumpy().tolist() == [[1, 2, 3], unknown]
    found.update_token_vectors("hello", nd.array([9, 9, 9]))
    found.update_token_vectors(["world", "<unk>"], nd.array([[1, 1, 1], [2, 2, 2]]))
    assert found.idx_to_vec.asnumpy().tolist() == [[2] * 3, [9] * 3, [1] * 3]
    for token, shape, said in (
        (
            "nope",
            (3,),
            "expected tokens that have a vector; given 'nope'; the unknown one is '<unk>'",
        ),
        ("hello", (2,), r"expected vectors of shape \(1, 3\); given \(2,\)"),
    ):
        with pytest.raises(mx.TigonError, match=said):
            found.update_token_vectors(token, nd.ones(shape))


def test_vectors_of_the_tokens_of_a_vocabulary(vectors: Path, tmp_path: Path) -> None:
    words = text.vocab.Vocabulary(Counter(["world", "other"]), reserved_tokens=["<pad>"])
    made = text.embedding.CustomEmbedding(str(vectors), vocabulary=words)
    assert made.idx_to_token == words.idx_to_token and made.reserved_tokens == ["<pad>"]
    assert made.idx_to_vec[:, 0].asnumpy().tolist() == [0.25, 0.25, 0.25, 4]
    other = tmp_path / "other.txt"
    other.write_text("world,1,2\nb,3,4\n")
    second = text.embedding.CustomEmbedding(str(other), ",", init_unknown_vec=nd.ones)
    both = text.embedding.CompositeEmbedding(words, [second, made])
    assert both.vec_len == 5 and both.idx_to_token == words.idx_to_token
    rows = both.idx_to_vec.asnumpy()
    np.testing.assert_array_equal(rows[0], [1, 1, 0.25, 0.5, 0.75])
    np.testing.assert_array_equal(rows[3], [1, 2, 4, 5, 6])


def test_published_vectors_are_read_where_they_are(vectors: Path, monkeypatch: Any) -> None:
    folder = vectors.parent / "embeddings" / "glove"
    folder.mkdir(parents=True)
    vectors.rename(folder / "tiny.txt")
    monkeypatch.setenv("MXNET_HOME", str(vectors.parent))
    made = text.embedding.create("GloVe", pretrained_file_name="tiny.txt")
    assert made.idx_to_token == ["<unk>", "hello", "world"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a 1 2\nb 3 x\n", r"line 2: expected a token and numbers, between ' '; given 'b 3 x"),
        ("a 1 2\nb 3 4 5\n", r"line 2: expected 2 numbers as in the lines before; given 3"),
        ("", "expected vectors in .*; found none"),
    ],
)
def test_files_that_are_wrong(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text(content)
    with pytest.raises(mx.TigonError, match=said):
        text.embedding.CustomEmbedding(str(file))


def test_lines_that_are_left_out_are_told(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text("a 1 2\na 3 4\nb 1\n")
    with pytest.warns(UserWarning) as seen:
        found = text.embedding.CustomEmbedding(str(file))
    assert [str(w.message).partition(", ")[2] for w in seen] == [
        "line 2: 'a' has a vector already; left out",
        "line 3: 'b' has no vector; left out",
    ]
    assert found.idx_to_vec.asnumpy().tolist() == [[0, 0], [1, 2]]


def test_embeddings_of_a_program() -> None:
    @text.embedding.register
    class Numbered(text.embedding._TokenEmbedding):
        def __init__(self, length: int, **options: Any) -> None:
            super().__init__(**options)
            self._idx_to_vec = nd.arange(len(self) * length).reshape((-1, length))

    made = text.embedding.create("numbered", length=2, counter=Counter("ab"))
    assert made.get_vecs_by_tokens("b").asnumpy().tolist() == [4, 5]
