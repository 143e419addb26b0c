"""U-Net: an encoder, a decoder, and a skip connection at every level."""

import keras
from keras import layers

from seglib.layers import CropLike, PadToMultiple, PortableModel, conv_block


def unet(input_shape, num_classes, filters=64, depth=5, padding="same", norm="batch", skips=None):
    """U-Net (Ronneberger, Fischer & Brox 2015): an encoder and a decoder with a skip connection at every level.

    Args:
        input_shape: ``(height, width, channels)``. With ``padding="same"`` any height and width will do; None lets one
            model take every size.
        num_classes: channels of the logits, at least 2: the background is a class.
        filters: channels of the first level; each level below has twice as many.
        depth: number of levels with the bottleneck; 5 in the paper.
        padding: ``"same"`` keeps the size; ``"valid"`` is the paper's, whose output is smaller than its input.
        norm: ``"batch"``, ``"group"`` or None, the paper's.
        skips: the levels, 0 the finest, whose encoder features are concatenated in the decoder; None is all.

    Returns:
        A ``keras.Model``: (batch, height, width, channels) in 0–255 → (batch, height, width, num_classes) logits.
        ``unet((572, 572, 1), 2, padding="valid", norm=None)`` is the paper's network of 31,030,658 parameters,
        which turns 572×572 pixels into 388×388.

    Raises:
        ValueError: fewer than 2 classes, an unknown padding, a skip at a level that does not exist, or, with
            ``padding="valid"``, a size that cannot be downsampled evenly at each level, or is too small.
    """
    if padding not in ("same", "valid"):
        raise ValueError(f"padding must be 'same' or 'valid', got {padding!r}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, the background is a class; got {num_classes}")
    levels = range(depth - 1)
    kept = set(levels if skips is None else skips)
    if not kept <= set(levels):
        raise ValueError(f"skips must be some of the levels {list(levels)}, got {sorted(kept)}")
    inputs = keras.Input(input_shape, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    if padding == "same":
        x = PadToMultiple(2 ** (depth - 1))(x)
    else:
        _check_valid_size(input_shape, depth)

    features = []
    for level in levels:
        x = conv_block(x, filters * 2**level, padding, norm)
        features.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = conv_block(x, filters * 2 ** (depth - 1), padding, norm)
    for level in reversed(levels):
        x = layers.Conv2DTranspose(filters * 2**level, 2, strides=2)(x)
        if level in kept:
            skip = features[level] if padding == "same" else CropLike("centre")(features[level], x)
            x = layers.Concatenate()([skip, x])
        x = conv_block(x, filters * 2**level, padding, norm)

    # float32 also under a mixed-precision policy: the softmax of the loss needs the digits.
    x = layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(x)
    if padding == "same":
        x = CropLike("end", dtype="float32")(x, inputs)
    return PortableModel(inputs, x, name="unet")


def _check_valid_size(input_shape, depth):
    """Refuses sizes that are odd or used up at some level (Ronneberger et al. 2015, end of section 2)."""
    for size in input_shape[:2]:
        if size is None:
            raise ValueError('padding="valid" needs a fixed height and width, got None')
        left = size
        for level in range(depth):
            left -= 4
            if left < 1 or (left % 2 and level < depth - 1):
                found = f'padding="valid": {size} pixels become {left} at level {level}'
                raise ValueError(f"{found}, which cannot be downsampled evenly; the paper uses 572")
            left //= 2
