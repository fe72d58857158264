"""The operator names that MXNet 1.9 knows. Graphs made of these alone can be read by MXNet; other
operators are written with the prefix `_tigon_`."""

PUBLIC = frozenset(
    """
    Activation BatchNorm BatchNorm_v1 BilinearSampler BlockGrad CTCLoss Cast Concat Convolution
    Convolution_v1 Correlation Crop Custom Deconvolution Dropout Embedding Flatten FullyConnected
    GridGenerator GroupNorm IdentityAttachKLSparseReg InstanceNorm L2Normalization LRN LayerNorm
    LeakyReLU LinearRegressionOutput LogisticRegressionOutput MAERegressionOutput MakeLoss Pad
    Pooling Pooling_v1 RNN ROIPooling Reshape SVMOutput SequenceLast SequenceMask SequenceReverse
    SliceChannel Softmax SoftmaxActivation SoftmaxOutput SpatialTransformer SwapAxis UpSampling
    abs adam_update add_n all_finite amp_cast amp_multicast arccos arccosh arcsin arcsinh arctan
    arctanh argmax argmax_channel argmin argsort batch_dot batch_take broadcast_add broadcast_axis
    broadcast_div broadcast_equal broadcast_greater broadcast_greater_equal broadcast_hypot
    broadcast_lesser broadcast_lesser_equal broadcast_like broadcast_logical_and
    broadcast_logical_or broadcast_logical_xor broadcast_maximum broadcast_minimum broadcast_mod
    broadcast_mul broadcast_not_equal broadcast_power broadcast_sub broadcast_to cast_storage cbrt
    ceil choose_element_0index clip col2im cos cosh cumsum degrees depth_to_space diag digamma dot
    elemwise_add elemwise_div elemwise_mul elemwise_sub erf erfinv exp expand_dims expm1
    fill_element_0index fix floor ftml_update ftrl_update gamma gammaln gather_nd hard_sigmoid
    im2col khatri_rao lamb_update_phase1 lamb_update_phase2 linalg_gemm linalg_gemm2 log log10
    log1p log2 log_softmax logical_not make_loss masked_log_softmax masked_softmax max mean min
    moments mp_lamb_update_phase1 mp_lamb_update_phase2 mp_nag_mom_update mp_sgd_mom_update
    mp_sgd_update multi_all_finite multi_lars multi_mp_sgd_mom_update multi_mp_sgd_update
    multi_sgd_mom_update multi_sgd_update multi_sum_sq nag_mom_update nanprod nansum negative norm
    one_hot ones_like pick preloaded_multi_mp_sgd_mom_update preloaded_multi_mp_sgd_update
    preloaded_multi_sgd_mom_update preloaded_multi_sgd_update prod radians ravel_multi_index rcbrt
    reciprocal relu repeat reset_arrays reshape_like reverse rint rmsprop_update
    rmspropalex_update round rsqrt scatter_nd sgd_mom_update sgd_update shape_array shuffle
    sigmoid sign signsgd_update signum_update sin sinh size_array slice slice_axis slice_like
    smooth_l1 softmax softmax_cross_entropy softmin softsign sort space_to_depth split_v2 sqrt
    square squeeze stack sum swish take tan tanh tile topk transpose trunc unravel_index where
    zeros_like
    """.split()
)

INTERNAL = frozenset(
    """
    _zeros _ones _full _arange _linspace _eye _copy _copyto _identity_with_attr_like_rhs _grad_add
    _plus_scalar _minus_scalar _rminus_scalar _mul_scalar _div_scalar _rdiv_scalar _mod_scalar
    _rmod_scalar _power_scalar _rpower_scalar _maximum_scalar _minimum_scalar _hypot_scalar
    _equal_scalar _not_equal_scalar _greater_scalar _greater_equal_scalar _lesser_scalar
    _lesser_equal_scalar _logical_and_scalar _logical_or_scalar _logical_xor_scalar _hypot _maximum
    _minimum _mod _power _equal _not_equal _greater _greater_equal _lesser _lesser_equal
    _logical_and _logical_or _logical_xor _random_uniform _random_normal _random_gamma
    _random_exponential _random_poisson _random_negative_binomial _random_randint
    _random_generalized_negative_binomial _random_uniform_like _random_normal_like
    _sample_uniform _sample_normal _sample_gamma _sample_exponential _sample_poisson
    _sample_multinomial _sample_negative_binomial _shuffle _slice_assign _slice_assign_scalar
    _scatter_set_nd _split_v2 _ravel_multi_index _unravel_index _histogram _rnn_param_concat
    _square_sum _foreach _while_loop _cond _adamw_update _mp_adamw_update _rollaxis
    _linalg_det _linalg_extractdiag _linalg_extracttrian _linalg_gelqf _linalg_gemm _linalg_gemm2
    _linalg_inverse _linalg_makediag _linalg_maketrian _linalg_potrf _linalg_potri _linalg_slogdet
    _linalg_sumlogdiag _linalg_syevd _linalg_syrk _linalg_trmm _linalg_trsm
    _image_to_tensor _image_normalize _image_resize _image_crop _image_flip_left_right
    _image_flip_top_bottom _image_random_flip_left_right _image_random_flip_top_bottom
    _image_random_brightness _image_random_contrast _image_random_saturation _image_random_hue
    _image_random_color_jitter _image_adjust_lighting _image_random_lighting
    """.split()
)


def known(name: str) -> bool:
    """Whether MXNet has an operator of this name.

    >>> known("FullyConnected"), known("_contrib_box_nms"), known("_reduce_sum")
    (True, True, False)
    """
    return name in PUBLIC or name in INTERNAL or name.startswith("_contrib_")
