import json

import keras
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
from keras import ops

from seglib import losses

MASK = np.array([[[0, 1]]])
LOGITS = np.log([[[[3.0, 1.0], [3.0, 1.0]]]])  # probabilities ¾ and ¼ of the classes 0 and 1 at both pixels
RIGHT, WRONG = -np.log(3 / 4), -np.log(1 / 4)


def value(loss, *args, **kwargs):
    return float(loss(*args, **kwargs))


def softmax(logits):
    return np.array(ops.softmax(logits))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (RIGHT + WRONG) / 2),
        ({"class_weights": [1, 4]}, (1 * RIGHT + 4 * WRONG) / (1 + 4)),
        ({"pixel_weights": [[[2.0, 6.0]]]}, (2 * RIGHT + 6 * WRONG) / (2 + 6)),
        ({"ohem_fraction": 0.5}, WRONG),
        ({"ohem_fraction": 0.51}, (RIGHT + WRONG) / 2),  # two pixels, rounded up
    ],
)
def test_cross_entropy_by_hand(options, expected):
    assert value(losses.cross_entropy, MASK, LOGITS, **options) == pytest.approx(expected)


def test_cross_entropy_agrees_with_keras(rng):
    mask, logits = rng.integers(0, 4, (2, 5, 6)), rng.normal(size=(2, 5, 6, 4))
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True)(np.eye(4)[mask], logits)
    assert value(losses.cross_entropy, mask, logits) == pytest.approx(float(theirs), abs=1e-6)


def test_dice_by_hand():
    mask = np.array([[[0, 0, 1, 1]]])
    # probs of class 0: ¾ ¾ ¼ ¼ and of class 1 the rest: overlap 3/2, total 2 + 2 for both
    logits = np.log([[[[3.0, 1.0], [3.0, 1.0], [1.0, 3.0], [1.0, 3.0]]]])
    assert value(losses.dice, mask, logits) == pytest.approx(1 - (2 * 1.5 + 1) / (4 + 1))
    # with weights 2 and 6, class 0: overlap 2 · ¾, truth 2, probs 8 · ¾; class 1: overlap 6 · ¼, truth 6, probs 8 · ¼
    first, second = (2 * 1.5 + 1) / (2 + 6 + 1), (2 * 1.5 + 1) / (6 + 2 + 1)
    weighted = value(losses.dice, MASK, LOGITS, pixel_weights=np.array([[[2.0, 6.0]]]))
    assert weighted == pytest.approx(1 - (first + second) / 2)


def test_ohem_counts_only_what_is_scored_and_keeps_ties(rng):
    mask, logits = rng.integers(0, 3, (1, 10, 10)), rng.normal(size=(1, 10, 10, 3))
    mask[:, :6] = 255
    each = -np.log(np.take_along_axis(softmax(logits)[:, 6:], mask[:, 6:, :, None], -1)).ravel()
    expected = np.sort(each)[::-1][:10].mean()  # a quarter of the forty
    assert value(losses.cross_entropy, mask, logits, ohem_fraction=0.25) == pytest.approx(expected, abs=1e-6)
    assert value(losses.cross_entropy, mask, 0 * logits, ohem_fraction=0.25) == pytest.approx(np.log(3))


def test_focal_by_hand_and_without_focus():
    expected = ((1 / 4) ** 2 * RIGHT + (3 / 4) ** 2 * WRONG) / 2
    assert value(losses.focal, MASK, LOGITS) == pytest.approx(expected)
    assert value(losses.focal, MASK, LOGITS, gamma=0) == pytest.approx((RIGHT + WRONG) / 2)
    sure = keras.Variable([[[[20.0, 0.0], [1.0, 0.0]]]])
    for gamma in (0.0, 0.5, 1.0, 2.0):
        with tf.GradientTape() as tape:
            loss = losses.focal(np.zeros((1, 1, 2), int), sure, gamma=gamma)
        assert np.isfinite(tape.gradient(loss, sure.value)).all()


def test_tversky_by_hand():
    mask = np.array([[[0, 0, 0, 1]]])
    # probs of class 0: ¾ ¾ ¾ ¾. Class 0: TP 9/4, FP ¾, FN ¾; class 1: TP ¼, FP ¾, FN ¾
    logits = np.log([[[[3.0, 1.0]] * 4]])
    first, second = (9 / 4 + 1) / (9 / 4 + 3 / 4 + 1), (1 / 4 + 1) / (1 / 4 + 3 / 4 + 1)
    assert value(losses.tversky, mask, logits) == pytest.approx(1 - (first + second) / 2)
    # With α = 0.1 and β = 0.9 a class that is all missed costs more than one predicted everywhere.
    miss, invent = np.log([[[[9.0, 1.0]] * 4]]), np.log([[[[1.0, 9.0]] * 4]])
    some, options = np.array([[[0, 0, 1, 1]]]), {"class_weights": [1e-6, 1], "alpha": 0.1, "beta": 0.9}
    assert value(losses.tversky, some, miss, **options) > value(losses.tversky, some, invent, **options)


