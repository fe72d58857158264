"""The lists of `symbol_fp16`, under the name that they had first."""

from __future__ import annotations

from tigon.contrib.amp.lists.symbol_fp16 import (
    CONDITIONAL_FP32_FUNCS,
    FP16_FP32_FUNCS,
    FP16_FUNCS,
    FP32_FUNCS,
    LOSS_OUTPUT_FUNCTIONS,
    WIDEST_TYPE_CASTS,
)

__all__ = [
    "CONDITIONAL_FP32_FUNCS",
    "FP16_FP32_FUNCS",
    "FP16_FUNCS",
    "FP32_FUNCS",
    "LOSS_OUTPUT_FUNCTIONS",
    "WIDEST_TYPE_CASTS",
]
