"""Weights of classes, and how often to show which image, from how often the classes occur."""

import numpy as np


def class_weights(dataset, scheme="median_frequency", split="train"):
    """A weight for each class, the larger the rarer it is, of a mean of 1 over the classes.

    With the share ``f_c`` of a class in the labelled pixels:

    - ``median_frequency``: ``median(f) / f_c``, where each share is of the images that the class is in (Eigen & Fergus
      2015, section 6.3);
    - ``inverse_log``: ``1 / ln(1.02 + f_c)`` (Paszke et al. 2016, ENet, section 5.2);
    - ``effective_number``: ``(1 − β) / (1 − β^n)`` with ``n`` the number of images that the class is in and ``β`` one
      less one over the number of all (Cui et al. 2019, equation 5, with images for its samples: the pixels of one
      image are no samples of their own).

    Args:
        dataset: a :class:`~seglib.data.Dataset`.
        scheme: one of the three.
        split: whose masks are counted.

    Returns:
        (num_classes,) float64, for the ``class_weights`` of a loss.

    Raises:
        ValueError: an unknown scheme, or a class that never occurs, for which no weight is right.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
    pixels = _count(dataset, split)
    absent = [name for name, count in zip(dataset.labels.names, pixels.sum(axis=0), strict=True) if not count]
    if absent:
        raise ValueError(f"no weight is right for what never occurs in {split}: {', '.join(absent)}")
    weights = SCHEMES[scheme](pixels)
    return weights / weights.mean()


def rare_class_repeats(dataset, temperature=0.01):
    """How often to show each training image, so that rare classes are seen more often: rare-class sampling.

    A class is drawn with probability ``P(c) ∝ exp((1 − f_c) / T)``, ``f_c`` its share of the labelled pixels, and then
    one of the images that it is in (Hoyer et al. 2022, DAFormer, section 3.2). Helps where images differ in what is in
    them; where every class is in nearly every image it changes nothing.

    Args:
        dataset: a :class:`~seglib.data.Dataset`.
        temperature: T; the lower, the more the rarest class is preferred, and without bound every class is as likely.

    Returns:
        (pairs,) float64 of a mean of 1, for the ``repeats`` of ``dataset.batches``; 0 for images that are all void.

    Raises:
        ValueError: a temperature that is not above 0, or no labelled pixel at all.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    pixels = _count(dataset, "train")
    if not pixels.any():
        raise ValueError(f"{dataset.name}: no training mask holds a labelled pixel")
    pixels = pixels[:, pixels.any(axis=0)]  # of the classes that occur
    there, shares = pixels > 0, pixels.sum(axis=0) / pixels.sum()
    chances = np.exp((shares.min() - shares) / temperature)
    repeats = there @ (chances / there.sum(axis=0))
    return repeats / repeats.mean()


def _count(dataset, split):
    """How many pixels of each class are in each image: (pairs, num_classes) int64."""
    masks = (np.asarray(pair["mask"]) for pair in dataset.split(split))
    return np.stack([[(mask == i).sum() for i in range(dataset.labels.num_classes)] for mask in masks])


def _median_frequency(pixels):
    there = pixels > 0
    shares = pixels.sum(axis=0) / (there * pixels.sum(axis=1, keepdims=True)).sum(axis=0)
    return np.median(shares) / shares


def _inverse_log(pixels):
    return 1 / np.log(1.02 + pixels.sum(axis=0) / pixels.sum())


def _effective_number(pixels):
    beta = 1 - 1 / max(len(pixels), 2)
    return (1 - beta) / (1 - beta ** (pixels > 0).sum(axis=0))


SCHEMES = {
    "median_frequency": _median_frequency,
    "inverse_log": _inverse_log,
    "effective_number": _effective_number,
}
