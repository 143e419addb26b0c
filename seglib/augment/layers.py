"""The layer that augments: one random transform for image and mask together, then changes of the image alone."""

import keras
from keras import ops

from seglib.augment import colour, geometry
from seglib.augment.draws import Draws, mix_bits

# What an image shows where it has no data: the grey that the models scale to zero, with which convolutions pad.
FILL = 127.5


class Random(keras.layers.Layer):
    """What the random layers share: Keras's protocol, its checks, and draws that are a function of a seed.

    A subclass has ``change(images, masks, draws) -> (images, masks)`` on whole batches.
    """

    def __init__(self, ignore_id=255, seed=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.ignore_id, self.seed = ignore_id, seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, seed=None, training=True):
        """Augments a pair or a batch of pairs.

        Args:
            inputs: ``{"images": (batch, height, width, 3) uint8 or float in 0–255, "segmentation_masks":
                (batch, height, width) or (batch, height, width, 1) integer ids}``, or the same without ``batch``; a
                batch may be empty. Other keys are handed on as they are.
            seed: (2,) int32, of which everything drawn is a function; None takes one from the layer's own generator,
                which goes on from call to call.
            training: False hands the inputs back as they are.

        Returns:
            The same keys: the images float32 in 0–255 (mixtures keep their dtype), the masks in their own form and
            dtype.

        Raises:
            ValueError: the inputs are something else.
        """
        images, masks = check_pairs(inputs, self.ignore_id)
        if not training:
            return inputs
        single, channel = len(images.shape) == 3, len(masks.shape) == len(images.shape)
        masks = masks[..., 0] if channel else masks
        images, masks = (images[None], masks[None]) if single else (images, masks)
        seed = self.generator.next() if seed is None else seed
        first, second = ops.unstack(ops.cast(ops.convert_to_tensor(seed), "int32"), 2)
        number = ops.arange(ops.shape(images)[0], dtype="int32")
        draws = Draws(ops.stack([first + 0 * number, mix_bits(second) + number], axis=1))
        images, masks = self.change(images, masks, draws)
        images, masks = (images[0], masks[0]) if single else (images, masks)
        return {**inputs, "images": images, "segmentation_masks": masks[..., None] if channel else masks}

    def build(self, *shapes):  # there is nothing to build, whatever comes
        self.built = True

    def get_config(self):
        return {**super().get_config(), "ignore_id": self.ignore_id, "seed": self.seed}


def check_pairs(inputs, ignore_id):
    """The images and masks of Keras's protocol, or a ``ValueError`` that says what they are and should be."""
    try:
        images, masks = inputs["images"], inputs["segmentation_masks"]
    except (KeyError, TypeError, IndexError):
        found = f"the keys {', '.join(map(str, inputs))}" if isinstance(inputs, dict) else f"a {type(inputs).__name__}"
        raise ValueError(f'wanted {{"images": …, "segmentation_masks": …}}, got {found}') from None
    shapes = f"images {_shape(images)} and segmentation_masks {_shape(masks)}"
    rank = len(images.shape)
    if rank not in (3, 4) or images.shape[-1] != 3:
        raise ValueError(f"wanted images (height, width, 3) or (batch, height, width, 3), got {shapes}")
    if not (len(masks.shape) == rank - 1 or (len(masks.shape) == rank and masks.shape[-1] == 1)):
        raise ValueError(
            f"wanted one id a pixel, as images {_shape(images)} and masks {_shape(images)[:-1]}, got {shapes}"
        )
    for here, there in zip(images.shape[: rank - 1], masks.shape, strict=False):
        if here is not None and there is not None and here != there:
            raise ValueError(f"image and mask must have one size, got {shapes}")
    dtype = keras.backend.standardize_dtype(masks.dtype)
    if "int" not in dtype:
        raise ValueError(
            f"segmentation_masks must hold integer ids, got {dtype}: fractions of ids mean nothing. Where they are "
            'whole numbers, cast them: ops.cast(masks, "uint8")'
        )
    highest = {"uint8": 255, "int8": 127, "int16": 2**15 - 1, "uint16": 2**16 - 1}.get(dtype, 2**31 - 1)
    if not 0 <= ignore_id <= highest:
        raise ValueError(f"ignore_id {ignore_id} does not fit into masks of {dtype}, which end at {highest}")
    return images, masks


def _shape(x):
    return tuple(x.shape)


