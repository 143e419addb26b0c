"""One confusion matrix, accumulated over the whole data set, what is read off it; the outlines."""

import math

import keras
import numpy as np
from keras import ops

# Counts are kept as two int32 words, high · 2³⁰ + low, because 64-bit integers silently become 32-bit ones on JAX.
_WORD = 2**30


@keras.saving.register_keras_serializable("seglib")
class ConfusionMatrix(keras.metrics.Metric):
    """Counts pixels by (true class, predicted class); its ``result()`` is the mean intersection over union.

    With the matrix ``M[truth, pred]``: ``IoU_c = M[c, c] / (Σ M[c, :] + Σ M[:, c] − M[c, c])``, and the result is
    the mean over the classes that occur in the truth or in the predictions. (The measure is that of Everingham et al.
    2010, who average over all classes; a class that never occurs would make that mean undefined.)

    Args:
        num_classes: how many classes there are.
        ignore_id: the id of pixels that are not scored, whatever is predicted there.

    Example:
        One pixel of class 0 found, one taken for class 1, and both of class 1 found: IoUs of ½ and ⅔.

        >>> metric = ConfusionMatrix(2)
        >>> metric.update_state([[0, 0, 1, 1]], [[0, 1, 1, 1]])
        >>> metric.matrix.tolist()
        [[1, 1], [0, 2]]
    """

    def __init__(self, num_classes, ignore_id=255, name="miou", **kwargs):
        super().__init__(name=name, **kwargs)
        if 0 <= ignore_id < num_classes:
            raise ValueError(f"ignore_id must not be one of the classes 0–{num_classes - 1}, got {ignore_id}")
        self.num_classes = num_classes
        self.ignore_id = ignore_id
        # The cells of the matrix, row by row, then the void pixels, then those of an id that no class has.
        shape = (num_classes**2 + 2,)
        self._low = self.add_variable(shape, initializer="zeros", dtype="int32", name="low")
        self._high = self.add_variable(shape, initializer="zeros", dtype="int32", name="high")

    def update_state(self, mask, pred, sample_weight=None):
        """Adds one batch.

        Args:
            mask: (batch, height, width) integer ids, or any shape.
            pred: logits or probabilities of the mask's shape with a last axis of ``num_classes``, or integer ids
                of the mask's shape.
            sample_weight: not supported; pixels that should not count carry ``ignore_id``.

        Raises:
            ValueError: shapes that do not fit, or float predictions where ids were expected.
        """
        if sample_weight is not None:
            raise ValueError("sample_weight is not supported: give pixels that should not count the ignore_id")
        mask = ops.convert_to_tensor(mask)
        pred = self._to_ids(ops.convert_to_tensor(pred), mask)
        mask, pred = ops.reshape(ops.cast(mask, "int32"), (-1,)), ops.reshape(ops.cast(pred, "int32"), (-1,))
        num_classes, void = self.num_classes, self.num_classes**2
        known = (mask >= 0) & (mask < num_classes) & (pred >= 0) & (pred < num_classes)
        cell = ops.where(known, mask * num_classes + pred, void + 1)
        cell = ops.where(mask == self.ignore_id, void, cell)
        low = self._low + _count(cell, void + 2)
        self._high.assign(self._high + low // _WORD)
        self._low.assign(low % _WORD)

    def result(self):
        """Mean IoU in [0, 1], a float32 scalar; 0 before the first scored pixel.

        It is computed inside compiled functions, which cannot refuse unknown ids; :attr:`matrix` and what is read off
        it do.
        """
        counts = ops.cast(self._high, "float32") * _WORD + ops.cast(self._low, "float32")
        matrix = ops.reshape(counts[: self.num_classes**2], (self.num_classes, self.num_classes))
        overlap = ops.diagonal(matrix)
        union = ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1) - overlap
        present = ops.cast(union > 0, "float32")
        return ops.sum(overlap / ops.maximum(union, 1)) / ops.maximum(ops.sum(present), 1)

    @property
    def matrix(self):
        """(num_classes, num_classes) int64 pixel counts, row: truth, column: prediction.

        Raises:
            ValueError: pixels were given whose id is neither a class nor ``ignore_id``.
        """
        low, high = ops.convert_to_numpy(self._low), ops.convert_to_numpy(self._high)
        counts = high.astype(np.int64) * _WORD + low
        if counts[-1]:
            raise ValueError(
                f"{counts[-1]} pixels had an id, true or predicted, outside the classes 0–{self.num_classes - 1} "
                f"and not the void id {self.ignore_id}"
            )
        return counts[:-2].reshape(self.num_classes, self.num_classes)

    def iou(self):
        """(num_classes,) float64 intersection over union; NaN for classes neither there nor predicted."""
        matrix = self.matrix
        return _ratio(np.diag(matrix), matrix.sum(0) + matrix.sum(1) - np.diag(matrix))

    def dice(self):
        """(num_classes,) float64 Dice coefficient, ``2 M[c, c] / (Σ M[c, :] + Σ M[:, c])``; NaN as in :meth:`iou`."""
        matrix = self.matrix
        return _ratio(2 * np.diag(matrix), matrix.sum(0) + matrix.sum(1))

    def mean_iou(self):
        """Mean of :meth:`iou` over the classes that occur, in float64; 0 before the first scored pixel."""
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else 0.0

    def accuracy(self):
        """Share of the scored pixels whose class is right, in [0, 1]; 0 before the first scored pixel."""
        matrix = self.matrix
        return float(np.trace(matrix) / max(matrix.sum(), 1))

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes, "ignore_id": self.ignore_id}

    def _to_ids(self, pred, mask):
        for axis, (wanted, found) in enumerate(zip(mask.shape, pred.shape, strict=False)):
            if None not in (wanted, found) and wanted != found:
                raise ValueError(f"pred has {found} along axis {axis}, where the mask has {wanted}")
        if len(pred.shape) == len(mask.shape) + 1:
            if pred.shape[-1] != self.num_classes:
                raise ValueError(f"pred has {pred.shape[-1]} channels; wanted one per class, {self.num_classes}")
            return _argmax(pred)
        if len(pred.shape) != len(mask.shape):
            raise ValueError(
                f"pred must be ids of the mask's shape {tuple(mask.shape)}, or that with a last axis of "
                f"{self.num_classes} logits; got {tuple(pred.shape)}"
            )
        if "int" not in keras.backend.standardize_dtype(pred.dtype):
            raise ValueError(
                f"pred of the mask's shape must hold integer ids, got {pred.dtype}; logits need a last axis of "
                f"{self.num_classes} classes, and a mask (batch, height, width) without a channel axis"
            )
        return pred


