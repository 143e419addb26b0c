from types import SimpleNamespace

import keras
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
from keras import ops

from seglib import data, labels, losses, metrics

LOG2 = np.log(2)


def value(loss, *args, **kwargs):
    return float(loss(*args, **kwargs))


def test_cross_entropy_by_hand():
    mask = np.array([[[0, 1]]])
    undecided = np.zeros((1, 1, 2, 2))
    assert value(losses.cross_entropy, mask, undecided) == pytest.approx(LOG2)
    # probabilities ¾ and ¼: −(log ¾ + log ¼) / 2
    logits = np.log([[[[3.0, 1.0], [3.0, 1.0]]]])
    assert value(losses.cross_entropy, mask, logits) == pytest.approx(-(np.log(3 / 4) + np.log(1 / 4)) / 2)


def test_cross_entropy_with_class_weights_by_hand():
    mask = np.array([[[0, 1]]])
    logits = np.log([[[[3.0, 1.0], [3.0, 1.0]]]])
    expected = -(1 * np.log(3 / 4) + 4 * np.log(1 / 4)) / (1 + 4)
    assert value(losses.cross_entropy, mask, logits, class_weights=[1, 4]) == pytest.approx(expected)


def test_dice_by_hand():
    mask = np.array([[[0, 0, 1, 1]]])
    # probs of class 0: ¾ ¾ ¼ ¼ and of class 1 the rest: overlap 3/2, total 2 + 2 for both
    logits = np.log([[[[3.0, 1.0], [3.0, 1.0], [1.0, 3.0], [1.0, 3.0]]]])
    assert value(losses.dice, mask, logits) == pytest.approx(1 - (2 * 1.5 + 1) / (4 + 1))


def test_pixel_weights_by_hand():
    mask = np.array([[[0, 1]]])
    logits = np.log([[[[3.0, 1.0], [3.0, 1.0]]]])  # probabilities ¾ and ¼ at both pixels
    weights = np.array([[[2.0, 6.0]]])
    expected = -(2 * np.log(3 / 4) + 6 * np.log(1 / 4)) / (2 + 6)
    assert value(losses.cross_entropy, mask, logits, pixel_weights=weights) == pytest.approx(expected)
    # class 0: overlap 2 · ¾, truth 2, probs 8 · ¾; class 1: overlap 6 · ¼, truth 6, probs 8 · ¼
    first, second = (2 * 1.5 + 1) / (2 + 6 + 1), (2 * 1.5 + 1) / (6 + 2 + 1)
    assert value(losses.dice, mask, logits, pixel_weights=weights) == pytest.approx(1 - (first + second) / 2)


def test_weights_of_fit_weigh_pixels_and_not_the_finished_sum(rng):
    mask, logits = rng.integers(0, 3, (2, 4, 5)), rng.normal(size=(2, 4, 5, 3)).astype(np.float32)
    mask[0, 0] = 255
    total = losses.Sum({"cross_entropy": 1, "dice": 1})
    model = keras.Sequential([keras.Input((4, 5, 3)), keras.layers.Identity()])
    model.compile(loss=total)
    weights = rng.uniform(0, 5, mask.shape).astype(np.float32)
    terms = losses.cross_entropy, losses.dice
    expected = sum(value(loss, mask, logits, pixel_weights=weights) for loss in terms)
    seen = model.evaluate(logits, mask, sample_weight=weights, batch_size=2, verbose=0)
    assert seen == pytest.approx(expected, abs=1e-5)
    assert abs(seen - value(total, mask, logits)) > 1e-3  # other than without weights
    # ten times the weights is the same loss, and a weight for each image is one for each of its pixels
    assert value(total, mask, logits, 10 * weights) == pytest.approx(expected, abs=0.02)
    one_each = np.array([1.0, 3.0])
    assert value(total, mask, logits, one_each) == value(
        total, mask, logits, np.ones(mask.shape) * one_each[:, None, None]
    )


