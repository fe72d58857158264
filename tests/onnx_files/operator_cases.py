"""Operators whose rules differ between readers, as small models, with what ONNX Runtime makes of
them: `python -m tests.onnx_files.operator_cases` records that anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.onnx_files.models import BOOL, FLOAT, INT64, MODELS, Builder

RECORDED = Path(__file__).with_name("recorded.json")

Inputs = dict[str, np.ndarray]
CASES: dict[str, Callable[[], tuple[Any, Inputs]]] = {}


def numbers(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def case(
    name: str,
    op: str,
    inputs: dict[str, np.ndarray | None],
    outputs: int = 1,
    opset: int = 23,
    constants: dict[str, np.ndarray] | None = None,
    **attributes: Any,
) -> None:
    """A single node; `constants` are initializers, None an input that is left out."""

    def build() -> tuple[Any, Inputs]:
        b = Builder(opset)
        codes = {"f": FLOAT, "i": INT64, "b": BOOL}
        given = {key: array for key, array in inputs.items() if array is not None}
        for key, array in given.items():
            if key in (constants or {}):
                b.initializers[key] = array
            else:
                b.input(key, array.shape, codes[array.dtype.kind])
        names = [key if array is not None else "" for key, array in inputs.items()]
        results = [f"y{k}" for k in range(outputs)]
        b.node(op, names, *results, **attributes)
        return b.model(*results), {k: v for k, v in given.items() if k not in (constants or {})}

    assert name not in CASES
    CASES[name] = build


def _attention() -> None:
    q, k, v = numbers(2, 4, 3, 4), numbers(2, 2, 5, 4, seed=2), numbers(2, 2, 5, 3, seed=3)
    mask = np.tril(np.ones((3, 5), bool), 1)
    given = {"q": q, "k": k, "v": v}
    case("attention, groups of heads", "Attention", dict(given))
    case("attention, causal", "Attention", {**given, "m": None}, is_causal=1)
    case("attention, a mask of bools", "Attention", {**given, "m": mask})
    added = numbers(2, 1, 3, 5, seed=4)
    case("attention, capped before the mask", "Attention", {**given, "m": added}, softcap=2.0)
    for mode in range(4):
        case(
            f"attention, scores of mode {mode}",
            "Attention",
            {**given, "m": added, "pk": None, "pv": None},
            4,
            softcap=1.5,
            qk_matmul_output_mode=mode,
        )
    past = {"pk": numbers(2, 2, 2, 4, seed=5), "pv": numbers(2, 2, 2, 3, seed=6)}
    case("attention, with a past", "Attention", {**given, "m": None, **past}, 3, is_causal=1)
    flat = {"q": numbers(2, 3, 8), "k": numbers(2, 5, 4, seed=2), "v": numbers(2, 5, 6, seed=3)}
    case("attention, of 3 axes", "Attention", flat, q_num_heads=4, kv_num_heads=2, scale=0.3)


def _rotary() -> None:
    cosines, sines = numbers(6, 2, seed=2), numbers(6, 2, seed=3)
    places = np.array([[0, 2, 1], [5, 3, 4]])
    tables = {"c": cosines, "s": sines, "p": places}
    case("rotary", "RotaryEmbedding", {"x": numbers(2, 3, 3, 4), **tables})
    case("rotary, in turns", "RotaryEmbedding", {"x": numbers(2, 3, 3, 4), **tables}, interleaved=1)
    case(
        "rotary, a part of 3 axes",
        "RotaryEmbedding",
        {"x": numbers(2, 3, 12), **tables},
        num_heads=2,
        rotary_embedding_dim=4,
    )
    whole = {"c": cosines[places], "s": sines[places]}
    case("rotary, of every step", "RotaryEmbedding", {"x": numbers(2, 3, 3, 4), **whole})


def _normalizations() -> None:
    x = numbers(2, 4, 3, 2)
    case("rms, last axis", "RMSNormalization", {"x": x, "s": numbers(2, seed=2)}, epsilon=0.1)
    case("rms, two axes", "RMSNormalization", {"x": x, "s": numbers(3, 2, seed=2)}, axis=2)
    of_groups = {"x": x, "s": numbers(2, seed=2), "b": numbers(2, seed=3)}
    case("groups, scaled by group", "GroupNormalization", of_groups, opset=18, num_groups=2)
    of_channels = {"x": x, "s": numbers(4, seed=2), "b": numbers(4, seed=3)}
    case("groups, scaled by channel", "GroupNormalization", of_channels, opset=21, num_groups=2)


def _resizes() -> None:
    x = numbers(1, 1, 4, 5)
    roi, scales = np.zeros(0, np.float32), np.zeros(0, np.float32)
    rules = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    sizes = np.array([1, 1, 3, 8])
    fixed: dict[str, np.ndarray] = {"r": roi, "s": scales, "z": sizes}
    for rule in [*rules, "half_pixel_symmetric"]:
        for mode in ("linear", "cubic", "nearest"):
            case(
                f"resize, {mode}, {rule}",
                "Resize",
                {"x": x, **fixed},
                constants=fixed,
                opset=19,
                mode=mode,
                coordinate_transformation_mode=rule,
            )
    for rule in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"):
        case(
            f"resize, nearest by {rule}",
            "Resize",
            {"x": x, **fixed},
            constants=fixed,
            opset=19,
            mode="nearest",
            nearest_mode=rule,
        )
    smaller = {"r": roi, "s": np.array([1, 1, 0.6, 0.5], np.float32)}
    for mode in ("linear", "cubic"):
        case(
            f"resize, {mode}, antialias",
            "Resize",
            {"x": x, **smaller},
            constants=smaller,
            opset=19,
            mode=mode,
            antialias=1,
        )
    case(
        "resize, cubic, nothing from outside",
        "Resize",
        {"x": x, **smaller},
        constants=smaller,
        opset=19,
        mode="cubic",
        exclude_outside=1,
    )
    cropped = {"r": np.array([0, 0, 0.2, 0.3, 1, 1, 1.3, 0.9], np.float32), "s": scales, "z": sizes}
    case(
        "resize, a crop",
        "Resize",
        {"x": x, **cropped},
        constants=cropped,
        opset=19,
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=9.0,
    )


def _recurrent() -> None:
    x, lengths = numbers(4, 2, 3), np.array([2, 4], np.int32)

    def weights(gates: int, directions: int, size: int = 2) -> dict[str, np.ndarray]:
        return {
            "w": numbers(directions, gates * size, 3, seed=2),
            "r": numbers(directions, gates * size, size, seed=3),
            "b": numbers(directions, 2 * gates * size, seed=4),
        }

    size = {"hidden_size": 2}
    fixed = {"l": lengths}
    for name, gates, outputs in (("RNN", 1, 2), ("GRU", 3, 2), ("LSTM", 4, 3)):
        for direction in ("forward", "reverse", "bidirectional"):
            own = weights(gates, 1 + (direction == "bidirectional"))
            case(
                f"{name}, {direction}, with lengths",
                name,
                {"x": x, **own, **fixed},
                outputs,
                opset=14,
                constants={**own, **fixed},
                direction=direction,
                **size,
            )
        own = weights(gates, 1)
        case(
            f"{name}, clipped",
            name,
            {"x": x * 4, **own},
            outputs,
            opset=14,
            constants=own,
            clip=0.5,
            **size,
        )
    own = weights(3, 1)
    case("GRU, reset after the product", "GRU", {"x": x, **own}, 2, 14, own,
         linear_before_reset=1, **size)  # fmt: skip
    own = weights(4, 1)
    more = {
        "h": numbers(1, 2, 2, seed=5),
        "c": numbers(1, 2, 2, seed=6),
        "p": numbers(1, 6, seed=7),
    }
    case("LSTM, peepholes", "LSTM", {"x": x, **own, "l": None, **more}, 3, 14, own, **size)
    case("LSTM, coupled gates", "LSTM", {"x": x, **own}, 3, 14, own, input_forget=1, **size)
    own = weights(1, 1)
    case("RNN, another function", "RNN", {"x": x, **own}, 2, 14, own,
         activations=["LeakyRelu"], activation_alpha=[0.3], **size)  # fmt: skip


for _declare in (_attention, _rotary, _normalizations, _resizes, _recurrent):
    _declare()


def _whole(name: str) -> tuple[Any, Inputs]:
    shapes = {"network": (2, 3, 8, 8), "recurrent": (4, 2, 3), "control": (3,), "functions": (3, 2)}
    if name == "encoder":
        return MODELS[name](), {"ids": np.array([[1, 5, 3], [7, 0, 10]])}
    return MODELS[name](), {"x": numbers(*shapes.get(name, (2, 3, 6, 6)))}


for _name in MODELS:
    CASES[f"model {_name}"] = lambda name=_name: _whole(name)


def record() -> dict[str, list[Any]]:
    """What ONNX Runtime computes."""
    import onnxruntime

    found = {}
    for name, build in CASES.items():
        model, inputs = build()
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        outputs = session.run(None, inputs)
        found[name] = [
            [list(each.shape), [float(f"{n:.6g}") for n in each.ravel().tolist()]]
            for each in outputs
        ]
    return found


if __name__ == "__main__":
    lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in record().items())
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")
