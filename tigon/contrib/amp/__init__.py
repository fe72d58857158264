"""`mx.contrib.amp`: automatic mixed precision. After `init`, operators that gain by it compute in
float16 or bfloat16, those that need it in float32, and parameters stay float32.

>>> list_lp16_ops("float16")
['Convolution', 'Deconvolution', 'FullyConnected', 'RNN']
"""

from __future__ import annotations

from typing import Any

from tigon.contrib.amp import amp, lists, loss_scaler
from tigon.contrib.amp.amp import (
    convert_bucketing_module,
    convert_hybrid_block,
    convert_model,
    convert_symbol,
    init,
    init_trainer,
    list_conditional_fp32_ops,
    list_fp16_fp32_ops,
    list_fp16_ops,
    list_fp32_ops,
    list_loss_output_functions,
    list_lp16_fp32_ops,
    list_lp16_ops,
    list_lp16_use_fp32_params,
    list_widest_type_cast,
    scale_loss,
    unscale,
)
from tigon.contrib.amp.loss_scaler import LossScaler

__all__ = [
    "LossScaler",
    "amp",
    "convert_bucketing_module",
    "convert_hybrid_block",
    "convert_model",
    "convert_symbol",
    "init",
    "init_trainer",
    "list_conditional_fp32_ops",
    "list_fp16_fp32_ops",
    "list_fp16_ops",
    "list_fp32_ops",
    "list_loss_output_functions",
    "list_lp16_fp32_ops",
    "list_lp16_ops",
    "list_lp16_use_fp32_params",
    "list_widest_type_cast",
    "lists",
    "loss_scaler",
    "scale_loss",
    "unscale",
]


def __getattr__(name: str) -> Any:
    """What changes is asked of the module that has it."""
    if name == "_amp_initialized":
        return amp._amp_initialized
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
