"""Layers that the models share: convolution blocks, ASPP, upsampling, and padding so that any image size works."""

import inspect
import math
from operator import index

import keras
import numpy as np
from keras import layers, ops


def conv_block(x, filters, padding="same", norm="batch", repeats=2, kernel=3, dilation=1):
    """Convolution, normalisation and ReLU, ``repeats`` times (Ronneberger et al. 2015, section 2: twice 3×3, no norm).

    Args:
        x: (batch, height, width, channels).
        filters: channels of the result.
        padding: ``"same"``, or ``"valid"``, which loses ``dilation · (kernel − 1)`` rows and columns a convolution.
        norm: ``"batch"`` (Ioffe & Szegedy 2015), ``"group"`` (Wu & He 2018, for small batches; 8 channels a group, or
            what divides) or None.
        repeats: number of convolutions.
        kernel: the kernel's height and width.
        dilation: distance between the pixels that the kernel reads.

    Returns:
        (batch, height, width, filters), smaller by ``repeats · dilation · (kernel − 1)`` with ``padding="valid"``.
    """
    if norm not in ("batch", "group", None):
        raise ValueError(f"norm must be 'batch', 'group' or None, got {norm!r}")
    # A bias right before a normalisation would be subtracted again.
    options = dict(padding=padding, dilation_rate=index(dilation), use_bias=norm is None)
    for _ in range(repeats):
        x = layers.Conv2D(filters, index(kernel), kernel_initializer="he_normal", **options)(x)
        if norm == "batch":
            x = layers.BatchNormalization(momentum=0.9)(x)  # Keras's 0.99 is for runs of many thousand steps
        elif norm == "group":
            x = layers.GroupNormalization(groups=x.shape[-1] // math.gcd(x.shape[-1], 8))(x)
        x = layers.ReLU()(x)
    return x


def aspp(x, filters, rates):
    """Atrous spatial pyramid pooling (ASPP): several receptive fields in parallel (Chen et al. 2017, section 3.3).

    A 1×1 convolution, a 3×3 convolution for each dilation in ``rates``, and global average pooling, each with
    ``filters`` channels, are concatenated and mixed by another 1×1 convolution: (batch, height, width, channels) →
    (batch, height, width, filters). A rate beyond height and width leaves only the centre of the 3×3 kernel.
    """
    branches = [conv_block(x, filters, kernel=1, repeats=1)]
    branches += [conv_block(x, filters, repeats=1, dilation=rate) for rate in rates]
    mean = layers.GlobalAveragePooling2D(keepdims=True)(x)
    branches.append(ResizeLike()(conv_block(mean, filters, kernel=1, repeats=1), x))
    return conv_block(layers.Concatenate()(branches), filters, kernel=1, repeats=1)


def upsample(x, factor, **options):
    """Upsamples by a learnt transposed convolution that starts as bilinear interpolation (Long et al. 2015, 3.3).

    (batch, height, width, channels) and an even ``factor`` → (batch, factor · height, factor · width, channels). The
    kernel is ``2 · factor`` wide, and there is no bias; ``options``, such as ``name`` or ``dtype``, are for the layer.
    Beyond the border of ``x`` all is zero, so that before training the outermost ``factor / 2`` rows and columns fade.
    """
    factor = index(factor)
    return layers.Conv2DTranspose(
        x.shape[-1], 2 * factor, factor, padding="same", use_bias=False, kernel_initializer=Bilinear(), **options
    )(x)


@keras.saving.register_keras_serializable("seglib")
class Bilinear(keras.initializers.Initializer):
    """The kernel of :func:`upsample`, ``1 − |position| / factor``: (2 · factor, 2 · factor, channels, channels)."""

    def __call__(self, shape, dtype=None):
        rows, columns = (1 - np.abs(np.arange(n) + 0.5 - n / 2) / (n / 2) for n in shape[:2])
        kernel = np.outer(rows, columns)[:, :, None, None]
        return ops.convert_to_tensor(kernel * np.eye(*shape[2:]), dtype=dtype)


@keras.saving.register_keras_serializable("seglib")
class PadToMultiple(layers.Layer):
    """Reflection padding at the lower right, up to multiples of ``multiple``; the last row and column do not repeat.

    (batch, height, width, channels) → (batch, height', width', channels), for every size from 1×1 up, known when the
    model is built or not; height' and width' are ``least`` or more.
    """

    def __init__(self, multiple, least=1, **kwargs):
        super().__init__(**kwargs)
        self.multiple, self.least = multiple, least

    def call(self, x):
        for axis in (1, 2):
            length = ops.shape(x)[axis]
            largest = max if isinstance(length, int) else ops.maximum
            # Not length + (-length) % multiple: ONNX rounds quotients of negative numbers the other way.
            wanted = largest((length + self.multiple - 1) // self.multiple * self.multiple, self.least)
            if isinstance(length, int) and wanted == length:
                continue
            # 0 1 2 3 → 0 1 2 3 2 1 0 1 …: a saw-tooth of period 2 · last; a single row can only repeat itself.
            last = length - 1
            position = ops.arange(wanted) % ops.maximum(2 * last, 1)
            x = ops.take(x, ops.minimum(last - ops.abs(last - position), last), axis=axis)
        return x

    def compute_output_shape(self, input_shape):
        height, width = (n and max(n + (-n) % self.multiple, self.least) for n in input_shape[1:3])
        return input_shape[0], height, width, input_shape[3]


@keras.saving.register_keras_serializable("seglib")
class CropLike(layers.Layer):
    """Crops ``x`` to the height and width of ``reference``: at the lower right (``"end"``) or evenly (``"centre"``).

    ``"end"`` undoes :class:`PadToMultiple`; ``"centre"`` is U-Net's crop before a concatenation. (batch, height, width,
    channels) twice → (batch, height and width of ``reference``, channels of ``x``).
    """

    def __init__(self, where="end", **kwargs):
        super().__init__(**kwargs)
        self.where = where

    def call(self, x, reference):
        height, width = ops.shape(reference)[1:3]
        top, left = (0, 0)
        if self.where == "centre":
            top, left = (ops.shape(x)[1] - height) // 2, (ops.shape(x)[2] - width) // 2
        return x[:, top : top + height, left : left + width, :]

    def compute_output_shape(self, x_shape, reference_shape):
        return x_shape[0], reference_shape[1], reference_shape[2], x_shape[3]


@keras.saving.register_keras_serializable("seglib")
class ResizeLike(layers.Layer):
    """Resizes ``x`` bilinearly to the height and width of ``reference``, whether or not these are known when traced.

    As a resize layer does: half-pixel centres, no antialiasing, the border repeats. (batch, height, width, channels)
    twice → (batch, height and width of ``reference``, channels of ``x``).
    """

    def call(self, x, reference):
        for axis in (1, 2):
            old, new = ops.shape(x)[axis], ops.shape(reference)[axis]
            place = (ops.arange(new, dtype="float32") + 0.5) * ops.cast(old, "float32") / ops.cast(new, "float32") - 0.5
            place = ops.clip(place, 0, ops.cast(old, "float32") - 1)
            low = ops.cast(ops.floor(place), "int32")
            high = ops.minimum(low + 1, old - 1)
            weight = ops.cast(place - ops.cast(low, "float32"), x.dtype)
            weight = ops.reshape(weight, (1, -1, 1, 1) if axis == 1 else (1, 1, -1, 1))
            x = (1 - weight) * ops.take(x, low, axis=axis) + weight * ops.take(x, high, axis=axis)
        return x

    compute_output_shape = CropLike.compute_output_shape


@keras.saving.register_keras_serializable("seglib")
class PortableModel(keras.Model):
    """A functional model that saves no argument at its default: an older Keras refuses those that it does not know."""

    def get_config(self):
        return _without_defaults(super().get_config())


def _without_defaults(config):
    if isinstance(config, list):
        return [_without_defaults(value) for value in config]
    if isinstance(config, dict):
        config = {key: _without_defaults(value) for key, value in config.items()}
        if config.get("module") in ("keras.layers", "keras.initializers"):
            kind = getattr(layers, config["class_name"], None) or getattr(keras.initializers, config["class_name"])
            known = inspect.signature(kind).parameters
            config["config"] = {k: v for k, v in config["config"].items() if k not in known or v != known[k].default}
    return config
