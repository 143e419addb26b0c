"""Class imbalance: class weights, and how often to repeat which image, from counts of pixels."""

import numpy as np


def class_weights(pixels, scheme="median_frequency"):
    """A weight for each class, the larger the rarer the class, with a mean of 1 over the classes.

    Args:
        pixels: (images, num_classes) integer counts of labelled pixels, such as ``dataset.class_pixels("train")``.
        scheme: ``"median_frequency"`` is ``median(f) / f_c`` with the frequency ``f_c`` of a class, its fraction of the
            labelled pixels in the images that contain it (Eigen & Fergus 2015, section 6.3); ``"inverse_log"`` is
            ``1 / ln(1.02 + f_c)`` with its fraction of all labelled pixels (Paszke et al. 2016, ENet, section 5.2).

    Returns:
        (num_classes,) float64, for the ``class_weights`` of a loss.

    Raises:
        ValueError: an unknown scheme, counts of another shape or type, or a class without any pixel.

    Example:
        >>> class_weights(np.array([[6, 2], [6, 0]])).round(2).tolist()  # frequencies 12/14 and 2/8
        [0.45, 1.55]
    """
    pixels = _check_counts(pixels)
    total = pixels.sum(axis=0)
    if absent := np.flatnonzero(total == 0).tolist():
        raise ValueError(f"no weight for the classes {absent}: none of these images has a pixel of them")
    if scheme == "median_frequency":
        frequency = total / ((pixels > 0) * pixels.sum(axis=1, keepdims=True)).sum(axis=0)
        weights = np.median(frequency) / frequency
    elif scheme == "inverse_log":
        weights = 1 / np.log(1.02 + total / total.sum())
    else:
        raise ValueError(f"scheme must be median_frequency or inverse_log, got {scheme!r}")
    return weights / weights.mean()


def rare_class_repeats(pixels, temperature=0.01):
    """How often to repeat each training image, so that rare classes are seen more often: rare-class sampling.

    A class is drawn with probability ``P(c) ∝ exp((1 − f_c) / T)``, ``f_c`` its fraction of the labelled pixels, and
    then one of the images that contain it (Hoyer et al. 2022, DAFormer, section 3.2). Where nearly every image contains
    every class it changes nothing.

    Args:
        pixels: (images, num_classes) integer counts of labelled pixels, such as ``dataset.class_pixels("train")``.
        temperature: T, above 0. The lower it is, the more the rarest class is preferred; ∞ draws all classes equally.

    Returns:
        (images,) float64 with a mean of 1, for the ``repeats`` of ``dataset.batches``; 0 for images that are all void.

    Raises:
        ValueError: a temperature that is not above 0, counts of another shape or type, or no labelled pixel at all.

    Example:
        >>> rare_class_repeats(np.array([[6, 2], [8, 0]]), np.inf).tolist()  # class 0 is in both images, 1 in one
        [1.5, 0.5]
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    pixels = _check_counts(pixels)
    if not pixels.any():
        raise ValueError("none of these images has a labelled pixel")
    pixels = pixels[:, pixels.any(axis=0)]  # of the classes that occur
    there, frequency = pixels > 0, pixels.sum(axis=0) / pixels.sum()
    probability = np.exp((frequency.min() - frequency) / temperature)
    repeats = there @ (probability / there.sum(axis=0))
    return repeats / repeats.mean()


def _check_counts(pixels):
    pixels = np.asarray(pixels)
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu" or (pixels < 0).any():
        wanted = "pixels must be (images, num_classes) integer counts from 0, as dataset.class_pixels gives them"
        raise ValueError(f"{wanted}; got {pixels.shape} {pixels.dtype}")
    return pixels.astype(np.int64)
