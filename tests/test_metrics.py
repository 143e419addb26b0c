import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from seglib import metrics
from seglib.metrics import ConfusionMatrix


def score(mask, pred, num_classes, **kwargs):
    metric = ConfusionMatrix(num_classes, **kwargs)
    metric.update_state(mask, pred)
    return metric


def test_hand_arithmetic():
    #               predicted
    #               0  1  2
    #   true    0 [ 3, 1, 0 ]
    #           1 [ 0, 2, 0 ]
    #           2 [ 0, 1, 0 ]   and one void pixel
    mask = np.array([[0, 0, 0, 0, 1, 1, 2, 255]])
    pred = np.array([[0, 0, 0, 1, 1, 1, 1, 2]])
    metric = score(mask, pred, 3)
    assert metric.matrix.tolist() == [[3, 1, 0], [0, 2, 0], [0, 1, 0]]
    np.testing.assert_allclose(metric.iou(), [3 / 4, 2 / 4, 0 / 1])
    np.testing.assert_allclose(metric.dice(), [6 / 7, 4 / 6, 0])
    assert metric.accuracy() == 5 / 7
    assert metric.mean_iou() == pytest.approx((3 / 4 + 2 / 4 + 0) / 3)
    assert float(metric.result()) == pytest.approx((3 / 4 + 2 / 4 + 0) / 3)


def test_logits_and_ids_give_the_same(rng):
    mask = rng.integers(0, 5, (2, 6, 7))
    logits = rng.normal(size=(2, 6, 7, 5)).astype(np.float32).round()  # ties go to the first class, as in NumPy
    np.testing.assert_array_equal(score(mask, logits, 5).matrix, score(mask, logits.argmax(-1), 5).matrix)


def test_large_batches_are_counted_as_small_ones_are(rng, monkeypatch):
    mask = rng.choice(np.array([0, 1, 4, 9, 255]), (2, 6, 7))
    logits = rng.normal(size=(2, 6, 7, 5)).astype(np.float32).round()
    logits[rng.random(logits.shape) < 0.02] = np.nan
    for pred in (logits, rng.integers(-1, 6, mask.shape)):
        small = score(mask, pred, 5)
        monkeypatch.setattr("seglib.metrics.confusion._MANY", 0)
        np.testing.assert_array_equal(score(mask, pred, 5)._read_counts(), small._read_counts())
        monkeypatch.undo()


