"""What runs in MXNet's process: a network from a symbol's JSON, as it is called or trained.

Questions come as lines of JSON, answers go back so; whatever MXNet prints goes to standard error.
The first holds the symbol, `values` (a file of weights, or null: as they come), and `data`: a file,
or shapes. Further keys: `rate` and `momentum` of training, `subgraphs` for oneDNN's.
"""

import json
import os
import sys

import numpy as np

np.bool = bool  # numpy 1.24 and later have none; MXNet 1.9.1 asks for it
import mxnet as mx  # noqa: E402
from mxnet import autograd, gluon, nd  # noqa: E402


def network(question):
    symbol = mx.sym.load_json(question["symbol"])
    net = gluon.SymbolBlock(symbol, [mx.sym.var("data", dtype="float32")])
    if question["values"] is None:
        net.initialize(mx.init.Uniform(0.05))
    else:
        given = nd.load(question["values"])
        for name, parameter in net.collect_params().items():
            parameter.shape = given[name].shape
            parameter.initialize()
            parameter.set_data(given[name])
    return net


def forward(question, net, x):
    fast = {"static_alloc": True, "static_shape": True}
    if question.get("subgraphs"):
        net(x)
        net.optimize_for(x, backend="MKLDNN", **fast)
    else:
        net.hybridize(**fast)

    def run():
        out = net(x)
        out.wait_to_read()
        return out

    return run


def step(question, net, x, y):
    net.hybridize(static_alloc=True, static_shape=True)
    loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
    loss_function.hybridize()
    fields = {"learning_rate": question["rate"], "momentum": question["momentum"]}
    trainer = gluon.Trainer(net.collect_params(), "sgd", fields)
    last = [each for each in net.collect_params().values() if each.grad_req != "null"][-1]

    def run():
        with autograd.record():
            loss = loss_function(net(x), y)
        loss.backward()
        trainer.step(len(x))
        last.data().wait_to_read()
        return loss.mean()

    return run


def workload(question):
    given = question["data"]
    if isinstance(given, dict):  # shapes
        arrays = {name: np.ones(shape, np.float32) for name, shape in given.items()}
    else:
        arrays = nd.load(given)
    x, net = nd.array(arrays["data"]), network(question)
    if "labels" not in arrays:
        return forward(question, net, x)
    return step(question, net, x, nd.array(arrays["labels"]))


def most_memory():
    with open("/proc/self/status") as file:
        (peak,) = (line.split()[1] for line in file if line.startswith("VmHWM"))
    return int(peak) * 1024 / 1e6


def main():
    answers = os.dup(1)
    os.dup2(2, 1)
    run = None
    for line in sys.stdin:
        question, answer = json.loads(line), None
        if question == "run":
            run()
        elif question == "result":
            answer = run().asnumpy().tolist()
        elif question == "peak":
            answer = most_memory()
        else:
            run = workload(question)
        os.write(answers, (json.dumps(answer) + "\n").encode())


if __name__ == "__main__":
    main()
