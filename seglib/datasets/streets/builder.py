"""The streets as a TFDS builder: written to disk once, then read like any other dataset."""

import numpy as np
import tensorflow_datasets as tfds

from seglib.datasets.drawn import DrawnBuilder, OfflineInfo, SizeConfig, to_png
from seglib.datasets.streets.drawing import LABELS, SIZES, draw_scene

SPLITS = {"train": range(0, 400), "validation": range(10_000, 10_060), "test": range(20_000, 20_100)}
"""The seeds of each split; no seed is in two."""


class Streets(DrawnBuilder):
    """400 train, 60 validation and 100 test street scenes; config ``tiny``, ``small`` or ``full``."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First streets."}
    BUILDER_CONFIGS = [SizeConfig(name, *size) for name, size in SIZES.items()]

    def _info(self):
        shape = (self.builder_config.height, self.builder_config.width)
        names = list(LABELS.names)
        return OfflineInfo(
            builder=self,
            description="Drawn street scenes with exact masks of eight classes and boxes of cars and people.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(*shape, 3), encoding_format="png"),
                    "mask": tfds.features.Image(shape=(*shape, 1), encoding_format="png"),
                    "objects": tfds.features.Sequence(
                        {"bbox": tfds.features.BBoxFeature(), "label": tfds.features.ClassLabel(names=names)}
                    ),
                    "classes": tfds.features.Sequence(tfds.features.ClassLabel(names=names)),
                }
            ),
            supervised_keys=("image", "mask"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return self._split(SPLITS)

    @staticmethod
    def _draw(seed, height, width):
        drawing = draw_scene(seed, height, width)
        objects = [
            {"bbox": tfds.features.BBox(*box), "label": int(label)}
            for box, label in zip(drawing.boxes.tolist(), drawing.box_labels, strict=True)
        ]
        classes = [int(i) for i in np.unique(drawing.mask) if i != LABELS.ignore_id]
        pictures = {"image": to_png(drawing.image), "mask": to_png(drawing.mask)}
        return {**pictures, "objects": objects, "classes": classes}