def test_label_smoothing_and_hardest_by_hand():
    mask, logits = np.array([[[0, 1]]]), np.log([[[[3.0, 1.0], [3.0, 1.0]]]])  # probabilities ¾ and ¼ at both pixels
    right, wrong = -np.log(3 / 4), -np.log(1 / 4)
    both = (right + wrong) / 2  # what the evenly dealt share costs at either pixel
    smooth = value(losses.cross_entropy, mask, logits, label_smoothing=0.2)
    assert smooth == pytest.approx((0.8 * right + 0.2 * both + 0.8 * wrong + 0.2 * both) / 2)
    assert value(losses.cross_entropy, mask, logits, hardest=0.5) == pytest.approx(wrong)
    assert value(losses.cross_entropy, mask, logits, hardest=0.51) == pytest.approx(both)  # two pixels, rounded up


def test_hardest_counts_only_what_is_scored_and_keeps_equals(rng):
    mask, logits = rng.integers(0, 3, (1, 10, 10)), rng.normal(size=(1, 10, 10, 3))
    mask[:, :6] = 255
    each = -np.log(np.take_along_axis(softmax(logits)[:, 6:], mask[:, 6:, :, None], -1)).ravel()
    expected = np.sort(each)[::-1][:10].mean()  # a quarter of the forty
    assert value(losses.cross_entropy, mask, logits, hardest=0.25) == pytest.approx(expected, abs=1e-6)
    assert value(losses.cross_entropy, mask, 0 * logits, hardest=0.25) == pytest.approx(np.log(3))


def test_focal_by_hand_and_without_focus():
    mask, logits = np.array([[[0, 1]]]), np.log([[[[3.0, 1.0], [3.0, 1.0]]]])
    expected = -((1 / 4) ** 2 * np.log(3 / 4) + (3 / 4) ** 2 * np.log(1 / 4)) / 2
    assert value(losses.focal, mask, logits) == pytest.approx(expected)
    assert value(losses.focal, mask, logits, gamma=0) == pytest.approx(value(losses.cross_entropy, mask, logits))
    sure = keras.Variable([[[[20.0, 0.0], [1.0, 0.0]]]])
    for gamma in (0.0, 0.5, 1.0, 2.0):
        with tf.GradientTape() as tape:
            loss = losses.focal(np.zeros((1, 1, 2), int), sure, gamma=gamma)
        assert np.isfinite(tape.gradient(loss, sure.value)).all()


def test_tversky_by_hand():
    mask = np.array([[[0, 0, 0, 1]]])
    # probs of class 0: ¾ ¾ ¾ ¾. Class 0: hit 9/4, invented ¾, missed ¾; class 1: hit ¼, invented ¾, missed ¾
    logits = np.log([[[[3.0, 1.0]] * 4]])
    first, second = (9 / 4 + 1) / (9 / 4 + 3 / 4 + 1), (1 / 4 + 1) / (1 / 4 + 3 / 4 + 1)
    assert value(losses.tversky, mask, logits) == pytest.approx(1 - (first + second) / 2)
    # With α = 0.1 and β = 0.9, who misses pays: a class all missed costs more than one invented everywhere.
    miss, invent = np.log([[[[9.0, 1.0]] * 4]]), np.log([[[[1.0, 9.0]] * 4]])
    some = np.array([[[0, 0, 1, 1]]])
    assert value(losses.tversky, some, miss, class_weights=[1e-6, 1], alpha=0.1, beta=0.9) > value(
        losses.tversky, some, invent, class_weights=[1e-6, 1], alpha=0.1, beta=0.9
    )


def test_lovasz_of_certain_answers_is_one_minus_iou(rng):
    for _ in range(20):
        mask, pred = rng.integers(0, 4, (2, 1, 5, 6))
        mask[0, 0, :2] = 255
        matrix = metrics.count(mask, pred, 4)
        there = matrix.sum(1) > 0
        found = value(losses.lovasz, mask, 100 * np.eye(4)[pred])
        assert found == pytest.approx(1 - metrics.iou(matrix)[there].mean(), abs=1e-5)


