"""Every layer beside OpenCV's importer of Caffe, which is no dependency of the tests:

    pip install --target FOLDER 'opencv-python-headless<5'
    PYTHONPATH=.:FOLDER python -m tests.caffe.beside_opencv [PROTOTXT ...]

Prints what agrees, what OpenCV refuses, and what differs: settings that it passes over (see
findings/opencv_reads_caffe_layers_without_their_settings.sh). Networks to deploy may be added.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from tests.caffe.models import caffemodel
from tests.caffe.test_layers import CASES, NORMAL, POSITIVE, as_list, drawn, text_of
from tigon import nd
from tigon.contrib import caffe

TOLERANCE = 1e-4
DRAW = np.random.default_rng(0)


def compared(folder: Path, text: str, scale: float, kinds: tuple = ()) -> str:
    """What becomes of one network here and there, with the same arrays."""
    import cv2

    prototxt, model = folder / "net.prototxt", folder / "net.caffemodel"
    prototxt.write_text(text)
    net = caffe.load_net(prototxt)
    arrays = {}
    for layer, names in net.network.blobs_of:
        given = [net.network.arrays[name] for name in names]
        if given:
            arrays[layer] = [
                (drawn(DRAW, one.shape, POSITIVE if one.is_state else NORMAL) * scale).astype("f")
                for one in given
            ]
    model.write_bytes(caffemodel(arrays))
    if arrays:
        net.load_caffemodel(model)
    shapes = net.input_shapes.values()
    kinds = kinds or (NORMAL,) * len(shapes)
    inputs = [drawn(DRAW, s, k).astype("f") for s, k in zip(shapes, kinds, strict=True)]
    ours = [array.asnumpy() for array in as_list(net(*map(nd.array, inputs)))]
    try:
        theirs = cv2.dnn.readNetFromCaffe(*map(str, (prototxt, model) if arrays else (prototxt,)))
        for name, array in zip(net.input_names, inputs, strict=True):
            theirs.setInput(array, name)
        outputs = theirs.forward(theirs.getUnconnectedOutLayersNames())
    except cv2.error:
        return "refused there"
    for own, other in zip(ours, outputs, strict=False):
        if own.size != other.size:
            return "differs"
        distance = np.abs(own - other.reshape(own.shape)).max()
        if not distance <= TOLERANCE * max(np.abs(own).max(), 1e-9):
            return "differs"
    return "agrees"


def main(files: list[str]) -> None:
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if case.bottoms and "Loss" not in case.type and case.type != "Accuracy":
                text = text_of(case, case.bottoms)
                said = compared(Path(folder), text, 0.3, case.filled)
                found[said] += 1
                if said != "agrees":
                    print(f"{said}: {case.type} {case.settings}")
        for name in files:
            print(f"{compared(Path(folder), Path(name).read_text(), 0.02)}: {name}")
    print(dict(found))


if __name__ == "__main__":
    main(sys.argv[1:])
