"""What MXNet 1.9.1 has in the modules around arrays and networks: functions with their arguments,
and the names of everything else. `...` is a default that is no number or text."""

from __future__ import annotations

FUNCTIONS: dict[str, dict[str, str]] = {
    "test_utils": {
        "almost_equal": "a b rtol=None atol=None equal_nan=False use_broadcast=True",
        "assert_allclose": "a b rtol=1e-07 atol=0 equal_nan=True",
        "assert_almost_equal": (
            "a b rtol=None atol=None names=('a','b') equal_nan=False use_broadcast=True "
            "mismatches=(10,10)"
        ),
        "assert_almost_equal_ignore_nan": "a b rtol=None atol=None names=('a','b')",
        "assert_almost_equal_with_err": (
            "a b rtol=None atol=None etol=None names=('a','b') equal_nan=False mismatches=(10,10)"
        ),
        "assert_exception": "f exception_type *args **kwargs",
        "assign_each": "the_input function",
        "assign_each2": "input1 input2 function",
        "checkShapes": "a b",
        "check_consistency": (
            "sym ctx_list scale=1.0 grad_req='write' arg_params=None aux_params=None "
            "rtol=None atol=None raise_on_err=True ground_truth=None equal_nan=False "
            "use_uniform=False rand_type=..."
        ),
        "check_gluon_hybridize_consistency": (
            "net_builder data_l numpy_func=None test_grad=True rtol=0.0001 atol=0.0001"
        ),
        "check_numeric_gradient": (
            "sym location aux_states=None numeric_eps=None rtol=None atol=None "
            "grad_nodes=None use_forward_train=True ctx=None grad_stype_dict=None dtype=..."
        ),
        "check_speed": "sym location=None ctx=None N=20 grad_req=None typ='whole' **kwargs",
        "check_symbolic_backward": (
            "sym location out_grads expected rtol=None atol=None aux_states=None "
            "grad_req='write' ctx=None grad_stypes=None equal_nan=False dtype=..."
        ),
        "check_symbolic_forward": (
            "sym location expected rtol=None atol=None aux_states=None ctx=None "
            "equal_nan=False dtype=..."
        ),
        "chi_square_check": "generator buckets probs nsamples=1000000",
        "collapse_sum_like": "a shape",
        "compare_ndarray_tuple": "t1 t2 rtol=None atol=None",
        "compare_optimizer": (
            "opt1 opt2 shape dtype w_stype='default' g_stype='default' rtol=0.0001 "
            "atol=1e-05 compare_states=True ntensors=1"
        ),
        "create_2d_tensor": "rows columns dtype=...",
        "create_vector": "size dtype=...",
        "default_atols": "",
        "default_context": "",
        "default_dtype": "",
        "default_numeric_eps": "",
        "default_rtols": "",
        "discard_stderr": "",
        "download": "url fname=None dirname=None overwrite=False retries=5",
        "effective_dtype": "dat",
        "environment": "*args",
        "gen_buckets_probs_with_ppf": "ppf nbuckets",
        "get_atol": "atol=None dtype=...",
        "get_etol": "etol=None",
        "get_identity_mat": "size",
        "get_identity_mat_batch": "size",
        "get_rtol": "rtol=None dtype=...",
        "get_tolerance": "dat tol default_tol",
        "get_tols": "x y rtol atol",
        "list_gpus": "",
        "locationError": "a b index names maxError=False",
        "mean_check": "generator mu sigma nsamples=1000000",
        "new_matrix_with_real_eigvals_2d": "n",
        "new_matrix_with_real_eigvals_nd": "shape",
        "new_orthonormal_matrix_2d": "n",
        "new_sym_matrix_with_real_eigvals_2d": "n",
        "new_sym_matrix_with_real_eigvals_nd": "shape",
        "np_reduce": "dat axis keepdims numpy_reduce_func",
        "numeric_grad": (
            "executor location aux_states=None eps=0.0001 use_forward_train=True dtype=..."
        ),
        "rand_coord_2d": "x_low x_high y_low y_high",
        "rand_ndarray": (
            "shape stype='default' density=None dtype=None modifier_func=None "
            "shuffle_csr_indices=False distribution=None ctx=None"
        ),
        "rand_shape_2d": "dim0=10 dim1=10 allow_zero_size=False",
        "rand_shape_3d": "dim0=10 dim1=10 dim2=10 allow_zero_size=False",
        "rand_shape_nd": "num_dim dim=10 allow_zero_size=False",
        "random_arrays": "*shapes",
        "random_sample": "population k",
        "random_uniform_arrays": "*shapes **kwargs",
        "retry": "n",
        "same": "a b",
        "same_array": "array1 array2",
        "same_symbol_structure": "sym1 sym2",
        "set_default_context": "ctx",
        "simple_forward": "sym ctx=None is_train=False **inputs",
        "var_check": "generator sigma nsamples=1000000",
        "verify_generator": (
            "generator buckets probs nsamples=1000000 nrepeat=5 success_rate=0.2 alpha=0.05"
        ),
    },
    "util": {
        "get_cuda_compute_capability": "ctx",
        "get_gpu_count": "",
        "get_gpu_memory": "gpu_dev_id",
        "getenv": "name",
        "is_np_array": "",
        "is_np_shape": "",
        "np_array": "active=True",
        "np_shape": "active=True",
        "reset_np": "",
        "set_module": "module",
        "set_np": "shape=True array=True",
        "set_np_shape": "active",
        "setenv": "name value",
        "use_np": "func",
        "use_np_array": "func",
        "use_np_shape": "func",
    },
    "runtime": {
        "feature_list": "",
    },
    "engine": {
        "bulk": "size",
        "set_bulk_size": "size",
    },
    "libinfo": {
        "find_lib_path": "prefix='libmxnet'",
    },
    "log": {
        "getLogger": "name=None filename=None filemode=None level=30",
        "get_logger": "name=None filename=None filemode=None level=30",
    },
    "registry": {
        "get_alias_func": "base_class nickname",
        "get_create_func": "base_class nickname",
        "get_register_func": "base_class nickname",
        "get_registry": "base_class",
    },
    "operator": {
        "get_all_registered_operators": "",
        "get_operator_arguments": "op_name",
        "register": "reg_name",
    },
    "optimizer": {
        "create": "name **kwargs",
        "get_updater": "optimizer",
        "register": "klass",
    },
    "metric": {
        "check_label_shapes": "labels preds wrap=False shape=False",
        "create": "metric *args **kwargs",
        "np": "numpy_feval name=None allow_extra_outputs=False",
    },
    "context": {
        "cpu": "device_id=0",
        "cpu_pinned": "device_id=0",
        "current_context": "",
        "gpu": "device_id=0",
        "gpu_memory_info": "device_id=0",
        "num_gpus": "",
    },
    "image": {
        "CreateAugmenter": (
            "data_shape resize=0 rand_crop=False rand_resize=False rand_mirror=False mean=None "
            "std=None brightness=0 contrast=0 saturation=0 hue=0 pca_noise=0 rand_gray=0 "
            "inter_method=2"
        ),
        "CreateDetAugmenter": (
            "data_shape resize=0 rand_crop=0 rand_pad=0 rand_gray=0 rand_mirror=False mean=None "
            "std=None brightness=0 contrast=0 saturation=0 pca_noise=0 hue=0 inter_method=2 "
            "min_object_covered=0.1 aspect_ratio_range=(0.75,1.33) area_range=(0.05,3.0) "
            "min_eject_coverage=0.3 max_attempts=50 pad_val=(127,127,127)"
        ),
        "CreateMultiRandCropAugmenter": (
            "min_object_covered=0.1 aspect_ratio_range=(0.75,1.33) area_range=(0.05,1.0) "
            "min_eject_coverage=0.3 max_attempts=50 skip_prob=0"
        ),
        "center_crop": "src size interp=2",
        "color_normalize": "src mean std=None",
        "fixed_crop": "src x0 y0 w h size=None interp=2",
        "imrotate": "src rotation_degrees zoom_in=False zoom_out=False",
        "random_crop": "src size interp=2",
        "random_rotate": "src angle_limits zoom_in=False zoom_out=False",
        "random_size_crop": "src size area ratio interp=2 **kwargs",
        "resize_short": "src size interp=2",
        "scale_down": "src_size size",
    },
    "recordio": {
        "pack": "header s",
        "pack_img": "header img quality=95 img_fmt='.jpg'",
        "unpack": "s",
        "unpack_img": "s iscolor=-1",
    },
    "gluon.data.dataloader": {
        "default_batchify_fn": "data",
        "default_mp_batchify_fn": "data",
    },
    "base": {
        "data_dir": "",
        "py_str": "x",
    },
    "gluon.utils": {
        "check_sha1": "filename sha1_hash",
        "clip_global_norm": "arrays max_norm check_isfinite=True",
        "download": "url path=None overwrite=False sha1_hash=None retries=5 verify_ssl=True",
        "split_and_load": "data ctx_list batch_axis=0 even_split=True",
        "split_data": "data num_slice batch_axis=0 even_split=True",
    },
}

