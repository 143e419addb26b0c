"""One confusion matrix, accumulated over the whole data set, as a Keras metric."""

import keras
import numpy as np
from keras import ops

from seglib.metrics import scores

# Counts are kept as two int32 words, high · 2²⁴ + low, because 64-bit integers silently become 32-bit ones on JAX. Of
# the low words, those of up to 128 replicas are added up when a distributed metric is read.
_WORD = 2**24


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

        Compiled functions cannot refuse what they are given: NaN means that there were ids, true or predicted, that no
        class has, or logits that were NaN; :attr:`matrix`, and what is read off it, says so in words.
        """
        counts = ops.cast(self._high, "float32") * _WORD + ops.cast(self._low, "float32")
        matrix = ops.reshape(counts[: self.num_classes**2], (self.num_classes, self.num_classes))
        overlap = ops.diagonal(matrix)
        union = ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1) - overlap
        present = ops.cast(union > 0, "float32")
        mean = ops.sum(overlap / ops.maximum(union, 1)) / ops.maximum(ops.sum(present), 1)
        return ops.where(counts[-1] > 0, float("nan"), mean)

    @property
    def matrix(self):
        """(num_classes, num_classes) int64 pixel counts, row: truth, column: prediction.

        Raises:
            ValueError: pixels were given whose id is neither a class nor ``ignore_id``, or whose logits were NaN.
        """
        low, high = ops.convert_to_numpy(self._low), ops.convert_to_numpy(self._high)
        counts = high.astype(np.int64) * _WORD + low
        if counts[-1]:
            raise ValueError(
                f"{counts[-1]} pixels had an id, true or predicted, outside the classes 0–{self.num_classes - 1} "
                f"and not the void id {self.ignore_id}, or logits that were NaN"
            )
        return counts[:-2].reshape(self.num_classes, self.num_classes)

    def iou(self):
        """(num_classes,) :func:`seglib.metrics.iou`, NaN for classes that are neither there nor predicted."""
        return scores.iou(self.matrix)

    def dice(self):
        """(num_classes,) :func:`seglib.metrics.dice`, NaN as in :meth:`iou`."""
        return scores.dice(self.matrix)

    def mean_iou(self):
        """:func:`seglib.metrics.mean_iou`, a float64; NaN before the first scored pixel."""
        return scores.mean_iou(self.matrix)

    def accuracy(self):
        """:func:`seglib.metrics.accuracy`, a float64; NaN before the first scored pixel."""
        return scores.accuracy(self.matrix)

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


def _argmax(scores):
    """The class of the highest score, the first of equals; −1 where a score is NaN."""
    # The running maximum over whole planes of one class: three times as fast as ops.argmax over a short last axis.
    planes = ops.unstack(ops.transpose(ops.reshape(scores, (-1, scores.shape[-1]))))
    best, ids = planes[0], ops.zeros_like(planes[0], dtype="int32")
    is_nan = best != best
    for i, plane in enumerate(planes[1:], start=1):
        ids = ops.where(plane > best, i, ids)
        best = ops.maximum(plane, best)
        is_nan = is_nan | (plane != plane)
    return ops.where(is_nan, -1, ids)


def _count(cell, length):
    """How often each of 0 … length − 1 occurs: by the form that the backend both compiles and runs fast."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # ops.bincount has no fixed length here, which XLA asks for

        return tf.raw_ops.DenseBincount(input=cell, size=length, weights=tf.constant([], tf.int32))
    if keras.backend.backend() == "jax":
        return ops.segment_sum(ops.ones_like(cell), cell, num_segments=length)
    return ops.cast(ops.bincount(cell, minlength=length), "int32")
