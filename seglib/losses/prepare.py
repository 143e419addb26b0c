"""What every loss begins with: truth, weights and logits in one form."""

from keras import ops


def prepare(mask, logits, ignore_id, class_weights=None, pixel_weights=None):
    """What the formulas of the losses are written in.

    Returns:
        Four float32 tensors: one-hot truth (batch, height, width, num_classes), that of class 0 where void; the weight
        of each pixel (batch, height, width), 0 where void and NaN where the id is of no class, which makes the loss
        NaN, for compiled functions cannot refuse it; logits (batch, height, width, num_classes); class weights
        (num_classes,).

    Raises:
        ValueError: shapes that do not fit.
    """
    mask, logits = ops.cast(mask, "int32"), ops.cast(logits, "float32")
    # A length of None is known only when the function runs.
    fit = (a == b or None in (a, b) for a, b in zip(mask.shape, logits.shape[:-1], strict=False))
    if len(mask.shape) != len(logits.shape) - 1 or not all(fit):
        raise ValueError(
            f"mask must be (batch, height, width) and logits (batch, height, width, num_classes), "
            f"got {tuple(mask.shape)} and {tuple(logits.shape)}"
        )
    num_classes = logits.shape[-1]
    class_weights = ops.cast([1] * num_classes if class_weights is None else class_weights, "float32")
    if tuple(class_weights.shape) != (num_classes,):
        raise ValueError(
            f"class weights must be one for each of the {num_classes} classes, got {tuple(class_weights.shape)}"
        )
    void = mask == ignore_id
    known = (mask >= 0) & (mask < num_classes) & ~void
    weight = ops.where(void, 0.0, ops.where(known, 1.0, float("nan")))
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
    # torch refuses to encode ids that no class has: replace them before; their weight is 0 or NaN.
    return ops.one_hot(ops.where(known, mask, 0), num_classes, dtype="float32"), weight, logits, class_weights
