"""Masks for clicks on an image, by the network of :func:`seglib.models.promptable`: encode once, then ask often."""

from typing import NamedTuple

import numpy as np
from keras import ops


class Answers(NamedTuple):
    """What a network answers to clicks.

    ``masks`` are (answers, height, width) bool, and ``scores`` (answers,) float32 the IoU that it expects of each.
    """

    masks: np.ndarray
    scores: np.ndarray


def encode_image(model, image):
    """The features of an image (height, width, 3) in 0–255, which :func:`segment_clicks` reads; it takes longest."""
    return model.get_layer("encoder")(ops.convert_to_tensor(image[None], "float32"), training=False)


def segment_clicks(model, features, clicks, size):
    """The masks of the object under some clicks.

    Args:
        model: of :func:`seglib.models.promptable`. features: of :func:`encode_image`.
        clicks: a list of ``(row, column, inside)``: pixels of the image, True inside the object and False outside.
        size: ``(height, width)`` of the image.

    Returns:
        :class:`Answers`. Under a click on the background the scores are low, and masks may be empty.

    Raises:
        ValueError: no click inside the object, a click outside the image, or two that contradict each other.
    """
    clicks = [(float(row), float(column), bool(inside)) for row, column, inside in clicks]
    _check(clicks, size)
    signed = np.array([[(row, column, 1 if inside else -1) for row, column, inside in clicks]], np.float32)
    logits, scores = model.get_layer("decoder")([features, ops.convert_to_tensor(signed)], training=False)
    masks = np.moveaxis(ops.convert_to_numpy(logits)[0, : size[0], : size[1]] > 0, -1, 0)
    return Answers(masks, np.clip(ops.convert_to_numpy(scores)[0], 0, 1))


def _check(clicks, size):
    if not any(inside for *_, inside in clicks):
        raise ValueError(f"wanted a click inside the object, (row, column, True), among the {len(clicks)} given")
    placed = {}
    for number, (row, column, inside) in enumerate(clicks, start=1):
        if not (0 <= row < size[0] and 0 <= column < size[1]):
            raise ValueError(
                f"click {number} is outside the image: row {row:g}, column {column:g} of {size[0]}×{size[1]} pixels"
            )
        other, held = placed.setdefault((row, column), (number, inside))
        if held != inside:
            where = f"row {row:g}, column {column:g}"
            raise ValueError(f"clicks {other} and {number} contradict each other: {where} is both inside and outside")
