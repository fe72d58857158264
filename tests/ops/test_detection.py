"""Operators of detection beyond what the registry compares: answers of MXNet 1.9.1, random cases
against plain loops, hybridized networks, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, sym

SCORED = nd.array(
    [
        [0, 0.55, 0.1, 0.15, 0.25, 0.3],
        [1, 0.45, 0.1, 0.15, 0.25, 0.3],
        [0, 0.35, 0.1, 0.15, 0.18, 0.24],
        [2, 0.65, 0.5, 0.4, 0.7, 0.9],
    ]
)


@pytest.mark.parametrize(
    ("attributes", "scores"),
    [
        ({"overlap_thresh": 0.1, "id_index": 0, "force_suppress": True}, [0.65, 0.55, -1, -1]),
        ({"overlap_thresh": 0.1, "id_index": 0}, [0.65, 0.55, 0.45, -1]),
        ({"overlap_thresh": 0.5}, [0.65, 0.55, 0.35, -1]),
        ({"overlap_thresh": 0.1, "id_index": 0, "valid_thresh": 0.35}, [0.65, 0.55, 0.45, -1]),
        ({"overlap_thresh": 0.1, "id_index": 0, "topk": 2}, [0.65, 0.55, -1, -1]),
        ({"overlap_thresh": 0.1, "id_index": 0, "background_id": 0}, [0.65, 0.45, -1, -1]),
    ],
)
def test_boxes_that_are_left(attributes: dict, scores: list[float]) -> None:
    """mxnet 1.9.1"""
    found = nd.contrib.box_nms(SCORED, **attributes).asnumpy()
    np.testing.assert_allclose(found[:, 1], scores)


def random_boxes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    first = rng.uniform(0, 0.8, (*shape, 2))
    return np.concatenate([first, first + rng.uniform(0.05, 0.3, (*shape, 2))], -1)


@pytest.mark.parametrize("count", [1, 60, 700])
@pytest.mark.parametrize("topk", [-1, 50])
def test_many_boxes(count: int, topk: int) -> None:
    """Beside plain Python. Rows are whole, order is that of scores, and nothing is invented."""
    rng = np.random.default_rng(count)
    boxes = random_boxes(rng, 2, count)
    scores, kinds = (
        rng.permutation(2 * count).reshape(2, count, 1),
        rng.integers(0, 3, (2, count, 1)),
    )
    data = np.concatenate([kinds, scores / (2 * count) - 0.2, boxes], 2).astype(np.float32)
    found = nd.contrib.box_nms(nd.array(data), id_index=0, overlap_thresh=0.3, topk=topk).asnumpy()
    for rows, result in zip(data, found, strict=True):
        left = sorted((row for row in rows if row[1] > 0), key=lambda row: -row[1])
        kept: list[np.ndarray] = []
        for row in left[: topk if topk > 0 else None]:
            own = [other for other in kept if other[0] == row[0] and share(other, row) > 0.3]
            if not own:
                kept.append(row)
        np.testing.assert_array_equal(result[: len(kept)], np.array(kept).reshape(-1, 6))
        assert (result[len(kept) :] == -1).all()


def share(a: np.ndarray, b: np.ndarray) -> float:
    both = nd.contrib.box_iou(nd.array(a[None, 2:6]), nd.array(b[None, 2:6]))
    return float(both.asscalar())


def test_gradients_go_where_rows_come_from() -> None:
    """mxnet 1.9.1, its documentation"""
    x = nd.array(
        [
            [0, 0.5, 0.1, 0.1, 0.2, 0.2],
            [1, 0.4, 0.1, 0.1, 0.2, 0.2],
            [0, 0.3, 0.1, 0.1, 0.14, 0.14],
            [2, 0.6, 0.5, 0.5, 0.7, 0.8],
        ]
    )
    x.attach_grad()
    with autograd.record():
        y = nd.contrib.box_nms(x, overlap_thresh=0.1, id_index=0, force_suppress=True)
    y.backward(nd.array(np.repeat([[0.1], [0.2], [0.3], [0.4]], 6, 1)))
    np.testing.assert_allclose(x.grad.asnumpy()[:, 0], [0.2, 0, 0, 0.1])


def test_no_more_pairs_than_asked_for() -> None:
    scores = nd.array([[0.5, 0.6], [0.1, 0.2], [0.3, 0.4]])
    for topk, pairs in ((1, 1), (2, 2), (-1, 2)):
        x, y = nd.contrib.bipartite_matching(scores, threshold=0, topk=topk)
        assert (x.asnumpy() >= 0).sum() == (y.asnumpy() >= 0).sum() == pairs


def test_what_is_encoded_is_decoded() -> None:
    rng = np.random.default_rng(1)
    anchors, refs = nd.array(random_boxes(rng, 1, 9)), nd.array(random_boxes(rng, 1, 9))
    ones, places = nd.ones((1, 9)), nd.arange(9).reshape((1, 9))
    deviations = nd.array([0.1, 0.1, 0.2, 0.2])
    offsets, _ = nd.contrib.box_encode(ones, places, anchors, refs, nd.zeros(4), deviations)
    back = nd.contrib.box_decode(offsets, anchors, 0.1, 0.1, 0.2, 0.2, format="corner")
    np.testing.assert_allclose(back.asnumpy(), refs.asnumpy(), rtol=1e-4, atol=1e-5)


def test_targets_are_detected() -> None:
    """What anchors should predict is, predicted, what was there."""
    rng = np.random.default_rng(2)
    anchors = nd.contrib.MultiBoxPrior(nd.zeros((1, 1, 6, 6)), sizes=(0.2, 0.3), ratios=(1, 2))
    boxes = np.array([[0.1, 0.1, 0.3, 0.35], [0.6, 0.5, 0.85, 0.8]])
    kinds = rng.integers(0, 3, (2, 1))
    label = nd.array(np.concatenate([kinds, boxes], 1)[None])
    count = anchors.shape[1]
    offsets, mask, wanted = nd.contrib.MultiBoxTarget(anchors, label, nd.zeros((1, 4, count)))
    assert mask.sum().asscalar() >= 8
    chances = nd.one_hot(wanted, depth=4).transpose((0, 2, 1))
    found = nd.contrib.MultiBoxDetection(chances, offsets, anchors, nms_threshold=0.3).asnumpy()[0]
    rows = found[found[:, 0] >= 0]
    for (kind,), box in zip(kinds, boxes, strict=True):
        assert any(row[0] == kind and abs(row[2:] - box).max() < 1e-3 for row in rows)


def test_hard_negatives() -> None:
    anchors = nd.contrib.MultiBoxPrior(nd.zeros((1, 1, 4, 4)), sizes=(0.25,))
    label = nd.array([[[0, 0, 0, 0.25, 0.25]]])
    background = np.linspace(1, -1, 16)  # the last ones look least like it
    scores = nd.array(np.stack([background, -background])[None])
    *_, kinds = nd.contrib.MultiBoxTarget(
        anchors, label, scores, negative_mining_ratio=3, negative_mining_thresh=0.5
    )
    assert kinds.asnumpy()[0].tolist() == [1, *[-1] * 12, 0, 0, 0]


class Detector(gluon.HybridBlock):
    """Everything at once, of a size that its input has."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.kinds = gluon.nn.Conv2D(3, 3, padding=1)
            self.places = gluon.nn.Conv2D(4, 3, padding=1)

    def hybrid_forward(self, F, x, label):
        anchors = F.contrib.MultiBoxPrior(x, sizes=(0.3,))
        kinds = self.kinds(x).transpose((0, 2, 3, 1)).reshape((0, -1, 3))
        places = self.places(x).transpose((0, 2, 3, 1)).flatten()
        scores = kinds.transpose((0, 2, 1))
        offsets, mask, wanted = F.contrib.MultiBoxTarget(anchors, label, scores)
        chances = F.softmax(scores, axis=1)
        found = F.contrib.MultiBoxDetection(chances, places, anchors, nms_threshold=0.3)
        nearest = F.pick(F.log_softmax(kinds), F.maximum(wanted, 0))
        return F.smooth_l1((places - offsets) * mask).sum() - nearest.sum(), found


