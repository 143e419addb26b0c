"""Segmentation models: images of 0–255 in, logits of the same height and width out."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from seglib.layers import CropLike, PadToMultiple, conv_block, upsample


@dataclass(frozen=True)
class Backbone:
    """What an FCN sees with: blocks of 3×3 convolutions, each ended by a 2×2 pooling, and a classifier on top.

    Attributes:
        blocks: ``(filters, repeats)`` of each block.
        head: channels of the two convolutions that were a classifier's dense layers.
        kernel: side of the first of these.
        norm: as in :func:`seglib.layers.conv_block`.
        dropout: the share of the head's channels that is dropped in training.
    """

    blocks: tuple[tuple[int, int], ...]
    head: int
    kernel: int
    norm: str | None = None
    dropout: float = 0.0


BACKBONES = {
    "vgg16": Backbone(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), head=4096, kernel=7, dropout=0.5),
    "small": Backbone(((16, 1), (32, 1), (64, 2), (128, 2), (128, 2)), head=128, kernel=3, norm="batch"),
}
VGG_MEAN = (123.68, 116.779, 103.939)  # red, green, blue of ImageNet, as VGG was trained


def fcn(input_shape, num_classes, stride=8, backbone="vgg16", weights=None):
    """Fully convolutional network FCN-32s, 16s or 8s (Long, Shelhamer & Darrell 2015, sections 3 and 4).

    The last feature map is scored per class at a 32nd of the size; scores of finer maps are added on the way up.
    All enlargements are learnt and start as bilinear interpolation; the scores of the finer maps start at zero, so that
    training begins with the coarse network's answer (section 4.2).

    Args:
        input_shape: ``(height, width, 3)``, of any size; None lets one model take every size.
        num_classes: channels of the logits, at least 2: the background is a class.
        stride: 32, 16 or 8: how much smaller than the image the finest scored map is.
        backbone: ``"vgg16"``, the paper's (134 million parameters), or ``"small"`` (0.8 to 1.0 million), which
            learns streets on two processor cores.
        weights: None, or for VGG16 ``"imagenet"``: its classifier with the dense layers turned into convolutions.

    Returns:
        A ``keras.Model``: (batch, height, width, 3) in 0–255 → (batch, height, width, num_classes) logits.

    Raises:
        ValueError: fewer than 2 classes, another stride or backbone, weights that there are none of.
        OSError: ImageNet's weights can not be fetched; the message says where to put the file.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, the background is a class; got {num_classes}")
    if stride not in (32, 16, 8):
        raise ValueError(f"stride must be 32, 16 or 8, got {stride!r}")
    if backbone not in BACKBONES:
        raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {backbone!r}")
    if weights not in (None, "imagenet") or (weights and backbone != "vgg16"):
        raise ValueError(f"weights must be None, or 'imagenet' for vgg16; got {weights!r} for {backbone}")
    classifier = _fetch_vgg16() if weights else None
    plan = BACKBONES[backbone]
    inputs = keras.Input(input_shape, name="image")
    if backbone == "vgg16":
        x = layers.Rescaling(1.0, offset=[-mean for mean in VGG_MEAN])(inputs)
    else:
        x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = PadToMultiple(32)(x)

    features = []
    for filters, repeats in plan.blocks:
        x = conv_block(x, filters, norm=plan.norm, repeats=repeats)
        x = layers.MaxPooling2D(2)(x)
        features.append(x)
    for kernel in (plan.kernel, 1):  # the classifier's dense layers, as convolutions
        x = layers.Conv2D(plan.head, kernel, padding="same", activation="relu", kernel_initializer="he_normal")(x)
        x = layers.Dropout(plan.dropout)(x)

    x = layers.Conv2D(num_classes, 1, name="score_32")(x)
    finest = 32
    for skip in reversed(features[:-1]):
        if finest == stride:
            break
        finest //= 2
        score = layers.Conv2D(num_classes, 1, kernel_initializer="zeros", name=f"score_{finest}")(skip)
        x = layers.Add()([upsample(x, 2, name=f"upsample_to_{finest}"), score])
    # float32 also under a mixed-precision policy: the softmax of the loss needs the digits.
    x = upsample(x, stride, dtype="float32", name="logits")
    model = keras.Model(inputs, CropLike("end", dtype="float32")(x, inputs), name=f"fcn_{stride}s")
    if classifier:
        _convolutionise(classifier, model)
    return model


