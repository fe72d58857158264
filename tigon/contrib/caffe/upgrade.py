"""Older generations of Caffe's messages in the words of the present one: layers of the version V1
(`layers`, types as words of an enum, rates of arrays as lists), of V0 (`layers { layer { ... } }`),
inputs of a network beside its layers, types of solvers as an enum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tigon.contrib.caffe.fields import SCHEMA
from tigon.readers.message import Message

LAYER = SCHEMA["LayerParameter"]

TYPES: Mapping[str, str] = {
    "ABSVAL": "AbsVal", "ACCURACY": "Accuracy", "ARGMAX": "ArgMax", "BNLL": "BNLL",
    "CONCAT": "Concat", "CONTRASTIVE_LOSS": "ContrastiveLoss", "CONVOLUTION": "Convolution",
    "DATA": "Data", "DECONVOLUTION": "Deconvolution", "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData", "EUCLIDEAN_LOSS": "EuclideanLoss", "ELTWISE": "Eltwise",
    "EXP": "Exp", "FLATTEN": "Flatten", "HDF5_DATA": "HDF5Data", "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss", "IM2COL": "Im2col", "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss", "INNER_PRODUCT": "InnerProduct", "LRN": "LRN",
    "MEMORY_DATA": "MemoryData", "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN", "POOLING": "Pooling", "POWER": "Power", "RELU": "ReLU", "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss", "SILENCE": "Silence",
    "SOFTMAX": "Softmax", "SOFTMAX_LOSS": "SoftmaxWithLoss", "SPLIT": "Split", "SLICE": "Slice",
    "TANH": "TanH", "WINDOW_DATA": "WindowData", "THRESHOLD": "Threshold",
}  # fmt: skip
"""What types of V1 are called now."""

_WEIGHTS = "num_output biasterm:bias_term weight_filler bias_filler"
_WINDOWS = "pad kernelsize:kernel_size stride"
_READS = "source batchsize:batch_size rand_skip"
OLDEST: Mapping[str, tuple[str, str, str]] = {
    "accuracy": ("Accuracy", "", ""),
    "bnll": ("BNLL", "", ""),
    "concat": ("Concat", "concat_param", "concat_dim"),
    "conv": ("Convolution", "convolution_param", f"{_WEIGHTS} {_WINDOWS} group"),
    "data": ("Data", "data_param", _READS),
    "dropout": ("Dropout", "dropout_param", "dropout_ratio"),
    "euclidean_loss": ("EuclideanLoss", "", ""),
    "flatten": ("Flatten", "", ""),
    "hdf5_data": ("HDF5Data", "hdf5_data_param", "source batchsize:batch_size"),
    "hdf5_output": ("HDF5Output", "", ""),
    "im2col": ("Im2col", "", ""),
    "images": (
        "ImageData",
        "image_data_param",
        f"{_READS} shuffle_images:shuffle new_height new_width",
    ),
    "infogain_loss": ("InfogainLoss", "infogain_loss_param", "source"),
    "innerproduct": ("InnerProduct", "inner_product_param", _WEIGHTS),
    "lrn": ("LRN", "lrn_param", "local_size alpha beta k"),
    "multinomial_logistic_loss": ("MultinomialLogisticLoss", "", ""),
    "pool": ("Pooling", "pooling_param", f"pool {_WINDOWS}"),
    "relu": ("ReLU", "", ""),
    "sigmoid": ("Sigmoid", "", ""),
    "softmax": ("Softmax", "", ""),
    "softmax_loss": ("SoftmaxWithLoss", "", ""),
    "split": ("Split", "", ""),
    "tanh": ("TanH", "", ""),
    "window_data": ("WindowData", "", ""),
}
"""What types of V0 are called now, the message of their settings, and these: where the name has
changed, behind a colon."""
_TRANSFORMS = "scale meanfile:mean_file cropsize:crop_size mirror"


def _renamed(message: Message, words: str, kind: Any) -> Message:
    """Settings of another message, under their present names; those that may be several by now
    become lists."""
    given, found = message.all_values(), {}
    for word in words.split():
        old, _, new = word.partition(":")
        field = kind.by_name[new or old]
        if old in given:
            is_one = field.is_repeated and not isinstance(given[old], list)
            found[field.name] = [given[old]] if is_one else given[old]
    return message.with_values(found, kind)


def _specs(message: Message) -> list[Message]:
    """What V0 and V1 say of the arrays of a layer, array by array."""
    given = message.all_values()
    lists = {
        "name": list(given.get("param", [])),
        "share_mode": list(given.get("blob_share_mode", [])),
        "lr_mult": message.blobs_lr,
        "decay_mult": message.weight_decay,
    }
    kind = LAYER.by_name["param"].kind
    count = max(map(len, lists.values()))
    return [
        message.with_values(
            {field: values[place] for field, values in lists.items() if place < len(values)}, kind
        )
        for place in range(count)
    ]


def _from_v1(message: Message) -> Message:
    given = message.all_values()
    if "layer" in given:
        return _from_v0(message, given["layer"])
    word = message.type
    message.check(word != "NONE", "expected a type of layer", "type")
    dropped = ("type", "param", "blob_share_mode", "blobs_lr", "weight_decay")
    values = {name: value for name, value in given.items() if name not in dropped}
    values["type"] = TYPES[word]
    specs = _specs(message)
    return message.with_values(values | ({"param": specs} if specs else {}), LAYER)


def _from_v0(outer: Message, inner: Message) -> Message:
    given = outer.all_values()
    values: dict[str, Any] = {
        name: given[name] for name in ("bottom", "top", "include", "exclude") if name in given
    }
    values |= {name: v for name, v in inner.all_values().items() if name in ("name", "blobs")}
    if inner.type == "padding":
        return outer.with_values(
            values | {"type": "padding", "layer": inner}, LAYER
        )  # taken out below
    known = OLDEST.get(inner.type)
    if known is None:
        inner.fail(f"expected one of {', '.join(OLDEST)}; given '{inner.type:.60}'", "type")
    values["type"], param, words = known
    if param:
        values[param] = _renamed(inner, words, LAYER.by_name[param].kind)
    if values["type"] in ("Data", "ImageData"):
        values["transform_param"] = _renamed(inner, _TRANSFORMS, _transform_kind())
    specs = _specs(inner)
    return outer.with_values(values | ({"param": specs} if specs else {}), LAYER)


def _transform_kind() -> Any:
    return LAYER.by_name["transform_param"].kind


def _without_padding(layers: list[Message]) -> list[Message]:
    """Layers that pad, of V0, become settings of those that follow."""
    padded: dict[str, tuple[str, int]] = {}
    found = []
    for layer in layers:
        if layer.type == "padding":
            inner = layer.all_values()["layer"]
            layer.check(
                len(layer.top) == len(layer.bottom) == 1, "expected one bottom and one top", "top"
            )
            padded[layer.top[0]] = (layer.bottom[0], inner.pad)
            continue
        for name in layer.bottom:
            if name in padded:
                layer = _padded(layer, *padded[name])
        found.append(layer)
    return found


def _padded(layer: Message, bottom: str, pad: int) -> Message:
    param = {"Convolution": "convolution_param", "Pooling": "pooling_param"}.get(layer.type)
    layer.check(
        param is not None and len(layer.bottom) == 1,
        f"expected a convolution or pooling behind a padding layer; given {layer.type}",
        "bottom",
    )
    assert param is not None
    own = getattr(layer, param)
    settings = own.with_values(own.all_values() | {"pad": [pad] if param[0] == "c" else pad})
    return layer.with_values(layer.all_values() | {"bottom": [bottom], param: settings})


def _with_transform(layer: Message) -> Message:
    """What data layers of V1 said of their images themselves: it counts before `transform_param`.
    In a present layer these fields mean nothing."""
    param = {"Data": "data_param", "ImageData": "image_data_param"}.get(layer.type)
    if param is None or not layer.has(param):
        return layer
    old = _renamed(getattr(layer, param), "scale mean_file crop_size mirror", _transform_kind())
    if not old.all_values():
        return layer
    transform = layer.transform_param
    merged = transform.with_values(transform.all_values() | old.all_values())
    return layer.with_values(layer.all_values() | {"transform_param": merged})


def _inputs(net: Message) -> list[Message]:
    """The inputs that a network declares beside its layers, as a layer."""
    names, shapes, extents = net.input, net.input_shape, net.input_dim
    if not names:
        return []
    if not shapes and extents:
        net.check(
            len(extents) == 4 * len(names),
            f"expected four numbers for each of {len(names)} inputs; given {len(extents)}",
            "input_dim",
        )
        kind = SCHEMA["BlobShape"]
        shapes = [
            net.with_values({"dim": extents[4 * place : 4 * place + 4]}, kind)
            for place in range(len(names))
        ]
    net.check(
        len(shapes) in (0, len(names)),
        f"expected a shape for each of {len(names)} inputs; given {len(shapes)}",
        "input_shape",
    )
    kind = LAYER.by_name["input_param"].kind
    values = {
        "name": "input",
        "type": "Input",
        "top": list(names),
        "input_param": net.with_values({"shape": shapes} if shapes else {}, kind),
    }
    return [net.with_values(values, LAYER)]


def layers_of(net: Message) -> list[Message]:
    """The layers of a `NetParameter` of any generation, each as a `LayerParameter`.

    Raises `TigonError` with the place in the file where generations are mixed.
    """
    net.check(
        not (net.has("layer") and net.has("layers")),
        "expected layers of one generation; given both 'layer' and 'layers'",
        "layers",
    )
    layers = list(net.layer)
    if net.has("layers"):
        layers = [_with_transform(_from_v1(layer)) for layer in net.layers]
        layers = _without_padding(layers)
    return _inputs(net) + layers


SOLVERS: Mapping[str, str] = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}


def solver_type(solver: Message) -> str:
    """The type of a solver, named by a string or by a word of the older enum."""
    solver.check(
        not (solver.has("type") and solver.has("solver_type")),
        "expected one of type and solver_type; given both",
        "solver_type",
    )
    if solver.has("solver_type"):
        return SOLVERS[solver.solver_type]
    found: str = solver.type
    return found
