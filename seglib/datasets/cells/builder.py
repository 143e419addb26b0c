"""The cells as a TFDS builder: written to disk once, then read like any other dataset."""

import numpy as np
import tensorflow_datasets as tfds

from seglib.datasets.cells.drawing import SIZES, draw_cells
from seglib.datasets.drawn import DrawnBuilder, OfflineInfo, SizeConfig, to_png

SPLITS = {"train": range(0, 60), "validation": range(10_000, 10_020), "test": range(20_000, 20_040)}
"""The seeds of each split; no seed is in two, and those from 30,000 on are in none."""


class Cells(DrawnBuilder):
    """60 train, 20 validation and 40 test fields of view of touching cells; config ``tiny``, ``small`` or ``full``."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First cells."}
    BUILDER_CONFIGS = [SizeConfig(name, *size) for name, size in SIZES.items()]

    def _info(self):
        shape = (self.builder_config.height, self.builder_config.width)
        return OfflineInfo(
            builder=self,
            description="Drawn phase-contrast microscopy of touching cells: masks, instances and U-Net's border map.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(*shape, 3), encoding_format="png"),
                    "mask": tfds.features.Image(shape=(*shape, 1), encoding_format="png"),
                    "instances": tfds.features.Image(shape=(*shape, 1), dtype=np.uint16, encoding_format="png"),
                    "border": tfds.features.Image(shape=(*shape, 1), encoding_format="png"),
                }
            ),
            supervised_keys=("image", "mask"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return self._split(SPLITS)

    @staticmethod
    def _draw(seed, height, width):
        drawing = draw_cells(seed, height, width)
        return {name: to_png(getattr(drawing, name)) for name in ("image", "mask", "instances", "border")}
