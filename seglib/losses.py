"""Losses for integer masks and logits that leave void pixels out.

Every loss takes ``mask`` (batch, height, width) integer ids and ``logits`` (batch, height, width, num_classes) of any
float type and returns one float32 number, 0 where every pixel is void. It is computed in float32 whatever the type of
the logits, because sums over an image overflow float16, whose largest number is 65,504. An id that is neither a class
nor ``ignore_id`` makes a loss NaN: a compiled function cannot raise. To train a model, wrap the losses in
:class:`CompoundLoss`, which can be saved.
"""

import inspect

import keras
import numpy as np
from keras import ops


def cross_entropy(mask, logits, ignore_id=255, class_weights=None, pixel_weights=None, ohem_fraction=1.0):
    """Mean negative log-probability of the true class over the pixels that are not void.

    ``−Σ w[mask] log softmax(logits)[mask] / Σ w[mask]``, a float32 scalar; pixel weights multiply ``w[mask]``.

    Args:
        mask, logits: (batch, height, width) integer ids, ``ignore_id`` where void; (…, num_classes) floats.
        class_weights: ``w``, (num_classes,) positive numbers; None gives each class the weight 1.
        pixel_weights: (batch, height, width) weights from 0, such as U-Net's border map; None gives each pixel 1.
        ohem_fraction: in (0, 1], else a ValueError; online hard example mining (OHEM) averages only this fraction of
            the scored pixels, those with the largest losses (Shrivastava et al. 2016; Wu et al. 2016, section 2.2).

    Example:
        Two pixels, undecided between two classes: ``−log ½`` = 0.693.

        >>> round(float(cross_entropy(np.array([[[0, 1]]]), np.zeros((1, 1, 2, 2)))), 3)
        0.693
    """
    if not 0 < ohem_fraction <= 1:
        raise ValueError(f"ohem_fraction must be in (0, 1], got {ohem_fraction}")
    is_weighted = class_weights is not None
    truth, weight, logits, class_weights = _prepare(mask, logits, ignore_id, class_weights, pixel_weights)
    loss = -ops.sum(truth * ops.log_softmax(logits, axis=-1), axis=-1)
    if ohem_fraction < 1:
        weight = weight * _is_hard(loss, weight, ohem_fraction)
    if is_weighted:
        weight = weight * ops.sum(truth * class_weights, axis=-1)
    return ops.sum(weight * loss) / ops.maximum(ops.sum(weight), 1e-7)


def focal(mask, logits, ignore_id=255, class_weights=None, pixel_weights=None, gamma=2.0):
    """Cross-entropy that weighs a pixel less, the more probable its true class already is (Lin et al. 2017, eq. 4).

    ``−Σ w[mask] (1 − p)^γ log p / Σ w[mask]``, a float32 scalar, with the probability ``p`` of the true class.

    Args:
        mask, logits: (batch, height, width) integer ids, ``ignore_id`` where void; (…, num_classes) floats.
        class_weights: ``w``, (num_classes,) positive numbers; None gives each class the weight 1.
        pixel_weights: (batch, height, width) weights from 0; None gives each pixel the weight 1.
        gamma: γ, from 0, which is the cross-entropy.
    """
    truth, weight, logits, class_weights = _prepare(mask, logits, ignore_id, class_weights, pixel_weights)
    log_prob = ops.sum(truth * ops.log_softmax(logits, axis=-1), axis=-1)
    weight = weight * ops.sum(truth * class_weights, axis=-1)
    easy = ops.maximum(1 - ops.exp(log_prob), 1e-7) ** gamma  # at 0 a power below 1 has no gradient
    return -ops.sum(weight * easy * log_prob) / ops.maximum(ops.sum(weight), 1e-7)


def dice(mask, logits, ignore_id=255, class_weights=None, pixel_weights=None):
    """One minus the soft Dice coefficient, averaged over classes.

    ``1 − mean_c (2 TP_c + 1) / (2 TP_c + FP_c + FN_c + 1)``, a float32 scalar in [0, 1), with sums of probabilities
    over the whole batch (Milletari et al. 2016, section 3, who sum squares). The ones give a class that is neither
    present nor predicted a score of 1.

    Args:
        mask, logits: (batch, height, width) integer ids, ``ignore_id`` where void; (…, num_classes) floats.
        class_weights: (num_classes,) positive weights of the mean over classes; None is the plain mean.
        pixel_weights: (batch, height, width) weights from 0 of each pixel in the sums; None gives each pixel 1.
    """
    tp, predicted, true, class_weights = _count_softly(mask, logits, ignore_id, class_weights, pixel_weights)
    # 2 TP + FP + FN = predicted + true. TP occurs once: TensorFlow adds three or more gradients in any order.
    return _one_minus_mean((2 * tp + 1) / (predicted + true + 1), class_weights)


