"""Learning rates by the number of the iteration, by Caffe's policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tigon.base import check
from tigon.lr_scheduler import LRScheduler

Policy = Callable[["CaffeRate", np.float64], float]

POLICIES: Mapping[str, Policy] = {
    "fixed": lambda own, iteration: 1.0,
    "step": lambda own, iteration: own.gamma ** (iteration // own.stepsize),
    "exp": lambda own, iteration: own.gamma**iteration,
    "inv": lambda own, iteration: (1 + own.gamma * iteration) ** -own.power,
    "multistep": lambda own, iteration: own.gamma ** np.float64(own.steps_before(iteration)),
    "poly": lambda own, iteration: (1 - iteration / own.max_iter) ** own.power,
    "sigmoid": lambda own, iteration: 1 / (1 + np.exp(-own.gamma * (iteration - own.stepsize))),
}
"""What the base rate is multiplied by, in double precision, where Caffe takes single."""


class CaffeRate(LRScheduler):
    """The rate of an update by a policy: 'fixed', 'step' (times `gamma` every `stepsize`
    iterations), 'exp' (times `gamma` at each), 'inv' (`(1 + gamma * iteration) ** -power`),
    'multistep' (times `gamma` at each of `stepvalues`), 'poly' (`(1 - iteration / max_iter) **
    power`), 'sigmoid' (`1 / (1 + exp(-gamma * (iteration - stepsize)))`).

    Iterations are counted from 0, updates, which schedulers are called with, from 1.

    >>> rate = CaffeRate("step", base_lr=0.1, gamma=0.5, stepsize=2)
    >>> [rate(update) for update in (1, 2, 3, 5)]
    [0.1, 0.1, 0.05, 0.025]
    >>> CaffeRate("inv", base_lr=1.0, gamma=1.0, power=2.0).at(1)
    0.25
    """

    def __init__(
        self,
        policy: str,
        base_lr: float = 0.01,
        gamma: float = 0.0,
        power: float = 0.0,
        stepsize: int = 0,
        stepvalues: Sequence[int] = (),
        max_iter: int = 0,
    ) -> None:
        super().__init__(base_lr)
        known = ", ".join(POLICIES)
        check(policy in POLICIES, "lr_policy", f"expected one of {known}; given {policy!r:.80}")
        check(
            policy != "step" or stepsize > 0,
            "lr_policy",
            f"'{policy}' needs a stepsize of 1 or more; given {stepsize}",
        )
        check(
            policy != "poly" or max_iter > 0,
            "lr_policy",
            f"'poly' needs a max_iter of 1 or more; given {max_iter}",
        )
        check(
            list(stepvalues) == sorted(stepvalues),
            "lr_policy",
            f"expected rising stepvalues; given {list(stepvalues)!r:.80}",
        )
        self.policy = policy
        self.gamma, self.power = np.float64(gamma), np.float64(power)
        self.stepsize, self.max_iter = stepsize, max_iter
        self.stepvalues = np.array(stepvalues, np.int64)

    def steps_before(self, iteration: float) -> int:
        """How many of `stepvalues` are reached."""
        return int(np.searchsorted(self.stepvalues, iteration, side="right"))

    def at(self, iteration: int) -> float:
        """The rate of an iteration, counted from 0."""
        with np.errstate(all="ignore"):  # what overflows is infinite, as in C
            return float(self.base_lr * POLICIES[self.policy](self, np.float64(iteration)))

    def __call__(self, num_update: int) -> float:
        """The rate of an update, counted from 1."""
        return self.at(max(num_update - 1, 0))
