"""Files that TensorBoard reads: `SummaryWriter`, and the callback that MXNet's programs use."""

from tigon.base.lazy import complete as _complete
from tigon.contrib.tensorboard.writer import LogMetricsCallback, SummaryWriter

__all__ = ["LogMetricsCallback", "SummaryWriter"]

_complete(globals())
