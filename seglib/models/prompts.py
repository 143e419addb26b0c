"""Promptable segmentation: an encoder reads an image once, and a light decoder answers every set of clicks on it."""

import keras
from keras import layers, ops

from seglib.layers import PadToMultiple, PortableModel, conv_block

STRIDE = 2  # of the features
SIGMAS = 5.0, 1.5  # of the Gaussians of a click, in pixels: one to find the object, one to correct details
UNIT = 8.0  # pixels to a unit of the embeddings
HEADS = 3  # embeddings of a pixel


def promptable(input_shape, num_answers=3, filters=16, depth=4):
    """A network that segments the object under a few clicks, in miniature after SAM (Kirillov et al. 2023, section 3).

    The layer ``"encoder"`` is a U-Net without its finest level: image → features at stride 2. The layer ``"decoder"``
    joins to these features the clicks as Gaussians (as Maninis et al. 2018; Xu et al. 2016 have distances), and the
    similarity of each pixel's embedding to the clicked ones (after Neven et al. 2019). Two 1×1 convolutions, one of
    3×3 and a transposed one follow.
    Several answers, each with an estimate of its IoU, leave open whether a click means a part, an object or a group.

    Args:
        input_shape: ``(height, width, 3)``, of any size; None lets one model take every size.
        num_answers: masks for each set of clicks.
        filters, depth: channels of the encoder's first level, doubled at each one below, and its number of levels.

    Returns:
        A ``keras.Model`` of two inputs: images (batch, height, width, 3) in 0–255, and clicks (batch, clicks, 3), of
        each its row, its column, and 1 for inside, −1 for outside, 0 for none. Two outputs: logits (batch, height',
        width', num_answers) and estimated IoUs (batch, num_answers), about 0–1. height' and width' are the size after
        padding to a multiple of ``2 ** (depth − 1)``. ``promptable((None, None, 3))`` has 486,746 parameters.

    Raises:
        ValueError: no answers, or fewer than 3 levels.
    """
    if num_answers < 1 or depth < 3:
        raise ValueError(f"wanted an answer or more and 3 levels or more, got {num_answers} and {depth}")
    image, clicks = keras.Input(input_shape, name="image"), keras.Input((None, 3), name="clicks")
    features = _build_encoder(input_shape, filters, depth)(image)
    outputs = _build_decoder(features.shape[1:], num_answers)([features, clicks])
    return PortableModel([image, clicks], outputs, name="promptable")


def _build_encoder(input_shape, filters, depth):
    inputs = keras.Input(input_shape)
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x, skips = PadToMultiple(2 ** (depth - 1))(x), []
    for level in range(depth - 1):
        x = conv_block(x, filters * 2**level)
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = conv_block(x, filters * 2 ** (depth - 1))
    for level in range(depth - 2, 0, -1):
        x = layers.Conv2DTranspose(filters * 2**level, 2, strides=2)(x)
        x = conv_block(layers.Concatenate()([skips[level], x]), filters * 2**level)
    return PortableModel(inputs, x, name="encoder")


def _build_decoder(shape, num_answers):
    features, clicks = keras.Input(shape), keras.Input((None, 3))
    embeddings = layers.Conv2D(4 * HEADS, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.02))
    gaussians = ClickMaps()(features, clicks)
    similarities = Similarity(HEADS)(embeddings(features), clicks)
    x = layers.Concatenate()([features, gaussians, similarities])
    x = conv_block(x, 32, kernel=1, norm=None)
    x = conv_block(x, 24, repeats=1, norm=None)
    rare = keras.initializers.Constant(-2)  # most pixels are outside
    logits = layers.Conv2DTranspose(num_answers, 2, strides=2, bias_initializer=rare, dtype="float32")(x)
    scores = estimate_ious(x, gaussians[..., :1], num_answers)
    return PortableModel([features, clicks], [logits, scores], name="decoder")


def estimate_ious(x, near, num_answers):
    """The IoU of each answer, from features averaged near the clicks and over the image; it does not train these."""
    x = ops.stop_gradient(x)
    clicked = ops.sum(x * near, axis=(1, 2)) / ops.maximum(ops.sum(near, axis=(1, 2)), 1)
    x = layers.Concatenate()([clicked, layers.GlobalAveragePooling2D()(x)])
    x = layers.Dense(32, activation="relu")(x)
    return layers.Dense(num_answers, dtype="float32")(x)


@keras.saving.register_keras_serializable("seglib")
class ClickMaps(layers.Layer):
    """Clicks as Gaussians of height 1: (batch, height, width, 4), wide and narrow, each for those inside and outside.

    Where several are near, the highest counts. The map gives the size; clicks are (batch, clicks, 3) as in the model.
    """

    def call(self, x, clicks):
        y, x = (STRIDE * (ops.arange(n, dtype="float32") + 0.5) - 0.5 for n in ops.shape(x)[1:3])
        clicks = ops.cast(clicks, "float32")
        squared = (clicks[:, :, :1, None] - y[:, None]) ** 2 + (clicks[:, :, 1:2, None] - x) ** 2
        inside, outside = (ops.cast(sign * clicks[:, :, 2, None, None] > 0, "float32") for sign in (1, -1))
        gaussians = [ops.exp(-squared / (2 * sigma**2)) for sigma in SIGMAS]
        return ops.stack([ops.max(g * chosen, axis=1) for g in gaussians for chosen in (inside, outside)], axis=-1)

    def compute_output_shape(self, x_shape, clicks_shape):
        return *x_shape[:3], 2 * len(SIGMAS)


@keras.saving.register_keras_serializable("seglib")
class Similarity(layers.Layer):
    """How close the embedding of each pixel is to those of the clicked ones: exp(−|difference|²), Neven et al. 2019.

    An embedding is four numbers. To the first two the pixel's position is added, in units of 8 pixels: the convolution
    before learns an offset, which can lead all pixels of an object to one place. (batch, height, width, 4 · heads) and
    clicks → (batch, height, width, 2 · heads): of each head the closest of the clicks inside, then of those outside.
    """

    def __init__(self, heads, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, x, clicks):
        batch, height, width = ops.shape(x)[:3]
        clicks = ops.cast(clicks, "float32")
        rows, columns = (STRIDE / UNIT * ops.arange(n, dtype="float32") for n in (height, width))
        places = ops.stack([*ops.meshgrid(rows, columns, indexing="ij"), *[ops.zeros((height, width))] * 2], axis=-1)
        x = ops.reshape(ops.cast(x, "float32"), (batch, height, width, self.heads, 4)) + places[:, :, None]
        last = ops.cast(ops.stack([height, width]), "int32") - 1
        pixels = ops.clip(ops.cast(clicks[:, :, :2] / STRIDE, "int32"), 0, last)
        at = (pixels[:, :, 0] * width + pixels[:, :, 1])[..., None, None]
        clicked = ops.take_along_axis(ops.reshape(x, (batch, height * width, self.heads, 4)), at, axis=1)
        squared = ops.sum((x[:, None] - clicked[:, :, None, None]) ** 2, axis=-1)
        similar, signs = ops.exp(-squared), clicks[:, :, 2, None, None, None]
        closest = [ops.max(similar * ops.cast(s * signs > 0, "float32"), axis=1) for s in (1, -1)]
        return ops.concatenate(closest, axis=-1)

    def compute_output_shape(self, x_shape, clicks_shape):
        return *x_shape[:3], 2 * self.heads

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}
