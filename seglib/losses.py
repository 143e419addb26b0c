"""Losses for integer masks and logits that leave void pixels out.

Every function takes ``mask`` (batch, height, width) integer ids and ``logits`` (batch, height, width, num_classes)
of any float type and returns one float32 number. The arithmetic is float32 whatever the logits are: the sums over
an image overflow float16, whose largest number is 65,504. ``pixel_weights``, (batch, height, width) from 0, say how
much each pixel counts; None is one each. For a model that is to be trained, wrap the losses in :class:`Sum`, which can
be saved.
"""

import keras
from keras import ops


def cross_entropy(mask, logits, ignore_id=255, class_weights=None, pixel_weights=None):
    """Mean over the pixels that are not void of the negative log-probability of the right class.

    ``−Σ w[mask] log softmax(logits)[mask] / Σ w[mask]``; with pixel weights, w[mask] times these.

    Args:
        mask: (batch, height, width) integer ids.
        logits: (batch, height, width, num_classes) floats.
        ignore_id: the id of void pixels.
        class_weights: ``w``, (num_classes,) positive numbers; None is a weight of one each.
        pixel_weights: (batch, height, width) weights from 0, such as U-Net's border map.

    Returns:
        A float32 scalar in [0, ∞); 0 where every pixel is void.

    Example:
        Two pixels, undecided between two classes: ``−log ½`` = 0.693.

        >>> cross_entropy([[[0, 1]]], [[[[0.0, 0.0], [0.0, 0.0]]]])
    """
    truth, weight, logits = _prepare(mask, logits, ignore_id, pixel_weights)
    if class_weights is not None:
        weight = weight * ops.sum(truth * ops.cast(class_weights, "float32"), axis=-1)
    log_probs = ops.log_softmax(logits, axis=-1)
    return -ops.sum(weight * ops.sum(truth * log_probs, axis=-1)) / ops.maximum(ops.sum(weight), 1e-7)


def dice(mask, logits, ignore_id=255, class_weights=None, pixel_weights=None):
    """One minus the soft Dice coefficient, averaged over classes.

    ``1 − mean_c (2 Σ truth_c probs_c + 1) / (Σ truth_c + Σ probs_c + 1)``, sums over the whole batch.

    After Milletari et al. 2016, section 3, with plain sums for their sums of squares. The one in numerator and
    denominator makes a class that is neither there nor predicted a perfect score.

    Args:
        mask: (batch, height, width) integer ids.
        logits: (batch, height, width, num_classes) floats.
        ignore_id: the id of void pixels.
        class_weights: (num_classes,) positive weights of the mean over classes; None is the plain mean.
        pixel_weights: (batch, height, width) weights from 0, with which each pixel enters all three sums.

    Returns:
        A float32 scalar in [0, 1); 0 where every pixel is void.
    """
    truth, weight, logits = _prepare(mask, logits, ignore_id, pixel_weights)
    weight = weight[..., None]
    probs = ops.softmax(logits, axis=-1) * weight
    overlap = ops.sum(truth * probs, axis=(0, 1, 2))  # (num_classes,)
    total = ops.sum(truth * weight + probs, axis=(0, 1, 2))
    score = (2 * overlap + 1) / (total + 1)
    weights = ops.ones_like(score) if class_weights is None else ops.cast(class_weights, "float32")
    return 1 - ops.sum(weights * score) / ops.sum(weights)


TERMS = {"cross_entropy": cross_entropy, "dice": dice}


@keras.saving.register_keras_serializable("seglib")
class Sum(keras.losses.Loss):
    """A weighted sum of losses, to be handed to ``model.compile`` and saved with the model.

    Args:
        terms: how much of each loss, by its name in this module, as in ``{"cross_entropy": 1, "dice": 0.5}``.
        ignore_id: the id of void pixels.
        class_weights: (num_classes,) weights handed to every term, or None.

    Raises:
        ValueError: an unknown name, or no term at all.

    Example:
        >>> model.compile("adam", loss=losses.Sum({"cross_entropy": 1, "dice": 1}))
    """

    def __init__(self, terms, ignore_id=255, class_weights=None, name="loss"):
        super().__init__(name=name)
        unknown = set(terms) - set(TERMS)
        if unknown or not terms:
            raise ValueError(f"terms must name some of {', '.join(TERMS)}, got {sorted(terms)}")
        self.terms = dict(terms)
        self.ignore_id = ignore_id
        self.class_weights = None if class_weights is None else [float(w) for w in class_weights]

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The sum; ``sample_weight`` of ``fit`` weighs pixels (batch, height, width) or whole images (batch,).

        Keras would multiply the finished number by the mean of the weights.
        """
        return self.call(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred, pixel_weights=None):
        return sum(
            share * TERMS[name](y_true, y_pred, self.ignore_id, self.class_weights, pixel_weights)
            for name, share in self.terms.items()
        )

    def get_config(self):
        return {
            "terms": self.terms,
            "ignore_id": self.ignore_id,
            "class_weights": self.class_weights,
            "name": self.name,
        }


def _prepare(mask, logits, ignore_id, pixel_weights):
    """One-hot truth, (batch, height, width) float32 weights of the pixels, 0 where void, and float32 logits."""
    mask, logits = ops.cast(mask, "int32"), ops.cast(logits, "float32")
    if len(mask.shape) != len(logits.shape) - 1:
        raise ValueError(
            f"mask must be (batch, height, width) and logits (batch, height, width, num_classes), "
            f"got {tuple(mask.shape)} and {tuple(logits.shape)}"
        )
    weight = ops.cast(ops.not_equal(mask, ignore_id), "float32")
    if pixel_weights is not None:
        given = ops.cast(pixel_weights, "float32")
        if len(given.shape) == 1:  # one for each image
            given = ops.reshape(given, (-1, *[1] * (len(mask.shape) - 1)))
        if len(given.shape) != len(mask.shape):
            raise ValueError(
                f"weights must be (batch, height, width) or (batch,), got {tuple(given.shape)} for a mask "
                f"{tuple(mask.shape)}"
            )
        weight = weight * given
    # torch refuses to encode an id of 255: replace it before; its weight is 0.
    truth = ops.one_hot(ops.where(mask == ignore_id, 0, mask), logits.shape[-1], dtype="float32")
    return truth, weight, logits
