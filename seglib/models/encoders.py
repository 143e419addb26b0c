"""Classifiers as encoders: their maps at strides 2 to 32, stride turned into dilation, and ImageNet's weights."""

from typing import NamedTuple

import keras
from keras import layers, tree

from seglib.models.efficientnet_lite import OFFSET, SCALE, efficientnet_lite0

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
BATCH_NORM_MOMENTUM = 0.9  # the classifiers' own 0.99 and 0.999 are for runs of very many steps


class Encoder(NamedTuple):
    """A classifier, and the layers whose outputs are its maps."""

    name: str  # of a function of keras.applications, or of this package
    maps: tuple[str, ...]  # its last layers at strides 2, 4, 8, 16 and 32
    scale: float = 1 / 127.5  # with offset, what turns 0–255 into what the classifier was trained on
    offset: float | tuple[float, ...] = -1.0
    options: dict = {}  # for the function; alpha multiplies MobileNetV2's channels


# Of MobileNetV2 the last but one: 320 channels are cheaper than 1280 (Sandler et al. 2018, section 6.3).
MOBILENET_V2 = tuple(f"block_{n}_expand_relu" for n in (1, 3, 6, 13)) + ("block_16_project_BN",)
RESNET50 = ("conv1_relu", *(f"conv{n}_out" for n in ("2_block3", "3_block4", "4_block6", "5_block3")))
EFFICIENTNET_LITE0 = ("block_0_project_bn", "block_2_add", "block_4_add", "block_10_add", "block_15_project_bn")
ENCODERS = {
    "efficientnet_lite0": Encoder("efficientnet_lite0", EFFICIENTNET_LITE0, SCALE, OFFSET),
    "mobilenet_v2": Encoder("MobileNetV2", MOBILENET_V2),
    "mobilenet_v2_050": Encoder("MobileNetV2", MOBILENET_V2, options={"alpha": 0.5}),
    "resnet50": Encoder("ResNet50", RESNET50, 1.0, (-123.68, -116.779, -103.939)),  # less ImageNet's mean colour
}


def build_encoder(name, weights=None, output_stride=32, channels=3):
    """A classifier without its top, whose outputs are its maps at strides 2, 4, 8, 16 and 32.

    Args:
        name: one of ``ENCODERS``.
        weights: ``"imagenet"``, or None for random ones; then each residual block starts as the identity.
        output_stride: 8, 16 or 32: no map is smaller than the image by more; further strides become dilation.
        channels: of the image: 3, or 1, which is repeated, since the classifier reads red, green and blue.

    Returns:
        A ``keras.Model`` of the name ``"encoder"``: (batch, height, width, channels) in 0–255 → five maps (batch,
        height / stride, width / stride, …), height and width multiples of 32. The classifier's scaling is done inside.

    Raises:
        ValueError: an unknown encoder, weights, output stride or number of channels.
        OSError: ImageNet's weights cannot be had; the message says what to install, or where to put the file.
    """
    if name not in ENCODERS:
        raise ValueError(f"the encoder must be one of {', '.join(ENCODERS)}, got {name!r}")
    if weights not in (None, "imagenet"):
        raise ValueError(f"weights must be None or 'imagenet', got {weights!r}")
    if channels not in (1, 3):
        found = f"an encoder reads images of 3 channels, or of 1, which is repeated; got {channels}"
        raise ValueError(f"{found}. Choose three of them, or train from scratch: unet(…, encoder=None)")
    encoder = ENCODERS[name]
    x = keras.Input((None, None, channels), name="image")
    if channels == 1:
        x = layers.Concatenate(name="grey_to_rgb")([x, x, x])
    x = layers.Rescaling(encoder.scale, encoder.offset, name="rescaling")(x)
    network = _build_classifier(encoder, weights, include_top=False, input_tensor=x, **encoder.options)
    network = dilate(network, output_stride, BATCH_NORM_MOMENTUM)
    return keras.Model(network.inputs[0], [network.get_layer(layer).output for layer in encoder.maps], name="encoder")


