import keras
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from seglib.metrics import ConfusionMatrix, boundary_f1


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
    logits = rng.normal(size=(2, 6, 7, 5)).astype(np.float32)
    np.testing.assert_array_equal(score(mask, logits, 5).matrix, score(mask, logits.argmax(-1), 5).matrix)


def test_ties_go_to_the_first_class_as_in_numpy():
    logits = np.array([[[1.0, 1.0, 1.0], [0.0, 2.0, 2.0]]], np.float32)
    assert score(np.array([[0, 1]]), logits, 3).matrix.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_agrees_with_scikit_learn_and_keras(rng):
    mask, pred = rng.integers(0, 4, (3, 9, 9)), rng.integers(0, 4, (3, 9, 9))
    mask[0, :3] = 255
    keep = mask != 255
    metric = score(mask, pred, 4)
    np.testing.assert_array_equal(metric.matrix, confusion_matrix(mask[keep], pred[keep], labels=range(4)))
    np.testing.assert_allclose(metric.iou(), jaccard_score(mask[keep], pred[keep], average=None), atol=1e-12)
    np.testing.assert_allclose(metric.dice(), f1_score(mask[keep], pred[keep], average=None), atol=1e-12)
    oracle = keras.metrics.MeanIoU(4, ignore_class=255)
    oracle.update_state(mask, pred)
    assert float(metric.result()) == pytest.approx(float(oracle.result()), abs=1e-6)


def test_batches_add_up(rng):
    mask, pred = rng.integers(0, 3, (4, 5, 5)), rng.integers(0, 3, (4, 5, 5))
    metric = ConfusionMatrix(3)
    for i in range(4):
        metric.update_state(mask[i : i + 1], pred[i : i + 1])
    np.testing.assert_array_equal(metric.matrix, score(mask, pred, 3).matrix)
    metric.reset_state()
    assert metric.matrix.sum() == 0


def test_altering_void_pixels_changes_nothing(rng):
    mask, pred = rng.integers(0, 3, (1, 8, 8)), rng.integers(0, 3, (1, 8, 8))
    mask[0, :4] = 255
    other = pred.copy()
    other[0, :4] = (other[0, :4] + 1) % 3
    np.testing.assert_array_equal(score(mask, pred, 3).matrix, score(mask, other, 3).matrix)
    assert score(np.where(mask == 255, 11, mask), pred, 3, ignore_id=11).matrix.sum() == 32


def test_absent_classes_do_not_count_and_nothing_is_nan_in_the_means():
    metric = score(np.array([[0, 0]]), np.array([[0, 0]]), 3)
    assert np.isnan(metric.iou()).tolist() == [False, True, True]
    assert float(metric.result()) == metric.mean_iou() == 1
    void = score(np.full((1, 4, 4), 255), np.zeros((1, 4, 4), int), 3)
    assert (float(void.result()), void.mean_iou(), void.accuracy()) == (0, 0, 0)


def test_counts_are_exact_beyond_32_bits():
    metric = ConfusionMatrix(2)
    start = np.array([2**30 - 1, 0, 0, 5, 0, 0], np.int32)
    metric._low.assign(start)
    metric._high.assign(np.array([24, 0, 0, 0, 0, 0], np.int32))
    metric.update_state(np.array([[0, 0, 1]]), np.array([[0, 0, 0]]))
    assert metric.matrix.tolist() == [[24 * 2**30 + 2**30 - 1 + 2, 0], [1, 5]]


def test_ids_that_no_class_has_are_not_dropped_silently():
    with pytest.raises(ValueError, match="1 pixels had an id"):
        _ = score(np.array([[0, 7]]), np.array([[0, 0]]), 3).matrix
    with pytest.raises(ValueError, match="1 pixels had an id"):
        _ = score(np.array([[0, 1]]), np.array([[0, 3]]), 3).matrix


