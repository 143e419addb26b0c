"""The layers: one random transform for image and mask together, and mixtures of the pairs of a batch."""

import operator

import keras
import numpy as np
from keras import ops

from seglib.augment import colour, geometry
from seglib.augment.draws import RandomLayer, check_range, run_compiled

FILL = 127.5  # shown where there is no data: the grey that the models scale to zero, with which convolutions pad
LIMITS = dict(flip=1, rotation=180, shear=60, translation=1, brightness=255, contrast=1, saturation=1, hue=180)
LIMITS |= dict(elastic=geometry.CELL / 8, blur=20, noise=255, cutout=1)


@keras.saving.register_keras_serializable("seglib")
class Augment(RandomLayer):
    """One random geometric transform an image, applied once to image and mask, then changes of the image alone.

    The crop of ``size`` may reach beyond the image; there the image is mid-grey and the mask void. Every range that is
    left at its default changes nothing. :meth:`call` says what goes in and what comes out.

    Args:
        size: ``(height, width)`` of what comes out. With ``scale=(1, 1)`` a pixel of it is a pixel of the image.
        flip: probability that left and right are exchanged.
        scale: (low, high) factor of enlargement.
        rotation, shear: largest angles, in degrees, at most 180 and 60.
        translation: largest shift, as a share of ``size``; a crop smaller than the image is anywhere in it anyway.
        elastic: standard deviation of a smooth displacement, in pixels of the crop; at most 4: beyond, it often folds.
        brightness: largest change, in grey levels of 255.
        contrast, saturation: largest change of the factor, at most 1.
        hue: largest angle, in degrees, at most 180.
        blur: largest standard deviation of a Gaussian, in pixels, at most 20.
        noise: largest standard deviation, in grey levels of 255.
        cutout: largest side of a rectangle that is hidden, as a share of ``size``; its mask is void (DeVries and Taylor
            2017, who keep the label).
        probability: of each of elastic, blur, noise and cutout to happen to an image; all others happen to every image.
        ignore_id: the id of void pixels.
        seed: of the layer's own generator, for calls without a seed.

    In a ``keras.layers.Pipeline`` it comes first: some of Keras's layers hand on masks of floats, which it refuses.
    A range, a size or a scale out of bounds is a ``ValueError``.

    Example:
        >>> mirror = Augment(size=(1, 3), flip=1)
        >>> pair = {"images": np.zeros((1, 3, 3)), "segmentation_masks": np.array([[0, 0, 1]])}
        >>> np.array(mirror(pair, seed=[1, 2])["segmentation_masks"])
        array([[1, 0, 0]])
    """

    def __init__(
        self, size,
        flip=0.0, scale=(1.0, 1.0), rotation=0.0, shear=0.0, translation=0.0, elastic=0.0,  # where the pixels come from
        brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, blur=0.0, noise=0.0, cutout=0.0,  # what they look like
        probability=0.5, ignore_id=255, seed=None, **kwargs,
    ):  # fmt: skip
        super().__init__(probability, seed, **kwargs)
        if np.shape(size) != (2,) or np.shape(scale) != (2,) or min(size) < 1 or not 0 < scale[0] <= scale[1]:
            wanted = "size must be (height, width), such as (256, 256), and scale (low, high), such as (0.5, 2)"
            raise ValueError(f"{wanted}, both above 0; got {size=} and {scale=}")
        self.size, self.scale, self.ignore_id = tuple(map(operator.index, size)), tuple(map(float, scale)), ignore_id
        self.geometry = dict(flip=flip, rotation=rotation, shear=shear, translation=translation)
        self.tones = dict(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
        self.sometimes = dict(elastic=elastic, blur=blur, noise=noise, cutout=cutout)
        for name, value in (self.geometry | self.tones | self.sometimes).items():
            check_range(name, value, LIMITS[name])

    def change(self, images, masks, draws):
        dtype = keras.backend.standardize_dtype(masks.dtype)
        check_range(f"ignore_id, in masks of {dtype},", self.ignore_id, np.iinfo(dtype).max)
        source = ops.shape(images)[1:3]
        matrix, centre = geometry.draw_affine(draws, source, self.size, scale=self.scale, **self.geometry)
        places = geometry.locate(matrix, centre, self.size)
        places = self._perhaps("elastic", lambda *args: geometry.bend(*args, matrix), places, draws)
        return run_compiled(lambda *arrays: self._paint(*arrays, draws), images, masks, places)

    def _paint(self, images, masks, places, draws):
        """The pixels at the ``places``, and all changes of the image alone."""
        images, masks, shown = geometry.resample(images, masks, places)
        if any(self.tones.values()):
            images = colour.change_colour(images, draws, **self.tones)
        images = self._perhaps("blur", colour.blur, images, draws)
        images = self._perhaps("noise", colour.add_noise, images, draws)
        if self.sometimes["cutout"]:
            hidden = geometry.draw_rectangle(draws, self.size, self.sometimes["cutout"])
            shown = shown & ~(hidden & draws.happens("cutout", self.probability)[:, None, None])
        # A product is several times as fast as a choice by `where` that is broadcast over the colours.
        images = FILL + ops.clip(images - FILL, -FILL, FILL) * ops.cast(shown, "float32")[..., None]
        return images, ops.where(shown, masks, ops.cast(self.ignore_id, masks.dtype))

    def _perhaps(self, name, change, x, draws):
        """``x``, changed for the images that it befalls; where it befalls none, nothing is computed."""
        if not self.sometimes[name]:
            return x
        chosen = draws.happens(name, self.probability)[:, None, None, None]
        changed = lambda: ops.where(chosen, change(x, draws, self.sometimes[name]), x)  # noqa: E731
        if keras.backend.backend() == "jax":  # which would compile a condition anew at each call
            return changed()
        return ops.cond(ops.any(chosen), changed, lambda: x)


def light(size, ignore_id=255, seed=None):
    """An :class:`Augment` to ``size`` (height, width) of what nearly every photograph forgives: flipped, a little
    nearer or further, a little brighter or darker. Pixels without data get the id ``ignore_id``."""
    return Augment(size, flip=0.5, scale=(0.8, 1.25), brightness=20, contrast=0.2, ignore_id=ignore_id, seed=seed)


def standard(size, ignore_id=255, seed=None):
    """An :class:`Augment` to ``size`` (height, width) of what most scenes forgive: scaled further than by
    :func:`light`, rotated a little, in other colours. Pixels without data get the id ``ignore_id``."""
    ranges = dict(flip=0.5, scale=(0.75, 1.5), rotation=5, brightness=32, contrast=0.25, saturation=0.25, hue=10)
    return Augment(size, **ranges, ignore_id=ignore_id, seed=seed)


def strong(size, ignore_id=255, seed=None):
    """An :class:`Augment` to ``size`` (height, width) with all ranges, half to twice the size (as DeepLab trains), for
    few images and long training. Pixels without data get the id ``ignore_id``."""
    ranges = dict(flip=0.5, scale=(0.5, 2), rotation=15, shear=5, translation=0.1, elastic=2, probability=0.3)
    ranges |= dict(brightness=48, contrast=0.4, saturation=0.5, hue=30, blur=1.5, noise=8, cutout=0.3)
    return Augment(size, **ranges, ignore_id=ignore_id, seed=seed)


class Mixture(RandomLayer):
    """Pixels of another image of the batch, laid over an image with their labels. A subclass has ``choose(masks, draws)
    -> (partner, region)``: (batch,) int32, the other's number, and (batch, height, width) bool, where it is laid."""

    def change(self, images, masks, draws):
        partner, region = self.choose(masks, draws)
        region = region & draws.happens(type(self).__name__, self.probability)[:, None, None]
        images_of, masks_of = (ops.take(x, partner, axis=0) for x in (images, masks))
        return ops.where(region[..., None], images_of, images), ops.where(region, masks_of, masks)


@keras.saving.register_keras_serializable("seglib")
class CutMix(Mixture):
    """A rectangle of another image of the batch, pasted in its own place with its mask (Yun et al. 2019).

    The paper mixes one label an image by area; here each pixel keeps its own. A batch of one stays as it is.

    Args:
        largest: longest side of the rectangle, as a share of the image's; sides are drawn from a third of it on.
        probability: that an image is mixed at all.
        seed: of the layer's own generator, for calls without a seed.
    """

    def __init__(self, largest=0.7, probability=0.5, seed=None, **kwargs):
        super().__init__(probability, seed, **kwargs)
        check_range("largest", largest, 1)
        self.largest = largest

    def choose(self, masks, draws):
        count = ops.shape(masks)[0]
        steps = ops.cast(draws.uniform("partner") * ops.cast(count - 1, "float32"), "int32")  # 0 … count − 2 further on
        partner = (ops.arange(count, dtype="int32") + 1 + steps) % count
        return partner, geometry.draw_rectangle(draws, ops.shape(masks)[1:3], self.largest)


@keras.saving.register_keras_serializable("seglib")
class CopyPaste(Mixture):
    """All pixels of some classes, copied in their place from another image of the batch (Ghiasi et al. 2021).

    Meant for rare classes of things that stand before others, such as people; the paper copies instances. The other
    image is one of those that have some, perhaps the image itself.

    Args:
        ids: the class ids to copy.
        probability: that an image is mixed at all.
        seed: of the layer's own generator, for calls without a seed.
    """

    def __init__(self, ids, probability=0.5, seed=None, **kwargs):
        super().__init__(probability, seed, **kwargs)
        self.ids = [int(i) for i in ids]
        if not self.ids or min(self.ids) < 0:
            raise ValueError(f"ids must be class ids, such as [3, 5], got {self.ids}")

    def choose(self, masks, draws):
        wanted = ops.any(ops.cast(masks, "int32")[..., None] == np.array(self.ids, np.int32), axis=-1)
        has = ops.cast(ops.any(wanted, axis=(1, 2)), "int32")
        givers = ops.argsort(1 - has)  # those that have some come first
        which = ops.cast(draws.uniform("giver") * ops.cast(ops.sum(has), "float32"), "int32")
        partner = ops.take(givers, which, axis=0)
        return partner, ops.take(wanted, partner, axis=0)