def boundary_f1(mask, pred, num_classes, tolerance, ignore_id=255):
    """How well the outlines of each class are drawn (Csurka et al. 2013, section 3).

    A pixel is on its class's outline if one of its four neighbours is of another class. With the share P of the
    predicted outline that has true outline of that class within ``tolerance``, and the share R of the true outline that
    has predicted outline within it, ``F1 = 2 P R / (P + R)``.

    Args:
        mask, pred: (height, width) integer ids; with axes before these, the pixels of all images are counted together.
        num_classes: how many classes there are.
        tolerance: distance between the centres of two pixels, in pixels; below 1, as a share of the image's diagonal.
        ignore_id: the id of void pixels, which are on no outline, nor make their neighbours be.

    Returns:
        (num_classes,) float64 in [0, 1]; NaN for classes without any outline, true or predicted.

    Raises:
        ValueError: shapes that differ, an id that no class has, or a tolerance below 0.

    Example:
        A column of class 1, predicted one pixel too far to the right: right within a pixel, wrong without tolerance.

        >>> mask, pred = np.array([[0, 1, 0, 0]]), np.array([[0, 0, 1, 0]])
        >>> boundary_f1(mask, pred, 2, tolerance=1).tolist(), boundary_f1(mask, pred, 2, tolerance=0).tolist()
        ([1.0, 1.0], [0.0, 0.0])
    """
    mask, pred = np.asarray(mask), np.asarray(pred)
    if mask.shape != pred.shape or mask.ndim < 2:
        raise ValueError(f"wanted mask and pred of one shape (height, width), got {mask.shape} and {pred.shape}")
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0, got {tolerance}")
    if 0 < tolerance < 1:
        tolerance *= math.hypot(*mask.shape[-2:])
    pred = np.where(mask == ignore_id, ignore_id, pred)
    for name, ids in (("mask", mask), ("pred", pred)):
        strange = ids[((ids < 0) | (ids >= num_classes)) & (ids != ignore_id)]
        if strange.size:
            raise ValueError(f"{name} has the id {strange[0]}, outside the classes 0–{num_classes - 1}")
    true, predicted = _find_outlines(mask, ignore_id), _find_outlines(pred, ignore_id)
    precision = _share_within(predicted, true, num_classes, tolerance)
    recall = _share_within(true, predicted, num_classes, tolerance)
    # The share of no outline at all is NaN: with the other one's, F1 is zero, and without, it is NaN too.
    either = np.where(np.isnan(precision), recall, precision)
    precision, recall = np.nan_to_num(precision), np.nan_to_num(recall)
    return np.where(np.isnan(either), np.nan, 2 * precision * recall / np.maximum(precision + recall, 1e-12))


