"""Confusion matrices as arrays, and every score that is read off them: of one, or of as many as are stacked."""

import numpy as np


def count(mask, pred, num_classes, ignore_id=255):
    """The confusion matrix of a mask and its prediction: pixels by (true class, predicted class).

    Args:
        mask, pred: integer ids of one shape, any; (height, width) for one image.
        num_classes: how many classes there are.
        ignore_id: the true id of pixels that are not counted, whatever is predicted there.

    Returns:
        (num_classes, num_classes) int64, row: truth, column: prediction. Matrices add up: the sum over the images of a
        data set is the matrix of the data set, from which its scores are read.

    Raises:
        ValueError: shapes that differ, ids that are not integers, or an id that no class has.

    Example:
        One pixel of class 0 found, one taken for class 1, and both of class 1 found.

        >>> count(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 2).tolist()
        [[1, 1], [0, 2]]
    """
    mask, pred = check_ids(mask, pred, num_classes, ignore_id)
    scored = mask != ignore_id
    cell = mask[scored].astype(np.int64) * num_classes + pred[scored]
    return np.bincount(cell, minlength=num_classes**2).reshape(num_classes, num_classes)


def iou(matrix):
    """Intersection over union of each class, ``IoU_c = M[c, c] / (Σ M[c, :] + Σ M[:, c] − M[c, c])``.

    The measure of Everingham et al. 2010, section 4; also called the Jaccard index.

    Args:
        matrix: (…, num_classes, num_classes) pixel counts, row: truth, column: prediction.

    Returns:
        (…, num_classes) float64 in [0, 1]; NaN for classes that are neither there nor predicted.
    """
    hit, true, predicted = _marginals(matrix)
    return ratio(hit, true + predicted - hit)


def dice(matrix):
    """Dice coefficient of each class, ``2 M[c, c] / (Σ M[c, :] + Σ M[:, c])``, also called F1 (Dice 1945).

    It is ``2 IoU / (1 + IoU)``: never lower than the IoU, and in the same order. Shapes and NaN as in :func:`iou`.
    """
    hit, true, predicted = _marginals(matrix)
    return ratio(2 * hit, true + predicted)


def precision(matrix):
    """Which share of the pixels called a class are of it, ``M[c, c] / Σ M[:, c]``; NaN for classes never predicted."""
    hit, _, predicted = _marginals(matrix)
    return ratio(hit, predicted)


def recall(matrix):
    """Which share of a class's pixels are called so, ``M[c, c] / Σ M[c, :]``; NaN for classes that never occur."""
    hit, true, _ = _marginals(matrix)
    return ratio(hit, true)


def mean_iou(matrix):
    """Mean of :func:`iou` over the classes that occur in truth or prediction: (…) float64, NaN without any pixel."""
    return _mean(iou(matrix))


def accuracy(matrix):
    """Share of the scored pixels whose class is right: (…) float64 in [0, 1], NaN without any pixel."""
    hit, true, _ = _marginals(matrix)
    return ratio(hit.sum(-1), true.sum(-1))


def mean_accuracy(matrix):
    """Mean of :func:`recall` over the classes that occur in the truth (Long et al. 2015, section 5), as (…) float64."""
    return _mean(recall(matrix))


def frequency_weighted_iou(matrix):
    """Mean of :func:`iou`, each class weighed by its share of the true pixels (Long et al. 2015, section 5)."""
    _, true, _ = _marginals(matrix)
    return ratio((true * np.nan_to_num(iou(matrix))).sum(-1), true.sum(-1))


def check_ids(mask, pred, num_classes, ignore_id):
    """Both as arrays of one shape, whose ids are classes, or void in the mask; else a ValueError says what is wrong."""
    mask, pred = np.asarray(mask), np.asarray(pred)
    if mask.shape != pred.shape:
        raise ValueError(f"wanted mask and pred of one shape, got {mask.shape} and {pred.shape}")
    if 0 <= ignore_id < num_classes:
        raise ValueError(f"ignore_id must not be one of the classes 0–{num_classes - 1}, got {ignore_id}")
    for name, ids in (("mask", mask), ("pred", pred)):
        if ids.dtype.kind not in "iu":
            raise ValueError(f"{name} must hold integer ids, got {ids.dtype}")
        strange = ids[((ids < 0) | (ids >= num_classes)) & (mask != ignore_id)]
        if strange.size:
            raise ValueError(f"{name} has the id {strange[0]}, outside the classes 0–{num_classes - 1}")
    return mask, pred


def ratio(part, whole):
    """``part / whole``, and NaN where there is no whole."""
    part, whole = np.asarray(part), np.asarray(whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)[()]


def _marginals(matrix):
    """Of each class: the pixels that are right, those that are of it, and those that are said to be: (…, classes)."""
    matrix = np.asarray(matrix)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"a confusion matrix is (…, num_classes, num_classes), got {matrix.shape}")
    return np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-1), matrix.sum(-2)


def _mean(scores):
    """Mean over the last axis without its NaN; NaN where there is nothing else."""
    return ratio(np.nansum(scores, axis=-1), np.isfinite(scores).sum(-1))