NAMES: dict[str, str] = {
    "image": """
        Augmenter BrightnessJitterAug CastAug CenterCropAug ColorJitterAug ColorNormalizeAug
        ContrastJitterAug DetAugmenter DetBorrowAug DetHorizontalFlipAug DetRandomCropAug
        DetRandomPadAug DetRandomSelectAug ForceResizeAug HorizontalFlipAug HueJitterAug
        ImageDetIter ImageIter LightingAug RandomCropAug RandomGrayAug RandomOrderAug
        RandomSizedCropAug ResizeAug SaturationJitterAug SequentialAug _get_interp_method
        copyMakeBorder imdecode imread imresize
    """,
    "recordio": """
        IRHeader MXIndexedRecordIO MXRecordIO
    """,
    "io": """
        CSVIter DataBatch DataDesc DataIter ImageDetRecordIter ImageRecordIter ImageRecordIter_v1
        ImageRecordUInt8Iter ImageRecordUInt8Iter_v1 LibSVMIter MNISTIter MXDataIter NDArrayIter
        PrefetchingIter ResizeIter
    """,
    "gluon.data": """
        ArrayDataset BatchSampler DataLoader Dataset FilterSampler RandomSampler RecordFileDataset
        Sampler SequentialSampler SimpleDataset vision
    """,
    "gluon.data.dataloader": """
        DataLoader ForkingPickler _MultiWorkerIter _as_in_context
    """,
    "gluon.data.vision": """
        CIFAR10 CIFAR100 FashionMNIST ImageFolderDataset ImageListDataset ImageRecordDataset MNIST
        datasets transforms
    """,
    "gluon.data.vision.transforms": """
        Cast CenterCrop Compose CropResize HybridCompose HybridRandomApply Normalize RandomApply
        RandomBrightness RandomColorJitter RandomContrast RandomCrop RandomFlipLeftRight
        RandomFlipTopBottom RandomGray RandomHue RandomLighting RandomResizedCrop RandomRotation
        RandomSaturation Resize Rotate ToTensor
    """,
    "gluon.contrib.data": """
        IntervalSampler text vision
    """,
    "test_utils": """
        Context DummyIter Features OrderedDict Symbol array bz2 contextmanager current_context
        errno get_cuda_compute_capability getenv gzip json logging mx np npt numbers os platform
        rnd setenv struct sys time traceback use_np zipfile
    """,
    "base": """
        MXNetError NotImplementedForSymbol _as_list integer_types numeric_types string_types
    """,
    "runtime": """
        Feature Features
    """,
    "log": """
        CRITICAL DEBUG ERROR INFO NOTSET WARNING
    """,
    "operator": """
        CustomOp CustomOpProp NDArrayOp NumpyOp OperatorArguments PythonOp
    """,
    "attribute": """
        AttrScope
    """,
    "name": """
        NameManager Prefix
    """,
    "optimizer": """
        AdaDelta AdaGrad Adam Adamax DCASGD FTML Ftrl LAMB LARS LBSGD NAG Nadam Optimizer
        RMSProp SGD SGLD Signum Test Updater ccSGD
    """,
    "metric": """
        Accuracy Caffe CompositeEvalMetric CrossEntropy CustomMetric EvalMetric F1 Loss MAE MCC
        MSE NegativeLogLikelihood PCC PearsonCorrelation Perplexity RMSE TopKAccuracy Torch
    """,
    "context": """
        Context
    """,
}
