"""What the large operators share: axes, reductions that keep their axes, geometry of windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tigon.base import TensorType, check
from tigon.base.extents import is_one
from tigon.base.frozen import Frozen, replace
from tigon.base.types import Shape
from tigon.ir.graph import Value
from tigon.ops.primitive.arithmetic import multiply
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.view import _broadcast, _reshape, _slice, transpose
from tigon.ops.primitive.window import _unwindow, _window
from tigon.ops.tensor.create import zeros_like

Reduce = Callable[..., Any]

# ------------------------------------------------------------------------------- axes


def normal_axis(where: str, axis: int, ndim: int) -> int:
    """A non-negative axis, checked.

    >>> normal_axis("softmax", -1, 3)
    2
    """
    check(
        -ndim <= axis < ndim,
        where,
        f"axis {axis} does not exist in {ndim} dimensions; choose from {-ndim} to {ndim - 1}",
    )
    return axis % ndim


def other_axes(ndim: int, *kept: int) -> tuple[int, ...]:
    return tuple(axis for axis in range(ndim) if axis not in kept)


def along(vector: Value, axis: int, ndim: int) -> Value:
    """A vector laid along one axis of `ndim`, ready to broadcast against the others."""
    return _reshape(vector, shape=along_shape(vector.type.size, axis, ndim))


def along_shape(extent: int, axis: int, ndim: int) -> Shape:
    return tuple(extent if position == axis else 1 for position in range(ndim))


def keep(reduce: Reduce, x: Value, axes: Sequence[int]) -> Value:
    """A reduction whose axes stay, with extent 1."""
    kept = tuple(1 if axis in axes else extent for axis, extent in enumerate(x.shape))
    return _reshape(reduce(x, axes=tuple(sorted(axes))), shape=kept)


def extent_of(x: Value, axes: Sequence[int]) -> int:
    """How many elements lie along these axes."""
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    return count


def keep_mean(x: Value, axes: Sequence[int]) -> Value:
    """The mean over some axes, which stay with extent 1."""
    return multiply(keep(_reduce_sum, x, axes), inverse_count(extent_of(x, axes)))


def inverse_count(count: int) -> float:
    # The mean of nothing is not a number, as in numpy, and not a division error in Python.
    return 1.0 / count if count else float("nan")


def vector_of(where: str, name: str, given: TensorType, extent: int, meaning: str) -> None:
    check(
        given.shape == (extent,),
        where,
        f"{name}: expected shape ({extent},), {meaning}; given {given.shape}",
    )


def label_per_row(attrs: Any, types: list[TensorType | None]) -> list[TensorType | None]:
    """The type rule of operands (data, label) with one label for each row of data."""
    data, label = types
    if data is None or data.ndim == 0:
        return types
    return [data, label or TensorType(data.shape[:1], data.dtype)]


def is_nothing(cotangent: Value | None) -> bool:
    """Whether no cotangent came: the output it belongs to was not used."""
    return cotangent is None or cotangent.node.op is zeros_like


# ---------------------------------------------------------------------------- windows


class Windows(Frozen):
    """How windows lie over the spatial axes: one entry per axis in every field."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilate: tuple[int, ...]
    pad: tuple[int, ...]

    @classmethod
    def of(
        cls,
        where: str,
        kernel: Sequence[int],
        stride: Sequence[int] = (),
        dilate: Sequence[int] = (),
        pad: Sequence[int] = (),
    ) -> Windows:
        """Checked, with defaults filled in: stride 1, no dilation, no padding."""
        n = len(kernel)
        check(1 <= n <= 3, where, f"kernel: expected 1, 2 or 3 extents; given {tuple(kernel)}")
        given = {"stride": (stride, 1), "dilate": (dilate, 1), "pad": (pad, 0)}
        full = {}
        for name, (value, default) in given.items():
            value = tuple(value) or (default,) * n
            check(
                len(value) == n,
                where,
                f"{name}: expected {n} numbers like kernel {tuple(kernel)}; given {value}",
            )
            check(
                all(number >= default for number in value),
                where,
                f"{name}: expected numbers of at least {default}; given {value}",
            )
            full[name] = value
        check(
            all(k >= 1 for k in kernel), where, f"kernel: given {tuple(kernel)}; extents start at 1"
        )
        return cls(tuple(kernel), full["stride"], full["dilate"], full["pad"])

    @property
    def reach(self) -> tuple[int, ...]:
        """Extent of the input that one window spans."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilate, strict=True))

    @property
    def is_pointwise(self) -> bool:
        """Every window is one element, and every element one window."""
        n = len(self.kernel)
        return self.kernel == self.stride == (1,) * n and self.pad == (0,) * n

    def extents(self, where: str, spatial: Sequence[int]) -> tuple[int, ...]:
        """How many windows fit along each axis."""
        result = []
        for size, reach, step, pad in zip(spatial, self.reach, self.stride, self.pad, strict=True):
            check(
                size + 2 * pad >= reach,
                where,
                f"a window spans {reach} elements, but the axis has {size} and padding {pad} on "
                "either side; use a smaller kernel or more padding",
            )
            result.append((size + 2 * pad - reach) // step + 1)
        return tuple(result)

    def striding_alone(self, extents: Sequence[int]) -> Windows:
        """The same windows, `extents` of them: where an axis has one alone, its step is no shorter
        than it is long, so that no element is looked for in windows that are not there."""
        if any(d > 1 for d in self.dilate):
            return self
        steps = zip(self.kernel, self.stride, extents, strict=True)
        return replace(self, stride=tuple(max(k, s) if is_one(e) else s for k, s, e in steps))


def windows(x: Value, geometry: Windows, extents: Sequence[int], fill: float = 0.0) -> Value:
    """The windows over the trailing spatial axes: shape (..., *extents, *kernel). A view."""
    n = len(geometry.kernel)
    spread = _reshape(x, shape=x.shape + (1,) * n)
    return _window(
        _broadcast(spread, shape=x.shape + geometry.kernel),
        stride=geometry.stride,
        dilate=geometry.dilate,
        pad=geometry.pad,
        extents=tuple(extents),
        fill=fill,
    )


def unwindows(y: Value, geometry: Windows, size: Sequence[int]) -> Value:
    """For each element of the input and each place in the kernel, the value of `y` at the window
    that has this element at this place, or 0: shape (..., *size, *kernel). A view."""
    n = len(geometry.kernel)
    spread = _reshape(y, shape=y.shape + (1,) * n)
    return _unwindow(
        _broadcast(spread, shape=y.shape + geometry.kernel),
        stride=geometry.stride,
        dilate=geometry.dilate,
        pad=geometry.pad,
        size=tuple(size),
    )


class Phases(Frozen):
    """Which windows an element is in, without a division per element.

    An element at h with h + pad = q * stride + r (r is its phase) is at place k = r + j * stride of
    window q - j, for each j with k < kernel. So what the windows give back to the elements is, for
    each phase, a sum over windows of a stride of 1; `count` is how many j there are, `cells` how
    many q. Without dilation only.
    """

    count: tuple[int, ...]
    cells: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    size: tuple[int, ...]

    @classmethod
    def of(cls, geometry: Windows, size: Sequence[int]) -> Phases:
        axes = zip(geometry.kernel, geometry.stride, geometry.pad, size, strict=True)
        rows = [(-(-k // s), (n + p - 1) // s + 1 if n else 0) for k, s, p, n in axes]
        count, cells = tuple(row[0] for row in rows), tuple(row[1] for row in rows)
        return cls(count, cells, geometry.stride, geometry.pad, tuple(size))

    @property
    def whole(self) -> tuple[int, ...]:
        """The kernel's extents rounded up to whole strides."""
        return tuple(j * s for j, s in zip(self.count, self.stride, strict=True))

    def windows(self, y: Value, fill: float = 0.0) -> Value:
        """(..., *cells, *count): at j' the window q - j, where j = count - 1 - j'."""
        ones = (1,) * len(self.count)
        geometry = Windows(self.count, ones, ones, tuple(j - 1 for j in self.count))
        return windows(y, geometry, self.cells, fill=fill)

    def woven(self, x: Value, first: int) -> Value:
        """Axes (cells, stride) in turn from `first` on, made one axis each: the elements."""
        n = len(self.cells)
        merged = tuple(q * s for q, s in zip(self.cells, self.stride, strict=True))
        head, tail = x.shape[:first], x.shape[first + 2 * n :]
        result = _reshape(x, shape=(*head, *merged, *tail))
        if merged == self.size:
            return result
        return _slice(
            result,
            start=(*(0 for _ in head), *self.pad, *(0 for _ in tail)),
            step=(1,) * result.ndim,
            extents=(*head, *self.size, *tail),
        )


