"""Changes of the image alone, in the order in which a camera makes them: light and colour, lens, sensor."""

import math

import numpy as np
from keras import ops

# NTSC's YIQ: luminance, and two axes of chroma
YIQ = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]], np.float32)

# What a row (red, green, blue) is multiplied by for its grey, for its colour, and for its colour turned by 90°.
GREY, COLOUR, TURNED = (
    (np.linalg.inv(YIQ) @ np.array(part, np.float32) @ YIQ).T
    for part in (np.diag([1, 0, 0]), np.diag([0, 1, 1]), [[0, 0, 0], [0, 0, -1], [0, 1, 0]])
)


def change_colour(images, draws, brightness, contrast, saturation, hue):
    """All four as one affine map of (red, green, blue), drawn for each image.

    ``contrast · (YIQ⁻¹ · diag(1, saturation · rotate(hue)) · YIQ · rgb − 127.5) + 127.5 + brightness``

    Of (batch, height, width, 3) float32 in 0–255. The ranges are the largest changes to either side: of ``brightness``
    in grey levels of 255, of ``hue`` in degrees, of ``contrast`` and ``saturation`` of a factor whose middle is 1.
    """
    angle = draws.uniform("hue", -math.radians(hue), math.radians(hue))
    chroma = draws.uniform("saturation", 1 - saturation, 1 + saturation)
    factor = draws.uniform("contrast", 1 - contrast, 1 + contrast)[:, None, None]
    light = draws.uniform("brightness", -brightness, brightness)[:, None, None]
    cos, sin = ((chroma * part)[:, None, None] for part in (ops.cos(angle), ops.sin(angle)))
    matrix = factor * (cos * COLOUR + sin * TURNED + GREY)
    offset = 127.5 * (1 - factor) + light
    height, width = images.shape[1:3]
    flat = ops.matmul(ops.reshape(images, (-1, height * width, 3)), matrix) + offset
    return ops.reshape(flat, (-1, height, width, 3))


def blur(images, draws, sigma):
    """Gaussian blur, as of a lens out of focus; its standard deviation is drawn up to ``sigma`` pixels."""
    reach = max(1, math.ceil(2.5 * sigma))
    steps = np.arange(-reach, reach + 1, dtype=np.float32)
    own = ops.maximum(draws.uniform("blur", 0, sigma), 1e-3)[:, None]
    weights = ops.exp(-(steps**2) / (2 * own**2))
    weights = weights / ops.sum(weights, axis=1, keepdims=True)
    for axis in (1, 2):
        last = images.shape[axis] - 1  # the border repeats
        places = [np.clip(np.arange(last + 1) + step, 0, last) for step in range(-reach, reach + 1)]
        images = sum(weights[:, i, None, None, None] * ops.take(images, at, axis=axis) for i, at in enumerate(places))
    return images


def add_noise(images, draws, noise):
    """Sensor noise, independent in each pixel and channel; its standard deviation is drawn up to ``noise`` levels."""
    bits = draws.bits("noise", images.shape[1:])  # a sum of four bytes is normal enough (central limit theorem)
    total = sum(ops.bitwise_and(ops.right_shift(bits, shift), 255) for shift in (0, 8, 16, 24))
    unit = (ops.cast(total, "float32") - 4 * 127.5) / math.sqrt(4 * (256**2 - 1) / 12)
    return images + draws.uniform("noise level", 0, noise)[:, None, None, None] * unit
