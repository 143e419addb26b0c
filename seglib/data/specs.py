"""The table of datasets that have a name: where each comes from, and how one of its examples becomes a pair.

To add one of TFDS's: write a function ``(example, features) -> pair`` and an entry of ``SPECS``.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import tensorflow as tf
import tensorflow_datasets as tfds

from seglib import labels
from seglib.labels import LabelMap

DRAWN = {"streets": "Streets", "cells": "Cells"}
"""Modules of :mod:`seglib.datasets` and their builders; each draws itself at every size of ``DRAWN_SIZES``."""

DRAWN_SIZES = ("tiny", "small", "full")

NOT_SERVED = {
    "voc": (
        "TFDS serves the boxes of PASCAL VOC but not its masks. Fetch and unpack VOCtrainval_11-May-2012.tar "
        "(2 GB, http://host.robots.ox.ac.uk/pascal/VOC/voc2012/), then read its folders:\n"
        '  voc = "VOCdevkit/VOC2012"\n'
        '  data.from_folder(f"{voc}/JPEGImages", f"{voc}/SegmentationClass", labels=labels.VOC,\n'
        '                   lists=f"{voc}/ImageSets/Segmentation")'
    )
}
"""Names that people will try, and what to do instead."""


@dataclass(frozen=True)
class Spec:
    """How one dataset is found, fetched and read.

    Attributes:
        path: TFDS's name and configuration, ``"coco/2017_panoptic"``, which is also where its versions are kept.
        labels: the :class:`~seglib.labels.LabelMap` of the masks that ``to_pair`` returns.
        splits: for ``"train"``, ``"val"`` and ``"test"`` the split of TFDS or a slice of one, as in ``"train[:85%]"``.
        features: the features that ``to_pair`` needs, the image first; nothing else is decoded.
        to_pair: ``(example, features) -> pair`` in TensorFlow, where ``example`` holds the decoded ``features``, the
            second argument is the builder's ``info.features``, and the pair is ``{"image": (height, width, 3) uint8,
            "mask": (height, width) uint8}``. An id that has no class raises ``tf.errors.InvalidArgumentError``.
        make_builder: ``(data_dir) -> tfds.core.DatasetBuilder``; by default the one that TFDS has for ``path``.
        files: the archives it is made from: file name → address, or None where only a person may fetch it. None at
            all: it is drawn.
        gigabytes: the size of the archives together, in 10⁹ bytes.
        page: where a person registers to fetch the archives that have no address.
        notes: what a user should know about splits and masks, one sentence each.
    """

    path: str
    labels: LabelMap
    splits: Mapping[str, str]
    features: tuple[str, ...]
    to_pair: Callable
    make_builder: Callable | None = None
    files: Mapping[str, str | None] = field(default_factory=dict)
    gigabytes: float = 0
    page: str = ""
    notes: tuple[str, ...] = ()

    def builder(self, data_dir):
        """The TFDS builder of this dataset, for data in ``data_dir``. Does not ask the network."""
        make = self.make_builder or (lambda data_dir: tfds.builder(self.path, data_dir=data_dir))
        return make(str(data_dir))


def list_names():
    """All names that :func:`find_spec` knows, the drawn ones first."""
    return [f"{family}/{size}" for family in DRAWN for size in DRAWN_SIZES] + list(SPECS)


def find_spec(name):
    """The :class:`Spec` of a name.

    Raises:
        ValueError: a name that is not known, with the list of those that are; or a dataset that has no masks there.
    """
    family = str(name).partition("/")[0]
    if family in NOT_SERVED:
        raise ValueError(f"no dataset {name!r}: {NOT_SERVED[family]}")
    if name not in list_names():
        raise ValueError(f"no dataset {name!r}; there are {', '.join(list_names())}; your own files: data.from_folder")
    return _drawn(name) if family in DRAWN else SPECS[name]


def _drawn(name):
    family, size = name.split("/")
    module = importlib.import_module(f"seglib.datasets.{family}")
    make = getattr(module, DRAWN[family])
    return Spec(
        path=name,
        labels=module.LABELS,
        splits={"train": "train", "val": "validation", "test": "test"},
        features=("image", "mask"),
        to_pair=lambda example, features: {"image": example["image"], "mask": example["mask"][..., 0]},
        make_builder=lambda data_dir: make(config=size, data_dir=data_dir),
    )


def _remap(mask, ids):
    """``labels.remap`` in TensorFlow: (height, width) uint8 file ids → (height, width) uint8 class ids."""
    found = tf.gather(tf.constant(labels.remap_table(ids)), tf.cast(mask, tf.int32))
    unknown = tf.boolean_mask(mask, found < 0)
    tf.debugging.Assert(tf.size(unknown) == 0, ["ids that have no class:", tf.unique(unknown)[0]])
    return tf.cast(found, tf.uint8)


def _pets(ids):
    def to_pair(example, features):
        return {"image": example["image"], "mask": _remap(example["segmentation_mask"][..., 0], ids)}

    return to_pair


def _cityscapes(example, features):
    ids = _remap(example["segmentation_label"][..., 0], labels.CITYSCAPES_IDS)
    return {"image": example["image_left"], "mask": ids}


def _scene_parse(example, features):
    """Red is the kind of object, 1–100, or 0 for none of them; green numbers the objects and is not needed."""
    kinds = {i: i for i in range(labels.ADE20K_THINGS.num_classes)}
    return {"image": example["image"], "mask": _remap(example["annotation"][..., 0], kinds)}


def _coco_panoptic(example, features):
    """The colour of a pixel is its segment's id, R + 256 G + 256² B; the list of segments tells the class of each.

    The label's number is TFDS's own, so it is the name that counts. A crowd is of its class like any other segment.
    Colours that no segment has are void: 0, black, is what nobody labelled.
    """
    code = tf.tensordot(tf.cast(example["panoptic_image"], tf.int64), tf.constant([1, 256, 65536], tf.int64), 1)
    names = features["panoptic_objects"]["label"].names
    ids = tf.constant([labels.COCO_PANOPTIC.id_of(name) for name in names], tf.uint8)
    segments = example["panoptic_objects"]
    known = tf.concat([[-1], segments["id"]], 0)  # −1 is no colour; it stands for an empty list
    classes = tf.concat([[tf.constant(labels.VOID, tf.uint8)], tf.gather(ids, segments["label"])], 0)
    order = tf.argsort(known)
    known, classes = tf.gather(known, order), tf.gather(classes, order)
    place = tf.searchsorted(known, tf.reshape(code, [-1]), side="right") - 1  # the last id that is not larger
    mask = tf.where(tf.gather(known, place) == tf.reshape(code, [-1]), tf.gather(classes, place), labels.VOID)
    return {"image": example["image"], "mask": tf.reshape(mask, tf.shape(code))}


_PETS_FILES = "https://thor.robots.ox.ac.uk/~vgg/data/pets/"
_SCENE_FILES = "http://sceneparsing.csail.mit.edu/data/ChallengeData2017/"
_COCO_FILES = "http://images.cocodataset.org/"

_PETS = {
    "path": "oxford_iiit_pet",
    "splits": {"train": "train[:85%]", "val": "train[85%:]", "test": "test"},
    "features": ("image", "segmentation_mask"),
    "files": {name: _PETS_FILES + name for name in ("images.tar.gz", "annotations.tar.gz")},
    "gigabytes": 0.81,
}

SPECS = {
    "oxford_iiit_pet": Spec(
        **_PETS,
        labels=labels.PETS,
        to_pair=_pets(labels.one_based(3, void=None)),
        notes=("val: 15% of the official trainval",),
    ),
    "oxford_iiit_pet/binary": Spec(
        **_PETS,
        labels=labels.PETS_BINARY,
        to_pair=_pets({1: 1, 2: 0, 3: labels.VOID}),
        notes=("val: 15% of the official trainval", "the rim of each animal, not classified by its authors, is void"),
    ),
    "cityscapes": Spec(
        path="cityscapes/semantic_segmentation",
        labels=labels.CITYSCAPES,
        splits={"train": "train[:90%]", "val": "train[90%:]", "test": "validation"},
        features=("image_left", "segmentation_label"),
        to_pair=_cityscapes,
        files={"leftImg8bit_trainvaltest.zip": None, "gtFine_trainvaltest.zip": None},
        gigabytes=11.6,
        page="https://www.cityscapes-dataset.com/login/",
        notes=(
            "test: the official val, three towns of their own; the labels of the official test are withheld",
            "val: a tenth of the official train as TFDS shuffled it: other frames of the same drives are in train, so "
            "it flatters, and only test tells how a new town would go",
        ),
    ),
    "scene_parse150": Spec(
        path="scene_parse150",
        labels=labels.ADE20K_THINGS,
        splits={"train": "train[:90%]", "val": "train[90%:]", "test": "test"},
        features=("image", "annotation"),
        to_pair=_scene_parse,
        files={name: _SCENE_FILES + name for name in ("images.tar", "annotations_instance.tar")},
        gigabytes=0.98,
        notes=(
            "in spite of its name this is the instance release: 100 kinds of objects, and 0, background, for walls, "
            "sky and all else. The 150 classes: data.from_folder with labels.ADE20K, see data/README.md",
            "val: a tenth of the official training; test: the official validation",
        ),
    ),
    "coco/2017_panoptic": Spec(
        path="coco/2017_panoptic",
        labels=labels.COCO_PANOPTIC,
        splits={"train": "train[:95%]", "val": "train[95%:]", "test": "validation"},
        features=("image", "panoptic_image", "panoptic_objects"),
        to_pair=_coco_panoptic,
        files={
            "train2017.zip": _COCO_FILES + "zips/train2017.zip",
            "val2017.zip": _COCO_FILES + "zips/val2017.zip",
            "panoptic_annotations_trainval2017.zip": _COCO_FILES + "annotations/panoptic_annotations_trainval2017.zip",
        },
        gigabytes=21.0,
        notes=(
            "val: a twentieth of the official train; test: the official val",
            "crowds count as their class; what no segment covers is void",
        ),
    ),
}
"""Datasets of TFDS, by the names that :func:`seglib.data.load` takes."""
