"""In which floats operators compute under bfloat16. It has the range of float32 and fewer digits
than float16, and what is sensitive to rounding is so under both: the lists are the same. (Those of
MXNet follow what its kernels for processors have.)"""

from __future__ import annotations

from tigon.contrib.amp.lists import symbol_fp16

BF16_FUNCS = symbol_fp16.FP16_FUNCS
"""Compute in bfloat16."""

BF16_FP32_FUNCS = symbol_fp16.FP16_FP32_FUNCS
"""Compute in what they are given."""

BF16_USE_FP32_PARAMS = {
    name: ["", "gamma", "beta", "moving_mean", "moving_var"]
    for name in ("BatchNorm", "_contrib_BatchNormWithReLU")
}
"""By operator, the operands that are float32 beside narrower data; the first is the data."""

FP32_FUNCS = symbol_fp16.FP32_FUNCS
"""Compute in float32."""

CONDITIONAL_FP32_FUNCS = symbol_fp16.CONDITIONAL_FP32_FUNCS
"""Compute in float32 if the attribute has one of the values, else in what they are given."""

WIDEST_TYPE_CASTS = symbol_fp16.WIDEST_TYPE_CASTS
"""Take operands of one dtype: those of several become float32."""

LOSS_OUTPUT_FUNCTIONS = symbol_fp16.LOSS_OUTPUT_FUNCTIONS
"""Compute in float32; their gradients are their own."""
