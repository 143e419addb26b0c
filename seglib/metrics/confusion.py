"""One confusion matrix over a whole dataset, as an array and as a Keras metric, and the scores that are read off it."""

import functools
import math

import keras
import numpy as np
from keras import ops

# Counts are two int32 words, high · 2²⁴ + low: JAX silently turns 64-bit integers into 32-bit ones, and the low words
# of up to 128 replicas are added up.
_WORD = 2**24
# A batch of so many pixels is worth the tenth of a second that XLA takes to compile the count for a new shape.
_MANY = 2**20


def confusion_matrix(mask, pred, num_classes, ignore_id=255):
    """Pixels by (true class, predicted class).

    Args:
        mask, pred: integer ids of one shape, any; (height, width) for one image.
        num_classes: number of classes.
        ignore_id: the true id of void pixels, which are not counted, whatever is predicted there.

    Returns:
        (num_classes, num_classes) int64, row: truth, column: prediction; the sum over images is that of the dataset.

    Raises:
        ValueError: shapes that differ, ids that are not integers, or an id that no class has.

    Example:
        >>> confusion_matrix(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 2).tolist()
        [[1, 1], [0, 2]]
    """
    mask, pred = check_ids(mask, pred, num_classes, ignore_id)
    scored = mask != ignore_id
    cell = mask[scored].astype(np.int64) * num_classes + pred[scored]
    return np.bincount(cell, minlength=num_classes**2).reshape(num_classes, num_classes)


def iou(matrix):
    """Intersection over union of each class, also called the Jaccard index (Everingham et al. 2010, section 4).

    ``M[c, c] / (Σ M[c, :] + Σ M[:, c] − M[c, c])``: (…, num_classes, num_classes) pixel counts, row: truth, column:
    prediction → (…, num_classes) float64 in [0, 1]; NaN for classes that are neither present nor predicted.
    """
    tp, true, predicted = _marginals(matrix)
    return ratio(tp, true + predicted - tp)


def dice(matrix):
    """Dice coefficient of each class, also called F1 (Dice 1945); it is ``2 IoU / (1 + IoU)``.

    ``2 M[c, c] / (Σ M[c, :] + Σ M[:, c])``: (…, num_classes, num_classes) pixel counts, row: truth, column: prediction
    → (…, num_classes) float64 in [0, 1]; NaN for classes that are neither present nor predicted.
    """
    tp, true, predicted = _marginals(matrix)
    return ratio(2 * tp, true + predicted)


def precision(matrix):
    """``M[c, c] / Σ M[:, c]`` of each class: (…, classes, classes) → (…, classes); NaN for classes never predicted."""
    tp, _, predicted = _marginals(matrix)
    return ratio(tp, predicted)


def recall(matrix):
    """``M[c, c] / Σ M[c, :]`` of each class: (…, classes, classes) → (…, classes); NaN for classes that never occur."""
    tp, true, _ = _marginals(matrix)
    return ratio(tp, true)


def mean_iou(matrix):
    """Mean of :func:`iou` over the classes that occur in truth or prediction: (…) float64, NaN without any pixel."""
    return _mean(iou(matrix))


def accuracy(matrix):
    """Fraction of the scored pixels whose class is right: (…) float64 in [0, 1], NaN without any pixel."""
    tp, true, _ = _marginals(matrix)
    return ratio(tp.sum(-1), true.sum(-1))


def mean_accuracy(matrix):
    """Mean of :func:`recall` over the classes that occur in the truth (Long et al. 2015, section 5), (…) float64."""
    return _mean(recall(matrix))


def frequency_weighted_iou(matrix):
    """Mean of :func:`iou` weighted by each class's share of the true pixels (Long et al. 2015, section 5), (…)."""
    _, true, _ = _marginals(matrix)
    return ratio((true * np.nan_to_num(iou(matrix))).sum(-1), true.sum(-1))


