"""What a file of Caffe does not say: the defaults of its messages, as `caffe.proto` has them."""

from __future__ import annotations

import pytest

from tigon.contrib.caffe.fields import SCHEMA
from tigon.readers.text import read_text

DECLARED = """
ParamSpec: lr_mult 1, decay_mult 1
FillerParameter: type constant, value 0, min 0, max 1, mean 0, std 1, sparse -1
FillerParameter: variance_norm FAN_IN
TransformationParameter: scale 1, mirror false, crop_size 0
LossParameter: normalization VALID
AccuracyParameter: top_k 1, axis 1
ArgMaxParameter: out_max_val false, top_k 1
BatchNormParameter: moving_average_fraction 0.999, eps 1e-5
BiasParameter: axis 1, num_axes 1
ConcatParameter: axis 1, concat_dim 1
ContrastiveLossParameter: margin 1, legacy_version false
ConvolutionParameter: bias_term true, group 1, axis 1, force_nd_im2col false
CropParameter: axis 2
DropoutParameter: dropout_ratio 0.5
EltwiseParameter: operation SUM, stable_prod_grad true
ELUParameter: alpha 1
EmbedParameter: bias_term true
ExpParameter: base -1, scale 1, shift 0
FlattenParameter: axis 1, end_axis -1
HingeLossParameter: norm L1
InnerProductParameter: bias_term true, axis 1, transpose false
LogParameter: base -1, scale 1, shift 0
LRNParameter: local_size 5, alpha 1, beta 0.75, norm_region ACROSS_CHANNELS, k 1
MVNParameter: normalize_variance true, across_channels false, eps 1e-9
PoolingParameter: pool MAX, pad 0, stride 1, global_pooling false
PowerParameter: power 1, scale 1, shift 0
PReLUParameter: channel_shared false
ReductionParameter: operation SUM, axis 0, coeff 1
ReLUParameter: negative_slope 0
ReshapeParameter: axis 0, num_axes -1
ScaleParameter: axis 1, num_axes 1, bias_term false
SliceParameter: axis 1, slice_dim 1
SoftmaxParameter: axis 1
TileParameter: axis 1
SolverParameter: test_interval 0, test_compute_loss false, test_initialization true, average_loss 1
SolverParameter: iter_size 1, momentum 0, weight_decay 0, regularization_type L2, clip_gradients -1
SolverParameter: snapshot 0, snapshot_after_train true, random_seed -1, type SGD, delta 1e-8
SolverParameter: momentum2 0.999, rms_decay 0.99, gamma 0, power 0, stepsize 0, display 0
"""


@pytest.mark.parametrize("line", DECLARED.strip().splitlines())
def test_what_is_not_said(line: str) -> None:
    kind, _, declared = line.partition(": ")
    message = read_text("", SCHEMA[kind], "empty")
    for pair in declared.split(", "):
        name, wanted = pair.split()
        found = getattr(message, name)
        number = {"true": "1", "false": "0"}.get(wanted, wanted)
        assert found == (wanted if isinstance(found, str) else float(number)), name
