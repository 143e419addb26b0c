"""The table of named datasets: where each comes from, and how one of its examples becomes a mask.

To add one that TFDS has: a function ``(example, features) -> mask`` and an entry of ``SPECS``, by its name.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from seglib import labels


class Spec(NamedTuple):
    """How one dataset is found, fetched and read."""

    path: str  # TFDS's name and configuration, which is also the folder of its versions
    labels: labels.LabelMap
    splits: dict  # from "train", "val" and "test" to TFDS's split or a slice of one, as in "train[:85%]"
    features: tuple[str, ...]  # those to decode, the image first
    to_mask: Callable  # (decoded example, info.features) -> (height, width) uint8 class ids, in TensorFlow
    files: tuple[str, ...] = ()  # addresses of the archives, or bare names if a person must fetch them; none: drawn
    gigabytes: float = 0  # 10⁹ bytes, of the archives together
    page: str = ""  # where a person registers to fetch them
    notes: tuple[str, ...] = ()  # how the splits were cut, one sentence each


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
        found = tf.gather(tf.constant(labels.remap_table(ids)), tf.cast(stored, tf.int32))
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


def _cut(percent, test):
    return {"train": f"train[:{percent}%]", "val": f"train[{percent}%:]", "test": test}


_PETS = Spec(
    path="oxford_iiit_pet",
    labels=labels.PETS,
    splits=_cut(85, test="test"),
    features=("image", "segmentation_mask"),
    to_mask=_ids_of("segmentation_mask", labels.one_based(3, void=None)),
    files=tuple(f"https://thor.robots.ox.ac.uk/~vgg/data/pets/{part}.tar.gz" for part in ("images", "annotations")),
    gigabytes=0.81,
    notes=("val: 15% of the official trainval",),
)
_SCENES, _COCO = "http://sceneparsing.csail.mit.edu/data/ChallengeData2017/", "http://images.cocodataset.org/"
_COCO_ARCHIVES = ("zips/train", "zips/val", "annotations/panoptic_annotations_trainval")

SPECS = {
    "oxford_iiit_pet": _PETS,
    "oxford_iiit_pet/binary": _PETS._replace(
        labels=labels.PETS_BINARY, to_mask=_ids_of("segmentation_mask", {1: 1, 2: 0, 3: labels.VOID})
    ),
    "cityscapes": Spec(
        path="cityscapes/semantic_segmentation",
        labels=labels.CITYSCAPES,
        splits=_cut(90, test="validation"),
        features=("image_left", "segmentation_label"),
        to_mask=_ids_of("segmentation_label", labels.CITYSCAPES_IDS),
        files=("leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip"),
        gigabytes=11.6,
        page="https://www.cityscapes-dataset.com/login/",
        notes=(
            "val: 10% of the official train; it flatters, since train has other frames of the same drives",
            "test: the official val, since the labels of the official test are withheld",
        ),
    ),
    "scene_parse150": Spec(
        path="scene_parse150",
        labels=labels.ADE20K_THINGS,
        splits=_cut(90, test="test"),
        features=("image", "annotation"),  # red is the kind of object, 0 for none; green numbers the objects
        to_mask=_ids_of("annotation", {i: i for i in range(labels.ADE20K_THINGS.num_classes)}),
        files=(f"{_SCENES}images.tar", f"{_SCENES}annotations_instance.tar"),
        gigabytes=0.98,
        notes=(
            "the instance release: 100 kinds of objects and background, not the 150 classes (see data/README.md)",
            "val: 10% of the official training; test: the official validation",
        ),
    ),
    "coco/2017_panoptic": Spec(
        path="coco/2017_panoptic",
        labels=labels.COCO_PANOPTIC,
        splits=_cut(95, test="validation"),
        features=("image", "panoptic_image", "panoptic_objects"),
        to_mask=_coco_panoptic,
        files=tuple(f"{_COCO}{archive}2017.zip" for archive in _COCO_ARCHIVES),
        gigabytes=21.0,
        notes=("val: 5% of the official train; test: the official val",),
    ),
}
