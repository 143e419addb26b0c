"""Augmentation that keeps image and mask together: random views, mixtures of a batch, and an audit that proves it."""

from seglib.augment.audit import Audit, audit
from seglib.augment.layers import Augment, CopyPaste, CutMix, light, standard, strong
