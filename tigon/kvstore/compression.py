"""Gradients in fewer bits: what is left out of one push is part of the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tigon import nd
from tigon.base import check

_WHERE = "set_gradient_compression"


class Compression:
    """What keeps what it leaves out."""

    def __init__(self) -> None:
        self._left: dict[Any, Any] = {}

    def __call__(self, place: Any, gradient: Any) -> Any:
        """What is sent of a gradient; `place` says whose it is."""
        left = self._left.get(place)
        whole = gradient if left is None else gradient + left
        sent = self.sent(whole)
        self._left[place] = whole - sent
        return sent

    def sent(self, whole: Any) -> Any:
        """What fewer bits can say of it, in its dtype."""
        raise NotImplementedError


class TwoBits(Compression):
    """Of each number -threshold, 0 or threshold is sent; the rest stays for the next time.

    >>> from tigon import nd
    >>> send = TwoBits(0.5)
    >>> gradient = nd.array([0.3, 0.6, -0.7])
    >>> send("w", gradient).asnumpy().tolist(), send("w", gradient).asnumpy().tolist()
    ([0.0, 0.5, -0.5], [0.5, 0.5, -0.5])
    """

    def __init__(self, threshold: float = 0.5) -> None:
        check(threshold > 0, _WHERE, f"threshold is a positive number; given {threshold}")
        super().__init__()
        self.threshold = float(threshold)

    def sent(self, whole: Any) -> Any:
        above = (whole >= self.threshold) * self.threshold
        return above - (whole <= -self.threshold) * self.threshold

    def packed(self, sent: Any) -> Any:
        """That as it travels, in one axis: four numbers in a byte.

        >>> TwoBits(1).packed(nd.array([1, 0, -1, 0, 1])).asnumpy().tolist()
        [70, 2]
        """
        digits = (sent.reshape((-1,)) / self.threshold + 1).astype("uint8")
        missing = -digits.size % 4
        if missing:
            digits = nd.concat(digits, nd.zeros((missing,), dtype="uint8"), dim=0)
        digits = digits.reshape((-1, 4))
        first, second, third, fourth = (digits[:, place] for place in range(4))
        return first + 4 * second + 16 * third + 64 * fourth

    def unpacked(self, packed: Any, count: int, dtype: Any) -> Any:
        """`count` numbers, in one axis.

        >>> TwoBits(1).unpacked(nd.array([70, 2], dtype="uint8"), 5, "float32").asnumpy().tolist()
        [1.0, 0.0, -1.0, 0.0, 1.0]
        """
        whole = packed.astype("int32")
        digits = [whole % 4, whole // 4 % 4, whole // 16 % 4, whole // 64]
        numbers = nd.stack(*digits, axis=1).reshape((-1,))[:count]
        return (numbers - 1).astype(dtype) * self.threshold


class Half(Compression):
    """Numbers are rounded to float16; what that takes from them stays for the next time.

    >>> from tigon import nd
    >>> send, gradient = Half(), nd.array([1 + 2**-11])
    >>> send("w", gradient).asnumpy().tolist(), send("w", gradient).asnumpy().tolist()
    ([1.0], [1.0009765625])
    """

    def sent(self, whole: Any) -> Any:
        return whole.astype("float16").astype(whole.dtype)


def compression(params: Mapping[str, Any]) -> Compression | None:
    """What these parameters ask for: {'type': '2bit', 'threshold': 0.5}, {'type': 'float16'}, or
    'none'."""
    check(
        isinstance(params, Mapping) and "type" in params,
        _WHERE,
        f"expected {{'type': '2bit', 'threshold': 0.5}}; given {params!r:.80}",
    )
    fields = dict(params)
    kind = fields.pop("type")
    check(
        kind in ("2bit", "float16", "none"),
        _WHERE,
        f"type: expected '2bit', 'float16' or 'none'; given {kind!r:.80}",
    )
    unknown = sorted(set(fields) - ({"threshold"} if kind != "float16" else set()))
    expected = "type alone" if kind == "float16" else "type and threshold"
    check(not unknown, _WHERE, f"expected {expected}; given {', '.join(unknown)}, too")
    if kind == "float16":
        return Half()
    return TwoBits(**fields) if kind == "2bit" else None
