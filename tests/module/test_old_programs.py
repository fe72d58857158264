"""Programs written for MXNet that say `import mxnet`, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

DIGITS = """
import logging
import numpy as np
logging.getLogger().setLevel(logging.INFO)
rng = np.random.RandomState(3)
shapes = rng.rand(4, 12, 12) > 0.6
labels = rng.randint(0, 4, 320)
images = (shapes[labels] + rng.randn(320, 12, 12) * 0.3).astype(np.float32)
"""

LENET = (
    DIGITS
    + """
import mxnet as mx
images = images.reshape(-1, 1, 12, 12)
batch_size = 32
train_iter = mx.io.NDArrayIter(images[:256], labels[:256], batch_size, shuffle=True)
val_iter = mx.io.NDArrayIter(images[256:], labels[256:], batch_size)

data = mx.sym.var('data')
conv1 = mx.sym.Convolution(data=data, kernel=(3, 3), num_filter=6)
tanh1 = mx.sym.Activation(data=conv1, act_type="tanh")
pool1 = mx.sym.Pooling(data=tanh1, pool_type="max", kernel=(2, 2), stride=(2, 2))
conv2 = mx.sym.Convolution(data=pool1, kernel=(3, 3), num_filter=8)
tanh2 = mx.sym.Activation(data=conv2, act_type="tanh")
flatten = mx.sym.flatten(data=tanh2)
fc1 = mx.symbol.FullyConnected(data=flatten, num_hidden=20)
tanh3 = mx.sym.Activation(data=fc1, act_type="tanh")
fc2 = mx.sym.FullyConnected(data=tanh3, num_hidden=4)
lenet = mx.sym.SoftmaxOutput(data=fc2, name='softmax')

prefix = 'lenet'
lenet_model = mx.mod.Module(symbol=lenet, context=mx.cpu())
lenet_model.fit(train_iter,
                eval_data=val_iter,
                optimizer='sgd',
                optimizer_params={'learning_rate': 0.1, 'momentum': 0.9},
                eval_metric='acc',
                initializer=mx.init.Xavier(),
                batch_end_callback=mx.callback.Speedometer(batch_size, 4),
                epoch_end_callback=mx.callback.do_checkpoint(prefix),
                num_epoch=3)

test_iter = mx.io.NDArrayIter(images[256:], None, batch_size)
prob = lenet_model.predict(test_iter)
assert prob.shape == (64, 4)
acc = mx.metric.Accuracy()
lenet_model.score(val_iter, acc)
assert acc.get()[1] > 0.95, acc.get()

sym, arg_params, aux_params = mx.model.load_checkpoint(prefix, 3)
all_layers = sym.get_internals()
fe_sym = all_layers['flatten0_output']
fe_mod = mx.mod.Module(symbol=fe_sym, context=mx.cpu(), label_names=None)
fe_mod.bind(for_training=False, data_shapes=[('data', (1, 1, 12, 12))])
fe_mod.set_params(arg_params, aux_params)
from collections import namedtuple
Batch = namedtuple('Batch', ['data'])
fe_mod.forward(Batch([mx.nd.array(images[:1])]))
assert fe_mod.get_outputs()[0].shape == (1, 72)
print("done", acc.get()[1] > 0.95)
"""
)

INTERMEDIATE = (
    DIGITS
    + """
import mxnet as mx
from mxnet.io import DataBatch
import mxnet.module.executor_group
net = mx.sym.Variable('data')
net = mx.sym.Flatten(net)
net = mx.sym.FullyConnected(net, name='fc1', num_hidden=64)
net = mx.sym.Activation(net, name='relu1', act_type='relu')
net = mx.sym.FullyConnected(net, name='fc2', num_hidden=4)
net = mx.sym.SoftmaxOutput(net, name='softmax')
train_iter = mx.io.NDArrayIter(images, labels.astype('f'), 32, shuffle=True)
mod = mx.mod.Module(symbol=net, context=[mx.cpu(0), mx.cpu(1)],
                    data_names=['data'], label_names=['softmax_label'])
mod.bind(data_shapes=train_iter.provide_data, label_shapes=train_iter.provide_label)
mod.init_params(initializer=mx.init.Uniform(scale=.1))
mod.init_optimizer(kvstore='device', optimizer='sgd',
                   optimizer_params=(('learning_rate', 0.1), ))
metric = mx.metric.create('acc')
for epoch in range(5):
    train_iter.reset()
    metric.reset()
    for batch in train_iter:
        mod.forward(batch, is_train=True)
        mod.update_metric(metric, batch.label)
        mod.backward()
        mod.update()
    print('Epoch %d, Training %s' % (epoch, metric.get()))
assert metric.get()[1] > 0.9
train_iter.reset()
mod.save_checkpoint('mlp', 5, save_optimizer_states=True)
again = mx.mod.Module.load('mlp', 5, load_optimizer_states=True, context=[mx.cpu(0), mx.cpu(1)])
again.fit(train_iter, begin_epoch=5, num_epoch=6, kvstore='device',
          optimizer_params=(('learning_rate', 0.1), ),
          monitor=mx.mon.Monitor(4, pattern='.*weight'))