def reversed_axes(x: Value, axes: Sequence[int]) -> Value:
    """Some axes from back to front: a view."""
    return _slice(
        x,
        start=tuple(n - 1 if axis in axes else 0 for axis, n in enumerate(x.shape)),
        step=tuple(-1 if axis in axes else 1 for axis in range(x.ndim)),
        extents=x.shape,
    )


# ---------------------------------------------------------------------------- layouts

CHANNELS_FIRST = ("NCW", "NCHW", "NCDHW")
CHANNELS_LAST = ("NWC", "NHWC", "NDHWC")


def channels_last(where: str, layout: str | None, n: int) -> bool:
    """Whether the layout has its channels at the end. `None` means the default, NCHW and kin."""
    if layout in (None, "None", CHANNELS_FIRST[n - 1]):
        return False
    check(
        layout == CHANNELS_LAST[n - 1],
        where,
        f"layout: expected '{CHANNELS_FIRST[n - 1]}' or '{CHANNELS_LAST[n - 1]}' for a kernel of "
        f"{n} axes; given '{layout}'",
    )
    return True


def to_channels_first(x: Value) -> Value:
    ndim = x.ndim
    return transpose(x, axes=(0, ndim - 1, *range(1, ndim - 1)))


def to_channels_last(x: Value) -> Value:
    return transpose(x, axes=(0, *range(2, x.ndim), 1))
