"""Operators of old files: what they are called today, and which of them can run nowhere but where
they came from."""

from __future__ import annotations

from collections.abc import Mapping

RENAMED: Mapping[str, str] = {
    "_Hypot": "broadcast_hypot",
    "_grad_add": "elemwise_add",
    "CuDNNBatchNorm": "BatchNorm",
    "MultiBoxDetection": "_contrib_MultiBoxDetection",
    "MultiBoxPrior": "_contrib_MultiBoxPrior",
    "MultiBoxTarget": "_contrib_MultiBoxTarget",
    "MultiProposal": "_contrib_MultiProposal",
    "Proposal": "_contrib_Proposal",
    "_sample_gennegbinomial": "_random_generalized_negative_binomial",
    "_sample_negbinomial": "_random_negative_binomial",
    "_CrossDeviceCopy": "_copy",
    # Arrays are dense: what differs in storage alone is the same.
    "_contrib_SparseEmbedding": "Embedding",
    "_scatter_elemwise_div": "elemwise_div",
    "_scatter_minus_scalar": "_minus_scalar",
    "_scatter_plus_scalar": "_plus_scalar",
    "cast_storage": "_copy",
}

_DRAWN = "uniform normal gamma exponential poisson"
_OF_NUMBERS = {f"_sample_{name}": f"_random_{name}" for name in _DRAWN.split()}
"""Up to 0.9.4 they drew from one distribution, whose parameters are attributes."""

DROPPED: Mapping[str, frozenset[str]] = {
    "_contrib_SparseEmbedding": frozenset(("deterministic",)),
    "cast_storage": frozenset(("stype",)),
}
"""Attributes that say nothing under the name of today."""

_CODE = (
    "was Python code of the program that wrote the file, which a file does not hold; register it "
    "as an mx.operator.CustomOp, and make the node a Custom one with its op_type"
)
_PLUGIN = (
    "belonged to a plugin that called {}; write the layer with operators or as an "
    "mx.operator.CustomOp, and put it in the node's place"
)
_BACKEND = (
    "was made for one processor by MXNet's {}; load the file that was saved before that, in float32"
)
_NOWHERE = (
    ("_Native", _CODE),
    ("_NDArray", _CODE),
    ("_CustomFunction", _CODE),
    ("Torch", _PLUGIN.format("Torch 7")),
    ("Caffe", _PLUGIN.format("Caffe")),
    ("_contrib_quantize", _BACKEND.format("quantization")),
    ("_contrib_requantize", _BACKEND.format("quantization")),
    ("_contrib_dequantize", _BACKEND.format("quantization")),
    ("_sg_", _BACKEND.format("subgraphs")),
    ("_subgraph_op", _BACKEND.format("subgraphs")),
    ("_CachedOp", _BACKEND.format("subgraphs")),
    ("_FusedOp", _BACKEND.format("fusion")),
    ("_TensorRT", _BACKEND.format("TensorRT")),
    ("_trt_op", _BACKEND.format("TensorRT")),
    ("_contrib_tvm_", _BACKEND.format("TVM")),
)


def name_of_today(name: str, operands: int) -> str:
    """What an operator of a file is called, that has so many operands there.

    >>> name_of_today("_Hypot", 2), name_of_today("_sample_normal", 0)
    ('broadcast_hypot', '_random_normal')
    >>> name_of_today("_sample_normal", 2), name_of_today("relu", 1)
    ('_sample_normal', 'relu')
    """
    if not operands and name in _OF_NUMBERS:
        return _OF_NUMBERS[name]
    return RENAMED.get(name, name)


def why_it_never_runs(name: str) -> str | None:
    """What an operator needs that is in no file, and what to do; None of any other operator.

    >>> why_it_never_runs("_NDArray").partition(",")[0]
    'was Python code of the program that wrote the file'
    >>> why_it_never_runs("relu")
    """
    return next((reason for start, reason in _NOWHERE if name.startswith(start)), None)
