import keras
import numpy as np
import pytest
from keras import ops

from seglib import losses

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
    expected = sum(value(loss, mask, logits, pixel_weights=weights) for loss in losses.TERMS.values())
    seen = model.evaluate(logits, mask, sample_weight=weights, batch_size=2, verbose=0)
    assert seen == pytest.approx(expected, abs=1e-5)
    assert abs(seen - value(total, mask, logits)) > 1e-3  # other than without weights
    # ten times the weights is the same loss, and a weight for each image is one for each of its pixels
    assert value(total, mask, logits, 10 * weights) == pytest.approx(expected, abs=0.02)
    one_each = np.array([1.0, 3.0])
    assert value(total, mask, logits, one_each) == value(
        total, mask, logits, np.ones(mask.shape) * one_each[:, None, None]
    )


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


@pytest.mark.parametrize("loss", losses.TERMS.values(), ids=losses.TERMS)
class TestEveryLoss:
    def test_good_is_less_than_undecided_is_less_than_bad(self, loss, rng):
        mask = rng.integers(0, 3, (2, 6, 6))
        right = 8 * np.eye(3)[mask]
        assert value(loss, mask, right) < value(loss, mask, 0 * right) < value(loss, mask, -right)
        assert value(loss, mask, right) < 0.01

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

    def test_pixels_of_no_weight_are_as_void(self, loss, rng):
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


def test_sum_adds_up_and_survives_saving(rng):
    mask, logits = rng.integers(0, 3, (2, 6, 6)), rng.normal(size=(2, 6, 6, 3))
    total = losses.Sum({"cross_entropy": 1, "dice": 0.5}, class_weights=np.array([1, 2, 3]))
    parts = [loss(mask, logits, class_weights=[1, 2, 3]) for loss in (losses.cross_entropy, losses.dice)]
    assert value(total, mask, logits) == pytest.approx(float(parts[0] + 0.5 * parts[1]))
    again = keras.losses.deserialize(keras.losses.serialize(total))
    assert value(again, mask, logits) == value(total, mask, logits)


def test_sum_of_something_unknown_is_refused():
    with pytest.raises(ValueError, match="cross_entropy, dice"):
        losses.Sum({"crossentropy": 1})
    with pytest.raises(ValueError, match="cross_entropy, dice"):
        losses.Sum({})
