"""The way MXNet programs train without Gluon: bind, forward, backward, update."""

from pathlib import Path

import numpy as np

import tigon as mx
from tigon import nd, sym

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits.csv.gz"


def lenet():
    data = sym.var("data")
    conv = sym.Convolution(data, kernel=(3, 3), num_filter=8, pad=(1, 1), name="conv")
    pool = sym.Pooling(sym.Activation(conv, act_type="relu"), kernel=(2, 2), stride=(2, 2))
    norm = sym.BatchNorm(pool, fix_gamma=False, name="bn")
    flat = sym.Dropout(sym.Flatten(norm), p=0.1)
    return sym.SoftmaxOutput(sym.FullyConnected(flat, num_hidden=10, name="fc"), name="softmax")


def test_digits_by_executor(tmp_path):
    rows = np.loadtxt(DIGITS, delimiter=",", dtype=np.float32)
    images, labels = rows[:, :64].reshape(-1, 1, 8, 8) / 16, rows[:, 64]
    mx.random.seed(1)
    batch = 128
    net = lenet()
    executor = net.simple_bind(mx.cpu(), data=(batch, 1, 8, 8), grad_req="write")
    learned = [name for name in net.list_arguments() if name not in ("data", "softmax_label")]
    momenta = {}
    for name in learned:
        array = executor.arg_dict[name]
        array[:] = 1 if name.endswith("gamma") else 0
        if name.endswith("weight"):
            array[:] = nd.random.normal(0, 0.1, shape=array.shape)
        momenta[name] = nd.zeros(array.shape)
    executor.aux_dict["bn_moving_var"][:] = 1
    for _ in range(4):
        for start in range(0, 1024, batch):
            executor.forward(
                is_train=True,
                data=images[start : start + batch],
                softmax_label=labels[start : start + batch],
            )
            executor.backward()
            for name in learned:
                weight = executor.arg_dict[name]
                nd.sgd_mom_update(
                    weight,
                    executor.grad_dict[name],
                    momenta[name],
                    lr=0.2,
                    momentum=0.9,
                    rescale_grad=1 / batch,
                    out=weight,
                )
    tested = executor.reshape(data=(512, 1, 8, 8), softmax_label=(512,))
    (scores,) = tested.forward(data=images[1024:1536])
    accuracy = (scores.argmax(axis=1).asnumpy() == labels[1024:1536]).mean()
    assert accuracy > 0.9

    # The same predictions from files.
    net.save(str(tmp_path / "net-symbol.json"))
    arrays = {f"arg:{name}": executor.arg_dict[name] for name in learned}
    arrays |= {f"aux:{name}": array for name, array in executor.aux_dict.items()}
    nd.save(str(tmp_path / "net-0000.params"), arrays)
    again = mx.sym.load(str(tmp_path / "net-symbol.json"))
    stored = nd.load(str(tmp_path / "net-0000.params"))
    bound = again.simple_bind(data=(512, 1, 8, 8), grad_req="null")
    bound.copy_params_from(
        {name[4:]: array for name, array in stored.items() if name.startswith("arg:")},
        {name[4:]: array for name, array in stored.items() if name.startswith("aux:")},
    )
    assert np.array_equal(bound.forward(data=images[1024:1536])[0].asnumpy(), scores.asnumpy())


def test_the_labels_shape_follows_from_the_data():
    arguments, outputs, _ = lenet().infer_shape(data=(5, 1, 8, 8))
    assert arguments[-1] == (5,)
    assert outputs == [(5, 10)]
