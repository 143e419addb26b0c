"""Uncertainty: the confidence interval of a score, and the calibration of a network's probabilities."""

from typing import NamedTuple

import numpy as np

from seglib.metrics.confusion import check_ids, ratio


def bootstrap(matrices, score, level=0.95, samples=1000, seed=0):
    """The percentile bootstrap confidence interval of a score (Efron 1979).

    ``samples`` times, as many images as there are, are drawn with replacement, and the score is read off the sum of
    their matrices. Images are drawn, not pixels, because the pixels of one image are correlated.

    Args:
        matrices: (images, …, num_classes, num_classes) pixel counts, one matrix an image; to compare two models on the
            same images, stack their matrices on a second axis.
        score: a function of summed matrices (samples, …, num_classes, num_classes), such as
            :func:`seglib.metrics.mean_iou`, that returns (samples, …).
        level: in (0, 1), the share of the drawn scores inside the interval; half of the others are below it.
        samples, seed: number and seed of the draws.

    Returns:
        (2, …) float64, the lower and the upper end. Draws whose score is NaN are left out.

    Raises:
        ValueError: fewer than two images, or a level outside (0, 1).

    Example: the share of correct pixels, where two of ten images are all wrong.
        >>> right, wrong = [[9, 0], [0, 0]], [[0, 9], [0, 0]]
        >>> bootstrap(np.array([right] * 8 + [wrong] * 2), lambda m: m[..., 0, 0] / m.sum((-2, -1))).tolist()
        [0.5, 1.0]
    """
    matrices = np.asarray(matrices)
    images = len(matrices)
    if matrices.ndim < 3 or images < 2 or not 0 < level < 1:
        wanted = "matrices (images, …, classes, classes) of at least two images, and a level between 0 and 1"
        raise ValueError(f"wanted {wanted}, got {matrices.shape} and {level}")
    times = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=samples)
    drawn = score(np.tensordot(times, matrices, axes=1))
    return np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)


class Calibration(NamedTuple):
    """Pixels in bins of equal width by the confidence of their prediction: the data of a reliability diagram."""

    confidence: np.ndarray  # (bins,) float64, the mean confidence of each bin's pixels; NaN in empty bins
    accuracy: np.ndarray  # (bins,) float64, the fraction of them that is right; NaN in empty bins
    pixels: np.ndarray  # (bins,) int64, how many they are

    @property
    def ece(self):
        """Expected calibration error, the mean over all pixels of ``|confidence − accuracy|``; NaN without any."""
        gaps = np.nan_to_num(np.abs(self.confidence - self.accuracy))
        return ratio((gaps * self.pixels).sum(), self.pixels.sum())


def calibration(mask, probs, ignore_id=255, bins=15):
    """Whether confidences are accuracies: of the pixels predicted at 80 %, are 80 % right? (Guo et al. 2017, section 2)

    Args:
        mask: (…) integer ids, (height, width) for one image.
        probs: (…, num_classes) probabilities; the confidence is the largest.
        ignore_id: the id of void pixels, which are left out.
        bins: number of ranges of confidence, all of one width.

    Returns:
        A :class:`Calibration`, whose ``ece`` is the expected calibration error.

    Raises:
        ValueError: shapes that differ, an id that no class has, or numbers that are no probabilities.
    """
    probs = np.asarray(probs)
    sums = probs.sum(axis=-1, dtype=np.float64)
    if not (probs.min(initial=0) >= 0 and np.allclose(sums, 1, atol=1e-2)):
        found = f"probs from {probs.min():.3g} on, which sum to {sums.min():.3g} to {sums.max():.3g}"
        raise ValueError(f"wanted probs from 0 on, which sum to 1, got {found}: logits, or NaN?")
    mask, pred = check_ids(mask, probs.argmax(axis=-1), probs.shape[-1], ignore_id)
    scored = mask != ignore_id
    confidence, right = probs.max(axis=-1)[scored].astype(np.float64), (pred == mask)[scored]
    at = np.clip((confidence * bins).astype(int), 0, bins - 1)
    pixels, sure, correct = (np.bincount(at, weights, minlength=bins) for weights in (None, confidence, right))
    return Calibration(ratio(sure, pixels), ratio(correct, pixels), pixels)