def _build_classifier(encoder, weights, **options):
    if encoder.name == "efficientnet_lite0":
        network = efficientnet_lite0(weights, **options)
    else:
        try:
            network = getattr(keras.applications, encoder.name)(weights=weights, **options)
        except Exception as error:  # Keras raises bare Exceptions for what could not be fetched
            remedy = "Put this file into ~/.keras/models, or train from scratch: weights=None"
            raise OSError(f"ImageNet's weights of {encoder.name} could not be fetched ({error}). {remedy}") from error
    if weights is None:
        _start_blocks_as_identity(network)
    elif encoder.name == "ResNet50":  # it was trained on blue, green, red
        first = network.get_layer("conv1_conv").kernel
        first.assign(first[:, :, ::-1])
    return network


def _start_blocks_as_identity(network):
    """Sets to zero the scale of each residual branch's last normalisation (Goyal et al. 2017, section 5.1)."""
    depth = {}
    for layer in network.layers:  # each behind those that it takes from
        before = parents(layer)
        depth[layer] = 1 + max((depth[parent] for parent in before), default=0)
        if isinstance(layer, layers.Add):
            branch = max(before, key=depth.get)  # the other one is the shortcut
            if isinstance(branch, layers.BatchNormalization):
                branch.gamma.assign(0 * branch.gamma)


def dilate(network, output_stride, momentum=None):
    """A network whose feature maps are never smaller than the image by more than ``output_stride``.

    A layer whose stride would exceed it gets stride 1, and all layers behind it are dilated by 2 (or 4): they read
    every second (fourth) pixel (Chen et al. 2018, DeepLab v2, section 3.1). The weights stay, and so do the features
    at the positions that the strided network computed, for images whose sides are multiples of its whole stride.

    Args:
        network: a functional ``keras.Model`` of convolutions with "same" padding, strided convolutions behind a padding
            layer, and layers that work on each pixel alone: MobileNetV2 or ResNet50 of ``keras.applications``, or
            EfficientNet-Lite0, without their tops.
        output_stride: 8, 16 or 32; 32 changes nothing.
        momentum: for all batch normalisations; None leaves theirs.

    Returns:
        A ``keras.Model`` with a copy of the weights.

    Raises:
        ValueError: another output stride, or a layer whose stride cannot become dilation with equal features.
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride!r}")
    output_stride = int(output_stride)
    before = {}  # the factor by which each layer's input is smaller than the image
    for layer in network.layers:  # each behind those that it takes from
        before[layer] = max((before[parent] * _stride(parent) for parent in parents(layer)), default=1)
    # What pads what strides: a ZeroPadding2D, and the convolution behind it.
    strided = [layer for layer in network.layers if _stride(layer) > 1 and layer.padding == "valid"]
    padded = {parents(layer)[0]: layer for layer in strided if isinstance(parents(layer)[0], layers.ZeroPadding2D)}

    def change(layer):
        config, dilation = layer.get_config(), max(1, before[layer] // output_stride)
        if momentum is not None and isinstance(layer, layers.BatchNormalization):
            config["momentum"] = momentum
        if layer in padded and before[layer] * _stride(padded[layer]) > output_stride:
            # The convolution behind it loses its stride: padding by the kernel's extent, in the same proportion.
            sides = zip(layer.padding, padded[layer].kernel_size, strict=True)
            config["padding"] = [(dilation * first, dilation * (side - 1 - first)) for (first, _), side in sides]
        too_far = _stride(layer) > 1 and before[layer] * _stride(layer) > output_stride
        if isinstance(layer, CONVOLUTIONS):
            if too_far and layer.padding == "same" and max(layer.kernel_size) > 1:
                raise ValueError(f"{layer.name} has stride and padding at once: the image size decides what it reads")
            config["dilation_rate"] = tuple(dilation * rate for rate in layer.dilation_rate)
            config["strides"] = (1, 1) if too_far else layer.strides
        elif too_far or (dilation > 1 and hasattr(layer, "pool_size")):
            raise ValueError(f"{layer.name} ({type(layer).__name__}) has a stride that cannot become dilation")
        return type(layer).from_config(config)

    dilated = keras.models.clone_model(network, clone_function=change)
    dilated.set_weights(network.get_weights())
    return dilated


def parents(layer):
    """The layers whose outputs a layer of a functional model takes; none for an input."""
    return [tensor._keras_history.operation for tensor in tree.flatten(layer.input)]


def _stride(layer):
    return max(layer.strides) if isinstance(layer, (*CONVOLUTIONS, layers.MaxPooling2D)) else 1