@keras.saving.register_keras_serializable("seglib")
class ConfusionMatrix(keras.metrics.Metric):
    """The confusion matrix of all batches as a Keras metric, whose ``result()`` is the mean IoU over the classes that
    occur in the truth or in the predictions.

    After an epoch it prints, once, if all scored pixels are of one class, or if most pixels carry the ``ignore_id``.

    Args:
        num_classes: number of classes.
        ignore_id: the true id of void pixels, which are not counted, whatever is predicted there.
    """

    def __init__(self, num_classes, ignore_id=255, name="miou", **kwargs):
        super().__init__(name=name, **kwargs)
        self.num_classes, self.ignore_id = int(num_classes), int(ignore_id)
        _check_ignore_id(self.ignore_id, self.num_classes)
        shape = (self.num_classes**2 + 2,)  # as _count orders them
        self._told = False
        self._low = self.add_variable(shape, initializer="zeros", dtype="int32", name="low")
        self._high = self.add_variable(shape, initializer="zeros", dtype="int32", name="high")

    def update_state(self, mask, pred, sample_weight=None):
        """Adds one batch.

        Args:
            mask: (batch, height, width) integer ids, or any shape.
            pred: integer ids of the mask's shape, or logits or probabilities with one more axis, of ``num_classes``.
            sample_weight: None; pixels that should not count carry ``ignore_id``.

        Raises:
            ValueError: shapes that do not fit, float predictions where ids were expected, or sample weights.
        """
        if sample_weight is not None:
            raise ValueError("sample_weight is not supported: give pixels that should not count the ignore_id")
        mask, pred = ops.convert_to_tensor(mask), ops.convert_to_tensor(pred)
        self._check_fit(pred, mask)
        count = _compile_count() if None not in mask.shape and math.prod(mask.shape) >= _MANY else _count
        low = self._low + count(mask, pred, self.num_classes, self.ignore_id)
        self._high.assign(self._high + low // _WORD)
        self._low.assign(low % _WORD)

    def reset_state(self):
        self._tell_once()
        super().reset_state()

    def _tell_once(self):
        """Of masks of 0 and 255 the 255 is ignored: one class is left, and its IoU soon is 1."""
        if self._told:
            return
        pixels = self._read_counts()
        scored, void = pixels[:-2].reshape(self.num_classes, -1).sum(1), pixels[-2]
        is_one = np.count_nonzero(scored) == 1 < self.num_classes and (void or scored.sum() >= 1000)
        if not (is_one or void > scored.sum()):
            return
        self._told = True
        share = f"{void / pixels.sum():.0%} of the pixels carry the ignore label {self.ignore_id} and are not scored"
        if is_one:
            found = f"warning: every scored pixel is of class {np.argmax(scored)}; {share}"
            print(f"{found}. Masks of 0 and 255? Then say masks // 255, so that 255 is class 1", flush=True)
        else:
            print(f"note: {share}", flush=True)

    def result(self):
        """Mean IoU in [0, 1], a float32 scalar; 0 before the first scored pixel, NaN where :attr:`matrix` raises."""
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            if tf.executing_eagerly():  # not within a step: the end of an epoch
                self._tell_once()
        counts = ops.cast(self._high, "float32") * _WORD + ops.cast(self._low, "float32")
        matrix = ops.reshape(counts[: self.num_classes**2], (self.num_classes, self.num_classes))
        overlap = ops.diagonal(matrix)
        union = ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1) - overlap
        mean = ops.sum(overlap / ops.maximum(union, 1)) / ops.maximum(ops.sum(ops.cast(union > 0, "float32")), 1)
        return ops.where(counts[-1] > 0, float("nan"), mean)

    @property
    def matrix(self):
        """(num_classes, num_classes) int64 pixel counts, row: truth, column: prediction.

        Raises:
            ValueError: pixels were given whose id is neither a class nor ``ignore_id``, or whose logits were NaN.
        """
        counts = self._read_counts()
        if counts[-1]:
            wanted = f"wanted the classes 0–{self.num_classes - 1} and, in masks, the ignore_id {self.ignore_id}"
            raise ValueError(f"{counts[-1]} pixels had another id, true or predicted, or NaN logits; {wanted}")
        return counts[:-2].reshape(self.num_classes, self.num_classes)

    def _read_counts(self):
        low, high = ops.convert_to_numpy(self._low), ops.convert_to_numpy(self._high)
        return high.astype(np.int64) * _WORD + low

    def iou(self):
        """(num_classes,) :func:`seglib.metrics.iou`, NaN for classes that are neither present nor predicted."""
        return iou(self.matrix)

    def dice(self):
        """(num_classes,) :func:`seglib.metrics.dice`, NaN for classes that are neither present nor predicted."""
        return dice(self.matrix)

    def mean_iou(self):
        """:func:`seglib.metrics.mean_iou`, a float64; NaN before the first scored pixel."""
        return mean_iou(self.matrix)

    def accuracy(self):
        """:func:`seglib.metrics.accuracy`, a float64; NaN before the first scored pixel."""
        return accuracy(self.matrix)

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes, "ignore_id": self.ignore_id}

    def _check_fit(self, pred, mask):
        shape, given, dtype = tuple(mask.shape), tuple(pred.shape), keras.backend.standardize_dtype(pred.dtype)
        fits = all(a == b or None in (a, b) for a, b in zip(shape, given, strict=False))
        is_ids = len(given) == len(shape) and "int" in dtype
        if fits and (is_ids or given[len(shape) :] == (self.num_classes,)):
            return
        wanted = f"integer ids of the mask's shape {shape}, or logits with one more axis of {self.num_classes} classes"
        way = _remove_axis(shape) if len(shape) == len(given) > 1 else ""
        raise ValueError(f"wanted pred as {wanted}, got {given} {dtype}{way}")


