"""How sure we are of a score, and how sure a network may be of its answers."""

from typing import NamedTuple

import numpy as np

from seglib.metrics.scores import check_ids, ratio


def bootstrap(matrices, score, level=0.95, samples=1000, seed=0):
    """Between which values a score lies, had other images been drawn: the percentile bootstrap (Efron 1979).

    As many images as there are, are drawn from them with replacement, ``samples`` times; each time their matrices are
    summed, and the score is read off the sum. Images are drawn, not pixels, for the pixels of one image err together.

    Args:
        matrices: (images, …, num_classes, num_classes) pixel counts, one matrix an image; two models' are stacked on a
            second axis to compare them on the same images.
        score: a function of summed matrices (samples, …, num_classes, num_classes), such as
            :func:`seglib.metrics.mean_iou`, that returns (samples, …).
        level: the share of the drawn scores that the interval holds, half of the others being below it.
        samples: how often is drawn.
        seed: of the draws.

    Returns:
        (2, …) float64, the lower and the upper end. Draws whose score is NaN are left out.

    Raises:
        ValueError: fewer than two images, which say nothing of a third, or a level outside 0–1.

    Example:
        Two of ten images are all wrong. How many of a hundred such images would be?

        >>> right, wrong = [[9, 0], [0, 0]], [[0, 9], [0, 0]]
        >>> bootstrap(np.array([right] * 8 + [wrong] * 2), accuracy).tolist()
        [0.5, 1.0]
    """
    matrices = np.asarray(matrices)
    images = len(matrices)
    if matrices.ndim < 3 or images < 2:
        raise ValueError(f"wanted the matrices of at least two images (images, …, classes, classes): {matrices.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level is a share between 0 and 1, got {level}")
    times = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=samples)
    drawn = score(np.tensordot(times, matrices, axes=1))
    return np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)


class Calibration(NamedTuple):
    """Pixels by the confidence of their prediction, in bins of equal width (Guo et al. 2017, section 2).

    Attributes:
        confidence: (bins,) float64 mean confidence of each bin's pixels; NaN in empty bins.
        accuracy: (bins,) float64 share of them that is right; NaN in empty bins.
        pixels: (bins,) int64 how many they are.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    pixels: np.ndarray

    @property
    def error(self):
        """Expected calibration error: the mean distance of confidence and accuracy, each bin weighed by its pixels."""
        gaps = np.nan_to_num(np.abs(self.confidence - self.accuracy))
        return ratio((gaps * self.pixels).sum(), self.pixels.sum())


def calibration(mask, probs, ignore_id=255, bins=15):
    """Whether a network is right as often as it says: of the pixels it calls 80 % sure, are 80 % right?

    Args:
        mask: (…) integer ids, (height, width) for one image.
        probs: (…, num_classes) probabilities; the confidence is the largest.
        ignore_id: the id of void pixels, which are left out.
        bins: into how many ranges of confidence, all of one width, the pixels are sorted.

    Returns:
        A :class:`Calibration`, whose ``error`` is one number.

    Raises:
        ValueError: shapes that differ, an id that no class has, or probabilities that are none.
    """
    probs = np.asarray(probs)
    if probs.ndim < 1 or not (probs.min(initial=0) >= 0 and probs.max(initial=0) <= 1 + 1e-3):
        raise ValueError(f"probs must lie in 0–1, got {probs.min():.3g} to {probs.max():.3g}: logits, or NaN?")
    sums = probs.sum(axis=-1, dtype=np.float64)
    if not np.allclose(sums, 1, atol=1e-2):
        raise ValueError(f"a pixel's probabilities must sum to 1, got {sums.min():.3g} to {sums.max():.3g}")
    mask, pred = check_ids(mask, probs.argmax(axis=-1), probs.shape[-1], ignore_id)
    scored = mask != ignore_id
    confidence, right = probs.max(axis=-1)[scored].astype(np.float64), (pred == mask)[scored]
    at = np.clip((confidence * bins).astype(int), 0, bins - 1)
    pixels, sure, hits = (np.bincount(at, weights, minlength=bins) for weights in (None, confidence, right))
    return Calibration(ratio(sure, pixels), ratio(hits, pixels), pixels)