def tversky(mask, logits, ignore_id=255, class_weights=None, pixel_weights=None, alpha=0.3, beta=0.7):
    """One minus the soft Tversky index, averaged over classes (Salehi et al. 2017, equation 4).

    ``1 − mean_c (TP_c + 1) / (TP_c + α FP_c + β FN_c + 1)``, a float32 scalar in [0, 1). With β > α a false negative
    costs more than a false positive. ``α = β = 1`` is the soft IoU; ``α = β = ½`` is Dice, except for its ones.

    Args:
        mask, logits: (batch, height, width) integer ids, ``ignore_id`` where void; (…, num_classes) floats.
        class_weights: (num_classes,) positive weights of the mean over classes; None is the plain mean.
        pixel_weights: (batch, height, width) weights from 0 of each pixel in the sums; None gives each pixel 1.
        alpha, beta: weights of the false positives and of the false negatives, from 0.
    """
    tp, predicted, true, class_weights = _count_softly(mask, logits, ignore_id, class_weights, pixel_weights)
    union = (1 - alpha - beta) * tp + alpha * predicted + beta * true  # FP = predicted − TP, FN = true − TP
    return _one_minus_mean((tp + 1) / (union + 1), class_weights)


def lovasz(mask, logits, ignore_id=255, class_weights=None, pixel_weights=None):
    """Lovász-Softmax: one minus the IoU, extended to probabilities (Berman et al. 2018, equations 8, 9 and 11).

    The errors ``|truth − probs|`` of a class are sorted, largest first. Each is weighted by how much the IoU falls when
    its pixel joins the wrong ones before it. The mean, a float32 scalar in [0, 1], is over the
    classes that occur in the masks of the batch.

    Args:
        mask, logits: (batch, height, width) integer ids, ``ignore_id`` where void; (…, num_classes) floats.
        class_weights: (num_classes,) positive weights of the mean over classes; None is the plain mean.
        pixel_weights: (batch, height, width) weights from 0: for how many pixels each counts in the IoU; None is 1.
    """
    truth, weight, logits, class_weights = _prepare(mask, logits, ignore_id, class_weights, pixel_weights)
    flat = (-1, logits.shape[-1])
    errors = ops.reshape(ops.abs(truth - ops.softmax(logits, axis=-1)), flat)
    of_class, of_others = (ops.reshape(part * weight[..., None], flat) for part in (truth, 1 - truth))
    order = ops.argsort(-errors, axis=0)
    errors, of_class, of_others = (ops.take_along_axis(x, order, axis=0) for x in (errors, of_class, of_others))
    size = ops.sum(of_class, axis=0, keepdims=True)
    # The IoU if the first pixels of the order are all wrong: false negatives of the class, false positives of others.
    iou = (size - ops.cumsum(of_class, axis=0)) / ops.maximum(size + ops.cumsum(of_others, axis=0), 1e-7)
    fall = ops.concatenate([1 - iou[:1], iou[:-1] - iou[1:]], axis=0)
    loss = ops.sum(errors * fall, axis=0)
    class_weights = class_weights * ops.cast(size[0] > 0, "float32")
    return ops.sum(class_weights * loss) / ops.maximum(ops.sum(class_weights), 1e-7)