def test_lovasz_agrees_with_its_definition(rng):
    """Equation 9 of the paper, term by term: how much the Jaccard loss grows with each pixel that joins the wrong."""
    mask, logits = rng.integers(0, 3, (1, 3, 4)), rng.normal(size=(1, 3, 4, 3))

    def jaccard_loss(truth, wrong):
        return wrong.sum() / (truth | wrong).sum() if wrong.any() else 0

    total = []
    for label in range(3):
        truth, errors = (mask == label).ravel(), np.abs((mask == label) - softmax(logits)[..., label]).ravel()
        wrong, loss = np.zeros_like(truth), 0
        for i in np.argsort(-errors):
            before = jaccard_loss(truth, wrong)
            wrong[i] = True
            loss += errors[i] * (jaccard_loss(truth, wrong) - before)
        total.append(loss)
    assert value(losses.lovasz, mask, logits) == pytest.approx(np.mean(total), abs=1e-6)


def test_boundary_of_certain_answers_is_one_minus_boundary_f1():
    mask = np.zeros((1, 12, 12), int)
    mask[:, 4:8, 4:8] = 1
    for shift, tolerance in ((0, 2), (1, 2), (3, 2), (3, 3)):
        logits = 100 * np.eye(2)[np.roll(mask, shift, axis=2)]
        found = value(losses.boundary, mask, logits, tolerance=tolerance)
        scores = [boundary_score(mask == c, np.roll(mask, shift, axis=2) == c, tolerance) for c in (0, 1)]
        assert found == pytest.approx(1 - np.mean(scores), abs=1e-5)


def boundary_score(truth, said, tolerance):
    """The same with SciPy: an outline is what an erosion takes away."""
    around, reach = np.ones((1, 3, 3)), np.ones((1, 2 * tolerance + 1, 2 * tolerance + 1))
    true, predicted = (a & ~scipy.ndimage.binary_erosion(a, around, border_value=1) for a in (truth, said))
    near_true, near_predicted = (scipy.ndimage.binary_dilation(a, reach) for a in (true, predicted))
    precision = ((predicted & near_true).sum() + 1) / (predicted.sum() + 1)
    recall = ((true & near_predicted).sum() + 1) / (true.sum() + 1)
    return 2 * precision * recall / (precision + recall)


def softmax(logits):
    return np.array(ops.softmax(logits))


def test_agrees_with_keras(rng):
    mask, logits = rng.integers(0, 4, (2, 50, 60)), rng.normal(size=(2, 50, 60, 4))
    mask[0, :20] = 255
    keep = mask != 255
    expected = keras.losses.sparse_categorical_crossentropy(mask[keep], logits[keep], from_logits=True)
    assert value(losses.cross_entropy, mask, logits) == pytest.approx(float(ops.mean(expected)), abs=1e-6)
    truth = np.eye(4)[np.where(keep, mask, 0)] * keep[..., None]
    probs = np.array(ops.softmax(logits)) * keep[..., None]
    expected = keras.losses.Dice(axis=(0, 1, 2), reduction="none")(truth, probs)
    assert value(losses.dice, mask, logits) == pytest.approx(float(ops.mean(expected)), abs=1e-3)  # Keras has no "+1"
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    expected = float(theirs(np.eye(4)[mask[keep]], logits[keep]))
    assert value(losses.cross_entropy, mask, logits, label_smoothing=0.1) == pytest.approx(expected, abs=1e-6)
    theirs = keras.losses.CategoricalFocalCrossentropy(alpha=1, gamma=2, from_logits=True)
    expected = float(theirs(np.eye(4)[mask[keep]], logits[keep]))
    assert value(losses.focal, mask, logits) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss", losses.TERMS.values(), ids=losses.TERMS)