def test_a_hybridized_detector_means_the_same_at_every_size() -> None:
    mx.random.seed(4)
    plain = Detector()
    plain.initialize(mx.init.Normal(0.3))
    label = nd.array(
        [[[1, 0.1, 0.1, 0.4, 0.5], [-1] * 5], [[0, 0.5, 0.5, 0.9, 0.9], [1, 0, 0, 1, 1]]]
    )
    inputs = [nd.random.normal(shape=(2, 2, *size)) for size in ((4, 5), (6, 3), (5, 5), (7, 7))]

    def results(x: nd.NDArray) -> list[np.ndarray]:
        with autograd.record():
            loss, found = plain(x, label)
        loss.backward()
        return [loss.asnumpy(), found.asnumpy(), plain.kinds.weight.grad().asnumpy()]

    expected = [results(x) for x in inputs]
    plain.hybridize(strict=True)
    for x, wanted in zip(inputs, expected, strict=True):
        for one, other in zip(results(x), wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def test_symbols_and_files_hold_them() -> None:
    data = sym.var("data")
    net = sym.contrib.box_nms(data, overlap_thresh=0.2, id_index=0, name="left")
    again = mx.sym.load_json(net.tojson())
    for one in (net, again):
        (found,) = one.eval(data=SCORED)
        direct = nd.contrib.box_nms(SCORED, overlap_thresh=0.2, id_index=0)
        np.testing.assert_array_equal(found.asnumpy(), direct.asnumpy())
    deformed = sym.contrib.DeformableConvolution(
        data, sym.var("offset"), kernel=(3, 3), num_filter=4, name="deformed"
    )
    assert deformed.list_arguments() == ["data", "offset", "deformed_weight", "deformed_bias"]
    shapes, *_ = deformed.infer_shape(data=(1, 2, 5, 5))
    assert shapes[1:] == [(1, 18, 3, 3), (4, 2, 3, 3), (4,)]


def test_places_that_stay_make_an_ordinary_convolution() -> None:
    rng = np.random.default_rng(3)
    x, w = nd.array(rng.normal(size=(2, 4, 7, 6))), nd.array(rng.normal(size=(6, 2, 3, 3)))
    how = {"kernel": (3, 3), "num_filter": 6, "num_group": 2, "no_bias": True, "stride": (2, 1)}
    plain = nd.Convolution(x, w, **how)
    offset, mask = nd.zeros((2, 18, *plain.shape[2:])), nd.ones((2, 9, *plain.shape[2:]))
    for found in (
        nd.contrib.DeformableConvolution(x, offset, w, **how),
        nd.contrib.ModulatedDeformableConvolution(x, offset, mask, w, **how),
    ):
        np.testing.assert_allclose(found.asnumpy(), plain.asnumpy(), rtol=1e-4, atol=1e-5)


REFUSED = {
    "box_nms: data: expected (..., boxes, numbers), at least a score and four coordinates for each "
    "box; given shape (2, 4)": lambda: nd.contrib.box_nms(nd.ones((2, 4))),
    "box_nms: in_format: expected 'corner' (x1, y1, x2, y2) or 'center' (x, y, width, height); "
    "given 'yxyx'": lambda: nd.contrib.box_nms(SCORED, in_format="yxyx"),
    "box_nms: score_index: expected a place among 6 numbers, but not among the coordinates at 2 to "
    "5; given 3": lambda: nd.contrib.box_nms(SCORED, score_index=3),
    "box_nms: id_index: expected another place than that of the score; both are 1": lambda: (
        nd.contrib.box_nms(SCORED, id_index=1)
    ),
    "box_decode: format: expected 'corner' (x1, y1, x2, y2) or 'center' (x, y, width, height); "
    "given 'corners'": lambda: nd.contrib.box_decode(
        nd.ones((1, 2, 4)), nd.ones((1, 2, 4)), format="corners"
    ),
    "MultiBoxPrior: sizes: expected positive numbers, at least one; given (-1.0,)": lambda: (
        nd.contrib.MultiBoxPrior(nd.ones((1, 1, 2, 2)), sizes=(-1,))
    ),
    "MultiBoxPrior: steps: expected two positive numbers, or (-1, -1) for those between the places "
    "of data; given (0.5, -1.0)": lambda: nd.contrib.MultiBoxPrior(
        nd.ones((1, 1, 2, 2)), steps=(0.5, -1)
    ),
    "MultiBoxTarget: label: expected (batch, labels, 5): class and corners x1, y1, x2, y2 of each, "
    "and rows of -1 behind the last; given shape (1, 2, 4)": lambda: nd.contrib.MultiBoxTarget(
        nd.ones((1, 3, 4)), nd.ones((1, 2, 4)), nd.ones((1, 2, 3))
    ),
    "MultiBoxTarget: cls_pred: expected (batch 1, classes, anchors 3); given shape (1, 3, 2); "
    "transpose it, axes=(0, 2, 1)?": lambda: nd.contrib.MultiBoxTarget(
        nd.ones((1, 3, 4)), nd.ones((1, 2, 5)), nd.ones((1, 3, 2))
    ),
    "MultiBoxDetection: variances: expected four positive numbers, of x, y, width and height; "
    "given (0.1, -0.1, 0.2, 0.2)": lambda: nd.contrib.MultiBoxDetection(
        nd.ones((1, 2, 3)), nd.ones((1, 12)), nd.ones((1, 3, 4)), variances=(0.1, -0.1, 0.2, 0.2)
    ),
    "MultiBoxDetection: loc_pred: expected shape (1, 12), four numbers for each anchor; given "
    "(1, 3, 4); reshape it, shape=(0, -1)?": lambda: nd.contrib.MultiBoxDetection(
        nd.ones((1, 2, 3)), nd.ones((1, 3, 4)), nd.ones((1, 3, 4))
    ),
    "Proposal: cls_prob: expected one picture; given 2; use MultiProposal": lambda: (
        nd.contrib.Proposal(nd.ones((2, 24, 2, 2)), nd.ones((2, 48, 2, 2)), nd.ones((2, 3)))
    ),
    "MultiProposal: scales: expected positive numbers, at least one; given (4.0, -8.0)": lambda: (
        nd.contrib.MultiProposal(
            nd.ones((2, 12, 2, 2)), nd.ones((2, 24, 2, 2)), nd.ones((2, 3)), scales=(4, -8)
        )
    ),
    "ROIAlign: spatial_scale: expected a positive number, the extents of data over those that "
    "regions are given in; given -1.0": lambda: nd.contrib.ROIAlign(
        nd.ones((1, 1, 2, 2)), nd.ones((1, 5)), pooled_size=(1, 1), spatial_scale=-1
    ),
    "DeformableConvolution: offset: expected shape (1, 8, 2, 2) for data (1, 1, 3, 3), kernel "
    "(2, 2), num_filter 1, num_group 1 and num_deformable_group 1; given (1, 4, 2, 2)": lambda: (
        nd.contrib.DeformableConvolution(
            nd.ones((1, 1, 3, 3)),
            nd.ones((1, 4, 2, 2)),
            nd.ones((1, 1, 2, 2)),
            kernel=(2, 2),
            num_filter=1,
            no_bias=True,
        )
    ),
    "Correlation: kernel_size: expected an odd number; given 2": lambda: nd.Correlation(
        nd.ones((1, 1, 5, 5)), nd.ones((1, 1, 5, 5)), kernel_size=2
    ),
    "image.resize: size: expected (width, height), or one number for both; given (0,)": lambda: (
        nd.image.resize(nd.ones((2, 2, 3)), size=0)
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message: str) -> None:
    with pytest.raises(mx.MXNetError) as error:
        REFUSED[message]()
    assert str(error.value).partition(": ")[2].endswith(message.partition(": ")[2])
    assert message.partition(":")[0] in str(error.value)
