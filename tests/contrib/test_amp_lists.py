"""Automatic mixed precision: its lists, and what `init` takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.contrib.amp_training import name_of
from tigon import nd
from tigon.contrib import amp
from tigon.contrib.amp.lists import symbol_bf16, symbol_fp16
from tigon.ops import casting, record


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_operator_is_in_one_list(dtype: str) -> None:
    lists = [
        amp.list_lp16_ops(dtype),
        amp.list_lp16_fp32_ops(dtype),
        amp.list_fp32_ops(dtype),
        [name for name, _, _ in amp.list_conditional_fp32_ops(dtype)],
        amp.list_widest_type_cast(dtype),
        amp.list_loss_output_functions(dtype),
    ]
    listed = [name for names in lists for name in names]
    assert len(listed) == len(set(listed))
    ours = {op.name for op in record.all_operators() if not op.name.startswith("toy_")}
    assert set(listed) - {"Custom"} == ours, "put a new operator into a list of symbol_fp16.py"


def test_operators_whose_operands_are_alike_are_brought_to_one_dtype() -> None:
    """What is left alone would refuse a float16 beside a float32."""
    stays = {"_contrib_index_copy", "fill_element_0index", "amp_multicast"}
    stays |= {"multi_lars", "multi_sum_sq"}
    for name in amp.list_lp16_fp32_ops():
        op = record.get(name)
        inner = name.startswith("_") and not name.startswith(("_contrib", "_image", "_sample"))
        if op.overwrites or inner or name in stays:
            continue
        for sample in op.samples:
            for alike in op.alike(op.make_attrs(sample[-1])):
                operands = [op.operands[place] for place in alike.operands]
                others = [o for o in operands[1:] if o.name not in op.statistics]
                single = not others and not operands[0].variadic
                assert single or "f" not in alike.kinds, f"{name}: {[o.name for o in operands]}"


def test_lists_by_their_names_in_mxnet() -> None:
    assert amp.list_fp16_ops() is symbol_fp16.FP16_FUNCS is amp.lists.symbol.FP16_FUNCS
    assert amp.list_fp16_fp32_ops() is symbol_fp16.FP16_FP32_FUNCS
    assert amp.list_lp16_ops("bfloat16") is symbol_bf16.BF16_FUNCS
    assert amp.list_lp16_ops(np.float16) == amp.list_fp16_ops()
    assert amp.list_lp16_use_fp32_params("float16") is None
    assert set(amp.list_lp16_use_fp32_params("bfloat16")["BatchNorm"]) > {"gamma", "moving_var"}
    with pytest.raises(mx.TigonError) as told:
        amp.list_fp32_ops("float64")
    assert str(told.value) == (
        "amp.list_fp32_ops: target_dtype: expected 'float16' or 'bfloat16'; given 'float64'"
    )


REFUSED = [
    (
        {"target_dtype": "int8"},
        "amp.init: target_dtype: expected 'float16' or 'bfloat16'; given 'int8'",
    ),
    (
        {"target_dtype": None},
        "amp.init: target_dtype: expected 'float16' or 'bfloat16'; given None",
    ),
    (
        {"target_dtype": "nonsense"},
        "amp.init: target_dtype: expected 'float16' or 'bfloat16'; given 'nonsense'",
    ),
    (
        {"target_precision_ops": ["FullyConnected", "Fully", "Conv"]},
        "amp.init: target_precision_ops: expected names of operators; there is no 'Fully', 'Conv'; "
        "tigon.ops.names() lists them",
    ),
    (
        {"fp32_ops": "exp"},
        "amp.init: fp32_ops: expected a list of names of operators; given 'exp'",
    ),
    (
        {"fp32_ops": ["sgd_update"]},
        "amp.init: fp32_ops: expected operators that compute; sgd_update converts, controls or "
        "updates arrays in place, and takes what it is given; leave it out",
    ),
    (
        {"target_precision_ops": ["exp"]},
        "amp.init: exp is in target_precision_ops and in fp32_ops; give both lists, with each "
        "operator in one of them at most (what is not given is the default list)",
    ),
    (
        {"conditional_fp32_ops": [("Activation", "kind", ["relu"])]},
        "amp.init: conditional_fp32_ops: Activation has no attribute 'kind'; it has: act_type",
    ),
    (
        {"conditional_fp32_ops": ["Activation"]},
        "amp.init: conditional_fp32_ops: expected a list of (operator, attribute, list of values); "
        "given 'Activation'",
    ),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=[said[:60] for _, said in REFUSED])
def test_what_init_refuses(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(mx.TigonError) as told:
        amp.init(**arguments)
    assert str(told.value) == said
    assert not amp.amp._amp_initialized and casting.current() is None


def test_init_twice() -> None:
    assert amp._amp_initialized is False
    amp.init("float16")
    policy = casting.current()
    amp.init(np.float16, layout_optimization=True)
    assert amp._amp_initialized is amp.amp._amp_initialized is True
    assert casting.current() is policy
    with pytest.raises(mx.TigonError) as told:
        amp.init("bfloat16")
    assert str(told.value) == (
        "amp.init: mixed precision is initialized already, with float16 and other arguments; call "
        "it once, before the network is used"
    )
    assert casting.current() is policy


def test_lists_of_ones_own() -> None:
    amp.init(
        target_precision_ops=["dot", "broadcast_plus"],
        fp32_ops=["relu", "Custom"],
        conditional_fp32_ops=[("LeakyReLU", "act_type", ["leaky"])],
    )
    x = nd.ones((2, 2))
    assert name_of(nd.dot(x, x)) == name_of(x + x) == "float16"
    assert name_of(nd.FullyConnected(x, x, no_bias=True, num_hidden=2)) == "float32"
    half = x.astype("float16")
    assert name_of(nd.relu(half)) == "float32"
    assert name_of(nd.exp(half)) == "float16"
    assert name_of(nd.LeakyReLU(half, act_type="leaky")) == "float32"
    assert name_of(nd.LeakyReLU(half, act_type="elu")) == "float16"