def _fetch_vgg16():
    try:
        return keras.applications.VGG16(weights="imagenet")
    except Exception as error:  # Keras raises bare Exceptions for what could not be fetched
        raise OSError(
            f"ImageNet's weights of VGG16 could not be fetched ({error}). Put "
            "vgg16_weights_tf_dim_ordering_tf_kernels.h5 into ~/.keras/models, or train from nothing: weights=None"
        ) from error


def _convolutionise(classifier, model):
    """Gives an FCN the weights of VGG16: a dense kernel over a 7×7 map is a 7×7 convolution, reshaped (section 3.1)."""
    layers_with = [
        [layer for layer in network.layers if isinstance(layer, layers.Conv2D | layers.Dense)]
        for network in (classifier, model)
    ]
    # 13 convolutions and two dense layers; the third dense layer names ImageNet's thousand classes.
    for number, (old, new) in enumerate(zip(*(found[:15] for found in layers_with), strict=True)):
        kernel, bias = old.get_weights()
        if number == 0:
            kernel = kernel[:, :, ::-1]  # VGG was trained on blue, green, red
        new.set_weights([np.reshape(kernel, new.kernel.shape), bias])


def unet(input_shape, num_classes, filters=64, depth=5, padding="same", norm="batch", skips=None):
    """U-Net (Ronneberger, Fischer & Brox 2015): a contracting path, an expanding path, and a skip at every level.

    Args:
        input_shape: ``(height, width, channels)``. With ``padding="same"`` any height and width will do, multiples
            of nothing; None lets one model take every size.
        num_classes: channels of the logits, at least 2: the background is a class.
        filters: channels of the first level; each level below has twice as many.
        depth: number of levels, the bottleneck counted; the paper's figure 1 has 5.
        padding: ``"same"`` keeps the size; ``"valid"`` is the paper's, whose output is smaller than its input.
        norm: ``"batch"``, ``"group"`` or None, the paper's.
        skips: the levels, 0 the finest, whose map is laid beside what comes up; None is all, the paper's.

    Returns:
        A ``keras.Model``: (batch, height, width, channels) in 0–255 → (batch, height, width, num_classes) logits.
        ``unet((572, 572, 1), 2, padding="valid", norm=None)`` is the paper's network of 31,030,658 parameters,
        which turns 572×572 pixels into 388×388.

    Raises:
        ValueError: fewer than 2 classes; a skip at a level that there is none of; with ``padding="valid"``, a size
            that cannot be halved evenly on its way down, or is too small.
    """
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
        check_valid_size(input_shape, depth)

    maps = []
    for level in levels:
        x = conv_block(x, filters * 2**level, padding, norm)
        maps.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = conv_block(x, filters * 2 ** (depth - 1), padding, norm)
    for level in reversed(levels):
        x = layers.Conv2DTranspose(filters * 2**level, 2, strides=2)(x)
        if level in kept:
            skip = maps[level] if padding == "same" else CropLike("centre")(maps[level], x)
            x = layers.Concatenate()([skip, x])
        x = conv_block(x, filters * 2**level, padding, norm)

    # float32 also under a mixed-precision policy: the softmax of the loss needs the digits.
    x = layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(x)
    if padding == "same":
        x = CropLike("end", dtype="float32")(x, inputs)
    return keras.Model(inputs, x, name="unet")


def check_valid_size(input_shape, depth):
    """Checks that an image survives a U-Net of unpadded convolutions (Ronneberger et al. 2015, end of section 2).

    Raises:
        ValueError: at some level the size is odd, so that 2×2 pooling would lose a row, or nothing is left.
    """
    for size in input_shape[:2]:
        if size is None:
            raise ValueError('padding="valid" needs a fixed height and width, got None')
        left = size
        for level in range(depth - 1):
            left -= 4
            if left < 2 or left % 2:
                raise ValueError(
                    f'padding="valid": {size} pixels become {left} at level {level + 1}, which cannot be halved '
                    "evenly; the paper uses 572"
                )
            left //= 2
        if left < 5:
            raise ValueError(f'padding="valid": {size} pixels leave {left} at the bottleneck; wanted at least 5')
