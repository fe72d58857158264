"""What MXNet calls contributed convolutions."""

from tigon.base.lazy import complete as _complete
from tigon.gluon.contrib.cnn.conv_layers import (
    DeformableConvolution,
    ModulatedDeformableConvolution,
)
from tigon.gluon.parameters_section import describe as _describe

__all__ = ["DeformableConvolution", "ModulatedDeformableConvolution"]

_describe(
    DeformableConvolution,
    ModulatedDeformableConvolution,
    num_deformable_group="groups of input channels, each with offsets of its own",
    offset_weight_initializer="how the weight begins that computes offsets",
    offset_bias_initializer="how its bias begins",
    offset_use_bias="whether it has a bias",
    op_name="accepted: the name of the operator",
    adj="accepted: None",
)
_complete(globals())
