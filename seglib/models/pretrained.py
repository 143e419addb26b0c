"""Classifiers that were trained on ImageNet, or a refusal within seconds that says what to do."""

import keras

FILES = {
    "VGG16": "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
    "MobileNetV2": "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224_no_top.h5",
    "ResNet50": "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "Xception": "xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
}


def fetch_imagenet(name, **options):
    """``keras.applications.<name>`` with the weights of ImageNet.

    Raises:
        OSError: they are not on this machine and cannot be fetched; the message says where to put the file.
    """
    try:
        return getattr(keras.applications, name)(weights="imagenet", **options)
    except Exception as error:  # Keras raises bare Exceptions for what could not be fetched
        file = FILES[name].format(alpha=options.get("alpha", 1.0))
        raise OSError(
            f"ImageNet's weights of {name} could not be fetched ({error}). Put {file} into ~/.keras/models, "
            "or train from nothing: weights=None"
        ) from error