@keras.saving.register_keras_serializable("seglib")
class Augment(Random):
    """One random geometric transform an image, applied once to image and mask, then changes of the image alone.

    The crop of ``size`` may reach beyond the image; there the image is mid-grey and the mask void. Every range that is
    left at its default changes nothing.

    Args:
        size: ``(height, width)`` of what comes out. With ``scale=(1, 1)`` a pixel of it is a pixel of the image.
        flip: probability that left and right are exchanged.
        scale: (low, high) factor of enlargement.
        rotation: largest angle, in degrees.
        shear: largest angle, in degrees.
        translation: largest shift, as a share of ``size``; a crop smaller than the image is anywhere in it anyway.
        elastic: standard deviation of a smooth displacement, in pixels of the crop; at most 4: beyond, it often folds.
        brightness: largest change, in grey levels of 255.
        contrast, saturation: largest change of the factor, at most 1.
        hue: largest angle, in degrees.
        blur: largest standard deviation of a Gaussian, in pixels.
        noise: largest standard deviation, in grey levels of 255.
        jpeg: lowest quality, 1–95; None leaves JPEG's losses out.
        cutout: largest side of a rectangle that is hidden, as a share of ``size``; its mask is void.
        chance: how probable each of elastic, blur, noise, jpeg and cutout is; all others happen to every image.
        ignore_id: the id of void pixels.
        seed: of the layer's own generator, for calls without a seed.

    In a ``keras.layers.Pipeline`` it comes first: some of Keras's layers hand on masks of floats, which it refuses.

    Raises:
        ValueError: a range that is none, naming it.

    Example:
        >>> layer = augment.Augment((256, 256), flip=0.5, scale=(0.5, 2), rotation=10)
        >>> batch = layer({"images": images, "segmentation_masks": masks})
        >>> train_ds = town.batches("train", size=(360, 480), augment=layer)
    """

    def __init__(
        self,
        size,
        flip=0.0,
        scale=(1.0, 1.0),
        rotation=0.0,
        shear=0.0,
        translation=0.0,
        elastic=0.0,
        brightness=0.0,
        contrast=0.0,
        saturation=0.0,
        hue=0.0,
        blur=0.0,
        noise=0.0,
        jpeg=None,
        cutout=0.0,
        chance=0.5,
        ignore_id=255,
        seed=None,
        **kwargs,
    ):
        super().__init__(ignore_id, seed, **kwargs)
        self.size, self.scale = tuple(size), tuple(scale)
        self.geometry = dict(flip=flip, rotation=rotation, shear=shear, translation=translation)
        self.tones = dict(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
        self.sometimes = dict(elastic=elastic, blur=blur, noise=noise, jpeg=jpeg, cutout=cutout)
        self.chance = chance
        self._check()

    def change(self, images, masks, draws):
        matrix, centre = geometry.draw_affine(
            draws, ops.shape(images)[1:3], self.size, scale=self.scale, **self.geometry
        )
        places = geometry.locate(matrix, centre, self.size)
        places = self._perhaps("elastic", lambda *args: geometry.bend(*args, matrix), places, draws)
        images, masks, shown = geometry.resample(images, masks, places)
        if any(self.tones.values()):
            images = colour.change_colour(images, draws, **self.tones)
        images = self._perhaps("blur", colour.blur, images, draws)
        images = self._perhaps("noise", colour.add_noise, images, draws)
        images = self._perhaps("jpeg", colour.lose_detail, images, draws)
        if self.sometimes["cutout"]:
            hidden = geometry.draw_rectangle(draws, self.size, self.sometimes["cutout"])
            shown = shown & ~(hidden & self._chosen("cutout", draws, 3))
        # A product is several times as fast as a choice by `where` that is broadcast over the colours.
        images = FILL + ops.clip(images - FILL, -FILL, FILL) * ops.cast(shown, "float32")[..., None]
        return images, ops.where(shown, masks, ops.cast(self.ignore_id, masks.dtype))

    def _chosen(self, name, draws, rank):
        """Which images of the batch this change befalls, as (batch, 1, …) of the given rank."""
        return ops.reshape(draws.happens(name, self.chance), (-1, *[1] * (rank - 1)))

    def _perhaps(self, name, change, x, draws):
        """``x``, changed for the images that it befalls; where it befalls none, nothing is computed."""
        if not self.sometimes[name]:
            return x
        chosen = self._chosen(name, draws, 4)
        changed = lambda: ops.where(chosen, change(x, draws, self.sometimes[name]), x)  # noqa: E731
        return ops.cond(ops.any(chosen), changed, lambda: x)

    def _check(self):
        limits = dict(flip=1, rotation=180, shear=60, translation=1, brightness=255, contrast=1, saturation=1, hue=180)
        limits |= dict(elastic=geometry.CELL / 8, blur=20, noise=255, jpeg=95, cutout=1, chance=1)
        for name, value in {**self.geometry, **self.tones, **self.sometimes, "chance": self.chance}.items():
            lowest = 1 if name == "jpeg" else 0
            if not (name == "jpeg" and value is None) and not lowest <= value <= limits[name]:
                raise ValueError(f"{name} must lie in {lowest}–{limits[name]:g}, got {value}")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be (low, high) with 0 < low ≤ high, got {self.scale}")
        if len(self.size) != 2 or not all(isinstance(n, int) and n > 0 for n in self.size):
            raise ValueError(f"size must be (height, width) in whole pixels, got {self.size}")

    def get_config(self):
        own = {**self.geometry, **self.tones, **self.sometimes, "chance": self.chance}
        return {**super().get_config(), "size": self.size, "scale": self.scale, **own}


def light(size, ignore_id=255, seed=None):
    """What nearly every photograph forgives: mirrored, a little nearer or further, a little brighter or darker."""
    ranges = dict(flip=0.5, scale=(0.8, 1.25), brightness=20, contrast=0.2)
    return Augment(size, **ranges, ignore_id=ignore_id, seed=seed)


def standard(size, ignore_id=255, seed=None):
    """What most scenes forgive: further in and out than ``light``, slightly turned, in other colours."""
    ranges = dict(flip=0.5, scale=(0.75, 1.5), rotation=5, brightness=32, contrast=0.25, saturation=0.25, hue=10)
    return Augment(size, **ranges, ignore_id=ignore_id, seed=seed)


def strong(size, ignore_id=255, seed=None):
    """Everything at once, half to twice the size (as DeepLab trains); for few images and long training."""
    ranges = dict(flip=0.5, scale=(0.5, 2), rotation=15, shear=5, translation=0.1, elastic=2)
    ranges |= dict(brightness=48, contrast=0.4, saturation=0.5, hue=30)
    ranges |= dict(blur=1.5, noise=8, jpeg=30, cutout=0.3, chance=0.3)
    return Augment(size, **ranges, ignore_id=ignore_id, seed=seed)
