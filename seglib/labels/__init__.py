"""Label maps: what the integers in a mask mean, how they are painted, and how other schemes map onto them."""

from seglib.labels.known import (
    ADE20K,
    ADE20K_THINGS,
    BINARY_255,
    CITYSCAPES,
    CITYSCAPES_IDS,
    COCO_PANOPTIC,
    PETS,
    PETS_BINARY,
    VOC,
    one_based,
    voc_colours,
)
from seglib.labels.label_map import PALETTE, VOID, VOID_COLOUR, LabelMap, remap, remap_table

__all__ = [
    "ADE20K",
    "ADE20K_THINGS",
    "BINARY_255",
    "CITYSCAPES",
    "CITYSCAPES_IDS",
    "COCO_PANOPTIC",
    "PALETTE",
    "PETS",
    "PETS_BINARY",
    "VOC",
    "VOID",
    "VOID_COLOUR",
    "LabelMap",
    "one_based",
    "remap",
    "remap_table",
    "voc_colours",
]
