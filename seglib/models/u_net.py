"""U-Net: an encoder, a decoder, and a skip connection at every level."""

import math

import keras
from keras import layers

from seglib.layers import CropLike, PadToMultiple, PortableModel, ResizeLike, conv_block
from seglib.models.encoders import build_encoder


def unet(
    input_shape, num_classes, filters=None, depth=5, padding="same",
    norm="batch", skips=None, encoder=None, weights=None,
):  # fmt: skip
    """U-Net (Ronneberger, Fischer & Brox 2015): an encoder and a decoder with a skip connection at every level.

    In place of its own encoder it can have a classifier's, whose weights ImageNet's photographs have trained. Its maps
    at strides 2 to 16 are the skips, the one at 32 the bottleneck; the logits at stride 2 are upsampled bilinearly.

    Args:
        input_shape: ``(height, width, channels)``. With ``padding="same"`` any height and width will do; None lets one
            model take every size.
        num_classes: channels of the logits, at least 2: the background is a class.
        filters: channels of the first level; each level below has twice as many. None is the paper's 64, or with
            ``encoder``, where it counts in the decoder only, 32.
        depth: number of levels with the bottleneck; 5 in the paper, and with every ``encoder``.
        padding: ``"same"`` keeps the size; ``"valid"`` is the paper's, whose output is smaller than its input.
        norm: ``"batch"``, ``"group"`` or None, the paper's.
        skips: the levels, 0 the finest, whose encoder features are concatenated in the decoder; None is all.
        encoder: None, or one of ``ENCODERS``, such as ``"efficientnet_lite0"``. It is the layer ``"encoder"`` of the
            model; ``model.get_layer("encoder").trainable = False`` freezes it, statistics of batch normalisation
            included. It reads 3 channels; a grey image's single channel is repeated.
        weights: of the encoder: ``"imagenet"``, or None for random ones.

    Returns:
        A ``keras.Model``: (batch, height, width, channels) in 0–255 → (batch, height, width, num_classes) logits.
        ``unet((572, 572, 1), 2, padding="valid", norm=None)`` is the paper's network of 31,030,658 parameters,
        which turns 572×572 pixels into 388×388.

    Raises:
        ValueError: fewer than 2 classes, an unknown padding, encoder or weights, a skip at a level that does not exist,
            channels, padding or depth that do not fit the encoder, or, with ``padding="valid"``, a size that cannot be
            downsampled evenly at each level, or is too small.
        OSError: ImageNet's weights cannot be had; the message says what to install, or where to put the file.
    """
    if padding not in ("same", "valid"):
        raise ValueError(f"padding must be 'same' or 'valid', got {padding!r}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, the background is a class; got {num_classes}")
    if encoder is None and weights is not None:
        raise ValueError(f"weights are those of an encoder: wanted encoder='efficientnet_lite0', got {weights!r} alone")
    if encoder is not None and (padding != "same" or depth != 5):
        raise ValueError(f"an encoder has 5 levels and padding 'same', got depth {depth} and {padding!r}")
    filters = filters or (32 if encoder else 64)
    levels = range(depth - 1)
    kept = set(levels if skips is None else skips)
    if not kept <= set(levels):
        raise ValueError(f"skips must be some of the levels {list(levels)}, got {sorted(kept)}")
    inputs = keras.Input(input_shape, name="image")
    if padding == "valid":
        _check_valid_size(input_shape, depth)
    if encoder:
        image = PadToMultiple(32)(inputs)
        *features, x = build_encoder(encoder, weights, channels=input_shape[-1])(image)
    else:
        x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
        if padding == "same":
            x = PadToMultiple(2 ** (depth - 1))(x)
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
    if encoder:
        x = ResizeLike(dtype="float32")(x, image)
    if padding == "same":
        x = CropLike("end", dtype="float32")(x, inputs)
    return PortableModel(inputs, x, name="unet")


def _check_valid_size(input_shape, depth):
    """Refuses sizes that are odd or used up at some level (Ronneberger et al. 2015, end of section 2)."""
    step = 2 ** (depth - 1)
    for size in input_shape[:2]:
        if size is None:
            raise ValueError('padding="valid" needs a fixed height and width, got None')
        # Level n has (size + 4) / 2ⁿ − 8 pixels after its two convolutions.
        fitting = step * max(9, math.ceil((size + 4) / step)) - 4
        if size != fitting:
            raise ValueError(f'padding="valid": {size} pixels cannot be downsampled evenly; {fitting} can')