@pytest.mark.parametrize(
    ("pred", "message"),
    [
        (np.zeros((1, 2, 2, 4), np.float32), "4 channels; wanted one per class, 3"),
        (np.zeros((1, 2, 2), np.float32), "integer ids"),
        (np.zeros((1,), np.int32), "ids of the mask's shape"),
        (np.zeros((1, 4, 1), np.int32), "pred has 4 along axis 1, where the mask has 2"),
        (np.zeros((1, 1, 4, 3), np.float32), "pred has 1 along axis 1, where the mask has 2"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(pred, message):
    with pytest.raises(ValueError, match=message):
        score(np.zeros((1, 2, 2), np.int32), pred, 3)


def test_sample_weight_and_class_as_ignore_id_are_refused():
    with pytest.raises(ValueError, match="sample_weight"):
        ConfusionMatrix(2).update_state([[0]], [[0]], sample_weight=[[1.0]])
    with pytest.raises(ValueError, match="ignore_id"):
        ConfusionMatrix(12, ignore_id=11)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_works_inside_fit_compiled_or_not(rng, jit_compile):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255),
        metrics=[ConfusionMatrix(3)],
        jit_compile=jit_compile,
    )
    images, mask = rng.normal(size=(4, 6, 5, 3)).astype(np.float32), rng.integers(0, 3, (4, 6, 5))
    model.fit(images, mask, batch_size=2, verbose=0)
    reported = model.evaluate(images, mask, verbose=0, return_dict=True)["miou"]
    assert reported == pytest.approx(score(mask, model.predict(images, verbose=0), 3).mean_iou(), abs=1e-6)


def test_config_round_trip():
    metric = ConfusionMatrix(5, ignore_id=9, name="mine")
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert (again.num_classes, again.ignore_id, again.name) == (5, 9, "mine")


# Boundary F1


def boundary_f1_by_distances(mask, pred, num_classes, tolerance, ignore_id):
    """The same the straightforward way: for each class a distance transform of either outline, image by image."""

    def outline(ids, label):
        at = np.zeros(ids.shape, bool)
        for y, x in np.argwhere(ids == label):
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= v < ids.shape[0] and 0 <= u < ids.shape[1]
                at[y, x] |= inside and ids[v, u] not in (label, ignore_id)
        return at

    def count_within(own, other):
        near = scipy.ndimage.distance_transform_edt(~other) <= tolerance if other.any() else np.zeros_like(own)
        return np.array([(own & near).sum(), own.sum()])

    scores = []
    for label in range(num_classes):
        counts = np.zeros((2, 2), int)
        for truth, said in zip(mask, pred, strict=True):
            lines = outline(truth, label), outline(np.where(truth == ignore_id, ignore_id, said), label)
            counts += [count_within(*lines), count_within(*lines[::-1])]
        (found, true), (right, predicted) = counts
        p, r = right / max(predicted, 1), found / max(true, 1)
        scores.append(np.nan if true + predicted == 0 else 2 * p * r / (p + r) if p + r else 0)
    return scores


def test_boundary_f1_by_hand():
    # A pole one pixel wide in a row of nine. Its outline is itself and, on the wall's side, the two pixels beside it.
    mask, pred = np.array([[0, 0, 0, 1, 0, 0, 0, 0, 0]]), np.array([[0, 0, 0, 0, 0, 1, 0, 0, 0]])
    # wall: true 2, 4, predicted 4, 6: one of two right; pole: true 3, predicted 5
    assert boundary_f1(mask, pred, 2, tolerance=0).tolist() == [0.5, 0]
    assert boundary_f1(mask, pred, 2, tolerance=1).tolist() == [0.5, 0]
    assert boundary_f1(mask, pred, 2, tolerance=2).tolist() == [1, 1]
    # 0.2 of the diagonal of 1×9, 9.06, is 1.8 pixels; 0.25 of it is 2.3
    assert boundary_f1(mask, pred, 2, tolerance=0.2).tolist() == [0.5, 0]
    assert boundary_f1(mask, pred, 2, tolerance=0.25).tolist() == [1, 1]


def test_boundary_f1_of_what_is_not_there():
    empty, pole = np.zeros((3, 5), int), np.array([[0, 0, 1, 0, 0]] * 3)
    assert np.isnan(boundary_f1(empty, empty, 2, 1)).all()
    assert boundary_f1(pole, empty, 2, 1).tolist() == boundary_f1(empty, pole, 2, 1).tolist() == [0, 0]
    assert np.isnan(boundary_f1(np.full((3, 5), 255), pole, 2, 1)).all()


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_boundary_f1_agrees_with_distance_transforms(data):
    shape = data.draw(st.tuples(*(st.integers(1, 9) for _ in range(2))))
    num_classes, count = data.draw(st.sampled_from([2, 5, 9])), data.draw(st.integers(1, 2))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    mask, pred = rng.integers(0, num_classes, (2, count, *shape)).repeat(data.draw(st.integers(1, 3)), axis=-1)
    mask = np.where(rng.random(mask.shape) < data.draw(st.sampled_from([0, 0.2])), 255, mask)
    tolerance = data.draw(st.sampled_from([0, 1, 1.5, 2, 2**0.5, 5**0.5, 13**0.5, 4, 20]))
    oracle = boundary_f1_by_distances(mask, pred, num_classes, tolerance, 255)
    np.testing.assert_allclose(boundary_f1(mask, pred, num_classes, tolerance), oracle, atol=1e-12)


def test_boundary_f1_of_more_classes_than_an_integer_has_bits(rng):
    mask, pred = rng.integers(0, 3, (2, 20, 20))
    few, spread = boundary_f1(mask, pred, 3, 2), np.array([1, 63, 140])
    many = boundary_f1(spread[mask], spread[pred], 141, 2)
    np.testing.assert_array_equal(many[spread], few)
    assert np.isnan(np.delete(many, spread)).all()


def test_boundary_f1_ignores_what_is_predicted_in_void(rng):
    mask, pred = rng.integers(0, 3, (2, 12, 12))
    mask[:, 5:8] = 255
    other = np.where(mask == 255, (pred + 1) % 3, pred)
    np.testing.assert_array_equal(boundary_f1(mask, pred, 3, 1), boundary_f1(mask, other, 3, 1))
    np.testing.assert_array_equal(
        boundary_f1(mask, pred, 3, 1), boundary_f1(np.where(mask == 255, 9, mask), pred, 3, 1, ignore_id=9)
    )


@pytest.mark.parametrize(
    ("mask", "pred", "tolerance", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), 1, r"one shape .*\(2, 3\) and \(3, 2\)"),
        (np.zeros(3, int), np.zeros(3, int), 1, "one shape"),
        (np.full((2, 3), 3), np.zeros((2, 3), int), 1, "mask has the id 3, outside the classes 0–2"),
        (np.zeros((2, 3), int), np.full((2, 3), -1), 1, "pred has the id -1"),
        (np.zeros((2, 3), int), np.zeros((2, 3), int), -1, "tolerance must be at least 0"),
    ],
)
def test_boundary_f1_refuses_what_does_not_fit(mask, pred, tolerance, message):
    with pytest.raises(ValueError, match=message):
        boundary_f1(mask, pred, 3, tolerance)