def test_lovasz_agrees_with_its_definition(rng):
    """Equation 9 of the paper, term by term: how much the Jaccard loss grows with each pixel that joins the wrong."""
    mask, logits = rng.integers(0, 3, (2, 3, 4)), rng.normal(size=(2, 3, 4, 4))  # the class 3 does not occur

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
    """The same with SciPy: a boundary is what an erosion takes away."""
    around, reach = np.ones((1, 3, 3)), np.ones((1, 2 * tolerance + 1, 2 * tolerance + 1))
    true, predicted = (a & ~scipy.ndimage.binary_erosion(a, around, border_value=1) for a in (truth, said))
    near_true, near_predicted = (scipy.ndimage.binary_dilation(a, reach) for a in (true, predicted))
    precision = ((predicted & near_true).sum() + 1) / (predicted.sum() + 1)
    recall = ((true & near_predicted).sum() + 1) / (true.sum() + 1)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("loss", losses.TERMS.values(), ids=losses.TERMS)
class TestEveryLoss:
    def test_good_is_less_than_undecided_is_less_than_bad(self, loss, rng):
        mask = rng.integers(0, 3, (2, 2, 3)).repeat(4, axis=1).repeat(4, axis=2)
        right = 8 * np.eye(3)[mask]
        assert value(loss, mask, right) < 0.01 < value(loss, mask, 0 * right)
        if loss is not losses.boundary:  # wherever a class ends, its complement does: wrong classes, right boundaries
            assert value(loss, mask, 0 * right) < value(loss, mask, -right)

    def test_altering_void_pixels_changes_nothing(self, loss, rng):
        mask, logits = rng.integers(0, 3, (2, 6, 6)), rng.normal(size=(2, 6, 6, 3))
        mask[:, :3] = 255
        other = logits.copy()
        other[:, :3] += rng.normal(size=(2, 3, 6, 3))
        assert value(loss, mask, logits) == value(loss, mask, other)
        assert value(loss, np.where(mask == 255, 11, mask), logits, ignore_id=11) == value(loss, mask, logits)

    def test_all_void_and_absent_classes_are_finite_with_finite_gradients(self, loss):
        for mask in (np.full((1, 4, 4), 255), np.zeros((1, 4, 4), int)):
            logits = keras.Variable(np.ones((1, 4, 4, 3)))
            with tf.GradientTape() as tape:
                found = loss(mask, logits.value)
            assert np.isfinite(found) and np.isfinite(tape.gradient(found, logits.value)).all()
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

    def test_half_precision_is_within_a_percent_and_does_not_overflow(self, loss, rng):
        mask, logits = rng.integers(0, 3, (2, 40, 50)), rng.normal(size=(2, 40, 50, 3))
        half = value(loss, mask, ops.cast(logits, "float16"))
        assert half == pytest.approx(value(loss, mask, logits), rel=0.01)
        # 300 × 300 = 90,000 pixels of one class: their float16 sum would be infinite.
        large = loss(np.zeros((1, 300, 300), np.uint8), ops.zeros((1, 300, 300, 2), "float16"))
        assert np.isfinite(large) and keras.backend.standardize_dtype(large.dtype) == "float32"

    @pytest.mark.parametrize("strange", [3, -1])
    def test_an_id_of_no_class_makes_it_nan(self, loss, strange):
        mask = np.zeros((1, 4, 4), int)
        mask[0, 1, 1] = strange
        assert np.isnan(value(loss, mask, np.zeros((1, 4, 4, 3))))

    def test_class_weights_shift_it(self, loss, rng):
        mask = rng.integers(0, 3, (1, 2, 3)).repeat(4, axis=1).repeat(4, axis=2)
        logits = 5 * np.eye(3)[np.where(mask == 1, 0, mask)]  # class 1 is missed
        assert value(loss, mask, logits, class_weights=[1, 5, 1]) > value(loss, mask, logits) + 0.05

    def test_pixels_of_no_weight_are_as_void(self, loss, rng):
        if loss is losses.boundary:
            pytest.skip("the neighbours of a void pixel are on no boundary, those of a pixel without weight may be")
        mask, logits = rng.integers(0, 3, (2, 6, 6)), rng.normal(size=(2, 6, 6, 3))
        gone = rng.random(mask.shape) < 0.5
        expected = value(loss, np.where(gone, 255, mask), logits)
        assert value(loss, mask, logits, pixel_weights=~gone) == pytest.approx(expected, abs=1e-6)
        assert value(loss, mask, logits, pixel_weights=np.ones(mask.shape)) == value(loss, mask, logits)

    @pytest.mark.parametrize(
        ("shape", "options", "message"),
        [
            ((1, 4, 4), {"class_weights": [1, 2]}, r"3 classes, got \(2,\)"),
            ((1, 4, 4), {"pixel_weights": np.ones((1, 4, 4, 1))}, r"\(1, 4, 4, 1\) do not fit the mask \(1, 4, 4\)"),
            ((1, 4, 4, 1), {}, r"got \(1, 4, 4, 1\) and \(1, 4, 4, 3\)"),
            ((1, 1, 4), {}, r"got \(1, 1, 4\) and"),  # which would be broadcast without a word
        ],
    )
    def test_what_does_not_fit_is_refused(self, loss, shape, options, message):
        with pytest.raises(ValueError, match=message):
            loss(np.zeros(shape, int), np.zeros((1, 4, 4, 3)), **options)


