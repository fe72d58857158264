"""Where tigon answers otherwise than MXNet 1.9.1, each with a program that shows it. The page
`docs/differences.md` is written from this, and tests run every program."""

from __future__ import annotations

from typing import NamedTuple


class Difference(NamedTuple):
    topic: str
    mxnet: str
    tigon: str
    program: str


PREAMBLE = """import tempfile

import numpy as np
import tigon as mx
from tigon import autograd, gluon, nd, sym
"""

RULES = (
    Difference(
        "operations wrap",
        "C's arithmetic, in part through floating point: the square of 50000 in int32 is -2^31",
        "exact modulo 2 to the number of bits, as numpy: sums, products, powers, `abs` and "
        "negation of the least integer",
        """
x = nd.array([2**63 - 1, -(2**63)], dtype="int64")
assert (x + 1).asnumpy().tolist() == [-(2**63), -(2**63) + 1]
assert nd.abs(x).asnumpy().tolist() == [2**63 - 1, -(2**63)]
assert nd.square(nd.array([50000], dtype="int32")).asscalar() == 50000**2 - 2**32
assert nd.sum(nd.full((3,), 200, dtype="uint8")).asscalar() == 600 % 256
""",
    ),
    Difference(
        "division",
        "`/` rounds towards zero, `%` has the divisor's sign, x % 0 is 0; there is no `//`",
        "`/` rounds towards zero, `//` down, `%` has the divisor's sign; by 0 all three give 0; "
        "the least integer by -1 wraps",
        """
x = nd.array([7, -7, -(2**31)], dtype="int32")
assert (x / 2).asnumpy().tolist() == [3, -3, -(2**30)]
assert (x // 2).asnumpy().tolist() == [3, -4, -(2**30)]
assert (x % 4).asnumpy().tolist() == [3, 1, 0]
assert (x / 0).asnumpy().tolist() == (x % 0).asnumpy().tolist() == [0, 0, 0]
assert (x / -1).asnumpy().tolist() == [-7, 7, -(2**31)]
""",
    ),
    Difference(
        "power",
        "through floating point",
        "exact; with a negative exponent 1 / x^n rounded towards zero, and 0 where x is 0",
        """
x = nd.array([3, 1, -1, 0], dtype="int64")
assert (x**39).asnumpy().tolist() == [3**39, 1, -1, 0]
assert (x**-3).asnumpy().tolist() == [0, 1, -1, 0]
""",
    ),
    Difference(
        "a number beside an integer array",
        "converted from double to the array's dtype, as C does it: what does not fit becomes "
        "another number",
        "its fraction is dropped first, as in MXNet; every digit of a Python int counts; what does "
        "not fit is refused",
        """
x = nd.array([3, 200], dtype="uint8")
assert (x * 1.5).asnumpy().tolist() == [3, 200]
assert (nd.array([3], dtype="int32") / 2).asscalar() == 1
big = nd.array([2**53 + 1], dtype="int64")
assert (big == 2**53 + 1).asscalar() == 1 and (big == 2**53).asscalar() == 0
for call in (lambda: x < 300, lambda: x + -1, lambda: x * float("inf")):
    try:
        call()
    except mx.TigonError as error:
        assert "does not fit uint8" in str(error)
    else:
        raise AssertionError
""",
    ),
    Difference(
        "attributes of operators",
        "doubles: whole numbers above 2^53 lose digits",
        "whole numbers stay whole, in `clip`, `arange`, `linspace`, `full`, `one_hot`, `pad`",
        """
big = 2**60 + 1
x = nd.arange(big, big + 3, dtype="int64")
assert nd.clip(x, big + 1, big + 1).asnumpy().tolist() == [big + 1] * 3
assert nd.linspace(big, big + 2, 3, dtype="int64").asnumpy().tolist() == [big, big + 1, big + 2]
""",
    ),
    Difference(
        "reductions of bool",
        "not recorded; its legacy operators are not registered for bool",
        "`sum`, `prod` and `cumsum` count in int64, as numpy's; `mean` is refused, for it would be "
        "a bool too",
        """
x = nd.array([1, 1, 0]).astype("bool")
assert nd.sum(x).dtype == nd.prod(x).dtype == nd.cumsum(x).dtype == np.int64
assert nd.sum(x).asscalar() == 2 and nd.prod(x).asscalar() == 0
assert nd.max(x).dtype == np.bool_
try:
    nd.mean(x)
except mx.TigonError as error:
    assert "convert it with astype('float32')" in str(error)
else:
    raise AssertionError
""",
    ),
    Difference(
        "mean",
        "the sum in the array's own dtype: the mean of four times 200 in uint8 is 8",
        "exact, rounded towards zero, whatever the sum is",
        """
assert nd.mean(nd.full((4,), 200, dtype="uint8")).asscalar() == 200
assert nd.mean(nd.array([2**62 + 1, 2**62 + 3], dtype="int64")).asscalar() == 2**62 + 2
assert nd.mean(nd.array([-3, -4], dtype="int32")).asscalar() == -3
""",
    ),
    Difference(
        "sum, product, dot, cumsum",
        "in the array's dtype; `dot` knows floats only",
        "in the array's dtype, wrapping; `dot` and its kin take integers too",
        """
x = nd.array([2**40, 2**40], dtype="int64")
assert nd.prod(x).asscalar() == 0 and nd.dot(x, x).asscalar() == 0
assert nd.dot(nd.ones((2, 2), dtype="int32"), nd.ones((2, 2), dtype="int32")).dtype == np.int32
""",
    ),
    Difference(
        "conversion",
        "float to uint8 wraps or is undefined",
        "floats lose their fraction and saturate, NaN gives 0; integers wrap",
        """
x = nd.array([-1.5, 3.9, 300, float("nan"), float("inf")])
assert x.astype("uint8").asnumpy().tolist() == [0, 3, 255, 0, 255]
assert nd.array([300, -5], dtype="int32").astype("uint8").asnumpy().tolist() == [44, 251]
""",
    ),
    Difference(
        "roots, logarithms, `exp`, ... of integers",
        "computed in double, without the fraction; what does not fit is undefined: the root of -1 "
        "in int32 is -2^31",
        "the same, but what does not fit becomes the nearest limit, and NaN 0; so does numpy's "
        "function of such an array",
        """
x = nd.array([1, 5, 100], dtype="int32")
assert nd.exp(x).asnumpy().tolist() == [2, 148, 2**31 - 1]
assert np.sqrt(x).asnumpy().tolist() == [1, 2, 10]
assert nd.sqrt(nd.array([-1], dtype="int32")).asscalar() == 0
""",
    ),
    Difference(
        "`norm`, `gamma`, `softmax` of integers",
        "computed in double and cut off: the norm of 3, 4 in int32 is 4",
        "`norm`, `gamma`, `softmax` and layers are refused: convert with `astype` first",
        """
for function in (nd.norm, nd.gamma, nd.softmax):
    try:
        function(nd.array([3, 4], dtype="int32"))
    except mx.TigonError as error:
        assert "expected floating-point numbers" in str(error)
    else:
        raise AssertionError
""",
    ),
    Difference(
        "positions: `argmax`, `argsort`, `topk`",
        "`argmax` in the dtype of its operand, the others float32 unless a dtype is given",
        "the same but for `argmax` in uint8, where no position beyond 255 could be told, and in "
        "float64: float32",
        """
x = nd.array([2, 3], dtype="int64")
assert nd.argmax(x, axis=0).dtype == np.int64
assert nd.argsort(x).dtype == nd.argmax(x.astype("float64"), axis=0).dtype == np.float32
line = nd.one_hot(nd.array([300]), depth=400, dtype="uint8")
assert nd.argmax(line, axis=1).asscalar() == 300
assert nd.argsort(x, dtype="int32").dtype == np.int32
""",
    ),
)

