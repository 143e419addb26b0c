"""Where each pixel of a crop comes from: one random transform an image, and the one resampling that applies it."""

import math

import numpy as np
from keras import ops

CELL = 32  # pixels between the points at which the elastic field is drawn


def draw_affine(draws, source, size, flip, scale, rotation, shear, translation):
    """A random affine transform an image, as the map from the pixels of the crop to those of the source.

    With centred coordinates (y, x) it is ``source = centre + M · crop``,

    ``M = (1 / scale) · rotate(angle) · [[1, 0], [tan(shear), ±1]]``

    Args:
        draws: :class:`~seglib.augment.draws.Draws`.
        source, size: ``(height, width)`` of the images, numbers or scalar tensors, and of the crop.
        flip: probability of mirroring left and right.
        scale: (low, high) factors, drawn so that halving is as likely as doubling; at 1, a pixel stays a pixel.
        rotation, shear, translation: largest angles, in degrees, and shift, a share of the crop, to either side.

    Returns:
        (batch, 2, 2) matrix M and (batch, 2) centre, float32. The centre is drawn so that the crop lies inside of the
        image, or a larger one around it; then it is shifted.
    """
    mirror = ops.where(draws.happens("flip", flip), -1.0, 1.0)
    zoom = ops.exp(draws.uniform("scale", math.log(scale[0]), math.log(scale[1])))
    angle = draws.uniform("rotation", -math.radians(rotation), math.radians(rotation))
    slope = ops.tan(draws.uniform("shear", -math.radians(shear), math.radians(shear)))
    cos, sin = ops.cos(angle) / zoom, ops.sin(angle) / zoom
    rows = [[cos - sin * slope, -sin * mirror], [sin + cos * slope, cos * mirror]]
    matrix = ops.stack([ops.stack(row, axis=-1) for row in rows], axis=-2)
    source = ops.stack([ops.cast(n, "float32") for n in source])
    seen = ops.divide(np.array(size, np.float32), zoom[:, None])  # what the crop shows, before it is turned
    free = ops.abs(source - seen) / 2
    shift = free * draws.uniform("crop", -1, 1, (2,)) + seen * draws.uniform("shift", -translation, translation, (2,))
    centre = source / 2 + shift
    if tuple(scale) == (1, 1) and not rotation and not shear:  # moved by whole pixels, nothing has to be mixed
        half = np.array(size, np.float32) / 2
        centre = ops.round(centre - half) + half
    return matrix, centre


def bend(places, draws, elastic, matrix):
    """Moves each place by a smooth random field (Simard et al. 2003; Ronneberger et al. 2015, section 3.1).

    ``elastic`` is the standard deviation of the field at points ``CELL`` pixels of the crop apart; between, cubics. The
    places are those of :func:`locate`; the matrix of :func:`draw_affine` turns pixels of the crop into the image's.
    """
    rows, columns = (interpolate_cubic(length) for length in places.shape[2:])
    points = (rows.shape[1], columns.shape[1], 2)
    radius = ops.sqrt(-2 * ops.log(1 - draws.uniform("elastic, radius", shape=points)))
    field = radius * ops.cos(2 * np.pi * draws.uniform("elastic, angle", shape=points))  # normal (Box and Muller 1958)
    return places + elastic * ops.einsum("yi,xj,bijc,bdc->bdyx", rows, columns, field, matrix)


def interpolate_cubic(length):
    """The matrix (length, points) that interpolates values at points ``CELL`` pixels apart, the first and the last of
    them beyond the border, at each pixel (Catmull and Rom 1974; Keys 1981 with a = −½)."""
    points = math.ceil(length / CELL) + 3
    distance = np.abs((np.arange(length)[:, None] + 0.5) / CELL + 1 - np.arange(points))
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0)).astype("float32")


def draw_rectangle(draws, size, largest):
    """A rectangle anywhere in each image: (batch, height, width) bool; its sides are ⅓ to 1 of ``largest · size``."""
    lines = []
    for name, length in zip(("top", "left"), size, strict=True):
        place, length = ops.arange(length, dtype="float32") + 0.5, ops.cast(length, "float32")
        side = (length * draws.uniform(name + ", side", largest / 3, largest))[:, None]
        start = draws.uniform(name)[:, None] * (length - side)
        lines.append((place >= start) & (place < start + side))
    return lines[0][:, :, None] & lines[1][:, None, :]


def locate(matrix, centre, size):
    """The place in the source of each pixel of the crop: (batch, 2, height, width) float32, y and x, counted from the
    middle of the source's first pixel."""
    grid = np.stack(np.meshgrid(*(np.arange(n) + 0.5 - n / 2 for n in size), indexing="ij")).astype("float32")
    places = ops.matmul(matrix, grid.reshape(2, -1)) + (centre - 0.5)[..., None]
    return ops.reshape(places, (-1, 2, *size))


def resample(images, masks, places):
    """Takes both from the same places: the image bilinearly, the mask from the nearest pixel; so no id is invented.

    (batch, h, w, 3) images, (batch, h, w) masks of any integer dtype and the places of :func:`locate` → (batch, height,
    width, 3) float32, (batch, height, width) of the masks' dtype, and (batch, height, width) bool: where the places lie
    inside of the image. Outside, both are what they are at its border, for the caller to hide.
    """
    count, height, width = ops.shape(images)[:3]
    first = ops.reshape(ops.arange(count, dtype="int32") * (height * width), (-1, 1, 1))
    images, masks = ops.reshape(images, (-1, 3)), ops.reshape(masks, (count * height * width,))
    y, x = places[:, 0], places[:, 1]

    def index(place, length):  # beyond the border, the pixel on the border
        return ops.clip(ops.cast(place, "int32"), 0, length - 1)

    top, left = ops.floor(y), ops.floor(x)
    columns = index(left, width), index(left + 1, width)
    edges = []
    for row in (top, top + 1):
        start = first + index(row, height) * width
        a, b = (ops.cast(ops.take(images, start + column, axis=0), "float32") for column in columns)
        edges.append(a + (b - a) * (x - left)[..., None])
    image = edges[0] + (edges[1] - edges[0]) * (y - top)[..., None]

    row, column = (ops.cast(ops.floor(place + 0.5), "int32") for place in (y, x))  # the nearest pixel
    nearest = index(row, height), index(column, width)
    inside = (row == nearest[0]) & (column == nearest[1])
    return image, ops.take(masks, first + nearest[0] * width + nearest[1], axis=0), inside
