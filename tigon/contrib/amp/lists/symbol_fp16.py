"""In which floats operators compute under float16: every operator there is stands in one list,
under the name of its record (`docs/operators.md` has its other ones), mostly as in MXNet 1.9."""

from __future__ import annotations

FP16_FUNCS = ["Convolution", "Deconvolution", "FullyConnected", "RNN"]
"""Compute in float16: sums of products, which kernels add up in float32."""

FP16_FP32_FUNCS = [
    # Whatever they are given.
    *"""
        _arange _contrib_AdaptiveAvgPooling2D _contrib_BatchNormWithReLU
        _contrib_BilinearResize2D _contrib_bipartite_matching _contrib_div_sqrt_dim
        _contrib_gradientmultiplier _contrib_index_array _contrib_index_copy _contrib_isfinite
        _contrib_isinf _contrib_isnan _contrib_quadratic _contrib_round_ste _contrib_sign_ste _copy
        _eye _full _full_like _linspace _ones _ravel_multi_index _slice_assign _unravel_index _zeros
        abs amp_cast amp_multicast arcsinh arctan argmax argmax_channel argmin batch_take BatchNorm
        BlockGrad broadcast_axis broadcast_like broadcast_to Cast cbrt ceil clip col2im cos Crop
        degrees depth_to_space diag Dropout Embedding erf expand_dims fill_element_0index fix
        Flatten floor gather_nd GridGenerator hard_sigmoid im2col logical_not max min negative
        one_hot ones_like Pad pick Pooling radians relu repeat Reshape reshape_like reverse rint
        round scatter_nd SequenceLast SequenceMask SequenceReverse shape_array sigmoid sign sin
        size_array slice slice_axis slice_like SliceChannel softsign sort space_to_depth sqrt
        squeeze SwapAxis take tanh tile transpose trunc zeros_like
    """.split(),
    # Arithmetic with a number, which takes the dtype of the array.
    *"""
        _div_scalar _equal_scalar _greater_equal_scalar _greater_scalar _lesser_equal_scalar
        _lesser_scalar _logical_and_scalar _logical_or_scalar _logical_xor_scalar _maximum_scalar
        _minimum_scalar _minus_scalar _mod_scalar _mul_scalar _not_equal_scalar _plus_scalar
        _rminus_scalar _rmod_scalar _slice_assign_scalar
    """.split(),
    # Random numbers.
    *"""
        _random_bernoulli _random_bits _random_exponential _random_exponential_like _random_gamma
        _random_gamma_like _random_generalized_negative_binomial
        _random_generalized_negative_binomial_like _random_negative_binomial
        _random_negative_binomial_like _random_normal _random_normal_like _random_poisson
        _random_poisson_like _random_randint _random_uniform _random_uniform_like
        _sample_exponential _sample_multinomial _sample_poisson _shuffle
    """.split(),
    # Images.
    *"""
        _image_adjust_lighting _image_crop _image_flip_left_right _image_flip_top_bottom
        _image_normalize _image_random_brightness _image_random_contrast
        _image_random_flip_left_right _image_random_flip_top_bottom _image_random_lighting
        _image_random_saturation _image_resize _image_to_tensor
    """.split(),
    # Steps of optimizers, and what they ask.
    *"""
        _adadelta_update _adagrad_update _adam_update _adamw_update _contrib_adamw_update
        _contrib_mp_adamw_update _ftml_update _ftrl_update _lamb_update_phase1 _lamb_update_phase2
        _nag_mom_update _rmsprop_update _rmspropalex_update _sgd_mom_update _sgd_update
        _signsgd_update _signum_update adadelta_update adagrad_update adam_update adamw_update
        all_finite ftml_update ftrl_update lamb_update_phase1 lamb_update_phase2
        mp_lamb_update_phase1 mp_lamb_update_phase2 mp_nag_mom_update mp_sgd_mom_update
        mp_sgd_update multi_all_finite multi_lars multi_sum_sq nag_mom_update rmsprop_update
        rmspropalex_update sgd_mom_update sgd_update signsgd_update signum_update
    """.split(),
    # What other operators are made of, and their gradients.
    *"""
        _again _along_like _ascending_gaps _assign_slice _backward_BatchNorm
        _backward_Convolution_data _backward_Convolution_weight _backward_LinearRegressionOutput
        _backward_LogisticRegressionOutput _backward_MAERegressionOutput _backward_MakeLoss
        _backward_Pooling_max _backward_Pooling_sum _backward_ROIAlign _backward_SoftmaxOutput
        _backward_standardize _backward_SVMOutput _beside_loss _bitwise_and _bitwise_or _bitwise_xor
        _broadcast _cast_like _checked_index _chosen_places _cond _contract _convolution_over_panels
        _convolution_panels _copyto _detach _direction _foreach _gather_nd _gather_nd_backward _gelu
        _histogram _identity_with_attr_like_rhs _in_real_numbers _index _insanity _inverse_or_zero
        _iota _join _kept _left_shift _matrix_triangle _mirrored_triangle _normal_cdf
        _one_minus_square _order _own_gradient _pad _pick _pooling_max _pooling_sum
        _products_of_others _products_of_pairs _reduce_argmax _reduce_argmin _reduce_max _reduce_min
        _reduce_prod _reduce_sum _region _repeated _resample _reshape _right_shift _round_even
        _scaled_transpose _scan_sum _scatter_add _scatter_set_nd _select _slice _slope_of_mish
        _slope_of_softrelu _split_v2 _spread _spread_mean _standardize _stored _sum_to_like
        _sums_of_others _take _take_along _take_along_backward _take_backward _told _turning _unjoin
        _unpick _unslice _unwindow _unwindow_like _vjp _while_loop _window _window_like
    """.split(),
]
"""Compute in what they are given."""