ELSEWHERE = (
    Difference(
        "`SoftmaxOutput(out_grad=True)`",
        "multiplies by its own output and never reads the head gradient",
        "the documented meaning: multiplied by the head gradient",
        """
x = nd.array([[1.0, 2.0]])
x.attach_grad()
slopes = []
for head in (1.0, 2.0):
    with autograd.record():
        y = nd.SoftmaxOutput(x, nd.array([1]), out_grad=True)
    y.backward(nd.full((1, 2), head))
    slopes.append(x.grad.asnumpy().copy())
assert np.allclose(slopes[1], 2 * slopes[0])
""",
    ),
    Difference(
        "gradient of max pooling behind a reshaped view",
        "random with oneDNN",
        "right",
        """
x = nd.arange(16)
x.attach_grad()
with autograd.record():
    y = nd.Pooling(x.reshape((1, 1, 4, 4)), kernel=(2, 2), stride=(2, 2), pool_type="max")
y.backward()
assert np.flatnonzero(x.grad.asnumpy()).tolist() == [5, 7, 13, 15]
""",
    ),
    Difference(
        "gradient of BatchNorm after `record(train_mode=False)`",
        "the training formula",
        "that of the formula that was computed: here x itself",
        """
x = nd.array([[1.0], [3.0]])
x.attach_grad()
ones, zeros = nd.ones((1,)), nd.zeros((1,))
with autograd.record(train_mode=False):
    y = nd.BatchNorm(x, ones, zeros, zeros, ones, fix_gamma=False, eps=0)
y.backward(nd.array([[1.0], [2.0]]), train_mode=False)
assert np.allclose(x.grad.asnumpy().ravel(), [1, 2])
""",
    ),
    Difference(
        "when BatchNorm moves its statistics",
        "while backward runs, in reverse order of calls, twice for two backwards; never for a "
        "forward alone",
        "in forward, in the order of calls; so does a forward alone in training mode",
        """
norm = gluon.nn.BatchNorm(momentum=0.5)
norm.initialize()
norm(nd.zeros((2, 1)))
with autograd.record():
    norm(nd.array([[1.0], [3.0]]))
    norm(nd.array([[11.0], [13.0]]))
assert norm.running_mean.data().asnumpy().tolist() == [6.5]
""",
    ),
    Difference(
        "`fix_gamma` of BatchNorm",
        "writes 1 into the caller's gamma",
        "gamma is left alone, and counts as 1",
        """
gamma = nd.array([5.0])
zeros, ones = nd.zeros((1,)), nd.ones((1,))
nd.BatchNorm(nd.ones((2, 1)), gamma, zeros, zeros, ones, fix_gamma=True)
assert gamma.asscalar() == 5
""",
    ),
    Difference(
        "Dropout with p = 1",
        "NaN in training",
        "zeros",
        """
with autograd.record():
    y = nd.Dropout(nd.ones((4,)), p=1)
assert y.asnumpy().tolist() == [0, 0, 0, 0]
""",
    ),
    Difference(
        "`arange(5, 2)`",
        "an error",
        "empty, as in numpy",
        """
assert nd.arange(5, 2).shape == (0,)
""",
    ),
    Difference(
        "reductions over `axis=()`",
        "over all axes",
        "over none, as in numpy: `axis=None` is all",
        """
x = nd.ones((2, 3))
assert nd.sum(x, axis=()).shape == (2, 3) and nd.sum(x).shape == (1,)
""",
    ),
    Difference(
        "F1 and MCC with labels of shape (N, 1)",
        "a perfect prediction scores 0.5, or 0",
        "1",
        """
label, pred = nd.array([[1], [0], [1]]), nd.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
for metric in (mx.metric.F1(), mx.metric.MCC()):
    metric.update([label], [pred])
    assert metric.get()[1] == 1
""",
    ),
    Difference(
        "`NDArrayIter(last_batch_handle='roll_over')`",
        "the first batch of the next epoch says pad 2 though all its rows count",
        "pad 0",
        """
batches = mx.io.NDArrayIter(np.arange(5.0), batch_size=2, last_batch_handle="roll_over")
assert [batch.pad for batch in batches] == [0, 0]
batches.reset()
first = next(batches)
assert first.pad == 0 and first.data[0].asnumpy().tolist() == [4, 0]
""",
    ),
    Difference(
        "`CSVIter` and `LibSVMIter` from epoch to epoch",
        "the next epoch leaves out the rows that filled up the last batch",
        "every epoch is whole",
        """
with tempfile.TemporaryDirectory() as folder:
    path = f"{folder}/rows"
    with open(path, "w") as file:
        file.write("1 0:1\\n2 1:2\\n3 0:3\\n")
    rows = mx.io.LibSVMIter(data_libsvm=path, data_shape=(2,), batch_size=2)
    first = [(batch.label[0].asnumpy().tolist(), batch.pad) for batch in rows]
    rows.reset()
    assert first == [(batch.label[0].asnumpy().tolist(), batch.pad) for batch in rows]
    assert first == [([1, 2], 0), ([3, 1], 1)] and rows.provide_data[0].shape == (2, 2)
""",
    ),
    Difference(
        "the array of a `Parameter` of `stype='row_sparse'`",
        "`data()` is refused, and `row_sparse_data` asks a store, which a `Trainer` has to have; "
        "such parameters cannot be hybridized",
        "`data()` is its array, which is dense; `row_sparse_data` gives rows of that, and needs no "
        "`Trainer`; blocks hybridize",
        """
weight = gluon.Parameter("weight", shape=(4, 2), init="ones", stype="row_sparse")
weight.initialize()
assert weight.row_sparse_data(nd.array([2, 0])).indices.asnumpy().tolist() == [0, 2]
assert weight.data().shape == (4, 2)
net = gluon.contrib.nn.SparseEmbedding(4, 2)
net.initialize()
net.hybridize()
with autograd.record():
    loss = net(nd.array([1])).sum()
loss.backward()
assert net.weight.grad().stype == "row_sparse"
""",
    ),
    Difference(
        "symbols of sparse arrays: `sym.sparse`",
        "graphs carry storages",
        "graphs are dense; a sparse array that is bound becomes a dense one, which a notice says",
        """
import warnings

x = mx.sym.sparse.dot(mx.sym.var("x", stype="csr"), mx.sym.var("w"))
matrix = nd.array([[0, 2], [0, 0]]).tostype("csr")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    bound = x.bind(mx.cpu(), {"x": matrix, "w": nd.ones((2, 1))})
assert bound.forward()[0].asnumpy().tolist() == [[2], [0]]
""",
    ),
    Difference(
        "what augmenters, samplers and `NDArrayIter(shuffle=True)` draw from",
        "`random` and `numpy.random`, in part C++'s own",
        "`mx.random`: `mx.random.seed` decides all of it",
        """
def order(seed):
    mx.random.seed(seed)
    batches = mx.io.NDArrayIter(np.arange(9), batch_size=3, shuffle=True)
    flip = mx.image.HorizontalFlipAug(0.5)
    flips = [flip(nd.array([[[0], [1]]])).asnumpy()[0, 0, 0] for _ in range(9)]
    return [batch.data[0].asnumpy().tolist() for batch in batches], flips
assert order(1) == order(1) != order(2)
""",
    ),
    Difference(
        "images that cannot be read",
        "`ImageIter` leaves them out, with a line in the log",
        "an error that names the file or record; `im2rec` leaves them out, names them, and ends "
        "with status 1",
        """
with tempfile.TemporaryDirectory() as folder:
    with open(f"{folder}/a.jpg", "wb") as file:
        file.write(b"no image")
    images = mx.image.ImageIter(1, (3, 8, 8), imglist=[[0, "a.jpg"]], path_root=folder)
    try:
        images.next()
        raise AssertionError
    except mx.TigonError as error:
        assert "of image 0 (" in str(error) and "is it damaged" in str(error)
""",
    ),
    Difference(
        "a record file while it is written",
        "readers find what has been written so far, and an old file is lost at once",
        "it takes its place, and its index with it, when it is closed; a second writer is told",
        """
with tempfile.TemporaryDirectory() as folder:
    records = mx.recordio.MXRecordIO(f"{folder}/a.rec", "w")
    records.write(b"first")
    try:
        mx.recordio.MXRecordIO(f"{folder}/a.rec", "w")
        raise AssertionError
    except mx.TigonError as error:
        assert "expected to be its only writer" in str(error)
    records.close()
    assert mx.recordio.MXRecordIO(f"{folder}/a.rec", "r").read() == b"first"
""",
    ),
    Difference(
        "worker processes of `DataLoader`",
        "forks: they have whatever the program has, and may lock up on it; each has a random state "
        "of its own",
        "begin anew and get dataset and `batchify_fn` by pickling; what cannot be is named; "
        "what is drawn does not depend on how many there are",
        """
doubled = gluon.data.SimpleDataset([1, 2]).transform(lambda x: x * 2)
try:
    next(iter(gluon.data.DataLoader(doubled, 1, num_workers=1)))
    raise AssertionError
except mx.TigonError as error:
    assert "dataset._function (<function" in str(error)
assert len(list(gluon.data.DataLoader(doubled, 1, num_workers=1, thread_pool=True))) == 2
""",
    ),
    Difference(
        "`Module.set_params` where a store updates the weights",
        "the store keeps its own, which the next update brings back",
        "the store has them, too",
        """
module = mx.mod.Module(sym.MakeLoss(sym.FullyConnected(sym.var("data"), num_hidden=1, name="fc")),
                       label_names=None, context=[mx.cpu(0), mx.cpu(1)])
module.bind([("data", (2, 2))])
module.init_params(mx.init.Zero())
module.init_optimizer(kvstore="local", optimizer_params={"learning_rate": 0.0})
own = {"fc_weight": nd.array([[3, 4]]), "fc_bias": nd.array([5])}
module.set_params(own, {})
module.forward_backward(mx.io.DataBatch([nd.ones((2, 2))]))
module.update()
assert module.get_params()[0]["fc_bias"].asscalar() == 5
""",
    ),
    Difference(
        "padded rows of the last batch, in `Module.score`",
        "count",
        "do not count, as in `predict`",
        """
module = mx.mod.Module(sym.softmax(sym.var("data")), label_names=None)
module.bind([("data", (2, 2))], for_training=False)
module.init_params()
data = np.array([[1, 0], [0, 1], [0, 1]], "float32")  # the last batch is filled up with a row
own = mx.metric.Accuracy()
for outputs, _, batch in module.iter_predict(mx.io.NDArrayIter(data, np.zeros(3), 2)):
    own.update([batch.label[0][: len(outputs[0])]], outputs)
whole = mx.mod.Module(sym.SoftmaxOutput(sym.var("data"), name="softmax"))
whole.bind([("data", (2, 2))], [("softmax_label", (2,))], for_training=False)
whole.init_params()
((_, score),) = whole.score(mx.io.NDArrayIter(data, np.zeros(3), 2), "acc")
assert score == own.get()[1] == 1 / 3
""",
    ),
    Difference(
        "gradients of parameters, while `Module.fit` runs",
        "in `grad_arrays` after each batch",
        "a step is one program, and they stay inside; from the first time that "
        "`_exec_group.grad_arrays` is read, or where a monitor looks, steps put them there",
        """
data, label = np.ones((4, 2), "float32"), np.zeros(4)
fc = sym.FullyConnected(sym.var("data"), num_hidden=2, name="fc")
module = mx.mod.Module(sym.SoftmaxOutput(fc, name="softmax"))
norms = []

def look(param):
    norms.append([nd.norm(grad).asscalar() for (grad,) in module._exec_group.grad_arrays])

before = mx.runtime.stats()
batches = mx.io.NDArrayIter(data, label, 2)
module.fit(batches, num_epoch=2, batch_end_callback=look)
after = mx.runtime.stats()
assert norms[0] == [0, 0] and min(map(min, norms[1:])) > 0
assert after["whole_steps"] - before["whole_steps"] == 1
assert after["steps_apart"] - before["steps_apart"] == 3
""",
    ),
    Difference(
        "a batch without labels, of a module that is bound to some, in training",
        "trains on the labels of the batch before",
        "an error that names the labels",
        """
fc = sym.FullyConnected(sym.var("data"), num_hidden=2, name="fc")
module = mx.mod.Module(sym.SoftmaxOutput(fc, name="softmax"))
module.bind([("data", (2, 3))], [("softmax_label", (2,))])
module.init_params()
try:
    module.forward(mx.io.DataBatch([nd.ones((2, 3))]))
except mx.TigonError as error:
    assert "the batch has no labels; expected softmax_label" in str(error)
else:
    raise AssertionError
""",
    ),
    Difference(
        "`kv.push` without an updater",
        "keeps the caller's array, whose later changes are changes of the value",
        "keeps a copy",
        """
store = mx.kv.create()
store.init("w", nd.zeros(2))
pushed = nd.ones(2)
store.push("w", pushed)
pushed[:] = 9
out = nd.zeros(2)
store.pull("w", out=out)
assert out.asnumpy().tolist() == [1, 1]
""",
    ),
    Difference(
        "states of a store's optimizer in a file, without `dump_optimizer`",
        "come without the counts of updates: Adam starts over with its corrections",
        "go on where they ended, as those of `Trainer.save_states`",
        """
import os
stores = [mx.kv.create() for _ in range(2)]
for store in stores:
    store.init("w", nd.ones(2))
    store.set_optimizer(mx.optimizer.Adam(learning_rate=0.1))
stores[0].push("w", nd.ones(2))
path = os.path.join(tempfile.mkdtemp(), "w.states")
stores[0].save_optimizer_states(path)
stores[1].load_optimizer_states(path)
assert [store._updater.optimizer.num_update for store in stores] == [1, 1]
""",
    ),
    Difference(
        "which gradients `Trainer.step` takes for stale",
        "all that `backward` has not written since, also accumulated ones and those set by hand",
        "those with `grad_req` 'write' that nobody has written: what is set by hand counts, and "
        "so does what accumulates",
        """
net = gluon.nn.Dense(1, in_units=1, use_bias=False, weight_initializer="ones")
net.initialize()
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.5})
net.weight.grad()[:] = 1
trainer.step(1)
assert net.weight.data().asscalar() == 0.5
""",
    ),
    Difference(
        "a failed symbol call",
        "uses up an automatic name",
        "uses none",
        """
with mx.name.NameManager():
    try:
        sym.FullyConnected(sym.var("data"), num_hidden="many")
    except mx.TigonError:
        pass
    assert sym.FullyConnected(sym.var("data"), num_hidden=3).name == "fullyconnected0"
""",
    ),
    Difference(
        "outputs of an executor",
        "overwritten by the next forward",
        "arrays of their own",
        """
executor = (sym.var("x") * 2).bind(mx.cpu(), {"x": nd.array([1.0])})
first = executor.forward()[0]
executor.forward(x=nd.array([5.0]))
assert first.asscalar() == 2
""",
    ),
    Difference(
        "`box_nms` from centers to corners, or back",
        "leaves boxes as they are whose first coordinate is negative",
        "converts every box that is kept",
        """
box = nd.array([[0.9, 0.5, 0.5, 2, 1]])  # score, x, y, width, height
found = nd.contrib.box_nms(box - nd.array([[0, 1, 0, 0, 0]]), score_index=0, coord_start=1,
                           in_format="center", out_format="corner")
assert found.asnumpy()[0, 1:].tolist() == [-1.5, 0, 0.5, 1]
""",
    ),
    Difference(
        "`bipartite_matching(topk=k)`",
        "makes k + 1 pairs",
        "k",
        """
x, y = nd.contrib.bipartite_matching(nd.array([[3, 0], [0, 2]]), threshold=0.5, topk=1)
assert x.asnumpy().tolist() == y.asnumpy().tolist() == [0, -1]
""",
    ),
    Difference(
        "`sequence_length` beyond the sequence",
        "`SequenceLast` and `SequenceReverse` read other memory",
        "an error that names the operator, the length, and what is possible",
        """
try:
    nd.SequenceLast(nd.ones((3, 1)), nd.array([4]), use_sequence_length=True).asnumpy()
    raise AssertionError
except IndexError as error:
    assert "SequenceLast: sequence_length: expected 0 to 3" in str(error), error
""",
    ),
    Difference(
        "parameters of `random.poisson` and kin that are arrays",
        "undefined where an element is none, such as a negative mean",
        "NaN there",
        """
drawn = nd.random.poisson(nd.array([-1, 2]), shape=3).asnumpy()
assert np.isnan(drawn[0]).all() and (drawn[1] >= 0).all()
""",
    ),
    Difference(
        "flips of odd width",
        "leave the middle unwritten",
        "right",
        """
image = nd.arange(9).reshape((3, 3, 1))
flipped = nd.image.flip_left_right(image).asnumpy()[:, :, 0]
assert flipped.tolist() == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]
""",
    ),
    Difference(
        "a parameter shared by two blocks, in a saved file",
        "the last name is kept",
        "both names, so that the file loads whether they are shared or not",
        """
first = gluon.nn.Dense(2, in_units=2)
net = gluon.nn.Sequential()
net.add(first, gluon.nn.Dense(2, in_units=2, params=first.params))
net.initialize()
with tempfile.TemporaryDirectory() as folder:
    net.save_parameters(f"{folder}/net.params")
    names = sorted(nd.load(f"{folder}/net.params"))
    net.load_parameters(f"{folder}/net.params")
assert names == ["0.bias", "0.weight", "1.bias", "1.weight"]
""",
    ),
    Difference(
        "gradients at points without a slope",
        "NaN: the norm of zeros, `x ** 0` at 0",
        "0: `norm`, `hypot` and `arctan2` at the origin, `x ** 0` and `0 ** y` at 0. Roots are "
        "steep at 0: the slopes of `sqrt` and `cbrt` are infinite there",
        """
x = nd.zeros((3,))
x.attach_grad()
for function in (nd.norm, lambda x: x**0, lambda x: nd.arctan2(x, nd.zeros((3,)))):
    with autograd.record():
        y = function(x)
    y.backward()
    assert x.grad.asnumpy().tolist() == [0, 0, 0]
with autograd.record():
    y = nd.sqrt(x)
y.backward()
assert np.isinf(x.grad.asnumpy()).all()
""",
    ),
    Difference(
        "`SigmoidBinaryCrossEntropyLoss` at a logit of 0",
        "the slope is -label",
        "sigmoid(0) - label, as everywhere",
        """
x = nd.zeros((2, 1))
x.attach_grad()
with autograd.record():
    y = gluon.loss.SigmoidBinaryCrossEntropyLoss()(x, nd.array([[0.0], [1.0]]))
y.backward()
assert x.grad.asnumpy().ravel().tolist() == [0.5, -0.5]
""",
    ),
    Difference(
        "`random.uniform` over a range wider than the dtype",
        "infinite",
        "numbers from [low, high); bounds that the dtype does not hold are refused",
        """
x = nd.random.uniform(-3e38, 3e38, shape=(1000,)).asnumpy()
assert np.isfinite(x).all() and x.min() < -1e38 and x.max() > 1e38
""",
    ),
    Difference(
        "NaN among the elements that are sorted, or of which one is taken",
        "stays somewhere in the middle of a sorted array; `sign` makes it 0; max pooling passes "
        "over it",
        "is the greatest for `sort`, and stays NaN for `sign` and `max`, in pooling too",
        """
x = nd.array([3, float("nan"), 1])
assert np.isnan(nd.sort(x, is_ascend=False).asnumpy()[0]) and np.isnan(nd.sort(x).asnumpy()[2])
assert np.isnan(nd.sign(x).asnumpy()[1])
assert np.isnan(nd.Pooling(x.reshape((1, 1, 3)), kernel=(3,), pool_type="max").asscalar())
""",
    ),
    Difference(
        "`scatter_nd` with an index that comes twice",
        "one of the two numbers",
        "their sum, which is what its gradient belongs to",
        """
assert nd.scatter_nd(nd.array([1, 2]), nd.array([[0, 0]]), shape=(2,)).asnumpy().tolist() == [3, 0]
""",
    ),
    Difference(
        "numbers drawn from a seed",
        "those of a Mersenne Twister",
        "others, the same on every machine and for any number of threads",
        """
mx.random.seed(1)
first = nd.random.uniform(shape=(3,)).asnumpy()
mx.random.seed(1)
assert (nd.random.uniform(shape=(3,)).asnumpy() == first).all()
""",
    ),
    Difference(
        "last digits of float32",
        "1 - 0.999 of Adam is rounded before it is used: 0.899999 after a step of 0.1 from 1",
        "factors are computed in double: 0.9. Otherwise results agree to about 1e-6 of themselves",
        """
optimizer = mx.optimizer.Adam(learning_rate=0.1)
weight = nd.array([1.0])
optimizer.update(0, weight, nd.array([1.0]), optimizer.create_state(0, weight))
assert abs(weight.asscalar() - 0.9) < 1e-7
""",
    ),
    Difference(
        "variables that an operator makes for itself, in files",
        "carry a copy of the operator's attributes (`num_hidden` at `fc_bias`)",
        "carry what was said about them; files of MXNet load with theirs",
        """
net = sym.FullyConnected(sym.var("data"), num_hidden=3, name="fc")
assert "fc_bias" not in net.attr_dict() and net.attr_dict()["fc"]["num_hidden"] == "3"
""",
    ),
    Difference(
        "what is printed while nothing is wrong",
        "a line where `learning_rate` goes beside a `lr_scheduler`, and the arguments of an "
        "inference that failed; `Block.summary` has a row of 0 for blocks made of others",
        "neither; rows are those of layers and of blocks with parameters of their own",
        """
scheduler = mx.lr_scheduler.FactorScheduler(1, base_lr=0.5)
assert mx.optimizer.SGD(learning_rate=0.1, lr_scheduler=scheduler).lr_scheduler.base_lr == 0.1
""",
    ),
    Difference(
        "how dtypes are shown",
        "as given: `Parameter.dtype` is text or a class of numpy's, and so it is printed",
        "`Parameter.dtype` is the name; `NDArray.dtype` is the class",
        """
parameter = gluon.Parameter("w", shape=(2,), dtype=np.float64)
assert parameter.dtype == "float64" and np.dtype(parameter.dtype) == np.float64
assert repr(parameter) == "Parameter w (shape=(2,), dtype=float64)"
""",
    ),
    Difference(
        "`random_pdf_uniform` outside of the range",
        "1 / (high - low) there, too",
        "0, and -inf of the logarithm",
        """
x = nd.array([[1, 5]])
assert nd.random_pdf_uniform(x, nd.array([0]), nd.array([2])).asnumpy().tolist() == [[0.5, 0]]
""",
    ),
    Difference(
        "`mp_lamb_update_phase2`",
        "moves the weight and leaves `weight32`, from which the next step starts, as it was",
        "moves both, as `contrib.multi_mp_lamb_update` does in MXNet, too",
        """
half, exact = nd.ones((1,), dtype="float16"), nd.ones((1,))
one = nd.ones((1,))
nd.mp_lamb_update_phase2(half, one, one, one, exact, lr=0.5, out=half)
assert half.asscalar() == exact.asscalar() == 0.5
""",
    ),
    Difference(
        "`contrib.amp` under bfloat16",
        "lists of its own, which follow its kernels: RNN, Deconvolution and most others in float32",
        "the lists of float16",
        """
from tigon.contrib import amp

assert amp.list_lp16_ops("bfloat16") == amp.list_lp16_ops("float16")
assert "RNN" in amp.list_lp16_ops("bfloat16")
""",
    ),
    Difference(
        "the scale of losses after an overflow",
        "halved one step later: the next one overflows, too; falls without end",
        "halved at once; 1 is the least, and that is told",
        """
from tigon.contrib import amp

scaler = amp.LossScaler()
scaler.update(overflow=True)
assert scaler.loss_scale == 2.0**15
""",
    ),
    Difference(
        "losses of `SoftmaxOutput` and kin under `amp.init`",
        "on arrays `grad_scale` is multiplied by the scale of the first trainer, whoever steps",
        "left alone, and told once, as symbols are in MXNet: use a loss of `gluon.loss`",
        """
from tigon.contrib import amp

assert "SoftmaxOutput" in amp.list_loss_output_functions("float16")
""",
    ),
    Difference(
        "`contrib.allclose`",
        "a scalar of uint8",
        "an array of one float32, as comparisons give them",
        """
assert nd.contrib.allclose(nd.ones((2,)), nd.ones((2,))).asscalar() == 1
""",
    ),
)


