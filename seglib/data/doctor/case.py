"""What is known about a dataset after all its pairs were looked at, and how a finding is put together."""

from dataclasses import dataclass

import numpy as np

from seglib.data.dataset import SPLITS
from seglib.data.doctor.report import Finding
from seglib.labels import LabelMap

DARK = 17  # brightest of 0–255; 12 bits in a file of 16 reach 16
FLAT = 1  # standard deviation of brightness


@dataclass
class Case:
    """All that is known about a dataset: its label map, the looks at its pairs, and what had no partner."""

    labels: LabelMap
    looks: list
    unpaired: tuple = ()

    def class_pixels(self, split=None):
        """(num_classes,) pixels per class, of a split or of all."""
        return self._pixels(split)[: self.labels.num_classes]

    def void_pixels(self, split=None):
        """How many pixels are void."""
        return int(self._pixels(split)[self.labels.ignore_id])

    def _pixels(self, split):
        chosen = [look.pixels for look in self.looks if look.pixels is not None and split in (None, look.split)]
        return np.sum(chosen, axis=0, dtype=np.int64) if chosen else np.zeros(256, np.int64)

    def splits(self):
        """The splits that have pairs, in the usual order."""
        return [split for split in SPLITS if any(look.split == split for look in self.looks)]


def make_finding(kind, severity, details, what, do):
    """A finding of the files that ``details`` say something about."""
    return Finding(kind, severity, tuple(details), what, do, details)


def is_featureless(look):
    """Whether a look's image, which could be read, is black or of one colour."""
    return look.spread < FLAT or look.brightest < DARK


def count(things, what):
    """``"1 mask"``, ``"2 masks"``."""
    return f"{len(things)} {what}{'s' * (len(things) != 1)}"


def list_names(names):
    """Up to eight names, and how many more."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