class TestEveryLoss:
    def test_good_is_less_than_undecided_is_less_than_bad(self, loss, rng):
        mask = rng.integers(0, 3, (2, 2, 3)).repeat(4, axis=1).repeat(4, axis=2)
        right = 8 * np.eye(3)[mask]
        assert value(loss, mask, right) < 0.01 < value(loss, mask, 0 * right)
        if loss is not losses.boundary:  # wherever a class ends, its complement does: wrong classes, right outlines
            assert value(loss, mask, 0 * right) < value(loss, mask, -right)

    def test_altering_void_pixels_changes_nothing(self, loss, rng):
        mask, logits = rng.integers(0, 3, (2, 6, 6)), rng.normal(size=(2, 6, 6, 3))
        mask[:, :3] = 255
        other = logits.copy()
        other[:, :3] += rng.normal(size=(2, 3, 6, 3))
        assert value(loss, mask, logits) == value(loss, mask, other)
        assert value(loss, np.where(mask == 255, 11, mask), logits, ignore_id=11) == value(loss, mask, logits)

    def test_all_void_and_absent_classes_are_finite_with_finite_gradients(self, loss):
        layer = keras.layers.Dense(3, kernel_initializer="ones")
        for mask in (np.full((1, 4, 4), 255), np.zeros((1, 4, 4), int)):
            inputs = keras.Input((4, 4, 2))
            model = keras.Model(inputs, layer(inputs))
            model.compile("sgd", loss=lambda y, p: loss(y, p))
            model.train_on_batch(np.ones((1, 4, 4, 2)), mask)
            assert all(np.isfinite(w).all() for w in model.get_weights())
        assert value(loss, np.full((1, 4, 4), 255), np.ones((1, 4, 4, 3))) == pytest.approx(0)

    def test_gradient_is_that_of_finite_differences(self, loss, rng):
        mask, logits = rng.integers(0, 3, (1, 4, 5)), rng.normal(size=(1, 4, 5, 3)).astype(np.float32)
        mask[0, 0, 0] = 255
        variable = keras.Variable(logits)
        with tf.GradientTape() as tape:
            found = loss(mask, variable.value, class_weights=[1, 2, 3])
        gradient = np.array(tape.gradient(found, variable.value))
        step = 1e-2
        for at in rng.choice(logits.size, 12, replace=False):
            change = np.zeros(logits.size, np.float32)
            change[at] = step
            change = change.reshape(logits.shape)
            up, down = (value(loss, mask, logits + sign * change, class_weights=[1, 2, 3]) for sign in (1, -1))
            assert gradient.ravel()[at] == pytest.approx((up - down) / (2 * step), abs=2e-4)
        assert np.abs(gradient).max() > 1e-2

    def test_half_precision_is_within_a_percent(self, loss, rng):
        mask, logits = rng.integers(0, 3, (2, 40, 50)), rng.normal(size=(2, 40, 50, 3))
        half = value(loss, mask, ops.cast(logits, "float16"))
        assert half == pytest.approx(value(loss, mask, logits), rel=0.01)

    def test_an_id_that_no_class_has_makes_it_nan_and_says_nothing_wrong(self, loss):
        for strange in (3, -1):
            mask = np.zeros((1, 4, 4), int)
            mask[0, 1, 1] = strange
            assert np.isnan(value(loss, mask, np.zeros((1, 4, 4, 3))))

    def test_class_weights_that_do_not_fit_are_refused(self, loss):
        with pytest.raises(ValueError, match=r"one for each of the 3 classes, got \(2,\)"):
            loss(np.zeros((1, 4, 4), int), np.zeros((1, 4, 4, 3)), class_weights=[1, 2])

    def test_weights_of_classes_shift_it(self, loss, rng):
        mask = rng.integers(0, 3, (1, 2, 3)).repeat(4, axis=1).repeat(4, axis=2)
        logits = 5 * np.eye(3)[np.where(mask == 1, 0, mask)]  # class 1 is missed
        assert value(loss, mask, logits, class_weights=[1, 5, 1]) > value(loss, mask, logits) + 0.05

    def test_pixels_of_no_weight_are_as_void(self, loss, rng):
        if loss is losses.boundary:
            pytest.skip("the neighbours of a void pixel are on no outline, those of a pixel without weight may be")
        mask, logits = rng.integers(0, 3, (2, 6, 6)), rng.normal(size=(2, 6, 6, 3))
        gone = rng.random(mask.shape) < 0.5
        expected = value(loss, np.where(gone, 255, mask), logits)
        assert value(loss, mask, logits, pixel_weights=~gone) == pytest.approx(expected, abs=1e-6)
        assert value(loss, mask, logits, pixel_weights=np.ones(mask.shape)) == value(loss, mask, logits)

    def test_weights_that_do_not_fit_are_refused(self, loss):
        with pytest.raises(ValueError, match=r"got \(1, 4, 4, 1\) for a mask \(1, 4, 4\)"):
            loss(np.zeros((1, 4, 4), int), np.zeros((1, 4, 4, 3)), pixel_weights=np.ones((1, 4, 4, 1)))

    def test_half_precision_does_not_overflow(self, loss):
        # 300 × 300 = 90,000 pixels of one class: their float16 sum would be infinite.
        mask = np.zeros((1, 300, 300), np.uint8)
        logits = ops.cast(np.zeros((1, 300, 300, 2)), "float16")
        assert np.isfinite(value(loss, mask, logits))
        assert keras.backend.standardize_dtype(loss(mask, logits).dtype) == "float32"

    def test_shapes_that_do_not_fit_are_refused(self, loss):
        with pytest.raises(ValueError, match=r"got \(1, 4, 4, 1\) and \(1, 4, 4, 3\)"):
            loss(np.zeros((1, 4, 4, 1), int), np.zeros((1, 4, 4, 3)))
        for shape in ((1, 4, 4), (2, 1, 4), (2, 4, 1), (2, 8, 4)):  # of which most would be repeated without a word
            with pytest.raises(ValueError, match="logits must be|and logits"):
                loss(np.zeros(shape, int), np.zeros((2, 4, 4, 3)))


