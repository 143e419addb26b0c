"""FCN: a classifier whose dense layers are convolutions, and skip fusion that adds the scores of finer maps."""

from collections import namedtuple

import keras
import numpy as np
from keras import layers

from seglib.layers import CropLike, PadToMultiple, PortableModel, conv_block, upsample
from seglib.models.encoders import IMAGENET_MEAN, fetch_imagenet

# Of each block, the filters and repeats of its 3×3 convolutions. Of the head, two convolutions that were a classifier's
# dense layers: channels, the side of the first one's kernel, and the fraction that is dropped in training.
Backbone = namedtuple("Backbone", "blocks head kernel norm dropout")
BACKBONES = {
    "vgg16": Backbone(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 4096, kernel=7, norm=None, dropout=0.5),
    "small": Backbone(((16, 1), (32, 1), (64, 2), (128, 2), (128, 2)), 128, kernel=3, norm="batch", dropout=0.0),
}


def fcn(input_shape, num_classes, stride=8, backbone="vgg16", weights=None):
    """Fully convolutional network FCN-32s, 16s or 8s (Long, Shelhamer & Darrell 2015, sections 3 and 4).

    The last feature map is scored per class at a 32nd of the size; in the decoder the scores of finer maps are added.
    All upsampling is learnt and starts as bilinear interpolation; the scores of finer maps start at zero (section 4.2).

    Args:
        input_shape: ``(height, width, 3)``, of any size; None lets one model take every size.
        num_classes: channels of the logits, at least 2: the background is a class.
        stride: 32, 16 or 8: how much smaller than the image the finest scored map is.
        backbone: ``"vgg16"``, the paper's (134 million parameters), or ``"small"`` (0.8 to 1.0 million), for
            training without a GPU.
        weights: None, or for VGG16 ``"imagenet"``: its classifier with the dense layers turned into convolutions.

    Returns:
        A ``keras.Model``: (batch, height, width, 3) in 0–255 → (batch, height, width, num_classes) logits.

    Raises:
        ValueError: fewer than 2 classes, an unknown stride or backbone, or weights that do not exist.
        OSError: ImageNet's weights cannot be fetched; the message says where to put the file.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, the background is a class; got {num_classes}")
    if stride not in (32, 16, 8):
        raise ValueError(f"stride must be 32, 16 or 8, got {stride!r}")
    if backbone not in BACKBONES:
        raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {backbone!r}")
    if weights not in (None, "imagenet") or (weights and backbone != "vgg16"):
        raise ValueError(f"weights must be None, or 'imagenet' for vgg16; got {weights!r} for {backbone}")
    classifier = fetch_imagenet("VGG16") if weights else None
    plan = BACKBONES[backbone]
    inputs = keras.Input(input_shape, name="image")
    scale, offset = (1.0, [-mean for mean in IMAGENET_MEAN]) if backbone == "vgg16" else (1 / 127.5, -1)
    x = PadToMultiple(32)(layers.Rescaling(scale, offset)(inputs))

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
    model = PortableModel(inputs, CropLike("end", dtype="float32")(x, inputs), name=f"fcn_{stride}s")
    if classifier:
        _convolutionise(classifier, model)
    return model


def _convolutionise(classifier, model):
    """Gives an FCN the weights of VGG16: a dense kernel over a 7×7 map is a 7×7 convolution, reshaped (section 3.1)."""
    kinds = layers.Conv2D | layers.Dense
    olds, news = ([x for x in network.layers if isinstance(x, kinds)] for network in (classifier, model))
    # 13 convolutions and two dense layers; the third dense layer names ImageNet's thousand classes.
    for number, (old, new) in enumerate(zip(olds[:15], news[:15], strict=True)):
        kernel, bias = old.get_weights()
        if number == 0:
            kernel = kernel[:, :, ::-1]  # VGG was trained on blue, green, red
        new.set_weights([np.reshape(kernel, new.kernel.shape), bias])
