"""Augmentation that keeps image and mask together: random views, mixtures of a batch, and an audit that proves it."""

from seglib.augment.audit import Audit, audit
from seglib.augment.layer import Augment, light, standard, strong
from seglib.augment.mixing import CopyPaste, CutMix, Mosaic

__all__ = ["Audit", "Augment", "CopyPaste", "CutMix", "Mosaic", "audit", "light", "standard", "strong"]
