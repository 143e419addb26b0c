"""The table of named datasets: where each comes from, and how one of its examples becomes a mask.

To add one that TFDS has: an entry in ``specs.json`` and a function in ``TO_MASK``, by its name.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from seglib import labels


class Spec(NamedTuple):
    """How one dataset is found, fetched and read."""

    path: str  # TFDS's name and configuration, which is also the folder of its versions
    labels: labels.LabelMap
    splits: dict  # from "train", "val" and "test" to TFDS's split or a slice of one, as in "train[:85%]"
    features: list[str]  # those to decode, the image first
    to_mask: Callable  # (decoded example, info.features) -> (height, width) uint8 class ids, in TensorFlow
    files: list[str] = ()  # addresses of the archives, or bare names if a person must fetch them; none: drawn
    gigabytes: float = 0  # 10⁹ bytes, of the archives together
    page: str = ""  # where a person registers to fetch them
    notes: list[str] = ()  # how the splits were cut, one sentence each


def find_spec(name):
    """The :class:`Spec` of a name; a ``ValueError`` lists those that are known."""
    drawn = [f"{family}/{size}" for family in ("streets", "cells") for size in ("tiny", "small", "full")]
    if name in drawn:
        from seglib.datasets import cells, streets  # TFDS knows their builders now

        module = {"streets": streets, "cells": cells}[name.partition("/")[0]]
        splits = {"train": "train", "val": "validation", "test": "test"}
        return Spec(name, module.LABELS, splits, ("image", "mask"), lambda example, features: example["mask"][..., 0])
    if name not in SPECS:
        known = ", ".join([*drawn, *SPECS])
        raise ValueError(f"no dataset {name!r}; there are {known}; others (PASCAL VOC, your own): data.from_folder")
    return SPECS[name]


def _ids_of(feature, ids):
    """``to_mask`` of a feature whose first channel holds the ids of files: ``labels.remap`` in TensorFlow."""

    def to_mask(example, features):
        stored = example[feature][..., 0]
        found = tf.gather([ids.get(i, -1) for i in range(256)], tf.cast(stored, tf.int32))
        unknown = tf.boolean_mask(stored, found < 0)
        tf.debugging.Assert(tf.size(unknown) == 0, ["ids that have no class:", tf.unique(unknown)[0]])
        return tf.cast(found, tf.uint8)

    return to_mask


def _coco_panoptic(example, features):
    # The colour of a pixel is its segment's id, R + 256 G + 256² B; the list of segments tells the class of each, by
    # its name, as the label's number is TFDS's own. Colours without a segment, such as black, are void.
    code = tf.tensordot(tf.cast(example["panoptic_image"], tf.int64), tf.constant([1, 256, 65536], tf.int64), 1)
    names, segments = features["panoptic_objects"]["label"].names, example["panoptic_objects"]
    ids = tf.constant([labels.COCO_PANOPTIC.id_of(name) for name in names], tf.uint8)
    void = tf.constant(labels.VOID, tf.uint8)  # larger than any class, so it loses against the segment that matches
    return tf.reduce_min(tf.where(code[..., None] == segments["id"], tf.gather(ids, segments["label"]), void), -1)


TO_MASK = {
    "oxford_iiit_pet": _ids_of("segmentation_mask", labels.one_based(3, void=None)),
    "oxford_iiit_pet/binary": _ids_of("segmentation_mask", {1: 1, 2: 0, 3: labels.VOID}),
    "cityscapes": _ids_of("segmentation_label", labels.CITYSCAPES_IDS),
    # Red is the kind of object, 0 for none; green numbers the objects.
    "scene_parse150": _ids_of("annotation", {i: i for i in range(labels.ADE20K_THINGS.num_classes)}),
    "coco/2017_panoptic": _coco_panoptic,
}

SPECS = {
    name: Spec(**{**entry, "labels": getattr(labels, entry["labels"]), "to_mask": TO_MASK[name]})
    for name, entry in json.loads(Path(__file__).with_name("specs.json").read_text(encoding="utf-8")).items()
}
