"""Losses for integer masks and logits that leave void pixels out.

Every loss takes ``mask`` (batch, height, width) integer ids and ``logits`` (batch, height, width, num_classes) of any
float type and returns one float32 number. The arithmetic is float32 whatever the logits are: the sums over an image
overflow float16, whose largest number is 65,504. ``pixel_weights``, (batch, height, width) from 0, say how much each
pixel counts; None is one each. An id that is neither a class nor void makes a loss NaN. For a model that is to be
trained, wrap the losses in :class:`Sum`, which can be saved.
"""

from seglib.losses.outlines import boundary
from seglib.losses.pixels import cross_entropy, focal
from seglib.losses.regions import dice, lovasz, tversky
from seglib.losses.total import TERMS, Sum
from seglib.losses.weights import SCHEMES, class_weights, rare_class_repeats

__all__ = [
    "SCHEMES",
    "TERMS",
    "Sum",
    "boundary",
    "class_weights",
    "cross_entropy",
    "dice",
    "focal",
    "lovasz",
    "rare_class_repeats",
    "tversky",
]
