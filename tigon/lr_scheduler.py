"""Learning rates that depend on the number of updates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from tigon.base import check
from tigon.base.arguments import NamesWrongTypes
from tigon.base.lazy import complete as _complete


class LRScheduler(NamesWrongTypes):
    """Base: a warm-up from `warmup_begin_lr` to `base_lr`, linear or constant.

    >>> rate = FactorScheduler(step=10, factor=0.5, base_lr=1.0, warmup_steps=4)
    >>> [rate(n) for n in (0, 2, 4, 11, 21)]
    [0.0, 0.5, 1.0, 0.5, 0.25]
    """

    def __init__(
        self,
        base_lr: float = 0.01,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0,
        warmup_mode: str = "linear",
    ) -> None:
        check(
            warmup_begin_lr <= base_lr,
            "lr_scheduler",
            f"warmup_begin_lr {warmup_begin_lr} exceeds base_lr {base_lr}",
        )
        check(
            warmup_mode in ("linear", "constant"),
            "lr_scheduler",
            f"warmup_mode is 'linear' or 'constant'; given {warmup_mode!r}",
        )
        check(
            warmup_steps >= 0,
            "lr_scheduler",
            f"warmup_steps must not be negative; given {warmup_steps}",
        )
        self.base_lr = base_lr
        self.warmup_steps = warmup_steps
        self.warmup_begin_lr = warmup_begin_lr
        self.warmup_final_lr = base_lr
        self.warmup_mode = warmup_mode

    def get_warmup_lr(self, num_update: int) -> float:
        """The rate during the warm-up."""
        if self.warmup_mode == "constant":
            return self.warmup_begin_lr
        rise = self.warmup_final_lr - self.warmup_begin_lr
        return self.warmup_begin_lr + rise * num_update / self.warmup_steps

    def __call__(self, num_update: int) -> float:
        """The rate of update `num_update`."""
        if num_update < self.warmup_steps:
            return self.get_warmup_lr(num_update)
        return self._after_warmup(num_update)

    def _after_warmup(self, num_update: int) -> float:
        raise NotImplementedError(f"{type(self).__name__}: define __call__(self, num_update)")


class FactorScheduler(LRScheduler):
    """Times `factor` every `step` updates, not below `stop_factor_lr`."""

    def __init__(
        self,
        step: int,
        factor: float = 1,
        stop_factor_lr: float = 1e-8,
        base_lr: float = 0.01,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0,
        warmup_mode: str = "linear",
    ) -> None:
        super().__init__(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
        check(step >= 1, "FactorScheduler", f"step must be at least 1; given {step}")
        check(factor <= 1, "FactorScheduler", f"factor must be at most 1; given {factor}")
        self.step = step
        self.factor = factor
        self.stop_factor_lr = stop_factor_lr
        self.count = 0

    def _after_warmup(self, num_update: int) -> float:
        while num_update > self.count + self.step:
            self.count += self.step
            self.base_lr = max(self.base_lr * self.factor, self.stop_factor_lr)
        return self.base_lr


class MultiFactorScheduler(LRScheduler):
    """Times `factor` after each of the listed numbers of updates.

    >>> rate = MultiFactorScheduler(step=[5, 10], factor=0.1, base_lr=1.0)
    >>> [round(rate(n), 3) for n in (1, 6, 11)]
    [1.0, 0.1, 0.01]
    """

    def __init__(
        self,
        step: Sequence[int],
        factor: float = 1,
        base_lr: float = 0.01,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0,
        warmup_mode: str = "linear",
    ) -> None:
        super().__init__(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
        check(
            len(step) >= 1 and all(a < b for a, b in itertools.pairwise(step)),
            "MultiFactorScheduler",
            f"step is a list of increasing numbers; given {step!r}",
        )
        check(factor <= 1, "MultiFactorScheduler", f"factor must be at most 1; given {factor}")
        self.step = list(step)
        self.factor = factor
        self.cur_step_ind = 0

    def _after_warmup(self, num_update: int) -> float:
        while self.cur_step_ind < len(self.step) and num_update > self.step[self.cur_step_ind]:
            self.cur_step_ind += 1
            self.base_lr *= self.factor
        return self.base_lr


class PolyScheduler(LRScheduler):
    """From `base_lr` to `final_lr` by a power of what is left of `max_update`.

    >>> PolyScheduler(max_update=10, base_lr=1.0, pwr=1)(5)
    0.5
    """

    def __init__(
        self,
        max_update: int,
        base_lr: float = 0.01,
        pwr: float = 2,
        final_lr: float = 0,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0,
        warmup_mode: str = "linear",
    ) -> None:
        super().__init__(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
        check(
            max_update >= 1, "PolyScheduler", f"max_update must be at least 1; given {max_update}"
        )
        self.power = pwr
        self.max_update = max_update
        self.final_lr = final_lr

    def _after_warmup(self, num_update: int) -> float:
        left = _fraction_left(num_update, self.warmup_steps, self.max_update)
        return self.final_lr + (self.warmup_final_lr - self.final_lr) * left**self.power


class CosineScheduler(LRScheduler):
    """From `base_lr` to `final_lr` along half a cosine.

    >>> round(CosineScheduler(max_update=10, base_lr=1.0)(5), 6)
    0.5
    """

    def __init__(
        self,
        max_update: int,
        base_lr: float = 0.01,
        final_lr: float = 0,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0,
        warmup_mode: str = "linear",
    ) -> None:
        super().__init__(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
        check(
            max_update >= 1, "CosineScheduler", f"max_update must be at least 1; given {max_update}"
        )
        self.max_update = max_update
        self.final_lr = final_lr

    def _after_warmup(self, num_update: int) -> float:
        left = _fraction_left(num_update, self.warmup_steps, self.max_update)
        rise = (1 + math.cos(math.pi * (1 - left))) / 2
        return self.final_lr + (self.warmup_final_lr - self.final_lr) * rise


def _fraction_left(num_update: int, warmup_steps: int, max_update: int) -> float:
    span = max(max_update - warmup_steps, 1)
    return 1 - min(max(num_update - warmup_steps, 0) / span, 1)


_complete(globals())
