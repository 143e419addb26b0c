"""Inference on one image, or on several views of it that are averaged: ids and probabilities."""

from pathlib import Path

import numpy as np
from keras import ops
from PIL import Image

from seglib import images as image_files

_TOLD = set()  # the id of each model of which it was said that they end in softmax


def segment(model, image, size=None):
    """The most probable class of every pixel, at the image's own size.

    Args:
        model: a model that turns (1, height, width, 3) images in 0–255 into logits of the same height and width.
        image: an image file, as its path, its bytes or a ``PIL.Image``, or an array: (height, width, 3),
            (height, width, 4) whose alpha is dropped, or grey (height, width) or (height, width, 1); uint8, uint16,
            which is scaled by ``1 / 257`` as in files, or floats in 0–255.
        size: ``(height, width)`` that the image is resized to for the model, best its training images'; None: as it is.

    Returns:
        (height, width) uint8 ids (uint16 beyond 256 classes), of the image's own height and width.

    Raises:
        ImageError: a file that cannot be read.
        ValueError: an array that is no image: its shape, float values that are not finite, outside 0–255, or all
            within 0–1 (scaled already); a size that is not two whole numbers; a model whose logits are not of the
            image's size, or of one class only.
    """
    return to_ids(find_logits(model, to_image(image), size))


def probabilities(model, image, size=None):
    """The probability of every class at every pixel, at the image's own size: the softmax of the logits.

    Args:
        model: a model that turns (1, height, width, 3) images in 0–255 into logits of the same height and width.
        image: an image file (path, bytes or ``PIL.Image``), or an array (height, width, 3 or 4) or (height, width).
        size: ``(height, width)`` that the image is resized to for the model; None leaves it as it is.

    Returns:
        (height, width, num_classes) float32, which sum to 1 over the classes.

    Raises:
        ValueError: what is no image (``ImageError`` of a file), or a model without logits of the image's size.
    """
    return ops.convert_to_numpy(ops.softmax(find_logits(model, to_image(image), size), axis=-1))


def tta(model, image, size=None, flip=True, scales=(1,)):
    """Test-time augmentation: the mean of the probabilities of several views of one image (Chen et al. 2018, 4.3).

    Args:
        model: a model that turns (1, height, width, 3) images in 0–255 into logits of the same height and width.
        image: an image file (path, bytes or ``PIL.Image``), or an array (height, width, 3 or 4) or (height, width).
        size: ``(height, width)`` of the view at scale 1; None is the image's own.
        flip: whether to add the horizontally flipped view at each scale.
        scales: inference scales, factors of ``size`` such as ``(0.75, 1, 1.25)``. They help a network that was trained
            at several scales, as DeepLab was, and hurt one that was trained at one.

    Returns:
        (height, width, num_classes) float32, which sum to 1 over the classes.

    Raises:
        ValueError: no scales, or one that is not above 0; what is no image; a model without logits of its size.
    """
    if not scales or not all(0 < scale < float("inf") for scale in scales):
        raise ValueError(f"scales are one or more factors above 0, got {scales}")
    image = to_image(image)
    base, total = image.shape[:2] if size is None else image_files.to_size(size), 0
    for scale in scales:
        view = tuple(max(1, round(scale * side)) for side in base)
        total = total + probabilities(model, image, view)
        if flip:
            total = total + probabilities(model, image[:, ::-1], view)[:, ::-1]
    return total / np.float32(len(scales) * (1 + bool(flip)))


class Scaled:
    """A model that sees each image resized by a factor of its own size, such as the ``scale`` of a ``train.Plan``."""

    def __init__(self, model, scale):
        self.model, self.scale = model, scale

    def predict_on_batch(self, images):
        """(1, height, width, 3) in 0–255 → (1, height, width, num_classes) logits."""
        size = tuple(max(1, round(self.scale * side)) for side in images.shape[1:3])
        return find_logits(self.model, images[0], size)[None]


def to_image(image):
    """An image file or array, as :func:`segment` takes it → (height, width, 3) uint8 or float32, in 0–255."""
    if isinstance(image, (str, Path, bytes, Image.Image)):
        return image_files.read_image(image)
    image = np.asanyarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(f"an image is (height, width, 3), with alpha 4, or grey (height, width); got {image.shape}")
    if image.dtype.kind == "f":
        low, high = image.min(), image.max()
        if not (0 <= low and high <= 255):
            raise ValueError(f"a float image holds finite values in 0–255, got {low:g} to {high:g}")
        if 0 < high <= 1 < image.size:
            raise ValueError(f"the image's values end at {high:g}: it was scaled to 0–1; models want 0–255")
        image = image.astype(np.float32)
    elif image.dtype == np.uint16:
        image = (image / np.float32(257)).round().astype(np.uint8)
    elif image.dtype != np.uint8:
        raise ValueError(f"an image is uint8, uint16 or floats in 0–255, got {image.dtype}")
    # A view, where repeating would take memory for three.
    return np.broadcast_to(image, (*image.shape[:2], 3)) if image.shape[-1] == 1 else image[..., :3]


def to_ids(scores):
    """The class of the largest score: (…, num_classes) → (…) uint8, uint16 beyond 256 classes."""
    ids = ops.convert_to_numpy(ops.argmax(scores, axis=-1))
    return ids.astype(np.uint8 if scores.shape[-1] <= 256 else np.uint16)


def find_logits(model, image, size=None):
    """The logits of an image of :func:`to_image`, at the image's own size: (height, width, num_classes) float32."""
    x = np.asarray(image, np.float32)[None]
    if size is not None and (size := image_files.to_size(size)) != image.shape[:2]:
        x = ops.convert_to_numpy(ops.image.resize(x, size, antialias=True, data_format="channels_last"))
    logits = model.predict_on_batch(x)
    shape = tuple(getattr(logits, "shape", ()))
    if len(shape) != 4 or shape[:3] != x.shape[:3] or shape[3] < 2:
        raise ValueError(
            f"the model turned images {x.shape} into {shape or type(logits).__name__}; wanted logits (batch, height, "
            "width, num_classes) of the images' size (unpadded convolutions lose the border), of two classes or more"
        )
    logits = ops.cast(logits, "float32")  # a model may compute in 16 bits; probabilities want more
    if float(ops.min(logits)) >= 0 and float(ops.max(ops.abs(ops.sum(logits, -1) - 1))) < 1e-2:
        if id(model) not in _TOLD:
            print("warning: the model ends in softmax; its outputs are taken for probabilities, not logits", flush=True)
            _TOLD.add(id(model))
        logits = ops.log(ops.maximum(logits, 1e-7))  # whose softmax they are
    if shape[1:3] != image.shape[:2]:  # logits are resized, not ids: those give a boundary in steps
        logits = ops.image.resize(logits, image.shape[:2], data_format="channels_last")
    return logits[0]
