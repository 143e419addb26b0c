"""FCN: a classifier whose dense layers are convolutions, and skip fusion that adds the scores of finer maps."""

from collections import namedtuple

import keras
from keras import layers

from seglib.layers import CropLike, PadToMultiple, PortableModel, conv_block, upsample

# Of each block, the filters and repeats of its 3×3 convolutions. Of the head, two convolutions that were a classifier's
# dense layers: channels, the side of the first one's kernel, and the fraction that is dropped in training.
Backbone = namedtuple("Backbone", "blocks head kernel norm dropout")
BACKBONES = {
    "vgg16": Backbone(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 4096, kernel=7, norm=None, dropout=0.5),
    "small": Backbone(((16, 1), (32, 1), (64, 2), (128, 2), (128, 2)), 128, kernel=3, norm="batch", dropout=0.0),
}


def fcn(input_shape, num_classes, stride=8, backbone="vgg16"):
    """Fully convolutional network FCN-32s, 16s or 8s (Long, Shelhamer & Darrell 2015, sections 3 and 4).

    The last feature map is scored per class at a 32nd of the size; in the decoder the scores of finer maps are added.
    All upsampling is learnt and starts as bilinear interpolation; the scores of finer maps start at zero (section 4.2).

    Args:
        input_shape: ``(height, width, 3)``, of any size; None lets one model take every size.
        num_classes: channels of the logits, at least 2: the background is a class.
        stride: 32, 16 or 8: how much smaller than the image the finest scored map is.
        backbone: ``"vgg16"``, the paper's (134 million parameters), or ``"small"`` (0.8 to 1.0 million), for
            training without a GPU.

    Returns:
        A ``keras.Model``: (batch, height, width, 3) in 0–255 → (batch, height, width, num_classes) logits.

    Raises:
        ValueError: fewer than 2 classes, or an unknown stride or backbone.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, the background is a class; got {num_classes}")
    if stride not in (32, 16, 8):
        raise ValueError(f"stride must be 32, 16 or 8, got {stride!r}")
    if backbone not in BACKBONES:
        raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {backbone!r}")
    plan = BACKBONES[backbone]
    inputs = keras.Input(input_shape, name="image")
    x = PadToMultiple(32)(layers.Rescaling(1 / 127.5, -1)(inputs))

    features = []
    for filters, repeats in plan.blocks:
        x = conv_block(x, filters, norm=plan.norm, repeats=repeats)
        x = layers.MaxPooling2D(2)(x)
        features.append(x)
    for kernel in (plan.kernel, 1):  # the classifier's dense layers, as convolutions
        x = layers.Conv2D(plan.head, kernel, padding="same", activation="relu", kernel_initializer="he_normal")(x)
        x = layers.Dropout(plan.dropout)(x)

    x = layers.Conv2D(num_classes, 1, name="score_32")(x)
    for at, feature in ((16, features[-2]), (8, features[-3])):
        if at >= stride:
            score = layers.Conv2D(num_classes, 1, kernel_initializer="zeros", name=f"score_{at}")(feature)
            x = layers.Add()([upsample(x, 2, name=f"upsample_to_{at}"), score])
    # float32 also under a mixed-precision policy: the softmax of the loss needs the digits.
    x = upsample(x, stride, dtype="float32", name="logits")
    return PortableModel(inputs, CropLike("end", dtype="float32")(x, inputs), name=f"fcn_{stride}s")
