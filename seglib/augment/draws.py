"""Random numbers that are a pure function of a seed: the same on every backend, in every process, in any order.

Keras draws only from Python numbers and from generators that change as they are used. Inside ``tf.data``, where pairs
are drawn in parallel, such a generator gives other numbers in every run. Here each number is a hash of the seed, of the
name of what is drawn, and of its place.
"""

import zlib

import numpy as np
from keras import ops


def mix_bits(x):
    """A bijection of int32 that looks random: each bit of the result depends on each bit of ``x``.

    It is Wellons' ``lowbias32`` (Prospecting for hash functions, 2018): shifts, exclusive ors and two odd factors, in
    the wrapping arithmetic that int32 has on every backend.
    """
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32), (16, 1)):
        x = ops.bitwise_xor(x, ops.bitwise_and(ops.right_shift(x, shift), 2 ** (32 - shift) - 1)) * factor
    return x


class Draws:
    """The random numbers of each image in a batch.

    Args:
        seeds: (batch, 2) int32, one row an image.

    Each draw has a name. Two draws of one name are the same numbers; one name more or less changes no other draw.
    """

    def __init__(self, seeds):
        self.seeds = ops.cast(seeds, "int32")

    def bits(self, name, shape=()):
        """(batch, *shape) int32, every value equally likely."""
        name = np.array(zlib.crc32(name.encode()), np.uint32).view(np.int32)
        state = mix_bits(mix_bits(self.seeds[:, 0] + int(name)) + self.seeds[:, 1])
        places = np.arange(np.prod(shape, dtype=int), dtype=np.int32).reshape(1, *shape)
        state = ops.reshape(state, (-1, *[1] * len(shape)))
        # Consecutive places are spread over the whole range by the golden ratio before they are mixed.
        spread = places * np.int32(0x9E3779B9 - 2**32)
        return mix_bits(mix_bits(state + spread))

    def uniform(self, name, low=0.0, high=1.0, shape=()):
        """(batch, *shape) float32 in [low, high)."""
        share = ops.cast(ops.bitwise_and(ops.right_shift(self.bits(name, shape), 8), 2**24 - 1), "float32") / 2**24
        return low + (high - low) * share

    def normal(self, name, shape=()):
        """(batch, *shape) float32, standard normal, by Box and Muller's method (1958)."""
        radius = ops.sqrt(-2 * ops.log(1 - self.uniform(name + ", radius", shape=shape)))
        return radius * ops.cos(2 * np.pi * self.uniform(name + ", angle", shape=shape))

    def happens(self, name, chance):
        """(batch,) bool, true with probability ``chance``."""
        return self.uniform(name + "?") < chance
