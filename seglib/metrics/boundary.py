"""Scores at boundaries: the boundary F1, and the trimap, a band along the boundaries of a mask."""

import math

import numpy as np

from seglib.metrics.confusion import check_ids, ratio


def boundary_f1(mask, pred, num_classes, tolerance, ignore_id=255):
    """Boundary F1 of each class (Csurka et al. 2013, section 3).

    A pixel is on its class's boundary if one of its four neighbours is of another class. Precision P is the fraction of
    the predicted boundary with true boundary of that class within ``tolerance``, recall R that of the true boundary
    with predicted boundary within it, and ``F1 = 2 P R / (P + R)``.

    Args:
        mask, pred: (height, width) integer ids; with axes before these, the pixels of all images are counted together.
        num_classes: number of classes.
        tolerance: distance between the centres of two pixels, in pixels; below 1, a fraction of the image's diagonal.
        ignore_id: the id of void pixels. They are on no boundary, and make no neighbour a boundary pixel.

    Returns:
        (num_classes,) float64 in [0, 1]; NaN for classes without any boundary, true or predicted.

    Raises:
        ValueError: shapes that differ, an id that no class has, or a tolerance below 0.

    Example: a column of class 1, predicted one pixel too far to the right.
        >>> mask, pred = np.array([[0, 1, 0, 0]]), np.array([[0, 0, 1, 0]])
        >>> boundary_f1(mask, pred, 2, tolerance=1).tolist(), boundary_f1(mask, pred, 2, tolerance=0).tolist()
        ([1.0, 1.0], [0.0, 0.0])
    """
    mask, pred = check_ids(mask, pred, num_classes, ignore_id)
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0, got {tolerance}")
    if 0 < tolerance < 1:
        tolerance *= math.hypot(*mask.shape[-2:])
    pred = np.where(mask == ignore_id, ignore_id, pred)
    true, predicted = _find_boundaries(mask, ignore_id), _find_boundaries(pred, ignore_id)
    precision = _fraction_within(predicted, true, num_classes, tolerance)
    recall = _fraction_within(true, predicted, num_classes, tolerance)
    absent = np.isnan(precision) & np.isnan(recall)  # of a boundary in one of the two, one is NaN and F1 is 0
    return np.where(absent, np.nan, np.nan_to_num(ratio(2 * precision * recall, precision + recall)))


def trimap(mask, width, ignore_id=255):
    """The mask with only a band along its boundaries left; all else is void (Kohli et al. 2009, section 4).

    ``confusion_matrix(trimap(mask, 2), pred, num_classes)`` judges a prediction at the boundaries alone, as Chen et al.
    2018 (DeepLab), section 4.1, do over several widths.

    Args:
        mask: (height, width) integer ids; axes before these are further images.
        width: of the band on either side of a boundary, in pixels, at least 1. Beside void there is a boundary too.
        ignore_id: the id of void pixels, and of those outside the band.

    Returns:
        A new mask of the same shape and dtype.

    Raises:
        ValueError: a mask without height and width, one whose dtype cannot hold ``ignore_id``, or a width below 1.

    Example:
        >>> trimap(np.array([[0, 0, 0, 1, 1, 1]]), 2).tolist()
        [[255, 0, 0, 1, 1, 255]]
    """
    mask = np.asarray(mask)
    if not width >= 1:
        raise ValueError(f"width must be at least 1 pixel on either side, got {width}")
    if mask.dtype.kind not in "iu" or not np.iinfo(mask.dtype).min <= ignore_id <= np.iinfo(mask.dtype).max:
        raise ValueError(f"a mask of {mask.dtype} cannot hold the ignore_id {ignore_id}; give mask.astype(np.uint8)")
    boundary = _find_boundaries(mask, ignore_id=None) >= 0
    return np.where(_spread(boundary, width - 1), mask, np.array(ignore_id, mask.dtype))


def _find_boundaries(ids, ignore_id):
    """The ids on boundaries, −1 elsewhere; beside void there is none, unless ``ignore_id`` is None."""
    if ids.ndim < 2:
        raise ValueError(f"wanted ids of shape (height, width), got {ids.shape}")
    at = np.zeros(ids.shape, bool)
    for axis in (-2, -1):
        here, there = np.moveaxis(ids, axis, 0), np.moveaxis(at, axis, 0)
        differ = here[1:] != here[:-1]
        if ignore_id is not None:
            differ &= (here[1:] != ignore_id) & (here[:-1] != ignore_id)
        there[1:] |= differ
        there[:-1] |= differ
    return np.where(at, ids.astype(np.int64), -1)


def _fraction_within(own, other, num_classes, tolerance):
    """The fraction of each class's own boundary with other boundary of it within ``tolerance``: (num_classes,)."""
    near = np.zeros(own.shape, bool)
    for first in range(0, num_classes, 64):  # a bit a class, up to 64 at once
        count, bits = min(num_classes - first, 64), np.zeros(num_classes + 1, np.uint64)  # the last for −1
        bits[first : first + count] = np.uint64(2) ** np.arange(count, dtype=np.uint64)
        bits = bits.astype(np.min_scalar_type(bits.max()))
        near |= (bits[own] & _spread(bits[other], tolerance)) > 0
    found, length = (np.bincount(own[where], minlength=num_classes) for where in (near, own >= 0))
    return ratio(found, length)


def _spread(bits, tolerance):
    """Each pixel's bits, joined by "or" with those of all pixels within ``tolerance``."""
    rows = [bits]  # joined with 0, 1, 2 … pixels of the same row to either side
    for step in range(1, int(tolerance) + 1):
        rows.append(rows[-1].copy())
        rows[-1][..., step:] |= bits[..., :-step]
        rows[-1][..., :-step] |= bits[..., step:]
    spread = rows[-1].copy()
    for step in range(1, len(rows)):
        row = rows[int(math.sqrt(tolerance**2 - step**2) + 1e-9)]
        spread[..., step:, :] |= row[..., :-step, :]
        spread[..., :-step, :] |= row[..., step:, :]
    return spread
