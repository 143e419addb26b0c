"""Losses that look at the whole of each class: Dice, Tversky, and the IoU itself by its Lovász extension."""

from keras import ops

from seglib.losses.prepare import prepare


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
    hit, invented, missed, class_weights = _count_softly(mask, logits, ignore_id, class_weights, pixel_weights)
    score = (2 * hit + 1) / (2 * hit + invented + missed + 1)
    return 1 - ops.sum(class_weights * score) / ops.sum(class_weights)


def tversky(mask, logits, ignore_id=255, class_weights=None, pixel_weights=None, alpha=0.3, beta=0.7):
    """One minus the soft Tversky index, averaged over classes (Salehi et al. 2017, equation 4).

    ``1 − mean_c (hit_c + 1) / (hit_c + α invented_c + β missed_c + 1)``. What is missed costs more than what is
    invented, if β is larger. ``α = β = 1`` is the soft IoU, ``α = β = ½`` the Dice coefficient but for its ones.

    Arguments and result are those of :func:`dice`, and the two weights, from 0.
    """
    hit, invented, missed, class_weights = _count_softly(mask, logits, ignore_id, class_weights, pixel_weights)
    score = (hit + 1) / (hit + alpha * invented + beta * missed + 1)
    return 1 - ops.sum(class_weights * score) / ops.sum(class_weights)


def lovasz(mask, logits, ignore_id=255, class_weights=None, pixel_weights=None):
    """Lovász-Softmax: one minus the IoU, continued to probabilities (Berman et al. 2018, equations 8, 9 and 11).

    Of each class, the errors ``|truth − probs|`` are sorted, largest first, and each is weighed by how much the IoU
    falls when its pixel joins the wrong ones before it. For probabilities of 0 and 1 it is ``1 − IoU``. The mean is
    over the classes that occur in the masks of the batch.

    Args:
        mask: (batch, height, width) integer ids.
        logits: (batch, height, width, num_classes) floats.
        ignore_id: the id of void pixels.
        class_weights: (num_classes,) positive weights of the mean over classes; None is the plain mean.
        pixel_weights: (batch, height, width) weights from 0, as how many pixels each counts in the IoU.

    Returns:
        A float32 scalar in [0, 1]; 0 where every pixel is void.
    """
    truth, weight, logits, class_weights = prepare(mask, logits, ignore_id, class_weights, pixel_weights)
    num_classes = logits.shape[-1]
    flat = (-1, num_classes)
    errors = ops.reshape(ops.abs(truth - ops.softmax(logits, axis=-1)), flat)
    of_class, of_others = (ops.reshape(share * weight[..., None], flat) for share in (truth, 1 - truth))
    order = ops.argsort(-errors, axis=0)
    errors, of_class, of_others = (ops.take_along_axis(x, order, axis=0) for x in (errors, of_class, of_others))
    size = ops.sum(of_class, axis=0, keepdims=True)
    # The IoU if the first pixels of the order are all wrong: of the class they are missed, of others invented.
    iou = (size - ops.cumsum(of_class, axis=0)) / ops.maximum(size + ops.cumsum(of_others, axis=0), 1e-7)
    fall = ops.concatenate([1 - iou[:1], iou[:-1] - iou[1:]], axis=0)
    loss = ops.sum(errors * fall, axis=0)
    class_weights = class_weights * ops.cast(size[0] > 0, "float32")
    return ops.sum(class_weights * loss) / ops.maximum(ops.sum(class_weights), 1e-7)


def _count_softly(mask, logits, ignore_id, class_weights, pixel_weights):
    """Of each class, by the probabilities: pixels hit, invented and missed, (num_classes,) each; the class weights."""
    truth, weight, logits, class_weights = prepare(mask, logits, ignore_id, class_weights, pixel_weights)
    weight, probs = weight[..., None], ops.softmax(logits, axis=-1)
    truth, axes = truth * weight, tuple(range(len(truth.shape) - 1))
    hit = ops.sum(truth * probs, axis=axes)
    return hit, ops.sum(probs * weight, axis=axes) - hit, ops.sum(truth, axis=axes) - hit, class_weights