def test_sum_adds_up_and_survives_saving(rng):
    mask, logits = rng.integers(0, 3, (2, 6, 6)), rng.normal(size=(2, 6, 6, 3))
    total = losses.Sum({"cross_entropy": 1, "dice": 0.5}, class_weights=np.array([1, 2, 3]))
    parts = [loss(mask, logits, class_weights=[1, 2, 3]) for loss in (losses.cross_entropy, losses.dice)]
    assert value(total, mask, logits) == pytest.approx(float(parts[0] + 0.5 * parts[1]))
    again = keras.losses.deserialize(keras.losses.serialize(total))
    assert value(again, mask, logits) == value(total, mask, logits)


def test_sum_of_something_unknown_is_refused():
    for wrong in ({"crossentropy": 1}, {}):
        with pytest.raises(ValueError, match="cross_entropy, focal, dice"):
            losses.Sum(wrong)
    with pytest.raises(ValueError, match=r"tversky wants a share, .* any of \['share', 'alpha', 'beta'\]"):
        losses.Sum({"tversky": {"share": 1, "gamma": 2}})
    with pytest.raises(ValueError, match="wants a share"):
        losses.Sum({"tversky": {"beta": 0.9}})
    for wrong in ([1, 0], [1, float("nan")]):
        with pytest.raises(ValueError, match="positive numbers"):
            losses.Sum({"dice": 1}, class_weights=wrong)


def test_sum_sets_its_terms_and_survives_saving(rng):
    mask, logits = rng.integers(0, 3, (2, 6, 6)), rng.normal(size=(2, 6, 6, 3))
    total = losses.Sum({"tversky": {"share": 2, "beta": 0.9}, "focal": 1})
    expected = 2 * value(losses.tversky, mask, logits, beta=0.9) + value(losses.focal, mask, logits)
    again = keras.losses.deserialize(keras.losses.serialize(total))
    assert value(total, mask, logits) == value(again, mask, logits) == pytest.approx(expected)


