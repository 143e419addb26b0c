"""Stride turned into dilation: a classifier's layers and weights, with finer feature maps."""

import keras
from keras import layers, tree

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)


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
    before = _strides_before(network)
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
    """The layers whose outputs a layer of a functional model takes."""
    return [tensor._keras_history.operation for tensor in tree.flatten(layer.input)]


def _stride(layer):
    return max(layer.strides) if isinstance(layer, (*CONVOLUTIONS, layers.MaxPooling2D)) else 1


def _strides_before(network):
    """The factor by which each layer's input is smaller than the image."""
    before, behind = {}, {}
    for layer in network.layers:  # each behind those that it takes from
        before[layer] = 1 if isinstance(layer, layers.InputLayer) else max(behind[parent] for parent in parents(layer))
        behind[layer] = before[layer] * _stride(layer)
    return before
