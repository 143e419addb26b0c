"""Random numbers that are a pure function of a seed, and the layer that hands them out.

Each number is a hash of the seed, of the name of what is drawn, and of its place: the same on every backend, in every
process and in any order, also inside ``tf.data``.
"""

import sys
import zlib

import keras
import numpy as np
from keras import ops

from seglib.bridge import call_python


def mix_bits(x):
    """A bijection of int32 that looks random: Wellons' ``lowbias32`` (Prospecting for hash functions, 2018)."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32), (16, 1)):
        x = ops.bitwise_xor(x, ops.bitwise_and(ops.right_shift(x, shift), 2 ** (32 - shift) - 1)) * factor
    return x


class Draws:
    """The random numbers of each image in a batch, whose ``seeds`` are (batch, 2) int32.

    Two draws of one name are the same numbers; one name more or less changes no other draw.
    """

    def __init__(self, seeds):
        self.seeds = ops.cast(seeds, "int32")

    def bits(self, name, shape=()):
        """(batch, *shape) int32, every value equally likely."""
        name = np.array(zlib.crc32(name.encode()), np.uint32).view(np.int32)
        state = mix_bits(mix_bits(self.seeds[:, 0] + int(name)) + self.seeds[:, 1])
        places = np.arange(np.prod(shape, dtype=int), dtype=np.int32).reshape(1, *shape)
        state = ops.reshape(state, (-1, *[1] * len(shape)))
        # The golden ratio spreads consecutive places over the whole range.
        return mix_bits(mix_bits(state + places * np.int32(0x9E3779B9 - 2**32)))

    def uniform(self, name, low=0.0, high=1.0, shape=()):
        """(batch, *shape) float32 in [low, high)."""
        share = ops.cast(ops.bitwise_and(ops.right_shift(self.bits(name, shape), 8), 2**24 - 1), "float32") / 2**24
        return low + (high - low) * share

    def happens(self, name, probability):
        """(batch,) bool, each true with this probability."""
        return self.uniform(name + "?") < probability


class RandomLayer(keras.layers.Layer):
    """A Keras layer for pairs of images and masks, whose draws are a function of a seed.

    A subclass has ``change(images, masks, draws) -> (images, masks)`` on batches, and arguments fit for a Keras config.
    """

    size = None  # (height, width) of images that come out as float32; None if they keep their size and dtype

    def __init__(self, probability, seed, **kwargs):
        super().__init__(autocast=False, **kwargs)
        check_range("probability", probability, 1)
        self.probability = probability
        self.generator = keras.random.SeedGenerator(seed)

    def __call__(self, inputs, seed=None, **options):
        tf = sys.modules.get("tensorflow")
        if keras.backend.backend() == "tensorflow" or tf is None or tf.executing_eagerly():
            return super().__call__(inputs, seed=seed, **options)
        # JAX and torch cannot compute with the tensors of a graph of TensorFlow's: it is left for one call.
        images, masks = check_pairs(inputs)
        if options.get("training") is False:
            return inputs
        shape, channel = images.shape[:-1], masks.shape[len(images.shape) - 1 :]
        shape, dtype = ([*shape[:-2], *self.size], tf.float32) if self.size else (shape, images.dtype)
        specs = [tf.TensorSpec([*shape, 3], dtype), tf.TensorSpec([*shape, *channel], masks.dtype)]

        def change(images, masks, *seed):
            pair = self({"images": images, "segmentation_masks": masks}, *seed, **options)
            images, masks = (ops.convert_to_numpy(pair[key]) for key in ("images", "segmentation_masks"))
            return [images, masks.astype(specs[1].dtype.as_numpy_dtype)]  # JAX may have made int32 of int64

        seed = [] if seed is None else [tf.cast(seed, tf.int32)]
        images, masks = call_python(change, [images, masks, *seed], specs)
        return {**inputs, "images": images, "segmentation_masks": masks}

    def call(self, inputs, seed=None, training=True):
        """Augments a pair or a batch of pairs; in ``Dataset.map``, too, whatever backend Keras runs on.

        Args:
            inputs: ``{"images": (batch, height, width, 3) uint8 or float in 0–255, "segmentation_masks":
                (batch, height, width) or (batch, height, width, 1) integer ids}``, or the same without ``batch``. Other
                keys are handed on as they are.
            seed: (2,) int32, of which everything drawn is a function; None takes the next of the layer's own generator.
            training: False hands the inputs back as they are.

        Returns:
            The same keys: images float32 in 0–255 (mixtures keep their dtype), masks in their own form and dtype.

        Raises:
            ValueError: the inputs are something else.
        """
        images, masks = check_pairs(inputs)
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


def run_compiled(function, *arrays):
    """``function(*arrays)``, compiled by XLA in a TensorFlow graph whose shapes are known, as in ``Dataset.map``.

    Intermediate results then stay in registers. Integers are the same to the bit, floats but for rounding.
    """
    tf = sys.modules.get("tensorflow")
    if keras.backend.backend() == "tensorflow" and not tf.executing_eagerly() and tf.test.is_built_with_xla():
        if all(array.shape.is_fully_defined() for array in arrays):
            function = tf.function(function, jit_compile=True)
    return function(*arrays)


def check_range(name, value, highest):
    """Refuses a value that does not lie between 0 and ``highest``, NaN among them, with a ``ValueError``."""
    if not 0 <= value <= highest:
        raise ValueError(f"{name} must lie in 0–{highest:g}, got {value}")


def unpack(pair):
    """The images and masks of Keras's dictionary of a pair, or a ``ValueError`` that says what it is instead."""
    if not (isinstance(pair, dict) and {"images", "segmentation_masks"} <= pair.keys()):
        found = f"the keys {', '.join(map(str, pair))}" if isinstance(pair, dict) else f"a {type(pair).__name__}"
        raise ValueError(f'a pair must be {{"images": …, "segmentation_masks": …}}, got {found}')
    return pair["images"], pair["segmentation_masks"]


def check_pairs(inputs):
    """The images and masks of Keras's dictionary, or a ``ValueError`` that says what they are and should be."""
    images, masks = unpack(inputs)
    shape, mask_shape, dtype = tuple(images.shape), tuple(masks.shape), keras.backend.standardize_dtype(masks.dtype)
    pixels = mask_shape[:-1] if len(mask_shape) == len(shape) and mask_shape[-1] == 1 else mask_shape
    fits = len(pixels) == len(shape) - 1 and all(a == b or None in (a, b) for a, b in zip(pixels, shape, strict=False))
    if len(shape) not in (3, 4) or shape[-1] != 3 or not fits or "int" not in dtype:
        raise ValueError(
            "images must be (height, width, 3) or (batch, height, width, 3), and segmentation_masks one integer a "
            'pixel, (…, height, width) or (…, height, width, 1), if need be by ops.cast(masks, "uint8"); got images '
            f"{shape} and segmentation_masks {mask_shape} {dtype}"
        )
    return images, masks
