"""Arrays and shapes drawn from numpy's random numbers, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tigon import nd
from tigon.base import check
from tigon.test_utils.comparing import default_dtype


def random_arrays(*shapes: Sequence[int]) -> Any:
    """Arrays of numpy of normal numbers in float32: a list, or one for one shape.

    >>> random_arrays((2, 3)).shape, [x.shape for x in random_arrays((2,), ())]
    ((2, 3), [(2,), ()])
    """
    arrays = [np.asarray(np.random.standard_normal(tuple(s)), default_dtype()) for s in shapes]
    return arrays[0] if len(arrays) == 1 else arrays


def random_uniform_arrays(
    *shapes: Sequence[int], low: float = 0.0, high: float = 1.0, dtype: Any = None
) -> list[np.ndarray]:
    """A list of arrays of numpy of numbers between `low` and `high`."""
    kind = default_dtype() if dtype is None else dtype
    return [np.random.uniform(low, high, size=tuple(s)).astype(kind) for s in shapes]


def random_sample(population: Sequence[Any], k: int) -> list[Any]:
    """`k` different elements in random order."""
    check(
        0 <= k <= len(population),
        "random_sample",
        f"expected at most {len(population)} elements; asked for {k}",
    )
    return [population[i] for i in np.random.permutation(len(population))[:k]]


def rand_ndarray(
    shape: Sequence[int],
    stype: str = "default",
    density: float | None = None,
    dtype: Any = None,
    modifier_func: Callable[[Any], Any] | None = None,
    shuffle_csr_indices: bool = False,
    distribution: str | None = None,
    ctx: Any = None,
) -> nd.NDArray:
    """An array of normal numbers, each through `modifier_func` if there is one. Of a row-sparse one
    each row is stored with the probability `density` (0.5 by default), of a csr one each element.

    >>> rand_ndarray((2, 3), dtype="float64").dtype
    <class 'numpy.float64'>
    >>> rand_ndarray((2, 3), "csr", density=0).data.shape
    (0,)
    """
    values = random_arrays(shape)
    if modifier_func is not None:
        values = assign_each(values, modifier_func)
    if stype != "default":
        share = 0.5 if density is None else density
        places = values.shape if stype == "csr" else (len(values), *[1] * (values.ndim - 1))
        values = values * (np.random.uniform(size=places) < share)
    made: nd.NDArray = nd.array(values, ctx=ctx, dtype=dtype).tostype(stype)
    return made


def rand_shape_nd(num_dim: int, dim: int = 10, allow_zero_size: bool = False) -> tuple[int, ...]:
    """A shape of `num_dim` extents from 1, or 0, to `dim`.

    >>> len(rand_shape_nd(3, dim=4)), max(rand_shape_nd(9, dim=1))
    (3, 1)
    """
    return _extents([dim] * num_dim, allow_zero_size)


def rand_shape_2d(dim0: int = 10, dim1: int = 10, allow_zero_size: bool = False) -> tuple[int, int]:
    """A shape of two extents, each from 1, or 0, to its limit."""
    return _extents([dim0, dim1], allow_zero_size)  # type: ignore[return-value]


def rand_shape_3d(
    dim0: int = 10, dim1: int = 10, dim2: int = 10, allow_zero_size: bool = False
) -> tuple[int, int, int]:
    """A shape of three extents, each from 1, or 0, to its limit."""
    return _extents([dim0, dim1, dim2], allow_zero_size)  # type: ignore[return-value]


def _extents(limits: Sequence[int], allow_zero_size: bool) -> tuple[int, ...]:
    least = 0 if allow_zero_size else 1
    return tuple(int(np.random.randint(least, limit + 1)) for limit in limits)


def rand_coord_2d(x_low: int, x_high: int, y_low: int, y_high: int) -> tuple[int, int]:
    """A place between limits, the upper ones left out."""
    return int(np.random.randint(x_low, x_high)), int(np.random.randint(y_low, y_high))


def create_2d_tensor(rows: int, columns: int, dtype: Any = np.int64) -> nd.NDArray:
    """An array in which every element is the number of its row."""
    numbers = np.arange(rows).reshape(rows, 1)
    return nd.array(np.broadcast_to(numbers, (rows, columns)), dtype=dtype)


def create_vector(size: int, dtype: Any = np.int64) -> nd.NDArray:
    """The numbers from 0 on."""
    return nd.arange(0, size, dtype=dtype)


def get_identity_mat(size: int) -> np.ndarray:
    """The identity of so many rows."""
    return np.eye(size)


def get_identity_mat_batch(size: int) -> np.ndarray:
    """Two identities of so many rows."""
    return np.stack([np.eye(size)] * 2)


def assign_each(the_input: Any, function: Callable[[Any], Any] | None) -> np.ndarray:
    """A function of each element; without one, a copy.

    >>> assign_each(np.array([1, 4]), lambda x: x + 1).tolist()
    [2, 5]
    """
    return assign_each2(
        the_input, the_input, None if function is None else lambda x, _: function(x)
    )


def assign_each2(
    input1: Any, input2: Any, function: Callable[[Any, Any], Any] | None
) -> np.ndarray:
    """A function of the elements of two arrays of one shape; without one, a copy of the first."""
    one, other = np.array(input1), np.asarray(input2)
    if function is None:
        return one
    pairs = zip(one.ravel(), other.ravel(), strict=True)
    return np.array([function(x, y) for x, y in pairs], one.dtype).reshape(one.shape)


def np_reduce(
    dat: np.ndarray,
    axis: int | Sequence[int] | None,
    keepdims: bool,
    numpy_reduce_func: Callable[..., np.ndarray],
) -> Any:
    """A reduction of numpy over several axes, one after the other.

    >>> np_reduce(np.ones((2, 3, 4)), (0, 2), True, np.sum).tolist()
    [[[8.0], [8.0], [8.0]]]
    """
    axes = range(dat.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    result = dat
    for one in axes:
        result = np.expand_dims(numpy_reduce_func(result, axis=one), one)
    kept = [i for i in range(dat.ndim) if keepdims or i not in {one % dat.ndim for one in axes}]
    return result.reshape([result.shape[i] for i in kept])


def collapse_sum_like(a: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The sum over the axes along which `shape` would be spread to that of `a`.

    >>> collapse_sum_like(np.ones((2, 3)), (3,)).tolist()
    [2.0, 2.0, 2.0]
    """
    check(
        a.ndim >= len(shape),
        "collapse_sum_like",
        f"expected a shape that spreads to {a.shape}; given {tuple(shape)}",
    )
    total = a.sum(axis=tuple(range(a.ndim - len(shape))))
    narrow = tuple(i for i, extent in enumerate(shape) if extent == 1 and total.shape[i] != 1)
    total = total.sum(axis=narrow, keepdims=True)
    check(
        total.shape == tuple(shape),
        "collapse_sum_like",
        f"expected a shape that spreads to {a.shape}; given {tuple(shape)}",
    )
    return total