def test_shares_out_of_range_are_refused():
    mask, logits = np.zeros((1, 2, 2), int), np.zeros((1, 2, 2, 2))
    for wrong in ({"label_smoothing": 1}, {"hardest": 0}, {"hardest": 1.5}):
        with pytest.raises(ValueError, match=r"label_smoothing in \[0, 1\) and hardest in \(0, 1\]"):
            losses.cross_entropy(mask, logits, **wrong)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_all_losses_train_in_a_compiled_step_of_any_size(jit_compile, rng):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    terms = {**dict.fromkeys(losses.TERMS, 1), "cross_entropy": {"share": 1, "hardest": 0.5, "label_smoothing": 0.1}}
    model.compile("adam", losses.Sum(terms), jit_compile=jit_compile)
    images, mask = rng.normal(size=(4, 6, 5, 3)).astype(np.float32), rng.integers(0, 3, (4, 6, 5))
    seen = model.evaluate(images, mask, batch_size=4, verbose=0)
    assert seen == pytest.approx(value(losses.Sum(terms), mask, model.predict(images, verbose=0)), abs=1e-5)
    assert model.fit(images, mask, batch_size=4, epochs=30, verbose=0).history["loss"][-1] < seen


# Weights of classes


def dataset_of(*masks):
    """What stands in for a data set of these masks, with the classes wall, road and post."""
    pairs = [{"mask": np.array(mask)} for mask in masks]
    return SimpleNamespace(
        name="it", labels=labels.LabelMap(["wall", "road", "post"]), split={"train": pairs}.__getitem__
    )


# Two images of ten labelled pixels: five of wall, three of road, two of post; all wall but one void pixel of eleven.
COUNTED = dataset_of([[0] * 5, [1, 1, 1, 2, 2]], [[0] * 10 + [255]])


def test_class_weights_by_hand():
    # shares where they are: wall 15/20, road 3/10, post 2/10; the median is 3/10
    raw = np.array([0.3 / 0.75, 1, 0.3 / 0.2])
    np.testing.assert_allclose(losses.class_weights(COUNTED), raw / raw.mean())
    raw = 1 / np.log(1.02 + np.array([15, 3, 2]) / 20)
    np.testing.assert_allclose(losses.class_weights(COUNTED, "inverse_log"), raw / raw.mean())
    # β = ½; wall is in two images, the others in one: (1 − ½) / (1 − ¼), 1, 1
    raw = np.array([2 / 3, 1, 1])
    np.testing.assert_allclose(losses.class_weights(COUNTED, "effective_number"), raw / raw.mean())


def test_class_weights_of_a_folder(folders):
    found = losses.class_weights(data.from_folder(*folders, labels=["a", "b", "c"]))
    assert found.shape == (3,) and found.mean() == pytest.approx(1)


def test_class_weights_refuse_what_has_none():
    with pytest.raises(ValueError, match="median_frequency, inverse_log, effective_number, got 'median'"):
        losses.class_weights(COUNTED, "median")
    with pytest.raises(ValueError, match="what never occurs in train: post"):
        losses.class_weights(dataset_of([[0, 1]]))


def test_rare_class_repeats_by_hand():
    # shares: wall 15/20, road 3/10·½ = 3/20, post 2/20; with T = 0.1, chances as e^-6.5, e^-0.5, 1
    wall, road, post = np.exp(-6.5), np.exp(-0.5), 1
    raw = np.array([wall / 2 + road + post, wall / 2])  # wall is in both images
    np.testing.assert_allclose(losses.rare_class_repeats(COUNTED, temperature=0.1), raw / raw.mean())
    every = np.array([1 / 2 + 1 + 1, 1 / 2])  # each class as often as the others
    np.testing.assert_allclose(losses.rare_class_repeats(COUNTED, np.inf), every / every.mean())


def test_rare_class_repeats_leave_out_what_never_occurs_and_images_of_void():
    found = losses.rare_class_repeats(dataset_of([[0, 0]], [[0, 1]], [[255, 255]]), np.inf)
    np.testing.assert_allclose(found, [0.75, 2.25, 0])  # ½ and 1½, of a mean of ⅔
    with pytest.raises(ValueError, match="no training mask holds a labelled pixel"):
        losses.rare_class_repeats(dataset_of([[255]]))
    with pytest.raises(ValueError, match="above 0, got 0"):
        losses.rare_class_repeats(COUNTED, 0)
