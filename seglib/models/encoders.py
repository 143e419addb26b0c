"""Classifiers of ``keras.applications`` as encoders, with ImageNet's weights or a clear refusal within seconds."""

from typing import NamedTuple

import keras
from keras import layers

from seglib.models.dilation import dilate, parents

BATCH_NORM_MOMENTUM = 0.9  # the classifiers' own 0.99 and 0.999 are for runs of very many steps
IMAGENET_FILES = {
    "VGG16": "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
    "MobileNetV2": "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224_no_top.h5",
    "ResNet50": "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "Xception": "xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
}


class Encoder(NamedTuple):
    """A classifier of ``keras.applications``, and the layers whose outputs are a DeepLab's features.

    Attributes:
        name: of the classifier.
        low: its last layer at a quarter of the image's size.
        last: its last layer before the top. Of MobileNetV2 it is the last but one: 320 channels are cheaper than 1280
            (Sandler et al. 2018, section 6.3).
        options: for the classifier; ``alpha`` multiplies MobileNetV2's channels.
    """

    name: str
    low: str
    last: str
    options: dict


ENCODERS = {
    "mobilenet_v2": Encoder("MobileNetV2", "block_3_expand_relu", "block_16_project_BN", {}),
    "mobilenet_v2_050": Encoder("MobileNetV2", "block_3_expand_relu", "block_16_project_BN", {"alpha": 0.5}),
    "resnet50": Encoder("ResNet50", "conv2_block3_out", "conv5_block3_out", {}),
    "xception": Encoder("Xception", "block3_sepconv2_bn", "block14_sepconv2_act", {}),
}


def build_encoder(backbone, weights, output_stride):
    """A dilated classifier with two outputs: low-level features at a quarter of the image's size, and the last.

    Args:
        backbone: one of ``ENCODERS``.
        weights: ``"imagenet"``, or None for random ones; then each residual block starts as the identity.
        output_stride: 8, 16 or 32: how much smaller than the image the last features are.

    Returns:
        A ``keras.Model``: (batch, height, width, 3), preprocessed as the classifier expects → two feature maps.
    """
    encoder = ENCODERS[backbone]
    options = {"include_top": False, "input_shape": (None, None, 3), **encoder.options}
    if weights:
        network = fetch_imagenet(encoder.name, **options)
    else:
        network = getattr(keras.applications, encoder.name)(weights=None, **options)
        _start_blocks_as_identity(network)
    network = dilate(network, output_stride, BATCH_NORM_MOMENTUM)
    outputs = [network.get_layer(name).output for name in (encoder.low, encoder.last)]
    return keras.Model(network.input, outputs, name=encoder.name.lower())


def fetch_imagenet(name, **options):
    """``keras.applications.<name>`` with the weights of ImageNet.

    Raises:
        OSError: they are not on this machine and cannot be fetched; the message says where to put the file.
    """
    try:
        return getattr(keras.applications, name)(weights="imagenet", **options)
    except Exception as error:  # Keras raises bare Exceptions for what could not be fetched
        file = IMAGENET_FILES[name].format(alpha=options.get("alpha", 1.0))
        raise OSError(
            f"ImageNet's weights of {name} could not be fetched ({error}). Put {file} into ~/.keras/models, "
            "or train from scratch: weights=None"
        ) from error


def _start_blocks_as_identity(network):
    """Sets to zero the scale of each residual branch's last normalisation (Goyal et al. 2017, section 5.1)."""
    depth = {}
    for layer in network.layers:  # each behind those that it takes from
        before = [] if isinstance(layer, layers.InputLayer) else parents(layer)
        depth[layer] = 1 + max((depth[parent] for parent in before), default=0)
        if isinstance(layer, layers.Add):
            branch = max(before, key=depth.get)  # the other one is the shortcut
            if isinstance(branch, layers.BatchNormalization):
                branch.gamma.assign(0 * branch.gamma)
