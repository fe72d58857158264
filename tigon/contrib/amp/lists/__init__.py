"""In which floats operators compute, by list; `symbol` is that of float16."""

from __future__ import annotations

from tigon.contrib.amp.lists import symbol, symbol_bf16, symbol_fp16

__all__ = ["symbol", "symbol_bf16", "symbol_fp16"]
