"""Augmentation that keeps image and mask together: random views, and mixtures of a batch."""

from seglib.augment.layers import Augment, CopyPaste, CutMix, light, standard, strong
