"""What modules say of each method in each state, as one list: a check that is gone, asks for
something else, or speaks for another method shows, and so does what the logger is told. `make
golden` (TIGON_UPDATE_GOLDEN=1) writes it."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tigon as mx
from tigon import nd
from tigon.io import DataBatch, DataDesc

HERE = Path(__file__).parent / "modules.txt"
DATA = [DataDesc("data", (2, 3))]
LABEL = [DataDesc("softmax_label", (2,))]


def symbol() -> Any:
    return mx.sym.SoftmaxOutput(
        mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=2, name="fc"), name="softmax"
    )


def sequential() -> Any:
    made = mx.mod.SequentialModule()
    made.add(mx.mod.Module(mx.sym.relu(mx.sym.var("data"), name="first"), label_names=None))
    made.add(mx.mod.Module(symbol()), take_labels=True, auto_wiring=True)
    return made


def bucketing() -> Any:
    names = ("data",), ("softmax_label",)
    return mx.mod.BucketingModule(lambda key: (symbol(), *names), default_bucket_key=3)


KINDS: dict[str, Callable[[], Any]] = {
    "Module": lambda: mx.mod.Module(symbol()),
    "BucketingModule": bucketing,
    "SequentialModule": sequential,
    "PythonLossModule": lambda: mx.mod.PythonLossModule(label_names=("softmax_label",)),
}


def in_state(kind: str, state: str) -> Any:
    """'made', 'bound', 'bound to predict', 'filled' with parameters, or 'ready' to train."""
    made = KINDS[kind]()
    if state != "made":
        made.bind(DATA, LABEL, for_training=state != "bound to predict")
    if state in ("filled", "ready"):
        made.init_params(mx.init.One())
    if state == "ready":
        made.init_optimizer()
    return made


def batch(key: int = 3) -> Any:
    return DataBatch(
        [nd.ones((2, 3))], [nd.zeros(2)], bucket_key=key, provide_data=DATA, provide_label=LABEL
    )


CALLS: dict[str, Callable[[Any], Any]] = {
    **{
        name: lambda own, name=name: getattr(own, name)
        for name in ("data_shapes", "label_shapes", "output_shapes", "data_names", "output_names")
    },
    "get_params": lambda own: own.get_params(),
    "set_params": lambda own: own.set_params({}, {}),
    "set_params of one that is unknown": lambda own: own.set_params(
        {"fc_weight": nd.ones((2, 3)), "fc_bias": nd.ones(2), "more": nd.ones(1)}, {}
    ),
    "set_params of one, others missing": lambda own: own.set_params(
        {"fc_weight": nd.ones((2, 3))}, {}, allow_missing=True
    ),
    "set_params that others have": lambda own: own.set_params(
        {"fc_weight": nd.ones((2, 3)), "fc_bias": nd.ones(2)},
        {"more": nd.ones(1)},
        allow_extra=True,
    ),
    "set_params and get_params": lambda own: [
        own.set_params({"fc_weight": nd.ones((2, 3)), "fc_bias": nd.ones(2)}, {}),
        *(one.asnumpy().tolist() for one in own.get_params()[0].values()),
    ],
    "init_params": lambda own: own.init_params(mx.init.One()),
    "init_params of some": lambda own: own.init_params(
        mx.init.One(), {"fc_bias": nd.ones(2)}, {"more": nd.ones(1)}, allow_missing=True
    ),
    "init_params by force": lambda own: [
        own.init_params(mx.init.Constant(4), force_init=True),
        own.get_params()[0]["fc_weight"].asnumpy().tolist(),
    ][1],
    "bind": lambda own: own.bind(DATA, LABEL),
    "bind by force": lambda own: [own.bind(DATA, LABEL, force_rebind=True), own.params_initialized],
    "init_optimizer twice": lambda own: [own.init_optimizer(), own.init_optimizer("adam")],
    "init_optimizer": lambda own: own.init_optimizer(),
    "borrow_optimizer": lambda own: own.borrow_optimizer(in_state("Module", "filled")),
    "forward": lambda own: own.forward(batch()),
    "backward": lambda own: own.backward(),
    "forward_backward": lambda own: own.forward_backward(batch()),
    "update": lambda own: own.update(),
    "get_outputs": lambda own: own.get_outputs(),
    "get_input_grads": lambda own: own.get_input_grads(),
    "get_states": lambda own: own.get_states(),
    "set_states": lambda own: own.set_states(value=0),
    "set_states of both": lambda own: own.set_states([[nd.ones(1)]], 1),
    "set_states of some": lambda own: own.set_states([[nd.ones(1)]]),
    "update_metric": lambda own: own.update_metric(mx.metric.create("acc"), [nd.zeros(2)]),
    "install_monitor": lambda own: own.install_monitor(mx.mon.Monitor(1)),
    "prepare": lambda own: own.prepare(batch()),
    "prepare with rows": lambda own: own.prepare(batch(), sparse_row_id_fn=len),
    "reshape": lambda own: own.reshape(DATA, LABEL),
    "switch_bucket": lambda own: own.switch_bucket(4, DATA, LABEL),
    "save_checkpoint": lambda own: own.save_checkpoint("nowhere/x", 0),
    "save_checkpoint with states": lambda own: own.save_checkpoint("nowhere/x", 0, True),
    "save_optimizer_states": lambda own: own.save_optimizer_states("nowhere/x"),
    "load_optimizer_states": lambda own: own.load_optimizer_states("nowhere/x"),
    "save_params": lambda own: own.save_params("nowhere/x"),
    "load_params": lambda own: own.load_params("nowhere/x"),
}


def said(kind: str, state: str, name: str) -> str:
    own = in_state(kind, state)
    told = io.StringIO()
    handler = logging.StreamHandler(told)
    logging.getLogger().addHandler(handler)
    try:
        result = CALLS[name](own)
        answer = f"fine: {result}" if isinstance(result, list) else "fine"
    except Exception as error:
        answer = f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        logging.getLogger().removeHandler(handler)
    return " | ".join([answer, *told.getvalue().splitlines()])


def test_what_modules_say_in_each_state() -> None:
    lines = []
    for kind in KINDS:
        for state in ("made", "bound", "bound to predict", "filled", "ready"):
            lines.append(f"{kind}, {state}")
            lines += [f"    {name}: {said(kind, state, name)}" for name in CALLS]
    text = "\n".join(lines) + "\n"
    if os.environ.get("TIGON_UPDATE_GOLDEN"):
        HERE.write_text(text)
    assert text == HERE.read_text(), "if this is meant, run `make golden` and commit"