print("done", dict(again.score(train_iter, 'acc'))['accuracy'] > 0.9)
"""
)

FEED_FORWARD = (
    DIGITS
    + """
import mxnet as mx
data = mx.symbol.Variable('data')
fc1 = mx.symbol.FullyConnected(data=data, name='fc1', num_hidden=32)
act1 = mx.symbol.Activation(data=fc1, name='relu1', act_type="relu")
fc2 = mx.symbol.FullyConnected(data=act1, name='fc2', num_hidden=4)
mlp = mx.symbol.SoftmaxOutput(data=fc2, name='softmax')
X, y = images.reshape(320, -1), labels
model = mx.model.FeedForward(
    ctx=mx.cpu(), symbol=mlp, num_epoch=6, numpy_batch_size=32,
    learning_rate=0.1, momentum=0.9, wd=0.00001,
    initializer=mx.init.Xavier(factor_type="in", magnitude=2.34))
model.fit(X=X[:256], y=y[:256], eval_data=(X[256:], y[256:]),
          batch_end_callback=mx.callback.ProgressBar(8),
          epoch_end_callback=mx.callback.do_checkpoint('ff', 3))
prob = model.predict(X[256:])
assert prob.shape == (64, 4)
accuracy = (prob.argmax(axis=1) == y[256:]).mean()
loaded = mx.model.FeedForward.load('ff', 6, ctx=mx.cpu())
assert np.allclose(loaded.predict(X[256:]), prob, atol=1e-6)
print("done", accuracy > 0.95)
"""
)

BUCKETING = """
import logging
import numpy as np
import random
import mxnet as mx
logging.getLogger().setLevel(logging.INFO)
random.seed(0); np.random.seed(0); mx.random.seed(0)
words = "the cat sat on mat and then dog ran to house".split()
def sentence():
    start, length = random.randrange(len(words)), random.choice([4, 5, 7, 8, 9])
    return [words[(start + i) % len(words)] for i in range(length)]
sentences, vocab = mx.rnn.encode_sentences(
    [sentence() for _ in range(160)], start_label=1, invalid_label=0)
buckets = [5, 9]
data_train = mx.rnn.BucketSentenceIter(sentences, 16, buckets=buckets, invalid_label=0)
data_val = mx.rnn.BucketSentenceIter(sentences[:60], 16, buckets=buckets, invalid_label=0)

stack = mx.rnn.SequentialRNNCell()
for i in range(1):
    stack.add(mx.rnn.LSTMCell(num_hidden=24, prefix='lstm_l%d_' % i))

def sym_gen(seq_len):
    data = mx.sym.Variable('data')
    label = mx.sym.Variable('softmax_label')
    embed = mx.sym.Embedding(data=data, input_dim=len(vocab), output_dim=16, name='embed')
    stack.reset()
    outputs, states = stack.unroll(seq_len, inputs=embed, merge_outputs=True)
    pred = mx.sym.Reshape(outputs, shape=(-1, 24))
    pred = mx.sym.FullyConnected(data=pred, num_hidden=len(vocab), name='pred')
    label = mx.sym.Reshape(label, shape=(-1,))
    pred = mx.sym.SoftmaxOutput(data=pred, label=label, name='softmax')
    return pred, ('data',), ('softmax_label',)

model = mx.mod.BucketingModule(
    sym_gen=sym_gen, default_bucket_key=data_train.default_bucket_key, context=mx.cpu())
model.fit(
    train_data=data_train, eval_data=data_val, eval_metric=mx.metric.Perplexity(0),
    kvstore='device', optimizer='adam',
    optimizer_params={'learning_rate': 0.02, 'wd': 0.00001},
    initializer=mx.init.Xavier(factor_type="in", magnitude=2.34), num_epoch=8,
    batch_end_callback=mx.callback.Speedometer(16, 4, auto_reset=False),
    epoch_end_callback=mx.rnn.do_rnn_checkpoint(stack, 'lm', 4))
(name, value), = model.score(data_val, mx.metric.Perplexity(0))
sym, arg, aux = mx.rnn.load_rnn_checkpoint(stack, 'lm', 8)
again = mx.mod.BucketingModule(sym_gen, data_train.default_bucket_key)
again.bind(data_val.provide_data, data_val.provide_label, for_training=False)
again.set_params(arg, aux)
(_, same), = again.score(data_val, mx.metric.Perplexity(0))
assert abs(value - same) < 0.05, (value, same)  # rows are shuffled anew
print("done", value < 2)
"""

PROGRAMS = {
    "lenet": LENET,
    "intermediate": INTERMEDIATE,
    "feed_forward": FEED_FORWARD,
    "bucketing": BUCKETING,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_old_program_runs_as_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAMS[name])
    done = subprocess.run(
        [sys.executable, "-m", "tigon", "program.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "done True", done.stdout[-2000:] + done.stderr[-2000:]
