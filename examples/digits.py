"""Handwritten digits, written line by line and then compiled.

A small convolutional network learns 1,797 digits of 8x8 pixels: first imperatively, then, from the
same seed, after one `net.hybridize()`. At the end the model is exported and read again in a fresh
process, and once more as a library that a program in C calls (`examples/native/digit.c`).

    python examples/digits.py [--epochs 8] [--output demo-output]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.base.files import write_file
from tigon.base.progress import Progress
from tigon.gluon import nn

DATA = Path(__file__).with_name("digits.csv.gz")
"""A row for each image: 64 pixels from 0 to 16, and the digit. The test set of "Optical Recognition
of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, under CC
BY 4.0 (https://doi.org/10.24432/C50P49)."""
BATCH = 64
ACCURACY_EXPECTED = 0.97


class DigitNet(gluon.HybridBlock):
    """Two convolutions with batch normalization, pooling, dropout, two dense layers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.features = nn.HybridSequential()
            with self.features.name_scope():
                self.features.add(
                    nn.Conv2D(16, kernel_size=3, padding=1),
                    nn.BatchNorm(),
                    nn.Activation("relu"),
                    nn.MaxPool2D(pool_size=2, strides=2),
                    nn.Conv2D(32, kernel_size=3, padding=1, activation="relu"),
                    nn.MaxPool2D(pool_size=2, strides=2),
                )
            self.dropout = nn.Dropout(0.2)
            self.hidden = nn.Dense(64, activation="relu")
            self.classes = nn.Dense(10)

    def hybrid_forward(self, F, x):
        return self.classes(self.dropout(self.hidden(self.features(x))))


def load_data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images in [0, 1] of shape (n, 1, 8, 8) and their digits: for training, then for testing."""
    rows = np.loadtxt(DATA, delimiter=",", dtype=np.float32)
    images, digits = rows[:, :64].reshape(-1, 1, 8, 8) / 16, rows[:, 64]
    order = np.random.RandomState(7).permutation(len(images))
    images, labels = images[order], digits[order]
    cut = 1437
    return images[:cut], labels[:cut], images[cut:], labels[cut:]


def accuracy(net: gluon.Block, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of test images that are recognized."""
    metric = mx.metric.Accuracy()
    metric.update([nd.array(labels)], [net(nd.array(images))])
    return metric.get()[1]


def one_by_one(net: gluon.Block, images: np.ndarray) -> float:
    """Images per second when each is predicted by a call of its own."""
    arrays = [nd.array(image[None]) for image in images]
    for x in arrays[:10]:
        net(x)
    nd.waitall()
    began = time.perf_counter()
    for x in arrays:
        net(x)
    nd.waitall()
    return len(arrays) / (time.perf_counter() - began)


def train(hybridize: bool, epochs: int, data: tuple) -> dict:
    """Train from the same seed; the one difference is `net.hybridize()`."""
    images, labels, test_images, test_labels = data
    mx.random.seed(1)
    net = DigitNet(prefix="digits_")
    net.initialize(mx.init.Xavier())
    if hybridize:
        net.hybridize()
    loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
    loader = gluon.data.DataLoader(
        gluon.data.ArrayDataset(images, labels), BATCH, shuffle=True, last_batch="discard"
    )
    # Down to 0: in the last epochs steps are too small to lose what was learned.
    schedule = mx.lr_scheduler.CosineScheduler(epochs * len(loader), base_lr=0.02)
    trainer = gluon.Trainer(
        net.collect_params(), "sgd", {"lr_scheduler": schedule, "momentum": 0.9, "wd": 1e-4}
    )
    losses, accuracies, rates = [], [], []
    mode = "hybridized" if hybridize else "imperative"
    bar = Progress(epochs, mode, "epochs")
    for epoch in range(epochs):
        total = nd.zeros((1,))
        began = time.perf_counter()
        for x, y in loader:
            with autograd.record():
                loss = loss_function(net(x), y)
            loss.backward()
            trainer.step(BATCH)
            total += loss.mean()
        losses.append(total.asscalar() / len(loader))
        rates.append(len(loader) * BATCH / (time.perf_counter() - began))
        accuracies.append(accuracy(net, test_images, test_labels))
        bar.say(
            f"{mode} epoch {epoch + 1:>2}/{epochs}: loss {losses[-1]:.4f}, "
            f"test accuracy {accuracies[-1]:.2%}"
        )
        bar.step()
    bar.close()
    # The first epoch compiles; it is not what a longer training runs at.
    steady = float(np.median(rates[1:])) if len(rates) > 1 else rates[0]
    return {
        "net": net,
        "losses": losses,
        "accuracies": accuracies,
        "images_per_second": steady,
        "first_epoch": rates[0],
        "one_by_one": one_by_one(net, test_images),
    }


FRESH_PROCESS = """
import sys
from tigon import gluon, nd
symbol_file, params_file, images_file, predictions_file = sys.argv[1:]
net = gluon.SymbolBlock.imports(symbol_file, ["data"], params_file)
(images,) = nd.load(images_file)
nd.save(predictions_file, net(images))
"""


def predict_in_fresh_process(
    files: tuple[str, str], images: np.ndarray, output: Path
) -> np.ndarray:
    """Predictions of the exported model by a process that knows nothing but the files."""
    images_file, predictions_file = output / "images.params", output / "predictions.params"
    nd.save(images_file, nd.array(images))
    subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, *files, str(images_file), str(predictions_file)],
        check=True,
    )
    (predictions,) = nd.load(predictions_file)
    return predictions.asnumpy()


def predict_in_c(net: gluon.Block, images: np.ndarray, output: Path) -> list[int] | None:
    """What a program in C takes pictures for, with the network as a library that needs no Python;
    None where there is no compiler for the program."""
    files = net.export_native(output / "digits", nd.array(images))
    print(f"\na library that needs nothing installed: {', '.join(files)}")
    compiler = shutil.which("cc")
    if compiler is None:
        print("there is no C compiler here to call it with: see examples/native/digit.c")
        return None
    source, program = Path(__file__).with_name("native") / "digit.c", output / "digit"
    libraries = [files[0], f"-Wl,-rpath,{output.resolve()}"]
    subprocess.run([compiler, "-I", output, source, *libraries, "-o", program], check=True)
    found = []
    for number, image in enumerate(images):
        picture = output / f"digit{number}.pgm"
        pixels = np.round(image[0] * 16).astype(np.uint8)
        write_file(picture, b"P5 8 8 16\n" + pixels.tobytes())
        said = subprocess.run([program.resolve(), picture], check=True, capture_output=True)
        found.append(int(said.stdout))
    return found


def with_predictions(
    scores: np.ndarray, images: np.ndarray, labels: np.ndarray
) -> list[tuple[np.ndarray, str]]:
    """Sixteen test images and what they were taken for, mistakes first."""
    found = scores.argmax(1)
    order = np.argsort(found == labels, kind="stable")[:16]
    return [
        (
            images[i, 0],
            f"{found[i]}" if found[i] == labels[i] else f"{found[i]}, not {labels[i]:.0f}",
        )
        for i in order
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()

    data = load_data()
    print(f"{len(data[0])} digits to learn from, {len(data[2])} to test on\n")
    imperative = train(False, options.epochs, data)
    hybrid = train(True, options.epochs, data)

    print(f"\n{'':12}{'test':>10}{'last':>10}{'images per second':>38}")
    print(f"{'':12}{'accuracy':>10}{'loss':>10}{'training':>14}{'1st epoch':>12}{'one by one':>12}")
    for name, run in (("imperative", imperative), ("hybridized", hybrid)):
        print(
            f"{name:12}{run['accuracies'][-1]:>10.2%}{run['losses'][-1]:>10.5f}"
            f"{run['images_per_second']:>14,.0f}{run['first_epoch']:>12,.0f}"
            f"{run['one_by_one']:>12,.0f}"
        )
    print("\nThe first epoch compiles. What the compiler made of the hybridized network:\n")
    print(hybrid["net"].explain())

    here = hybrid["net"](nd.array(data[2])).asnumpy()
    picture = options.output / "curves.png"
    mx.viz.plot_curves(
        {
            "training loss": {"imperative": imperative["losses"], "hybridized": hybrid["losses"]},
            "test accuracy": {
                "imperative": imperative["accuracies"],
                "hybridized": hybrid["accuracies"],
            },
        },
        str(picture),
        title="Digits: the same program, imperative and hybridized",
        pictures=with_predictions(here, *data[2:]),
    )
    files = hybrid["net"].export(str(options.output / "digits"))
    there = predict_in_fresh_process(files, data[2], options.output)
    same = bool(np.array_equal(here.argmax(1), there.argmax(1)))
    difference = float(np.abs(here - there).max())
    print(f"\ncurves: {picture}")
    print(f"exported: {', '.join(files)}")
    print(f"a fresh process predicts the same digits: {same} (largest difference {difference:.1e})")
    in_c = predict_in_c(hybrid["net"], data[2][:8], options.output)
    same_in_c = in_c is None or in_c == here[:8].argmax(1).tolist()
    if in_c is not None:
        print(f"a program in C reads pictures of digits: {in_c}; the same: {same_in_c}")
    print(f"{time.perf_counter() - began:.0f} seconds in all")

    for name, run in (("imperative", imperative), ("hybridized", hybrid)):
        if run["accuracies"][-1] < ACCURACY_EXPECTED:
            raise SystemExit(f"{name}: accuracy {run['accuracies'][-1]:.2%} is below 97 %")
    if abs(imperative["accuracies"][-1] - hybrid["accuracies"][-1]) > 0.003:
        raise SystemExit("the two ways differ in accuracy")
    if not same or not same_in_c:
        raise SystemExit("the exported model predicts otherwise")


if __name__ == "__main__":
    main()
