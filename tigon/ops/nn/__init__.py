"""The large operators: layers, losses, normalization. Each is a composite of primitives."""

from tigon.ops.nn.activation import activation, leaky_relu
from tigon.ops.nn.batch_norm import batch_norm
from tigon.ops.nn.batch_norm_variants import batch_norm_with_relu, sync_batch_norm
from tigon.ops.nn.convolution import convolution, convolution_data, convolution_weight
from tigon.ops.nn.ctc import ctc_loss, warp_ctc
from tigon.ops.nn.deconvolution import deconvolution
from tigon.ops.nn.dropout import dropout
from tigon.ops.nn.insanity import insanity
from tigon.ops.nn.linear import fully_connected
from tigon.ops.nn.loss import (
    linear_regression_output,
    logistic_regression_output,
    mae_regression_output,
    make_loss,
    make_loss_output,
    softmax_output,
    svm_output,
)
from tigon.ops.nn.normalization import group_norm, instance_norm, layer_norm, lrn
from tigon.ops.nn.pooling import pooling
from tigon.ops.nn.recurrent import rnn
from tigon.ops.nn.sequence import sequence_last, sequence_mask, sequence_reverse
from tigon.ops.nn.softmax import (
    log_softmax,
    softmax,
    softmax_activation,
    softmax_cross_entropy,
    softmin,
)
from tigon.ops.nn.sparseness import identity_attach_kl_sparse_reg
from tigon.ops.nn.summed_batch_norm import summed_batch_norm

__all__ = [
    "activation",
    "batch_norm",
    "batch_norm_with_relu",
    "convolution",
    "convolution_data",
    "convolution_weight",
    "ctc_loss",
    "deconvolution",
    "dropout",
    "fully_connected",
    "group_norm",
    "identity_attach_kl_sparse_reg",
    "insanity",
    "instance_norm",
    "layer_norm",
    "leaky_relu",
    "linear_regression_output",
    "log_softmax",
    "logistic_regression_output",
    "lrn",
    "mae_regression_output",
    "make_loss",
    "make_loss_output",
    "pooling",
    "rnn",
    "sequence_last",
    "sequence_mask",
    "sequence_reverse",
    "softmax",
    "softmax_activation",
    "softmax_cross_entropy",
    "softmax_output",
    "softmin",
    "summed_batch_norm",
    "svm_output",
    "sync_batch_norm",
    "warp_ctc",
]
