"""By how much a loss is multiplied, so that gradients in float16 do not vanish."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tigon import autograd, nd
from tigon.base import check
from tigon.base.dtypes import BY_CODE
from tigon.runtime.counters import falls_short

SMALLEST = 1.0
"""A gradient that overflows at this scale does so without any."""


class LossScaler:
    """The scale of a loss: halved when a gradient overflows, doubled after `scale_window` steps in
    a row without (Micikevicius et al. 2018, Mixed Precision Training, section 3.2).

    `init_scale` (default 2**16), `scale_factor` (2), `scale_window` (2000) and `max_scale` (2**24)
    are numbers above 0.

    >>> scaler = LossScaler(scale_window=2)
    >>> scaler.update(overflow=True)
    >>> scaler.loss_scale
    32768.0
    >>> scaler.update(overflow=False)
    >>> scaler.update(overflow=False)
    >>> scaler.loss_scale
    65536.0
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        scale_factor: float = 2.0,
        scale_window: int = 2000,
        max_scale: float = 2.0**24,
    ) -> None:
        check(
            SMALLEST <= init_scale <= max_scale < float("inf"),
            "LossScaler",
            f"init_scale: expected a number from 1 to max_scale ({max_scale:g}); given "
            f"{init_scale!r}",
        )
        check(
            scale_factor > 1,
            "LossScaler",
            f"scale_factor: expected a number above 1; given {scale_factor!r}",
        )
        check(
            isinstance(scale_window, int) and scale_window > 0,
            "LossScaler",
            f"scale_window: expected a whole number above 0; given {scale_window!r}",
        )
        self._loss_scale = float(init_scale)
        self._scale_factor = float(scale_factor)
        self._scale_seq_len = scale_window
        self._max_loss_scale = float(max_scale)
        self._unskipped = 0

    @property
    def loss_scale(self) -> float:
        """What losses are multiplied by at present."""
        return self._loss_scale

    def has_overflow(self, params: Sequence[Any]) -> bool:
        """Whether a gradient of these parameters, on any context, is not finite; the scale adapts
        to the answer. Waits for the gradients."""
        trained = [param for param in params if param.grad_req != "null"]
        return self.overflows([grad for param in trained for grad in param.list_grad()])

    def overflows(self, gradients: Sequence[Any], agreed: Callable[[bool], bool] = bool) -> bool:
        """The same of arrays, such as the sums over contexts. One program looks at all that lie on
        one context. `agreed`: what all ranks make of the answer of this one."""
        places: dict[Any, list[Any]] = {}
        for gradient in gradients:
            if BY_CODE[gradient.dtype_code].is_float:
                places.setdefault(gradient.context, []).append(gradient)
        with autograd.pause():
            answers = [nd.multi_all_finite(*own, num_arrays=len(own)) for own in places.values()]
        overflow = agreed(not all(bool(answer.asscalar()) for answer in answers))
        self.update(overflow)
        return overflow

    def update(self, overflow: bool) -> None:
        """Adapt to a step with or without an overflow."""
        if overflow:
            self._unskipped = 0
            if self._loss_scale <= SMALLEST:
                falls_short(
                    "amp: a gradient is not finite although the loss is not scaled, and the step "
                    "is skipped; look for a division by 0 or a learning rate that is too large"
                )
            self._change("decreasing", max(SMALLEST, self._loss_scale / self._scale_factor))
            return
        self._unskipped += 1
        if self._unskipped >= self._scale_seq_len:
            self._unskipped = 0
            larger = self._loss_scale * self._scale_factor
            self._change("increasing", min(self._max_loss_scale, larger))

    def _change(self, how: str, scale: float) -> None:
        if scale != self._loss_scale:
            self._loss_scale = scale
            logging.info("AMP: %s loss scale to %f", how, scale)

    def to_arrays(self) -> dict[str, Any]:
        """The scale and the steps since it last changed, for a file of the trainer's states."""
        numbers = {"loss_scale": self._loss_scale, "loss_scale_steps": self._unskipped}
        return {name: nd.array([number], dtype="float64") for name, number in numbers.items()}

    def check_fits(self, arrays: Mapping[str, Any], source: str) -> None:
        """Refuse what `to_arrays` did not give, before anything of the file is taken over."""
        for name, least in (("loss_scale", SMALLEST), ("loss_scale_steps", 0.0)):
            if name in arrays:
                number = float(arrays[name].asscalar()) if arrays[name].size == 1 else float("nan")
                check(
                    least <= number < float("inf"),
                    "Trainer.load_states",
                    f"{source}: {name}: expected a number from {least:g}; given {number:g}; the "
                    "file is damaged, take an earlier one",
                )

    def take(self, arrays: Mapping[str, Any]) -> None:
        """What `to_arrays` gave; a file without leaves the scale as it is."""
        if "loss_scale" in arrays and "loss_scale_steps" in arrays:
            self._loss_scale = float(arrays["loss_scale"].asscalar())
            self._unskipped = int(arrays["loss_scale_steps"].asscalar())