WISHED = (
    Difference(
        "`amp.convert_hybrid_block`",
        "takes a hybridized block that was called; its result is on gpu(0)",
        "takes any block whose parameters have values; its result is where these are",
        """
from tigon.contrib import amp

net = gluon.nn.Dense(2, in_units=3)
net.initialize()
assert amp.convert_hybrid_block(net)(nd.ones((1, 3))).dtype == np.float16
""",
    ),
    Difference(
        "`+ - * /` of symbols",
        "demand equal shapes; `broadcast_*` must be written",
        "broadcast, as those of arrays do; a saved graph names what holds",
        """
a, b = sym.var("a", shape=(2, 1)), sym.var("b", shape=(1, 3))
assert (a + b).shape == (2, 3)
""",
    ),
    Difference(
        "`.shape` and `[]` in hybridized blocks",
        "a Symbol has no shape, and `[]` selects outputs",
        "what they are for an array, also in a plain `forward(self, x)`",
        """
class Halves(gluon.HybridBlock):
    def forward(self, x):
        return x[: x.shape[0] // 2]

net = Halves()
net.hybridize()
assert net(nd.ones((4, 2))).shape == (2, 2) and net(nd.ones((6, 2))).shape == (3, 2)
""",
    ),
    Difference(
        "Python values that traced code reads",
        "frozen at the first call",
        "guarded: the code is traced again when one has changed",
        """
class Scaled(gluon.HybridBlock):
    by = 2

    def hybrid_forward(self, F, x):
        return x * self.by

net = Scaled()
net.hybridize()
x = nd.ones((1,))
assert net(x).asscalar() == 2
net.by = 5
assert net(x).asscalar() == 5
""",
    ),
    Difference(
        "arguments of blocks by name",
        "a TypeError",
        "`loss(pred, label, sample_weight=w)`",
        """
loss = gluon.loss.L2Loss()
weighted = loss(nd.ones((1, 1)), label=nd.zeros((1, 1)), sample_weight=nd.array([[4]]))
assert weighted.asscalar() == 2
""",
    ),
    Difference(
        "`forward` below, `hybrid_forward` above",
        "the inherited `forward` runs, and the `hybrid_forward` of the subclass is ignored",
        "of both the one of the most derived class runs",
        """
class Plain(gluon.HybridBlock):
    def forward(self, x):
        return x

class Derived(Plain):
    def hybrid_forward(self, F, x):
        return x * 3

assert Derived()(nd.ones((1,))).asscalar() == 3
""",
    ),
    Difference(
        "numpy arrays beside arrays, and numpy's ufuncs",
        "object arrays, or an error",
        "operators of ours, in the dtype of the array",
        """
y = np.sqrt(nd.array([4, 9])) * np.array([10.0, 100.0])
assert isinstance(y, nd.NDArray) and y.asnumpy().tolist() == [20, 300]
""",
    ),
    Difference(
        "an index out of range",
        "another element, or undefined",
        "an IndexError that names index, axis and extent",
        """
try:
    nd.array([1, 2, 3])[nd.array([7])].asnumpy()
except IndexError as error:
    assert "index 7 is out of bounds for axis 0 with size 3" in str(error)
else:
    raise AssertionError
""",
    ),
    Difference(
        "`Trainer.save_states`",
        "a pickle",
        "arrays, which whoever loads them need not trust",
        """
net = gluon.nn.Dense(1, in_units=1)
net.initialize()
trainer = gluon.Trainer(net.collect_params(), "adam")
with tempfile.TemporaryDirectory() as folder:
    trainer.save_states(f"{folder}/states")
    assert "num_update" in nd.load(f"{folder}/states")
""",
    ),
    Difference(
        "copies of networks and trainers",
        "`copy.deepcopy` and `pickle` fail, or lose gradients",
        "both work, with contexts and gradients",
        """
import copy
net = gluon.nn.Dense(1, in_units=1)
net.initialize()
other = copy.deepcopy(net)
other.weight.set_data(net.weight.data() + 1)
assert (other.weight.data() - net.weight.data()).asscalar() == 1
""",
    ),
    Difference(
        "shapes, dtypes and names that an operator or a class of MXNet's does not take",
        "an error",
        "taken where the meaning is plain: `max` and `concat` of nothing, shapes without axes or "
        "elements, another `out_dtype` of `norm`, windows of one axis with 'same', `LRN` "
        "over more channels than there are, `dot` and `FullyConnected` of integers, activations "
        "'mish' and 'log_sigmoid', `adamw`, tuples in `nd.save`, names of metrics' labels, larger "
        "shapes in `Executor.reshape`",
        """
assert nd.max(nd.array([])).asscalar() == -np.inf
assert nd.concat(nd.array([]), nd.ones((2,)), dim=0).shape == (2,)
assert nd.ones(()).shape == () and nd.zeros((0, 2)).shape == (0, 2)
assert nd.norm(nd.array([3, 4]), out_dtype="float64").dtype == np.float64
pooled = nd.Pooling(nd.ones((1, 1, 7)), kernel=(3,), stride=(2,), pooling_convention="same")
assert pooled.shape == (1, 1, 4)
assert nd.LRN(nd.ones((1, 4, 1, 1)), nsize=5).shape == (1, 4, 1, 1)
assert nd.Activation(nd.array([0]), act_type="mish").asscalar() == 0
with tempfile.TemporaryDirectory() as folder:
    nd.save(f"{folder}/pair", (nd.ones((1,)), nd.ones((2,))))
    assert len(nd.load(f"{folder}/pair")) == 2
net = sym.FullyConnected(sym.var("x"), num_hidden=2)
assert net.simple_bind(mx.cpu(), x=(1, 3)).reshape(x=(2, 3)).arg_dict["x"].shape == (2, 3)
""",
    ),
    Difference(
        "a comparison as an index",
        "its zeros and ones are taken for row numbers",
        "refused, with the ways to say what is meant",
        """
x = nd.array([[1, 5], [3, 2]])
try:
    x[x > 2]
except IndexError as error:
    assert "use nd.where(condition, x, y)" in str(error)
else:
    raise AssertionError
""",
    ),
    Difference(
        "gradients of gradients",
        "not of every operator: `max`, `topk` and others have none",
        "of every operator",
        """
x = nd.array([1, 3])
x.attach_grad()
with autograd.record():
    (slope,) = autograd.grad(nd.max(x * x), x, create_graph=True)
    y = slope.sum()
y.backward()
assert x.grad.asnumpy().tolist() == [0, 2]
""",
    ),
    Difference(
        "`Nadam` of several parameters",
        "its product of momenta goes on with every parameter: the second one has other steps",
        "with every step: equal parameters stay equal",
        """
update = mx.optimizer.get_updater(mx.optimizer.Nadam(learning_rate=0.5))
weights = [nd.ones(1), nd.ones(1)]
for _ in range(2):
    update([0, 1], [nd.ones(1), nd.ones(1)], weights)
assert weights[0].asscalar() == weights[1].asscalar()
""",
    ),
    Difference(
        "`PearsonCorrelation(average='micro')`: global values",
        "always 0; `get` goes on after `reset_local`",
        "those of all numbers since `reset`, and of those since `reset_local`",
        """
metric = mx.metric.PearsonCorrelation(average="micro")
metric.update([nd.array([1, 2, 3])], [nd.array([2, 4, 6])])
metric.reset_local()
assert np.isclose(metric.get_global()[1], 1) and np.isnan(metric.get()[1])
""",
    ),
    Difference(
        "`Updater.get_states`",
        "without the counts of steps: Adam starts its correction anew",
        "with them",
        """
first, weight = mx.optimizer.get_updater(mx.optimizer.Adam(0.1)), nd.array([1.0])
first(0, nd.array([1.0]), weight)
second = mx.optimizer.get_updater(mx.optimizer.Adam(0.1))
second.set_states(first.get_states())
second(0, nd.array([1.0]), weight)
assert abs(weight.asscalar() - 0.8) < 1e-6
""",
    ),
    Difference(
        "a gradient of another shape than its variable",
        "taken by `mark_variables`, and wrong later",
        "refused at once",
        """
try:
    autograd.mark_variables([nd.ones((3,))], [nd.zeros((2,))])
except mx.TigonError as error:
    assert "expected a gradient like its variable" in str(error)
else:
    raise AssertionError
""",
    ),
    Difference(
        "`HybridBlock.export` and shapes",
        "needs a call of the hybridized block, and gives nothing back; shapes that were not known "
        "at first stay so in the file; a `Parameter` whose shape is set later stays uninitialized",
        "works before it, traces by itself where shapes are known, gives the names of the files, "
        "and writes the shapes there are; a parameter is initialized when its shape is known",
        """
net = gluon.nn.Dense(2, in_units=3)
net.initialize()
with tempfile.TemporaryDirectory() as folder:
    names = net.export(f"{folder}/net")
assert [name.rpartition("/")[2] for name in names] == ["net-symbol.json", "net-0000.params"]
late = gluon.Parameter("w", shape=(2, 0), allow_deferred_init=True)
late.initialize()
late.shape = (2, 3)
assert late.data().shape == (2, 3)
""",
    ),
    Difference(
        "labels of `CTCLoss` that do not fit",
        "loss 0, silently, of a label that needs more steps than there are; labels beyond the "
        "classes and lengths beyond their axis read memory that is not theirs",
        "loss 0 and gradient 0, and a warning, once; a label or a length out of range is an error",
        """
import warnings

x, label = nd.ones((2, 1, 3)), nd.array([[1, 1]])
x.attach_grad()
with warnings.catch_warnings(), autograd.record():
    warnings.simplefilter("ignore")
    loss = nd.CTCLoss(x, label)
loss.backward()
assert loss.asscalar() == 0 and not x.grad.asnumpy().any()
for label, length in (([[3, 1]], 2), ([[1, 2]], 5)):
    try:
        nd.CTCLoss(x, nd.array(label), nd.array([length]), use_data_lengths=True).asnumpy()
    except IndexError as error:
        assert "CTCLoss: " in str(error) and "expected 0 to 2" in str(error)
    else:
        raise AssertionError
""",
    ),
    Difference(
        "lengths of recurrent layers",
        "`RNN` takes `use_sequence_length` in mode 'lstm' only, on a gpu",
        "in all modes",
        """
layer = gluon.rnn.GRU(2, use_sequence_length=True)
layer.initialize()
out, (last,) = layer(nd.ones((3, 1, 2)), layer.begin_state(1), nd.array([2]))
assert out[2].asnumpy().tolist() == [[0, 0]] and (last[0] == out[1]).asnumpy().all()
""",
    ),
    Difference(
        "`begin_state()` of `ZoneoutCell` and its kin",
        "gives symbols, unless `func=nd.zeros`",
        "gives arrays, as that of other cells",
        """
cell = gluon.rnn.ResidualCell(gluon.rnn.GRUCell(2))
assert [type(state) for state in cell.begin_state(batch_size=1)] == [nd.NDArray]
""",
    ),
)
"""Where MXNet did as it was meant to, and its users asked for more."""


def run(difference: Difference) -> None:
    """Its program; an assertion fails where the page is wrong."""
    exec(compile(PREAMBLE + difference.program, difference.topic, "exec"), {})
