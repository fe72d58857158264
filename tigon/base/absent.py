"""What programs written for MXNet ask for and is not there yet: one table, for the errors and for
`docs/missing.md`. What lands is taken out of it; a test sees to that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

PAGE = "docs/missing.md"


class Absent(NamedTuple):
    """Names that a module or a class of MXNet has, and what to use in their place."""

    owner: str
    names: str
    instead: str


_OPERATORS = (
    ("", "cumprod", "exp(cumsum(log(x))) where x is positive"),
    (
        "contrib",
        "RROIAlign PSROIPooling DeformablePSROIPooling mrcnn_mask_target",
        "contrib.ROIAlign(position_sensitive=...) and contrib.box_iou",
    ),
    (
        "contrib",
        "quantize quantize_v2 quantize_asym dequantize requantize calibrate_entropy quantized_act "
        "quantized_batch_norm quantized_concat quantized_conv quantized_elemwise_add "
        "quantized_elemwise_mul quantized_embedding quantized_flatten quantized_fully_connected "
        "quantized_pooling quantized_rnn",
        "float32",
    ),
    (
        "contrib",
        "dgl_adjacency dgl_csr_neighbor_non_uniform_sample dgl_csr_neighbor_uniform_sample "
        "dgl_graph_compact dgl_subgraph",
        "dense arrays: take, one_hot and dot",
    ),
    ("contrib", "SparseEmbedding", "Embedding(sparse_grad=True)"),
    ("contrib", "SoftmaxOHEMOutput", "SoftmaxOutput(use_ignore=True) with labels of your choice"),
    ("contrib", "fft ifft", "numpy.fft of asnumpy()"),
    ("contrib", "group_adagrad_update", "mx.optimizer.AdaGrad"),
    ("contrib", "rand_zipfian", "numpy.random.zipf"),
    ("contrib", "count_sketch hawkesll getnnz edge_id", "operators, or mx.operator.CustomOp"),
    (
        "image",
        "random_crop random_resized_crop random_hue random_color_jitter",
        "image.crop and arithmetic on numbers of random",
    ),
)
"""Missing in nd and in sym: the group, the names, what to use."""

TABLE: tuple[Absent, ...] = (
    Absent("tigon.rnn", "ConvRNNCell ConvLSTMCell ConvGRUCell", "gluon.contrib.rnn"),
    Absent("tigon.rnn", "rnn_unroll", "the unroll of the cell"),
    Absent("tigon", "np npx numpy numpy_extension", "nd, and numpy's functions on its arrays"),
    Absent("tigon", "torch th", "numpy's arrays, or nd.from_dlpack"),
    Absent("tigon", "executor_manager notebook misc", "gluon.Trainer and Symbol.bind"),
    Absent("tigon", "onnx", "contrib.onnx"),
    Absent("tigon.nd", "numpy numpy_extension np npx", "nd, and numpy's functions on its arrays"),
    Absent("tigon.sym", "numpy numpy_extension np npx", "sym"),
    Absent("tigon.contrib", "quantization", "float32"),
    Absent("tigon.contrib", "svrg_optimization", "libraries of their own"),
    Absent("tigon.contrib.text.embedding", "get_pretrained_file_names", "names of your files"),
    Absent("tigon.contrib", "autograd io", "mx.autograd and mx.io"),
    Absent("tigon", "library rtc tvmop error", "mx.operator.CustomOp, or an operator of your own"),
    Absent("tigon.util", "np_ufunc_legal_option wrap_np_unary_func wrap_np_binary_func", "nd"),
    Absent("tigon.libinfo", "find_include_path find_conf_path", "nothing: no C interface is there"),
    Absent("tigon.base", "_LIB check_call c_array c_str c_handle_array", "nothing: no C interface"),
    Absent(
        "tigon.test_utils",
        "rand_sparse_ndarray create_sparse_array create_sparse_array_zd shuffle_csr_column_indices",
        "rand_ndarray",
    ),
    Absent(
        "tigon.test_utils",
        "get_mnist get_mnist_pkl get_mnist_ubyte get_mnist_iterator get_cifar10 get_zip_data "
        "get_bz2_data download_model get_im2rec_path",
        "files of your own: nothing is downloaded",
    ),
    Absent("tigon.test_utils", "is_cd_run is_aarch64_run has_tvm_ops is_op_runnable", "mx.runtime"),
    Absent("tigon.operator", "NumpyOp NDArrayOp PythonOp", "operator.CustomOp"),
    *(
        Absent(f"tigon.{part}.{group}".rstrip("."), names, instead)
        for part in ("nd", "sym")
        for group, names, instead in _OPERATORS
    ),
    Absent(
        "tigon.sym",
        "multi_sgd_update multi_sgd_mom_update multi_mp_sgd_update multi_mp_sgd_mom_update "
        "preloaded_multi_sgd_update preloaded_multi_sgd_mom_update preloaded_multi_mp_sgd_update "
        "preloaded_multi_mp_sgd_mom_update",
        "sgd_update and sgd_mom_update, symbol by symbol",
    ),
    Absent("tigon.sym", "reset_arrays", "zeros_like"),
    Absent("tigon.nd", "imdecode", "image.imdecode"),
    Absent("tigon.nd", "CachedOp", "HybridBlock.hybridize"),
    Absent("tigon.sym", "cast_storage sparse_retain square_sum", "dense symbols"),
    Absent("tigon.sym.sparse", "cast_storage retain add", "dense symbols: identity, take and +"),
    Absent("tigon.gluon.contrib.data", "text vision", "gluon.data of files of your own"),
    Absent("tigon.gluon.nn", "ReLU", 'nn.Activation("relu")'),
    Absent("tigon.gluon.nn", "SiLU", "nn.Swish()"),
    Absent("tigon.gluon.nn", "Sigmoid Tanh", 'nn.Activation("sigmoid"), nn.Activation("tanh")'),
    Absent("tigon.gluon.nn", "Softplus", 'nn.Activation("softrelu")'),
    Absent("tigon.gluon.nn", "Softsign", 'nn.Activation("softsign")'),
    Absent("tigon.gluon.nn", "Softmax LogSoftmax", "F.softmax and F.log_softmax"),
    Absent("tigon.gluon.nn", "Linear", "nn.Dense"),
    Absent("tigon.gluon.nn", "Conv1d Conv2d Conv3d", "nn.Conv1D, nn.Conv2D and nn.Conv3D"),
    Absent(
        "tigon.gluon.nn",
        "ConvTranspose1d ConvTranspose2d ConvTranspose3d",
        "nn.Conv1DTranspose, nn.Conv2DTranspose and nn.Conv3DTranspose",
    ),
    Absent("tigon.gluon.nn", "BatchNorm1d BatchNorm2d BatchNorm3d", "nn.BatchNorm"),
    Absent("tigon.gluon.nn", "InstanceNorm1d InstanceNorm2d InstanceNorm3d", "nn.InstanceNorm"),
    Absent("tigon.gluon.nn", "MaxPool1d MaxPool2d MaxPool3d", "nn.MaxPool1D to nn.MaxPool3D"),
    Absent("tigon.gluon.nn", "AvgPool1d AvgPool2d AvgPool3d", "nn.AvgPool1D to nn.AvgPool3D"),
    Absent(
        "tigon.gluon.nn",
        "AdaptiveAvgPool2d AdaptiveMaxPool2d",
        "nn.GlobalAvgPool2D, nn.GlobalMaxPool2D, F.contrib.AdaptiveAvgPooling2D",
    ),
    Absent("tigon.gluon.nn", "Dropout2d", "nn.Dropout(rate, axes=(2, 3))"),
    Absent("tigon.gluon.nn", "ReflectionPad2d", "nn.ReflectionPad2D"),
    Absent(
        "tigon.gluon.nn",
        "PixelShuffle PixelShuffle1D PixelShuffle2D PixelShuffle3D",
        "gluon.contrib.nn.PixelShuffle2D and its kin",
    ),
    Absent("tigon.gluon.nn", "Upsample", "F.UpSampling and F.contrib.BilinearResize2D"),
    Absent("tigon.gluon.nn", "Module", "gluon.HybridBlock"),
    Absent("tigon.gluon.nn", "ModuleList ModuleDict", "nn.HybridSequential, or register_child"),
    Absent("tigon.gluon.nn", "Parameter ParameterList", "gluon.Parameter"),
    Absent("tigon.gluon.nn", "RNN LSTM GRU", "the layers of gluon.rnn"),
    Absent("tigon.gluon.nn", "CrossEntropyLoss", "gluon.loss.SoftmaxCrossEntropyLoss"),
    Absent("tigon.gluon.nn", "MSELoss L1Loss", "gluon.loss.L2Loss (half the square) and L1Loss"),
    Absent("tigon.gluon.nn", "SyncBatchNorm", "gluon.contrib.nn.SyncBatchNorm"),
    Absent("tigon.gluon.nn", "Concatenate", "nn.Concurrent"),
    Absent("tigon.gluon.nn", "HybridConcatenate", "nn.HybridConcurrent"),
    Absent("tigon.gluon.data.dataloader", "DataLoaderV1 ConnectionWrapper Queue", "DataLoader"),
    Absent("tigon.gluon.model_zoo.model_store", "purge", "files that you delete yourself"),
    Absent("tigon.gluon.utils", "shape_is_known", "Parameter.is_shape_known"),
    Absent("tigon.gluon.model_zoo", "get_model", "model_zoo.vision.get_model"),
    Absent("tigon.optimizer", "SignSGD", "optimizer.Signum(momentum=0)"),
    Absent("tigon.optimizer", "GroupAdaGrad AdaBelief contrib", "optimizer.AdaGrad or Adam"),
    Absent("tigon.gluon.Block", "optimize_for", "hybridize"),
    Absent("tigon.sym.Symbol", "gradient", "Symbol.grad"),
    Absent("tigon.sym.Symbol", "optimize_for get_backend_symbol", "Symbol.compile"),
)

_BY_NAME: dict[tuple[str, str], Absent] = {
    (row.owner, name): row for row in TABLE for name in row.names.split()
}


def message(owner: str, name: str) -> str | None:
    """What is said of a name that is not there yet; None of a name that nobody promised."""
    row = _BY_NAME.get((owner, name))
    if row is None:
        return None
    asked = f"{owner}.{name}".replace("tigon.", "mx.", 1)
    return f"{asked} is not there yet; the nearest thing: {row.instead}; see {PAGE}"


class Missing:
    """Stands in a class for a method that is not there yet: `hasattr` says no."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        raise AttributeError(self._text)


def say_of_methods(kind: type, owner: str) -> None:
    """Let the methods that a class has not say so. `owner`: its name in the table."""
    for of, name in _BY_NAME:
        if of == owner:
            setattr(kind, name, Missing(message(of, name) or ""))


def by_owner() -> Mapping[str, list[Absent]]:
    """The rows, by module or class."""
    found: dict[str, list[Absent]] = {}
    for row in TABLE:
        found.setdefault(row.owner, []).append(row)
    return found
