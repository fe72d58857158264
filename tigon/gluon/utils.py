"""Helpers: splitting batches, clipping gradients, checking downloads."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tigon import autograd
from tigon.base import as_dtype, check, config
from tigon.base.lazy import complete as _complete
from tigon.context import check_contexts
from tigon.gluon.parameter.files import torch_names as torch_names


def split_data(
    data: Any, num_slice: int, batch_axis: int = 0, even_split: bool = True
) -> list[Any]:
    """Cut an array into `num_slice` parts along the batch axis.

    >>> from tigon import nd
    >>> [part.shape for part in split_data(nd.ones((5, 2)), 2, even_split=False)]
    [(3, 2), (2, 2)]
    """
    size = data.shape[batch_axis]
    check(num_slice > 0, "split_data", f"expected one part or more; given num_slice={num_slice}")
    check(
        size >= num_slice,
        "split_data",
        f"cannot cut {size} samples along axis {batch_axis} into {num_slice} parts; "
        "use a larger batch",
    )
    check(
        not even_split or size % num_slice == 0,
        "split_data",
        f"{size} samples along axis {batch_axis} do not divide evenly into {num_slice} parts; "
        "pass even_split=False, or choose another batch size",
    )
    if num_slice == 1:
        return [data]
    each, more = divmod(size, num_slice)  # the first `more` parts have one more
    starts = [each * index + min(index, more) for index in range(num_slice + 1)]
    return [
        data.slice_axis(axis=batch_axis, begin=begin, end=end) for begin, end in pairwise(starts)
    ]


def split_and_load(
    data: Any, ctx_list: Sequence[Any], batch_axis: int = 0, even_split: bool = True
) -> list[Any]:
    """Cut an array into one part per context and put each part there.

    >>> from tigon import cpu, nd
    >>> [part.context for part in split_and_load(nd.ones((4, 2)), [cpu(0), cpu(1)])]
    [cpu(0), cpu(1)]
    """
    ctx_list = check_contexts("split_and_load", ctx_list)
    if not hasattr(data, "as_in_context"):
        from tigon import nd

        data = nd.array(data, ctx=ctx_list[0])
    parts = split_data(data, len(ctx_list), batch_axis, even_split)
    return [part.as_in_context(ctx) for part, ctx in zip(parts, ctx_list, strict=True)]


def clip_global_norm(
    arrays: Sequence[Any], max_norm: float, check_isfinite: bool = True
) -> float | Any:
    """Scale arrays in place so that their joint 2-norm is at most `max_norm`; gives the norm. It is
    computed in float32, or in float64 if one of the arrays has it.

    >>> from tigon import nd
    >>> x = nd.array([3.0, 4.0])
    >>> clip_global_norm([x], 1.0), x.asnumpy().round(2)
    (5.0, array([0.6, 0.8], dtype=float32))
    """
    from tigon import nd

    check(len(arrays) > 0, "clip_global_norm", "there are no arrays; give at least one")
    with autograd.pause():
        names = [as_dtype(array.dtype).name for array in arrays]
        wide = "float64" if "float64" in names else "float32"
        exact = [array.astype(wide, copy=False) for array in arrays]
        squares = [(array * array).sum() for array in exact]
        total = squares[0]
        for square in squares[1:]:
            total = total + square.as_in_context(total.context)
        norm = nd.sqrt(total)
        scale = nd.minimum(max_norm / (norm + 1e-8), 1.0)
        if check_isfinite:
            value = norm.item()  # in traced code read only by a caller who looks at it
            if not -math.inf < value < math.inf:
                warnings.warn(
                    f"clip_global_norm: the norm is {value}; the result will not be usable",
                    stacklevel=2,
                )
        for array, name in zip(arrays, names, strict=True):
            factor = scale.as_in_context(array.context)
            if name == wide:
                array *= factor
            else:
                array[:] = (array.astype(wide) * factor).astype(array.dtype)
    return value if check_isfinite else norm


def check_sha1(filename: str, sha1_hash: str) -> bool:
    """Whether a file has this SHA-1."""
    digest = hashlib.sha1(usedforsecurity=False)
    with open(filename, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    own = digest.hexdigest()
    return own[: len(sha1_hash)] == sha1_hash


def download(
    url: str,
    path: str | None = None,
    overwrite: bool = False,
    sha1_hash: str | None = None,
    retries: int = 5,
    verify_ssl: bool = True,
) -> str:
    """The file that a download of `url` to `path` (a file, or a folder that is there) would leave,
    where it is there already, and, if `sha1_hash` is given, has it. Otherwise an error that says
    where to put it: nothing is downloaded.

    >>> download("https://example.org/data/digits.csv", path="nowhere")
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: download: nothing is downloaded; get \
https://example.org/data/digits.csv yourself, and put it at 'nowhere'
    """
    name = os.path.expanduser(path) if path else url.rpartition("/")[2]
    if path and os.path.isdir(name):
        name = os.path.join(name, url.rpartition("/")[2])
    there = os.path.isfile(name) and not overwrite
    check(
        there,
        "download",
        f"nothing is downloaded; get {url} yourself, and put it at {name!r}"
        + (", and leave overwrite out" if overwrite else ""),
    )
    check(
        not sha1_hash or check_sha1(name, sha1_hash),
        "download",
        f"expected at {name!r} a file with the SHA-1 {sha1_hash}; there is another one; get {url} "
        "again",
    )
    return name


def _get_repo_url() -> str:
    """Where MXNet's files of networks are, which `MXNET_GLUON_REPO` may say."""
    repo = config.text("MXNET_GLUON_REPO")
    return repo if repo.endswith("/") else f"{repo}/"


def _get_repo_file_url(namespace: str, filename: str) -> str:
    """The address of one of them."""
    return f"{_get_repo_url()}{namespace}/{filename}"


_complete(globals())
