import keras
import numpy as np
import pytest
import scipy.stats

from seglib import metrics


def make_matrices(rng, images=40):
    """A matrix an image, of images that differ in how well they went."""
    rights = rng.beta(8, 2, images)[:, None, None]
    return rng.poisson(100 * np.where(np.eye(3), rights, 1 - rights))


def test_bootstrap_agrees_with_scipy(rng):
    matrices = make_matrices(rng)
    low, high = metrics.bootstrap(matrices, metrics.accuracy, samples=4000)
    right, pixels = np.trace(matrices, axis1=1, axis2=2), matrices.sum(axis=(1, 2))
    theirs = scipy.stats.bootstrap(
        (right, pixels),
        lambda right, pixels, axis: right.sum(axis=axis) / pixels.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=4000,
        random_state=rng,  # newer SciPy says rng, and takes this name too
    ).confidence_interval
    assert low < metrics.accuracy(matrices.sum(0)) < high
    np.testing.assert_allclose([low, high], [theirs.low, theirs.high], atol=0.1 * (high - low))


def test_bootstrap_intervals_hold_what_they_promise(rng):
    """Of 200 data sets of one kind, about 90 % of the intervals hold the score of a very large one."""
    truth = metrics.accuracy(make_matrices(rng, 20_000).sum(0))
    held = 0
    for _ in range(200):
        low, high = metrics.bootstrap(make_matrices(rng), metrics.accuracy, level=0.9, samples=200)
        held += low <= truth <= high
    assert 165 <= held <= 195


def test_bootstrap_is_seeded_keeps_axes_and_narrows_with_more_images(rng):
    matrices = make_matrices(rng)
    first, again = (metrics.bootstrap(matrices, metrics.iou) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (2, 3)
    assert (metrics.bootstrap(matrices, metrics.iou, seed=1) != first).any()
    assert (metrics.bootstrap(matrices, metrics.iou, level=0.5)[0] > first[0]).all()
    wide, narrow = (metrics.bootstrap(make_matrices(rng, n), metrics.accuracy) for n in (20, 2000))
    assert np.ptp(narrow) < np.ptp(wide) / 5


def test_bootstrap_of_two_models_on_the_same_images(rng):
    """One is better by little on every image: apart, their intervals overlap; the difference is above 0."""
    worse = make_matrices(rng)
    better = worse + 3 * np.eye(3, dtype=int)
    pairs = np.stack([worse, better], axis=1)
    (low, _), (_, high) = metrics.bootstrap(pairs, metrics.accuracy).T[::-1]
    assert low < high
    assert metrics.bootstrap(pairs, lambda m: np.diff(metrics.accuracy(m))[..., 0])[0] > 0


def test_bootstrap_refuses_what_does_not_fit(rng):
    for wrong, level in ((np.zeros((1, 3, 3)), 0.9), (np.zeros((3, 3)), 0.9), (make_matrices(rng), 95)):
        with pytest.raises(ValueError, match=f"two images.*between 0 and 1, got .*{level}"):
            metrics.bootstrap(wrong, metrics.iou, level=level)


def test_calibration_by_hand():
    #  sure 0.9, 0.9, 0.9, 0.9: three of four right; sure 0.6, 0.6: one of two; and one void pixel
    probs = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 2 + [[1, 0]])
    mask = np.array([0, 0, 0, 1, 1, 0, 255])
    found = metrics.calibration(mask, probs, bins=10)
    assert found.pixels.tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 4]
    np.testing.assert_allclose(found.confidence[[6, 9]], [0.6, 0.9])
    np.testing.assert_allclose(found.accuracy[[6, 9]], [1 / 2, 3 / 4])
    assert np.isnan(found.accuracy[:6]).all()
    assert found.ece == pytest.approx((4 * (0.9 - 3 / 4) + 2 * (0.6 - 1 / 2)) / 6)


def test_whoever_draws_answers_by_its_own_probabilities_is_calibrated_and_whoever_sharpens_them_is_not(rng):
    logits = 2 * rng.normal(size=(200, 200, 4))
    probs = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    mask = (probs.cumsum(-1) > rng.random((200, 200, 1))).argmax(-1)
    assert metrics.calibration(mask, probs).ece < 0.01
    sharper = keras.ops.convert_to_numpy(keras.ops.softmax(3 * logits))
    assert metrics.calibration(mask, sharper).ece > 0.1


def test_void_says_nothing_of_calibration():
    assert np.isnan(metrics.calibration(np.full((2, 2), 255), np.full((2, 2, 2), 0.5)).ece)


@pytest.mark.parametrize(
    ("probs", "message"),
    [
        (np.array([[2.0, -1], [0, 1]]), "probs from -1 on.*logits"),
        (np.array([[np.nan, 1], [0, 1]]), "NaN"),
        (np.array([[0.2, 0.2], [0, 1]]), "sum to 0.4 to 1"),
        (np.ones((3, 1)), r"one shape, got \(2,\) and \(3,\)"),
    ],
)
def test_calibration_refuses_what_does_not_fit(probs, message):
    with pytest.raises(ValueError, match=message):
        metrics.calibration(np.array([0, 0]), probs)