def boundary(mask, logits, ignore_id=255, class_weights=None, pixel_weights=None, tolerance=2):
    """One minus a soft boundary F1, averaged over classes, a float32 in [0, 1) (Bokhovkin & Burnaev 2019, section 3).

    The soft boundary of a class is what a maximum over 3×3 pixels adds to its complement, ``maxpool(1 − p) − (1 − p)``.
    Precision P is the fraction of the predicted boundary within ``tolerance`` of the true one, recall R the reverse,
    and ``F1 = 2 P R / (P + R)``; a one in each numerator and denominator gives absent boundaries a perfect score. It
    has no gradient where a predicted boundary is far from a true one: add it to a loss that has.

    Args:
        mask, logits: (batch, height, width) integer ids, ``ignore_id`` where void; (…, num_classes) floats.
            Void pixels and their neighbours are on no boundary.
        class_weights: (num_classes,) positive weights of the mean over classes; None is the plain mean.
        pixel_weights: (batch, height, width) weights from 0 of the pixels of either boundary; None gives each pixel 1.
        tolerance: distance in pixels, along rows or columns, whichever is longer.
    """
    truth, weight, logits, class_weights = _prepare(mask, logits, ignore_id, class_weights, pixel_weights)
    void = ops.cast(ops.equal(ops.cast(mask, "int32"), ignore_id), "float32")[..., None]
    weight = weight[..., None] * (1 - _max_pool(void, 1))

    def find_boundary(probs):
        return (_max_pool(1 - probs, 1) - (1 - probs)) * weight

    def ratio(part, whole):
        return (ops.sum(part, axis=(0, 1, 2)) + 1) / (ops.sum(whole, axis=(0, 1, 2)) + 1)

    true, predicted = find_boundary(truth), find_boundary(ops.softmax(logits, axis=-1))
    precision = ratio(predicted * _max_pool(true, tolerance), predicted)
    recall = ratio(true * _max_pool(predicted, tolerance), true)
    return _one_minus_mean(2 * precision * recall / (precision + recall), class_weights)


TERMS = {term.__name__: term for term in (cross_entropy, focal, dice, tversky, lovasz, boundary)}