def draw_case(data):
    """Hostile masks and predictions: absent classes, one class only, all void, single pixels, invented classes."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    shape, num_classes = data.draw(st.sampled_from([(1,), (7,), (3, 4), (2, 5, 6)])), data.draw(st.integers(1, 7))
    true = data.draw(st.lists(st.integers(0, num_classes - 1), min_size=1))
    mask = rng.choice(true, shape)
    pred = np.where(rng.random(shape) < data.draw(st.sampled_from([0, 0.3, 1])), rng.integers(0, num_classes), mask)
    return np.where(rng.random(shape) < data.draw(st.sampled_from([0, 0.3, 1])), 255, mask), pred, num_classes


@given(st.data())
@settings(max_examples=100, deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_scores_agree_with_scikit_learn(data):
    mask, pred, num_classes = draw_case(data)
    matrix, keep = metrics.confusion_matrix(mask, pred, num_classes), mask != 255
    if not keep.any():
        scores = (metrics.mean_iou, metrics.accuracy, metrics.mean_accuracy, metrics.frequency_weighted_iou)
        assert matrix.sum() == 0
        assert np.isnan([score(matrix) for score in scores]).all()
        return
    pair, each = (mask[keep], pred[keep]), {"labels": range(num_classes), "average": None, "zero_division": np.nan}
    np.testing.assert_array_equal(matrix, oracle.confusion_matrix(*pair, labels=range(num_classes)))
    for ours, theirs in (
        (metrics.dice, oracle.f1_score),
        (metrics.precision, oracle.precision_score),
        (metrics.recall, oracle.recall_score),
    ):
        np.testing.assert_allclose(ours(matrix), theirs(*pair, **each), atol=1e-12)
    seen = np.unique(pair)  # scikit-learn gives absent classes an IoU of 0
    iou = oracle.jaccard_score(*pair, labels=seen, average=None, zero_division=0)
    np.testing.assert_allclose(metrics.iou(matrix)[seen], iou, atol=1e-12)
    assert np.isnan(np.delete(metrics.iou(matrix), seen)).all()
    assert metrics.mean_iou(matrix) == pytest.approx(iou.mean())
    assert metrics.accuracy(matrix) == pytest.approx(oracle.accuracy_score(*pair))
    assert metrics.mean_accuracy(matrix) == pytest.approx(oracle.balanced_accuracy_score(*pair))
    weighted = oracle.jaccard_score(*pair, average="weighted", zero_division=0)
    assert metrics.frequency_weighted_iou(matrix) == pytest.approx(weighted)


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_the_metric_agrees_with_keras_and_with_the_array(data):
    mask, pred, num_classes = draw_case(data)
    metric, matrix = score(mask, pred, num_classes), metrics.confusion_matrix(mask, pred, num_classes)
    np.testing.assert_array_equal(metric.matrix, matrix)
    theirs = keras.metrics.MeanIoU(num_classes, ignore_class=255)
    theirs.update_state(mask, pred)
    assert float(metric.result()) == pytest.approx(float(theirs.result()), abs=1e-6)
    one_hot = keras.metrics.OneHotMeanIoU(num_classes, ignore_class=255, sparse_y_pred=False)
    one_hot.update_state(np.eye(256)[mask], np.eye(num_classes)[pred])
    assert float(metric.result()) == pytest.approx(float(one_hot.result()), abs=1e-6)
    if (mask != 255).any():
        assert float(metric.result()) == pytest.approx(metrics.mean_iou(matrix), abs=1e-6)


def test_camvid_protocol(rng):
    """Class 11 is void: dropped from the truth and from the predictions, one matrix over the whole set."""
    masks, preds = rng.integers(0, 12, (2, 5, 20, 30))
    matrix = sum(metrics.confusion_matrix(*pair, 12) for pair in zip(masks, preds, strict=True))[:11, :11]
    keep = (masks != 11) & (preds != 11)
    theirs = oracle.jaccard_score(masks[keep], preds[keep], labels=range(11), average=None)
    np.testing.assert_allclose(metrics.iou(matrix), theirs, atol=1e-12)


def test_scores_of_stacked_matrices_are_those_of_each(rng):
    matrices = rng.integers(0, 50, (2, 3, 4, 4))
    matrices[0, 0] = 0
    matrices[1, 1, 2], matrices[1, 1, :, 2] = 0, 0
    for name in "iou dice precision recall accuracy mean_accuracy mean_iou frequency_weighted_iou".split():
        score_of = getattr(metrics, name)
        each = [[score_of(matrix) for matrix in row] for row in matrices]
        np.testing.assert_array_equal(score_of(matrices), each)


def test_batches_add_up_and_void_pixels_do_not_count(rng):
    mask, pred = rng.integers(0, 3, (2, 4, 8, 8))
    mask[:, :4] = 11
    metric = ConfusionMatrix(3, ignore_id=11)
    for i in range(4):
        metric.update_state(mask[i : i + 1], pred[i : i + 1])
    np.testing.assert_array_equal(metric.matrix, metrics.confusion_matrix(mask[:, 4:], pred[:, 4:], 3))
    metric.reset_state()
    assert metric.matrix.sum() == 0


def test_absent_classes_do_not_count_and_nothing_is_nan_in_the_means():
    metric = score(np.array([[0, 0]]), np.array([[0, 0]]), 3)
    assert np.isnan(metric.iou()).tolist() == [False, True, True]
    assert float(metric.result()) == metric.mean_iou() == 1
    void = score(np.full((1, 4, 4), 255), np.zeros((1, 4, 4), int), 3)
    assert float(void.result()) == 0
    assert np.isnan([void.mean_iou(), void.accuracy()]).all()


def test_counts_are_exact_beyond_32_bits():
    """As after 100,000 images of 512×512, 2.6 · 10¹⁰ pixels, of which the next batch tips the low word over."""
    metric = ConfusionMatrix(2)
    metric._low.assign(np.array([2**24 - 1, 0, 0, 5, 0, 0], np.int32))
    metric._high.assign(np.array([1562, 0, 0, 0, 0, 0], np.int32))
    assert metric.matrix[0, 0] == 1562 * 2**24 + 2**24 - 1 > 2.6e10
    metric.update_state(np.array([[0, 0, 1]]), np.array([[0, 0, 0]]))
    assert metric.matrix.tolist() == [[1563 * 2**24 + 1, 0], [1, 5]]
    assert [v.shape for v in metric.variables] == [(6,), (6,)]  # all that it holds, however many images it saw


WRONG_IDS = [
    (np.array([[0, 7]]), np.array([[0, 0]])),
    (np.array([[0, 1]]), np.array([[0, 3]])),
    (np.array([[0, -1]]), np.array([[0, 0]])),
    (np.array([[0, 1]]), np.array([[0, -1]])),
]


@pytest.mark.parametrize(("mask", "pred"), [*WRONG_IDS, (np.array([[0, 1]]), np.array([[[0, 1, 2], [0, np.nan, 1]]]))])
def test_ids_that_no_class_has_and_nan_are_not_dropped_silently(mask, pred):
    metric = score(mask, pred, 3)
    assert np.isnan(metric.result())
    with pytest.raises(ValueError, match="1 pixels had another id, true or predicted, or NaN logits"):
        metric.mean_iou()


def test_nan_in_any_channel_or_void_pixel():
    for channel in range(3):
        logits = np.zeros((1, 2, 3), np.float32)
        logits[0, 0, channel] = np.nan
        assert np.isnan(score(np.array([[0, 1]]), logits, 3).result())
        assert score(np.array([[255, 0]]), logits, 3).matrix.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("mask", "pred", "message"),
    [
        (*WRONG_IDS[0], "mask has the id 7, outside the classes 0–2"),
        (*WRONG_IDS[1], "pred has the id 3"),
        (*WRONG_IDS[2], "mask has the id -1"),
        (*WRONG_IDS[3], "pred has the id -1"),
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"one shape, got \(2, 3\) and \(3, 2\)"),
        (np.zeros((2, 3), int), np.zeros((2, 3)), "pred must hold integer ids, got float64"),
        (np.zeros((2, 3)), np.zeros((2, 3), int), "mask must hold integer ids"),
    ],
)
def test_confusion_matrix_refuses_what_does_not_fit(mask, pred, message):
    with pytest.raises(ValueError, match=message):
        metrics.confusion_matrix(mask, pred, 3)


@pytest.mark.parametrize(
    ("pred", "message"),
    [
        (np.zeros((1, 2, 2, 4), np.float32), r"shape \(1, 2, 2\).* of 3 classes, got \(1, 2, 2, 4\)"),
        (np.zeros((1, 2, 2), np.float32), "integer ids.* got .*float32"),
        (np.zeros((1,), np.int32), r"got \(1,\)"),
        (np.zeros((1, 4, 1), np.int32), r"got \(1, 4, 1\)"),
        (np.zeros((1, 1, 4, 3), np.float32), r"got \(1, 1, 4, 3\)"),
        (np.zeros((1, 2, 2, 3, 3), np.float32), r"got \(1, 2, 2, 3, 3\)"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(pred, message):
    with pytest.raises(ValueError, match=message):
        score(np.zeros((1, 2, 2), np.int32), pred, 3)


def test_sample_weight_class_as_ignore_id_and_what_is_no_matrix_are_refused():
    with pytest.raises(ValueError, match=r"got \(2, 3\)"):
        metrics.iou(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="sample_weight"):
        ConfusionMatrix(2).update_state([[0]], [[0]], sample_weight=[[1.0]])
    with pytest.raises(ValueError, match="ignore_id .* got 11"):
        ConfusionMatrix(12, ignore_id=11)
    with pytest.raises(ValueError, match="ignore_id .* got 2"):
        metrics.confusion_matrix(np.zeros((2, 3), int), np.zeros((2, 3), int), 3, ignore_id=2)


def test_works_inside_a_compiled_fit(rng):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255),
        metrics=[ConfusionMatrix(3)],
        jit_compile=True,
    )
    images, mask = rng.normal(size=(4, 6, 5, 3)).astype(np.float32), rng.integers(0, 3, (4, 6, 5))
    model.fit(images, mask, batch_size=2, verbose=0)
    reported = model.evaluate(images, mask, verbose=0, return_dict=True)["miou"]
    assert reported == pytest.approx(score(mask, model.predict(images, verbose=0), 3).mean_iou(), abs=1e-6)


def test_config_round_trip():
    metric = ConfusionMatrix(np.int64(5), ignore_id=np.uint8(9), name="mine")
    again = keras.metrics.deserialize(json.loads(json.dumps(keras.metrics.serialize(metric))))
    assert (again.num_classes, again.ignore_id, again.name) == (5, 9, "mine")


REPLICAS = """
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
import numpy as np
from seglib import losses, metrics

rng = np.random.default_rng(0)
images, mask = rng.normal(size=(10, 6, 5, 3)).astype("float32"), rng.integers(0, 3, (10, 6, 5))
mask[:, 0] = 255
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    inputs = keras.Input((6, 5, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    metric = metrics.ConfusionMatrix(3)
    model.compile("sgd", losses.CompoundLoss({"cross_entropy": 1}), metrics=[metric])
model.fit(images, mask, batch_size=4, verbose=0)
reported = model.evaluate(images, mask, batch_size=4, verbose=0, return_dict=True)["miou"]
matrix = metrics.confusion_matrix(mask, model.predict(images, verbose=0).argmax(-1), 3)
assert (metric.matrix == matrix).all(), (metric.matrix, matrix)
assert abs(reported - metrics.mean_iou(matrix)) < 1e-6, (reported, metrics.mean_iou(matrix))
print("counted", matrix.sum())
"""


@pytest.mark.slow
def test_two_replicas_count_together():
    done = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "counted 250" in done.stdout