FP32_FUNCS = [
    # Elementary functions whose results or slopes grow fast.
    *"""
        _polygamma _softrelu arccos arccosh arcsin arctanh cosh digamma erfinv exp expm1 gamma
        gammaln log log10 log1p log2 log_sigmoid mish sinh smooth_l1 tan
    """.split(),
    # Powers.
    *"""
        _hypot_scalar _power_scalar _rdiv_scalar _rpower_scalar broadcast_hypot broadcast_power
        rcbrt reciprocal rsqrt square
    """.split(),
    # Positions, of which narrow floats hold few: bfloat16 none between 256 and 258.
    "_contrib_arange_like",
    # Sums over many elements.
    *"""
        _np_cumsum argsort khatri_rao mean moments nanprod nansum norm prod softmin std sum topk var
    """.split(),
    # Matrices.
    *"""
        linalg_det linalg_extractdiag linalg_extracttrian linalg_gelqf linalg_gemm linalg_gemm2
        linalg_inverse linalg_makediag linalg_maketrian linalg_potrf linalg_potri linalg_slogdet
        linalg_sumlogdiag linalg_syevd linalg_syrk linalg_trmm linalg_trsm
    """.split(),
    # Networks.
    *"""
        _contrib_DeformableConvolution _contrib_ModulatedDeformableConvolution
        _contrib_MultiBoxDetection _contrib_MultiBoxPrior _contrib_MultiBoxTarget
        _contrib_SummedBatchNorm _contrib_SyncBatchNorm _normalize_by CTCLoss Custom GroupNorm
        IdentityAttachKLSparseReg InstanceNorm L2Normalization LayerNorm log_softmax LRN make_loss
        MakeLoss softmax softmax_cross_entropy SoftmaxActivation WarpCTC
    """.split(),
]
"""Compute in float32, lest they overflow or lose their digits."""

CONDITIONAL_FP32_FUNCS = [
    ("Activation", "act_type", ["softrelu"]),
    ("LeakyReLU", "act_type", ["elu", "selu"]),
]
"""Compute in float32 if the attribute has one of the values, else in what they are given."""

WIDEST_TYPE_CASTS = [
    # Arithmetic and comparison.
    *"""
        _contrib_allclose add_n arctan2 broadcast_add broadcast_div broadcast_equal
        broadcast_greater broadcast_greater_equal broadcast_lesser broadcast_lesser_equal
        broadcast_logical_and broadcast_logical_or broadcast_logical_xor broadcast_maximum
        broadcast_minimum broadcast_mod broadcast_mul broadcast_not_equal broadcast_sub elemwise_add
        elemwise_div elemwise_mul elemwise_sub floor_divide where
    """.split(),
    # Products.
    *"""
        _contrib_interleaved_matmul_encdec_qk _contrib_interleaved_matmul_encdec_valatt
        _contrib_interleaved_matmul_selfatt_qk _contrib_interleaved_matmul_selfatt_valatt _matmul
        _stored_dot _stored_dot_like batch_dot Correlation dot einsum
    """.split(),
    # Several into one.
    *"""
        Concat stack UpSampling
    """.split(),
    # Boxes, and places in images.
    *"""
        _contrib_box_decode _contrib_box_encode _contrib_box_iou _contrib_box_nms
        _contrib_MultiProposal _contrib_Proposal _contrib_ROIAlign BilinearSampler ROIPooling
        SpatialTransformer
    """.split(),
    # Numbers drawn by two parameters.
    *"""
        _sample_gamma _sample_generalized_negative_binomial _sample_negative_binomial _sample_normal
        _sample_uniform
    """.split(),
    # Densities.
    *"""
        _random_pdf_dirichlet _random_pdf_exponential _random_pdf_gamma
        _random_pdf_generalized_negative_binomial _random_pdf_negative_binomial _random_pdf_normal
        _random_pdf_poisson _random_pdf_uniform
    """.split(),
]
"""Take operands of one dtype: those of several become float32."""

LOSS_OUTPUT_FUNCTIONS = [
    "SoftmaxOutput",
    "LinearRegressionOutput",
    "LogisticRegressionOutput",
    "MAERegressionOutput",
    "SVMOutput",
]
"""Compute in float32; their gradients are their own, and no scale of a loss reaches them."""