@keras.saving.register_keras_serializable("seglib")
class CompoundLoss(keras.losses.Loss):
    """A weighted sum of losses, for ``model.compile``; it is saved with the model.

    Args:
        terms: the weight of each loss by its name, as in ``{"cross_entropy": 1, "dice": 0.5}``; or, to change a
            loss's arguments, a mapping: ``{"tversky": {"weight": 1, "beta": 0.9}}``.
        ignore_id: the id of void pixels.
        class_weights: (num_classes,) positive weights handed to every term, or None.

    Raises:
        ValueError: an unknown loss or argument, no term at all, or class weights that are not positive.

    Example:
        >>> loss = CompoundLoss({"cross_entropy": 1, "dice": 0.5})
        >>> round(float(loss(np.array([[[0, 1]]]), np.zeros((1, 1, 2, 2)))), 3)  # log 2 + ½ · ⅓
        0.86
    """

    def __init__(self, terms, ignore_id=255, class_weights=None, name="loss"):
        super().__init__(name=name)
        if not terms or set(terms) - set(TERMS):
            raise ValueError(f"terms must name some of {', '.join(TERMS)}, got {sorted(terms)}")
        self.terms = {term: _to_settings(term, given) for term, given in terms.items()}
        self.ignore_id, self._looked = int(ignore_id), False
        self.class_weights = None if class_weights is None else [float(w) for w in class_weights]
        if self.class_weights is not None and not all(0 < w < float("inf") for w in self.class_weights):
            raise ValueError(f"class weights must be positive numbers, got {self.class_weights}")

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The loss; ``sample_weight`` of ``fit`` weighs pixels (batch, height, width) or whole images (batch,).

        Keras would multiply the finished number by the mean of the weights. Under ``tf.distribute.MirroredStrategy``
        each device divides the loss of its part of a batch by their number: gradients and losses are summed.
        """
        self._looked = self._looked or _look_for_softmax(y_pred)
        total = 0.0
        for term, settings in self.terms.items():
            options = {name: value for name, value in settings.items() if name != "weight"}
            loss = TERMS[term](y_true, y_pred, self.ignore_id, self.class_weights, sample_weight, **options)
            total += settings["weight"] * loss
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            total = total / tf.distribute.get_strategy().num_replicas_in_sync
        return total

    def get_config(self):
        return {name: getattr(self, name) for name in ("terms", "ignore_id", "class_weights", "name")}


_SAID = []  # not empty once it was said that a model ends in softmax; a bare function says it only once


def _look_for_softmax(outputs):
    """Says if outputs are those of softmax; False where that cannot be told, as of what JAX traces."""
    if not hasattr(outputs, "_keras_logits"):  # Keras's mark
        try:
            values = ops.convert_to_numpy(outputs)
        except Exception:  # of what is only traced, every backend raises its own
            return False
        if not (values.min() >= 0 and np.abs(values.sum(-1) - 1).max() < 1e-2):
            return True
    _SAID.append(True)
    found = "the model's outputs are ≥ 0 and sum to 1: it ends in softmax, and the losses and predict apply another"
    print(f"warning: {found}; they want logits: leave its last activation out", flush=True)
    return True


def _prepare(mask, logits, ignore_id, class_weights, pixel_weights):
    """One-hot truth, the weight of each pixel (void 0, ids of no class NaN), logits, class weights: all float32."""
    if hasattr(logits, "_keras_logits") and not _SAID:
        _look_for_softmax(logits)
    mask, logits = ops.cast(mask, "int32"), ops.cast(logits, "float32")
    # A length of None is known only when the function runs.
    fit = (a == b or None in (a, b) for a, b in zip(mask.shape, logits.shape[:-1], strict=False))
    if len(mask.shape) != len(logits.shape) - 1 or not all(fit):
        found = f"got {tuple(mask.shape)} and {tuple(logits.shape)}"
        if len(mask.shape) == len(logits.shape):
            found += "; say masks.squeeze(-1)" if mask.shape[-1] == 1 else "; of one-hot masks say masks.argmax(-1)"
        raise ValueError(f"mask must be (batch, height, width) and logits (batch, height, width, num_classes), {found}")
    num_classes = logits.shape[-1]
    class_weights = ops.cast([1] * num_classes if class_weights is None else class_weights, "float32")
    if tuple(class_weights.shape) != (num_classes,):
        raise ValueError(f"wanted one class weight for each of {num_classes} classes, got {tuple(class_weights.shape)}")
    void = mask == ignore_id
    known = (mask >= 0) & (mask < num_classes) & ~void
    weight = ops.where(void, 0.0, ops.where(known, 1.0, float("nan")))
    if pixel_weights is not None:
        given = ops.cast(pixel_weights, "float32")
        if len(given.shape) == 1:  # one for each image
            given = ops.reshape(given, (-1, *[1] * (len(mask.shape) - 1)))
        if len(given.shape) != len(mask.shape):
            raise ValueError(f"weights {tuple(given.shape)} do not fit the mask {tuple(mask.shape)}; or give (batch,)")
        weight = weight * given
    # torch refuses to encode ids that no class has: replace them before; their weight is 0 or NaN.
    return ops.one_hot(ops.where(known, mask, 0), num_classes, dtype="float32"), weight, logits, class_weights


def _is_hard(loss, weight, fraction):
    """1 where a scored pixel is among the given fraction with the largest losses, ties included, else 0."""
    scored = ops.where(weight > 0, loss, -1.0)
    ranked = ops.flip(ops.sort(ops.reshape(scored, (-1,))))
    kept = ops.cast(ops.ceil(fraction * ops.sum(ops.cast(weight > 0, "float32"))), "int32")
    return ops.cast(scored >= ops.take(ranked, ops.maximum(kept - 1, 0)), "float32")


def _count_softly(mask, logits, ignore_id, class_weights, pixel_weights):
    """True positives, predicted and true pixels by probabilities, (num_classes,) each; the class weights."""
    truth, weight, logits, class_weights = _prepare(mask, logits, ignore_id, class_weights, pixel_weights)
    weight, probs = weight[..., None], ops.softmax(logits, axis=-1)
    truth, axes = truth * weight, tuple(range(len(truth.shape) - 1))
    tp, predicted, true = (ops.sum(pixels, axis=axes) for pixels in (truth * probs, probs * weight, truth))
    return tp, predicted, true, class_weights


def _one_minus_mean(score, class_weights):
    return 1 - ops.sum(class_weights * score) / ops.sum(class_weights)


def _max_pool(x, reach):
    """The maximum over all pixels within ``reach`` rows and columns."""
    return ops.max_pool(x, 2 * reach + 1, strides=1, padding="same", data_format="channels_last")


def _to_settings(term, given):
    """A weight, or a mapping with a weight and arguments of the loss, as such a mapping."""
    settings = dict(given) if isinstance(given, dict) else {"weight": given}
    known = ["weight", *list(inspect.signature(TERMS[term]).parameters)[5:]]
    if "weight" not in settings or set(settings) - set(known):
        raise ValueError(f"{term} wants a weight, or a mapping with a weight and any of {known}; got {given}")
    return {name: float(value) if isinstance(value, np.generic) else value for name, value in settings.items()}
