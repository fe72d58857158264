"""The arguments of MXNet 1.9.1's classes for training, in its order, with its defaults. What
follows a `|` may be given by name alone; an argument without `=` must be given."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import gluon, nd

COMMON = (
    "rescale_grad=1.0 param_idx2name=None wd=0.0 clip_gradient=None learning_rate=None "
    "lr_scheduler=None sym=None begin_num_update=0 multi_precision=False param_dict=None"
)
WARMUP = "warmup_steps=0 warmup_begin_lr=0 warmup_mode='linear'"
NAMES = "output_names=None label_names=None"
OF_BLOCKS = "prefix=None params=None"
OF_NORMS = "beta_initializer='zeros' gamma_initializer='ones'"
OF_CONVOLUTIONS = (
    "activation=None use_bias=True weight_initializer=None bias_initializer='zeros' "
    f"in_channels=0 | {OF_BLOCKS}"
)
OF_RECURRENT = (
    "i2h_weight_initializer=None h2h_weight_initializer=None i2h_bias_initializer='zeros' "
    "h2h_bias_initializer='zeros'"
)
LAYOUTS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}
STATISTICS = (
    "momentum=0.9 epsilon=1e-5 center=True scale=True use_global_stats=False "
    "beta_initializer='zeros' gamma_initializer='ones' running_mean_initializer='zeros' "
    "running_variance_initializer='ones'"
)
TABLE = {
    "optimizer": {
        "SGD": f"momentum=0.0 lazy_update=True | {COMMON}",
        "NAG": f"momentum=0.0 | {COMMON}",
        "Signum": f"learning_rate=0.01 momentum=0.9 wd_lh=0.0 | {COMMON}",
        "FTML": f"beta1=0.6 beta2=0.999 epsilon=1e-8 | {COMMON}",
        "LARS": "momentum=0.0 lazy_update=True eta=0.001 eps=0 momentum_correction=True | "
        f"{COMMON}",
        "LBSGD": f"momentum=0.0 multi_precision=False | warmup_strategy='linear' warmup_epochs=5 "
        f"batch_scale=1 updates_per_epoch=32 begin_epoch=0 num_epochs=60 {COMMON}",
        "LAMB": "learning_rate=0.001 beta1=0.9 beta2=0.999 epsilon=1e-6 lower_bound=None "
        f"upper_bound=None bias_correction=True | {COMMON}",
        "DCASGD": f"momentum=0.0 lamda=0.04 | {COMMON}",
        "SGLD": f"| {COMMON}",
        "Adam": "learning_rate=0.001 beta1=0.9 beta2=0.999 epsilon=1e-8 lazy_update=True | "
        f"{COMMON}",
        "AdaGrad": f"eps=1e-7 | {COMMON}",
        "RMSProp": "learning_rate=0.001 gamma1=0.9 gamma2=0.9 epsilon=1e-8 centered=False "
        f"clip_weights=None | {COMMON}",
        "AdaDelta": f"rho=0.9 epsilon=1e-5 | {COMMON}",
        "Ftrl": f"lamda1=0.01 learning_rate=0.1 beta=1 | {COMMON}",
        "Adamax": f"learning_rate=0.002 beta1=0.9 beta2=0.999 | {COMMON}",
        "Nadam": "learning_rate=0.001 beta1=0.9 beta2=0.999 epsilon=1e-8 schedule_decay=0.004 | "
        f"{COMMON}",
    },
    "initializer": {
        "Zero": "",
        "One": "",
        "Constant": "value",
        "Uniform": "scale=0.07",
        "Normal": "sigma=0.01",
        "Orthogonal": "scale=1.414 rand_type='uniform'",
        "Xavier": "rnd_type='uniform' factor_type='avg' magnitude=3",
        "MSRAPrelu": "factor_type='avg' slope=0.25",
        "Bilinear": "",
        "LSTMBias": "forget_bias=1.0",
        "Load": "param default_init=None verbose=False",
        "Mixed": "patterns initializers",
        "InitDesc": "name attrs=None global_init=None",
    },
    "metric": {
        "Accuracy": f"axis=1 name='accuracy' | {NAMES}",
        "TopKAccuracy": f"top_k=1 name='top_k_accuracy' | {NAMES}",
        "F1": f"name='f1' | {NAMES} average='macro'",
        "MCC": f"name='mcc' | {NAMES} average='macro'",
        "Perplexity": f"ignore_label axis=-1 name='perplexity' | {NAMES}",
        "MAE": f"name='mae' | {NAMES}",
        "MSE": f"name='mse' | {NAMES}",
        "RMSE": f"name='rmse' | {NAMES}",
        "CrossEntropy": f"eps=1e-12 name='cross-entropy' | {NAMES}",
        "NegativeLogLikelihood": f"eps=1e-12 name='nll-loss' | {NAMES}",
        "PearsonCorrelation": f"name='pearsonr' | {NAMES} average='macro'",
        "Loss": f"name='loss' | {NAMES}",
        "CustomMetric": f"feval name=None allow_extra_outputs=False | {NAMES}",
        "CompositeEvalMetric": f"metrics=None name='composite' | {NAMES}",
    },
    "lr_scheduler": {
        "LRScheduler": f"base_lr=0.01 {WARMUP}",
        "FactorScheduler": f"step factor=1 stop_factor_lr=1e-8 base_lr=0.01 {WARMUP}",
        "MultiFactorScheduler": f"step factor=1 base_lr=0.01 {WARMUP}",
        "PolyScheduler": f"max_update base_lr=0.01 pwr=2 final_lr=0 {WARMUP}",
        "CosineScheduler": f"max_update base_lr=0.01 final_lr=0 {WARMUP}",
    },
    "io": {
        "NDArrayIter": "data label=None batch_size=1 shuffle=False last_batch_handle='pad' "
        "data_name='data' label_name='softmax_label'",
        "DataBatch": "data label=None pad=None index=None bucket_key=None provide_data=None "
        "provide_label=None",
        "DataDesc": "name shape dtype=np.float32 layout='NCHW'",
        "DataIter": "batch_size=0",
    },
    "gluon.loss": {
        "L2Loss": "weight=1.0 batch_axis=0",
        "L1Loss": "weight=None batch_axis=0",
        "SigmoidBinaryCrossEntropyLoss": "from_sigmoid=False weight=None batch_axis=0",
        "SoftmaxCrossEntropyLoss": "axis=-1 sparse_label=True from_logits=False weight=None "
        "batch_axis=0",
        "KLDivLoss": "from_logits=True axis=-1 weight=None batch_axis=0",
        "HuberLoss": "rho=1 weight=None batch_axis=0",
        "HingeLoss": "margin=1 weight=None batch_axis=0",
        "SquaredHingeLoss": "margin=1 weight=None batch_axis=0",
        "LogisticLoss": "weight=None batch_axis=0 label_format='signed'",
        "TripletLoss": "margin=1 weight=None batch_axis=0",
        "PoissonNLLLoss": "weight=None from_logits=True batch_axis=0 compute_full=False",
        "CosineEmbeddingLoss": "weight=None batch_axis=0 margin=0",
        "CTCLoss": "layout='NTC' label_layout='NT' weight=None",
        "SDMLLoss": "smoothing_parameter=0.3 weight=1.0 batch_axis=0",
    },
    "gluon.nn": {
        "Dense": "units activation=None use_bias=True flatten=True dtype='float32' "
        f"weight_initializer=None bias_initializer='zeros' in_units=0 | {OF_BLOCKS}",
        "Dropout": f"rate axes=() | {OF_BLOCKS}",
        "Embedding": "input_dim output_dim dtype='float32' weight_initializer=None "
        f"sparse_grad=False | {OF_BLOCKS}",
        "BatchNorm": "axis=1 momentum=0.9 epsilon=1e-5 center=True scale=True "
        f"use_global_stats=False {OF_NORMS} running_mean_initializer='zeros' "
        f"running_variance_initializer='ones' in_channels=0 | {OF_BLOCKS}",
        "InstanceNorm": f"axis=1 epsilon=1e-5 center=True scale=False {OF_NORMS} in_channels=0 "
        f"| {OF_BLOCKS}",
        "LayerNorm": f"axis=-1 epsilon=1e-5 center=True scale=True {OF_NORMS} in_channels=0 "
        f"| {OF_BLOCKS}",
        "GroupNorm": f"num_groups=1 epsilon=1e-5 center=True scale=True {OF_NORMS} | {OF_BLOCKS}",
        "Conv1D": "channels kernel_size strides=1 padding=0 dilation=1 groups=1 layout='NCW' "
        f"{OF_CONVOLUTIONS}",
        "Conv2D": "channels kernel_size strides=(1,1) padding=(0,0) dilation=(1,1) groups=1 "
        "layout='NCHW' "
        f"{OF_CONVOLUTIONS}",
        "Conv3D": "channels kernel_size strides=(1,1,1) padding=(0,0,0) dilation=(1,1,1) "
        "groups=1 layout='NCDHW' "
        f"{OF_CONVOLUTIONS}",
        "Conv2DTranspose": "channels kernel_size strides=(1,1) padding=(0,0) output_padding=(0,0) "
        "dilation=(1,1) "
        f"groups=1 layout='NCHW' {OF_CONVOLUTIONS}",
        **{
            f"MaxPool{ndim}D": f"pool_size=2 strides=None padding=0 layout='{layout}' "
            "ceil_mode=False"
            for ndim, layout in LAYOUTS.items()
        },
        **{
            f"AvgPool{ndim}D": "pool_size=2 strides=None padding=0 ceil_mode=False "
            f"layout='{layout}' count_include_pad=True"
            for ndim, layout in LAYOUTS.items()
        },
        **{
            f"Global{kind}Pool{ndim}D": f"layout='{layout}'"
            for kind in ("Max", "Avg")
            for ndim, layout in LAYOUTS.items()
        },
        "Activation": "activation",
        "LeakyReLU": "alpha",
        "ELU": "alpha=1.0",
        "Swish": "beta=1.0",
        "HybridLambda": "function",
        "Conv1DTranspose": "channels kernel_size strides=1 padding=0 output_padding=0 dilation=1 "
        "groups=1 layout='NCW' activation=None use_bias=True weight_initializer=None "
        "bias_initializer='zeros' in_channels=0",
        "Conv3DTranspose": "channels kernel_size strides=(1,1,1) padding=(0,0,0) "
        "output_padding=(0,0,0) dilation=(1,1,1) groups=1 layout='NCDHW' activation=None "
        "use_bias=True weight_initializer=None bias_initializer='zeros' in_channels=0",
        "ReflectionPad2D": "padding=0",
        "BatchNormReLU": f"axis=1 {STATISTICS} in_channels=0",
    },
    "gluon.rnn": {
        "RNN": "hidden_size num_layers=1 activation='relu' layout='TNC' dropout=0 "
        f"bidirectional=False {OF_RECURRENT} input_size=0 dtype='float32' | "
        "use_sequence_length=False",
        "LSTM": "hidden_size num_layers=1 layout='TNC' dropout=0 bidirectional=False input_size=0 "
        f"{OF_RECURRENT} projection_size=None h2r_weight_initializer=None state_clip_min=None "
        "state_clip_max=None state_clip_nan=False dtype='float32' | use_sequence_length=False",
        "GRU": "hidden_size num_layers=1 layout='TNC' dropout=0 bidirectional=False input_size=0 "
        f"{OF_RECURRENT} dtype='float32' | use_sequence_length=False",
    },
    "gluon.contrib.cnn": {
        name: "channels kernel_size=(1,1) strides=(1,1) padding=(0,0) dilation=(1,1) groups=1 "
        "num_deformable_group=1 layout='NCHW' use_bias=True in_channels=0 activation=None "
        "weight_initializer=None bias_initializer='zeros' offset_weight_initializer='zeros' "
        f"offset_bias_initializer='zeros' offset_use_bias=True op_name='{name}' adj=None"
        for name in ("DeformableConvolution", "ModulatedDeformableConvolution")
    },
    "gluon.contrib.nn": {
        "Concurrent": "axis=-1",
        "HybridConcurrent": "axis=-1",
        "SparseEmbedding": "input_dim output_dim dtype='float32' weight_initializer=None",
        "SyncBatchNorm": f"in_channels=0 num_devices=None {STATISTICS}",
        "PixelShuffle1D": "factor",
        "PixelShuffle2D": "factor",
        "PixelShuffle3D": "factor",
    },
    "gluon.model_zoo.vision": {
        "DenseNet": "num_init_features growth_rate block_config bn_size=4 dropout=0 classes=1000",
        "Inception3": "classes=1000",
    },
    "gluon": {
        "Trainer": "params optimizer optimizer_params=None kvstore='device' "
        "compression_params=None update_on_kvstore=None",
        "Parameter": "name grad_req='write' shape=None dtype='float32' lr_mult=1.0 wd_mult=1.0 "
        "init=None allow_deferred_init=False differentiable=True stype='default' "
        "grad_stype='default'",
        "Constant": "name value",
        "ParameterDict": "prefix='' shared=None",
    },
    "gluon.data": {
        "DataLoader": "dataset batch_size=None shuffle=False sampler=None last_batch=None "
        "batch_sampler=None batchify_fn=None num_workers=0 pin_memory=False pin_device_id=0 "
        "prefetch=None | thread_pool timeout=120",
        "BatchSampler": "sampler batch_size last_batch='keep'",
        "RandomSampler": "length",
        "SequentialSampler": "length start=0",
        "FilterSampler": "fn dataset",
    },
}
ROWS = [(module, name, row) for module, rows in TABLE.items() for name, row in rows.items()]


def found(module: str, name: str) -> Any:
    place: Any = mx
    for part in module.split("."):
        place = getattr(place, part)
    return getattr(place, name)


def default_of(module: str, kind: Any, parameter: inspect.Parameter) -> Any:
    if module == "optimizer" and parameter.name == "learning_rate" and parameter.default is None:
        return kind.learning_rate_default
    return parameter.default


@pytest.mark.parametrize(("module", "name", "row"), ROWS, ids=[f"{m}.{n}" for m, n, _ in ROWS])
def test_arguments_and_defaults(module: str, name: str, row: str) -> None:
    kind = found(module, name)
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    by_position, _, by_name = row.partition("|")
    places = [word.partition("=")[0] for word in by_position.split()]
    order = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert order[: len(places)] == places
    for word in (by_position + by_name).split():
        argument, given, default = word.partition("=")
        assert argument in parameters
        if not given:
            continue
        if (name, argument) in MEANS_THE_SAME:
            continue
        ours = default_of(module, kind, parameters[argument])
        wanted = eval(default)
        if argument == "learning_rate" and wanted is None:
            wanted = ours  # of the base class alone; each class has its own
        assert ours == wanted and (ours is None) == (wanted is None), argument


MEANS_THE_SAME = {
    ("RMSProp", "clip_weights"),
    ("CompositeEvalMetric", "metrics"),
    ("DeformableConvolution", "op_name"),
    ("ModulatedDeformableConvolution", "op_name"),
}
"""Another value that stands for nothing."""


@pytest.mark.parametrize("name", [n for n, row in TABLE["optimizer"].items() if "|" in row[1:]])
def test_what_is_given_by_position_is_what_it_is_given_for(name: str) -> None:
    kind = getattr(mx.optimizer, name)
    words = TABLE["optimizer"][name].partition("|")[0].split()
    for count in range(1, len(words) + 1):
        names = [word.partition("=")[0] for word in words[:count]]
        values = [(n + 1) / 16 for n in range(count)]
        optimizer = kind(*values)
        for argument, value in zip(names, values, strict=True):
            if argument == "lazy_update":
                assert optimizer.lazy_update
                continue
            held = {"learning_rate": "lr"}.get(argument, argument)
            assert getattr(optimizer, held) == value
    if name != "LBSGD":
        with pytest.raises(mx.TigonError, match="is given twice"):
            kind(0.5, **{words[0].partition("=")[0]: 0.5})
        with pytest.raises(mx.TigonError, match="arguments by position"):
            kind(*[0.5] * 12)


def test_a_correlation_of_all_numbers_or_the_mean_over_batches() -> None:
    random = np.random.default_rng(5)
    batches = [random.normal(size=(2, count, 3)) + 100 for count in (2, 5, 1, 9)]
    every = np.concatenate(batches, axis=1).reshape(2, -1)
    one, several = mx.metric.PearsonCorrelation(average="micro"), mx.metric.PearsonCorrelation()
    for _ in range(2):
        for metric in (one, several):
            metric.reset()
            assert np.isnan(metric.get()[1])
            for label, pred in batches:
                metric.update([nd.array(label, dtype="float64")], [nd.array(pred, dtype="float64")])
        assert one.get()[1] == pytest.approx(np.corrcoef(every)[0, 1], rel=1e-9)
        means = [np.corrcoef(*batch.reshape(2, -1))[0, 1] for batch in batches]
        assert several.get()[1] == pytest.approx(np.mean(means), rel=1e-9)
    with pytest.raises(mx.TigonError, match="average: expected 'macro' or 'micro'"):
        mx.metric.PearsonCorrelation(average="mean")


def test_gluon_has_no_other_loss() -> None:
    kinds = {
        k for k in vars(gluon.loss).values() if inspect.isclass(k) and k.__name__[-4:] == "Loss"
    }
    assert {kind.__name__ for kind in kinds} - {"Loss"} == set(TABLE["gluon.loss"])