def test_a_compound_loss_adds_up_sets_its_terms_and_survives_saving(rng):
    mask, logits = rng.integers(0, 3, (2, 6, 6)), rng.normal(size=(2, 6, 6, 3))
    weights = np.array([1, 2, 3])
    terms = {"dice": np.float32(0.5), "tversky": {"weight": 2, "beta": 0.9}}
    total = losses.CompoundLoss(terms, ignore_id=np.int64(9), class_weights=weights)
    expected = 0.5 * value(losses.dice, mask, logits, class_weights=weights)
    expected += 2 * value(losses.tversky, mask, logits, class_weights=weights, beta=0.9)
    saved = json.dumps(keras.losses.serialize(total))
    again = keras.losses.deserialize(json.loads(saved))
    assert value(total, mask, logits) == value(again, mask, logits) == pytest.approx(expected)
    assert again.ignore_id == 9


@pytest.mark.parametrize(
    ("terms", "options", "message"),
    [
        ({"crossentropy": 1}, {}, "cross_entropy, focal, dice"),
        ({"tversky": {"weight": 1, "gamma": 2}}, {}, r"tversky .*\['weight', 'alpha', 'beta'\]"),
        ({"tversky": {"beta": 0.9}}, {}, "tversky wants a weight"),
        ({"dice": 1}, {"class_weights": [1, 0]}, "positive"),
    ],
)
def test_a_compound_loss_that_cannot_work_is_refused(terms, options, message):
    with pytest.raises(ValueError, match=message):
        losses.CompoundLoss(terms, **options)


@pytest.mark.parametrize("wrong", [0, 1.5])
def test_fractions_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=rf"ohem_fraction must be in \(0, 1\], got {wrong}"):
        losses.cross_entropy(MASK, LOGITS, ohem_fraction=wrong)


def test_weights_of_fit_weigh_pixels_and_not_the_finished_sum(rng):
    mask, logits = rng.integers(0, 3, (2, 4, 5)), rng.normal(size=(2, 4, 5, 3)).astype(np.float32)
    mask[0, 0] = 255
    total = losses.CompoundLoss({"cross_entropy": 1, "dice": 1})
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
    one_each, all_pixels = np.array([1.0, 3.0]), np.ones(mask.shape)
    by_pixel = all_pixels * one_each[:, None, None]
    assert value(total, mask, logits, one_each) == value(total, mask, logits, by_pixel)


@pytest.mark.slow
def test_all_losses_train_in_a_compiled_step_of_any_size(rng):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    hard = {"weight": 1, "ohem_fraction": 0.5}
    loss = losses.CompoundLoss({**dict.fromkeys(losses.TERMS, 1), "cross_entropy": hard})
    model.compile("adam", loss, jit_compile=True)
    images, mask = rng.normal(size=(4, 6, 5, 3)).astype(np.float32), rng.integers(0, 3, (4, 6, 5))
    before = value(loss, mask, model(images))
    seen = model.fit(images, mask, batch_size=4, epochs=30, verbose=0).history["loss"]
    assert seen[0] == pytest.approx(before, abs=1e-5) and seen[-1] < before
