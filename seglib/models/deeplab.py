"""DeepLabV3+: a dilated classifier, a pyramid of dilated convolutions, and a decoder that sharpens the outlines."""

from dataclasses import dataclass, field

import keras
from keras import layers, ops

from seglib.layers import CropLike, PadToMultiple, ResizeLike, aspp, conv_block
from seglib.models.dilation import dilate, parents
from seglib.models.pretrained import fetch_imagenet

BATCH_NORM_MOMENTUM = 0.9  # the classifiers' own 0.99 and 0.999 are for runs of very many steps
CAFFE_MEAN = (103.939, 116.779, 123.68)  # blue, green, red of ImageNet, as ResNet50 was trained


@dataclass(frozen=True)
class Encoder:
    """A classifier of ``keras.applications``, and which of its layers a DeepLab takes its features from.

    Attributes:
        name: of the classifier.
        low: its last layer at a quarter of the image's size.
        last: its last layer but for the top. Of MobileNetV2 it is the last but one: 320 channels are cheaper than 1280
            (Sandler et al. 2018, section 6.3).
        options: for the classifier; ``alpha`` multiplies MobileNetV2's channels.
    """

    name: str
    low: str
    last: str
    options: dict = field(default_factory=dict)


ENCODERS = {
    "mobilenet_v2": Encoder("MobileNetV2", "block_3_expand_relu", "block_16_project_BN"),
    "mobilenet_v2_050": Encoder("MobileNetV2", "block_3_expand_relu", "block_16_project_BN", {"alpha": 0.5}),
    "resnet50": Encoder("ResNet50", "conv2_block3_out", "conv5_block3_out"),
    "xception": Encoder("Xception", "block3_sepconv2_bn", "block14_sepconv2_act"),
}


def deeplab_v3_plus(
    input_shape,
    num_classes,
    backbone="mobilenet_v2",
    weights=None,
    output_stride=16,
    filters=256,
    rates=None,
    decoder=True,
):
    """DeepLabV3+ (Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution", section 3).

    The classifier's last features, at ``output_stride``, go through atrous spatial pyramid pooling, are enlarged to a
    quarter of the image, joined by 48 channels of the classifier's features there, and refined by two 3×3 convolutions.

    Args:
        input_shape: ``(height, width, 3)``, of any size; None lets one model take every size.
        num_classes: channels of the logits, at least 2: the background is a class.
        backbone: ``"mobilenet_v2"``, ``"mobilenet_v2_050"`` with half its channels, ``"resnet50"`` or ``"xception"``.
        weights: of the backbone: ``"imagenet"``, or None for random ones, whose residual blocks start as the identity.
        output_stride: 8, 16 or 32: how much smaller than the image the last features are.
        filters: channels of the pyramid and of the decoder; the paper's 256.
        rates: dilations of the pyramid's 3×3 convolutions; None is the paper's 6, 12, 18 at output stride 16, twice
            that at 8 (DeepLabV3, Chen et al. 2017, section 3.3), half of it at 32.
        decoder: False enlarges the pyramid's scores at once, which is DeepLabV3.

    Returns:
        A ``keras.Model``: (batch, height, width, 3) in 0–255 → (batch, height, width, num_classes) logits.

    Raises:
        ValueError: fewer than 2 classes, another backbone, output stride or weights.
        OSError: ImageNet's weights can not be fetched; the message says where to put the file.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, the background is a class; got {num_classes}")
    if backbone not in ENCODERS:
        raise ValueError(f"backbone must be one of {', '.join(ENCODERS)}, got {backbone!r}")
    if weights not in (None, "imagenet"):
        raise ValueError(f"weights must be None or 'imagenet', got {weights!r}")
    encoder = _build_encoder(ENCODERS[backbone], weights, output_stride)
    if rates is None:
        rates = [rate * 16 // output_stride for rate in (6, 12, 18)]
    inputs = keras.Input(input_shape, name="image")
    image = PadToMultiple(32)(inputs)
    if backbone == "resnet50":
        x = layers.Rescaling(1.0, offset=[-mean for mean in CAFFE_MEAN])(ops.flip(image, axis=-1))
    else:
        x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    low, x = encoder(x)
    x = layers.Dropout(0.1)(aspp(x, filters, rates))
    if decoder:
        low = conv_block(low, 48, kernel=1, repeats=1)
        x = conv_block(layers.Concatenate()([ResizeLike()(x, low), low]), filters)
    # float32 also under a mixed-precision policy: the softmax of the loss needs the digits.
    x = layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(x)
    x = ResizeLike(dtype="float32")(x, image)
    return keras.Model(inputs, CropLike("end", dtype="float32")(x, inputs), name="deeplab_v3_plus")


def _build_encoder(encoder, weights, output_stride):
    """The dilated classifier with two outputs: features at a quarter of the image, and the last."""
    options = {"include_top": False, "input_shape": (None, None, 3), **encoder.options}
    if weights:
        network = fetch_imagenet(encoder.name, **options)
    else:
        network = getattr(keras.applications, encoder.name)(weights=None, **options)
        _start_blocks_as_identity(network)
    network = dilate(network, output_stride, BATCH_NORM_MOMENTUM)
    outputs = [network.get_layer(name).output for name in (encoder.low, encoder.last)]
    return keras.Model(network.input, outputs, name=encoder.name.lower())


def _start_blocks_as_identity(network):
    """Sets to zero the scale of each residual branch's last normalisation (Goyal et al. 2017, section 5.1)."""
    depth = {}
    for layer in network.layers:  # each behind those that it takes from
        before = [] if isinstance(layer, layers.InputLayer) else parents(layer)
        depth[layer] = 1 + max((depth[parent] for parent in before), default=0)
        if isinstance(layer, layers.Add):
            branch = max(before, key=depth.get)  # the other one is the shortcut
            if isinstance(branch, layers.BatchNormalization):
                branch.gamma.assign(ops.zeros_like(branch.gamma))
