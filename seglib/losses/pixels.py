"""Losses that look at each pixel alone: cross-entropy, and its focal form."""

from keras import ops

from seglib.losses.prepare import prepare


def cross_entropy(
    mask, logits, ignore_id=255, class_weights=None, pixel_weights=None, label_smoothing=0.0, hardest=1.0
):
    """Mean over the pixels that are not void of the negative log-probability of the right class.

    ``−Σ w[mask] log softmax(logits)[mask] / Σ w[mask]``; with pixel weights, w[mask] times these.

    Args:
        mask: (batch, height, width) integer ids.
        logits: (batch, height, width, num_classes) floats.
        ignore_id: the id of void pixels.
        class_weights: ``w``, (num_classes,) positive numbers; None is a weight of one each.
        pixel_weights: (batch, height, width) weights from 0, such as U-Net's border map.
        label_smoothing: the share of the truth, from 0, below 1, that is dealt evenly to all classes (Szegedy et al.
            2016, section 7).
        hardest: of the pixels that count, the share with the largest losses is averaged and the others are left out;
            1 averages all (Shrivastava et al. 2016; for pixels, Wu et al. 2016, section 2.2).

    Returns:
        A float32 scalar in [0, ∞); 0 where every pixel is void.

    Raises:
        ValueError: shapes that do not fit, or shares out of their range.

    Example:
        Two pixels, undecided between two classes: ``−log ½`` = 0.693.

        >>> cross_entropy([[[0, 1]]], [[[[0.0, 0.0], [0.0, 0.0]]]])
    """
    if not (0 <= label_smoothing < 1 and 0 < hardest <= 1):
        raise ValueError(f"wanted label_smoothing in [0, 1) and hardest in (0, 1], got {label_smoothing} and {hardest}")
    is_weighted = class_weights is not None
    truth, weight, logits, class_weights = prepare(mask, logits, ignore_id, class_weights, pixel_weights)
    log_probs = ops.log_softmax(logits, axis=-1)
    loss = -ops.sum(truth * log_probs, axis=-1)
    if label_smoothing:
        loss = (1 - label_smoothing) * loss - label_smoothing * ops.mean(log_probs, axis=-1)
    if hardest < 1:
        weight = weight * _is_among_the_hardest(loss, weight, hardest)
    if is_weighted:
        weight = weight * ops.sum(truth * class_weights, axis=-1)
    return ops.sum(weight * loss) / ops.maximum(ops.sum(weight), 1e-7)


def focal(mask, logits, ignore_id=255, class_weights=None, pixel_weights=None, gamma=2.0):
    """Cross-entropy in which a pixel counts the less, the surer the right answer is (Lin et al. 2017, equation 4).

    ``−Σ w[mask] (1 − p)^γ log p / Σ w[mask]`` with the probability ``p`` of the right class.

    Arguments, result and errors are those of :func:`cross_entropy`, and ``gamma``, from 0, which leaves the
    cross-entropy as it is.
    """
    truth, weight, logits, class_weights = prepare(mask, logits, ignore_id, class_weights, pixel_weights)
    log_prob = ops.sum(truth * ops.log_softmax(logits, axis=-1), axis=-1)
    weight = weight * ops.sum(truth * class_weights, axis=-1)
    easy = ops.maximum(1 - ops.exp(log_prob), 1e-7) ** gamma  # of 0, a power below 1 has no slope
    return -ops.sum(weight * easy * log_prob) / ops.maximum(ops.sum(weight), 1e-7)


def _is_among_the_hardest(loss, weight, share):
    """1 where a pixel that counts has one of the largest losses, else 0; of equal losses, all."""
    counted = ops.where(weight > 0, loss, -1.0)
    ranked = ops.flip(ops.sort(ops.reshape(counted, (-1,))))
    kept = ops.cast(ops.ceil(share * ops.sum(ops.cast(weight > 0, "float32"))), "int32")
    return ops.cast(counted >= ops.take(ranked, ops.maximum(kept - 1, 0)), "float32")