def _find_outlines(ids, ignore_id):
    """The ids on outlines, −1 elsewhere."""
    at = np.zeros(ids.shape, bool)
    for axis in (-2, -1):
        here, there = np.moveaxis(ids, axis, 0), np.moveaxis(at, axis, 0)
        differ = (here[1:] != here[:-1]) & (here[1:] != ignore_id) & (here[:-1] != ignore_id)
        there[1:] |= differ
        there[:-1] |= differ
    return np.where(at, ids.astype(np.int64), -1)


def _share_within(own, other, num_classes, tolerance):
    """Which share of each class's own outline has other outline of it within ``tolerance``: (num_classes,), or NaN."""
    hit = np.zeros(own.shape, bool)
    for first in range(0, num_classes, 64):  # a bit a class, up to 64 at once
        count = min(num_classes - first, 64)
        of_class = np.append(np.uint64(1) << np.arange(count, dtype=np.uint64), np.uint64(0))
        of_class = of_class.astype(np.min_scalar_type(2**count - 1))
        mine, theirs = (of_class[np.where((i >= first) & (i < first + count), i - first, count)] for i in (own, other))
        hit |= (mine & _spread(theirs, tolerance)) > 0
    hits, length = (np.bincount(own[where], minlength=num_classes) for where in (hit, own >= 0))
    return _ratio(hits, length)


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


def _argmax(scores):
    # The running maximum over whole planes of one class: three times as fast as ops.argmax over a short last axis.
    planes = ops.unstack(ops.transpose(ops.reshape(scores, (-1, scores.shape[-1]))))
    best, ids = planes[0], ops.zeros_like(planes[0], dtype="int32")
    for i, plane in enumerate(planes[1:], start=1):
        ids = ops.where(plane > best, i, ids)
        best = ops.maximum(plane, best)
    return ids


def _count(cell, length):
    """How often each of 0 … length − 1 occurs: by the form that the backend both compiles and runs fast."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # ops.bincount has no fixed length here, which XLA asks for

        return tf.raw_ops.DenseBincount(input=cell, size=length, weights=tf.constant([], tf.int32))
    if keras.backend.backend() == "jax":
        return ops.segment_sum(ops.ones_like(cell), cell, num_segments=length)
    return ops.cast(ops.bincount(cell, minlength=length), "int32")


def _ratio(part, whole):
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
