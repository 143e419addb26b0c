"""A loss that looks at outlines alone."""

from keras import ops

from seglib.losses.prepare import prepare


def boundary(mask, logits, ignore_id=255, class_weights=None, pixel_weights=None, tolerance=2):
    """One minus a soft boundary F1, averaged over classes (Bokhovkin & Burnaev 2019, section 3).

    The soft outline of a class is what a maximum over 3×3 pixels adds to its complement, ``maxpool(1 − p) − (1 − p)``.
    Precision is the share of the predicted outline within ``tolerance`` of the true one, recall the reverse, and
    ``F1 = 2 P R / (P + R)``; a one in each numerator and denominator makes absent outlines a perfect score.

    It has no gradient where a predicted outline is far from a true one: add it to a loss that has.

    Args:
        mask: (batch, height, width) integer ids.
        logits: (batch, height, width, num_classes) floats.
        ignore_id: the id of void pixels, which are on no outline, nor make their neighbours be.
        class_weights: (num_classes,) positive weights of the mean over classes; None is the plain mean.
        pixel_weights: (batch, height, width) weights from 0 of the pixels of either outline.
        tolerance: distance in pixels, along rows or columns, whichever is longer.

    Returns:
        A float32 scalar in [0, 1); 0 where every pixel is void.
    """
    truth, weight, logits, class_weights = prepare(mask, logits, ignore_id, class_weights, pixel_weights)
    void = ops.cast(ops.equal(ops.cast(mask, "int32"), ignore_id), "float32")[..., None]
    weight = weight[..., None] * (1 - _spread(void, 1))

    def outline(share):
        return (_spread(1 - share, 1) - (1 - share)) * weight

    true, predicted = outline(truth), outline(ops.softmax(logits, axis=-1))
    precision = _share(predicted * _spread(true, tolerance), predicted)
    recall = _share(true * _spread(predicted, tolerance), true)
    score = 2 * precision * recall / (precision + recall)
    return 1 - ops.sum(class_weights * score) / ops.sum(class_weights)


def _spread(x, reach):
    """The maximum over all pixels within ``reach`` rows and columns."""
    return ops.max_pool(x, 2 * reach + 1, strides=1, padding="same", data_format="channels_last")


def _share(part, whole):
    return (ops.sum(part, axis=(0, 1, 2)) + 1) / (ops.sum(whole, axis=(0, 1, 2)) + 1)
