"""Training that goes on where ranks fail."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from tigon import _native
from tigon.base import TigonError, check
from tigon.base.arguments import fits
from tigon.distributed import settings
from tigon.distributed.agreement import Signature
from tigon.distributed.inorder import at_once
from tigon.distributed.world import RanksLost, World, world

T = TypeVar("T")


def set_timeout(seconds: float) -> None:
    """Let every wait for other ranks take so long at most, from now on; 300 s, or what the variable
    TIGON_RANK_TIMEOUT says, if this is never called. Who waits longer names who has not arrived,
    has what `Checkpoint.remember` keeps written to files, and ends all ranks.

    >>> set_timeout(60)
    >>> set_timeout(0)
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: set_timeout: expected seconds, more than 0; given 0
    >>> set_timeout(300)
    """
    check(
        fits(float, seconds) and seconds > 0,
        "set_timeout",
        f"expected seconds, more than 0; given {seconds!r}",
    )
    settings.set_timeout(float(seconds))


def run(
    train: Callable[[Any], T],
    checkpoint: Any,
    on_failure: str = "end",
    timeout: float | None = None,
) -> T:
    """Call `train(state)`, and give what it returns. `state` is what `checkpoint.resume()` gives:
    the step and progress from which to go on, or None at the very beginning.

    Where a rank ends without a word, the others raise an error that names it. With
    `on_failure='end'` it ends all; the next start goes on from the last `checkpoint.save`. With
    `'shrink'`, under `mpiexec --with-ft ulfm`, those that are left agree, are numbered anew, take
    over what they have in memory (`checkpoint.remember`) or the last file, and `train` is called
    again. It has to begin its epoch anew from `state`; samplers that share batches out
    (`gluon.data.ShardedBatchSampler`) go on with the samples that nobody has seen.

    `timeout`: as `set_timeout`.

    >>> import tempfile
    >>> from tigon import gluon, nd
    >>> net = gluon.nn.Dense(1, in_units=2)
    >>> net.initialize()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = gluon.Checkpoint(folder, net=net)
    ...     def train(state):
    ...         for step in range(state["step"] if state else 0, 3):
    ...             checkpoint.save(step + 1)
    ...         return state
    ...     run(train, checkpoint), run(train, checkpoint)
    (None, {'step': 3})
    """
    check(
        on_failure in ("end", "shrink"),
        "distributed.run",
        f"on_failure: expected 'end' or 'shrink'; given {on_failure!r}",
    )
    if timeout is not None:
        set_timeout(timeout)
    ranks = world()
    ranks.keeper = weakref.ref(checkpoint)
    shrinks = ranks.goes_on = on_failure == "shrink"
    if shrinks and not ranks.is_alone and not ranks.survives and ranks.rank == 0:
        ranks.say(
            "was started without the fault tolerance that on_failure='shrink' needs: where a rank "
            "ends, the launcher ends all, and the next start goes on; under mpiexec --with-ft ulfm "
            "the others go on"
        )
    signature = Signature("distributed.run", (f"on_failure={on_failure!r}",))
    at_once(lambda ranks: ranks.check(signature), "distributed.run")
    state = checkpoint.resume()
    while True:
        try:
            return train(state)
        except Exception as error:
            if not (shrinks and _tells_of_loss(error, ranks)):
                raise
        state = _recovered(ranks, checkpoint)


def _tells_of_loss(error: BaseException | None, ranks: World) -> bool:
    """Whether an error came of ranks that were lost, directly or by way of others."""
    while ranks.lost and error is not None:
        if isinstance(error, RanksLost) or ranks.lost in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _recovered(ranks: World, checkpoint: Any) -> Any:
    """The state from which those that are left go on. Others may be lost meanwhile."""
    while True:
        lost = ranks.lost
        _wait_for_nothing()
        try:
            ranks.shrink()
            if ranks.rank == 0:
                ranks.say(f"goes on: {lost}")
            return checkpoint.restore()
        except Exception as error:
            if not _tells_of_loss(error, ranks):
                raise


def _wait_for_nothing() -> None:
    """All that is on its way has ended, with an error or without."""
    while True:
        try:
            _native.waitall()
            return
        except TigonError:
            continue