def check_ids(mask, pred, num_classes, ignore_id):
    """Both as arrays of one shape, whose ids are classes, or void in the mask; else a ValueError says what is wrong."""
    mask, pred = np.asarray(mask), np.asarray(pred)
    if mask.shape != pred.shape:
        way = _remove_axis(mask.shape) if mask.ndim == pred.ndim + 1 else ""
        raise ValueError(f"wanted mask and pred of one shape, got {mask.shape} and {pred.shape}{way}")
    _check_ignore_id(ignore_id, num_classes)
    for name, ids in (("mask", mask), ("pred", pred)):
        if ids.dtype.kind not in "iu":
            raise ValueError(f"{name} must hold integer ids, got {ids.dtype}")
        strange = ids[((ids < 0) | (ids >= num_classes)) & (mask != ignore_id)]
        if strange.size:
            raise ValueError(f"{name} has the id {strange[0]}, outside the classes 0–{num_classes - 1}")
    return mask, pred


def ratio(part, whole):
    """``part / whole``, and NaN where ``whole`` is 0."""
    part, whole = np.asarray(part), np.asarray(whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)[()]


def _remove_axis(shape):
    """What to say of masks (…, 1) or one-hot."""
    return "; say masks.squeeze(-1)" if shape[-1] == 1 else "; of one-hot masks say masks.argmax(-1)"


def _check_ignore_id(ignore_id, num_classes):
    if 0 <= ignore_id < num_classes:
        raise ValueError(f"ignore_id must not be one of the classes 0–{num_classes - 1}, got {ignore_id}")


def _marginals(matrix):
    """True positives, true pixels and predicted pixels of each class: (…, classes) each."""
    matrix = np.asarray(matrix)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"a confusion matrix is (…, num_classes, num_classes), got {matrix.shape}")
    return np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-1), matrix.sum(-2)


def _mean(scores):
    """Mean over the last axis without its NaN; NaN where there is nothing else."""
    return ratio(np.nansum(scores, axis=-1), np.isfinite(scores).sum(-1))


@functools.cache
def _compile_count():
    """:func:`_count`; on TensorFlow's CPU as one loop, by XLA, where each operation is else a loop over all pixels."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            return tf.function(_count, jit_compile=True, reduce_retracing=True, autograph=False)
    return _count


def _count(mask, pred, num_classes, ignore_id):
    """Pixels of each cell of the matrix, row by row, then the void ones, then those of an id that no class has."""
    void, is_id = num_classes**2, len(pred.shape) == len(mask.shape)
    pred = pred if is_id else _argmax(ops.reshape(pred, (-1, num_classes)))
    mask, pred = ops.reshape(ops.cast(mask, "int32"), (-1,)), ops.reshape(ops.cast(pred, "int32"), (-1,))
    known = (mask >= 0) & (mask < num_classes) & (pred >= 0) & (pred < num_classes)
    cell = ops.where(known, mask * num_classes + pred, void + 1)
    return _bincount(ops.where(mask == ignore_id, void, cell), void + 2)


def _argmax(scores):
    """The class of the highest score, the first of equals; −1 where a score is NaN."""
    # The running maximum over whole planes of one class: three times as fast as ops.argmax over a short last axis.
    planes = ops.unstack(ops.transpose(scores))
    best, ids = planes[0], ops.zeros_like(planes[0], dtype="int32")
    is_nan = best != best
    for i, plane in enumerate(planes[1:], start=1):
        ids = ops.where(plane > best, i, ids)
        best = ops.maximum(plane, best)
        is_nan = is_nan | (plane != plane)
    return ops.where(is_nan, -1, ids)


def _bincount(cell, length):
    """How often each of 0 … length − 1 occurs: by the form that the backend both compiles and runs fast."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # ops.bincount has no fixed length here, which XLA asks for

        return tf.raw_ops.DenseBincount(input=cell, size=length, weights=tf.constant([], tf.int32))
    if keras.backend.backend() == "jax":
        return ops.segment_sum(ops.ones_like(cell), cell, num_segments=length)
    return ops.cast(ops.bincount(cell, minlength=length), "int32")