def new_orthonormal_matrix_2d(n: int) -> np.ndarray:
    """A matrix whose columns are orthogonal and of length 1."""
    return np.linalg.qr(np.random.standard_normal((n, n)))[0]


def new_matrix_with_real_eigvals_2d(n: int) -> np.ndarray:
    """A matrix with real eigenvalues between -1 and 1."""
    base = new_orthonormal_matrix_2d(n) + 0.1 * np.eye(n)
    return base @ np.diag(np.random.uniform(-1.0, 1.0, n)) @ np.linalg.inv(base)


def new_sym_matrix_with_real_eigvals_2d(n: int) -> np.ndarray:
    """A symmetric matrix with eigenvalues between -1 and 1."""
    base = new_orthonormal_matrix_2d(n)
    return base @ np.diag(np.random.uniform(-1.0, 1.0, n)) @ base.T


def new_matrix_with_real_eigvals_nd(shape: Sequence[int]) -> np.ndarray:
    """Matrices with real eigenvalues; the last two extents are those of each."""
    return _batch(shape, new_matrix_with_real_eigvals_2d)


def new_sym_matrix_with_real_eigvals_nd(shape: Sequence[int]) -> np.ndarray:
    """Symmetric matrices; the last two extents are those of each."""
    return _batch(shape, new_sym_matrix_with_real_eigvals_2d)


def _batch(shape: Sequence[int], make: Callable[[int], np.ndarray]) -> np.ndarray:
    check(
        len(shape) >= 2 and shape[-1] == shape[-2],
        "matrices",
        f"expected a shape of square matrices; given {tuple(shape)}",
    )
    count = int(np.prod(shape[:-2], dtype=int))
    return np.array([make(shape[-1]) for _ in range(count)]).reshape(tuple(shape))
